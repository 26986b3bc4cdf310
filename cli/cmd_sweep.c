// sgatlin sweep FILE: makes the runs of a sweep file, or goes on with them.
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/sweep_options.h"

static const cli_option options[] = {CLI_SWEEP_OPTIONS, {0}};

// The object that a word which is no file was meant to be; NULL: none is near.
static const char *sweep_meant(const char *word)
{
    static const char verb[] = "sweep ";
    const char *names[CLI_COMMAND_COUNT + 1];
    int count = 0;
    for (int i = 0; i < CLI_COMMAND_COUNT; i++)
        if (strncmp(cli_commands[i]->name, verb, sizeof verb - 1) == 0)
            names[count++] = cli_commands[i]->name + sizeof verb - 1;
    names[count] = NULL;
    return access(word, F_OK) == 0 ? NULL : sg_nearest_name(word, names);
}

static int sweep_run(const cli_args *args)
{
    const char *meant = sweep_meant(args->operands[0]);
    if (meant != NULL)
        return cli_wrong(args, "'%s' is no file, did you mean 'sweep %s'?", args->operands[0],
                         meant);
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
