// Any bytes as a tokenizer.bin of llama2.c. One that opens encodes and decodes a text, and so does
// the tokenizer.json that is made of it, where one can be.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int32_t *encode(const sg_tokenizer *t, size_t *count)
{
    static const char text[] = "ab c 12\n\n  e\xCC\x81 \xF0\x9F\x98 <s>x-y abab  a";
    sg_error err;
    int32_t *ids;
    if (sg_tokenizer_encode(t, text, sizeof text - 1, NULL, &ids, count, &err) != SG_OK) abort();
    char *back;
    size_t bytes;
    if (sg_tokenizer_decode(t, ids, *count, NULL, &back, &bytes, &err) != SG_OK) abort();
    sg_buffer_free(back);
    return ids;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_tokenizer *t, *again;
    sg_error err;
    if (sg_tokenizer_from_llama2c(data, size, "input", &t, &err) != SG_OK) return 0;
    size_t count, again_count;
    int32_t *ids = encode(t, &count);
    if (t->json != NULL) {
        if (sg_tokenizer_from_memory(t->json, t->json_bytes, "made", &again, &err) != SG_OK)
            abort();
        int32_t *others = encode(again, &again_count);
        if (count != again_count || memcmp(ids, others, count * sizeof *ids) != 0) abort();
        sg_buffer_free(others);
        sg_tokenizer_free(again);
    }
    sg_buffer_free(ids);
    sg_tokenizer_free(t);
    return 0;
}
