// Databases as files: what comes back, what reading leaves alone, writers that die, disks that are
// full, files that are damaged or something else.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "format/sqlite.h"
#include "system_folder.h"

static const sg_database_kind kind = {.name = "a test", .application = 0x54657374, .version = 3};

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_database *create(const char *path, bool force)
{
    sg_error err = {0};
    sg_database *d;
    must(sg_database_create(path, &kind, force, &d, &err), &err);
    return d;
}

static void execute(sg_database *d, const char *sql)
{
    sg_error err = {0};
    must(sg_database_execute(d, sql, &err), &err);
}

static void insert(sg_database *d, int64_t from, int64_t rows)
{
    sg_error err = {0};
    sg_statement *s;
    must(sg_database_prepare(d, "INSERT INTO t VALUES(?1,?2)", &s, &err), &err);
    for (int64_t i = from; i < from + rows; i++) {
        char text[80];
        snprintf(text, sizeof text, "%064lld", (long long)i);
        sg_statement_bind_int(s, 1, i);
        sg_statement_bind_text(s, 2, text, strlen(text));
        must(sg_statement_run(s, &err), &err);
    }
    sg_statement_free(s);
}

// A file with a table of `rows` rows.
static void make(const char *path, int64_t rows)
{
    sg_error err = {0};
    sg_database *d = create(path, true);
    execute(d, "CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT)");
    insert(d, 0, rows);
    must(sg_database_publish(d, &err), &err);
}

static int64_t count(sg_database *d)
{
    sg_error err = {0};
    int64_t n;
    must(sg_database_int(d, "SELECT count(*) FROM t", 0, INT64_MAX, &n, &err), &err);
    return n;
}

static int64_t count_in(const char *path)
{
    sg_error err = {0};
    sg_database *d;
    must(sg_database_open(path, &kind, &d, &err), &err);
    const int64_t n = count(d);
    sg_database_free(d);
    return n;
}

static size_t files_in(const fixture *f)
{
    char **names;
    size_t n;
    assert_int_equal(sg_folder_list(f->folder, &names, &n, NULL), SG_OK);
    sg_names_free(names, n);
    return n;
}

static void expect_fail(sg_status status, sg_status expected, const sg_error *err, const char *says)
{
    if (status != expected || strstr(err->message, says) == NULL)
        fail_msg("found %s: \"%s\", expected %s: \"%s\"", sg_status_name(status), err->message,
                 sg_status_name(expected), says);
}

// ---- values -------------------------------------------------------------------------------------

static void write_values(sg_database *d)
{
    sg_error err = {0};
    sg_statement *s;
    execute(d, "CREATE TABLE v(i, r, t, b, e, n)");
    must(sg_database_prepare(d, "INSERT INTO v VALUES(?1,?2,?3,?4,?5,?6)", &s, &err), &err);
    sg_statement_bind_int(s, 1, INT64_MIN);
    sg_statement_bind_real(s, 2, 0.1f);
    sg_statement_bind_text(s, 3, "a'\n\xff", 5);
    sg_statement_bind_blob(s, 4, "\0\1\2", 3);
    sg_statement_bind_blob(s, 5, NULL, 0);
    sg_statement_bind_null(s, 6);
    must(sg_statement_run(s, &err), &err);
    sg_statement_free(s);
}

static void test_values(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d = create(path, false);
    sg_statement *s;
    bool row;
    int64_t i;
    double r;
    const char *t;
    const void *b;
    size_t bytes;
    write_values(d);
    must(sg_database_publish(d, &err), &err);
    assert_int_equal(files_in(f), 1);
    assert_true(sg_database_is(path));
    must(sg_database_open(path, &kind, &d, &err), &err);
    must(sg_database_verify(d, &err), &err);
    assert_string_equal(sg_database_path(d), path);
    must(sg_database_prepare(d, "SELECT * FROM v", &s, &err), &err);
    must(sg_statement_step(s, &row, &err), &err);
    assert_true(row);
    assert_int_equal(sg_statement_columns(s), 6);
    assert_string_equal(sg_statement_column_name(s, 3), "b");
    must(sg_statement_int(s, 0, INT64_MIN, 0, &i, &err), &err);
    assert_true(i == INT64_MIN);
    must(sg_statement_real(s, 1, &r, &err), &err);
    assert_true((float)r == 0.1f);
    must(sg_statement_text(s, 2, &t, &bytes, &err), &err);
    assert_int_equal(bytes, 5);
    assert_memory_equal(t, "a'\n\xff", 5);
    must(sg_statement_blob(s, 3, &b, &bytes, &err), &err);
    assert_int_equal(bytes, 3);
    assert_memory_equal(b, "\0\1\2", 3);
    must(sg_statement_blob(s, 4, &b, &bytes, &err), &err);
    assert_int_equal(bytes, 0);
    assert_true(sg_statement_is_null(s, 5) && !sg_statement_is_null(s, 4));
    expect_fail(sg_statement_int(s, 0, 0, 9, &i, &err), SG_ERR_FORMAT, &err, "expected 0 to 9");
    expect_fail(sg_statement_int(s, 1, 0, 9, &i, &err), SG_ERR_FORMAT, &err, "found a number");
    expect_fail(sg_statement_real(s, 2, &r, &err), SG_ERR_FORMAT, &err, "found a text");
    expect_fail(sg_statement_text(s, 3, &t, &bytes, &err), SG_ERR_FORMAT, &err, "found a blob");
    expect_fail(sg_statement_blob(s, 5, &b, &bytes, &err), SG_ERR_FORMAT, &err, "found nothing");
    must(sg_statement_step(s, &row, &err), &err);
    assert_false(row);
    sg_statement_free(s);
    sg_database_free(d);
}

// Not finite numbers are refused where a number is read.
static void test_infinite(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_database *d = create(path_in(f, "a.db"), false);
    sg_statement *s;
    bool row;
    double r;
    must(sg_database_prepare(d, "SELECT 9e999 AS far", &s, &err), &err);
    must(sg_statement_step(s, &row, &err), &err);
    expect_fail(sg_statement_real(s, 0, &r, &err), SG_ERR_FORMAT, &err, "finite");
    sg_statement_free(s);
    sg_database_free(d);
    assert_int_equal(files_in(f), 0);
}

// ---- what is there ------------------------------------------------------------------------------

static void test_what_is_there(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d, *other;
    make(path, 5);
    expect_fail(sg_database_create(path, &kind, false, &d, &err), SG_ERR_ARGUMENT, &err,
                "is there already");
    d = create(path, true);
    assert_int_equal(count_in(path), 5); // until the new one is published
    expect_fail(sg_database_create(path, &kind, true, &other, &err), SG_ERR_IO, &err,
                "another process is working on this");
    expect_fail(sg_database_continue(path, &kind, &other, &err), SG_ERR_IO, &err,
                "another process is working on this");
    execute(d, "CREATE TABLE t(id)");
    sg_database_free(d); // not published
    assert_int_equal(count_in(path), 5);
    assert_int_equal(files_in(f), 1);
    d = create(path, true);
    execute(d, "CREATE TABLE t(id)");
    must(sg_database_publish(d, &err), &err);
    assert_int_equal(count_in(path), 0);
    // Made by others while we made ours.
    d = create(path_in(f, "b.db"), false);
    FILE *theirs = fopen(path_in(f, "b.db"), "w");
    assert_non_null(theirs);
    assert_true(fputs("theirs", theirs) >= 0 && fclose(theirs) == 0);
    expect_fail(sg_database_publish(d, &err), SG_ERR_ARGUMENT, &err, "made by somebody else");
    expect(path_in(f, "b.db"), "theirs");
    assert_int_equal(files_in(f), 2);
}

static void test_other_files(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_database *d;
    const sg_database_kind other = {.name = "a test", .application = 1, .version = 3};
    const sg_database_kind newer = {
        .name = "a test", .application = kind.application, .version = 4};
    put(path_in(f, "text"), "SQLite format 3, says a text that is long enough to hold the hundred "
                            "bytes of a header, and some more");
    put(path_in(f, "empty"), "");
    make(path_in(f, "a.db"), 1);
    assert_int_equal(mkfifo(path_in(f, "pipe"), 0600), 0);
    assert_false(sg_database_is(path_in(f, "text")));
    assert_false(sg_database_is(path_in(f, "empty")));
    assert_false(sg_database_is(path_in(f, "none")));
    assert_false(sg_database_is(path_in(f, "pipe")));
    expect_fail(sg_database_open(path_in(f, "text"), &kind, &d, &err), SG_ERR_FORMAT, &err,
                "is no SQLite database, expected a test");
    expect_fail(sg_database_continue(path_in(f, "empty"), &kind, &d, &err), SG_ERR_FORMAT, &err,
                "is no SQLite database");
    expect_fail(sg_database_open(path_in(f, "none"), &kind, &d, &err), SG_ERR_NOT_FOUND, &err,
                "none");
    expect_fail(sg_database_open(f->folder, &kind, &d, &err), SG_ERR_ARGUMENT, &err, "folder");
    expect_fail(sg_database_open(path_in(f, "pipe"), &kind, &d, &err), SG_ERR_ARGUMENT, &err,
                "pipe");
    expect_fail(sg_database_create(path_in(f, "pipe"), &kind, true, &d, &err), SG_ERR_ARGUMENT,
                &err, "pipe");
    expect_fail(sg_database_create(path_in(f, "no/a.db"), &kind, true, &d, &err), SG_ERR_NOT_FOUND,
                &err, "no/a.db");
    expect_fail(sg_database_open(path_in(f, "a.db"), &other, &d, &err), SG_ERR_FORMAT, &err,
                "application_id: found");
    expect_fail(sg_database_open(path_in(f, "a.db"), &newer, &d, &err), SG_ERR_MISMATCH, &err,
                "user_version: found 3, expected 4");
    assert_int_equal(files_in(f), 4);
}

static void read_bytes(const char *path, char **data, size_t *bytes)
{
    sg_error err = {0};
    must(sg_file_read(path, 1 << 24, data, bytes, &err), &err);
}

// Neither the file nor what lies beside it changes; one with a write-ahead log would.
static void test_reading_never_writes(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d;
    char *before, *after;
    size_t bytes, others;
    make(path, 2000);
    read_bytes(path, &before, &bytes);
    must(sg_database_open(path, &kind, &d, &err), &err);
    assert_int_equal(count(d), 2000);
    assert_int_equal(files_in(f), 1);
    assert_int_equal(sg_database_execute(d, "DELETE FROM t", &err), SG_ERR_IO);
    sg_database_free(d);
    read_bytes(path, &after, &others);
    assert_int_equal(bytes, others);
    assert_memory_equal(before, after, bytes);
    before[18] = before[19] = 2;
    sg_writer *w;
    must(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &w, &err), &err);
    sg_writer_put(w, before, bytes);
    must(sg_writer_replace(w, &err), &err);
    expect_fail(sg_database_open(path, &kind, &d, &err), SG_ERR_UNSUPPORTED, &err, "write-ahead");
    assert_int_equal(files_in(f), 1);
    sg_free(before);
    sg_free(after);
}

// ---- writers ------------------------------------------------------------------------------------

static void test_transactions(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d;
    make(path, 10);
    must(sg_database_continue(path, &kind, &d, &err), &err);
    must(sg_database_begin(d, &err), &err);
    insert(d, 10, 5);
    must(sg_database_commit(d, &err), &err);
    must(sg_database_begin(d, &err), &err);
    insert(d, 15, 5);
    assert_int_equal(count(d), 20);
    sg_database_rollback(d);
    assert_int_equal(count(d), 15);
    expect_fail(sg_database_execute(d, "INSERT INTO t VALUES(1, 2)", &err), SG_ERR_FORMAT, &err,
                "UNIQUE");
    expect_fail(sg_database_execute(d, "SELECT * FROM other", &err), SG_ERR_FORMAT, &err,
                "no such table: other");
    sg_database_free(d);
    assert_int_equal(count_in(path), 15);
    assert_int_equal(files_in(f), 1);
}

// A process that has written much of a transaction, and ends.
static void die_writing(const char *path)
{
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sg_database *d;
        if (sg_database_continue(path, &kind, &d, NULL) != SG_OK) _exit(3);
        sg_database_set_cache(d, 65536, NULL);
        sg_database_begin(d, NULL);
        sg_database_execute(d, "UPDATE t SET text = 'spoiled'", NULL);
        insert(d, 100000, 20000);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_killed_writer(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d;
    int64_t spoiled;
    make(path, 3000);
    die_writing(path);
    expect_fail(sg_database_open(path, &kind, &d, &err), SG_ERR_IO, &err,
                "which only a writer can undo");
    must(sg_database_continue(path, &kind, &d, &err), &err);
    assert_int_equal(count(d), 3000);
    must(sg_database_int(d, "SELECT count(*) FROM t WHERE text = 'spoiled'", 0, 1 << 30, &spoiled,
                         &err),
         &err);
    assert_int_equal(spoiled, 0);
    must(sg_database_verify(d, &err), &err);
    sg_database_free(d);
    assert_int_equal(count_in(path), 3000);
    assert_int_equal(files_in(f), 1);
}

// A process that died while it made one: the next removes what it left.
static void test_killed_maker(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    const pid_t child = fork();
    int status;
    if (child == 0) {
        sg_database *d = NULL;
        sg_database_create(path, &kind, false, &d, NULL);
        sg_database_execute(d, "CREATE TABLE old(id)", NULL);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_false(sg_path_exists(path));
    make(path, 4);
    assert_int_equal(count_in(path), 4);
    assert_int_equal(files_in(f), 1);
}

// What is committed stays when there is room for no more, and when a write is refused.
static void test_full(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d;
    sg_statement *s;
    make(path, 100);
    must(sg_database_continue(path, &kind, &d, &err), &err);
    execute(d, "PRAGMA max_page_count=20");
    must(sg_database_begin(d, &err), &err);
    must(sg_database_prepare(d,
                             "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n "
                             "LIMIT 9000) INSERT INTO t SELECT i, hex(zeroblob(30)) FROM n",
                             &s, &err),
         &err);
    expect_fail(sg_statement_run(s, &err), SG_ERR_IO, &err, "no space left on the disk");
    sg_database_rollback(d);
    assert_int_equal(count(d), 100);
    execute(d, "PRAGMA max_page_count=100000");
    must(sg_database_begin(d, &err), &err);
    struct rlimit limit = {20 * 4096, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    sg_status status = sg_statement_run(s, &err);
    if (status == SG_OK) status = sg_database_commit(d, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    expect_fail(status, SG_ERR_IO, &err, "a.db: ");
    sg_database_rollback(d);
    assert_int_equal(count(d), 100);
    must(sg_statement_run(s, &err), &err);
    sg_statement_free(s);
    sg_database_free(d);
    assert_int_equal(count_in(path), 9100);
}

static bool not_now(void *user)
{
    return ++*(int *)user < 3;
}

static void test_stop(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db");
    sg_error err = {0};
    sg_database *d;
    int asked = 0;
    int64_t n;
    make(path, 10);
    must(sg_database_open(path, &kind, &d, &err), &err);
    sg_database_set_go_on(d, not_now, &asked);
    expect_fail(sg_database_int(d, "SELECT count(*) FROM t, t, t, t, t, t, t, t", 0, 1, &n, &err),
                SG_ERR_STOPPED, &err, "stopped");
    assert_int_equal(asked, 3);
    sg_database_set_go_on(d, NULL, NULL);
    assert_int_equal(count(d), 10);
    sg_database_free(d);
}

// ---- damage -------------------------------------------------------------------------------------

static sg_status read_all(const char *path, sg_error *err)
{
    sg_database *d;
    sg_statement *s = NULL;
    bool row = true;
    SG_TRY(sg_database_open(path, &kind, &d, err));
    sg_status status = sg_database_prepare(d, "SELECT * FROM t", &s, err);
    while (status == SG_OK && row)
        status = sg_statement_step(s, &row, err);
    if (status == SG_OK) status = sg_database_verify(d, err);
    sg_statement_free(s);
    sg_database_free(d);
    return status;
}

// Bytes changed anywhere, and files cut short: a clear error or an answer, and nothing worse.
static void test_damage(void **state)
{
    const fixture *f = *state;
    const char *path = path_in(f, "a.db"), *bad = path_in(f, "bad.db");
    char *data;
    size_t bytes;
    int found = 0;
    make(path, 1000);
    read_bytes(path, &data, &bytes);
    for (int i = 0; i < 300; i++) {
        sg_error err = {0};
        const size_t at = (size_t)sg_rng_below(1, 2, (uint64_t)i, bytes);
        const char was = data[at];
        const size_t cut = i % 10 == 0 ? at : bytes;
        data[at] = (char)(was ^ (1 + i % 255));
        FILE *file = fopen(bad, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(data, 1, cut, file), cut);
        assert_int_equal(fclose(file), 0);
        data[at] = was;
        const sg_status status = read_all(bad, &err);
        if (status == SG_OK) continue;
        if (strstr(err.message, "bad.db") == NULL) fail_msg("\"%s\" names no file", err.message);
        found += status == SG_ERR_FORMAT;
    }
    assert_true(found > 30);
    sg_free(data);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status all_of_it(void *user, sg_error *err)
{
    const fixture *f = user;
    const char *path = path_in(f, "a.db");
    sg_database *d;
    int64_t n;
    SG_TRY(sg_database_create(path, &kind, true, &d, err));
    sg_status status = sg_database_execute(d, "CREATE TABLE t(id)", err);
    if (status == SG_OK)
        status = sg_database_publish(d, err);
    else
        sg_database_free(d);
    if (status == SG_OK) status = sg_database_continue(path, &kind, &d, err);
    if (status != SG_OK) return status;
    status = sg_database_int(d, "SELECT count(*) FROM t", 0, 0, &n, err);
    sg_database_free(d);
    return status;
}

static void test_memory(void **state)
{
    assert_true(alloc_failure_loop(all_of_it, *state) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_values),        FILE_TEST(test_infinite),
        FILE_TEST(test_what_is_there), FILE_TEST(test_other_files),
        FILE_TEST(test_transactions),  FILE_TEST(test_reading_never_writes),
        FILE_TEST(test_killed_writer), FILE_TEST(test_killed_maker),
        FILE_TEST(test_full),          FILE_TEST(test_stop),
        FILE_TEST(test_damage),        FILE_TEST(test_memory),
    };
    return cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
