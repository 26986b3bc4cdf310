// Where the rows of neurons lie in the parameters of a layer, whatever its family:
//
//     neurons, cells, values   w_in, w_out (pools, N, d): rows; values may have no w_in
//     moefied                  w_in (1, D, d) or gate_up (E, 2F, d); w_out (1, D, d): rows
//     experts                  gate_up (E, 2F, d): rows, halves or pairs; down (E, d, F): columns
//     a dense layer            up (F, d) or gate_up (2F, d): rows; down (d, F): columns
#include "probe/neuron_tables.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

// A parameter of the layer, or of the memory that layers share; false: there is none.
static bool tables_find(const sg_neuron_table *t, const sg_config *c, const char *name,
                        size_t *index)
{
    char full[96];
    if (c->ffn_share_pool && !t->dense)
        snprintf(full, sizeof full, "model.shared_memory.%s.weight", name);
    else
        snprintf(full, sizeof full, "model.layers.%lld.mlp.%s.weight", (long long)t->layer, name);
    if (sg_model_tensor_find(t->model, full, index, NULL) == SG_OK) return true;
    *index = SG_NEURON_NO_TABLE;
    return false;
}

static sg_status tables_of_units(sg_neuron_table *t, const sg_config *c, sg_error *err)
{
    const char *up = t->dense ? "up_proj" : "experts.up_proj";
    const char *both = t->dense ? "gate_up_proj" : "experts.gate_up_proj";
    const char *down = t->dense ? "down_proj" : "experts.down_proj";
    t->out_columns = true;
    t->in_rows = t->block;
    if (!tables_find(t, c, up, &t->in) && tables_find(t, c, both, &t->in)) {
        t->in_rows = 2 * t->block;
        t->in_pairs = c->ffn_glu_interleaved != 0;
    }
    if (tables_find(t, c, down, &t->out)) return SG_OK;
    return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found no table %s", (long long)t->layer,
                   down);
}

sg_status sg_neuron_table_of(const sg_model *model, int64_t layer, sg_neuron_table *t,
                             sg_error *err)
{
    sg_config dense;
    if (layer < 0 || layer >= model->config.num_hidden_layers)
        return sg_fail(err, SG_ERR_ARGUMENT, "layer: found %lld, expected 0 to %lld",
                       (long long)layer, (long long)model->config.num_hidden_layers - 1);
    const sg_config *c = sg_ffn_layer_config(&model->config, layer, &dense);
    const sg_memory *memory = sg_ffn_memory_of(c);
    const sg_memory_shape m = sg_ffn_memory(c);
    *t = (sg_neuron_table){.model = model,
                           .layer = layer,
                           .width = c->hidden_size,
                           .channels = memory->dense ? 1 : m.channels,
                           .pools = memory->dense ? 1 : m.pools,
                           .neurons = m.cells,
                           .block = m.block,
                           .selected = memory->dense ? m.cells : m.selected * m.block,
                           .dense = memory->dense,
                           .summed = memory != &sg_memory_of_gated_values};
    if (memory->dense || memory == &sg_memory_of_experts) return tables_of_units(t, c, err);
    t->in_rows = t->block;
    if (!tables_find(t, c, "experts.w_in", &t->in) &&
        tables_find(t, c, "experts.gate_up_proj", &t->in))
        t->in_rows = 2 * t->block;
    if (tables_find(t, c, "experts.w_out", &t->out)) return SG_OK;
    return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found no table w_out", (long long)layer);
}

sg_status sg_neuron_check(const sg_neuron_table *t, const char *what, int64_t channel,
                          int64_t neuron, sg_error *err)
{
    if (channel < 0 || channel >= t->channels)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: channel: found %lld, expected 0 to %lld", what,
                       (long long)channel, (long long)t->channels - 1);
    if (neuron >= 0 && neuron < t->neurons) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: neuron: found %lld, expected 0 to %lld in layer %lld",
                   what, (long long)neuron, (long long)t->neurons - 1, (long long)t->layer);
}

int64_t sg_neuron_sub_keys(const sg_neuron_table *t)
{
    const sg_router *router = t->dense ? NULL : sg_ffn_router(&t->model->config);
    const int64_t blocks = t->neurons / t->block;
    for (int64_t n = 1; router != NULL && router->product && n * n <= blocks; n++)
        if (n * n == blocks) return n;
    return 0;
}

static int64_t tables_pool(const sg_neuron_table *t, int64_t channel)
{
    return t->pools > 1 ? channel : 0;
}

sg_status sg_neuron_in(const sg_neuron_table *t, int64_t channel, int64_t neuron, float *row,
                       sg_error *err)
{
    if (t->in == SG_NEURON_NO_TABLE)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "layer %lld: found neurons that have no w_in of their own",
                       (long long)t->layer);
    const int64_t block = neuron / t->block, at = neuron % t->block;
    const int64_t first = tables_pool(t, channel) * t->neurons / t->block * t->in_rows;
    return sg_model_tensor_read(
        t->model, t->in, first + block * t->in_rows + (t->in_pairs ? 2 * at : at), 1, row, err);
}

// A block of (d, block) of which w_out are the columns. *values (d, block): sg_free.
static sg_status tables_columns(const sg_neuron_table *t, int64_t block, float **values,
                                sg_error *err)
{
    *values = sg_alloc_array((size_t)(t->width * t->block), sizeof **values);
    if (*values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for rows of neurons");
    sg_status status =
        sg_model_tensor_read(t->model, t->out, block * t->width, t->width, *values, err);
    if (status != SG_OK) {
        sg_free(*values);
        *values = NULL;
    }
    return status;
}

sg_status sg_neuron_out(const sg_neuron_table *t, int64_t channel, int64_t neuron, float *row,
                        sg_error *err)
{
    float *values;
    if (!t->out_columns)
        return sg_model_tensor_read(t->model, t->out, tables_pool(t, channel) * t->neurons + neuron,
                                    1, row, err);
    SG_TRY(tables_columns(t, neuron / t->block, &values, err));
    for (int64_t i = 0; i < t->width; i++)
        row[i] = values[i * t->block + neuron % t->block];
    sg_free(values);
    return SG_OK;
}

static void tables_norms(float *norms, const float *values, int64_t count, int64_t width,
                         int64_t row_step, int64_t column_step)
{
    for (int64_t n = 0; n < count; n++) {
        double sum = 0;
        for (int64_t i = 0; i < width; i++) {
            const double v = values[n * row_step + i * column_step];
            sum += v * v;
        }
        norms[n] = (float)sqrt(sum);
    }
}

sg_status sg_neuron_out_norms(const sg_neuron_table *t, float *norms, sg_error *err)
{
    enum { piece = 256 };
    float *values;
    sg_status status = SG_OK;
    if (t->out_columns) {
        for (int64_t b = 0; b < t->neurons / t->block; b++) {
            SG_TRY(tables_columns(t, b, &values, err));
            tables_norms(norms + b * t->block, values, t->block, t->width, 1, t->block);
            sg_free(values);
        }
        return SG_OK;
    }
    values = sg_alloc_array((size_t)(piece * t->width), sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for rows of neurons");
    const int64_t rows = t->pools * t->neurons;
    for (int64_t r = 0; status == SG_OK && r < rows; r += piece) {
        const int64_t count = rows - r < piece ? rows - r : piece;
        status = sg_model_tensor_read(t->model, t->out, r, count, values, err);
        if (status == SG_OK) tables_norms(norms + r, values, count, t->width, t->width, 1);
    }
    sg_free(values);
    return status;
}
