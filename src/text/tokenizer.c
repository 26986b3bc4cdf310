// Making a tokenizer from what its file says, and answering questions about its ids.
#include "text/tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"

static sg_status tokenizer_no_memory(const char *name, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

// The library decodes a token that is all byte alphabet to those bytes, any other to its own text.
static bool tokenizer_add_plain(sg_tokenizer *t, sg_hf_string token)
{
    bool whole = false;
    if (t->hf->byte_decoder && !sg_bytes_unspell(token.text, token.bytes, &t->plain, &whole))
        return false;
    return whole || sg_bytes_add(&t->plain, token.text, token.bytes);
}

static sg_status tokenizer_build_ids(sg_tokenizer *t, const char *name, sg_error *err)
{
    const sg_hf_tokenizer *hf = t->hf;
    t->size = hf->vocab_size;
    for (size_t i = 0; i < hf->added_count; i++)
        if (hf->added[i].id >= t->size) t->size = hf->added[i].id + 1;
    size_t size = (size_t)t->size;
    t->texts = sg_alloc_zero(size, sizeof *t->texts);
    t->added = sg_alloc_zero(size, sizeof *t->added);
    t->plain_at = sg_alloc_zero(size + 1, sizeof *t->plain_at);
    if (t->texts == NULL || t->added == NULL || t->plain_at == NULL ||
        !sg_token_map_open(&t->ids, size))
        return tokenizer_no_memory(name, err);
    memcpy(t->texts, hf->tokens, (size_t)hf->vocab_size * sizeof *t->texts);
    for (size_t i = 0; i < hf->added_count; i++) {
        t->texts[hf->added[i].id] = hf->added[i].content;
        t->added[hf->added[i].id] = &hf->added[i];
    }
    for (size_t id = 0; id < size; id++) {
        t->plain_at[id] = t->plain.count;
        if (!tokenizer_add_plain(t, t->texts[id])) return tokenizer_no_memory(name, err);
        sg_token_map_put(&t->ids, t->texts[id].text, t->texts[id].bytes, (int32_t)id);
    }
    t->plain_at[size] = t->plain.count;
    return SG_OK;
}

// Builds the set of added tokens whose flag `normalized` is `normalized`.
static sg_status tokenizer_build_set(sg_tokenizer *t, bool normalized, const char *name,
                                     sg_added_set **set, sg_error *err)
{
    const sg_hf_tokenizer *hf = t->hf;
    const sg_hf_added **tokens = sg_alloc_zero(hf->added_count + 1, sizeof *tokens);
    sg_hf_string *contents = sg_alloc_zero(hf->added_count + 1, sizeof *contents);
    sg_bytes buffers[2] = {{0}, {0}}, all = {0};
    sg_status status = SG_OK;
    if (tokens == NULL || contents == NULL) status = tokenizer_no_memory(name, err);
    size_t count = 0, at = 0;
    // Special tokens come first: of two that look alike after normalisation, the first one counts.
    for (int pass = 0; pass < 2 && status == SG_OK; pass++) {
        for (size_t i = 0; i < hf->added_count && status == SG_OK; i++) {
            const sg_hf_added *token = &hf->added[i];
            if (token->normalized != normalized || token->special != (pass == 0)) continue;
            sg_hf_string content = token->content;
            if (normalized)
                status =
                    sg_normalize_steps(hf, buffers, content.text, content.bytes, &content, err);
            if (status == SG_OK && content.bytes == 0)
                status = sg_fail(err, SG_ERR_UNSUPPORTED,
                                 "%s: \"added_tokens\": nothing is left of \"%.60s\" after "
                                 "normalisation",
                                 name, token->content.text);
            if (status == SG_OK && !sg_bytes_add(&all, content.text, content.bytes))
                status = tokenizer_no_memory(name, err);
            tokens[count] = token;
            contents[count++].bytes = content.bytes;
        }
    }
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        contents[i].text = all.data + at;
        at += contents[i].bytes;
    }
    if (status == SG_OK && count > 0) status = sg_added_set_new(tokens, contents, count, set, err);
    sg_free(buffers[0].data);
    sg_free(buffers[1].data);
    sg_free(all.data);
    sg_free(tokens);
    sg_free(contents);
    return status;
}

static int32_t tokenizer_first_of(const sg_tokenizer *t, const char *const *names)
{
    for (; *names != NULL; names++) {
        int32_t id = sg_token_map_get(&t->ids, *names, strlen(*names));
        if (id >= 0 && t->added[id] != NULL) return id;
    }
    return -1;
}

static void tokenizer_find_roles(sg_tokenizer *t)
{
    static const char *const eos[] = {"<|endoftext|>", "<|end_of_text|>", "</s>",
                                      "<eos>",         "[EOS]",           NULL};
    static const char *const bos[] = {
        "<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "[BOS]", NULL};
    static const char *const pad[] = {"<|pad|>", "<|padding|>", "<pad>", "[PAD]", NULL};
    t->eos = tokenizer_first_of(t, eos);
    t->bos = tokenizer_first_of(t, bos);
    t->pad = tokenizer_first_of(t, pad);
    if (t->bos < 0) t->bos = t->eos;
}

static sg_status tokenizer_build(sg_tokenizer *t, const void *json, size_t bytes, const char *name,
                                 sg_error *err)
{
    if (bytes > SG_HF_FILE_MAX)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu bytes, expected at most %zu", name, bytes,
                       SG_HF_FILE_MAX);
    if (pthread_mutex_init(&t->lock, NULL) != 0) return tokenizer_no_memory(name, err);
    t->has_lock = true;
    t->json = sg_strndup(json, bytes);
    if (t->json == NULL) return tokenizer_no_memory(name, err);
    t->json_bytes = bytes;
    t->hash = sg_hash(json, bytes);
    SG_TRY(sg_hf_tokenizer_parse(t->json, bytes, name, &t->hf, err));
    SG_TRY(tokenizer_build_ids(t, name, err));
    SG_TRY(sg_bpe_new(t->hf, &t->bpe, err));
    SG_TRY(sg_cutter_new(t->hf->pre, t->hf->pre_count, name, &t->cutter, err));
    SG_TRY(tokenizer_build_set(t, false, name, &t->raw_set, err));
    SG_TRY(tokenizer_build_set(t, true, name, &t->normalized_set, err));
    tokenizer_find_roles(t);
    return SG_OK;
}

sg_status sg_tokenizer_from_memory(const void *json, size_t bytes, const char *name,
                                   sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    sg_tokenizer *made = sg_alloc_zero(1, sizeof *made);
    if (made == NULL) return tokenizer_no_memory(name, err);
    sg_status status = tokenizer_build(made, json, bytes, name, err);
    if (status != SG_OK)
        sg_tokenizer_free(made);
    else
        *tokenizer = made;
    return status;
}

sg_status sg_tokenizer_open(const char *path, sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    char file[SG_PATH_MAX];
    if (sg_path_is_folder(path)) {
        SG_TRY(sg_path_join(file, sizeof file, path, "tokenizer.json", err));
        path = file;
    }
    char *json;
    size_t bytes;
    SG_TRY(sg_file_read(path, SG_HF_FILE_MAX, &json, &bytes, err));
    sg_status status = sg_tokenizer_from_memory(json, bytes, path, tokenizer, err);
    sg_free(json);
    return status;
}

void sg_tokenizer_free(sg_tokenizer *t)
{
    if (t == NULL) return;
    while (t->encoders != NULL) {
        sg_encoder *next = t->encoders->next;
        sg_encoder_free(t->encoders);
        t->encoders = next;
    }
    if (t->has_lock) pthread_mutex_destroy(&t->lock);
    sg_added_set_free(t->raw_set);
    sg_added_set_free(t->normalized_set);
    sg_cutter_free(t->cutter);
    sg_bpe_free(t->bpe);
    sg_token_map_close(&t->ids);
    sg_free(t->plain.data);
    sg_free(t->plain_at);
    sg_free(t->texts);
    sg_free(t->added);
    sg_hf_tokenizer_free(t->hf);
    sg_free(t->json);
    sg_free(t);
}

sg_status sg_tokenizer_save(const sg_tokenizer *t, const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_folder_make(folder, err));
    SG_TRY(sg_path_join(path, sizeof path, folder, "tokenizer.json", err));
    return sg_file_write_atomic(path, t->json, t->json_bytes, err);
}

int32_t sg_tokenizer_vocab_size(const sg_tokenizer *t)
{
    return t->size;
}

uint64_t sg_tokenizer_hash(const sg_tokenizer *t)
{
    return t->hash;
}

int32_t sg_tokenizer_token_id(const sg_tokenizer *t, const char *token)
{
    return sg_token_map_get(&t->ids, token, strlen(token));
}

const char *sg_tokenizer_token_text(const sg_tokenizer *t, int32_t id)
{
    return id < 0 || id >= t->size ? NULL : t->texts[id].text;
}

bool sg_tokenizer_is_special(const sg_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->size && t->added[id] != NULL && t->added[id]->special;
}

int32_t sg_tokenizer_eos(const sg_tokenizer *t)
{
    return t->eos;
}

int32_t sg_tokenizer_bos(const sg_tokenizer *t)
{
    return t->bos;
}

int32_t sg_tokenizer_pad(const sg_tokenizer *t)
{
    return t->pad;
}
