// Adapters in files: written and read again to the bit, beside weights stored in any way, and
// everything that such a folder can have wrong, named.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "memory_fs.h"
#include "format/json.h"
#include "model/adapter_files.h"
#include "model/adapter_rules.h"
#include "tiny_models.h"

enum { vocab = 23, positions = 8, tokens = 6 };
#define MODEL   "/model"
#define ADAPTER "/adapter"

static sg_context *context;
static memory_fs *fs;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int64_t rank_of(void *user, const char *module, sg_adapter_place place, double *scale)
{
    (void)user;
    (void)place;
    *scale = 1.5;
    return strstr(module, "_proj") != NULL ? 2 : 0;
}

static const sg_adapter_form form = {.rank = 2, .alpha = 3, .targets = "*_proj", .base = "/model"};

// A model on the disk, and adapters for it that do something; it is open with them.
static sg_model *write_both(void)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config("glu", vocab, positions);
    const sg_adapter_choice choice = {.rank = rank_of, .what = "test"};
    must(sg_model_new(context, &config, 3, &m, &err), &err);
    must(sg_model_save(m, NULL, MODEL, &err), &err);
    must(sg_model_add_adapters(m, &choice, &err), &err);
    sg_model_init_adapters(m, 4);
    for (size_t i = m->adapters->first; i < m->params.count; i++)
        for (int64_t j = 0; j < m->params.specs[i].count; j++)
            m->values[i][j] += (sg_real)(0.3 * sg_rng_normal(6, (uint32_t)i, (uint64_t)j));
    must(sg_adapter_save(m, &form, ADAPTER, &err), &err);
    return m;
}

static void logits_of(sg_model *m, float *out)
{
    sg_error err = {0};
    sg_session *session;
    const float *logits;
    int32_t ids[tokens];
    for (int i = 0; i < tokens; i++)
        ids[i] = (int32_t)sg_rng_below(9, 1, (uint64_t)i, vocab);
    must(sg_session_new(m, 0, &session, &err), &err);
    must(sg_session_feed(session, ids, tokens - 1, &logits, &err), &err);
    must(sg_session_feed(session, ids + tokens - 1, 1, &logits, &err), &err);
    memcpy(out, logits, vocab * sizeof *out);
    sg_session_free(session);
}

static double distance(const float *a, const float *b)
{
    double most = 0;
    for (int i = 0; i < vocab; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static int setup(void **state)
{
    (void)state;
    sg_error err = {0};
    must(sg_context_new(&(sg_context_options){.threads = 2}, &context, &err), &err);
    fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sg_context_free(context);
    assert_int_equal(memory_fs_open_handles(fs), 0);
    assert_int_equal(memory_fs_open_maps(fs), 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    sg_error err = {0};
    float with[vocab], without[vocab], found[vocab];
    sg_model *m = write_both();
    logits_of(m, with);
    // A model with adapters is saved merged or not at all.
    assert_int_equal(sg_model_save(m, NULL, "/other", &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found a model with adapters"));
    must(sg_model_merge_adapters(m, &err), &err);
    logits_of(m, found);
    assert_true(distance(found, with) < 1e-5);
    must(sg_model_save(m, NULL, "/other", &err), &err);
    sg_model_free(m);

    must(sg_model_open(context, MODEL, &m, &err), &err);
    const size_t count = m->params.count;
    const int64_t total = m->params.total;
    logits_of(m, without);
    assert_true(distance(without, with) > 0.01);
    must(sg_model_adapt(m, ADAPTER, &err), &err);
    logits_of(m, found);
    assert_memory_equal(found, with, sizeof with);
    assert_int_equal(sg_model_adapt(m, ADAPTER, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "has adapters already"));
    // Its weights are the file's, which nobody writes to.
    assert_int_equal(sg_model_merge_adapters(m, &err), SG_ERR_ARGUMENT);
    sg_model_drop_adapters(m);
    assert_true(m->params.count == count && m->params.total == total);
    logits_of(m, found);
    assert_memory_equal(found, without, sizeof without);
    sg_model_free(m);

    for (int w = SG_WEIGHTS_BF16; w <= SG_WEIGHTS_INT8; w++) {
        must(sg_model_open_narrow(context, MODEL, (sg_weights)w, &m, &err), &err);
        must(sg_model_adapt(m, ADAPTER, &err), &err);
        logits_of(m, found);
        assert_true(distance(found, with) < 0.1 && distance(found, with) > 0);
        assert_true(distance(found, with) < distance(found, without));
        sg_model_free(m);
    }
}

// ---- what can be wrong
// ----------------------------------------------------------------------------

static void expect_refused(sg_status expected, const char *message)
{
    sg_error err = {0};
    sg_model *m;
    float before[vocab], after[vocab];
    must(sg_model_open(context, MODEL, &m, &err), &err);
    logits_of(m, before);
    const int64_t live = sg_alloc_live();
    const sg_status found = sg_model_adapt(m, ADAPTER, &err);
    if (found != expected || strstr(err.message, message) == NULL)
        fail_msg("found %s \"%s\", expected %s \"%s\"", sg_status_name(found), err.message,
                 sg_status_name(expected), message);
    assert_true(sg_alloc_live() <= live + 1); // the list of parameters may have grown
    logits_of(m, after);
    assert_memory_equal(before, after, sizeof before);
    sg_model_free(m);
}

static void write_text(const char *path, const char *text)
{
    sg_error err = {0};
    must(sg_file_write_atomic(path, text, strlen(text), &err), &err);
}

static void test_configs(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        sg_status status;
        const char *message;
    } cases[] = {
        {"{", SG_ERR_FORMAT, "/adapter/adapter_config.json: not valid JSON"},
        {"[]", SG_ERR_FORMAT, "found no JSON object"},
        {"{\"r\": 2, \"lora_alpha\": 3}", SG_ERR_FORMAT, "\"peft_type\""},
        {"{\"peft_type\": \"LOHA\", \"r\": 2, \"lora_alpha\": 3}", SG_ERR_UNSUPPORTED,
         "\"peft_type\": found \"LOHA\", expected \"LORA\""},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": 3}", SG_ERR_FORMAT, "\"r\""},
        {"{\"peft_type\": \"LORA\", \"r\": 0, \"lora_alpha\": 3}", SG_ERR_FORMAT, "\"r\""},
        {"{\"peft_type\": \"LORA\", \"r\": 2}", SG_ERR_FORMAT, "\"lora_alpha\""},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, \"use_dora\": true}",
         SG_ERR_UNSUPPORTED, "\"use_dora\": found true"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, \"bias\": \"all\"}",
         SG_ERR_UNSUPPORTED, "\"bias\": found \"all\""},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, \"modules_to_save\": [\"x\"]}",
         SG_ERR_UNSUPPORTED, "\"modules_to_save\": found some"},
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, \"init_lora_weights\": \"pissa\"}",
         SG_ERR_UNSUPPORTED, "\"init_lora_weights\": found \"pissa\""},
        // A rank that the tensors do not have.
        {"{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 3}", SG_ERR_MISMATCH,
         "q_proj.lora_A.weight: found shape [2, 16], expected [3, 16]"},
    };
    sg_model_free(write_both());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(ADAPTER "/adapter_config.json", cases[i].text);
        expect_refused(cases[i].status, cases[i].message);
    }
}

typedef struct edit {
    const char *from, *to; // a tensor and its new name; NULL: it is left out
    int64_t rows;          // a new first dimension; 0: as it is
    sg_status status;
    const char *message;
} edit;

#define Q0 "base_model.model.model.layers.0.self_attn.q_proj."

static void test_tensors(void **state)
{
    (void)state;
    static const edit edits[] = {
        {Q0 "lora_B.weight", NULL, 0, SG_ERR_MISMATCH, Q0 "lora_B.weight is missing"},
        {Q0 "lora_A.weight", NULL, 0, SG_ERR_MISMATCH,
         "tensor " Q0 "lora_B.weight is no adapter of a matrix of this model"},
        {Q0 "lora_B.weight", NULL, 8, SG_ERR_MISMATCH,
         Q0 "lora_B.weight: found shape [8, 2], expected [16, 2]"},
        {Q0 "lora_A.weight", "base_model.model.lm_head.lora_A.weight", 0, SG_ERR_MISMATCH,
         "is no adapter of a matrix of this model"},
        {Q0 "lora_A.weight", "base_model.model.model.embed_tokens.lora_A.weight", 0,
         SG_ERR_MISMATCH, "\"target_modules\": leaves out model.embed_tokens, but"},
        {Q0 "lora_A.weight", "x", 0, SG_ERR_MISMATCH, "is no adapter"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        sg_error err = {0};
        sg_model *m = write_both();
        const size_t count = sg_adapter_tensors(m);
        sg_tensor_view *views = sg_alloc_array(count, sizeof *views);
        assert_non_null(views);
        sg_adapter_views(m, views);
        size_t kept = 0;
        for (size_t v = 0; v < count; v++) {
            sg_tensor_view view = views[v];
            const bool here = strcmp(view.name, edits[i].from) == 0;
            if (here && edits[i].to == NULL && edits[i].rows == 0) continue;
            if (here && edits[i].to != NULL) view.name = edits[i].to;
            if (here && edits[i].rows > 0)
                view = sg_tensor_view_make(view.name, view.dtype, 2,
                                           (int64_t[]){edits[i].rows, view.shape[1]}, view.data);
            views[kept++] = view;
        }
        must(sg_safetensors_write(ADAPTER "/adapter_model.safetensors", views, kept, NULL, 0, NULL,
                                  &err),
             &err);
        sg_free(views);
        sg_model_free(m);
        expect_refused(edits[i].status, edits[i].message);
    }
    must(sg_path_remove(ADAPTER "/adapter_model.safetensors", NULL), &(sg_error){0});
    expect_refused(SG_ERR_NOT_FOUND, ADAPTER "/adapter_model.safetensors");
}

// ---- names, rules, order
// ---------------------------------------------------------------------------

// Writes the adapters again, the names of their tensors with `inside` in them.
static void write_named(const sg_model *m, const char *inside)
{
    sg_error err = {0};
    const size_t count = sg_adapter_tensors(m);
    sg_tensor_view *views = sg_alloc_array(count, sizeof *views);
    char(*names)[300] = sg_alloc_array(count, sizeof *names);
    assert_true(views != NULL && names != NULL);
    sg_adapter_views(m, views);
    for (size_t i = 0; i < count; i++) {
        const char *end = strrchr(views[i].name, '.');
        snprintf(names[i], sizeof *names, "%.*s%s%s", (int)(end - views[i].name), views[i].name,
                 inside, end);
        views[i].name = names[i];
    }
    must(sg_safetensors_write(ADAPTER "/adapter_model.safetensors", views, count, NULL, 0, NULL,
                              &err),
         &err);
    sg_free(views);
    sg_free(names);
}

static void test_named(void **state)
{
    (void)state;
    sg_error err = {0};
    float with[vocab], found[vocab];
    sg_model *m = write_both();
    logits_of(m, with);
    write_named(m, ".default");
    sg_model_free(m);
    must(sg_model_open(context, MODEL, &m, &err), &err);
    must(sg_model_adapt(m, ADAPTER, &err), &err);
    logits_of(m, found);
    assert_memory_equal(found, with, sizeof with);
    sg_model_drop_adapters(m);
    sg_model_free(m);
}

// Tensors that the configuration leaves out, and patterns that nobody can read.
static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        sg_status status;
        const char *message;
    } cases[] = {
        {"\"target_modules\": [\"q_proj\"]", SG_ERR_MISMATCH, "\"target_modules\": leaves out"},
        {"\"target_modules\": [\"_proj\"]", SG_ERR_MISMATCH, "\"target_modules\": leaves out"},
        {"\"target_modules\": \"model.*q_proj\"", SG_ERR_MISMATCH,
         "\"target_modules\": leaves out"},
        {"\"exclude_modules\": [\"k_proj\"]", SG_ERR_MISMATCH,
         "\"exclude_modules\": leaves out model.layers.0.self_attn.k_proj, but"},
        {"\"layers_to_transform\": [1]", SG_ERR_MISMATCH,
         "\"layers_to_transform\": leaves out model.layers.0."},
        {"\"layers_to_transform\": \"all\"", SG_ERR_FORMAT, "\"layers_to_transform\""},
        {"\"layers_to_transform\": 0, \"layers_pattern\": \"lay.*\"", SG_ERR_UNSUPPORTED,
         "\"layers_pattern\""},
        {"\"rank_pattern\": {\"q_proj\": 3}", SG_ERR_MISMATCH,
         "q_proj.lora_A.weight: found shape [2, 16], expected [3, 16]"},
        {"\"rank_pattern\": {\"q_proj\": 0}", SG_ERR_FORMAT, "\"rank_pattern\": \"q_proj\""},
        {"\"rank_pattern\": {\"(\": 2}", SG_ERR_UNSUPPORTED, "\"rank_pattern\": regular expr"},
        {"\"alpha_pattern\": {\"q_proj\": \"x\"}", SG_ERR_FORMAT, "\"alpha_pattern\""},
        {"\"target_modules\": \"(\"", SG_ERR_UNSUPPORTED, "\"target_modules\": regular expr"},
        {"\"target_modules\": [3]", SG_ERR_FORMAT, "\"target_modules\": expected a list"},
        {"\"target_modules\": \"(?:[a-z.0-9_]+)+[#!]\"", SG_ERR_UNSUPPORTED, "too many steps"},
    };
    sg_model_free(write_both());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, %s}",
                 cases[i].members);
        write_text(ADAPTER "/adapter_config.json", text);
        expect_refused(cases[i].status, cases[i].message);
    }
}

// What PEFT makes of configurations (tests/twins/tuning_twin.py).
static void test_peft(void **state)
{
    (void)state;
    char path[600];
    sg_error err = {0};
    json_t *all, *modules, *expected;
    size_t i, checked = 0;
    json_t *one;
    const char *module;
    snprintf(path, sizeof path, "%s/golden/tuning/rules.json", SG_TEST_DIR);
    sg_fs_set(NULL);
    must(sg_json_read(path, 1 << 20, &all, &err), &err);
    json_array_foreach(all, i, one)
    {
        sg_adapter_rules *rules;
        must(sg_adapter_rules_new(json_object_get(one, "config"), "rules", &rules, &err), &err);
        assert_string_equal(sg_adapter_rules_unread(rules), "");
        modules = json_object_get(one, "modules");
        json_object_foreach(modules, module, expected)
        {
            bool is;
            const char *key;
            int64_t rank;
            double scale;
            must(sg_adapter_rules_target(rules, module, false, &is, &key, &err), &err);
            if (is != json_is_array(expected)) fail_msg("rules %zu: %s: found %d", i, module, is);
            if (!is) continue;
            must(sg_adapter_rules_form(rules, module, &rank, &scale, &err), &err);
            assert_int_equal(rank, json_integer_value(json_array_get(expected, 0)));
            assert_true(fabs(scale - json_number_value(json_array_get(expected, 1))) < 1e-12);
            checked++;
        }
        sg_adapter_rules_free(rules);
    }
    assert_true(checked > 20);
    json_decref(all);
    // Everything but the classifier.
    json_t *linear = json_pack("{s:s, s:i, s:i, s:s, s:i}", "peft_type", "LORA", "r", 8,
                               "lora_alpha", 16, "target_modules", "all-linear", "invented", 1);
    sg_adapter_rules *rules;
    bool is[2];
    const char *key;
    must(sg_adapter_rules_new(linear, "rules", &rules, &err), &err);
    must(sg_adapter_rules_target(rules, "lm_head", true, &is[0], &key, &err), &err);
    must(sg_adapter_rules_target(rules, "x.y", false, &is[1], &key, &err), &err);
    assert_true(!is[0] && is[1]);
    assert_string_equal(sg_adapter_rules_unread(rules), "invented");
    sg_adapter_rules_free(rules);
    json_decref(linear);
    sg_fs_set(memory_fs_table(fs));
}

// PEFT saves a classifier beside adapters of it: the model's own, in one rounding or another, and
// no other.
static void test_base(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *m = write_both();
    const size_t count = sg_adapter_tensors(m);
    sg_tensor_view views[64];
    assert_true(count < 64);
    sg_adapter_views(m, views);
    const int64_t shape[] = {vocab, m->config.hidden_size}, n = shape[0] * shape[1];
    const size_t bytes = (size_t)n * sizeof(float);
    float *table = sg_alloc_array((size_t)n, sizeof *table);
    assert_non_null(table);
    memcpy(table, m->values[0], bytes);
    for (int i = 0; i < 3; i++) {
        views[count] =
            sg_tensor_view_make(i == 1 ? "base_model.model.model.embed_tokens.weight"
                                       : "base_model.model.model.embed_tokens.base_layer.weight",
                                SG_DTYPE_F32, 2, shape, table);
        if (i == 2) table[n - 1] += 1;
        must(sg_safetensors_write(ADAPTER "/adapter_model.safetensors", views, count + 1, NULL, 0,
                                  NULL, &err),
             &err);
        if (i == 2) {
            expect_refused(SG_ERR_MISMATCH,
                           "embed_tokens.base_layer.weight: is another matrix than");
            break;
        }
        for (int w = SG_WEIGHTS_F32; w <= SG_WEIGHTS_INT8; w++) {
            sg_model *opened;
            must(sg_model_open_narrow(context, MODEL, (sg_weights)w, &opened, &err), &err);
            must(sg_model_adapt(opened, ADAPTER, &err), &err);
            sg_model_free(opened);
        }
    }
    views[count] = sg_tensor_view_make(views[count].name, SG_DTYPE_F32, 2,
                                       (int64_t[]){vocab - 1, shape[1]}, table);
    must(sg_safetensors_write(ADAPTER "/adapter_model.safetensors", views, count + 1, NULL, 0, NULL,
                              &err),
         &err);
    expect_refused(SG_ERR_MISMATCH, "expected [23, 16], the model's own");
    sg_free(table);
    sg_model_free(m);
}

// Sessions hold on to what adapters would move.
static void test_order(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *m;
    sg_session *session;
    sg_batch *batch;
    sg_model_free(write_both());
    must(sg_model_open(context, MODEL, &m, &err), &err);
    must(sg_session_new(m, 0, &session, &err), &err);
    assert_int_equal(sg_model_adapt(m, ADAPTER, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found sessions or batches of the model, expected none"));
    sg_session_free(session);
    must(sg_batch_new(m, 2, &batch, &err), &err);
    assert_int_equal(sg_model_adapt(m, ADAPTER, &err), SG_ERR_ARGUMENT);
    sg_batch_free(batch);
    assert_int_equal(sg_session_new(m, -1, &session, &err), SG_ERR_ARGUMENT); // counts for nothing
    must(sg_model_adapt(m, ADAPTER, &err), &err);
    sg_model_free(m);
}

// ---- memory
// ---------------------------------------------------------------------------------------

static sg_status adapt_and_free(void *user, sg_error *err)
{
    (void)user;
    sg_model *m;
    SG_TRY(sg_model_open(context, MODEL, &m, err));
    sg_status status = sg_model_adapt(m, ADAPTER, err);
    sg_model_free(m);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_model_free(write_both());
    assert_true(alloc_failure_loop(adapt_and_free, NULL) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_configs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rules, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peft, setup, teardown),
        cmocka_unit_test_setup_teardown(test_base, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
