// From scores to merges. SentencePiece joins, among all adjacent symbols whose texts together are a
// token, the pair whose token has the highest score, of equal ones the leftmost (Kudo & Richardson
// 2018). That is byte-pair encoding with a merge for every way to cut every token in two, ranked by
// the token's score.
//
// All but one of the merges of a token never happen. Let symbols x and y stand side by side in some
// text at some time. The joins inside the stretch of text that they cover are then, in the same
// order, those of that stretch alone: none of them crossed its ends, and scores and
// left-before-right inside do not depend on what is outside. Alone, xy goes through one state with
// two symbols at most, since each join takes one away. So the only merge of a token that can happen
// is the last one on the way of its own text; that one is kept, and if no two tokens have the same
// score the merges that are left, in order of score, are an ordinary list of merges.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/bpe.h"
#include "text/vocab.h"

// Bytes hashed while looking up parts of tokens, at most; real vocabularies need some millions.
#define SCORE_WORK_MAX ((uint64_t)1 << 32)

typedef struct score_rank {
    float score;
    int32_t id;
} score_rank;

typedef struct score_merger {
    sg_hf_tokenizer all; // tokens, and every way to cut them
    size_t capacity;
    score_rank *order;
    uint32_t *ranks; // (V) by token
    sg_token_map parts;
    sg_bpe *bpe;
    sg_bpe_scratch *scratch;
} score_merger;

static bool score_takes_part(const int32_t *types, int32_t id)
{
    return types == NULL || types[id] == SG_TOKEN_NORMAL;
}

static int score_order(const void *a, const void *b)
{
    const score_rank *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int score_merge_order(const void *a, const void *b)
{
    const sg_hf_merge *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return x->result < y->result ? -1 : x->result > y->result;
}

static sg_status score_no_memory(const char *name, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

// Tokens of equal score have equal rank.
static sg_status score_rank_tokens(score_merger *m, const float *scores, const char *name,
                                   sg_error *err)
{
    size_t count = (size_t)m->all.vocab_size;
    m->order = sg_alloc_array(count, sizeof *m->order);
    m->ranks = sg_alloc_array(count, sizeof *m->ranks);
    if (m->order == NULL || m->ranks == NULL || !sg_token_map_open(&m->parts, count))
        return score_no_memory(name, err);
    for (size_t i = 0; i < count; i++) {
        if (isnan(scores[i]))
            return sg_fail(err, SG_ERR_FORMAT, "%s: the score of token %zu is not a number", name,
                           i);
        m->order[i] = (score_rank){scores[i], (int32_t)i};
    }
    qsort(m->order, count, sizeof *m->order, score_order);
    uint32_t rank = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && m->order[i].score != m->order[i - 1].score) rank++;
        m->ranks[m->order[i].id] = rank;
    }
    return SG_OK;
}

// A merge for each way to cut token `id` into two tokens.
static sg_status score_cut(score_merger *m, int32_t id, const char *name, sg_error *err)
{
    sg_hf_string token = m->all.tokens[id];
    for (size_t at = 1; at < token.bytes; at++) {
        if (((unsigned char)token.text[at] & 0xC0) == 0x80) continue;
        int32_t left = sg_token_map_get(&m->parts, token.text, at);
        if (left < 0) continue;
        int32_t right = sg_token_map_get(&m->parts, token.text + at, token.bytes - at);
        if (right < 0) continue;
        if (!sg_grow((void **)&m->all.merges, &m->capacity, m->all.merge_count + 1,
                     sizeof *m->all.merges))
            return score_no_memory(name, err);
        m->all.merges[m->all.merge_count++] = (sg_hf_merge){left, right, id, m->ranks[id]};
    }
    return SG_OK;
}

static sg_status score_cut_all(score_merger *m, const int32_t *types, const char *name,
                               sg_error *err)
{
    uint64_t work = 0;
    for (int32_t id = 0; id < m->all.vocab_size; id++) {
        if (!score_takes_part(types, id)) continue;
        sg_hf_string token = m->all.tokens[id];
        if (token.bytes > UINT32_MAX ||
            (work += (uint64_t)token.bytes * token.bytes) > SCORE_WORK_MAX)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: token %d: found %zu bytes, tokens are too long to be taken apart",
                           name, id, token.bytes);
        sg_token_map_put(&m->parts, token.text, token.bytes, id);
    }
    for (int32_t id = 0; id < m->all.vocab_size; id++)
        if (score_takes_part(types, id)) SG_TRY(score_cut(m, id, name, err));
    return SG_OK;
}

// The one merge of each token that can happen; cuts of a token lie side by side in m->all.merges.
static sg_status score_keep(score_merger *m, sg_hf_tokenizer *hf, const char *name, sg_error *err)
{
    SG_TRY(sg_bpe_new(&m->all, &m->bpe, err));
    m->scratch = sg_bpe_scratch_new();
    hf->merges = sg_arena_alloc(&hf->arena, ((size_t)hf->vocab_size + 1) * sizeof *hf->merges);
    hf->merge_count = 0;
    if (m->scratch == NULL || hf->merges == NULL) return score_no_memory(name, err);
    for (size_t i = 0; i < m->all.merge_count; i++) {
        int32_t id = m->all.merges[i].result, pair[2];
        bool found;
        if (i > 0 && m->all.merges[i - 1].result == id) continue;
        sg_hf_string token = hf->tokens[id];
        if (!sg_bpe_last_pair(m->bpe, m->scratch, token.text, token.bytes, &found, pair))
            return score_no_memory(name, err);
        if (found)
            hf->merges[hf->merge_count++] = (sg_hf_merge){pair[0], pair[1], id, m->ranks[id]};
    }
    qsort(hf->merges, hf->merge_count, sizeof *hf->merges, score_merge_order);
    return SG_OK;
}

sg_status sg_merges_from_scores(sg_hf_tokenizer *hf, const float *scores, const int32_t *types,
                                const char *name, sg_error *err)
{
    score_merger m = {.all = {.tokens = hf->tokens, .vocab_size = hf->vocab_size, .unk = -1}};
    sg_status status = score_rank_tokens(&m, scores, name, err);
    if (status == SG_OK) status = score_cut_all(&m, types, name, err);
    if (status == SG_OK) status = score_keep(&m, hf, name, err);
    sg_bpe_scratch_free(m.scratch);
    sg_bpe_free(m.bpe);
    sg_token_map_close(&m.parts);
    sg_free(m.all.merges);
    sg_free(m.order);
    sg_free(m.ranks);
    return status;
}
