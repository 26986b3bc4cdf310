// Matrices are read as the model has them and become rows of neurons. Activations come from a tape
// of a fixed number of rows, so that one recording does for all tokens; the last rows are filled up
// with zeros and not passed on.
#include "sparsify/dense_layer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/gated.h"

enum { activate_rows = 256 };

void sg_dense_layer_free(sg_dense_layer *l)
{
    sg_free(l->gate);
    sg_free(l->gate_bias);
    sg_free(l->out);
    sg_free(l->room);
    *l = (sg_dense_layer){0};
}

sg_status sg_dense_layer_new(const sg_config *c, sg_dense_layer *l, sg_error *err)
{
    const int64_t n = c->ffn_intermediate_size, d = c->hidden_size;
    const bool gated = sg_ffn_is_gated(c);
    const size_t matrix = (size_t)(n * d), parts = gated ? 2 : 1;
    *l = (sg_dense_layer){.neurons = n, .d = d, .gated = gated};
    l->form = sg_glu_form_of(c);
    l->form.interleaved = false;
    if (!gated) l->activation = sg_ffn_activation(c);
    l->gate = sg_alloc_array(parts * matrix, sizeof *l->gate);
    l->out = sg_alloc_array(matrix, sizeof *l->out);
    l->room = sg_alloc_array(2 * matrix, sizeof *l->room);
    if (c->ffn_bias) l->gate_bias = sg_alloc_array(parts * (size_t)n, sizeof *l->gate_bias);
    if (l->gate == NULL || l->out == NULL || l->room == NULL ||
        (l->gate_bias == NULL) == (c->ffn_bias != 0)) {
        sg_dense_layer_free(l);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a feed-forward layer");
    }
    if (gated) l->linear = l->gate + matrix;
    if (gated && c->ffn_bias) l->linear_bias = l->gate_bias + n;
    return SG_OK;
}

sg_status sg_dense_layer_parameter(const sg_model *m, int64_t layer, const char *name, sg_real *to,
                                   sg_error *err)
{
    char full[96];
    size_t index;
    sg_tensor_info info;
    snprintf(full, sizeof full, "model.layers.%lld.mlp.%s", (long long)layer, name);
    SG_TRY(sg_model_tensor_find(m, full, &index, err));
    SG_TRY(sg_model_tensor_info(m, index, &info, err));
    return sg_model_tensor_read(m, index, 0, info.rows, to, err);
}

// Gates and linear parts of `n` numbers each, from halves or pairs.
static void layer_halves(const sg_dense_layer *l, bool pairs, int64_t n, sg_real *gate,
                         sg_real *linear)
{
    const size_t bytes = (size_t)n * sizeof *gate;
    for (int64_t j = 0; j < l->neurons; j++) {
        memcpy(gate + j * n, l->room + (pairs ? 2 * j : j) * n, bytes);
        memcpy(linear + j * n, l->room + (pairs ? 2 * j + 1 : l->neurons + j) * n, bytes);
    }
}

sg_status sg_dense_layer_read(const sg_model *m, int64_t layer, sg_dense_layer *l, sg_error *err)
{
    const bool pairs = m->config.ffn_glu_interleaved != 0;
    SG_TRY(sg_dense_layer_parameter(m, layer, l->gated ? "gate_up_proj.weight" : "up_proj.weight",
                                    l->gated ? l->room : l->gate, err));
    if (l->gated) layer_halves(l, pairs, l->d, l->gate, l->linear);
    if (l->gate_bias != NULL)
        SG_TRY(sg_dense_layer_parameter(m, layer, l->gated ? "gate_up_proj.bias" : "up_proj.bias",
                                        l->gated ? l->room : l->gate_bias, err));
    if (l->gate_bias != NULL && l->gated) layer_halves(l, pairs, 1, l->gate_bias, l->linear_bias);
    SG_TRY(sg_dense_layer_parameter(m, layer, "down_proj.weight", l->room, err));
    for (int64_t j = 0; j < l->neurons; j++)
        for (int64_t i = 0; i < l->d; i++)
            l->out[j * l->d + i] = l->room[i * l->neurons + j];
    return SG_OK;
}

// Gates and linear parts of `n` numbers each, from blocks that have the former, then the latter.
static void layer_blocks(const sg_dense_layer *l, int64_t block, int64_t n, sg_real *gate,
                         sg_real *linear)
{
    const int64_t half = block * n;
    for (int64_t b = 0; b < l->neurons / block; b++) {
        memcpy(gate + b * half, l->room + 2 * b * half, (size_t)half * sizeof *gate);
        memcpy(linear + b * half, l->room + (2 * b + 1) * half, (size_t)half * sizeof *gate);
    }
}

sg_status sg_dense_layer_read_blocks(const sg_model *m, int64_t layer, int64_t block,
                                     sg_dense_layer *l, sg_error *err)
{
    const char *up = l->gated ? "experts.gate_up_proj.weight" : "experts.w_in.weight";
    const char *bias = l->gated ? "experts.gate_up_proj.bias" : "experts.w_in.bias";
    SG_TRY(sg_dense_layer_parameter(m, layer, up, l->gated ? l->room : l->gate, err));
    if (l->gated) layer_blocks(l, block, l->d, l->gate, l->linear);
    if (l->gate_bias != NULL)
        SG_TRY(sg_dense_layer_parameter(m, layer, bias, l->gated ? l->room : l->gate_bias, err));
    if (l->gate_bias != NULL && l->gated) layer_blocks(l, block, 1, l->gate_bias, l->linear_bias);
    return sg_dense_layer_parameter(m, layer, "experts.w_out.weight", l->out, err);
}

// ---- activations --------------------------------------------------------------------------------

typedef struct layer_tape {
    sg_tape *tape;
    sg_tensor *out;
    sg_real *x; // (activate_rows, d)
} layer_tape;

static sg_status layer_record(sg_compute compute, const sg_dense_layer *l, layer_tape *t,
                              sg_error *err)
{
    const int64_t up = l->gated ? 2 * l->neurons : l->neurons;
    SG_TRY(sg_tape_new(&t->tape, err));
    sg_tensor *w =
        sg_tape_leaf(t->tape, "up", SG_KIND_REAL, 2, (int64_t[]){up, l->d}, l->gate, NULL, false);
    sg_tensor *bias = NULL;
    if (l->gate_bias != NULL)
        bias = sg_tape_leaf(t->tape, "bias", SG_KIND_REAL, 1, &up, l->gate_bias, NULL, false);
    sg_tensor *x = sg_tape_leaf(t->tape, "x", SG_KIND_REAL, 2, (int64_t[]){activate_rows, l->d},
                                t->x, NULL, false);
    sg_tensor *u = sg_linear(t->tape, x, w, bias);
    t->out = l->gated ? sg_glu(t->tape, u, &l->form) : sg_activate(t->tape, u, l->activation);
    sg_tape_keep(t->tape, t->out);
    const sg_tape_options options = {.threads = sg_pool_threads(compute.pool),
                                     .allocator = compute.allocator};
    SG_TRY(sg_tape_finish(t->tape, &options, err));
    return sg_tape_allocate(t->tape, err);
}

static sg_status layer_run(sg_compute compute, const sg_dense_layer *l, layer_tape *t,
                           const sg_real *x, int64_t tokens, sg_activations_fn fn, void *user,
                           sg_error *err)
{
    sg_run run = {.compute = compute, .err = err};
    for (int64_t first = 0; first < tokens; first += activate_rows) {
        const int64_t left = tokens - first, count = left < activate_rows ? left : activate_rows;
        memcpy(t->x, x + first * l->d, (size_t)(count * l->d) * sizeof *x);
        memset(t->x + count * l->d, 0, (size_t)((activate_rows - count) * l->d) * sizeof *x);
        SG_TRY(sg_tape_forward(t->tape, &run));
        SG_TRY(fn(user, first, count, sg_values(t->out), err));
    }
    return SG_OK;
}

sg_status sg_dense_layer_activate(sg_compute compute, const sg_dense_layer *l, const sg_real *x,
                                  int64_t tokens, sg_activations_fn fn, void *user, sg_error *err)
{
    layer_tape t = {.x = sg_alloc_array(activate_rows, (size_t)l->d * sizeof *t.x)};
    if (t.x == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for activations");
    sg_status status = layer_record(compute, l, &t, err);
    if (status == SG_OK) status = layer_run(compute, l, &t, x, tokens, fn, user, err);
    sg_tape_free(t.tape);
    sg_free(t.x);
    return status;
}
