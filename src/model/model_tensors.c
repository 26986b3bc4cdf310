// Parameters by name: what each is, its rows whatever they are stored in, and writing them. A
// parameter that lies in a mapped file is copied when it is first written; the file never changes.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/stored.h"
#include "model/model.h"

enum { tensors_piece = 1 << 16 }; // values that are converted at a time

static int64_t tensors_columns(const sg_param_spec *spec)
{
    return spec->rank > 1 ? spec->shape[spec->rank - 1] : 1;
}

static sg_weights tensors_type(const sg_model *m, size_t i)
{
    return sg_narrow_has(&m->narrow, i) ? m->narrow.items[i].type : SG_WEIGHTS_F32;
}

size_t sg_model_tensor_count(const sg_model *model)
{
    return model->params.count;
}

const char *sg_model_tensor_name(const sg_model *model, size_t index)
{
    return index < model->params.count ? model->params.specs[index].name : NULL;
}

const float *sg_model_tensor_values(const sg_model *model, size_t index, int *rank,
                                    int64_t shape[4])
{
    if (index >= model->params.count) return NULL;
    const sg_param_spec *spec = &model->params.specs[index];
    *rank = spec->rank;
    for (int i = 0; i < SG_RANK_MAX; i++)
        shape[i] = i < spec->rank ? spec->shape[i] : 1;
#ifdef SG_REAL_DOUBLE
    return NULL; // the double build is for gradient checks only
#else
    return model->values[index];
#endif
}

// ---- what there is ------------------------------------------------------------------------------

static sg_status tensors_check_index(const sg_model *m, size_t index, sg_error *err)
{
    if (index < m->params.count) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "tensor: found %zu, expected less than %zu", index,
                   m->params.count);
}

sg_status sg_model_tensor_find(const sg_model *m, const char *name, size_t *index, sg_error *err)
{
    for (*index = 0; *index < m->params.count; ++*index)
        if (strcmp(m->params.specs[*index].name, name) == 0) return SG_OK;
    const bool head = strcmp(name, "lm_head.weight") == 0 && !m->config.untied_classifier;
    return sg_fail(err, SG_ERR_NOT_FOUND, "tensor %.200s: the model has none of that name%s", name,
                   head ? ": its classifier is model.embed_tokens.weight" : "");
}

// The layer of a parameter of the model's own, from 1; 0: of none.
static int64_t tensors_layer(const char *name)
{
    static const char start[] = "model.layers.";
    const size_t n = sizeof start - 1;
    if (strncmp(name, start, n) != 0 || name[n] < '0' || name[n] > '9') return 0;
    return strtoll(name + n, NULL, 10) + 1;
}

// An adapter is of the layer of the matrix that it is added to.
static const char *tensors_owner(const sg_model *m, size_t index)
{
    const sg_adapters *all = m->adapters;
    for (size_t i = 0; all != NULL && i < all->use_count; i++) {
        const sg_adapter *a = &all->items[all->uses[i].adapter];
        if (a->a == index || a->b == index) index = all->uses[i].parameter;
    }
    return m->params.specs[index].name;
}

static bool tensors_is_copy(const sg_model *m, const void *memory)
{
    for (size_t i = 0; i < m->copy_count; i++)
        if (m->copies[i].memory == memory) return true;
    return false;
}

// Whether a parameter is read from a mapped file.
static bool tensors_in_file(const sg_model *m, size_t i)
{
    if (m->file == NULL || (m->adapters != NULL && i >= m->adapters->first)) return false;
    if (!sg_narrow_has(&m->narrow, i))
        return (m->storage.parts == NULL || m->storage.parts[i] == NULL) &&
               !tensors_is_copy(m, m->values[i]);
    const uintptr_t rows = (uintptr_t)m->narrow.items[i].rows;
    const uintptr_t memory = (uintptr_t)m->narrow.memory;
    const bool made = rows >= memory && rows - memory < m->narrow.bytes;
    return !made && !tensors_is_copy(m, m->narrow.items[i].rows);
}

sg_status sg_model_tensor_info(const sg_model *m, size_t index, sg_tensor_info *info, sg_error *err)
{
    SG_TRY(tensors_check_index(m, index, err));
    const sg_param_spec *spec = &m->params.specs[index];
    const int64_t columns = tensors_columns(spec);
    *info = (sg_tensor_info){.name = spec->name,
                             .layer = tensors_layer(tensors_owner(m, index)),
                             .rank = spec->rank,
                             .rows = spec->count / columns,
                             .columns = columns,
                             .weights = tensors_type(m, index),
                             .bytes = sg_narrow_has(&m->narrow, index)
                                          ? sg_narrow_bytes(&m->narrow, &m->params, index)
                                          : spec->count * (int64_t)sizeof(sg_real),
                             .in_file = tensors_in_file(m, index)};
    for (int i = 0; i < SG_RANK_MAX; i++)
        info->shape[i] = i < spec->rank ? spec->shape[i] : 1;
    return SG_OK;
}

// ---- reading ------------------------------------------------------------------------------------

void sg_model_rows(const sg_model *m, size_t index, int64_t first, int64_t count, sg_real *to)
{
    const int64_t d = tensors_columns(&m->params.specs[index]);
    if (sg_narrow_has(&m->narrow, index))
        sg_stored_read(m->context->compute.kernels, to, &m->narrow.items[index], first, count, d);
    else
        memcpy(to, m->values[index] + first * d, (size_t)(count * d) * sizeof *to);
}

static sg_status tensors_check_rows(const sg_model *m, size_t index, int64_t first, int64_t rows,
                                    sg_error *err)
{
    SG_TRY(tensors_check_index(m, index, err));
    const sg_param_spec *spec = &m->params.specs[index];
    const int64_t all = spec->count / tensors_columns(spec);
    if (first >= 0 && first < all && rows >= 1 && rows <= all - first) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "tensor %s: found %lld rows from %lld on, expected at least 1 of its %lld",
                   spec->name, (long long)rows, (long long)first, (long long)all);
}

// Rows that are converted at a time.
static int64_t tensors_rows_of_piece(int64_t columns, int64_t rows)
{
    return sg_min(columns < tensors_piece ? tensors_piece / columns : 1, rows);
}

sg_status sg_model_tensor_read(const sg_model *m, size_t index, int64_t first, int64_t rows,
                               float *values, sg_error *err)
{
    SG_TRY(tensors_check_rows(m, index, first, rows, err));
#ifdef SG_REAL_DOUBLE
    const int64_t d = tensors_columns(&m->params.specs[index]);
    sg_real *wide = sg_alloc_array((size_t)(rows * d), sizeof *wide);
    if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for rows of a tensor");
    sg_model_rows(m, index, first, rows, wide);
    for (int64_t i = 0; i < rows * d; i++)
        values[i] = (float)wide[i];
    sg_free(wide);
#else
    sg_model_rows(m, index, first, rows, values);
#endif
    return SG_OK;
}

// ---- memory of its own for what lies in a file --------------------------------------------------

static void tensors_gather(const sg_stored *w, int64_t rows, int64_t d, unsigned char *to)
{
    const size_t bytes = sg_stored_row_bytes(w->type, d);
    for (int64_t i = 0; i < rows;) {
        const sg_stored part = sg_stored_at(w, i, d);
        const int64_t run = sg_stored_run(&part, rows - i);
        memcpy(to + (size_t)i * bytes, part.rows, (size_t)run * bytes);
        i += run;
    }
}

// Sessions have graphs that read the file: `layout` tells them.
static sg_status tensors_own(sg_model *m, size_t i, sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const int64_t d = tensors_columns(spec), rows = spec->count / d;
    if (!tensors_in_file(m, i)) return SG_OK;
    sg_stored now = {.rows = m->values[i]};
    if (sg_narrow_has(&m->narrow, i)) now = m->narrow.items[i];
    const size_t bytes = (size_t)rows * sg_stored_row_bytes(now.type, d);
    if (!sg_grow((void **)&m->copies, &m->copy_capacity, m->copy_count + 1, sizeof *m->copies))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", spec->name);
    void *memory = sg_alloc_big(bytes);
    if (memory == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: %s takes %zu bytes", spec->name, bytes);
    m->copies[m->copy_count++] = (sg_model_copy){memory, bytes};
    tensors_gather(&now, rows, d, memory);
    if (now.type != SG_WEIGHTS_F32) {
        m->narrow.items[i] = (sg_stored){.type = now.type, .rows = memory};
    } else {
        if (sg_narrow_has(&m->narrow, i)) {
            m->narrow.items[i] = (sg_stored){0};
            m->narrow.elements -= spec->count;
        }
        m->values[i] = memory;
    }
    m->layout++;
    return SG_OK;
}

// ---- writing ------------------------------------------------------------------------------------

typedef struct tensors_writing {
    const sg_model *model;
    const sg_param_spec *spec;
    size_t index;
    int64_t first, rows, columns, most; // rows of a piece
    const float *values;
    sg_real *wide, *back; // (most, columns)
    sg_stored scratch;    // (most, columns) as the parameter is stored
    double rounding;      // by how much the storage misses the values at most
    sg_error *err;
} tensors_writing;

static bool tensors_can_be_made(sg_weights type)
{
    return sg_stored_is_choice(type) || type == SG_WEIGHTS_F16 || type == SG_WEIGHTS_Q8_0;
}

static sg_status tensors_check_finite(const tensors_writing *w)
{
    for (int64_t i = 0; i < w->rows * w->columns; i++)
        if (!isfinite(w->values[i]))
            return sg_fail(w->err, SG_ERR_NUMERIC,
                           "tensor %s: row %lld, column %lld: found %g, expected a finite number",
                           w->spec->name, (long long)(w->first + i / w->columns),
                           (long long)(i % w->columns), (double)w->values[i]);
    return SG_OK;
}

static sg_status tensors_scratch(tensors_writing *w)
{
    const sg_weights type = tensors_type(w->model, w->index);
    const size_t values = (size_t)(w->most * w->columns);
    const size_t rows = (size_t)w->most * sg_stored_row_bytes(type, w->columns);
    const size_t scales = (size_t)w->most * sg_stored_scale_bytes(type, w->columns);
    w->wide = sg_alloc_array(values, sizeof *w->wide);
    w->back = sg_alloc_array(values, sizeof *w->back);
    w->scratch = (sg_stored){.type = type, .rows = sg_alloc_array(rows, 1)};
    if (scales > 0) w->scratch.scales = sg_alloc_array(scales, 1);
    if (w->wide && w->back && w->scratch.rows && (scales == 0 || w->scratch.scales)) return SG_OK;
    return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for rows of %s", w->spec->name);
}

// Rows [at, at + count) of those that are written, as sg_real.
static void tensors_take(const tensors_writing *w, int64_t at, int64_t count)
{
    const float *from = w->values + at * w->columns;
    for (int64_t i = 0; i < count * w->columns; i++)
        w->wide[i] = (sg_real)from[i];
}

// What becomes of the values, without writing them.
static sg_status tensors_round(tensors_writing *w)
{
    const sg_compute compute = w->model->context->compute;
    for (int64_t at = 0; at < w->rows; at += w->most) {
        const int64_t count = sg_min(w->most, w->rows - at);
        tensors_take(w, at, count);
        sg_stored_write(compute, &w->scratch, 0, count, w->columns, w->wide);
        sg_stored_read(compute.kernels, w->back, &w->scratch, 0, count, w->columns);
        for (int64_t i = 0; i < count * w->columns; i++) {
            const double miss = fabs((double)w->back[i] - (double)w->wide[i]);
            if (!isfinite(miss))
                return sg_fail(w->err, SG_ERR_ARGUMENT,
                               "tensor %s: row %lld: found %g, expected a number that %s has",
                               w->spec->name, (long long)(w->first + at + i / w->columns),
                               (double)w->wide[i], sg_weights_name(w->scratch.type));
            if (miss > w->rounding) w->rounding = miss;
        }
    }
    return SG_OK;
}

static sg_status tensors_check_values(tensors_writing *w, bool exact)
{
    SG_TRY(tensors_check_finite(w));
    SG_TRY(tensors_scratch(w));
    if (w->scratch.type != SG_WEIGHTS_F32) SG_TRY(tensors_round(w));
    if (!exact || w->rounding == 0) return SG_OK;
    return sg_fail(w->err, SG_ERR_ARGUMENT,
                   "tensor %s: found values that %s rounds by up to %g, expected such that it "
                   "holds exactly",
                   w->spec->name, sg_weights_name(w->scratch.type), w->rounding);
}

static void tensors_put(const tensors_writing *w)
{
    const sg_model *m = w->model;
    sg_stored to = {.rows = m->values[w->index]};
    if (sg_narrow_has(&m->narrow, w->index)) to = m->narrow.items[w->index];
    for (int64_t at = 0; at < w->rows; at += w->most) {
        const int64_t count = sg_min(w->most, w->rows - at);
        tensors_take(w, at, count);
        sg_stored_write(m->context->compute, &to, w->first + at, count, w->columns, w->wide);
    }
}

sg_status sg_model_tensor_write(sg_model *m, const char *name, int64_t first, int64_t rows,
                                const float *values, double *rounding, sg_error *err)
{
    size_t index;
    SG_TRY(sg_model_tensor_find(m, name, &index, err));
    SG_TRY(tensors_check_rows(m, index, first, rows, err));
    if (!tensors_can_be_made(tensors_type(m, index)))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "tensor %s: found it stored as %s, expected f32, bf16, f16, int8 or q8_0: "
                       "open the model with one of those to write it",
                       name, sg_weights_name(tensors_type(m, index)));
    const sg_param_spec *spec = &m->params.specs[index];
    const int64_t columns = tensors_columns(spec);
    tensors_writing w = {.model = m,
                         .spec = spec,
                         .index = index,
                         .first = first,
                         .rows = rows,
                         .columns = columns,
                         .most = tensors_rows_of_piece(columns, rows),
                         .values = values,
                         .err = err};
    sg_status status = tensors_check_values(&w, rounding == NULL);
    if (status == SG_OK) status = tensors_own(m, index, err);
    if (status == SG_OK) {
        tensors_put(&w);
        sg_model_touch(m);
        if (rounding != NULL) *rounding = w.rounding;
    }
    sg_free(w.wide);
    sg_free(w.back);
    sg_free(w.scratch.rows);
    sg_free(w.scratch.scales);
    return status;
}
