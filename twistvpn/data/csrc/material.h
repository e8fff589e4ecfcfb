/* What a sealer or an opener is made of, as Python hands it over. */
#ifndef TWISTVPN_MATERIAL_H
#define TWISTVPN_MATERIAL_H

#include "kernel.h"

#include "cipher.h"

/* Zeroed but for what the arguments have; all of it is borrowed until `keyed` lets go. */
struct material {
    const char *cipher_name, *digest_name;
    Py_buffer key, iv, hmac_key, prefix;
    const struct cipher *cipher; /* what the names mean */
    const EVP_MD *digest;
};

/* Find what the names mean and see that the keys are long enough, for each format of data packets.  They return 0 with
 * an exception set. */
int is_aead_material(struct material *given);
int is_epoch_material(struct material *given);
int is_cbc_material(struct material *given);

/* Let go of the material.  Returns the object, which is stolen, or NULL with an exception set where there is none or
 * libcrypto has not taken its key. */
PyObject *keyed(struct material *given, PyObject *self, int is_open);

#endif
