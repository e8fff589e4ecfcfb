/* Sealing: a batch of frames becomes runs of data packets, segmented, clamped and encrypted where they lie. */
#include "sealer.h"

#include "inet.h"
#include "mss.h"
#include "source.h"

enum {
    MAX_RUN_DATAGRAMS = 64, /* UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it */
    MAX_RUN_SIZE = 65400,   /* with all headers below gso_max_size: longer, and the kernel cuts it up by itself */
};

#define MAX_PACKET_ID 0xFFFFFFFFull
#define MAX_EPOCH_PACKET_ID 0xFFFFFFFFFFFFull

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
            size_t text = segment_length(plan, segment), length = sealer_sealed_size(self, text);
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
    size_t before = sealer_text_at(self);
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
            at += sealer_sealed_size(self, length);
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

PyObject *sealer_seal(Sealer *self, PyObject *const *args, Py_ssize_t count)
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
