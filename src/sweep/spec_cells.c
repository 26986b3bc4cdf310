// Cells of a sweep file: the products of its axes, with the options of each.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/spec_inside.h"

// A cell that is being made.
typedef struct cells_maker {
    const sg_spec_group *group;
    const json_t *values[SG_SPEC_AXES]; // of each axis
    sg_sweep_cell *cell;
    json_t *settings;
    char ffn[SG_SWEEP_NAME]; // what {family} stands for
    char scale[32];
    sg_error *err;
} cells_maker;

static sg_status cells_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the cells of a sweep");
}

// ---- options ------------------------------------------------------------------------------------

// Copies `text` with both words replaced; false: too long.
static bool cells_expand(const cells_maker *m, const char *text, char out[SG_SPEC_VALUE])
{
    const struct {
        const char *word, *by;
    } words[] = {{"{family}", m->ffn}, {"{scale}", m->scale}};
    size_t used = 0;
    while (*text != '\0') {
        const char *add = text;
        size_t bytes = 1, taken = 1;
        for (size_t i = 0; i < 2; i++) {
            if (strncmp(text, words[i].word, strlen(words[i].word)) != 0) continue;
            add = words[i].by;
            bytes = strlen(add);
            taken = strlen(words[i].word);
        }
        if (used + bytes >= SG_SPEC_VALUE) return false;
        memcpy(out + used, add, bytes);
        used += bytes;
        text += taken;
    }
    out[used] = '\0';
    return true;
}

static sg_status cells_set(const cells_maker *m, const char *key, const json_t *value)
{
    char name[SG_SPEC_OPTION], text[SG_SPEC_VALUE];
    json_t *copy;
    if (!sg_spec_option_name(key, name))
        return sg_fail(m->err, SG_ERR_FORMAT, "%.60s: there is no such option", key);
    if (json_is_string(value)) {
        if (!cells_expand(m, json_string_value(value), text))
            return sg_fail(m->err, SG_ERR_FORMAT, "%s: expected a text of less than %d bytes", name,
                           SG_SPEC_VALUE);
        copy = json_string(text);
    } else {
        copy = json_deep_copy(value);
    }
    return json_object_set_new(m->cell->options, name, copy) == 0 ? SG_OK : cells_memory(m->err);
}

static sg_status cells_set_all(const cells_maker *m, const json_t *object, bool bundle)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key,
                        value) if (!bundle || strcmp(key, "name") != 0)
        SG_TRY(cells_set(m, key, value));
    return SG_OK;
}

// ---- axes ---------------------------------------------------------------------------------------

static sg_status cells_setting(const cells_maker *m, const sg_spec_axis *axis, const json_t *value)
{
    char name[SG_SWEEP_NAME] = "";
    sg_spec_value_name(value, name);
    return json_object_set_new(m->settings, axis->name, json_string(name)) == 0
               ? SG_OK
               : cells_memory(m->err);
}

static sg_status cells_apply(const cells_maker *m, const sg_spec_axis *axis, const json_t *value)
{
    json_t *ffn;
    sg_status status;
    switch (axis->kind) {
    case SG_SPEC_SCALE:
        return SG_OK;
    case SG_SPEC_BUDGET:
        m->cell->budget = json_number_value(value);
        return cells_set(m, "flops", value);
    case SG_SPEC_FAMILY:
        sg_spec_value_name(value, m->cell->family);
        ffn = json_string(m->ffn);
        status = ffn != NULL ? cells_set(m, "ffn", ffn) : cells_memory(m->err);
        json_decref(ffn);
        if (status != SG_OK || !json_is_object(value)) return status;
        return cells_set_all(m, value, true);
    case SG_SPEC_OPTION_AXIS:
        SG_TRY(cells_setting(m, axis, value));
        return cells_set(m, axis->name, value);
    case SG_SPEC_BUNDLES:
        break;
    }
    SG_TRY(cells_setting(m, axis, value));
    return cells_set_all(m, value, true);
}

// What templates stand for, which all options need.
static void cells_words(cells_maker *m, double scale)
{
    for (size_t i = 0; i < m->group->axis_count; i++) {
        const json_t *value = m->values[i];
        if (m->group->axes[i].kind == SG_SPEC_SCALE)
            m->cell->scale = isnan(scale) ? json_number_value(value) : scale;
        if (m->group->axes[i].kind != SG_SPEC_FAMILY) continue;
        const char *ffn = json_string_value(json_object_get(value, "ffn"));
        if (ffn != NULL)
            snprintf(m->ffn, sizeof m->ffn, "%s", ffn);
        else
            sg_spec_value_name(value, m->ffn);
    }
    sg_number_text(m->cell->scale, m->scale);
}

static sg_status cells_fill(cells_maker *m)
{
    SG_TRY(cells_set_all(m, m->group->shared, false));
    SG_TRY(cells_set_all(m, m->group->options, false));
    for (size_t i = 0; i < m->group->axis_count; i++)
        SG_TRY(cells_apply(m, &m->group->axes[i], m->values[i]));
    const size_t bytes = json_dumpb(m->settings, m->cell->settings, SG_SWEEP_SETTINGS - 1,
                                    JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    if (bytes == 0) return cells_memory(m->err);
    if (bytes > SG_SWEEP_SETTINGS - 1)
        return sg_fail(m->err, SG_ERR_FORMAT,
                       "%saxes: the names and values of a cell's axes take %zu bytes, expected at "
                       "most %d",
                       m->group->place, bytes, SG_SWEEP_SETTINGS - 1);
    m->cell->settings[bytes] = '\0';
    return SG_OK;
}

// ---- a cell -------------------------------------------------------------------------------------

// "cell 7 (sgatlin, scale 4, budget 1e+13, {"lr": "0.003"})"
static void cells_label(const sg_sweep_cell *cell, char *text, size_t capacity)
{
    const char *begin = " (";
    size_t used = (size_t)snprintf(text, capacity, "cell %zu", cell->index);
    const size_t bare = used;
    char parts[4][SG_SWEEP_SETTINGS] = {"", "", "", ""};
    snprintf(parts[0], sizeof parts[0], "%s", cell->family);
    if (!isnan(cell->scale)) snprintf(parts[1], 64, "scale %s", SG_NUMBER(cell->scale));
    if (!isnan(cell->budget)) snprintf(parts[2], 64, "budget %s", SG_NUMBER(cell->budget));
    if (strcmp(cell->settings, "{}") != 0)
        snprintf(parts[3], sizeof parts[3], "%.200s", cell->settings);
    for (size_t i = 0; i < 4; i++) {
        if (parts[i][0] == '\0') continue;
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", begin, parts[i]);
        begin = ", ";
    }
    if (used > bare) snprintf(text + used, capacity - used, ")");
}

sg_status sg_spec_cell_make(const sg_sweep_spec *spec, const sg_spec_group *group, size_t number,
                            double scale, sg_sweep_cell *cell, sg_error *err)
{
    cells_maker m = {.group = group, .cell = cell, .err = err};
    sg_train_options options;
    char label[512];
    for (size_t i = group->axis_count; i-- > 0;) {
        const size_t n = json_array_size(group->axes[i].values);
        m.values[i] = json_array_get(group->axes[i].values, number % n);
        number /= n;
    }
    *cell = (sg_sweep_cell){.index = cell->index, .scale = NAN, .budget = NAN};
    cells_words(&m, scale);
    cell->options = json_object();
    m.settings = json_object();
    sg_status status = cell->options && m.settings ? cells_fill(&m) : cells_memory(err);
    json_decref(m.settings);
    if (status == SG_OK) {
        status = sg_sweep_cell_options(spec, cell, &options, err);
        cells_label(cell, label, sizeof label);
        if (status != SG_OK) sg_fail_context(err, status, "%s", label);
    }
    if (status == SG_OK && sg_spec_axis_of(group, SG_SPEC_FAMILY) == NULL)
        snprintf(cell->family, sizeof cell->family, "%s", options.config.ffn);
    if (status != SG_OK) sg_sweep_cell_clear(cell);
    return status;
}

void sg_sweep_cell_clear(sg_sweep_cell *cell)
{
    json_decref(cell->options);
    *cell = (sg_sweep_cell){.index = cell->index, .scale = NAN, .budget = NAN};
}

sg_status sg_sweep_cell_at_scale(const sg_sweep_spec *spec, const sg_sweep_cell *cell, double scale,
                                 sg_sweep_cell *out, sg_error *err)
{
    size_t first = 0;
    *out = (sg_sweep_cell){.index = cell->index};
    if (!(scale > 0 && isfinite(scale)))
        return sg_fail(err, SG_ERR_ARGUMENT, "scale: found %s, expected a number above 0",
                       SG_NUMBER(scale));
    for (size_t g = 0; g < sg_spec_group_count(spec->root); g++) {
        sg_spec_group group;
        SG_TRY(sg_spec_group_read(spec->root, g, &group, err));
        if (cell->index >= first + group.cells) {
            first += group.cells;
            continue;
        }
        if (sg_spec_axis_of(&group, SG_SPEC_SCALE) == NULL) break;
        return sg_spec_cell_make(spec, &group, cell->index - first, scale, out, err);
    }
    return sg_fail(err, SG_ERR_ARGUMENT, "cell %zu: there is no axis \"scale\"", cell->index);
}

// ---- options of a run ---------------------------------------------------------------------------

typedef char cells_text[40]; // of a number, true or false

sg_status sg_sweep_cell_options(const sg_sweep_spec *spec, const sg_sweep_cell *cell,
                                sg_train_options *options, sg_error *err)
{
    const size_t count = json_object_size(cell->options);
    sg_setting *settings = sg_alloc_array(count, sizeof *settings);
    cells_text *texts = sg_alloc_array(count, sizeof *texts);
    const char *key;
    json_t *value;
    size_t n = 0;
    sg_status status = settings && texts ? SG_OK : cells_memory(err);
    if (status == SG_OK) json_object_foreach(cell->options, key, value)
        {
            char text[SG_SPEC_VALUE] = "";
            settings[n] = (sg_setting){key, json_string_value(value)};
            if (!json_is_string(value)) {
                sg_spec_value_text(value, text);
                snprintf(texts[n], sizeof texts[n], "%.39s", text);
                settings[n].value = texts[n];
            }
            n++;
        }
    if (status == SG_OK) status = sg_train_options_named(settings, n, options, err);
    if (status == SG_OK) {
        options->seed = spec->seeds[0];
        status = sg_train_options_check(options, err);
    }
    sg_free(settings);
    sg_free(texts);
    return status;
}
