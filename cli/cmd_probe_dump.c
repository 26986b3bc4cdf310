// sgatlin probe dump: values of points into .npy files.
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_probe.h"

static struct {
    const char *model, *adapter, *points, *layers, *out;
    const char *prompt, *text, *data, *split, *tokenizer;
    int64_t tokens, context;
    bool force;
} probe = {.split = "val"};

static const cli_option dump_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &probe.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &probe.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "points",
     .kind = CLI_STRING,
     .value = &probe.points,
     .argument = "NAME,NAME",
     .help = "names of points (probe points lists them); * stands for any text",
     .required = true},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &probe.layers,
     .argument = "LIST",
     .shown = "all",
     .help = "of the points in layers those of these alone: 0,2-4; layers are from 0"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &probe.out,
     .argument = "PATH",
     .help = "where to: of one name without * a file, X.npy, else a folder",
     .required = true},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &probe.force,
     .help = "replace a file that is there; write into a folder that holds files, replacing a dump "
             "in it"},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &probe.tokens,
     .argument = "N",
     .shown = "all",
     .help = "read the first N tokens only",
     .low = 1,
     .high = 1e15},
    {.name = "", .kind = CLI_HEADING, .help = "What the model reads, one of"},
    {.name = "prompt",
     .kind = CLI_STRING,
     .value = &probe.prompt,
     .argument = "TEXT",
     .shown = "",
     .help = "a text, begun as generate begins it"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &probe.text,
     .argument = "FILE",
     .shown = "",
     .help = "the text in a file; - is standard input"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &probe.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data, row by row: the inputs of training"},
    {.name = "", .kind = CLI_HEADING, .help = "With --prompt and --text"},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &probe.context,
     .argument = "N",
     .shown = "the model's longest sequence, at most 2048",
     .help = "a longer text is cut into sequences of N tokens, which know nothing of each other",
     .low = 1,
     .high = 1e9},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &probe.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    CLI_BAD_TEXT_OPTION("replace|stop",
                        "where the text is not UTF-8: replace it by U+FFFD, counted, or stop"),
    {.name = "", .kind = CLI_HEADING, .help = "With --data"},
    {.name = "split",
     .kind = CLI_STRING,
     .value = &probe.split,
     .argument = "NAME",
     .help = "train or val",
     .choices = "train|val"},
    {0},
};

typedef struct dump_talk {
    const cli_args *args;
    cli_progress bar;
} dump_talk;

static bool dump_plan(void *user, const sg_dump_info *info)
{
    const dump_talk *talk = user;
    char bytes[32];
    cli_short_number(bytes, sizeof bytes, (double)info->bytes);
    cli_note(talk->args, "%lld row%s of %lld point%s, %sB in %lld file%s: %s",
             (long long)info->rows, info->rows == 1 ? "" : "s", (long long)info->points,
             info->points == 1 ? "" : "s", bytes, (long long)info->files,
             info->files == 1 ? "" : "s", probe.out);
    return !cli_stop_requested();
}

static bool dump_progress(void *user, int64_t done, int64_t total)
{
    dump_talk *talk = user;
    cli_progress_update(&talk->bar, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_status dump_write(const cli_args *args, sg_model *model, sg_dump_options *o,
                            sg_dump_info *info, sg_error *err)
{
    dump_talk talk = {.args = args};
    char *command = cli_command_line(args);
    o->points = probe.points;
    o->layers = probe.layers;
    o->path = probe.out;
    o->force = probe.force;
    o->max_tokens = probe.tokens;
    o->model = probe.model;
    o->command = command;
    o->plan = dump_plan;
    o->progress = dump_progress;
    o->user = &talk;
    cli_progress_begin(&talk.bar, args, "dump", "tok");
    sg_status status = sg_probe_dump(model, o, info, err);
    cli_progress_end(&talk.bar);
    free(command);
    return status;
}

// --data: the ids must be the model's.
static sg_status dump_data(const cli_args *args, sg_context *context, sg_model *model,
                           const char *folder, sg_dump_info *info, sg_error *err)
{
    sg_data *data = NULL;
    sg_dump_options o = sg_dump_options_default();
    sg_status status = cli_data_check(args, context, NULL, folder, probe.data, err);
    if (status == SG_OK) status = sg_data_open(probe.data, SG_VERIFY_AUTO, &data, err);
    o.data = data;
    o.split = strcmp(probe.split, "val") == 0 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
    if (status == SG_OK) status = dump_write(args, model, &o, info, err);
    sg_data_free(data);
    return status;
}

// --prompt and --text.
static sg_status dump_text(const cli_args *args, sg_model *model, const char *folder,
                           sg_dump_info *info, sg_error *err)
{
    sg_corpus *corpus = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_text_counts counts = {0};
    sg_document text = {.text = probe.prompt, .bytes = probe.prompt ? strlen(probe.prompt) : 0};
    sg_dump_options o = sg_dump_options_default();
    sg_status status = cli_tokenizer_open(probe.tokenizer, folder, &tokenizer, err);
    if (status == SG_OK && probe.text != NULL)
        status = cli_text_open(probe.text, false, &corpus, err);
    if (status == SG_OK && probe.text != NULL) status = sg_corpus_next(corpus, &text, err);
    o.text = text.text;
    o.text_bytes = text.bytes;
    o.tokenizer = tokenizer;
    o.context = probe.context;
    if (status == SG_OK) status = dump_write(args, model, &o, info, err);
    if (status == SG_OK && corpus != NULL) counts = sg_corpus_counts(corpus);
    if (status == SG_OK) {
        counts.replaced += info->replaced;
        cli_reading_warn(args, &counts);
        cli_lost_warn(args, probe.text ? "text" : "prompt", info->lost_bytes, (int64_t)text.bytes);
    }
    sg_corpus_close(corpus);
    sg_tokenizer_free(tokenizer);
    return status;
}

static int dump_report(const cli_args *args, const sg_dump_info *info)
{
    if (args->json)
        return cli_print_json(
            args, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "out", probe.out, "rows",
                            (json_int_t)info->rows, "sequences", (json_int_t)info->sequences,
                            "length", (json_int_t)info->length, "points", (json_int_t)info->points,
                            "files", (json_int_t)info->files, "bytes", (json_int_t)info->bytes,
                            "lost_bytes", (json_int_t)info->lost_bytes));
    return CLI_DONE;
}

// An option given that what is read does not have; NULL: none.
static const char *dump_stray(const cli_args *args)
{
    static const char *const of_text[] = {"context", "tokenizer", "bad-text", NULL};
    static const char *const of_data[] = {"split", NULL};
    const char *const *name = probe.data != NULL ? of_text : of_data;
    while (*name != NULL && !cli_given(args, *name))
        name++;
    return *name;
}

static int dump_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_dump_info info = {0};
    char folder[CLI_PATH];
    const int sources = (probe.prompt != NULL) + (probe.text != NULL) + (probe.data != NULL);
    if (sources != 1)
        return cli_wrong(args, "found %s, expected one of --prompt, --text and --data",
                         sources == 0 ? "none" : "several");
    if (dump_stray(args) != NULL)
        return cli_wrong(args,
                         probe.data != NULL ? "--%s: goes with --prompt and --text only"
                                            : "--%s: goes with --data only",
                         dump_stray(args));
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, probe.model, "stored", &model, folder, &err);
    if (status == SG_OK) status = cli_model_adapt(context, probe.adapter, model, &err);
    if (status == SG_OK)
        status = probe.data != NULL ? dump_data(args, context, model, folder, &info, &err)
                                    : dump_text(args, model, folder, &info, &err);
    sg_model_free(model);
    sg_context_free(context);
    return status == SG_OK ? dump_report(args, &info) : cli_fail(args, status, &err);
}

const cli_command cli_cmd_probe_dump = {
    .name = "probe dump",
    .summary = "write what is at points of a model into .npy files",
    .usage = "--model DIR --points NAME,NAME (--prompt TEXT | --text FILE | --data DIR) --out PATH "
             "[options]",
    .about =
        "Row r of each array is token r that the model read. Shapes are those of probe points; "
        "keys of hook_pattern are as many as a sequence has tokens, with 0 behind the row's own "
        "position. Values are float32, ids int32.\n"
        "\n"
        "A folder gets NAME.npy for each point, tokens.npy, the ids that were read, and "
        "points.json, which says what is in it. Rows are written as they come: a dump may be "
        "larger than memory. What is stopped leaves nothing.",
    .options = dump_options,
    .example = "sgatlin probe dump --model run --points hook_embed --prompt Once --out x.npy\n"
               "sgatlin probe dump --model run --points '*hook_gate_*' --text t.txt --out ids",
    .run = dump_run,
};
