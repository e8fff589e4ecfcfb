/* One direction of one data channel key, on libcrypto's AEADs (wire-protocol draft, "Data channel packets"). */
#ifndef TWISTVPN_AEAD_H
#define TWISTVPN_AEAD_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

enum { TAG = 16, PACKET_ID = 4, IMPLICIT_IV = 8, NONCE = PACKET_ID + IMPLICIT_IV, LONGEST_PREFIX = 4 };

struct aead {
    EVP_CIPHER_CTX *context;
    uint8_t implicit_iv[IMPLICIT_IV];
};

enum aead_direction { AEAD_OPENS = 0, AEAD_SEALS = 1 };

/* Bytes that the key of a cipher, by its OpenVPN name, has; 0 for a name that is unknown. */
size_t aead_key_size(const char *name);

/* Key a direction: `key` has at least aead_key_size bytes, `implicit_iv` IMPLICIT_IV.  Returns 0 where libcrypto will
 * not have it. */
int aead_open(struct aead *aead, enum aead_direction direction, const char *name, const uint8_t *key,
              const uint8_t *implicit_iv);

void aead_close(struct aead *aead);

/* A datagram is prefix, packet id, tag, text.  `prefix` bytes of it are 4, and associated data too, for P_DATA_V2, or 1
 * for P_DATA_V1.  `length` is that of the text. */

/* Encrypt the text in its place and write the tag.  Returns 0 if libcrypto fails. */
int aead_seal(struct aead *aead, uint8_t *datagram, size_t prefix, size_t length);

/* Decrypt into `text`.  Returns 0 where the tag does not verify; `text` is then of no use. */
int aead_verify(struct aead *aead, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text);

#endif
