// Perplexity of a text by a sliding window.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/model.h"

enum { eval_text_context = 2048 }; // unless told otherwise

sg_eval_text_options sg_eval_text_options_default(void)
{
    return (sg_eval_text_options){0};
}

typedef struct text_evaluator {
    sg_model *model;
    const sg_eval_text_options *options;
    int64_t context, stride;
    int32_t *ids; // (count)
    int64_t count;
    int64_t begins; // of them: what begins a text
    bool cut;       // not all of the text is read
    int64_t lost;   // bytes of the text that no id stands for
    sg_session *session;
    int32_t *targets; // (context)
    double *nll;      // (context)
    bool *likeliest;  // (context)
    double loss_sum;
    int64_t tokens, correct, windows;
} text_evaluator;

static sg_status text_check(text_evaluator *e, sg_error *err)
{
    const int64_t longest = e->model->config.max_position_embeddings;
    e->context = e->options->context;
    if (e->context == 0) e->context = sg_min(longest, eval_text_context);
    if (e->context < 2 || e->context > longest)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected 2 to the model's %lld positions",
                       (long long)e->context, (long long)longest);
    e->stride = e->options->stride == 0 ? e->context / 2 : e->options->stride;
    if (e->stride < 1 || e->stride > e->context)
        return sg_fail(err, SG_ERR_ARGUMENT, "stride: found %lld, expected 1 to %lld, the context",
                       (long long)e->stride, (long long)e->context);
    if (e->options->max_tokens < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-tokens: found %lld, expected at least 0",
                       (long long)e->options->max_tokens);
    return SG_OK;
}

// What begins a text, then its ids.
static sg_status text_ids(text_evaluator *e, const sg_tokenizer *tokenizer, const char *text,
                          size_t bytes, sg_error *err)
{
    sg_encode_options options = sg_encode_options_default();
    options.lost_bytes = &e->lost;
    SG_TRY(sg_model_encode(e->model, tokenizer, text, bytes, &options, &e->ids, &e->count,
                           &e->begins, err));
    e->cut = e->options->max_tokens > 0 && e->options->max_tokens < e->count;
    if (e->cut) e->count = e->options->max_tokens;
    if (e->count >= 2) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "text: found %lld tokens, expected at least 2",
                   (long long)e->count);
}

// The window of ids [begin, end), of which those from `seen` on are new.
static sg_status text_window(text_evaluator *e, int64_t begin, int64_t end, int64_t seen,
                             sg_error *err)
{
    int64_t count = end - begin - 1; // the last token is predicted, and predicts nothing
    SG_TRY(sg_session_rewind(e->session, 0, err));
    for (int64_t i = 0; i < count; i++)
        e->targets[i] = begin + i + 1 >= seen ? e->ids[begin + i + 1] : -1;
    SG_TRY(
        sg_session_score(e->session, e->ids + begin, e->targets, count, e->nll, e->likeliest, err));
    for (int64_t i = 0; i < count; i++) {
        e->loss_sum += e->nll[i];
        e->correct += e->likeliest[i];
        e->tokens += e->targets[i] >= 0;
        if (e->targets[i] < 0 || e->options->token == NULL) continue;
        if (!e->options->token(e->options->token_user, begin + i + 1, e->targets[i], -e->nll[i]))
            return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld tokens", (long long)e->tokens);
    }
    e->windows++;
    if (!isfinite(e->loss_sum))
        return sg_fail(err, SG_ERR_NUMERIC, "evaluation: the loss is %g: the weights are spoiled",
                       e->loss_sum);
    if (e->options->progress && !e->options->progress(e->options->progress_user, end, e->count))
        return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld tokens", (long long)end);
    return SG_OK;
}

static sg_status text_run(text_evaluator *e, sg_error *err)
{
    const sg_session_options session = {.capacity = e->context, .points = e->options->points};
    SG_TRY(sg_session_open(e->model, &session, &e->session, err));
    e->targets = sg_alloc_array((size_t)e->context, sizeof *e->targets);
    e->nll = sg_alloc_array((size_t)e->context, sizeof *e->nll);
    e->likeliest = sg_alloc_array((size_t)e->context, sizeof *e->likeliest);
    if (e->targets == NULL || e->nll == NULL || e->likeliest == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for evaluation");
    int64_t seen = 1; // the first token of all is predicted from nothing
    for (int64_t begin = 0; seen < e->count; begin += e->stride) {
        int64_t end = sg_min(begin + e->context, e->count);
        if (end - begin < 2)
            break; // windows that do not overlap, and one token is left: nothing predicts it
        SG_TRY(text_window(e, begin, end, seen, err));
        seen = end;
    }
    return SG_OK;
}

// Whether ids stand for a text. A space in front is the tokenizer's own.
static bool text_same(const char *said, size_t said_bytes, const char *text, size_t bytes)
{
    if (said_bytes == bytes + 1 && said[0] == ' ') {
        said++;
        said_bytes--;
    }
    return said_bytes == bytes && memcmp(said, text, bytes) == 0;
}

// The bits of a code that gives the text back: those of the ids, and, for what no id stands for,
// which bytes of n these are (n H(lost / n) bits) and what they are (8 bits each). So losing bytes
// never pays. Nor does writing others: bytes are those of the text, or what its ids stand for if
// that is less.
static sg_status text_bits(const text_evaluator *e, const sg_tokenizer *tokenizer, const char *text,
                           size_t bytes, sg_eval_text_result *r, sg_error *err)
{
    const sg_decode_options options = {.skip_special = false, .raw = true};
    char *said;
    size_t said_bytes;
    const int64_t begins = sg_min(e->begins, e->count);
    SG_TRY(sg_tokenizer_decode(tokenizer, e->ids + begins, (size_t)(e->count - begins), &options,
                               &said, &said_bytes, err));
    r->reversible = e->lost == 0 && (e->cut || text_same(said, said_bytes, text, bytes));
    sg_buffer_free(said);
    r->lost_bytes = e->lost;
    r->bytes = sg_min((int64_t)bytes, (int64_t)said_bytes + e->lost);
    r->bits_per_byte = NAN; // what of a part of the text is lost is not known
    if (r->bytes == 0 || (e->cut && e->lost > 0)) return SG_OK;
    double bits = e->loss_sum / (double)e->tokens * (double)(e->count - begins) / log(2);
    const double n = (double)bytes, lost = (double)sg_min(e->lost, (int64_t)bytes);
    if (lost > 0) bits += 8 * (double)e->lost + lost * log2(n / lost);
    if (lost > 0 && lost < n) bits += (n - lost) * log2(n / (n - lost));
    r->bits_per_byte = bits / (double)r->bytes;
    return SG_OK;
}

sg_status sg_evaluate_text(sg_model *model, const sg_tokenizer *tokenizer, const char *text,
                           size_t bytes, const sg_eval_text_options *options,
                           sg_eval_text_result *result, sg_error *err)
{
    *result = (sg_eval_text_result){0};
    text_evaluator e = {.model = model, .options = options};
    sg_status status = text_check(&e, err);
    if (status == SG_OK) status = text_ids(&e, tokenizer, text, bytes, err);
    if (status == SG_OK) status = text_run(&e, err);
    if (status == SG_OK) status = text_bits(&e, tokenizer, text, bytes, result, err);
    if (status == SG_OK) {
        double loss = e.loss_sum / (double)e.tokens;
        result->loss = loss;
        result->perplexity = exp(loss);
        result->accuracy = (double)e.correct / (double)e.tokens;
        result->tokens = e.tokens;
        result->windows = e.windows;
        result->context = e.context;
        result->stride = e.stride;
    }
    sg_session_free(e.session);
    sg_free(e.ids);
    sg_free(e.targets);
    sg_free(e.nll);
    sg_free(e.likeliest);
    return status;
}
