// The inside of sg_tokenizer, for the files of this folder. The public face is in sgatlin.h.
#ifndef SG_TEXT_TOKENIZER_H
#define SG_TEXT_TOKENIZER_H

#include <pthread.h>

#include "format/hf_tokenizer.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenize.h"

// What one call of encode needs; kept for the next one, so that caches stay warm.
typedef struct sg_encoder {
    struct sg_encoder *next;
    sg_cutting cutting;
    sg_bpe_scratch *words;
    sg_bytes normal[2];  // a piece on its way through the normalisers
    sg_added_pieces raw; // pieces of the text as it came
    sg_added_pieces normalized;
    int64_t lost; // bytes of the normalised text that no id stands for
} sg_encoder;

struct sg_tokenizer {
    sg_hf_tokenizer *hf;
    char *json; // its tokenizer.json, as read or made; NULL where it cannot be written as one
    size_t json_bytes;
    uint64_t hash;
    int32_t size;              // ids, added tokens included
    sg_hf_string *texts;       // (size) spelling of each id
    const sg_hf_added **added; // (size) the added token of an id, or NULL
    sg_bytes plain;            // the tokens as they decode, one behind the other
    size_t *plain_at;          // (size+1) where each begins in `plain`
    sg_token_map ids;          // spelling to id
    sg_bpe *bpe;
    sg_cutter *cutter;
    sg_added_set *raw_set;        // added tokens looked for in the text as it comes, NULL: none
    sg_added_set *normalized_set; // and after normalisation, NULL: none
    int32_t eos, bos, pad;
    pthread_mutex_t lock; // guards `encoders`
    bool has_lock;
    sg_encoder *encoders; // idle ones
};

// Makes a tokenizer that did not come from a tokenizer.json. Takes `hf`, also on failure.
sg_status sg_tokenizer_from_steps(sg_hf_tokenizer *hf, const char *name, sg_tokenizer **tokenizer,
                                  sg_error *err);

// Runs text through the normalisers. *out is the text itself or one of the two buffers.
sg_status sg_normalize_steps(const sg_hf_tokenizer *hf, sg_bytes buffers[2], const char *text,
                             size_t bytes, sg_hf_string *out, sg_error *err);

void sg_encoder_free(sg_encoder *encoder);

#endif
