// A tiny configuration of every family and router, for tests of whole models.
#ifndef SG_TEST_TINY_MODELS_H
#define SG_TEST_TINY_MODELS_H

#include <string.h>

#include "base/status.h"

typedef struct tiny_kind {
    const char *ffn, *router, *activation;
} tiny_kind;

static const tiny_kind tiny_kinds[] = {
    {"mlp", "", ""},
    {"glu", "", ""},
    {"moe", "", ""},
    {"peer", "", ""},
    {"sgatlin", "", ""},
    {"sgatlin", "product_key_value", "gelu"},
    {"sgatlin", "dense", "relu"},
    {"sgatlin", "key_value", "swish"},
    {"vanillam", "", ""},
    {"lorkm", "", "relu"},
    {"pkm", "", ""},
    {"pkm_ffn", "", ""},
};

enum { TINY_KINDS = sizeof tiny_kinds / sizeof *tiny_kinds };

// Not yet complete. vocab tokens, `positions` longest.
static inline sg_config tiny_config(const tiny_kind *kind, int64_t vocab, int64_t positions)
{
    sg_config c = {.vocab_size = vocab,
                   .hidden_size = 16,
                   .num_hidden_layers = 2,
                   .num_attention_heads = 2,
                   .head_dim = 8,
                   .max_position_embeddings = positions,
                   .pad_token_id = 0,
                   .eos_token_id = 1,
                   .bos_token_id = 1,
                   .ffn_intermediate_size = 24,
                   .ffn_experts = 4,
                   .ffn_channels = 2,
                   .ffn_neurons = 25,
                   .ffn_key_size = 6,
                   .ffn_top_k = 3,
                   .ffn_block_size = 3,
                   .ffn_memory_factor = 6, // 144 cells, a square
                   .ffn_active_neurons = 12,
                   .ffn_query_bias = 1};
    strcpy(c.ffn, kind->ffn);
    strcpy(c.ffn_router, kind->router);
    strcpy(c.ffn_activation, kind->activation);
    strcpy(c.ffn_query_norm, "batchnorm");
    return c;
}

#endif
