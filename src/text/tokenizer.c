// Making a tokenizer from what its file says, and answering questions about its ids.
#include "text/tokenizer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/publish.h"
#include "text/decode_steps.h"
#include "text/vocab.h"

static sg_status tokenizer_no_memory(const char *name, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

static sg_status tokenizer_too_much(const char *name, const char *steps, sg_hf_string of,
                                    sg_error *err)
{
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: \"%s\": found steps that make more than 16 bytes of one (of the token "
                   "\"%.60s\"), which is not supported",
                   name, steps, of.text);
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
    size_t all = 0;
    for (size_t id = 0; id < size; id++)
        all += t->texts[id].bytes;
    t->plain.most = sg_bytes_limit(all);
    for (size_t id = 0; id < size; id++) {
        t->plain_at[id] = t->plain.count;
        if (!sg_decode_plain(hf, t->texts[id].text, t->texts[id].bytes, &t->plain))
            return t->plain.full ? tokenizer_too_much(name, "decoder", t->texts[id], err)
                                 : tokenizer_no_memory(name, err);
        sg_token_map_put(&t->ids, t->texts[id].text, t->texts[id].bytes, (int32_t)id);
    }
    t->plain_at[size] = t->plain.count;
    return SG_OK;
}

// The most bytes that added tokens may have after normalisation.
static size_t tokenizer_set_limit(const sg_hf_tokenizer *hf)
{
    size_t all = 0;
    for (size_t i = 0; i < hf->added_count; i++)
        all += hf->added[i].content.bytes;
    return sg_bytes_limit(all);
}

// Builds the set of added tokens whose flag `normalized` is `normalized`.
static sg_status tokenizer_build_set(sg_tokenizer *t, bool normalized, const char *name,
                                     sg_added_set **set, sg_error *err)
{
    const sg_hf_tokenizer *hf = t->hf;
    const sg_hf_added **tokens = sg_alloc_zero(hf->added_count + 1, sizeof *tokens);
    sg_hf_string *contents = sg_alloc_zero(hf->added_count + 1, sizeof *contents);
    sg_bytes buffers[2] = {{0}, {0}}, all = {.most = tokenizer_set_limit(hf)};
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
                status = all.full ? tokenizer_too_much(name, "normalizer", token->content, err)
                                  : tokenizer_no_memory(name, err);
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

static sg_status tokenizer_new(const char *name, sg_tokenizer **made, sg_error *err)
{
    *made = sg_alloc_zero(1, sizeof **made);
    if (*made == NULL) return tokenizer_no_memory(name, err);
    (*made)->has_lock = pthread_mutex_init(&(*made)->lock, NULL) == 0;
    if ((*made)->has_lock) return SG_OK;
    sg_free(*made);
    *made = NULL;
    return tokenizer_no_memory(name, err);
}

// From t->hf, all the rest.
static sg_status tokenizer_build(sg_tokenizer *t, const char *name, sg_error *err)
{
    SG_TRY(tokenizer_build_ids(t, name, err));
    SG_TRY(sg_bpe_new(t->hf, &t->bpe, err));
    SG_TRY(sg_cutter_new(t->hf->pre, t->hf->pre_count, name, &t->cutter, err));
    SG_TRY(tokenizer_build_set(t, false, name, &t->raw_set, err));
    SG_TRY(tokenizer_build_set(t, true, name, &t->normalized_set, err));
    tokenizer_find_roles(t);
    return SG_OK;
}

static sg_status tokenizer_read_json(sg_tokenizer *t, const void *json, size_t bytes,
                                     const char *name, sg_error *err)
{
    if (bytes > SG_HF_FILE_MAX)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu bytes, expected at most %zu", name, bytes,
                       SG_HF_FILE_MAX);
    t->json = sg_strndup(json, bytes);
    if (t->json == NULL) return tokenizer_no_memory(name, err);
    t->json_bytes = bytes;
    t->hash = sg_hash(json, bytes);
    SG_TRY(sg_hf_tokenizer_parse(t->json, bytes, name, &t->hf, err));
    return tokenizer_build(t, name, err);
}

// What stands for the tokenizer.json of one that has none.
static uint64_t tokenizer_hash_steps(const sg_hf_tokenizer *hf)
{
    uint64_t hash = sg_hash(hf->merges, hf->merge_count * sizeof *hf->merges);
    for (int32_t id = 0; id < hf->vocab_size; id++)
        hash = hash * 0x9E3779B97F4A7C15ULL ^ sg_hash(hf->tokens[id].text, hf->tokens[id].bytes);
    return hash;
}

// The text is made at once, so that what is packed with this tokenizer is known as packed with the
// tokenizer.json that goes along.
static sg_status tokenizer_make_json(sg_tokenizer *t, sg_error *err)
{
    sg_status status = sg_hf_tokenizer_text(t->hf, &t->json, &t->json_bytes, err);
    if (sg_ignored(status, SG_ERR_UNSUPPORTED, err)) {
        t->hash = tokenizer_hash_steps(t->hf);
        return SG_OK;
    }
    if (status == SG_OK) t->hash = sg_hash(t->json, t->json_bytes);
    return status;
}

sg_status sg_tokenizer_from_steps(sg_hf_tokenizer *hf, const char *name, sg_tokenizer **tokenizer,
                                  sg_error *err)
{
    *tokenizer = NULL;
    sg_tokenizer *made;
    sg_status status = tokenizer_new(name, &made, err);
    if (status != SG_OK) {
        sg_hf_tokenizer_free(hf);
        return status;
    }
    made->hf = hf;
    status = tokenizer_build(made, name, err);
    if (status == SG_OK) status = tokenizer_make_json(made, err);
    if (status != SG_OK)
        sg_tokenizer_free(made);
    else
        *tokenizer = made;
    return status;
}

// A tokenizer.bin begins with a small number in four bytes, and JSON has no NUL.
static bool tokenizer_is_llama2c(const void *data, size_t bytes)
{
    const char *at = data;
    return bytes >= 4 && at[2] == '\0' && at[3] == '\0';
}

sg_status sg_tokenizer_from_memory(const void *data, size_t bytes, const char *name,
                                   sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    if (tokenizer_is_llama2c(data, bytes))
        return sg_tokenizer_from_llama2c(data, bytes, name, tokenizer, err);
    sg_tokenizer *made;
    SG_TRY(tokenizer_new(name, &made, err));
    sg_status status = tokenizer_read_json(made, data, bytes, name, err);
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
        SG_TRY(sg_published_path(file, sizeof file, path, "tokenizer.json", NULL, err));
        path = file;
    }
    bool gguf; // which may be far larger than what is read of it
    SG_TRY(sg_gguf_detect(path, &gguf, err));
    if (gguf) {
        sg_gguf *model;
        SG_TRY(sg_gguf_open(path, &model, err));
        sg_status status = sg_tokenizer_from_gguf(model, tokenizer, err);
        sg_gguf_close(model);
        return status;
    }
    char *data;
    size_t bytes;
    SG_TRY(sg_file_read(path, SG_HF_FILE_MAX, &data, &bytes, err));
    sg_status status = sg_tokenizer_from_memory(data, bytes, path, tokenizer, err);
    sg_free(data);
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
    char path[SG_PATH_MAX], *made = NULL;
    size_t bytes = t->json_bytes;
    if (t->json == NULL) SG_TRY(sg_hf_tokenizer_text(t->hf, &made, &bytes, err)); // says why not
    sg_status status = sg_folder_make(folder, err);
    if (status == SG_OK) status = sg_path_join(path, sizeof path, folder, "tokenizer.json", err);
    if (status == SG_OK)
        status = sg_file_write_atomic(path, made != NULL ? made : t->json, bytes, err);
    sg_free(made);
    return status;
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

bool sg_tokenizer_begin(const sg_tokenizer *t, const int32_t **ids, size_t *count)
{
    *ids = t->hf->prefix;
    *count = t->hf->prefix_count;
    return t->hf->has_template;
}
