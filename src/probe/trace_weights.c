// The weights that a frozen pass used, in f32 as the model gives them: norms, attention, and of
// neurons the rows of the blocks that were selected, each once. Where they lie in the parameters
// is neuron_tables.h's; those of a dense layer are one block.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/trace_frozen.h"

// A whole parameter of `count` numbers; *to stays NULL where there is none and it need not be.
static sg_status weights_read(sg_frozen *f, const char *name, bool needed, int64_t count,
                              float **to, sg_error *err)
{
    size_t index;
    sg_tensor_info info;
    if (sg_model_tensor_find(f->model, name, &index, NULL) != SG_OK) {
        if (!needed) return SG_OK;
        return sg_fail(err, SG_ERR_INTERNAL, "trace: the model has no %s", name);
    }
    SG_TRY(sg_model_tensor_info(f->model, index, &info, err));
    if (info.rows * info.columns != count)
        return sg_fail(err, SG_ERR_INTERNAL, "%s: found %lld numbers, expected %lld", name,
                       (long long)(info.rows * info.columns), (long long)count);
    *to = sg_frozen_array(f, count, sizeof **to);
    if (*to == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", name);
    return sg_model_tensor_read(f->model, index, 0, info.rows, *to, err);
}

// The same of a parameter of a layer.
static sg_status weights_of(sg_frozen *f, int64_t layer, const char *name, bool needed,
                            int64_t count, float **to, sg_error *err)
{
    char full[SG_PARAM_NAME];
    snprintf(full, sizeof full, "model.layers.%lld.%s", (long long)layer, name);
    return weights_read(f, full, needed, count, to, err);
}

static sg_status weights_attention(sg_frozen *f, int64_t layer, sg_error *err)
{
    sg_frozen_layer *l = &f->layers[layer];
    const sg_config *c = f->config;
    const int64_t d = f->width, q = c->num_attention_heads * c->head_dim;
    const int64_t kv = sg_config_kv_heads(c) * c->head_dim;
    SG_TRY(weights_of(f, layer, "input_layernorm.weight", true, d, &l->norm1.weight, err));
    SG_TRY(weights_of(f, layer, "input_layernorm.bias", false, d, &l->norm1.shift, err));
    SG_TRY(weights_of(f, layer, "post_attention_layernorm.weight", true, d, &l->norm2.weight, err));
    SG_TRY(weights_of(f, layer, "post_attention_layernorm.bias", false, d, &l->norm2.shift, err));
    SG_TRY(weights_of(f, layer, "self_attn.v_proj.weight", true, kv * d, &l->w_v, err));
    SG_TRY(weights_of(f, layer, "self_attn.v_proj.bias", false, kv, &l->b_v, err));
    SG_TRY(weights_of(f, layer, "self_attn.o_proj.weight", true, d * q, &l->w_o, err));
    return weights_of(f, layer, "self_attn.o_proj.bias", false, d, &l->b_o, err);
}

// ---- neurons ------------------------------------------------------------------------------------

static int weights_compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

// Numbers the blocks that were selected.
static sg_status weights_blocks(sg_frozen *f, sg_frozen_layer *l, sg_error *err)
{
    const int64_t count = f->tokens * l->slots, per_channel = l->slots / l->channels;
    const int64_t of_pool = l->table.neurons / l->unit;
    int64_t *all = sg_alloc_array((size_t)count, sizeof *all);
    l->keys = sg_frozen_array(f, count, sizeof *l->keys);
    if (all == NULL || l->keys == NULL) {
        sg_free(all);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t channel = i % l->slots / per_channel;
        all[i] = (l->table.pools > 1 ? channel : 0) * of_pool + l->ids[i];
        l->keys[i] = all[i];
    }
    qsort(l->keys, (size_t)count, sizeof *l->keys, weights_compare);
    for (int64_t i = 0; i < count; i++)
        if (i == 0 || l->keys[i] != l->keys[l->blocks - 1]) l->keys[l->blocks++] = l->keys[i];
    for (int64_t i = 0; i < count; i++) {
        const int64_t *at =
            bsearch(&all[i], l->keys, (size_t)l->blocks, sizeof *all, weights_compare);
        l->block[i] = (int32_t)(at - l->keys);
    }
    l->rows = l->blocks * l->unit;
    sg_free(all);
    return SG_OK;
}

// Row j of a unit among its 2g rows of gates and linear parts.
static int64_t weights_half(const sg_frozen_layer *l, int64_t j, bool line)
{
    return l->table.in_pairs ? 2 * j + line : j + (line ? l->unit : 0);
}

// w_in of a block, and w_line where the table has both; `rows` is room for them.
static sg_status weights_in(sg_frozen *f, sg_frozen_layer *l, int64_t b, float *rows, sg_error *err)
{
    const int64_t d = f->width, g = l->unit, read = l->w_line != NULL ? 2 * g : g;
    SG_TRY(sg_model_tensor_read(f->model, l->table.in, l->keys[b] * read, read, rows, err));
    for (int64_t j = 0; j < g; j++) {
        const int64_t at = l->w_line != NULL ? weights_half(l, j, false) : j;
        memcpy(l->w_in + (b * g + j) * d, rows + at * d, (size_t)d * sizeof *rows);
        if (l->w_line == NULL) continue;
        memcpy(l->w_line + (b * g + j) * d, rows + weights_half(l, j, true) * d,
               (size_t)d * sizeof *rows);
    }
    return SG_OK;
}

static sg_status weights_out(sg_frozen *f, sg_frozen_layer *l, int64_t b, float *rows,
                             sg_error *err)
{
    const int64_t d = f->width, g = l->unit;
    if (!l->table.out_columns)
        return sg_model_tensor_read(f->model, l->table.out, l->keys[b] * g, g, l->w_out + b * g * d,
                                    err);
    SG_TRY(sg_model_tensor_read(f->model, l->table.out, l->keys[b] * d, d, rows, err));
    for (int64_t j = 0; j < g; j++)
        for (int64_t i = 0; i < d; i++)
            l->w_out[(b * g + j) * d + i] = rows[i * g + j];
    return SG_OK;
}

static sg_status weights_rows(sg_frozen *f, sg_frozen_layer *l, sg_error *err)
{
    const int64_t d = f->width;
    const bool reads = l->table.in != SG_NEURON_NO_TABLE;
    const bool pairs = reads && l->table.out_columns && l->table.in_rows == 2 * l->unit;
    float *rows = sg_alloc_array((size_t)(2 * l->unit * d), sizeof *rows);
    l->w_out = sg_frozen_array(f, l->rows * d, sizeof(float));
    if (reads) l->w_in = sg_frozen_array(f, l->rows * d, sizeof(float));
    if (pairs) l->w_line = sg_frozen_array(f, l->rows * d, sizeof(float));
    sg_status status = SG_OK;
    if (!rows || !l->w_out || (reads && !l->w_in) || (pairs && !l->w_line))
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for rows of neurons");
    for (int64_t b = 0; status == SG_OK && b < l->blocks; b++) {
        if (reads) status = weights_in(f, l, b, rows, err);
        if (status == SG_OK) status = weights_out(f, l, b, rows, err);
    }
    sg_free(rows);
    return status;
}

// The bias of a table, "NAME.weight", or nothing.
static sg_status weights_table_bias(sg_frozen *f, size_t table, int64_t columns, float **to,
                                    sg_error *err)
{
    char name[SG_PARAM_NAME];
    const sg_param_spec *spec = &f->model->params.specs[table];
    const size_t stem = strlen(spec->name) - strlen("weight");
    const int64_t count = spec->count / columns;
    snprintf(name, sizeof name, "%.*sbias", (int)stem, spec->name);
    return weights_read(f, name, false, count, to, err);
}

// Those of units alone: neurons in tables of rows have none.
static sg_status weights_biases(sg_frozen *f, sg_frozen_layer *l, sg_error *err)
{
    const int64_t g = l->unit, d = f->width, in = l->w_line != NULL ? 2 * g : g;
    float *all_in = NULL, *all_out = NULL;
    if (!l->table.out_columns) return SG_OK;
    SG_TRY(weights_table_bias(f, l->table.in, d, &all_in, err));
    SG_TRY(weights_table_bias(f, l->table.out, g, &all_out, err));
    l->b_in = all_in ? sg_frozen_array(f, l->rows, sizeof(float)) : NULL;
    l->b_line = all_in && l->w_line ? sg_frozen_array(f, l->rows, sizeof(float)) : NULL;
    l->b_out = all_out ? sg_frozen_array(f, l->blocks * d, sizeof(float)) : NULL;
    if ((all_in && !l->b_in) || (all_in && l->w_line && !l->b_line) || (all_out && !l->b_out))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for biases of neurons");
    for (int64_t b = 0; b < l->blocks; b++) {
        for (int64_t j = 0; all_in && j < g; j++) {
            const float *own = all_in + l->keys[b] * in;
            l->b_in[b * g + j] = own[l->w_line ? weights_half(l, j, false) : j];
            if (l->w_line) l->b_line[b * g + j] = own[weights_half(l, j, true)];
        }
        if (all_out)
            memcpy(l->b_out + b * d, all_out + l->keys[b] * d, (size_t)d * sizeof *all_out);
    }
    return SG_OK;
}

// ---- what else a layer has ----------------------------------------------------------------------

static sg_status weights_beside(sg_frozen *f, int64_t layer, sg_error *err)
{
    sg_frozen_beside *b = &f->layers[layer].beside;
    const int64_t d = f->width, W = sg_ffn_shared_width(&f->layers[layer].config);
    if (f->layers[layer].table.dense || W == 0) return SG_OK;
    b->width = W;
    SG_TRY(weights_of(f, layer, "mlp.shared_experts.gate_up_proj.weight", true, 2 * W * d, &b->up,
                      err));
    SG_TRY(weights_of(f, layer, "mlp.shared_experts.gate_up_proj.bias", false, 2 * W, &b->up_bias,
                      err));
    SG_TRY(weights_of(f, layer, "mlp.shared_experts.down_proj.weight", true, W * d, &b->down, err));
    SG_TRY(weights_of(f, layer, "mlp.shared_experts.down_proj.bias", false, d, &b->down_bias, err));
    return weights_of(f, layer, "mlp.shared_expert_gate.weight", false, d, &b->gate, err);
}

static sg_status weights_projections(sg_frozen *f, int64_t layer, sg_error *err)
{
    sg_frozen_layer *l = &f->layers[layer];
    const int64_t d = f->width;
    float *bias = NULL;
    if (l->table.summed) return SG_OK;
    SG_TRY(weights_of(f, layer, "mlp.gate_proj.weight", true, d * d, &l->proj_in, err));
    SG_TRY(weights_of(f, layer, "mlp.gate_proj.bias", true, d, &l->proj_bias, err));
    SG_TRY(weights_of(f, layer, "mlp.out_proj.weight", true, d * d, &l->proj_out, err));
    SG_TRY(weights_of(f, layer, "mlp.out_proj.bias", true, d, &bias, err));
    l->biases = sg_frozen_array(f, f->tokens * d, sizeof *l->biases);
    if (l->biases == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    for (int64_t i = 0; i < f->tokens * d; i++)
        l->biases[i] = bias[i % d];
    return SG_OK;
}

static sg_status weights_layer(sg_frozen *f, int64_t layer, sg_error *err)
{
    sg_frozen_layer *l = &f->layers[layer];
    sg_config dense;
    l->config = *sg_ffn_layer_config(f->config, layer, &dense);
    SG_TRY(weights_attention(f, layer, err));
    SG_TRY(sg_neuron_table_of(f->model, layer, &l->table, err));
    SG_TRY(weights_blocks(f, l, err));
    SG_TRY(weights_rows(f, l, err));
    SG_TRY(weights_biases(f, l, err));
    SG_TRY(weights_beside(f, layer, err));
    return weights_projections(f, layer, err);
}

sg_status sg_frozen_weights(sg_frozen *f, sg_error *err)
{
    SG_TRY(weights_read(f, "model.norm.weight", true, f->width, &f->last.weight, err));
    SG_TRY(weights_read(f, "model.norm.bias", false, f->width, &f->last.shift, err));
    for (int64_t l = 0; l < f->config->num_hidden_layers; l++)
        SG_TRY(weights_layer(f, l, err));
    return SG_OK;
}
