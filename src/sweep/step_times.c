// Seconds of a step of each shape of a sweep, apart from the seconds that its runs took while
// whatever else was going on: a round over all shapes, then the next, each figure the median of a
// few steps of a fresh model on the sweep's own data. Figures that others had a part in are not
// kept, unless that is asked for.
#include "sweep/step_times.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "format/json.h"
#include "probe/statistics.h"
#include "sgatlin_bench.h"
#include "sgatlin_data.h"
#include "sweep/results.h"
#include "sweep/shapes.h"
#include "sweep/store.h"
#include "sweep/sweep_folder.h"
#include "train/trained.h"
#include "train/trainer.h"

enum {
    times_tries = 3,
    times_many = 1000 // steps of a figure where they are short
};

static const double times_most = 0.1;    // share of the processors that others may use
static const double times_moment = 1;    // seconds that it is looked for before all, and waited
static const double times_notice = 0.05; // below this nothing is said

typedef struct times_work {
    sg_context *context;
    const sg_sweep_time_options *o;
    sg_idle_watch watch;
    sg_sweep_store *store;
    sg_sweep_bundle bundle;
    sg_sweep_shapes shapes;
    sg_data *data;
    int64_t machine; // row of `machines`
    int64_t measured, planned;
    double last; // seconds of a step
    char what[192];
} times_work;

sg_sweep_time_options sg_sweep_time_options_default(void)
{
    return (sg_sweep_time_options){.rounds = 5, .steps = 3};
}

void sg_sweep_timings_free(sg_sweep_timing *timings)
{
    sg_free(timings);
}

// ---- talk ---------------------------------------------------------------------------------------

static sg_status times_say(const times_work *w, const char *said, bool warning, sg_error *err)
{
    const sg_sweep_time_progress progress = {.said = said,
                                             .warning = warning,
                                             .what = w->what,
                                             .measured = w->measured,
                                             .planned = w->planned,
                                             .seconds = w->last};
    if (w->o->progress == NULL || w->o->progress(w->o->user, &progress)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED,
                   "stopped; what was measured is kept, and the same command goes on");
}

static const sg_sweep_row *times_row(const times_work *w, const sg_sweep_shape *shape)
{
    return &w->bundle.results.rows[shape->rows[0]];
}

static void times_name(times_work *w, const sg_sweep_shape *shape)
{
    const sg_sweep_row *row = times_row(w, shape);
    const bool plain = strcmp(row->settings, "{}") == 0;
    char scale[48] = "";
    if (!isnan(row->scale)) snprintf(scale, sizeof scale, ", scale %s", SG_NUMBER(row->scale));
    snprintf(w->what, sizeof w->what, "%s%s%s%.60s", row->family, scale, plain ? "" : ", ",
             plain ? "" : row->settings);
}

// ---- one figure ---------------------------------------------------------------------------------

static int times_ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The median of at least so many steps, and as many as it takes to tell what others do.
static sg_status times_steps(const times_work *w, sg_trainer *t, double *seconds, sg_error *err)
{
    const double begun = sg_clock_seconds();
    double *all = NULL;
    size_t count = 0, capacity = 0;
    sg_status status = SG_OK;
    while (status == SG_OK &&
           ((int64_t)count < w->o->steps ||
            (sg_clock_seconds() - begun < w->watch.least && count < times_many))) {
        const double from = sg_clock_seconds();
        status = sg_grow((void **)&all, &capacity, count + 1, sizeof *all)
                     ? sg_trainer_step(t, err)
                     : sg_fail(err, SG_ERR_MEMORY, "out of memory for times");
        if (status == SG_OK) all[count++] = sg_clock_seconds() - from;
    }
    if (status == SG_OK) {
        qsort(all, count, sizeof *all, times_ascending);
        *seconds = sg_quantile(all, (int64_t)count, 0.5);
    }
    sg_free(all);
    return status;
}

static sg_status times_train(const times_work *w, const sg_sweep_row *row,
                             const sg_train_options *o, double *seconds, double *others,
                             sg_error *err)
{
    sg_model *model;
    sg_trainer trainer;
    const int64_t least = w->o->steps + times_many;
    SG_TRY(sg_model_new(w->context, &o->config, o->seed, &model, err));
    sg_status status = sg_trained_choose(o, model, err);
    if (status != SG_OK) {
        sg_model_free(model);
        return status;
    }
    status = sg_trainer_open(&trainer, w->context, o, row->steps > least ? row->steps : least,
                             w->data, model, NULL, err);
    if (status == SG_OK) status = sg_trainer_step(&trainer, err); // finds pages and caches
    w->watch.begin(w->watch.user);
    if (status == SG_OK) status = times_steps(w, &trainer, seconds, err);
    *others = w->watch.end(w->watch.user);
    sg_trainer_close(&trainer);
    return status;
}

static sg_status times_figure(const times_work *w, const sg_sweep_shape *shape, double *seconds,
                              double *others, sg_error *err)
{
    const sg_sweep_row *row = times_row(w, shape);
    sg_train_options *o = sg_alloc_zero(1, sizeof *o);
    if (o == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for options");
    sg_status status = sg_sweep_options_of(row, o, err);
    if (status == SG_OK && o->lora_rank > 0)
        status = sg_fail(err, SG_ERR_UNSUPPORTED,
                         "%s: steps of runs that train adapters (lora_rank) are not timed, as the "
                         "model they begin with is not the sweep's",
                         w->what);
    if (status == SG_OK) status = times_train(w, row, o, seconds, others, err);
    sg_free(o);
    return status;
}

// ---- rounds -------------------------------------------------------------------------------------

static sg_status times_keep(times_work *w, sg_sweep_shape *shape, int64_t round, sg_error *err)
{
    SG_TRY(sg_sweep_store_begin(w->store, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < shape->count && status == SG_OK; i++)
        status = sg_sweep_store_steps(w->store, w->bundle.results.rows[shape->rows[i]].id,
                                      w->machine, round, shape->seconds[round], err);
    if (status == SG_OK) status = sg_sweep_store_commit(w->store, err);
    if (status != SG_OK) sg_sweep_store_rollback(w->store);
    return status;
}

static sg_status times_refuse(double others, sg_error *err)
{
    return sg_fail(err, SG_ERR_STOPPED,
                   "others use %.0f %% of the processors, expected at most %.0f %%: what would be "
                   "measured beside them says little; end them, or give --busy",
                   100 * others, 100 * times_most);
}

// A line on what others did, where there is something to say.
static sg_status times_beside(times_work *w, double others, bool kept, sg_error *err)
{
    char said[320];
    if (!(others > times_notice)) return SG_OK;
    snprintf(said, sizeof said, "%s: others used %.0f %% of the processors%s", w->what,
             100 * others, kept ? "" : ": measured again");
    return times_say(w, said, !kept, err);
}

static sg_status times_round(times_work *w, sg_sweep_shape *shape, int64_t round, sg_error *err)
{
    double others = NAN;
    times_name(w, shape);
    SG_TRY(times_say(w, NULL, false, err));
    for (int i = 0; i < times_tries; i++) {
        double seconds = NAN;
        SG_TRY(times_figure(w, shape, &seconds, &others, err));
        const bool kept = w->o->busy || !(others > times_most);
        SG_TRY(times_beside(w, others, kept, err));
        if (kept) {
            shape->seconds[round] = w->last = seconds;
            w->measured++;
            SG_TRY(times_keep(w, shape, round, err));
            return times_say(w, NULL, false, err);
        }
        w->watch.wait(w->watch.user, times_moment);
    }
    return times_refuse(others, err);
}

static bool times_has(const times_work *w, size_t row)
{
    for (size_t i = 0; i < w->bundle.round_count; i++)
        if (w->bundle.rounds[i].row == row && w->bundle.rounds[i].machine == w->machine)
            return true;
    return false;
}

// A line on runs without figures of a shape that has some: they were made after it was measured,
// maybe by another program or beside other work, and get what was measured before them.
static sg_status times_late(times_work *w, const sg_sweep_shape *shape, int64_t rounds,
                            sg_error *err)
{
    char said[320];
    size_t late = 0;
    for (size_t i = 0; i < shape->count; i++)
        late += !times_has(w, shape->rows[i]);
    if (rounds == 0 || late == 0) return SG_OK;
    times_name(w, shape);
    snprintf(said, sizeof said,
             "%s: %zu of %zu runs came after it was timed, and get the times of the %lld round%s "
             "before them",
             w->what, late, shape->count, (long long)rounds, rounds == 1 ? "" : "s");
    return times_say(w, said, false, err);
}

// Runs that came after their shape was measured get what is known of it.
static sg_status times_share(times_work *w, sg_error *err)
{
    for (size_t i = 0; i < w->shapes.count; i++) {
        int64_t rounds = 0;
        for (int64_t r = 0; r < SG_SWEEP_ROUNDS_MOST; r++) {
            if (isnan(w->shapes.items[i].seconds[r])) continue;
            SG_TRY(times_keep(w, &w->shapes.items[i], r, err));
            rounds++;
        }
        SG_TRY(times_late(w, &w->shapes.items[i], rounds, err));
    }
    return SG_OK;
}

static sg_status times_idle(times_work *w, sg_error *err)
{
    char said[192];
    w->watch.begin(w->watch.user);
    w->watch.wait(w->watch.user, times_moment);
    const double others = w->watch.end(w->watch.user);
    if (isnan(others))
        return times_say(w, "how busy the processors are cannot be told on this system", true, err);
    if (others > times_most && !w->o->busy) return times_refuse(others, err);
    snprintf(said, sizeof said, "others use %.0f %% of the processors%s", 100 * others,
             others > times_most ? ", which --busy allows" : "");
    return times_say(w, said, others > times_most, err);
}

static sg_status times_rounds(times_work *w, sg_error *err)
{
    for (size_t i = 0; i < w->shapes.count; i++)
        for (int64_t r = 0; r < w->o->rounds; r++)
            w->planned += isnan(w->shapes.items[i].seconds[r]);
    SG_TRY(times_share(w, err));
    if (w->planned > 0) SG_TRY(times_idle(w, err));
    for (int64_t r = 0; r < w->o->rounds; r++)
        for (size_t i = 0; i < w->shapes.count; i++)
            if (isnan(w->shapes.items[i].seconds[r]))
                SG_TRY(times_round(w, &w->shapes.items[i], r, err));
    return SG_OK;
}

// ---- results ------------------------------------------------------------------------------------

static void times_timing(const times_work *w, const sg_sweep_shape *shape, sg_sweep_timing *t)
{
    double sorted[SG_SWEEP_ROUNDS_MOST];
    const sg_sweep_row *row = times_row(w, shape);
    *t = (sg_sweep_timing){
        .scale = row->scale, .parameters = row->parameters, .runs = (int64_t)shape->count};
    memcpy(t->family, row->family, sizeof t->family);
    memcpy(t->settings, row->settings, sizeof t->settings);
    for (int r = 0; r < SG_SWEEP_ROUNDS_MOST; r++)
        if (!isnan(shape->seconds[r])) sorted[t->rounds++] = shape->seconds[r];
    qsort(sorted, (size_t)t->rounds, sizeof *sorted, times_ascending);
    t->seconds = sg_quantile(sorted, t->rounds, 0.5);
    t->low = sg_quantile(sorted, t->rounds, 0.1);
    t->high = sg_quantile(sorted, t->rounds, 0.9);
}

static sg_status times_timings(const times_work *w, sg_sweep_timing **timings, size_t *count,
                               sg_error *err)
{
    *timings = sg_alloc_array(w->shapes.count, sizeof **timings);
    if (*timings == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for times");
    *count = w->shapes.count;
    for (size_t i = 0; i < *count; i++)
        times_timing(w, &w->shapes.items[i], &(*timings)[i]);
    return SG_OK;
}

// ---- beginning ----------------------------------------------------------------------------------

static sg_status times_check(const sg_sweep_time_options *o, sg_error *err)
{
    if (o->rounds < 1 || o->rounds > SG_SWEEP_ROUNDS_MOST)
        return sg_fail(err, SG_ERR_ARGUMENT, "rounds: found %lld, expected 1 to %d",
                       (long long)o->rounds, SG_SWEEP_ROUNDS_MOST);
    if (o->steps < 1 || o->steps > SG_SWEEP_ROUNDS_MOST)
        return sg_fail(err, SG_ERR_ARGUMENT, "steps: found %lld, expected 1 to %d",
                       (long long)o->steps, SG_SWEEP_ROUNDS_MOST);
    return SG_OK;
}

static sg_status times_machine(times_work *w, sg_error *err)
{
    sg_machine machine = {0};
    sg_machine_describe(&machine);
    sg_sweep_machine m = {
        .cores = machine.cores, .threads = sg_context_threads(w->context), .jobs = 1};
    snprintf(m.processor, sizeof m.processor, "%s", machine.cpu);
    snprintf(m.kernels, sizeof m.kernels, "%s", sg_context_kernel(w->context));
    snprintf(m.library, sizeof m.library, "%s", sg_context_products(w->context));
    snprintf(m.program, sizeof m.program, "%s", sg_version());
    SG_TRY(sg_sweep_store_begin(w->store, err));
    sg_status status = sg_sweep_store_machine(w->store, &m, &w->machine, err);
    if (status == SG_OK) status = sg_sweep_store_commit(w->store, err);
    if (status != SG_OK) sg_sweep_store_rollback(w->store);
    return status;
}

static sg_status times_data(times_work *w, sg_error *err)
{
    const sg_sweep_results *r = &w->bundle.results;
    const char *folder = w->o->data != NULL ? w->o->data : r->data_path;
    SG_TRY(sg_data_open(folder, SG_VERIFY_AUTO, &w->data, err));
    char hash[24] = "";
    const char *facts = "";
    json_t *file;
    SG_TRY(sg_json_parse(r->file, strlen(r->file), "sweep.db: file", &file, err));
    sg_status status = sg_json_get_string(file, "sweep.db: file", "facts", false, &facts, err);
    const bool asked = facts[0] != '\0';
    if (status == SG_OK) status = sg_sweep_data_hash(folder, facts, hash, err);
    json_decref(file);
    if (status == SG_OK && strcmp(hash, r->data_hash) != 0)
        status = sg_fail(err, SG_ERR_MISMATCH,
                         "%s: found data with checksum %s, expected %s, on which the sweep is "
                         "made%s",
                         folder, hash, r->data_hash, asked ? ", its facts among them" : "");
    return status;
}

static sg_status times_open(times_work *w, sg_error *err)
{
    const sg_sweep_time_options *o = w->o;
    SG_TRY(times_check(o, err));
    SG_TRY(sg_sweep_store_open(o->folder, &w->store, err));
    SG_TRY(times_machine(w, err));
    SG_TRY(sg_sweep_bundle_open(o->folder, &w->bundle, err));
    SG_TRY(sg_sweep_shapes_of(&w->bundle, o->family, w->machine, &w->shapes, err));
    if (w->shapes.count == 0)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: found no finished run%s%s", o->folder,
                       o->family != NULL ? " of family " : "", o->family != NULL ? o->family : "");
    return times_data(w, err);
}

sg_status sg_sweep_time_watched(sg_context *context, const sg_sweep_time_options *options,
                                const sg_idle_watch *watch, sg_sweep_timing **timings,
                                size_t *count, sg_error *err)
{
    times_work w = {.context = context, .o = options, .watch = *watch, .last = NAN};
    *timings = NULL;
    *count = 0;
    sg_status status = times_open(&w, err);
    if (status == SG_OK) status = times_rounds(&w, err);
    if (status == SG_OK) status = times_timings(&w, timings, count, err);
    sg_data_free(w.data);
    sg_sweep_shapes_clear(&w.shapes);
    sg_sweep_bundle_clear(&w.bundle);
    sg_sweep_store_free(w.store);
    return status;
}

sg_status sg_sweep_time(sg_context *context, const sg_sweep_time_options *options,
                        sg_sweep_timing **timings, size_t *count, sg_error *err)
{
    sg_idle_look look;
    const sg_idle_watch watch = sg_idle_watch_of(&look);
    return sg_sweep_time_watched(context, options, &watch, timings, count, err);
}
