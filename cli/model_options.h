// Every field of a model's configuration as an option, for the verbs that make or describe one.
#ifndef SGATLIN_CLI_MODEL_OPTIONS_H
#define SGATLIN_CLI_MODEL_OPTIONS_H

#include "cli/cli.h"

enum { CLI_CONFIG_FIELDS = 20 };

// Where the options below put their text; NULL: not given.
extern const char *cli_config_values[CLI_CONFIG_FIELDS];

#define CLI_CONFIG_OPTION(index, option, what)                                                     \
    {                                                                                              \
        .name = option, .kind = CLI_STRING, .value = &cli_config_values[index], .argument = "X",   \
        .shown = "", .help = what                                                                  \
    }

// The fields in the order of sg_config_field_at; a test holds the two lists together.
#define CLI_CONFIG_OPTIONS                                                                         \
    {.name = "", .kind = CLI_HEADING, .help = "Model (defaults from the preset)"},                 \
        CLI_CONFIG_OPTION(0, "vocab-size", "tokens in the vocabulary"),                            \
        CLI_CONFIG_OPTION(1, "hidden-size", "model width d"),                                      \
        CLI_CONFIG_OPTION(2, "num-hidden-layers", "layers"),                                       \
        CLI_CONFIG_OPTION(3, "num-attention-heads", "attention heads"),                            \
        CLI_CONFIG_OPTION(4, "head-dim", "width of a head"),                                       \
        CLI_CONFIG_OPTION(5, "max-position-embeddings",                                            \
                          "longest sequence; the same as --seq-len"),                              \
        CLI_CONFIG_OPTION(6, "rms-norm-eps", "epsilon of the norms"),                              \
        CLI_CONFIG_OPTION(7, "rope-theta", "base of the rotary positions"),                        \
        CLI_CONFIG_OPTION(8, "pad-token-id", "id of padding; train takes the data's"),             \
        CLI_CONFIG_OPTION(9, "eos-token-id", "id that ends a document; train takes the data's"),   \
        CLI_CONFIG_OPTION(10, "bos-token-id", "id before a sequence; train takes the data's"),     \
        CLI_CONFIG_OPTION(11, "ffn", "feed-forward family: mlp, glu, moe, peer, sgatlin"),         \
        CLI_CONFIG_OPTION(12, "ffn-router",                                                        \
                          "product_dense, product_key_value, dense or key_value"),                 \
        CLI_CONFIG_OPTION(13, "ffn-activation", "identity, gelu, relu or swish"),                  \
        CLI_CONFIG_OPTION(14, "ffn-intermediate-size", "width F of mlp, glu, one expert of moe"),  \
        CLI_CONFIG_OPTION(15, "ffn-experts", "experts E of moe"),                                  \
        CLI_CONFIG_OPTION(16, "ffn-channels", "channels C of peer and sgatlin"),                   \
        CLI_CONFIG_OPTION(17, "ffn-neurons", "neurons N of a pool"),                               \
        CLI_CONFIG_OPTION(18, "ffn-key-size", "router bottleneck K"),                              \
        CLI_CONFIG_OPTION(19, "ffn-top-k", "neurons a channel, or experts, that a token selects")

// Changes the preset's family when --ffn was given, then sets the other fields that were. seq_len:
// of --seq-len, 0 when not given.
sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err);

// The sizes of a configuration that its family has, by their names; NULL when out of memory.
json_t *cli_config_json(const sg_config *config);

#endif
