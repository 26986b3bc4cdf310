// The text, as many layers a pass as there is memory for, a configuration with lists, the test, the
// folder. Thresholds are of the dense model's values, those of one layer whatever the others leave
// out: so layers are found in any groups, and those that were found before are not looked at again.
#include "sparsify/trim_model.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"
#include "sparsify/moefy.h"
#include "text/tokenizer.h"

bool sg_trim_go_on(void *user, int64_t done, int64_t total)
{
    const sg_trim_work *t = user;
    const sg_sparsify_options *o = t->o;
    const int64_t part = total > 0 ? t->group * done / total : 0;
    if (o->progress == NULL) return true;
    return o->progress(o->progress_user, t->work.done + part, t->layers);
}

// ---- the configuration --------------------------------------------------------------------------

static const sg_trim_method *trim_method(const char *name)
{
    if (sg_moefy_is(name, "cats")) return &sg_trim_gates;
    return sg_moefy_is(name, "teal") || sg_moefy_is(name, "wina") ? &sg_trim_inputs : NULL;
}

static sg_status trim_check(const sg_config *dense, const sg_sparsify_options *o, sg_error *err)
{
    if (trim_method(o->trim) == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "trim: found \"%.40s\", expected cats, teal or wina",
                       o->trim);
    if (!(o->active > 0 && o->active <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "active: found %s, expected more than 0 and at most 1",
                       SG_NUMBER(o->active));
    if (!sg_moefy_is(dense->ffn, "mlp") && !sg_moefy_is(dense->ffn, "glu"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model of family %s, expected dense layers: mlp or glu", dense->ffn);
    if ((o->text == NULL && o->data == NULL) || o->calibration_tokens < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: thresholds are of a text, expected a text or packed data, and "
                       "calibration_tokens of 1 or more",
                       o->trim);
    return SG_OK;
}

sg_status sg_trim_config(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                         sg_error *err)
{
    SG_TRY(trim_check(dense, o, err));
    *c = *dense;
    SG_TRY(trim_method(o->trim)->config(o, c, err));
    return sg_config_complete(c, err);
}

// ---- thresholds ---------------------------------------------------------------------------------

sg_status sg_trim_list(const sg_trim_work *t, int place, const double *thresholds, char *list,
                       size_t most, sg_error *err)
{
    size_t used = 0;
    for (int64_t l = 0; l < t->layers && used < most; l++) {
        const double value = thresholds ? thresholds[l * t->method->places + place] : 0;
        used += (size_t)snprintf(list + used, most - used, "%s%.6g", l > 0 ? "," : "", value);
    }
    if (used < most) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "found %lld layers, whose thresholds do not fit into a list of %zu characters",
                   (long long)t->layers, most - 1);
}

// Those of one layer, as they are kept.
static sg_tensor_view trim_view(const double *thresholds, int places)
{
    return (sg_tensor_view){.name = "thresholds",
                            .dtype = SG_DTYPE_F64,
                            .ndim = 1,
                            .shape = {places},
                            .data = thresholds,
                            .bytes = (size_t)places * sizeof *thresholds};
}

sg_status sg_trim_found(sg_trim_work *t, int64_t layer, sg_error *err)
{
    const int places = t->method->places;
    const sg_tensor_view view = trim_view(t->thresholds + layer * places, places);
    SG_TRY(sg_kept_save(&t->work, layer, &view, 1, err));
    t->found[layer] = true;
    t->work.done++;
    return SG_OK;
}

static sg_status trim_read(const sg_safetensors *file, int places, double *thresholds,
                           sg_error *err)
{
    const sg_tensor_view view = trim_view(thresholds, places);
    SG_TRY(sg_kept_read(file, &view, 1, err));
    for (int i = 0; i < places; i++)
        if (!(thresholds[i] >= 0 && thresholds[i] <= (double)FLT_MAX))
            return sg_fail(err, SG_ERR_FORMAT, "thresholds: found %s, expected 0 or more",
                           SG_NUMBER(thresholds[i]));
    return SG_OK;
}

static sg_status trim_take(sg_safetensors *file, const char *name, int places, double *thresholds,
                           sg_error *err)
{
    const sg_status status = trim_read(file, places, thresholds, err);
    sg_safetensors_close(file);
    return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s", name);
}

sg_status sg_trim_kept_parse(const void *data, size_t bytes, const char *name, int places,
                             double *thresholds, sg_error *err)
{
    sg_safetensors *file;
    SG_TRY(sg_safetensors_open_memory(data, bytes, name, &file, err));
    return trim_take(file, name, places, thresholds, err);
}

// Those that were kept.
static sg_status trim_load(sg_trim_work *t, sg_error *err)
{
    const int places = t->method->places;
    for (int64_t l = 0; l < t->layers; l++) {
        char path[SG_PATH_MAX];
        sg_safetensors *file;
        SG_TRY(sg_kept_file(&t->work, l, path, &file, err));
        if (file == NULL) continue;
        SG_TRY(trim_take(file, path, places, t->thresholds + l * places, err));
        t->found[l] = true;
        t->result->resumed++;
        t->work.done++;
    }
    return SG_OK;
}

// Layers from the first on that are not there, one at least.
static int64_t trim_group(const sg_trim_work *t)
{
    const int64_t most = t->o->memory / t->method->layer_bytes;
    int64_t group = 1;
    while (group < most && t->first + group < t->layers && !t->found[t->first + group])
        group++;
    return group;
}

static sg_status trim_find(sg_trim_work *t, sg_error *err)
{
    SG_TRY(trim_load(t, err));
    for (t->first = 0; t->first < t->layers; t->first += t->group) {
        t->group = 1;
        if (t->found[t->first]) continue;
        t->group = trim_group(t);
        SG_TRY(t->method->find(t, err));
        t->result->passes++;
    }
    return SG_OK;
}

// Into the configuration, and into the model, which nothing has been recorded of.
static sg_status trim_set(sg_trim_work *t, sg_error *err)
{
    for (int place = 0; place < t->method->places; place++) {
        size_t most;
        char *list = t->method->list(&t->config, place, &most);
        SG_TRY(sg_trim_list(t, place, t->thresholds, list, most, err));
    }
    SG_TRY(sg_config_complete(&t->config, err));
    t->made->config = t->config;
    t->made->layout++;
    return SG_OK;
}

// ---- all of it ----------------------------------------------------------------------------------

static sg_status trim_make(sg_trim_work *t, sg_error *err)
{
    t->thresholds = sg_alloc_zero((size_t)(t->layers * t->method->places), sizeof *t->thresholds);
    t->found = sg_alloc_zero((size_t)t->layers, sizeof *t->found);
    if (t->thresholds == NULL || t->found == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for thresholds");
    SG_TRY(sg_model_new(t->dense->context, &t->config, 0, &t->made, err));
    t->made->ends = t->dense->ends;
    SG_TRY(sg_moefy_copy(t->dense, t->made, err));
    return t->method->fill(t, err);
}

static sg_status trim_perplexity(sg_trim_work *t, sg_model *model, double *perplexity,
                                 sg_error *err)
{
    double loss;
    SG_TRY(sg_calibration_loss(&t->text, SG_USE_TEST, model, &loss, NULL, sg_trim_go_on, t, err));
    *perplexity = exp(loss);
    return SG_OK;
}

static sg_status trim_test(sg_trim_work *t, sg_error *err)
{
    sg_sparsify_result *r = t->result;
    r->dense_perplexity = r->sparse_perplexity = r->kept = r->executed = NAN;
    for (int i = 0; i < SG_SPARSIFY_INPUTS; i++)
        r->inputs[i] = NAN;
    r->test_tokens = t->text.parts[SG_USE_TEST].rows;
    if (r->test_tokens == 0) return SG_OK;
    t->group = 0;
    SG_TRY(trim_perplexity(t, t->dense, &r->dense_perplexity, err));
    SG_TRY(trim_perplexity(t, t->made, &r->sparse_perplexity, err));
    return t->method->count(t, err);
}

// All that decides what thresholds become.
static sg_status trim_begin(sg_trim_work *t, sg_error *err)
{
    const sg_sparsify_options *o = t->o;
    char of_model[17], of_text[17];
    if (o->out == NULL) return SG_OK;
    SG_TRY(sg_plan_hashes(t->dense, &t->text, of_model, of_text, err));
    sg_json_setup();
    json_t *plan =
        json_pack("{s:s, s:s, s:s, s:s, s:f, s:s}", "format", "sgatlin sparsify thresholds 1",
                  "model", of_model, "text", of_text, "method", o->trim, "active", o->active,
                  "shares", o->shares != NULL ? o->shares : "uniform");
    if (plan == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a plan");
    const sg_status status = sg_kept_begin(&t->work, plan, err);
    json_decref(plan);
    return status;
}

static sg_status trim_work(sg_trim_work *t, sg_error *err)
{
    const sg_tokenizer *k = t->o->tokenizer;
    SG_TRY(sg_moefy_text(t->dense, t->o, &t->text, t->result, err));
    SG_TRY(trim_begin(t, err));
    SG_TRY(trim_make(t, err));
    SG_TRY(trim_find(t, err));
    SG_TRY(trim_set(t, err));
    SG_TRY(trim_test(t, err));
    if (t->o->out == NULL) return SG_OK;
    SG_TRY(sg_model_write(t->made, k ? k->json : NULL, k ? k->json_bytes : 0, t->o->out, err));
    return sg_kept_end(&t->work, err);
}

sg_status sg_trim_model(sg_model *dense, const sg_sparsify_options *o, sg_model **made,
                        sg_sparsify_result *result, sg_error *err)
{
    sg_trim_work t = {.dense = dense, .o = o, .result = result};
    *made = NULL;
    SG_TRY(sg_trim_config(&dense->config, o, &t.config, err));
    t.layers = dense->config.num_hidden_layers;
    t.method = trim_method(o->trim);
    SG_TRY(sg_kept_open(o->out, &t.work, err));
    sg_status status = trim_work(&t, err);
    if (status == SG_ERR_STOPPED && o->out != NULL && t.work.done > 0)
        status = sg_kept_stopped(&t.work, err);
    sg_kept_close(&t.work, status);
    sg_calibration_free(&t.text);
    sg_free(t.thresholds);
    sg_free(t.found);
    if (status == SG_OK)
        *made = t.made;
    else
        sg_model_free(t.made);
    return status;
}
