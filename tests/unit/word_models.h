// Tiny models of any kind, the tokenizer of a few words and a text of them, with one context for
// all tests of a program: open_all and close_all are of the group.
#ifndef SG_TESTS_WORD_MODELS_H
#define SG_TESTS_WORD_MODELS_H

#include "tiny_models.h"
#include "word_tokenizer.h"

enum { vocab = 40, positions = 24 };

static const char text[] = "The lake was icy The tree is old The mum is proud The mum was big "
                           "The lake is big icy old tree mum was"; // 21 words

static sg_context *context;
static sg_tokenizer *tokenizer;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int open_all(void **state)
{
    (void)state;
    int32_t *ids;
    size_t count;
    tokenizer = make_tokenizer();
    // It keeps memory of its own from the first text on.
    assert_int_equal(sg_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids, &count, NULL),
                     SG_OK);
    sg_buffer_free(ids);
    return sg_context_new(&(sg_context_options){.threads = 2}, &context, NULL) == SG_OK ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return 0;
}

static sg_model *model_of(const char *kind)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, 3, &m, &err), &err);
    return m;
}

#endif
