/* Opening: a run of data packets becomes plaintext packets, authentic, fresh and clamped. */
#include "opener.h"

#include "inet.h"
#include "mss.h"

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
    size_t tally[VERDICTS];
};

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
        size_t tail = length % batch->size, least = batch->prefix + opener_shortest(self);
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
    return named_tuple(state->opened, 4, take(batch, PACKET), take(batch, MESSAGE),
                       PyLong_FromSize_t(batch->tally[FORGED]), PyLong_FromSize_t(batch->tally[REPLAYED]));
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

PyObject *opener_open(Opener *self, PyObject *args)
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

PyObject *opener_open_unsorted(Opener *self, PyObject *args)
{
    struct batch batch = {.mask = 0, .nibble = 0};
    Py_ssize_t size, prefix;
    if (!PyArg_ParseTuple(args, "y*nnd:open_unsorted", &batch.view, &size, &prefix, &batch.now))
        return NULL;
    PyObject *opened = open_checked(self, &batch, size, prefix);
    batch_close(&batch);
    return opened;
}
