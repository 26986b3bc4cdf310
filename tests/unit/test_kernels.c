// Every kernel in vector instructions against the plain one, and the plain ones against their
// formulas in double. The plain kernels sum from left to right, so their own rounding error sets
// the tolerance of long sums.
#include "unit/kernel_check.h"

#include "base/cpu.h"

static const int64_t sizes[] = {1,  2,  3,  7,  8,  9,   15,  16,  17,   24,  31,
                                32, 33, 63, 64, 65, 100, 255, 256, 1000, 4099};
enum { size_count = sizeof sizes / sizeof *sizes };

// ---- vectors ----------------------------------------------------------------------------------

// Error of a dot product: at most eps/2 per addition on the way of an element, times the sum of
// magnitudes. The plain one adds n times, the fast one n/32 + 7 times (and rounds once a product).
static void check_dot(const sg_kernels *table, int64_t adds_of, int64_t n)
{
    float *a = check_random(n, 1, 1), *b = check_random(n, 2, 1);
    double exact = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        exact += (double)a[i] * (double)b[i];
        size += fabs((double)a[i] * (double)b[i]);
    }
    double adds = (double)n / (double)adds_of + 8;
    check_close("dot", n, (double)table->dot(a, b, n), exact, size, adds * FLT_EPSILON / 2);
    free(a);
    free(b);
}

static void check_elementwise(const sg_kernels *table, int64_t n)
{
    const sg_kernels *ref = sg_kernels_ref();
    float *a = check_random(n, 3, 2), *b = check_random(n, 4, 2), *y = check_random(n, 5, 2);
    float *expected = check_copy(y, n);
    table->axpy(y, 0.7f, a, n);
    ref->axpy(expected, 0.7f, a, n);
    check_array("axpy", y, expected, n, 4, FLT_EPSILON);
    table->add(y, a, b, n);
    ref->add(expected, a, b, n);
    check_array("add", y, expected, n, 0, 0);
    table->add(y, y, b, n);
    ref->add(expected, expected, b, n);
    check_array("add in place", y, expected, n, 0, 0);
    table->scale(y, -1.3f, n);
    ref->scale(expected, -1.3f, n);
    check_array("scale", y, expected, n, 0, 0);
    assert_true(table->max(a, n) == ref->max(a, n));
    a[n - 1] = 3;
    assert_true(table->max(a, n) == 3);
    double squares = ref->sum_squares(a, n);
    check_close("sum_squares", n, table->sum_squares(a, n), squares, 0, 1e-14);
    free(a);
    free(b);
    free(y);
    free(expected);
}

static void test_ref_dot(void **state)
{
    (void)state;
    for (int s = 0; s < size_count; s++)
        check_dot(sg_kernels_ref(), 1, sizes[s]);
}

static void check_vectors(const sg_kernels *table)
{
    for (int s = 0; s < size_count; s++) {
        check_dot(table, 32, sizes[s]);
        check_elementwise(table, sizes[s]);
    }
    assert_true(table->dot(NULL, NULL, 0) == 0);
}

static void test_vectors(void **state)
{
    (void)state;
    check_fast(check_vectors);
}

// exp of every kind of input <= 0, against double: 2 ulp; among denormals one step, or 0.
static void check_exp(const sg_kernels *table)
{
    enum { n = 20011 };
    float *x = check_random(n, 6, 1), *y = check_random(n, 7, 1);
    for (int i = 0; i < n; i++)
        x[i] = -104.0f * (float)i / n;
    x[5] = -INFINITY;
    x[6] = -1e30f;
    x[7] = -104.5f;
    x[8] = 0;
    x[9] = -1e-30f;
    float sum = table->exp_sum(y, x, 0, n);
    double exact = 0;
    for (int i = 0; i < n; i++) {
        double e = exp((double)x[i]);
        exact += e;
        if (e < 0x1p-126 && y[i] == 0) continue;
        check_close("exp", i, (double)y[i], e, 0x1p-126, 2 * 0x1p-23);
    }
    check_intact(y, n);
    assert_true(y[5] == 0 && y[6] == 0 && y[7] == 0 && y[8] == 1 && y[9] == 1);
    check_close("exp_sum", n, (double)sum, exact, 0, n * FLT_EPSILON / 2);
    for (int64_t m = 1; m < 40; m++) {
        sum = table->exp_sum(x, x, 2.0f, m); // in place, and nothing but m elements
        exact = 0;
        for (int64_t i = 0; i < m; i++)
            exact += (double)x[i];
        check_close("exp_sum", m, (double)sum, exact, 0, 1e-5);
    }
    x[0] = NAN;
    assert_true(isnan(table->exp_sum(y, x, 0, 3)));
    assert_true(isnan(y[0]) && !isnan(y[1]));
    free(x);
    free(y);
}

static void test_exp(void **state)
{
    (void)state;
    check_exp(sg_kernels_ref());
    check_fast(check_exp);
}

// ---- rows -------------------------------------------------------------------------------------

static void check_rmsnorm(const sg_kernels *table, int64_t rows, int64_t d, double scale)
{
    const sg_kernels *ref = sg_kernels_ref();
    const int64_t n = rows * d;
    float *x = check_random(n, 1, scale), *w = check_random(d, 2, 1), *dy = check_random(n, 3, 1);
    float *y = check_random(n, 4, 1), *rstd = check_random(rows, 5, 1);
    float *y0 = check_copy(y, n), *rstd0 = check_copy(rstd, rows);
    table->rmsnorm_forward(sg_wide_target(y), rstd, sg_wide_source(x), w, rows, d, 1e-6);
    ref->rmsnorm_forward(sg_wide_target(y0), rstd0, sg_wide_source(x), w, rows, d, 1e-6);
    check_array("rstd", rstd, rstd0, rows, 0, 2e-6 + (double)d * FLT_EPSILON / 2);
    check_array("rmsnorm", y, y0, n, 0, 4e-6 + (double)d * FLT_EPSILON / 2);
    for (int64_t r = 0; r < rows; r++) { // the formula
        double mean = 0;
        for (int64_t i = 0; i < d; i++)
            mean += (double)x[r * d + i] * (double)x[r * d + i] / (double)d;
        check_close("rstd", r, (double)rstd0[r], 1 / sqrt(mean + 1e-6), 0,
                    1e-6 + (double)d * FLT_EPSILON / 2);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        float *dx = check_random(n, 6, 1), *dw = check_random(d, 7, 1);
        float *dx0 = check_copy(dx, n), *dw0 = check_copy(dw, d);
        table->rmsnorm_backward(dx, dw, dy, sg_wide_source(x), w, rstd0, rows, d, accumulate);
        ref->rmsnorm_backward(dx0, dw0, dy, sg_wide_source(x), w, rstd0, rows, d, accumulate);
        double size = (double)ref->max(rstd0, rows);
        check_array("rmsnorm dx", dx, dx0, n, 2 + 4 * size, 1e-6 + (double)d * FLT_EPSILON / 2);
        check_array("rmsnorm dw", dw, dw0, d, 4, 1e-6 * (double)rows);
        free(dx);
        free(dw);
        free(dx0);
        free(dw0);
    }
    free(x);
    free(w);
    free(dy);
    free(y);
    free(rstd);
    free(y0);
    free(rstd0);
}

static void check_rope(const sg_kernels *table, int64_t heads, int64_t half, int64_t rest)
{
    const int64_t head_dim = 2 * half + rest, n = heads * head_dim;
    float *x = check_random(n, 1, 1), *y = check_random(n, 2, 1), *y0 = check_copy(y, n);
    float *c = check_random(half, 3, 1), *s = check_copy(c, half);
    for (int64_t i = 0; i < half; i++) {
        s[i] = (float)sin((double)i);
        c[i] = (float)cos((double)i);
    }
    for (int back = 0; back < 2; back++) {
        table->rope(sg_wide_target(y), sg_wide_source(x), c, s, heads, head_dim, half,
                    back ? -1 : 1);
        sg_kernels_ref()->rope(sg_wide_target(y0), sg_wide_source(x), c, s, heads, head_dim, half,
                               back ? -1 : 1);
        check_array("rope", y, y0, n, 1, 2 * FLT_EPSILON);
        for (int64_t i = 0; i < n; i++)
            if (i % head_dim >= 2 * half) assert_true(y[i] == x[i] && y0[i] == x[i]);
    }
    table->rope(sg_wide_target(y), sg_wide_source(y), c, s, heads, head_dim, half,
                1); // y holds the rotation back of x
    check_array("rope there and back", y, x, n, 1, 8 * FLT_EPSILON);
    free(x);
    free(y);
    free(y0);
    free(c);
    free(s);
}

static void check_softmax(const sg_kernels *table, int64_t rows, int64_t n, double scale)
{
    const sg_kernels *ref = sg_kernels_ref();
    const int64_t all = rows * n;
    float *x = check_random(all, 1, scale), *y = check_random(all, 2, 1), *y0 = check_copy(y, all);
    float *dy = check_random(all, 3, 1), *copy = check_copy(x, all);
    if (n > 1) x[0] = copy[0] = -INFINITY;
    table->softmax_forward(y, x, rows, n);
    ref->softmax_forward(y0, x, rows, n);
    // Below the smallest normal number, of which exp_sum may make 0, an error is none.
    const double relative = 1e-6 + (double)n * FLT_EPSILON / 2;
    check_array("softmax", y, y0, all, 0x1p-126 / relative, relative);
    if (n > 1) assert_true(y[0] == 0);
    table->softmax_forward(copy, copy, rows, n);
    check_array("softmax in place", copy, y, all, 0, 0);
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)y[r * n + i];
        check_close("softmax sum", r, sum, 1, 1, 1e-5);
    }
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        float *dx = check_random(all, 4, 1), *dx0 = check_copy(dx, all);
        table->softmax_backward(dx, dy, y, rows, n, accumulate);
        ref->softmax_backward(dx0, dy, y, rows, n, accumulate);
        check_array("softmax dx", dx, dx0, all, 1, 1e-6 + (double)n * FLT_EPSILON / 2);
        free(dx);
        free(dx0);
    }
    if (n > 2) { // a NaN spoils its row, and a row of -inf is NaN, in both tables
        x[2] = NAN;
        for (int64_t i = 0; i < n && rows > 1; i++)
            x[n + i] = -INFINITY;
        table->softmax_forward(y, x, rows, n);
        ref->softmax_forward(y0, x, rows, n);
        for (int64_t i = 0; i < n; i++)
            assert_true(isnan(y[i]) && isnan(y0[i]));
        for (int64_t i = n; i < all && i < 2 * n; i++)
            assert_true(isnan(y[i]) && isnan(y0[i]));
    }
    free(x);
    free(y);
    free(y0);
    free(dy);
    free(copy);
}

static void check_attention_row(const sg_kernels *table, int64_t n, float lse)
{
    float *s = check_random(n, 1, 5), *dp = check_random(n, 2, 2);
    if (n > 2) s[n - 1] = -INFINITY; // a score may be no more than that
    float *s0 = check_copy(s, n), *dp0 = check_copy(dp, n);
    table->attention_row(s, dp, lse, 0.25f, n);
    sg_kernels_ref()->attention_row(s0, dp0, lse, 0.25f, n);
    for (int64_t i = 0; i < n; i++) {
        if ((double)s0[i] < 0x1p-126 && s[i] == 0 && dp[i] == 0) continue; // as exp_sum may
        check_close("attention p", i, (double)s[i], (double)s0[i], 0x1p-126, 1e-6);
        check_close("attention ds", i, (double)dp[i], (double)dp0[i], (double)s0[i] + 0x1p-126,
                    1e-6);
    }
    check_intact(s, n);
    check_intact(dp, n);
    free(s);
    free(dp);
    free(s0);
    free(dp0);
}

// A key has the bits that rows give of its queries.
static void check_attention_key(const sg_kernels *table, int64_t n)
{
    float *s = check_random(n, 1, 5), *dp = check_random(n, 2, 2);
    float *s0 = check_copy(s, n), *dp0 = check_copy(dp, n);
    float *lse = check_random(n, 3, 1), *delta = check_random(n, 4, 1);
    for (int64_t i = 0; i < n; i++) {
        lse[i] += i % 3 ? 6 : 95;
        table->attention_row(s0 + i, dp0 + i, lse[i], delta[i], 1);
    }
    table->attention_key(s, dp, lse, delta, n);
    check_array("attention p of a key", s, s0, n, 0, 0);
    check_array("attention ds of a key", dp, dp0, n, 0, 0);
    check_intact(s, n);
    check_intact(dp, n);
    free(s);
    free(dp);
    free(s0);
    free(dp0);
    free(lse);
    free(delta);
}

static void check_rows(const sg_kernels *table)
{
    for (int s = 0; s < size_count; s++) {
        check_rmsnorm(table, s % 4 + 1, sizes[s], s % 2 ? 1 : 100);
        check_softmax(table, s % 4 + 1, sizes[s], s % 2 ? 1 : 80);
        check_attention_row(table, sizes[s], s % 2 ? 6 : 95); // the latter near the smallest floats
        check_attention_key(table, sizes[s]);
        if (sizes[s] < 300) check_rope(table, s % 5 + 1, sizes[s], s % 3 ? 0 : sizes[s] / 2 + 1);
    }
    check_rmsnorm(table, 3, 64, 1e-10); // eps decides
    check_softmax(sg_kernels_ref(), 2, 50, 80);
}

static void test_rows(void **state)
{
    (void)state;
    check_fast(check_rows);
}

// ---- activations ------------------------------------------------------------------------------

static const float special[] = {0,     -0.0f,      1e-40f,   -1e-40f, 1e-10f,     7,
                                -7,    6.9999995f, 20,       -20,     30,         -30,
                                88,    -88,        100,      -100,    1e10f,      -1e10,
                                1e20f, -1e20f,     -3.4e38f, 3.4e38f, 7.0000005f, -7.0000005f};
enum { special_count = sizeof special / sizeof *special };

static void check_act(const sg_kernels *table, sg_activation act, int64_t n)
{
    const sg_kernels *ref = sg_kernels_ref();
    float *x = check_random(n, 1, 6), *dy = check_random(n, 2, 1);
    for (int64_t i = 0; i < special_count && 4 * i < n; i++)
        x[4 * i] = special[i];
    float *y = check_random(n, 3, 1), *y0 = check_copy(y, n);
    table->act_forward(y, x, act, n);
    ref->act_forward(y0, x, act, n);
    check_array("activation", y, y0, n, 1e-30, 2e-5); // the relative error of exp(u) grows with u
    for (int64_t i = 0; i < n; i++)
        check_close("activation", i, (double)y[i], (double)y0[i], 1, 2e-6);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        float *dx = check_random(n, 4, 1), *dx0 = check_copy(dx, n);
        table->act_backward(dx, dy, x, act, n, accumulate);
        ref->act_backward(dx0, dy, x, act, n, accumulate);
        check_array("activation dx", dx, dx0, n, 1, 4e-6);
        free(dx);
        free(dx0);
    }
    float *dx = check_random(n, 4, 1);
    table->act_backward(dx, dy, x, act, n, false);
    table->act_backward(dy, dy, x, act, n, false); // in place
    check_array("activation dx in place", dy, dx, n, 0, 0);
    table->act_forward(x, x, act, n);
    check_array("activation in place", x, y, n, 0, 0);
    x[0] = NAN;
    table->act_forward(y, x, act, 1);
    ref->act_forward(y0, x, act, 1);
    assert_true(isnan(y[0]) && isnan(y0[0]));
    free(x);
    free(dy);
    free(y);
    free(y0);
    free(dx);
}

// Rows of the same pairs in the order that a form has.
static void glu_order(float *to, const float *from, int64_t rows, int64_t f, bool interleaved)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < f; i++) {
            float *at = to + r * 2 * f;
            at[interleaved ? 2 * i : i] = from[r * 2 * f + i];
            at[interleaved ? 2 * i + 1 : f + i] = from[r * 2 * f + f + i];
        }
}

// What was cut has no gradient, 7 itself has one.
static void check_cuts(const float *u, const float *du, int64_t rows, int64_t f)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < f; i++) {
            int64_t gate = r * 2 * f + i, linear = gate + f;
            if (u[gate] > 7) assert_true(du[gate] == 0);
            if (u[linear] > 7 || u[linear] < -7) assert_true(du[linear] == 0);
            if (u[gate] == 7 && u[linear] > -1) assert_true(du[gate] != 0);
        }
}

// The numbers of a form by halves, then those of its interleaved twin: the same bits.
static void check_glu(const sg_kernels *table, sg_glu_kind kind, int64_t rows, int64_t f)
{
    const sg_kernels *ref = sg_kernels_ref();
    const int64_t n = rows * f;
    const sg_glu_form halves = {kind, false}, pairs = {kind, true};
    float *u = check_random(2 * n, 1, 9), *dy = check_random(n, 2, 1);
    // The others multiply numbers as large as they come.
    const int64_t specials = kind == SG_GLU_CLAMPED ? special_count : 14;
    for (int64_t i = 0; i < specials && 4 * i < 2 * n; i++)
        u[4 * i] = special[i];
    float *y = check_random(n, 3, 1), *y0 = check_copy(y, n);
    table->glu_forward(y, u, rows, f, &halves);
    ref->glu_forward(y0, u, rows, f, &halves);
    check_array("glu", y, y0, n, 1, 4e-6);
    float *du = check_random(2 * n, 4, 1), *du0 = check_copy(du, 2 * n);
    table->glu_backward(du, dy, u, rows, f, &halves);
    ref->glu_backward(du0, dy, u, rows, f, &halves);
    check_array("glu du", du, du0, 2 * n, 8, 4e-6);
    if (kind == SG_GLU_CLAMPED) {
        check_cuts(u, du, rows, f);
        check_cuts(u, du0, rows, f);
    }
    float *mixed = check_random(2 * n, 5, 1), *dmixed = check_copy(mixed, 2 * n);
    const sg_kernels *const both[] = {table, ref};
    for (int t = 0; t < 2; t++) {
        glu_order(mixed, u, rows, f, true);
        both[t]->glu_forward(t ? y : y0, mixed, rows, f, &pairs);
        check_array("glu of pairs", t ? y : y0, t ? y0 : y, n, 1, 4e-6);
        both[t]->glu_backward(dmixed, dy, mixed, rows, f, &pairs);
        glu_order(mixed, t ? du0 : du, rows, f, true);
        check_array("glu du of pairs", dmixed, mixed, 2 * n, 0, 0);
    }
    free(u);
    free(dy);
    free(y);
    free(y0);
    free(du);
    free(du0);
    free(mixed);
    free(dmixed);
}

// The plain GELU against its formula with tanh, in double; slopes against differences.
static void test_ref_activations(void **state)
{
    (void)state;
    const sg_kernels *ref = sg_kernels_ref();
    for (int i = -600; i <= 600; i++) {
        float x = (float)i / 100, y, slope, one = 1;
        double z = (double)x, h = 1e-5, value[3];
        for (int j = 0; j < 3; j++) {
            double t = z + h * (j - 1);
            value[j] = t / 2 * (1 + tanh(sqrt(2 / M_PI) * (t + 0.044715 * t * t * t)));
        }
        ref->act_forward(&y, &x, SG_ACT_GELU, 1);
        ref->act_backward(&slope, &one, &x, SG_ACT_GELU, 1, false);
        check_close("gelu", i, (double)y, value[1], 1, 1e-6);
        check_close("gelu slope", i, (double)slope, (value[2] - value[0]) / (2 * h), 1, 2e-6);
        double gate = z > 7 ? 7 : z, linear = 0.5, both;
        const float u[2] = {x, 0.5f};
        both = gate / (1 + exp(-1.702 * gate)) * (linear + 1);
        ref->glu_forward(&y, u, 1, 1, &(sg_glu_form){.kind = SG_GLU_CLAMPED});
        check_close("clamped glu", i, (double)y, both, 1, 1e-6);
        ref->glu_forward(&y, u, 1, 1, &(sg_glu_form){.kind = SG_GLU_SILU});
        check_close("silu glu", i, (double)y, z / (1 + exp(-z)) * linear, 1, 1e-6);
        ref->act_forward(&y, &x, SG_ACT_SWISH, 1);
        check_close("swish", i, (double)y, z / (1 + exp(-z)), 1, 1e-6);
        ref->act_forward(&y, &x, SG_ACT_RELU, 1);
        assert_true(y == (x > 0 ? x : 0));
    }
}

// GELU with erf, of which the tail is the hard part: against erf and erfc in double, relative to
// the value itself as far as all that goes into it is a normal float, and the slope.
static void check_gelu_erf(const sg_kernels *table)
{
    enum { n = 28001 };
    float *x = check_random(n, 1, 1), *y = check_random(n, 2, 1);
    float *one = check_random(n, 3, 1), *slope = check_random(n, 4, 1);
    for (int i = 0; i < n; i++) {
        x[i] = 14.0f * (2.0f * (float)i / (n - 1) - 1);
        one[i] = 1;
    }
    table->act_forward(y, x, SG_ACT_GELU_ERF, n);
    table->act_backward(slope, one, x, SG_ACT_GELU_ERF, n, false);
    const double least = 0x1p-120;
    double worst = 0, worst_erf = 0;
    for (int i = 0; i < n; i++) {
        double z = (double)x[i], below = erfc(-z / sqrt(2)) / 2, expected = z * below;
        double bell = exp(-z * z / 2) / sqrt(2 * M_PI);
        check_close("gelu_erf", i, (double)y[i], expected, least, 1e-6);
        check_close("gelu_erf slope", i, (double)slope[i], below + z * bell, 0.1, 1e-6);
        if (fabs(expected) < least) continue;
        worst = fmax(worst, fabs((double)y[i] / expected - 1));
        worst_erf = fmax(worst_erf, fabs(2 * (double)y[i] / z - 1 - erf(z / sqrt(2))));
    }
    print_message("%s: gelu_erf within %.1e of itself, erf within %.1e\n", table->name, worst,
                  worst_erf);
    check_intact(y, n);
    check_intact(slope, n);
    free(x);
    free(y);
    free(one);
    free(slope);
}

static void check_activations(const sg_kernels *table)
{
    for (int s = 0; s < size_count; s++) {
        for (int act = 0; act < SG_ACT_COUNT; act++)
            check_act(table, (sg_activation)act, sizes[s]);
        for (int kind = 0; kind < SG_GLU_COUNT; kind++)
            check_glu(table, (sg_glu_kind)kind, s % 3 + 1, sizes[s]);
    }
    check_gelu_erf(table);
}

static void test_activations(void **state)
{
    (void)state;
    check_gelu_erf(sg_kernels_ref());
    check_fast(check_activations);
}

// ---- sparse memory and thin products ------------------------------------------------------------

static void check_gather(const sg_kernels *table, int64_t count, int64_t d)
{
    enum { stored = 37 };
    const sg_kernels *ref = sg_kernels_ref();
    float *memory = check_random(stored * d, 1, 1), *x = check_random(d, 2, 1);
    float *a = check_random(count, 3, 1), *a0 = check_copy(a, count);
    float *y = check_random(d, 4, 1), *y0 = check_copy(y, d);
    int32_t *rows = malloc((size_t)(count + 1) * sizeof *rows);
    assert_non_null(rows);
    for (int64_t j = 0; j < count; j++)
        rows[j] = (int32_t)sg_rng_below(5, 1, (uint64_t)j, stored);
    double relative = (double)d * FLT_EPSILON;
    table->gather_dots(a, x, memory, rows, count, d);
    ref->gather_dots(a0, x, memory, rows, count, d);
    check_array("gather_dots", a, a0, count, 1 + sqrt((double)d), relative);
    for (int64_t j = 0; j < count; j++) // a row alone gives the same bits as among others
        assert_true((table->gather_dots(a0, x, memory, rows + j, 1, d), a0[0] == a[j]));
    check_array("gather_dots", a, a, count, 0, 0);
    table->gather_sum(y, a, memory, rows, count, d);
    ref->gather_sum(y0, a, memory, rows, count, d);
    double size = 1;
    for (int64_t j = 0; j < count; j++)
        size += fabs((double)a[j]);
    check_array("gather_sum", y, y0, d, size, 1e-7 * (double)(count + 2));
    free(memory);
    free(x);
    free(a);
    free(a0);
    free(y);
    free(y0);
    free(rows);
}

static void check_thin(const sg_kernels *table, int64_t m, int64_t n, int64_t d)
{
    const int64_t ldy = n + 3, ldx = d + 5, ldw = d + 2;
    float *x = check_random(m * ldx, 1, 1), *w = check_random(n * ldw, 2, 1);
    float *y = check_random(m * ldy, 3, 1), *y0 = check_copy(y, m * ldy);
    table->thin_product(y, ldy, x, ldx, m, w, ldw, n, d);
    sg_kernels_ref()->thin_product(y0, ldy, x, ldx, m, w, ldw, n, d);
    check_array("thin_product", y, y0, m * ldy, 1 + sqrt((double)d), (double)d * FLT_EPSILON);
    free(x);
    free(w);
    free(y);
    free(y0);
}

// The bits of one axpy after the other, and nothing between the rows is touched.
static void check_thin_sum(const sg_kernels *table, int64_t m, int64_t n, int64_t d)
{
    const int64_t ldy = d + 3, lds = n + 5, ldv = d + 2;
    float *s = check_random(m * lds, 1, 1), *v = check_random(n * ldv + 1, 2, 1);
    float *y = check_random(m * ldy, 3, 1), *y0 = check_copy(y, m * ldy);
    float *y1 = check_copy(y, m * ldy);
    table->thin_sum(y, ldy, s, lds, m, v, ldv, n, d);
    sg_kernels_ref()->thin_sum(y1, ldy, s, lds, m, v, ldv, n, d);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            table->axpy(y0 + i * ldy, s[i * lds + j], v + j * ldv, d);
    check_array("thin_sum", y, y0, m * ldy, 0, 0);
    check_array("thin_sum", y, y1, m * ldy, 1 + sqrt((double)n), (double)(n + 1) * FLT_EPSILON);
    free(s);
    free(v);
    free(y);
    free(y0);
    free(y1);
}

static void check_memory(const sg_kernels *table)
{
    for (int64_t count = 0; count <= 21; count++)
        for (int s = 0; s < size_count; s += 2)
            check_gather(table, count, sizes[(s + count) % size_count]);
    check_gather(table, 3000, 256);
    check_gather(table, 8, 768);
    check_gather(table, 19, 767);
    for (int64_t m = 1; m <= 4; m++)
        for (int64_t n = 1; n < 14; n++)
            check_thin(table, m, n, sizes[(m * 13 + n) % size_count]);
    for (int64_t m = 1; m <= 11; m++)
        for (int s = 0; s < size_count; s++)
            check_thin_sum(table, m, (m * 5 + s) % 19, sizes[s] < 600 ? sizes[s] : 96);
}

static void test_memory(void **state)
{
    (void)state;
    check_fast(check_memory);
}

// ---- optimiser --------------------------------------------------------------------------------

// Twenty steps beside the same formula in double, with gradients of many sizes.
static void check_adamw(const sg_kernels *table, int64_t n)
{
    float *p = check_random(n, 1, 1), *g = check_random(n, 2, 1);
    float *m = calloc((size_t)(n + 1), sizeof *m), *v = calloc((size_t)(n + 1), sizeof *v);
    double *exact = calloc((size_t)(3 * n), sizeof *exact);
    assert_true(m && v && exact);
    for (int64_t i = 0; i < n; i++)
        exact[i] = (double)p[i];
    for (int t = 1; t <= 20; t++) {
        sg_adamw_args args = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .decay = 0.1};
        args.bias1 = 1 - pow(args.beta1, t);
        args.bias2 = 1 - pow(args.beta2, t);
        args.grad_scale = 0.3;
        for (int64_t i = 0; i < n; i++) {
            double u = sg_rng_normal((uint64_t)t, 3, (uint64_t)i);
            g[i] = (float)(u * pow(10, -(double)(i % 12)));
            double *dp = exact + i, *dm = exact + n + i, *dv = exact + 2 * n + i;
            double grad = (double)g[i] * args.grad_scale;
            *dm = args.beta1 * *dm + (1 - args.beta1) * grad;
            *dv = args.beta2 * *dv + (1 - args.beta2) * grad * grad;
            double step = *dm / args.bias1 / (sqrt(*dv / args.bias2) + args.eps);
            *dp -= args.lr * (step + args.decay * *dp);
        }
        table->adamw(p, m, v, g, n, &args);
    }
    for (int64_t i = 0; i < n; i++) {
        double size = pow(10, -(double)(i % 12));
        check_close("adamw p", i, (double)p[i], exact[i], 1, 2e-6);
        check_close("adamw m", i, (double)m[i], exact[n + i], size, 2e-6);
        check_close("adamw v", i, (double)v[i], exact[2 * n + i], 0, 1e-5);
    }
    check_intact(p, n);
    free(p);
    free(g);
    free(m);
    free(v);
    free(exact);
}

static void check_adamw_step(const sg_kernels *table, int64_t n)
{
    const sg_adamw_args args = {3e-4, 0.9, 0.98, 1e-8, 0.1, 0.19, 0.04, 1};
    float *p = check_random(n, 1, 1), *g = check_random(n, 2, 1e-3);
    float *m = check_random(n, 3, 1e-3), *v = check_random(n, 4, 1e-6);
    for (int64_t i = 0; i < n; i++)
        v[i] = fabsf(v[i]);
    if (n > 9) { // denormal moments, and none at all
        g[9] = g[8] = m[9] = m[8] = v[9] = 0;
        v[8] = 1e-42f;
    }
    float *p0 = check_copy(p, n), *m0 = check_copy(m, n), *v0 = check_copy(v, n);
    table->adamw(p, m, v, g, n, &args);
    sg_kernels_ref()->adamw(p0, m0, v0, g, n, &args);
    check_array("adamw p", p, p0, n, 1, 1e-6);
    check_array("adamw m", m, m0, n, 1e-3, 1e-6);
    check_array("adamw v", v, v0, n, 0, 1e-6);
    free(p);
    free(g);
    free(m);
    free(v);
    free(p0);
    free(m0);
    free(v0);
}

// Steps that waited, all at once, against double; moments that are zero move nothing.
static void check_adamw_idle(const sg_kernels *table, int64_t n)
{
    const sg_adamw_idle_args args = {0.97, 2.5e-3, 1.7, 1e-8, 0.3, 0.98};
    float *p = check_random(n, 1, 1), *m = check_random(n, 2, 1e-3), *v = check_random(n, 3, 1e-6);
    for (int64_t i = 0; i < n; i++)
        v[i] = fabsf(v[i]);
    if (n > 9) m[9] = v[9] = 0;
    float *p0 = check_copy(p, n), *m0 = check_copy(m, n), *v0 = check_copy(v, n);
    table->adamw_idle(p, m, v, n, &args);
    for (int64_t i = 0; i < n; i++) {
        double step = (double)m0[i] / (args.root * sqrt((double)v0[i]) + args.eps);
        check_close("idle p", i, (double)p[i], args.keep * (double)p0[i] - args.move * step, 1,
                    1e-6);
        check_close("idle m", i, (double)m[i], args.keep1 * (double)m0[i], 0, 1e-6);
        check_close("idle v", i, (double)v[i], args.keep2 * (double)v0[i], 0, 1e-6);
    }
    check_intact(p, n);
    check_intact(m, n);
    check_intact(v, n);
    free(p);
    free(m);
    free(v);
    free(p0);
    free(m0);
    free(v0);
}
static void test_ref_adamw(void **state)
{
    (void)state;
    check_adamw(sg_kernels_ref(), 1000);
    check_adamw_idle(sg_kernels_ref(), 1000);
}

static void check_optimiser(const sg_kernels *table)
{
    check_adamw(table, 1001);
    for (int s = 0; s < size_count; s++)
        check_adamw_step(table, sizes[s]);
    for (int s = 0; s < size_count; s++)
        check_adamw_idle(table, sizes[s]);
}

static void test_adamw(void **state)
{
    (void)state;
    check_fast(check_optimiser);
}

// ---- the choice of a table ----------------------------------------------------------------------

// A table lists every kernel: one that was added to the others alone would be called as NULL.
static void check_whole(const sg_kernels *table)
{
    void (*const *kernels)(void) = (void (*const *)(void))(const void *)&table->dot;
    size_t count = (sizeof *table - offsetof(sg_kernels, dot)) / sizeof *kernels;
    assert_true(count > 20);
    for (size_t i = 0; i < count; i++)
        if (kernels[i] == NULL)
            fail_msg("%s: kernel %d of its table is missing", table->name, (int)i);
}

static void test_tables(void **state)
{
    (void)state;
    check_whole(sg_kernels_ref());
    check_fast(check_whole);
}

// Twice x / 2 + 1 / 4, exactly, and how many numbers that is counted for.
static void check_multiply_adds(const sg_kernels *table)
{
    float x[SG_CHAINS];
    for (int c = 0; c < SG_CHAINS; c++)
        x[c] = (float)c;
    const int64_t lanes = table->multiply_adds(x, 0.5f, 0.25f, 2) / (2 * 2 * SG_CHAINS);
    assert_true(lanes == 1 || lanes == 4 || lanes == 8 || lanes == 16);
    for (int c = 0; c < SG_CHAINS; c++)
        assert_true(x[c] == (float)c / 4 + 0.375f);
}

static void test_multiply_adds(void **state)
{
    (void)state;
    check_multiply_adds(sg_kernels_ref());
    check_fast(check_multiply_adds);
}

static void test_choice(void **state)
{
    (void)state;
    assert_non_null(sg_kernels_ref());
    assert_ptr_equal(sg_kernels_named("ref"), sg_kernels_ref());
    assert_null(sg_kernels_named("sse9"));
    assert_ptr_equal(sg_kernels_named(NULL), sg_kernels_fastest());
    const sg_kernels *tables[SG_TABLES_MAX];
    const int count = sg_kernels_list(tables);
    assert_ptr_equal(tables[0], sg_kernels_ref());
    assert_ptr_equal(tables[count - 1], sg_kernels_fastest());
    for (int t = 0; t < count; t++)
        assert_ptr_equal(sg_kernels_named(tables[t]->name), tables[t]);
    const sg_cpu cpu = sg_cpu_detect();
    const bool built = count > 1; // else for another family of processors, or without any
    assert_int_equal(sg_kernels_named("avx2") != NULL, built && cpu.avx2_fma);
    assert_int_equal(sg_kernels_named("avx512") != NULL, built && cpu.avx512);
    assert_int_equal(sg_kernels_named("neon") != NULL, built && cpu.neon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_dot),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_ref_activations),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_ref_adamw),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_multiply_adds),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
