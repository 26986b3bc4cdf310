// The ids that end a text. Chat models have several: the end of a document, of a turn, of a
// message. Files name them in different places, which this gathers.
#ifndef SG_FORMAT_END_TOKENS_H
#define SG_FORMAT_END_TOKENS_H

#include <jansson.h>

#include "format/gguf.h"

enum { SG_END_TOKENS_MOST = 64 };

typedef struct sg_end_tokens {
    int32_t ids[SG_END_TOKENS_MOST]; // (count) different ones, the model's own first
    size_t count;
} sg_end_tokens;

sg_end_tokens sg_end_tokens_one(int64_t id); // -1: none
bool sg_end_tokens_has(const sg_end_tokens *ends, int64_t id);

// Each adds what it finds. Ids outside of the vocabulary occur in files that never use them, and
// are passed over; a wrong type, or more ids than there is room for, is SG_ERR_FORMAT naming file
// and key. Of a member of an object: an id or a list of them. `name` is what errors call the file.
sg_status sg_end_tokens_of_json(const json_t *object, const char *name, const char *key,
                                int64_t vocab_size, sg_end_tokens *ends, sg_error *err);
// Of "eos_token_id" in generation_config.json of a model folder, if there is one. The samplers that
// the file may suggest are the caller's business, not the model's.
sg_status sg_end_tokens_of_folder(const char *folder, int64_t vocab_size, sg_end_tokens *ends,
                                  sg_error *err);
// Of tokenizer.ggml.eos_token_id, eot_token_id and eom_token_id.
sg_status sg_end_tokens_of_gguf(const sg_gguf *file, int64_t vocab_size, sg_end_tokens *ends,
                                sg_error *err);

#endif
