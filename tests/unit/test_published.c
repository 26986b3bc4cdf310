// What is published about the layers, on recorded models and the list of parameters: exact
// parameter counts and FLOPs of the TinyStories models and the scaling ladder (spec 5.9, 5.10), and
// that PEER's router is a plain one in disguise (spec 5.3).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "model/config.h"
#include "model/graph.h"

static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};

// ---- counts -----------------------------------------------------------------------------------

static bool not_logits(const sg_node *node)
{
    return !sg_is_cross_entropy(node);
}

typedef struct counts {
    int64_t parameters;
    double flops, formula; // forward, of one sequence: as recorded, and by sg_ffn_counts
} counts;

// Plans a training step without memory for anything.
static counts count_config(const sg_config *c, const char *name, int64_t length)
{
    sg_error err = {0};
    sg_param_list params;
    assert_int_equal(sg_config_params(c, &params, &err), SG_OK);
    counts found = {.parameters = params.total};
    int64_t sum = 0;
    for (size_t i = 0; i < params.count; i++)
        sum += params.specs[i].count;
    assert_int_equal(sum, params.total);
    sg_rope_table rope = {.positions = length, .half = c->head_dim / 2};
    sg_graph_options options = {.batch = 1,
                                .length = length,
                                .output = SG_OUTPUT_LOSS,
                                .gradient = true,
                                .recompute = true,
                                .threads = 1};
    sg_graph *graph;
    if (sg_graph_new(c, &params, NULL, NULL, &rope, &options, &graph, &err) != SG_OK)
        fail_msg("%s: %s", name, err.message);
    for (size_t i = 0; i < params.count; i++)
        if (graph->leaves[i] == NULL) fail_msg("%s: %s is not used", name, params.specs[i].name);
    found.flops = sg_tape_flops(graph->tape, not_logits);
    double all = sg_tape_flops(graph->tape, NULL);
    assert_true(all - found.flops ==
                2.0 * (double)(length * c->hidden_size) * (double)c->vocab_size);
    sg_ffn_count ffn = sg_ffn_counts(c, 0);
    double T = (double)length, d = (double)c->hidden_size;
    double attention = 3 * T * 2 * d * d + 4 * T * T * d + T * 2 * d * d;
    found.formula =
        (double)c->num_hidden_layers * (attention + T * (ffn.router_flops + ffn.memory_flops));
    sg_graph_free(graph);
    sg_param_list_free(&params);
    return found;
}

static void expect_counts(const char *name, int64_t length, int64_t parameters, double flops)
{
    sg_error err = {0};
    sg_preset preset;
    if (sg_preset_find(name, &preset, &err) != SG_OK) fail_msg("%s", err.message);
    counts found = count_config(&preset.config, name, length);
    if (parameters != found.parameters)
        fail_msg("%s: found %lld parameters, expected %lld", name, (long long)found.parameters,
                 (long long)parameters);
    if (flops != found.flops || flops != found.formula)
        fail_msg("%s, %lld tokens: found %.0f FLOPs recorded and %.0f by formula, expected %.0f",
                 name, (long long)length, found.flops, found.formula, flops);
}

static void test_tinystories(void **state)
{
    (void)state;
    expect_counts("tinystories-mlp", 1024, 5245696, 10737418240);
    expect_counts("tinystories-glu", 1024, 6303488, 12884901888);
    expect_counts("tinystories-moe", 1024, 28396288, 19344130048);
    expect_counts("tinystories-peer", 1024, 7604992, 11542724608);
    expect_counts("tinystories-sgatlin", 1024, 20318976, 7516192768);
}

// Scales 2 to 8; mlp, glu, moe, peer, sgatlin.
static const int64_t ladder_parameters[7][5] = {
    {14966016, 15495424, 26565888, 32529664, 67132672},
    {27562368, 29936256, 65458560, 84676992, 223777152},
    {44616192, 49883648, 135055872, 189319680, 573622784},
    {68224640, 78092160, 245581440, 376735360, 1235420800},
    {104679168, 123611904, 407258880, 684279552, 2356233984},
    {147819392, 176797824, 630311808, 1156385664, 4111436672},
    {202494976, 244536320, 924963840, 1844564992, 6704714752},
};

// Three times the forward FLOPs of a sequence of 1024 tokens, then of 2048.
static const int64_t ladder_flops[2][7][5] = {
    {{25769803776, 28991029248, 29091692544, 54760833024, 25769803776},
     {79725330432, 94220845056, 83575701504, 128043712512, 64021856256},
     {167503724544, 199715979264, 180791279616, 238370684928, 125627793408},
     {301989888000, 362387865600, 332818022400, 390573588480, 215419453440},
     {521838526464, 637802643456, 551735525376, 589484261376, 338228674560},
     {789200240640, 966770294784, 849623384064, 839934541824, 498887294976},
     {1133871366144, 1391569403904, 1238561193984, 1146756268032, 702227152896}},
    {{77309411328, 83751862272, 83953188864, 135291469824, 77309411328},
     {217432719360, 246423748608, 225133461504, 314069483520, 186025771008},
     {438086664192, 502511173632, 464661774336, 579820584960, 354334801920},
     {765041049600, 885837004800, 826697318400, 942208450560, 591900180480},
     {1275605286912, 1507533520896, 1335399284736, 1410896756736, 908385583104},
     {1894080577536, 2249220685824, 2014926864384, 1995549179904, 1313454686208},
     {2680059592704, 3195455668224, 2889439248384, 2705829396480, 1816771166208}},
};

static void test_ladder(void **state)
{
    (void)state;
    for (int f = 0; f < 5; f++)
        for (int s = 0; s < 7; s++)
            for (int t = 0; t < 2; t++) {
                char name[40];
                snprintf(name, sizeof name, "slimpajama-%s-s%d", families[f], s + 2);
                expect_counts(name, 1024 << t, ladder_parameters[s][f],
                              (double)ladder_flops[t][s][f] / 3);
            }
}

// The TinyStories sgatlin with each router: d = 256, L = 4, C = 8, N = 1024, n = 32, K = 128, k =
// 8.
static void test_router_counts(void **state)
{
    (void)state;
    const struct {
        const char *router;
        double flops; // of one token and layer
        int64_t parameters;
    } expected[] = {
        {"product_dense", 2. * 256 * 128 + 4. * 8 * 32 * 128, 256 * 128 + 2 * 128 * 8 * 32},
        {"product_key_value", 4. * 8 * 128 * 256 + 4. * 8 * 32 * 128,
         2 * 8 * 32 * 128 + 2 * 8 * 256 * 128},
        {"dense", 2. * 256 * 128 + 2. * 128 * 1024 * 8, 256 * 128 + 128 * 8 * 1024},
        {"key_value", 2. * 8 * 128 * 256 + 2. * 8 * 128 * 1024, 8 * 1024 * 128 + 8 * 256 * 128},
    };
    for (int r = 0; r < 4; r++) {
        sg_error err = {0};
        sg_preset preset;
        assert_int_equal(sg_preset_find("tinystories-sgatlin", &preset, &err), SG_OK);
        assert_int_equal(sg_config_set(&preset.config, "ffn_router", expected[r].router, &err),
                         SG_OK);
        assert_int_equal(sg_config_complete(&preset.config, &err), SG_OK);
        counts found = count_config(&preset.config, expected[r].router, 1024);
        const double attention = 4. * 2 * 256 * 256 + 4. * 1024 * 256, memory = 4. * 8 * 8 * 256;
        assert_true(found.flops == 4 * 1024 * (attention + expected[r].flops + memory));
        assert_true(found.flops == found.formula);
        const int64_t rest = 8192 * 256 + 256 + 4 * (4 * 256 * 256 + 2 * 64 + 2 * 256);
        assert_int_equal(found.parameters,
                         rest + 4 * (expected[r].parameters + 2 * 8 * 1024 * 256));
    }
}

// The TinyStories scale with memories of cells: d = 256, L = 4, F = k = 1024, E = 8; spec 6.3 of
// the sparse feed-forward layers: a dense layer's FLOPs, and 2 B d where blocks are scored.
static void test_cell_counts(void **state)
{
    (void)state;
    const struct {
        const char *ffn;
        int64_t g, scored, routed; // blocks with a score, blocks with a row of a router
    } expected[] = {
        {"switch", 0, 8, 8},   {"switch", 64, 128, 128}, {"switch", 8, 1024, 1024},
        {"randhash", 0, 0, 0}, {"randhash", 64, 0, 0},   {"randhash", 1, 0, 0},
        {"avgk", 64, 128, 0},  {"avgk", 1024, 8, 0},     {"avgk", 1, 8192, 0},
        {"avgk", 16, 512, 0},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        sg_preset preset;
        sg_error err = {0};
        assert_int_equal(sg_preset_find("tinystories-mlp", &preset, &err), SG_OK);
        assert_int_equal(sg_preset_set_family(&preset, expected[i].ffn, &err), SG_OK);
        preset.config.ffn_block_size = expected[i].g;
        counts found = count_config(&preset.config, expected[i].ffn, 1024);
        const double attention = 4. * 2 * 256 * 256 + 4. * 1024 * 256, dense = 4. * 1024 * 256;
        assert_true(found.flops ==
                    4 * 1024 * (attention + dense + 2. * 256 * (double)expected[i].scored));
        assert_true(found.flops == found.formula);
        const int64_t rest = 8192 * 256 + 256 + 4 * (4 * 256 * 256 + 2 * 64 + 2 * 256);
        assert_int_equal(found.parameters,
                         rest + 4 * (2 * 8 * 1024 * 256 + 256 * expected[i].routed));
    }
}

// Each row is whole: its memory has all that is asked of one, each of its routers is there, and a
// router by keys finds words for the sizes that it refuses.
static void test_rows(void **state)
{
    (void)state;
    for (size_t f = 0; sg_family_at(f) != NULL; f++) {
        const sg_family *family = sg_family_at(f);
        const sg_memory *memory = family->memory;
        assert_ptr_equal(sg_family_find(family->name), family);
        assert_true(family->sizes != NULL && memory->name && memory->cell && memory->block);
        assert_true(memory->shape && memory->params && memory->build && memory->count);
        for (int i = 0; i < SG_FAMILY_CHOICES && family->routers[i] != NULL; i++) {
            sg_config c = {0};
            snprintf(c.ffn_router, sizeof c.ffn_router, "%s", family->routers[i]);
            const sg_router *router = sg_ffn_router(&c);
            assert_int_equal(router == NULL, memory->dense);
            if (router == NULL) continue;
            assert_string_equal(router->name, family->routers[i]);
            assert_true(router->check && router->params && router->build && router->count);
            const bool by_keys = router->check == sg_router_dense.check;
            assert_true(!by_keys || (memory->say_cells && memory->say_selected));
        }
    }
    assert_null(sg_family_find("lstm"));
}

// What the tape of every family counts, with the sizes that its preset gives it, is its formula; so
// the widths and numbers that a pass is refused by are those of what is recorded.
static void test_every_family(void **state)
{
    (void)state;
    for (size_t f = 0; sg_family_name(f) != NULL; f++) {
        sg_preset preset;
        sg_error err = {0};
        assert_int_equal(sg_preset_find("tinystories-mlp", &preset, &err), SG_OK);
        assert_int_equal(sg_preset_set_family(&preset, sg_family_name(f), &err), SG_OK);
        counts found = count_config(&preset.config, sg_family_name(f), 128);
        if (found.flops != found.formula)
            fail_msg("%s: found %.0f FLOPs recorded, expected %.0f", sg_family_name(f), found.flops,
                     found.formula);
        const sg_ffn_count one = sg_ffn_counts(&preset.config, 0);
        const sg_memory_shape m = sg_ffn_memory(&preset.config);
        assert_true(one.hits % (m.channels * m.selected) == 0);
        assert_true(one.numbers >= (double)(m.channels * m.selected * m.block));
        assert_true(sg_ffn_total(&preset.config).hits == one.hits);
        assert_true(sg_ffn_total(&preset.config).numbers == 4 * one.numbers);
    }
}

// ---- routers ----------------------------------------------------------------------------------

enum { router_rows = 25, router_d = 6, channels = 3, side = 4, key = 5, top = 3 };

typedef struct router_leaves {
    sg_tensor *query, *keys;
} router_leaves;

static sg_tensor *router_parameter(void *user, const char *prefix, const char *name)
{
    const router_leaves *l = user;
    (void)prefix;
    return strstr(name, "query") ? l->query : l->keys;
}

// Runs a router over x (rows, d); results (rows, channels*k).
static void run_router(const sg_router *router, int64_t key_size, sg_real *x, sg_real *query,
                       sg_real *keys, int rank, const int64_t *key_shape, int32_t *ids,
                       sg_real *scores)
{
    sg_error err = {0};
    sg_tape *tape;
    sg_config config = {.ffn = "peer",
                        .hidden_size = router_d,
                        .ffn_channels = channels,
                        .ffn_neurons = side * side,
                        .ffn_key_size = key_size,
                        .ffn_top_k = top};
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    router_leaves l;
    sg_tensor *input = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){router_rows, router_d},
                                    x, NULL, false);
    l.query = sg_tape_leaf(tape, "query", SG_KIND_REAL, 2,
                           (int64_t[]){2 * channels * key, router_d}, query, NULL, false);
    l.keys = sg_tape_leaf(tape, "keys", SG_KIND_REAL, rank, key_shape, keys, NULL, false);
    sg_builder b = {
        .tape = tape, .config = &config, .prefix = "", .parameter = router_parameter, .user = &l};
    sg_selection s = router->build(router, &b, input);
    sg_tape_keep(tape, s.ids);
    sg_tape_keep(tape, s.scores);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    assert_int_equal(s.ids->count, router_rows * channels * top);
    memcpy(ids, s.ids->data, (size_t)s.ids->count * sizeof *ids);
    memcpy(scores, s.scores->data, (size_t)s.ids->count * sizeof *scores);
    sg_tape_free(tape);
}

// The key of neuron i n + j is [key i of part 0; key j of part 1], the query [part 0; part 1], and
// 1/sqrt(2K) is the usual scale of vectors of 2K (spec 5.3).
static void test_product_is_key_value(void **state)
{
    (void)state;
    enum { n = side, N = side * side, C = channels, K = key, d = router_d };
    static sg_real x[router_rows * d], qa[2 * C * K * d], qb[2 * C * K * d];
    static sg_real ka[2 * C * n * K], kb[C * N * 2 * K];
    for (uint64_t i = 0; i < router_rows * d; i++)
        x[i] = (sg_real)sg_rng_normal(1, 1, i);
    for (uint64_t i = 0; i < 2 * C * K * d; i++)
        qa[i] = (sg_real)sg_rng_normal(1, 2, i);
    for (uint64_t i = 0; i < 2 * C * n * K; i++)
        ka[i] = (sg_real)sg_rng_normal(1, 3, i);
    for (int c = 0; c < C; c++)
        for (int part = 0; part < 2; part++) {
            memcpy(qb + (c * 2 + part) * K * d, qa + (part * C + c) * K * d, K * d * sizeof *qb);
            for (int i = 0; i < N; i++)
                memcpy(kb + (c * N + i) * 2 * K + part * K,
                       ka + ((part * C + c) * n + (part ? i % n : i / n)) * K, K * sizeof *kb);
        }
    enum { hits = router_rows * C * top };
    int32_t ids[2][hits];
    sg_real scores[2][hits];
    run_router(&sg_router_product_key_value, K, x, qa, ka, 4, (int64_t[]){2, C, n, K}, ids[0],
               scores[0]);
    run_router(&sg_router_key_value, 2 * K, x, qb, kb, 3, (int64_t[]){C, N, 2 * K}, ids[1],
               scores[1]);
    assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
    for (int i = 0; i < hits; i++)
        assert_true(fabs((double)scores[0][i] - (double)scores[1][i]) <=
                    1e-5 * (1 + fabs((double)scores[1][i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tinystories),
        cmocka_unit_test(test_ladder),
        cmocka_unit_test(test_router_counts),
        cmocka_unit_test(test_cell_counts),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_product_is_key_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
