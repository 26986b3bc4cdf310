// sgatlin sweep export: the finished runs of a sweep as text for a repository.
#include "cli/cli.h"
#include "sgatlin_sweep.h"

static struct {
    const char *out;
    bool force;
} export;

static const cli_option options[] = {
    {.name = "out",
     .kind = CLI_STRING,
     .value = &export.out,
     .argument = "FILE.csv",
     .shown = "",
     .required = true,
     .help = "what is written"},
    {.name = "force", .kind = CLI_FLAG, .value = &export.force, .help = "replace what is there"},
    {0}};

static int export_run(const cli_args *args)
{
    sg_error err = {0};
    sg_sweep_exported exported;
    const sg_status status =
        sg_sweep_export(args->operands[0], export.out, export.force, &exported, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (args->json)
        return cli_print_json(args, json_pack("{s:s, s:I, s:I}", "file", export.out, "runs",
                                              (json_int_t)exported.runs, "others",
                                              (json_int_t)exported.others));
    printf("%lld finished runs in %s", (long long)exported.runs, export.out);
    if (exported.others > 0)
        printf("; %lld that failed or are not finished are left out", (long long)exported.others);
    printf("\n");
    return CLI_DONE;
}

const cli_command cli_cmd_sweep_export = {
    .name = "sweep export",
    .summary = "write a sweep's finished runs as CSV",
    .usage = "DIR --out FILE.csv",
    .about = "A file to keep in a repository, or to take to another machine: the sweep file, the "
             "machines, and one line a run with its options, results, losses by block and times, "
             "numbers to the last bit, sorted by id. Curves alone are thinned, to 24 points "
             "(docs/FORMATS.md, \"Runs of sweeps as CSV\"). Any program that reads CSV reads it: "
             "what stands above the line of columns begins with #.",
    .options = options,
    .example = "sgatlin sweep export isoflop --out isoflop.csv",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "DIR",
    .run = export_run,
};
