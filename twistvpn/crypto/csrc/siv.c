/* The extension module twistvpn.crypto._siv: the SivKeys of twistvpn.crypto.siv on libcrypto.
 *
 * A handshake has a dozen control packets, and each is one call here.  The GIL stays with us, as a packet is done
 * before another thread would have taken it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <openssl/crypto.h>

#include "mac.h"

enum { CIPHER_KEY = 32, IV = 16 };

typedef struct {
    PyObject_HEAD
    EVP_CIPHER_CTX *cipher;
    struct mac mac;
} SivKeys;

static int open_keys(SivKeys *self, const uint8_t *cipher, const uint8_t *hmac)
{
    self->cipher = EVP_CIPHER_CTX_new();
    return mac_open(&self->mac, hmac) && self->cipher &&
           EVP_EncryptInit_ex(self->cipher, EVP_aes_256_ctr(), NULL, cipher, NULL) == 1;
}

static PyObject *siv_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "hmac", NULL};
    Py_buffer cipher, hmac;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "y*y*:SivKeys", names, &cipher, &hmac))
        return NULL;
    SivKeys *self = NULL;
    if (cipher.len < CIPHER_KEY || hmac.len < MAC_KEY)
        PyErr_SetString(PyExc_ValueError, "a key is shorter than 32 bytes");
    else if ((self = (SivKeys *)type->tp_alloc(type, 0)) && !open_keys(self, cipher.buf, hmac.buf)) {
        PyErr_SetString(PyExc_RuntimeError, "libcrypto does not take the keys");
        Py_CLEAR(self);
    }
    PyBuffer_Release(&cipher);
    PyBuffer_Release(&hmac);
    return (PyObject *)self;
}

static void siv_dealloc(SivKeys *self)
{
    PyTypeObject *type = Py_TYPE(self);
    EVP_CIPHER_CTX_free(self->cipher);
    mac_close(&self->mac);
    type->tp_free(self);
    Py_DECREF(type);
}

/* CTR is its own inverse.  Returns 0 if libcrypto fails. */
static int run_cipher(SivKeys *self, const uint8_t *tag, const uint8_t *from, Py_ssize_t size, uint8_t *to)
{
    int done;
    return EVP_EncryptInit_ex(self->cipher, NULL, NULL, NULL, tag) == 1 &&
           EVP_EncryptUpdate(self->cipher, to, &done, from, (int)size) == 1;
}

static PyObject *broken(PyObject *unfinished)
{
    Py_XDECREF(unfinished);
    PyErr_SetString(PyExc_RuntimeError, "libcrypto has failed");
    return NULL;
}

static PyObject *seal(SivKeys *self, const Py_buffer *associated, const Py_buffer *text)
{
    PyObject *sealed = PyBytes_FromStringAndSize(NULL, MAC_SIZE + text->len);
    if (!sealed)
        return NULL;
    uint8_t *tag = (uint8_t *)PyBytes_AS_STRING(sealed);
    if (!mac_tag(&self->mac, associated->buf, (size_t)associated->len, text->buf, (size_t)text->len, tag) ||
        !run_cipher(self, tag, text->buf, text->len, tag + MAC_SIZE))
        return broken(sealed);
    return sealed;
}

static PyObject *open_sealed(SivKeys *self, const Py_buffer *associated, const Py_buffer *sealed)
{
    const uint8_t *tag = sealed->buf;
    Py_ssize_t size = sealed->len - MAC_SIZE;
    if (size < 0)
        Py_RETURN_NONE;
    PyObject *text = PyBytes_FromStringAndSize(NULL, size);
    if (!text)
        return NULL;
    uint8_t expected[MAC_SIZE], *clear = (uint8_t *)PyBytes_AS_STRING(text);
    if (!run_cipher(self, tag, tag + MAC_SIZE, size, clear) ||
        !mac_tag(&self->mac, associated->buf, (size_t)associated->len, clear, (size_t)size, expected))
        return broken(text);
    if (CRYPTO_memcmp(expected, tag, MAC_SIZE)) {
        Py_DECREF(text);
        Py_RETURN_NONE;
    }
    return text;
}

typedef PyObject *(*operation)(SivKeys *self, const Py_buffer *associated, const Py_buffer *input);

static PyObject *with_buffers(SivKeys *self, PyObject *const *args, Py_ssize_t count, operation run)
{
    Py_buffer associated, input;
    if (count != 2)
        return PyErr_Format(PyExc_TypeError, "2 arguments, not %zd", count);
    if (PyObject_GetBuffer(args[0], &associated, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *made = NULL;
    if (PyObject_GetBuffer(args[1], &input, PyBUF_SIMPLE) == 0) {
        if (input.len > INT_MAX)
            PyErr_SetString(PyExc_OverflowError, "more than libcrypto takes at once");
        else
            made = run(self, &associated, &input);
        PyBuffer_Release(&input);
    }
    PyBuffer_Release(&associated);
    return made;
}

static PyObject *siv_seal(SivKeys *self, PyObject *const *args, Py_ssize_t count)
{
    return with_buffers(self, args, count, seal);
}

static PyObject *siv_open(SivKeys *self, PyObject *const *args, Py_ssize_t count)
{
    return with_buffers(self, args, count, open_sealed);
}

static PyMethodDef methods[] = {
    {"seal", (PyCFunction)(void (*)(void))siv_seal, METH_FASTCALL, "Tag and ciphertext of a text."},
    {"open", (PyCFunction)(void (*)(void))siv_open, METH_FASTCALL, "The text, None where it is not authentic."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot type_slots[] = {
    {Py_tp_doc, "One direction's keys for cipher and HMAC."},
    {Py_tp_new, siv_new},
    {Py_tp_dealloc, siv_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec type_spec = {
    .name = "twistvpn.crypto._siv.SivKeys",
    .basicsize = sizeof(SivKeys),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = type_slots,
};

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &type_spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
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
    .m_name = "_siv",
    .m_doc = "The wrapping of control packets on libcrypto.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__siv(void)
{
    return PyModuleDef_Init(&definition);
}
