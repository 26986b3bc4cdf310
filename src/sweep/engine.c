// Making a sweep: what is due is asked for, given to jobs, and written down when it has ended,
// again and again until nothing is due. Only this thread writes the database and calls the caller.
//
// A run is in the database from its beginning (running), so that others see it, and its row becomes
// finished, with all of its results, in one transaction. A kill before that leaves the folder of
// the run, from which it goes on; a kill behind it leaves files that the next life removes.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "sgatlin_bench.h"
#include "sweep/columns.h"
#include "sweep/due.h"
#include "sweep/overview.h"
#include "sweep/predict.h"
#include "sweep/results.h"
#include "sweep/spec.h"
#include "sweep/sweep_folder.h"
#include "sweep/sweep_jobs.h"

enum { engine_jobs_most = 256, engine_line = 1024 };
static const double engine_look = 0.2; // seconds between two looks at jobs

typedef struct engine {
    const sg_sweep_options *options;
    sg_sweep_folder folder;
    sg_sweep_results results;
    sg_sweep_plan plan;
    sg_sweep_jobs *jobs;
    sg_sweep_job *seen; // (jobs) for the caller
    int threads;        // of a job
    int64_t machine;    // row of `machines`
    int64_t made;
    bool stopping;
    sg_status status; // why it stops
    sg_error why;
} engine;

sg_sweep_options sg_sweep_options_default(void)
{
    return (sg_sweep_options){.jobs = 1};
}

// ---- what is known and due ----------------------------------------------------------------------

static sg_status engine_plan(engine *e, sg_error *err)
{
    sg_sweep_plan_clear(&e->plan);
    sg_sweep_results_clear(&e->results);
    if (e->folder.store != NULL)
        SG_TRY(sg_sweep_store_read(e->folder.store, &e->results, err));
    else
        memcpy(e->results.data_hash, e->folder.data_hash, sizeof e->results.data_hash);
    return sg_sweep_due(&e->folder.spec, &e->results, e->options->automatic, &e->plan, err);
}

// The row of a run that is due; NULL: there is none.
static const sg_sweep_row *engine_row(const engine *e, size_t todo)
{
    const int64_t row = e->plan.rows[todo];
    return row == SG_SWEEP_NO_ROW ? NULL : &e->results.rows[row];
}

static bool engine_ended(const sg_sweep_row *row)
{
    return row != NULL && (row->state == SG_SWEEP_FINISHED || row->state == SG_SWEEP_FAILED);
}

// The first that has neither ended nor is being made; SIZE_MAX: none.
static size_t engine_next(engine *e)
{
    for (size_t i = 0; i < e->plan.count; i++) {
        const sg_sweep_row *row = engine_row(e, i);
        if (!engine_ended(row) && (row == NULL || !sg_sweep_jobs_has(e->jobs, row->id))) return i;
    }
    return SIZE_MAX;
}

// ---- talk ---------------------------------------------------------------------------------------

// Of a family: what its finished runs took. What a run counts in are its published FLOPs, where
// these are its budget, or itself.
typedef struct family_pace {
    const char *family;
    double seconds, work;
} family_pace;

enum { paces_most = 64 }; // of further families only the mean of all is known

static double engine_work(const sg_train_options *o)
{
    return o->flops > 0 ? o->flops : 1;
}

static size_t engine_paces(const engine *e, family_pace paces[paces_most], family_pace *all)
{
    size_t count = 0;
    *all = (family_pace){0};
    for (size_t i = 0; i < e->plan.count; i++) {
        const sg_sweep_row *row = engine_row(e, i);
        size_t p = 0;
        if (row == NULL || row->state != SG_SWEEP_FINISHED || !(row->seconds > 0)) continue;
        const double work = engine_work(&e->plan.todos[i].options);
        while (p < count && strcmp(paces[p].family, row->family) != 0)
            p++;
        if (p == count && count < paces_most) paces[count++] = (family_pace){.family = row->family};
        if (p < count) {
            paces[p].seconds += row->seconds;
            paces[p].work += work;
        }
        all->seconds += row->seconds;
        all->work += work;
    }
    return count;
}

// How much of a run is done.
static double engine_share(const engine *e, const sg_sweep_row *row)
{
    for (int64_t k = 0; k < e->options->jobs && row != NULL; k++) {
        const sg_sweep_job *job = &e->seen[k];
        if (job->active && job->steps > 0 && strcmp(job->id, row->id) == 0)
            return (double)job->step / (double)job->steps;
    }
    return 0;
}

// From what finished runs of the same family, or of all, took for their work.
static double engine_seconds_left(const engine *e)
{
    family_pace paces[paces_most], all;
    const size_t count = engine_paces(e, paces, &all);
    double left = 0, due = 0;
    if (all.work == 0) return NAN;
    for (size_t i = 0; i < e->plan.count; i++) {
        const sg_sweep_row *row = engine_row(e, i);
        const sg_sweep_todo *todo = &e->plan.todos[i];
        size_t p = 0;
        if (engine_ended(row)) continue;
        const char *family = sg_sweep_plan_cell(&e->folder.spec, &e->plan, todo->cell)->family;
        while (p < count && strcmp(paces[p].family, family) != 0)
            p++;
        const family_pace *pace = p < count ? &paces[p] : &all;
        left +=
            (1 - engine_share(e, row)) * pace->seconds / pace->work * engine_work(&todo->options);
        due++;
    }
    const double mean = due > 0 ? left / due : all.seconds / all.work;
    return (left + e->plan.expected * mean) / (double)e->options->jobs;
}

static void engine_stop(engine *e, sg_status status, const sg_error *why)
{
    if (!e->stopping) {
        e->status = status;
        e->why = *why;
    }
    e->stopping = true;
    sg_sweep_jobs_stop(e->jobs);
}

static void engine_say(engine *e, const char *said, bool warning)
{
    if (e->options->progress == NULL || e->seen == NULL) return;
    sg_sweep_jobs_look(e->jobs, e->seen);
    const sg_sweep_totals totals = sg_sweep_count(&e->plan, &e->results);
    const sg_sweep_progress progress = {.said = said,
                                        .warning = warning,
                                        .planned = totals.planned,
                                        .finished = totals.finished,
                                        .failed = totals.failed,
                                        .expected = totals.expected,
                                        .seconds_left = engine_seconds_left(e),
                                        .jobs = e->seen,
                                        .job_count = (size_t)e->options->jobs};
    if (e->options->progress(e->options->user, &progress) || e->stopping) return;
    sg_error why = {0};
    sg_fail(&why, SG_ERR_STOPPED,
            "stopped; what is finished is kept, and the same command goes on with the rest");
    engine_stop(e, SG_ERR_STOPPED, &why);
}

// ---- rows ---------------------------------------------------------------------------------------

static sg_status engine_write(engine *e, const sg_sweep_row *row, double started, sg_error *err)
{
    sg_sweep_store *s = e->folder.store;
    SG_TRY(sg_sweep_store_begin(s, err));
    sg_status status = sg_sweep_store_put(s, row, err);
    if (status == SG_OK && row->state == SG_SWEEP_FINISHED)
        status = sg_sweep_store_clock(s, row->id, e->machine, row->seconds, started, err);
    if (status == SG_OK) status = sg_sweep_store_commit(s, err);
    if (status != SG_OK) sg_sweep_store_rollback(s);
    return status;
}

static void engine_name(const sg_sweep_row *row, char *out, size_t capacity)
{
    char scale[48] = "", budget[48] = "";
    const bool plain = strcmp(row->settings, "{}") == 0;
    if (!isnan(row->scale)) snprintf(scale, sizeof scale, ", scale %s", SG_NUMBER(row->scale));
    if (!isnan(row->budget)) snprintf(budget, sizeof budget, ", %s FLOPs", SG_NUMBER(row->budget));
    snprintf(out, capacity, "%s%s%s%s%.100s, lr %s, seed %llu", row->family, scale, budget,
             plain ? "" : ", ", plain ? "" : row->settings, SG_NUMBER(row->lr),
             (unsigned long long)row->seed);
}

static sg_status engine_task(const engine *e, size_t todo, sg_sweep_task *task, sg_error *err)
{
    const sg_sweep_todo *t = &e->plan.todos[todo];
    const sg_sweep_cell *cell = sg_sweep_plan_cell(&e->folder.spec, &e->plan, t->cell);
    char runs[SG_PATH_MAX];
    *task = (sg_sweep_task){.row = sg_sweep_row_empty(), .options = t->options};
    sg_sweep_row *row = &task->row;
    SG_TRY(sg_sweep_id(&t->options, e->folder.data_hash, row->id, err));
    row->cell = t->cell < e->folder.spec.cell_count ? (int64_t)t->cell : -1;
    memcpy(row->family, cell->family, sizeof row->family);
    memcpy(row->settings, cell->settings, sizeof row->settings);
    row->scale = cell->scale;
    row->budget = cell->budget;
    row->purpose = t->purpose;
    row->seed = t->seed;
    row->lr = t->options.lr;
    row->beta2 = t->options.beta2;
    row->warmup_steps = (double)t->options.warmup_steps;
    row->state = SG_SWEEP_RUNNING;
    engine_name(row, task->what, sizeof task->what);
    SG_TRY(sg_path_join(runs, sizeof runs, e->folder.path, "runs", err));
    SG_TRY(sg_folder_make(runs, err));
    return sg_path_join(task->folder, sizeof task->folder, runs, row->id, err);
}

static sg_status engine_give(engine *e, size_t todo, sg_error *err)
{
    sg_sweep_task *task = sg_alloc_zero(1, sizeof *task);
    if (task == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run");
    sg_status status = engine_task(e, todo, task, err);
    if (status == SG_OK) status = engine_write(e, &task->row, 0, err);
    if (status == SG_OK) sg_sweep_jobs_give(e->jobs, task);
    sg_free(task);
    return status == SG_OK ? engine_plan(e, err) : status;
}

// ---- ends of runs -------------------------------------------------------------------------------

// As much of a text as there is room for, never a part of a character.
static void engine_clip(char *out, size_t capacity, const char *text)
{
    size_t bytes = strlen(text);
    if (bytes >= capacity) bytes = capacity - 1;
    while (bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80)
        bytes--;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
}

// A failure leaves nothing behind but its words and what the run logged.
static void engine_failed(sg_sweep_row *row, sg_status status, const sg_error *why)
{
    sg_sweep_row failed = sg_sweep_row_empty();
    const sg_sweep_row was = *row;
    sg_sweep_row_clear(row);
    memcpy(failed.id, was.id, sizeof failed.id);
    memcpy(failed.family, was.family, sizeof failed.family);
    memcpy(failed.settings, was.settings, sizeof failed.settings);
    failed.cell = was.cell;
    failed.scale = was.scale;
    failed.budget = was.budget;
    failed.purpose = was.purpose;
    failed.seed = was.seed;
    failed.lr = was.lr;
    failed.beta2 = was.beta2;
    failed.warmup_steps = was.warmup_steps;
    failed.state = SG_SWEEP_FAILED;
    failed.failure = status;
    engine_clip(failed.error, sizeof failed.error, why->message);
    *row = failed;
}

static sg_status engine_keep(engine *e, sg_sweep_task *task, sg_status status, sg_error *why,
                             sg_error *err)
{
    char said[engine_line];
    sg_sweep_row *row = &task->row;
    const double started = sg_clock_wall() - (row->seconds > 0 ? row->seconds : 0);
    if (status == SG_OK)
        row->state = SG_SWEEP_FINISHED;
    else
        engine_failed(row, status, why);
    SG_TRY(engine_write(e, row, started, err));
    SG_TRY(sg_sweep_tidy_run(task->folder, e->options->keep_models && status == SG_OK, err));
    e->made++;
    if (status == SG_OK)
        snprintf(said, sizeof said, "%s: loss %.4f, perplexity %.2f, %lld steps in %.0f s",
                 task->what, row->loss, row->perplexity, (long long)row->steps, row->seconds);
    else
        snprintf(said, sizeof said, "%s: %s: %.300s", task->what,
                 status == SG_ERR_NUMERIC ? "diverged" : "failed", why->message);
    SG_TRY(engine_plan(e, err));
    engine_say(e, said, status != SG_OK);
    return SG_OK;
}

static sg_status engine_end(engine *e, sg_sweep_task *task, sg_status status, sg_error *why,
                            sg_error *err)
{
    if (status == SG_ERR_STOPPED) return SG_OK;
    if (status == SG_ERR_IO) { // of the machine, not of the run, which can go on
        sg_fail_context(why, status, "%s", task->what);
        engine_stop(e, status, why);
        return SG_OK;
    }
    SG_TRY(engine_keep(e, task, status, why, err));
    if (status == SG_OK || !e->options->fail_fast) return SG_OK;
    sg_fail_context(why, status, "%s", task->what);
    engine_stop(e, status, why);
    return SG_OK;
}

static sg_status engine_take(engine *e, sg_error *err)
{
    sg_status ended, status = SG_OK;
    sg_error why = {0};
    sg_sweep_task *task = sg_alloc_zero(1, sizeof *task);
    if (task == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run");
    while (status == SG_OK && sg_sweep_jobs_take(e->jobs, task, &ended, &why)) {
        status = engine_end(e, task, ended, &why, err);
        sg_sweep_row_clear(&task->row);
    }
    sg_free(task);
    return status;
}

static void engine_pass_on(engine *e)
{
    char message[engine_line];
    while (sg_sweep_jobs_message(e->jobs, message, sizeof message))
        engine_say(e, message, true);
}

// What still runs saves; what contexts say at their end is passed on.
static void engine_last_words(engine *e)
{
    e->stopping = true;
    sg_sweep_jobs_end(e->jobs);
    engine_pass_on(e);
}

static sg_status engine_loop(engine *e, sg_error *err)
{
    for (;;) {
        while (!e->stopping && sg_sweep_jobs_active(e->jobs) < e->options->jobs) {
            const size_t next = engine_next(e);
            if (next == SIZE_MAX) break;
            SG_TRY(engine_give(e, next, err));
        }
        if (sg_sweep_jobs_active(e->jobs) == 0) return SG_OK;
        sg_sweep_jobs_wait(e->jobs, engine_look);
        engine_pass_on(e);
        SG_TRY(engine_take(e, err));
        engine_say(e, NULL, false);
    }
}

// ---- beginning ----------------------------------------------------------------------------------

static sg_status engine_check(const sg_sweep_options *o, sg_error *err)
{
    if (o->jobs < 1 || o->jobs > engine_jobs_most)
        return sg_fail(err, SG_ERR_ARGUMENT, "jobs: found %lld, expected 1 to %d",
                       (long long)o->jobs, engine_jobs_most);
    if (o->folder == NULL || o->folder[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT, "found no folder for the sweep, expected one");
    return SG_OK;
}

static sg_status engine_machine(engine *e, sg_error *err)
{
    sg_machine machine = {0};
    const sg_context *context = sg_sweep_jobs_context(e->jobs);
    sg_machine_describe(&machine);
    sg_sweep_machine m = {.cores = machine.cores, .threads = e->threads, .jobs = e->options->jobs};
    snprintf(m.processor, sizeof m.processor, "%s", machine.cpu);
    snprintf(m.kernels, sizeof m.kernels, "%s", sg_context_kernel(context));
    snprintf(m.library, sizeof m.library, "%s", sg_context_products(context));
    snprintf(m.program, sizeof m.program, "%s", sg_version());
    SG_TRY(sg_sweep_store_begin(e->folder.store, err));
    sg_status status = sg_sweep_store_machine(e->folder.store, &m, &e->machine, err);
    if (status == SG_OK) status = sg_sweep_store_commit(e->folder.store, err);
    if (status != SG_OK) sg_sweep_store_rollback(e->folder.store);
    return status;
}

// Files that a life before this one had no time to remove; rows of failures that are to be tried
// again, with their folders.
static sg_status engine_clean(engine *e, sg_error *err)
{
    for (size_t i = 0; i < e->results.count; i++) {
        const sg_sweep_row *row = &e->results.rows[i];
        char name[64], folder[SG_PATH_MAX], checkpoints[SG_PATH_MAX];
        const bool again = e->options->retry_failed && row->state == SG_SWEEP_FAILED &&
                           row->failure != SG_ERR_NUMERIC;
        if (!again && !engine_ended(row)) continue;
        snprintf(name, sizeof name, "runs/%s", row->id);
        SG_TRY(sg_path_join(folder, sizeof folder, e->folder.path, name, err));
        SG_TRY(sg_path_join(checkpoints, sizeof checkpoints, folder, "checkpoints", err));
        if (!again && sg_path_exists(checkpoints))
            SG_TRY(sg_sweep_tidy_run(folder, e->options->keep_models, err));
        if (!again) continue;
        SG_TRY(sg_tree_remove(folder, err));
        SG_TRY(sg_sweep_store_remove(e->folder.store, row->id, err));
    }
    return SG_OK;
}

// What can never be is known before the first run rather than after hours.
static sg_status engine_refuse(engine *e, sg_error *err)
{
    sg_sweep_forecast forecast;
    sg_sweep_predict_options options = sg_sweep_predict_options_default();
    options.jobs = e->options->jobs;
    options.seconds = 0;
    const sg_status status =
        sg_sweep_predict(sg_sweep_jobs_context(e->jobs), &e->folder.spec, &e->plan, &e->results,
                         e->folder.data, &options, &forecast, err);
    sg_sweep_forecast_clear(&forecast);
    return status;
}

static sg_status engine_open(engine *e, sg_error *err)
{
    const sg_sweep_options *o = e->options;
    SG_TRY(engine_check(o, err));
    SG_TRY(sg_sweep_folder_open(o, &e->folder, err));
    const int cores = sg_cpu_detect().cores;
    e->threads = o->threads > 0 ? o->threads : cores / (int)o->jobs;
    if (e->threads < 1) e->threads = 1;
    const sg_sweep_jobs_options jobs = {.jobs = o->jobs,
                                        .threads = e->threads,
                                        .kernel = o->kernel,
                                        .data = e->folder.data,
                                        .facts = e->folder.spec.facts,
                                        .command = o->command,
                                        .blocks = e->folder.spec.blocks,
                                        .max_epochs = e->folder.spec.max_epochs};
    SG_TRY(sg_sweep_jobs_new(&jobs, &e->jobs, err));
    e->seen = sg_alloc_zero((size_t)o->jobs, sizeof *e->seen);
    if (e->seen == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for jobs");
    SG_TRY(engine_plan(e, err));
    SG_TRY(engine_refuse(e, err));
    SG_TRY(sg_sweep_folder_make(o, &e->folder, err));
    SG_TRY(engine_machine(e, err));
    SG_TRY(engine_clean(e, err));
    return engine_plan(e, err);
}

sg_status sg_sweep_run(const sg_sweep_options *options, sg_sweep_totals *totals, sg_error *err)
{
    *totals = (sg_sweep_totals){0};
    engine *e = sg_alloc_zero(1, sizeof *e);
    if (e == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a sweep");
    e->options = options;
    sg_status status = engine_open(e, err);
    if (status == SG_OK) status = engine_loop(e, err);
    *totals = sg_sweep_count(&e->plan, &e->results);
    totals->made = e->made;
    if (e->jobs != NULL) engine_last_words(e);
    if (status == SG_OK && e->status != SG_OK)
        status = sg_fail(err, e->status, "%s", e->why.message);
    sg_sweep_jobs_free(e->jobs);
    sg_sweep_plan_clear(&e->plan);
    sg_sweep_results_clear(&e->results);
    sg_sweep_folder_close(&e->folder);
    sg_free(e->seen);
    sg_free(e);
    return status;
}
