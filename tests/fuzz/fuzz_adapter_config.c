// Any bytes as adapter_config.json: what is taken says of every matrix whether it has an adapter,
// of a rank and a finite scale; the rest says why not.
#include <math.h>
#include <stdlib.h>

#include "format/json.h"
#include "model/adapter_rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const sg_adapter_rules *rules)
{
    static const char *const modules[] = {"model.layers.0.self_attn.q_proj",
                                          "transformer.h.11.attn.c_attn", "lm_head", ""};
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
        sg_error err = {0};
        bool is;
        const char *key = NULL;
        int64_t rank = 0;
        double scale = NAN;
        const sg_status status =
            sg_adapter_rules_target(rules, modules[i], i == 2, &is, &key, &err);
        if (status == SG_OK && key == NULL) abort();
        if (sg_adapter_rules_form(rules, modules[i], &rank, &scale, &err) != SG_OK) {
            if (err.message[0] == '\0') abort();
        } else if (rank < 1 || !isfinite(scale)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_adapter_rules *rules;
    json_t *root;
    if (sg_json_parse((const char *)data, size, "input", &root, NULL) != SG_OK) return 0;
    if (sg_adapter_rules_new(root, "input", &rules, &err) == SG_OK)
        use(rules);
    else if (err.message[0] == '\0')
        abort();
    else
        rules = NULL;
    sg_adapter_rules_free(rules);
    json_decref(root);
    return 0;
}
