// Prompts of facts in tokens, their groups, and pairs within groups. Where a subject or an answer
// begins and ends is found by encoding the text up to there: its ids must begin those of the whole.
#include "probe/fact_pairs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "probe/fact_text.h"

enum { pairs_most = 10000000 };

typedef struct pairs_maker {
    const sg_model *model;
    const sg_tokenizer *tokenizer;
    const sg_facts *facts;
    sg_fact_pairs *pairs;
    sg_fact_pair *halves; // one order of each pair
    size_t half_count, half_capacity;
    uint64_t *before; // (groups + 1) unordered pairs in the groups before
} pairs_maker;

static sg_status pairs_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for pairs of facts");
}

// ---- tokens -------------------------------------------------------------------------------------

// Tokens of whole that the first `bytes` of its text are; -1: they do not end where a token does.
static sg_status pairs_tokens(const pairs_maker *m, const sg_fact_text *whole, size_t bytes,
                              int64_t *tokens, sg_error *err)
{
    sg_fact_text part;
    char *text = sg_strndup(whole->text, bytes);
    if (text == NULL) return pairs_memory(err);
    sg_status status = sg_fact_text_encode(m->model, m->tokenizer, text, NULL, &part, err);
    sg_free(text);
    if (status != SG_OK) return status;
    *tokens = sg_fact_text_begins(whole, &part) ? part.count : -1;
    sg_fact_text_clear(&part);
    return SG_OK;
}

static sg_status pairs_subject(const pairs_maker *m, const sg_fact_text *whole, size_t before,
                               size_t subject, sg_fact_prompt *p, sg_error *err)
{
    int64_t first = whole->begins, end;
    const size_t from = before;
    while (before > 0 && whole->text[before - 1] == ' ')
        before--;
    if (before > 0) SG_TRY(pairs_tokens(m, whole, before, &first, err));
    SG_TRY(pairs_tokens(m, whole, from + subject, &end, err));
    p->subject_first = first;
    p->subject_last = first >= 0 && end > first ? end - 1 : -1;
    return SG_OK;
}

// The first token of an answer, put among those of the prompt.
static void pairs_add_answer(sg_fact_prompt *p, int32_t id)
{
    size_t at = 0;
    while (at < p->answer_count && p->answers[at] < id)
        at++;
    if (at < p->answer_count && p->answers[at] == id) return;
    memmove(p->answers + at + 1, p->answers + at, (p->answer_count - at) * sizeof *p->answers);
    p->answers[at] = id;
    p->answer_count++;
}

static sg_status pairs_answers(pairs_maker *m, const sg_fact_text *whole, const sg_fact *fact,
                               sg_fact_prompt *p, sg_error *err)
{
    bool several = false;
    for (size_t i = 0; i < fact->answer_count; i++) {
        sg_fact_text answer;
        SG_TRY(sg_fact_text_encode(m->model, m->tokenizer, whole->text, fact->answers[i], &answer,
                                   err));
        if (answer.lost == 0 && answer.count > whole->count &&
            sg_fact_text_begins(&answer, whole)) {
            pairs_add_answer(p, answer.ids[whole->count]);
            several = several || answer.count > whole->count + 1;
        }
        sg_fact_text_clear(&answer);
    }
    if (p->answer_count > 0 && several) m->pairs->counts.several_tokens++;
    return SG_OK;
}

// ---- prompts ------------------------------------------------------------------------------------

// What is known of a prompt, or why it is left out.
static sg_status pairs_look(pairs_maker *m, const sg_fact_text *whole, size_t before,
                            sg_fact_prompt *p, bool *keep, sg_error *err)
{
    sg_patch_counts *counts = &m->pairs->counts;
    const sg_fact *fact = &m->facts->facts[p->fact];
    int64_t *why = NULL;
    if (whole->lost > 0) {
        why = &counts->lost;
    } else if (whole->count > m->model->config.max_position_embeddings) {
        why = &counts->too_long;
    } else {
        SG_TRY(pairs_subject(m, whole, before, strlen(fact->subject), p, err));
        if (p->subject_last < 0) why = &counts->subject_not_found;
    }
    if (why == NULL) {
        SG_TRY(pairs_answers(m, whole, fact, p, err));
        if (p->answer_count == 0) why = &counts->answer_not_found;
    }
    if (why != NULL) ++*why;
    *keep = why == NULL;
    return SG_OK;
}

static sg_status pairs_store(pairs_maker *m, const sg_fact_text *whole, const int32_t *answers,
                             const sg_fact_prompt *p, sg_error *err)
{
    sg_fact_pairs *pairs = m->pairs;
    const size_t bytes = (size_t)whole->count * sizeof(int32_t);
    const size_t answer_bytes = p->answer_count * sizeof(int32_t);
    sg_fact_prompt *kept = &pairs->prompts[pairs->prompt_count];
    *kept = *p;
    kept->length = whole->count;
    kept->tokens = sg_arena_alloc(&pairs->arena, bytes);
    kept->answers = sg_arena_alloc(&pairs->arena, answer_bytes);
    if (kept->tokens == NULL || kept->answers == NULL) return pairs_memory(err);
    memcpy(kept->tokens, whole->ids, bytes);
    memcpy(kept->answers, answers, answer_bytes);
    pairs->prompt_count++;
    return SG_OK;
}

static sg_status pairs_prompt(pairs_maker *m, size_t fact, size_t prompt, sg_error *err)
{
    const sg_fact *f = &m->facts->facts[fact];
    int32_t answers[SG_PROMPT_ANSWERS];
    sg_fact_prompt p = {.fact = fact, .prompt = prompt, .answers = answers};
    sg_fact_text whole = {0};
    char *text;
    size_t before;
    bool keep = false;
    SG_TRY(sg_fact_prompt_text(f, m->facts->relations[f->relation].prompts[prompt], &text, &before,
                               err));
    sg_status status = sg_fact_text_encode(m->model, m->tokenizer, text, NULL, &whole, err);
    if (status == SG_OK) status = pairs_look(m, &whole, before, &p, &keep, err);
    if (status == SG_OK && keep) status = pairs_store(m, &whole, answers, &p, err);
    sg_fact_text_clear(&whole);
    sg_free(text);
    return status;
}

static sg_status pairs_prompts(pairs_maker *m, sg_error *err)
{
    sg_fact_pairs *pairs = m->pairs;
    for (size_t i = 0; i < m->facts->count; i++)
        pairs->counts.prompts +=
            (int64_t)m->facts->relations[m->facts->facts[i].relation].prompt_count;
    pairs->prompts = sg_alloc_zero((size_t)pairs->counts.prompts, sizeof *pairs->prompts);
    if (pairs->prompts == NULL) return pairs_memory(err);
    for (size_t i = 0; i < m->facts->count; i++)
        for (size_t n = 0; n < m->facts->relations[m->facts->facts[i].relation].prompt_count; n++)
            SG_TRY(pairs_prompt(m, i, n, err));
    return SG_OK;
}

// ---- groups -------------------------------------------------------------------------------------

// The relation is looked up by the caller, who sorts.
typedef struct pairs_entry {
    sg_fact_prompt prompt;
    size_t relation;
} pairs_entry;

static int pairs_compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int pairs_wording(const pairs_entry *a, const pairs_entry *b)
{
    const int relation = pairs_compare((int64_t)a->relation, (int64_t)b->relation);
    return relation != 0 ? relation
                         : pairs_compare((int64_t)a->prompt.prompt, (int64_t)b->prompt.prompt);
}

// 0: they can be paired, as far as their tokens go.
static int pairs_shape(const pairs_entry *a, const pairs_entry *b)
{
    int order = pairs_wording(a, b);
    if (order == 0) order = pairs_compare(a->prompt.length, b->prompt.length);
    if (order == 0) order = pairs_compare(a->prompt.subject_first, b->prompt.subject_first);
    if (order == 0) order = pairs_compare(a->prompt.subject_last, b->prompt.subject_last);
    return order;
}

static int pairs_order(const void *one, const void *other)
{
    const pairs_entry *a = one, *b = other;
    const int order = pairs_shape(a, b);
    return order != 0 ? order : pairs_compare((int64_t)a->prompt.fact, (int64_t)b->prompt.fact);
}

static sg_status pairs_groups(pairs_maker *m, sg_error *err)
{
    sg_fact_pairs *pairs = m->pairs;
    const size_t count = pairs->prompt_count;
    pairs_entry *entries = sg_alloc_array(count + 1, sizeof *entries);
    pairs->groups = sg_alloc_zero(count + 1, sizeof *pairs->groups);
    m->before = sg_alloc_zero(count + 1, sizeof *m->before);
    if (entries == NULL || pairs->groups == NULL || m->before == NULL) {
        sg_free(entries);
        return pairs_memory(err);
    }
    for (size_t i = 0; i < count; i++)
        entries[i] =
            (pairs_entry){pairs->prompts[i], m->facts->facts[pairs->prompts[i].fact].relation};
    qsort(entries, count, sizeof *entries, pairs_order);
    size_t wording = 0, group = 0;
    int64_t within = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && pairs_shape(&entries[i - 1], &entries[i]) != 0) {
            pairs->groups[++pairs->group_count] = group = i;
            m->before[pairs->group_count] = (uint64_t)within;
        }
        if (i > 0 && pairs_wording(&entries[i - 1], &entries[i]) != 0) wording = i;
        within += (int64_t)(i - group);
        pairs->counts.candidates += (int64_t)(i - wording);
        pairs->prompts[i] = entries[i].prompt;
        pairs->prompts[i].group = pairs->group_count;
    }
    if (count > 0) pairs->groups[++pairs->group_count] = count;
    m->before[pairs->group_count] = (uint64_t)within;
    pairs->counts.groups = (int64_t)pairs->group_count;
    pairs->counts.unequal = pairs->counts.candidates - within;
    sg_free(entries);
    return SG_OK;
}

// ---- pairs --------------------------------------------------------------------------------------

bool sg_fact_prompts_differ(const sg_fact_prompt *a, const sg_fact_prompt *b)
{
    size_t i = 0, j = 0;
    while (i < a->answer_count && j < b->answer_count) {
        if (a->answers[i] == b->answers[j]) return false;
        if (a->answers[i] < b->answers[j])
            i++;
        else
            j++;
    }
    return true;
}

// Pair number `index` of all within groups: of numbers a < b the (b (b - 1) / 2 + a)-th of a group.
static sg_fact_pair pairs_at(const pairs_maker *m, uint64_t index)
{
    size_t low = 0, high = m->pairs->group_count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (m->before[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    const uint64_t r = index - m->before[low];
    uint64_t b = (uint64_t)((1 + sqrt(1 + 8 * (double)r)) / 2);
    while (b * (b - 1) / 2 > r)
        b--;
    while (b * (b + 1) / 2 <= r)
        b++;
    return (sg_fact_pair){m->pairs->groups[low] + (size_t)(r - b * (b - 1) / 2),
                          m->pairs->groups[low] + (size_t)b};
}

static int pairs_half_order(const void *one, const void *other)
{
    const sg_fact_pair *a = one, *b = other;
    const int clean = pairs_compare((int64_t)a->clean, (int64_t)b->clean);
    return clean != 0 ? clean
                      : pairs_compare((int64_t)a->counterfactual, (int64_t)b->counterfactual);
}

static sg_status pairs_draw(pairs_maker *m, int64_t most, uint64_t seed, sg_error *err)
{
    sg_fact_pairs *pairs = m->pairs;
    const uint64_t all = m->before[pairs->group_count];
    const bool draw = most > 0 && all > (uint64_t)(most + 1) / 2;
    const uint64_t want = draw ? (uint64_t)(most + 1) / 2 : all;
    const uint32_t stream = sg_rng_stream("probe.patch.pairs");
    if (want > pairs_most)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "pairs: found %llu of these facts, expected at most %d",
                       (unsigned long long)want, pairs_most);
    for (uint64_t i = 0; i < all && m->half_count < want; i++) {
        const sg_fact_pair pair = pairs_at(m, draw ? sg_rng_permute(seed, stream, i, all) : i);
        pairs->counts.looked_at++;
        if (!sg_fact_prompts_differ(&pairs->prompts[pair.clean],
                                    &pairs->prompts[pair.counterfactual])) {
            pairs->counts.alike++;
            continue;
        }
        if (!sg_grow((void **)&m->halves, &m->half_capacity, m->half_count + 1, sizeof *m->halves))
            return pairs_memory(err);
        m->halves[m->half_count++] = pair;
    }
    pairs->counts.drawn = (uint64_t)pairs->counts.looked_at < all;
    if (m->half_count > 0) qsort(m->halves, m->half_count, sizeof *m->halves, pairs_half_order);
    pairs->pairs = sg_alloc_array(2 * m->half_count + 1, sizeof *pairs->pairs);
    if (pairs->pairs == NULL) return pairs_memory(err);
    for (size_t i = 0; i < m->half_count; i++) {
        pairs->pairs[pairs->count++] = m->halves[i];
        pairs->pairs[pairs->count++] =
            (sg_fact_pair){m->halves[i].counterfactual, m->halves[i].clean};
    }
    pairs->counts.pairs = (int64_t)pairs->count;
    return SG_OK;
}

static sg_status pairs_count_facts(pairs_maker *m, sg_error *err)
{
    bool *used = sg_alloc_zero(m->facts->count, sizeof *used);
    if (used == NULL) return pairs_memory(err);
    for (size_t i = 0; i < m->pairs->count; i++) {
        const size_t fact = m->pairs->prompts[m->pairs->pairs[i].clean].fact;
        m->pairs->counts.used += !used[fact];
        used[fact] = true;
    }
    sg_free(used);
    return SG_OK;
}

static sg_status pairs_none(const sg_patch_counts *c, sg_error *err)
{
    return sg_fail(err, SG_ERR_MISMATCH,
                   "facts: found no pair of prompts of one wording whose runs can be exchanged, "
                   "expected some: of %lld prompts, %lld have bytes that no token stands for, in "
                   "%lld the subject and in %lld the answer does not begin or end where a token "
                   "does, %lld are too long; of %lld pairs of the others, %lld have unequal "
                   "lengths or the subject at other tokens, %lld answers that begin alike",
                   (long long)c->prompts, (long long)c->lost, (long long)c->subject_not_found,
                   (long long)c->answer_not_found, (long long)c->too_long, (long long)c->candidates,
                   (long long)c->unequal, (long long)c->alike);
}

void sg_fact_pairs_free(sg_fact_pairs *pairs)
{
    if (pairs == NULL) return;
    sg_arena_free(&pairs->arena);
    sg_free(pairs->prompts);
    sg_free(pairs->groups);
    sg_free(pairs->pairs);
    sg_free(pairs);
}

static sg_status pairs_make(pairs_maker *m, int64_t most, uint64_t seed, sg_error *err)
{
    m->pairs->counts.relations = (int64_t)m->facts->relation_count;
    m->pairs->counts.facts = (int64_t)m->facts->count;
    if (most < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "pairs: found %lld, expected at least 0",
                       (long long)most);
    SG_TRY(pairs_prompts(m, err));
    SG_TRY(pairs_groups(m, err));
    SG_TRY(pairs_draw(m, most, seed, err));
    if (m->pairs->count == 0) return pairs_none(&m->pairs->counts, err);
    return pairs_count_facts(m, err);
}

sg_status sg_fact_pairs_new(const sg_model *model, const sg_tokenizer *tokenizer,
                            const sg_facts *facts, int64_t most, uint64_t seed, sg_fact_pairs **out,
                            sg_error *err)
{
    *out = NULL;
    pairs_maker m = {.model = model,
                     .tokenizer = tokenizer,
                     .facts = facts,
                     .pairs = sg_alloc_zero(1, sizeof *m.pairs)};
    if (m.pairs == NULL) return pairs_memory(err);
    sg_status status = pairs_make(&m, most, seed, err);
    sg_free(m.halves);
    sg_free(m.before);
    if (status == SG_OK)
        *out = m.pairs;
    else
        sg_fact_pairs_free(m.pairs);
    return status;
}
