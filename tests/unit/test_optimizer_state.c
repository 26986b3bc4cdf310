// What an optimiser with lazy rows keeps: written and read back it goes on with the same bits; what
// no run can have is refused; every allocation may fail.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "memory_fs.h"
#include "train/optimizer.h"
#include "compute_on.h"

enum { ROWS = 300, WIDTH = 9, SMALL = 4 };

typedef struct side {
    sg_param_list params;
    sg_real table[ROWS * WIDTH], small[SMALL];
    sg_real *values[2];
    sg_gradients gradients;
    sg_optimizer *optimizer;
} side;

static sg_status side_open(side *s, sg_error *err)
{
    static const sg_optimizer_options options = {
        .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1};
    *s = (side){.values = {s->table, s->small}};
    sg_param_add(&s->params, "", "table", 2, (int64_t[]){ROWS, WIDTH}, SG_INIT_NORMAL, 1);
    sg_param_rows(&s->params, 1);
    sg_param_add(&s->params, "", "small", 1, (int64_t[]){SMALL}, SG_INIT_NORMAL, 1);
    if (s->params.status != SG_OK) return sg_fail(err, s->params.status, "no parameters");
    for (int i = 0; i < 2; i++)
        sg_param_init(&s->params.specs[i], 1, NULL, s->values[i]);
    SG_TRY(sg_gradients_new(&s->params, SG_ROWS_LAZY, 10, NULL, &s->gradients, err));
    return sg_optimizer_new(&s->params, s->values, &s->gradients, &options, &s->optimizer, err);
}

static void side_close(side *s)
{
    sg_optimizer_free(s->optimizer);
    sg_gradients_free(&s->gradients);
    sg_param_list_free(&s->params);
}

static sg_status act_open(void *user, sg_error *err)
{
    sg_status status = side_open(user, err);
    side_close(user);
    return status;
}

static void test_allocations(void **state)
{
    (void)state;
    static side s;
    assert_true(alloc_failure_loop(act_open, &s) > 8);
}

static void side_step(side *s, sg_pool *pool, int64_t update)
{
    sg_row_grads *g = s->gradients.rows[0];
    int32_t ids[ROWS], slots[ROWS];
    int64_t count = 0;
    for (int32_t row = (int32_t)(update % 7); row < ROWS; row += 7 + row % 3)
        ids[count++] = row;
    g->before_read(g->user, compute_on(pool), ids, count);
    sg_row_grads_open(g, ids, count, false, slots);
    for (int64_t i = 0; i < count * WIDTH; i++)
        g->values[i] = sinf((float)(i + update)) + 0.1f * s->table[ids[i / WIDTH] * WIDTH];
    for (int i = 0; i < SMALL; i++)
        s->gradients.parts[1][i] = cosf((float)(i + update));
    double norm = sg_optimizer_norm(s->optimizer, compute_on(pool));
    sg_optimizer_apply(s->optimizer, compute_on(pool), 0.01 / (double)(1 + update), norm);
}

static void side_same(const side *a, const side *b)
{
    size_t count, other;
    const sg_tensor_view *x = sg_optimizer_state(a->optimizer, &count);
    const sg_tensor_view *y = sg_optimizer_state(b->optimizer, &other);
    assert_int_equal(count, other);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(x[i].name, y[i].name);
        assert_int_equal(x[i].bytes, y[i].bytes);
        assert_memory_equal(x[i].data, y[i].data, x[i].bytes);
    }
    assert_memory_equal(a->table, b->table, sizeof a->table);
    assert_memory_equal(a->small, b->small, sizeof a->small);
}

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// Writes the state of `from` and restores it into `to`.
static sg_status hand_over(const side *from, side *to, int64_t updates, sg_error *err)
{
    size_t count;
    sg_file_seal seal;
    sg_safetensors *file;
    const sg_tensor_view *state = sg_optimizer_state(from->optimizer, &count);
    must(sg_safetensors_write("/state", state, count, NULL, 0, &seal, err), err);
    must(sg_safetensors_open("/state", &file, err), err);
    sg_status status = sg_optimizer_restore(to->optimizer, file, updates, err);
    sg_safetensors_close(file);
    return status;
}

static void test_goes_on(void **state)
{
    (void)state;
    static side whole, cut;
    sg_error err;
    sg_pool *pool;
    memory_fs *fs = memory_fs_begin();
    must(sg_pool_new(3, &pool, &err), &err);
    for (int64_t stop = 0; stop < 20; stop += 3) {
        must(side_open(&whole, &err), &err);
        must(side_open(&cut, &err), &err);
        for (int64_t u = 0; u < stop; u++) {
            side_step(&whole, NULL, u);
            if (u == 10) sg_optimizer_settle(whole.optimizer, compute_on(NULL));
        }
        memcpy(cut.table, whole.table, sizeof cut.table);
        memcpy(cut.small, whole.small, sizeof cut.small);
        must(hand_over(&whole, &cut, stop, &err), &err);
        assert_int_equal(sg_optimizer_updates(cut.optimizer), stop);
        for (int64_t u = stop; u < stop + 9; u++) {
            side_step(&whole, NULL, u);
            side_step(&cut, pool, u);
        }
        side_same(&cut, &whole);
        sg_optimizer_settle(whole.optimizer, compute_on(pool));
        sg_optimizer_settle(cut.optimizer, compute_on(NULL));
        side_same(&cut, &whole);
        side_close(&whole);
        side_close(&cut);
    }
    sg_pool_free(pool);
    assert_false(memory_fs_end(fs));
}

static void *state_of(const side *s, const char *name)
{
    size_t count;
    const sg_tensor_view *state = sg_optimizer_state(s->optimizer, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(state[i].name, name) == 0) return (void *)(uintptr_t)state[i].data;
    fail_msg("there is no %s", name);
    return NULL;
}

static void refused(const side *from, int64_t updates, const char *words)
{
    static side to;
    sg_error err;
    must(side_open(&to, &err), &err);
    assert_int_equal(hand_over(from, &to, updates, &err), SG_ERR_FORMAT);
    if (strstr(err.message, words) == NULL) fail_msg("%s\nexpected: %s", err.message, words);
    side_close(&to);
}

static void test_refused(void **state)
{
    (void)state;
    static side s;
    sg_error err;
    memory_fs *fs = memory_fs_begin();
    must(side_open(&s, &err), &err);
    for (int64_t u = 0; u < 5; u++)
        side_step(&s, NULL, u);
    int32_t *last = state_of(&s, "rows.last.table");
    int64_t *settled = state_of(&s, "rows.settled");
    double *lr = state_of(&s, "rows.lr");
    refused(&s, 1024, "rows.settled: found 0");
    refused(&s, 3, "rows.last.table: row");
    last[7] = -1;
    refused(&s, 5, "rows.last.table: row 7: found -1, expected 0 to 5");
    last[7] = 6;
    refused(&s, 5, "rows.last.table: row 7: found 6, expected 0 to 5");
    last[7] = 0;
    for (int i = 0; i < 3; i++) {
        static const int64_t wrong[] = {-1, 6, INT64_MIN};
        *settled = wrong[i];
        refused(&s, 5, "rows.settled: found");
    }
    *settled = 0;
    lr[4] = NAN;
    refused(&s, 5, "rows.lr: found");
    lr[4] = -0.1;
    refused(&s, 5, "rows.lr: found");
    lr[4] = 0.1;
    sg_real *m = state_of(&s, "m.table"), *v = state_of(&s, "v.small");
    m[11] = (sg_real)NAN;
    refused(&s, 5, "m.table: value 11: found");
    m[11] = -1;
    v[2] = -1;
    refused(&s, 5, "v.small: value 2: found -1, expected a moment");
    side_close(&s);
    assert_false(memory_fs_end(fs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
