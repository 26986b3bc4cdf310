// Collects what a model selects while it reads, layer by layer and channel by channel, in the form
// that usage and co-activation count.
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "ffn/ffn.h"
#include "model/model.h"
#include "probe/selections.h"

// ---- which layers and channels ------------------------------------------------------------------

static sg_status kept_choose(sg_selections *s, const sg_config *config, const char *layers,
                             const char *channels, sg_error *err)
{
    const int64_t all = config->num_hidden_layers;
    s->layers = sg_alloc_zero((size_t)all, sizeof *s->layers);
    s->channel_numbers = sg_alloc_zero((size_t)s->shape.channels, sizeof *s->channel_numbers);
    if (s->layers == NULL || s->channel_numbers == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for selections");
    for (int64_t c = 0; c < s->shape.channels; c++)
        if (sg_list_has(channels, c)) s->channel_numbers[s->channels++] = c;
    for (int64_t l = 0; l < all; l++) {
        if (!sg_ffn_is_sparse(config, l) || !sg_list_has(layers, l)) continue;
        sg_kept_layer *layer = &s->layers[s->count++];
        layer->layer = l;
        layer->channels = sg_alloc_zero((size_t)s->channels, sizeof *layer->channels);
        layer->gates = sg_alloc_zero((size_t)s->channels, sizeof *layer->gates);
        if (layer->channels == NULL || layer->gates == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "out of memory for selections");
    }
    if (s->count > 0) return SG_OK;
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "layers: found none that selects: all neurons of a dense layer are always used");
}

// ---- rows as they come --------------------------------------------------------------------------

static sg_status kept_full(sg_error *err, int64_t rows)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the selections of %lld rows",
                   (long long)rows);
}

// The token and sequence of a row; the first layer keeps them for all.
static bool kept_row(sg_selections *s, const sg_point_values *p, int64_t row)
{
    if (!sg_grow((void **)&s->tokens, &s->tokens_room, (size_t)s->rows + 1, sizeof *s->tokens) ||
        !sg_grow((void **)&s->sequences, &s->sequences_room, (size_t)s->rows + 1,
                 sizeof *s->sequences))
        return false;
    s->tokens[s->rows] = p->tokens[row];
    s->sequences[s->rows++] = p->first_sequence + row / p->length;
    return true;
}

// ids (k) of a row and channel, of which `count` are selected, `cells` of them a block.
static bool kept_gates(sg_kept_channel *c, int64_t row, const int32_t *ids, int64_t count,
                       int64_t cells)
{
    const int64_t begin = row > 0 ? c->begins[row] : 0;
    if (!sg_grow((void **)&c->begins, &c->begins_room, (size_t)row + 2, sizeof *c->begins) ||
        !sg_grow((void **)&c->neurons, &c->neurons_room, (size_t)(begin + count) + 1,
                 sizeof *c->neurons))
        return false;
    int64_t end = begin;
    for (int64_t i = 0; i < count; i += cells) { // sorted as they come: they are few
        const int32_t id = (int32_t)(ids[i] / cells);
        int64_t at = end++;
        for (; at > begin && c->neurons[at - 1] > id; at--)
            c->neurons[at] = c->neurons[at - 1];
        c->neurons[at] = id;
    }
    c->begins[0] = 0;
    c->begins[row + 1] = end;
    return true;
}

static sg_status kept_call(void *user, const sg_point_values *p, sg_error *err)
{
    sg_selections *s = user;
    sg_kept_layer *layer = s->layers;
    while (layer < s->layers + s->count && layer->layer != p->layer)
        layer++;
    if (layer == s->layers + s->count) return SG_OK; // not asked for
    const int64_t channels = p->shape[1], k = p->shape[2], cells = k / s->shape.selected;
    for (int64_t r = 0; r < p->shape[0]; r++) {
        const int64_t row = p->first_row + r * p->row_step;
        if (p->targets != NULL && p->targets[row] < 0) continue;
        if (layer == s->layers && !kept_row(s, p, row)) return kept_full(err, s->rows);
        for (int64_t i = 0; i < s->channels; i++) {
            const int64_t at = r * channels + s->channel_numbers[i];
            if (!kept_gates(&layer->channels[i], layer->rows, p->ids + at * k,
                            p->counts != NULL ? p->counts[at] : k, cells))
                return kept_full(err, s->rows);
        }
        layer->rows++;
    }
    return SG_OK;
}

sg_status sg_selections_new(const sg_model *model, const char *layers, const char *channels,
                            sg_selections **out, sg_error *err)
{
    const sg_config *config = &model->config;
    *out = NULL;
    const sg_memory_shape shape = sg_ffn_memory(config);
    if (config->ffn_layer_block_size[0] != '\0' || config->ffn_layer_top_k[0] != '\0')
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model with %s, expected one whose layers have the same sizes",
                       config->ffn_layer_block_size[0] != '\0' ? "ffn_layer_block_size"
                                                               : "ffn_layer_top_k");
    SG_TRY(sg_list_read(layers, "layers", config->num_hidden_layers, NULL, err));
    SG_TRY(sg_list_read(channels, "channels", shape.channels, NULL, err));
    sg_selections *s = sg_alloc_zero(1, sizeof *s);
    if (s == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for selections");
    s->shape = shape;
    const sg_router *router = sg_ffn_router(config);
    for (int64_t n = 1; router != NULL && router->product && n * n <= shape.blocks; n++)
        s->sub_keys = n * n == shape.blocks ? n : 0;
    s->request = (sg_point_request){"blocks.*.mlp.hook_gate_ids", SG_POINT_READ, kept_call, s};
    s->points = (sg_points){&s->request, 1};
    sg_status status = kept_choose(s, config, layers, channels, err);
    if (status != SG_OK)
        sg_selections_free(s);
    else
        *out = s;
    return status;
}

void sg_selections_free(sg_selections *s)
{
    if (s == NULL) return;
    for (int64_t l = 0; s->layers != NULL && l < s->count; l++) {
        for (int64_t c = 0; s->layers[l].channels != NULL && c < s->channels; c++) {
            sg_free(s->layers[l].channels[c].begins);
            sg_free(s->layers[l].channels[c].neurons);
        }
        sg_free(s->layers[l].channels);
        sg_free(s->layers[l].gates);
    }
    sg_free(s->layers);
    sg_free(s->channel_numbers);
    sg_free(s->tokens);
    sg_free(s->sequences);
    sg_free(s);
}

const sg_points *sg_selections_points(const sg_selections *selections)
{
    return &selections->points;
}

int64_t sg_selections_count(const sg_selections *selections)
{
    return selections->count;
}

sg_layer_selections sg_selections_layer(const sg_selections *s, int64_t index)
{
    static const int64_t nothing[1] = {0};
    const sg_kept_layer *layer = &s->layers[index];
    for (int64_t c = 0; c < s->channels; c++)
        layer->gates[c] = (sg_selection_rows){layer->rows > 0 ? layer->channels[c].begins : nothing,
                                              layer->channels[c].neurons};
    return (sg_layer_selections){.layer = layer->layer,
                                 .rows = layer->rows,
                                 .neurons = s->shape.blocks,
                                 .channels = s->channels,
                                 .channel_numbers = s->channel_numbers,
                                 .gates = layer->gates,
                                 .shared = s->shape.pools == 1 && s->channels > 1,
                                 .sub_keys = s->sub_keys,
                                 .tokens = s->tokens,
                                 .sequences = s->sequences};
}
