// See point_output.h. Files of a folder are opened anew for each block of rows: a large model has
// more points than a process may have open files.
#include "probe/point_output.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/npy.h"

enum { output_json_limit = 64 << 20, output_zeros = 1024 };

// ---- a folder of arrays -------------------------------------------------------------------------

static bool output_is_array(const char *name)
{
    const size_t length = strlen(name);
    return sg_name_is_plain(name) && length > 4 && strcmp(name + length - 4, ".npy") == 0;
}

static bool output_expects(const char *name)
{
    return output_is_array(name) || strcmp(name, SG_POINTS_JSON) == 0;
}

static sg_status output_remove(const char *folder, const char *name, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, name, err));
    sg_status status = sg_path_remove(path, err);
    return sg_ignored(status, SG_ERR_NOT_FOUND, err) ? SG_OK : status;
}

// The list of arrays in points.json of a folder; NULL where there is none. *root: json_decref.
static sg_status output_listed(const char *folder, json_t **root, json_t **list, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_fs_info info;
    *root = *list = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_POINTS_JSON, err));
    sg_status status = sg_path_info(path, &info, err);
    if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
    SG_TRY(status);
    SG_TRY(sg_json_read(path, output_json_limit, root, err));
    status = sg_json_get_array(*root, path, "points", true, list, err);
    if (status != SG_OK) json_decref(*root);
    return status;
}

// Arrays of an old dump go before those of the new one come, then what lists them.
static sg_status output_before(const char *folder, char **names, size_t count, sg_error *err)
{
    size_t i = 0;
    json_t *root, *list, *item;
    while (i < count && strcmp(names[i], SG_POINTS_JSON) != 0)
        i++;
    if (i == count) return SG_OK; // the one that is there is the new one
    SG_TRY(output_listed(folder, &root, &list, err));
    if (root == NULL) return SG_OK;
    sg_status status = SG_OK;
    json_array_foreach(list, i, item)
    {
        const char *name = json_string_value(json_object_get(item, "file"));
        if (status == SG_OK && name != NULL && output_is_array(name))
            status = output_remove(folder, name, err);
    }
    json_decref(root);
    if (status == SG_OK) status = output_remove(folder, SG_POINTS_TOKENS ".npy", err);
    if (status == SG_OK) status = sg_folder_sync(folder, err);
    return status == SG_OK ? output_remove(folder, SG_POINTS_JSON, err) : status;
}

static const sg_publication output_kind = {
    .expects = output_expects,
    .last = SG_POINTS_JSON,
    .before = output_before,
};

// A folder that others may have filled is looked at before the work, not after it.
static sg_status output_claim(sg_point_output *o, bool force, sg_error *err)
{
    json_t *root, *list;
    if (!force && sg_publish_is_interrupted(o->path)) {
        SG_TRY(sg_folder_claim(o->path, true, &o->claim, err));
        sg_status status = sg_publish_recover(&output_kind, o->path, err);
        sg_folder_release(o->claim);
        o->claim = NULL;
        SG_TRY(status);
    }
    SG_TRY(sg_folder_claim(o->path, force, &o->claim, err));
    SG_TRY(output_listed(o->path, &root, &list, err));
    json_decref(root);
    return sg_publish_begin(&output_kind, o->path, o->staging, err);
}

// ---- arrays -------------------------------------------------------------------------------------

sg_status sg_point_output_add(sg_point_output *o, const char *name, sg_point_kind kind, int rank,
                              const int64_t *shape, sg_error *err)
{
    if (!sg_grow((void **)&o->files, &o->capacity, o->count + 1, sizeof *o->files))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of files");
    sg_point_file *f = &o->files[o->count];
    *f = (sg_point_file){0};
    snprintf(f->name, sizeof f->name, "%s.npy", name);
    const sg_dtype dtype = kind == SG_POINT_I32 ? SG_DTYPE_I32 : SG_DTYPE_F32;
    if (sg_shape_bytes(dtype, rank, shape) < 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found %lld rows, expected less: its size has "
                       "more than 63 bits",
                       name, (long long)shape[0]);
    f->view = sg_tensor_view_make("", dtype, rank, shape, NULL);
    o->count++;
    return SG_OK;
}

int64_t sg_point_output_bytes(const sg_point_output *o)
{
    unsigned char header[SG_NPY_HEADER];
    int64_t bytes = 0;
    for (size_t i = 0; i < o->count; i++)
        bytes += (int64_t)(sg_npy_header(&o->files[i].view, header) + o->files[i].view.bytes);
    return bytes;
}

static sg_status output_open(sg_point_output *o, const sg_point_file *f, int mode,
                             sg_writer **writer, sg_error *err)
{
    char path[SG_PATH_MAX];
    *writer = o->writer;
    if (!o->folder) return SG_OK;
    SG_TRY(sg_path_join(path, sizeof path, o->staging, f->name, err));
    return sg_writer_open(path, mode, writer, err);
}

static sg_status output_close(sg_point_output *o, sg_writer *writer, bool sync, sg_error *err)
{
    return o->folder ? sg_writer_close(writer, sync, err) : sg_writer_flush(writer, err);
}

// A pipe or a device has no end.
static sg_status output_need_space(const sg_point_output *o, sg_error *err)
{
    sg_fs_info info;
    if (sg_path_info(o->path, &info, NULL) == SG_OK && info.is_special) return SG_OK;
    return sg_file_need_space(o->path, sg_point_output_bytes(o), err);
}

sg_status sg_point_output_begin(sg_point_output *o, const char *path, bool force, sg_error *err)
{
    const int mode = force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW;
    o->path = path;
    SG_TRY(output_need_space(o, err));
    SG_TRY(o->folder ? output_claim(o, force, err)
                     : sg_writer_open_output(path, mode, &o->writer, err));
    for (size_t i = 0; i < o->count; i++) {
        unsigned char header[SG_NPY_HEADER];
        sg_writer *writer;
        SG_TRY(output_open(o, &o->files[i], SG_FS_NEW, &writer, err));
        sg_writer_put(writer, header, sg_npy_header(&o->files[i].view, header));
        SG_TRY(output_close(o, writer, false, err));
    }
    return SG_OK;
}

// Rows whose last dimension is shorter than that of the file: `runs` of `width` numbers.
static void output_put_runs(sg_writer *writer, const float *values, int64_t runs, int64_t width,
                            int64_t full)
{
    static const float zeros[output_zeros];
    for (int64_t i = 0; i < runs; i++) {
        sg_writer_put(writer, values + i * width, (size_t)width * sizeof *values);
        for (int64_t left = full - width; left > 0; left -= output_zeros)
            sg_writer_put(writer, zeros,
                          (size_t)(left < output_zeros ? left : output_zeros) * sizeof *zeros);
    }
}

sg_status sg_point_output_put(sg_point_output *o, size_t file, const void *values, int64_t rows,
                              int64_t width, sg_error *err)
{
    sg_point_file *f = &o->files[file];
    const sg_tensor_view *v = &f->view;
    const int64_t full = v->ndim > 1 ? v->shape[v->ndim - 1] : 1;
    const int64_t row = sg_tensor_view_elements(v) / v->shape[0];
    if (rows > v->shape[0] - f->rows || width > full)
        return sg_fail(err, SG_ERR_INTERNAL,
                       "%s: found rows %lld to %lld of width %lld, expected "
                       "%lld rows of width %lld at most",
                       f->name, (long long)f->rows, (long long)(f->rows + rows), (long long)width,
                       (long long)v->shape[0], (long long)full);
    sg_writer *writer;
    SG_TRY(output_open(o, f, SG_FS_APPEND, &writer, err));
    if (width == full)
        sg_writer_put(writer, values, (size_t)(rows * row) * sizeof(float));
    else
        output_put_runs(writer, values, rows * row / full, width, full);
    f->rows += rows;
    return output_close(o, writer, false, err);
}

// ---- the end ------------------------------------------------------------------------------------

static sg_status output_sync(sg_point_output *o, const char *json, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_writer *writer;
    for (size_t i = 0; i < o->count; i++) {
        SG_TRY(output_open(o, &o->files[i], SG_FS_APPEND, &writer, err));
        SG_TRY(sg_writer_close(writer, true, err));
    }
    SG_TRY(sg_path_join(path, sizeof path, o->staging, SG_POINTS_JSON, err));
    SG_TRY(sg_writer_open(path, SG_FS_NEW, &writer, err));
    sg_writer_put(writer, json, strlen(json));
    sg_writer_put(writer, "\n", 1);
    return sg_writer_close(writer, true, err);
}

sg_status sg_point_output_end(sg_point_output *o, const char *json, sg_error *err)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->files[i].rows != o->files[i].view.shape[0])
            return sg_fail(err, SG_ERR_INTERNAL, "%s: found %lld rows, expected %lld",
                           o->files[i].name, (long long)o->files[i].rows,
                           (long long)o->files[i].view.shape[0]);
    if (!o->folder) {
        sg_writer *writer = o->writer;
        o->writer = NULL;
        return sg_writer_replace(writer, err);
    }
    SG_TRY(output_sync(o, json, err));
    o->staging[0] = '\0'; // whatever comes of it, it is no longer ours to remove
    return sg_publish_end(&output_kind, o->path, err);
}

void sg_point_output_free(sg_point_output *o)
{
    sg_writer_withdraw(o->writer);
    if (o->folder && o->claim != NULL && o->staging[0] != '\0') sg_publish_abandon(o->path);
    sg_folder_release(o->claim);
    sg_free(o->files);
    *o = (sg_point_output){0};
}
