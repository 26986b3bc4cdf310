// A layer is a safetensors file: quality (MLPs, 3) as doubles, and of each MLP, behind its letter,
// up.weight (hidden, in), up.bias (hidden), down.weight (out, hidden), down.bias (out).
#include "sparsify/projection_keep.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

enum { keep_most = SG_PROJECTIONS * SG_DISTIL_VALUES + 1, keep_quality = 3 };

typedef struct keep_views {
    sg_tensor_view items[keep_most];
    char names[keep_most][32];
    size_t count;
} keep_views;

static void keep_add(keep_views *k, sg_dtype dtype, int64_t rows, int64_t columns, const void *data)
{
    sg_tensor_view *v = &k->items[k->count];
    *v = (sg_tensor_view){
        .name = k->names[k->count], .dtype = dtype, .ndim = columns > 0 ? 2 : 1, .data = data};
    v->shape[0] = rows;
    v->shape[1] = columns;
    v->bytes = (size_t)(rows * (columns > 0 ? columns : 1)) *
               (dtype == SG_DTYPE_F64 ? sizeof(double) : sizeof(float));
    k->count++;
}

static void keep_add_module(keep_views *k, const sg_distil_module *of, char letter)
{
    static const char *const names[SG_DISTIL_VALUES] = {"up.weight", "up.bias", "down.weight",
                                                        "down.bias"};
    const int64_t shapes[SG_DISTIL_VALUES][2] = {{of->size.hidden, of->size.in},
                                                 {of->size.hidden, 0},
                                                 {of->size.out, of->size.hidden},
                                                 {of->size.out, 0}};
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        snprintf(k->names[k->count], sizeof k->names[0], "%c.%s", letter, names[i]);
        keep_add(k, SG_DTYPE_F32, shapes[i][0], shapes[i][1], of->values[i]);
    }
}

// quality (count, keep_quality).
static void keep_make(const sg_projection_layer *l, const double *quality, keep_views *k)
{
    *k = (keep_views){0};
    snprintf(k->names[0], sizeof k->names[0], "quality");
    keep_add(k, SG_DTYPE_F64, l->count, keep_quality, quality);
    for (int64_t m = 0; m < l->count; m++)
        keep_add_module(k, &l->modules[m], sg_projection_letter(l->which[m]));
}

sg_status sg_projection_keep_save(const sg_kept_work *work, int64_t index,
                                  const sg_projection_layer *l, sg_error *err)
{
    double quality[SG_PROJECTIONS * keep_quality];
    keep_views views;
    for (int64_t m = 0; m < l->count; m++) {
        quality[m * keep_quality] = l->quality[m].loss;
        quality[m * keep_quality + 1] = l->quality[m].error;
        quality[m * keep_quality + 2] = l->quality[m].zeros;
    }
    keep_make(l, quality, &views);
    return sg_kept_save(work, index, views.items, views.count, err);
}

// ---- reading ------------------------------------------------------------------------------------

// Weights are numbers; where a layer is damaged its checksum says so.
static sg_status keep_check_values(const sg_tensor_view *v, sg_error *err)
{
    const float *values = v->data;
    for (size_t i = 0; i < v->bytes / sizeof *values; i++)
        if (!(fabsf(values[i]) <= FLT_MAX))
            return sg_fail(err, SG_ERR_FORMAT, "%s: found %s, expected finite numbers", v->name,
                           SG_NUMBER((double)values[i]));
    return SG_OK;
}

static sg_status keep_check_quality(const sg_projection_quality *q, sg_error *err)
{
    const struct {
        const char *name;
        double value, most;
        bool tested;
    } numbers[] = {{"loss", q->loss, DBL_MAX, false},
                   {"error", q->error, DBL_MAX, true},
                   {"zeros", q->zeros, 1, true}};
    for (int i = 0; i < keep_quality; i++) {
        const double value = numbers[i].value;
        if ((value >= 0 && value <= numbers[i].most) || (numbers[i].tested && isnan(value)))
            continue;
        return sg_fail(err, SG_ERR_FORMAT, "quality: %s: found %s, expected 0 to %g",
                       numbers[i].name, SG_NUMBER(value), numbers[i].most);
    }
    return SG_OK;
}

static sg_status keep_read(const sg_safetensors *file, sg_projection_layer *l, sg_error *err)
{
    double quality[SG_PROJECTIONS * keep_quality] = {0};
    keep_views views;
    keep_make(l, quality, &views);
    SG_TRY(sg_kept_read(file, views.items, views.count, err));
    for (size_t i = 1; i < views.count; i++)
        SG_TRY(keep_check_values(&views.items[i], err));
    for (int64_t m = 0; m < l->count; m++) {
        const double *of = quality + m * keep_quality;
        l->quality[m] = (sg_projection_quality){of[0], of[1], of[2]};
        SG_TRY(keep_check_quality(&l->quality[m], err));
    }
    return SG_OK;
}

static sg_status keep_take(sg_safetensors *file, const char *name, sg_projection_layer *l,
                           sg_error *err)
{
    const sg_status status = keep_read(file, l, err);
    sg_safetensors_close(file);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", name);
}

sg_status sg_projection_keep_parse(const void *data, size_t bytes, const char *name,
                                   sg_projection_layer *l, sg_error *err)
{
    sg_safetensors *file;
    SG_TRY(sg_safetensors_open_memory(data, bytes, name, &file, err));
    return keep_take(file, name, l, err);
}

sg_status sg_projection_keep_load(const sg_kept_work *work, int64_t index, sg_projection_layer *l,
                                  bool *found, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_safetensors *file;
    SG_TRY(sg_kept_file(work, index, path, &file, err));
    *found = file != NULL;
    return *found ? keep_take(file, path, l, err) : SG_OK;
}
