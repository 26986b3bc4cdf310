// A training run and its folder:
//   run.json          options, data, command, versions: enough to repeat the run
//   checkpoints/      step-N/ (checkpoint.h)
//   metrics.jsonl     one record a line; events.out.tfevents.*: the same for TensorBoard
//   summary.json, config.json, model.safetensors, tokenizer.json, adapter/: at the end
// A run goes on from its newest intact checkpoint, and ends with the same bits as if it had never
// stopped.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/publish.h"
#include "format/json.h"
#include "train/evaluate.h"
#include "train/run_init.h"
#include "train/run_options.h"
#include "train/run.h"
#include "train/run_state.h"
#include "train/sparse_losses.h"
#include "train/trained.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

enum { run_tokenizer_limit = 512 << 20, run_sample_tokens = 64 };

static const double peak_again = 10; // seconds

// ---- opening ----------------------------------------------------------------------------------

// A prompt that does not fit is to be known now and not at the first sample.
static sg_status run_check_prompt(const sg_training *r, sg_error *err)
{
    const char *prompt = r->settings.options.sample_prompt;
    int32_t *ids;
    size_t count;
    SG_TRY(sg_tokenizer_encode(r->tokenizer, prompt, strlen(prompt), NULL, &ids, &count, err));
    sg_buffer_free(ids);
    int64_t most =
        r->settings.options.config.max_position_embeddings - 2; // one to begin, one to say
    if ((int64_t)count <= most) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "sample-prompt: found %zu tokens, expected at most %lld with sequences of %lld",
                   count, (long long)(most > 0 ? most : 0),
                   (long long)r->settings.options.config.max_position_embeddings);
}

// From the configuration alone; what is trained of a model that is not open yet is left out of
// account.
static sg_status run_plan(sg_training *r, sg_error *err)
{
    const sg_train_options *o = &r->settings.options;
    const bool parts = o->lora_rank > 0 || o->train_only[0] != '\0';
    const sg_machine_memory memory = sg_memory_of_machine();
    r->plan = sg_train_plan_make(o, sg_data_get_info(r->data), &r->cost, r->steps,
                                 o->lora_rank > 0 ? 0 : r->cost.parameters, parts ? 0 : -1);
    return sg_train_plan_check(r->context, o, &r->plan, &memory, err);
}

// From what was opened.
static void run_plan_again(sg_training *r)
{
    const sg_trainer *t = &r->trainer;
    r->plan.parameters = r->parameters;
    r->plan.trained = r->trained;
    r->plan.memory_bytes = sg_model_weight_bytes(t->model) +
                           (int64_t)sg_gradients_bytes(&t->gradients) +
                           (int64_t)sg_optimizer_moment_bytes(t->optimizer) +
                           (int64_t)sg_tape_bytes(t->graph->tape) + (int64_t)t->tables.bytes;
    r->plan.checkpoint_bytes = sg_training_checkpoint_bytes(r);
}

sg_status sg_training_open_data(sg_training *r, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_data_open(r->settings.data_folder, SG_VERIFY_AUTO, &r->data, err));
    SG_TRY(sg_run_settings_hash_data(&r->settings, err));
    SG_TRY(sg_run_options_complete(&r->settings.options, r->data, r->settings.data_folder, err));
    const sg_config before = r->settings.options.config;
    SG_TRY(sg_sparse_change(&r->settings.options, &r->settings.options.config, err));
    sg_sparse_say(r->context, &before, &r->settings.options.config);
    SG_TRY(sg_run_init_tokenizer(r->context, &r->settings, err));
    const sg_data_info *info = sg_data_get_info(r->data);
    SG_TRY(sg_train_cost(r->context, &r->settings.options, info->seq_len, &r->cost, err));
    if (r->settings.options.table_dtype != SG_WEIGHTS_F32 && r->cost.bf16_table_bytes == 0)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "table-dtype: found %s, but family %s has no tables of neurons, expected f32",
            sg_weights_name(r->settings.options.table_dtype), r->settings.options.config.ffn);
    SG_TRY(sg_run_options_steps(&r->settings.options, info->seq_len,
                                info->split[SG_SPLIT_TRAIN].rows, &r->cost, &r->steps, err));
    SG_TRY(run_plan(r, err));
    SG_TRY(
        sg_published_path(path, sizeof path, r->settings.data_folder, "tokenizer.json", NULL, err));
    SG_TRY(sg_file_read(path, run_tokenizer_limit, &r->tokenizer_text, &r->tokenizer_bytes, err));
    if (r->settings.options.sample_every == 0) return SG_OK;
    SG_TRY(
        sg_tokenizer_from_memory(r->tokenizer_text, r->tokenizer_bytes, path, &r->tokenizer, err));
    return run_check_prompt(r, err);
}

// What a state says must be what a run of these options comes to.
static sg_status run_check_state(const sg_training *r, const sg_checkpoint *checkpoint,
                                 sg_error *err)
{
    const sg_train_state *s = &r->trainer.state;
    const int64_t batch = r->settings.options.batch_size;
    const char *name = sg_checkpoint_folder(checkpoint);
    if (s->step > r->steps)
        return sg_fail(err, SG_ERR_MISMATCH, "%s: is of step %lld, but the run has %lld", name,
                       (long long)s->step, (long long)r->steps);
    if (s->step != sg_checkpoint_step(checkpoint))
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"step\": found %lld, expected %lld", name,
                       (long long)s->step, (long long)sg_checkpoint_step(checkpoint));
    if (s->position != s->step * batch)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: \"position\": found %lld, expected %lld rows of %lld steps", name,
                       (long long)s->position, (long long)(s->step * batch), (long long)s->step);
    if ((double)s->tokens > (double)s->position * (double)r->trainer.length)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"tokens\": found %lld, expected at most %.0f",
                       name, (long long)s->tokens, (double)s->position * (double)r->trainer.length);
    return SG_OK;
}

static sg_status run_restore(sg_training *r, const sg_checkpoint *checkpoint, sg_error *err)
{
    const sg_safetensors *moments;
    SG_TRY(sg_train_state_parse(sg_checkpoint_state(checkpoint), sg_checkpoint_folder(checkpoint),
                                &r->trainer.state, err));
    SG_TRY(run_check_state(r, checkpoint, err));
    SG_TRY(sg_checkpoint_group(checkpoint, "optimizer.safetensors", &moments, err));
    sg_status status =
        sg_optimizer_restore(r->trainer.optimizer, moments, r->trainer.state.updates, err);
    if (status != SG_OK)
        return sg_fail_context(err, status, "%s", sg_checkpoint_folder(checkpoint));
    return sg_trainer_seek(&r->trainer, err);
}

static sg_status run_open_model(sg_training *r, const sg_checkpoint *checkpoint, sg_model **model,
                                sg_error *err)
{
    const sg_train_options *o = &r->settings.options;
    const sg_safetensors *weights;
    // With adapters the model is read only, unless they are to be added to it.
    if (o->lora_rank > 0)
        return sg_run_init_open(r->context, &r->settings, o->lora_merge, model, err);
    if (checkpoint == NULL && o->init[0] != '\0')
        return sg_run_init_open(r->context, &r->settings, true, model, err);
    if (checkpoint == NULL) return sg_model_new(r->context, &o->config, o->seed, model, err);
    SG_TRY(sg_checkpoint_group(checkpoint, "model.safetensors", &weights, err));
    return sg_model_from_file(r->context, &o->config, weights, model, err);
}

static sg_status run_choose(const sg_training *r, const sg_checkpoint *checkpoint, sg_model *model,
                            sg_error *err)
{
    const sg_safetensors *weights;
    SG_TRY(sg_trained_choose(&r->settings.options, model, err));
    if (checkpoint == NULL || model->adapters == NULL) return SG_OK;
    SG_TRY(sg_checkpoint_group(checkpoint, SG_ADAPTER_WEIGHTS, &weights, err));
    return sg_adapter_read(model, weights, err);
}

// The trainer, from a checkpoint or (NULL) from what the run begins with.
sg_status sg_training_open_trainer(sg_training *r, const sg_checkpoint *checkpoint, sg_error *err)
{
    sg_model *model;
    SG_TRY(run_open_model(r, checkpoint, &model, err));
    sg_status status = run_choose(r, checkpoint, model, err);
    if (status != SG_OK) {
        sg_model_free(model);
        return status;
    }
    SG_TRY(sg_trainer_open(&r->trainer, r->context, &r->settings.options, r->steps, r->data, model,
                           r->hooks ? r->hooks->points : NULL, err));
    r->trainer_open = true;
    r->trained = sg_trained_count(&model->params);
    r->parameters = model->params.total - model->params.buffers;
    r->usage =
        sg_alloc_zero((size_t)r->settings.options.config.num_hidden_layers, sizeof *r->usage);
    if (r->usage == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run");
    run_plan_again(r);
    return checkpoint ? run_restore(r, checkpoint, err) : SG_OK;
}

void sg_training_close(sg_training *r)
{
    sg_run_log_close(&r->log);
    sg_free(r->usage);
    if (r->trainer_open) sg_trainer_close(&r->trainer);
    sg_tokenizer_free(r->tokenizer);
    sg_free(r->tokenizer_text);
    sg_data_free(r->data);
    sg_run_lock_release(r->lock);
}

// ---- talking ----------------------------------------------------------------------------------

sg_status sg_training_event(sg_training *r, sg_train_event_kind kind, const char *text)
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
                            .work_per_second = r->work_per_second,
                            .peak_per_second = sg_run_peak_median(&r->peak),
                            .peak_age = sg_clock_seconds() - r->peak.time,
                            .val_loss = r->val_loss,
                            .seconds = sg_training_seconds(r),
                            .text = text,
                            .plan = &r->plan,
                            .options = &r->settings.options};
    if (!r->hooks->event(r->hooks->user, &event)) r->stop = true;
    return SG_OK;
}

static void run_rate(sg_training *r)
{
    double now = sg_clock_seconds(), span = now - r->rate_time;
    if (span < 0.5 && r->tokens_per_second > 0) return;
    int64_t steps = r->trainer.state.step - r->rate_step;
    if (steps == 0 || span <= 0) return;
    double tokens = (double)(r->trainer.length * r->settings.options.batch_size * steps);
    r->tokens_per_second = tokens / span;
    r->flops_per_second =
        3 * r->cost.forward_flops_per_sequence_all_in * tokens / (double)r->trainer.length / span;
    r->work_per_second =
        3 * r->cost.forward_work_per_sequence * tokens / (double)r->trainer.length / span;
    r->rate_time = now;
    r->rate_step = r->trainer.state.step;
}

// Between two steps: what products reach, which is no part of the rate. Below what the run does
// itself it was measured while others had the machine, and is measured again soon. The time that
// it takes is none of training.
static void run_peak(sg_training *r)
{
    if (r->hooks == NULL) return;
    double every = r->hooks->measure_seconds;
    if (r->work_per_second > sg_run_peak_median(&r->peak)) every = fmin(every, peak_again);
    const double took =
        sg_run_peak_look(&r->peak, r->context, &r->settings.options, &r->cost, every);
    r->rate_time += took;
    r->started += took;
}

// A value beside the loss; NaN: there is none. Releases the record when it fails.
static json_t *run_log_value(json_t *record, const char *name, double value)
{
    if (record == NULL || isnan(value) ||
        json_object_set_new(record, name, sg_run_log_number(value)) == 0)
        return record;
    json_decref(record);
    return NULL;
}

static json_t *run_log_layers(json_t *record, const char *name, const double *values,
                              int64_t layers)
{
    char full[64];
    for (int64_t l = 0; l < layers; l++) {
        snprintf(full, sizeof full, "%s/layer_%lld", name, (long long)l + 1);
        record = run_log_value(record, full, values[l]);
    }
    return record;
}

// The losses beside that of the task, without their weights, and what sparse layers they see.
static json_t *run_log_losses(json_t *record, const sg_trainer *t)
{
    const sg_sparse_means *s = &t->sparse;
    const struct {
        const char *name;
        double value;
    } aux[] = {{"aux/balance", t->balance},       {"aux/z", t->z},
               {"aux/sparsity", s->term},         {"aux/sparsity_attention", s->attention_term},
               {"aux/efficiency", s->efficiency}, {"aux/separability", s->separability}};
    for (size_t i = 0; i < sizeof aux / sizeof *aux; i++)
        record = run_log_value(record, aux[i].name, aux[i].value);
    record = run_log_layers(record, "zeros", s->zeros, s->layers);
    record = run_log_layers(record, "attention_zeros", s->attention_zeros, s->layers);
    return run_log_layers(record, "unread", s->unread, s->layers);
}

static sg_status run_log(sg_training *r, sg_error *err)
{
    const sg_trainer *t = &r->trainer;
    int64_t every = r->settings.options.log_every ? r->settings.options.log_every : 1;
    int64_t step = t->state.step;
    if (step % every != 0 && step != r->steps && step != 1) return SG_OK;
    double flops = 3 * r->cost.forward_flops_per_sequence * (double)r->settings.options.batch_size;
    json_t *record =
        json_pack("{s:I, s:f, s:f, s:f, s:I, s:f, s:I, s:f, s:f}", "step", (json_int_t)step, "loss",
                  t->loss, "lr", t->lr, "grad_norm", t->norm, "tokens", (json_int_t)t->state.tokens,
                  "flops", flops * (double)step, "skipped_updates", (json_int_t)t->state.skipped,
                  "tokens_per_second", r->tokens_per_second, "seconds", sg_training_seconds(r));
    const double peak = sg_run_peak_median(&r->peak);
    if (peak > 0) {
        record = run_log_value(record, "work_gflops", 1e-9 * r->work_per_second);
        record = run_log_value(record, "peak_gflops", 1e-9 * peak);
    }
    return sg_run_log_record(&r->log, step, run_log_losses(record, t), err);
}

// ---- evaluation and samples -------------------------------------------------------------------

// sequences: about how many are read; 0: all. told: is told of each; may be NULL.
static sg_status run_evaluate(sg_training *r, int64_t sequences, const sg_train_hooks *told,
                              sg_eval_result *result, sg_error *err)
{
    int64_t micro = r->settings.options.batch_size / r->settings.options.grad_accum;
    sg_eval_options options = sg_eval_options_default();
    sg_optimizer_settle(r->trainer.optimizer, r->context->compute);
    options.batch_size = r->settings.options.batch_size;
    options.micro_batch = micro;
    options.usage = r->usage;
    if (sequences > 0)
        options.max_batches = (sequences + options.batch_size - 1) / options.batch_size;
    if (told != NULL) {
        options.sequence = told->sequence;
        options.sequence_user = told->sequence_user;
    }
    return sg_evaluate(r->trainer.model, r->data, &options, result, err);
}

static bool run_has_validation(const sg_training *r)
{
    return sg_data_get_info(r->data)->split[SG_SPLIT_VAL].rows > 0;
}

static sg_status run_validate(sg_training *r, bool *best, sg_error *err)
{
    sg_eval_result val;
    sg_train_state *s = &r->trainer.state;
    SG_TRY(run_evaluate(r, r->settings.options.eval_sequences, NULL, &val, err));
    r->val_loss = val.loss;
    *best = !(val.loss >= s->best_loss);
    if (*best) {
        s->best_loss = val.loss;
        s->best_step = s->step;
    }
    SG_TRY(sg_run_log_record(
        &r->log, s->step,
        json_pack("{s:I, s:f, s:o, s:o, s:f}", "step", (json_int_t)s->step, "val_loss", val.loss,
                  "val_perplexity", sg_run_log_number(val.perplexity), "val_perplexity_batch_mean",
                  sg_run_log_number(val.perplexity_batch_mean), "val_accuracy", val.accuracy),
        err));
    SG_TRY(sg_run_log_usage(&r->log, s->step, r->usage, val.usage_count, err));
    return sg_training_event(r, SG_EVENT_EVAL, NULL);
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

static sg_status run_sample(sg_training *r, sg_error *err)
{
    text_buffer buffer = {.used = 0};
    sg_optimizer_settle(r->trainer.optimizer, r->context->compute);
    int64_t step = r->trainer.state.step;
    buffer_add(&buffer, r->settings.options.sample_prompt,
               strlen(r->settings.options.sample_prompt));
    sg_generate_options options = sg_generate_options_default();
    options.max_tokens = run_sample_tokens;
    options.sample.temperature = 0.8;
    options.sample.seed = r->settings.options.seed;
    options.text = buffer_add;
    options.text_user = &buffer;
    SG_TRY(sg_generate(r->trainer.model, r->tokenizer, r->settings.options.sample_prompt, &options,
                       NULL, err));
    SG_TRY(sg_run_log_record(
        &r->log, step, json_pack("{s:I, s:s}", "step", (json_int_t)step, "sample", buffer.text),
        err));
    SG_TRY(sg_tfevents_text(r->log.events, sg_clock_wall(), step, "sample", buffer.text, err));
    return sg_training_event(r, SG_EVENT_SAMPLE, buffer.text);
}

// ---- the loop ---------------------------------------------------------------------------------

static bool due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

// How the first memory of neurons was read, which depends on what was selected.
static void run_say_order(const sg_training *r)
{
    const sg_memory_orders orders = sg_memory_orders_of(r->trainer.graph->tape);
    if (orders.dense > 0)
        sg_log(r->context, SG_LOG_INFO, "neurons of %d layers are read through dense products",
               orders.dense);
    if (orders.by_table + orders.by_row == 0) return;
    sg_log(r->context, SG_LOG_INFO, "neurons are read %s%s: each is selected %.3g times a pass",
           orders.first.by_table ? "table by table" : "row by row",
           orders.first.rounded ? ", rounded to bf16" : "", orders.first.reuse);
}

// What is trained where not everything is, and what that takes.
static void run_say_trained(const sg_training *r)
{
    const sg_param_list *params = &r->trainer.model->params;
    size_t tensors = 0;
    for (size_t i = 0; i < params->count; i++)
        tensors += !params->specs[i].frozen;
    if (tensors == params->count) return;
    sg_log(
        r->context, SG_LOG_INFO,
        "training %lld of %lld weights, in %zu of %zu tensors: gradients take %zu bytes, moments "
        "%zu",
        (long long)r->trained, (long long)r->parameters, tensors, params->count,
        sg_gradients_bytes(&r->trainer.gradients), sg_optimizer_moment_bytes(r->trainer.optimizer));
}

sg_status sg_training_loop(sg_training *r, sg_error *err)
{
    const sg_train_options *o = &r->settings.options;
    const sg_train_state *s = &r->trainer.state;
    const int64_t first = s->step;
    r->started = r->rate_time = r->saved_time = sg_clock_seconds();
    r->seconds_before = s->seconds;
    r->rate_step = s->step;
    if (r->trainer.gradients.lazy_tables > 0)
        sg_log(r->context, SG_LOG_INFO,
               "the optimiser updates rows of %lld tables when they are read",
               (long long)r->trainer.gradients.lazy_tables);
    run_say_trained(r);
    SG_TRY(sg_training_event(r, SG_EVENT_START, NULL));
    while (s->step < r->steps && !r->stop) {
        int64_t skipped = s->skipped;
        SG_TRY(sg_trainer_step(&r->trainer, err));
        if (s->skipped > skipped)
            sg_log(r->context, SG_LOG_WARNING,
                   "step %lld: the loss jumped to %.4f from about %.4f; this update is skipped",
                   (long long)s->step, r->trainer.loss, s->running_loss);
        if (s->step == first + 1) run_say_order(r);
        run_rate(r);
        run_peak(r);
        SG_TRY(run_log(r, err));
        SG_TRY(sg_training_event(r, SG_EVENT_STEP, NULL));
        bool save = due(o->checkpoint_every, s->step) || sg_training_save_is_due(r);
        if (due(o->eval_every, s->step) && run_has_validation(r)) {
            bool best = false;
            SG_TRY(run_validate(r, &best, err));
            save = save || best;
        }
        if (due(o->sample_every, s->step)) SG_TRY(run_sample(r, err));
        if (save) SG_TRY(sg_training_save_between(r, err));
    }
    SG_TRY(sg_training_save(r, err));
    if (s->step == r->steps) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after step %lld of %lld; what was done is saved",
                   (long long)s->step, (long long)r->steps);
}

static void run_result(const sg_training *r, sg_train_result *result)
{
    const sg_train_state *s = &r->trainer.state;
    double sequences = (double)r->settings.options.batch_size * (double)s->step;
    *result = (sg_train_result){
        .steps = s->step,
        .tokens = s->tokens,
        .train_loss = s->tail_count ? s->tail_sum / (double)s->tail_count : NAN,
        .balance_loss = s->tail_count ? s->tail_balance / (double)s->tail_count : NAN,
        .z_loss = s->tail_count ? s->tail_z / (double)s->tail_count : NAN,
        .seconds = s->seconds,
        .flops = 3 * r->cost.forward_flops_per_sequence * sequences,
        .flops_all_in = 3 * r->cost.forward_flops_per_sequence_all_in * sequences,
        .skipped_updates = s->skipped,
        .lazy_tables = r->trainer.gradients.lazy_tables,
        .compute = r->settings.options.compute,
        .logits_compute = r->settings.options.logits_compute,
        .trained = r->trained,
        .parameters = r->parameters};
}

static sg_status run_save_model(sg_training *r, sg_error *err)
{
    sg_model *m = r->trainer.model;
    if (m->adapters != NULL) {
        char folder[SG_PATH_MAX];
        const sg_adapter_form form = sg_trained_form(&r->settings.options);
        SG_TRY(sg_path_join(folder, sizeof folder, r->folder, "adapter", err));
        SG_TRY(sg_adapter_save(m, &form, folder, err));
        if (!r->settings.options.lora_merge) return SG_OK;
        SG_TRY(sg_model_merge_adapters(m, err));
    }
    return sg_model_write(m, r->tokenizer_text, r->tokenizer_bytes, r->folder, err);
}

// The last evaluation, and the run folder as a model folder, or with adapters in one of their own.
sg_status sg_training_finish(sg_training *r, sg_train_result *result, sg_error *err)
{
    run_result(r, result);
    sg_optimizer_settle(r->trainer.optimizer, r->context->compute);
    if (run_has_validation(r)) {
        SG_TRY(run_evaluate(r, 0, r->hooks, &result->val, err));
        r->val_loss = result->val.loss;
        SG_TRY(sg_run_log_usage_scalars(&r->log, result->steps, r->usage, result->val.usage_count,
                                        err));
    }
    SG_TRY(run_save_model(r, err));
    json_t *summary = sg_train_result_json(result);
    // This releases the usage when it fails, too.
    if (result->val.usage_count > 0 &&
        json_object_set_new(summary, "usage", sg_usage_json(r->usage, result->val.usage_count)) !=
            0) {
        json_decref(summary);
        summary = NULL;
    }
    return sg_run_write_json(r->folder, "summary.json", summary, err);
}

// ---- a new run --------------------------------------------------------------------------

// The folder of a new run may hold other things, but nothing that a run or a model would replace.
static sg_status run_refuse_old(const sg_training *r, sg_error *err)
{
    static const char *const names[] = {
        "run.json",  "summary.json",   "checkpoints",       "config.json",
        "adapter",   "tokenizer.json", "model.safetensors", "model.safetensors.index.json",
        "data.json", "metrics.jsonl",  ".incoming"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        bool there;
        SG_TRY(sg_run_has(r->folder, names[i], &there, err));
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

sg_status sg_train_plan_new(sg_context *context, const char *data, sg_train_options *options,
                            sg_train_plan *plan, sg_error *err)
{
    sg_training r = {.context = context, .folder = "", .settings.options = *options};
    sg_model *model = NULL;
    sg_status status = sg_run_settings_set_data(&r.settings, data, err);
    if (status == SG_OK) status = sg_training_open_data(&r, err);
    *options = r.settings.options;
    // A model that is gone on from is there; of another all is trained.
    const bool parts = options->lora_rank > 0 || options->train_only[0] != '\0';
    if (status == SG_OK && parts) status = run_open_model(&r, NULL, &model, err);
    if (status == SG_OK && parts) status = run_choose(&r, NULL, model, err);
    if (status == SG_OK && parts)
        r.plan = sg_train_plan_make(options, sg_data_get_info(r.data), &r.cost, r.steps,
                                    model->params.total - model->params.buffers,
                                    sg_trained_count(&model->params));
    *plan = r.plan;
    sg_model_free(model);
    sg_training_close(&r);
    return status;
}

sg_status sg_train(sg_context *context, const char *folder, const char *data,
                   const sg_train_options *options, const sg_train_hooks *hooks,
                   sg_train_result *result, sg_error *err)
{
    sg_training r = {.context = context,
                     .folder = folder,
                     .hooks = hooks,
                     .settings.options = *options,
                     .resumed_from = -1,
                     .saved_step = -1,
                     .val_loss = NAN};
    *result = (sg_train_result){0};
    snprintf(r.settings.kernel, sizeof r.settings.kernel, "%s", context->compute.kernels->name);
    snprintf(r.settings.blas, sizeof r.settings.blas, "%s", sg_context_products(context));
    SG_TRY(sg_run_settings_set_data(&r.settings, data, err));
    SG_TRY(run_refuse_old(&r, err));
    sg_status status = sg_training_open_data(&r, err);
    if (status == SG_OK) status = sg_training_open_trainer(&r, NULL, err);
    if (status == SG_OK) status = sg_training_check_room(&r, err);
    if (status == SG_OK) status = sg_folder_make(folder, err);
    if (status == SG_OK) status = sg_run_lock_take(folder, &r.lock, err);
    // Another process may have been here since.
    if (status == SG_OK) status = run_refuse_old(&r, err);
    if (status == SG_OK)
        status =
            sg_run_settings_write(&r.settings, folder, hooks ? hooks->command : NULL, r.steps,
                                  r.trainer.gradients.lazy_tables, sg_data_get_info(r.data), err);
    if (status == SG_OK)
        status = sg_run_log_open(context, folder, r.trainer.state.step, &r.log, err);
    if (status == SG_OK) status = sg_training_loop(&r, err);
    if (status == SG_OK) status = sg_training_finish(&r, result, err);
    sg_training_close(&r);
    return status;
}
