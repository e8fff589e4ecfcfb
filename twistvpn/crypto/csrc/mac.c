#include "mac.h"

#include <openssl/crypto.h>
#include <string.h>

enum { BLOCK = 64 };

static EVP_MD_CTX *begin(const uint8_t *key, uint8_t pad)
{
    uint8_t block[BLOCK];
    memset(block, pad, BLOCK);
    for (size_t at = 0; at < MAC_KEY; at++)
        block[at] ^= key[at];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int is_begun = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                   EVP_DigestUpdate(context, block, BLOCK) == 1;
    OPENSSL_cleanse(block, BLOCK);
    if (!is_begun) {
        EVP_MD_CTX_free(context);
        return NULL;
    }
    return context;
}

int mac_open(struct mac *mac, const uint8_t key[MAC_KEY])
{
    *mac = (struct mac){begin(key, 0x36), begin(key, 0x5c), EVP_MD_CTX_new()};
    return mac->inner && mac->outer && mac->running;
}

void mac_close(struct mac *mac)
{
    EVP_MD_CTX_free(mac->inner);
    EVP_MD_CTX_free(mac->outer);
    EVP_MD_CTX_free(mac->running);
    *mac = (struct mac){0};
}

int mac_tag(struct mac *mac, const void *first, size_t first_size, const void *second, size_t second_size,
            uint8_t tag[MAC_SIZE])
{
    return EVP_MD_CTX_copy_ex(mac->running, mac->inner) == 1 &&
           EVP_DigestUpdate(mac->running, first, first_size) == 1 &&
           EVP_DigestUpdate(mac->running, second, second_size) == 1 &&
           EVP_DigestFinal_ex(mac->running, tag, NULL) == 1 && EVP_MD_CTX_copy_ex(mac->running, mac->outer) == 1 &&
           EVP_DigestUpdate(mac->running, tag, MAC_SIZE) == 1 && EVP_DigestFinal_ex(mac->running, tag, NULL) == 1;
}
