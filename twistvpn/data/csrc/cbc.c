#include "cbc.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#include "inet.h"

const EVP_MD *find_digest(const char *name)
{
    char known[32];
    size_t length = strlen(name);
    if (length >= sizeof known)
        return NULL;
    for (size_t at = 0; at <= length; at++)
        known[at] = name[at] == '_' ? '-' : name[at];
    if (!strcmp(known, "blake2b"))
        return EVP_blake2b512();
    if (!strcmp(known, "blake2s"))
        return EVP_blake2s256();
    return EVP_get_digestbyname(known);
}

static int open_mac(struct cbc *cbc, const EVP_MD *digest, const uint8_t *key)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, OSSL_MAC_NAME_HMAC, NULL);
    cbc->mac = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    cbc->mac_size = (size_t)EVP_MD_get_size(digest);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)EVP_MD_get0_name(digest), 0),
        OSSL_PARAM_construct_end(),
    };
    return cbc->mac && EVP_MAC_init(cbc->mac, key, cbc->mac_size, parameters) == 1;
}

int cbc_open(struct cbc *cbc, enum direction direction, const struct cipher *cipher, const EVP_MD *digest,
             const uint8_t *key, const uint8_t *mac_key)
{
    *cbc = (struct cbc){.context = EVP_CIPHER_CTX_new()};
    return cbc->context && EVP_CipherInit_ex(cbc->context, cipher->get(), NULL, key, NULL, direction) == 1 &&
           open_mac(cbc, digest, mac_key);
}

void cbc_close(struct cbc *cbc)
{
    EVP_CIPHER_CTX_free(cbc->context);
    EVP_MAC_CTX_free(cbc->mac);
    OPENSSL_cleanse(cbc, sizeof *cbc);
}

static int authenticate(struct cbc *cbc, const uint8_t *body, size_t length, uint8_t *out)
{
    size_t made;
    return EVP_MAC_init(cbc->mac, NULL, 0, NULL) == 1 && EVP_MAC_update(cbc->mac, body, length) == 1 &&
           EVP_MAC_final(cbc->mac, out, &made, cbc->mac_size) == 1;
}

static int take_iv(struct cbc *cbc, uint8_t *iv)
{
    if (!cbc->spare_left) {
        if (RAND_bytes(cbc->spare, CBC_SPARE) != 1)
            return 0;
        cbc->spare_left = CBC_SPARE;
    }
    cbc->spare_left -= CBC_BLOCK;
    memcpy(iv, cbc->spare + cbc->spare_left, CBC_BLOCK);
    return 1;
}

int cbc_seal(struct cbc *cbc, uint8_t *datagram, size_t prefix, uint32_t packet_id, size_t length)
{
    uint8_t *mac = datagram + prefix, *iv = mac + cbc->mac_size, *text = iv + CBC_BLOCK;
    put32(text, packet_id);
    int done, rest;
    return take_iv(cbc, iv) && EVP_CipherInit_ex(cbc->context, NULL, NULL, NULL, iv, -1) == 1 &&
           EVP_CipherUpdate(cbc->context, text, &done, text, (int)(CBC_ID + length)) == 1 &&
           EVP_CipherFinal_ex(cbc->context, text + done, &rest) == 1 &&
           authenticate(cbc, iv, CBC_BLOCK + (size_t)(done + rest), mac);
}

size_t cbc_verify(struct cbc *cbc, const uint8_t *datagram, size_t prefix, size_t length, uint8_t *text,
                  uint32_t *packet_id)
{
    const uint8_t *mac = datagram + prefix, *iv = mac + cbc->mac_size, *body = iv + CBC_BLOCK;
    size_t size = length - prefix - cbc->mac_size - CBC_BLOCK;
    uint8_t expected[EVP_MAX_MD_SIZE];
    int done, rest;
    if (!authenticate(cbc, iv, CBC_BLOCK + size, expected) || CRYPTO_memcmp(expected, mac, cbc->mac_size) ||
        EVP_CipherInit_ex(cbc->context, NULL, NULL, NULL, iv, -1) != 1 ||
        EVP_CipherUpdate(cbc->context, text, &done, body, (int)size) != 1 ||
        EVP_CipherFinal_ex(cbc->context, text + done, &rest) != 1 || done + rest <= CBC_ID)
        return 0;
    *packet_id = get32(text);
    size_t left = (size_t)(done + rest) - CBC_ID;
    memmove(text, text + CBC_ID, left);
    return left;
}
