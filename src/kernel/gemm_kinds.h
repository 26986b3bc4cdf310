// Products of other kinds than f32, behind gemm.h: by the matrix units where the processor has
// some, else as products in f32 of operands that are rounded.
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

// Which way products of that kind and shape go: none but f32, f32 of rounded operands, the units.
typedef enum sg_kind_way { SG_KIND_PLAIN, SG_KIND_ROUNDED, SG_KIND_UNITS } sg_kind_way;
sg_kind_way sg_kind_way_of(sg_compute_kind kind, int64_t m, int64_t n, int64_t k);
// Numbers behind each other as the kind reads them, in f32; `to` may be `from`. half: NULL, or what
// they are already; low: NULL, or in bf16x3 the second part of that.
void sg_kind_round(const sg_kernels *kernels, sg_compute_kind kind, sg_real *to,
                   const sg_real *from, const sg_bf16 *half, const sg_bf16 *low, int64_t n);
// The same of A, as it is stored, to rows without gaps.
void sg_kind_round_a(sg_compute compute, const sg_gemm_args *args, sg_real *to);
// Where in room op(B) packed for the units lies.
sg_bf16 *sg_kind_room_b(const sg_gemm_args *args);

// ---- the units ----------------------------------------------------------------------------------

// The product with op(B) packed, by sg_gemm_unit of its kind.
void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed);

static inline sg_panel_from sg_units_a(const sg_gemm_args *args)
{
    const bool parts = args->kind == SG_COMPUTE_BF16X3 && args->a_low != NULL;
    return (sg_panel_from){.wide = args->a,
                           .half = args->kind == SG_COMPUTE_BF16 || parts ? args->a_half : NULL,
                           .low = parts ? args->a_low : NULL,
                           .stride = args->lda,
                           .by_k = args->transpose_a,
                           .outer = args->m,
                           .k = args->k,
                           .kind = args->kind};
}

static inline sg_panel_from sg_units_b(const sg_gemm_args *args)
{
    const sg_bf16 *half = args->kind == SG_COMPUTE_BF16 ? args->b_half : NULL;
    return (sg_panel_from){.wide = args->b,
                           .half = half,
                           .stride = args->ldb,
                           .by_k = !args->transpose_b,
                           .outer = args->n,
                           .k = args->k,
                           .kind = args->kind};
}

#endif
