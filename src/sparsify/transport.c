// Successive shortest paths (Jonker & Volgenant 1987) on blocks alone. A row that comes in takes
// the block at the end of the cheapest chain "e takes the row, a row of e moves to f, …" that ends
// where there is room. What a move from e to f costs at least, min over rows of e of c[row][f] -
// c[row][e], does not depend on the prices of blocks, so it is kept and made anew only for blocks
// that a chain changed: rows * blocks * (blocks + a few * size) in all, where plain assignment
// takes rows^3.
#include "sparsify/transport.h"

#include <math.h>

#include "base/alloc.h"

typedef struct transport {
    const double *cost;
    int64_t rows, blocks, size;
    int32_t *labels;
    int32_t *members; // (blocks, size)
    int64_t *used;    // (blocks) members
    double *price;    // (blocks) c[row][label] - price is the least over blocks, for rows inside
    double *move;     // (blocks, blocks) of the cheapest row from e to f
    int32_t *mover;   // (blocks, blocks) which one, a place among the members
    double *far;      // (blocks) cost of the chain to it
    int32_t *before;  // (blocks) the block before it in the chain; -1: the row itself
    bool *done;       // (blocks)
} transport;

static double transport_cost(const transport *t, int64_t row, int64_t block)
{
    return t->cost[row * t->blocks + block];
}

// Row `place` of block e against the movers that are known.
static void transport_offer(transport *t, int64_t e, int64_t place)
{
    const int64_t row = t->members[e * t->size + place];
    const double *cost = t->cost + row * t->blocks, here = cost[e];
    double *move = t->move + e * t->blocks;
    int32_t *mover = t->mover + e * t->blocks;
    for (int64_t f = 0; f < t->blocks; f++)
        if (cost[f] - here < move[f]) {
            move[f] = cost[f] - here;
            mover[f] = (int32_t)place;
        }
}

static void transport_movers(transport *t, int64_t e)
{
    for (int64_t f = 0; f < t->blocks; f++)
        t->move[e * t->blocks + f] = INFINITY;
    for (int64_t place = 0; place < t->used[e]; place++)
        transport_offer(t, e, place);
}

static int64_t transport_nearest(const transport *t)
{
    int64_t best = -1;
    for (int64_t e = 0; e < t->blocks; e++)
        if (!t->done[e] && (best < 0 || t->far[e] < t->far[best])) best = e;
    return best;
}

// Cheapest chains from a row, until one ends in a block with room, which is returned.
static int64_t transport_search(transport *t, int64_t row)
{
    for (int64_t e = 0; e < t->blocks; e++) {
        t->far[e] = transport_cost(t, row, e) - t->price[e];
        t->before[e] = -1;
        t->done[e] = false;
    }
    for (;;) {
        const int64_t e = transport_nearest(t);
        if (t->used[e] < t->size) return e;
        t->done[e] = true;
        const double *move = t->move + e * t->blocks;
        for (int64_t f = 0; f < t->blocks; f++) {
            // Never below far[e] but for rounding: prices keep it so.
            const double far = t->far[e] + fmax(0, move[f] - t->price[f] + t->price[e]);
            if (!t->done[f] && far < t->far[f]) {
                t->far[f] = far;
                t->before[f] = (int32_t)e;
            }
        }
    }
}

static void transport_put(transport *t, int64_t e, int64_t place, int64_t row)
{
    t->members[e * t->size + place] = (int32_t)row;
    t->labels[row] = (int32_t)e;
}

// Moves the rows of the chain that ends in `end`, and changes prices so that it costs nothing.
static void transport_move(transport *t, int64_t row, int64_t end)
{
    for (int64_t e = 0; e < t->blocks; e++)
        if (t->done[e]) t->price[e] += t->far[e] - t->far[end];
    int64_t place = t->used[end]++; // free in the block that is filled next
    for (int64_t f = end, e; (e = t->before[f]) >= 0; f = e) {
        const int64_t from = t->mover[e * t->blocks + f];
        transport_put(t, f, place, t->members[e * t->size + from]);
        if (f == end)
            transport_offer(t, f, place);
        else
            transport_movers(t, f);
        place = from;
        if (t->before[e] < 0) { // the first block takes the row itself
            transport_put(t, e, place, row);
            transport_movers(t, e);
            return;
        }
    }
    transport_put(t, end, place, row);
    transport_offer(t, end, place);
}

static void transport_free(transport *t)
{
    sg_free(t->members);
    sg_free(t->used);
    sg_free(t->price);
    sg_free(t->move);
    sg_free(t->mover);
    sg_free(t->far);
    sg_free(t->before);
    sg_free(t->done);
}

static bool transport_begin(transport *t)
{
    const size_t blocks = (size_t)t->blocks;
    t->members = sg_alloc_array((size_t)t->rows, sizeof *t->members);
    t->used = sg_alloc_zero(blocks, sizeof *t->used);
    t->price = sg_alloc_zero(blocks, sizeof *t->price);
    t->move = sg_alloc_array(blocks * blocks, sizeof *t->move);
    t->mover = sg_alloc_zero(blocks * blocks, sizeof *t->mover);
    t->far = sg_alloc_array(blocks, sizeof *t->far);
    t->before = sg_alloc_array(blocks, sizeof *t->before);
    t->done = sg_alloc_array(blocks, sizeof *t->done);
    return t->members && t->used && t->price && t->move && t->mover && t->far && t->before &&
           t->done;
}

sg_status sg_assign_balanced(const double *cost, int64_t rows, int64_t blocks, int64_t size,
                             int32_t *labels, sg_error *err)
{
    if (blocks < 1 || size < 1 || rows != blocks * size)
        return sg_fail(err, SG_ERR_INTERNAL, "assignment: %lld rows for %lld blocks of %lld",
                       (long long)rows, (long long)blocks, (long long)size);
    for (int64_t i = 0; i < rows * blocks; i++)
        if (!isfinite(cost[i]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "assignment: cost of row %lld and block %lld: found %g, expected a "
                           "finite number",
                           (long long)(i / blocks), (long long)(i % blocks), cost[i]);
    transport t = {.cost = cost, .rows = rows, .blocks = blocks, .size = size, .labels = labels};
    const bool room = transport_begin(&t);
    for (int64_t e = 0; room && e < blocks; e++)
        transport_movers(&t, e);
    for (int64_t row = 0; room && row < rows; row++)
        transport_move(&t, row, transport_search(&t, row));
    transport_free(&t);
    return room ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for an assignment");
}
