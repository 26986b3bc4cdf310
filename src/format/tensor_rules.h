// What checkpoints of other programs call their tensors, and how ours are cut from them: rules,
// which model/tensor_map.c turns into pieces.
#ifndef SG_FORMAT_TENSOR_RULES_H
#define SG_FORMAT_TENSOR_RULES_H

#include <stdbool.h>

typedef enum sg_rule_how {
    SG_RULE_SAME,              // as it is
    SG_RULE_TRANSPOSED,        // (in, out) for (out, in)
    SG_RULE_THIRD,             // ours is the part-th of three runs of rows: q, k, v
    SG_RULE_THIRD_TRANSPOSED,  // of three runs of columns
    SG_RULE_HEAD_THIRD,        // the same for each head on its own
    SG_RULE_ROW,               // a vector for our one row
    SG_RULE_HALF,              // theirs is the part-th half of ours: gates, values
    SG_RULE_EXPERT,            // a tensor for each expert
    SG_RULE_EXPERT_HALF,       // two of them, each the part-th half of an expert
    SG_RULE_STACKED_HALF,      // the same, theirs one tensor (E, out / 2, in) each
    SG_RULE_EXPERT_TRANSPOSED, // one tensor (E, in, out) for (E, out, in)
    SG_RULE_MXFP4              // NAME_blocks (…, in/32, 16) and NAME_scales (…, in/32) of bytes
} sg_rule_how;

// A name of ours and one of theirs, with {l} for the layer and {e} for the expert.
typedef struct sg_tensor_rule {
    const char *ours, *theirs;
    sg_rule_how how;
    int part;
} sg_tensor_rule;

typedef struct sg_tensor_map {
    const sg_tensor_rule *rules[4]; // lists looked through in turn, each ended by a rule without
                                    // names; none: same names
    const char *prefixes[3];        // what may stand before their names, the first when writing
    const char *probe;              // a tensor that tells which prefix it is
    const char *skips[6];           // ends of names of buffers
    bool is_gguf;
} sg_tensor_map;

// By what other types have in common; docs/CHECKPOINTS.md lists the types.
extern const sg_tensor_map sg_map_same; // ours: each tensor is named as its parameter
extern const sg_tensor_map sg_map_llama;
extern const sg_tensor_map sg_map_experts;    // Llama's with experts
extern const sg_tensor_map sg_map_one_shared; // and with one that all tokens take
extern const sg_tensor_map sg_map_mixtral;
extern const sg_tensor_map sg_map_gpt_oss;
extern const sg_tensor_map sg_map_gpt2;
extern const sg_tensor_map sg_map_gpt_neox;
extern const sg_tensor_map sg_map_opt;
extern const sg_tensor_map sg_map_gguf;
extern const sg_tensor_map sg_map_gguf_gpt2; // as that architecture is written
extern const sg_tensor_map sg_map_llama2c;

#endif
