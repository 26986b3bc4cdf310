// One place for each option's default, rule and name in run.json.
#include "train/run_options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"
#include "model/model_file.h"
#include "text/unicode.h"
#include "train/evaluate.h"
#include "train/gradients.h"
#include "train/recipe.h"
#include "train/schedule.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

sg_train_options sg_train_options_from_preset(const sg_preset *preset)
{
    sg_train_options o = {.config = preset->config,
                          .seed = 1,
                          .batch_size = preset->batch_size,
                          .grad_accum = 1,
                          .lr = preset->lr,
                          .weight_decay = preset->weight_decay,
                          .clip = preset->clip,
                          .beta1 = 0.9,
                          .beta2 = 0.999,
                          .eps = 1e-8,
                          .optimizer_rows = "auto",
                          .schedule = "sqrt",
                          .warmup_steps = preset->warmup_steps,
                          .warmup_share = 0.5,
                          .decay_fraction = preset->decay_fraction,
                          .spike_limit = 3,
                          .checkpoint_minutes = 5,
                          .keep_last = 2};
    return o;
}

sg_status sg_train_options_from_model(const char *path, sg_train_options *options, sg_error *err)
{
    sg_model_file *file;
    // Rates of fine-tuning are a tenth and less of those from fresh weights.
    sg_preset recipe = {.batch_size = 8, .lr = 2e-5, .clip = 1, .warmup_steps = 100};
    if (strlen(path) >= sizeof options->init)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    SG_TRY(sg_model_file_open(path, &file, err));
    recipe.config = file->config;
    sg_model_file_close(file);
    *options = sg_train_options_from_preset(&recipe);
    options->warmup_share = 0.1;
    snprintf(options->schedule, sizeof options->schedule, "cosine");
    memcpy(options->init, path, strlen(path) + 1);
    return SG_OK;
}

// ---- rules ------------------------------------------------------------------------------------

static sg_status options_range(double value, const char *name, double low, double high,
                               sg_error *err)
{
    if (value >= low && value <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected %s to %s", name, SG_NUMBER(value),
                   SG_NUMBER(low), SG_NUMBER(high));
}

// What run.json is to hold.
static sg_status options_utf8(const char *text, size_t capacity, const char *name, sg_error *err)
{
    size_t bytes = strnlen(text, capacity);
    if (bytes < capacity && sg_utf8_valid_prefix(text, bytes) == bytes) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: expected UTF-8 of less than %zu bytes", name,
                   capacity);
}

static sg_status options_adapters(const sg_train_options *o, sg_error *err)
{
    SG_TRY(options_range((double)o->lora_rank, "lora-rank", 0, 1 << 16, err));
    SG_TRY(options_range(o->lora_alpha, "lora-alpha", 0, 1e6, err));
    const char *without = o->lora_alpha > 0            ? "lora-alpha"
                          : o->lora_targets[0] != '\0' ? "lora-targets"
                          : o->lora_merge              ? "lora-merge"
                                                       : NULL;
    if (o->lora_rank == 0 && without != NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: given, but there is no lora-rank", without);
    if (o->lora_rank == 0) return SG_OK;
    if (o->init[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "lora-rank: given, but there is no model to go on from (init)");
    if (o->lora_targets[0] == '\0')
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "lora-targets: found none, expected names of matrices such as q_proj,v_proj");
    if (o->train_only[0] != '\0')
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "train-only: given with lora-rank, which trains nothing but its adapters");
    return SG_OK;
}

static sg_status options_check(const sg_train_options *o, sg_error *err)
{
    const double big = 1e15;
    sg_schedule_kind kind;
    sg_optimizer_rows rows;
    SG_TRY(options_range((double)o->batch_size, "batch-size", 1, 1 << 20, err));
    SG_TRY(options_range((double)o->grad_accum, "grad-accum", 1, (double)o->batch_size, err));
    if (o->batch_size % o->grad_accum != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "grad-accum: found %lld, expected a divisor of the batch of %lld",
                       (long long)o->grad_accum, (long long)o->batch_size);
    SG_TRY(options_range(o->lr, "lr", 0, 1e3, err));
    SG_TRY(options_range(o->weight_decay, "weight-decay", 0, 1e3, err));
    SG_TRY(options_range(o->clip, "clip", 0, 1e9, err));
    SG_TRY(options_range(o->beta1, "beta1", 0, 0.999999, err));
    SG_TRY(options_range(o->beta2, "beta2", 0, 0.99999999, err));
    SG_TRY(options_range(o->eps, "eps", 1e-30, 1, err));
    SG_TRY(sg_optimizer_rows_parse(o->optimizer_rows, &rows, err));
    SG_TRY(sg_schedule_parse(o->schedule, &kind, err));
    if (o->table_dtype != SG_WEIGHTS_F32 && o->table_dtype != SG_WEIGHTS_BF16)
        return sg_fail(err, SG_ERR_ARGUMENT, "table-dtype: found %s, expected f32 or bf16",
                       sg_weights_name(o->table_dtype) ? sg_weights_name(o->table_dtype)
                                                       : "no such type");
    SG_TRY(
        options_range((double)o->warmup_steps, "warmup-steps", 0, (double)SG_TRAIN_STEPS_MAX, err));
    SG_TRY(options_range(o->warmup_share, "warmup-share", 0, 1, err));
    SG_TRY(options_range(o->decay_fraction, "decay-fraction", 0, 1, err));
    SG_TRY(options_range(o->spike_limit, "spike-limit", 0, 1e9, err));
    SG_TRY(options_range((double)o->log_every, "log-every", 0, big, err));
    SG_TRY(options_range((double)o->checkpoint_every, "checkpoint-every", 0, big, err));
    SG_TRY(options_range(o->checkpoint_minutes, "checkpoint-minutes", 0, 1e9, err));
    SG_TRY(options_range((double)o->keep_last, "keep-last", 1, 1e6, err));
    SG_TRY(options_range((double)o->eval_every, "eval-every", 0, big, err));
    SG_TRY(options_range((double)o->eval_sequences, "eval-sequences", 0, big, err));
    SG_TRY(options_range((double)o->sample_every, "sample-every", 0, big, err));
    SG_TRY(options_utf8(o->sample_prompt, sizeof o->sample_prompt, "sample-prompt", err));
    SG_TRY(options_utf8(o->init, sizeof o->init, "init", err));
    SG_TRY(options_utf8(o->train_only, sizeof o->train_only, "train-only", err));
    SG_TRY(options_utf8(o->lora_targets, sizeof o->lora_targets, "lora-targets", err));
    SG_TRY(options_adapters(o, err));
    SG_TRY(options_range((double)o->steps, "steps", 0, (double)SG_TRAIN_STEPS_MAX, err));
    SG_TRY(options_range((double)o->tokens, "tokens", 0, 1e18, err));
    SG_TRY(options_range(o->flops, "flops", 0, 1e30, err));
    SG_TRY(options_range(o->epochs, "epochs", 0, 1e9, err));
    int budgets = (o->steps > 0) + (o->tokens > 0) + (o->flops > 0) + (o->epochs > 0);
    if (budgets != 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "found %d budgets, expected one of steps, tokens, flops and epochs above 0",
                       budgets);
    return SG_OK;
}

sg_status sg_run_options_complete(sg_train_options *o, const sg_data *data, const char *data_name,
                                  sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(data);
    sg_config *c = &o->config;
    if (o->init[0] != '\0') {
        SG_TRY(sg_data_fits(data, c, data_name, err));
        c->eos_token_id = info->eos_id;
        c->pad_token_id = info->pad_id;
        SG_TRY(sg_config_complete(c, err));
        return options_check(o, err);
    }
    if (c->vocab_size == 0) c->vocab_size = info->vocab_size;
    if (c->max_position_embeddings == 0) c->max_position_embeddings = info->seq_len;
    if (c->vocab_size != info->vocab_size)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: packed with a vocabulary of %lld, but the run is to have %lld",
                       data_name, (long long)info->vocab_size, (long long)c->vocab_size);
    if (c->max_position_embeddings != info->seq_len)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: packed for sequences of %lld, but the run trains on %lld: pack the "
                       "text for that length, or give the run this one (--seq-len %lld)",
                       data_name, (long long)info->seq_len, (long long)c->max_position_embeddings,
                       (long long)info->seq_len);
    c->eos_token_id = c->bos_token_id = info->eos_id;
    c->pad_token_id = info->pad_id;
    SG_TRY(sg_config_complete(c, err));
    SG_TRY(options_check(o, err));
    return sg_recipe_check_data(o, info, data_name, err);
}

sg_status sg_run_options_steps(const sg_train_options *o, int64_t seq_len, int64_t rows,
                               const sg_cost *cost, int64_t *steps, sg_error *err)
{
    double batch = (double)o->batch_size, n = (double)o->steps;
    const char *budget = "steps";
    if (o->tokens > 0) {
        n = (double)(o->tokens / (o->batch_size * seq_len));
        budget = "tokens";
    } else if (o->flops > 0) {
        n = floor(o->flops / (3 * cost->forward_flops_per_sequence * batch));
        budget = "flops";
    } else if (o->epochs > 0) {
        n = floor(o->epochs * (double)rows / batch);
        budget = "epochs";
    }
    if (!(n >= 1 && n <= (double)SG_TRAIN_STEPS_MAX))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: the budget buys %.0f steps of %lld sequences, expected 1 or more",
                       budget, n, (long long)o->batch_size);
    *steps = (int64_t)n;
    return SG_OK;
}

// ---- as JSON -----------------------------------------------------------------------------------

typedef enum option_kind { OPTION_INT, OPTION_NUMBER, OPTION_BOOL } option_kind;

typedef struct option_slot {
    const char *name;
    option_kind kind;
    size_t offset;
    bool later; // older runs do not have it: 0 then, or what sg_run_options_parse begins with
} option_slot;

#define OPTION_SLOT(kind, name)                                                                    \
    {                                                                                              \
#name, kind, offsetof(sg_train_options, name), false                                       \
    }
#define OPTION_LATER(kind, name)                                                                   \
    {                                                                                              \
#name, kind, offsetof(sg_train_options, name), true                                        \
    }

static const option_slot option_slots[] = {
    OPTION_SLOT(OPTION_INT, batch_size),
    OPTION_SLOT(OPTION_INT, grad_accum),
    OPTION_SLOT(OPTION_NUMBER, lr),
    OPTION_SLOT(OPTION_NUMBER, weight_decay),
    OPTION_SLOT(OPTION_NUMBER, clip),
    OPTION_SLOT(OPTION_NUMBER, beta1),
    OPTION_SLOT(OPTION_NUMBER, beta2),
    OPTION_SLOT(OPTION_NUMBER, eps),
    OPTION_SLOT(OPTION_INT, warmup_steps),
    OPTION_SLOT(OPTION_NUMBER, warmup_share),
    OPTION_SLOT(OPTION_NUMBER, decay_fraction),
    OPTION_SLOT(OPTION_INT, steps),
    OPTION_SLOT(OPTION_INT, tokens),
    OPTION_SLOT(OPTION_NUMBER, flops),
    OPTION_SLOT(OPTION_NUMBER, epochs),
    OPTION_SLOT(OPTION_BOOL, recompute),
    OPTION_SLOT(OPTION_NUMBER, spike_limit),
    OPTION_SLOT(OPTION_INT, log_every),
    OPTION_SLOT(OPTION_INT, checkpoint_every),
    OPTION_SLOT(OPTION_INT, keep_last),
    OPTION_SLOT(OPTION_INT, eval_every),
    OPTION_SLOT(OPTION_INT, eval_sequences),
    OPTION_SLOT(OPTION_INT, sample_every),
    OPTION_LATER(OPTION_INT, lora_rank),
    OPTION_LATER(OPTION_NUMBER, lora_alpha),
    OPTION_LATER(OPTION_BOOL, lora_merge),
    OPTION_LATER(OPTION_BOOL, force_tokenizer),
    OPTION_LATER(OPTION_NUMBER, checkpoint_minutes),
};

enum { option_slot_count = sizeof option_slots / sizeof *option_slots };

static json_t *option_json(const sg_train_options *o, const option_slot *slot)
{
    const void *from = (const char *)o + slot->offset;
    return slot->kind == OPTION_INT      ? json_integer(*(const int64_t *)from)
           : slot->kind == OPTION_NUMBER ? json_real(*(const double *)from)
                                         : json_boolean(*(const bool *)from);
}

json_t *sg_run_options_json(const sg_train_options *o)
{
    sg_json_setup();
    char seed[24];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    // A seed may need all 64 bits, which JSON integers do not have.
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "seed", seed, "optimizer_rows",
                  o->optimizer_rows, "schedule", o->schedule, "sample_prompt", o->sample_prompt,
                  "table_dtype", sg_weights_name(o->table_dtype), "init", o->init, "train_only",
                  o->train_only, "lora_targets", o->lora_targets, "recipe", o->recipe);
    int failed = object == NULL;
    for (int i = 0; i < option_slot_count && !failed; i++) {
        const option_slot *slot = &option_slots[i];
        failed = json_object_set_new(object, slot->name, option_json(o, slot));
    }
    if (!failed) failed = json_object_set_new(object, "config", sg_config_json(&o->config));
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static sg_status options_text(const json_t *object, const char *name, const char *key, char *out,
                              size_t capacity, sg_error *err)
{
    const char *text = NULL;
    SG_TRY(sg_json_get_string(object, name, key, true, &text, err));
    if (strlen(text) >= capacity)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found %zu bytes, expected less than %zu",
                       name, key, strlen(text), capacity);
    memcpy(out, text, strlen(text) + 1);
    return SG_OK;
}

// What older runs do not have.
static sg_status options_later(const json_t *object, const char *name, const char *key, char *out,
                               size_t capacity, sg_error *err)
{
    if (json_object_get(object, key) == NULL) return SG_OK;
    return options_text(object, name, key, out, capacity, err);
}

static sg_status options_config(const json_t *object, const char *name, sg_config *config,
                                sg_error *err)
{
    json_t *value;
    char *text;
    SG_TRY(sg_json_get_object(object, name, "config", true, &value, err));
    SG_TRY(sg_json_text(value, false, &text, err));
    sg_status status = sg_config_parse(text, strlen(text), name, config, err);
    sg_free(text);
    return status;
}

sg_status sg_run_options_parse(const json_t *object, const char *name, sg_train_options *o,
                               sg_error *err)
{
    *o = (sg_train_options){0};
    char seed[24], *end;
    SG_TRY(options_text(object, name, "seed", seed, sizeof seed, err));
    o->seed = strtoull(seed, &end, 10);
    if (end == seed || *end != '\0')
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"seed\": found \"%s\", expected a number", name,
                       seed);
    // Runs from before there was a choice.
    o->checkpoint_minutes = 5;
    snprintf(o->optimizer_rows, sizeof o->optimizer_rows, "exact");
    SG_TRY(options_later(object, name, "optimizer_rows", o->optimizer_rows,
                         sizeof o->optimizer_rows, err));
    SG_TRY(options_later(object, name, "recipe", o->recipe, sizeof o->recipe, err));
    SG_TRY(options_later(object, name, "init", o->init, sizeof o->init, err));
    SG_TRY(options_later(object, name, "train_only", o->train_only, sizeof o->train_only, err));
    SG_TRY(
        options_later(object, name, "lora_targets", o->lora_targets, sizeof o->lora_targets, err));
    SG_TRY(options_text(object, name, "schedule", o->schedule, sizeof o->schedule, err));
    SG_TRY(options_text(object, name, "sample_prompt", o->sample_prompt, sizeof o->sample_prompt,
                        err));
    const char *table = "f32"; // what runs had before they could choose
    SG_TRY(sg_json_get_string(object, name, "table_dtype", false, &table, err));
    SG_TRY(sg_weights_parse(table, "table_dtype", &o->table_dtype, err));
    for (int i = 0; i < option_slot_count; i++) {
        const option_slot *slot = &option_slots[i];
        void *to = (char *)o + slot->offset;
        const bool must = !slot->later;
        if (slot->kind == OPTION_INT)
            SG_TRY(sg_json_get_int(object, name, slot->name, must, 0, INT64_MAX, to, err));
        else if (slot->kind == OPTION_NUMBER)
            SG_TRY(sg_json_get_number(object, name, slot->name, must, to, err));
        else
            SG_TRY(sg_json_get_bool(object, name, slot->name, must, to, err));
    }
    SG_TRY(options_config(object, name, &o->config, err));
    return options_check(o, err);
}

// ---- one of them --------------------------------------------------------------------------------

json_t *sg_run_options_get(const sg_train_options *o, const char *field)
{
    sg_json_setup();
    if (strcmp(field, "schedule") == 0) return json_string(o->schedule);
    if (strcmp(field, "sample_prompt") == 0) return json_string(o->sample_prompt);
    for (int i = 0; i < option_slot_count; i++)
        if (strcmp(field, option_slots[i].name) == 0) return option_json(o, &option_slots[i]);
    return NULL;
}

static bool option_read(const option_slot *slot, const char *text, void *to)
{
    char *end = NULL;
    errno = 0;
    if (slot->kind == OPTION_INT)
        *(int64_t *)to = strtoll(text, &end, 10);
    else if (slot->kind == OPTION_NUMBER)
        *(double *)to = strtod(text, &end);
    else
        *(bool *)to = strcmp(text, "true") == 0;
    if (slot->kind == OPTION_BOOL) return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    return end != text && *end == '\0' && errno == 0;
}

sg_status sg_run_options_set(sg_train_options *o, const char *field, const char *text,
                             sg_error *err)
{
    const bool prompt = strcmp(field, "sample_prompt") == 0;
    if (prompt || strcmp(field, "schedule") == 0) {
        const size_t capacity = prompt ? sizeof o->sample_prompt : sizeof o->schedule;
        if (strlen(text) >= capacity)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %zu bytes, expected less than %zu",
                           field, strlen(text), capacity);
        memcpy(prompt ? o->sample_prompt : o->schedule, text, strlen(text) + 1);
        return SG_OK;
    }
    for (int i = 0; i < option_slot_count; i++) {
        const option_slot *slot = &option_slots[i];
        if (strcmp(field, slot->name) != 0) continue;
        void *to = (char *)o + slot->offset;
        if (to == &o->steps || to == &o->tokens || to == &o->flops || to == &o->epochs) {
            o->steps = o->tokens = 0; // one budget in the place of another
            o->flops = o->epochs = 0;
        }
        if (to == &o->warmup_steps) o->warmup_share = 1; // as it was asked for
        if (option_read(slot, text, to)) return SG_OK;
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected a value of its kind",
                       field, text);
    }
    return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such option of a run", field);
}
