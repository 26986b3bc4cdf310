// Traces: edges sum to values and contributions to the logit, in every family and form of
// transformer; in a frozen model that is computed here, taking a node out takes away what it
// contributes; groups, thresholds, threads; what is refused; the graph as JSON.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"
#include "sgatlin_trace.h"

enum { vocab = 60, positions = 64, tokens_count = 9, width = 16 };
static sg_context *context;
static int32_t tokens[tokens_count];

static int set_up(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    assert_int_equal(sg_context_new(&options, &context, NULL), SG_OK);
    for (int i = 0; i < tokens_count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// Norms and biases, which begin as 1 and 0, are moved, so that they matter.
static void move_vectors(sg_model *model)
{
    sg_error err = {0};
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        sg_tensor_info info;
        float values[256];
        assert_int_equal(sg_model_tensor_info(model, i, &info, NULL), SG_OK);
        const int64_t count = info.rows * info.columns;
        const bool bias = strstr(info.name, ".bias") != NULL && strstr(info.name, "router") == NULL;
        if (count > 256 || (info.rank != 1 && !bias) || strstr(info.name, "running") != NULL)
            continue;
        assert_int_equal(sg_model_tensor_read(model, i, 0, info.rows, values, NULL), SG_OK);
        for (int64_t j = 0; j < count; j++)
            values[j] += (float)(0.5 * sg_rng_uniform(11, (uint32_t)i, (uint64_t)j) - 0.2);
        if (sg_model_tensor_write(model, info.name, 0, info.rows, values, NULL, &err) != SG_OK)
            fail_msg("%s", err.message);
    }
}

// form 0: as our models are; 1: as GPT-NeoX and others, with values cut; 2: as GPT-2 and others; 3:
// as Llama and others; 4: as 1, nothing cut.
static sg_model *make_model(sg_context *in, const char *kind, int form)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    if (form == 1 || form == 2 || form == 4) {
        snprintf(c.norm, sizeof c.norm, "layernorm");
        c.attention_bias = c.attention_out_bias = 1;
        c.untied_classifier = form != 2;
        c.parallel_residual = form != 2;
        if (strcmp(c.ffn, "mlp") == 0 || strcmp(c.ffn, "glu") == 0 || strcmp(c.ffn, "moe") == 0)
            c.ffn_bias = 1;
    }
    if (form == 1) c.clip_qkv = 0.4;
    if (form == 2) snprintf(c.positions, sizeof c.positions, "learned");
    if (form == 3) {
        c.num_key_value_heads = 1;
        c.sliding_window = 4;
        c.attention_sinks = 1;
        snprintf(c.sliding_layers, sizeof c.sliding_layers, "1");
        if (strcmp(c.ffn, "moe") == 0) c.ffn_shared_experts = c.ffn_shared_gate = 1;
        if (strcmp(c.ffn, "glu") == 0 || strcmp(c.ffn, "moe") == 0) {
            c.ffn_glu_interleaved = 1;
            snprintf(c.ffn_activation, sizeof c.ffn_activation, "swiglu");
        }
    }
    if (sg_model_new(in, &c, 3, &model, &err) != SG_OK) fail_msg("%s: %s", kind, err.message);
    move_vectors(model);
    return model;
}

static sg_trace_options all_options(void)
{
    sg_trace_options o = sg_trace_options_default();
    o.tokens = tokens;
    o.token_count = tokens_count;
    o.answer_id = 17;
    o.against_id = 23;
    o.node_threshold = o.edge_threshold = 1;
    o.max_nodes = 1 << 20;
    o.floor = 0;
    return o;
}

static sg_trace *make_trace(sg_model *model, const sg_trace_options *o)
{
    sg_trace *trace;
    sg_error err = {0};
    if (sg_trace_new(model, o, &trace, &err) != SG_OK) fail_msg("%s", err.message);
    return trace;
}

// ---- sums ---------------------------------------------------------------------------------------

static bool is_target(sg_trace_kind kind)
{
    return kind == SG_TRACE_ATTENTION || kind == SG_TRACE_NEURON || kind == SG_TRACE_BESIDE ||
           kind == SG_TRACE_LOGIT;
}

static void close_to(const char *what, double found, double expected, double size, double share)
{
    if (!(fabs(found - expected) <= share * size + 1e-300))
        fail_msg("%s: found %.17g, expected %.17g within %g of %g", what, found, expected, share,
                 size);
}

// Each node's edges sum to its value, and what it contributes is what its targets make of it.
static void check_sums(const char *what, const sg_trace *trace)
{
    size_t nodes, edges;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    double *in = calloc(nodes, sizeof *in), *size = calloc(nodes, sizeof *size);
    double *out = calloc(nodes, sizeof *out), *out_size = calloc(nodes, sizeof *out_size);
    for (size_t e = 0; e < edges; e++) {
        assert_true(edge[e].source < edge[e].target && edge[e].target < nodes);
        const sg_trace_node *t = &node[edge[e].target];
        in[edge[e].target] += edge[e].weight;
        size[edge[e].target] += fabs(edge[e].weight);
        const double gradient = t->value != 0 ? t->contribution / t->value : 0;
        out[edge[e].source] += gradient * edge[e].weight;
        out_size[edge[e].source] += fabs(gradient * edge[e].weight);
    }
    for (size_t i = 0; i < nodes; i++) {
        if (is_target(node[i].kind)) close_to(what, in[i], node[i].value, size[i], 1e-10);
        if (node[i].kind == SG_TRACE_PRUNED)
            close_to(what, out[i], node[i].contribution, out_size[i], 1e-9);
    }
    assert_int_equal(node[nodes - 1].kind, SG_TRACE_LOGIT);
    free(in);
    free(size);
    free(out);
    free(out_size);
}

static void check_contributions(const char *what, const sg_trace *trace)
{
    size_t nodes, edges;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    double *out = calloc(nodes, sizeof *out), *size = calloc(nodes, sizeof *size);
    for (size_t e = 0; e < edges; e++) {
        const sg_trace_node *t = &node[edge[e].target];
        const double gradient = t->value != 0 ? t->contribution / t->value : 0;
        out[edge[e].source] += gradient * edge[e].weight;
        size[edge[e].source] += fabs(gradient * edge[e].weight);
    }
    for (size_t i = 0; i + 1 < nodes; i++)
        close_to(what, out[i], node[i].contribution, size[i], 1e-8);
    free(out);
    free(size);
}

static void check_trace(const char *kind, int form, sg_trace_attention by)
{
    char what[160];
    sg_model *model = make_model(context, kind, form);
    sg_trace_options o = all_options();
    o.attention = by;
    sg_trace *trace = make_trace(model, &o);
    const sg_trace_info *info = sg_trace_get_info(trace);
    double direct = 0, leaves = 0, size = 0;
    snprintf(what, sizeof what, "%s, form %d, by %d", kind, form, (int)by);
    check_sums(what, trace);
    check_contributions(what, trace);
    for (int k = 0; k < SG_TRACE_KINDS; k++) {
        direct += info->direct[k];
        leaves += info->leaves[k];
        size += fabs(info->leaves[k]) + fabs(info->direct[k]);
    }
    close_to(what, direct, info->value, size, 1e-10);
    close_to(what, leaves, info->value, size, 1e-10);
    assert_true(info->sum_error < 1e-10);
    // As the model computed it, in f32.
    if (info->neuron_error > 2e-5 || info->value_error > 1e-4)
        fail_msg("%s: neurons differ by %g, the logits by %g (%g, %g)", what, info->neuron_error,
                 info->value_error, info->value, info->model_value);
    size_t nodes;
    const sg_trace_node *node = sg_trace_nodes(trace, &nodes);
    int counts[SG_TRACE_KINDS] = {0};
    for (size_t i = 0; i < nodes; i++)
        counts[node[i].kind]++;
    assert_int_equal(counts[SG_TRACE_EMBEDDING], tokens_count);
    assert_int_equal(counts[SG_TRACE_PRUNED], 0);
    assert_true(counts[SG_TRACE_NEURON] > 0 && counts[SG_TRACE_ATTENTION] > 0);
    // Nothing of a linear sgatlin model is left over.
    if (strcmp(kind, "sgatlin") == 0 && form != 1) assert_int_equal(counts[SG_TRACE_REMAINDER], 0);
    if (strcmp(kind, "mlp") == 0 || strcmp(kind, "pkm") == 0)
        assert_true(counts[SG_TRACE_REMAINDER] > 0);
    if (strcmp(kind, "sgatlin") == 0 && form == 0) assert_int_equal(counts[SG_TRACE_CONSTANT], 0);
    if (strcmp(kind, "omnimoe") == 0) assert_true(counts[SG_TRACE_BESIDE] > 0);
    sg_trace_free(trace);
    sg_model_free(model);
}

static void test_families(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        const bool refused =
            strncmp(kind, "moefied", 7) == 0 || strstr(kind, "attention_mlp") != NULL;
        for (int form = 0; form < 4 && !refused; form++)
            check_trace(kind, form, (sg_trace_attention)((i + form) % 3));
    }
}

// ---- the frozen model ---------------------------------------------------------------------------

enum { layers = 2, heads = 2, head = 8, channels = 2, pool = 25, selected = 3 };

// What a pass of the model holds fixed, and its weights, as plain arrays.
typedef struct frozen {
    float embed[tokens_count][width], scale[2 * layers + 1][tokens_count];
    float pattern[layers][tokens_count][heads][tokens_count];
    int32_t ids[layers][tokens_count][channels * selected];
    float scores[layers][tokens_count][channels * selected];
    float norm[2 * layers + 1][width], w_v[layers][width][width], w_o[layers][width][width];
    float w_in[layers][channels * pool][width], w_out[layers][channels * pool][width];
    float readout[2][width];
} frozen;

// One node that is taken out.
typedef struct without {
    sg_trace_kind kind;
    int64_t layer, position, source, channel, neuron;
} without;

static sg_status keep(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    frozen *f = user;
    const int64_t l = p->layer;
    void *to = strcmp(p->name, "hook_embed") == 0            ? (void *)f->embed
               : strcmp(p->name, "ln_final.hook_scale") == 0 ? (void *)f->scale[2 * layers]
               : strstr(p->name, "ln1.") != NULL             ? (void *)f->scale[2 * l]
               : strstr(p->name, "ln2.") != NULL             ? (void *)f->scale[2 * l + 1]
               : strstr(p->name, "pattern") != NULL          ? (void *)f->pattern[l]
               : strstr(p->name, "gate_ids") != NULL         ? (void *)f->ids[l]
                                                             : (void *)f->scores[l];
    int64_t count = p->shape[0];
    for (int i = 1; i < p->rank; i++)
        count *= p->shape[i];
    assert_int_equal(p->shape[0], tokens_count); // one pass
    memcpy(to, p->kind == SG_POINT_I32 ? (const void *)p->ids : p->values, (size_t)count * 4);
    return SG_OK;
}

static void read_weights(const sg_model *model, const char *name, int64_t rows, void *to)
{
    size_t index;
    assert_int_equal(sg_model_tensor_find(model, name, &index, NULL), SG_OK);
    assert_int_equal(sg_model_tensor_read(model, index, 0, rows, to, NULL), SG_OK);
}

static void read_frozen(sg_model *model, frozen *f)
{
    static const char *const names[] = {"hook_embed", "*.hook_scale", "*.attn.hook_pattern",
                                        "*.mlp.hook_gate_ids", "*.mlp.hook_gate_scores"};
    sg_point_request requests[5];
    for (int i = 0; i < 5; i++)
        requests[i] = (sg_point_request){names[i], SG_POINT_READ, keep, f};
    const sg_points points = {requests, 5};
    const sg_session_options options = {.capacity = tokens_count, .points = &points};
    sg_session *session;
    double nll[tokens_count];
    bool likeliest[tokens_count];
    assert_int_equal(sg_session_open(model, &options, &session, NULL), SG_OK);
    assert_int_equal(sg_session_score(session, tokens, tokens, tokens_count, nll, likeliest, NULL),
                     SG_OK);
    sg_session_free(session);
    for (int l = 0; l < layers; l++) {
        char name[96];
#define READ(text, rows, to)                                                                       \
    snprintf(name, sizeof name, "model.layers.%d." text, l);                                       \
    read_weights(model, name, rows, to)
        READ("input_layernorm.weight", width, f->norm[2 * l]);
        READ("post_attention_layernorm.weight", width, f->norm[2 * l + 1]);
        READ("self_attn.v_proj.weight", width, f->w_v[l]);
        READ("self_attn.o_proj.weight", width, f->w_o[l]);
        READ("mlp.experts.w_in.weight", channels * pool, f->w_in[l]);
        READ("mlp.experts.w_out.weight", channels * pool, f->w_out[l]);
#undef READ
    }
    read_weights(model, "model.norm.weight", width, f->norm[2 * layers]);
    size_t index;
    assert_int_equal(sg_model_tensor_find(model, "model.embed_tokens.weight", &index, NULL), SG_OK);
    sg_model_tensor_read(model, index, 17, 1, f->readout[0], NULL);
    sg_model_tensor_read(model, index, 23, 1, f->readout[1], NULL);
}

static void frozen_norm(const frozen *f, int which, int t, const double *x, double *n)
{
    for (int i = 0; i < width; i++)
        n[i] = x[i] / (double)f->scale[which][t] * (double)f->norm[which][i];
}

static void frozen_attention(const frozen *f, const without *o, int l,
                             double x[tokens_count][width])
{
    double v[tokens_count][width] = {{0}}, n[width];
    for (int s = 0; s < tokens_count; s++) {
        frozen_norm(f, 2 * l, s, x[s], n);
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++)
                v[s][i] += (double)f->w_v[l][i][j] * n[j];
    }
    for (int t = 0; t < tokens_count; t++)
        for (int s = 0; s <= t; s++) {
            if (o->kind == SG_TRACE_ATTENTION && o->layer == l && o->position == t &&
                o->source == s)
                continue;
            for (int i = 0; i < width; i++)
                for (int j = 0; j < width; j++)
                    x[t][i] +=
                        (double)f->w_o[l][i][j] * v[s][j] * (double)f->pattern[l][t][j / head][s];
        }
}

static void frozen_neurons(const frozen *f, const without *o, int l, double x[tokens_count][width])
{
    double n[width];
    for (int t = 0; t < tokens_count; t++) {
        frozen_norm(f, 2 * l + 1, t, x[t], n);
        for (int m = 0; m < channels * selected; m++) {
            const int64_t c = m / selected, id = f->ids[l][t][m];
            double a = 0;
            for (int j = 0; j < width; j++)
                a += (double)f->w_in[l][c * pool + id][j] * n[j];
            if (o->kind == SG_TRACE_NEURON && o->layer == l && o->position == t &&
                o->channel == c && o->neuron == id)
                continue;
            for (int j = 0; j < width; j++)
                x[t][j] += a * (double)f->scores[l][t][m] * (double)f->w_out[l][c * pool + id][j];
        }
    }
}

static double frozen_difference(const frozen *f, const without *o)
{
    double x[tokens_count][width], n[width], sum = 0;
    for (int t = 0; t < tokens_count; t++)
        for (int i = 0; i < width; i++)
            x[t][i] =
                o->kind == SG_TRACE_EMBEDDING && o->position == t ? 0 : (double)f->embed[t][i];
    for (int l = 0; l < layers; l++) {
        frozen_attention(f, o, l, x);
        frozen_neurons(f, o, l, x);
    }
    frozen_norm(f, 2 * layers, tokens_count - 1, x[tokens_count - 1], n);
    for (int i = 0; i < width; i++)
        sum += n[i] * ((double)f->readout[0][i] - (double)f->readout[1][i]);
    return sum;
}

// A frozen sgatlin model is linear: taking a node out takes away what it contributes, no less and
// no more.
static void test_taking_out(void **state)
{
    (void)state;
    static frozen f;
    sg_model *model = make_model(context, "sgatlin", 0);
    read_frozen(model, &f);
    sg_trace_options o = all_options();
    sg_trace *trace = make_trace(model, &o);
    size_t count;
    const sg_trace_node *node = sg_trace_nodes(trace, &count);
    const double whole = frozen_difference(&f, &(without){.kind = SG_TRACE_LOGIT});
    close_to("the whole", whole, sg_trace_get_info(trace)->value, fabs(whole), 1e-12);
    int taken[SG_TRACE_KINDS] = {0};
    for (size_t i = 0; i + 1 < count; i++) {
        const sg_trace_node *n = &node[i];
        const without out = {n->kind, n->layer, n->position, n->source, n->channel, n->neuron};
        close_to(sg_trace_kind_name(n->kind), whole - frozen_difference(&f, &out), n->contribution,
                 fabs(whole) + 1, 1e-12);
        taken[n->kind]++;
    }
    assert_int_equal(taken[SG_TRACE_EMBEDDING], tokens_count);
    assert_true(taken[SG_TRACE_NEURON] > 20 && taken[SG_TRACE_ATTENTION] > 50);
    sg_trace_free(trace);
    sg_model_free(model);
}

// ---- the model itself, frozen by its points -------------------------------------------------------

enum { most_points = 64, most_values = tokens_count * 2 * tokens_count };

// What a pass read at points, or writes there again. But for what is taken out.
typedef struct refreeze {
    char names[most_points][64];
    float values[most_points][most_values];
    int count, rewritten;
    bool write;
    const sg_trace_node *out; // NULL: nothing
    int64_t hit;              // of a neuron
} refreeze;

static float *refreeze_place(refreeze *r, const char *name)
{
    int at = 0;
    while (at < r->count && strcmp(r->names[at], name) != 0)
        at++;
    assert_true(at < most_points && (at < r->count || !r->write));
    if (at == r->count) snprintf(r->names[r->count++], sizeof r->names[0], "%s", name);
    return r->values[at];
}

static sg_status refreeze_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    refreeze *r = user;
    int64_t width_of = 1;
    for (int i = 1; i < p->rank; i++)
        width_of *= p->shape[i];
    // The last norm is of the last row alone; all others come whole.
    const int64_t first = p->shape[0] == 1 ? 0 : p->first_row;
    const int64_t count = p->shape[0] * width_of;
    assert_true((first + p->shape[0]) * width_of <= most_values);
    float *kept = refreeze_place(r, p->name) + first * width_of;
    void *values = p->kind == SG_POINT_I32 ? (void *)p->ids : (void *)p->values;
    if (!r->write) {
        memcpy(kept, values, (size_t)count * 4);
        return SG_OK;
    }
    memcpy(values, kept, (size_t)count * 4);
    r->rewritten++;
    return SG_OK;
}

// Takes out an embedding, or a neuron.
static sg_status refreeze_take(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    const refreeze *r = user;
    const sg_trace_node *n = r->out;
    if (!r->write || n == NULL || n->layer != p->layer) return SG_OK;
    const bool embedding = strcmp(p->name, "hook_embed") == 0;
    if (n->kind != (embedding ? SG_TRACE_EMBEDDING : SG_TRACE_NEURON)) return SG_OK;
    const int64_t row = embedding ? p->shape[1] : p->shape[1] * p->shape[2];
    float *values = p->values + n->position * row;
    if (embedding)
        memset(values, 0, (size_t)row * sizeof *values);
    else
        values[r->hit] = 0;
    return SG_OK;
}

static double refreeze_run(sg_model *model, refreeze *r)
{
    static const char *const names[] = {"*.hook_scale", "*.attn.hook_pattern",
                                        "*.mlp.hook_gate_ids", "*.mlp.hook_gate_scores"};
    sg_point_request requests[6];
    const unsigned use = SG_POINT_WRITE;
    for (int i = 0; i < 4; i++)
        requests[i] = (sg_point_request){names[i], use, refreeze_call, r};
    requests[4] = (sg_point_request){"hook_embed", use, refreeze_take, r};
    requests[5] = (sg_point_request){"*.mlp.hook_post", use, refreeze_take, r};
    const sg_points points = {requests, 6};
    const sg_session_options options = {.capacity = tokens_count, .points = &points};
    sg_session *session;
    const float *logits = NULL;
    sg_error err = {0};
    if (sg_session_open(model, &options, &session, &err) != SG_OK ||
        sg_session_feed(session, tokens, tokens_count, &logits, &err) != SG_OK)
        fail_msg("%s", err.message);
    const double difference = (double)logits[17] - (double)logits[23];
    sg_session_free(session);
    return difference;
}

// The hit of a neuron among those of its token, as hook_gate_ids has them.
static int64_t refreeze_hit(refreeze *r, const sg_trace_node *n, int64_t per_token, int64_t k)
{
    char name[64];
    snprintf(name, sizeof name, "blocks.%d.mlp.hook_gate_ids", (int)n->layer);
    const float *kept = refreeze_place(r, name);
    for (int64_t i = 0; i < per_token; i++) {
        int32_t id;
        memcpy(&id, kept + n->position * per_token + i, sizeof id);
        if (i / k == n->channel && id == n->neuron) return i;
    }
    fail_msg("layer %d has no neuron %d:%d", (int)n->layer, (int)n->channel, (int)n->neuron);
    return -1;
}

static void check_by_points(const char *kind, int form, int64_t per_token, int64_t k)
{
    static refreeze r;
    memset(&r, 0, sizeof r);
    sg_model *model = make_model(context, kind, form);
    refreeze_run(model, &r);
    r.write = true;
    const double whole = refreeze_run(model, &r);
    assert_int_equal(r.rewritten, 2 * 5 + 1);
    sg_trace_options o = all_options();
    sg_trace *trace = make_trace(model, &o);
    size_t count;
    int taken = 0;
    const sg_trace_node *node = sg_trace_nodes(trace, &count);
    for (size_t i = 0; i < count; i++) {
        if (node[i].kind != SG_TRACE_EMBEDDING &&
            (node[i].kind != SG_TRACE_NEURON || node[i].position % 3 != 2))
            continue;
        r.out = &node[i];
        if (node[i].kind == SG_TRACE_NEURON) r.hit = refreeze_hit(&r, &node[i], per_token, k);
        const double change = whole - refreeze_run(model, &r);
        close_to(kind, change, node[i].contribution, fabs(whole) + 1, 1e-5);
        taken++;
    }
    assert_true(taken > tokens_count + 5);
    sg_trace_free(trace);
    sg_model_free(model);
}

// The model itself with its attention weights, norms and gates written as they were is the frozen
// model, in any form.
static void test_by_points(void **state)
{
    (void)state;
    for (int form = 0; form < 5; form++) {
        if (form == 1) continue; // what is cut cannot be held fixed by points
        check_by_points("sgatlin", form, 6, 3);
        check_by_points("pkm", form, 8, 4);
    }
}

// ---- what is shown ------------------------------------------------------------------------------

static void test_pruned(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sgatlin", "mlp", "moe"};
    for (int i = 0; i < 3; i++) {
        sg_model *model = make_model(context, kinds[i], 2);
        sg_trace_options o = all_options();
        o.node_threshold = 0.6;
        o.edge_threshold = 0.9;
        o.max_nodes = 25;
        o.attention = (sg_trace_attention)i;
        sg_trace *trace = make_trace(model, &o);
        sg_trace *all = make_trace(model, &(sg_trace_options){.tokens = tokens,
                                                              .token_count = tokens_count,
                                                              .answer_id = 17,
                                                              .against_id = 23,
                                                              .node_threshold = 1,
                                                              .edge_threshold = 1,
                                                              .max_nodes = 1 << 20,
                                                              .attention = (sg_trace_attention)i});
        check_sums(kinds[i], trace);
        size_t count, all_count, edges;
        const sg_trace_node *node = sg_trace_nodes(trace, &count), *from;
        from = sg_trace_nodes(all, &all_count);
        sg_trace_edges(trace, &edges);
        assert_true(count < all_count && edges > count / 2);
        int pruned = 0, shown = 0;
        for (size_t n = 0; n < count; n++) {
            if (node[n].kind == SG_TRACE_PRUNED) {
                pruned++;
                continue;
            }
            shown += node[n].kind != SG_TRACE_EMBEDDING && node[n].kind != SG_TRACE_LOGIT;
            // What a node is does not depend on what is shown beside it.
            size_t m = 0;
            while (m < all_count &&
                   !(from[m].kind == node[n].kind && from[m].layer == node[n].layer &&
                     from[m].position == node[n].position && from[m].source == node[n].source &&
                     from[m].head == node[n].head && from[m].channel == node[n].channel &&
                     from[m].neuron == node[n].neuron))
                m++;
            assert_true(m < all_count);
            assert_true(from[m].value == node[n].value);
            assert_true(from[m].contribution == node[n].contribution);
            assert_true(from[m].direct == node[n].direct);
            assert_true(from[m].influence == node[n].influence);
        }
        assert_true(pruned > 0 && shown > 0 && shown <= 25);
        assert_true(sg_trace_get_info(trace)->node_share < 1);
        assert_true(sg_trace_get_info(all)->node_share > 1 - 1e-12);
        sg_trace_free(trace);
        sg_trace_free(all);
        sg_model_free(model);
    }
}

// Influence is 1 of the logit, less of any other, and that of leaves together 1 but for what was
// not followed.
static void check_influence(sg_model *model, double floor)
{
    sg_trace_options o = all_options();
    o.floor = floor;
    sg_trace *trace = make_trace(model, &o);
    const sg_trace_info *info = sg_trace_get_info(trace);
    size_t count;
    const sg_trace_node *node = sg_trace_nodes(trace, &count);
    double leaves = 0, last = 0;
    assert_true(node[count - 1].influence == 1);
    for (size_t i = 0; i + 1 < count; i++) {
        assert_true(node[i].influence >= 0 && node[i].influence < 1 + 1e-12);
        assert_true(node[i].cumulative >= 0 && node[i].cumulative < 1 + 1e-12);
        if (!is_target(node[i].kind) && node[i].kind != SG_TRACE_PRUNED)
            leaves += node[i].influence;
        last = fmax(last, node[i].cumulative);
    }
    close_to("leaves", leaves + info->unfollowed, 1, 1, 1e-9);
    close_to("the last", last, 1, 1, 1e-9);
    assert_true(floor > 0 ? info->unfollowed > 0 : info->unfollowed == 0);
    check_sums("influence", trace);
    sg_trace_free(trace);
}

static void test_influence(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "moe", 2);
    check_influence(model, 0);
    check_influence(model, 0.002);
    sg_model_free(model);
}

static double sum_of_attention(const sg_trace *trace, int64_t layer, int64_t source, bool direct)
{
    size_t count;
    double sum = 0;
    const sg_trace_node *node = sg_trace_nodes(trace, &count);
    for (size_t i = 0; i < count; i++)
        if (node[i].kind == SG_TRACE_ATTENTION && node[i].layer == layer &&
            node[i].source == source)
            sum += direct ? node[i].direct : node[i].value;
    return sum;
}

static void test_groups(void **state)
{
    (void)state;
    sg_trace *by[3];
    sg_model *model = make_model(context, "sgatlin", 3);
    sg_trace_options o = all_options();
    for (int i = 0; i < 3; i++) {
        o.attention = (sg_trace_attention)i;
        by[i] = make_trace(model, &o);
    }
    for (int64_t l = 0; l < 2; l++)
        for (int64_t s = 0; s < tokens_count; s++)
            for (int direct = 0; direct < 2; direct++) {
                const double pair = sum_of_attention(by[0], l, s, direct);
                close_to("heads", sum_of_attention(by[1], l, s, direct), pair, fabs(pair) + 1,
                         1e-12);
                close_to("sources", sum_of_attention(by[2], l, s, direct), pair, fabs(pair) + 1,
                         1e-12);
            }
    for (int i = 0; i < 3; i++)
        sg_trace_free(by[i]);
    sg_model_free(model);
}

static void test_threads(void **state)
{
    (void)state;
    sg_trace *traces[2];
    sg_context *contexts[2];
    sg_model *models[2];
    for (int i = 0; i < 2; i++) {
        sg_context_options options = sg_context_options_default();
        options.threads = 1 + 2 * i;
        assert_int_equal(sg_context_new(&options, &contexts[i], NULL), SG_OK);
        models[i] = make_model(contexts[i], "moe", 3);
        sg_trace_options o = all_options();
        o.node_threshold = 0.7;
        traces[i] = make_trace(models[i], &o);
    }
    size_t count[2], edges[2];
    const sg_trace_node *a = sg_trace_nodes(traces[0], &count[0]);
    const sg_trace_node *b = sg_trace_nodes(traces[1], &count[1]);
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(a, b, count[0] * sizeof *a);
    const sg_trace_edge *x = sg_trace_edges(traces[0], &edges[0]);
    const sg_trace_edge *y = sg_trace_edges(traces[1], &edges[1]);
    assert_int_equal(edges[0], edges[1]);
    assert_memory_equal(x, y, edges[0] * sizeof *x);
    for (int i = 0; i < 2; i++) {
        sg_trace_free(traces[i]);
        sg_model_free(models[i]);
        sg_context_free(contexts[i]);
    }
}

// Without an answer the likeliest token; centred, less the mean; long prompts come in pieces.
static void test_targets(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", 0);
    sg_trace_options o = all_options();
    o.answer_id = o.against_id = -1;
    sg_trace *plain = make_trace(model, &o);
    o.centred = true;
    sg_trace *centred = make_trace(model, &o);
    const sg_trace_info *p = sg_trace_get_info(plain), *c = sg_trace_get_info(centred);
    assert_true(p->answer >= 0 && p->answer == c->answer && p->against == -1);
    assert_true(p->probability > 1.0 / vocab);
    assert_true(p->value > c->value || p->value < c->value);
    assert_true(p->value_error < 1e-5 && c->value_error < 1e-5);
    double mean = 0;
    for (int32_t v = 0; v < vocab; v++) {
        o.centred = false;
        o.answer_id = v;
        sg_trace *one = make_trace(model, &o);
        mean += sg_trace_get_info(one)->value / vocab;
        assert_true(sg_trace_get_info(one)->value <= p->value);
        sg_trace_free(one);
    }
    close_to("centred", c->value, p->value - mean, fabs(p->value), 1e-10);
    sg_trace_free(plain);
    sg_trace_free(centred);
    sg_model_free(model);
}

static void refused(sg_model *model, const sg_trace_options *o, sg_status status, const char *words)
{
    sg_error err = {0};
    sg_trace *trace = (sg_trace *)(uintptr_t)1;
    assert_int_equal(sg_trace_new(model, o, &trace, &err), status);
    assert_null(trace);
    if (strstr(err.message, words) == NULL) fail_msg("\"%s\" has no \"%s\"", err.message, words);
}

static void test_refused(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", 0);
    int32_t wrong[tokens_count] = {vocab};
#define REFUSED(change, status, words)                                                             \
    do {                                                                                           \
        sg_trace_options o = all_options();                                                        \
        change;                                                                                    \
        refused(model, &o, status, words);                                                         \
    } while (0)
    REFUSED(o.tokens = NULL, SG_ERR_ARGUMENT, "neither ids nor a prompt");
    REFUSED(o.prompt = "a", SG_ERR_ARGUMENT, "ids and a prompt");
    REFUSED((o.tokens = NULL, o.prompt = "a"), SG_ERR_ARGUMENT, "tokenizer");
    REFUSED(o.answer = "a", SG_ERR_ARGUMENT, "tokenizer");
    REFUSED(o.token_count = 0, SG_ERR_ARGUMENT, "no token");
    REFUSED(o.tokens = wrong, SG_ERR_ARGUMENT, "token 0: found 60");
    REFUSED(o.answer_id = vocab, SG_ERR_ARGUMENT, "answer: found id 60, expected 0 to 59");
    REFUSED(o.against_id = -2, SG_ERR_ARGUMENT, "against: found id -2");
    REFUSED(o.against_id = o.answer_id, SG_ERR_ARGUMENT, "which is the answer");
    REFUSED(o.max_nodes = 0, SG_ERR_ARGUMENT, "max-nodes: found 0");
    REFUSED(o.node_threshold = 1.5, SG_ERR_ARGUMENT, "threshold: found 1.5");
    REFUSED(o.node_threshold = NAN, SG_ERR_ARGUMENT, "threshold: found");
    REFUSED(o.edge_threshold = 0, SG_ERR_ARGUMENT, "edge-threshold: found 0");
    REFUSED(o.floor = 1, SG_ERR_ARGUMENT, "floor: found 1");
    REFUSED(o.attention = (sg_trace_attention)3, SG_ERR_ARGUMENT, "attention: found 3");
#undef REFUSED
    int32_t many[positions + 1] = {0};
    sg_trace_options o = all_options();
    o.tokens = many;
    o.token_count = positions + 1;
    refused(model, &o, SG_ERR_ARGUMENT, "65 tokens, expected at most the model's 64");
    sg_model_free(model);
}

static bool stop_at_once(void *user, int64_t done, int64_t total)
{
    (void)user, (void)done;
    assert_int_equal(total, layers);
    return false;
}

static void test_stopped(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", 0);
    sg_trace_options o = all_options();
    o.progress = stop_at_once;
    refused(model, &o, SG_ERR_STOPPED, "layer 1");
    sg_model_free(model);
}

static sg_status trace_once(void *user, sg_error *err)
{
    sg_trace *trace;
    char *text;
    sg_trace_options o = all_options();
    o.token_count = 3;
    o.max_nodes = 3;
    SG_TRY(sg_trace_new(user, &o, &trace, err));
    sg_status status = sg_trace_json(trace, NULL, "slug", "model", NULL, &text, err);
    if (status == SG_OK) sg_buffer_free(text);
    sg_trace_free(trace);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_context *alone;
    sg_context_options options = sg_context_options_default();
    options.threads = 1;
    assert_int_equal(sg_context_new(&options, &alone, NULL), SG_OK);
    sg_model *model = make_model(alone, "sgatlin", 0);
    assert_true(alloc_failure_loop(trace_once, model) > 50);
    sg_model_free(model);
    sg_context_free(alone);
}

// ---- JSON ---------------------------------------------------------------------------------------

// A member of the type that circuit-tracer's models ask for: s, i, f (a number), b, or null too
// where it is a capital.
static const json_t *member(const json_t *object, const char *name, char type)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL) fail_msg("there is no %s", name);
    const bool fits = type == 's'   ? json_is_string(value)
                      : type == 'i' ? json_is_integer(value)
                      : type == 'f' ? json_is_number(value)
                      : type == 'F' ? json_is_number(value) || json_is_null(value)
                      : type == 'b' ? json_is_boolean(value)
                                    : json_is_array(value);
    if (!fits) fail_msg("%s is of another type than %c", name, type);
    return value;
}

static const json_t *check_json_head(const json_t *root)
{
    const json_t *metadata = json_object_get(root, "metadata");
    const json_t *params = json_object_get(root, "qParams");
    assert_string_equal(json_string_value(member(metadata, "slug", 's')), "a-slug");
    assert_string_equal(json_string_value(member(metadata, "scan", 's')), "a model");
    assert_int_equal(json_array_size(member(metadata, "transcoder_list", 'a')), 0);
    assert_int_equal(json_array_size(member(metadata, "prompt_tokens", 'a')), tokens_count);
    member(metadata, "prompt", 's');
    member(metadata, "node_threshold", 'F');
    member(metadata, "schema_version", 'i');
    member(params, "pinnedIds", 'a');
    member(params, "supernodes", 'a');
    member(params, "linkType", 's');
    member(params, "clickedId", 's');
    member(params, "sg_pos", 's');
    return metadata;
}

static void check_json_node(const json_t *node, const sg_trace_node *n)
{
    static const char of_node[] = "ssissfbiissFF";
    static const char *const names[] = {
        "node_id",    "layer",           "ctx_idx",   "feature_type",    "jsNodeId",
        "token_prob", "is_target_logit", "run_idx",   "reverse_ctx_idx", "clerp",
        "node_id",    "influence",       "activation"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        member(node, names[i], of_node[i]);
    member(node, "feature", 'i');
    const char *layer = json_string_value(json_object_get(node, "layer"));
    const char *clerp = json_string_value(json_object_get(node, "clerp"));
    const char *type = json_string_value(json_object_get(node, "feature_type"));
    const int64_t at = json_integer_value(json_object_get(node, "ctx_idx"));
    assert_true(at >= 0 && at < tokens_count);
    // The viewer takes a layer for a number, unless it is that of the embeddings, and reads the
    // probability of a logit from its text.
    assert_true(strcmp(layer, "E") == 0 || (*layer >= '0' && *layer <= '9'));
    if (n->kind == SG_TRACE_EMBEDDING) assert_string_equal(type, "embedding");
    if (n->kind == SG_TRACE_NEURON) assert_string_equal(type, "cross layer transcoder");
    if (n->kind == SG_TRACE_LOGIT) {
        assert_string_equal(type, "logit");
        assert_non_null(strstr(clerp, "(p="));
        assert_true(json_is_true(json_object_get(node, "is_target_logit")));
        assert_int_equal(atoi(layer), layers + 1);
    }
    const json_t *own = json_object_get(node, "sgatlin");
    assert_string_equal(json_string_value(json_object_get(own, "kind")),
                        sg_trace_kind_name(n->kind));
    assert_true(json_number_value(json_object_get(own, "contribution")) == n->contribution);
}

static size_t index_of(const json_t *nodes, const char *id)
{
    size_t i, found = SIZE_MAX;
    json_t *node;
    json_array_foreach(nodes, i, node)
    {
        if (strcmp(json_string_value(json_object_get(node, "node_id")), id) != 0) continue;
        assert_int_equal(found, SIZE_MAX); // ids differ
        found = i;
    }
    assert_true(found != SIZE_MAX);
    return found;
}

// What the viewer takes for one: the same layer, token and number.
static void check_json_feature(const json_t *nodes, size_t i)
{
    const json_t *a = json_array_get(nodes, i);
    for (size_t k = 0; k < i; k++) {
        const json_t *b = json_array_get(nodes, k);
        if (json_integer_value(json_object_get(a, "feature")) ==
                json_integer_value(json_object_get(b, "feature")) &&
            json_equal(json_object_get(a, "layer"), json_object_get(b, "layer")) &&
            json_equal(json_object_get(a, "ctx_idx"), json_object_get(b, "ctx_idx")))
            fail_msg("%s and %s are one feature", json_string_value(json_object_get(a, "node_id")),
                     json_string_value(json_object_get(b, "node_id")));
    }
}

static void check_json(const sg_trace *trace)
{
    char *text;
    json_t *root, *node;
    size_t i, count, edges;
    sg_error err = {0};
    if (sg_trace_json(trace, NULL, "a-slug", "a model", "a command", &text, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_json_parse(text, strlen(text), "graph", &root, &err), SG_OK);
    sg_buffer_free(text);
    check_json_head(root);
    const json_t *nodes = member(root, "nodes", 'a'), *links = member(root, "links", 'a');
    const sg_trace_node *of = sg_trace_nodes(trace, &count);
    const sg_trace_edge *edge = sg_trace_edges(trace, &edges);
    assert_int_equal(json_array_size(nodes), count);
    assert_int_equal(json_array_size(links), edges);
    json_array_foreach(nodes, i, node)
    {
        check_json_node(node, &of[i]);
        index_of(nodes, json_string_value(json_object_get(node, "node_id")));
        check_json_feature(nodes, i);
    }
    json_array_foreach(links, i, node)
    {
        assert_int_equal(index_of(nodes, json_string_value(member(node, "source", 's'))),
                         edge[i].source);
        assert_int_equal(index_of(nodes, json_string_value(member(node, "target", 's'))),
                         edge[i].target);
        assert_true(json_number_value(member(node, "weight", 'f')) == edge[i].weight);
    }
    json_decref(root);
}

static void test_json(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sgatlin", "mlp", "omnimoe"};
    for (int i = 0; i < 3; i++) {
        sg_model *model = make_model(context, kinds[i], 2);
        sg_trace_options o = all_options();
        o.node_threshold = 0.8;
        o.max_nodes = 60;
        o.attention = (sg_trace_attention)i;
        sg_trace *trace = make_trace(model, &o);
        check_json(trace);
        sg_trace_free(trace);
        sg_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),  cmocka_unit_test(test_taking_out),
        cmocka_unit_test(test_by_points), cmocka_unit_test(test_pruned),
        cmocka_unit_test(test_influence), cmocka_unit_test(test_groups),
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_targets),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_memory),    cmocka_unit_test(test_json)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
