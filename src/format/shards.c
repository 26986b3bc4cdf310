// Opening packed data: the manifest says what must be there, and each shard is held against it
// before a row is handed out; rows are read from the mapping, never copied.
#include "format/shards.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/publish.h"
#include "sgatlin_data.h"

int sg_shard_id_bytes(int64_t vocab_size)
{
    return vocab_size <= 65536 ? 2 : 4;
}

void sg_shard_name(char out[32], sg_split split, size_t index)
{
    snprintf(out, 32, "%s-%05zu.bin", split == SG_SPLIT_TRAIN ? "train" : "val", index);
}

// ---- one shard --------------------------------------------------------------------------------

static uint32_t shard_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t shard_u64(const unsigned char *p)
{
    return (uint64_t)shard_u32(p + 4) << 32 | shard_u32(p);
}

static sg_status shard_expect(const char *name, const char *field, uint64_t found,
                              uint64_t expected, sg_error *err)
{
    if (found == expected) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found %llu, expected %llu", name, field,
                   (unsigned long long)found, (unsigned long long)expected);
}

sg_status sg_shard_check(const void *data, size_t bytes, const char *name, const sg_data_info *info,
                         const sg_shard_entry *entry, bool full, sg_error *err)
{
    const unsigned char *head = data;
    SG_TRY(shard_expect(name, "bytes", bytes, (uint64_t)entry->bytes, err));
    if (bytes < SG_SHARD_HEADER || memcmp(head, "SGSHARD1", 8) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: not a shard of packed data", name);
    SG_TRY(shard_expect(name, "version", shard_u32(head + 8), SG_SHARD_VERSION, err));
    SG_TRY(shard_expect(name, "header bytes", shard_u32(head + 12), SG_SHARD_HEADER, err));
    if (shard_u64(head + 56) != sg_hash(head, 56))
        return sg_fail(err, SG_ERR_FORMAT, "%s: the header does not match its checksum", name);
    SG_TRY(shard_expect(name, "bytes of an id", shard_u32(head + 16),
                        (uint64_t)sg_shard_id_bytes(info->vocab_size), err));
    SG_TRY(
        shard_expect(name, "sequence length", shard_u32(head + 20), (uint64_t)info->seq_len, err));
    SG_TRY(shard_expect(name, "rows", shard_u64(head + 24), (uint64_t)entry->rows, err));
    SG_TRY(shard_expect(name, "checksum", shard_u64(head + 32), entry->checksum, err));
    SG_TRY(shard_expect(name, "tokenizer", shard_u64(head + 40), info->tokenizer_hash, err));
    SG_TRY(shard_expect(name, "vocabulary size", shard_u32(head + 48), (uint64_t)info->vocab_size,
                        err));
    // The manifest's own check has made bytes = header + rows * seq_len * id bytes.
    if (full && sg_hash(head + SG_SHARD_HEADER, bytes - SG_SHARD_HEADER) != entry->checksum)
        return sg_fail(err, SG_ERR_FORMAT, "%s: its rows do not match their checksum: damaged",
                       name);
    return SG_OK;
}

sg_status sg_shard_row(const void *data, const char *name, const sg_data_info *info, int64_t row,
                       int32_t *ids, sg_error *err)
{
    int width = sg_shard_id_bytes(info->vocab_size);
    const unsigned char *p = (const unsigned char *)data + SG_SHARD_HEADER +
                             (size_t)row * (size_t)info->seq_len * (size_t)width;
    uint32_t largest = 0;
    for (int64_t t = 0; t < info->seq_len; t++) {
        uint32_t id = width == 2 ? (uint32_t)(p[2 * t] | p[2 * t + 1] << 8) : shard_u32(p + 4 * t);
        largest = id > largest ? id : largest;
        ids[t] = (int32_t)id;
    }
    if (largest >= (uint64_t)info->vocab_size)
        return sg_fail(err, SG_ERR_FORMAT, "%s: row %lld: found id %u, expected less than %lld",
                       name, (long long)row, largest, (long long)info->vocab_size);
    return SG_OK;
}

// ---- a folder ---------------------------------------------------------------------------------

typedef struct data_shard {
    sg_map map;
    int64_t first_row;
} data_shard;

struct sg_data {
    char *folder;
    sg_data_manifest manifest;
    data_shard *shards[2]; // as many as the manifest has
};

void sg_data_free(sg_data *data)
{
    if (data == NULL) return;
    for (int split = 0; split < 2; split++) {
        for (size_t i = 0; data->shards[split] && i < data->manifest.shards[split].count; i++)
            sg_map_close(&data->shards[split][i].map);
        sg_free(data->shards[split]);
    }
    sg_data_manifest_clear(&data->manifest);
    sg_free(data->folder);
    sg_free(data);
}

static sg_status data_shard_path(const sg_data *data, sg_split split, size_t index,
                                 char out[SG_PATH_MAX], sg_error *err)
{
    char name[32];
    sg_shard_name(name, split, index);
    return sg_published_path(out, SG_PATH_MAX, data->folder, name, NULL, err);
}

static sg_status data_open_split(sg_data *data, sg_split split, bool full, sg_error *err)
{
    const sg_shard_list *list = &data->manifest.shards[split];
    data->shards[split] = sg_alloc_zero(list->count, sizeof *data->shards[split]);
    if (data->shards[split] == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its shards", data->folder);
    int64_t first_row = 0;
    for (size_t i = 0; i < list->count; i++) {
        data_shard *shard = &data->shards[split][i];
        char path[SG_PATH_MAX];
        SG_TRY(data_shard_path(data, split, i, path, err));
        SG_TRY(sg_map_open(path, &shard->map, err));
        SG_TRY(sg_shard_check(shard->map.data, shard->map.bytes, path, &data->manifest.info,
                              &list->entries[i], full, err));
        shard->first_row = first_row;
        first_row += list->entries[i].rows;
    }
    return SG_OK;
}

static sg_status data_fill(sg_data *data, const char *folder, sg_data_verify verify, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_published_path(path, sizeof path, folder, SG_DATA_MANIFEST, NULL, err));
    sg_fs_info info;
    sg_status found = sg_path_info(path, &info, err);
    const bool missing = sg_ignored(found, SG_ERR_NOT_FOUND, err);
    if (found != SG_OK && !missing) return found;
    if (missing && sg_path_is_folder(folder))
        return sg_fail(
            err, SG_ERR_NOT_FOUND,
            "%s: found no " SG_DATA_MANIFEST ", expected a finished folder of packed data", folder);
    char *text;
    size_t bytes;
    SG_TRY(sg_file_read(path, SG_DATA_MANIFEST_MAX, &text, &bytes, err));
    sg_status status = sg_data_manifest_parse(text, bytes, path, &data->manifest, err);
    sg_free(text);
    SG_TRY(status);
    data->folder = sg_strdup(folder);
    if (data->folder == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    bool full = verify == SG_VERIFY_FULL;
    if (verify == SG_VERIFY_AUTO) {
        // The manifest's check bounds every sum of sizes.
        int64_t total = 0;
        for (int split = 0; split < 2; split++)
            for (size_t i = 0; i < data->manifest.shards[split].count; i++)
                total += data->manifest.shards[split].entries[i].bytes;
        full = total < (int64_t)1 << 30;
    }
    SG_TRY(data_open_split(data, SG_SPLIT_TRAIN, full, err));
    return data_open_split(data, SG_SPLIT_VAL, full, err);
}

sg_status sg_data_open(const char *folder, sg_data_verify verify, sg_data **out, sg_error *err)
{
    *out = NULL;
    sg_data *data = sg_alloc_zero(1, sizeof *data);
    if (data == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    sg_status status = data_fill(data, folder, verify, err);
    if (status != SG_OK) {
        sg_data_free(data);
        return status;
    }
    *out = data;
    return SG_OK;
}

const sg_data_info *sg_data_get_info(const sg_data *data)
{
    return &data->manifest.info;
}

sg_status sg_data_row(const sg_data *data, sg_split split, int64_t row, int32_t *ids, sg_error *err)
{
    const sg_data_info *info = &data->manifest.info;
    if (split != SG_SPLIT_TRAIN && split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1", (int)split);
    if (row < 0 || row >= info->split[split].rows)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: row: found %lld, expected 0 to %lld",
                       data->folder, (long long)row, (long long)info->split[split].rows - 1);
    const data_shard *shards = data->shards[split];
    size_t low = 0, high = data->manifest.shards[split].count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (shards[middle].first_row <= row)
            low = middle;
        else
            high = middle;
    }
    char name[32];
    sg_shard_name(name, split, low);
    sg_status status =
        sg_shard_row(shards[low].map.data, name, info, row - shards[low].first_row, ids, err);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", data->folder);
}
