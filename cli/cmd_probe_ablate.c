// sgatlin probe ablate: what the loss becomes without neurons, channels or layers.
#include <math.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_edit.h"

static struct {
    const char *model, *adapter, *data, *split, *neurons, *layers, *channels, *by, *records;
    int64_t tokens, top, random, bootstrap, seed;
    bool mean, together, no_control;
} ablate = {.split = "val", .tokens = 16384, .by = "contribution", .bootstrap = 2000, .seed = 1};

static const cli_option ablate_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &ablate.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &ablate.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &ablate.data,
     .argument = "DIR",
     .help = "packed data that the loss is of",
     .required = true},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &ablate.split,
     .argument = "NAME",
     .help = "train or val",
     .choices = "train|val"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &ablate.tokens,
     .argument = "N",
     .help = "read the first N tokens, to the end of a sequence; 0: all",
     .low = 0,
     .high = 1e15},
    {.name = "", .kind = CLI_HEADING, .help = "What is ablated: layers as a whole, or one of"},
    {.name = "neurons",
     .kind = CLI_STRING,
     .value = &ablate.neurons,
     .argument = "L:C:N,…",
     .shown = "",
     .help = "these neurons: layer, channel and number, all from 0"},
    {.name = "top",
     .kind = CLI_COUNT,
     .value = &ablate.top,
     .argument = "N",
     .shown = "",
     .help = "the first N neurons --by",
     .low = 1,
     .high = 4096},
    {.name = "random",
     .kind = CLI_COUNT,
     .value = &ablate.random,
     .argument = "N",
     .shown = "",
     .help = "N random neurons that any token selects, drawn by --seed",
     .low = 1,
     .high = 4096},
    {.name = "by",
     .kind = CLI_STRING,
     .value = &ablate.by,
     .argument = "WHAT",
     .choices = "contribution|usage",
     .help = "--top: by the length of all that a neuron adds together, or by how often it is "
             "selected"},
    {.name = "records",
     .kind = CLI_STRING,
     .value = &ablate.records,
     .argument = "FILE",
     .shown = "",
     .help = "usage and contribution are those of a record (probe record) of this model, not of "
             "the data"},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &ablate.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of these layers alone: 0,2-4; layers are from 0"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &ablate.channels,
     .argument = "LIST",
     .shown = "together",
     .help = "of these channels alone: 0,2-4, or all; layers as a whole are then ablated channel "
             "by channel"},
    {.name = "", .kind = CLI_HEADING, .help = "How"},
    {.name = "mean",
     .kind = CLI_FLAG,
     .value = &ablate.mean,
     .help =
         "what a neuron adds becomes its mean over the tokens read, at every token; without: 0"},
    {.name = "together",
     .kind = CLI_FLAG,
     .value = &ablate.together,
     .help = "several neurons at once only, not also each alone"},
    {.name = "no-control",
     .kind = CLI_FLAG,
     .value = &ablate.no_control,
     .help = "no random neurons of the same usage and contribution beside them"},
    {.name = "bootstrap",
     .kind = CLI_COUNT,
     .value = &ablate.bootstrap,
     .argument = "N",
     .help = "resamples of the sequences for intervals",
     .low = 1,
     .high = 1000000},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &ablate.seed,
     .argument = "N",
     .help = "of the random neurons and the resamples",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0}};

static bool ablate_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// ---- JSON ---------------------------------------------------------------------------------------

static json_t *ablate_json_change(sg_ablate_change c)
{
    if (isnan(c.mean)) return json_null();
    return json_pack("{s:o, s:o, s:o}", "mean", cli_json_number(c.mean), "low",
                     cli_json_number(c.low), "high", cli_json_number(c.high));
}

static json_t *ablate_json_group(const sg_ablate_group *g)
{
    return json_pack("{s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:s?, s:o, s:o}", "name", g->name,
                     "neurons", (json_int_t)g->neurons, "usage", cli_json_number(g->usage),
                     "contribution", cli_json_number(g->contribution), "sequences",
                     (json_int_t)g->sequences, "loss", cli_json_number(g->loss), "perplexity",
                     cli_json_number(g->perplexity), "change", ablate_json_change(g->change),
                     "control_neuron", g->control_name[0] != '\0' ? g->control_name : NULL,
                     "control", ablate_json_change(g->control), "difference",
                     ablate_json_change(g->difference));
}

static int ablate_json(const cli_args *args, const sg_ablate_result *r)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(groups, ablate_json_group(&r->groups[i]));
    return cli_print_json(args, json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:o, s:o, s:o}", "model",
                                          ablate.model, "data", ablate.data, "split", ablate.split,
                                          "tokens", (json_int_t)r->tokens, "sequences",
                                          (json_int_t)r->sequences, "mean", ablate.mean, "loss",
                                          cli_json_number(r->loss), "perplexity",
                                          cli_json_number(r->perplexity), "ablations", groups));
}

// ---- text ---------------------------------------------------------------------------------------

static void ablate_cell(sg_ablate_change c)
{
    if (isnan(c.mean))
        printf("  %31s", "-");
    else
        printf("  %9.6f (%9.6f,%9.6f)", cli_unsigned_zero(c.mean, 6), cli_unsigned_zero(c.low, 6),
               cli_unsigned_zero(c.high, 6));
}

static int ablate_print(const cli_args *args, const sg_ablate_result *r)
{
    bool control = false;
    if (args->json) return ablate_json(args, r);
    printf("as it is: loss %.6f, perplexity %.4f, of %lld tokens in %lld sequences\n", r->loss,
           r->perplexity, (long long)r->tokens, (long long)r->sequences);
    for (size_t i = 0; i < r->count; i++)
        control = control || !isnan(r->groups[i].control.mean);
    printf("%-20s  %8s  %8s  %10s  %31s", "without", "neurons", "usage", "perplexity",
           "change of the loss");
    if (control) printf("  %31s  %31s", "of random ones", "difference");
    printf("\n");
    for (size_t i = 0; i < r->count; i++) {
        const sg_ablate_group *g = &r->groups[i];
        printf("%-20s  %8lld", g->name, (long long)g->neurons);
        if (isnan(g->usage))
            printf("  %8s", "-");
        else
            printf("  %8.5f", g->usage);
        printf("  %10.4f", g->perplexity);
        ablate_cell(g->change);
        if (control) ablate_cell(g->control);
        if (control) ablate_cell(g->difference);
        printf("\n");
    }
    return CLI_DONE;
}

static sg_status ablate_work(const cli_args *args, sg_context *context, sg_model *model,
                             const char *folder, sg_ablate_result *result, sg_error *err)
{
    sg_data *data = NULL;
    cli_progress bar;
    sg_ablate_options o = sg_ablate_options_default();
    sg_status status = cli_data_check(args, context, NULL, folder, ablate.data, err);
    if (status == SG_OK) status = sg_data_open(ablate.data, SG_VERIFY_AUTO, &data, err);
    if (status != SG_OK) return status;
    o.data = data;
    o.split = strcmp(ablate.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    o.max_tokens = ablate.tokens;
    o.neurons = ablate.neurons;
    o.top = ablate.top;
    o.random = ablate.random;
    o.by_usage = strcmp(ablate.by, "usage") == 0;
    o.layers = ablate.layers;
    o.channels = ablate.channels;
    o.records = ablate.records;
    o.mean = ablate.mean;
    o.together = ablate.together;
    o.control = !ablate.no_control;
    o.bootstrap = ablate.bootstrap;
    o.seed = (uint64_t)ablate.seed;
    o.progress = ablate_progress;
    o.user = &bar;
    cli_progress_begin(&bar, args, "ablate", "sequences");
    status = sg_probe_ablate(model, &o, result, err);
    cli_progress_end(&bar);
    sg_data_free(data);
    return status;
}

static int ablate_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_ablate_result result = {0};
    char folder[CLI_PATH];
    if (cli_given(args, "by") && !cli_given(args, "top"))
        return cli_wrong(args, "--by: goes with --top only");
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, ablate.model, "stored", &model, folder, &err);
    if (status == SG_OK) status = cli_model_adapt(context, ablate.adapter, model, &err);
    if (status == SG_OK) status = ablate_work(args, context, model, folder, &result, &err);
    sg_model_free(model);
    sg_context_free(context);
    const int code = status == SG_OK ? ablate_print(args, &result) : cli_fail(args, status, &err);
    sg_buffer_free(result.groups);
    return code;
}

const cli_command cli_cmd_probe_ablate = {
    .name = "probe ablate",
    .summary = "tell what the loss becomes without neurons",
    .usage = "--model DIR --data DIR [--neurons L:C:N,… | --top N | --random N] [options]",
    .about =
        "Without any of --neurons, --top and --random each layer is ablated as a whole. What a "
        "neuron adds to the stream becomes 0, or with --mean its mean. Several neurons are ablated "
        "each alone and all together.\n"
        "\n"
        "The change of the loss is in nats a token, in brackets its 95 % interval over sequences. "
        "Beside it the change without as many random neurons of the same layers and channels, "
        "each one of the 16 that are likest in usage and contribution, and the difference. Usage "
        "is the share of tokens that select a neuron.",
    .options = ablate_options,
    .example = "sgatlin probe ablate --model demo/sgatlin --data demo/data\n"
               "sgatlin probe ablate --model demo/sgatlin --data demo/data --top 10",
    .run = ablate_run,
};
