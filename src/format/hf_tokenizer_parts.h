// What the files of the tokenizer.json reader share.
#ifndef SG_FORMAT_HF_TOKENIZER_PARTS_H
#define SG_FORMAT_HF_TOKENIZER_PARTS_H

#include "format/hf_tokenizer.h"
#include "format/json.h"

typedef struct sg_hf_reader {
    const char *name; // of the file, for errors
    sg_hf_tokenizer *hf;
    sg_error *err;
} sg_hf_reader;

// Copies a JSON string into the arena.
sg_status sg_hf_copy_string(sg_hf_reader *r, const json_t *value, sg_hf_string *out);
// Zeroed array in the arena, NULL when out of memory.
void *sg_hf_array(sg_hf_reader *r, size_t count, size_t size);
sg_status sg_hf_no_memory(sg_hf_reader *r);

sg_status sg_hf_read_normalizer(sg_hf_reader *r, const json_t *root);
sg_status sg_hf_read_pre(sg_hf_reader *r, const json_t *root);
sg_status sg_hf_read_post(sg_hf_reader *r, const json_t *root);
sg_status sg_hf_read_decoder(sg_hf_reader *r, const json_t *root);

#endif
