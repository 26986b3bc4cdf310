// Checkpoints of a run: what they hold, when they are due, and whether they fit on the disk.
// Nothing here changes a bit of what is computed.
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "train/run.h"
#include "train/run_state.h"
#include "train/trained.h"
#include "sgatlin_train.h"

double sg_training_seconds(const sg_training *r)
{
    return r->seconds_before + sg_clock_seconds() - r->started;
}

// What a checkpoint has of the model: all of it, or its adapters.
typedef struct run_model_part {
    const char *weights_file, *config_file;
    size_t count;
    sg_tensor_view *views;
    char *config;
} run_model_part;

static sg_status run_model_part_of(const sg_training *r, run_model_part *part, sg_error *err)
{
    const sg_model *m = r->trainer.model;
    const bool adapters = m->adapters != NULL;
    const sg_adapter_form form = sg_trained_form(&r->settings.options);
    *part = (run_model_part){.weights_file = adapters ? SG_ADAPTER_WEIGHTS : "model.safetensors",
                             .config_file = adapters ? SG_ADAPTER_CONFIG : "config.json",
                             .count = adapters ? sg_adapter_tensors(m) : m->params.count};
    part->views = sg_alloc_array(part->count, sizeof *part->views);
    if (part->views == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a checkpoint");
    if (adapters) {
        sg_adapter_views(m, part->views);
        return sg_adapter_config_text(m, &form, &part->config, err);
    }
    sg_model_views(m, part->views);
    return sg_model_config_text(m, &part->config, err);
}

static sg_status run_checkpoint_files(sg_training *r, const run_model_part *part, sg_error *err)
{
    size_t states;
    const sg_tensor_view *optimizer = sg_optimizer_state(r->trainer.optimizer, &states);
    json_t *state = sg_train_state_json(&r->trainer.state);
    if (state == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a checkpoint");
    const sg_tensor_group groups[] = {{part->weights_file, part->views, part->count},
                                      {"optimizer.safetensors", optimizer, states}};
    const sg_named_bytes files[] = {{part->config_file, part->config, strlen(part->config)},
                                    {"tokenizer.json", r->tokenizer_text, r->tokenizer_bytes}};
    sg_checkpoint_content content = {.step = r->trainer.state.step,
                                     .groups = groups,
                                     .group_count = 2,
                                     .files = files,
                                     .file_count = 2,
                                     .state = state};
    sg_status status = sg_checkpoint_save(r->folder, &content, err);
    json_decref(state);
    return status;
}

sg_status sg_training_prune(const sg_training *r, sg_error *err)
{
    return sg_checkpoint_prune(r->folder, r->saved_step, (int)r->settings.options.keep_last,
                               r->trainer.state.best_step, err);
}

sg_status sg_training_save(sg_training *r, sg_error *err)
{
    sg_train_state *s = &r->trainer.state;
    if (r->saved_step == s->step) return SG_OK;
    run_model_part part;
    s->seconds = sg_training_seconds(r);
    SG_TRY(sg_run_log_sync(&r->log, err));
    sg_status status = run_model_part_of(r, &part, err);
    if (status == SG_OK) status = run_checkpoint_files(r, &part, err);
    sg_free(part.views);
    sg_free(part.config);
    if (status != SG_OK) return status;
    r->saved_step = s->step;
    r->saved_time = sg_clock_seconds();
    SG_TRY(sg_training_prune(r, err));
    return sg_training_event(r, SG_EVENT_CHECKPOINT, NULL);
}

// ---- when and whether ---------------------------------------------------------------------------

bool sg_training_save_is_due(const sg_training *r)
{
    const double minutes = r->settings.options.checkpoint_minutes;
    return minutes > 0 && sg_clock_seconds() - r->saved_time >= 60 * minutes;
}

// Bytes of the model, or of its adapters.
static int64_t save_model_bytes(const sg_training *r)
{
    const sg_model *m = r->trainer.model;
    int64_t weights = 0;
    const size_t first = m->adapters != NULL ? m->adapters->first : 0;
    for (size_t i = first; i < m->params.count; i++)
        weights += m->params.specs[i].count;
    return weights * (int64_t)sizeof(sg_real) + (int64_t)r->tokenizer_bytes;
}

int64_t sg_training_checkpoint_bytes(const sg_training *r)
{
    enum { small_files = 1 << 16 };
    return save_model_bytes(r) + (int64_t)sg_optimizer_moment_bytes(r->trainer.optimizer) +
           small_files;
}

// Of the disk of the run; what cannot be known stops nothing.
static int64_t save_free_space(const sg_training *r)
{
    int64_t bytes;
    return sg_file_free_space(r->folder, &bytes, NULL) == SG_OK ? bytes : INT64_MAX;
}

sg_status sg_training_save_between(sg_training *r, sg_error *err)
{
    const int64_t needed = sg_training_checkpoint_bytes(r), found = save_free_space(r);
    if (found >= needed) return sg_training_save(r, err);
    sg_log(
        r->context, SG_LOG_WARNING,
        "step %lld: no checkpoint: found %.3g GB of free disk, expected %.3g GB; going on without",
        (long long)r->trainer.state.step, (double)found / 1e9, (double)needed / 1e9);
    r->saved_time = sg_clock_seconds(); // and look again when the next one is due
    return SG_OK;
}

// What is kept, one more while it is written, and the model at the end; of what a former life has
// left there is all but that one.
sg_status sg_training_check_room(sg_training *r, sg_error *err)
{
    const sg_train_options *o = &r->settings.options;
    const int64_t one = sg_training_checkpoint_bytes(r), model = save_model_bytes(r);
    const int64_t left = r->steps - r->trainer.state.step + 1; // checkpoints that can come
    const bool best = o->eval_every > 0 && sg_data_get_info(r->data)->split[SG_SPLIT_VAL].rows > 0;
    int64_t most = sg_min(left, (r->resumed_from < 0 ? o->keep_last + best : 0) + 1);
    const int64_t found = save_free_space(r);
    if ((double)found >= (double)most * (double)one + (double)model) return SG_OK;
    return sg_fail(
        err, SG_ERR_IO,
        "%s: %s: found %.3g GB of free disk, expected %.3g GB for up to %lld checkpoints "
        "and the model (--keep-last 1 keeps fewest)",
        r->folder, strerror(ENOSPC), (double)found / 1e9,
        ((double)most * (double)one + (double)model) / 1e9, (long long)most);
}
