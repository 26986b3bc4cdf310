// What is kept of a sweep: what comes back of it, in which order, while others write; what is
// refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "sweep/columns.h"
#include "sweep/results.h"
#include "sweep/store.h"
#include "system_folder.h"

static const sg_sweep_about about = {.name = "toy",
                                     .note = "a note",
                                     .data_hash = "0123456789abcdef",
                                     .data_path = "data",
                                     .file = "{\"name\": \"toy\"}",
                                     .command = "sgatlin sweep toy.json --out there",
                                     .vocab_size = 100,
                                     .seq_len = 32,
                                     .val_tokens = 640};

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_sweep_row row_of(int number, double lr, uint64_t seed, double loss)
{
    sg_sweep_row row = sg_sweep_row_empty();
    snprintf(row.id, sizeof row.id, "%032x", number);
    snprintf(row.family, sizeof row.family, "glu");
    row.cell = 1;
    row.scale = 2;
    row.budget = 1e12;
    row.lr = lr;
    row.seed = seed;
    row.state = loss > 0 ? SG_SWEEP_FINISHED : SG_SWEEP_RUNNING;
    row.loss = loss > 0 ? loss : NAN;
    return row;
}

static void put_row(sg_sweep_store *s, const sg_sweep_row *row)
{
    sg_error err = {0};
    must(sg_sweep_store_begin(s, &err), &err);
    must(sg_sweep_store_put(s, row, &err), &err);
    must(sg_sweep_store_commit(s, &err), &err);
}

static sg_sweep_store *create(const fixture *f)
{
    sg_error err = {0};
    sg_sweep_store *s;
    must(sg_sweep_store_create(f->folder, &about, &s, &err), &err);
    return s;
}

static sg_sweep_results read_all(const fixture *f)
{
    sg_error err = {0};
    sg_sweep_results r;
    must(sg_sweep_results_open(f->folder, &r, &err), &err);
    return r;
}

// Every column, with a value of its own.
static void fill(sg_sweep_row *row)
{
    const sg_sweep_column *c;
    for (size_t i = 0; (c = sg_sweep_column_at(i)) != NULL; i++) {
        void *at = sg_sweep_column_in(c, row);
        if (c->kind == SG_SWEEP_COLUMN_TEXT && strcmp(c->name, "id") != 0)
            snprintf(at, c->bytes, "text %zu é", i);
        if (c->kind == SG_SWEEP_COLUMN_INT) *(int64_t *)at = (int64_t)1 << i;
        if (c->kind == SG_SWEEP_COLUMN_REAL) *(double *)at = 1.0 / (double)(i + 3);
    }
    row->purpose = SG_SWEEP_EXTENSION;
    row->state = SG_SWEEP_FINISHED;
    row->seed = UINT64_MAX - 5;
}

static void assert_same_row(const sg_sweep_row *a, const sg_sweep_row *b)
{
    const sg_sweep_column *c;
    for (size_t i = 0; (c = sg_sweep_column_at(i)) != NULL; i++) {
        const void *x = sg_sweep_column_of(c, a), *y = sg_sweep_column_of(c, b);
        if (c->kind == SG_SWEEP_COLUMN_TEXT)
            assert_string_equal(x, y);
        else if (c->kind != SG_SWEEP_COLUMN_REAL || !isnan(*(const double *)x))
            assert_memory_equal(x, y, c->bytes);
        else
            assert_true(isnan(*(const double *)y));
    }
}

static void test_all_comes_back(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_store *s = create(f);
    double loss[3] = {1.5, 2.5, 0}, step[3] = {1, 2.5, 7};
    int64_t tokens[3] = {5, 6, 0}, machine, again;
    sg_sweep_row row = row_of(7, 1e-3, 1, 2), bare = row_of(8, 1e-3, 1, 0);
    const sg_sweep_machine m = {.processor = "p", .kernels = "ref", .cores = 2, .threads = 1};
    fill(&row);
    row.block_loss = row.curve_loss = row.val_loss = loss;
    row.block_tokens = tokens;
    row.curve_step = row.val_step = step;
    row.block_count = row.curve_count = 3;
    row.val_count = 2;
    put_row(s, &row);
    put_row(s, &row); // replaces it
    put_row(s, &bare);
    must(sg_sweep_store_machine(s, &m, &machine, &err), &err);
    must(sg_sweep_store_machine(s, &m, &again, &err), &err);
    assert_int_equal(machine, 0);
    assert_int_equal(again, 0);
    must(sg_sweep_store_clock(s, row.id, machine, 12.5, 1.7e9, &err), &err);
    for (int i = 0; i < 5; i++)
        must(sg_sweep_store_steps(s, row.id, machine, i, 0.5 + i, &err), &err);
    sg_sweep_store_free(s);

    sg_sweep_results r = read_all(f);
    assert_string_equal(r.name, "toy");
    assert_string_equal(r.file, about.file);
    assert_string_equal(r.command, about.command);
    assert_int_equal(r.val_tokens, 640);
    assert_int_equal(r.machine_count, 1);
    assert_string_equal(r.machines[0].kernels, "ref");
    assert_int_equal(r.count, 2);
    const sg_sweep_row *got = sg_sweep_find(&r, row.id);
    assert_same_row(got, &row);
    assert_same_row(sg_sweep_find(&r, bare.id), &bare);
    assert_int_equal(got->block_count, 3);
    assert_memory_equal(got->block_loss, loss, sizeof loss);
    assert_memory_equal(got->block_tokens, tokens, sizeof tokens);
    assert_int_equal(got->curve_count, 3);
    assert_memory_equal(got->curve_step, step, sizeof step);
    assert_int_equal(got->val_count, 2);
    assert_true(got->seconds == 12.5 && got->machine == 0);
    assert_true(got->step_rounds == 5 && got->step_seconds == 2.5 && got->step_machine == 0);
    assert_true(isnan(sg_sweep_find(&r, bare.id)->step_seconds));
    sg_sweep_results_clear(&r);
}

// The order is that of the cells, whichever run ended first.
static void test_order_and_best(void **state)
{
    const fixture *f = *state;
    sg_sweep_store *s = create(f);
    sg_sweep_row rows[] = {row_of(5, 3e-3, 2, 3.5), row_of(4, 3e-3, 1, 2.9), row_of(3, 1e-3, 1, 3),
                           row_of(2, 1e-3, 1, 1), row_of(1, 9e-3, 1, 0)};
    rows[3].cell = -1; // imported, of another family
    snprintf(rows[3].family, sizeof rows[3].family, "mlp");
    for (size_t i = 0; i < 5; i++)
        put_row(s, &rows[i]);
    sg_sweep_store_free(s);
    sg_sweep_results r = read_all(f);
    static const int order[] = {3, 4, 5, 1, 2};
    for (size_t i = 0; i < 5; i++) {
        char id[SG_SWEEP_ID];
        snprintf(id, sizeof id, "%032x", (unsigned)order[i]);
        assert_string_equal(r.rows[i].id, id);
    }
    // Of the first seed: 1e-3 comes to 3, 3e-3 to 2.9.
    assert_int_equal(sg_sweep_best(&r, 3), 1);
    assert_int_equal(sg_sweep_best(&r, 4), 4);
    sg_sweep_results_clear(&r);
}

// One writes, the others read at any time: they see what is committed, and a second writer is told
// who the first is.
static void test_one_writer(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_store *s = create(f), *other;
    sg_sweep_row row = row_of(1, 1e-3, 1, 2);
    put_row(s, &row);
    must(sg_sweep_store_begin(s, &err), &err);
    row = row_of(2, 1e-3, 2, 2);
    must(sg_sweep_store_put(s, &row, &err), &err);
    const pid_t child = fork();
    if (child == 0) {
        sg_sweep_results r;
        char self[64];
        snprintf(self, sizeof self, "process %ld", (long)getppid());
        bool fine = sg_sweep_results_open(f->folder, &r, &err) == SG_OK && r.count == 1;
        fine = fine && sg_sweep_store_open(f->folder, &other, &err) == SG_ERR_IO &&
               strstr(err.message, self) != NULL;
        _exit(fine ? 0 : 1);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    must(sg_sweep_store_commit(s, &err), &err);
    sg_sweep_store_free(s);
    sg_sweep_results r = read_all(f);
    assert_int_equal(r.count, 2);
    sg_sweep_results_clear(&r);
    assert_int_equal(sg_sweep_store_create(f->folder, &about, &s, &err), SG_ERR_ARGUMENT);
}

// Readers and the writer go on at full speed side by side, and nobody fails.
static void test_readers_while_writing(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_store *s = create(f);
    const pid_t child = fork();
    if (child == 0) {
        size_t seen = 0;
        while (seen < 30) {
            sg_sweep_results r;
            if (sg_sweep_results_open(f->folder, &r, &err) != SG_OK || r.count < seen) {
                fprintf(stderr, "%s\n", err.message);
                _exit(1);
            }
            seen = r.count;
            sg_sweep_results_clear(&r);
        }
        _exit(0);
    }
    for (int i = 0; i < 30; i++) {
        sg_sweep_row row = row_of(i, 1e-3, 1, 2);
        put_row(s, &row);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child);
    assert_int_equal(status, 0);
    sg_sweep_store_free(s);
}

static void refused(const fixture *f, const char *change, const char *message)
{
    sg_error err = {0};
    sg_database *d;
    sg_sweep_results r;
    sg_sweep_store *s;
    char *path = path_in(f, "sweep.db");
    must(sg_path_exists(path) ? sg_path_remove(path, &err) : SG_OK, &err);
    s = create(f);
    sg_sweep_row row = row_of(1, 1e-3, 1, 2);
    put_row(s, &row);
    sg_sweep_store_free(s);
    must(sg_database_continue(path, &sg_sweep_kind, &d, &err), &err);
    must(sg_database_execute(d, change, &err), &err);
    sg_database_free(d);
    assert_int_equal(sg_sweep_results_open(f->folder, &r, &err), SG_ERR_FORMAT);
    if (strstr(err.message, message) == NULL) fail_msg("%s: %s", change, err.message);
    assert_int_equal(r.count, 0);
}

static void test_odd_values_are_refused(void **state)
{
    const fixture *f = *state;
    refused(f, "UPDATE runs SET loss='much'", "loss: found a text, expected a number");
    refused(f, "UPDATE runs SET loss=1e999", "loss: found a number, expected a finite number");
    refused(f, "UPDATE runs SET loss=NULL", "is finished, but has no loss");
    refused(f, "UPDATE runs SET state='done'", "state: found \"done\"");
    refused(f, "UPDATE runs SET purpose='fun'", "purpose: found \"fun\"");
    refused(f, "UPDATE runs SET id='../../etc'", "id: found \"../../etc\"");
    refused(f, "UPDATE runs SET steps=-3", "steps: found -3");
    refused(f, "UPDATE runs SET family=printf('%100c', 'x')", "family: found 100 bytes");
    refused(f, "INSERT INTO blocks SELECT id, 1, 2, 3 FROM runs", "block: found 1, expected 0");
    refused(f, "INSERT INTO clock SELECT id, 0, 2, 3 FROM runs", "machine: found 0");
    refused(f, "DELETE FROM sweep", "sweep: found no row");
    refused(f,
            "DROP TABLE blocks; CREATE VIEW blocks AS SELECT id, 0 AS block, 1 AS loss, 2 AS "
            "tokens FROM runs",
            "tables: found 6");
    refused(f,
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT "
            "INTO curves SELECT id, 'train', i, 1 FROM runs, n",
            "found more than 200 points");
}

// Bytes changed anywhere: all that may come of it are results or words.
static void test_damage(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_store *s = create(f);
    for (int i = 0; i < 3; i++) {
        sg_sweep_row row = row_of(i, 1e-3, 1, 2);
        put_row(s, &row);
    }
    sg_sweep_store_free(s);
    char *path = path_in(f, "sweep.db"), *bytes;
    size_t count;
    must(sg_file_read(path, 1 << 22, &bytes, &count, &err), &err);
    for (uint64_t i = 0; i < 300; i++) {
        sg_sweep_results r;
        const uint64_t at = sg_rng_below(1, sg_rng_stream("damage"), 2 * i, count);
        const char before = bytes[at];
        bytes[at] = (char)sg_rng_below(1, sg_rng_stream("damage"), 2 * i + 1, 256);
        must(sg_file_write_atomic(path, bytes, count, &err), &err);
        if (sg_sweep_results_open(path, &r, &err) != SG_OK) assert_true(err.message[0] != '\0');
        sg_sweep_results_clear(&r);
        bytes[at] = before;
    }
    sg_free(bytes);
}

static sg_status store_and_read(void *user, sg_error *err)
{
    const fixture *f = user;
    sg_sweep_store *s = NULL;
    sg_sweep_results r = {0};
    const sg_sweep_row row = row_of(1, 1e-3, 1, 2);
    sg_path_remove(path_in(f, "sweep.db"), NULL);
    sg_status status = sg_sweep_store_create(f->folder, &about, &s, err);
    if (status == SG_OK) status = sg_sweep_store_begin(s, err);
    if (status == SG_OK) status = sg_sweep_store_put(s, &row, err);
    if (status == SG_OK) status = sg_sweep_store_commit(s, err);
    if (status == SG_OK) status = sg_sweep_store_read(s, &r, err);
    sg_sweep_results_clear(&r);
    sg_sweep_store_free(s);
    return status;
}

static void test_memory_runs_out(void **state)
{
    assert_true(alloc_failure_loop(store_and_read, *state) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_all_comes_back),
        FILE_TEST(test_order_and_best),
        FILE_TEST(test_one_writer),
        FILE_TEST(test_readers_while_writing),
        FILE_TEST(test_odd_values_are_refused),
        FILE_TEST(test_damage),
        FILE_TEST(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
