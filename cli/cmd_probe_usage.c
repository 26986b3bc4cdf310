// sgatlin probe usage: how evenly the neurons of sparse layers are selected, and which together.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_train.h"
#include "sgatlin_usage.h"

static struct {
    const char *model, *adapter, *data, *split, *layers, *channels, *out, *form;
    int64_t sequences, pairs, least;
    bool force;
} usage = {.split = "val", .form = "conditional", .sequences = 128, .pairs = 1, .least = 10};

static const cli_option usage_options[] = {
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &usage.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "these layers alone: 0,2-4; layers and channels are from 0"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &usage.channels,
     .argument = "LIST",
     .shown = "all",
     .help = "these channels of each layer alone"},
    {.name = "", .kind = CLI_HEADING, .help = "In place of a record"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = &usage.model,
     .argument = "DIR",
     .shown = "",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not"},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &usage.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &usage.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data, row by row: the inputs of training"},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &usage.split,
     .argument = "NAME",
     .help = "train or val",
     .choices = "train|val"},
    {.name = "sequences",
     .kind = CLI_COUNT,
     .value = &usage.sequences,
     .argument = "N",
     .help = "the first N rows of the split; selections take 4 bytes of memory each",
     .low = 1,
     .high = 1 << 20},
    {.name = "", .kind = CLI_HEADING, .help = "Neurons that are selected together"},
    {.name = "pairs",
     .kind = CLI_COUNT,
     .value = &usage.pairs,
     .argument = "N",
     .help = "pairs that are shown of a channel: those that need each other most, by the smaller "
             "of P(a | b) and P(b | a)",
     .low = 0,
     .high = 1e6},
    {.name = "least",
     .kind = CLI_COUNT,
     .value = &usage.least,
     .argument = "N",
     .help = "of pairs that at least N tokens select",
     .low = 1,
     .high = 1e12},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &usage.out,
     .argument = "FILE",
     .shown = "",
     .help = "write the matrix of one channel, (neurons, neurons), into an .npy file: row i, "
             "column j is P(j | i)"},
    {.name = "form",
     .kind = CLI_STRING,
     .value = &usage.form,
     .argument = "NAME",
     .help = "conditional: P(j | i); published: counts over the sum of their row, which is that "
             "over k - 1",
     .choices = "conditional|published"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &usage.force,
     .help = "replace a file that is there"},
    {0},
};

static bool usage_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// ---- reading ------------------------------------------------------------------------------------

// --out has one matrix.
static sg_status usage_check_one(const sg_selections *selections, int64_t layers, sg_error *err)
{
    if (usage.out == NULL || (layers == 1 && sg_selections_layer(selections, 0).channels == 1))
        return SG_OK;
    snprintf(err->message, sizeof err->message,
             "out: found several channels, expected one: --layers 0 --channels 0");
    return err->code = SG_ERR_ARGUMENT;
}

static sg_status usage_run_model(const cli_args *args, sg_model *model, const sg_data *data,
                                 const sg_selections *selections, sg_error *err)
{
    cli_progress bar;
    sg_eval_result result;
    sg_eval_options o = sg_eval_options_default();
    o.split = strcmp(usage.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    o.batch_size = usage.sequences; // one batch of them all
    o.max_batches = 1;
    o.points = sg_selections_points(selections);
    o.progress = usage_progress;
    o.progress_user = &bar;
    cli_progress_begin(&bar, args, "read", "seq");
    sg_status status = sg_evaluate(model, data, &o, &result, err);
    cli_progress_end(&bar);
    return status;
}

// What the model selects in packed data. *selections: sg_selections_free.
static sg_status usage_read_model(const cli_args *args, sg_context *context,
                                  sg_selections **selections, sg_error *err)
{
    sg_model *model = NULL;
    sg_data *data = NULL;
    char folder[CLI_PATH];
    sg_status status = cli_model_open(context, usage.model, "stored", &model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(context, usage.adapter, model, err);
    if (status == SG_OK)
        status = sg_selections_new(model, usage.layers, usage.channels, selections, err);
    if (status == SG_OK)
        status = usage_check_one(*selections, sg_selections_count(*selections), err);
    if (status == SG_OK) status = cli_data_check(args, context, NULL, folder, usage.data, err);
    if (status == SG_OK) status = sg_data_open(usage.data, SG_VERIFY_AUTO, &data, err);
    if (status == SG_OK) status = usage_run_model(args, model, data, *selections, err);
    sg_data_free(data);
    sg_model_free(model);
    return status;
}

// ---- results ------------------------------------------------------------------------------------

// Of one layer.
typedef struct usage_result {
    sg_layer_selections layer;
    sg_gate_usage *usage;           // (channels + 1)
    sg_coactivation *coactivations; // (channels)
    sg_published_usage published;
} usage_result;

static void usage_result_free(usage_result *r)
{
    for (int64_t c = 0; r->coactivations != NULL && c < r->layer.channels; c++)
        sg_coactivation_free(&r->coactivations[c]);
    free(r->coactivations);
    free(r->usage);
}

static sg_status usage_memory(sg_error *err)
{
    snprintf(err->message, sizeof err->message, "out of memory for results");
    return err->code = SG_ERR_MEMORY;
}

static sg_status usage_compute(usage_result *r, sg_error *err)
{
    const size_t channels = (size_t)r->layer.channels;
    r->usage = calloc(channels + 1, sizeof *r->usage);
    r->coactivations = calloc(channels, sizeof *r->coactivations);
    if (r->usage == NULL || r->coactivations == NULL) return usage_memory(err);
    sg_status status = sg_gate_usage_of(&r->layer, r->usage, &r->published, err);
    for (size_t c = 0; c < channels && status == SG_OK; c++)
        status = sg_coactivation_find(&r->layer, (int64_t)c, usage.pairs, usage.least,
                                      &r->coactivations[c], err);
    return status;
}

static json_t *usage_channel_json(const sg_gate_usage *u)
{
    return json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "channel",
                     u->channel < 0 ? json_null() : json_integer(u->channel), "bins",
                     (json_int_t)u->bins, "selections", (json_int_t)u->selections, "used",
                     cli_json_number(u->used), "entropy", cli_json_number(u->entropy), "gini",
                     cli_json_number(u->gini), "token_gini", cli_json_number(u->token_gini),
                     "first_gini", cli_json_number(u->first_gini), "max_load",
                     cli_json_number(u->max_load), "min_max", cli_json_number(u->min_max),
                     "deviation", cli_json_number(u->deviation));
}

static json_t *usage_published_json(const sg_published_usage *p)
{
    return json_pack(
        "{s:I, s:I, s:{s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o, s:o}}", "sequences",
        (json_int_t)p->sequences, "bins", (json_int_t)p->bins, "per_sequence", "used",
        cli_json_number(p->sequence_used), "entropy", cli_json_number(p->sequence_entropy),
        "min_max", cli_json_number(p->sequence_min_max), "deviation",
        cli_json_number(p->sequence_deviation), "global", "used", cli_json_number(p->global_used),
        "entropy", cli_json_number(p->global_entropy), "min_max",
        cli_json_number(p->global_min_max), "deviation", cli_json_number(p->global_deviation));
}

static json_t *usage_pairs_json(const sg_coactivation *c)
{
    json_t *pairs = json_array();
    for (int64_t i = 0; i < c->count; i++) {
        const sg_neuron_pair *p = &c->pairs[i];
        json_array_append_new(pairs, json_pack("{s:i, s:i, s:I, s:I, s:I, s:f, s:f, s:f}", "a",
                                               (int)p->a, "b", (int)p->b, "tokens",
                                               (json_int_t)p->count, "of_a", (json_int_t)p->of_a,
                                               "of_b", (json_int_t)p->of_b, "b_given_a", p->given_a,
                                               "a_given_b", p->given_b, "lift", p->lift));
    }
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "channel", (json_int_t)c->channel, "events",
                     (json_int_t)c->events, "same_first_sub_key", cli_json_number(c->same_first),
                     "same_second_sub_key", cli_json_number(c->same_second), "by_chance",
                     cli_json_number(c->chance), "pairs", pairs);
}

static json_t *usage_layer_json(const usage_result *r)
{
    json_t *channels = json_array(), *together = json_array();
    for (int64_t c = 0; c < r->layer.channels; c++) {
        json_array_append_new(channels, usage_channel_json(&r->usage[c]));
        json_array_append_new(together, usage_pairs_json(&r->coactivations[c]));
    }
    return json_pack("{s:I, s:I, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "layer",
                     (json_int_t)r->layer.layer, "neurons", (json_int_t)r->layer.neurons, "shared",
                     (int)r->layer.shared, "sub_keys", (json_int_t)r->layer.sub_keys, "tokens",
                     (json_int_t)r->layer.rows, "different_tokens",
                     (json_int_t)r->usage[r->layer.channels].tokens, "channels", channels,
                     "layer_usage", usage_channel_json(&r->usage[r->layer.channels]), "published",
                     usage_published_json(&r->published), "coactivation", together);
}

static void usage_line(const sg_gate_usage *u)
{
    char channel[24] = "all";
    if (u->channel >= 0) snprintf(channel, sizeof channel, "%lld", (long long)u->channel);
    printf("%5lld  %7s  %6lld  %6.2f %%  %7.4f  %6.4f  %10.4f  %10.4f  %8.2f  %7.4f  %9.4f\n",
           (long long)u->layer, channel, (long long)u->bins, 100 * u->used, u->entropy, u->gini,
           u->token_gini, u->first_gini, u->max_load, u->min_max, u->deviation);
}

static void usage_text(const usage_result *results, int64_t count)
{
    const sg_gate_usage *u = &results[0].usage[results[0].layer.channels];
    printf("%lld tokens, %lld of them different, in %lld sequences\n\n", (long long)u->rows,
           (long long)u->tokens, (long long)results[0].published.sequences);
    printf("layer  channel    bins      used  entropy    gini  gini/token  gini/first  max/mean  "
           "min/max  deviation\n");
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c <= results[i].layer.channels; c++)
            usage_line(&results[i].usage[c]);
    printf("\nAs published, channels merged: the mean of sequences, and all of them as one row of "
           "bins\n"
           "layer      used  entropy  min/max  deviation      used  entropy  min/max  deviation\n");
    for (int64_t i = 0; i < count; i++) {
        const sg_published_usage *p = &results[i].published;
        printf("%5lld  %6.2f %%  %7.4f  %7.4f  %9.4f  %6.2f %%  %7.4f  %7.4f  %9.4f\n",
               (long long)p->layer, 100 * p->sequence_used, p->sequence_entropy,
               p->sequence_min_max, p->sequence_deviation, 100 * p->global_used, p->global_entropy,
               p->global_min_max, p->global_deviation);
    }
}

static void usage_together_text(const sg_coactivation *c)
{
    printf("layer %lld channel %lld: %lld pairs in %lld tokens", (long long)c->layer,
           (long long)c->channel, (long long)c->events, (long long)c->rows);
    if (!isnan(c->same_first))
        printf("; %.1f %% have the first sub-key in common, %.1f %% the second, %.1f %% by chance",
               100 * c->same_first, 100 * c->same_second, 100 * c->chance);
    printf("\n");
    for (int64_t i = 0; i < c->count; i++) {
        const sg_neuron_pair *p = &c->pairs[i];
        printf("%8d and %-8d %6lld tokens   P(b|a) %.3f   P(a|b) %.3f   lift %.1f\n", (int)p->a,
               (int)p->b, (long long)p->count, p->given_a, p->given_b, p->lift);
    }
}

static int usage_report(const cli_args *args, const usage_result *results, int64_t count)
{
    if (args->json) {
        json_t *layers = json_array();
        for (int64_t i = 0; i < count; i++)
            json_array_append_new(layers, usage_layer_json(&results[i]));
        return cli_print_json(args,
                              json_pack("{s:o, s:s?}", "layers", layers, "matrix", usage.out));
    }
    usage_text(results, count);
    printf("\nNeurons that are selected together\n");
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < results[i].layer.channels; c++)
            usage_together_text(&results[i].coactivations[c]);
    return CLI_DONE;
}

static sg_status usage_write(const sg_layer_selections *layer, sg_error *err)
{
    const bool conditional = strcmp(usage.form, "conditional") == 0;
    if (usage.out == NULL) return SG_OK;
    return sg_coactivation_write(
        layer, 0, conditional ? SG_COACTIVATION_CONDITIONAL : SG_COACTIVATION_PUBLISHED, usage.out,
        usage.force, err);
}

// Layers with what was found of them. What their selections were is gone, or goes, with its owner.
typedef struct usage_results {
    usage_result *items;
    int64_t count;
} usage_results;

static sg_status usage_add(usage_results *all, const sg_selections *selections, int64_t index,
                           sg_error *err)
{
    usage_result *grown = realloc(all->items, (size_t)(all->count + 1) * sizeof *grown);
    if (grown == NULL) return usage_memory(err);
    all->items = grown;
    usage_result *r = &grown[all->count++];
    *r = (usage_result){.layer = sg_selections_layer(selections, index)};
    sg_status status = usage_compute(r, err);
    return status == SG_OK ? usage_write(&r->layer, err) : status;
}

static sg_status usage_of_model(const cli_args *args, usage_results *all, sg_error *err)
{
    sg_context *context;
    sg_selections *selections = NULL;
    sg_status status = cli_context_new(args, &context, err);
    if (status != SG_OK) return status;
    status = usage_read_model(args, context, &selections, err);
    for (int64_t i = 0; status == SG_OK && i < sg_selections_count(selections); i++)
        status = usage_add(all, selections, i, err);
    sg_selections_free(selections);
    sg_context_free(context);
    return status;
}

static sg_status usage_of_layer(const cli_args *args, sg_record *record, int64_t number,
                                int64_t layers, usage_results *all, sg_error *err)
{
    sg_selections *selections;
    const sg_record_layer *layer = sg_record_find_layer(record, number);
    if (layer->strongest)
        cli_note(args, "layer %lld: the %lld strongest neurons of each token alone are recorded",
                 (long long)number, (long long)layer->slots);
    sg_status status = sg_selections_read(record, number, usage.channels, &selections, err);
    if (status != SG_OK) return status;
    status = usage_check_one(selections, layers, err);
    if (status == SG_OK) status = usage_add(all, selections, 0, err);
    sg_selections_free(selections);
    return status;
}

// Layer by layer, so that one is in memory at a time.
static sg_status usage_of_record(const cli_args *args, usage_results *all, sg_error *err)
{
    sg_record *record;
    int64_t *layers, count = 0;
    sg_status status = sg_record_open(args->operands[0], &record, err);
    if (status != SG_OK) return status;
    layers = calloc(sg_record_get_info(record)->layer_count + 1, sizeof *layers);
    status = layers == NULL ? usage_memory(err)
                            : sg_selections_layers(record, usage.layers, layers, &count, err);
    for (int64_t i = 0; status == SG_OK && i < count; i++)
        status = usage_of_layer(args, record, layers[i], count, all, err);
    free(layers);
    sg_record_free(record);
    return status;
}

// An option given that a record does not take; NULL: none.
static const char *usage_stray(const cli_args *args)
{
    static const char *const of_model[] = {"model", "data", "adapter", "split", "sequences", NULL};
    const char *const *name = of_model;
    while (*name != NULL && !cli_given(args, *name))
        name++;
    return *name;
}

static int usage_run(const cli_args *args)
{
    sg_error err = {0};
    usage_results all = {0};
    const bool record = args->count == 1;
    if (record && usage_stray(args) != NULL)
        return cli_wrong(args, "--%s: goes without a record only", usage_stray(args));
    if (!record && (usage.model == NULL || usage.data == NULL))
        return cli_wrong(args, "found no record, expected one, or --model and --data");
    cli_catch_signals();
    sg_status status =
        record ? usage_of_record(args, &all, &err) : usage_of_model(args, &all, &err);
    const int code =
        status == SG_OK ? usage_report(args, all.items, all.count) : cli_fail(args, status, &err);
    for (int64_t i = 0; i < all.count; i++)
        usage_result_free(&all.items[i]);
    free(all.items);
    return code;
}

const cli_command cli_cmd_probe_usage = {
    .name = "probe usage",
    .summary = "show how evenly neurons are selected, and which together",
    .usage = "FILE | --model DIR --data DIR [options]",
    .about =
        "FILE is a record (probe record). Of each channel of each sparse layer, and of the layer: "
        "the share of neurons that any "
        "token selects; the entropy of their selections over its maximum, and the Gini "
        "coefficient (0: all alike), also with each different input token counted once "
        "(gini/token: for every neuron that any of its occurrences selects; gini/first: by its "
        "first occurrence); the most and the least selected, and the standard deviation over the "
        "mean. Beside them the published figures, which merge channels.\n"
        "\n"
        "Then which neurons are selected together. With product keys, neuron i n + j is "
        "addressed by two sub-keys i and j, and neurons with one in common come together more "
        "often than chance has it.",
    .options = usage_options,
    .example = "sgatlin probe usage scope.db\n"
               "sgatlin probe usage --model runs/first --data data --layers 2\n"
               "sgatlin probe usage scope.db --layers 2 --channels 0 --out m.npy",
    .max_operands = 1,
    .operands = "FILE",
    .run = usage_run,
};
