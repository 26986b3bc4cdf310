// Traces against the independent PyTorch twin (tests/twins/trace_twin.py): what every node
// contributes, and the edges into neurons. tests/golden/README.md says what the files hold.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/safetensors.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_trace.h"

enum { answer = 17, against = 23 }; // of trace_twin.py
static const double tolerance = 1e-5;

typedef struct golden {
    sg_context *context;
    sg_safetensors *of_model, *of_trace;
    sg_model *model;
    sg_trace *trace;
    const sg_trace_node *nodes;
    const sg_trace_edge *edges;
    size_t node_count, edge_count;
    int64_t T, L, H, M;
    // Of the twin.
    float *embedding, *attention, *neurons, *beside, *to_embedding, *to_attention, *to_neurons;
    float *values, *difference;
    const int32_t *ids, *channels;
    double size; // the largest contribution
} golden;

static sg_safetensors *open_file(const char *folder, const char *name)
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/%s/%s.safetensors", SG_TEST_DIR, folder, name);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    return file;
}

static const sg_tensor_view *find(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view;
}

static float *numbers(const golden *g, const char *name)
{
    const sg_tensor_view *view = find(g->of_trace, name);
    float *values = calloc((size_t)sg_tensor_view_elements(view) + 1, sizeof *values);
    assert_non_null(values);
    assert_int_equal(sg_tensor_view_read_f32(view, values, NULL), SG_OK);
    return values;
}

static void open_model(golden *g, const char *name)
{
    sg_error err = {0};
    sg_config config;
    g->of_model = open_file("models", name);
    g->of_trace = open_file("trace", name);
    const char *text = sg_safetensors_metadata(g->of_model, "config");
    assert_non_null(text);
    if (sg_config_parse(text, strlen(text), name, &config, &err) != SG_OK ||
        sg_model_new(g->context, &config, 1, &g->model, &err) != SG_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < sg_model_tensor_count(g->model); i++) {
        char param[SG_PARAM_NAME + 8];
        sg_tensor_info info;
        assert_int_equal(sg_model_tensor_info(g->model, i, &info, NULL), SG_OK);
        snprintf(param, sizeof param, "param.%s", info.name);
        const sg_tensor_view *view = find(g->of_model, param);
        float *values = calloc((size_t)(info.rows * info.columns), sizeof *values);
        assert_non_null(values);
        assert_int_equal(sg_tensor_view_read_f32(view, values, NULL), SG_OK);
        if (sg_model_tensor_write(g->model, info.name, 0, info.rows, values, NULL, &err) != SG_OK)
            fail_msg("%s", err.message);
        free(values);
    }
}

static void open_golden(golden *g, const char *name)
{
    open_model(g, name);
    const sg_tensor_view *attention = find(g->of_trace, "attention");
    g->L = attention->shape[0];
    g->H = attention->shape[1];
    g->T = attention->shape[2];
    g->M = find(g->of_trace, "ids")->shape[2];
    g->embedding = numbers(g, "embedding");
    g->attention = numbers(g, "attention");
    g->neurons = numbers(g, "neurons");
    g->beside = sg_safetensors_find(g->of_trace, "beside") ? numbers(g, "beside") : NULL;
    g->to_embedding = numbers(g, "edge.embedding");
    g->to_attention = numbers(g, "edge.attention");
    g->to_neurons = numbers(g, "edge.neurons");
    g->values = numbers(g, "values");
    g->difference = numbers(g, "difference");
    g->ids = (const int32_t *)(const void *)find(g->of_trace, "ids")->data;
    g->channels = (const int32_t *)(const void *)find(g->of_trace, "channels")->data;
    for (int64_t i = 0; i < g->T; i++)
        g->size = fmax(g->size, fabs((double)g->embedding[i]));
    for (int64_t i = 0; i < g->L * g->T * g->M; i++)
        g->size = fmax(g->size, fabs((double)g->neurons[i]));
}

// Where a neuron stands among the hits of its token.
static int64_t hit_of(const golden *g, const sg_trace_node *n)
{
    const int64_t first = (n->layer * g->T + n->position) * g->M;
    for (int64_t i = 0; i < g->M; i++)
        if (g->ids[first + i] == n->neuron && g->channels[first + i] == n->channel) return i;
    fail_msg("layer %d, token %d: the twin has no neuron %d:%d", (int)n->layer, (int)n->position,
             (int)n->channel, (int)n->neuron);
    return -1;
}

static int64_t pair_of(const golden *g, const sg_trace_node *n)
{
    return ((n->layer * g->H + n->head) * g->T + n->position) * g->T + n->source;
}

static void near(const char *what, const golden *g, size_t i, double found, double expected,
                 double size)
{
    const sg_trace_node *n = &g->nodes[i];
    if (!(fabs(found - expected) <= tolerance * size))
        fail_msg("%s, %s of layer %d at %d: found %.9g, expected %.9g", what,
                 sg_trace_kind_name(n->kind), (int)n->layer, (int)n->position, found, expected);
}

static void check_node(const char *name, golden *g, size_t i, double *seen)
{
    const sg_trace_node *n = &g->nodes[i];
    double expected = 0;
    if (n->kind == SG_TRACE_EMBEDDING)
        expected = (double)g->embedding[n->position];
    else if (n->kind == SG_TRACE_ATTENTION)
        expected = (double)g->attention[pair_of(g, n)];
    else if (n->kind == SG_TRACE_NEURON)
        expected = (double)g->neurons[(n->layer * g->T + n->position) * g->M + hit_of(g, n)];
    else if (n->kind == SG_TRACE_BESIDE)
        expected = (double)g->beside[n->layer * g->T + n->position];
    else
        return;
    near(name, g, i, n->contribution, expected, g->size);
    *seen += fabs(expected);
}

// An edge into a neuron of the last layer at the last token.
static void check_edge(const char *name, golden *g, const sg_trace_edge *edge, int *checked)
{
    const sg_trace_node *s = &g->nodes[edge->source], *t = &g->nodes[edge->target];
    if (t->kind != SG_TRACE_NEURON || t->layer != g->L - 1 || t->position != g->T - 1) return;
    const int64_t hit = hit_of(g, t);
    double size = 0, expected;
    for (int64_t i = 0; i < g->M; i++)
        size = fmax(size, fabs((double)g->values[i]));
    near(name, g, edge->target, t->value, (double)g->values[hit], size);
    if (s->kind == SG_TRACE_EMBEDDING) {
        expected = (double)g->to_embedding[hit];
    } else if (s->kind == SG_TRACE_ATTENTION) {
        expected =
            (double)g->to_attention[((hit * g->L + s->layer) * g->H + s->head) * g->T + s->source];
    } else if (s->kind == SG_TRACE_NEURON) {
        expected = (double)g->to_neurons[(hit * (g->L - 1) + s->layer) * g->M + hit_of(g, s)];
    } else {
        return;
    }
    near(name, g, edge->source, edge->weight, expected, size);
    ++*checked;
}

static void clear(golden *g)
{
    float *const all[] = {g->embedding,    g->attention,  g->neurons, g->beside,    g->to_embedding,
                          g->to_attention, g->to_neurons, g->values,  g->difference};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    sg_trace_free(g->trace);
    sg_model_free(g->model);
    sg_safetensors_close(g->of_trace);
    sg_safetensors_close(g->of_model);
    sg_context_free(g->context);
}

static double sum_of(const float *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += fabs((double)values[i]);
    return sum;
}

static void check(const char *name, bool edges)
{
    golden g = {0};
    sg_error err = {0};
    assert_int_equal(sg_context_new(NULL, &g.context, NULL), SG_OK);
    open_golden(&g, name);
    sg_trace_options o = sg_trace_options_default();
    o.tokens = (const int32_t *)(const void *)find(g.of_model, "inputs")->data;
    o.token_count = g.T;
    o.answer_id = answer;
    o.against_id = against;
    o.attention = SG_TRACE_BY_HEAD;
    o.node_threshold = o.edge_threshold = 1;
    o.floor = 0;
    o.max_nodes = 1 << 20;
    if (sg_trace_new(g.model, &o, &g.trace, &err) != SG_OK) fail_msg("%s: %s", name, err.message);
    g.nodes = sg_trace_nodes(g.trace, &g.node_count);
    g.edges = sg_trace_edges(g.trace, &g.edge_count);
    near(name, &g, g.node_count - 1, sg_trace_get_info(g.trace)->value, (double)g.difference[0],
         fabs((double)g.difference[0]));
    double seen = 0;
    int checked = 0;
    for (size_t i = 0; i < g.node_count; i++)
        check_node(name, &g, i, &seen);
    for (size_t e = 0; e < g.edge_count; e++)
        check_edge(name, &g, &g.edges[e], &checked);
    // Nothing that contributes is missing.
    const double all = sum_of(g.embedding, g.T) + sum_of(g.neurons, g.L * g.T * g.M) +
                       sum_of(g.attention, g.L * g.H * g.T * g.T) +
                       (g.beside ? sum_of(g.beside, g.L * g.T) : 0);
    if (!(fabs(all - seen) <= 1e-4 * all)) fail_msg("%s: found %g of %g", name, seen, all);
    assert_int_equal(edges, checked > 0);
    clear(&g);
}

static void test_dense(void **state)
{
    (void)state;
    check("mlp", true);
}

static void test_experts(void **state)
{
    (void)state;
    check("moe", true);
    check("avgk_gate", true);
}

static void test_neurons(void **state)
{
    (void)state;
    check("sgatlin_product_dense", true);
    check("sgatlin_gelu", true);
    check("peer", true);
    check("omnimoe", true);
}

// Coefficients that are scores have no sources.
static void test_values(void **state)
{
    (void)state;
    check("vanillam_blocks", true);
    check("pkm", false);
    check("memory_plus", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dense), cmocka_unit_test(test_experts),
                                       cmocka_unit_test(test_neurons),
                                       cmocka_unit_test(test_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
