// The tokenizer inside a GGUF file: its keys as the arrays of vocab.h.
#include <string.h>

#include "base/alloc.h"
#include "format/gguf.h"
#include "text/vocab.h"
#include "text/word_cuts.h"

typedef struct gguf_reader {
    const sg_gguf *file;
    sg_error *err;
    sg_vocab vocab;
    sg_hf_string *tokens, *merges;
    float *scores;
    int32_t *types;
} gguf_reader;

static sg_status gguf_no_memory(const gguf_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", sg_gguf_name(r->file));
}

static sg_status gguf_lengths(const gguf_reader *r, const char *key, size_t count)
{
    if (count == r->vocab.count) return SG_OK;
    return sg_fail(r->err, SG_ERR_FORMAT,
                   "%s: \"%s\": found %zu entries, expected one for each of %zu tokens",
                   sg_gguf_name(r->file), key, count, r->vocab.count);
}

// A list of texts, which stay in the file.
static sg_status gguf_texts(const gguf_reader *r, const char *key, bool required,
                            sg_hf_string **out, size_t *count)
{
    sg_gguf_string *texts;
    SG_TRY(sg_gguf_get_strings(r->file, key, required, &texts, count, r->err));
    *out = *count == 0 ? NULL : sg_alloc_array(*count, sizeof **out);
    for (size_t i = 0; *out != NULL && i < *count; i++)
        (*out)[i] = (sg_hf_string){texts[i].data, texts[i].bytes};
    sg_free(texts);
    return *count > 0 && *out == NULL ? gguf_no_memory(r) : SG_OK;
}

static sg_status gguf_types(gguf_reader *r)
{
    static const char key[] = "tokenizer.ggml.token_type";
    int64_t *types;
    size_t count;
    SG_TRY(sg_gguf_get_ints(r->file, key, false, &types, &count, r->err));
    if (types == NULL) return SG_OK;
    sg_status status = gguf_lengths(r, key, count);
    if (status == SG_OK) {
        r->types = sg_alloc_array(count, sizeof *r->types);
        if (r->types == NULL) status = gguf_no_memory(r);
    }
    for (size_t i = 0; i < count && status == SG_OK; i++)
        r->types[i] = types[i] < 0 || types[i] > INT32_MAX ? 0 : (int32_t)types[i]; // 0: refused
    r->vocab.types = r->types;
    sg_free(types);
    return status;
}

static sg_status gguf_role(gguf_reader *r, const char *key, int32_t *out)
{
    int64_t id;
    SG_TRY(sg_gguf_get_token(r->file, key, (int64_t)r->vocab.count, &id, r->err));
    *out = (int32_t)id;
    return SG_OK;
}

// What a file does not say is as llama.cpp has it: with scores a text gets a space and a begin
// token, with merges the words of some names do.
static sg_status gguf_roles(gguf_reader *r)
{
    sg_vocab *v = &r->vocab;
    bool scores = strcmp(v->model, "llama") == 0;
    SG_TRY(sg_gguf_get_string(r->file, "tokenizer.ggml.pre", false, &v->pre, r->err));
    SG_TRY(gguf_role(r, "tokenizer.ggml.bos_token_id", &v->bos));
    SG_TRY(gguf_role(r, "tokenizer.ggml.eos_token_id", &v->eos));
    SG_TRY(gguf_role(r, "tokenizer.ggml.padding_token_id", &v->pad));
    SG_TRY(gguf_role(r, "tokenizer.ggml.unknown_token_id", &v->unk));
    if (scores && v->bos < 0) v->bos = 1;
    if (scores && v->eos < 0) v->eos = 2;
    if (scores && v->unk < 0) v->unk = 0;
    v->add_space_prefix = scores;
    v->add_bos = v->bos >= 0 && (scores || sg_words_begin(v->pre));
    SG_TRY(sg_gguf_get_bool(r->file, "tokenizer.ggml.add_space_prefix", false, &v->add_space_prefix,
                            r->err));
    SG_TRY(sg_gguf_get_bool(r->file, "tokenizer.ggml.add_bos_token", false, &v->add_bos, r->err));
    return sg_gguf_get_bool(r->file, "tokenizer.ggml.add_eos_token", false, &v->add_eos, r->err);
}

static sg_status gguf_read(gguf_reader *r)
{
    sg_vocab *v = &r->vocab;
    size_t count;
    SG_TRY(sg_gguf_get_string(r->file, "tokenizer.ggml.model", true, &v->model, r->err));
    SG_TRY(gguf_texts(r, "tokenizer.ggml.tokens", true, &r->tokens, &v->count));
    SG_TRY(gguf_types(r));
    SG_TRY(sg_gguf_get_floats(r->file, "tokenizer.ggml.scores", false, &r->scores, &count, r->err));
    if (r->scores != NULL) SG_TRY(gguf_lengths(r, "tokenizer.ggml.scores", count));
    SG_TRY(gguf_texts(r, "tokenizer.ggml.merges", false, &r->merges, &v->merge_count));
    SG_TRY(gguf_roles(r));
    v->tokens = r->tokens;
    v->scores = r->scores;
    v->merges = r->merges;
    v->space = "\xE2\x96\x81"; // U+2581
    return SG_OK;
}

sg_status sg_tokenizer_from_gguf(const sg_gguf *file, sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    gguf_reader reader = {.file = file, .err = err};
    sg_status status = gguf_read(&reader);
    if (status == SG_OK)
        status = sg_tokenizer_from_vocab(&reader.vocab, sg_gguf_name(file), tokenizer, err);
    sg_free(reader.tokens);
    sg_free(reader.merges);
    sg_free(reader.scores);
    sg_free(reader.types);
    return status;
}
