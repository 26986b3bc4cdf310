// sgatlin sweep status: how a sweep goes, or what has come of it, while it is made or later.
#include "cli/sweep_talk.h"

static const cli_option options[] = {{0}};

static int status_run(const cli_args *args)
{
    sg_error err = {0};
    sg_sweep_overview overview;
    const sg_status status = sg_sweep_overview_read(args->operands[0], &overview, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const int code = cli_sweep_print(args, args->operands[0], &overview);
    sg_sweep_overview_clear(&overview);
    return code;
}

const cli_command cli_cmd_sweep_status = {
    .name = "sweep status",
    .summary = "how a sweep goes, and the best of each family",
    .usage = "DIR [options]",
    .about = "May be asked while the sweep is made. The table has, of each family and budget, the "
             "scale and the searched values with the lowest loss of the first seed; loss and "
             "perplexity are the mean over the seeds there are at these, and its exponential. "
             "--json has every run.",
    .options = options,
    .example = "sgatlin sweep status isoflop",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "DIR",
    .run = status_run,
};
