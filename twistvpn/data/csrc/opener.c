/* Opening: a run of data packets becomes plaintext packets, authentic, fresh and clamped. */
#include "kernel.h"

#include <structmember.h>

#include "aead.h"
#include "inet.h"
#include "mss.h"
#include "replay.h"

typedef struct {
    PyObject_HEAD
    struct aead aead;
    struct replay replay;
    unsigned long long blocks, failures;
    char is_busy; /* a thread is at work without the interpreter's lock */
} Opener;

enum verdict { FORGED, REPLAYED, PACKET, MESSAGE, VERDICTS };

struct opened {
    PyObject *text; /* bytes */
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
    unsigned long long blocks;
};

static size_t overhead(const struct batch *batch)
{
    return batch->prefix + PACKET_ID + TAG;
}

static size_t text_length(const struct batch *batch, size_t index)
{
    size_t left = (size_t)batch->view.len - index * batch->size;
    return (left < batch->size ? left : batch->size) - overhead(batch);
}

static enum verdict open_one(Opener *self, struct batch *batch, size_t index)
{
    const uint8_t *datagram = (const uint8_t *)batch->view.buf + index * batch->size;
    uint8_t *text = (uint8_t *)PyBytes_AS_STRING(batch->opened[index].text);
    size_t length = text_length(batch, index);
    uint32_t packet_id = get32(datagram + batch->prefix);
    if (!aead_verify(&self->aead, datagram, batch->prefix, length, text))
        return FORGED;
    batch->blocks += (length + 15) >> 4;
    if (!replay_admits(&self->replay, packet_id))
        return REPLAYED;
    batch->octets += length;
    if ((text[0] & batch->mask) != batch->nibble)
        return MESSAGE;
    if (batch->largest_mss)
        clamp_mss(text, length, batch->largest_mss);
    return PACKET;
}

/* Runs without the interpreter's lock. */
static void open_all(Opener *self, struct batch *batch)
{
    replay_expire(&self->replay, batch->now);
    for (size_t index = 0; index < batch->count; index++) {
        enum verdict verdict = open_one(self, batch, index);
        batch->opened[index].verdict = verdict;
        batch->tally[verdict]++;
    }
}

/* Every datagram, the last too, must be longer than its header and tag. */
static int check_sizes(struct batch *batch, Py_ssize_t size, Py_ssize_t prefix)
{
    size_t length = (size_t)batch->view.len;
    if (size > 0 && size <= INT32_MAX && length <= INT32_MAX && (prefix == 1 || prefix == 4)) {
        batch->size = (size_t)size;
        batch->prefix = (size_t)prefix;
        batch->count = (length + batch->size - 1) / batch->size;
        size_t tail = length % batch->size;
        if (length && batch->size > overhead(batch) && (!tail || tail > overhead(batch)))
            return 1;
    }
    PyErr_SetString(PyExc_ValueError, "a run that does not consist of data packets");
    return 0;
}

static int make_room(struct batch *batch)
{
    batch->opened = new_array((Py_ssize_t)batch->count, sizeof *batch->opened);
    for (size_t index = 0; batch->opened && index < batch->count; index++) {
        PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)text_length(batch, index));
        if (!text)
            return 0;
        batch->opened[index].text = text;
    }
    return batch->opened != NULL;
}

/* The texts of one verdict, in order. */
static PyObject *take(struct batch *batch, enum verdict verdict)
{
    PyObject *texts = PyList_New((Py_ssize_t)batch->tally[verdict]);
    Py_ssize_t taken = 0;
    for (size_t index = 0; texts && index < batch->count; index++) {
        if (batch->opened[index].verdict == verdict) {
            PyList_SET_ITEM(texts, taken++, batch->opened[index].text);
            batch->opened[index].text = NULL;
        }
    }
    return texts;
}

static PyObject *open_batch(Opener *self, const struct state *state, struct batch *batch)
{
    if (!make_room(batch))
        return NULL;
    self->is_busy = 1;
    Py_BEGIN_ALLOW_THREADS
    open_all(self, batch);
    Py_END_ALLOW_THREADS
    self->is_busy = 0;
    self->blocks += batch->blocks;
    self->failures += batch->tally[FORGED];
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
    if (!check_sizes(batch, size, prefix))
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

static PyObject *opener_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "replay_window", "replay_time", NULL};
    const char *cipher;
    Py_buffer key, iv;
    Py_ssize_t window;
    double seconds;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*nd:Opener", names, &cipher, &key, &iv, &window, &seconds))
        return NULL;
    Opener *self = NULL;
    size_t key_size = aead_key_size(cipher);
    if (!key_size || (size_t)key.len < key_size || iv.len < IMPLICIT_IV)
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key or IV of the wrong length");
    else if (window < 1 || window > LARGEST_REPLAY_WINDOW)
        PyErr_SetString(PyExc_ValueError, "a replay window has 1 to 65536 packets");
    else
        self = (Opener *)type->tp_alloc(type, 0);
    if (self && !replay_open(&self->replay, (uint32_t)window, seconds)) {
        PyErr_NoMemory();
        Py_CLEAR(self);
    }
    if (self && !aead_open(&self->aead, AEAD_OPENS, cipher, key.buf, iv.buf)) {
        PyErr_Format(PyExc_RuntimeError, "libcrypto has no %s", cipher);
        Py_CLEAR(self);
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&iv);
    return (PyObject *)self;
}

static void opener_dealloc(Opener *self)
{
    PyTypeObject *type = Py_TYPE(self);
    aead_close(&self->aead);
    replay_close(&self->replay);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"open", (PyCFunction)opener_open, METH_VARARGS, "Open the datagrams of one run."},
    {"open_unsorted", (PyCFunction)opener_open_unsorted, METH_VARARGS, "The same, and leave the plaintexts as they are."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"blocks", T_ULONGLONG, offsetof(Opener, blocks), 0, "Plaintext blocks of 16 bytes opened so far."},
    {"failures", T_ULONGLONG, offsetof(Opener, failures), 0, "Datagrams whose tag did not verify."},
    {"highest_packet_id", T_UINT, offsetof(Opener, replay.highest), READONLY, "The highest that was authentic."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The other direction of one key: runs of data packets in, plaintext packets out."},
    {Py_tp_new, opener_new},
    {Py_tp_dealloc, opener_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec opener_spec = {
    .name = "twistvpn.data._kernel.Opener",
    .basicsize = sizeof(Opener),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
