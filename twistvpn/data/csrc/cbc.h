/* One direction of one data channel key with a block cipher in CBC mode and an HMAC; the rules are those of
 * twistvpn.data.cbc. */
#ifndef TWISTVPN_CBC_H
#define TWISTVPN_CBC_H

#include <openssl/evp.h>
#include <stdint.h>

#include "cipher.h"

enum { CBC_BLOCK = 16, CBC_ID = 4, CBC_SPARE = 32 * CBC_BLOCK };

struct cbc {
    EVP_CIPHER_CTX *context;
    EVP_MAC_CTX *mac;
    size_t mac_size;
    uint8_t spare[CBC_SPARE]; /* random bytes for IVs */
    size_t spare_left;
};

/* The digest of a name of hashlib's, NULL where libcrypto has none. */
const EVP_MD *find_digest(const char *name);

/* Key a direction; of the keys the first bytes count, as many as the cipher takes and the digest has.  Returns 0 where
 * libcrypto will not have it. */
int cbc_open(struct cbc *cbc, enum direction direction, const struct cipher *cipher, const EVP_MD *digest,
             const uint8_t *key, const uint8_t *mac_key);

void cbc_close(struct cbc *cbc);

/* A datagram is prefix, HMAC, IV and ciphertext, which is that of packet id, text and padding. */

static inline size_t cbc_text_at(const struct cbc *cbc, size_t prefix)
{
    return prefix + cbc->mac_size + CBC_BLOCK + CBC_ID;
}

/* Bytes of the whole datagram. */
static inline size_t cbc_sealed(const struct cbc *cbc, size_t prefix, size_t text)
{
    return prefix + cbc->mac_size + CBC_BLOCK + ((text + CBC_ID) / CBC_BLOCK + 1) * CBC_BLOCK;
}

/* Encrypt packet id and text in their place and write the rest.  Returns 0 if libcrypto fails. */
int cbc_seal(struct cbc *cbc, uint8_t *datagram, size_t prefix, uint32_t packet_id, size_t length);

/* Decrypt a datagram of `length` bytes into `text`, where there is room for its whole ciphertext; returns the text's
 * length, which is 0 where the datagram is not authentic. */
size_t cbc_verify(struct cbc *cbc, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text,
                  uint32_t *packet_id);

#endif
