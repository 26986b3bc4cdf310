// oneDNN's dnnl_sgemm, held to the calling thread. See products.h.
#include "kernel/products.h"

#include "base/cpu.h"

// Gradient checks compute in double, which oneDNN has no products of.
#if defined(SG_ONEDNN) && !defined(SG_REAL_DOUBLE)

#include <dlfcn.h>
#include <dnnl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static const char products_file[] = SG_ONEDNN_FILE; // "libdnnl.so.2"

enum {
    // Address space that the library, what it needs and the code it writes take (70 MiB measured of
    // 2.6), and something for the threads: with less it aborts, some of it before it is asked.
    products_room = 128 << 20,
    products_probe = 64 // rows, columns and depth of the first products
};

// Those in OpenMP's own words; found in whatever runtime the library brings.
typedef int (*products_get_threads)(void);
typedef void (*products_set_threads)(int);

static struct {
    pthread_mutex_t mutex; // held while the library is loaded
    __typeof__(dnnl_sgemm) *sgemm;
    products_get_threads get_threads; // NULL: the library has no threads
    products_set_threads set_threads;
    const char *lack;
    sg_tiles_unit unit;
    char name[80];
} products = {.mutex = PTHREAD_MUTEX_INITIALIZER, .name = "plain"};
// Set last: who sees it sees the rest.
static atomic_bool products_ready;
static atomic_llong products_refusals;

// ---- which instructions it uses ---------------------------------------------------------------

static const char *products_isa_name(dnnl_cpu_isa_t isa)
{
    switch ((int)isa) {
    case dnnl_cpu_isa_sse41:
        return "sse41";
    case dnnl_cpu_isa_avx:
        return "avx";
    case dnnl_cpu_isa_avx2:
        return "avx2";
    case dnnl_cpu_isa_avx2_vnni:
        return "avx2_vnni";
    case dnnl_cpu_isa_avx512_core:
        return "avx512_core";
    case dnnl_cpu_isa_avx512_core_vnni:
        return "avx512_core_vnni";
    case dnnl_cpu_isa_avx512_core_bf16:
        return "avx512_core_bf16";
    case dnnl_cpu_isa_avx512_core_amx:
        return "avx512_core_amx";
#if DNNL_VERSION_MAJOR >= 3
    case dnnl_cpu_isa_avx2_vnni_2:
        return "avx2_vnni_2";
    case dnnl_cpu_isa_avx512_core_fp16:
        return "avx512_core_fp16";
    case dnnl_cpu_isa_avx512_core_amx_fp16:
        return "avx512_core_amx_fp16";
#endif
    default:
        return NULL;
    }
}

// A set holds the bits of all that it builds on.
static bool products_has(dnnl_cpu_isa_t isa, dnnl_cpu_isa_t wanted)
{
    return ((unsigned)isa & (unsigned)wanted) == (unsigned)wanted;
}

static const char *products_find_lack(dnnl_cpu_isa_t isa)
{
    const sg_cpu cpu = sg_cpu_detect();
    if (cpu.avx512 && !products_has(isa, dnnl_cpu_isa_avx512_core)) return "avx512";
    return cpu.avx2_fma && !products_has(isa, dnnl_cpu_isa_avx2) ? "avx2" : NULL;
}

// Who keeps the library from units, by its ONEDNN_MAX_CPU_ISA, wants none of ours either.
static sg_tiles_unit products_find_unit(dnnl_cpu_isa_t isa)
{
    if (products_has(isa, dnnl_cpu_isa_avx512_core_amx) && sg_tiles_have(SG_TILES_AMX))
        return SG_TILES_AMX;
    return products_has(isa, dnnl_cpu_isa_avx512_core_bf16) && sg_tiles_have(SG_TILES_AVX512_BF16)
               ? SG_TILES_AVX512_BF16
               : SG_TILES_NONE;
}

static const char *products_and(sg_tiles_unit unit)
{
    static const char *const words[] = {"", "", " and avx512_bf16 dots", " and amx tiles"};
    return words[unit];
}

// ---- loading ----------------------------------------------------------------------------------

static sg_status products_check_room(sg_error *err)
{
    void *room = mmap(NULL, products_room, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return sg_fail(err, SG_ERR_MEMORY,
                       "out of memory: dense products (oneDNN, %s) take %d MB of address space, "
                       "which the limit of this process (ulimit -v) does not leave",
                       products_file, products_room >> 20);
    munmap(room, products_room);
    return SG_OK;
}

static sg_status products_find(void *library, sg_error *err)
{
    __typeof__(dnnl_version) *version = (__typeof__(version))dlsym(library, "dnnl_version");
    __typeof__(dnnl_get_effective_cpu_isa) *isa =
        (__typeof__(isa))dlsym(library, "dnnl_get_effective_cpu_isa");
    products.sgemm = (__typeof__(products.sgemm))dlsym(library, "dnnl_sgemm");
    if (version == NULL || isa == NULL || products.sgemm == NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: misses functions of oneDNN %d.%d",
                       products_file, DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR);
    const unsigned runtime = version()->cpu_runtime;
    if (runtime != DNNL_RUNTIME_SEQ && runtime != DNNL_RUNTIME_OMP)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: built for threads of kind %u, expected OpenMP (%u) or none (%u)",
                       products_file, runtime, DNNL_RUNTIME_OMP, DNNL_RUNTIME_SEQ);
    if (runtime == DNNL_RUNTIME_OMP) {
        products.get_threads = (products_get_threads)dlsym(library, "omp_get_max_threads");
        products.set_threads = (products_set_threads)dlsym(library, "omp_set_num_threads");
        if (products.get_threads == NULL || products.set_threads == NULL)
            return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: its OpenMP has no omp_set_num_threads",
                           products_file);
    }
    const dnnl_cpu_isa_t used = isa();
    const char *name = products_isa_name(used);
    char number[16];
    snprintf(number, sizeof number, "0x%x", (unsigned)used);
    products.lack = products_find_lack(used);
    products.unit = products_find_unit(used);
    snprintf(products.name, sizeof products.name, "onednn %d.%d.%d (%s)%s", version()->major,
             version()->minor, version()->patch, name ? name : number, products_and(products.unit));
    return SG_OK;
}

static dnnl_status_t products_call(const sg_gemm_args *args)
{
    // The caller's OpenMP, if it has any, keeps its threads.
    const int threads = products.get_threads ? products.get_threads() : 1;
    if (threads != 1) products.set_threads(1);
    dnnl_status_t status = products.sgemm(
        args->transpose_a ? 'T' : 'N', args->transpose_b ? 'T' : 'N', args->m, args->n, args->k,
        args->alpha, args->a, args->lda, args->b, args->ldb, args->beta, args->c, args->ldc);
    if (threads != 1) products.set_threads(threads);
    return status;
}

// The library writes its code at the first product of each kind; where it cannot, it ends the
// process. So all kinds are asked for now, while there is room: operands as they are and copied.
static sg_status products_warm(sg_error *err)
{
    enum { n = products_probe };
    static float a[n * n], b[n * n], c[n * n];
    for (int kind = 0; kind < 16; kind++) {
        const int size = kind & 8 ? n : 8;
        const sg_gemm_args args = {.transpose_a = kind & 1,
                                   .transpose_b = kind & 2,
                                   .m = size,
                                   .n = size,
                                   .k = size,
                                   .alpha = 1,
                                   .a = a,
                                   .lda = n,
                                   .b = b,
                                   .ldb = n,
                                   .beta = kind & 4 ? 1.0f : 0.0f,
                                   .c = c,
                                   .ldc = n};
        if (products_call(&args) != dnnl_success)
            return sg_fail(err, SG_ERR_MEMORY, "out of memory: %s computes no product",
                           products_file);
    }
    return SG_OK;
}

static sg_status products_load(sg_error *err)
{
    SG_TRY(products_check_room(err));
    // Never closed: it has threads' memory and code in use until the process ends.
    void *library = dlopen(products_file, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return sg_fail(err, SG_ERR_IO,
                       "dense products (oneDNN): %s; install it, or build with -DSG_ONEDNN=OFF for "
                       "plain loops",
                       dlerror());
    SG_TRY(products_find(library, err));
    SG_TRY(products_warm(err));
    return SG_OK;
}

sg_status sg_products_open(sg_error *err)
{
    if (atomic_load(&products_ready)) return SG_OK;
    pthread_mutex_lock(&products.mutex);
    sg_status status = atomic_load(&products_ready) ? SG_OK : products_load(err);
    if (status == SG_OK) atomic_store(&products_ready, true);
    pthread_mutex_unlock(&products.mutex);
    return status;
}

// ---- products ---------------------------------------------------------------------------------

bool sg_products_run(const sg_gemm_args *args)
{
    if (!atomic_load_explicit(&products_ready, memory_order_acquire)) return false;
    if (products_call(args) == dnnl_success) return true;
    atomic_fetch_add(&products_refusals, 1);
    return false;
}

int64_t sg_products_refused(void)
{
    return atomic_load(&products_refusals);
}

const char *sg_products_name(void)
{
    return atomic_load(&products_ready) ? products.name : "plain";
}

const char *sg_products_lack(void)
{
    return atomic_load(&products_ready) ? products.lack : NULL;
}

sg_tiles_unit sg_products_unit(void)
{
    return atomic_load(&products_ready) ? products.unit : SG_TILES_NONE;
}

#else

sg_status sg_products_open(sg_error *err)
{
    (void)err;
    return SG_OK;
}

bool sg_products_run(const sg_gemm_args *args)
{
    (void)args;
    return false;
}

int64_t sg_products_refused(void)
{
    return 0;
}

sg_tiles_unit sg_products_unit(void)
{
    return sg_tiles_have(SG_TILES_AMX)           ? SG_TILES_AMX
           : sg_tiles_have(SG_TILES_AVX512_BF16) ? SG_TILES_AVX512_BF16
                                                 : SG_TILES_NONE;
}

const char *sg_products_name(void)
{
    static const char *const names[] = {"plain", "plain", "plain and avx512_bf16 dots",
                                        "plain and amx tiles"};
    return names[sg_products_unit()];
}

// The build was asked for plain loops.
const char *sg_products_lack(void)
{
    return NULL;
}

#endif
