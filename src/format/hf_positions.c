// How positions rotate queries and keys, and which layers see a window only, in the spellings of
// versions 4 and 5 of the library.
#include "format/hf_type.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

// ---- rotary positions ---------------------------------------------------------------------------

static sg_status rope_numbers(const sg_hf_reading *rope)
{
    sg_config *c = rope->c;
    bool truncate = true;
    SG_TRY(sg_hf_get_number(rope, "factor", &c->rope_factor));
    SG_TRY(sg_hf_get_number(rope, "low_freq_factor", &c->rope_low_freq_factor));
    SG_TRY(sg_hf_get_number(rope, "high_freq_factor", &c->rope_high_freq_factor));
    SG_TRY(sg_hf_get_number(rope, "beta_fast", &c->rope_beta_fast));
    SG_TRY(sg_hf_get_number(rope, "beta_slow", &c->rope_beta_slow));
    SG_TRY(sg_hf_get_number(rope, "attention_factor", &c->rope_attention_factor));
    SG_TRY(sg_hf_get_int(rope, "original_max_position_embeddings", false, 1,
                         &c->rope_original_positions));
    SG_TRY(sg_hf_get_bool(rope, "truncate", &truncate));
    c->rope_exact_borders = !truncate;
    if (sg_hf_find(rope, "attention_factor") != NULL && !(c->rope_attention_factor > 0))
        return sg_hf_refuse(rope, "attention_factor", "0 or less", "more than 0");
    for (int i = 0; i < 2; i++) {
        static const char *const keys[] = {"mscale", "mscale_all_dim"};
        double none = 0;
        SG_TRY(sg_hf_get_number(rope, keys[i], &none));
        if (none != 0) return sg_hf_refuse(rope, keys[i], "a number", "none");
    }
    return SG_OK;
}

// All that the object says is formula: nothing of it may be left unread.
static sg_status rope_whole(const sg_hf_reading *rope, const char *called)
{
    static const char *const numbers[] = {"factor",
                                          "low_freq_factor",
                                          "high_freq_factor",
                                          "beta_fast",
                                          "beta_slow",
                                          "attention_factor",
                                          "original_max_position_embeddings",
                                          "truncate"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope->object, key, value)
    {
        bool known = sg_asked_has(rope->asked, key) || strcmp(key, "finetuned") == 0;
        // Without a scaling they say nothing, except by how much.
        for (size_t i = 1; i < sizeof numbers / sizeof *numbers; i++)
            known = known || strcmp(key, numbers[i]) == 0;
        if (json_is_object(value))
            return sg_fail(rope->err, SG_ERR_UNSUPPORTED,
                           "%s: \"%s\": found \"%.60s\", numbers of one type of layers, expected "
                           "the same for all layers of a %s",
                           rope->name, called, key, rope->type->name);
        const bool one = json_is_number(value) && json_number_value(value) == 1;
        if (!known && strcmp(key, numbers[0]) == 0 && one) known = true;
        if (!known && !json_is_null(value))
            return sg_fail(rope->err, SG_ERR_UNSUPPORTED,
                           "%s: \"%s\": found \"%.60s\", expected no such member with this type of "
                           "scaling",
                           rope->name, called, key);
    }
    return SG_OK;
}

// Version 4 calls it "rope_scaling", version 5 "rope_parameters".
static sg_status rope_find(const sg_hf_reading *r, json_t **object, const char **called)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    json_t *found[2] = {0};
    for (int i = 0; i < 2; i++) {
        sg_asked_add(r->asked, keys[i]);
        SG_TRY(sg_json_get_object(r->object, r->name, keys[i], false, &found[i], r->err));
        if (json_object_size(found[i]) == 0) found[i] = NULL;
    }
    if (found[0] != NULL && found[1] != NULL && !json_equal(found[0], found[1]))
        return sg_hf_refuse(r, keys[1], "other members than in \"rope_scaling\"", "one of the two");
    *object = found[0] != NULL ? found[0] : found[1];
    *called = keys[found[0] == NULL];
    return SG_OK;
}

static sg_status rope_object(const sg_hf_reading *r, json_t *object, const char *called,
                             double *share)
{
    sg_config *c = r->c;
    sg_asked asked = {0};
    const sg_hf_reading rope = {r->type, object, r->name, c, &asked, r->err};
    const char *type = strcmp(called, "rope_scaling") == 0 ? NULL : "default";
    SG_TRY(sg_hf_get_number(&rope, "rope_theta", &c->rope_theta));
    SG_TRY(sg_hf_get_number(&rope, "partial_rotary_factor", share));
    SG_TRY(sg_hf_get_string(&rope, "type", &type));
    SG_TRY(sg_hf_get_string(&rope, "rope_type", &type));
    if (type == NULL)
        return sg_hf_refuse(r, called, "no \"rope_type\"", "default, linear, llama3 or yarn");
    const bool known =
        strcmp(type, "linear") == 0 || strcmp(type, "llama3") == 0 || strcmp(type, "yarn") == 0;
    if (!known && strcmp(type, "default") != 0)
        return sg_hf_refuse(&rope, "rope_type", type, "default, linear, llama3 or yarn");
    if (known) {
        snprintf(c->rope_scaling, sizeof c->rope_scaling, "%s", type);
        SG_TRY(rope_numbers(&rope));
    }
    return rope_whole(&rope, called);
}

// share: of a head that is rotated where the file does not say.
static sg_status rope_read(const sg_hf_reading *r, double share)
{
    sg_config *c = r->c;
    json_t *object = NULL;
    const char *called;
    SG_TRY(sg_hf_get_number(r, "rope_theta", &c->rope_theta));
    SG_TRY(sg_hf_get_number(r, "partial_rotary_factor", &share));
    SG_TRY(rope_find(r, &object, &called));
    if (object != NULL) SG_TRY(rope_object(r, object, called, &share));
    if (r->type->rotary_share == 0 && share != 1)
        return sg_hf_refuse(r, "partial_rotary_factor", "another number",
                            "1 (the whole head is rotated)");
    if (!(share > 0 && share <= 1))
        return sg_hf_refuse(r, "partial_rotary_factor", "another number", "more than 0, at most 1");
    c->rotary_dim = (int64_t)floor((double)c->head_dim * share);
    if (c->rotary_dim == 0 && c->head_dim > 0)
        return sg_hf_refuse(r, "partial_rotary_factor", "less than one number of a head", "more");
    return SG_OK;
}

sg_status sg_hf_read_rope(const sg_hf_reading *r, const sg_hf_key *key)
{
    (void)key;
    return rope_read(r, 1);
}

sg_status sg_hf_read_part_rope(const sg_hf_reading *r, const sg_hf_key *key)
{
    double share = r->type->rotary_share, theta = 0;
    (void)key;
    SG_TRY(sg_hf_get_number(r, "rotary_emb_base", &theta));
    SG_TRY(sg_hf_get_number(r, "rotary_pct", &share));
    SG_TRY(rope_read(r, share));
    // It is older than the object of version 5.
    if (sg_hf_find(r, "rotary_emb_base") != NULL && sg_hf_find(r, "rope_parameters") == NULL)
        r->c->rope_theta = theta;
    return SG_OK;
}

void sg_hf_write_rope(sg_hf_writing *w, const sg_hf_key *key)
{
    const sg_config *c = w->c;
    (void)key;
    sg_hf_put(w, "rope_theta", json_real(c->rope_theta));
    if (strcmp(c->rope_scaling, "none") == 0) return;
    json_t *scaling = json_object();
    sg_hf_writing inside = {.c = c, .object = scaling};
    sg_hf_put(&inside, "rope_type", json_string(c->rope_scaling));
    sg_hf_put(&inside, "rope_theta", json_real(c->rope_theta));
    sg_hf_put(&inside, "factor", json_real(c->rope_factor));
    if (strcmp(c->rope_scaling, "llama3") == 0) {
        sg_hf_put(&inside, "low_freq_factor", json_real(c->rope_low_freq_factor));
        sg_hf_put(&inside, "high_freq_factor", json_real(c->rope_high_freq_factor));
    }
    if (strcmp(c->rope_scaling, "yarn") == 0) {
        sg_hf_put(&inside, "beta_fast", json_real(c->rope_beta_fast));
        sg_hf_put(&inside, "beta_slow", json_real(c->rope_beta_slow));
        sg_hf_put(&inside, "truncate", json_boolean(c->rope_exact_borders == 0));
        if (c->rope_attention_factor != 0)
            sg_hf_put(&inside, "attention_factor", json_real(c->rope_attention_factor));
    }
    if (c->rope_original_positions > 0)
        sg_hf_put(&inside, "original_max_position_embeddings",
                  json_integer(c->rope_original_positions));
    w->failed = w->failed || inside.failed;
    sg_hf_put(w, "rope_scaling", scaling);
}

// The share of a head that is rotated; readers cut the product with its width down to a whole
// number.
static double rope_share(int64_t part, int64_t whole)
{
    double share = (double)part / (double)whole;
    while ((int64_t)floor((double)whole * share) < part)
        share = nextafter(share, 2);
    return share;
}

void sg_hf_write_part_rope(sg_hf_writing *w, const sg_hf_key *key)
{
    const sg_config *c = w->c;
    const double share = rope_share(c->rotary_dim ? c->rotary_dim : c->head_dim, c->head_dim);
    sg_hf_write_rope(w, key);
    sg_hf_put(w, "rotary_pct", json_real(share));
    sg_hf_put(w, "rotary_emb_base", json_real(c->rope_theta));
    json_t *scaling = json_object_get(w->object, "rope_scaling");
    if (scaling != NULL &&
        json_object_set_new(scaling, "partial_rotary_factor", json_real(share)) != 0)
        w->failed = true;
}

// ---- windows ------------------------------------------------------------------------------------

static bool window_is_listed(const void *list, int64_t layer)
{
    const char *type = json_string_value(json_array_get(list, (size_t)layer));
    return type != NULL && strcmp(type, "sliding_attention") == 0;
}

// Layers that slide where the file does not list them.
typedef struct window_layers {
    int64_t first, end;
    bool in_turns;
} window_layers;

static bool window_is_default(const void *of, int64_t layer)
{
    const window_layers *s = of;
    return layer >= s->first && layer < s->end && (!s->in_turns || layer % 2 == 0);
}

// By the classes' defaults for "layer_types".
static sg_status window_defaults(const sg_hf_reading *r, window_layers *s)
{
    const sg_hf_window *window = &r->type->window;
    int64_t border = 28;
    *s = (window_layers){.end = SG_HF_MOST_LAYERS, .in_turns = window->in_turns};
    SG_TRY(sg_hf_get_int(r, "max_window_layers", false, 0, &border));
    if (window->from_border) s->first = border;
    if (window->to_border) s->end = border;
    return SG_OK;
}

static sg_status window_check_types(const sg_hf_reading *r, const json_t *types)
{
    if (json_array_size(types) != (size_t)r->c->num_hidden_layers)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"layer_types\": found %zu entries, expected one for each of the %lld "
                       "layers",
                       r->name, json_array_size(types), (long long)r->c->num_hidden_layers);
    for (size_t l = 0; l < json_array_size(types); l++) {
        const char *type = json_string_value(json_array_get(types, l));
        if (type == NULL ||
            (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0))
            return sg_hf_refuse(r, "layer_types", type ? type : "no string",
                                "sliding_attention or full_attention");
    }
    return SG_OK;
}

// "layer_types" says which layers slide.
sg_status sg_hf_read_window(const sg_hf_reading *r, const sg_hf_key *key)
{
    sg_config *c = r->c;
    const bool asked_for = r->type->window.asked_for;
    int64_t window = r->type->window.size;
    json_t *types = NULL;
    window_layers layers;
    (void)key;
    if (json_is_null(json_object_get(r->object, "sliding_window"))) window = 0; // null is none
    SG_TRY(sg_hf_get_int(r, "sliding_window", false, 0, &window));
    bool used = window > 0;
    SG_TRY(sg_hf_get_bool(r, "use_sliding_window", &used));
    if (asked_for && sg_hf_find(r, "use_sliding_window") == NULL) used = false;
    SG_TRY(window_defaults(r, &layers));
    sg_asked_add(r->asked, "layer_types");
    if (sg_hf_find(r, "sliding_window") != NULL && window == 0 && (used || !asked_for))
        return sg_hf_refuse(r, "sliding_window", "0", "at least 1, or null");
    if (!used || window == 0) return SG_OK;
    SG_TRY(sg_hf_get_array(r, "layer_types", &types));
    if (types != NULL) {
        SG_TRY(window_check_types(r, types));
        SG_TRY(sg_hf_list_layers(r, "layer_types", window_is_listed, types, c->sliding_layers,
                                 sizeof c->sliding_layers));
    } else {
        SG_TRY(sg_hf_list_layers(r, "max_window_layers", window_is_default, &layers,
                                 c->sliding_layers, sizeof c->sliding_layers));
    }
    c->sliding_window = c->sliding_layers[0] != '\0' ? window : 0;
    return SG_OK;
}

void sg_hf_write_window(sg_hf_writing *w, const sg_hf_key *key)
{
    const int64_t window = w->c->sliding_window;
    sg_hf_put(w, key->name, window > 0 ? json_integer(window) : json_null());
}

void sg_hf_write_layer_types(sg_hf_writing *w, const sg_hf_key *key)
{
    json_t *types = json_array();
    for (int64_t l = 0; l < w->c->num_hidden_layers; l++)
        if (json_array_append_new(types,
                                  json_string(w->layers->slides(w->c, l) ? "sliding_attention"
                                                                         : "full_attention")) != 0)
            w->failed = true;
    sg_hf_put(w, key->name, types);
}

void sg_hf_write_border(sg_hf_writing *w, const sg_hf_key *key)
{
    int64_t first = 0;
    while (first < w->c->num_hidden_layers && !w->layers->slides(w->c, first))
        first++;
    sg_hf_put(w, key->name, json_integer(first));
}
