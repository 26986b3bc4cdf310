// Weights in memory: fresh, copied from a file, or mapped from one; and saving them. Looking at
// them and writing them by name is model_tensors.c.
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "format/json.h"
#include "kernel/stored.h"
#include "model/config.h"
#include "model/tensor_read.h"
#include "text/tokenizer.h"

enum {
    model_piece = 1 << 20 // weights that are widened at a time on their way to narrow ones
};

#ifdef SG_REAL_DOUBLE
static const sg_dtype model_dtype = SG_DTYPE_F64;
#else
static const sg_dtype model_dtype = SG_DTYPE_F32;
#endif

static const sg_allocator *model_allocator(const sg_model *m)
{
    return m->context->compute.allocator;
}

static sg_status model_make(sg_context *context, const sg_config *config, sg_model **out,
                            sg_error *err)
{
    *out = NULL;
    sg_model *m = sg_alloc_zero(1, sizeof *m);
    if (m == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    m->context = context;
    m->config = *config;
    sg_graph_cache_open(&m->graphs, m, &(sg_graph_options){0});
    pthread_mutex_init(&m->screens_mutex, NULL);
    sg_status status = sg_config_complete(&m->config, err);
    m->ends = sg_end_tokens_one(m->config.eos_token_id);
    if (status == SG_OK) status = sg_config_params(&m->config, &m->params, err);
    if (status == SG_OK) {
        m->values = sg_alloc_zero(m->params.count, sizeof *m->values);
        if (m->values == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    }
    if (status != SG_OK) {
        sg_model_free(m);
        return status;
    }
    *out = m;
    return SG_OK;
}

// The angles of all positions: last, after a file has been found to fit, since it takes time.
static sg_status model_rope(sg_model *m, sg_error *err)
{
    if (!sg_config_is_rotary(&m->config)) return SG_OK;
    sg_rope_options options = sg_config_rope(&m->config);
    options.allocator = model_allocator(m);
    return sg_rope_table_new(&m->rope, m->config.max_position_embeddings, &options, err);
}

// Writable memory for all parameters that are not narrow.
static sg_status model_storage(sg_model *m, sg_error *err)
{
    bool *narrow = sg_alloc_zero(m->params.count, sizeof *narrow);
    if (narrow == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    for (size_t i = 0; i < m->params.count; i++)
        narrow[i] = sg_narrow_has(&m->narrow, i);
    sg_status status =
        sg_param_block_new(&m->params, "weights", narrow, model_allocator(m), &m->storage, err);
    sg_free(narrow);
    SG_TRY(status);
    memcpy(m->values, m->storage.parts, m->params.count * sizeof *m->values);
    return SG_OK;
}

sg_status sg_model_new(sg_context *context, const sg_config *config, uint64_t seed,
                       sg_model **model, sg_error *err)
{
    SG_TRY(model_make(context, config, model, err));
    sg_status status = model_storage(*model, err);
    if (status == SG_OK) status = model_rope(*model, err);
    if (status != SG_OK) {
        sg_model_free(*model);
        *model = NULL;
        return status;
    }
    for (size_t i = 0; i < (*model)->params.count; i++)
        sg_param_init(&(*model)->params.specs[i], seed, context->compute.pool, (*model)->values[i]);
    return SG_OK;
}

void sg_model_free(sg_model *m)
{
    if (m == NULL) return;
    sg_graph_cache_close(&m->graphs);
    sg_model_drop_adapters(m);
    sg_param_block_free(&m->storage);
    sg_free(m->values);
    sg_narrow_set_free(&m->narrow);
    sg_narrow_set_free(&m->screens);
    sg_column_set_free(&m->columns);
    sg_param_list_free(&m->params);
    sg_rope_table_free(&m->rope);
    sg_model_file_close(m->file);
    for (size_t i = 0; i < m->copy_count; i++)
        sg_free_big(m->copies[i].memory, m->copies[i].bytes);
    sg_free(m->copies);
    pthread_mutex_destroy(&m->screens_mutex);
    sg_free(m);
}

const sg_config *sg_model_config(const sg_model *model)
{
    return &model->config;
}

const int32_t *sg_model_ends(const sg_model *model, size_t *count)
{
    *count = model->ends.count;
    return model->ends.ids;
}

// ---- opening ----------------------------------------------------------------------------------

// The values of one parameter, copied.
static sg_status model_read(const sg_model *m, const sg_tensor_map *map, const sg_tensors *tensors,
                            size_t i, sg_real *to, sg_error *err)
{
    sg_pieces pieces = {0};
    const sg_param_spec *spec = &m->params.specs[i];
    sg_status status = sg_tensor_map_pieces(map, &m->config, spec, tensors, &pieces, err);
    if (status == SG_OK) status = sg_pieces_read(&pieces, spec, to, err);
    sg_pieces_free(&pieces);
    return status;
}

// Writable memory for what is not narrow, filled from the tensors.
static sg_status model_read_all(sg_model *m, const sg_tensor_map *map, const sg_tensors *tensors,
                                sg_error *err)
{
    SG_TRY(model_storage(m, err));
    for (size_t i = 0; i < m->params.count; i++)
        if (!sg_narrow_has(&m->narrow, i))
            SG_TRY(model_read(m, map, tensors, i, m->values[i], err));
    return SG_OK;
}

sg_status sg_model_from_file(sg_context *context, const sg_config *config,
                             const sg_safetensors *file, sg_model **model, sg_error *err)
{
    const sg_tensor_map *map = sg_tensor_map_find("sgatlin");
    const sg_tensors tensors = sg_tensors_of_safetensors(file);
    SG_TRY(model_make(context, config, model, err));
    sg_model *m = *model;
    sg_status status = sg_model_file_check(map, &tensors, &m->config, &m->params, err);
    if (status == SG_OK) status = model_read_all(m, map, &tensors, err);
    if (status == SG_OK) status = model_rope(m, err);
    if (status == SG_OK) return SG_OK;
    sg_model_free(m);
    *model = NULL;
    return status;
}

// Points the weights into the mapped file where all of them can stay there as values.
static sg_status model_map(sg_model *m, bool *mapped, sg_error *err)
{
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    *mapped = true;
    for (size_t i = 0; i < m->params.count && *mapped && status == SG_OK; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        status =
            sg_tensor_map_pieces(m->file->map, &m->config, spec, &m->file->tensors, &pieces, err);
        if (status != SG_OK) break;
        const sg_piece *piece = &pieces.items[0];
        *mapped = pieces.count == 1 && !piece->transposed && piece->row == 0 &&
                  piece->view->dtype == model_dtype && sg_tensor_view_is_aligned(piece->view);
        if (*mapped) m->values[i] = (sg_real *)(uintptr_t)piece->view->data;
    }
    sg_pieces_free(&pieces);
    return status;
}

// Lets go of a file that nothing points into.
static void model_close_file(sg_model *m)
{
    sg_model_file_close(m->file);
    m->file = NULL;
}

static sg_status model_fill(sg_model *m, bool copy, sg_error *err)
{
    bool mapped = false;
    if (!copy) SG_TRY(model_map(m, &mapped, err));
    if (mapped) return SG_OK;
    SG_TRY(model_read_all(m, m->file->map, &m->file->tensors, err));
    model_close_file(m);
    return SG_OK;
}

// A model that its file fits, still without weights; the file is the model's.
static sg_status model_of_file(sg_context *context, sg_model_file *file, sg_model **model,
                               sg_error *err)
{
    sg_status status = model_make(context, &file->config, model, err);
    if (status != SG_OK) {
        sg_model_file_close(file);
        return status;
    }
    (*model)->file = file;
    (*model)->map = file->map;
    (*model)->ends = file->ends;
    status =
        sg_model_file_check(file->map, &file->tensors, &(*model)->config, &(*model)->params, err);
    if (status == SG_OK) {
        sg_model_file_tell(file, context);
        return SG_OK;
    }
    sg_model_free(*model);
    *model = NULL;
    return status;
}

static sg_status model_open_file(sg_context *context, const char *path, sg_model **model,
                                 sg_error *err)
{
    sg_model_file *file;
    *model = NULL;
    SG_TRY(sg_model_file_open(path, &file, err));
    return model_of_file(context, file, model, err);
}

// The model, or nothing where `status` says so.
static sg_status model_opened(sg_model **model, sg_status status, sg_error *err)
{
    if (status == SG_OK) status = model_rope(*model, err);
    if (status == SG_OK) return SG_OK;
    sg_model_free(*model);
    *model = NULL;
    return status;
}

sg_status sg_model_open(sg_context *context, const char *path, sg_model **model, sg_error *err)
{
    SG_TRY(model_open_file(context, path, model, err));
    return model_opened(model, model_fill(*model, false, err), err);
}

sg_status sg_model_take_file(sg_context *context, sg_model_file *file, bool copy, sg_model **model,
                             sg_error *err)
{
    SG_TRY(model_of_file(context, file, model, err));
    return model_opened(model, model_fill(*model, copy, err), err);
}

// ---- weights as they are stored ---------------------------------------------------------------

// One of as many as there are, with room for the parts of those in several.
static sg_status model_stored_set(sg_model *m, sg_error *err)
{
    size_t n = m->params.count, parts = 0;
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    m->narrow = (sg_narrow_set){.type = SG_WEIGHTS_F32, .count = n};
    m->narrow.items = sg_alloc_zero(n, sizeof *m->narrow.items);
    if (m->narrow.items == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    for (size_t i = 0; i < n && status == SG_OK; i++) {
        status = sg_tensor_map_pieces(m->file->map, &m->config, &m->params.specs[i],
                                      &m->file->tensors, &pieces, err);
        parts += pieces.count;
    }
    sg_pieces_free(&pieces);
    SG_TRY(status);
    m->narrow.parts = sg_alloc_zero(parts, sizeof *m->narrow.parts);
    return m->narrow.parts ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
}

// Where a readable parameter can stay in the file it does; the others become values.
static sg_status model_in_place(sg_model *m, const bool *readable, sg_error *err)
{
    const void **parts = m->narrow.parts;
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < m->params.count && status == SG_OK; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        sg_stored stored;
        status =
            sg_tensor_map_pieces(m->file->map, &m->config, spec, &m->file->tensors, &pieces, err);
        if (status != SG_OK || !readable[i] || !sg_pieces_in_place(&pieces, spec, parts, &stored))
            continue;
        if (!sg_stored_is_narrow(&stored)) continue; // values: below, if not all of them are
        m->narrow.items[i] = stored;
        m->narrow.elements += spec->count;
        parts += pieces.count;
    }
    sg_pieces_free(&pieces);
    if (status == SG_OK) status = model_storage(m, err);
    return status;
}

// Values that can stay in the file as they are; all others are copied.
static sg_status model_values(sg_model *m, sg_error *err)
{
    sg_pieces pieces = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < m->params.count && status == SG_OK; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        if (sg_narrow_has(&m->narrow, i)) continue;
        status =
            sg_tensor_map_pieces(m->file->map, &m->config, spec, &m->file->tensors, &pieces, err);
        if (status == SG_OK) status = sg_pieces_read(&pieces, spec, m->values[i], err);
    }
    sg_pieces_free(&pieces);
    return status;
}

static sg_status model_fill_stored(sg_model *m, sg_error *err)
{
    bool mapped;
    SG_TRY(model_map(m, &mapped, err));
    if (mapped) return SG_OK;
    bool *readable = sg_alloc_zero(m->params.count, sizeof *readable);
    if (readable == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    sg_status status = sg_narrow_readable(&m->config, &m->params, readable, err);
    if (status == SG_OK) status = model_stored_set(m, err);
    if (status == SG_OK) status = model_in_place(m, readable, err);
    sg_free(readable);
    return status == SG_OK ? model_values(m, err) : status;
}

sg_status sg_model_open_stored(sg_context *context, const char *path, sg_model **model,
                               sg_error *err)
{
    SG_TRY(model_open_file(context, path, model, err));
    return model_opened(model, model_fill_stored(*model, err), err);
}

// ---- narrow weights ---------------------------------------------------------------------------

// Rounds a parameter that is one tensor, a piece at a time, and any other as a whole.
static sg_status model_narrow_tensor(const sg_model *m, size_t i, const sg_pieces *pieces,
                                     sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const sg_compute compute = m->context->compute;
    const int64_t d = spec->shape[spec->rank - 1], rows = spec->count / d;
    for (size_t p = 0; p < pieces->count; p++) {
        const sg_piece *piece = &pieces->items[p];
        if (piece->transposed) continue;
        const int64_t most = d < model_piece ? model_piece / d : 1;
        sg_real *wide = sg_alloc_array((size_t)(sg_min(most, piece->count) * d), sizeof *wide);
        if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", spec->name);
        sg_status status = SG_OK;
        for (int64_t first = 0; first < piece->count && status == SG_OK; first += most) {
            sg_piece part = *piece;
            part.first = 0;
            part.row += first;
            part.count = sg_min(most, piece->count - first);
            status = sg_pieces_read(&(sg_pieces){.items = &part, .count = 1}, spec, wide, err);
            if (status == SG_OK)
                sg_stored_write(compute, &m->narrow.items[i], piece->first + first, part.count, d,
                                wide);
        }
        sg_free(wide);
        SG_TRY(status);
    }
    if (!pieces->items[0].transposed) return SG_OK;
    sg_real *wide = sg_alloc_array((size_t)spec->count, sizeof *wide);
    if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", spec->name);
    sg_status status = sg_pieces_read(pieces, spec, wide, err);
    if (status == SG_OK) sg_stored_write(compute, &m->narrow.items[i], 0, rows, d, wide);
    sg_free(wide);
    return status;
}

// Whether a parameter's one tensor has the wanted type already.
static bool model_has_type(const sg_pieces *pieces, const sg_param_spec *spec, sg_weights weights,
                           sg_stored *stored)
{
    return pieces->count == 1 && sg_pieces_in_place(pieces, spec, NULL, stored) &&
           stored->type == weights && weights == SG_WEIGHTS_BF16;
}

// bf16 weights of the file are read where they lie; the file is let go where there are none.
static sg_status model_fill_narrow(sg_model *m, sg_weights weights, bool *mapped, sg_error *err)
{
    const sg_param_list *params = &m->params;
    sg_pieces pieces = {0};
    sg_stored stored;
    bool any = false;
    sg_status status = SG_OK;
    for (size_t i = 0; i < params->count && status == SG_OK; i++) {
        status = sg_tensor_map_pieces(m->file->map, &m->config, &params->specs[i],
                                      &m->file->tensors, &pieces, err);
        mapped[i] = status == SG_OK && model_has_type(&pieces, &params->specs[i], weights, &stored);
    }
    if (status == SG_OK)
        status = sg_narrow_set_of_model(&m->config, params, SG_NARROW_DECODING, mapped, weights,
                                        model_allocator(m), &m->narrow, err);
    if (status == SG_OK) status = model_storage(m, err);
    for (size_t i = 0; i < params->count && status == SG_OK; i++) {
        const sg_param_spec *spec = &params->specs[i];
        status =
            sg_tensor_map_pieces(m->file->map, &m->config, spec, &m->file->tensors, &pieces, err);
        if (status != SG_OK) break;
        if (!sg_narrow_has(&m->narrow, i)) {
            status = sg_pieces_read(&pieces, spec, m->values[i], err);
        } else if (mapped[i] && model_has_type(&pieces, spec, weights, &stored)) {
            m->narrow.items[i].rows = stored.rows;
            any = true;
        } else {
            status = model_narrow_tensor(m, i, &pieces, err);
        }
    }
    sg_pieces_free(&pieces);
    if (status == SG_OK && !any) model_close_file(m);
    return status;
}

sg_status sg_model_open_narrow(sg_context *context, const char *path, sg_weights weights,
                               sg_model **model, sg_error *err)
{
    *model = NULL;
    if (sg_weights_name(weights) == NULL || !sg_stored_is_choice(weights))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "weights: found %d, expected SG_WEIGHTS_F32, SG_WEIGHTS_BF16 or "
                       "SG_WEIGHTS_INT8",
                       (int)weights);
    if (weights == SG_WEIGHTS_F32) return sg_model_open(context, path, model, err);
    SG_TRY(model_open_file(context, path, model, err));
    sg_model *m = *model;
    bool *mapped = sg_alloc_zero(m->params.count, sizeof *mapped);
    sg_status status = mapped != NULL ? model_fill_narrow(m, weights, mapped, err)
                                      : sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    sg_free(mapped);
    return model_opened(model, status, err);
}

sg_status sg_model_narrow(sg_model *m, sg_weights weights, sg_error *err)
{
    if (weights == SG_WEIGHTS_F32) return SG_OK;
    sg_narrow_set none = m->narrow;
    sg_real **values = m->values;
    sg_param_block storage = m->storage;
    size_t n = m->params.count;
    SG_TRY(sg_narrow_set_of_model(&m->config, &m->params, SG_NARROW_DECODING, NULL, weights,
                                  model_allocator(m), &m->narrow, err));
    m->values = sg_alloc_zero(n, sizeof *m->values);
    sg_status status = m->values != NULL ? model_storage(m, err)
                                         : sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    if (status != SG_OK) {
        sg_free(m->values);
        sg_narrow_set_free(&m->narrow);
        m->narrow = none;
        m->values = values;
        m->storage = storage;
        return status;
    }
    sg_narrow_set_write(&m->narrow, &m->params, values, m->context->compute);
    for (size_t i = 0; i < n; i++)
        if (m->values[i] != NULL)
            memcpy(m->values[i], values[i], (size_t)m->params.specs[i].count * sizeof(sg_real));
    sg_free(values);
    sg_param_block_free(&storage);
    sg_narrow_set_free(&m->screens); // of weights in other places, and another choice of them
    sg_column_set_free(&m->columns);
    m->version++;
    m->layout++;
    return SG_OK;
}

// ---- copies that screen -----------------------------------------------------------------------

static sg_status model_screen_tensor(const sg_model *m, size_t i, sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const int64_t d = spec->shape[spec->rank - 1], rows = spec->count / d;
    const int64_t most = d < model_piece ? model_piece / d : 1;
    const sg_stored *to = &m->screens.items[i];
    if (!sg_narrow_has(&m->narrow, i)) {
        sg_stored_write(m->context->compute, to, 0, rows, d, m->values[i]);
        return SG_OK;
    }
    sg_real *wide = sg_alloc_array((size_t)(sg_min(most, rows) * d), sizeof *wide);
    if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", spec->name);
    for (int64_t first = 0; first < rows; first += most) {
        const int64_t count = sg_min(most, rows - first);
        sg_model_rows(m, i, first, count, wide);
        sg_stored_write(m->context->compute, to, first, count, d, wide);
    }
    sg_free(wide);
    return SG_OK;
}

// Keys that are not in int8 already, and lie in one place.
static bool model_screens_tensor(const sg_model *m, size_t i)
{
    const sg_stored *narrow = sg_narrow_has(&m->narrow, i) ? &m->narrow.items[i] : NULL;
    return m->params.specs[i].keys &&
           (narrow == NULL || (narrow->type != SG_WEIGHTS_INT8 && narrow->parts == NULL));
}

void sg_model_enter(sg_model *m)
{
    atomic_fetch_add(&m->users, 1);
}

void sg_model_leave(sg_model *m)
{
    if (atomic_fetch_sub(&m->users, 1) == 1) sg_graph_cache_clear(&m->graphs);
}

void sg_model_touch(sg_model *m)
{
    m->version++;
}

// The copies that are there, from weights of a later version.
static sg_status model_screen_anew(sg_model *m, sg_error *err)
{
    for (size_t i = 0; i < m->screens.count; i++)
        if (sg_narrow_has(&m->screens, i)) SG_TRY(model_screen_tensor(m, i, err));
    m->screens_version = m->version;
    return SG_OK;
}

static sg_status model_screen_first(sg_model *m, sg_error *err)
{
    const size_t n = m->params.count;
    size_t first = 0;
    while (first < n && !model_screens_tensor(m, first))
        first++;
    if (first == n) return SG_OK;
    bool *mask = sg_alloc_zero(n, sizeof *mask);
    if (mask == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for copies of keys");
    for (size_t i = first; i < n; i++)
        mask[i] = model_screens_tensor(m, i);
    sg_status status = sg_narrow_set_new(&m->params, mask, NULL, SG_WEIGHTS_INT8,
                                         model_allocator(m), &m->screens, err);
    for (size_t i = first; status == SG_OK && i < n; i++)
        if (mask[i]) status = model_screen_tensor(m, i, err);
    if (status != SG_OK) sg_narrow_set_free(&m->screens);
    m->screens_version = m->version;
    sg_free(mask);
    return status;
}

sg_status sg_model_screen(sg_model *m, sg_error *err)
{
    sg_status status = SG_OK;
    // The keys of a model with adapters are not what the scores are made of alone.
    if (m->no_key_copies || m->adapters != NULL) return SG_OK;
    pthread_mutex_lock(&m->screens_mutex); // the first sessions may come on several threads
    if (m->screens.items == NULL)
        status = model_screen_first(m, err);
    else if (m->screens_version != m->version)
        status = model_screen_anew(m, err);
    pthread_mutex_unlock(&m->screens_mutex);
    return status;
}

sg_status sg_model_set_key_copies(sg_model *m, bool on, sg_error *err)
{
    if (atomic_load(&m->users) > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "copies of keys: found sessions or batches of the model, expected none");
    m->no_key_copies = !on;
    if (!on) sg_narrow_set_free(&m->screens);
    return SG_OK;
}

sg_status sg_model_set_compute(sg_model *m, sg_compute_kind compute, sg_compute_kind logits,
                               sg_error *err)
{
    if (sg_compute_kind_name(compute) == NULL || sg_compute_kind_name(logits) == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "compute: found %d and %d, expected values of "
                       "sg_compute_kind",
                       (int)compute, (int)logits);
    if (atomic_load(&m->users) > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "compute: found sessions or batches of the model, expected none");
    m->compute = compute;
    m->logits_compute = logits;
    return SG_OK;
}

void sg_model_compute(const sg_model *m, sg_compute_kind *compute, sg_compute_kind *logits)
{
    if (compute != NULL) *compute = m->compute;
    if (logits != NULL) *logits = m->logits_compute;
}

const sg_stored *sg_model_screens(const sg_model *m)
{
    return m->screens.items;
}

int64_t sg_model_weight_bytes(const sg_model *m)
{
    int64_t bytes = (m->params.total - m->narrow.elements) * (int64_t)sizeof(sg_real);
    for (size_t i = 0; i < m->params.count; i++)
        if (sg_narrow_has(&m->narrow, i)) bytes += sg_narrow_bytes(&m->narrow, &m->params, i);
    return bytes + (int64_t)(m->screens.bytes + m->columns.bytes);
}

// ---- saving -----------------------------------------------------------------------------------

void sg_model_views(const sg_model *m, sg_tensor_view *views)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        views[i] =
            sg_tensor_view_make(spec->name, model_dtype, spec->rank, spec->shape, m->values[i]);
    }
}

sg_status sg_model_config_text(const sg_model *model, char **text, sg_error *err)
{
    json_t *object = sg_config_json(&model->config);
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for config.json");
    sg_status status = sg_json_text(object, true, text, err);
    json_decref(object);
    return status;
}

sg_status sg_model_write(const sg_model *model, const char *tokenizer, size_t tokenizer_bytes,
                         const char *folder, sg_error *err)
{
    if (model->adapters != NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "found a model with adapters, expected one without: merge them to save it");
    if (model->narrow.items != NULL)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "found a model with %s weights, expected f32 ones: open it in f32 to save it",
            sg_weights_name(model->narrow.type));
    size_t n = model->params.count;
    char *config = NULL;
    sg_tensor_view *views = sg_alloc_array(n, sizeof *views);
    sg_status status = views ? sg_model_config_text(model, &config, err)
                             : sg_fail(err, SG_ERR_MEMORY, "out of memory for the model");
    if (status == SG_OK) {
        sg_model_views(model, views);
        const sg_named_bytes files[] = {{"config.json", config, strlen(config)},
                                        {"tokenizer.json", tokenizer, tokenizer_bytes}};
        const sg_key_value metadata[] = {{"format", "pt"}};
        status =
            sg_model_folder_save(folder, 0, views, n, metadata, 1, files, tokenizer ? 2 : 1, err);
    }
    sg_free(views);
    sg_free(config);
    return status;
}

sg_status sg_model_save(const sg_model *model, const sg_tokenizer *tokenizer, const char *folder,
                        sg_error *err)
{
    sg_claim *claim;
    SG_TRY(sg_folder_claim(folder, true, &claim, err));
    sg_status status = sg_model_write(model, tokenizer ? tokenizer->json : NULL,
                                      tokenizer ? tokenizer->json_bytes : 0, folder, err);
    sg_folder_release(claim);
    return status;
}
