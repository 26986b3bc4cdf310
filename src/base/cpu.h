// What the processor can do, asked once at run time.
#ifndef SG_BASE_CPU_H
#define SG_BASE_CPU_H

#include <stdbool.h>

typedef struct sg_cpu {
    bool avx2_fma;    // AVX2, FMA and F16C, enabled by the operating system
    bool avx512;      // AVX-512 F, BW, DQ, VL
    bool avx512_bf16; // AVX-512 and its dot products of bf16
    bool amx_bf16; // matrix tiles with products of bf16; the system is still to be asked for them
    bool neon;     // NEON with FMA: every aarch64
    int cores;     // processors this process may use, at least 1
} sg_cpu;

sg_cpu sg_cpu_detect(void);

#endif
