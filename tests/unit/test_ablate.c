// The loss without neurons, against that of a model whose rows of w_out are 0, and against an
// evaluation with edits; sequences in which nothing changes; controls; any number of threads; what
// is refused; memory that fails.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "context_on.h"
#include "memory_disk.h"
#include "pack_bytes.h"
#include "probe/neuron_tables.h"
#include "tiny_models.h"
#include "sgatlin_edit.h"

enum { length = 16, neurons = 25 };
static sg_context *context;

static int group_begin(void **state)
{
    (void)state;
    context = context_on(2);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(sg_context *in, const char *kind)
{
    sg_model *model;
    sg_error err = {0};
    const sg_config c = tiny_config(kind, BYTES_VOCAB, length);
    must(sg_model_new(in, &c, 3, &model, &err), &err);
    return model;
}

static sg_data *make_data(void)
{
    sg_error err = {0};
    sg_data *data;
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options pack = sg_pack_options_default();
    static char text[16 * 8];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (char)('a' + i * i % 23);
    pack.seq_len = length;
    pack.val_fraction = 1;
    must(bytes_pack(text, &encoder, NULL, &pack, "/data", NULL, &err), &err);
    must(sg_data_open("/data", SG_VERIFY_AUTO, &data, &err), &err);
    return data;
}

static sg_ablate_options options_of(const sg_data *data)
{
    sg_ablate_options o = sg_ablate_options_default();
    o.data = data;
    o.max_tokens = 0;
    o.bootstrap = 50;
    return o;
}

static sg_ablate_result ablate(sg_model *model, const sg_ablate_options *o)
{
    sg_error err = {0};
    sg_ablate_result r;
    must(sg_probe_ablate(model, o, &r, &err), &err);
    return r;
}

static double loss_of(sg_model *model, const sg_data *data, const sg_points *points)
{
    sg_error err = {0};
    sg_eval_options o = sg_eval_options_default();
    sg_eval_result r;
    o.points = points;
    must(sg_evaluate(model, data, &o, &r, &err), &err);
    return r.loss;
}

static void zero_rows(sg_model *model, int64_t layer, int64_t channel, int64_t first, int64_t rows)
{
    sg_error err = {0};
    sg_neuron_table t;
    float zeros[2 * neurons * 16] = {0};
    must(sg_neuron_table_of(model, layer, &t, &err), &err);
    assert_true(!t.out_columns && rows * t.width <= 2 * neurons * 16);
    must(sg_model_tensor_write(model, sg_model_tensor_name(model, t.out),
                               channel * t.neurons + first, rows, zeros, NULL, &err),
         &err);
}

// ---- against rows of zeros ----------------------------------------------------------------------

static void test_neurons(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options o = options_of(data);
    o.top = 3;
    const sg_ablate_result r = ablate(model, &o);
    assert_int_equal(r.count, 4);
    assert_true(fabs(r.loss - loss_of(model, data, NULL)) < 1e-6);
    assert_true(r.groups[0].usage > 0 && r.groups[0].contribution > 0);
    for (size_t i = 0; i < r.count; i++) {
        sg_model *written = make_model(context, "sgatlin");
        for (size_t k = i < 3 ? i : 0; k < (i < 3 ? i + 1 : 3); k++) {
            long long layer, channel, neuron;
            assert_int_equal(sscanf(r.groups[k].name, "%lld:%lld:%lld", &layer, &channel, &neuron),
                             3);
            zero_rows(written, layer, channel, neuron, 1);
        }
        const double expected = loss_of(written, data, NULL);
        assert_true(fabs(r.groups[i].loss - expected) < 1e-6);
        assert_true(fabs(r.groups[i].change.mean - (expected - r.loss)) < 1e-6);
        assert_true(r.groups[i].sequences > 0);
        assert_true(r.groups[i].change.low <= r.groups[i].change.mean);
        assert_true(r.groups[i].change.high >= r.groups[i].change.mean);
        sg_model_free(written);
    }
    assert_string_equal(r.groups[3].name, "all of these");
    assert_int_equal(r.groups[3].neurons, 3);
    sg_buffer_free(r.groups);
    sg_model_free(model);
    sg_data_free(data);
}

static void test_layers(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options o = options_of(data);
    sg_ablate_result r = ablate(model, &o);
    assert_int_equal(r.count, 2);
    assert_string_equal(r.groups[1].name, "layer 1");
    assert_int_equal(r.groups[1].neurons, 2 * neurons);
    assert_true(isnan(r.groups[1].control.mean));
    sg_model *written = make_model(context, "sgatlin");
    zero_rows(written, 1, 0, 0, 2 * neurons);
    assert_true(fabs(r.groups[1].loss - loss_of(written, data, NULL)) < 1e-6);
    sg_buffer_free(r.groups);
    o.layers = "1";
    o.channels = "all";
    r = ablate(model, &o);
    assert_int_equal(r.count, 2);
    assert_string_equal(r.groups[1].name, "layer 1 channel 1");
    sg_model *half = make_model(context, "sgatlin");
    zero_rows(half, 1, 1, 0, neurons);
    assert_true(fabs(r.groups[1].loss - loss_of(half, data, NULL)) < 1e-6);
    sg_buffer_free(r.groups);
    sg_model_free(written);
    sg_model_free(half);
    sg_model_free(model);
    sg_data_free(data);
}

// ---- nothing, means, controls -------------------------------------------------------------------

static void test_nothing(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options o = options_of(data);
    o.neurons = "0:0:0,0:0:1,0:0:2,0:0:3,0:0:4,0:0:5,0:0:6,0:0:7,0:0:8,0:0:9,0:0:10,0:0:11,0:0:12";
    o.max_tokens = 1; // one sequence: some neurons are not selected in it
    const sg_ablate_result r = ablate(model, &o);
    int never = 0;
    assert_int_equal(r.sequences, 1);
    for (size_t i = 0; i < r.count; i++) {
        const sg_ablate_group *g = &r.groups[i];
        if (g->usage > 0) continue;
        never++;
        assert_int_equal(g->sequences, 0);
        assert_true(g->change.mean == 0 && g->change.low == 0 && g->change.high == 0);
        assert_true(g->loss == r.loss);
    }
    assert_true(never > 0);
    sg_buffer_free(r.groups);
    sg_model_free(model);
    sg_data_free(data);
}

// The sum of a neuron's coefficients.
typedef struct mean_of {
    int64_t neuron, tokens;
    double sum;
    int32_t ids[length * 8 * 8];
} mean_of;

static sg_status mean_ids(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    mean_of *m = user;
    const int64_t all = v->shape[0] * v->shape[1] * v->shape[2];
    assert_true(all <= (int64_t)(sizeof m->ids / sizeof *m->ids));
    memcpy(m->ids, v->ids, (size_t)all * sizeof *m->ids);
    return SG_OK;
}

static sg_status mean_post(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    mean_of *m = user;
    const int64_t k = v->shape[2], row = v->shape[1] * k;
    m->tokens += v->shape[0];
    for (int64_t r = 0; r < v->shape[0]; r++)
        for (int64_t s = 0; s < k; s++) // channel 0
            if (m->ids[r * row + s] == m->neuron) m->sum += (double)v->values[r * row + s];
    return SG_OK;
}

static void test_mean(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options o = options_of(data);
    o.neurons = "1:0:7";
    o.mean = true;
    const sg_ablate_result r = ablate(model, &o);
    mean_of m = {.neuron = 7};
    const sg_point_request asked[] = {{"blocks.1.mlp.hook_gate_ids", SG_POINT_READ, mean_ids, &m},
                                      {"blocks.1.mlp.hook_post", SG_POINT_READ, mean_post, &m}};
    const sg_points points = {asked, 2};
    loss_of(model, data, &points);
    const sg_edit edit = {.layer = 1,
                          .neuron = 7,
                          .kind = SG_EDIT_FIX,
                          .value = m.sum / (double)m.tokens,
                          .last = -1};
    sg_edits *edits;
    assert_true(edit.value != 0);
    must(sg_edits_new(model, &edit, 1, &edits, &err), &err);
    const double expected = loss_of(model, data, sg_edits_points(edits));
    assert_true(fabs(expected - r.loss) > 1e-6); // it does something
    assert_true(fabs(r.groups[0].loss - expected) < 1e-6);
    sg_edits_free(edits);
    sg_buffer_free(r.groups);
    sg_model_free(model);
    sg_data_free(data);
}

static void test_controls(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options o = options_of(data);
    o.random = 4;
    const sg_ablate_result r = ablate(model, &o);
    for (size_t i = 0; i < r.count; i++) {
        const sg_ablate_group *g = &r.groups[i];
        assert_true(fabs(g->difference.mean - (g->change.mean - g->control.mean)) < 1e-12);
        if (i == 4) continue;
        // Another neuron of the same layer and channel; alone, it is what the control says.
        assert_string_not_equal(g->name, g->control_name);
        assert_memory_equal(g->name, g->control_name, 4);
        o.random = 0;
        o.control = false;
        o.neurons = g->control_name;
        const sg_ablate_result one = ablate(model, &o);
        assert_true(one.groups[0].change.mean == g->control.mean);
        assert_true(isnan(one.groups[0].control.mean));
        sg_buffer_free(one.groups);
    }
    sg_buffer_free(r.groups);
    sg_model_free(model);
    sg_data_free(data);
}

// Every family can lose its neurons.
static void test_families(void **state)
{
    (void)state;
    sg_data *data = make_data();
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        sg_model *model = make_model(context, tiny_kind(i));
        sg_ablate_options o = options_of(data);
        o.top = 2;
        const sg_ablate_result r = ablate(model, &o);
        assert_true(r.count == 3);
        if (!(fabs(r.groups[2].change.mean) > 0)) fail_msg("%s: nothing changes", tiny_kind(i));
        sg_buffer_free(r.groups);
        sg_model_free(model);
    }
    sg_data_free(data);
}

static void test_threads(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_ablate_result r[2];
    for (int i = 0; i < 2; i++) {
        sg_context *in = context_on(i == 0 ? 1 : 3);
        sg_model *model = make_model(in, "sgatlin");
        sg_ablate_options o = options_of(data);
        o.top = 2;
        r[i] = ablate(model, &o);
        sg_model_free(model);
        sg_context_free(in);
    }
    assert_int_equal(r[0].count, r[1].count);
    for (size_t i = 0; i < r[0].count; i++) {
        assert_string_equal(r[0].groups[i].name, r[1].groups[i].name);
        assert_memory_equal(&r[0].groups[i].change, &r[1].groups[i].change,
                            sizeof r[0].groups[i].change);
        assert_memory_equal(&r[0].groups[i].difference, &r[1].groups[i].difference,
                            sizeof r[0].groups[i].difference);
    }
    sg_buffer_free(r[0].groups);
    sg_buffer_free(r[1].groups);
    sg_data_free(data);
}

// ---- what is wrong, and memory ------------------------------------------------------------------

static void check_refused(sg_model *model, const sg_ablate_options *o, const char *says)
{
    sg_error err = {0};
    sg_ablate_result r;
    assert_int_equal(sg_probe_ablate(model, o, &r, &err), SG_ERR_ARGUMENT);
    assert_null(r.groups);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
}

static void test_refused(void **state)
{
    (void)state;
    sg_data *data = make_data();
    sg_model *model = make_model(context, "sgatlin");
    sg_ablate_options good = options_of(data), o = good;
    static const char *const wrong[][2] = {{"1:0", "expected at most"},
                                           {"1:0:7,", "expected at most"},
                                           {"1:0:7;2", "expected at most"},
                                           {"2:0:7", "neurons: layer: found 2"},
                                           {"1:2:7", "neurons: channel: found 2"},
                                           {"1:0:25", "neurons: neuron: found 25"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o = good;
        o.neurons = wrong[i][0];
        check_refused(model, &o, wrong[i][1]);
    }
    o = good;
    o.layers = "0-2";
    check_refused(model, &o, "layers: found \"0-2\"");
    o = good;
    o.channels = "x";
    check_refused(model, &o, "channels: found \"x\"");
    o = good;
    o.top = o.random = 1;
    check_refused(model, &o, "found several of");
    o = good;
    o.neurons = "0:0:0";
    o.layers = "0";
    check_refused(model, &o, "found layers or channels");
    o = good;
    o.data = NULL;
    check_refused(model, &o, "found no data");
    sg_model_free(model);
    sg_data_free(data);
}

typedef struct once {
    sg_model *model;
    sg_ablate_options options;
} once;

static sg_status ablate_once(void *user, sg_error *err)
{
    once *o = user;
    sg_ablate_result r;
    SG_TRY(sg_probe_ablate(o->model, &o->options, &r, err));
    sg_buffer_free(r.groups);
    return SG_OK;
}

static void test_memory(void **state)
{
    (void)state;
    sg_data *data = make_data();
    once o = {make_model(context, "sgatlin"), options_of(data)};
    sg_error err = {0};
    o.options.top = 1;
    o.options.mean = true;
    o.options.max_tokens = 1;
    o.options.bootstrap = 2;
    must(ablate_once(&o, &err), &err); // the model makes what it keeps
    assert_true(alloc_failure_loop(ablate_once, &o) > 50);
    sg_model_free(o.model);
    sg_data_free(data);
}

#define ON_DISK(test) cmocka_unit_test_setup_teardown(test, disk_begin, disk_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_DISK(test_neurons), ON_DISK(test_layers),   ON_DISK(test_nothing),
        ON_DISK(test_mean),    ON_DISK(test_controls), ON_DISK(test_families),
        ON_DISK(test_threads), ON_DISK(test_refused),  ON_DISK(test_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
