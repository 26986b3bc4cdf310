// Reading runs for comparison: what they are, what they came to, and their curves. A run under way
// is read as far as it is.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "train/run_settings.h"
#include "train/run_state.h"
#include "sgatlin_train.h"

// Calls `each` for every line of metrics.jsonl that is a JSON object; a run may have none yet.
static sg_status read_records(const char *run, bool (*each)(void *user, const json_t *record),
                              void *user, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_map map;
    SG_TRY(sg_path_join(path, sizeof path, run, "metrics.jsonl", err));
    sg_status status = sg_map_open(path, &map, err);
    if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
    SG_TRY(status);
    bool go = true;
    for (size_t at = 0; at < map.bytes && go;) {
        const char *line = (const char *)map.data + at;
        const char *end = memchr(line, '\n', map.bytes - at);
        if (end == NULL) break; // the run is writing it
        json_t *record;
        const sg_status parsed = sg_json_parse(line, (size_t)(end - line), path, &record, NULL);
        if (parsed == SG_OK) {
            go = !json_is_object(record) || each(user, record);
            json_decref(record);
        }
        if (parsed == SG_ERR_MEMORY) go = false;
        at += (size_t)(end - line) + 1;
    }
    sg_map_close(&map);
    return go ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
}

// ---- what it is ---------------------------------------------------------------------------------

static bool read_step(void *user, const json_t *record)
{
    const json_t *step = json_object_get(record, "step");
    if (json_is_integer(step)) *(int64_t *)user = json_integer_value(step);
    return true;
}

static sg_status read_result(const char *run, sg_train_run *out, sg_error *err)
{
    bool there, sealed;
    json_t *object;
    SG_TRY(sg_run_has(run, "summary.json", &there, err));
    if (!there) return SG_OK;
    SG_TRY(sg_run_read_json(run, "summary.json", &object, &sealed, err));
    sg_status status = sg_train_result_parse(object, "summary.json", &out->result, err);
    json_decref(object);
    out->finished = status == SG_OK && out->result.steps >= out->steps;
    return status;
}

sg_status sg_train_run_read(const char *run, sg_train_run *out, sg_error *err)
{
    sg_run_settings settings;
    *out = (sg_train_run){0};
    SG_TRY(sg_run_settings_read(run, &settings, err));
    out->options = settings.options;
    out->steps = settings.steps;
    snprintf(out->data_hash, sizeof out->data_hash, "%s", settings.data_hash);
    SG_TRY(read_records(run, read_step, &out->step, err));
    return read_result(run, out, err);
}

// ---- curves -------------------------------------------------------------------------------------

typedef struct read_curve {
    const char *x, *y;
    sg_curve *curve;
    size_t x_capacity, y_capacity;
    double last; // x of the last record that had it
} read_curve;

static bool read_point(void *user, const json_t *record)
{
    read_curve *c = user;
    const json_t *x = json_object_get(record, c->x), *y = json_object_get(record, c->y);
    if (json_is_number(x)) c->last = json_number_value(x);
    if (!json_is_number(y) || !isfinite(json_number_value(y)) || isnan(c->last)) return true;
    const size_t count = (size_t)c->curve->count + 1;
    if (!sg_grow((void **)&c->curve->x, &c->x_capacity, count, sizeof(double)) ||
        !sg_grow((void **)&c->curve->y, &c->y_capacity, count, sizeof(double)))
        return false;
    c->curve->x[c->curve->count] = c->last;
    c->curve->y[c->curve->count++] = json_number_value(y);
    return true;
}

sg_status sg_train_curve(const char *run, const char *y, const char *x, sg_curve *curve,
                         sg_error *err)
{
    const char *slash = strrchr(run, '/');
    *curve = (sg_curve){0};
    snprintf(curve->label, sizeof curve->label, "%s", slash && slash[1] ? slash + 1 : run);
    read_curve c = {.x = x, .y = y, .curve = curve, .last = NAN};
    sg_status status = read_records(run, read_point, &c, err);
    if (status != SG_OK) sg_curve_clear(curve);
    return status;
}

void sg_curve_clear(sg_curve *curve)
{
    sg_free(curve->x);
    sg_free(curve->y);
    curve->x = curve->y = NULL;
    curve->count = 0;
}
