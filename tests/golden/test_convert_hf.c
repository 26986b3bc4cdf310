// Models written as folders of the Hugging Face library, and as our own, and opened again: the same
// weights, bit for bit, and so the same logits; which model type they become; options, and what
// fails on the way, of any form. What the library makes of the folders is for
// tests/twins/convert_twin.py.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "convert/modeling.h"
#include "format/npy.h"
#include "golden/checkpoint_names.h"
#include "golden/convert_models.h"

// ---- golden checkpoints -------------------------------------------------------------------------

static void test_checkpoint(void **state)
{
    const char *name = *state, *from = bring_checkpoint(name);
    sg_error err = {0};
    sg_model_file *file;
    char type[32];
    must(sg_model_file_open(from, &file, &err), &err);
    memcpy(type, file->type, sizeof type);
    sg_model_file_close(file);
    sg_convert_result result = convert(from, SG_CONVERT_HF, NULL, "/hf");
    // Deepseek is no type of the library.
    assert_string_equal(result.type, strcmp(type, "deepseek") == 0 ? "sgatlin" : type);
    expect_same(from, "/hf");
    result = convert(from, SG_CONVERT_SGATLIN, NULL, "/ours");
    assert_string_equal(result.type, "sgatlin");
    assert_false(sg_path_exists("/ours/modeling_sgatlin.py"));
    expect_same(from, "/ours");
    convert("/ours", SG_CONVERT_HF, type, "/back");
    expect_tensors(from, "/back");
    expect_same(from, "/back");
}

// Experts in MXFP4, and GGUF's blocks: f32 where they go.
static void test_blocks(void **state)
{
    static const char *const types[] = {"llama",   "llama",     "qwen3",     "arcee", "gpt2",
                                        "mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "sgatlin"};
    (void)state;
    const char *from = bring_checkpoint("gpt_oss_mxfp4");
    assert_string_equal(convert(from, SG_CONVERT_HF, NULL, "/oss").type, "gpt_oss");
    expect_same(from, "/oss");
    // Whose class scales positions where nothing is said.
    expect_json("/oss", "config.json", "rope_scaling",
                "{\"rope_type\": \"default\", \"rope_theta\": 1500.0}");
    for (int i = 0; i < checkpoint_gguf_count; i++) {
        char path[800], file[64], to[64], again[64];
        snprintf(path, sizeof path, "%s/golden/checkpoints/%s/model.gguf", SG_TEST_DIR,
                 checkpoint_ggufs[i]);
        snprintf(file, sizeof file, "/%s.gguf", checkpoint_ggufs[i]);
        snprintf(to, sizeof to, "/%s", checkpoint_ggufs[i]);
        snprintf(again, sizeof again, "/again%d.gguf", i);
        bring(path, file);
        assert_string_equal(convert(file, SG_CONVERT_HF, NULL, to).type, types[i]);
        expect_same(file, to);
        convert(to, SG_CONVERT_GGUF, NULL, again);
        expect_same(file, again);
    }
}

// ---- our families -------------------------------------------------------------------------------

static void test_families(void **state)
{
    (void)state;
    make_context();
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        char from[32], to[32], code[64];
        size_t bytes;
        snprintf(from, sizeof from, "/ours%d", i);
        snprintf(to, sizeof to, "/hf%d", i);
        snprintf(code, sizeof code, "/hf%d/modeling_sgatlin.py", i);
        make_tiny(tiny_kind(i), from);
        sg_convert_result result = convert(from, SG_CONVERT_HF, NULL, to);
        assert_string_equal(result.type, "sgatlin");
        expect_same(from, to);
        const unsigned char *text = memory_fs_bytes(disk, code, &bytes);
        assert_int_equal(bytes, sg_modeling_bytes);
        assert_memory_equal(text, sg_modeling_text, bytes);
    }
}

// Which type a configuration is, and what is said of others.
static void test_types(void **state)
{
    static const struct {
        const char *kind, *type, *other, *refusal;
    } cases[] = {
        {"glu ffn_activation=swiglu qk_norm=none", "llama", "qwen3",
         "qk_norm: found \"none\", expected \"head\" for model type qwen3"},
        {"glu ffn_activation=geglu qk_norm=none ffn_bias=1", "llama", "mistral",
         "ffn_bias: found 1"},
        {"glu ffn_activation=swiglu qk_norm=none sliding_window=5", "mistral", "llama",
         "sliding_window: found 5, expected 0"},
        {"glu ffn_activation=swiglu qk_norm=none attention_bias=1", "qwen2", "llama",
         "attention_out_bias: found 0, expected 1"},
        {"glu ffn_activation=swiglu", "qwen3", "llama", "qk_norm"},
        {"glu ffn_activation=swiglu sliding_window=5 sliding_layers=2", "qwen3", "mistral",
         "qk_norm"},
        {"glu ffn_activation=swiglu qk_norm=none rotary_dim=4", "sgatlin", "llama",
         "rotary_dim: found 4"},
        {"glu", "sgatlin", "llama", "qk_norm"},
        {"mlp ffn_activation=relu2 qk_norm=none", "arcee", "llama", "ffn: found \"mlp\""},
        {"mlp ffn_activation=relu2", "sgatlin", "arcee", "qk_norm: found \"head\""},
        {"mlp ffn_bias=1 norm=layernorm qk_norm=none attention_bias=1 attention_out_bias=1 "
         "rotary_dim=4 parallel_residual=1",
         "gpt_neox", "gpt2", "parallel_residual: found 1"},
        {"mlp ffn_bias=1 norm=layernorm qk_norm=none attention_bias=1 attention_out_bias=1 "
         "positions=learned",
         "gpt2", "opt", "rms_norm_eps: found 1e-06, expected 1e-05"},
        {"mlp ffn_bias=1 norm=layernorm qk_norm=none attention_bias=1 attention_out_bias=1 "
         "positions=learned position_offset=2 rms_norm_eps=1e-5 ffn_activation=relu",
         "opt", "gpt2", "position_offset: found 2"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_renormalise=1 ffn_balance_loss=0.1", "mixtral",
         "olmoe", "qk_norm"},
        {"moe ffn_activation=swiglu qk_norm=full", "olmoe", "mixtral", "qk_norm: found \"full\""},
        {"moe ffn_activation=swiglu", "qwen3_moe", "mixtral", "qk_norm: found \"head\""},
        {"moe ffn_activation=swiglu ffn_score=sigmoid", "sgatlin", "qwen3_moe",
         "ffn_score: found \"sigmoid\", expected \"softmax\""},
        {"sgatlin", "sgatlin", "llama", "ffn"},
    };
    (void)state;
    make_context();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "/ours%zu", i);
        snprintf(to, sizeof to, "/hf%zu", i);
        make_tiny(cases[i].kind, from);
        sg_convert_options o = sg_convert_options_default();
        o.model_type = cases[i].other;
        refuse(from, &o, to, SG_ERR_UNSUPPORTED, cases[i].refusal);
        const sg_convert_result result = convert(from, SG_CONVERT_HF, NULL, to);
        if (strcmp(result.type, cases[i].type) != 0)
            fail_msg("%s: became %s, expected %s", cases[i].kind, result.type, cases[i].type);
        expect_same(from, to);
    }
}

// A class that divides the width by its heads is not taken for one whose heads do not divide it.
static void test_heads(void **state)
{
    (void)state;
    make_context();
    make_tiny("glu ffn_activation=swiglu qk_norm=none num_attention_heads=3", "/ours");
    sg_convert_options o = sg_convert_options_default();
    o.model_type = "llama";
    refuse("/ours", &o, "/hf", SG_ERR_UNSUPPORTED, "num_attention_heads: found 3");
    assert_string_equal(convert("/ours", SG_CONVERT_HF, NULL, "/hf").type, "mistral");
}

// ---- options and failures -----------------------------------------------------------------------

static void test_dtypes(void **state)
{
    sg_error err = {0};
    sg_safetensors *file;
    const char *from = bring_checkpoint("llama"); // bf16
    (void)state;
    sg_convert_options o = sg_convert_options_default();
    o.dtype = "f32";
    must(sg_convert(context, from, &o, "/f32", NULL, &err), &err);
    must(sg_safetensors_open("/f32", &file, &err), &err);
    for (size_t i = 0; i < sg_safetensors_count(file); i++)
        assert_int_equal(sg_safetensors_at(file, i)->dtype, SG_DTYPE_F32);
    sg_safetensors_close(file);
    expect_same(from, "/f32");
    o.dtype = "bf16";
    must(sg_convert(context, "/f32", &o, "/bf16", NULL, &err), &err);
    expect_tensors(from, "/bf16");
    o.dtype = "q8_0";
    refuse(from, &o, "/no", SG_ERR_ARGUMENT, "dtype: found \"q8_0\", expected f32, bf16 or f16");
    o.dtype = NULL;
    o.model_type = "bert";
    refuse(from, &o, "/no", SG_ERR_UNSUPPORTED, "found \"bert\", expected sgatlin or one of llama");
    o.form = SG_CONVERT_GGUF;
    refuse(from, &o, "/no", SG_ERR_ARGUMENT, "model type");
}

// What a half has no room for is not made infinite.
static void test_overflow(void **state)
{
    sg_error err = {0};
    sg_model *m;
    (void)state;
    make_context();
    sg_config c = tiny_config("glu ffn_activation=swiglu", 40, 16);
    must(sg_model_new(context, &c, 5, &m, &err), &err);
    m->values[0][7] = 7e4f;
    must(sg_model_save(m, NULL, "/ours", &err), &err);
    sg_model_free(m);
    sg_convert_options o = sg_convert_options_default();
    o.form = SG_CONVERT_GGUF;
    o.dtype = "f16";
    refuse("/ours", &o, "/no", SG_ERR_UNSUPPORTED,
           "tensor token_embd.weight: found 70000, expected at most 65504 in F16");
    o.dtype = "bf16";
    must(sg_convert(context, "/ours", &o, "/yes", NULL, &err), &err);
}

static void test_path(void **state)
{
    sg_error err = {0};
    const char *from = bring_checkpoint("qwen3");
    (void)state;
    sg_convert_options o = sg_convert_options_default();
    assert_int_equal(sg_convert(context, from, &o, from, NULL, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(
        err.message,
        "/qwen3: found a folder with files in it (config.json), expected an empty or a new one"));
    must(sg_folder_make("/empty", &err), &err);
    must(sg_convert(context, from, &o, "/empty", NULL, &err), &err);
    o.form = SG_CONVERT_GGUF;
    must(sg_convert(context, from, &o, "/out.gguf", NULL, &err), &err);
    assert_int_equal(sg_convert(context, from, &o, "/out.gguf", NULL, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "/out.gguf: is there already"));
    assert_int_equal(sg_convert(context, "/none", &o, "/no", NULL, &err), SG_ERR_NOT_FOUND);
}

static bool stop_soon(void *user, int64_t done, int64_t total)
{
    assert_true(done > 0 && done <= total);
    return --*(int *)user > 0;
}

static void test_stop(void **state)
{
    int left = 3;
    const char *from = bring_checkpoint("qwen3");
    (void)state;
    sg_convert_options o = sg_convert_options_default();
    o.progress = stop_soon;
    o.progress_user = &left;
    o.form = SG_CONVERT_GGUF;
    refuse(from, &o, "/out.gguf", SG_ERR_STOPPED, "stopped");
    assert_false(sg_path_exists("/out.gguf"));
    assert_false(sg_path_exists("/.out.gguf.lock"));
    left = 3;
    o.form = SG_CONVERT_HF;
    sg_error err = {0};
    assert_int_equal(sg_convert(context, from, &o, "/hf", NULL, &err), SG_ERR_STOPPED);
    assert_false(sg_path_exists("/hf"));
    // The same again, also where a crash left a save that was not decided.
    o.progress = NULL;
    must(sg_folder_make("/hf/.incoming.tmp", &err), &err);
    must(sg_file_write_atomic("/hf/.incoming.tmp/model.safetensors", "half", 4, &err), &err);
    must(sg_convert(context, from, &o, "/hf", NULL, &err), &err);
    assert_false(sg_path_exists("/hf/.incoming.tmp"));
    expect_same(from, "/hf");
}

static sg_status convert_once(void *user, sg_error *err)
{
    static int times;
    const sg_convert_options *o = user;
    char to[32], config[64], weights[64];
    snprintf(to, sizeof to, "/out%d", times++);
    snprintf(config, sizeof config, "%s/config.json", to);
    snprintf(weights, sizeof weights, "%s/model.safetensors", to);
    sg_status status = sg_convert(context, golden, o, to, NULL, err);
    // Once it is decided all of it is there; what fails then is tidying up.
    if (sg_path_exists(config)) assert_true(sg_path_exists(weights));
    if (status != SG_OK && o->form == SG_CONVERT_GGUF) assert_false(sg_path_exists(to));
    return status;
}

static void test_memory(void **state)
{
    static const char generation[] = "{\"eos_token_id\": [4, 5]}";
    static const char words[] =
        "{\"added_tokens\": [{\"id\": 2, \"content\": \"<s>\", \"single_word\": false, "
        "\"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}], "
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}";
    sg_error err = {0};
    (void)state;
    bring_checkpoint("llama"); // scaled positions
    must(sg_file_write_atomic("/llama/generation_config.json", generation, sizeof generation - 1,
                              &err),
         &err);
    sg_convert_options o = sg_convert_options_default();
    assert_true(alloc_failure_loop(convert_once, &o) > 20);
    o.form = SG_CONVERT_GGUF;
    assert_true(alloc_failure_loop(convert_once, &o) > 20);
    // Ours, whose tokenizer gets a template.
    make_tiny("glu ffn_activation=swiglu qk_norm=none bos_token_id=2", "/ours");
    must(sg_file_write_atomic("/ours/tokenizer.json", words, sizeof words - 1, &err), &err);
    snprintf(golden, sizeof golden, "/ours");
    o.form = SG_CONVERT_HF;
    o.model_type = "llama";
    assert_true(alloc_failure_loop(convert_once, &o) > 20);
}

static void test_npy(void **state)
{
    sg_error err = {0};
    sg_npy npy;
    sg_model *m;
    const char *from = bring_checkpoint("llama"); // bf16: NumPy has no such type
    (void)state;
    must(sg_model_open(context, from, &m, &err), &err);
    // Ours, put together from two; and one of theirs.
    static const char *const names[] = {"model.layers.1.mlp.gate_up_proj.weight",
                                        "model.layers.0.self_attn.q_proj.weight",
                                        "model.norm.weight"};
    for (int i = 0; i < 3; i++) {
        size_t p = 0;
        while (strcmp(m->params.specs[p].name, names[i]) != 0)
            p++;
        must(sg_export_npy(from, names[i], "/x.npy", &err), &err);
        assert_int_equal(sg_export_npy(from, names[i], "/x.npy", &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "/x.npy: is there already"));
        must(sg_npy_open("/x.npy", &npy, &err), &err);
        assert_int_equal(npy.view.dtype, SG_DTYPE_F32);
        assert_int_equal(npy.view.ndim, m->params.specs[p].rank);
        assert_memory_equal(npy.view.shape, m->params.specs[p].shape,
                            (size_t)npy.view.ndim * sizeof(int64_t));
        assert_memory_equal(npy.view.data, m->values[p], npy.view.bytes);
        sg_npy_close(&npy);
        must(sg_path_remove("/x.npy", &err), &err);
    }
    sg_model_free(m);
    must(sg_export_npy(from, "model.layers.1.mlp.up_proj.weight", "/up.npy", &err), &err);
    must(sg_npy_open("/up.npy", &npy, &err), &err);
    assert_int_equal(npy.view.shape[0], 24);
    assert_int_equal(npy.view.shape[1], 16);
    sg_npy_close(&npy);
    assert_int_equal(sg_export_npy(from, "nothing", "/no.npy", &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "tensor nothing: there is none of that name"));
    assert_false(sg_path_exists("/no.npy"));
}

int main(void)
{
    static const struct {
        const char *name;
        void (*run)(void **);
    } others[] = {{"families", test_families}, {"blocks", test_blocks},
                  {"types", test_types},       {"heads", test_heads},
                  {"dtypes", test_dtypes},     {"overflow", test_overflow},
                  {"path", test_path},         {"stop", test_stop},
                  {"memory", test_memory},     {"npy", test_npy}};
    // "blocks" has gpt_oss_mxfp4.
    enum { more = sizeof others / sizeof *others, all = checkpoint_folder_count - 1 + more };
    struct CMUnitTest tests[all];
    size_t n = 0;
    for (int i = 0; i < checkpoint_folder_count; i++) {
        const char *name = checkpoint_folders[i];
        if (strcmp(name, "gpt_oss_mxfp4") == 0) continue;
        tests[n++] =
            (struct CMUnitTest){name, test_checkpoint, disk_begin, end, (void *)(uintptr_t)name};
    }
    for (int i = 0; i < more; i++)
        tests[n++] = (struct CMUnitTest){others[i].name, others[i].run, disk_begin, end, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
