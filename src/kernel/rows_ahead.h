// A product that passes rows one after the other, each once, waits for memory: it asks for the rows
// some kilobytes ahead while it works on those that have come, as the processor by itself looks no
// further than the page it is in.
#ifndef SG_KERNEL_ROWS_AHEAD_H
#define SG_KERNEL_ROWS_AHEAD_H

#include <stdint.h>

enum { SG_AHEAD_BYTES = 4096 };

// How many rows that is, in fours. What lies behind the last row may be asked for: it is never
// read.
static inline int64_t sg_rows_ahead(int64_t row_bytes)
{
    const int64_t four = 4 * row_bytes;
    return four > 0 ? (SG_AHEAD_BYTES + four - 1) / four * 4 : 0;
}

#endif
