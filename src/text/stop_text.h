// Ending a text in front of the first of some strings, while it comes in pieces: what may be the
// beginning of one is held back until it is known.
#ifndef SG_TEXT_STOP_TEXT_H
#define SG_TEXT_STOP_TEXT_H

#include "text/unicode.h"

// A zeroed one has no strings and lets everything through.
typedef struct sg_stop_text {
    const char *const *stops; // (count) none empty; the caller's
    size_t count;
    sg_bytes held;  // may be the beginning of a stop
    sg_bytes ready; // what the last call let through
    bool found;     // the text has ended
} sg_stop_text;

void sg_stop_text_close(sg_stop_text *stop);
// Takes a piece; what may be shown is in `ready`. The stop that ends first counts, of two that end
// together the longer one; neither it nor what follows is shown. False when out of memory.
bool sg_stop_text_push(sg_stop_text *stop, const char *text, size_t bytes);
// No more pieces: what was held back was no stop.
bool sg_stop_text_finish(sg_stop_text *stop);

#endif
