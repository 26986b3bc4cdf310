// A type fits when its config.json, read as any other, gives the configuration back: what classes
// of the library can do is known to their reader (format/hf_config.c) alone.
#include "convert/hf_form.h"

#include <stdio.h>
#include <string.h>

#include "ffn/ffn.h"
#include "format/hf_config.h"
#include "model/config.h"

// ---- comparing ----------------------------------------------------------------------------------

// One form of what can be written in several.
static sg_config form_canonical(const sg_config *config)
{
    sg_config c = *config;
    c.ffn_capacity_factor = c.ffn_balance_loss = c.ffn_z_loss = 0;
    if (c.ffn_shared_experts > 0) {
        c.ffn_shared_size = sg_ffn_shared_width(config);
        c.ffn_shared_experts = 1;
    }
    return c;
}

// Lists of layers may be written in several ways too.
static bool form_same_layers(const sg_config *a, const sg_config *b, const char *x, const char *y)
{
    if ((x[0] == '\0') != (y[0] == '\0') || a->num_hidden_layers != b->num_hidden_layers)
        return strcmp(x, y) == 0;
    for (int64_t l = 0; l < a->num_hidden_layers; l++)
        if (sg_layers_have(x, l) != sg_layers_have(y, l)) return false;
    return true;
}

bool sg_config_differ(const sg_config *a, const sg_config *b, size_t *field)
{
    sg_config x = form_canonical(a), y = form_canonical(b);
    if (!sg_config_is_rotary(&x) && !sg_config_is_rotary(&y)) x.rope_theta = y.rope_theta;
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const char *name = sg_config_field_at(i)->name;
        const sg_config_value v = sg_config_get(&x, i), w = sg_config_get(&y, i);
        const bool layers = strcmp(name, "sliding_layers") == 0 || strcmp(name, "ffn_layers") == 0;
        const bool text =
            layers ? form_same_layers(&x, &y, v.text, w.text) : strcmp(v.text, w.text) == 0;
        if (text && v.integer == w.integer && v.number == w.number) continue;
        *field = i;
        return true;
    }
    return false;
}

// ---- one type -----------------------------------------------------------------------------------

static bool form_slides(const sg_config *c, int64_t layer)
{
    return c->sliding_window > 0 && sg_layers_have(c->sliding_layers, layer);
}

static sg_status form_try(const sg_config *config, const char *type, sg_hf_form *form,
                          sg_error *err)
{
    static const sg_hf_layers layers = {form_slides, sg_ffn_is_sparse};
    sg_config back = {0};
    size_t field;
    SG_TRY(sg_hf_config_write(config, type, &layers, &form->object, err));
    sg_status status = sg_hf_config_read(form->object, "config.json", &back, NULL, err);
    if (status == SG_OK) status = sg_config_complete(&back, err);
    if (status == SG_OK && sg_config_differ(config, &back, &field)) {
        char found[200], expected[200];
        const sg_field *f = sg_config_field_at(field);
        status = sg_fail(err, SG_ERR_UNSUPPORTED, "%s: found %s, expected %s for model type %s",
                         f->name, sg_field_text(f, config, found, sizeof found),
                         sg_field_text(f, &back, expected, sizeof expected), type);
    }
    if (status == SG_OK) {
        snprintf(form->type, sizeof form->type, "%s", type);
        form->config = back;
        return SG_OK;
    }
    json_decref(form->object);
    form->object = NULL;
    // What the reader refuses is a model that the type does not have, too.
    return status == SG_ERR_MEMORY ? status : SG_ERR_UNSUPPORTED;
}

// Our own type, which has every configuration.
static sg_status form_ours(const sg_config *config, sg_hf_form *form, sg_error *err)
{
    snprintf(form->type, sizeof form->type, "sgatlin");
    form->config = *config;
    form->object = sg_config_json(config);
    return form->object ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for config.json");
}

sg_status sg_hf_form_find(const sg_config *config, const char *wanted, const char *from,
                          sg_hf_form *form, sg_error *err)
{
    bool native = false;
    sg_config halves = *config;
    halves.rope_interleaved = 0;
    *form = (sg_hf_form){0};
    if (wanted != NULL && strcmp(wanted, "sgatlin") == 0) return form_ours(config, form, err);
    if (wanted != NULL) return form_try(&halves, wanted, form, err);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; sg_hf_config_type(i, &native) != NULL; i++) {
            const char *type = sg_hf_config_type(i, &native);
            if (!native || (pass == 0 && strcmp(type, from) != 0)) continue;
            sg_error refusal = {0};
            sg_status status = form_try(&halves, type, form, &refusal);
            if (status == SG_ERR_MEMORY) return sg_fail(err, status, "%s", refusal.message);
            if (status == SG_OK) return SG_OK;
        }
    return form_ours(config, form, err);
}
