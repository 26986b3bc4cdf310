// Seconds of steps: which runs share a shape, what is kept when others are busy or the call is
// stopped, and how the processors' counters are read. How long a step takes is not tested.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/json.h"
#include "sgatlin_data.h"
#include "sweep/step_times.h"
#include "sweep/columns.h"
#include "sweep/results.h"
#include "sweep/store.h"
#include "system_folder.h"
#include "tiny_run.h"
#include "train/run_options.h"
#include "train/run_settings.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// ---- a sweep ------------------------------------------------------------------------------------

static sg_sweep_row row_of(const sg_data *data, int number, const char *kind, double lr,
                           uint64_t seed)
{
    sg_error err = {0};
    sg_sweep_row row = sg_sweep_row_empty();
    sg_train_options o = tiny_options(kind);
    o.lr = lr;
    o.seed = seed;
    must(sg_run_options_complete(&o, data, "data", &err), &err);
    json_t *options = sg_run_options_json(&o);
    char *text = json_dumps(options, JSON_COMPACT | JSON_SORT_KEYS);
    assert_true(strlen(text) < sizeof row.options);
    snprintf(row.options, sizeof row.options, "%s", text);
    sg_free(text);
    json_decref(options);
    snprintf(row.id, sizeof row.id, "%032x", number);
    snprintf(row.family, sizeof row.family, "%s", kind);
    row.lr = lr;
    row.seed = seed;
    row.steps = TINY_STEPS;
    row.loss = 2;
    row.state = SG_SWEEP_FINISHED;
    return row;
}

static void put_row(const char *folder, const sg_sweep_row *row)
{
    sg_error err = {0};
    sg_sweep_store *s;
    must(sg_sweep_store_open(folder, &s, &err), &err);
    must(sg_sweep_store_begin(s, &err), &err);
    must(sg_sweep_store_put(s, row, &err), &err);
    must(sg_sweep_store_commit(s, &err), &err);
    sg_sweep_store_free(s);
}

// Two runs of one shape, one of another, and one that is not finished.
static char *make(const fixture *f)
{
    sg_error err = {0};
    sg_data *data;
    sg_sweep_store *s;
    sg_run_settings settings = {0};
    char *folder = path_in(f, "sweep"), *corpus = path_in(f, "concat");
    tiny_pack(f->folder);
    must(sg_run_settings_set_data(&settings, corpus, &err), &err);
    must(sg_run_settings_hash_data(&settings, &err), &err);
    const sg_sweep_about about = {.name = "toy",
                                  .note = "",
                                  .data_hash = settings.data_hash,
                                  .data_path = corpus,
                                  .file = "{}",
                                  .command = ""};
    must(sg_folder_make(folder, &err), &err);
    must(sg_sweep_store_create(folder, &about, &s, &err), &err);
    sg_sweep_store_free(s);
    must(sg_data_open(corpus, SG_VERIFY_AUTO, &data, &err), &err);
    sg_sweep_row rows[] = {row_of(data, 1, "mlp", 1e-3, 1), row_of(data, 2, "mlp", 2e-3, 5),
                           row_of(data, 3, "sgatlin", 1e-3, 1), row_of(data, 4, "glu", 1e-3, 1)};
    rows[3].state = SG_SWEEP_RUNNING;
    rows[3].loss = NAN;
    for (int i = 0; i < 4; i++)
        put_row(folder, &rows[i]);
    sg_data_free(data);
    return folder;
}

// ---- what others do -----------------------------------------------------------------------------

typedef struct story {
    double others[16]; // at each look; 0 behind the last
    int count, looks, waits;
    int stop_after; // rounds; 0: never
    int said, warned;
    char line[512]; // the last that was said
    int64_t planned, measured;
} story;

static void story_begin(void *user)
{
    (void)user;
}

static double story_end(void *user)
{
    story *s = user;
    const int look = s->looks++;
    return look < s->count ? s->others[look] : 0;
}

static void story_wait(void *user, double seconds)
{
    story *s = user;
    assert_true(seconds > 0 && seconds <= 10);
    s->waits++;
}

static bool story_progress(void *user, const sg_sweep_time_progress *p)
{
    story *s = user;
    s->planned = p->planned;
    s->measured = p->measured;
    if (p->said != NULL) {
        s->said++;
        s->warned += p->warning;
        snprintf(s->line, sizeof s->line, "%s", p->said);
    }
    return s->stop_after == 0 || p->measured < s->stop_after;
}

static sg_status time_it(story *s, const char *folder, const sg_sweep_time_options *like,
                         sg_sweep_timing **timings, size_t *count, sg_error *err)
{
    sg_context *context;
    const sg_idle_watch watch = {story_begin, story_end, story_wait, 0, s};
    sg_sweep_time_options o = *like;
    o.folder = folder;
    o.progress = story_progress;
    o.user = s;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, err), err);
    const sg_status status = sg_sweep_time_watched(context, &o, &watch, timings, count, err);
    sg_context_free(context);
    return status;
}

static sg_sweep_time_options two_rounds(void)
{
    sg_sweep_time_options o = sg_sweep_time_options_default();
    assert_true(o.rounds == 5 && o.steps == 3 && !o.busy);
    o.rounds = 2;
    o.steps = 1;
    return o;
}

static int64_t rounds_of(const char *folder, int number)
{
    sg_error err = {0};
    sg_sweep_results r;
    char id[SG_SWEEP_ID];
    snprintf(id, sizeof id, "%032x", number);
    must(sg_sweep_results_open(folder, &r, &err), &err);
    const int64_t rounds = sg_sweep_find(&r, id)->step_rounds;
    sg_sweep_results_clear(&r);
    return rounds;
}

// ---- tests --------------------------------------------------------------------------------------

static void test_shapes(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_timing *timings;
    size_t count;
    story s = {.others = {0.01}, .count = 1};
    char *folder = make(f);
    const sg_sweep_time_options o = two_rounds();
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(s.planned == 4 && s.measured == 4 && s.waits == 1 && s.looks == 5);
    assert_true(s.said == 1 && s.warned == 0);
    assert_string_equal(s.line, "others use 1 % of the processors");
    assert_string_equal(timings[0].family, "mlp");
    assert_string_equal(timings[1].family, "sgatlin");
    assert_true(timings[0].runs == 2 && timings[1].runs == 1);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(timings[i].rounds, 2);
        assert_true(timings[i].seconds > 0 && timings[i].low <= timings[i].seconds &&
                    timings[i].seconds <= timings[i].high);
    }
    sg_sweep_results r;
    must(sg_sweep_results_open(folder, &r, &err), &err);
    for (size_t i = 0; i < r.count; i++) {
        const sg_sweep_row *row = &r.rows[i];
        const sg_sweep_timing *t = &timings[strcmp(row->family, "sgatlin") == 0];
        if (row->state != SG_SWEEP_FINISHED) {
            assert_int_equal(row->step_rounds, 0);
            continue;
        }
        assert_true(row->step_rounds == 2 && row->step_seconds == t->seconds);
        assert_true(r.machines[row->step_machine].threads == 1 &&
                    r.machines[row->step_machine].jobs == 1);
    }
    sg_sweep_results_clear(&r);
    sg_sweep_timings_free(timings);
}

static void test_going_on(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_timing *timings;
    size_t count;
    story s = {.stop_after = 3};
    char *folder = make(f);
    sg_sweep_time_options o = two_rounds();
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_STOPPED);
    assert_true(timings == NULL && count == 0);
    assert_true(rounds_of(folder, 1) == 2 && rounds_of(folder, 3) == 1);
    s = (story){0};
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_true(s.planned == 1 && s.measured == 1);
    assert_null(strstr(s.line, "came after"));
    const double seconds = timings[0].seconds;
    sg_sweep_timings_free(timings);
    // A run that came later has what its shape has; nothing is measured, and nobody waited for.
    sg_data *data;
    must(sg_data_open(path_in(f, "concat"), SG_VERIFY_AUTO, &data, &err), &err);
    const sg_sweep_row late = row_of(data, 9, "mlp", 4e-3, 7);
    sg_data_free(data);
    put_row(folder, &late);
    s = (story){.others = {0.9}, .count = 1};
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_true(s.planned == 0 && s.looks == 0 && timings[0].seconds == seconds);
    assert_true(timings[0].runs == 3 && rounds_of(folder, 9) == 2);
    sg_sweep_timings_free(timings);
    // That is said once, of the shape that has such runs.
    assert_int_equal(s.said, 1);
    assert_string_equal(s.line, "mlp: 1 of 3 runs came after it was timed, and get the times of "
                                "the 2 rounds before them");
    s = (story){0};
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_int_equal(s.said, 0);
    sg_sweep_timings_free(timings);
    // More rounds go on from those there are; a family alone.
    o.rounds = 3;
    o.family = "sgatlin";
    s = (story){0};
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_true(count == 1 && s.planned == 1 && timings[0].rounds == 3);
    sg_sweep_timings_free(timings);
}

static void test_busy(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_timing *timings;
    size_t count;
    char *folder = make(f);
    sg_sweep_time_options o = two_rounds();
    story s = {.others = {0.4}, .count = 1};
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_STOPPED);
    assert_non_null(
        strstr(err.message, "others use 40 % of the processors, expected at most 10 %"));
    assert_int_equal(rounds_of(folder, 1), 0);
    // In the middle: once more, and after three times no more.
    s = (story){.others = {0, 0, 0.5, 0.05, 0.2, 0.3, 0.6}, .count = 7};
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_STOPPED);
    assert_non_null(strstr(err.message, "others use 60 %"));
    assert_non_null(strstr(s.line, "mlp: others used 60 % of the processors: measured again"));
    assert_true(s.measured == 2 && s.warned == 4 && s.waits == 1 + 1 + 3);
    assert_true(rounds_of(folder, 1) == 1 && rounds_of(folder, 3) == 1);
    // As one likes.
    s = (story){.others = {0.4, 0.5, 0}, .count = 3};
    o.busy = true;
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_true(s.measured == 2 && s.warned == 1);
    assert_non_null(strstr(s.line, "mlp: others used 50 % of the processors"));
    assert_null(strstr(s.line, "again"));
    sg_sweep_timings_free(timings);
    s = (story){.others = {NAN, NAN}, .count = 2};
    o = two_rounds();
    o.rounds = 3;
    must(time_it(&s, folder, &o, &timings, &count, &err), &err);
    assert_true(s.warned == 1 && s.measured == 2);
    assert_string_equal(s.line, "how busy the processors are cannot be told on this system");
    sg_sweep_timings_free(timings);
}

static void test_refusals(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_timing *timings;
    size_t count;
    story s = {0};
    char *folder = make(f);
    sg_sweep_time_options o = two_rounds();
    o.data = path_in(f, "pad");
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "on which the sweep is made"));
    o = two_rounds();
    o.family = "glu"; // has no finished run
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "found no finished run of family glu"));
    o = two_rounds();
    o.rounds = 1001;
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_ARGUMENT);
    o = two_rounds();
    o.steps = 0;
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_ARGUMENT);
    assert_int_equal(time_it(&s, f->folder, &o, &timings, &count, &err), SG_ERR_ARGUMENT);
    o = two_rounds();
    assert_int_equal(time_it(&s, f->folder, &o, &timings, &count, &err), SG_ERR_NOT_FOUND);
    sg_sweep_store *store;
    must(sg_sweep_store_open(folder, &store, &err), &err);
    assert_int_equal(time_it(&s, folder, &o, &timings, &count, &err), SG_ERR_IO);
    sg_sweep_store_free(store);
    assert_int_equal(s.looks, 0);
}

// ---- the system's counters ----------------------------------------------------------------------

static void test_counters(void **state)
{
    (void)state;
    double busy, all;
    assert_true(sg_idle_parse("cpu  10 1 5 100 20 2 3 4 7 8\ncpu0 1", &busy, &all));
    assert_true(busy == 25 && all == 145); // steal is work, guests are counted already
    assert_false(sg_idle_parse("cpu0 10 1 5 100 20 2 3 4\n", &busy, &all));
    assert_false(sg_idle_parse("cpu  10 1 5 100 20 2 3\n", &busy, &all));
    assert_false(sg_idle_parse("", &busy, &all));
    sg_idle_look look;
    const sg_idle_watch watch = sg_idle_watch_of(&look);
    watch.begin(watch.user);
    watch.wait(watch.user, 0.05);
    const double others = watch.end(watch.user);
    assert_true(isnan(others) || (others >= 0 && others <= 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_shapes),   FILE_TEST(test_going_on),        FILE_TEST(test_busy),
        FILE_TEST(test_refusals), cmocka_unit_test(test_counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
