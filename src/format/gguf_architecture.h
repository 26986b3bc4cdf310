// What architectures of GGUF differ in, beside their keys: one row of a table each, for reading and
// writing. llama.cpp has this in its code and not in the file.
#ifndef SG_FORMAT_GGUF_ARCHITECTURE_H
#define SG_FORMAT_GGUF_ARCHITECTURE_H

#include "format/gguf_config.h"
#include "format/tensor_rules.h"

// Experts: softmax over all, the best by it.
typedef enum sg_gguf_experts {
    SG_GGUF_EXPERTS_NEVER,
    SG_GGUF_EXPERTS_MAYBE,
    SG_GGUF_EXPERTS_ALWAYS
} sg_gguf_experts;

// Experts of every token: none, one with a gate, or as many as the file says, without.
typedef enum sg_gguf_shared {
    SG_GGUF_SHARED_NONE,
    SG_GGUF_SHARED_GATE,
    SG_GGUF_SHARED_COUNT
} sg_gguf_shared;

// Biases of queries, keys and values, when a file is written.
typedef enum sg_gguf_biases {
    SG_GGUF_BIASES_NONE,
    SG_GGUF_BIASES_ALWAYS,
    SG_GGUF_BIASES_FREE // as the model has them, also behind attention
} sg_gguf_biases;

struct sg_gguf_architecture {
    const char *name, *qk_norm;
    const char *activation;   // NULL: gates of SwiGLU; else that of a plain dense layer
    const sg_tensor_map *map; // names that its tensors are written with
    bool gpt2;                // layer norms, biases, learned positions
    bool neighbours;          // are rotated together; else halves of a head
    bool freqs;               // Llama 3's scaling of positions is a tensor
    // Heads make up the width, and the classifier is always a tensor of its own.
    bool plain;
    sg_gguf_biases biases;
    sg_gguf_experts experts;
    bool renormalise; // shares of a token add up to 1
    bool width;       // experts have a width of their own
    sg_gguf_shared shared;
};

// NULL: there is none.
const sg_gguf_architecture *sg_gguf_architecture_find(const char *name);
// "llama, qwen2, … or deepseek"
const char *sg_gguf_architecture_names(char *text, size_t capacity);

#endif
