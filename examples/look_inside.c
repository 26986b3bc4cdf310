// Looks into a model while it reads a prompt: reads what each feed-forward layer adds to the
// stream, sets it to zero, and compares what that does to the lead of the likeliest next token over
// the second with what the gradient says beforehand.
//
//     cc look_inside.c $(pkg-config --cflags --libs sgatlin) -o look_inside
//     ./look_inside MODEL "Once upon a time"
#include <sgatlin_probe.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { most_layers = 128 };

typedef struct look {
    int64_t zero;                 // the layer whose output is set to zero; -1: none
    double length[most_layers];   // of what each layer adds, in the last row
    double foretold[most_layers]; // the change of the objective, to first order
} look;

// Called with what a layer adds, (rows, d), and behind the backward pass with its gradient.
static sg_status at_layer(void *user, const sg_point_values *point, sg_error *err)
{
    look *l = user;
    const int64_t d = point->shape[1], count = point->shape[0] * d;
    double sum = 0;
    if (point->layer >= most_layers) return SG_ERR_UNSUPPORTED;
    (void)err; // where a message may be put
    if (point->use == SG_POINT_GRADIENT) {
        for (int64_t i = 0; i < count; i++)
            sum -= (double)point->values[i] * (double)point->gradient[i];
        l->foretold[point->layer] = sum;
        return SG_OK;
    }
    for (int64_t i = count - d; i < count; i++)
        sum += (double)point->values[i] * (double)point->values[i];
    l->length[point->layer] = sqrt(sum);
    if (point->layer == l->zero) memset(point->values, 0, (size_t)count * sizeof(float));
    return SG_OK;
}

// The two likeliest tokens behind the prompt, and their logits' difference.
static sg_status find_two(sg_session *session, const int32_t *ids, int64_t count, int64_t vocab,
                          sg_logit_term two[2], sg_error *err)
{
    const float *logits;
    const sg_status status = sg_session_feed(session, ids, count, &logits, err);
    two[0] = (sg_logit_term){count - 1, 0, 1};
    two[1] = (sg_logit_term){count - 1, 1, -1};
    for (int32_t v = 1; status == SG_OK && v < vocab; v++) {
        if (logits[v] > logits[two[0].id]) {
            two[1].id = two[0].id;
            two[0].id = v;
        } else if (v > 1 && logits[v] > logits[two[1].id]) {
            two[1].id = v;
        }
    }
    return status;
}

static sg_status look_inside(sg_session *session, const int32_t *ids, int64_t count, look *l,
                             const sg_model *model, const sg_tokenizer *tokenizer, sg_error *err)
{
    sg_logit_term two[2];
    const sg_objective objective = {two, 2, NULL};
    double lead, without;
    const sg_config *c = sg_model_config(model);
    sg_status status = find_two(session, ids, count, c->vocab_size, two, err);
    if (status == SG_OK) status = sg_session_gradient(session, ids, count, &objective, &lead, err);
    if (status != SG_OK) return status;
    printf("likeliest: \"%s\", %.4f in front of \"%s\"\n",
           sg_tokenizer_token_text(tokenizer, two[0].id), lead,
           sg_tokenizer_token_text(tokenizer, two[1].id));
    const look plain = *l;
    for (l->zero = 0; l->zero < c->num_hidden_layers && status == SG_OK; l->zero++) {
        status = sg_session_gradient(session, ids, count, &objective, &without, err);
        if (status == SG_OK)
            printf("layer %lld adds %.4f; without it the lead changes by %.4f (the gradient says "
                   "%.4f)\n",
                   (long long)l->zero, plain.length[l->zero], without - lead,
                   plain.foretold[l->zero]);
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: look_inside MODEL PROMPT\n");
        return 2;
    }
    look l = {.zero = -1};
    const sg_point_request request = {"blocks.*.hook_mlp_out", SG_POINT_WRITE | SG_POINT_GRADIENT,
                                      at_layer, &l};
    const sg_points points = {&request, 1};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    sg_error err = {0};
    sg_context *context = NULL;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_session *session = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    sg_status status = sg_context_new(NULL, &context, &err);
    if (status == SG_OK) status = sg_model_open(context, argv[1], &model, &err);
    if (status == SG_OK) status = sg_tokenizer_open(argv[1], &tokenizer, &err);
    if (status == SG_OK)
        status = sg_tokenizer_encode(tokenizer, argv[2], strlen(argv[2]), NULL, &ids, &count, &err);
    if (status == SG_OK) status = sg_session_open(model, &options, &session, &err);
    if (status == SG_OK)
        status = look_inside(session, ids, (int64_t)count, &l, model, tokenizer, &err);
    if (status != SG_OK) fprintf(stderr, "%s: %s\n", sg_status_name(status), err.message);
    sg_session_free(session);
    sg_buffer_free(ids);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return status == SG_OK ? 0 : 1;
}
