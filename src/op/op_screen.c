// Scores of keys for a selection of the k best of each group, when keys are many and rows few:
// decoding. Forward only:
//
//     y_j = scale q . key_j      where key_j may be among the k best of its group, else -inf
//
// q (rows, K) or (rows, groups * K), keys (groups * n, K) -> y (rows, groups * n). Reading the keys
// is all the work. Their copies in int8, a quarter of the bytes, give each score to within a bound;
// keys whose bound shows that k others are above them get -inf, the few that are left their scores
// from the keys themselves. So the selection and its scores are those of the plain product.
#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "op/op.h"

typedef struct screen_attributes {
    const sg_stored *screen; // of all keys, int8
    double scale;
    int64_t groups, n, width, k; // n keys of `width` a group
    bool keyed;                  // a query for each group
} screen_attributes;

typedef struct screen_loop {
    const sg_run *run;
    const sg_node *node;
    const screen_attributes *a;
} screen_loop;

// |q . key - q . copy| <= |q|_1 scale / 2, as no weight is further than half a step from its copy;
// and both are sums of K products of |q_i| and at most 127.5 steps, rounded K times each at most.
static double screen_reach(const sg_real *q, int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += fabs((double)q[i]);
    const double rounding = 2 * 127.5 * (double)(width + 16) / (1 << 23);
    return sum * (0.5 + rounding) * (1 + 1e-4);
}

// Which keys of a group may be among the k best by their scores `near`: their places in `left`, and
// how many. All of them get the reach of the widest copy: what differs is little, and a single
// bound is a single look. best (k).
static int64_t screen_left(const screen_loop *l, const sg_real *near, const float *scales,
                           double reach, sg_real *best, int32_t *left)
{
    const screen_attributes *a = l->a;
    float widest = 0;
    bool known = isfinite(reach);
    for (int64_t i = 0; i < a->n; i++) {
        widest = scales[i] > widest ? scales[i] : widest;
        known &= scales[i] == scales[i];
    }
    sg_real least = -INFINITY;
    if (known) {
        l->run->compute.kernels->topk(left, best, near, a->n, a->k);
        least = best[a->k - 1] - (sg_real)(2 * reach * (double)widest);
        known = isfinite(least);
    }
    int64_t count = 0;
    for (int64_t i = 0; i < a->n; i++) {
        left[count] = (int32_t)i;
        count += !known || near[i] >= least;
    }
    return count;
}

static void screen_chunk(void *context, int64_t chunk, int worker)
{
    const screen_loop *l = context;
    const screen_attributes *a = l->a;
    const int64_t row = chunk / a->groups, group = chunk % a->groups;
    const sg_real *q = sg_values(l->node->in[0]) + row * sg_columns(l->node->in[0]) +
                       (a->keyed ? group * a->width : 0);
    sg_real *y = sg_values(l->node->out[0]) + chunk * a->n;
    sg_real *exact = sg_worker_scratch(l->run, worker);
    int32_t *left = (int32_t *)(exact + a->n);
    const sg_stored screen = sg_stored_at(a->screen, group * a->n, a->width);
    const sg_stored all = sg_weights_of(l->node->in[1]);
    const sg_stored keys = sg_stored_at(&all, group * a->n, a->width);
    int64_t count = screen_left(l, y, screen.scales, screen_reach(q, a->width), exact, left);
    sg_gather_dots(l->run->compute.kernels, exact, q, &keys, left, count, a->width);
    for (int64_t i = 0; i < a->n; i++)
        y[i] = -INFINITY;
    for (int64_t i = 0; i < count; i++)
        y[left[i]] = (sg_real)a->scale * exact[i];
}

static void screen_forward(const sg_run *run, const sg_node *node)
{
    const screen_attributes *a = node->attributes;
    const int64_t rows = sg_rows(node->in[0]), products = a->keyed ? a->groups : 1;
    const int64_t n = a->keyed ? a->n : a->groups * a->n, columns = sg_columns(node->in[0]);
    for (int64_t g = 0; g < products; g++) {
        const sg_stored part = sg_stored_at(a->screen, g * n, a->width);
        sg_stored_product(run->compute,
                          &(sg_gemm_args){.transpose_b = true,
                                          .m = rows,
                                          .n = n,
                                          .k = a->width,
                                          .alpha = 1,
                                          .a = sg_values(node->in[0]) + g * a->width,
                                          .lda = columns,
                                          .c = sg_values(node->out[0]) + g * n,
                                          .ldc = a->groups * a->n},
                          &part, run->worker_scratch, run->worker_stride);
    }
    screen_loop l = {run, node, a};
    sg_parallel_for(run->compute.pool, rows * a->groups, screen_chunk, &l);
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
    *a = (screen_attributes){.screen = keys->screen,
                             .scale = g->scale,
                             .groups = g->groups,
                             .n = g->n,
                             .width = width,
                             .k = g->k,
                             .keyed = g->keyed};
    node->attributes = a;
    node->worker_scratch_bytes = (size_t)g->n * (sizeof(sg_real) + sizeof(int32_t));
    return sg_node_output(tape, node, "scores", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(q), g->groups * g->n});
}
