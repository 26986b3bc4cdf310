// sgatlin eval: loss and perplexity of a model on packed data.
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static struct {
    const char *model, *data, *split;
    int64_t batch_size, micro_batch, batches;
    bool usage;
} eval = {.split = "val", .batch_size = 64, .micro_batch = 8};

static const cli_option options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &eval.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
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
    {.name = "usage",
     .kind = CLI_FLAG,
     .value = &eval.usage,
     .help = "how evenly each sparse layer uses its memory; --json always says so"},
    {0}};

static bool eval_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// *usage: free; NULL where nobody asks.
static sg_status eval_model(const cli_args *args, sg_context *context, sg_eval_result *result,
                            sg_usage **usage, sg_error *err)
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
    sg_status status = cli_model_open(context, eval.model, "stored", &model, folder, err);
    if (status == SG_OK && (eval.usage || args->json)) {
        size_t layers = (size_t)sg_model_config(model)->num_hidden_layers;
        o.usage = *usage = calloc(layers, sizeof **usage);
        if (*usage == NULL) {
            snprintf(err->message, sizeof err->message, "out of memory for the usage of layers");
            status = err->code = SG_ERR_MEMORY;
        }
    }
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

static json_t *eval_usage_json(const sg_usage *usage, int64_t count)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        const sg_usage *u = &usage[i];
        json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "layer",
                                              (json_int_t)u->layer, "blocks", (json_int_t)u->blocks,
                                              "selections", (json_int_t)u->selections, "used",
                                              u->used, "entropy", u->entropy, "gini", u->gini,
                                              "max_load", u->max_load));
    }
    return list;
}

static void eval_usage_text(const sg_usage *usage, int64_t count)
{
    if (count == 0) {
        printf("no layer selects: there is no usage to tell of\n");
        return;
    }
    printf("layer      blocks    used  entropy    gini  max_load\n");
    for (int64_t i = 0; i < count; i++) {
        const sg_usage *u = &usage[i];
        printf("%5lld  %10lld  %.4f   %.4f  %.4f  %8.2f\n", (long long)u->layer,
               (long long)u->blocks, u->used, u->entropy, u->gini, u->max_load);
    }
}

static int eval_report(const cli_args *args, const sg_eval_result *r, const sg_usage *usage)
{
    if (args->json)
        return cli_print_json(
            args,
            json_pack("{s:s, s:f, s:o, s:o, s:f, s:I, s:I, s:o}", "split", eval.split, "loss",
                      r->loss, "perplexity", cli_json_number(r->perplexity),
                      "perplexity_batch_mean", cli_json_number(r->perplexity_batch_mean),
                      "accuracy", r->accuracy, "tokens", (json_int_t)r->tokens, "batches",
                      (json_int_t)r->batches, "usage", eval_usage_json(usage, r->usage_count)));
    printf("loss                   %.4f\n"
           "perplexity             %.4f\n"
           "perplexity_batch_mean  %.4f\n"
           "accuracy               %.4f\n"
           "tokens                 %lld\n",
           r->loss, r->perplexity, r->perplexity_batch_mean, r->accuracy, (long long)r->tokens);
    if (eval.usage) eval_usage_text(usage, r->usage_count);
    return CLI_DONE;
}

static int eval_run(const cli_args *args)
{
    sg_error err = {0};
    sg_usage *usage = NULL;
    sg_context *context;
    sg_eval_result r;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = eval_model(args, context, &r, &usage, &err);
    sg_context_free(context);
    int code = status == SG_OK ? eval_report(args, &r, usage) : cli_fail(args, status, &err);
    free(usage);
    return code;
}

const cli_command cli_cmd_eval = {
    .name = "eval",
    .summary = "loss and perplexity of a model on packed data",
    .usage = "--model DIR --data DIR [options]",
    .about =
        "perplexity is exp(mean loss over all tokens); perplexity_batch_mean is the mean over\n"
        "full batches of exp(batch loss), the published metric. Of the same tokens it is\n"
        "never smaller; a last batch that is not full counts for perplexity only.\n"
        "\n"
        "Of each sparse layer --usage tells how its blocks (experts, neurons) were selected: the\n"
        "share used at all, the entropy of the selections over that of an even use, their Gini\n"
        "coefficient, and the selections of the most used block over the mean.",
    .options = options,
    .example = "sgatlin eval --model runs/first --data data --split val --json",
    .run = eval_run,
};
