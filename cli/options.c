// Reading the option table of a command: parsing, ranges, help, and the nearest name for what was
// mistyped.
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

// ---- values -----------------------------------------------------------------------------------

bool cli_read_int(const char *text, int64_t *out)
{
    const char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
    if (!isdigit((unsigned char)digits[0])) return false;
    errno = 0;
    char *end = NULL;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') return false;
    *out = value;
    return true;
}

// What a suffix multiplies by; 0 for one that is none.
static int64_t opt_scale(const char *suffix)
{
    static const char letters[] = "kMGTP";
    if (suffix[0] == '\0') return 1;
    const char *found = strchr(letters, suffix[0] == 'K' ? 'k' : suffix[0]);
    if (found == NULL) return 0;
    int64_t base = 1000;
    if (suffix[1] == 'i' && suffix[2] == '\0')
        base = 1024;
    else if (suffix[1] != '\0')
        return 0;
    int64_t scale = 1;
    for (const char *letter = letters; letter <= found; letter++)
        scale *= base;
    return scale;
}

// Exact in integers: digits are gathered first, then the power of ten and the suffix are applied,
// because 1e18 + 1 would not survive a double.
bool cli_read_count(const char *text, int64_t *out)
{
    const char *at = text;
    bool negative = *at == '-';
    if (*at == '-' || *at == '+') at++;
    int64_t value = 0;
    int decimals = 0, digits = 0;
    bool point = false;
    for (;; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (!isdigit((unsigned char)*at)) break;
        if (__builtin_mul_overflow(value, (int64_t)10, &value) ||
            __builtin_add_overflow(value, (int64_t)(*at - '0'), &value))
            return false;
        digits++;
        if (point) decimals++;
    }
    if (digits == 0) return false;
    int exponent = 0;
    if (*at == 'e' || *at == 'E') {
        at++;
        bool down = *at == '-';
        if (*at == '-' || *at == '+') at++;
        if (!isdigit((unsigned char)*at)) return false;
        for (; isdigit((unsigned char)*at); at++) {
            exponent = exponent * 10 + (*at - '0');
            if (exponent > 1000) return false;
        }
        if (down) exponent = -exponent;
    }
    int64_t scale = opt_scale(at);
    if (scale == 0) return false;
    exponent -= decimals;
    // The suffix first, so that 1.5k (15, exponent -1) is a whole number.
    if (__builtin_mul_overflow(value, scale, &value)) return false;
    for (; exponent > 0 && value != 0; exponent--)
        if (__builtin_mul_overflow(value, (int64_t)10, &value)) return false;
    for (; exponent < 0 && value != 0; exponent++) {
        if (value % 10 != 0) return false;
        value /= 10;
    }
    *out = negative ? -value : value;
    return true;
}

bool cli_read_double(const char *text, double *out)
{
    // strtod also takes "nan", "inf" and hexadecimal, which here are slips of the hand.
    if (text[0] == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0') return false;
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value)) return false;
    *out = value;
    return true;
}

// ---- common -----------------------------------------------------------------------------------

void cli_common_options(cli_args *args, cli_option table[CLI_COMMON_OPTIONS + 1])
{
    const cli_option common[CLI_COMMON_OPTIONS + 1] = {
        {.name = "json", .kind = CLI_FLAG, .value = &args->json, .help = "results as JSON"},
        {.name = "threads",
         .kind = CLI_INT,
         .value = &args->threads,
         .argument = "N",
         .shown = "all cores",
         .low = 0,
         .high = 1024,
         .help = "threads to work with; 0: all cores; results do not depend on it"},
        {.name = "kernel",
         .kind = CLI_STRING,
         .value = &args->kernel,
         .argument = "NAME",
         .shown = "the fastest here",
         .choices = "ref|avx2|avx512|neon",
         .help = "inner loops to use"},
        {.name = "quiet", .kind = CLI_FLAG, .value = &args->quiet, .help = "no talk on stderr"},
        {.name = "help", .kind = CLI_FLAG, .value = &args->help, .help = "this text"},
        {.name = NULL},
    };
    memcpy(table, common, sizeof common);
}

const cli_option *cli_table(const cli_command *command)
{
    static const cli_option none = {0};
    if (command->table != NULL) return command->table();
    return command->options != NULL ? command->options : &none;
}

static int opt_count(const cli_option *table)
{
    int n = 0;
    while (table[n].name != NULL)
        n++;
    return n;
}

bool cli_given(const cli_args *args, const char *name)
{
    const cli_option *table = cli_table(args->command);
    for (int i = 0; i < opt_count(table); i++)
        if (table[i].kind != CLI_HEADING && strcmp(table[i].name, name) == 0) return args->given[i];
    return false;
}

// ---- parsing ----------------------------------------------------------------------------------

typedef struct opt_parser {
    const cli_option *own;
    cli_option common[CLI_COMMON_OPTIONS + 1];
    int own_count;
    cli_args *args;
    bool common_given[CLI_COMMON_OPTIONS];
} opt_parser;

static bool opt_is_name(const char *known, const char *name, size_t length)
{
    return known != NULL && strlen(known) == length && strncmp(known, name, length) == 0;
}

static const cli_option *opt_find(opt_parser *parser, const char *name, size_t length, bool **given)
{
    for (int i = 0; i < parser->own_count + CLI_COMMON_OPTIONS; i++) {
        bool own = i < parser->own_count;
        const cli_option *option = own ? &parser->own[i] : &parser->common[i - parser->own_count];
        if (option->kind == CLI_HEADING ||
            !(opt_is_name(option->name, name, length) || opt_is_name(option->also, name, length)))
            continue;
        *given = own ? &parser->args->given[i] : &parser->common_given[i - parser->own_count];
        return option;
    }
    return NULL;
}

static int opt_unknown(opt_parser *parser, const char *word, size_t length)
{
    const char *names[CLI_MAX_OPTIONS + CLI_COMMON_OPTIONS + 1];
    int n = 0;
    for (int i = 0; i < parser->own_count; i++)
        if (parser->own[i].kind != CLI_HEADING) names[n++] = parser->own[i].name;
    for (int i = 0; i < CLI_COMMON_OPTIONS; i++)
        names[n++] = parser->common[i].name;
    names[n] = NULL;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), word);
    const char *near = sg_nearest_name(name, names);
    if (near != NULL)
        return cli_wrong(parser->args, "unknown option '--%s', did you mean '--%s'?", name, near);
    return cli_wrong(parser->args, "unknown option '--%s'", name);
}

void cli_option_expected(const cli_option *option, char *out, size_t capacity)
{
    const char *what = option->kind == CLI_DOUBLE  ? "a number"
                       : option->kind == CLI_COUNT ? "a count such as 5000, 1e6 or 64k"
                                                   : "an integer";
    if (option->choices != NULL) {
        snprintf(out, capacity, "one of %s", option->choices);
    } else if (option->kind == CLI_STRING || option->kind == CLI_FLAG) {
        snprintf(out, capacity, "%s", option->kind == CLI_FLAG ? "true or false" : "a text");
    } else if (option->low == 0 && option->high == 0) {
        snprintf(out, capacity, "%s", what);
    } else if (!isfinite(option->high)) {
        snprintf(out, capacity, "%s, at least %.15g", what, option->low);
    } else {
        snprintf(out, capacity, "%s from %.15g to %.15g", what, option->low, option->high);
    }
}

static bool opt_in_choices(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = choices; length > 0;) {
        size_t n = strcspn(at, "|");
        if (n == length && strncmp(at, word, n) == 0) return true;
        if (at[n] == '\0') break;
        at += n + 1;
    }
    return false;
}

static bool opt_in_range(const cli_option *option, double value)
{
    return (option->low == 0 && option->high == 0) ||
           (value >= option->low && value <= option->high);
}

bool cli_option_store(const cli_option *option, const char *text)
{
    int64_t whole = 0;
    double number = 0;
    switch (option->kind) {
    case CLI_STRING:
        if (option->choices != NULL && !opt_in_choices(option->choices, text)) return false;
        *(const char **)option->value = text;
        return true;
    case CLI_STRINGS: {
        cli_strings *list = option->value;
        list->items[list->count++] = text;
        return true;
    }
    case CLI_INT:
    case CLI_COUNT:
        if (!(option->kind == CLI_INT ? cli_read_int : cli_read_count)(text, &whole) ||
            !opt_in_range(option, (double)whole) ||
            (option->high != 0 && option->high < 0x1p63 && whole > (int64_t)option->high))
            return false;
        *(int64_t *)option->value = whole;
        return true;
    case CLI_DOUBLE:
        if (!cli_read_double(text, &number) || !opt_in_range(option, number)) return false;
        *(double *)option->value = number;
        return true;
    case CLI_FLAG:
        *(bool *)option->value = strcmp(text, "true") == 0;
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    case CLI_HEADING:
        break;
    }
    return false;
}

// One "--name", "--name value" or "--name=value" at argv[*at]; moves *at past it.
static int opt_take(opt_parser *parser, int argc, char **argv, int *at)
{
    const char *word = argv[*at] + 2;
    size_t length = strcspn(word, "=");
    const char *value = word[length] == '=' ? word + length + 1 : NULL;
    bool *given = NULL;
    const cli_option *option = opt_find(parser, word, length, &given);
    if (option == NULL) return opt_unknown(parser, word, length);
    (*at)++;

    char expected[160];
    if (option->kind == CLI_FLAG) {
        if (value != NULL)
            return cli_wrong(parser->args, "--%s: found the value '%s', expected none",
                             option->name, value);
        *(bool *)option->value = true;
        *given = true;
        return 0;
    }
    if (value == NULL) {
        // A value that looks like an option is far more often a forgotten value.
        if (*at >= argc || strncmp(argv[*at], "--", 2) == 0)
            return cli_wrong(parser->args, "--%s: found no value, expected %s%s", option->name,
                             option->argument != NULL ? option->argument : "one",
                             *at < argc ? " (write --option=value if it begins with --)" : "");
        value = argv[(*at)++];
    }
    if (*given && option->kind != CLI_STRINGS)
        return cli_wrong(parser->args, "--%s: found a second value '%s', expected one",
                         option->name, value);
    *given = true;
    if (cli_option_store(option, value)) return 0;
    cli_option_expected(option, expected, sizeof expected);
    return cli_wrong(parser->args, "--%s: found '%s', expected %s", option->name, value, expected);
}

// Values that the help depends on: those there are, whatever else is wrong.
static void opt_take_for_help(opt_parser *parser, int argc, char **argv, int first)
{
    for (int at = first; at < argc; at++) {
        const char *name = argv[at] + 2;
        if (strncmp(argv[at], "--", 2) != 0) continue;
        const size_t length = strcspn(name, "=");
        bool *given;
        const cli_option *option = opt_find(parser, name, length, &given);
        const char *value = name[length] == '=' ? name + length + 1 : argv[at + 1];
        if (option == NULL || value == NULL || option->kind != CLI_STRING) continue;
        if (option->describe != NULL || strcmp(option->name, "preset") == 0)
            cli_option_store(option, value);
    }
}

static int opt_check_complete(const cli_command *command, const cli_args *args)
{
    const cli_option *table = cli_table(command);
    for (int i = 0; table[i].name != NULL; i++) {
        const cli_option *option = &table[i];
        if (option->required && !args->given[i])
            return cli_wrong(args, "--%s %s is missing", option->name,
                             option->argument != NULL ? option->argument : "VALUE");
    }
    const char *what = command->operands != NULL ? command->operands : "argument";
    if (args->count < command->min_operands)
        return cli_wrong(args, "found %d arguments, expected %s%d (%s)", args->count,
                         command->max_operands == command->min_operands ? "" : "at least ",
                         command->min_operands, what);
    if (command->max_operands >= 0 && args->count > command->max_operands) {
        const char *extra = args->operands[command->max_operands];
        return command->max_operands == 0
                   ? cli_wrong(args, "found the argument '%s', expected options only", extra)
                   : cli_wrong(args, "found one argument too many, '%s', expected %d (%s)", extra,
                               command->max_operands, what);
    }
    return 0;
}

int cli_parse(const cli_command *command, int argc, char **argv, int first, cli_args *args)
{
    memset(args, 0, sizeof *args);
    args->command = command;
    args->argc = argc;
    args->argv = argv;
    const cli_option *table = cli_table(command);
    opt_parser parser = {.own = table, .own_count = opt_count(table), .args = args};
    cli_common_options(args, parser.common);
    if (parser.own_count > CLI_MAX_OPTIONS) return cli_wrong(args, "too many options in the table");

    args->operands = calloc((size_t)argc + 1, sizeof *args->operands);
    bool memory = args->operands != NULL;
    for (int i = 0; i < parser.own_count; i++)
        if (parser.own[i].kind == CLI_STRINGS) {
            cli_strings *list = parser.own[i].value;
            list->count = 0;
            list->items = calloc((size_t)argc + 1, sizeof *list->items);
            memory = memory && list->items != NULL;
        }
    if (!memory) {
        sg_error err = {SG_ERR_MEMORY, "out of memory"};
        return cli_fail(args, err.code, &err);
    }

    // Help is asked for by people who do not know the rest yet: look for it before checking.
    for (int at = first; at < argc && strcmp(argv[at], "--") != 0; at++)
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
            opt_take_for_help(&parser, argc, argv, first);
            args->help = true;
            return 0;
        }

    bool options_over = false;
    for (int at = first; at < argc;) {
        const char *word = argv[at];
        if (!options_over && strcmp(word, "--") == 0) {
            options_over = true;
            at++;
        } else if (!options_over && strncmp(word, "--", 2) == 0) {
            int code = opt_take(&parser, argc, argv, &at);
            if (code != 0) return code;
        } else if (!options_over && word[0] == '-' && word[1] != '\0') {
            return cli_wrong(args, "unknown option '%s', options are written --long", word);
        } else {
            args->operands[args->count++] = word;
            at++;
        }
    }
    return opt_check_complete(command, args);
}

void cli_args_clear(cli_args *args)
{
    const cli_option *table = args->command != NULL ? cli_table(args->command) : NULL;
    for (int i = 0; table != NULL && table[i].name != NULL; i++)
        if (table[i].kind == CLI_STRINGS) {
            cli_strings *list = table[i].value;
            free(list->items);
            *list = (cli_strings){0};
        }
    free(args->operands);
    args->operands = NULL;
    args->count = 0;
}

// ---- help -------------------------------------------------------------------------------------

enum { HELP_WIDTH = 80, HELP_COLUMN = 28 };

// Bytes of the next word. One that is wider than a line ends behind a choice that fits.
static int opt_word(const char *text, int room)
{
    const int length = (int)strcspn(text, " \n");
    for (int i = room; i > 0 && length > room; i--)
        if (text[i - 1] == '|') return i;
    return length;
}

// Prints `text` from `column` on, each further line indented to `indent`.
static void opt_wrap(FILE *out, const char *text, int column, int indent)
{
    int start = column;
    while (*text != '\0') {
        int length = opt_word(text, HELP_WIDTH - indent);
        if (column > start && column + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            column = start = indent;
        }
        fprintf(out, "%.*s", length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            fprintf(out, "\n%*s", text[1] != '\0' && text[1] != '\n' ? indent : 0, "");
            column = start = indent;
            text++;
        } else if (*text == ' ') {
            text++;
            if (column + 1 + opt_word(text, HELP_WIDTH - indent) <= HELP_WIDTH) {
                fputc(' ', out);
                column++;
            } else {
                fprintf(out, "\n%*s", indent, "");
                column = start = indent;
            }
        }
    }
    fputc('\n', out);
}

// The default as the help shows it; empty for none.
static void opt_default(const cli_option *option, char *out, size_t capacity)
{
    out[0] = '\0';
    if (option->shown != NULL) {
        snprintf(out, capacity, "%s", option->shown);
    } else if (option->kind == CLI_STRING) {
        const char *text = *(const char **)option->value;
        if (text != NULL && text[0] != '\0') snprintf(out, capacity, "%s", text);
    } else if (option->kind == CLI_INT || option->kind == CLI_COUNT) {
        snprintf(out, capacity, "%" PRId64, *(const int64_t *)option->value);
    } else if (option->kind == CLI_DOUBLE) {
        snprintf(out, capacity, "%g", *(const double *)option->value);
    }
}

// What stands behind an option; false where the option has no place in this help.
static bool opt_help_text(const cli_command *command, const cli_option *option, char *text,
                          size_t capacity)
{
    char initial[128], more[256] = "";
    if (option->describe != NULL && !option->describe(command, option, more, sizeof more))
        return false;
    opt_default(option, initial, sizeof initial);
    const bool listed = option->choices != NULL && option->argument != NULL;
    int used = snprintf(text, capacity, "%s%s%s%s%s%s", option->help, listed ? ": " : "",
                        listed ? option->choices : "", more, option->also ? "; also --" : "",
                        option->also ? option->also : "");
    if (used >= (int)capacity) return true;
    text += used;
    capacity -= (size_t)used;
    if (option->required)
        snprintf(text, capacity, " (required)");
    else if (option->kind == CLI_STRINGS)
        snprintf(text, capacity, " (may be repeated)");
    else if (initial[0] != '\0')
        snprintf(text, capacity, " (default: %s)", initial);
    return true;
}

static void opt_help_table(FILE *out, const cli_command *command, const cli_option *table)
{
    const char *heading = NULL; // of a group that has shown nothing yet
    for (; table->name != NULL; table++) {
        char text[1024];
        if (table->kind == CLI_HEADING) heading = table->help;
        if (table->kind == CLI_HEADING || !opt_help_text(command, table, text, sizeof text))
            continue;
        if (heading != NULL) fprintf(out, "\n%s:\n", heading);
        heading = NULL;
        int column = fprintf(out, "  --%s", table->name);
        if (table->kind != CLI_FLAG)
            column += fprintf(out, " %s",
                              table->argument != NULL  ? table->argument
                              : table->choices != NULL ? table->choices
                                                       : "VALUE");
        if (column + 2 > HELP_COLUMN) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%*s", HELP_COLUMN - column, "");
        opt_wrap(out, text, HELP_COLUMN, HELP_COLUMN);
    }
}

void cli_help(const cli_command *command, FILE *out)
{
    fprintf(out, "sgatlin %s - %s\n\n", command->name, command->summary);
    int column = fprintf(out, "Usage: sgatlin %s ", command->name);
    opt_wrap(out, command->usage, column, 7);
    if (command->about != NULL) {
        fputc('\n', out);
        opt_wrap(out, command->about, 0, 0);
    }
    const cli_option *table = cli_table(command);
    if (table[0].name != NULL) {
        if (table[0].kind != CLI_HEADING) fprintf(out, "\nOptions:\n");
        opt_help_table(out, command, table);
    }
    cli_args defaults = {0};
    cli_option common[CLI_COMMON_OPTIONS + 1];
    cli_common_options(&defaults, common);
    fprintf(out, "\nCommon options:\n");
    opt_help_table(out, command, common);
    if (command->example != NULL) {
        fprintf(out, "\nExample:\n  ");
        for (const char *at = command->example; *at != '\0'; at++)
            fprintf(out, at[0] == '\n' && at[1] != '\0' ? "%c  " : "%c", *at);
        fputc('\n', out);
    }
}
