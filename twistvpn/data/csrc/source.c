#include "source.h"

#include "mss.h"

int parse_mss(PyObject *value, unsigned *mss)
{
    unsigned long given = PyLong_AsUnsignedLong(value);
    if (given == (unsigned long)-1 && PyErr_Occurred())
        return 0;
    *mss = given > 0xFFFF ? 0xFFFF : (unsigned)given;
    return 1;
}

int parse_frame(PyObject *frame, PyObject **packet, PyObject **vnet)
{
    if (!PyTuple_Check(frame) || PyTuple_GET_SIZE(frame) != 2) {
        PyErr_SetString(PyExc_TypeError, "a frame is a packet and a virtio-net header");
        return 0;
    }
    *packet = PyTuple_GET_ITEM(frame, 0);
    *vnet = PyTuple_GET_ITEM(frame, 1);
    return 1;
}

static enum source_result plan(struct source *source, const struct state *state, PyObject *vnet, const char **wrong)
{
    static const uint8_t none[VNET_HEADER] = {0};
    const uint8_t *packet = source->view.buf;
    size_t length = (size_t)source->view.len;
    if (vnet == state->no_offload) {
        *wrong = plan_segments(&source->plan, packet, length, none);
        return SOURCE_GOOD;
    }
    Py_buffer header;
    if (!get_bytes(vnet, &header))
        return SOURCE_ERROR;
    *wrong = header.len == VNET_HEADER ? plan_segments(&source->plan, packet, length, header.buf)
                                       : "a virtio-net header has 10 bytes";
    PyBuffer_Release(&header);
    return *wrong ? SOURCE_MALFORMED : SOURCE_GOOD;
}

enum source_result source_open(struct source *source, const struct state *state, PyObject *frame, const char **wrong)
{
    PyObject *packet, *vnet;
    if (!parse_frame(frame, &packet, &vnet) || !get_bytes(packet, &source->view))
        return SOURCE_ERROR;
    enum source_result result = plan(source, state, vnet, wrong);
    if (result != SOURCE_GOOD)
        source_close(source);
    return result;
}

static PyObject *write_all(const struct plan *plan)
{
    PyObject *segments = PyList_New((Py_ssize_t)plan->count);
    for (size_t index = 0; segments && index < plan->count; index++) {
        PyObject *segment = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)segment_length(plan, index));
        if (!segment) {
            Py_CLEAR(segments);
            break;
        }
        write_segment(plan, index, (uint8_t *)PyBytes_AS_STRING(segment));
        PyList_SET_ITEM(segments, (Py_ssize_t)index, segment);
    }
    return segments;
}

PyObject *kernel_segment(PyObject *module, PyObject *frame)
{
    const struct state *state = PyModule_GetState(module);
    struct source source;
    const char *wrong;
    switch (source_open(&source, state, frame, &wrong)) {
    case SOURCE_ERROR:
        return NULL;
    case SOURCE_MALFORMED:
        PyErr_SetString(state->malformed_packet, wrong);
        return NULL;
    case SOURCE_GOOD:
        break;
    }
    PyObject *segments = write_all(&source.plan);
    source_close(&source);
    return segments;
}

/* The packet with a lower MSS, NULL where it stays as it is or with an exception set. */
static PyObject *clamped(PyObject *packet, unsigned largest)
{
    Py_buffer view;
    PyObject *copy = NULL;
    if (!get_bytes(packet, &view))
        return NULL;
    if (find_high_mss(view.buf, (size_t)view.len, largest))
        copy = PyBytes_FromStringAndSize(view.buf, view.len);
    PyBuffer_Release(&view);
    if (copy)
        clamp_mss((uint8_t *)PyBytes_AS_STRING(copy), (size_t)PyBytes_GET_SIZE(copy), largest);
    return copy;
}

PyObject *kernel_clamp_mss(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *packets, *value;
    unsigned largest;
    if (!PyArg_ParseTuple(args, "O!O:clamp_mss", &PyList_Type, &packets, &value) || !parse_mss(value, &largest))
        return NULL;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(packets); index++) {
        PyObject *packet = PyList_GET_ITEM(packets, index);
        Py_INCREF(packet);
        PyObject *copy = clamped(packet, largest);
        Py_DECREF(packet);
        if (copy && PyList_SetItem(packets, index, copy) < 0)
            return NULL;
        if (PyErr_Occurred())
            return NULL;
    }
    Py_RETURN_NONE;
}
