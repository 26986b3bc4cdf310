// Gradients of sessions in double: of a sum of logits and of losses with respect to the values at
// every point, against differences of the objective when they are written, and, to the bit, against
// the pass of training.
#include "grad/gradcheck.h"
#include "model/graph.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"

enum { vocab = 23, count = 7, positions = 12, most = 8192, points_most = 120 };
static sg_context *context;
static int32_t tokens[count], targets[count];
// A difference of logits, another token's, and one logit in two terms.
static const sg_logit_term terms[] = {
    {count - 1, 4, 1}, {count - 1, 9, -1}, {2, 0, 0.5}, {3, 22, 2}, {3, 22, -0.25}};
static const sg_objective logits = {terms, sizeof terms / sizeof *terms, NULL};
static const sg_objective losses = {NULL, 0, targets};

static int set_up(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    for (int i = 0; i < count; i++) {
        tokens[i] = (int32_t)sg_rng_below(5, 1, (uint64_t)i, vocab);
        targets[i] = i % 3 == 1 ? -1 : (int32_t)sg_rng_below(5, 2, (uint64_t)i, vocab);
    }
    return sg_context_new(&options, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(const char *kind, bool other)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    if (other) {
        c.parallel_residual = 1;
        c.num_key_value_heads = 1;
        c.sliding_window = 4;
        c.attention_sinks = 1;
        snprintf(c.sliding_layers, sizeof c.sliding_layers, "1");
        snprintf(c.positions, sizeof c.positions, "learned");
        snprintf(c.norm, sizeof c.norm, "layernorm");
    }
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

// One point: its values and gradient as seen, and what is added to the values, a direction.
typedef struct probe {
    double values[most], gradient[most];
    int64_t count;
    double step;
    int forward, backward;
} probe;

static double direction(int64_t i)
{
    return sg_rng_normal(11, 3, (uint64_t)i);
}

// The double build's values are doubles.
static sg_status probe_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    probe *q = user;
    int64_t row = 1;
    for (int i = 1; i < p->rank; i++)
        row *= p->shape[i];
    const int64_t n = p->shape[0] * row, at = p->first_row * row;
    assert_int_equal(p->row_step, 1);
    assert_true(at + n <= most);
    sg_real *values = (void *)p->values, *gradient = (void *)p->gradient;
    q->count = at + n;
    if (p->use == SG_POINT_GRADIENT) {
        q->backward++;
        for (int64_t i = 0; i < n; i++)
            q->gradient[at + i] = (double)gradient[i];
        return SG_OK;
    }
    q->forward++;
    for (int64_t i = 0; i < n; i++) {
        q->values[at + i] = (double)values[i];
        if (p->use == SG_POINT_WRITE) values[i] += (sg_real)(q->step * direction(at + i));
    }
    return SG_OK;
}

static double objective_of(sg_model *model, const sg_points *points, const sg_objective *objective)
{
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    sg_error err = {0};
    double value = NAN;
    options.points = points;
    if (sg_session_open(model, &options, &session, &err) != SG_OK ||
        sg_session_gradient(session, tokens, count, objective, &value, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_session_free(session);
    return value;
}

// Read, written, and shifted along a direction.
static void check_point(sg_model *model, const char *kind, const sg_point_info *info,
                        const sg_objective *objective)
{
    static probe q, w;
    q = (probe){0};
    w = (probe){0};
    sg_point_request request = {info->name, SG_POINT_READ | SG_POINT_GRADIENT, probe_call, &q};
    const sg_points points = {&request, 1};
    const double value = objective_of(model, &points, objective);
    assert_true(q.forward >= 1);
    if (q.backward == 0) { // nothing depends on it, but for what is selected
        if (strstr(info->name, "scores") == NULL) fail_msg("%s: no gradient", info->name);
        return;
    }
    request = (sg_point_request){info->name, SG_POINT_WRITE | SG_POINT_GRADIENT, probe_call, &w};
    const double written = objective_of(model, &points, objective);
    if (fabs(written - value) > 1e-12 * (1 + fabs(value)))
        fail_msg("%s, %s: %.17g read and %.17g written", kind, info->name, value, written);
    double slope = 0, size = 0;
    for (int64_t i = 0; i < q.count; i++) {
        if (fabs(q.gradient[i] - w.gradient[i]) > 1e-12 * (1 + fabs(q.gradient[i])))
            fail_msg("%s, %s: %lld is %g read and %g written", kind, info->name, (long long)i,
                     q.gradient[i], w.gradient[i]);
        slope += q.gradient[i] * direction(i);
        size += q.gradient[i] * q.gradient[i];
    }
    const double step = 1e-6;
    w.step = step;
    const double up = objective_of(model, &points, objective);
    w.step = -step;
    const double found = (up - objective_of(model, &points, objective)) / (2 * step);
    if (fabs(found - slope) > 1e-6 * (sqrt(size) + 1e-3))
        fail_msg("%s, %s: the gradient says %.10g, the objective %.10g", kind, info->name, slope,
                 found);
}

static void check_model(const char *kind, bool other)
{
    sg_model *model = make_model(kind, other);
    sg_point_info *list;
    size_t n;
    int checked = 0;
    assert_int_equal(sg_points_of(model, &list, &n, NULL), SG_OK);
    for (size_t i = 0; i < n; i++) {
        if (!(list[i].can & SG_POINT_GRADIENT)) continue;
        check_point(model, kind, &list[i], i % 2 ? &logits : &losses);
        checked++;
    }
    assert_true(checked > 20);
    sg_buffer_free(list);
    sg_model_free(model);
}

static void test_differences(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "sgatlin", "moe",      "mlp",
        "glu",     "peer",     "avgk ffn_block_size=16 ffn_active_neurons=32",
        "switch",  "pkm",      "lorkm",
        "omnimoe", "randhash", "memory_plus"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        check_model(kinds[i], i % 3 == 1);
}

// The same loss in training: one pass, the same gradients.
static void test_training(void **state)
{
    (void)state;
    static probe of_session, of_training;
    static const char *const names[] = {"hook_embed", "blocks.0.attn.hook_v",
                                        "blocks.1.mlp.hook_post", "blocks.1.hook_resid_post"};
    sg_model *model = make_model("sgatlin", false);
    sg_param_block grads;
    assert_int_equal(sg_param_block_new(&model->params, "gradients", NULL, NULL, &grads, NULL),
                     SG_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        of_session = of_training = (probe){0};
        sg_point_request request = {names[i], SG_POINT_READ | SG_POINT_GRADIENT, probe_call,
                                    &of_session};
        const sg_points points = {&request, 1};
        const double value = objective_of(model, &points, &losses);
        request.user = &of_training;
        const sg_graph_options options = {.batch = 1,
                                          .length = count,
                                          .output = SG_OUTPUT_LOSS,
                                          .gradient = true,
                                          .points = &points,
                                          .threads = 2};
        sg_graph *g;
        sg_error err = {0};
        if (sg_graph_new(&model->config, &model->params, model->values, grads.parts, &model->rope,
                         &options, &g, &err) != SG_OK)
            fail_msg("%s", err.message);
        g->ids->data = tokens;
        g->targets->data = targets;
        g->stats.normaliser = 1;
        sg_run run = {.compute = model->context->compute, .err = &err};
        assert_int_equal(sg_tape_forward(g->tape, &run), SG_OK);
        assert_int_equal(sg_tape_backward(g->tape, &run), SG_OK);
        assert_true(g->stats.loss_sum == value);
        assert_true(of_training.backward == 1 && of_session.backward == 1);
        assert_memory_equal(of_session.values, of_training.values, sizeof of_session.values);
        assert_memory_equal(of_session.gradient, of_training.gradient, sizeof of_session.gradient);
        sg_graph_free(g);
    }
    sg_param_block_free(&grads);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_training),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
