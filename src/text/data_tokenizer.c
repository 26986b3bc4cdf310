// Ids of one tokenizer mean nothing to a model that knows another's: packed data carry the checksum
// of their tokenizer, and the tokenizer itself, which tells whether two that differ differ in their
// tokens.
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "sgatlin_data.h"

static const char *token_text(const sg_tokenizer *tokenizer, int64_t id)
{
    const bool has = id < sg_tokenizer_vocab_size(tokenizer);
    const char *text = has ? sg_tokenizer_token_text(tokenizer, (int32_t)id) : NULL;
    return text ? text : "";
}

static sg_status tokens_compare(const char *folder, int64_t vocab, const sg_tokenizer *of_data,
                                const sg_tokenizer *tokenizer, sg_error *err)
{
    for (int64_t id = 0; id < vocab; id++) {
        const char *there = token_text(of_data, id), *here = token_text(tokenizer, id);
        if (strcmp(there, here) == 0) continue;
        return sg_fail(
            err, SG_ERR_MISMATCH,
            "%s: packed with another tokenizer than the model's: token %lld is \"%.40s\" "
            "in the data, expected \"%.40s\"",
            folder, (long long)id, there, here);
    }
    return SG_OK;
}

static sg_status data_compare(sg_context *context, const char *folder, int64_t vocab,
                              const sg_tokenizer *tokenizer, sg_error *err)
{
    sg_tokenizer *of_data;
    SG_TRY(sg_tokenizer_open(folder, &of_data, err));
    sg_status status = tokens_compare(folder, vocab, of_data, tokenizer, err);
    sg_tokenizer_free(of_data);
    if (status == SG_OK)
        sg_log(context, SG_LOG_WARNING,
               "%s: packed with another tokenizer.json than the model's; all tokens are the same, "
               "texts may be cut into them otherwise",
               folder);
    return status;
}

sg_status sg_data_check_tokenizer(sg_context *context, const char *folder,
                                  const sg_tokenizer *tokenizer, sg_error *err)
{
    sg_data *data;
    SG_TRY(sg_data_open(folder, SG_VERIFY_QUICK, &data, err));
    const uint64_t hash = sg_data_get_info(data)->tokenizer_hash;
    const int64_t vocab = sg_data_get_info(data)->vocab_size;
    sg_data_free(data);
    if (hash == sg_tokenizer_hash(tokenizer)) return SG_OK;
    return data_compare(context, folder, vocab, tokenizer, err);
}
