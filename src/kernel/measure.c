// What the machine can do: the two limits that every figure is held against. Always the largest of
// a few rates, since whatever else runs on the machine only slows it down.
#include "kernel/measure.h"

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "sgatlin_bench.h"

enum { measure_n = 1536, measure_chunk = 1 << 16, measure_gemm_runs = 2, measure_reads = 3 };

// A machine that slept takes some tenths of a second to come to full speed.
static const double measure_seconds = 0.5;

static const int64_t measure_stream_count = (int64_t)32 << 20; // 128 MiB of f32, beyond any cache

struct sg_measure {
    sg_context *context;
    sg_real *block; // operands of the product; the whole is what is read
    size_t bytes;
    double *sums;
};

sg_status sg_measure_new(sg_context *context, sg_measure **out, sg_error *err)
{
    *out = NULL;
    const int64_t chunks = measure_stream_count / measure_chunk;
    sg_measure *p = sg_alloc_zero(1, sizeof *p);
    if (p == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for measuring the machine");
    p->context = context;
    p->bytes = (size_t)measure_stream_count * sizeof(sg_real);
    p->block = sg_alloc_big(p->bytes);
    p->sums = sg_alloc_zero((size_t)chunks, sizeof *p->sums);
    if (p->block == NULL || p->sums == NULL) {
        size_t bytes = p->bytes;
        sg_measure_free(p);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: measuring takes %zu bytes", bytes);
    }
    // A page that was never written is not memory.
    for (int64_t i = 0; i < measure_stream_count; i++)
        p->block[i] = (sg_real)(i % 7) * (sg_real)0.25;
    *out = p;
    return SG_OK;
}

void sg_measure_free(sg_measure *p)
{
    if (p == NULL) return;
    sg_free_big(p->block, p->bytes);
    sg_free(p->sums);
    sg_free(p);
}

static double measure_product(const sg_measure *p)
{
    const int64_t n = measure_n, square = n * n;
    double start = sg_clock_seconds();
    sg_gemm(p->context->compute, &(sg_gemm_args){.transpose_b = true,
                                                 .m = n,
                                                 .n = n,
                                                 .k = n,
                                                 .alpha = 1,
                                                 .a = p->block,
                                                 .lda = n,
                                                 .b = p->block + square,
                                                 .ldb = n,
                                                 .c = p->block + 2 * square,
                                                 .ldc = n});
    return 2e-9 * (double)square * (double)n / (sg_clock_seconds() - start);
}

static void measure_read_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_measure *p = context;
    p->sums[chunk] =
        p->context->compute.kernels->max(p->block + chunk * measure_chunk, measure_chunk);
}

static double measure_read(sg_measure *p)
{
    double start = sg_clock_seconds();
    sg_parallel_for(p->context->compute.pool, measure_stream_count / measure_chunk,
                    measure_read_chunk, p);
    return 1e-9 * (double)p->bytes / (sg_clock_seconds() - start);
}

void sg_measure_run(sg_measure *p, double *gemm_gflops, double *stream_gbs)
{
    *gemm_gflops = *stream_gbs = 0;
    for (int i = 0; i < measure_gemm_runs; i++)
        *gemm_gflops = fmax(*gemm_gflops, measure_product(p));
    for (int i = 0; i < measure_reads; i++)
        *stream_gbs = fmax(*stream_gbs, measure_read(p));
}

sg_status sg_measure_machine(sg_context *context, double *gemm_gflops, double *stream_gbs,
                             sg_error *err)
{
    sg_measure *p;
    SG_TRY(sg_measure_new(context, &p, err));
    *gemm_gflops = *stream_gbs = 0;
    for (double begun = sg_clock_seconds(); sg_clock_seconds() - begun < measure_seconds;)
        *gemm_gflops = fmax(*gemm_gflops, measure_product(p));
    for (double begun = sg_clock_seconds(); sg_clock_seconds() - begun < measure_seconds;)
        *stream_gbs = fmax(*stream_gbs, measure_read(p));
    sg_measure_free(p);
    return SG_OK;
}
