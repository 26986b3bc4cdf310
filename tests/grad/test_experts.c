// A memory of experts against the plainest loops and by differences: every form of gated linear
// unit, with biases and without, crowded and empty experts, counts.
#include "ffn/memory.h"
#include "grad/counts.h"

typedef struct experts_user {
    int64_t rows, k, experts, f, d;
    int32_t *ids;
    sg_glu_form form;
    bool bare;       // no biases: inputs 3 and 4 are the tables
    int32_t *counts; // (rows); NULL: none
} experts_user;

static sg_tensor *build_experts(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const experts_user *u = c->user;
    sg_selection selection = {.scores = in[1], .channels = 1, .k = u->k, .unit = u->f};
    selection.ids =
        sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, (int64_t[]){u->rows, u->k}, u->ids, NULL, false);
    selection.counts = gc_counts_leaf(tape, u->counts, u->rows, 1);
    if (u->bare)
        return sg_memory_experts(tape, in[0], &selection, in[2], NULL, in[3], NULL, &u->form);
    return sg_memory_experts(tape, in[0], &selection, in[2], in[3], in[4], in[5], &u->form);
}

// The distance of a pair from a clamp or kink of its form.
static double expert_margin(sg_glu_kind kind, double gate, double linear)
{
    if (kind == SG_GLU_CLAMPED) return fmin(fabs(gate - 7), fabs(fabs(linear) - 7));
    return kind == SG_GLU_RELU ? fabs(gate) : INFINITY;
}

// The GLU of expert e on x, times score, added to y. Returns the smallest distance from a clamp.
static double expert_naive(const gc_case *c, int64_t e, const sg_real *x, double score, sg_real *y)
{
    const experts_user *u = c->user;
    const sg_real *up = c->in[2].data + e * 2 * u->f * u->d;
    const sg_real *down = c->in[u->bare ? 3 : 4].data + e * u->d * u->f;
    const sg_real *ub = u->bare ? NULL : c->in[3].data + e * 2 * u->f;
    const sg_real *db = u->bare ? NULL : c->in[5].data + e * u->d;
    double margin = INFINITY;
    for (int64_t j = 0; db != NULL && j < u->d; j++)
        y[j] += score * db[j];
    for (int64_t i = 0; i < u->f; i++) {
        int64_t at = u->form.interleaved ? 2 * i : i;
        int64_t to = u->form.interleaved ? 2 * i + 1 : u->f + i;
        double gate = ub ? ub[at] : 0, linear = ub ? ub[to] : 0;
        for (int64_t j = 0; j < u->d; j++) {
            gate += up[at * u->d + j] * x[j];
            linear += up[to * u->d + j] * x[j];
        }
        double h = gc_glu(gate, linear, u->form.kind);
        margin = fmin(margin, expert_margin(u->form.kind, gate, linear));
        for (int64_t j = 0; j < u->d; j++)
            y[j] += score * h * down[j * u->f + i];
    }
    return margin;
}

// `u` has sizes, form and ids.
static void check_experts_user(const experts_user *u, double scale)
{
    const int64_t rows = u->rows, k = u->k, experts = u->experts, f = u->f, d = u->d;
    gc_case c = {.name = "memory_experts",
                 .build = build_experts,
                 .user = u,
                 .components = rows > 100 ? 5 : 0};
    sg_real *expected = NULL, *y = gc_room(rows * d);
    double margin = 0;
    for (uint64_t seed = 1; margin < 3e-4; seed++) {
        if (seed == 500) fail_msg("no seed of 500 stays off the clamps");
        gc_free(&c);
        sg_free(expected);
        expected = gc_room(rows * d);
        gc_add(&c, "x", 2, (int64_t[]){rows, d}, 1, seed);
        gc_add(&c, "scores", 2, (int64_t[]){rows, k}, 1, seed);
        gc_add(&c, "up", 3, (int64_t[]){experts, 2 * f, d}, scale, seed);
        if (!u->bare) gc_add(&c, "up bias", 2, (int64_t[]){experts, 2 * f}, 1, seed);
        gc_add(&c, "down", 3, (int64_t[]){experts, d, f}, 1, seed);
        if (!u->bare) gc_add(&c, "down bias", 2, (int64_t[]){experts, d}, 1, seed);
        margin = INFINITY;
        for (int64_t h = 0; h < rows * k; h++)
            if (gc_selected(u->counts, k, h))
                margin = fmin(margin, expert_naive(&c, u->ids[h], c.in[0].data + h / k * d,
                                                   c.in[1].data[h], expected + h / k * d));
    }
    gc_forward(&c, y, rows * d);
    gc_expect_close(c.name, y, expected, rows * d);
    gc_check(&c);
    gc_check_void(&c, 1, 1, u->counts, k);
    sg_free(expected);
    sg_free(y);
    gc_free(&c);
}

static int32_t *expert_ids(int64_t rows, int64_t k, int64_t first, int64_t used)
{
    int32_t *ids = sg_alloc_array((size_t)(rows * k), sizeof *ids);
    assert_non_null(ids);
    for (int64_t h = 0; h < rows * k; h++)
        ids[h] = (int32_t)(first + (int64_t)sg_rng_permute(6, (uint32_t)(h / k), (uint64_t)(h % k),
                                                           (uint64_t)used));
    return ids;
}

static void check_experts(int64_t rows, int64_t k, int64_t experts, int64_t first, int64_t used,
                          double scale)
{
    experts_user u = {.rows = rows, .k = k, .experts = experts, .f = 3, .d = 5};
    u.ids = expert_ids(rows, k, first, used);
    check_experts_user(&u, scale);
    sg_free(u.ids);
}

// Every form, with biases and without; experts of several slabs, and one that no row selects.
static void test_expert_forms(void **state)
{
    (void)state;
    for (int n = 0; n < 4 * SG_GLU_COUNT; n++) {
        experts_user u = {.rows = 9, .k = 2, .experts = 4, .f = 3, .d = 5};
        u.form = (sg_glu_form){(sg_glu_kind)(n / 4), n % 2};
        u.bare = n / 2 % 2;
        u.ids = expert_ids(u.rows, u.k, 0, 3);
        check_experts_user(&u, 0.7);
        sg_free(u.ids);
    }
    experts_user wide = {.rows = 7, .k = 1, .experts = 3, .f = 150, .d = 3, .bare = true};
    wide.form = (sg_glu_form){SG_GLU_SILU, true};
    wide.ids = expert_ids(wide.rows, wide.k, 0, 2);
    check_experts_user(&wide, 0.7);
    sg_free(wide.ids);
}

static void test_experts(void **state)
{
    (void)state;
    check_experts(9, 1, 4, 0, 4, 0.7);
    check_experts(9, 2, 4, 0, 4, 0.7);
    check_experts(9, 4, 4, 0, 4, 0.7); // k = E
    check_experts(1, 2, 3, 0, 3, 0.7);
    check_experts(1, 1, 1, 0, 1, 0.7);
    check_experts(20, 2, 6, 2, 3, 0.7); // empty experts before and behind
    check_experts(20, 1, 5, 4, 1, 0.7); // all rows on the last
    check_experts(20, 1, 5, 0, 1, 0.7); // all rows on the first
    check_experts(30, 2, 4, 0, 4, 3);   // many values clamped
    check_experts(150, 2, 3, 0, 3, 0.7);
}

// Counts: in one piece and in several tiles, and not a hit at all.
static void test_expert_counts(void **state)
{
    (void)state;
    for (int n = 0; n < 8; n++) {
        experts_user u = {.rows = n % 2 ? 300 : 9, .k = 3, .experts = 4, .f = 3, .d = 5};
        u.form = (sg_glu_form){SG_GLU_SILU, n / 2 % 2};
        u.bare = n / 2 % 2;
        u.ids = expert_ids(u.rows, u.k, 0, 4);
        u.counts = gc_counts(n / 4 ? COUNT_NONE : COUNT_SOME, u.rows, u.k, u.ids);
        check_experts_user(&u, 0.7);
        sg_free(u.counts);
        sg_free(u.ids);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_expert_forms),
        cmocka_unit_test(test_expert_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
