// sgatlin scope: one page that shows what is inside a model.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_probe.h"
#include "sgatlin_scope.h"

static struct {
    const char *model, *adapter, *beside, *tokenizer, *out, *records;
    const char *data, *split, *text;
    const char *layers, *channels;
    const char *facts, *prompt, *answer, *against;
    int64_t tokens, context, maps, map_tokens, max_bytes, pairs, seed;
    bool force;
} scope = {.split = "val",
           .tokens = 10000,
           .maps = 1,
           .map_tokens = 5000,
           .max_bytes = INT64_C(10) << 20,
           .pairs = 200,
           .seed = 1};

static const cli_option scope_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &scope.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &scope.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &scope.out,
     .argument = "FILE",
     .help = "the page: an HTML file",
     .required = true},
    {.name = "force", .kind = CLI_FLAG, .value = &scope.force, .help = "replace what is there"},
    {.name = "beside",
     .kind = CLI_STRING,
     .value = &scope.beside,
     .argument = "OTHER",
     .shown = "none",
     .help = "a second model next to it, of the same vocabulary; the word untrained: one of the "
             "same shape with fresh weights"},
    {.name = "", .kind = CLI_HEADING, .help = "What the models read, one of"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &scope.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data, row by row"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &scope.text,
     .argument = "FILE",
     .shown = "",
     .help = "the text in a file; - is standard input"},
    {.name = "", .kind = CLI_HEADING, .help = "How much of it"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &scope.tokens,
     .argument = "N",
     .help = "the first N tokens",
     .low = 1,
     .high = 1e7},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &scope.split,
     .argument = "NAME",
     .help = "with --data: train or val",
     .choices = "train|val"},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &scope.context,
     .argument = "N",
     .shown = "the model's longest sequence, at most 2048",
     .help = "with --text: it is cut into sequences of N tokens",
     .low = 1,
     .high = 1e9},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &scope.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &scope.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "these layers alone: 0,2-4; layers are from 0"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &scope.channels,
     .argument = "LIST",
     .shown = "as many as the page holds",
     .help = "of each layer these channels alone: 0,2-4; channels are from 0"},
    {.name = "max-bytes",
     .kind = CLI_COUNT,
     .value = &scope.max_bytes,
     .argument = "BYTES",
     .shown = "10Mi",
     .help = "of the page: where more would be, the last channels of each layer are left out",
     .low = 1e5,
     .high = 2e9},
    {.name = "", .kind = CLI_HEADING, .help = "What else is on the page"},
    {.name = "maps",
     .kind = CLI_COUNT,
     .value = &scope.maps,
     .argument = "N",
     .help = "maps of the gates of the first N channels of each layer",
     .low = 0,
     .high = 1e6},
    {.name = "map-tokens",
     .kind = CLI_COUNT,
     .value = &scope.map_tokens,
     .argument = "N",
     .help = "of a map the first N tokens alone",
     .low = 3,
     .high = 1e7},
    {.name = "facts",
     .kind = CLI_STRING,
     .value = &scope.facts,
     .argument = "FILE",
     .shown = "none",
     .help = "facts that are patched, as probe patch takes them"},
    {.name = "pairs",
     .kind = CLI_COUNT,
     .value = &scope.pairs,
     .argument = "N",
     .help = "with --facts: pairs of prompts at most, drawn",
     .low = 2,
     .high = 1e9},
    {.name = "prompt",
     .kind = CLI_STRING,
     .value = &scope.prompt,
     .argument = "TEXT",
     .shown = "none",
     .help = "a prompt whose answer is traced, as by probe trace"},
    {.name = "answer",
     .kind = CLI_STRING,
     .value = &scope.answer,
     .argument = "TEXT",
     .shown = "the likeliest token",
     .help = "with --prompt: what follows it, its space included"},
    {.name = "against",
     .kind = CLI_STRING,
     .value = &scope.against,
     .argument = "TEXT",
     .shown = "nothing",
     .help = "with --answer: the difference of the two logits is traced"},
    {.name = "records",
     .kind = CLI_STRING,
     .value = &scope.records,
     .argument = "FILE",
     .shown = "none is kept",
     .help = "keep the record the page is made from, for queries (probe record)"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &scope.seed,
     .argument = "N",
     .help = "of all that is drawn",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0},
};

// One of the models, and what it did.
typedef struct scope_one {
    sg_model *model;
    sg_record *record;
    const char *name, *path;
    char file[CLI_PATH]; // of the record
    bool kept;           // it stays
    bool made;
} scope_one;

// What is at work.
typedef struct scope_work {
    const cli_args *args;
    sg_context *context;
    sg_tokenizer *tokenizer;
    sg_data *data;
    sg_corpus *corpus;
    sg_document text;
    scope_one one[2];
    size_t count;
    sg_patch_result patch;
    sg_trace *trace;
    char *command;        // that was typed
    char *record_command; // and those that do a part of it
    char *patch_command, *trace_command;
    cli_progress bar;
    const char *part;
} scope_work;

static bool scope_progress(void *user, int64_t done, int64_t total)
{
    scope_work *w = user;
    cli_progress_update(&w->bar, (double)done, (double)total, w->part);
    return !cli_stop_requested();
}

static void scope_part(void *user, const char *name)
{
    ((scope_work *)user)->part = name;
}

static void scope_begin(scope_work *w, const char *part, const char *unit)
{
    w->part = part;
    cli_progress_begin(&w->bar, w->args, "scope", unit);
}

// ---- commands that do a part of it --------------------------------------------------------------

// Adds " --NAME VALUE", or " VALUE" where there is no name, quoted for a shell; nothing where there
// is no value.
static void scope_word(FILE *out, const char *name, const char *value)
{
    if (value == NULL) return;
    fprintf(out, *name != '\0' ? " --%s " : " %s", name);
    if (*value != '\0' && strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789_-+./,:=@%") == strlen(value)) {
        fputs(value, out);
        return;
    }
    fputc('\'', out);
    for (; *value != '\0'; value++)
        *value == '\'' ? (void)fputs("'\\''", out) : (void)fputc(*value, out);
    fputc('\'', out);
}

static char *scope_line(const char *verb, const char *const words[][2], size_t count)
{
    char *line = NULL;
    size_t bytes;
    FILE *out = open_memstream(&line, &bytes);
    if (out == NULL) return NULL;
    fprintf(out, "sgatlin %s", verb);
    if (strcmp(verb, "probe patch") == 0) scope_word(out, "", scope.facts);
    scope_word(out, "model", scope.model);
    scope_word(out, "adapter", scope.adapter);
    for (size_t i = 0; i < count; i++)
        scope_word(out, words[i][0], words[i][1]);
    if (fclose(out) == 0) return line;
    free(line);
    return NULL;
}

static void scope_commands(scope_work *w)
{
    char tokens[32], pairs[32], seed[32];
    snprintf(tokens, sizeof tokens, "%lld", (long long)scope.tokens);
    snprintf(pairs, sizeof pairs, "%lld", (long long)scope.pairs);
    snprintf(seed, sizeof seed, "%lld", (long long)scope.seed);
    const char *const record[][2] = {
        {"data", scope.data}, {"text", scope.text}, {"tokens", tokens}, {"out", "scope.db"}};
    const char *const patch[][2] = {{"out", "patch.db"}, {"pairs", pairs}, {"seed", seed}};
    const char *const trace[][2] = {
        {"prompt", scope.prompt}, {"answer", scope.answer}, {"against", scope.against}};
    w->command = cli_command_line(w->args);
    w->record_command = scope_line("probe record", record, 4);
    if (scope.facts != NULL) w->patch_command = scope_line("probe patch", patch, 3);
    if (scope.prompt != NULL) w->trace_command = scope_line("probe trace", trace, 3);
}

// ---- records ------------------------------------------------------------------------------------

static sg_status scope_record(scope_work *w, scope_one *one, sg_error *err)
{
    sg_record_options o = sg_record_options_default();
    o.path = one->file;
    o.force = one->kept && scope.force;
    o.data = w->data;
    o.split = strcmp(scope.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    o.text = w->text.text;
    o.text_bytes = w->text.bytes;
    o.tokenizer = w->tokenizer;
    o.max_tokens = scope.tokens;
    o.context = scope.context;
    o.layers = scope.layers;
    o.channels = scope.channels;
    o.source = scope.data != NULL ? scope.data : scope.text;
    o.model = one->path;
    o.command = one == &w->one[0] ? w->record_command : w->command;
    o.progress = scope_progress;
    o.user = w;
    one->made = true;
    scope_begin(w, "record", "tok");
    sg_record_plan plan = {0};
    sg_status status = sg_probe_record(one->model, &o, &plan, err);
    cli_progress_end(&w->bar);
    if (status == SG_OK) status = sg_record_open(one->file, &one->record, err);
    if (status == SG_OK && one == &w->one[0] && scope.text != NULL) {
        sg_text_counts counts = sg_corpus_counts(w->corpus);
        counts.replaced += plan.replaced;
        cli_reading_warn(w->args, &counts);
        cli_lost_warn(w->args, "text", plan.lost_bytes, (int64_t)w->text.bytes);
    }
    return status;
}

// Where the record of a model lies: where it shall stay, or beside the page while that is made.
static bool scope_place(scope_one *one, size_t index)
{
    one->kept = scope.records != NULL && index == 0;
    const int length =
        one->kept ? snprintf(one->file, sizeof one->file, "%s", scope.records)
                  : snprintf(one->file, sizeof one->file, "%s.record-%zu.tmp", scope.out, index);
    return length > 0 && (size_t)length < sizeof one->file;
}

static sg_status scope_records(scope_work *w, sg_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        if (!scope_place(&w->one[i], i)) {
            snprintf(err->message, sizeof err->message, "out: found a path that is too long");
            return err->code = SG_ERR_ARGUMENT;
        }
        if (!w->one[i].kept) remove(w->one[i].file); // of a run that was killed
        const sg_status status = scope_record(w, &w->one[i], err);
        if (status != SG_OK) return status;
    }
    return SG_OK;
}

static void scope_clear(scope_one *one)
{
    sg_record_free(one->record);
    if (one->made && !one->kept) remove(one->file);
}

// ---- models and text ----------------------------------------------------------------------------

static const char *scope_name(const char *path)
{
    const char *name = strrchr(path, '/');
    return name != NULL && name[1] != '\0' ? name + 1 : path;
}

static sg_status scope_models(scope_work *w, char folder[CLI_PATH], sg_error *err)
{
    char other[CLI_PATH];
    scope_one *first = &w->one[0], *second = &w->one[1];
    first->path = scope.model;
    first->name = scope_name(scope.model);
    w->count = 1;
    sg_status status =
        cli_model_open(w->context, scope.model, "stored", &first->model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(w->context, scope.adapter, first->model, err);
    if (status != SG_OK || scope.beside == NULL) return status;
    second->path = scope.beside;
    second->name = scope_name(scope.beside);
    w->count = 2;
    if (strcmp(scope.beside, "untrained") == 0)
        return sg_model_new(w->context, sg_model_config(first->model), (uint64_t)scope.seed,
                            &second->model, err);
    return cli_model_open(w->context, scope.beside, "stored", &second->model, other, err);
}

static sg_status scope_read(scope_work *w, const char *folder, sg_error *err)
{
    sg_status status = cli_tokenizer_open(scope.tokenizer, folder, &w->tokenizer, err);
    if (scope.data != NULL) {
        if (status == SG_OK)
            status = cli_data_check(w->args, w->context, scope.tokenizer, folder, scope.data, err);
        if (status == SG_OK) status = sg_data_open(scope.data, SG_VERIFY_AUTO, &w->data, err);
        return status;
    }
    if (status == SG_OK) status = cli_text_open(scope.text, false, &w->corpus, err);
    if (status == SG_OK) status = sg_corpus_next(w->corpus, &w->text, err);
    return status;
}

// ---- patches and traces -------------------------------------------------------------------------

static sg_status scope_patch(scope_work *w, sg_error *err)
{
    sg_patch_options o = sg_patch_options_default();
    o.facts = scope.facts;
    o.tokenizer = w->tokenizer;
    o.pairs = scope.pairs;
    o.seed = (uint64_t)scope.seed;
    o.model = scope.model;
    o.command = w->patch_command;
    o.progress = scope_progress;
    o.user = w;
    scope_begin(w, "patch", "runs");
    sg_status status = sg_probe_patch(w->one[0].model, &o, &w->patch, err);
    cli_progress_end(&w->bar);
    return status;
}

static sg_status scope_trace_one(scope_work *w, sg_error *err)
{
    sg_trace_options o = sg_trace_options_default();
    o.prompt = scope.prompt;
    o.prompt_bytes = strlen(scope.prompt);
    o.tokenizer = w->tokenizer;
    o.answer = scope.answer;
    o.against = scope.against;
    o.max_nodes = 250; // more than that nobody sees
    o.progress = scope_progress;
    o.user = w;
    scope_begin(w, "trace", "layers");
    sg_status status = sg_trace_new(w->one[0].model, &o, &w->trace, err);
    cli_progress_end(&w->bar);
    return status;
}

// ---- the page -----------------------------------------------------------------------------------

static sg_status scope_page(scope_work *w, sg_scope_info *info, sg_error *err)
{
    sg_scope_model models[2] = {{0}};
    const sg_scope_trace trace = {
        .trace = w->trace, .prompt = scope.prompt, .command = w->trace_command};
    sg_scope_options o = sg_scope_options_default();
    for (size_t i = 0; i < w->count; i++)
        models[i] = (sg_scope_model){.record = w->one[i].record,
                                     .model = w->one[i].model,
                                     .name = w->one[i].name,
                                     .path = w->one[i].path,
                                     .records = w->one[i].kept ? w->one[i].file : NULL};
    o.path = scope.out;
    o.force = scope.force;
    o.models = models;
    o.model_count = w->count;
    o.maps = scope.maps;
    o.map_tokens = scope.map_tokens;
    o.seed = (uint64_t)scope.seed;
    o.max_bytes = scope.max_bytes;
    o.patch = w->patch.items != NULL ? &w->patch : NULL;
    o.facts = scope.facts;
    o.patch_command = w->patch_command;
    o.traces = &trace;
    o.trace_count = w->trace != NULL;
    o.source = scope.data != NULL ? scope.data : scope.text;
    o.command = w->command;
    o.part = scope_part;
    o.progress = scope_progress;
    o.user = w;
    scope_begin(w, "page", NULL);
    sg_status status = sg_scope_write(w->context, &o, info, err);
    cli_progress_end(&w->bar);
    return status;
}

static int scope_report(const cli_args *args, const sg_scope_info *info)
{
    char bytes[32];
    json_t *left_out = json_array();
    for (const char *at = info->left_out; at != NULL && *at != '\0';) {
        const size_t length = strcspn(at, "\n");
        cli_note(args, "%.*s", (int)length, at);
        json_array_append_new(left_out, json_stringn(at, length));
        at += length + (at[length] != '\0');
    }
    cli_short_number(bytes, sizeof bytes, (double)info->bytes);
    cli_note(args, "%lld tokens, %lld channels, %lld maps, %sB: %s", (long long)info->tokens,
             (long long)info->channels, (long long)info->maps, bytes, scope.out);
    if (args->json)
        return cli_print_json(
            args, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "out", scope.out,
                            "bytes", (json_int_t)info->bytes, "tokens", (json_int_t)info->tokens,
                            "sequences", (json_int_t)info->sequences, "channels",
                            (json_int_t)info->channels, "channels_left_out",
                            (json_int_t)info->channels_left_out, "maps", (json_int_t)info->maps,
                            "traces", (json_int_t)info->traces, "patch_rows",
                            (json_int_t)info->patch_rows, "left_out", left_out));
    json_decref(left_out);
    return CLI_DONE;
}

static sg_status scope_work_run(scope_work *w, sg_scope_info *info, sg_error *err)
{
    char folder[CLI_PATH];
    sg_status status = scope_models(w, folder, err);
    if (status == SG_OK) status = scope_read(w, folder, err);
    if (status == SG_OK) status = scope_records(w, err);
    if (status == SG_OK && scope.facts != NULL) status = scope_patch(w, err);
    if (status == SG_OK && scope.prompt != NULL) status = scope_trace_one(w, err);
    return status == SG_OK ? scope_page(w, info, err) : status;
}

static void scope_work_free(scope_work *w)
{
    for (size_t i = 0; i < w->count; i++)
        scope_clear(&w->one[i]);
    for (size_t i = 0; i < w->count; i++)
        sg_model_free(w->one[i].model);
    sg_trace_free(w->trace);
    sg_buffer_free(w->patch.items);
    sg_corpus_close(w->corpus);
    sg_data_free(w->data);
    sg_tokenizer_free(w->tokenizer);
    sg_context_free(w->context);
    free(w->command);
    free(w->record_command);
    free(w->patch_command);
    free(w->trace_command);
}

static int scope_run(const cli_args *args)
{
    sg_error err = {0};
    sg_scope_info info = {0};
    scope_work w = {.args = args};
    if ((scope.data != NULL) == (scope.text != NULL))
        return cli_wrong(args, "found %s, expected one of --data and --text",
                         scope.data == NULL ? "none" : "both");
    if (scope.data == NULL && cli_given(args, "split"))
        return cli_wrong(args, "--split: goes with --data only");
    if (scope.data != NULL && cli_given(args, "context"))
        return cli_wrong(args, "--context: goes with --text only");
    if (scope.prompt == NULL && (scope.answer != NULL || scope.against != NULL))
        return cli_wrong(args, "--%s: goes with --prompt only",
                         scope.answer != NULL ? "answer" : "against");
    if (scope.facts == NULL && cli_given(args, "pairs"))
        return cli_wrong(args, "--pairs: goes with --facts only");
    cli_catch_signals();
    sg_status status = cli_context_new(args, &w.context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    scope_commands(&w);
    status = scope_work_run(&w, &info, &err);
    scope_work_free(&w);
    if (status == SG_ERR_STOPPED) snprintf(err.message, sizeof err.message, "stopped; no page");
    const int code = status == SG_OK ? scope_report(args, &info) : cli_fail(args, status, &err);
    sg_buffer_free(info.left_out);
    return code;
}

const cli_command cli_cmd_scope = {
    .name = "scope",
    .summary = "write one page, for a browser, that shows what is inside a model",
    .usage = "--model DIR (--data DIR | --text FILE) --out FILE.html [options]",
    .about =
        "The page shows the text coloured by neurons, circuits or surprise; of each token its "
        "neurons, what they read and write, its nearest gates and the model's predictions; a map "
        "of the gates; how evenly neurons are used and which fire together; with --facts what "
        "exchanging gates does to answers, beside controls; with --prompt the trace of an answer. "
        "Every view has an address of its own, and copies as a query or a command.\n"
        "\n"
        "It is one file that asks nothing of any host. Where it would be larger than --max-bytes, "
        "channels are left out, which the page and this command say. Scores and activations on it "
        "are rounded to 63 and 31 steps; the record (--records) has them in full.",
    .options = scope_options,
    .example = "sgatlin scope --model run --data data --out scope.html --beside untrained\n"
               "sgatlin scope --model run --text t.txt --out s.html --prompt 'The lake was'",
    .run = scope_run,
};
