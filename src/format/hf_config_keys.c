// Two tables: members that change the formula, with the values at which they do not; and members
// that never do. A member that neither has is reported as not read. The names are those of
// configuration classes of transformers 4 and 5 and of the remote code of models that call
// themselves by a type that is read here.
#include "format/config_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

// ---- tables -------------------------------------------------------------------------------------

// The values, words of JSON, at which a member changes nothing; null is one of them always.
static const struct {
    const char *key, *plain;
} keys_formula[] = {
    // Positions.
    {"partial_rotary_factor", "1"},
    {"rotary_pct", "1"},
    {"rotary_dim", ""},
    {"rotary_emb_base", ""},
    {"rotary_emb_fraction", "1"},
    {"rope_ratio", "1"},
    {"rope_local_base_freq", ""},
    {"global_rope_theta", ""},
    {"local_rope_theta", ""},
    {"swa_rope_theta", ""},
    {"rope_interleave", "false"},
    {"rope_interleaved", "false"},
    {"rotary_interleaved", "false"},
    {"use_rope", "true"},
    {"use_rotary_pos_emb", "true"},
    {"use_mrope", "false"},
    {"no_rope_layers", "[]"},
    {"no_rope_layer_interval", "0"},
    {"position_embedding_type", "\"absolute\" \"rope\" \"rotary\""},
    {"alibi", "false"},
    {"use_alibi", "false"},
    {"rope_scaling", "{}"},
    {"rope_parameters", "{}"},
    // Attention.
    {"sliding_window", ""},
    {"use_sliding_window", "false"},
    {"sliding_window_pattern", ""},
    {"attention_window_size", ""},
    {"window_size", ""},
    {"attention_chunk_size", ""},
    {"attention_multiplier", ""},
    {"attention_scale", ""},
    {"attn_scale", ""},
    {"softmax_scale", ""},
    {"query_pre_attn_scalar", ""},
    {"attn_logit_softcapping", "0"},
    {"attention_sink", "false"},
    {"attn_output_gate", "false"},
    {"use_qk_norm", "false"},
    {"qk_norm", "false"},
    {"qk_layernorm", "false"},
    {"clip_qkv", ""},
    {"is_causal", "true"},
    {"causal", "true"},
    {"use_bidirectional_attention", "false"},
    {"is_encoder_decoder", "false"},
    {"add_cross_attention", "false"},
    {"scale_attn_weights", "true"},
    {"scale_attn_by_inverse_layer_idx", "false"},
    {"q_lora_rank", ""},
    {"kv_lora_rank", ""},
    {"qk_nope_head_dim", ""},
    {"qk_rope_head_dim", ""},
    // Scales and limits.
    {"embedding_multiplier", "1"},
    {"embedding_scale", "1"},
    {"embed_scale", "1"},
    {"scale_emb", "1"},
    {"scale_embedding", "false"},
    {"scale_depth", ""},
    {"dim_model_base", ""},
    {"residual_multiplier", "1"},
    {"residual_scale", "1"},
    {"logit_scale", "1"},
    {"logits_scaling", "1"},
    {"lm_head_multiplier", "1"},
    {"mup_width_scale", "1"},
    {"mup_denominator", ""},
    {"final_logit_softcapping", "0"},
    {"logit_softcapping", "0"},
    {"swiglu_limit", ""},
    // Blocks.
    {"parallel_attn", "false"},
    {"use_parallel_residual", "false"},
    {"use_bias", "false"},
    {"bias", "false"},
    {"attention_out_bias", "false"},
    {"lm_head_bias", "false"},
    {"use_post_norm", "false"},
    {"use_post_attn_norm", "false"},
    {"use_post_ffn_norm", "false"},
    {"apply_residual_connection_post_layernorm", "false"},
    {"do_layer_norm_before", "true"},
    // Experts.
    {"num_experts", "0"},
    {"num_local_experts", "0"},
    {"n_routed_experts", "0"},
    {"moe_num_experts", "0"},
    {"n_shared_experts", "0"},
    {"num_shared_experts", "0"},
    {"shared_expert_intermediate_size", "0"},
    {"first_k_dense_replace", "0"},
    {"moe_layer_freq", "1"},
    {"decoder_sparse_step", "1"},
    {"mlp_only_layers", "[]"},
    {"n_group", "1"},
    {"topk_group", "1"},
    {"topk_method", "\"greedy\""},
    {"scoring_func", "\"softmax\""},
    {"moe_router_enable_expert_bias", "false"},
    {"routed_scaling_factor", "1"},
    {"router_scale", "1"},
};

// Ends in '*': all that begin so.
static const char *const keys_idle[] = {
    "model_type",
    "architectures",
    "auto_map",
    "_*",
    "name_or_path",
    "transformers*",
    "torch_dtype",
    "dtype",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
    "return_dict*",
    "initializer_*",
    "init_*",
    "pretraining_tp",
    "tensor_parallel*",
    "base_model_*_plan",
    "gradient_checkpointing",
    "use_flash_attn*",
    "use_flash_attention*",
    "attn_implementation",
    "reorder_and_upcast_attn",
    "tf_legacy_loss",
    "is_decoder",
    "is_llama_config",
    "unsloth_*",
    "trust_remote_code",
    "quantization_config", // sg_hf_keys_packed
    "compression_config",
    "quantization", // of other programs, beside tensors that are plain
    // Training.
    "attention_dropout",
    "attn_dropout",
    "attn_pdrop",
    "resid_pdrop",
    "embd_pdrop",
    "dropout",
    "hidden_dropout*",
    "activation_dropout",
    "classifier_dropout",
    "layerdrop",
    "aux_loss_alpha",
    "seq_aux",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "output_router_logits",
    "num_nextn_predict_layers",
    "ep_size",
    // What depends on sizes that are read, or is a second name of one.
    "n_ctx",
    "initial_context_length",
    "experts_per_token",
    "max_window_layers",
    "max_sequence_length",
    "model_max_length",
    "tokenizer_class",
    "bos_token",
    "eos_token",
    "pad_token",
    // Other heads, generation.
    "summary_*",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "finetuning_task",
    "task_specific_params",
    "prefix",
    "unk_token_id",
    "sep_token_id",
    "cls_token_id",
    "mask_token_id",
    "decoder_start_token_id",
    "forced_*_token_id",
    "cross_attention_hidden_size",
    "tie_encoder_decoder",
    "chunk_size_feed_forward",
    "pruned_heads",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "max_length",
    "min_length",
    "max_new_tokens",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "num_return_sequences",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "exponential_decay_length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "remove_invalid_values",
    "suppress_tokens",
    "begin_suppress_tokens",
};

// ---- values -------------------------------------------------------------------------------------

static bool keys_equal(const json_t *value, const char *word, size_t bytes)
{
    if (json_is_number(value) && word[0] >= '0' && word[0] <= '9')
        return json_number_value(value) == (double)(word[0] - '0') && bytes == 1;
    if (json_is_boolean(value))
        return bytes == (json_is_true(value) ? 4u : 5u) &&
               strncmp(word, json_is_true(value) ? "true" : "false", bytes) == 0;
    if (json_is_string(value) && bytes > 2 && word[0] == '"')
        return json_string_length(value) == bytes - 2 &&
               memcmp(json_string_value(value), word + 1, bytes - 2) == 0;
    if (json_is_array(value)) return json_array_size(value) == 0 && strncmp(word, "[]", 2) == 0;
    return json_is_object(value) && json_object_size(value) == 0 && strncmp(word, "{}", 2) == 0;
}

static bool keys_is_plain(const json_t *value, const char *plain)
{
    if (json_is_null(value)) return true;
    for (const char *at = plain; *at != '\0';) {
        const size_t bytes = strcspn(at, " ");
        if (keys_equal(value, at, bytes)) return true;
        at += bytes + (at[bytes] != '\0');
    }
    return false;
}

static void keys_value_text(const json_t *value, char text[64])
{
    if (json_is_string(value))
        snprintf(text, 64, "\"%.50s\"", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, 64, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, 64, "%.17g", json_real_value(value));
    else
        snprintf(text, 64, "%s",
                 json_is_boolean(value) ? json_is_true(value) ? "true" : "false"
                 : json_is_array(value) ? "a list"
                                        : "an object");
}

static sg_status keys_refuse(const char *name, const char *key, const json_t *value,
                             const char *plain, sg_error *err)
{
    char found[64];
    keys_value_text(value, found);
    return sg_fail(
        err, SG_ERR_UNSUPPORTED,
        "%s: \"%s\": found %s, expected %s: it changes what is computed, and is not done "
        "for this type of model",
        name, key, found, plain[0] != '\0' ? plain : "none");
}

static bool keys_fits(const char *pattern, const char *key)
{
    const char *star = strchr(pattern, '*');
    if (star == NULL) return strcmp(pattern, key) == 0;
    const size_t head = (size_t)(star - pattern), tail = strlen(star + 1), n = strlen(key);
    return n >= head + tail && strncmp(pattern, key, head) == 0 &&
           strcmp(star + 1, key + n - tail) == 0;
}

bool sg_hf_key_is_idle(const char *key)
{
    for (size_t i = 0; i < sizeof keys_idle / sizeof *keys_idle; i++)
        if (keys_fits(keys_idle[i], key)) return true;
    return false;
}

// ---- the rest -----------------------------------------------------------------------------------

// Members whose plain value depends on the configuration. False for any other.
static bool keys_by_config(const json_t *object, const char *key, const json_t *value,
                           const sg_config *c, const char **plain)
{
    *plain = NULL;
    if (strcmp(key, "attention_bias") == 0 || strcmp(key, "qkv_bias") == 0)
        *plain = c->attention_bias ? "true" : "false";
    else if (strcmp(key, "mlp_bias") == 0)
        *plain = c->ffn_bias ? "true" : "false";
    else if (strcmp(key, "norm_topk_prob") == 0)
        *plain = strcmp(c->ffn, "moe") != 0 ? "true false" : c->ffn_renormalise ? "true" : "false";
    else if (strcmp(key, "sliding_window") == 0 &&
             json_is_false(json_object_get(object, "use_sliding_window")))
        *plain = NULL;
    else if (strcmp(key, "v_head_dim") == 0 && json_is_integer(value))
        *plain = json_integer_value(value) == c->head_dim ? NULL : "head_dim";
    else
        return false;
    return true;
}

static bool keys_all_full(const json_t *types)
{
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0) return false;
    }
    return json_is_array(types);
}

static sg_status keys_one(const json_t *object, const char *name, const char *key,
                          const json_t *value, const sg_config *c, sg_unread *unread, sg_error *err)
{
    const char *plain;
    if (json_is_null(value)) return SG_OK;
    if (keys_by_config(object, key, value, c, &plain))
        return plain == NULL || keys_is_plain(value, plain)
                   ? SG_OK
                   : keys_refuse(name, key, value, plain, err);
    if (strcmp(key, "layer_types") == 0)
        return keys_all_full(value) ? SG_OK
                                    : keys_refuse(name, key, value, "full_attention alone", err);
    for (size_t i = 0; i < sizeof keys_formula / sizeof *keys_formula; i++)
        if (strcmp(keys_formula[i].key, key) == 0)
            return keys_is_plain(value, keys_formula[i].plain)
                       ? SG_OK
                       : keys_refuse(name, key, value, keys_formula[i].plain, err);
    if (!sg_hf_key_is_idle(key)) sg_unread_add(unread, key);
    return SG_OK;
}

sg_status sg_hf_keys_rest(const json_t *object, const char *name, const sg_config *config,
                          const sg_asked *asked, sg_unread *unread, sg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (sg_asked_has(asked, key)) continue;
        SG_TRY(keys_one(object, name, key, value, config, unread, err));
    }
    return SG_OK;
}

// ---- packed weights -----------------------------------------------------------------------------

sg_status sg_hf_keys_packed(const json_t *object, const char *name, const char *packed,
                            sg_error *err)
{
    static const char *const keys[] = {"quantization_config", "compression_config"};
    static const struct {
        const char *method, *what;
    } known[] = {{"gptq", "GPTQ"},
                 {"awq", "AWQ"},
                 {"bitsandbytes", "bitsandbytes"},
                 {"fp8", "8-bit floats (FP8)"},
                 {"fbgemm_fp8", "8-bit floats (FP8, fbgemm)"},
                 {"compressed-tensors", "compressed-tensors (FP8 or integers)"},
                 {"mxfp4", "4-bit floats (MXFP4)"}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *value = json_object_get(object, keys[i]);
        if (value == NULL || json_is_null(value)) continue;
        const char *method = json_string_value(json_object_get(value, "quant_method"));
        const char *what = method;
        if (method == NULL && json_is_true(json_object_get(value, "load_in_4bit")))
            method = "bitsandbytes";
        if (method == NULL && json_is_true(json_object_get(value, "load_in_8bit")))
            method = "bitsandbytes";
        if (method != NULL && packed != NULL && strcmp(method, packed) == 0) continue;
        for (size_t k = 0; method != NULL && k < sizeof known / sizeof *known; k++)
            if (strcmp(known[k].method, method) == 0) what = known[k].what;
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"%s\": found weights quantised by %.60s, expected plain ones (f32, "
                       "f16, bf16), or a GGUF file",
                       name, keys[i], what != NULL ? what : "a way that it does not name");
    }
    return SG_OK;
}
