// The options of a run from names and values, as the command line and sweep files give them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sgatlin_train.h"

static sg_train_options named(const sg_setting *settings, size_t count)
{
    sg_train_options o;
    sg_error err = {0};
    if (sg_train_options_named(settings, count, &o, &err) != SG_OK) fail_msg("%s", err.message);
    return o;
}

static void refused(const char *name, const char *value, const char *message)
{
    sg_train_options o;
    sg_error err = {0};
    const sg_setting one = {name, value};
    assert_true(sg_train_options_named(&one, 1, &o, &err) != SG_OK);
    assert_string_equal(err.message, message);
}

// Nothing named is the demo, on whatever data.
static void test_nothing(void **state)
{
    (void)state;
    sg_preset preset;
    assert_int_equal(sg_preset_find("demo", &preset, NULL), SG_OK);
    preset.config.vocab_size = preset.config.max_position_embeddings = 0;
    const sg_train_options expected = sg_train_options_from_preset(&preset);
    const sg_train_options o = named(NULL, 0);
    assert_memory_equal(&o.config, &expected.config, sizeof o.config);
    assert_true(o.lr == 3e-3 && o.batch_size == 16 && o.warmup_share == 0.5 && o.seed == 1);
}

static void test_order(void **state)
{
    (void)state;
    // The order of names is none of the order in which they are applied, but that the last holds.
    const sg_setting settings[] = {
        {"ffn_experts", "4"},   {"lr", "0.5"},
        {"ffn", "moe"},         {"seq_len", "64"},
        {"lr", "0.25"},         {"steps", "7"},
        {"warmup_steps", "20"}, {"preset", "laptop-mlp-s4"},
        {"vocab_size", "99"},   {"head_dim", "8"},
    };
    const sg_train_options o = named(settings, sizeof settings / sizeof *settings);
    assert_string_equal(o.config.ffn, "moe");
    assert_true(o.config.ffn_experts == 4 && o.config.ffn_intermediate_size == 64);
    assert_true(o.lr == 0.25 && o.steps == 7 && o.warmup_steps == 20 && o.warmup_share == 1);
    assert_true(o.config.vocab_size == 99 && o.config.max_position_embeddings == 64);
    assert_true(o.config.head_dim == 8 && o.config.num_attention_heads == 0); // filled in later: 8
    sg_config c = o.config;
    assert_int_equal(sg_config_complete(&c, NULL), SG_OK);
    assert_int_equal(c.num_attention_heads, 8);
}

static void test_refused(void **state)
{
    (void)state;
    refused("lrr", "1", "lrr: there is no such option, did you mean lr?");
    refused("zzzzzzzz", "1", "zzzzzzzz: there is no such option");
    refused("recipe", "published", "recipe: there is no such option"); // a run's, not an option
    refused("seq_len", "0", "seq_len: found \"0\", expected an integer from 1 to 16777216");
    refused("seq_len", "8k", "seq_len: found \"8k\", expected an integer from 1 to 16777216");
    refused("init", "m", "init: found \"m\", expected none: runs begin from fresh weights here");
    refused("lora_rank", "4",
            "lora_rank: found \"4\", expected none: runs begin from fresh weights here");
    refused("ffn_experts", "4",
            "ffn_experts: found \"4\", expected none: family sgatlin has no such field");
    refused("table_dtype", "f16", "table-dtype: found \"f16\", expected one of f32, bf16");
}

// What one option cannot tell alone.
static void test_check(void **state)
{
    (void)state;
    const sg_setting settings[] = {{"steps", "7"}, {"batch_size", "6"}, {"grad_accum", "4"}};
    sg_train_options o = named(settings, 3);
    sg_error err = {0};
    assert_int_equal(sg_train_options_check(&o, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "grad-accum: found 4, expected a divisor of the batch of 6");
    o.grad_accum = 3;
    assert_int_equal(sg_train_options_check(&o, &err), SG_OK);
    o.epochs = 1;
    assert_int_equal(sg_train_options_check(&o, &err), SG_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
