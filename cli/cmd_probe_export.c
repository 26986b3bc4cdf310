// sgatlin probe export: tables of a record as CSV, JSON lines or NumPy arrays.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_record.h"

static struct {
    const char *table, *format, *out, *layers, *channels;
    bool force;
} export = {.table = "hits", .format = "csv"};

static const cli_option export_options[] = {
    {.name = "table",
     .kind = CLI_STRING,
     .value = &export.table,
     .argument = "NAME",
     .choices = "hits|tokens|neurons|predictions|vocabulary",
     .help = "what to write"},
    {.name = "format",
     .kind = CLI_STRING,
     .value = &export.format,
     .argument = "FORM",
     .choices = "csv|jsonl|npy",
     .help = "npy: one array of records with named columns, the numbers alone"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &export.out,
     .argument = "FILE",
     .help = "where to",
     .required = true},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &export.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of hits and neurons those of these layers alone: 0,2-4"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &export.channels,
     .argument = "LIST",
     .shown = "all",
     .help = "of these channels alone"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &export.force,
     .help = "replace a file that is there"},
    {0},
};

static bool export_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_status export_write(const cli_args *args, sg_record *record, int64_t *rows, sg_error *err)
{
    cli_progress bar;
    const sg_export_options o = {.table = export.table,
                                 .format = strcmp(export.format, "csv") == 0     ? SG_EXPORT_CSV
                                           : strcmp(export.format, "jsonl") == 0 ? SG_EXPORT_JSONL
                                                                                 : SG_EXPORT_NPY,
                                 .path = export.out,
                                 .force = export.force,
                                 .layers = export.layers,
                                 .channels = export.channels,
                                 .progress = export_progress,
                                 .user = &bar};
    cli_progress_begin(&bar, args, "export", "tok");
    const sg_status status = sg_record_export(record, &o, rows, err);
    cli_progress_end(&bar);
    return status;
}

static int export_run(const cli_args *args)
{
    sg_error err = {0};
    sg_record *record;
    int64_t rows = 0;
    cli_catch_signals();
    sg_status status = sg_record_open(args->operands[0], &record, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const sg_record_info *info = sg_record_get_info(record);
    if (!info->complete)
        cli_warn(args, "%s: is not complete: %lld of %lld tokens", args->operands[0],
                 (long long)info->tokens, (long long)info->planned);
    status = export_write(args, record, &rows, &err);
    sg_record_free(record);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (args->json)
        return cli_print_json(args, json_pack("{s:s, s:s, s:I}", "out", export.out, "table",
                                              export.table, "rows", (json_int_t)rows));
    cli_note(args, "%lld rows of %s: %s", (long long)rows, export.table, export.out);
    return CLI_DONE;
}

const cli_command cli_cmd_probe_export = {
    .name = "probe export",
    .summary = "write a table of a record as CSV, JSON lines or .npy",
    .usage = "RECORD --out FILE [options]",
    .about = "hits has a row for each token, channel and selected neuron, tokens one a token, "
             "neurons one for each that ever fired, predictions the likeliest next tokens, "
             "vocabulary the texts of ids. A text that is not UTF-8 by itself (a token may be a "
             "part of a character) has U+FFFD in the column text, and its bytes in hexadecimal in "
             "the column bytes.",
    .options = export_options,
    .example = "sgatlin probe export scope.db --table neurons --out neurons.csv\n"
               "sgatlin probe export scope.db --layers 2 --channels 3 --format npy --out h.npy",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "RECORD",
    .run = export_run,
};
