// For tests of packed data: an encoder whose ids are the bytes plus 3, so that rows can be told by
// eye, and a corpus packed with it.
#ifndef SG_TEST_PACK_BYTES_H
#define SG_TEST_PACK_BYTES_H

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "text/pack.h"
#include "sgatlin_data.h"

enum { BYTES_PAD = 0, BYTES_EOS = 1, BYTES_VOCAB = 259 };

static sg_status bytes_encode(void *user, const char *text, size_t bytes, int32_t **ids,
                              size_t *count, int64_t *lost, sg_error *err)
{
    (void)user;
    *count = bytes;
    *lost = 0;
    *ids = sg_alloc_array(bytes, sizeof **ids);
    if (*ids == NULL) return sg_fail(err, SG_ERR_MEMORY, "bytes: out of memory");
    for (size_t i = 0; i < bytes; i++)
        (*ids)[i] = (unsigned char)text[i] + 3;
    return SG_OK;
}

static sg_status bytes_save(void *user, const char *folder, sg_error *err)
{
    (void)user;
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, folder, "tokenizer.json", err));
    return sg_file_write_atomic(path, "{}", 2, err);
}

static inline sg_pack_encoder bytes_encoder(void)
{
    return (sg_pack_encoder){.encode = bytes_encode,
                             .save = bytes_save,
                             .vocab_size = BYTES_VOCAB,
                             .eos_id = BYTES_EOS,
                             .pad_id = BYTES_PAD,
                             .hash = 0x1234567890abcdefu};
}

static inline sg_status bytes_pack(const char *text, const sg_pack_encoder *encoder, sg_pool *pool,
                                   const sg_pack_options *options, const char *folder,
                                   sg_data_info *info, sg_error *err)
{
    sg_corpus *corpus;
    const char *source = "memory.txt";
    SG_TRY(sg_corpus_open_memory(text, strlen(text), source, &options->corpus, &corpus, err));
    sg_status status =
        sg_pack_corpus(corpus, encoder, pool, options, &source, 1, folder, info, err);
    sg_corpus_close(corpus);
    return status;
}

#endif
