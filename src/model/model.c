// Weights in memory: fresh, copied from a file, or mapped from one; and saving them.
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "model/config.h"
#include "text/tokenizer.h"

enum {
    model_config_limit = 16 << 20,
    model_piece = 1 << 20 // weights that are widened at a time on their way to narrow ones
};

#ifdef SG_REAL_DOUBLE
static const sg_dtype model_dtype = SG_DTYPE_F64;
#else
static const sg_dtype model_dtype = SG_DTYPE_F32;
#endif

static sg_status model_make(sg_context *context, const sg_config *config, sg_model **out,
                            sg_error *err)
{
    *out = NULL;
    sg_model *m = sg_alloc_zero(1, sizeof *m);
    if (m == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    m->context = context;
    m->config = *config;
    sg_status status = sg_config_complete(&m->config, err);
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
    const sg_rope_options options = sg_config_rope(&m->config);
    return sg_rope_table_new(&m->rope, m->config.max_position_embeddings, &options, err);
}

// Writable memory for all parameters that are not narrow.
static sg_status model_storage(sg_model *m, sg_error *err)
{
    bool *narrow = sg_alloc_zero(m->params.count, sizeof *narrow);
    if (narrow == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    for (size_t i = 0; i < m->params.count; i++)
        narrow[i] = sg_narrow_has(&m->narrow, i);
    sg_status status = sg_param_block_new(&m->params, "weights", narrow, &m->storage, err);
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
        sg_param_init(&(*model)->params.specs[i], seed, context->pool, (*model)->values[i]);
    return SG_OK;
}

void sg_model_free(sg_model *m)
{
    if (m == NULL) return;
    sg_param_block_free(&m->storage);
    sg_free(m->values);
    sg_narrow_set_free(&m->narrow);
    sg_param_list_free(&m->params);
    sg_rope_table_free(&m->rope);
    sg_safetensors_close(m->file);
    sg_free(m);
}

const sg_config *sg_model_config(const sg_model *model)
{
    return &model->config;
}

// ---- opening ----------------------------------------------------------------------------------

// Every parameter must be there with its shape, and nothing else.
static sg_status model_check_file(const sg_model *m, const sg_safetensors *file, sg_error *err)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        const sg_tensor_view *view = sg_safetensors_find(file, spec->name);
        if (view == NULL)
            return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s is missing",
                           sg_safetensors_name(file), spec->name);
        SG_TRY(
            sg_safetensors_get(file, spec->name, view->dtype, spec->rank, spec->shape, &view, err));
        if (view->dtype != SG_DTYPE_F32 && view->dtype != SG_DTYPE_F64 &&
            view->dtype != SG_DTYPE_F16 && view->dtype != SG_DTYPE_BF16)
            return sg_fail(err, SG_ERR_MISMATCH,
                           "%s: tensor %s: found %s, expected floating-point weights",
                           sg_safetensors_name(file), spec->name, sg_dtype_name(view->dtype));
    }
    if (sg_safetensors_count(file) == m->params.count) return SG_OK;
    for (size_t i = 0; i < sg_safetensors_count(file); i++) {
        const char *name = sg_safetensors_at(file, i)->name;
        bool known = false;
        for (size_t j = 0; j < m->params.count && !known; j++)
            known = strcmp(m->params.specs[j].name, name) == 0;
        if (!known)
            return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s is not part of this model",
                           sg_safetensors_name(file), name);
    }
    return SG_OK;
}

static sg_status model_copy(const sg_tensor_view *view, sg_real *to, sg_error *err)
{
#ifdef SG_REAL_DOUBLE
    int64_t count = sg_tensor_view_elements(view);
    float *narrow = sg_alloc_array((size_t)count, sizeof *narrow);
    if (narrow == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", view->name);
    sg_status status = sg_tensor_view_read_f32(view, narrow, err);
    for (int64_t i = 0; status == SG_OK && i < count; i++)
        to[i] = narrow[i];
    sg_free(narrow);
    return status;
#else
    return sg_tensor_view_read_f32(view, to, err);
#endif
}

sg_status sg_model_from_file(sg_context *context, const sg_config *config,
                             const sg_safetensors *file, sg_model **model, sg_error *err)
{
    SG_TRY(model_make(context, config, model, err));
    sg_model *m = *model;
    sg_status status = model_check_file(m, file, err);
    if (status == SG_OK) status = model_storage(m, err);
    if (status == SG_OK) status = model_rope(m, err);
    for (size_t i = 0; status == SG_OK && i < m->params.count; i++)
        status = model_copy(sg_safetensors_find(file, m->params.specs[i].name), m->values[i], err);
    if (status == SG_OK) return SG_OK;
    sg_model_free(m);
    *model = NULL;
    return status;
}

// Points the weights into the mapped file where type and alignment allow all of them to stay there.
static bool model_map(sg_model *m, const sg_safetensors *file)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_tensor_view *view = sg_safetensors_find(file, m->params.specs[i].name);
        if (view->dtype != model_dtype || !sg_tensor_view_is_aligned(view)) return false;
        m->values[i] = (sg_real *)(uintptr_t)view->data;
    }
    return true;
}

static sg_status model_read_config(const char *folder, sg_config *config, sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    size_t bytes;
    SG_TRY(sg_path_join(path, sizeof path, folder, "config.json", err));
    SG_TRY(sg_file_read(path, model_config_limit, &text, &bytes, err));
    sg_status status = sg_config_parse(text, bytes, path, config, err);
    sg_free(text);
    return status;
}

static sg_status model_open_folder(const char *folder, sg_config *config, sg_safetensors **file,
                                   sg_error *err)
{
    sg_fs_info info;
    sg_status found = sg_path_info(folder, &info, err);
    if (found == SG_ERR_NOT_FOUND)
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: no such model folder", folder);
    SG_TRY(found);
    SG_TRY(sg_model_folder_recover(folder, err));
    SG_TRY(model_read_config(folder, config, err));
    return sg_safetensors_open(folder, file, err);
}

sg_status sg_model_open(sg_context *context, const char *folder, sg_model **model, sg_error *err)
{
    *model = NULL;
    sg_config config;
    sg_safetensors *file;
    SG_TRY(model_open_folder(folder, &config, &file, err));
    sg_model *m;
    sg_status status = model_make(context, &config, &m, err);
    if (status != SG_OK) {
        sg_safetensors_close(file);
        return status;
    }
    status = model_check_file(m, file, err);
    bool mapped = status == SG_OK && model_map(m, file);
    if (mapped) status = model_rope(m, err);
    if (mapped && status == SG_OK) {
        m->file = file;
        *model = m;
        return SG_OK;
    }
    sg_model_free(m);
    if (status == SG_OK) status = sg_model_from_file(context, &config, file, model, err);
    sg_safetensors_close(file);
    return status;
}

// ---- narrow weights ---------------------------------------------------------------------------

// Rounds the weights of one parameter from the file, a piece at a time where they must be widened.
static sg_status model_narrow_tensor(const sg_model *m, size_t i, const sg_tensor_view *view,
                                     sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    sg_pool *pool = m->context->pool;
    int64_t d = spec->shape[spec->rank - 1], rows = spec->count / d;
    if (view->dtype == model_dtype && sg_tensor_view_is_aligned(view)) {
        sg_stored_write(pool, &m->narrow.items[i], 0, rows, d, view->data);
        return SG_OK;
    }
    int64_t piece = d < model_piece ? model_piece / d : 1;
    sg_real *wide = sg_alloc_array((size_t)(piece * d), sizeof *wide);
    if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", view->name);
    sg_status status = SG_OK;
    for (int64_t first = 0; status == SG_OK && first < rows; first += piece) {
        int64_t count = rows - first < piece ? rows - first : piece;
        sg_tensor_view part = sg_tensor_view_make(
            view->name, view->dtype, 2, (int64_t[]){count, d},
            (const char *)view->data + (size_t)(first * d) * sg_dtype_bytes(view->dtype));
        status = model_copy(&part, wide, err);
        if (status == SG_OK) sg_stored_write(pool, &m->narrow.items[i], first, count, d, wide);
    }
    sg_free(wide);
    return status;
}

// bf16 weights of the file are read where they lie; the file is let go where there are none.
static sg_status model_narrow_file(sg_model *m, sg_weights weights, bool *mapped, sg_error *err)
{
    bool any = false;
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_tensor_view *view = sg_safetensors_find(m->file, m->params.specs[i].name);
        mapped[i] = weights == SG_WEIGHTS_BF16 && view->dtype == SG_DTYPE_BF16 &&
                    sg_tensor_view_is_aligned(view);
    }
    SG_TRY(sg_narrow_set_of_model(&m->config, &m->params, SG_NARROW_DECODING, mapped, weights,
                                  &m->narrow, err));
    SG_TRY(model_storage(m, err));
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_tensor_view *view = sg_safetensors_find(m->file, m->params.specs[i].name);
        if (!sg_narrow_has(&m->narrow, i)) {
            SG_TRY(model_copy(view, m->values[i], err));
        } else if (mapped[i]) {
            m->narrow.items[i].rows = (void *)(uintptr_t)view->data;
            any = true;
        } else {
            SG_TRY(model_narrow_tensor(m, i, view, err));
        }
    }
    if (!any) {
        sg_safetensors_close(m->file);
        m->file = NULL;
    }
    return SG_OK;
}

sg_status sg_model_open_narrow(sg_context *context, const char *folder, sg_weights weights,
                               sg_model **model, sg_error *err)
{
    *model = NULL;
    if (!sg_stored_is_choice(weights))
        return sg_fail(err, SG_ERR_ARGUMENT, "weights: found %d, expected f32, bf16 or int8",
                       (int)weights);
    if (weights == SG_WEIGHTS_F32) return sg_model_open(context, folder, model, err);
    sg_config config;
    sg_safetensors *file;
    SG_TRY(model_open_folder(folder, &config, &file, err));
    sg_model *m;
    sg_status status = model_make(context, &config, &m, err);
    if (status != SG_OK) {
        sg_safetensors_close(file);
        return status;
    }
    m->file = file;
    bool *mapped = sg_alloc_zero(m->params.count, sizeof *mapped);
    if (mapped == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a model");
    if (status == SG_OK) status = model_check_file(m, file, err);
    if (status == SG_OK) status = model_narrow_file(m, weights, mapped, err);
    if (status == SG_OK) status = model_rope(m, err);
    sg_free(mapped);
    if (status == SG_OK)
        *model = m;
    else
        sg_model_free(m);
    return status;
}

sg_status sg_model_narrow(sg_model *m, sg_weights weights, sg_error *err)
{
    if (weights == SG_WEIGHTS_F32) return SG_OK;
    sg_narrow_set none = m->narrow;
    sg_real **values = m->values;
    sg_param_block storage = m->storage;
    size_t n = m->params.count;
    SG_TRY(sg_narrow_set_of_model(&m->config, &m->params, SG_NARROW_DECODING, NULL, weights,
                                  &m->narrow, err));
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
    sg_narrow_set_write(&m->narrow, &m->params, values, m->context->pool);
    for (size_t i = 0; i < n; i++)
        if (m->values[i] != NULL)
            memcpy(m->values[i], values[i], (size_t)m->params.specs[i].count * sizeof(sg_real));
    sg_free(values);
    sg_param_block_free(&storage);
    return SG_OK;
}

int64_t sg_model_weight_bytes(const sg_model *m)
{
    int64_t wide = m->params.total - m->narrow.elements;
    return wide * (int64_t)sizeof(sg_real) +
           (int64_t)sg_stored_row_bytes(m->narrow.type, m->narrow.elements) +
           m->narrow.n_scales * (int64_t)sizeof(float);
}

// ---- saving and looking -----------------------------------------------------------------------

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
    return sg_model_write(model, tokenizer ? tokenizer->json : NULL,
                          tokenizer ? tokenizer->json_bytes : 0, folder, err);
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
