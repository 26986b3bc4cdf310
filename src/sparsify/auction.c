// Each round every block bids for the m rows of most value to it, value = score - cost, so much
// that they would be worth to it what the next one is, and a little more; each row goes to the
// highest bid, which is added to its cost. It ends when the lists of all blocks have no row in
// common. What a block won it keeps at the smallest bid unless another bids: it values it as the
// highest score (behind `rounds` rounds: as its own score without the cost).
#include "sparsify/auction.h"

#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "kernel/kernel.h"

typedef struct auction {
    sg_compute compute;
    const sg_real *scores; // (blocks, rows)
    int64_t rows, blocks, size, rounds;
    sg_real least, most; // a smallest bid; the highest score
    sg_real *value;      // (blocks, rows)
    sg_real *cost;       // (rows)
    sg_real *top;        // (blocks, size + 1) values of the best
    int32_t *list;       // (blocks, size + 1) which rows
    int32_t *won;        // (rows) the block of the highest bid of the last round; -1: none
    sg_real *high;       // (rows) that bid
    int64_t round;
} auction;

static void auction_lists(void *context, int64_t block, int worker)
{
    auction *a = context;
    const int64_t k = a->size + 1;
    sg_real *value = a->value + block * a->rows;
    const sg_real *score = a->scores + block * a->rows;
    (void)worker;
    for (int64_t j = 0; j < a->rows; j++)
        value[j] = score[j] - a->cost[j];
    for (int64_t j = 0; a->round > 0 && j < a->rows; j++)
        if (a->won[j] == block) value[j] = a->round <= a->rounds ? a->most : score[j];
    a->compute.kernels->topk(a->list + block * k, a->top + block * k, value, a->rows, k);
}

static void auction_bid(auction *a, int32_t *winner, int64_t row, int64_t block, sg_real bid)
{
    if (bid <= a->high[row]) return;
    a->high[row] = bid;
    winner[row] = (int32_t)block;
}

// One round of bids; returns how many rows are in some list.
static int64_t auction_bids(auction *a, int32_t *winner)
{
    const int64_t k = a->size + 1;
    const bool keeps = a->round > 0 && a->round < a->rounds;
    int64_t covered = 0;
    for (int64_t j = 0; j < a->rows; j++) {
        a->high[j] = 0;
        winner[j] = -1;
    }
    for (int64_t e = 0; e < a->blocks; e++)
        for (int64_t i = 0; i < a->size; i++) {
            const int64_t j = a->list[e * k + i];
            const sg_real more = a->top[e * k + i] - a->top[e * k + a->size] + a->least;
            covered += winner[j] < 0;
            auction_bid(a, winner, j, e, keeps && a->won[j] == e ? a->least : more);
        }
    for (int64_t j = 0; keeps && j < a->rows; j++) // of those that are in no list of their block
        if (a->won[j] >= 0) auction_bid(a, winner, j, a->won[j], a->least);
    return covered;
}

static void auction_labels(const auction *a, int32_t *labels)
{
    for (int64_t e = 0; e < a->blocks; e++)
        for (int64_t i = 0; i < a->size; i++)
            labels[a->list[e * (a->size + 1) + i]] = (int32_t)e;
}

static sg_status auction_run(auction *a, int32_t *labels, sg_error *err)
{
    const int64_t limit = a->rounds + 64 * a->rows;
    for (a->round = 0; a->round < limit; a->round++) {
        sg_parallel_for(a->compute.pool, a->blocks, auction_lists, a);
        if (auction_bids(a, labels) == a->rows) {
            auction_labels(a, labels);
            return SG_OK;
        }
        for (int64_t j = 0; j < a->rows; j++) {
            a->cost[j] += a->high[j];
            a->won[j] = labels[j];
        }
    }
    return sg_fail(err, SG_ERR_NUMERIC, "auction: found no end in %lld rounds", (long long)limit);
}

static sg_status auction_range(auction *a, sg_error *err)
{
    sg_real low = a->scores[0];
    a->most = a->scores[0];
    for (int64_t i = 0; i < a->blocks * a->rows; i++) {
        const sg_real s = a->scores[i];
        if (!isfinite(s))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "auction: score of block %lld and row %lld: found %g, expected a finite "
                           "number",
                           (long long)(i / a->rows), (long long)(i % a->rows), (double)s);
        low = s < low ? s : low;
        a->most = s > a->most ? s : a->most;
    }
    const double step = 2 * ((double)a->most - (double)low) / (double)a->rounds;
    a->least = (sg_real)fmax(1e-4, step);
    return SG_OK;
}

static void auction_free(auction *a)
{
    sg_free(a->value);
    sg_free(a->cost);
    sg_free(a->top);
    sg_free(a->list);
    sg_free(a->won);
    sg_free(a->high);
}

static bool auction_begin(auction *a)
{
    const size_t rows = (size_t)a->rows, blocks = (size_t)a->blocks, k = (size_t)a->size + 1;
    a->value = sg_alloc_array(blocks * rows, sizeof *a->value);
    a->cost = sg_alloc_zero(rows, sizeof *a->cost);
    a->top = sg_alloc_array(blocks * k, sizeof *a->top);
    a->list = sg_alloc_array(blocks * k, sizeof *a->list);
    a->won = sg_alloc_array(rows, sizeof *a->won);
    a->high = sg_alloc_array(rows, sizeof *a->high);
    return a->value && a->cost && a->top && a->list && a->won && a->high;
}

sg_status sg_assign_auction(sg_compute compute, const sg_real *scores, int64_t rows, int64_t blocks,
                            int64_t size, int64_t rounds, int32_t *labels, sg_error *err)
{
    if (blocks < 1 || size < 1 || rows != blocks * size || rounds < 1 || size >= SG_TOPK_MAX)
        return sg_fail(err, SG_ERR_INTERNAL, "auction: %lld rows for %lld blocks of %lld",
                       (long long)rows, (long long)blocks, (long long)size);
    for (int64_t j = 0; j < rows && blocks == 1; j++)
        labels[j] = 0;
    if (blocks == 1) return SG_OK; // there is no row behind its list
    auction a = {.compute = compute,
                 .scores = scores,
                 .rows = rows,
                 .blocks = blocks,
                 .size = size,
                 .rounds = rounds};
    SG_TRY(auction_range(&a, err));
    sg_status status = auction_begin(&a)
                           ? auction_run(&a, labels, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for an auction");
    auction_free(&a);
    return status;
}
