// Opens the logs of a run where a resumed run goes on: records of later steps are dropped there.
#include "train/run_log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

sg_status sg_run_log_open(sg_context *context, const char *run_folder, int64_t step,
                          sg_run_log *log, sg_error *err)
{
    char path[SG_PATH_MAX];
    int64_t damaged;
    SG_TRY(sg_path_join(path, sizeof path, run_folder, "metrics.jsonl", err));
    SG_TRY(sg_jsonl_log_open(path, step > 0 ? step : -1, &log->metrics, &damaged, err));
    if (damaged > 0)
        sg_log(context, SG_LOG_WARNING, "%s: %lld damaged line%s dropped", path, (long long)damaged,
               damaged > 1 ? "s were" : " was");
    return sg_tfevents_open(run_folder, sg_clock_wall(), "sgatlin", step > 0 ? step + 1 : 0,
                            &log->events, err);
}

void sg_run_log_close(sg_run_log *log)
{
    sg_jsonl_log_close(log->metrics, NULL);
    sg_tfevents_close(log->events, NULL);
    *log = (sg_run_log){0};
}

sg_status sg_run_log_sync(sg_run_log *log, sg_error *err)
{
    return sg_jsonl_log_sync(log->metrics, NULL, err);
}

json_t *sg_run_log_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

sg_status sg_run_log_record(sg_run_log *log, int64_t step, json_t *record, sg_error *err)
{
    if (record == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    double wall = sg_clock_wall();
    sg_status status = sg_jsonl_log_put(log->metrics, record, err);
    const char *key;
    json_t *value;
    json_object_foreach(record, key, value)
    {
        if (status != SG_OK || strcmp(key, "step") == 0 || !json_is_number(value)) continue;
        status =
            sg_tfevents_scalar(log->events, wall, step, key, (float)json_number_value(value), err);
    }
    json_decref(record);
    return status == SG_OK ? sg_tfevents_flush(log->events, err) : status;
}

sg_status sg_run_log_usage_scalars(sg_run_log *log, int64_t step, const sg_usage *usage,
                                   int64_t count, sg_error *err)
{
    const double wall = sg_clock_wall();
    for (int64_t i = 0; i < count; i++) {
        const sg_usage *u = &usage[i];
        const struct {
            const char *name;
            double value;
        } parts[] = {{"used", u->used},
                     {"entropy", u->entropy},
                     {"gini", u->gini},
                     {"max_load", u->max_load}};
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            char tag[64];
            snprintf(tag, sizeof tag, "usage/layer_%lld/%s", (long long)u->layer, parts[p].name);
            SG_TRY(sg_tfevents_scalar(log->events, wall, step, tag, (float)parts[p].value, err));
        }
    }
    return sg_tfevents_flush(log->events, err);
}

sg_status sg_run_log_usage(sg_run_log *log, int64_t step, const sg_usage *usage, int64_t count,
                           sg_error *err)
{
    if (count == 0) return SG_OK;
    json_t *record =
        json_pack("{s:I, s:o}", "step", (json_int_t)step, "usage", sg_usage_json(usage, count));
    SG_TRY(sg_run_log_record(log, step, record, err));
    return sg_run_log_usage_scalars(log, step, usage, count, err);
}
