#include "aead.h"

#include <openssl/crypto.h>
#include <string.h>

static const struct cipher {
    const char *name;
    size_t key_size;
    const EVP_CIPHER *(*get)(void);
} CIPHERS[] = {
    {"AES-256-GCM", 32, EVP_aes_256_gcm},
    {"AES-128-GCM", 16, EVP_aes_128_gcm},
    {"AES-192-GCM", 24, EVP_aes_192_gcm},
    {"CHACHA20-POLY1305", 32, EVP_chacha20_poly1305},
};

static const struct cipher *find(const char *name)
{
    for (size_t index = 0; index < sizeof CIPHERS / sizeof *CIPHERS; index++)
        if (strcmp(CIPHERS[index].name, name) == 0)
            return &CIPHERS[index];
    return NULL;
}

size_t aead_key_size(const char *name)
{
    const struct cipher *cipher = find(name);
    return cipher ? cipher->key_size : 0;
}

int aead_open(struct aead *aead, enum aead_direction direction, const char *name, const uint8_t *key,
              const uint8_t *implicit_iv)
{
    const struct cipher *cipher = find(name);
    aead->context = EVP_CIPHER_CTX_new();
    if (!cipher || !aead->context)
        return 0;
    memcpy(aead->implicit_iv, implicit_iv, IMPLICIT_IV);
    return EVP_CipherInit_ex(aead->context, cipher->get(), NULL, key, NULL, direction) == 1;
}

void aead_close(struct aead *aead)
{
    EVP_CIPHER_CTX_free(aead->context);
    aead->context = NULL;
    OPENSSL_cleanse(aead->implicit_iv, IMPLICIT_IV);
}

/* Set the nonce and take in the associated data. */
static int begin(struct aead *aead, const uint8_t *datagram, size_t prefix)
{
    uint8_t nonce[NONCE];
    memcpy(nonce, datagram + prefix, PACKET_ID);
    memcpy(nonce + PACKET_ID, aead->implicit_iv, IMPLICIT_IV);
    size_t associated_from = prefix == LONGEST_PREFIX ? 0 : prefix;
    int done;
    return EVP_CipherInit_ex(aead->context, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(aead->context, NULL, &done, datagram + associated_from,
                            (int)(prefix + PACKET_ID - associated_from)) == 1;
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

int aead_seal(struct aead *aead, uint8_t *datagram, size_t prefix, size_t length)
{
    uint8_t *tag = datagram + prefix + PACKET_ID, *text = tag + TAG;
    return begin(aead, datagram, prefix) && transform(aead, text, text, length) && finish(aead) &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1;
}

int aead_verify(struct aead *aead, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text)
{
    uint8_t tag[TAG];
    memcpy(tag, datagram + prefix + PACKET_ID, TAG);
    return begin(aead, datagram, prefix) &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_AEAD_SET_TAG, TAG, tag) == 1 &&
           transform(aead, text, datagram + prefix + PACKET_ID + TAG, length) && finish(aead);
}
