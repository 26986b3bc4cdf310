// What the machine can do: the two limits that every figure is held against. Always the largest of
// a few rates, since whatever else runs on the machine only slows it down.
#include "kernel/measure.h"

#include <math.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/bf16.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "sgatlin_bench.h"

enum {
    measure_n = 1536,     // rows, columns and depth of a product
    measure_small = 1024, // of one between steps, where few threads share it
    measure_few = 4,
    measure_chunk = 1 << 16,
    measure_gemm_runs = 2,
    measure_reads = 3,
    measure_times = 100 << 10, // a third of a millisecond to a millisecond
    measure_peaks = 30
};

// A machine that slept takes some tenths of a second to come to full speed.
static const double measure_seconds = 0.5;

static const int64_t measure_stream_count = (int64_t)32 << 20; // 128 MiB of f32, beyond any cache

// ---- products -----------------------------------------------------------------------------------

// The operands of a product: A, B and C in one block, and what kinds other than f32 take more.
typedef struct measure_operands {
    int64_t n; // rows, columns, depth
    const sg_real *a, *b;
    sg_real *c;
    sg_bf16 *half; // A, then B; NULL: none
    void *room;
    size_t half_bytes, room_bytes;
} measure_operands;

static size_t measure_half_bytes(sg_compute_kind kind, int64_t n)
{
    return kind == SG_COMPUTE_BF16 ? 2 * (size_t)(n * n) * sizeof(sg_bf16) : 0;
}

// block: 3 squares, already written.
static sg_status measure_operands_new(sg_real *block, int64_t n, unsigned kinds,
                                      measure_operands *o, sg_error *err)
{
    const int64_t square = n * n;
    *o = (measure_operands){.n = n, .a = block, .b = block + square, .c = block + 2 * square};
    for (int kind = 0; kind < SG_MEASURE_KINDS; kind++) {
        if (!(kinds & sg_measure_kind((sg_compute_kind)kind))) continue;
        const size_t room = sg_gemm_room((sg_compute_kind)kind, n, n, n);
        if (room > o->room_bytes) o->room_bytes = room;
        o->half_bytes += measure_half_bytes((sg_compute_kind)kind, n);
    }
    if (o->half_bytes > 0) o->half = sg_alloc_big(o->half_bytes);
    if (o->room_bytes > 0) o->room = sg_alloc_big(o->room_bytes);
    if ((o->half_bytes > 0 && o->half == NULL) || (o->room_bytes > 0 && o->room == NULL))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: measuring takes %zu bytes",
                       o->half_bytes + o->room_bytes);
    for (int64_t i = 0; o->half != NULL && i < 2 * square; i++)
        o->half[i] = sg_bf16_round((float)block[i]);
    return SG_OK;
}

static void measure_operands_free(measure_operands *o)
{
    sg_free_big(o->half, o->half_bytes);
    sg_free_big(o->room, o->room_bytes);
}

// GFLOP/s of one product. With bf16 both operands are in it already, as the fastest ones of a step.
static double measure_product(sg_compute compute, const measure_operands *o, sg_compute_kind kind)
{
    const bool half = measure_half_bytes(kind, o->n) > 0;
    const int64_t n = o->n;
    const double start = sg_clock_seconds();
    sg_gemm(compute, &(sg_gemm_args){.transpose_b = true,
                                     .m = n,
                                     .n = n,
                                     .k = n,
                                     .alpha = 1,
                                     .a = half ? NULL : o->a,
                                     .lda = n,
                                     .b = half ? NULL : o->b,
                                     .ldb = n,
                                     .c = o->c,
                                     .ldc = n,
                                     .kind = kind,
                                     .a_half = half ? o->half : NULL,
                                     .b_half = half ? o->half + n * n : NULL,
                                     .room = o->room});
    return 2e-9 * (double)(n * n) * (double)n / (sg_clock_seconds() - start);
}

// The largest rate of as many products as there is time for, of `least` at least.
static double measure_products(sg_compute compute, const measure_operands *o, sg_compute_kind kind,
                               int least, double seconds)
{
    double most = 0;
    const double begun = sg_clock_seconds();
    for (int i = 0; i < least || sg_clock_seconds() - begun < seconds; i++)
        most = fmax(most, measure_product(compute, o, kind));
    return most;
}

// A page that was never written is not memory.
static void measure_write(sg_real *block, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        block[i] = (sg_real)(i % 7) * (sg_real)0.25;
}

static sg_status measure_alone(sg_context *context, sg_compute_kind kind, int64_t n, int least,
                               double seconds, double *gflops, sg_error *err)
{
    const int64_t count = 3 * n * n;
    const size_t bytes = (size_t)count * sizeof(sg_real);
    measure_operands operands = {0};
    *gflops = 0;
    sg_real *block = sg_alloc_big(bytes);
    if (block == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: measuring takes %zu bytes", bytes);
    measure_write(block, count);
    sg_status status = measure_operands_new(block, n, sg_measure_kind(kind), &operands, err);
    if (status == SG_OK)
        *gflops = measure_products(context->compute, &operands, kind, least, seconds);
    measure_operands_free(&operands);
    sg_free_big(block, bytes);
    return status;
}

sg_status sg_measure_gemm(sg_context *context, sg_compute_kind kind, double seconds, double *gflops,
                          sg_error *err)
{
    const int64_t n = context->threads <= measure_few ? measure_small : measure_n;
    return measure_alone(context, kind, n, 1, seconds, gflops, err);
}

sg_status sg_measure_products(sg_context *context, sg_compute_kind kind, double seconds,
                              double *gflops, sg_error *err)
{
    *gflops = 0;
    if (sg_compute_kind_name(kind) == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "kind: found %d, expected one of sg_compute_kind",
                       (int)kind);
    return measure_alone(context, kind, measure_n, measure_gemm_runs, seconds, gflops, err);
}

// ---- registers ----------------------------------------------------------------------------------

typedef struct measure_peak {
    const sg_kernels *kernels;
    int64_t times, *flops; // of each thread
} measure_peak;

// 0.75 x + 0.25 goes to 1.
static void measure_peak_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const measure_peak *p = context;
    sg_real x[SG_CHAINS];
    for (int c = 0; c < SG_CHAINS; c++)
        x[c] = (sg_real)(1 + c);
    p->flops[chunk] = p->kernels->multiply_adds(x, (sg_real)0.75, (sg_real)0.25, p->times);
    for (int c = 0; c < SG_CHAINS; c++)
        if (!(x[c] < 2)) p->flops[chunk] = 0;
}

double sg_measure_peak(const sg_context *context)
{
    enum { most_threads = 1024 };
    int64_t flops[most_threads];
    const int threads = context->threads < most_threads ? context->threads : most_threads;
    measure_peak p = {sg_kernels_fastest(), measure_times, flops};
    double most = 0;
    for (int i = 0; i < measure_peaks; i++) {
        const double start = sg_clock_seconds();
        sg_parallel_for(context->compute.pool, threads, measure_peak_chunk, &p);
        const double seconds = sg_clock_seconds() - start;
        double sum = 0;
        for (int t = 0; t < threads; t++)
            sum += (double)flops[t];
        if (seconds > 0) most = fmax(most, 1e-9 * sum / seconds);
    }
    return most;
}

// ---- both limits --------------------------------------------------------------------------------

struct sg_measure {
    sg_context *context;
    sg_real *block; // operands of the product; the whole is what is read
    size_t bytes;
    measure_operands operands;
    double *sums;
};

sg_status sg_measure_new(sg_context *context, unsigned kinds, sg_measure **out, sg_error *err)
{
    *out = NULL;
    const int64_t chunks = measure_stream_count / measure_chunk;
    sg_measure *p = sg_alloc_zero(1, sizeof *p);
    if (p == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for measuring the machine");
    p->context = context;
    p->bytes = (size_t)measure_stream_count * sizeof(sg_real);
    p->block = sg_alloc_big(p->bytes);
    p->sums = sg_alloc_zero((size_t)chunks, sizeof *p->sums);
    sg_status status = SG_OK;
    if (p->block == NULL || p->sums == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory: measuring takes %zu bytes", p->bytes);
    if (status == SG_OK) {
        measure_write(p->block, measure_stream_count);
        status = measure_operands_new(p->block, measure_n, kinds, &p->operands, err);
    }
    if (status != SG_OK) {
        sg_measure_free(p);
        return status;
    }
    *out = p;
    return SG_OK;
}

void sg_measure_free(sg_measure *p)
{
    if (p == NULL) return;
    measure_operands_free(&p->operands);
    sg_free_big(p->block, p->bytes);
    sg_free(p->sums);
    sg_free(p);
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

void sg_measure_run(sg_measure *p, unsigned kinds, sg_measured *measured)
{
    *measured = (sg_measured){0};
    for (int kind = 0; kind < SG_MEASURE_KINDS; kind++)
        if (kinds & sg_measure_kind((sg_compute_kind)kind))
            measured->gflops[kind] = measure_products(p->context->compute, &p->operands,
                                                      (sg_compute_kind)kind, measure_gemm_runs, 0);
    for (int i = 0; i < measure_reads; i++)
        measured->stream_gbs = fmax(measured->stream_gbs, measure_read(p));
}

sg_status sg_measure_machine(sg_context *context, double *gemm_gflops, double *stream_gbs,
                             sg_error *err)
{
    sg_measure *p;
    SG_TRY(sg_measure_new(context, sg_measure_kind(SG_COMPUTE_F32), &p, err));
    *stream_gbs = 0;
    *gemm_gflops =
        measure_products(context->compute, &p->operands, SG_COMPUTE_F32, 1, measure_seconds);
    for (double begun = sg_clock_seconds(); sg_clock_seconds() - begun < measure_seconds;)
        *stream_gbs = fmax(*stream_gbs, measure_read(p));
    sg_measure_free(p);
    return SG_OK;
}
