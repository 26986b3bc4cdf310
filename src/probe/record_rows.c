// Rows of a recording. Tokens and gates go out as they come. What is kept by neuron (postings,
// sums) is gathered for a span of tokens, sorted by neuron, and written then: a neuron's sums grow
// in the order of tokens, and what a resumed recording writes is what one without a break does.
#include "probe/record_rows.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

enum {
    span_hits = 1 << 21, // that are gathered at most
    span_least = 64,
    span_most = 8192,
    digit_bits = 11, // of the sort
    digits = 1 << digit_bits
};

typedef struct span_hit {
    int32_t neuron; // of all
    int32_t token;  // from the first of the span
    float score, activation;
} span_hit;

struct sg_record_rows {
    sg_database *database;
    const sg_record_parts *parts;
    const sg_record_sizes *sizes;
    int64_t first_row;
    sg_statement *token, *sequence, *prediction, *gate, *span, *posting, *neuron;
    int64_t at;            // the span that is gathered
    span_hit *hits, *sort; // (room)
    int64_t count, room;
    sg_record_neuron *sums; // (neurons)
    sg_bytes text;          // of a posting
};

int64_t sg_record_span(int64_t slots)
{
    const int64_t tokens = span_hits / slots;
    return tokens < span_least ? span_least : tokens > span_most ? span_most : tokens;
}

// ---- spans --------------------------------------------------------------------------------------

// By neuron, stable: least digit first.
static void span_sort(sg_record_rows *r)
{
    for (int shift = 0; (r->sizes->neurons - 1) >> shift > 0; shift += digit_bits) {
        int64_t begins[digits + 1] = {0};
        for (int64_t i = 0; i < r->count; i++)
            begins[(r->hits[i].neuron >> shift & (digits - 1)) + 1]++;
        for (int d = 0; d < digits; d++)
            begins[d + 1] += begins[d];
        for (int64_t i = 0; i < r->count; i++)
            r->sort[begins[r->hits[i].neuron >> shift & (digits - 1)]++] = r->hits[i];
        span_hit *sorted = r->sort;
        r->sort = r->hits;
        r->hits = sorted;
    }
}

// A number and what stands in front of it: faster than printf, and there are very many.
static bool posting_number(sg_bytes *text, char before, int64_t value)
{
    char digit[24];
    size_t at = sizeof digit;
    do {
        digit[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    digit[--at] = before;
    return sg_bytes_add(text, digit + at, sizeof digit - at);
}

static float span_norm(const sg_record_rows *r, int64_t channel, int64_t neuron)
{
    size_t i = 0;
    while (i + 1 < r->parts->count && r->parts->items[i + 1].first_channel <= channel)
        i++;
    const sg_record_part *p = &r->parts->items[i];
    const int64_t pool = p->table.pools > 1 ? p->channels[channel - p->first_channel] : 0;
    return p->norms != NULL ? p->norms[pool * p->table.neurons + neuron] : NAN;
}

static sg_status span_neuron(sg_record_rows *r, int64_t channel, int64_t id, sg_error *err)
{
    const sg_record_neuron *n = &r->sums[id];
    const int64_t neuron = id - r->parts->first_neuron[channel];
    const float norm = span_norm(r, channel, neuron);
    sg_statement_bind_int(r->neuron, 1, id);
    sg_statement_bind_int(r->neuron, 2, channel);
    sg_statement_bind_int(r->neuron, 3, neuron);
    sg_statement_bind_int(r->neuron, 4, n->hits);
    sg_statement_bind_real(r->neuron, 5, n->score);
    sg_statement_bind_real(r->neuron, 6, n->activation);
    if (isnan(norm))
        sg_statement_bind_null(r->neuron, 7);
    else
        sg_statement_bind_real(r->neuron, 7, norm);
    return sg_statement_run(r->neuron, err);
}

// Hits [first, end) of one neuron: its posting and its sums.
static sg_status span_run(sg_record_rows *r, int64_t channel, int64_t first, int64_t end,
                          sg_error *err)
{
    const int64_t id = r->hits[first].neuron, from = r->at * r->sizes->span;
    sg_record_neuron *n = &r->sums[id];
    bool fine = true;
    r->text.count = 0;
    for (int64_t i = first; i < end && fine; i++) {
        fine = posting_number(&r->text, i == first ? '[' : ',', from + r->hits[i].token);
        n->score += (double)r->hits[i].score;
        n->activation += fabs((double)r->hits[i].activation);
    }
    n->hits += end - first;
    if (!fine || !sg_bytes_add(&r->text, "]", 1))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a posting");
    sg_statement_bind_int(r->posting, 1, r->at * r->sizes->neurons + id);
    sg_statement_bind_text(r->posting, 2, r->text.data, r->text.count);
    SG_TRY(sg_statement_run(r->posting, err));
    return span_neuron(r, channel, id, err);
}

static sg_status span_write(sg_record_rows *r, sg_error *err)
{
    int64_t channel = 0;
    span_sort(r);
    for (int64_t i = 0, end; i < r->count; i = end) {
        for (end = i + 1; end < r->count && r->hits[end].neuron == r->hits[i].neuron;)
            end++;
        while (channel + 1 < r->parts->channel_count &&
               r->parts->first_neuron[channel + 1] <= r->hits[i].neuron)
            channel++;
        SG_TRY(span_run(r, channel, i, end, err));
    }
    sg_statement_bind_int(r->span, 1, r->at);
    sg_statement_bind_int(r->span, 2, r->at * r->sizes->span);
    r->count = 0;
    r->at++;
    return sg_statement_run(r->span, err);
}

static sg_status span_room(sg_record_rows *r, sg_error *err)
{
    if (r->count < r->room) return SG_OK;
    const int64_t room = r->room > 0 ? 2 * r->room : 4096;
    span_hit *hits = sg_realloc(r->hits, (size_t)room * sizeof *hits);
    if (hits != NULL) r->hits = hits;
    span_hit *sort = sg_realloc(r->sort, (size_t)room * sizeof *sort);
    if (sort != NULL) r->sort = sort;
    if (hits == NULL || sort == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for hits of neurons");
    r->room = room;
    return SG_OK;
}

// Spans before that of a token are whole.
static sg_status span_reach(sg_record_rows *r, int64_t token, sg_error *err)
{
    while (token >= (r->at + 1) * r->sizes->span)
        SG_TRY(span_write(r, err));
    return SG_OK;
}

static sg_status span_add(sg_record_rows *r, int64_t token, int64_t channel,
                          const sg_record_slot *slot, sg_error *err)
{
    SG_TRY(span_room(r, err));
    r->hits[r->count++] =
        (span_hit){.neuron = (int32_t)(r->parts->first_neuron[channel] + slot->neuron),
                   .token = (int32_t)(token - r->at * r->sizes->span),
                   .score = slot->score,
                   .activation = slot->activation};
    return SG_OK;
}

// ---- tokens and gates ---------------------------------------------------------------------------

static sg_status add_gate(sg_record_rows *r, int64_t token, int64_t channel,
                          const sg_record_slot *slots, sg_error *err)
{
    const int64_t own = r->parts->channel_slots[channel];
    sg_statement_bind_int(r->gate, 1, token * r->sizes->channels + channel);
    for (int64_t i = 0; i < r->sizes->slots; i++) {
        const int at = (int)(2 + 3 * i);
        const bool empty = i >= own || slots[i].neuron < 0;
        if (empty) {
            for (int c = 0; c < 3; c++)
                sg_statement_bind_null(r->gate, at + c);
            continue;
        }
        if (!isfinite(slots[i].score) || !isfinite(slots[i].activation))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "record: found a gate that is not finite, of token %lld",
                           (long long)token);
        sg_statement_bind_int(r->gate, at, slots[i].neuron);
        sg_statement_bind_real(r->gate, at + 1, slots[i].score);
        sg_statement_bind_real(r->gate, at + 2, slots[i].activation);
        SG_TRY(span_add(r, token, channel, &slots[i], err));
    }
    return sg_statement_run(r->gate, err);
}

static sg_status add_predictions(sg_record_rows *r, int64_t token, const int32_t *ids,
                                 const double *logprobs, sg_error *err)
{
    sg_statement_bind_int(r->prediction, 1, token);
    for (int64_t i = 0; i < r->sizes->predictions; i++) {
        sg_statement_bind_int(r->prediction, (int)(2 + 2 * i), ids[i]);
        sg_statement_bind_real(r->prediction, (int)(3 + 2 * i), logprobs[i]);
    }
    return sg_statement_run(r->prediction, err);
}

static sg_status add_token(sg_record_rows *r, const sg_record_batch *b, int64_t row, int64_t id,
                           sg_error *err)
{
    const int64_t most = r->sizes->predictions;
    SG_TRY(span_reach(r, id, err));
    sg_statement_bind_int(r->token, 1, id);
    sg_statement_bind_int(r->token, 2, b->inputs[row]);
    if (b->targets[row] >= 0)
        sg_statement_bind_int(r->token, 3, b->targets[row]);
    else
        sg_statement_bind_null(r->token, 3);
    if (b->logprobs != NULL && b->targets[row] >= 0)
        sg_statement_bind_real(r->token, 4, b->logprobs[row]);
    else
        sg_statement_bind_null(r->token, 4);
    SG_TRY(sg_statement_run(r->token, err));
    if (b->logprobs != NULL && most > 0)
        SG_TRY(add_predictions(r, id, b->likeliest + row * most, b->likeliest_logprobs + row * most,
                               err));
    if (!b->gated[row]) return SG_OK;
    for (int64_t c = 0; c < r->parts->channel_count; c++)
        SG_TRY(add_gate(r, id, c, b->slots + row * r->parts->slots + r->parts->first_slot[c], err));
    return SG_OK;
}

sg_status sg_record_rows_add(sg_record_rows *r, const sg_record_batch *b, sg_error *err)
{
    for (int64_t s = 0; s < b->sequences; s++) {
        int64_t tokens = 0;
        const int64_t sequence = b->first_sequence + s;
        for (int64_t i = 0; i < b->length; i++) {
            const int64_t row = s * b->length + i;
            if (!b->wanted[row]) continue;
            tokens++;
            SG_TRY(add_token(r, b, row, sequence * b->length + i, err));
        }
        sg_statement_bind_int(r->sequence, 1, sequence);
        sg_statement_bind_int(r->sequence, 2, r->first_row + sequence);
        sg_statement_bind_int(r->sequence, 3, tokens);
        SG_TRY(sg_statement_run(r->sequence, err));
    }
    return SG_OK;
}

sg_status sg_record_rows_end(sg_record_rows *r, sg_error *err)
{
    return r->count > 0 ? span_write(r, err) : SG_OK;
}

// ---- going on -----------------------------------------------------------------------------------

static sg_status back_sums(sg_record_rows *r, sg_error *err)
{
    bool row;
    sg_statement *s;
    SG_TRY(sg_database_prepare(r->database, "SELECT id, hits, score, activation FROM neuron", &s,
                               err));
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        int64_t id;
        sg_record_neuron n = {0};
        status = sg_statement_int(s, 0, 0, r->sizes->neurons - 1, &id, err);
        if (status == SG_OK) status = sg_statement_int(s, 1, 1, INT64_MAX, &n.hits, err);
        if (status == SG_OK) status = sg_statement_real(s, 2, &n.score, err);
        if (status == SG_OK) status = sg_statement_real(s, 3, &n.activation, err);
        if (status == SG_OK) r->sums[id] = n;
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    return status;
}

// One row of gate.
static sg_status back_gate(sg_record_rows *r, sg_statement *s, sg_error *err)
{
    int64_t id, neuron;
    double score, activation;
    SG_TRY(sg_statement_int(s, 0, 0, INT64_MAX, &id, err));
    const int64_t token = id / r->sizes->channels, channel = id % r->sizes->channels;
    if (token >= (r->at + 1) * r->sizes->span)
        return sg_fail(err, SG_ERR_FORMAT, "%s: gate: found token %lld, expected its span",
                       sg_database_path(r->database), (long long)token);
    for (int64_t i = 0; i < r->sizes->slots; i++) {
        const int at = (int)(1 + 3 * i);
        if (sg_statement_is_null(s, at)) continue;
        SG_TRY(sg_statement_int(s, at, 0, r->sizes->neurons - 1 - r->parts->first_neuron[channel],
                                &neuron, err));
        SG_TRY(sg_statement_real(s, at + 1, &score, err));
        SG_TRY(sg_statement_real(s, at + 2, &activation, err));
        const sg_record_slot slot = {(int32_t)neuron, (float)score, (float)activation};
        SG_TRY(span_add(r, token, channel, &slot, err));
    }
    return SG_OK;
}

// What a span that is not whole has so far, from the gates.
static sg_status back_span(sg_record_rows *r, sg_error *err)
{
    bool row;
    sg_statement *s;
    SG_TRY(sg_database_int(r->database, "SELECT count(*) FROM span", 0, INT32_MAX, &r->at, err));
    SG_TRY(sg_database_prepare(r->database, "SELECT * FROM gate WHERE id >= ?1", &s, err));
    sg_statement_bind_int(s, 1, r->at * r->sizes->span * r->sizes->channels);
    sg_status status = sg_statement_step(s, &row, err);
    while (status == SG_OK && row) {
        status = back_gate(r, s, err);
        if (status == SG_OK) status = sg_statement_step(s, &row, err);
    }
    sg_statement_free(s);
    return status;
}

static sg_status rows_open(sg_record_rows *r, sg_error *err)
{
    sg_database *d = r->database;
    SG_TRY(sg_record_insert(d, "token", 4, &r->token, err));
    SG_TRY(sg_record_insert(d, "sequence", 3, &r->sequence, err));
    SG_TRY(sg_record_insert(d, "prediction", 1 + 2 * r->sizes->predictions, &r->prediction, err));
    SG_TRY(sg_record_insert(d, "gate", 1 + 3 * r->sizes->slots, &r->gate, err));
    SG_TRY(sg_record_insert(d, "span", 2, &r->span, err));
    SG_TRY(sg_record_insert(d, "posting", 2, &r->posting, err));
    SG_TRY(sg_database_prepare(d,
                               "INSERT INTO neuron VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT(id) DO "
                               "UPDATE SET hits = ?4, score = ?5, activation = ?6",
                               &r->neuron, err));
    r->sums = sg_alloc_zero((size_t)r->sizes->neurons, sizeof *r->sums);
    if (r->sums == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for sums of neurons");
    SG_TRY(back_sums(r, err));
    return back_span(r, err);
}

sg_status sg_record_rows_new(sg_database *database, const sg_record_parts *parts,
                             const sg_record_sizes *sizes, int64_t first_row, sg_record_rows **out,
                             sg_error *err)
{
    *out = NULL;
    if (sizes->neurons > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "record: found %lld neurons in all channels, expected at most %d",
                       (long long)sizes->neurons, INT32_MAX);
    sg_record_rows *r = sg_alloc_zero(1, sizeof *r);
    if (r == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    r->database = database;
    r->parts = parts;
    r->sizes = sizes;
    r->first_row = first_row;
    const sg_status status = rows_open(r, err);
    if (status == SG_OK)
        *out = r;
    else
        sg_record_rows_free(r);
    return status;
}

void sg_record_rows_free(sg_record_rows *r)
{
    if (r == NULL) return;
    sg_statement *const statements[] = {r->token, r->sequence, r->prediction, r->gate,
                                        r->span,  r->posting,  r->neuron};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        sg_statement_free(statements[i]);
    sg_free(r->hits);
    sg_free(r->sort);
    sg_free(r->sums);
    sg_free(r->text.data);
    sg_free(r);
}
