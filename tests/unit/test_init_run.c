// Runs that go on from a model: all of it, or adapters beside it. They begin where it is, are exact
// like any run, and notice when it is no longer the same.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "model/model.h"
#include "tiny_models.h"
#include "tiny_run.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

#define BASE "/base"
enum { base_vocab = 330, base_positions = 32 }; // more of both than the data have

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_context *context_new(void)
{
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    return context;
}

static void save_base(const char *kind, uint64_t seed, int64_t vocab, int64_t positions)
{
    sg_error err = {0};
    sg_context *context = context_new();
    sg_model *m;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, seed, &m, &err), &err);
    must(sg_model_save(m, NULL, BASE, &err), &err);
    sg_model_free(m);
    sg_context_free(context);
}

// A disk with data and a model; options to go on from it.
static memory_fs *base_disk(const char *kind, sg_train_options *o)
{
    sg_error err = {0};
    memory_fs *fs = tiny_disk();
    const sg_train_options tiny = tiny_options("glu");
    save_base(kind, 8, base_vocab, base_positions);
    must(sg_train_options_from_model(BASE, o, &err), &err);
    o->seed = tiny.seed;
    o->batch_size = tiny.batch_size;
    o->lr = tiny.lr;
    o->steps = TINY_STEPS;
    o->checkpoint_every = tiny.checkpoint_every;
    o->eval_every = tiny.eval_every;
    o->eval_sequences = tiny.eval_sequences;
    o->sample_every = tiny.sample_every;
    snprintf(o->sample_prompt, sizeof o->sample_prompt, "The");
    return fs;
}

static void use_adapters(sg_train_options *o, const char *targets)
{
    o->lora_rank = 3;
    o->lora_alpha = 6;
    o->lora_merge = true;
    snprintf(o->lora_targets, sizeof o->lora_targets, "%s", targets);
}

static void expect_values(const char *folder, const char *other, bool same)
{
    sg_error err = {0};
    sg_context *context = context_new();
    sg_model *a, *b;
    bool equal = true;
    must(sg_model_open(context, folder, &a, &err), &err);
    must(sg_model_open(context, other, &b, &err), &err);
    assert_int_equal(a->params.count, b->params.count);
    for (size_t i = 0; i < a->params.count; i++)
        equal = equal && memcmp(a->values[i], b->values[i],
                                (size_t)a->params.specs[i].count * sizeof(sg_real)) == 0;
    assert_int_equal(equal, same);
    assert_int_equal(a->config.vocab_size, base_vocab);
    assert_int_equal(a->config.max_position_embeddings, base_positions);
    sg_model_free(a);
    sg_model_free(b);
    sg_context_free(context);
}

// Nothing learnt, nothing changed; else something.
static void test_begins_there(void **state)
{
    (void)state;
    for (int lora = 0; lora <= 1; lora++)
        for (int learns = 0; learns <= 1; learns++) {
            sg_train_options o;
            memory_fs *fs = base_disk("glu", &o);
            tiny_life life = {0};
            if (!learns) o.lr = 0;
            if (lora) use_adapters(&o, "q_proj,down_proj");
            tiny_must(&life, "/run", &o);
            expect_values("/run", BASE, !learns);
            assert_int_equal(life.result.trained < life.result.parameters, lora);
            tiny_disk_free(fs);
        }
}

// ---- exact --------------------------------------------------------------------------------------

static char *read_adapter(size_t *bytes)
{
    sg_error err = {0};
    char *data;
    must(sg_file_read("/run/adapter/adapter_model.safetensors", 1 << 24, &data, bytes, &err), &err);
    return data;
}

static void check_exact(const char *kind, const char *targets)
{
    sg_train_options o;
    tiny_end ends[2];
    char *adapters[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        memory_fs *fs = base_disk(kind, &o);
        if (targets != NULL) use_adapters(&o, targets);
        tiny_life life = {.threads = i ? 3 : 1, .stop_at = i ? 4 : 0};
        sg_status status = tiny_train(&life, "/run", &o);
        for (int64_t at = 8; status == SG_ERR_STOPPED; at += 4) {
            life.stop_at = at;
            life.threads = (int)(at / 4);
            status = tiny_train(&life, "/run", NULL);
            assert_int_equal(life.resumed_from, at - 4);
        }
        must(status, &life.err);
        ends[i] = tiny_end_of("/run");
        if (targets != NULL) adapters[i] = read_adapter(&bytes[i]);
        tiny_disk_free(fs);
    }
    tiny_same(&ends[1], &ends[0], kind);
    assert_true(bytes[0] == bytes[1]);
    if (targets != NULL) assert_memory_equal(adapters[0], adapters[1], bytes[0]);
    for (int i = 0; i < 2; i++) {
        tiny_end_free(&ends[i]);
        sg_free(adapters[i]);
    }
}

static void test_exact(void **state)
{
    (void)state;
    static const char *const kinds[][2] = {
        {"glu", NULL},
        {"mlp", "up_proj,v_proj"},
        {"glu", "model.layers.1.*"},
        {"moe ffn_balance_loss=0.1 ffn_shared_experts=1", NULL},
        {"moe ffn_balance_loss=0.1 ffn_shared_experts=1", "*.mlp.*"},
        {"moe ffn_balance_loss=0.1 ffn_shared_experts=1", "router,shared_experts.gate_up_proj"},
        {"sgatlin", "self_attn.q_proj,o_proj"},
        {"sgatlin", NULL},
        {"lorkm ffn_query_norm=batchnorm", "query"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        check_exact(kinds[i][0], kinds[i][1]);
}

// ---- the same model -----------------------------------------------------------------------------

static void expect_refused(tiny_life *life, const sg_train_options *o, sg_status expected,
                           const char *message)
{
    const sg_status found = tiny_train(life, "/run", o);
    if (found != expected || strstr(life->err.message, message) == NULL)
        fail_msg("found %s \"%s\", expected %s \"%s\"", sg_status_name(found), life->err.message,
                 sg_status_name(expected), message);
}

static void test_other_weights(void **state)
{
    (void)state;
    sg_error err = {0};
    for (int lora = 0; lora <= 1; lora++) {
        sg_train_options o;
        memory_fs *fs = base_disk("glu", &o);
        tiny_life life = {.stop_at = 2};
        if (lora) use_adapters(&o, "q_proj");
        assert_int_equal(tiny_train(&life, "/run", &o), SG_ERR_STOPPED);
        save_base("glu", 9, base_vocab, base_positions);
        life.stop_at = 4;
        // A checkpoint of the whole model stands alone; one of adapters does not.
        if (lora)
            expect_refused(&life, NULL, SG_ERR_MISMATCH, "but the run began with those of");
        else
            assert_int_equal(tiny_train(&life, "/run", NULL), SG_ERR_STOPPED);
        must(sg_tree_remove("/run/checkpoints", &err), &err);
        expect_refused(&life, NULL, SG_ERR_MISMATCH, "/base: the checksum of its weights is ");
        // The old one again, and the run goes on from the start.
        save_base("glu", 8, base_vocab, base_positions);
        life.stop_at = 0;
        tiny_must(&life, "/run", NULL);
        assert_int_equal(life.resumed_from, -1);
        tiny_disk_free(fs);
    }
}

// ---- adapters -----------------------------------------------------------------------------------

static double loss_of(sg_context *context, const char *model, const char *adapter)
{
    sg_error err = {0};
    sg_model *m;
    sg_data *data;
    sg_eval_result r;
    sg_eval_options o = sg_eval_options_default();
    o.batch_size = o.micro_batch = 4;
    must(sg_model_open(context, model, &m, &err), &err);
    if (adapter != NULL) must(sg_model_adapt(m, adapter, &err), &err);
    must(sg_data_open(TINY_CONCAT, SG_VERIFY_FULL, &data, &err), &err);
    must(sg_evaluate(m, data, &o, &r, &err), &err);
    sg_data_free(data);
    sg_model_free(m);
    return r.loss;
}

static void test_adapters_apart(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_train_options o;
    memory_fs *fs = base_disk("glu", &o);
    sg_context *context = context_new();
    char folder[SG_PATH_MAX];
    tiny_life life = {.stop_at = 3};
    use_adapters(&o, "*_proj");
    o.lora_merge = false;
    assert_int_equal(tiny_train(&life, "/run", &o), SG_ERR_STOPPED);
    must(sg_train_adapter_folder(context, "/run", folder, sizeof folder, &err), &err);
    assert_string_equal(folder, "/run/checkpoints/step-3");
    assert_true(isfinite(loss_of(context, BASE, folder)));
    assert_int_equal(sg_train_model_folder(context, "/run", folder, sizeof folder, &err),
                     SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "trains adapters"));
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    must(sg_train_adapter_folder(context, "/run", folder, sizeof folder, &err), &err);
    assert_string_equal(folder, "/run/adapter");
    assert_false(sg_path_exists("/run/config.json"));
    assert_true(loss_of(context, BASE, folder) == life.result.val.loss);
    assert_true(fabs(loss_of(context, BASE, NULL) - life.result.val.loss) > 0.05);
    must(sg_train_adapter_folder(context, "/run/adapter", folder, sizeof folder, &err), &err);
    assert_string_equal(folder, "/run/adapter");
    assert_int_equal(sg_train_adapter_folder(context, BASE, folder, sizeof folder, &err),
                     SG_ERR_NOT_FOUND);
    // Merged, it is the same model but for rounding.
    o.lora_merge = true;
    tiny_must(&life, "/merged", &o);
    assert_true(loss_of(context, BASE, "/merged/adapter") ==
                loss_of(context, BASE, "/run/adapter"));
    assert_true(fabs(loss_of(context, "/merged", NULL) - life.result.val.loss) < 1e-5);
    sg_context_free(context);
    tiny_disk_free(fs);
}

// ---- refusals -----------------------------------------------------------------------------------

static void test_refusals(void **state)
{
    (void)state;
    sg_train_options good, o;
    memory_fs *fs = base_disk("moe", &good);
    tiny_life life = {0};
    o = good;
    o.config.hidden_size = 32;
    o.config.head_dim = 16;
    expect_refused(&life, &o, SG_ERR_MISMATCH,
                   "hidden_size: found 32, expected 16 as /base has it");
    o = good;
    snprintf(o.config.ffn_score, sizeof o.config.ffn_score, "sigmoid");
    expect_refused(&life, &o, SG_ERR_MISMATCH,
                   "ffn_score: found \"sigmoid\", expected \"softmax\"");
    o = good;
    snprintf(o.init, sizeof o.init, "/none");
    expect_refused(&life, &o, SG_ERR_NOT_FOUND, "/none");
    o = good;
    o.init[5] = '\xff';
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "init: expected UTF-8");
    o = good;
    o.lora_alpha = 3;
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "lora-alpha: given, but there is no lora-rank");
    o = good;
    o.lora_rank = 2;
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "lora-targets: found none");
    use_adapters(&o, "q_proj,p_proj");
    expect_refused(&life, &o, SG_ERR_ARGUMENT,
                   "lora-targets: found \"p_proj\", which fits no matrix of /base, expected names "
                   "such as model.layers.0.self_attn.q_proj, or their ends");
    use_adapters(&o, "none");
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "lora-targets: found \"none\"");
    use_adapters(&o, "q_proj,experts.down_proj");
    expect_refused(
        &life, &o, SG_ERR_UNSUPPORTED,
        "lora-targets: found model.layers.0.mlp.experts.down_proj, which is not a matrix");
    use_adapters(&o, "q_proj,*experts*");
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "lora-targets: found \"*experts*\", which fits no");
    use_adapters(&o, "embed_tokens");
    expect_refused(&life, &o, SG_ERR_UNSUPPORTED,
                   "found model.embed_tokens, which is not a matrix");
    use_adapters(&o, "q_proj");
    snprintf(o.train_only, sizeof o.train_only, "*");
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "train-only: given with lora-rank");
    o = tiny_options("glu");
    use_adapters(&o, "q_proj");
    expect_refused(&life, &o, SG_ERR_ARGUMENT, "there is no model to go on from");
    assert_false(sg_path_exists("/run"));
    // Data that the model cannot read.
    sg_error err = {0};
    save_base("moe", 8, 300, base_positions);
    must(sg_train_options_from_model(BASE, &o, &err), &err);
    o.steps = 1;
    expect_refused(&life, &o, SG_ERR_MISMATCH,
                   "packed with a vocabulary of 320, expected at most the model's 300");
    save_base("moe", 8, base_vocab, 8);
    must(sg_train_options_from_model(BASE, &o, &err), &err);
    o.steps = 1;
    expect_refused(&life, &o, SG_ERR_MISMATCH,
                   "packed for sequences of 16, expected at most the model's 8");
    tiny_disk_free(fs);
}

// The model's own tokenizer is that of the data, or another with as many tokens.
static void put_tokenizer(bool other)
{
    char *text;
    size_t bytes;
    sg_error err = {0};
    must(sg_file_read(TINY_CONCAT "/tokenizer.json", 1 << 24, &text, &bytes, &err), &err);
    char *e = strstr(text, "\"e\": "), *t = strstr(text, "\"t\": "); // ids of two letters
    assert_true(e != NULL && t != NULL);
    if (other) e[1] = 't';
    if (other) t[1] = 'e';
    must(sg_file_write_atomic(BASE "/tokenizer.json", text, bytes, &err), &err);
    sg_free(text);
}

static void test_other_tokenizer(void **state)
{
    (void)state;
    sg_train_options o;
    tiny_life life = {0};
    memory_fs *fs = base_disk("glu", &o);
    put_tokenizer(false);
    tiny_must(&life, "/same", &o);
    assert_int_equal(life.warnings, 0);
    put_tokenizer(true);
    expect_refused(&life, &o, SG_ERR_MISMATCH, "packed with another tokenizer than the model's");
    assert_non_null(strstr(life.err.message, "--force-tokenizer"));
    o.force_tokenizer = true;
    tiny_must(&life, "/forced", &o);
    assert_int_equal(life.warnings, 1);
    assert_non_null(strstr(life.log, "will have the data's tokenizer"));
    // Other bytes, the same tokens: nothing is wrong with the ids.
    sg_error err = {0};
    sg_writer *writer;
    put_tokenizer(false);
    must(sg_writer_open(BASE "/tokenizer.json", SG_FS_APPEND, &writer, &err), &err);
    sg_writer_put(writer, "\n", 1);
    must(sg_writer_close(writer, true, &err), &err);
    o.force_tokenizer = false;
    tiny_must(&life, "/bytes", &o);
    assert_int_equal(life.warnings, 1);
    assert_non_null(strstr(life.log, "all tokens are the same"));
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_there),  cmocka_unit_test(test_exact),
        cmocka_unit_test(test_other_weights), cmocka_unit_test(test_adapters_apart),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_other_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
