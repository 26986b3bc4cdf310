// What GGUF files say of their models: keys of experts and of scaled positions, and what is
// refused. That such models compute what they should is for test_checkpoints.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "format/gguf_config.h"
#include "memory_disk.h"
#include "model/config.h"
#include "model/gguf_rope.h"

enum { pairs = 4 };

// Of one file: "KEY=VALUE …" behind the architecture, "=true" and "=false" for bools, numbers with
// a point for floats; a key again takes the place of the earlier one. Factors: a tensor, or none.
typedef struct made {
    const char *architecture, *keys;
    const float *factors;
    int64_t count;
    sg_dtype dtype;
} made;

static void put_key(sg_gguf_metadata *m, const char *architecture, const char *key,
                    const char *value)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        sg_gguf_put_bool(m, name, value[0] == 't');
    else if (strchr("-0123456789", value[0]) == NULL)
        sg_gguf_put_string(m, name, value);
    else if (strchr(value, '.') != NULL)
        sg_gguf_put_f32(m, name, strtof(value, NULL));
    else
        sg_gguf_put_u32(m, name, (uint32_t)strtoul(value, NULL, 10));
}

static void make(const made *f)
{
    static const float table[40 * 16];
    static const char *const sizes[][2] = {{"embedding_length", "16"},
                                           {"block_count", "4"},
                                           {"attention.head_count", "2"},
                                           {"context_length", "64"},
                                           {"feed_forward_length", "24"}};
    sg_error err = {0};
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    assert_non_null(m);
    sg_gguf_put_string(m, "general.architecture", f->architecture);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        put_key(m, f->architecture, sizes[i][0], sizes[i][1]);
    const bool gpt2 = strcmp(f->architecture, "gpt2") == 0;
    if (strstr(f->keys, "epsilon") == NULL)
        put_key(m, f->architecture,
                gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                "0.001");
    char words[512], *rest = words;
    snprintf(words, sizeof words, "%s", f->keys);
    while (rest != NULL && rest[0] != '\0') {
        char *word = strsep(&rest, " "), *value = strchr(word, '=');
        assert_non_null(value);
        *value = '\0';
        // "-KEY=" leaves it out.
        if (word[0] != '-') put_key(m, f->architecture, word, value + 1);
    }
    const sg_tensor_view views[] = {
        sg_tensor_view_make("token_embd.weight", SG_DTYPE_F32, 2, (int64_t[]){40, 16}, table),
        sg_tensor_view_make(SG_GGUF_ROPE_FREQS, f->dtype, 1, &f->count, f->factors)};
    must(sg_gguf_write("/file.gguf", SG_OUTPUT_REPLACE, m, views, f->factors ? 2 : 1, &err), &err);
    sg_gguf_metadata_free(m);
}

static sg_unread unread; // of the last file

static sg_status read_made(const made *f, sg_config *config, sg_error *err)
{
    sg_gguf *file;
    make(f);
    must(sg_gguf_open("/file.gguf", &file, err), err);
    *config = (sg_config){0};
    unread = (sg_unread){0};
    sg_status status = sg_gguf_config_read(file, config, &unread, err);
    if (status == SG_OK) status = sg_config_complete(config, err);
    if (status == SG_OK) status = sg_gguf_rope_check(file, config, err);
    sg_gguf_close(file);
    return status;
}

static sg_config taken(const char *architecture, const char *keys)
{
    sg_error err = {0};
    sg_config c;
    const made f = {.architecture = architecture, .keys = keys};
    if (read_made(&f, &c, &err) != SG_OK) fail_msg("%s %s: %s", architecture, keys, err.message);
    return c;
}

static void refused(const made *f, const char *words)
{
    sg_error err = {0};
    sg_config c;
    if (read_made(f, &c, &err) == SG_OK) fail_msg("taken: %s %s", f->architecture, f->keys);
    if (strstr(err.message, words) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, words);
}

static void test_experts(void **state)
{
    (void)state;
    sg_config c = taken("llama", "");
    assert_string_equal(c.ffn, "glu");
    c = taken("llama", "expert_count=4 expert_used_count=2");
    assert_string_equal(c.ffn, "moe");
    assert_true(c.ffn_experts == 4 && c.ffn_top_k == 2 && c.ffn_renormalise == 1);
    assert_true(c.ffn_intermediate_size == 24 && c.rope_interleaved == 1);
    // Widths that are left out are parts of feed_forward_length.
    c = taken("qwen3moe", "expert_count=4 expert_used_count=2");
    assert_true(c.ffn_intermediate_size == 12 && c.ffn_renormalise == 1);
    assert_string_equal(c.qk_norm, "head");
    c = taken("qwen2moe", "expert_count=4 expert_used_count=3");
    assert_true(c.ffn_intermediate_size == 8 && c.ffn_shared_size == 24 && c.ffn_shared_gate == 1);
    assert_true(c.ffn_shared_experts == 1 && c.ffn_renormalise == 0 && c.rope_interleaved == 0);
    c = taken("qwen2moe", "expert_count=4 expert_used_count=3 expert_feed_forward_length=5 "
                          "expert_shared_feed_forward_length=6");
    assert_true(c.ffn_intermediate_size == 5 && c.ffn_shared_size == 6);
    c = taken("olmoe", "expert_count=4 expert_used_count=2 expert_gating_func=1");
    assert_true(c.ffn_intermediate_size == 24 && c.ffn_renormalise == 0);
    assert_string_equal(c.qk_norm, "full");
    c = taken("deepseek", "expert_count=4 expert_used_count=2 expert_feed_forward_length=6 "
                          "expert_shared_count=2 leading_dense_block_count=3 "
                          "expert_weights_scale=1.0");
    assert_true(c.ffn_intermediate_size == 6 && c.ffn_shared_experts == 2);
    assert_string_equal(c.ffn_layers, "4");
    assert_true(c.ffn_dense_size == 24 && c.rope_interleaved == 1 && c.ffn_shared_gate == 0);
}

static void test_experts_refused(void **state)
{
    static const char *const cases[][3] = {
        {"llama", "expert_count=4", "llama.expert_used_count"},
        {"llama", "expert_count=4 expert_used_count=5", "ffn_top_k"},
        {"llama", "expert_count=4 expert_used_count=0", "ffn_top_k"},
        {"llama", "expert_count=4 expert_used_count=2 expert_weights_norm=false",
         "key llama.expert_weights_norm: found 0, expected true"},
        {"llama", "expert_count=4 expert_used_count=2 expert_gating_func=2",
         "key llama.expert_gating_func: found 2, expected 1"},
        {"llama", "expert_count=4 expert_used_count=2 leading_dense_block_count=1",
         "key llama.leading_dense_block_count: found 1, expected 0"},
        {"llama", "expert_count=4000000000 expert_used_count=2", "ffn_experts"},
        {"qwen2", "expert_count=4", "key qwen2.expert_count: found 4, expected a model without"},
        {"gpt2", "expert_count=4", "key gpt2.expert_count: found 4"},
        {"qwen3moe", "", "qwen3moe.expert_count"},
        {"qwen3moe", "expert_count=0", "key qwen3moe.expert_count: found 0"},
        {"qwen3moe", "expert_count=4 expert_used_count=0", "ffn_"},
        {"qwen3moe", "expert_count=true", "qwen3moe.expert_count"},
        {"olmoe", "expert_count=4 expert_used_count=2 attention.clamp_kqv=5.5",
         "key olmoe.attention.clamp_kqv: found 5.5"},
        {"olmoe", "expert_count=4 expert_used_count=2 expert_group_count=2",
         "key olmoe.expert_group_count: found 2"},
        {"deepseek", "expert_count=4 expert_used_count=2", "deepseek.expert_feed_forward_length"},
        {"deepseek",
         "expert_count=4 expert_used_count=2 expert_feed_forward_length=6 expert_weights_scale=2.5",
         "key deepseek.expert_weights_scale: found 2.5, expected 1"},
        {"deepseek",
         "expert_count=4 expert_used_count=2 expert_feed_forward_length=6 "
         "leading_dense_block_count=4",
         "key deepseek.leading_dense_block_count: found 4, expected less than block_count"},
        {"gpt-oss", "expert_count=4", "general.architecture: found \"gpt-oss\", expected llama"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(&(made){.architecture = cases[i][0], .keys = cases[i][1]}, cases[i][2]);
}

// By the definition: frequencies over waves that are short, long, or between (Llama 3.1's
// rope_scaling).
static void llama3(float *factors, double theta, double factor, double original)
{
    for (int i = 0; i < pairs; i++) {
        const double wave = 2 * acos(-1.0) * pow(theta, (double)i / pairs);
        const double smooth = (original / wave - 1) / (4 - 1);
        factors[i] = (float)(wave < original / 4 ? 1
                             : wave > original   ? factor
                                                 : 1 / ((1 - smooth) / factor + smooth));
    }
}

static void test_rope(void **state)
{
    static const char theta[] = "rope.freq_base=500000.0";
    float f[pairs];
    sg_error err = {0};
    sg_config c;
    (void)state;
    made file = {.architecture = "llama",
                 .keys = theta,
                 .factors = f,
                 .count = pairs,
                 .dtype = SG_DTYPE_F32};
    llama3(f, 500000, 32, 8192);
    assert_true(f[0] == 1 && f[1] == 1 && f[2] > 1.5f && f[2] < 31 && f[3] == 32);
    must(read_made(&file, &c, &err), &err);
    assert_string_equal(c.rope_scaling, "llama3");
    assert_true(c.rope_factor == 32 && c.rope_original_positions == 8192);
    assert_true(c.rope_low_freq_factor == 1 && c.rope_high_freq_factor == 4);
    // What we would write.
    float ours[pairs];
    must(sg_gguf_rope_factors(&c, ours, &err), &err);
    for (int i = 0; i < pairs; i++)
        assert_true(fabsf(ours[i] - f[i]) <= 1e-6f * f[i]);
    // Rounding is let through, another form is not.
    const float kept = f[2];
    f[2] = kept * 1.00005f;
    must(read_made(&file, &c, &err), &err);
    f[2] = kept * 1.0005f;
    refused(&file, "tensor rope_freqs.weight: factor 2: found");
    f[2] = 1 / kept;
    refused(&file, "rope_freqs.weight: factor 2");
    f[2] = NAN;
    refused(&file, "rope_freqs.weight: factor 2: found nan");
    f[2] = kept;
    f[3] = INFINITY;
    refused(&file, "rope_factor: found inf");
    llama3(f, 500000, 32, 4096);
    refused(&file, "expected"); // of other positions, unless the file says so
    file.keys = "rope.freq_base=500000.0 rope.scaling.original_context_length=4096";
    must(read_made(&file, &c, &err), &err);
    assert_int_equal(c.rope_original_positions, 4096);
    file.keys = theta;
    llama3(f, 500000, 0.5, 8192);
    refused(&file, "rope_freqs.weight: factor");
    memset(f, 0, sizeof f);
    refused(&file, "rope_factor");
    llama3(f, 500000, 8, 8192);
    file.count = pairs - 1;
    refused(&file, "tensor rope_freqs.weight: found F32 [3], expected F32 [4]");
    file.count = 2 * pairs;
    file.dtype = SG_DTYPE_F16;
    refused(&file, "tensor rope_freqs.weight: found F16 [8], expected F32 [4]");
    file.count = pairs;
    file.dtype = SG_DTYPE_F32;
    file.architecture = "qwen2";
    refused(&file, "with architecture qwen2");
    file.architecture = "llama";
    file.keys = "rope.scaling.type=yarn rope.scaling.factor=4.0";
    refused(&file, "scaling \"yarn\"");
}

// Without a word on the way, positions are scaled linearly; 0 and 1 scale nothing.
static void test_linear(void **state)
{
    static const char *const two[] = {
        "rope.scaling.factor=2.0", "rope.scaling.type=linear rope.scaling.factor=2.0",
        "rope.scale_linear=2.0", "rope.scaling.type=linear rope.scale_linear=2.0",
        "rope.scale_linear=3.0 rope.scaling.factor=2.0"};
    static const char *const none[] = {"rope.scaling.factor=0.0", "rope.scaling.factor=1.0",
                                       "rope.scale_linear=0.0",
                                       "rope.scaling.type=none rope.scaling.factor=2.0",
                                       "rope.scaling.type=none rope.scale_linear=2.0"};
    (void)state;
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        const sg_config c = taken("llama", two[i]);
        assert_string_equal(c.rope_scaling, "linear");
        assert_true(c.rope_factor == 2);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_string_equal(taken("llama", none[i]).rope_scaling, "none");
}

// What would change the formula is refused by its name; what says what is computed anyway is taken,
// and of anything else it is told.
static void test_keys(void **state)
{
    static const char *const wrong[][2] = {
        {"-epsilon=", "layer_norm_rms_epsilon\": is missing"},
        {"rope.freq_base=0.0", "rope_theta: found 0, expected at least 1"},
        {"rope.dimension_count=0", "llama.rope.dimension_count"},
        {"attention.key_length=0", "llama.attention.key_length"},
        {"attention.head_count_kv=0", "llama.attention.head_count_kv"},
        {"rope.scaling.attn_factor=1.5",
         "key llama.rope.scaling.attn_factor: found 1.5, expected 1"},
        {"rope.scaling.yarn_log_multiplier=0.1", "llama.rope.scaling.yarn_log_multiplier"},
        {"rope.scaling.yarn_ext_factor=1.0", "llama.rope.scaling.yarn_ext_factor"},
        {"rope.scaling.type=longrope", "llama.rope.scaling.type"},
        {"rope.freq_base_swa=100.0", "llama.rope.freq_base_swa"},
        {"rope.dimension_sections=1", "llama.rope.dimension_sections"},
        {"rope.invented=1", "key llama.rope.invented: found 1, expected none"},
        {"attention.causal=false", "key llama.attention.causal: found 0, expected 1"},
        {"attention.value_length=4", "key llama.attention.value_length: found 4, expected"},
        {"attention.sliding_window=63", "llama.attention.sliding_window"},
        {"attention.scale=0.5", "llama.attention.scale"},
        {"attention.layer_norm_rms_epsilon=0.001 attention.layer_norm_epsilon=0.001",
         "llama.attention.layer_norm_epsilon"},
        {"attention.invented=word", "key llama.attention.invented: found \"word\""},
        {"expert_invented=3", "llama.expert_invented"},
        {"expert_shared_count=1", "llama.expert_shared_count"},
        {"logit_scale=0.5", "llama.logit_scale"},
        {"residual_scale=0.5", "llama.residual_scale"},
        {"embedding_scale=12.0", "llama.embedding_scale"},
        {"final_logit_softcapping=30.0", "llama.final_logit_softcapping"},
        {"use_parallel_residual=true", "llama.use_parallel_residual"},
    };
    static const char plain[] =
        "rope.scaling.attn_factor=1.0 rope.scaling.finetuned=true attention.causal=true "
        "attention.value_length=8 attention.sliding_window=64 attention.scale=0.35355339 "
        "logit_scale=0.0 residual_scale=1.0 vocab_size=40 tensor_data_layout=words "
        "expert_used_count=2 rope.scaling.yarn_ext_factor=-1.0";
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(&(made){.architecture = "llama", .keys = wrong[i][0]}, wrong[i][1]);
    taken("llama", plain);
    assert_int_equal(unread.count, 0);
    taken("llama", "invented=2 also.invented=word");
    assert_int_equal(unread.count, 2);
    assert_string_equal(unread.keys, "llama.invented, llama.also.invented");
    // An epsilon of 0 is one.
    const sg_config c = taken("llama", "attention.layer_norm_rms_epsilon=0.0");
    assert_true(c.rms_norm_eps == 0);
    refused(&(made){.architecture = "gpt2", .keys = "-epsilon="},
            "gpt2.attention.layer_norm_epsilon");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_experts, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_experts_refused, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_rope, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_linear, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_keys, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
