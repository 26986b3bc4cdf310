// Low-rank adapters (Hu et al. 2021): beside a matrix W of a model, which stays as it is, a product
// of two small ones, W + scale B A. They belong to matrices of the checkpoint, whose names they
// carry; a parameter of ours may be a part of one of those (GPT-2's q of c_attn) or made of several
// (gate_up_proj of gate_proj and up_proj), so an adapter is used by spans of rows.
#ifndef SG_MODEL_ADAPTERS_H
#define SG_MODEL_ADAPTERS_H

#include "ffn/params.h"
#include "op/op.h"

typedef struct sg_adapter {
    char module[SG_PARAM_NAME]; // the checkpoint's name for the matrix, without ".weight"
    int64_t rank, in, out;
    bool transposed; // stored (in, out) there
    double scale;
    size_t a, b; // parameters A (rank, in), B (out, rank)
} sg_adapter;

typedef struct sg_adapter_use {
    size_t parameter, adapter;
    size_t first_span, span_count;
} sg_adapter_use;

typedef struct sg_adapters {
    size_t first; // parameter; those before it are the model's own
    sg_adapter *items;
    sg_adapter_use *uses;
    sg_low_rank_span *spans;
    size_t count, use_count, span_count;
    size_t capacity, use_capacity, span_capacity;
    sg_param_block storage; // of A and B
} sg_adapters;

// What a matrix is to the model.
typedef enum sg_adapter_place {
    SG_ADAPTER_PLAIN, // tokens are multiplied with it as a whole
    SG_ADAPTER_HEAD,  // so they are, and it is the classifier
    SG_ADAPTER_OTHER  // a table of experts or neurons, an embedding: must not be chosen
} sg_adapter_place;

// Which matrices are to have one.
typedef struct sg_adapter_choice {
    // The rank of one for a matrix, 0: none; *scale is what it is multiplied with.
    int64_t (*rank)(void *user, const char *module, sg_adapter_place place, double *scale);
    void *user;
    const char *what; // what errors call the choice
} sg_adapter_choice;

// The parameters of adapters are called as in files of the library PEFT.
#define SG_ADAPTER_PREFIX "base_model.model."
#define SG_ADAPTER_A      ".lora_A.weight"
#define SG_ADAPTER_B      ".lora_B.weight"

// Adds parameters A and B, all 0, behind those of a model that has none yet; the model is as it was
// on failure. SG_ERR_MISMATCH: none is chosen; SG_ERR_UNSUPPORTED: a chosen matrix is not
// multiplied with as a whole (a table of experts or neurons, an embedding).
sg_status sg_model_add_adapters(sg_model *model, const sg_adapter_choice *choice, sg_error *err);
// Lets go of them. The model must not be in use.
void sg_model_drop_adapters(sg_model *model);
// B = 0 and A uniform within ±1/sqrt(in), as the library PEFT begins; a function of the seed.
void sg_model_init_adapters(sg_model *model, uint64_t seed);
// Adds the products to the matrices, which must be f32 and writable, and drops the adapters.
sg_status sg_model_merge_adapters(sg_model *model, sg_error *err);

#endif
