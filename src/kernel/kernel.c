// Which table of kernels is in use. The choice is one atomic pointer, so that any thread may read
// it and two that make the first choice at once make the same one.
#include "kernel/kernel.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "base/cpu.h"

static _Atomic(const sg_kernels *) kernel_selected;

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

static const sg_kernels *kernel_fastest(void)
{
    const sg_kernels *table = sg_kernels_avx512();
    if (table == NULL) table = sg_kernels_avx2();
    return table != NULL ? table : sg_kernels_ref();
}

const sg_kernels *sg_kernels_get(void)
{
    const sg_kernels *table = atomic_load_explicit(&kernel_selected, memory_order_acquire);
    if (table != NULL) return table;
    const sg_kernels *none = NULL;
    table = kernel_fastest();
    if (!atomic_compare_exchange_strong(&kernel_selected, &none, table)) table = none;
    return table;
}

bool sg_kernels_select(const char *name)
{
    const sg_kernels *table = NULL;
    if (name == NULL)
        table = kernel_fastest();
    else if (strcmp(name, "ref") == 0)
        table = sg_kernels_ref();
    else if (strcmp(name, "avx2") == 0)
        table = sg_kernels_avx2();
    else if (strcmp(name, "avx512") == 0)
        table = sg_kernels_avx512();
    if (table == NULL) return false;
    atomic_store_explicit(&kernel_selected, table, memory_order_release);
    return true;
}
