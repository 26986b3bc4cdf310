// Any bytes as config.json of any model type: what is taken is complete, is the same after writing
// it as ours and reading it again, some model type writes it, and the rules of its type cut every
// parameter from tensors.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "convert/hf_form.h"
#include "format/end_tokens.h"
#include "format/hf_config.h"
#include "format/json.h"
#include "model/config.h"
#include "model/tensor_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const sg_config *config)
{
    json_t *object = sg_config_json(config);
    char *text = NULL;
    sg_config back;
    if (object == NULL || sg_json_text(object, true, &text, NULL) != SG_OK) abort();
    if (sg_config_parse(text, strlen(text), "again", &back, NULL) != SG_OK) abort();
    if (memcmp(&back, config, sizeof back) != 0) abort();
    sg_free(text);
    json_decref(object);
}

// All rows, each once.
static void pieces_of(const sg_tensor_map *map, const sg_config *config,
                      const sg_param_list *params)
{
    sg_pieces pieces = {0};
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        int64_t rows = 0;
        if (sg_tensor_map_pieces(map, config, spec, NULL, &pieces, NULL) != SG_OK) abort();
        for (size_t p = 0; p < pieces.count; p++) {
            if (pieces.items[p].first != rows || pieces.items[p].tensor[0] == '\0') abort();
            rows += pieces.items[p].count;
        }
        if (rows * (spec->rank > 1 ? spec->shape[spec->rank - 1] : 1) != spec->count &&
            rows != spec->count)
            abort();
    }
    sg_pieces_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    json_t *object;
    sg_config config = {0};
    sg_param_list params;
    if (sg_json_parse((const char *)data, size, "input", &object, &err) != SG_OK) return 0;
    // The same bytes as generation_config.json.
    sg_end_tokens ends = {0};
    if (sg_end_tokens_of_json(object, "input", "eos_token_id", 100, &ends, &err) != SG_OK &&
        err.message[0] == '\0')
        abort();
    for (size_t i = 0; i < ends.count; i++)
        if (i >= SG_END_TOKENS_MOST || ends.ids[i] < 0 || ends.ids[i] >= 100) abort();
    sg_status status = sg_hf_config_read(object, "input", &config, NULL, &err);
    if (status == SG_OK) status = sg_config_complete(&config, &err);
    if (status != SG_OK && err.message[0] == '\0') abort();
    const char *type = json_string_value(json_object_get(object, "model_type"));
    const sg_tensor_map *map = status == SG_OK ? sg_tensor_map_find(type) : NULL;
    if (status == SG_OK && map == NULL) abort(); // a type that is read has rules
    char map_type[32] = "";
    if (map != NULL) snprintf(map_type, sizeof map_type, "%s", type);
    json_decref(object);
    if (status != SG_OK) return 0;
    again(&config);
    sg_hf_form form;
    if (sg_hf_form_find(&config, NULL, map_type, &form, NULL) != SG_OK) abort();
    json_decref(form.object);
    const double pieces = (double)config.num_hidden_layers *
                          (double)(config.ffn_experts + config.num_attention_heads);
    if (pieces > 1e4 || sg_config_params(&config, &params, &err) != SG_OK) return 0;
    pieces_of(map, &config, &params);
    sg_param_list_free(&params);
    return 0;
}
