// Reports: their tables say what the analysis says, and every form of them (page, CSV, drawings,
// text, JSON) says what the tables say; hostile names stay text; files are whole or not there.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "memory_disk.h"
#include "page_reading.h"
#include "report_sweep.h"
#include "sweep/report.h"
#include "sweep/results.h"
#include "tiny_run.h"

static sg_status report_make(const report_sweep *kind, sg_report **report, sg_error *err)
{
    sg_sweep_results results;
    sg_sweep_analysis analysis = {0};
    const sg_sweep_analysis_options how = {.resamples = 200, .seed = 1};
    sg_report_options options = sg_report_options_default();
    options.command = "sgatlin report sweep";
    if (!report_sweep_make(kind, &results)) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    sg_status status = sg_sweep_analyse(&results, &how, &analysis, err);
    if (status != SG_OK) {
        sg_sweep_results_clear(&results);
        return status;
    }
    return sg_report_of(&results, &analysis, "sweep", &options, report, err);
}

static sg_report *report_of(const report_sweep *kind)
{
    sg_error err = {0};
    sg_report *report = NULL;
    must(report_make(kind, &report, &err), &err);
    return report;
}

static char *file_of(const char *path, size_t *bytes)
{
    sg_error err = {0};
    char *text;
    must(sg_file_read(path, 64 << 20, &text, bytes, &err), &err);
    return text;
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word))
        count++;
    return count;
}

static size_t rows_of(const sg_report *report, const char *table)
{
    return json_array_size(sg_report_find(report, table)->rows);
}

// ---- tables -------------------------------------------------------------------------------------

static void test_tables(void **state)
{
    (void)state;
    sg_report *r = report_of(&(report_sweep){.facts = true, .times = true});
    const sg_sweep_analysis *a = &r->analysis;
    size_t points = 0;
    for (size_t c = 0; c < a->curve_count; c++)
        points += a->curves[c].point_count;
    assert_int_equal(rows_of(r, "runs"), r->results.count);
    assert_int_equal(rows_of(r, "points"), points);
    assert_int_equal(points, 6 * 3 * 5);
    assert_int_equal(rows_of(r, "fits"), a->curve_count);
    assert_int_equal(rows_of(r, "best"), 6 * 3);
    assert_int_equal(rows_of(r, "verdicts"), a->verdict_count);
    assert_int_equal(rows_of(r, "facts"), points);
    const sg_report_table *best = sg_report_find(r, "best"), *fits = sg_report_find(r, "fits");
    for (size_t i = 0; i < 18; i++) { // in order of budget, then of loss, the first of each lowest
        const bool first = i % 6 == 0;
        assert_true(first == (sg_report_number(best, i, "behind") == 0));
        if (!first)
            assert_true(sg_report_number(best, i, "loss") >= sg_report_number(best, i - 1, "loss"));
    }
    for (size_t c = 0; c < a->curve_count; c++) {
        assert_true(sg_report_number(fits, c, "size") == a->curves[c].size.value);
        assert_true(sg_report_number(fits, c, "loss_low") == a->curves[c].loss.low);
        assert_true(sg_report_number(fits, c, "a") == a->curves[c].a);
    }
    assert_int_equal(json_array_size(r->contenders), 6);
    assert_non_null(
        strstr(json_string_value(json_array_get(r->answers, 0)), "sgatlin has the lowest loss"));
    sg_report_free(r);
}

// Of the cell of a point, the rates of its first seed, each with the loss of its run.
static void test_search(void **state)
{
    (void)state;
    sg_report *r = report_of(&(report_sweep){0});
    const sg_report_table *t = sg_report_find(r, "search");
    const json_t *tried = sg_report_cell(t, 0, "tried"), *runs = sg_report_cell(t, 0, "runs");
    assert_int_equal(json_array_size(tried), 4);
    assert_int_equal(json_array_size(sg_report_cell(t, rows_of(r, "search") - 1, "tried")), 1);
    for (size_t i = 0; i < 4; i++) {
        const sg_sweep_row *row = &r->results.rows[json_integer_value(json_array_get(runs, i))];
        assert_true(row->lr == json_real_value(json_array_get(tried, i)));
        assert_true(row->loss ==
                    json_real_value(json_array_get(sg_report_cell(t, 0, "losses"), i)));
        assert_true(i == 0 || row->lr > json_real_value(json_array_get(tried, i - 1)));
    }
    sg_report_free(r);
}

// Settings in which contenders differ are part of their names; others are not.
static void test_labels(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_sweep_results results;
    sg_sweep_analysis analysis = {0};
    sg_report *r = NULL;
    assert_true(
        report_sweep_make(&(report_sweep){.families = 1, .budgets = 1, .scales = 2}, &results));
    for (size_t i = 0; i < results.count; i++)
        snprintf(results.rows[i].settings, sizeof results.rows[i].settings,
                 "{\"act\":\"%s\",\"layers\":2}", i % 2 ? "relu" : "gelu");
    must(sg_sweep_analyse(&results, NULL, &analysis, &err), &err);
    must(sg_report_of(&results, &analysis, "x", NULL, &r, &err), &err);
    assert_int_equal(json_array_size(r->contenders), 2);
    assert_string_equal(json_string_value(json_array_get(r->contenders, 0)), "mlp act=gelu");
    assert_string_equal(json_string_value(json_array_get(r->contenders, 1)), "mlp act=relu");
    // Verdicts and answers call them so too.
    const sg_report_table *verdicts = sg_report_find(r, "verdicts");
    const char *words = json_string_value(json_array_get(r->answers, 0));
    assert_int_equal(json_array_size(verdicts->rows), 1);
    for (size_t i = 0; i < 2; i++) {
        const char *name = json_string_value(json_array_get(r->contenders, i));
        assert_non_null(strstr(words, name));
        assert_non_null(strstr(sg_report_text_of(verdicts, 0, "words"), name));
    }
    sg_report_free(r);
}

// A sweep of which nothing is finished, and none at all, have every form of a report.
static void test_nothing(void **state)
{
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        sg_error err = {0};
        sg_sweep_results results = {0};
        sg_sweep_analysis analysis = {0};
        sg_report *r = NULL;
        char *text;
        int64_t files;
        if (!empty) {
            assert_true(report_sweep_make(&(report_sweep){.families = 2, .budgets = 1}, &results));
            for (size_t i = 0; i < results.count; i++)
                results.rows[i].state = SG_SWEEP_WAITING;
        }
        must(sg_sweep_analyse(&results, NULL, &analysis, &err), &err);
        must(sg_report_of(&results, &analysis, "x", NULL, &r, &err), &err);
        must(sg_report_text(r, 80, &text, &err), &err);
        assert_non_null(strstr(text, "No run is finished yet"));
        sg_free(text);
        must(sg_report_json(r, &text, &err), &err);
        sg_free(text);
        must(sg_report_page(r, "/p.html", true, NULL, &err), &err);
        must(sg_report_svg(r, "/svg", true, &files, &err), &err);
        assert_int_equal(files, 0);
        must(sg_report_csv(r, "/csv", true, &files, &err), &err);
        assert_int_equal(files, empty ? 1 : 2); // curves, and runs
        sg_report_free(r);
    }
}

// A sweep without budgets, and one without scales either: nothing stands for what is not there.
static void test_no_axes(void **state)
{
    (void)state;
    for (int scales = 0; scales < 2; scales++) {
        sg_error err = {0};
        sg_sweep_results results;
        sg_sweep_analysis analysis = {0};
        sg_report *r = NULL;
        char *text;
        int64_t files;
        assert_true(report_sweep_make(&(report_sweep){.families = 3, .budgets = 1}, &results));
        for (size_t i = 0; i < results.count; i++) {
            results.rows[i].budget = NAN;
            if (scales == 0) results.rows[i].scale = NAN;
        }
        must(sg_sweep_analyse(&results, NULL, &analysis, &err), &err);
        must(sg_report_of(&results, &analysis, "x", NULL, &r, &err), &err);
        assert_int_equal(rows_of(r, "best"), 3);
        assert_int_equal(rows_of(r, "points"), scales == 0 ? 3 : 15);
        must(sg_report_text(r, 80, &text, &err), &err);
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "FLOPs moe"));
        assert_non_null(strstr(text, "moe has the lowest loss"));
        assert_non_null(strstr(text, "Loss over parameters\n"));
        sg_free(text);
        must(sg_report_page(r, "/p.html", true, NULL, &err), &err);
        must(sg_report_svg(r, "/svg", true, &files, &err), &err);
        assert_int_equal(files, 3); // no times, no facts
        sg_report_free(r);
    }
}

// ---- the page -----------------------------------------------------------------------------------

static void test_page(void **state)
{
    (void)state;
    sg_error err = {0};
    size_t bytes, got = 0;
    int64_t told = 0;
    json_t *manifest;
    sg_report *r = report_of(&(report_sweep){.hostile = true, .unfinished = true});
    must(sg_report_page(r, "/p.html", false, &told, &err), &err);
    char *page = file_of("/p.html", &bytes);
    assert_int_equal(told, bytes);
    assert_int_equal(count_of(page, "<script"), 2); // the manifest and the page's own
    assert_int_equal(count_of(page, "</script"), 2);
    assert_int_equal(count_of(page, "alert(1)") > 0, true); // it is there, as text
    assert_int_equal(count_of(page, "http:"), count_of(page, "http://www.w3.org/2000/svg"));
    assert_null(strstr(page, "https:"));
    assert_null(strstr(page, "@data@"));
    const char *at = page_element(page, "report", &got);
    assert_non_null(at);
    must(sg_json_parse(at, got, "page", &manifest, &err), &err);
    const json_t *tables = json_object_get(manifest, "tables");
    const json_t *runs = json_object_get(json_object_get(tables, "runs"), "rows");
    assert_true(json_equal(runs, sg_report_find(r, "runs")->rows));
    assert_int_equal(json_array_size(json_object_get(json_object_get(manifest, "curves"), "of")),
                     r->results.count);
    // What is of one run and what is of all make up the options of the run.
    const json_t *options = json_object_get(manifest, "options");
    const json_t *own = json_object_get(options, "own");
    assert_int_equal(json_array_size(own), r->results.count);
    json_t *whole = json_deep_copy(json_object_get(options, "shared")), *expected;
    json_object_update_recursive(whole, json_array_get(own, 3));
    must(sg_json_parse(r->results.rows[3].options, strlen(r->results.rows[3].options), "o",
                       &expected, &err),
         &err);
    assert_true(json_equal(whole, expected));
    assert_true(json_object_size(json_array_get(own, 3)) < 5);
    // What is there stays.
    assert_int_equal(sg_report_page(r, "/p.html", false, NULL, &err), SG_ERR_ARGUMENT);
    must(sg_report_page(r, "/p.html", true, NULL, &err), &err);
    json_decref(whole);
    json_decref(expected);
    json_decref(manifest);
    sg_free(page);
    sg_report_free(r);
}

// ---- files --------------------------------------------------------------------------------------

// One line of a CSV file without its end, and the next line; cells are not read.
static size_t csv_lines(const char *text)
{
    return count_of(text, "\r\n");
}

static void test_csv(void **state)
{
    (void)state;
    sg_error err = {0};
    size_t bytes;
    int64_t files = 0;
    char path[64], number[64];
    sg_report *r = report_of(&(report_sweep){.hostile = true, .times = true});
    must(sg_report_csv(r, "/csv", false, &files, &err), &err);
    for (size_t i = 0; i < r->table_count; i++) {
        if (json_array_size(r->tables[i].rows) == 0) continue;
        snprintf(path, sizeof path, "/csv/%s.csv", r->tables[i].name);
        char *text = file_of(path, &bytes);
        assert_int_equal(csv_lines(text), json_array_size(r->tables[i].rows) + 1);
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf,"));
        files--;
        sg_free(text);
    }
    assert_int_equal(files, 1); // the curves
    char *text = file_of("/csv/points.csv", &bytes);
    assert_int_equal(strncmp(text, "budget,family,scale,parameters,", 31), 0);
    // Quotes are doubled, and what has them stands in quotes; numbers are the same when read back.
    assert_non_null(strstr(text, "\"a\"\"'`${alert(1)}\""));
    const char *second = strstr(text, "\r\n") + 2;
    assert_true(strtod(second, NULL) == r->analysis.curves[0].budget);
    snprintf(number, sizeof number, "%.17g", r->analysis.curves[0].points[0].loss);
    const double loss = r->analysis.curves[0].points[0].loss;
    bool found = false;
    for (const char *c = second; *c != '\r'; c++)
        found = found || (c[-1] == ',' && strtod(c, NULL) == loss);
    assert_true(found);
    sg_free(text);
    text = file_of("/csv/curves.csv", &bytes);
    assert_int_equal(csv_lines(text), 1 + r->results.count * 130);
    sg_free(text);
    // One file that is there refuses all, before any is written.
    must(sg_path_remove("/csv/best.csv", &err), &err);
    assert_int_equal(sg_report_csv(r, "/csv", false, &files, &err), SG_ERR_ARGUMENT);
    assert_false(sg_path_exists("/csv/best.csv"));
    must(sg_report_csv(r, "/csv", true, &files, &err), &err);
    assert_true(sg_path_exists("/csv/best.csv"));
    sg_report_free(r);
}

static void test_svg(void **state)
{
    (void)state;
    sg_error err = {0};
    size_t bytes;
    int64_t files = 0;
    static const char *const names[] = {"isoflop", "seconds", "best", "facts", "curves"};
    sg_report *r = report_of(&(report_sweep){.facts = true, .times = true});
    sg_report *hostile = report_of(&(report_sweep){.hostile = true});
    must(sg_report_svg(r, "/svg", false, &files, &err), &err);
    const size_t expected = rows_of(r, "fronts") > 0 ? 5 : 4;
    assert_int_equal(files, expected);
    for (size_t i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, "/svg/%s.svg", names[i]);
        if (i == 1 && expected == 4) continue;
        char *text = file_of(path, &bytes);
        assert_int_equal(strncmp(text, "<svg xmlns=", 11), 0);
        assert_string_equal(text + bytes - 7, "</svg>\n");
        assert_int_equal(count_of(text, "<clipPath"), i == 1 ? 1 : 3);
        assert_int_equal(count_of(text, ">sgatlin</text>"), 1); // the legend has it once
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
        sg_free(text);
    }
    // A mark a point, one a minimum, one a contender in the legend, all of one shape.
    char *text = file_of("/svg/isoflop.svg", &bytes);
    assert_int_equal(count_of(text, "<circle"), 3 * 5 + 3 + 1); // of mlp
    sg_free(text);
    assert_int_equal(sg_report_svg(r, "/svg", false, &files, &err), SG_ERR_ARGUMENT);
    must(sg_report_svg(hostile, "/svg", true, &files, &err), &err);
    text = file_of("/svg/isoflop.svg", &bytes);
    assert_null(strstr(text, "<b>"));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "<img"));
    sg_free(text);
    sg_report_free(hostile);
    sg_report_free(r);
}

// ---- text and JSON ------------------------------------------------------------------------------

static void test_text(void **state)
{
    (void)state;
    sg_error err = {0};
    char *text;
    sg_report *r = report_of(&(report_sweep){.facts = true, .times = true});
    for (int64_t columns = 40; columns <= 100; columns += 60) {
        must(sg_report_text(r, columns, &text, &err), &err);
        assert_non_null(strstr(text, "At 1e+13 FLOPs"));
        assert_non_null(strstr(text, "Loss over parameters at 4e+13 FLOPs"));
        assert_non_null(strstr(text, "Lowest loss at each budget"));
        assert_non_null(strstr(text, "a mlp"));
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, " \n")); // nothing at the ends of lines
        assert_int_equal(text[strlen(text) - 1], '\n');
        sg_free(text);
    }
    must(sg_report_json(r, &text, &err), &err);
    json_t *value;
    must(sg_json_parse(text, strlen(text), "report", &value, &err), &err);
    const json_t *fits = json_object_get(json_object_get(value, "tables"), "fits");
    assert_int_equal(json_array_size(fits), 18);
    assert_true(json_real_value(json_object_get(json_array_get(fits, 0), "size")) ==
                r->analysis.curves[0].size.value);
    json_decref(value);
    sg_free(text);
    sg_report_free(r);
}

// A point in each corner and one in the middle.
static void test_plot(void **state)
{
    (void)state;
    sg_error err = {0};
    const double x[] = {1, 100, 10, 100, NAN}, y[] = {0, 2, 1, 0, 1};
    const sg_plot_series series = {.mark = 'a', .x = x, .y = y, .count = 5};
    sg_bytes out = {0};
    must(sg_report_plot(&out, &series, 1, true, 21, 5, &err), &err);
    assert_true(sg_bytes_add(&out, "", 1));
    assert_string_equal(out.data, "        2 |                    a\n"
                                  "          |\n"
                                  "          |          a\n"
                                  "          |\n"
                                  "        0 |a                   a\n"
                                  "          +---------------------\n"
                                  "           1                 100\n");
    sg_free(out.data);
}

// ---- runs ---------------------------------------------------------------------------------------

static void test_runs(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_report *r = NULL;
    char *text;
    size_t bytes;
    int64_t files;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    tiny_life life = {0};
    tiny_must(&life, "/a/run", &options);
    options.lr *= 0.1;
    life.stop_at = 7;
    assert_int_equal(tiny_train(&life, "/b/run", &options), SG_ERR_STOPPED);
    const char *const paths[] = {"/a/run", "/b/run"}, *const lost[] = {"/a/run", "/nothing"};
    assert_int_equal(sg_report_runs(lost, 2, NULL, &r, &err), SG_ERR_NOT_FOUND);
    assert_null(r);
    assert_int_equal(sg_report_runs(paths, 0, NULL, &r, &err), SG_ERR_ARGUMENT);
    must(sg_report_runs(paths, 2, NULL, &r, &err), &err);
    // Two folders of one name are told apart by their paths; one is not finished, which is said.
    assert_string_equal(sg_report_text_of(sg_report_find(r, "runs"), 0, "run"), "/a/run");
    assert_string_equal(sg_report_text_of(sg_report_find(r, "runs"), 1, "run"), "/b/run");
    assert_int_equal(sg_report_remark_count(r), 1);
    assert_non_null(strstr(sg_report_remark(r, 0), "/b/run: the run is at step 7 of 12"));
    assert_int_equal(json_array_size(r->answers), 0);
    must(sg_report_page(r, "/p.html", false, NULL, &err), &err);
    must(sg_report_svg(r, "/svg", false, &files, &err), &err);
    assert_int_equal(files, 1);
    text = file_of("/svg/curves.svg", &bytes);
    assert_int_equal(count_of(text, "<path clip-path"), 2);
    sg_free(text);
    must(sg_report_csv(r, "/csv", false, &files, &err), &err);
    text = file_of("/csv/curves.csv", &bytes);
    assert_int_equal(count_of(text, "\r\n/a/run,train,"), TINY_STEPS);
    assert_int_equal(count_of(text, "\r\n/b/run,train,"), 7);
    sg_free(text);
    must(sg_report_text(r, 80, &text, &err), &err);
    assert_non_null(strstr(text, "a /a/run   b /b/run"));
    sg_free(text);
    sg_report_free(r);
    // Both finished: who is lower, and that single runs tell nothing of chance.
    life.stop_at = 0;
    tiny_must(&life, "/b/run", NULL);
    must(sg_report_runs(paths, 2, NULL, &r, &err), &err);
    assert_int_equal(json_array_size(r->answers), 1);
    assert_non_null(strstr(json_string_value(json_array_get(r->answers, 0)), "has the lower"));
    sg_report_free(r);
    tiny_disk_free(fs);
}

// ---- failures -----------------------------------------------------------------------------------

static sg_status all_forms(void *user, sg_error *err)
{
    sg_report *r = NULL;
    char *text = NULL;
    int64_t files;
    (void)user;
    const report_sweep kind = {.families = 1, .budgets = 1, .scales = 1, .seeds = 1, .bare = true};
    SG_TRY(report_make(&kind, &r, err));
    sg_status status = sg_report_page(r, "/p.html", true, NULL, err);
    if (status == SG_OK) status = sg_report_svg(r, "/svg", true, &files, err);
    if (status == SG_OK) status = sg_report_csv(r, "/csv", true, &files, err);
    if (status == SG_OK) status = sg_report_text(r, 80, &text, err);
    sg_free(text);
    text = NULL;
    if (status == SG_OK) status = sg_report_json(r, &text, err);
    sg_free(text);
    sg_report_free(r);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(all_forms, NULL) > 500);
}

static void test_full_disk(void **state)
{
    (void)state;
    sg_error err = {0};
    int64_t files = 0;
    sg_report *r = report_of(&(report_sweep){.families = 2, .budgets = 1, .scales = 3});
    memory_fs_limit(disk, 3000);
    assert_int_equal(sg_report_page(r, "/p.html", false, NULL, &err), SG_ERR_IO);
    assert_int_equal(sg_report_svg(r, "/svg", false, &files, &err), SG_ERR_IO);
    assert_int_equal(memory_fs_used(disk), 0); // no half of anything
    sg_report_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_labels),
        cmocka_unit_test_setup_teardown(test_nothing, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_no_axes, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_page, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_csv, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_svg, disk_begin, disk_end),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_plot),
        cmocka_unit_test(test_runs),
        cmocka_unit_test_setup_teardown(test_no_memory, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_full_disk, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
