/* Ethernet frames around IP packets.  VLAN tags may stand between the header and the packet. */
#include "coalesce.h"
#include "inet.h"
#include "kernel.h"
#include "mss.h"
#include "segment.h"

enum {
    TYPE_AT = 12,
    TYPE_IPV4 = 0x0800,
    TYPE_IPV6 = 0x86DD,
    TYPE_VLAN = 0x8100,    /* IEEE 802.1Q */
    TYPE_SERVICE = 0x88A8, /* IEEE 802.1ad, around another tag */
    VLAN_TAG = 4,
    MOST_TAGS = 2,
    MESSAGE = 16, /* bytes by which a message is told from a frame */
};

/* The plaintexts that are no frames: pings, and what begins options-consistency messages. */
static const uint8_t messages[][MESSAGE] = {
    {0x2a, 0x18, 0x7b, 0xf3, 0x64, 0x1e, 0xb4, 0xcb, 0x07, 0xed, 0x2d, 0x0a, 0x98, 0x1f, 0xc7, 0x48},
    {0x28, 0x7f, 0x34, 0x6b, 0xd4, 0xef, 0x7a, 0x81, 0x2d, 0x56, 0xb8, 0xd3, 0xaf, 0xc5, 0x45, 0x9c},
};

/* Where the IP packet in a frame begins; 0 where there is none. */
static size_t ip_offset(const uint8_t *frame, size_t length)
{
    size_t at = TYPE_AT;
    for (int tags = 0; tags <= MOST_TAGS && at + 2 <= length; tags++, at += VLAN_TAG) {
        unsigned type = get16(frame + at);
        if (type == TYPE_IPV4 || type == TYPE_IPV6)
            return at + 2;
        if (type != TYPE_VLAN && type != TYPE_SERVICE)
            return 0;
    }
    return 0;
}

/* The frame may be filled up to 60 bytes on the wire: where the packet in it ends by its own word. */
static size_t ip_length(const uint8_t *packet, size_t length)
{
    if (length < IPV4_HEADER || packet[0] >> 4 != 4)
        return length;
    size_t own = get16(packet + 2);
    return own < length ? own : length;
}

/* The packet's beginning in a frame that is a handshake with a higher MSS; else 0. */
static size_t find_handshake(const uint8_t *frame, size_t length, unsigned largest)
{
    size_t link = ip_offset(frame, length);
    if (!link)
        return 0;
    return find_high_mss(frame + link, ip_length(frame + link, length - link), largest) ? link : 0;
}

static void clamp_frame(uint8_t *frame, size_t length, unsigned largest)
{
    size_t link = find_handshake(frame, length, largest);
    if (link)
        clamp_mss(frame + link, ip_length(frame + link, length - link), largest);
}

/* A frame with a lower MSS where it needs one, else itself; NULL with an exception set. */
static PyObject *clamped(PyObject *frame, unsigned largest)
{
    Py_buffer view;
    if (!largest)
        return Py_NewRef(frame);
    if (!get_bytes(frame, &view))
        return NULL;
    PyObject *result;
    if (find_handshake(view.buf, (size_t)view.len, largest)) {
        result = PyBytes_FromStringAndSize(view.buf, view.len);
        if (result)
            clamp_frame((uint8_t *)PyBytes_AS_STRING(result), (size_t)PyBytes_GET_SIZE(result), largest);
    } else {
        result = Py_NewRef(frame);
    }
    PyBuffer_Release(&view);
    return result;
}

static int append(PyObject *list, PyObject *item)
{
    int is_good = item && PyList_Append(list, item) == 0;
    Py_XDECREF(item);
    return is_good;
}

/* Segmentation */

/* Plan the segments of a frame behind its header.  Returns NULL, or what does not fit. */
static const char *plan_frame(struct plan *plan, const uint8_t *frame, size_t length, const uint8_t *raw, size_t *link)
{
    struct vnet vnet;
    memcpy(&vnet, raw, VNET_HEADER);
    *link = 0;
    if ((vnet.gso_type & ~(unsigned)GSO_ECN) != GSO_NONE) {
        *link = ip_offset(frame, length);
        if (!*link || vnet.csum_start < *link)
            return "a super-packet that is not IP";
        vnet.csum_start = (uint16_t)(vnet.csum_start - *link);
    }
    return plan_segments(plan, frame + *link, length - *link, (const uint8_t *)&vnet);
}

static int append_segments(PyObject *packets, const struct plan *plan, const uint8_t *header, size_t link,
                           unsigned largest)
{
    for (size_t index = 0; index < plan->count; index++) {
        size_t length = segment_length(plan, index);
        PyObject *segment = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(link + length));
        if (!segment)
            return 0;
        uint8_t *out = (uint8_t *)PyBytes_AS_STRING(segment);
        memcpy(out, header, link);
        write_segment(plan, index, out + link);
        if (largest)
            clamp_frame(out, link + length, largest);
        if (!append(packets, segment))
            return 0;
    }
    return 1;
}

/* Append what a frame stands for.  Returns 0 with an exception set. */
static int segment_one(const struct state *state, PyObject *frame, PyObject *packets, unsigned largest,
                       unsigned *malformed)
{
    PyObject *packet, *vnet;
    Py_buffer view, header;
    if (!parse_frame(frame, &packet, &vnet))
        return 0;
    if (vnet == state->no_offload)
        return append(packets, clamped(packet, largest));
    if (!get_bytes(packet, &view))
        return 0;
    if (!get_bytes(vnet, &header)) {
        PyBuffer_Release(&view);
        return 0;
    }
    struct plan plan;
    size_t link;
    int is_good = 1;
    if (header.len != VNET_HEADER || plan_frame(&plan, view.buf, (size_t)view.len, header.buf, &link))
        (*malformed)++;
    else
        is_good = append_segments(packets, &plan, view.buf, link, largest);
    PyBuffer_Release(&header);
    PyBuffer_Release(&view);
    return is_good;
}

PyObject *kernel_segment_ethernet(PyObject *module, PyObject *args)
{
    const struct state *state = PyModule_GetState(module);
    PyObject *given, *value;
    unsigned largest, malformed = 0;
    if (!PyArg_ParseTuple(args, "OO:segment_ethernet", &given, &value) || !parse_mss(value, &largest))
        return NULL;
    PyObject *frames = PySequence_Tuple(given), *packets = frames ? PyList_New(0) : NULL;
    for (Py_ssize_t index = 0; packets && index < PyTuple_GET_SIZE(frames); index++)
        if (!segment_one(state, PyTuple_GET_ITEM(frames, index), packets, largest, &malformed))
            Py_CLEAR(packets);
    Py_XDECREF(frames);
    return packets ? Py_BuildValue("(NI)", packets, malformed) : NULL;
}

/* What was opened */

/* 1 for a message, 0 for a frame, -1 with an exception set. */
static int is_message(PyObject *text)
{
    Py_buffer view;
    if (!get_bytes(text, &view))
        return -1;
    int result = 0;
    if (view.len >= MESSAGE)
        for (size_t index = 0; index < sizeof messages / sizeof *messages; index++)
            result |= !memcmp(view.buf, messages[index], MESSAGE);
    PyBuffer_Release(&view);
    return result;
}

static int sort_one(PyObject *text, PyObject *frames, PyObject *others, unsigned largest)
{
    int kind = is_message(text);
    if (kind < 0)
        return 0;
    return kind ? append(others, Py_NewRef(text)) : append(frames, clamped(text, largest));
}

PyObject *kernel_sort_ethernet(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given, *value;
    unsigned largest;
    if (!PyArg_ParseTuple(args, "OO:sort_ethernet", &given, &value) || !parse_mss(value, &largest))
        return NULL;
    PyObject *texts = PySequence_Tuple(given);
    PyObject *frames = texts ? PyList_New(0) : NULL, *others = frames ? PyList_New(0) : NULL;
    int is_good = others != NULL;
    for (Py_ssize_t index = 0; is_good && index < PyTuple_GET_SIZE(texts); index++)
        is_good = sort_one(PyTuple_GET_ITEM(texts, index), frames, others, largest);
    Py_XDECREF(texts);
    if (is_good)
        return Py_BuildValue("(NN)", frames, others);
    Py_XDECREF(frames);
    Py_XDECREF(others);
    return NULL;
}

/* Super-packets */

struct held {
    Py_buffer view;
    size_t link; /* 0 where there is no IP packet in the frame */
};

static PyObject *plain_frame(const struct state *state, PyObject *packet)
{
    return named_tuple(state->frame, 2, Py_NewRef(packet), Py_NewRef(state->no_offload));
}

static PyObject *super_frame(const struct state *state, const struct group *group, const struct packet *packets,
                             const struct held *first)
{
    size_t link = first->link;
    PyObject *super = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(link + group->length));
    PyObject *vnet = PyBytes_FromStringAndSize(NULL, VNET_HEADER);
    if (super && vnet) {
        uint8_t *out = (uint8_t *)PyBytes_AS_STRING(super), *raw = (uint8_t *)PyBytes_AS_STRING(vnet);
        struct vnet header;
        Py_BEGIN_ALLOW_THREADS
        memcpy(out, first->view.buf, link);
        write_group(group, packets, out + link, raw);
        Py_END_ALLOW_THREADS
        memcpy(&header, raw, VNET_HEADER);
        header.hdr_len = (uint16_t)(header.hdr_len + link);
        header.csum_start = (uint16_t)(header.csum_start + link);
        memcpy(raw, &header, VNET_HEADER);
    }
    return named_tuple(state->frame, 2, super, vnet);
}

/* Merge `count` frames that have the same header, all with an IP packet.  Returns 0 with an exception set. */
static int merge(const struct state *state, PyObject *frames, PyObject *const *items, const struct held *held,
                 size_t count, struct packet *table, struct group *groups, unsigned offloads)
{
    for (size_t index = 0; index < count; index++)
        table[index] = (struct packet){.data = (const uint8_t *)held[index].view.buf + held[index].link,
                                       .length = (size_t)held[index].view.len - held[index].link};
    size_t made;
    Py_BEGIN_ALLOW_THREADS
    made = group_packets(table, count, offloads, groups);
    Py_END_ALLOW_THREADS
    if (made == SIZE_MAX) {
        PyErr_NoMemory();
        return 0;
    }
    for (size_t index = 0; index < made; index++) {
        const struct group *group = &groups[index];
        PyObject *frame = group->count > 1 ? super_frame(state, group, table, &held[group->first])
                                           : plain_frame(state, items[group->first]);
        if (!append(frames, frame))
            return 0;
    }
    return 1;
}

/* How many frames from the first on have its header. */
static size_t count_alike(const struct held *held, size_t count)
{
    size_t alike = 1, link = held->link;
    if (link)
        while (alike < count && held[alike].link == link && !memcmp(held[alike].view.buf, held->view.buf, link))
            alike++;
    return alike;
}

static int merge_runs(const struct state *state, PyObject *frames, PyObject *packets, const struct held *held,
                      struct packet *table, struct group *groups, unsigned offloads)
{
    size_t count = (size_t)PyTuple_GET_SIZE(packets);
    PyObject *const *items = &PyTuple_GET_ITEM(packets, 0);
    for (size_t start = 0, alike; start < count; start += alike) {
        alike = count_alike(held + start, count - start);
        int is_good = alike > 1 ? merge(state, frames, items + start, held + start, alike, table, groups, offloads)
                                : append(frames, plain_frame(state, items[start]));
        if (!is_good)
            return 0;
    }
    return 1;
}

static PyObject *coalesce(const struct state *state, PyObject *packets, unsigned offloads)
{
    Py_ssize_t count = PyTuple_GET_SIZE(packets), taken = 0;
    struct packet *table = new_array(count, sizeof *table);
    struct group *groups = new_array(count, sizeof *groups);
    struct held *held = new_array(count, sizeof *held);
    PyObject *frames = table && groups && held ? PyList_New(0) : NULL;
    while (frames && taken < count && get_bytes(PyTuple_GET_ITEM(packets, taken), &held[taken].view)) {
        held[taken].link = ip_offset(held[taken].view.buf, (size_t)held[taken].view.len);
        taken++;
    }
    if (frames && (taken < count || !merge_runs(state, frames, packets, held, table, groups, offloads)))
        Py_CLEAR(frames);
    while (taken)
        PyBuffer_Release(&held[--taken].view);
    PyMem_Free(table);
    PyMem_Free(groups);
    PyMem_Free(held);
    return frames;
}

PyObject *kernel_coalesce_ethernet(PyObject *module, PyObject *args)
{
    const struct state *state = PyModule_GetState(module);
    PyObject *given;
    unsigned offloads;
    if (!PyArg_ParseTuple(args, "OI:coalesce_ethernet", &given, &offloads))
        return NULL;
    PyObject *packets = PySequence_Tuple(given);
    if (!packets)
        return NULL;
    PyObject *frames = coalesce(state, packets, offloads);
    Py_DECREF(packets);
    return frames;
}
