// Training with bf16 copies of the tables of a sparse memory: the copies are the rounded weights
// after every step and after every resume, runs repeat bit for bit, the loss falls, and what makes
// no sense is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "tiny_run.h"
#include "train/trainer.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

static const char *const families[] = {"sgatlin", "peer"};

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static sg_train_options narrow_options(const char *family)
{
    sg_train_options options = tiny_options(family);
    options.table_dtype = SG_WEIGHTS_BF16;
    return options;
}

static tiny_end end_of(const sg_train_options *options, int threads)
{
    memory_fs *fs = tiny_disk();
    tiny_life life = {.threads = threads};
    tiny_must(&life, "/run", options);
    tiny_end end = tiny_end_of("/run");
    tiny_disk_free(fs);
    return end;
}

static void test_runs_repeat(void **state)
{
    (void)state;
    for (int f = 0; f < 2; f++) {
        sg_train_options options = narrow_options(families[f]);
        tiny_end one = end_of(&options, 1), three = end_of(&options, 3);
        tiny_same(&three, &one, families[f]);
        tiny_end_free(&three);
        memory_fs *fs = tiny_disk(); // stopped and gone on with
        tiny_life life = {.stop_at = 5};
        assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
        sg_train_options read;
        sg_error err = {0};
        must(sg_train_read_options("/run", &read, &err), &err);
        assert_int_equal(read.table_dtype, SG_WEIGHTS_BF16);
        life = (tiny_life){.threads = 2};
        must(tiny_train(&life, "/run", NULL), &life.err);
        assert_int_equal(life.resumed_from, 5);
        tiny_end end = tiny_end_of("/run");
        tiny_same(&end, &one, families[f]);
        tiny_end_free(&end);
        tiny_disk_free(fs);
        options.table_dtype = SG_WEIGHTS_F32; // and the option does something
        end = end_of(&options, 1);
        assert_true(end.bytes == one.bytes && memcmp(end.weights, one.weights, end.bytes) != 0);
        tiny_end_free(&end);
        tiny_end_free(&one);
    }
}

// ---- steps ------------------------------------------------------------------------------------

static void expect_copies(const sg_trainer *t)
{
    const sg_param_list *params = &t->model->params;
    for (size_t i = 0; i < params->count; i++) {
        const char *name = params->specs[i].name;
        assert_int_equal(sg_narrow_has(&t->tables, i), strstr(name, "experts.w_") != NULL);
        if (!sg_narrow_has(&t->tables, i)) continue;
        const sg_bf16 *copy = t->tables.items[i].rows;
        for (int64_t j = 0; j < params->specs[i].count; j++)
            if (copy[j] != sg_bf16_round((float)t->model->values[i][j]))
                fail_msg("step %lld, %s, weight %lld: the copy is not its rounding",
                         (long long)t->state.step, name, (long long)j);
    }
}

static void test_steps(void **state)
{
    (void)state;
    enum { steps = 60 };
    sg_context_options context_options = {.threads = 2};
    sg_context *context;
    sg_error err = {0};
    must(sg_context_new(&context_options, &context, &err), &err);
    for (int f = 0; f < 4; f++) {
        memory_fs *fs = tiny_disk();
        const char *family = families[f % 2];
        sg_train_options options = narrow_options(family);
        strcpy(options.optimizer_rows, f < 2 ? "exact" : "lazy");
        sg_data *data;
        sg_model *model;
        sg_trainer t;
        options.steps = steps;
        options.lr = 5e-3;
        must(sg_data_open(TINY_CONCAT, SG_VERIFY_AUTO, &data, &err), &err);
        options.config.vocab_size = sg_data_get_info(data)->vocab_size;
        must(sg_model_new(context, &options.config, 1, &model, &err), &err);
        must(sg_trainer_open(&t, context, &options, steps, data, model, NULL, &err), &err);
        expect_copies(&t);
        double first = 0, last = 0;
        for (int i = 0; i < steps; i++) {
            must(sg_trainer_step(&t, &err), &err);
            expect_copies(&t);
            if (i < 10) first += t.loss / 10;
            if (i >= steps - 10) last += t.loss / 10;
        }
        if (!(last < 0.9 * first))
            fail_msg("%s, %s: the loss went from %g to %g", family, options.optimizer_rows, first,
                     last);
        sg_trainer_close(&t);
        sg_data_free(data);
        tiny_disk_free(fs);
    }
    sg_context_free(context);
}

// ---- refusals ---------------------------------------------------------------------------------

static void expect_refused(const sg_train_options *options, const char *message)
{
    memory_fs *fs = tiny_disk();
    tiny_life life = {0};
    assert_int_equal(tiny_train(&life, "/run", options), SG_ERR_ARGUMENT);
    if (strstr(life.err.message, message) == NULL)
        fail_msg("found \"%s\", expected \"%s\" in it", life.err.message, message);
    tiny_disk_free(fs);
}

static void test_refused(void **state)
{
    (void)state;
    sg_train_options options = narrow_options("sgatlin");
    options.table_dtype = SG_WEIGHTS_INT8;
    expect_refused(&options, "table-dtype: found 2, expected one of f32, bf16");
    options.table_dtype = (sg_weights)99;
    expect_refused(&options, "table-dtype: found 99, expected one of f32, bf16");
    options = narrow_options("mlp");
    expect_refused(&options, "table-dtype: found bf16, but family mlp has no tables of neurons");
    options = narrow_options("moe");
    expect_refused(&options, "table-dtype: found bf16, but family moe has no tables of neurons");
}

static void test_cost(void **state)
{
    (void)state;
    sg_cost cost;
    sg_error err = {0};
    sg_config c = tiny_options("sgatlin").config;
    c.vocab_size = 64;
    must(sg_config_complete(&c, &err), &err);
    must(sg_config_cost(&c, 16, 1, false, 1, &cost, &err), &err);
    assert_int_equal(cost.bf16_table_bytes,
                     2 * c.num_hidden_layers * c.ffn_channels * c.ffn_neurons * 2 * c.hidden_size);
    c = tiny_options("glu").config;
    c.vocab_size = 64;
    must(sg_config_complete(&c, &err), &err);
    must(sg_config_cost(&c, 16, 1, false, 1, &cost, &err), &err);
    assert_int_equal(cost.bf16_table_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_repeat),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
