// sgatlin report: what a sweep, or runs beside each other, came to: a page, drawings, tables, text.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_report.h"

static struct {
    const char *out, *svg, *csv;
    bool text, force;
    int64_t resamples, seed, columns;
} report = {.resamples = 2000, .seed = 1, .columns = 100};

static const cli_option report_options[] = {
    {.name = "out",
     .kind = CLI_STRING,
     .value = &report.out,
     .argument = "FILE",
     .shown = "",
     .help = "one HTML page for a browser, which asks nothing of any host"},
    {.name = "svg",
     .kind = CLI_STRING,
     .value = &report.svg,
     .argument = "FOLDER",
     .shown = "",
     .help = "its drawings as files: isoflop.svg, seconds.svg, best.svg, facts.svg, curves.svg, "
             "those that there is something for"},
    {.name = "csv",
     .kind = CLI_STRING,
     .value = &report.csv,
     .argument = "FOLDER",
     .shown = "",
     .help = "its tables as files, numbers in full: points.csv, fits.csv, verdicts.csv …"},
    {.name = "text",
     .kind = CLI_FLAG,
     .value = &report.text,
     .help = "on the terminal, in plain characters; without any of --out, --svg, --csv and --json "
             "this is what is done"},
    {.name = "force", .kind = CLI_FLAG, .value = &report.force, .help = "replace what is there"},
    {.name = "", .kind = CLI_HEADING, .help = "How"},
    {.name = "columns",
     .kind = CLI_INT,
     .value = &report.columns,
     .argument = "N",
     .help = "of the text: characters of a line",
     .low = 40,
     .high = 400},
    {.name = "resamples",
     .kind = CLI_COUNT,
     .value = &report.resamples,
     .argument = "N",
     .help = "of the bootstrap behind intervals and verdicts",
     .low = 100,
     .high = 1e5},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &report.seed,
     .argument = "N",
     .help = "of the bootstrap: the same seed gives the same numbers",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0},
};

// ---- what is made -------------------------------------------------------------------------------

static sg_status report_files(const cli_args *args, const sg_report *r, sg_error *err)
{
    int64_t number = 0;
    sg_status status = SG_OK;
    if (report.out != NULL) {
        status = sg_report_page(r, report.out, report.force, &number, err);
        if (status == SG_OK)
            cli_note(args, "%s: a page of %lld bytes", report.out, (long long)number);
    }
    if (status == SG_OK && report.svg != NULL) {
        status = sg_report_svg(r, report.svg, report.force, &number, err);
        if (status == SG_OK) cli_note(args, "%s: %lld drawings", report.svg, (long long)number);
    }
    if (status == SG_OK && report.csv != NULL) {
        status = sg_report_csv(r, report.csv, report.force, &number, err);
        if (status == SG_OK) cli_note(args, "%s: %lld tables", report.csv, (long long)number);
    }
    return status;
}

static sg_status report_print(const cli_args *args, const sg_report *r, sg_error *err)
{
    char *text = NULL;
    const bool files = report.out != NULL || report.svg != NULL || report.csv != NULL;
    if (!args->json && !report.text && files) return SG_OK;
    sg_status status =
        args->json ? sg_report_json(r, &text, err) : sg_report_text(r, report.columns, &text, err);
    if (status == SG_OK) {
        fputs(text, stdout);
        if (args->json) fputs("\n", stdout);
    }
    sg_buffer_free(text);
    return status;
}

// ---- the verb -----------------------------------------------------------------------------------

static sg_status report_read(const cli_args *args, const sg_report_options *options, sg_report **r,
                             sg_error *err)
{
    if (args->count == 1 && sg_report_is_sweep(args->operands[0]))
        return sg_report_sweep(args->operands[0], options, r, err);
    return sg_report_runs(args->operands, (size_t)args->count, options, r, err);
}

static int report_run(const cli_args *args)
{
    sg_error err = {0};
    sg_report *r = NULL;
    sg_report_options options = sg_report_options_default();
    if (args->json && report.text)
        return cli_wrong(args, "--json and --text both print: expected one of them");
    for (int i = 0; args->count > 1 && i < args->count; i++)
        if (sg_report_is_sweep(args->operands[i]))
            return cli_wrong(args,
                             "%s: found no run's folder, expected runs alone or a sweep alone",
                             args->operands[i]);
    char *command = cli_command_line(args);
    options.resamples = report.resamples;
    options.seed = (uint64_t)report.seed;
    options.command = command;
    sg_status status = report_read(args, &options, &r, &err);
    // The text has them itself, and so has JSON.
    const bool told =
        status == SG_OK && (args->json || report.text || !(report.out || report.svg || report.csv));
    for (size_t i = 0; status == SG_OK && !told && i < sg_report_remark_count(r); i++)
        cli_note(args, "%s", sg_report_remark(r, i));
    if (status == SG_OK) status = report_files(args, r, &err);
    if (status == SG_OK) status = report_print(args, r, &err);
    sg_report_free(r);
    free(command);
    return status == SG_OK ? CLI_DONE : cli_fail(args, status, &err);
}

const cli_command cli_cmd_report = {
    .name = "report",
    .summary = "what a sweep or runs came to: a page, drawings, tables",
    .usage = "DIR|RUN… [--out FILE.html] [options]",
    .about =
        "Of a sweep (the folder of sgatlin sweep, finished or not): loss over parameters at equal "
        "FLOPs with parabolas and their minima, who is lowest and whether that can be told, "
        "perplexity over seconds, parameters and active parameters, surfaces, searches, facts, the "
        "losses and options of all runs. Of runs: their losses and costs beside each other. "
        "Intervals are of 95 percent.\n"
        "The page is one file: nothing is loaded from anywhere. Reading writes nothing, and a "
        "sweep may be going on meanwhile.",
    .options = report_options,
    .example = "sgatlin report sweeps/laptop --out laptop.html --svg pictures --csv tables\n"
               "sgatlin report runs/mlp runs/sgatlin --text",
    .min_operands = 1,
    .max_operands = 64,
    .operands = "DIR or RUN",
    .run = report_run,
};
