// Kernels for weights in bf16 and int8: rounding against its definition bit by bit, products and
// sums of every table against the exact values of the weights in double.
#include "unit/kernel_check.h"

static const int64_t widths[] = {1,  2,  3,  7,  8,  9,   15,  16,  17,  23,  24,
                                 31, 32, 33, 47, 64, 100, 255, 256, 768, 1001};
static const int64_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 64};
enum {
    width_count = sizeof widths / sizeof *widths,
    count_count = sizeof counts / sizeof *counts,
    table_rows = 37
};

static float bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// ---- rounding ---------------------------------------------------------------------------------

// The nearest of the two bf16 numbers around x; of two as near, the one with an even last bit.
static sg_bf16 nearest(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    sg_bf16 low = (sg_bf16)(bits >> 16), high = (sg_bf16)(low + 1);
    // One above the largest is infinity, as far from it as if the exponent went on.
    double a = (double)sg_bf16_value(low), b = (double)sg_bf16_value(high);
    if (isinf(b) && !isinf(a)) b = copysign(0x1p128, a);
    double below = fabs((double)x - a), above = fabs(b - (double)x);
    if (below != above) return below < above ? low : high;
    return low & 1 ? high : low;
}

static void check_rounding(const sg_kernels *table)
{
    enum { n = 40007 };
    float *x = check_random(n, 1, 1);
    sg_bf16 *y = malloc((n + 1) * sizeof *y);
    assert_non_null(y);
    const uint32_t ends[] = {0,          0x80000000, 0x7f7fffff, 0x7f7f8000, 0x7f7f7fff, 0x7f800000,
                             0xff800000, 0x00000001, 0x00008000, 0x00018000, 0x3f808000, 0x3f818000,
                             0xbf808000, 0xbf818000, 0x3f808001, 0x3f807fff};
    for (uint32_t i = 0; i < n; i++) // every exponent, many fractions, among them exact halves
        if (i % 3 != 0) x[i] = bits_float((i * 2654435761u & 0xffff8000u) | (i % 2 ? 0 : i));
    memcpy(x, ends, sizeof ends);
    y[n] = 0x1234;
    table->to_bf16(y, x, n);
    for (int i = 0; i < n; i++) {
        if (isnan(x[i]))
            assert_true(isnan(sg_bf16_value(y[i])));
        else if (isinf(x[i]))
            assert_true(sg_bf16_value(y[i]) == x[i]);
        else
            assert_int_equal(y[i], nearest(x[i]));
    }
    assert_int_equal(y[n], 0x1234);
    // NaN whose fraction lies in the lost half alone must not become infinity.
    float nan[9];
    for (int i = 0; i < 9; i++)
        nan[i] = bits_float(i % 2 ? 0x7f800001 : 0xff800001);
    table->to_bf16(y, nan, 9);
    for (int i = 0; i < 9; i++)
        assert_true(isnan(sg_bf16_value(y[i])));
    // There and back.
    for (int i = 0; i < n; i++)
        y[i] = (sg_bf16)(i * 1657);
    table->from_bf16(x, y, n);
    for (int i = 0; i < n; i++)
        assert_true(isnan(sg_bf16_value(y[i])) ? isnan(x[i]) : x[i] == sg_bf16_value(y[i]));
    check_intact(x, n);
    free(x);
    free(y);
}

// ---- products ---------------------------------------------------------------------------------

// A table of weights in every type, with the values they stand for. It ends where its memory ends,
// so that a sanitizer sees a read beyond.
typedef struct weights {
    int64_t d;
    sg_bf16 *bf16;
    int8_t *int8;
    float *scales;
} weights;

static weights weights_new(int64_t d)
{
    weights w = {.d = d};
    w.bf16 = malloc((size_t)(table_rows * d) * sizeof *w.bf16);
    w.int8 = malloc((size_t)(table_rows * d));
    w.scales = check_random(table_rows, 5, 0.1);
    assert_true(w.bf16 && w.int8);
    for (int64_t i = 0; i < table_rows * d; i++) {
        double u = sg_rng_uniform(9, 3, (uint64_t)i);
        w.bf16[i] = sg_bf16_round((float)(2 * u - 1));
        w.int8[i] = (int8_t)((int)(u * 255) - 127);
    }
    w.int8[0] = -128; // never written by sg_narrow, but no kernel may mind
    return w;
}

static void weights_free(weights *w)
{
    free(w->bf16);
    free(w->int8);
    free(w->scales);
}

static double weights_at(const weights *w, bool int8, int64_t row, int64_t i)
{
    if (int8) return (double)w->scales[row] * (double)w->int8[row * w->d + i];
    return (double)sg_bf16_value(w->bf16[row * w->d + i]);
}

static void check_row_dot(const weights *w, bool int8, int64_t row, const float *x, float found)
{
    double exact = 0, size = 0;
    for (int64_t i = 0; i < w->d; i++) {
        double term = (double)x[i] * weights_at(w, int8, row, i);
        exact += term;
        size += fabs(term);
    }
    check_close(int8 ? "dots_int8" : "dots_bf16", w->d, (double)found, exact, size,
                ((double)w->d + 4) * FLT_EPSILON / 2);
}

static void check_gather(const sg_kernels *table, int64_t d, int64_t count)
{
    weights w = weights_new(d);
    float *x = check_random(d, 1, 1), *a = check_random(count, 2, 1),
          *z = check_random(count, 3, 1);
    float *start = check_random(d, 4, 1);
    int32_t rows[64], coming[64];
    for (int64_t j = 0; j < count; j++) { // repeats, the first and the last row
        rows[j] = (int32_t)(j == 0 ? table_rows - 1 : j * 11 % table_rows);
        coming[j] = (int32_t)(j * 7 % table_rows);
    }
    const int32_t *next = d % 2 ? coming : NULL;
    for (int int8 = 0; int8 < 2; int8++) {
        if (int8)
            table->gather_dots_int8(a, x, w.int8, w.scales, rows, next, count, d);
        else
            table->gather_dots_bf16(a, x, w.bf16, rows, next, count, d);
        for (int64_t j = 0; j < count; j++)
            check_row_dot(&w, int8, rows[j], x, a[j]);
        check_intact(a, count);
        float *y = check_copy(start, d);
        if (int8)
            table->gather_sum_int8(y, z, w.int8, w.scales, rows, next, count, d);
        else
            table->gather_sum_bf16(y, z, w.bf16, rows, next, count, d);
        for (int64_t i = 0; i < d; i++) {
            double exact = (double)start[i], size = fabs(exact);
            for (int64_t j = 0; j < count; j++) {
                double term = (double)z[j] * weights_at(&w, int8, rows[j], i);
                exact += term;
                size += fabs(term);
            }
            check_close("gather_sum", i, (double)y[i], exact, size,
                        ((double)count + 4) * FLT_EPSILON / 2);
        }
        check_intact(y, d);
        free(y);
    }
    free(x);
    free(a);
    free(z);
    free(start);
    weights_free(&w);
}

static void same_bits(const char *what, const float *found, const float *expected, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!(isnan(found[i]) && isnan(expected[i])) &&
            memcmp(found + i, expected + i, sizeof *found) != 0)
            fail_msg("%s %lld: found %.9g, expected %.9g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
}

// Products of x in bf16 have the bits of those with x widened.
static void check_pairs(const sg_kernels *table, int64_t d, int64_t count)
{
    weights w = weights_new(d);
    float *x = check_random(d, 1, 1), *a = check_random(count, 2, 1),
          *b = check_random(count, 3, 1);
    sg_bf16 *half = malloc((size_t)d * sizeof *half);
    assert_non_null(half);
    int32_t rows[64];
    for (int64_t j = 0; j < count; j++)
        rows[j] = (int32_t)(j * 11 % table_rows);
    if (d > 3) x[d - 1] = (float)INFINITY, w.bf16[3] = 1, w.bf16[d + 2] = 0x7fc0;
    table->to_bf16(half, x, d);
    table->from_bf16(x, half, d);
    table->gather_dots_pairs(a, half, w.bf16, rows, d % 2 ? rows : NULL, count, d);
    table->gather_dots_bf16(b, x, w.bf16, rows, NULL, count, d);
    same_bits("gather_dots_pairs", a, b, count);
    check_intact(a, count);
    free(half);
    free(x);
    free(a);
    free(b);
    weights_free(&w);
}

// Sums over a slice have the bits of those over rows; products are checked in double. Zeros behind
// n, among the rest an infinity, a NaN and a denormal number.
static void check_slice(const sg_kernels *table, int64_t n, int64_t count, bool add)
{
    weights w = weights_new(SG_SLICE);
    const sg_bf16 odd[] = {0x7f80, 0x7fc0, 1, 0xff80, 0x8001};
    for (int64_t r = 0; r < table_rows; r++)
        memset(w.bf16 + r * SG_SLICE + n, 0, (size_t)(SG_SLICE - n) * sizeof *w.bf16);
    for (int i = 0; i < 5 && n > 2; i++)
        w.bf16[(table_rows - 1 - i % 2) * SG_SLICE + i * 7 % n] = odd[i];
    float *z = check_random(count, 1, 1), *a = check_random(count, 2, 1),
          *y = check_random(n, 3, 1);
    float *wide = check_random(SG_SLICE, 4, 1), *a0 = check_copy(a, count),
          *both = check_copy(y, n);
    int32_t rows[128];
    for (int64_t j = 0; j < 128; j++)
        rows[j] = (int32_t)(j == 0 && count % 3 == 0 ? table_rows - 1 : j * 11 % (table_rows - 2));
    for (int64_t i = 0; i < SG_SLICE; i++)
        wide[i] = add && i < n ? y[i] : 0;
    table->gather_sum_bf16(wide, z, w.bf16, rows, NULL, count, SG_SLICE);
    table->slice_sum(y, z, w.bf16, rows, count, count % 2 ? count : count + 64, n, add);
    same_bits("slice_sum", y, wide, n);
    table->slice_both(a, both, w.bf16, z, w.bf16, rows, count, count % 2 ? count + 64 : count, n,
                      add, add);
    same_bits("slice_both", both, wide, n);
    for (int64_t j = 0; j < count; j++) {
        double exact = add ? (double)a0[j] : 0, size = fabs(exact);
        for (int64_t i = 0; i < n; i++) {
            const double term = weights_at(&w, false, 0, i) * weights_at(&w, false, rows[j], i);
            exact += term;
            size += fabs(term);
        }
        if (isfinite(exact))
            check_close("slice_both", j, (double)a[j], exact, size,
                        ((double)n + 4) * FLT_EPSILON / 2);
        else
            assert_true(isnan(exact) ? isnan(a[j]) : (double)a[j] == exact);
    }
    check_intact(a, count);
    check_intact(y, n);
    check_intact(both, n);
    float *const all[] = {z, a, y, wide, a0, both};
    for (int i = 0; i < 6; i++)
        free(all[i]);
    weights_free(&w);
}

static void check_thin(const sg_kernels *table, int64_t m, int64_t n, int64_t d)
{
    weights w = weights_new(d + 3); // rows of a wider matrix
    const int64_t ldx = d + 1, ldy = n + 2;
    float *x = check_random(m * ldx, 1, 1), *start = check_random(m * ldy, 2, 1);
    for (int int8 = 0; int8 < 2; int8++) {
        float *y = check_copy(start, m * ldy);
        if (int8)
            table->thin_product_int8(y, ldy, x, ldx, m, w.int8, w.d, w.scales, n, d);
        else
            table->thin_product_bf16(y, ldy, x, ldx, m, w.bf16, w.d, n, d);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < ldy; j++) {
                if (j >= n) {
                    assert_true(y[i * ldy + j] == start[i * ldy + j]);
                    continue;
                }
                double exact = 0, size = 0;
                for (int64_t p = 0; p < d; p++) {
                    double term = (double)x[i * ldx + p] * weights_at(&w, int8, j, p);
                    exact += term;
                    size += fabs(term);
                }
                check_close("thin_product", j, (double)y[i * ldy + j], exact, size,
                            ((double)d + 4) * FLT_EPSILON / 2);
            }
        check_intact(y, m * ldy);
        free(y);
    }
    free(x);
    free(start);
    weights_free(&w);
}

static void check_from_int8(const sg_kernels *table, int64_t n)
{
    int8_t *q = malloc((size_t)n);
    float *y = check_random(n, 1, 1);
    assert_non_null(q);
    for (int64_t i = 0; i < n; i++)
        q[i] = (int8_t)(i * 37 % 256 - 128);
    table->from_int8(y, q, 0.013f, n);
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == 0.013f * (float)q[i]);
    check_intact(y, n);
    free(q);
    free(y);
}

static void check_table(const sg_kernels *table)
{
    check_rounding(table);
    for (int i = 0; i < width_count; i++) {
        check_from_int8(table, widths[i]);
        for (int j = 0; j < count_count; j++) {
            check_gather(table, widths[i], counts[j]);
            check_pairs(table, widths[i], counts[j]);
            if (widths[i] <= SG_SLICE) check_slice(table, widths[i], counts[j], i % 2);
        }
        for (int64_t m = 1; m <= 4; m++)
            for (int64_t n = 1; n <= 9; n += 4)
                check_thin(table, m, n + m - 1, widths[i]);
    }
}

static void test_ref(void **state)
{
    (void)state;
    check_table(sg_kernels_ref());
}

static void test_fast(void **state)
{
    (void)state;
    check_fast(check_table);
}

// A row's sum must not depend on which rows stand beside it, nor on where it lies in memory.
static void check_alone(const sg_kernels *table, int64_t d)
{
    weights w = weights_new(d);
    float *x = check_random(d, 1, 1), together[13], alone;
    int32_t rows[13];
    for (int j = 0; j < 13; j++)
        rows[j] = j * 5 % table_rows;
    table->gather_dots_bf16(together, x, w.bf16, rows, NULL, 13, d);
    for (int j = 0; j < 13; j++) {
        table->gather_dots_bf16(&alone, x, w.bf16, rows + j, NULL, 1, d);
        assert_true(alone == together[j]);
    }
    table->gather_dots_int8(together, x, w.int8, w.scales, rows, NULL, 13, d);
    for (int j = 0; j < 13; j++) {
        table->gather_dots_int8(&alone, x, w.int8, w.scales, rows + j, NULL, 1, d);
        assert_true(alone == together[j]);
    }
    free(x);
    weights_free(&w);
}

static void check_order(const sg_kernels *table)
{
    for (int i = 0; i < width_count; i++)
        check_alone(table, widths[i]);
}

static void test_order(void **state)
{
    (void)state;
    check_order(sg_kernels_ref());
    check_fast(check_order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref),
        cmocka_unit_test(test_fast),
        cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
