// The options of a run as a whole: what they begin with, the rules between them, run.json. Each by
// itself is stated in run_fields.c.
#include "train/run_options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json_fields.h"
#include "model/config.h"
#include "model/model.h"
#include "model/model_file.h"
#include "text/unicode.h"
#include "train/gradients.h"
#include "train/recipe.h"
#include "train/run_fields.h"
#include "train/sparse_losses.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

sg_train_options sg_train_options_from_preset(const sg_preset *preset)
{
    sg_train_options o = {.config = preset->config};
    const sg_field *field;
    for (size_t f = 0; (field = sg_train_field_at(f)) != NULL; f++)
        sg_field_fill(field, &o);
    o.batch_size = preset->batch_size;
    o.lr = preset->lr;
    o.weight_decay = preset->weight_decay;
    o.clip = preset->clip;
    o.warmup_steps = preset->warmup_steps;
    o.decay_fraction = preset->decay_fraction;
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

// What run.json is to hold.
static sg_status options_utf8(const char *text, size_t capacity, const char *name, sg_error *err)
{
    size_t bytes = strnlen(text, capacity);
    if (bytes < capacity && sg_utf8_valid_prefix(text, bytes) == bytes) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: expected UTF-8 of less than %zu bytes", name,
                   capacity);
}

static sg_status options_field(const sg_train_options *o, const sg_field *field, sg_error *err)
{
    char name[SG_RUN_OPTION];
    sg_field_option(field, name, sizeof name);
    if (field->kind == SG_FIELD_STRING)
        SG_TRY(options_utf8(sg_field_of(field, o), field->bytes, name, err));
    return sg_field_check(field, name, "", o, err);
}

static sg_status options_adapters(const sg_train_options *o, sg_error *err)
{
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

sg_status sg_train_options_check(const sg_train_options *o, sg_error *err)
{
    const sg_field *field;
    int budgets = 0;
    for (size_t f = 0; (field = sg_train_field_at(f)) != NULL; f++) {
        SG_TRY(options_field(o, field, err));
        budgets += field->flags & SG_FIELD_BUDGET && !sg_field_is_empty(field, o);
    }
    if (o->batch_size % o->grad_accum != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "grad-accum: found %lld, expected a divisor of the batch of %lld",
                       (long long)o->grad_accum, (long long)o->batch_size);
    SG_TRY(options_adapters(o, err));
    SG_TRY(sg_sparse_check(o, err));
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
        return sg_train_options_check(o, err);
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
    SG_TRY(sg_train_options_check(o, err));
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

json_t *sg_run_options_json(const sg_train_options *o)
{
    sg_json_setup();
    json_t *object = json_object();
    const sg_field *field;
    int failed = object == NULL;
    for (size_t f = 0; (field = sg_train_field_at(f)) != NULL && !failed; f++)
        failed = json_object_set_new(object, field->name, sg_json_from_field(field, o));
    if (!failed) failed = json_object_set_new(object, "config", sg_config_json(&o->config));
    if (!failed) return object;
    json_decref(object);
    return NULL;
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
    const sg_run_field *f;
    *o = (sg_train_options){0};
    for (size_t i = 0; (f = sg_run_field_at(i)) != NULL; i++) {
        if (f->older != NULL)
            SG_TRY(sg_field_set(&f->field, f->field.name, f->older, 0, INT64_MAX, o, err));
        SG_TRY(sg_json_to_field(object, name, &f->field, f->older == NULL, 0, INT64_MAX, o, err));
    }
    SG_TRY(options_config(object, name, &o->config, err));
    return sg_train_options_check(o, err);
}
