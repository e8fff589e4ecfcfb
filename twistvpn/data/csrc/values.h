/* Named tuples of Python. */
#ifndef TWISTVPN_VALUES_H
#define TWISTVPN_VALUES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* A named tuple of `count` items, which are stolen even where it fails; NULL where one of them is. */
PyObject *named_tuple(PyTypeObject *type, Py_ssize_t count, ...);

PyObject *import_value(const char *module, const char *name);

/* Returns 0 with an exception set where it is not there or is no tuple. */
int import_named_tuple(PyTypeObject **type, const char *module, const char *name);

#endif
