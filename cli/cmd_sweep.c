// sgatlin sweep FILE: makes the runs of a sweep file, or goes on with them.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/sweep_options.h"

static const cli_option options[] = {CLI_SWEEP_OPTIONS, {0}};

static int sweep_run(const cli_args *args)
{
    return cli_sweep_go(args, args->operands[0], NULL);
}

const cli_command cli_cmd_sweep = {
    .name = "sweep",
    .summary = "make many runs of training, from a file that says which",
    .usage = "FILE.json --out DIR [options] | OBJECT …",
    .about =
        "The file states options of training, axes (lists of values of any of them), what is "
        "searched and how many seeds there are (docs/FORMATS.md, \"Sweep files\"); sweeps/ has "
        "some. A run is known by its options, its data and the program: none is made twice, and "
        "whatever stops a sweep, the same command goes on with it. Ctrl-C saves what is running. "
        "A file that adds cells, or seeds behind those there are, goes on with it too.\n"
        "\n"
        "DIR holds sweep.db (docs/FORMATS.md), which may be read at any time, sweep.json, and "
        "runs/ID with what each run logged. A run that fails is a row that says why. One that "
        "diverges counts as infinitely bad in searches.\n"
        "\n"
        "Objects: isoflop makes such a file for curves of equal FLOPs, status says how a sweep "
        "goes, time measures steps for curves of equal seconds, export and import take runs from "
        "one machine or day to another. sgatlin report shows what came of it.",
    .options = options,
    .example = "sgatlin sweep sweeps/laptop-isoflop.json --data data --out isoflop",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "FILE",
    .run = sweep_run,
};
