// Every allocation fails once: whatever the library was doing, it says so, keeps nothing, and works
// the next time. oneDNN has memory of its own, which is not seen here.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "tiny_run.h"
#include "train/checkpoint.h"
#include "train/trainer.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

static memory_fs *disk; // data, and a finished run in /run
static sg_context *context;
static sg_model *model;
static sg_data *data;
static sg_tokenizer *tokenizer;
static sg_train_options options;
static int maps; // of the model and the data

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int set_up(void **state)
{
    (void)state;
    sg_error err;
    disk = tiny_disk();
    options = tiny_options("sgatlin");
    options.steps = 2;
    options.warmup_steps = 1;
    options.checkpoint_every = options.eval_every = options.sample_every = 1;
    options.log_every = 1;
    tiny_life life = {0};
    tiny_must(&life, "/run", &options);
    must(sg_context_new(&(sg_context_options){.threads = 2}, &context, &err), &err);
    must(sg_model_open(context, "/run", &model, &err), &err);
    must(sg_data_open(TINY_PAD, SG_VERIFY_AUTO, &data, &err), &err);
    must(sg_tokenizer_open("/run", &tokenizer, &err), &err);
    options.config = *sg_model_config(model);
    maps = memory_fs_open_maps(disk);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_data_free(data);
    sg_model_free(model);
    sg_context_free(context);
    tiny_disk_free(disk);
    return 0;
}

static void torture(const char *name, alloc_operation operation, void *user)
{
    int count = alloc_failure_loop(operation, user);
    print_message("%s: %d allocations\n", name, count);
    assert_true(count > 0);
    assert_int_equal(memory_fs_open_maps(disk), maps);
    assert_int_equal(memory_fs_open_handles(disk), 0);
}

static bool fail_one(void *user, size_t bytes)
{
    (void)bytes;
    int64_t *left = user;
    return (*left)-- != 0;
}

// As torture, for what has thousands of allocations, most of them of JSON and covered by the parts:
// one in `stride`.
static void torture_some(const char *name, alloc_operation operation, int stride)
{
    int64_t n = 0, left = -1;
    for (; left < 0; n += stride) {
        sg_error err = {0};
        int64_t live = sg_alloc_live();
        left = n;
        sg_alloc_set_hook(fail_one, &left);
        sg_status status = operation(NULL, &err);
        sg_alloc_set_hook(NULL, NULL);
        memory_fs_settle(disk);
        if (status != (left < 0 ? SG_ERR_MEMORY : SG_OK))
            fail_msg("%s: allocation %d failing: %s: %s", name, (int)n, sg_status_name(status),
                     err.message);
        if (sg_alloc_live() != live) fail_msg("%s: allocation %d failing: a leak", name, (int)n);
        assert_int_equal(memory_fs_open_maps(disk), maps);
        assert_int_equal(memory_fs_open_handles(disk), 0);
    }
    print_message("%s: %d allocations, one in %d\n", name, (int)n, stride);
}

// ---- the parts --------------------------------------------------------------------------------

static sg_status act_context(void *user, sg_error *err)
{
    (void)user;
    sg_context *made;
    SG_TRY(sg_context_new(&(sg_context_options){.threads = 3}, &made, err));
    sg_context_free(made);
    return SG_OK;
}

static sg_status act_open_data(void *user, sg_error *err)
{
    sg_data *opened;
    SG_TRY(sg_data_open(user, SG_VERIFY_FULL, &opened, err));
    sg_data_free(opened);
    return SG_OK;
}

static sg_status act_new_model(void *user, sg_error *err)
{
    sg_model *made;
    (void)user;
    SG_TRY(sg_model_new(context, &options.config, 5, &made, err));
    sg_model_free(made);
    return SG_OK;
}

static sg_status act_open_model(void *user, sg_error *err)
{
    sg_model *opened;
    SG_TRY(sg_model_open(context, user, &opened, err));
    sg_model_free(opened);
    return SG_OK;
}

static sg_status act_save_model(void *user, sg_error *err)
{
    return sg_model_save(model, tokenizer, user, err);
}

static sg_status act_session(void *user, sg_error *err)
{
    (void)user;
    static const int32_t prompt[] = {1, 5, 9, 6}, next[] = {7};
    const float *logits;
    sg_session *session;
    SG_TRY(sg_session_new(model, 8, &session, err));
    sg_status status = sg_session_feed(session, prompt, 4, &logits, err);
    if (status == SG_OK) status = sg_session_feed(session, next, 1, &logits, err);
    if (status == SG_OK) status = sg_session_rewind(session, 3, err);
    if (status == SG_OK) status = sg_session_feed(session, next, 1, &logits, err);
    sg_session_free(session);
    return status;
}

static sg_status act_generate(void *user, sg_error *err)
{
    (void)user;
    sg_generate_options with = sg_generate_options_default();
    with.max_tokens = 4;
    with.ignore_eos = true;
    with.sample = (sg_sample_options){.temperature = 1, .top_k = 20, .top_p = 0.9, .seed = 2};
    // A tokenizer keeps what it encoded with for the next text, so each try has its own.
    sg_tokenizer *own;
    SG_TRY(sg_tokenizer_open("/run", &own, err));
    sg_status status = sg_generate(model, own, "The dog", &with, NULL, err);
    sg_tokenizer_free(own);
    return status;
}

static sg_status act_evaluate(void *user, sg_error *err)
{
    (void)user;
    sg_eval_result result;
    sg_eval_options with = sg_eval_options_default();
    with.batch_size = 4;
    with.micro_batch = 3;
    return sg_evaluate(model, data, &with, &result, err);
}

static sg_status act_cost(void *user, sg_error *err)
{
    (void)user;
    sg_cost cost;
    return sg_config_cost(&options.config, TINY_LENGTH, 2, true, 2, &cost, err);
}

static sg_status act_step(void *user, sg_error *err)
{
    sg_model *fresh;
    sg_trainer trainer;
    sg_train_options with = options;
    with.recompute = *(bool *)user;
    with.grad_accum = 2;
    if (with.recompute) memcpy(with.optimizer_rows, "lazy", 5);
    SG_TRY(sg_model_new(context, &with.config, 5, &fresh, err));
    SG_TRY(sg_trainer_open(&trainer, context, &with, 2, data, fresh, NULL, err));
    sg_status status = sg_trainer_step(&trainer, err);
    sg_trainer_close(&trainer);
    return status;
}

static void test_parts(void **state)
{
    (void)state;
    bool recompute[] = {false, true};
    torture("context", act_context, NULL);
    torture("open data", act_open_data, TINY_CONCAT);
    torture("new model", act_new_model, NULL);
    torture("open model", act_open_model, "/run");
    torture("save model", act_save_model, "/saved");
    torture("session", act_session, NULL);
    torture("generate", act_generate, NULL);
    torture("evaluate", act_evaluate, NULL);
    torture("cost", act_cost, NULL);
    torture("one step", act_step, &recompute[0]);
    torture("one step, recomputing, rows lazy", act_step, &recompute[1]);
}

// ---- checkpoints and runs ---------------------------------------------------------------------

static sg_status act_open_checkpoint(void *user, sg_error *err)
{
    (void)user;
    sg_checkpoint *checkpoint;
    SG_TRY(sg_checkpoint_find_latest("/run", context, &checkpoint, err));
    sg_checkpoint_close(checkpoint);
    return SG_OK;
}

static sg_status act_run(void *user, sg_error *err)
{
    (void)user;
    sg_train_result result;
    SG_TRY(sg_tree_remove("/again", err));
    return sg_train(context, "/again", TINY_CONCAT, &options, NULL, &result, err);
}

static bool stop_after_one(void *user, const sg_train_event *event)
{
    (void)user;
    return event->kind != SG_EVENT_STEP;
}

static sg_status act_resume(void *user, sg_error *err)
{
    (void)user;
    sg_train_result result;
    return sg_train_resume(context, "/stopped", NULL, NULL, &result, err);
}

static sg_status act_read_options(void *user, sg_error *err)
{
    (void)user;
    sg_train_options found;
    return sg_train_read_options("/run", &found, err);
}

// The run that was starved at each of its allocations in turn, and always gone on with, ends as the
// one that was not.
static void test_runs(void **state)
{
    (void)state;
    sg_error err;
    sg_train_result result;
    torture("open checkpoint", act_open_checkpoint, NULL);
    torture("read options", act_read_options, NULL);
    tiny_end expected = tiny_end_of("/run");
    torture_some("a run of two steps", act_run, 13);
    tiny_end end = tiny_end_of("/again");
    tiny_same(&end, &expected, "the run that was begun again");
    tiny_end_free(&end);
    sg_train_hooks hooks = {.event = stop_after_one};
    assert_int_equal(sg_train(context, "/stopped", TINY_CONCAT, &options, &hooks, &result, &err),
                     SG_ERR_STOPPED);
    torture_some("a run resumed", act_resume, 13);
    end = tiny_end_of("/stopped");
    tiny_same(&end, &expected, "the run that was gone on with");
    torture("a finished run", act_resume, NULL);
    tiny_end_free(&end);
    tiny_end_free(&expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
