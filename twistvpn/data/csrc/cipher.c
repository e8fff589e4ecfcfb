#include "cipher.h"

#include <string.h>

static const struct cipher AEADS[] = {
    {"AES-256-GCM", 32, EVP_aes_256_gcm},
    {"AES-128-GCM", 16, EVP_aes_128_gcm},
    {"AES-192-GCM", 24, EVP_aes_192_gcm},
    {"CHACHA20-POLY1305", 32, EVP_chacha20_poly1305},
};

static const struct cipher CBCS[] = {
    {"AES-256-CBC", 32, EVP_aes_256_cbc},
    {"AES-192-CBC", 24, EVP_aes_192_cbc},
    {"AES-128-CBC", 16, EVP_aes_128_cbc},
};

static const struct cipher *find(const struct cipher *ciphers, size_t count, const char *name)
{
    for (size_t index = 0; index < count; index++)
        if (strcmp(ciphers[index].name, name) == 0)
            return &ciphers[index];
    return NULL;
}

const struct cipher *find_aead(const char *name)
{
    return find(AEADS, sizeof AEADS / sizeof *AEADS, name);
}

const struct cipher *find_cbc(const char *name)
{
    return find(CBCS, sizeof CBCS / sizeof *CBCS, name);
}
