// Writing tokenizer.json. Members and their order are those the Hugging Face library itself writes.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/hf_tokenizer_parts.h"

// Every builder returns a new reference, NULL when out of memory; jansson's packing functions take
// the references they are given even when they fail, so nothing leaks.

static json_t *write_string(sg_hf_string text)
{
    return json_stringn_nocheck(text.text, text.bytes);
}

static json_t *write_list(json_t **items, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        if (items[i] == NULL || list == NULL || json_array_append(list, items[i]) != 0) {
            json_decref(list);
            list = NULL;
        }
    for (size_t i = 0; i < count; i++)
        json_decref(items[i]);
    return list;
}

static json_t *write_byte_level(bool prefix_space, bool trim_offsets, bool use_regex)
{
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space,
                     "trim_offsets", trim_offsets, "use_regex", use_regex);
}

static json_t *write_normalizer(const sg_hf_normalizer *step)
{
    switch (step->kind) {
    case SG_HF_NFC:
        return json_pack("{s:s}", "type", "NFC");
    case SG_HF_NFD:
        return json_pack("{s:s}", "type", "NFD");
    case SG_HF_NFKC:
        return json_pack("{s:s}", "type", "NFKC");
    case SG_HF_NFKD:
        return json_pack("{s:s}", "type", "NFKD");
    case SG_HF_LOWERCASE:
        return json_pack("{s:s}", "type", "Lowercase");
    case SG_HF_PREPEND:
        return json_pack("{s:s, s:o}", "type", "Prepend", "prepend", write_string(step->content));
    case SG_HF_REPLACE:
        return json_pack("{s:s, s:{s:o}, s:o}", "type", "Replace", "pattern", "String",
                         write_string(step->pattern), "content", write_string(step->content));
    case SG_HF_STRIP:
        return json_pack("{s:s, s:b, s:b}", "type", "Strip", "strip_left", step->left,
                         "strip_right", step->right);
    }
    return NULL;
}

static json_t *write_metaspace(sg_hf_string replacement, sg_hf_prepend prepend, bool split)
{
    static const char *const schemes[] = {"never", "first", "always"};
    return json_pack("{s:s, s:o, s:s, s:b}", "type", "Metaspace", "replacement",
                     write_string(replacement), "prepend_scheme", schemes[prepend], "split", split);
}

static json_t *write_pre(const sg_hf_pre *step)
{
    static const char *const behaviors[] = {"Removed", "Isolated", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    switch (step->kind) {
    case SG_HF_BYTE_LEVEL:
        return write_byte_level(step->add_prefix_space, step->trim_offsets, step->use_regex);
    case SG_HF_SPLIT:
        return json_pack("{s:s, s:{s:o}, s:s, s:b}", "type", "Split", "pattern",
                         step->is_regex ? "Regex" : "String", write_string(step->pattern),
                         "behavior", behaviors[step->behavior], "invert", step->invert);
    case SG_HF_PUNCTUATION:
        return json_pack("{s:s, s:s}", "type", "Punctuation", "behavior",
                         behaviors[step->behavior]);
    case SG_HF_DIGITS:
        return json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", step->individual);
    case SG_HF_METASPACE:
        return write_metaspace(step->pattern, step->prepend, step->split);
    case SG_HF_WHITESPACE:
        return json_pack("{s:s}", "type", "Whitespace");
    case SG_HF_WHITESPACE_SPLIT:
        return json_pack("{s:s}", "type", "WhitespaceSplit");
    case SG_HF_FIXED_LENGTH:
        return json_pack("{s:s, s:I}", "type", "FixedLength", "length", (json_int_t)step->length);
    }
    return NULL;
}

static json_t *write_decoder(const sg_hf_decoder *step)
{
    switch (step->kind) {
    case SG_HF_DECODE_BYTE_LEVEL:
        return write_byte_level(true, true, true);
    case SG_HF_DECODE_METASPACE:
        return write_metaspace(step->pattern, step->prepend, step->split);
    case SG_HF_DECODE_REPLACE:
        return json_pack("{s:s, s:{s:o}, s:o}", "type", "Replace", "pattern", "String",
                         write_string(step->pattern), "content", write_string(step->content));
    case SG_HF_DECODE_BYTE_FALLBACK:
        return json_pack("{s:s}", "type", "ByteFallback");
    case SG_HF_DECODE_FUSE:
        return json_pack("{s:s}", "type", "Fuse");
    case SG_HF_DECODE_STRIP:
        return json_pack("{s:s, s:o, s:I, s:I}", "type", "Strip", "content",
                         write_string(step->pattern), "start", (json_int_t)step->start, "stop",
                         (json_int_t)step->stop);
    }
    return NULL;
}

// One step as itself, several as a Sequence, none as null.
static json_t *write_steps(json_t **steps, size_t count, const char *list)
{
    if (count == 0) return json_null();
    if (count == 1) return steps[0];
    return json_pack("{s:s, s:o}", "type", "Sequence", list, write_list(steps, count));
}

static json_t *write_added(const sg_hf_tokenizer *hf)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < hf->added_count; i++) {
        const sg_hf_added *token = &hf->added[i];
        json_t *item =
            json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (int)token->id, "content",
                      write_string(token->content), "single_word", token->single_word, "lstrip",
                      token->lstrip, "rstrip", token->rstrip, "normalized", token->normalized,
                      "special", token->special);
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *write_vocab(const sg_hf_tokenizer *hf)
{
    json_t *vocab = json_object();
    for (int32_t id = 0; vocab != NULL && id < hf->vocab_size; id++)
        if (json_object_set_new_nocheck(vocab, hf->tokens[id].text, json_integer(id)) != 0) {
            json_decref(vocab);
            vocab = NULL;
        }
    return vocab;
}

// "LEFT RIGHT", which every version of the library reads; before its 0.20 that was the only form.
static json_t *write_merge(sg_hf_string left, sg_hf_string right)
{
    const size_t bytes = left.bytes + 1 + right.bytes;
    char *text = sg_alloc_array(bytes, 1);
    if (text == NULL) return NULL;
    memcpy(text, left.text, left.bytes);
    text[left.bytes] = ' ';
    memcpy(text + left.bytes + 1, right.text, right.bytes);
    json_t *made = write_string((sg_hf_string){text, bytes});
    sg_free(text);
    return made;
}

static json_t *write_pair(sg_hf_string left, sg_hf_string right)
{
    json_t *pair[2] = {write_string(left), write_string(right)};
    return write_list(pair, 2);
}

// Pairs where a token has a space in it.
static bool write_has_spaces(const sg_hf_tokenizer *hf)
{
    for (int32_t id = 0; id < hf->vocab_size; id++)
        if (memchr(hf->tokens[id].text, ' ', hf->tokens[id].bytes) != NULL) return true;
    return false;
}

static json_t *write_merges(const sg_hf_tokenizer *hf)
{
    json_t *list = json_array();
    const bool pairs = write_has_spaces(hf);
    for (size_t i = 0; list != NULL && i < hf->merge_count; i++) {
        const sg_hf_string left = hf->tokens[hf->merges[i].left];
        const sg_hf_string right = hf->tokens[hf->merges[i].right];
        json_t *made = pairs ? write_pair(left, right) : write_merge(left, right);
        if (json_array_append_new(list, made) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static json_t *write_model(const sg_hf_tokenizer *hf)
{
    json_t *unk = hf->unk < 0 ? json_null() : write_string(hf->tokens[hf->unk]);
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", unk, "continuing_subword_prefix", "end_of_word_suffix",
                     "fuse_unk", hf->fuse_unk, "byte_fallback", hf->byte_fallback, "ignore_merges",
                     hf->ignore_merges, "vocab", write_vocab(hf), "merges", write_merges(hf));
}

// ---- the template -----------------------------------------------------------------------------

static sg_hf_string write_spelling(const sg_hf_tokenizer *hf, int32_t id)
{
    for (size_t i = 0; i < hf->added_count; i++)
        if (hf->added[i].id == id) return hf->added[i].content;
    return hf->tokens[id];
}

static bool write_template_specials(const sg_hf_tokenizer *hf, const int32_t *ids, size_t count,
                                    int type_id, json_t *list, json_t *table)
{
    for (size_t i = 0; i < count; i++) {
        sg_hf_string token = write_spelling(hf, ids[i]);
        json_t *piece = json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", write_string(token),
                                  "type_id", type_id);
        json_t *entry = json_pack("{s:o, s:[i], s:[o]}", "id", write_string(token), "ids",
                                  (int)ids[i], "tokens", write_string(token));
        bool fine = json_array_append_new(list, piece) == 0;
        if (json_object_set_new_nocheck(table, token.text, entry) != 0 || !fine) return false;
    }
    return true;
}

static bool write_template_text(const sg_hf_tokenizer *hf, const char *id, int type_id,
                                json_t *list, json_t *table)
{
    return write_template_specials(hf, hf->prefix, hf->prefix_count, type_id, list, table) &&
           json_array_append_new(
               list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", id, "type_id", type_id)) == 0 &&
           write_template_specials(hf, hf->suffix, hf->suffix_count, type_id, list, table);
}

static json_t *write_post(const sg_hf_tokenizer *hf)
{
    const sg_hf_pre *level = sg_hf_byte_level(hf);
    // An empty template says that nothing surrounds a text; none says nothing.
    if (!hf->has_template)
        return level == NULL ? json_null() : write_byte_level(level->add_prefix_space, true, true);
    json_t *single = json_array(), *pair = json_array(), *table = json_object();
    if (single == NULL || pair == NULL || table == NULL ||
        !write_template_text(hf, "A", 0, single, table) ||
        !write_template_text(hf, "A", 0, pair, table) ||
        !write_template_text(hf, "B", 1, pair, table)) {
        json_decref(single);
        json_decref(pair);
        json_decref(table);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair",
                     pair, "special_tokens", table);
}

// ---- the whole --------------------------------------------------------------------------------

// What the file has no words for.
static sg_status write_check(const sg_hf_tokenizer *hf, sg_error *err)
{
    for (size_t i = 1; i < hf->merge_count; i++) {
        const sg_hf_merge *a = &hf->merges[i - 1], *b = &hf->merges[i];
        if (a->rank < b->rank) continue;
        return sg_fail(
            err, SG_ERR_UNSUPPORTED,
            "tokenizer.json: the tokens \"%.60s\" (%d) and \"%.60s\" (%d) merge with the "
            "same score, which the file cannot say",
            hf->tokens[a->result].text, a->result, hf->tokens[b->result].text, b->result);
    }
    return SG_OK;
}

sg_status sg_hf_tokenizer_text(const sg_hf_tokenizer *hf, char **text, size_t *bytes, sg_error *err)
{
    *text = NULL;
    SG_TRY(write_check(hf, err));
    sg_json_setup();
    json_t *normalizers[SG_HF_STEPS_MAX], *pre[SG_HF_STEPS_MAX], *decoders[SG_HF_STEPS_MAX];
    for (size_t i = 0; i < hf->normalizer_count; i++)
        normalizers[i] = write_normalizer(&hf->normalizers[i]);
    for (size_t i = 0; i < hf->pre_count; i++)
        pre[i] = write_pre(&hf->pre[i]);
    sg_hf_decoder fuse = {.kind = SG_HF_DECODE_FUSE}; // what no step at all comes to
    bool only_fuse = hf->has_decoder && hf->decoder_count == 0;
    size_t decoder_count = only_fuse ? 1 : hf->decoder_count;
    for (size_t i = 0; i < decoder_count; i++)
        decoders[i] = write_decoder(only_fuse ? &fuse : &hf->decoders[i]);
    json_t *root = json_pack(
        "{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding",
        "added_tokens", write_added(hf), "normalizer",
        write_steps(normalizers, hf->normalizer_count, "normalizers"), "pre_tokenizer",
        write_steps(pre, hf->pre_count, "pretokenizers"), "post_processor", write_post(hf),
        "decoder", write_steps(decoders, decoder_count, "decoders"), "model", write_model(hf));
    if (root == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory while writing JSON");
    sg_status status = sg_json_text(root, true, text, err);
    json_decref(root);
    if (status == SG_OK) *bytes = strlen(*text);
    return status;
}
