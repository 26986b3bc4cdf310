// Models written as GGUF files and opened again: the same weights and logits, in every type of the
// file; what GGUF has no words for; tokenizers, chat templates and what begins a text, which go
// along to folders and back. What others make of the files is for tests/twins: convert_twin.py,
// peers_twin.py.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/gguf.h"
#include "golden/convert_models.h"
#include "text/tokenizer.h"

// ---- GGUF ---------------------------------------------------------------------------------------

static void test_gguf(void **state)
{
    static const char *const kinds[][2] = {
        {"glu ffn_activation=swiglu qk_norm=none num_key_value_heads=1 untied_classifier=1",
         "llama"},
        {"glu ffn_activation=swiglu qk_norm=none attention_bias=1 attention_out_bias=1 "
         "rope_scaling=linear rope_factor=2",
         "llama"},
        {"glu ffn_activation=swiglu qk_norm=none rotary_dim=4", "llama"},
        {"glu ffn_activation=swiglu qk_norm=none attention_bias=1 rope_scaling=yarn rope_factor=4",
         "qwen2"},
        {"glu ffn_activation=swiglu rope_theta=5000", "qwen3"},
        {"glu ffn_activation=swiglu qk_norm=none rope_scaling=llama3 rope_factor=8 "
         "rope_original_positions=64",
         "llama"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_renormalise=1 rope_scaling=llama3 "
         "rope_factor=32 rope_original_positions=8192 rope_theta=500000",
         "llama"},
        {"moe ffn_activation=swiglu ffn_renormalise=1", "qwen3moe"},
        {"moe ffn_activation=swiglu qk_norm=full untied_classifier=1", "olmoe"},
        {"moe ffn_activation=swiglu qk_norm=none attention_bias=1 ffn_shared_experts=1 "
         "ffn_shared_gate=1 ffn_shared_size=10 untied_classifier=1",
         "qwen2moe"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_shared_experts=2 untied_classifier=1 "
         "ffn_layers=2 ffn_dense=glu ffn_dense_size=20",
         "deepseek"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_shared_experts=1 untied_classifier=1 "
         "num_hidden_layers=4 ffn_layers=3-4 ffn_dense=glu ffn_dense_size=20",
         "deepseek"},
        {"mlp ffn_activation=relu2 qk_norm=none num_key_value_heads=1 untied_classifier=1",
         "arcee"},
        {"mlp ffn_bias=1 norm=layernorm qk_norm=none attention_bias=1 attention_out_bias=1 "
         "positions=learned",
         "gpt2"}};
    (void)state;
    make_context();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char from[32], to[32], back[32];
        snprintf(from, sizeof from, "/ours%zu", i);
        snprintf(to, sizeof to, "/out%zu.gguf", i);
        snprintf(back, sizeof back, "/back%zu", i);
        make_tiny(kinds[i][0], from);
        assert_string_equal(convert(from, SG_CONVERT_GGUF, NULL, to).type, kinds[i][1]);
        expect_same(from, to);
        // Pairs that were moved are moved back.
        convert(to, SG_CONVERT_HF, NULL, back);
        sg_model *m;
        sg_error err = {0};
        must(sg_model_open(context, back, &m, &err), &err);
        const bool kept = m->config.rope_interleaved != 0; // as our own type does
        sg_model_free(m);
        if (!kept) expect_same(from, back);
    }
}

// The keys of a file that say numbers and words, in another.
static void copy_keys(const sg_gguf *file, sg_gguf_metadata *m)
{
    for (size_t i = 0; i < sg_gguf_value_count(file); i++) {
        const sg_gguf_value *value = sg_gguf_value_at(file, i);
        int64_t integer = 0;
        double number = 0;
        if (value->is_array) continue;
        if (value->type == SG_GGUF_STRING)
            sg_gguf_put_string(m, value->key, value->text);
        else if (sg_gguf_get_int(file, value->key, true, 0, UINT32_MAX, &integer, NULL) == SG_OK)
            sg_gguf_put_u32(m, value->key, (uint32_t)integer);
        else if (sg_gguf_get_number(file, value->key, true, &number, NULL) == SG_OK)
            sg_gguf_put_f32(m, value->key, (float)number);
    }
}

// Files of the first Mixtral have a tensor for each expert.
static void test_gguf_single_experts(void **state)
{
    static const char *const stacks[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
    static const char *const single[] = {"ffn_gate", "ffn_up", "ffn_down"};
    sg_error err = {0};
    sg_gguf *file;
    char path[800];
    (void)state;
    make_context();
    snprintf(path, sizeof path, "%s/golden/checkpoints/gguf_mixtral/model.gguf", SG_TEST_DIR);
    bring(path, "/stacked.gguf");
    must(sg_gguf_open("/stacked.gguf", &file, &err), &err);
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    assert_non_null(m);
    copy_keys(file, m);
    sg_tensor_view views[80];
    char names[80][64];
    size_t n = 0;
    for (size_t i = 0; i < sg_gguf_count(file); i++) {
        const sg_tensor_view *view = sg_gguf_at(file, i);
        int s = -1;
        for (int k = 0; k < 3; k++)
            if (strstr(view->name, stacks[k]) != NULL) s = k;
        if (s < 0) {
            views[n++] = *view;
            continue;
        }
        assert_int_equal(view->shape[0], 4);
        for (int64_t e = 0; e < 4; e++) {
            snprintf(names[n], sizeof names[n], "blk.%d.%s.%d.weight", atoi(view->name + 4),
                     single[s], (int)e);
            views[n] = sg_tensor_view_make(names[n], view->dtype, 2, view->shape + 1,
                                           (const char *)view->data + view->bytes / 4 * (size_t)e);
            n++;
        }
    }
    must(sg_gguf_write("/single.gguf", SG_OUTPUT_REPLACE, m, views, n, &err), &err);
    sg_gguf_metadata_free(m);
    sg_gguf_close(file);
    expect_same("/stacked.gguf", "/single.gguf");
    // They go out stacked.
    convert("/single.gguf", SG_CONVERT_GGUF, NULL, "/again.gguf");
    expect_same("/stacked.gguf", "/again.gguf");
}

static void test_gguf_types(void **state)
{
    static const char *const names[] = {"f32", "bf16", "f16", "q8_0"};
    static const sg_dtype types[] = {SG_DTYPE_F32, SG_DTYPE_BF16, SG_DTYPE_F16, SG_DTYPE_Q8_0};
    static const double limits[] = {0, 0x1p-8, 0x1p-10, 0.01};
    sg_error err = {0};
    (void)state;
    make_context();
    sg_config c = tiny_config(
        "glu ffn_activation=swiglu ffn_intermediate_size=64 hidden_size=32 head_dim=16", 40, 16);
    sg_model *m, *n;
    must(sg_model_new(context, &c, 5, &m, &err), &err);
    must(sg_model_save(m, NULL, "/ours", &err), &err);
    for (int i = 0; i < 4; i++) {
        char to[32];
        sg_gguf *file;
        snprintf(to, sizeof to, "/%s.gguf", names[i]);
        sg_convert_options o = sg_convert_options_default();
        o.form = SG_CONVERT_GGUF;
        o.dtype = names[i];
        must(sg_convert(context, "/ours", &o, to, NULL, &err), &err);
        must(sg_gguf_open(to, &file, &err), &err);
        for (size_t t = 0; t < sg_gguf_count(file); t++) {
            const sg_tensor_view *view = sg_gguf_at(file, t);
            assert_int_equal(view->dtype, view->ndim == 1 ? SG_DTYPE_F32 : types[i]);
        }
        sg_gguf_close(file);
        must(sg_model_open(context, to, &n, &err), &err);
        for (size_t p = 0; p < m->params.count; p++) {
            const sg_param_spec *spec = &m->params.specs[p];
            const int64_t k = spec->shape[spec->rank - 1];
            for (int64_t j = 0; j < spec->count; j++) {
                double size = fabs((double)m->values[p][j]);
                for (int64_t b = j / 32 * 32; i == 3 && b < j / 32 * 32 + 32 && k % 32 == 0; b++)
                    size = fmax(size, fabs((double)m->values[p][b]));
                const double off = fabs((double)n->values[p][j] - (double)m->values[p][j]);
                if (off > limits[i] * size) fail_msg("%s: %s is off", names[i], spec->name);
            }
        }
        sg_model_free(n);
    }
    sg_model_free(m);
}

static void test_gguf_refusals(void **state)
{
    static const char *const cases[][2] = {
        {"sgatlin", "ffn: found \"sgatlin\""},
        {"glu", "ffn_activation: found \"clamped_swiglu\", expected \"swiglu\" for GGUF's qwen3"},
        {"glu ffn_activation=swiglu sliding_window=5", "sliding_window"},
        {"glu ffn_activation=swiglu ffn_bias=1", "ffn_bias"},
        {"glu ffn_activation=swiglu rope_scaling=llama3 rope_factor=8", "rope_scaling"},
        {"glu ffn_activation=swiglu qk_norm=none rope_scaling=llama3 rope_factor=8 "
         "rope_low_freq_factor=2",
         "rope_low_freq_factor: found 2, expected 1 for GGUF's llama"},
        {"glu ffn_activation=swiglu qk_norm=none rope_scaling=llama3 rope_factor=8 rope_theta=10 "
         "rope_original_positions=8192",
         "rope_factor: found 8, which scales no frequency by all of it"},
        {"moe ffn_activation=swiglu qk_norm=none", "ffn_renormalise: found 0, expected 1"},
        {"moe ffn_activation=swiglu ffn_score=sigmoid ffn_renormalise=1", "ffn_score"},
        {"moe ffn_activation=swiglu qk_norm=full", "untied_classifier: found 0, expected 1"},
        {"moe ffn_activation=swiglu qk_norm=full untied_classifier=1 clip_qkv=3", "clip_qkv"},
        {"moe ffn_activation=swiglu ffn_renormalise=1 ffn_layers=2 ffn_dense=glu", "ffn_layers"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_shared_experts=2 ffn_layers=1 ffn_dense=glu "
         "untied_classifier=1",
         "ffn_layers"},
        {"moe ffn_activation=swiglu qk_norm=none ffn_shared_experts=2 head_dim=4 "
         "untied_classifier=1",
         "head_dim: found 4, expected 8 for GGUF's deepseek"},
        {"mlp norm=layernorm qk_norm=none", "attention_bias: found 0, expected 1"},
        {"mlp norm=layernorm", "qk_norm: found \"head\""},
        {"mlp qk_norm=none ffn_activation=relu",
         "ffn_activation: found \"relu\", expected \"relu2\" for GGUF's arcee"},
        {"mlp qk_norm=none ffn_activation=relu2 ffn_bias=1", "ffn_bias: found 1"},
    };
    (void)state;
    make_context();
    sg_convert_options o = sg_convert_options_default();
    o.form = SG_CONVERT_GGUF;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char from[32];
        snprintf(from, sizeof from, "/ours%zu", i);
        make_tiny(cases[i][0], from);
        refuse(from, &o, "/out.gguf", SG_ERR_UNSUPPORTED, cases[i][1]);
    }
    make_tiny("glu ffn_activation=swiglu", "/ours");
    o.dtype = "q8_0";
    refuse("/ours", &o, "/out.gguf", SG_ERR_UNSUPPORTED, "expected a multiple of 32 for Q8_0");
}

// ---- tokenizers in GGUF -------------------------------------------------------------------------

static const char sample[] =
    "The cat's 1234 mats don't sleep,\n\n  naïve Ωmega 日本語 … <0x41> it'll 99 \tgo!  ";

static void expect_ids(const char *name, const sg_tokenizer *a, const sg_tokenizer *b)
{
    sg_error err = {0};
    const sg_encode_options options = {.add_special = true, .parse_special = true};
    int32_t *x, *y;
    size_t n, m;
    must(sg_tokenizer_encode(a, sample, sizeof sample - 1, &options, &x, &n, &err), &err);
    must(sg_tokenizer_encode(b, sample, sizeof sample - 1, &options, &y, &m, &err), &err);
    for (size_t i = 0; i < n || i < m; i++)
        if (i >= n || i >= m || x[i] != y[i])
            fail_msg("%s: id %zu: found %d, expected %d", name, i, i < m ? y[i] : -1,
                     i < n ? x[i] : -1);
    sg_buffer_free(x);
    sg_buffer_free(y);
}

// NULL: it is written; else what is refused.
static void check_tokenizer(const char *name, const char *refusal)
{
    char path[800], from[64], to[64], json[64];
    sg_error err = {0};
    sg_tokenizer *t, *u;
    sg_model *m;
    snprintf(path, sizeof path, "%s/golden/tokenizer/%s.json", SG_TEST_DIR, name);
    snprintf(from, sizeof from, "/%s", name);
    snprintf(json, sizeof json, "/%s.json", name);
    snprintf(to, sizeof to, "/%s.gguf", name);
    bring(path, json);
    must(sg_tokenizer_open(json, &t, &err), &err);
    sg_config c = tiny_config("glu ffn_activation=swiglu", sg_tokenizer_vocab_size(t) + 3, 16);
    const sg_encode_options around = {.add_special = true};
    int32_t *ids;
    size_t count;
    must(sg_tokenizer_encode(t, "", 0, &around, &ids, &count, &err), &err);
    c.bos_token_id = count > 0 ? ids[0] : -1;
    c.eos_token_id = count > 1 ? ids[1] : -1;
    c.pad_token_id = -1;
    sg_buffer_free(ids);
    must(sg_model_new(context, &c, 5, &m, &err), &err);
    must(sg_model_save(m, t, from, &err), &err);
    sg_model_free(m);
    if (refusal != NULL) {
        sg_convert_options o = sg_convert_options_default();
        o.form = SG_CONVERT_GGUF;
        refuse(from, &o, to, SG_ERR_UNSUPPORTED, refusal);
        o.no_tokenizer = true;
        must(sg_convert(context, from, &o, to, NULL, &err), &err);
    } else {
        assert_true(convert(from, SG_CONVERT_GGUF, NULL, to).tokenizer);
        must(sg_tokenizer_open(to, &u, &err), &err);
        expect_ids(name, t, u);
        sg_tokenizer_free(u);
    }
    sg_tokenizer_free(t);
}

// How many ids go in front of a text, as generate has it.
static size_t begins_with(const char *path, int32_t bos)
{
    sg_error err = {0};
    sg_model *m;
    sg_tokenizer *t;
    int32_t room;
    const int32_t *begin;
    size_t count;
    must(sg_model_open(context, path, &m, &err), &err);
    must(sg_tokenizer_open(path, &t, &err), &err);
    sg_model_begin(m, t, &room, &begin, &count);
    if (count > 0) assert_int_equal(begin[0], bos);
    sg_tokenizer_free(t);
    sg_model_free(m);
    return count;
}

// What the Hugging Face library reads beside the weights of a model whose texts begin with token 2.
static void expect_beside(const char *folder, int64_t positions)
{
    static const char expected[] =
        "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\", \"add_prefix_space\": "
        "true, \"trim_offsets\": true, \"use_regex\": true}, {\"type\": \"TemplateProcessing\", "
        "\"single\": [{\"SpecialToken\": {\"id\": \"%s\", \"type_id\": 0}}, {\"Sequence\": "
        "{\"id\": "
        "\"A\", \"type_id\": 0}}], \"pair\": [{\"SpecialToken\": {\"id\": \"%s\", \"type_id\": "
        "0}}, "
        "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"%s\", "
        "\"type_id\": 1}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": "
        "{\"%s\": {\"id\": \"%s\", \"ids\": [2], \"tokens\": [\"%s\"]}}}]}";
    char text[2048];
    const char *t = "<|im_end|>";
    snprintf(text, sizeof text, expected, t, t, t, t, t, t);
    expect_json(folder, "tokenizer.json", "post_processor", text);
    snprintf(
        text, sizeof text,
        "{\"tokenizer_class\": \"PreTrainedTokenizerFast\", \"clean_up_tokenization_spaces\": "
        "false, \"model_max_length\": %lld, \"padding_side\": \"left\", \"model_input_names\": "
        "[\"input_ids\", \"attention_mask\"], \"add_prefix_space\": false, \"bos_token\": \"%s\", "
        "\"eos_token\": \"<|im_start|>\", \"pad_token\": \"<|endoftext|>\"}",
        (long long)positions, t);
    expect_json(folder, "tokenizer_config.json", NULL, text);
    expect_json(folder, "generation_config.json", NULL,
                "{\"bos_token_id\": 2, \"eos_token_id\": 1, \"pad_token_id\": 0}");
}

// What begins a text goes along, also where the tokenizer has no template and so the kind of model
// decides.
static void test_begin(void **state)
{
    static const char *const ours[] = {"/smollm", "/same",      "/remote", "/kept",
                                       "/llama",  "/ours.gguf", "/again"};
    static const char *const theirs[] = {"/llama",       "/theirs.gguf", "/back",
                                         "/theirs-ours", "/theirs-code", "/theirs-again"};
    sg_error err = {0};
    sg_tokenizer *t;
    sg_model *m;
    char path[800];
    (void)state;
    make_context();
    snprintf(path, sizeof path, "%s/golden/tokenizer/smollm.json", SG_TEST_DIR);
    bring(path, "/smollm.json");
    must(sg_tokenizer_open("/smollm.json", &t, &err), &err);
    sg_config c =
        tiny_config("glu ffn_activation=swiglu qk_norm=none", sg_tokenizer_vocab_size(t), 16);
    c.bos_token_id = 2;
    must(sg_model_new(context, &c, 5, &m, &err), &err);
    must(sg_model_save(m, t, "/smollm", &err), &err);
    sg_model_free(m);
    sg_tokenizer_free(t);
    convert("/smollm", SG_CONVERT_SGATLIN, NULL, "/same");
    convert("/smollm", SG_CONVERT_HF, "sgatlin", "/remote");
    convert("/remote", SG_CONVERT_SGATLIN, NULL, "/kept");
    convert("/smollm", SG_CONVERT_HF, "llama", "/llama");
    convert("/smollm", SG_CONVERT_GGUF, NULL, "/ours.gguf");
    expect_beside("/remote", c.max_position_embeddings);
    expect_beside("/llama", c.max_position_embeddings);
    convert("/ours.gguf", SG_CONVERT_HF, NULL, "/again");
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (begins_with(ours[i], 2) != 1) fail_msg("%s: no BOS", ours[i]);
    // As if the library had written it.
    size_t bytes, other;
    const unsigned char *with = memory_fs_bytes(disk, "/llama/tokenizer.json", &bytes);
    const unsigned char *plain = memory_fs_bytes(disk, "/smollm/tokenizer.json", &other);
    assert_true(with != NULL && plain != NULL && bytes != other);
    char *copy = sg_strndup((const char *)plain, other);
    assert_non_null(copy);
    must(sg_file_write_atomic("/llama/tokenizer.json", copy, other, &err), &err);
    sg_free(copy);
    convert("/llama", SG_CONVERT_GGUF, NULL, "/theirs.gguf");
    convert("/theirs.gguf", SG_CONVERT_HF, NULL, "/back");
    // Their type begins with nothing where the tokenizer says nothing, ours with a BOS.
    convert("/llama", SG_CONVERT_SGATLIN, NULL, "/theirs-ours");
    convert("/llama", SG_CONVERT_HF, "sgatlin", "/theirs-code");
    convert("/theirs-ours", SG_CONVERT_HF, "llama", "/theirs-again");
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (begins_with(theirs[i], 2) != 0) fail_msg("%s: found a BOS", theirs[i]);
}

// The template goes from folder to file and back.
static void test_chat(void **state)
{
    static const char words[] = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    const sg_chat_message hello[] = {{"user", "hi", NULL}};
    sg_chat_options no_answer = sg_chat_options_default();
    no_answer.answer = false;
    sg_error err = {0};
    sg_chat *chat;
    char *text;
    size_t bytes;
    (void)state;
    make_context();
    check_tokenizer("llama3", NULL);
    must(sg_file_write_atomic("/llama3/chat_template.jinja", words, sizeof words - 1, &err), &err);
    convert("/llama3", SG_CONVERT_GGUF, NULL, "/chat.gguf");
    convert("/chat.gguf", SG_CONVERT_HF, NULL, "/chat");
    convert("/llama3", SG_CONVERT_HF, NULL, "/same");
    static const char *const paths[] = {"/chat.gguf", "/chat", "/same"};
    for (int i = 0; i < 3; i++) {
        must(sg_chat_open(paths[i], &chat, &err), &err);
        must(sg_chat_render(chat, hello, 1, &no_answer, &text, &bytes, &err), &err);
        assert_string_equal(text, "<user>hi");
        sg_buffer_free(text);
        sg_chat_free(chat);
    }
    sg_tokenizer *t, *u;
    must(sg_tokenizer_open("/llama3", &t, &err), &err);
    must(sg_tokenizer_open("/chat", &u, &err), &err);
    expect_ids("chat", t, u);
    sg_tokenizer_free(t);
    sg_tokenizer_free(u);
}

static void test_gguf_tokenizers(void **state)
{
    (void)state;
    make_context();
    check_tokenizer("smollm", NULL);
    check_tokenizer("qwen2", NULL);
    check_tokenizer("llama3", NULL);
    check_tokenizer("llama2", NULL);
    check_tokenizer("nfkc", "\"normalizer\"");
    check_tokenizer("falcon", "\"pre_tokenizer\"");
    check_tokenizer("deepseek", "\"pre_tokenizer\"");
}

// A vocabulary with scores goes out and comes back as one.
static void test_gguf_scores(void **state)
{
    sg_error err = {0};
    sg_tokenizer *t, *u;
    char path[800];
    (void)state;
    make_context();
    snprintf(path, sizeof path, "%s/models/stories260K/tok512.bin", SG_DATA_DIR);
    sg_fs_set(sg_fs_system());
    const bool there = sg_path_exists(path);
    sg_fs_set(memory_fs_table(disk));
    if (!there) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    bring(path, "/tok512.bin");
    snprintf(path, sizeof path, "%s/models/stories260K/stories260K.bin", SG_DATA_DIR);
    bring(path, "/stories260K.bin");
    sg_convert_options o = sg_convert_options_default();
    o.form = SG_CONVERT_GGUF;
    o.tokenizer = "/tok512.bin";
    must(sg_convert(context, "/stories260K.bin", &o, "/stories.gguf", NULL, &err), &err);
    expect_same("/stories260K.bin", "/stories.gguf");
    must(sg_tokenizer_open("/tok512.bin", &t, &err), &err);
    must(sg_tokenizer_open("/stories.gguf", &u, &err), &err);
    expect_ids("stories", t, u);
    sg_tokenizer_free(t);
    sg_tokenizer_free(u);
    // To halves and the library's type.
    o = sg_convert_options_default();
    sg_convert_result result;
    must(sg_convert(context, "/stories260K.bin", &o, "/stories", &result, &err), &err);
    assert_string_equal(result.type, "llama");
    expect_same("/stories260K.bin", "/stories");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        {"gguf", test_gguf, disk_begin, end, NULL},
        {"gguf_types", test_gguf_types, disk_begin, end, NULL},
        {"gguf_single_experts", test_gguf_single_experts, disk_begin, end, NULL},
        {"gguf_refusals", test_gguf_refusals, disk_begin, end, NULL},
        {"gguf_tokenizers", test_gguf_tokenizers, disk_begin, end, NULL},
        {"gguf_scores", test_gguf_scores, disk_begin, end, NULL},
        {"chat", test_chat, disk_begin, end, NULL},
        {"begin", test_begin, disk_begin, end, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
