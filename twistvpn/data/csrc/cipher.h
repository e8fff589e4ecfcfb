/* The ciphers that there are, by their OpenVPN names. */
#ifndef TWISTVPN_CIPHER_H
#define TWISTVPN_CIPHER_H

#include <openssl/evp.h>
#include <stddef.h>

enum { LONGEST_PREFIX = 4, LONGEST_KEY = 32 };

enum direction { OPENS = 0, SEALS = 1 };

struct cipher {
    const char *name;
    size_t key_size;
    const EVP_CIPHER *(*get)(void);
};

/* NULL for a name that is unknown. */
const struct cipher *find_aead(const char *name);
const struct cipher *find_cbc(const char *name);

#endif
