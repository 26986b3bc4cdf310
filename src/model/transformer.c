// The transformer, forward only and once: pre-norm blocks, per-head norms of queries and keys,
// rotary positions, causal attention, a feed-forward layer of any family, tied embedding (spec 5.2).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"

// ---- parameters as leaves ---------------------------------------------------------------------

static sg_tensor *graph_parameter(void *user, const char *prefix, const char *name)
{
    sg_graph *g = user;
    char full[SG_PARAM_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    // Parameters are asked for about in the order of the list: look from the last one on.
    for (size_t n = 0, i = g->cursor; n < g->params->count; n++, i = (i + 1) % g->params->count) {
        const sg_param_spec *spec = &g->params->specs[i];
        if (strcmp(spec->name, full) != 0) continue;
        g->cursor = i;
        if (g->leaves[i] != NULL) return g->leaves[i];
        sg_tensor *leaf =
            sg_tape_leaf(g->tape, spec->name, SG_KIND_REAL, spec->rank, spec->shape,
                         g->values ? g->values[i] : NULL, g->grads ? g->grads[i] : NULL, true);
        if (leaf != NULL && g->row_grads != NULL) leaf->row_grads = g->row_grads[i];
        if (leaf != NULL && g->narrow != NULL && g->narrow[i].type != SG_WEIGHTS_F32)
            leaf->narrow = &g->narrow[i];
        g->leaves[i] = leaf;
        return leaf;
    }
    return sg_tape_fail(g->tape, SG_ERR_INTERNAL, "%s: no such parameter", full);
}

// ---- one block --------------------------------------------------------------------------------

typedef struct block_recorder {
    sg_builder b;
    const sg_graph_options *options;
    const sg_rope_table *rope;
} block_recorder;

// Queries or keys: projection, norm of each head, rotation.
static sg_tensor *block_rotated(const block_recorder *r, sg_tensor *x, const char *projection,
                                const char *norm)
{
    const sg_config *c = r->b.config;
    sg_tape *tape = r->b.tape;
    sg_tensor *y = sg_linear(tape, x, sg_build_param(&r->b, projection), NULL);
    if (y == NULL) return NULL;
    int64_t rows = y->shape[0], width = y->shape[1];
    sg_tensor *heads =
        sg_reshape(tape, y, 2, (int64_t[]){rows * c->num_attention_heads, c->head_dim});
    sg_tensor *normed = sg_rmsnorm(tape, heads, sg_build_param(&r->b, norm), c->rms_norm_eps);
    return sg_rope(tape, sg_reshape(tape, normed, 2, (int64_t[]){rows, width}), r->rope,
                   c->head_dim, r->options->length, r->options->caches ? r->options->start : NULL);
}

static sg_tensor *block_attention(const block_recorder *r, sg_tensor *x)
{
    const sg_config *c = r->b.config;
    const sg_graph_options *o = r->options;
    sg_tape *tape = r->b.tape;
    sg_tensor *q = block_rotated(r, x, "self_attn.q_proj.weight", "self_attn.q_norm.weight");
    sg_tensor *k = block_rotated(r, x, "self_attn.k_proj.weight", "self_attn.k_norm.weight");
    sg_tensor *v = sg_linear(tape, x, sg_build_param(&r->b, "self_attn.v_proj.weight"), NULL);
    sg_attention_options attention = {.length = o->length, .heads = c->num_attention_heads};
    if (o->caches != NULL) {
        attention.caches = &o->caches[r->b.layer * o->batch];
        attention.start = o->start;
    }
    sg_tensor *y = sg_attention(tape, q, k, v, &attention);
    return sg_linear(tape, y, sg_build_param(&r->b, "self_attn.o_proj.weight"), NULL);
}

static sg_tensor *block_record(const block_recorder *r, sg_tensor *h)
{
    sg_tape *tape = r->b.tape;
    double eps = r->b.config->rms_norm_eps;
    sg_tensor *a = sg_rmsnorm(tape, h, sg_build_param(&r->b, "input_layernorm.weight"), eps);
    h = sg_add(tape, h, block_attention(r, a));
    sg_tensor *f =
        sg_rmsnorm(tape, h, sg_build_param(&r->b, "post_attention_layernorm.weight"), eps);
    return sg_add(tape, h, sg_ffn_build(&r->b, f));
}

// ---- the whole --------------------------------------------------------------------------------

static void graph_record(sg_graph *g, const sg_config *config, const sg_rope_table *rope,
                         const sg_graph_options *o)
{
    const int64_t rows = o->batch * o->length;
    sg_tape *tape = g->tape;
    sg_tensor *embedding = graph_parameter(g, "", "model.embed_tokens.weight");
    g->ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 1, &rows, NULL, NULL, false);
    if (o->output == SG_OUTPUT_LOSS)
        g->targets = sg_tape_leaf(tape, "targets", SG_KIND_INT, 1, &rows, NULL, NULL, false);
    sg_tensor *h = sg_embedding(tape, embedding, g->ids);
    for (int64_t l = 0; l < config->num_hidden_layers; l++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)l);
        block_recorder r = {
            .b = {.tape = tape,
                  .config = config,
                  .prefix = prefix,
                  .parameter = graph_parameter,
                  .user = g,
                  .ids = g->ids,
                  .layer = l,
                  .training = o->gradient,
                  .loss_share = 1.0 / (double)(o->micro_batches ? o->micro_batches : 1),
                  .counted = g->targets,
                  .counts = o->counts ? o->counts[l] : NULL},
            .options = o,
            .rope = rope};
        sg_tape_segment_begin(tape);
        h = block_record(&r, h);
        sg_tape_segment_end(tape);
    }
    if (o->output == SG_OUTPUT_LAST) h = sg_take_last(tape, h, o->length);
    h = sg_rmsnorm(tape, h, graph_parameter(g, "", "model.norm.weight"), config->rms_norm_eps);
    if (o->output == SG_OUTPUT_LOSS) {
        g->loss = sg_cross_entropy(tape, h, embedding, g->targets, &g->stats);
        sg_tape_add_loss(tape, g->loss, 1);
    } else {
        g->logits = sg_linear(tape, h, embedding, NULL);
        sg_tape_keep(tape, g->logits);
    }
}

// A model opened with narrow weights has no others: all that is recorded must be able to read them.
static sg_status graph_check_narrow(const sg_graph *g, bool gradient, sg_error *err)
{
    for (size_t i = 0; g->values != NULL && i < g->n_leaves; i++) {
        const sg_tensor *leaf = g->leaves[i];
        if (leaf == NULL || g->values[i] != NULL) continue;
        if (leaf->narrow != NULL && sg_tape_reads_narrow(g->tape, leaf, gradient)) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found narrow weights, which cannot be trained, expected f32: open the "
                       "model in f32",
                       leaf->name);
    }
    return SG_OK;
}

// Sizes that no machine has are refused here, so that nothing behind this overflows.
static sg_status graph_check(const sg_config *c, const sg_graph_options *o, sg_error *err)
{
    int64_t rows = 0, selected = 0;
    // Blocks of cells are selected cell by cell where they are small.
    const sg_memory_shape m = sg_ffn_memory(c);
    const int64_t cells = m.channels * m.selected * m.block;
    int64_t a_token = c->ffn_memory_factor > 0 ? cells : m.channels * m.selected;
    if (o->batch < 1 || o->length < 1 || __builtin_mul_overflow(o->batch, o->length, &rows) ||
        __builtin_mul_overflow(rows, a_token, &selected) || selected > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%lld sequences of %lld tokens at a time, each token selecting %lld, "
                       "expected at most %d selections: use smaller micro-batches",
                       (long long)o->batch, (long long)o->length, (long long)a_token, INT32_MAX);
    const double widths[] = {
        (double)c->hidden_size,
        (double)(c->num_attention_heads * c->head_dim),
        (double)c->vocab_size / (double)c->num_hidden_layers,
        2 * ((double)cells + (double)(c->ffn_shared_experts * c->ffn_intermediate_size)),
        2 * (double)c->ffn_dense_size,
        (double)sg_ffn_counts(c, sg_ffn_first_sparse(c)).neurons,
        (double)c->ffn_channels * (double)c->ffn_key_size};
    double bytes = 0;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        bytes += widths[i];
    bytes *= (double)rows * (double)c->num_hidden_layers * sizeof(sg_real);
    if (bytes < 0x1p52) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory: activations would take about %.0g bytes",
                   bytes);
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
    sg_status status = sg_tape_new(&g->tape, err);
    if (status == SG_OK) {
        graph_record(g, config, rope, options);
        sg_tape_options tape_options = {.gradient = options->gradient,
                                        .recompute = options->recompute,
                                        .threads = options->threads};
        status = sg_tape_finish(g->tape, &tape_options, err);
    }
    if (status == SG_OK) status = graph_check_narrow(g, options->gradient, err);
    if (status == SG_OK && values != NULL) status = sg_tape_allocate(g->tape, err);
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
