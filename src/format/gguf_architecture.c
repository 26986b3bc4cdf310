// The table, and which of its rows a configuration is nearest to.
#include "format/gguf_architecture.h"

#include <stdio.h>
#include <string.h>

static const sg_gguf_architecture gguf_known[] = {
    {.name = "llama",
     .qk_norm = "none",
     .map = &sg_map_gguf,
     .neighbours = true,
     .freqs = true,
     .biases = SG_GGUF_BIASES_FREE,
     .experts = SG_GGUF_EXPERTS_MAYBE,
     .renormalise = true},
    {.name = "qwen2", .qk_norm = "none", .map = &sg_map_gguf, .biases = SG_GGUF_BIASES_ALWAYS},
    {.name = "qwen3", .qk_norm = "head", .map = &sg_map_gguf},
    {.name = "arcee",
     .qk_norm = "none",
     .activation = "relu2",
     .map = &sg_map_gguf,
     .neighbours = true},
    {.name = "gpt2",
     .qk_norm = "none",
     .activation = "gelu",
     .map = &sg_map_gguf_gpt2,
     .gpt2 = true,
     .plain = true},
    {.name = "qwen2moe",
     .qk_norm = "none",
     .map = &sg_map_gguf,
     .plain = true,
     .biases = SG_GGUF_BIASES_ALWAYS,
     .experts = SG_GGUF_EXPERTS_ALWAYS,
     .width = true,
     .shared = SG_GGUF_SHARED_GATE},
    {.name = "qwen3moe",
     .qk_norm = "head",
     .map = &sg_map_gguf,
     .experts = SG_GGUF_EXPERTS_ALWAYS,
     .renormalise = true,
     .width = true},
    {.name = "olmoe",
     .qk_norm = "full",
     .map = &sg_map_gguf,
     .plain = true,
     .experts = SG_GGUF_EXPERTS_ALWAYS},
    {.name = "deepseek",
     .qk_norm = "none",
     .map = &sg_map_gguf,
     .neighbours = true,
     .plain = true,
     .experts = SG_GGUF_EXPERTS_ALWAYS,
     .width = true,
     .shared = SG_GGUF_SHARED_COUNT},
};
enum { gguf_known_count = sizeof gguf_known / sizeof *gguf_known };

const sg_gguf_architecture *sg_gguf_architecture_find(const char *name)
{
    for (size_t i = 0; i < gguf_known_count; i++)
        if (strcmp(gguf_known[i].name, name) == 0) return &gguf_known[i];
    return NULL;
}

const char *sg_gguf_architecture_names(char *text, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < gguf_known_count && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s",
                                 i == 0                      ? ""
                                 : i + 1 == gguf_known_count ? " or "
                                                             : ", ",
                                 gguf_known[i].name);
    return text;
}

static const char *gguf_nearest(const sg_config *c)
{
    const bool head = strcmp(c->qk_norm, "head") == 0, full = strcmp(c->qk_norm, "full") == 0;
    if (strcmp(c->norm, "layernorm") == 0) return "gpt2";
    if (strcmp(c->ffn, "mlp") == 0) return "arcee";
    if (strcmp(c->ffn, "moe") != 0)
        return head ? "qwen3" : c->attention_bias && !c->attention_out_bias ? "qwen2" : "llama";
    if (c->ffn_shared_gate) return "qwen2moe";
    if (c->ffn_shared_experts > 0) return "deepseek";
    return head ? "qwen3moe" : full ? "olmoe" : "llama";
}

const sg_gguf_architecture *sg_gguf_config_architecture(const sg_config *c)
{
    return sg_gguf_architecture_find(gguf_nearest(c));
}
