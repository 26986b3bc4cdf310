// The steps of a memory one by one, against the plainest loops and by differences: products with
// what is selected, gates, sums, those of experts with and without the gate, and the parts of a
// gated linear unit. tests/unit/test_memory_steps.c has them together, bit by bit.
#include "ffn/memory.h"
#include "grad/counts.h"

// Inputs: what the step reads, scores where it does, a table, a bias.
typedef enum memory_step {
    STEP_PRE,
    STEP_POST,
    STEP_SUM,
    STEP_EXPERTS_PRE,
    STEP_EXPERTS_SUM
} memory_step;

typedef struct steps_user {
    memory_step step;
    int64_t rows, channels, k, blocks, g, d; // one pool
    sg_activation activation;
    sg_gate gate;
    bool bias, gated;
    gc_counting counting;
    int32_t *ids, *counts;
} steps_user;

static bool steps_experts(const steps_user *u)
{
    return u->step == STEP_EXPERTS_PRE || u->step == STEP_EXPERTS_SUM;
}

// Numbers of what is selected: of a hit, and of a row of the step's input and output.
static int64_t steps_width(const steps_user *u)
{
    return u->step == STEP_EXPERTS_PRE ? 2 * u->g : u->g;
}

static int64_t steps_columns(const steps_user *u)
{
    return u->channels * u->k * steps_width(u);
}

static bool steps_to_row(const steps_user *u)
{
    return u->step == STEP_SUM || u->step == STEP_EXPERTS_SUM;
}

static sg_tensor *build_step(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const steps_user *u = c->user;
    const int64_t shape[] = {u->rows, u->channels * u->k};
    sg_selection s = {.channels = u->channels, .k = u->k, .unit = u->g};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, u->ids, NULL, false);
    s.counts = gc_counts_leaf(tape, u->counts, u->rows, u->channels);
    switch (u->step) {
    case STEP_PRE:
        return sg_memory_pre(tape, in[0], &s, in[1]);
    case STEP_POST:
        s.scores = u->gate == SG_GATE_NONE ? NULL : in[1];
        return sg_memory_post(tape, in[0], &s, u->activation, u->gate);
    case STEP_SUM:
        return sg_memory_sum(tape, in[0], &s, in[1]);
    case STEP_EXPERTS_PRE:
        return sg_memory_experts_pre(tape, in[0], &s, in[1], u->bias ? in[2] : NULL);
    case STEP_EXPERTS_SUM:
        s.scores = in[1];
        return sg_memory_experts_sum(tape, in[0], &s, in[2], u->bias ? in[3] : NULL, u->gated);
    }
    return NULL;
}

static void steps_add(gc_case *c, const steps_user *u)
{
    const int64_t columns = steps_to_row(u) || u->step == STEP_POST ? steps_columns(u) : u->d;
    const int64_t cells[] = {1, u->blocks * u->g, u->d}, up[] = {u->blocks, 2 * u->g, u->d};
    const int64_t down[] = {u->blocks, u->d, u->g};
    gc_add(c, "x", 2, (int64_t[]){u->rows, columns}, 1, 3);
    if (u->step == STEP_EXPERTS_SUM || (u->step == STEP_POST && u->gate != SG_GATE_NONE))
        gc_add(c, "scores", 2, (int64_t[]){u->rows, u->channels * u->k}, 1, 3);
    if (u->step == STEP_PRE || u->step == STEP_SUM) gc_add(c, "table", 3, cells, 0.7, 3);
    if (u->step == STEP_EXPERTS_PRE) gc_add(c, "table", 3, up, 0.7, 3);
    if (u->step == STEP_EXPERTS_SUM) gc_add(c, "table", 3, down, 0.7, 3);
    if (steps_experts(u) && u->bias)
        gc_add(c, "bias", 2, (int64_t[]){u->blocks, u->step == STEP_EXPERTS_PRE ? 2 * u->g : u->d},
               1, 3);
}

// One number of what is selected, number j of hit h, and what it adds to the result.
static void step_naive(const gc_case *c, int64_t h, int64_t j, sg_real *y)
{
    const steps_user *u = c->user;
    const int64_t row = h / u->k / u->channels, width = steps_width(u), at = h * width + j;
    const sg_real *x = c->in[0].data, *second = c->in[1].data;
    const sg_real *weight = second + (u->ids[h] * width + j) * u->d;
    if (u->step == STEP_POST) {
        double a = x[at];
        if (u->gate == SG_GATE_BEFORE) a *= second[h];
        y[at] = gc_act(a, u->activation) * (u->gate == SG_GATE_AFTER ? second[h] : 1);
    } else if (u->step == STEP_EXPERTS_SUM) {
        const sg_real *down = c->in[2].data + u->ids[h] * u->d * u->g;
        for (int64_t i = 0; i < u->d; i++)
            y[row * u->d + i] += x[at] * down[i * u->g + j] * (u->gated ? 1 : second[h]);
        for (int64_t i = 0; j == 0 && u->bias && i < u->d; i++)
            y[row * u->d + i] += second[h] * c->in[3].data[u->ids[h] * u->d + i];
    } else if (u->step == STEP_SUM) {
        for (int64_t i = 0; i < u->d; i++)
            y[row * u->d + i] += x[at] * weight[i];
    } else {
        y[at] = u->bias ? c->in[2].data[u->ids[h] * width + j] : 0;
        for (int64_t i = 0; i < u->d; i++)
            y[at] += x[row * u->d + i] * weight[i];
    }
}

static void check_step(steps_user u, int components)
{
    char name[100];
    snprintf(name, sizeof name, "step %d (%lld rows, unit %lld, gate %d, bias %d, counting %d)",
             (int)u.step, (long long)u.rows, (long long)u.g, (int)u.gate, u.bias, (int)u.counting);
    gc_case c = {.name = name, .build = build_step, .user = &u, .components = components};
    const int64_t hits = u.rows * u.channels * u.k;
    u.ids = sg_alloc_array((size_t)hits, sizeof *u.ids);
    assert_non_null(u.ids);
    for (int64_t i = 0; i < hits; i++)
        u.ids[i] = (int32_t)sg_rng_permute(5, (uint32_t)(i / u.k), (uint64_t)(i % u.k),
                                           (uint64_t)u.blocks);
    u.counts = gc_counts(u.counting, u.rows * u.channels, u.k, u.ids);
    steps_add(&c, &u);
    const int64_t count = u.rows * (steps_to_row(&u) ? u.d : steps_columns(&u));
    sg_real *y = gc_room(count), *expected = gc_room(count);
    for (int64_t h = 0; h < hits; h++)
        for (int64_t j = 0; j < steps_width(&u) && gc_selected(u.counts, u.k, h); j++)
            step_naive(&c, h, j, expected);
    gc_forward(&c, y, count);
    gc_expect_close(name, y, expected, count);
    gc_check(&c);
    if (steps_to_row(&u) || u.step == STEP_POST)
        gc_check_void(&c, 0, steps_width(&u), u.counts, u.k);
    sg_free(y);
    sg_free(expected);
    sg_free(u.ids);
    sg_free(u.counts);
    gc_free(&c);
}

static void test_neurons(void **state)
{
    (void)state;
    for (int counting = COUNT_ALL; counting <= COUNT_NONE; counting++)
        for (int n = STEP_PRE; n <= STEP_SUM; n++)
            for (int64_t rows = 1; rows < 300; rows += 139) {
                steps_user u = {.step = (memory_step)n,
                                .rows = rows,
                                .channels = 3,
                                .k = 2,
                                .blocks = 9,
                                .g = 1,
                                .d = 4,
                                .activation = SG_ACT_SIGMOID,
                                .gate = SG_GATE_AFTER};
                u.counting = (gc_counting)counting;
                check_step(u, rows > 10 ? 5 : 0);
            }
}

static void test_gates(void **state)
{
    (void)state;
    for (int act = 0; act < SG_ACT_COUNT; act++)
        for (int gate = SG_GATE_NONE; gate <= SG_GATE_AFTER; gate++)
            for (int64_t g = 1; g <= 3; g += 2) {
                if (gate == SG_GATE_BEFORE && g > 1) continue;
                steps_user u = {.step = STEP_POST,
                                .rows = 5,
                                .channels = 1,
                                .k = 3,
                                .blocks = 4,
                                .g = g,
                                .d = 4,
                                .activation = (sg_activation)act,
                                .gate = (sg_gate)gate};
                check_step(u, 0);
                u.counting = COUNT_SOME;
                check_step(u, 0);
            }
}

// Rows of a block that are few or many, one tile and several.
static void test_blocks(void **state)
{
    (void)state;
    for (int counting = COUNT_ALL; counting <= COUNT_NONE; counting++)
        for (int n = 0; n < 2; n++) {
            steps_user u = {.rows = 3, .channels = 1, .k = 2, .blocks = 4, .g = 3, .d = 5};
            u.step = n == 0 ? STEP_PRE : STEP_SUM;
            u.counting = (gc_counting)counting;
            check_step(u, 0);
            u.rows = 40;
            check_step(u, 8);
            u.rows = 300;
            check_step(u, 4);
        }
}

static void test_experts(void **state)
{
    (void)state;
    for (int counting = COUNT_ALL; counting <= COUNT_NONE; counting++)
        for (int n = 0; n < 8; n++) {
            steps_user u = {.rows = 11, .channels = 1, .k = 2, .blocks = 4, .g = 3, .d = 5};
            u.step = n / 4 ? STEP_EXPERTS_SUM : STEP_EXPERTS_PRE;
            if (u.step == STEP_EXPERTS_PRE && n / 2 % 2) continue;
            u.bias = n % 2;
            u.gated = n / 2 % 2;
            u.counting = (gc_counting)counting;
            check_step(u, 0);
            u.rows = 300;
            check_step(u, 4);
        }
}

// ---- parts of a gated linear unit ---------------------------------------------------------------

// The parts, the linear one doubled, together: halves, or neighbours.
static sg_tensor *build_parts(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const bool interleaved = *(const bool *)c->user;
    sg_tensor *parts[2];
    sg_glu_split(tape, in[0], interleaved, parts);
    return sg_glu_join(tape, parts[0], sg_add(tape, parts[1], parts[1]), interleaved);
}

// One part alone: the other has no gradient.
static sg_tensor *build_part(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    sg_tensor *parts[2];
    sg_glu_split(tape, in[0], *(const bool *)c->user, parts);
    return parts[1];
}

static void test_parts(void **state)
{
    (void)state;
    enum { rows = 7, f = 5 };
    for (int n = 0; n < 2; n++) {
        const bool interleaved = n;
        sg_real y[rows * 2 * f];
        gc_case c = {.name = "parts", .build = build_parts, .user = &interleaved};
        const sg_real *u = gc_add(&c, "u", 2, (int64_t[]){rows, 2 * f}, 1, 3);
        gc_forward(&c, y, rows * 2 * f);
        for (int i = 0; i < rows * 2 * f; i++) {
            const bool linear = interleaved ? i % 2 : i % (2 * f) >= f;
            assert_true(y[i] == (linear ? 2 : 1) * u[i]);
        }
        gc_check(&c);
        c.build = build_part;
        gc_forward(&c, y, rows * f);
        for (int i = 0; i < rows * f; i++)
            assert_true(y[i] == u[i / f * 2 * f + (interleaved ? 2 * (i % f) + 1 : f + i % f)]);
        gc_check(&c);
        gc_free(&c);
    }
}

// What does not fit is an error of the tape.
static void test_refused(void **state)
{
    (void)state;
    for (int n = 0; n < 10; n++) {
        sg_tape *tape;
        sg_error err = {0};
        sg_tensor *parts[2], *t = NULL;
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        const int64_t two[] = {2, 3}, wide[] = {2, 5}, cells[] = {1, 6, 3}, three[] = {2, 6, 3};
        sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, two, NULL, NULL, true);
        sg_tensor *y = sg_tape_leaf(tape, "y", SG_KIND_REAL, 2, wide, NULL, NULL, true);
        sg_tensor *w = sg_tape_leaf(tape, "w", SG_KIND_REAL, 3, cells, NULL, NULL, true);
        sg_tensor *e = sg_tape_leaf(tape, "e", SG_KIND_REAL, 3, three, NULL, NULL, true);
        sg_selection s = {.channels = 1, .k = 3, .unit = n % 2 ? 3 : 1, .scores = x};
        s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, two, NULL, NULL, false);
        if (n < 2) t = sg_memory_pre(tape, y, &s, w);
        if (n == 2 || n == 3) t = sg_memory_sum(tape, y, &s, w);
        if (n == 4) t = sg_memory_post(tape, x, &s, SG_ACT_GELU, SG_GATE_VALUE);
        if (n == 5) t = sg_memory_post(tape, x, &s, SG_ACT_GELU, SG_GATE_AFTER);
        if (n == 6) t = sg_memory_experts_pre(tape, x, &s, e, NULL); // experts of 3, not of 1
        if (n == 7) t = sg_memory_experts_sum(tape, x, &s, e, NULL, false);
        if (n == 8) assert_false(sg_glu_split(tape, x, false, parts));
        if (n == 9) t = sg_glu_join(tape, x, y, false);
        assert_null(t);
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
        sg_tape_free(tape);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neurons), cmocka_unit_test(test_gates),
        cmocka_unit_test(test_blocks),  cmocka_unit_test(test_experts),
        cmocka_unit_test(test_parts),   cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
