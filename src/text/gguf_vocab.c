// The tokenizer that a GGUF file carries in its metadata (github.com/ggml-org/ggml, docs/gguf.md,
// tokenizer.ggml.*), as arrays for vocab.c.
#include <string.h>

#include "base/alloc.h"
#include "format/gguf.h"
#include "text/vocab.h"

typedef struct gguf_arrays {
    sg_gguf_string *tokens, *merges;
    size_t count, merge_count, n_scores, n_types;
    float *scores;
    int64_t *types;
    sg_hf_string *texts, *pairs;
    int32_t *kinds;
} gguf_arrays;

static void arrays_free(gguf_arrays *a)
{
    sg_free(a->tokens);
    sg_free(a->merges);
    sg_free(a->scores);
    sg_free(a->types);
    sg_free(a->texts);
    sg_free(a->pairs);
    sg_free(a->kinds);
}

static sg_status arrays_mismatch(const sg_gguf *file, const char *key, size_t found,
                                 size_t expected, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: key %s: found %zu entries, expected %zu as there are tokens",
                   sg_gguf_name(file), key, found, expected);
}

static sg_hf_string *arrays_texts(const sg_gguf_string *from, size_t count)
{
    sg_hf_string *texts = sg_alloc_array(count ? count : 1, sizeof *texts);
    for (size_t i = 0; texts != NULL && i < count; i++)
        texts[i] = (sg_hf_string){from[i].data, from[i].bytes};
    return texts;
}

static sg_status arrays_read(const sg_gguf *file, gguf_arrays *a, sg_error *err)
{
    SG_TRY(sg_gguf_get_strings(file, "tokenizer.ggml.tokens", true, &a->tokens, &a->count, err));
    SG_TRY(sg_gguf_get_floats(file, "tokenizer.ggml.scores", false, &a->scores, &a->n_scores, err));
    SG_TRY(sg_gguf_get_ints(file, "tokenizer.ggml.token_type", false, &a->types, &a->n_types, err));
    SG_TRY(sg_gguf_get_strings(file, "tokenizer.ggml.merges", false, &a->merges, &a->merge_count,
                               err));
    if (a->count > SG_HF_VOCAB_MAX || a->merge_count > SG_HF_VOCAB_MAX)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: key tokenizer.ggml.tokens: found %zu, expected at "
                       "most %d",
                       sg_gguf_name(file), a->count, SG_HF_VOCAB_MAX);
    if (a->scores != NULL && a->n_scores != a->count)
        return arrays_mismatch(file, "tokenizer.ggml.scores", a->n_scores, a->count, err);
    if (a->types != NULL && a->n_types != a->count)
        return arrays_mismatch(file, "tokenizer.ggml.token_type", a->n_types, a->count, err);
    a->texts = arrays_texts(a->tokens, a->count);
    a->pairs = arrays_texts(a->merges, a->merge_count);
    a->kinds = sg_alloc_zero(a->count ? a->count : 1, sizeof *a->kinds);
    if (a->texts == NULL || a->pairs == NULL || a->kinds == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a tokenizer");
    for (size_t i = 0; i < a->count; i++) {
        const int64_t type = a->types ? a->types[i] : SG_TOKEN_NORMAL;
        if (type < SG_TOKEN_NORMAL || type > SG_TOKEN_BYTE)
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: key tokenizer.ggml.token_type: entry %zu: found %lld, expected 1 to "
                "6",
                sg_gguf_name(file), i, (long long)type);
        a->kinds[i] = (int32_t)type;
    }
    return SG_OK;
}

static sg_status gguf_id(const sg_gguf *file, const char *key, size_t count, int32_t *id,
                         sg_error *err)
{
    int64_t value = -1;
    SG_TRY(sg_gguf_get_int(file, key, false, -1, (int64_t)count - 1, &value, err));
    *id = (int32_t)value;
    return SG_OK;
}

static sg_status gguf_make(const sg_gguf *file, const gguf_arrays *a, sg_tokenizer **tokenizer,
                           sg_error *err)
{
    sg_vocab v = {.tokens = a->texts,
                  .count = a->count,
                  .types = a->kinds,
                  .scores = a->scores,
                  .space = "\xe2\x96\x81",
                  .add_space_prefix = true,
                  .merges = a->pairs,
                  .merge_count = a->merge_count};
    SG_TRY(sg_gguf_get_string(file, "tokenizer.ggml.model", true, &v.model, err));
    SG_TRY(sg_gguf_get_string(file, "tokenizer.ggml.pre", false, &v.pre, err));
    // What readers do where the file does not say.
    v.add_bos = strcmp(v.model, "llama") == 0 || (v.pre && strcmp(v.pre, "llama-bpe") == 0);
    SG_TRY(sg_gguf_get_bool(file, "tokenizer.ggml.add_bos_token", false, &v.add_bos, err));
    SG_TRY(sg_gguf_get_bool(file, "tokenizer.ggml.add_eos_token", false, &v.add_eos, err));
    SG_TRY(
        sg_gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", false, &v.add_space_prefix, err));
    SG_TRY(gguf_id(file, "tokenizer.ggml.bos_token_id", a->count, &v.bos, err));
    SG_TRY(gguf_id(file, "tokenizer.ggml.eos_token_id", a->count, &v.eos, err));
    SG_TRY(gguf_id(file, "tokenizer.ggml.padding_token_id", a->count, &v.pad, err));
    SG_TRY(gguf_id(file, "tokenizer.ggml.unknown_token_id", a->count, &v.unk, err));
    return sg_tokenizer_from_vocab(&v, sg_gguf_name(file), tokenizer, err);
}

sg_status sg_tokenizer_from_gguf(const sg_gguf *file, sg_tokenizer **tokenizer, sg_error *err)
{
    gguf_arrays a = {0};
    *tokenizer = NULL;
    sg_status status = arrays_read(file, &a, err);
    if (status == SG_OK) status = gguf_make(file, &a, tokenizer, err);
    arrays_free(&a);
    return status;
}
