// What the operations have in common that read a memory neuron by neuron: the one that does all at
// once (memory_neurons.c), and that which stops at the dot products (memory_steps.c). How the work
// is cut, the order in which tables are read, the products with selected rows, and the gradients of
// the tables (neurons.c); the same in bf16 (neurons_slices.c).
#ifndef SG_FFN_NEURONS_H
#define SG_FFN_NEURONS_H

#include <string.h>

#include "ffn/hits.h"
#include "ffn/memory.h"

// Inputs of a node.
enum {
    SG_NEURONS_X,      // (rows, d); NULL: values alone
    SG_NEURONS_IDS,    // (rows, channels*k)
    SG_NEURONS_SCORES, // (rows, channels*k), or NULL
    SG_NEURONS_IN,     // (pools, n, d), or NULL
    SG_NEURONS_OUT,    // (pools, n, d), or NULL
    SG_NEURONS_COUNTS, // (rows, channels), or NULL
    SG_NEURONS_INPUTS
};

// Attributes of a node.
typedef struct sg_neurons {
    int64_t channels, k, pools, n, d, rows; // n: neurons of a pool
    int64_t tile;                           // rows of a tile
    int64_t span, spans;                    // rows of a tile of the reverse index, and how many
    int64_t block;                          // neurons of a chunk of gradients
    int hit_values;                         // likewise: arrays of the values of hits in scratch
    int64_t bits, blocks;       // through products: block is 1 << bits neurons, blocks of a pool
    int64_t of_channel, of_row; // likewise: where the values of hits are (sg_neurons_loop)
    sg_memory_order order;      // of the last forward pass
    unsigned char *seen;        // (pools, n) while measuring; NULL: one row, or hits are sorted
    int64_t passes;
    sg_activation activation;
    sg_gate gate;
    bool by_row; // a table has its gradient by rows: the last saved is the order of these hits
    bool sliced; // in bf16 and hit often: tables are rounded, and summed by slices
    sg_hits hits;
} sg_neurons;

// A hit is one selected neuron of one row. Values of hits are where a channel and a row say.
typedef struct sg_neurons_loop {
    const sg_run *run;
    const sg_node *node;
    const sg_neurons *a;
    sg_real *dx, *dscores, *dw_in, *dw_out;
    bool add_x, add_scores, add_in, add_out;
    // Backward: what multiplies w_out, and the gradient of the dot products; NULL: not needed.
    const sg_real *z, *da;
    int64_t of_channel, of_row; // hit i of channel c and row r is at c of_channel + r of_row + i
    int64_t channel, end;       // channels of this pass
    bool dots, sums;            // what this pass does: the first table it reads, the second
    // Of the gradients of tables: x and dy, in bf16 where the tape computes so.
    sg_stored x_rows, dy_rows;
    // Backward: dz comes with the gradient of w_out, as both read dy (sg_neurons_out).
    bool fused;
    bool sliced;                   // this pass goes as neurons_slices.c has it
    sg_real *dz;                   // fused or sliced: where it goes, which is where da will be
    int32_t *place_sorted;         // where the value of a sorted hit is; fused
    sg_real *z_sorted, *da_sorted; // by pool, span, neuron, in the order of rows
    int32_t *row_sorted;
    int32_t *offsets; // (pools, spans, n + 1) into the hits of a pool and span
} sg_neurons_loop;

// ---- recording --------------------------------------------------------------------------------

// Attributes of a selection that fits; NULL: the tape has the error.
sg_neurons *sg_neurons_new(sg_tape *tape, const sg_selection *selection, const sg_tensor *table);
// Completes them, makes them the node's, and saves what the common part needs behind what is saved
// already; false: the tape has the error.
bool sg_neurons_record(sg_tape *tape, sg_node *node, sg_neurons *a);
// Bytes of scratch of both directions, if the operation puts so many values in front.
size_t sg_neurons_scratch(const sg_node *node, const sg_neurons *a, int64_t values);
// Whether a selection fits a memory that is read neuron by neuron, of which a table is given.
bool sg_neurons_fit(const sg_selection *selection, const sg_tensor *table);

// ---- running ----------------------------------------------------------------------------------

// At the start of a forward pass: announces the rows of tables whose gradient is kept by rows, and
// chooses the order of tables.
void sg_neurons_begin(const sg_run *run, const sg_node *node);
// Calls `fn` for all tiles of rows: once for everything, or table by table.
void sg_neurons_passes(sg_neurons_loop *loop, sg_range_fn fn);
// Row r of x; where it is in bf16, made in `room` (d).
static inline const sg_real *sg_neurons_x(const sg_neurons_loop *l, int64_t r, sg_real *room)
{
    const sg_bf16 *half = sg_half_in(l->node, SG_NEURONS_X);
    if (half == NULL) return sg_values(l->node->in[SG_NEURONS_X]) + r * l->a->d;
    l->run->compute.kernels->from_bf16(room, half + r * l->a->d, l->a->d);
    return room;
}
// All rows of x, as they are; .rows NULL: there is none.
static inline sg_stored sg_neurons_x_rows(const sg_node *node)
{
    const sg_tensor *x = node->in[SG_NEURONS_X];
    if (x == NULL) return (sg_stored){0};
    if (sg_half_in(node, SG_NEURONS_X) != NULL)
        return (sg_stored){.type = SG_WEIGHTS_BF16, .rows = x->half};
    return (sg_stored){.rows = x->data};
}
// The scores of channel c for `rows` rows from `first` on, made contiguous; 0 behind the count. And
// their gradients back into loop->dscores.
void sg_neurons_scores(const sg_node *node, const sg_neurons *a, int64_t first, int64_t rows,
                       int64_t c, sg_real *out);
void sg_neurons_put_scores(const sg_neurons_loop *loop, int64_t first, int64_t rows, int64_t c,
                           const sg_real *dscore);
// The operation's part of its scratch: what lies in front of it is that of sg_neurons_weights too.
sg_real *sg_neurons_room(const sg_run *run, const sg_node *node);
// Whether the gradient of w_out comes with dz: of hits that are counted, as each reads a row of dy
// for both.
bool sg_neurons_fuses(const sg_neurons_loop *loop);
// That gradient from z, and dz, put where da will be.
void sg_neurons_out(sg_neurons_loop *loop, sg_real *scratch);
// The gradients of both tables from z and da, or of the first where that of the second is there, in
// `scratch`, which begins in the room.
void sg_neurons_weights(sg_neurons_loop *loop, sg_real *scratch);

// The hits of one pool in one span of rows; they are together in both orders.
typedef struct sg_neurons_part {
    int64_t channel, channels; // of the pool
    int64_t row, end;
    int64_t base; // of its sorted hits
    int32_t *offsets;
} sg_neurons_part;
sg_neurons_part sg_neurons_part_at(const sg_neurons_loop *loop, int64_t pool, int64_t span);
// Its offsets: hits a neuron, as if all that is selected came before it.
void sg_neurons_count_part(const sg_neurons_loop *loop, const sg_neurons_part *part);

// ---- in slices (neurons_slices.c) ---------------------------------------------------------------

// The spans of rows. Bytes at the start of scratch, and behind them, in front of the room of an
// operation.
void sg_slices_cut(sg_neurons *a);
size_t sg_slices_front(const sg_neurons *a);
size_t sg_slices_bytes(const sg_neurons *a);
// Whether a node's passes go so: its shape and kind say so, and tables can be rounded to bf16.
bool sg_slices_used(const sg_node *node);
// Values of hits are (rows, channels, k) here. dots: x (rows, d), which is rounded to bf16 where it
// is not, times what is selected; 0 behind counts.
void sg_slices_dots(const sg_neurons_loop *loop, sg_stored x, const sg_tensor *table,
                    sg_real *dots);
// y (rows, d) = sums of what is selected times the values, or added to.
void sg_slices_sums(const sg_neurons_loop *loop, sg_real *y, bool add, const sg_tensor *table,
                    const sg_real *values);
// What sg_neurons_out and sg_neurons_weights do.
void sg_slices_out(sg_neurons_loop *loop);
void sg_slices_weights(sg_neurons_loop *loop);

static inline int64_t sg_neurons_hits(const sg_neurons *a)
{
    return a->channels * a->rows * a->k;
}

static inline sg_stored sg_neurons_pool(const sg_neurons *a, const sg_tensor *table, int64_t c)
{
    if (table == NULL) return (sg_stored){0};
    sg_stored all = sg_weights_of(table);
    return sg_stored_at(&all, (a->pools == 1 ? 0 : c) * a->n, a->d);
}

static inline const int32_t *sg_neurons_ids(const sg_node *node, const sg_neurons *a, int64_t row,
                                            int64_t c)
{
    return sg_ints(node->in[SG_NEURONS_IDS]) + (row * a->channels + c) * a->k;
}

// How many of them are selected.
static inline int64_t sg_neurons_count(const sg_node *node, const sg_neurons *a, int64_t row,
                                       int64_t c)
{
    const sg_tensor *counts = node->in[SG_NEURONS_COUNTS];
    return counts == NULL ? a->k : sg_ints(counts)[row * a->channels + c];
}

// The ids of the row behind `row`, which are read next; NULL at the end of a tile, or where there
// are fewer than `count`.
static inline const int32_t *sg_neurons_next(const sg_node *node, const sg_neurons *a, int64_t row,
                                             int64_t end, int64_t c, int64_t count)
{
    if (row + 1 >= end || sg_neurons_count(node, a, row + 1, c) < count) return NULL;
    return sg_neurons_ids(node, a, row + 1, c);
}

// dots (k): those of x with the selected neurons of a row and channel, in rows up to `end`; 0
// behind the count.
static inline void sg_neurons_dots(const sg_neurons_loop *l, sg_real *dots, const sg_real *x,
                                   const sg_stored *table, int64_t row, int64_t end, int64_t c)
{
    const sg_neurons *a = l->a;
    int64_t count = sg_neurons_count(l->node, a, row, c);
    sg_gather_dots_next(l->run->compute.kernels, dots, x, table, sg_neurons_ids(l->node, a, row, c),
                        sg_neurons_next(l->node, a, row, end, c, count), count, a->d);
    for (int64_t i = count; i < a->k; i++)
        dots[i] = 0;
}

// y += the selected neurons, each times its z (k).
static inline void sg_neurons_sums(const sg_neurons_loop *l, sg_real *y, const sg_real *z,
                                   const sg_stored *table, int64_t row, int64_t end, int64_t c)
{
    const sg_neurons *a = l->a;
    int64_t count = sg_neurons_count(l->node, a, row, c);
    sg_gather_sum_next(l->run->compute.kernels, y, z, table, sg_neurons_ids(l->node, a, row, c),
                       sg_neurons_next(l->node, a, row, end, c, count), count, a->d);
}

#endif
