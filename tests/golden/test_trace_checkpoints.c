// Traces of models of other programs, as they lie in their files: edges sum to values, and values
// are what the model computed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/safetensors.h"
#include "golden/checkpoint_names.h"
#include "sgatlin_trace.h"

enum { most_tokens = 12 };

static int64_t read_ids(const char *name, int32_t ids[most_tokens])
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s/expected.safetensors", SG_TEST_DIR, name);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    const sg_tensor_view *view = sg_safetensors_find(file, "ids");
    assert_non_null(view);
    assert_int_equal(view->dtype, SG_DTYPE_I32);
    const int64_t count = view->shape[0] < most_tokens ? view->shape[0] : most_tokens;
    memcpy(ids, view->data, (size_t)count * sizeof *ids);
    sg_safetensors_close(file);
    return count;
}

static sg_model *open_model(sg_context *context, const char *name, sg_weights weights, bool stored)
{
    char path[512];
    sg_error err = {0};
    sg_model *model;
    const bool gguf = strncmp(name, "gguf", 4) == 0;
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s%s", SG_TEST_DIR, name,
             gguf ? "/model.gguf" : "");
    const sg_status status = stored ? sg_model_open_stored(context, path, &model, &err)
                                    : sg_model_open_narrow(context, path, weights, &model, &err);
    if (status != SG_OK) fail_msg("%s", err.message);
    return model;
}

static void check_sums(const char *name, const sg_trace *trace)
{
    size_t nodes, edges;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    double *in = calloc(nodes, sizeof *in), *size = calloc(nodes, sizeof *size);
    assert_true(in != NULL && size != NULL);
    for (size_t e = 0; e < edges; e++) {
        in[edge[e].target] += edge[e].weight;
        size[edge[e].target] += fabs(edge[e].weight);
    }
    int targets = 0;
    for (size_t i = 0; i < nodes; i++) {
        if (size[i] == 0) continue;
        if (!(fabs(in[i] - node[i].value) <= 1e-10 * size[i]))
            fail_msg("%s: %s of layer %d: edges sum to %.12g, expected %.12g", name,
                     sg_trace_kind_name(node[i].kind), (int)node[i].layer, in[i], node[i].value);
        targets++;
    }
    assert_true(targets > 10);
    free(in);
    free(size);
}

static void check(sg_context *context, const char *name, sg_weights weights, bool stored)
{
    int32_t ids[most_tokens];
    sg_error err = {0};
    sg_trace *trace;
    sg_model *model = open_model(context, name, weights, stored);
    sg_trace_options o = sg_trace_options_default();
    o.tokens = ids;
    o.token_count = read_ids(name, ids);
    if (sg_trace_new(model, &o, &trace, &err) != SG_OK) fail_msg("%s: %s", name, err.message);
    const sg_trace_info *info = sg_trace_get_info(trace);
    check_sums(name, trace);
    // In f32 the model computes from the same weights, whatever these are stored in.
    if (!(info->neuron_error < 1e-4 && info->value_error < 1e-4))
        fail_msg("%s: neurons differ by %g, the logit by %g", name, info->neuron_error,
                 info->value_error);
    double leaves = 0, size = 0;
    for (int k = 0; k < SG_TRACE_KINDS; k++) {
        leaves += info->leaves[k];
        size += fabs(info->leaves[k]);
    }
    assert_true(fabs(leaves - info->value) < 1e-10 * size);
    sg_trace_free(trace);
    sg_model_free(model);
}

static void test_folders(void **state)
{
    for (int i = 0; i < checkpoint_folder_count; i++)
        check(*state, checkpoint_folders[i], SG_WEIGHTS_F32, true);
}

static void test_ggufs(void **state)
{
    for (int i = 0; i < checkpoint_gguf_count; i++)
        check(*state, checkpoint_ggufs[i], SG_WEIGHTS_F32, true);
}

static void test_narrow(void **state)
{
    static const char *const names[] = {"llama", "gpt2", "mixtral"};
    for (int i = 0; i < 3; i++) {
        check(*state, names[i], SG_WEIGHTS_BF16, false);
        check(*state, names[i], SG_WEIGHTS_INT8, false);
    }
}

// What adapters add is in no parameter: such a trace would not be the model's.
static void test_adapters(void **state)
{
    char path[512];
    int32_t ids[most_tokens];
    sg_error err = {0};
    sg_trace *trace;
    sg_model *model = open_model(*state, "llama", SG_WEIGHTS_F32, true);
    snprintf(path, sizeof path, "%s/golden/tuning/lora_llama", SG_TEST_DIR);
    if (sg_model_adapt(model, path, &err) != SG_OK) fail_msg("%s", err.message);
    sg_trace_options o = sg_trace_options_default();
    o.tokens = ids;
    o.token_count = read_ids("llama", ids);
    assert_int_equal(sg_trace_new(model, &o, &trace, &err), SG_ERR_UNSUPPORTED);
    assert_null(trace);
    assert_non_null(strstr(err.message, "found a model with adapters"));
    sg_model_free(model);
}

static int set_up(void **state)
{
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    return sg_context_new(&options, (sg_context **)state, NULL) == SG_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    sg_context_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folders), cmocka_unit_test(test_ggufs),
                                       cmocka_unit_test(test_narrow),
                                       cmocka_unit_test(test_adapters)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
