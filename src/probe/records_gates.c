// Gates of a record: of a token, of a neuron, of a whole channel as a sparse matrix.
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/records_inside.h"

int64_t sg_record_summed(const sg_record *r)
{
    return r->spans * r->sizes.span;
}

sg_status sg_record_slot_at(const sg_record *r, const sg_record_layer *layer, const sg_statement *s,
                            int column, int64_t slot, sg_record_hit *hit, bool *there,
                            sg_error *err)
{
    const int at = column + (int)(3 * slot);
    int64_t neuron;
    double score, activation;
    (void)r;
    *there = !sg_statement_is_null(s, at);
    if (!*there) return SG_OK;
    SG_TRY(sg_statement_int(s, at, 0, layer->neurons - 1, &neuron, err));
    SG_TRY(sg_statement_real(s, at + 1, &score, err));
    SG_TRY(sg_statement_real(s, at + 2, &activation, err));
    hit->neuron = (int32_t)neuron;
    hit->score = (float)score;
    hit->activation = (float)activation;
    return SG_OK;
}

// ---- of a token ---------------------------------------------------------------------------------

sg_status sg_record_token_hits(sg_record *r, int64_t layer, int64_t channel, int64_t token,
                               int64_t most, sg_record_hit *hits, int64_t *count, sg_error *err)
{
    int64_t number;
    bool row, there;
    const sg_record_layer *of;
    *count = 0;
    SG_TRY(sg_record_channel_number(r, layer, channel, &number, &of, err));
    if (token < 0 || token > INT64_MAX / SG_RECORD_CHANNELS_MAX - 1) return SG_OK;
    sg_statement_bind_int(r->gate, 1, token * r->sizes.channels + number);
    SG_TRY(sg_statement_step(r->gate, &row, err));
    sg_status status = SG_OK;
    for (int64_t i = 0; row && i < of->slots && *count < most && status == SG_OK; i++) {
        hits[*count].token = token;
        status = sg_record_slot_at(r, of, r->gate, 1, i, &hits[*count], &there, err);
        *count += status == SG_OK && there;
    }
    sg_statement_reset(r->gate);
    return status;
}

// ---- of a neuron --------------------------------------------------------------------------------

typedef struct hit_list {
    sg_record_hit *items;
    size_t count, capacity;
} hit_list;

// Adds the hit of a neuron at a token, if there is one.
static sg_status list_add(sg_record *r, const sg_record_layer *of, int64_t number, int64_t neuron,
                          int64_t token, hit_list *list, sg_error *err)
{
    bool row, there;
    sg_record_hit hit = {.token = token};
    sg_status status = SG_OK;
    sg_statement_bind_int(r->gate, 1, token * r->sizes.channels + number);
    SG_TRY(sg_statement_step(r->gate, &row, err));
    for (int64_t i = 0; row && i < of->slots && status == SG_OK; i++) {
        status = sg_record_slot_at(r, of, r->gate, 1, i, &hit, &there, err);
        if (status != SG_OK || !there || hit.neuron != neuron) continue;
        if (!sg_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof hit))
            status = sg_fail(err, SG_ERR_MEMORY, "out of memory for hits");
        else
            list->items[list->count++] = hit;
        break;
    }
    sg_statement_reset(r->gate);
    return status;
}

// Tokens of a posting: "[3,17,40]".
static sg_status list_posting(sg_record *r, const sg_record_layer *of, int64_t number,
                              int64_t neuron, const char *text, hit_list *list, sg_error *err)
{
    const int64_t most = INT64_MAX / SG_RECORD_CHANNELS_MAX - 1;
    int64_t last = -1;
    do {
        char *end;
        const char *digits = ++text;
        const long long token = strtoll(digits, &end, 10);
        if (end == digits || token <= last || token > most || (*end != ',' && *end != ']'))
            return sg_fail(err, SG_ERR_FORMAT, "%s: posting: is no list of tokens",
                           sg_database_path(r->database));
        SG_TRY(list_add(r, of, number, neuron, token, list, err));
        last = token;
        text = end;
    } while (*text == ',');
    return SG_OK;
}

static sg_status list_spans(sg_record *r, const sg_record_layer *of, int64_t number, int64_t neuron,
                            hit_list *list, sg_error *err)
{
    bool row;
    sg_statement *s;
    SG_TRY(sg_database_prepare(r->database, "SELECT tokens FROM posting WHERE id = ?1", &s, err));
    sg_status status = SG_OK;
    for (int64_t span = 0; span < r->spans && status == SG_OK; span++) {
        const char *text;
        size_t bytes;
        sg_statement_bind_int(s, 1, span * r->sizes.neurons + r->first_neuron[number] + neuron);
        status = sg_statement_step(s, &row, err);
        if (status != SG_OK || !row) continue;
        status = sg_statement_text(s, 0, &text, &bytes, err);
        if (status == SG_OK && text[0] != '[')
            status = sg_fail(err, SG_ERR_FORMAT, "%s: posting: is no list of tokens",
                             sg_database_path(r->database));
        if (status == SG_OK) status = list_posting(r, of, number, neuron, text, list, err);
        sg_statement_reset(s);
    }
    sg_statement_free(s);
    return status;
}

// Tokens behind the last whole span, which an interrupted recording leaves.
static sg_status list_rest(sg_record *r, const sg_record_layer *of, int64_t number, int64_t neuron,
                           hit_list *list, sg_error *err)
{
    bool row;
    int64_t token;
    sg_statement *s;
    SG_TRY(sg_database_prepare(r->database, "SELECT id FROM token WHERE id >= ?1 ORDER BY id", &s,
                               err));
    sg_statement_bind_int(s, 1, sg_record_summed(r));
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        status = sg_statement_int(s, 0, 0, INT64_MAX / SG_RECORD_CHANNELS_MAX - 1, &token, err);
        if (status == SG_OK) status = list_add(r, of, number, neuron, token, list, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    return status;
}

sg_status sg_record_neuron_hits(sg_record *r, int64_t layer, int64_t channel, int64_t neuron,
                                sg_record_hit **hits, int64_t *count, sg_error *err)
{
    int64_t number;
    const sg_record_layer *of;
    hit_list list = {0};
    *hits = NULL;
    *count = 0;
    SG_TRY(sg_record_channel_number(r, layer, channel, &number, &of, err));
    if (neuron < 0 || neuron >= of->neurons)
        return sg_fail(err, SG_ERR_ARGUMENT, "neuron: found %lld, expected 0 to %lld",
                       (long long)neuron, (long long)of->neurons - 1);
    sg_status status = list_spans(r, of, number, neuron, &list, err);
    if (status == SG_OK) status = list_rest(r, of, number, neuron, &list, err);
    if (status != SG_OK) {
        sg_free(list.items);
        return status;
    }
    *hits = list.items;
    *count = (int64_t)list.count;
    return SG_OK;
}

// ---- a channel ----------------------------------------------------------------------------------

// Calls `each` for every row of gate of a channel whose token is `first` or later, in order; the
// statement stands at the row, whose slots begin at column 1, behind the token's id.
typedef sg_status (*gate_row_fn)(void *user, const sg_statement *s, int64_t token, sg_error *err);

static sg_status each_gate(sg_record *r, int64_t number, int64_t first, int64_t most,
                           gate_row_fn each, void *user, sg_error *err)
{
    sg_bytes sql = {0};
    bool row;
    int64_t token;
    sg_statement *s = NULL;
    bool fine = sg_record_print(&sql, "SELECT t.id");
    for (long long i = 0; i < r->sizes.slots && fine; i++)
        fine = sg_record_print(&sql, ", g.n%lld, g.s%lld, g.a%lld", i, i, i);
    fine = fine &&
           sg_record_print(&sql,
                           " FROM token t CROSS JOIN gate g ON g.id = t.id * %lld + %lld "
                           "WHERE t.id >= ?1 ORDER BY t.id LIMIT ?2",
                           (long long)r->sizes.channels, (long long)number) &&
           sg_bytes_add(&sql, "", 1);
    sg_status status = fine ? sg_database_prepare(r->database, sql.data, &s, err)
                            : sg_fail(err, SG_ERR_MEMORY, "out of memory for gates");
    sg_free(sql.data);
    if (status != SG_OK) return status;
    sg_statement_bind_int(s, 1, first);
    sg_statement_bind_int(s, 2, most > 0 ? most : -1);
    status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        status = sg_statement_int(s, 0, 0, INT64_MAX / SG_RECORD_CHANNELS_MAX - 1, &token, err);
        if (status == SG_OK) status = each(user, s, token, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    return status;
}

typedef struct gate_loop {
    const sg_record *record;
    const sg_record_layer *of;
    bool activations;
    sg_gate_rows *gates;
    size_t row_capacity, token_capacity, neuron_capacity, score_capacity;
} gate_loop;

static int gate_order(const void *a, const void *b)
{
    const sg_record_hit *x = a, *y = b;
    return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

static sg_status gate_append(gate_loop *l, int64_t token, const sg_record_hit *hits, int64_t count,
                             sg_error *err)
{
    sg_gate_rows *g = l->gates;
    const size_t rows = (size_t)g->rows, all = (size_t)(g->begins[rows] + count);
    if (!sg_grow((void **)&g->begins, &l->row_capacity, rows + 2, sizeof *g->begins) ||
        !sg_grow((void **)&g->tokens, &l->token_capacity, rows + 1, sizeof *g->tokens) ||
        !sg_grow((void **)&g->neurons, &l->neuron_capacity, all, sizeof *g->neurons) ||
        !sg_grow((void **)&g->scores, &l->score_capacity, all, sizeof *g->scores))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %zu gates", all);
    for (int64_t i = 0; i < count; i++) {
        g->neurons[g->begins[rows] + i] = hits[i].neuron;
        g->scores[g->begins[rows] + i] = l->activations ? hits[i].activation : hits[i].score;
    }
    g->tokens[rows] = token;
    g->begins[rows + 1] = (int64_t)all;
    g->rows++;
    return SG_OK;
}

static sg_status gate_row(void *user, const sg_statement *s, int64_t token, sg_error *err)
{
    gate_loop *l = user;
    sg_record_hit hits[SG_RECORD_SLOTS_MAX];
    int64_t count = 0;
    bool there;
    for (int64_t i = 0; i < l->of->slots; i++) {
        SG_TRY(sg_record_slot_at(l->record, l->of, s, 1, i, &hits[count], &there, err));
        count += there;
    }
    qsort(hits, (size_t)count, sizeof *hits, gate_order);
    for (int64_t i = 1; i < count; i++)
        if (hits[i].neuron == hits[i - 1].neuron)
            return sg_fail(err, SG_ERR_FORMAT, "%s: gate: token %lld has neuron %d twice",
                           sg_database_path(l->record->database), (long long)token,
                           (int)hits[i].neuron);
    return gate_append(l, token, hits, count, err);
}

static sg_status record_gates(sg_record *r, int64_t layer, int64_t channel, int64_t most,
                              bool activations, sg_gate_rows *gates, sg_error *err)
{
    int64_t number;
    gate_loop l = {.record = r, .activations = activations, .gates = gates, .row_capacity = 1};
    *gates = (sg_gate_rows){0};
    SG_TRY(sg_record_channel_number(r, layer, channel, &number, &l.of, err));
    gates->columns = l.of->neurons;
    gates->begins = sg_alloc_zero(1, sizeof *gates->begins);
    sg_status status = gates->begins != NULL
                           ? each_gate(r, number, 0, most, gate_row, &l, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for gates");
    if (status != SG_OK) sg_gate_rows_free(gates);
    return status;
}

sg_status sg_record_gates(sg_record *r, int64_t layer, int64_t channel, int64_t most,
                          sg_gate_rows *gates, sg_error *err)
{
    return record_gates(r, layer, channel, most, false, gates, err);
}

sg_status sg_record_activations(sg_record *r, int64_t layer, int64_t channel, int64_t most,
                                sg_gate_rows *gates, sg_error *err)
{
    return record_gates(r, layer, channel, most, true, gates, err);
}

// ---- sums ---------------------------------------------------------------------------------------

static sg_status sums_read(const sg_record_layer *of, const sg_statement *s,
                           sg_record_neuron *neurons, sg_error *err)
{
    int64_t neuron, hits;
    double norm = NAN;
    SG_TRY(sg_statement_int(s, 0, 0, of->neurons - 1, &neuron, err));
    SG_TRY(sg_statement_int(s, 1, 1, INT64_MAX, &hits, err));
    SG_TRY(sg_statement_real(s, 2, &neurons[neuron].score, err));
    SG_TRY(sg_statement_real(s, 3, &neurons[neuron].activation, err));
    if (!sg_statement_is_null(s, 4)) SG_TRY(sg_statement_real(s, 4, &norm, err));
    neurons[neuron].hits = hits;
    neurons[neuron].out_norm = (float)norm;
    return SG_OK;
}

typedef struct sums_loop {
    const sg_record *record;
    const sg_record_layer *of;
    sg_record_neuron *neurons;
} sums_loop;

static sg_status sums_row(void *user, const sg_statement *s, int64_t token, sg_error *err)
{
    const sums_loop *l = user;
    (void)token;
    for (int64_t i = 0; i < l->of->slots; i++) {
        sg_record_hit hit;
        bool there;
        SG_TRY(sg_record_slot_at(l->record, l->of, s, 1, i, &hit, &there, err));
        if (!there) continue;
        sg_record_neuron *n = &l->neurons[hit.neuron];
        n->hits++;
        n->score += (double)hit.score;
        n->activation += fabs((double)hit.activation);
    }
    return SG_OK;
}

sg_status sg_record_neurons(sg_record *r, int64_t layer, int64_t channel, sg_record_neuron *neurons,
                            sg_error *err)
{
    int64_t number;
    bool row;
    sums_loop l = {.record = r, .neurons = neurons};
    sg_statement *s;
    SG_TRY(sg_record_channel_number(r, layer, channel, &number, &l.of, err));
    for (int64_t i = 0; i < l.of->neurons; i++)
        neurons[i] = (sg_record_neuron){.out_norm = NAN};
    SG_TRY(sg_database_prepare(
        r->database,
        "SELECT neuron, hits, score, activation, out_norm FROM neuron WHERE channel = ?1", &s,
        err));
    sg_statement_bind_int(s, 1, number);
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        status = sums_read(l.of, s, neurons, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    if (status != SG_OK) return status;
    return each_gate(r, number, sg_record_summed(r), 0, sums_row, &l, err);
}
