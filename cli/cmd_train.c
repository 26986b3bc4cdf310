// sgatlin train: a new run (train_options.c says from what), or --resume.
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/prompts.h"
#include "cli/train_options.h"
#include "cli/train_talk.h"
#include "sgatlin_train.h"

// ---- the verb ---------------------------------------------------------------------------------

// Between two looks at what products reach, for the progress bar to hold the speed against.
static const double train_look_seconds = 60;

static sg_status train_go(const cli_args *args, sg_context *context, cli_train_talk *talk,
                          sg_train_result *result, sg_error *err)
{
    char data[PATH_MAX];
    sg_status status = SG_OK;
    sg_train_options o;
    if (cli_train.resume == NULL) status = cli_train_options(args, context, &o, err);
    if (status != SG_OK) return status;
    // The run remembers its data by a path that holds from anywhere.
    const char *path =
        cli_train.data ? (realpath(cli_train.data, data) ? data : cli_train.data) : NULL;
    char *command = cli_command_line(args);
    sg_train_hooks hooks = {.event = cli_train_event,
                            .user = talk,
                            .command = command,
                            .measure_seconds = args->quiet ? 0 : train_look_seconds};
    talk->context = context;
    if (cli_train.resume != NULL) {
        static sg_train_change changes[CLI_MAX_OPTIONS];
        const size_t count = cli_train_changes(args, changes);
        status = sg_train_resume_changed(context, cli_train.resume, path, changes, count, &hooks,
                                         result, err);
    } else {
        status = sg_train(context, cli_train.out, path, &o, &hooks, result, err);
        // Adapters stay with their model, and its template.
        if (status == SG_OK && o.init[0] != '\0' && (o.lora_rank == 0 || o.lora_merge))
            cli_chat_stays_note(args, o.init, cli_train.out);
    }
    if (talk->begun) cli_progress_end(&talk->bar);
    free(command);
    return status;
}

// --dry-run
static int train_plan(const cli_args *args, sg_context *context)
{
    sg_error err = {0};
    sg_train_options o;
    sg_train_plan plan;
    sg_status status = cli_train_options(args, context, &o, &err);
    if (status == SG_OK) status = sg_train_plan_new(context, cli_train.data, &o, &plan, &err);
    return status == SG_OK ? cli_train_print_plan(args, context, &plan, &o)
                           : cli_fail(args, status, &err);
}

static int train_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    cli_train_talk talk = {.args = args};
    sg_train_result result;
    cli_catch_signals();
    cli_save_on_signals();
    int code = cli_train_read(args);
    if (code != CLI_DONE) return code;
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (cli_train.dry) {
        code = train_plan(args, context);
        sg_context_free(context);
        return code;
    }
    status = train_go(args, context, &talk, &result, &err);
    const char *run = cli_train.resume ? cli_train.resume : cli_train.out;
    code = status == SG_OK ? cli_train_report(args, run, context, &result)
                           : cli_fail(args, status, &err);
    sg_context_free(context);
    if (status == SG_ERR_STOPPED) cli_note(args, "go on with: sgatlin train --resume %s", run);
    return code;
}

const cli_command cli_cmd_train = {
    .name = "train",
    .summary = "train a model, or go on with a run",
    .usage = "--data DIR --out RUN [--preset NAME | --init MODEL] BUDGET [options] | --resume RUN",
    .about =
        "A run is a folder: options, checkpoints, metrics.jsonl, TensorBoard events, and at "
        "its end a model folder. Ctrl-C saves and stops; --resume goes on, and the end is "
        "the same bits as if the run had never stopped, for any number of threads.\n"
        "\n"
        "--init goes on from a model, whose sizes cannot be changed then. The data must be "
        "packed with its tokenizer, for sequences no longer than it has positions. Its recipe "
        "is 8 sequences a step, --lr 2e-5, --schedule cosine, no weight decay, and a warm-up "
        "of 100 steps, at most a tenth of all. --lora-rank trains adapters on it (Hu et al. "
        "2021; --lr 2e-4), which end up in RUN/adapter in PEFT's layout: generate and eval take "
        "them by --adapter. FLOPs are counted as if all weights were trained.",
    .table = cli_train_table,
    .example = "sgatlin train --data data --out runs/first --batch-size 8 --steps 300",
    .run = train_run,
};
