// Kernels that pass over activations in either form: what is read in bf16 and what is written in
// it are, bit by bit, what the same table's conversions before and behind the kernel of wide
// numbers give, with NaN, infinities and denormals among them, and nothing beyond the end changes.
#include "unit/kernel_check.h"

static const int64_t widths[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 100, 255, 256, 1000};
enum { width_count = sizeof widths / sizeof *widths, canary = 0x1234 };

typedef struct forms_case {
    const sg_kernels *table;
    int64_t rows, d, n;
    const float *w;                  // (d)
    const float *a, *b;              // (n) of a sum
    const float *cosines, *sines;    // (d)
    int64_t heads, head_dim, turned; // d = heads * head_dim
    float *rstd;                     // (rows)
} forms_case;

typedef void (*forms_call)(const forms_case *c, sg_target y, sg_source x);

// ---- calls --------------------------------------------------------------------------------------

static void call_norm(const forms_case *c, sg_target y, sg_source x)
{
    c->table->rmsnorm_forward(y, c->rstd, x, c->w, c->rows, c->d, 1e-6);
}

static void call_rope(const forms_case *c, sg_target y, sg_source x)
{
    for (int64_t r = 0; r < c->rows; r++)
        c->table->rope(sg_target_at(y, r * c->d), sg_source_at(x, r * c->d), c->cosines, c->sines,
                       c->heads, c->head_dim, c->turned, r % 2 ? -1 : 1);
}

static void call_add(const forms_case *c, sg_target y, sg_source x)
{
    (void)x;
    c->table->add_forward(y, c->a, c->b, c->n);
}

// ---- comparisons --------------------------------------------------------------------------------

static void expect_same(const char *what, const float *found, const float *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (isnan(found[i]) && isnan(expected[i])) continue;
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s, %lld numbers: %lld: found %.9g, expected %.9g", what, (long long)n,
                     (long long)i, (double)found[i], (double)expected[i]);
    }
    check_intact(found, n);
}

static void expect_half(const char *what, const sg_bf16 *found, const float *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const sg_bf16 rounded = sg_bf16_round(expected[i]);
        if (isnan(expected[i]) ? !isnan(sg_bf16_value(found[i])) : found[i] != rounded)
            fail_msg("%s, %lld numbers: %lld: found %04x, expected %04x", what, (long long)n,
                     (long long)i, found[i], rounded);
    }
    assert_int_equal(found[n], canary);
}

// All forms of a target, from one form of the source.
static void check_targets(const char *what, const forms_case *c, forms_call call, sg_source x,
                          const float *expected)
{
    float *wide = check_random(c->n, 9, 1), *rounded = check_copy(wide, c->n);
    sg_bf16 *half = malloc((size_t)(c->n + 1) * sizeof *half);
    assert_non_null(half);
    half[c->n] = canary;
    call(c, sg_wide_target(wide), x);
    expect_same(what, wide, expected, c->n);
    call(c, (sg_target){.half = half}, x);
    expect_half(what, half, expected, c->n);
    for (int exact = 0; exact < 2; exact++) {
        for (int64_t i = 0; i < c->n; i++) {
            wide[i] = 77;
            half[i] = 0x4567;
        }
        call(c, (sg_target){wide, half, exact}, x);
        expect_half(what, half, expected, c->n);
        c->table->from_bf16(rounded, half, c->n);
        expect_same(what, wide, exact ? expected : rounded, c->n);
    }
    free(wide);
    free(rounded);
    free(half);
}

static void check_call(const char *what, const forms_case *c, forms_call call, sg_bf16 *x)
{
    float *wide = check_random(c->n, 1, 1), *expected = check_copy(wide, c->n);
    c->table->from_bf16(wide, x, c->n);
    call(c, sg_wide_target(expected), sg_wide_source(wide));
    check_targets(what, c, call, sg_wide_source(wide), expected);
    check_targets(what, c, call, (sg_source){.half = x}, expected);
    free(wide);
    free(expected);
}

static void check_backward(const forms_case *c, const sg_bf16 *x)
{
    float *wide = check_random(c->n, 1, 1), *dy = check_random(c->n, 2, 1);
    c->table->from_bf16(wide, x, c->n);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        float *dx = check_random(c->n, 3, 1), *dw = check_random(c->d, 4, 1);
        float *dx0 = check_copy(dx, c->n), *dw0 = check_copy(dw, c->d);
        c->table->rmsnorm_backward(dx, dw, dy, (sg_source){.half = x}, c->w, c->rstd, c->rows, c->d,
                                   accumulate);
        c->table->rmsnorm_backward(dx0, dw0, dy, sg_wide_source(wide), c->w, c->rstd, c->rows, c->d,
                                   accumulate);
        expect_same("rmsnorm dx", dx, dx0, c->n);
        expect_same("rmsnorm dw", dw, dw0, c->d);
        free(dx);
        free(dw);
        free(dx0);
        free(dw0);
    }
    free(wide);
    free(dy);
}

// ---- shapes -------------------------------------------------------------------------------------

// bf16 numbers of about 1, then all kinds of them.
static sg_bf16 *numbers(int64_t n, bool odd)
{
    sg_bf16 *x = malloc((size_t)(n + 1) * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i <= n; i++)
        x[i] = sg_bf16_round((float)sg_rng_normal(5, 1, (uint64_t)i));
    const sg_bf16 kinds[] = {0x7f80, 0x0001, 0x8000, 0x7fc1, 0x7f7f, 0xff80, 0x0080, 0xffff};
    for (int64_t i = 0; odd && i < n; i += 5)
        x[i] = kinds[i / 5 % 8];
    return x;
}

static void check_shape(const sg_kernels *table, int64_t rows, int64_t d, bool odd)
{
    float *w = check_random(d, 6, 1), *rstd = check_random(rows, 7, 1);
    float *cosines = check_random(d, 8, 1), *sines = check_random(d, 10, 1);
    const int64_t heads = d % 3 == 0 ? 3 : d % 2 == 0 ? 2 : 1, n = rows * d;
    float *a = check_random(n, 11, 1), *b = check_random(n, 12, 1);
    sg_bf16 *x = numbers(n, odd);
    if (odd) { // halves between two bf16 numbers, and what is lost but for the sign
        a[0] = 1.00390625f;
        b[0] = 0;
        a[n - 1] = NAN;
        b[n / 2] = 1e-42f;
        a[n / 2] = 0;
    }
    forms_case c = {.table = table,
                    .rows = rows,
                    .d = d,
                    .n = n,
                    .w = w,
                    .a = a,
                    .b = b,
                    .cosines = cosines,
                    .sines = sines,
                    .heads = heads,
                    .head_dim = d / heads,
                    .rstd = rstd};
    c.turned = c.head_dim / 2 - (d % 5 == 0 && c.head_dim > 2);
    check_call("rmsnorm", &c, call_norm, x);
    check_call("rope", &c, call_rope, x);
    check_call("add", &c, call_add, x);
    check_backward(&c, x);
    free(w);
    free(rstd);
    free(cosines);
    free(sines);
    free(a);
    free(b);
    free(x);
}

static void check_forms(const sg_kernels *table)
{
    for (int i = 0; i < width_count; i++)
        for (int odd = 0; odd < 2; odd++)
            check_shape(table, 1 + i % 4, widths[i], odd);
}

static void test_forms(void **state)
{
    (void)state;
    check_forms(sg_kernels_ref());
    check_fast(check_forms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
