// The option table of a command: what can be written behind `sgatlin VERB`, checked and explained
// in one place. A command states its options as data; parsing, ranges, defaults in --help, "did you
// mean" and the errors are the same for every verb because they are written once, here.
#ifndef SGATLIN_CLI_OPTIONS_H
#define SGATLIN_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct cli_args cli_args;

typedef enum cli_kind {
    CLI_FLAG,    // bool: true when the option is there; takes no value
    CLI_STRING,  // const char *
    CLI_STRINGS, // cli_strings: may be given again and again
    CLI_INT,     // int64_t in plain digits: seeds, lengths
    CLI_COUNT,   // int64_t with 1e6, 64k, 1.5M, 2G or 64Ki, 1Mi allowed: tokens, bytes, steps
    CLI_DOUBLE,  // double: 3e-4
    CLI_HEADING  // no option: `help` is a title between groups of options
} cli_kind;

typedef struct cli_strings {
    const char **items;
    int count;
} cli_strings;

typedef struct cli_command cli_command;

typedef struct cli_option {
    const char *name; // without "--"; NULL ends the table
    cli_kind kind;
    void *value;          // where the value goes; what is there before is the default
    const char *argument; // "FILE" in the help
    const char *shown;    // default in the help: NULL takes it from *value, "" shows none
    const char *help;
    const char *choices; // CLI_STRING: "concat|pad", NULL allows anything
    double low, high;    // range of a number, both included; both 0: none; INFINITY: no upper end
    bool required;
    const char *also; // a second name; NULL: none
    // More for the help, behind `help`; false leaves the option out. NULL: nothing. Values given
    // before --help are in their places.
    bool (*describe)(const cli_command *command, const struct cli_option *option, char *text,
                     size_t capacity);
} cli_option;

struct cli_command {
    const char *name;    // "train" or "data pack"
    const char *summary; // one line for the list of verbs
    const char *usage;   // behind "sgatlin NAME ": "--data DIR --out RUN [options]"
    const char *about;   // paragraphs for --help; NULL for none
    const cli_option *options;
    const cli_option *(*table)(void); // the options where they are made when asked for; or NULL
    const char *example;              // whole lines, as typed
    int min_operands;                 // arguments that are no options
    int max_operands;                 // -1: any number
    const char *operands;             // what they are, for errors: "FILE"
    int (*run)(const cli_args *args);
};

enum { CLI_MAX_OPTIONS = 160 };
#define CLI_SEED_MOST 9e18 // of every seed: a number that is itself in double, in JSON and in print

// The options that every verb has, bound to one `args`; a last one without a name ends the table.
enum { CLI_COMMON_OPTIONS = 5 };

struct cli_args {
    const cli_command *command;
    const char **operands; // ends with NULL
    int count;
    bool json;
    bool quiet;
    int64_t threads;    // 0: all cores
    const char *kernel; // NULL: the fastest
    bool help;
    int argc; // the whole command line, for records
    char **argv;
    bool given[CLI_MAX_OPTIONS];
};

// The options of a command, ended by a row without a name.
const cli_option *cli_table(const cli_command *command);

// Was this option written on the command line? For values that override a preset or a file.
bool cli_given(const cli_args *args, const char *name);

// Reads argv[first] … into the command's table and `args`. Returns 0, or 2 after saying why.
// Sets args->help and returns 0 at once when --help is there. Release with cli_args_clear.
int cli_parse(const cli_command *command, int argc, char **argv, int first, cli_args *args);
void cli_args_clear(cli_args *args);

void cli_common_options(cli_args *args, cli_option table[CLI_COMMON_OPTIONS + 1]);

// The --help of one command.
void cli_help(const cli_command *command, FILE *out);

// Stores a value from text; false when it is not of the kind or out of range. A flag takes "true"
// and "false".
bool cli_option_store(const cli_option *option, const char *text);
// What it takes, for errors: "an integer from 1 to 9".
void cli_option_expected(const cli_option *option, char *out, size_t capacity);

// One value by itself; false when the text is none or does not fit.
bool cli_read_int(const char *text, int64_t *out);
bool cli_read_count(const char *text, int64_t *out);
bool cli_read_double(const char *text, double *out);

#endif
