// Low-rank adapters: the operation by differences and against the plainest way to compute it; whole
// models with adapters on all their projections, of which nothing else has a gradient.
#include "grad/gradcheck.h"
#include "model/graph.h"
#include "model/model.h"

// ---- the operation ------------------------------------------------------------------------------

typedef struct low_rank_sizes {
    int64_t rows, n, r, m;
    size_t count;
    sg_low_rank_span spans[3];
} low_rank_sizes;

static const double low_rank_scale = 0.7;

static sg_tensor *build_low_rank(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const low_rank_sizes *s = c->user;
    return sg_add_low_rank(tape, in[0], in[1], in[2], low_rank_scale, s->spans, s->count);
}

static void test_low_rank(void **state)
{
    (void)state;
    static const low_rank_sizes sizes[] = {
        {5, 7, 2, 7, 1, {{0, 7, 0}}},
        {9, 10, 3, 12, 2, {{6, 2, 0}, {0, 4, 5}}}, // columns and rows that nothing reads
        {3, 6, 4, 3, 2, {{0, 3, 0}, {3, 3, 0}}},   // the same rows of B twice
        {700, 6, 2, 9, 3, {{0, 2, 7}, {2, 2, 0}, {4, 2, 3}}},
        {1, 1, 1, 1, 1, {{0, 1, 0}}},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const low_rank_sizes *s = &sizes[i];
        gc_case c = {.name = "low_rank", .build = build_low_rank, .user = s};
        const sg_real *y = gc_add(&c, "y", 2, (int64_t[]){s->rows, s->n}, 1, i);
        const sg_real *u = gc_add(&c, "u", 2, (int64_t[]){s->rows, s->r}, 1, i);
        const sg_real *b = gc_add(&c, "b", 2, (int64_t[]){s->m, s->r}, 1, i);
        gc_check(&c);
        sg_real *found = gc_room(s->rows * s->n), *expected = gc_room(s->rows * s->n);
        gc_forward(&c, found, s->rows * s->n);
        memcpy(expected, y, (size_t)(s->rows * s->n) * sizeof *y);
        for (size_t p = 0; p < s->count; p++)
            for (int64_t r = 0; r < s->rows; r++)
                for (int64_t j = 0; j < s->spans[p].count; j++)
                    for (int64_t k = 0; k < s->r; k++)
                        expected[r * s->n + s->spans[p].first + j] +=
                            low_rank_scale * u[r * s->r + k] * b[(s->spans[p].row + j) * s->r + k];
        gc_expect_close("low_rank", found, expected, s->rows * s->n);
        sg_free(found);
        sg_free(expected);
        gc_free(&c);
    }
}

static void test_misfits(void **state)
{
    (void)state;
    static const low_rank_sizes wrong[] = {
        {2, 4, 2, 4, 1, {{1, 4, 0}}},  // beyond y
        {2, 4, 2, 4, 1, {{0, 4, 1}}},  // beyond B
        {2, 4, 2, 4, 1, {{-1, 2, 0}}}, // before y
        {2, 4, 2, 4, 1, {{0, 0, 0}}},  // nothing
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const low_rank_sizes *s = &wrong[i];
        sg_error err = {0};
        sg_tape *tape;
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        const char *const names[] = {"y", "u", "b"};
        const int64_t shapes[][2] = {{s->rows, s->n}, {s->rows, s->r}, {s->m, s->r}};
        sg_tensor *in[3];
        for (int k = 0; k < 3; k++)
            in[k] = sg_tape_leaf(tape, names[k], SG_KIND_REAL, 2, shapes[k], NULL, NULL, true);
        assert_null(sg_add_low_rank(tape, in[0], in[1], in[2], 1, s->spans, s->count));
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
        sg_tape_free(tape);
    }
}

// ---- whole models -------------------------------------------------------------------------------

enum { batch = 2, length = 6, rows = batch * length };
static const double model_step = 1e-4;

static int64_t projections(void *user, const char *module, sg_adapter_place place, double *scale)
{
    (void)user;
    assert_int_equal(place, strstr(module, "embed") != NULL  ? SG_ADAPTER_OTHER
                            : strcmp(module, "lm_head") == 0 ? SG_ADAPTER_HEAD
                                                             : SG_ADAPTER_PLAIN);
    *scale = 1.5;
    return strstr(module, "_proj") != NULL ? 2 : strcmp(module, "lm_head") == 0 ? 3 : 0;
}

// The difference of fourth order: (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h.
static double difference(sg_graph *graph, sg_run *run, sg_real *value)
{
    const double steps[] = {1, -1, 2, -2};
    const sg_real old = *value;
    double at[4];
    for (int s = 0; s < 4; s++) {
        *value = old + steps[s] * model_step;
        sg_tape_forward(graph->tape, run);
        at[s] = graph->stats.loss_sum / rows;
    }
    *value = old;
    return (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * model_step);
}

static void check_model(const char *ffn, bool gpt, bool untied)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *m;
    sg_config config = {.vocab_size = 11,
                        .hidden_size = 8,
                        .num_hidden_layers = 2,
                        .num_attention_heads = 2,
                        .num_key_value_heads = gpt ? 0 : 1,
                        .head_dim = 4,
                        .max_position_embeddings = length,
                        .pad_token_id = -1,
                        .eos_token_id = -1,
                        .bos_token_id = -1,
                        .untied_classifier = untied,
                        .parallel_residual = gpt,
                        .attention_bias = gpt,
                        .attention_out_bias = gpt,
                        .ffn_intermediate_size = 5};
    snprintf(config.ffn, sizeof config.ffn, "%s", ffn);
    if (gpt) snprintf(config.positions, sizeof config.positions, "learned");
    if (gpt) snprintf(config.norm, sizeof config.norm, "layernorm");
    assert_int_equal(sg_context_new(&(sg_context_options){.threads = 2}, &context, &err), SG_OK);
    if (sg_model_new(context, &config, 4, &m, &err) != SG_OK) fail_msg("%s", err.message);
    const sg_adapter_choice choice = {.rank = projections, .what = "test"};
    if (sg_model_add_adapters(m, &choice, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(m->adapters->count, 2 * 6 + untied);
    sg_model_init_adapters(m, 5);
    for (size_t i = 0; i < m->adapters->count; i++) // B, which begins with zeros
        for (int64_t j = 0; j < m->params.specs[m->adapters->items[i].b].count; j++)
            m->values[m->adapters->items[i].b][j] =
                0.3 * sg_rng_normal(6, (uint32_t)i, (uint64_t)j);
    for (size_t i = 0; i < m->adapters->first; i++)
        m->params.specs[i].frozen = true;
    sg_param_block grads;
    assert_int_equal(sg_param_block_new(&m->params, "gradients", NULL, NULL, &grads, &err), SG_OK);
    int32_t ids[rows], targets[rows];
    for (int r = 0; r < rows; r++) {
        ids[r] = (int32_t)sg_rng_below(7, 1, (uint64_t)r, 11);
        targets[r] = (int32_t)sg_rng_below(7, 2, (uint64_t)r, 11);
    }
    sg_graph_options options = {.batch = batch,
                                .length = length,
                                .output = SG_OUTPUT_LOSS,
                                .gradient = true,
                                .threads = 2,
                                .adapters = m->adapters};
    sg_graph *graph;
    if (sg_graph_new(&m->config, &m->params, m->values, grads.parts, &m->rope, &options, &graph,
                     &err) != SG_OK)
        fail_msg("%s", err.message);
    graph->ids->data = ids;
    graph->targets->data = targets;
    graph->stats.normaliser = rows;
    sg_run run = {.compute = context->compute};
    gc_poison(graph->tape);
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    // Some are made in the forward pass, which is run again for the differences.
    sg_param_block kept;
    assert_int_equal(sg_param_block_new(&m->params, "kept", NULL, NULL, &kept, &err), SG_OK);
    for (size_t i = 0; i < m->params.count; i++)
        memcpy(kept.parts[i], grads.parts[i], (size_t)m->params.specs[i].count * sizeof(sg_real));
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        const double largest = gc_largest(kept.parts[i], spec->count);
        // Frozen weights have no gradient, not even a place that is written.
        assert_int_equal(largest > 0, i >= m->adapters->first);
        for (int64_t n = 0; i >= m->adapters->first && n < 4; n++) {
            int64_t j = (int64_t)sg_rng_permute(9, (uint32_t)i, (uint64_t)n, (uint64_t)spec->count);
            double found = kept.parts[i][j];
            double expected = difference(graph, &run, &m->values[i][j]);
            if (!(gc_error(found, expected, largest) <= gc_tolerance))
                fail_msg("%s: gradient of %s %lld: found %.12g, central difference %.12g", ffn,
                         spec->name, (long long)j, found, expected);
        }
    }
    sg_graph_free(graph);
    sg_param_block_free(&grads);
    sg_param_block_free(&kept);
    sg_model_free(m);
    sg_context_free(context);
}

static void test_models(void **state)
{
    (void)state;
    check_model("mlp", true, false);
    check_model("mlp", false, false);
    check_model("mlp", false, true); // with one on the classifier
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low_rank),
        cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
