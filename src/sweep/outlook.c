// What a sweep will take, as its users are told (predict.h), and a refusal of what cannot fit.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/file.h"
#include "sweep/predict.h"
#include "sweep/results.h"
#include "sweep/sweep_folder.h"

typedef struct outlook_parts {
    sg_sweep_folder folder;
    sg_sweep_results results;
    sg_sweep_plan plan;
    sg_context *context;
    sg_sweep_forecast forecast;
} outlook_parts;

static const char *outlook_timing(sg_sweep_time_source timing)
{
    return timing == SG_SWEEP_TIME_MEASURED    ? "measured"
           : timing == SG_SWEEP_TIME_ESTIMATED ? "estimated"
           : timing == SG_SWEEP_TIME_GUESSED   ? "guessed"
                                               : "none";
}

static void outlook_cell(const outlook_parts *p, size_t i, sg_sweep_cell_outlook *out)
{
    const sg_sweep_prediction *c = &p->forecast.cells[i];
    const sg_sweep_cell *cell = sg_sweep_plan_cell(&p->folder.spec, &p->plan, i);
    *out = (sg_sweep_cell_outlook){.scale = cell->scale,
                                   .budget = cell->budget,
                                   .steps = c->steps,
                                   .tokens = c->tokens,
                                   .epochs = c->epochs,
                                   .flops = c->flops,
                                   .flops_all_in = c->flops_all_in,
                                   .parameters = c->parameters,
                                   .active_parameters = c->active_parameters,
                                   .memory_bytes = c->memory_bytes,
                                   .disk_bytes = c->disk_bytes,
                                   .seconds = c->seconds,
                                   .timing = outlook_timing(c->timing),
                                   .finished = c->finished,
                                   .waiting = c->waiting,
                                   .expected = c->expected};
    memcpy(out->family, cell->family, sizeof out->family);
    memcpy(out->settings, cell->settings, sizeof out->settings);
}

static sg_sweep_family_outlook outlook_family(const sg_sweep_total *t)
{
    sg_sweep_family_outlook out = {.finished = t->finished,
                                   .waiting = t->waiting,
                                   .expected = t->expected,
                                   .flops = t->flops,
                                   .flops_all_in = t->flops_all_in,
                                   .seconds = t->seconds};
    memcpy(out.family, t->family, sizeof out.family);
    return out;
}

// Where the folder is, or the nearest one above it that is there.
static int64_t outlook_disk(const char *folder)
{
    char path[SG_PATH_MAX], above[SG_PATH_MAX];
    int64_t bytes;
    snprintf(path, sizeof path, "%s", folder);
    while (!sg_path_is_folder(path)) {
        sg_path_folder(above, sizeof above, path);
        if (strcmp(above, path) == 0) break;
        memcpy(path, above, sizeof path);
    }
    return sg_file_free_space(path, &bytes, NULL) == SG_OK ? bytes : INT64_MAX;
}

static sg_status outlook_fill(const outlook_parts *p, sg_sweep_outlook *out, sg_error *err)
{
    const sg_sweep_forecast *f = &p->forecast;
    *out = (sg_sweep_outlook){.all = outlook_family(&f->all),
                              .wall_seconds = f->wall_seconds,
                              .memory_bytes = f->memory_bytes,
                              .memory_available = f->memory_available,
                              .disk_bytes = f->disk_bytes,
                              .disk_free = outlook_disk(p->folder.path),
                              .measured = f->measured,
                              .shapes = f->shapes};
    out->cells = sg_alloc_zero(f->count, sizeof *out->cells);
    out->families = sg_alloc_zero(f->family_count, sizeof *out->families);
    if (out->cells == NULL || out->families == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a plan");
    for (size_t i = 0; i < f->count; i++)
        outlook_cell(p, i, &out->cells[i]);
    for (size_t i = 0; i < f->family_count; i++)
        out->families[i] = outlook_family(&f->families[i]);
    out->count = f->count;
    out->family_count = f->family_count;
    if (out->disk_bytes <= out->disk_free) return SG_OK;
    return sg_fail(err, SG_ERR_IO,
                   "%s: found %.3g GB of free disk, expected %.3g GB for the runs that are made at "
                   "the same time",
                   p->folder.path, (double)out->disk_free / 1e9, (double)out->disk_bytes / 1e9);
}

// What is there of the sweep counts as done; where there is nothing, the results are empty.
static sg_status outlook_results(outlook_parts *p, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, p->folder.path, "sweep.db", err));
    if (sg_path_exists(path)) {
        SG_TRY(sg_sweep_results_open(path, &p->results, err));
        return sg_sweep_folder_fits(&p->folder, &p->results, err);
    }
    memcpy(p->results.data_hash, p->folder.data_hash, sizeof p->results.data_hash);
    return SG_OK;
}

static sg_status outlook_make(const sg_sweep_options *o, outlook_parts *p, sg_sweep_outlook *out,
                              sg_error *err)
{
    const int64_t jobs = o->jobs > 0 ? o->jobs : 1;
    const int share = sg_cpu_detect().cores / (int)jobs;
    const sg_context_options context = {.threads = o->threads > 0 ? o->threads
                                                   : share > 0    ? share
                                                                  : 1,
                                        .kernel = o->kernel};
    sg_sweep_predict_options predict = sg_sweep_predict_options_default();
    predict.jobs = jobs;
    SG_TRY(sg_sweep_folder_look(o, &p->folder, err));
    SG_TRY(outlook_results(p, err));
    SG_TRY(sg_sweep_due(&p->folder.spec, &p->results, o->automatic, &p->plan, err));
    SG_TRY(sg_context_new(&context, &p->context, err));
    SG_TRY(sg_sweep_predict(p->context, &p->folder.spec, &p->plan, &p->results, p->folder.data,
                            &predict, &p->forecast, err));
    return outlook_fill(p, out, err);
}

sg_status sg_sweep_look_ahead(const sg_sweep_options *options, sg_sweep_outlook *out, sg_error *err)
{
    *out = (sg_sweep_outlook){0};
    outlook_parts *p = sg_alloc_zero(1, sizeof *p);
    if (p == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a plan");
    const sg_status status = outlook_make(options, p, out, err);
    sg_sweep_forecast_clear(&p->forecast);
    sg_context_free(p->context);
    sg_sweep_plan_clear(&p->plan);
    sg_sweep_results_clear(&p->results);
    sg_sweep_folder_close(&p->folder);
    sg_free(p);
    if (status != SG_OK) sg_sweep_outlook_clear(out);
    return status;
}

void sg_sweep_outlook_clear(sg_sweep_outlook *outlook)
{
    sg_free(outlook->cells);
    sg_free(outlook->families);
    *outlook = (sg_sweep_outlook){0};
}
