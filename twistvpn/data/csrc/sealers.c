/* The types of sealers, one for each format of data packets. */
#include "sealer.h"

#include "material.h"

#include <structmember.h>

static PyObject *method_largest_text(Sealer *self, PyObject *size)
{
    Py_ssize_t datagram = PyLong_AsSsize_t(size);
    if (datagram == -1 && PyErr_Occurred())
        return NULL;
    if (!self->cbc)
        return PyLong_FromSsize_t(datagram - (Py_ssize_t)sealer_sealed_size(self, 0));
    Py_ssize_t room = datagram - (Py_ssize_t)(sealer_text_at(self) - CBC_ID), over = room % CBC_BLOCK;
    return PyLong_FromSsize_t(room - (over < 0 ? over + CBC_BLOCK : over) - 1 - CBC_ID);
}

static PyObject *method_advance(Sealer *self, PyObject *value)
{
    unsigned long epoch = PyLong_AsUnsignedLong(value);
    if (epoch == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    if (self->is_busy)
        return PyErr_Format(PyExc_RuntimeError, "another thread is sealing under this key");
    if (epoch <= self->secret.epoch || epoch > MAX_EPOCH)
        return PyErr_Format(PyExc_ValueError, "from epoch %u there is no way to epoch %lu", self->secret.epoch, epoch);
    struct aead before = self->aead;
    if (!secret_advance(&self->secret, (unsigned)epoch) ||
        !secret_open(&self->secret, &self->aead, SEALS, self->cipher)) {
        aead_close(&before);
        return PyErr_Format(PyExc_RuntimeError, "libcrypto cannot derive keys");
    }
    aead_close(&before);
    self->packet_id = self->blocks = 0;
    Py_RETURN_NONE;
}

/* An object without its key yet; NULL with an exception set where the prefix is none. */
static Sealer *new_sealer(PyTypeObject *type, const Py_buffer *prefix)
{
    if (prefix->len != 1 && prefix->len != 4) {
        PyErr_SetString(PyExc_ValueError, "a prefix has 1 or 4 bytes");
        return NULL;
    }
    Sealer *self = (Sealer *)type->tp_alloc(type, 0);
    if (self) {
        memcpy(self->prefix, prefix->buf, (size_t)prefix->len);
        self->prefix_size = (size_t)prefix->len;
    }
    return self;
}

static PyObject *sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "prefix", NULL};
    struct material given = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*y*:Sealer", names, &given.cipher_name, &given.key, &given.iv,
                                     &given.prefix))
        return NULL;
    Sealer *self = is_aead_material(&given) ? new_sealer(type, &given.prefix) : NULL;
    int is_open = self && aead_open(&self->aead, SEALS, given.cipher, CLASSIC_ID, given.key.buf, given.iv.buf);
    return keyed(&given, (PyObject *)self, is_open);
}

static PyObject *epoch_sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "prefix", NULL};
    struct material given = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*:EpochSealer", names, &given.cipher_name, &given.key,
                                     &given.prefix))
        return NULL;
    Sealer *self = is_epoch_material(&given) ? new_sealer(type, &given.prefix) : NULL;
    int is_open = 0;
    if (self) {
        self->cipher = given.cipher;
        self->secret.epoch = 1;
        memcpy(self->secret.bytes, given.key.buf, SECRET);
        is_open = secret_open(&self->secret, &self->aead, SEALS, given.cipher);
    }
    return keyed(&given, (PyObject *)self, is_open);
}

static PyObject *cbc_sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "digest", "hmac_key", "prefix", NULL};
    struct material given = {0};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*sy*y*:CbcSealer", names, &given.cipher_name, &given.key,
                                     &given.digest_name, &given.hmac_key, &given.prefix))
        return NULL;
    Sealer *self = is_cbc_material(&given) ? new_sealer(type, &given.prefix) : NULL;
    int is_open = 0;
    if (self && (self->cbc = new_array(1, sizeof *self->cbc)))
        is_open = cbc_open(self->cbc, SEALS, given.cipher, given.digest, given.key.buf, given.hmac_key.buf);
    return keyed(&given, (PyObject *)self, is_open);
}

static void sealer_dealloc(Sealer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    aead_close(&self->aead);
    secret_forget(&self->secret);
    if (self->cbc)
        cbc_close(self->cbc);
    PyMem_Free(self->cbc);
    type->tp_free(self);
    Py_DECREF(type);
}

#define METHODS                                                                                                       \
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_FASTCALL, "Segment and seal a batch of frames, in order."}, \
    {"largest_text", (PyCFunction)method_largest_text, METH_O, "The size of the largest packet for a datagram."}

static PyMethodDef methods[] = {METHODS, {NULL, NULL, 0, NULL}};

static PyMethodDef epoch_methods[] = {
    METHODS,
    {"advance", (PyCFunction)method_advance, METH_O, "Seal under a later epoch from now on."},
    {NULL, NULL, 0, NULL},
};

#define MEMBERS                                                                                          \
    {"packet_id", T_ULONGLONG, offsetof(Sealer, packet_id), 0, "The packet id used last."},               \
    {"blocks", T_ULONGLONG, offsetof(Sealer, blocks), 0, "Plaintext blocks of 16 bytes sealed so far."}

static PyMemberDef members[] = {MEMBERS, {NULL, 0, 0, 0, NULL}};

static PyMemberDef epoch_members[] = {
    MEMBERS,
    {"epoch", T_UINT, offsetof(Sealer, secret.epoch), READONLY, "The present epoch."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One direction of one key: frames in, runs of data packets out."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Slot epoch_slots[] = {
    {Py_tp_doc, "The same under keys that change by epochs."},
    {Py_tp_new, epoch_sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, epoch_methods},
    {Py_tp_members, epoch_members},
    {0, NULL},
};

static PyType_Slot cbc_slots[] = {
    {Py_tp_doc, "The same with a block cipher and an HMAC."},
    {Py_tp_new, cbc_sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec sealer_spec = {
    .name = "twistvpn.data._kernel.Sealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

PyType_Spec epoch_sealer_spec = {
    .name = "twistvpn.data._kernel.EpochSealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = epoch_slots,
};

PyType_Spec cbc_sealer_spec = {
    .name = "twistvpn.data._kernel.CbcSealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = cbc_slots,
};
