// One list of words, "FAMILY FIELD=VALUE …", behind the names of the families themselves.
#include "tiny_models.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "ffn/ffn.h"

static const char *const variants[] = {
    "sgatlin ffn_router=product_key_value ffn_activation=gelu",
    "sgatlin ffn_router=dense ffn_activation=relu",
    "sgatlin ffn_router=key_value ffn_activation=swish",
    "switch ffn_block_size=16 ffn_active_neurons=16",
    "randhash ffn_block_size=1 ffn_hash_seed=7",
    "avgk ffn_block_size=16 ffn_active_neurons=32 ffn_gate=after",
    "vanillam ffn_block_size=8 ffn_activation=relu",
    "switch ffn_renormalise=1 ffn_balance_loss=0.1 ffn_z_loss=0.01 ffn_capacity_factor=1",
    "avgk ffn_balance_loss=0.1 ffn_layers=every:2 ffn_dense=glu",
    "moe ffn_renormalise=1 ffn_balance_loss=0.1 ffn_capacity_factor=1.25",
    "moe ffn_score=sigmoid ffn_bias_rate=0.01 ffn_shared_experts=1 ffn_share_pool=1",
    "peer ffn_share_pool=1",
    "sgatlin ffn_layers=2 ffn_dense=mlp",
    "lorkm ffn_query_norm=layernorm",
    "lorkm ffn_query_norm=batchnorm",
    "pkm ffn_normaliser=relu ffn_query_norm=layernorm ffn_query_bias=1",
    "pkm_ffn ffn_normaliser=sigmoid ffn_query_norm=batchnorm",
    "moefied ffn_router=mlp ffn_activation=swiglu ffn_select=share ffn_threshold=0.6 ffn_top_k=12",
    "moefied ffn_router=norm ffn_select=max ffn_threshold=0.5 ffn_mean=1 ffn_router_size=5",
    "moefied ffn_router=centroid ffn_activation=reglu ffn_block_size=8 ffn_top_k=2 "
    "ffn_bias=1",
    "moefied ffn_router=representative ffn_activation=relu2 ffn_select=threshold "
    "ffn_threshold=0.001 ffn_top_k=12",
    "moefied ffn_gate=after ffn_bias=1 ffn_activation=geglu",
    "moefied ffn_router=gate ffn_activation=swiglu ffn_block_size=0 ffn_top_k=1 "
    "ffn_select=threshold ffn_threshold=0.02 ffn_bias=1",
    "moefied ffn_activation=reglu ffn_shared_experts=1 ffn_shared_size=6",
    "mlp attention_mlp_q=5 attention_mlp_k=0,7 attention_mlp_v=6,0 attention_mlp_o=4",
};

const char *tiny_kind(int index)
{
    int families = 0;
    while (sg_family_name((size_t)families) != NULL)
        families++;
    if (index < families) return sg_family_name((size_t)index);
    index -= families;
    return index < (int)(sizeof variants / sizeof *variants) ? variants[index] : NULL;
}

const char *tiny_even_kind(int *index)
{
    while (tiny_kind(*index) != NULL && strstr(tiny_kind(*index), "ffn_select=") != NULL)
        ++*index;
    return tiny_kind(*index);
}

static void set(sg_config *c, const char *field, const char *value)
{
    sg_error err = {0};
    if (sg_config_set(c, field, value, &err) != SG_OK) fail_msg("%s", err.message);
}

sg_config tiny_config(const char *kind, int64_t vocab, int64_t positions)
{
    // 6 x 24 cells are a square, as product keys want it.
    static const char *const sizes[][2] = {
        {"ffn_intermediate_size", "24"}, {"ffn_experts", "4"},    {"ffn_channels", "2"},
        {"ffn_neurons", "25"},           {"ffn_key_size", "6"},   {"ffn_top_k", "3"},
        {"ffn_memory_factor", "6"},      {"ffn_block_size", "2"}, {"ffn_active_neurons", "8"},
    };
    sg_config c = {.vocab_size = vocab,
                   .hidden_size = 16,
                   .num_hidden_layers = 2,
                   .num_attention_heads = 2,
                   .head_dim = 8,
                   .max_position_embeddings = positions,
                   .pad_token_id = 0,
                   .eos_token_id = 1,
                   .bos_token_id = 1};
    char words[256], *rest = words;
    snprintf(words, sizeof words, "%s", kind);
    set(&c, "ffn", strsep(&rest, " "));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        set(&c, sizes[i][0], sizes[i][1]);
    while (rest != NULL) {
        char *word = strsep(&rest, " "), *value = strchr(word, '=');
        if (value == NULL) fail_msg("%s: %s has no =", kind, word);
        *value = '\0';
        set(&c, word, value + 1);
    }
    return c;
}

sg_config tiny_keyed_config(const char *router, int64_t vocab, int64_t positions)
{
    sg_preset preset;
    sg_error err = {0};
    if (sg_preset_find("tinystories-sgatlin", &preset, &err) != SG_OK) fail_msg("%s", err.message);
    sg_config c = preset.config;
    c.vocab_size = vocab;
    c.hidden_size = c.head_dim = 8;
    c.num_attention_heads = 1;
    c.num_hidden_layers = 2;
    c.max_position_embeddings = positions;
    c.ffn_neurons = 1 << 16;
    c.ffn_channels = 4;
    strcpy(c.ffn_router, router);
    return c;
}
