/* Keys that follow from each other; the rules are those of twistvpn.crypto.epoch and twistvpn.data.epoch. */
#ifndef TWISTVPN_EPOCH_H
#define TWISTVPN_EPOCH_H

#include <stdint.h>

#include "aead.h"
#include "replay.h"

enum { SECRET = 32, FUTURE_EPOCHS = 16, MAX_EPOCH = 0xFFFF - FUTURE_EPOCHS - 1 };

#define FAILURES_LIMIT (1ull << 36)

/* What the keys of one epoch, and of all after it, follow from. */
struct secret {
    unsigned epoch;
    uint8_t bytes[SECRET];
};

/* Go on to a later epoch, or stay.  Returns 0 if libcrypto fails. */
int secret_advance(struct secret *secret, unsigned epoch);

void secret_forget(struct secret *secret);

/* Key one direction for the epoch of `secret`.  Returns 0 if libcrypto fails. */
int secret_open(const struct secret *secret, struct aead *aead, enum direction direction, const struct cipher *cipher);

/* A key that receives. */
struct incoming {
    unsigned epoch; /* 0 where there is no key, and where keys have no epochs */
    struct aead aead;
    struct replay replay;
    unsigned long long blocks, failures;
};

void incoming_close(struct incoming *key);

/* What receives beside the present epoch's key. */
struct epochs {
    const struct cipher *cipher;
    struct secret secret; /* of the present epoch */
    uint32_t window;
    double seconds;
    struct incoming retiring;
    struct incoming future[FUTURE_EPOCHS]; /* of the next epoch and so on, made when it is asked for */
};

/* Begin with the epoch of `secret` in `current`.  Returns 0 if libcrypto or the memory fails. */
int epochs_open(struct epochs *epochs, struct incoming *current, const struct cipher *cipher,
                const struct secret *secret, uint32_t window, double seconds);

void epochs_close(struct epochs *epochs);

/* The key of an epoch, NULL where there is none. */
struct incoming *epochs_find(struct epochs *epochs, struct incoming *current, unsigned epoch);

/* Make the key of a future epoch, which epochs_find has given, the present one: it moves to `current`.  Returns 0 if
 * libcrypto fails. */
int epochs_advance(struct epochs *epochs, struct incoming *current, struct incoming *key);

#endif
