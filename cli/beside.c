// Two models in turns: opened anew for each number of threads, since a context has one of them.
#include "cli/beside.h"

#include <math.h>
#include <string.h>

#include "cli/computing.h"
#include "cli/reading.h"

typedef struct beside_talk {
    const cli_args *args;
    const cli_beside *beside;
    const sg_context *context;
    sg_corpus *corpus;
    sg_document text; // the whole file
    const char *names[2];
    bool told;  // what is read, and the head of the table
    bool whole; // likewise, that weights are read whose inputs or neurons are left out
    int code;
} beside_talk;

// ---- JSON ---------------------------------------------------------------------------------------

static json_t *beside_side_json(const char *path, const sg_beside_side *s, int64_t text_tokens)
{
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:o, s:f, s:f, s:f, s:o}", "model", path,
                     "family", s->family, "dtype", s->dtype, "tokens_per_second",
                     s->tokens_per_second, "low", s->low, "high", s->high, "bytes",
                     s->bytes > 0 ? json_real(s->bytes) : json_null(), "blocks", s->blocks, "read",
                     s->read, "together", s->together, "text_tokens",
                     text_tokens > 0 ? json_integer((json_int_t)text_tokens) : json_null());
}

// [seconds of A, seconds of B, which began] of each round.
static json_t *beside_rounds_json(const sg_beside_result *r)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < r->round_count; i++) {
        const sg_beside_round *round = &r->rounds[i];
        json_array_append_new(list, json_pack("[f, f, s]", round->seconds[0], round->seconds[1],
                                              round->start[0] < round->start[1] ? "a" : "b"));
    }
    return list;
}

static int beside_json(const beside_talk *t, const sg_beside_result *r)
{
    sg_compute_kind compute = SG_COMPUTE_F32, logits = SG_COMPUTE_F32;
    json_t *object =
        json_pack("{s:s, s:i, s:I, s:I, s:I, s:f, s:o, s:o, s:o, s:o, s:o, s:o}", "name", r->name,
                  "threads", sg_context_threads(t->context), "batch_size", (json_int_t)r->batch,
                  "context", (json_int_t)r->context, "tokens", (json_int_t)r->tokens, "ratio",
                  r->ratio, "ratio_low", cli_json_number(r->ratio_low), "ratio_high",
                  cli_json_number(r->ratio_high), "ceiling", cli_json_number(r->ceiling), "a",
                  beside_side_json(t->beside->models[0], &r->sides[0], r->text_tokens[0]), "b",
                  beside_side_json(t->beside->models[1], &r->sides[1], r->text_tokens[1]), "rounds",
                  beside_rounds_json(r));
    // Tokens one by one are computed in f32.
    if (strcmp(r->name, "prefill") == 0) cli_computing_kinds(&compute, &logits, NULL);
    cli_computing_json(object, t->context, compute, logits);
    return cli_print_json_line(t->args, object);
}

// ---- text ---------------------------------------------------------------------------------------

static const char beside_letters[] = "AB";

static bool beside_sparse(const sg_beside_side *s)
{
    return s->read > 0;
}

static void beside_head(const beside_talk *t, const sg_beside_result *r)
{
    for (int i = 0; i < 2; i++)
        printf("%c: %s (%s, %s)\n", beside_letters[i], t->names[i], r->sides[i].family,
               r->sides[i].dtype);
    printf("%7s  %-7s  %5s  %22s  %22s  %20s  %7s", "threads", "", "batch",
           "A tokens/s (quartiles)", "B tokens/s (quartiles)", "B/A (95 %)", "ceiling");
    for (int i = 0; i < 2; i++)
        if (beside_sparse(&r->sides[i]))
            printf("  %c: %7s %6s %8s", beside_letters[i], "blocks", "read", "together");
    printf("\n");
}

static void beside_speed(const sg_beside_side *s)
{
    char middle[32], low[32], high[32], text[112];
    cli_short_number(middle, sizeof middle, s->tokens_per_second);
    cli_short_number(low, sizeof low, s->low);
    cli_short_number(high, sizeof high, s->high);
    snprintf(text, sizeof text, "%s (%s-%s)", middle, low, high);
    printf("  %22s", text);
}

// Of inputs that are left out there are no blocks.
static void beside_shares(char letter, const sg_beside_side *s)
{
    char blocks[32] = "-";
    if (s->blocks > 0) snprintf(blocks, sizeof blocks, "%.1f", s->blocks);
    printf("  %c: %7s %5.1f%% %7.1f%%", letter, blocks, 100 * s->read, 100 * s->together);
}

static void beside_text(const beside_talk *t, const sg_beside_result *r)
{
    char ratio[64], ceiling[16] = "-";
    if (!t->told) beside_head(t, r);
    printf("%7d  %-7s  %5lld", sg_context_threads(t->context), r->name, (long long)r->batch);
    for (int i = 0; i < 2; i++)
        beside_speed(&r->sides[i]);
    if (isnan(r->ratio_low))
        snprintf(ratio, sizeof ratio, "%.3f", r->ratio);
    else
        snprintf(ratio, sizeof ratio, "%.3f (%.3f-%.3f)", r->ratio, r->ratio_low, r->ratio_high);
    if (!isnan(r->ceiling)) snprintf(ceiling, sizeof ceiling, "%.2f", r->ceiling);
    printf("  %20s  %7s", ratio, ceiling);
    for (int i = 0; i < 2; i++)
        if (beside_sparse(&r->sides[i])) beside_shares(beside_letters[i], &r->sides[i]);
    printf("\n");
    fflush(stdout);
}

// What is not as one would take it to be.
static void beside_tell(const beside_talk *t, const sg_beside_result *r)
{
    const bool sparse = beside_sparse(&r->sides[0]) || beside_sparse(&r->sides[1]);
    const int64_t reads = (r->round_count + 1) * r->context;
    if (isnan(r->ratio_low))
        cli_note(t->args, "an interval of ratios takes 6 rounds (--repeats), there are %lld",
                 (long long)r->round_count);
    if (t->beside->text == NULL && sparse)
        cli_note(t->args, "tokens are ids at random: what of a sparse layer is read depends on the "
                          "text, which --text gives");
    for (int i = 0; i < 2 && t->beside->text != NULL; i++)
        if (r->text_tokens[i] < reads) {
            cli_note(t->args, "the text has %lld tokens, fewer than are read: it begins anew",
                     (long long)r->text_tokens[i]);
            return;
        }
}

// The first batch of which that is so.
static void beside_tell_whole(beside_talk *t, const sg_beside_result *r)
{
    if (t->whole || !(r->sides[0].whole || r->sides[1].whole)) return;
    cli_note(t->args,
             "%lld tokens at once read weights whole, whatever is left out: so do the bytes of the "
             "ceiling",
             (long long)r->batch);
    t->whole = true;
}

static bool beside_result(void *user, const sg_beside_result *r)
{
    beside_talk *t = user;
    if (!t->told) beside_tell(t, r);
    beside_tell_whole(t, r);
    if (t->args->json)
        t->code = beside_json(t, r);
    else
        beside_text(t, r);
    t->told = true;
    return t->code == CLI_DONE && !cli_stop_requested();
}

// ---- models -------------------------------------------------------------------------------------

// Of each model once.
static sg_status beside_tell_columns(const beside_talk *t, const sg_model *model, sg_error *err)
{
    if (t->told || t->beside->what == SG_BENCH_PREFILL) return SG_OK;
    return cli_columns_tell(t->args, model, err);
}

static sg_status beside_open(const beside_talk *t, sg_context *context, int i, sg_model **model,
                             sg_beside_options *o, sg_tokenizer **tokenizer, sg_error *err)
{
    char folder[CLI_PATH];
    sg_compute_kind compute, logits;
    sg_status status = cli_model_open(context, t->beside->models[i], "stored", model, folder, err);
    if (status == SG_OK) status = cli_computing_kinds(&compute, &logits, err);
    if (status == SG_OK) status = sg_model_set_compute(*model, compute, logits, err);
    if (status == SG_OK) status = beside_tell_columns(t, *model, err);
    if (status == SG_OK && t->beside->text != NULL)
        status = cli_tokenizer_open(t->beside->tokenizer, folder, tokenizer, err);
    o->tokenizers[i] = *tokenizer;
    return status;
}

static sg_status beside_measure(beside_talk *t, sg_context *context, sg_error *err)
{
    const cli_beside *b = t->beside;
    sg_model *models[2] = {NULL};
    sg_tokenizer *tokenizers[2] = {NULL};
    sg_beside_options o = sg_beside_options_default();
    o.what = b->what;
    o.seconds = b->seconds;
    o.seed = b->seed;
    if (b->context > 0) o.context = b->context;
    if (b->rounds > 0) o.rounds = b->rounds;
    if (b->sessions > 0) o.batches = &b->sessions;
    if (b->sessions > 0) o.batch_count = 1;
    if (b->text != NULL) o.text = t->text.text;
    o.text_bytes = t->text.bytes;
    sg_status status = SG_OK;
    for (int i = 0; i < 2 && status == SG_OK; i++)
        status = beside_open(t, context, i, &models[i], &o, &tokenizers[i], err);
    if (status == SG_OK) status = sg_bench_beside(models, &o, beside_result, t, err);
    for (int i = 0; i < 2; i++) {
        sg_tokenizer_free(tokenizers[i]);
        sg_model_free(models[i]);
    }
    return status;
}

static int beside_threads(beside_talk *t, const cli_args *args, sg_error *err)
{
    sg_context *context;
    sg_compute_kind compute, logits;
    sg_status status = cli_context_new(args, &context, err);
    if (status != SG_OK) return cli_fail(args, status, err);
    t->context = context;
    status = cli_computing_kinds(&compute, &logits, err);
    if (status == SG_OK && !t->told) cli_computing_tell(args, context, compute, logits);
    if (status == SG_OK) status = beside_measure(t, context, err);
    sg_context_free(context);
    return t->code != CLI_DONE ? t->code : status == SG_OK ? CLI_DONE : cli_fail(args, status, err);
}

// ---- all of it ----------------------------------------------------------------------------------

// Behind the last slash, unless nothing is there.
static const char *beside_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

int cli_beside_run(const cli_args *args, const cli_beside *beside)
{
    beside_talk talk = {.args = args, .beside = beside, .code = CLI_DONE};
    sg_error err = {0};
    sg_machine machine;
    int code = CLI_DONE;
    for (int i = 0; i < 2; i++)
        talk.names[i] = beside_name(beside->models[i]);
    if (beside->text != NULL) {
        sg_status status = cli_text_open(beside->text, false, &talk.corpus, &err);
        if (status == SG_OK) status = sg_corpus_next(talk.corpus, &talk.text, &err);
        if (status != SG_OK) {
            sg_corpus_close(talk.corpus);
            return cli_fail(args, status, &err);
        }
        const sg_text_counts counts = sg_corpus_counts(talk.corpus);
        cli_reading_warn(args, &counts);
    }
    sg_machine_describe(&machine);
    const int64_t first = args->threads > 0 ? args->threads : 1;
    const int64_t last = args->threads > 0 ? args->threads : machine.threads < 2 ? 1 : 2;
    for (int64_t threads = first; threads <= last && code == CLI_DONE; threads++) {
        cli_args with = *args;
        with.threads = threads;
        code = beside_threads(&talk, &with, &err);
    }
    sg_corpus_close(talk.corpus);
    return code;
}
