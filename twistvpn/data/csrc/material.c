#include "material.h"

#include "aead.h"
#include "cbc.h"
#include "epoch.h"

static int check(int is_good, const char *wrong)
{
    if (!is_good)
        PyErr_SetString(PyExc_ValueError, wrong);
    return is_good;
}

int is_aead_material(struct material *given)
{
    given->cipher = find_aead(given->cipher_name);
    return check(given->cipher && (size_t)given->key.len >= given->cipher->key_size && given->iv.len >= IMPLICIT_IV,
                 "no such cipher, or a key or IV of the wrong length");
}

int is_epoch_material(struct material *given)
{
    given->cipher = find_aead(given->cipher_name);
    return check(given->cipher && given->key.len >= SECRET, "no such cipher, or a key of the wrong length");
}

int is_cbc_material(struct material *given)
{
    given->cipher = find_cbc(given->cipher_name);
    given->digest = find_digest(given->digest_name);
    return check(given->cipher && given->digest && (size_t)given->key.len >= given->cipher->key_size &&
                     given->hmac_key.len >= EVP_MD_get_size(given->digest),
                 "no such cipher or digest, or a key of the wrong length");
}

PyObject *keyed(struct material *given, PyObject *self, int is_open)
{
    PyBuffer_Release(&given->key);
    PyBuffer_Release(&given->iv);
    PyBuffer_Release(&given->hmac_key);
    PyBuffer_Release(&given->prefix);
    if (self && !is_open && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "libcrypto does not take the key");
    if (self && !is_open)
        Py_CLEAR(self);
    return self;
}
