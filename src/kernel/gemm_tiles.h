// Products by the processor's unit for bf16 (tiles.h) for operations that take their work apart
// themselves, so that what one product hands to the next stays in a cache: operands in bf16 (for
// bf16x3 two of each), right ones packed, whole or in parts. Only where there is a unit.
#ifndef SG_KERNEL_GEMM_TILES_H
#define SG_KERNEL_GEMM_TILES_H

#include "kernel/gemm.h"
#include "kernel/tiles.h"

// The unit that multiplies in a kind, no number of C depending on the shape of the rest; none: f32,
// of rounded operands where the kind is bf16. AVX512-BF16 multiplies twice as fast as f32 does, so
// what is bf16x3, three products, is f32 there.
sg_tiles_unit sg_gemm_unit(sg_compute_kind kind);
// Whether products of that kind cost next to nothing beside passing over their results.
bool sg_gemm_is_cheap(sg_compute_kind kind);

// C (m, n) = A B, or C + A B with `add`, on the calling thread. A (m, k) with stride lda, of which
// whole groups of 16 rows are read, k a multiple of 32; for bf16x3 A is a + a_low. B is rows
// [b_row, b_row + k) and columns [b_column, b_column + n) of what was packed (gemm.h), whose rows
// are filled up with zeros to a multiple of 32; b_row is a multiple of 32, b_column of 256.
typedef struct sg_tile_product {
    int64_t m, n, k;
    const sg_bf16 *a, *a_low;
    int64_t lda;
    const void *b_packed;
    int64_t b_row, b_column;
    bool add;
    sg_real *c; // f32
    int64_t ldc;
} sg_tile_product;
void sg_gemm_tiles(const sg_tile_product *args);

// A right operand (k, n) packed part by part, in any order and by any threads, after `begin`: rows
// [row, row + rows) and columns [column, column + columns), which lie at `from` (and for bf16x3 its
// second part at `low`) with that stride. row is a multiple of 32 and so is rows, but for the last
// ones; column of 256, and columns, but for the last ones.
typedef struct sg_pack_part {
    int64_t row, rows, column, columns;
    const sg_bf16 *from, *low;
    int64_t stride;
} sg_pack_part;
void sg_gemm_pack_begin(sg_compute_kind kind, int64_t n, int64_t k, void *packed);
void sg_gemm_pack_part(const sg_kernels *kernels, void *packed, const sg_pack_part *part);

#endif
