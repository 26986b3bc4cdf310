// Products of other kinds than f32, behind gemm.h: by the matrix units where the processor has some,
// else as products in f32 of operands that are rounded.
#ifndef SG_KERNEL_GEMM_KINDS_H
#define SG_KERNEL_GEMM_KINDS_H

#include "kernel/panels.h"

// How sg_gemm_deep cuts k; scratch as there.
typedef struct sg_kind_pieces {
    int64_t count, depth;
    sg_real *scratch;
} sg_kind_pieces;

// Computes the product, whose kind is not f32 and whose m, n, k are above 0, or returns false with
// the product in f32 that it comes to. compute.pool NULL: on the calling thread; cut NULL: k is not
// cut.
bool sg_kind_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                     sg_gemm_args *rounded);

// ---- the units ----------------------------------------------------------------------------------

// SG_PANEL_NONE: none are used.
sg_panel_order sg_units_order(void);
// The product with op(B) packed in that order.
void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed, sg_panel_order order);

static inline sg_panel_from sg_units_a(const sg_gemm_args *args)
{
    const sg_bf16 *half = args->kind == SG_COMPUTE_BF16 ? args->a_half : NULL;
    return (sg_panel_from){args->a, half,    args->lda, args->transpose_a,
                           args->m, args->k, args->kind};
}

static inline sg_panel_from sg_units_b(const sg_gemm_args *args)
{
    const sg_bf16 *half = args->kind == SG_COMPUTE_BF16 ? args->b_half : NULL;
    return (sg_panel_from){args->b, half,    args->ldb, !args->transpose_b,
                           args->n, args->k, args->kind};
}

#endif
