/* The extension module twistvpn.tun._reading: all packets that a tun device has, in one call. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <unistd.h>

#include "../../data/csrc/values.h"

enum {
    LONGEST_READ = 65535,
    MOST_READS = 256,
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

static PyMethodDef functions[] = {
    {"read_frames", read_frames, METH_VARARGS, "Read the frames that are there, within bounds."},
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
    .m_name = "_reading",
    .m_doc = "Reading a tun device in batches.",
    .m_size = sizeof(struct state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__reading(void)
{
    return PyModuleDef_Init(&definition);
}
