// What the arrays say, as the same steps that a tokenizer.json would name: nothing else in the
// program knows where a tokenizer came from.
#include "text/vocab.h"

#include <string.h>

#include "base/alloc.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/word_cuts.h"

enum { vocab_steps = SG_WORDS_STEPS };

typedef struct vocab_reader {
    const sg_vocab *vocab;
    const char *name;
    sg_hf_tokenizer *hf;
    sg_token_map ids;
    sg_error *err;
} vocab_reader;

static sg_status vocab_no_memory(const vocab_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
}

static bool vocab_copy(vocab_reader *r, const char *text, size_t bytes, sg_hf_string *out)
{
    out->bytes = bytes;
    out->text = sg_arena_strndup(&r->hf->arena, text, bytes);
    return out->text != NULL;
}

static void *vocab_array(vocab_reader *r, size_t count, size_t size)
{
    void *array = sg_arena_alloc(&r->hf->arena, count * size);
    if (array != NULL) memset(array, 0, count * size);
    return array;
}

// ---- tokens -----------------------------------------------------------------------------------

static sg_status vocab_tokens(vocab_reader *r)
{
    const sg_vocab *v = r->vocab;
    sg_hf_tokenizer *hf = r->hf;
    if (v->count == 0 || v->count > SG_HF_VOCAB_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found %zu tokens, expected 1 to %d", r->name,
                       v->count, SG_HF_VOCAB_MAX);
    hf->tokens = vocab_array(r, v->count, sizeof *hf->tokens);
    if (hf->tokens == NULL || !sg_token_map_open(&r->ids, v->count)) return vocab_no_memory(r);
    hf->vocab_size = (int32_t)v->count;
    for (size_t i = 0; i < v->count; i++) {
        sg_hf_string token = v->tokens[i];
        if (token.bytes == 0 || memchr(token.text, 0, token.bytes) != NULL ||
            sg_utf8_valid_prefix(token.text, token.bytes) != token.bytes)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: token %zu: is empty, holds NUL or is not UTF-8", r->name, i);
        if (!vocab_copy(r, token.text, token.bytes, &hf->tokens[i])) return vocab_no_memory(r);
        int32_t before = sg_token_map_get(&r->ids, token.text, token.bytes);
        if (before >= 0)
            return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                           "%s: tokens %d and %zu are both \"%.60s\", expected each once", r->name,
                           before, i, hf->tokens[i].text);
        sg_token_map_put(&r->ids, hf->tokens[i].text, token.bytes, (int32_t)i);
    }
    return SG_OK;
}

// Tokens that are cut out of the text before words are made.
static sg_status vocab_added(vocab_reader *r)
{
    const sg_vocab *v = r->vocab;
    sg_hf_tokenizer *hf = r->hf;
    size_t count = 0;
    for (size_t i = 0; v->types != NULL && i < v->count; i++) {
        if (v->types[i] < SG_TOKEN_NORMAL || v->types[i] > SG_TOKEN_BYTE)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: type of token %zu: found %d, expected 1 to 6", r->name, i,
                           v->types[i]);
        count += v->types[i] >= SG_TOKEN_UNKNOWN && v->types[i] <= SG_TOKEN_USER;
    }
    hf->added = vocab_array(r, count + 1, sizeof *hf->added);
    if (hf->added == NULL) return vocab_no_memory(r);
    for (size_t i = 0; i < v->count && count > 0; i++) {
        if (v->types[i] < SG_TOKEN_UNKNOWN || v->types[i] > SG_TOKEN_USER) continue;
        hf->added[hf->added_count++] = (sg_hf_added){
            .content = hf->tokens[i], .id = (int32_t)i, .special = v->types[i] != SG_TOKEN_USER};
    }
    return SG_OK;
}

static sg_status vocab_role(vocab_reader *r, const char *role, int32_t id, bool wanted)
{
    if (id >= -1 && id < r->hf->vocab_size && (id >= 0 || !wanted)) return SG_OK;
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: %s: found %d, expected %d to %d", r->name, role, id,
                   wanted ? 0 : -1, r->hf->vocab_size - 1);
}

static sg_status vocab_roles(vocab_reader *r)
{
    const sg_vocab *v = r->vocab;
    sg_hf_tokenizer *hf = r->hf;
    SG_TRY(vocab_role(r, "id of the begin token", v->bos, v->add_bos));
    SG_TRY(vocab_role(r, "id of the end token", v->eos, v->add_eos));
    SG_TRY(vocab_role(r, "id of the padding token", v->pad, false));
    SG_TRY(vocab_role(r, "id of the unknown token", v->unk, false));
    hf->unk = v->unk;
    hf->has_template = true;
    hf->prefix = vocab_array(r, 2, sizeof *hf->prefix);
    if (hf->prefix == NULL) return vocab_no_memory(r);
    hf->suffix = hf->prefix + 1;
    hf->prefix[0] = v->bos;
    hf->suffix[0] = v->eos;
    hf->prefix_count = v->add_bos ? 1 : 0;
    hf->suffix_count = v->add_eos ? 1 : 0;
    return SG_OK;
}

// ---- SentencePiece ----------------------------------------------------------------------------

static sg_status vocab_llama(vocab_reader *r)
{
    const sg_vocab *v = r->vocab;
    sg_hf_tokenizer *hf = r->hf;
    sg_hf_string space = {" ", 1}, mark;
    bool marked = strcmp(v->space, " ") != 0;
    if (!vocab_copy(r, v->space, strlen(v->space), &mark)) return vocab_no_memory(r);
    if (v->add_space_prefix)
        hf->normalizers[hf->normalizer_count++] =
            (sg_hf_normalizer){.kind = SG_HF_PREPEND, .content = mark};
    if (marked) {
        hf->normalizers[hf->normalizer_count++] =
            (sg_hf_normalizer){.kind = SG_HF_REPLACE, .pattern = space, .content = mark};
        hf->decoders[hf->decoder_count++] =
            (sg_hf_decoder){.kind = SG_HF_DECODE_REPLACE, .pattern = mark, .content = space};
    }
    hf->decoders[hf->decoder_count++] = (sg_hf_decoder){.kind = SG_HF_DECODE_BYTE_FALLBACK};
    hf->decoders[hf->decoder_count++] = (sg_hf_decoder){.kind = SG_HF_DECODE_FUSE};
    if (v->add_space_prefix)
        hf->decoders[hf->decoder_count++] =
            (sg_hf_decoder){.kind = SG_HF_DECODE_STRIP, .pattern = space, .start = 1};
    hf->byte_fallback = true;
    hf->fuse_unk = true;
    if (v->scores == NULL)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found no scores, expected one for each token",
                       r->name);
    return sg_merges_from_scores(hf, v->scores, v->types, r->name, r->err);
}

// ---- byte-level -------------------------------------------------------------------------------

static sg_status vocab_cut(vocab_reader *r)
{
    sg_hf_tokenizer *hf = r->hf;
    const char *pre = r->vocab->pre == NULL ? "default" : r->vocab->pre;
    sg_bytes known = {0};
    hf->pre_count = sg_words_steps(pre, hf->pre, &hf->ignore_merges);
    if (hf->pre_count > 0) return SG_OK;
    if (!sg_words_names(&known)) return vocab_no_memory(r);
    sg_status status = sg_fail(r->err, SG_ERR_UNSUPPORTED,
                               "%.300s: way to cut words: found \"%.60s\", expected one of: %.*s",
                               r->name, pre, (int)known.count, known.data);
    sg_free(known.data);
    return status;
}

// A first line of merges.txt that a converter left in: no merge, for its halves are no tokens.
static bool vocab_is_version(const vocab_reader *r, sg_hf_string merge)
{
    static const char begin[] = "#version:";
    const size_t bytes = sizeof begin - 1;
    return merge.bytes > bytes && memcmp(merge.text, begin, bytes) == 0 &&
           sg_token_map_get(&r->ids, begin, bytes) < 0;
}

static sg_status vocab_merge(vocab_reader *r, size_t rank, sg_bytes *joined, sg_hf_merge *merge)
{
    sg_hf_string text = r->vocab->merges[rank];
    const char *space = memchr(text.text, ' ', text.bytes);
    size_t left = space == NULL ? 0 : (size_t)(space - text.text), right = text.bytes - left;
    if (left == 0 || right < 2 || memchr(space + 1, ' ', right - 1) != NULL)
        return sg_fail(
            r->err, SG_ERR_FORMAT,
            "%s: merge %zu: found \"%.*s\", expected two tokens with one space between them",
            r->name, rank, text.bytes > 60 ? 60 : (int)text.bytes, text.text);
    joined->count = 0;
    if (!sg_bytes_add(joined, text.text, left) || !sg_bytes_add(joined, space + 1, right - 1))
        return vocab_no_memory(r);
    *merge = (sg_hf_merge){sg_token_map_get(&r->ids, text.text, left),
                           sg_token_map_get(&r->ids, space + 1, right - 1),
                           sg_token_map_get(&r->ids, joined->data, joined->count), (uint32_t)rank};
    if (merge->left < 0 || merge->right < 0 || merge->result < 0)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: merge %zu: a part of \"%.*s\", or the whole, is not among the tokens",
                       r->name, rank, text.bytes > 60 ? 60 : (int)text.bytes, text.text);
    return SG_OK;
}

static sg_status vocab_gpt2(vocab_reader *r)
{
    const sg_vocab *v = r->vocab;
    sg_hf_tokenizer *hf = r->hf;
    SG_TRY(vocab_cut(r));
    hf->decoders[hf->decoder_count++] = (sg_hf_decoder){.kind = SG_HF_DECODE_BYTE_LEVEL};
    if (v->merge_count > SG_HF_VOCAB_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found %zu merges, expected at most %d", r->name,
                       v->merge_count, SG_HF_VOCAB_MAX);
    hf->merges = vocab_array(r, v->merge_count + 1, sizeof *hf->merges);
    if (hf->merges == NULL) return vocab_no_memory(r);
    sg_bytes joined = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < v->merge_count && status == SG_OK; i++)
        if (!vocab_is_version(r, v->merges[i]))
            status = vocab_merge(r, i, &joined, &hf->merges[hf->merge_count++]);
    sg_free(joined.data);
    return status;
}

// ---- the whole --------------------------------------------------------------------------------

static sg_status vocab_read(vocab_reader *r)
{
    sg_hf_tokenizer *hf = r->hf;
    SG_TRY(vocab_tokens(r));
    SG_TRY(vocab_added(r));
    SG_TRY(vocab_roles(r));
    hf->normalizers = vocab_array(r, vocab_steps, sizeof *hf->normalizers);
    hf->pre = vocab_array(r, vocab_steps, sizeof *hf->pre);
    hf->decoders = vocab_array(r, vocab_steps, sizeof *hf->decoders);
    if (hf->normalizers == NULL || hf->pre == NULL || hf->decoders == NULL)
        return vocab_no_memory(r);
    hf->has_decoder = true;
    if (strcmp(r->vocab->model, "llama") == 0) return vocab_llama(r);
    if (strcmp(r->vocab->model, "gpt2") == 0) return vocab_gpt2(r);
    return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                   "%s: kind of tokenizer: found \"%.60s\", expected \"llama\" or \"gpt2\"",
                   r->name, r->vocab->model);
}

sg_status sg_tokenizer_from_vocab(const sg_vocab *vocab, const char *name, sg_tokenizer **tokenizer,
                                  sg_error *err)
{
    *tokenizer = NULL;
    vocab_reader reader = {.vocab = vocab, .name = name, .err = err};
    reader.hf = sg_alloc_zero(1, sizeof *reader.hf);
    if (reader.hf == NULL) return vocab_no_memory(&reader);
    sg_status status = vocab_read(&reader);
    sg_token_map_close(&reader.ids);
    if (status != SG_OK) {
        sg_hf_tokenizer_free(reader.hf);
        return status;
    }
    SG_TRY(sg_tokenizer_from_steps(reader.hf, name, tokenizer, err));
    if (vocab->bos >= 0) (*tokenizer)->bos = vocab->bos;
    if (vocab->eos >= 0) (*tokenizer)->eos = vocab->eos;
    if (vocab->pad >= 0) (*tokenizer)->pad = vocab->pad;
    return SG_OK;
}
