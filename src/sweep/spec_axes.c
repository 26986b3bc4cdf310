// Options and axes of a sweep file: that each option exists and can have each value it is given,
// that none is set in two places of which one would have no effect.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fields.h"
#include "sweep/spec_inside.h"

enum { axes_values_most = 1000 };

// ---- options ------------------------------------------------------------------------------------

bool sg_spec_option_name(const char *key, char name[SG_SPEC_OPTION])
{
    if (strlen(key) >= SG_SPEC_OPTION) return false;
    memcpy(name, key, strlen(key) + 1);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '-') *c = '_';
    return true;
}

bool sg_spec_value_text(const json_t *value, char text[SG_SPEC_VALUE])
{
    int bytes = -1;
    if (json_is_string(value)) {
        if (json_string_length(value) != strlen(json_string_value(value))) return false;
        bytes = snprintf(text, SG_SPEC_VALUE, "%s", json_string_value(value));
    } else if (json_is_integer(value)) {
        bytes = snprintf(text, SG_SPEC_VALUE, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        bytes = snprintf(text, SG_SPEC_VALUE, "%s", SG_NUMBER(json_real_value(value)));
    } else if (json_is_boolean(value)) {
        bytes = snprintf(text, SG_SPEC_VALUE, "%s", json_is_true(value) ? "true" : "false");
    }
    return bytes >= 0 && bytes < SG_SPEC_VALUE;
}

bool sg_spec_value_name(const json_t *value, char name[SG_SWEEP_NAME])
{
    char text[SG_SPEC_VALUE];
    const json_t *of = json_is_object(value) ? json_object_get(value, "name") : value;
    if ((json_is_object(value) && !json_is_string(of)) || !sg_spec_value_text(of, text) ||
        text[0] == '\0' || strlen(text) >= SG_SWEEP_NAME)
        return false;
    memcpy(name, text, strlen(text) + 1);
    return true;
}

// Options that a sweep says elsewhere, or that change no result.
static sg_status axes_of_sweep(const char *name, bool axis, const char *place, sg_error *err)
{
    const sg_field *field = sg_train_field(name);
    if (strcmp(name, "seed") == 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found a seed, expected it in \"seeds\"", place);
    if (axis && field != NULL && field->group != NULL &&
        strcmp(field->group, "Watching and saving") == 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found an option that changes no result, expected it in \"options\"",
                       place);
    return SG_OK;
}

// An option by itself; what is a template is checked with its cells.
static sg_status axes_option(const char *key, const json_t *value, bool axis, const char *place,
                             sg_error *err)
{
    char name[SG_SPEC_OPTION], text[SG_SPEC_VALUE];
    if (!sg_spec_option_name(key, name))
        return sg_fail(err, SG_ERR_FORMAT, "%s: there is no such option", place);
    sg_status status = sg_train_option_known(name, err);
    if (status != SG_OK) return sg_fail_context(err, SG_ERR_FORMAT, "%s", place);
    SG_TRY(axes_of_sweep(name, axis, place, err));
    if (!sg_spec_value_text(value, text))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found no plain value, expected a text, a number, true or false", place);
    if (strstr(text, "{family}") != NULL || strstr(text, "{scale}") != NULL) return SG_OK;
    sg_preset scratch;
    const sg_setting one = {name, text};
    if (strcmp(name, "preset") == 0) {
        status = sg_preset_find(text, &scratch, err);
    } else if (strcmp(name, "seq_len") == 0 || sg_train_field(name) != NULL) {
        const sg_field *field = sg_train_field(name);
        sg_train_options options;
        status = sg_train_options_named(&one, 1, &options, err);
        if (status == SG_OK && field != NULL)
            status = sg_field_check(field, name, "", &options, err);
    } else {
        sg_config config = {0};
        status = sg_config_set(&config, name, text, err);
    }
    return status == SG_OK ? SG_OK : sg_fail_context(err, SG_ERR_FORMAT, "%s", place);
}

// All options of an object; skip: a member that is none.
static sg_status axes_options(const json_t *object, const char *skip, bool axis, const char *place,
                              sg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char at[SG_SPEC_PLACE], name[SG_SPEC_OPTION];
        if (skip != NULL && strcmp(key, skip) == 0) continue;
        snprintf(at, sizeof at, "%.100s.%.50s", place, key);
        SG_TRY(axes_option(key, value, axis, at, err));
        if (sg_spec_option_name(key, name) && strcmp(name, key) != 0 &&
            json_object_get(object, name) != NULL)
            return sg_fail(err, SG_ERR_FORMAT, "%s: found beside %s, which is the same option", at,
                           name);
    }
    return SG_OK;
}

// ---- axes ---------------------------------------------------------------------------------------

const sg_spec_axis *sg_spec_axis_of(const sg_spec_group *g, sg_spec_axis_kind kind)
{
    for (size_t i = 0; i < g->axis_count; i++)
        if (g->axes[i].kind == kind) return &g->axes[i];
    return NULL;
}

// A value that is an object: {"name": …, options}.
static sg_status axes_bundle(const sg_spec_axis *axis, const json_t *value, const char *place,
                             sg_error *err)
{
    char name[SG_SWEEP_NAME];
    if (!sg_spec_value_name(value, name))
        return sg_fail(err, SG_ERR_FORMAT, "%s.name: expected a text of 1 to %d bytes", place,
                       SG_SWEEP_NAME - 1);
    if (axis->kind != SG_SPEC_FAMILY || json_object_get(value, "ffn") != NULL)
        return axes_options(value, "name", true, place, err);
    for (size_t i = 0; sg_config_family(i) != NULL; i++)
        if (strcmp(sg_config_family(i), name) == 0)
            return axes_options(value, "name", true, place, err);
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: found no family \"%s\", expected its \"ffn\" beside the name", place, name);
}

static sg_status axes_value(const sg_spec_axis *axis, const json_t *value, const char *place,
                            sg_error *err)
{
    double number = json_number_value(value);
    char name[SG_SWEEP_NAME];
    switch (axis->kind) {
    case SG_SPEC_SCALE:
    case SG_SPEC_BUDGET:
        if (json_is_number(value) && isfinite(number) && number > 0) return SG_OK;
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected a number above 0", place);
    case SG_SPEC_FAMILY:
        if (json_is_object(value)) return axes_bundle(axis, value, place, err);
        if (json_is_string(value)) return axes_option("ffn", value, true, place, err);
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: expected the name of a family, or an object {\"name\": …}", place);
    case SG_SPEC_BUNDLES:
        if (json_is_object(value)) return axes_bundle(axis, value, place, err);
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: expected an object {\"name\": …, options}: %.40s is no option", place,
                       axis->name);
    case SG_SPEC_OPTION_AXIS:
        break;
    }
    if (!sg_spec_value_name(value, name))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: expected a number, a text of 1 to %d bytes, true or false", place,
                       SG_SWEEP_NAME - 1);
    return axes_option(axis->name, value, true, place, err);
}

// The first of `values` with the name of values[i].
static size_t axes_first(const json_t *values, size_t i)
{
    char name[SG_SWEEP_NAME] = "", other[SG_SWEEP_NAME];
    size_t j = 0;
    sg_spec_value_name(json_array_get(values, i), name);
    while (j < i &&
           (!sg_spec_value_name(json_array_get(values, j), other) || strcmp(name, other) != 0))
        j++;
    return j;
}

static sg_status axes_values(const sg_spec_axis *axis, const char *place, sg_error *err)
{
    const size_t count = json_array_size(axis->values);
    if (count == 0) return sg_fail(err, SG_ERR_FORMAT, "%s: found no values, expected some", place);
    if (count > axes_values_most)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu values, expected at most %d", place,
                       count, axes_values_most);
    for (size_t i = 0; i < count; i++) {
        char at[SG_SPEC_PLACE];
        snprintf(at, sizeof at, "%.120s[%zu]", place, i);
        SG_TRY(axes_value(axis, json_array_get(axis->values, i), at, err));
    }
    for (size_t i = 1; i < count; i++)
        if (axes_first(axis->values, i) < i)
            return sg_fail(err, SG_ERR_FORMAT, "%s[%zu]: found the value of %s[%zu] again", place,
                           i, place, axes_first(axis->values, i));
    return SG_OK;
}

static sg_status axes_axis(sg_spec_group *g, const char *key, json_t *values, sg_error *err)
{
    char place[SG_SPEC_PLACE], name[SG_SPEC_OPTION];
    snprintf(place, sizeof place, "%.60saxes.%.60s", g->place, key);
    if (strlen(key) == 0 || strlen(key) >= SG_SPEC_OPTION)
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected a name of 1 to %d bytes", place,
                       SG_SPEC_OPTION - 1);
    if (g->axis_count == SG_SPEC_AXES)
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected at most %d axes", place, SG_SPEC_AXES);
    if (!json_is_array(values))
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected a list of values", place);
    sg_spec_axis *axis = &g->axes[g->axis_count++];
    *axis = (sg_spec_axis){.name = key, .values = values, .kind = SG_SPEC_BUNDLES};
    sg_error unknown = {0};
    if (strcmp(key, "family") == 0)
        axis->kind = SG_SPEC_FAMILY;
    else if (strcmp(key, "scale") == 0)
        axis->kind = SG_SPEC_SCALE;
    else if (strcmp(key, "budget") == 0)
        axis->kind = SG_SPEC_BUDGET;
    else if (sg_spec_option_name(key, name) && sg_train_option_known(name, &unknown) == SG_OK)
        axis->kind = SG_SPEC_OPTION_AXIS;
    // Plain values are of an option: then its name is what is wrong.
    if (axis->kind == SG_SPEC_BUNDLES && !json_is_object(json_array_get(values, 0)) &&
        json_array_size(values) > 0 && unknown.message[0] != '\0')
        return sg_fail(err, SG_ERR_FORMAT, "%.60saxes.%s", g->place, unknown.message);
    return axes_values(axis, place, err);
}

// ---- who sets what ------------------------------------------------------------------------------

static bool axes_object_has(const json_t *object, const char *name)
{
    const char *key;
    json_t *value;
    char own[SG_SPEC_OPTION];
    json_object_foreach((json_t *)(uintptr_t)object, key,
                        value) if (sg_spec_option_name(key, own) &&
                                   strcmp(own, name) == 0) return true;
    return false;
}

static bool axes_axis_sets(const sg_spec_axis *axis, const char *name)
{
    char own[SG_SPEC_OPTION] = "";
    sg_spec_option_name(axis->name, own);
    if (axis->kind == SG_SPEC_OPTION_AXIS) return strcmp(own, name) == 0;
    if (axis->kind == SG_SPEC_BUDGET) return strcmp(name, "flops") == 0;
    if (axis->kind == SG_SPEC_FAMILY && strcmp(name, "ffn") == 0) return true;
    for (size_t i = 0; i < json_array_size(axis->values); i++)
        if (strcmp(name, "name") != 0 && axes_object_has(json_array_get(axis->values, i), name))
            return true;
    return false;
}

bool sg_spec_group_sets(const sg_spec_group *g, const char *name, char *place)
{
    if (axes_object_has(g->options, name)) {
        snprintf(place, SG_SPEC_PLACE, "%.60soptions.%s", g->place, name);
        return true;
    }
    if (axes_object_has(g->shared, name)) {
        snprintf(place, SG_SPEC_PLACE, "options.%s", name);
        return true;
    }
    for (size_t i = 0; i < g->axis_count; i++) {
        if (!axes_axis_sets(&g->axes[i], name)) continue;
        snprintf(place, SG_SPEC_PLACE, "%.60saxes.%.60s", g->place, g->axes[i].name);
        return true;
    }
    return false;
}

// Of a name that axis i sets: no other axis may, and where every value of i sets it no options.
static sg_status axes_alone(const sg_spec_group *g, size_t i, const char *name, bool whole,
                            sg_error *err)
{
    for (size_t j = 0; j < g->axis_count; j++)
        if (j != i && axes_axis_sets(&g->axes[j], name))
            return sg_fail(err, SG_ERR_FORMAT,
                           "%saxes.%s: sets %s, which axes.%s sets too: expected one of them",
                           g->place, g->axes[i].name, name, g->axes[j].name);
    const bool own = axes_object_has(g->options, name);
    if (whole && (own || axes_object_has(g->shared, name)))
        return sg_fail(err, SG_ERR_FORMAT, "%soptions.%s: found beside %saxes.%s, which sets it",
                       own ? g->place : "", name, g->place, g->axes[i].name);
    return SG_OK;
}

static sg_status axes_bundles_alone(const sg_spec_group *g, size_t i, sg_error *err)
{
    for (size_t n = 0; n < json_array_size(g->axes[i].values); n++) {
        const char *key;
        json_t *value;
        char name[SG_SPEC_OPTION];
        json_object_foreach(json_array_get(g->axes[i].values, n), key,
                            value) if (strcmp(key, "name") != 0 && sg_spec_option_name(key, name))
            SG_TRY(axes_alone(g, i, name, false, err));
    }
    return SG_OK;
}

static sg_status axes_check_alone(const sg_spec_group *g, sg_error *err)
{
    for (size_t i = 0; i < g->axis_count; i++) {
        char name[SG_SPEC_OPTION] = "";
        sg_spec_option_name(g->axes[i].name, name);
        switch (g->axes[i].kind) {
        case SG_SPEC_FAMILY:
            SG_TRY(axes_alone(g, i, "ffn", true, err));
            SG_TRY(axes_bundles_alone(g, i, err));
            break;
        case SG_SPEC_BUDGET:
            SG_TRY(axes_alone(g, i, "flops", true, err));
            break;
        case SG_SPEC_OPTION_AXIS:
            SG_TRY(axes_alone(g, i, name, true, err));
            break;
        case SG_SPEC_BUNDLES:
            SG_TRY(axes_bundles_alone(g, i, err));
            break;
        case SG_SPEC_SCALE:
            break;
        }
    }
    return SG_OK;
}

// ---- templates ----------------------------------------------------------------------------------

static bool axes_object_names(const json_t *object, const char *word)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key,
                        value) if (json_is_string(value) &&
                                   strstr(json_string_value(value), word) != NULL) return true;
    return false;
}

static bool axes_group_names(const sg_spec_group *g, const char *word)
{
    bool named = axes_object_names(g->options, word) || axes_object_names(g->shared, word);
    for (size_t i = 0; i < g->axis_count; i++)
        for (size_t n = 0; n < json_array_size(g->axes[i].values); n++) {
            const json_t *value = json_array_get(g->axes[i].values, n);
            named |= axes_object_names(value, word) ||
                     (json_is_string(value) && strstr(json_string_value(value), word) != NULL);
        }
    return named;
}

static sg_status axes_check_templates(const sg_spec_group *g, sg_error *err)
{
    if (axes_group_names(g, "{family}") && sg_spec_axis_of(g, SG_SPEC_FAMILY) == NULL)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%saxes: found {family} in an option, but no axis family", g->place);
    const bool scale = sg_spec_axis_of(g, SG_SPEC_SCALE) != NULL;
    if (axes_group_names(g, "{scale}") == scale) return SG_OK;
    if (scale)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%saxes.scale: has no effect, expected {scale} in an option such as "
                       "\"preset\": \"laptop-{family}-s{scale}\"",
                       g->place);
    return sg_fail(err, SG_ERR_FORMAT, "%saxes: found {scale} in an option, but no axis scale",
                   g->place);
}

// ---- groups -------------------------------------------------------------------------------------

static sg_status axes_member(json_t *object, const char *place, const char *key, json_t **out,
                             sg_error *err)
{
    *out = json_object_get(object, key);
    if (*out == NULL || json_is_object(*out)) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s%s: expected an object", place, key);
}

size_t sg_spec_group_count(const json_t *root)
{
    const json_t *groups = json_object_get(root, "groups");
    return groups == NULL ? 1 : json_array_size(groups);
}

static sg_status axes_count(sg_spec_group *g, sg_error *err)
{
    g->cells = 1;
    for (size_t i = 0; i < g->axis_count; i++) {
        const size_t n = json_array_size(g->axes[i].values);
        if (g->cells > SG_SWEEP_CELLS_MOST / n)
            return sg_fail(err, SG_ERR_FORMAT, "%saxes: make more than %d cells, expected fewer",
                           g->place, SG_SWEEP_CELLS_MOST);
        g->cells *= n;
    }
    return SG_OK;
}

sg_status sg_spec_group_read(json_t *root, size_t index, sg_spec_group *g, sg_error *err)
{
    static const char *const known[] = {"options", "axes", "note", NULL};
    json_t *groups = json_object_get(root, "groups"), *axes, *values;
    json_t *object = groups == NULL ? root : json_array_get(groups, index);
    const char *key;
    *g = (sg_spec_group){0};
    if (groups != NULL) snprintf(g->place, sizeof g->place, "groups[%zu].", index);
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "groups[%zu]: expected an object", index);
    if (groups != NULL) {
        SG_TRY(sg_json_only(object, g->place, known, err));
        SG_TRY(axes_member(object, g->place, "options", &g->options, err));
        if (g->options != NULL) {
            char place[SG_SPEC_PLACE];
            snprintf(place, sizeof place, "%.60soptions", g->place);
            SG_TRY(axes_options(g->options, NULL, false, place, err));
        }
    }
    SG_TRY(axes_member(root, "", "options", &g->shared, err));
    SG_TRY(axes_options(g->shared, NULL, false, "options", err));
    SG_TRY(axes_member(object, g->place, "axes", &axes, err));
    json_object_foreach(axes, key, values) SG_TRY(axes_axis(g, key, values, err));
    SG_TRY(axes_check_alone(g, err));
    SG_TRY(axes_check_templates(g, err));
    return axes_count(g, err);
}
