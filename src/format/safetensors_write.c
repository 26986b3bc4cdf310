// The safetensors writer: one pass over the tensors for the header, one that hands their bytes to
// the file. Nothing of the size of the data is ever held.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/safetensors.h"

enum { stw_header_limit = 100000000 };

// ---- JSON text --------------------------------------------------------------------------------
// Headers are written by hand: a jansson value for each of thousands of tensors would only be
// thrown away, and could not tell a bad name from a lack of memory.

typedef struct stw_text {
    char *data;
    size_t used, capacity;
    bool failed; // out of memory
} stw_text;

static void stw_add(stw_text *text, const char *piece, size_t length)
{
    if (text->failed) return;
    if (length > SIZE_MAX / 2 - text->used ||
        !sg_grow((void **)&text->data, &text->capacity, text->used + length, 1)) {
        text->failed = true;
        return;
    }
    memcpy(text->data + text->used, piece, length);
    text->used += length;
}

static void stw_format(stw_text *text, const char *format, ...) SG_PRINTF(2, 3);

// For short pieces only.
static void stw_format(stw_text *text, const char *format, ...)
{
    char piece[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    stw_add(text, piece, length < 0 ? 0 : (size_t)length);
}

static void stw_quoted(stw_text *text, const char *string)
{
    stw_add(text, "\"", 1);
    for (const char *c = string; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            stw_format(text, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            stw_format(text, "\\u%04x", (unsigned)*c);
        else
            stw_add(text, c, 1);
    }
    stw_add(text, "\"", 1);
}

// Well-formed UTF-8 (Unicode 15, table 3-7); a header with anything else could not be read back.
static bool stw_is_utf8(const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    while (*s != 0) {
        unsigned lead = *s++;
        if (lead < 0x80) continue;
        if (lead < 0xc2 || lead > 0xf4) return false;
        unsigned low = 0x80, high = 0xbf, more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
        for (; more > 0; more--, s++, low = 0x80, high = 0xbf)
            if (*s < low || *s > high) return false;
    }
    return true;
}

static sg_status stw_check_string(const char *path, const char *string, sg_error *err)
{
    if (string != NULL && stw_is_utf8(string)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: a name or a metadata value is not UTF-8", path);
}

// ---- one file ---------------------------------------------------------------------------------

static sg_status stw_check(const char *path, const sg_tensor_view *tensors, size_t count,
                           const sg_key_value *metadata, size_t metadata_count, sg_error *err)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        sg_status status = sg_tensor_view_check(&tensors[i], err);
        if (status != SG_OK) return sg_fail_context(err, status, "%s", path);
        if (tensors[i].dtype >= SG_DTYPE_PLAIN)
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "%s: tensor \"%.200s\": safetensors has no type %s", path,
                           tensors[i].name, sg_dtype_name(tensors[i].dtype));
        SG_TRY(stw_check_string(path, tensors[i].name, err));
        if (strcmp(tensors[i].name, "__metadata__") == 0)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: a tensor may not be called __metadata__",
                           path);
        if (tensors[i].bytes > (uint64_t)INT64_MAX - total)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: the tensors are too large together", path);
        total += tensors[i].bytes;
    }
    for (size_t i = 0; i < metadata_count; i++) {
        SG_TRY(stw_check_string(path, metadata[i].key, err));
        SG_TRY(stw_check_string(path, metadata[i].value, err));
    }
    return SG_OK;
}

static void stw_header(stw_text *text, const sg_tensor_view *tensors, size_t count,
                       const sg_key_value *metadata, size_t metadata_count)
{
    stw_add(text, "{", 1);
    if (metadata_count > 0) {
        stw_format(text, "\"__metadata__\":{");
        for (size_t i = 0; i < metadata_count; i++) {
            if (i > 0) stw_add(text, ",", 1);
            stw_quoted(text, metadata[i].key);
            stw_add(text, ":", 1);
            stw_quoted(text, metadata[i].value);
        }
        stw_format(text, "}%s", count > 0 ? "," : "");
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        if (i > 0) stw_add(text, ",", 1);
        stw_quoted(text, tensors[i].name);
        stw_format(text, ":{\"dtype\":\"%s\",\"shape\":[", sg_dtype_name(tensors[i].dtype));
        for (int d = 0; d < tensors[i].ndim; d++)
            stw_format(text, "%s%lld", d ? "," : "", (long long)tensors[i].shape[d]);
        stw_format(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                   (unsigned long long)(offset + tensors[i].bytes));
        offset += tensors[i].bytes;
    }
    stw_add(text, "}", 1);
    while (text->used % 8 != 0 && !text->failed)
        stw_add(text, " ", 1);
}

// Into a writer, which stays open.
static sg_status stw_put_file(sg_writer *writer, const stw_text *header,
                              const sg_tensor_view *tensors, size_t count, sg_error *err)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)((uint64_t)header->used >> 8 * i);
    sg_writer_put(writer, length, sizeof length);
    sg_writer_put(writer, header->data, header->used);
    for (size_t i = 0; i < count; i++) {
        const void *data;
        SG_TRY(sg_tensor_view_data(&tensors[i], &data, err));
        sg_writer_put(writer, data, tensors[i].bytes);
    }
    return SG_OK;
}

// *header: sg_free its data, also on failure.
static sg_status stw_make_header(const char *path, const sg_tensor_view *tensors, size_t count,
                                 const sg_key_value *metadata, size_t metadata_count,
                                 stw_text *header, sg_error *err)
{
    *header = (stw_text){0};
    SG_TRY(stw_check(path, tensors, count, metadata, metadata_count, err));
    stw_header(header, tensors, count, metadata, metadata_count);
    if (header->failed)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its header", path);
    if (header->used > stw_header_limit)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: a header of %zu bytes, the format allows %d",
                       path, header->used, stw_header_limit);
    return SG_OK;
}

sg_status sg_safetensors_write(const char *path, const sg_tensor_view *tensors, size_t count,
                               const sg_key_value *metadata, size_t metadata_count,
                               sg_file_seal *seal, sg_error *err)
{
    stw_text header;
    sg_writer *writer = NULL;
    sg_status status =
        stw_make_header(path, tensors, count, metadata, metadata_count, &header, err);
    if (status == SG_OK) status = sg_writer_open(path, SG_FS_CREATE, &writer, err);
    if (status == SG_OK) status = stw_put_file(writer, &header, tensors, count, err);
    sg_free(header.data);
    if (status != SG_OK) {
        sg_writer_abandon(writer);
        return status;
    }
    if (seal != NULL) *seal = (sg_file_seal){sg_writer_bytes(writer), sg_writer_hash(writer)};
    return sg_writer_close(writer, true, err);
}

sg_status sg_safetensors_replace(const char *path, const sg_tensor_view *tensors, size_t count,
                                 const sg_key_value *metadata, size_t metadata_count, sg_error *err)
{
    stw_text header;
    sg_writer *writer = NULL;
    sg_status status =
        stw_make_header(path, tensors, count, metadata, metadata_count, &header, err);
    if (status == SG_OK) status = sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err);
    if (status == SG_OK) status = stw_put_file(writer, &header, tensors, count, err);
    sg_free(header.data);
    if (status == SG_OK) return sg_writer_replace(writer, err);
    sg_writer_withdraw(writer);
    return status;
}

// ---- shards -----------------------------------------------------------------------------------

// The end of the shard that starts at tensor `first`.
static size_t stw_shard_end(const sg_tensor_view *tensors, size_t count, size_t first,
                            uint64_t limit)
{
    uint64_t bytes = 0;
    size_t end = first;
    while (end < count && (end == first || tensors[end].bytes <= limit - bytes)) {
        bytes += tensors[end++].bytes;
        if (bytes >= limit) break;
    }
    return end;
}

static void stw_shard_name(char out[48], size_t number, size_t shards)
{
    snprintf(out, 48, "model-%05zu-of-%05zu.safetensors", number, shards);
}

static sg_status stw_write_index(const char *folder, const stw_text *text, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, "model.safetensors.index.json", err));
    if (text->failed) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    sg_writer *writer;
    SG_TRY(sg_writer_open(path, SG_FS_CREATE, &writer, err));
    sg_writer_put(writer, text->data, text->used);
    return sg_writer_close(writer, true, err);
}

sg_status sg_safetensors_write_sharded(const char *folder, int64_t max_shard_bytes,
                                       const sg_tensor_view *tensors, size_t count,
                                       const sg_key_value *metadata, size_t metadata_count,
                                       sg_error *err)
{
    if (max_shard_bytes < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: shards of %lld bytes, expected at least 1",
                       folder, (long long)max_shard_bytes);
    SG_TRY(stw_check(folder, tensors, count, metadata, metadata_count, err));
    uint64_t limit = (uint64_t)max_shard_bytes, total = 0;
    size_t shards = 0, number = 0;
    for (size_t first = 0; first < count; shards++)
        first = stw_shard_end(tensors, count, first, limit);
    char path[SG_PATH_MAX];
    if (shards <= 1) {
        SG_TRY(sg_path_join(path, sizeof path, folder, "model.safetensors", err));
        return sg_safetensors_write(path, tensors, count, metadata, metadata_count, NULL, err);
    }
    stw_text map = {0};
    sg_status status = SG_OK;
    for (size_t first = 0, end; first < count && status == SG_OK; first = end) {
        char name[48];
        end = stw_shard_end(tensors, count, first, limit);
        stw_shard_name(name, ++number, shards);
        for (size_t i = first; i < end; i++) {
            stw_format(&map, "%s\n    ", i > 0 ? "," : "");
            stw_quoted(&map, tensors[i].name);
            stw_format(&map, ": \"%s\"", name);
            total += tensors[i].bytes;
        }
        status = sg_path_join(path, sizeof path, folder, name, err);
        if (status == SG_OK)
            status = sg_safetensors_write(path, tensors + first, end - first, metadata,
                                          metadata_count, NULL, err);
    }
    stw_text index = {0};
    stw_format(&index, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
               (unsigned long long)total);
    if (map.failed) index.failed = true;
    if (map.used > 0) stw_add(&index, map.data, map.used);
    stw_format(&index, "\n  }\n}\n");
    if (status == SG_OK) status = stw_write_index(folder, &index, err);
    sg_free(map.data);
    sg_free(index.data);
    return status;
}
