// A layer is a safetensors file: order (D) int32, router.hidden, router.weight, router.bias, means
// where there are any, quality as doubles, and a checksum of all of them in its metadata.
#include "sparsify/moefy_keep.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/json.h"
#include "format/json_seal.h"
#include "format/safetensors.h"

static const char keep_folder[] = ".sparsify", keep_plan[] = "plan.json";
enum { keep_tensors = 6, keep_quality = 18, keep_plan_most = 1 << 16, keep_name = 32 };

static sg_status keep_path(char path[SG_PATH_MAX], const char *out, const char *name, sg_error *err)
{
    char folder[SG_PATH_MAX];
    SG_TRY(sg_path_join(folder, sizeof folder, out, keep_folder, err));
    return sg_path_join(path, SG_PATH_MAX, folder, name, err);
}

static void keep_layer_name(char name[keep_name], int64_t index)
{
    snprintf(name, keep_name, "layer-%05lld.safetensors", (long long)index);
}

// ---- the plan -----------------------------------------------------------------------------------

sg_status sg_moefy_keep_claim(const char *out, sg_claim **claim, sg_error *err)
{
    char plan[SG_PATH_MAX], folder[SG_PATH_MAX];
    SG_TRY(keep_path(plan, out, keep_plan, err));
    SG_TRY(sg_path_join(folder, sizeof folder, out, keep_folder, err));
    if (sg_path_exists(plan)) return sg_folder_claim(out, true, claim, err);
    if (sg_path_is_folder(folder)) {
        // Ended before the plan was there, or behind it: what is in it is of no use. Where nobody
        // else is at work.
        SG_TRY(sg_folder_claim(out, true, claim, err));
        const sg_status status = sg_tree_remove(folder, err);
        sg_folder_release(*claim);
        *claim = NULL;
        SG_TRY(status);
    }
    return sg_folder_claim(out, false, claim, err);
}

// A value as a message shows it.
static const char *keep_text(const json_t *value, char text[64])
{
    char *dumped = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(text, 64, "%.60s", dumped != NULL ? dumped : "none");
    free(dumped);
    return text;
}

static sg_status keep_compare(const char *path, const json_t *found, const json_t *plan,
                              sg_error *err)
{
    const char *key;
    json_t *value;
    char was[64], is[64];
    json_object_foreach((json_t *)(uintptr_t)plan, key, value)
    {
        const json_t *other = json_object_get(found, key);
        if (json_equal(value, other)) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found a work that was begun with %s %s, expected %s; finish it with "
                       "the command that began it, or choose another folder",
                       path, key, keep_text(other, was), keep_text(value, is));
    }
    if (json_object_size(found) == json_object_size(plan)) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu members, expected %zu", path,
                   json_object_size(found), json_object_size(plan));
}

static sg_status keep_plan_write(const char *path, const json_t *plan, sg_error *err)
{
    char *text = NULL;
    json_t *sealed = json_copy((json_t *)(uintptr_t)plan);
    sg_status status =
        sealed != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    if (status == SG_OK) status = sg_json_seal(sealed, path, err);
    if (status == SG_OK) status = sg_json_text(sealed, true, &text, err);
    if (status == SG_OK) status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    json_decref(sealed);
    return status;
}

sg_status sg_moefy_keep_begin(const char *out, const json_t *plan, bool *fresh, sg_error *err)
{
    char path[SG_PATH_MAX], folder[SG_PATH_MAX];
    SG_TRY(keep_path(path, out, keep_plan, err));
    *fresh = !sg_path_exists(path);
    if (*fresh) {
        sg_path_folder(folder, sizeof folder, path);
        SG_TRY(sg_folder_make(folder, err));
        return keep_plan_write(path, plan, err);
    }
    json_t *found = NULL;
    SG_TRY(sg_json_read(path, keep_plan_most, &found, err));
    sg_status status = json_is_object(found)
                           ? sg_json_check_seal(found, path, err)
                           : sg_fail(err, SG_ERR_FORMAT, "%s: expected an object", path);
    if (status == SG_OK) status = keep_compare(path, found, plan, err);
    json_decref(found);
    return status;
}

// The plan goes last: without it layers would be nobody's.
sg_status sg_moefy_keep_end(const char *out, sg_error *err)
{
    char folder[SG_PATH_MAX], path[SG_PATH_MAX], **names;
    size_t count;
    SG_TRY(sg_path_join(folder, sizeof folder, out, keep_folder, err));
    SG_TRY(sg_folder_list(folder, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        if (sg_moefy_is(names[i], keep_plan)) continue;
        status = sg_path_join(path, sizeof path, folder, names[i], err);
        if (status == SG_OK) status = sg_tree_remove(path, err);
    }
    sg_names_free(names, count);
    if (status == SG_OK) status = sg_folder_sync(folder, err);
    return status == SG_OK ? sg_tree_remove(folder, err) : status;
}

// ---- quality as numbers -------------------------------------------------------------------------

// Counts are exact in a double: they are below 2^53.
static void keep_quality_copy(sg_sparsify_layer *q, double values[keep_quality], bool load)
{
    double *const real[] = {&q->distance,        &q->within,          &q->mean,
                            &q->deviation,       &q->positive.router, &q->positive.oracle,
                            &q->positive.random, &q->norm.router,     &q->norm.oracle,
                            &q->norm.random,     &q->router_loss};
    int64_t *const whole[] = {&q->least, &q->p5,       &q->p50,         &q->p95,
                              &q->most,  &q->compared, &q->router_epoch};
    enum { reals = sizeof real / sizeof *real, wholes = sizeof whole / sizeof *whole };
    for (int i = 0; i < reals; i++)
        *(load ? real[i] : &values[i]) = load ? values[i] : *real[i];
    for (int i = 0; i < wholes && load; i++)
        *whole[i] =
            values[reals + i] > 0 && values[reals + i] < 9e15 ? (int64_t)values[reals + i] : 0;
    for (int i = 0; i < wholes && !load; i++)
        values[reals + i] = (double)*whole[i];
}

// ---- a layer ------------------------------------------------------------------------------------

static void keep_add(sg_tensor_view views[keep_tensors], size_t *count, const char *name,
                     sg_dtype dtype, int ndim, const int64_t *shape, const void *data)
{
    if (data == NULL) return;
    sg_tensor_view *v = &views[(*count)++];
    *v = (sg_tensor_view){.name = name, .dtype = dtype, .ndim = ndim, .data = data};
    v->bytes = dtype == SG_DTYPE_F64 ? sizeof(double) : sizeof(float);
    for (int i = 0; i < ndim; i++) {
        v->shape[i] = shape[i];
        v->bytes *= (size_t)shape[i];
    }
}

static size_t keep_views(const sg_moefy_layer *l, const double *quality,
                         sg_tensor_view views[keep_tensors])
{
    const sg_router_net *net = &l->net;
    const int64_t inputs = net->width > 0 ? net->width : net->d;
    size_t count = 0;
    keep_add(views, &count, "quality", SG_DTYPE_F64, 1, (int64_t[]){keep_quality}, quality);
    keep_add(views, &count, "order", SG_DTYPE_I32, 1, &l->split.neurons, l->split.order);
    keep_add(views, &count, "router.hidden", SG_DTYPE_F32, 2, (int64_t[]){net->width, net->d},
             net->hidden);
    keep_add(views, &count, "router.weight", SG_DTYPE_F32, 2, (int64_t[]){net->rows, inputs},
             net->weight);
    keep_add(views, &count, "router.bias", SG_DTYPE_F32, 1, &net->rows, net->bias);
    keep_add(views, &count, "means", SG_DTYPE_F32, 1, &l->split.neurons, l->means);
    return count;
}

static void keep_checksum(const sg_tensor_view *views, size_t count, char text[17])
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t two[] = {all, sg_hash(views[i].data, views[i].bytes)};
        all = sg_hash(two, sizeof two);
    }
    snprintf(text, 17, "%016" PRIx64, all);
}

sg_status sg_keep_save(const char *out, int64_t index, const sg_tensor_view *views, size_t count,
                       sg_error *err)
{
    char path[SG_PATH_MAX], name[keep_name], checksum[17];
    keep_checksum(views, count, checksum);
    keep_layer_name(name, index);
    SG_TRY(keep_path(path, out, name, err));
    return sg_safetensors_replace(path, views, count,
                                  &(sg_key_value){.key = "checksum", .value = checksum}, 1, err);
}

sg_status sg_keep_read(const sg_safetensors *file, const sg_tensor_view *views, size_t count,
                       sg_error *err)
{
    char checksum[17];
    const char *said = sg_safetensors_metadata(file, "checksum");
    if (sg_safetensors_count(file) != count)
        return sg_fail(err, SG_ERR_MISMATCH, "found %zu tensors, expected %zu",
                       sg_safetensors_count(file), count);
    for (size_t i = 0; i < count; i++) {
        const sg_tensor_view *from;
        SG_TRY(sg_safetensors_get(file, views[i].name, views[i].dtype, views[i].ndim,
                                  views[i].shape, &from, err));
        memcpy((void *)(uintptr_t)views[i].data, from->data, from->bytes);
    }
    keep_checksum(views, count, checksum);
    if (said != NULL && strcmp(said, checksum) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "found the checksum %.20s, expected %s",
                   said != NULL ? said : "(none)", checksum);
}

static sg_status keep_open(const char *out, int64_t index, char path[SG_PATH_MAX],
                           sg_safetensors **file, sg_error *err)
{
    char name[keep_name];
    *file = NULL;
    keep_layer_name(name, index);
    SG_TRY(keep_path(path, out, name, err));
    return sg_path_exists(path) ? sg_safetensors_open(path, file, err) : SG_OK;
}

sg_status sg_keep_load(const char *out, int64_t index, const sg_tensor_view *views, size_t count,
                       bool *found, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_safetensors *file;
    SG_TRY(keep_open(out, index, path, &file, err));
    *found = file != NULL;
    if (!*found) return SG_OK;
    const sg_status status = sg_keep_read(file, views, count, err);
    sg_safetensors_close(file);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", path);
}

sg_status sg_moefy_keep_save(const char *out, int64_t index, const sg_moefy_layer *layer,
                             sg_error *err)
{
    double quality[keep_quality];
    sg_sparsify_layer q = layer->quality;
    sg_tensor_view views[keep_tensors];
    keep_quality_copy(&q, quality, false);
    const size_t count = keep_views(layer, quality, views);
    return sg_keep_save(out, index, views, count, err);
}

// Memory for a layer of that shape, all zeros.
static sg_status keep_room(const sg_moefy_shape *s, sg_moefy_layer *l, sg_error *err)
{
    const int64_t inputs = s->net.width > 0 ? s->net.width : s->net.d;
    *l = (sg_moefy_layer){0};
    SG_TRY(sg_partition_new(s->neurons, s->size, &l->split, err));
    l->split.shared = s->shared;
    l->net = s->net;
    l->net.weight = sg_alloc_zero((size_t)s->net.rows, (size_t)inputs * sizeof(sg_real));
    bool room = l->net.weight != NULL;
    if (s->net.width > 0)
        l->net.hidden = sg_alloc_zero((size_t)s->net.width, (size_t)s->net.d * sizeof(sg_real));
    if (s->biased) l->net.bias = sg_alloc_zero((size_t)s->net.rows, sizeof(sg_real));
    if (s->means) l->means = sg_alloc_zero((size_t)s->neurons, sizeof(sg_real));
    room = room && (l->net.hidden != NULL) == (s->net.width > 0) &&
           (l->net.bias != NULL) == s->biased && (l->means != NULL) == s->means;
    return room ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a layer");
}

static sg_status keep_read(const sg_safetensors *file, sg_moefy_layer *l, sg_error *err)
{
    double quality[keep_quality] = {0};
    sg_tensor_view views[keep_tensors];
    const size_t count = keep_views(l, quality, views);
    SG_TRY(sg_keep_read(file, views, count, err));
    keep_quality_copy(&l->quality, quality, true);
    return sg_partition_check(&l->split, err);
}

static sg_status keep_take(sg_safetensors *file, const char *name, const sg_moefy_shape *shape,
                           sg_moefy_layer *layer, sg_error *err)
{
    sg_status status = keep_room(shape, layer, err);
    if (status == SG_OK) status = keep_read(file, layer, err);
    sg_safetensors_close(file);
    if (status == SG_OK) return SG_OK;
    sg_moefy_layer_free(layer);
    return sg_fail_context(err, status, "%s", name);
}

sg_status sg_moefy_keep_parse(const void *data, size_t bytes, const char *name,
                              const sg_moefy_shape *shape, sg_moefy_layer *layer, sg_error *err)
{
    sg_safetensors *file;
    *layer = (sg_moefy_layer){0};
    SG_TRY(sg_safetensors_open_memory(data, bytes, name, &file, err));
    return keep_take(file, name, shape, layer, err);
}

sg_status sg_moefy_keep_load(const char *out, int64_t index, const sg_moefy_shape *shape,
                             sg_moefy_layer *layer, bool *found, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_safetensors *file;
    *layer = (sg_moefy_layer){0};
    SG_TRY(keep_open(out, index, path, &file, err));
    *found = file != NULL;
    if (!*found) return SG_OK;
    return keep_take(file, path, shape, layer, err);
}
