// What every command of the program leans on: errors and exit codes, talk, JSON results, signals.
// Results go to stdout, talk to stderr. The program is a client of sgatlin.h like any other.
#ifndef SGATLIN_CLI_CLI_H
#define SGATLIN_CLI_CLI_H

#include <jansson.h>

#include "cli/options.h"
#include "cli/progress.h"
#include "sgatlin.h"

// Exit codes: the work is done, it failed on the way, what was asked for is wrong, or nobody reads
// the results any more (the code that shells give to a death by SIGPIPE).
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_WRONG = 2, CLI_UNREAD = 141 };

// ARGUMENT, NOT_FOUND, FORMAT, MISMATCH and UNSUPPORTED are the user's (2), the rest ours (1).
int cli_exit_code(sg_status status);

// Prints "sgatlin: VERB: message" from a failed library call and returns its exit code.
int cli_fail(const cli_args *args, sg_status status, const sg_error *err);
// Prints "sgatlin: VERB: message" and where to find help; returns CLI_WRONG.
int cli_wrong(const cli_args *args, const char *format, ...) SG_PRINTF(2, 3);
// A line of talk on stderr, "VERB: message"; silent with --quiet.
void cli_note(const cli_args *args, const char *format, ...) SG_PRINTF(2, 3);
// A warning on stderr, "sgatlin: VERB: warning: message", also with --quiet.
void cli_warn(const cli_args *args, const char *format, ...) SG_PRINTF(2, 3);

// A context with the threads and kernel of the command line, whose log goes to stderr. `args`
// must outlive it.
sg_status cli_context_new(const cli_args *args, sg_context **context, sg_error *err);

// Opens a model, or what a run has so far: its newest checkpoint. weights: a name of
// sg_weights_parse, or "stored": as they lie in the file. folder (CLI_PATH bytes) is where the
// model was found: a folder with the tokenizer in it, or a file.
enum { CLI_PATH = 4096 };
sg_status cli_model_open(sg_context *context, const char *path, const char *weights,
                         sg_model **model, char folder[CLI_PATH], sg_error *err);
// Adds adapters to it: a folder of them, or a run that trains some; path NULL: none.
sg_status cli_model_adapt(sg_context *context, const char *path, sg_model *model, sg_error *err);

// The tokenizer that was given, or that of a model: where it has none, the error says how to give
// one.
sg_status cli_tokenizer_open(const char *given, const char *model, sg_tokenizer **tokenizer,
                             sg_error *err);

// Prints a value on stdout, two spaces deep, in the order of insertion, then a line end, and gives
// it up (json_decref), also when it fails. NULL counts as out of memory. Returns an exit code.
int cli_print_json(const cli_args *args, json_t *value);
// The same on one line, for verbs that print one object after the other; written out at once.
int cli_print_json_line(const cli_args *args, json_t *value);

// The command line as one would type it again, for records; free, NULL when out of memory.
char *cli_command_line(const cli_args *args);

// A number for a JSON result; null where JSON has none (NaN, infinity).
json_t *cli_json_number(double value);

// After this the first SIGINT or SIGTERM only makes cli_stop_requested true; the next one kills.
void cli_catch_signals(void);
// What is stopped saves what it did: the second signal does not kill either, the third does.
void cli_save_on_signals(void);
bool cli_stop_requested(void);

// Makes descriptors 0, 1, 2 safe to use even when the caller closed them, and turns a closed pipe
// and a limit on the size of files into write errors. Call first in main.
void cli_start(void);
// Flushes stdout; returns CLI_FAILED, saying so, when anything written to it was lost, CLI_UNREAD,
// saying nothing, when its reader has gone, else `code`.
int cli_finish(const char *command, int code);

#endif
