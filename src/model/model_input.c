// What a model reads: what begins a text, the ids of one, and whether packed data are for it.
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"
#include "sgatlin_data.h"

void sg_model_begin(const sg_model *m, const sg_tokenizer *tokenizer, int32_t *bos,
                    const int32_t **begin, size_t *count)
{
    if (sg_tokenizer_begin(tokenizer, begin, count)) return;
    const bool ours = m->map == NULL || m->map == sg_tensor_map_find("sgatlin");
    *bos = (int32_t)m->config.bos_token_id;
    *begin = bos;
    *count = ours && *bos >= 0 ? 1 : 0;
}

sg_status sg_model_encode(const sg_model *m, const sg_tokenizer *tokenizer, const char *text,
                          size_t bytes, const sg_encode_options *options, int32_t **ids,
                          int64_t *count, int64_t *begins, sg_error *err)
{
    int32_t *said, bos;
    const int32_t *begin;
    size_t said_count, begin_count;
    if (sg_tokenizer_vocab_size(tokenizer) > m->config.vocab_size)
        return sg_fail(
            err, SG_ERR_MISMATCH,
            "the tokenizer has %d tokens, expected at most the model's vocabulary of %lld",
            sg_tokenizer_vocab_size(tokenizer), (long long)m->config.vocab_size);
    sg_model_begin(m, tokenizer, &bos, &begin, &begin_count);
    SG_TRY(sg_tokenizer_encode(tokenizer, text, bytes, options, &said, &said_count, err));
    *ids = sg_alloc_array(begin_count + said_count + 1, sizeof **ids);
    if (*ids != NULL) {
        if (begin_count > 0) memcpy(*ids, begin, begin_count * sizeof **ids);
        memcpy(*ids + begin_count, said, said_count * sizeof **ids);
    }
    sg_buffer_free(said);
    if (*ids == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the text");
    *begins = (int64_t)begin_count;
    *count = (int64_t)(begin_count + said_count);
    return SG_OK;
}

sg_status sg_data_fits(const sg_data *data, const sg_config *config, const char *name,
                       sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(data);
    if (info->vocab_size > config->vocab_size)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: packed with a vocabulary of %lld, expected at most the model's %lld",
                       name, (long long)info->vocab_size, (long long)config->vocab_size);
    if (info->seq_len > config->max_position_embeddings)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: packed for sequences of %lld, expected at most the model's %lld", name,
                       (long long)info->seq_len, (long long)config->max_position_embeddings);
    return SG_OK;
}
