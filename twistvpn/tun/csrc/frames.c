/* The extension module twistvpn.tun._frames: all packets that a tun device has, or takes, in one call. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../data/csrc/values.h"

enum {
    LONGEST_READ = 65535 + 14 + 2 * 4, /* an IP packet behind an Ethernet header and two VLAN tags */
    MOST_READS = 256,
    WRITES_AT_ONCE = 64,
    NEEDS_CSUM = 1, /* VIRTIO_NET_HDR_F_NEEDS_CSUM of linux/virtio_net.h */
};

struct state {
    PyTypeObject *frame; /* Frame and NO_OFFLOAD of twistvpn.interfaces */
    PyObject *no_offload;
};

struct reading {
    Py_buffer scratch;
    Py_ssize_t header, most, room; /* bytes, reads, bytes */
    Py_ssize_t lengths[MOST_READS];
    Py_ssize_t count;
    int error; /* an errno, 0 where it was a bound that ended the reading */
};

/* Read one packet behind the other.  Runs without the interpreter's lock. */
static void read_all(struct reading *reading, int fd)
{
    char *at = reading->scratch.buf, *end = at + reading->scratch.len;
    Py_ssize_t longest = reading->header + LONGEST_READ;
    while (reading->count < reading->most && reading->room > 0 && end - at >= longest) {
        ssize_t length = read(fd, at, (size_t)longest);
        if (length <= 0) {
            reading->error = length ? errno : 0;
            return;
        }
        reading->lengths[reading->count++] = length;
        reading->room -= length;
        at += length;
    }
}

static PyObject *make_frame(const struct state *state, const char *data, Py_ssize_t length, Py_ssize_t header)
{
    /* The kernel also sets DATA_VALID, which asks nothing of us: such a packet is a plain one. */
    int is_plain = !header || !(data[0] & NEEDS_CSUM || data[1]);
    PyObject *packet = PyBytes_FromStringAndSize(data + header, length - header);
    PyObject *vnet = is_plain ? Py_NewRef(state->no_offload) : PyBytes_FromStringAndSize(data, header);
    return named_tuple(state->frame, 2, packet, vnet);
}

static PyObject *make_frames(const struct state *state, const struct reading *reading)
{
    PyObject *frames = PyList_New(0);
    const char *at = reading->scratch.buf;
    for (Py_ssize_t index = 0; frames && index < reading->count; index++) {
        Py_ssize_t length = reading->lengths[index];
        if (length > reading->header) {
            PyObject *frame = make_frame(state, at, length, reading->header);
            if (!frame || PyList_Append(frames, frame) < 0)
                Py_CLEAR(frames);
            Py_XDECREF(frame);
        }
        at += length;
    }
    return frames;
}

static PyObject *read_frames(PyObject *module, PyObject *args)
{
    struct reading reading;
    int fd;
    reading.count = reading.error = 0;
    if (!PyArg_ParseTuple(args, "iw*nnn:read_frames", &fd, &reading.scratch, &reading.header, &reading.most,
                          &reading.room))
        return NULL;
    PyObject *result = NULL;
    if (reading.header != 0 && (reading.header < 2 || reading.header > 64)) {
        PyErr_SetString(PyExc_ValueError, "a virtio-net header has 10 bytes");
    } else {
        if (reading.most > MOST_READS)
            reading.most = MOST_READS;
        Py_BEGIN_ALLOW_THREADS
        read_all(&reading, fd);
        Py_END_ALLOW_THREADS
        PyObject *frames = make_frames(PyModule_GetState(module), &reading);
        result = frames ? Py_BuildValue("(Ni)", frames, reading.error) : NULL;
    }
    PyBuffer_Release(&reading.scratch);
    return result;
}

struct write {
    Py_buffer vnet, packet;
    int error; /* an errno, 0 where the kernel took the frame */
};

/* Take hold of a frame's bytes.  Returns 0 with an exception set where it is none. */
static int hold(struct write *write, PyObject *frame)
{
    if (!PyTuple_Check(frame) || PyTuple_GET_SIZE(frame) != 2) {
        PyErr_SetString(PyExc_TypeError, "a frame is a tuple of packet and virtio-net header");
        return 0;
    }
    if (PyObject_GetBuffer(PyTuple_GET_ITEM(frame, 0), &write->packet, PyBUF_SIMPLE) < 0)
        return 0;
    if (PyObject_GetBuffer(PyTuple_GET_ITEM(frame, 1), &write->vnet, PyBUF_SIMPLE) == 0)
        return 1;
    PyBuffer_Release(&write->packet);
    return 0;
}

/* Runs without the interpreter's lock. */
static void write_all(struct write *writes, Py_ssize_t count, int fd)
{
    for (struct write *write = writes; write < writes + count; write++) {
        struct iovec parts[] = {{write->vnet.buf, (size_t)write->vnet.len},
                                {write->packet.buf, (size_t)write->packet.len}};
        ssize_t written;
        do
            written = writev(fd, parts, 2);
        while (written < 0 && errno == EINTR);
        write->error = written < 0 ? errno : 0;
    }
}

/* Returns 0 with an exception set. */
static int let_go(struct write *writes, Py_ssize_t count, PyObject *errors)
{
    int is_good = 1;
    for (struct write *write = writes; write < writes + count; write++) {
        PyBuffer_Release(&write->vnet);
        PyBuffer_Release(&write->packet);
        PyObject *error = is_good && write->error ? PyLong_FromLong(write->error) : NULL;
        if (is_good && write->error)
            is_good = error && PyList_Append(errors, error) == 0;
        Py_XDECREF(error);
    }
    return is_good;
}

/* Write up to WRITES_AT_ONCE frames from `start` on.  What stands before a frame that is none is written. */
static int write_some(int fd, PyObject *frames, Py_ssize_t start, PyObject *errors)
{
    struct write writes[WRITES_AT_ONCE];
    PyObject *type = NULL, *value = NULL, *trace = NULL;
    Py_ssize_t count = 0;
    for (; count < WRITES_AT_ONCE && start + count < PySequence_Fast_GET_SIZE(frames); count++)
        if (!hold(&writes[count], PySequence_Fast_GET_ITEM(frames, start + count)))
            break;
    PyErr_Fetch(&type, &value, &trace);
    Py_BEGIN_ALLOW_THREADS
    write_all(writes, count, fd);
    Py_END_ALLOW_THREADS
    int is_good = let_go(writes, count, errors);
    if (!type)
        return is_good;
    PyErr_Restore(type, value, trace);
    return 0;
}

static PyObject *write_frames(PyObject *Py_UNUSED(module), PyObject *args)
{
    int fd;
    PyObject *given;
    if (!PyArg_ParseTuple(args, "iO:write_frames", &fd, &given))
        return NULL;
    PyObject *frames = PySequence_Fast(given, "frames are a sequence");
    PyObject *errors = frames ? PyList_New(0) : NULL;
    for (Py_ssize_t start = 0; errors && start < PySequence_Fast_GET_SIZE(frames); start += WRITES_AT_ONCE)
        if (!write_some(fd, frames, start, errors))
            Py_CLEAR(errors);
    Py_XDECREF(frames);
    return errors;
}

static PyMethodDef functions[] = {
    {"read_frames", read_frames, METH_VARARGS, "Read the frames that are there, within bounds."},
    {"write_frames", write_frames, METH_VARARGS, "Write frames, each behind its virtio-net header."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    return import_named_tuple(&state->frame, "twistvpn.interfaces", "Frame") &&
                   (state->no_offload = import_value("twistvpn.interfaces", "NO_OFFLOAD"))
               ? 0
               : -1;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    if (!state)
        return 0;
    Py_VISIT(state->frame);
    Py_VISIT(state->no_offload);
    return 0;
}

static int clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (!state)
        return 0;
    Py_CLEAR(state->frame);
    Py_CLEAR(state->no_offload);
    return 0;
}

static void release(void *module)
{
    clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_frames",
    .m_doc = "Reading and writing a tun device in batches.",
    .m_size = sizeof(struct state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__frames(void)
{
    return PyModuleDef_Init(&definition);
}
