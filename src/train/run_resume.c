// Going on with a run: from its newest intact checkpoint, as it began or otherwise; and what of a
// finished one is put right.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "format/json.h"
#include "model/adapter_files.h"
#include "train/run.h"
#include "train/run_changes.h"
#include "train/run_state.h"
#include "sgatlin_train.h"

typedef struct resume {
    sg_training *r;
    const sg_train_change *changes;
    size_t change_count;
    json_t *list;   // of what they change (run_changes.h)
    char began[24]; // the checksum of the data that the run began with
    sg_train_result *result;
    bool ended; // summary.json is of the last step that the run had
} resume;

// ---- a run that has ended -----------------------------------------------------------------------

static sg_status resume_summary(const sg_training *r, sg_train_result *result, bool *there,
                                sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    bool sealed;
    SG_TRY(sg_run_has(r->folder, "summary.json", there, err));
    if (!*there) return SG_OK;
    SG_TRY(sg_path_join(path, sizeof path, r->folder, "summary.json", err));
    SG_TRY(sg_run_read_json(r->folder, "summary.json", &object, &sealed, err));
    sg_status status = sg_train_result_parse(object, path, result, err);
    json_decref(object);
    return status;
}

// Whether what a run leaves at its end can be opened; what is wrong is in *problem.
static sg_status resume_look(const sg_training *r, sg_error *problem)
{
    const sg_train_options *o = &r->settings.options;
    char path[SG_PATH_MAX];
    sg_model_file *model;
    sg_safetensors *adapters;
    if (o->lora_rank > 0) {
        SG_TRY(sg_path_join(path, sizeof path, r->folder, "adapter/" SG_ADAPTER_WEIGHTS, problem));
        SG_TRY(sg_safetensors_open(path, &adapters, problem));
        sg_safetensors_close(adapters);
    }
    if (o->lora_rank > 0 && !o->lora_merge) return SG_OK;
    SG_TRY(sg_model_file_open(r->folder, &model, problem));
    sg_model_file_close(model);
    sg_fs_info info;
    SG_TRY(sg_path_join(path, sizeof path, r->folder, "tokenizer.json", problem));
    return sg_path_info(path, &info, problem);
}

// A finished run that lost its model, or whose model is damaged, has it still in its last
// checkpoint.
static sg_status resume_is_whole(const resume *c, bool *whole, sg_error *err)
{
    sg_error problem = {0};
    sg_status status = resume_look(c->r, &problem);
    *whole = status == SG_OK;
    if (*whole) return SG_OK;
    if (status == SG_ERR_MEMORY || status == SG_ERR_IO)
        return sg_fail(err, status, "%s", problem.message);
    sg_log(c->r->context, SG_LOG_WARNING,
           "%s: the run has ended, but its model is not whole: %s; restoring it from the last "
           "checkpoint",
           c->r->folder, problem.message);
    return SG_OK;
}

// ---- what is not as it was ----------------------------------------------------------------------

// Other data, and the end would not be that of the run; other arithmetic, and not to the bit.
static sg_status resume_compare(resume *c, sg_error *err)
{
    sg_run_settings *s = &c->r->settings;
    const char *kernel = c->r->context->compute.kernels->name,
               *blas = sg_context_products(c->r->context);
    if (strcmp(s->data_hash, c->began) != 0)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: its checksum is %s, but the run began with data of %s", s->data_folder,
                       s->data_hash, c->began);
    if (strcmp(kernel, s->kernel) != 0 || strcmp(blas, s->blas) != 0)
        sg_log(c->r->context, SG_LOG_WARNING,
               "%s: began with %s kernels and %s products, goes on with %s and %s: the end will "
               "not be the same to the bit",
               c->r->folder, s->kernel, s->blas, kernel, blas);
    SG_TRY(sg_run_changes_add(c->list, "kernel", s->kernel, kernel, err));
    SG_TRY(sg_run_changes_add(c->list, "blas", s->blas, blas, err));
    snprintf(s->kernel, sizeof s->kernel, "%s", kernel);
    snprintf(s->blas, sizeof s->blas, "%s", blas);
    return SG_OK;
}

// Says what was changed, and records it.
static sg_status resume_record(resume *c, sg_error *err)
{
    sg_training *r = c->r;
    const int64_t step = r->trainer.state.step;
    size_t i;
    json_t *entry;
    if (step < r->settings.changed_at)
        sg_log(
            r->context, SG_LOG_WARNING,
            "%s: what was changed after step %lld holds from step %lld on, where the run goes on",
            r->folder, (long long)r->settings.changed_at, (long long)step);
    json_array_foreach(c->list, i, entry)
    {
        char *before =
            json_dumps(json_object_get(entry, "old"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        char *after =
            json_dumps(json_object_get(entry, "new"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
        if (before != NULL && after != NULL)
            sg_log(r->context, SG_LOG_INFO, "after step %lld: %s: %s -> %s", (long long)step,
                   json_string_value(json_object_get(entry, "field")), before, after);
        sg_free(before);
        sg_free(after);
    }
    SG_TRY(sg_run_changes_record(r->folder, &r->settings, r->steps, step, c->list, err));
    if (r->steps == r->settings.steps) return SG_OK;
    // The last tenth of the steps is another one.
    r->trainer.state.tail_sum = r->trainer.state.tail_balance = r->trainer.state.tail_z = 0;
    r->trainer.state.tail_count = 0;
    return SG_OK;
}

// ---- going on -----------------------------------------------------------------------------------

static sg_status resume_checkpoint(const resume *c, sg_checkpoint **checkpoint, sg_error *err)
{
    sg_training *r = c->r;
    sg_status status = sg_checkpoint_find_latest(r->folder, r->context, checkpoint, err);
    if (!sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    if (c->ended)
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "%s: the run has ended, and there is no checkpoint to go on from or to "
                       "restore its model (model.safetensors) from",
                       r->folder);
    sg_log(r->context, SG_LOG_INFO, "%s: no checkpoint yet, starting anew", r->folder);
    return SG_OK;
}

static sg_status resume_train(resume *c, sg_error *err)
{
    sg_training *r = c->r;
    sg_checkpoint *checkpoint = NULL;
    SG_TRY(sg_training_open_data(r, err));
    SG_TRY(resume_compare(c, err));
    if (c->change_count > 0 && c->ended && r->steps <= c->result->steps)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "steps: the run has ended after %lld, expected more of them (--steps N) to go "
            "on with it",
            (long long)c->result->steps);
    SG_TRY(resume_checkpoint(c, &checkpoint, err));
    sg_status status = sg_training_open_trainer(r, checkpoint, err);
    if (status == SG_OK && checkpoint != NULL)
        r->resumed_from = r->saved_step = r->trainer.state.step;
    sg_checkpoint_close(checkpoint);
    SG_TRY(status);
    SG_TRY(sg_training_check_room(r, err));
    SG_TRY(resume_record(c, err));
    // The last life may have been cut off between saving and tidying up.
    if (r->saved_step >= 0) SG_TRY(sg_training_prune(r, err));
    SG_TRY(sg_run_log_open(r->context, r->folder, r->trainer.state.step, &r->log, err));
    SG_TRY(sg_training_loop(r, err));
    return sg_training_finish(r, c->result, err);
}

static sg_status resume_run(resume *c, sg_error *err)
{
    sg_training *r = c->r;
    bool whole = false;
    SG_TRY(sg_run_changes_apply(&r->settings.options, c->changes, c->change_count, &c->list, err));
    SG_TRY(sg_run_lock_take(r->folder, &r->lock, err));
    SG_TRY(sg_model_folder_recover(r->folder, err));
    SG_TRY(resume_summary(r, c->result, &c->ended, err));
    c->ended = c->ended && c->result->steps >= r->settings.steps;
    if (c->ended && c->change_count == 0) SG_TRY(resume_is_whole(c, &whole, err));
    return whole ? SG_OK : resume_train(c, err);
}

sg_status sg_train_resume_changed(sg_context *context, const char *folder, const char *data,
                                  const sg_train_change *changes, size_t count,
                                  const sg_train_hooks *hooks, sg_train_result *result,
                                  sg_error *err)
{
    sg_training r = {.context = context,
                     .folder = folder,
                     .hooks = hooks,
                     .resumed_from = -1,
                     .saved_step = -1,
                     .val_loss = NAN};
    resume c = {.r = &r, .changes = changes, .change_count = count, .result = result};
    *result = (sg_train_result){0};
    SG_TRY(sg_run_settings_read(folder, &r.settings, err));
    if (!r.settings.sealed)
        sg_log(context, SG_LOG_WARNING,
               "%s/run.json: has no checksum, as runs of older versions: whether it was changed "
               "cannot be told",
               folder);
    char unread[768];
    if (sg_unread_text(&r.settings.unread, folder, unread, sizeof unread))
        sg_log(context, SG_LOG_WARNING, "%s", unread);
    memcpy(c.began, r.settings.data_hash, sizeof c.began);
    if (data != NULL) SG_TRY(sg_run_settings_set_data(&r.settings, data, err));
    sg_status status = resume_run(&c, err);
    json_decref(c.list);
    sg_training_close(&r);
    return status;
}

sg_status sg_train_resume(sg_context *context, const char *run, const char *data,
                          const sg_train_hooks *hooks, sg_train_result *result, sg_error *err)
{
    return sg_train_resume_changed(context, run, data, NULL, 0, hooks, result, err);
}
