// Any bytes as a file of edits: a list that comes out is of neurons of the model, and a session
// that has it reads tokens.
#include <stdint.h>
#include <stdlib.h>

#include "tiny_models.h"
#include "sgatlin_edit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sg_model *model_of_test(void)
{
    static sg_context *context;
    static sg_model *model;
    const sg_config config = tiny_config("sgatlin", 60, 16);
    if (model != NULL) return model;
    sg_context_options options = sg_context_options_default();
    options.threads = 1;
    if (sg_context_new(&options, &context, NULL) != SG_OK) abort();
    if (sg_model_new(context, &config, 3, &model, NULL) != SG_OK) abort();
    return model;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int32_t tokens[] = {1, 2, 3, 4};
    sg_error err = {0};
    sg_edits *edits;
    sg_session *session;
    const float *logits;
    size_t count;
    sg_model *model = model_of_test();
    if (sg_edits_from_memory(model, data, size, "input", &edits, &err) != SG_OK) {
        if (err.message[0] == '\0' || edits != NULL) abort();
        return 0;
    }
    const sg_edit *list = sg_edits_list(edits, &count);
    for (size_t i = 0; i < count; i++)
        if (list[i].layer < 0 || list[i].layer > 1 || list[i].channel < 0 || list[i].channel > 1 ||
            list[i].neuron < 0 || list[i].neuron > 24)
            abort();
    const sg_session_options options = {.points = sg_edits_points(edits), .capacity = 8};
    if (sg_session_open(model, &options, &session, &err) != SG_OK) abort();
    if (sg_session_feed(session, tokens, 4, &logits, &err) != SG_OK) abort();
    sg_session_free(session);
    sg_edits_free(edits);
    return 0;
}
