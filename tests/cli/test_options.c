// The option table: what is accepted, what it becomes, and which exit code the rest gets. The words
// of the messages are checked by the cases in tests/cli/cases.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

static struct {
    const char *text, *mode;
    cli_strings files;
    int64_t seed, tokens;
    double rate;
    bool fast;
} given;

static const cli_option options[] = {
    {.name = "group", .kind = CLI_HEADING, .help = "First group"},
    {.name = "text", .kind = CLI_STRING, .value = &given.text, .help = "a text"},
    {.name = "mode", .kind = CLI_STRING, .value = &given.mode, .choices = "concat|pad", .help = ""},
    {.name = "file", .kind = CLI_STRINGS, .value = &given.files, .help = "files"},
    {.name = "seed", .kind = CLI_INT, .value = &given.seed, .help = "a seed"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &given.tokens,
     .low = 1,
     .high = 1e9,
     .help = ""},
    {.name = "rate", .kind = CLI_DOUBLE, .value = &given.rate, .low = 0, .high = 1, .help = ""},
    {.name = "fast", .kind = CLI_FLAG, .value = &given.fast, .help = "faster"},
    {.name = NULL},
};

static int test_run(const cli_args *args)
{
    (void)args;
    return 0;
}

static const cli_command command = {.name = "data try",
                                    .summary = "try",
                                    .usage = "[options] FILE...",
                                    .options = options,
                                    .min_operands = 0,
                                    .max_operands = 2,
                                    .run = test_run};
static const cli_option need_options[] = {
    {.name = "out", .kind = CLI_STRING, .value = &given.text, .help = "", .required = true},
    {.name = NULL},
};
static const cli_command need = {.name = "need",
                                 .options = need_options,
                                 .min_operands = 1,
                                 .max_operands = -1,
                                 .run = test_run};

// Splits `line` at spaces ("_" stands for an empty word) and parses it.
static int test_parse(const cli_command *which, const char *line, cli_args *args)
{
    static char buffer[512];
    static char *argv[64];
    int argc = 0;
    snprintf(buffer, sizeof buffer, "%s", line);
    for (char *word = strtok(buffer, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "_") == 0 ? "" : word;
    memset(&given, 0, sizeof given);
    return cli_parse(which, argc, argv, 0, args);
}

static int test_code(const cli_command *which, const char *line)
{
    cli_args args;
    int code = test_parse(which, line, &args);
    cli_args_clear(&args);
    return code;
}

static void test_values(void **state)
{
    (void)state;
    cli_args args;
    assert_int_equal(test_parse(&command,
                                "one --text --= --mode=pad --seed -5 --tokens 64k --rate 3e-4 "
                                "--fast --file a --file=b --threads 3 --json -- --two",
                                &args),
                     2); // "--=" looks like an option, so --text has no value
    cli_args_clear(&args);
    assert_int_equal(test_parse(&command,
                                "one --text=--= --mode=pad --seed -5 --tokens 64k --rate 3e-4 "
                                "--fast --file a --file=b --threads 3 --json -- --two",
                                &args),
                     0);
    assert_string_equal(given.text, "--=");
    assert_string_equal(given.mode, "pad");
    assert_int_equal(given.seed, -5);
    assert_int_equal(given.tokens, 64000);
    assert_true(given.rate == 3e-4);
    assert_true(given.fast);
    assert_int_equal(given.files.count, 2);
    assert_string_equal(given.files.items[0], "a");
    assert_string_equal(given.files.items[1], "b");
    assert_int_equal(args.threads, 3);
    assert_true(args.json);
    assert_false(args.quiet);
    assert_int_equal(args.count, 2);
    assert_string_equal(args.operands[0], "one");
    assert_string_equal(args.operands[1], "--two");
    assert_null(args.operands[2]);
    assert_true(cli_given(&args, "seed"));
    assert_true(cli_given(&args, "file"));
    assert_false(cli_given(&args, "group"));
    assert_false(cli_given(&args, "no such option"));
    cli_args_clear(&args);
    assert_int_equal(test_parse(&command, "-", &args), 0); // stdin, no option
    assert_false(cli_given(&args, "seed"));
    assert_string_equal(args.operands[0], "-");
    cli_args_clear(&args);
    assert_int_equal(test_code(&command, "--text= --file _"), 0);
    assert_string_equal(given.text, "");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "--nothing",
        "--seed",
        "--seed --fast",
        "--seed=",
        "--seed 1.5",
        "--seed 0x10",
        "--seed 1e3",
        "--seed _",
        "--seed 5 --seed 5",
        "--seed 9223372036854775808",
        "--tokens 0",
        "--tokens 1e10",
        "--tokens 1.0001k",
        "--tokens 5q",
        "--tokens -1",
        "--rate 1.5",
        "--rate nan",
        "--rate inf",
        "--rate 0x1p-3",
        "--rate 1e-3x",
        "--rate 1e999",
        "--rate _",
        "--mode con",
        "--mode concat|pad",
        "--mode _",
        "--mode pad --mode pad",
        "--fast=yes",
        "-x",
        "-fast",
        "a b c",
        "--threads -1",
        "--threads 2000",
        "--kernel sse",
        "--=",
        "--seed 1 --fas",
        "--group x",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (test_code(&command, lines[i]) != CLI_WRONG) fail_msg("accepted: %s", lines[i]);
    assert_int_equal(test_code(&command, "--fast --fast"), 0); // harmless
    assert_int_equal(test_code(&need, "a"), CLI_WRONG);
    assert_int_equal(test_code(&need, "--out x"), CLI_WRONG);
    assert_int_equal(test_code(&need, "--out x a b c d e f"), 0);
}

static void test_help_comes_first(void **state)
{
    (void)state;
    cli_args args;
    assert_int_equal(test_parse(&need, "--nonsense --seed x -h", &args), 0);
    assert_true(args.help);
    cli_args_clear(&args);
    assert_int_equal(test_parse(&need, "--out x -- --help", &args), 0);
    assert_false(args.help);
    cli_args_clear(&args);
}

static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {
        {"0", 0},
        {"5", 5},
        {"-3", -3},
        {"1e6", 1000000},
        {"1.5e3", 1500},
        {"64k", 64000},
        {"64K", 64000},
        {"64Ki", 65536},
        {"1.5M", 1500000},
        {"2G", 2000000000},
        {"1T", 1000000000000},
        {"1P", 1000000000000000},
        {"1Mi", 1048576},
        {"0.5Ki", 512},
        {"+7", 7},
        {"10e-1", 1},
        {"1e18", 1000000000000000000},
        {"1000000000000000001", 1000000000000000001},
        {"9223372036854775807", INT64_MAX},
        {"0e999", 0},
        {".5k", 500},
        {"5.", 5},
    };
    static const char *const bad[] = {
        "",    "k",    ".",      "1.5",   "1e-1", "1e19", "9223372036854775808",
        "1kk", "1kib", "1 k",    "1e",    "1e+",  "--1",  "0x10",
        "1B",  "nan",  "1e1001", "1.0.0", "9999P"};
    int64_t value = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!cli_read_count(good[i].text, &value)) fail_msg("refused: %s", good[i].text);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (cli_read_count(bad[i], &value)) fail_msg("accepted: %s", bad[i]);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"seq-len", "tokenizer", "out", "epochs", NULL};
    assert_string_equal(sg_nearest_name("seqlen", names), "seq-len");
    assert_string_equal(sg_nearest_name("seq-lne", names), "seq-len");
    assert_string_equal(sg_nearest_name("token", names), "tokenizer");
    assert_string_equal(sg_nearest_name("otu", names), "out");
    assert_null(sg_nearest_name("temperature", names));
    assert_null(sg_nearest_name("", names));
    char longest[600];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_null(sg_nearest_name(longest, names));
}

static void test_help_text(void **state)
{
    (void)state;
    static const char *out = NULL, *mode = "concat", *empty = "";
    static int64_t steps = 1000, unset = -1;
    static double rate = 3e-4;
    static cli_strings files;
    static const cli_option table[] = {
        {.name = "in", .kind = CLI_HEADING, .help = "Input"},
        {.name = "out",
         .kind = CLI_STRING,
         .value = &out,
         .argument = "DIR",
         .help = "where to",
         .required = true},
        {.name = "mode",
         .kind = CLI_STRING,
         .value = &mode,
         .argument = "MODE",
         .choices = "concat|pad",
         .help = "how sequences are cut"},
        {.name = "empty", .kind = CLI_STRING, .value = &empty, .help = "nothing"},
        {.name = "file", .kind = CLI_STRINGS, .value = &files, .argument = "F", .help = "a file"},
        {.name = "how", .kind = CLI_HEADING, .help = "How long"},
        {.name = "steps", .kind = CLI_COUNT, .value = &steps, .argument = "N", .help = "steps"},
        {.name = "unset", .kind = CLI_INT, .value = &unset, .shown = "", .help = "first\nsecond"},
        {.name = "a-rather-long-name", .kind = CLI_DOUBLE, .value = &rate, .help = "rate"},
        {.name = NULL},
    };
    static const cli_command helped = {
        .name = "help me",
        .summary = "a test",
        .usage =
            "--out DIR [--mode MODE] [--steps N] [--more-words-until-the-line-is-full] FILE...",
        .about = "One two.",
        .options = table,
        .example = "sgatlin help me \\\n    --out x",
        .run = test_run,
    };
    FILE *file = tmpfile();
    assert_non_null(file);
    cli_help(&helped, file);
    rewind(file);
    char text[4096];
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    static const char expected[] =
        "sgatlin help me - a test\n"
        "\n"
        "Usage: sgatlin help me --out DIR [--mode MODE] [--steps N]\n"
        "       [--more-words-until-the-line-is-full] FILE...\n"
        "\n"
        "One two.\n"
        "\n"
        "Input:\n"
        "  --out DIR                 where to (required)\n"
        "  --mode MODE               how sequences are cut: concat|pad (default: concat)\n"
        "  --empty VALUE             nothing\n"
        "  --file F                  a file (may be repeated)\n"
        "\n"
        "How long:\n"
        "  --steps N                 steps (default: 1000)\n"
        "  --unset VALUE             first\n"
        "                            second\n"
        "  --a-rather-long-name VALUE\n"
        "                            rate (default: 0.0003)\n"
        "\n"
        "Common options:\n";
    static const char ending[] = "\nExample:\n  sgatlin help me \\\n      --out x\n";
    assert_true(strlen(text) > sizeof expected);
    assert_string_equal(text + strlen(text) - strlen(ending), ending);
    text[sizeof expected - 1] = '\0';
    assert_string_equal(text, expected);
}

static void test_exit_codes(void **state)
{
    (void)state;
    static const int expected[] = {0, 2, 1, 1, 2, 2, 2, 2, 1, 1, 1};
    for (int status = SG_OK; status <= SG_ERR_INTERNAL; status++)
        assert_int_equal(cli_exit_code((sg_status)status), expected[status]);
}

int main(void)
{
    // The messages of refused lines are not read here.
    if (freopen("/dev/null", "w", stderr) == NULL) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_counts),    cmocka_unit_test(test_help_comes_first),
        cmocka_unit_test(test_nearest),   cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_help_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
