// Gradients of a sum of logits, or of losses, with respect to the values at a session's points. The
// pass is an evaluation's, backwards too: keys and values are its own, no parameter has a gradient,
// and the backward pass goes as far as somebody asks.
#include "base/alloc.h"
#include "model/config.h"
#include "model/model.h"
#include "model/session_inside.h"

static sg_status gradient_check_terms(const sg_objective *o, int64_t count, int64_t vocab,
                                      sg_error *err)
{
    for (size_t i = 0; i < o->term_count; i++) {
        const sg_logit_term *t = &o->terms[i];
        if (t->token < 0 || t->token >= count)
            return sg_fail(err, SG_ERR_ARGUMENT, "term %zu: found token %lld, expected 0 to %lld",
                           i, (long long)t->token, (long long)count - 1);
        if (t->id < 0 || t->id >= vocab)
            return sg_fail(err, SG_ERR_ARGUMENT, "term %zu: found id %d, expected 0 to %lld", i,
                           t->id, (long long)vocab - 1);
    }
    return SG_OK;
}

static sg_status gradient_check(const sg_session *s, const int32_t *tokens, int64_t count,
                                const sg_objective *o, sg_error *err)
{
    const sg_config *c = &s->model->config;
    if (count < 1 || count > c->max_position_embeddings)
        return sg_fail(err, SG_ERR_ARGUMENT, "gradient: found %lld tokens, expected 1 to %lld",
                       (long long)count, (long long)c->max_position_embeddings);
    if ((o->terms == NULL) == (o->targets == NULL))
        return sg_fail(err, SG_ERR_ARGUMENT, "objective: found %s, expected terms or targets",
                       o->terms == NULL ? "neither" : "both");
    for (int64_t i = 0; i < count; i++) {
        if (tokens[i] < 0 || tokens[i] >= c->vocab_size)
            return sg_fail(err, SG_ERR_ARGUMENT, "token %lld: found %d, expected 0 to %lld",
                           (long long)i, tokens[i], (long long)c->vocab_size - 1);
        if (o->targets != NULL && o->targets[i] >= c->vocab_size)
            return sg_fail(err, SG_ERR_ARGUMENT, "target %lld: found %d, expected less than %lld",
                           (long long)i, o->targets[i], (long long)c->vocab_size);
    }
    return o->terms != NULL ? gradient_check_terms(o, count, c->vocab_size, err) : SG_OK;
}

static sg_status gradient_pass(const sg_session *s, sg_graph *g, double *value, sg_error *err)
{
    sg_run run = {.compute = s->model->context->compute, .err = err};
    SG_TRY(sg_tape_forward(g->tape, &run));
    SG_TRY(sg_tape_backward(g->tape, &run));
    *value = g->stats.loss_sum;
    return SG_OK;
}

sg_status sg_session_gradient(sg_session *s, const int32_t *tokens, int64_t count,
                              const sg_objective *objective, double *value, sg_error *err)
{
    SG_TRY(gradient_check(s, tokens, count, objective, err));
    if (s->gradients.model == NULL)
        sg_graph_cache_open(
            &s->gradients, s->model,
            &(sg_graph_options){.points = s->points, .gradient = true, .frozen = true});
    sg_kept_graph *kept;
    SG_TRY(sg_graph_cache_take(&s->gradients, 1, count, SG_OUTPUT_LOSS, &kept, err));
    sg_graph *g = kept->graph;
    const bool terms = objective->terms != NULL;
    // Terms say themselves which rows count.
    g->targets->data = (void *)(uintptr_t)(terms ? tokens : objective->targets);
    g->pass.targets = terms ? NULL : g->targets;
    g->pass.first_sequence = s->sequence;
    g->ids->data = (void *)(uintptr_t)tokens;
    g->stats.normaliser = 1;
    g->stats.terms = objective->terms;
    g->stats.term_count = objective->term_count;
    const sg_status status = gradient_pass(s, g, value, err);
    sg_graph_cache_give(&s->gradients, kept);
    return status;
}
