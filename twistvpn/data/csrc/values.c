#include "values.h"

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

PyObject *import_value(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *value = imported ? PyObject_GetAttrString(imported, name) : NULL;
    Py_XDECREF(imported);
    return value;
}

int import_named_tuple(PyTypeObject **type, const char *module, const char *name)
{
    PyObject *value = import_value(module, name);
    if (value && !(PyType_Check(value) && PyType_IsSubtype((PyTypeObject *)value, &PyTuple_Type))) {
        PyErr_Format(PyExc_TypeError, "%s is no named tuple", name);
        Py_CLEAR(value);
    }
    *type = (PyTypeObject *)value;
    return value != NULL;
}
