// Points of training and evaluation: what is only read changes no bit of a run, callbacks end a run
// that can then be gone on with, and logits, targets and selections are those of the figures.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "sgatlin_data.h"
#include "sgatlin_probe.h"
#include "tiny_run.h"

// What was called, and when to end it.
typedef struct watcher {
    int forward, backward, end_at; // end_at: forward call, from 1; 0: never
    int64_t last_first;
    double gradients;
} watcher;

static sg_status watch(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    watcher *w = user;
    assert_non_null(p->targets);
    assert_int_equal(p->length, TINY_LENGTH);
    w->last_first = p->first_sequence;
    if (p->use == SG_POINT_GRADIENT) {
        w->backward++;
        if (p->gradient != NULL) w->gradients += fabs((double)p->gradient[0]);
        return SG_OK;
    }
    return ++w->forward == w->end_at ? SG_ERR_STOPPED : SG_OK;
}

static sg_train_options options_of(bool recompute)
{
    sg_train_options o = tiny_options("sgatlin");
    o.grad_accum = 2;
    o.recompute = recompute;
    return o;
}

static void test_reading_changes_nothing(void **state)
{
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        const sg_train_options o = options_of(recompute);
        memory_fs *one = tiny_disk();
        tiny_life life = {0};
        tiny_must(&life, "run", &o);
        tiny_end plain = tiny_end_of("run");
        tiny_disk_free(one);
        memory_fs *two = tiny_disk();
        watcher all = {0}, stream = {0};
        const sg_point_request requests[] = {
            {"*", SG_POINT_READ, watch, &all},
            {"blocks.0.hook_resid_post", SG_POINT_READ | SG_POINT_GRADIENT, watch, &stream}};
        const sg_points points = {requests, 2};
        life = (tiny_life){.threads = 2, .points = &points};
        tiny_must(&life, "run", &o);
        tiny_end seen = tiny_end_of("run");
        tiny_same(&seen, &plain, recompute ? "with recomputation" : "without");
        assert_int_equal(stream.forward, 2 * TINY_STEPS); // once a micro-batch
        assert_int_equal(stream.backward, 2 * TINY_STEPS);
        assert_int_equal(stream.last_first, o.batch_size / 2);
        assert_true(stream.gradients > 0 && isfinite(stream.gradients));
        assert_true(all.forward > 30 * stream.forward && all.backward == 0);
        tiny_end_free(&seen);
        tiny_end_free(&plain);
        tiny_disk_free(two);
    }
}

static void test_ended_run(void **state)
{
    (void)state;
    const sg_train_options o = options_of(false);
    memory_fs *one = tiny_disk();
    tiny_life life = {0};
    tiny_must(&life, "run", &o);
    tiny_end plain = tiny_end_of("run");
    tiny_disk_free(one);
    memory_fs *two = tiny_disk();
    watcher w = {.end_at = 2 * 7 + 2}; // in the second half of the eighth step
    const sg_point_request request = {"blocks.1.hook_mlp_out", SG_POINT_READ, watch, &w};
    const sg_points points = {&request, 1};
    life = (tiny_life){.points = &points};
    assert_int_equal(tiny_train(&life, "run", &o), SG_ERR_STOPPED);
    assert_string_equal(life.err.message, "blocks.1.hook_mlp_out: stopped");
    assert_int_equal(life.last_step, 7);
    life = (tiny_life){0};
    tiny_must(&life, "run", NULL);
    tiny_end resumed = tiny_end_of("run");
    tiny_same(&resumed, &plain, "resumed");
    const sg_point_request wrong = {"blocks.7.hook_mlp_out", SG_POINT_READ, watch, &w};
    const sg_points none = {&wrong, 1};
    life = (tiny_life){.points = &none};
    assert_int_equal(tiny_train(&life, "other", &o), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(life.err.message, "the nearest is \"blocks.0.hook_mlp_out\""));
    tiny_end_free(&resumed);
    tiny_end_free(&plain);
    tiny_disk_free(two);
}

// ---- evaluation ---------------------------------------------------------------------------------

// The loss, from logits and targets; which rows of the split have been seen.
typedef struct scorer {
    double loss;
    int64_t tokens, correct, calls;
    bool seen[1 << 12];
} scorer;

static sg_status score(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    scorer *s = user;
    const int64_t vocab = p->shape[1];
    s->calls++;
    assert_int_equal(p->rank, 2);
    for (int64_t i = 0; i < p->shape[0]; i++) {
        const int64_t r = p->first_row + i;
        const int32_t target = p->targets[r];
        if (target < 0) continue;
        const float *z = p->values + i * vocab;
        int64_t best = 0;
        double sum = 0;
        for (int64_t v = 0; v < vocab; v++) {
            if (z[v] > z[best]) best = v;
            sum += exp((double)z[v]);
        }
        s->loss += log(sum) - (double)z[target];
        s->correct += best == target;
        s->tokens++;
        const int64_t at = p->first_sequence * p->length + r;
        assert_true(at < (int64_t)(sizeof s->seen / sizeof *s->seen));
        assert_false(s->seen[at]);
        s->seen[at] = true;
    }
    return SG_OK;
}

static sg_status count_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)p;
    (void)err;
    ++*(int64_t *)user;
    return SG_OK;
}

static sg_status select_first(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    memset(p->ids, 0, (size_t)(p->shape[0] * p->shape[1] * p->shape[2]) * sizeof *p->ids);
    return SG_OK;
}

static void test_evaluation(void **state)
{
    (void)state;
    static scorer s;
    memory_fs *fs = tiny_disk();
    tiny_life life = {0};
    const sg_train_options o = options_of(false);
    tiny_must(&life, "run", &o);
    sg_context *context;
    sg_model *model;
    sg_data *data;
    assert_int_equal(sg_context_new(NULL, &context, NULL), SG_OK);
    assert_int_equal(sg_model_open(context, "run", &model, NULL), SG_OK);
    assert_int_equal(sg_data_open(TINY_PAD, SG_VERIFY_AUTO, &data, NULL), SG_OK);
    sg_eval_options e = sg_eval_options_default();
    sg_usage usage[8], with[8];
    sg_eval_result plain, seen;
    sg_error err = {0};
    e.micro_batch = 3;
    e.batch_size = 7;
    e.usage = usage;
    assert_int_equal(sg_evaluate(model, data, &e, &plain, &err), SG_OK);
    // Everything is read, and what is read written back.
    int64_t calls = 0;
    const sg_point_request requests[] = {{"logits", SG_POINT_READ, score, &s},
                                         {"*", SG_POINT_READ, count_call, &calls},
                                         {"*resid*", SG_POINT_WRITE, count_call, &calls}};
    const sg_points points = {requests, 3};
    e.points = &points;
    e.usage = with;
    memset(&s, 0, sizeof s);
    assert_int_equal(sg_evaluate(model, data, &e, &seen, &err), SG_OK);
    assert_memory_equal(&plain, &seen, sizeof plain);
    assert_memory_equal(usage, with, (size_t)plain.usage_count * sizeof *usage);
    assert_int_equal(s.tokens, plain.tokens);
    assert_true(calls > 40);
    assert_true(fabs(s.loss / (double)s.tokens - plain.loss) < 1e-5);
    assert_true((double)s.correct / (double)s.tokens == plain.accuracy);
    // Usage counts what was written.
    const sg_point_request write = {"*.hook_gate_ids", SG_POINT_WRITE, select_first, NULL};
    e.points = &(sg_points){&write, 1};
    assert_int_equal(sg_evaluate(model, data, &e, &seen, &err), SG_OK);
    const sg_config *c = sg_model_config(model);
    for (int64_t l = 0; l < seen.usage_count; l++) {
        assert_int_equal(with[l].selections, usage[l].selections);
        assert_true(with[l].used == 1 / (double)c->ffn_neurons);
        assert_true(with[l].max_load == (double)c->ffn_neurons);
    }
    watcher w = {.end_at = 2};
    const sg_point_request end = {"hook_embed", SG_POINT_READ, watch, &w};
    e.points = &(sg_points){&end, 1};
    assert_int_equal(sg_evaluate(model, data, &e, &seen, &err), SG_ERR_STOPPED);
    assert_string_equal(err.message, "hook_embed: stopped");
    sg_data_free(data);
    sg_model_free(model);
    sg_context_free(context);
    tiny_disk_free(fs);
}

// Gradients of the stream behind the last layer in one row of the split, and of the same row in a
// session.
enum { slope_most = 1 << 14 };
typedef struct slope {
    int64_t row; // of the split
    int64_t length, calls;
    int32_t tokens[256], targets[256];
    float gradient[slope_most];
    int64_t count;
} slope;

static sg_status keep_slope(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    slope *s = user;
    const int64_t sequence = s->row - p->first_sequence, d = p->shape[1];
    s->calls++;
    assert_int_equal(p->use, SG_POINT_GRADIENT);
    if (sequence < 0 || sequence >= p->sequences) return SG_OK;
    s->length = p->length;
    s->count = p->length * d;
    assert_true(p->length <= 256 && s->count <= slope_most);
    memcpy(s->tokens, p->tokens + sequence * p->length, (size_t)p->length * sizeof *s->tokens);
    if (p->targets != NULL)
        memcpy(s->targets, p->targets + sequence * p->length,
               (size_t)p->length * sizeof *s->targets);
    memcpy(s->gradient, p->gradient + sequence * s->count, (size_t)s->count * sizeof *s->gradient);
    return SG_OK;
}

static void test_evaluation_gradient(void **state)
{
    (void)state;
    static slope in_split = {.row = 4}, alone = {.row = 0};
    memory_fs *fs = tiny_disk();
    tiny_life life = {0};
    const sg_train_options o = options_of(false);
    tiny_must(&life, "run", &o);
    sg_context *context;
    sg_model *model;
    sg_data *data;
    sg_session *session;
    sg_eval_result plain, seen;
    double value;
    assert_int_equal(sg_context_new(NULL, &context, NULL), SG_OK);
    assert_int_equal(sg_model_open(context, "run", &model, NULL), SG_OK);
    assert_int_equal(sg_data_open(TINY_PAD, SG_VERIFY_AUTO, &data, NULL), SG_OK);
    sg_eval_options e = sg_eval_options_default();
    e.micro_batch = 3;
    assert_int_equal(sg_evaluate(model, data, &e, &plain, NULL), SG_OK);
    const sg_point_request request = {"blocks.0.hook_resid_post", SG_POINT_GRADIENT, keep_slope,
                                      &in_split};
    e.points = &(sg_points){&request, 1};
    assert_int_equal(sg_evaluate(model, data, &e, &seen, NULL), SG_OK);
    assert_memory_equal(&plain, &seen, sizeof plain);
    assert_true(in_split.calls > 1 && in_split.count > 0);
    const sg_point_request same = {"blocks.0.hook_resid_post", SG_POINT_GRADIENT, keep_slope,
                                   &alone};
    const sg_points points = {&same, 1};
    sg_session_options open = sg_session_options_default();
    open.points = &points;
    assert_int_equal(sg_session_open(model, &open, &session, NULL), SG_OK);
    const sg_objective objective = {.targets = in_split.targets};
    assert_int_equal(
        sg_session_gradient(session, in_split.tokens, in_split.length, &objective, &value, NULL),
        SG_OK);
    double size = 0;
    for (int64_t i = 0; i < in_split.count; i++)
        size = fmax(size, fabs((double)in_split.gradient[i]));
    assert_true(size > 0);
    assert_int_equal(in_split.count, alone.count);
    for (int64_t i = 0; i < in_split.count; i++)
        assert_true(fabs((double)in_split.gradient[i] - (double)alone.gradient[i]) < 1e-5 * size);
    sg_session_free(session);
    sg_data_free(data);
    sg_model_free(model);
    sg_context_free(context);
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading_changes_nothing),
        cmocka_unit_test(test_ended_run),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_evaluation_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
