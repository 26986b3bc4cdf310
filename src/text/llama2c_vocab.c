// The tokenizer.bin of llama2.c. Its encoder puts a space in front of the text, takes characters
// that are no token as bytes, and merges by score: SentencePiece's way, with spaces spelled as
// spaces.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/vocab.h"

enum {
    llama2c_first_byte = 3,
    llama2c_specials = 3 + 256, // <unk>, <s>, </s> and the bytes
    llama2c_longest = 1 << 16
};

typedef struct llama2c_reader {
    const unsigned char *data;
    size_t bytes, at;
    const char *name;
    int32_t longest;
    sg_hf_string *tokens;
    float *scores;
    int32_t *types;
    size_t count, token_capacity, score_capacity, type_capacity;
    sg_error *err;
} llama2c_reader;

static uint32_t llama2c_word(llama2c_reader *r)
{
    const unsigned char *p = r->data + r->at;
    r->at += 4;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static sg_status llama2c_no_memory(llama2c_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
}

static sg_status llama2c_token(llama2c_reader *r)
{
    if (r->bytes - r->at < 8)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: token %zu: the file ends inside it", r->name,
                       r->count);
    uint32_t bits = llama2c_word(r);
    int64_t length = (int32_t)llama2c_word(r);
    if (length < 1 || length > r->longest)
        return sg_fail(
            r->err, SG_ERR_FORMAT,
            "%s: token %zu: found a length of %lld, expected 1 to %d (the longest that the "
            "file announces)",
            r->name, r->count, (long long)length, r->longest);
    if ((size_t)length > r->bytes - r->at)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: token %zu: found a length of %lld, but only %zu bytes follow", r->name,
                       r->count, (long long)length, r->bytes - r->at);
    if (r->count == SG_HF_VOCAB_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found more than %d tokens", r->name,
                       SG_HF_VOCAB_MAX);
    size_t need = r->count + 1;
    if (!sg_grow((void **)&r->tokens, &r->token_capacity, need, sizeof *r->tokens) ||
        !sg_grow((void **)&r->scores, &r->score_capacity, need, sizeof *r->scores) ||
        !sg_grow((void **)&r->types, &r->type_capacity, need, sizeof *r->types))
        return llama2c_no_memory(r);
    r->tokens[r->count] = (sg_hf_string){(const char *)r->data + r->at, (size_t)length};
    memcpy(&r->scores[r->count], &bits, sizeof bits);
    r->types[r->count++] = SG_TOKEN_NORMAL;
    r->at += (size_t)length;
    return SG_OK;
}

static bool llama2c_is(sg_hf_string token, const char *text)
{
    return token.bytes == strlen(text) && memcmp(token.text, text, token.bytes) == 0;
}

// Gives the first tokens their roles. Files name <s> and </s> between line ends.
static sg_status llama2c_roles(llama2c_reader *r)
{
    static const char *const names[3][2] = {
        {"<unk>", "<unk>"}, {"\n<s>\n", "<s>"}, {"\n</s>\n", "</s>"}};
    if (r->count < llama2c_specials)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found %zu tokens, expected at least %d", r->name,
                       r->count, llama2c_specials);
    for (int i = 0; i < 3; i++) {
        r->types[i] = i == 0 ? SG_TOKEN_UNKNOWN : SG_TOKEN_CONTROL;
        if (llama2c_is(r->tokens[i], names[i][0]))
            r->tokens[i] = (sg_hf_string){names[i][1], strlen(names[i][1])};
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        size_t id = llama2c_first_byte + byte;
        char expected[8];
        snprintf(expected, sizeof expected, "<0x%02X>", byte);
        if (!llama2c_is(r->tokens[id], expected))
            return sg_fail(r->err, SG_ERR_FORMAT, "%s: token %zu: found \"%.*s\", expected \"%s\"",
                           r->name, id, r->tokens[id].bytes > 60 ? 60 : (int)r->tokens[id].bytes,
                           r->tokens[id].text, expected);
        r->types[id] = SG_TOKEN_BYTE;
    }
    return SG_OK;
}

static sg_status llama2c_read(llama2c_reader *r, sg_tokenizer **tokenizer)
{
    if (r->bytes < 4)
        return sg_fail(r->err, SG_ERR_FORMAT, "%s: found %zu bytes, expected 4 and more", r->name,
                       r->bytes);
    r->longest = (int32_t)llama2c_word(r);
    if (r->longest < 1 || r->longest > llama2c_longest)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: length of the longest token: found %d, expected 1 to %d", r->name,
                       r->longest, llama2c_longest);
    while (r->at < r->bytes)
        SG_TRY(llama2c_token(r));
    SG_TRY(llama2c_roles(r));
    sg_vocab vocab = {.model = "llama",
                      .tokens = r->tokens,
                      .count = r->count,
                      .types = r->types,
                      .scores = r->scores,
                      .space = " ",
                      .add_space_prefix = true,
                      .bos = 1,
                      .eos = 2,
                      .pad = -1,
                      .unk = 0,
                      .add_bos = true};
    return sg_tokenizer_from_vocab(&vocab, r->name, tokenizer, r->err);
}

sg_status sg_tokenizer_from_llama2c(const void *data, size_t bytes, const char *name,
                                    sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    llama2c_reader reader = {.data = data, .bytes = bytes, .name = name, .err = err};
    sg_status status = llama2c_read(&reader, tokenizer);
    sg_free(reader.tokens);
    sg_free(reader.scores);
    sg_free(reader.types);
    return status;
}
