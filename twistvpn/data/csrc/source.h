/* Frames of Python as plans of segments. */
#ifndef TWISTVPN_SOURCE_H
#define TWISTVPN_SOURCE_H

#include "kernel.h"
#include "segment.h"

struct source {
    Py_buffer view;
    struct plan plan;
};

enum source_result { SOURCE_ERROR, SOURCE_MALFORMED, SOURCE_GOOD };

/* Take hold of a frame.  A good source must be closed; SOURCE_ERROR comes with an exception set, SOURCE_MALFORMED
 * with what is wrong. */
enum source_result source_open(struct source *source, const struct state *state, PyObject *frame, const char **wrong);

static inline void source_close(struct source *source)
{
    PyBuffer_Release(&source->view);
}

#endif
