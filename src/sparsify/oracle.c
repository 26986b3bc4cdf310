// What a block does for a token, of activations a of its neurons j (block_targets.h):
//
//     positive    sum over j of max(0, a_j)                what MoEfication calls groundtruth
//     norm        | sum over j of (a_j - m_j) w_out_j |    m: means, which unread blocks give
//
// Weights of a layer are read from the model when its inputs come, so that one layer in f32 is in
// memory at a time.
#include "sparsify/oracle.h"

#include <string.h>

#include "base/alloc.h"
#include "ffn/ffn.h"
#include "sparsify/selectors.h"

// ---- a layer ------------------------------------------------------------------------------------

static sg_status oracle_layer(sg_oracle *o, int64_t layer, sg_error *err)
{
    const sg_memory_shape m = sg_ffn_memory_at(&o->model->config, layer);
    sg_partition_free(&o->blocks);
    SG_TRY(sg_partition_new(o->layer.neurons, m.block, &o->blocks, err));
    SG_TRY(sg_dense_layer_read_blocks(o->model, layer, m.block, &o->layer, err));
    if (o->means == NULL) return SG_OK;
    return sg_dense_layer_parameter(o->model, layer, "experts.mean.weight", o->means, err);
}

// Norms are of what is added to the output, so of activations less their means.
static sg_status oracle_values(void *user, int64_t first, int64_t count, const sg_real *a,
                               sg_error *err)
{
    sg_oracle *o = user;
    const int64_t n = o->layer.neurons;
    const sg_target_source source = {
        .partition = &o->blocks, .kind = o->kind, .w_out = o->layer.out, .d = o->layer.d};
    const sg_compute compute = o->model->context->compute;
    sg_real *to = o->values + first * o->blocks.blocks, *less = NULL;
    if (o->means == NULL || o->kind != SG_TARGET_NORM)
        return sg_block_targets(compute, &source, a, count, to, err);
    less = sg_alloc_array((size_t)(count * n), sizeof *less);
    if (less == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for activations");
    for (int64_t i = 0; i < count * n; i++)
        less[i] = a[i] - o->means[i % n];
    const sg_status status = sg_block_targets(compute, &source, less, count, to, err);
    sg_free(less);
    return status;
}

// ---- points -------------------------------------------------------------------------------------

static sg_status oracle_inputs(void *user, const sg_point_values *p, sg_error *err)
{
    sg_oracle *o = user;
    const size_t numbers = (size_t)(p->shape[0] * o->layer.d);
    if (!sg_grow((void **)&o->x, &o->x_room, numbers, sizeof *o->x))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for inputs of a layer");
    o->rows = p->shape[0];
    memcpy(o->x, p->values, numbers * sizeof *o->x);
    return SG_OK;
}

static sg_status oracle_select(sg_oracle *o, const sg_point_values *p, sg_error *err)
{
    const int64_t k = p->shape[2];
    const sg_selector selector = {.kind = SG_SELECT_TOP_K, .k = k};
    int32_t *counts = sg_alloc_array((size_t)o->rows, sizeof *counts);
    int32_t *ids = sg_alloc_array((size_t)(o->rows * k), sizeof *ids);
    sg_status status = counts != NULL && ids != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a selection");
    if (status == SG_OK)
        status = sg_select_blocks(o->model->context->compute, &selector, o->values, o->rows,
                                  o->blocks.blocks, counts, ids, err);
    for (int64_t row = 0; row < o->rows && status == SG_OK; row++) {
        const int64_t count = p->counts != NULL ? p->counts[row] : k;
        memcpy(p->ids + row * k, ids + row * k, (size_t)count * sizeof *ids);
    }
    sg_free(counts);
    sg_free(ids);
    return status;
}

static sg_status oracle_choose(void *user, const sg_point_values *p, sg_error *err)
{
    sg_oracle *o = user;
    if (o->rows != p->shape[0])
        return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found inputs of %lld rows, expected %lld",
                       (long long)p->layer, (long long)o->rows, (long long)p->shape[0]);
    SG_TRY(oracle_layer(o, p->layer, err));
    if (!sg_grow((void **)&o->values, &o->values_room, (size_t)(o->rows * o->blocks.blocks),
                 sizeof *o->values))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for values of blocks");
    SG_TRY(sg_dense_layer_activate(o->model->context->compute, &o->layer, o->x, o->rows,
                                   oracle_values, o, err));
    return oracle_select(o, p, err);
}

// ---- the whole ----------------------------------------------------------------------------------

sg_status sg_oracle_new(const sg_model *model, sg_block_target kind, sg_oracle *o, sg_error *err)
{
    const sg_config *c = &model->config;
    *o = (sg_oracle){.model = model, .kind = kind};
    if (c->ffn_share_pool)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "oracle: found layers that share their blocks (ffn_share_pool), expected "
                       "blocks of their own");
    SG_TRY(sg_dense_layer_new(c, &o->layer, err));
    o->requests[0] = (sg_point_request){.name = "blocks.*.ln2.hook_normalized",
                                        .use = SG_POINT_READ,
                                        .call = oracle_inputs,
                                        .user = o};
    o->requests[1] = (sg_point_request){.name = "blocks.*.mlp.hook_gate_ids",
                                        .use = SG_POINT_WRITE,
                                        .call = oracle_choose,
                                        .user = o};
    if (!c->ffn_mean) return SG_OK;
    o->means = sg_alloc_array((size_t)o->layer.neurons, sizeof *o->means);
    if (o->means != NULL) return SG_OK;
    sg_oracle_free(o);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for means");
}

void sg_oracle_free(sg_oracle *o)
{
    sg_dense_layer_free(&o->layer);
    sg_partition_free(&o->blocks);
    sg_free(o->means);
    sg_free(o->x);
    sg_free(o->values);
    *o = (sg_oracle){0};
}
