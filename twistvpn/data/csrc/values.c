#include "kernel.h"

#include <stdarg.h>

PyObject *named_tuple(PyTypeObject *type, Py_ssize_t count, ...)
{
    PyObject *items = PyTuple_New(count), *made = NULL;
    int is_whole = items != NULL;
    va_list given;
    va_start(given, count);
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *item = va_arg(given, PyObject *);
        is_whole = is_whole && item;
        if (items)
            PyTuple_SET_ITEM(items, index, item);
        else
            Py_XDECREF(item);
    }
    va_end(given);
    if (is_whole) {
        PyObject *args = PyTuple_Pack(1, items);
        /* Past the named tuple's own constructor, which is written in Python. */
        made = args ? PyTuple_Type.tp_new(type, args, NULL) : NULL;
        Py_XDECREF(args);
    }
    Py_XDECREF(items);
    return made;
}

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
