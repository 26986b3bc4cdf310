// Attention in every kind of products against the whole matrix of probabilities in double, result
// and gradients, with bounds from the formats; the same bits for any number of threads; operands
// that are in bf16 already; caches; and numbers that are none.
#include "unit/kinds.h"

#include "base/alloc.h"
#include "op/op.h"

typedef struct kinds_case {
    int64_t batch, length, heads, kv_heads, head_dim, window;
    bool sinks;
    double size; // of q and k
} kinds_case;

enum { in_q, in_k, in_v, in_sinks, in_count };

// What goes in, the gradient of the result among it, and what comes out.
typedef struct kinds_values {
    int64_t count[in_count];
    float *in[in_count], *dout;
    float *out, *grad[in_count];
} kinds_values;

static kinds_values values_new(const kinds_case *c)
{
    const int64_t rows = c->batch * c->length;
    kinds_values v = {.count = {rows * c->heads * c->head_dim, rows * c->kv_heads * c->head_dim,
                                rows * c->kv_heads * c->head_dim, c->heads}};
    for (int i = 0; i < in_count; i++) {
        v.in[i] = check_random(v.count[i], (uint64_t)(i + 1), i < in_v ? c->size : 1);
        v.grad[i] = check_random(v.count[i], 9, 1);
    }
    v.dout = check_random(v.count[in_q], 7, 1);
    v.out = check_random(v.count[in_q], 9, 1);
    return v;
}

static void values_free(kinds_values *v)
{
    for (int i = 0; i < in_count; i++) {
        free(v->in[i]);
        free(v->grad[i]);
    }
    free(v->dout);
    free(v->out);
}

// ---- passes -------------------------------------------------------------------------------------

// A loss whose gradient is its second input.
static void weigh_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    double sum = 0;
    for (int64_t i = 0; i < node->in[0]->count; i++)
        sum += (double)sg_values(node->in[0])[i] * (double)sg_values(node->in[1])[i];
    sg_values(node->out[0])[0] = (float)sum;
}

static void weigh_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    float *dx = sg_grad_in(run, node, 0, &add);
    for (int64_t i = 0; dx != NULL && i < node->in[0]->count; i++)
        dx[i] = (add ? dx[i] : 0) + sg_values(node->in[1])[i] * node->out[0]->grad[0];
}

static const sg_op op_weigh = {
    .name = "weigh", .forward = weigh_forward, .backward = weigh_backward, .backward_reads_in = 2};

static sg_tensor *weigh(sg_tape *tape, sg_tensor *x, sg_tensor *weights)
{
    sg_node *node = sg_tape_node(tape, &op_weigh, 2, (sg_tensor *[]){x, weights});
    sg_tensor *loss = sg_node_output(tape, node, "loss", SG_KIND_REAL, 1, (int64_t[]){1});
    sg_tape_add_loss(tape, loss, 1);
    return loss;
}

static sg_attention_options options_of(const kinds_case *c, sg_tensor *sinks)
{
    return (sg_attention_options){.length = c->length,
                                  .heads = c->heads,
                                  .kv_heads = c->kv_heads,
                                  .window = c->window,
                                  .sinks = sinks};
}

typedef struct kinds_pass {
    sg_compute_kind kind;
    int threads;
    const sg_kernels *kernels; // NULL: the fastest
    bool copied;               // q, k, v come from operations, so that they may be in bf16
} kinds_pass;

static void pass(const kinds_case *c, const kinds_pass *p, kinds_values *v)
{
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tape_compute(tape, p->kind, p->kind);
    const int64_t rows = c->batch * c->length;
    sg_tensor *in[in_count] = {NULL};
    for (int i = 0; i < (c->sinks ? in_count : in_sinks); i++) {
        const int64_t shape[2] = {i == in_sinks ? 1 : rows,
                                  i == in_sinks ? c->heads : v->count[i] / rows};
        in[i] = sg_tape_leaf(tape, "in", SG_KIND_REAL, 2, shape, v->in[i], v->grad[i], true);
        if (p->copied && i != in_sinks) in[i] = sg_clamp(tape, in[i], 1e6);
    }
    const sg_attention_options options = options_of(c, in[in_sinks]);
    sg_tensor *y = sg_attention(tape, in[in_q], in[in_k], in[in_v], &options);
    assert_non_null(y);
    sg_tape_keep(tape, y);
    const int64_t shape[2] = {rows, sg_columns(y)};
    weigh(tape, y, sg_tape_leaf(tape, "dy", SG_KIND_REAL, 2, shape, v->dout, NULL, false));
    kinds_run(tape, p->kernels, p->threads);
    if (p->kind == SG_COMPUTE_BF16 && p->copied) assert_true(in[in_k]->has_half);
    memcpy(v->out, y->data, (size_t)v->count[in_q] * sizeof(float));
    sg_tape_free(tape);
}

// ---- the whole matrix ---------------------------------------------------------------------------

// What a kind allows: of a product, relative to the sum of sizes of its terms; of what softmax
// leaves, relative.
typedef struct kinds_bound {
    double product, weight;
} kinds_bound;

static kinds_bound bound_of(sg_compute_kind kind)
{
    if (kind == SG_COMPUTE_BF16) return (kinds_bound){1e-6, 0x1p-8};
    if (kind == SG_COMPUTE_BF16X3) return (kinds_bound){0x1p-15, 0x1p-14};
    return (kinds_bound){1e-6, 4e-6};
}

typedef struct naive {
    const kinds_case *c;
    sg_compute_kind kind;
    const kinds_values *v;
    double *p, *p_off, p_sink, sink_off; // of one row
    bounded *out, *grad[in_count];
} naive;

static double operand(const naive *n, const float *x, int64_t at)
{
    return (double)(n->kind == SG_COMPUTE_BF16 ? sg_bf16_value(sg_bf16_round(x[at])) : x[at]);
}

static void naive_add(bounded *to, double value, double off)
{
    to->value += value;
    to->off += off;
}

static bool naive_sees(const kinds_case *c, int64_t i, int64_t j)
{
    return j <= i && (c->window == 0 || j > i - c->window);
}

static double naive_dot(const naive *n, const float *a, int64_t at, const float *b, int64_t bt,
                        double *size)
{
    double sum = 0;
    *size = 0;
    for (int64_t e = 0; e < n->c->head_dim; e++) {
        const double term = operand(n, a, at + e) * operand(n, b, bt + e);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

// The probabilities of row i of a head, and how far each may be off.
static void naive_row(naive *n, int64_t i, int64_t at, int64_t key_at, int64_t head)
{
    const kinds_case *c = n->c;
    const int64_t kw = c->kv_heads * c->head_dim;
    const double scale = 1 / sqrt((double)c->head_dim);
    const kinds_bound bound = bound_of(n->kind);
    double top = c->sinks ? (double)n->v->in[in_sinks][head] : -INFINITY, sum = 0, most = 0, size;
    for (int64_t j = 0; j <= i; j++) {
        n->p[j] = scale * naive_dot(n, n->v->in[in_q], at, n->v->in[in_k], key_at + j * kw, &size);
        if (!naive_sees(c, i, j)) n->p[j] = -INFINITY;
        if (n->p[j] > top) top = n->p[j];
        if (naive_sees(c, i, j) && scale * size > most) most = scale * size;
    }
    n->p_sink = c->sinks ? exp((double)n->v->in[in_sinks][head] - top) : 0;
    sum = n->p_sink;
    for (int64_t j = 0; j <= i; j++)
        sum += n->p[j] = exp(n->p[j] - top);
    // Scores are off by what their products are, and by the last bits of a float.
    const double off = bound.weight + 2 * (bound.product * most + 2e-7 * fabs(top));
    for (int64_t j = 0; j <= i; j++) {
        n->p[j] /= sum;
        n->p_off[j] = n->p[j] * off;
    }
    n->p_sink /= sum;
    n->sink_off = n->p_sink * off;
}

static void naive_gradients(naive *n, int64_t i, int64_t at, int64_t key_at, int64_t head)
{
    const kinds_case *c = n->c;
    const kinds_values *v = n->v;
    const int64_t kw = c->kv_heads * c->head_dim;
    const double scale = 1 / sqrt((double)c->head_dim);
    const kinds_bound bound = bound_of(n->kind);
    double mean = 0, mean_off = 0, size;
    for (int64_t j = 0; j <= i; j++) {
        mean += n->p[j] * naive_dot(n, v->dout, at, v->in[in_v], key_at + j * kw, &size);
        mean_off += n->p_off[j] * size + n->p[j] * bound.product * size;
    }
    // The result that the mean is computed from may be rounded itself.
    for (int64_t e = 0; e < c->head_dim && n->kind == SG_COMPUTE_BF16; e++)
        mean_off += 0x1p-8 * fabs(operand(n, v->dout, at + e) * n->out[at + e].value);
    for (int64_t j = 0; j <= i; j++) {
        const int64_t key = key_at + j * kw;
        const double dp = naive_dot(n, v->dout, at, v->in[in_v], key, &size), p = n->p[j];
        const double ds = scale * p * (dp - mean);
        const double off = scale * (n->p_off[j] * (fabs(dp - mean) + mean_off) +
                                    p * (mean_off + bound.product * size)) +
                           bound.weight * fabs(ds);
        for (int64_t e = 0; e < c->head_dim; e++) {
            const double q = operand(n, v->in[in_q], at + e), k = operand(n, v->in[in_k], key + e);
            const double d = operand(n, v->dout, at + e);
            naive_add(&n->grad[in_q][at + e], ds * k, off * fabs(k) + 1e-6 * fabs(ds * k));
            naive_add(&n->grad[in_k][key + e], ds * q, off * fabs(q) + 1e-6 * fabs(ds * q));
            naive_add(&n->grad[in_v][key + e], p * d, (n->p_off[j] + 1e-6 * p) * fabs(d));
        }
    }
    naive_add(&n->grad[in_sinks][head], -n->p_sink * mean,
              n->p_sink * mean_off + n->sink_off * (fabs(mean) + mean_off));
}

static void naive_head(naive *n, int64_t b, int64_t head)
{
    const kinds_case *c = n->c;
    const int64_t width = c->heads * c->head_dim, kw = c->kv_heads * c->head_dim;
    const int64_t key_at = b * c->length * kw + head / (c->heads / c->kv_heads) * c->head_dim;
    for (int64_t i = 0; i < c->length; i++) {
        const int64_t at = (b * c->length + i) * width + head * c->head_dim;
        naive_row(n, i, at, key_at, head);
        for (int64_t j = 0; j <= i; j++)
            for (int64_t e = 0; e < c->head_dim; e++) {
                const double v = operand(n, n->v->in[in_v], key_at + j * kw + e);
                naive_add(&n->out[at + e], n->p[j] * v, (n->p_off[j] + 1e-6 * n->p[j]) * fabs(v));
            }
        naive_gradients(n, i, at, key_at, head);
    }
}

static void check_naive(const kinds_case *c, sg_compute_kind kind, const kinds_values *v)
{
    static const char *const names[] = {"dq", "dk", "dv", "dsinks"};
    naive n = {.c = c, .kind = kind, .v = v};
    n.p = kinds_zeros(c->length, sizeof *n.p);
    n.p_off = kinds_zeros(c->length, sizeof *n.p_off);
    n.out = kinds_zeros(v->count[in_q], sizeof *n.out);
    for (int i = 0; i < in_count; i++)
        n.grad[i] = kinds_zeros(v->count[i], sizeof *n.grad[i]);
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t h = 0; h < c->heads; h++)
            naive_head(&n, b, h);
    kinds_compare("attention", v->out, n.out, v->count[in_q], 1e-6);
    for (int i = 0; i < (c->sinks ? in_count : in_sinks); i++)
        kinds_compare(names[i], v->grad[i], n.grad[i], v->count[i], 1e-6);
    for (int i = 0; i < in_count; i++)
        free(n.grad[i]);
    free(n.p);
    free(n.p_off);
    free(n.out);
}

// ---- checks -------------------------------------------------------------------------------------

static void expect_same(const kinds_case *c, const kinds_values *a, const kinds_values *b)
{
    assert_memory_equal(a->out, b->out, (size_t)a->count[in_q] * sizeof(float));
    for (int i = 0; i < (c->sinks ? in_count : in_sinks); i++)
        assert_memory_equal(a->grad[i], b->grad[i], (size_t)a->count[i] * sizeof(float));
}

static void check_case(kinds_case c)
{
    if (c.kv_heads == 0) c.kv_heads = c.heads;
    if (c.size == 0) c.size = 1;
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
        kinds_values v = values_new(&c), again = values_new(&c);
        pass(&c, &(kinds_pass){.kind = kind, .threads = 1}, &v);
        check_naive(&c, kind, &v);
        for (int threads = 1; threads <= 8; threads += threads > 2 ? 5 : 1) {
            pass(&c, &(kinds_pass){.kind = kind, .threads = threads}, &again);
            expect_same(&c, &v, &again);
        }
        if (c.length < 300) {
            pass(&c, &(kinds_pass){.kind = kind, .threads = 1, .kernels = sg_kernels_ref()},
                 &again);
            check_naive(&c, kind, &again);
        }
        values_free(&v);
        values_free(&again);
    }
}

static void test_lengths(void **state)
{
    (void)state;
    check_case((kinds_case){2, 1, 2, .head_dim = 4});
    check_case((kinds_case){3, 2, 1, .head_dim = 5});
    check_case((kinds_case){2, 17, 3, .head_dim = 8});
    check_case((kinds_case){1, 64, 2, .head_dim = 33});
    check_case((kinds_case){1, 65, 2, .head_dim = 16});
    check_case((kinds_case){2, 255, 1, .head_dim = 7});
    check_case((kinds_case){1, 256, 2, .head_dim = 64});
    check_case((kinds_case){2, 257, 1, .head_dim = 32});
    check_case((kinds_case){1, 300, 1, .head_dim = 40, .size = 4}); // maxima that rise
    check_case((kinds_case){1, 513, 2, .head_dim = 8});
    check_case((kinds_case){1, 1030, 1, .head_dim = 4}); // more queries than a chunk has
}

static void test_shapes(void **state)
{
    (void)state;
    check_case((kinds_case){1, 70, 6, 2, .head_dim = 8});
    check_case((kinds_case){2, 33, 10, 1, .head_dim = 3, .sinks = true});
    check_case((kinds_case){1, 300, 4, 2, .head_dim = 6, .sinks = true});
    check_case((kinds_case){1, 100, 2, .head_dim = 4, .window = 1});
    check_case((kinds_case){1, 400, 2, 1, .head_dim = 4, .window = 70, .sinks = true});
    check_case((kinds_case){1, 600, 1, .head_dim = 4, .window = 257, .size = 3});
    check_case((kinds_case){1, 530, 2, 1, .head_dim = 2, .window = 300});
    check_case((kinds_case){9, 40, 4, 2, .head_dim = 4, .window = 9});
}

// Operands that are in bf16 already give the bits of those that are rounded on the way.
static void test_halves(void **state)
{
    (void)state;
    kinds_case c = {2, 300, 4, 2, .head_dim = 16, .window = 100, .sinks = true, .size = 1};
    kinds_values leaves = values_new(&c), copied = values_new(&c);
    pass(&c, &(kinds_pass){.kind = SG_COMPUTE_BF16, .threads = 1}, &leaves);
    pass(&c, &(kinds_pass){.kind = SG_COMPUTE_BF16, .threads = 2, .copied = true}, &copied);
    expect_same(&c, &leaves, &copied);
    values_free(&leaves);
    values_free(&copied);
}

// A result that a product reads in bf16 is that of attention, rounded.
static void test_result(void **state)
{
    (void)state;
    const kinds_case c = {1, 90, 2, 2, .head_dim = 8, .size = 1};
    kinds_values v = values_new(&c);
    pass(&c, &(kinds_pass){.kind = SG_COMPUTE_BF16, .threads = 1}, &v);
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tape_compute(tape, SG_COMPUTE_BF16, SG_COMPUTE_F32);
    sg_tensor *in[3], *w, *y, *z;
    const int64_t shape[2] = {90, 16}, square[2] = {16, 16};
    for (int i = 0; i < 3; i++)
        in[i] = sg_tape_leaf(tape, "in", SG_KIND_REAL, 2, shape, v.in[i], v.grad[i], true);
    float *unit = kinds_zeros(256, sizeof *unit);
    for (int i = 0; i < 16; i++)
        unit[17 * i] = 1;
    w = sg_tape_leaf(tape, "w", SG_KIND_REAL, 2, square, unit, NULL, false);
    const sg_attention_options options = options_of(&c, NULL);
    y = sg_attention(tape, in[0], in[1], in[2], &options);
    z = sg_linear(tape, y, w, NULL);
    sg_tape_keep(tape, z);
    weigh(tape, z, sg_tape_leaf(tape, "dz", SG_KIND_REAL, 2, shape, v.dout, NULL, false));
    kinds_run(tape, NULL, 1);
    assert_true(y->has_half);
    for (int64_t i = 0; i < v.count[in_q]; i++)
        assert_true(sg_values(z)[i] == sg_bf16_value(sg_bf16_round(v.out[i])));
    sg_tape_free(tape);
    free(unit);
    values_free(&v);
}

// ---- caches -------------------------------------------------------------------------------------

static void cached_part(const kinds_case *c, sg_compute_kind kind, const kinds_values *v,
                        const sg_kv_cache *cache, int64_t start, int64_t length, float *y)
{
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tape_compute(tape, kind, kind);
    sg_tensor *in[3];
    for (int i = 0; i < 3; i++) {
        const int64_t width = v->count[i] / c->length, shape[2] = {length, width};
        in[i] =
            sg_tape_leaf(tape, "in", SG_KIND_REAL, 2, shape, v->in[i] + start * width, NULL, false);
    }
    kinds_case part = *c;
    part.length = length;
    sg_attention_options options = options_of(&part, NULL);
    options.caches = cache;
    options.start = &start;
    sg_tensor *result = sg_attention(tape, in[0], in[1], in[2], &options);
    sg_tape_keep(tape, result);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    kinds_poison(tape);
    sg_run run = {.compute = compute_on(NULL)};
    assert_int_equal(sg_tape_forward(tape, &run), SG_OK);
    memcpy(y + start * sg_columns(result), result->data, (size_t)result->count * sizeof *y);
    sg_tape_free(tape);
}

// Prefill in parts of any size and single tokens come out as whole sequences do.
static void check_caches(kinds_case c)
{
    const int64_t cuts[] = {300, 1, 16, 40, 2, 15, 256, 1}, key_width = c.kv_heads * c.head_dim;
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
        kinds_values v = values_new(&c);
        pass(&c, &(kinds_pass){.kind = kind, .threads = 1}, &v);
        const sg_kv_cache cache = {kinds_zeros(700 * key_width, sizeof(float)),
                                   kinds_zeros(700 * key_width, sizeof(float)), 700};
        float *y = kinds_zeros(v.count[in_q], sizeof *y);
        int64_t start = 0;
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
            cached_part(&c, kind, &v, &cache, start, cuts[i], y);
            start += cuts[i];
        }
        assert_int_equal(start, c.length);
        // A single token takes operands as they are, which in bf16 is a rounding apart.
        const double allowed[] = {1e-5, 0x1p-12, 0x1p-5};
        for (int64_t i = 0; i < v.count[in_q]; i++)
            check_close("cached", i, (double)y[i], (double)v.out[i], 1, allowed[kind]);
        free(cache.k);
        free(cache.v);
        free(y);
        values_free(&v);
    }
}

static void test_caches(void **state)
{
    (void)state;
    check_caches((kinds_case){1, 631, 6, 2, .head_dim = 8, .size = 1});
    check_caches((kinds_case){1, 631, 2, 2, .head_dim = 16, .window = 90, .size = 1});
}

// ---- numbers that are none ----------------------------------------------------------------------

// What is no number, or none that bf16 has, stays in its sequence.
static void test_no_numbers(void **state)
{
    (void)state;
    const kinds_case c = {2, 300, 2, 2, .head_dim = 8, .size = 1};
    const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX, 1e-40f};
    for (sg_compute_kind kind = SG_COMPUTE_BF16X3; kind <= SG_COMPUTE_BF16; kind++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            for (int at = 0; at < 3; at++) {
                kinds_values clean = values_new(&c), v = values_new(&c);
                v.in[at][100 * 16 + 3] = bad[i];
                v.dout[50] = bad[i];
                pass(&c, &(kinds_pass){.kind = kind, .threads = 1}, &clean);
                pass(&c, &(kinds_pass){.kind = kind, .threads = 2}, &v);
                const int64_t half = v.count[in_q] / 2;
                const size_t bytes = (size_t)half * sizeof(float);
                assert_memory_equal(v.out + half, clean.out + half, bytes);
                for (int g = 0; g < 3; g++)
                    assert_memory_equal(v.grad[g] + half, clean.grad[g] + half, bytes);
                values_free(&clean);
                values_free(&v);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_halves),  cmocka_unit_test(test_result),
        cmocka_unit_test(test_caches),  cmocka_unit_test(test_no_numbers),
    };
    return kinds_run_groups(tests);
}
