// The table of `sgatlin train`: a row for each field of the library that is an option, under its
// title, beside the command's own; and what is given becomes an option of the library.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/train_options.h"

static const cli_command command = {.name = "train", .table = cli_train_table};

// The row of an option, and the title above it.
static const cli_option *row_of(const char *name, const char **title)
{
    const cli_option *found = NULL;
    const char *above = "";
    for (const cli_option *o = cli_train_table(); o->name != NULL; o++) {
        if (o->kind == CLI_HEADING) above = o->help;
        if (o->kind == CLI_HEADING || strcmp(o->name, name) != 0) continue;
        if (found != NULL) fail_msg("--%s: there are two", name);
        found = o;
        *title = above;
    }
    return found;
}

static void test_a_row_for_each_field(void **state)
{
    (void)state;
    static const cli_kind kinds[] = {
        [SG_FIELD_INT] = CLI_COUNT, [SG_FIELD_NUMBER] = CLI_DOUBLE, [SG_FIELD_STRING] = CLI_STRING,
        [SG_FIELD_BOOL] = CLI_FLAG, [SG_FIELD_SEED] = CLI_INT,      [SG_FIELD_ENUM] = CLI_STRING};
    const sg_field *f;
    for (size_t i = 0; (f = sg_train_field_at(i)) != NULL; i++) {
        char name[64];
        const char *title = NULL;
        snprintf(name, sizeof name, "%s", f->name);
        for (char *c = name; *c != '\0'; c++)
            if (*c == '_') *c = '-';
        const cli_option *o = row_of(name, &title);
        if (f->group == NULL) { // the command may have another option of that name
            assert_true(o == NULL || o->help != f->help);
            continue;
        }
        if (o == NULL) fail_msg("--%s: is no option", name);
        assert_string_equal(title, f->group);
        assert_int_equal(o->kind, kinds[f->kind]);
        assert_string_equal(o->help, f->help);
        if (f->kind != SG_FIELD_BOOL) assert_non_null(o->argument);
    }
}

static void test_the_table_fits(void **state)
{
    (void)state;
    size_t rows = 0;
    const char *title;
    while (cli_train_table()[rows].name != NULL)
        rows++;
    assert_true(rows < CLI_MAX_OPTIONS - 1);
    assert_non_null(row_of("data", &title));
    assert_string_equal(title, "Run");
    assert_non_null(row_of("seq-len", &title));
    assert_string_equal(title, "Recipe");
    assert_non_null(row_of("hidden-size", &title));
}

static void test_given_options_are_set(void **state)
{
    (void)state;
    char *argv[] = {"sgatlin",        "train",      "--data",   "d",      "--out", "r",
                    "--warmup-steps", "7",          "--tokens", "64k",    "--lr",  "2e-3",
                    "--recompute",    "--ffn",      "glu",      "--seed", "9",     "--table-dtype",
                    "bf16",           "--schedule", "linear"};
    const int count = (int)(sizeof argv / sizeof *argv);
    cli_args args;
    sg_train_options o;
    sg_error err;
    assert_int_equal(cli_parse(&command, count, argv, 2, &args), 0);
    assert_int_equal(cli_train_read(&args), CLI_DONE);
    if (cli_train_options(&args, NULL, &o, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(o.warmup_steps, 7);
    assert_true(o.warmup_share >= 1); // as many as were asked for
    assert_int_equal(o.tokens, 64000);
    assert_int_equal(o.steps, 0);
    assert_true(o.lr > 0.00199 && o.lr < 0.00201);
    assert_true(o.recompute && o.seed == 9 && o.table_dtype == SG_WEIGHTS_BF16);
    assert_string_equal(o.schedule, "linear");
    assert_string_equal(o.config.ffn, "glu");
    assert_int_equal(o.config.vocab_size, 0); // the data's
    assert_int_equal(o.batch_size, 16);       // the preset's
    // As changes of a run: names with underscores, values as text.
    sg_train_change changes[CLI_MAX_OPTIONS];
    const size_t changed = cli_train_changes(&args, changes);
    bool found = false;
    for (size_t i = 0; i < changed; i++)
        found = found || (strcmp(changes[i].field, "warmup_steps") == 0 &&
                          strcmp(changes[i].value, "7") == 0);
    assert_true(found);
    cli_args_clear(&args);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_row_for_each_field),
        cmocka_unit_test(test_the_table_fits),
        cmocka_unit_test(test_given_options_are_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
