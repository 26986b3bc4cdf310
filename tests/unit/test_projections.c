// Projections of attention that are MLPs: their sizes, lists of widths, parameters and points; that
// an MLP says what the linear layer says that it is; what is refused. (That sessions, files and
// copies in bf16 say what the model says is tested of all kinds of tiny_models.h.)
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "logits.h"
#include "model/config.h"
#include "model/model.h"
#include "model/projections.h"
#include "sgatlin_trace.h"
#include "tiny_models.h"

enum { vocab = 40, positions = 24, steps = 9 };

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static sg_context *new_context(void)
{
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 2}, &context, &err), &err);
    return context;
}

static sg_model *model_of(sg_context *context, const char *kind)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, 3, &m, &err), &err);
    return m;
}

static void say(sg_model *m, float out[steps][vocab])
{
    static const int32_t tokens[steps] = {1, 5, 9, 3, 30, 2, 17, 8, 4};
    logits_of(m, tokens, steps, 1, out[0]);
}

// ---- sizes --------------------------------------------------------------------------------------

// round(f (d^2 + d) / (2 d + 1)) of square ones, and the same of FLOPs of any.
static void test_sizes(void **state)
{
    (void)state;
    assert_int_equal(sg_projection_hidden(768, 768, 1), 384);
    assert_int_equal(sg_projection_hidden(768, 768, 2), 768);
    assert_int_equal(sg_projection_hidden(2, 2, 1), 1);
    assert_int_equal(sg_projection_hidden(1, 1, 0.01), 1);
    for (int64_t d = 2; d < 200; d += 7) {
        const double f = 0.5 + (double)(d % 4);
        assert_int_equal(sg_projection_hidden(d, d, f),
                         fmax(1, round(f * (double)(d * d + d) / (double)(2 * d + 1))));
    }
    // Of keys with fewer heads as many FLOPs too.
    const int64_t h = sg_projection_hidden(576, 192, 1);
    assert_true(fabs((double)(h * (576 + 192)) / (576.0 * 192) - 1) < 0.01);
}

static void complete(const char *kind, sg_config *c)
{
    sg_error err = {0};
    *c = tiny_config(kind, vocab, positions);
    must(sg_config_complete(c, &err), &err);
}

static void test_lists(void **state)
{
    (void)state;
    sg_config c;
    complete("mlp attention_mlp_q=5,5 attention_mlp_k=0 attention_mlp_v=0,0 attention_mlp_o=0,7",
             &c);
    assert_string_equal(c.attention_mlp_q, "5");
    assert_string_equal(c.attention_mlp_k, "");
    assert_string_equal(c.attention_mlp_v, "");
    assert_string_equal(c.attention_mlp_o, "0,7");
    assert_int_equal(sg_projection_size_of(&c, 0, SG_PROJECTION_Q).hidden, 5);
    assert_int_equal(sg_projection_size_of(&c, 1, SG_PROJECTION_Q).hidden, 5);
    assert_int_equal(sg_projection_size_of(&c, 0, SG_PROJECTION_O).hidden, 0);
    assert_int_equal(sg_projection_size_of(&c, 1, SG_PROJECTION_O).hidden, 7);
    assert_true(sg_projections_any(&c));
    complete("mlp attention_mlp_v=0", &c);
    assert_false(sg_projections_any(&c));
    static const char *const wrong[] = {"5,5,5", "5,", ",5", "x", "-1", "5 5", "1048577", "5,x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_error err = {0};
        c = tiny_config("mlp", vocab, positions);
        snprintf(c.attention_mlp_k, sizeof c.attention_mlp_k, "%s", wrong[i]);
        assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, "attention_mlp_k: found \"") == NULL) fail_msg("%s", err.message);
    }
}

// ---- parameters, cost, points -------------------------------------------------------------------

static const sg_param_spec *find(const sg_model *m, const char *name)
{
    size_t index;
    return sg_model_tensor_find(m, name, &index, NULL) == SG_OK ? &m->params.specs[index] : NULL;
}

static void test_parameters(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context = new_context();
    sg_model *m =
        model_of(context, "mlp num_key_value_heads=1 attention_bias=1 attention_mlp_k=5,0 "
                          "attention_mlp_o=6");
    const sg_param_spec *up = find(m, "model.layers.0.self_attn.k_proj.mlp.up_proj.weight");
    const sg_param_spec *down = find(m, "model.layers.0.self_attn.k_proj.mlp.down_proj.weight");
    const sg_param_spec *bias = find(m, "model.layers.0.self_attn.k_proj.mlp.down_proj.bias");
    assert_true(up->shape[0] == 5 && up->shape[1] == 16);
    assert_true(down->shape[0] == 8 && down->shape[1] == 5);
    assert_true(bias->count == 8 && !bias->decay);
    assert_null(find(m, "model.layers.0.self_attn.k_proj.weight"));
    assert_null(find(m, "model.layers.0.self_attn.k_proj.bias"));
    assert_non_null(find(m, "model.layers.1.self_attn.k_proj.bias"));
    sg_cost with, without;
    sg_config c = m->config;
    must(sg_config_cost(&c, 8, 1, false, 1, &with, &err), &err);
    c.attention_mlp_k[0] = c.attention_mlp_o[0] = '\0';
    must(sg_config_cost(&c, 8, 1, false, 1, &without, &err), &err);
    // Of a token: k 16 x 8 in one layer, o 16 x 16 in two; 5 and 6 hidden neurons.
    const double less = 8 * 2 * (16 * 8 + 2 * 16 * 16 - 5 * (16 + 8) - 2 * 6 * (16 + 16));
    assert_true(without.attention_flops - with.attention_flops == less);
    assert_true(without.forward_flops_per_sequence - with.forward_flops_per_sequence == less);
    assert_int_equal(without.attention_parameters - with.attention_parameters,
                     (16 * 8 + 8) + 2 * 16 * 16 - (5 * 17 + 8 * 6) - 2 * (6 * 17 + 16 * 7));
    sg_model_free(m);
    sg_context_free(context);
}

static sg_status count_call(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    *(int64_t *)user += v->shape[0] * v->shape[1];
    for (int64_t i = 0; i < v->shape[0] * v->shape[1]; i++)
        assert_true(v->values[i] >= 0);
    return SG_OK;
}

// The hidden activations have points of their own, and those of the layer theirs.
static void test_points(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context = new_context();
    sg_model *m = model_of(context, "mlp ffn_activation=relu attention_mlp_q=5,0 "
                                    "attention_mlp_o=7");
    int64_t seen[3] = {0};
    const sg_point_request requests[] = {
        {.name = "blocks.0.attn.q_mlp.hook_post", SG_POINT_READ, count_call, &seen[0]},
        {.name = "blocks.1.attn.o_mlp.hook_post", SG_POINT_READ, count_call, &seen[1]},
        {.name = "blocks.1.mlp.hook_post", SG_POINT_READ, count_call, &seen[2]}};
    const sg_points points = {requests, 3};
    sg_session *s;
    const float *logits;
    must(sg_session_open(m, &(sg_session_options){.points = &points}, &s, &err), &err);
    must(sg_session_feed(s, (int32_t[]){1, 2, 3}, 3, &logits, &err), &err);
    assert_true(seen[0] == 3 * 5 && seen[1] == 3 * 7 && seen[2] == 3 * 24);
    sg_session_free(s);
    const sg_point_request none = {
        .name = "blocks.1.attn.q_mlp.hook_post", SG_POINT_READ, count_call, &seen[0]};
    const sg_points wrong = {&none, 1};
    assert_int_equal(sg_session_open(m, &(sg_session_options){.points = &wrong}, &s, &err),
                     SG_ERR_NOT_FOUND);
    sg_model_free(m);
    sg_context_free(context);
}

// ---- what it computes ---------------------------------------------------------------------------

static float *values(sg_model *m, const char *name)
{
    size_t index;
    sg_error err = {0};
    must(sg_model_tensor_find(m, name, &index, &err), &err);
    return m->values[index];
}

// relu(x) - relu(-x) = x: with 2 d neurons an MLP is any linear layer.
static void test_linear_as_mlp(void **state)
{
    (void)state;
    static float linear[steps][vocab], mlp[steps][vocab];
    static const char *const names[] = {"q_proj", "k_proj", "v_proj", "o_proj"};
    static const char *const kinds[] = {
        "glu attention_bias=1 attention_out_bias=1",
        "glu attention_bias=1 attention_out_bias=1 attention_mlp_q=32 attention_mlp_k=0,32 "
        "attention_mlp_v=32 attention_mlp_o=32,0"};
    sg_context *context = new_context();
    sg_model *a = model_of(context, kinds[0]), *b = model_of(context, kinds[1]);
    for (int l = 0; l < 2; l++)
        for (int p = 0; p < 4; p++) {
            char base[96], full[128];
            snprintf(base, sizeof base, "model.layers.%d.self_attn.%s", l, names[p]);
            snprintf(full, sizeof full, "%s.mlp.up_proj.weight", base);
            const bool is_mlp = find(b, full) != NULL;
            snprintf(full, sizeof full, "%s.bias", base);
            float *bias = values(a, full);
            for (int i = 0; i < 16; i++)
                bias[i] = 0.1f * (float)(i - 7);
            if (!is_mlp) {
                memcpy(values(b, full), bias, 16 * sizeof *bias);
                continue;
            }
            snprintf(full, sizeof full, "%s.mlp.down_proj.bias", base);
            memcpy(values(b, full), bias, 16 * sizeof *bias);
            snprintf(full, sizeof full, "%s.weight", base);
            const float *w = values(a, full);
            snprintf(full, sizeof full, "%s.mlp.up_proj.weight", base);
            float *up = values(b, full);
            snprintf(full, sizeof full, "%s.mlp.down_proj.weight", base);
            float *down = values(b, full);
            memset(up, 0, 32 * 16 * sizeof *up);
            for (int i = 0; i < 16; i++) {
                up[i * 16 + i] = 1;
                up[(16 + i) * 16 + i] = -1;
                for (int j = 0; j < 16; j++) {
                    down[i * 32 + j] = w[i * 16 + j];
                    down[i * 32 + 16 + j] = -w[i * 16 + j];
                }
            }
        }
    // The rest has the same names, and so the same numbers.
    say(a, linear);
    say(b, mlp);
    if (furthest(linear[0], mlp[0], steps * vocab) > 2e-5)
        fail_msg("logits are %.2g off", furthest(linear[0], mlp[0], steps * vocab));
    sg_model_free(a);
    sg_model_free(b);
    sg_context_free(context);
}

// ---- what is refused ----------------------------------------------------------------------------

static void test_refused(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context = new_context();
    sg_model *m = model_of(context, "glu ffn_activation=swiglu attention_mlp_v=6");
    sg_trace_options trace = sg_trace_options_default();
    const int32_t ids[] = {1, 2, 3};
    trace.tokens = ids;
    trace.token_count = 3;
    sg_trace *made;
    assert_int_equal(sg_trace_new(m, &trace, &made, &err), SG_ERR_UNSUPPORTED);
    if (strstr(err.message, "trace: found attention_mlp_q") == NULL) fail_msg("%s", err.message);
    sg_model_free(m);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_lists),
        cmocka_unit_test(test_parameters),    cmocka_unit_test(test_points),
        cmocka_unit_test(test_linear_as_mlp), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
