// Every operation of op/op.h: gradients by differences, the laws of gradcheck.h, and results against
// the plainest way to compute them.
#include "grad/gradcheck.h"

static void expect_close(const char *what, const sg_real *found, const sg_real *expected,
                         int64_t count)
{
    double largest = gc_largest(expected, count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(found[i] - expected[i]) <= 1e-12 * (1 + largest)))
            fail_msg("%s: element %lld is %.17g, expected %.17g", what, (long long)i, found[i],
                     expected[i]);
}

static sg_real *room(int64_t count)
{
    sg_real *values = sg_alloc_zero((size_t)count, sizeof *values);
    assert_non_null(values);
    return values;
}

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
        sg_real *y = room(rows * d), *expected = room(rows * d);
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
    sg_real *y = room(rows * n), *expected = room(rows * n);
    gc_forward(&c, y, rows * n);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            sg_real sum = b ? b[j] : 0;
            for (int64_t i = 0; i < k; i++)
                sum += x[r * k + i] * w[j * k + i];
            expected[r * n + j] = sum;
        }
    expect_close(c.name, y, expected, rows * n);
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
        sg_real *y = room(rows * groups * n), *expected = room(rows * groups * n);
        gc_forward(&c, y, rows * groups * n);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t g = 0; g < groups; g++)
                for (int64_t j = 0; j < n; j++)
                    for (int64_t i = 0; i < k; i++)
                        expected[(r * groups + g) * n + j] +=
                            groups_scale * x[(r * groups + g) * k + i] * w[(g * n + j) * k + i];
        expect_close(c.name, y, expected, rows * groups * n);
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
        sg_real *y = room(rows * d), *expected = room(rows * d);
        gc_forward(&c, y, rows * d);
        for (int64_t r = 0; r < rows; r++) {
            double squares = 0;
            for (int64_t i = 0; i < d; i++)
                squares += x[r * d + i] * x[r * d + i];
            for (int64_t i = 0; i < d; i++)
                expected[r * d + i] = x[r * d + i] / sqrt(squares / (double)d + 1e-6) * w[i];
        }
        expect_close(c.name, y, expected, rows * d);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

// ---- rotary positions -------------------------------------------------------------------------

typedef struct rope_user {
    sg_rope_table table;
    int64_t length, start[3]; // by sequence; -1: none
} rope_user;

static sg_tensor *build_rope(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const rope_user *u = c->user;
    return sg_rope(tape, in[0], &u->table, u->length, u->start[0] < 0 ? NULL : u->start);
}

static void check_rope(int64_t batch, int64_t length, int64_t heads, int64_t head_dim,
                       int64_t start)
{
    // Sequences stand at positions of their own.
    rope_user u = {.length = length, .start = {start, start + 2, start + 1}};
    const double theta = 10000;
    sg_error err;
    assert_int_equal(sg_rope_table_new(&u.table, 40, head_dim, theta, &err), SG_OK);
    int64_t rows = batch * length, width = heads * head_dim, half = head_dim / 2;
    gc_case c = {.name = "rope", .build = build_rope, .user = &u};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, width}, 1, 1);
    gc_check(&c);
    sg_real *y = room(rows * width), *expected = room(rows * width);
    gc_forward(&c, y, rows * width);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < half; i++) {
                double position = (double)(r % length + (start < 0 ? 0 : u.start[r / length]));
                double angle = position / pow(theta, (double)i / (double)half);
                const sg_real *from = x + r * width + h * head_dim + i;
                sg_real *to = expected + r * width + h * head_dim + i;
                to[0] = from[0] * cos(angle) - from[half] * sin(angle);
                to[half] = from[half] * cos(angle) + from[0] * sin(angle);
            }
    expect_close(c.name, y, expected, rows * width);
    sg_free(y);
    sg_free(expected);
    sg_rope_table_free(&u.table);
    gc_free(&c);
}

static void test_rope(void **state)
{
    (void)state;
    check_rope(1, 1, 1, 2, -1);
    check_rope(2, 5, 3, 4, -1);
    check_rope(2, 5, 3, 4, 0);
    check_rope(3, 4, 2, 8, 17);
    check_rope(1, 40, 1, 6, -1);
}

// ---- attention --------------------------------------------------------------------------------

typedef struct attention_user {
    int64_t batch, length, heads, head_dim;
    bool same; // q, k and v are one tensor
} attention_user;

static sg_tensor *build_attention(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const attention_user *u = c->user;
    return sg_attention(tape, in[0], in[u->same ? 0 : 1], in[u->same ? 0 : 2], u->length, u->heads);
}

// The whole matrix of one head of one sequence: p (T, T).
static void naive_probabilities(const attention_user *u, const sg_real *q, const sg_real *k,
                                sg_real *p)
{
    int64_t T = u->length, width = u->heads * u->head_dim;
    for (int64_t i = 0; i < T; i++) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j <= i; j++) {
            double s = 0;
            for (int64_t e = 0; e < u->head_dim; e++)
                s += q[i * width + e] * k[j * width + e];
            p[i * T + j] = s / sqrt((double)u->head_dim);
            if (p[i * T + j] > top) top = p[i * T + j];
        }
        for (int64_t j = 0; j <= i; j++)
            sum += p[i * T + j] = exp(p[i * T + j] - top);
        for (int64_t j = 0; j < T; j++)
            p[i * T + j] = j <= i ? p[i * T + j] / sum : 0;
    }
}

typedef struct naive_attention {
    sg_real *y, *dq, *dk, *dv;
} naive_attention;

// Result and gradients of sum_i w_i y_i, w the weights of gradcheck.h.
static void naive_head(const attention_user *u, const sg_real *q, const sg_real *k,
                       const sg_real *v, int64_t at, const naive_attention *out, sg_real *p)
{
    int64_t T = u->length, width = u->heads * u->head_dim;
    double scale = 1 / sqrt((double)u->head_dim);
    naive_probabilities(u, q + at, k + at, p);
    for (int64_t i = 0; i < T; i++) {
        double mean = 0; // of dP under P
        for (int64_t pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j <= i; j++) {
                double dp = 0;
                for (int64_t e = 0; e < u->head_dim; e++)
                    dp += gc_weight(at + i * width + e) * v[at + j * width + e];
                if (pass == 0) {
                    mean += p[i * T + j] * dp;
                    continue;
                }
                double ds = p[i * T + j] * (dp - mean) * scale;
                for (int64_t e = 0; e < u->head_dim; e++) {
                    int64_t a = at + i * width + e, b = at + j * width + e;
                    out->y[a] += p[i * T + j] * v[b];
                    out->dq[a] += ds * k[b];
                    out->dk[b] += ds * q[a];
                    out->dv[b] += p[i * T + j] * gc_weight(a);
                }
            }
    }
}

static void compare_attention(const gc_case *c, const attention_user *u)
{
    int64_t T = u->length, width = u->heads * u->head_dim, count = u->batch * T * width;
    naive_attention naive = {room(count), room(count), room(count), room(count)};
    sg_real *p = room(T * T), *y = room(count);
    const sg_real *q = c->in[0].data, *k = c->in[1].data, *v = c->in[2].data;
    for (int64_t b = 0; b < u->batch; b++)
        for (int64_t h = 0; h < u->heads; h++)
            naive_head(u, q, k, v, b * T * width + h * u->head_dim, &naive, p);
    gc_forward(c, y, count);
    expect_close("attention", y, naive.y, count);
    gc_pass pass = {.threads = 1};
    gc_pass_new(c, &pass, NAN);
    gc_run(c, &pass);
    expect_close("attention, dq", pass.grads[0], naive.dq, count);
    expect_close("attention, dk", pass.grads[1], naive.dk, count);
    expect_close("attention, dv", pass.grads[2], naive.dv, count);
    gc_pass_free(c, &pass);
    sg_free(naive.y);
    sg_free(naive.dq);
    sg_free(naive.dk);
    sg_free(naive.dv);
    sg_free(p);
    sg_free(y);
}

static void check_attention(int64_t batch, int64_t length, int64_t heads, int64_t head_dim,
                            double scale)
{
    attention_user u = {batch, length, heads, head_dim, false};
    gc_case c = {.name = "attention",
                 .build = build_attention,
                 .user = &u,
                 .components = length > 100 ? 2 : 0};
    const int64_t shape[] = {batch * length, heads * head_dim};
    gc_add(&c, "q", 2, shape, scale, 1);
    gc_add(&c, "k", 2, shape, scale, 2);
    gc_add(&c, "v", 2, shape, 1, 3);
    compare_attention(&c, &u);
    gc_check(&c);
    gc_free(&c);
}

static void test_attention(void **state)
{
    (void)state;
    check_attention(1, 1, 1, 4, 1);
    check_attention(2, 5, 3, 4, 1);
    check_attention(3, 5, 2, 16, 1);
    check_attention(2, 127, 1, 4, 1);
    check_attention(1, 128, 2, 6, 1);
    check_attention(1, 129, 3, 4, 1);
    check_attention(1, 300, 2, 8, 1);
    check_attention(1, 255, 1, 4, 1); // about a tile, and a block of the second
    check_attention(2, 256, 1, 3, 1);
    check_attention(1, 257, 2, 4, 1);
    check_attention(1, 321, 1, 5, 1);
    check_attention(1, 600, 1, 4, 1);
    check_attention(1, 300, 1, 4, 4); // maxima that rise from tile to tile
}

// One tensor as query, key and value: three gradients meet in one place.
static void test_attention_of_itself(void **state)
{
    (void)state;
    for (int64_t length = 5; length <= 300; length += 125) {
        attention_user u = {2, length, 2, 4, true};
        gc_case c = {
            .name = "attention of itself", .build = build_attention, .user = &u, .components = 6};
        gc_add(&c, "x", 2, (int64_t[]){2 * length, 8}, 1, 1);
        gc_check(&c);
        gc_free(&c);
    }
}

typedef struct cached_user {
    int64_t length, heads, start[2];
    sg_kv_cache caches[2];
} cached_user;

static sg_tensor *build_cached(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const cached_user *u = c->user;
    return sg_attention_cached(tape, in[0], in[1], in[2], u->length, u->heads, u->caches, u->start);
}

// Feeds `length` positions from `start` on of each sequence, and puts their results in place.
static void cached_part(const gc_case *full, cached_user *u, int64_t total, int64_t width,
                        sg_real *y)
{
    const int64_t batches = 2, part = u->length * width;
    gc_case c = {.name = "cached attention", .build = build_cached, .user = u};
    for (int i = 0; i < 3; i++) {
        sg_real *data =
            gc_add(&c, full->in[i].name, 2, (int64_t[]){batches * u->length, width}, 0, 1);
        for (int64_t b = 0; b < batches; b++)
            memcpy(data + b * part, full->in[i].data + (b * total + u->start[b]) * width,
                   (size_t)part * sizeof *data);
    }
    sg_real *here = room(batches * part);
    gc_forward(&c, here, batches * part);
    for (int64_t b = 0; b < batches; b++)
        memcpy(y + (b * total + u->start[b]) * width, here + b * part, (size_t)part * sizeof *y);
    sg_free(here);
    gc_free(&c);
}

// In any cut into parts, down to single tokens, caches give what the whole sequences give.
static void test_attention_cached(void **state)
{
    (void)state;
    const int64_t cuts[][4] = {{5, 1, 1, 1}, {131, 1, 1, 1}, {1, 7, 127, 128}, {128, 129, 6, 1}};
    const int64_t heads = 3, width = 12;
    for (size_t n = 0; n < sizeof cuts / sizeof *cuts; n++) {
        int64_t total = cuts[n][0] + cuts[n][1] + cuts[n][2] + cuts[n][3];
        attention_user whole = {2, total, heads, 4, false};
        gc_case c = {.name = "attention", .build = build_attention, .user = &whole};
        const char *names[] = {"q", "k", "v"};
        for (uint64_t i = 0; i < 3; i++)
            gc_add(&c, names[i], 2, (int64_t[]){2 * total, width}, 1, i);
        sg_real *expected = room(2 * total * width), *y = room(2 * total * width);
        gc_forward(&c, expected, 2 * total * width);
        cached_user u = {.heads = heads};
        for (int b = 0; b < 2; b++) {
            u.caches[b].k = room(total * width);
            u.caches[b].v = room(total * width);
        }
        for (int part = 0; part < 4; part++) {
            u.length = cuts[n][part];
            cached_part(&c, &u, total, width, y);
            u.start[0] += u.length;
            u.start[1] += u.length;
        }
        expect_close("cached attention", y, expected, 2 * total * width);
        for (int b = 0; b < 2; b++) {
            sg_free(u.caches[b].k);
            sg_free(u.caches[b].v);
        }
        sg_free(expected);
        sg_free(y);
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

static sg_tensor *build_swiglu(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_swiglu(tape, in[0]);
}

// Gates and linear parts below, between and above the clamps at 7, and on no clamp.
static void test_swiglu(void **state)
{
    (void)state;
    const double gates[] = {-20, -7.5, -3, -0.2, 0, 0.4, 2, 6.8, 7.2, 15};
    const double linears[] = {-12, -7.3, -6.7, -1, -0.3, 0, 1.5, 6.7, 7.3, 30};
    const int64_t f = 10, rows = 10;
    gc_case c = {.name = "swiglu", .build = build_swiglu, .components = 200};
    sg_real *u = gc_add(&c, "u", 2, (int64_t[]){rows, 2 * f}, 1, 1);
    sg_real *y = room(rows * f), *expected = room(rows * f);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < f; i++) {
            double gate = gates[i], linear = linears[(r + i) % 10];
            u[r * 2 * f + i] = gate;
            u[r * 2 * f + f + i] = linear;
            gate = fmin(gate, 7);
            linear = fmax(fmin(linear, 7), -7);
            expected[r * f + i] = gate / (1 + exp(-1.702 * gate)) * (linear + 1);
        }
    gc_check(&c);
    gc_forward(&c, y, rows * f);
    expect_close("swiglu", y, expected, rows * f);
    // What was cut has no gradient at all.
    gc_pass pass = {.threads = 1};
    gc_pass_new(&c, &pass, NAN);
    gc_run(&c, &pass);
    for (int64_t i = 0; i < rows * 2 * f; i++) {
        bool gate = i % (2 * f) < f;
        bool cut = u[i] > 7 || (!gate && u[i] < -7);
        if (cut) assert_true(pass.grads[0][i] == 0);
    }
    gc_pass_free(&c, &pass);
    sg_free(y);
    sg_free(expected);
    gc_free(&c);
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
        sg_real *y = room(count), *expected = room(count);
        gc_forward(&c, y, count);
        for (int64_t g = 0; g < count; g += width) {
            double sum = 0;
            for (int64_t i = 0; i < width; i++)
                sum += exp(x[g + i]);
            for (int64_t i = 0; i < width; i++)
                expected[g + i] = exp(x[g + i]) / sum;
        }
        expect_close(c.name, y, expected, count);
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
    sg_real *all = room(u->n * u->n);
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
    sg_real *expected = room(count), *y = room(count);
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
            expect_close(c.name, y, expected, count);
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
} entropy_user;

static sg_tensor *build_entropy(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const entropy_user *u = c->user;
    sg_tensor *targets = sg_tape_leaf(tape, "targets", SG_KIND_INT, 1, &u->targets.count,
                                      u->targets.ids, NULL, false);
    return sg_cross_entropy(tape, in[0], in[1], targets, u->stats);
}

// What the statistics must be.
static sg_loss_stats entropy_expected(const entropy_user *u, const sg_real *x, const sg_real *w,
                                      int64_t vocab, int64_t d)
{
    sg_loss_stats stats = {.normaliser = u->stats->normaliser};
    sg_real *logits = room(vocab);
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
    entropy_user u = {{sg_alloc_array((size_t)rows, sizeof(int32_t)), rows}, &stats};
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

// Logits that are all alike: the loss is ln V, and only the first column counts as the answer.
static void test_cross_entropy_uniform(void **state)
{
    (void)state;
    int32_t ids[] = {0, 1, 2, 0, -1, 6};
    sg_loss_stats stats = {.normaliser = 5};
    entropy_user u = {{ids, 6}, &stats};
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

// ---- the same tensor twice, and values in between ------------------------------------------------

// A chain in which every operation reads values the tape owns, each of them more than once.
static sg_tensor *build_chain(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    sg_tensor *a = sg_linear(tape, in[0], in[1], in[2]);
    sg_tensor *b = sg_rmsnorm(tape, a, in[2], 1e-6);
    sg_tensor *s = sg_softmax(tape, a, 2);
    sg_tensor *g = sg_activate(tape, a, SG_ACT_GELU);
    sg_tensor *u = sg_swiglu(tape, sg_reshape(tape, a, 2, (int64_t[]){3, 8}));
    sg_tensor *t = sg_attention(tape, a, a, b, 3, 2);
    sg_tensor *w = sg_linear(tape, u, sg_reshape(tape, in[1], 2, (int64_t[]){5, 4}), NULL);
    sg_tensor *v = sg_linear(tape, w, sg_reshape(tape, in[1], 2, (int64_t[]){4, 5}), NULL);
    sg_tensor *sum = sg_add(tape, sg_add(tape, b, s), sg_add(tape, g, t));
    sg_tensor *group =
        sg_linear_groups(tape, a, sg_reshape(tape, in[1], 3, (int64_t[]){2, 5, 2}), 0.5);
    sg_tensor *tied = sg_linear(tape, sum, sum, NULL); // (6, 4) (6, 4)^T
    sg_tensor *x = sg_add(tape, sg_reshape(tape, tied, 2, (int64_t[]){9, 4}),
                          sg_reshape(tape, tied, 2, (int64_t[]){9, 4}));
    sg_tensor *twelve = sg_add(tape, v, sg_reshape(tape, sg_swiglu(tape, a), 2, (int64_t[]){3, 4}));
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
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_groups),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_of_itself),
        cmocka_unit_test(test_attention_cached),
        cmocka_unit_test(test_activate),
        cmocka_unit_test(test_swiglu),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_take_last),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_cross_entropy_uniform),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
