// Any bytes as a tokenizer.json and, behind a NUL, a text to encode with it. A tokenizer that opens
// gives ids of its vocabulary, the same ones twice, and decodes them.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Token by token, as what goes on behind the first half.
static void try_rest(const sg_tokenizer *tokenizer, const int32_t *ids, size_t count, bool fine)
{
    sg_error err;
    sg_decoder *decoder;
    const char *piece;
    size_t bytes;
    if (sg_decoder_new(tokenizer, NULL, &decoder, &err) != SG_OK) abort();
    sg_status status = sg_decoder_follow(decoder, ids, count / 2, &err);
    for (size_t i = count / 2; i < count && status == SG_OK; i++)
        status = sg_decoder_push(decoder, ids[i], &piece, &bytes, &err);
    if (status == SG_OK) status = sg_decoder_finish(decoder, &piece, &bytes, &err);
    if (fine && status != SG_OK && status != SG_ERR_UNSUPPORTED) abort();
    sg_decoder_free(decoder);
}

static void try_text(const sg_tokenizer *tokenizer, const char *text, size_t bytes)
{
    sg_error err;
    int32_t *ids, *again;
    size_t count, again_count;
    sg_encode_options options = {.add_special = true, .parse_special = true};
    if (sg_tokenizer_encode(tokenizer, text, bytes, &options, &ids, &count, &err) != SG_OK) return;
    if (sg_tokenizer_encode(tokenizer, text, bytes, &options, &again, &again_count, &err) != SG_OK)
        abort();
    if (count != again_count || memcmp(ids, again, count * sizeof *ids) != 0) abort();
    for (size_t i = 0; i < count; i++)
        if (sg_tokenizer_token_text(tokenizer, ids[i]) == NULL) abort();
    char *back;
    size_t back_bytes;
    sg_status status = sg_tokenizer_decode(tokenizer, ids, count, NULL, &back, &back_bytes, &err);
    // Steps that make too much of little are refused.
    if (status != SG_OK && status != SG_ERR_UNSUPPORTED) abort();
    if (status == SG_OK && back_bytes > ((size_t)1 << 20) + 512 * (bytes + 64)) abort();
    try_rest(tokenizer, ids, count, status == SG_OK);
    if (status == SG_OK) sg_buffer_free(back);
    sg_buffer_free(ids);
    sg_buffer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t json = end == NULL ? size : (size_t)(end - data);
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_from_memory(data, json, "input", &tokenizer, &err) != SG_OK) return 0;
    static const char fallback[] = "ab c 12\n\n  e\xCC\x81 \xF0\x9F\x98 <e>x-y";
    if (end == NULL)
        try_text(tokenizer, fallback, sizeof fallback - 1);
    else
        try_text(tokenizer, (const char *)end + 1, size - json - 1);
    sg_tokenizer_free(tokenizer);
    return 0;
}
