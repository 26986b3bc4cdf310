// Whole models of every family, router and activation by differences: the loss against each
// parameter, with threads, recomputation and accumulation; and the three kinds of output against
// each other. With what training adds to make layers sparse likewise. A selection that flips under
// a perturbation is found and reported, not averaged away.
#include "grad/gradcheck.h"
#include "ffn/sparsity.h"
#include "model/config.h"
#include "model/graph.h"
#include "tiny_models.h"

enum { batch = 2, length = 6, rows = batch * length };

// Long for a difference of fourth order to keep the rounding of the loss small beside gradients of
// deep layers; short enough that most seeds flip no selection.
static const double model_step = 1e-4;

typedef struct model {
    char name[80];
    sg_config config;
    sg_param_list params;
    sg_real **values, **grads;
    sg_rope_table rope;
    int32_t ids[rows], targets[rows];
    sg_sparsity sparsity;
    double weight; // of its losses
} model;

static sg_real **model_arrays(const model *m)
{
    sg_real **arrays = sg_alloc_zero(m->params.count, sizeof *arrays);
    assert_non_null(arrays);
    for (size_t i = 0; i < m->params.count; i++) {
        arrays[i] = sg_alloc_zero((size_t)m->params.specs[i].count, sizeof **arrays);
        assert_non_null(arrays[i]);
    }
    return arrays;
}

static void model_free_arrays(const model *m, sg_real **arrays)
{
    for (size_t i = 0; i < m->params.count; i++)
        sg_free(arrays[i]);
    sg_free(arrays);
}

// Weights at twice their initial size, so that no gradient drowns in the rounding of the loss;
// norms and biases away from 1 and 0.
static void model_fill(model *m, uint64_t seed)
{
    const int64_t half = m->config.head_dim;
    sg_error err = {0};
    if (sg_config_complete(&m->config, &err) != SG_OK ||
        sg_config_params(&m->config, &m->params, &err) != SG_OK ||
        sg_rope_table_new(&m->rope, length, &(sg_rope_options){.dim = half, .theta = 10000},
                          &err) != SG_OK)
        fail_msg("%s: %s", m->name, err.message);
    m->values = model_arrays(m);
    m->grads = model_arrays(m);
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        sg_param_init(spec, seed, NULL, m->values[i]);
        double noise = spec->decay ? 0 : 0.3, factor = spec->decay ? 2 : 1;
        for (int64_t j = 0; j < spec->count; j++)
            m->values[i][j] = factor * m->values[i][j] +
                              noise * sg_rng_normal(seed, sg_rng_stream(spec->name), (uint64_t)j);
    }
    for (int r = 0; r < rows; r++) {
        m->ids[r] = (int32_t)sg_rng_below(seed, 1, (uint64_t)r, 11);
        m->targets[r] = r % 5 == 3 ? -1 : (int32_t)sg_rng_below(seed, 2, (uint64_t)r, 11);
    }
}

static void model_new(model *m, const char *ffn, const char *router, const char *activation,
                      uint64_t seed)
{
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s %s %s", ffn, router, activation);
    m->config = (sg_config){.vocab_size = 11,
                            .hidden_size = 8,
                            .num_hidden_layers = 2,
                            .num_attention_heads = 2,
                            .head_dim = 4,
                            .max_position_embeddings = length,
                            .pad_token_id = -1,
                            .eos_token_id = -1,
                            .bos_token_id = -1};
    // Each family is given the sizes it has.
    bool neurons = strcmp(ffn, "peer") == 0 || strcmp(ffn, "sgatlin") == 0;
    bool experts = strcmp(ffn, "moe") == 0;
    m->config.ffn_intermediate_size = neurons ? 0 : 5;
    m->config.ffn_experts = experts ? 4 : 0;
    m->config.ffn_channels = neurons ? 2 : 0;
    m->config.ffn_neurons = neurons ? 9 : 0;
    m->config.ffn_key_size = neurons ? 4 : 0;
    m->config.ffn_top_k = neurons || experts ? 2 : 0;
    snprintf(m->config.ffn, sizeof m->config.ffn, "%s", ffn);
    snprintf(m->config.ffn_router, sizeof m->config.ffn_router, "%s", router);
    snprintf(m->config.ffn_activation, sizeof m->config.ffn_activation, "%s", activation);
    model_fill(m, seed);
}

// Of a kind of tests/tiny_models.h, with losses.
static void model_sparse(model *m, const char *kind, const sg_sparsity *sparsity, double weight,
                         uint64_t seed)
{
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "%s, term %d", kind, (int)sparsity->term);
    m->config = tiny_config(kind, 11, length);
    m->config.pad_token_id = m->config.eos_token_id = m->config.bos_token_id = -1;
    m->sparsity = *sparsity;
    m->weight = weight;
    model_fill(m, seed);
}

static void model_free(model *m)
{
    model_free_arrays(m, m->values);
    model_free_arrays(m, m->grads);
    sg_rope_table_free(&m->rope);
    sg_param_list_free(&m->params);
}

static sg_graph *model_graph(model *m, sg_output output, bool gradient, bool recompute, int threads,
                             sg_real **grads)
{
    sg_error err = {0};
    sg_graph_options options = {.batch = batch,
                                .length = length,
                                .output = output,
                                .gradient = gradient,
                                .recompute = recompute,
                                .sparsity = m->sparsity,
                                .threads = threads};
    sg_graph *graph;
    if (sg_graph_new(&m->config, &m->params, m->values, grads, &m->rope, &options, &graph, &err) !=
        SG_OK)
        fail_msg("%s: %s", m->name, err.message);
    graph->ids->data = m->ids;
    if (graph->targets != NULL) graph->targets->data = m->targets;
    graph->stats.normaliser = 9;
    sg_graph_weigh(graph, sg_is_term, m->weight);
    sg_graph_weigh(graph, sg_is_attention_term, m->weight);
    sg_graph_weigh(graph, sg_is_efficiency, m->weight);
    sg_graph_weigh(graph, sg_is_separability, 0.01 * m->weight);
    gc_poison(graph->tape);
    return graph;
}

// All that the weights are moved by.
static double model_losses(const model *m, const sg_graph *g)
{
    double loss = g->stats.loss_sum / 9;
    if (m->sparsity.term != SG_SPARSITY_NONE && m->sparsity.modules != SG_SPARSITY_OF_ATTENTION)
        loss += m->weight * sg_graph_loss_mean(g, sg_is_term);
    if (m->sparsity.term != SG_SPARSITY_NONE && m->sparsity.modules != SG_SPARSITY_OF_FFN)
        loss += m->weight * sg_graph_loss_mean(g, sg_is_attention_term);
    if (!m->sparsity.soft) return loss;
    return loss + m->weight * sg_graph_loss_mean(g, sg_is_efficiency) +
           0.01 * m->weight * sg_graph_loss_mean(g, sg_is_separability);
}

// One pass; the loss.
static double model_run(model *m, bool recompute, int threads, bool accumulate, sg_real **grads)
{
    sg_graph *graph = model_graph(m, SG_OUTPUT_LOSS, true, recompute, threads, grads);
    sg_run run = {.compute = {.pool = gc_pool(threads), .kernels = sg_kernels_fastest()},
                  .accumulate = accumulate};
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    double loss = graph->stats.loss_sum;
    assert_true(sg_values(graph->loss)[0] == loss / 9);
    sg_pool_free(run.compute.pool);
    sg_graph_free(graph);
    return loss;
}

// ---- differences ------------------------------------------------------------------------------

typedef struct differences {
    model *m;
    sg_graph *graph; // with a gradient, so that ids live until the backward pass
    sg_run run;
    uint64_t selected; // a hash of all selected ids, as sets would not show swaps
    int64_t flips;
} differences;

static uint64_t selected_ids(const sg_tape *tape)
{
    uint64_t hash = 14695981039346656037u;
    for (int n = 0; n < sg_tape_nodes(tape); n++) {
        const sg_node *node = sg_tape_node_at(tape, n);
        if (node->n_out == 0 || node->out[0]->kind != SG_KIND_INT) continue;
        for (int64_t i = 0; i < node->out[0]->count; i++)
            hash = (hash ^ (uint64_t)sg_ints(node->out[0])[i]) * 1099511628211u;
    }
    return hash;
}

static double differences_loss(differences *d)
{
    sg_tape_forward(d->graph->tape, &d->run);
    if (selected_ids(d->graph->tape) != d->selected) d->flips++;
    return model_losses(d->m, d->graph);
}

// The difference of fourth order, as deep models bend much:
// (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h.
static double check_component(differences *d, size_t p, int64_t i, double found, double largest)
{
    sg_real *value = &d->m->values[p][i], old = *value;
    double at[4];
    const double steps[] = {1, -1, 2, -2};
    for (int s = 0; s < 4; s++) {
        *value = old + steps[s] * model_step;
        at[s] = differences_loss(d);
    }
    *value = old;
    double expected = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * model_step);
    double error = gc_error(found, expected, largest);
    if (d->flips == 0 && !(error <= gc_tolerance))
        fail_msg("%s: gradient of %s %lld: found %.12g, central difference %.12g, error %.3g",
                 d->m->name, d->m->params.specs[p].name, (long long)i, found, expected, error);
    return error;
}

// The largest error over `components` of each parameter; -1 when a selection flipped on the way.
static double check_differences(model *m, int64_t components)
{
    sg_real **unread = model_arrays(m);
    differences d = {.m = m,
                     .graph = model_graph(m, SG_OUTPUT_LOSS, true, false, 1, unread),
                     .run = {.compute = {.kernels = sg_kernels_fastest()}}};
    sg_tape_forward(d.graph->tape, &d.run);
    d.selected = selected_ids(d.graph->tape);
    double worst = 0;
    for (size_t p = 0; p < m->params.count && d.flips == 0; p++) {
        int64_t count = m->params.specs[p].count;
        double largest = gc_largest(m->grads[p], count);
        if (!(largest > 0))
            fail_msg("%s: the gradient of %s is all 0", m->name, m->params.specs[p].name);
        for (int64_t n = 0; n < (count < components ? count : components) && d.flips == 0; n++) {
            int64_t i = (int64_t)sg_rng_permute(9, (uint32_t)p, (uint64_t)n, (uint64_t)count);
            double error = check_component(&d, p, i, m->grads[p][i], largest);
            if (d.flips > 0)
                print_message("%s: the selection flips when %s %lld moves by %g\n", m->name,
                              m->params.specs[p].name, (long long)i, 2 * model_step);
            if (error > worst) worst = error;
        }
    }
    sg_graph_free(d.graph);
    model_free_arrays(m, unread);
    return d.flips > 0 ? -1 : worst;
}

// ---- the same bits ----------------------------------------------------------------------------

static void check_bits(model *m, double loss)
{
    const int threads[] = {1, 2, 3, 8};
    sg_real **other = model_arrays(m);
    for (int t = 0; t < 4; t++)
        for (int recompute = 0; recompute < 2; recompute++) {
            double again = model_run(m, recompute, threads[t], false, other);
            bool same = memcmp(&again, &loss, sizeof loss) == 0;
            for (size_t p = 0; p < m->params.count; p++)
                same = same && memcmp(other[p], m->grads[p],
                                      (size_t)m->params.specs[p].count * sizeof **other) == 0;
            if (!same)
                fail_msg("%s: %d threads, recomputation %s: other bits", m->name, threads[t],
                         recompute ? "on" : "off");
        }
    // Added to what the last pass left: twice the gradient, up to the order of additions.
    model_run(m, true, 2, true, other);
    for (size_t p = 0; p < m->params.count; p++) {
        double largest = gc_largest(m->grads[p], m->params.specs[p].count);
        for (int64_t i = 0; i < m->params.specs[p].count; i++)
            assert_true(fabs(other[p][i] - 2 * m->grads[p][i]) <= 1e-13 * largest);
    }
    model_free_arrays(m, other);
}

static void check_outputs(model *m)
{
    sg_graph *all = model_graph(m, SG_OUTPUT_LOGITS, false, false, 1, NULL);
    sg_graph *last = model_graph(m, SG_OUTPUT_LAST, false, false, 2, NULL);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(all->tape, &run);
    sg_tape_forward(last->tape, &run);
    assert_int_equal(all->logits->count, rows * 11);
    assert_int_equal(last->logits->count, batch * 11);
    double sum = 0;
    for (int r = 0; r < rows; r++) {
        const sg_real *logits = sg_values(all->logits) + 11 * r;
        double total = 0;
        for (int v = 0; v < 11; v++)
            total += exp(logits[v]);
        if (m->targets[r] >= 0) sum += log(total) - logits[m->targets[r]];
        for (int v = 0; v < 11 && r % length == length - 1; v++)
            assert_true(fabs(sg_values(last->logits)[r / length * 11 + v] - logits[v]) < 1e-13);
    }
    sg_real **unread = model_arrays(m);
    assert_true(fabs(model_run(m, false, 1, false, unread) - sum) < 1e-12 * sum);
    model_free_arrays(m, unread);
    sg_graph_free(all);
    sg_graph_free(last);
}

// A seed whose selections flip says nothing about gradients: it is named, and the next one is
// taken.
static void check_model(const char *ffn, const char *router, const char *activation,
                        int64_t components)
{
    model m;
    double loss = 0, worst = -1;
    uint64_t seed = 0;
    while (worst < 0) {
        if (seed > 0) model_free(&m);
        if (++seed > 8) fail_msg("%s %s %s: 8 seeds flip", ffn, router, activation);
        model_new(&m, ffn, router, activation, seed);
        loss = model_run(&m, false, 1, false, m.grads);
        worst = check_differences(&m, components);
    }
    if (components >= 40) {
        check_bits(&m, loss);
        check_outputs(&m);
    }
    print_message("%s: seed %d, largest error %.2g\n", m.name, (int)seed, worst);
    model_free(&m);
}

// ---- the models -------------------------------------------------------------------------------

static void test_mlp(void **state)
{
    (void)state;
    check_model("mlp", "", "", 40);
    check_model("mlp", "", "relu", 8);
    check_model("mlp", "", "swish", 8);
    check_model("mlp", "", "identity", 8);
}

static void test_glu(void **state)
{
    (void)state;
    check_model("glu", "", "", 40);
}

static void test_moe(void **state)
{
    (void)state;
    check_model("moe", "", "", 40);
}

static const char *const routers[] = {"product_dense", "product_key_value", "dense", "key_value"};
static const char *const activations[] = {"identity", "gelu", "relu", "swish"};

static void test_peer(void **state)
{
    (void)state;
    check_model("peer", "", "", 40);
    for (int r = 0; r < 4; r++)
        check_model("peer", routers[r], activations[r], 8);
}

static void test_sgatlin(void **state)
{
    (void)state;
    for (int r = 0; r < 4; r++)
        for (int a = 0; a < 4; a++)
            check_model("sgatlin", routers[r], activations[a], a == r ? 40 : 8);
}

// ---- what training adds -------------------------------------------------------------------------

static void check_sparse(const char *kind, sg_sparsity sparsity)
{
    model m;
    double loss = 0, worst = -1;
    for (uint64_t seed = 1; worst < 0; seed++) {
        if (seed > 1) model_free(&m);
        if (seed > 8) fail_msg("%s: 8 seeds flip", kind);
        model_sparse(&m, kind, &sparsity, 0.3, seed);
        loss = model_run(&m, false, 1, false, m.grads);
        worst = check_differences(&m, 12);
    }
    check_bits(&m, loss);
    model_free(&m);
}

static void test_terms(void **state)
{
    (void)state;
    const sg_sparsity l1 = {.term = SG_SPARSITY_L1}, hoyer = {.term = SG_SPARSITY_HOYER};
    const sg_sparsity clamped = {.term = SG_SPARSITY_CLAMPED, .floor = -0.7};
    const sg_sparsity clamped_hoyer = {.term = SG_SPARSITY_CLAMPED_HOYER, .floor = -0.7};
    check_sparse("mlp ffn_activation=relu", l1);
    check_sparse("mlp", hoyer);
    check_sparse("mlp", clamped);
    check_sparse("glu ffn_activation=swiglu ffn_glu_interleaved=1", hoyer);
    check_sparse("glu", clamped_hoyer);
    check_sparse("moefied ffn_gate=after ffn_activation=geglu ffn_bias=1", l1);
    check_sparse("moefied ffn_gate=after ffn_activation=gelu", clamped_hoyer);
    check_sparse("moefied ffn_gate=after ffn_activation=relu ffn_select=max ffn_threshold=0.8",
                 hoyer);
    check_sparse("sgatlin ffn_layers=2 ffn_dense=mlp", hoyer); // of its dense layer
}

// MLPs in place of projections of attention, without a term, and with one of them alone or of both.
static void test_attention_mlps(void **state)
{
    (void)state;
    static const char square[] = "mlp attention_mlp_q=5 attention_mlp_k=6 attention_mlp_v=0,7 "
                                 "attention_mlp_o=4,0";
    static const char wide[] = "glu ffn_activation=swiglu num_key_value_heads=1 qk_norm=none "
                               "attention_mlp_q=9 attention_mlp_v=8 attention_mlp_o=7";
    sg_sparsity of = {.term = SG_SPARSITY_NONE};
    check_sparse(square, of);
    check_sparse(wide, of);
    of = (sg_sparsity){.term = SG_SPARSITY_HOYER, .modules = SG_SPARSITY_OF_ATTENTION};
    check_sparse(square, of);
    of.modules = SG_SPARSITY_OF_BOTH;
    check_sparse(square, of);
    of = (sg_sparsity){.term = SG_SPARSITY_CLAMPED, .modules = SG_SPARSITY_OF_BOTH, .floor = -0.7};
    check_sparse(wide, of);
}

static void test_lte(void **state)
{
    (void)state;
    const sg_sparsity soft = {.soft = true, .least = 0.05};
    check_sparse("moefied ffn_select=threshold ffn_threshold=0.5 ffn_top_k=12", soft);
    check_sparse("moefied ffn_activation=swiglu ffn_bias=1", soft);
}

static size_t model_find(const model *m, const char *end, int layer)
{
    char name[96];
    size_t i = 0;
    snprintf(name, sizeof name, "model.layers.%d.mlp.%s", layer, end);
    while (strcmp(m->params.specs[i].name, name) != 0)
        i++;
    return i;
}

// Scores of 1/2 everywhere and w_out twice as large: scores of 1, so to speak, and the dense layer.
static void test_soft_is_dense(void **state)
{
    (void)state;
    model m, dense;
    const sg_sparsity soft = {.soft = true, .least = 0.05}, none = {0};
    model_sparse(&m, "moefied ffn_activation=gelu", &soft, 1, 4);
    model_sparse(&dense, "mlp", &none, 0, 4);
    const int64_t F = m.config.ffn_intermediate_size, d = m.config.hidden_size;
    for (int l = 0; l < 2; l++) {
        const size_t router = model_find(&m, "router.weight", l);
        const sg_real *up = dense.values[model_find(&dense, "up_proj.weight", l)];
        const sg_real *down = dense.values[model_find(&dense, "down_proj.weight", l)];
        sg_real *out = m.values[model_find(&m, "experts.w_out.weight", l)];
        memset(m.values[router], 0, (size_t)m.params.specs[router].count * sizeof(sg_real));
        memcpy(m.values[model_find(&m, "experts.w_in.weight", l)], up,
               (size_t)(F * d) * sizeof(sg_real));
        for (int64_t j = 0; j < F; j++)
            for (int64_t i = 0; i < d; i++)
                out[j * d + i] = 2 * down[i * F + j];
    }
    const double found = model_run(&m, false, 1, false, m.grads);
    const double expected = model_run(&dense, false, 1, false, dense.grads);
    if (!(fabs(found - expected) < 1e-12 * expected))
        fail_msg("found %.17g, expected %.17g", found, expected);
    model_free(&m);
    model_free(&dense);
}

// Hard selection: no gradient reaches a router, whose scores count for nothing but the choice.
static void test_hard_selection(void **state)
{
    (void)state;
    model m;
    const sg_sparsity none = {0};
    model_sparse(&m, "moefied ffn_select=threshold ffn_threshold=0.5 ffn_top_k=12", &none, 0, 4);
    const double loss = model_run(&m, false, 1, false, m.grads);
    for (int l = 0; l < 2; l++) {
        const size_t router = model_find(&m, "router.weight", l);
        assert_true(gc_largest(m.grads[router], m.params.specs[router].count) == 0);
        assert_true(gc_largest(m.grads[model_find(&m, "experts.w_out.weight", l)], 24 * 16) > 0);
        for (int64_t i = 0; i < m.params.specs[router].count; i++)
            m.values[router][i] *= 4;
    }
    assert_true(model_run(&m, false, 1, false, m.grads) == loss);
    model_free(&m);
}

// Weights that are moved between passes of one graph: to 0 and back.
static void test_weights_move(void **state)
{
    (void)state;
    model m;
    const sg_sparsity l1 = {.term = SG_SPARSITY_L1};
    model_sparse(&m, "mlp ffn_activation=relu", &l1, 0.3, 4);
    sg_real **other = model_arrays(&m);
    model_run(&m, false, 1, false, m.grads);
    sg_graph *g = model_graph(&m, SG_OUTPUT_LOSS, true, false, 1, other);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    const double weights[] = {0, 0.3};
    const size_t up = model_find(&m, "up_proj.weight", 0);
    const size_t bytes = (size_t)m.params.specs[up].count * sizeof(sg_real);
    for (int i = 0; i < 2; i++) {
        sg_graph_weigh(g, sg_is_term, weights[i]);
        assert_int_equal(sg_tape_forward(g->tape, &run), SG_OK);
        assert_int_equal(sg_tape_backward(g->tape, &run), SG_OK);
        assert_int_equal(memcmp(other[up], m.grads[up], bytes) == 0, i == 1);
    }
    // Of weight 0 it is as if it were not there.
    sg_graph_weigh(g, sg_is_term, 0);
    sg_tape_forward(g->tape, &run);
    sg_tape_backward(g->tape, &run);
    m.sparsity.term = SG_SPARSITY_NONE;
    model_run(&m, false, 1, false, m.grads);
    assert_memory_equal(other[up], m.grads[up], bytes);
    sg_graph_free(g);
    model_free_arrays(&m, other);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_glu),
        cmocka_unit_test(test_moe),
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_sgatlin),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_attention_mlps),
        cmocka_unit_test(test_lte),
        cmocka_unit_test(test_soft_is_dense),
        cmocka_unit_test(test_hard_selection),
        cmocka_unit_test(test_weights_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
