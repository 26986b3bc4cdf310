// Reading tokenizer.json: the model (vocabulary, merges) and the added tokens. The steps around the
// model are in hf_tokenizer_steps.c, writing in hf_tokenizer_write.c.
#include "format/hf_tokenizer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/hf_tokenizer_parts.h"

sg_status sg_hf_copy_string(sg_hf_reader *r, const json_t *value, sg_hf_string *out)
{
    out->bytes = json_string_length(value);
    out->text = sg_arena_strndup(&r->hf->arena, json_string_value(value), out->bytes);
    if (out->text == NULL) return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
    return SG_OK;
}

void *sg_hf_array(sg_hf_reader *r, size_t count, size_t size)
{
    if (count > SIZE_MAX / 2 / size) return NULL;
    void *array = sg_arena_alloc(&r->hf->arena, count * size);
    if (array != NULL) memset(array, 0, count * size);
    return array;
}

sg_status sg_hf_no_memory(sg_hf_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
}

// ---- vocabulary -------------------------------------------------------------------------------

static sg_status hf_read_vocab(sg_hf_reader *r, const json_t *vocab)
{
    sg_hf_tokenizer *hf = r->hf;
    size_t count = json_object_size(vocab);
    if (count == 0 || count > SG_HF_VOCAB_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"model.vocab\": found %zu tokens, expected 1 to %d", r->name, count,
                       SG_HF_VOCAB_MAX);
    hf->tokens = sg_hf_array(r, count, sizeof *hf->tokens);
    if (hf->tokens == NULL) return sg_hf_no_memory(r);
    hf->vocab_size = (int32_t)count;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)vocab, key, value)
    {
        if (!json_is_integer(value))
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: \"model.vocab\": the id of \"%.60s\" is not an integer", r->name,
                           key);
        json_int_t id = json_integer_value(value);
        // As many tokens as ids and every id below that count: no holes, no duplicates.
        if (id < 0 || id >= (json_int_t)count)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: \"model.vocab\": found id %lld for \"%.60s\", expected 0 to %zu "
                           "(ids must have no holes)",
                           r->name, (long long)id, key, count - 1);
        if (hf->tokens[id].text != NULL)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: \"model.vocab\": id %lld is given to both \"%.60s\" and \"%.60s\"",
                           r->name, (long long)id, hf->tokens[id].text, key);
        size_t bytes = strlen(key);
        char *text = sg_arena_strndup(&hf->arena, key, bytes);
        if (text == NULL) return sg_hf_no_memory(r);
        hf->tokens[id] = (sg_hf_string){text, bytes};
    }
    return SG_OK;
}

static int32_t hf_vocab_id(const json_t *vocab, const char *token)
{
    const json_t *value = json_object_get(vocab, token);
    return value == NULL ? -1 : (int32_t)json_integer_value(value);
}

// Splits a merge, "a b" or ["a", "b"], into two NUL-terminated halves in `scratch`.
static sg_status hf_split_merge(sg_hf_reader *r, const json_t *merge, size_t rank, char **scratch,
                                size_t *capacity, char **left, char **right)
{
    const char *a, *b;
    size_t a_bytes, b_bytes;
    if (json_is_string(merge)) {
        a = json_string_value(merge);
        size_t bytes = json_string_length(merge);
        const char *space = memchr(a, ' ', bytes);
        if (space == NULL || memchr(space + 1, ' ', bytes - (size_t)(space - a) - 1) != NULL)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: \"model.merges[%zu]\": found \"%.60s\", expected two tokens with "
                           "one space between them",
                           r->name, rank, a);
        a_bytes = (size_t)(space - a);
        b = space + 1;
        b_bytes = bytes - a_bytes - 1;
    } else if (json_is_array(merge) && json_array_size(merge) == 2 &&
               json_is_string(json_array_get(merge, 0)) &&
               json_is_string(json_array_get(merge, 1))) {
        a = json_string_value(json_array_get(merge, 0));
        a_bytes = json_string_length(json_array_get(merge, 0));
        b = json_string_value(json_array_get(merge, 1));
        b_bytes = json_string_length(json_array_get(merge, 1));
    } else {
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"model.merges[%zu]\": expected \"a b\" or [\"a\", \"b\"]", r->name,
                       rank);
    }
    if (memchr(a, 0, a_bytes) != NULL || memchr(b, 0, b_bytes) != NULL)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: \"model.merges[%zu]\": NUL in a token", r->name,
                       rank);
    // "a\0b\0" and, behind it, room for "ab\0".
    size_t need = 2 * (a_bytes + b_bytes) + 3;
    if (!sg_grow((void **)scratch, capacity, need, 1)) return sg_hf_no_memory(r);
    *left = *scratch;
    *right = *scratch + a_bytes + 1;
    memcpy(*left, a, a_bytes);
    (*left)[a_bytes] = '\0';
    memcpy(*right, b, b_bytes);
    (*right)[b_bytes] = '\0';
    char *joined = *right + b_bytes + 1;
    memcpy(joined, a, a_bytes);
    memcpy(joined + a_bytes, b, b_bytes);
    joined[a_bytes + b_bytes] = '\0';
    return SG_OK;
}

// The first line of a merges.txt, which converters leave in. The library passes over it anywhere,
// where merges are strings.
static bool hf_is_version(const json_t *merge)
{
    static const char begin[] = "#version";
    return json_is_string(merge) && strncmp(json_string_value(merge), begin, sizeof begin - 1) == 0;
}

static sg_status hf_read_merges(sg_hf_reader *r, const json_t *vocab, const json_t *merges)
{
    sg_hf_tokenizer *hf = r->hf;
    size_t count = json_array_size(merges);
    if (count > SG_HF_VOCAB_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"model.merges\": found %zu merges, expected at most %d", r->name,
                       count, SG_HF_VOCAB_MAX);
    hf->merges = sg_hf_array(r, count, sizeof *hf->merges);
    if (hf->merges == NULL) return sg_hf_no_memory(r);
    char *scratch = NULL;
    size_t capacity = 0;
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < count; i++) {
        const json_t *merge = json_array_get(merges, i);
        char *left = NULL, *right = NULL;
        if (hf_is_version(merge)) continue;
        status = hf_split_merge(r, merge, i, &scratch, &capacity, &left, &right);
        if (status != SG_OK) break;
        const size_t rank = hf->merge_count;
        const char *names[3] = {left, right, right + strlen(right) + 1};
        int32_t ids[3];
        for (int k = 0; k < 3 && status == SG_OK; k++) {
            ids[k] = hf_vocab_id(vocab, names[k]);
            if (ids[k] < 0)
                status = sg_fail(r->err, SG_ERR_FORMAT,
                                 "%s: \"model.merges[%zu]\": \"%.60s\" is not in the vocabulary",
                                 r->name, i, names[k]);
        }
        if (status == SG_OK)
            hf->merges[hf->merge_count++] = (sg_hf_merge){ids[0], ids[1], ids[2], (uint32_t)rank};
    }
    sg_free(scratch);
    return status;
}

// ---- model ------------------------------------------------------------------------------------

// A string member that must be absent, null or empty.
static sg_status hf_want_empty(sg_hf_reader *r, const json_t *model, const char *key)
{
    const char *text = "";
    SG_TRY(sg_json_get_string(model, r->name, key, false, &text, r->err));
    if (text[0] == '\0') return SG_OK;
    return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                   "%s: \"model.%s\": found \"%.60s\", only null is supported", r->name, key, text);
}

static sg_status hf_read_model(sg_hf_reader *r, const json_t *root)
{
    json_t *model, *vocab, *merges;
    SG_TRY(sg_json_get_object(root, r->name, "model", true, &model, r->err));
    const char *type = "BPE"; // very old files do not say
    SG_TRY(sg_json_get_string(model, r->name, "type", false, &type, r->err));
    if (strcmp(type, "BPE") != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: \"model.type\": found \"%.60s\", only \"BPE\" is supported", r->name,
                       type);
    double dropout = 0;
    SG_TRY(sg_json_get_number(model, r->name, "dropout", false, &dropout, r->err));
    if (dropout != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: \"model.dropout\": found %g, only null is supported", r->name, dropout);
    SG_TRY(hf_want_empty(r, model, "continuing_subword_prefix"));
    SG_TRY(hf_want_empty(r, model, "end_of_word_suffix"));
    SG_TRY(sg_json_get_bool(model, r->name, "byte_fallback", false, &r->hf->byte_fallback, r->err));
    SG_TRY(sg_json_get_bool(model, r->name, "fuse_unk", false, &r->hf->fuse_unk, r->err));
    SG_TRY(sg_json_get_bool(model, r->name, "ignore_merges", false, &r->hf->ignore_merges, r->err));
    SG_TRY(sg_json_get_object(model, r->name, "vocab", true, &vocab, r->err));
    SG_TRY(sg_json_get_array(model, r->name, "merges", true, &merges, r->err));
    SG_TRY(hf_read_vocab(r, vocab));
    SG_TRY(hf_read_merges(r, vocab, merges));
    const char *unk = NULL;
    SG_TRY(sg_json_get_string(model, r->name, "unk_token", false, &unk, r->err));
    if (unk != NULL) {
        r->hf->unk = hf_vocab_id(vocab, unk);
        if (r->hf->unk < 0)
            return sg_fail(r->err, SG_ERR_FORMAT,
                           "%s: \"model.unk_token\": \"%.60s\" is not in the vocabulary", r->name,
                           unk);
    }
    return SG_OK;
}

// ---- added tokens -----------------------------------------------------------------------------

// The Hugging Face library numbers added tokens itself, in the order of the file: the id the
// content has already, else the next free one. A file that says otherwise means different things to
// different readers, and is refused.
static sg_status hf_number_added(sg_hf_reader *r, json_t *known, sg_hf_added *token, int64_t said,
                                 int32_t *next, size_t index)
{
    const json_t *old = json_object_get(known, token->content.text);
    if (old != NULL) {
        token->id = (int32_t)json_integer_value(old);
    } else {
        token->id = (*next)++;
        if (json_object_set_new_nocheck(known, token->content.text, json_integer(token->id)) != 0)
            return sg_hf_no_memory(r);
    }
    if (said != token->id)
        return sg_fail(
            r->err, SG_ERR_FORMAT,
            "%s: \"added_tokens[%zu].id\": found %lld for \"%.60s\", expected %d (the id "
            "it has in the vocabulary, or the next free one)",
            r->name, index, (long long)said, token->content.text, token->id);
    return SG_OK;
}

static sg_status hf_read_added(sg_hf_reader *r, const json_t *root)
{
    json_t *list = NULL, *vocab, *known;
    SG_TRY(sg_json_get_array(root, r->name, "added_tokens", false, &list, r->err));
    size_t count = json_array_size(list);
    if (count > SG_HF_VOCAB_MAX - (size_t)r->hf->vocab_size)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: \"added_tokens\": found %zu, too many", r->name,
                       count);
    r->hf->added = sg_hf_array(r, count + 1, sizeof *r->hf->added);
    if (r->hf->added == NULL) return sg_hf_no_memory(r);
    vocab = json_object_get(json_object_get(root, "model"), "vocab");
    known = json_copy(vocab);
    unsigned char *seen = sg_alloc_zero((size_t)r->hf->vocab_size + count, 1);
    // jansson does not say when a copy lost members for want of memory.
    if (known == NULL || seen == NULL || json_object_size(known) != json_object_size(vocab)) {
        json_decref(known);
        sg_free(seen);
        return sg_hf_no_memory(r);
    }
    int32_t next = r->hf->vocab_size;
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < count; i++) {
        const json_t *item = json_array_get(list, i);
        sg_hf_added *token = &r->hf->added[i];
        char name[256];
        snprintf(name, sizeof name, "%.160s: added_tokens[%zu]", r->name, i);
        int64_t said = 0;
        json_t *content = json_object_get(item, "content");
        token->normalized = true;
        status = sg_json_get_int(item, name, "id", true, 0, INT32_MAX, &said, r->err);
        if (status == SG_OK && !json_is_string(content))
            status = sg_fail(r->err, SG_ERR_FORMAT, "%s: \"content\" is not a string", name);
        struct {
            const char *key;
            bool *flag;
        } flags[5] = {{"special", &token->special},
                      {"single_word", &token->single_word},
                      {"lstrip", &token->lstrip},
                      {"rstrip", &token->rstrip},
                      {"normalized", &token->normalized}};
        for (int f = 0; f < 5 && status == SG_OK; f++)
            status = sg_json_get_bool(item, name, flags[f].key, true, flags[f].flag, r->err);
        if (status != SG_OK) break;
        status = sg_hf_copy_string(r, content, &token->content);
        if (status == SG_OK &&
            (token->content.bytes == 0 || strlen(token->content.text) != token->content.bytes))
            status = sg_fail(r->err, SG_ERR_FORMAT, "%s: \"content\" is empty or holds NUL", name);
        if (status == SG_OK) status = hf_number_added(r, known, token, said, &next, i);
        if (status == SG_OK && seen[token->id]++ != 0)
            status = sg_fail(r->err, SG_ERR_FORMAT, "%s: \"%.60s\" is there twice", name,
                             token->content.text);
    }
    json_decref(known);
    sg_free(seen);
    r->hf->added_count = count;
    return status;
}

// ---- the whole --------------------------------------------------------------------------------

static sg_status hf_read_root(sg_hf_reader *r, const json_t *root)
{
    const char *version = "1.0";
    SG_TRY(sg_json_get_string(root, r->name, "version", false, &version, r->err));
    if (strcmp(version, "1.0") != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: \"version\": found \"%.60s\", expected \"1.0\"", r->name, version);
    SG_TRY(hf_read_model(r, root));
    SG_TRY(hf_read_added(r, root));
    SG_TRY(sg_hf_read_normalizer(r, root));
    SG_TRY(sg_hf_read_pre(r, root));
    SG_TRY(sg_hf_read_post(r, root));
    return sg_hf_read_decoder(r, root);
}

sg_status sg_hf_tokenizer_parse(const char *text, size_t bytes, const char *name,
                                sg_hf_tokenizer **hf, sg_error *err)
{
    *hf = NULL;
    json_t *root;
    SG_TRY(sg_json_parse(text, bytes, name, &root, err));
    sg_hf_tokenizer *made = sg_alloc_zero(1, sizeof *made);
    sg_hf_reader reader = {name, made, err};
    sg_status status = SG_OK;
    if (made == NULL) {
        status = sg_hf_no_memory(&reader);
    } else {
        made->unk = -1;
        status = hf_read_root(&reader, root);
    }
    json_decref(root);
    if (status != SG_OK)
        sg_hf_tokenizer_free(made);
    else
        *hf = made;
    return status;
}

const sg_hf_pre *sg_hf_byte_level(const sg_hf_tokenizer *hf)
{
    for (size_t i = 0; i < hf->pre_count; i++)
        if (hf->pre[i].kind == SG_HF_BYTE_LEVEL) return &hf->pre[i];
    return NULL;
}

static int hf_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int sg_hf_fallback_byte(const char *text, size_t bytes)
{
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    // The library reads the digits as Rust does, which takes a plus sign too.
    int high = text[3] == '+' ? 0 : hf_hex(text[3]), low = hf_hex(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

void sg_hf_tokenizer_free(sg_hf_tokenizer *hf)
{
    if (hf == NULL) return;
    sg_arena_free(&hf->arena);
    sg_free(hf);
}
