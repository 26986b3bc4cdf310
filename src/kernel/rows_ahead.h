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

// Bytes that will be read or written soon, to the second cache: pieces of rows that lie apart are
// foreseen by no processor, and many of them would drive each other out of the first.
static inline void sg_expect(const void *at, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)at + i, 0, 2);
}

#endif
