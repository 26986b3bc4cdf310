// Training a tokenizer: documents are normalised and cut into words, the words counted, the merges
// learned (bpe_train.c), and the result written as a tokenizer.json, from which the tokenizer is
// made.
#include <string.h>

#include "base/alloc.h"
#include "text/bpe_train.h"
#include "text/normalize.h"
#include "text/pretokenize.h"

static const char *const train_default_specials[] = {"<|pad|>", "<|endoftext|>"};

sg_tokenizer_train_options sg_tokenizer_train_options_default(void)
{
    return (sg_tokenizer_train_options){.vocab_size = 8192,
                                        .specials = train_default_specials,
                                        .special_count = 2,
                                        .nfkc = true,
                                        .prefix_space = true,
                                        .full_alphabet = true};
}

typedef struct train_reader {
    sg_word_counts words;
    sg_bytes repaired, normal, spaced;
} train_reader;

static bool train_read_document(train_reader *r, const sg_tokenizer_train_options *options,
                                const char *text, size_t bytes)
{
    if (sg_utf8_valid_prefix(text, bytes) != bytes) {
        r->repaired.count = 0;
        if (!sg_utf8_repair(text, bytes, &r->repaired, NULL)) return false;
        text = r->repaired.data;
        bytes = r->repaired.count;
    }
    if (options->nfkc && !sg_is_plainly_normal(SG_FORM_NFKC, text, bytes)) {
        r->normal.count = 0;
        if (!sg_normalize(SG_FORM_NFKC, text, bytes, &r->normal)) return false;
        text = r->normal.data;
        bytes = r->normal.count;
    }
    if (bytes == 0) return true;
    if (options->prefix_space && text[0] != ' ') {
        r->spaced.count = 0;
        if (!sg_bytes_add(&r->spaced, " ", 1) || !sg_bytes_add(&r->spaced, text, bytes))
            return false;
        text = r->spaced.data;
        bytes = r->spaced.count;
    }
    for (size_t at = 0; at < bytes;) {
        size_t end = sg_gpt2_word_end(text, bytes, at);
        if (!sg_word_counts_add(&r->words, text + at, end - at)) return false;
        at = end;
    }
    return true;
}

static sg_status train_read_all(train_reader *r, const sg_tokenizer_train_options *options,
                                sg_text_source source, void *user, sg_error *err)
{
    for (;;) {
        const char *text = NULL;
        size_t bytes = 0;
        SG_TRY(source(user, &text, &bytes, err));
        if (text == NULL) return SG_OK;
        if (!train_read_document(r, options, text, bytes))
            return sg_fail(err, SG_ERR_MEMORY, "out of memory while counting words");
    }
}

static sg_status train_make(const sg_hf_tokenizer *hf, sg_tokenizer **tokenizer, sg_error *err)
{
    char *text;
    size_t bytes;
    *tokenizer = NULL;
    SG_TRY(sg_hf_tokenizer_text(hf, &text, &bytes, err));
    sg_status status = sg_tokenizer_from_memory(text, bytes, "tokenizer.json", tokenizer, err);
    sg_free(text);
    return status;
}

// The tokenizer.json of what was learned, and the tokenizer made from it.
static sg_status train_finish(const sg_tokenizer_train_options *options, const sg_learned *learned,
                              sg_tokenizer **tokenizer, sg_error *err)
{
    sg_hf_normalizer nfkc = {.kind = SG_HF_NFKC};
    sg_hf_pre level = {.kind = SG_HF_BYTE_LEVEL,
                       .add_prefix_space = options->prefix_space,
                       .use_regex = true,
                       .trim_offsets = true};
    sg_hf_decoder spelled = {.kind = SG_HF_DECODE_BYTE_LEVEL};
    sg_hf_added *added = sg_alloc_zero(options->special_count + 1, sizeof *added);
    if (added == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    sg_hf_tokenizer hf = {.tokens = learned->tokens,
                          .vocab_size = (int32_t)learned->token_count,
                          .merges = learned->merges,
                          .merge_count = learned->merge_count,
                          .added = added,
                          .normalizers = &nfkc,
                          .normalizer_count = options->nfkc ? 1 : 0,
                          .pre = &level,
                          .pre_count = 1,
                          .unk = -1,
                          .has_decoder = true,
                          .decoders = &spelled,
                          .decoder_count = 1};
    for (size_t i = 0; i < options->special_count; i++) // ids 0, 1, …
        added[hf.added_count++] =
            (sg_hf_added){.content = learned->tokens[i], .id = (int32_t)i, .special = true};
    sg_status status = train_make(&hf, tokenizer, err);
    int32_t end = status == SG_OK ? sg_tokenizer_eos(*tokenizer) : -1;
    if (end >= 0) { // what rows of data begin with: other programs do not know that
        sg_tokenizer_free(*tokenizer);
        hf.has_template = true;
        hf.prefix = &end;
        hf.prefix_count = 1;
        status = train_make(&hf, tokenizer, err);
    }
    sg_free(added);
    return status;
}

static sg_status train_check(const sg_tokenizer_train_options *options, sg_error *err)
{
    if (options->vocab_size < 1 || options->vocab_size > SG_HF_VOCAB_MAX / 2)
        return sg_fail(err, SG_ERR_ARGUMENT, "vocab_size: found %d, expected 1 to %d",
                       options->vocab_size, SG_HF_VOCAB_MAX / 2);
    if (options->special_count > 4096)
        return sg_fail(err, SG_ERR_ARGUMENT, "specials: found %zu, expected at most 4096",
                       options->special_count);
    for (size_t i = 0; i < options->special_count; i++) {
        const char *text = options->specials[i];
        if (text[0] == '\0' || sg_utf8_valid_prefix(text, strlen(text)) != strlen(text))
            return sg_fail(err, SG_ERR_ARGUMENT, "specials[%zu]: empty or not UTF-8", i);
        for (size_t j = 0; j < i; j++)
            if (strcmp(text, options->specials[j]) == 0)
                return sg_fail(err, SG_ERR_ARGUMENT, "specials[%zu]: \"%.60s\" is there twice", i,
                               text);
    }
    return SG_OK;
}

sg_status sg_tokenizer_train(const sg_tokenizer_train_options *options, sg_text_source source,
                             void *user, sg_tokenizer **tokenizer, sg_error *err)
{
    *tokenizer = NULL;
    sg_tokenizer_train_options plain = sg_tokenizer_train_options_default();
    if (options == NULL) options = &plain;
    SG_TRY(train_check(options, err));
    train_reader reader = {0};
    sg_learned learned = {0};
    sg_status status = train_read_all(&reader, options, source, user, err);
    if (status == SG_OK) status = sg_bpe_learn(options, &reader.words, &learned, err);
    if (status == SG_OK) {
        sg_word_counts_close(&reader.words);
        status = train_finish(options, &learned, tokenizer, err);
    }
    sg_word_counts_close(&reader.words);
    sg_free(reader.repaired.data);
    sg_free(reader.normal.data);
    sg_free(reader.spaced.data);
    sg_learned_close(&learned);
    return status;
}
