// Writing shards: rows go behind a blank header; when a shard is full the header is filled in and
// the file synced. All this happens in a folder that is published when it is whole.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "format/shards.h"
#include "sgatlin_data.h"

struct sg_shard_writer {
    char *folder;
    sg_split split;
    sg_data_info info;
    int id_bytes;
    int64_t rows_per_shard;
    sg_shard_list list; // finished shards
    unsigned char *row; // one encoded row
    sg_writer *file;    // NULL between shards
    sg_hasher *hasher;  // over the rows of the open shard
    int64_t rows;       // in the open shard
};

sg_status sg_shard_writer_new(const char *folder, sg_split split, const sg_data_info *info,
                              int64_t shard_bytes, sg_shard_writer **out, sg_error *err)
{
    *out = NULL;
    if (info->seq_len < 1 || info->seq_len > SG_SEQ_LEN_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "sequence length: found %lld, expected 1 to %d",
                       (long long)info->seq_len, SG_SEQ_LEN_MAX);
    if (info->vocab_size < 1 || info->vocab_size > SG_VOCAB_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "vocabulary size: found %lld, expected 1 to %d",
                       (long long)info->vocab_size, SG_VOCAB_MAX);
    sg_shard_writer *writer = sg_alloc_zero(1, sizeof *writer);
    if (writer == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    writer->split = split;
    writer->info = *info;
    writer->id_bytes = sg_shard_id_bytes(info->vocab_size);
    int64_t row_bytes = info->seq_len * writer->id_bytes;
    writer->rows_per_shard = shard_bytes > row_bytes ? shard_bytes / row_bytes : 1;
    writer->folder = sg_strdup(folder);
    writer->row = sg_alloc((size_t)row_bytes);
    if (writer->folder == NULL || writer->row == NULL) {
        sg_shard_writer_free(writer);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    }
    *out = writer;
    return SG_OK;
}

static sg_status shard_path(const sg_shard_writer *writer, char out[SG_PATH_MAX], sg_error *err)
{
    char name[32];
    sg_shard_name(name, writer->split, writer->list.count);
    return sg_path_join(out, SG_PATH_MAX, writer->folder, name, err);
}

static sg_status shard_start(sg_shard_writer *writer, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(shard_path(writer, path, err));
    writer->hasher = sg_hasher_new();
    if (writer->hasher == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    SG_TRY(sg_writer_open(path, SG_FS_CREATE, &writer->file, err));
    const unsigned char blank[SG_SHARD_HEADER] = {0};
    sg_writer_put(writer->file, blank, sizeof blank);
    writer->rows = 0;
    return SG_OK;
}

static void shard_put_u32(unsigned char *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(value >> 8 * i);
}

static void shard_put_u64(unsigned char *p, uint64_t value)
{
    shard_put_u32(p, (uint32_t)value);
    shard_put_u32(p + 4, (uint32_t)(value >> 32));
}

static void shard_header(const sg_shard_writer *writer, uint64_t checksum,
                         unsigned char head[SG_SHARD_HEADER])
{
    memset(head, 0, SG_SHARD_HEADER);
    memcpy(head, "SGSHARD1", 8);
    shard_put_u32(head + 8, SG_SHARD_VERSION);
    shard_put_u32(head + 12, SG_SHARD_HEADER);
    shard_put_u32(head + 16, (uint32_t)writer->id_bytes);
    shard_put_u32(head + 20, (uint32_t)writer->info.seq_len);
    shard_put_u64(head + 24, (uint64_t)writer->rows);
    shard_put_u64(head + 32, checksum);
    shard_put_u64(head + 40, writer->info.tokenizer_hash);
    shard_put_u32(head + 48, (uint32_t)writer->info.vocab_size);
    shard_put_u64(head + 56, sg_hash(head, 56));
}

// Puts the header over the blank one, and all of the file on the disk.
static sg_status shard_write_header(const char *path, const unsigned char *head, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int handle = fs->open(fs->user, path, SG_FS_UPDATE);
    if (handle < 0) return sg_file_fail(err, "write the header of", path, handle);
    int64_t result = 0;
    for (size_t done = 0; done < SG_SHARD_HEADER && result >= 0; done += (size_t)result) {
        result = fs->write(fs->user, handle, head + done, SG_SHARD_HEADER - done);
        if (result == 0) result = -EIO;
    }
    if (result >= 0) result = fs->sync(fs->user, handle);
    int closed = fs->close(fs->user, handle);
    if (result >= 0) result = closed;
    return result < 0 ? sg_file_fail(err, "write the header of", path, result) : SG_OK;
}

static sg_status shard_finish(sg_shard_writer *writer, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(shard_path(writer, path, err));
    sg_shard_list *list = &writer->list;
    if (!sg_grow((void **)&list->entries, &list->capacity, list->count + 1, sizeof *list->entries))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    sg_shard_entry entry = {writer->rows, sg_writer_bytes(writer->file),
                            sg_hasher_value(writer->hasher)};
    sg_hasher_free(writer->hasher);
    writer->hasher = NULL;
    sg_writer *file = writer->file;
    writer->file = NULL;
    unsigned char head[SG_SHARD_HEADER];
    shard_header(writer, entry.checksum, head);
    sg_status status = sg_writer_close(file, false, err);
    if (status == SG_OK) status = shard_write_header(path, head, err);
    if (status != SG_OK) return status;
    list->entries[list->count++] = entry;
    return SG_OK;
}

sg_status sg_shard_writer_put(sg_shard_writer *writer, const int32_t *ids, sg_error *err)
{
    unsigned char *p = writer->row;
    for (int64_t t = 0; t < writer->info.seq_len; t++) {
        int32_t id = ids[t];
        if (id < 0 || id >= writer->info.vocab_size)
            return sg_fail(err, SG_ERR_INTERNAL, "id: found %d, expected 0 to %lld", id,
                           (long long)writer->info.vocab_size - 1);
        if (writer->id_bytes == 2) {
            *p++ = (unsigned char)id;
            *p++ = (unsigned char)(id >> 8);
        } else {
            shard_put_u32(p, (uint32_t)id);
            p += 4;
        }
    }
    if (writer->file == NULL) SG_TRY(shard_start(writer, err));
    size_t bytes = (size_t)(p - writer->row);
    sg_hasher_add(writer->hasher, writer->row, bytes);
    sg_writer_put(writer->file, writer->row, bytes);
    writer->rows++;
    return writer->rows < writer->rows_per_shard ? SG_OK : shard_finish(writer, err);
}

sg_status sg_shard_writer_finish(sg_shard_writer *writer, sg_shard_list *list, sg_error *err)
{
    if (writer->file != NULL) SG_TRY(shard_finish(writer, err));
    *list = writer->list;
    writer->list = (sg_shard_list){0}; // what is handed over is no longer ours to free
    return SG_OK;
}

void sg_shard_writer_free(sg_shard_writer *writer)
{
    if (writer == NULL) return;
    sg_writer_abandon(writer->file);
    sg_hasher_free(writer->hasher);
    sg_free(writer->list.entries);
    sg_free(writer->folder);
    sg_free(writer->row);
    sg_free(writer);
}

// ---- the folder ---------------------------------------------------------------------------------

// The split and number of a shard's name, with `ending` behind the number.
static bool shard_named(const char *name, const char *ending, sg_split *split, size_t *index)
{
    size_t at = strncmp(name, "train-", 6) == 0 ? 6 : strncmp(name, "val-", 4) == 0 ? 4 : 0;
    size_t digits = strspn(name + at, "0123456789");
    if (at == 0 || digits < 5 || digits > 9 || strcmp(name + at + digits, ending) != 0)
        return false;
    *split = at == 6 ? SG_SPLIT_TRAIN : SG_SPLIT_VAL;
    *index = (size_t)strtoul(name + at, NULL, 10);
    return true;
}

static bool data_expects(const char *name)
{
    sg_split split;
    size_t index;
    return strcmp(name, SG_DATA_MANIFEST) == 0 || strcmp(name, "tokenizer.json") == 0 ||
           shard_named(name, ".bin", &split, &index);
}

static sg_status data_remove_stale(const char *folder, const sg_data_manifest *manifest,
                                   sg_error *err)
{
    char path[SG_PATH_MAX], **names;
    size_t count;
    SG_TRY(sg_folder_list(folder, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        sg_split split;
        size_t index;
        if (!shard_named(names[i], ".bin", &split, &index) || index < manifest->shards[split].count)
            continue;
        status = sg_path_join(path, sizeof path, folder, names[i], err);
        if (status == SG_OK) status = sg_path_remove(path, err);
        if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) status = SG_OK;
    }
    sg_names_free(names, count);
    return status;
}

// Removes the shards of older data that the manifest does not list.
static sg_status data_after(const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    size_t bytes;
    sg_data_manifest manifest = {0};
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_DATA_MANIFEST, err));
    SG_TRY(sg_file_read(path, SG_DATA_MANIFEST_MAX, &text, &bytes, err));
    sg_status status = sg_data_manifest_parse(text, bytes, path, &manifest, err);
    sg_free(text);
    if (status == SG_OK) status = data_remove_stale(folder, &manifest, err);
    sg_data_manifest_clear(&manifest);
    return status;
}

const sg_publication sg_data_publication = {
    .expects = data_expects, .last = SG_DATA_MANIFEST, .after = data_after};
