// Runs as they are read for comparison, finished or not, and their curves as a picture.
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
#include "tiny_run.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static void test_runs(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_train_run run;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    tiny_life life = {.stop_at = 7};
    assert_int_equal(sg_train_run_read("/run", &run, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    must(sg_train_run_read("/run", &run, &err), &err);
    assert_false(run.finished);
    assert_int_equal(run.step, 7);
    assert_int_equal(run.steps, TINY_STEPS);
    assert_string_equal(run.options.config.ffn, "sgatlin");
    assert_int_equal(strlen(run.data_hash), 16);
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    must(sg_train_run_read("/run", &run, &err), &err);
    assert_true(run.finished && run.step == TINY_STEPS);
    assert_true(run.result.val.perplexity == life.result.val.perplexity);

    sg_curve loss, val;
    must(sg_train_curve("/run", "loss", "flops", &loss, &err), &err);
    must(sg_train_curve("/run", "val_loss", "tokens", &val, &err), &err);
    assert_string_equal(loss.label, "run");
    assert_int_equal(loss.count, TINY_STEPS); // a line a step
    assert_true(loss.x[TINY_STEPS - 1] == run.result.flops);
    assert_int_equal(val.count,
                     2); // after steps 5 and 10, whose records of training have the tokens
    assert_true(val.x[0] == 5 * 4 * TINY_LENGTH && val.x[1] == 10 * 4 * TINY_LENGTH);
    for (int i = 1; i < TINY_STEPS; i++)
        assert_true(loss.x[i] > loss.x[i - 1]);
    sg_curve_clear(&loss);
    sg_curve_clear(&val);
    must(sg_train_curve("/run", "seconds", "step", &loss, &err), &err); // wall time, in each line
    assert_int_equal(loss.count, TINY_STEPS);
    for (int i = 1; i < TINY_STEPS; i++)
        assert_true(loss.y[i] >= loss.y[i - 1]);
    sg_curve_clear(&loss);
    must(sg_train_curve("/nothing", "loss", "step", &loss, &err), &err);
    assert_int_equal(loss.count, 0);
    tiny_disk_free(fs);
}

// ---- the picture --------------------------------------------------------------------------------

enum { POINTS = 1000 };

static sg_status draw(void *user, sg_error *err)
{
    static double x[POINTS], y[POINTS], far[] = {0, 5e12}, high[] = {1e9, 3};
    const int64_t count = *(int64_t *)user;
    for (int i = 0; i < POINTS; i++) {
        x[i] = 4e12 * i / POINTS;
        y[i] = 2 + 8 / (1 + 0.1 * i);
    }
    const sg_curve lines[] = {{.label = "a<b>&\"\001", .x = x, .y = y, .count = count},
                              {.label = "other", .x = far, .y = high, .count = 2}};
    const sg_curve marks[] = {{.x = x, .y = y, .count = count > 3 ? 3 : count}, {.count = 0}};
    const sg_svg_options o = {"Loss", "FLOPs", "nats"};
    return sg_curves_svg("/loss.svg", lines, count % 2 ? NULL : marks, 2, &o, err);
}

static size_t occurrences(const char *text, const char *word)
{
    size_t n = 0;
    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        n++;
    }
    return n;
}

static void test_picture(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 2, 3, POINTS};
    sg_error err = {0};
    memory_fs *fs = memory_fs_begin();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        char *text;
        size_t bytes;
        must(draw((void *)(uintptr_t)&counts[i], &err), &err);
        must(sg_file_read("/loss.svg", 1 << 20, &text, &bytes, &err), &err);
        assert_int_equal(strncmp(text, "<svg xmlns=", 11), 0);
        assert_string_equal(text + bytes - 7, "</svg>\n");
        assert_int_equal(occurrences(text, "<path clip-path"), 1 + (counts[i] > 1));
        assert_int_equal(occurrences(text, "<circle"), counts[i] % 2   ? 0
                                                       : counts[i] > 3 ? 3
                                                                       : counts[i]);
        assert_non_null(strstr(text, ">a&#60;b&#62;&#38;&#34; </text>"));
        assert_non_null(strstr(text, ">5 T</text>")); // the end of the axis of x
        assert_null(strstr(text, "nan"));
        assert_null(strstr(text, "inf"));
        assert_true(bytes < 40000); // however many points
        sg_free(text);
    }
    assert_false(memory_fs_end(fs));
}

static void test_failures(void **state)
{
    (void)state;
    int64_t count = POINTS;
    sg_error err = {0};
    memory_fs *fs = memory_fs_begin();
    assert_true(alloc_failure_loop(draw, &count) >= 2);
    must(sg_path_remove("/loss.svg", &err), &err);
    memory_fs_limit(fs, 2000);
    assert_int_equal(draw(&count, &err), SG_ERR_IO);
    assert_int_equal(memory_fs_used(fs), 0); // no half of a picture
    assert_false(memory_fs_end(fs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_picture),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
