// Products of the kinds bf16 and bf16x3: against a triple loop in double over rounded operands,
// with operands that are bf16 already, with op(B) prepared apart, and by any number of threads.
#include "unit/kernel_check.h"

#include "base/alloc.h"
#include "compute_on.h"
#include "kernel/gemm_tiles.h"
#include "kernel/stored.h"
#include "unit/engines.h"

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
    sg_bf16 *hi = kinds_half(p->a, p->size_a), *low = kinds_half(p->a, p->size_a);
    const bool parts =
        p->args.kind == SG_COMPUTE_BF16X3 && sg_gemm_unit(p->args.kind) != SG_TILES_NONE;
    sg_kernels_ref()->split_bf16(hi, low, p->a, p->size_a);
    for (int form = 0; form < 8; form++) {
        sg_gemm_args args = p->args;
        if ((form & 1) != 0 && args.kind != SG_COMPUTE_BF16 && !parts) continue;
        if ((form & 2) != 0 && args.kind != SG_COMPUTE_BF16) continue;
        float *c = check_copy(start, p->size_c);
        args.c = c;
        if (form & 1) {
            args.a_half = parts ? hi : p->a_half;
            args.a_low = parts ? low : NULL;
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
        }
        kinds_run(compute, args, how);
        assert_memory_equal(c, first, (size_t)p->size_c * sizeof *c);
        free(c);
    }
    free(hi);
    free(low);
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

// ---- each engine --------------------------------------------------------------------------------

static sg_products_engine kinds_engines[ENGINES_MAX];
static int kinds_engine_count;

static void kinds_check_shapes(sg_compute compute, int64_t most)
{
    static const int64_t shapes[][3] = {
        {1, 1, 1},      {1, 7, 5},      {2, 300, 33},   {3, 130, 64},   {4, 129, 257},
        {5, 17, 3},     {7, 1, 9},      {33, 31, 65},   {64, 64, 64},   {65, 130, 1},
        {100, 100, 50}, {129, 257, 66}, {300, 300, 40}, {150, 520, 97}, {1, 600, 40},
        {48, 64, 1100}, {64, 64, 2080}, {5, 70, 3000},  {2, 40, 17000}, {32, 128, 96}};
    static const float factors[][2] = {{1, 0}, {1, 1}, {0.5f, -2}, {0, 1}, {3, 0}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int kind = 1; kind < 3; kind++) {
                if (shapes[s][0] * shapes[s][1] * shapes[s][2] > most) continue;
                const float *f = factors[(s + (size_t)transposes) % 5];
                const kinds_way how = (kinds_way)((s + (size_t)(transposes + kind)) % 3);
                kinds_check_product((sg_compute_kind)kind, shapes[s], transposes, f[0], f[1],
                                    compute, how);
            }
}

static void test_against_loops(void **state)
{
    (void)state;
    sg_pool *pool;
    assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
    for (int e = 0; e < kinds_engine_count; e++) {
        sg_products_force(kinds_engines[e]);
        kinds_check_shapes(compute_on(pool), INT64_MAX);
    }
    sg_products_force(SG_ENGINE_PLAIN);
    kinds_check_shapes((sg_compute){.pool = pool, .kernels = sg_kernels_ref()}, 1 << 19);
    sg_products_force(SG_ENGINE_CHOSEN);
    sg_pool_free(pool);
}

// ---- exact sums ---------------------------------------------------------------------------------

// Whole numbers so small that every sum is exact in any order: all engines, and all kinds, agree to
// the last bit.
static void kinds_check_whole(sg_compute compute, const int64_t *shape, int transposes)
{
    float *first = NULL;
    for (int e = 0; e < kinds_engine_count; e++)
        for (int kind = 0; kind < 3; kind++) {
            kinds_product p =
                kinds_new((sg_compute_kind)kind, shape[0], shape[1], shape[2], transposes, 2, 1);
            for (int64_t i = 0; i < p.size_a; i++)
                p.a[i] = roundf(9 * p.a[i]);
            for (int64_t i = 0; i < p.size_b; i++)
                p.b[i] = roundf(9 * p.b[i]);
            for (int64_t i = 0; i < p.size_c; i++)
                p.c[i] = roundf(100 * p.c[i]);
            sg_products_force(kinds_engines[e]);
            kinds_run(compute, p.args, POOL);
            if (first == NULL) first = check_copy(p.c, p.size_c);
            assert_memory_equal(p.c, first, (size_t)p.size_c * sizeof *first);
            kinds_free(&p);
        }
    sg_products_force(SG_ENGINE_CHOSEN);
    free(first);
}

static void test_whole_numbers(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {
        {3, 70, 50}, {40, 70, 50}, {130, 270, 64}, {16, 64, 1056}, {33, 300, 33}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int transposes = 0; transposes < 4; transposes++)
            kinds_check_whole(compute_on(NULL), shapes[s], transposes);
}

// ---- numbers that are none, and the smallest ----------------------------------------------------

// A number in the first row of A and one in the last column of B: where they go, and nowhere else.
static void kinds_check_odd(sg_compute_kind kind, float odd, const int64_t *shape)
{
    kinds_product p = kinds_new(kind, shape[0], shape[1], shape[2], 2, 1, 0);
    const sg_gemm_args *g = &p.args;
    p.a[g->k / 2] = odd;
    p.b[(g->n - 1) * g->ldb + g->k / 3] = odd;
    kinds_run(compute_on(NULL), p.args, POOL);
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j++) {
            const bool finite = isfinite(p.c[i * g->ldc + j]);
            // Infinity may be NaN in bf16x3, which multiplies it by the lower half 0 of a number.
            if (i == 0 || j == g->n - 1)
                assert_true(isfinite(odd) || !finite);
            else
                assert_true(finite);
        }
    if (kind == SG_COMPUTE_BF16 && isinf(odd)) // odd times a number that is not 0
        assert_true(isinf(p.c[0]) && (p.c[0] > 0) == ((p.b[g->k / 2] > 0) == (odd > 0)));
    kinds_free(&p);
}

static void test_odd_numbers(void **state)
{
    (void)state;
    static const float numbers[] = {NAN, INFINITY, -INFINITY, FLT_MAX / 1024, 1e-41f};
    static const int64_t shapes[][3] = {{2, 20, 40}, {40, 70, 50}};
    for (int e = 0; e < kinds_engine_count; e++)
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            for (int s = 0; s < 2; s++)
                for (int kind = 1; kind < 3; kind++) {
                    sg_products_force(kinds_engines[e]);
                    kinds_check_odd((sg_compute_kind)kind, numbers[i], shapes[s]);
                }
    sg_products_force(SG_ENGINE_CHOSEN);
}

// Units take denormals as 0: results lie within what those can sum to.
static void test_denormals(void **state)
{
    (void)state;
    const int64_t shape[] = {40, 70, 50};
    for (int e = 0; e < kinds_engine_count; e++)
        for (int kind = 1; kind < 3; kind++) {
            kinds_product p =
                kinds_new((sg_compute_kind)kind, shape[0], shape[1], shape[2], 0, 1, 0);
            for (int64_t i = 0; i < p.size_a; i++)
                p.a[i] *= 1e-38f;
            sg_products_force(kinds_engines[e]);
            kinds_run(compute_on(NULL), p.args, POOL);
            for (int64_t i = 0; i < shape[0]; i++)
                for (int64_t j = 0; j < shape[1]; j++) {
                    double sum = 0;
                    for (int64_t l = 0; l < shape[2]; l++)
                        sum += (double)p.a[i * p.args.lda + l] * (double)p.b[l * p.args.ldb + j];
                    assert_true(fabs((double)p.c[i * p.args.ldc + j] - sum) <=
                                (double)shape[2] * (double)FLT_MIN + 1e-2 * fabs(sum));
                }
            kinds_free(&p);
        }
    sg_products_force(SG_ENGINE_CHOSEN);
}

// ---- threads ------------------------------------------------------------------------------------

static void kinds_check_threads(sg_compute_kind kind, const int64_t *shape, int transposes)
{
    static const int threads[] = {1, 2, 3, 8};
    kinds_product p = kinds_new(kind, shape[0], shape[1], shape[2], transposes, 1, 0.5f);
    float *start = check_copy(p.c, p.size_c), *first = check_copy(p.c, p.size_c);
    p.args.c = first;
    kinds_run(compute_on(NULL), p.args, DEEP);
    p.args.c = p.c;
    for (int t = 0; t < 4; t++) {
        sg_pool *pool;
        assert_int_equal(sg_pool_new(threads[t], &pool, NULL), SG_OK);
        memcpy(p.c, start, (size_t)p.size_c * sizeof *start);
        kinds_run(compute_on(pool), p.args, DEEP);
        assert_memory_equal(p.c, first, (size_t)p.size_c * sizeof *first);
        sg_pool_free(pool);
    }
    free(start);
    free(first);
    kinds_free(&p);
}

static void test_threads(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{260, 330, 40}, {4, 900, 96}, {40, 65, 4100}};
    for (int e = 0; e < kinds_engine_count; e++)
        for (int s = 0; s < 3; s++)
            for (int kind = 1; kind < 3; kind++) {
                sg_products_force(kinds_engines[e]);
                kinds_check_threads((sg_compute_kind)kind, shapes[s], s + kind);
            }
    sg_products_force(SG_ENGINE_CHOSEN);
}

// ---- weights as they are stored -----------------------------------------------------------------

// The product with stored weights is that with what they stand for.
static void kinds_check_stored(sg_compute compute, sg_compute_kind kind, sg_weights type,
                               const int64_t *shape)
{
    kinds_product p = kinds_new(kind, shape[0], shape[1], shape[2], 2, 0.5f, 1);
    const int64_t m = shape[0], n = shape[1], k = shape[2];
    const size_t stride = sg_stored_scratch_bytes(m, n, k) + 64;
    const size_t bytes = sg_gemm_room(kind, m, n, k);
    unsigned char *scratch = kinds_memory(3 * stride), *room = kinds_memory(bytes);
    unsigned char *rows = malloc((size_t)n * sg_stored_row_bytes(type, k));
    float *first = check_copy(p.c, p.size_c), *wide = check_random(n * k, 4, 1);
    double *expected = malloc((size_t)(2 * m * n) * sizeof *expected);
    assert_true(rows != NULL && expected != NULL);
    const sg_stored w = {.type = type, .rows = rows};
    sg_stored_write(compute, &w, 0, n, k, wide);
    sg_stored_read(compute.kernels, wide, &w, 0, n, k);
    for (int64_t j = 0; j < n; j++)
        memcpy(p.b + j * p.args.ldb, wide + j * k, (size_t)k * sizeof *wide);
    free(p.b_half);
    p.b_half = kinds_half(p.b, p.size_b);
    kinds_expected(&p, expected, expected + m * n);
    p.args.room = room;
    sg_stored_product(compute, &p.args, &w, scratch, stride);
    // Few rows of A are read as they are.
    const double slack = m <= 8 && kind == SG_COMPUTE_BF16 ? 0x1p-7 : 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            check_close("stored", i * n + j, (double)p.c[i * p.args.ldc + j], expected[i * n + j],
                        expected[m * n + i * n + j], slack + kinds_error(kind, k));
    if (sg_gemm_packed_bytes(kind, n, k) > 0 && m > 8 && sg_gemm_packed_bytes(kind, 1, 1) > 4000) {
        float *found = p.c;
        p.args.c = first;
        kinds_run(compute, p.args, POOL);
        assert_memory_equal(found, first, (size_t)p.size_c * sizeof *first);
    }
    kinds_release(scratch, 3 * stride);
    kinds_release(room, bytes);
    free(first);
    free(wide);
    free(rows);
    free(expected);
    kinds_free(&p);
}

static void test_stored(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{3, 70, 64}, {8, 40, 32}, {40, 330, 96}, {130, 70, 1056}};
    static const sg_weights types[] = {SG_WEIGHTS_F32, SG_WEIGHTS_BF16, SG_WEIGHTS_F16,
                                       SG_WEIGHTS_Q8_0};
    sg_pool *pool;
    assert_int_equal(sg_pool_new(3, &pool, NULL), SG_OK);
    for (int e = 0; e < kinds_engine_count; e++)
        for (int at = 0; at < 32; at++) {
            sg_products_force(kinds_engines[e]);
            kinds_check_stored(compute_on(pool), (sg_compute_kind)(1 + at % 2), types[at / 2 % 4],
                               shapes[at / 8]);
        }
    sg_products_force(SG_ENGINE_CHOSEN);
    sg_pool_free(pool);
}

// ---- room ---------------------------------------------------------------------------------------

// What is enough for a shape is enough for smaller ones.
static void test_room(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 4, 5, 8, 16, 33, 64, 200, 1000};
    enum { count = sizeof sizes / sizeof *sizes };
    for (int e = 0; e < kinds_engine_count; e++)
        for (int at = 0; at < 2 * count * count * count; at++) {
            sg_products_force(kinds_engines[e]);
            const sg_compute_kind kind = at % 2 ? SG_COMPUTE_BF16 : SG_COMPUTE_BF16X3;
            const int i = at / 2 % count, j = at / 2 / count % count, l = at / 2 / count / count;
            const int64_t m = sizes[i], n = sizes[j], k = sizes[l];
            const int64_t m1 = sizes[i ? i - 1 : 0], n1 = sizes[j ? j - 1 : 0];
            const int64_t k1 = sizes[l ? l - 1 : 0];
            assert_true(sg_gemm_room(kind, m, n, k) >= sg_gemm_room(kind, m1, n, k));
            assert_true(sg_gemm_room(kind, m, n, k) >= sg_gemm_room(kind, m, n1, k));
            assert_true(sg_gemm_room(kind, m, n, k) >= sg_gemm_room(kind, m, n, k1));
            assert_true(sg_gemm_room_packed(kind, m, n, k) >= sg_gemm_room_packed(kind, m1, n, k));
        }
    sg_products_force(SG_ENGINE_CHOSEN);
}

// ---- the kernels that pack ----------------------------------------------------------------------

static void kinds_check_kernels(const sg_kernels *table)
{
    enum { n = 2203, rows = 21, columns = 37 };
    const sg_kernels *ref = sg_kernels_ref();
    float *x = check_random(n, 5, 1e-3);
    static const float odd[] = {NAN,         INFINITY,        -INFINITY, FLT_MAX, -FLT_MAX,
                                0x1.ffp127f, 0x1.fefffep127f, 1e-41f,    0,       -0.0f};
    sg_bf16 found[2][n], expected[2][n];
    // Of the last round what is left of numbers is denormal.
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < n && round == 2; i++)
            x[i] = isfinite(x[i]) ? x[i] * 0x1p-110f : x[i];
        table->to_bf16(found[0], x, n);
        ref->to_bf16(expected[0], x, n);
        assert_memory_equal(found[0], expected[0], sizeof found[0]);
        table->split_bf16(found[0], found[1], x, n);
        ref->split_bf16(expected[0], expected[1], x, n);
        assert_memory_equal(found, expected, sizeof found);
        for (int i = 0; i < n; i++)
            if (isfinite(x[i])) {
                const double two =
                    (double)sg_bf16_value(found[0][i]) + (double)sg_bf16_value(found[1][i]);
                assert_true(fabs(two - (double)x[i]) <= 0x1p-16 * fabs((double)x[i]) + 1e-40);
            }
        memcpy(x + 11, odd, sizeof odd);
    }
    sg_bf16 wide[rows][2 * columns], turned[2][columns][2 * rows], pairs[2][2 * n];
    table->pair_bf16(pairs[0], found[0], found[1], n);
    ref->pair_bf16(pairs[1], found[0], found[1], n);
    assert_memory_equal(pairs[0], pairs[1], sizeof pairs[0]);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < 2 * columns; j++)
            wide[i][j] = (sg_bf16)(i * 2 * columns + j);
    table->transpose_pairs(turned[0][0], 2 * rows, wide[0], 2 * columns, rows, columns);
    ref->transpose_pairs(turned[1][0], 2 * rows, wide[0], 2 * columns, rows, columns);
    assert_memory_equal(turned[0], turned[1], sizeof turned[0]);
    assert_int_equal(turned[0][3][9], wide[4][7]);
    free(x);
}

static void test_kernels(void **state)
{
    (void)state;
    check_fast(kinds_check_kernels);
}

// ---- after all of it ----------------------------------------------------------------------------

static int64_t kinds_live; // when the tests began

static void test_leftovers(void **state)
{
    (void)state;
    assert_int_equal(sg_products_refused(), 0);
    assert_int_equal(sg_alloc_live(), kinds_live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),     cmocka_unit_test(test_whole_numbers),
        cmocka_unit_test(test_odd_numbers), cmocka_unit_test(test_denormals),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_against_loops),
        cmocka_unit_test(test_room),        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_leftovers), // last
    };
    if (sg_products_open(NULL) != SG_OK) return 1; // as a context does
    kinds_engine_count = engines_here(kinds_engines);
    kinds_live = sg_alloc_live();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
