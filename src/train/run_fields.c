// The options of training, each stated once: default, range, help, whether a run that goes on may
// change it. To add one: a member of sg_train_options, a row here, and its use. Reading and writing
// run.json, the option of the command, its help and its check go by the row.
#include "train/run_fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sgatlin_train.h"

#define OPTION(member, ...)                                                                        \
    {                                                                                              \
        .field = { SG_FIELD_OF(sg_train_options, member), __VA_ARGS__ }                            \
    }
// One that older runs do not say; they had `before`.
#define LATER(member, before, ...)                                                                 \
    {                                                                                              \
        .field = {SG_FIELD_OF(sg_train_options, member), __VA_ARGS__}, .older = before             \
    }
// One that came after sweeps had named their runs, whose names are to hold.
#define NEWER(member, before, ...)                                                                 \
    {                                                                                              \
        .field = {SG_FIELD_OF(sg_train_options, member), __VA_ARGS__}, .older = before,            \
        .unnamed = true                                                                            \
    }
#define RUN .group = "Run"
#define BUDGET                                                                                     \
    .group = "Budget (exactly one)", .initial = "0", .shown = "",                                  \
    .flags = SG_FIELD_BUDGET | SG_FIELD_CHANGES
#define RECIPE    .group = "Recipe"
#define PARTS     .group = "Parts of a model"
#define SPARSITY  .group = "Sparsity by training"
#define WATCHING  .group = "Watching and saving", .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE
#define OF_PRESET .shown = "preset's"

static const sg_run_field fields[] = {
    OPTION(seed, RUN, .argument = "N", .low = 0, .high = 9e18, .initial = "1",
           .flags = SG_FIELD_BESIDE, .help = "of weights, data order and samples"),
    LATER(init, "", RUN, .argument = "MODEL", .shown = "",
          .help = "go on from a model in place of fresh weights: any that opens, or a run"),
    LATER(force_tokenizer, "false", RUN, .flags = SG_FIELD_CHANGES,
          .help =
              "train --init on data that were packed with another tokenizer than the model's too"),

    OPTION(steps, BUDGET, .argument = "N", .low = 1, .high = (double)SG_TRAIN_STEPS_MAX,
           .help = "updates"),
    OPTION(tokens, BUDGET, .argument = "N", .low = 1, .high = 1e18,
           .help = "tokens in rows of training data"),
    OPTION(flops, BUDGET | SG_FIELD_BESIDE, .argument = "X", .low = 1, .high = 1e30,
           .help = "published count, forward and backward: 1e15"),
    OPTION(epochs, BUDGET, .argument = "X", .low = 1e-9, .high = 1e9,
           .help = "passes over the training data"),

    LATER(recipe, "", .group = NULL),
    OPTION(batch_size, RECIPE, OF_PRESET, .argument = "B", .low = 1, .high = 1 << 20,
           .help = "sequences of one update"),
    OPTION(grad_accum, RECIPE, .argument = "N", .low = 1, .high = 1 << 20, .initial = "1",
           .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE,
           .help = "micro-batches an update is computed in: less memory, same result"),
    OPTION(lr, RECIPE, OF_PRESET, .argument = "X", .low = 0, .high = 1e3, .flags = SG_FIELD_CHANGES,
           .help = "peak learning rate"),
    OPTION(schedule, RECIPE, .argument = "NAME", .initial = "sqrt",
           .choices = "constant|sqrt|linear|cosine|cosine_reference", .flags = SG_FIELD_CHANGES,
           .help = "constant, sqrt, linear, cosine or cosine_reference, after the warm-up "
                   "(docs/MODEL.md)"),
    OPTION(warmup_steps, RECIPE, .argument = "N", .low = 0, .high = (double)SG_TRAIN_STEPS_MAX,
           .shown = "preset's, at most half of the steps", .flags = SG_FIELD_CHANGES,
           .help = "steps of linear warm-up"),
    OPTION(warmup_share, .group = NULL, .low = 0, .high = 1, .initial = "0.5"),
    OPTION(decay_fraction, RECIPE, OF_PRESET, .argument = "X", .low = 0, .high = 1,
           .flags = SG_FIELD_CHANGES, .help = "share of the steps that decay (sqrt, linear)"),
    OPTION(weight_decay, RECIPE, OF_PRESET, .argument = "X", .low = 0, .high = 1e3,
           .help = "decoupled; not on norms and biases"),
    OPTION(clip, RECIPE, OF_PRESET, .argument = "X", .low = 0, .high = 1e9,
           .flags = SG_FIELD_CHANGES, .help = "largest global gradient norm; 0: none"),
    OPTION(beta1, RECIPE, .argument = "X", .low = 0, .high = 0.999999, .initial = "0.9",
           .help = "AdamW's first moment"),
    OPTION(beta2, RECIPE, .argument = "X", .low = 0, .high = 0.99999999, .initial = "0.999",
           .help = "AdamW's second moment"),
    OPTION(eps, RECIPE, .argument = "X", .low = 1e-30, .high = 1, .initial = "1e-08",
           .help = "AdamW's epsilon"),
    LATER(optimizer_rows, "exact", RECIPE, .argument = "MODE", .choices = "exact|lazy|auto",
          .initial = "auto",
          .help =
              "neurons that a step does not read: exact updates them at once, lazy when they are "
              "read again, auto is lazy for tables with as many rows as a step makes hits"),
    OPTION(
        spike_limit, RECIPE, .argument = "X", .low = 0, .high = 1e9, .initial = "3",
        .flags = SG_FIELD_CHANGES,
        .help =
            "guard, on by default: skip updates whose loss is X nats above the running mean, and "
            "stop after ten in a row; 0: never"),
    LATER(
        table_dtype, "f32", RECIPE, .argument = "TYPE", .choices = "f32|bf16", .initial = "f32",
        .help =
            "f32 or bf16: what tables of neurons are read in; with bf16 the f32 ones stay and are "
            "what is updated and saved"),
    LATER(compute, "f32", RECIPE, .argument = "KIND", .choices = "f32|bf16x3|bf16",
          .initial = "f32", .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE,
          .help =
              "of dense products, forward and backward: f32, bf16x3 (each operand as the sum of "
              "two bf16) or bf16, which keeps activations in bf16 too; weights, sums and "
              "gradients are f32 in all"),
    LATER(logits_compute, "f32", RECIPE, .argument = "KIND", .choices = "f32|bf16x3|bf16",
          .initial = "f32", .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE,
          .help = "of the classifier's products alone"),
    LATER(memory_path, "auto", RECIPE, .argument = "WAY", .choices = "auto|rows|dense",
          .initial = "auto", .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE,
          .help = "how memories of single neurons are read: rows of the selected, dense (all by "
                  "products) or auto, by shape, compute and what the processor has"),
    OPTION(recompute, RECIPE, .flags = SG_FIELD_CHANGES | SG_FIELD_BESIDE,
           .help = "compute activations twice instead of keeping them"),

    LATER(train_only, "", PARTS, .argument = "NAMES", .shown = "all",
          .help =
              "patterns of parameters, joined by commas, * for any text: all others stay bit for "
              "bit and take no memory for gradients and moments"),
    LATER(lora_rank, "0", PARTS, .argument = "R", .low = 1, .high = 1 << 16, .initial = "0",
          .shown = "none",
          .help = "train low-rank adapters beside the weights of --init, which stay as they are"),
    LATER(lora_alpha, "0", PARTS, .argument = "A", .low = 1e-9, .high = 1e6, .initial = "0",
          .shown = "R", .help = "the adapters' products count A / R"),
    LATER(lora_targets, "", PARTS, .argument = "NAMES", .shown = "none",
          .help =
              "matrices that get one, by the checkpoint's names: ends such as q_proj,v_proj, or "
              "patterns with *"),
    LATER(lora_merge, "false", PARTS,
          .help = "save the model with the adapters added to its weights too"),

    NEWER(relufy, "false", SPARSITY,
          .help = "relu in place of the smooth activation of --init: gelu and swish become relu, "
                  "gated units reglu"),
    NEWER(sparsity_term, "none", SPARSITY, .argument = "TERM",
          .choices = "none|l1|hoyer|clamped|clamped_hoyer", .initial = "none",
          .help = "term of the loss that makes activations of dense layers sparse: l1 or hoyer of "
                  "what is behind the activation, of a gated layer of its gates; clamped and "
                  "clamped_hoyer of what is above the floor before it"),
    NEWER(sparsity_modules, "ffn", SPARSITY, .argument = "WHAT", .choices = "ffn|attention|both",
          .initial = "ffn",
          .help = "what has the term: feed-forward layers, the MLPs of attention "
                  "(--attention-mlp-q, sparsify --method attention-mlp), or both, a mean each"),
    NEWER(sparsity_weight, "0", SPARSITY, .argument = "X", .low = 0, .high = 1e12, .initial = "0",
          .flags = SG_FIELD_CHANGES, .help = "of the term; 0: it is measured alone"),
    NEWER(sparsity_ramp, "constant", SPARSITY, .argument = "RAMP",
          .choices = "constant|linear|warmup", .initial = "constant", .flags = SG_FIELD_CHANGES,
          .help = "how the weight moves: constant, linear (from 0) or warmup (from 0 over half of "
                  "the steps)"),
    NEWER(sparsity_floor, "-10", SPARSITY, .argument = "X", .low = -1e6, .high = 1e6,
          .initial = "-10", .help = "of the clamped terms"),
    NEWER(lte_stage, "0", SPARSITY, .argument = "N", .low = 0, .high = 2, .initial = "0",
          .shown = "none",
          .help = "of LTE, for layers in blocks with sigmoid routers: 1 learns which blocks to "
                  "read, 2 trains the model to read only those; 0: none"),
    NEWER(lte_efficiency, "0", SPARSITY, .argument = "X", .low = 0, .high = 1e6, .initial = "0",
          .flags = SG_FIELD_CHANGES,
          .help = "weight of the mean square of the scores in stage 1: the more, the fewer blocks"),
    NEWER(lte_separability, "0.5", SPARSITY, .argument = "X", .low = 0, .high = 1e6,
          .initial = "0.5", .flags = SG_FIELD_CHANGES,
          .help = "weight of what keeps scores away from 1/2 in stage 1"),
    NEWER(lte_least, "0.05", SPARSITY, .argument = "X", .low = 1e-6, .high = 0.5, .initial = "0.05",
          .help = "how near to 1/2 that counts: 1 / max((G - 1/2)^2, X^2)"),

    OPTION(log_every, WATCHING, .argument = "N", .low = 1, .high = 1e12, .initial = "0",
           .shown = "1", .help = "steps between records"),
    OPTION(eval_every, WATCHING, .argument = "N", .low = 0, .high = 1e12, .shown = "at the end",
           .help = "steps between evaluations; 0: at the end alone"),
    OPTION(eval_sequences, WATCHING, .argument = "N", .low = 0, .high = 1e12, .initial = "256",
           .help = "sequences of those; 0: the whole split. The last evaluation takes all"),
    OPTION(checkpoint_every, WATCHING, .argument = "N", .low = 0, .high = 1e12, .shown = "by time",
           .help = "steps between checkpoints, besides; 0: none by steps"),
    LATER(checkpoint_minutes, "5", WATCHING, .argument = "X", .low = 0, .high = 1e9, .initial = "5",
          .help = "minutes between checkpoints; 0: only by steps and at the end. No bit of the run "
                  "depends on them"),
    OPTION(keep_last, WATCHING, .argument = "N", .low = 1, .high = 1e6, .initial = "2",
           .help = "checkpoints kept besides the best"),
    OPTION(sample_every, WATCHING, .argument = "N", .low = 0, .high = 1e12, .shown = "never",
           .help = "steps between samples of text; 0: never"),
    OPTION(sample_prompt, WATCHING, .argument = "TEXT", .shown = "none",
           .help = "what samples begin with"),
};

enum { field_count = sizeof fields / sizeof *fields };

const sg_run_field *sg_run_field_at(size_t index)
{
    return index < field_count ? &fields[index] : NULL;
}

const sg_run_field *sg_run_field_find(const char *name)
{
    for (size_t i = 0; i < field_count; i++)
        if (strcmp(fields[i].field.name, name) == 0) return &fields[i];
    return NULL;
}

bool sg_run_field_is_older(const sg_run_field *f, const sg_train_options *o)
{
    sg_train_options before = {0};
    if (f->older == NULL ||
        sg_field_set(&f->field, f->field.name, f->older, 0, INT64_MAX, &before, NULL) != SG_OK)
        return false;
    return memcmp(sg_field_of(&f->field, o), sg_field_of(&f->field, &before), f->field.bytes) == 0;
}

const sg_field *sg_train_field_at(size_t index)
{
    return index < field_count ? &fields[index].field : NULL;
}

const sg_field *sg_train_field(const char *name)
{
    const sg_run_field *row = sg_run_field_find(name);
    return row != NULL ? &row->field : NULL;
}

sg_status sg_train_choice(const char *name, const char *text, size_t *number, sg_error *err)
{
    const sg_field *field = sg_train_field(name);
    char list[128], option[SG_RUN_OPTION];
    size_t bytes;
    *number = sg_field_choice_of(field, text);
    sg_field_choice(field, *number, &bytes);
    if (bytes > 0) return SG_OK;
    sg_field_range(field, list, sizeof list);
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected one of %s",
                   sg_field_option(field, option, sizeof option), text, list);
}

sg_status sg_train_options_set(sg_train_options *options, const char *name, const char *value,
                               sg_error *err)
{
    const sg_field *field = sg_train_field(name);
    if (field == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such option of a run", name);
    char option[SG_RUN_OPTION];
    sg_field_option(field, option, sizeof option);
    SG_TRY(sg_field_set(field, option, value, INT64_MIN, INT64_MAX, options, err));
    if (field->offset == offsetof(sg_train_options, warmup_steps))
        options->warmup_share = 1; // as many as were asked for
    return SG_OK;
}
