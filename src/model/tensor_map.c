// Which rules a checkpoint goes by, and the arithmetic that turns one into pieces.
#include "model/tensor_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/hf_type.h"

// ---- which rules --------------------------------------------------------------------------------

const sg_tensor_map *sg_tensor_map_find(const char *type)
{
    static const struct {
        const char *type;
        const sg_tensor_map *map;
    } others[] = {{"sgatlin", &sg_map_same}, {"gguf", &sg_map_gguf}, {"llama2c", &sg_map_llama2c}};
    const sg_hf_type *known = sg_hf_type_find(type);
    if (known != NULL) return known->map;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].type, type) == 0) return others[i].map;
    return NULL;
}

const sg_tensor_map *sg_tensor_map_of_modules(const sg_tensor_map *map)
{
    return map == NULL || map->is_gguf || map == &sg_map_llama2c ? &sg_map_same : map;
}

// ---- names --------------------------------------------------------------------------------------

// "model.layers.12.x" as "model.layers.{l}.x"; *layer stays where there is none.
static void map_pattern(const char *name, char pattern[SG_PARAM_NAME], int64_t *layer)
{
    static const char start[] = "model.layers.";
    const size_t n = sizeof start - 1;
    char *end = NULL;
    snprintf(pattern, SG_PARAM_NAME, "%s", name);
    if (strncmp(name, start, n) != 0 || name[n] < '0' || name[n] > '9') return;
    *layer = strtoll(name + n, &end, 10);
    snprintf(pattern, SG_PARAM_NAME, "%s{l}%s", start, end);
}

// A name of theirs with its numbers; false when it is too long.
static bool map_name(const char *prefix, const char *pattern, int64_t layer, int64_t expert,
                     char name[SG_PARAM_NAME])
{
    size_t used = (size_t)snprintf(name, SG_PARAM_NAME, "%s", prefix);
    for (const char *p = pattern; *p != '\0' && used < SG_PARAM_NAME; p++) {
        const bool is_layer = strncmp(p, "{l}", 3) == 0, is_expert = strncmp(p, "{e}", 3) == 0;
        if (is_layer || is_expert) {
            used += (size_t)snprintf(name + used, SG_PARAM_NAME - used, "%lld",
                                     (long long)(is_layer ? layer : expert));
            p += 2;
        } else {
            name[used++] = *p;
        }
        if (used < SG_PARAM_NAME) name[used] = '\0';
    }
    return used < SG_PARAM_NAME;
}

static const char *map_prefix(const sg_tensor_map *map, const sg_tensors *tensors)
{
    if (map->prefixes[0] == NULL) return "";
    for (int i = 0; tensors != NULL && map->prefixes[i] != NULL; i++) {
        char name[SG_PARAM_NAME];
        if (map_name(map->prefixes[i], map->probe, 0, 0, name) &&
            tensors->find(tensors->file, name) != NULL)
            return map->prefixes[i];
    }
    return map->prefixes[0];
}

// ---- rules into pieces --------------------------------------------------------------------------

typedef struct map_work {
    const sg_tensor_map *map;
    const sg_config *config;
    const sg_param_spec *spec;
    const sg_tensors *tensors;
    sg_pieces *pieces;
    const char *prefix;
    int64_t layer, rows, width; // of the parameter as a matrix
    sg_error *err;
} map_work;

static sg_status map_add(const map_work *w, sg_piece piece)
{
    sg_pieces *all = w->pieces;
    if (w->tensors != NULL) {
        piece.view = w->tensors->find(w->tensors->file, piece.tensor);
        if (piece.view == NULL)
            return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s is missing", w->tensors->name,
                           piece.tensor);
        bool fits = piece.view->ndim == piece.ndim;
        for (int i = 0; fits && i < piece.ndim; i++)
            fits = piece.view->shape[i] == piece.shape[i];
        if (!fits) {
            char found[128], expected[128];
            sg_tensor_view wanted = *piece.view;
            wanted.ndim = piece.ndim;
            memcpy(wanted.shape, piece.shape, sizeof wanted.shape);
            return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s: found shape %s, expected %s",
                           w->tensors->name, piece.tensor,
                           sg_tensor_view_shape_text(piece.view, found, sizeof found),
                           sg_tensor_view_shape_text(&wanted, expected, sizeof expected));
        }
    }
    if (all->count == all->capacity) {
        size_t capacity = all->capacity ? 2 * all->capacity : 8;
        sg_piece *items = sg_realloc(all->items, capacity * sizeof *items);
        if (items == NULL)
            return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for the tensors of a model");
        all->items = items;
        all->capacity = capacity;
    }
    all->items[all->count++] = piece;
    return SG_OK;
}

// A piece of a matrix (rows, width) of theirs, or a vector of `rows` where ours is one.
static sg_piece map_matrix(const map_work *w, int64_t rows, int64_t width, int64_t first,
                           int64_t count)
{
    sg_piece piece = {.first = first, .count = count, .ndim = w->spec->rank == 1 ? 1 : 2};
    piece.shape[0] = rows;
    if (piece.ndim == 2) piece.shape[1] = width;
    return piece;
}

static sg_status map_named(const map_work *w, const sg_tensor_rule *rule, int64_t expert,
                           sg_piece piece)
{
    if (!map_name(w->prefix, rule->theirs, w->layer, expert, piece.tensor))
        return sg_fail(w->err, SG_ERR_INTERNAL, "%s: the name of its tensor is too long",
                       w->spec->name);
    return map_add(w, piece);
}

static sg_status map_same(const map_work *w, const sg_tensor_rule *rule)
{
    sg_piece piece = {.count = w->rows, .ndim = w->spec->rank};
    memcpy(piece.shape, w->spec->shape, (size_t)piece.ndim * sizeof *piece.shape);
    return map_named(w, rule, 0, piece);
}

static sg_status map_head_thirds(const map_work *w, const sg_tensor_rule *rule)
{
    const int64_t hd = w->config->head_dim;
    for (int64_t h = 0; h < w->rows / hd; h++) {
        sg_piece piece = map_matrix(w, 3 * w->rows, w->width, h * hd, hd);
        piece.row = (3 * h + rule->part) * hd;
        SG_TRY(map_named(w, rule, 0, piece));
    }
    return SG_OK;
}

// Experts are the first dimension of the parameter. `of` rules make up one of them; stacked: each
// rule is one tensor of all experts.
static sg_status map_experts(const map_work *w, const sg_tensor_rule *rule, int of, bool stacked)
{
    const int64_t experts = w->spec->shape[0], rows = w->rows / experts / of;
    for (int64_t e = 0; e < experts; e++)
        for (int i = 0; i < of; i++) {
            sg_piece piece = map_matrix(w, rows, w->width, (e * of + i) * rows, rows);
            if (stacked) {
                piece.ndim = 3;
                memcpy(piece.shape, (int64_t[]){experts, rows, w->width}, 3 * sizeof *piece.shape);
                piece.row = e * rows;
            }
            SG_TRY(map_named(w, rule + i, e, piece));
        }
    return SG_OK;
}

static sg_status map_experts_transposed(const map_work *w, const sg_tensor_rule *rule)
{
    const int64_t experts = w->spec->shape[0], rows = w->rows / experts;
    for (int64_t e = 0; e < experts; e++)
        SG_TRY(map_named(w, rule, 0,
                         (sg_piece){.first = e * rows,
                                    .count = rows,
                                    .ndim = 3,
                                    .shape = {experts, w->width, rows},
                                    .row = e * w->width,
                                    .transposed = true}));
    return SG_OK;
}

// A table (E, out, in) in blocks of 32; the scales lie in a tensor of the same name but its end.
static sg_status map_mxfp4(const map_work *w, const sg_tensor_rule *rule)
{
    const int64_t blocks = w->width / 32;
    char name[SG_PARAM_NAME];
    sg_piece piece = {
        .count = w->rows, .ndim = 4, .shape = {w->spec->shape[0], w->spec->shape[1], blocks, 16}};
    if (w->width % 32 != 0)
        return sg_fail(w->err, SG_ERR_MISMATCH, "%s: found rows of %lld, expected a multiple of 32",
                       w->spec->name, (long long)w->width);
    SG_TRY(map_named(w, rule, 0, piece));
    sg_piece *added = &w->pieces->items[w->pieces->count - 1];
    if (w->tensors == NULL) return SG_OK;
    snprintf(name, sizeof name, "%.*s_scales", (int)(strlen(added->tensor) - strlen("_blocks")),
             added->tensor);
    added->scales = w->tensors->find(w->tensors->file, name);
    if (added->scales == NULL)
        return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s is missing", w->tensors->name, name);
    const sg_tensor_view *s = added->scales;
    if (s->ndim != 3 || s->shape[0] != piece.shape[0] || s->shape[1] != piece.shape[1] ||
        s->shape[2] != blocks || s->dtype != SG_DTYPE_U8 || added->view->dtype != SG_DTYPE_U8)
        return sg_fail(w->err, SG_ERR_MISMATCH,
                       "%s: tensor %s: expected bytes, one for each block of %s", w->tensors->name,
                       name, added->tensor);
    return SG_OK;
}

static sg_status map_apply(const map_work *w, const sg_tensor_rule *rule)
{
    const int64_t R = w->rows, k = w->width;
    sg_piece piece;
    switch (rule->how) {
    case SG_RULE_SAME:
        return map_same(w, rule);
    case SG_RULE_TRANSPOSED:
        piece = map_matrix(w, k, R, 0, R);
        piece.transposed = true;
        return map_named(w, rule, 0, piece);
    case SG_RULE_THIRD:
        piece = map_matrix(w, 3 * R, k, 0, R);
        piece.row = rule->part * R;
        return map_named(w, rule, 0, piece);
    case SG_RULE_THIRD_TRANSPOSED:
        piece = map_matrix(w, k, 3 * R, 0, R);
        piece.column = rule->part * R;
        piece.transposed = true;
        return map_named(w, rule, 0, piece);
    case SG_RULE_HEAD_THIRD:
        return map_head_thirds(w, rule);
    case SG_RULE_ROW:
        return map_named(w, rule, 0, (sg_piece){.count = R, .ndim = 1, .shape = {k}});
    case SG_RULE_HALF:
        for (int i = 0; i < 2; i++)
            SG_TRY(map_named(w, rule + i, 0, map_matrix(w, R / 2, k, i * (R / 2), R / 2)));
        return SG_OK;
    case SG_RULE_EXPERT:
        return map_experts(w, rule, 1, false);
    case SG_RULE_EXPERT_HALF:
        return map_experts(w, rule, 2, false);
    case SG_RULE_STACKED_HALF:
        return map_experts(w, rule, 2, true);
    case SG_RULE_EXPERT_TRANSPOSED:
        return map_experts_transposed(w, rule);
    case SG_RULE_MXFP4:
        return map_mxfp4(w, rule);
    }
    return SG_OK;
}

// Whether a rule begins an alternative: those behind it may be its further parts.
static bool map_begins(const sg_tensor_rule *rule)
{
    return rule->part == 0 || rule->how == SG_RULE_THIRD || rule->how == SG_RULE_THIRD_TRANSPOSED ||
           rule->how == SG_RULE_HEAD_THIRD;
}

// The first alternative for a name of ours that the file has; the first of all where it has none.
static const sg_tensor_rule *map_rule_of(const map_work *w, const char *pattern)
{
    const sg_tensor_rule *first = NULL;
    for (size_t l = 0; l < sizeof w->map->rules / sizeof *w->map->rules; l++)
        for (const sg_tensor_rule *r = w->map->rules[l]; r != NULL && r->ours != NULL; r++) {
            char name[SG_PARAM_NAME];
            if (strcmp(r->ours, pattern) != 0 || !map_begins(r)) continue;
            if (first == NULL) first = r;
            if (w->tensors != NULL && map_name(w->prefix, r->theirs, w->layer, 0, name) &&
                w->tensors->find(w->tensors->file, name) != NULL)
                return r;
        }
    return first;
}

static const char map_table[] = "model.embed_tokens.weight", map_head[] = "lm_head.weight";

// A tied model may have its one matrix under the classifier's name alone.
static bool map_is_under_head(const map_work *w)
{
    const sg_tensors *tensors = w->tensors;
    return tensors != NULL && !w->config->untied_classifier &&
           strcmp(w->spec->name, map_table) == 0 &&
           sg_tensor_map_embedding(w->map, tensors) == NULL &&
           tensors->find(tensors->file, sg_tensor_map_head(w->map)) != NULL;
}

sg_status sg_tensor_map_pieces(const sg_tensor_map *map, const sg_config *config,
                               const sg_param_spec *spec, const sg_tensors *tensors,
                               sg_pieces *pieces, sg_error *err)
{
    char pattern[SG_PARAM_NAME];
    map_work w = {.map = map,
                  .config = config,
                  .spec = spec,
                  .tensors = tensors,
                  .pieces = pieces,
                  .prefix = map_prefix(map, tensors),
                  .width = spec->rank > 1 ? spec->shape[spec->rank - 1] : 1,
                  .err = err};
    w.rows = spec->count / w.width;
    pieces->count = 0;
    map_pattern(spec->name, pattern, &w.layer);
    if (map_is_under_head(&w)) {
        w.prefix = "";
        return map_same(&w, &(sg_tensor_rule){.theirs = sg_tensor_map_head(map)});
    }
    const sg_tensor_rule *rule = map_rule_of(&w, pattern);
    // What no rule names is named alike, without a prefix.
    if (rule == NULL) {
        w.prefix = "";
        return map_same(&w, &(sg_tensor_rule){.theirs = pattern});
    }
    return map_apply(&w, rule);
}

void sg_pieces_free(sg_pieces *pieces)
{
    sg_free(pieces->items);
    *pieces = (sg_pieces){0};
}

// ---- what is beside parameters ------------------------------------------------------------------

const char *sg_tensor_map_head(const sg_tensor_map *map)
{
    const map_work w = {.map = map};
    const sg_tensor_rule *rule = map_rule_of(&w, map_head);
    return rule != NULL ? rule->theirs : map_head;
}

const sg_tensor_view *sg_tensor_map_embedding(const sg_tensor_map *map, const sg_tensors *tensors)
{
    char name[SG_PARAM_NAME];
    const map_work w = {.map = map, .tensors = tensors, .prefix = map_prefix(map, tensors)};
    const sg_tensor_rule *rule = map_rule_of(&w, map_table);
    const bool fits =
        map_name(rule != NULL ? w.prefix : "", rule != NULL ? rule->theirs : map_table, 0, 0, name);
    return fits ? tensors->find(tensors->file, name) : NULL;
}

const char *sg_tensor_map_buffer(const sg_tensor_map *map, const char *tensor)
{
    const size_t n = strlen(tensor);
    for (size_t i = 0; i < sizeof map->skips / sizeof *map->skips && map->skips[i] != NULL; i++) {
        const size_t m = strlen(map->skips[i]);
        if (n >= m && strcmp(tensor + n - m, map->skips[i]) == 0) return map->skips[i];
    }
    return NULL;
}
