// Packing: documents of a corpus become rows of ids in shards, train and validation split by
// document, in one pass and bounded memory.
//
// concat: ids of a document, the end-of-text id, the next document … cut every T ids. The last row
// is filled with the padding id; without one the ids that do not fill a row are dropped.
// pad: a document a row: its ids and the end-of-text id, cut to T (the end-of-text id is lost then)
// or filled with the padding id. Both as in the reference training of "Sparsely gated tiny linear
// experts" (Schug 2026).
//
// A document is drawn into the validation split by its number in the corpus, so the split does not
// depend on what the documents say. With a fraction strictly between 0 and 1 neither split stays
// empty where that can be: the last document is moved to training when it must be, and when no
// document was drawn into validation, as of a book there is but one, concat gives it rows from the
// end of the last document, and pad the last document if there is another.
#ifndef SG_TEXT_PACK_H
#define SG_TEXT_PACK_H

#include "base/parallel.h"
#include "text/corpus.h"
#include "sgatlin_data.h"

// What packing needs of a tokenizer, so that it can be tested without one.
typedef struct sg_pack_encoder {
    void *user;
    // ids of one document, without an end-of-text id. *ids: sg_free; *lost: bytes that none of them
    // stands for. Called by several threads.
    sg_status (*encode)(void *user, const char *text, size_t bytes, int32_t **ids, size_t *count,
                        int64_t *lost, sg_error *err);
    // Writes the tokenizer's file into a folder.
    sg_status (*save)(void *user, const char *folder, sg_error *err);
    int64_t vocab_size;
    int64_t eos_id;
    int64_t pad_id; // -1: none
    uint64_t hash;
} sg_pack_encoder;

// Packs a corpus into `folder`. `sources` are names for the manifest. info may be NULL. On failure
// no manifest and no shards are left behind; what `force` was to replace is gone then.
sg_status sg_pack_corpus(sg_corpus *corpus, const sg_pack_encoder *encoder, sg_pool *pool,
                         const sg_pack_options *options, const char *const *sources,
                         size_t source_count, const char *folder, sg_data_info *info,
                         sg_error *err);

#endif
