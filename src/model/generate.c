// Text from a model: prompts in, pieces of text out as they are decided. One prompt goes through
// its session alone; several take turns in passes over all of them.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/model.h"
#include "model/session.h"
#include "text/stop_text.h"
#include "sgatlin_probe.h"

enum { generate_at_once = 32 }; // prompts whose sessions are open together

sg_generate_options sg_generate_options_default(void)
{
    return (sg_generate_options){.max_tokens = 200, .sample = sg_sample_options_default()};
}

// One text on its way.
typedef struct generator {
    sg_model *model;
    const sg_tokenizer *tokenizer;
    const sg_generate_options *options;
    void *user;
    sg_session *session;
    sg_decoder *decoder;
    sg_stop_text stop;
    int32_t *tokens;     // (room) prompt, then what came
    int64_t count, most; // most: tokens to add
    size_t index;        // of the prompt
    bool going;          // its last token is to be fed
    bool hushed;         // the listener wants no more
    bool ended;          // at an end of the document
    double began;        // to decode
    sg_generate_result result;
} generator;

static void generator_close(generator *g)
{
    sg_session_free(g->session);
    sg_decoder_free(g->decoder);
    sg_stop_text_close(&g->stop);
    sg_free(g->tokens);
    *g = (generator){0};
}

static sg_status generator_check_prompt(const generator *g, int64_t count, sg_error *err)
{
    const sg_config *c = &g->model->config;
    if (count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found an empty one, expected text: the model has no BOS");
    if (count >= c->max_position_embeddings)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found %lld tokens, expected less than the model's %lld positions",
                       (long long)count, (long long)c->max_position_embeddings);
    return SG_OK;
}

// What begins a text, then the ids of the prompt; room for what will come.
static sg_status generator_prompt(generator *g, const char *prompt, sg_error *err)
{
    const sg_config *c = &g->model->config;
    int32_t *ids, bos;
    const int32_t *begin;
    size_t count, begin_count;
    sg_model_begin(g->model, g->tokenizer, &bos, &begin, &begin_count);
    sg_encode_options encode = sg_encode_options_default();
    encode.lost_bytes = &g->result.lost_bytes;
    encode.replaced = &g->result.replaced;
    SG_TRY(sg_tokenizer_encode(g->tokenizer, prompt, strlen(prompt), &encode, &ids, &count, err));
    if (g->options->plain_start) {
        begin_count = 0;
    } else if (begin_count + count == 0 && c->bos_token_id >= 0) { // something must be fed
        bos = (int32_t)c->bos_token_id;
        begin = &bos;
        begin_count = 1;
    }
    g->count = (int64_t)(begin_count + count);
    sg_status status = generator_check_prompt(g, g->count, err);
    if (status == SG_OK) {
        g->most = sg_min(g->options->max_tokens, c->max_position_embeddings - g->count);
        g->tokens = sg_alloc_array((size_t)(g->count + g->most + 1), sizeof *g->tokens);
        if (g->tokens == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for the prompt");
    }
    if (status == SG_OK && begin_count > 0) memcpy(g->tokens, begin, begin_count * sizeof *ids);
    if (status == SG_OK) memcpy(g->tokens + begin_count, ids, count * sizeof *ids);
    sg_buffer_free(ids);
    return status;
}

static sg_status generator_no_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory while generating");
}

// Tells what the stops let through.
static void generator_say(generator *g)
{
    const sg_bytes *ready = &g->stop.ready;
    if (ready->count > 0 && g->options->text != NULL && !g->hushed)
        g->hushed = !g->options->text(g->user, ready->data, ready->count);
    if (g->hushed || g->stop.found) g->going = false;
}

static bool generator_ends(const generator *g, int32_t token)
{
    if (g->options->ignore_eos) return false;
    if (sg_end_tokens_has(&g->model->ends, token)) return true;
    for (size_t i = 0; i < g->options->end_count; i++)
        if (token == g->options->ends[i]) return true;
    return false;
}

const char *sg_stop_reason_name(sg_stop_reason reason)
{
    static const char *const names[] = {"end", "stop", "length", "caller"};
    return reason >= SG_STOP_END && reason <= SG_STOP_CALLER ? names[reason] : "unknown";
}

// The `count` likeliest tokens, by insertion: few are asked for. Of equal ones the first comes
// first.
static size_t generator_top(const float *logits, int64_t vocab, double log_sum, int64_t count,
                            sg_scored_token *top)
{
    size_t used = 0;
    for (int64_t v = 0; v < vocab && count > 0; v++) {
        double logprob = (double)logits[v] - log_sum;
        if (used == (size_t)count && logprob <= top[used - 1].logprob) continue;
        size_t at = used < (size_t)count ? used++ : used - 1;
        for (; at > 0 && top[at - 1].logprob < logprob; at--)
            top[at] = top[at - 1];
        top[at] = (sg_scored_token){(int32_t)v, logprob};
    }
    return used;
}

// Tells the token that was drawn, with how likely it was: ln softmax of the logits.
static void generator_score(generator *g, const float *logits, int32_t id)
{
    int64_t vocab = g->model->config.vocab_size;
    float most = logits[0];
    double sum = 0;
    sg_scored_token top[SG_LOGPROBS_MAX];
    if (g->options->token == NULL || g->hushed) return;
    for (int64_t v = 1; v < vocab; v++)
        if (logits[v] > most) most = logits[v];
    for (int64_t v = 0; v < vocab; v++)
        sum += exp((double)logits[v] - (double)most);
    double log_sum = (double)most + log(sum);
    const sg_scored_token token = {id, (double)logits[id] - log_sum};
    size_t count = generator_top(logits, vocab, log_sum, g->options->logprobs, top);
    g->hushed = !g->options->token(g->user, &token, top, count);
}

// Draws the next token and tells what it says. Afterwards `going` is whether it must be fed.
static sg_status generator_draw(generator *g, const float *logits, sg_error *err)
{
    g->going = g->result.tokens < g->most;
    if (!g->going) return SG_OK;
    sg_sample_options sample = g->options->sample;
    sample.history = g->tokens;
    sample.history_count = g->count;
    int32_t token = 0;
    SG_TRY(sg_sample(logits, g->model->config.vocab_size, &sample, (uint64_t)g->result.tokens,
                     &token, err));
    generator_score(g, logits, token);
    g->ended = generator_ends(g, token);
    g->going = !g->ended && !g->hushed;
    if (!g->going) return SG_OK;
    g->tokens[g->count++] = token;
    g->result.tokens++;
    if (token < sg_tokenizer_vocab_size(g->tokenizer)) {
        const char *text;
        size_t bytes;
        SG_TRY(sg_decoder_push(g->decoder, token, &text, &bytes, err));
        if (!sg_stop_text_push(&g->stop, text, bytes)) return generator_no_memory(err);
        generator_say(g);
    }
    if (g->result.tokens == g->most) g->going = false;
    return SG_OK;
}

// What is drawn is decoded as what goes on behind the prompt. Ids that the tokenizer does not have
// (the model's begin token may be one) say nothing.
static sg_status generator_decoder(generator *g, sg_error *err)
{
    SG_TRY(sg_decoder_new(g->tokenizer, NULL, &g->decoder, err));
    for (int64_t i = 0; i < g->count; i++)
        if (g->tokens[i] < sg_tokenizer_vocab_size(g->tokenizer))
            SG_TRY(sg_decoder_follow(g->decoder, &g->tokens[i], 1, err));
    return SG_OK;
}

// Opens a text: all its prompt goes in, the first token comes out.
static sg_status generator_open(generator *g, const char *prompt, sg_error *err)
{
    g->stop = (sg_stop_text){.stops = g->options->stops, .count = g->options->stop_count};
    SG_TRY(generator_prompt(g, prompt, err));
    sg_session_options open = sg_session_options_default();
    open.capacity = g->count + g->most;
    open.points = g->options->points;
    SG_TRY(sg_session_open(g->model, &open, &g->session, err));
    sg_session_call(g->session, (int64_t)g->index);
    SG_TRY(generator_decoder(g, err));
    const float *logits;
    g->result.prompt_tokens = g->count;
    double start = sg_clock_seconds();
    SG_TRY(sg_session_feed(g->session, g->tokens, g->count, &logits, err));
    g->began = sg_clock_seconds();
    g->result.prompt_seconds = g->began - start;
    return generator_draw(g, logits, err);
}

// Tells what decoder and stops held back.
static sg_status generator_finish(generator *g, sg_error *err)
{
    const char *text;
    size_t bytes;
    SG_TRY(sg_decoder_finish(g->decoder, &text, &bytes, err));
    if (!sg_stop_text_push(&g->stop, text, bytes)) return generator_no_memory(err);
    generator_say(g);
    if (!g->stop.found) {
        if (!sg_stop_text_finish(&g->stop)) return generator_no_memory(err);
        generator_say(g);
    }
    g->result.seconds = sg_clock_seconds() - g->began;
    g->result.reason = g->stop.found ? SG_STOP_TEXT
                       : g->ended    ? SG_STOP_END
                       : g->hushed   ? SG_STOP_CALLER
                                     : SG_STOP_LENGTH;
    return SG_OK;
}

// ---- several texts ----------------------------------------------------------------------------

typedef struct generation {
    sg_model *model;
    const sg_tokenizer *tokenizer;
    const sg_generate_options *options;
    const char *const *prompts;
    size_t count, next; // prompts, and those begun
    void *const *users;
    sg_generate_result *results;
    generator texts[generate_at_once]; // (active)
    size_t active;
    sg_batch *batch;
} generation;

static sg_status generation_end(generation *all, size_t at, sg_error *err)
{
    generator *g = &all->texts[at];
    SG_TRY(generator_finish(g, err));
    if (all->results != NULL) all->results[g->index] = g->result;
    generator_close(g);
    *g = all->texts[--all->active];
    all->texts[all->active] = (generator){0};
    return SG_OK;
}

// Begins texts until there is no room or no prompt left.
static sg_status generation_begin(generation *all, sg_error *err)
{
    while (all->active < generate_at_once && all->next < all->count) {
        generator *g = &all->texts[all->active++];
        size_t index = all->next++;
        *g = (generator){.model = all->model,
                         .tokenizer = all->tokenizer,
                         .options = all->options,
                         .user = all->users[index],
                         .index = index};
        sg_status status = generator_open(g, all->prompts[index], err);
        if (status != SG_OK && all->count > 1)
            return sg_fail_context(err, status, "prompt %zu", index + 1);
        SG_TRY(status);
        if (!g->going) SG_TRY(generation_end(all, all->active - 1, err));
    }
    return SG_OK;
}

// One more token of every text.
static sg_status generation_step(generation *all, sg_error *err)
{
    sg_session *sessions[generate_at_once];
    int32_t tokens[generate_at_once];
    const float *logits;
    for (size_t i = 0; i < all->active; i++) {
        sessions[i] = all->texts[i].session;
        tokens[i] = all->texts[i].tokens[all->texts[i].count - 1];
    }
    if (all->active == 1) {
        SG_TRY(sg_session_feed(sessions[0], tokens, 1, &logits, err));
    } else {
        if (all->batch == NULL)
            SG_TRY(sg_batch_new(all->model, generate_at_once, &all->batch, err));
        SG_TRY(sg_batch_feed(all->batch, sessions, tokens, (int64_t)all->active, &logits, err));
    }
    for (size_t i = 0; i < all->active; i++)
        SG_TRY(generator_draw(&all->texts[i], logits + (int64_t)i * all->model->config.vocab_size,
                              err));
    for (size_t i = all->active; i-- > 0;)
        if (!all->texts[i].going) SG_TRY(generation_end(all, i, err));
    return SG_OK;
}

static sg_status generation_check(const generation *all, sg_error *err)
{
    const sg_generate_options *o = all->options;
    if (o->max_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-tokens: found %lld, expected at least 0",
                       (long long)o->max_tokens);
    if (o->logprobs < 0 || o->logprobs > SG_LOGPROBS_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "logprobs: found %lld, expected 0 to %d",
                       (long long)o->logprobs, SG_LOGPROBS_MAX);
    for (size_t i = 0; o->points != NULL && i < o->points->count; i++)
        if (o->points->items[i].use == SG_POINT_GRADIENT)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "point %zu of the list: found a gradient asked for, expected a pass "
                           "that has one",
                           i);
    for (size_t i = 0; i < o->stop_count; i++)
        if (o->stops[i][0] == '\0')
            return sg_fail(err, SG_ERR_ARGUMENT, "stop %zu: found an empty one, expected text",
                           i + 1);
    if (sg_tokenizer_vocab_size(all->tokenizer) > all->model->config.vocab_size)
        return sg_fail(
            err, SG_ERR_MISMATCH,
            "the tokenizer has %d tokens, expected at most the model's vocabulary of %lld",
            sg_tokenizer_vocab_size(all->tokenizer), (long long)all->model->config.vocab_size);
    return SG_OK;
}

sg_status sg_generate_many(sg_model *model, const sg_tokenizer *tokenizer,
                           const char *const *prompts, size_t count,
                           const sg_generate_options *options, void *const *users,
                           sg_generate_result *results, sg_error *err)
{
    generation all = {.model = model,
                      .tokenizer = tokenizer,
                      .options = options,
                      .prompts = prompts,
                      .count = count,
                      .users = users,
                      .results = results};
    for (size_t i = 0; results != NULL && i < count; i++)
        results[i] = (sg_generate_result){0};
    sg_status status = generation_check(&all, err);
    if (status == SG_OK) status = generation_begin(&all, err);
    while (status == SG_OK && all.active > 0) {
        status = generation_step(&all, err);
        if (status == SG_OK) status = generation_begin(&all, err);
    }
    for (size_t i = 0; i < generate_at_once; i++)
        generator_close(&all.texts[i]);
    sg_batch_free(all.batch);
    return status;
}

sg_status sg_generate(sg_model *model, const sg_tokenizer *tokenizer, const char *prompt,
                      const sg_generate_options *options, sg_generate_result *result, sg_error *err)
{
    void *user = options->text_user;
    return sg_generate_many(model, tokenizer, &prompt, 1, options, &user, result, err);
}
