// A sweep file for comparing families at equal FLOPs, from a few lists.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sgatlin_sweep.h"
#include "sweep/spec.h"

sg_isoflop_options sg_isoflop_options_default(void)
{
    return (sg_isoflop_options){.halvings = 1,
                                .extend = 2,
                                .seeds_at_best = true,
                                .search_budget = NAN,
                                .scale_low = NAN,
                                .scale_high = NAN};
}

// A ladder of presets. What budgets of other batches would need is in the ready files.
static const struct isoflop_base {
    const char *name;
    double low, high; // scales; 0: the base has none
} isoflop_bases[] = {{"laptop", 1, 12}, {"slimpajama", 1, 9}, {"tinystories", 0, 0}};

static const struct isoflop_base *isoflop_find(const char *name, sg_error *err)
{
    for (size_t i = 0; i < sizeof isoflop_bases / sizeof *isoflop_bases; i++)
        if (strcmp(isoflop_bases[i].name, name) == 0) return &isoflop_bases[i];
    sg_fail(err, SG_ERR_ARGUMENT,
            "preset: found \"%.40s\", expected laptop, slimpajama or tinystories", name);
    return NULL;
}

static sg_status isoflop_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a sweep file");
}

// ---- lists --------------------------------------------------------------------------------------

// Whole numbers without a point, up to where a double holds them all.
static json_t *isoflop_number(double value)
{
    return value == floor(value) && fabs(value) < 1e6 ? json_integer((json_int_t)value)
                                                      : json_real(value);
}

static json_t *isoflop_numbers(const double *values, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < count; i++)
        if (json_array_append_new(list, isoflop_number(values[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *isoflop_seeds(const uint64_t *seeds, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < count; i++)
        if (json_array_append_new(list, json_integer((json_int_t)seeds[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *isoflop_families(const sg_isoflop_options *o)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < o->family_count; i++)
        if (json_array_append_new(list, json_string(o->families[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

// ---- parts --------------------------------------------------------------------------------------

// "laptop-{family}-s{scale}"; "slimpajama-sgatlin-s{scale}" where not all families have presets,
// for the axis sets the family. *lr: of the preset at the first scale.
static sg_status isoflop_preset(const sg_isoflop_options *o, const struct isoflop_base *base,
                                char text[64], double *lr, sg_error *err)
{
    char name[64], scale[40] = "";
    const char *family = "{family}";
    sg_preset preset;
    if (base->high > 0) snprintf(scale, sizeof scale, "-s%s", SG_NUMBER(o->scales[0]));
    for (size_t i = 0; i < o->family_count; i++) {
        snprintf(name, sizeof name, "%s-%.20s%s", base->name, o->families[i], scale);
        if (sg_preset_find(name, &preset, NULL) != SG_OK) family = "sgatlin";
    }
    snprintf(name, sizeof name, "%s-sgatlin%s", base->name, scale);
    SG_TRY(sg_preset_find(name, &preset, err));
    snprintf(text, 64, "%s-%s%s", base->name, family, base->high > 0 ? "-s{scale}" : "");
    *lr = preset.lr;
    return SG_OK;
}

// The search, or the one rate as an option.
static int isoflop_rates(const sg_isoflop_options *o, double lr, json_t *root, json_t *options)
{
    const double around[] = {lr / 2, lr, lr * 2};
    if (o->rate_count == 1) return json_object_set_new(options, "lr", json_real(o->rates[0]));
    json_t *values =
        o->rate_count > 0 ? isoflop_numbers(o->rates, o->rate_count) : isoflop_numbers(around, 3);
    json_t *search = json_pack("{s:{s:o, s:I, s:I}}", "lr", "values", values, "halvings",
                               (json_int_t)o->halvings, "extend", (json_int_t)o->extend);
    int failed = json_object_set_new(root, "search", search);
    if (!failed && !isnan(o->search_budget))
        failed = json_object_set_new(root, "search_budget", isoflop_number(o->search_budget));
    return failed;
}

static int isoflop_axes(const sg_isoflop_options *o, json_t *axes)
{
    return json_object_set_new(axes, "family", isoflop_families(o)) ||
           (o->scale_count > 0 &&
            json_object_set_new(axes, "scale", isoflop_numbers(o->scales, o->scale_count))) ||
           json_object_set_new(axes, "budget", isoflop_numbers(o->budgets, o->budget_count));
}

static int isoflop_seeds_and_scales(const sg_isoflop_options *o, const struct isoflop_base *base,
                                    json_t *root)
{
    const double ladder[] = {isnan(o->scale_low) ? base->low : o->scale_low,
                             isnan(o->scale_high) ? base->high : o->scale_high};
    return (o->seed_count > 0 &&
            json_object_set_new(root, "seeds", isoflop_seeds(o->seeds, o->seed_count))) ||
           json_object_set_new(root, "seeds_at", json_string(o->seeds_at_best ? "best" : "all")) ||
           (base->high > 0 &&
            json_object_set_new(root, "scale_ladder", isoflop_numbers(ladder, 2)));
}

static sg_status isoflop_fill(const sg_isoflop_options *o, const struct isoflop_base *base,
                              json_t *root, sg_error *err)
{
    char preset[64];
    double lr;
    SG_TRY(isoflop_preset(o, base, preset, &lr, err));
    int failed = json_object_set_new(root, "format", json_string("sgatlin sweep")) ||
                 json_object_set_new(root, "version", json_integer(1)) ||
                 json_object_set_new(root, "name", json_string(o->name ? o->name : "isoflop")) ||
                 (o->data && json_object_set_new(root, "data", json_string(o->data))) ||
                 (o->facts && json_object_set_new(root, "facts", json_string(o->facts)));
    failed = failed || json_object_set_new(root, "options", json_pack("{s:s}", "preset", preset)) ||
             json_object_set_new(root, "axes", json_object()) ||
             isoflop_axes(o, json_object_get(root, "axes")) ||
             isoflop_rates(o, lr, root, json_object_get(root, "options")) ||
             isoflop_seeds_and_scales(o, base, root);
    return failed ? isoflop_memory(err) : SG_OK;
}

// ---- as text ------------------------------------------------------------------------------------

typedef struct isoflop_text {
    char *bytes;
    size_t count, room;
    bool failed;
} isoflop_text;

static void isoflop_add(isoflop_text *t, const char *text)
{
    const size_t bytes = strlen(text);
    t->failed = t->failed || !sg_grow((void **)&t->bytes, &t->room, t->count + bytes + 1, 1);
    if (t->failed) return;
    memcpy(t->bytes + t->count, text, bytes + 1);
    t->count += bytes;
}

static void isoflop_quote(isoflop_text *t, const char *text)
{
    json_t *value = json_string(text);
    char *quoted = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    t->failed = t->failed || quoted == NULL;
    if (quoted != NULL) isoflop_add(t, quoted);
    sg_free(quoted); // jansson allocates through base/alloc
    json_decref(value);
}

// As people write it, not as json_dumps does: lists on a line, numbers with the fewest digits that
// read back as they are.
static void isoflop_print(isoflop_text *t, const json_t *value, int depth)
{
    const char *key;
    json_t *member;
    bool first = true;
    if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            char line[64];
            snprintf(line, sizeof line, "%s\n%*s", first ? "{" : ",", 2 * (depth + 1), "");
            isoflop_add(t, line);
            isoflop_quote(t, key);
            isoflop_add(t, ": ");
            isoflop_print(t, member, depth + 1);
            first = false;
        }
        char line[64];
        snprintf(line, sizeof line, "%s\n%*s}", first ? "{" : "", 2 * depth, "");
        isoflop_add(t, line);
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            isoflop_add(t, i == 0 ? "[" : ", ");
            isoflop_print(t, json_array_get(value, i), depth);
        }
        isoflop_add(t, json_array_size(value) == 0 ? "[]" : "]");
    } else if (json_is_string(value)) {
        isoflop_quote(t, json_string_value(value));
    } else if (json_is_integer(value)) {
        char digits[32];
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
        isoflop_add(t, digits);
    } else {
        isoflop_add(t, SG_NUMBER(json_real_value(value)));
    }
}

// ---- the file -----------------------------------------------------------------------------------

static sg_status isoflop_check(const sg_isoflop_options *o, const struct isoflop_base *base,
                               sg_error *err)
{
    if (o->budget_count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "budgets: found none, expected some, as 1e13,3e13");
    if (o->family_count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "families: found none, expected some, as mlp,sgatlin");
    if (base->high > 0 && o->scale_count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "scales: found none, expected some of %g to %g",
                       base->low, base->high);
    if (base->high <= 0 && o->scale_count > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "scales: found some, expected none: presets %s have one", base->name);
    return SG_OK;
}

// As anyone reads the file.
static sg_status isoflop_try(const char *text, sg_error *err)
{
    sg_sweep_spec spec;
    SG_TRY(sg_sweep_spec_parse(text, strlen(text), "isoflop", NULL, &spec, err));
    sg_sweep_spec_clear(&spec);
    return SG_OK;
}

sg_status sg_isoflop_write(const sg_isoflop_options *o, char **text, sg_error *err)
{
    const struct isoflop_base *base = isoflop_find(o->base ? o->base : "laptop", err);
    *text = NULL;
    if (base == NULL) return SG_ERR_ARGUMENT;
    SG_TRY(isoflop_check(o, base, err));
    sg_json_setup();
    json_t *root = json_object();
    sg_status status = root != NULL ? isoflop_fill(o, base, root, err) : isoflop_memory(err);
    isoflop_text printed = {0};
    if (status == SG_OK) isoflop_print(&printed, root, 0);
    isoflop_add(&printed, "\n");
    json_decref(root);
    *text = printed.bytes;
    if (status == SG_OK && printed.failed) status = isoflop_memory(err);
    if (status == SG_OK) status = isoflop_try(*text, err);
    if (status == SG_OK) return SG_OK;
    sg_free(*text);
    *text = NULL;
    return status;
}
