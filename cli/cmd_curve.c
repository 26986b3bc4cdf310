// sgatlin curve: what sparse models lose on a text, by how much of their layers they read.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/reading.h"
#include "sgatlin_bench.h"
#include "sgatlin_sparsify.h"

static struct {
    const char *text, *tokenizer, *active, *thresholds, *csv, *svg, *html;
    bool random, oracle, speed, force;
    int64_t context, max_tokens, resamples, seed;
} curve = {.resamples = 2000, .seed = 1};

static const cli_option options[] = {
    {.name = "text",
     .kind = CLI_STRING,
     .value = &curve.text,
     .argument = "FILE",
     .shown = "",
     .help = "what is read; - is standard input",
     .required = true},
    {.name = "active",
     .kind = CLI_STRING,
     .value = &curve.active,
     .argument = "LIST",
     .shown = "the model's",
     .help = "shares of the blocks that a token reads, of models that select top_k: 0.25,0.5,1; "
             "left out for a model whose shared blocks alone are as many or more"},
    {.name = "thresholds",
     .kind = CLI_STRING,
     .value = &curve.thresholds,
     .argument = "LIST",
     .shown = "the model's",
     .help = "ffn_threshold, of models that select by one: 0.1,0.2"},
    {.name = "random",
     .kind = CLI_FLAG,
     .value = &curve.random,
     .help = "beside each point of a sparse model the control: as many blocks, drawn at random"},
    {.name = "oracle",
     .kind = CLI_FLAG,
     .value = &curve.oracle,
     .help = "likewise the blocks that a router would choose which knew what they do: those with "
             "the largest sums of positive activations, and those that add the longest vectors"},
    {.name = "speed",
     .kind = CLI_FLAG,
     .value = &curve.speed,
     .help = "also decode, each point and the first model in turns, and tell the ratio of speeds"},
    {.name = "csv",
     .kind = CLI_STRING,
     .value = &curve.csv,
     .argument = "FILE",
     .shown = "",
     .help = "write the points as a table, numbers in full"},
    {.name = "svg",
     .kind = CLI_STRING,
     .value = &curve.svg,
     .argument = "FILE",
     .shown = "",
     .help = "draw perplexity by FLOPs and, with --speed, by speed"},
    {.name = "html",
     .kind = CLI_STRING,
     .value = &curve.html,
     .argument = "FILE",
     .shown = "",
     .help = "the drawing and the table as one page for a browser"},
    {.name = "force", .kind = CLI_FLAG, .value = &curve.force, .help = "replace what is there"},
    {.name = "", .kind = CLI_HEADING, .help = "How"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &curve.tokenizer,
     .argument = "DIR",
     .shown = "each model's",
     .help = "what cuts the text"},
    {.name = "context",
     .kind = CLI_COUNT,
     .value = &curve.context,
     .argument = "N",
     .shown = "the longest the model can take, at most 512",
     .help = "tokens of a window; a window knows nothing of those before it",
     .low = 2,
     .high = 1 << 24},
    {.name = "max-tokens",
     .kind = CLI_COUNT,
     .value = &curve.max_tokens,
     .argument = "N",
     .shown = "all",
     .help = "of the text, from its beginning",
     .low = 2,
     .high = 1e15},
    CLI_BAD_TEXT_OPTION("replace|stop", "text that is not UTF-8: replace it by U+FFFD, or stop"),
    {.name = "resamples",
     .kind = CLI_COUNT,
     .value = &curve.resamples,
     .argument = "N",
     .help = "of the windows, for intervals",
     .low = 100,
     .high = 1e5},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &curve.seed,
     .argument = "N",
     .help = "of resamples and of random blocks",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0}};

enum { CURVE_SETTINGS = 64, CURVE_FEW_WINDOWS = 20 };

typedef struct curve_list {
    double values[CURVE_SETTINGS];
    size_t count;
} curve_list;

typedef struct curve_talk {
    const cli_args *args;
    sg_document text;
    curve_list active, thresholds;
    curve_list left_out;     // shares that the model that is read cannot be at
    const char *path, *name; // of the model that is read
    sg_model *first, *model; // the first one, at its own setting, and that which is read
    const sg_tokenizer *tokenizer, *first_tokenizer;
    sg_sparsify_point *points;
    size_t count;
    double *base; // (base_count) losses of windows of the first point
    int64_t base_count;
    sg_error err; // of what is done beside reading
    int code;     // of results that could not be told
    int failed;   // of the first model that could not be read
} curve_talk;

// ---- lists of numbers ---------------------------------------------------------------------------

static int curve_numbers(const cli_args *args, const char *option, const char *text, bool shares,
                         curve_list *list)
{
    for (const char *at = text; at != NULL; at = *at != '\0' ? at + 1 : NULL) {
        char word[64];
        double value = 0;
        const size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", length < sizeof word ? (int)length : 0, at);
        if (!cli_read_double(word, &value) || (shares && !(value > 0 && value <= 1)))
            return cli_wrong(args, "--%s: found '%s', expected numbers%s, as 0.25,0.5", option,
                             word, shares ? " above 0, at most 1" : "");
        if (list->count == CURVE_SETTINGS)
            return cli_wrong(args, "--%s: found more than %d numbers, expected at most that many",
                             option, CURVE_SETTINGS);
        list->values[list->count++] = value;
        at += length;
        if (*at == '\0') break;
    }
    return CLI_DONE;
}

// ---- results ------------------------------------------------------------------------------------

static void curve_interval_json(json_t *object, const char *name, double value, double low,
                                double high)
{
    char key[64];
    json_object_set_new(object, name, cli_json_number(value));
    snprintf(key, sizeof key, "%s_low", name);
    json_object_set_new(object, key, cli_json_number(low));
    snprintf(key, sizeof key, "%s_high", name);
    json_object_set_new(object, key, cli_json_number(high));
}

static int curve_json(const curve_talk *t, const sg_sparsify_point *p)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:o, s:o, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "model", t->path,
        "family", p->family, "select", p->select, "control", sg_sparsify_control_name(p->control),
        "active", cli_json_number(p->active), "threshold", cli_json_number(p->threshold), "blocks",
        p->blocks, "read", p->read, "flops", p->flops, "router", p->router, "layer_flops",
        p->layer_flops, "tokens", (json_int_t)p->tokens, "windows", (json_int_t)p->windows,
        "lost_bytes", (json_int_t)p->lost_bytes);
    if (object != NULL) {
        curve_interval_json(object, "perplexity", p->perplexity, p->perplexity_low,
                            p->perplexity_high);
        curve_interval_json(object, "loss", p->loss, p->loss_low, p->loss_high);
        curve_interval_json(object, "excess", p->excess, p->excess_low, p->excess_high);
        if (curve.speed) {
            json_object_set_new(object, "tokens_per_second", cli_json_number(p->tokens_per_second));
            curve_interval_json(object, "speed", p->speed, p->speed_low, p->speed_high);
        }
    }
    return cli_print_json_line(t->args, object);
}

static void curve_setting(const sg_sparsify_point *p, char *text, size_t capacity)
{
    static const char *const words[SG_CONTROLS] = {"", ", random", ", oracle", ", by norms"};
    const char *control = words[p->control];
    if (!isnan(p->active))
        snprintf(text, capacity, "active %g%s", p->active, control);
    else if (!isnan(p->threshold))
        snprintf(text, capacity, "threshold %g%s", p->threshold, control);
    else
        snprintf(text, capacity, "as it is%s", control);
}

static void curve_head(void)
{
    printf("%-20s  %-22s  %24s  %28s  %7s %6s  %6s %6s %6s", "", "", "perplexity (95 %)",
           "excess loss (95 %)", "blocks", "read", "FLOPs", "router", "layers");
    if (curve.speed) printf("  %9s  %20s", "tokens/s", "speed (95 %)");
    printf("\n");
}

static void curve_text(const curve_talk *t, const sg_sparsify_point *p)
{
    char setting[48], perplexity[96], excess[96] = "-", speed[96] = "-", rate[32] = "-";
    if (t->count == 1) curve_head();
    curve_setting(p, setting, sizeof setting);
    snprintf(perplexity, sizeof perplexity, "%.3f (%.3f-%.3f)", p->perplexity, p->perplexity_low,
             p->perplexity_high);
    if (!isnan(p->excess))
        snprintf(excess, sizeof excess, "%.4f (%.4f to %.4f)", cli_unsigned_zero(p->excess, 4),
                 cli_unsigned_zero(p->excess_low, 4), cli_unsigned_zero(p->excess_high, 4));
    printf("%-20.20s  %-22s  %24s  %28s  %7.1f %5.1f%%  %5.1f%% %5.2f%% %5.1f%%", t->name, setting,
           perplexity, excess, p->blocks, 100 * p->read, 100 * p->flops, 100 * p->router,
           100 * p->layer_flops);
    if (curve.speed) {
        if (!isnan(p->speed))
            snprintf(speed, sizeof speed, "%.3f (%.3f-%.3f)", p->speed, p->speed_low,
                     p->speed_high);
        if (!isnan(p->tokens_per_second)) cli_short_number(rate, sizeof rate, p->tokens_per_second);
        printf("  %9s  %20s", rate, speed);
    }
    printf("\n");
    fflush(stdout);
}

// ---- one point ----------------------------------------------------------------------------------

static bool curve_speed(void *user, const sg_beside_result *r)
{
    sg_sparsify_point *p = user;
    p->tokens_per_second = r->sides[1].tokens_per_second;
    p->speed = r->ratio;
    p->speed_low = r->ratio_low;
    p->speed_high = r->ratio_high;
    return !cli_stop_requested();
}

static const double curve_seconds = 0.3; // of a speed, at least

// The point and the first model in turns, one session each.
static sg_status curve_time(curve_talk *t, sg_sparsify_point *p)
{
    sg_model *const models[] = {t->first, t->model};
    sg_beside_options o = sg_beside_options_default();
    o.what = SG_BENCH_DECODE;
    o.seconds = curve_seconds;
    o.batch_count = 1; // the first of them: one session
    o.text = t->text.text;
    o.text_bytes = t->text.bytes;
    o.tokenizers[0] = t->first_tokenizer;
    o.tokenizers[1] = t->tokenizer;
    for (int i = 0; i < 2; i++) {
        const int64_t most = sg_model_config(models[i])->max_position_embeddings - o.tokens - 1;
        if (o.context > most) o.context = most;
    }
    return sg_bench_beside(models, &o, curve_speed, p, &t->err);
}

// Losses of the first point are what excess is over.
static bool curve_keep_base(curve_talk *t, const sg_sparsify_point *p, const double *losses)
{
    t->base = malloc((size_t)p->windows * sizeof *t->base);
    if (t->base == NULL) {
        snprintf(t->err.message, sizeof t->err.message, "out of memory for windows");
        t->err.code = SG_ERR_MEMORY;
        return false;
    }
    memcpy(t->base, losses, (size_t)p->windows * sizeof *t->base);
    t->base_count = p->windows;
    return true;
}

static void curve_tell(const curve_talk *t, const sg_sparsify_point *p)
{
    const bool first = t->count == 1;
    if (first && p->windows < CURVE_FEW_WINDOWS)
        cli_note(t->args,
                 "%lld windows are few for intervals: a longer text has more, or a smaller "
                 "--context",
                 (long long)p->windows);
    if (!first && p->tokens != t->points[0].tokens)
        cli_warn(t->args, "%s: %lld tokens, of the first model %lld: perplexities do not compare",
                 t->name, (long long)p->tokens, (long long)t->points[0].tokens);
    if (first || t->points[t->count - 2].model != p->model)
        cli_lost_warn(t->args, "text", p->lost_bytes, (int64_t)t->text.bytes);
}

static bool curve_point(void *user, const sg_sparsify_point *point, const double *losses)
{
    curve_talk *t = user;
    sg_sparsify_point *grown = realloc(t->points, (t->count + 1) * sizeof *grown);
    if (grown == NULL) {
        snprintf(t->err.message, sizeof t->err.message, "out of memory for points");
        t->err.code = SG_ERR_MEMORY;
        return false;
    }
    t->points = grown;
    sg_sparsify_point *p = &t->points[t->count];
    *p = *point;
    p->model = t->name;
    if (t->count == 0 && !curve_keep_base(t, p, losses)) return false;
    if (curve.speed && p->control == SG_CONTROL_NONE && curve_time(t, p) != SG_OK) return false;
    t->count++;
    cli_progress_hide();
    curve_tell(t, p);
    if (t->args->json)
        t->code = curve_json(t, p);
    else
        curve_text(t, p);
    return t->code == CLI_DONE && !cli_stop_requested();
}

// ---- models -------------------------------------------------------------------------------------

static bool curve_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// A sparse model that none of the options moves.
static void curve_tell_still(const curve_talk *t)
{
    const sg_config *c = sg_model_config(t->model);
    const bool top_k = strcmp(c->ffn_select, "top_k") == 0;
    const bool inputs = c->trim_attention[0] != '\0' || c->trim_attention_out[0] != '\0' ||
                        c->trim_ffn[0] != '\0' || c->trim_ffn_down[0] != '\0';
    if (strcmp(c->ffn, "moefied") != 0 && !inputs) return;
    if ((top_k ? t->active.count : t->thresholds.count) > 0) return;
    cli_note(t->args, "%s selects %s: one point, as it is; --%s gives more", t->name,
             strcmp(c->ffn, "moefied") != 0 ? "inputs" : c->ffn_select,
             top_k ? "active" : "thresholds");
}

static void curve_left_out(void *user, double active, const char *why)
{
    curve_talk *t = user;
    t->left_out.values[t->left_out.count++] = active;
    cli_progress_hide();
    cli_note(t->args, "%s: --%s: left out", t->name, why);
}

static bool curve_list_has(const curve_list *list, size_t count, double value)
{
    bool has = false;
    for (size_t i = 0; i < count; i++)
        has = has || list->values[i] == value;
    return has;
}

// Settings that others before them come to the same as, and which have no point.
static void curve_tell_same(const curve_talk *t, const char *option, const curve_list *list,
                            size_t first)
{
    char same[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < list->count; i++) {
        bool found = false;
        for (size_t p = first; p < t->count; p++)
            found = found || t->points[p].active == list->values[i] ||
                    t->points[p].threshold == list->values[i];
        found = found || curve_list_has(list, i, list->values[i]) ||
                curve_list_has(&t->left_out, t->left_out.count, list->values[i]);
        if (found || used >= sizeof same) continue;
        used += (size_t)snprintf(same + used, sizeof same - used, "%s%g", used > 0 ? ", " : "",
                                 list->values[i]);
    }
    if (used > 0)
        cli_note(t->args, "%s: --%s %s: as many blocks as by others, left out", t->name, option,
                 same);
}

static sg_status curve_read(curve_talk *t, sg_error *err)
{
    const size_t before = t->count;
    cli_progress bar;
    sg_sparsify_curve_options o = sg_sparsify_curve_options_default();
    o.active = t->active.values;
    o.active_count = t->active.count;
    o.thresholds = t->thresholds.values;
    o.threshold_count = t->thresholds.count;
    o.left_out = curve_left_out;
    o.left_out_user = t;
    o.random = curve.random;
    o.oracle = curve.oracle;
    o.text = t->text.text;
    o.text_bytes = t->text.bytes;
    o.tokenizer = t->tokenizer;
    o.context = curve.context;
    o.max_tokens = curve.max_tokens;
    o.base = t->base;
    o.base_count = t->base_count;
    o.resamples = curve.resamples;
    o.seed = (uint64_t)curve.seed;
    o.progress = curve_progress;
    o.progress_user = &bar;
    t->left_out.count = 0;
    curve_tell_still(t);
    cli_progress_begin(&bar, t->args, t->name, "tok");
    const sg_status status = sg_sparsify_curve(t->model, &o, curve_point, t, err);
    cli_progress_end(&bar);
    if (status == SG_OK && t->count > before && !isnan(t->points[before].active))
        curve_tell_same(t, "active", &t->active, before);
    if (t->err.code == SG_OK) return status;
    *err = t->err;
    return err->code;
}

// Behind the last slash, unless nothing is there.
static const char *curve_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

// That of a model, or its whole path where another one has the same.
static const char *curve_name_of(const cli_args *args, int i)
{
    const char *name = curve_name(args->operands[i]);
    for (int j = 0; j < args->count; j++)
        if (j != i && strcmp(curve_name(args->operands[j]), name) == 0) return args->operands[i];
    return name;
}

static sg_status curve_model(curve_talk *t, sg_context *context, int i, sg_error *err)
{
    char folder[CLI_PATH];
    sg_tokenizer *tokenizer = NULL;
    t->path = t->args->operands[i];
    t->name = curve_name_of(t->args, i);
    t->model = NULL;
    sg_status status = cli_model_open(context, t->path, "stored", &t->model, folder, err);
    if (status == SG_OK) status = cli_tokenizer_open(curve.tokenizer, folder, &tokenizer, err);
    t->tokenizer = tokenizer;
    if (status == SG_OK) status = curve_read(t, err);
    sg_tokenizer_free(tokenizer);
    sg_model_free(t->model);
    return status;
}

// A model behind the first that cannot be read leaves the others as they are.
static sg_status curve_next(curve_talk *t, sg_context *context, int i, sg_error *err)
{
    sg_error own = {0}, named;
    const sg_status status = curve_model(t, context, i, &own);
    *err = own;
    if (status == SG_OK || i == 0 || t->err.code != SG_OK || t->code != CLI_DONE) return status;
    if (status == SG_ERR_STOPPED || status == SG_ERR_MEMORY) return status;
    named = own;
    if (strncmp(own.message, t->path, strlen(t->path)) != 0)
        snprintf(named.message, sizeof named.message, "%.100s: %.300s", t->name, own.message);
    const int code = cli_fail(t->args, status, &named);
    if (t->failed == CLI_DONE) t->failed = code;
    return SG_OK;
}

// The first model once more, for speeds: it stays at its own setting.
static sg_status curve_models(curve_talk *t, sg_context *context, sg_error *err)
{
    char folder[CLI_PATH];
    sg_tokenizer *tokenizer = NULL;
    sg_status status = SG_OK;
    if (curve.speed)
        status = cli_model_open(context, t->args->operands[0], "stored", &t->first, folder, err);
    if (curve.speed && status == SG_OK)
        status = cli_tokenizer_open(curve.tokenizer, folder, &tokenizer, err);
    t->first_tokenizer = tokenizer;
    for (int i = 0; i < t->args->count && status == SG_OK; i++)
        status = curve_next(t, context, i, err);
    sg_tokenizer_free(tokenizer);
    sg_model_free(t->first);
    return status;
}

// ---- the verb -----------------------------------------------------------------------------------

static sg_status curve_write(const curve_talk *t, sg_error *err)
{
    char *command = cli_command_line(t->args);
    const sg_sparsify_files files = {.csv = curve.csv,
                                     .svg = curve.svg,
                                     .html = curve.html,
                                     .command = command,
                                     .text = curve.text,
                                     .force = curve.force};
    const sg_status status = sg_sparsify_write(t->points, t->count, &files, err);
    free(command);
    return status;
}

static sg_status curve_all(curve_talk *t, sg_error *err)
{
    sg_context *context;
    sg_corpus *corpus = NULL;
    sg_status status = curve_write(t, err); // nothing is there: whether it could be
    if (status == SG_OK) status = cli_text_open(curve.text, false, &corpus, err);
    if (status == SG_OK) status = sg_corpus_next(corpus, &t->text, err);
    if (status == SG_OK) status = cli_context_new(t->args, &context, err);
    if (status == SG_OK) {
        const sg_text_counts counts = sg_corpus_counts(corpus);
        cli_reading_warn(t->args, &counts);
        status = curve_models(t, context, err);
        sg_context_free(context);
    }
    sg_corpus_close(corpus);
    if (t->count == 0) return status;
    // What was read is written, whatever came behind it.
    sg_error of_files = {0};
    const sg_status written = curve_write(t, &of_files);
    if (written == SG_OK) return status;
    if (status != SG_OK) cli_fail(t->args, written, &of_files);
    if (status == SG_OK) *err = of_files;
    return status != SG_OK ? status : written;
}

static int curve_run(const cli_args *args)
{
    static curve_talk talk;
    sg_error err = {0};
    talk.args = args;
    int code = CLI_DONE;
    if (curve.active != NULL)
        code = curve_numbers(args, "active", curve.active, true, &talk.active);
    if (code == CLI_DONE && curve.thresholds != NULL)
        code = curve_numbers(args, "thresholds", curve.thresholds, false, &talk.thresholds);
    if (code != CLI_DONE) return code;
    cli_catch_signals();
    const sg_status status = curve_all(&talk, &err);
    free(talk.points);
    free(talk.base);
    if (talk.code != CLI_DONE) return talk.code;
    return status == SG_OK ? talk.failed : cli_fail(args, status, &err);
}

const cli_command cli_cmd_curve = {
    .name = "curve",
    .summary = "what sparse models lose on a text, by how much they read",
    .usage = "MODEL… --text FILE [--active LIST] [--thresholds LIST] [options]",
    .about =
        "Reads the text with each model at each setting: shares of blocks (--active) or thresholds "
        "(--thresholds) of models that sparsify made, by what they select; thresholds of a model "
        "that "
        "leaves inputs out multiply its own. Any other model gives one point. Nothing is written "
        "into "
        "a model.\n"
        "\n"
        "Perplexity is exp of the mean loss. Excess loss, of all models but the first, is that "
        "over "
        "the first point, by the same windows, so that its interval is the one to judge by: give "
        "the dense model first. FLOPs "
        "are those of all feed-forward layers, routers included, over those of all their blocks; "
        "under layers the projections of attention are part of both: compare models that leave "
        "inputs out with others by these. "
        "Intervals are of windows of the text, drawn anew; those of speeds of rounds (bench "
        "--beside).",
    .options = options,
    .example = "sgatlin curve smol smol-sparse --text book.txt --active 0.5,0.75,1 --speed\n"
               "sgatlin curve smol smol-lte --text book.txt --thresholds 0.3,0.5 --csv lte.csv",
    .min_operands = 1,
    .max_operands = 32,
    .operands = "MODEL",
    .run = curve_run,
};
