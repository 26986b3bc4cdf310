// The two ways to read a memory by a selection, against the plainest loops and by differences:
// every activation and gate, shared and own pools, crowded and empty neurons; then what
// the layers must be equal to: the closed form of sgatlin's gradient (spec 5.4), a dense layer
// where everything is selected, and PEER's router written as a plain one (spec 5.3).
#include "ffn/ffn.h"
#include "grad/counts.h"

// ---- neurons ----------------------------------------------------------------------------------

typedef enum pattern {
    PATTERN_RANDOM, // k different neurons
    PATTERN_ONE,    // every hit is neuron n - 1
    PATTERN_ALL,    // k = n: every neuron, in a rotated order
    PATTERN_SAME    // all channels of a row select the same neurons
} pattern;

typedef struct neurons_user {
    int64_t rows, channels, k, pools, n, d;
    sg_activation activation;
    sg_gate gate;
    pattern pattern;
    bool tied; // w_in is w_out; with SG_GATE_VALUE there is neither x nor w_in
    int32_t *ids;
    const sg_stored *narrow; // of w_in and w_out; NULL: none
    gc_counting counting;
    int32_t *counts; // (rows, channels); NULL: none
    sg_memory_path path;
} neurons_user;

// Where w_in stands among the inputs: behind x, and behind the scores where they are read.
static int neurons_keys(const neurons_user *u)
{
    return u->gate == SG_GATE_NONE ? 1 : 2;
}

static sg_tensor *build_neurons(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const neurons_user *u = c->user;
    const int64_t shape[] = {u->rows, u->channels * u->k};
    const int keys = neurons_keys(u);
    sg_selection selection = {.channels = u->channels, .k = u->k, .unit = 1};
    sg_tape_set_memory_path(tape, u->path);
    if (keys == 2) selection.scores = in[1];
    selection.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, u->ids, NULL, false);
    selection.counts = gc_counts_leaf(tape, u->counts, u->rows, u->channels);
    for (int i = 0; u->narrow != NULL && i < 2; i++)
        in[keys + i]->narrow = &u->narrow[i];
    if (u->gate == SG_GATE_VALUE) {
        selection.scores = in[0];
        return sg_memory_neurons(tape, NULL, &selection, NULL, in[1], u->activation, u->gate);
    }
    return sg_memory_neurons(tape, in[0], &selection, in[keys], in[u->tied ? keys : keys + 1],
                             u->activation, u->gate);
}

// Whether hit i, of (rows, channels, k), is selected.
static bool neurons_hit(const neurons_user *u, int64_t i)
{
    return gc_selected(u->counts, u->k, i);
}

static void neurons_select(const neurons_user *u)
{
    for (int64_t i = 0; i < u->rows * u->channels * u->k; i++) {
        int64_t row = i / (u->channels * u->k), group = i / u->k, slot = i % u->k;
        uint64_t n = (uint64_t)u->n;
        switch (u->pattern) {
        case PATTERN_RANDOM:
            u->ids[i] = (int32_t)sg_rng_permute(5, (uint32_t)group, (uint64_t)slot, n);
            break;
        case PATTERN_ONE:
            u->ids[i] = (int32_t)(u->n - 1);
            break;
        case PATTERN_ALL:
            u->ids[i] = (int32_t)((slot + group) % u->n);
            break;
        case PATTERN_SAME:
            u->ids[i] = (int32_t)sg_rng_permute(5, (uint32_t)row, (uint64_t)slot, n);
            break;
        }
    }
}

// The result; also the smallest distance of a pre-activation from 0, where relu has its kink.
static double neurons_naive(const gc_case *c, sg_real *y)
{
    const neurons_user *u = c->user;
    const int keys = neurons_keys(u);
    const sg_real *x = c->in[0].data, *scores = c->in[1].data, *w_in = c->in[keys].data;
    const sg_real *w_out = c->in[u->tied ? keys : keys + 1].data;
    double margin = INFINITY;
    for (int64_t i = 0; i < u->rows * u->channels * u->k; i++) {
        int64_t row = i / (u->channels * u->k), channel = i / u->k % u->channels;
        int64_t at = ((u->pools == 1 ? 0 : channel) * u->n + u->ids[i]) * u->d;
        double a = 0, z;
        if (!neurons_hit(u, i)) continue;
        for (int64_t j = 0; j < u->d; j++)
            a += x[row * u->d + j] * w_in[at + j];
        if (u->gate == SG_GATE_BEFORE) a *= scores[i];
        if (fabs(a) < margin) margin = fabs(a);
        z = gc_act(a, u->activation);
        if (u->gate == SG_GATE_AFTER) z *= scores[i];
        for (int64_t j = 0; j < u->d; j++)
            y[row * u->d + j] += z * w_out[at + j];
    }
    return margin;
}

static double values_naive(const gc_case *c, sg_real *y)
{
    const neurons_user *u = c->user;
    for (int64_t i = 0; i < u->rows * u->channels * u->k; i++) {
        int64_t row = i / (u->channels * u->k), channel = i / u->k % u->channels;
        int64_t at = ((u->pools == 1 ? 0 : channel) * u->n + u->ids[i]) * u->d;
        for (int64_t j = 0; j < u->d && neurons_hit(u, i); j++)
            y[row * u->d + j] += c->in[0].data[i] * c->in[1].data[at + j];
    }
    return 1;
}

static void neurons_add(gc_case *c, const neurons_user *u, uint64_t seed)
{
    if (u->gate == SG_GATE_VALUE) {
        gc_add(c, "scores", 2, (int64_t[]){u->rows, u->channels * u->k}, 1, seed);
        gc_add(c, "w_out", 3, (int64_t[]){u->pools, u->n, u->d}, 0.7, seed);
        return;
    }
    gc_add(c, "x", 2, (int64_t[]){u->rows, u->d}, 1, seed);
    if (u->gate != SG_GATE_NONE)
        gc_add(c, "scores", 2, (int64_t[]){u->rows, u->channels * u->k}, 1, seed);
    gc_add(c, "w_in", 3, (int64_t[]){u->pools, u->n, u->d}, 0.7, seed);
    if (!u->tied) gc_add(c, "w_out", 3, (int64_t[]){u->pools, u->n, u->d}, 0.7, seed);
}

// ---- gradients by rows --------------------------------------------------------------------------

// Rows that were announced to the owner of a table must be those of the selection, in order.
static void announced(void *user, sg_compute compute, const int32_t *ids, int64_t count)
{
    (void)compute;
    const neurons_user *u = user;
    int64_t hits = u->rows * u->channels * u->k;
    int32_t last = -1;
    for (int64_t i = 0; i < count; last = ids[i++]) {
        assert_true(ids[i] > last && ids[i] < u->pools * u->n);
        bool found = false;
        for (int64_t h = 0; h < hits && !found; h++)
            found = neurons_hit(u, h) &&
                    (u->pools == 1 ? 0 : h / u->k % u->channels * u->n) + u->ids[h] == ids[i];
        assert_true(found);
    }
    for (int64_t h = 0; h < hits; h++) {
        int32_t row = (int32_t)((u->pools == 1 ? 0 : h / u->k % u->channels * u->n) + u->ids[h]);
        int64_t low = 0, high = count; // the first that is not below row
        if (!neurons_hit(u, h)) continue;
        while (low < high) {
            int64_t middle = (low + high) / 2;
            if (ids[middle] < row)
                low = middle + 1;
            else
                high = middle;
        }
        assert_true(low < count && ids[low] == row);
    }
}

static void expect_rows(const char *name, const sg_row_grads *rows, const sg_real *whole, bool bits)
{
    sg_real *found = gc_room(rows->rows * rows->width);
    for (int64_t i = 0; i < rows->count; i++) {
        assert_true(i == 0 || rows->ids[i] > rows->ids[i - 1]);
        assert_true(rows->slots[i] >= 0 && rows->slots[i] < rows->count);
        memcpy(found + rows->ids[i] * rows->width, rows->values + rows->slots[i] * rows->width,
               (size_t)rows->width * sizeof *found);
    }
    if (bits)
        for (int64_t i = 0; i < rows->rows * rows->width; i++)
            assert_true(found[i] == whole[i]);
    gc_expect_close(name, found, whole, rows->rows * rows->width);
    sg_free(found);
}

// The same pass twice, with whole gradients and by rows; then a later micro-batch, and one that
// selects other neurons. Sums are in the same order unless channels share a pool, so bits agree.
static void check_rows(gc_case *c, neurons_user *u, bool recompute, bool twice, int threads)
{
    gc_pass whole = {.threads = 1, .recompute = recompute, .twice = twice};
    gc_pass rows = {.threads = threads, .recompute = recompute, .twice = twice};
    gc_pass_new(c, &whole, 0);
    gc_pass_new(c, &rows, 0);
    sg_error err;
    for (int i = 0; i < c->n_in; i++) {
        if (strncmp(c->in[i].name, "w_", 2) != 0) continue;
        assert_int_equal(sg_row_grads_new(u->pools * u->n, u->d, &rows.rows[i], &err), SG_OK);
        rows.rows[i]->before_read = announced;
        rows.rows[i]->user = u;
    }
    for (int pass = 0; pass < 4; pass++) {
        whole.accumulate = rows.accumulate = pass > 0 && pass < 3; // the last begins anew
        for (int64_t h = 0; pass == 2 && h < u->rows * u->channels * u->k; h++)
            if (neurons_hit(u, h)) u->ids[h] = (int32_t)((u->ids[h] + 1) % u->n);
        gc_run(c, &whole);
        gc_run(c, &rows);
        for (int i = 0; i < c->n_in; i++) {
            if (rows.rows[i] == NULL)
                gc_expect_close(c->name, rows.grads[i], whole.grads[i], c->in[i].count);
            else
                expect_rows(c->name, rows.rows[i], whole.grads[i],
                            u->pools == u->channels && !u->tied &&
                                u->path != SG_MEMORY_PATH_DENSE); // sums in other pieces
        }
    }
    for (int i = 0; i < c->n_in; i++)
        sg_row_grads_free(rows.rows[i]);
    gc_pass_free(c, &whole);
    gc_pass_free(c, &rows);
}

static void check_neurons_read(neurons_user u, int components)
{
    const char *activations[] = {"identity", "gelu",  "relu", "swish", "sigmoid",
                                 "gelu_erf", "relu2", "tanh", "abs"};
    const char *gates[] = {"none", "before", "after", "value"};
    char name[160];
    snprintf(name, sizeof name,
             "memory_neurons (%lld rows, %lld of %lld, %lld pools, %s, %s, counting %d, %s)",
             (long long)u.rows, (long long)u.k, (long long)u.n, (long long)u.pools,
             activations[u.activation], gates[u.gate], (int)u.counting,
             sg_memory_path_name(u.path));
    gc_case c = {.name = name, .build = build_neurons, .user = &u, .components = components};
    u.ids = sg_alloc_array((size_t)(u.rows * u.channels * u.k), sizeof *u.ids);
    assert_non_null(u.ids);
    neurons_select(&u);
    u.counts = gc_counts(u.counting, u.rows * u.channels, u.k, u.ids);
    sg_real *expected = NULL, *y = gc_room(u.rows * u.d);
    double margin = 0;
    for (uint64_t seed = 1; margin < 3e-4; seed++) {
        if (seed == 500) fail_msg("%s: no seed of 500 stays off the kink", name);
        gc_free(&c);
        sg_free(expected);
        expected = gc_room(u.rows * u.d);
        neurons_add(&c, &u, seed);
        margin = (u.gate == SG_GATE_VALUE ? values_naive : neurons_naive)(&c, expected);
        if (u.activation != SG_ACT_RELU && u.activation != SG_ACT_ABS) margin = 1;
    }
    gc_forward(&c, y, u.rows * u.d);
    gc_expect_close(name, y, expected, u.rows * u.d);
    gc_check(&c);
    for (int threads = 1; threads < 4; threads++)
        check_rows(&c, &u, threads == 2, threads == 3, threads);
    if (u.gate != SG_GATE_NONE)
        gc_check_void(&c, u.gate == SG_GATE_VALUE ? 0 : 1, 1, u.counts, u.k);
    sg_free(u.counts);
    sg_free(expected);
    sg_free(y);
    sg_free(u.ids);
    gc_free(&c);
}

// In the rows that are selected, and through dense products.
static void check_neurons(neurons_user u, int components)
{
    for (int path = SG_MEMORY_PATH_ROWS; path <= SG_MEMORY_PATH_DENSE; path++) {
        u.path = (sg_memory_path)path;
        check_neurons_read(u, components);
    }
}

// An operation that does not know of gradients by rows would leave its part out.
static void test_rows_refused(void **state)
{
    (void)state;
    sg_tape *tape;
    sg_error err = {0};
    sg_row_grads *rows;
    const int64_t shape[] = {4, 3};
    assert_int_equal(sg_row_grads_new(4, 3, &rows, &err), SG_OK);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, NULL, NULL, true);
    sg_tensor *w = sg_tape_leaf(tape, "w", SG_KIND_REAL, 2, shape, NULL, NULL, true);
    w->row_grads = rows;
    assert_non_null(sg_linear(tape, x, w, NULL));
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.gradient = true}, &err),
                     SG_ERR_INTERNAL);
    assert_string_equal(err.message, "w: linear cannot read it by rows");
    sg_tape_free(tape);
    sg_row_grads_free(rows);
    assert_int_equal(sg_row_grads_new((int64_t)INT32_MAX + 1, 1, &rows, &err), SG_ERR_ARGUMENT);
    assert_null(rows);
}

static void test_neurons_kinds(void **state)
{
    (void)state;
    for (int act = 0; act < SG_ACT_COUNT; act++)
        for (int gate = 0; gate < 3; gate++)
            for (int64_t pools = 1; pools <= 3; pools += 2)
                check_neurons((neurons_user){.rows = 7,
                                             .channels = 3,
                                             .k = 2,
                                             .pools = pools,
                                             .n = 5,
                                             .d = 4,
                                             .activation = (sg_activation)act,
                                             .gate = (sg_gate)gate},
                              12);
}

static void test_neurons_shapes(void **state)
{
    (void)state;
    neurons_user u = {.rows = 1,
                      .channels = 1,
                      .k = 1,
                      .pools = 1,
                      .n = 1,
                      .d = 1,
                      .activation = SG_ACT_SWISH,
                      .gate = SG_GATE_BEFORE};
    check_neurons(u, 0);
    u = (neurons_user){9,
                       2,
                       1,
                       2,
                       6,
                       5,
                       SG_ACT_GELU,
                       SG_GATE_AFTER,
                       PATTERN_RANDOM,
                       false,
                       NULL,
                       NULL,
                       COUNT_ALL,
                       NULL,
                       SG_MEMORY_PATH_AUTO};
    check_neurons(u, 0); // k = 1
    u.k = 6, u.pattern = PATTERN_ALL;
    check_neurons(u, 0); // k = N
    u.k = 1, u.pattern = PATTERN_ONE;
    check_neurons(u, 0); // all rows on one neuron, the others empty
    u.pools = 1;
    check_neurons(u, 0); // and of one shared pool
    u.k = 3, u.channels = 4, u.pattern = PATTERN_SAME;
    check_neurons(u, 0); // several channels hit the same neurons
    u.rows = 1;
    check_neurons(u, 0);
    u.tied = true, u.rows = 6;
    check_neurons(u, 0); // w_in is w_out
    u.pools = u.channels;
    check_neurons(u, 0);
}

// More rows than a tile, more neurons than a chunk of weights.
static void test_neurons_many(void **state)
{
    (void)state;
    neurons_user u = {.rows = 300,
                      .channels = 2,
                      .k = 3,
                      .pools = 2,
                      .n = 70,
                      .d = 9,
                      .activation = SG_ACT_IDENTITY,
                      .gate = SG_GATE_BEFORE};
    check_neurons(u, 6);
    u.pools = 1, u.activation = SG_ACT_GELU, u.gate = SG_GATE_AFTER;
    check_neurons(u, 6);
    u.pattern = PATTERN_ONE, u.k = 1;
    check_neurons(u, 6);
    u.rows = 129;
    check_neurons(u, 6);
    // Neurons hit so often that the reverse index is cut into spans of rows.
    u = (neurons_user){
        2100,           2,     2,    2,    9,         3,    SG_ACT_IDENTITY,    SG_GATE_BEFORE,
        PATTERN_RANDOM, false, NULL, NULL, COUNT_ALL, NULL, SG_MEMORY_PATH_AUTO};
    check_neurons(u, 4);
    u.pools = 1, u.tied = true;
    check_neurons(u, 4);
    u.pattern = PATTERN_ONE, u.k = 1;
    check_neurons(u, 4);
}

// Values alone, in all the shapes that matter to the others.
static void test_values(void **state)
{
    (void)state;
    neurons_user u = {.rows = 1,
                      .channels = 1,
                      .k = 1,
                      .pools = 1,
                      .n = 1,
                      .d = 1,
                      .activation = SG_ACT_RELU, // of no effect
                      .gate = SG_GATE_VALUE};
    check_neurons(u, 0);
    u.rows = 9, u.channels = 3, u.k = 2, u.n = 6, u.d = 5;
    check_neurons(u, 0);
    u.pools = 3;
    check_neurons(u, 0);
    u.k = 6, u.pattern = PATTERN_ALL;
    check_neurons(u, 0);
    u.pools = 1, u.k = 3, u.pattern = PATTERN_SAME;
    check_neurons(u, 0);
    u.rows = 300, u.n = 70, u.pattern = PATTERN_RANDOM;
    check_neurons(u, 6);
    u.rows = 2100, u.n = 9, u.channels = 2, u.k = 2; // spans of rows
    check_neurons(u, 4);
}

// Counts, in all that counts change: gates, pools, tiles, spans, and all of it without a hit.
static void test_counts(void **state)
{
    (void)state;
    for (int counts = COUNT_SOME; counts <= COUNT_NONE; counts++)
        for (int gate = SG_GATE_NONE; gate <= SG_GATE_VALUE; gate++)
            for (int64_t pools = 1; pools <= 3; pools += 2) {
                neurons_user u = {.rows = 7,
                                  .channels = 3,
                                  .k = 5,
                                  .pools = pools,
                                  .n = 9,
                                  .d = 4,
                                  .activation = SG_ACT_SIGMOID, // not 0 at 0
                                  .gate = (sg_gate)gate,
                                  .counting = (gc_counting)counts};
                check_neurons(u, 8);
                u.rows = 1;
                check_neurons(u, 8);
                u.rows = 300, u.n = 70;
                check_neurons(u, 4);
                u.rows = 2100, u.channels = pools, u.k = 4, u.n = 6; // spans, and by table
                if (counts == COUNT_SOME) check_neurons(u, 4);
            }
}

// Both tables or values alone: nothing in between.
static void test_values_refuse(void **state)
{
    (void)state;
    sg_tape *tape;
    sg_error err = {0};
    for (int bad = 0; bad < 3; bad++) {
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        const int64_t shape[] = {2, 3}, table[] = {1, 4, 3};
        sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, NULL, NULL, true);
        sg_tensor *w = sg_tape_leaf(tape, "w", SG_KIND_REAL, 3, table, NULL, NULL, true);
        sg_selection s = {.channels = 1, .k = 3, .unit = 1};
        s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, NULL, NULL, false);
        s.scores = sg_tape_leaf(tape, "scores", SG_KIND_REAL, 2, shape, NULL, NULL, true);
        if (bad == 1) s.scores = x = sg_tape_leaf(tape, "", SG_KIND_REAL, 2, table, 0, 0, true);
        assert_null(sg_memory_neurons(tape, bad == 0 ? x : NULL, &s, bad == 2 ? w : NULL, w,
                                      SG_ACT_IDENTITY, SG_GATE_VALUE));
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
        sg_tape_free(tape);
    }
}

// Tables with a bf16 copy give the result, and every gradient, that tables of the rounded values
// give, whatever their own values are: the rounding is passed straight through.
static void test_neurons_bf16(void **state)
{
    (void)state;
    enum { pools = 2, n = 40, d = 5, count = pools * n * d };
    for (int way = 0; way <= 2 * SG_GATE_AFTER + 1; way++) {
        const int gate = way / 2;
        sg_bf16 rounded[2][count];
        const sg_stored narrow[2] = {{.type = SG_WEIGHTS_BF16, .rows = rounded[0]},
                                     {.type = SG_WEIGHTS_BF16, .rows = rounded[1]}};
        neurons_user u = {150,
                          2,
                          3,
                          pools,
                          n,
                          d,
                          SG_ACT_GELU,
                          (sg_gate)gate,
                          PATTERN_RANDOM,
                          false,
                          NULL,
                          NULL,
                          COUNT_ALL,
                          NULL,
                          way % 2 ? SG_MEMORY_PATH_DENSE : SG_MEMORY_PATH_ROWS};
        gc_case c = {.name = "memory_neurons in bf16", .build = build_neurons, .user = &u};
        u.ids = sg_alloc_array((size_t)(u.rows * u.channels * u.k), sizeof *u.ids);
        assert_non_null(u.ids);
        neurons_select(&u);
        neurons_add(&c, &u, 3);
        const int keys = neurons_keys(&u);
        for (int t = 0; t < 2; t++) {
            sg_kernels_fastest()->to_bf16(rounded[t], c.in[keys + t].data, count);
            sg_kernels_fastest()->from_bf16(c.in[keys + t].data, rounded[t], count);
        }
        gc_pass base = {.threads = 1};
        gc_pass_new(&c, &base, NAN);
        gc_run(&c, &base);
        u.narrow = narrow;
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < count; i++)
                c.in[keys + t].data[i] = NAN; // nobody may look
        for (int threads = 1; threads <= 3; threads++)
            gc_variant(&c, &base, (gc_pass){.threads = threads}, "a bf16 copy");
        gc_variant(&c, &base, (gc_pass){.threads = 2, .recompute = true},
                   "a bf16 copy, recomputed");
        gc_pass_free(&c, &base);
        sg_free(u.ids);
        gc_free(&c);
    }
}

// ---- sgatlin, closed form ---------------------------------------------------------------------

static sg_tensor *build_sgatlin(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const neurons_user *u = c->user;
    sg_selection selection = sg_product_topk(tape, in[1], u->channels, u->k);
    return sg_memory_neurons(tape, in[0], &selection, in[2], in[3], u->activation, u->gate);
}

// Spec 5.4, hit by hit, with act' = 1: dz = dy . w_out, da = g dz, dg = a dz, dW_out += z dy,
// dW_in += da x, dx += da w_in, dS[0, c, i0] += dg, dS[1, c, i1] += dg.
static void sgatlin_closed_form(const gc_case *c, int64_t side, gc_pass *expected)
{
    const neurons_user *u = c->user;
    int64_t d = u->d, half = u->channels * side;
    for (int64_t r = 0; r < u->rows; r++)
        for (int64_t channel = 0; channel < u->channels; channel++) {
            const sg_real *s0 = c->in[1].data + r * 2 * half + channel * side, *s1 = s0 + half;
            int32_t ids[16];
            sg_real g[16], dy[16];
            sg_kernels_ref()->product_topk(ids, g, s0, s1, side, u->k);
            for (int64_t j = 0; j < d; j++)
                dy[j] = gc_weight(r * d + j);
            for (int64_t s = 0; s < u->k; s++) {
                int64_t row = (channel * u->n + ids[s]) * d;
                const sg_real *x = c->in[0].data + r * d;
                const sg_real *w_in = c->in[2].data + row, *w_out = c->in[3].data + row;
                double a = 0, dz = 0;
                for (int64_t j = 0; j < d; j++) {
                    a += x[j] * w_in[j];
                    dz += dy[j] * w_out[j];
                }
                for (int64_t j = 0; j < d; j++) {
                    expected->grads[0][r * d + j] += g[s] * dz * w_in[j];
                    expected->grads[2][row + j] += g[s] * dz * x[j];
                    expected->grads[3][row + j] += g[s] * a * dy[j];
                }
                sg_real *ds = expected->grads[1] + r * 2 * half + channel * side;
                ds[ids[s] / side] += a * dz;
                ds[half + ids[s] % side] += a * dz;
            }
        }
}

static void test_sgatlin_closed_form(void **state)
{
    (void)state;
    const int64_t side = 5;
    neurons_user u = {.rows = 40,
                      .channels = 3,
                      .k = 4,
                      .pools = 3,
                      .n = side * side,
                      .d = 6,
                      .activation = SG_ACT_IDENTITY,
                      .gate = SG_GATE_BEFORE};
    gc_case c = {.name = "sgatlin", .build = build_sgatlin, .user = &u};
    gc_add(&c, "x", 2, (int64_t[]){u.rows, u.d}, 1, 1);
    gc_add(&c, "S", 2, (int64_t[]){u.rows, 2 * u.channels * side}, 1, 2);
    gc_add(&c, "w_in", 3, (int64_t[]){u.pools, u.n, u.d}, 1, 3);
    gc_add(&c, "w_out", 3, (int64_t[]){u.pools, u.n, u.d}, 1, 4);
    gc_pass found = {.threads = 2}, expected = {0};
    gc_pass_new(&c, &found, NAN);
    gc_pass_new(&c, &expected, 0);
    gc_run(&c, &found);
    sgatlin_closed_form(&c, side, &expected);
    for (int i = 0; i < 4; i++) {
        gc_expect_close(c.in[i].name, found.grads[i], expected.grads[i], c.in[i].count);
        assert_true(gc_largest(expected.grads[i], c.in[i].count) > 0.1);
    }
    gc_pass_free(&c, &found);
    gc_pass_free(&c, &expected);
    gc_free(&c);
}

// ---- everything selected: a dense layer -------------------------------------------------------

static sg_tensor *build_dense(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const neurons_user *u = c->user;
    sg_tensor *w = sg_reshape(tape, in[1], 2, (int64_t[]){u->n, u->d});
    return sg_linear(tape, sg_activate(tape, sg_linear(tape, in[0], w, NULL), u->activation), in[2],
                     NULL);
}

static void transpose(sg_real *to, const sg_real *from, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows * columns; i++)
        to[i % columns * rows + i / columns] = from[i];
}

static void check_dense(sg_activation activation)
{
    const int64_t rows = 30, n = 40, d = 6;
    neurons_user u = {.rows = rows,
                      .channels = 1,
                      .k = n,
                      .pools = 1,
                      .n = n,
                      .d = d,
                      .activation = activation,
                      .gate = SG_GATE_NONE,
                      .pattern = PATTERN_ALL};
    gc_case sparse = {.name = "all neurons", .build = build_neurons, .user = &u};
    gc_case dense = {.name = "dense layer", .build = build_dense, .user = &u};
    u.ids = sg_alloc_array((size_t)(rows * n), sizeof *u.ids);
    assert_non_null(u.ids);
    neurons_select(&u);
    neurons_add(&sparse, &u, 1);
    gc_add(&dense, "x", 2, (int64_t[]){rows, d}, 1, 1);
    gc_add(&dense, "w_in", 2, (int64_t[]){n, d}, 0.7, 1);
    transpose(gc_add(&dense, "w_out", 2, (int64_t[]){d, n}, 1, 1), sparse.in[2].data, n, d);
    assert_memory_equal(dense.in[1].data, sparse.in[1].data, (size_t)(n * d) * sizeof(sg_real));
    sg_real *a = gc_room(rows * d), *b = gc_room(rows * d), *turned = gc_room(n * d);
    gc_forward(&sparse, a, rows * d);
    gc_forward(&dense, b, rows * d);
    gc_expect_close("all neurons, result", a, b, rows * d);
    gc_pass p = {.threads = 1}, q = {.threads = 1};
    gc_pass_new(&sparse, &p, NAN);
    gc_pass_new(&dense, &q, NAN);
    gc_run(&sparse, &p);
    gc_run(&dense, &q);
    gc_expect_close("all neurons, dx", p.grads[0], q.grads[0], rows * d);
    gc_expect_close("all neurons, dw_in", p.grads[1], q.grads[1], n * d);
    transpose(turned, q.grads[2], d, n);
    gc_expect_close("all neurons, dw_out", p.grads[2], turned, n * d);
    gc_pass_free(&sparse, &p);
    gc_pass_free(&dense, &q);
    sg_free(a);
    sg_free(b);
    sg_free(turned);
    sg_free(u.ids);
    gc_free(&sparse);
    gc_free(&dense);
}

static void test_dense(void **state)
{
    (void)state;
    for (int act = 0; act < SG_ACT_COUNT; act++)
        check_dense((sg_activation)act);
}

// ---- two routers ------------------------------------------------------------------------------

typedef struct router_user {
    const sg_router *router;
    sg_config config;
    sg_tensor *query, *keys; // leaves of the tape being recorded
} router_user;

static sg_tensor *router_parameter(void *user, const char *prefix, const char *name)
{
    const router_user *u = user;
    (void)prefix;
    return strstr(name, "query") ? u->query : u->keys;
}

static sg_tensor *build_router(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    router_user u = *(const router_user *)c->user;
    u.query = in[1];
    u.keys = in[2];
    sg_builder b = {
        .tape = tape, .config = &u.config, .prefix = "", .parameter = router_parameter, .user = &u};
    return u.router->build(u.router, &b, in[0]).scores;
}

// product_key_value is key_value with the keys of neuron i n + j joined from key i of part 0 and
// key j of part 1, the queries joined likewise, and K doubled (spec 5.3): the scores and what each
// gradient says about the parts agree.
static void test_product_is_key_value(void **state)
{
    (void)state;
    const int64_t rows = 25, d = 6, C = 3, n = 4, K = 5, k = 3;
    router_user product = {.router = &sg_router_product_key_value,
                           .config = {.ffn = "peer",
                                      .hidden_size = d,
                                      .ffn_channels = C,
                                      .ffn_neurons = n * n,
                                      .ffn_key_size = K,
                                      .ffn_top_k = k}};
    router_user plain = product;
    plain.router = &sg_router_key_value;
    plain.config.ffn_key_size = 2 * K;
    gc_case a = {.name = "product_key_value", .build = build_router, .user = &product};
    gc_case b = {.name = "key_value", .build = build_router, .user = &plain};
    gc_add(&a, "x", 2, (int64_t[]){rows, d}, 1, 1);
    gc_add(&b, "x", 2, (int64_t[]){rows, d}, 1, 1);
    const sg_real *qa = gc_add(&a, "query", 2, (int64_t[]){2 * C * K, d}, 1, 2);
    const sg_real *ka = gc_add(&a, "keys", 4, (int64_t[]){2, C, n, K}, 1, 3);
    sg_real *qb = gc_add(&b, "query", 2, (int64_t[]){C * 2 * K, d}, 0, 2);
    sg_real *kb = gc_add(&b, "keys", 3, (int64_t[]){C, n * n, 2 * K}, 0, 3);
    for (int64_t c = 0; c < C; c++)
        for (int64_t part = 0; part < 2; part++) {
            memcpy(qb + (c * 2 + part) * K * d, qa + (part * C + c) * K * d,
                   (size_t)(K * d) * sizeof *qb);
            for (int64_t i = 0; i < n * n; i++)
                memcpy(kb + (c * n * n + i) * 2 * K + part * K,
                       ka + ((part * C + c) * n + (part ? i % n : i / n)) * K,
                       (size_t)K * sizeof *kb);
        }
    sg_real *ya = gc_room(rows * C * k), *yb = gc_room(rows * C * k);
    gc_forward(&a, ya, rows * C * k);
    gc_forward(&b, yb, rows * C * k);
    gc_expect_close("product_key_value, scores", ya, yb, rows * C * k);
    gc_pass p = {.threads = 1}, q = {.threads = 1};
    gc_pass_new(&a, &p, NAN);
    gc_pass_new(&b, &q, NAN);
    gc_run(&a, &p);
    gc_run(&b, &q);
    gc_expect_close("product_key_value, dx", p.grads[0], q.grads[0], rows * d);
    for (int64_t c = 0; c < C; c++)
        for (int64_t part = 0; part < 2; part++)
            gc_expect_close("product_key_value, dquery", p.grads[1] + (part * C + c) * K * d,
                            q.grads[1] + (c * 2 + part) * K * d, K * d);
    gc_pass_free(&a, &p);
    gc_pass_free(&b, &q);
    sg_free(ya);
    sg_free(yb);
    gc_free(&a);
    gc_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_refused),
        cmocka_unit_test(test_neurons_kinds),
        cmocka_unit_test(test_neurons_bf16),
        cmocka_unit_test(test_neurons_shapes),
        cmocka_unit_test(test_neurons_many),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_values_refuse),
        cmocka_unit_test(test_sgatlin_closed_form),
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_product_is_key_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
