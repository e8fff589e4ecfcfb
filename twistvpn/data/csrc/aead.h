/* One direction of one data channel key, on libcrypto's AEADs (wire-protocol draft, "Data channel packets"). */
#ifndef TWISTVPN_AEAD_H
#define TWISTVPN_AEAD_H

#include <openssl/evp.h>
#include <stddef.h>
#include <stdint.h>

#include "cipher.h"

enum { TAG = 16, IMPLICIT_IV = 8, NONCE = 12 };

/* Bytes of a packet id, by the format: its tag stands before the text, or behind it. */
enum { CLASSIC_ID = 4, EPOCH_ID = 8 };

struct aead {
    EVP_CIPHER_CTX *context;
    size_t packet_id;  /* CLASSIC_ID or EPOCH_ID */
    uint8_t iv[NONCE]; /* the packet id is XORed to its start */
};

/* Key a direction: `key` has as many bytes as the cipher takes, `iv` has NONCE - `packet_id` bytes in the classic format
 * and NONCE in that with epochs.  Returns 0 where libcrypto will not have it. */
int aead_open(struct aead *aead, enum direction direction, const struct cipher *cipher, size_t packet_id,
              const uint8_t *key, const uint8_t *iv);

void aead_close(struct aead *aead);

/* A datagram is prefix, packet id, tag and text, or prefix, packet id, text and tag.  `prefix` bytes of it are 4, and
 * associated data too, for P_DATA_V2, or 1 for P_DATA_V1.  `length` is that of the text. */

/* Where the text begins. */
static inline size_t aead_text_at(size_t packet_id, size_t prefix)
{
    return prefix + packet_id + (packet_id == CLASSIC_ID ? TAG : 0);
}

/* Encrypt the text in its place and write the tag.  Returns 0 if libcrypto fails. */
int aead_seal(struct aead *aead, uint8_t *datagram, size_t prefix, size_t length);

/* Decrypt into `text`.  Returns 0 where the tag does not verify; `text` is then of no use. */
int aead_verify(struct aead *aead, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text);

#endif
