// What `sgatlin sweep FILE` and `sgatlin sweep isoflop` have in common: the options of making runs,
// and the making.
#ifndef SGATLIN_CLI_SWEEP_OPTIONS_H
#define SGATLIN_CLI_SWEEP_OPTIONS_H

#include "cli/cli.h"
#include "sgatlin_sweep.h"

typedef struct cli_sweep_given {
    const char *out, *data, *retry;
    int64_t jobs;
    bool automatic, fail_fast, keep_models, dry;
} cli_sweep_given;
extern cli_sweep_given cli_sweep; // one command runs in a process

// Rows of an option table.
#define CLI_SWEEP_OPTIONS                                                                          \
    {.name = "out",                                                                                \
     .kind = CLI_STRING,                                                                           \
     .value = &cli_sweep.out,                                                                      \
     .argument = "DIR",                                                                            \
     .shown = "",                                                                                  \
     .required = true,                                                                             \
     .help = "folder of the sweep; one that is there goes on"},                                    \
        {.name = "data",                                                                           \
         .kind = CLI_STRING,                                                                       \
         .value = &cli_sweep.data,                                                                 \
         .argument = "DIR",                                                                        \
         .shown = "the file's",                                                                    \
         .help = "packed data (sgatlin data pack)"},                                               \
        {.name = "dry-run",                                                                        \
         .kind = CLI_FLAG,                                                                         \
         .value = &cli_sweep.dry,                                                                  \
         .help = "print what would be run, what it takes, and make nothing"},                      \
        {.name = "jobs",                                                                           \
         .kind = CLI_INT,                                                                          \
         .value = &cli_sweep.jobs,                                                                 \
         .argument = "N",                                                                          \
         .low = 1,                                                                                 \
         .high = 256,                                                                              \
         .help = "runs at a time; --threads counts the threads of each, all cores shared unless "  \
                 "given"},                                                                         \
        {.name = "auto",                                                                           \
         .kind = CLI_FLAG,                                                                         \
         .value = &cli_sweep.automatic,                                                            \
         .help = "add scales where a family's lowest loss is among its outer two"},                \
        {.name = "retry",                                                                          \
         .kind = CLI_STRING,                                                                       \
         .value = &cli_sweep.retry,                                                                \
         .argument = "WHICH",                                                                      \
         .choices = "failed",                                                                      \
         .shown = "nothing",                                                                       \
         .help = "make runs again that failed, but for those that diverged, which would again"},   \
        {.name = "fail-fast",                                                                      \
         .kind = CLI_FLAG,                                                                         \
         .value = &cli_sweep.fail_fast,                                                            \
         .help = "stop at the first run that fails"},                                              \
    {                                                                                              \
        .name = "keep-models", .kind = CLI_FLAG, .value = &cli_sweep.keep_models,                  \
        .help = "keep the models of runs, which otherwise go with their checkpoints"               \
    }

// Makes the sweep of a file, or of its text (the other one NULL), or with --dry-run its plan.
// Returns an exit code.
int cli_sweep_go(const cli_args *args, const char *file, const char *text);

#endif
