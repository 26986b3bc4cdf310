// Memories of blocks of cells: the grouped product against the plainest loops and by differences,
// in all its paths; the families on top of it (switch, randhash, avgk) with the selection standing
// still; and what they must be equal to: a dense layer where all blocks are selected or there is
// one, a plain top-k of x . k where blocks are single cells; the draw of randhash.
#include <stdlib.h>

#include "ffn/ffn.h"
#include "grad/counts.h"

// ---- the memory -------------------------------------------------------------------------------

typedef enum pattern {
    PATTERN_RANDOM, // k different blocks
    PATTERN_FIRST,  // blocks 0 … k-1 for all rows; the others empty
    PATTERN_LAST    // block B-1 in every slot
} pattern;

typedef struct blocks_user {
    int64_t rows, k, blocks, g, d;
    sg_activation activation;
    sg_gate gate;
    pattern pattern;
    bool tied;   // w_in is w_out
    bool choose; // through sg_memory_cells, which looks at g
    int32_t *ids;
    gc_counting counting;
    int32_t *counts; // (rows); NULL: none
} blocks_user;

static int blocks_keys(const blocks_user *u)
{
    return u->gate == SG_GATE_NONE ? 1 : 2;
}

static sg_tensor *build_blocks(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const blocks_user *u = c->user;
    const int64_t shape[] = {u->rows, u->k};
    const int keys = blocks_keys(u);
    sg_selection s = {.channels = 1, .k = u->k, .unit = u->g, .scores = keys == 2 ? in[1] : NULL};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, u->ids, NULL, false);
    s.counts = gc_counts_leaf(tape, u->counts, u->rows, 1);
    sg_tensor *w_in = in[keys], *w_out = in[u->tied ? keys : keys + 1];
    return u->choose ? sg_memory_cells(tape, in[0], &s, w_in, w_out, u->activation, u->gate)
                     : sg_memory_blocks(tape, in[0], &s, w_in, w_out, u->activation, u->gate);
}

// Adds the result to y; the smallest distance of a pre-activation from 0, where relu has its kink.
static double blocks_naive(const gc_case *c, sg_real *y)
{
    const blocks_user *u = c->user;
    const int keys = blocks_keys(u);
    const sg_real *x = c->in[0].data, *w_in = c->in[keys].data;
    const sg_real *w_out = c->in[u->tied ? keys : keys + 1].data;
    double margin = INFINITY;
    for (int64_t h = 0; h < u->rows * u->k; h++) {
        int64_t row = h / u->k;
        if (!gc_selected(u->counts, u->k, h)) continue;
        for (int64_t cell = u->ids[h] * u->g; cell < (u->ids[h] + 1) * u->g; cell++) {
            double a = 0;
            for (int64_t j = 0; j < u->d; j++)
                a += x[row * u->d + j] * w_in[cell * u->d + j];
            margin = fmin(margin, fabs(a));
            double z = gc_act(a, u->activation);
            if (u->gate == SG_GATE_AFTER) z *= c->in[1].data[h];
            for (int64_t j = 0; j < u->d; j++)
                y[row * u->d + j] += z * w_out[cell * u->d + j];
        }
    }
    return margin;
}

static void blocks_select(const blocks_user *u)
{
    for (int64_t h = 0; h < u->rows * u->k; h++) {
        uint64_t row = (uint64_t)(h / u->k), slot = (uint64_t)(h % u->k);
        int32_t any = (int32_t)sg_rng_permute(5, (uint32_t)row, slot, (uint64_t)u->blocks);
        u->ids[h] = u->pattern == PATTERN_RANDOM  ? any
                    : u->pattern == PATTERN_FIRST ? (int32_t)slot
                                                  : (int32_t)u->blocks - 1;
    }
}

static void check_blocks(blocks_user u, int components)
{
    char name[120];
    snprintf(name, sizeof name, "blocks (%lld rows, %lld of %lld, g %lld, d %lld, act %d, gate %d)",
             (long long)u.rows, (long long)u.k, (long long)u.blocks, (long long)u.g, (long long)u.d,
             (int)u.activation, (int)u.gate);
    gc_case c = {.name = name, .build = build_blocks, .user = &u, .components = components};
    u.ids = sg_alloc_array((size_t)(u.rows * u.k), sizeof *u.ids);
    assert_non_null(u.ids);
    blocks_select(&u);
    u.counts = gc_counts(u.counting, u.rows, u.k, u.ids);
    const int64_t table[] = {1, u.blocks * u.g, u.d};
    sg_real *expected = NULL, *y = gc_room(u.rows * u.d);
    double margin = 0;
    for (uint64_t seed = 1; margin < 1e-4; seed++) {
        if (seed == 500) fail_msg("%s: no seed of 500 stays off the kink", name);
        gc_free(&c);
        sg_free(expected);
        expected = gc_room(u.rows * u.d);
        gc_add(&c, "x", 2, (int64_t[]){u.rows, u.d}, 1, seed);
        if (u.gate != SG_GATE_NONE) gc_add(&c, "scores", 2, (int64_t[]){u.rows, u.k}, 1, seed);
        gc_add(&c, "w_in", 3, table, 0.7, seed);
        if (!u.tied) gc_add(&c, "w_out", 3, table, 0.7, seed);
        margin = blocks_naive(&c, expected);
        if (u.activation != SG_ACT_RELU) margin = 1;
    }
    gc_forward(&c, y, u.rows * u.d);
    gc_expect_close(name, y, expected, u.rows * u.d);
    gc_check(&c);
    if (u.gate != SG_GATE_NONE) gc_check_void(&c, 1, 1, u.counts, u.k);
    sg_free(expected);
    sg_free(y);
    sg_free(u.counts);
    sg_free(u.ids);
    gc_free(&c);
}

static void test_blocks_kinds(void **state)
{
    (void)state;
    for (int act = 0; act < SG_ACT_COUNT; act++)
        for (int gate = 0; gate <= SG_GATE_AFTER; gate += SG_GATE_AFTER) {
            blocks_user u = {.rows = 11,
                             .k = 2,
                             .blocks = 3,
                             .g = 3,
                             .d = 4,
                             .activation = (sg_activation)act,
                             .gate = (sg_gate)gate};
            check_blocks(u, 10); // products
            u.rows = 3;
            check_blocks(u, 10); // few rows a block: cell by cell
            u.choose = true;
            check_blocks(u, 10); // neuron by neuron
            u.g = 17;
            check_blocks(u, 10);
        }
}

static void test_blocks_shapes(void **state)
{
    (void)state;
    blocks_user u = {.rows = 1,
                     .k = 1,
                     .blocks = 1,
                     .g = 1,
                     .d = 1,
                     .activation = SG_ACT_GELU,
                     .gate = SG_GATE_AFTER};
    check_blocks(u, 0);
    u.rows = 40, u.g = 301, u.d = 3; // one block, in slabs
    check_blocks(u, 6);
    u = (blocks_user){.rows = 9, .k = 4, .blocks = 4, .g = 5, .d = 7, .gate = SG_GATE_AFTER};
    check_blocks(u, 0); // all blocks
    u.k = 2, u.blocks = 9, u.pattern = PATTERN_FIRST;
    check_blocks(u, 0); // empty blocks
    u.pattern = PATTERN_LAST;
    check_blocks(u, 0); // one block again and again
    u.tied = true;
    check_blocks(u, 0); // w_in is w_out
}

// More rows than a tile and than are gathered at once; tiles without a hit of some block.
static void test_blocks_many(void **state)
{
    (void)state;
    blocks_user u = {.rows = 1037,
                     .k = 2,
                     .blocks = 40,
                     .g = 2,
                     .d = 3,
                     .activation = SG_ACT_SWISH,
                     .gate = SG_GATE_AFTER};
    check_blocks(u, 4);
    u.pattern = PATTERN_LAST, u.k = 3;
    check_blocks(u, 4);
    u.gate = SG_GATE_NONE, u.pattern = PATTERN_FIRST, u.tied = true;
    check_blocks(u, 4);
}

// Counts, in all paths, tiles without a hit, and no hit at all.
static void test_blocks_counts(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        blocks_user u = {.rows = 11,
                         .k = 3,
                         .blocks = 4,
                         .g = 3,
                         .d = 4,
                         .activation = SG_ACT_SIGMOID, // not 0 at 0
                         .gate = n % 2 ? SG_GATE_AFTER : SG_GATE_NONE,
                         .counting = n / 2 ? COUNT_NONE : COUNT_SOME};
        check_blocks(u, 8); // products
        u.rows = 3;
        check_blocks(u, 8); // few rows a block: cell by cell
        u.choose = true;
        check_blocks(u, 8); // neuron by neuron
        u.g = 17;
        check_blocks(u, 8);
        u = (blocks_user){.rows = 1037,
                          .k = 2,
                          .blocks = 40,
                          .g = 2,
                          .d = 3,
                          .gate = u.gate,
                          .counting = u.counting};
        check_blocks(u, 4);
    }
}

// ---- the families -----------------------------------------------------------------------------

enum { layer_rows = 13, layer_d = 6, layer_words = 50 };

typedef struct layer_user {
    sg_config config;
    sg_param_list params;
    int32_t ids[layer_rows]; // of tokens
    // While recording.
    sg_tensor *const *in; // x, then the parameters
} layer_user;

static sg_tensor *layer_parameter(void *user, const char *prefix, const char *name)
{
    const layer_user *u = user;
    (void)prefix;
    for (size_t i = 0; i < u->params.count; i++)
        if (strcmp(u->params.specs[i].name, name) == 0) return u->in[i + 1];
    return NULL;
}

static sg_tensor *build_layer(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    layer_user *u = (layer_user *)(uintptr_t)c->user;
    const int64_t rows = layer_rows;
    u->in = in;
    sg_builder b = {
        .tape = tape, .config = &u->config, .prefix = "", .parameter = layer_parameter, .user = u};
    b.ids = sg_tape_leaf(tape, "tokens", SG_KIND_INT, 1, &rows, u->ids, NULL, false);
    return sg_ffn_build(&b, in[0]);
}

static sg_config layer_config(const char *family, int64_t F, int64_t E, int64_t g, int64_t k)
{
    sg_config c = {.vocab_size = layer_words,
                   .hidden_size = layer_d,
                   .num_hidden_layers = 1,
                   .num_attention_heads = 1,
                   .head_dim = 6,
                   .max_position_embeddings = 16,
                   .ffn_intermediate_size = F,
                   .ffn_memory_factor = E,
                   .ffn_block_size = g,
                   .ffn_active_neurons = k};
    snprintf(c.ffn, sizeof c.ffn, "%s", family);
    return c;
}

static gc_case layer_open(layer_user *u, const char *name)
{
    gc_case c = {.name = name, .build = build_layer, .user = u, .components = 8};
    sg_error err = {0};
    if (sg_config_complete(&u->config, &err) != SG_OK) fail_msg("%s: %s", name, err.message);
    u->params = (sg_param_list){0};
    sg_ffn_params(&u->config, 0, "", &u->params);
    assert_int_equal(u->params.status, SG_OK);
    for (int i = 0; i < layer_rows; i++)
        u->ids[i] = (int32_t)sg_rng_below(4, 4, (uint64_t)i, layer_words);
    gc_add(&c, "x", 2, (int64_t[]){layer_rows, layer_d}, 1, 3);
    for (size_t i = 0; i < u->params.count; i++)
        gc_add(&c, u->params.specs[i].name, u->params.specs[i].rank, u->params.specs[i].shape, 0.6,
               3);
    return c;
}

static void layer_close(gc_case *c, layer_user *u)
{
    gc_free(c);
    sg_param_list_free(&u->params);
}

// Scores lie further apart than differences move them: the selection stands still.
static void test_families(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {{8, 3, 2, 4}, {8, 3, 0, 0}, {16, 3, 16, 32}, {8, 2, 1, 5}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int f = 0; f < 4; f++) {
            const char *names[] = {"switch", "randhash", "avgk", "avgk"};
            layer_user u = {.config = layer_config(names[f], sizes[s][0], sizes[s][1], sizes[s][2],
                                                   sizes[s][3])};
            if (f == 3) strcpy(u.config.ffn_gate, "after");
            gc_case c = layer_open(&u, names[f]);
            gc_check(&c);
            layer_close(&c, &u);
        }
}

static void transpose(sg_real *to, const sg_real *from, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows * columns; i++)
        to[i % columns * rows + i / columns] = from[i];
}

// The layer of u and a dense one with the same keys and values give the same results; `factor`
// multiplies the dense one's.
static void expect_dense(layer_user u, double factor)
{
    enum { count = layer_rows * layer_d };
    gc_case sparse = layer_open(&u, u.config.ffn);
    int64_t cells = sg_ffn_memory(&u.config).cells;
    layer_user v = {.config = layer_config("mlp", cells, 0, 0, 0)};
    gc_case dense = layer_open(&v, "mlp");
    const gc_input *w_in = &sparse.in[sparse.n_in - 2], *w_out = &sparse.in[sparse.n_in - 1];
    assert_int_equal(w_in->count, cells * layer_d);
    memcpy(dense.in[1].data, w_in->data, (size_t)w_in->count * sizeof(sg_real));
    transpose(dense.in[2].data, w_out->data, cells, layer_d);
    sg_real a[count], b[count];
    gc_forward(&sparse, a, count);
    gc_forward(&dense, b, count);
    for (int i = 0; i < count; i++)
        b[i] *= factor;
    gc_expect_close(u.config.ffn, a, b, count);
    layer_close(&sparse, &u);
    layer_close(&dense, &v);
}

static void test_equal_to_dense(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 4, 16, 24};
    for (int i = 0; i < 4; i++) { // all blocks selected; with g = 48 there is one
        expect_dense((layer_user){.config = layer_config("avgk", 24, 2, sizes[i], 48)}, 1);
        expect_dense((layer_user){.config = layer_config("randhash", 24, 2, sizes[i], 48)}, 1);
    }
    expect_dense((layer_user){.config = layer_config("avgk", 24, 2, 48, 48)}, 1);
    expect_dense((layer_user){.config = layer_config("randhash", 24, 2, 48, 48)}, 1);
    // One expert has the probability 1.
    expect_dense((layer_user){.config = layer_config("switch", 24, 1, 0, 0)}, 1);
}

typedef struct cell_score {
    double score;
    int64_t cell;
} cell_score;

static int larger_first(const void *left, const void *right)
{
    const cell_score *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->cell < b->cell ? -1 : a->cell > b->cell;
}

// With blocks of one cell: the k cells whose keys have the largest products with x; with larger
// ones the blocks with the largest sums of products.
static void check_avgk(int64_t g)
{
    enum { F = 32, E = 3, k = 32, count = layer_rows * layer_d };
    layer_user u = {.config = layer_config("avgk", F, E, g, k)};
    gc_case c = layer_open(&u, "avgk");
    const sg_real *x = c.in[0].data, *w_in = c.in[1].data, *w_out = c.in[2].data;
    sg_real *y = gc_room(count), *expected = gc_room(count);
    for (int64_t r = 0; r < layer_rows; r++) {
        cell_score all[F * E];
        double dots[F * E];
        for (int64_t i = 0; i < F * E / g; i++) {
            all[i] = (cell_score){0, i};
            for (int64_t cell = i * g; cell < (i + 1) * g; cell++) {
                dots[cell] = 0;
                for (int64_t j = 0; j < layer_d; j++)
                    dots[cell] += x[r * layer_d + j] * w_in[cell * layer_d + j];
                all[i].score += dots[cell];
            }
        }
        qsort(all, (size_t)(F * E / g), sizeof *all, larger_first);
        for (int64_t i = 0; i < k / g; i++)
            for (int64_t cell = all[i].cell * g; cell < (all[i].cell + 1) * g; cell++)
                for (int64_t j = 0; j < layer_d; j++)
                    expected[r * layer_d + j] +=
                        gc_act(dots[cell], SG_ACT_GELU) * w_out[cell * layer_d + j];
    }
    gc_forward(&c, y, count);
    gc_expect_close("avgk", y, expected, count);
    sg_free(y);
    sg_free(expected);
    layer_close(&c, &u);
}

static void test_avgk_is_top_k(void **state)
{
    (void)state;
    check_avgk(1);
    check_avgk(4);
    check_avgk(16);
}

// ---- the draw of randhash ---------------------------------------------------------------------

enum { hash_blocks = 12, hash_selected = 5 };

// The blocks of `count` tokens; ids (count, hash_selected).
static void hash_of(const char *prefix, int64_t seed, const int32_t *tokens, int64_t count,
                    int32_t *ids)
{
    sg_config config = layer_config("randhash", 24, 2, 4, 4 * hash_selected);
    config.ffn_hash_seed = seed;
    assert_int_equal(sg_config_complete(&config, NULL), SG_OK);
    assert_int_equal(sg_ffn_memory(&config).blocks, hash_blocks);
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, NULL), SG_OK);
    sg_tensor *x =
        sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){count, layer_d}, NULL, NULL, false);
    sg_builder b = {.tape = tape, .config = &config, .prefix = prefix};
    b.ids = sg_tape_leaf(tape, "tokens", SG_KIND_INT, 1, &count, (void *)(uintptr_t)tokens, NULL,
                         false);
    sg_selection s = sg_router_hash.build(&sg_router_hash, &b, x);
    assert_null(s.scores);
    sg_tape_keep(tape, s.ids);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 2}, NULL), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, NULL), SG_OK);
    sg_run run = {.compute = {.pool = gc_pool(2), .kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    memcpy(ids, sg_ints(s.ids), (size_t)s.ids->count * sizeof *ids);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
}

static void test_hash(void **state)
{
    (void)state;
    enum { words = 3000, b = hash_selected, B = hash_blocks };
    static int32_t tokens[words], ids[words * b], other[words * b];
    int64_t hits[B] = {0};
    for (int i = 0; i < words; i++)
        tokens[i] = i;
    hash_of("model.layers.1.", 7, tokens, words, ids);
    for (int t = 0; t < words; t++)
        for (int i = 0; i < b; i++) {
            assert_in_range(ids[t * b + i], 0, B - 1);
            hits[ids[t * b + i]]++;
            for (int j = 0; j < i; j++)
                assert_int_not_equal(ids[t * b + i], ids[t * b + j]);
        }
    for (int i = 0; i < B; i++) { // five deviations of a binomial law
        double p = (double)b / B, mean = words * p;
        assert_true(fabs((double)hits[i] - mean) < 5 * sqrt(mean * (1 - p)));
    }
    // The law of docs/MODEL.md: the first swap of token 17, and the second.
    uint32_t stream = sg_rng_stream("model.layers.1.mlp.router.hash");
    int32_t first = (int32_t)sg_rng_below(7, stream, 17 * b, B);
    int32_t second = 1 + (int32_t)sg_rng_below(7, stream, 17 * b + 1, B - 1);
    assert_int_equal(ids[17 * b], first);
    assert_int_equal(ids[17 * b + 1], second == first ? 0 : second);
    // Another batch: the same tokens have the same blocks.
    const int32_t some[] = {17, 2999, 0, 17, 17, 5};
    hash_of("model.layers.1.", 7, some, 6, other);
    for (int i = 0; i < 6; i++)
        assert_memory_equal(other + i * b, ids + some[i] * b, b * sizeof *ids);
    // Another layer, another seed: other blocks.
    hash_of("model.layers.2.", 7, tokens, words, other);
    assert_memory_not_equal(other, ids, sizeof ids);
    hash_of("model.layers.1.", 8, tokens, words, other);
    assert_memory_not_equal(other, ids, sizeof ids);
    hash_of("model.layers.1.", 7, tokens, words, other);
    assert_memory_equal(other, ids, sizeof ids);
}

static void test_hash_needs_tokens(void **state)
{
    (void)state;
    sg_config config = layer_config("randhash", 24, 2, 4, 8);
    assert_int_equal(sg_config_complete(&config, NULL), SG_OK);
    sg_error err = {0};
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x =
        sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){3, layer_d}, NULL, NULL, false);
    sg_builder b = {.tape = tape, .config = &config, .prefix = ""};
    assert_null(sg_router_hash.build(&sg_router_hash, &b, x).ids);
    assert_int_not_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_non_null(strstr(err.message, "router hash: x has no token ids"));
    sg_tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_kinds),      cmocka_unit_test(test_blocks_shapes),
        cmocka_unit_test(test_blocks_many),       cmocka_unit_test(test_blocks_counts),
        cmocka_unit_test(test_families),          cmocka_unit_test(test_equal_to_dense),
        cmocka_unit_test(test_avgk_is_top_k),     cmocka_unit_test(test_hash),
        cmocka_unit_test(test_hash_needs_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
