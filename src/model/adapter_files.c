#include "model/adapter_files.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/name_pattern.h"
#include "format/json.h"

enum { adapter_config_limit = 16 << 20, adapter_rank_most = 1 << 16 };

// ---- writing ------------------------------------------------------------------------------------

// The patterns as they are where PEFT reads them alike (the end of a name), else all names.
static json_t *adapter_targets(const sg_model *m, const char *targets)
{
    json_t *list = json_array();
    size_t bytes;
    int failed = list == NULL;
    if (strchr(targets, '*') == NULL) {
        for (const char *item; !failed && (item = sg_name_list_next(&targets, &bytes)) != NULL;)
            failed = json_array_append_new(list, json_stringn(item, bytes));
    } else {
        for (size_t i = 0; i < m->adapters->count && !failed; i++)
            failed = json_array_append_new(list, json_string(m->adapters->items[i].module));
    }
    if (!failed) return list;
    json_decref(list);
    return NULL;
}

sg_status sg_adapter_config_text(const sg_model *m, const sg_adapter_form *form, char **text,
                                 sg_error *err)
{
    sg_json_setup();
    bool turned = false;
    for (size_t i = 0; i < m->adapters->count; i++)
        turned = turned || m->adapters->items[i].turned;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:f, s:o, s:f, s:s, s:b, s:b, s:b, s:b, s:b, s:n}",
                  "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path",
                  form->base, "r", (json_int_t)form->rank, "lora_alpha", form->alpha,
                  "target_modules", adapter_targets(m, form->targets), "lora_dropout", 0.0, "bias",
                  "none", "fan_in_fan_out", turned, "inference_mode", true, "init_lora_weights",
                  true, "use_rslora", false, "use_dora", false, "modules_to_save");
    if (object == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for " SG_ADAPTER_CONFIG);
    sg_status status = sg_json_text(object, true, text, err);
    json_decref(object);
    return status;
}

size_t sg_adapter_tensors(const sg_model *m)
{
    return m->params.count - m->adapters->first;
}

void sg_adapter_views(const sg_model *m, sg_tensor_view *views)
{
    for (size_t i = 0; i < sg_adapter_tensors(m); i++) {
        const sg_param_spec *spec = &m->params.specs[m->adapters->first + i];
        views[i] =
            sg_tensor_view_make(spec->name, sizeof(sg_real) == 4 ? SG_DTYPE_F32 : SG_DTYPE_F64,
                                spec->rank, spec->shape, m->values[m->adapters->first + i]);
    }
}

// Beside the old file first, so that a crash leaves one of the two.
static sg_status adapter_write_weights(const sg_model *m, const char *folder, sg_error *err)
{
    static const sg_key_value metadata[] = {{"format", "pt"}};
    char path[SG_PATH_MAX], temporary[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_ADAPTER_WEIGHTS, err));
    SG_TRY(sg_path_join(temporary, sizeof temporary, folder, SG_ADAPTER_WEIGHTS ".tmp", err));
    sg_tensor_view *views = sg_alloc_array(sg_adapter_tensors(m), sizeof *views);
    if (views == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for adapters");
    sg_adapter_views(m, views);
    sg_status status =
        sg_safetensors_write(temporary, views, sg_adapter_tensors(m), metadata, 1, NULL, err);
    sg_free(views);
    if (status == SG_OK) status = sg_path_rename(temporary, path, err);
    if (status != SG_OK) sg_path_remove(temporary, NULL);
    return status == SG_OK ? sg_folder_sync(folder, err) : status;
}

sg_status sg_adapter_save(const sg_model *m, const sg_adapter_form *form, const char *folder,
                          sg_error *err)
{
    char path[SG_PATH_MAX], *text;
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_ADAPTER_CONFIG, err));
    SG_TRY(sg_folder_make(folder, err));
    SG_TRY(adapter_write_weights(m, folder, err));
    SG_TRY(sg_adapter_config_text(m, form, &text, err));
    sg_status status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    return status;
}

// ---- reading ------------------------------------------------------------------------------------

static sg_status adapter_read_one(sg_model *m, size_t i, const sg_safetensors *file, sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const sg_tensor_view *view = sg_safetensors_find(file, spec->name);
    const char *name = sg_safetensors_name(file);
    char found[128];
    if (view == NULL)
        return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s is missing", name, spec->name);
    if (view->ndim != 2 || view->shape[0] != spec->shape[0] || view->shape[1] != spec->shape[1])
        return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s: found shape %s, expected [%lld, %lld]",
                       name, spec->name, sg_tensor_view_shape_text(view, found, sizeof found),
                       (long long)spec->shape[0], (long long)spec->shape[1]);
    float *values = sg_alloc_array((size_t)spec->count, sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    sg_status status = sg_tensor_view_read_f32(view, values, err);
    for (int64_t j = 0; j < spec->count && status == SG_OK; j++)
        m->values[i][j] = values[j];
    sg_free(values);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", name);
}

sg_status sg_adapter_read(sg_model *m, const sg_safetensors *file, sg_error *err)
{
    const size_t first = m->adapters->first, end = m->params.count;
    for (size_t i = first; i < end; i++)
        SG_TRY(adapter_read_one(m, i, file, err));
    if (sg_safetensors_count(file) == end - first) return SG_OK;
    for (size_t t = 0; t < sg_safetensors_count(file); t++) {
        const char *name = sg_safetensors_at(file, t)->name;
        size_t i = first;
        while (i < end && strcmp(m->params.specs[i].name, name) != 0)
            i++;
        if (i == end)
            return sg_fail(err, SG_ERR_MISMATCH,
                           "%s: tensor %s is no adapter of a matrix of this model",
                           sg_safetensors_name(file), name);
    }
    return SG_OK;
}

// ---- a folder -----------------------------------------------------------------------------------

// What changes the formula is refused, so that nothing is computed otherwise than its writer did.
static sg_status adapter_config_plain(const json_t *object, const char *path, sg_error *err)
{
    static const char *const flags[] = {"use_dora", "use_qalora", "lora_bias"};
    static const char *const lists[] = {
        "modules_to_save",   "alpha_pattern", "target_parameters", "trainable_token_indices",
        "layer_replication", "arrow_config",  "kasa_config",       "alora_invocation_tokens",
        "use_bdlora"};
    // Ways to begin that leave the weights as they are; others change those too.
    static const char *const inits[] = {"gaussian", "eva", "orthogonal"};
    const char *type = "", *bias = "none", *init = inits[0];
    SG_TRY(sg_json_get_string(object, path, "peft_type", true, &type, err));
    SG_TRY(sg_json_get_string(object, path, "bias", false, &bias, err));
    if (strcmp(type, "LORA") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"peft_type\": found \"%.40s\", expected \"LORA\"", path, type);
    if (strcmp(bias, "none") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"bias\": found \"%.40s\", expected \"none\"",
                       path, bias);
    const json_t *begin = json_object_get(object, "init_lora_weights");
    if (json_is_string(begin)) init = json_string_value(begin);
    bool known = false;
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++)
        known = known || strcmp(init, inits[i]) == 0;
    if (!known)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"init_lora_weights\": found \"%.40s\", which is of other weights than "
                       "the model's",
                       path, init);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set = false;
        SG_TRY(sg_json_get_bool(object, path, flags[i], false, &set, err));
        if (set)
            return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found true, expected false", path,
                           flags[i]);
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const json_t *value = json_object_get(object, lists[i]);
        const bool none = value == NULL || json_is_null(value) ||
                          (json_is_object(value) && json_object_size(value) == 0) ||
                          (json_is_array(value) && json_array_size(value) == 0);
        if (!none)
            return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found some, expected none", path,
                           lists[i]);
    }
    return SG_OK;
}

sg_status sg_adapter_config_parse(const json_t *object, const char *name, sg_adapter_config *c,
                                  sg_error *err)
{
    *c = (sg_adapter_config){0};
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: found no JSON object, expected one", name);
    SG_TRY(adapter_config_plain(object, name, err));
    SG_TRY(sg_json_get_int(object, name, "r", true, 1, adapter_rank_most, &c->rank, err));
    SG_TRY(sg_json_get_number(object, name, "lora_alpha", true, &c->alpha, err));
    SG_TRY(sg_json_get_bool(object, name, "use_rslora", false, &c->root, err));
    const json_t *ranks = json_object_get(object, "rank_pattern");
    c->ranks = json_is_object(ranks) && json_object_size(ranks) > 0;
    return SG_OK;
}

static sg_status adapter_config_read(const char *path, sg_adapter_config *c, sg_error *err)
{
    json_t *object;
    SG_TRY(sg_json_read(path, adapter_config_limit, &object, err));
    sg_status status = sg_adapter_config_parse(object, path, c, err);
    json_decref(object);
    return status;
}

typedef struct adapter_source {
    const sg_safetensors *file;
    const sg_adapter_config *config;
} adapter_source;

// The rank that the file has for a module; shapes are compared once the adapter is there.
static int64_t adapter_rank(void *user, const char *module, bool plain)
{
    (void)plain; // one that is not is refused
    const adapter_source *s = user;
    char name[2 * SG_PARAM_NAME];
    snprintf(name, sizeof name, SG_ADAPTER_PREFIX "%s" SG_ADAPTER_A, module);
    const sg_tensor_view *a = sg_safetensors_find(s->file, name);
    if (a == NULL) return 0;
    const bool own =
        s->config->ranks && a->ndim == 2 && a->shape[0] >= 1 && a->shape[0] <= adapter_rank_most;
    return own ? a->shape[0] : s->config->rank;
}

sg_status sg_model_adapt(sg_model *model, const char *folder, sg_error *err)
{
    char config_path[SG_PATH_MAX], weights[SG_PATH_MAX];
    sg_adapter_config config;
    adapter_source source = {.config = &config};
    sg_safetensors *file;
    SG_TRY(sg_path_join(config_path, sizeof config_path, folder, SG_ADAPTER_CONFIG, err));
    SG_TRY(sg_path_join(weights, sizeof weights, folder, SG_ADAPTER_WEIGHTS, err));
    SG_TRY(adapter_config_read(config_path, &config, err));
    SG_TRY(sg_safetensors_open(weights, &file, err));
    source.file = file;
    const sg_adapter_choice choice = {.rank = adapter_rank,
                                      .user = &source,
                                      .alpha = config.alpha,
                                      .root = config.root,
                                      .what = folder};
    sg_status status = sg_model_add_adapters(model, &choice, err);
    if (status == SG_OK) {
        status = sg_adapter_read(model, file, err);
        if (status != SG_OK) sg_model_drop_adapters(model);
    }
    sg_safetensors_close(file);
    return status;
}
