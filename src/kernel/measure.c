// What the machine can do: the two limits that every figure is held against.
#include "base/alloc.h"
#include "base/clock.h"
#include "base/context.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"

// The largest of many rates: a machine that slept takes some tenths of a second to come to full
// speed, and whatever else runs on it only slows it down.
enum { measure_n = 1536, measure_chunk = 1 << 16 };

static const double measure_seconds = 0.5;

static const int64_t measure_stream_count = (int64_t)32 << 20; // 128 MiB of f32, beyond any cache

typedef struct measure_stream {
    const sg_real *data;
    double *sums;
} measure_stream;

static void measure_chunk_fn(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const measure_stream *m = context;
    m->sums[chunk] = sg_kernels_get()->max(m->data + chunk * measure_chunk, measure_chunk);
}

static double measure_gemm(sg_context *context, sg_real *block)
{
    const int64_t n = measure_n, square = n * n;
    for (int64_t i = 0; i < 2 * square; i++)
        block[i] = (sg_real)(i % 7) * (sg_real)0.25;
    double best = 0, begun = sg_clock_seconds();
    while (sg_clock_seconds() - begun < measure_seconds) {
        double start = sg_clock_seconds();
        sg_gemm(context->pool, &(sg_gemm_args){.transpose_b = true,
                                               .m = n,
                                               .n = n,
                                               .k = n,
                                               .alpha = 1,
                                               .a = block,
                                               .lda = n,
                                               .b = block + square,
                                               .ldb = n,
                                               .c = block + 2 * square,
                                               .ldc = n});
        double rate = 2e-9 * (double)square * (double)n / (sg_clock_seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}

sg_status sg_measure_machine(sg_context *context, double *gemm_gflops, double *stream_gbs,
                             sg_error *err)
{
    const int64_t chunks = measure_stream_count / measure_chunk;
    size_t bytes = (size_t)measure_stream_count * sizeof(sg_real);
    sg_real *block = sg_alloc_big(bytes);
    double *sums = sg_alloc_zero((size_t)chunks, sizeof *sums);
    sg_status status = SG_OK;
    if (block == NULL || sums == NULL) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory: measuring takes %zu bytes", bytes);
    } else {
        *gemm_gflops = measure_gemm(context, block);
        for (int64_t i = 0; i < measure_stream_count; i += 1024)
            block[i] = 1; // a page that was never written is not memory
        double best = 0, begun = sg_clock_seconds();
        measure_stream m = {block, sums};
        while (sg_clock_seconds() - begun < measure_seconds) {
            double start = sg_clock_seconds();
            sg_parallel_for(context->pool, chunks, measure_chunk_fn, &m);
            double rate = 1e-9 * (double)bytes / (sg_clock_seconds() - start);
            if (rate > best) best = rate;
        }
        *stream_gbs = best;
    }
    sg_free_big(block, bytes);
    sg_free(sums);
    return status;
}
