// Members of a config.json, one kind at a time, both ways.
#include "format/hf_type.h"

#include <stdio.h>
#include <string.h>

#include "format/end_tokens.h"
#include "format/json.h"

static const int64_t hf_most = (int64_t)1 << 40;

// ---- reading ------------------------------------------------------------------------------------

const json_t *sg_hf_find(const sg_hf_reading *r, const char *key)
{
    sg_asked_add(r->asked, key);
    const json_t *value = json_object_get(r->object, key);
    return json_is_null(value) ? NULL : value;
}

sg_status sg_hf_get_int(const sg_hf_reading *r, const char *key, bool required, int64_t low,
                        int64_t *out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_int(r->object, r->name, key, required, low, hf_most, out, r->err);
}

sg_status sg_hf_get_bool(const sg_hf_reading *r, const char *key, bool *out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_bool(r->object, r->name, key, false, out, r->err);
}

sg_status sg_hf_get_number(const sg_hf_reading *r, const char *key, double *out)
{
    const bool given = sg_hf_find(r, key) != NULL;
    SG_TRY(sg_json_get_number(r->object, r->name, key, false, out, r->err));
    if (given && *out == 0) *out = -0.0;
    return SG_OK;
}

sg_status sg_hf_get_string(const sg_hf_reading *r, const char *key, const char **out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_string(r->object, r->name, key, false, out, r->err);
}

sg_status sg_hf_get_array(const sg_hf_reading *r, const char *key, json_t **out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_array(r->object, r->name, key, false, out, r->err);
}

sg_status sg_hf_refuse(const sg_hf_reading *r, const char *key, const char *found,
                       const char *expected)
{
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found %.60s, expected %s for %s",
                   r->name, key, found, expected, r->type->name);
}

sg_status sg_hf_list_layers(const sg_hf_reading *r, const char *key,
                            bool (*has)(const void *, int64_t), const void *of, char *text,
                            size_t capacity)
{
    const int64_t layers = r->c->num_hidden_layers;
    size_t used = 0;
    text[0] = '\0';
    for (int64_t l = 0; l < layers; l++) {
        if (!has(of, l)) continue;
        int64_t last = l;
        while (last + 1 < layers && has(of, last + 1))
            last++;
        char item[48];
        int n = last > l ? snprintf(item, sizeof item, "%s%lld-%lld", used ? "," : "",
                                    (long long)l + 1, (long long)last + 1)
                         : snprintf(item, sizeof item, "%s%lld", used ? "," : "", (long long)l + 1);
        if (used + (size_t)n >= capacity)
            return sg_hf_refuse(r, key, "too many runs of layers", "fewer");
        memcpy(text + used, item, (size_t)n + 1);
        used += (size_t)n;
        l = last;
    }
    return SG_OK;
}

static sg_status hf_read_token(const sg_hf_reading *r, const char *key, int64_t *id)
{
    sg_end_tokens ids = {0};
    sg_asked_add(r->asked, key);
    SG_TRY(sg_end_tokens_of_json(r->object, r->name, key, r->c->vocab_size, &ids, r->err));
    *id = ids.count > 0 ? ids.ids[0] : -1;
    return SG_OK;
}

static bool hf_is_gated(const sg_config *c)
{
    return strcmp(c->ffn, "mlp") != 0;
}

// Names of the library and ours, of a dense layer and of the gates of a gated one. What is written
// is the first of its kind.
static const struct {
    const char *theirs, *plain, *gated;
} hf_activations[] = {{"silu", "swish", "swiglu"},
                      {"swish", "swish", "swiglu"},
                      {"gelu", "gelu_erf", "geglu_erf"},
                      {"gelu_new", "gelu", NULL},
                      {"gelu_pytorch_tanh", "gelu", "geglu"},
                      {"gelu_new", "gelu", "geglu"},
                      {"gelu_fast", "gelu", "geglu"},
                      {"relu", "relu", "reglu"},
                      {"relu2", "relu2", NULL}};
enum { hf_activation_count = sizeof hf_activations / sizeof *hf_activations };

static const char *hf_activation_of(const sg_config *c, int i)
{
    return hf_is_gated(c) ? hf_activations[i].gated : hf_activations[i].plain;
}

void sg_hf_set_activation(sg_config *c, const char *name)
{
    memset(c->ffn_activation, 0, sizeof c->ffn_activation);
    snprintf(c->ffn_activation, sizeof c->ffn_activation, "%s", name);
}

static sg_status hf_read_activation(const sg_hf_reading *r, const char *key)
{
    const char *text = NULL;
    char found[64];
    SG_TRY(sg_hf_get_string(r, key, &text));
    if (text == NULL) return SG_OK;
    for (int i = 0; i < hf_activation_count; i++) {
        const char *ours = hf_activation_of(r->c, i);
        if (ours == NULL || strcmp(hf_activations[i].theirs, text) != 0) continue;
        sg_hf_set_activation(r->c, ours);
        return SG_OK;
    }
    snprintf(found, sizeof found, "\"%.60s\"", text);
    return sg_hf_refuse(r, key, found, "silu, gelu, gelu_new, gelu_pytorch_tanh, relu or relu2");
}

static sg_status hf_read_is(const sg_hf_reading *r, const sg_hf_key *key)
{
    char text[64];
    if (key->kind == SG_HF_IS_FLAG) {
        bool flag = key->low != 0;
        SG_TRY(sg_hf_get_bool(r, key->name, &flag));
        if (flag == (key->low != 0)) return SG_OK;
        return sg_hf_refuse(r, key->name, flag ? "true" : "false", flag ? "false" : "true");
    }
    if (key->kind == SG_HF_IS_NUMBER) {
        double number = key->number;
        SG_TRY(sg_hf_get_number(r, key->name, &number));
        snprintf(text, sizeof text, "%g", key->number);
        if (number == key->number) return SG_OK;
        return sg_hf_refuse(r, key->name, "another number", text);
    }
    const char *found = key->text;
    SG_TRY(sg_hf_get_string(r, key->name, &found));
    snprintf(text, sizeof text, "\"%.60s\"", found);
    return strcmp(found, key->text) == 0 ? SG_OK : sg_hf_refuse(r, key->name, text, key->text);
}

static sg_status hf_read_key(const sg_hf_reading *r, const sg_hf_key *key)
{
    void *field = (char *)r->c + key->field;
    bool flag;
    if (key->unread) return SG_OK;
    if (key->read != NULL) return key->read(r, key);
    switch (key->kind) {
    case SG_HF_OWN:
        return SG_OK;
    case SG_HF_INT:
        return sg_hf_get_int(r, key->name, key->required, key->low, field);
    case SG_HF_NUMBER:
        return sg_hf_get_number(r, key->name, field);
    case SG_HF_FLAG:
    case SG_HF_NOT:
        flag = (*(int64_t *)field != 0) == (key->kind == SG_HF_FLAG);
        SG_TRY(sg_hf_get_bool(r, key->name, &flag));
        *(int64_t *)field = flag == (key->kind == SG_HF_FLAG);
        return SG_OK;
    case SG_HF_TOKEN:
        return hf_read_token(r, key->name, field);
    case SG_HF_ACTIVATION:
        return hf_read_activation(r, key->name);
    default:
        return hf_read_is(r, key);
    }
}

sg_status sg_hf_read_keys(const sg_hf_reading *r)
{
    const sg_hf_key *const *lists = r->type->keys;
    for (size_t l = 0; l < sizeof r->type->keys / sizeof *lists && lists[l] != NULL; l++)
        for (const sg_hf_key *key = lists[l]; key->name != NULL; key++)
            SG_TRY(hf_read_key(r, key));
    return SG_OK;
}

// ---- writing ------------------------------------------------------------------------------------

void sg_hf_put(sg_hf_writing *w, const char *key, json_t *value)
{
    if (json_object_set_new(w->object, key, value) != 0) w->failed = true;
}

// One that the library does not have is shown as the default, and found different when the file is
// read back.
static const char *hf_their_activation(const sg_config *c)
{
    for (int i = 0; i < hf_activation_count; i++) {
        const char *ours = hf_activation_of(c, i);
        if (ours != NULL && strcmp(ours, c->ffn_activation) == 0) return hf_activations[i].theirs;
    }
    return "silu";
}

static json_t *hf_value_of(const sg_config *c, const sg_hf_key *key)
{
    const void *field = (const char *)c + key->field;
    const int64_t whole = key->kind != SG_HF_NUMBER ? *(const int64_t *)field : 0;
    switch (key->kind) {
    case SG_HF_INT:
        return json_integer(whole);
    case SG_HF_NUMBER:
        return json_real(*(const double *)field);
    case SG_HF_FLAG:
        return json_boolean(whole != 0);
    case SG_HF_NOT:
        return json_boolean(whole == 0);
    case SG_HF_TOKEN:
        return whole < 0 ? json_null() : json_integer(whole);
    case SG_HF_ACTIVATION:
        return json_string(hf_their_activation(c));
    case SG_HF_IS_FLAG:
        return json_boolean(key->low != 0);
    case SG_HF_IS_NUMBER:
        return json_real(key->number);
    case SG_HF_IS_TEXT:
        return json_string(key->text);
    case SG_HF_OWN:
        break;
    }
    return NULL;
}

void sg_hf_write_keys(sg_hf_writing *w, const sg_hf_type *type)
{
    for (size_t l = 0; l < sizeof type->keys / sizeof *type->keys && type->keys[l] != NULL; l++)
        for (const sg_hf_key *key = type->keys[l]; key->name != NULL; key++) {
            if (key->unwritten) continue;
            if (key->write != NULL)
                key->write(w, key);
            else
                sg_hf_put(w, key->name, hf_value_of(w->c, key));
        }
}
