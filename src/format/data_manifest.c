// The manifest of packed data: data.json to and from sg_data_manifest, with every count checked so
// that what comes after may add and multiply them without fear.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/shards.h"
#include "sgatlin_data.h"

static const char manifest_format[] = "sgatlin packed data";
static const char *const manifest_modes[] = {"concat", "pad"};
static const char *const manifest_splits[] = {"train", "val"};

// More ids than any disk holds; sums of a few such numbers stay far from overflow.
static const int64_t manifest_count_max = (int64_t)1 << 56;
enum { manifest_shards_max = 100000 };

void sg_data_manifest_clear(sg_data_manifest *manifest)
{
    sg_free(manifest->shards[0].entries);
    sg_free(manifest->shards[1].entries);
    for (size_t i = 0; i < manifest->source_count; i++)
        sg_free(manifest->sources[i]);
    sg_free(manifest->sources);
    *manifest = (sg_data_manifest){0};
}

// ---- reading ----------------------------------------------------------------------------------

static sg_status manifest_hex(const json_t *object, const char *name, const char *key,
                              uint64_t *out, sg_error *err)
{
    const char *text;
    SG_TRY(sg_json_get_string(object, name, key, true, &text, err));
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found \"%.32s\", expected 16 hex digits",
                       name, key, text);
    *out = strtoull(text, NULL, 16);
    return SG_OK;
}

static sg_status manifest_parse_shard(const json_t *object, const char *name, sg_split split,
                                      size_t index, const sg_data_info *info, sg_shard_entry *entry,
                                      sg_error *err)
{
    char expected[32];
    const char *file;
    sg_shard_name(expected, split, index);
    SG_TRY(sg_json_get_string(object, name, "file", true, &file, err));
    if (strcmp(file, expected) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"file\": found \"%.64s\", expected \"%s\"", name,
                       file, expected);
    int64_t row_bytes = info->seq_len * sg_shard_id_bytes(info->vocab_size);
    SG_TRY(sg_json_get_int(object, name, "rows", true, 1, manifest_count_max / row_bytes,
                           &entry->rows, err));
    int64_t bytes = SG_SHARD_HEADER + entry->rows * row_bytes;
    SG_TRY(sg_json_get_int(object, name, "bytes", true, 0, INT64_MAX, &entry->bytes, err));
    if (entry->bytes != bytes)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: %s: \"bytes\": found %lld, expected %lld for its rows", name, file,
                       (long long)entry->bytes, (long long)bytes);
    return manifest_hex(object, name, "checksum", &entry->checksum, err);
}

static sg_status manifest_parse_split(const json_t *root, const char *name, sg_split split,
                                      sg_data_manifest *manifest, sg_error *err)
{
    const sg_data_info *info = &manifest->info;
    sg_split_info *counts = &manifest->info.split[split];
    sg_shard_list *list = &manifest->shards[split];
    json_t *object, *shards;
    SG_TRY(sg_json_get_object(root, name, manifest_splits[split], true, &object, err));
    SG_TRY(sg_json_get_int(object, name, "documents", true, 0, manifest_count_max,
                           &counts->documents, err));
    SG_TRY(sg_json_get_int(object, name, "rows", true, 0, manifest_count_max / info->seq_len,
                           &counts->rows, err));
    SG_TRY(sg_json_get_int(object, name, "tokens", true, 0, counts->rows * info->seq_len,
                           &counts->tokens, err));
    SG_TRY(sg_json_get_int(object, name, "dropped_tokens", true, 0, manifest_count_max,
                           &counts->dropped, err));
    SG_TRY(sg_json_get_array(object, name, "shards", true, &shards, err));
    size_t count = json_array_size(shards);
    if (count > manifest_shards_max)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"shards\": found %zu, expected at most %d", name,
                       count, manifest_shards_max);
    list->entries = sg_alloc_zero(count, sizeof *list->entries);
    if (list->entries == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    int64_t rows = 0;
    for (; list->count < count; list->count++) {
        sg_shard_entry *entry = &list->entries[list->count];
        SG_TRY(manifest_parse_shard(json_array_get(shards, list->count), name, split, list->count,
                                    info, entry, err));
        rows += entry->rows;
        if (rows > counts->rows) break;
    }
    if (rows != counts->rows)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": its shards have %s%lld rows, expected %lld",
                       name, manifest_splits[split], rows > counts->rows ? "at least " : "",
                       (long long)rows, (long long)counts->rows);
    return SG_OK;
}

static sg_status manifest_parse_sources(const json_t *root, const char *name,
                                        sg_data_manifest *manifest, sg_error *err)
{
    json_t *sources;
    SG_TRY(sg_json_get_array(root, name, "sources", false, &sources, err));
    size_t count = json_array_size(sources);
    manifest->sources = sg_alloc_zero(count, sizeof *manifest->sources);
    if (manifest->sources == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    for (size_t i = 0; i < count; i++) {
        const char *text = json_string_value(json_array_get(sources, i));
        if (text == NULL)
            return sg_fail(err, SG_ERR_FORMAT, "%s: \"sources\": expected only strings", name);
        manifest->sources[i] = sg_strdup(text);
        if (manifest->sources[i] == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
        manifest->source_count++;
    }
    return SG_OK;
}

static sg_status manifest_parse_info(const json_t *root, const char *name, sg_data_info *info,
                                     sg_error *err)
{
    const char *format, *mode;
    int64_t version = 0, seed = 0;
    SG_TRY(sg_json_get_string(root, name, "format", true, &format, err));
    if (strcmp(format, manifest_format) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"format\": found \"%.64s\", expected \"%s\"", name,
                       format, manifest_format);
    SG_TRY(sg_json_get_int(root, name, "version", true, 1, INT32_MAX, &version, err));
    if (version != SG_SHARD_VERSION)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"version\": found %lld, expected %d", name,
                       (long long)version, SG_SHARD_VERSION);
    SG_TRY(sg_json_get_int(root, name, "seq_len", true, 1, SG_SEQ_LEN_MAX, &info->seq_len, err));
    SG_TRY(
        sg_json_get_int(root, name, "vocab_size", true, 1, SG_VOCAB_MAX, &info->vocab_size, err));
    SG_TRY(
        sg_json_get_int(root, name, "eos_id", true, 0, info->vocab_size - 1, &info->eos_id, err));
    info->pad_id = -1;
    SG_TRY(
        sg_json_get_int(root, name, "pad_id", false, 0, info->vocab_size - 1, &info->pad_id, err));
    SG_TRY(sg_json_get_string(root, name, "mode", true, &mode, err));
    bool pad = strcmp(mode, manifest_modes[SG_PACK_PAD]) == 0;
    if (!pad && strcmp(mode, manifest_modes[SG_PACK_CONCAT]) != 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: \"mode\": found \"%.64s\", expected \"concat\" or \"pad\"", name, mode);
    info->mode = pad ? SG_PACK_PAD : SG_PACK_CONCAT;
    if (pad && info->pad_id < 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"pad_id\": is missing, expected with mode pad",
                       name);
    if (info->pad_id == info->eos_id)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"pad_id\": equals \"eos_id\"", name);
    SG_TRY(manifest_hex(root, name, "tokenizer_hash", &info->tokenizer_hash, err));
    SG_TRY(sg_json_get_int(root, name, "seed", true, 0, INT64_MAX, &seed, err));
    info->seed = (uint64_t)seed;
    SG_TRY(sg_json_get_number(root, name, "val_fraction", true, &info->val_fraction, err));
    if (!(info->val_fraction >= 0 && info->val_fraction <= 1))
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"val_fraction\": found %s, expected 0 to 1", name,
                       SG_NUMBER(info->val_fraction));
    return SG_OK;
}

// Older manifests do not say what the text held.
static sg_status manifest_parse_text(const json_t *root, const char *name, sg_data_info *info,
                                     sg_error *err)
{
    json_t *text;
    SG_TRY(sg_json_get_bool(root, name, "split_rows", false, &info->split_rows, err));
    SG_TRY(sg_json_get_object(root, name, "text", false, &text, err));
    if (text == NULL) return SG_OK;
    const struct {
        const char *key;
        int64_t *out;
    } members[] = {{"bytes", &info->text_bytes},
                   {"lost_bytes", &info->lost_bytes},
                   {"replaced", &info->text.replaced},
                   {"skipped_documents", &info->text.skipped},
                   {"empty_documents", &info->text.empty}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        SG_TRY(sg_json_get_int(text, name, members[i].key, true, 0, manifest_count_max,
                               members[i].out, err));
    return SG_OK;
}

sg_status sg_data_manifest_parse(const char *text, size_t bytes, const char *name,
                                 sg_data_manifest *manifest, sg_error *err)
{
    *manifest = (sg_data_manifest){0};
    json_t *root;
    SG_TRY(sg_json_parse(text, bytes, name, &root, err));
    sg_status status = manifest_parse_info(root, name, &manifest->info, err);
    if (status == SG_OK) status = manifest_parse_text(root, name, &manifest->info, err);
    for (int split = 0; split < 2 && status == SG_OK; split++)
        status = manifest_parse_split(root, name, (sg_split)split, manifest, err);
    if (status == SG_OK) status = manifest_parse_sources(root, name, manifest, err);
    json_decref(root);
    if (status != SG_OK) sg_data_manifest_clear(manifest);
    return status;
}

// ---- writing ----------------------------------------------------------------------------------

// The setters of jansson take the new reference and fail on NULL, so that one flag tells all.
static void manifest_set_hex(json_t *object, const char *key, uint64_t value, bool *whole)
{
    char text[32];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    if (json_object_set_new(object, key, json_string(text)) != 0) *whole = false;
}

static void manifest_set_int(json_t *object, const char *key, int64_t value, bool *whole)
{
    if (json_object_set_new(object, key, json_integer(value)) != 0) *whole = false;
}

static void manifest_set(json_t *object, const char *key, json_t *value, bool *whole)
{
    if (json_object_set_new(object, key, value) != 0) *whole = false;
}

static json_t *manifest_split_json(const sg_data_manifest *manifest, sg_split split, bool *whole)
{
    const sg_split_info *counts = &manifest->info.split[split];
    const sg_shard_list *list = &manifest->shards[split];
    json_t *object = json_object(), *shards = json_array();
    manifest_set_int(object, "documents", counts->documents, whole);
    manifest_set_int(object, "rows", counts->rows, whole);
    manifest_set_int(object, "tokens", counts->tokens, whole);
    manifest_set_int(object, "dropped_tokens", counts->dropped, whole);
    for (size_t i = 0; i < list->count; i++) {
        char name[32];
        sg_shard_name(name, split, i);
        json_t *shard = json_object();
        manifest_set(shard, "file", json_string(name), whole);
        manifest_set_int(shard, "rows", list->entries[i].rows, whole);
        manifest_set_int(shard, "bytes", list->entries[i].bytes, whole);
        manifest_set_hex(shard, "checksum", list->entries[i].checksum, whole);
        if (json_array_append_new(shards, shard) != 0) *whole = false;
    }
    manifest_set(object, "shards", shards, whole);
    return object;
}

// A file name may be any bytes; JSON holds UTF-8 only.
static json_t *manifest_source_json(const char *source)
{
    json_t *value = json_string(source);
    bool ascii = true;
    for (const char *p = source; *p; p++)
        if ((unsigned char)*p >= 0x80) ascii = false;
    if (value != NULL || ascii) return value;
    char *safe = sg_strdup(source);
    if (safe == NULL) return NULL;
    for (char *p = safe; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    value = json_string(safe);
    sg_free(safe);
    return value;
}

static json_t *manifest_text_json(const sg_data_info *info, bool *whole)
{
    json_t *object = json_object();
    manifest_set_int(object, "bytes", info->text_bytes, whole);
    manifest_set_int(object, "lost_bytes", info->lost_bytes, whole);
    manifest_set_int(object, "replaced", info->text.replaced, whole);
    manifest_set_int(object, "skipped_documents", info->text.skipped, whole);
    manifest_set_int(object, "empty_documents", info->text.empty, whole);
    return object;
}

sg_status sg_data_manifest_text(const sg_data_manifest *manifest, char **text, sg_error *err)
{
    const sg_data_info *info = &manifest->info;
    bool whole = true;
    *text = NULL;
    sg_json_setup();
    json_t *root = json_object(), *sources = json_array();
    manifest_set(root, "format", json_string(manifest_format), &whole);
    manifest_set_int(root, "version", SG_SHARD_VERSION, &whole);
    manifest_set_int(root, "seq_len", info->seq_len, &whole);
    manifest_set(root, "mode", json_string(manifest_modes[info->mode]), &whole);
    manifest_set_int(root, "vocab_size", info->vocab_size, &whole);
    manifest_set_int(root, "eos_id", info->eos_id, &whole);
    if (info->pad_id >= 0)
        manifest_set_int(root, "pad_id", info->pad_id, &whole);
    else
        manifest_set(root, "pad_id", json_null(), &whole);
    manifest_set_hex(root, "tokenizer_hash", info->tokenizer_hash, &whole);
    manifest_set_int(root, "seed", (int64_t)info->seed, &whole);
    manifest_set(root, "val_fraction", json_real(info->val_fraction), &whole);
    for (int split = 0; split < 2; split++)
        manifest_set(root, manifest_splits[split],
                     manifest_split_json(manifest, (sg_split)split, &whole), &whole);
    for (size_t i = 0; i < manifest->source_count; i++)
        if (json_array_append_new(sources, manifest_source_json(manifest->sources[i])) != 0)
            whole = false;
    manifest_set(root, "split_rows", json_boolean(info->split_rows), &whole);
    manifest_set(root, "text", manifest_text_json(info, &whole), &whole);
    manifest_set(root, "sources", sources, &whole);
    sg_status status = whole ? sg_json_text(root, true, text, err)
                             : sg_fail(err, SG_ERR_MEMORY, "out of memory for the manifest");
    json_decref(root);
    return status;
}
