// Dense products against a triple loop in double, their independence of the number of threads, and
// the context that sets them up.
#include "unit/kernel_check.h"

#include <limits.h>

#include "base/alloc.h"
#include "kernel/gemm.h"
#include "kernel/products.h"
#include "compute_on.h"

// The product by its definition, written over c.
static void triple_loop(const sg_gemm_args *args, double *c)
{
    for (int64_t i = 0; i < args->m; i++) {
        for (int64_t j = 0; j < args->n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < args->k; p++) {
                float a = args->a[args->transpose_a ? p * args->lda + i : i * args->lda + p];
                float b = args->b[args->transpose_b ? j * args->ldb + p : p * args->ldb + j];
                sum += (double)a * (double)b;
            }
            double old = args->beta == 0 ? 0 : (double)(args->beta * args->c[i * args->ldc + j]);
            c[i * args->n + j] = (double)args->alpha * sum + old;
        }
    }
}

typedef struct product {
    sg_gemm_args args;
    float *a, *b, *c;
    int64_t size_c;
} product;

// Strides are a little wider than needed, so that a wrong one shows.
static product product_new(int64_t m, int64_t n, int64_t k, int transposes, float alpha, float beta)
{
    bool ta = transposes & 1, tb = transposes & 2;
    int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    product p = {.a = check_random((ta ? k : m) * lda, 1, 1),
                 .b = check_random((tb ? n : k) * ldb, 2, 1),
                 .c = check_random(m * ldc, 3, 1),
                 .size_c = m * ldc};
    p.args = (sg_gemm_args){.transpose_a = ta,
                            .transpose_b = tb,
                            .m = m,
                            .n = n,
                            .k = k,
                            .alpha = alpha,
                            .a = p.a,
                            .lda = lda,
                            .b = p.b,
                            .ldb = ldb,
                            .beta = beta,
                            .c = p.c,
                            .ldc = ldc};
    return p;
}

static void product_free(product *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
}

// On the pool with scratch of exactly the size asked for.
static void multiply_deep(sg_compute compute, const sg_gemm_args *args)
{
    size_t bytes = sg_gemm_scratch_bytes(args->m, args->n, args->k);
    unsigned char *scratch = malloc(bytes + 1);
    assert_non_null(scratch);
    memset(scratch, 0xff, bytes); // NaN: nothing may be read that was not written
    scratch[bytes] = 7;
    sg_gemm_deep(compute, args, scratch);
    assert_int_equal(scratch[bytes], 7);
    free(scratch);
}

typedef enum way { SERIAL, POOL, DEEP } way;

static void check_product(int64_t m, int64_t n, int64_t k, int transposes, float alpha, float beta,
                          sg_compute compute, way how)
{
    product p = product_new(m, n, k, transposes, alpha, beta);
    for (int64_t i = 0; i < m * p.args.ldc; i++) // with beta = 0 C may hold anything
        if (i % p.args.ldc < n && beta == 0) p.c[i] = NAN;
    double *expected = malloc((size_t)(m * n + 1) * sizeof *expected);
    float *before = check_copy(p.c, p.size_c);
    assert_non_null(expected);
    triple_loop(&p.args, expected);
    if (how == SERIAL)
        sg_gemm_serial(compute.kernels, &p.args);
    else if (how == POOL)
        sg_gemm(compute, &p.args);
    else
        multiply_deep(compute, &p.args);
    for (int64_t i = 0; i < p.size_c; i++) {
        int64_t row = i / p.args.ldc, column = i % p.args.ldc;
        if (column < n)
            check_close("product", i, (double)p.c[i], expected[row * n + column],
                        2 + sqrt((double)k), 2e-7 * (4 + (double)k / 8));
        else
            assert_true(p.c[i] == before[i]); // between the rows
    }
    check_intact(p.c, p.size_c);
    free(before);
    free(expected);
    product_free(&p);
}

static void check_shapes(const sg_kernels *kernels)
{
    static const int64_t shapes[][3] = {
        {1, 1, 1},      {1, 7, 5},      {2, 300, 33}, {3, 130, 64}, {4, 129, 257},
        {5, 17, 3},     {7, 1, 9},      {33, 31, 65}, {64, 64, 64}, {65, 130, 1},
        {100, 100, 50}, {129, 257, 66}, {1, 600, 40}, {4, 4, 0},    {300, 700, 5},
    };
    static const float factors[][2] = {{1, 0}, {1, 1}, {0.5f, -2}, {0, 1}};
    sg_pool *pool;
    assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int f = 0; f < 4; f++)
                check_product(shapes[s][0], shapes[s][1], shapes[s][2], transposes, factors[f][0],
                              factors[f][1], (sg_compute){.pool = pool, .kernels = kernels},
                              (way)((s + (size_t)f) % 3));
    sg_pool_free(pool);
}

static void test_against_loops(void **state)
{
    (void)state;
    check_shapes(sg_kernels_ref());
    check_shapes(sg_kernels_fastest());
}

// Long in k, so that it is cut there: exact multiples of a piece and one more or less, thin and
// wide C.
static void test_deep(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 2048},    {5, 7, 2047},   {3, 200, 4097},
                                        {70, 33, 8192},  {600, 9, 2560}, {9, 1100, 2049},
                                        {130, 140, 5000}};
    sg_pool *pool;
    assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int transposes = 0; transposes < 4; transposes++)
            check_product(shapes[s][0], shapes[s][1], shapes[s][2], transposes, s % 2 ? 1 : -0.5f,
                          (float)(transposes % 3), compute_on(pool), DEEP);
    sg_pool_free(pool);
    assert_int_equal(sg_gemm_scratch_bytes(256, 256, 2047), 0);  // short
    assert_int_equal(sg_gemm_scratch_bytes(8192, 256, 8192), 0); // tiles enough
    assert_int_equal(sg_gemm_scratch_bytes(0, 256, 8192), 0);
    assert_true(sg_gemm_scratch_bytes(256, 256, 8192) > 0);
}

// Nothing at all, and only the scaling of C.
static void test_empty(void **state)
{
    (void)state;
    float c[2] = {3, NAN}, a[1] = {1};
    sg_gemm_args args = {.m = 0, .n = 1, .k = 1, .a = a, .b = a, .c = c};
    sg_gemm(compute_on(NULL), &args);
    args.m = 1;
    args.n = 0;
    sg_gemm(compute_on(NULL), &args);
    assert_true(c[0] == 3 && isnan(c[1]));
    args = (sg_gemm_args){.m = 1, .n = 2, .k = 0, .a = a, .b = a, .beta = 2, .c = c, .ldc = 2};
    sg_gemm(compute_on(NULL), &args);
    assert_true(c[0] == 6);
    args.beta = 0;
    sg_gemm(compute_on(NULL), &args);
    assert_true(c[0] == 0 && c[1] == 0);
}

// A stride beyond 32 bits is no reason to compute nonsense.
static void test_wide_stride(void **state)
{
    (void)state;
    product p = product_new(1, 200, 150, 0, 1.5f, 0.5f);
    double expected[200];
    triple_loop(&p.args, expected);
    p.args.lda = (int64_t)INT_MAX + 5; // there is one row only
    sg_gemm_serial(sg_kernels_fastest(), &p.args);
    for (int i = 0; i < 200; i++)
        check_close("wide", i, (double)p.c[i], expected[i], 20, 1e-6);
    product_free(&p);
}

static void check_threads(int64_t m, int64_t n, int64_t k, int transposes)
{
    static const int threads[] = {1, 2, 3, 8};
    product p = product_new(m, n, k, transposes, 1, 0.5f);
    float *start = check_copy(p.c, p.size_c), *first = check_copy(p.c, p.size_c);
    p.args.c = first;
    multiply_deep(compute_on(NULL), &p.args); // as sg_gemm where k is short
    p.args.c = p.c;
    for (int t = 0; t < 4; t++) {
        sg_pool *pool;
        assert_int_equal(sg_pool_new(threads[t], &pool, NULL), SG_OK);
        for (int repeat = 0; repeat < 2; repeat++) {
            memcpy(p.c, start, (size_t)p.size_c * sizeof *start);
            if (sg_gemm_scratch_bytes(m, n, k) > 0)
                multiply_deep(compute_on(pool), &p.args);
            else
                sg_gemm(compute_on(pool), &p.args);
            assert_memory_equal(p.c, first, (size_t)p.size_c * sizeof *first);
        }
        sg_pool_free(pool);
    }
    free(start);
    free(first);
    product_free(&p);
}

static void test_threads(void **state)
{
    (void)state;
    for (int transposes = 0; transposes < 4; transposes++) {
        check_threads(700, 530, 20, transposes);
        check_threads(64, 1500, 20, transposes);
        check_threads(1, 2000, 96, transposes);
        check_threads(256, 256, 40, transposes);
        check_threads(100, 60, 4100, transposes);
    }
}

// ---- the context ------------------------------------------------------------------------------

static void test_context(void **state)
{
    (void)state;
    sg_error err;
    sg_context *context;
    assert_int_equal(sg_context_new(NULL, &context, &err), SG_OK);
    assert_true(sg_context_threads(context) >= 1);
    assert_string_equal(sg_context_kernel(context), sg_kernels_fastest()->name);
    sg_context_free(context);

    sg_context_options options = sg_context_options_default();
    options.kernel = "ref";
    options.threads = 3;
    assert_int_equal(sg_context_new(&options, &context, &err), SG_OK);
    assert_int_equal(sg_context_threads(context), 3);
    assert_string_equal(sg_context_kernel(context), "ref");
    sg_context_free(context);
    sg_context_free(NULL);

    options.kernel = "abacus";
    assert_int_equal(sg_context_new(&options, &context, &err), SG_ERR_ARGUMENT);
    assert_null(context);
    assert_non_null(strstr(err.message, "\"abacus\""));
    assert_non_null(strstr(err.message, "\"ref\""));
    options.kernel = NULL;
    options.threads = -1;
    assert_int_equal(sg_context_new(&options, &context, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "-1"));
    options.threads = 5000;
    assert_int_equal(sg_context_new(&options, &context, NULL), SG_ERR_ARGUMENT);
}

static bool fail_at(void *user, size_t bytes)
{
    (void)bytes;
    int *left = user;
    return (*left)-- != 0;
}

static void test_context_without_memory(void **state)
{
    (void)state;
    sg_context_options options = {.threads = 2};
    const int64_t live = sg_alloc_live();
    bool done = false;
    int n = 0;
    for (; !done; n++) {
        sg_context *context;
        sg_error err;
        int left = n;
        sg_alloc_set_hook(fail_at, &left);
        sg_status status = sg_context_new(&options, &context, &err);
        sg_alloc_set_hook(NULL, NULL);
        done = status == SG_OK;
        if (!done) assert_int_equal(status, SG_ERR_MEMORY);
        sg_context_free(context);
        assert_int_equal(sg_alloc_live(), live);
    }
    assert_true(n > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_loops),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_wide_stride),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_context_without_memory),
    };
    if (sg_products_open(NULL) != SG_OK) return 1; // as a context does
    return cmocka_run_group_tests(tests, NULL, NULL);
}
