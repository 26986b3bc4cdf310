// A page of what is inside a model: collects its parts, leaves out channels until it is small
// enough, writes it. Its form is described in docs/PROBE.md, "The page".
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/number_list.h"
#include "base/utf8.h"
#include "format/json.h"
#include "probe/page_write.h"
#include "probe/scope_page.h"

sg_scope_options sg_scope_options_default(void)
{
    return (sg_scope_options){
        .maps = 1, .map_tokens = 5000, .seed = 1, .max_bytes = INT64_C(10) << 20};
}

// ---- small parts --------------------------------------------------------------------------------

sg_status sg_scope_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a page");
}

sg_status sg_scope_set(json_t *object, const char *key, json_t *value, sg_error *err)
{
    return value != NULL && json_object_set_new(object, key, value) == 0 ? SG_OK
                                                                         : sg_scope_memory(err);
}

sg_status sg_scope_leave_out(sg_scope_page *page, sg_error *err, const char *format, ...)
{
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    return json_array_append_new(page->left_out, json_string(line)) == 0 ? SG_OK
                                                                         : sg_scope_memory(err);
}

static json_t *scope_string(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

// ---- a model ------------------------------------------------------------------------------------

static sg_status scope_layer(const sg_scope_page *page, size_t model, const sg_record_layer *layer,
                             json_t *layers, json_t *lenses, sg_error *err)
{
    json_t *hits = json_array();
    if (hits == NULL) return sg_scope_memory(err);
    for (size_t i = 0; i < page->pool_count; i++) {
        sg_scope_pool *p = &page->pools[i];
        if (p->model != model || p->layer != layer->layer || p->left_out) continue;
        if (json_array_append(hits, p->hits) != 0 ||
            (p->lens != NULL && json_array_append(lenses, p->lens) != 0)) {
            json_decref(hits);
            return sg_scope_memory(err);
        }
    }
    if (json_array_size(hits) == 0) {
        json_decref(hits);
        return SG_OK;
    }
    json_t *object =
        json_pack("{s:I, s:s, s:I, s:I, s:I, s:I, s:b, s:b, s:o}", "layer",
                  (json_int_t)layer->layer, "family", layer->family, "channels",
                  (json_int_t)layer->channels, "neurons", (json_int_t)layer->neurons, "slots",
                  (json_int_t)layer->slots, "unit", (json_int_t)layer->unit, "dense",
                  (int)layer->dense, "strongest", (int)layer->strongest, "hits", hits);
    return json_array_append_new(layers, object) == 0 ? SG_OK : sg_scope_memory(err);
}

static sg_status scope_layers(sg_scope_page *page, size_t model, json_t *object, sg_error *err)
{
    const sg_record_info *info = sg_record_get_info(page->options->models[model].record);
    json_t *layers, *lenses;
    SG_TRY(sg_scope_set(object, "layers", layers = json_array(), err));
    SG_TRY(sg_scope_set(object, "lens", lenses = json_array(), err));
    for (size_t i = 0; i < info->layer_count; i++)
        SG_TRY(scope_layer(page, model, &info->layers[i], layers, lenses, err));
    return SG_OK;
}

static sg_status scope_model(sg_scope_page *page, size_t model, json_t *object, sg_error *err)
{
    const sg_scope_model *m = &page->options->models[model];
    const sg_record_info *info = sg_record_get_info(m->record);
    SG_TRY(sg_scope_set(object, "name", scope_string(m->name ? m->name : info->model), err));
    SG_TRY(sg_scope_set(object, "path", scope_string(m->path ? m->path : info->model), err));
    SG_TRY(sg_scope_set(object, "records", scope_string(m->records), err));
    SG_TRY(sg_scope_set(object, "record_command", scope_string(info->command), err));
    SG_TRY(sg_scope_set(object, "family",
                        scope_string(info->layer_count > 0 ? info->layers[0].family : ""), err));
    return sg_scope_predictions(page, model, object, err);
}

// ---- the size -----------------------------------------------------------------------------------

static int64_t scope_pool_bytes(const sg_scope_page *page, int64_t rank)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < page->pool_count; i++) {
        const sg_scope_pool *p = &page->pools[i];
        if (p->rank < rank || p->left_out) continue;
        for (size_t c = p->first; c < p->end; c++)
            bytes += (int64_t)page->columns.items[c].bytes + 64;
    }
    return bytes;
}

// Leaves out channels, the last of all layers first, until `over` bytes are gone.
static sg_status scope_shrink(sg_scope_page *page, int64_t over, sg_error *err)
{
    int64_t rank = 0, left_out = 0;
    for (size_t i = 0; i < page->pool_count; i++)
        rank = sg_scope_max(rank, page->pools[i].rank);
    while (rank >= sg_scope_max(1, page->options->maps) && scope_pool_bytes(page, rank) < over)
        rank--;
    if (rank < sg_scope_max(1, page->options->maps) || scope_pool_bytes(page, rank) < over)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "max-bytes: found %lld, which %lld bytes more than fit: expected fewer "
                       "tokens, layers or maps",
                       (long long)page->options->max_bytes, (long long)over);
    for (size_t i = 0; i < page->pool_count; i++) {
        sg_scope_pool *p = &page->pools[i];
        if (p->rank < rank) continue;
        p->left_out = true;
        left_out++;
        sg_page_columns_drop(&page->columns, p->first, p->end);
    }
    page->info.channels_left_out = left_out;
    return sg_scope_leave_out(page, err,
                              "%lld of %zu channels: the page has the first %lld of each layer, to "
                              "stay below %lld bytes (--max-bytes).",
                              (long long)left_out, page->pool_count, (long long)rank,
                              (long long)page->options->max_bytes);
}

// An upper bound of what the manifest takes, with all channels in it.
static sg_status scope_fit(sg_scope_page *page, const json_t *root, sg_error *err)
{
    char *text;
    SG_TRY(sg_page_manifest_text(root, &text, err));
    const int64_t manifest = (int64_t)strlen(text) + 1024;
    sg_free(text);
    const int64_t bytes =
        sg_page_frame_bytes("scope", manifest) + sg_page_columns_bytes(&page->columns);
    if (bytes <= page->options->max_bytes) return SG_OK;
    return scope_shrink(page, bytes - page->options->max_bytes, err);
}

// ---- the manifest -------------------------------------------------------------------------------

static sg_status scope_head(const sg_scope_page *page, json_t *root, sg_error *err)
{
    const sg_scope_options *o = page->options;
    const sg_record_info *info = sg_record_get_info(o->models[0].record);
    SG_TRY(sg_scope_set(root, "format", json_string("sgatlin scope"), err));
    SG_TRY(sg_scope_set(root, "version", json_integer(1), err));
    SG_TRY(sg_scope_set(root, "made_by", json_string(sg_version()), err));
    SG_TRY(sg_scope_set(root, "command", scope_string(o->command), err));
    SG_TRY(sg_scope_set(root, "source", scope_string(o->source ? o->source : info->source), err));
    return sg_scope_set(root, "length", json_integer(info->length), err);
}

// Of layers of which not all neurons are recorded.
static sg_status scope_note_layers(sg_scope_page *page, sg_error *err)
{
    const sg_scope_options *o = page->options;
    for (size_t m = 0; m < o->model_count; m++) {
        const sg_record_info *info = sg_record_get_info(o->models[m].record);
        for (size_t i = 0; i < info->layer_count; i++) {
            const sg_record_layer *l = &info->layers[i];
            if (!l->strongest || !sg_list_has(o->layers, l->layer)) continue;
            SG_TRY(sg_scope_leave_out(page, err,
                                      "%s, layer %lld: of the %lld neurons that compute for a "
                                      "token the %lld that contribute most are here.",
                                      o->models[m].name ? o->models[m].name : info->model,
                                      (long long)l->layer, (long long)l->neurons,
                                      (long long)l->slots));
        }
        if (!info->complete)
            SG_TRY(sg_scope_leave_out(page, err,
                                      "%s: the record was interrupted behind %lld of %lld tokens.",
                                      o->models[m].name ? o->models[m].name : info->model,
                                      (long long)info->tokens, (long long)info->planned));
    }
    return SG_OK;
}

static sg_status scope_models(sg_scope_page *page, json_t *root, json_t *models, sg_error *err)
{
    const size_t count = page->options->model_count;
    SG_TRY(sg_scope_set(root, "models", models, err));
    for (size_t m = 0; m < count; m++) {
        json_t *object = json_object();
        if (json_array_append_new(models, object) != 0) return sg_scope_memory(err);
        SG_TRY(scope_model(page, m, object, err));
        SG_TRY(sg_scope_set(object, "maps", json_incref(page->maps[m]), err));
        SG_TRY(scope_layers(page, m, object, err));
    }
    SG_TRY(scope_fit(page, root, err));
    for (size_t m = 0; m < count; m++) // without those that were left out
        SG_TRY(scope_layers(page, m, json_array_get(models, m), err));
    return SG_OK;
}

static sg_status scope_manifest(sg_scope_page *page, json_t *root, sg_error *err)
{
    SG_TRY(scope_head(page, root, err));
    SG_TRY(sg_scope_text(page, root, err));
    SG_TRY(sg_scope_pools(page, err));
    SG_TRY(sg_scope_maps(page, err));
    SG_TRY(sg_scope_patch(page, root, err));
    SG_TRY(sg_scope_traces(page, root, err));
    SG_TRY(scope_note_layers(page, err));
    SG_TRY(sg_scope_set(root, "left_out", json_incref(page->left_out), err));
    SG_TRY(sg_scope_set(root, "pieces", json_incref(page->pieces), err));
    SG_TRY(scope_models(page, root, json_array(), err));
    page->info.channels = (int64_t)page->pool_count - page->info.channels_left_out;
    return SG_OK;
}

// The lines of what is not on the page, for whoever asked for it.
static sg_status scope_tell(sg_scope_page *page, sg_error *err)
{
    sg_bytes text = {0};
    size_t i;
    json_t *line;
    json_array_foreach(page->left_out, i, line)
    {
        const char *s = json_string_value(line);
        if (!sg_bytes_add(&text, s, strlen(s)) || !sg_bytes_add(&text, "\n", 1)) {
            sg_free(text.data);
            return sg_scope_memory(err);
        }
    }
    if (text.count == 0) return SG_OK;
    text.data[text.count - 1] = '\0';
    page->info.left_out = text.data;
    return SG_OK;
}

static sg_status scope_make(sg_scope_page *page, sg_error *err)
{
    const sg_scope_options *o = page->options;
    char *text = NULL;
    json_t *root = json_object();
    page->left_out = json_array();
    page->maps[0] = json_array();
    page->maps[1] = json_array();
    sg_status status =
        root == NULL || page->left_out == NULL || page->maps[0] == NULL || page->maps[1] == NULL
            ? sg_scope_memory(err)
            : sg_scope_text_open(page, err);
    if (status == SG_OK) status = scope_manifest(page, root, err);
    if (status == SG_OK) status = sg_page_manifest_text(root, &text, err);
    if (status == SG_OK) status = scope_tell(page, err);
    if (status == SG_OK && o->part != NULL) o->part(o->user, "page");
    if (status == SG_OK)
        status =
            sg_page_write(o->path, o->force, "scope", text, &page->columns, &page->info.bytes, err);
    sg_free(text);
    json_decref(root);
    return status;
}

static void scope_free(sg_scope_page *page)
{
    for (size_t i = 0; i < page->pool_count; i++) {
        json_decref(page->pools[i].hits);
        json_decref(page->pools[i].lens);
    }
    sg_free(page->pools);
    json_decref(page->maps[0]);
    json_decref(page->maps[1]);
    json_decref(page->left_out);
    json_decref(page->pieces);
    sg_free(page->piece_of);
    sg_free(page->tokens);
    sg_page_columns_free(&page->columns);
}

static sg_status scope_check(const sg_scope_options *o, sg_error *err)
{
    if (o->path == NULL || o->models == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "scope: found no %s", o->path ? "models" : "path");
    if (o->model_count < 1 || o->model_count > 2)
        return sg_fail(err, SG_ERR_ARGUMENT, "scope: found %zu models, expected 1 or 2",
                       o->model_count);
    for (size_t m = 0; m < o->model_count; m++)
        if (o->models[m].record == NULL)
            return sg_fail(err, SG_ERR_ARGUMENT, "scope: found no record of model %zu", m);
    if (o->max_bytes < 1 || o->maps < 0 || o->map_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "scope: found max_bytes %lld, maps %lld, map_tokens %lld, expected 1 or "
                       "more, and 0 or more",
                       (long long)o->max_bytes, (long long)o->maps, (long long)o->map_tokens);
    return sg_output_check(o->path, o->force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err);
}

sg_status sg_scope_write(sg_context *context, const sg_scope_options *options, sg_scope_info *info,
                         sg_error *err)
{
    sg_scope_page page = {.context = context, .options = options};
    SG_TRY(scope_check(options, err));
    sg_json_setup();
    sg_status status = scope_make(&page, err);
    if (status == SG_OK && info != NULL)
        *info = page.info;
    else
        sg_free(page.info.left_out);
    scope_free(&page);
    return status;
}
