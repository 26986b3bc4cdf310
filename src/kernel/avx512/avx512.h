// The AVX-512 table, for kernel/kernel.c alone: it must not be called before the processor was
// asked, so it is handed over as data and nothing compiled with -mavx512f runs by itself.
#ifndef SG_KERNEL_AVX512_AVX512_H
#define SG_KERNEL_AVX512_AVX512_H

#include "kernel/kernel.h"

extern const sg_kernels sg_avx512_table;

#endif
