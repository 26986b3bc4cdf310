// The tables of vector kernels, for kernel/kernel.c alone: none may be called before the processor
// was asked, so they are handed over as data and nothing compiled for one runs by itself.
#ifndef SG_KERNEL_SIMD_TABLES_H
#define SG_KERNEL_SIMD_TABLES_H

#include "kernel/kernel.h"

extern const sg_kernels sg_avx2_table, sg_avx512_table, sg_neon_table;

// Kernels of the avx512 table, the same bits, where the processor has AVX512-BF16 too.
void sg_avx512_round_to_bf16(sg_bf16 *y, const float *x, int64_t n);
void sg_avx512_round_split_bf16(sg_bf16 *hi, sg_bf16 *lo, const float *x, int64_t n);

#endif
