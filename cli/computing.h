// How dense products are computed, as options of the verbs that read a model, and the words for it
// of all verbs: what was asked for, and what this processor makes of it.
#ifndef SGATLIN_CLI_COMPUTING_H
#define SGATLIN_CLI_COMPUTING_H

#include "cli/cli.h"

// Names of sg_compute_kind_name.
typedef struct cli_computing {
    const char *compute, *logits;
    double threshold, active; // of blocks that are read, where they are given
} cli_computing;
extern cli_computing cli_computing_given; // one command runs in a process; f32 at first

#define CLI_COMPUTING_PROMPTS                                                                      \
    " with a prompt, for the tokens behind it come one by one and are computed in f32"

// Rows of an option table.
#define CLI_COMPUTING_OPTIONS(of)                                                                  \
    {.name = "compute",                                                                            \
     .kind = CLI_STRING,                                                                           \
     .value = &cli_computing_given.compute,                                                        \
     .argument = "KIND",                                                                           \
     .choices = "f32|bf16x3|bf16",                                                                 \
     .help = "of dense products" of ": f32, bf16x3 (each operand as the sum of two bf16) or bf16 " \
             "(operands rounded to it)"},                                                          \
        {.name = "sparsify-threshold",                                                             \
         .kind = CLI_DOUBLE,                                                                       \
         .value = &cli_computing_given.threshold,                                                  \
         .argument = "X",                                                                          \
         .shown = "the model's",                                                                   \
         .low = -1e12,                                                                             \
         .high = 1e12,                                                                             \
         .help = "of family moefied: ffn_threshold; where inputs are left out, what their "        \
                 "thresholds are "                                                                 \
                 "multiplied by"},                                                                 \
        {.name = "sparsify-active",                                                                \
         .kind = CLI_DOUBLE,                                                                       \
         .value = &cli_computing_given.active,                                                     \
         .argument = "SHARE",                                                                      \
         .shown = "the model's",                                                                   \
         .low = 0,                                                                                 \
         .high = 1,                                                                                \
         .help =                                                                                   \
             "of family moefied: of the blocks of a layer, those that a token reads, at most"},    \
    {                                                                                              \
        .name = "logits-compute", .kind = CLI_STRING, .value = &cli_computing_given.logits,        \
        .argument = "KIND", .choices = "f32|bf16x3|bf16",                                          \
        .help = "of the classifier's products alone"                                               \
    }

// The kinds that were given.
sg_status cli_computing_kinds(sg_compute_kind *compute, sg_compute_kind *logits, sg_error *err);
// The model computes so, and the command says so where the processor has no units for it.
sg_status cli_computing_set(const cli_args *args, sg_context *context, sg_model *model,
                            sg_error *err);
// What decoding takes beside the weights where inputs are left out; otherwise nothing.
sg_status cli_columns_tell(const cli_args *args, const sg_model *model, sg_error *err);
// A warning where products of these kinds are computed in f32; otherwise nothing.
void cli_computing_tell(const cli_args *args, const sg_context *context, sg_compute_kind compute,
                        sg_compute_kind logits);
// Members of a result: compute, logits_compute, units and logits_units (null: f32 computes).
// object may be NULL.
void cli_computing_json(json_t *object, const sg_context *context, sg_compute_kind compute,
                        sg_compute_kind logits);
// "bf16, logits f32, by amx"; returns text.
const char *cli_computing_text(const sg_context *context, sg_compute_kind compute,
                               sg_compute_kind logits, char *text, size_t capacity);
// A line of a result as text, "LABEL bf16, …", where not all is f32.
void cli_computing_print(const char *label, const sg_context *context, sg_compute_kind compute,
                         sg_compute_kind logits);

#endif
