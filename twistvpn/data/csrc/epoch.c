#include "epoch.h"

#include <openssl/crypto.h>
#include <string.h>

#include "../../crypto/csrc/mac.h"

/* HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context, for no more than the SECRET bytes of one digest.
 * `mac` has the secret for its key. */
static int expand_label(struct mac *mac, const char *label, uint8_t *out, size_t length)
{
    static const char BEFORE[] = "ovpn ";
    uint8_t info[64], digest[MAC_SIZE];
    size_t before = sizeof BEFORE - 1, size = strlen(label), at = 0;
    info[at++] = 0;
    info[at++] = (uint8_t)length;
    info[at++] = (uint8_t)(before + size);
    memcpy(info + at, BEFORE, before);
    memcpy(info + at + before, label, size);
    at += before + size;
    info[at++] = 0; /* the context's length */
    info[at++] = 1; /* the block's number */
    if (length > MAC_SIZE || !mac_tag(mac, info, at, NULL, 0, digest))
        return 0;
    memcpy(out, digest, length);
    OPENSSL_cleanse(digest, sizeof digest);
    return 1;
}

int secret_advance(struct secret *secret, unsigned epoch)
{
    for (; secret->epoch < epoch; secret->epoch++) {
        struct mac mac;
        int is_made = mac_open(&mac, secret->bytes) && expand_label(&mac, "datakey upd", secret->bytes, SECRET);
        mac_close(&mac);
        if (!is_made)
            return 0;
    }
    return 1;
}

void secret_forget(struct secret *secret)
{
    OPENSSL_cleanse(secret, sizeof *secret);
}

int secret_open(const struct secret *secret, struct aead *aead, enum direction direction, const struct cipher *cipher)
{
    uint8_t key[LONGEST_KEY], iv[NONCE];
    struct mac mac;
    int is_open = mac_open(&mac, secret->bytes) && expand_label(&mac, "data_key", key, cipher->key_size) &&
                  expand_label(&mac, "data_iv", iv, NONCE) && aead_open(aead, direction, cipher, EPOCH_ID, key, iv);
    mac_close(&mac);
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(iv, sizeof iv);
    return is_open;
}

void incoming_close(struct incoming *key)
{
    aead_close(&key->aead);
    replay_close(&key->replay);
    key->epoch = 0;
}

static int incoming_open(struct incoming *key, const struct epochs *epochs, const struct secret *secret)
{
    *key = (struct incoming){.epoch = secret->epoch};
    if (replay_open(&key->replay, epochs->window, epochs->seconds) &&
        secret_open(secret, &key->aead, OPENS, epochs->cipher))
        return 1;
    incoming_close(key);
    return 0;
}

int epochs_open(struct epochs *epochs, struct incoming *current, const struct cipher *cipher,
                const struct secret *secret, uint32_t window, double seconds)
{
    *epochs = (struct epochs){.cipher = cipher, .secret = *secret, .window = window, .seconds = seconds};
    return incoming_open(current, epochs, secret);
}

void epochs_close(struct epochs *epochs)
{
    incoming_close(&epochs->retiring);
    for (size_t index = 0; index < FUTURE_EPOCHS; index++)
        incoming_close(&epochs->future[index]);
    secret_forget(&epochs->secret);
}

static struct incoming *find_future(struct epochs *epochs, unsigned epoch)
{
    struct incoming *key = &epochs->future[epoch - epochs->secret.epoch - 1];
    if (key->epoch)
        return key;
    struct secret secret = epochs->secret;
    int is_made = secret_advance(&secret, epoch) && incoming_open(key, epochs, &secret);
    secret_forget(&secret);
    return is_made ? key : NULL;
}

struct incoming *epochs_find(struct epochs *epochs, struct incoming *current, unsigned epoch)
{
    if (epoch == current->epoch)
        return current;
    if (epoch && epoch == epochs->retiring.epoch)
        return &epochs->retiring;
    if (epoch < current->epoch || epoch > current->epoch + FUTURE_EPOCHS || epoch > MAX_EPOCH)
        return NULL;
    return find_future(epochs, epoch);
}

int epochs_advance(struct epochs *epochs, struct incoming *current, struct incoming *key)
{
    size_t place = (size_t)(key - epochs->future), passed = place + 1;
    struct secret secret = epochs->secret;
    int is_made = secret_advance(&secret, key->epoch);
    if (is_made)
        epochs->secret = secret;
    secret_forget(&secret);
    if (!is_made)
        return 0;
    incoming_close(&epochs->retiring);
    epochs->retiring = *current;
    *current = *key;
    for (size_t index = 0; index < place; index++)
        incoming_close(&epochs->future[index]);
    memmove(epochs->future, epochs->future + passed, (FUTURE_EPOCHS - passed) * sizeof *epochs->future);
    memset(epochs->future + FUTURE_EPOCHS - passed, 0, passed * sizeof *epochs->future);
    return 1;
}
