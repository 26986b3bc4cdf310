// Models whose layers differ, and what routers add to a loss, as a whole and in double: the
// gradient of everything together, memories that layers share, accumulation, the bias that balances
// a choice.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/config.h"
#include "model/graph.h"
#include "train/usage.h"

enum { batch = 4, length = 8, vocab = 23 };

typedef struct whole {
    sg_config config;
    sg_param_list params;
    sg_param_block values, grads;
    sg_rope_table rope;
    sg_graph *graph;
    int32_t ids[batch * length], targets[batch * length];
} whole;

// "ffn_layers=1,3;ffn=moe"
static sg_config config_of(const char *text)
{
    sg_error err = {0};
    sg_config c = {.vocab_size = vocab,
                   .hidden_size = 12,
                   .num_hidden_layers = 3,
                   .num_attention_heads = 2,
                   .head_dim = 6,
                   .max_position_embeddings = length,
                   .ffn_intermediate_size = 10,
                   .ffn_experts = 5,
                   .ffn_channels = 2,
                   .ffn_neurons = 25,
                   .ffn_key_size = 6,
                   .ffn_top_k = 2,
                   .ffn_memory_factor = 3};
    char copy[256], *at = copy;
    snprintf(copy, sizeof copy, "%s", text);
    while (at != NULL) {
        char *end = strchr(at, ';'), *value = strchr(at, '=');
        if (end != NULL) *end++ = '\0';
        *value++ = '\0';
        if (sg_config_set(&c, at, value, &err) != SG_OK) fail_msg("%s", err.message);
        at = end;
    }
    if (sg_config_complete(&c, &err) != SG_OK) fail_msg("%s: %s", text, err.message);
    return c;
}

static void whole_open(whole *w, const char *text, int64_t rows, int64_t micro_batches,
                       bool recompute, const sg_points *points)
{
    sg_error err = {0};
    *w = (whole){.config = config_of(text)};
    assert_int_equal(sg_config_params(&w->config, &w->params, &err), SG_OK);
    assert_int_equal(sg_param_block_new(&w->params, "weights", NULL, NULL, &w->values, &err),
                     SG_OK);
    assert_int_equal(sg_param_block_new(&w->params, "gradients", NULL, NULL, &w->grads, &err),
                     SG_OK);
    assert_int_equal(
        sg_rope_table_new(&w->rope, length, &(sg_rope_options){.dim = 6, .theta = 10000}, &err),
        SG_OK);
    for (size_t i = 0; i < w->params.count; i++)
        sg_param_init(&w->params.specs[i], 3, NULL, w->values.parts[i]);
    sg_graph_options options = {.batch = rows,
                                .length = length,
                                .output = SG_OUTPUT_LOSS,
                                .gradient = points == NULL,
                                .recompute = recompute,
                                .micro_batches = micro_batches,
                                .points = points,
                                .threads = 1};
    if (sg_graph_new(&w->config, &w->params, w->values.parts, w->grads.parts, &w->rope, &options,
                     &w->graph, &err) != SG_OK)
        fail_msg("%s: %s", text, err.message);
    for (int64_t i = 0; i < batch * length; i++) {
        w->ids[i] = (int32_t)sg_rng_below(5, 1, (uint64_t)i, vocab);
        w->targets[i] = i % 7 == 3 ? -1 : (int32_t)sg_rng_below(5, 2, (uint64_t)i, vocab);
    }
    w->graph->ids->data = w->ids;
    w->graph->targets->data = w->targets;
    w->graph->stats.normaliser = 20;
}

static void whole_close(whole *w)
{
    sg_graph_free(w->graph);
    sg_rope_table_free(&w->rope);
    sg_param_block_free(&w->grads);
    sg_param_block_free(&w->values);
    sg_param_list_free(&w->params);
}

static void whole_pass(whole *w, bool backward, bool accumulate)
{
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}, .accumulate = accumulate};
    sg_tape_forward(w->graph->tape, &run);
    if (backward) sg_tape_backward(w->graph->tape, &run);
}

static double whole_total(const whole *w)
{
    double sum = 0;
    for (int i = 0; i < sg_tape_nodes(w->graph->tape); i++) {
        const sg_node *node = sg_tape_node_at(w->graph->tape, i);
        if (node->loss_weight != 0) sum += node->loss_weight * sg_values(node->out[0])[0];
    }
    return sum;
}

static size_t find(const whole *w, const char *name)
{
    for (size_t i = 0; i < w->params.count; i++)
        if (strcmp(w->params.specs[i].name, name) == 0) return i;
    fail_msg("there is no %s", name);
    return 0;
}

// ---- the gradient of everything -----------------------------------------------------------------

static const char *const models[] = {
    "ffn=moe;ffn_balance_loss=0.3;ffn_z_loss=0.2;ffn_layers=every:2",
    ("ffn=moe;ffn_score=sigmoid;ffn_renormalise=1;ffn_shared_experts=2;ffn_bias_rate=0.1;"
     "ffn_balance_loss=0.4;ffn_layers=2-3;ffn_dense=glu"),
    "ffn=moe;ffn_capacity_factor=0.7;ffn_share_pool=1;ffn_renormalise=1",
    "ffn=switch;ffn_block_size=5;ffn_balance_loss=0.5;ffn_z_loss=0.1;ffn_renormalise=1",
    "ffn=avgk;ffn_block_size=2;ffn_balance_loss=0.5;ffn_share_pool=1;ffn_layers=1,3",
    "ffn=peer;ffn_share_pool=1;ffn_layers=1-2;ffn_dense_size=9",
    "ffn=sgatlin;ffn_share_pool=1",
    "ffn=memory_plus;ffn_memory_factor=10;ffn_active_neurons=8;ffn_share_pool=1;ffn_query_bias=1",
    "ffn=omnimoe;ffn_share_pool=1;ffn_layers=1,3",
};
enum { model_count = sizeof models / sizeof *models };

// Along one random direction of each parameter, with a step that moves no selection.
static void check_gradient(const char *text)
{
    whole w;
    const double step = 1e-6;
    whole_open(&w, text, batch, 1, false, NULL);
    whole_pass(&w, true, false);
    for (size_t p = 0; p < w.params.count; p++) {
        const sg_param_spec *spec = &w.params.specs[p];
        if (spec->buffer != SG_BUFFER_NONE) continue;
        double slope = 0, size = 0, value[2];
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < spec->count; i++) {
                double d = sg_rng_normal(7, (uint32_t)p, (uint64_t)i);
                w.values.parts[p][i] += (s ? -2 : 1) * step * d;
                if (s == 0) {
                    slope += d * w.grads.parts[p][i];
                    size += fabs(d * w.grads.parts[p][i]);
                }
            }
            whole_pass(&w, false, false);
            value[s] = whole_total(&w);
        }
        for (int64_t i = 0; i < spec->count; i++)
            w.values.parts[p][i] += step * sg_rng_normal(7, (uint32_t)p, (uint64_t)i);
        double found = (value[0] - value[1]) / (2 * step);
        if (!(fabs(found - slope) <= 1e-6 * size + 2e-8))
            fail_msg("%s: %s: gradient %.12g, central difference %.12g", text, spec->name, slope,
                     found);
    }
    whole_close(&w);
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < model_count; i++)
        check_gradient(models[i]);
}

static void test_recomputation(void **state)
{
    (void)state;
    for (int m = 0; m < model_count; m++) {
        whole a, b;
        whole_open(&a, models[m], batch, 1, false, NULL);
        whole_open(&b, models[m], batch, 1, true, NULL);
        whole_pass(&a, true, false);
        whole_pass(&b, true, false);
        for (size_t p = 0; p < a.params.count; p++)
            assert_memory_equal(a.grads.parts[p], b.grads.parts[p],
                                (size_t)a.params.specs[p].count * sizeof(sg_real));
        whole_close(&b);
        whole_close(&a);
    }
}

// ---- accumulation -------------------------------------------------------------------------------

// Two micro-batches of a step give the mean of what each gives alone.
static void test_accumulation(void **state)
{
    (void)state;
    whole step, alone;
    whole_open(&step, models[0], batch / 2, 2, false, NULL);
    whole_open(&alone, models[0], batch / 2, 1, false, NULL);
    alone.graph->stats.normaliser = step.graph->stats.normaliser / 2;
    sg_error err = {0};
    sg_param_block sum;
    assert_int_equal(sg_param_block_new(&step.params, "sums", NULL, NULL, &sum, &err), SG_OK);
    double balance = 0;
    for (int m = 0; m < 2; m++) {
        step.graph->ids->data = alone.graph->ids->data = step.ids + m * batch / 2 * length;
        step.graph->targets->data = alone.graph->targets->data =
            step.targets + m * batch / 2 * length;
        whole_pass(&step, true, m > 0);
        whole_pass(&alone, true, false);
        balance = sg_graph_loss_mean(step.graph, sg_is_balance_loss);
        assert_true(balance == sg_graph_loss_mean(alone.graph, sg_is_balance_loss));
        for (size_t p = 0; p < step.params.count; p++)
            for (int64_t i = 0; i < step.params.specs[p].count; i++)
                sum.parts[p][i] += alone.grads.parts[p][i] / 2;
    }
    for (size_t p = 0; p < step.params.count; p++)
        for (int64_t i = 0; i < step.params.specs[p].count; i++)
            if (!(fabs(step.grads.parts[p][i] - sum.parts[p][i]) <= 1e-12))
                fail_msg("%s: found %.15g, expected %.15g", step.params.specs[p].name,
                         step.grads.parts[p][i], sum.parts[p][i]);
    assert_true(isnan(sg_graph_loss_mean(step.graph, sg_is_cross_entropy)) == false);
    sg_param_block_free(&sum);
    whole_close(&alone);
    whole_close(&step);
}

// ---- one memory for several layers --------------------------------------------------------------

// The model with a memory for all layers, and the same with equal memories in layers 1 and 3.
static void shared_and_own(const char *kind, whole *one, whole *many)
{
    char text[256];
    snprintf(text, sizeof text, "%s;ffn_layers=1,3", kind);
    whole_open(many, text, batch, 1, false, NULL);
    snprintf(text, sizeof text, "%s;ffn_layers=1,3;ffn_share_pool=1", kind);
    whole_open(one, text, batch, 1, false, NULL);
    for (size_t p = 0; p < one->params.count; p++) {
        const sg_param_spec *spec = &one->params.specs[p];
        const char *own = strstr(spec->name, "shared_memory.");
        for (int layer = 0; layer < (own ? 3 : 1); layer += 2) {
            char name[SG_PARAM_NAME];
            snprintf(name, sizeof name, own ? "model.layers.%d.mlp.%s" : "%.0d%s", layer,
                     own ? own + strlen("shared_memory.") : spec->name);
            memcpy(many->values.parts[find(many, name)], one->values.parts[p],
                   (size_t)spec->count * sizeof(sg_real));
        }
    }
    whole_pass(one, true, false);
    whole_pass(many, true, false);
}

// A shared table has the sum of the gradients that equal tables of the layers have.
static void test_shared_memory(void **state)
{
    (void)state;
    static const char *const kinds[][3] = {
        {"ffn=peer", "experts.w_in.weight", "experts.w_out.weight"},
        {"ffn=omnimoe", "experts.w_in.weight", "experts.w_out.weight"},
        {"ffn=memory_plus;ffn_memory_factor=10;ffn_active_neurons=8", "experts.w_out.weight"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        whole one, many;
        size_t tables = kinds[k][2] != NULL ? 2 : 1;
        shared_and_own(kinds[k][0], &one, &many);
        assert_int_equal(many.params.count, one.params.count + tables);
        assert_true(whole_total(&one) == whole_total(&many));
        for (size_t t = 1; t <= tables; t++) {
            char shared[SG_PARAM_NAME], first[SG_PARAM_NAME], third[SG_PARAM_NAME];
            snprintf(shared, sizeof shared, "model.shared_memory.%s", kinds[k][t]);
            snprintf(first, sizeof first, "model.layers.0.mlp.%s", kinds[k][t]);
            snprintf(third, sizeof third, "model.layers.2.mlp.%s", kinds[k][t]);
            size_t s = find(&one, shared), a = find(&many, first), b = find(&many, third);
            double largest = 0;
            for (int64_t i = 0; i < one.params.specs[s].count; i++) {
                double sum = many.grads.parts[a][i] + many.grads.parts[b][i];
                largest = fmax(largest, fabs(many.grads.parts[b][i]));
                assert_true(fabs(one.grads.parts[s][i] - sum) <= 1e-15);
            }
            assert_true(largest > 1e-6); // the third layer has its part
        }
        whole_close(&many);
        whole_close(&one);
    }
}

// ---- balance ------------------------------------------------------------------------------------

static void test_bias_moves(void **state)
{
    (void)state;
    const char *text = "ffn=moe;ffn_score=sigmoid;ffn_bias_rate=0.25";
    whole w, eval;
    whole_open(&w, text, batch, 1, true, NULL);
    sg_use_counts counts;
    assert_int_equal(sg_use_counts_new(&w.config, (sg_compute){0}, &counts, NULL), SG_OK);
    const sg_point_request request = sg_use_counts_request(&counts);
    whole_open(&eval, text, batch, 1, false, &(sg_points){&request, 1});
    whole_pass(&w, true, false);
    whole_pass(&eval, false, false);
    sg_buffers_update(&w.params, w.values.parts, w.grads.parts, 1);
    int64_t rows = 0;
    for (int i = 0; i < batch * length; i++)
        rows += w.targets[i] >= 0;
    for (int l = 0; l < 3; l++) {
        char name[SG_PARAM_NAME];
        int64_t all = 0;
        snprintf(name, sizeof name, "model.layers.%d.mlp.router.bias", l);
        size_t p = find(&w, name);
        for (int e = 0; e < 5; e++)
            all += counts.layers[l][e];
        assert_int_equal(all, 2 * rows);
        for (int e = 0; e < 5; e++) {
            assert_true(w.grads.parts[p][e] == (double)counts.layers[l][e]);
            double sign = (all > 5 * counts.layers[l][e]) - (all < 5 * counts.layers[l][e]);
            assert_true(w.values.parts[p][e] == 0.25 * sign);
        }
    }
    sg_use_counts_free(&counts);
    whole_close(&eval);
    whole_close(&w);
}

// Channels with a pool each, and channels that share one; rows that do not count; voids; ids of the
// cells of a block.
static void test_count_use(void **state)
{
    (void)state;
    enum { n = 50, channels = 3, k = 4, blocks = 5 };
    int32_t ids[n * channels * k], counted[n], selected[n * channels];
    for (int64_t h = 0; h < n * channels * k; h++)
        ids[h] = 2 * (int32_t)sg_rng_below(1, 2, (uint64_t)(h / 2), blocks) + (int32_t)(h % 2);
    for (int64_t r = 0; r < n; r++)
        counted[r] = r % 3 == 1 ? -1 : 7;
    for (int64_t h = 0; h < n * channels; h++)
        selected[h] = (int32_t)(2 * sg_rng_below(1, 3, (uint64_t)h, 3));
    for (int64_t pools = 1; pools <= channels; pools += channels - 1) {
        int64_t places[channels * blocks] = {0}, expected[channels * blocks] = {0}, *layer = places;
        sg_memory_shape shape = {.pools = pools, .blocks = blocks, .selected = k / 2};
        sg_use_counts counts = {.layers = &layer, .count = 1, .shapes = &shape};
        const sg_point_request request = sg_use_counts_request(&counts);
        const sg_point_values point = {.kind = SG_POINT_I32,
                                       .rank = 3,
                                       .shape = {n, channels, k},
                                       .ids = ids,
                                       .counts = selected,
                                       .targets = counted};
        assert_int_equal(request.call(request.user, &point, NULL), SG_OK);
        for (int64_t h = 0; h < n * channels * k; h += 2)
            if (counted[h / k / channels] >= 0 && h % k < selected[h / k])
                expected[(pools > 1 ? h / k % channels : 0) * blocks + ids[h] / 2]++;
        assert_memory_equal(places, expected, sizeof places);
    }
}

static void expect_usage(int64_t *counts, int64_t blocks, const sg_usage *expected)
{
    sg_usage u = sg_usage_of(4, counts, blocks);
    assert_int_equal(u.layer, 4);
    assert_int_equal(u.blocks, blocks);
    assert_int_equal(u.selections, expected->selections);
    assert_true(fabs(u.used - expected->used) < 1e-12);
    assert_true(fabs(u.entropy - expected->entropy) < 1e-12);
    assert_true(fabs(u.gini - expected->gini) < 1e-12);
    assert_true(fabs(u.max_load - expected->max_load) < 1e-12);
}

static void test_usage(void **state)
{
    (void)state;
    int64_t even[] = {7, 7, 7, 7}, one[] = {0, 0, 9, 0}, half[] = {5, 0, 0, 5};
    int64_t none[] = {0, 0}, single[] = {3}, steps[] = {3, 1, 2};
    expect_usage(even, 4, &(sg_usage){.selections = 28, .used = 1, .entropy = 1, .max_load = 1});
    expect_usage(one, 4, &(sg_usage){.selections = 9, .used = 0.25, .gini = 0.75, .max_load = 4});
    expect_usage(
        half, 4,
        &(sg_usage){.selections = 10, .used = 0.5, .entropy = 0.5, .gini = 0.5, .max_load = 2});
    expect_usage(none, 2, &(sg_usage){.selections = 0});
    expect_usage(single, 1, &(sg_usage){.selections = 3, .used = 1, .entropy = 1, .max_load = 1});
    double h = -(log(1.0 / 6) / 6 + log(1.0 / 3) / 3 + log(0.5) / 2) / log(3);
    // Mean difference of 1, 2, 3 is 8/9, its half over the mean 2: 2/9.
    expect_usage(
        steps, 3,
        &(sg_usage){.selections = 6, .used = 1, .entropy = h, .gini = 2.0 / 9, .max_load = 1.5});
}

// ---- placement ----------------------------------------------------------------------------------

static void test_placement(void **state)
{
    (void)state;
    static const struct {
        const char *layers, *sparse;
    } cases[] = {{"all", "111111"},     {"every:1", "111111"}, {"every:2", "010101"},
                 {"every:4", "000100"}, {"1", "100000"},       {"1,3", "101000"},
                 {"2-4,6", "011101"},   {"6", "000001"},       {"1-6", "111111"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[80];
        snprintf(text, sizeof text, "num_hidden_layers=6;ffn=moe;ffn_layers=%s", cases[i].layers);
        sg_config c = config_of(text), again = c;
        sg_error err = {0};
        assert_int_equal(sg_config_complete(&again, &err), SG_OK);
        assert_memory_equal(&again, &c, sizeof c); // completing is done at once
        int64_t sparse = 0;
        for (int64_t l = 0; l < 6; l++) {
            bool is = cases[i].sparse[l] == '1';
            assert_int_equal(sg_ffn_is_sparse(&c, l), is);
            if (is && sparse++ == 0) assert_int_equal(sg_ffn_first_sparse(&c), l);
        }
        assert_string_equal(c.ffn_dense, sparse < 6 ? "mlp" : "");
        assert_int_equal(c.ffn_dense_size, sparse < 6 ? 10 : 0);
        sg_ffn_count total = sg_ffn_total(&c);
        assert_int_equal(total.neurons, sparse * 5 * 10 + (6 - sparse) * 10);
        assert_int_equal(total.active_neurons, sparse * 2 * 10 + (6 - sparse) * 10);
    }
    sg_config d = config_of("ffn=sgatlin;ffn_layers=1");
    assert_int_equal(d.ffn_dense_size, 4 * 12); // a family without a width
}

// The parts of the parameters are all of them, and a shared memory counts once.
static void test_parts(void **state)
{
    (void)state;
    for (int i = 0; i < model_count; i++) {
        sg_config c = config_of(models[i]);
        sg_cost cost;
        sg_error err = {0};
        assert_int_equal(sg_config_cost(&c, length, 1, false, 1, &cost, &err), SG_OK);
        assert_int_equal(cost.parameters, cost.embedding_parameters + cost.attention_parameters +
                                              cost.router_parameters + cost.memory_parameters +
                                              cost.norm_parameters);
        assert_true(cost.active_parameters_per_token <= cost.parameters);
    }
    sg_config shared = config_of("ffn=peer;ffn_share_pool=1"), own = config_of("ffn=peer");
    sg_cost s, o;
    sg_error err = {0};
    assert_int_equal(sg_config_cost(&shared, length, 1, false, 1, &s, &err), SG_OK);
    assert_int_equal(sg_config_cost(&own, length, 1, false, 1, &o, &err), SG_OK);
    assert_int_equal(o.memory_parameters, 3 * 2 * 25 * 12);
    assert_int_equal(s.memory_parameters, 2 * 25 * 12);
    assert_int_equal(s.ffn_neurons, 25);
    // Four neurons a layer of 25: at most 12 different ones.
    assert_int_equal(s.parameters - s.active_parameters_per_token, 2 * 12 * (25 - 12));
    assert_int_equal(o.parameters - o.active_parameters_per_token, 3 * 2 * 12 * (25 - 4));
    assert_true(s.router_flops == o.router_flops && s.memory_flops == o.memory_flops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),    cmocka_unit_test(test_recomputation),
        cmocka_unit_test(test_accumulation), cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_bias_moves),   cmocka_unit_test(test_usage),
        cmocka_unit_test(test_placement),    cmocka_unit_test(test_parts),
        cmocka_unit_test(test_count_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
