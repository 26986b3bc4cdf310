// A config.json by the row of its type (hf_types.c), both ways.
#include "format/hf_config.h"

#include <stdio.h>
#include <string.h>

#include "format/hf_type.h"
#include "format/json.h"

const char *sg_hf_config_type(size_t index, bool *native)
{
    const sg_hf_type *type = sg_hf_type_at(index);
    if (type == NULL) return NULL;
    *native = !type->remote;
    return type->name;
}

// "llama, mistral, …"
static const char *hf_types_text(char *text, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; sg_hf_type_at(i) != NULL && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i > 0 ? ", " : "",
                                 sg_hf_type_at(i)->name);
    return text;
}

sg_status sg_hf_config_read(const json_t *object, const char *name, sg_config *config,
                            sg_unread *unread, sg_error *err)
{
    const char *found = NULL;
    char all[400];
    SG_TRY(sg_json_get_string(object, name, "model_type", true, &found, err));
    const sg_hf_type *type = sg_hf_type_find(found);
    if (type == NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"model_type\": found \"%.60s\", expected sgatlin or one of %s", name,
                       found, hf_types_text(all, sizeof all));
    sg_asked asked = {0};
    const sg_hf_reading r = {type, object, name, config, &asked, err};
    SG_TRY(sg_hf_keys_packed(object, name, type->packed, err));
    *config = type->start;
    SG_TRY(sg_hf_read_keys(&r));
    return sg_hf_keys_rest(object, name, config, &asked, unread, err);
}

sg_status sg_hf_config_write(const sg_config *c, const char *name, const sg_hf_layers *layers,
                             json_t **object, sg_error *err)
{
    const sg_hf_type *type = sg_hf_type_find(name);
    char all[400];
    *object = NULL;
    if (type == NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "model type: found \"%.60s\", expected sgatlin or one of %s", name,
                       hf_types_text(all, sizeof all));
    if (strcmp(c->ffn, type->start.ffn) != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "ffn: found \"%s\", expected \"%s\" for model type %s", c->ffn,
                       type->start.ffn, name);
    if (type->divided && c->hidden_size % c->num_attention_heads != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "num_attention_heads: found %lld, expected a divisor of hidden_size %lld "
                       "for model type %s",
                       (long long)c->num_attention_heads, (long long)c->hidden_size, name);
    sg_json_setup();
    sg_hf_writing w = {.c = c, .layers = layers, .object = json_object()};
    sg_hf_put(&w, "model_type", json_string(name));
    sg_hf_put(&w, "architectures", json_pack("[s]", type->architecture));
    sg_hf_write_keys(&w, type);
    if (w.failed) {
        json_decref(w.object);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for config.json");
    }
    *object = w.object;
    return SG_OK;
}
