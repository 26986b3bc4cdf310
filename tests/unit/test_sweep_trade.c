// Runs of sweeps as CSV and back: what comes back, what joining leaves as it was, what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <stdint.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "sgatlin_sweep.h"
#include "sweep/columns.h"
#include "sweep/results.h"
#include "sweep/runs_csv.h"
#include "sweep/store.h"
#include "system_folder.h"

static const char sweep_file[] =
    "{\n  \"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"toy\",\n"
    "  \"options\": {\"steps\": 10},\n  \"axes\": {\"family\": [\"mlp\", \"glu\"]}\n}\n";

static const sg_sweep_about about = {.name = "toy",
                                     .note = "two\nlines, \"quotes\"",
                                     .data_hash = "0123456789abcdef",
                                     .data_path = "/home/her/da,ta",
                                     .file = sweep_file,
                                     .command = "sgatlin sweep toy.json --out 'é'",
                                     .vocab_size = 100,
                                     .seq_len = 32,
                                     .val_tokens = 640};

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// ---- a sweep ------------------------------------------------------------------------------------

enum { made_blocks = 5, made_points = 100 };

static double made_loss[made_blocks], made_step[made_points], made_curve[made_points];
static int64_t made_tokens[made_blocks] = {7, 7, 7, 9, 8};

static sg_sweep_row row_of(int number, const char *family, double loss)
{
    sg_sweep_row row = sg_sweep_row_empty();
    for (int i = 0; i < made_blocks; i++)
        made_loss[i] = 1.0 / (i + 3);
    for (int i = 0; i < made_points; i++) {
        made_step[i] = i + 1;
        made_curve[i] = 8 / (1 + 0.01 * i);
    }
    snprintf(row.id, sizeof row.id, "%032x", number);
    snprintf(row.family, sizeof row.family, "%s", family);
    snprintf(row.options, sizeof row.options, "{\"lr\":0.001,\"config\":{\"a\":\"b, c\"}}");
    row.lr = 0.1 + 0.2;
    row.seed = 1;
    row.state = loss > 0 ? SG_SWEEP_FINISHED : SG_SWEEP_RUNNING;
    row.loss = loss > 0 ? loss : NAN;
    if (loss > 0) {
        row.block_loss = made_loss;
        row.block_tokens = made_tokens;
        row.block_count = made_blocks;
        row.curve_step = row.val_step = made_step;
        row.curve_loss = row.val_loss = made_curve;
        row.curve_count = made_points;
        row.val_count = 3;
    }
    return row;
}

// Every column with a value of its own.
static sg_sweep_row full_row(int number)
{
    sg_sweep_row row = row_of(number, "glu", 3.5);
    const sg_sweep_column *c;
    for (size_t i = 0; (c = sg_sweep_column_at(i)) != NULL; i++) {
        void *at = sg_sweep_column_in(c, &row);
        if (c->kind == SG_SWEEP_COLUMN_INT) *(int64_t *)at = (int64_t)1 << i;
        if (c->kind == SG_SWEEP_COLUMN_REAL) *(double *)at = 1.0 / (double)(i + 3);
    }
    snprintf(row.settings, sizeof row.settings, "{\"a\":\"x\\ny\",\"b\":\"é, \\\"q\\\"\"}");
    snprintf(row.origin, sizeof row.origin, "another");
    row.cell = -1;
    row.failure = 0;
    row.purpose = SG_SWEEP_EXTENSION;
    row.seed = UINT64_MAX - 5;
    return row;
}

static const sg_sweep_machine machines[] = {
    {.processor = "one, \"fast\"", .kernels = "avx2", .program = "1.2", .cores = 2, .threads = 2},
    {.processor = "two", .kernels = "ref", .program = "1.2", .cores = 1, .threads = 1}};

static void put_rows(const char *folder, const sg_sweep_about *of, const sg_sweep_row *rows,
                     int count)
{
    sg_error err = {0};
    sg_sweep_store *s;
    int64_t machine;
    must(sg_sweep_store_create(folder, of, &s, &err), &err);
    must(sg_sweep_store_begin(s, &err), &err);
    for (int i = 0; i < count; i++) {
        must(sg_sweep_store_put(s, &rows[i], &err), &err);
        if (rows[i].state != SG_SWEEP_FINISHED) continue;
        must(sg_sweep_store_machine(s, &machines[i % 2], &machine, &err), &err);
        must(sg_sweep_store_clock(s, rows[i].id, machine, 1.0 / 3, 1.7e9 + 0.25, &err), &err);
        for (int r = 0; r < 3; r++)
            must(sg_sweep_store_steps(s, rows[i].id, machine, r, 0.1 * (r + 1), &err), &err);
    }
    must(sg_sweep_store_commit(s, &err), &err);
    sg_sweep_store_free(s);
}

static char *make(const fixture *f, const char *name, const sg_sweep_about *of,
                  const sg_sweep_row *rows, int count)
{
    sg_error err = {0};
    char *folder = path_in(f, name);
    must(sg_folder_make(folder, &err), &err);
    put_rows(folder, of, rows, count);
    return folder;
}

static char *make_toy(const fixture *f, const char *name)
{
    const sg_sweep_row rows[] = {full_row(0x300), row_of(0x100, "mlp", 4.25),
                                 row_of(0x200, "glu", 0)};
    return make(f, name, &about, rows, 3);
}

static char *export_to(const fixture *f, const char *folder, const char *name)
{
    sg_error err = {0};
    sg_sweep_exported exported;
    char *path = path_in(f, name);
    must(sg_sweep_export(folder, path, false, &exported, &err), &err);
    assert_int_equal(exported.runs, 2);
    return path;
}

static char *text_of(const char *path)
{
    sg_error err = {0};
    char *text;
    size_t bytes;
    must(sg_file_read(path, SG_SWEEP_CSV_MOST, &text, &bytes, &err), &err);
    assert_int_equal(strlen(text), bytes);
    return text;
}

static char *changed(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (at == NULL) fail_msg("not in the file: %s", from);
    const size_t bytes = strlen(text) + strlen(to) + 1;
    char *out = malloc(bytes);
    snprintf(out, bytes, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

// ---- there and back -----------------------------------------------------------------------------

static void assert_same_values(const sg_sweep_row *a, const sg_sweep_row *b)
{
    const sg_sweep_column *c;
    for (size_t i = 0; (c = sg_sweep_column_at(i)) != NULL; i++) {
        const void *x = sg_sweep_column_of(c, a), *y = sg_sweep_column_of(c, b);
        if (strcmp(c->name, "cell") == 0 || strcmp(c->name, "origin") == 0) continue;
        if (c->kind == SG_SWEEP_COLUMN_TEXT)
            assert_string_equal(x, y);
        else if (c->kind != SG_SWEEP_COLUMN_REAL || !isnan(*(const double *)x))
            assert_memory_equal(x, y, c->bytes);
        else
            assert_true(isnan(*(const double *)y));
    }
    assert_int_equal(a->block_count, b->block_count);
    assert_memory_equal(a->block_loss, b->block_loss, a->block_count * sizeof(double));
    assert_memory_equal(a->block_tokens, b->block_tokens, a->block_count * sizeof(int64_t));
    assert_true(b->seconds == a->seconds && b->step_seconds == a->step_seconds);
    assert_int_equal(a->step_rounds, b->step_rounds);
}

static void assert_thinned(const sg_sweep_row *from, const sg_sweep_row *to)
{
    assert_int_equal(to->curve_count, SG_SWEEP_CSV_CURVE);
    assert_int_equal(to->val_count, from->val_count);
    assert_true(to->curve_step[0] == 1 && to->curve_step[SG_SWEEP_CSV_CURVE - 1] == made_points);
    for (size_t i = 0; i < to->curve_count; i++) {
        const double loss = made_curve[(int)to->curve_step[i] - 1];
        assert_true(fabs(to->curve_loss[i] - loss) <= 1e-6 * loss);
    }
}

static void test_there_and_back(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    sg_sweep_results was, is;
    char *from = make_toy(f, "from"), *csv = export_to(f, from, "runs.csv");
    char *to = path_in(f, "to");
    must(sg_sweep_import(to, csv, NULL, NULL, &imported, &err), &err);
    assert_true(imported.made && imported.runs == 2 && imported.added == 2);
    assert_true(imported.known == 0 && imported.different == 0 && imported.elsewhere == 1);
    assert_int_equal(imported.rounds, 6);
    must(sg_sweep_results_open(from, &was, &err), &err);
    must(sg_sweep_results_open(to, &is, &err), &err);
    assert_string_equal(is.file, sweep_file);
    assert_string_equal(is.note, about.note);
    assert_string_equal(is.data_hash, about.data_hash);
    assert_string_equal(is.data_path, "da,ta");
    assert_string_equal(is.command, about.command);
    assert_true(is.vocab_size == 100 && is.seq_len == 32 && is.val_tokens == 640);
    assert_int_equal(is.count, 2);
    for (size_t i = 0; i < is.count; i++) {
        const sg_sweep_row *row = &is.rows[i], *before = sg_sweep_find(&was, row->id);
        assert_same_values(before, row);
        assert_thinned(before, row);
        assert_string_equal(is.machines[row->machine].processor,
                            was.machines[before->machine].processor);
        assert_string_equal(is.machines[row->step_machine].program, "1.2");
        assert_string_equal(row->origin, before->origin[0] ? "another" : "toy");
        assert_int_equal(row->cell, strcmp(row->family, "mlp") == 0 ? 0 : -1);
    }
    sg_sweep_results_clear(&was);
    sg_sweep_results_clear(&is);
    expect(path_in(f, "to/sweep.json"), sweep_file);
}

// The same runs are the same bytes, whichever way they took.
static void test_same_bytes(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    char *from = make_toy(f, "from"), *first = text_of(export_to(f, from, "1.csv"));
    char *second = text_of(export_to(f, path_in(f, "1.csv"), "2.csv"));
    assert_string_equal(first, second);
    must(sg_sweep_import(path_in(f, "to"), path_in(f, "2.csv"), NULL, NULL, &imported, &err), &err);
    char *third = text_of(export_to(f, path_in(f, "to"), "3.csv"));
    // But for where a run came from, and the order in which machines were met.
    assert_non_null(strstr(third, "\"file\": ["));
    assert_int_equal(strncmp(first, third, 60), 0);
    assert_true(strstr(first, "\n00000000000000000000000000000100,mlp,") <
                strstr(first, "\n00000000000000000000000000000300,glu,"));
    for (const char *at = first; *at != '\0'; at++)
        assert_true(*at == '\n' || (unsigned char)*at >= ' ');
    sg_free(first);
    sg_free(second);
    sg_free(third);
}

static void test_from_a_database(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    make_toy(f, "from");
    must(sg_sweep_import(path_in(f, "a"), path_in(f, "from"), NULL, NULL, &imported, &err), &err);
    assert_int_equal(imported.added, 2);
    must(sg_sweep_import(path_in(f, "b"), path_in(f, "from/sweep.db"), NULL, NULL, &imported, &err),
         &err);
    assert_int_equal(imported.added, 2);
    sg_sweep_results r;
    must(sg_sweep_results_open(path_in(f, "b"), &r, &err), &err);
    assert_int_equal(r.rows[0].curve_count, made_points); // nothing is thinned on this way
    sg_sweep_results_clear(&r);
}

// ---- joining ------------------------------------------------------------------------------------

static void said(void *user, const char *line)
{
    snprintf(user, 512, "%s", line);
}

static void test_joining(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    char line[512] = "";
    const sg_sweep_row rows[] = {row_of(0x100, "mlp", 4.5), row_of(0x300, "glu", 0),
                                 row_of(0x200, "glu", 2)};
    char *csv = export_to(f, make_toy(f, "from"), "runs.csv"), *to = make(f, "to", &about, rows, 3);
    must(sg_sweep_import(to, csv, said, line, &imported, &err), &err);
    assert_true(!imported.made && imported.runs == 2 && imported.added == 1);
    assert_true(imported.different == 1 && imported.known == 0);
    assert_non_null(strstr(line, "00000000000000000000000000000100: mlp, lr "));
    assert_non_null(strstr(line, "loss 4.5 here, 4.25 in "));
    sg_sweep_results r;
    must(sg_sweep_results_open(to, &r, &err), &err);
    assert_int_equal(r.count, 3);
    assert_true(sg_sweep_find(&r, rows[0].id)->loss == 4.5);
    assert_string_equal(sg_sweep_find(&r, rows[0].id)->origin, "");
    assert_true(sg_sweep_find(&r, rows[1].id)->state == SG_SWEEP_FINISHED);
    assert_true(sg_sweep_find(&r, rows[1].id)->loss == full_row(1).loss);
    assert_true(sg_sweep_find(&r, rows[2].id)->loss == 2);
    sg_sweep_results_clear(&r);
    // Once more: nothing is new, times neither.
    must(sg_sweep_import(to, csv, said, line, &imported, &err), &err);
    assert_true(imported.added == 0 && imported.known == 1 && imported.different == 1);
    assert_int_equal(imported.rounds, 0);
}

static void test_other_data(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    sg_sweep_about other = about;
    const sg_sweep_row row = row_of(0x900, "mlp", 2);
    char *csv = export_to(f, make_toy(f, "from"), "runs.csv");
    other.data_hash = "ffffffffffffffff";
    char *to = make(f, "to", &other, &row, 1);
    assert_int_equal(sg_sweep_import(to, csv, NULL, NULL, &imported, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "checksum 0123456789abcdef (da,ta), expected "
                                        "ffffffffffffffff"));
    sg_sweep_results r;
    must(sg_sweep_results_open(to, &r, &err), &err);
    assert_int_equal(r.count, 1);
    sg_sweep_results_clear(&r);
}

static void test_taken_names(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_exported exported;
    sg_sweep_imported imported;
    char *from = make_toy(f, "from"), *csv = path_in(f, "runs.csv");
    put(csv, "mine");
    assert_int_equal(sg_sweep_export(from, csv, false, &exported, &err), SG_ERR_ARGUMENT);
    expect(csv, "mine");
    must(sg_sweep_export(from, csv, true, &exported, &err), &err);
    assert_true(exported.runs == 2 && exported.others == 1);
    // While the sweep is being made, nobody else writes it.
    sg_sweep_store *s;
    must(sg_sweep_store_open(from, &s, &err), &err);
    assert_int_equal(sg_sweep_import(from, csv, NULL, NULL, &imported, &err), SG_ERR_IO);
    sg_sweep_store_free(s);
    assert_int_equal(sg_sweep_import(from, path_in(f, "none"), NULL, NULL, &imported, &err),
                     SG_ERR_NOT_FOUND);
    assert_false(sg_path_exists(path_in(f, "none")));
}

// A file that no sweep can go on with begins none; its runs are taken all the same.
static void test_odd_file(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_sweep_imported imported;
    char *from = make_toy(f, "from"), *csv = export_to(f, from, "runs.csv");
    char *text = text_of(csv), *other = changed(text, "sgatlin sweep\\\"", "other sweep\\\"");
    char *to = path_in(f, "to");
    put(csv, other);
    assert_int_equal(sg_sweep_import(to, csv, NULL, NULL, &imported, &err), SG_ERR_FORMAT);
    assert_false(sg_path_exists(to));
    must(sg_sweep_import(from, csv, NULL, NULL, &imported, &err), &err);
    assert_int_equal(imported.known, 2);
    free(other);
    sg_free(text);
}

// ---- hostile files ------------------------------------------------------------------------------

static const char *const changes[][3] = {
    // what stands there (the first time), what is put in its place, what is said of it
    {"version 1\n", "version 2\n", "line 1: expected \"# sgatlin sweep runs, version 1\""},
    {"\"runs\": 2", "\"runs\": 3", "found 2 runs, expected 3, as its head says"},
    {"\"vocab_size\": 100", "\"vocab_size\": -1", "vocab_size"},
    {"\"vocab_size\": 100", "\"vocab_size\": 1e", "line 8"},
    {"\"note\":", "\"not\":", "note"},
    {"\"cores\": 2", "\"cores\": \"2\"", "cores"},
    {"\"machines\": [", "\"machines\": [3, ", "machines"},
    {"\"file\": [", "\"file\": [3, ", "file[0]"},
    {"id,family", "id,familie", "column 2: found \"familie\", expected the column family"},
    {",step_seconds\n", "\n", "the line of columns ends too early"},
    {",step_seconds\n", ",step_seconds,more\n", "found more columns than there are"},
    {"\n00000000000000000000000000000100", "\n0000000000000000000000000000010g",
     "column 1 (id): found \"0000000000000000000000000000010g\", expected 32 hex digits"},
    {"\n00000000000000000000000000000100", "\n00000000000000000000000000000300", "found twice"},
    {"100,mlp,", "100,,", "column 2 (family): found \"\", expected the name of a contender"},
    {"100,mlp,", "100,mlp,0x1p3", "column 3 (scale): found \"0x1p3\", expected a number"},
    {"100,mlp,", "100,mlp,nan", "column 3 (scale): found \"nan\""},
    {"100,mlp,", "100,mlp,1e999", "column 3 (scale): found \"1e999\""},
    {"100,mlp,", "100,\"mlp\"x,", "column 2: found text behind the quotes of a cell"},
    {"100,mlp,", "100,m\"lp,", "found quotes inside of a cell"},
    {"100,mlp,,,{},search,1", "100,mlp,,,{},search,-1", "(seed): found \"-1\""},
    {"100,mlp,,,{},search,1", "100,mlp,,,{},search,18446744073709551616", "(seed)"},
    {"100,mlp,,,{},search", "100,mlp,,,{},guess", "(purpose): found \"guess\""},
    {"100,mlp,,,{}", "100,mlp,,,[]", "(settings): found \"[]\", expected a JSON object"},
    {"{\"\"lr\"\":0.001", "{\"\"lr\"\":", "(options)"},
    {",4.25,", ",,", "(loss): found \"\", expected the loss of a finished run"},
    {"7*3 9 8", "7*4 9 8", "found tokens of more blocks than there are losses"},
    {"7*3 9 8", "7*3 9", "found tokens of fewer blocks than there are losses"},
    {"7*3 9 8", "7*-3 9 8", "(block_tokens)"},
    {"7*3 9 8", "7*9223372036854775807 9 8", "more blocks"},
    {"7*3 9 8", "7*3  9 8", "(block_tokens)"},
    {"1:8 ", "1:8 1:7 ", "found steps that do not ascend"},
    {"1:8 ", "1=8 ", "expected STEP:LOSS"},
    {"1:0.1 ", "2:0.1 ", "found a machine that the head has not"},
    {"1:0.1 ", "1:-0.1 ", "expected MACHINE:SECONDS"},
    {"1:0.1 ", "-2:0.1 ", "expected MACHINE:SECONDS"},
};

static void test_refusals(void **state)
{
    const fixture *f = *state;
    char *text = text_of(export_to(f, make_toy(f, "from"), "runs.csv"));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *wrong = changed(text, changes[i][0], changes[i][1]);
        sg_sweep_bundle b;
        sg_error err = {0};
        if (sg_sweep_csv_parse(wrong, strlen(wrong), "f.csv", &b, &err) != SG_ERR_FORMAT)
            fail_msg("\"%s\": found \"%s\"", changes[i][1], err.message);
        if (strstr(err.message, "f.csv") == NULL || strstr(err.message, changes[i][2]) == NULL)
            fail_msg("found \"%s\", expected \"%s\"", err.message, changes[i][2]);
        assert_true(b.results.count == 0 && b.rounds == NULL);
        free(wrong);
    }
    sg_free(text);
}

// Cut anywhere it is refused.
static void test_cuts(void **state)
{
    const fixture *f = *state;
    char *text = text_of(export_to(f, make_toy(f, "from"), "runs.csv"));
    const size_t bytes = strlen(text);
    for (size_t cut = 0; cut < bytes; cut += 1 + cut % 3) {
        sg_sweep_bundle b;
        sg_error err = {0};
        const sg_status status = sg_sweep_csv_parse(text, cut, "f.csv", &b, &err);
        if (status != SG_ERR_FORMAT) fail_msg("cut at %zu of %zu: %s", cut, bytes, err.message);
    }
    sg_free(text);
}

// As a tool of another system would leave it.
static void test_other_ends_of_lines(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    char *text = text_of(export_to(f, make_toy(f, "from"), "runs.csv"));
    char *other = malloc(2 * strlen(text) + 1), *to = other;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n') *to++ = '\r';
        *to++ = *at;
    }
    *to = '\0';
    sg_sweep_bundle b;
    must(sg_sweep_csv_parse(other, strlen(other), "f.csv", &b, &err), &err);
    assert_int_equal(b.results.count, 2);
    assert_string_equal(b.results.file, sweep_file);
    assert_int_equal(b.round_count, 6);
    sg_sweep_bundle_clear(&b);
    free(other);
    sg_free(text);
}

static sg_status parse_once(void *user, sg_error *err)
{
    sg_sweep_bundle b;
    SG_TRY(sg_sweep_csv_parse(user, strlen(user), "f.csv", &b, err));
    sg_bytes text = {0};
    size_t runs;
    const sg_status status = sg_sweep_csv_text(&b, &text, &runs, err);
    sg_free(text.data);
    sg_sweep_bundle_clear(&b);
    return status;
}

static bool fail_at(void *user, size_t bytes)
{
    (void)bytes;
    return (*(int64_t *)user)-- != 0;
}

static void test_no_memory(void **state)
{
    const fixture *f = *state;
    const char *csv = export_to(f, make_toy(f, "from"), "runs.csv"), *to = path_in(f, "to");
    char *text = text_of(csv);
    assert_true(alloc_failure_loop(parse_once, text) > 20);
    sg_free(text);
    // Databases take their time: not every allocation of an import fails.
    sg_status status = SG_ERR_MEMORY;
    for (int64_t n = 0; status != SG_OK; n += 1 + n / 6) {
        sg_error err = {0};
        sg_sweep_imported imported;
        int64_t left = n, live = sg_alloc_live();
        sg_alloc_set_hook(fail_at, &left);
        status = sg_sweep_import(to, csv, NULL, NULL, &imported, &err);
        sg_alloc_set_hook(NULL, NULL);
        assert_int_equal(sg_alloc_live(), live);
        assert_int_equal(status, left < 0 ? SG_ERR_MEMORY : SG_OK);
        assert_int_equal(imported.added, status == SG_OK ? 2 : 0);
        assert_int_equal(sg_tree_remove(to, NULL), SG_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_there_and_back),
        FILE_TEST(test_same_bytes),
        FILE_TEST(test_from_a_database),
        FILE_TEST(test_joining),
        FILE_TEST(test_other_data),
        FILE_TEST(test_taken_names),
        FILE_TEST(test_odd_file),
        FILE_TEST(test_refusals),
        FILE_TEST(test_cuts),
        FILE_TEST(test_other_ends_of_lines),
        FILE_TEST(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
