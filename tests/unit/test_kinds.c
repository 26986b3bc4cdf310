// Products of the kinds bf16 and bf16x3: against a triple loop in double over rounded operands, with
// operands that are bf16 already, with op(B) prepared apart, and by any number of threads.
#include "unit/kernel_check.h"

#include "base/alloc.h"
#include "compute_on.h"
#include "kernel/gemm.h"
#include "kernel/products.h"

typedef struct kinds_product {
    sg_gemm_args args;
    float *a, *b, *c;
    sg_bf16 *a_half, *b_half;
    int64_t size_a, size_b, size_c;
} kinds_product;

static sg_bf16 *kinds_half(const float *x, int64_t n)
{
    sg_bf16 *half = malloc((size_t)(n + 1) * sizeof *half);
    assert_non_null(half);
    sg_kernels_ref()->to_bf16(half, x, n);
    return half;
}

// Strides are a little wider than needed, so that a wrong one shows.
static kinds_product kinds_new(sg_compute_kind kind, int64_t m, int64_t n, int64_t k,
                               int transposes, float alpha, float beta)
{
    const bool ta = transposes & 1, tb = transposes & 2;
    const int64_t lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldc = n + 2;
    kinds_product p = {
        .size_a = (ta ? k : m) * lda, .size_b = (tb ? n : k) * ldb, .size_c = m * ldc};
    p.a = check_random(p.size_a, 1, 1);
    p.b = check_random(p.size_b, 2, 1);
    p.c = check_random(p.size_c, 3, 1);
    p.a_half = kinds_half(p.a, p.size_a);
    p.b_half = kinds_half(p.b, p.size_b);
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
                            .ldc = ldc,
                            .kind = kind};
    return p;
}

static void kinds_free(kinds_product *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
    free(p->a_half);
    free(p->b_half);
}

// Memory of exactly that size, full of NaN: nothing may be read that was not written.
static unsigned char *kinds_memory(size_t bytes)
{
    unsigned char *memory = sg_alloc_big(bytes + 64);
    assert_non_null(memory);
    memset(memory, 0xff, bytes);
    memory[bytes] = 7;
    return memory;
}

static void kinds_release(unsigned char *memory, size_t bytes)
{
    assert_int_equal(memory[bytes], 7);
    sg_free_big(memory, bytes + 64);
}

typedef enum kinds_way { SERIAL, POOL, DEEP } kinds_way;

static void kinds_run(sg_compute compute, sg_gemm_args args, kinds_way how)
{
    const size_t bytes = args.b_packed ? sg_gemm_room_packed(args.kind, args.m, args.n, args.k)
                                       : sg_gemm_room(args.kind, args.m, args.n, args.k);
    const size_t deep = how == DEEP ? sg_gemm_scratch_bytes(args.m, args.n, args.k) : 0;
    unsigned char *room = kinds_memory(bytes), *scratch = kinds_memory(deep);
    args.room = room;
    if (how == SERIAL)
        sg_gemm_serial(compute.kernels, &args);
    else if (how == POOL)
        sg_gemm(compute, &args);
    else
        sg_gemm_deep(compute, &args, scratch);
    kinds_release(room, bytes);
    kinds_release(scratch, deep);
}

// The product of what the kind makes of the operands, written over c; magnitude (m, n): the sum of
// the sizes of what is added.
static void kinds_expected(const kinds_product *p, double *c, double *magnitude)
{
    const sg_gemm_args *g = &p->args;
    const bool rounded = g->kind == SG_COMPUTE_BF16;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            double sum = 0, size = 0;
            for (int64_t l = 0; l < g->k; l++) {
                const int64_t at = g->transpose_a ? l * g->lda + i : i * g->lda + l;
                const int64_t bt = g->transpose_b ? j * g->ldb + l : l * g->ldb + j;
                double a = rounded ? (double)sg_bf16_value(p->a_half[at]) : (double)p->a[at];
                double b = rounded ? (double)sg_bf16_value(p->b_half[bt]) : (double)p->b[bt];
                sum += a * b;
                size += fabs(a * b);
            }
            const double old = g->beta == 0 ? 0 : (double)(g->beta * g->c[i * g->ldc + j]);
            c[i * g->n + j] = (double)g->alpha * sum + old;
            magnitude[i * g->n + j] = fabs((double)g->alpha) * size + fabs(old);
        }
}

static double kinds_error(sg_compute_kind kind, int64_t k)
{
    return (kind == SG_COMPUTE_BF16X3 ? 0x1p-15 : 0) + 1.2e-7 * (4 + sqrt((double)k));
}

static void kinds_check(const kinds_product *p, const float *found, const double *expected,
                        const double *magnitude)
{
    const sg_gemm_args *g = &p->args;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++)
            check_close("product", i * g->n + j, (double)found[i * g->ldc + j],
                        expected[i * g->n + j], magnitude[i * g->n + j],
                        kinds_error(g->kind, g->k));
    check_intact(found, p->size_c);
}

// The same call with other forms of its operands gives the same bits.
static void kinds_check_forms(const kinds_product *p, sg_compute compute, const float *start,
                              const float *first, kinds_way how)
{
    const size_t bytes = sg_gemm_packed_bytes(p->args.kind, p->args.n, p->args.k);
    unsigned char *packed = kinds_memory(bytes);
    for (int form = 0; form < 8; form++) {
        sg_gemm_args args = p->args;
        if (form > 0 && form < 4 && args.kind != SG_COMPUTE_BF16) continue;
        float *c = check_copy(start, p->size_c);
        args.c = c;
        if (form & 1) {
            args.a_half = p->a_half;
            args.a = NULL;
        }
        if (form & 2) {
            args.b_half = p->b_half;
            args.b = NULL;
        }
        if (form & 4) {
            if (bytes == 0) {
                free(c);
                continue;
            }
            if (form & 1)
                sg_gemm_pack(compute, &args, packed);
            else
                sg_gemm_pack_serial(compute.kernels, &args, packed);
            args.b = NULL;
            args.b_half = NULL;
            args.transpose_b = false;
            args.b_packed = packed;
            if (args.kind != SG_COMPUTE_BF16 && args.a_half != NULL) {
                args.a_half = NULL;
                args.a = p->a;
            }
        }
        kinds_run(compute, args, how);
        assert_memory_equal(c, first, (size_t)p->size_c * sizeof *c);
        free(c);
    }
    kinds_release(packed, bytes);
}

static void kinds_check_product(sg_compute_kind kind, const int64_t *shape, int transposes,
                                float alpha, float beta, sg_compute compute, kinds_way how)
{
    const int64_t m = shape[0], n = shape[1], k = shape[2];
    kinds_product p = kinds_new(kind, m, n, k, transposes, alpha, beta);
    double *expected = malloc((size_t)(2 * m * n) * sizeof *expected);
    assert_non_null(expected);
    kinds_expected(&p, expected, expected + m * n);
    for (int64_t i = 0; i < p.size_c; i++) // with beta = 0 C may hold anything
        if (i % p.args.ldc < n && beta == 0) p.c[i] = NAN;
    float *start = check_copy(p.c, p.size_c);
    kinds_run(compute, p.args, how);
    kinds_check(&p, p.c, expected, expected + m * n);
    for (int64_t i = 0; i < p.size_c; i++)
        if (i % p.args.ldc >= n) assert_true(p.c[i] == start[i]); // between the rows
    kinds_check_forms(&p, compute, start, p.c, how);
    free(start);
    free(expected);
    kinds_free(&p);
}

static void test_against_loops(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {
        {1, 1, 1},      {1, 7, 5},      {2, 300, 33}, {3, 130, 64},  {4, 129, 257},  {5, 17, 3},
        {7, 1, 9},      {33, 31, 65},   {64, 64, 64}, {65, 130, 1},  {100, 100, 50}, {129, 257, 66},
        {300, 300, 40}, {270, 520, 97}, {1, 600, 40}, {48, 64, 1100}};
    static const float factors[][2] = {{1, 0}, {1, 1}, {0.5f, -2}, {0, 1}};
    sg_pool *pool;
    assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int f = 0; f < 4; f++)
                for (int kind = 1; kind < 3; kind++)
                    kinds_check_product((sg_compute_kind)kind, shapes[s], transposes, factors[f][0],
                                        factors[f][1], compute_on(pool),
                                        (kinds_way)((s + (size_t)f) % 3));
    sg_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_loops),
    };
    if (sg_products_open(NULL) != SG_OK) return 1; // as a context does
    return cmocka_run_group_tests(tests, NULL, NULL);
}
