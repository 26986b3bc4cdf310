#include "model/adapter_base.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/tensor_read.h"

// "base_model.model.NAME.base_layer.weight" and "base_model.model.NAME.weight" as "NAME.weight".
static bool base_name(const char *tensor, char name[SG_PARAM_NAME])
{
    static const char start[] = SG_ADAPTER_PREFIX, end[] = ".weight", layer[] = ".base_layer";
    const size_t n = sizeof start - 1, length = strlen(tensor), tail = sizeof end - 1;
    if (length < n + tail || strncmp(tensor, start, n) != 0 ||
        strcmp(tensor + length - tail, end) != 0)
        return false;
    size_t stem = length - n - tail;
    const size_t m = sizeof layer - 1;
    if (stem > m && strncmp(tensor + n + stem - m, layer, m) == 0) stem -= m;
    return snprintf(name, SG_PARAM_NAME, "%.*s%s", (int)stem, tensor + n, end) < SG_PARAM_NAME;
}

// The parameter that is that tensor as a whole; false: none is.
static sg_status base_find(const sg_model *m, const char *name, size_t *index, bool *found,
                           sg_error *err)
{
    const sg_tensor_map *map = sg_tensor_map_of_modules(m->map);
    const size_t count = m->adapters != NULL ? m->adapters->first : m->params.count;
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    *found = false;
    for (size_t i = 0; i < count && !*found && status == SG_OK; i++) {
        status = sg_tensor_map_pieces(map, &m->config, &m->params.specs[i], NULL, &pieces, err);
        *found = status == SG_OK && m->params.specs[i].rank == 2 && pieces.count == 1 &&
                 !pieces.items[0].transposed && strcmp(pieces.items[0].tensor, name) == 0;
        if (*found) *index = i;
    }
    sg_pieces_free(&pieces);
    return status;
}

// How far the matrices are from each other, over the length of the model's.
static sg_status base_distance(const sg_model *m, size_t i, const sg_tensor_view *view,
                               double *distance, sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const int64_t d = spec->shape[1];
    const size_t row_bytes = (size_t)d * sg_dtype_bytes(view->dtype);
    double difference = 0, length = 0;
    sg_real *own = sg_alloc_array((size_t)d, sizeof *own);
    float *other = sg_alloc_array((size_t)d, sizeof *other);
    sg_status status = own == NULL || other == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", view->name)
                           : SG_OK;
    for (int64_t row = 0; row < spec->shape[0] && status == SG_OK; row++) {
        const sg_tensor_view part = sg_tensor_view_make(
            view->name, view->dtype, 1, &d, (const char *)view->data + (size_t)row * row_bytes);
        sg_model_rows(m, i, row, 1, own);
        status = sg_tensor_view_read_f32(&part, other, err);
        for (int64_t j = 0; j < d && status == SG_OK; j++) {
            const double a = (double)own[j], b = (double)other[j];
            difference += (a - b) * (a - b);
            length += a * a;
        }
    }
    sg_free(own);
    sg_free(other);
    *distance = difference == 0 ? 0 : sqrt(difference / length);
    return status;
}

static bool base_is_coarse(const sg_model *m, size_t i)
{
    const sg_weights type = sg_narrow_has(&m->narrow, i) ? m->narrow.items[i].type : SG_WEIGHTS_F32;
    return type != SG_WEIGHTS_F32 && type != SG_WEIGHTS_BF16 && type != SG_WEIGHTS_F16;
}

sg_status sg_adapter_base_check(const sg_model *m, const char *file, const sg_tensor_view *view,
                                bool *is, sg_error *err)
{
    char name[SG_PARAM_NAME], shape[128];
    size_t i = 0;
    double distance = 0;
    *is = false;
    if (!base_name(view->name, name)) return SG_OK;
    SG_TRY(base_find(m, name, &i, is, err));
    if (!*is) return SG_OK;
    const sg_param_spec *spec = &m->params.specs[i];
    if (view->ndim != 2 || view->shape[0] != spec->shape[0] || view->shape[1] != spec->shape[1])
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: tensor %s: found shape %s, expected [%lld, %lld], the model's own",
                       file, view->name, sg_tensor_view_shape_text(view, shape, sizeof shape),
                       (long long)spec->shape[0], (long long)spec->shape[1]);
    const sg_status status = base_distance(m, i, view, &distance, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", file);
    // Roundings of bf16, or of whatever the model is stored in.
    if (distance <= (base_is_coarse(m, i) ? 0.2 : 0x1p-8)) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH,
                   "%s: tensor %s: is another matrix than the model's: these adapters belong to a "
                   "model in which it was changed",
                   file, view->name);
}
