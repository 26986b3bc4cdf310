// Scores of keys for a selection of the k best of each group, when keys are many and rows few:
// decoding. Forward only:
//
//     y_j = scale q . key_j      where key_j may be among the k best of its group, else -inf
//
// q (rows, K) or (rows, groups * K), keys (groups * n, K) -> y (rows, groups * n). Reading the keys
// is all the work. Their copies in int8, a quarter of the bytes, give each score to within a bound,
// by products of whole numbers, as the query is rounded too, to 16 bits; keys whose bound shows
// that k others are above them get -inf, the few that are left their scores from the keys
// themselves. So the selection and its scores are those of the plain product.
#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "op/op.h"

// Bytes of keys that one chunk reads, and rows of keys that kernels take together.
enum { screen_chunk_bytes = 1 << 14, screen_block = 16 };
enum { screen_room = 16 }; // behind the places that are left

typedef struct screen_attributes {
    const sg_stored *screen; // of all keys, int8
    double scale;
    int64_t groups, n, width, k; // n keys of `width` a group
    int64_t piece, pieces;       // keys of a chunk; chunks of a group
    int64_t queries;             // of a row: one, or one for each group
} screen_attributes;

// Queries as whole numbers: q_i = unit w_i to within half a unit, but for rounding.
typedef struct screen_query {
    double reach; // times the scale of a key: how far its near score may be off
    float unit;
} screen_query;

typedef struct screen_loop {
    const sg_run *run;
    const sg_node *node;
    const screen_attributes *a;
    // In scratch: of each row its queries, (rows, queries, width) whole numbers, and the largest
    // scale of the keys of each chunk, (groups, pieces).
    screen_query *queries;
    float *widest;
    int16_t *whole;
} screen_loop;

// ---- queries ------------------------------------------------------------------------------------

// The largest whole number of a query: sums of `width` products with int8 stay within 32 bits.
static float screen_levels(int64_t width)
{
    const int64_t most = INT32_MAX / (128 * width);
    return (float)(most < INT16_MAX ? most : INT16_MAX);
}

// |q . key - unit w . copy| / scale <= |q|_1 / 2 + 127 |q - unit w|_1, as no weight of a key is
// further than half a step from its copy; and both are sums of K products of |q_i| and at most
// 127.5 steps, rounded K times each at most. Queries that hold no numbers, or such that their units
// are none, reach infinitely far.
static screen_query screen_round(int16_t *w, const sg_real *q, int64_t width)
{
    double sum = 0;
    float peak = 0;
    for (int64_t i = 0; i < width; i++) {
        const float size = fabsf((float)q[i]);
        sum += (double)size;
        if (size > peak) peak = size;
    }
    const float levels = screen_levels(width), unit = peak / levels, inverse = levels / peak;
    if (!isfinite(sum) || !(unit >= FLT_MIN) || !(levels >= 1)) {
        memset(w, 0, (size_t)width * sizeof *w);
        return (screen_query){.reach = INFINITY, .unit = 0};
    }
    for (int64_t i = 0; i < width; i++) {
        const float x = (float)q[i] * inverse;
        w[i] = (int16_t)(x + (x < 0 ? -0.5f : 0.5f));
    }
    const double rounding = 2 * 127.5 * (double)(width + 16) / (1 << 23);
    const double halves = 127 * 0.51 * (double)width * (double)unit;
    return (screen_query){.reach = (sum * (0.5 + rounding) + halves) * (1 + 1e-4), .unit = unit};
}

static void screen_queries(const screen_loop *l)
{
    const screen_attributes *a = l->a;
    const int64_t count = sg_rows(l->node->in[0]) * a->queries;
    const sg_real *q = sg_values(l->node->in[0]);
    for (int64_t i = 0; i < count; i++)
        l->queries[i] = screen_round(l->whole + i * a->width, q + i * a->width, a->width);
}

// Of a row and group.
static int64_t screen_query_at(const screen_attributes *a, int64_t row, int64_t group)
{
    return row * a->queries + (a->queries > 1 ? group : 0);
}

// ---- scores -------------------------------------------------------------------------------------

// The near scores of some keys of a group, for all rows.
static void screen_near(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const screen_loop *l = context;
    const screen_attributes *a = l->a;
    const int64_t group = chunk / a->pieces, first = chunk % a->pieces * a->piece;
    const int64_t n = sg_min(a->piece, a->n - first), rows = sg_rows(l->node->in[0]);
    const sg_stored keys = sg_stored_at(a->screen, group * a->n + first, a->width);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t q = screen_query_at(a, row, group);
        sg_real *y = sg_values(l->node->out[0]) + (row * a->groups + group) * a->n + first;
        l->widest[chunk] = l->run->compute.kernels->screen_scores(
            y, l->whole + q * a->width, l->queries[q].unit, keys.rows, keys.scales, n, a->width);
    }
}

// Which keys of a group may be among the k best by their scores `near`: their places in `left`, and
// how many. All of them get the reach of the widest copy: what differs is little, and a single
// bound is a single look. What is no number stays. best (k).
static int64_t screen_left(const screen_loop *l, const sg_real *near, int64_t group, double reach,
                           sg_real *best, int32_t *left)
{
    const screen_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    sg_real least = -INFINITY;
    float widest = 0;
    for (int64_t i = group * a->pieces; i < (group + 1) * a->pieces; i++)
        widest = l->widest[i] > widest ? l->widest[i] : widest;
    if (isfinite(reach)) {
        kernels->topk(left, best, near, a->n, a->k);
        // Behind the bound: scores among denormals are whole multiples of the least one.
        least = best[a->k - 1] - (sg_real)(2 * reach * (double)widest + 4 * 0x1p-149);
    }
    return kernels->not_below(left, near, a->n, isfinite(least) ? least : -INFINITY);
}

static void screen_fill(sg_real *y, int64_t n)
{
    y[0] = -INFINITY;
    for (int64_t done = 1; done < n; done *= 2)
        memcpy(y + done, y, (size_t)sg_min(done, n - done) * sizeof *y);
}

static void screen_select(void *context, int64_t chunk, int worker)
{
    const screen_loop *l = context;
    const screen_attributes *a = l->a;
    const int64_t row = chunk / a->groups, group = chunk % a->groups;
    const int64_t query = screen_query_at(a, row, group);
    const sg_real *q = sg_values(l->node->in[0]) + query * a->width;
    sg_real *y = sg_values(l->node->out[0]) + chunk * a->n;
    sg_real *exact = sg_worker_scratch(l->run, worker);
    int32_t *left = (int32_t *)(exact + a->n);
    const sg_stored all = sg_weights_of(l->node->in[1]);
    const sg_stored keys = sg_stored_at(&all, group * a->n, a->width);
    const int64_t count = screen_left(l, y, group, l->queries[query].reach, exact, left);
    sg_gather_dots(l->run->compute.kernels, exact, q, &keys, left, count, a->width);
    screen_fill(y, a->n);
    for (int64_t i = 0; i < count; i++)
        y[left[i]] = (sg_real)a->scale * exact[i];
}

static void screen_forward(const sg_run *run, const sg_node *node)
{
    const screen_attributes *a = node->attributes;
    const int64_t rows = sg_rows(node->in[0]);
    screen_loop l = {.run = run, .node = node, .a = a, .queries = (void *)run->scratch};
    l.widest = (float *)(l.queries + rows * a->queries);
    l.whole = (int16_t *)(l.widest + a->groups * a->pieces);
    screen_queries(&l);
    sg_parallel_for(run->compute.pool, a->groups * a->pieces, screen_near, &l);
    sg_parallel_for(run->compute.pool, rows * a->groups, screen_select, &l);
}

static double screen_flops(const sg_node *node)
{
    const screen_attributes *a = node->attributes;
    return 2.0 * (double)node->out[0]->count * (double)a->width;
}

static const sg_op op_screen = {
    .name = "screened_keys",
    .forward = screen_forward,
    .flops = screen_flops,
    .forward_reads_narrow = 2,
};

sg_tensor *sg_screened_keys(sg_tape *tape, sg_tensor *q, sg_tensor *keys, const sg_key_groups *g)
{
    if (q == NULL || keys == NULL) return NULL;
    const int64_t width = sg_columns(keys);
    if (keys->count != g->groups * g->n * width || keys->screen == NULL ||
        sg_columns(q) != (g->keyed ? g->groups * width : width) || g->k > g->n ||
        g->k > SG_TOPK_MAX || sg_rows(q) > SG_SCREEN_ROWS)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "screened keys: %s does not fit %s", keys->name,
                            q->name);
    sg_node *node = sg_tape_node(tape, &op_screen, 2, (sg_tensor *[]){q, keys});
    screen_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    const int64_t blocks = screen_chunk_bytes / width / screen_block;
    *a = (screen_attributes){.screen = keys->screen,
                             .scale = g->scale,
                             .groups = g->groups,
                             .n = g->n,
                             .width = width,
                             .k = g->k,
                             .piece = (blocks > 0 ? blocks : 1) * screen_block,
                             .queries = g->keyed ? g->groups : 1};
    a->pieces = sg_chunks(a->n, a->piece);
    node->attributes = a;
    node->scratch_bytes = (size_t)(sg_rows(q) * a->queries) *
                              (sizeof(screen_query) + (size_t)width * sizeof(int16_t)) +
                          (size_t)(a->groups * a->pieces) * sizeof(float);
    node->worker_scratch_bytes =
        (size_t)g->n * (sizeof(sg_real) + sizeof(int32_t)) + screen_room * sizeof(int32_t);
    return sg_node_output(tape, node, "scores", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(q), g->groups * g->n});
}
