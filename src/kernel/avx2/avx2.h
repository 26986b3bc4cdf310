// The AVX2+FMA table, for kernel/kernel.c alone: it must not be called before the processor was
// asked, so it is handed over as data and nothing compiled with -mavx2 runs by itself.
#ifndef SG_KERNEL_AVX2_AVX2_H
#define SG_KERNEL_AVX2_AVX2_H

#include "kernel/kernel.h"

extern const sg_kernels sg_avx2_table;

#endif
