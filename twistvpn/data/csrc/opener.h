/* The other direction of one key, in any format of data packets. */
#ifndef TWISTVPN_OPENER_H
#define TWISTVPN_OPENER_H

#include "kernel.h"

#include "aead.h"
#include "cbc.h"
#include "epoch.h"
#include "replay.h"

typedef struct {
    PyObject_HEAD
    struct incoming current; /* its AEAD is unused in CBC mode */
    struct epochs *epochs;   /* NULL where keys have no epochs */
    struct cbc *cbc;         /* NULL but in CBC mode */
    char is_busy;            /* a thread is at work without the interpreter's lock */
} Opener;

/* Bytes of the shortest datagram that can be authentic, without its prefix. */
static inline size_t opener_shortest(const Opener *self)
{
    return self->cbc ? self->cbc->mac_size + 2 * CBC_BLOCK : self->current.aead.packet_id + TAG + 1;
}

/* The methods of the same names. */
PyObject *opener_open(Opener *self, PyObject *args);
PyObject *opener_open_unsorted(Opener *self, PyObject *args);

#endif
