// Which tables of kernels this build and this processor have.
#include "kernel/kernel.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "base/cpu.h"
#include "kernel/simd/tables.h"

#if defined(SG_AVX512_BF16) && !defined(SG_REAL_DOUBLE)
static sg_kernels kernels_avx512;
static pthread_once_t kernels_once = PTHREAD_ONCE_INIT;

static void kernels_choose(void)
{
    kernels_avx512 = sg_avx512_table;
    if (!sg_cpu_detect().avx512_bf16) return;
    kernels_avx512.to_bf16 = sg_avx512_round_to_bf16;
    kernels_avx512.split_bf16 = sg_avx512_round_split_bf16;
}

static const sg_kernels *kernels_of_avx512(void)
{
    pthread_once(&kernels_once, kernels_choose);
    return &kernels_avx512;
}
#elif defined(SG_SIMD) && defined(__x86_64__) && !defined(SG_REAL_DOUBLE)
static const sg_kernels *kernels_of_avx512(void)
{
    return &sg_avx512_table;
}
#endif

// SG_SIMD is defined where tables in vector instructions are compiled in; they have floats.
int sg_kernels_list(const sg_kernels *tables[SG_TABLES_MAX])
{
    int count = 0;
    tables[count++] = sg_kernels_ref();
#if defined(SG_SIMD) && !defined(SG_REAL_DOUBLE)
    const sg_cpu cpu = sg_cpu_detect();
#if defined(__x86_64__)
    if (cpu.avx2_fma) tables[count++] = &sg_avx2_table;
    if (cpu.avx512) tables[count++] = kernels_of_avx512();
#elif defined(__aarch64__)
    if (cpu.neon) tables[count++] = &sg_neon_table;
#endif
#endif
    return count;
}

const sg_kernels *sg_kernels_fastest(void)
{
    const sg_kernels *tables[SG_TABLES_MAX];
    return tables[sg_kernels_list(tables) - 1];
}

const sg_kernels *sg_kernels_named(const char *name)
{
    if (name == NULL) return sg_kernels_fastest();
    const sg_kernels *tables[SG_TABLES_MAX];
    for (int i = sg_kernels_list(tables) - 1; i >= 0; i--)
        if (strcmp(tables[i]->name, name) == 0) return tables[i];
    return NULL;
}
