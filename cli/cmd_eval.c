// sgatlin eval: loss and perplexity of a model on packed data.
#include <string.h>

#include "cli/cli.h"

static struct {
    const char *model, *data, *split;
    int64_t batch_size, micro_batch, batches;
} eval = {.split = "val", .batch_size = 64, .micro_batch = 8};

static const cli_option options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &eval.model,
     .argument = "DIR",
     .help = "model folder, or a run, finished or not",
     .required = true},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &eval.data,
     .argument = "DIR",
     .help = "packed data",
     .required = true},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &eval.split,
     .argument = "NAME",
     .help = "train or val",
     .choices = "train|val"},
    {.name = "batch-size",
     .kind = CLI_COUNT,
     .value = &eval.batch_size,
     .argument = "B",
     .help = "sequences of a batch; only perplexity_batch_mean depends on it",
     .low = 1,
     .high = 1 << 20},
    {.name = "micro-batch",
     .kind = CLI_COUNT,
     .value = &eval.micro_batch,
     .argument = "B",
     .help = "sequences computed at a time: memory, not results",
     .low = 1,
     .high = 1 << 20},
    {.name = "batches",
     .kind = CLI_COUNT,
     .value = &eval.batches,
     .argument = "N",
     .shown = "all",
     .help = "evaluate the first N batches only",
     .low = 1,
     .high = 1e15},
    {0}};

static bool eval_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_status eval_model(const cli_args *args, sg_context *context, sg_eval_result *result,
                            sg_error *err)
{
    sg_model *model = NULL;
    sg_data *data = NULL;
    cli_progress bar;
    sg_eval_options o = sg_eval_options_default();
    o.split = strcmp(eval.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    o.batch_size = eval.batch_size;
    o.micro_batch = eval.micro_batch;
    o.max_batches = eval.batches;
    o.progress = eval_progress;
    o.progress_user = &bar;
    char folder[CLI_PATH];
    sg_status status = cli_model_open(context, eval.model, SG_WEIGHTS_F32, &model, folder, err);
    if (status == SG_OK) status = sg_data_open(eval.data, SG_VERIFY_AUTO, &data, err);
    if (status == SG_OK) {
        cli_progress_begin(&bar, args, "eval", "seq");
        status = sg_evaluate(model, data, &o, result, err);
        cli_progress_end(&bar);
    }
    sg_data_free(data);
    sg_model_free(model);
    return status;
}

static int eval_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_eval_result r;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = eval_model(args, context, &r, &err);
    sg_context_free(context);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s, s:f, s:o, s:o, s:f, s:I, s:I}", "split", eval.split, "loss", r.loss,
                      "perplexity", cli_json_number(r.perplexity), "perplexity_batch_mean",
                      cli_json_number(r.perplexity_batch_mean), "accuracy", r.accuracy, "tokens",
                      (json_int_t)r.tokens, "batches", (json_int_t)r.batches));
    printf("loss                   %.4f\n"
           "perplexity             %.4f\n"
           "perplexity_batch_mean  %.4f\n"
           "accuracy               %.4f\n"
           "tokens                 %lld\n",
           r.loss, r.perplexity, r.perplexity_batch_mean, r.accuracy, (long long)r.tokens);
    return CLI_DONE;
}

const cli_command cli_cmd_eval = {
    .name = "eval",
    .summary = "loss and perplexity of a model on packed data",
    .usage = "--model DIR --data DIR [options]",
    .about =
        "perplexity is exp(mean loss over all tokens); perplexity_batch_mean is the mean over\n"
        "full batches of exp(batch loss), the published metric. Of the same tokens it is\n"
        "never smaller; a last batch that is not full counts for perplexity only.",
    .options = options,
    .example = "sgatlin eval --model runs/first --data data --split val --json",
    .run = eval_run,
};
