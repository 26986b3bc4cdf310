// Routers are recorded on a tape, for scores as for training, so that there is one text of each
// form.
#include "sparsify/router_net.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"

enum { router_tokens = 256 };

void sg_router_net_free(sg_router_net *net)
{
    sg_free(net->hidden);
    sg_free(net->weight);
    sg_free(net->bias);
    *net = (sg_router_net){0};
}

static sg_status router_net_new(sg_router_net shape, bool biased, sg_router_net *net, sg_error *err)
{
    const int64_t inputs = shape.width > 0 ? shape.width : shape.d;
    *net = shape;
    if (shape.d < 1 || shape.width < 0 || shape.blocks < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found width %lld, hidden width %lld and %lld blocks, expected 1 or "
                       "more",
                       (long long)shape.d, (long long)shape.width, (long long)shape.blocks);
    if (shape.width > 0)
        net->hidden = sg_alloc_zero((size_t)shape.width, (size_t)shape.d * sizeof *net->hidden);
    net->weight = sg_alloc_zero((size_t)shape.rows, (size_t)inputs * sizeof *net->weight);
    if (biased) net->bias = sg_alloc_zero((size_t)shape.rows, sizeof *net->bias);
    if (net->weight != NULL && (net->hidden != NULL) == (shape.width > 0) &&
        (net->bias != NULL) == biased)
        return SG_OK;
    sg_router_net_free(net);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a router of %lld blocks",
                   (long long)shape.blocks);
}

// ---- without training ---------------------------------------------------------------------------

// Adds x / |x| to a sum; the length is above 0 and finite, or an error names the neuron.
static sg_status router_add_unit(double *sum, const sg_real *x, int64_t d, int64_t neuron,
                                 sg_error *err)
{
    double square = 0;
    for (int64_t i = 0; i < d; i++)
        square += (double)x[i] * (double)x[i];
    if (!isfinite(square) || square == 0)
        return sg_fail(err, SG_ERR_NUMERIC,
                       "router: vector of neuron %lld: found a length of %g, expected one above 0 "
                       "that is finite",
                       (long long)neuron, sqrt(square));
    const double by = 1 / sqrt(square);
    for (int64_t i = 0; i < d; i++)
        sum[i] += (double)x[i] * by;
    return SG_OK;
}

// Means of the unit vectors of the first `count` neurons of each block.
static sg_status router_centres(const sg_partition *p, int64_t count, const sg_real *vectors,
                                int64_t d, sg_real *centres, sg_error *err)
{
    double *sum = sg_alloc_array((size_t)d, sizeof *sum);
    sg_status status =
        sum != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for centres");
    for (int64_t e = 0; e < p->blocks && status == SG_OK; e++) {
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int64_t i = 0; i < count && status == SG_OK; i++) {
            const int64_t j = p->order[e * p->size + i];
            status = router_add_unit(sum, vectors + j * d, d, j, err);
        }
        for (int64_t i = 0; i < d; i++)
            centres[e * d + i] = (sg_real)(sum[i] / (double)count);
    }
    sg_free(sum);
    return status;
}

sg_status sg_block_centres(const sg_partition *partition, const sg_real *vectors, int64_t d,
                           sg_real *centres, sg_error *err)
{
    return router_centres(partition, partition->size, vectors, d, centres, err);
}

sg_status sg_router_of_centres(const sg_partition *p, const sg_real *vectors, int64_t d,
                               bool control, sg_router_net *net, sg_error *err)
{
    const sg_router_net shape = {
        .form = SG_ROUTER_CENTROID, .d = d, .blocks = p->blocks, .rows = p->blocks};
    SG_TRY(router_net_new(shape, true, net, err));
    sg_status status = router_centres(p, control ? 1 : p->size, vectors, d, net->weight, err);
    for (int64_t e = 0; e < p->blocks; e++) {
        double square = 0;
        for (int64_t i = 0; i < d; i++)
            square += (double)net->weight[e * d + i] * (double)net->weight[e * d + i];
        net->bias[e] = (sg_real)(-square / 2);
    }
    if (status != SG_OK) sg_router_net_free(net);
    return status;
}

sg_status sg_router_of_neurons(const int32_t *chosen, int64_t blocks, const sg_neuron_rows *of,
                               sg_router_net *net, sg_error *err)
{
    const int64_t d = of->d;
    const sg_router_net shape = {.form = SG_ROUTER_REPRESENTATIVE,
                                 .d = d,
                                 .blocks = blocks,
                                 .rows = of->up != NULL ? 2 * blocks : blocks,
                                 .activation = of->activation,
                                 .glu = {.kind = of->glu}};
    SG_TRY(router_net_new(shape, of->bias != NULL, net, err));
    const size_t bytes = (size_t)d * sizeof *net->weight;
    for (int64_t e = 0; e < blocks; e++) {
        const int64_t j = chosen[e];
        memcpy(net->weight + e * d, of->gate + j * d, bytes);
        if (of->bias != NULL) net->bias[e] = of->bias[j];
        if (of->up == NULL) continue;
        memcpy(net->weight + (blocks + e) * d, of->up + j * d, bytes);
        if (of->bias != NULL) net->bias[blocks + e] = of->bias[of->neurons + j];
    }
    return SG_OK;
}

// ---- to be trained ------------------------------------------------------------------------------

sg_status sg_router_mlp_start(const sg_partition *p, const sg_real *vectors, int64_t d,
                              sg_router_net *net, sg_error *err)
{
    const sg_router_net shape = {
        .form = SG_ROUTER_MLP, .d = d, .width = p->blocks, .blocks = p->blocks, .rows = p->blocks};
    SG_TRY(router_net_new(shape, false, net, err));
    sg_status status = sg_block_centres(p, vectors, d, net->hidden, err);
    for (int64_t e = 0; e < p->blocks; e++)
        net->weight[e * p->blocks + e] = 1;
    if (status != SG_OK) sg_router_net_free(net);
    return status;
}

static void router_draw(sg_real *values, int64_t count, int64_t inputs, uint64_t seed,
                        const char *name)
{
    const uint32_t stream = sg_rng_stream(name);
    const double most = 1 / sqrt((double)inputs);
    for (int64_t i = 0; i < count; i++)
        values[i] = (sg_real)(most * (2 * sg_rng_uniform(seed, stream, (uint64_t)i) - 1));
}

sg_status sg_router_random_start(sg_router_form form, int64_t d, int64_t width, int64_t blocks,
                                 uint64_t seed, sg_router_net *net, sg_error *err)
{
    const bool hidden = form == SG_ROUTER_MLP || form == SG_ROUTER_NORM;
    *net = (sg_router_net){0};
    if ((!hidden && form != SG_ROUTER_SIGMOID) || hidden != (width > 0))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found form %d with a hidden width of %lld, expected mlp or norm "
                       "with one above 0, or sigmoid with 0",
                       (int)form, (long long)width);
    const sg_router_net shape = {
        .form = form, .d = d, .width = width, .blocks = blocks, .rows = blocks};
    SG_TRY(router_net_new(shape, false, net, err));
    const int64_t inputs = hidden ? width : d;
    if (hidden) router_draw(net->hidden, width * d, d, seed, "router.hidden");
    router_draw(net->weight, blocks * inputs, inputs, seed, "router.weight");
    return SG_OK;
}

// ---- scores -------------------------------------------------------------------------------------

void sg_router_leaves(sg_tape *tape, const sg_router_net *net, sg_real *const grads[3],
                      sg_tensor *weights[3])
{
    const int64_t inputs = net->width > 0 ? net->width : net->d;
    const int64_t hidden[] = {net->width, net->d}, weight[] = {net->rows, inputs};
    weights[0] = weights[2] = NULL;
    if (net->hidden != NULL)
        weights[0] = sg_tape_leaf(tape, "hidden", SG_KIND_REAL, 2, hidden, net->hidden,
                                  grads ? grads[0] : NULL, grads != NULL);
    weights[1] = sg_tape_leaf(tape, "weight", SG_KIND_REAL, 2, weight, net->weight,
                              grads ? grads[1] : NULL, grads != NULL);
    if (net->bias != NULL)
        weights[2] = sg_tape_leaf(tape, "bias", SG_KIND_REAL, 1, &net->rows, net->bias,
                                  grads ? grads[2] : NULL, grads != NULL);
}

sg_tensor *sg_router_record(sg_tape *tape, const sg_router_net *net, sg_tensor *const weights[3],
                            sg_tensor *x, bool logits)
{
    const bool norm = net->form == SG_ROUTER_NORM;
    if (net->form == SG_ROUTER_CENTROID || net->form == SG_ROUTER_MLP) x = sg_unit_rows(tape, x);
    if (net->width > 0)
        x = sg_activate(tape, sg_linear(tape, x, weights[0], NULL),
                        norm ? SG_ACT_RELU : SG_ACT_TANH);
    sg_tensor *y = sg_linear(tape, x, weights[1], weights[2]);
    if (net->form == SG_ROUTER_REPRESENTATIVE)
        return net->rows > net->blocks ? sg_glu(tape, y, &net->glu)
                                       : sg_activate(tape, y, net->activation);
    if (logits || net->form == SG_ROUTER_CENTROID) return y;
    return sg_activate(tape, y, norm ? SG_ACT_ABS : SG_ACT_SIGMOID);
}

static sg_status router_score_rows(sg_compute compute, sg_tape *tape, const sg_router_net *net,
                                   const sg_real *x, int64_t tokens, sg_real *scores, sg_error *err)
{
    const int64_t rows = sg_min(router_tokens, tokens), E = net->blocks;
    sg_tensor *weights[3];
    sg_router_leaves(tape, net, NULL, weights);
    sg_tensor *in =
        sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){rows, net->d}, NULL, NULL, false);
    sg_tensor *out = sg_router_record(tape, net, weights, in, false);
    sg_tape_keep(tape, out);
    const sg_tape_options options = {.threads = sg_pool_threads(compute.pool),
                                     .allocator = compute.allocator};
    SG_TRY(sg_tape_finish(tape, &options, err));
    SG_TRY(sg_tape_allocate(tape, err));
    sg_run run = {.compute = compute, .err = err};
    for (int64_t t = 0; t < tokens; t += rows) { // the last ones are a whole run too
        const int64_t first = sg_min(t, tokens - rows);
        in->data = (void *)(uintptr_t)(x + first * net->d);
        SG_TRY(sg_tape_forward(tape, &run));
        memcpy(scores + first * E, sg_values(out), (size_t)(rows * E) * sizeof *scores);
    }
    return SG_OK;
}

sg_status sg_router_scores(sg_compute compute, const sg_router_net *net, const sg_real *x,
                           int64_t tokens, sg_real *scores, sg_error *err)
{
    sg_tape *tape = NULL;
    for (int64_t i = 0; i < tokens * net->d; i++)
        if (!isfinite(x[i]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "router: token %lld, number %lld: found %g, expected a finite number",
                           (long long)(i / net->d), (long long)(i % net->d), (double)x[i]);
    if (tokens < 1) return SG_OK;
    SG_TRY(sg_tape_new(&tape, err));
    const sg_status status = router_score_rows(compute, tape, net, x, tokens, scores, err);
    sg_tape_free(tape);
    return status;
}

double sg_router_flops(const sg_router_net *net)
{
    const double inputs = (double)(net->width > 0 ? net->width : net->d);
    return 2 * ((double)net->width * (double)net->d + (double)net->rows * inputs);
}

double sg_router_share(const sg_router_net *net, int64_t neurons, bool gated)
{
    return sg_router_flops(net) / (2 * (double)neurons * (double)net->d * (gated ? 3 : 2));
}
