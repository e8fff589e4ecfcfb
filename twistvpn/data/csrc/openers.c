/* The types of openers, one for each format of data packets. */
#include "opener.h"

#include "material.h"

#include <structmember.h>

/* An object without its key yet; NULL with an exception set where the window is none. */
static Opener *new_opener(PyTypeObject *type, Py_ssize_t window)
{
    if (window >= 1 && window <= LARGEST_REPLAY_WINDOW)
        return (Opener *)type->tp_alloc(type, 0);
    PyErr_SetString(PyExc_ValueError, "a replay window has 1 to 65536 packets");
    return NULL;
}

static PyObject *opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "replay_window", "replay_time", NULL};
    struct material given = {0};
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*nd:Opener", names, &given.cipher_name, &given.key, &given.iv,
                                     &window, &seconds))
        return NULL;
    Opener *self = is_aead_material(&given) ? new_opener(type, window) : NULL;
    int is_open = self && replay_open(&self->current.replay, (uint32_t)window, seconds) &&
                  aead_open(&self->current.aead, OPENS, given.cipher, CLASSIC_ID, given.key.buf, given.iv.buf);
    return keyed(&given, (PyObject *)self, is_open);
}

static PyObject *epoch_opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "replay_window", "replay_time", NULL};
    struct material given = {0};
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*nd:EpochOpener", names, &given.cipher_name, &given.key,
                                     &window, &seconds))
        return NULL;
    Opener *self = is_epoch_material(&given) ? new_opener(type, window) : NULL;
    int is_open = 0;
    if (self && (self->epochs = new_array(1, sizeof *self->epochs))) {
        struct secret secret = {.epoch = 1};
        memcpy(secret.bytes, given.key.buf, SECRET);
        is_open = epochs_open(self->epochs, &self->current, given.cipher, &secret, (uint32_t)window, seconds);
        secret_forget(&secret);
    }
    return keyed(&given, (PyObject *)self, is_open);
}

static PyObject *cbc_opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "digest", "hmac_key", "replay_window", "replay_time", NULL};
    struct material given = {0};
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*sy*nd:CbcOpener", names, &given.cipher_name, &given.key,
                                     &given.digest_name, &given.hmac_key, &window, &seconds))
        return NULL;
    Opener *self = is_cbc_material(&given) ? new_opener(type, window) : NULL;
    int is_open = 0;
    if (self && (self->cbc = new_array(1, sizeof *self->cbc)))
        is_open = replay_open(&self->current.replay, (uint32_t)window, seconds) &&
                  cbc_open(self->cbc, OPENS, given.cipher, given.digest, given.key.buf, given.hmac_key.buf);
    return keyed(&given, (PyObject *)self, is_open);
}

static void opener_dealloc(Opener *self)
{
    PyTypeObject *type = Py_TYPE(self);
    incoming_close(&self->current);
    if (self->epochs)
        epochs_close(self->epochs);
    if (self->cbc)
        cbc_close(self->cbc);
    PyMem_Free(self->epochs);
    PyMem_Free(self->cbc);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *property_shortest(Opener *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(opener_shortest(self));
}

static PyMethodDef methods[] = {
    {"open", (PyCFunction)opener_open, METH_VARARGS, "Open the datagrams of one run."},
    {"open_unsorted", (PyCFunction)opener_open_unsorted, METH_VARARGS, "The same, and leave the plaintexts as they are."},
    {NULL, NULL, 0, NULL},
};

#define MEMBERS                                                                                                        \
    {"blocks", T_ULONGLONG, offsetof(Opener, current.blocks), 0, "Plaintext blocks of 16 bytes opened so far."},        \
    {"failures", T_ULONGLONG, offsetof(Opener, current.failures), 0, "Datagrams that did not verify."},                \
    {"highest_packet_id", T_ULONGLONG, offsetof(Opener, current.replay.highest), READONLY, "The highest authentic one."}

static PyMemberDef members[] = {MEMBERS, {NULL, 0, 0, 0, NULL}};

static PyMemberDef epoch_members[] = {
    MEMBERS,
    {"epoch", T_UINT, offsetof(Opener, current.epoch), READONLY, "The peer's present epoch."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"shortest", (getter)property_shortest, NULL, "Bytes of the shortest datagram, without its prefix.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The other direction of one key: runs of data packets in, plaintext packets out."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Slot epoch_slots[] = {
    {Py_tp_doc, "The same under keys that change by epochs."},
    {Py_tp_new, epoch_opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, epoch_members},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Slot cbc_slots[] = {
    {Py_tp_doc, "The same with a block cipher and an HMAC."},
    {Py_tp_new, cbc_opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec opener_spec = {
    .name = "twistvpn.data._kernel.Opener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

PyType_Spec epoch_opener_spec = {
    .name = "twistvpn.data._kernel.EpochOpener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = epoch_slots,
};

PyType_Spec cbc_opener_spec = {
    .name = "twistvpn.data._kernel.CbcOpener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = cbc_slots,
};
