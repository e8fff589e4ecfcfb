/* What the parts of the extension module share: its state, and values of Python that it takes and makes. */
#ifndef TWISTVPN_KERNEL_H
#define TWISTVPN_KERNEL_H

#include <stdint.h>

#include "values.h"

/* Everything that would otherwise be global. */
struct state {
    PyTypeObject *frame, *run, *opened; /* the named tuples */
    PyObject *no_offload;               /* NO_OFFLOAD of twistvpn.interfaces */
    PyObject *malformed_packet, *packet_id_exhausted;
};

extern PyType_Spec sealer_spec, epoch_sealer_spec, cbc_sealer_spec;
extern PyType_Spec opener_spec, epoch_opener_spec, cbc_opener_spec;

PyObject *kernel_segment(PyObject *module, PyObject *frame);
PyObject *kernel_coalesce(PyObject *module, PyObject *args);
PyObject *kernel_clamp_mss(PyObject *module, PyObject *args);
PyObject *kernel_by_source(PyObject *module, PyObject *packets);
PyObject *kernel_by_destination(PyObject *module, PyObject *frames);
PyObject *kernel_by_ethernet_source(PyObject *module, PyObject *packets);
PyObject *kernel_by_stations(PyObject *module, PyObject *frames);
PyObject *kernel_segment_ethernet(PyObject *module, PyObject *args);
PyObject *kernel_sort_ethernet(PyObject *module, PyObject *args);
PyObject *kernel_coalesce_ethernet(PyObject *module, PyObject *args);

/* A MSS from Python: 0 is none.  Returns 0 with an exception set where it is not one. */
int parse_mss(PyObject *value, unsigned *mss);

/* The packet and the virtio-net header of a frame, borrowed.  Returns 0 with an exception set where it is none. */
int parse_frame(PyObject *frame, PyObject **packet, PyObject **vnet);

/* The bytes of a packet or a virtio-net header.  Returns 0 with an exception set where it has none. */
static inline int get_bytes(PyObject *object, Py_buffer *view)
{
    return PyObject_GetBuffer(object, view, PyBUF_SIMPLE) == 0;
}

/* `count` zeroed elements; frees with PyMem_Free. */
static inline void *new_array(Py_ssize_t count, size_t size)
{
    void *array = PyMem_Calloc(count ? (size_t)count : 1, size);
    if (!array)
        PyErr_NoMemory();
    return array;
}

#endif
