#include "cli/model_options.h"

#include <string.h>

const char *cli_config_values[CLI_CONFIG_FIELDS];

sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err)
{
    sg_status status = SG_OK;
    bool positions = false;
    for (int pass = 0; pass < 2 && status == SG_OK; pass++)
        for (size_t i = 0; i < CLI_CONFIG_FIELDS && status == SG_OK; i++) {
            const char *name = sg_config_field_at(i)->name, *value = cli_config_values[i];
            if (value == NULL) continue;
            // The family first: it decides what the other sizes are changed from.
            if ((strcmp(name, "ffn") == 0) != (pass == 0)) continue;
            if (pass == 0) {
                status = sg_preset_set_family(preset, value, err);
                continue;
            }
            status = sg_config_set(&preset->config, name, value, err);
            if (strcmp(name, "max_position_embeddings") == 0) positions = true;
            if (strcmp(name, "hidden_size") == 0) {
                // Heads follow the width unless they are given too.
                if (cli_config_values[3] == NULL) preset->config.num_attention_heads = 0;
            }
        }
    if (status != SG_OK) return status;
    if (seq_len > 0) preset->config.max_position_embeddings = seq_len;
    if (seq_len > 0 || positions) preset->seq_len = preset->config.max_position_embeddings;
    return SG_OK;
}

json_t *cli_config_json(const sg_config *c)
{
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "vocab_size",
                  (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size,
                  "num_hidden_layers", (json_int_t)c->num_hidden_layers, "num_attention_heads",
                  (json_int_t)c->num_attention_heads, "head_dim", (json_int_t)c->head_dim,
                  "max_position_embeddings", (json_int_t)c->max_position_embeddings, "ffn", c->ffn,
                  "ffn_router", c->ffn_router, "ffn_activation", c->ffn_activation);
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"ffn_intermediate_size", c->ffn_intermediate_size},
                 {"ffn_experts", c->ffn_experts},
                 {"ffn_channels", c->ffn_channels},
                 {"ffn_neurons", c->ffn_neurons},
                 {"ffn_key_size", c->ffn_key_size},
                 {"ffn_top_k", c->ffn_top_k}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value > 0)
            json_object_set_new(object, sizes[i].name, json_integer(sizes[i].value));
    return object;
}
