// Reads and replaces what is inside a model while it reads a prompt: how large the residual stream
// is behind each layer, and what becomes of the likeliest next token when what one feed-forward
// layer adds to the stream is set to zero.
//
//     cc look_inside.c $(pkg-config --cflags --libs sgatlin) -o look_inside
//     ./look_inside MODEL "Once upon a time"
#include <sgatlin_probe.h>

#include <stdio.h>
#include <string.h>

enum { most_layers = 128 };

// Mean magnitude of the numbers of the last row of a point (rows, d), by layer.
static sg_status measure(void *user, const sg_point_values *point, sg_error *err)
{
    (void)err;
    double *size = user, sum = 0;
    const int64_t d = point->shape[1];
    const float *last = point->values + (point->shape[0] - 1) * d;
    for (int64_t i = 0; i < d; i++)
        sum += last[i] < 0 ? -(double)last[i] : (double)last[i];
    if (point->layer < most_layers) size[point->layer] = sum / (double)d;
    return SG_OK;
}

static sg_status set_to_zero(void *user, const sg_point_values *point, sg_error *err)
{
    (void)user;
    (void)err;
    const int64_t count = point->shape[0] * point->shape[1];
    memset(point->values, 0, (size_t)count * sizeof *point->values);
    return SG_OK;
}

typedef struct next_token {
    int64_t token; // -1: the likeliest one, to be found
    double logit;
    int64_t likelier; // tokens that are likelier than it
} next_token;

// Feeds the prompt to a session of its own, with one request at work.
static sg_status feed(sg_model *model, const int32_t *ids, size_t count,
                      const sg_point_request *request, next_token *next, sg_error *err)
{
    const sg_points points = {request, 1};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    sg_session *session = NULL;
    const float *logits = NULL;
    sg_status status = sg_session_open(model, &options, &session, err);
    if (status == SG_OK) status = sg_session_feed(session, ids, (int64_t)count, &logits, err);
    if (status == SG_OK) {
        const int64_t vocab = sg_model_config(model)->vocab_size;
        int64_t best = 0;
        for (int64_t v = 1; v < vocab; v++)
            if (logits[v] > logits[best]) best = v;
        if (next->token < 0) next->token = best;
        next->logit = (double)logits[next->token];
        next->likelier = 0;
        for (int64_t v = 0; v < vocab; v++)
            next->likelier += logits[v] > logits[next->token];
    }
    sg_session_free(session);
    return status;
}

static sg_status look(sg_model *model, const sg_tokenizer *tokenizer, const char *prompt,
                      sg_error *err)
{
    double size[most_layers] = {0};
    const int64_t layers = sg_model_config(model)->num_hidden_layers;
    next_token next = {.token = -1};
    int32_t *ids = NULL;
    size_t count;
    sg_status status =
        sg_tokenizer_encode(tokenizer, prompt, strlen(prompt), NULL, &ids, &count, err);
    const sg_point_request read = {"blocks.*.hook_resid_post", SG_POINT_READ, measure, size};
    if (status == SG_OK) status = feed(model, ids, count, &read, &next, err);
    if (status == SG_OK)
        printf("likeliest next token: \"%s\", logit %.4f\n",
               sg_tokenizer_token_text(tokenizer, (int32_t)next.token), next.logit);
    for (int64_t l = 0; l < layers && l < most_layers && status == SG_OK; l++) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%lld.hook_mlp_out", (long long)l);
        const sg_point_request patch = {name, SG_POINT_WRITE, set_to_zero, NULL};
        status = feed(model, ids, count, &patch, &next, err);
        if (status == SG_OK)
            printf(
                "layer %lld: stream %.4f; without its feed-forward layer logit %.4f, %lld tokens "
                "likelier\n",
                (long long)l, size[l], next.logit, (long long)next.likelier);
    }
    sg_buffer_free(ids);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: look_inside MODEL PROMPT\n");
        return 2;
    }
    sg_error err = {0};
    sg_context *context = NULL;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_status status = sg_context_new(NULL, &context, &err);
    if (status == SG_OK) status = sg_model_open(context, argv[1], &model, &err);
    if (status == SG_OK) status = sg_tokenizer_open(argv[1], &tokenizer, &err);
    if (status == SG_OK) status = look(model, tokenizer, argv[2], &err);
    if (status != SG_OK) fprintf(stderr, "%s: %s\n", sg_status_name(status), err.message);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return status == SG_OK ? 0 : 1;
}
