// A GGUF in several files, as llama.cpp's tool gguf-split makes them: PREFIX-00001-of-00003.gguf
// has all metadata, the others just their number, and each has some of the tensors. The first one
// is opened and brings the others along.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/gguf_file.h"

enum { split_most = 99999 };

typedef struct split_place {
    int64_t number, count; // from 0
} split_place;

static sg_status split_read(const sg_gguf *g, split_place *at, sg_error *err)
{
    *at = (split_place){.count = 1};
    SG_TRY(sg_gguf_get_int(g, "split.count", false, 0, split_most, &at->count, err));
    return sg_gguf_get_int(g, "split.no", false, 0, split_most, &at->number, err);
}

// What stands before "-00002-of-00003.gguf"; false where the name does not end so.
static bool split_prefix(const char *path, const split_place *at, char prefix[SG_PATH_MAX])
{
    char end[64];
    const int n = snprintf(end, sizeof end, "-%05lld-of-%05lld.gguf", (long long)at->number + 1,
                           (long long)at->count);
    const size_t length = strlen(path), tail = (size_t)n;
    if (length < tail || length >= SG_PATH_MAX || strcmp(path + length - tail, end) != 0)
        return false;
    snprintf(prefix, SG_PATH_MAX, "%.*s", (int)(length - tail), path);
    return true;
}

static sg_status split_name(const char *prefix, int64_t number, int64_t count,
                            char path[SG_PATH_MAX], sg_error *err)
{
    const int n = snprintf(path, SG_PATH_MAX, "%s-%05lld-of-%05lld.gguf", prefix,
                           (long long)number + 1, (long long)count);
    return n < SG_PATH_MAX ? SG_OK
                           : sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", prefix);
}

// Takes over the tensors of another part, and its mapping.
static sg_status split_take(sg_gguf *g, sg_gguf *part, sg_error *err)
{
    const size_t count = g->view_count + part->view_count;
    if (!sg_grow((void **)&g->views, &g->view_capacity, count, sizeof *g->views) ||
        !sg_grow((void **)&g->others, &g->other_capacity, g->other_count + 1, sizeof *g->others))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its lists", g->name);
    for (size_t i = 0; i < part->view_count; i++) {
        sg_tensor_view view = part->views[i];
        view.name = sg_arena_strndup(&g->arena, view.name, strlen(view.name));
        if (view.name == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its lists", g->name);
        g->views[g->view_count++] = view;
    }
    g->others[g->other_count++] = part->map;
    part->map = (sg_map){0};
    return SG_OK;
}

static sg_status split_add(sg_gguf *g, const char *path, const split_place *expected, sg_error *err)
{
    sg_gguf *part;
    split_place found;
    sg_status status = sg_gguf_open_part(path, &part, err);
    if (status == SG_ERR_NOT_FOUND)
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "%s: part %lld of %lld of a split GGUF is missing: %s", g->name,
                       (long long)expected->number + 1, (long long)expected->count, path);
    SG_TRY(status);
    status = split_read(part, &found, err);
    if (status == SG_OK && (found.number != expected->number || found.count != expected->count))
        status = sg_fail(err, SG_ERR_MISMATCH,
                         "%s: key split.no: found %lld of %lld, expected %lld of %lld, as its name "
                         "and the first part say",
                         path, (long long)found.number, (long long)found.count,
                         (long long)expected->number, (long long)expected->count);
    if (status == SG_OK) status = split_take(g, part, err);
    sg_gguf_close(part);
    return status;
}

// All parts are there, with as many tensors as the first one says and no name twice.
static sg_status split_check(sg_gguf *g, sg_error *err)
{
    int64_t tensors = (int64_t)g->view_count;
    SG_TRY(sg_gguf_get_int(g, "split.tensors.count", false, 0, INT32_MAX, &tensors, err));
    if (tensors != (int64_t)g->view_count)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: key split.tensors.count: found %lld, but its parts have %zu tensors",
                       g->name, (long long)tensors, g->view_count);
    sg_name_index_free(&g->names);
    g->names = (sg_name_index){0};
    if (!sg_name_index_build(&g->names, g->views, sizeof *g->views, g->view_count))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its lists", g->name);
    const ptrdiff_t repeated = sg_name_index_repeated(&g->names);
    if (repeated == SG_NAME_NONE) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: tensor \"%.200s\" is in two parts", g->name,
                   g->views[repeated].name);
}

sg_status sg_gguf_join(sg_gguf *g, sg_error *err)
{
    split_place at;
    char prefix[SG_PATH_MAX], path[SG_PATH_MAX];
    SG_TRY(split_read(g, &at, err));
    if (at.count <= 1) return SG_OK;
    if (!split_prefix(g->name, &at, prefix))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: found part %lld of %lld of a split GGUF, expected a name that ends in "
                       "-%05lld-of-%05lld.gguf, by which the others are found",
                       g->name, (long long)at.number + 1, (long long)at.count,
                       (long long)at.number + 1, (long long)at.count);
    SG_TRY(split_name(prefix, 0, at.count, path, err));
    if (at.number > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found part %lld of %lld of a split GGUF, expected the first: %s",
                       g->name, (long long)at.number + 1, (long long)at.count, path);
    for (at.number = 1; at.number < at.count; at.number++) {
        SG_TRY(split_name(prefix, at.number, at.count, path, err));
        SG_TRY(split_add(g, path, &at, err));
    }
    return split_check(g, err);
}
