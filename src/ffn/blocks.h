// What the operations have in common that read a memory block by block through dense products: the
// one that does all at once (memory_blocks.c) and those of one step (memory_steps_blocks.c). Their
// inputs, how the work is cut, the order of hits, products of the rows of a block with its tables,
// and the gradients of the tables (blocks.c).
#ifndef SG_FFN_BLOCKS_H
#define SG_FFN_BLOCKS_H

#include "ffn/memory.h"

// Inputs of a node; what an operation does without is NULL.
enum {
    SG_BLOCKS_X, // (rows, d); of a last step: (rows, k*g), what multiplies the second table
    SG_BLOCKS_IDS,
    SG_BLOCKS_SCORES,
    SG_BLOCKS_UP, // cells: w_in (1, blocks*g, d); gated linear units: (blocks, 2g, d)
    SG_BLOCKS_UP_BIAS,
    SG_BLOCKS_DOWN,      // cells: w_out (1, blocks*g, d); experts: (blocks, d, g)
    SG_BLOCKS_DOWN_BIAS, // experts: (blocks, d); moefied: (d)
    SG_BLOCKS_COUNTS,
    SG_BLOCKS_MEAN, // moefied: (blocks*g)
    SG_BLOCKS_INPUTS
};

// Attributes of a node.
typedef struct sg_blocks {
    int64_t rows, k, blocks, g, d;
    int64_t width; // of what comes out of the first table: g, or 2g of a gated linear unit
    int64_t tile, tiles;
    int64_t piece; // rows that are gathered at once
    int64_t slab, slabs;
    bool glu;
    bool columns;     // cells are columns of the second table, not rows
    sg_glu_form form; // of a gated linear unit
    sg_activation activation;
    sg_gate gate;
    double trim;          // moefied: neurons with |act| at or below it count as 0; 0: none
    size_t wide;          // bytes at the start of each worker's scratch, for narrow weights
    size_t gemm;          // bytes behind them, in which products prepare their operands
    const int32_t *cells; // 0 … g-1
} sg_blocks;

typedef struct sg_blocks_part sg_blocks_part;
typedef void (*sg_blocks_fn)(const sg_blocks_part *part);

typedef struct sg_blocks_loop {
    const sg_run *run;
    const sg_node *node;
    const sg_blocks *a;
    int32_t *order, *starts; // (hits): row * k + slot; (blocks * tiles + 1): into the hits
    sg_real *u;              // (hits, width): what the activation is applied to
    sg_real *z, *da;         // backward: (hits, g) times gate; (hits, width)
    sg_real *grad[SG_BLOCKS_INPUTS];
    bool add[SG_BLOCKS_INPUTS];
    // Of sg_blocks_tiles.
    sg_real *results;
    bool add_results;
    sg_blocks_fn work;
} sg_blocks_loop;

// A run of hits of one block that are gathered together.
typedef struct sg_blocks_rows { // (m, d)
    const sg_real *values;
    const sg_bf16 *half; // where not NULL, read in place of values
} sg_blocks_rows;
struct sg_blocks_part {
    const sg_blocks_loop *l;
    int64_t block, at, m; // the first hit, and how many
    unsigned char *wide, *gemm;
    sg_real *room; // of the worker: piece rows of what was asked for
    bool alone;    // no other chunk runs: products may use all threads
};

// ---- recording --------------------------------------------------------------------------------

// A node of these inputs, and its attributes: `shape`, cut. Saves order and starts; a worker has
// room for `values` of each row of a piece. NULL: the tape has the error.
sg_node *sg_blocks_record(sg_tape *tape, const sg_op *op, sg_tensor *const in[SG_BLOCKS_INPUTS],
                          const sg_blocks *shape, int64_t values);
// Whether a selection fits memories of blocks.
bool sg_blocks_fit(const sg_selection *selection, const sg_blocks *shape);

// ---- running ----------------------------------------------------------------------------------

sg_blocks_loop sg_blocks_begin(const sg_run *run, const sg_node *node);
// Puts the hits in order; forward.
void sg_blocks_sort(const sg_blocks_loop *loop);
// Finds the gradients; void scores have none. Returns whether a table or bias wants its own.
bool sg_blocks_gradients(sg_blocks_loop *loop);
// Runs `work` for all parts, tile by tile, of whose results (rows, d) each row starts at 0 unless
// it is added to; NULL: there are none.
void sg_blocks_tiles(sg_blocks_loop *loop, sg_real *results, bool add, sg_blocks_fn work);
// The gradients of the tables from z and da: those that are wanted.
void sg_blocks_weights(const sg_blocks_loop *loop);

// ---- parts --------------------------------------------------------------------------------------

static inline int32_t sg_blocks_hit(const sg_blocks_part *p, int64_t i)
{
    return p->l->order[p->at + i];
}
static inline int64_t sg_blocks_row(const sg_blocks_part *p, int64_t i)
{
    return sg_blocks_hit(p, i) / p->l->a->k;
}
// How many of its k blocks a row selects.
static inline int64_t sg_blocks_count(const sg_node *node, const sg_blocks *a, int64_t row)
{
    const sg_tensor *counts = node->in[SG_BLOCKS_COUNTS];
    return counts == NULL ? a->k : sg_ints(counts)[row];
}
// 1 where there is no gate.
static inline sg_real sg_blocks_score(const sg_blocks_part *p, int64_t i)
{
    if (p->l->a->gate == SG_GATE_NONE) return 1;
    return sg_values(p->l->node->in[SG_BLOCKS_SCORES])[sg_blocks_hit(p, i)];
}
// What a bias of down counts, whoever applies the gate.
static inline sg_real sg_blocks_bias_score(const sg_blocks_part *p, int64_t i)
{
    return sg_values(p->l->node->in[SG_BLOCKS_SCORES])[sg_blocks_hit(p, i)];
}
static inline void sg_blocks_put_score(const sg_blocks_part *p, int64_t i, sg_real value)
{
    const sg_blocks_loop *l = p->l;
    sg_real *grad = l->grad[SG_BLOCKS_SCORES];
    if (grad == NULL) return;
    grad += sg_blocks_hit(p, i);
    *grad = (l->add[SG_BLOCKS_SCORES] ? *grad : 0) + value;
}

// The rows of x, in bf16 where it has that, or of dy, gathered in `room` (m, d); and back: those of
// `to` += from (m, d).
sg_blocks_rows sg_blocks_gather_x(const sg_blocks_part *p, sg_real *room);
sg_blocks_rows sg_blocks_gather_dy(const sg_blocks_part *p, sg_real *room);
void sg_blocks_scatter(const sg_blocks_part *p, sg_real *to, const sg_real *from);
// dx += du up where dx is wanted, du (m, width), through `room` (m, d).
void sg_blocks_dx(const sg_blocks_part *p, const sg_real *du, sg_real *room);
// Where hits are gated: dscore = z . dz, then z and dz (m, g) times their scores.
void sg_blocks_gate_backward(const sg_blocks_part *p, sg_real *z, sg_real *dz);
// c (m, n) = a W^T + beta c, W (n, k) the rows of the block in a table.
void sg_blocks_product(const sg_blocks_part *p, sg_real *c, sg_blocks_rows a, const sg_tensor *w,
                       int64_t n, int64_t k, sg_real beta);
// c (m, n) = a W, W (k, n) the rows of the block in a table.
void sg_blocks_product_rows(const sg_blocks_part *p, sg_real *c, const sg_real *a,
                            const sg_tensor *w, int64_t n, int64_t k);
// c (m, n) = the block's n numbers of a bias in each row, or nothing where there is none; the beta
// of what follows.
sg_real sg_blocks_bias(const sg_blocks_part *p, sg_real *c, int input, int64_t n);

// Values of hits in steps: to (m, n) from the hits of `from` (rows, k, n), and back, written or
// added. What is void of n values a hit set to 0.
void sg_blocks_take(const sg_blocks_part *p, sg_real *to, const sg_real *from, int64_t n);
void sg_blocks_put(const sg_blocks_part *p, sg_real *to, const sg_real *from, int64_t n, bool add);
void sg_blocks_void(const sg_blocks_loop *loop, sg_real *values, int64_t n);

// The last step of experts: y += gate (z down^T + b), made in `out`; without a gate, which is in z
// then, y += z down^T + score b. And back: dz (m, g), the gradients of the scores, z times its
// gate, and the rows of dy in `dys` (m, d).
void sg_blocks_experts(const sg_blocks_part *p, const sg_real *z, sg_real *out);
void sg_blocks_experts_backward(const sg_blocks_part *p, sg_real *z, sg_real *dz, sg_real *dys);

// c (m, g) = rows . cells: those of x with the first table, of dy with the second, made in `room`
// where there are many.
void sg_blocks_dots(const sg_blocks_part *p, sg_real *c, int input, sg_real *room);
// The rows of `to` (rows, d) += c (m, g) times cells, made in `room` where there are many.
void sg_blocks_sums(const sg_blocks_part *p, sg_real *to, const sg_real *c, int input,
                    sg_real *room);

#endif
