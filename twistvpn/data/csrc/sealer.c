/* Sealing: a batch of frames becomes runs of data packets, segmented, clamped and encrypted where they lie. */
#include "kernel.h"

#include <structmember.h>

#include "aead.h"
#include "inet.h"
#include "mss.h"
#include "source.h"

enum {
    MAX_RUN_DATAGRAMS = 64, /* UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it */
    MAX_RUN_SIZE = 65400,   /* with all headers below gso_max_size: longer, and the kernel cuts it up by itself */
};

#define MAX_PACKET_ID 0xFFFFFFFFull
#define LONGEST_TEXT ((size_t)1 << 30) /* libcrypto counts in int */

typedef struct {
    PyObject_HEAD
    struct aead aead;
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

static size_t overhead(const Sealer *self)
{
    return self->prefix_size + PACKET_ID + TAG;
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

/* Neighbours of one size, and a shorter one behind them, share a run. */
static int plan_runs(struct batch *batch, size_t added)
{
    struct run *run = NULL;
    size_t room = 0;
    for (Py_ssize_t index = 0; index < batch->source_count; index++) {
        const struct plan *plan = &batch->sources[index].plan;
        for (size_t segment = 0; segment < plan->count; segment++) {
            size_t text = segment_length(plan, segment), length = text + added;
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
    size_t prefix = self->prefix_size, added = overhead(self);
    uint32_t packet_id = (uint32_t)self->packet_id;
    uint8_t *at = NULL, *end = NULL;
    for (Py_ssize_t index = 0; index < batch->source_count; index++) {
        const struct plan *plan = &batch->sources[index].plan;
        for (size_t segment = 0; segment < plan->count; segment++) {
            if (at == end) {
                at = (uint8_t *)PyBytes_AS_STRING(run->bytes);
                end = at + run++->length;
            }
            uint8_t *text = at + added;
            size_t length = segment_length(plan, segment);
            write_segment(plan, segment, text);
            if (largest_mss)
                clamp_mss(text, length, largest_mss);
            memcpy(at, self->prefix, prefix);
            put32(at + prefix, ++packet_id);
            if (!aead_seal(&self->aead, at, prefix, length))
                return 0;
            at = text + length;
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
    if (self->packet_id > MAX_PACKET_ID || batch->packets > MAX_PACKET_ID - self->packet_id) {
        PyErr_SetString(state->packet_id_exhausted, "the key has no packet id left");
        return NULL;
    }
    if (!plan_runs(batch, overhead(self)))
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

static PyObject *sealer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"cipher", "key", "implicit_iv", "prefix", NULL};
    const char *cipher;
    Py_buffer key, iv, prefix;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "sy*y*y*:Sealer", names, &cipher, &key, &iv, &prefix))
        return NULL;
    Sealer *self = NULL;
    size_t key_size = aead_key_size(cipher);
    if (!key_size || (size_t)key.len < key_size || iv.len < IMPLICIT_IV || (prefix.len != 1 && prefix.len != 4))
        PyErr_SetString(PyExc_ValueError, "no such cipher, or a key, IV or prefix of the wrong length");
    else
        self = (Sealer *)type->tp_alloc(type, 0);
    if (self) {
        memcpy(self->prefix, prefix.buf, (size_t)prefix.len);
        self->prefix_size = (size_t)prefix.len;
        if (!aead_open(&self->aead, AEAD_SEALS, cipher, key.buf, iv.buf)) {
            PyErr_Format(PyExc_RuntimeError, "libcrypto has no %s", cipher);
            Py_CLEAR(self);
        }
    }
    PyBuffer_Release(&key);
    PyBuffer_Release(&iv);
    PyBuffer_Release(&prefix);
    return (PyObject *)self;
}

static void sealer_dealloc(Sealer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    aead_close(&self->aead);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *sealer_overhead(Sealer *self, void *unused)
{
    (void)unused;
    return PyLong_FromSize_t(overhead(self));
}

static PyMethodDef methods[] = {
    {"seal", (PyCFunction)(void (*)(void))sealer_seal, METH_FASTCALL, "Segment and seal one batch of frames, in order."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"packet_id", T_ULONGLONG, offsetof(Sealer, packet_id), 0, "The packet id used last."},
    {"blocks", T_ULONGLONG, offsetof(Sealer, blocks), 0, "Plaintext blocks of 16 bytes sealed so far."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"overhead", (getter)sealer_overhead, NULL, "Bytes that sealing adds to a packet.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One direction of one key: frames in, runs of data packets out."},
    {Py_tp_new, sealer_new},
    {Py_tp_dealloc, sealer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, properties},
    {0, NULL},
};

PyType_Spec sealer_spec = {
    .name = "twistvpn.data._kernel.Sealer",
    .basicsize = sizeof(Sealer),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
