// Text from a model: prompt in, pieces of text out as they are decided.
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/model.h"

sg_generate_options sg_generate_options_default(void)
{
    return (sg_generate_options){.max_tokens = 200, .sample = sg_sample_options_default()};
}

typedef struct generator {
    sg_model *model;
    const sg_generate_options *options;
    sg_session *session;
    sg_decoder *decoder;
    int32_t *prompt;
    int64_t prompt_count;
    int32_t eos;
} generator;

// BOS, then the ids of the prompt.
static sg_status generator_prompt(generator *g, const sg_tokenizer *tokenizer, const char *prompt,
                                  sg_error *err)
{
    const sg_config *c = &g->model->config;
    int32_t *ids;
    size_t count;
    SG_TRY(sg_tokenizer_encode(tokenizer, prompt, strlen(prompt), NULL, &ids, &count, err));
    int64_t bos = c->bos_token_id >= 0 ? 1 : 0;
    g->prompt_count = bos + (int64_t)count;
    g->prompt = sg_alloc_array((size_t)g->prompt_count + 1, sizeof *g->prompt);
    if (g->prompt != NULL) {
        if (bos) g->prompt[0] = (int32_t)c->bos_token_id;
        memcpy(g->prompt + bos, ids, count * sizeof *ids);
    }
    sg_buffer_free(ids);
    if (g->prompt == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the prompt");
    if (g->prompt_count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found an empty one, expected text: the model has no BOS");
    if (g->prompt_count >= c->max_position_embeddings)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found %lld tokens, expected less than the model's %lld positions",
                       (long long)g->prompt_count, (long long)c->max_position_embeddings);
    return SG_OK;
}

static bool generator_say(const generator *g, const char *text, size_t bytes)
{
    return bytes == 0 || g->options->text == NULL ||
           g->options->text(g->options->text_user, text, bytes);
}

static sg_status generator_run(generator *g, sg_generate_result *result, sg_error *err)
{
    const sg_config *c = &g->model->config;
    int64_t most = c->max_position_embeddings - g->prompt_count;
    if (g->options->max_tokens < most) most = g->options->max_tokens;
    const float *logits;
    const char *text;
    size_t bytes;
    double start = sg_clock_seconds();
    SG_TRY(sg_session_feed(g->session, g->prompt, g->prompt_count, &logits, err));
    double decoding = sg_clock_seconds();
    result->prompt_tokens = g->prompt_count;
    result->prompt_seconds = decoding - start;
    bool going = true;
    while (going && result->tokens < most) {
        int32_t token = 0;
        SG_TRY(sg_sample(logits, c->vocab_size, &g->options->sample, (uint64_t)result->tokens,
                         &token, err));
        if (token == g->eos && !g->options->ignore_eos) break;
        result->tokens++;
        SG_TRY(sg_decoder_push(g->decoder, token, &text, &bytes, err));
        going = generator_say(g, text, bytes);
        if (going && result->tokens < most)
            SG_TRY(sg_session_feed(g->session, &token, 1, &logits, err));
    }
    SG_TRY(sg_decoder_finish(g->decoder, &text, &bytes, err));
    if (going) generator_say(g, text, bytes);
    result->seconds = sg_clock_seconds() - decoding;
    return SG_OK;
}

sg_status sg_generate(sg_model *model, const sg_tokenizer *tokenizer, const char *prompt,
                      const sg_generate_options *options, sg_generate_result *result, sg_error *err)
{
    sg_generate_result own = {0};
    if (options->max_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-tokens: found %lld, expected at least 0",
                       (long long)options->max_tokens);
    if (sg_tokenizer_vocab_size(tokenizer) != model->config.vocab_size)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "the tokenizer has %d tokens, expected the model's vocabulary of %lld",
                       sg_tokenizer_vocab_size(tokenizer), (long long)model->config.vocab_size);
    generator g = {.model = model, .options = options, .eos = (int32_t)model->config.eos_token_id};
    sg_status status = generator_prompt(&g, tokenizer, prompt, err);
    if (status == SG_OK) {
        int64_t room = model->config.max_position_embeddings - g.prompt_count;
        status = sg_session_new(model, g.prompt_count + sg_min(options->max_tokens, room),
                                &g.session, err);
    }
    if (status == SG_OK) status = sg_decoder_new(tokenizer, NULL, &g.decoder, err);
    if (status == SG_OK) status = generator_run(&g, &own, err);
    sg_decoder_free(g.decoder);
    sg_session_free(g.session);
    sg_free(g.prompt);
    if (result != NULL) *result = own;
    return status;
}
