// Scoring answers, wording by wording. The prompts of a wording are sorted by length, and as many
// as a batch takes go through the model in one pass; all of them then walk through the tree of the
// answers' tokens together, one pass for each token that some answer goes on behind. Where answers
// are single tokens, as is usual, the first pass is all.
#include "probe/fact_scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "model/session.h"
#include "probe/fact_text.h"

enum {
    scores_batch = 128,
    scores_cache_bytes = 256 << 20 // of keys and values of all sessions
};

// An answer in the tokens that follow a prompt.
typedef struct scores_cut {
    const int32_t *ids; // (count) at least one
    int64_t count;
    size_t answer; // of the relation's
} scores_cut;

typedef struct scores_prompt {
    size_t fact;
    const int32_t *ids; // (length)
    int64_t length;
} scores_prompt;

typedef struct scorer {
    sg_model *model;
    const sg_tokenizer *tokenizer;
    const sg_facts *facts;
    const sg_fact_scores_options *options;
    sg_fact_scores *out;
    sg_batch *passes;
    int64_t done, total; // prompts
    // Of a relation:
    const char **answers; // (answer_count) ascending, each once
    size_t answer_count;
    // Of a wording:
    sg_arena arena;
    scores_cut *cuts; // (answer_count) ascending in their ids
    size_t *places;   // (answer_count) of each answer among the cuts
    bool cut;         // the answers have been found behind a prompt
    int64_t longest;  // tokens of an answer
    scores_prompt *prompts;
    size_t prompt_count;
    // Of a block of prompts:
    sg_session **sessions; // (session_count)
    int64_t session_count, most;
    int32_t *tokens;
    double *logp;    // (most, answer_count) by cut
    bool *is_greedy; // likewise
} scorer;

static sg_status scores_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the recall of facts");
}

// ---- answers of a relation ----------------------------------------------------------------------

static int scores_text_order(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

static sg_status scores_answers(scorer *s, size_t relation, sg_error *err)
{
    size_t count = 0, unique = 0;
    for (size_t i = 0; i < s->facts->count; i++)
        if (s->facts->facts[i].relation == relation) count += s->facts->facts[i].answer_count;
    sg_free(s->answers);
    s->answers = sg_alloc_array(count + 1, sizeof *s->answers);
    if (s->answers == NULL) return scores_memory(err);
    count = 0;
    for (size_t i = 0; i < s->facts->count; i++)
        for (size_t n = 0; n < s->facts->facts[i].answer_count; n++)
            if (s->facts->facts[i].relation == relation)
                s->answers[count++] = s->facts->facts[i].answers[n];
    qsort(s->answers, count, sizeof *s->answers, scores_text_order);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(s->answers[i], s->answers[unique - 1]) != 0)
            s->answers[unique++] = s->answers[i];
    s->answer_count = s->out->answers[relation] = unique;
    return SG_OK;
}

static size_t scores_answer_index(const scorer *s, const char *answer)
{
    const char *const *found =
        bsearch(&answer, s->answers, s->answer_count, sizeof *s->answers, scores_text_order);
    return (size_t)(found - s->answers);
}

// ---- a wording in tokens ------------------------------------------------------------------------

static const int32_t *scores_keep(scorer *s, const int32_t *ids, int64_t count)
{
    int32_t *kept = sg_arena_alloc(&s->arena, (size_t)count * sizeof *kept);
    if (kept != NULL) memcpy(kept, ids, (size_t)count * sizeof *kept);
    return kept;
}

static int scores_ids_order(const scores_cut *a, const scores_cut *b)
{
    const int64_t count = sg_min(a->count, b->count);
    for (int64_t i = 0; i < count; i++)
        if (a->ids[i] != b->ids[i]) return a->ids[i] < b->ids[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

static int scores_cut_order(const void *one, const void *other)
{
    const scores_cut *a = one, *b = other;
    const int order = scores_ids_order(a, b);
    return order != 0 ? order : (a->answer > b->answer) - (a->answer < b->answer);
}

static int scores_prompt_order(const void *one, const void *other)
{
    const scores_prompt *a = one, *b = other;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return (a->fact > b->fact) - (a->fact < b->fact);
}

// Whether an answer begins behind the prompt where a token does; then `answer` holds both.
static sg_status scores_behind(const scorer *s, const sg_fact_text *prompt, const char *text,
                               sg_fact_text *answer, bool *found, sg_error *err)
{
    SG_TRY(sg_fact_text_encode(s->model, s->tokenizer, prompt->text, text, answer, err));
    *found =
        answer->lost == 0 && answer->count > prompt->count && sg_fact_text_begins(answer, prompt);
    return SG_OK;
}

// Cuts all answers behind this prompt; *found: each of them could be.
static sg_status scores_cut_all(scorer *s, const sg_fact_text *prompt, bool *found, sg_error *err)
{
    *found = true;
    s->longest = 0;
    for (size_t i = 0; i < s->answer_count && *found; i++) {
        sg_fact_text answer;
        scores_cut *cut = &s->cuts[i];
        SG_TRY(scores_behind(s, prompt, s->answers[i], &answer, found, err));
        if (*found) {
            cut->answer = i;
            cut->count = answer.count - prompt->count;
            cut->ids = scores_keep(s, answer.ids + prompt->count, cut->count);
            if (cut->count > s->longest) s->longest = cut->count;
        }
        const bool failed = *found && cut->ids == NULL;
        sg_fact_text_clear(&answer);
        if (failed) return scores_memory(err);
    }
    if (!*found) return SG_OK;
    qsort(s->cuts, s->answer_count, sizeof *s->cuts, scores_cut_order);
    for (size_t i = 0; i < s->answer_count; i++)
        s->places[s->cuts[i].answer] = i;
    s->cut = true;
    return SG_OK;
}

// Whether the fact's own answers are cut behind this prompt as behind the first.
static sg_status scores_same_cut(const scorer *s, const sg_fact_text *prompt, const sg_fact *fact,
                                 bool *same, sg_error *err)
{
    *same = true;
    for (size_t i = 0; i < fact->answer_count && *same; i++) {
        sg_fact_text answer;
        SG_TRY(scores_behind(s, prompt, fact->answers[i], &answer, same, err));
        const scores_cut *cut = &s->cuts[s->places[scores_answer_index(s, fact->answers[i])]];
        *same = *same && answer.count - prompt->count == cut->count &&
                memcmp(answer.ids + prompt->count, cut->ids,
                       (size_t)cut->count * sizeof *cut->ids) == 0;
        sg_fact_text_clear(&answer);
    }
    return SG_OK;
}

// Takes a prompt among those that are asked, or counts why not.
static sg_status scores_take(scorer *s, size_t fact, const sg_fact_text *prompt, sg_error *err)
{
    const sg_fact *f = &s->facts->facts[fact];
    const int64_t positions = s->model->config.max_position_embeddings;
    bool found = true;
    if (prompt->lost > 0) {
        s->out->lost++;
        return SG_OK;
    }
    if (!s->cut) SG_TRY(scores_cut_all(s, prompt, &found, err));
    if (found) SG_TRY(scores_same_cut(s, prompt, f, &found, err));
    if (!found) {
        s->out->answer_not_found++;
    } else if (prompt->count + s->longest - 1 > positions) {
        s->out->too_long++;
    } else {
        scores_prompt *p = &s->prompts[s->prompt_count++];
        *p = (scores_prompt){.fact = fact,
                             .length = prompt->count,
                             .ids = scores_keep(s, prompt->ids, prompt->count)};
        if (p->ids == NULL) return scores_memory(err);
    }
    return SG_OK;
}

static sg_status scores_encode(scorer *s, size_t relation, size_t wording, sg_error *err)
{
    const sg_relation *r = &s->facts->relations[relation];
    for (size_t i = 0; i < s->facts->count; i++) {
        const sg_fact *fact = &s->facts->facts[i];
        sg_fact_text prompt;
        char *text;
        size_t before;
        if (fact->relation != relation) continue;
        if (fact->answer_count == s->answer_count) {
            s->out->no_choice++;
            continue;
        }
        SG_TRY(sg_fact_prompt_text(fact, r->prompts[wording], &text, &before, err));
        sg_status status = sg_fact_text_encode(s->model, s->tokenizer, text, NULL, &prompt, err);
        sg_free(text);
        if (status != SG_OK) return status;
        status = prompt.count > 0 ? scores_take(s, i, &prompt, err) : SG_OK;
        if (prompt.count == 0) s->out->lost++;
        sg_fact_text_clear(&prompt);
        if (status != SG_OK) return status;
    }
    qsort(s->prompts, s->prompt_count, sizeof *s->prompts, scores_prompt_order);
    return SG_OK;
}

// ---- a block of prompts -------------------------------------------------------------------------

// What the tokens behind one node of the tree are likely: cuts [first, end) go through it, and have
// `depth` tokens before.
typedef struct scores_node {
    const scorer *s;
    const float *logits; // (rows, V)
    size_t first, end;
    int64_t depth;
} scores_node;

static void scores_row(void *context, int64_t row, int worker)
{
    (void)worker;
    const scores_node *n = context;
    const scorer *s = n->s;
    const int64_t vocab = s->model->config.vocab_size;
    const float *logits = n->logits + row * vocab;
    int64_t top = 0;
    double sum = 0;
    for (int64_t v = 1; v < vocab; v++)
        if (logits[v] > logits[top]) top = v;
    for (int64_t v = 0; v < vocab; v++)
        sum += exp((double)logits[v] - (double)logits[top]);
    const double all = (double)logits[top] + log(sum);
    for (size_t i = n->first; i < n->end; i++) {
        const size_t at = (size_t)row * s->answer_count + i;
        if (s->cuts[i].count <= n->depth) continue;
        const int32_t id = s->cuts[i].ids[n->depth];
        s->logp[at] += (double)logits[id] - all;
        s->is_greedy[at] = s->is_greedy[at] && id == top;
    }
}

static void scores_look(const scorer *s, const float *logits, int64_t rows, size_t first,
                        size_t end, int64_t depth)
{
    scores_node node = {s, logits, first, end, depth};
    sg_parallel_for(s->model->context->compute.pool, rows, scores_row, &node);
}

static int64_t scores_common(const scores_cut *a, const scores_cut *b)
{
    int64_t n = 0;
    while (n < a->count && n < b->count && a->ids[n] == b->ids[n])
        n++;
    return n;
}

// The node behind the first `depth` tokens of cut i, which no cut before it goes through.
static sg_status scores_visit(scorer *s, size_t i, int64_t depth, int64_t length, int64_t rows,
                              sg_error *err)
{
    const float *logits;
    size_t end = i + 1;
    while (end < s->answer_count && scores_common(&s->cuts[i], &s->cuts[end]) >= depth)
        end++;
    for (int64_t r = 0; r < rows; r++) {
        SG_TRY(sg_session_rewind(s->sessions[r], length + depth - 1, err));
        s->tokens[r] = s->cuts[i].ids[depth - 1];
    }
    SG_TRY(sg_batch_feed(s->passes, s->sessions, s->tokens, rows, &logits, err));
    scores_look(s, logits, rows, i, end, depth);
    return SG_OK;
}

// Cuts are in the order of a walk through their tree, so that what a session holds is the path to
// where the next cut leaves it.
static sg_status scores_walk(scorer *s, int64_t length, int64_t rows, sg_error *err)
{
    for (size_t i = 0; i < s->answer_count; i++) {
        int64_t visited = 0; // of the nodes that this cut goes through, those the last one did
        if (i > 0)
            visited = sg_min(scores_common(&s->cuts[i - 1], &s->cuts[i]), s->cuts[i - 1].count - 1);
        for (int64_t depth = visited + 1; depth < s->cuts[i].count; depth++)
            SG_TRY(scores_visit(s, i, depth, length, rows, err));
    }
    return SG_OK;
}

static double scores_log_sum(double a, double b)
{
    if (a < b) return scores_log_sum(b, a);
    return isinf(b) ? a : a + log1p(exp(b - a));
}

// What the answers to the prompt of a row say of its fact.
static sg_status scores_tell(scorer *s, size_t fact, int64_t row, sg_error *err)
{
    const sg_fact *f = &s->facts->facts[fact];
    sg_known_fact *known = &s->out->facts[fact];
    const double *logp = s->logp + (size_t)row * s->answer_count;
    double right = -INFINITY, wrong = -INFINITY, right_best = -INFINITY, wrong_best = -INFINITY;
    bool greedy = false;
    for (size_t i = 0; i < s->answer_count; i++) {
        bool is_right = false;
        for (size_t n = 0; n < f->answer_count && !is_right; n++)
            is_right = s->places[scores_answer_index(s, f->answers[n])] == i;
        if (isnan(logp[i]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "facts: a logit is not a number: the weights are spoiled");
        if (is_right) greedy = greedy || s->is_greedy[(size_t)row * s->answer_count + i];
        double *sum = is_right ? &right : &wrong, *best = is_right ? &right_best : &wrong_best;
        *sum = scores_log_sum(*sum, logp[i]);
        *best = fmax(*best, logp[i]);
    }
    known->possible = log2((double)s->answer_count / (double)f->answer_count);
    known->bits += known->possible + (right - scores_log_sum(right, wrong)) / log(2);
    known->recalled += right_best > wrong_best;
    known->greedy += greedy;
    known->prompts++;
    return SG_OK;
}

// Prompts of one length.
static sg_status scores_block(scorer *s, const scores_prompt *prompts, int64_t rows, sg_error *err)
{
    const int64_t length = prompts->length;
    const float *logits;
    for (int64_t r = 0; r < rows; r++) {
        memcpy(s->tokens + r * length, prompts[r].ids, (size_t)length * sizeof *s->tokens);
        SG_TRY(sg_session_rewind(s->sessions[r], 0, err));
    }
    for (size_t i = 0; i < (size_t)rows * s->answer_count; i++) {
        s->logp[i] = 0;
        s->is_greedy[i] = true;
    }
    SG_TRY(sg_batch_feed_prompts(s->passes, s->sessions, s->tokens, rows, length, &logits, err));
    scores_look(s, logits, rows, 0, s->answer_count, 0);
    SG_TRY(scores_walk(s, length, rows, err));
    for (int64_t r = 0; r < rows; r++)
        SG_TRY(scores_tell(s, prompts[r].fact, r, err));
    return SG_OK;
}

// ---- wordings -----------------------------------------------------------------------------------

static void scores_sessions_free(scorer *s)
{
    for (int64_t i = 0; i < s->session_count; i++)
        sg_session_free(s->sessions[i]);
    s->session_count = 0;
    sg_free(s->tokens);
    sg_free(s->logp);
    sg_free(s->is_greedy);
    s->tokens = NULL;
    s->logp = NULL;
    s->is_greedy = NULL;
}

// Sessions for the longest of the prompts, as many as one pass has.
static sg_status scores_sessions(scorer *s, sg_error *err)
{
    const int64_t longest = s->prompts[s->prompt_count - 1].length, room = longest + s->longest - 1;
    const size_t all = (size_t)s->most * s->answer_count;
    s->tokens = sg_alloc_array((size_t)(s->most * longest), sizeof *s->tokens);
    s->logp = sg_alloc_array(all, sizeof *s->logp);
    s->is_greedy = sg_alloc_array(all, sizeof *s->is_greedy);
    if (s->tokens == NULL || s->logp == NULL || s->is_greedy == NULL) return scores_memory(err);
    while (s->session_count < sg_min(s->most, (int64_t)s->prompt_count)) {
        SG_TRY(sg_session_new(s->model, room, &s->sessions[s->session_count], err));
        s->session_count++;
    }
    return SG_OK;
}

static sg_status scores_passes(scorer *s, sg_error *err)
{
    for (size_t first = 0, end; first < s->prompt_count; first = end) {
        end = first + 1;
        while (end < s->prompt_count && end - first < (size_t)s->most &&
               s->prompts[end].length == s->prompts[first].length)
            end++;
        SG_TRY(scores_block(s, s->prompts + first, (int64_t)(end - first), err));
        if (s->options->progress != NULL &&
            !s->options->progress(s->options->user, s->done + (int64_t)end, s->total))
            return sg_fail(err, SG_ERR_STOPPED, "facts: stopped after %lld of %lld prompts",
                           (long long)s->done + (long long)end, (long long)s->total);
    }
    return SG_OK;
}

static sg_status scores_wording(scorer *s, size_t relation, size_t wording, size_t facts,
                                sg_error *err)
{
    s->cut = false;
    s->prompt_count = 0;
    SG_TRY(scores_encode(s, relation, wording, err));
    sg_status status = SG_OK;
    if (s->prompt_count > 0) {
        status = scores_sessions(s, err);
        if (status == SG_OK) status = scores_passes(s, err);
        scores_sessions_free(s);
    }
    sg_arena_free(&s->arena);
    s->done += (int64_t)facts;
    return status;
}

static sg_status scores_relation(scorer *s, size_t relation, size_t facts, sg_error *err)
{
    SG_TRY(scores_answers(s, relation, err));
    sg_free(s->cuts);
    sg_free(s->places);
    sg_free(s->prompts);
    s->cuts = sg_alloc_array(s->answer_count + 1, sizeof *s->cuts);
    s->places = sg_alloc_array(s->answer_count + 1, sizeof *s->places);
    s->prompts = sg_alloc_array(facts + 1, sizeof *s->prompts);
    if (s->cuts == NULL || s->places == NULL || s->prompts == NULL) return scores_memory(err);
    for (size_t w = 0; w < s->facts->relations[relation].prompt_count; w++)
        SG_TRY(scores_wording(s, relation, w, facts, err));
    return SG_OK;
}

static sg_status scores_all(scorer *s, sg_error *err)
{
    size_t *facts = sg_alloc_zero(s->facts->relation_count, sizeof *facts);
    if (facts == NULL) return scores_memory(err);
    for (size_t i = 0; i < s->facts->count; i++) {
        const size_t relation = s->facts->facts[i].relation;
        facts[relation]++;
        s->total += (int64_t)s->facts->relations[relation].prompt_count;
    }
    sg_status status = SG_OK;
    for (size_t r = 0; status == SG_OK && r < s->facts->relation_count; r++)
        if (facts[r] > 0) status = scores_relation(s, r, facts[r], err);
    sg_free(facts);
    return status;
}

// ---- the whole ----------------------------------------------------------------------------------

void sg_fact_scores_clear(sg_fact_scores *scores)
{
    sg_free(scores->facts);
    sg_free(scores->answers);
    *scores = (sg_fact_scores){0};
}

// Prompts of a pass, so that keys and values of as many tokens as a prompt of facts has fit.
static int64_t scores_most(const sg_model *model, int64_t asked)
{
    enum { tokens = 32 };
    const sg_config *c = &model->config;
    const int64_t one = 2 * c->num_hidden_layers * tokens * sg_config_kv_heads(c) * c->head_dim *
                        (int64_t)sizeof(sg_real);
    if (asked > 0) return asked;
    const int64_t fit = scores_cache_bytes / one;
    return fit < 1 ? 1 : sg_min(scores_batch, fit);
}

sg_status sg_fact_scores_new(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                             const sg_fact_scores_options *options, sg_fact_scores *out,
                             sg_error *err)
{
    scorer s = {.model = model,
                .tokenizer = tokenizer,
                .facts = facts,
                .options = options,
                .out = out,
                .most = scores_most(model, options->batch)};
    *out = (sg_fact_scores){0};
    if (options->batch < 0 || options->batch > SG_BATCH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found %lld, expected 0 to %d",
                       (long long)options->batch, SG_BATCH_MAX);
    out->facts = sg_alloc_zero(facts->count + 1, sizeof *out->facts);
    out->answers = sg_alloc_zero(facts->relation_count + 1, sizeof *out->answers);
    s.sessions = sg_alloc_zero((size_t)s.most, sizeof(sg_session *));
    sg_status status = out->facts == NULL || out->answers == NULL || s.sessions == NULL
                           ? scores_memory(err)
                           : sg_batch_new(model, s.most, &s.passes, err);
    if (status == SG_OK) status = scores_all(&s, err);
    scores_sessions_free(&s);
    sg_arena_free(&s.arena);
    sg_free(s.sessions);
    sg_free(s.answers);
    sg_free(s.cuts);
    sg_free(s.places);
    sg_free(s.prompts);
    sg_batch_free(s.passes);
    if (status != SG_OK) sg_fact_scores_clear(out);
    return status;
}
