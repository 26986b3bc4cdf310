// The selections of one layer of a record. Channels may have gates for different tokens (routers
// with a capacity, or a threshold, leave some out): rows are the tokens that any of them has.
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "probe/records.h"
#include "probe/selections.h"

enum { record_page = 4096 }; // tokens read at a time

typedef struct record_read {
    sg_record *record;
    const sg_record_layer *layer;
    int64_t cells; // ids of the record to one here
    sg_selections *s;
    sg_gate_rows *gates; // (channels)
    int64_t *rows;       // (s->rows): ids of tokens, ascending
} record_read;

static sg_status record_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the selections of a record");
}

// ---- which --------------------------------------------------------------------------------------

// Neurons recorded one by one that are selected as blocks count as such, as those of a model do;
// not where the strongest alone are recorded.
static int64_t record_cells(const sg_record_layer *layer)
{
    return layer->unit == 1 && !layer->strongest ? layer->block : 1;
}

sg_status sg_selections_layers(const sg_record *record, const char *list, int64_t *layers,
                               int64_t *count, sg_error *err)
{
    const sg_record_info *info = sg_record_get_info(record);
    *count = 0;
    SG_TRY(sg_list_read(list, "layers", INT32_MAX, NULL, err));
    for (size_t i = 0; i < info->layer_count; i++)
        if (sg_list_has(list, info->layers[i].layer)) layers[(*count)++] = info->layers[i].layer;
    if (*count > 0 && sg_list_within(list, layers, *count)) return SG_OK;
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "layers: found \"%.200s\", expected some of the %zu that are recorded",
                   list != NULL ? list : "", info->layer_count);
}

static sg_status record_choose(record_read *r, int64_t layer, const char *channels, sg_error *err)
{
    const sg_record_info *info = sg_record_get_info(r->record);
    sg_selections *s = r->s;
    r->layer = sg_record_find_layer(r->record, layer);
    if (r->layer == NULL) return sg_record_check_channel(r->record, layer, 0, err);
    r->cells = record_cells(r->layer);
    SG_TRY(sg_list_read(channels, "channels", r->layer->channels, NULL, err));
    s->shape = (sg_memory_shape){.pools = r->layer->shared ? 1 : r->layer->channels,
                                 .channels = r->layer->channels,
                                 .blocks = r->layer->neurons / r->cells};
    s->sub_keys = r->layer->unit * r->cells == r->layer->block ? r->layer->sub_keys : 0;
    s->count = 1;
    s->layers = sg_alloc_zero(1, sizeof *s->layers);
    s->channel_numbers = sg_alloc_zero(info->channel_count + 1, sizeof *s->channel_numbers);
    if (s->layers == NULL || s->channel_numbers == NULL) return record_memory(err);
    for (size_t i = 0; i < info->channel_count; i++)
        if (info->channels[i].layer == layer && sg_list_has(channels, info->channels[i].channel))
            s->channel_numbers[s->channels++] = info->channels[i].channel;
    if (s->channels == 0 || !sg_list_within(channels, s->channel_numbers, s->channels))
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "channels: found \"%.200s\", expected some that are recorded of layer %lld",
                       channels != NULL ? channels : "", (long long)layer);
    s->layers->layer = layer;
    s->layers->channels = sg_alloc_zero((size_t)s->channels, sizeof *s->layers->channels);
    s->layers->gates = sg_alloc_zero((size_t)s->channels, sizeof *s->layers->gates);
    r->gates = sg_alloc_zero((size_t)s->channels, sizeof *r->gates);
    if (s->layers->channels == NULL || s->layers->gates == NULL || r->gates == NULL)
        return record_memory(err);
    return SG_OK;
}

// ---- rows ---------------------------------------------------------------------------------------

// rows becomes what it or `more` has.
static bool record_join(record_read *r, const int64_t *more, int64_t count)
{
    if (count == 0) return true;
    if (count == r->s->rows && memcmp(more, r->rows, (size_t)count * sizeof *more) == 0)
        return true;
    int64_t *joined = sg_alloc_array((size_t)(count + r->s->rows) + 1, sizeof *joined);
    if (joined == NULL) return false;
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < count || j < r->s->rows; n++) {
        const bool first = j == r->s->rows || (i < count && more[i] <= r->rows[j]);
        joined[n] = first ? more[i] : r->rows[j];
        if (j < r->s->rows && r->rows[j] == joined[n]) j++;
        i += first;
    }
    sg_free(r->rows);
    r->rows = joined;
    r->s->rows = n;
    return true;
}

// The neurons of a channel, each block of them once, in the rows of all.
static bool record_spread(const record_read *r, sg_kept_channel *c, sg_gate_rows *g)
{
    int64_t used = 0;
    c->begins = sg_alloc_array((size_t)r->s->rows + 1, sizeof *c->begins);
    if (c->begins == NULL) return false;
    c->begins[0] = 0;
    for (int64_t row = 0, from = 0; row < r->s->rows; row++) {
        const bool there = from < g->rows && g->tokens[from] == r->rows[row];
        for (int64_t i = g->begins[from]; there && i < g->begins[from + 1]; i++) {
            const int32_t id = (int32_t)(g->neurons[i] / r->cells);
            if (r->cells == 1 || used == c->begins[row] || g->neurons[used - 1] != id)
                g->neurons[used++] = id; // never behind i
        }
        from += there;
        c->begins[row + 1] = used;
    }
    c->neurons = g->neurons;
    g->neurons = NULL;
    return true;
}

static sg_status record_gates(record_read *r, sg_error *err)
{
    sg_selections *s = r->s;
    r->rows = sg_alloc_array(1, sizeof *r->rows);
    if (r->rows == NULL) return record_memory(err);
    for (int64_t c = 0; c < s->channels; c++) {
        SG_TRY(sg_record_gates(r->record, r->layer->layer, s->channel_numbers[c], 0, &r->gates[c],
                               err));
        if (!record_join(r, r->gates[c].tokens, r->gates[c].rows)) return record_memory(err);
    }
    for (int64_t c = 0; c < s->channels; c++)
        if (!record_spread(r, &s->layers->channels[c], &r->gates[c])) return record_memory(err);
    s->layers->rows = s->rows;
    return SG_OK;
}

static sg_status record_tokens(record_read *r, sg_error *err)
{
    sg_selections *s = r->s;
    s->tokens = sg_alloc_array((size_t)s->rows + 1, sizeof *s->tokens);
    s->sequences = sg_alloc_array((size_t)s->rows + 1, sizeof *s->sequences);
    sg_record_token *page = sg_alloc_array(record_page, sizeof *page);
    sg_status status =
        s->tokens != NULL && s->sequences != NULL && page != NULL ? SG_OK : record_memory(err);
    int64_t row = 0, count = 1;
    while (status == SG_OK && row < s->rows && count > 0) {
        status = sg_record_tokens(r->record, r->rows[row], record_page, page, &count, err);
        for (int64_t i = 0; status == SG_OK && i < count && row < s->rows; i++) {
            if (page[i].id != r->rows[row]) continue;
            s->tokens[row] = page[i].token;
            s->sequences[row++] = page[i].sequence;
        }
        if (status == SG_OK && count > 0 && row < s->rows && page[count - 1].id >= r->rows[row])
            count = 0; // a gate of a token that there is not
    }
    sg_free(page);
    if (status != SG_OK || row == s->rows) return status;
    return sg_fail(err, SG_ERR_FORMAT, "record: found gates of token %lld, which is not there",
                   (long long)r->rows[row]);
}

sg_status sg_selections_read(sg_record *record, int64_t layer, const char *channels,
                             sg_selections **out, sg_error *err)
{
    record_read r = {.record = record, .s = sg_alloc_zero(1, sizeof *r.s)};
    *out = NULL;
    if (r.s == NULL) return record_memory(err);
    sg_status status = record_choose(&r, layer, channels, err);
    if (status == SG_OK) status = record_gates(&r, err);
    if (status == SG_OK) status = record_tokens(&r, err);
    for (int64_t c = 0; r.gates != NULL && c < r.s->channels; c++)
        sg_gate_rows_free(&r.gates[c]);
    sg_free(r.gates);
    sg_free(r.rows);
    if (status != SG_OK)
        sg_selections_free(r.s);
    else
        *out = r.s;
    return status;
}
