// sgatlin sweep import: runs that were made elsewhere, or another day, into a sweep.
#include <string.h>

#include "cli/cli.h"
#include "cli/visible.h"
#include "sgatlin_sweep.h"

static const cli_option options[] = {{0}};

static void import_said(void *user, const char *line)
{
    const cli_args *args = user;
    cli_warn(args, "%s", line);
}

static json_t *import_json(const char *file, const sg_sweep_imported *i)
{
    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I}", "file", file, "made", i->made,
                     "runs", (json_int_t)i->runs, "added", (json_int_t)i->added, "known",
                     (json_int_t)i->known, "different", (json_int_t)i->different, "elsewhere",
                     (json_int_t)i->elsewhere, "step_rounds", (json_int_t)i->rounds);
}

static void import_print(const char *file, const sg_sweep_imported *i)
{
    cli_put_visible(stdout, file, strlen(file), false);
    printf(": %lld runs: %lld added", (long long)i->runs, (long long)i->added);
    if (i->elsewhere > 0) printf(" (%lld of no cell of the sweep's file)", (long long)i->elsewhere);
    printf(", %lld known", (long long)i->known);
    if (i->different > 0) printf(", %lld known with another loss", (long long)i->different);
    if (i->rounds > 0) printf("; %lld times of steps", (long long)i->rounds);
    printf("\n");
}

static int import_run(const cli_args *args)
{
    sg_error err = {0};
    const char *folder = args->operands[0];
    json_t *files = json_array();
    for (int i = 1; i < args->count; i++) {
        sg_sweep_imported imported;
        const char *file = args->operands[i];
        const sg_status status =
            sg_sweep_import(folder, file, import_said, (void *)(uintptr_t)args, &imported, &err);
        if (status != SG_OK) {
            json_decref(files);
            return cli_fail(args, status, &err);
        }
        if (imported.made)
            cli_note(args, "%s had no sweep and is now one of the file of %s", folder, file);
        if (args->json)
            json_array_append_new(files, import_json(file, &imported));
        else
            import_print(file, &imported);
    }
    if (args->json) return cli_print_json(args, files);
    json_decref(files);
    return CLI_DONE;
}

const cli_command cli_cmd_sweep_import = {
    .name = "sweep import",
    .summary = "join finished runs of another machine or day into a sweep",
    .usage = "DIR FILE…",
    .about =
        "FILE is what sweep export writes, a sweep.db, or the folder of a sweep. A run is known "
        "by its options and data: one that is finished in DIR already stays as it is, and where "
        "the file has another loss for it, that is said. Runs of other data are refused. A DIR "
        "without a sweep becomes one of the file's, and sgatlin sweep makes what is missing there. "
        "All of a file is taken, or nothing.",
    .options = options,
    .example = "sgatlin sweep import isoflop monday.csv tuesday.csv",
    .min_operands = 2,
    .max_operands = 1000,
    .operands = "DIR FILE…",
    .run = import_run,
};
