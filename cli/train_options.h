// The options of `sgatlin train`: those of training and of a configuration, which the library
// states, and the command's own. They come from the command line, from a file, or from a run.
#ifndef SGATLIN_CLI_TRAIN_OPTIONS_H
#define SGATLIN_CLI_TRAIN_OPTIONS_H

#include "cli/cli.h"
#include "sgatlin_train.h"

// The command's own; NULL, 0 or false: not given.
typedef struct cli_train_own {
    const char *preset, *config, *data, *out, *resume, *recipe;
    int64_t seq_len;
    bool dry;
} cli_train_own;
extern cli_train_own cli_train;

const cli_option *cli_train_table(void);

// Takes from --config what the command line did not give, and checks what excludes each other.
// Returns CLI_DONE, or another exit code, having said why.
int cli_train_read(const cli_args *args);
// The options of a new run.
sg_status cli_train_options(const cli_args *args, sg_context *context, sg_train_options *options,
                            sg_error *err);
// What was given with --resume, as changes of the run; CLI_MAX_OPTIONS of them have room. Their
// texts live until the next call. Returns how many.
size_t cli_train_changes(const cli_args *args, sg_train_change *changes);

#endif
