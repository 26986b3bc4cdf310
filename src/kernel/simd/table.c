// The table of the kernels that are being compiled.
#include "kernel/ref/ref.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/tables.h"

// Selection and weights in blocks are written for each table alone, as they move numbers between
// lanes in ways of their own; NEON has the plain ones.
#if defined(SIMD_NEON)
#define TABLE_KERNEL(kernel) sg_ref_##kernel
#else
#define TABLE_KERNEL(kernel) SIMD_NAME(kernel)
#endif

const sg_kernels SIMD_NAME(table) = {
    .name = SIMD_TABLE,
    .dot = SIMD_NAME(dot),
    .axpy = SIMD_NAME(axpy),
    .add = SIMD_NAME(add),
    .scale = SIMD_NAME(scale),
    .sum_squares = SIMD_NAME(sum_squares),
    .multiply_adds = SIMD_NAME(multiply_adds),
    .max = SIMD_NAME(max),
    .exp_sum = SIMD_NAME(exp_sum),
    .thin_product = SIMD_NAME(thin_product),
    .thin_sum = SIMD_NAME(thin_sum),
    .add_forward = SIMD_NAME(add_forward),
    .rmsnorm_forward = SIMD_NAME(rmsnorm_forward),
    .rmsnorm_backward = SIMD_NAME(rmsnorm_backward),
    .rope = SIMD_NAME(rope),
    .softmax_forward = SIMD_NAME(softmax_forward),
    .softmax_backward = SIMD_NAME(softmax_backward),
    .attention_row = SIMD_NAME(attention_row),
    .attention_key = SIMD_NAME(attention_key),
    .act_forward = SIMD_NAME(act_forward),
    .act_backward = SIMD_NAME(act_backward),
    .glu_forward = SIMD_NAME(glu_forward),
    .glu_backward = SIMD_NAME(glu_backward),
    .topk = TABLE_KERNEL(topk),
    .product_topk = TABLE_KERNEL(product_topk),
    .product_topk_rows = TABLE_KERNEL(product_topk_rows),
    .screen_scores = TABLE_KERNEL(screen_scores),
    .not_below = TABLE_KERNEL(not_below),
    .gather_dots = SIMD_NAME(gather_dots),
    .gather_sum = SIMD_NAME(gather_sum),
    .to_bf16 = SIMD_NAME(to_bf16),
    .from_bf16 = SIMD_NAME(from_bf16),
    .split_bf16 = SIMD_NAME(split_bf16),
    .pair_bf16 = SIMD_NAME(pair_bf16),
    .transpose_pairs = SIMD_NAME(transpose_pairs),
    .from_int8 = SIMD_NAME(from_int8),
    .thin_product_bf16 = SIMD_NAME(thin_product_bf16),
    .thin_product_int8 = SIMD_NAME(thin_product_int8),
    .gather_dots_bf16 = SIMD_NAME(gather_dots_bf16),
    .gather_sum_bf16 = SIMD_NAME(gather_sum_bf16),
    .gather_dots_pairs = SIMD_NAME(gather_dots_pairs),
    .slice_both = SIMD_NAME(slice_both),
    .slice_sum = SIMD_NAME(slice_sum),
    .gather_dots_int8 = SIMD_NAME(gather_dots_int8),
    .gather_sum_int8 = SIMD_NAME(gather_sum_int8),
    .from_f16 = SIMD_NAME(from_f16),
    .thin_product_f16 = SIMD_NAME(thin_product_f16),
    .gather_dots_f16 = SIMD_NAME(gather_dots_f16),
    .gather_sum_f16 = SIMD_NAME(gather_sum_f16),
    .from_blocks = TABLE_KERNEL(from_blocks),
    .dots_blocks = TABLE_KERNEL(dots_blocks),
    .sum_blocks = TABLE_KERNEL(sum_blocks),
    .adamw = SIMD_NAME(adamw),
    .adamw_idle = SIMD_NAME(adamw_idle),
};
