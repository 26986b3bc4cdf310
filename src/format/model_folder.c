// Replacing a model folder without a moment in which a crash would leave a mixture. The order of
// the steps is the point of this file; each is made durable before the next begins:
//   1. write all new files into .incoming.tmp
//   2. rename it to .incoming: decided
//   3. remove the old weights file or index where it would be taken for the new one
//   4. move the files up, config.json last
//   5. remove old shards, then .incoming
#include "format/model_folder.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"

static const char folder_staging[] = ".incoming.tmp", folder_decided[] = ".incoming";
static const char folder_weights[] = "model.safetensors";
static const char folder_index[] = "model.safetensors.index.json";
static const char folder_config[] = "config.json";

enum { folder_index_limit = 100000000 };
static const int64_t folder_shard_bytes = 5000000000;

static sg_status folder_unless_missing(sg_status status)
{
    return status == SG_ERR_NOT_FOUND ? SG_OK : status;
}

static sg_status folder_remove_if_there(const char *folder, const char *name, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, name, err));
    return folder_unless_missing(sg_path_remove(path, err));
}

static bool folder_has(char **names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

static bool folder_is_shard(const char *name)
{
    unsigned number, total;
    int end = 0;
    return sscanf(name, "model-%5u-of-%5u.safetensors%n", &number, &total, &end) == 2 && end > 0 &&
           name[end] == '\0';
}

bool sg_model_folder_is_staging(const char *name)
{
    return strcmp(name, folder_staging) == 0;
}

// ---- finishing a decided save -------------------------------------------------------------------

static sg_status folder_move(const char *from, const char *to, const char *name, sg_error *err)
{
    char source[SG_PATH_MAX], target[SG_PATH_MAX];
    SG_TRY(sg_path_join(source, sizeof source, from, name, err));
    SG_TRY(sg_path_join(target, sizeof target, to, name, err));
    // A file that is gone has been moved by a reader that recovers the folder at the same time.
    return folder_unless_missing(sg_path_rename(source, target, err));
}

// Step 3 and 4 with the names that are still in .incoming.
static sg_status folder_move_up(const char *folder, const char *decided, char **names, size_t count,
                                sg_error *err)
{
    // Readers take model.safetensors before the index.
    if (folder_has(names, count, folder_index))
        SG_TRY(folder_remove_if_there(folder, folder_weights, err));
    if (folder_has(names, count, folder_weights))
        SG_TRY(folder_remove_if_there(folder, folder_index, err));
    SG_TRY(sg_folder_sync(folder, err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], folder_config) != 0)
            SG_TRY(folder_move(decided, folder, names[i], err));
    SG_TRY(sg_folder_sync(folder, err));
    if (folder_has(names, count, folder_config))
        SG_TRY(folder_move(decided, folder, folder_config, err));
    SG_TRY(sg_folder_sync(folder, err));
    return folder_unless_missing(sg_folder_sync(decided, err));
}

// Removes shards that the index, if there is one, does not list.
static sg_status folder_remove_stale(const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, folder_index, err));
    sg_fs_info info;
    sg_status status = sg_path_info(path, &info, err);
    if (status != SG_OK && status != SG_ERR_NOT_FOUND) return status;
    json_t *index = NULL, *listed = NULL;
    if (status == SG_OK) {
        SG_TRY(sg_json_read(path, folder_index_limit, &index, err));
        json_t *map = json_object_get(index, "weight_map");
        const char *tensor;
        json_t *shard;
        listed = json_object(); // the distinct shard names, as keys
        bool enough = listed != NULL;
        json_object_foreach(map, tensor, shard)
        {
            if (enough && json_is_string(shard))
                enough = json_object_set(listed, json_string_value(shard), shard) == 0;
        }
        json_decref(index);
        if (!enough) {
            json_decref(listed);
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
        }
    }
    char **names = NULL;
    size_t count = 0;
    status = sg_folder_list(folder, &names, &count, err);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        if (folder_is_shard(names[i]) && json_object_get(listed, names[i]) == NULL)
            status = folder_remove_if_there(folder, names[i], err);
    sg_names_free(names, count);
    json_decref(listed);
    return status;
}

static sg_status folder_finish(const char *folder, const char *decided, sg_error *err)
{
    char **names;
    size_t count;
    sg_status status = sg_folder_list(decided, &names, &count, err);
    if (status == SG_ERR_NOT_FOUND) return SG_OK; // somebody else has just finished
    SG_TRY(status);
    status = folder_move_up(folder, decided, names, count, err);
    sg_names_free(names, count);
    SG_TRY(status);
    SG_TRY(folder_remove_stale(folder, err));
    SG_TRY(folder_unless_missing(sg_path_remove(decided, err)));
    return sg_folder_sync(folder, err);
}

sg_status sg_model_folder_recover(const char *path, sg_error *err)
{
    char decided[SG_PATH_MAX];
    SG_TRY(sg_path_join(decided, sizeof decided, path, folder_decided, err));
    sg_fs_info info;
    sg_status status = sg_path_info(decided, &info, err);
    if (status == SG_ERR_NOT_FOUND) return SG_OK;
    SG_TRY(status);
    status = folder_finish(path, decided, err);
    if (status != SG_OK)
        return sg_fail_context(err, status, "%s: cannot finish an interrupted save", path);
    return SG_OK;
}

// ---- saving -----------------------------------------------------------------------------------

static sg_status folder_stage_file(const char *staging, const sg_named_bytes *file, sg_error *err)
{
    char path[SG_PATH_MAX];
    if (!sg_name_is_plain(file->name) || strcmp(file->name, folder_weights) == 0 ||
        strcmp(file->name, folder_index) == 0 || folder_is_shard(file->name))
        return sg_fail(err, SG_ERR_ARGUMENT, "%.200s: not a name for a file beside the weights",
                       file->name);
    SG_TRY(sg_path_join(path, sizeof path, staging, file->name, err));
    sg_writer *writer;
    SG_TRY(sg_writer_open(path, SG_FS_CREATE, &writer, err));
    sg_writer_put(writer, file->data, file->bytes);
    return sg_writer_close(writer, true, err);
}

sg_status sg_model_folder_save(const char *folder, int64_t max_shard_bytes,
                               const sg_tensor_view *tensors, size_t count,
                               const sg_key_value *metadata, size_t metadata_count,
                               const sg_named_bytes *files, size_t file_count, sg_error *err)
{
    char staging[SG_PATH_MAX], decided[SG_PATH_MAX];
    SG_TRY(sg_path_join(staging, sizeof staging, folder, folder_staging, err));
    SG_TRY(sg_path_join(decided, sizeof decided, folder, folder_decided, err));
    SG_TRY(sg_folder_make(folder, err));
    SG_TRY(sg_model_folder_recover(folder, err));
    SG_TRY(sg_tree_remove(staging, err));
    SG_TRY(sg_folder_make(staging, err));
    sg_status status = sg_safetensors_write_sharded(
        staging, max_shard_bytes > 0 ? max_shard_bytes : folder_shard_bytes, tensors, count,
        metadata, metadata_count, err);
    for (size_t i = 0; i < file_count && status == SG_OK; i++)
        status = folder_stage_file(staging, &files[i], err);
    if (status == SG_OK) status = sg_folder_sync(staging, err);
    if (status == SG_OK) status = sg_path_rename(staging, decided, err);
    if (status != SG_OK) {
        sg_tree_remove(staging, NULL); // gives the space back; the next save would do it too
        return status;
    }
    SG_TRY(sg_folder_sync(folder, err));
    return folder_finish(folder, decided, err);
}
