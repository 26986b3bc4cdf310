// Traces: edges sum to values and contributions to the logit, in every family and form of
// transformer; in a frozen model that is computed here, taking a node out takes away what it
// contributes; groups, thresholds, threads; what is refused; the graph as JSON.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"
#include "sgatlin_trace.h"

enum { vocab = 60, positions = 64, tokens_count = 9, width = 16 };
static sg_context *context;
static int32_t tokens[tokens_count];

static int set_up(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    assert_int_equal(sg_context_new(&options, &context, NULL), SG_OK);
    for (int i = 0; i < tokens_count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// Norms and biases, which begin as 1 and 0, are moved, so that they matter.
static void move_vectors(sg_model *model)
{
    sg_error err = {0};
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        sg_tensor_info info;
        float values[256];
        assert_int_equal(sg_model_tensor_info(model, i, &info, NULL), SG_OK);
        const int64_t count = info.rows * info.columns;
        const bool bias = strstr(info.name, ".bias") != NULL && strstr(info.name, "router") == NULL;
        if (count > 256 || (info.rank != 1 && !bias) || strstr(info.name, "running") != NULL)
            continue;
        assert_int_equal(sg_model_tensor_read(model, i, 0, info.rows, values, NULL), SG_OK);
        for (int64_t j = 0; j < count; j++)
            values[j] += (float)(0.5 * sg_rng_uniform(11, (uint32_t)i, (uint64_t)j) - 0.2);
        if (sg_model_tensor_write(model, info.name, 0, info.rows, values, NULL, &err) != SG_OK)
            fail_msg("%s", err.message);
    }
}

// form 0: as our models are; 1: as GPT-NeoX and others; 2: as GPT-2 and others; 3: as Llama and
// others.
static sg_model *make_model(sg_context *in, const char *kind, int form)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    if (form == 1 || form == 2) {
        snprintf(c.norm, sizeof c.norm, "layernorm");
        c.attention_bias = c.attention_out_bias = 1;
        c.untied_classifier = form == 1;
        c.parallel_residual = form == 1;
        if (strcmp(c.ffn, "mlp") == 0 || strcmp(c.ffn, "glu") == 0 || strcmp(c.ffn, "moe") == 0)
            c.ffn_bias = 1;
    }
    if (form == 1) c.clip_qkv = 0.4;
    if (form == 2) snprintf(c.positions, sizeof c.positions, "learned");
    if (form == 3) {
        c.num_key_value_heads = 1;
        c.sliding_window = 4;
        c.attention_sinks = 1;
        snprintf(c.sliding_layers, sizeof c.sliding_layers, "1");
        if (strcmp(c.ffn, "moe") == 0) c.ffn_shared_experts = c.ffn_shared_gate = 1;
        if (strcmp(c.ffn, "glu") == 0 || strcmp(c.ffn, "moe") == 0) {
            c.ffn_glu_interleaved = 1;
            snprintf(c.ffn_activation, sizeof c.ffn_activation, "swiglu");
        }
    }
    if (sg_model_new(in, &c, 3, &model, &err) != SG_OK) fail_msg("%s: %s", kind, err.message);
    move_vectors(model);
    return model;
}

static sg_trace_options all_options(void)
{
    sg_trace_options o = sg_trace_options_default();
    o.tokens = tokens;
    o.token_count = tokens_count;
    o.answer_id = 17;
    o.against_id = 23;
    o.node_threshold = o.edge_threshold = 1;
    o.max_nodes = 1 << 20;
    o.floor = 0;
    return o;
}

static sg_trace *make_trace(sg_model *model, const sg_trace_options *o)
{
    sg_trace *trace;
    sg_error err = {0};
    if (sg_trace_new(model, o, &trace, &err) != SG_OK) fail_msg("%s", err.message);
    return trace;
}

// ---- sums ---------------------------------------------------------------------------------------

static bool is_target(sg_trace_kind kind)
{
    return kind == SG_TRACE_ATTENTION || kind == SG_TRACE_NEURON || kind == SG_TRACE_BESIDE ||
           kind == SG_TRACE_LOGIT;
}

static void close_to(const char *what, double found, double expected, double size, double share)
{
    if (!(fabs(found - expected) <= share * size + 1e-300))
        fail_msg("%s: found %.17g, expected %.17g within %g of %g", what, found, expected, share,
                 size);
}

// Each node's edges sum to its value, and what it contributes is what its targets make of it.
static void check_sums(const char *what, const sg_trace *trace)
{
    size_t nodes, edges;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    double *in = calloc(nodes, sizeof *in), *size = calloc(nodes, sizeof *size);
    double *out = calloc(nodes, sizeof *out), *out_size = calloc(nodes, sizeof *out_size);
    for (size_t e = 0; e < edges; e++) {
        assert_true(edge[e].source < edge[e].target && edge[e].target < nodes);
        const sg_trace_node *t = &node[edge[e].target];
        in[edge[e].target] += edge[e].weight;
        size[edge[e].target] += fabs(edge[e].weight);
        const double gradient = t->value != 0 ? t->contribution / t->value : 0;
        out[edge[e].source] += gradient * edge[e].weight;
        out_size[edge[e].source] += fabs(gradient * edge[e].weight);
    }
    for (size_t i = 0; i < nodes; i++) {
        if (is_target(node[i].kind)) close_to(what, in[i], node[i].value, size[i], 1e-10);
        if (node[i].kind == SG_TRACE_PRUNED)
            close_to(what, out[i], node[i].contribution, out_size[i], 1e-9);
    }
    assert_int_equal(node[nodes - 1].kind, SG_TRACE_LOGIT);
    free(in);
    free(size);
    free(out);
    free(out_size);
}

static void check_contributions(const char *what, const sg_trace *trace)
{
    size_t nodes, edges;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    double *out = calloc(nodes, sizeof *out), *size = calloc(nodes, sizeof *size);
    for (size_t e = 0; e < edges; e++) {
        const sg_trace_node *t = &node[edge[e].target];
        const double gradient = t->value != 0 ? t->contribution / t->value : 0;
        out[edge[e].source] += gradient * edge[e].weight;
        size[edge[e].source] += fabs(gradient * edge[e].weight);
    }
    for (size_t i = 0; i + 1 < nodes; i++)
        close_to(what, out[i], node[i].contribution, size[i], 1e-8);
    free(out);
    free(size);
}

static void check_trace(const char *kind, int form, sg_trace_attention by)
{
    char what[160];
    sg_model *model = make_model(context, kind, form);
    sg_trace_options o = all_options();
    o.attention = by;
    sg_trace *trace = make_trace(model, &o);
    const sg_trace_info *info = sg_trace_get_info(trace);
    double direct = 0, leaves = 0, size = 0;
    snprintf(what, sizeof what, "%s, form %d, by %d", kind, form, (int)by);
    check_sums(what, trace);
    check_contributions(what, trace);
    for (int k = 0; k < SG_TRACE_KINDS; k++) {
        direct += info->direct[k];
        leaves += info->leaves[k];
        size += fabs(info->leaves[k]) + fabs(info->direct[k]);
    }
    close_to(what, direct, info->value, size, 1e-10);
    close_to(what, leaves, info->value, size, 1e-10);
    assert_true(info->sum_error < 1e-10);
    // As the model computed it, in f32.
    if (info->neuron_error > 2e-5 || info->value_error > 1e-4)
        fail_msg("%s: neurons differ by %g, the logits by %g (%g, %g)", what, info->neuron_error,
                 info->value_error, info->value, info->model_value);
    size_t nodes;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    int counts[SG_TRACE_KINDS] = {0};
    for (size_t i = 0; i < nodes; i++)
        counts[node[i].kind]++;
    assert_int_equal(counts[SG_TRACE_EMBEDDING], tokens_count);
    assert_int_equal(counts[SG_TRACE_PRUNED], 0);
    assert_true(counts[SG_TRACE_NEURON] > 0 && counts[SG_TRACE_ATTENTION] > 0);
    // Nothing of a linear sgatlin model is left over.
    if (strcmp(kind, "sgatlin") == 0 && form != 1) assert_int_equal(counts[SG_TRACE_REMAINDER], 0);
    if (strcmp(kind, "mlp") == 0 || strcmp(kind, "pkm") == 0)
        assert_true(counts[SG_TRACE_REMAINDER] > 0);
    if (strcmp(kind, "sgatlin") == 0 && form == 0) assert_int_equal(counts[SG_TRACE_CONSTANT], 0);
    if (strcmp(kind, "omnimoe") == 0) assert_true(counts[SG_TRACE_BESIDE] > 0);
    sg_trace_free(trace);
    sg_model_free(model);
}

static void test_families(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++)
        for (int form = 0; form < 4; form++)
            check_trace(kind, form, (sg_trace_attention)((i + form) % 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
