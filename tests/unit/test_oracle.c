// Oracles choose what is largest, by sums and lengths that are computed here in double from the
// tables of the model: plain and gated layers, biases, means, layers of unlike blocks, fewer blocks
// of a token than there is room for.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "sparsify/oracle.h"
#include "word_models.h"

enum { rows_most = 32 };

// ---- what is right ------------------------------------------------------------------------------

typedef struct watch {
    const sg_model *model;
    sg_block_target kind;
    sg_real *x; // (rows, d)
    int layers, fewer, others;
} watch;

static sg_real *values_of(const sg_model *m, int64_t layer, const char *name)
{
    char full[96];
    size_t index;
    sg_tensor_info info;
    sg_error err = {0};
    snprintf(full, sizeof full, "model.layers.%lld.mlp.experts.%s", (long long)layer, name);
    if (sg_model_tensor_find(m, full, &index, NULL) != SG_OK) return NULL;
    must(sg_model_tensor_info(m, index, &info, &err), &err);
    sg_real *to = malloc((size_t)(info.rows * info.columns) * sizeof *to);
    assert_non_null(to);
    must(sg_model_tensor_read(m, index, 0, info.rows, to, &err), &err);
    return to;
}

static double product(const sg_real *w, const sg_real *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++)
        sum += (double)w[i] * (double)x[i];
    return sum;
}

// What block b does for one token, of g neurons each.
static double value_of(const watch *w, int64_t layer, int64_t b, int64_t g, const sg_real *x)
{
    const sg_config *c = sg_model_config(w->model);
    const int64_t d = c->hidden_size;
    const bool gated = strcmp(c->ffn_activation, "swiglu") == 0;
    sg_real *up = values_of(w->model, layer, gated ? "gate_up_proj.weight" : "w_in.weight");
    sg_real *bias = values_of(w->model, layer, gated ? "gate_up_proj.bias" : "w_in.bias");
    sg_real *out = values_of(w->model, layer, "w_out.weight");
    sg_real *mean = values_of(w->model, layer, "mean.weight");
    double sum = 0, added[64] = {0}, length = 0;
    assert_true(d <= 64 && (bias != NULL) == (c->ffn_bias != 0) &&
                (mean != NULL) == (c->ffn_mean != 0));
    for (int64_t j = b * g; j < (b + 1) * g; j++) {
        const int64_t row = gated ? 2 * b * g + j % g : j;
        double a = product(up + row * d, x, d) + (bias != NULL ? (double)bias[row] : 0);
        if (gated)
            a = a / (1 + exp(-a)) *
                (product(up + (row + g) * d, x, d) + (bias != NULL ? (double)bias[row + g] : 0));
        else
            a = fmax(a, 0);
        sum += fmax(a, 0);
        for (int64_t i = 0; i < d; i++)
            added[i] += (a - (mean != NULL ? (double)mean[j] : 0)) * (double)out[j * d + i];
    }
    for (int64_t i = 0; i < d; i++)
        length += added[i] * added[i];
    free(up);
    free(bias);
    free(out);
    free(mean);
    return w->kind == SG_TARGET_POSITIVE ? sum : sqrt(length);
}

static sg_status keep_inputs(void *user, const sg_point_values *p, sg_error *err)
{
    watch *w = user;
    (void)err;
    assert_true(p->shape[0] <= rows_most);
    memcpy(w->x, p->values,
           (size_t)(p->shape[0] * sg_model_config(w->model)->hidden_size) * sizeof *w->x);
    return SG_OK;
}

// No block that was left out is larger than one that was chosen, and all differ.
static sg_status check_ids(void *user, const sg_point_values *p, sg_error *err)
{
    watch *w = user;
    const sg_config *c = sg_model_config(w->model);
    const int64_t k = p->shape[2], g = p->layer == 1 && c->ffn_layer_block_size[0] ? 8 : 2;
    const int64_t blocks = c->ffn_intermediate_size / g;
    (void)err;
    for (int64_t row = 0; row < p->shape[0]; row++) {
        const int64_t count = p->counts != NULL ? p->counts[row] : k;
        bool chosen[64] = {false};
        double least = INFINITY, most = 0;
        for (int64_t i = 0; i < count; i++) {
            const int32_t id = p->ids[row * k + i];
            assert_true(id >= 0 && id < blocks && !chosen[id]);
            chosen[id] = true;
        }
        for (int64_t b = 0; b < blocks; b++) {
            const double value = value_of(w, p->layer, b, g, w->x + row * c->hidden_size);
            if (chosen[b]) least = fmin(least, value);
            if (!chosen[b]) most = fmax(most, value);
            w->others += !chosen[b];
        }
        assert_true(count == 0 || least >= most - 1e-6 * fabs(most));
        w->fewer += count < k;
    }
    w->layers++;
    return SG_OK;
}

static watch run(sg_model *m, sg_block_target kind)
{
    sg_error err = {0};
    sg_oracle oracle;
    sg_eval_text_result result;
    const int64_t live = sg_alloc_live();
    watch w = {.model = m, .kind = kind};
    w.x = malloc((size_t)(rows_most * sg_model_config(m)->hidden_size) * sizeof *w.x);
    must(sg_oracle_new(m, kind, &oracle, &err), &err);
    const sg_point_request requests[] = {{.name = "blocks.*.ln2.hook_normalized",
                                          .call = keep_inputs,
                                          .user = &w,
                                          .use = SG_POINT_READ},
                                         oracle.requests[0],
                                         oracle.requests[1],
                                         {.name = "blocks.*.mlp.hook_gate_ids",
                                          .call = check_ids,
                                          .user = &w,
                                          .use = SG_POINT_READ}};
    const sg_points points = {requests, 4};
    const sg_eval_text_options o = {.context = 6, .stride = 6, .points = &points};
    must(sg_evaluate_text(m, tokenizer, text, strlen(text), &o, &result, &err), &err);
    sg_oracle_free(&oracle);
    assert_int_equal(sg_alloc_live(), live);
    free(w.x);
    assert_true(w.layers >= 4 && w.others > 0);
    return w;
}

static void test_choice(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "moefied", "moefied ffn_activation=swiglu", "moefied ffn_activation=swiglu ffn_bias=1",
        "moefied ffn_bias=1 ffn_mean=1", "moefied ffn_layer_block_size=2,8 ffn_layer_top_k=4,2"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sg_model *m = model_of(kinds[i]);
        run(m, SG_TARGET_POSITIVE);
        run(m, SG_TARGET_NORM);
        sg_model_free(m);
    }
    sg_model *m = model_of("moefied ffn_select=threshold ffn_threshold=0.5 ffn_top_k=12");
    assert_true(run(m, SG_TARGET_POSITIVE).fewer > 0);
    sg_model_free(m);
}

// ---- what is wrong ------------------------------------------------------------------------------

static void test_refuses(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_oracle oracle;
    sg_model *m = model_of("moefied ffn_share_pool=1");
    assert_int_equal(sg_oracle_new(m, SG_TARGET_NORM, &oracle, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ffn_share_pool"));
    sg_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice),
                                       cmocka_unit_test(test_refuses)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
