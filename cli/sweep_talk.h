// What the commands on sweeps say: how one goes, a line a running job, and what it has come to.
#ifndef SGATLIN_CLI_SWEEP_TALK_H
#define SGATLIN_CLI_SWEEP_TALK_H

#include "cli/cli.h"
#include "sgatlin_sweep.h"

typedef struct cli_sweep_talk {
    const cli_args *args;
    cli_progress bar;
} cli_sweep_talk;

void cli_sweep_talk_begin(cli_sweep_talk *talk, const cli_args *args);
// For sg_sweep_options.progress; false once a signal came.
bool cli_sweep_talk_progress(void *user, const sg_sweep_progress *progress);
void cli_sweep_talk_end(cli_sweep_talk *talk);

// The best run of each family, settings and budget, failures, and what is open; with --json all
// runs. Returns an exit code.
int cli_sweep_print(const cli_args *args, const char *folder, const sg_sweep_overview *overview);

// What a sweep will take: a line for each cell, totals by family. Returns an exit code.
int cli_sweep_print_outlook(const cli_args *args, const sg_sweep_outlook *outlook);

#endif
