// Traces for users: which tokens are read, what is traced behind them, and the parts in order
// (trace_pass.c, trace_weights.c, trace_frozen.c, trace_graph.c).
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/machine_memory.h"
#include "ffn/trimmed.h"
#include "model/projections.h"
#include "probe/trace_graph.h"

typedef struct tracer {
    sg_model *model;
    const sg_trace_options *options;
    sg_trace *trace;
    sg_frozen frozen;
    int32_t *ids; // (count) that are read
    int64_t count;
    size_t classifier; // a tensor
} tracer;

sg_trace_options sg_trace_options_default(void)
{
    return (sg_trace_options){.answer_id = -1,
                              .against_id = -1,
                              .node_threshold = 0.8,
                              .edge_threshold = 0.98,
                              .max_nodes = 400,
                              .floor = 1e-5};
}

const char *sg_trace_kind_name(sg_trace_kind kind)
{
    static const char *const names[SG_TRACE_KINDS] = {"embedding", "position", "attention",
                                                      "neuron",    "beside",   "constant",
                                                      "remainder", "pruned",   "logit"};
    return kind >= 0 && kind < SG_TRACE_KINDS ? names[kind] : NULL;
}

// ---- what is asked ------------------------------------------------------------------------------

static sg_status trace_check_share(const char *name, double value, sg_error *err)
{
    if (value > 0 && value <= 1) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected above 0, at most 1", name,
                   SG_NUMBER(value));
}

static sg_status trace_check(const tracer *t, sg_error *err)
{
    const sg_trace_options *o = t->options;
    if ((o->tokens != NULL) == (o->prompt != NULL))
        return sg_fail(err, SG_ERR_ARGUMENT, "trace: found %s, expected ids or a prompt",
                       o->tokens ? "ids and a prompt" : "neither ids nor a prompt");
    if ((o->prompt || o->answer || o->against) && o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "trace: found a text, expected a tokenizer beside it");
    if ((o->answer || o->against) && o->prompt == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "answer: found a text, expected an id where the prompt is ids");
    if (t->model->adapters != NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "trace: found a model with adapters, expected one without: merge them "
                       "(convert) and trace what comes out");
    if (sg_ffn_memory_of(&t->model->config) == &sg_memory_of_moefied)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "trace: found a model of family moefied, expected another: trace the dense "
                       "model that it was made of");
    if (sg_projections_any(&t->model->config))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "trace: found attention_mlp_q, _k, _v or _o, expected linear projections of "
                       "attention: trace the model that it was made of");
    if (sg_trimmed_any(&t->model->config))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "trace: found a model that leaves inputs out, expected another: trace the "
                       "model that it was made of");
    if (o->attention < SG_TRACE_BY_PAIR || o->attention > SG_TRACE_BY_SOURCE)
        return sg_fail(err, SG_ERR_ARGUMENT, "attention: found %d, expected 0 to 2",
                       (int)o->attention);
    if (o->max_nodes < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "max-nodes: found %lld, expected at least 1",
                       (long long)o->max_nodes);
    if (!(o->floor >= 0 && o->floor < 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "floor: found %s, expected 0 or more, less than 1",
                       SG_NUMBER(o->floor));
    SG_TRY(trace_check_share("threshold", o->node_threshold, err));
    return trace_check_share("edge-threshold", o->edge_threshold, err);
}

static sg_status trace_check_id(const tracer *t, const char *name, int32_t id, sg_error *err)
{
    const int64_t vocab = t->model->config.vocab_size;
    if (id >= -1 && id < vocab) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found id %d, expected 0 to %lld", name, id,
                   (long long)vocab - 1);
}

// ---- texts --------------------------------------------------------------------------------------

// Prompt and answer together: *ids (*count), sg_free, of which the prompt is the first `prompt`.
static sg_status trace_encode(const tracer *t, const char *name, const char *answer,
                              const int32_t *prompt, int64_t prompt_count, int32_t **ids,
                              int64_t *count, sg_error *err)
{
    const sg_trace_options *o = t->options;
    const size_t more = strlen(answer);
    int64_t begins;
    char *text = sg_alloc(o->prompt_bytes + more + 1);
    if (text == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    memcpy(text, o->prompt, o->prompt_bytes);
    memcpy(text + o->prompt_bytes, answer, more + 1);
    const sg_encode_options encode = sg_encode_options_default();
    sg_status status = sg_model_encode(t->model, o->tokenizer, text, o->prompt_bytes + more,
                                       &encode, ids, count, &begins, err);
    sg_free(text);
    if (status != SG_OK) return status;
    if (*count > prompt_count && memcmp(*ids, prompt, (size_t)prompt_count * sizeof *prompt) == 0)
        return SG_OK;
    sg_free(*ids);
    *ids = NULL;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found \"%.200s\", whose first token would begin inside the prompt, "
                   "expected a text that begins one (with its space?)",
                   name, answer);
}

// Reads on where both texts have the same tokens, and takes the first that differ.
static sg_status trace_answers(tracer *t, sg_error *err)
{
    const sg_trace_options *o = t->options;
    int32_t *texts[2] = {NULL, NULL};
    int64_t counts[2] = {0, 0}, at = t->count;
    sg_status status = SG_OK;
    if (o->answer)
        status = trace_encode(t, "answer", o->answer, t->ids, t->count, &texts[0], &counts[0], err);
    if (status == SG_OK && o->against)
        status =
            trace_encode(t, "against", o->against, t->ids, t->count, &texts[1], &counts[1], err);
    while (status == SG_OK && at < counts[0] && at < counts[1] && texts[0][at] == texts[1][at])
        at++;
    if (status == SG_OK && o->answer && o->against && (at == counts[0] || at == counts[1]))
        status = sg_fail(err, SG_ERR_ARGUMENT,
                         "against: found \"%.100s\" beside the answer \"%.100s\", expected one "
                         "that differs in a token",
                         o->against, o->answer);
    if (status == SG_OK && texts[0]) t->trace->info.answer = texts[0][at];
    if (status == SG_OK && texts[1]) t->trace->info.against = texts[1][at];
    if (status == SG_OK && at > t->count) {
        t->trace->info.shared = at - t->count;
        sg_free(t->ids);
        t->ids = texts[0];
        t->count = at;
        texts[0] = NULL;
    }
    sg_free(texts[0]);
    sg_free(texts[1]);
    return status;
}

static sg_status trace_source(tracer *t, sg_error *err)
{
    const sg_trace_options *o = t->options;
    sg_trace_info *info = &t->trace->info;
    int64_t begins;
    info->answer = o->answer ? -1 : o->answer_id;
    info->against = o->against ? -1 : o->against_id;
    SG_TRY(trace_check_id(t, "answer", info->answer, err));
    SG_TRY(trace_check_id(t, "against", info->against, err));
    if (o->prompt != NULL) {
        const sg_encode_options encode = sg_encode_options_default();
        SG_TRY(sg_model_encode(t->model, o->tokenizer, o->prompt, o->prompt_bytes, &encode, &t->ids,
                               &t->count, &begins, err));
        SG_TRY(trace_answers(t, err));
    } else {
        t->count = o->token_count;
        t->ids = sg_alloc_array((size_t)(t->count > 0 ? t->count : 1), sizeof *t->ids);
        if (t->ids == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
        memcpy(t->ids, o->tokens, (size_t)t->count * sizeof *t->ids);
    }
    if (t->count < 1) return sg_fail(err, SG_ERR_ARGUMENT, "prompt: found no token, expected some");
    return SG_OK;
}

static sg_status trace_fits(const tracer *t, sg_error *err)
{
    const int64_t longest = t->model->config.max_position_embeddings;
    if (t->count > longest)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found %lld tokens, expected at most the model's %lld positions",
                       (long long)t->count, (long long)longest);
    const double bytes = sg_frozen_bytes(&t->model->config, t->count);
    const double there = (double)sg_memory_of_machine().available;
    if (bytes <= there) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY,
                   "prompt: found %lld tokens, whose trace takes about %.3g GB, expected at most "
                   "the %.3g GB that are free: use a shorter prompt",
                   (long long)t->count, bytes / 1e9, there / 1e9);
}

// ---- what is traced -----------------------------------------------------------------------------

static int32_t trace_likeliest(const tracer *t, int32_t but)
{
    int32_t best = but == 0 ? 1 : 0;
    const float *logits = t->frozen.logits;
    for (int32_t v = 0; v < t->model->config.vocab_size; v++)
        if (v != but && logits[v] > logits[best]) best = v;
    return best;
}

static double trace_probability(const tracer *t, int32_t id)
{
    double most = -INFINITY, sum = 0;
    for (int64_t v = 0; v < t->model->config.vocab_size; v++)
        most = fmax(most, (double)t->frozen.logits[v]);
    for (int64_t v = 0; v < t->model->config.vocab_size; v++)
        sum += exp((double)t->frozen.logits[v] - most);
    return exp((double)t->frozen.logits[id] - most) / sum;
}

static sg_status trace_add_row(tracer *t, int64_t first, int64_t count, double factor, float *rows,
                               sg_error *err)
{
    const int64_t d = t->frozen.width;
    SG_TRY(sg_model_tensor_read(t->model, t->classifier, first, count, rows, err));
    for (int64_t i = 0; i < count; i++)
        sg_frozen_axpy(t->frozen.readout, factor, rows + i * d, d);
    return SG_OK;
}

// The row of the answer, less that of what it is against, or less the mean of all.
static sg_status trace_readout(tracer *t, sg_error *err)
{
    enum { piece = 256 };
    sg_frozen *f = &t->frozen;
    sg_trace_info *info = &t->trace->info;
    const int64_t V = f->config->vocab_size;
    const bool centred = t->options->centred && info->against < 0;
    SG_TRY(sg_model_tensor_find(
        t->model, f->config->untied_classifier ? "lm_head.weight" : "model.embed_tokens.weight",
        &t->classifier, err));
    f->readout = sg_frozen_array(f, f->width, sizeof(double));
    float *rows = sg_frozen_array(f, piece * f->width, sizeof *rows);
    if (f->readout == NULL || rows == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    SG_TRY(trace_add_row(t, info->answer, 1, 1, rows, err));
    info->model_value = (double)f->logits[info->answer];
    if (info->against >= 0) {
        SG_TRY(trace_add_row(t, info->against, 1, -1, rows, err));
        info->model_value -= (double)f->logits[info->against];
    }
    for (int64_t v = 0; centred && v < V; v += piece) {
        const int64_t count = sg_min(V - v, piece);
        SG_TRY(trace_add_row(t, v, count, -1 / (double)V, rows, err));
        for (int64_t i = 0; i < count; i++)
            info->model_value -= (double)f->logits[v + i] / (double)V;
    }
    return SG_OK;
}

static sg_status trace_target(tracer *t, sg_error *err)
{
    sg_trace_info *info = &t->trace->info;
    if (info->answer < 0) info->answer = trace_likeliest(t, info->against);
    if (info->answer == info->against)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "against: found token %d, which is the answer, expected another",
                       info->against);
    info->probability = trace_probability(t, info->answer);
    if (info->against >= 0) info->against_probability = trace_probability(t, info->against);
    return trace_readout(t, err);
}

static sg_status trace_run(tracer *t, sg_error *err)
{
    sg_trace_info *info = &t->trace->info;
    sg_frozen *f = &t->frozen;
    SG_TRY(trace_check(t, err));
    SG_TRY(trace_source(t, err));
    SG_TRY(trace_fits(t, err));
    f->model = t->model;
    f->tokens = info->tokens = t->count;
    f->ids = t->ids;
    SG_TRY(sg_frozen_pass(f, err));
    SG_TRY(trace_target(t, err));
    SG_TRY(sg_frozen_weights(f, err));
    SG_TRY(sg_frozen_forward(f, err));
    SG_TRY(sg_frozen_backward(f, err));
    info->layers = f->config->num_hidden_layers;
    info->value = f->value;
    info->neuron_error = f->neuron_error;
    info->value_error =
        fabs(info->value - info->model_value) / fmax(fabs(info->value), fabs(info->model_value));
    if (info->value == info->model_value) info->value_error = 0;
    t->trace->by = t->options->attention;
    t->trace->heads = f->config->num_attention_heads;
    t->trace->centred = t->options->centred && info->against < 0;
    t->trace->node_threshold = t->options->node_threshold;
    t->trace->edge_threshold = t->options->edge_threshold;
    SG_TRY(sg_trace_graph(f, t->options, t->trace, err));
    return sg_trace_say_writes(f, t->classifier, t->trace, err);
}

sg_status sg_trace_new(sg_model *model, const sg_trace_options *options, sg_trace **out,
                       sg_error *err)
{
    tracer t = {.model = model, .options = options, .trace = sg_alloc_zero(1, sizeof(sg_trace))};
    *out = NULL;
    if (t.trace == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    sg_status status = trace_run(&t, err);
    t.trace->ids = t.ids;
    sg_frozen_free(&t.frozen);
    if (status != SG_OK) {
        sg_trace_free(t.trace);
        return status;
    }
    *out = t.trace;
    return SG_OK;
}

void sg_trace_free(sg_trace *trace)
{
    if (trace == NULL) return;
    sg_free(trace->nodes);
    sg_free(trace->edges);
    sg_free(trace->hits);
    sg_free(trace->ids);
    sg_free(trace);
}

const sg_trace_info *sg_trace_get_info(const sg_trace *trace)
{
    return &trace->info;
}

const sg_trace_node *sg_trace_nodes(const sg_trace *trace, size_t *count)
{
    *count = trace->node_count;
    return trace->nodes;
}

const sg_trace_edge *sg_trace_edges(const sg_trace *trace, size_t *count)
{
    *count = trace->edge_count;
    return trace->edges;
}

const int32_t *sg_trace_tokens(const sg_trace *trace, size_t *count)
{
    *count = (size_t)trace->info.tokens;
    return trace->ids;
}
