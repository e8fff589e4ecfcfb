/* Opening: a run of data packets becomes plaintext packets, authentic, fresh and clamped. */
#include "kernel.h"

#include <structmember.h>

#include "aead.h"
#include "cbc.h"
#include "epoch.h"
#include "inet.h"
#include "mss.h"
#include "replay.h"

typedef struct {
    PyObject_HEAD
    struct incoming current; /* its AEAD is unused in CBC mode */
    struct epochs *epochs;   /* NULL where keys have no epochs */
    struct cbc *cbc;         /* NULL but in CBC mode */
    char is_busy;            /* a thread is at work without the interpreter's lock */
} Opener;

enum verdict { FORGED, REPLAYED, PACKET, MESSAGE, VERDICTS };

struct opened {
    PyObject *text; /* bytes */
    size_t length;  /* of them, how many the text has */
    enum verdict verdict;
};

struct batch {
    Py_buffer view;
    size_t size, prefix, count;
    double now;
    unsigned largest_mss;
    uint8_t mask, nibble; /* a text whose first byte, masked, is not the nibble is a message */
    struct opened *opened;
    size_t tally[VERDICTS], octets;
};

/* Bytes of the shortest datagram that can be authentic, without its prefix. */
static size_t shortest(const Opener *self)
{
    return self->cbc ? self->cbc->mac_size + 2 * CBC_BLOCK : self->current.aead.packet_id + TAG + 1;
}

static size_t datagram_length(const struct batch *batch, size_t index)
{
    size_t left = (size_t)batch->view.len - index * batch->size;
    return left < batch->size ? left : batch->size;
}

/* Bytes that a datagram's text may have. */
static size_t text_room(const Opener *self, const struct batch *batch, size_t index)
{
    size_t before = self->cbc ? self->cbc->mac_size + CBC_BLOCK : self->current.aead.packet_id + TAG;
    return datagram_length(batch, index) - batch->prefix - before;
}

/* Decrypt under `key`; NULL where the datagram is not authentic.  The key may move, by a new epoch. */
static struct incoming *decrypt(Opener *self, struct incoming *key, struct batch *batch, size_t index,
                                uint64_t *packet_id)
{
    const uint8_t *datagram = (const uint8_t *)batch->view.buf + index * batch->size, *behind = datagram + batch->prefix;
    struct opened *opened = &batch->opened[index];
    uint8_t *text = (uint8_t *)PyBytes_AS_STRING(opened->text);
    if (self->cbc) {
        uint32_t number = 0;
        opened->length = cbc_verify(self->cbc, datagram, batch->prefix, datagram_length(batch, index), text, &number);
        *packet_id = number;
        return opened->length ? key : NULL;
    }
    *packet_id = self->epochs ? get48(behind + 2) : get32(behind);
    opened->length = text_room(self, batch, index);
    if (!aead_verify(&key->aead, datagram, batch->prefix, opened->length, text))
        return NULL;
    if (key->epoch <= self->current.epoch)
        return key;
    if (!epochs_advance(self->epochs, &self->current, key))
        return NULL;
    replay_expire(&self->current.replay, batch->now);
    return &self->current;
}

static enum verdict open_one(Opener *self, struct batch *batch, size_t index)
{
    struct incoming *key = &self->current;
    uint64_t packet_id;
    if (self->epochs) {
        const uint8_t *datagram = (const uint8_t *)batch->view.buf + index * batch->size;
        if (!(key = epochs_find(self->epochs, key, get16(datagram + batch->prefix))))
            return FORGED;
    }
    struct incoming *used = key->failures > FAILURES_LIMIT ? NULL : decrypt(self, key, batch, index, &packet_id);
    if (!used) {
        key->failures++;
        return FORGED;
    }
    size_t length = batch->opened[index].length;
    used->blocks += (length + 15) >> 4;
    if (!replay_admits(&used->replay, packet_id))
        return REPLAYED;
    batch->octets += length;
    uint8_t *text = (uint8_t *)PyBytes_AS_STRING(batch->opened[index].text);
    if ((text[0] & batch->mask) != batch->nibble)
        return MESSAGE;
    if (batch->largest_mss)
        clamp_mss(text, length, batch->largest_mss);
    return PACKET;
}

/* Runs without the interpreter's lock. */
static void open_all(Opener *self, struct batch *batch)
{
    replay_expire(&self->current.replay, batch->now);
    if (self->epochs && self->epochs->retiring.epoch)
        replay_expire(&self->epochs->retiring.replay, batch->now);
    for (size_t index = 0; index < batch->count; index++) {
        enum verdict verdict = open_one(self, batch, index);
        batch->opened[index].verdict = verdict;
        batch->tally[verdict]++;
    }
}

/* No datagram, the last neither, may be shorter than the shortest. */
static int check_sizes(const Opener *self, struct batch *batch, Py_ssize_t size, Py_ssize_t prefix)
{
    size_t length = (size_t)batch->view.len;
    if (size > 0 && size <= INT32_MAX && length <= INT32_MAX && (prefix == 1 || prefix == 4)) {
        batch->size = (size_t)size;
        batch->prefix = (size_t)prefix;
        batch->count = (length + batch->size - 1) / batch->size;
        size_t tail = length % batch->size, least = batch->prefix + shortest(self);
        if (length && batch->size >= least && (!tail || tail >= least))
            return 1;
    }
    PyErr_SetString(PyExc_ValueError, "a run that does not consist of data packets");
    return 0;
}

static int make_room(const Opener *self, struct batch *batch)
{
    batch->opened = new_array((Py_ssize_t)batch->count, sizeof *batch->opened);
    for (size_t index = 0; batch->opened && index < batch->count; index++) {
        PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)text_room(self, batch, index));
        if (!text)
            return 0;
        batch->opened[index].text = text;
    }
    return batch->opened != NULL;
}

/* Bytes of which the last may not be the text's. */
static PyObject *shortened(PyObject *text, size_t length)
{
    if ((size_t)PyBytes_GET_SIZE(text) != length)
        _PyBytes_Resize(&text, (Py_ssize_t)length);
    return text;
}

/* The texts of one verdict, in order. */
static PyObject *take(struct batch *batch, enum verdict verdict)
{
    PyObject *texts = PyList_New((Py_ssize_t)batch->tally[verdict]);
    Py_ssize_t taken = 0;
    for (size_t index = 0; texts && index < batch->count; index++) {
        struct opened *opened = &batch->opened[index];
        if (opened->verdict != verdict)
            continue;
        PyObject *text = shortened(opened->text, opened->length);
        opened->text = NULL;
        if (text)
            PyList_SET_ITEM(texts, taken++, text);
        else
            Py_CLEAR(texts);
    }
    return texts;
}

static PyObject *open_batch(Opener *self, const struct state *state, struct batch *batch)
{
    if (!make_room(self, batch))
        return NULL;
    self->is_busy = 1;
    Py_BEGIN_ALLOW_THREADS
    open_all(self, batch);
    Py_END_ALLOW_THREADS
    self->is_busy = 0;
    return named_tuple(state->opened, 5, take(batch, PACKET), take(batch, MESSAGE),
                       PyLong_FromSize_t(batch->tally[FORGED]), PyLong_FromSize_t(batch->tally[REPLAYED]),
                       PyLong_FromSize_t(batch->octets));
}

static void batch_close(struct batch *batch)
{
    for (size_t index = 0; batch->opened && index < batch->count; index++)
        Py_XDECREF(batch->opened[index].text);
    PyMem_Free(batch->opened);
    PyBuffer_Release(&batch->view);
}

static PyObject *open_checked(Opener *self, struct batch *batch, Py_ssize_t size, Py_ssize_t prefix)
{
    if (!check_sizes(self, batch, size, prefix))
        return NULL;
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is opening under this key");
        return NULL;
    }
    return open_batch(self, PyType_GetModuleState(Py_TYPE(self)), batch);
}

static PyObject *opener_open(Opener *self, PyObject *args)
{
    /* IP packets begin with the nibble 4 or 6; pings and OCC messages do not. */
    struct batch batch = {.mask = 0xD0, .nibble = 0x40};
    Py_ssize_t size, prefix;
    PyObject *mss = NULL, *opened = NULL;
    if (!PyArg_ParseTuple(args, "y*nnd|O:open", &batch.view, &size, &prefix, &batch.now, &mss))
        return NULL;
    if (!mss || parse_mss(mss, &batch.largest_mss))
        opened = open_checked(self, &batch, size, prefix);
    batch_close(&batch);
    return opened;
}

static PyObject *opener_open_unsorted(Opener *self, PyObject *args)
{
    struct batch batch = {.mask = 0, .nibble = 0};
    Py_ssize_t size, prefix;
    if (!PyArg_ParseTuple(args, "y*nnd:open_unsorted", &batch.view, &size, &prefix, &batch.now))
        return NULL;
    PyObject *opened = open_checked(self, &batch, size, prefix);
    batch_close(&batch);
    return opened;
}

/* An object without its key yet; NULL with an exception set where the window is none. */
static Opener *new_opener(PyTypeObject *type, Py_ssize_t window)
{
    if (window >= 1 && window <= LARGEST_REPLAY_WINDOW)
        return (Opener *)type->tp_alloc(type, 0);
    PyErr_SetString(PyExc_ValueError, "a replay window has 1 to 65536 packets");
    return NULL;
}

/* The object, or NULL with an exception set where libcrypto has not taken its key. */
static PyObject *finished(Opener *self, int is_open)
{
    if (self && !is_open && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "libcrypto does not take the key");
    if (self && !is_open)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "replay_window", "replay_time", NULL};
    const char *name;
    Py_buffer key, iv;
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*nd:Opener", names, &name, &key, &iv, &window, &seconds))
        return NULL;
    Opener *self = NULL;
    const struct cipher *cipher = find_aead(name);
    if (!cipher || (size_t)key.len < cipher->key_size || iv.len < IMPLICIT_IV)
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key or IV of the wrong length");
    else
        self = new_opener(type, window);
    int is_open = self && replay_open(&self->current.replay, (uint32_t)window, seconds) &&
                  aead_open(&self->current.aead, OPENS, cipher, CLASSIC_ID, key.buf, iv.buf);
    PyBuffer_Release(&key);
    PyBuffer_Release(&iv);
    return finished(self, is_open);
}

static PyObject *epoch_opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "replay_window", "replay_time", NULL};
    const char *name;
    Py_buffer key;
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*nd:EpochOpener", names, &name, &key, &window, &seconds))
        return NULL;
    Opener *self = NULL;
    const struct cipher *cipher = find_aead(name);
    if (!cipher || key.len < SECRET)
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key of the wrong length");
    else
        self = new_opener(type, window);
    int is_open = 0;
    if (self && (self->epochs = new_array(1, sizeof *self->epochs))) {
        struct secret secret = {.epoch = 1};
        memcpy(secret.bytes, key.buf, SECRET);
        is_open = epochs_open(self->epochs, &self->current, cipher, &secret, (uint32_t)window, seconds);
        secret_forget(&secret);
    }
    PyBuffer_Release(&key);
    return finished(self, is_open);
}

static PyObject *cbc_opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "digest", "hmac_key", "replay_window", "replay_time", NULL};
    const char *name, *digest_name;
    Py_buffer key, hmac_key;
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*sy*nd:CbcOpener", names, &name, &key, &digest_name, &hmac_key,
                                     &window, &seconds))
        return NULL;
    Opener *self = NULL;
    const struct cipher *cipher = find_cbc(name);
    const EVP_MD *digest = find_digest(digest_name);
    if (!cipher || !digest || (size_t)key.len < cipher->key_size || hmac_key.len < EVP_MD_get_size(digest))
        PyErr_SetString(PyExc_ValueError, "no such cipher or digest, or a key of the wrong length");
    else
        self = new_opener(type, window);
    int is_open = 0;
    if (self && (self->cbc = new_array(1, sizeof *self->cbc)))
        is_open = replay_open(&self->current.replay, (uint32_t)window, seconds) &&
                  cbc_open(self->cbc, OPENS, cipher, digest, key.buf, hmac_key.buf);
    PyBuffer_Release(&key);
    PyBuffer_Release(&hmac_key);
    return finished(self, is_open);
}

static void opener_dealloc(Opener *self)
{
    PyTypeObject *type = Py_TYPE(self);
    incoming_close(&self->current);
    if (self->epochs)
        epochs_close(self->epochs);
    if (self->cbc)
        cbc_close(self->cbc);
    PyMem_Free(self->epochs);
    PyMem_Free(self->cbc);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *opener_shortest(Opener *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(shortest(self));
}

static PyMethodDef methods[] = {
    {"open", (PyCFunction)opener_open, METH_VARARGS, "Open the datagrams of one run."},
    {"open_unsorted", (PyCFunction)opener_open_unsorted, METH_VARARGS, "The same, and leave the plaintexts as they are."},
    {NULL, NULL, 0, NULL},
};

#define MEMBERS                                                                                                        \
    {"blocks", T_ULONGLONG, offsetof(Opener, current.blocks), 0, "Plaintext blocks of 16 bytes opened so far."},        \
    {"failures", T_ULONGLONG, offsetof(Opener, current.failures), 0, "Datagrams that did not verify."},                \
    {"highest_packet_id", T_ULONGLONG, offsetof(Opener, current.replay.highest), READONLY, "The highest authentic one."}

static PyMemberDef members[] = {MEMBERS, {NULL, 0, 0, 0, NULL}};

static PyMemberDef epoch_members[] = {
    MEMBERS,
    {"epoch", T_UINT, offsetof(Opener, current.epoch), READONLY, "The peer's present epoch."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"shortest", (getter)opener_shortest, NULL, "Bytes of the shortest datagram, without its prefix.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The other direction of one key: runs of data packets in, plaintext packets out."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Slot epoch_slots[] = {
    {Py_tp_doc, "The same under keys that change by epochs."},
    {Py_tp_new, epoch_opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, epoch_members},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Slot cbc_slots[] = {
    {Py_tp_doc, "The same with a block cipher and an HMAC."},
    {Py_tp_new, cbc_opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec opener_spec = {
    .name = "twistvpn.data._kernel.Opener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

PyType_Spec epoch_opener_spec = {
    .name = "twistvpn.data._kernel.EpochOpener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = epoch_slots,
};

PyType_Spec cbc_opener_spec = {
    .name = "twistvpn.data._kernel.CbcOpener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = cbc_slots,
};
