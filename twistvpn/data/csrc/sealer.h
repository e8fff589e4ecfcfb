/* One direction of one key, in any format of data packets. */
#ifndef TWISTVPN_SEALER_H
#define TWISTVPN_SEALER_H

#include "kernel.h"

#include "aead.h"
#include "cbc.h"
#include "epoch.h"

#define LONGEST_TEXT ((size_t)1 << 30) /* libcrypto counts in int */

typedef struct {
    PyObject_HEAD
    const struct cipher *cipher;
    struct aead aead;     /* unused in CBC mode */
    struct cbc *cbc;      /* NULL but in CBC mode */
    struct secret secret; /* epoch 0 where keys have no epochs */
    uint8_t prefix[LONGEST_PREFIX];
    size_t prefix_size;
    unsigned long long packet_id, blocks;
    char is_busy; /* a thread is at work without the interpreter's lock */
} Sealer;

/* Where a datagram's text begins. */
static inline size_t sealer_text_at(const Sealer *self)
{
    return self->cbc ? cbc_text_at(self->cbc, self->prefix_size)
                     : aead_text_at(self->aead.packet_id, self->prefix_size);
}

/* Bytes of the datagram that a text becomes. */
static inline size_t sealer_sealed_size(const Sealer *self, size_t text)
{
    return self->cbc ? cbc_sealed(self->cbc, self->prefix_size, text)
                     : self->prefix_size + self->aead.packet_id + TAG + text;
}

/* The method `seal`. */
PyObject *sealer_seal(Sealer *self, PyObject *const *args, Py_ssize_t count);

#endif
