// The published protocols, number by number (spec 5.7, 5.8, 5.10, 5.11), what they refuse, and the
// plan of a run: what it says is what the run is, and what does not fit into memory is said with
// what would.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/context.h"
#include "tiny_run.h"
#include "train/run_plan.h"
#include "train/recipe.h"
#include "train/run_options.h"
#include "train/schedule.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int64_t steps_of(const sg_train_options *o, int64_t rows)
{
    sg_error err = {0};
    sg_cost cost;
    int64_t steps = 0;
    const int64_t T = o->config.max_position_embeddings;
    must(sg_config_cost(&o->config, T, 1, true, 1, &cost, &err), &err);
    must(sg_run_options_steps(o, T, rows, &cost, &steps, &err), &err);
    return steps;
}

static void expect_common(const sg_train_options *o, int64_t warmup, double clip)
{
    sg_error err = {0};
    sg_schedule s;
    assert_true(o->lr == 1e-3 && o->weight_decay == 0.1 && o->beta1 == 0.9 && o->beta2 == 0.999);
    assert_true(o->eps == 1e-8 && o->clip == clip && o->spike_limit == 0 && o->seed == 1);
    assert_true(o->grad_accum == 1 && o->table_dtype == SG_WEIGHTS_F32);
    // All of the warm-up, also where it is more than half of a run.
    must(sg_schedule_of_options(o, warmup + 500, &s, &err), &err);
    assert_int_equal(s.kind, SG_SCHEDULE_SQRT);
    assert_int_equal(s.warmup, warmup);
    assert_int_equal(sg_schedule_decay(&s), (warmup + 500) / 5);
}

static void test_tinystories(void **state)
{
    (void)state;
    static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};
    sg_error err = {0};
    for (int i = 0; i < 5; i++) {
        char name[40];
        sg_train_options o;
        snprintf(name, sizeof name, "tinystories-%s", families[i]);
        must(sg_train_options_published(name, 0, &o, &err), &err);
        expect_common(&o, 100, 2);
        assert_int_equal(o.batch_size, 256);
        assert_int_equal(o.config.max_position_embeddings, 1024);
        assert_int_equal(o.config.vocab_size, 8192);
        assert_int_equal(steps_of(&o, 2119719), 8280);
    }
}

static void test_slimpajama(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double flops;
        int64_t steps, batch, T;
    } runs[] = {{"slimpajama-sgatlin-s3", 1e17, 24405, 64, 1024},
                {"slimpajama-sgatlin-s4", 6e17, 74625, 64, 1024},
                {"slimpajama-sgatlin-s4", 1e18, 22048, 128, 2048},
                {"slimpajama-sgatlin-s6", 6e18, 51602, 128, 2048},
                {"slimpajama-mlp-s3", 1e17, 19598, 64, 1024},
                {"slimpajama-glu-s5", 6e18, 52916, 128, 2048},
                {"slimpajama-moe-s4", 1e18, 16813, 128, 2048},
                {"slimpajama-peer-s3", 6e17, 73217, 64, 1024}};
    sg_error err = {0};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        sg_train_options o;
        must(sg_train_options_published(runs[i].name, runs[i].flops, &o, &err), &err);
        expect_common(&o, 1000, 1);
        assert_int_equal(o.batch_size, runs[i].batch);
        assert_int_equal(o.config.max_position_embeddings, runs[i].T);
        assert_int_equal(o.config.vocab_size, 50258);
        assert_int_equal(steps_of(&o, 1), runs[i].steps);
    }
}

static void expect_refused(const char *preset, double flops, const char *words)
{
    sg_error err = {0};
    sg_train_options o;
    assert_int_not_equal(sg_train_options_published(preset, flops, &o, &err), SG_OK);
    if (strstr(err.message, words) == NULL)
        fail_msg("found %s, expected … %s …", err.message, words);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused("demo", 0, "found preset demo, expected one that runs were published of");
    expect_refused("nano", 0, "nano");
    expect_refused("tinystories-mlp", 1e17, "one epoch");
    expect_refused("slimpajama-mlp-s3", 0, "1e17, 6e17, 1e18, 6e18");
    expect_refused("slimpajama-mlp-s3", 2e17, "found a budget of 2e+17");
    // Data that were packed otherwise than for the published runs.
    sg_error err = {0};
    sg_train_options o = {.recipe = "tinystories"};
    sg_data_info info = {.mode = SG_PACK_CONCAT};
    assert_int_equal(sg_recipe_check_data(&o, &info, "/data", &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "/data: packed in mode concat, expected pad"));
    info.mode = SG_PACK_PAD;
    must(sg_recipe_check_data(&o, &info, "/data", &err), &err);
    strcpy(o.recipe, "slimpajama");
    assert_int_equal(sg_recipe_check_data(&o, &info, "/data", &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "packed in mode pad, expected concat"));
    strcpy(o.recipe, "mine");
    assert_int_equal(sg_recipe_check_data(&o, &info, "/data", &err), SG_ERR_ARGUMENT);
}

// And in a run: it is refused before anything is written.
static void test_run_of_a_recipe(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_train_options o = tiny_options("glu");
    strcpy(o.recipe, "tinystories");
    tiny_life life = {.data = TINY_CONCAT};
    assert_int_equal(tiny_train(&life, "/run", &o), SG_ERR_MISMATCH);
    assert_false(sg_path_exists("/run"));
    life.data = TINY_PAD;
    tiny_must(&life, "/run", &o);
    sg_train_options back;
    must(sg_train_read_options("/run", &back, &life.err), &life.err);
    assert_string_equal(back.recipe, "tinystories");
    tiny_disk_free(fs);
}

// ---- the plan -----------------------------------------------------------------------------------

static bool keep_plan(void *user, const sg_train_event *event)
{
    if (event->kind == SG_EVENT_START) *(sg_train_plan *)user = *event->plan;
    return true;
}

static void test_plan(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sgatlin", "moe", "mlp"};
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    for (int i = 0; i < 3; i++) {
        memory_fs *fs = tiny_disk();
        sg_train_options o = tiny_options(kinds[i]), asked = o;
        sg_train_plan plan, run;
        sg_train_result result;
        const int64_t used = memory_fs_used(fs);
        asked.config.max_position_embeddings = asked.config.vocab_size = 0; // the data's
        must(sg_train_plan_new(context, TINY_CONCAT, &asked, &plan, &err), &err);
        assert_int_equal(memory_fs_used(fs), used);
        assert_int_equal(asked.config.max_position_embeddings, TINY_LENGTH);
        const sg_train_hooks hooks = {.event = keep_plan, .user = &run};
        must(sg_train(context, "/run", TINY_CONCAT, &o, &hooks, &result, &err), &err);
        assert_int_equal(plan.steps, result.steps);
        assert_true(plan.flops == result.flops && plan.flops_all_in == result.flops_all_in);
        assert_int_equal(plan.parameters, result.parameters);
        assert_int_equal(plan.trained, result.trained);
        assert_int_equal(plan.tokens_per_step, o.batch_size * TINY_LENGTH);
        assert_true(plan.warmup_steps == 2 && plan.decay_steps == TINY_STEPS / 5);
        // What it takes, known beforehand and found in the run.
        assert_true(fabs((double)plan.memory_bytes / (double)run.memory_bytes - 1) < 0.1);
        assert_true(fabs((double)plan.checkpoint_bytes / (double)run.checkpoint_bytes - 1) < 0.7);
        tiny_disk_free(fs);
    }
    sg_context_free(context);
}

static int plan_warnings;
static char plan_said[512];

static void plan_log(void *user, sg_log_level level, const char *message)
{
    (void)user;
    plan_warnings += level == SG_LOG_WARNING;
    snprintf(plan_said, sizeof plan_said, "%s", message);
}

static void test_memory(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1, .log = plan_log}, &context, &err),
         &err);
    sg_preset preset;
    must(sg_preset_find("tinystories-sgatlin", &preset, &err), &err);
    sg_train_options o = sg_train_options_from_preset(&preset);
    o.steps = 10;
    sg_data_info info = {.seq_len = 1024, .vocab_size = 8192};
    info.split[SG_SPLIT_TRAIN].rows = 1000;
    sg_cost cost;
    must(sg_config_cost(&o.config, 1024, o.batch_size, false, 1, &cost, &err), &err);
    const sg_train_plan plan = sg_train_plan_make(&o, &info, &cost, 10, cost.parameters, -1);
    const int64_t gb = 1000000000;
    sg_machine_memory memory = {1000 * gb, 1000 * gb};
    must(sg_train_plan_check(context, &o, &plan, &memory, &err), &err);
    assert_int_equal(plan_warnings, 0);
    memory = (sg_machine_memory){8 * gb, 4 * gb};
    assert_int_equal(sg_train_plan_check(context, &o, &plan, &memory, &err), SG_ERR_MEMORY);
    assert_non_null(strstr(err.message, "GB of memory, expected at most the 8 GB there are: "
                                        "--grad-accum "));
    // What is named fits, and what is half as fine does not.
    long long accum = 0;
    assert_int_equal(sscanf(strstr(err.message, "--grad-accum"), "--grad-accum %lld", &accum), 1);
    for (int half = 0; half < 2; half++) {
        must(sg_config_cost(&o.config, 1024, 256 / accum * (half + 1), false, 1, &cost, &err),
             &err);
        const sg_train_plan other = sg_train_plan_make(&o, &info, &cost, 10, cost.parameters, -1);
        assert_int_equal(other.memory_bytes <= memory.most, !half);
    }
    memory = (sg_machine_memory){gb / 10, gb / 10};
    assert_int_equal(sg_train_plan_check(context, &o, &plan, &memory, &err), SG_ERR_MEMORY);
    assert_non_null(strstr(err.message, "even --grad-accum 256 --recompute takes"));
    memory = (sg_machine_memory){1000 * gb, 4 * gb}; // others have it now
    must(sg_train_plan_check(context, &o, &plan, &memory, &err), &err);
    assert_int_equal(plan_warnings, 1);
    assert_non_null(strstr(plan_said, "4 GB are free now: --grad-accum"));
    sg_context_free(context);
}

// A step is planned as it will be computed: whole pools need other room than selected rows.
static void test_memory_path(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    sg_preset preset;
    must(sg_preset_find("tinystories-sgatlin", &preset, &err), &err);
    sg_train_options o = sg_train_options_from_preset(&preset);
    o.batch_size = 2;
    o.grad_accum = 1;
    int64_t bytes[3];
    for (int path = 0; path < 3; path++) {
        sg_cost cost;
        o.memory_path = (sg_memory_path)path;
        must(sg_train_cost(context, &o, 128, &cost, &err), &err);
        bytes[path] = cost.activation_bytes;
    }
    assert_int_equal(bytes[SG_MEMORY_PATH_AUTO], bytes[SG_MEMORY_PATH_ROWS]); // in f32
    assert_int_not_equal(bytes[SG_MEMORY_PATH_DENSE], bytes[SG_MEMORY_PATH_ROWS]);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tinystories), cmocka_unit_test(test_slimpajama),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_run_of_a_recipe),
        cmocka_unit_test(test_plan),        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
