// The options of a model's configuration: one for each field of the library, in its order, and what
// they do to a preset.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/model_options.h"

static cli_option options[CLI_MAX_OPTIONS];

static int fill(void **state)
{
    (void)state;
    return cli_config_options(options, 0) < CLI_MAX_OPTIONS - 1 ? 0 : -1;
}

static int forget(void **state)
{
    (void)state;
    memset(cli_config_values, 0, sizeof cli_config_values);
    return 0;
}

static void give(const char *field, const char *value)
{
    for (size_t i = 0; i < sg_config_field_count(); i++)
        if (strcmp(sg_config_field_at(i)->name, field) == 0) {
            cli_config_values[i] = value;
            return;
        }
    fail_msg("no field %s", field);
}

// Option i, headings left out, is field i, written with dashes, and fills value i.
static void test_one_for_each_field(void **state)
{
    (void)state;
    assert_int_equal(options[0].kind, CLI_HEADING);
    const cli_option *option = options;
    for (size_t i = 0; i < sg_config_field_count(); i++, option++) {
        char name[64];
        snprintf(name, sizeof name, "%s", sg_config_field_at(i)->name);
        for (char *c = name; *c != '\0'; c++)
            if (*c == '_') *c = '-';
        while (option->kind == CLI_HEADING)
            option++;
        assert_string_equal(option->name, name);
        assert_ptr_equal(option->value, &cli_config_values[i]);
        assert_int_equal(option->kind, CLI_STRING);
        assert_true(option->help[0] != '\0');
    }
    assert_null(option->name);
}

// What --help says of a field: NULL where the family of --ffn has none such.
static const char *described(const char *field)
{
    static char text[256];
    static const cli_command command = {.name = "train", .options = options};
    for (const cli_option *o = options; o->name != NULL; o++)
        if (o->kind != CLI_HEADING && strcmp(o->name, field) == 0)
            return o->describe(&command, o, text, sizeof text) ? text : NULL;
    fail_msg("no option %s", field);
    return NULL;
}

static void test_help_of_a_family(void **state)
{
    (void)state;
    assert_non_null(strstr(described("ffn"), ": mlp, glu, moe"));
    assert_string_equal(described("ffn-hash-seed"), "; of randhash");
    assert_string_equal(described("ffn-layers"), "; not of mlp, glu");
    assert_string_equal(described("hidden-size"), "");
    give("ffn", "moe");
    assert_null(described("ffn-neurons"));
    assert_string_equal(described("ffn-experts"), "; 1 to 65536 (default: 8)");
    assert_string_equal(described("ffn-score"), "; softmax, sigmoid (default: softmax)");
    assert_string_equal(described("hidden-size"), " (default: 128)"); // of the demo
}

// Every field that a family is said to have changes it, every other is refused.
static void test_help_is_true(void **state)
{
    (void)state;
    for (size_t f = 0; sg_config_family(f) != NULL; f++)
        for (size_t i = 0; i < sg_config_field_count(); i++) {
            char takes[256];
            const char *field = sg_config_field_at(i)->name, *family = sg_config_family(f);
            const bool has = sg_config_takes(family, field, takes, sizeof takes);
            sg_preset preset;
            sg_error err = {0};
            if (strncmp(field, "ffn_", 4) != 0 || sg_config_field_at(i)->kind != SG_FIELD_INT)
                continue;
            forget(NULL);
            give("ffn", family);
            // Other layers and shared experts have a size where there are any; those of layers in
            // blocks are gated.
            if (strcmp(family, "moefied") == 0) give("ffn_activation", "swiglu");
            // Router gate alone counts neurons of its one block.
            if (strcmp(family, "moefied") == 0 && strcmp(field, "ffn_active_neurons") == 0) {
                give("ffn_router", "gate");
                give("ffn_select", "threshold");
                give("ffn_top_k", "1");
            }
            if (sg_config_takes(family, "ffn_shared_experts", takes, sizeof takes))
                give("ffn_shared_experts", "1");
            if (sg_config_takes(family, "ffn_layers", takes, sizeof takes))
                give("ffn_layers", "every:2");
            give(field, "3");
            assert_int_equal(sg_preset_find("demo", &preset, NULL), SG_OK);
            const bool refused = cli_config_apply(&preset, 0, &err) != SG_OK &&
                                 strstr(err.message, "expected none") != NULL;
            if (refused == has) fail_msg("%s of %s: %s", field, family, err.message);
        }
}

static sg_preset apply(const char *name, int64_t seq_len)
{
    sg_preset preset;
    sg_error err = {0};
    assert_int_equal(sg_preset_find(name, &preset, &err), SG_OK);
    if (cli_config_apply(&preset, seq_len, &err) != SG_OK) fail_msg("%s", err.message);
    return preset;
}

static void expect_refused(int64_t seq_len, const char *message)
{
    sg_preset preset;
    sg_error err = {0};
    assert_int_equal(sg_preset_find("demo", &preset, &err), SG_OK);
    assert_int_equal(cli_config_apply(&preset, seq_len, &err), SG_ERR_ARGUMENT);
    assert_int_equal(err.code, SG_ERR_ARGUMENT);
    assert_string_equal(err.message, message);
}

static void test_nothing_given(void **state)
{
    (void)state;
    sg_preset plain;
    assert_int_equal(sg_preset_find("demo", &plain, NULL), SG_OK);
    sg_preset preset = apply("demo", 0);
    assert_memory_equal(&preset, &plain, sizeof plain);
}

static void test_family_goes_first(void **state)
{
    (void)state;
    // The number of experts is of the family, though the field comes later in the list.
    give("ffn", "moe");
    give("ffn_experts", "5");
    give("ffn_router", "linear");
    sg_preset preset = apply("demo", 0);
    assert_string_equal(preset.config.ffn, "moe");
    assert_int_equal(preset.config.ffn_experts, 5);
    assert_int_equal(preset.config.ffn_intermediate_size, 512);
}

static void test_heads_follow(void **state)
{
    (void)state;
    give("hidden_size", "192");
    assert_int_equal(apply("demo", 0).config.num_attention_heads, 0); // to be filled in: 3
    give("num_attention_heads", "5");
    assert_int_equal(apply("demo", 0).config.num_attention_heads, 5);
}

static void test_lengths(void **state)
{
    (void)state;
    sg_preset preset = apply("demo", 77);
    assert_true(preset.seq_len == 77 && preset.config.max_position_embeddings == 77);
    give("max_position_embeddings", "66");
    preset = apply("demo", 0);
    assert_true(preset.seq_len == 66 && preset.config.max_position_embeddings == 66);
    apply("demo", 66);
    expect_refused(67, "max_position_embeddings: found 66, expected the same as --seq-len 67");
}

static void test_vocabulary_of_another(void **state)
{
    (void)state;
    give("vocab_size", "1000"); // the preset's end of text is 50256
    sg_config c = apply("slimpajama-mlp-s2", 0).config;
    assert_true(c.eos_token_id == -1 && c.bos_token_id == -1 && c.pad_token_id == 0);
    give("eos_token_id", "999");
    assert_int_equal(apply("slimpajama-mlp-s2", 0).config.eos_token_id, 999);
}

static void test_options_without_effect(void **state)
{
    (void)state;
    give("ffn_experts", "4");
    expect_refused(0, "ffn_experts: found \"4\", expected none: family sgatlin has no such field");
    give("ffn_experts", NULL);
    give("ffn_neurons", "10");
    expect_refused(0, "ffn_neurons: found 10, expected a square for router product_dense");
    give("ffn", "lstm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_for_each_field, forget),
        cmocka_unit_test_setup(test_help_of_a_family, forget),
        cmocka_unit_test_setup(test_help_is_true, forget),
        cmocka_unit_test_setup(test_nothing_given, forget),
        cmocka_unit_test_setup(test_family_goes_first, forget),
        cmocka_unit_test_setup(test_heads_follow, forget),
        cmocka_unit_test_setup(test_lengths, forget),
        cmocka_unit_test_setup(test_vocabulary_of_another, forget),
        cmocka_unit_test_setup(test_options_without_effect, forget),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
