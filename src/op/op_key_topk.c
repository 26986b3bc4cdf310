// Cells that are selected by their own keys: one coefficient a cell,
//
//     m = act(u), u = x keys^T      ids = the k largest, or the blocks of the largest mean
//     du = act'(u) dm of the selected      dx = sum of du_i keys_i      dkeys_i = sum of du_i x
//
// x (rows, d), keys (N, d) -> ids and scores m (rows, k). The coefficients of all cells exist for a
// tile of rows at a time only; what goes on is the selection and, for the backward pass, the few
// products that were selected. No gradient reaches the others (Liu et al. 2023).
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm.h"
#include "op/op.h"

// A tile of rows times all cells takes about this many reals, but products of few rows are slow.
enum { key_tile_reals = 1 << 22, key_tile_rows = 64 };

typedef struct key_attributes {
    int64_t rows, d, n; // x (rows, d), keys (n, d)
    int64_t block, k;   // cells of a block; cells of a row's selection
    int64_t tile;
    sg_activation activation;
} key_attributes;

typedef struct key_loop {
    const sg_run *run;
    const sg_node *node;
    const key_attributes *a;
    sg_real *cells; // (tile, n): products, or their gradients
    int64_t first;  // row of the tile
    sg_real *dx;
    bool add_x;
} key_loop;

static size_t key_cells_bytes(const key_attributes *a)
{
    return sg_whole_lines((size_t)(a->tile * a->n) * sizeof(sg_real));
}

// Behind the cells.
static void *key_room(const key_loop *l)
{
    return l->run->scratch + key_cells_bytes(l->a);
}

// Calls fn for each row of a tile.
static void key_rows(key_loop *l, int64_t rows, sg_chunk_fn fn)
{
    sg_parallel_for(l->run->compute.pool, rows, fn, l);
}

// ---- forward ----------------------------------------------------------------------------------

// The selection of one row among the coefficients m (n). `work` has room for 2 n / block values and
// n / block ids.
static void key_select(const key_loop *l, int32_t *ids, sg_real *scores, const sg_real *m,
                       sg_real *work)
{
    const key_attributes *a = l->a;
    if (a->block == 1) {
        l->run->compute.kernels->topk(ids, scores, m, a->n, a->k);
        return;
    }
    int64_t blocks = a->n / a->block, best = a->k / a->block;
    sg_real *means = work, *largest = means + blocks;
    int32_t *chosen = (int32_t *)(largest + blocks);
    for (int64_t b = 0; b < blocks; b++) {
        sg_real sum = 0;
        for (int64_t j = 0; j < a->block; j++)
            sum += m[b * a->block + j];
        means[b] = sum / (sg_real)a->block;
    }
    l->run->compute.kernels->topk(chosen, largest, means, blocks, best);
    for (int64_t i = 0; i < a->k; i++) {
        ids[i] = (int32_t)(chosen[i / a->block] * a->block + i % a->block);
        scores[i] = m[ids[i]];
    }
}

static void key_forward_row(void *context, int64_t r, int worker)
{
    const key_loop *l = context;
    const key_attributes *a = l->a;
    const sg_real *u = l->cells + r * a->n;
    sg_real *m = sg_worker_scratch(l->run, worker);
    int64_t at = (l->first + r) * a->k;
    int32_t *ids = sg_ints(l->node->out[0]) + at;
    sg_real *selected = sg_values(l->node->saved[0]) + at;
    l->run->compute.kernels->act_forward(m, u, a->activation, a->n);
    key_select(l, ids, sg_values(l->node->out[1]) + at, m, m + a->n);
    for (int64_t i = 0; i < a->k; i++)
        selected[i] = u[ids[i]];
}

static void key_forward(const sg_run *run, const sg_node *node)
{
    key_loop l = {
        .run = run, .node = node, .a = node->attributes, .cells = (sg_real *)run->scratch};
    const key_attributes *a = l.a;
    const sg_bf16 *half = sg_half_in(node, 0);
    for (; l.first < a->rows; l.first += a->tile) {
        const int64_t rows = sg_min(a->tile, a->rows - l.first), at = l.first * a->d;
        sg_weights_product(run,
                           (sg_gemm_args){.m = rows,
                                          .n = a->n,
                                          .k = a->d,
                                          .alpha = 1,
                                          .a = half ? NULL : sg_values(node->in[0]) + at,
                                          .a_half = half ? half + at : NULL,
                                          .lda = a->d,
                                          .c = l.cells,
                                          .ldc = a->n,
                                          .kind = node->kind,
                                          .room = key_room(&l)},
                           node->in[1], 0);
        key_rows(&l, rows, key_forward_row);
    }
}

// ---- backward ---------------------------------------------------------------------------------

// du = dm act'(u) of the selected, into a row of zeros; dx = sum du key.
static void key_backward_row(void *context, int64_t r, int worker)
{
    const key_loop *l = context;
    const key_attributes *a = l->a;
    int64_t row = l->first + r, at = row * a->k;
    const int32_t *ids = sg_ints(l->node->out[0]) + at;
    sg_real *du = sg_worker_scratch(l->run, worker), *cells = l->cells + r * a->n;
    l->run->compute.kernels->act_backward(du, l->node->out[1]->grad + at,
                                          sg_values(l->node->saved[0]) + at, a->activation, a->k,
                                          false);
    memset(cells, 0, (size_t)a->n * sizeof *cells);
    for (int64_t i = 0; i < a->k; i++)
        cells[ids[i]] = du[i];
    if (l->dx == NULL) return;
    sg_real *dx = l->dx + row * a->d;
    if (!l->add_x) memset(dx, 0, (size_t)a->d * sizeof *dx);
    const sg_stored keys = sg_weights_of(l->node->in[1]);
    sg_gather_sum(l->run->compute.kernels, dx, du, &keys, ids, a->k, a->d);
}

static void key_backward(const sg_run *run, const sg_node *node)
{
    key_loop l = {
        .run = run, .node = node, .a = node->attributes, .cells = (sg_real *)run->scratch};
    const key_attributes *a = l.a;
    bool add_keys = false;
    const sg_bf16 *half = sg_half_in(node, 0);
    l.dx = sg_grad_in(run, node, 0, &l.add_x);
    sg_real *dkeys = sg_grad_in(run, node, 1, &add_keys);
    for (; l.first < a->rows; l.first += a->tile) {
        const int64_t rows = sg_min(a->tile, a->rows - l.first), at = l.first * a->d;
        key_rows(&l, rows, key_backward_row);
        if (dkeys == NULL) continue;
        sg_gemm(run->compute, &(sg_gemm_args){.transpose_a = true,
                                              .m = a->n,
                                              .n = a->d,
                                              .k = rows,
                                              .alpha = 1,
                                              .a = l.cells,
                                              .lda = a->n,
                                              .b = half ? NULL : sg_values(node->in[0]) + at,
                                              .b_half = half ? half + at : NULL,
                                              .ldb = a->d,
                                              .beta = add_keys || l.first > 0 ? 1 : 0,
                                              .c = dkeys,
                                              .ldc = a->d,
                                              .kind = node->kind,
                                              .room = key_room(&l)});
    }
}

static double key_flops(const sg_node *node)
{
    const key_attributes *a = node->attributes;
    return 2.0 * (double)a->rows * (double)a->n * (double)a->d;
}

static const sg_op op_key_topk = {
    .name = "key_topk",
    .forward = key_forward,
    .backward = key_backward,
    .flops = key_flops,
    .backward_reads_in = 3,
    .backward_reads_out = 1,
    .forward_reads_narrow = 2,
    .backward_reads_narrow = 2,
    .reads_half = 1,
};

sg_selection sg_key_topk(sg_tape *tape, sg_tensor *x, sg_tensor *keys, sg_activation activation,
                         int64_t block, int64_t k)
{
    sg_selection selection = {.channels = 1, .k = k, .unit = 1};
    if (x == NULL || keys == NULL) return selection;
    int64_t n = sg_rows(keys), d = sg_columns(x);
    if (sg_columns(keys) != d || n > INT32_MAX || block < 1 || n % block != 0 || k < 1 || k > n ||
        k % block != 0 || k / block > SG_TOPK_MAX) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "top-k of keys: %lld of %s does not fit", (long long)k,
                     keys->name);
        return selection;
    }
    sg_node *node = sg_tape_node(tape, &op_key_topk, 2, (sg_tensor *[]){x, keys});
    key_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return selection;
    *a = (key_attributes){
        .rows = sg_rows(x), .d = d, .n = n, .block = block, .k = k, .activation = activation};
    int64_t tile = key_tile_reals / n;
    a->tile = sg_min(a->rows, tile < key_tile_rows ? key_tile_rows : tile);
    node->attributes = a;
    const size_t room = sg_weights_room(node->kind, keys, a->tile, n, d);
    const size_t keys_room = sg_gemm_room(node->kind, n, d, a->tile);
    node->scratch_bytes = key_cells_bytes(a) + (room > keys_room ? room : keys_room);
    size_t select =
        (size_t)n * sizeof(sg_real) + (size_t)(n / block) * (2 * sizeof(sg_real) + sizeof(int32_t));
    size_t product = sg_weights_scratch_bytes(keys, a->tile, n, d);
    node->worker_scratch_bytes = select > product ? select : product;
    const int64_t shape[] = {a->rows, k};
    sg_node_save(tape, node, SG_KIND_REAL, 2, shape);
    selection.ids = sg_node_output(tape, node, "ids", SG_KIND_INT, 2, shape);
    selection.scores = sg_node_output(tape, node, "scores", SG_KIND_REAL, 2, shape);
    return selection;
}
