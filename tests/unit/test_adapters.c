// Adapters in files: written and read again to the bit, beside weights stored in any way, and everything
// that such a folder can have wrong, named.
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
#include "model/adapter_files.h"
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

static int64_t rank_of(void *user, const char *module, bool plain)
{
    (void)user;
    (void)plain;
    return strstr(module, "_proj") != NULL ? 2 : 0;
}

static const sg_adapter_form form = {.rank = 2, .alpha = 3, .targets = "*_proj", .base = "/model"};

// A model on the disk, and adapters for it that do something; it is open with them.
static sg_model *write_both(void)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config("glu", vocab, positions);
    const sg_adapter_choice choice = {.rank = rank_of, .alpha = form.alpha, .what = "test"};
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

// ---- what can be wrong ----------------------------------------------------------------------------

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
        {"{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3, \"alpha_pattern\": {\"x\": 1}}",
         SG_ERR_UNSUPPORTED, "\"alpha_pattern\": found some"},
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
         SG_ERR_UNSUPPORTED, "/adapter: found model.embed_tokens, which is not a matrix"},
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

// ---- memory ---------------------------------------------------------------------------------------

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
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
