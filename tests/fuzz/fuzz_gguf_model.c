// Any bytes as a GGUF file with a model and a tokenizer: either is taken as a whole or refused with
// a message, and a model that fits its tensors can be read.
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "format/gguf.h"
#include "format/gguf_config.h"
#include "model/config.h"
#include "model/gguf_rope.h"
#include "model/model_file.h"
#include "model/tensor_read.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count_of(const void *file)
{
    return sg_gguf_count(file);
}

static const sg_tensor_view *at_of(const void *file, size_t i)
{
    return sg_gguf_at(file, i);
}

static const sg_tensor_view *find_of(const void *file, const char *name)
{
    return sg_gguf_find(file, name);
}

static void use_model(const sg_gguf *file, size_t size)
{
    sg_error err = {0};
    sg_config config = {0};
    sg_param_list params;
    sg_status status = sg_gguf_config_read(file, &config, NULL, &err);
    if (status == SG_OK) status = sg_config_complete(&config, &err);
    if (status == SG_OK) status = sg_gguf_rope_check(file, &config, &err);
    if (status == SG_OK) status = sg_config_params(&config, &params, &err);
    if (status != SG_OK) {
        if (err.message[0] == '\0') abort();
        return;
    }
    const sg_tensor_map *map = sg_tensor_map_find("gguf");
    const sg_tensors tensors = {file, "input", count_of, at_of, find_of};
    status = sg_model_file_check(map, &tensors, &config, &params, &err);
    if (status == SG_OK && (size_t)params.total > 16 * size) abort(); // more than the file can hold
    sg_pieces pieces = {0};
    for (size_t i = 0; status == SG_OK && i < params.count; i++) {
        const sg_param_spec *spec = &params.specs[i];
        sg_real *values = sg_alloc_array((size_t)spec->count, sizeof *values);
        if (sg_tensor_map_pieces(map, &config, spec, &tensors, &pieces, &err) != SG_OK) abort();
        if (values != NULL && sg_pieces_read(&pieces, spec, values, &err) != SG_OK) abort();
        sg_free(values);
    }
    sg_pieces_free(&pieces);
    sg_param_list_free(&params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_gguf *file;
    if (sg_gguf_open_memory(data, size, "input", &file, &err) != SG_OK) return 0;
    use_model(file, size);
    sg_tokenizer *tokenizer;
    if (sg_tokenizer_from_gguf(file, &tokenizer, &err) == SG_OK)
        sg_tokenizer_free(tokenizer);
    else if (err.message[0] == '\0')
        abort();
    sg_gguf_close(file);
    return 0;
}
