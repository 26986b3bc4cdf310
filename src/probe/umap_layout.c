// Stochastic gradient descent on the cross-entropy of UMAP (McInnes, Healy, Melville 2018,
// algorithm 5 and section 4.2). With d the distance of two rows on the map, y_i the place of one,
// each direction of an edge of weight w is taken w / (the largest w) times an epoch; each time, its
// rows i and j and some rows r that are drawn,
//
//     y_i += rate * clip( -2 a b d^(2 b - 2) / (1 + a d^(2 b)) * (y_i - y_j) ),  y_j the opposite
//     y_i += rate * clip( 2 b / ((0.001 + d^2) (1 + a d^(2 b))) * (y_i - y_r) )
//
// clip being to 4 in each dimension; the rate falls to 0 in a line.
//
// umap-learn lets threads race for the places. Here rows are dealt into blocks, and an epoch goes
// through all pairs of blocks in rounds in which each block is in one pair (Gemulla et al. 2011 do
// so with matrices): a pair's edges are one thread's work, in their order, and both their rows move
// at once. The rows that are drawn are read where they were when the epoch began. So nothing
// depends on the number of threads.
#include "probe/umap_layout.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

enum {
    layout_blocks = 32, // at most, and even
    layout_block = 64,  // rows of one at least, where there are more than two
    layout_lanes = 8,   // distances whose powers are taken together
    layout_steps = 300, // distances that the curve is fitted at
    layout_fits = 200
};

// ---- the curve ----------------------------------------------------------------------------------

// Squares of residuals, and of their derivatives by a and b what the normal equations take: g
// (aa, ab, bb, a, b).
static double curve_sum(double min_dist, double spread, double a, double b, double g[5])
{
    double sum = 0;
    memset(g, 0, 5 * sizeof *g);
    for (int i = 0; i < layout_steps; i++) {
        const double x = 3 * spread * i / (layout_steps - 1);
        const double y = x < min_dist ? 1 : exp(-(x - min_dist) / spread);
        const double power = i > 0 ? pow(x, 2 * b) : 0, f = 1 / (1 + a * power);
        const double da = -power * f * f;
        const double db = i > 0 ? -2 * a * log(x) * power * f * f : 0;
        sum += (f - y) * (f - y);
        g[0] += da * da;
        g[1] += da * db;
        g[2] += db * db;
        g[3] += da * (f - y);
        g[4] += db * (f - y);
    }
    return sum;
}

// Levenberg and Marquardt, from 1 and 1.
void sg_umap_curve(double min_dist, double spread, double *a, double *b)
{
    double g[5], next[5], damping = 1e-3;
    *a = *b = 1;
    double sum = curve_sum(min_dist, spread, *a, *b, g);
    for (int n = 0; n < layout_fits && damping < 1e12; n++) {
        const double aa = g[0] * (1 + damping), bb = g[2] * (1 + damping);
        const double det = aa * bb - g[1] * g[1];
        if (!(det > 0)) break;
        const double x = *a - (bb * g[3] - g[1] * g[4]) / det;
        const double y = *b - (aa * g[4] - g[1] * g[3]) / det;
        const double then = x > 0 && y > 0 ? curve_sum(min_dist, spread, x, y, next) : INFINITY;
        if (!(then < sum)) {
            damping *= 10;
            continue;
        }
        *a = x;
        *b = y;
        sum = then;
        damping *= 0.1;
        memcpy(g, next, sizeof g);
    }
}

// ---- numbers for negative samples ---------------------------------------------------------------

// One block of the counter-based generator a pair of blocks and epoch begins a sequence
// (splitmix64, Steele et al. 2014).
static uint64_t layout_begin(uint64_t seed, uint32_t stream, int64_t epoch, int64_t pair)
{
    uint32_t block[4];
    sg_rng_block(seed, stream, (uint64_t)pair, (uint32_t)epoch, block);
    return (uint64_t)block[0] << 32 | block[1];
}

static uint32_t layout_draw(uint64_t *state, uint32_t rows)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(((z ^ (z >> 31)) >> 32) * rows >> 32);
}

// ---- powers -------------------------------------------------------------------------------------

// x^b of eight positive numbers, to 5e-6 of each: 2^(b log2 x), both by polynomials (least squares
// on the mantissa), which compilers make vectors of. Of 0 it is next to 0.
static inline void layout_powers(const float *x, float b, float *powers)
{
    for (int k = 0; k < layout_lanes; k++) {
        int32_t bits, whole;
        float m, scale;
        memcpy(&bits, &x[k], sizeof bits);
        whole = (bits & 0x7fffff) | 0x3f800000;
        memcpy(&m, &whole, sizeof m);
        m -= 1;
        const float log =
            (float)((bits >> 23) - 127) +
            m * (1.44266405f +
                 m * (-0.720515514f +
                      m * (0.473113345f +
                           m * (-0.324616384f +
                                m * (0.192385055f + m * (-0.0781582083f + m * 0.0151279162f))))));
        float y = b * log;
        y = y > 126 ? 126 : y < -126 ? -126 : y;
        whole = (int32_t)(y + 127);
        const float f = y - (float)(whole - 127);
        whole *= 1 << 23;
        memcpy(&scale, &whole, sizeof scale);
        powers[k] =
            scale * (0.999999927f +
                     f * (0.693152968f +
                          f * (0.24015453f +
                               f * (0.0558236045f + f * (0.00899258403f + f * 0.00187623295f)))));
    }
}

// ---- one edge -----------------------------------------------------------------------------------

typedef struct layout_edge {
    int32_t head, tail;
    float share; // of epochs in which it is taken
} layout_edge;

typedef struct layout {
    float *positions;   // (rows, components)
    float *began;       // likewise, when the epoch began
    layout_edge *edges; // pair of blocks by pair of blocks, by head, by tail
    int64_t *begins;    // (rounds * slots + 1): of the edges of a pair
    int64_t rows, blocks, rounds, slots;
    int components, negatives;
    uint32_t stream;
    uint64_t seed;
    int64_t epoch, round;
    float a, b, rate;
} layout;

static inline float layout_clip(float x)
{
    return x > 4 ? 4 : x < -4 ? -4 : x;
}

static inline float layout_square(const float *x, const float *y, int n)
{
    float sum = 0;
    for (int d = 0; d < n; d++)
        sum += (x[d] - y[d]) * (x[d] - y[d]);
    return sum;
}

// The rows of an edge towards each other.
static inline void layout_attract(const layout *l, float *head, float *tail, int n)
{
    const float square = layout_square(head, tail, n);
    if (!(square > 0)) return;
    const float power = powf(square, l->b);
    const float g = -2 * l->a * l->b * power / (square * (1 + l->a * power));
    for (int d = 0; d < n; d++) {
        const float step = l->rate * layout_clip(g * (head[d] - tail[d]));
        head[d] += step;
        tail[d] -= step;
    }
}

// Up to eight rows that were drawn: the head goes away from them.
static inline void layout_repel(const layout *l, float *head, const float *const *others, int count,
                                int n)
{
    float square[layout_lanes] = {1, 1, 1, 1, 1, 1, 1, 1}, powers[layout_lanes];
    float pulls[layout_lanes], start[3];
    for (int k = 0; k < count; k++)
        square[k] = layout_square(head, others[k], n);
    layout_powers(square, l->b, powers);
    for (int k = 0; k < layout_lanes; k++)
        pulls[k] = 2 * l->b / ((0.001f + square[k]) * (1 + l->a * powers[k]));
    memcpy(start, head, (size_t)n * sizeof *start);
    for (int k = 0; k < count; k++)
        for (int d = 0; d < n; d++)
            head[d] += l->rate * layout_clip(pulls[k] * (start[d] - others[k][d]));
}

static inline void layout_take(const layout *l, layout_edge edge, uint64_t *state, int n)
{
    float *head = l->positions + (int64_t)edge.head * n;
    const float *others[layout_lanes];
    int count = 0;
    layout_attract(l, head, l->positions + (int64_t)edge.tail * n, n);
    for (int k = 0; k < l->negatives; k++) {
        const int64_t drawn = layout_draw(state, (uint32_t)l->rows);
        if (drawn != edge.head) others[count++] = l->began + drawn * n;
        if (count < layout_lanes && k + 1 < l->negatives) continue;
        layout_repel(l, head, others, count, n);
        count = 0;
    }
}

static inline void layout_pair(const layout *l, int64_t pair, const int n)
{
    const float now = (float)l->epoch, before = (float)(l->epoch - 1);
    uint64_t state = layout_begin(l->seed, l->stream, l->epoch, pair);
    for (int64_t e = l->begins[pair]; e < l->begins[pair + 1]; e++) {
        const layout_edge edge = l->edges[e];
        if ((int)(now * edge.share) != (int)(before * edge.share)) layout_take(l, edge, &state, n);
    }
}

static void layout_slot(void *context, int64_t slot, int worker)
{
    (void)worker;
    const layout *l = context;
    if (l->components == 2)
        layout_pair(l, l->round * l->slots + slot, 2);
    else
        layout_pair(l, l->round * l->slots + slot, 3);
}

// ---- pairs of blocks ----------------------------------------------------------------------------

// Where the edges of two blocks are: within a block in round 0, else in the round and slot of a
// tournament in which one block stays and the others go round.
static int64_t layout_pair_of(const layout *l, int64_t x, int64_t y)
{
    const int64_t turn = l->blocks - 1;
    if (x == y) return x;
    if (y == turn || x == turn) { // the one that stays meets z in round 2 z
        const int64_t z = x == turn ? y : x;
        return (1 + 2 * z % turn) * l->slots;
    }
    const int64_t round = (x + y) % turn; // i + j = round: the pairs are (half + s, half - s)
    const int64_t half = round % 2 == 0 ? round / 2 : (round + turn) / 2;
    const int64_t s = (x - half + turn) % turn;
    return (1 + round) * l->slots + (s <= turn / 2 ? s : turn - s);
}

static sg_status layout_sort(layout *l, const sg_graph_edges *g, float most, int64_t epochs,
                             sg_error *err)
{
    const int64_t pairs = l->rounds * l->slots;
    l->begins = sg_alloc_zero((size_t)pairs + 2, sizeof *l->begins);
    l->edges = sg_alloc_array((size_t)g->begins[g->rows], sizeof *l->edges);
    if (l->begins == NULL || l->edges == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a map");
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < g->rows; i++)
            for (int64_t e = g->begins[i]; e < g->begins[i + 1]; e++) {
                const layout_edge edge = {(int32_t)i, g->ids[e], g->weights[e] / most};
                if (edge.share * (float)epochs < 1) continue; // is never taken
                const int64_t pair = layout_pair_of(l, i % l->blocks, g->ids[e] % l->blocks);
                if (pass == 0)
                    l->begins[pair + 2]++;
                else
                    l->edges[l->begins[pair + 1]++] = edge;
            }
        for (int64_t p = 0; pass == 0 && p < pairs; p++)
            l->begins[p + 2] += l->begins[p + 1];
    }
    return SG_OK;
}

static sg_status layout_run(layout *l, sg_pool *pool, const sg_umap_options *o, int64_t epochs,
                            sg_error *err)
{
    const size_t bytes = (size_t)(l->rows * l->components) * sizeof *l->began;
    l->began = sg_alloc(bytes);
    if (l->began == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a map");
    for (l->epoch = 1; l->epoch <= epochs; l->epoch++) {
        l->rate = (float)(o->rate * (1 - (double)(l->epoch - 1) / (double)epochs));
        memcpy(l->began, l->positions, bytes);
        for (l->round = 0; l->round < l->rounds; l->round++)
            sg_parallel_for(pool, l->slots, layout_slot, l);
        if (o->progress != NULL && !o->progress(o->user, l->epoch, epochs))
            return sg_fail(err, SG_ERR_STOPPED, "stopped in epoch %lld", (long long)l->epoch);
    }
    return SG_OK;
}

sg_status sg_umap_layout(sg_compute compute, const sg_graph_edges *g, const sg_umap_options *o,
                         const sg_umap *map, float *positions, sg_error *err)
{
    float most = 0;
    for (int64_t e = 0; e < g->begins[g->rows]; e++)
        most = g->weights[e] > most ? g->weights[e] : most;
    if (most == 0) return SG_OK; // nothing is joined
    layout l = {.positions = positions,
                .rows = g->rows,
                .components = (int)o->components,
                .negatives = (int)o->negative_samples,
                .stream = sg_rng_stream("umap layout"),
                .seed = o->seed,
                .a = (float)map->a,
                .b = (float)map->b};
    l.blocks = g->rows / layout_block / 2 * 2;
    l.blocks = l.blocks < 2 ? 2 : l.blocks > layout_blocks ? layout_blocks : l.blocks;
    l.rounds = l.blocks;
    l.slots = l.blocks; // of round 0; of the others half as many have edges
    sg_status status = layout_sort(&l, g, most, map->epochs, err);
    if (status == SG_OK) status = layout_run(&l, compute.pool, o, map->epochs, err);
    sg_free(l.began);
    sg_free(l.edges);
    sg_free(l.begins);
    return status;
}
