// Most operations of op/op.h: gradients by differences, the laws of gradcheck.h, and results
// against the plainest way to compute them.
#include "grad/gradcheck.h"

// ---- embedding --------------------------------------------------------------------------------

typedef struct ids_list {
    int32_t *ids;
    int64_t count;
} ids_list;

static sg_tensor *build_embedding(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const ids_list *list = c->user;
    sg_tensor *ids =
        sg_tape_leaf(tape, "ids", SG_KIND_INT, 1, &list->count, list->ids, NULL, false);
    return sg_embedding(tape, in[0], ids);
}

static void test_embedding(void **state)
{
    (void)state;
    const int64_t sizes[][3] = {{5, 3, 7}, {3, 130, 9}, {1, 64, 2}, {20, 1, 300}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t vocab = sizes[s][0], d = sizes[s][1], rows = sizes[s][2];
        ids_list list = {sg_alloc_array((size_t)rows, sizeof(int32_t)), rows};
        assert_non_null(list.ids);
        for (int64_t r = 0; r < rows; r++)
            list.ids[r] = (int32_t)sg_rng_below(3, 1, (uint64_t)r, (uint64_t)vocab);
        gc_case c = {.name = "embedding", .build = build_embedding, .user = &list};
        sg_real *table = gc_add(&c, "table", 2, (int64_t[]){vocab, d}, 1, s);
        gc_check(&c);
        sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
        gc_forward(&c, y, rows * d);
        for (int64_t r = 0; r < rows; r++)
            memcpy(expected + r * d, table + list.ids[r] * d, (size_t)d * sizeof *y);
        assert_memory_equal(y, expected, (size_t)(rows * d) * sizeof *y);
        sg_free(y);
        sg_free(expected);
        sg_free(list.ids);
        gc_free(&c);
    }
}

// Learned positions: the same rows read by ids that say where each stands.
typedef struct positions_user {
    int64_t rows, length, offset;
    const int64_t *start;
} positions_user;

static sg_tensor *build_positions(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const positions_user *u = c->user;
    return sg_position_rows(tape, in[0], u->rows, u->length, u->start, u->offset);
}

static void test_positions(void **state)
{
    (void)state;
    const int64_t start[] = {4, 0, 4};
    const positions_user users[] = {
        {12, 4, 0, NULL}, {12, 4, 2, start}, {1, 1, 9, NULL}, {9, 3, 1, start}, {10, 10, 0, NULL}};
    for (size_t n = 0; n < sizeof users / sizeof *users; n++) {
        const positions_user *u = &users[n];
        const int64_t d = n == 1 ? 130 : 3;
        gc_case c = {.name = "positions", .build = build_positions, .user = u};
        const sg_real *table = gc_add(&c, "table", 2, (int64_t[]){10, d}, 1, n);
        gc_check(&c);
        sg_real *y = gc_room(u->rows * d);
        gc_forward(&c, y, u->rows * d);
        for (int64_t r = 0; r < u->rows; r++) {
            int64_t at = u->offset + (u->start ? u->start[r / u->length] : 0) + r % u->length;
            assert_memory_equal(y + r * d, table + at * d, (size_t)d * sizeof *y);
        }
        sg_free(y);
        gc_free(&c);
    }
}

// ---- products ---------------------------------------------------------------------------------

static sg_tensor *build_linear(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_linear(tape, in[0], in[1], c->n_in > 2 ? in[2] : NULL);
}

static void check_linear(int64_t rows, int64_t k, int64_t n, bool bias)
{
    gc_case c = {.name = bias ? "linear with bias" : "linear", .build = build_linear};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, k}, 1, 1);
    sg_real *w = gc_add(&c, "w", 2, (int64_t[]){n, k}, 1, 2);
    sg_real *b = bias ? gc_add(&c, "bias", 1, &n, 1, 3) : NULL;
    gc_check(&c);
    sg_real *y = gc_room(rows * n), *expected = gc_room(rows * n);
    gc_forward(&c, y, rows * n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            sg_real sum = b ? b[j] : 0;
            for (int64_t i = 0; i < k; i++)
                sum += x[r * k + i] * w[j * k + i];
            expected[r * n + j] = sum;
        }
    gc_expect_close(c.name, y, expected, rows * n);
    sg_free(y);
    sg_free(expected);
    gc_free(&c);
}

static void test_linear(void **state)
{
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        check_linear(4, 3, 5, bias);
        check_linear(1, 7, 3, bias);
        check_linear(1, 1, 1, bias);
        check_linear(33, 17, 29, bias);
        check_linear(130, 5, 1, bias);
    }
}

static const double groups_scale = 0.37;

static sg_tensor *build_groups(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_linear_groups(tape, in[0], in[1], groups_scale);
}

static void test_linear_groups(void **state)
{
    (void)state;
    const int64_t sizes[][4] = {{4, 3, 5, 2}, {1, 1, 3, 2}, {19, 4, 7, 3}, {3, 2, 1, 1}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t rows = sizes[s][0], groups = sizes[s][1], n = sizes[s][2], k = sizes[s][3];
        gc_case c = {.name = "linear_groups", .build = build_groups};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, groups * k}, 1, 1);
        sg_real *w = gc_add(&c, "w", 3, (int64_t[]){groups, n, k}, 1, 2);
        gc_check(&c);
        sg_real *y = gc_room(rows * groups * n), *expected = gc_room(rows * groups * n);
        gc_forward(&c, y, rows * groups * n);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t g = 0; g < groups; g++)
                for (int64_t j = 0; j < n; j++)
                    for (int64_t i = 0; i < k; i++)
                        expected[(r * groups + g) * n + j] +=
                            groups_scale * x[(r * groups + g) * k + i] * w[(g * n + j) * k + i];
        gc_expect_close(c.name, y, expected, rows * groups * n);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

// ---- sum and norm -----------------------------------------------------------------------------

static sg_tensor *build_add(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_add(tape, in[0], in[c->n_in - 1]);
}

static void test_add(void **state)
{
    (void)state;
    gc_case c = {.name = "add", .build = build_add};
    gc_add(&c, "a", 2, (int64_t[]){3, 5}, 1, 1);
    gc_add(&c, "b", 2, (int64_t[]){3, 5}, 1, 2);
    gc_check(&c);
    gc_free(&c);
    gc_case self = {.name = "add to itself", .build = build_add};
    gc_add(&self, "a", 3, (int64_t[]){2, 1, 7}, 1, 1);
    gc_check(&self);
    gc_free(&self);
}

static sg_tensor *build_rmsnorm(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_rmsnorm(tape, in[0], in[1], 1e-6);
}

// Several chunks of rows too (32768 values a chunk): their parts of dw must add up.
static void test_rmsnorm(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{1, 1}, {1, 8}, {5, 3}, {40, 16}, {5, 16384}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        int64_t rows = sizes[s][0], d = sizes[s][1];
        gc_case c = {
            .name = "rmsnorm", .build = build_rmsnorm, .components = rows * d > 9999 ? 2 : 0};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1.5, 1);
        sg_real *w = gc_add(&c, "w", 1, &d, 1, 2);
        gc_check(&c);
        sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
        gc_forward(&c, y, rows * d);
        for (int64_t r = 0; r < rows; r++) {
            double squares = 0;
            for (int64_t i = 0; i < d; i++)
                squares += x[r * d + i] * x[r * d + i];
            for (int64_t i = 0; i < d; i++)
                expected[r * d + i] = x[r * d + i] / sqrt(squares / (double)d + 1e-6) * w[i];
        }
        gc_expect_close(c.name, y, expected, rows * d);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

// ---- elementwise ------------------------------------------------------------------------------

static sg_tensor *build_activate(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_activate(tape, in[0], *(const sg_activation *)c->user);
}

static void test_activate(void **state)
{
    (void)state;
    for (int a = 0; a < SG_ACT_COUNT; a++) {
        sg_activation activation = (sg_activation)a;
        gc_case c = {
            .name = "activate", .build = build_activate, .user = &activation, .components = 60};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){6, 11}, 2, 1);
        for (int64_t i = 0; i < 66; i++) // away from the kink of relu
            x[i] += x[i] < 0 ? -0.1 : 0.1;
        x[0] = 30, x[1] = -30, x[2] = 8, x[3] = -8; // saturated
        gc_check(&c);
        gc_free(&c);
    }
}

static sg_tensor *build_glu(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_glu(tape, in[0], c->user);
}

// Gates and linear parts below, between and above the clamps at 7, and on no clamp and no kink.
static void check_glu(const sg_glu_form *form)
{
    const double gates[] = {-20, -7.5, -3, -0.2, -0.01, 0.4, 2, 6.8, 7.2, 15};
    const double linears[] = {-12, -7.3, -6.7, -1, -0.3, 0, 1.5, 6.7, 7.3, 30};
    const int64_t f = 10, rows = 10;
    gc_case c = {.name = "glu", .build = build_glu, .user = form, .components = 200};
    sg_real *u = gc_add(&c, "u", 2, (int64_t[]){rows, 2 * f}, 1, 1);
    sg_real *y = gc_room(rows * f), *expected = gc_room(rows * f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < f; i++) {
            sg_real *row = u + r * 2 * f;
            row[form->interleaved ? 2 * i : i] = gates[i];
            row[form->interleaved ? 2 * i + 1 : f + i] = linears[(r + i) % 10];
            expected[r * f + i] = gc_glu(gates[i], linears[(r + i) % 10], form->kind);
        }
    gc_check(&c);
    gc_forward(&c, y, rows * f);
    gc_expect_close("glu", y, expected, rows * f);
    // What was cut has no gradient at all.
    gc_pass pass = {.threads = 1};
    gc_pass_new(&c, &pass, NAN);
    gc_run(&c, &pass);
    for (int64_t i = 0; form->kind == SG_GLU_CLAMPED && i < rows * 2 * f; i++) {
        bool gate = form->interleaved ? i % 2 == 0 : i % (2 * f) < f;
        bool cut = u[i] > 7 || (!gate && u[i] < -7);
        if (cut) assert_true(pass.grads[0][i] == 0);
    }
    gc_pass_free(&c, &pass);
    sg_free(y);
    sg_free(expected);
    gc_free(&c);
}

static void test_glu(void **state)
{
    (void)state;
    for (int kind = 0; kind < SG_GLU_COUNT; kind++)
        for (int interleaved = 0; interleaved < 2; interleaved++)
            check_glu(&(sg_glu_form){(sg_glu_kind)kind, interleaved});
}

static sg_tensor *build_trim(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const double threshold = *(const double *)c->user;
    if (c->n_in == 1) return sg_trim(tape, in[0], NULL, threshold);
    if (in[1]->rank == 1) return sg_trim(tape, in[0], in[1], threshold);
    return sg_trim_gated(tape, in[0], in[1], SG_ACT_SWISH, threshold);
}

// By its own size, that times a scale, and by a gate; the last two have no gradient. A NaN is not
// left out.
static void test_trim(void **state)
{
    (void)state;
    double threshold = 0.3;
    enum { own, scaled, gates, ways };
    for (int way = 0; way < ways; way++) {
        const bool gated = way == gates;
        gc_case c = {.name = "trim", .build = build_trim, .user = &threshold, .components = 60};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){6, 9}, 1, 1), y[54], expected[54];
        sg_real *u = gated ? gc_add(&c, "u", 2, (int64_t[]){6, 18}, 1, 2) : NULL;
        sg_real *s = way == scaled ? gc_add(&c, "s", 1, (int64_t[]){9}, 1, 3) : NULL;
        for (int i = 0; i < 54; i++) {
            sg_real *by = gated ? &u[i / 9 * 18 + i % 9] : &x[i];
            const double times = s != NULL ? s[i % 9] : 1;
            if (fabs(fabs(gated ? gc_act(*by, SG_ACT_SWISH) : *by * times) - threshold) < 1e-3)
                *by = 0;
            const double size = gated ? gc_act(*by, SG_ACT_SWISH) : *by * times;
            expected[i] = fabs(size) > threshold ? x[i] : 0;
        }
        gc_forward(&c, y, 54);
        gc_expect_close(c.name, y, expected, 54);
        gc_check(&c);
        x[0] = gated ? x[0] : NAN;
        if (gated) u[0] = NAN;
        gc_forward(&c, y, 54);
        assert_true(gated ? y[0] == x[0] : isnan(y[0]));
        gc_free(&c);
    }
}

static sg_tensor *build_clamp(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_clamp(tape, in[0], *(const double *)c->user);
}

static void test_clamp(void **state)
{
    (void)state;
    double limit = 1.25;
    gc_case c = {.name = "clamp", .build = build_clamp, .user = &limit, .components = 60};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){6, 9}, 1.5, 1), y[54];
    for (int i = 0; i < 54; i++)
        if (fabs(fabs(x[i]) - limit) < 1e-3) x[i] = 0; // a kink has no difference
    x[0] = 1e30, x[1] = -1e30, x[2] = 1.26, x[3] = -1.24;
    gc_check(&c);
    x[4] = limit, x[5] = -limit, x[6] = nextafter(limit, 2), x[7] = nextafter(-limit, -2);
    gc_forward(&c, y, 54);
    gc_pass pass = {.threads = 1};
    gc_pass_new(&c, &pass, NAN);
    gc_run(&c, &pass);
    for (int i = 0; i < 54; i++) {
        bool cut = x[i] > limit || x[i] < -limit;
        assert_true(y[i] == (cut ? copysign(limit, x[i]) : x[i]));
        assert_true(pass.grads[0][i] == (cut ? 0 : gc_weight(i)));
    }
    gc_pass_free(&c, &pass);
    gc_free(&c);
}

static sg_tensor *build_multiply(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_multiply(tape, in[0], in[c->n_in - 1]);
}

// Of two tensors, and of one with itself, whose gradient is the sum of both.
static void test_multiply(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{1, 1}, {7, 5}, {3, 130}, {900, 41}}; // the last: two chunks
    for (size_t n = 0; n < 2 * sizeof sizes / sizeof *sizes; n++) {
        const int64_t *shape = sizes[n / 2], count = shape[0] * shape[1];
        gc_case c = {.name = "multiply", .build = build_multiply};
        sg_real *a = gc_add(&c, "a", 2, shape, 1, 1), *b = a;
        if (n % 2 == 1) b = gc_add(&c, "b", 2, shape, 1, 2);
        gc_check(&c);
        sg_real *y = gc_room(count);
        gc_forward(&c, y, count);
        for (int64_t i = 0; i < count; i++)
            assert_true(y[i] == a[i] * b[i]);
        sg_free(y);
        gc_free(&c);
    }
}

static sg_tensor *build_scale_rows(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_scale_rows(tape, in[0], in[1]);
}

static void test_scale_rows(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{1, 1}, {7, 5}, {3, 130}, {900, 41}}; // the last: two chunks
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        int64_t rows = sizes[n][0], d = sizes[n][1];
        gc_case c = {.name = "scale_rows", .build = build_scale_rows};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1, 1);
        sg_real *s = gc_add(&c, "s", 2, (int64_t[]){rows, 1}, 1, 2);
        gc_check(&c);
        sg_real *y = gc_room(rows * d);
        gc_forward(&c, y, rows * d);
        for (int64_t i = 0; i < rows * d; i++)
            assert_true(y[i] == x[i] * s[i / d]);
        sg_free(y);
        gc_free(&c);
    }
}

static sg_tensor *build_unit_rows(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_unit_rows(tape, in[0]);
}

static void test_unit_rows(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{1, 2}, {7, 5}, {3, 130}, {900, 41}};
    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        int64_t rows = sizes[n][0], d = sizes[n][1];
        gc_case c = {.name = "unit_rows", .build = build_unit_rows};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1, 1);
        gc_check(&c);
        if (rows > 1) memset(x + d, 0, (size_t)d * sizeof *x);
        sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
        gc_forward(&c, y, rows * d);
        for (int64_t r = 0; r < rows; r++) {
            double squares = 0;
            for (int64_t i = 0; i < d; i++)
                squares += x[r * d + i] * x[r * d + i];
            for (int64_t i = 0; i < d; i++)
                expected[r * d + i] = squares > 0 ? x[r * d + i] / sqrt(squares) : 0;
        }
        gc_expect_close("unit_rows", y, expected, rows * d);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

static sg_tensor *build_softmax(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_softmax(tape, in[0], *(const int64_t *)c->user);
}

static void test_softmax(void **state)
{
    (void)state;
    const int64_t widths[] = {1, 3, 4, 12};
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        int64_t width = widths[s], count = 5 * 12;
        gc_case c = {.name = "softmax", .build = build_softmax, .user = &width};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){5, 12}, 3, 1);
        gc_check(&c);
        sg_real *y = gc_room(count), *expected = gc_room(count);
        gc_forward(&c, y, count);
        for (int64_t g = 0; g < count; g += width) {
            double sum = 0;
            for (int64_t i = 0; i < width; i++)
                sum += exp(x[g + i]);
            for (int64_t i = 0; i < width; i++)
                expected[g + i] = exp(x[g + i]) / sum;
        }
        gc_expect_close(c.name, y, expected, count);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

// ---- selection --------------------------------------------------------------------------------

typedef struct select_user {
    int64_t rows, channels, n, k;
    bool product;
} select_user;

static sg_tensor *build_select(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const select_user *u = c->user;
    return (u->product ? sg_product_topk : sg_topk)(tape, in[0], u->channels, u->k).scores;
}

// All candidates of a row and channel.
static int64_t select_candidates(const select_user *u, const sg_real *row, int64_t channel,
                                 sg_real *out)
{
    const sg_real *a = row + channel * u->n, *b = a + u->channels * u->n;
    for (int64_t i = 0; i < u->n && !u->product; i++)
        out[i] = a[i];
    for (int64_t i = 0; i < u->n * u->n && u->product; i++)
        out[i] = a[i / u->n] + b[i % u->n];
    return u->product ? u->n * u->n : u->n;
}

static int descending(const void *a, const void *b)
{
    const sg_real *x = a, *y = b;
    return *x < *y ? 1 : -(*x > *y);
}

// The k best scores, by sorting all of them; false when two neighbours are closer than a
// perturbation could move them.
static bool select_expected(const select_user *u, const sg_real *x, sg_real *expected)
{
    int64_t parts = u->product ? 2 : 1, width = parts * u->channels * u->n;
    bool apart = true;
    sg_real *all = gc_room(u->n * u->n);
    for (int64_t i = 0; i < u->rows * u->channels; i++) {
        int64_t count = select_candidates(u, x + i / u->channels * width, i % u->channels, all);
        qsort(all, (size_t)count, sizeof *all, descending);
        memcpy(expected + i * u->k, all, (size_t)u->k * sizeof *all);
        for (int64_t j = 0; j < u->k && j + 1 < count; j++)
            apart = apart && all[j] - all[j + 1] > 1e-3;
    }
    sg_free(all);
    return apart;
}

static void check_select(int64_t rows, int64_t channels, int64_t n, int64_t k, bool product)
{
    select_user u = {rows, channels, n, k, product};
    int64_t count = rows * channels * k;
    sg_real *expected = gc_room(count), *y = gc_room(count);
    for (uint64_t seed = 0;; seed++) {
        if (seed == 500) fail_msg("no seed of 500 gives scores that are well apart");
        gc_case c = {.name = product ? "product_topk" : "topk",
                     .build = build_select,
                     .user = &u,
                     .components = 60};
        sg_real *x =
            gc_add(&c, "x", 2, (int64_t[]){rows, (product ? 2 : 1) * channels * n}, 1, seed);
        bool apart = select_expected(&u, x, expected);
        if (apart) {
            gc_check(&c);
            gc_forward(&c, y, count);
            gc_expect_close(c.name, y, expected, count);
        }
        gc_free(&c);
        if (apart) break;
    }
    sg_free(expected);
    sg_free(y);
}

static void test_select(void **state)
{
    (void)state;
    check_select(5, 2, 7, 3, false);
    check_select(1, 1, 1, 1, false);
    check_select(3, 1, 5, 5, false);
    check_select(40, 3, 9, 2, false);
    check_select(5, 2, 4, 3, true);
    check_select(1, 1, 3, 1, true);
    check_select(3, 2, 4, 4, true);
    check_select(20, 3, 6, 4, true);
}

// ---- the last rows ----------------------------------------------------------------------------

static sg_tensor *build_last(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_take_last(tape, in[0], 4);
}

static void test_take_last(void **state)
{
    (void)state;
    gc_case c = {.name = "take_last", .build = build_last};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){12, 5}, 1, 1), y[15];
    gc_forward(&c, y, 15);
    for (int b = 0; b < 3; b++)
        assert_memory_equal(y + 5 * b, x + (4 * b + 3) * 5, 5 * sizeof *x);
    gc_free(&c);
}

// ---- cross-entropy ----------------------------------------------------------------------------

typedef struct entropy_user {
    ids_list targets;
    sg_loss_stats *stats;
    sg_compute_kind kind;
} entropy_user;

static sg_tensor *build_entropy(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const entropy_user *u = c->user;
    sg_tensor *targets = sg_tape_leaf(tape, "targets", SG_KIND_INT, 1, &u->targets.count,
                                      u->targets.ids, NULL, false);
    sg_tape_compute(tape, SG_COMPUTE_F32, u->kind);
    if (c->n_in > 2)
        return sg_cross_entropy_adapted(tape, in[0], in[1], targets, u->stats, in[2], in[3], 0.7);
    return sg_cross_entropy(tape, in[0], in[1], targets, u->stats);
}

// What the statistics must be.
static sg_loss_stats entropy_expected(const entropy_user *u, const sg_real *x, const sg_real *w,
                                      int64_t vocab, int64_t d)
{
    sg_loss_stats stats = {.normaliser = u->stats->normaliser};
    sg_real *logits = gc_room(vocab);
    for (int64_t r = 0; r < u->targets.count; r++) {
        double sum = 0;
        int64_t best = 0, target = u->targets.ids[r];
        for (int64_t v = 0; v < vocab; v++) {
            logits[v] = 0;
            for (int64_t i = 0; i < d; i++)
                logits[v] += x[r * d + i] * w[v * d + i];
            sum += exp(logits[v]);
            if (logits[v] > logits[best]) best = v;
        }
        if (target < 0) continue;
        stats.tokens++;
        stats.loss_sum += log(sum) - logits[target];
        stats.correct += best == target;
    }
    sg_free(logits);
    return stats;
}

static void check_entropy(int64_t rows, int64_t vocab, int64_t d, double normaliser, double masked)
{
    sg_loss_stats stats = {.normaliser = normaliser};
    entropy_user u = {
        {sg_alloc_array((size_t)rows, sizeof(int32_t)), rows}, &stats, SG_COMPUTE_F32};
    assert_non_null(u.targets.ids);
    for (int64_t r = 0; r < rows; r++)
        u.targets.ids[r] = sg_rng_uniform(4, 1, (uint64_t)r) < masked
                               ? -1 - (int32_t)(r % 2) * 99
                               : (int32_t)sg_rng_below(4, 2, (uint64_t)r, (uint64_t)vocab);
    gc_case c = {.name = "cross_entropy",
                 .build = build_entropy,
                 .user = &u,
                 .own_loss = true,
                 .components = rows > 1000 ? 5 : 0};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1, 1);
    sg_real *w = gc_add(&c, "w", 2, (int64_t[]){vocab, d}, 1, 2);
    gc_check(&c);
    u.kind = SG_COMPUTE_BF16X3;
    gc_check(&c);
    sg_loss_stats expected = entropy_expected(&u, x, w, vocab, d);
    sg_real loss;
    gc_forward(&c, &loss, 1);
    assert_int_equal(stats.tokens, expected.tokens);
    assert_int_equal(stats.correct, expected.correct);
    assert_true(fabs(stats.loss_sum - expected.loss_sum) <= 1e-12 * (1 + expected.loss_sum));
    assert_true(fabs(loss - expected.loss_sum / normaliser) <= 1e-12 * (1 + loss));
    sg_free(u.targets.ids);
    gc_free(&c);
}

static void test_cross_entropy(void **state)
{
    (void)state;
    check_entropy(7, 5, 3, 7, 0);
    check_entropy(1, 1, 1, 1, 0);
    check_entropy(20, 11, 4, 3, 0.4);
    check_entropy(5, 4, 2, 1, 1);         // no target has weight
    check_entropy(2100, 3, 2, 2000, 0.1); // three blocks of rows
    check_entropy(400, 300, 2, 40, 0.2);  // several chunks
}

// An adapter of the classifier is as many columns more of x and W.
static void check_entropy_adapted(int64_t rows, int64_t vocab, int64_t d, int64_t r)
{
    sg_loss_stats stats = {.normaliser = (double)rows};
    entropy_user user = {
        {sg_alloc_array((size_t)rows, sizeof(int32_t)), rows}, &stats, SG_COMPUTE_F32};
    assert_non_null(user.targets.ids);
    for (int64_t i = 0; i < rows; i++)
        user.targets.ids[i] =
            (int32_t)sg_rng_below(4, 2, (uint64_t)i, (uint64_t)vocab) - (i % 5 == 4);
    gc_case c = {.name = "adapted cross_entropy",
                 .build = build_entropy,
                 .user = &user,
                 .own_loss = true,
                 .components = rows > 1000 ? 5 : 0};
    gc_case wide = {.name = "wide", .build = build_entropy, .user = &user, .own_loss = true};
    const sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1, 1);
    const sg_real *w = gc_add(&c, "w", 2, (int64_t[]){vocab, d}, 1, 2);
    const sg_real *u = gc_add(&c, "u", 2, (int64_t[]){rows, r}, 0.5, 3);
    const sg_real *b = gc_add(&c, "b", 2, (int64_t[]){vocab, r}, 1, 4);
    sg_real *wide_x = gc_add(&wide, "x", 2, (int64_t[]){rows, d + r}, 1, 1);
    sg_real *wide_w = gc_add(&wide, "w", 2, (int64_t[]){vocab, d + r}, 1, 2);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < d + r; j++)
            wide_x[i * (d + r) + j] = j < d ? x[i * d + j] : 0.7 * u[i * r + j - d];
    for (int64_t i = 0; i < vocab; i++)
        for (int64_t j = 0; j < d + r; j++)
            wide_w[i * (d + r) + j] = j < d ? w[i * d + j] : b[i * r + j - d];
    gc_check(&c);
    user.kind = SG_COMPUTE_BF16X3;
    gc_check(&c);
    sg_real found, expected;
    gc_forward(&c, &found, 1);
    gc_forward(&wide, &expected, 1);
    assert_true(fabs(found - expected) <= 1e-12 * expected);
    sg_free(user.targets.ids);
    gc_free(&c);
    gc_free(&wide);
}

static void test_cross_entropy_adapted(void **state)
{
    (void)state;
    check_entropy_adapted(7, 5, 3, 2);
    check_entropy_adapted(1, 2, 1, 1);
    check_entropy_adapted(1030, 3, 2, 2); // two blocks of rows
    check_entropy_adapted(40, 30, 2, 5);
}

// Logits that are all alike: the loss is ln V, and only the first column counts as the answer.
static void test_cross_entropy_uniform(void **state)
{
    (void)state;
    int32_t ids[] = {0, 1, 2, 0, -1, 6};
    sg_loss_stats stats = {.normaliser = 5};
    entropy_user u = {{ids, 6}, &stats, SG_COMPUTE_F32};
    gc_case c = {.name = "uniform logits", .build = build_entropy, .user = &u, .own_loss = true};
    gc_add(&c, "x", 2, (int64_t[]){6, 3}, 0, 1);
    gc_add(&c, "w", 2, (int64_t[]){7, 3}, 1, 2);
    sg_real loss;
    gc_forward(&c, &loss, 1);
    assert_true(fabs(loss - log(7)) < 1e-14);
    assert_int_equal(stats.tokens, 5);
    assert_int_equal(stats.correct, 2);
    // Where two columns share the maximum the lower one is the answer.
    for (int r = 0; r < 6; r++)
        c.in[0].data[3 * r] = 1;
    for (int v = 0; v < 7; v++)
        c.in[1].data[3 * v] = v == 1 || v == 2 ? 50 : -50;
    gc_forward(&c, &loss, 1);
    assert_int_equal(stats.correct, 1);
    gc_free(&c);
}

// ---- the same tensor twice, and values in between
// ------------------------------------------------

// A chain in which every operation reads values the tape owns, each of them more than once.
static sg_tensor *build_chain(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    const sg_glu_form form = {.kind = SG_GLU_CLAMPED};
    sg_tensor *a = sg_linear(tape, in[0], in[1], in[2]);
    sg_tensor *b = sg_rmsnorm(tape, a, in[2], 1e-6);
    sg_tensor *s = sg_softmax(tape, a, 2);
    sg_tensor *g = sg_activate(tape, a, SG_ACT_GELU);
    sg_tensor *u = sg_glu(tape, sg_reshape(tape, a, 2, (int64_t[]){3, 8}), &form);
    sg_tensor *t = sg_attention(tape, a, a, b, &(sg_attention_options){.length = 3, .heads = 2});
    sg_tensor *w = sg_linear(tape, u, sg_reshape(tape, in[1], 2, (int64_t[]){5, 4}), NULL);
    sg_tensor *v = sg_linear(tape, w, sg_reshape(tape, in[1], 2, (int64_t[]){4, 5}), NULL);
    sg_tensor *sum = sg_add(tape, sg_add(tape, b, s), sg_add(tape, g, t));
    sg_tensor *group =
        sg_linear_groups(tape, a, sg_reshape(tape, in[1], 3, (int64_t[]){2, 5, 2}), 0.5);
    sg_tensor *tied = sg_linear(tape, sum, sum, NULL); // (6, 4) (6, 4)^T
    sg_tensor *x = sg_add(tape, sg_reshape(tape, tied, 2, (int64_t[]){9, 4}),
                          sg_reshape(tape, tied, 2, (int64_t[]){9, 4}));
    sg_tensor *twelve =
        sg_add(tape, v, sg_reshape(tape, sg_glu(tape, a, &form), 2, (int64_t[]){3, 4}));
    sg_tensor *join = sg_linear(tape, x, twelve, NULL); // (9, 3)
    sg_tensor *row = sg_linear(tape, sg_reshape(tape, join, 2, (int64_t[]){1, 27}),
                               sg_reshape(tape, join, 2, (int64_t[]){1, 27}), NULL);
    sg_tensor *wide = sg_linear(tape, sg_reshape(tape, group, 2, (int64_t[]){60, 1}), row, NULL);
    return wide;
}

static void test_chain(void **state)
{
    (void)state;
    gc_case c = {.name = "chain", .build = build_chain};
    gc_add(&c, "x", 2, (int64_t[]){6, 5}, 1, 1);
    gc_add(&c, "w", 2, (int64_t[]){4, 5}, 0.5, 2);
    gc_add(&c, "b", 1, (int64_t[]){4}, 0.5, 3);
    gc_check(&c);
    gc_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_groups),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_activate),
        cmocka_unit_test(test_glu),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_clamp),
        cmocka_unit_test(test_multiply),
        cmocka_unit_test(test_scale_rows),
        cmocka_unit_test(test_unit_rows),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_take_last),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_uniform),
        cmocka_unit_test(test_cross_entropy_adapted),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
