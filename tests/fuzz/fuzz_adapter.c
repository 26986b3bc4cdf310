// Any bytes as adapter_config.json and, behind a line end of their own, adapter_model.safetensors,
// on a model of a few numbers: they are added as a whole and a token goes through, or refused with
// a message and the model computes as before.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "memory_fs.h"
#include "model/adapters.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sg_model *tiny_model(void)
{
    static sg_model *model; // for all inputs
    static sg_context *context;
    sg_error err = {0};
    sg_config config = {.vocab_size = 4,
                        .hidden_size = 4,
                        .num_hidden_layers = 1,
                        .num_attention_heads = 1,
                        .head_dim = 4,
                        .max_position_embeddings = 4,
                        .untied_classifier = 1,
                        .pad_token_id = -1,
                        .eos_token_id = -1,
                        .bos_token_id = -1,
                        .ffn = "glu",
                        .ffn_intermediate_size = 2};
    if (model != NULL) return model;
    if (sg_context_new(&(sg_context_options){.threads = 1, .kernel = "ref"}, &context, &err) !=
            SG_OK ||
        sg_model_new(context, &config, 1, &model, &err) != SG_OK)
        abort();
    return model;
}

static void feed(sg_model *model)
{
    sg_error err = {0};
    sg_session *session;
    const float *logits;
    if (sg_session_new(model, 4, &session, &err) != SG_OK) {
        if (err.code != SG_ERR_MEMORY) abort();
        return;
    }
    if (sg_session_feed(session, (int32_t[]){1, 2}, 2, &logits, &err) != SG_OK) abort();
    sg_session_free(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_model *model = tiny_model();
    memory_fs *disk = memory_fs_new();
    const uint8_t *border = size > 0 ? memchr(data, '\n', size) : NULL;
    const size_t config = border != NULL ? (size_t)(border - data) : size;
    const size_t rest = border != NULL ? size - config - 1 : 0;
    sg_fs_set(memory_fs_table(disk));
    if (sg_folder_make("/a", NULL) != SG_OK ||
        sg_file_write_atomic("/a/adapter_config.json", data, config, NULL) != SG_OK ||
        sg_file_write_atomic("/a/adapter_model.safetensors", border ? border + 1 : data, rest,
                             NULL) != SG_OK)
        abort();
    const size_t count = model->params.count;
    const sg_status status = sg_model_adapt(model, "/a", &err);
    if (status != SG_OK && err.message[0] == '\0') abort();
    if (status == SG_OK) feed(model);
    sg_model_drop_adapters(model);
    if (model->params.count != count) abort();
    if (memory_fs_open_handles(disk) != 0 || memory_fs_open_maps(disk) != 0) abort();
    sg_fs_set(NULL);
    memory_fs_free(disk);
    return 0;
}
