// Any bytes as config.json: what is taken must have a list of parameters or say why not, be the
// same after writing and reading, and, while it is small, have a cost.
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_config config;
    sg_param_list params;
    if (sg_config_parse((const char *)data, size, "input", &config, &err) != SG_OK) {
        if (err.message[0] == '\0') abort();
        return 0;
    }
    again(&config);
    if (sg_config_params(&config, &params, &err) != SG_OK) {
        if (err.code != SG_ERR_ARGUMENT) abort();
        return 0;
    }
    if (params.total < 1 || params.total >= (int64_t)1 << 48) abort();
    sg_param_list_free(&params);
    sg_cost cost;
    if (config.num_hidden_layers > 8) return 0; // planning many layers takes long
    if (sg_config_cost(&config, 16, 2, true, 2, &cost, &err) == SG_OK) {
        if (cost.activation_bytes < 1 || !(cost.forward_flops_per_sequence > 0)) abort();
        if (cost.active_parameters_per_token > cost.parameters) abort();
    } else if (err.code != SG_ERR_MEMORY && err.code != SG_ERR_ARGUMENT) {
        abort();
    }
    return 0;
}
