// Products of bf16 with sums in f32 by the units that processors have for them, used directly: of
// products as small as these are, a library's calls took half of the time on the faster unit, and
// gave nothing on the slower one (docs/SPEED.md, "Products: tiles of our own").
#ifndef SG_KERNEL_TILES_H
#define SG_KERNEL_TILES_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/kernel.h"

typedef enum sg_tiles_unit {
    SG_TILES_NONE = 0,
    SG_TILES_PLAIN,       // loops in C, which any processor has: for tests
    SG_TILES_AVX512_BF16, // dot products of pairs
    SG_TILES_AMX          // matrix tiles
} sg_tiles_unit;

// Whether the processor has the unit, this build uses it and the system lets this process; asked
// once.
bool sg_tiles_have(sg_tiles_unit unit);
// "amx", "avx512_bf16", "plain"; NULL of none.
const char *sg_tiles_name(sg_tiles_unit unit);

// C (m, n) = A B, or C + A B with `add`: A (m, k) row-major with stride lda, of which whole groups
// of 16 rows are read; B (k, n) packed (panels.h), whole blocks of 64 columns; C f32 with stride
// ldc, of which m rows and n columns are read and written. k is a multiple of 32. Where the
// operands have a second part, A and B are the sums of both, and the product of the two second
// parts is left out. Each number is a sum in the order of k, with the unit's own rounding, so that
// it does not depend on m, n or where in C it lies; C is added to that sum, or with `chained` it is
// what the sum begins with, which is faster.
typedef struct sg_tiles_args {
    int64_t m, n, k;
    const sg_bf16 *a, *a_low; // a_low: NULL, or the second part of A
    int64_t lda;
    const sg_bf16 *b, *b_low; // likewise
    int64_t b_block;          // numbers from 64 columns of B to the next
    bool add, chained;
    float *c;
    int64_t ldc;
} sg_tiles_args;

// Only by a unit that is there.
void sg_tiles_product(sg_tiles_unit unit, const sg_tiles_args *args);

#endif
