// What of a model folder is published together, and which old files go with it: base/publish.h has
// the order of the steps.
#include "format/model_folder.h"

#include <stdio.h>
#include <string.h>

#include "base/publish.h"
#include "format/json.h"

static const char folder_weights[] = "model.safetensors";
static const char folder_index[] = "model.safetensors.index.json";
static const char folder_config[] = "config.json";

enum { folder_index_limit = 100000000 };
static const int64_t folder_shard_bytes = 5000000000;

static sg_status folder_unless_missing(sg_status status, sg_error *err)
{
    return sg_ignored(status, SG_ERR_NOT_FOUND, err) ? SG_OK : status;
}

static sg_status folder_remove_if_there(const char *folder, const char *name, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, name, err));
    return folder_unless_missing(sg_path_remove(path, err), err);
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

// The small files that stand beside the weights.
static bool folder_is_beside(const char *name)
{
    static const char *const names[] = {folder_config,           "tokenizer.json",
                                        "tokenizer_config.json", "special_tokens_map.json",
                                        "chat_template.jinja",   "generation_config.json",
                                        "modeling_sgatlin.py"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static bool folder_expects(const char *name)
{
    return folder_is_beside(name) || folder_is_shard(name) || strcmp(name, folder_weights) == 0 ||
           strcmp(name, folder_index) == 0;
}

// Readers take model.safetensors before the index.
static sg_status folder_before(const char *folder, char **names, size_t count, sg_error *err)
{
    if (folder_has(names, count, folder_index))
        SG_TRY(folder_remove_if_there(folder, folder_weights, err));
    if (folder_has(names, count, folder_weights))
        SG_TRY(folder_remove_if_there(folder, folder_index, err));
    return SG_OK;
}

// The distinct names of shards in the index, as keys of *listed; an empty one where there is no
// index.
static sg_status folder_listed(const char *folder, json_t **listed, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_fs_info info;
    json_t *index, *shard;
    const char *tensor;
    SG_TRY(sg_path_join(path, sizeof path, folder, folder_index, err));
    sg_status status = sg_path_info(path, &info, err);
    if (status != SG_OK) return folder_unless_missing(status, err);
    SG_TRY(sg_json_read(path, folder_index_limit, &index, err));
    *listed = json_object();
    bool enough = *listed != NULL;
    json_object_foreach(json_object_get(index, "weight_map"), tensor, shard)
    {
        if (enough && json_is_string(shard))
            enough = json_object_set(*listed, json_string_value(shard), shard) == 0;
    }
    json_decref(index);
    return enough ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
}

// Removes shards that the index, if there is one, does not list.
static sg_status folder_after(const char *folder, sg_error *err)
{
    json_t *listed = NULL;
    char **names = NULL;
    size_t count = 0;
    sg_status status = folder_listed(folder, &listed, err);
    if (status == SG_OK) status = sg_folder_list(folder, &names, &count, err);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        if (folder_is_shard(names[i]) && json_object_get(listed, names[i]) == NULL)
            status = folder_remove_if_there(folder, names[i], err);
    sg_names_free(names, count);
    json_decref(listed);
    return status;
}

static const sg_publication folder_kind = {.expects = folder_expects,
                                           .last = folder_config,
                                           .before = folder_before,
                                           .after = folder_after};

sg_status sg_model_folder_recover(const char *path, sg_error *err)
{
    return sg_publish_recover(&folder_kind, path, err);
}

// ---- saving -----------------------------------------------------------------------------------

static sg_status folder_stage_file(const char *staging, const sg_named_bytes *file, sg_error *err)
{
    char path[SG_PATH_MAX];
    if (!folder_is_beside(file->name))
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
    char staging[SG_PATH_MAX];
    SG_TRY(sg_publish_begin(&folder_kind, folder, staging, err));
    sg_status status = sg_safetensors_write_sharded(
        staging, max_shard_bytes > 0 ? max_shard_bytes : folder_shard_bytes, tensors, count,
        metadata, metadata_count, err);
    for (size_t i = 0; i < file_count && status == SG_OK; i++)
        status = folder_stage_file(staging, &files[i], err);
    if (status == SG_OK) return sg_publish_end(&folder_kind, folder, err);
    sg_publish_abandon(folder); // gives the space back; the next save would do it too
    return status;
}
