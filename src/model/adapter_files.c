#include "model/adapter_files.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "base/name_pattern.h"
#include "format/file_kind.h"
#include "format/json.h"
#include "model/adapter_base.h"
#include "model/adapter_rules.h"

enum { adapter_config_limit = 16 << 20 };

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
    bool transposed = false;
    for (size_t i = 0; i < m->adapters->count; i++)
        transposed = transposed || m->adapters->items[i].transposed;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:I, s:f, s:o, s:f, s:s, s:b, s:b, s:b, s:b, s:b, s:n}",
                  "peft_type", "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path",
                  form->base, "r", (json_int_t)form->rank, "lora_alpha", form->alpha,
                  "target_modules", adapter_targets(m, form->targets), "lora_dropout", 0.0, "bias",
                  "none", "fan_in_fan_out", transposed, "inference_mode", true, "init_lora_weights",
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

static sg_status adapter_write_weights(const sg_model *m, const char *folder, sg_error *err)
{
    static const sg_key_value metadata[] = {{"format", "pt"}};
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_ADAPTER_WEIGHTS, err));
    sg_tensor_view *views = sg_alloc_array(sg_adapter_tensors(m), sizeof *views);
    if (views == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for adapters");
    sg_adapter_views(m, views);
    sg_status status = sg_safetensors_replace(path, views, sg_adapter_tensors(m), metadata, 1, err);
    sg_free(views);
    return status;
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

// The tensor of a parameter. Some files have the name of the adapter inside: lora_A.default.weight.
static const sg_tensor_view *adapter_find(const sg_safetensors *file, const char *name,
                                          const char *inside)
{
    static const char end[] = ".weight";
    char other[SG_PARAM_NAME + 128];
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view != NULL || inside[0] == '\0') return view;
    const int head = (int)(strlen(name) - strlen(end));
    const int n = snprintf(other, sizeof other, "%.*s.%s%s", head, name, inside, end);
    return n < (int)sizeof other ? sg_safetensors_find(file, other) : NULL;
}

// What stands between ".lora_A." and ".weight" in the first name that has something there, or "".
static void adapter_inside(const sg_safetensors *file, char inside[64])
{
    static const char start[] = ".lora_A.", end[] = ".weight";
    inside[0] = '\0';
    for (size_t i = 0; i < sg_safetensors_count(file); i++) {
        const char *at = strstr(sg_safetensors_at(file, i)->name, start);
        if (at == NULL) continue;
        at += sizeof start - 1;
        const char *last = strstr(at, end);
        if (last == NULL || last == at || last - at >= 64 || last[sizeof end - 1] != '\0') continue;
        snprintf(inside, 64, "%.*s", (int)(last - at), at);
        return;
    }
}

static sg_status adapter_read_one(sg_model *m, size_t i, const sg_safetensors *file,
                                  const sg_tensor_view *view, sg_error *err)
{
    const sg_param_spec *spec = &m->params.specs[i];
    const char *name = sg_safetensors_name(file);
    char found[128];
    if (view == NULL)
        return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s is missing", name, spec->name);
    if (view->ndim != 2 || view->shape[0] != spec->shape[0] || view->shape[1] != spec->shape[1])
        return sg_fail(err, SG_ERR_MISMATCH, "%s: tensor %s: found shape %s, expected [%lld, %lld]",
                       name, view->name, sg_tensor_view_shape_text(view, found, sizeof found),
                       (long long)spec->shape[0], (long long)spec->shape[1]);
    float *values = sg_alloc_array((size_t)spec->count, sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    sg_status status = sg_tensor_view_read_f32(view, values, err);
    for (int64_t j = 0; j < spec->count && status == SG_OK; j++)
        m->values[i][j] = values[j];
    sg_free(values);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", name);
}

// Every tensor of the file must be of an adapter.
static sg_status adapter_check_rest(const sg_model *m, const sg_safetensors *file,
                                    const char *inside, sg_error *err)
{
    const size_t first = m->adapters->first, end = m->params.count;
    if (sg_safetensors_count(file) == end - first) return SG_OK;
    for (size_t t = 0; t < sg_safetensors_count(file); t++) {
        const sg_tensor_view *view = sg_safetensors_at(file, t);
        size_t i = first;
        while (i < end && adapter_find(file, m->params.specs[i].name, inside) != view)
            i++;
        bool is = i < end;
        if (!is) SG_TRY(sg_adapter_base_check(m, sg_safetensors_name(file), view, &is, err));
        if (!is)
            return sg_fail(err, SG_ERR_MISMATCH,
                           "%s: tensor %s is no adapter of a matrix of this model",
                           sg_safetensors_name(file), view->name);
    }
    return SG_OK;
}

sg_status sg_adapter_read(sg_model *m, const sg_safetensors *file, sg_error *err)
{
    char inside[64];
    adapter_inside(file, inside);
    for (size_t i = m->adapters->first; i < m->params.count; i++)
        SG_TRY(
            adapter_read_one(m, i, file, adapter_find(file, m->params.specs[i].name, inside), err));
    sg_model_touch(m);
    return adapter_check_rest(m, file, inside, err);
}

// ---- a folder -----------------------------------------------------------------------------------

typedef struct adapter_source {
    const sg_safetensors *file;
    const sg_adapter_rules *rules;
    const char *config; // what errors call the rules
    char inside[64];
    char without[SG_PARAM_NAME]; // a matrix that the rules name and the file has nothing for
    sg_status status;            // of the first failure
    sg_error error;
} adapter_source;

static sg_status adapter_decide(adapter_source *s, const char *module, sg_adapter_place place,
                                int64_t *rank, double *scale)
{
    char name[2 * SG_PARAM_NAME];
    bool is = false;
    const char *key = "";
    *rank = 0;
    snprintf(name, sizeof name, SG_ADAPTER_PREFIX "%s" SG_ADAPTER_A, module);
    const sg_tensor_view *a = adapter_find(s->file, name, s->inside);
    SG_TRY(
        sg_adapter_rules_target(s->rules, module, place == SG_ADAPTER_HEAD, &is, &key, &s->error));
    if (a == NULL) {
        if (is && place == SG_ADAPTER_PLAIN) memcpy(s->without, module, strlen(module) + 1);
        return SG_OK;
    }
    if (!is)
        return sg_fail(&s->error, SG_ERR_MISMATCH,
                       "%s: \"%s\": leaves out %s, but %s has tensor %s", s->config, key, module,
                       sg_safetensors_name(s->file), a->name);
    return sg_adapter_rules_form(s->rules, module, rank, scale, &s->error);
}

static int64_t adapter_rank(void *user, const char *module, sg_adapter_place place, double *scale)
{
    adapter_source *s = user;
    int64_t rank = 0;
    if (s->status != SG_OK) return 0;
    s->status = adapter_decide(s, module, place, &rank, scale);
    return s->status == SG_OK ? rank : 0;
}

// PEFT warns of it and computes without; so does this.
static void adapter_tell(const sg_model *m, const adapter_source *s)
{
    const char *unread = sg_adapter_rules_unread(s->rules);
    if (unread[0] != '\0')
        sg_log(m->context, SG_LOG_WARNING, "%s: keys that are not read here: %s", s->config,
               unread);
    if (s->without[0] != '\0')
        sg_log(m->context, SG_LOG_WARNING,
               "%s: has no tensors for %s, which \"target_modules\" names: it stays as it is",
               sg_safetensors_name(s->file), s->without);
}

static sg_status adapter_add(sg_model *model, adapter_source *source, const char *folder,
                             sg_error *err)
{
    const sg_adapter_choice choice = {.rank = adapter_rank, .user = source, .what = folder};
    sg_status status = sg_model_add_adapters(model, &choice, err);
    const size_t count = sg_safetensors_count(source->file);
    if (source->status != SG_OK) {
        if (status == SG_OK) sg_model_drop_adapters(model);
        return sg_fail(err, source->status, "%s", source->error.message);
    }
    if (status == SG_ERR_MISMATCH && count > 0)
        return sg_fail(err, status, "%s: no tensor fits a matrix of the model, nor does %s",
                       sg_safetensors_name(source->file), sg_safetensors_at(source->file, 0)->name);
    SG_TRY(status);
    status = sg_adapter_read(model, source->file, err);
    if (status == SG_OK)
        adapter_tell(model, source);
    else
        sg_model_drop_adapters(model);
    return status;
}

static sg_status adapter_open_weights(const char *folder, sg_safetensors **file, sg_error *err)
{
    char path[SG_PATH_MAX], other[256];
    const char *kind;
    *file = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_ADAPTER_WEIGHTS, err));
    if (!sg_path_exists(path) && sg_folder_weights(folder, other, &kind))
        return sg_fail(err, SG_ERR_NOT_FOUND, "%s: found %s, %s, expected " SG_ADAPTER_WEIGHTS,
                       path, other, kind);
    return sg_safetensors_open(path, file, err);
}

sg_status sg_model_adapt(sg_model *model, const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX];
    json_t *object;
    sg_adapter_rules *rules;
    sg_safetensors *file = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, SG_ADAPTER_CONFIG, err));
    SG_TRY(sg_json_read(path, adapter_config_limit, &object, err));
    sg_status status = sg_adapter_rules_new(object, path, &rules, err);
    if (status == SG_OK) status = adapter_open_weights(folder, &file, err);
    if (status == SG_OK) {
        adapter_source source = {.file = file, .rules = rules, .config = path};
        adapter_inside(file, source.inside);
        status = adapter_add(model, &source, folder, err);
    }
    sg_safetensors_close(file);
    sg_adapter_rules_free(rules);
    json_decref(object);
    return status;
}
