// The small files that go along with the weights of a converted model, and its tokenizer.
#ifndef SG_CONVERT_SIDE_FILES_H
#define SG_CONVERT_SIDE_FILES_H

#include <jansson.h>

#include "format/model_folder.h"
#include "model/model_file.h"
#include "sgatlin_convert.h"

enum { SG_SIDE_FILES_MOST = 8 };

typedef struct sg_side_files {
    const sg_convert_options *options;
    const sg_model_file *file;
    const char *model; // its path
    char *tokenizer;   // the bytes of tokenizer.json; NULL where there is none
    size_t tokenizer_bytes;
    sg_tokenizer *opened; // the same, where this library knows its kind
    sg_named_bytes files[SG_SIDE_FILES_MOST];
    char *owned[SG_SIDE_FILES_MOST]; // bytes of theirs
    size_t count;
} sg_side_files;

// Reads the tokenizer that the options ask for. Release with sg_side_files_free, also on failure.
sg_status sg_side_files_open(const sg_convert_options *options, const sg_model_file *file,
                             const char *model, sg_side_files *out, sg_error *err);
void sg_side_files_free(sg_side_files *files);

// Makes the tokenizer say what the model begins a text with, where so far its type does: a model of
// ours with its bos_token_id, which no reader but us knows; one of others with nothing, which has
// to be said where it becomes one of `ours`.
sg_status sg_side_files_put_begin(sg_side_files *files, bool ours, sg_error *err);

// Adds a file: bytes that outlive this, and the text of a value (NULL: out of memory).
void sg_side_files_add(sg_side_files *files, const char *name, const void *data, size_t bytes);
sg_status sg_side_files_add_json(sg_side_files *files, const char *name, const json_t *object,
                                 sg_error *err);
// Adds what the model has of tokenizer, chat template and generation_config.json.
sg_status sg_side_files_add_all(sg_side_files *files, sg_error *err);
// The chat template that came with the tokenizer of the model. *text: sg_free; NULL when it has
// none.
sg_status sg_side_files_chat(const sg_side_files *files, char **text, size_t *bytes, sg_error *err);

#endif
