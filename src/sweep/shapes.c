// What decides how long a step takes are the configuration and a few options of training; a shape
// is known by the JSON of these.
#include "sweep/shapes.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "train/run_options.h"

static const char *const shape_members[] = {
    "config",  "batch_size",     "grad_accum",  "optimizer_rows", "table_dtype", "train_only",
    "compute", "logits_compute", "memory_path", "recompute",      "lora_rank",   "lora_targets"};

static sg_status shape_options(const sg_sweep_row *row, json_t **options, sg_error *err)
{
    char name[64] = "run ";
    strncat(name, row->id, sizeof name - strlen(name) - 1);
    strncat(name, ": options", sizeof name - strlen(name) - 1);
    SG_TRY(sg_json_parse(row->options, strlen(row->options), name, options, err));
    if (json_is_object(*options)) return SG_OK;
    json_decref(*options);
    return sg_fail(err, SG_ERR_FORMAT, "%s: found no JSON object", name);
}

sg_status sg_sweep_options_of(const sg_sweep_row *row, sg_train_options *o, sg_error *err)
{
    json_t *options;
    SG_TRY(shape_options(row, &options, err));
    const sg_status status = sg_run_options_parse(options, row->id, o, err);
    json_decref(options);
    return status;
}

static sg_status shape_key(const sg_sweep_row *row, char **key, sg_error *err)
{
    json_t *options, *kept = json_object();
    sg_status status = shape_options(row, &options, err);
    if (status != SG_OK) {
        json_decref(kept);
        return status;
    }
    bool fine = kept != NULL;
    for (size_t i = 0; i < sizeof shape_members / sizeof *shape_members && fine; i++) {
        json_t *value = json_object_get(options, shape_members[i]);
        fine = value == NULL || json_object_set(kept, shape_members[i], value) == 0;
    }
    *key = fine ? json_dumps(kept, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(kept);
    json_decref(options);
    return *key != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for shapes of runs");
}

// Takes the key.
static sg_sweep_shape *shape_of(sg_sweep_shapes *shapes, size_t *capacity, char *key)
{
    for (size_t i = 0; i < shapes->count; i++)
        if (strcmp(shapes->items[i].key, key) == 0) {
            sg_free(key);
            return &shapes->items[i];
        }
    if (!sg_grow((void **)&shapes->items, capacity, shapes->count + 1, sizeof *shapes->items)) {
        sg_free(key);
        return NULL;
    }
    sg_sweep_shape *shape = &shapes->items[shapes->count++];
    *shape = (sg_sweep_shape){.key = key};
    for (int i = 0; i < SG_SWEEP_ROUNDS_MOST; i++)
        shape->seconds[i] = NAN;
    return shape;
}

static sg_status shape_add(const sg_sweep_bundle *b, size_t row, sg_sweep_shapes *shapes,
                           size_t *capacity, sg_error *err)
{
    char *key;
    SG_TRY(shape_key(&b->results.rows[row], &key, err));
    sg_sweep_shape *shape = shape_of(shapes, capacity, key);
    size_t *rows =
        shape == NULL ? NULL : sg_realloc(shape->rows, (shape->count + 1) * sizeof *shape->rows);
    if (rows == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for shapes of runs");
    shape->rows = rows;
    rows[shape->count++] = row;
    return SG_OK;
}

static bool shape_has(const sg_sweep_shape *shape, const sg_sweep_bundle *b, const char *family)
{
    for (size_t i = 0; i < shape->count; i++)
        if (strcmp(b->results.rows[shape->rows[i]].family, family) == 0) return true;
    return false;
}

static void shapes_keep(sg_sweep_shapes *shapes, const sg_sweep_bundle *b, const char *family)
{
    size_t kept = 0;
    for (size_t i = 0; i < shapes->count; i++) {
        sg_sweep_shape *shape = &shapes->items[i];
        if (shape_has(shape, b, family)) {
            if (kept < i) shapes->items[kept] = *shape;
            kept++;
        } else {
            sg_free(shape->key);
            sg_free(shape->rows);
        }
    }
    shapes->count = kept;
}

static void shape_rounds(sg_sweep_shape *shape, const sg_sweep_bundle *b, int64_t machine)
{
    for (size_t i = 0; i < b->round_count; i++) {
        const sg_sweep_round *r = &b->rounds[i];
        if (r->machine != machine || r->round >= SG_SWEEP_ROUNDS_MOST) continue;
        for (size_t k = 0; k < shape->count; k++)
            if (shape->rows[k] == r->row) shape->seconds[r->round] = r->seconds;
    }
}

static sg_status shapes_make(const sg_sweep_bundle *b, const char *family, int64_t machine,
                             sg_sweep_shapes *shapes, sg_error *err)
{
    size_t capacity = 0;
    sg_json_setup();
    for (size_t i = 0; i < b->results.count; i++)
        if (b->results.rows[i].state == SG_SWEEP_FINISHED)
            SG_TRY(shape_add(b, i, shapes, &capacity, err));
    if (family != NULL) shapes_keep(shapes, b, family);
    for (size_t i = 0; i < shapes->count; i++)
        shape_rounds(&shapes->items[i], b, machine);
    return SG_OK;
}

sg_status sg_sweep_shapes_of(const sg_sweep_bundle *bundle, const char *family, int64_t machine,
                             sg_sweep_shapes *shapes, sg_error *err)
{
    *shapes = (sg_sweep_shapes){0};
    const sg_status status = shapes_make(bundle, family, machine, shapes, err);
    if (status != SG_OK) sg_sweep_shapes_clear(shapes);
    return status;
}

void sg_sweep_shapes_clear(sg_sweep_shapes *shapes)
{
    for (size_t i = 0; i < shapes->count; i++) {
        sg_free(shapes->items[i].key);
        sg_free(shapes->items[i].rows);
    }
    sg_free(shapes->items);
    *shapes = (sg_sweep_shapes){0};
}
