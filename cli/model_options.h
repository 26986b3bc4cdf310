// Every field of a model's configuration as an option, for the verbs that make or describe one.
#ifndef SGATLIN_CLI_MODEL_OPTIONS_H
#define SGATLIN_CLI_MODEL_OPTIONS_H

#include "cli/cli.h"

// One line a field, in the order of sg_config_field_at; a test holds the two lists together.
// X(field, option, a second name of the option or NULL, help); H(title) begins a group.
#define CLI_CONFIG_LIST(X, H)                                                                      \
    X(vocab_size, "vocab-size", NULL, "tokens in the vocabulary")                                  \
    X(hidden_size, "hidden-size", NULL, "model width d")                                           \
    X(num_hidden_layers, "num-hidden-layers", NULL, "layers")                                      \
    X(num_attention_heads, "num-attention-heads", NULL, "attention heads")                         \
    X(head_dim, "head-dim", NULL, "width of a head")                                               \
    X(max_position_embeddings, "max-position-embeddings", NULL,                                    \
      "longest sequence; the same as --seq-len")                                                   \
    X(rms_norm_eps, "rms-norm-eps", NULL, "epsilon of the norms")                                  \
    X(rope_theta, "rope-theta", NULL, "base of the rotary positions")                              \
    X(pad_token_id, "pad-token-id", NULL, "id of padding; train takes the data's")                 \
    X(eos_token_id, "eos-token-id", NULL, "id that ends a document; train takes the data's")       \
    X(bos_token_id, "bos-token-id", NULL, "id before a sequence; train takes the data's")          \
    X(untied_classifier, "untied-classifier", NULL, "1: the classifier is not the embedding")      \
    H("Model: norms and residual stream")                                                          \
    X(norm, "norm", NULL, "norms: rmsnorm, layernorm")                                             \
    X(parallel_residual, "parallel-residual", NULL, "1: attention and FFN read the same")          \
    H("Model: attention")                                                                          \
    X(num_key_value_heads, "num-key-value-heads", NULL, "heads of keys and values; 0: all")        \
    X(qk_norm, "qk-norm", NULL, "norm of queries and keys: head, full, none")                      \
    X(clip_qkv, "clip-qkv", NULL, "limit of queries, keys and values; 0: none")                    \
    X(attention_bias, "attention-bias", NULL, "1: queries, keys and values have biases")           \
    X(attention_out_bias, "attention-out-bias", NULL,                                              \
      "1: the projection behind attention has one")                                                \
    X(attention_sinks, "attention-sinks", NULL, "1: each head has a sink")                         \
    X(sliding_window, "sliding-window", NULL, "tokens that a token sees; 0: all")                  \
    X(sliding_layers, "sliding-layers", NULL, "layers with that window, as --ffn-layers")          \
    H("Model: positions")                                                                          \
    X(positions, "positions", NULL, "positions: rotary, learned")                                  \
    X(position_offset, "position-offset", NULL, "row of the first learned position")               \
    X(rotary_dim, "rotary-dim", NULL, "numbers of a head that turn; 0: all")                       \
    X(rope_interleaved, "rope-interleaved", NULL, "1: neighbours turn together, not halves")       \
    X(rope_scaling, "rope-scaling", NULL, "none, linear, llama3, yarn")                            \
    X(rope_factor, "rope-factor", NULL, "factor of that scaling")                                  \
    X(rope_low_freq_factor, "rope-low-freq-factor", NULL, "of llama3")                             \
    X(rope_high_freq_factor, "rope-high-freq-factor", NULL, "of llama3")                           \
    X(rope_beta_fast, "rope-beta-fast", NULL, "of yarn")                                           \
    X(rope_beta_slow, "rope-beta-slow", NULL, "of yarn")                                           \
    X(rope_attention_factor, "rope-attention-factor", NULL, "of yarn; 0: by the factor")           \
    X(rope_original_positions, "rope-original-positions", NULL, "of llama3 and yarn")              \
    X(rope_exact_borders, "rope-exact-borders", NULL, "of yarn: 1: borders are not rounded")       \
    H("Model: feed-forward layer")                                                                 \
    X(ffn, "ffn", NULL, "feed-forward family")                                                     \
    X(ffn_router, "ffn-router", NULL, "how neurons are selected")                                  \
    X(ffn_activation, "ffn-activation", NULL, "activation")                                        \
    X(ffn_intermediate_size, "ffn-intermediate-size", NULL,                                        \
      "width F of a dense layer or one expert")                                                    \
    X(ffn_experts, "ffn-experts", NULL, "experts E")                                               \
    X(ffn_channels, "ffn-channels", NULL, "channels C")                                            \
    X(ffn_neurons, "ffn-neurons", NULL, "neurons N of a pool")                                     \
    X(ffn_key_size, "ffn-key-size", NULL, "router bottleneck K")                                   \
    X(ffn_top_k, "ffn-top-k", NULL, "neurons a channel, or experts, that a token selects")         \
    H("Model: memories of cells")                                                                  \
    X(ffn_block_size, "ffn-block-size", "block-size", "cells g of a block; 0: F")                  \
    X(ffn_memory_factor, "ffn-memory-factor", "memory-factor",                                     \
      "cells of a memory, in multiples E of F")                                                    \
    X(ffn_active_neurons, "ffn-active-neurons", "active-neurons",                                  \
      "cells k that a token reads; 0: F")                                                          \
    X(ffn_gate, "ffn-gate", "gate", "what the score does")                                         \
    X(ffn_hash_seed, "ffn-hash-seed", "hash-seed", "seed of the blocks of a token")                \
    H("Model: gates and queries")                                                                  \
    X(ffn_normaliser, "ffn-normaliser", NULL, "gates from selected scores")                        \
    X(ffn_query_norm, "ffn-query-norm", NULL, "norm of queries")                                   \
    X(ffn_query_bias, "ffn-query-bias", NULL, "whether queries have a bias: 0 or 1")               \
    H("Model: which layers are sparse")                                                            \
    X(ffn_layers, "ffn-layers", NULL, "sparse layers, from 1: all, every:N, or a list: 1,3-5")     \
    X(ffn_dense, "ffn-dense", NULL, "family of the other layers: mlp or glu")                      \
    X(ffn_dense_size, "ffn-dense-size", NULL, "their width; 0: F, or 4 d where there is no F")     \
    X(ffn_share_pool, "ffn-share-pool", NULL, "1: one memory for all sparse layers")               \
    H("Model: routers of experts and blocks")                                                      \
    X(ffn_score, "ffn-score", NULL, "scores of the router")                                        \
    X(ffn_renormalise, "ffn-renormalise", NULL,                                                    \
      "1: scores of the selected are divided by their sum")                                        \
    X(ffn_shared_experts, "ffn-shared-experts", NULL, "experts that every token takes")            \
    X(ffn_capacity_factor, "ffn-capacity-factor", NULL,                                            \
      "a block takes that many times its share of tokens in training; 0: all")                     \
    X(ffn_balance_loss, "ffn-balance-loss", NULL, "weight of the balance loss")                    \
    X(ffn_z_loss, "ffn-z-loss", NULL, "weight of the z loss")                                      \
    X(ffn_bias_rate, "ffn-bias-rate", NULL,                                                        \
      "step of the bias that balances experts without a loss")                                     \
    H("Model: form of dense layers and experts")                                                   \
    X(ffn_bias, "ffn-bias", NULL, "1: layers or experts have biases")                              \
    X(ffn_glu_interleaved, "ffn-glu-interleaved", NULL, "1: gates and values lie in turns")        \
    X(ffn_router_bias, "ffn-router-bias", NULL, "1: the router has a bias")                        \
    X(ffn_shared_size, "ffn-shared-size", NULL, "width of shared experts; 0: that of as many")     \
    X(ffn_shared_gate, "ffn-shared-gate", NULL, "1: shared experts have a gate")

#define CLI_CONFIG_INDEX(field, option, second, what) CLI_CONFIG_##field,
#define CLI_CONFIG_NO_INDEX(title)
enum { CLI_CONFIG_LIST(CLI_CONFIG_INDEX, CLI_CONFIG_NO_INDEX) CLI_CONFIG_FIELDS };

// Where the options below put their text; NULL: not given.
extern const char *cli_config_values[CLI_CONFIG_FIELDS];

#define CLI_CONFIG_OPTION(field, option, second, what)                                             \
    ,                                                                                              \
    {                                                                                              \
        .name = option, .also = second, .kind = CLI_STRING,                                        \
        .value = &cli_config_values[CLI_CONFIG_##field], .argument = "X", .shown = "",             \
        .help = what, .describe = cli_config_describe                                              \
    }
#define CLI_CONFIG_HEADING(title)                                                                  \
    ,                                                                                              \
    {                                                                                              \
        .name = "", .kind = CLI_HEADING, .help = title                                             \
    }
#define CLI_CONFIG_OPTIONS                                                                         \
    {.name = "",                                                                                   \
     .kind = CLI_HEADING,                                                                          \
     .help = "Model (defaults from the preset; with --ffn FAMILY --help shows that "               \
             "family's)"} CLI_CONFIG_LIST(CLI_CONFIG_OPTION, CLI_CONFIG_HEADING)

// For --help: what a field takes and begins with. Where a family was named by --ffn, fields that it
// does not have are left out; else the families that have a field are told.
bool cli_config_describe(const cli_command *command, const cli_option *option, char *text,
                         size_t capacity);

// Changes the preset's family when --ffn was given, then sets the other fields that were. seq_len:
// of --seq-len, 0 when not given.
sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err);

// The sizes of a configuration that its family has, by their names; NULL when out of memory.
json_t *cli_config_json(const sg_config *config);

#endif
