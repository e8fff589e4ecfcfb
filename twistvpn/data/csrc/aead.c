#include "aead.h"

#include <openssl/crypto.h>
#include <string.h>

int aead_open(struct aead *aead, enum direction direction, const struct cipher *cipher, size_t packet_id,
              const uint8_t *key, const uint8_t *iv)
{
    *aead = (struct aead){.context = EVP_CIPHER_CTX_new(), .packet_id = packet_id};
    if (!aead->context)
        return 0;
    size_t at = packet_id == CLASSIC_ID ? CLASSIC_ID : 0;
    memcpy(aead->iv + at, iv, NONCE - at);
    return EVP_CipherInit_ex(aead->context, cipher->get(), NULL, key, NULL, direction) == 1;
}

void aead_close(struct aead *aead)
{
    EVP_CIPHER_CTX_free(aead->context);
    aead->context = NULL;
    OPENSSL_cleanse(aead->iv, NONCE);
}

/* Set the nonce and take in the associated data. */
static int begin(struct aead *aead, const uint8_t *datagram, size_t prefix)
{
    uint8_t nonce[NONCE];
    memcpy(nonce, aead->iv, NONCE);
    for (size_t at = 0; at < aead->packet_id; at++)
        nonce[at] ^= datagram[prefix + at];
    size_t associated_from = prefix == LONGEST_PREFIX ? 0 : prefix;
    int done;
    return EVP_CipherInit_ex(aead->context, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(aead->context, NULL, &done, datagram + associated_from,
                            (int)(prefix + aead->packet_id - associated_from)) == 1;
}

static int transform(struct aead *aead, uint8_t *out, const uint8_t *in, size_t length)
{
    int done;
    return !length || EVP_CipherUpdate(aead->context, out, &done, in, (int)length) == 1;
}

static int finish(struct aead *aead)
{
    uint8_t none[EVP_MAX_BLOCK_LENGTH];
    int done;
    return EVP_CipherFinal_ex(aead->context, none, &done) == 1;
}

static size_t tag_at(const struct aead *aead, size_t prefix, size_t length)
{
    return prefix + aead->packet_id + (aead->packet_id == CLASSIC_ID ? 0 : length);
}

int aead_seal(struct aead *aead, uint8_t *datagram, size_t prefix, size_t length)
{
    uint8_t *text = datagram + aead_text_at(aead->packet_id, prefix);
    return begin(aead, datagram, prefix) && transform(aead, text, text, length) && finish(aead) &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_GET_TAG, TAG, datagram + tag_at(aead, prefix, length)) == 1;
}

int aead_verify(struct aead *aead, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text)
{
    uint8_t tag[TAG];
    memcpy(tag, datagram + tag_at(aead, prefix, length), TAG);
    return begin(aead, datagram, prefix) &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
           transform(aead, text, datagram + aead_text_at(aead->packet_id, prefix), length) && finish(aead);
}
