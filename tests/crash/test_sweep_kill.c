// Sweeps as users make them: killed at any moment and gone on with, made by two jobs at a time,
// interrupted, on a disk that is full, two on one folder, read meanwhile. Whatever happens, the
// rows of results are those of a sweep that was left alone. SG_CRASH_ROUNDS is the number of kills.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "crash/command.h"
#include "sweep/results.h"
#include "sweep/store.h"

static char *expected; // rows of a sweep that was left alone
static double life;    // seconds that it took

// Two families, a searched rate, two seeds; checkpoints so close that a kill seldom
// loses much.
static const char toy[] =
    "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"toy\", \"options\": {\"steps\": "
    "40,"
    " \"hidden_size\": 16, \"head_dim\": 8, \"num_attention_heads\": 2, \"num_hidden_layers\": 1,"
    " \"batch_size\": 4, \"warmup_steps\": 5, \"checkpoint_every\": 6, \"eval_every\": 15,"
    " \"eval_sequences\": 8}, \"axes\": {\"family\": [\"glu\", {\"name\": \"sgatlin\","
    " \"ffn_channels\": 2, \"ffn_neurons\": 16, \"ffn_top_k\": 2, \"ffn_key_size\": 4}]},"
    " \"search\": {\"lr\": {\"values\": [0.002, 0.004, 0.008], \"halvings\": 1, \"extend\": 1}},"
    " \"seeds\": [1, 2], \"max_epochs\": 1000, \"blocks\": 5}";

// ---- processes ----------------------------------------------------------------------------------

#define START(...)       start((const char *const[]){"sgatlin", __VA_ARGS__, NULL}, 0)
#define COMMAND(...)     ends_with(START(__VA_ARGS__), 0)
#define SWEEP(file, out) "sweep", file, "--data", "data", "--out", out, "--threads", "1"

static void nap(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

static bool has_ended(pid_t child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child;
}

static char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%.60s", folder, name);
    return path;
}

static void put(const char *name, const char *text)
{
    sg_error err = {0};
    if (sg_file_write_atomic(path_of(name), text, strlen(text), &err) != SG_OK)
        fail_msg("%s", err.message);
}

static void remove_sweep(const char *name)
{
    assert_int_equal(sg_tree_remove(path_of(name), NULL), SG_OK);
}

// ---- rows ---------------------------------------------------------------------------------------

static void dump_value(const sg_statement *s, int column, sg_bytes *out)
{
    char text[64] = "NULL";
    const char *value = text;
    size_t bytes = 4;
    double real;
    int64_t number;
    switch (sg_statement_type(s, column)) {
    case SG_COLUMN_INT:
        assert_int_equal(sg_statement_int(s, column, INT64_MIN, INT64_MAX, &number, NULL), SG_OK);
        bytes = (size_t)snprintf(text, sizeof text, "%lld", (long long)number);
        break;
    case SG_COLUMN_REAL:
        assert_int_equal(sg_statement_real(s, column, &real, NULL), SG_OK);
        bytes = (size_t)snprintf(text, sizeof text, "%a", real);
        break;
    case SG_COLUMN_TEXT:
        assert_int_equal(sg_statement_text(s, column, &value, &bytes, NULL), SG_OK);
        break;
    default:
        break;
    }
    assert_true(sg_bytes_add(out, value, bytes) && sg_bytes_add(out, "|", 1));
}

static void dump_rows(sg_database *d, const char *sql, sg_bytes *out)
{
    sg_statement *s;
    bool row;
    sg_error err = {0};
    if (sg_database_prepare(d, sql, &s, &err) != SG_OK) fail_msg("%s", err.message);
    for (;;) {
        if (sg_statement_step(s, &row, &err) != SG_OK) fail_msg("%s", err.message);
        if (!row) break;
        for (int i = 0; i < sg_statement_columns(s); i++)
            dump_value(s, i, out);
        assert_true(sg_bytes_add(out, "\n", 1));
    }
    sg_statement_free(s);
}

// All results, to the bit.
static char *rows_of(const char *name)
{
    char path[160];
    sg_database *d;
    sg_error err = {0};
    sg_bytes out = {0};
    snprintf(path, sizeof path, "%s/sweep.db", path_of(name));
    if (sg_database_open(path, &sg_sweep_kind, &d, &err) != SG_OK) fail_msg("%s", err.message);
    dump_rows(d, "SELECT * FROM runs ORDER BY id", &out);
    dump_rows(d, "SELECT * FROM blocks ORDER BY id, block", &out);
    dump_rows(d, "SELECT * FROM curves ORDER BY id, kind, step", &out);
    sg_database_free(d);
    assert_true(sg_bytes_add(&out, "", 1));
    return out.data;
}

static void same_rows(const char *name, const char *how)
{
    char *found = rows_of(name);
    const char *a = found, *b = expected;
    while (*a != '\0' && *a == *b)
        a++, b++;
    if (*a != *b)
        fail_msg("%s: rows differ at byte %td: found %.80s, left alone %.80s", how, a - found, a,
                 b);
    sg_free(found);
}

static size_t finished_rows(const char *name)
{
    sg_sweep_results r;
    sg_error err = {0};
    size_t count = 0;
    if (sg_sweep_results_open(path_of(name), &r, &err) != SG_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < r.count; i++)
        count += r.rows[i].state == SG_SWEEP_FINISHED;
    sg_sweep_results_clear(&r);
    return count;
}

// How many runs have a model; checkpoints have none, and what was logged all.
static size_t models_of(const char *name)
{
    char path[160], run[300], **runs, **files;
    size_t count, file_count, models = 0;
    snprintf(path, sizeof path, "%s/runs", path_of(name));
    assert_int_equal(sg_folder_list(path, &runs, &count, NULL), SG_OK);
    for (size_t i = 0; i < count; i++) {
        bool metrics = false;
        snprintf(run, sizeof run, "%s/%s", path, runs[i]);
        assert_int_equal(sg_folder_list(run, &files, &file_count, NULL), SG_OK);
        for (size_t k = 0; k < file_count; k++) {
            metrics |= strcmp(files[k], "metrics.jsonl") == 0;
            models += strcmp(files[k], "model.safetensors") == 0;
            if (strcmp(files[k], "checkpoints") == 0) fail_msg("%s/%s is left", run, files[k]);
        }
        assert_true(metrics);
        sg_names_free(files, file_count);
    }
    sg_names_free(runs, count);
    return models;
}

// ---- tests --------------------------------------------------------------------------------------

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sg-sweep-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(output, sizeof output, "%s/output", folder);
    COMMAND("data", "synth", "--stories", "60", "--out", "stories.txt");
    COMMAND("data", "tokenizer", "--out", "tokenizer", "--vocab-size", "320", "stories.txt");
    COMMAND("data", "pack", "--tokenizer", "tokenizer", "--out", "data", "--seq-len", "16",
            "--val-fraction", "0.1", "stories.txt");
    put("toy.json", toy);
    const double begun = sg_clock_seconds();
    COMMAND(SWEEP("toy.json", "whole"));
    life = sg_clock_seconds() - begun;
    expected = rows_of("whole");
    print_message("left alone: %zu runs in %.1f s\n", finished_rows("whole"), life);
    // Three rates, one or two more, two seeds: of both families.
    assert_true(finished_rows("whole") >= 10);
    assert_int_equal(models_of("whole"), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_free(expected);
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static void test_kills(void **state)
{
    (void)state;
    const char *text = getenv("SG_CRASH_ROUNDS");
    const int rounds = text != NULL ? atoi(text) : 20;
    int kills = 0, ends = 0;
    for (uint64_t draw = 0; kills < rounds; draw++) {
        assert_true(draw < 20u * (unsigned)rounds);
        const pid_t child = START(SWEEP("toy.json", "killed"), "--jobs", draw % 3 == 2 ? "2" : "1");
        nap(0.3 * life * sg_rng_uniform(5, sg_rng_stream("kill.sweep"), draw));
        kill(child, SIGKILL);
        const int code = wait_for(child);
        if (code == -SIGKILL) {
            kills++;
            continue;
        }
        if (code != 0) fail_msg("after %d kills ended with %d: %s", kills, code, said());
        same_rows("killed", "killed");
        remove_sweep("killed");
        ends++;
    }
    COMMAND(SWEEP("toy.json", "killed"));
    same_rows("killed", "killed");
    assert_int_equal(models_of("killed"), 0);
    remove_sweep("killed");
    print_message("%d kills over %d sweeps\n", kills, ends + 1);
}

static void test_jobs_and_reader(void **state)
{
    (void)state;
    int looks = 0;
    const pid_t child = START(SWEEP("toy.json", "jobs"), "--jobs", "2");
    char path[160];
    snprintf(path, sizeof path, "%s/sweep.db", path_of("jobs"));
    while (!has_ended(child)) {
        sg_sweep_results r;
        sg_error err = {0};
        if (!sg_path_exists(path)) continue;
        if (sg_sweep_results_open(path, &r, &err) != SG_OK) fail_msg("%s", err.message);
        sg_sweep_results_clear(&r);
        looks++;
    }
    ends_with(child, 0);
    same_rows("jobs", "two jobs");
    assert_true(looks > 0);
    // All is there: nothing is made again.
    COMMAND(SWEEP("toy.json", "jobs"));
    same_rows("jobs", "once more");
    remove_sweep("jobs");
}

static void test_signal_and_second(void **state)
{
    (void)state;
    const pid_t child = START(SWEEP("toy.json", "stopped"));
    char path[160];
    snprintf(path, sizeof path, "%s/runs", path_of("stopped"));
    while (!sg_path_exists(path) && !has_ended(child))
        nap(0.001);
    kill(child, SIGSTOP);
    const int code = wait_for(START(SWEEP("toy.json", "stopped")));
    const bool told =
        strstr(said(), "another process is working on this: sgatlin, process") != NULL;
    kill(child, SIGCONT);
    if (code != 1 || !told) fail_msg("the second ended with %d: %s", code, said());
    kill(child, SIGINT);
    ends_with(child, 1);
    COMMAND(SWEEP("toy.json", "stopped"));
    same_rows("stopped", "interrupted");
    remove_sweep("stopped");
}

// A file that says something else, other data, a file that is none.
static void test_refusals(void **state)
{
    (void)state;
    char other[sizeof toy];
    memcpy(other, toy, sizeof toy);
    memcpy(strstr(other, "\"steps\": 40"), "\"steps\": 41", 11);
    put("other.json", other);
    ends_with(START(SWEEP("other.json", "whole")), 2);
    if (strstr(said(), "\"options\" differs") == NULL) fail_msg("said: %s", said());
    COMMAND("data", "pack", "--tokenizer", "tokenizer", "--out", "more", "--seq-len", "16",
            "--val-fraction", "0.2", "stories.txt");
    ends_with(START("sweep", "toy.json", "--data", "more", "--out", "whole"), 2);
    if (strstr(said(), "begun with data of checksum") == NULL) fail_msg("said: %s", said());
    put("broken.json",
        "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"broken\", \"axis\": {}}");
    ends_with(START(SWEEP("broken.json", "broken")), 2);
    if (strstr(said(), "axis") == NULL) fail_msg("said: %s", said());
    assert_false(sg_path_exists(path_of("broken")));
    same_rows("whole", "refused");
}

// A file that adds a family and a seed takes the place of the one before; one that loses the seed
// again is refused. What was made stays, and in the end all is as if the file had been so at once.
static void test_additions(void **state)
{
    (void)state;
    char more[sizeof toy + 80];
    const char *family = strstr(toy, "[\"glu\""), *seeds = strstr(toy, "[1, 2]");
    snprintf(more, sizeof more, "%.*s[\"mlp\", %.*s[1, 2, 3]%s", (int)(family - toy), toy,
             (int)(seeds - family - 1), family + 1, seeds + 6);
    put("more.json", more);
    COMMAND(SWEEP("toy.json", "grown"));
    COMMAND(SWEEP("more.json", "grown"), "--quiet");
    COMMAND(SWEEP("more.json", "at-once"), "--quiet");
    char *grown = rows_of("grown"), *once = rows_of("at-once");
    assert_string_equal(grown, once);
    sg_free(grown);
    sg_free(once);
    ends_with(START(SWEEP("toy.json", "grown")), 2);
    if (strstr(said(), "\"seeds\" differs") == NULL) fail_msg("said: %s", said());
}

// The disk is full for the larger model alone: the smaller one is kept, and with room again the
// sweep goes on to its end.
static void test_full_disk(void **state)
{
    (void)state;
    put("sizes.json",
        "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"sizes\", \"options\": "
        "{\"steps\": 10, \"batch_size\": 4, \"num_hidden_layers\": 1, \"head_dim\": 8, "
        "\"num_attention_heads\": 2}, \"axes\": {\"family\": [\"glu\"], \"hidden_size\": [16, 512]}"
        ", \"seeds\": [1], \"max_epochs\": 1000}");
    ends_with(start((const char *const[]){"sgatlin", SWEEP("sizes.json", "sizes"), NULL}, 700000),
              1);
    if (strstr(said(), "File too large") == NULL) fail_msg("said: %s", said());
    assert_int_equal(finished_rows("sizes"), 1);
    COMMAND(SWEEP("sizes.json", "sizes"));
    assert_int_equal(finished_rows("sizes"), 2);
}

// A rate that no run survives: the row says so, the rest goes on, and --fail-fast does not.
static void test_divergence(void **state)
{
    (void)state;
    put("wild.json",
        "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"wild\", \"options\": "
        "{\"steps\": 10, \"batch_size\": 4, \"num_hidden_layers\": 1, \"head_dim\": 8, "
        "\"num_attention_heads\": 2, \"hidden_size\": 16, \"clip\": 0, "
        "\"spike_limit\": 0, \"warmup_steps\": 0},"
        "\"axes\": {\"family\": [\"glu\"], \"lr\": [1000, 0.001]}, \"seeds\": [1], "
        "\"max_epochs\": 1000}");
    COMMAND(SWEEP("wild.json", "wild"));
    if (strstr(said(), "1 of 2 runs finished, 1 failed (1 diverged)") == NULL)
        fail_msg("said: %s", said());
    ends_with(START(SWEEP("wild.json", "fast"), "--fail-fast"), 1);
    assert_int_equal(finished_rows("fast"), 0);
    COMMAND(SWEEP("wild.json", "fast"), "--keep-models");
    assert_int_equal(finished_rows("fast"), 1);
    assert_int_equal(models_of("fast"), 1);
    COMMAND(SWEEP("wild.json", "fast")); // what is kept stays
    assert_int_equal(models_of("fast"), 1);
}

#define ASKED(out) "sweep", "asked.json", "--data", "long", "--out", out, "--threads", "1"

// Folders of runs that hold something else fail: rows that say so, an exit code, and --retry
// failed, which makes these again. Facts are asked for meanwhile.
static void test_retry(void **state)
{
    (void)state;
    char **runs, name[160];
    size_t count;
    sg_sweep_results r;
    sg_error err = {0};
    put("asked.json",
        "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"asked\", \"facts\": "
        "\"facts.json\", \"options\": {\"steps\": 10, \"batch_size\": 4, \"num_hidden_layers\": 1, "
        "\"head_dim\": 8, \"num_attention_heads\": 2, \"hidden_size\": 16}, \"axes\": {\"family\": "
        "[\"glu\", \"mlp\"]}, \"seeds\": [1], \"max_epochs\": 1000}");
    COMMAND("data", "synth", "--people", "20", "--stories", "60", "--out", "people.txt", "--facts",
            "facts.json");
    COMMAND("data", "pack", "--tokenizer", "tokenizer", "--out", "long", "--seq-len", "256",
            "--val-fraction", "0.1", "people.txt");
    COMMAND(ASKED("first"));
    assert_int_equal(finished_rows("first"), 2);
    assert_int_equal(sg_folder_list(path_of("first/runs"), &runs, &count, NULL), SG_OK);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "asked/runs/%s", runs[i]);
        assert_int_equal(sg_folder_make(path_of(name), NULL), SG_OK);
        snprintf(name, sizeof name, "asked/runs/%s/run.json", runs[i]);
        put(name, "{}");
    }
    sg_names_free(runs, count);
    for (int again = 0; again < 2; again++) { // nothing changes by itself
        ends_with(START(ASKED("asked")), 1);
        assert_int_equal(finished_rows("asked"), 0);
    }
    if (strstr(said(), "0 of 2 runs finished, 2 failed (0 diverged)") == NULL)
        fail_msg("said: %s", said());
    COMMAND(ASKED("asked"), "--retry", "failed");
    if (sg_sweep_results_open(path_of("asked"), &r, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(r.count, 2);
    for (size_t i = 0; i < r.count; i++)
        assert_true(r.rows[i].facts > 0 && r.rows[i].facts_recalled <= r.rows[i].facts);
    sg_sweep_results_clear(&r);
    char *first = rows_of("first"), *retried = rows_of("asked");
    assert_string_equal(first, retried);
    sg_free(first);
    sg_free(retried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_jobs_and_reader),
        cmocka_unit_test(test_signal_and_second),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_additions),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_retry),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
