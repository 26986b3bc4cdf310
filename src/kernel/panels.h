// Operands of products in the form that matrix units read: bf16, dense, filled up with zeros, in
// pieces of a fixed size, so that the shapes of all products of pieces are few. For bf16x3 each
// number x is hi + lo, two bf16, which lie in parts of their own, and a product is the sum of three
// of those: A_lo B_hi + A_hi B_lo + A_hi B_hi.
#ifndef SG_KERNEL_PANELS_H
#define SG_KERNEL_PANELS_H

#include "kernel/gemm.h"

enum {
    SG_PANEL_TILE = 128,   // rows of A and C in one product at most
    SG_PANEL_ROWS = 16,    // of which they are a multiple
    SG_PANEL_WIDTH = 256,  // columns of B and C in one product at most
    SG_PANEL_BLOCK = 64,   // of which they are a multiple
    SG_PANEL_DEPTH = 1024, // of k in one product at most
    SG_PANEL_STEP = 32     // of which it is a multiple
};

static inline int64_t sg_panel_up(int64_t size, int64_t step)
{
    return sg_chunks(size, step) * step;
}

// How many bf16 stand for one number: 1, or hi and lo.
static inline int64_t sg_panel_parts(sg_compute_kind kind)
{
    return kind == SG_COMPUTE_BF16X3 ? 2 : 1;
}

// k is cut into pieces of SG_PANEL_DEPTH; how deep piece `piece` is, as numbers and filled up.
static inline int64_t sg_panel_count(int64_t k, int64_t piece)
{
    const int64_t left = k - piece * SG_PANEL_DEPTH;
    return left < SG_PANEL_DEPTH ? left : SG_PANEL_DEPTH;
}
static inline int64_t sg_panel_depth(int64_t k, int64_t piece)
{
    return sg_panel_up(sg_panel_count(k, piece), SG_PANEL_STEP);
}

// One operand as it is stored.
typedef struct sg_panel_from {
    const sg_real *wide;
    const sg_bf16 *half; // or NULL
    const sg_bf16 *low;  // bf16x3: NULL, or the second part of half
    int64_t stride;
    bool by_k;        // stored as (k, outer), else as (outer, k)
    int64_t outer, k; // op(A) is (outer, k), op(B) is (k, outer)
    sg_compute_kind kind;
} sg_panel_from;

// op(A) as pieces behind each other, each of parts (outer filled up to SG_PANEL_ROWS, depth)
// row-major; op(B) as pieces, each panels of SG_PANEL_WIDTH columns (the last of what is left,
// filled up to SG_PANEL_BLOCK), each of parts (depth, columns): for each 64 columns, for each two
// rows of k, the two numbers of each column. Elements of both; where a row of A or a panel of B
// lies, and how far behind its hi the lo of it.
int64_t sg_panel_a_size(int64_t m, int64_t k, sg_compute_kind kind);
int64_t sg_panel_b_size(int64_t n, int64_t k, sg_compute_kind kind);
int64_t sg_panel_a_at(const sg_panel_from *a, int64_t piece, int64_t row);
int64_t sg_panel_b_at(const sg_panel_from *b, int64_t piece, int64_t panel);
int64_t sg_panel_a_low(const sg_panel_from *a, int64_t piece);
int64_t sg_panel_b_low(const sg_panel_from *b, int64_t piece, int64_t panel);

// On the pool; NULL: on the calling thread. The rows of A from `first` on, a multiple of 16.
void sg_panel_pack_a(sg_compute compute, sg_bf16 *to, const sg_panel_from *a, int64_t first);
// Rows [row, row + rows) alone, of A stored as (outer, k).
void sg_panel_pack_rows(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *a, int64_t row,
                        int64_t rows);
void sg_panel_pack_b(sg_compute compute, sg_bf16 *to, const sg_panel_from *b);
// Rows of k [row, row + rows) and panels [first, end) alone, of B stored as (k, outer), of which b
// has those; row and rows are multiples of SG_PANEL_STEP, or rows are the last. The parts make the
// whole.
void sg_panel_pack_part(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *b, int64_t row,
                        int64_t rows, int64_t first, int64_t end);
// Columns [64 block, 64 block + 64) alone, of which b->wide holds those, stored as rows of k.
void sg_panel_pack_block(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *b,
                         int64_t block);
// The numbers that op(B) packed stands for: number (p, j) of op(B) to y[p step_k + j step_n], for
// k in [p0, p0 + pn) and columns in [j0, j0 + jn). For what is too small for the units.
typedef struct sg_panel_window {
    int64_t p0, pn, j0, jn, step_k, step_n;
} sg_panel_window;
void sg_panel_unpack(sg_real *y, const sg_bf16 *packed, const sg_panel_from *b,
                     const sg_panel_window *w);

#endif
