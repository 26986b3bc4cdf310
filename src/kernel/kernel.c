// Which tables of kernels this build and this processor have.
#include "kernel/kernel.h"

#include <stddef.h>
#include <string.h>

#include "base/cpu.h"

#if defined(__x86_64__) && !defined(SG_REAL_DOUBLE)
#include "kernel/avx2/avx2.h"
#include "kernel/avx512/avx512.h"

const sg_kernels *sg_kernels_avx2(void)
{
    return sg_cpu_detect().avx2_fma ? &sg_avx2_table : NULL;
}

const sg_kernels *sg_kernels_avx512(void)
{
    return sg_cpu_detect().avx512 ? &sg_avx512_table : NULL;
}
#else
const sg_kernels *sg_kernels_avx2(void)
{
    return NULL;
}

const sg_kernels *sg_kernels_avx512(void)
{
    return NULL;
}
#endif

const sg_kernels *sg_kernels_fastest(void)
{
    const sg_kernels *table = sg_kernels_avx512();
    if (table == NULL) table = sg_kernels_avx2();
    return table != NULL ? table : sg_kernels_ref();
}

const sg_kernels *sg_kernels_named(const char *name)
{
    if (name == NULL) return sg_kernels_fastest();
    if (strcmp(name, "ref") == 0) return sg_kernels_ref();
    if (strcmp(name, "avx2") == 0) return sg_kernels_avx2();
    if (strcmp(name, "avx512") == 0) return sg_kernels_avx512();
    return NULL;
}
