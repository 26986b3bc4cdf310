// One feed-forward layer alone on a tape: hidden states go in, the gradient of its output is given.
// Everything else of a model is left out, so that families can be held against each other.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "train/bench.h"

enum { layer_chunk = 1 << 14 };

static const char layer_prefix[] = "layer.";

typedef struct layer {
    const sg_bench_run *b;
    sg_param_list params;
    sg_param_block values;
    sg_gradients grads;
    sg_narrow_set tables; // read in place of values
    sg_tensor **leaves;   // by parameter
    sg_real *states;      // x, then dy and dx where a gradient is wanted
    size_t state_bytes;
    int32_t *ids; // of tokens, for routers that want them
    sg_tape *tape;
    double *seconds;
} layer;

// ---- the gradient of the output -----------------------------------------------------------------

// Stands where the rest of a model and its loss would be: in the backward pass it puts a given
// gradient (input 1) into that of the layer's output (input 0). Not counted as part of the layer.
static void given_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    sg_values(node->out[0])[0] = 0;
}

static void given_backward(const sg_run *run, const sg_node *node)
{
    bool add;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (grad != NULL)
        sg_grad_put(run->compute.kernels, grad, sg_values(node->in[1]), node->in[1]->count, add);
}

static const sg_op op_given = {
    .name = "given_gradient",
    .forward = given_forward,
    .backward = given_backward,
    .backward_reads_in = 2,
};

// ---- recording ----------------------------------------------------------------------------------

static sg_tensor *layer_parameter(void *user, const char *prefix, const char *name)
{
    layer *l = user;
    char full[SG_PARAM_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    for (size_t i = 0; i < l->params.count; i++) {
        const sg_param_spec *spec = &l->params.specs[i];
        if (strcmp(spec->name, full) != 0) continue;
        sg_real *grad = l->grads.parts ? l->grads.parts[i] : NULL;
        if (l->leaves[i] != NULL) return l->leaves[i];
        sg_tensor *leaf = sg_tape_leaf(l->tape, spec->name, SG_KIND_REAL, spec->rank, spec->shape,
                                       l->values.parts[i], grad, l->grads.parts != NULL);
        if (leaf != NULL) leaf->row_grads = sg_gradients_rows(&l->grads, i);
        if (leaf != NULL && sg_narrow_has(&l->tables, i)) leaf->narrow = &l->tables.items[i];
        l->leaves[i] = leaf;
        return leaf;
    }
    return sg_tape_fail(l->tape, SG_ERR_INTERNAL, "%s: no such parameter", full);
}

// points: what is looked at, or NULL.
static sg_status layer_record(layer *l, bool backward, sg_point_recorder *points, sg_error *err)
{
    const sg_config *config = &l->b->config;
    const int64_t shape[] = {l->b->tokens, config->hidden_size}, one = 1;
    const int64_t count = shape[0] * shape[1];
    SG_TRY(sg_tape_new(&l->tape, err));
    sg_tape_compute(l->tape, l->b->options->compute, l->b->options->logits_compute);
    sg_tape_set_memory_path(l->tape, l->b->options->memory_path);
    memset(l->leaves, 0, l->params.count * sizeof *l->leaves);
    sg_tensor *ids = sg_tape_leaf(l->tape, "ids", SG_KIND_INT, 1, shape, l->ids, NULL, false);
    sg_builder builder = {.tape = l->tape,
                          .config = config,
                          .prefix = layer_prefix,
                          .parameter = layer_parameter,
                          .user = l,
                          .ids = ids,
                          .layer = sg_ffn_first_sparse(config),
                          .training = backward,
                          .loss_share = 1,
                          .points = points};
    sg_tensor *x = sg_tape_leaf(l->tape, "x", SG_KIND_REAL, 2, shape, l->states,
                                backward ? l->states + 2 * count : NULL, backward);
    sg_tensor *y = sg_ffn_build(&builder, x);
    if (backward && y != NULL) {
        sg_tensor *dy =
            sg_tape_leaf(l->tape, "dy", SG_KIND_REAL, 2, shape, l->states + count, NULL, false);
        sg_node *node = sg_tape_node(l->tape, &op_given, 2, (sg_tensor *[]){y, dy});
        sg_tape_add_loss(l->tape, sg_node_output(l->tape, node, "given", SG_KIND_REAL, 1, &one), 1);
    } else {
        sg_tape_keep(l->tape, y);
    }
    sg_tape_options options = {.gradient = backward, .threads = l->b->context->threads};
    SG_TRY(sg_tape_finish(l->tape, &options, err));
    return sg_tape_allocate(l->tape, err);
}

// ---- inputs -------------------------------------------------------------------------------------

static void layer_normal(void *context, sg_range numbers)
{
    const layer *l = context;
    uint32_t stream = sg_rng_stream("bench.states");
    for (int64_t i = numbers.first; i < numbers.end; i++)
        l->states[i] = (sg_real)sg_rng_normal(l->b->options->seed, stream, (uint64_t)i);
}

static sg_status layer_open(layer *l, bool backward, sg_error *err)
{
    const sg_bench_run *b = l->b;
    size_t count = (size_t)(b->tokens * b->config.hidden_size);
    sg_ffn_params(&b->config, sg_ffn_first_sparse(&b->config), layer_prefix, &l->params);
    if (l->params.status != SG_OK)
        return sg_fail(err, l->params.status, "the parameters of a layer: %s",
                       sg_status_name(l->params.status));
    SG_TRY(sg_param_block_new(&l->params, "weights", NULL, NULL, &l->values, err));
    if (backward) SG_TRY(sg_gradients_new(&l->params, b->rows, b->tokens, NULL, &l->grads, err));
    l->state_bytes = (backward ? 3 : 1) * count * sizeof(sg_real);
    l->states = sg_alloc_big(l->state_bytes);
    l->leaves = sg_alloc_array(l->params.count, sizeof *l->leaves);
    l->ids = sg_alloc_array((size_t)b->tokens, sizeof *l->ids);
    if (l->states == NULL || l->leaves == NULL || l->ids == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a layer of %lld rows",
                       (long long)b->tokens);
    for (size_t i = 0; i < l->params.count; i++)
        sg_param_init(&l->params.specs[i], b->options->seed, b->context->compute.pool,
                      l->values.parts[i]);
    uint64_t words = (uint64_t)b->config.vocab_size;
    for (int64_t i = 0; i < b->tokens; i++)
        l->ids[i] =
            (int32_t)sg_rng_below(b->options->seed, sg_rng_stream("bench.ids"), (uint64_t)i, words);
    const int64_t filled = (backward ? 2 : 1) * (int64_t)count; // x, dy
    sg_parallel_ranges(b->context->compute.pool, filled, layer_chunk, layer_normal, l);
    return SG_OK;
}

// Copies of the tables that both passes can read, as a training run with this option has them.
static sg_status layer_tables(layer *l, sg_error *err)
{
    if (l->b->options->table_dtype == SG_WEIGHTS_F32) return SG_OK;
    bool *mask = sg_alloc_array(l->params.count, sizeof *mask);
    if (mask == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a layer");
    sg_status status = layer_record(l, false, NULL, err);
    for (size_t i = 0; status == SG_OK && i < l->params.count; i++)
        mask[i] = l->leaves[i] != NULL && sg_tape_reads_narrow(l->leaves[i], true);
    sg_tape_free(l->tape);
    l->tape = NULL;
    if (status == SG_OK)
        status = sg_narrow_set_new(&l->params, mask, NULL, l->b->options->table_dtype, NULL,
                                   &l->tables, err);
    if (status == SG_OK)
        sg_narrow_set_write(&l->tables, &l->params, l->values.parts, l->b->context->compute);
    sg_free(mask);
    return status;
}

static void layer_close(layer *l)
{
    sg_tape_free(l->tape);
    sg_narrow_set_free(&l->tables);
    sg_free(l->seconds);
    sg_free(l->leaves);
    sg_free(l->ids);
    sg_free_big(l->states, l->state_bytes);
    sg_gradients_free(&l->grads);
    sg_param_block_free(&l->values);
    sg_param_list_free(&l->params);
}

// ---- measuring ----------------------------------------------------------------------------------

static sg_run layer_run(const layer *l, double *seconds)
{
    return (sg_run){.compute = l->b->context->compute, .seconds = seconds};
}

// A pass of its own, on a tape that is watched: nobody watches the one that is timed.
static sg_status layer_use(layer *l, sg_block_total *use, sg_error *err)
{
    sg_block_use watch;
    bool found;
    sg_pass pass = {.sequences = l->b->tokens, .length = 1};
    SG_TRY(sg_block_use_new(&l->b->config, l->b->context->compute, true, &watch, err));
    sg_point_recorder points = {.asked = &watch.points, .found = &found, .pass = &pass};
    sg_status status = layer_record(l, false, &points, err);
    if (status == SG_OK) {
        sg_run run = layer_run(l, NULL);
        run.err = err;
        status = sg_tape_forward(l->tape, &run);
    }
    sg_block_use_pass(&watch, l->b->tokens);
    *use = sg_block_use_total(&watch);
    sg_tape_free(l->tape);
    l->tape = NULL;
    sg_block_use_free(&watch);
    return status;
}

// Seconds so far of what is not part of the layer.
static double layer_outside(const layer *l)
{
    double sum = 0;
    for (int i = 0; i < sg_tape_nodes(l->tape); i++)
        if (sg_tape_node_at(l->tape, i)->op == &op_given)
            sum += l->seconds[2 * i] + l->seconds[2 * i + 1];
    return sum;
}

static void layer_repeat(layer *l, bool backward, sg_bench_timer *timer)
{
    for (bool warm = false; !warm || sg_bench_more(l->b, timer); warm = true) {
        sg_run run = layer_run(l, warm ? l->seconds : NULL);
        double outside = layer_outside(l), start = sg_clock_seconds();
        sg_tape_forward(l->tape, &run);
        if (backward) sg_tape_backward(l->tape, &run);
        double seconds = sg_clock_seconds() - start - (layer_outside(l) - outside);
        if (warm) sg_bench_add(timer, seconds);
    }
}

static sg_status layer_measure(layer *l, bool backward, sg_error *err)
{
    const sg_bench_run *b = l->b;
    sg_bench_timer timer = {.kinds = sg_measure_kind(b->options->compute)};
    sg_block_total use;
    SG_TRY(layer_use(l, &use, err));
    SG_TRY(layer_record(l, backward, NULL, err));
    l->seconds = sg_alloc_zero((size_t)sg_tape_nodes(l->tape), 2 * sizeof *l->seconds);
    if (l->seconds == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a profile");
    layer_repeat(l, backward, &timer);
    sg_ffn_count count = sg_ffn_counts(&b->config, sg_ffn_first_sparse(&b->config));
    double flops = (double)b->tokens * (count.router_flops + count.memory_flops);
    sg_bench_bytes weights = sg_bench_weight_bytes(&l->params, &l->tables, use.idle);
    double states = (double)(b->tokens * b->config.hidden_size) * sizeof(sg_real);
    sg_bench_figure figure = {
        .name = backward ? "layer_forward_backward" : "layer_forward",
        .compute = b->options->compute,
        .logits_compute = b->options->compute, // there are none
        .dtype = l->tables.elements > 0 ? l->tables.type : SG_WEIGHTS_F32,
        .tokens = b->tokens,
        .flops_published = (backward ? 3 : 1) * flops,
        .flops = (backward ? 3 : 1) * flops,
        // Backward: weights and x once more and dy read, gradients of weights and x written.
        .bytes = backward ? 2 * weights.read + weights.gradients + 5 * states
                          : weights.read + 2 * states,
        .peak_bytes = (int64_t)(l->values.bytes + sg_gradients_bytes(&l->grads) + l->tables.bytes +
                                l->state_bytes + sg_tape_bytes(l->tape)),
        .reuse = use.reuse,
        .tape = l->tape,
        .seconds = l->seconds,
        .skip = op_given.name,
        .optimizer = -1,
    };
    return sg_bench_report(b, &figure, &timer, err);
}

sg_status sg_bench_layer(const sg_bench_run *b, bool backward, sg_error *err)
{
    layer l = {.b = b};
    sg_status status = layer_open(&l, backward, err);
    if (status == SG_OK) status = layer_tables(&l, err);
    if (status == SG_OK) status = layer_measure(&l, backward, err);
    layer_close(&l);
    return status;
}
