// The plain arrays of text/vocab.h from the steps that a tokenizer is made of, and from there
// metadata. Before they are handed out a tokenizer is made of the arrays, which must give the ids
// of the old one.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/tokenizer.h"
#include "text/vocab.h"
#include "text/word_cuts.h"

static const char vocabw_mark[] = "\u2581"; // how the kind "llama" spells a space

typedef struct vocabw {
    const sg_tokenizer *t;
    const sg_hf_tokenizer *hf;
    sg_arena arena;
    sg_hf_string *tokens, *merges;
    float *scores;
    int32_t *types;
    sg_vocab vocab;
    sg_error *err;
} vocabw;

static sg_status vocabw_no_memory(const vocabw *w)
{
    return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for a vocabulary");
}

static sg_status vocabw_refuse(const vocabw *w, const char *field, const char *expected)
{
    return sg_fail(w->err, SG_ERR_UNSUPPORTED,
                   "tokenizer.json: \"%s\": found what GGUF cannot say, expected %s", field,
                   expected);
}

// ---- tokens -------------------------------------------------------------------------------------

static sg_hf_string vocabw_copy(vocabw *w, const char *text, size_t bytes)
{
    return (sg_hf_string){sg_arena_strndup(&w->arena, text, bytes), bytes};
}

// The text with spaces as marks.
static sg_hf_string vocabw_marked(vocabw *w, sg_hf_string token)
{
    const size_t mark = sizeof vocabw_mark - 1;
    size_t spaces = 0, used = 0;
    for (size_t i = 0; i < token.bytes; i++)
        spaces += token.text[i] == ' ';
    char *to = sg_arena_alloc(&w->arena, token.bytes + spaces * mark + 1);
    for (size_t i = 0; to != NULL && i < token.bytes; i++) {
        const bool space = token.text[i] == ' ';
        memcpy(to + used, space ? vocabw_mark : token.text + i, space ? mark : 1);
        used += space ? mark : 1;
    }
    if (to != NULL) to[used] = '\0';
    return (sg_hf_string){to, used};
}

static int32_t vocabw_type(const vocabw *w, int32_t id)
{
    const sg_hf_added *added = id < w->t->size ? w->t->added[id] : NULL;
    if (id >= w->t->size || w->t->texts[id].bytes == 0) return SG_TOKEN_UNUSED;
    if (id == w->hf->unk && (added == NULL || added->special)) return SG_TOKEN_UNKNOWN;
    if (added != NULL) return added->special ? SG_TOKEN_CONTROL : SG_TOKEN_USER;
    if (w->hf->byte_fallback &&
        sg_hf_fallback_byte(w->t->texts[id].text, w->t->texts[id].bytes) >= 0)
        return SG_TOKEN_BYTE;
    return SG_TOKEN_NORMAL;
}

static sg_status vocabw_tokens(vocabw *w, int64_t count, bool marked)
{
    if (w->t->size > count)
        return sg_fail(w->err, SG_ERR_MISMATCH,
                       "the tokenizer has %d tokens, expected at most the model's vocabulary of "
                       "%lld",
                       w->t->size, (long long)count);
    w->tokens = sg_arena_alloc(&w->arena, (size_t)count * sizeof *w->tokens);
    w->types = sg_arena_alloc(&w->arena, (size_t)count * sizeof *w->types);
    w->scores = sg_arena_alloc(&w->arena, (size_t)count * sizeof *w->scores);
    if (w->tokens == NULL || w->types == NULL || w->scores == NULL) return vocabw_no_memory(w);
    for (int32_t id = 0; id < count; id++) {
        w->types[id] = vocabw_type(w, id);
        if (w->types[id] == SG_TOKEN_UNUSED) {
            char name[32];
            int length = snprintf(name, sizeof name, "[PAD%d]", id);
            w->tokens[id] = vocabw_copy(w, name, (size_t)length);
        } else {
            w->tokens[id] = marked ? vocabw_marked(w, w->t->texts[id])
                                   : vocabw_copy(w, w->t->texts[id].text, w->t->texts[id].bytes);
        }
        if (w->tokens[id].text == NULL) return vocabw_no_memory(w);
    }
    w->vocab.tokens = w->tokens;
    w->vocab.types = w->types;
    w->vocab.count = (size_t)count;
    return SG_OK;
}

// ---- kinds --------------------------------------------------------------------------------------

static sg_status vocabw_gpt2(vocabw *w, const sg_config *config)
{
    const sg_hf_tokenizer *hf = w->hf;
    for (size_t i = 0; i < hf->normalizer_count; i++)
        if (hf->normalizers[i].kind != SG_HF_NFC)
            return vocabw_refuse(w, "normalizer", "none, or NFC");
    w->vocab.model = "gpt2";
    w->vocab.pre = sg_words_name(hf);
    if (w->vocab.pre == NULL)
        return vocabw_refuse(w, "pre_tokenizer",
                             "the words of GPT-2, SmolLM, Llama 3 or Qwen2, without a space in "
                             "front of a text");
    SG_TRY(vocabw_tokens(w, config->vocab_size, false));
    w->merges = sg_arena_alloc(&w->arena, (hf->merge_count + 1) * sizeof *w->merges);
    if (w->merges == NULL) return vocabw_no_memory(w);
    for (size_t i = 0; i < hf->merge_count; i++) {
        const sg_hf_string left = hf->tokens[hf->merges[i].left];
        const sg_hf_string right = hf->tokens[hf->merges[i].right];
        char *text = sg_arena_alloc(&w->arena, left.bytes + right.bytes + 2);
        if (text == NULL) return vocabw_no_memory(w);
        memcpy(text, left.text, left.bytes);
        text[left.bytes] = ' ';
        memcpy(text + left.bytes + 1, right.text, right.bytes);
        text[left.bytes + 1 + right.bytes] = '\0';
        w->merges[i] = (sg_hf_string){text, left.bytes + 1 + right.bytes};
    }
    w->vocab.merges = w->merges;
    w->vocab.merge_count = hf->merge_count;
    return SG_OK;
}

// Whether spaces are spelled as marks, and whether one is put in front of a text.
static sg_status vocabw_spaces(vocabw *w, bool *marked, bool *prefix)
{
    const sg_hf_tokenizer *hf = w->hf;
    *marked = *prefix = false;
    for (size_t i = 0; i < hf->normalizer_count; i++) {
        const sg_hf_normalizer *n = &hf->normalizers[i];
        if (n->kind == SG_HF_PREPEND && i == 0)
            *prefix = true;
        else if (n->kind == SG_HF_REPLACE && strcmp(n->pattern.text, " ") == 0 &&
                 strcmp(n->content.text, vocabw_mark) == 0)
            *marked = true;
        else
            return vocabw_refuse(w, "normalizer", "spaces as \u2581, maybe one in front");
    }
    if (hf->pre_count == 0) return SG_OK;
    const sg_hf_pre *pre = &hf->pre[0];
    if (hf->pre_count > 1 || pre->kind != SG_HF_METASPACE || pre->split || *marked || *prefix ||
        strcmp(pre->pattern.text, vocabw_mark) != 0)
        return vocabw_refuse(w, "pre_tokenizer", "none, or Metaspace with \u2581 and no split");
    *marked = true;
    *prefix = pre->prepend != SG_HF_NEVER;
    return SG_OK;
}

// A token's score is the place of the first merge that makes it, counted downwards; merges of equal
// rank have equal scores.
static void vocabw_scores(vocabw *w)
{
    const sg_hf_tokenizer *hf = w->hf;
    const float last = -(float)(hf->merge_count + 1);
    float score = 0;
    for (size_t i = 0; i < w->vocab.count; i++)
        w->scores[i] = w->types[i] == SG_TOKEN_NORMAL ? last : 0;
    for (size_t i = 0; i < hf->merge_count; i++) {
        const sg_hf_merge *m = &hf->merges[i];
        if (i > 0 && m->rank != hf->merges[i - 1].rank) score -= 1;
        if (w->scores[m->result] == last) w->scores[m->result] = score;
    }
    w->vocab.scores = w->scores;
}

static sg_status vocabw_llama(vocabw *w, const sg_config *config)
{
    bool marked, prefix;
    if (!w->hf->byte_fallback)
        return vocabw_refuse(w, "model", "a byte-level BPE, or one with byte_fallback");
    SG_TRY(vocabw_spaces(w, &marked, &prefix));
    w->vocab.model = "llama";
    w->vocab.space = vocabw_mark;
    w->vocab.add_space_prefix = prefix;
    SG_TRY(vocabw_tokens(w, config->vocab_size, !marked));
    vocabw_scores(w);
    return SG_OK;
}

// ---- begin and end ------------------------------------------------------------------------------

static sg_status vocabw_roles(vocabw *w, const sg_config *c)
{
    const sg_hf_tokenizer *hf = w->hf;
    w->vocab.bos = (int32_t)c->bos_token_id;
    w->vocab.eos = (int32_t)c->eos_token_id;
    w->vocab.pad = (int32_t)c->pad_token_id;
    w->vocab.unk = hf->unk;
    w->vocab.add_bos = hf->prefix_count > 0;
    w->vocab.add_eos = hf->suffix_count > 0;
    const bool begins =
        hf->prefix_count == 0 || (hf->prefix_count == 1 && hf->prefix[0] == w->vocab.bos);
    const bool ends =
        hf->suffix_count == 0 || (hf->suffix_count == 1 && hf->suffix[0] == w->vocab.eos);
    if (begins && ends) return SG_OK;
    return vocabw_refuse(w, "post_processor",
                         "at most the model's bos_token_id in front and eos_token_id behind");
}

// ---- does it give the same ids?
// -------------------------------------------------------------------

static sg_status vocabw_compare(vocabw *w, const sg_tokenizer *other, const char *text,
                                size_t bytes)
{
    int32_t *a = NULL, *b = NULL;
    size_t n, m;
    sg_status status = sg_tokenizer_encode(w->t, text, bytes, NULL, &a, &n, w->err);
    if (status == SG_OK) status = sg_tokenizer_encode(other, text, bytes, NULL, &b, &m, w->err);
    if (status == SG_OK && (n != m || memcmp(a, b, n * sizeof *a) != 0))
        status = sg_fail(w->err, SG_ERR_UNSUPPORTED,
                         "tokenizer.json: GGUF's \"%s\" would cut \"%.*s\" otherwise",
                         w->vocab.model, bytes > 60 ? 60 : (int)bytes, text);
    sg_buffer_free(a);
    sg_buffer_free(b);
    return status;
}

// On the text of every token, alone and with those that follow it.
static sg_status vocabw_check(vocabw *w)
{
    sg_tokenizer *other;
    const sg_decode_options options = {.skip_special = true};
    SG_TRY(sg_tokenizer_from_vocab(&w->vocab, "GGUF", &other, w->err));
    sg_status status = SG_OK;
    for (int32_t id = 0; id < w->t->size && status == SG_OK; id++)
        for (int32_t run = 1; run <= 5 && id + run <= w->t->size && status == SG_OK; run += 4) {
            int32_t ids[5];
            char *text;
            size_t bytes;
            for (int32_t i = 0; i < run; i++)
                ids[i] = id + i;
            status = sg_tokenizer_decode(w->t, ids, (size_t)run, &options, &text, &bytes, w->err);
            if (status != SG_OK) break;
            status = vocabw_compare(w, other, text, bytes);
            sg_buffer_free(text);
        }
    sg_tokenizer_free(other);
    return status;
}

// ---- metadata -----------------------------------------------------------------------------------

static sg_status vocabw_put(vocabw *w, sg_gguf_metadata *m)
{
    const sg_vocab *v = &w->vocab;
    const size_t most = v->count > v->merge_count ? v->count : v->merge_count;
    sg_gguf_string *texts = sg_alloc_array(most, sizeof *texts);
    if (texts == NULL) return vocabw_no_memory(w);
    sg_gguf_put_string(m, "tokenizer.ggml.model", v->model);
    if (v->pre != NULL) sg_gguf_put_string(m, "tokenizer.ggml.pre", v->pre);
    for (size_t i = 0; i < v->count; i++)
        texts[i] = (sg_gguf_string){v->tokens[i].text, v->tokens[i].bytes};
    sg_gguf_put_strings(m, "tokenizer.ggml.tokens", texts, v->count);
    if (v->scores != NULL) sg_gguf_put_floats(m, "tokenizer.ggml.scores", v->scores, v->count);
    sg_gguf_put_ints(m, "tokenizer.ggml.token_type", v->types, v->count);
    for (size_t i = 0; i < v->merge_count; i++)
        texts[i] = (sg_gguf_string){v->merges[i].text, v->merges[i].bytes};
    if (v->merges != NULL) sg_gguf_put_strings(m, "tokenizer.ggml.merges", texts, v->merge_count);
    if (v->unk >= 0) sg_gguf_put_u32(m, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk);
    sg_gguf_put_bool(m, "tokenizer.ggml.add_bos_token", v->add_bos);
    sg_gguf_put_bool(m, "tokenizer.ggml.add_eos_token", v->add_eos);
    if (v->scores != NULL)
        sg_gguf_put_bool(m, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    sg_free(texts);
    return SG_OK;
}

sg_status sg_gguf_vocab_put(const sg_tokenizer *tokenizer, const sg_config *config,
                            sg_gguf_metadata *metadata, sg_error *err)
{
    vocabw w = {.t = tokenizer, .hf = tokenizer->hf, .err = err};
    sg_status status = vocabw_roles(&w, config);
    if (status == SG_OK)
        status =
            sg_hf_byte_level(w.hf) != NULL ? vocabw_gpt2(&w, config) : vocabw_llama(&w, config);
    if (status == SG_OK) status = vocabw_check(&w);
    if (status == SG_OK) status = vocabw_put(&w, metadata);
    sg_arena_free(&w.arena);
    return status;
}
