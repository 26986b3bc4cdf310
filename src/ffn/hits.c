// Sorting hits by neuron, digit by digit of the neuron's number. Pieces are cut by shape alone and
// each digit keeps the order of the one before, so that the order is the same for any threads.
#include "ffn/hits.h"

#include <string.h>

enum { hits_part = 1 << 13, hits_parts = 16, hits_bits = 11 };

typedef struct hits_loop {
    const sg_hits *h;
    const int32_t *selection, *selected; // ids and counts; NULL: all are selected
    int digit;
    const int32_t *from_keys, *from; // NULL: key i is of hit i
    int32_t *keys, *hits;
    int32_t *counts; // (pools, parts, buckets), then of the different neurons (pools, parts)
    int32_t *places; // (pools, parts): where the first hit of a part goes
    int32_t *ends;   // (pools): the first hit behind those of a pool
    sg_hit_order order;
} hits_loop;

static int64_t hits_buckets(const sg_hits *h)
{
    return (int64_t)1 << h->bits;
}

sg_hits sg_hits_plan(int64_t channels, int64_t rows, int64_t k, int64_t pools, int64_t n)
{
    sg_hits h = {.channels = channels, .rows = rows, .k = k, .pools = pools, .n = n};
    h.count = channels * rows * k;
    int64_t of_pool = h.count / pools;
    h.parts = of_pool / hits_part;
    h.parts = h.parts < 1 ? 1 : h.parts > hits_parts ? hits_parts : h.parts;
    int bits = 1, most = 4; // more buckets than hits would cost more than one more pass
    while (n > (int64_t)1 << bits)
        bits++;
    while (most < hits_bits && of_pool / h.parts > (int64_t)1 << most)
        most++;
    h.digits = (bits + most - 1) / most;
    h.bits = (bits + h.digits - 1) / h.digits;
    return h;
}

int64_t sg_hits_result(const sg_hits *h)
{
    return 3 * h->count + 2;
}

int64_t sg_hits_scratch(const sg_hits *h)
{
    return 3 * h->count + h->pools * (h->parts * (hits_buckets(h) + 1) + 1);
}

sg_hit_order sg_hits_view(const sg_hits *h, int32_t *result)
{
    return (sg_hit_order){.neurons = result,
                          .order = result + 1,
                          .ids = result + 1 + h->count,
                          .starts = result + 1 + 2 * h->count};
}

// Part number `part` of the of_pool hits from `first` on: [begin, end).
static void hits_cut(const sg_hits *h, int64_t part, int64_t first, int64_t of_pool, int64_t *begin,
                     int64_t *end)
{
    int64_t piece = (of_pool + h->parts - 1) / h->parts, at = part * piece;
    *begin = first + (at < of_pool ? at : of_pool);
    *end = first + (at + piece < of_pool ? at + piece : of_pool);
}

// The hits of one part, once those that are none are gone.
static void hits_range(const hits_loop *l, int64_t part, int64_t *begin, int64_t *end)
{
    int64_t pool = part / l->h->parts, first = pool > 0 ? l->ends[pool - 1] : 0;
    hits_cut(l->h, part % l->h->parts, first, l->ends[pool] - first, begin, end);
}

// ---- taking the neurons of a selection, in the order of hits ------------------------------------

// The places of one part in the selection, be they hits or not.
static void hits_selection(const sg_hits *h, int64_t part, int64_t *begin, int64_t *end)
{
    int64_t of_pool = h->count / h->pools;
    hits_cut(h, part % h->parts, part / h->parts * of_pool, of_pool, begin, end);
}

// Where the k places that place i is among have their ids, and how many of them are hits.
static const int32_t *hits_of_row(const hits_loop *l, int64_t i, int64_t *count)
{
    const sg_hits *h = l->h;
    int64_t row = i / h->k % h->rows, channel = i / h->k / h->rows;
    int64_t at = row * h->channels + channel;
    *count = l->selected != NULL ? l->selected[at] : h->k;
    return l->selection + at * h->k;
}

static void hits_selected_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end, count;
    int32_t hits = 0;
    hits_selection(l->h, part, &begin, &end);
    for (int64_t i = begin; i < end;) {
        int64_t first = i % l->h->k, last = first + end - i;
        (void)hits_of_row(l, i, &count);
        if (last > l->h->k) last = l->h->k;
        i += last - first;
        hits += (int32_t)((last < count ? last : count) - (first < count ? first : count));
    }
    l->places[part] = hits;
}

static void hits_take_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end, count, to = l->places[part];
    hits_selection(l->h, part, &begin, &end);
    for (int64_t i = begin; i < end;) {
        const int32_t *ids = hits_of_row(l, i, &count);
        for (int64_t j = i % l->h->k; j < l->h->k && i < end; j++, i++) {
            if (j >= count) continue;
            if (l->selected != NULL) l->hits[to] = (int32_t)i;
            l->keys[to++] = ids[j];
        }
    }
}

// How many hits a part has becomes where they go.
static void hits_take(hits_loop *l, sg_pool *pool)
{
    const sg_hits *h = l->h;
    int64_t parts = h->pools * h->parts, begin, end;
    int32_t place = 0;
    if (l->selected != NULL) sg_parallel_for(pool, parts, hits_selected_chunk, l);
    for (int64_t part = 0; part < parts; part++) {
        hits_selection(h, part, &begin, &end);
        int32_t count = l->selected != NULL ? l->places[part] : (int32_t)(end - begin);
        l->places[part] = place;
        place += count;
        l->ends[part / h->parts] = place;
    }
    sg_parallel_for(pool, parts, hits_take_chunk, l);
}

// ---- sorting them -------------------------------------------------------------------------------

static int64_t hits_bucket(const hits_loop *l, int32_t key)
{
    return key >> (l->digit * l->h->bits) & (hits_buckets(l->h) - 1);
}

static void hits_count_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end;
    hits_range(l, part, &begin, &end);
    int32_t *counts = l->counts + part * hits_buckets(l->h);
    memset(counts, 0, (size_t)hits_buckets(l->h) * sizeof *counts);
    for (int64_t i = begin; i < end; i++)
        counts[hits_bucket(l, l->from_keys[i])]++;
}

// Counts become places: bucket by bucket, and in a bucket part by part.
static void hits_place_chunk(void *context, int64_t pool, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    const sg_hits *h = l->h;
    int64_t buckets = hits_buckets(h);
    int32_t place = pool > 0 ? l->ends[pool - 1] : 0;
    for (int64_t b = 0; b < buckets; b++)
        for (int64_t part = pool * h->parts; part < (pool + 1) * h->parts; part++) {
            int32_t count = l->counts[part * buckets + b];
            l->counts[part * buckets + b] = place;
            place += count;
        }
}

static void hits_move_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end;
    hits_range(l, part, &begin, &end);
    int32_t *places = l->counts + part * hits_buckets(l->h);
    for (int64_t i = begin; i < end; i++) {
        int32_t to = places[hits_bucket(l, l->from_keys[i])]++;
        l->keys[to] = l->from_keys[i];
        l->hits[to] = l->from != NULL ? l->from[i] : (int32_t)i;
    }
}

// ---- the neurons --------------------------------------------------------------------------------

// The neuron in front of the first sorted hit of a part; -1: of another pool.
static int32_t hits_before(const hits_loop *l, int64_t part, int64_t begin)
{
    return part % l->h->parts == 0 || begin == 0 ? -1 : l->keys[begin - 1];
}

static void hits_different_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end;
    int32_t count = 0;
    hits_range(l, part, &begin, &end);
    int32_t last = hits_before(l, part, begin);
    for (int64_t i = begin; i < end; last = l->keys[i++])
        count += l->keys[i] != last;
    l->counts[part] = count;
}

static void hits_list_chunk(void *context, int64_t part, int worker)
{
    (void)worker;
    const hits_loop *l = context;
    int64_t begin, end, at = l->counts[part];
    int64_t base = part / l->h->parts * l->h->n;
    hits_range(l, part, &begin, &end);
    int32_t last = hits_before(l, part, begin);
    for (int64_t i = begin; i < end; last = l->keys[i++]) {
        if (l->keys[i] == last) continue;
        l->order.ids[at] = (int32_t)(base + l->keys[i]);
        l->order.starts[at++] = (int32_t)i;
    }
}

// Counts the different neurons of every part, then lists them.
static void hits_list(hits_loop *l, sg_pool *pool)
{
    int64_t parts = l->h->pools * l->h->parts;
    int32_t place = 0;
    sg_parallel_for(pool, parts, hits_different_chunk, l);
    for (int64_t part = 0; part < parts; part++) {
        int32_t count = l->counts[part];
        l->counts[part] = place;
        place += count;
    }
    *l->order.neurons = place;
    l->order.starts[place] = l->ends[l->h->pools - 1];
    sg_parallel_for(pool, parts, hits_list_chunk, l);
}

void sg_hits_sort(const sg_hits *h, sg_pool *pool, const int32_t *ids, const int32_t *counts,
                  const sg_hit_order *order, int32_t *scratch)
{
    hits_loop l = {.h = h, .selection = ids, .selected = counts, .order = *order};
    int32_t *keys[] = {scratch + h->count, scratch + 2 * h->count};
    int32_t *hits[] = {scratch, l.order.order}; // passes alternate, and the last ends in order
    int64_t parts = h->pools * h->parts;
    l.counts = scratch + 3 * h->count;
    l.places = l.counts + parts * hits_buckets(h);
    l.ends = l.places + parts;
    l.keys = keys[0];
    l.hits = hits[h->digits % 2 == 0];
    hits_take(&l, pool);
    for (l.digit = 0; l.digit < h->digits; l.digit++) {
        l.from_keys = keys[l.digit % 2];
        l.keys = keys[1 - l.digit % 2];
        l.from = l.digit == 0 && counts == NULL ? NULL : l.hits;
        l.hits = hits[(h->digits - l.digit) % 2];
        sg_parallel_for(pool, parts, hits_count_chunk, &l);
        sg_parallel_for(pool, h->pools, hits_place_chunk, &l);
        sg_parallel_for(pool, parts, hits_move_chunk, &l);
    }
    hits_list(&l, pool);
}
