// The classifier with cross-entropy in every kind of products against double, loss and gradients,
// with bounds from the formats; the same bits for any number of threads; a hidden state that is in
// bf16 already; sums of logits in place of losses; and numbers that are none.
#include "unit/kinds.h"

#include "base/alloc.h"
#include "op/op.h"
#include "sgatlin_probe.h"

typedef struct kinds_case {
    int64_t rows, vocab, d;
    int64_t r;    // of an adapter; 0: none
    bool terms;   // in place of losses
    double scale; // of x
} kinds_case;

enum { in_x, in_w, in_u, in_b, in_count };
static const double adapter_scale = 0.75;

typedef struct kinds_values {
    int64_t count[in_count];
    float *in[in_count], *grad[in_count];
    int32_t *targets;
    sg_logit_term terms[3];
    sg_loss_stats stats;
    float loss;
} kinds_values;

static kinds_values values_new(const kinds_case *c)
{
    kinds_values v = {.count = {c->rows * c->d, c->vocab * c->d, c->rows * c->r, c->vocab * c->r},
                      .stats = {.normaliser = (double)c->rows}};
    for (int i = 0; i < in_count; i++) {
        v.in[i] = check_random(v.count[i], (uint64_t)(i + 1), i == in_x ? c->scale : 1);
        v.grad[i] = check_random(v.count[i], 9, 1);
    }
    v.targets = malloc((size_t)c->rows * sizeof *v.targets);
    assert_non_null(v.targets);
    for (int64_t r = 0; r < c->rows; r++)
        v.targets[r] =
            r % 7 == 3 ? -1 : (int32_t)sg_rng_below(3, 5, (uint64_t)r, (uint64_t)c->vocab);
    for (int i = 0; i < 3; i++)
        v.terms[i] = (sg_logit_term){.token = i * (c->rows - 1) / 2,
                                     .id = (int32_t)(i * (c->vocab - 1) / 2),
                                     .weight = i - 0.75};
    return v;
}

static void values_free(kinds_values *v)
{
    for (int i = 0; i < in_count; i++) {
        free(v->in[i]);
        free(v->grad[i]);
    }
    free(v->targets);
}

// ---- passes -------------------------------------------------------------------------------------

typedef struct kinds_pass {
    sg_compute_kind kind;
    int threads;
    bool copied; // x comes from an operation, so that it may be in bf16
} kinds_pass;

static void pass(const kinds_case *c, const kinds_pass *p, kinds_values *v)
{
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tape_compute(tape, p->kind, p->kind);
    const int64_t rows[] = {c->rows, c->vocab, c->rows, c->vocab};
    const int64_t columns[] = {c->d, c->d, c->r, c->r};
    sg_tensor *in[in_count] = {NULL};
    for (int i = 0; i < (c->r > 0 ? in_count : in_u); i++) {
        in[i] = sg_tape_leaf(tape, "in", SG_KIND_REAL, 2, (int64_t[]){rows[i], columns[i]},
                             v->in[i], v->grad[i], true);
        if (p->copied && (i == in_x || i == in_u)) in[i] = sg_clamp(tape, in[i], 1e6);
    }
    sg_tensor *targets =
        sg_tape_leaf(tape, "targets", SG_KIND_INT, 1, &c->rows, v->targets, NULL, false);
    v->stats.terms = c->terms ? v->terms : NULL;
    v->stats.term_count = c->terms ? 3 : 0;
    sg_tensor *loss = sg_cross_entropy_adapted(tape, in[in_x], in[in_w], targets, &v->stats,
                                               in[in_u], in[in_b], adapter_scale);
    sg_tape_add_loss(tape, loss, 1);
    kinds_run(tape, NULL, p->threads);
    if (p->kind == SG_COMPUTE_BF16 && p->copied) assert_true(in[in_x]->no_data);
    v->loss = sg_values(loss)[0];
    sg_tape_free(tape);
}

// ---- in double ----------------------------------------------------------------------------------

typedef struct naive {
    const kinds_case *c;
    sg_compute_kind kind;
    const kinds_values *v;
    double *logits, *dl, *dl_off; // of a row
    bounded loss, *grad[in_count];
} naive;

static double product_off(sg_compute_kind kind)
{
    return kind == SG_COMPUTE_BF16X3 ? 0x1p-15 : 1e-6;
}

static double operand(const naive *n, int i, int64_t at)
{
    const float x = n->v->in[i][at];
    return (double)(n->kind == SG_COMPUTE_BF16 ? sg_bf16_value(sg_bf16_round(x)) : x);
}

static void naive_add(bounded *to, double value, double off)
{
    to->value += value;
    to->off += off;
}

// The logits of a row; returns how far any may be off.
static double naive_logits(naive *n, int64_t row)
{
    const kinds_case *c = n->c;
    double most = 0;
    for (int64_t j = 0; j < c->vocab; j++) {
        double size = 0;
        n->logits[j] = 0;
        for (int64_t i = 0; i < c->d; i++) {
            const double term = operand(n, in_x, row * c->d + i) * operand(n, in_w, j * c->d + i);
            n->logits[j] += term;
            size += fabs(term);
        }
        for (int64_t i = 0; i < c->r; i++) {
            const double term =
                adapter_scale * operand(n, in_u, row * c->r + i) * operand(n, in_b, j * c->r + i);
            n->logits[j] += term;
            size += fabs(term);
        }
        if (size > most) most = size;
    }
    return product_off(n->kind) * most;
}

static void naive_loss(naive *n, int64_t row, double off)
{
    const kinds_case *c = n->c;
    const int32_t target = n->v->targets[row];
    if (target < 0) return;
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < c->vocab; j++)
        top = n->logits[j] > top ? n->logits[j] : top;
    for (int64_t j = 0; j < c->vocab; j++)
        sum += exp(n->logits[j] - top);
    const double weight = 1 / (double)c->rows;
    naive_add(&n->loss, weight * (log(sum) + top - n->logits[target]),
              weight * (2 * off + 1e-6 * (1 + fabs(top) + (double)c->vocab * 1e-3)));
    for (int64_t j = 0; j < c->vocab; j++) {
        const double p = exp(n->logits[j] - top) / sum;
        n->dl[j] = weight * (p - (j == target));
        n->dl_off[j] = weight * p * (2 * off + 1e-5) + weight * 1e-7;
    }
}

static void naive_terms(naive *n, int64_t row, double off)
{
    for (int i = 0; i < 3; i++) {
        const sg_logit_term *t = &n->v->terms[i];
        if (t->token != row) continue;
        naive_add(&n->loss, t->weight * n->logits[t->id] / (double)n->c->rows, off);
        n->dl[t->id] += t->weight / (double)n->c->rows;
        n->dl_off[t->id] += 1e-6 * fabs(n->dl[t->id]);
    }
}

static void naive_gradients(naive *n, int64_t row)
{
    const kinds_case *c = n->c;
    const double rounding = n->kind == SG_COMPUTE_BF16 ? 0x1p-8 : product_off(n->kind);
    for (int64_t j = 0; j < c->vocab; j++) {
        const double dl = n->dl[j], off = n->dl_off[j] + rounding * fabs(dl);
        for (int side = 0; side < 2; side++) {
            const int a = side ? in_u : in_x, b = side ? in_b : in_w;
            const int64_t width = side ? c->r : c->d;
            const double scale = side ? adapter_scale : 1;
            for (int64_t i = 0; i < width; i++) {
                const double x = scale * operand(n, a, row * width + i);
                const double w = scale * operand(n, b, j * width + i);
                naive_add(&n->grad[a][row * width + i], dl * w, off * fabs(w));
                naive_add(&n->grad[b][j * width + i], dl * x, off * fabs(x));
            }
        }
    }
}

static void check_naive(const kinds_case *c, sg_compute_kind kind, const kinds_values *v)
{
    static const char *const names[] = {"dx", "dw", "du", "db"};
    naive n = {.c = c, .kind = kind, .v = v};
    n.logits = kinds_zeros(c->vocab, sizeof *n.logits);
    n.dl = kinds_zeros(c->vocab, sizeof *n.dl);
    n.dl_off = kinds_zeros(c->vocab, sizeof *n.dl_off);
    for (int i = 0; i < in_count; i++)
        n.grad[i] = kinds_zeros(v->count[i], sizeof *n.grad[i]);
    for (int64_t row = 0; row < c->rows; row++) {
        memset(n.dl, 0, (size_t)c->vocab * sizeof *n.dl);
        memset(n.dl_off, 0, (size_t)c->vocab * sizeof *n.dl_off);
        (c->terms ? naive_terms : naive_loss)(&n, row, naive_logits(&n, row));
        naive_gradients(&n, row);
    }
    kinds_compare("loss", &v->loss, &n.loss, 1, 1e-7);
    for (int i = 0; i < (c->r > 0 ? in_count : in_u); i++)
        kinds_compare(names[i], v->grad[i], n.grad[i], v->count[i], 1e-7);
    for (int i = 0; i < in_count; i++)
        free(n.grad[i]);
    free(n.logits);
    free(n.dl);
    free(n.dl_off);
}

// ---- checks -------------------------------------------------------------------------------------

static void expect_same(const kinds_case *c, const kinds_values *a, const kinds_values *b)
{
    assert_memory_equal(&a->loss, &b->loss, sizeof a->loss);
    for (int i = 0; i < (c->r > 0 ? in_count : in_u); i++)
        assert_memory_equal(a->grad[i], b->grad[i], (size_t)a->count[i] * sizeof(float));
}

static void check_case(kinds_case c)
{
    if (c.scale == 0) c.scale = 1;
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
        kinds_values v = values_new(&c), again = values_new(&c);
        pass(&c, &(kinds_pass){.kind = kind, .threads = 1}, &v);
        check_naive(&c, kind, &v);
        for (int threads = 1; threads <= 8; threads += threads > 2 ? 5 : 1) {
            pass(&c, &(kinds_pass){.kind = kind, .threads = threads}, &again);
            expect_same(&c, &v, &again);
        }
        // What is in bf16 already gives the bits of what is rounded on the way.
        pass(&c, &(kinds_pass){.kind = kind, .threads = 2, .copied = true}, &again);
        expect_same(&c, &v, &again);
        values_free(&v);
        values_free(&again);
    }
}

static void test_losses(void **state)
{
    (void)state;
    check_case((kinds_case){1, 1, 1, .r = 0});
    check_case((kinds_case){3, 7, 5, .r = 0});
    check_case((kinds_case){33, 65, 17, .scale = 3});
    check_case((kinds_case){64, 256, 64, .r = 0});
    check_case((kinds_case){1030, 40, 8, .r = 0});  // two blocks of rows
    check_case((kinds_case){20, 1500, 12, .r = 0}); // rows rounded in parts
    check_case((kinds_case){300, 2100, 6, .r = 3}); // slices of both gradients
}

static void test_adapters(void **state)
{
    (void)state;
    check_case((kinds_case){3, 7, 5, .r = 2});
    check_case((kinds_case){40, 65, 16, .r = 8});
    check_case((kinds_case){1030, 30, 8, .r = 3});
}

static void test_terms(void **state)
{
    (void)state;
    check_case((kinds_case){9, 20, 6, .terms = true});
    check_case((kinds_case){1030, 20, 6, .r = 2, .terms = true});
}

static void test_no_numbers(void **state)
{
    (void)state;
    const kinds_case c = {50, 70, 8, .scale = 1};
    const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX, 1e-40f};
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
            for (int at = 0; at < 2; at++) {
                kinds_values v = values_new(&c);
                v.in[at][20] = bad[i];
                pass(&c, &(kinds_pass){.kind = kind, .threads = 2}, &v);
                assert_true(i != 0 || isnan(v.loss));
                values_free(&v);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_no_numbers),
    };
    return kinds_run_groups(tests);
}
