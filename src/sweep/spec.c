// Reads a sweep file: its members but for axes and cells (spec_axes.c, spec_cells.c).
#include "sweep/spec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/spec_inside.h"

enum { spec_limit = 16 << 20, spec_note = 512 };

typedef struct spec_reader {
    const char *name; // of the file
    sg_sweep_spec *spec;
    sg_error *err;
} spec_reader;

static sg_status spec_wrong(const spec_reader *r, const char *place, const char *expected)
{
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: %s: expected %s", r->name, place, expected);
}

// Errors of what does not know the file.
static sg_status spec_in_file(const spec_reader *r, sg_status status)
{
    return status == SG_OK ? SG_OK : sg_fail_context(r->err, status, "%s", r->name);
}

// ---- texts and numbers --------------------------------------------------------------------------

static sg_status spec_text(const spec_reader *r, const char *key, bool required, size_t capacity,
                           const char **out)
{
    char expected[64];
    *out = "";
    SG_TRY(sg_json_get_string(r->spec->root, r->name, key, required, out, r->err));
    if (strlen(*out) < capacity && (!required || (*out)[0] != '\0')) return SG_OK;
    snprintf(expected, sizeof expected, "a text of %s%zu bytes", required ? "1 to " : "at most ",
             capacity - 1);
    return spec_wrong(r, key, expected);
}

static sg_status spec_texts(const spec_reader *r)
{
    const char *format;
    int64_t version;
    sg_sweep_spec *s = r->spec;
    SG_TRY(sg_json_get_string(s->root, r->name, "format", true, &format, r->err));
    if (strcmp(format, "sgatlin sweep") != 0)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: format: found \"%.60s\", expected \"sgatlin sweep\"", r->name, format);
    SG_TRY(sg_json_get_int(s->root, r->name, "version", true, 1, 1, &version, r->err));
    SG_TRY(spec_text(r, "name", true, SG_SWEEP_NAME, &s->name));
    SG_TRY(spec_text(r, "note", false, spec_note, &s->note));
    SG_TRY(spec_text(r, "data", false, 4096, &s->data));
    return spec_text(r, "facts", false, 4096, &s->facts);
}

static sg_status spec_seeds(const spec_reader *r)
{
    json_t *list = NULL;
    const char *at = "all";
    sg_sweep_spec *s = r->spec;
    s->seeds[0] = s->seed_count = 1;
    SG_TRY(sg_json_get_array(s->root, r->name, "seeds", false, &list, r->err));
    SG_TRY(sg_json_get_string(s->root, r->name, "seeds_at", false, &at, r->err));
    s->seeds_at_best = strcmp(at, "best") == 0;
    if (!s->seeds_at_best && strcmp(at, "all") != 0)
        return spec_wrong(r, "seeds_at", "\"all\" or \"best\"");
    if (list == NULL) return SG_OK;
    s->seed_count = json_array_size(list);
    if (s->seed_count == 0 || s->seed_count > sizeof s->seeds / sizeof *s->seeds)
        return spec_wrong(r, "seeds", "1 to 64 of them");
    for (size_t i = 0; i < s->seed_count; i++) {
        const json_t *value = json_array_get(list, i);
        char place[32];
        snprintf(place, sizeof place, "seeds[%zu]", i);
        if (!json_is_integer(value) || json_integer_value(value) < 0 ||
            json_integer_value(value) > INT64_C(9000000000000000000))
            return spec_wrong(r, place, "an integer from 0 to 9e18");
        s->seeds[i] = (uint64_t)json_integer_value(value);
        for (size_t j = 0; j < i; j++)
            if (s->seeds[j] == s->seeds[i])
                return spec_wrong(r, place, "another seed than those before it");
    }
    return SG_OK;
}

static sg_status spec_ladder(const spec_reader *r)
{
    json_t *list = NULL;
    sg_sweep_spec *s = r->spec;
    s->scale_ladder[0] = s->scale_ladder[1] = NAN;
    SG_TRY(sg_json_get_array(s->root, r->name, "scale_ladder", false, &list, r->err));
    if (list == NULL) return SG_OK;
    for (size_t i = 0; i < 2; i++)
        s->scale_ladder[i] = json_number_value(json_array_get(list, i));
    if (json_array_size(list) == 2 && s->scale_ladder[0] > 0 && isfinite(s->scale_ladder[1]) &&
        s->scale_ladder[1] >= s->scale_ladder[0])
        return SG_OK;
    return spec_wrong(r, "scale_ladder", "[lowest, highest] scale that may be added, above 0");
}

static sg_status spec_numbers(const spec_reader *r)
{
    sg_sweep_spec *s = r->spec;
    s->max_epochs = 1;
    s->blocks = 64;
    SG_TRY(sg_json_get_number(s->root, r->name, "max_epochs", false, &s->max_epochs, r->err));
    if (!(s->max_epochs > 0 && s->max_epochs <= 1e9))
        return spec_wrong(r, "max_epochs", "a number above 0, at most 1e9");
    SG_TRY(sg_json_get_int(s->root, r->name, "blocks", false, 1, 4096, &s->blocks, r->err));
    SG_TRY(spec_seeds(r));
    return spec_ladder(r);
}

// ---- what is searched ---------------------------------------------------------------------------

static const char *const spec_fields[] = {"lr", "beta2", "warmup_steps", NULL};

// What neighbours have a constant ratio of.
static double spec_search_size(const sg_sweep_search *search, size_t i)
{
    const bool beta = strcmp(search->field, "beta2") == 0;
    return beta ? 1 - search->values[i] : search->values[i];
}

// Ascending, and neighbours have the same ratio as far as round numbers such as 1, 3, 10 allow.
static sg_status spec_check_ratios(const spec_reader *r, const sg_sweep_search *search,
                                   const char *place)
{
    double least = INFINITY, most = 0;
    for (size_t i = 1; i < search->count; i++) {
        const double a = spec_search_size(search, i - 1), b = spec_search_size(search, i);
        const double ratio = a > b ? a / b : b / a;
        if (!(search->values[i] > search->values[i - 1]))
            return spec_wrong(r, place, "values in ascending order");
        least = fmin(least, ratio);
        most = fmax(most, ratio);
    }
    if (most <= 1.25 * least) return SG_OK;
    return spec_wrong(r, place,
                      strcmp(search->field, "beta2") == 0
                          ? "values of which 1 - beta2 has a constant ratio between neighbours"
                          : "values with a constant ratio between neighbours");
}

static sg_status spec_search_values(const spec_reader *r, const json_t *list, const char *place,
                                    sg_sweep_search *search)
{
    const sg_field *field = sg_train_field(search->field);
    const bool beta = strcmp(search->field, "beta2") == 0;
    const bool whole = strcmp(search->field, "warmup_steps") == 0;
    char expected[96];
    search->count = json_array_size(list);
    snprintf(expected, sizeof expected, "a list of 2 to %zu values",
             sizeof search->values / sizeof *search->values);
    if (!json_is_array(list) || search->count < 2 ||
        search->count > sizeof search->values / sizeof *search->values)
        return spec_wrong(r, place, expected);
    for (size_t i = 0; i < search->count; i++) {
        const double value = json_number_value(json_array_get(list, i));
        char at[SG_SPEC_PLACE];
        search->values[i] = value;
        if (value > 0 && value <= field->high && (!beta || value < 1) &&
            (!whole || value == floor(value)))
            continue;
        snprintf(at, sizeof at, "%.120s[%zu]", place, i);
        snprintf(expected, sizeof expected, "%s above 0, at most %s",
                 whole ? "an integer" : "a number", SG_NUMBER(field->high));
        return spec_wrong(r, at, expected);
    }
    return spec_check_ratios(r, search, place);
}

// A list of values, or {"values": […], "halvings": 1, "extend": 2}.
static sg_status spec_search(const spec_reader *r, const char *field, json_t *value)
{
    static const char *const known[] = {"values", "halvings", "extend", NULL};
    sg_sweep_search *search = &r->spec->searches[r->spec->search_count++];
    char place[SG_SPEC_PLACE], members[SG_SPEC_PLACE], file[256];
    snprintf(place, sizeof place, "search.%s", field);
    snprintf(members, sizeof members, "search.%s.", field);
    *search = (sg_sweep_search){.field = field, .halvings = 1, .extend = 2};
    if (json_is_array(value)) return spec_search_values(r, value, place, search);
    if (!json_is_object(value))
        return spec_wrong(r, place, "a list of values, or {\"values\": […], \"halvings\": …}");
    SG_TRY(spec_in_file(r, sg_json_only(value, members, known, r->err)));
    snprintf(file, sizeof file, "%.120s: %.100s", r->name, place);
    SG_TRY(sg_json_get_int(value, file, "halvings", false, 0, 8, &search->halvings, r->err));
    SG_TRY(sg_json_get_int(value, file, "extend", false, 0, 16, &search->extend, r->err));
    snprintf(place, sizeof place, "search.%s.values", field);
    return spec_search_values(r, json_object_get(value, "values"), place, search);
}

static sg_status spec_searches(const spec_reader *r)
{
    json_t *object = NULL, *value;
    const char *key;
    SG_TRY(sg_json_get_object(r->spec->root, r->name, "search", false, &object, r->err));
    SG_TRY(spec_in_file(r, sg_json_only(object, "search.", spec_fields, r->err)));
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (strcmp(spec_fields[i], key) != 0)
            i++;
        SG_TRY(spec_search(r, spec_fields[i], value));
    }
    return SG_OK;
}

// ---- cells --------------------------------------------------------------------------------------

// What is searched is nowhere set, and the budget of searches is one of the file's.
static sg_status spec_check_search(const spec_reader *r, const sg_spec_group *group,
                                   bool *has_budget)
{
    const sg_spec_axis *budget = sg_spec_axis_of(group, SG_SPEC_BUDGET);
    for (size_t i = 0; i < r->spec->search_count; i++) {
        const char *field = r->spec->searches[i].field;
        char place[SG_SPEC_PLACE];
        if (sg_spec_group_sets(group, field, place))
            return sg_fail(r->err, SG_ERR_FORMAT, "%s: %s: found beside search.%s", r->name, place,
                           field);
    }
    for (size_t i = 0; budget != NULL && i < json_array_size(budget->values); i++)
        *has_budget |=
            fabs(json_number_value(json_array_get(budget->values, i)) / r->spec->search_budget -
                 1) < 1e-12;
    return SG_OK;
}

static sg_status spec_group_cells(const spec_reader *r, const sg_spec_group *group)
{
    sg_sweep_spec *s = r->spec;
    if (s->cell_count + group->cells > SG_SWEEP_CELLS_MOST)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: groups make more than %d cells, expected fewer",
                       r->name, SG_SWEEP_CELLS_MOST);
    void *cells = sg_realloc(s->cells, (s->cell_count + group->cells) * sizeof *s->cells);
    if (cells == NULL)
        return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory for %zu cells", r->name,
                       s->cell_count + group->cells);
    s->cells = cells;
    for (size_t n = 0; n < group->cells; n++) {
        sg_sweep_cell *cell = &s->cells[s->cell_count];
        *cell = (sg_sweep_cell){.index = s->cell_count};
        SG_TRY(spec_in_file(r, sg_spec_cell_make(s, group, n, NAN, cell, r->err)));
        s->cell_count++;
    }
    return SG_OK;
}

static int spec_compare_numbers(double a, double b)
{
    return isnan(a) || isnan(b) ? isnan(a) - isnan(b) : (a > b) - (a < b);
}

static int spec_compare(const void *left, const void *right)
{
    const sg_sweep_cell *a = *(const sg_sweep_cell *const *)left;
    const sg_sweep_cell *b = *(const sg_sweep_cell *const *)right;
    int order = strcmp(a->family, b->family);
    if (order == 0) order = strcmp(a->settings, b->settings);
    if (order == 0) order = spec_compare_numbers(a->budget, b->budget);
    return order != 0 ? order : spec_compare_numbers(a->scale, b->scale);
}

// Groups may overlap.
static sg_status spec_check_doubled(const spec_reader *r)
{
    const sg_sweep_spec *s = r->spec;
    const sg_sweep_cell **order = sg_alloc_array(s->cell_count, sizeof(sg_sweep_cell *));
    sg_status status = SG_OK;
    if (order == NULL)
        return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory for its cells", r->name);
    for (size_t i = 0; i < s->cell_count; i++)
        order[i] = &s->cells[i];
    qsort(order, s->cell_count, sizeof(sg_sweep_cell *), spec_compare);
    for (size_t i = 1; i < s->cell_count && status == SG_OK; i++)
        if (spec_compare(&order[i - 1], &order[i]) == 0)
            status = sg_fail(
                r->err, SG_ERR_FORMAT,
                "%s: cells %zu and %zu are the same (%s, %s): expected an axis that tells them "
                "apart",
                r->name, order[i - 1]->index, order[i]->index, order[i]->family,
                order[i]->settings);
    sg_free(order);
    return status;
}

static sg_status spec_cells(const spec_reader *r)
{
    sg_sweep_spec *s = r->spec;
    json_t *groups = NULL;
    bool has_budget = false, has_scale = false;
    s->search_budget = NAN;
    SG_TRY(sg_json_get_number(s->root, r->name, "search_budget", false, &s->search_budget, r->err));
    SG_TRY(sg_json_get_array(s->root, r->name, "groups", false, &groups, r->err));
    if (groups != NULL && json_object_get(s->root, "axes") != NULL)
        return spec_wrong(r, "axes", "them in the groups, or no groups");
    if (groups != NULL && json_array_size(groups) == 0) return spec_wrong(r, "groups", "some");
    for (size_t i = 0; i < sg_spec_group_count(s->root); i++) {
        sg_spec_group group;
        SG_TRY(spec_in_file(r, sg_spec_group_read(s->root, i, &group, r->err)));
        SG_TRY(spec_check_search(r, &group, &has_budget));
        has_scale |= sg_spec_axis_of(&group, SG_SPEC_SCALE) != NULL;
        SG_TRY(spec_group_cells(r, &group));
    }
    if (!isnan(s->search_budget) && s->search_count == 0)
        return spec_wrong(r, "search_budget", "it beside a search");
    if (!isnan(s->search_budget) && !has_budget)
        return spec_wrong(r, "search_budget", "one of the values of axes.budget");
    if (!isnan(s->scale_ladder[0]) && !has_scale)
        return spec_wrong(r, "scale_ladder", "it beside an axis scale");
    return spec_check_doubled(r);
}

// ---- the file -----------------------------------------------------------------------------------

static sg_status spec_root(const spec_reader *r, const char *data)
{
    static const char *const known[] = {
        "format",       "version",    "name",     "note",   "data",  "facts",
        "options",      "axes",       "groups",   "search", "seeds", "search_budget",
        "scale_ladder", "max_epochs", "seeds_at", "blocks", NULL};
    json_t *root = r->spec->root;
    if (!json_is_object(root))
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found no JSON object, expected one", r->name);
    if (data != NULL && json_object_set_new(root, "data", json_string(data)) != 0)
        return sg_fail(r->err, SG_ERR_ARGUMENT, "data: expected the name of a folder in UTF-8");
    SG_TRY(spec_texts(r));
    SG_TRY(spec_in_file(r, sg_json_only(root, "", known, r->err)));
    SG_TRY(spec_numbers(r));
    SG_TRY(spec_searches(r));
    return spec_cells(r);
}

static sg_status spec_take(json_t *root, const char *name, const char *data, sg_sweep_spec *spec,
                           sg_error *err)
{
    const spec_reader reader = {name, spec, err};
    *spec = (sg_sweep_spec){.root = root};
    sg_status status = spec_root(&reader, data);
    if (status != SG_OK) sg_sweep_spec_clear(spec);
    return status;
}

sg_status sg_sweep_spec_parse(const char *text, size_t bytes, const char *name, const char *data,
                              sg_sweep_spec *spec, sg_error *err)
{
    json_t *root;
    *spec = (sg_sweep_spec){0};
    SG_TRY(sg_json_parse(text, bytes, name, &root, err));
    return spec_take(root, name, data, spec, err);
}

sg_status sg_sweep_spec_read(const char *path, const char *data, sg_sweep_spec *spec, sg_error *err)
{
    json_t *root;
    *spec = (sg_sweep_spec){0};
    SG_TRY(sg_json_read(path, spec_limit, &root, err));
    return spec_take(root, path, data, spec, err);
}

void sg_sweep_spec_clear(sg_sweep_spec *spec)
{
    for (size_t i = 0; i < spec->cell_count; i++)
        sg_sweep_cell_clear(&spec->cells[i]);
    sg_free(spec->cells);
    json_decref(spec->root);
    *spec = (sg_sweep_spec){0};
}
