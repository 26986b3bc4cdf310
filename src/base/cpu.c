// Asking through the compiler's built-in, which counts an instruction set only where the system
// saves its registers too.
#include "base/cpu.h"

#include <sched.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)
// Compilers of Debian 12 have no name for it.
static bool cpu_has_amx_bf16(void)
{
    const unsigned wanted = 1u << 22 | 1u << 24; // AMX-BF16, AMX-TILE
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & wanted) == wanted;
}
#endif

sg_cpu sg_cpu_detect(void)
{
    sg_cpu cpu = {.cores = 1};
#if defined(__x86_64__)
    __builtin_cpu_init();
    cpu.avx2_fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    cpu.avx512 = cpu.avx2_fma && __builtin_cpu_supports("avx512f") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                 __builtin_cpu_supports("avx512vl");
    cpu.avx512_bf16 = cpu.avx512 && __builtin_cpu_supports("avx512bf16");
    cpu.amx_bf16 = cpu.avx512 && cpu_has_amx_bf16();
#if defined(SG_EMULATE_AVX512)
    cpu.avx512 = cpu.avx2_fma;
#endif
#endif
#if defined(__aarch64__)
    cpu.neon = true;
#endif
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int count = CPU_COUNT(&set);
        if (count > 0) cpu.cores = count;
    }
    return cpu;
}
