/* The extension module twistvpn.data._kernel: what twistvpn.data.pure has, on libcrypto. */
#include "kernel.h"

#include <openssl/crypto.h>

static PyMethodDef functions[] = {
    {"segment", kernel_segment, METH_O, "The packets that a frame stands for."},
    {"coalesce", kernel_coalesce, METH_VARARGS, "Merge packets into super-packets."},
    {"clamp_mss", kernel_clamp_mss, METH_VARARGS, "Lower the MSS of TCP handshakes in a list's place."},
    {"by_source", kernel_by_source, METH_O, "Neighbouring packets by source address."},
    {"by_destination", kernel_by_destination, METH_O, "Neighbouring frames by destination address."},
    {"by_ethernet_source", kernel_by_ethernet_source, METH_O, "Neighbouring Ethernet frames by source address."},
    {"by_stations", kernel_by_stations, METH_O, "Neighbouring Ethernet frames by destination and source address."},
    {"segment_ethernet", kernel_segment_ethernet, METH_VARARGS, "The Ethernet frames that super-packets stand for."},
    {"sort_ethernet", kernel_sort_ethernet, METH_VARARGS, "Opened Ethernet frames and messages apart."},
    {"coalesce_ethernet", kernel_coalesce_ethernet, METH_VARARGS, "Merge Ethernet frames into super-packets."},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result == 0;
}

static int add_name(PyObject *module)
{
    PyObject *name = PyUnicode_FromFormat("compiled (%s)", OpenSSL_version(OPENSSL_VERSION));
    int result = name ? PyModule_AddObjectRef(module, "NAME", name) : -1;
    Py_XDECREF(name);
    return result == 0;
}

static int execute(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    int is_ready = import_named_tuple(&state->frame, "twistvpn.interfaces", "Frame") &&
                   import_named_tuple(&state->run, "twistvpn.interfaces", "Run") &&
                   import_named_tuple(&state->opened, "twistvpn.data.opened", "Opened") &&
                   (state->no_offload = import_value("twistvpn.interfaces", "NO_OFFLOAD")) &&
                   (state->malformed_packet = import_value("twistvpn.errors", "MalformedPacket")) &&
                   (state->packet_id_exhausted = import_value("twistvpn.errors", "PacketIdExhausted")) &&
                   add_type(module, &sealer_spec) && add_type(module, &opener_spec) &&
                   add_type(module, &epoch_sealer_spec) && add_type(module, &epoch_opener_spec) &&
                   add_type(module, &cbc_sealer_spec) && add_type(module, &cbc_opener_spec) && add_name(module);
    return is_ready ? 0 : -1;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    if (!state)
        return 0;
    Py_VISIT(state->frame);
    Py_VISIT(state->run);
    Py_VISIT(state->opened);
    Py_VISIT(state->no_offload);
    Py_VISIT(state->malformed_packet);
    Py_VISIT(state->packet_id_exhausted);
    return 0;
}

static int clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (!state)
        return 0;
    Py_CLEAR(state->frame);
    Py_CLEAR(state->run);
    Py_CLEAR(state->opened);
    Py_CLEAR(state->no_offload);
    Py_CLEAR(state->malformed_packet);
    Py_CLEAR(state->packet_id_exhausted);
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
    .m_name = "_kernel",
    .m_doc = "The inner loops of the data path on libcrypto.",
    .m_size = sizeof(struct state),
    .m_methods = functions,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&definition);
}
