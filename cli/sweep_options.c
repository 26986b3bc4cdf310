// Making a sweep as a command: signals, talk, and what has come of it in the end.
#include "cli/sweep_options.h"

#include <limits.h>
#include <stdlib.h>

#include "cli/sweep_talk.h"

cli_sweep_given cli_sweep = {.jobs = 1};

// The table of a sweep that ended, or was stopped.
static int sweep_end(const cli_args *args, const sg_sweep_totals *totals)
{
    sg_error err = {0};
    sg_sweep_overview overview;
    const sg_status status = sg_sweep_overview_read(cli_sweep.out, &overview, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const int code = cli_sweep_print(args, cli_sweep.out, &overview);
    sg_sweep_overview_clear(&overview);
    return code == CLI_DONE && totals->failed > totals->diverged ? CLI_FAILED : code;
}

static int sweep_plan(const cli_args *args, const sg_sweep_options *options)
{
    sg_error err = {0};
    sg_sweep_outlook outlook;
    const sg_status status = sg_sweep_look_ahead(options, &outlook, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const int code = cli_sweep_print_outlook(args, &outlook);
    sg_sweep_outlook_clear(&outlook);
    return code;
}

static int sweep_make(const cli_args *args, sg_sweep_options *options)
{
    sg_error err = {0};
    cli_sweep_talk talk;
    sg_sweep_totals totals;
    options->progress = cli_sweep_talk_progress;
    options->user = &talk;
    cli_catch_signals();
    cli_save_on_signals();
    cli_sweep_talk_begin(&talk, args);
    const sg_status status = sg_sweep_run(options, &totals, &err);
    cli_sweep_talk_end(&talk);
    return status == SG_OK ? sweep_end(args, &totals) : cli_fail(args, status, &err);
}

int cli_sweep_go(const cli_args *args, const char *file, const char *text)
{
    char data[PATH_MAX];
    sg_sweep_options options = sg_sweep_options_default();
    char *command = cli_command_line(args);
    options.file = file;
    options.text = text;
    options.folder = cli_sweep.out;
    // The sweep remembers its data by a path that holds from anywhere.
    options.data =
        cli_sweep.data != NULL && realpath(cli_sweep.data, data) != NULL ? data : cli_sweep.data;
    options.command = command;
    options.jobs = cli_sweep.jobs;
    options.threads = (int)args->threads;
    options.kernel = args->kernel;
    options.automatic = cli_sweep.automatic;
    options.retry_failed = cli_sweep.retry != NULL;
    options.fail_fast = cli_sweep.fail_fast;
    options.keep_models = cli_sweep.keep_models;
    const int code = cli_sweep.dry ? sweep_plan(args, &options) : sweep_make(args, &options);
    free(command);
    return code;
}
