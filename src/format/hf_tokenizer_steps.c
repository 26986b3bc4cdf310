// Reading the steps around the model of a tokenizer.json: normaliser, pre-tokenizer, post-processor
// and decoder. Sequences are flattened; what is not known is refused by name.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/hf_tokenizer_parts.h"

typedef sg_status (*steps_fn)(sg_hf_reader *r, const json_t *step, const char *name,
                              const char *type);

static sg_status steps_unsupported(sg_hf_reader *r, const char *name, const char *key,
                                   const char *found)
{
    return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                   "%s: \"%s\": found \"%.60s\", which is not supported", name, key, found);
}

// Calls `fn` for the step, or for every step in it when it is a Sequence. `list` is the member that
// holds the steps of a sequence.
static sg_status steps_walk(sg_hf_reader *r, const json_t *step, const char *name, const char *list,
                            int depth, steps_fn fn)
{
    const char *type;
    SG_TRY(sg_json_get_string(step, name, "type", true, &type, r->err));
    if (strcmp(type, "Sequence") != 0) return fn(r, step, name, type);
    if (depth == SG_HF_DEPTH_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: sequences are nested more than %d deep", name,
                       SG_HF_DEPTH_MAX);
    json_t *steps;
    SG_TRY(sg_json_get_array(step, name, list, true, &steps, r->err));
    for (size_t i = 0; i < json_array_size(steps); i++)
        SG_TRY(steps_walk(r, json_array_get(steps, i), name, list, depth + 1, fn));
    return SG_OK;
}

// Walks the member `key` of the file, which may be null.
static sg_status steps_member(sg_hf_reader *r, const json_t *root, const char *key,
                              const char *list, steps_fn fn)
{
    json_t *step;
    SG_TRY(sg_json_get_object(root, r->name, key, false, &step, r->err));
    if (step == NULL) return SG_OK;
    char name[256];
    snprintf(name, sizeof name, "%.200s: %s", r->name, key);
    return steps_walk(r, step, name, list, 0, fn);
}

static sg_status steps_full(sg_hf_reader *r, const char *name)
{
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: more than %d steps", name, SG_HF_STEPS_MAX);
}

// A required string member, copied.
static sg_status steps_string(sg_hf_reader *r, const json_t *object, const char *name,
                              const char *key, sg_hf_string *out)
{
    const char *unused;
    SG_TRY(sg_json_get_string(object, name, key, true, &unused, r->err));
    return sg_hf_copy_string(r, json_object_get(object, key), out);
}

// A required member of one character.
static sg_status steps_character(sg_hf_reader *r, const json_t *object, const char *name,
                                 const char *key, sg_hf_string *out)
{
    SG_TRY(steps_string(r, object, name, key, out));
    unsigned char first = (unsigned char)out->text[0];
    size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; // JSON is UTF-8
    if (first != 0 && out->bytes == length) return SG_OK;
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: \"%s\": found \"%.60s\", expected one character",
                   name, key, out->text);
}

// The members of Metaspace, as pre-tokenizer and as decoder. Older files have add_prefix_space in
// place of, or besides, prepend_scheme.
static sg_status steps_metaspace(sg_hf_reader *r, const json_t *step, const char *name,
                                 sg_hf_string *replacement, sg_hf_prepend *prepend, bool *split)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const char *scheme = "always";
    bool prefix = true;
    *split = true;
    SG_TRY(steps_character(r, step, name, "replacement", replacement));
    SG_TRY(sg_json_get_string(step, name, "prepend_scheme", false, &scheme, r->err));
    SG_TRY(sg_json_get_bool(step, name, "add_prefix_space", false, &prefix, r->err));
    SG_TRY(sg_json_get_bool(step, name, "split", false, split, r->err));
    for (int s = 0; s < 3; s++) {
        if (strcmp(scheme, schemes[s]) != 0) continue;
        *prepend = (sg_hf_prepend)s;
        if (prefix || s == SG_HF_NEVER) return SG_OK;
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"add_prefix_space\": found false, which contradicts "
                       "\"prepend_scheme\" \"%s\"",
                       name, scheme);
    }
    return steps_unsupported(r, name, "prepend_scheme", scheme);
}

// {"String": "…"} or {"Regex": "…"}
static sg_status steps_pattern(sg_hf_reader *r, const json_t *step, const char *name,
                               sg_hf_string *out, bool *is_regex)
{
    json_t *pattern;
    SG_TRY(sg_json_get_object(step, name, "pattern", true, &pattern, r->err));
    *is_regex = json_object_get(pattern, "Regex") != NULL;
    SG_TRY(steps_string(r, pattern, name, *is_regex ? "Regex" : "String", out));
    if (out->bytes == 0 || out->bytes > SG_HF_PATTERN_MAX)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: \"pattern\": found %zu bytes, expected 1 to %d", name, out->bytes,
                       SG_HF_PATTERN_MAX);
    return SG_OK;
}

// ---- normaliser -------------------------------------------------------------------------------

static sg_status steps_normalizer(sg_hf_reader *r, const json_t *step, const char *name,
                                  const char *type)
{
    static const struct {
        const char *type;
        sg_hf_normalizer_kind kind;
    } kinds[] = {{"NFC", SG_HF_NFC},
                 {"NFD", SG_HF_NFD},
                 {"NFKC", SG_HF_NFKC},
                 {"NFKD", SG_HF_NFKD},
                 {"Lowercase", SG_HF_LOWERCASE},
                 {"Prepend", SG_HF_PREPEND},
                 {"Replace", SG_HF_REPLACE},
                 {"Strip", SG_HF_STRIP}};
    size_t k = 0;
    while (k < sizeof kinds / sizeof *kinds && strcmp(kinds[k].type, type) != 0)
        k++;
    if (k == sizeof kinds / sizeof *kinds) return steps_unsupported(r, name, "type", type);
    sg_hf_tokenizer *hf = r->hf;
    if (hf->normalizer_count == SG_HF_STEPS_MAX) return steps_full(r, name);
    sg_hf_normalizer *made = &hf->normalizers[hf->normalizer_count];
    made->kind = kinds[k].kind;
    if (made->kind == SG_HF_PREPEND) SG_TRY(steps_string(r, step, name, "prepend", &made->content));
    if (made->kind == SG_HF_REPLACE) {
        bool is_regex;
        SG_TRY(steps_pattern(r, step, name, &made->pattern, &is_regex));
        if (is_regex) return steps_unsupported(r, name, "pattern.Regex", made->pattern.text);
        SG_TRY(steps_string(r, step, name, "content", &made->content));
    }
    if (made->kind == SG_HF_STRIP) {
        SG_TRY(sg_json_get_bool(step, name, "strip_left", true, &made->left, r->err));
        SG_TRY(sg_json_get_bool(step, name, "strip_right", true, &made->right, r->err));
    }
    hf->normalizer_count++;
    return SG_OK;
}

sg_status sg_hf_read_normalizer(sg_hf_reader *r, const json_t *root)
{
    r->hf->normalizers = sg_hf_array(r, SG_HF_STEPS_MAX, sizeof *r->hf->normalizers);
    if (r->hf->normalizers == NULL) return sg_hf_no_memory(r);
    return steps_member(r, root, "normalizer", "normalizers", steps_normalizer);
}

// ---- pre-tokenizer ----------------------------------------------------------------------------

static sg_status steps_byte_level(sg_hf_reader *r, const json_t *step, const char *name,
                                  sg_hf_pre *made)
{
    made->kind = SG_HF_BYTE_LEVEL;
    made->use_regex = true;
    SG_TRY(sg_json_get_bool(step, name, "add_prefix_space", true, &made->add_prefix_space, r->err));
    SG_TRY(sg_json_get_bool(step, name, "trim_offsets", true, &made->trim_offsets, r->err));
    return sg_json_get_bool(step, name, "use_regex", false, &made->use_regex, r->err);
}

static sg_status steps_behavior(sg_hf_reader *r, const json_t *step, const char *name,
                                bool required, sg_hf_behavior *out)
{
    static const char *const behaviors[] = {"Removed", "Isolated", "MergedWithPrevious",
                                            "MergedWithNext", "Contiguous"};
    const char *behavior = "Isolated";
    SG_TRY(sg_json_get_string(step, name, "behavior", required, &behavior, r->err));
    for (int b = 0; b < 5; b++) {
        if (strcmp(behavior, behaviors[b]) != 0) continue;
        *out = (sg_hf_behavior)b;
        return SG_OK;
    }
    return steps_unsupported(r, name, "behavior", behavior);
}

static sg_status steps_split(sg_hf_reader *r, const json_t *step, const char *name, sg_hf_pre *made)
{
    made->kind = SG_HF_SPLIT;
    SG_TRY(steps_pattern(r, step, name, &made->pattern, &made->is_regex));
    SG_TRY(sg_json_get_bool(step, name, "invert", true, &made->invert, r->err));
    return steps_behavior(r, step, name, true, &made->behavior);
}

// {"delimiter": "c"}: split at the character, which vanishes.
static sg_status steps_delimiter(sg_hf_reader *r, const json_t *step, const char *name,
                                 sg_hf_pre *made)
{
    made->kind = SG_HF_SPLIT;
    made->behavior = SG_HF_REMOVED;
    return steps_character(r, step, name, "delimiter", &made->pattern);
}

// The pre-tokenizers without regular expressions and marks; *known is false for others.
static sg_status steps_plain_pre(sg_hf_reader *r, const json_t *step, const char *name,
                                 const char *type, sg_hf_pre *made, bool *known)
{
    *known = true;
    if (strcmp(type, "Digits") == 0) {
        made->kind = SG_HF_DIGITS;
        return sg_json_get_bool(step, name, "individual_digits", true, &made->individual, r->err);
    }
    if (strcmp(type, "Punctuation") == 0) {
        made->kind = SG_HF_PUNCTUATION;
        return steps_behavior(r, step, name, false, &made->behavior);
    }
    if (strcmp(type, "FixedLength") == 0) {
        made->kind = SG_HF_FIXED_LENGTH;
        return sg_json_get_int(step, name, "length", true, 1, INT32_MAX, &made->length, r->err);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) return steps_delimiter(r, step, name, made);
    *known = strcmp(type, "Whitespace") == 0 || strcmp(type, "WhitespaceSplit") == 0;
    made->kind =
        type[*known ? strlen("Whitespace") : 0] == '\0' ? SG_HF_WHITESPACE : SG_HF_WHITESPACE_SPLIT;
    return SG_OK;
}

static sg_status steps_pre(sg_hf_reader *r, const json_t *step, const char *name, const char *type)
{
    sg_hf_tokenizer *hf = r->hf;
    if (strcmp(type, "BertPreTokenizer") == 0) { // which is two others
        SG_TRY(steps_pre(r, step, name, "WhitespaceSplit"));
        type = "Punctuation";
    }
    if (hf->pre_count == SG_HF_STEPS_MAX) return steps_full(r, name);
    sg_hf_pre *made = &hf->pre[hf->pre_count];
    bool known = true;
    if (strcmp(type, "ByteLevel") == 0) {
        if (sg_hf_byte_level(hf) != NULL)
            return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: more than one \"ByteLevel\"", name);
        SG_TRY(steps_byte_level(r, step, name, made));
    } else if (strcmp(type, "Metaspace") == 0) {
        if (sg_hf_byte_level(hf) != NULL) // whose marks have no spelling in its alphabet
            return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                           "%s: \"Metaspace\" behind \"ByteLevel\" is not supported", name);
        made->kind = SG_HF_METASPACE;
        SG_TRY(steps_metaspace(r, step, name, &made->pattern, &made->prepend, &made->split));
    } else if (strcmp(type, "Split") == 0) {
        SG_TRY(steps_split(r, step, name, made));
    } else {
        SG_TRY(steps_plain_pre(r, step, name, type, made, &known));
    }
    if (!known) return steps_unsupported(r, name, "type", type);
    hf->pre_count++;
    return SG_OK;
}

sg_status sg_hf_read_pre(sg_hf_reader *r, const json_t *root)
{
    sg_hf_tokenizer *hf = r->hf;
    hf->pre = sg_hf_array(r, SG_HF_STEPS_MAX, sizeof *hf->pre);
    if (hf->pre == NULL) return sg_hf_no_memory(r);
    return steps_member(r, root, "pre_tokenizer", "pretokenizers", steps_pre);
}

// ---- post-processor ---------------------------------------------------------------------------

// Puts `ids` in front of the prefix or behind the suffix.
static sg_status steps_surround(sg_hf_reader *r, const char *name, bool front, const int32_t *ids,
                                size_t count)
{
    sg_hf_tokenizer *hf = r->hf;
    int32_t **list = front ? &hf->prefix : &hf->suffix;
    size_t *have = front ? &hf->prefix_count : &hf->suffix_count;
    if (*have + count > 1024)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: more than 1024 special tokens", name);
    int32_t *grown = sg_hf_array(r, *have + count + 1, sizeof *grown);
    if (grown == NULL) return sg_hf_no_memory(r);
    size_t old_at = front ? count : 0, new_at = front ? 0 : *have;
    if (*have > 0) memcpy(grown + old_at, *list, *have * sizeof *grown);
    if (count > 0) memcpy(grown + new_at, ids, count * sizeof *grown);
    *list = grown;
    *have += count;
    return SG_OK;
}

static sg_status steps_post_id(sg_hf_reader *r, const char *name, const json_t *value, int32_t *id)
{
    int64_t limit = r->hf->vocab_size + (int64_t)r->hf->added_count;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= limit)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: an id is not an integer from 0 to %lld", name,
                       (long long)limit - 1);
    *id = (int32_t)json_integer_value(value);
    return SG_OK;
}

// The ids of one {"SpecialToken": {"id": NAME}}, looked up in "special_tokens".
static sg_status steps_special(sg_hf_reader *r, const json_t *step, const char *name,
                               const json_t *special, bool front)
{
    const char *token;
    json_t *table, *entry, *list;
    SG_TRY(sg_json_get_string(special, name, "id", true, &token, r->err));
    SG_TRY(sg_json_get_object(step, name, "special_tokens", true, &table, r->err));
    SG_TRY(sg_json_get_object(table, name, token, true, &entry, r->err));
    SG_TRY(sg_json_get_array(entry, name, "ids", true, &list, r->err));
    int32_t ids[64];
    size_t count = json_array_size(list);
    if (count > 64) return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: more than 64 ids", name);
    for (size_t i = 0; i < count; i++)
        SG_TRY(steps_post_id(r, name, json_array_get(list, i), &ids[i]));
    return steps_surround(r, name, front, ids, count);
}

static sg_status steps_template(sg_hf_reader *r, const json_t *step, const char *name)
{
    json_t *single;
    SG_TRY(sg_json_get_array(step, name, "single", true, &single, r->err));
    size_t count = json_array_size(single), text = count;
    for (size_t i = 0; i < count; i++) {
        if (json_object_get(json_array_get(single, i), "Sequence") == NULL) continue;
        if (text != count)
            return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: \"single\": more than one Sequence",
                           name);
        text = i;
    }
    if (text == count)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: \"single\": has no Sequence", name);
    // From the text outwards, so that each piece goes to the end of what is there.
    for (size_t i = text; i-- > 0;) {
        json_t *special;
        SG_TRY(sg_json_get_object(json_array_get(single, i), name, "SpecialToken", true, &special,
                                  r->err));
        SG_TRY(steps_special(r, step, name, special, true));
    }
    for (size_t i = text + 1; i < count; i++) {
        json_t *special;
        SG_TRY(sg_json_get_object(json_array_get(single, i), name, "SpecialToken", true, &special,
                                  r->err));
        SG_TRY(steps_special(r, step, name, special, false));
    }
    return SG_OK;
}

static sg_status steps_post(sg_hf_reader *r, const json_t *step, const char *name, const char *type)
{
    if (strcmp(type, "ByteLevel") == 0) return SG_OK; // changes offsets only
    r->hf->has_template = true;
    if (strcmp(type, "TemplateProcessing") == 0) return steps_template(r, step, name);
    if (strcmp(type, "RobertaProcessing") != 0 && strcmp(type, "BertProcessing") != 0)
        return steps_unsupported(r, name, "type", type);
    json_t *pair;
    int32_t id;
    SG_TRY(sg_json_get_array(step, name, "cls", true, &pair, r->err));
    SG_TRY(steps_post_id(r, name, json_array_get(pair, 1), &id));
    SG_TRY(steps_surround(r, name, true, &id, 1));
    SG_TRY(sg_json_get_array(step, name, "sep", true, &pair, r->err));
    SG_TRY(steps_post_id(r, name, json_array_get(pair, 1), &id));
    return steps_surround(r, name, false, &id, 1);
}

sg_status sg_hf_read_post(sg_hf_reader *r, const json_t *root)
{
    return steps_member(r, root, "post_processor", "processors", steps_post);
}

// ---- decoder ----------------------------------------------------------------------------------

static sg_status steps_decoder_strip(sg_hf_reader *r, const json_t *step, const char *name,
                                     sg_hf_decoder *made)
{
    made->kind = SG_HF_DECODE_STRIP;
    SG_TRY(steps_character(r, step, name, "content", &made->pattern));
    SG_TRY(sg_json_get_int(step, name, "start", true, 0, INT32_MAX, &made->start, r->err));
    return sg_json_get_int(step, name, "stop", true, 0, INT32_MAX, &made->stop, r->err);
}

static sg_status steps_decoder_replace(sg_hf_reader *r, const json_t *step, const char *name,
                                       sg_hf_decoder *made)
{
    bool is_regex;
    made->kind = SG_HF_DECODE_REPLACE;
    SG_TRY(steps_pattern(r, step, name, &made->pattern, &is_regex));
    if (is_regex) return steps_unsupported(r, name, "pattern.Regex", made->pattern.text);
    return steps_string(r, step, name, "content", &made->content);
}

// Once all is joined to one string, only what can be done piece by piece is accepted.
static sg_status steps_decoder(sg_hf_reader *r, const json_t *step, const char *name,
                               const char *type)
{
    sg_hf_tokenizer *hf = r->hf;
    if (hf->decoder_count == SG_HF_STEPS_MAX) return steps_full(r, name);
    sg_hf_decoder *made = &hf->decoders[hf->decoder_count];
    bool fused = false, bytes = false;
    for (size_t i = 0; i < hf->decoder_count; i++) {
        bytes = bytes || hf->decoders[i].kind == SG_HF_DECODE_BYTE_LEVEL;
        fused = fused || bytes || hf->decoders[i].kind == SG_HF_DECODE_FUSE;
    }
    if (strcmp(type, "Fuse") == 0) {
        made->kind = SG_HF_DECODE_FUSE;
    } else if (strcmp(type, "Strip") == 0 && !bytes) {
        SG_TRY(steps_decoder_strip(r, step, name, made));
    } else if (fused) {
        return sg_fail(
            r->err, SG_ERR_UNSUPPORTED,
            "%s: \"type\": found \"%.60s\" behind a step that joins the tokens, which is "
            "not supported",
            name, type);
    } else if (strcmp(type, "ByteLevel") == 0) {
        made->kind = SG_HF_DECODE_BYTE_LEVEL;
    } else if (strcmp(type, "Metaspace") == 0) {
        made->kind = SG_HF_DECODE_METASPACE;
        SG_TRY(steps_metaspace(r, step, name, &made->pattern, &made->prepend, &made->split));
    } else if (strcmp(type, "Replace") == 0) {
        SG_TRY(steps_decoder_replace(r, step, name, made));
    } else if (strcmp(type, "ByteFallback") == 0) {
        made->kind = SG_HF_DECODE_BYTE_FALLBACK;
    } else {
        return steps_unsupported(r, name, "type", type);
    }
    hf->decoder_count++;
    return SG_OK;
}

sg_status sg_hf_read_decoder(sg_hf_reader *r, const json_t *root)
{
    sg_hf_tokenizer *hf = r->hf;
    hf->decoders = sg_hf_array(r, SG_HF_STEPS_MAX, sizeof *hf->decoders);
    if (hf->decoders == NULL) return sg_hf_no_memory(r);
    SG_TRY(steps_member(r, root, "decoder", "decoders", steps_decoder));
    hf->has_decoder = json_is_object(json_object_get(root, "decoder"));
    return SG_OK;
}
