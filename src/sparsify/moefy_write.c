// A layer that was split becomes the parameters of a layer of family moefied: tables as rows of
// neurons in the order of the split, shared experts, the router, biases.
#include <stdio.h>

#include "base/alloc.h"
#include "sparsify/moefy_layer.h"

// Where a parameter of the layer lies in the new model, whose weights are all f32 in memory; NULL
// where it has none of that name.
sg_real *sg_moefy_values(const sg_model *m, int64_t layer, const char *name)
{
    char full[96];
    size_t index;
    snprintf(full, sizeof full, "model.layers.%lld.mlp.%s", (long long)layer, name);
    return sg_model_tensor_find(m, full, &index, NULL) == SG_OK ? m->values[index] : NULL;
}

// Rows of n numbers of a table and, gated, of another, block by block, in the order of the split.
static void sparse_rows(const sg_partition *split, sg_real *to, const sg_real *first,
                        const sg_real *second, int64_t n)
{
    const sg_real *const from[] = {first, second};
    const int parts = second != NULL ? 2 : 1;
    for (int64_t b = 0; b < split->blocks; b++)
        for (int part = 0; part < parts; part++)
            for (int64_t j = 0; j < split->size; j++) {
                const int64_t neuron = split->order[b * split->size + j];
                memcpy(to + ((b * parts + part) * split->size + j) * n, from[part] + neuron * n,
                       (size_t)n * sizeof *to);
            }
}

static sg_status sparse_missing(int64_t layer, sg_error *err)
{
    return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found no tables", (long long)layer + 1);
}

static sg_status sparse_router(const sg_model *sparse, int64_t layer, const sg_router_net *net,
                               sg_error *err)
{
    const int64_t inputs = net->width > 0 ? net->width : net->d;
    sg_real *hidden = sg_moefy_values(sparse, layer, "router.hidden.weight");
    sg_real *weight = sg_moefy_values(sparse, layer, "router.weight");
    sg_real *bias = sg_moefy_values(sparse, layer, "router.bias");
    if (weight == NULL || (hidden == NULL) != (net->hidden == NULL) ||
        (bias == NULL) != (net->bias == NULL))
        return sparse_missing(layer, err);
    memcpy(weight, net->weight, (size_t)(net->rows * inputs) * sizeof *weight);
    if (hidden != NULL) memcpy(hidden, net->hidden, (size_t)(net->width * net->d) * sizeof *hidden);
    if (bias != NULL) memcpy(bias, net->bias, (size_t)net->rows * sizeof *bias);
    return SG_OK;
}

// The blocks that every token reads are one gated layer beside the others: rows of gates and linear
// parts, columns of w_out. Its own bias behind w_out stays 0.
static sg_status sparse_shared(const sg_model *sparse, int64_t layer, const sg_dense_layer *l,
                               const sg_partition *split, sg_error *err)
{
    const int64_t n = split->shared * split->size, d = l->d;
    const bool pairs = sparse->config.ffn_glu_interleaved != 0;
    sg_real *up = sg_moefy_values(sparse, layer, "shared_experts.gate_up_proj.weight");
    sg_real *up_bias = sg_moefy_values(sparse, layer, "shared_experts.gate_up_proj.bias");
    sg_real *down = sg_moefy_values(sparse, layer, "shared_experts.down_proj.weight");
    if (n == 0) return SG_OK;
    if (up == NULL || down == NULL || (up_bias == NULL) != (l->gate_bias == NULL))
        return sparse_missing(layer, err);
    for (int64_t j = 0; j < n; j++) {
        const int64_t neuron = split->order[j], gate = pairs ? 2 * j : j;
        const int64_t linear = pairs ? 2 * j + 1 : n + j;
        memcpy(up + gate * d, l->gate + neuron * d, (size_t)d * sizeof *up);
        memcpy(up + linear * d, l->linear + neuron * d, (size_t)d * sizeof *up);
        if (up_bias != NULL) up_bias[gate] = l->gate_bias[neuron];
        if (up_bias != NULL) up_bias[linear] = l->linear_bias[neuron];
        for (int64_t i = 0; i < d; i++)
            down[i * n + j] = l->out[neuron * d + i];
    }
    return SG_OK;
}

// The bias behind w_out, with what blocks give that are not read: means of those that may not be.
static sg_status sparse_bias(const sg_model *dense, const sg_model *sparse, int64_t layer,
                             const sg_dense_layer *l, const sg_moefy_layer *made, sg_error *err)
{
    const sg_partition routed = sg_moefy_routed(&made->split);
    sg_real *bias = sg_moefy_values(sparse, layer, "experts.w_out.bias");
    sg_real *mean = sg_moefy_values(sparse, layer, "experts.mean.weight");
    if (bias == NULL) return SG_OK;
    const bool biased = dense->config.ffn_bias != 0;
    if (biased) SG_TRY(sg_dense_layer_parameter(dense, layer, "down_proj.bias", bias, err));
    if (mean == NULL) return SG_OK;
    sg_real *means = sg_alloc_zero((size_t)l->neurons, sizeof *means);
    if (means == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for means");
    for (int64_t i = 0; i < routed.blocks * routed.size; i++)
        means[routed.order[i]] = mean[i] = made->means[routed.order[i]];
    sg_fold_means(means, l->out, l->neurons, l->d, biased ? bias : NULL, bias);
    sg_free(means);
    return SG_OK;
}

sg_status sg_moefy_write(const sg_model *dense, const sg_model *sparse, int64_t layer,
                         const sg_dense_layer *l, const sg_moefy_layer *made, sg_error *err)
{
    const sg_partition routed = sg_moefy_routed(&made->split);
    const bool biased = l->gate_bias != NULL;
    sg_real *up = sg_moefy_values(sparse, layer,
                                  l->gated ? "experts.gate_up_proj.weight" : "experts.w_in.weight");
    sg_real *out = sg_moefy_values(sparse, layer, "experts.w_out.weight");
    sg_real *up_bias = sg_moefy_values(
        sparse, layer, l->gated ? "experts.gate_up_proj.bias" : "experts.w_in.bias");
    if (up == NULL || out == NULL || (biased && up_bias == NULL)) return sparse_missing(layer, err);
    sparse_rows(&routed, up, l->gate, l->linear, l->d);
    if (biased) sparse_rows(&routed, up_bias, l->gate_bias, l->linear_bias, 1);
    sparse_rows(&routed, out, l->out, NULL, l->d);
    SG_TRY(sparse_shared(sparse, layer, l, &made->split, err));
    SG_TRY(sparse_router(sparse, layer, &made->net, err));
    return sparse_bias(dense, sparse, layer, l, made, err);
}
