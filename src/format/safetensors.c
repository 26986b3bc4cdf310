// The safetensors reader. A file is: u64 little-endian length of the header, the header (a JSON
// object: name -> dtype, shape, data_offsets; and "__metadata__"), the data. Format and limits:
// github.com/huggingface/safetensors, README, "Format". Its rule that the data be indexed without
// holes is kept to: what a file holds is then exactly what its header says.
#include "format/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/name_index.h"
#include "base/publish.h"
#include "format/file_kind.h"
#include "format/json.h"

enum { st_header_limit = 100000000, st_index_limit = 100000000 };

struct sg_safetensors {
    char *name;
    sg_map *maps; // one a shard
    size_t map_count;
    sg_tensor_view *views;
    size_t count, capacity;
    sg_name_index names; // of views
    sg_arena arena;      // names and metadata
    sg_key_value *metadata;
    size_t metadata_count;
};

static sg_status st_memory(const char *name, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its list of tensors", name);
}

// ---- one file ---------------------------------------------------------------------------------

// Reads one entry of the header into type, shape and bytes; *begin is where its data start.
static sg_status st_parse_view(const char *file, const char *name, const json_t *entry,
                               uint64_t data_bytes, sg_tensor_view *view, uint64_t *begin,
                               sg_error *err)
{
    json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape");
    json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_string(dtype) || !json_is_array(shape) || !json_is_array(offsets))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": expected an object with \"dtype\" (a string), "
                       "\"shape\" and \"data_offsets\" (arrays)",
                       file, name);
    if (!sg_dtype_parse(json_string_value(dtype), &view->dtype))
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: tensor \"%.200s\": unknown type \"%.50s\"",
                       file, name, json_string_value(dtype));
    if (json_array_size(shape) > SG_VIEW_DIMS)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: tensor \"%.200s\": found %zu dimensions, expected at most %d", file,
                       name, json_array_size(shape), SG_VIEW_DIMS);
    view->ndim = (int)json_array_size(shape);
    for (int i = 0; i < view->ndim; i++) {
        json_t *dimension = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dimension) || json_integer_value(dimension) < 0)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: tensor \"%.200s\": shape: expected integers >= 0", file, name);
        view->shape[i] = json_integer_value(dimension);
    }
    int64_t bytes = sg_shape_bytes(view->dtype, view->ndim, view->shape);
    if (bytes < 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: tensor \"%.200s\": the shape is too large", file,
                       name);
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": data_offsets: expected two integers", file, name);
    int64_t from = json_integer_value(first), to = json_integer_value(last);
    if (from < 0 || to < from || (uint64_t)to > data_bytes)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": data_offsets: found %lld to %lld, expected a range "
                       "in 0 to %llu",
                       file, name, (long long)from, (long long)to, (unsigned long long)data_bytes);
    if (to - from != bytes)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": found %lld bytes, its type and shape need %lld",
                       file, name, (long long)(to - from), (long long)bytes);
    view->bytes = (size_t)(to - from);
    *begin = (uint64_t)from;
    return SG_OK;
}

static sg_status st_parse_metadata(sg_safetensors *st, const char *file, const json_t *object,
                                   sg_error *err)
{
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"__metadata__\": expected an object of strings",
                       file);
    bool keep = st->metadata == NULL; // that of the first shard
    if (keep) {
        st->metadata = sg_arena_alloc(&st->arena, json_object_size(object) * sizeof *st->metadata);
        if (st->metadata == NULL) return st_memory(file, err);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const char *text = json_string_value(value);
        if (text == NULL || strlen(text) != json_string_length(value))
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: \"__metadata__\": \"%.200s\": expected a string without NUL", file,
                           key);
        if (!keep) continue;
        sg_key_value pair = {sg_arena_strndup(&st->arena, key, strlen(key)),
                             sg_arena_strndup(&st->arena, text, strlen(text))};
        if (pair.key == NULL || pair.value == NULL) return st_memory(file, err);
        st->metadata[st->metadata_count++] = pair;
    }
    return SG_OK;
}

// Adds the tensors of one file to st.
static sg_status st_parse_header(sg_safetensors *st, const char *file, const json_t *header,
                                 const unsigned char *data, uint64_t data_bytes, sg_error *err)
{
    size_t first = st->count;
    const char *name;
    json_t *entry;
    json_object_foreach((json_t *)(uintptr_t)header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) {
            SG_TRY(st_parse_metadata(st, file, entry, err));
            continue;
        }
        sg_tensor_view view = {.name = name};
        uint64_t begin = 0;
        SG_TRY(st_parse_view(file, name, entry, data_bytes, &view, &begin, err));
        view.data = data + begin;
        view.name = sg_arena_strndup(&st->arena, name, strlen(name));
        if (view.name == NULL || st->count >= INT32_MAX ||
            !sg_grow((void **)&st->views, &st->capacity, st->count + 1, sizeof *st->views))
            return st_memory(file, err);
        st->views[st->count++] = view;
    }
    if (st->count > first) sg_tensor_views_sort(st->views + first, st->count - first);
    uint64_t expected = 0;
    for (size_t i = first; i < st->count; i++) {
        const sg_tensor_view *view = &st->views[i];
        uint64_t begin = (uint64_t)((const unsigned char *)view->data - data);
        if (begin != expected)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: tensor \"%.200s\": data start at %llu, expected %llu: %s", file,
                           view->name, (unsigned long long)begin, (unsigned long long)expected,
                           begin < expected ? "overlaps the one before" : "leaves a hole");
        expected += view->bytes;
    }
    if (expected != data_bytes)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found %llu bytes of data, the header describes %llu", file,
                       (unsigned long long)data_bytes, (unsigned long long)expected);
    return SG_OK;
}

static sg_status st_parse_file(sg_safetensors *st, const char *file, const unsigned char *bytes,
                               size_t size, sg_error *err)
{
    SG_TRY(sg_file_kind_check(bytes, size, file, "a safetensors file", err));
    if (size < 8)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found %zu bytes, expected a safetensors file of at least 8", file,
                       size);
    uint64_t length = 0;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)bytes[i] << 8 * i;
    if (length > st_header_limit || length > size - 8)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: header length: found %llu, expected at most %zu: cut off, or not a "
                       "safetensors file",
                       file, (unsigned long long)length,
                       size - 8 < st_header_limit ? size - 8 : (size_t)st_header_limit);
    if (length == 0 || bytes[8] != '{')
        return sg_fail(err, SG_ERR_FORMAT, "%s: the header does not start with \"{\"", file);
    json_t *header;
    SG_TRY(sg_json_parse((const char *)bytes + 8, (size_t)length, file, &header, err));
    sg_status status =
        st_parse_header(st, file, header, bytes + 8 + length, (uint64_t)(size - 8) - length, err);
    json_decref(header);
    return status;
}

// ---- names ------------------------------------------------------------------------------------

static sg_status st_index_names(sg_safetensors *st, sg_error *err)
{
    if (!sg_name_index_build(&st->names, st->views, sizeof *st->views, st->count))
        return st_memory(st->name, err);
    ptrdiff_t repeated = sg_name_index_repeated(&st->names);
    if (repeated == SG_NAME_NONE) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: tensor \"%.200s\" is in two shards", st->name,
                   st->views[repeated].name);
}

// ---- opening ----------------------------------------------------------------------------------

static sg_status st_new(const char *name, sg_safetensors **out, sg_error *err)
{
    *out = NULL;
    sg_safetensors *st = sg_alloc_zero(1, sizeof *st);
    char *copy = sg_strdup(name);
    if (st == NULL || copy == NULL) {
        sg_free(st);
        sg_free(copy);
        return st_memory(name, err);
    }
    st->name = copy;
    *out = st;
    return SG_OK;
}

// Maps and parses shard number i of `path`.
static sg_status st_add_file(sg_safetensors *st, const char *path, sg_error *err)
{
    sg_map *map = &st->maps[st->map_count];
    SG_TRY(sg_map_open(path, map, err));
    st->map_count++;
    return st_parse_file(st, path, map->data, map->bytes, err);
}

static sg_status st_open_single(sg_safetensors *st, const char *path, sg_error *err)
{
    st->maps = sg_alloc_zero(1, sizeof *st->maps);
    if (st->maps == NULL) return st_memory(path, err);
    return st_add_file(st, path, err);
}

static int st_compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The distinct file names of a weight map, sorted. *files: sg_free.
static sg_status st_shard_names(const char *index, json_t *weight_map, const char ***files,
                                size_t *count, sg_error *err)
{
    size_t n = json_object_size(weight_map), kept = 0;
    const char **names = sg_alloc_array(n, sizeof *names);
    if (names == NULL) return st_memory(index, err);
    const char *tensor;
    json_t *value;
    json_object_foreach(weight_map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (name == NULL || strlen(name) != json_string_length(value) || !sg_name_is_plain(name)) {
            sg_free(names);
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: weight_map: tensor \"%.200s\": expected the plain name of a file",
                           index, tensor);
        }
        names[kept++] = name;
    }
    if (n > 1) qsort(names, n, sizeof *names, st_compare_text);
    kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    *files = names;
    *count = kept;
    return SG_OK;
}

static sg_status st_open_shard(sg_safetensors *st, const char *folder, const char *shard,
                               const char *index, const json_t *weight_map, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_published_path(path, sizeof path, folder, shard, NULL, err));
    size_t first = st->count;
    SG_TRY(st_add_file(st, path, err));
    for (size_t i = first; i < st->count; i++) {
        const char *name = st->views[i].name;
        const char *said = json_string_value(json_object_get(weight_map, name));
        if (said == NULL || strcmp(said, shard) != 0)
            return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor \"%.200s\" is here, %s says %s", path,
                           name, index, said ? said : "nothing of it");
    }
    return SG_OK;
}

static sg_status st_open_map(sg_safetensors *st, const char *folder, const char *index,
                             json_t *weight_map, sg_error *err)
{
    const char **shards = NULL;
    size_t count = 0;
    SG_TRY(st_shard_names(index, weight_map, &shards, &count, err));
    sg_status status = SG_OK;
    st->maps = sg_alloc_zero(count, sizeof *st->maps);
    if (st->maps == NULL) status = st_memory(index, err);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        status = st_open_shard(st, folder, shards[i], index, weight_map, err);
    sg_free(shards);
    SG_TRY(status);
    SG_TRY(st_index_names(st, err));
    const char *name;
    json_t *value;
    json_object_foreach(weight_map, name, value)
    {
        if (sg_safetensors_find(st, name) == NULL)
            return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor \"%.200s\": is not in %s", index, name,
                           json_string_value(value));
    }
    return SG_OK;
}

static sg_status st_open_index(sg_safetensors *st, const char *folder, const char *index,
                               sg_error *err)
{
    json_t *root, *weight_map = NULL;
    SG_TRY(sg_json_read(index, st_index_limit, &root, err));
    sg_status status = sg_json_get_object(root, index, "weight_map", true, &weight_map, err);
    if (status == SG_OK) status = st_open_map(st, folder, index, weight_map, err);
    json_decref(root);
    return status;
}

static sg_status st_open_folder(sg_safetensors *st, const char *folder, sg_error *err)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json"};
    char path[SG_PATH_MAX];
    sg_fs_info info;
    bool moving;
    // One of a save that has not moved up yet comes before whatever it replaces.
    for (int i = 0; i < 4; i++) {
        SG_TRY(sg_published_path(path, sizeof path, folder, names[i % 2], &moving, err));
        if (!moving && i < 2) continue;
        sg_status status = sg_path_info(path, &info, err);
        if (status == SG_OK && i % 2 == 0) return st_open_single(st, path, err);
        if (status == SG_OK) return st_open_index(st, folder, path, err);
        if (!sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    }
    char other[256];
    const char *kind;
    if (sg_folder_weights(folder, other, &kind))
        return sg_fail(
            err, SG_ERR_NOT_FOUND,
            "%s: has neither model.safetensors nor model.safetensors.index.json, but %s: "
            "%s",
            folder, other, kind);
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "%s: has neither model.safetensors nor model.safetensors.index.json", folder);
}

// Takes st over: returns it, or frees it.
static sg_status st_finish(sg_safetensors *st, sg_status status, sg_safetensors **out,
                           sg_error *err)
{
    if (status == SG_OK && st->names.entries == NULL) status = st_index_names(st, err);
    if (status == SG_OK)
        *out = st;
    else
        sg_safetensors_close(st);
    return status;
}

sg_status sg_safetensors_open(const char *path, sg_safetensors **out, sg_error *err)
{
    *out = NULL;
    sg_fs_info info;
    SG_TRY(sg_path_info(path, &info, err));
    sg_safetensors *st;
    SG_TRY(st_new(path, &st, err));
    sg_status status =
        info.is_folder ? st_open_folder(st, path, err) : st_open_single(st, path, err);
    return st_finish(st, status, out, err);
}

sg_status sg_safetensors_open_memory(const void *data, size_t bytes, const char *name,
                                     sg_safetensors **out, sg_error *err)
{
    *out = NULL;
    sg_safetensors *st;
    SG_TRY(st_new(name, &st, err));
    return st_finish(st, st_parse_file(st, name, data, bytes, err), out, err);
}

void sg_safetensors_close(sg_safetensors *st)
{
    if (st == NULL) return;
    for (size_t i = 0; i < st->map_count; i++)
        sg_map_close(&st->maps[i]);
    sg_free(st->maps);
    sg_free(st->views);
    sg_name_index_free(&st->names);
    sg_arena_free(&st->arena);
    sg_free(st->name);
    sg_free(st);
}

// ---- looking ----------------------------------------------------------------------------------

const char *sg_safetensors_name(const sg_safetensors *st)
{
    return st->name;
}

int64_t sg_safetensors_bytes(const sg_safetensors *st, int64_t *files)
{
    int64_t bytes = 0;
    *files = (int64_t)st->map_count;
    for (size_t i = 0; i < st->map_count; i++)
        bytes += (int64_t)st->maps[i].bytes;
    return bytes;
}

size_t sg_safetensors_count(const sg_safetensors *st)
{
    return st->count;
}

const sg_tensor_view *sg_safetensors_at(const sg_safetensors *st, size_t i)
{
    return &st->views[i];
}

const sg_tensor_view *sg_safetensors_find(const sg_safetensors *st, const char *name)
{
    ptrdiff_t found = sg_name_index_find(&st->names, name);
    return found != SG_NAME_NONE ? &st->views[found] : NULL;
}

sg_status sg_safetensors_get(const sg_safetensors *st, const char *name, sg_dtype dtype, int ndim,
                             const int64_t *shape, const sg_tensor_view **out, sg_error *err)
{
    const sg_tensor_view *view = *out = sg_safetensors_find(st, name);
    if (view == NULL)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: tensor \"%.200s\": is missing", st->name, name);
    sg_tensor_view wanted = sg_tensor_view_make(name, dtype, ndim, shape, NULL);
    bool same = view->dtype == dtype && view->ndim == ndim;
    for (int i = 0; same && i < ndim; i++)
        same = view->shape[i] == shape[i];
    if (same) return SG_OK;
    char found[192], expected[192];
    *out = NULL;
    return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor \"%.200s\": found %s %s, expected %s %s",
                   st->name, name, sg_dtype_name(view->dtype),
                   sg_tensor_view_shape_text(view, found, sizeof found), sg_dtype_name(dtype),
                   sg_tensor_view_shape_text(&wanted, expected, sizeof expected));
}

const char *sg_safetensors_metadata(const sg_safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->metadata_count; i++)
        if (strcmp(st->metadata[i].key, key) == 0) return st->metadata[i].value;
    return NULL;
}
