// Attention against the whole matrix of probabilities, by differences, and with caches against
// whole sequences: fewer key heads than query heads, windows, sinks, scales, and any of them
// together.
#include "grad/gradcheck.h"
#include "op/observe.h"

typedef struct attention_user {
    int64_t batch, length, heads, head_dim, kv_heads, window;
    double scale; // 0: as published
    bool sinks;   // input 3
    bool same;    // q, k and v are one tensor
    bool open;    // the weights exist
    sg_compute_kind kind;
} attention_user;

static int64_t user_width(const attention_user *u)
{
    return u->heads * u->head_dim;
}

static int64_t user_key_width(const attention_user *u)
{
    return (u->kv_heads ? u->kv_heads : u->heads) * u->head_dim;
}

static sg_attention_options user_options(const attention_user *u, sg_tensor *const *in)
{
    return (sg_attention_options){.length = u->length,
                                  .heads = u->heads,
                                  .kv_heads = u->kv_heads,
                                  .window = u->window,
                                  .sinks = u->sinks ? in[3] : NULL,
                                  .scale = u->scale};
}

static sg_tensor *build_attention(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const attention_user *u = c->user;
    sg_attention_options options = user_options(u, in);
    sg_tensor *k = in[u->same ? 0 : 1], *v = in[u->same ? 0 : 2];
    sg_tape_compute(tape, u->kind, u->kind);
    return u->open ? sg_attention_open(tape, in[0], k, v, &options, u->length)
                   : sg_attention(tape, in[0], k, v, &options);
}

// ---- the whole matrix ---------------------------------------------------------------------------

static double user_scale(const attention_user *u)
{
    return u->scale > 0 ? u->scale : 1 / sqrt((double)u->head_dim);
}

static bool user_sees(const attention_user *u, int64_t query, int64_t key)
{
    return key <= query && (u->window == 0 || key > query - u->window);
}

// Of one head of one sequence: p (T, T), and of each row what the sink takes, p_sink (T).
static void naive_probabilities(const attention_user *u, const sg_real *q, const sg_real *k,
                                const sg_real *sink, sg_real *p, sg_real *p_sink)
{
    int64_t T = u->length, width = user_width(u), key_width = user_key_width(u);
    for (int64_t i = 0; i < T; i++) {
        double top = sink ? *sink : -INFINITY, sum = 0;
        for (int64_t j = 0; j < T; j++) {
            double s = 0;
            for (int64_t e = 0; e < u->head_dim; e++)
                s += q[i * width + e] * k[j * key_width + e];
            p[i * T + j] = user_sees(u, i, j) ? s * user_scale(u) : -INFINITY;
            if (p[i * T + j] > top) top = p[i * T + j];
        }
        p_sink[i] = sink ? exp(*sink - top) : 0;
        sum = p_sink[i];
        for (int64_t j = 0; j < T; j++)
            sum += p[i * T + j] = exp(p[i * T + j] - top);
        for (int64_t j = 0; j < T; j++)
            p[i * T + j] /= sum;
        p_sink[i] /= sum;
    }
}

typedef struct naive_attention {
    sg_real *y, *dq, *dk, *dv, *dsinks, *p, *p_sink;
} naive_attention;

// One row of one head; at, key_at: the head's first number in q and in k.
static void naive_row(const attention_user *u, const gc_case *c, int64_t i, int64_t at,
                      int64_t key_at, int64_t head, const naive_attention *out)
{
    const sg_real *q = c->in[0].data, *k = c->in[1].data, *v = c->in[2].data;
    int64_t T = u->length, width = user_width(u), key_width = user_key_width(u);
    double mean = 0; // of dP under P; the sink's dP is 0
    for (int64_t pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j <= i; j++) {
            double dp = 0, p = out->p[i * T + j];
            for (int64_t e = 0; e < u->head_dim; e++)
                dp += gc_weight(at + i * width + e) * v[key_at + j * key_width + e];
            if (pass == 0) {
                mean += p * dp;
                continue;
            }
            double ds = p * (dp - mean) * user_scale(u);
            for (int64_t e = 0; e < u->head_dim; e++) {
                int64_t a = at + i * width + e, b = key_at + j * key_width + e;
                out->y[a] += p * v[b];
                out->dq[a] += ds * k[b];
                out->dk[b] += ds * q[a];
                out->dv[b] += p * gc_weight(a);
            }
        }
    if (u->sinks) out->dsinks[head] -= out->p_sink[i] * mean;
}

// Result and gradients of sum_i w_i y_i, w the weights of gradcheck.h, against the plain matrix.
static void compare_attention(const gc_case *c, const attention_user *u)
{
    int64_t T = u->length, width = user_width(u), key_width = user_key_width(u);
    int64_t count = u->batch * T * width, key_count = u->batch * T * key_width;
    naive_attention naive = {gc_room(count),     gc_room(count),    gc_room(key_count),
                             gc_room(key_count), gc_room(u->heads), gc_room(T * T),
                             gc_room(T)};
    sg_real *y = gc_room(count);
    for (int64_t b = 0; b < u->batch; b++)
        for (int64_t h = 0; h < u->heads; h++) {
            int64_t shared = width / key_width;
            int64_t at = b * T * width + h * u->head_dim;
            int64_t key_at = b * T * key_width + h / shared * u->head_dim;
            naive_probabilities(u, c->in[0].data + at, c->in[1].data + key_at,
                                u->sinks ? c->in[3].data + h : NULL, naive.p, naive.p_sink);
            for (int64_t i = 0; i < T; i++)
                naive_row(u, c, i, at, key_at, h, &naive);
        }
    gc_forward(c, y, count);
    gc_expect_close("attention", y, naive.y, count);
    gc_pass pass = {.threads = 1};
    gc_pass_new(c, &pass, NAN);
    gc_run(c, &pass);
    gc_expect_close("attention, dq", pass.grads[0], naive.dq, count);
    gc_expect_close("attention, dk", pass.grads[1], naive.dk, key_count);
    gc_expect_close("attention, dv", pass.grads[2], naive.dv, key_count);
    if (u->sinks) gc_expect_close("attention, dsinks", pass.grads[3], naive.dsinks, u->heads);
    gc_pass_free(c, &pass);
    sg_real *all[] = {naive.y,      naive.dq, naive.dk,     naive.dv,
                      naive.dsinks, naive.p,  naive.p_sink, y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sg_free(all[i]);
}

static void add_inputs(gc_case *c, const attention_user *u, double size)
{
    const int64_t rows = u->batch * u->length;
    gc_add(c, "q", 2, (int64_t[]){rows, user_width(u)}, size, 1);
    gc_add(c, "k", 2, (int64_t[]){rows, user_key_width(u)}, size, 2);
    gc_add(c, "v", 2, (int64_t[]){rows, user_key_width(u)}, 1, 3);
    if (u->sinks) gc_add(c, "sinks", 1, &u->heads, size, 4);
}

// Differences of long sequences, each two passes more: sanitizers look at how, not at how well.
#if defined(__SANITIZE_ADDRESS__)
enum { attention_long = 1 };
#else
enum { attention_long = 2 };
#endif

// Also with weights that exist, and through products of another kind: here, where no unit computes
// them, these are as exact as others.
static void check_user(attention_user u, double size)
{
    static const char *const names[] = {"attention", "attention in tiles", "open attention"};
    for (int way = 0; way < 3 && (way < 2 || u.length <= 140); way++) {
        u.kind = way == 1 ? SG_COMPUTE_BF16X3 : SG_COMPUTE_F32;
        u.open = way == 2;
        gc_case c = {.name = names[way],
                     .build = build_attention,
                     .user = &u,
                     .components = u.length > 100 ? attention_long : 0};
        add_inputs(&c, &u, size);
        compare_attention(&c, &u);
        gc_check(&c);
        gc_free(&c);
    }
}

static void check_attention(int64_t batch, int64_t length, int64_t heads, int64_t head_dim,
                            double size)
{
    check_user((attention_user){batch, length, heads, head_dim, .kv_heads = 0}, size);
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
    check_attention(1, 520, 1, 4, 1);
    check_attention(1, 300, 1, 4, 4); // maxima that rise from tile to tile
}

static void test_shared_keys(void **state)
{
    (void)state;
    check_user((attention_user){2, 5, 4, 3, .kv_heads = 2}, 1);
    check_user((attention_user){3, 1, 6, 3, .kv_heads = 2}, 1); // one row: read together
    check_user((attention_user){2, 1, 15, 2, .kv_heads = 3}, 1);
    check_user((attention_user){1, 70, 3, 4, .kv_heads = 1}, 1);
    check_user((attention_user){1, 300, 4, 4, .kv_heads = 2}, 1);
    check_user((attention_user){2, 7, 5, 2, .kv_heads = 5}, 1);
}

static void test_window(void **state)
{
    (void)state;
    check_user((attention_user){2, 9, 2, 3, .window = 1}, 1); // each query sees itself alone
    check_user((attention_user){2, 9, 2, 3, .window = 4}, 1);
    check_user((attention_user){1, 9, 1, 3, .window = 9}, 1);
    check_user((attention_user){1, 9, 1, 3, .window = 100}, 1);
    check_user((attention_user){1, 150, 1, 4, .window = 7}, 1);
    check_user((attention_user){1, 300, 2, 4, .window = 64}, 1);
    check_user((attention_user){1, 400, 1, 2, .window = 256}, 1);
    check_user((attention_user){1, 600, 1, 2, .window = 257}, 4);
    check_user((attention_user){1, 780, 1, 2, .window = 520}, 1); // whole tiles within it
}

static void test_sinks(void **state)
{
    (void)state;
    check_user((attention_user){2, 5, 3, 4, .sinks = true}, 1);
    check_user((attention_user){1, 1, 2, 4, .sinks = true}, 1);
    check_user((attention_user){2, 300, 1, 4, .sinks = true}, 3);
    check_user((attention_user){2, 9, 3, 4, .sinks = true, .scale = 0.3}, 1);
    check_user((attention_user){1, 9, 3, 4, .scale = 1.7}, 1);
}

static void test_together(void **state)
{
    (void)state;
    check_user((attention_user){2, 11, 4, 3, .kv_heads = 2, .window = 3, .sinks = true}, 2);
    check_user((attention_user){2, 1, 8, 3, .kv_heads = 1, .window = 3, .sinks = true}, 1);
    check_user(
        (attention_user){1, 330, 4, 4, .kv_heads = 2, .window = 70, .sinks = true, .scale = 0.7},
        2);
    check_user((attention_user){1, 530, 2, 2, .kv_heads = 1, .window = 300, .sinks = true}, 2);
    // More queries than a chunk of a tile's kind has, whose heads are split.
    check_user((attention_user){1, 1100, 6, 2, .kv_heads = 1, .window = 600, .sinks = true}, 2);
}

// A sink far above all scores takes nearly everything, one far below nothing: not a bit.
static void test_far_sinks(void **state)
{
    (void)state;
    attention_user u = {2, 7, 2, 4, .kv_heads = 1, .sinks = true}, plain = u;
    plain.sinks = false;
    gc_case c = {.name = "sinks", .build = build_attention, .user = &u};
    gc_case without = {.name = "no sinks", .build = build_attention, .user = &plain};
    add_inputs(&c, &u, 1);
    add_inputs(&without, &plain, 1);
    sg_real y[14 * 8], expected[14 * 8];
    gc_forward(&without, expected, 14 * 8);
    const double far[] = {-1000, -INFINITY};
    for (int i = 0; i < 2; i++) {
        c.in[3].data[0] = c.in[3].data[1] = far[i];
        gc_forward(&c, y, 14 * 8);
        assert_memory_equal(y, expected, sizeof y);
    }
    c.in[3].data[0] = c.in[3].data[1] = 1000;
    gc_forward(&c, y, 14 * 8);
    for (int i = 0; i < 14 * 8; i++)
        assert_true(y[i] == 0);
    gc_free(&c);
    gc_free(&without);
}

// One tensor as query, key and value: three gradients meet in one place.
static void test_attention_of_itself(void **state)
{
    (void)state;
    for (int64_t length = 5; length <= 300; length += 125)
        for (int64_t window = 0; window <= 70; window += 70) {
            for (int kind = 0; kind < 2; kind++) {
                attention_user u = {2, length, 2, 4, .window = window, .same = true};
                u.kind = kind ? SG_COMPUTE_BF16X3 : SG_COMPUTE_F32;
                u.open = kind == 0 && length < 100;
                gc_case c = {.name = "attention of itself",
                             .build = build_attention,
                             .user = &u,
                             .components = 6};
                gc_add(&c, "x", 2, (int64_t[]){2 * length, 8}, 1, 1);
                gc_check(&c);
                gc_free(&c);
            }
        }
}

// ---- caches -------------------------------------------------------------------------------------

typedef struct cached_user {
    attention_user part;
    int64_t start[2];
    sg_kv_cache caches[2];
} cached_user;

static sg_tensor *build_cached(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const cached_user *u = c->user;
    sg_attention_options options = user_options(&u->part, in);
    options.caches = u->caches;
    options.start = u->start;
    sg_tape_compute(tape, u->part.kind, u->part.kind);
    return u->part.open ? sg_attention_open(tape, in[0], in[1], in[2], &options, 600)
                        : sg_attention(tape, in[0], in[1], in[2], &options);
}

// Feeds `length` positions from `start` on of each sequence, and puts their results in place.
static void cached_part(const gc_case *full, cached_user *u, int64_t total, sg_real *y)
{
    const int64_t batches = 2, length = u->part.length, out = user_width(&u->part);
    gc_case c = {.name = "cached attention", .build = build_cached, .user = u};
    for (int i = 0; i < 3; i++) {
        const int64_t width = i == 0 ? out : user_key_width(&u->part), part = length * width;
        sg_real *data = gc_add(&c, full->in[i].name, 2, (int64_t[]){batches * length, width}, 0, 1);
        for (int64_t b = 0; b < batches; b++)
            memcpy(data + b * part, full->in[i].data + (b * total + u->start[b]) * width,
                   (size_t)part * sizeof *data);
    }
    if (u->part.sinks)
        memcpy(gc_add(&c, "sinks", 1, &u->part.heads, 0, 1), full->in[3].data,
               (size_t)u->part.heads * sizeof(sg_real));
    sg_real *here = gc_room(batches * length * out);
    gc_forward(&c, here, batches * length * out);
    for (int64_t b = 0; b < batches; b++)
        memcpy(y + (b * total + u->start[b]) * out, here + b * length * out,
               (size_t)(length * out) * sizeof *y);
    sg_free(here);
    gc_free(&c);
}

// In any cut into parts, down to single tokens, caches give what the whole sequences give.
static void check_cached(attention_user whole, const int64_t cut[4])
{
    const int64_t total = whole.length, count = 2 * total * user_width(&whole);
    gc_case c = {.name = "attention", .build = build_attention, .user = &whole};
    add_inputs(&c, &whole, 1);
    sg_real *expected = gc_room(count), *y = gc_room(count);
    gc_forward(&c, expected, count);
    cached_user u = {.part = whole};
    for (int b = 0; b < 2; b++) {
        u.caches[b].k = gc_room(total * user_key_width(&whole));
        u.caches[b].v = gc_room(total * user_key_width(&whole));
        u.caches[b].capacity = total;
    }
    for (int part = 0; part < 4; part++) {
        u.part.length = cut[part];
        cached_part(&c, &u, total, y);
        u.start[0] += cut[part];
        u.start[1] += cut[part];
    }
    gc_expect_close("cached attention", y, expected, count);
    for (int b = 0; b < 2; b++) {
        sg_free(u.caches[b].k);
        sg_free(u.caches[b].v);
    }
    sg_free(expected);
    sg_free(y);
    gc_free(&c);
}

static void test_attention_cached(void **state)
{
    (void)state;
    const int64_t cuts[][4] = {
        {5, 1, 1, 1}, {131, 1, 1, 1}, {1, 7, 127, 128}, {128, 129, 6, 1}, {300, 1, 1, 1}};
    for (size_t n = 0; n < sizeof cuts / sizeof *cuts; n++) {
        int64_t total = cuts[n][0] + cuts[n][1] + cuts[n][2] + cuts[n][3];
        check_cached((attention_user){2, total, 3, 4, .kv_heads = 0}, cuts[n]);
        check_cached((attention_user){2, total, 6, 4, .kv_heads = 2}, cuts[n]);
        check_cached((attention_user){2, total, 7, 2, .kv_heads = 1, .sinks = true}, cuts[n]);
        check_cached((attention_user){2, total, 3, 4, .window = 6}, cuts[n]);
        for (int way = 0; way < 3; way++) {
            attention_user u = {2, total, 4, 4, .kv_heads = 2, .window = 130, .sinks = true};
            u.open = way == 1;
            u.kind = way == 2 ? SG_COMPUTE_BF16X3 : SG_COMPUTE_F32;
            check_cached(u, cuts[n]);
        }
        check_cached((attention_user){2, total, 6, 4, .kv_heads = 2, .kind = SG_COMPUTE_BF16X3},
                     cuts[n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_shared_keys),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_sinks),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_far_sinks),
        cmocka_unit_test(test_attention_of_itself),
        cmocka_unit_test(test_attention_cached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
