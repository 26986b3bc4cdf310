// Selection of cells by their own keys: against the same thing written with linear, activate and
// top-k (blocks of one), against plain loops (larger blocks), by differences with the selection
// held fixed, and as a dense layer where everything is selected.
#include "ffn/ffn.h"
#include "grad/gradcheck.h"

typedef struct key_user {
    int64_t rows, d, n, block, k;
    sg_activation activation;
} key_user;

static sg_tensor *build_keys(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const key_user *u = c->user;
    return sg_key_topk(tape, in[0], in[1], u->activation, u->block, u->k).scores;
}

static sg_tensor *build_plain(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const key_user *u = c->user;
    sg_tensor *m = sg_activate(tape, sg_linear(tape, in[0], in[1], NULL), u->activation);
    return sg_topk(tape, m, 1, u->k).scores;
}

// Coefficients of one row, and the distance of every product from 0, where relu has its kink.
static double row_coefficients(const gc_case *c, int64_t row, sg_real *m)
{
    const key_user *u = c->user;
    double margin = INFINITY;
    for (int64_t i = 0; i < u->n; i++) {
        m[i] = 0;
        for (int64_t j = 0; j < u->d; j++)
            m[i] += c->in[0].data[row * u->d + j] * c->in[1].data[i * u->d + j];
        if (u->activation == SG_ACT_RELU) margin = fmin(margin, fabs(m[i]));
    }
    sg_kernels_ref()->act_forward(m, m, u->activation, u->n);
    return margin;
}

// Scores by plain loops; the smallest gap between what is selected and what is not, beyond which a
// difference could change the selection.
static double plain_scores(const gc_case *c, sg_real *scores)
{
    const key_user *u = c->user;
    int64_t blocks = u->n / u->block, best = u->k / u->block;
    sg_real *m = gc_room(u->n), *means = gc_room(blocks);
    double margin = INFINITY;
    for (int64_t r = 0; r < u->rows; r++) {
        margin = fmin(margin, row_coefficients(c, r, m));
        for (int64_t b = 0; b < blocks; b++) {
            means[b] = 0;
            for (int64_t j = 0; j < u->block; j++)
                means[b] += m[b * u->block + j] / (double)u->block;
        }
        double last = INFINITY;
        for (int64_t s = 0; s < best; s++) {
            int64_t at = 0;
            for (int64_t b = 1; b < blocks; b++)
                if (means[b] > means[at]) at = b;
            memcpy(scores + r * u->k + s * u->block, m + at * u->block,
                   (size_t)u->block * sizeof *m);
            margin = fmin(margin, last - means[at]); // also among the selected: they may swap
            last = means[at];
            means[at] = -INFINITY;
        }
        for (int64_t b = 0; b < blocks; b++)
            margin = fmin(margin, last - means[b]);
    }
    sg_free(means);
    sg_free(m);
    return margin;
}

static void check_keys(key_user u, int components)
{
    gc_case c = {.name = "key_topk", .build = build_keys, .user = &u, .components = components};
    sg_real *expected = gc_room(u.rows * u.k), *y = gc_room(u.rows * u.k);
    double margin = 0;
    for (uint64_t seed = 1; margin < 2e-4; seed++) {
        if (seed == 500) fail_msg("key_topk: no seed of 500 keeps the selection");
        gc_free(&c);
        gc_add(&c, "x", 2, (int64_t[]){u.rows, u.d}, 1, seed);
        gc_add(&c, "keys", 2, (int64_t[]){u.n, u.d}, 1, seed);
        margin = plain_scores(&c, expected);
    }
    gc_forward(&c, y, u.rows * u.k);
    gc_expect_close("key_topk", y, expected, u.rows * u.k);
    gc_check(&c);
    sg_free(expected);
    sg_free(y);
    gc_free(&c);
}

static void test_kinds(void **state)
{
    (void)state;
    // Where relu cuts, scores are equal and the order is that of the cells: no gap to be held.
    const sg_activation activations[] = {SG_ACT_IDENTITY, SG_ACT_GELU, SG_ACT_SWISH};
    for (int i = 0; i < 3; i++)
        for (int64_t block = 1; block <= 4; block *= 2)
            check_keys((key_user){.rows = 3,
                                  .d = 5,
                                  .n = 12,
                                  .block = block,
                                  .k = 4,
                                  .activation = activations[i]},
                       0);
    check_keys((key_user){2, 5, 12, 6, 6, SG_ACT_RELU}, 0);
}

static void test_shapes(void **state)
{
    (void)state;
    check_keys((key_user){1, 1, 1, 1, 1, SG_ACT_GELU}, 0);
    check_keys((key_user){1, 4, 6, 6, 6, SG_ACT_GELU}, 0); // one block
    check_keys((key_user){4, 3, 6, 3, 6, SG_ACT_GELU}, 0); // all blocks
    check_keys((key_user){5, 4, 9, 3, 3, SG_ACT_SWISH}, 0);
}

// More rows than a tile of the operation, so that gradients of keys add up over tiles.
static void test_tiles(void **state)
{
    (void)state;
    const key_user u = {.rows = 70, .d = 2, .n = 70000, .block = 1, .k = 3};
    key_user twice = u;
    twice.activation = SG_ACT_GELU;
    gc_case c = {.name = "tiles", .build = build_keys, .user = &twice};
    gc_case p = {.name = "plain", .build = build_plain, .user = &twice};
    for (int i = 0; i < 2; i++) {
        gc_add(i ? &p : &c, "x", 2, (int64_t[]){u.rows, u.d}, 1, 1);
        gc_add(i ? &p : &c, "keys", 2, (int64_t[]){u.n, u.d}, 1, 1);
    }
    gc_pass found = {.threads = 3}, expected = {.threads = 1};
    gc_pass_new(&c, &found, NAN);
    gc_pass_new(&p, &expected, NAN);
    gc_run(&c, &found);
    gc_run(&p, &expected);
    for (int i = 0; i < 2; i++)
        gc_expect_close(c.in[i].name, found.grads[i], expected.grads[i], c.in[i].count);
    gc_pass_free(&c, &found);
    gc_pass_free(&p, &expected);
    gc_free(&c);
    gc_free(&p);
}

// Blocks of one are linear, activate and top-k: ties among equal scores too (relu cuts most).
static void test_is_plain_topk(void **state)
{
    (void)state;
    key_user u = {.rows = 40, .d = 6, .n = 30, .block = 1, .k = 20};
    for (int act = 0; act < SG_ACT_COUNT; act++) {
        u.activation = (sg_activation)act;
        gc_case c = {.name = "keys", .build = build_keys, .user = &u};
        gc_case p = {.name = "plain", .build = build_plain, .user = &u};
        sg_real *y = gc_room(u.rows * u.k), *expected = gc_room(u.rows * u.k);
        for (int i = 0; i < 2; i++) {
            gc_add(i ? &p : &c, "x", 2, (int64_t[]){u.rows, u.d}, 1, 1);
            gc_add(i ? &p : &c, "keys", 2, (int64_t[]){u.n, u.d}, 1, 1);
        }
        gc_forward(&c, y, u.rows * u.k);
        gc_forward(&p, expected, u.rows * u.k);
        gc_expect_close("scores", y, expected, u.rows * u.k);
        gc_pass found = {.threads = 1}, plain = {.threads = 1};
        gc_pass_new(&c, &found, NAN);
        gc_pass_new(&p, &plain, NAN);
        gc_run(&c, &found);
        gc_run(&p, &plain);
        for (int i = 0; i < 2; i++)
            gc_expect_close(c.in[i].name, found.grads[i], plain.grads[i], c.in[i].count);
        gc_pass_free(&c, &found);
        gc_pass_free(&p, &plain);
        sg_free(expected);
        sg_free(y);
        gc_free(&c);
        gc_free(&p);
    }
}

// ---- a layer of all cells ---------------------------------------------------------------------

static sg_tensor *build_memory(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const key_user *u = c->user;
    sg_selection s = sg_key_topk(tape, in[0], in[1], u->activation, u->block, u->k);
    sg_tensor *values = sg_reshape(tape, in[2], 3, (int64_t[]){1, u->n, u->d});
    return sg_memory_neurons(tape, NULL, &s, NULL, values, SG_ACT_IDENTITY, SG_GATE_VALUE);
}

// values^T is what a dense layer calls its second matrix: (d, n), so the case has it transposed.
static sg_tensor *build_dense(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const key_user *u = c->user;
    sg_tensor *m = sg_activate(tape, sg_linear(tape, in[0], in[1], NULL), u->activation);
    return sg_linear(tape, m, in[2], NULL);
}

static void test_all_is_dense(void **state)
{
    (void)state;
    for (int64_t block = 1; block <= 24; block *= 2) {
        if (block == 16) block = 24; // 1, 2, 4, 8, 24: one block
        key_user u = {30, 6, 24, block, 24, SG_ACT_GELU};
        gc_case a = {.name = "memory", .build = build_memory, .user = &u};
        gc_case b = {.name = "dense", .build = build_dense, .user = &u};
        for (int i = 0; i < 2; i++) {
            gc_add(i ? &b : &a, "x", 2, (int64_t[]){u.rows, u.d}, 1, 1);
            gc_add(i ? &b : &a, "keys", 2, (int64_t[]){u.n, u.d}, 0.5, 1);
        }
        sg_real *values = gc_add(&a, "values", 2, (int64_t[]){u.n, u.d}, 0.5, 1);
        sg_real *down = gc_add(&b, "values", 2, (int64_t[]){u.d, u.n}, 0.5, 1);
        for (int64_t i = 0; i < u.n * u.d; i++)
            down[i % u.d * u.n + i / u.d] = values[i];
        sg_real *y = gc_room(u.rows * u.d), *expected = gc_room(u.rows * u.d);
        gc_forward(&a, y, u.rows * u.d);
        gc_forward(&b, expected, u.rows * u.d);
        gc_expect_close("all cells", y, expected, u.rows * u.d);
        gc_pass found = {.threads = 2}, dense = {.threads = 1};
        gc_pass_new(&a, &found, NAN);
        gc_pass_new(&b, &dense, NAN);
        gc_run(&a, &found);
        gc_run(&b, &dense);
        gc_expect_close("dx", found.grads[0], dense.grads[0], u.rows * u.d);
        gc_expect_close("dkeys", found.grads[1], dense.grads[1], u.n * u.d);
        for (int64_t i = 0; i < u.n * u.d; i++)
            y[0] = dense.grads[2][i % u.d * u.n + i / u.d],
            gc_expect_close("dvalues", &found.grads[2][i], y, 1);
        gc_pass_free(&a, &found);
        gc_pass_free(&b, &dense);
        sg_free(expected);
        sg_free(y);
        gc_free(&a);
        gc_free(&b);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    const key_user bad[] = {{2, 3, 12, 5, 5, SG_ACT_GELU},  // blocks of 5 do not divide 12
                            {2, 3, 12, 4, 6, SG_ACT_GELU},  // nor do blocks of 4 divide 6
                            {2, 3, 12, 1, 13, SG_ACT_GELU}, // more than there are
                            {2, 3, 12, 1, 0, SG_ACT_GELU},
                            {2, 3, 12, 0, 1, SG_ACT_GELU}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sg_tape *tape;
        sg_error err = {0};
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){bad[i].rows, bad[i].d},
                                    NULL, NULL, true);
        sg_tensor *keys = sg_tape_leaf(tape, "keys", SG_KIND_REAL, 2,
                                       (int64_t[]){bad[i].n, bad[i].d}, NULL, NULL, true);
        assert_null(sg_key_topk(tape, x, keys, bad[i].activation, bad[i].block, bad[i].k).ids);
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
        sg_tape_free(tape);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_tiles),        cmocka_unit_test(test_is_plain_topk),
        cmocka_unit_test(test_all_is_dense), cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
