#include "model/adapter_rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/config_keys.h"
#include "format/json.h"
#include "text/name_regex.h"

enum { rules_rank_most = 1 << 16 };

// A pattern of rank_pattern or alpha_pattern, and what it gives.
typedef struct rules_value {
    sg_name_regex *regex;
    double value;
} rules_value;

typedef struct rules_values {
    rules_value *items;
    size_t count;
} rules_values;

struct sg_adapter_rules {
    const char *name; // of the file
    int64_t rank;
    double alpha;
    bool root; // alpha / sqrt(rank) (rsLoRA), not alpha / rank
    bool all_linear;
    const json_t *targets, *excluded; // arrays; NULL: none, or an expression
    sg_name_regex *target, *exclusion;
    const json_t *layers, *layer_names; // layers_to_transform, layers_pattern; NULL: none
    rules_values ranks, alphas;
    sg_unread unread;
};

// ---- what would change the formula --------------------------------------------------------------

static bool rules_is_none(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static sg_status rules_words(const json_t *object, const char *path, sg_error *err)
{
    // Ways to begin that leave the weights as they are; others change those too.
    static const char *const inits[] = {"gaussian", "eva", "orthogonal"};
    const char *type = "", *bias = "none", *init = inits[0];
    SG_TRY(sg_json_get_string(object, path, "peft_type", true, &type, err));
    SG_TRY(sg_json_get_string(object, path, "bias", false, &bias, err));
    if (strcmp(type, "LORA") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"peft_type\": found \"%.40s\", expected \"LORA\"", path, type);
    if (strcmp(bias, "none") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"bias\": found \"%.40s\", expected \"none\"",
                       path, bias);
    const json_t *begin = json_object_get(object, "init_lora_weights");
    if (json_is_string(begin)) init = json_string_value(begin);
    bool known = false;
    for (size_t i = 0; i < sizeof inits / sizeof *inits; i++)
        known = known || strcmp(init, inits[i]) == 0;
    if (known) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: \"init_lora_weights\": found \"%.40s\", which is of other weights than "
                   "the model's",
                   path, init);
}

static sg_status rules_plain(sg_adapter_rules *r, const json_t *object, sg_error *err)
{
    static const char *const flags[] = {"use_dora", "use_qalora", "lora_bias"};
    static const char *const some[] = {
        "modules_to_save",         "target_parameters", "trainable_token_indices",
        "layer_replication",       "arrow_config",      "kasa_config",
        "alora_invocation_tokens", "use_bdlora",        "use_ablora",
        "monteclora_config",       "velora_config"};
    static const char *const idle[] = {
        "peft_type", "bias", "init_lora_weights", "r", "lora_alpha", "use_rslora", "rank_pattern",
        "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform",
        "layers_pattern",
        // Of training, of loading, and of the shape of the base's files.
        "task_type", "inference_mode", "auto_mapping", "base_model_name_or_path", "revision",
        "peft_version", "lora_dropout", "fan_in_fan_out", "megatron_config", "megatron_core",
        "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size",
        "runtime_config", "ensure_weight_tying"};
    SG_TRY(rules_words(object, r->name, err));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool set = false;
        SG_TRY(sg_json_get_bool(object, r->name, flags[i], false, &set, err));
        if (set)
            return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found true, expected false",
                           r->name, flags[i]);
    }
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        if (!rules_is_none(json_object_get(object, some[i])))
            return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found some, expected none",
                           r->name, some[i]);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool known = rules_is_none(value);
        for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
            known = known || strcmp(key, idle[i]) == 0;
        if (!known) sg_unread_add(&r->unread, key);
    }
    return SG_OK;
}

// ---- patterns -----------------------------------------------------------------------------------

// A list of names, or an expression; null is neither.
static sg_status rules_names(const sg_adapter_rules *r, const json_t *object, const char *key,
                             const json_t **list, sg_name_regex **regex, sg_error *err)
{
    const json_t *value = json_object_get(object, key);
    *list = NULL;
    if (value == NULL || json_is_null(value)) return SG_OK;
    if (json_is_string(value) && regex != NULL) {
        const sg_status status = sg_name_regex_new(json_string_value(value), false, regex, err);
        return status == SG_OK ? SG_OK : sg_fail_context(err, status, "%s: \"%s\"", r->name, key);
    }
    bool fits = json_is_array(value);
    for (size_t i = 0; fits && i < json_array_size(value); i++)
        fits = json_is_string(json_array_get(value, i));
    if (!fits)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": expected a list of names%s", r->name, key,
                       regex != NULL ? ", or a text" : "");
    *list = value;
    return SG_OK;
}

static sg_status rules_values_read(const sg_adapter_rules *r, const json_t *object, const char *key,
                                   double least, double most, rules_values *values, sg_error *err)
{
    json_t *map = NULL, *value;
    const char *pattern;
    SG_TRY(sg_json_get_object(object, r->name, key, false, &map, err));
    if (json_object_size(map) == 0) return SG_OK;
    values->items = sg_alloc_zero(json_object_size(map), sizeof *values->items);
    if (values->items == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its patterns", r->name);
    json_object_foreach(map, pattern, value)
    {
        const double number = json_is_number(value) ? json_number_value(value) : NAN;
        if (!(number >= least && number <= most))
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: \"%s\": \"%.80s\": expected a number from %s to %s", r->name, key,
                           pattern, SG_NUMBER(least), SG_NUMBER(most));
        rules_value *item = &values->items[values->count++];
        item->value = number;
        const sg_status status = sg_name_regex_new(pattern, true, &item->regex, err);
        if (status != SG_OK) return sg_fail_context(err, status, "%s: \"%s\"", r->name, key);
    }
    return SG_OK;
}

// layers_to_transform is a number or a list of them, layers_pattern a name or a list.
static sg_status rules_layers(sg_adapter_rules *r, const json_t *object, sg_error *err)
{
    const json_t *layers = json_object_get(object, "layers_to_transform");
    const json_t *names = json_object_get(object, "layers_pattern");
    bool fits = true;
    for (size_t i = 0; i < json_array_size(layers); i++)
        fits = fits && json_is_integer(json_array_get(layers, i));
    if (layers != NULL && !json_is_null(layers) &&
        (!fits || (!json_is_integer(layers) && !json_is_array(layers))))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: \"layers_to_transform\": expected a number or a list of them", r->name);
    for (size_t i = 0; i < json_array_size(names); i++)
        fits = fits && json_is_string(json_array_get(names, i));
    if (names != NULL && !json_is_null(names) &&
        (!fits || (!json_is_string(names) && !json_is_array(names))))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: \"layers_pattern\": expected a name or a list of them", r->name);
    r->layers = rules_is_none(layers) ? NULL : layers;
    const bool empty = json_is_string(names) && json_string_length(names) == 0;
    r->layer_names = rules_is_none(names) || empty ? NULL : names;
    for (size_t i = 0; r->layer_names != NULL && i <= json_array_size(names); i++) {
        const char *text = json_is_string(names) ? json_string_value(names)
                                                 : json_string_value(json_array_get(names, i));
        if (text != NULL && strpbrk(text, "\\^$.|?*+()[]{}") != NULL)
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "%s: \"layers_pattern\": found \"%.60s\", expected a plain name",
                           r->name, text);
    }
    return SG_OK;
}

static sg_status rules_read(sg_adapter_rules *r, const json_t *object, sg_error *err)
{
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: found no JSON object, expected one", r->name);
    SG_TRY(rules_plain(r, object, err));
    SG_TRY(sg_json_get_int(object, r->name, "r", true, 1, rules_rank_most, &r->rank, err));
    SG_TRY(sg_json_get_number(object, r->name, "lora_alpha", true, &r->alpha, err));
    SG_TRY(sg_json_get_bool(object, r->name, "use_rslora", false, &r->root, err));
    SG_TRY(rules_values_read(r, object, "rank_pattern", 1, rules_rank_most, &r->ranks, err));
    SG_TRY(rules_values_read(r, object, "alpha_pattern", -1e12, 1e12, &r->alphas, err));
    SG_TRY(rules_layers(r, object, err));
    const char *all = json_string_value(json_object_get(object, "target_modules"));
    r->all_linear = all != NULL && strcmp(all, "all-linear") == 0;
    if (!r->all_linear)
        SG_TRY(rules_names(r, object, "target_modules", &r->targets, &r->target, err));
    return rules_names(r, object, "exclude_modules", &r->excluded, &r->exclusion, err);
}

sg_status sg_adapter_rules_new(const json_t *object, const char *name, sg_adapter_rules **out,
                               sg_error *err)
{
    *out = NULL;
    sg_adapter_rules *r = sg_alloc_zero(1, sizeof *r);
    if (r == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    r->name = name;
    const sg_status status = rules_read(r, object, err);
    if (status != SG_OK)
        sg_adapter_rules_free(r);
    else
        *out = r;
    return status;
}

static void rules_values_free(rules_values *values)
{
    for (size_t i = 0; i < values->count; i++)
        sg_name_regex_free(values->items[i].regex);
    sg_free(values->items);
}

void sg_adapter_rules_free(sg_adapter_rules *r)
{
    if (r == NULL) return;
    sg_name_regex_free(r->target);
    sg_name_regex_free(r->exclusion);
    rules_values_free(&r->ranks);
    rules_values_free(&r->alphas);
    sg_free(r);
}

const char *sg_adapter_rules_unread(const sg_adapter_rules *r)
{
    return r->unread.keys;
}

// ---- a matrix -----------------------------------------------------------------------------------

// The name itself, or its end behind a dot.
static bool rules_in_list(const json_t *list, const char *module, bool *whole)
{
    const size_t n = strlen(module);
    bool found = false;
    *whole = false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        const size_t m = strlen(item);
        *whole = *whole || strcmp(item, module) == 0;
        found = found || (n > m && module[n - m - 1] == '.' && strcmp(module + n - m, item) == 0);
    }
    return found || *whole;
}

static bool rules_layer_named(const json_t *names, const char *at, size_t bytes)
{
    if (names == NULL) return true;
    if (json_is_string(names))
        return json_string_length(names) == bytes &&
               memcmp(json_string_value(names), at, bytes) == 0;
    for (size_t i = 0; i < json_array_size(names); i++) {
        const json_t *item = json_array_get(names, i);
        if (json_string_length(item) == bytes && memcmp(json_string_value(item), at, bytes) == 0)
            return true;
    }
    return false;
}

// The number in the last "NAME.NUMBER." of a module, where layers have one of these names; without
// any names there must be something in front of it. -1: none.
static int64_t rules_layer_of(const json_t *names, const char *module)
{
    int64_t layer = -1;
    const char *dot = strchr(module, '.');
    const char *at = names != NULL || dot == NULL ? module : dot + 1;
    for (const char *name_end; (name_end = strchr(at, '.')) != NULL; at = name_end + 1) {
        char *end;
        if (name_end[1] < '0' || name_end[1] > '9') continue;
        const int64_t number = strtoll(name_end + 1, &end, 10);
        if (*end == '.' && rules_layer_named(names, at, (size_t)(name_end - at))) layer = number;
    }
    return layer;
}

static bool rules_layer_fits(const sg_adapter_rules *r, const char *module)
{
    if (r->layers == NULL) return true;
    const int64_t layer = rules_layer_of(r->layer_names, module);
    if (layer < 0) return false;
    if (json_is_integer(r->layers)) return json_integer_value(r->layers) == layer;
    for (size_t i = 0; i < json_array_size(r->layers); i++)
        if (json_integer_value(json_array_get(r->layers, i)) == layer) return true;
    return false;
}

sg_status sg_adapter_rules_target(const sg_adapter_rules *r, const char *module, bool head,
                                  bool *is, const char **key, sg_error *err)
{
    bool whole, excluded = rules_in_list(r->excluded, module, &whole);
    *is = false;
    *key = "exclude_modules";
    if (r->exclusion != NULL) SG_TRY(sg_name_regex_fits(r->exclusion, module, &excluded, err));
    if (excluded) return SG_OK;
    *key = "target_modules";
    if (r->target != NULL) return sg_name_regex_fits(r->target, module, is, err);
    if (r->all_linear) {
        *is = !head;
        return SG_OK;
    }
    // A file of old versions may leave it to the library, by the type of the model.
    if (r->targets == NULL) {
        *is = true;
    } else {
        *is = rules_in_list(r->targets, module, &whole);
        if (whole) return SG_OK; // whatever its layer
    }
    if (*is && !rules_layer_fits(r, module)) {
        *is = false;
        *key = "layers_to_transform";
    }
    return SG_OK;
}

static sg_status rules_value_of(const rules_values *values, const char *module, double *value,
                                sg_error *err)
{
    for (size_t i = 0; i < values->count; i++) {
        bool fits;
        SG_TRY(sg_name_regex_fits(values->items[i].regex, module, &fits, err));
        if (!fits) continue;
        *value = values->items[i].value;
        return SG_OK; // the first
    }
    return SG_OK;
}

sg_status sg_adapter_rules_form(const sg_adapter_rules *r, const char *module, int64_t *rank,
                                double *scale, sg_error *err)
{
    double own = (double)r->rank, alpha = r->alpha;
    SG_TRY(rules_value_of(&r->ranks, module, &own, err));
    SG_TRY(rules_value_of(&r->alphas, module, &alpha, err));
    *rank = (int64_t)own;
    *scale = alpha / (r->root ? sqrt(own) : own);
    return SG_OK;
}
