/* Sealing: a batch of frames becomes runs of data packets, segmented, clamped and encrypted where they lie. */
#include "kernel.h"

#include <structmember.h>

#include "aead.h"
#include "cbc.h"
#include "epoch.h"
#include "inet.h"
#include "mss.h"
#include "source.h"

enum {
    MAX_RUN_DATAGRAMS = 64, /* UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it */
    MAX_RUN_SIZE = 65400,   /* with all headers below gso_max_size: longer, and the kernel cuts it up by itself */
};

#define MAX_PACKET_ID 0xFFFFFFFFull
#define MAX_EPOCH_PACKET_ID 0xFFFFFFFFFFFFull
#define LONGEST_TEXT ((size_t)1 << 30) /* libcrypto counts in int */

typedef struct {
    PyObject_HEAD
    const struct cipher *cipher;
    struct aead aead;     /* unused in CBC mode */
    struct cbc *cbc;      /* NULL but in CBC mode */
    struct secret secret; /* epoch 0 where keys have no epochs */
    uint8_t prefix[LONGEST_PREFIX];
    size_t prefix_size;
    unsigned long long packet_id, blocks;
    char is_busy; /* a thread is at work without the interpreter's lock */
} Sealer;

struct run {
    PyObject *bytes;
    size_t size;   /* bytes of each datagram but the last */
    size_t length; /* bytes in all */
};

struct batch {
    struct source *sources;
    Py_ssize_t source_count;
    struct run *runs;
    size_t run_count, run_room;
    unsigned long long packets, blocks;
    unsigned malformed;
};

static size_t text_at(const Sealer *self)
{
    return self->cbc ? cbc_text_at(self->cbc, self->prefix_size)
                     : aead_text_at(self->aead.packet_id, self->prefix_size);
}

static size_t sealed_size(const Sealer *self, size_t text)
{
    return self->cbc ? cbc_sealed(self->cbc, self->prefix_size, text)
                     : self->prefix_size + self->aead.packet_id + TAG + text;
}

/* Encrypt the text that stands in its place in a datagram, and write the rest.  Returns 0 if libcrypto fails. */
static int seal_one(Sealer *self, uint8_t *datagram, unsigned long long packet_id, size_t length)
{
    size_t prefix = self->prefix_size;
    memcpy(datagram, self->prefix, prefix);
    if (self->cbc)
        return cbc_seal(self->cbc, datagram, prefix, (uint32_t)packet_id, length);
    if (self->secret.epoch) {
        put16(datagram + prefix, self->secret.epoch);
        put48(datagram + prefix + 2, packet_id);
    } else {
        put32(datagram + prefix, (uint32_t)packet_id);
    }
    return aead_seal(&self->aead, datagram, prefix, length);
}

static void batch_close(struct batch *batch)
{
    for (Py_ssize_t index = 0; index < batch->source_count; index++)
        source_close(&batch->sources[index]);
    for (size_t index = 0; index < batch->run_count; index++)
        Py_XDECREF(batch->runs[index].bytes);
    PyMem_Free(batch->sources);
    PyMem_Free(batch->runs);
}

/* Take hold of the frames, a tuple; those that are malformed are counted and left out. */
static int open_sources(struct batch *batch, const struct state *state, PyObject *frames)
{
    Py_ssize_t count = PyTuple_GET_SIZE(frames);
    batch->sources = new_array(count, sizeof *batch->sources);
    if (!batch->sources)
        return 0;
    for (Py_ssize_t index = 0; index < count; index++) {
        const char *wrong;
        struct source *source = &batch->sources[batch->source_count];
        switch (source_open(source, state, PyTuple_GET_ITEM(frames, index), &wrong)) {
        case SOURCE_ERROR:
            return 0;
        case SOURCE_MALFORMED:
            batch->malformed++;
            break;
        case SOURCE_GOOD:
            batch->source_count++;
            batch->packets += source->plan.count;
            if (source->plan.length > LONGEST_TEXT) {
                PyErr_SetString(PyExc_OverflowError, "a packet that is too long");
                return 0;
            }
            break;
        }
    }
    return 1;
}

static struct run *add_run(struct batch *batch)
{
    if (batch->run_count == batch->run_room) {
        size_t room = batch->run_room ? batch->run_room * 2 : 4;
        struct run *runs = PyMem_Realloc(batch->runs, room * sizeof *runs);
        if (!runs) {
            PyErr_NoMemory();
            return NULL;
        }
        batch->runs = runs;
        batch->run_room = room;
    }
    struct run *run = &batch->runs[batch->run_count++];
    *run = (struct run){0};
    return run;
}

/* Neighbours whose datagrams have one size, and a shorter one behind them, share a run. */
static int plan_runs(const Sealer *self, struct batch *batch)
{
    struct run *run = NULL;
    size_t room = 0;
    for (Py_ssize_t index = 0; index < batch->source_count; index++) {
        const struct plan *plan = &batch->sources[index].plan;
        for (size_t segment = 0; segment < plan->count; segment++) {
            size_t text = segment_length(plan, segment), length = sealed_size(self, text);
            if (!room || length > run->size) {
                if (!(run = add_run(batch)))
                    return 0;
                run->size = length;
                room = MAX_RUN_SIZE / length;
                room = room > MAX_RUN_DATAGRAMS ? MAX_RUN_DATAGRAMS : room ? room : 1;
            }
            room = length == run->size ? room - 1 : 0;
            run->length += length;
            batch->blocks += (text + 15) >> 4;
        }
    }
    for (size_t index = 0; index < batch->run_count; index++) {
        run = &batch->runs[index];
        if (!(run->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)run->length)))
            return 0;
    }
    return 1;
}

/* Runs without the interpreter's lock.  Returns 0 if libcrypto fails. */
static int seal_runs(Sealer *self, const struct batch *batch, unsigned largest_mss)
{
    const struct run *run = batch->runs;
    size_t before = text_at(self);
    unsigned long long packet_id = self->packet_id;
    uint8_t *at = NULL, *end = NULL;
    for (Py_ssize_t index = 0; index < batch->source_count; index++) {
        const struct plan *plan = &batch->sources[index].plan;
        for (size_t segment = 0; segment < plan->count; segment++) {
            if (at == end) {
                at = (uint8_t *)PyBytes_AS_STRING(run->bytes);
                end = at + run++->length;
            }
            uint8_t *text = at + before;
            size_t length = segment_length(plan, segment);
            write_segment(plan, segment, text);
            if (largest_mss)
                clamp_mss(text, length, largest_mss);
            if (!seal_one(self, at, ++packet_id, length))
                return 0;
            at += sealed_size(self, length);
        }
    }
    return 1;
}

static PyObject *result(const struct state *state, struct batch *batch)
{
    PyObject *runs = PyList_New((Py_ssize_t)batch->run_count);
    for (size_t index = 0; runs && index < batch->run_count; index++) {
        struct run *run = &batch->runs[index];
        PyObject *bytes = run->bytes;
        run->bytes = NULL;
        PyObject *made = named_tuple(state->run, 2, bytes, PyLong_FromSize_t(run->size));
        if (made)
            PyList_SET_ITEM(runs, (Py_ssize_t)index, made);
        else
            Py_CLEAR(runs);
    }
    if (!runs)
        return NULL;
    PyObject *malformed = PyLong_FromUnsignedLong(batch->malformed);
    PyObject *pair = malformed ? PyTuple_Pack(2, runs, malformed) : NULL;
    Py_XDECREF(malformed);
    Py_DECREF(runs);
    return pair;
}

static PyObject *seal_batch(Sealer *self, const struct state *state, struct batch *batch, unsigned largest_mss)
{
    unsigned long long last = self->secret.epoch ? MAX_EPOCH_PACKET_ID : MAX_PACKET_ID;
    if (self->packet_id > last || batch->packets > last - self->packet_id) {
        PyErr_SetString(state->packet_id_exhausted, "the key has no packet id left");
        return NULL;
    }
    if (!plan_runs(self, batch))
        return NULL;
    int is_sealed;
    self->is_busy = 1;
    Py_BEGIN_ALLOW_THREADS
    is_sealed = seal_runs(self, batch, largest_mss);
    Py_END_ALLOW_THREADS
    self->is_busy = 0;
    self->packet_id += batch->packets;
    self->blocks += batch->blocks;
    if (!is_sealed) {
        PyErr_SetString(PyExc_RuntimeError, "libcrypto cannot encrypt");
        return NULL;
    }
    return result(state, batch);
}

static PyObject *sealer_seal(Sealer *self, PyObject *const *args, Py_ssize_t count)
{
    const struct state *state = PyType_GetModuleState(Py_TYPE(self));
    unsigned largest_mss = 0;
    if (count < 1 || count > 2)
        return PyErr_Format(PyExc_TypeError, "seal takes frames and the largest MSS");
    if (count == 2 && !parse_mss(args[1], &largest_mss))
        return NULL;
    PyObject *frames = PySequence_Tuple(args[0]);
    if (!frames)
        return NULL;
    struct batch batch = {0};
    PyObject *sealed = NULL;
    /* Looked at last: from here on nothing runs that is written in Python. */
    if (open_sources(&batch, state, frames)) {
        if (self->is_busy)
            PyErr_SetString(PyExc_RuntimeError, "another thread is sealing under this key");
        else
            sealed = seal_batch(self, state, &batch, largest_mss);
    }
    batch_close(&batch);
    Py_DECREF(frames);
    return sealed;
}

static PyObject *sealer_sealed_size(Sealer *self, PyObject *size)
{
    size_t text = PyLong_AsSize_t(size);
    if (text == (size_t)-1 && PyErr_Occurred())
        return NULL;
    if (text > LONGEST_TEXT)
        return PyErr_Format(PyExc_OverflowError, "a packet that is too long");
    return PyLong_FromSize_t(sealed_size(self, text));
}

static PyObject *sealer_largest_text(Sealer *self, PyObject *size)
{
    Py_ssize_t datagram = PyLong_AsSsize_t(size);
    if (datagram == -1 && PyErr_Occurred())
        return NULL;
    if (!self->cbc)
        return PyLong_FromSsize_t(datagram - (Py_ssize_t)sealed_size(self, 0));
    Py_ssize_t room = datagram - (Py_ssize_t)(text_at(self) - CBC_ID), over = room % CBC_BLOCK;
    return PyLong_FromSsize_t(room - (over < 0 ? over + CBC_BLOCK : over) - 1 - CBC_ID);
}

static PyObject *sealer_advance(Sealer *self, PyObject *value)
{
    unsigned long epoch = PyLong_AsUnsignedLong(value);
    if (epoch == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    if (self->is_busy)
        return PyErr_Format(PyExc_RuntimeError, "another thread is sealing under this key");
    if (epoch <= self->secret.epoch || epoch > MAX_EPOCH)
        return PyErr_Format(PyExc_ValueError, "from epoch %u there is no way to epoch %lu", self->secret.epoch, epoch);
    struct aead before = self->aead;
    if (!secret_advance(&self->secret, (unsigned)epoch) ||
        !secret_open(&self->secret, &self->aead, SEALS, self->cipher)) {
        aead_close(&before);
        return PyErr_Format(PyExc_RuntimeError, "libcrypto cannot derive keys");
    }
    aead_close(&before);
    self->packet_id = self->blocks = 0;
    Py_RETURN_NONE;
}

/* An object without its key yet; NULL with an exception set where the prefix is none. */
static Sealer *new_sealer(PyTypeObject *type, const Py_buffer *prefix)
{
    if (prefix->len != 1 && prefix->len != 4) {
        PyErr_SetString(PyExc_ValueError, "a prefix has 1 or 4 bytes");
        return NULL;
    }
    Sealer *self = (Sealer *)type->tp_alloc(type, 0);
    if (self) {
        memcpy(self->prefix, prefix->buf, (size_t)prefix->len);
        self->prefix_size = (size_t)prefix->len;
    }
    return self;
}

/* The object, or NULL with an exception set where libcrypto has not taken its key. */
static PyObject *finished(Sealer *self, int is_open)
{
    if (self && !is_open && !PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "libcrypto does not take the key");
    if (self && !is_open)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static PyObject *sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "prefix", NULL};
    const char *name;
    Py_buffer key, iv, prefix;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*y*:Sealer", names, &name, &key, &iv, &prefix))
        return NULL;
    Sealer *self = NULL;
    const struct cipher *cipher = find_aead(name);
    if (!cipher || (size_t)key.len < cipher->key_size || iv.len < IMPLICIT_IV)
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key or IV of the wrong length");
    else
        self = new_sealer(type, &prefix);
    int is_open = self && aead_open(&self->aead, SEALS, cipher, CLASSIC_ID, key.buf, iv.buf);
    PyBuffer_Release(&key);
    PyBuffer_Release(&iv);
    PyBuffer_Release(&prefix);
    return finished(self, is_open);
}

static PyObject *epoch_sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "prefix", NULL};
    const char *name;
    Py_buffer key, prefix;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*:EpochSealer", names, &name, &key, &prefix))
        return NULL;
    Sealer *self = NULL;
    const struct cipher *cipher = find_aead(name);
    if (!cipher || key.len < SECRET)
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key of the wrong length");
    else
        self = new_sealer(type, &prefix);
    int is_open = 0;
    if (self) {
        self->cipher = cipher;
        self->secret.epoch = 1;
        memcpy(self->secret.bytes, key.buf, SECRET);
        is_open = secret_open(&self->secret, &self->aead, SEALS, cipher);
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&prefix);
    return finished(self, is_open);
}

static PyObject *cbc_sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "digest", "hmac_key", "prefix", NULL};
    const char *name, *digest_name;
    Py_buffer key, hmac_key, prefix;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*sy*y*:CbcSealer", names, &name, &key, &digest_name, &hmac_key,
                                     &prefix))
        return NULL;
    Sealer *self = NULL;
    const struct cipher *cipher = find_cbc(name);
    const EVP_MD *digest = find_digest(digest_name);
    if (!cipher || !digest || (size_t)key.len < cipher->key_size || hmac_key.len < EVP_MD_get_size(digest))
        PyErr_SetString(PyExc_ValueError, "no such cipher or digest, or a key of the wrong length");
    else
        self = new_sealer(type, &prefix);
    int is_open = 0;
    if (self && (self->cbc = new_array(1, sizeof *self->cbc)))
        is_open = cbc_open(self->cbc, SEALS, cipher, digest, key.buf, hmac_key.buf);
    PyBuffer_Release(&key);
    PyBuffer_Release(&hmac_key);
    PyBuffer_Release(&prefix);
    return finished(self, is_open);
}

static void sealer_dealloc(Sealer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    aead_close(&self->aead);
    secret_forget(&self->secret);
    if (self->cbc)
        cbc_close(self->cbc);
    PyMem_Free(self->cbc);
    type->tp_free(self);
    Py_DECREF(type);
}

#define METHODS                                                                                                       \
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_FASTCALL, "Segment and seal a batch of frames, in order."}, \
    {"sealed_size", (PyCFunction)sealer_sealed_size, METH_O, "The size of a packet's datagram."},                      \
    {"largest_text", (PyCFunction)sealer_largest_text, METH_O, "The size of the largest packet for a datagram."}

static PyMethodDef methods[] = {METHODS, {NULL, NULL, 0, NULL}};

static PyMethodDef epoch_methods[] = {
    METHODS,
    {"advance", (PyCFunction)sealer_advance, METH_O, "Seal under a later epoch from now on."},
    {NULL, NULL, 0, NULL},
};

#define MEMBERS                                                                                          \
    {"packet_id", T_ULONGLONG, offsetof(Sealer, packet_id), 0, "The packet id used last."},               \
    {"blocks", T_ULONGLONG, offsetof(Sealer, blocks), 0, "Plaintext blocks of 16 bytes sealed so far."}

static PyMemberDef members[] = {MEMBERS, {NULL, 0, 0, 0, NULL}};

static PyMemberDef epoch_members[] = {
    MEMBERS,
    {"epoch", T_UINT, offsetof(Sealer, secret.epoch), READONLY, "The present epoch."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One direction of one key: frames in, runs of data packets out."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

static PyType_Slot epoch_slots[] = {
    {Py_tp_doc, "The same under keys that change by epochs."},
    {Py_tp_new, epoch_sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, epoch_methods},
    {Py_tp_members, epoch_members},
    {0, NULL},
};

static PyType_Slot cbc_slots[] = {
    {Py_tp_doc, "The same with a block cipher and an HMAC."},
    {Py_tp_new, cbc_sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, NULL},
};

PyType_Spec sealer_spec = {
    .name = "twistvpn.data._kernel.Sealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

PyType_Spec epoch_sealer_spec = {
    .name = "twistvpn.data._kernel.EpochSealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = epoch_slots,
};

PyType_Spec cbc_sealer_spec = {
    .name = "twistvpn.data._kernel.CbcSealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = cbc_slots,
};
