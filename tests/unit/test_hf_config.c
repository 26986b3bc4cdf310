// config.json of the Hugging Face library: both spellings, defaults of classes, and what is
// refused. That the configurations are right as a whole is for test_checkpoints.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "format/hf_config.h"
#include "format/json.h"
#include "model/config.h"

#define SIZES                                                                                      \
    "\"vocab_size\": 100, \"hidden_size\": 32, \"num_hidden_layers\": 4, "                         \
    "\"num_attention_heads\": 4, \"intermediate_size\": 48"
#define UNSCALED "\"rope_scaling\": {\"rope_type\": \"default\"}, "
#define MOE      SIZES ", \"moe_intermediate_size\": 8"

static sg_unread unread; // of the last text

static sg_status read_config(const char *text, sg_config *config, sg_error *err)
{
    json_t *object;
    *config = (sg_config){0};
    if (sg_json_parse(text, strlen(text), "config.json", &object, err) != SG_OK)
        fail_msg("%s", err->message);
    unread = (sg_unread){0};
    sg_status status = sg_hf_config_read(object, "config.json", config, &unread, err);
    json_decref(object);
    return status == SG_OK ? sg_config_complete(config, err) : status;
}

static sg_config taken(const char *text)
{
    sg_error err = {0};
    sg_config config;
    if (read_config(text, &config, &err) != SG_OK) fail_msg("%s: %s", text, err.message);
    return config;
}

static void refused(const char *text, sg_status expected, const char *message)
{
    sg_error err = {0};
    sg_config config;
    sg_status status = read_config(text, &config, &err);
    if (status != expected) fail_msg("%s: found %s", text, sg_status_name(status));
    if (strstr(err.message, message) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
}

static void same(const char *a, const char *b)
{
    const sg_config first = taken(a), second = taken(b);
    assert_memory_equal(&first, &second, sizeof first);
}

static void test_spellings(void **state)
{
    (void)state;
    same("{\"model_type\": \"llama\", " SIZES ", \"rope_theta\": 500, \"rope_scaling\": "
         "{\"type\": \"linear\", \"factor\": 4}, \"torch_dtype\": \"float16\"}",
         "{\"model_type\": \"llama\", " SIZES ", \"rope_parameters\": {\"rope_theta\": 500, "
         "\"rope_type\": \"linear\", \"factor\": 4}, \"dtype\": \"float16\"}");
    same("{\"model_type\": \"gpt_neox\", " SIZES ", \"rotary_pct\": 0.5, \"rotary_emb_base\": 70}",
         "{\"model_type\": \"gpt_neox\", " SIZES ", \"rope_parameters\": {\"rope_type\": "
         "\"default\", \"rope_theta\": 70, \"partial_rotary_factor\": 0.5}}");
    same("{\"model_type\": \"qwen3_moe\", " MOE ", \"num_experts\": 16}",
         "{\"model_type\": \"qwen3_moe\", " MOE ", \"num_local_experts\": 16}");
    same("{\"model_type\": \"llama\", " SIZES
         ", \"num_key_value_heads\": null, \"head_dim\": null}",
         "{\"model_type\": \"llama\", " SIZES ", \"num_key_value_heads\": 4, \"head_dim\": 8}");
    // A window on every layer, said by a number or layer by layer.
    same("{\"model_type\": \"mistral\", " SIZES ", \"sliding_window\": 9}",
         "{\"model_type\": \"mistral\", " SIZES ", \"sliding_window\": 9, \"layer_types\": ["
         "\"sliding_attention\", \"sliding_attention\", \"sliding_attention\", "
         "\"sliding_attention\"]}");
}

static void test_defaults(void **state)
{
    (void)state;
    sg_config c = taken("{\"model_type\": \"llama\", " SIZES "}");
    assert_true(c.rms_norm_eps == 1e-6 && c.rope_theta == 10000 && c.untied_classifier == 1);
    assert_string_equal(c.qk_norm, "none");
    assert_string_equal(c.ffn_activation, "swiglu");
    assert_int_equal(c.eos_token_id, -1);
    c = taken("{\"model_type\": \"olmoe\", " SIZES "}");
    assert_true(c.rms_norm_eps == 1e-5 && c.ffn_experts == 64 && c.ffn_top_k == 8);
    assert_string_equal(c.qk_norm, "full");
    c = taken("{\"model_type\": \"mixtral\", " SIZES ", \"eos_token_id\": [7, 9]}");
    assert_true(c.rope_theta == 1e6 && c.ffn_renormalise == 1 && c.eos_token_id == 7);
    assert_int_equal(c.sliding_window, 0);
    c = taken("{\"model_type\": \"qwen2\", " SIZES
              ", \"sliding_window\": 8, \"bos_token_id\": 500}");
    assert_int_equal(c.sliding_window, 0); // only where use_sliding_window says so
    assert_int_equal(c.attention_bias, 1);
    assert_int_equal(c.attention_out_bias, 0);
    assert_int_equal(c.bos_token_id, -1); // beyond the vocabulary
    c = taken("{\"model_type\": \"qwen2\", " SIZES ", \"sliding_window\": 8, "
              "\"use_sliding_window\": true, \"max_window_layers\": 2}");
    assert_string_equal(c.sliding_layers, "3-4");
    c = taken("{\"model_type\": \"gpt_oss\", " UNSCALED SIZES
              ", \"layer_types\": [\"sliding_attention\", "
              "\"full_attention\", \"sliding_attention\", \"full_attention\"]}");
    assert_string_equal(c.sliding_layers, "1,3");
    assert_int_equal(c.sliding_window, 128);
    c = taken("{\"model_type\": \"deepseek\", " MOE ", \"n_routed_experts\": 4, "
              "\"num_experts_per_tok\": 2, \"first_k_dense_replace\": 1, \"n_shared_experts\": 2}");
    assert_string_equal(c.ffn_layers, "2-4");
    assert_string_equal(c.ffn_dense, "glu");
    assert_int_equal(c.ffn_dense_size, 48);
    c = taken("{\"model_type\": \"qwen2_moe\", " MOE ", \"decoder_sparse_step\": 2}");
    assert_string_equal(c.ffn_layers, "2,4");
    c = taken("{\"model_type\": \"gpt2\", \"vocab_size\": 50, \"n_embd\": 16, \"n_layer\": 1, "
              "\"n_head\": 2}");
    assert_int_equal(c.untied_classifier, 0);
    assert_int_equal(c.ffn_intermediate_size, 64);
}

static void test_refused(void **state)
{
    (void)state;
    refused("[1]", SG_ERR_FORMAT, "config.json");
    refused("{}", SG_ERR_FORMAT, "\"model_type\"");
    refused("{\"model_type\": \"bert\"}", SG_ERR_UNSUPPORTED, "found \"bert\", expected sgatlin");
    refused("{\"model_type\": \"llama\"}", SG_ERR_FORMAT, "\"vocab_size\" is missing");
    refused("{\"model_type\": \"llama\", " SIZES ", \"hidden_act\": \"tanh\"}", SG_ERR_UNSUPPORTED,
            "\"hidden_act\": found \"tanh\"");
    refused("{\"model_type\": \"llama\", " SIZES ", \"rope_scaling\": {\"rope_type\": "
            "\"longrope\"}}",
            SG_ERR_UNSUPPORTED, "\"rope_type\": found longrope");
    refused("{\"model_type\": \"llama\", " SIZES ", \"rope_scaling\": {\"type\": \"linear\"}}",
            SG_ERR_ARGUMENT, "rope_factor: found 0");
    refused("{\"model_type\": \"llama\", " SIZES ", \"num_key_value_heads\": 3}", SG_ERR_ARGUMENT,
            "num_key_value_heads: found 3");
    refused("{\"model_type\": \"llama\", " SIZES ", \"eos_token_id\": \"x\"}", SG_ERR_FORMAT,
            "\"eos_token_id\"");
    refused("{\"model_type\": \"mistral\", " SIZES ", \"layer_types\": [\"full_attention\"]}",
            SG_ERR_FORMAT, "\"layer_types\": found 1 entries");
    refused("{\"model_type\": \"mistral\", " SIZES ", \"layer_types\": [1, 2, 3, 4]}",
            SG_ERR_UNSUPPORTED, "\"layer_types\": found no string");
    refused("{\"model_type\": \"opt\", " SIZES ", \"ffn_dim\": 8, \"do_layer_norm_before\": false}",
            SG_ERR_UNSUPPORTED, "\"do_layer_norm_before\": found false");
    refused("{\"model_type\": \"deepseek\", " MOE ", \"n_routed_experts\": 4, "
            "\"num_experts_per_tok\": 2, \"scoring_func\": \"sigmoid\"}",
            SG_ERR_UNSUPPORTED, "\"scoring_func\": found \"sigmoid\"");
    // Layers are gone through one by one: counts are bounded first.
    refused("{\"model_type\": \"mistral\", \"vocab_size\": 100, \"hidden_size\": 32, "
            "\"num_hidden_layers\": 1000000000000, \"num_attention_heads\": 4, "
            "\"intermediate_size\": 48}",
            SG_ERR_FORMAT, "\"num_hidden_layers\": found 1000000000000");
    refused("{\"model_type\": \"qwen2_moe\", " MOE ", \"mlp_only_layers\": [0, 0, 0, 0, 0]}",
            SG_ERR_UNSUPPORTED, "\"mlp_only_layers\": found more layers");
    refused("{\"model_type\": \"gpt_oss\", " SIZES "}", SG_ERR_UNSUPPORTED, "\"rope_scaling\"");
    refused("{\"model_type\": \"gpt_oss\", " UNSCALED SIZES ", \"swiglu_limit\": 5}",
            SG_ERR_UNSUPPORTED, "\"swiglu_limit\"");
}

// A member of a model of some type is refused, naming it.
static void refused_key(const char *type, const char *member, const char *message)
{
    char text[1024];
    snprintf(text, sizeof text, "{\"model_type\": \"%s\", " MOE ", \"ffn_dim\": 8, %s}", type,
             member);
    refused(text, SG_ERR_UNSUPPORTED, message);
}

static sg_config taken_key(const char *type, const char *member)
{
    char text[1024];
    snprintf(text, sizeof text, "{\"model_type\": \"%s\", " MOE ", \"ffn_dim\": 8, %s}", type,
             member);
    return taken(text);
}

// Members that would change what is computed, of types that do not have them.
static void test_keys(void **state)
{
    static const char *const wrong[][3] = {
        {"llama", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": found"},
        {"llama", "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 5}}",
         "\"rope_parameters\": found \"full_attention\""},
        {"llama", "\"rope_scaling\": {\"factor\": 2}", "\"rope_scaling\": found no \"rope_type\""},
        {"llama", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"short_factor\": [1]}",
         "found \"short_factor\""},
        {"llama", "\"rope_parameters\": {\"factor\": 2}", "found \"factor\""},
        {"llama",
         "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}, "
         "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 3}",
         "\"rope_parameters\": found other members"},
        {"olmoe", "\"clip_qkv\": 0", "\"clip_qkv\": found 0 or less"},
        {"mistral", "\"sliding_window\": 0", "\"sliding_window\": found 0"},
        {"qwen2", "\"use_sliding_window\": true, \"sliding_window\": 0",
         "\"sliding_window\": found 0"},
        {"llama", "\"sliding_window\": 8", "\"sliding_window\": found 8, expected none"},
        {"llama", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
         "\"layer_types\""},
        {"mistral", "\"attention_bias\": true", "\"attention_bias\": found true, expected false"},
        {"qwen2", "\"attention_bias\": false", "\"attention_bias\": found false, expected true"},
        {"llama", "\"attention_multiplier\": 0.1", "\"attention_multiplier\""},
        {"llama", "\"embedding_multiplier\": 12", "\"embedding_multiplier\""},
        {"llama", "\"logits_scaling\": 8", "\"logits_scaling\": found 8, expected 1"},
        {"llama", "\"logit_scale\": 0.0625", "\"logit_scale\""},
        {"llama", "\"final_logit_softcapping\": 30.0", "\"final_logit_softcapping\": found 30"},
        {"llama", "\"use_qk_norm\": true", "\"use_qk_norm\": found true"},
        {"llama", "\"num_experts\": 8", "\"num_experts\": found 8"},
        {"llama", "\"is_causal\": false", "\"is_causal\": found false"},
        {"llama", "\"position_embedding_type\": \"alibi\"", "found \"alibi\""},
        {"mixtral", "\"norm_topk_prob\": false", "\"norm_topk_prob\": found false, expected true"},
        {"deepseek", "\"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"n_group\": 2",
         "\"n_group\": found 2"},
        {"deepseek",
         "\"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"topk_method\": "
         "\"group_limited_greedy\"",
         "\"topk_method\""},
        {"llama", "\"quantization_config\": {\"quant_method\": \"gptq\"}", "quantised by GPTQ"},
        {"llama", "\"quantization_config\": {\"quant_method\": \"awq\"}", "quantised by AWQ"},
        {"llama", "\"quantization_config\": {\"load_in_4bit\": true}", "quantised by bitsandbytes"},
        {"llama", "\"quantization_config\": {\"quant_method\": \"fbgemm_fp8\"}", "FP8"},
        {"llama", "\"compression_config\": {\"quant_method\": \"compressed-tensors\"}",
         "compressed-tensors"},
        {"llama", "\"quantization_config\": {\"quant_method\": \"mxfp4\"}", "MXFP4"},
        {"llama", "\"quantization_config\": {\"bits\": 4}", "a way that it does not name"},
    };
    static const char *const plain[][2] = {
        {"llama",
         "\"partial_rotary_factor\": 1.0, \"attention_bias\": false, \"sliding_window\": null"},
        {"llama",
         "\"use_sliding_window\": false, \"sliding_window\": 4096, \"max_window_layers\": 9"},
        {"llama",
         "\"logits_scaling\": 1.0, \"final_logit_softcapping\": null, \"use_cache\": true"},
        {"llama", "\"layer_types\": [\"full_attention\"], \"rope_scaling\": {}, \"_name\": 1"},
        {"qwen2", "\"attention_bias\": true, \"layer_types\": [\"full_attention\"]"},
        {"mixtral", "\"norm_topk_prob\": true, \"router_aux_loss_coef\": 0.02"},
        {"gpt_oss", UNSCALED "\"quantization_config\": {\"quant_method\": \"mxfp4\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused_key(wrong[i][0], wrong[i][1], wrong[i][2]);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        taken_key(plain[i][0], plain[i][1]);
        // The sizes of other types are among those that all are given here.
        if (unread.count > 2) fail_msg("%s: %s: unread %s", plain[i][0], plain[i][1], unread.keys);
    }
    // Those that nobody knows are told.
    taken("{\"model_type\": \"llama\", " SIZES
          ", \"invented\": 1, \"use_cache\": true, \"x\": null}");
    char text[400];
    assert_true(sg_unread_text(&unread, "f", text, sizeof text));
    assert_string_equal(text, "f: keys that are not read here: invented");
}

// A 0 that is said is not one that is left out.
static void test_zeros(void **state)
{
    (void)state;
    sg_config c = taken_key("llama", "\"rms_norm_eps\": 0");
    assert_true(c.rms_norm_eps == 0);
    c = taken_key("llama", "\"rms_norm_eps\": 0.0, \"rope_scaling\": null");
    assert_true(c.rms_norm_eps == 0);
    c = taken_key("llama", "\"rms_norm_eps\": null");
    assert_true(c.rms_norm_eps == 1e-6);
    c = taken("{\"model_type\": \"gpt2\", \"vocab_size\": 50, \"n_embd\": 16, \"n_layer\": 1, "
              "\"n_head\": 2, \"layer_norm_epsilon\": 0}");
    assert_true(c.rms_norm_eps == 0);
    refused("{\"model_type\": \"llama\", " SIZES ", \"rope_theta\": 0}", SG_ERR_ARGUMENT,
            "rope_theta: found 0, expected at least 1");
    refused("{\"model_type\": \"gpt_neox\", " SIZES ", \"rotary_emb_base\": 0}", SG_ERR_ARGUMENT,
            "rope_theta: found 0");
    refused("{\"model_type\": \"gpt_neox\", " SIZES ", \"rotary_pct\": 0}", SG_ERR_UNSUPPORTED,
            "partial_rotary_factor");
    static const char *const zeros[] = {"low_freq_factor", "high_freq_factor", "factor"};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++) {
        char text[600], key[64];
        snprintf(text, sizeof text,
                 "{\"model_type\": \"llama\", " SIZES ", \"rope_scaling\": {\"type\": \"llama3\", "
                 "\"factor\": 2, \"%s\": 0}}",
                 zeros[i]);
        if (i == 2)
            snprintf(text, sizeof text,
                     "{\"model_type\": \"llama\", " SIZES
                     ", \"rope_scaling\": {\"type\": \"llama3\", "
                     "\"factor\": 0}}");
        snprintf(key, sizeof key, "rope_%s: found 0, expected more than", zeros[i]);
        refused(text, SG_ERR_ARGUMENT, key);
    }
    refused("{\"model_type\": \"llama\", " SIZES ", \"rope_scaling\": {\"type\": \"yarn\", "
            "\"factor\": 2, \"attention_factor\": 0}}",
            SG_ERR_UNSUPPORTED, "\"attention_factor\"");
    refused("{\"model_type\": \"llama\", " SIZES ", \"head_dim\": 0}", SG_ERR_FORMAT,
            "\"head_dim\": found 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
