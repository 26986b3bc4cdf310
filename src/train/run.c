// A training run and its folder:
//   run.json          options, data, command, versions: enough to repeat the run
//   checkpoints/      step-N/ (checkpoint.h)
//   metrics.jsonl     one record a line; events.out.tfevents.*: the same for TensorBoard
//   summary.json, config.json, model.safetensors, tokenizer.json: at the end
// A run goes on from its newest intact checkpoint, and ends with the same bits as if it had never
// stopped.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "format/json.h"
#include "format/jsonl_log.h"
#include "format/shards.h"
#include "format/tfevents.h"
#include "kernel/gemm.h"
#include "model/config.h"
#include "text/unicode.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/run_options.h"
#include "train/run_state.h"

enum {
    run_json_limit = 16 << 20,
    run_manifest_limit = 1 << 28,
    run_tokenizer_limit = 512 << 20,
    run_sample_tokens = 64
};

typedef struct run {
    sg_context *context;
    const char *folder;
    const sg_train_hooks *hooks;
    sg_train_options options;
    char data_folder[SG_PATH_MAX];
    char data_hash[24]; // of the manifest, and so of every row
    sg_data *data;
    sg_cost cost;
    int64_t steps;
    sg_run_lock *lock;
    char *tokenizer_text;
    size_t tokenizer_bytes;
    sg_tokenizer *tokenizer; // for samples; NULL without
    sg_trainer trainer;
    bool trainer_open;
    sg_jsonl_log *metrics;
    sg_tfevents *events;
    int64_t resumed_from;           // -1: this process began at step 0
    int64_t saved_step;             // of the newest checkpoint, -1: none
    double started, seconds_before; // of this life, and of those before
    double rate_time;               // for the rate of late
    int64_t rate_step;
    double tokens_per_second, flops_per_second, val_loss;
    bool stop;
} run;

// ---- small files ------------------------------------------------------------------------------

static sg_status run_has(const run *r, const char *name, bool *there, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_fs_info info;
    SG_TRY(sg_path_join(path, sizeof path, r->folder, name, err));
    sg_status status = sg_path_info(path, &info, err);
    *there = status == SG_OK;
    return status == SG_ERR_NOT_FOUND ? SG_OK : status;
}

// Takes the object; NULL: out of memory.
static sg_status run_write_json(const run *r, const char *name, json_t *object, sg_error *err)
{
    char path[SG_PATH_MAX], *text = NULL;
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    sg_status status = sg_path_join(path, sizeof path, r->folder, name, err);
    if (status == SG_OK) status = sg_json_text(object, true, &text, err);
    if (status == SG_OK) status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    json_decref(object);
    return status;
}

// A checksum of what the data are: their manifest, which has the checksum of every shard, without
// the names of the files they were packed from.
static sg_status run_hash_data(run *r, sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    json_t *manifest;
    SG_TRY(sg_path_join(path, sizeof path, r->data_folder, SG_DATA_MANIFEST, err));
    SG_TRY(sg_json_read(path, run_manifest_limit, &manifest, err));
    json_object_del(manifest, "sources");
    sg_status status = sg_json_text(manifest, false, &text, err);
    json_decref(manifest);
    SG_TRY(status);
    snprintf(r->data_hash, sizeof r->data_hash, "%016llx",
             (unsigned long long)sg_hash(text, strlen(text)));
    sg_free(text);
    return SG_OK;
}

static sg_status run_write_settings(const run *r, sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(r->data);
    const char *text = r->hooks && r->hooks->command ? r->hooks->command : "";
    sg_bytes command = {0}; // for people to read, and need not be UTF-8
    if (!sg_utf8_repair(text, strlen(text), &command))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for run.json");
    sg_json_setup();
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s%, s:I, s:{s:s, s:s, s:I, s:I}}", "sgatlin", sg_version(), "kernel",
        r->context->kernel, "blas", sg_gemm_name(), "command", command.data ? command.data : "",
        command.count, "total_steps", (json_int_t)r->steps, "data", "folder", r->data_folder,
        "checksum", r->data_hash, "train_rows", (json_int_t)info->split[SG_SPLIT_TRAIN].rows,
        "val_rows", (json_int_t)info->split[SG_SPLIT_VAL].rows);
    sg_free(command.data);
    json_t *options = sg_run_options_json(&r->options);
    // This releases the options when it fails, too.
    if (json_object_set_new(object, "options", options) != 0) {
        json_decref(object);
        object = NULL;
    }
    return run_write_json(r, "run.json", object, err);
}

static sg_status run_set_data(run *r, const char *folder, sg_error *err)
{
    if (strlen(folder) >= sizeof r->data_folder)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", folder);
    if (sg_utf8_valid_prefix(folder, strlen(folder)) != strlen(folder))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: the path is not UTF-8, which run.json has to be",
                       folder);
    memcpy(r->data_folder, folder, strlen(folder) + 1);
    return SG_OK;
}

// What run.json says besides the options.
typedef struct run_settings {
    char kernel[32], blas[64], data_hash[24];
} run_settings;

static sg_status settings_text(const json_t *object, const char *path, const char *key, char *out,
                               size_t capacity, sg_error *err)
{
    const char *text = NULL;
    SG_TRY(sg_json_get_string(object, path, key, true, &text, err));
    snprintf(out, capacity, "%s", text);
    return SG_OK;
}

static sg_status run_parse_settings(run *r, const json_t *object, const char *path,
                                    run_settings *settings, sg_error *err)
{
    json_t *data, *options;
    const char *folder = NULL;
    SG_TRY(sg_json_get_object(object, path, "options", true, &options, err));
    SG_TRY(sg_run_options_parse(options, path, &r->options, err));
    SG_TRY(settings_text(object, path, "kernel", settings->kernel, sizeof settings->kernel, err));
    SG_TRY(settings_text(object, path, "blas", settings->blas, sizeof settings->blas, err));
    SG_TRY(sg_json_get_object(object, path, "data", true, &data, err));
    SG_TRY(settings_text(data, path, "checksum", settings->data_hash, sizeof settings->data_hash,
                         err));
    if (r->data_folder[0] != '\0') return SG_OK; // the caller's goes before
    SG_TRY(sg_json_get_string(data, path, "folder", true, &folder, err));
    return run_set_data(r, folder, err);
}

static sg_status run_read_settings(run *r, run_settings *settings, sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    bool there;
    SG_TRY(run_has(r, "run.json", &there, err));
    if (!there)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: holds no run (there is no run.json)", r->folder);
    SG_TRY(sg_path_join(path, sizeof path, r->folder, "run.json", err));
    SG_TRY(sg_json_read(path, run_json_limit, &object, err));
    sg_status status = run_parse_settings(r, object, path, settings, err);
    json_decref(object);
    return status;
}

sg_status sg_train_read_options(const char *folder, sg_train_options *options, sg_error *err)
{
    run r = {.folder = folder};
    run_settings settings;
    SG_TRY(run_read_settings(&r, &settings, err));
    *options = r.options;
    return SG_OK;
}

// ---- opening ----------------------------------------------------------------------------------

// A prompt that does not fit is to be known now and not at the first sample.
static sg_status run_check_prompt(const run *r, sg_error *err)
{
    const char *prompt = r->options.sample_prompt;
    int32_t *ids;
    size_t count;
    SG_TRY(sg_tokenizer_encode(r->tokenizer, prompt, strlen(prompt), NULL, &ids, &count, err));
    sg_buffer_free(ids);
    int64_t most = r->options.config.max_position_embeddings - 2; // one to begin, one to say
    if ((int64_t)count <= most) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "sample-prompt: found %zu tokens, expected at most %lld with sequences of %lld",
                   count, (long long)(most > 0 ? most : 0),
                   (long long)r->options.config.max_position_embeddings);
}

static sg_status run_open_data(run *r, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_data_open(r->data_folder, SG_VERIFY_AUTO, &r->data, err));
    SG_TRY(run_hash_data(r, err));
    SG_TRY(sg_run_options_complete(&r->options, r->data, r->data_folder, err));
    const sg_data_info *info = sg_data_get_info(r->data);
    int64_t micro = r->options.batch_size / r->options.grad_accum;
    SG_TRY(sg_config_cost(&r->options.config, info->seq_len, micro, r->options.recompute,
                          r->context->threads, &r->cost, err));
    if (r->options.table_dtype != SG_WEIGHTS_F32 && r->cost.bf16_table_bytes == 0)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "table-dtype: found %s, but family %s has no tables of neurons, expected f32",
            sg_weights_name(r->options.table_dtype), r->options.config.ffn);
    SG_TRY(sg_run_options_steps(&r->options, info->seq_len, info->split[SG_SPLIT_TRAIN].rows,
                                &r->cost, &r->steps, err));
    SG_TRY(sg_path_join(path, sizeof path, r->data_folder, "tokenizer.json", err));
    SG_TRY(sg_file_read(path, run_tokenizer_limit, &r->tokenizer_text, &r->tokenizer_bytes, err));
    if (r->options.sample_every == 0) return SG_OK;
    SG_TRY(
        sg_tokenizer_from_memory(r->tokenizer_text, r->tokenizer_bytes, path, &r->tokenizer, err));
    return run_check_prompt(r, err);
}

static sg_status run_logs(run *r, sg_error *err)
{
    char path[SG_PATH_MAX];
    int64_t step = r->trainer.state.step;
    SG_TRY(sg_path_join(path, sizeof path, r->folder, "metrics.jsonl", err));
    SG_TRY(sg_jsonl_log_open(path, step > 0 ? step : -1, &r->metrics, err));
    return sg_tfevents_open(r->folder, sg_clock_wall(), "sgatlin", step > 0 ? step + 1 : 0,
                            &r->events, err);
}

static sg_status run_restore(run *r, const sg_checkpoint *checkpoint, sg_error *err)
{
    const sg_safetensors *moments;
    const sg_param_list *params = &r->trainer.model->params;
    SG_TRY(sg_train_state_parse(sg_checkpoint_state(checkpoint), sg_checkpoint_folder(checkpoint),
                                &r->trainer.state, err));
    if (r->trainer.state.step > r->steps)
        return sg_fail(err, SG_ERR_MISMATCH, "%s: is of step %lld, but the run has %lld",
                       sg_checkpoint_folder(checkpoint), (long long)r->trainer.state.step,
                       (long long)r->steps);
    SG_TRY(sg_checkpoint_group(checkpoint, "optimizer.safetensors", &moments, err));
    for (size_t i = 0; i < params->count; i++)
        for (int which = 0; which < 2; which++) {
            const sg_param_spec *spec = &params->specs[i];
            char name[SG_PARAM_NAME + 4];
            const sg_tensor_view *view;
            snprintf(name, sizeof name, "%c.%s", which ? 'v' : 'm', spec->name);
            SG_TRY(sg_safetensors_get(moments, name,
                                      sizeof(sg_real) == 4 ? SG_DTYPE_F32 : SG_DTYPE_F64,
                                      spec->rank, spec->shape, &view, err));
            memcpy(sg_optimizer_moment(r->trainer.optimizer, i, which), view->data, view->bytes);
        }
    return sg_trainer_seek(&r->trainer, err);
}

// The trainer, from a checkpoint or (NULL) from fresh weights.
static sg_status run_open_trainer(run *r, const sg_checkpoint *checkpoint, sg_error *err)
{
    sg_model *model;
    if (checkpoint == NULL) {
        SG_TRY(sg_model_new(r->context, &r->options.config, r->options.seed, &model, err));
    } else {
        const sg_safetensors *weights;
        SG_TRY(sg_checkpoint_group(checkpoint, "model.safetensors", &weights, err));
        SG_TRY(sg_model_from_file(r->context, &r->options.config, weights, &model, err));
    }
    SG_TRY(sg_trainer_open(&r->trainer, r->context, &r->options, r->steps, r->data, model, err));
    r->trainer_open = true;
    return checkpoint ? run_restore(r, checkpoint, err) : SG_OK;
}

static void run_close(run *r)
{
    sg_jsonl_log_close(r->metrics, NULL);
    sg_tfevents_close(r->events, NULL);
    if (r->trainer_open) sg_trainer_close(&r->trainer);
    sg_tokenizer_free(r->tokenizer);
    sg_free(r->tokenizer_text);
    sg_data_free(r->data);
    sg_run_lock_release(r->lock);
}

// ---- saving -----------------------------------------------------------------------------------

static sg_status run_views(const run *r, sg_tensor_view **out, char **names, sg_error *err)
{
    const sg_param_list *params = &r->trainer.model->params;
    size_t n = params->count;
    enum { name_size = SG_PARAM_NAME + 4 };
    *out = sg_alloc_array(3 * n, sizeof **out);
    *names = sg_alloc_array(2 * n, name_size);
    if (*out == NULL || *names == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a checkpoint");
    sg_model_views(r->trainer.model, *out);
    for (size_t i = 0; i < 2 * n; i++) {
        const sg_param_spec *spec = &params->specs[i / 2];
        char *name = *names + i * name_size;
        snprintf(name, name_size, "%c.%s", i % 2 ? 'v' : 'm', spec->name);
        (*out)[n + i] = sg_tensor_view_make(
            name, sizeof(sg_real) == 4 ? SG_DTYPE_F32 : SG_DTYPE_F64, spec->rank, spec->shape,
            sg_optimizer_moment(r->trainer.optimizer, i / 2, (int)(i % 2)));
    }
    return SG_OK;
}

static double run_seconds(const run *r)
{
    return r->seconds_before + sg_clock_seconds() - r->started;
}

static sg_status run_checkpoint_files(run *r, const char *config, sg_error *err)
{
    size_t n = r->trainer.model->params.count;
    sg_tensor_view *views = NULL;
    char *names = NULL;
    json_t *state = NULL;
    sg_status status = run_views(r, &views, &names, err);
    if (status == SG_OK) {
        state = sg_train_state_json(&r->trainer.state);
        if (state == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a checkpoint");
    }
    if (status == SG_OK) {
        const sg_tensor_group groups[] = {{"model.safetensors", views, n},
                                          {"optimizer.safetensors", views + n, 2 * n}};
        const sg_named_bytes files[] = {{"config.json", config, strlen(config)},
                                        {"tokenizer.json", r->tokenizer_text, r->tokenizer_bytes}};
        sg_checkpoint_content content = {.step = r->trainer.state.step,
                                         .groups = groups,
                                         .group_count = 2,
                                         .files = files,
                                         .file_count = 2,
                                         .state = state};
        status = sg_checkpoint_save(r->folder, &content, err);
    }
    json_decref(state);
    sg_free(views);
    sg_free(names);
    return status;
}

static sg_status run_event(run *r, sg_train_event_kind kind, const char *text);

static sg_status run_prune(const run *r, sg_error *err)
{
    return sg_checkpoint_prune(r->folder, r->saved_step, (int)r->options.keep_last,
                               r->trainer.state.best_step, err);
}

static sg_status run_save_checkpoint(run *r, sg_error *err)
{
    sg_train_state *s = &r->trainer.state;
    if (r->saved_step == s->step) return SG_OK;
    char *config;
    s->seconds = run_seconds(r);
    SG_TRY(sg_jsonl_log_sync(r->metrics, NULL, err));
    SG_TRY(sg_model_config_text(r->trainer.model, &config, err));
    sg_status status = run_checkpoint_files(r, config, err);
    sg_free(config);
    if (status != SG_OK) return status;
    r->saved_step = s->step;
    SG_TRY(run_prune(r, err));
    return run_event(r, SG_EVENT_CHECKPOINT, NULL);
}

// ---- talking ----------------------------------------------------------------------------------

static sg_status run_event(run *r, sg_train_event_kind kind, const char *text)
{
    if (r->hooks == NULL || r->hooks->event == NULL) return SG_OK;
    sg_train_event event = {.kind = kind,
                            .step = r->trainer.state.step,
                            .steps = r->steps,
                            .resumed_from = r->resumed_from,
                            .loss = r->trainer.loss,
                            .lr = r->trainer.lr,
                            .grad_norm = r->trainer.norm,
                            .tokens_per_second = r->tokens_per_second,
                            .flops_per_second = r->flops_per_second,
                            .val_loss = r->val_loss,
                            .text = text};
    if (!r->hooks->event(r->hooks->user, &event)) r->stop = true;
    return SG_OK;
}

static void run_rate(run *r)
{
    double now = sg_clock_seconds(), span = now - r->rate_time;
    if (span < 0.5 && r->tokens_per_second > 0) return;
    int64_t steps = r->trainer.state.step - r->rate_step;
    if (steps == 0 || span <= 0) return;
    double tokens = (double)(r->trainer.length * r->options.batch_size * steps);
    r->tokens_per_second = tokens / span;
    r->flops_per_second =
        3 * r->cost.forward_flops_per_sequence_all_in * tokens / (double)r->trainer.length / span;
    r->rate_time = now;
    r->rate_step = r->trainer.state.step;
}

// JSON has no infinity and no NaN.
static json_t *run_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

// Puts a record into metrics.jsonl and its numbers into the TensorBoard file. Takes the record.
static sg_status run_record(run *r, json_t *record, sg_error *err)
{
    if (record == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    int64_t step = r->trainer.state.step;
    double wall = sg_clock_wall();
    sg_status status = sg_jsonl_log_put(r->metrics, record, err);
    const char *key;
    json_t *value;
    json_object_foreach(record, key, value)
    {
        if (status != SG_OK || strcmp(key, "step") == 0 || !json_is_number(value)) continue;
        status =
            sg_tfevents_scalar(r->events, wall, step, key, (float)json_number_value(value), err);
    }
    json_decref(record);
    return status == SG_OK ? sg_tfevents_flush(r->events, err) : status;
}

static sg_status run_log(run *r, sg_error *err)
{
    const sg_trainer *t = &r->trainer;
    int64_t every = r->options.log_every ? r->options.log_every : r->steps > 200 ? 10 : 1;
    int64_t step = t->state.step;
    if (step % every != 0 && step != r->steps && step != 1) return SG_OK;
    double flops = 3 * r->cost.forward_flops_per_sequence * (double)r->options.batch_size;
    return run_record(
        r,
        json_pack("{s:I, s:f, s:f, s:f, s:I, s:f, s:I, s:f}", "step", (json_int_t)step, "loss",
                  t->loss, "lr", t->lr, "grad_norm", t->norm, "tokens", (json_int_t)t->state.tokens,
                  "flops", flops * (double)step, "skipped_updates", (json_int_t)t->state.skipped,
                  "tokens_per_second", r->tokens_per_second),
        err);
}

// ---- evaluation and samples -------------------------------------------------------------------

static sg_status run_evaluate(run *r, int64_t sequences, sg_eval_result *result, sg_error *err)
{
    int64_t micro = r->options.batch_size / r->options.grad_accum;
    sg_eval_options options = sg_eval_options_default();
    options.batch_size = r->options.batch_size;
    options.micro_batch = micro;
    if (sequences > 0)
        options.max_batches = (sequences + options.batch_size - 1) / options.batch_size;
    return sg_evaluate(r->trainer.model, r->data, &options, result, err);
}

static bool run_has_validation(const run *r)
{
    return sg_data_get_info(r->data)->split[SG_SPLIT_VAL].rows > 0;
}

static sg_status run_validate(run *r, bool *best, sg_error *err)
{
    sg_eval_result val;
    sg_train_state *s = &r->trainer.state;
    SG_TRY(run_evaluate(r, r->options.eval_sequences, &val, err));
    r->val_loss = val.loss;
    *best = !(val.loss >= s->best_loss);
    if (*best) {
        s->best_loss = val.loss;
        s->best_step = s->step;
    }
    SG_TRY(run_record(r,
                      json_pack("{s:I, s:f, s:o, s:o, s:f}", "step", (json_int_t)s->step,
                                "val_loss", val.loss, "val_perplexity", run_number(val.perplexity),
                                "val_perplexity_batch_mean", run_number(val.perplexity_batch_mean),
                                "val_accuracy", val.accuracy),
                      err));
    return run_event(r, SG_EVENT_EVAL, NULL);
}

typedef struct text_buffer {
    char text[4096];
    size_t used;
} text_buffer;

static bool buffer_add(void *user, const char *text, size_t bytes)
{
    text_buffer *b = user;
    if (bytes >= sizeof b->text - b->used) return false;
    memcpy(b->text + b->used, text, bytes);
    b->used += bytes;
    b->text[b->used] = '\0';
    return true;
}

static sg_status run_sample(run *r, sg_error *err)
{
    text_buffer buffer = {.used = 0};
    int64_t step = r->trainer.state.step;
    buffer_add(&buffer, r->options.sample_prompt, strlen(r->options.sample_prompt));
    sg_generate_options options = sg_generate_options_default();
    options.max_tokens = run_sample_tokens;
    options.sample.temperature = 0.8;
    options.sample.seed = r->options.seed;
    options.text = buffer_add;
    options.text_user = &buffer;
    SG_TRY(
        sg_generate(r->trainer.model, r->tokenizer, r->options.sample_prompt, &options, NULL, err));
    SG_TRY(run_record(r, json_pack("{s:I, s:s}", "step", (json_int_t)step, "sample", buffer.text),
                      err));
    SG_TRY(sg_tfevents_text(r->events, sg_clock_wall(), step, "sample", buffer.text, err));
    return run_event(r, SG_EVENT_SAMPLE, buffer.text);
}

// ---- the loop ---------------------------------------------------------------------------------

static bool due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

static sg_status run_loop(run *r, sg_error *err)
{
    const sg_train_options *o = &r->options;
    const sg_train_state *s = &r->trainer.state;
    r->started = r->rate_time = sg_clock_seconds();
    r->seconds_before = s->seconds;
    r->rate_step = s->step;
    SG_TRY(run_event(r, SG_EVENT_START, NULL));
    while (s->step < r->steps && !r->stop) {
        int64_t skipped = s->skipped;
        SG_TRY(sg_trainer_step(&r->trainer, err));
        if (s->skipped > skipped)
            sg_log(r->context, SG_LOG_WARNING,
                   "step %lld: the loss jumped to %.4f from about %.4f; this update is skipped",
                   (long long)s->step, r->trainer.loss, s->running_loss);
        run_rate(r);
        SG_TRY(run_log(r, err));
        SG_TRY(run_event(r, SG_EVENT_STEP, NULL));
        bool save = due(o->checkpoint_every, s->step);
        if (due(o->eval_every, s->step) && run_has_validation(r)) {
            bool best = false;
            SG_TRY(run_validate(r, &best, err));
            save = save || best;
        }
        if (due(o->sample_every, s->step)) SG_TRY(run_sample(r, err));
        if (save) SG_TRY(run_save_checkpoint(r, err));
    }
    SG_TRY(run_save_checkpoint(r, err));
    if (s->step == r->steps) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after step %lld of %lld; what was done is saved",
                   (long long)s->step, (long long)r->steps);
}

static void run_result(const run *r, sg_train_result *result)
{
    const sg_train_state *s = &r->trainer.state;
    double sequences = (double)r->options.batch_size * (double)s->step;
    *result =
        (sg_train_result){.steps = s->step,
                          .tokens = s->tokens,
                          .train_loss = s->tail_count ? s->tail_sum / (double)s->tail_count : NAN,
                          .seconds = s->seconds,
                          .flops = 3 * r->cost.forward_flops_per_sequence * sequences,
                          .flops_all_in = 3 * r->cost.forward_flops_per_sequence_all_in * sequences,
                          .skipped_updates = s->skipped};
}

// The last evaluation, and the run folder as a model folder.
static sg_status run_finish(run *r, sg_train_result *result, sg_error *err)
{
    sg_model *m = r->trainer.model;
    run_result(r, result);
    if (run_has_validation(r)) {
        SG_TRY(run_evaluate(r, 0, &result->val, err));
        r->val_loss = result->val.loss;
    }
    sg_tensor_view *views = sg_alloc_array(m->params.count, sizeof *views);
    char *config = NULL;
    sg_status status = views ? sg_model_config_text(m, &config, err)
                             : sg_fail(err, SG_ERR_MEMORY, "out of memory for the model");
    if (status == SG_OK) {
        sg_model_views(m, views);
        const sg_named_bytes files[] = {{"config.json", config, strlen(config)},
                                        {"tokenizer.json", r->tokenizer_text, r->tokenizer_bytes}};
        const sg_key_value metadata[] = {{"format", "pt"}};
        status =
            sg_model_folder_save(r->folder, 0, views, m->params.count, metadata, 1, files, 2, err);
    }
    sg_free(views);
    sg_free(config);
    if (status == SG_OK)
        status = run_write_json(r, "summary.json", sg_train_result_json(result), err);
    return status;
}

// ---- the two ways in --------------------------------------------------------------------------

// The folder of a new run may hold other things, but nothing that a run or a model would replace.
static sg_status run_refuse_old(const run *r, sg_error *err)
{
    static const char *const names[] = {"run.json", "summary.json", "checkpoints", "config.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool there;
        SG_TRY(run_has(r, names[i], &there, err));
        if (!there) continue;
        if (i == 0)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "%s: holds a run already: resume it (--resume %s), or choose another "
                           "folder",
                           r->folder, r->folder);
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: holds a %s already, which the run would replace: choose another folder",
                       r->folder, names[i]);
    }
    return SG_OK;
}

sg_status sg_train(sg_context *context, const char *folder, const char *data,
                   const sg_train_options *options, const sg_train_hooks *hooks,
                   sg_train_result *result, sg_error *err)
{
    run r = {.context = context,
             .folder = folder,
             .hooks = hooks,
             .options = *options,
             .resumed_from = -1,
             .saved_step = -1,
             .val_loss = NAN};
    *result = (sg_train_result){0};
    SG_TRY(run_set_data(&r, data, err));
    SG_TRY(run_refuse_old(&r, err));
    sg_status status = run_open_data(&r, err);
    if (status == SG_OK) status = run_open_trainer(&r, NULL, err);
    if (status == SG_OK) status = sg_folder_make(folder, err);
    if (status == SG_OK) status = sg_run_lock_take(folder, &r.lock, err);
    // Another process may have been here since.
    if (status == SG_OK) status = run_refuse_old(&r, err);
    if (status == SG_OK) status = run_write_settings(&r, err);
    if (status == SG_OK) status = run_logs(&r, err);
    if (status == SG_OK) status = run_loop(&r, err);
    if (status == SG_OK) status = run_finish(&r, result, err);
    run_close(&r);
    return status;
}

static sg_status run_summary(const run *r, sg_train_result *result, bool *there, sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    SG_TRY(run_has(r, "summary.json", there, err));
    if (!*there) return SG_OK;
    SG_TRY(sg_path_join(path, sizeof path, r->folder, "summary.json", err));
    SG_TRY(sg_json_read(path, run_json_limit, &object, err));
    sg_status status = sg_train_result_parse(object, path, result, err);
    json_decref(object);
    return status;
}

// Other data, and the end would not be that of the run; other arithmetic, and not to the bit.
static sg_status run_compare(const run *r, const run_settings *settings, sg_error *err)
{
    if (strcmp(r->data_hash, settings->data_hash) != 0)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: its checksum is %s, but the run began with data of %s", r->data_folder,
                       r->data_hash, settings->data_hash);
    if (strcmp(r->context->kernel, settings->kernel) != 0 ||
        strcmp(sg_gemm_name(), settings->blas) != 0)
        sg_log(r->context, SG_LOG_WARNING,
               "%s: began with %s kernels and %s products, goes on with %s and %s: the end will "
               "not be the same to the bit",
               r->folder, settings->kernel, settings->blas, r->context->kernel, sg_gemm_name());
    return SG_OK;
}

sg_status sg_train_resume(sg_context *context, const char *folder, const char *data,
                          const sg_train_hooks *hooks, sg_train_result *result, sg_error *err)
{
    run r = {.context = context,
             .folder = folder,
             .hooks = hooks,
             .resumed_from = -1,
             .saved_step = -1,
             .val_loss = NAN};
    run_settings settings;
    bool finished = false;
    *result = (sg_train_result){0};
    if (data != NULL) SG_TRY(run_set_data(&r, data, err));
    SG_TRY(run_read_settings(&r, &settings, err));
    SG_TRY(sg_run_lock_take(folder, &r.lock, err));
    sg_checkpoint *checkpoint = NULL;
    sg_status status = sg_model_folder_recover(folder, err);
    if (status == SG_OK) status = run_summary(&r, result, &finished, err);
    if (status == SG_OK && finished) {
        run_close(&r);
        return SG_OK;
    }
    if (status == SG_OK) status = run_open_data(&r, err);
    if (status == SG_OK) status = run_compare(&r, &settings, err);
    if (status == SG_OK) {
        status = sg_checkpoint_find_latest(folder, context, &checkpoint, err);
        if (status == SG_ERR_NOT_FOUND) { // killed before the first one
            sg_log(context, SG_LOG_INFO, "%s: no checkpoint yet, starting anew", folder);
            status = SG_OK;
        }
    }
    if (status == SG_OK) status = run_open_trainer(&r, checkpoint, err);
    if (status == SG_OK && checkpoint != NULL) r.resumed_from = r.saved_step = r.trainer.state.step;
    sg_checkpoint_close(checkpoint);
    // The last life may have been cut off between saving and tidying up.
    if (status == SG_OK && r.saved_step >= 0) status = run_prune(&r, err);
    if (status == SG_OK) status = run_logs(&r, err);
    if (status == SG_OK) status = run_loop(&r, err);
    if (status == SG_OK) status = run_finish(&r, result, err);
    run_close(&r);
    return status;
}
