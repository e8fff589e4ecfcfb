#include "replay.h"

#include <stdlib.h>

int replay_open(struct replay *window, uint32_t size, double seconds)
{
    /* The ring has to hold the window wherever in a word it begins. */
    uint32_t count = 2;
    while (count < size / 64 + 2)
        count *= 2;
    *window = (struct replay){.words = calloc(count, sizeof *window->words), .word_mask = count - 1};
    window->size = size;
    window->seconds = seconds;
    return window->words != NULL;
}

void replay_close(struct replay *window)
{
    free(window->words);
    window->words = NULL;
}

void replay_expire(struct replay *window, double now)
{
    if (window->seconds == 0)
        return;
    if (!window->is_marked || now - window->mark_time >= window->seconds) {
        window->closed = window->mark;
        window->mark = window->highest;
        window->mark_time = now;
        window->is_marked = 1;
    }
}

/* Clear the words between that of the highest id and that of a higher one. */
static void advance(struct replay *window, uint64_t packet_id)
{
    uint64_t word = window->highest >> 6, last = packet_id >> 6;
    if (last - word > window->word_mask)
        word = last - window->word_mask - 1;
    while (word != last)
        window->words[++word & window->word_mask] = 0;
    window->highest = packet_id;
}

int replay_admits(struct replay *window, uint64_t packet_id)
{
    uint64_t bit = (uint64_t)1 << (packet_id & 63);
    if (packet_id > window->highest)
        advance(window, packet_id);
    else if (window->highest - packet_id >= window->size || packet_id <= window->closed ||
             window->words[packet_id >> 6 & window->word_mask] & bit)
        return 0;
    window->words[packet_id >> 6 & window->word_mask] |= bit;
    return 1;
}
