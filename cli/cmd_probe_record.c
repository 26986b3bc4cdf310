// sgatlin probe record: which neurons fire for which tokens, into an SQLite file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_record.h"

static struct {
    const char *model, *adapter, *out, *layers, *channels, *positions, *unit;
    const char *text, *data, *split, *tokenizer;
    int64_t tokens, context, top, predictions, stop_at_layer, micro_batch, first_row;
    bool force, resume, all;
} record = {.split = "val",
            .unit = "auto",
            .tokens = 10000,
            .top = 64,
            .predictions = 5,
            .stop_at_layer = -1,
            .micro_batch = 8};

static const cli_option record_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &record.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &record.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &record.out,
     .argument = "FILE",
     .help = "the database: scope.db",
     .required = true},
    {.name = "force", .kind = CLI_FLAG, .value = &record.force, .help = "replace what is there"},
    {.name = "resume",
     .kind = CLI_FLAG,
     .value = &record.resume,
     .help = "go on with what is there, which was begun with the same options, model and data"},
    {.name = "", .kind = CLI_HEADING, .help = "What the model reads, one of"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &record.text,
     .argument = "FILE",
     .shown = "",
     .help = "the text in a file; - is standard input"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &record.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data, row by row: the inputs of training; padding is not recorded"},
    {.name = "", .kind = CLI_HEADING, .help = "What is recorded"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &record.tokens,
     .argument = "N",
     .help = "read the first N tokens only",
     .low = 1,
     .high = 1e12},
    {.name = "all", .kind = CLI_FLAG, .value = &record.all, .help = "read all tokens there are"},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &record.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of these layers alone: 0,2-4; layers are from 0"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &record.channels,
     .argument = "LIST",
     .shown = "all",
     .help = "of these channels of each layer alone; channels are from 0"},
    {.name = "positions",
     .kind = CLI_STRING,
     .value = &record.positions,
     .argument = "A-B",
     .shown = "all",
     .help = "gates of the tokens at these positions of their sequence alone, from 0; A- is to "
             "the end"},
    {.name = "top",
     .kind = CLI_COUNT,
     .value = &record.top,
     .argument = "K",
     .help =
         "where a channel reads more than K neurons (a dense layer), the K strongest: |hook_post| "
         "times the length of w_out",
     .low = 1,
     .high = 256},
    {.name = "unit",
     .kind = CLI_STRING,
     .value = &record.unit,
     .argument = "UNIT",
     .choices = "auto|neuron|block",
     .help = "where a router selects blocks of neurons (experts): the blocks, or their neurons; "
             "auto: blocks, if their neurons are more than K"},
    {.name = "predictions",
     .kind = CLI_COUNT,
     .value = &record.predictions,
     .argument = "N",
     .help = "the N likeliest next tokens of each token",
     .low = 0,
     .high = 100},
    {.name = "stop-at-layer",
     .kind = CLI_COUNT,
     .value = &record.stop_at_layer,
     .argument = "L",
     .shown = "none",
     .help = "end passes behind layer L: faster, but without log-probabilities and predictions",
     .low = 0,
     .high = 1e6},
    {.name = "", .kind = CLI_HEADING, .help = "How it is read"},
    {.name = "micro-batch",
     .kind = CLI_COUNT,
     .value = &record.micro_batch,
     .argument = "B",
     .help = "sequences computed at a time: memory, and the last bits of products",
     .low = 1,
     .high = 4096},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &record.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &record.context,
     .argument = "N",
     .shown = "the model's longest sequence, at most 2048",
     .help = "--text: a longer text is cut into sequences of N tokens, which know nothing of each "
             "other",
     .low = 1,
     .high = 1e9},
    CLI_BAD_TEXT_OPTION("replace|stop", "--text: where it is not UTF-8: replace it by U+FFFD, "
                                        "counted, or stop"),
    {.name = "split",
     .kind = CLI_STRING,
     .value = &record.split,
     .argument = "NAME",
     .help = "--data: train or val",
     .choices = "train|val"},
    {.name = "first-row",
     .kind = CLI_COUNT,
     .value = &record.first_row,
     .argument = "N",
     .help = "--data: begin with row N of the split, from 0",
     .low = 0,
     .high = 1e12},
    {0},
};

typedef struct record_talk {
    const cli_args *args;
    cli_progress bar;
    sg_record_plan plan;
} record_talk;

static bool record_plan(void *user, const sg_record_plan *plan)
{
    record_talk *talk = user;
    char rows[32], hits[32], bytes[32];
    talk->plan = *plan;
    cli_short_number(rows, sizeof rows, (double)plan->gates);
    cli_short_number(hits, sizeof hits, (double)plan->hits);
    cli_short_number(bytes, sizeof bytes, (double)plan->bytes);
    cli_note(talk->args,
             "%lld token%s in %lld sequence%s, %lld channel%s of %lld layer%s: %s rows of gates, "
             "%s hits, about %sB and %.0f s: %s",
             (long long)plan->tokens, plan->tokens == 1 ? "" : "s", (long long)plan->sequences,
             plan->sequences == 1 ? "" : "s", (long long)plan->channels,
             plan->channels == 1 ? "" : "s", (long long)plan->layers, plan->layers == 1 ? "" : "s",
             rows, hits, bytes, plan->seconds, record.out);
    if (plan->done > 0)
        cli_note(talk->args, "%lld tokens are there already", (long long)plan->done);
    if (plan->strongest > 0)
        cli_note(talk->args,
                 "%lld layer%s read%s more than %lld neurons a token and channel: the strongest "
                 "%lld alone are recorded",
                 (long long)plan->strongest, plan->strongest == 1 ? "" : "s",
                 plan->strongest == 1 ? "s" : "", (long long)record.top, (long long)record.top);
    if (record.stop_at_layer >= 0)
        cli_note(talk->args, "passes end behind layer %lld: no log-probabilities, no predictions",
                 (long long)record.stop_at_layer);
    return !cli_stop_requested();
}

static bool record_progress(void *user, int64_t done, int64_t total)
{
    record_talk *talk = user;
    cli_progress_update(&talk->bar, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// "A-B", "A-" or "A".
static bool record_positions(sg_record_options *o)
{
    char *end;
    if (record.positions == NULL) return true;
    if (record.positions[0] < '0' || record.positions[0] > '9') return false;
    o->first_position = o->last_position = strtoll(record.positions, &end, 10);
    if (*end == '\0') return o->first_position < INT64_MAX;
    if (*end != '-') return false;
    o->last_position = -1;
    if (end[1] == '\0') return true;
    if (end[1] < '0' || end[1] > '9') return false;
    o->last_position = strtoll(end + 1, &end, 10);
    return *end == '\0' && o->first_position <= o->last_position && o->last_position < INT64_MAX;
}

static sg_status record_write(const cli_args *args, sg_model *model, sg_record_options *o,
                              record_talk *talk, sg_error *err)
{
    char *command = cli_command_line(args);
    o->path = record.out;
    o->force = record.force;
    o->resume = record.resume;
    o->max_tokens = record.all ? 0 : record.tokens;
    o->layers = record.layers;
    o->channels = record.channels;
    o->top = record.top;
    o->unit = strcmp(record.unit, "neuron") == 0  ? SG_RECORD_NEURON
              : strcmp(record.unit, "block") == 0 ? SG_RECORD_BLOCK
                                                  : SG_RECORD_AUTO;
    o->predictions = record.predictions;
    o->stop_at_layer = record.stop_at_layer;
    o->micro_batch = record.micro_batch;
    o->model = record.model;
    o->command = command;
    o->plan = record_plan;
    o->progress = record_progress;
    o->user = talk;
    cli_progress_begin(&talk->bar, args, "record", "tok");
    sg_status status = sg_probe_record(model, o, &talk->plan, err);
    cli_progress_end(&talk->bar);
    free(command);
    return status;
}

static sg_status record_data(const cli_args *args, sg_context *context, sg_model *model,
                             const char *folder, sg_record_options *o, record_talk *talk,
                             sg_error *err)
{
    sg_data *data = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_status status = cli_data_check(args, context, NULL, folder, record.data, err);
    if (status == SG_OK) status = sg_data_open(record.data, SG_VERIFY_AUTO, &data, err);
    // Data bring the tokenizer along that they were packed with.
    if (status == SG_OK)
        status = sg_tokenizer_open(record.tokenizer != NULL ? record.tokenizer : record.data,
                                   &tokenizer, err);
    o->data = data;
    o->tokenizer = tokenizer;
    o->source = record.data;
    o->first_row = record.first_row;
    o->split = strcmp(record.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    if (status == SG_OK) status = record_write(args, model, o, talk, err);
    sg_tokenizer_free(tokenizer);
    sg_data_free(data);
    return status;
}

static sg_status record_text(const cli_args *args, sg_model *model, const char *folder,
                             sg_record_options *o, record_talk *talk, sg_error *err)
{
    sg_corpus *corpus = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_document text = {0};
    sg_status status = cli_tokenizer_open(record.tokenizer, folder, &tokenizer, err);
    if (status == SG_OK) status = cli_text_open(record.text, false, &corpus, err);
    if (status == SG_OK) status = sg_corpus_next(corpus, &text, err);
    o->text = text.text != NULL ? text.text : "";
    o->text_bytes = text.bytes;
    o->tokenizer = tokenizer;
    o->context = record.context;
    o->source = record.text;
    if (status == SG_OK) status = record_write(args, model, o, talk, err);
    if (status == SG_OK) {
        sg_text_counts counts = sg_corpus_counts(corpus);
        counts.replaced += talk->plan.replaced;
        cli_reading_warn(args, &counts);
        cli_lost_warn(args, "text", talk->plan.lost_bytes, (int64_t)text.bytes);
    }
    sg_corpus_close(corpus);
    sg_tokenizer_free(tokenizer);
    return status;
}

static int record_report(const cli_args *args, const record_talk *talk)
{
    const sg_record_plan *p = &talk->plan;
    if (!args->json) return CLI_DONE;
    return cli_print_json(
        args, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "out", record.out,
                        "tokens", (json_int_t)p->tokens, "sequences", (json_int_t)p->sequences,
                        "length", (json_int_t)p->length, "layers", (json_int_t)p->layers,
                        "channels", (json_int_t)p->channels, "gates", (json_int_t)p->gates, "hits",
                        (json_int_t)p->hits, "resumed", (json_int_t)p->done));
}

// An option given that what is read does not have; NULL: none.
static const char *record_stray(const cli_args *args)
{
    static const char *const of_text[] = {"context", "bad-text", NULL};
    static const char *const of_data[] = {"split", "first-row", NULL};
    const char *const *name = record.data != NULL ? of_text : of_data;
    while (*name != NULL && !cli_given(args, *name))
        name++;
    return *name;
}

static int record_check(const cli_args *args, sg_record_options *o)
{
    if ((record.text != NULL) + (record.data != NULL) != 1)
        return cli_wrong(args, "found %s, expected one of --text and --data",
                         record.text != NULL ? "both" : "none");
    if (record_stray(args) != NULL)
        return cli_wrong(args,
                         record.data != NULL ? "--%s: goes with --text only"
                                             : "--%s: goes with --data only",
                         record_stray(args));
    if (record.all && cli_given(args, "tokens"))
        return cli_wrong(args, "found --tokens and --all, expected one");
    if (record.resume && record.force)
        return cli_wrong(args, "found --resume and --force, expected one");
    if (!record_positions(o))
        return cli_wrong(args, "--positions: found \"%s\", expected such as 8 or 0-15 or 16-",
                         record.positions);
    return CLI_DONE;
}

static int record_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    char folder[CLI_PATH];
    record_talk talk = {.args = args};
    sg_record_options o = sg_record_options_default();
    const int wrong = record_check(args, &o);
    if (wrong != CLI_DONE) return wrong;
    cli_save_on_signals();
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, record.model, "stored", &model, folder, &err);
    if (status == SG_OK) status = cli_model_adapt(context, record.adapter, model, &err);
    if (status == SG_OK)
        status = record.data != NULL ? record_data(args, context, model, folder, &o, &talk, &err)
                                     : record_text(args, model, folder, &o, &talk, &err);
    sg_model_free(model);
    sg_context_free(context);
    return status == SG_OK ? record_report(args, &talk) : cli_fail(args, status, &err);
}

const cli_command cli_cmd_probe_record = {
    .name = "probe record",
    .summary = "record which neurons fire for which tokens, in SQLite",
    .usage = "--model DIR (--text FILE | --data DIR) --out FILE [options]",
    .about =
        "For each token the selected neurons of every channel, their scores and activations, the "
        "log-probability of what follows and the likeliest next tokens; for each neuron its sums "
        "and the tokens for which it fired. docs/PROBE.md has the tables and views, for sqlite3 "
        "or any program that reads such files; the other probe commands and scope read it too.\n"
        "\n"
        "Rows, bytes and seconds are said before it begins. What is stopped, or killed, is gone "
        "on with by --resume, and ends as if it had not been.",
    .options = record_options,
    .example = "sgatlin probe record --model run --data data --out scope.db\n"
               "sgatlin probe record --model run --text t.txt --layers 2 --out s.db\n"
               "sqlite3 scope.db 'SELECT * FROM neurons ORDER BY hits DESC LIMIT 10'",
    .run = record_run,
};
