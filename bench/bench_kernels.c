// The machine's two limits, dense products and memory reads, and the kernels against them:
//   build/bench/bench_kernels [gemm] [stream] [kernels] [gather] [stored]
// Without an argument all are run. Each figure is the fastest of many repetitions, because what
// else runs on a machine only ever adds time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/rng.h"
#include "kernel/gemm.h"
#include "kernel/products.h"
#include "kernel/stored.h"

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// NULL where the processor lacks one.
enum { table_count = 3 };
#if defined(__aarch64__)
static const char *const table_names[table_count] = {"ref", "neon", "-"};
#else
static const char *const table_names[table_count] = {"ref", "avx2", "avx512"};
#endif

typedef void (*bench_fn)(void *context);

// The fastest of the calls that fit into about 0.4 seconds, at least 3; in seconds.
static double fastest(bench_fn fn, void *context)
{
    double best = 1e30, start = seconds();
    for (int i = 0; i < 3 || (seconds() - start < 0.4 && i < 100000); i++) {
        double before = seconds();
        fn(context);
        double took = seconds() - before;
        if (took < best) best = took;
    }
    return best;
}

static sg_real *random_array(int64_t n, uint64_t seed)
{
    sg_real *x = sg_alloc_big((size_t)n * sizeof *x);
    if (x == NULL) {
        fprintf(stderr, "out of memory for %lld numbers\n", (long long)n);
        exit(1);
    }
    sg_rng rng = {.seed = seed, .stream = 1};
    for (int64_t i = 0; i < n && i < 4096; i++)
        x[i] = (sg_real)(sg_rng_next_uniform(&rng) * 2 - 1);
    for (int64_t i = 4096; i < n; i++)
        x[i] = x[i - 4096];
    return x;
}

static void free_array(sg_real *x, int64_t n)
{
    sg_free_big(x, (size_t)n * sizeof *x);
}

// ---- dense products ---------------------------------------------------------------------------

typedef struct gemm_run {
    sg_pool *pool;
    sg_gemm_args args;
} gemm_run;

static void run_gemm(void *context)
{
    gemm_run *run = context;
    if (run->pool)
        sg_gemm((sg_compute){.pool = run->pool, .kernels = sg_kernels_fastest()}, &run->args);
    else
        sg_gemm_serial(sg_kernels_fastest(), &run->args);
}

static void bench_gemm(void)
{
    static const struct {
        const char *what;
        int64_t m, n, k;
        bool ta, tb;
    } shapes[] = {
        {"peak", 1024, 1024, 1024, false, false},
        {"x W", 8192, 512, 256, false, false},
        {"x W^T", 8192, 512, 256, false, true},
        {"dy^T x", 256, 1024, 8192, true, false},
        {"logits", 1024, 8192, 256, false, true},
        {"router", 8192, 256, 128, false, false},
        {"small", 64, 64, 64, false, true},
        {"decode m=1", 1, 1024, 256, false, true},
        {"decode m=1", 1, 8192, 256, false, true},
        {"decode m=2", 2, 8192, 256, false, true},
        {"decode m=4", 4, 8192, 256, false, true},
        {"decode m=1 x W", 1, 1024, 256, false, false},
        {"decode m=1 x W", 1, 8192, 256, false, false},
    };
    sg_pool *pool[2] = {NULL, NULL};
    sg_error err;
    if (sg_pool_new(1, &pool[0], &err) != SG_OK || sg_pool_new(2, &pool[1], &err) != SG_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    printf("products, %s, GFLOP/s\n", sg_products_name());
    printf("%-16s %6s %6s %6s  %8s %8s %8s  %10s\n", "", "m", "n", "k", "serial", "1 thread",
           "2 thr.", "serial us");
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k;
        sg_real *a = random_array(m * k, 1), *b = random_array(k * n, 2);
        sg_real *c = random_array(m * n, 3);
        gemm_run run = {.args = {.transpose_a = shapes[s].ta,
                                 .transpose_b = shapes[s].tb,
                                 .m = m,
                                 .n = n,
                                 .k = k,
                                 .alpha = 1,
                                 .a = a,
                                 .lda = shapes[s].ta ? m : k,
                                 .b = b,
                                 .ldb = shapes[s].tb ? k : n,
                                 .c = c,
                                 .ldc = n}};
        double flops = 2e-9 * (double)m * (double)n * (double)k;
        double serial = fastest(run_gemm, &run);
        run.pool = pool[0];
        double one = fastest(run_gemm, &run);
        run.pool = pool[1];
        double two = fastest(run_gemm, &run);
        printf("%-16s %6d %6d %6d  %8.1f %8.1f %8.1f  %10.2f\n", shapes[s].what, (int)m, (int)n,
               (int)k, flops / serial, flops / one, flops / two, serial * 1e6);
        free_array(a, m * k);
        free_array(b, k * n);
        free_array(c, m * n);
    }
    sg_pool_free(pool[0]);
    sg_pool_free(pool[1]);
}

// ---- memory reads -----------------------------------------------------------------------------

typedef struct stream_run {
    sg_pool *pool;
    const sg_real *x;
    int64_t n;
    sg_real result[64];
} stream_run;

static void stream_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    stream_run *run = context;
    int64_t n = run->n / 64;
    run->result[chunk] = sg_kernels_fastest()->max(run->x + chunk * n, n);
}

static void run_stream(void *context)
{
    stream_run *run = context;
    sg_parallel_for(run->pool, 64, stream_chunk, run);
}

static void bench_stream(void)
{
    int64_t n = INT64_C(128) << 20;
    sg_real *x = random_array(n, 1);
    for (int threads = 1; threads <= 2; threads++) {
        stream_run run = {.x = x, .n = n};
        if (sg_pool_new(threads, &run.pool, NULL) != SG_OK) exit(1);
        double took = fastest(run_stream, &run);
        printf("stream read, %d thread%s: %.1f GB/s\n", threads, threads > 1 ? "s" : "",
               1e-9 * (double)n * sizeof *x / took);
        sg_pool_free(run.pool);
    }
    free_array(x, n);
}

// ---- kernels that walk over arrays ------------------------------------------------------------

typedef struct array_run {
    const sg_kernels *kernels;
    int64_t rows, d;
    sg_real *y, *x, *w, *dy, *s;
    int32_t ids[SG_TOPK_MAX];
    volatile double sink;
} array_run;

static void run_dot(void *context)
{
    array_run *r = context;
    for (int64_t i = 0; i < r->rows; i++)
        r->sink = r->kernels->dot(r->x + i * r->d, r->w, r->d);
}

static void run_sum_squares(void *context)
{
    array_run *r = context;
    r->sink = r->kernels->sum_squares(r->x, r->rows * r->d);
}

static void run_exp_sum(void *context)
{
    array_run *r = context;
    r->sink = r->kernels->exp_sum(r->y, r->x, 1, r->rows * r->d);
}

static void run_rmsnorm_forward(void *context)
{
    array_run *r = context;
    r->kernels->rmsnorm_forward(sg_wide_target(r->y), r->s, sg_wide_source(r->x), r->w, r->rows,
                                r->d, 1e-6);
}

static void run_rmsnorm_backward(void *context)
{
    array_run *r = context;
    memset(r->w, 0, (size_t)r->d * sizeof *r->w);
    r->kernels->rmsnorm_backward(r->y, r->w, r->dy, sg_wide_source(r->x), r->w + r->d, r->s,
                                 r->rows, r->d, false);
}

static void run_rope(void *context)
{
    array_run *r = context;
    for (int64_t i = 0; i < r->rows; i++)
        r->kernels->rope(sg_wide_target(r->y + i * r->d), sg_wide_source(r->x + i * r->d), r->w,
                         r->w + 32, r->d / 64, 64, 32, 1);
}

static void run_softmax_forward(void *context)
{
    array_run *r = context;
    r->kernels->softmax_forward(r->y, r->x, r->rows, r->d);
}

static void run_softmax_backward(void *context)
{
    array_run *r = context;
    r->kernels->softmax_backward(r->y, r->dy, r->x, r->rows, r->d, false);
}

static void run_gelu_forward(void *context)
{
    array_run *r = context;
    r->kernels->act_forward(r->y, r->x, SG_ACT_GELU, r->rows * r->d);
}

static void run_gelu_backward(void *context)
{
    array_run *r = context;
    r->kernels->act_backward(r->y, r->dy, r->x, SG_ACT_GELU, r->rows * r->d, false);
}

static void run_gelu_erf_forward(void *context)
{
    array_run *r = context;
    r->kernels->act_forward(r->y, r->x, SG_ACT_GELU_ERF, r->rows * r->d);
}

static void run_gelu_erf_backward(void *context)
{
    array_run *r = context;
    r->kernels->act_backward(r->y, r->dy, r->x, SG_ACT_GELU_ERF, r->rows * r->d, false);
}

static const sg_glu_form bench_form = {.kind = SG_GLU_CLAMPED};

static void run_glu_forward(void *context)
{
    array_run *r = context;
    r->kernels->glu_forward(r->y, r->x, r->rows, r->d / 2, &bench_form);
}

static void run_glu_backward(void *context)
{
    array_run *r = context;
    r->kernels->glu_backward(r->y, r->dy, r->x, r->rows, r->d / 2, &bench_form);
}

static void run_adamw(void *context)
{
    array_run *r = context;
    const sg_adamw_args args = {1e-9, 0.9, 0.95, 1e-8, 0.1, 0.5, 0.5, 1};
    memset(r->dy, 0, sizeof *r->dy);
    r->kernels->adamw(r->y, r->s, r->w, r->x, r->rows * r->d, &args);
}

static void bench_arrays(const sg_kernels *const tables[table_count])
{
    static const struct {
        const char *name;
        bench_fn fn;
    } rows[] = {
        {"dot", run_dot},
        {"sum_squares", run_sum_squares},
        {"exp_sum", run_exp_sum},
        {"rmsnorm_forward", run_rmsnorm_forward},
        {"rmsnorm_backward", run_rmsnorm_backward},
        {"rope", run_rope},
        {"softmax_forward", run_softmax_forward},
        {"softmax_backward", run_softmax_backward},
        {"gelu_forward", run_gelu_forward},
        {"gelu_backward", run_gelu_backward},
        {"gelu_erf_forward", run_gelu_erf_forward},
        {"gelu_erf_backward", run_gelu_erf_backward},
        {"glu_forward", run_glu_forward},
        {"glu_backward", run_glu_backward},
        {"adamw", run_adamw},
    };
    enum { count = 64, d = 256 };
    array_run run = {.rows = count, .d = d};
    sg_real **arrays[] = {&run.y, &run.x, &run.w, &run.dy, &run.s};
    printf("kernels on (%d, %d), ns per element\n%-18s %8s %8s %8s\n", count, d, "", table_names[0],
           table_names[1], table_names[2]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double ns[table_count] = {0};
        for (int t = 0; t < table_count; t++) {
            if (tables[t] == NULL) continue;
            for (size_t a = 0; a < 5; a++)
                *arrays[a] = random_array(count * d, a);
            memset(run.w, 0, count * d * sizeof *run.w); // adamw: second moments from zero
            run.kernels = tables[t];
            ns[t] = fastest(rows[i].fn, &run) * 1e9 / (count * d);
            for (size_t a = 0; a < 5; a++)
                free_array(*arrays[a], count * d);
        }
        printf("%-18s %8.3f %8.3f %8.3f\n", rows[i].name, ns[0], ns[1], ns[2]);
    }
}

// ---- selection --------------------------------------------------------------------------------

typedef struct select_run {
    const sg_kernels *kernels;
    const sg_real *x;
    int64_t n, k;
    int32_t ids[SG_TOPK_MAX];
    sg_real scores[SG_TOPK_MAX];
} select_run;

enum { select_repeat = 64 };

static void run_topk(void *context)
{
    select_run *r = context;
    for (int64_t i = 0; i < select_repeat; i++)
        r->kernels->topk(r->ids, r->scores, r->x + i * r->n, r->n, r->k);
}

static void run_product_topk(void *context)
{
    select_run *r = context;
    for (int64_t i = 0; i < select_repeat; i++)
        r->kernels->product_topk(r->ids, r->scores, r->x + i * r->n, r->x + (i + 64) * r->n, r->n,
                                 r->k);
}

static void bench_select(const sg_kernels *const tables[table_count])
{
    static const int shapes[][2] = {{16, 2}, {32, 8}, {128, 8}, {512, 8}, {512, 32}, {1024, 64}};
    sg_real *x = sg_alloc_big(128 * 1024 * sizeof *x);
    for (int i = 0; i < 128 * 1024; i++)
        x[i] = (sg_real)sg_rng_normal(1, 1, (uint64_t)i);
    printf("selection, ns per call\n%-18s %6s %4s %8s %8s %8s\n", "", "n", "k", table_names[0],
           table_names[1], table_names[2]);
    for (int product = 0; product < 2; product++) {
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            double ns[table_count] = {0};
            for (int t = 0; t < table_count; t++) {
                if (tables[t] == NULL) continue;
                select_run run = {.kernels = tables[t], .x = x};
                run.n = shapes[s][0];
                run.k = shapes[s][1];
                ns[t] = fastest(product ? run_product_topk : run_topk, &run) * 1e9 / select_repeat;
            }
            printf("%-18s %6d %4d %8.0f %8.0f %8.0f\n", product ? "product_topk" : "topk",
                   shapes[s][0], shapes[s][1], ns[0], ns[1], ns[2]);
        }
    }
    sg_free_big(x, 128 * 1024 * sizeof *x);
}

// ---- sparse memory ----------------------------------------------------------------------------

typedef struct gather_run {
    const sg_kernels *kernels;
    const sg_stored *table;
    const int32_t *rows;
    int64_t count, d, calls; // rows a call, width, calls
    sg_real *x, *a;
} gather_run;

static void run_gather_dots(void *context)
{
    gather_run *r = context;
    for (int64_t c = 0; c < r->calls; c++)
        sg_gather_dots(r->kernels, r->a, r->x, r->table, r->rows + c * r->count, r->count, r->d);
}

static void run_gather_sum(void *context)
{
    gather_run *r = context;
    for (int64_t c = 0; c < r->calls; c++)
        sg_gather_sum(r->kernels, r->x, r->a, r->table, r->rows + c * r->count, r->count, r->d);
}

// The table in one type; its rows and scales are in one block.
static sg_stored stored_table(sg_weights type, const sg_real *values, int64_t rows, int64_t d)
{
    size_t bytes = sg_stored_row_bytes(type, rows * d);
    unsigned char *memory = sg_alloc_big(bytes + (size_t)rows * sizeof(float));
    if (memory == NULL) exit(1);
    sg_stored table = {.type = type, .rows = memory, .scales = memory + bytes};
    sg_stored_write((sg_compute){.kernels = sg_kernels_fastest()}, &table, 0, rows, d, values);
    return table;
}

static void bench_gather_case(const sg_kernels *const tables[table_count], int64_t d,
                              int64_t table_rows, int64_t count, int64_t calls)
{
    sg_real *values = random_array(table_rows * d, 1);
    sg_real *x = random_array(d, 2), *a = random_array(count, 3);
    int32_t *rows = malloc((size_t)(count * calls) * sizeof *rows);
    if (rows == NULL) exit(1);
    for (int64_t i = 0; i < count * calls; i++)
        rows[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, (uint64_t)table_rows);
    for (int type = SG_WEIGHTS_F32; type <= SG_WEIGHTS_INT8; type++) {
        sg_stored table = stored_table((sg_weights)type, values, table_rows, d);
        double bytes = (double)sg_stored_row_bytes((sg_weights)type, d);
        for (int sum = 0; sum < 2; sum++) {
            double ns[table_count] = {0};
            for (int t = 0; t < table_count; t++) {
                if (tables[t] == NULL) continue;
                gather_run run = {tables[t], &table, rows, count, d, calls, x, a};
                double took = fastest(sum ? run_gather_sum : run_gather_dots, &run);
                ns[t] = took * 1e9 / (double)(count * calls);
            }
            double best = ns[2] > 0 ? ns[2] : ns[1];
            printf("%-12s %5s %5d %8d %6d %8.1f %8.1f %8.1f %8.1f\n",
                   sum ? "gather_sum" : "gather_dots", sg_weights_name((sg_weights)type), (int)d,
                   (int)table_rows, (int)count, ns[0], ns[1], ns[2], best > 0 ? bytes / best : 0);
        }
        sg_free_big(table.rows, sg_stored_row_bytes((sg_weights)type, table_rows * d) +
                                    (size_t)table_rows * sizeof(float));
    }
    free(rows);
    free_array(values, table_rows * d);
    free_array(x, d);
    free_array(a, count);
}

static void bench_gather(const sg_kernels *const tables[table_count])
{
    printf("sparse memory, ns per row, one thread\n%-12s %5s %5s %8s %6s %8s %8s %8s %8s\n", "",
           "type", "d", "table", "count", table_names[0], table_names[1], table_names[2], "GB/s");
    bench_gather_case(tables, 256, 1024, 8, 1024);
    bench_gather_case(tables, 256, 1024, 64, 128);
    bench_gather_case(tables, 256, 8192, 4096, 8);
    bench_gather_case(tables, 255, 1024, 8, 1024);
    bench_gather_case(tables, 768, 262144, 8, 8192);
    bench_gather_case(tables, 768, 262144, 128, 512);
    bench_gather_case(tables, 768, 8192, 4096, 8);
}

// ---- decoding: one or a few vectors against rows as they are stored ----------------------------

typedef struct stored_run {
    sg_compute compute;
    sg_gemm_args args;
    const sg_stored *w;
} stored_run;

static void run_stored(void *context)
{
    stored_run *run = context;
    sg_stored_product(run->compute, &run->args, run->w, NULL, 0);
}

// Rows of 4,096 weights that fill 256 MiB, more than caches hold. Every half is 0.065: a type's
// speed does not depend on its numbers.
static void bench_stored(const sg_kernels *const tables[table_count])
{
    enum { k = 4096, most = 4 };
    const size_t bytes = (size_t)256 << 20;
    unsigned char *memory = sg_alloc_big(bytes), *scales = sg_alloc_big(bytes / 16);
    if (memory == NULL || scales == NULL) exit(1);
    memset(memory, 0x2c, bytes);
    memset(scales, 0x2c, bytes / 16);
    sg_pool *pool;
    if (sg_pool_new(2, &pool, NULL) != SG_OK) exit(1);
    stream_run stream = {
        .x = (sg_real *)(void *)memory, .n = (int64_t)(bytes / sizeof(sg_real)), .pool = pool};
    double peak = 1e-9 * (double)bytes / fastest(run_stream, &stream);
    printf("rows as stored times m vectors, 2 threads, GB/s (reading alone %.1f)\n%-8s %8s %8s %8s "
           "%8s %12s\n",
           peak, "", table_names[1], "m=4", table_names[2], "m=4", "of reading");
    for (int type = 0; sg_weights_name((sg_weights)type) != NULL; type++) {
        const size_t row = sg_stored_row_bytes((sg_weights)type, k);
        const int64_t n = (int64_t)(bytes / row);
        sg_stored w = {.type = (sg_weights)type, .rows = memory, .scales = scales};
        sg_real *x = random_array(most * k, 1), *y = random_array(most * n, 2);
        double rate[4] = {0};
        for (int t = 1; t < table_count; t++) {
            if (tables[t] == NULL) continue;
            for (int i = 0; i < 2; i++) {
                stored_run run = {{.pool = pool, .kernels = tables[t]},
                                  {.m = i ? most : 1,
                                   .n = n,
                                   .k = k,
                                   .alpha = 1,
                                   .a = x,
                                   .lda = k,
                                   .c = y,
                                   .ldc = n},
                                  &w};
                rate[2 * (t - 1) + i] = 1e-9 * (double)n * (double)row / fastest(run_stored, &run);
            }
        }
        double best = rate[2] > 0 ? rate[2] : rate[0];
        printf("%-8s %8.1f %8.1f %8.1f %8.1f %11.0f%%\n", sg_weights_name((sg_weights)type),
               rate[0], rate[1], rate[2], rate[3], 100 * best / peak);
        free_array(x, most * k);
        free_array(y, most * n);
    }
    sg_pool_free(pool);
    sg_free_big(memory, bytes);
    sg_free_big(scales, bytes / 16);
}

static bool wanted(int argc, char **argv, const char *name)
{
    bool any = argc == 1;
    for (int i = 1; i < argc; i++)
        any = any || strcmp(argv[i], name) == 0;
    return any;
}

int main(int argc, char **argv)
{
    const sg_kernels *tables[table_count];
    for (int t = 0; t < table_count; t++)
        tables[t] = sg_kernels_named(table_names[t]);
    sg_error err;
    if (sg_products_open(&err) != SG_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (wanted(argc, argv, "gemm")) bench_gemm();
    if (wanted(argc, argv, "stream")) bench_stream();
    if (wanted(argc, argv, "kernels")) {
        bench_arrays(tables);
        bench_select(tables);
    }
    if (wanted(argc, argv, "gather")) bench_gather(tables);
    if (wanted(argc, argv, "stored")) bench_stored(tables);
    return 0;
}
