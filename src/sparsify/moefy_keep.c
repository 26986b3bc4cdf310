// A layer is a safetensors file: order (D) int32, router.hidden, router.weight, router.bias, means
// where there are any, quality as doubles.
#include "sparsify/moefy_keep.h"

#include <string.h>

#include "base/alloc.h"

enum { keep_tensors = 6, keep_quality = 18 };

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

sg_status sg_moefy_keep_save(const sg_kept_work *work, int64_t index, const sg_moefy_layer *layer,
                             sg_error *err)
{
    double quality[keep_quality];
    sg_sparsify_layer q = layer->quality;
    sg_tensor_view views[keep_tensors];
    keep_quality_copy(&q, quality, false);
    const size_t count = keep_views(layer, quality, views);
    return sg_kept_save(work, index, views, count, err);
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
    SG_TRY(sg_kept_read(file, views, count, err));
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

sg_status sg_moefy_keep_load(const sg_kept_work *work, int64_t index, const sg_moefy_shape *shape,
                             sg_moefy_layer *layer, bool *found, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_safetensors *file;
    *layer = (sg_moefy_layer){0};
    SG_TRY(sg_kept_file(work, index, path, &file, err));
    *found = file != NULL;
    if (!*found) return SG_OK;
    return keep_take(file, path, shape, layer, err);
}
