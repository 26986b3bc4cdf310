// The tables of vector kernels, for kernel/kernel.c alone: none may be called before the processor
// was asked, so they are handed over as data and nothing compiled for one runs by itself.
#ifndef SG_KERNEL_SIMD_TABLES_H
#define SG_KERNEL_SIMD_TABLES_H

#include "kernel/kernel.h"

extern const sg_kernels sg_avx2_table, sg_avx512_table, sg_neon_table;

#endif
