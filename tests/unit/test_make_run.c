// A run of a sweep: what its row has, and that it has the same to the bit when the run was stopped,
// or had ended before its row was written. Curves that are thinned; folders that are tidied.
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
#include "base/file.h"
#include "context_on.h"
#include "sweep/columns.h"
#include "sweep/make_run.h"
#include "sweep/results.h"
#include "tiny_models.h"
#include "tiny_run.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static bool stop_at_seven(void *user, const sg_train_event *event)
{
    (void)user;
    return event->step < 7;
}

static sg_status make(const char *folder, const sg_train_options *o, int threads, bool stop,
                      sg_sweep_row *row, sg_error *err)
{
    sg_context *context = context_on(threads);
    const sg_sweep_making making = {.context = context,
                                    .folder = folder,
                                    .data = TINY_CONCAT,
                                    .facts = "",
                                    .blocks = 3,
                                    .max_epochs = 1,
                                    .options = o,
                                    .event = stop ? stop_at_seven : NULL};
    *row = sg_sweep_row_empty();
    const sg_status status = sg_sweep_make_run(&making, row, err);
    sg_context_free(context);
    return status;
}

static void same(const sg_sweep_row *a, const sg_sweep_row *b, const char *what)
{
    const sg_sweep_column *c;
    for (size_t i = 0; (c = sg_sweep_column_at(i)) != NULL; i++) {
        const void *x = sg_sweep_column_of(c, a), *y = sg_sweep_column_of(c, b);
        const bool fine = c->kind == SG_SWEEP_COLUMN_TEXT ? strcmp(x, y) == 0
                          : c->kind == SG_SWEEP_COLUMN_REAL
                              ? sg_sweep_same_number(*(const double *)x, *(const double *)y)
                              : memcmp(x, y, c->bytes) == 0;
        if (!fine) fail_msg("%s: %s differs", what, c->name);
    }
    const size_t blocks = a->block_count, curve = a->curve_count, val = a->val_count;
    assert_true(blocks == b->block_count && curve == b->curve_count && val == b->val_count);
    if (memcmp(a->block_loss, b->block_loss, blocks * sizeof(double)) != 0 ||
        memcmp(a->block_tokens, b->block_tokens, blocks * sizeof(int64_t)) != 0)
        fail_msg("%s: blocks differ", what);
    if (memcmp(a->curve_step, b->curve_step, curve * sizeof(double)) != 0 ||
        memcmp(a->curve_loss, b->curve_loss, curve * sizeof(double)) != 0 ||
        memcmp(a->val_step, b->val_step, val * sizeof(double)) != 0 ||
        memcmp(a->val_loss, b->val_loss, val * sizeof(double)) != 0)
        fail_msg("%s: curves differ", what);
}

static void whole(const sg_sweep_row *row, const char *what)
{
    double loss = 0;
    int64_t tokens = 0;
    assert_int_equal(row->block_count, 3);
    for (size_t i = 0; i < row->block_count; i++) {
        assert_true(row->block_tokens[i] > 0 && row->block_loss[i] > 0);
        loss += row->block_loss[i];
        tokens += row->block_tokens[i];
    }
    if (fabs(loss / (double)tokens - row->loss) > 1e-9) fail_msg("%s: blocks lose losses", what);
    assert_true(row->steps == TINY_STEPS && row->tokens > 0 && row->parameters > 0);
    assert_true(row->active_parameters > 0 && row->active_parameters <= row->parameters);
    assert_true(row->flops > 0 && row->flops_all_in > row->flops && row->epochs > 0);
    assert_true(fabs(row->perplexity - exp(row->loss)) < 1e-9 * row->perplexity);
    assert_int_equal(row->curve_count, TINY_STEPS);
    // The last evaluation, of all, is the end of the curve.
    assert_true(row->val_step[row->val_count - 1] == TINY_STEPS);
    assert_true(row->val_loss[row->val_count - 1] == row->loss);
    for (size_t i = 1; i < row->val_count; i++)
        assert_true(row->val_step[i] > row->val_step[i - 1]);
}

static void one_kind(const char *what, const sg_train_options *o)
{
    sg_error err = {0};
    sg_sweep_row row, again, stopped;
    memory_fs *fs = tiny_disk();
    must(make("/runs/a", o, 1, false, &row, &err), &err);
    whole(&row, what);
    // Killed before its row was written: the model that is there is evaluated.
    must(make("/runs/a", o, 2, false, &again, &err), &err);
    same(&again, &row, what);
    assert_int_equal(make("/runs/b", o, 2, true, &stopped, &err), SG_ERR_STOPPED);
    sg_sweep_row_clear(&stopped);
    err = (sg_error){0};
    must(make("/runs/b", o, 1, false, &stopped, &err), &err);
    same(&stopped, &row, what);
    sg_sweep_row_clear(&row);
    sg_sweep_row_clear(&again);
    sg_sweep_row_clear(&stopped);
    tiny_disk_free(fs);
}

// Every third kind: that all of them go on to the same bits is for test_run to say.
static void test_same_rows(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i += 3) {
        const sg_train_options o = tiny_options(kind);
        one_kind(kind, &o);
    }
}

static void test_same_rows_in_other_numbers(void **state)
{
    (void)state;
    sg_train_options o = tiny_options("sgatlin");
    o.grad_accum = 2;
    o.recompute = true;
    one_kind("two micro-batches", &o);
    o.table_dtype = SG_WEIGHTS_BF16;
    o.compute = SG_COMPUTE_BF16;
    one_kind("bf16", &o);
    o.logits_compute = SG_COMPUTE_BF16X3;
    snprintf(o.optimizer_rows, sizeof o.optimizer_rows, "lazy");
    one_kind("lazy rows", &o);
}

static void test_thin(void **state)
{
    (void)state;
    double x[7] = {1, 2, 3, 4, 5, 6, 7}, y[7] = {10, 20, 30, 40, 50, 60, 70};
    size_t count = 7;
    sg_sweep_thin(x, y, &count, 7);
    assert_int_equal(count, 7);
    sg_sweep_thin(x, y, &count, 3);
    assert_int_equal(count, 3);
    assert_true(x[0] == 2 && x[1] == 5 && x[2] == 7 && y[0] == 20 && y[1] == 50 && y[2] == 70);
    count = 0;
    sg_sweep_thin(x, y, &count, 3);
    assert_int_equal(count, 0);
}

static void test_tidy(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_sweep_row row;
    char names[512];
    const sg_train_options o = tiny_options("glu");
    memory_fs *fs = tiny_disk();
    must(make("/run", &o, 1, false, &row, &err), &err);
    sg_sweep_row_clear(&row);
    must(sg_sweep_tidy_run("/run", true, &err), &err);
    tiny_names("/run", names, sizeof names);
    assert_non_null(strstr(names, "model.safetensors"));
    assert_null(strstr(names, "checkpoints"));
    must(sg_sweep_tidy_run("/run", false, &err), &err);
    must(sg_sweep_tidy_run("/run", false, &err), &err);
    must(sg_sweep_tidy_run("/nothing", false, &err), &err);
    tiny_names("/run", names, sizeof names);
    assert_null(strstr(names, "safetensors"));
    assert_null(strstr(names, "config.json"));
    assert_non_null(strstr(names, "metrics.jsonl"));
    assert_non_null(strstr(names, "run.json"));
    assert_non_null(strstr(names, "summary.json"));
    tiny_disk_free(fs);
}

static sg_status make_and_forget(void *user, sg_error *err)
{
    sg_sweep_row row = sg_sweep_row_empty();
    const sg_sweep_making *making = user;
    sg_tree_remove("/run", NULL);
    const sg_status status = sg_sweep_make_run(making, &row, err);
    sg_sweep_row_clear(&row);
    return status;
}

static void test_memory_runs_out(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_context *context = context_on(1);
    sg_train_options o = tiny_options("glu");
    o.steps = 1;
    o.eval_every = o.sample_every = o.checkpoint_every = 0;
    sg_sweep_making making = {.context = context,
                              .folder = "/run",
                              .data = TINY_CONCAT,
                              .facts = "",
                              .blocks = 3,
                              .max_epochs = 1,
                              .options = &o};
    assert_true(alloc_failure_loop(make_and_forget, &making) > 10);
    sg_context_free(context);
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_rows),
        cmocka_unit_test(test_same_rows_in_other_numbers),
        cmocka_unit_test(test_thin),
        cmocka_unit_test(test_tidy),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
