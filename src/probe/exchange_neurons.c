// Gates of single neurons in a run (exchange.h). A memory is a sum over its neurons, so the gate of
// one is changed by adding the difference to what the layer adds:
//
//     y += (z(a, s') - z(a, s)) w_out,   a = w_in . x
//
// x (d) being what the layer reads in that run, s and s' the scores that the neuron has there and
// is to have, behind the normaliser, z what multiplies w_out (ffn/gates.h), 0 where it is not
// selected.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/gates.h"
#include "probe/exchange_inside.h"

static sg_status neurons_table(sg_exchange *x, int64_t layer, sg_error *err)
{
    SG_TRY(sg_neuron_table_of(x->model, layer, &x->tables[layer], err));
    if (x->tables[layer].dense) return SG_OK; // hook_post itself is exchanged
    const sg_memory *memory = sg_ffn_memory_of(&x->model->config);
    const bool gates = !memory->gated && memory != &sg_memory_of_moefied;
    if (x->tables[layer].summed && gates) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "neurons: found a model of family %s, whose neurons have no gates of their own; "
                   "exchange gates of layers or channels",
                   x->model->config.ffn);
}

sg_status sg_exchange_neurons_open(sg_exchange *x, sg_error *err)
{
    const sg_config *c = &x->model->config;
    int64_t hits = 0;
    x->tables = sg_alloc_zero((size_t)c->num_hidden_layers, sizeof *x->tables);
    if (x->tables == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for changes of neurons");
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        SG_TRY(neurons_table(x, l, err));
        if (x->gates[l].ids >= 0) hits = x->gates[l].channels * x->gates[l].selected;
    }
    const size_t rows = (size_t)(x->batch * x->longest), d = (size_t)c->hidden_size;
    x->now = (sg_exchange_now){.input = sg_alloc_array(rows * d, sizeof(float)),
                               .ids = sg_alloc_array(rows * (size_t)hits, sizeof(int32_t)),
                               .scores = sg_alloc_array(rows * (size_t)hits, sizeof(float)),
                               .rows = sg_alloc_array(2 * d, sizeof(float))};
    if (x->now.input && x->now.ids && x->now.scores && x->now.rows) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for changes of neurons");
}

void sg_exchange_neurons_note(sg_exchange *x, const sg_exchange_request *request,
                              const sg_point_values *v)
{
    const size_t rows = (size_t)v->shape[0], d = (size_t)x->model->config.hidden_size;
    if (request->role == SG_EXCHANGE_INPUT)
        memcpy(x->now.input, v->values, rows * d * sizeof(float));
    if (request->role != SG_EXCHANGE_KEPT || v->layer < 0) return;
    const sg_exchange_gates_of *g = &x->gates[v->layer];
    const size_t bytes = rows * (size_t)(g->channels * g->selected) * sizeof(float);
    if ((int64_t)request->point == g->ids) memcpy(x->now.ids, v->ids, bytes);
    if ((int64_t)request->point == g->scores) memcpy(x->now.scores, v->values, bytes);
}

float sg_exchange_score(const sg_exchange *x, const float *scores, int64_t k, int64_t slot)
{
    const char *by = x->model->config.ffn_normaliser;
    const sg_kernels *kernels = x->model->context->compute.kernels;
    if (scores == NULL) return 1;
    if (strcmp(by, "softmax") == 0) {
        double sum = 0;
        for (int64_t i = 0; i < k; i++)
            sum += exp((double)scores[i] - (double)scores[slot]);
        return (float)(1 / sum);
    }
    sg_real score = scores[slot];
    if (strcmp(by, "sigmoid") == 0) kernels->act_forward(&score, &score, SG_ACT_SIGMOID, 1);
    if (strcmp(by, "relu") == 0) kernels->act_forward(&score, &score, SG_ACT_RELU, 1);
    if (strcmp(by, "gelu") == 0) kernels->act_forward(&score, &score, SG_ACT_GELU, 1);
    return (float)score;
}

// What a change adds to z of a neuron that has that score now, or is not selected.
static float neurons_difference(const sg_exchange *x, const sg_neuron_change *c, bool selected,
                                float score, float a)
{
    const sg_config *config = &x->model->config;
    const sg_kernels *kernels = x->model->context->compute.kernels;
    const sg_gate gate = sg_ffn_gate(config);
    const sg_real scores[2] = {c->score, score}, dots[2] = {a, a};
    sg_real z[2];
    sg_gate_forward(kernels, sg_ffn_activation(config), gate, z, dots, scores, 2);
    return (c->selected ? (float)z[0] : 0) - (selected ? (float)z[1] : 0);
}

static sg_status neurons_apply(const sg_exchange *x, const sg_neuron_change *c, int64_t row,
                               float *y, sg_error *err)
{
    const sg_neuron_table *table = &x->tables[c->of.layer];
    const sg_exchange_gates_of *g = &x->gates[c->of.layer];
    const int64_t d = table->width, at = (row * g->channels + c->of.channel) * g->selected;
    float *w = x->now.rows;
    int64_t slot = 0;
    while (slot < g->selected && x->now.ids[at + slot] != c->of.neuron / g->block)
        slot++;
    const bool selected = slot < g->selected;
    const float *scores = g->scores >= 0 ? x->now.scores + at : NULL;
    const float score = selected ? sg_exchange_score(x, scores, g->selected, slot) : 0;
    if (selected == c->selected && score == c->score) return SG_OK;
    double a = 0;
    if (table->in != SG_NEURON_NO_TABLE) {
        SG_TRY(sg_neuron_in(table, c->of.channel, c->of.neuron, w, err));
        for (int64_t i = 0; i < d; i++)
            a += (double)w[i] * (double)x->now.input[row * d + i];
    }
    SG_TRY(sg_neuron_out(table, c->of.channel, c->of.neuron, w + d, err));
    const float difference = neurons_difference(x, c, selected, score, (float)a);
    for (int64_t i = 0; i < d; i++)
        y[i] += difference * w[d + i];
    return SG_OK;
}

sg_status sg_exchange_neurons_add(sg_exchange *x, int64_t layer, float *out, sg_error *err)
{
    const int64_t d = x->model->config.hidden_size;
    for (int64_t b = 0; b < x->batch; b++) {
        const sg_changes *changes = x->slots[b].change;
        for (size_t i = 0; changes != NULL && i < changes->neuron_count; i++) {
            const sg_neuron_change *c = &changes->neurons[i];
            if (c->of.layer != layer || c->position < x->first || c->position >= x->first + x->span)
                continue;
            const int64_t row = b * x->span + c->position - x->first;
            SG_TRY(neurons_apply(x, c, row, out + row * d, err));
        }
    }
    return SG_OK;
}
