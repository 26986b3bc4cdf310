// What `sgatlin train` says: the plan a run begins with, how it goes, and what came of it.
#ifndef SGATLIN_CLI_TRAIN_TALK_H
#define SGATLIN_CLI_TRAIN_TALK_H

#include "cli/cli.h"
#include "sgatlin_train.h"

typedef struct cli_train_talk {
    const cli_args *args;
    cli_progress bar;
    bool begun;
    const sg_context *context;
    // For the time that the run will take: when the second step of this life began, and whether it
    // was said.
    double first_seconds;
    int64_t first_step;
    bool said_time;
} cli_train_talk;

// The hook of a run; user is a cli_train_talk. False once a signal asked to stop.
bool cli_train_event(void *user, const sg_train_event *event);
// The plan of a run on stdout, as lines or as JSON. Returns an exit code.
int cli_train_print_plan(const cli_args *args, const sg_context *context, const sg_train_plan *plan,
                         const sg_train_options *options);
// What a run came to. Returns an exit code.
int cli_train_report(const cli_args *args, const char *run, const sg_context *context,
                     const sg_train_result *result);
// How a run's speed stands to what products reach, for its bar: "38% of 152 GFLOP/s, measured 20 s
// ago"; "" where that is not known, or where the last measurements found less than the run does,
// since others had the machine then. Returns text.
const char *cli_train_share(const sg_train_event *event, char *text, size_t capacity);

#endif
