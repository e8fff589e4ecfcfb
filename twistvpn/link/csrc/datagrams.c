/* The extension module twistvpn.link._datagrams: all datagrams that a UDP socket has, in one call. */
#include "sender.h"

#include <errno.h>
#include <string.h>

#include "../../data/csrc/values.h"

enum {
    SLOTS = 64,
    SLOTS_A_CALL = 16, /* so that a wake-up ends near its bound even if every slot is filled */
    BYTES_A_WAKEUP = 512 * 1024,
    LONGEST_DATAGRAM = 65535,
    STRIDE = 65536 + 33 * 64, /* not a power of two, lest the slots' beginnings share the same few cache lines */
    OPTION_GRO = 104,         /* UDP_GRO of linux/udp.h */
};

struct state {
    PyTypeObject *run; /* Run of twistvpn.interfaces */
};

/* Room for one datagram, or for those that UDP_GRO has joined. */
struct slot {
    struct iovec data;
    struct sender sender;
    union {
        char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
        struct cmsghdr aligned;
    } control;
};

typedef struct {
    PyObject_HEAD
    PyObject *socket;
    char *memory;
    struct slot slots[SLOTS];
    struct mmsghdr messages[SLOTS];
    struct sender last_sender;
    PyObject *last_address; /* what Python calls the last sender */
    size_t control_size;
    enum multihome multihome;
    int is_busy;
} Reader;

/* Datagrams that lie one behind the other in what is handed on: slots `first` to before `end`. */
struct joined {
    unsigned first, end;
    size_t length, size;
};

static void clear_slots(Reader *self, unsigned count)
{
    for (unsigned index = 0; index < count; index++) {
        struct msghdr *header = &self->messages[index].msg_hdr;
        header->msg_namelen = sizeof self->slots[index].sender.address;
        header->msg_controllen = self->control_size;
    }
}

/* Returns how many slots were filled; `error` is the errno that ended it, 0 where nothing failed.  Runs without the
 * interpreter's lock. */
static unsigned receive_all(Reader *self, int fd, int *error)
{
    unsigned count = 0;
    size_t octets = 0;
    while (count < SLOTS && octets < BYTES_A_WAKEUP) {
        /* A call that does not fill its slots ends the loop, so these are always there. */
        _Static_assert(SLOTS % SLOTS_A_CALL == 0, "the last call has all its slots");
        int received = recvmmsg(fd, self->messages + count, SLOTS_A_CALL, MSG_DONTWAIT, NULL);
        if (received < 0) {
            *error = errno;
            break;
        }
        for (unsigned end = count + (unsigned)received; count < end; count++)
            octets += self->messages[count].msg_len;
        if (received < SLOTS_A_CALL)
            break;
    }
    return count;
}

/* The size of the datagrams in a slot that is not empty; the last one of them may be shorter. */
static size_t segment_size(Reader *self, unsigned index)
{
    struct msghdr *header = &self->messages[index].msg_hdr;
    for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at)) {
        int size;
        if (at->cmsg_level != IPPROTO_UDP || at->cmsg_type != OPTION_GRO || at->cmsg_len < CMSG_LEN(sizeof size))
            continue;
        memcpy(&size, CMSG_DATA(at), sizeof size);
        if (size > 0)
            return (size_t)size;
    }
    return self->messages[index].msg_len;
}

/* A new reference; the same object as long as the sender is the same. */
static PyObject *address_of(Reader *self, const struct sender *sender)
{
    if (!self->last_address || !is_same_sender(&self->last_sender, sender)) {
        Py_CLEAR(self->last_address);
        self->last_address = make_address(sender);
        self->last_sender = *sender;
    }
    return Py_XNewRef(self->last_address);
}

/* Find the slots that go on from `first` with datagrams of its sender and size, of which only the last is shorter. */
static struct joined join(Reader *self, unsigned first, unsigned count)
{
    struct joined run = {first, first + 1, self->messages[first].msg_len, segment_size(self, first)};
    int is_open = run.length % run.size == 0;
    for (; run.end < count; run.end++) {
        size_t length = self->messages[run.end].msg_len;
        if (!length)
            continue;
        size_t size = segment_size(self, run.end);
        if (!is_open || (size != run.size && length >= run.size) ||
            !is_same_sender(&self->slots[first].sender, &self->slots[run.end].sender))
            break;
        is_open = size == run.size && length % size == 0;
        run.length += length;
    }
    return run;
}

static PyObject *gather(Reader *self, const struct joined *run)
{
    PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)run->length);
    char *at = data ? PyBytes_AS_STRING(data) : NULL;
    for (unsigned index = run->first; data && index < run->end; index++) {
        memcpy(at, self->slots[index].data.iov_base, self->messages[index].msg_len);
        at += self->messages[index].msg_len;
    }
    return data;
}

static PyObject *make_item(Reader *self, const struct state *state, const struct joined *run)
{
    PyObject *made = named_tuple(state->run, 2, gather(self, run), PyLong_FromSize_t(run->size));
    PyObject *address = made ? address_of(self, &self->slots[run->first].sender) : NULL;
    PyObject *item = address ? PyTuple_Pack(2, made, address) : NULL;
    Py_XDECREF(made);
    Py_XDECREF(address);
    return item;
}

static PyObject *make_batch(Reader *self, const struct state *state, unsigned count, unsigned *empty)
{
    PyObject *batch = PyList_New(0);
    for (unsigned index = 0; index < count; index++)
        *empty += !self->messages[index].msg_len;
    for (unsigned index = 0; batch && index < count;) {
        if (!self->messages[index].msg_len) {
            index++;
            continue;
        }
        struct joined run = join(self, index, count);
        PyObject *item = make_item(self, state, &run);
        if (!item || PyList_Append(batch, item) < 0)
            Py_CLEAR(batch);
        Py_XDECREF(item);
        index = run.end;
    }
    return batch;
}

static PyObject *reader_read(Reader *self, PyObject *Py_UNUSED(ignored))
{
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "another thread is reading");
        return NULL;
    }
    PyObject *number = PyObject_CallMethod(self->socket, "fileno", NULL);
    long fd = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (fd == -1 && PyErr_Occurred())
        return NULL;
    int error = 0;
    unsigned count, empty = 0;
    self->is_busy = 1;
    Py_BEGIN_ALLOW_THREADS
    count = receive_all(self, (int)fd, &error);
    for (unsigned index = 0; self->multihome && index < count; index++)
        find_pktinfo(&self->slots[index].sender, &self->messages[index].msg_hdr, self->multihome);
    Py_END_ALLOW_THREADS
    PyObject *batch = make_batch(self, PyType_GetModuleState(Py_TYPE(self)), count, &empty);
    clear_slots(self, count);
    self->is_busy = 0;
    return batch ? Py_BuildValue("(NIi)", batch, empty, error) : NULL;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"sock", "control_size", "multihome", NULL};
    PyObject *socket;
    Py_ssize_t control_size;
    int multihome = MULTIHOME_NO;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "On|i:DatagramReader", names, &socket, &control_size, &multihome))
        return NULL;
    Reader *self = (Reader *)type->tp_alloc(type, 0);
    if (!self)
        return NULL;
    self->socket = Py_NewRef(socket);
    self->memory = PyMem_RawMalloc((size_t)SLOTS * STRIDE);
    if (!self->memory) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    self->multihome = multihome;
    if (control_size > 0)
        self->control_size = sizeof self->slots[0].control;
    for (unsigned index = 0; index < SLOTS; index++) {
        struct slot *slot = &self->slots[index];
        struct msghdr *header = &self->messages[index].msg_hdr;
        slot->data = (struct iovec){self->memory + (size_t)index * STRIDE, LONGEST_DATAGRAM};
        header->msg_iov = &slot->data;
        header->msg_iovlen = 1;
        header->msg_name = &slot->sender.address;
        header->msg_control = &slot->control;
    }
    clear_slots(self, SLOTS);
    return (PyObject *)self;
}

static void reader_dealloc(Reader *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyMem_RawFree(self->memory);
    Py_XDECREF(self->socket);
    Py_XDECREF(self->last_address);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)reader_read, METH_NOARGS, "Receive what is there, within bounds."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "Receives the datagrams of one socket in batches."},
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "twistvpn.link._datagrams.DatagramReader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = reader_slots,
};

static int execute(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (!import_named_tuple(&state->run, "twistvpn.interfaces", "Run"))
        return -1;
    PyObject *type = PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    int result = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return result;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    if (state)
        Py_VISIT(state->run);
    return 0;
}

static int clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    if (state)
        Py_CLEAR(state->run);
    return 0;
}

static void release(void *module)
{
    clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_datagrams",
    .m_doc = "Receiving datagrams in batches.",
    .m_size = sizeof(struct state),
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__datagrams(void)
{
    return PyModuleDef_Init(&definition);
}
