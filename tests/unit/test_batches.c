// Batches: shifting and weights, orders that cover every row once, exact continuation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pack_bytes.h"
#include "text/batches.h"
#include "sgatlin_data.h"

enum { rows_total = 103, T = 6 };
static char folder[64], out_folder[96];
static sg_data *data;

// Row i holds the number i, so that a row tells its place.
static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sg-batches-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(out_folder, sizeof out_folder, "%s/data", folder);
    char text[rows_total * 32];
    size_t used = 0;
    for (int i = 0; i < rows_total; i++)
        used += (size_t)sprintf(text + used, "%d\n<|endoftext|>\n", i);
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = T;
    options.mode = SG_PACK_PAD;
    options.val_fraction = 0;
    options.shard_bytes = 300;
    if (bytes_pack(text, &encoder, NULL, &options, out_folder, NULL, NULL) != SG_OK) return -1;
    return sg_data_open(out_folder, SG_VERIFY_AUTO, &data, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_data_free(data);
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static int number_of(const int32_t *row)
{
    char text[T + 1] = {0};
    for (int t = 0; t < T && row[t] >= 3; t++)
        text[t] = (char)(row[t] - 3);
    return atoi(text);
}

static sg_batches *make(int64_t batch_rows, bool shuffle, bool once, bool drop_last, uint64_t seed)
{
    sg_batches_options options = {SG_SPLIT_TRAIN, batch_rows, shuffle, once, drop_last, seed};
    sg_batches *batches;
    sg_error err;
    if (sg_batches_new(data, &options, &batches, &err) != SG_OK) fail_msg("%s", err.message);
    return batches;
}

static void test_shift(void **state)
{
    (void)state;
    sg_batches *batches = make(2, false, false, false, 0);
    sg_data_batch batch;
    assert_int_equal(sg_batches_seek(batches, 10, NULL), SG_OK);
    assert_int_equal(sg_batches_next(batches, &batch, NULL), SG_OK);
    const int32_t targets[2][T] = {{'1' + 3, '0' + 3, 1, 0, 0, 0}, {'1' + 3, '1' + 3, 1, 0, 0, 0}};
    const int32_t inputs[2][T] = {{1, '1' + 3, '0' + 3, 1, 0, 0}, {1, '1' + 3, '1' + 3, 1, 0, 0}};
    assert_int_equal(batch.rows, 2);
    assert_int_equal(batch.tokens, 6);
    assert_memory_equal(batch.targets, targets, sizeof targets);
    assert_memory_equal(batch.inputs, inputs, sizeof inputs);
    for (int i = 0; i < 2 * T; i++)
        assert_true(batch.weights[i] == (i % T < 3 ? 1.0f : 0.0f));
    sg_batches_free(batches);
}

static void test_epochs(void **state)
{
    (void)state;
    enum { epochs = 3 };
    sg_batches *batches = make(10, true, false, false, 5);
    int order[epochs * rows_total + 10];
    int count = 0;
    while (count < epochs * rows_total) {
        sg_data_batch batch;
        assert_int_equal(sg_batches_position(batches), count);
        assert_int_equal(sg_batches_next(batches, &batch, NULL), SG_OK);
        assert_int_equal(batch.rows, 10); // full batches across the borders of epochs
        for (int b = 0; b < 10; b++)
            order[count++] = number_of(batch.targets + b * T);
    }
    int same = 0, still = 0;
    for (int epoch = 0; epoch < epochs; epoch++) {
        bool seen[rows_total] = {false};
        for (int i = 0; i < rows_total; i++) {
            int row = order[epoch * rows_total + i];
            assert_true(row >= 0 && row < rows_total && !seen[row]);
            seen[row] = true;
            still += row == i;
            same += epoch > 0 && row == order[i];
        }
    }
    // Random orders agree in about one place an epoch.
    assert_true(still < 20 && same < 20);
    sg_batches_free(batches);

    // Another batch size reads the same order; another seed another one.
    batches = make(1, true, false, false, 5);
    sg_batches *other = make(1, true, false, false, 6);
    int equal = 0;
    for (int i = 0; i < rows_total; i++) {
        sg_data_batch a, b;
        assert_int_equal(sg_batches_next(batches, &a, NULL), SG_OK);
        assert_int_equal(sg_batches_next(other, &b, NULL), SG_OK);
        assert_int_equal(number_of(a.targets), order[i]);
        equal += number_of(a.targets) == number_of(b.targets);
    }
    assert_true(equal < 20);
    sg_batches_free(batches);
    sg_batches_free(other);
}

static void test_continue(void **state)
{
    (void)state;
    for (int64_t at = 0; at < 250; at += 7) {
        sg_batches *whole = make(7, true, false, false, 1), *later = make(7, true, false, false, 1);
        sg_data_batch a, b;
        while (sg_batches_position(whole) < at)
            assert_int_equal(sg_batches_next(whole, &a, NULL), SG_OK);
        assert_int_equal(sg_batches_seek(later, sg_batches_position(whole), NULL), SG_OK);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(sg_batches_next(whole, &a, NULL), SG_OK);
            assert_int_equal(sg_batches_next(later, &b, NULL), SG_OK);
            assert_memory_equal(a.inputs, b.inputs, 7 * T * sizeof *a.inputs);
            assert_memory_equal(a.targets, b.targets, 7 * T * sizeof *a.targets);
        }
        sg_batches_free(whole);
        sg_batches_free(later);
    }
}

static void test_once(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        sg_batches *batches = make(10, false, true, drop == 1, 0);
        sg_data_batch batch;
        int row = 0;
        int64_t count = 0;
        for (;;) {
            assert_int_equal(sg_batches_next(batches, &batch, NULL), SG_OK);
            if (batch.rows == 0) break;
            count++;
            for (int64_t b = 0; b < batch.rows; b++)
                assert_int_equal(number_of(batch.targets + b * T), row++);
        }
        assert_int_equal(row, drop ? 100 : 103);
        assert_int_equal(count, sg_batches_in_epoch(batches));
        assert_int_equal(sg_batches_next(batches, &batch, NULL), SG_OK);
        assert_int_equal(batch.rows, 0);
        assert_int_equal(sg_batches_seek(batches, 0, NULL), SG_OK); // and once more
        assert_int_equal(sg_batches_next(batches, &batch, NULL), SG_OK);
        assert_int_equal(batch.rows, 10);
        sg_batches_free(batches);
    }
}

static bool fail_nth(void *user, size_t bytes)
{
    (void)bytes;
    int64_t *left = user;
    return (*left)-- != 0;
}

static void test_refusals(void **state)
{
    (void)state;
    sg_batches_options options = {.batch_rows = 4, .split = SG_SPLIT_VAL};
    sg_batches *batches;
    sg_error err;
    assert_int_equal(sg_batches_new(data, &options, &batches, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "validation split is empty"));
    options.split = SG_SPLIT_TRAIN;
    options.batch_rows = 0;
    assert_int_equal(sg_batches_new(data, &options, &batches, &err), SG_ERR_ARGUMENT);
    options.batch_rows = INT64_MAX;
    assert_int_equal(sg_batches_new(data, &options, &batches, &err), SG_ERR_ARGUMENT);
    options = (sg_batches_options){.batch_rows = 104, .once = true, .drop_last = true};
    assert_int_equal(sg_batches_new(data, &options, &batches, &err), SG_ERR_MISMATCH);
    options.batch_rows = 4;
    int64_t live = sg_alloc_live();
    for (int64_t fail = 0;; fail++) {
        int64_t left = fail;
        sg_alloc_set_hook(fail_nth, &left);
        sg_status status = sg_batches_new(data, &options, &batches, &err);
        sg_alloc_set_hook(NULL, NULL);
        if (status == SG_OK) break;
        assert_int_equal(status, SG_ERR_MEMORY);
        assert_int_equal(sg_alloc_live(), live);
    }
    assert_int_equal(sg_batches_seek(batches, -1, &err), SG_ERR_ARGUMENT);
    sg_batches_free(batches);
    assert_int_equal(sg_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shift),    cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_continue), cmocka_unit_test(test_once),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
