// What the runs of a sweep will take, against the plans of the runs themselves; what is refused
// before the first one. Times are looked at only as far as they must be there, and follow from each
// other.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "context_on.h"
#include "sweep/columns.h"
#include "sweep/due.h"
#include "sweep/make_run.h"
#include "sweep/predict.h"
#include "sweep/spec.h"
#include "sgatlin_data.h"
#include "tiny_run.h"

typedef struct trial {
    sg_context *context;
    memory_fs *disk;
    sg_sweep_spec spec;
    sg_sweep_results results;
    sg_sweep_plan plan;
    sg_sweep_forecast forecast;
    sg_sweep_predict_options options;
} trial;

// options: of the file, behind the preset; axes: all of them.
static void trial_begin(trial *t, const char *options, const char *axes)
{
    char text[2048];
    sg_error err = {0};
    *t = (trial){.disk = tiny_disk(), .options = sg_sweep_predict_options_default()};
    t->context = context_on(2);
    snprintf(text, sizeof text,
             "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"trial\", \"data\": "
             "\"" TINY_CONCAT "\", \"options\": {\"preset\": \"laptop-{family}-s{scale}\", "
             "\"vocab_size\": 320, \"max_position_embeddings\": 16, \"batch_size\": 4%s}, "
             "\"axes\": {%s}}",
             options, axes);
    if (sg_sweep_spec_parse(text, strlen(text), "trial.json", NULL, &t->spec, &err) != SG_OK ||
        sg_sweep_due(&t->spec, &t->results, false, &t->plan, &err) != SG_OK)
        fail_msg("%s", err.message);
}

static sg_status trial_predict(trial *t, sg_error *err)
{
    sg_sweep_forecast_clear(&t->forecast);
    return sg_sweep_predict(t->context, &t->spec, &t->plan, &t->results, TINY_CONCAT, &t->options,
                            &t->forecast, err);
}

static void trial_must(trial *t)
{
    sg_error err = {0};
    if (trial_predict(t, &err) != SG_OK) fail_msg("%s", err.message);
}

static void trial_end(trial *t)
{
    sg_sweep_forecast_clear(&t->forecast);
    sg_sweep_plan_clear(&t->plan);
    sg_sweep_spec_clear(&t->spec);
    sg_free(t->results.rows);
    sg_context_free(t->context);
    tiny_use(NULL);
    tiny_disk_free(t->disk);
}

static void trial_refused(trial *t, sg_status status, const char *a, const char *b)
{
    sg_error err = {0};
    assert_int_equal(trial_predict(t, &err), status);
    if (strstr(err.message, a) == NULL || strstr(err.message, b) == NULL)
        fail_msg("found \"%s\", expected \"%s\" and \"%s\" in it", err.message, a, b);
}

#define GRID "\"family\": [\"mlp\", \"sgatlin\"], \"scale\": [1, 2], \"budget\": [1e8, 3e8]"

// ---- figures ------------------------------------------------------------------------------------

static void test_figures(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", GRID);
    t.spec.max_epochs = 1000;
    trial_must(&t);
    assert_int_equal(t.forecast.count, 8);
    for (size_t i = 0; i < t.forecast.count; i++) {
        const sg_sweep_prediction *q = &t.forecast.cells[i];
        sg_train_options o;
        sg_train_plan plan;
        sg_cost cost;
        sg_error err = {0};
        assert_int_equal(sg_sweep_cell_options(&t.spec, &t.spec.cells[i], &o, &err), SG_OK);
        assert_int_equal(sg_train_plan_new(t.context, TINY_CONCAT, &o, &plan, &err), SG_OK);
        assert_int_equal(sg_config_cost(&o.config, 16, 4, false, 2, &cost, &err), SG_OK);
        assert_int_equal(q->steps, plan.steps);
        assert_int_equal(q->tokens, plan.steps * 4 * 16);
        assert_true(q->epochs == plan.epochs);
        assert_true(q->flops == plan.flops && q->flops_all_in == plan.flops_all_in);
        assert_true(fabs(q->flops - t.spec.cells[i].budget) <= plan.flops / (double)plan.steps);
        assert_int_equal(q->parameters, plan.parameters);
        assert_int_equal(q->active_parameters, cost.active_parameters_per_token);
        assert_int_equal(q->memory_bytes, plan.memory_bytes);
        assert_int_equal(q->disk_bytes, 3 * plan.checkpoint_bytes + 4 * plan.parameters);
        assert_int_equal(q->waiting, 1);
        assert_true(q->seconds > q->step_seconds * (double)q->steps && q->step_seconds > 0);
    }
    trial_end(&t);
}

static void test_totals(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", GRID);
    t.spec.max_epochs = 1000;
    t.spec.seed_count = 3;
    t.spec.seeds[1] = 2;
    t.spec.seeds[2] = 3;
    t.spec.seeds_at_best = true;
    t.results.rows = sg_alloc_zero(1, sizeof *t.results.rows);
    t.results.count = 1;
    memcpy(t.results.rows[0].id, t.plan.todos[0].id, SG_SWEEP_ID); // mlp's first one is finished
    t.results.rows[0].state = SG_SWEEP_FINISHED;
    t.results.rows[0].loss = 3;
    sg_sweep_plan_clear(&t.plan);
    assert_int_equal(sg_sweep_due(&t.spec, &t.results, false, &t.plan, NULL), SG_OK);
    t.options.jobs = 2;
    trial_must(&t);
    const sg_sweep_forecast *f = &t.forecast;
    assert_int_equal(f->family_count, 2);
    assert_string_equal(f->families[0].family, "mlp");
    assert_int_equal(f->families[0].finished, 1);
    assert_int_equal(f->families[0].waiting, 3);
    assert_int_equal(f->families[1].waiting, 4);
    assert_true(fabs(f->families[0].expected - 8) < 1e-9); // two seeds at both scales
    assert_int_equal(f->all.waiting, 7);
    double seconds = 0, flops = 0;
    for (size_t i = 0; i < f->count; i++) {
        const double runs = (double)f->cells[i].waiting + f->cells[i].expected;
        seconds += runs * f->cells[i].seconds;
        flops += runs * f->cells[i].flops;
    }
    assert_true(fabs(f->all.seconds - seconds) < 1e-9 * seconds);
    assert_true(fabs(f->all.flops - flops) < 1e-9 * flops);
    assert_true(f->wall_seconds >= f->all.seconds / 2);
    int64_t largest = 0; // sgatlin, scale 2: two of it at a time
    for (size_t i = 0; i < f->count; i++)
        if (f->cells[i].memory_bytes > largest) largest = f->cells[i].memory_bytes;
    assert_int_equal(f->memory_bytes, 2 * largest);
    trial_end(&t);
}

// ---- times --------------------------------------------------------------------------------------

static void test_times(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", GRID);
    t.spec.max_epochs = 1000;
    trial_must(&t);
    assert_int_equal(t.forecast.shapes, 4); // budgets share them
    assert_int_equal(t.forecast.measured, 4);
    for (size_t i = 0; i < t.forecast.count; i++)
        assert_int_equal(t.forecast.cells[i].timing, SG_SWEEP_TIME_MEASURED);
    t.options.step_seconds = 1e-12;
    trial_must(&t);
    assert_int_equal(t.forecast.measured, 0);
    for (size_t i = 0; i < t.forecast.count; i++) {
        assert_int_equal(t.forecast.cells[i].timing, SG_SWEEP_TIME_GUESSED);
        assert_true(t.forecast.cells[i].step_seconds > 0);
    }
    trial_end(&t);
}

// A step that keeps no activations is told from one that does.
static void test_estimates(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, ", \"steps\": 5",
                "\"family\": [\"mlp\"], \"scale\": [2], \"recompute\": [false, true]");
    t.spec.max_epochs = 1000;
    trial_must(&t);
    const sg_sweep_prediction *q = t.forecast.cells;
    assert_int_equal(t.forecast.count, 2);
    assert_int_equal(t.forecast.shapes, 2);
    assert_int_equal(q[0].timing, SG_SWEEP_TIME_MEASURED);
    assert_int_equal(q[1].timing, SG_SWEEP_TIME_ESTIMATED);
    assert_true(fabs(q[1].step_seconds - 4.0 / 3 * q[0].step_seconds) < 1e-9 * q[0].step_seconds);
    trial_end(&t);
}

// ---- what cannot be -----------------------------------------------------------------------------

static void test_too_many_epochs(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", GRID);
    t.spec.max_epochs = 1e-3;
    trial_refused(&t, SG_ERR_ARGUMENT, "mlp, scale 1, 1", "epochs");
    trial_refused(&t, SG_ERR_ARGUMENT, "max_epochs", "and 7 other cells");
    trial_end(&t);
}

static void test_no_step(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", "\"family\": [\"mlp\"], \"scale\": [1, 2], \"budget\": [10, 1e8]");
    t.spec.max_epochs = 1000;
    trial_refused(&t, SG_ERR_ARGUMENT, "mlp, scale 1, 10 FLOPs", "buys 0 steps");
    trial_end(&t);
}

// A machine with 1 GB of memory.
static void trial_small_machine(void)
{
    static const char text[] = "MemTotal: 976562 kB\nMemAvailable: 900000 kB\n";
    sg_error err = {0};
    if (sg_folder_make("/proc", &err) != SG_OK ||
        sg_file_write_atomic("/proc/meminfo", text, sizeof text - 1, &err) != SG_OK)
        fail_msg("%s", err.message);
}

static void test_too_large(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, ", \"steps\": 1, \"ffn_intermediate_size\": 10000000",
                "\"family\": [\"mlp\"], \"scale\": [1]");
    t.spec.max_epochs = 1000;
    trial_small_machine();
    trial_refused(&t, SG_ERR_MEMORY, "mlp, scale 1", "GB of memory");
    trial_end(&t);
}

static void test_too_large_together(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, ", \"steps\": 1, \"ffn_intermediate_size\": 300000",
                "\"family\": [\"mlp\"], \"scale\": [1]");
    t.spec.max_epochs = 1000;
    t.spec.seed_count = 3; // of which three may run at a time
    t.spec.seeds[1] = 2;
    t.spec.seeds[2] = 3;
    sg_sweep_plan_clear(&t.plan);
    assert_int_equal(sg_sweep_due(&t.spec, &t.results, false, &t.plan, NULL), SG_OK);
    trial_small_machine();
    t.options.seconds = 0;
    trial_must(&t);
    assert_true(isnan(t.forecast.all.seconds) && t.forecast.cells[0].steps == 1);
    assert_int_equal(t.forecast.cells[0].timing, SG_SWEEP_TIME_NONE);
    const int64_t one = t.forecast.memory_bytes;
    assert_true(one > 200000000 && one < 900000000);
    assert_int_equal(t.forecast.memory_available, INT64_C(900000) * 1024);
    t.options.jobs = 1 + 1000000000 / one;
    trial_refused(&t, SG_ERR_MEMORY, "jobs", "expected at most the 1 GB there are");
    t.options.jobs = 0;
    trial_refused(&t, SG_ERR_ARGUMENT, "jobs", "1 to 4096");
    trial_end(&t);
}

// What is finished has been, however the file is now.
static void test_finished_is_not_refused(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, ", \"steps\": 5", "\"family\": [\"mlp\"], \"scale\": [1]");
    t.spec.max_epochs = 1e-3;
    trial_refused(&t, SG_ERR_ARGUMENT, "mlp, scale 1", "epochs");
    t.results.rows = sg_alloc_zero(1, sizeof *t.results.rows);
    t.results.count = 1;
    memcpy(t.results.rows[0].id, t.plan.todos[0].id, SG_SWEEP_ID);
    t.results.rows[0].state = SG_SWEEP_FINISHED;
    t.results.rows[0].loss = 3;
    sg_sweep_plan_clear(&t.plan);
    assert_int_equal(sg_sweep_due(&t.spec, &t.results, false, &t.plan, NULL), SG_OK);
    trial_must(&t);
    assert_int_equal(t.forecast.all.waiting, 0);
    assert_true(t.forecast.all.seconds == 0);
    trial_end(&t);
}

static void test_no_data(void **state)
{
    (void)state;
    trial t;
    sg_error err = {0};
    trial_begin(&t, "", GRID);
    assert_int_equal(sg_sweep_predict(t.context, &t.spec, &t.plan, &t.results, "/nowhere",
                                      &t.options, &t.forecast, &err),
                     SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nowhere"));
    trial_end(&t);
}

static void test_no_validation(void **state)
{
    (void)state;
    trial t;
    sg_error err = {0};
    sg_tokenizer *tokenizer;
    const char *from = "/stories.txt";
    trial_begin(&t, "", GRID);
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = TINY_LENGTH;
    options.val_fraction = 0;
    assert_int_equal(sg_tokenizer_open(TINY_CONCAT, &tokenizer, &err), SG_OK);
    if (sg_data_pack(NULL, tokenizer, &from, 1, &options, "/whole", NULL, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_tokenizer_free(tokenizer);
    assert_int_equal(sg_sweep_predict(t.context, &t.spec, &t.plan, &t.results, "/whole", &t.options,
                                      &t.forecast, &err),
                     SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "/whole: found no validation split"));
    trial_end(&t);
}

// A scale that was added and would read the data too often is not run, and refuses no sweep.
static void test_added_too_far(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, "", "\"family\": [\"mlp\"], \"scale\": [2, 3, 4], \"budget\": [1e8]");
    t.spec.max_epochs = 1000;
    t.spec.scale_ladder[0] = 1;
    t.spec.scale_ladder[1] = 4;
    t.results.rows = sg_alloc_zero(3, sizeof *t.results.rows);
    t.results.count = 3;
    for (size_t i = 0; i < 3; i++) { // the smaller the better
        memcpy(t.results.rows[i].id, t.plan.todos[i].id, SG_SWEEP_ID);
        t.results.rows[i].state = SG_SWEEP_FINISHED;
        t.results.rows[i].loss = 3 + (double)i;
    }
    sg_sweep_plan_clear(&t.plan);
    assert_int_equal(sg_sweep_due(&t.spec, &t.results, true, &t.plan, NULL), SG_OK);
    assert_int_equal(t.plan.added_count, 1);
    trial_must(&t);
    assert_int_equal(t.forecast.all.waiting, 1);
    t.spec.max_epochs = t.forecast.cells[0].epochs * 1.01; // scale 1 has more
    assert_true(t.forecast.cells[3].epochs > t.spec.max_epochs);
    trial_must(&t);
    assert_int_equal(t.forecast.all.waiting, 0);
    trial_end(&t);
}

static bool never_trained(void *user, const sg_train_event *event)
{
    (void)event;
    *(bool *)user = true;
    return true;
}

// What no forecast has looked at is refused before its folder is made.
static void test_run_too_far(void **state)
{
    (void)state;
    trial t;
    sg_error err = {0};
    bool trained = false;
    trial_begin(&t, ", \"steps\": 5", "\"family\": [\"mlp\"], \"scale\": [1]");
    const sg_sweep_making making = {.context = t.context,
                                    .folder = "/run",
                                    .data = TINY_CONCAT,
                                    .facts = "",
                                    .command = "",
                                    .blocks = 4,
                                    .max_epochs = 1e-3,
                                    .options = &t.plan.todos[0].options,
                                    .event = never_trained,
                                    .user = &trained};
    sg_sweep_row row = sg_sweep_row_empty();
    assert_int_equal(sg_sweep_make_run(&making, &row, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "max_epochs"));
    assert_false(trained || sg_path_exists("/run"));
    sg_sweep_row_clear(&row);
    trial_end(&t);
}

static sg_status predict_once(void *user, sg_error *err)
{
    trial *t = user;
    sg_status status = trial_predict(t, err);
    sg_sweep_forecast_clear(&t->forecast);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    trial t;
    trial_begin(&t, ", \"steps\": 5", "\"family\": [\"mlp\"], \"scale\": [1]");
    t.spec.max_epochs = 1000;
    t.options.seconds = 0;
    assert_true(alloc_failure_loop(predict_once, &t) > 5);
    trial_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_totals),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_estimates),
        cmocka_unit_test(test_too_many_epochs),
        cmocka_unit_test(test_no_step),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_too_large_together),
        cmocka_unit_test(test_finished_is_not_refused),
        cmocka_unit_test(test_no_data),
        cmocka_unit_test(test_no_validation),
        cmocka_unit_test(test_added_too_far),
        cmocka_unit_test(test_run_too_far),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
