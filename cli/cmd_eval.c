// sgatlin eval: loss and perplexity of a model on packed data, or on a text.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/computing.h"
#include "cli/reading.h"
#include "sgatlin_train.h"

static struct {
    const char *recipe, *model, *adapter, *data, *split, *text, *tokenizer, *weights;
    int64_t batch_size, micro_batch, batches, context, stride, max_tokens;
    bool usage, per_token;
    bool force, other; // other: the data are of another tokenizer, and that was allowed
    const sg_context *processor;
    sg_compute_kind compute, logits;
} eval = {.split = "val", .weights = "stored"};

static const cli_option options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &eval.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &eval.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &eval.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data"},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &eval.text,
     .argument = "FILE",
     .shown = "",
     .help = "in place of --data a text, read by a sliding window; - is standard input"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &eval.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin: what cuts the "
             "text, and what packed data must be of"},
    CLI_COMPUTING_OPTIONS(""),
    {.name = "per-token",
     .kind = CLI_FLAG,
     .value = &eval.per_token,
     .help =
         "first a line for each token predicted: its position, id, log-probability and spelling; "
         "with --json an object a line, the result last"},
    {.name = "", .kind = CLI_HEADING, .help = "With --data"},
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
    {.name = "recipe",
     .kind = CLI_STRING,
     .value = &eval.recipe,
     .argument = "NAME",
     .shown = "",
     .help = "published: as the published runs were evaluated, a model that was trained by train "
             "--recipe published: on documents packed in mode pad, in batches of its training. "
             "perplexity_batch_mean is the figure",
     .choices = "published"},
    {.name = "force-tokenizer",
     .kind = CLI_FLAG,
     .value = &eval.force,
     .help = "evaluate on data that were packed with another tokenizer than the model's too: what "
             "comes out means nothing unless the ids mean the same"},
    {.name = "", .kind = CLI_HEADING, .help = "With --text"},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &eval.context,
     .argument = "N",
     .shown = "the model's longest sequence, at most 2048",
     .help = "tokens of a window",
     .low = 2,
     .high = 1e9},
    {.name = "stride",
     .kind = CLI_COUNT,
     .value = &eval.stride,
     .argument = "N",
     .shown = "half of --context",
     .help = "tokens from one window to the next, at most --context; fewer show the model more of "
             "what came before",
     .low = 1,
     .high = 1e9},
    {.name = "max-tokens",
     .kind = CLI_COUNT,
     .value = &eval.max_tokens,
     .argument = "N",
     .shown = "all",
     .help = "read the first N tokens only",
     .low = 2,
     .high = 1e15},
    CLI_BAD_TEXT_OPTION("replace|stop",
                        "where the text is not UTF-8: replace it by U+FFFD, counted, or stop"),
    {.name = "weights",
     .kind = CLI_STRING,
     .value = &eval.weights,
     .argument = "TYPE",
     .help = "what matrices are stored in once the model is open: as in its file, or converted to "
             "f32, bf16 or int8",
     .choices = "stored|f32|bf16|int8"},
    {0}};

// What the library begins with is the default here.
static const cli_option *eval_table(void)
{
    const sg_eval_options o = sg_eval_options_default();
    if (eval.batch_size == 0) eval.batch_size = o.batch_size;
    if (eval.micro_batch == 0) eval.micro_batch = o.micro_batch;
    return options;
}

static bool eval_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// The published evaluation: each document cut to the first tokens of a sequence, batches as in
// training, of which the last is left out where it is not full (perplexity_batch_mean does so).
static sg_status eval_published(sg_eval_options *o, const sg_data *data, sg_error *err)
{
    sg_train_options trained;
    if (eval.recipe == NULL) return SG_OK;
    sg_status status = sg_train_read_options(eval.model, &trained, err);
    if (status != SG_OK) return status;
    const sg_data_info *info = sg_data_get_info(data);
    if (trained.recipe[0] == '\0' || info->mode != SG_PACK_PAD ||
        info->seq_len != trained.config.max_position_embeddings) {
        snprintf(err->message, sizeof err->message,
                 trained.recipe[0] == '\0'
                     ? "recipe: %.200s: was not trained by the published recipe (train --recipe)"
                     : "recipe: %.200s: expected data in mode pad, of sequences as in training "
                       "(data pack --mode pad)",
                 trained.recipe[0] == '\0' ? eval.model : eval.data);
        return err->code = SG_ERR_MISMATCH;
    }
    o->batch_size = trained.batch_size;
    return SG_OK;
}

static sg_status eval_tokenizer(const cli_args *args, sg_context *context, const char *folder,
                                sg_error *err)
{
    sg_status status = cli_data_check(args, context, eval.tokenizer, folder, eval.data, err);
    if (status != SG_ERR_MISMATCH || !eval.force) return status;
    cli_warn(args, "%s: the figures below mean nothing to this model", err->message);
    eval.other = true;
    return SG_OK;
}

// ---- each token -------------------------------------------------------------------------------

typedef struct eval_tokens {
    const cli_args *args;
    const sg_tokenizer *tokenizer; // NULL: none, ids alone are told
    bool failed;
} eval_tokens;

static bool eval_token(void *user, int64_t position, int32_t id, double logprob)
{
    eval_tokens *t = user;
    const char *text = t->tokenizer == NULL ? NULL : sg_tokenizer_token_text(t->tokenizer, id);
    cli_progress_hide();
    if (t->args->json)
        t->failed = cli_print_json_line(t->args, json_pack("{s:I, s:i, s:s?, s:o}", "position",
                                                           (json_int_t)position, "id", (int)id,
                                                           "token", text, "logprob",
                                                           cli_json_number(logprob))) != CLI_DONE;
    else
        printf("%10lld %8d %10.4f  %s\n", (long long)position, (int)id,
               cli_unsigned_zero(logprob, 4), text == NULL ? "" : text);
    return !t->failed && !ferror(stdout) && !cli_stop_requested();
}

static void eval_tokens_head(const cli_args *args)
{
    if (eval.per_token && !args->json) printf("  position       id    logprob  token\n");
}

// *usage: free; NULL where nobody asks.
static sg_status eval_model(const cli_args *args, sg_context *context, sg_eval_result *result,
                            sg_usage **usage, int64_t *lost, sg_error *err)
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
    if (status == SG_OK) status = cli_model_adapt(context, eval.adapter, model, err);
    if (status == SG_OK) status = cli_computing_set(args, context, model, err);
    if (status == SG_OK && (eval.usage || args->json)) {
        size_t layers = (size_t)sg_model_config(model)->num_hidden_layers;
        o.usage = *usage = calloc(layers, sizeof **usage);
        if (*usage == NULL) {
            snprintf(err->message, sizeof err->message, "out of memory for the usage of layers");
            status = err->code = SG_ERR_MEMORY;
        }
    }
    if (status == SG_OK) status = eval_tokenizer(args, context, folder, err);
    if (status == SG_OK) status = sg_data_open(eval.data, SG_VERIFY_AUTO, &data, err);
    if (status == SG_OK) status = eval_published(&o, data, err);
    eval_tokens tokens = {.args = args};
    sg_tokenizer *tokenizer = NULL;
    if (status == SG_OK && eval.per_token) {
        sg_error ignored;
        if (sg_tokenizer_open(folder, &tokenizer, &ignored) != SG_OK)
            cli_warn(args, "tokens are told by id alone: %s", ignored.message);
        tokens.tokenizer = tokenizer;
        o.token = eval_token;
        o.token_user = &tokens;
        eval_tokens_head(args);
    }
    if (status == SG_OK) {
        cli_progress_begin(&bar, args, "eval", "seq");
        status = sg_evaluate(model, data, &o, result, err);
        cli_progress_end(&bar);
    }
    sg_tokenizer_free(tokenizer);
    if (status == SG_OK) {
        const sg_data_info *info = sg_data_get_info(data);
        *lost = info->lost_bytes;
        cli_lost_warn(args, "text that the data was packed from", *lost, info->text_bytes);
    }
    sg_data_free(data);
    sg_model_free(model);
    return status;
}

// The result: as the last line behind those of tokens.
static int eval_print(const cli_args *args, json_t *value)
{
    return eval.per_token ? cli_print_json_line(args, value) : cli_print_json(args, value);
}

static void eval_computing_json(json_t *object)
{
    cli_computing_json(object, eval.processor, eval.compute, eval.logits);
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

static int eval_report(const cli_args *args, const sg_eval_result *r, const sg_usage *usage,
                       int64_t lost)
{
    if (args->json) {
        json_t *object = json_pack(
            "{s:s, s:f, s:o, s:o, s:f, s:I, s:I, s:I, s:o}", "split", eval.split, "loss", r->loss,
            "perplexity", cli_json_number(r->perplexity), "perplexity_batch_mean",
            cli_json_number(r->perplexity_batch_mean), "accuracy", r->accuracy, "tokens",
            (json_int_t)r->tokens, "batches", (json_int_t)r->batches, "lost_bytes",
            (json_int_t)lost, "usage", eval_usage_json(usage, r->usage_count));
        eval_computing_json(object);
        if (object != NULL && eval.other)
            json_object_set_new(object, "other_tokenizer", json_true());
        return eval_print(args, object);
    }
    printf("loss                   %.4f\n"
           "perplexity             %.4f\n"
           "perplexity_batch_mean  %.4f\n"
           "accuracy               %.4f\n"
           "tokens                 %lld\n",
           r->loss, r->perplexity, r->perplexity_batch_mean, r->accuracy, (long long)r->tokens);
    cli_computing_print("products               ", eval.processor, eval.compute, eval.logits);
    if (eval.usage) eval_usage_text(usage, r->usage_count);
    return CLI_DONE;
}

// ---- a text -----------------------------------------------------------------------------------

// What of the text was not evaluated as it stood.
static void eval_text_warn(const cli_args *args, const sg_corpus *corpus, const sg_document *text,
                           const sg_eval_text_result *r)
{
    const sg_text_counts counts = sg_corpus_counts(corpus);
    cli_reading_warn(args, &counts);
    cli_lost_warn(args, "text", r->lost_bytes, (int64_t)text->bytes);
    if (isnan(r->bits_per_byte))
        cli_warn(args,
                 "no bits_per_byte: which bytes of the first --max-tokens are lost is not known");
    else if (r->lost_bytes > 0)
        cli_note(args, "bits_per_byte is charged for lost bytes: 8 bits each, and their places");
    else if (!r->reversible)
        cli_note(args,
                 "the tokenizer changes this text (its normal form, its case, spaces): "
                 "bits_per_byte is over %lld bytes",
                 (long long)r->bytes);
}

static sg_status eval_text(const cli_args *args, sg_context *context, sg_eval_text_result *result,
                           sg_error *err)
{
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    cli_progress bar;
    char folder[CLI_PATH];
    sg_corpus *corpus = NULL;
    sg_document text = {0}; // the whole file
    sg_eval_text_options o = sg_eval_text_options_default();
    o.context = eval.context;
    o.stride = eval.stride;
    o.max_tokens = eval.max_tokens;
    o.progress = eval_progress;
    o.progress_user = &bar;
    sg_status status = cli_text_open(eval.text, false, &corpus, err);
    if (status == SG_OK) status = sg_corpus_next(corpus, &text, err);
    if (status == SG_OK)
        status = cli_model_open(context, eval.model, eval.weights, &model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(context, eval.adapter, model, err);
    if (status == SG_OK) status = cli_computing_set(args, context, model, err);
    if (status == SG_OK) status = cli_tokenizer_open(eval.tokenizer, folder, &tokenizer, err);
    eval_tokens tokens = {.args = args, .tokenizer = tokenizer};
    if (status == SG_OK && eval.per_token) {
        o.token = eval_token;
        o.token_user = &tokens;
        eval_tokens_head(args);
    }
    if (status == SG_OK) {
        cli_progress_begin(&bar, args, "eval", "tok");
        status = sg_evaluate_text(model, tokenizer, text.text, text.bytes, &o, result, err);
        cli_progress_end(&bar);
    }
    if (status == SG_OK) eval_text_warn(args, corpus, &text, result);
    sg_corpus_close(corpus);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    return status;
}

static int eval_text_report(const cli_args *args, const sg_eval_text_result *r)
{
    if (args->json) {
        json_t *object = json_pack(
            "{s:s, s:f, s:o, s:f, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "text", eval.text,
            "loss", r->loss, "perplexity", cli_json_number(r->perplexity), "accuracy", r->accuracy,
            "bits_per_byte", cli_json_number(r->bits_per_byte), "tokens", (json_int_t)r->tokens,
            "windows", (json_int_t)r->windows, "bytes", (json_int_t)r->bytes, "context",
            (json_int_t)r->context, "stride", (json_int_t)r->stride, "lost_bytes",
            (json_int_t)r->lost_bytes, "reversible", r->reversible);
        eval_computing_json(object);
        return eval_print(args, object);
    }
    char bits[32] = "none";
    if (!isnan(r->bits_per_byte)) snprintf(bits, sizeof bits, "%.4f", r->bits_per_byte);
    printf("loss           %.4f\n"
           "perplexity     %.4f\n"
           "accuracy       %.4f\n"
           "bits_per_byte  %s\n"
           "tokens         %lld in %lld windows of %lld, %lld apart\n",
           r->loss, r->perplexity, r->accuracy, bits, (long long)r->tokens, (long long)r->windows,
           (long long)r->context, (long long)r->stride);
    cli_computing_print("products       ", eval.processor, eval.compute, eval.logits);
    return CLI_DONE;
}

// An option given that the other kind of evaluation has; NULL: none.
static const char *eval_stray(const cli_args *args)
{
    static const char *const of_data[] = {"split", "batch-size",      "micro-batch", "batches",
                                          "usage", "force-tokenizer", "recipe",      NULL};
    static const char *const of_text[] = {"context", "stride",   "max-tokens",
                                          "weights", "bad-text", NULL};
    const char *const *name = eval.text != NULL ? of_data : of_text;
    while (*name != NULL && !cli_given(args, *name))
        name++;
    return *name;
}

static int eval_run(const cli_args *args)
{
    sg_error err = {0};
    sg_usage *usage = NULL;
    sg_context *context;
    sg_eval_result r;
    sg_eval_text_result of_text;
    int64_t lost = 0;
    if ((eval.data == NULL) == (eval.text == NULL))
        return cli_wrong(args, "found %s, expected one of --data and --text",
                         eval.data == NULL ? "none" : "both");
    if (eval_stray(args) != NULL)
        return cli_wrong(args, "--%s: goes with --%s only", eval_stray(args),
                         eval.text != NULL ? "data" : "text");
    if (eval.recipe != NULL && (cli_given(args, "batch-size") || cli_given(args, "batches")))
        return cli_wrong(args, "--%s cannot be given with --recipe published, which says it",
                         cli_given(args, "batches") ? "batches" : "batch-size");
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    eval.processor = context;
    cli_computing_kinds(&eval.compute, &eval.logits, &err);
    status = eval.text != NULL ? eval_text(args, context, &of_text, &err)
                               : eval_model(args, context, &r, &usage, &lost, &err);
    sg_context_free(context);
    int code = status != SG_OK     ? cli_fail(args, status, &err)
               : eval.text != NULL ? eval_text_report(args, &of_text)
                                   : eval_report(args, &r, usage, lost);
    free(usage);
    return code;
}

const cli_command cli_cmd_eval = {
    .name = "eval",
    .summary = "loss and perplexity of a model on packed data or a text",
    .usage = "--model DIR (--data DIR | --text FILE) [options]",
    .about =
        "perplexity is exp(mean loss over all tokens); perplexity_batch_mean is the mean over "
        "full batches of exp(batch loss), the published metric. Of the same tokens it is "
        "never smaller; a last batch that is not full counts for perplexity only.\n"
        "\n"
        "Of each sparse layer --usage tells how its blocks (experts, neurons) were selected: the "
        "share used at all, the entropy of the selections over that of an even use, their Gini "
        "coefficient, and the selections of the most used block over the mean.\n"
        "\n"
        "--text reads windows of --context tokens that begin --stride tokens apart and counts, of "
        "each, the tokens that no window before it had: Hugging Face's way for models of a fixed "
        "length. Perplexities compare between models of one tokenizer, bits_per_byte between all: "
        "for "
        "bytes that have no token it is charged 8 bits each and the bits that say where they "
        "stand.",
    .table = eval_table,
    .example = "sgatlin eval --model runs/first --data data --split val --json\n"
               "sgatlin eval --model runs/first --text book.txt --context 1024 --stride 512",
    .run = eval_run,
};
