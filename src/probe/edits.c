// Edits of neurons while a model runs. In terms of the coefficients z of a layer's neurons i,
//
//     y = sum of z_i w_out_i,      z_i' = a_i z_i + b_i
//
// since a list of edits of one neuron, one after the other, is such a line: scale by x multiplies a
// and b, fix at v makes them 0 and v, remove 0 and 0. Where i is selected hook_post is written;
// where it is not, z_i is 0, and b_i w_out_i is added to hook_mlp_out.
//
// Of each layer with edits three points are asked for: the ids say which neuron a coefficient of
// hook_post belongs to, and hook_mlp_out is only written where neurons are fixed.
#include "probe/edits.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

typedef struct edit_item {
    sg_edit edit;
    size_t place; // in the list
} edit_item;

// A neuron that is edited.
typedef struct edit_target {
    int64_t channel, neuron;
    size_t first, end; // its edits in `ordered`
    int64_t fixed;     // its row of fixed ones; -1: none of its edits fixes it
    int64_t tokens, selected;
    bool seen; // in the row at work
} edit_target;

// What a pass has shown of a sparse layer so far. In a batch each point is called session by
// session, so that several are begun at a time; `key` tells which rows they are of.
typedef struct edit_note {
    const int32_t *key; // the tokens of the rows; NULL: free
    int32_t *ids;       // (rows, channels, k)
    int32_t *counts;    // (rows, channels)
    float *added;       // (rows, fixed): coefficients of fixed neurons that are not selected
    bool counted;       // there are counts
    int64_t rows, k;
    size_t ids_room, counts_room, added_room;
} edit_note;

// One layer that may have edits.
typedef struct edit_layer {
    sg_edits *of;
    sg_neuron_table table;
    char names[3][64]; // (name_count) of its points
    int name_count;
    bool fixes;           // hook_mlp_out is one of them
    edit_target *targets; // (count) of of->targets: by channel and neuron
    size_t count;
    int64_t fixed; // of them
    float *rows;   // (fixed, d) of w_out
    edit_note *notes;
    size_t note_count, note_room;
} edit_layer;

struct sg_edits {
    const sg_model *model;
    edit_layer *layers; // (layer_count)
    size_t layer_count;
    sg_point_request *requests;
    sg_points points;
    sg_edit *list; // (count)
    size_t count;
    edit_item *ordered;   // those that may change anything, by layer, channel and neuron
    edit_target *targets; // (target_count)
    size_t target_count;
};

// ---- passes -------------------------------------------------------------------------------------

static int64_t edits_position(const sg_point_values *v, int64_t row)
{
    const int64_t r = v->first_row + row;
    return (v->start != NULL ? v->start[r / v->length] : 0) + r % v->length;
}

// Makes z what the edits of a target make of it at a position. False: none of them works there.
static bool edits_apply(const edit_layer *l, const edit_target *t, int64_t position, float *z)
{
    double value = *z;
    bool any = false;
    for (size_t i = t->first; i < t->end; i++) {
        const sg_edit *e = &l->of->ordered[i].edit;
        if (position < e->first || (e->last >= 0 && position > e->last)) continue;
        value = e->kind == SG_EDIT_SCALE ? e->value * value : e->kind == SG_EDIT_FIX ? e->value : 0;
        any = true;
    }
    if (any) *z = (float)value;
    return any;
}

// The first target of a channel from a neuron on.
static size_t edits_from(const edit_layer *l, int64_t channel, int64_t neuron)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        const edit_target *t = &l->targets[mid];
        if (t->channel < channel || (t->channel == channel && t->neuron < neuron))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

// The targets in the block of g neurons that a slot has selected; z (g).
static void edits_slot(edit_layer *l, int64_t channel, int64_t block, int64_t g, int64_t position,
                       float *z)
{
    const int64_t begin = block * g, end = begin + g;
    for (size_t i = edits_from(l, channel, begin); i < l->count; i++) {
        edit_target *t = &l->targets[i];
        if (t->channel != channel || t->neuron >= end) return;
        float *at = &z[t->neuron - begin];
        if (!edits_apply(l, t, position, at)) continue;
        if (t->seen && t->fixed >= 0) *at = 0; // selected twice, of a selection that was written
        t->selected += !t->seen;
        t->seen = true;
    }
}

// What is left of a row: fixed neurons that were not selected; added (fixed).
static void edits_unselected(edit_layer *l, float *added, int64_t position)
{
    for (size_t i = 0; i < l->count; i++) {
        edit_target *t = &l->targets[i];
        float z = 0;
        const bool works = edits_apply(l, t, position, &z);
        t->tokens += works;
        if (t->fixed >= 0) added[t->fixed] = works && !t->seen ? z : 0;
        t->seen = false;
    }
}

static sg_status edits_fail_room(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for edits of neurons");
}

static edit_note *edits_note(edit_layer *l, const int32_t *key)
{
    for (size_t i = 0; i < l->note_count; i++)
        if (l->notes[i].key == key) return &l->notes[i];
    return NULL;
}

static sg_status edits_ids(void *user, const sg_point_values *v, sg_error *err)
{
    edit_layer *l = user;
    const size_t pairs = (size_t)(v->shape[0] * v->shape[1]);
    const size_t all = pairs * (size_t)v->shape[2];
    if (l->count == 0) return SG_OK;
    edit_note *n = edits_note(l, v->tokens); // of a pass that did not come to its end
    if (n == NULL) n = edits_note(l, NULL);
    if (n == NULL) {
        if (!sg_grow((void **)&l->notes, &l->note_room, l->note_count + 1, sizeof *l->notes))
            return edits_fail_room(err);
        n = &l->notes[l->note_count++];
        *n = (edit_note){0};
    }
    n->key = NULL;
    n->counted = v->counts != NULL;
    n->k = v->shape[2];
    n->rows = v->shape[0];
    if (!sg_grow((void **)&n->ids, &n->ids_room, all, sizeof *n->ids) ||
        (n->counted && !sg_grow((void **)&n->counts, &n->counts_room, pairs, sizeof *n->counts)) ||
        !sg_grow((void **)&n->added, &n->added_room, (size_t)(n->rows * l->fixed) + 1,
                 sizeof *n->added))
        return edits_fail_room(err);
    memcpy(n->ids, v->ids, all * sizeof *n->ids);
    if (n->counted) memcpy(n->counts, v->counts, pairs * sizeof *n->counts);
    n->key = v->tokens;
    return SG_OK;
}

// Of one row of a sparse layer: z (channels, k g).
static void edits_row(edit_layer *l, const edit_note *n, int64_t row, int64_t g, int64_t position,
                      float *z)
{
    for (int64_t c = 0; c < l->table.channels; c++) {
        const int64_t at = row * l->table.channels + c;
        const int64_t count = n->counted ? n->counts[at] : n->k;
        for (int64_t s = 0; s < count; s++)
            edits_slot(l, c, n->ids[at * n->k + s], g, position, z + (c * n->k + s) * g);
    }
}

static sg_status edits_post(void *user, const sg_point_values *v, sg_error *err)
{
    edit_layer *l = user;
    const int64_t rows = v->shape[0];
    const int64_t width = v->rank == 3 ? v->shape[1] * v->shape[2] : v->shape[1];
    if (l->count == 0) return SG_OK;
    edit_note *n = l->table.dense ? NULL : edits_note(l, v->tokens);
    if (!l->table.dense &&
        (n == NULL || n->rows != rows || width % (l->table.channels * n->k) != 0))
        return sg_fail(err, SG_ERR_INTERNAL,
                       "edits: found %lld rows of %lld, expected those of ids", (long long)rows,
                       (long long)width);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t position = edits_position(v, r);
        float *z = v->values + r * width;
        if (n == NULL)
            edits_slot(l, 0, 0, width, position, z);
        else
            edits_row(l, n, r, width / (l->table.channels * n->k), position, z);
        edits_unselected(l, n != NULL ? n->added + r * l->fixed : NULL, position);
    }
    if (n != NULL && !l->fixes) n->key = NULL;
    return SG_OK;
}

static sg_status edits_out(void *user, const sg_point_values *v, sg_error *err)
{
    edit_layer *l = user;
    const int64_t d = v->shape[1];
    if (l->count == 0) return SG_OK;
    edit_note *n = edits_note(l, v->tokens);
    if (n == NULL || n->rows != v->shape[0])
        return sg_fail(err, SG_ERR_INTERNAL, "edits: found %lld rows, expected those of ids",
                       (long long)v->shape[0]);
    for (int64_t r = 0; r < n->rows; r++)
        for (int64_t i = 0; i < l->fixed; i++) {
            const float z = n->added[r * l->fixed + i], *row = l->rows + i * d;
            for (int64_t j = 0; z != 0 && j < d; j++)
                v->values[r * d + j] += z * row[j];
        }
    n->key = NULL;
    return SG_OK;
}

// ---- the list -----------------------------------------------------------------------------------

static bool edits_idle(const sg_edit *e)
{
    return e->kind == SG_EDIT_SCALE && e->value == 1;
}

// Whether the neuron may have a coefficient where it is not selected.
static bool edits_adds(const sg_edit *e, const sg_neuron_table *table)
{
    return !table->dense && e->kind == SG_EDIT_FIX && e->value != 0;
}

static int edits_compare(const sg_edit *x, const sg_edit *y)
{
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->channel != y->channel) return x->channel < y->channel ? -1 : 1;
    return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

static int edits_order(const void *a, const void *b)
{
    const edit_item *x = a, *y = b;
    const int order = edits_compare(&x->edit, &y->edit);
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

static sg_status edits_check(const sg_model *model, const sg_edit *e, size_t number,
                             sg_neuron_table *table, sg_error *err)
{
    char what[48];
    snprintf(what, sizeof what, "edit %zu", number);
    sg_status status = sg_neuron_table_of(model, e->layer, table, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", what);
    SG_TRY(sg_neuron_check(table, what, e->channel < 0 ? 0 : e->channel, e->neuron, err));
    if (!(fabs(e->value) <= FLT_MAX))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected a number of 32 bits", what,
                       SG_NUMBER(e->value));
    if (e->kind != SG_EDIT_SCALE && e->kind != SG_EDIT_FIX && e->kind != SG_EDIT_REMOVE)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found kind %d, expected 0 to 2", what,
                       (int)e->kind);
    if (e->first < 0 || e->last < -1 || (e->last >= 0 && e->last < e->first))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found positions %lld to %lld, expected the first at least 0 and the "
                       "last not before it",
                       what, (long long)e->first, (long long)e->last);
    if (e->kind != SG_EDIT_FIX) return SG_OK;
    if (e->channel < 0 && table->channels > 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: channel: found every one, expected one of 0 to %lld for a neuron that "
                       "is fixed",
                       what, (long long)table->channels - 1);
    if (table->summed || e->value == 0) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: found a neuron that is fixed in layer %lld, whose memory goes on computing "
                   "with the sum of its values; expected scale or remove",
                   what, (long long)e->layer);
}

// Checks a list and writes every channel of -1 out. *out (*count): sg_free.
static sg_status edits_expand(const sg_model *model, const sg_edit *list, size_t n, sg_edit **out,
                              size_t *count, sg_error *err)
{
    size_t room = 0;
    sg_neuron_table t;
    *out = NULL;
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        sg_status status = edits_check(model, &list[i], i, &t, err);
        const int64_t copies = status == SG_OK && list[i].channel < 0 ? t.channels : 1;
        if (status == SG_OK && *count + (size_t)copies > SG_EDITS_MOST)
            status = sg_fail(err, SG_ERR_ARGUMENT, "edits: found more than %d, expected fewer",
                             SG_EDITS_MOST);
        if (status == SG_OK && !sg_grow((void **)out, &room, *count + (size_t)copies, sizeof **out))
            status = edits_fail_room(err);
        if (status != SG_OK) {
            sg_free(*out);
            *out = NULL;
            return status;
        }
        for (int64_t c = 0; c < copies; c++) {
            (*out)[*count] = list[i];
            if (list[i].channel < 0) (*out)[*count].channel = c;
            ++*count;
        }
    }
    return SG_OK;
}

static edit_layer *edits_layer(sg_edits *e, int64_t layer)
{
    for (size_t i = 0; i < e->layer_count; i++)
        if (e->layers[i].table.layer == layer) return &e->layers[i];
    return NULL;
}

static void edits_clear(sg_edits *e)
{
    for (size_t i = 0; i < e->layer_count; i++) {
        edit_layer *l = &e->layers[i];
        sg_free(l->rows);
        l->rows = NULL;
        l->targets = NULL;
        l->count = 0;
        l->fixed = 0;
    }
    sg_free(e->list);
    sg_free(e->ordered);
    sg_free(e->targets);
    e->list = NULL;
    e->ordered = NULL;
    e->targets = NULL;
    e->count = e->target_count = 0;
}

// By neuron, those of one in the order of the list; what changes nothing is left out.
static size_t edits_sort(sg_edits *e)
{
    size_t used = 0;
    for (size_t i = 0; i < e->count; i++)
        if (!edits_idle(&e->list[i])) e->ordered[used++] = (edit_item){e->list[i], i};
    qsort(e->ordered, used, sizeof *e->ordered, edits_order);
    return used;
}

static sg_status edits_targets(sg_edits *e, size_t used, sg_error *err)
{
    for (size_t i = 0; i < used; i++) {
        const sg_edit *first = &e->ordered[i].edit;
        edit_layer *l = edits_layer(e, first->layer);
        if (l == NULL)
            return sg_fail(err, SG_ERR_INTERNAL, "edits: found layer %lld, expected one with room",
                           (long long)first->layer);
        edit_target *t = &e->targets[e->target_count++];
        *t = (edit_target){
            .channel = first->channel, .neuron = first->neuron, .first = i, .fixed = -1};
        if (l->count == 0) l->targets = t;
        l->count++;
        while (i + 1 < used && edits_compare(first, &e->ordered[i + 1].edit) == 0)
            i++;
        t->end = i + 1;
        for (size_t j = t->first; j < t->end && t->fixed < 0; j++)
            if (edits_adds(&e->ordered[j].edit, &l->table)) t->fixed = l->fixed++;
    }
    return SG_OK;
}

// Rows of w_out of the neurons that are fixed.
static sg_status edits_rows(edit_layer *l, sg_error *err)
{
    if (l->fixed == 0) return SG_OK;
    l->rows = sg_alloc_array((size_t)(l->fixed * l->table.width), sizeof *l->rows);
    if (l->rows == NULL) return edits_fail_room(err);
    for (size_t i = 0; i < l->count; i++) {
        const edit_target *t = &l->targets[i];
        if (t->fixed >= 0)
            SG_TRY(sg_neuron_out(&l->table, t->channel, t->neuron,
                                 l->rows + t->fixed * l->table.width, err));
    }
    return SG_OK;
}

static sg_status edits_take(sg_edits *e, const sg_edit *list, size_t count, sg_error *err)
{
    SG_TRY(edits_expand(e->model, list, count, &e->list, &e->count, err));
    e->ordered = sg_alloc_zero(e->count + 1, sizeof *e->ordered);
    e->targets = sg_alloc_zero(e->count + 1, sizeof *e->targets);
    if (e->ordered == NULL || e->targets == NULL) return edits_fail_room(err);
    SG_TRY(edits_targets(e, edits_sort(e), err));
    for (size_t i = 0; i < e->layer_count; i++)
        SG_TRY(edits_rows(&e->layers[i], err));
    return SG_OK;
}

sg_status sg_edits_set(sg_edits *e, const sg_edit *list, size_t count, sg_error *err)
{
    edits_clear(e);
    const sg_status status = edits_take(e, list, count, err);
    if (status != SG_OK) edits_clear(e);
    return status;
}

// ---- points -------------------------------------------------------------------------------------

static void edits_ask(sg_edits *e, edit_layer *l, const char *name, unsigned use, sg_point_fn call)
{
    const size_t at = e->points.count++;
    char *full = l->names[l->name_count++];
    snprintf(full, sizeof *l->names, "blocks.%lld.%s", (long long)l->table.layer, name);
    e->requests[at] = (sg_point_request){.name = full, .use = use, .call = call, .user = l};
}

sg_status sg_edits_room(const sg_model *model, const bool *layers, bool fixes, sg_edits **out,
                        sg_error *err)
{
    const int64_t count = model->config.num_hidden_layers;
    sg_status status = SG_OK;
    sg_edits *e = sg_alloc_zero(1, sizeof *e);
    *out = NULL;
    if (e == NULL) return edits_fail_room(err);
    e->model = model;
    e->layers = sg_alloc_zero((size_t)count, sizeof *e->layers);
    e->requests = sg_alloc_zero((size_t)count, 3 * sizeof *e->requests);
    if (e->layers == NULL || e->requests == NULL) status = edits_fail_room(err);
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        if (!layers[i]) continue;
        edit_layer *l = &e->layers[e->layer_count++];
        l->of = e;
        status = sg_neuron_table_of(model, i, &l->table, err);
        if (status != SG_OK) break;
        if (!l->table.dense) edits_ask(e, l, "mlp.hook_gate_ids", SG_POINT_READ, edits_ids);
        edits_ask(e, l, "mlp.hook_post", SG_POINT_WRITE, edits_post);
        l->fixes = fixes && !l->table.dense;
        if (l->fixes) edits_ask(e, l, "hook_mlp_out", SG_POINT_WRITE, edits_out);
    }
    if (status != SG_OK) {
        sg_edits_free(e);
        return status;
    }
    e->points.items = e->requests;
    *out = e;
    return SG_OK;
}

sg_status sg_edits_new(const sg_model *model, const sg_edit *list, size_t count, sg_edits **out,
                       sg_error *err)
{
    const int64_t layers = model->config.num_hidden_layers;
    bool *asked = sg_alloc_zero((size_t)layers, sizeof *asked), fixes = false;
    *out = NULL;
    if (asked == NULL) return edits_fail_room(err);
    for (size_t i = 0; i < count; i++) { // what there is not, sg_edits_set refuses
        if (edits_idle(&list[i]) || list[i].layer < 0 || list[i].layer >= layers) continue;
        asked[list[i].layer] = true;
        fixes = fixes || list[i].kind == SG_EDIT_FIX;
    }
    sg_status status = sg_edits_room(model, asked, fixes, out, err);
    sg_free(asked);
    if (status == SG_OK) status = sg_edits_set(*out, list, count, err);
    if (status != SG_OK) {
        sg_edits_free(*out);
        *out = NULL;
    }
    return status;
}

void sg_edits_free(sg_edits *e)
{
    if (e == NULL) return;
    edits_clear(e);
    for (size_t i = 0; i < e->layer_count; i++) {
        const edit_layer *l = &e->layers[i];
        for (size_t n = 0; n < l->note_count; n++) {
            sg_free(l->notes[n].ids);
            sg_free(l->notes[n].counts);
            sg_free(l->notes[n].added);
        }
        sg_free(l->notes);
    }
    sg_free(e->layers);
    sg_free(e->requests);
    sg_free(e);
}

const sg_points *sg_edits_points(const sg_edits *e)
{
    return &e->points;
}

const sg_edit *sg_edits_list(const sg_edits *e, size_t *count)
{
    *count = e->count;
    return e->list;
}

size_t sg_edits_neurons(const sg_edits *e)
{
    return e->target_count;
}

sg_edit_use sg_edits_use(const sg_edits *e, size_t i)
{
    const edit_target *t = &e->targets[i];
    return (sg_edit_use){.layer = e->ordered[t->first].edit.layer,
                         .channel = t->channel,
                         .neuron = t->neuron,
                         .tokens = t->tokens,
                         .selected = t->selected};
}

// ---- files --------------------------------------------------------------------------------------

sg_status sg_edits_from_memory(const sg_model *model, const void *data, size_t bytes,
                               const char *name, sg_edits **edits, sg_error *err)
{
    sg_edit *list;
    size_t count;
    *edits = NULL;
    SG_TRY(sg_edit_file_parse(model, data, bytes, name, &list, &count, err));
    sg_status status = sg_edits_new(model, list, count, edits, err);
    sg_free(list);
    return status == SG_OK ? status : sg_fail_context(err, status, "%s", name);
}

sg_status sg_edits_open(const sg_model *model, const char *path, sg_edits **edits, sg_error *err)
{
    char *text;
    size_t bytes;
    *edits = NULL;
    SG_TRY(sg_file_read(path, SG_EDIT_FILE_MOST, &text, &bytes, err));
    sg_status status = sg_edits_from_memory(model, text, bytes, path, edits, err);
    sg_free(text);
    return status;
}
