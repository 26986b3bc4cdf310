// Two models in turns. Turns are short, so that what else the machine does is alike in both turns
// of a round, and its ratio of times tells the models apart where single times do not.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "ffn/moefied.h"
#include "model/config.h"
#include "model/session.h"
#include "probe/statistics.h"
#include "train/bench.h"
#include "train/bench_sessions.h"
#include "train/block_use.h"
#include "train/input_use.h"

static const int64_t beside_batches[] = {1, 4, 16};

sg_beside_options sg_beside_options_default(void)
{
    return (sg_beside_options){.what = SG_BENCH_PREFILL | SG_BENCH_DECODE,
                               .batches = beside_batches,
                               .batch_count = sizeof beside_batches / sizeof *beside_batches,
                               .context = 128,
                               .tokens = 16,
                               .rounds = 12,
                               .seconds = 1,
                               .seed = 1};
}

typedef struct beside_side {
    sg_model *model;
    sg_block_use use;    // of the figure
    sg_input_use inputs; // likewise
    sg_point_request requests[1 + SG_TRIMMED_PLACES];
    sg_points points; // of both; none where nothing is left out
    sg_bench_sessions sessions;
    int32_t *text; // (text_count) what begins a text (begins), then its ids; NULL: ids at random
    int64_t text_count, begins;
    int32_t *ids; // of a prompt, or of one pass
} beside_side;

typedef struct beside {
    const sg_beside_options *options;
    sg_beside_fn result;
    void *user;
    beside_side sides[2];
    bool prefill;
    int64_t batch;  // sessions
    int64_t rounds; // so far
    double begun;   // when the first one began
    sg_beside_round round[SG_BENCH_REPEATS];
    double sorted[SG_BENCH_REPEATS];
} beside;

// ---- what is read -------------------------------------------------------------------------------

static void side_passed(beside_side *s, int64_t tokens)
{
    sg_block_use_pass(&s->use, tokens);
    sg_input_use_pass(&s->inputs);
}

static void side_look(beside_side *s, bool on)
{
    s->use.on = s->inputs.on = on;
}

// Ids of a text that are no beginning.
static int64_t side_body(const beside_side *s)
{
    return s->text_count - s->begins;
}

// Where session i begins in the text, or among random ids.
static int64_t side_from(const beside *b, const beside_side *s, int64_t session)
{
    return s->text == NULL ? session << 20 : session * side_body(s) / b->batch;
}

// Token `at` of a sequence that begins there: behind the end the text begins anew.
static int32_t side_token(const beside *b, const beside_side *s, int64_t from, int64_t at)
{
    if (s->text == NULL)
        return sg_bench_token(b->options->seed, s->model->config.vocab_size, from + at);
    if (at < s->begins) return s->text[at];
    return s->text[s->begins + (from + at - s->begins) % side_body(s)];
}

// Tokens [at, at + count) of a sequence, into a session; it goes in pieces, each of them a pass.
static sg_status side_feed(const beside *b, beside_side *s, int64_t session, int64_t from,
                           int64_t at, int64_t count, sg_error *err)
{
    const float *logits;
    for (int64_t i = 0; i < count; i++)
        s->ids[i] = side_token(b, s, from, at + i);
    for (int64_t i = 0; i < count; i += SG_SESSION_PIECE) {
        const int64_t piece = sg_min(count - i, SG_SESSION_PIECE);
        SG_TRY(sg_session_feed(s->sessions.items[session], s->ids + i, piece, &logits, err));
        side_passed(s, piece);
    }
    return SG_OK;
}

// ---- turns --------------------------------------------------------------------------------------

// Where the tokens of a round begin behind the prompts.
static int64_t turn_first(const beside *b, int64_t round)
{
    return round * (b->options->tokens + 1);
}

// The next token of each session, so many behind the prompts.
static sg_status turn_pass(const beside *b, beside_side *s, int64_t behind, sg_error *err)
{
    for (int64_t i = 0; i < b->batch; i++)
        s->ids[i] = side_token(b, s, side_from(b, s, i), b->options->context + behind);
    SG_TRY(sg_bench_sessions_feed(&s->sessions, s->ids, err));
    side_passed(s, b->batch);
    return SG_OK;
}

// A prompt into an empty session.
static sg_status turn_prefill(const beside *b, beside_side *s, int64_t round, double *seconds,
                              sg_error *err)
{
    SG_TRY(sg_bench_sessions_rewind(&s->sessions, 0, err));
    const double start = sg_clock_seconds();
    SG_TRY(side_feed(b, s, 0, round * b->options->context, 0, b->options->context, err));
    *seconds = sg_clock_seconds() - start;
    return SG_OK;
}

// The pass before those that are timed finds what the other model has left in the caches.
static sg_status turn_decode(const beside *b, beside_side *s, int64_t round, double *seconds,
                             sg_error *err)
{
    const int64_t first = turn_first(b, round);
    SG_TRY(sg_bench_sessions_rewind(&s->sessions, b->options->context, err));
    SG_TRY(turn_pass(b, s, first, err));
    const double start = sg_clock_seconds();
    for (int64_t i = 1; i <= b->options->tokens; i++)
        SG_TRY(turn_pass(b, s, first + i, err));
    *seconds = sg_clock_seconds() - start;
    return SG_OK;
}

static sg_status beside_turn(const beside *b, beside_side *s, int64_t round, double *seconds,
                             sg_error *err)
{
    return b->prefill ? turn_prefill(b, s, round, seconds, err)
                      : turn_decode(b, s, round, seconds, err);
}

static bool beside_more(const beside *b)
{
    const double spent = sg_clock_seconds() - b->begun;
    return b->rounds < b->options->rounds ||
           (spent < b->options->seconds && b->rounds < SG_BENCH_REPEATS);
}

static sg_status beside_rounds(beside *b, sg_error *err)
{
    double unused;
    for (int i = 0; i < 2; i++)
        SG_TRY(beside_turn(b, &b->sides[i], 0, &unused, err));
    b->begun = sg_clock_seconds();
    for (b->rounds = 0; beside_more(b); b->rounds++) {
        sg_beside_round *r = &b->round[b->rounds];
        for (int turn = 0; turn < 2; turn++) {
            const int i = (int)(b->rounds + turn) % 2;
            r->start[i] = sg_clock_seconds() - b->begun;
            SG_TRY(beside_turn(b, &b->sides[i], b->rounds + 1, &r->seconds[i], err));
        }
    }
    return SG_OK;
}

// ---- a figure -----------------------------------------------------------------------------------

static int beside_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int64_t beside_tokens(const beside *b)
{
    return b->prefill ? b->options->context : b->options->tokens * b->batch;
}

// Keys and values that a pass of decoding reads, those of the mean pass of a turn.
static double side_cache(const beside *b, const sg_config *c)
{
    const double pairs = (double)b->options->context + 1 + (double)(b->options->tokens + 1) / 2;
    const double width = (double)(sg_config_kv_heads(c) * c->head_dim);
    return 2 * (double)(c->num_hidden_layers * b->batch) * width * pairs * sizeof(sg_real);
}

// Of weights and of keys and values.
static sg_status side_bytes(const beside *b, const beside_side *s, double *bytes, sg_error *err)
{
    double unread;
    SG_TRY(sg_input_use_unread(&s->inputs, s->model, b->batch, &unread, err));
    *bytes =
        sg_block_use_bytes(&s->use, s->model, b->batch) - unread + side_cache(b, &s->model->config);
    return SG_OK;
}

// Whether a pass of so many rows reads what it leaves out.
static bool side_whole(const beside *b, const beside_side *s)
{
    const bool inputs = sg_trimmed_any(&s->model->config) && b->batch > SG_SPARSE_ROWS;
    return !b->prefill && (inputs || (s->use.by_neuron && b->batch > SG_MOEFIED_FEW));
}

static sg_status side_figures(beside *b, int i, sg_beside_side *side, sg_error *err)
{
    const beside_side *s = &b->sides[i];
    const sg_model *m = s->model;
    const sg_block_total total = sg_block_use_total(&s->use);
    sg_beside_side out = {.family = sg_family_find(m->config.ffn)->name,
                          .dtype = sg_weights_name(sg_narrow_most(&m->narrow, &m->params)),
                          .whole = side_whole(b, s),
                          .blocks = total.blocks,
                          .read = total.read,
                          .together = total.together};
    if (s->use.points.count == 0 && sg_trimmed_any(&m->config)) {
        out.read = sg_input_use_all(&s->inputs);
        out.together = sg_input_use_together(&s->inputs);
    }
    if (!b->prefill) SG_TRY(side_bytes(b, s, &out.bytes, err));
    for (int64_t r = 0; r < b->rounds; r++)
        b->sorted[r] = (double)beside_tokens(b) / b->round[r].seconds[i];
    qsort(b->sorted, (size_t)b->rounds, sizeof *b->sorted, beside_order);
    out.low = sg_quantile(b->sorted, b->rounds, 0.25);
    out.tokens_per_second = sg_quantile(b->sorted, b->rounds, 0.5);
    out.high = sg_quantile(b->sorted, b->rounds, 0.75);
    *side = out;
    return SG_OK;
}

static sg_status beside_report(beside *b, sg_error *err)
{
    sg_beside_result r = {.name = b->prefill ? "prefill" : "decode",
                          .batch = b->batch,
                          .context = b->options->context,
                          .tokens = beside_tokens(b),
                          .text_tokens = {b->sides[0].text_count, b->sides[1].text_count},
                          .ceiling = NAN,
                          .rounds = b->round,
                          .round_count = b->rounds};
    for (int i = 0; i < 2; i++)
        SG_TRY(side_figures(b, i, &r.sides[i], err));
    for (int64_t i = 0; i < b->rounds; i++)
        b->sorted[i] = b->round[i].seconds[0] / b->round[i].seconds[1];
    qsort(b->sorted, (size_t)b->rounds, sizeof *b->sorted, beside_order);
    const sg_interval ratio = sg_median_interval(b->sorted, b->rounds);
    r.ratio = ratio.mean;
    r.ratio_low = ratio.low;
    r.ratio_high = ratio.high;
    if (!b->prefill) r.ceiling = r.sides[0].bytes / r.sides[1].bytes;
    if (b->result(b->user, &r)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after %s", r.name);
}

// Sessions, those that decode with their prompts.
static sg_status side_sessions(const beside *b, beside_side *s, const sg_points *points,
                               sg_error *err)
{
    const sg_beside_options *o = b->options;
    const int64_t capacity = o->context + (b->prefill ? 0 : o->tokens + 1);
    side_look(s, false);
    SG_TRY(sg_bench_sessions_open(&s->sessions, s->model, b->batch, capacity, points, err));
    for (int64_t i = 0; i < b->batch && !b->prefill; i++)
        SG_TRY(side_feed(b, s, i, side_from(b, s, i), 0, o->context, err));
    return SG_OK;
}

// What blocks and inputs are read, of the tokens of the first turn and of the first of each turn
// behind it: by sessions of their own, for who looks takes time.
static sg_status side_count(const beside *b, beside_side *s, sg_error *err)
{
    const sg_beside_options *o = b->options;
    if (s->points.count == 0) return SG_OK;
    SG_TRY(side_sessions(b, s, &s->points, err));
    side_look(s, true);
    if (b->prefill) SG_TRY(side_feed(b, s, 0, 0, 0, o->context, err));
    for (int64_t round = 0; round <= o->rounds && !b->prefill; round++) {
        SG_TRY(sg_bench_sessions_rewind(&s->sessions, o->context, err));
        for (int64_t i = 0; i <= (round == 0 ? o->tokens : 0); i++)
            SG_TRY(turn_pass(b, s, turn_first(b, round) + i, err));
    }
    sg_bench_sessions_close(&s->sessions);
    return SG_OK;
}

// Who looks at blocks and at inputs.
static sg_status side_watch(beside_side *s, sg_error *err)
{
    SG_TRY(sg_block_use_new(&s->model->config, s->model->context->compute, false, &s->use, err));
    SG_TRY(sg_input_use_new(s->model, true, &s->inputs, err));
    size_t count = s->use.points.count;
    if (count > 0) s->requests[0] = s->use.request;
    count += sg_input_use_requests(&s->inputs, s->requests + count);
    s->points = (sg_points){s->requests, count};
    return SG_OK;
}

static sg_status side_open(const beside *b, beside_side *s, sg_error *err)
{
    const int64_t context = b->options->context;
    SG_TRY(side_watch(s, err));
    s->ids = sg_alloc_array((size_t)(context > b->batch ? context : b->batch), sizeof *s->ids);
    if (s->ids == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a prompt");
    SG_TRY(side_count(b, s, err));
    return side_sessions(b, s, NULL, err);
}

static void side_close(beside_side *s)
{
    sg_bench_sessions_close(&s->sessions);
    sg_block_use_free(&s->use);
    sg_input_use_free(&s->inputs);
    sg_free(s->ids);
    s->ids = NULL;
}

static sg_status beside_figure(beside *b, bool prefill, int64_t batch, sg_error *err)
{
    b->prefill = prefill;
    b->batch = batch;
    sg_status status = SG_OK;
    for (int i = 0; i < 2 && status == SG_OK; i++)
        status = side_open(b, &b->sides[i], err);
    if (status == SG_OK) status = beside_rounds(b, err);
    if (status == SG_OK) status = beside_report(b, err);
    for (int i = 0; i < 2; i++)
        side_close(&b->sides[i]);
    return status;
}

// ---- what is asked for --------------------------------------------------------------------------

static sg_status beside_check_batches(const sg_beside_options *o, sg_error *err)
{
    for (size_t i = 0; i < o->batch_count; i++)
        if (o->batches[i] < 1 || o->batches[i] > SG_BATCH_MAX)
            return sg_fail(err, SG_ERR_ARGUMENT, "batches: found %lld, expected 1 to %d",
                           (long long)o->batches[i], SG_BATCH_MAX);
    if (o->batch_count > 0 || (o->what & SG_BENCH_DECODE) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "batches: found none, expected at least one");
}

static sg_status beside_check(const sg_beside_options *o, sg_error *err)
{
    if (o->what == 0 || (o->what & ~(unsigned)(SG_BENCH_PREFILL | SG_BENCH_DECODE)) != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "what: found %u, expected prefill, decode or both",
                       o->what);
    if (o->rounds < 1 || o->rounds > SG_BENCH_REPEATS)
        return sg_fail(err, SG_ERR_ARGUMENT, "rounds: found %lld, expected 1 to %d",
                       (long long)o->rounds, SG_BENCH_REPEATS);
    if (!(o->seconds >= 0 && o->seconds <= 1e6))
        return sg_fail(err, SG_ERR_ARGUMENT, "seconds: found %s, expected 0 to 1e6",
                       SG_NUMBER(o->seconds));
    if (o->tokens < 1 || o->tokens > 1 << 20)
        return sg_fail(err, SG_ERR_ARGUMENT, "tokens: found %lld, expected 1 to %d",
                       (long long)o->tokens, 1 << 20);
    if (o->text != NULL && (o->tokenizers[0] == NULL || o->tokenizers[1] == NULL))
        return sg_fail(err, SG_ERR_ARGUMENT, "tokenizers: found none, expected one of each model");
    return beside_check_batches(o, err);
}

// The model has room, and the text something to say.
static sg_status side_check(const beside *b, beside_side *s, int i, sg_error *err)
{
    const sg_beside_options *o = b->options;
    const int64_t most = s->model->config.max_position_embeddings;
    const int64_t behind = o->what & SG_BENCH_DECODE ? o->tokens + 1 : 0;
    if (s->model->context != b->sides[0].model->context)
        return sg_fail(err, SG_ERR_ARGUMENT, "models: found two contexts, expected one");
    if (o->context < 1 || o->context > most - behind)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected 1 to %lld: model %d has %lld positions, %lld "
                       "of them for what is decoded",
                       (long long)o->context, (long long)(most - behind), i + 1, (long long)most,
                       (long long)behind);
    if (o->text == NULL) return SG_OK;
    SG_TRY(sg_model_encode(s->model, o->tokenizers[i], o->text, o->text_bytes, NULL, &s->text,
                           &s->text_count, &s->begins, err));
    if (side_body(s) >= 1) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "text: found no token, expected at least one");
}

static sg_status beside_run(beside *b, sg_error *err)
{
    const sg_beside_options *o = b->options;
    SG_TRY(beside_check(o, err));
    for (int i = 0; i < 2; i++)
        SG_TRY(side_check(b, &b->sides[i], i, err));
    if (o->what & SG_BENCH_PREFILL) SG_TRY(beside_figure(b, true, 1, err));
    for (size_t i = 0; i < o->batch_count && (o->what & SG_BENCH_DECODE) != 0; i++)
        SG_TRY(beside_figure(b, false, o->batches[i], err));
    return SG_OK;
}

sg_status sg_bench_beside(sg_model *const models[2], const sg_beside_options *options,
                          sg_beside_fn result, void *user, sg_error *err)
{
    const sg_beside_options o = options ? *options : sg_beside_options_default();
    beside *b = sg_alloc_zero(1, sizeof *b);
    if (b == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for rounds");
    b->options = &o;
    b->result = result;
    b->user = user;
    for (int i = 0; i < 2; i++)
        b->sides[i].model = models[i];
    const sg_status status = beside_run(b, err);
    for (int i = 0; i < 2; i++)
        sg_free(b->sides[i].text);
    sg_free(b);
    return status;
}
