// What is collected of a model's selections against the counts of evaluation, for every family; and
// which layers and channels.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "memory_fs.h"
#include "model/model.h"
#include "pack_bytes.h"
#include "tiny_models.h"
#include "train/evaluate.h"
#include "sgatlin_data.h"
#include "sgatlin_usage.h"

enum { T = 12, layers_most = 16, channels_most = 32 };
static memory_fs *fs;
static sg_context *context;
static sg_data *data; // with padding

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int set_up(void **state)
{
    (void)state;
    fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    if (sg_context_new(&options, &context, NULL) != SG_OK) return -1;
    char text[4096];
    size_t used = 0;
    sg_error err = {0};
    for (int i = 0; i < 10; i++) {
        for (int j = 0; j <= (i * 7) % 20; j++)
            text[used++] = (char)('a' + (i * j + i) % 26);
        used += (size_t)sprintf(text + used, "\n<|endoftext|>\n");
    }
    const sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options pack = sg_pack_options_default();
    pack.seq_len = T;
    pack.mode = SG_PACK_PAD;
    pack.val_fraction = 1;
    return bytes_pack(text, &encoder, NULL, &pack, "data", NULL, &err) == SG_OK &&
                   sg_data_open("data", SG_VERIFY_AUTO, &data, &err) == SG_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_data_free(data);
    sg_context_free(context);
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}

static sg_model *make_model(const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, BYTES_VOCAB, T);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    return model;
}

static sg_eval_result collect(sg_model *model, sg_selections *selections, int64_t micro,
                              sg_usage *usage)
{
    sg_error err = {0};
    sg_eval_result result;
    sg_eval_options o = sg_eval_options_default();
    o.micro_batch = micro;
    o.usage = usage;
    o.points = sg_selections_points(selections);
    must(sg_evaluate(model, data, &o, &result, &err), &err);
    return result;
}

static void compare_layer(const sg_layer_selections *layer, const sg_usage *u)
{
    sg_gate_usage found[channels_most + 1];
    sg_error err = {0};
    assert_true(layer->channels <= channels_most);
    must(sg_gate_usage_of(layer, found, NULL, &err), &err);
    const sg_gate_usage *all = &found[layer->channels];
    assert_int_equal(layer->layer, u->layer - 1); // evaluation counts layers from 1
    assert_int_equal(all->bins, u->blocks);
    assert_int_equal(all->selections, u->selections);
    assert_true(all->used == u->used && all->entropy == u->entropy);
    assert_true(all->gini == u->gini && all->max_load == u->max_load);
}

static void test_every_family(void **state)
{
    (void)state;
    int sparse = 0;
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        sg_model *model = make_model(tiny_kind(i));
        sg_error err = {0};
        sg_selections *selections;
        sg_status status = sg_selections_new(model, NULL, NULL, &selections, &err);
        if (status == SG_ERR_NOT_FOUND) { // a model of dense layers
            assert_null(selections);
            sg_model_free(model);
            continue;
        }
        must(status, &err);
        sg_usage usage[layers_most];
        const sg_eval_result r = collect(model, selections, 3, usage);
        assert_int_equal(sg_selections_count(selections), r.usage_count);
        for (int64_t l = 0; l < r.usage_count; l++) {
            const sg_layer_selections layer = sg_selections_layer(selections, l);
            assert_int_equal(layer.rows, r.tokens); // padding is left out
            compare_layer(&layer, &usage[l]);
            assert_true(layer.sub_keys == 0 || layer.sub_keys * layer.sub_keys == layer.neurons);
        }
        sparse++;
        sg_selections_free(selections);
        sg_model_free(model);
    }
    assert_true(sparse > 10);
}

// A layer and a channel alone are what they are among all, whatever is computed at a time.
static void test_chosen(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    sg_error err = {0};
    sg_selections *all, *one;
    must(sg_selections_new(model, NULL, NULL, &all, &err), &err);
    must(sg_selections_new(model, "1", "1", &one, &err), &err);
    collect(model, all, 8, NULL);
    collect(model, one, 1, NULL);
    assert_int_equal(sg_selections_count(one), 1);
    const sg_layer_selections x = sg_selections_layer(all, 1), y = sg_selections_layer(one, 0);
    assert_int_equal(y.layer, 1);
    assert_int_equal(y.channels, 1);
    assert_int_equal(y.channel_numbers[0], 1);
    assert_int_equal(x.rows, y.rows);
    assert_true(x.rows > 60);
    assert_memory_equal(x.tokens, y.tokens, (size_t)x.rows * sizeof *x.tokens);
    assert_memory_equal(x.sequences, y.sequences, (size_t)x.rows * sizeof *x.sequences);
    assert_int_equal(x.sequences[0], 0);
    assert_int_equal(x.sequences[x.rows - 1], sg_data_get_info(data)->split[SG_SPLIT_VAL].rows - 1);
    const sg_selection_rows *a = &x.gates[1], *b = &y.gates[0];
    assert_memory_equal(a->begins, b->begins, (size_t)(x.rows + 1) * sizeof *a->begins);
    assert_memory_equal(a->neurons, b->neurons, (size_t)a->begins[x.rows] * sizeof *a->neurons);
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t j = a->begins[i] + 1; j < a->begins[i + 1]; j++)
            assert_true(a->neurons[j - 1] < a->neurons[j]);
    sg_selections_free(all);
    sg_selections_free(one);
    sg_model_free(model);
}

static void refused(sg_model *model, const char *layers, const char *channels, const char *word)
{
    sg_error err = {0};
    sg_selections *selections;
    assert_int_equal(sg_selections_new(model, layers, channels, &selections, &err),
                     SG_ERR_ARGUMENT);
    assert_null(selections);
    if (strstr(err.message, word) == NULL) fail_msg("%s is not in: %s", word, err.message);
}

static void test_refused(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    refused(model, "99", NULL, "layers: found \"99\"");
    refused(model, "", NULL, "layers");
    refused(model, "0,", NULL, "layers");
    refused(model, "1-0", NULL, "layers");
    refused(model, "0 1", NULL, "layers");
    refused(model, NULL, "99", "channels: found \"99\"");
    refused(model, NULL, "x", "channels");
    sg_model_free(model);
}

static sg_status collect_twice(void *user, sg_error *err)
{
    sg_model *model = user;
    sg_selections *selections;
    sg_session *session = NULL;
    static const int32_t ids[] = {3, 4, 5};
    const float *logits;
    SG_TRY(sg_selections_new(model, NULL, "0", &selections, err));
    sg_session_options o = sg_session_options_default();
    o.points = sg_selections_points(selections);
    sg_status status = sg_session_open(model, &o, &session, err);
    if (status == SG_OK) status = sg_session_feed(session, ids, 3, &logits, err);
    if (status == SG_OK) assert_int_equal(sg_selections_layer(selections, 0).rows, 3);
    sg_session_free(session);
    sg_selections_free(selections);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    assert_true(alloc_failure_loop(collect_twice, model) > 8);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_chosen),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
