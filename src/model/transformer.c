// The transformer, forward only and once: pre-norm blocks, norms of queries and keys, positions,
// causal attention, a feed-forward layer of any family, the classifier. Our own models are as spec
// 5.2 has them; what other checkpoints do otherwise are choices of the configuration.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/trimmed.h"
#include "model/config.h"
#include "model/graph.h"
#include "model/projections.h"

// ---- parameters as leaves ---------------------------------------------------------------------

static sg_tensor *graph_leaf(sg_graph *g, size_t i)
{
    const sg_param_spec *spec = &g->params->specs[i];
    if (g->leaves[i] != NULL) return g->leaves[i];
    sg_tensor *leaf = sg_tape_leaf(g->tape, spec->name, SG_KIND_REAL, spec->rank, spec->shape,
                                   g->values ? g->values[i] : NULL, g->grads ? g->grads[i] : NULL,
                                   !spec->frozen && !g->frozen);
    if (leaf != NULL && g->row_grads != NULL) leaf->row_grads = g->row_grads[i];
    if (leaf != NULL && g->narrow != NULL && sg_stored_is_narrow(&g->narrow[i]))
        leaf->narrow = &g->narrow[i];
    if (leaf != NULL && g->screens != NULL && sg_stored_is_narrow(&g->screens[i]))
        leaf->screen = &g->screens[i];
    if (leaf != NULL && g->columns != NULL && g->columns[i].slices != NULL)
        leaf->columns = &g->columns[i];
    g->leaves[i] = leaf;
    return leaf;
}

// The n-th place to look for a parameter, behind and before the one that was asked for last: they
// are asked for about in the order of the list. Places outside the list are to be passed over.
static size_t graph_near(const sg_graph *g, size_t n)
{
    return n % 2 ? g->cursor - (n + 1) / 2 : g->cursor + n / 2;
}

static sg_tensor *graph_parameter(void *user, const char *prefix, const char *name)
{
    sg_graph *g = user;
    char full[SG_PARAM_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (size_t n = 0; n < 2 * g->params->count; n++) {
        const size_t i = graph_near(g, n);
        if (i >= g->params->count || strcmp(g->params->specs[i].name, full) != 0) continue;
        g->cursor = i;
        return graph_leaf(g, i);
    }
    return sg_tape_fail(g->tape, SG_ERR_INTERNAL, "%s: no such parameter", full);
}

// y = x W^T and what the adapters of W add to it: scale (x A^T) B^T. A matrix that is made of
// something is no parameter and has none.
static sg_tensor *graph_adapt(void *user, sg_tensor *x, sg_tensor *w, sg_tensor *y)
{
    sg_graph *g = user;
    size_t i = g->n_leaves;
    for (size_t n = 0; i >= g->n_leaves || g->leaves[i] != w; n++) {
        if (n == 2 * g->n_leaves) return y;
        i = graph_near(g, n);
    }
    if (g->plain != NULL) g->plain[i] = true;
    for (size_t n = 0; g->adapters != NULL && n < g->adapters->use_count; n++) {
        const sg_adapter_use *use = &g->adapters->uses[n];
        if (use->parameter != i) continue;
        const sg_adapter *adapter = &g->adapters->items[use->adapter];
        sg_tensor *u = sg_linear(g->tape, x, graph_leaf(g, adapter->a), NULL);
        y = sg_add_low_rank(g->tape, y, u, graph_leaf(g, adapter->b), adapter->scale,
                            g->adapters->spans + use->first_span, use->span_count);
    }
    return y;
}

// The loss of a classifier, with the one adapter that it may have.
static sg_tensor *graph_loss(sg_graph *g, sg_tensor *h, sg_tensor *classifier)
{
    const sg_adapters *all = g->adapters;
    for (size_t n = 0; all != NULL && n < all->use_count; n++) {
        if (g->leaves[all->uses[n].parameter] != classifier) continue;
        const sg_adapter *adapter = &all->items[all->uses[n].adapter];
        sg_tensor *u = sg_linear(g->tape, h, graph_leaf(g, adapter->a), NULL);
        return sg_cross_entropy_adapted(g->tape, h, classifier, g->targets, &g->stats, u,
                                        graph_leaf(g, adapter->b), adapter->scale);
    }
    return sg_cross_entropy(g->tape, h, classifier, g->targets, &g->stats);
}

// ---- one block --------------------------------------------------------------------------------

typedef struct block_recorder {
    sg_builder b;
    const sg_graph_options *options;
    const sg_rope_table *rope;
} block_recorder;

// Parameters NAME.weight and, where it is there, NAME.bias.
static sg_tensor *block_bias(const sg_builder *b, const char *name, bool there)
{
    char full[64];
    snprintf(full, sizeof full, "%s.bias", name);
    return there ? sg_build_param(b, full) : NULL;
}

static sg_tensor *block_weight(const sg_builder *b, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    return sg_build_param(b, full);
}

// What the norm divides by: nothing needs it but a point. Where somebody changes it, or asks for
// its gradient, the norm divides by this one.
static sg_tensor *block_norm_scale(const sg_builder *b, sg_tensor *x, const char *point)
{
    const sg_config *c = b->config;
    if (!sg_build_point_asked(b, point)) return NULL;
    sg_tensor *scale = sg_norm_scale(b->tape, x, sg_config_norm_shifts(c), c->rms_norm_eps);
    scale = sg_build_whole_point(b, scale, point);
    return sg_build_point_use(b, point) & (SG_POINT_WRITE | SG_POINT_GRADIENT) ? scale : NULL;
}

// point: "ln1", …
static sg_tensor *block_norm(const sg_builder *b, sg_tensor *x, const char *name, const char *point)
{
    const sg_config *c = b->config;
    const bool shifts = sg_config_norm_shifts(c);
    sg_tensor *w = block_weight(b, name), *bias = block_bias(b, name, shifts);
    char full[32];
    snprintf(full, sizeof full, "%s.hook_scale", point);
    sg_tensor *scale = block_norm_scale(b, x, full), *y;
    if (scale != NULL)
        y = sg_norm_divide(b->tape, x, scale, w, bias, shifts);
    else if (shifts)
        y = sg_layernorm(b->tape, x, w, bias, c->rms_norm_eps);
    else
        y = sg_rmsnorm(b->tape, x, w, c->rms_norm_eps);
    snprintf(full, sizeof full, "%s.hook_normalized", point);
    return sg_build_whole_point(b, y, full);
}

// The norm of queries or keys y (rows, heads*head_dim): of each head, or of all of them before they
// are split (OLMoE), and then the limit of its model.
static sg_tensor *block_qk_norm(const sg_builder *b, sg_tensor *y, const char *name)
{
    const sg_config *c = b->config;
    if (y == NULL || strcmp(c->qk_norm, "none") == 0) return y;
    sg_tensor *w = block_weight(b, name);
    if (strcmp(c->qk_norm, "full") == 0) return sg_rmsnorm(b->tape, y, w, c->rms_norm_eps);
    const int64_t rows = y->shape[0], width = y->shape[1], hd = c->head_dim;
    sg_tensor *heads = sg_reshape(b->tape, y, 2, (int64_t[]){rows * (width / hd), hd});
    sg_tensor *normed = sg_rmsnorm(b->tape, heads, w, c->rms_norm_eps);
    return sg_reshape(b->tape, normed, 2, (int64_t[]){rows, width});
}

static sg_tensor *block_clip(const sg_builder *b, sg_tensor *y)
{
    return b->config->clip_qkv > 0 ? sg_clamp(b->tape, y, b->config->clip_qkv) : y;
}

static sg_tensor *block_heads_point(const sg_builder *b, sg_tensor *y, const char *name)
{
    if (y == NULL) return NULL;
    const sg_point_place place = {.name = name, .runs = sg_columns(y) / b->config->head_dim};
    return sg_build_point(b, y, &place);
}

// Whether nobody sees what is between the norm of each head and the rotation.
static bool block_rotates_at_once(const sg_builder *b, const char *point)
{
    const sg_config *c = b->config;
    return sg_config_is_rotary(c) && strcmp(c->qk_norm, "head") == 0 && !(c->clip_qkv > 0) &&
           !sg_build_point_asked(b, point);
}

// Queries or keys, which is 'q' or 'k': projection, norm, rotation.
static sg_tensor *block_rotated(const block_recorder *r, sg_tensor *x, char which)
{
    const sg_config *c = r->b.config;
    const int64_t *start = r->options->caches ? r->options->start : NULL;
    char name[32], point[32];
    sg_tensor *y = sg_projection_build(&r->b, x, sg_projection_of_letter(which));
    snprintf(name, sizeof name, "self_attn.%c_norm", which);
    snprintf(point, sizeof point, "attn.hook_%c", which);
    if (block_rotates_at_once(&r->b, point)) {
        y = sg_norm_rope(r->b.tape, y, block_weight(&r->b, name), c->rms_norm_eps, r->rope,
                         r->options->length, start);
    } else {
        y = block_clip(&r->b, block_qk_norm(&r->b, y, name));
        y = block_heads_point(&r->b, y, point);
        if (!sg_config_is_rotary(c)) return y;
        y = sg_rope(r->b.tape, y, r->rope, c->head_dim, r->options->length, start);
    }
    snprintf(point, sizeof point, "attn.hook_rot_%c", which);
    return block_heads_point(&r->b, y, point);
}

typedef struct block_pattern {
    sg_tape *tape;
    sg_tensor *q, *k;
    sg_tensor *open; // an attention whose weights exist; or NULL
    const sg_attention_options *options;
    int64_t most; // keys
} block_pattern;

static void block_observe_pattern(void *user, const sg_observation *observation)
{
    const block_pattern *p = user;
    if (p->open != NULL)
        sg_observe_weights(p->tape, p->open, observation);
    else
        sg_observe_pattern(p->tape, p->q, p->k, p->options, p->most, observation);
}

// Attention, with the point of its weights: these exist where somebody changes them or asks for
// their gradients. Else they are seen behind it, when it has put the keys into a cache.
static sg_tensor *block_weighted(const sg_builder *b, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                                 const sg_attention_options *options)
{
    static const char name[] = "attn.hook_pattern";
    const int64_t most = b->config->max_position_embeddings;
    const bool open = sg_build_point_use(b, name) & (SG_POINT_WRITE | SG_POINT_GRADIENT);
    sg_tensor *y = open ? sg_attention_open(b->tape, q, k, v, options, most)
                        : sg_attention(b->tape, q, k, v, options);
    if (y == NULL) return NULL;
    // As many keys as each pass has.
    const int64_t shape[] = {sg_rows(q), options->heads, 0};
    sg_build_each_point(b, &(sg_point_place){.name = name}, SG_KIND_REAL, 3, shape,
                        block_observe_pattern,
                        &(block_pattern){b->tape, q, k, open ? y : NULL, options, most});
    return y;
}

static sg_tensor *block_attention(const block_recorder *r, sg_tensor *x)
{
    const sg_config *c = r->b.config;
    const sg_graph_options *o = r->options;
    const bool slides = c->sliding_window > 0 && sg_layers_have(c->sliding_layers, r->b.layer);
    x = sg_build_trimmed(&r->b, x, SG_TRIMMED_ATTENTION);
    sg_tensor *q = block_rotated(r, x, 'q'), *k = block_rotated(r, x, 'k');
    sg_tensor *v = sg_projection_build(&r->b, x, SG_PROJECTION_V);
    v = block_heads_point(&r->b, block_clip(&r->b, v), "attn.hook_v");
    const sg_attention_options options = {
        .length = o->length,
        .heads = c->num_attention_heads,
        .kv_heads = sg_config_kv_heads(c),
        .window = slides ? c->sliding_window : 0,
        .sinks = c->attention_sinks ? sg_build_param(&r->b, "self_attn.sinks") : NULL,
        .caches = o->caches ? &o->caches[r->b.layer * o->batch] : NULL,
        .start = o->caches ? o->start : NULL};
    sg_tensor *y = block_weighted(&r->b, q, k, v, &options);
    y = block_heads_point(&r->b, y, "attn.hook_z");
    y = sg_build_trimmed(&r->b, y, SG_TRIMMED_ATTENTION_OUT);
    y = sg_projection_build(&r->b, y, SG_PROJECTION_O);
    return sg_build_whole_point(&r->b, y, "hook_attn_out");
}

static sg_tensor *block_feed_forward(const sg_builder *b, sg_tensor *h)
{
    sg_tensor *x = block_norm(b, h, "post_attention_layernorm", "ln2");
    return sg_build_whole_point(b, sg_ffn_build(b, x), "hook_mlp_out");
}

static sg_tensor *block_record(const block_recorder *r, sg_tensor *h)
{
    const sg_builder *b = &r->b;
    h = sg_build_whole_point(b, h, "hook_resid_pre");
    sg_tensor *a = block_attention(r, block_norm(b, h, "input_layernorm", "ln1"));
    if (b->config->parallel_residual) {
        sg_tensor *f = block_feed_forward(b, h);
        h = sg_add(b->tape, sg_add(b->tape, h, a), f);
    } else {
        h = sg_build_whole_point(b, sg_add(b->tape, h, a), "hook_resid_mid");
        h = sg_add(b->tape, h, block_feed_forward(b, h));
    }
    return sg_build_whole_point(b, h, "hook_resid_post");
}

// ---- the whole --------------------------------------------------------------------------------

// The embeddings of the tokens, with their positions where these are learned.
static sg_tensor *graph_embedded(const sg_graph *g, const sg_builder *b, sg_tensor *embedding,
                                 const sg_graph_options *o)
{
    sg_tensor *h = sg_embedding(g->tape, embedding, g->ids);
    h = sg_build_whole_point(b, h, "hook_embed");
    if (sg_config_is_rotary(b->config)) return h;
    sg_tensor *p = sg_position_rows(g->tape, sg_build_param(b, "model.embed_positions.weight"),
                                    o->batch * o->length, o->length, g->pass.start,
                                    b->config->position_offset);
    return sg_add(g->tape, h, sg_build_whole_point(b, p, "hook_pos_embed"));
}

static void graph_observe_logits(void *user, const sg_observation *observation)
{
    const sg_graph *g = user;
    sg_observe_logits(g->tape, g->loss, observation);
}

// The loss, or logits.
static void graph_output(sg_graph *g, const sg_builder *b, sg_tensor *h, sg_tensor *embedding,
                         sg_output output)
{
    sg_tensor *classifier =
        b->config->untied_classifier ? sg_build_param(b, "lm_head.weight") : embedding;
    if (output != SG_OUTPUT_LOSS) {
        g->logits = sg_linear(g->tape, h, classifier, NULL);
        // A tied one is the embedding too, which no adapter changes.
        if (b->config->untied_classifier) g->logits = graph_adapt(g, h, classifier, g->logits);
        g->logits = sg_build_whole_point(b, g->logits, "logits");
        sg_tape_keep(g->tape, g->logits);
        return;
    }
    g->loss = graph_loss(g, h, classifier);
    sg_tape_add_loss(g->tape, g->loss, 1);
    if (g->loss == NULL) return;
    const sg_point_place place = {.name = "logits"};
    const int64_t shape[] = {sg_rows(h), sg_rows(classifier)};
    sg_build_each_point(b, &place, SG_KIND_REAL, 2, shape, graph_observe_logits, g);
}

static void graph_record(sg_graph *g, const sg_config *config, const sg_rope_table *rope,
                         const sg_graph_options *o)
{
    const int64_t rows = o->batch * o->length;
    sg_tape *tape = g->tape;
    sg_tensor *embedding = graph_parameter(g, "", "model.embed_tokens.weight");
    g->ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 1, &rows, NULL, NULL, false);
    if (o->output == SG_OUTPUT_LOSS)
        g->targets = sg_tape_leaf(tape, "targets", SG_KIND_INT, 1, &rows, NULL, NULL, false);
    g->pass = (sg_pass){.sequences = o->batch,
                        .length = o->length,
                        .start = o->caches ? o->start : NULL,
                        .tokens = g->ids,
                        .targets = g->targets};
    sg_point_recorder *points = o->points != NULL || o->list != NULL ? &g->points : NULL;
    const sg_builder outside = {.tape = tape,
                                .config = config,
                                .prefix = "",
                                .parameter = graph_parameter,
                                .user = g,
                                .layer = -1,
                                .points = points};
    sg_tensor *h = graph_embedded(g, &outside, embedding, o);
    for (int64_t l = 0; l < config->num_hidden_layers; l++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)l);
        block_recorder r = {.b = {.tape = tape,
                                  .config = config,
                                  .prefix = prefix,
                                  .parameter = graph_parameter,
                                  .adapt = graph_adapt,
                                  .user = g,
                                  .ids = g->ids,
                                  .layer = l,
                                  .mlp_point = "mlp.",
                                  .training = o->gradient && !o->frozen,
                                  .loss_share = g->loss_share,
                                  .sparsity = &o->sparsity,
                                  .counted = g->targets,
                                  .points = points},
                            .options = o,
                            .rope = rope};
        sg_tape_segment_begin(tape);
        h = block_record(&r, h);
        sg_tape_segment_end(tape);
    }
    if (o->output == SG_OUTPUT_LAST) h = sg_take_last(tape, h, o->length);
    h = block_norm(&outside, h, "model.norm", "ln_final");
    sg_tape_compute(tape, o->logits_compute, o->logits_compute);
    sg_tape_compute(tape, o->logits_compute, o->logits_compute);
    graph_output(g, &outside, h, embedding, o->output);
}

// A model opened with narrow weights has no others: all that is recorded must be able to read them.
static sg_status graph_check_narrow(const sg_graph *g, bool gradient, sg_error *err)
{
    for (size_t i = 0; g->values != NULL && i < g->n_leaves; i++) {
        const sg_tensor *leaf = g->leaves[i];
        if (leaf == NULL || g->values[i] != NULL) continue;
        if (leaf->narrow != NULL && sg_tape_reads_narrow(leaf, gradient)) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found narrow weights, which have no gradients, expected f32: open the "
                       "model in f32",
                       leaf->name);
    }
    return SG_OK;
}

// Sizes that no machine has are refused here, so that nothing behind this overflows.
static sg_status graph_check(const sg_config *c, const sg_graph_options *o, sg_error *err)
{
    const sg_ffn_count ffn = sg_ffn_total(c);
    int64_t rows = 0, selected = 0;
    if (o->batch < 1 || o->length < 1 || __builtin_mul_overflow(o->batch, o->length, &rows) ||
        __builtin_mul_overflow(rows, ffn.hits, &selected) || selected > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%lld sequences of %lld tokens at a time, each token selecting %lld, "
                       "expected at most %d selections: use smaller micro-batches",
                       (long long)o->batch, (long long)o->length, (long long)ffn.hits, INT32_MAX);
    const double layers = (double)c->num_hidden_layers;
    const double heads = (double)(c->num_attention_heads * c->head_dim);
    const double numbers = layers * ((double)c->hidden_size + heads) + (double)c->vocab_size +
                           ffn.numbers + (double)ffn.neurons + sg_projections_total(c).numbers;
    const double bytes = numbers * (double)rows * sizeof(sg_real);
    if (bytes < 0x1p52) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory: activations would take about %.0g bytes",
                   bytes);
}

// Room for what the recording notes of requests for points.
static sg_status graph_points_new(sg_graph *g, const sg_graph_options *o, sg_error *err)
{
    g->points = (sg_point_recorder){.asked = o->points,
                                    .pass = &g->pass,
                                    .gradient = o->gradient || o->lenient,
                                    .list = o->list};
    if (o->points == NULL) return SG_OK;
    g->points.found = sg_alloc_zero(o->points->count, sizeof *g->points.found);
    if (g->points.found != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model graph");
}

// That every request has found its point. A message names the nearest point, of all.
static sg_status graph_points_check(const sg_graph *g, const sg_config *config, sg_error *err)
{
    if (g->points.asked == NULL) return SG_OK;
    sg_point_list all = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < g->points.asked->count; i++)
        if (!g->points.found[i] && all.count == 0)
            status = sg_graph_points(config, g->params, &all, err);
    if (status == SG_OK) status = sg_point_check(&g->points, &all, err);
    sg_free(all.items);
    return status;
}

sg_status sg_graph_new(const sg_config *config, const sg_param_list *params, sg_real *const *values,
                       sg_real *const *grads, const sg_rope_table *rope,
                       const sg_graph_options *options, sg_graph **out, sg_error *err)
{
    *out = NULL;
    SG_TRY(graph_check(config, options, err));
    sg_graph *g = sg_alloc_zero(1, sizeof *g);
    sg_tensor **leaves = sg_alloc_zero(params->count, sizeof(sg_tensor *));
    if (g == NULL || leaves == NULL) {
        sg_free(g);
        sg_free(leaves);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a model graph");
    }
    g->leaves = leaves;
    g->n_leaves = params->count;
    g->params = params;
    g->values = values;
    g->grads = grads;
    g->row_grads = options->row_grads;
    g->narrow = options->narrow;
    g->screens = options->screens;
    g->columns = options->columns;
    g->adapters = options->adapters;
    g->plain = options->plain;
    g->frozen = options->frozen;
    g->loss_share = 1.0 / (double)(options->micro_batches ? options->micro_batches : 1);
    sg_status status = graph_points_new(g, options, err);
    if (status == SG_OK) status = sg_tape_new(&g->tape, err);
    if (status == SG_OK) {
        sg_tape_compute(g->tape, options->compute, options->logits_compute);
        sg_tape_set_memory_path(g->tape, options->memory_path);
        graph_record(g, config, rope, options);
        sg_tape_options tape_options = {.gradient = options->gradient,
                                        .recompute = options->recompute,
                                        .threads = options->threads,
                                        .allocator = options->allocator};
        status = sg_tape_finish(g->tape, &tape_options, err);
    }
    if (status == SG_OK) status = graph_points_check(g, config, err);
    if (status == SG_OK) status = graph_check_narrow(g, options->gradient, err);
    if (status == SG_OK && values != NULL && !options->lent)
        status = sg_tape_allocate(g->tape, err);
    if (status != SG_OK) {
        sg_graph_free(g);
        return status;
    }
    *out = g;
    return SG_OK;
}

void sg_graph_free(sg_graph *graph)
{
    if (graph == NULL) return;
    sg_tape_free(graph->tape);
    sg_free(graph->leaves);
    sg_free(graph->points.found);
    sg_free(graph);
}

double sg_graph_loss_mean(const sg_graph *graph, bool (*is)(const sg_node *node))
{
    double sum = 0;
    int count = 0;
    for (int i = 0; i < sg_tape_nodes(graph->tape); i++) {
        const sg_node *node = sg_tape_node_at(graph->tape, i);
        if (!is(node)) continue;
        sum += (double)sg_values(node->out[0])[0];
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

void sg_graph_weigh(sg_graph *graph, bool (*is)(const sg_node *node), double weight)
{
    int count = 0;
    for (int i = 0; i < sg_tape_nodes(graph->tape); i++)
        count += is(sg_tape_node_at(graph->tape, i));
    for (int i = 0; i < sg_tape_nodes(graph->tape); i++)
        if (is(sg_tape_node_at(graph->tape, i)))
            sg_tape_weigh_loss(graph->tape, i, weight * graph->loss_share / count);
}
