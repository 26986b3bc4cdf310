// Any bytes as adapter_config.json: what is taken has a rank and a finite scale, the rest says why not.
#include <math.h>
#include <stdlib.h>

#include "format/json.h"
#include "model/adapter_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_adapter_config c;
    json_t *root;
    if (sg_json_parse((const char *)data, size, "input", &root, NULL) != SG_OK) return 0;
    if (sg_adapter_config_parse(root, "input", &c, &err) == SG_OK) {
        if (c.rank < 1 || !isfinite(c.alpha / (double)c.rank)) abort();
    } else if (err.message[0] == '\0') {
        abort();
    }
    json_decref(root);
    return 0;
}
