// Any bytes as a manifest, as they are and, where they are a JSON object, once more with the right
// checksum put on, so that what lies behind the check is reached.
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "format/json_seal.h"
#include "format/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const char *text, size_t size)
{
    sg_error err = {0};
    sg_manifest *manifest;
    if (sg_manifest_parse(text, size, "input", &manifest, &err) != SG_OK) {
        if (manifest != NULL || err.message[0] == '\0') abort();
        return;
    }
    if (manifest->step < 0 || !json_is_object(manifest->state)) abort();
    for (size_t i = 0; i < manifest->count; i++)
        if (!sg_name_is_plain(manifest->files[i].name) || manifest->files[i].bytes < 0) abort();
    sg_manifest_free(manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse((const char *)data, size);
    json_t *root;
    if (sg_json_parse((const char *)data, size, "input", &root, NULL) != SG_OK) return 0;
    char *sealed = NULL;
    if (json_is_object(root) && sg_json_seal(root, "input", NULL) == SG_OK &&
        sg_json_text(root, true, &sealed, NULL) == SG_OK)
        parse(sealed, strlen(sealed));
    sg_free(sealed);
    json_decref(root);
    return 0;
}
