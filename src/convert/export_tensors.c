#include "convert/export_tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/stored.h"
#include "model/config.h"
#include "model/tensor_read.h"

static int64_t export_width(const sg_param_spec *spec)
{
    return spec->rank > 1 ? spec->shape[spec->rank - 1] : 1;
}

static sg_status export_no_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the tensors of a model");
}

static bool export_ends(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

// ---- which tensors, of which parts --------------------------------------------------------------

static sg_status export_collect(sg_export *o, const sg_tensor_map *map, sg_error *err)
{
    for (size_t i = 0; i < o->params.count; i++) {
        SG_TRY(sg_tensor_map_pieces(map, &o->file->config, &o->params.specs[i], NULL, &o->pieces,
                                    err));
        if (!sg_grow((void **)&o->parts, &o->part_capacity, o->part_count + o->pieces.count,
                     sizeof *o->parts))
            return export_no_memory(err);
        for (size_t p = 0; p < o->pieces.count; p++)
            o->parts[o->part_count++] = (sg_export_part){i, o->pieces.items[p]};
    }
    return SG_OK;
}

// By name; parts of one tensor in the order of our parameters.
static int export_compare(const void *a, const void *b)
{
    const sg_export_part *x = a, *y = b;
    int by_name = strcmp(x->piece.tensor, y->piece.tensor);
    if (by_name != 0) return by_name;
    if (x->param != y->param) return x->param < y->param ? -1 : 1;
    return x->piece.first < y->piece.first ? -1 : x->piece.first > y->piece.first;
}

// Runs of parts of one tensor: first_part.
static sg_status export_group(sg_export *o, sg_error *err)
{
    qsort(o->parts, o->part_count, sizeof *o->parts, export_compare);
    o->first_part = sg_alloc_array(o->part_count + 1, sizeof *o->first_part);
    if (o->first_part == NULL) return export_no_memory(err);
    for (size_t i = 0; i < o->part_count; i++)
        if (i == 0 || strcmp(o->parts[i].piece.tensor, o->parts[i - 1].piece.tensor) != 0)
            o->first_part[o->count++] = i;
    o->first_part[o->count] = o->part_count;
    return SG_OK;
}

// Where a parameter lies in the open file. Tensors of one parameter follow each other.
static sg_status export_find(sg_export *o, size_t param, sg_error *err)
{
    const sg_model_file *f = o->file;
    if (o->pieces_of == param) return SG_OK;
    o->pieces_of = SIZE_MAX;
    SG_TRY(sg_tensor_map_pieces(f->map, &f->config, &o->params.specs[param], &f->tensors,
                                &o->pieces, err));
    o->pieces_of = param;
    return SG_OK;
}

// The type that a parameter is stored in, if all of it is elements of one floating type.
static sg_status export_stored(sg_export *o, size_t param, sg_dtype *dtype, sg_error *err)
{
    SG_TRY(export_find(o, param, err));
    *dtype = o->pieces.items[0].view->dtype;
    for (size_t i = 1; i < o->pieces.count; i++)
        if (o->pieces.items[i].view->dtype != *dtype) *dtype = SG_DTYPE_F32;
    if (*dtype != SG_DTYPE_BF16 && *dtype != SG_DTYPE_F16) *dtype = SG_DTYPE_F32;
    return SG_OK;
}

static sg_status export_type(sg_export *o, size_t tensor, const sg_export_types *types,
                             sg_dtype *dtype, sg_error *err)
{
    const sg_export_part *first = &o->parts[o->first_part[tensor]];
    bool f32 = false;
    for (const char *const *end = types->f32; end != NULL && *end != NULL; end++)
        f32 = f32 || export_ends(first->piece.tensor, *end);
    *dtype = f32 ? SG_DTYPE_F32 : first->piece.ndim > 1 ? types->matrices : types->vectors;
    if (*dtype != SG_DTYPE_COUNT) return SG_OK;
    SG_TRY(export_stored(o, first->param, dtype, err));
    for (size_t p = o->first_part[tensor] + 1; p < o->first_part[tensor + 1]; p++) {
        sg_dtype other = *dtype;
        if (o->parts[p].param != o->parts[p - 1].param)
            SG_TRY(export_stored(o, o->parts[p].param, &other, err));
        if (other != *dtype) *dtype = SG_DTYPE_F32;
    }
    return SG_OK;
}

// The parts must make up the whole tensor; a rule that leaves a hole is an error of ours.
static sg_status export_check(const sg_export *o, size_t tensor, sg_error *err)
{
    const sg_piece *one = &o->parts[o->first_part[tensor]].piece;
    const int64_t elements = sg_shape_elements(one->ndim, one->shape, 1);
    int64_t found = 0;
    for (size_t p = o->first_part[tensor]; p < o->first_part[tensor + 1]; p++) {
        const sg_piece *piece = &o->parts[p].piece;
        found += piece->count * export_width(&o->params.specs[o->parts[p].param]);
        if (piece->ndim != one->ndim ||
            memcmp(piece->shape, one->shape, (size_t)one->ndim * sizeof *one->shape) != 0)
            found = -elements;
    }
    if (found == elements) return SG_OK;
    return sg_fail(err, SG_ERR_INTERNAL, "tensor %s: the rules do not cover it", one->tensor);
}

static sg_status export_views(sg_export *o, const sg_export_types *types, sg_error *err)
{
    size_t most = 0, narrow = 0;
    int64_t rows = 0;
    o->views = sg_alloc_zero(o->count, sizeof *o->views);
    if (o->views == NULL) return export_no_memory(err);
    for (size_t t = 0; t < o->count; t++) {
        const sg_piece *one = &o->parts[o->first_part[t]].piece;
        sg_dtype dtype;
        SG_TRY(export_check(o, t, err));
        SG_TRY(export_type(o, t, types, &dtype, err));
        sg_tensor_view *view = &o->views[t];
        *view = sg_tensor_view_make(one->tensor, dtype, one->ndim, one->shape, NULL);
        view->source = &o->source;
        const int64_t block = (int64_t)sg_dtype_block(dtype);
        if (one->shape[one->ndim - 1] % block != 0)
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "tensor %s: found rows of %lld, expected a multiple of %lld for %s",
                           one->tensor, (long long)one->shape[one->ndim - 1], (long long)block,
                           sg_dtype_name(dtype));
        const size_t elements = (size_t)sg_tensor_view_elements(view);
        if (elements > most) most = elements;
        if (view->bytes > narrow) narrow = view->bytes;
        o->bytes += (int64_t)view->bytes;
    }
    for (size_t p = 0; p < o->part_count; p++) {
        const int64_t n =
            o->parts[p].piece.count * export_width(&o->params.specs[o->parts[p].param]);
        if (n > rows) rows = n;
    }
    o->wide = sg_alloc_array(most, sizeof *o->wide);
    o->rows = sg_alloc_array((size_t)rows, sizeof *o->rows);
    o->narrow = sg_alloc_array(narrow, 1);
    return o->wide && o->rows && o->narrow ? SG_OK : export_no_memory(err);
}

// ---- making one ---------------------------------------------------------------------------------

// Whether the rows of a parameter are numbers of heads that are rotated.
static bool export_rotates(const sg_export *o, const sg_param_spec *spec)
{
    static const char *const ends[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                       "self_attn.q_proj.bias",   "self_attn.k_proj.bias",
                                       "self_attn.q_norm.weight", "self_attn.k_norm.weight"};
    if (o->pairing == SG_PAIRING_KEPT || !sg_config_is_rotary(&o->file->config)) return false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (export_ends(spec->name, ends[i])) return true;
    return false;
}

// Rows (count, k) of whole heads from `from` to `to`, those that are rotated in their new order.
static void export_pair(const sg_export *o, const sg_real *from, sg_real *to, int64_t count,
                        int64_t k)
{
    const sg_config *c = &o->file->config;
    const int64_t rotated = sg_config_rotary_dim(c), half = rotated / 2;
    for (int64_t i = 0; i < count; i++) {
        const int64_t head = i / c->head_dim * c->head_dim, j = i - head;
        int64_t source = j;
        if (j < rotated && o->pairing == SG_PAIRING_TO_HALVES)
            source = j < half ? 2 * j : 2 * (j - half) + 1;
        if (j < rotated && o->pairing == SG_PAIRING_TO_NEIGHBOURS)
            source = j % 2 == 0 ? j / 2 : half + j / 2;
        memcpy(to + i * k, from + (head + source) * k, (size_t)k * sizeof *to);
    }
}

static sg_status export_fill(sg_export *o, const sg_export_part *part, const sg_tensor_view *view,
                             sg_error *err)
{
    const sg_model_file *f = o->file;
    const sg_param_spec *spec = &o->params.specs[part->param];
    const sg_piece *piece = &part->piece;
    const int64_t k = export_width(spec);
    const int64_t width = view->ndim > 1 ? view->shape[view->ndim - 1] : 1;
    const bool rotates = export_rotates(o, spec);
    sg_real *to = o->wide + piece->row * width;
    SG_TRY(export_find(o, part->param, err));
    if (!rotates && !piece->transposed)
        return sg_pieces_read_rows(&o->pieces, spec, piece->first, piece->count, to, err);
    SG_TRY(sg_pieces_read_rows(&o->pieces, spec, piece->first, piece->count, o->rows, err));
    if (rotates) {
        if (piece->transposed || piece->first % f->config.head_dim != 0 ||
            piece->count % f->config.head_dim != 0)
            return sg_fail(err, SG_ERR_INTERNAL, "tensor %s: is not cut by heads", view->name);
        export_pair(o, o->rows, to, piece->count, k);
        return SG_OK;
    }
    for (int64_t r = 0; r < piece->count; r++)
        for (int64_t j = 0; j < k; j++)
            to[j * width + piece->column + r] = o->rows[r * k + j];
    return SG_OK;
}

// Numbers that the type has no room for would become infinite.
static sg_status export_fits(const sg_export *o, const sg_tensor_view *view, sg_error *err)
{
    const double half = 65504;
    const double most = view->dtype == SG_DTYPE_F16    ? half
                        : view->dtype == SG_DTYPE_Q8_0 ? 127 * half
                                                       : INFINITY;
    const int64_t count = sg_tensor_view_elements(view);
    for (int64_t i = 0; i < count && most < INFINITY; i++)
        if (isfinite(o->wide[i]) && fabs((double)o->wide[i]) > most)
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "tensor %s: found %g, expected at most %g in %s", view->name,
                           (double)o->wide[i], most, sg_dtype_name(view->dtype));
    return SG_OK;
}

// The values in the type of the view.
static const void *export_round(sg_export *o, const sg_tensor_view *view)
{
    const int64_t width = view->ndim > 1 ? view->shape[view->ndim - 1] : view->shape[0];
    const int64_t count = sg_tensor_view_elements(view);
    sg_stored stored = {.rows = o->narrow};
    if (view->dtype == SG_DTYPE_F32) {
#ifdef SG_REAL_DOUBLE
        for (int64_t i = 0; i < count; i++)
            ((float *)o->narrow)[i] = (float)o->wide[i];
        return o->narrow;
#else
        return o->wide;
#endif
    }
    sg_weights_of_dtype(view->dtype, &stored.type);
    sg_stored_write(o->compute, &stored, 0, count / width, width, o->wide);
    return o->narrow;
}

static sg_status export_make(void *user, const sg_tensor_view *view, const void **data,
                             sg_error *err)
{
    sg_export *o = user;
    const size_t t = (size_t)(view - o->views);
    for (size_t p = o->first_part[t]; p < o->first_part[t + 1]; p++)
        SG_TRY(export_fill(o, &o->parts[p], view, err));
    SG_TRY(export_fits(o, view, err));
    *data = export_round(o, view);
    o->done += (int64_t)view->bytes;
    if (o->progress != NULL && !o->progress(o->progress_user, o->done, o->bytes))
        return sg_fail(err, SG_ERR_STOPPED, "stopped; nothing was written");
    return SG_OK;
}

// ---- the whole ----------------------------------------------------------------------------------

sg_status sg_export_new(const sg_model_file *file, const sg_tensor_map *map,
                        const sg_export_types *types, sg_pairing pairing, sg_compute compute,
                        sg_export *out, sg_error *err)
{
    *out = (sg_export){.file = file, .compute = compute, .pairing = pairing, .pieces_of = SIZE_MAX};
    out->source = (sg_tensor_source){export_make, out};
    SG_TRY(sg_config_params(&file->config, &out->params, err));
    SG_TRY(sg_model_file_check(file->map, &file->tensors, &file->config, &out->params, err));
    SG_TRY(export_collect(out, map, err));
    SG_TRY(export_group(out, err));
    return export_views(out, types, err);
}

sg_status sg_export_add(sg_export *o, sg_tensor_view view, sg_error *err)
{
    sg_tensor_view *views = sg_realloc(o->views, (o->count + 1) * sizeof *views);
    if (views == NULL) return export_no_memory(err);
    o->views = views;
    o->views[o->count++] = view;
    o->bytes += (int64_t)view.bytes;
    o->done += (int64_t)view.bytes;
    return SG_OK;
}

void sg_export_free(sg_export *o)
{
    sg_param_list_free(&o->params);
    sg_pieces_free(&o->pieces);
    sg_free(o->parts);
    sg_free(o->first_part);
    sg_free(o->views);
    sg_free(o->wide);
    sg_free(o->rows);
    sg_free(o->narrow);
    *o = (sg_export){0};
}
