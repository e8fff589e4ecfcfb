/* Packets of Python as frames for the tun, and sorted by address. */
#include "coalesce.h"
#include "inet.h"
#include "kernel.h"
#include "segment.h"

enum { ALL_OFFLOADS = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6, LONGEST_ADDRESS = 16 };

static PyObject *plain_frame(const struct state *state, PyObject *packet)
{
    return named_tuple(state->frame, 2, Py_NewRef(packet), Py_NewRef(state->no_offload));
}

static PyObject *plain_frames(const struct state *state, PyObject *packets)
{
    Py_ssize_t count = PyTuple_GET_SIZE(packets);
    PyObject *frames = PyList_New(count);
    for (Py_ssize_t index = 0; frames && index < count; index++) {
        PyObject *frame = plain_frame(state, PyTuple_GET_ITEM(packets, index));
        if (frame)
            PyList_SET_ITEM(frames, index, frame);
        else
            Py_CLEAR(frames);
    }
    return frames;
}

static PyObject *super_frame(const struct state *state, const struct group *group, const struct packet *packets)
{
    PyObject *super = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)group->length);
    PyObject *vnet = PyBytes_FromStringAndSize(NULL, VNET_HEADER);
    if (super && vnet) {
        uint8_t *out = (uint8_t *)PyBytes_AS_STRING(super), *header = (uint8_t *)PyBytes_AS_STRING(vnet);
        Py_BEGIN_ALLOW_THREADS
        write_group(group, packets, out, header);
        Py_END_ALLOW_THREADS
    }
    return named_tuple(state->frame, 2, super, vnet);
}

static PyObject *merge(const struct state *state, PyObject *packets, struct packet *table, struct group *groups,
                       unsigned offloads)
{
    size_t count = (size_t)PyTuple_GET_SIZE(packets), made;
    Py_BEGIN_ALLOW_THREADS
    made = group_packets(table, count, offloads, groups);
    Py_END_ALLOW_THREADS
    if (made == SIZE_MAX)
        return PyErr_NoMemory();
    PyObject *frames = PyList_New((Py_ssize_t)made);
    for (size_t index = 0; frames && index < made; index++) {
        const struct group *group = &groups[index];
        PyObject *frame = group->count > 1
                              ? super_frame(state, group, table)
                              : plain_frame(state, PyTuple_GET_ITEM(packets, (Py_ssize_t)group->first));
        if (frame)
            PyList_SET_ITEM(frames, (Py_ssize_t)index, frame);
        else
            Py_CLEAR(frames);
    }
    return frames;
}

static PyObject *coalesce(const struct state *state, PyObject *packets, unsigned offloads)
{
    Py_ssize_t count = PyTuple_GET_SIZE(packets), held = 0;
    PyObject *frames = NULL;
    struct packet *table = new_array(count, sizeof *table);
    struct group *groups = new_array(count, sizeof *groups);
    Py_buffer *views = new_array(count, sizeof *views);
    if (table && groups && views) {
        while (held < count && get_bytes(PyTuple_GET_ITEM(packets, held), &views[held])) {
            table[held] = (struct packet){.data = views[held].buf, .length = (size_t)views[held].len};
            held++;
        }
        if (held == count)
            frames = merge(state, packets, table, groups, offloads);
    }
    while (held)
        PyBuffer_Release(&views[--held]);
    PyMem_Free(table);
    PyMem_Free(groups);
    PyMem_Free(views);
    return frames;
}

PyObject *kernel_coalesce(PyObject *module, PyObject *args)
{
    const struct state *state = PyModule_GetState(module);
    PyObject *given;
    unsigned offloads = ALL_OFFLOADS;
    if (!PyArg_ParseTuple(args, "O|I:coalesce", &given, &offloads))
        return NULL;
    PyObject *packets = PySequence_Tuple(given);
    if (!packets)
        return NULL;
    PyObject *frames = !offloads || PyTuple_GET_SIZE(packets) == 1 ? plain_frames(state, packets)
                                                                    : coalesce(state, packets, offloads);
    Py_DECREF(packets);
    return frames;
}

/* Sorting by address */

struct address {
    uint8_t bytes[LONGEST_ADDRESS];
    Py_ssize_t length; /* 0 where the packet is too short or none of IP's; -1 with an exception set */
};

static struct address read_address(PyObject *packet, size_t ipv4_at, size_t ipv6_at)
{
    struct address address = {.length = -1};
    Py_buffer view;
    if (!get_bytes(packet, &view))
        return address;
    const uint8_t *data = view.buf;
    unsigned version = view.len >= IPV4_HEADER ? data[0] >> 4 : 0;
    address.length = version == 4 ? 4 : version == 6 && view.len >= IPV6_HEADER ? 16 : 0;
    if (address.length)
        memcpy(address.bytes, data + (version == 4 ? ipv4_at : ipv6_at), (size_t)address.length);
    PyBuffer_Release(&view);
    return address;
}

/* `length` bytes at `at` in an Ethernet header. */
static struct address read_ethernet(PyObject *packet, size_t at, Py_ssize_t length)
{
    struct address address = {.length = -1};
    Py_buffer view;
    if (!get_bytes(packet, &view))
        return address;
    address.length = view.len >= ETHERNET_HEADER ? length : 0;
    if (address.length)
        memcpy(address.bytes, (const uint8_t *)view.buf + at, (size_t)length);
    PyBuffer_Release(&view);
    return address;
}

/* Append (address, []) to `groups` and return that list, borrowed. */
static PyObject *add_address(PyObject *groups, const struct address *address)
{
    PyObject *key = PyBytes_FromStringAndSize((const char *)address->bytes, address->length);
    PyObject *items = PyList_New(0);
    PyObject *pair = key && items ? PyTuple_Pack(2, key, items) : NULL;
    int is_added = pair && PyList_Append(groups, pair) == 0;
    Py_XDECREF(key);
    Py_XDECREF(items);
    Py_XDECREF(pair);
    return is_added ? items : NULL;
}

typedef struct address read_function(PyObject *item);

static int sort(PyObject *groups, PyObject *items, read_function *read)
{
    struct address last = {.length = -1};
    PyObject *current = NULL;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(items); index++) {
        PyObject *item = PyTuple_GET_ITEM(items, index);
        struct address address = read(item);
        if (address.length < 0)
            return 0;
        if (address.length != last.length || memcmp(address.bytes, last.bytes, (size_t)address.length)) {
            last = address;
            current = add_address(groups, &address);
        }
        if (!current || PyList_Append(current, item) < 0)
            return 0;
    }
    return 1;
}

static PyObject *by_address(PyObject *given, read_function *read)
{
    PyObject *items = PySequence_Tuple(given), *groups = items ? PyList_New(0) : NULL;
    if (groups && !sort(groups, items, read))
        Py_CLEAR(groups);
    Py_XDECREF(items);
    return groups;
}

static struct address source_address(PyObject *packet)
{
    return read_address(packet, 12, 8);
}

static struct address destination_address(PyObject *frame)
{
    PyObject *packet, *vnet;
    if (!parse_frame(frame, &packet, &vnet))
        return (struct address){.length = -1};
    return read_address(packet, 16, 24);
}

PyObject *kernel_by_source(PyObject *module, PyObject *packets)
{
    (void)module;
    return by_address(packets, source_address);
}

PyObject *kernel_by_destination(PyObject *module, PyObject *frames)
{
    (void)module;
    return by_address(frames, destination_address);
}

static struct address ethernet_source(PyObject *packet)
{
    return read_ethernet(packet, ETHERNET_ADDRESS, ETHERNET_ADDRESS);
}

static struct address stations(PyObject *frame)
{
    PyObject *packet, *vnet;
    if (!parse_frame(frame, &packet, &vnet))
        return (struct address){.length = -1};
    return read_ethernet(packet, 0, 2 * ETHERNET_ADDRESS);
}

PyObject *kernel_by_ethernet_source(PyObject *module, PyObject *packets)
{
    (void)module;
    return by_address(packets, ethernet_source);
}

PyObject *kernel_by_stations(PyObject *module, PyObject *frames)
{
    (void)module;
    return by_address(frames, stations);
}
