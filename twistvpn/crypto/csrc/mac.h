/* HMAC-SHA256 (RFC 2104) under one key, which is worked in once: that costs as much as a short message does. */
#ifndef TWISTVPN_MAC_H
#define TWISTVPN_MAC_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

enum { MAC_KEY = 32, MAC_SIZE = 32 };

struct mac {
    EVP_MD_CTX *inner, *outer; /* with the key in them */
    EVP_MD_CTX *running;
};

/* Returns 0 where libcrypto or the memory fails; `mac_close` is due either way. */
int mac_open(struct mac *mac, const uint8_t key[MAC_KEY]);

void mac_close(struct mac *mac);

/* The HMAC of two pieces behind each other.  Returns 0 if libcrypto fails. */
int mac_tag(struct mac *mac, const void *first, size_t first_size, const void *second, size_t second_size,
            uint8_t tag[MAC_SIZE]);

#endif
