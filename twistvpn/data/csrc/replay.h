/* A window that lets each packet id through once; the rules are those of twistvpn.crypto.replay.ReplayWindow.
 *
 * The bitmap is a ring of words indexed by the id itself (RFC 6479), so that nothing is shifted. */
#ifndef TWISTVPN_REPLAY_H
#define TWISTVPN_REPLAY_H

#include <stddef.h>
#include <stdint.h>

enum { LARGEST_REPLAY_WINDOW = 65536 };

struct replay {
    uint64_t *words;
    uint32_t word_mask; /* how many words less one, a power of two less one */
    uint32_t size;      /* how far behind the highest an id may come */
    double seconds;     /* how long after a higher one; 0 is for ever */
    uint64_t highest;
    uint64_t closed; /* ids up to this one come too late */
    uint64_t mark;
    int is_marked;
    double mark_time;
};

/* Returns 0 without memory; `size` is at most LARGEST_REPLAY_WINDOW. */
int replay_open(struct replay *window, uint32_t size, double seconds);

void replay_close(struct replay *window);

/* Close the window behind ids that came more than `seconds` ago; `now` is a monotonic time. */
void replay_expire(struct replay *window, double now);

/* Note an authentic id and tell whether its packet may pass. */
int replay_admits(struct replay *window, uint64_t packet_id);

#endif
