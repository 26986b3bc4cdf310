// The table of the plain C kernels.
#include "kernel/ref/ref.h"

static const sg_kernels ref_table = {
    .name = "ref",
    .dot = sg_ref_dot,
    .axpy = sg_ref_axpy,
    .add = sg_ref_add,
    .scale = sg_ref_scale,
    .sum_squares = sg_ref_sum_squares,
    .max = sg_ref_max,
    .exp_sum = sg_ref_exp_sum,
    .thin_product = sg_ref_thin_product,
    .thin_sum = sg_ref_thin_sum,
    .rmsnorm_forward = sg_ref_rmsnorm_forward,
    .rmsnorm_backward = sg_ref_rmsnorm_backward,
    .rope = sg_ref_rope,
    .softmax_forward = sg_ref_softmax_forward,
    .softmax_backward = sg_ref_softmax_backward,
    .attention_row = sg_ref_attention_row,
    .attention_key = sg_ref_attention_key,
    .act_forward = sg_ref_act_forward,
    .act_backward = sg_ref_act_backward,
    .glu_forward = sg_ref_glu_forward,
    .glu_backward = sg_ref_glu_backward,
    .topk = sg_ref_topk,
    .product_topk = sg_ref_product_topk,
    .gather_dots = sg_ref_gather_dots,
    .gather_sum = sg_ref_gather_sum,
    .to_bf16 = sg_ref_to_bf16,
    .from_bf16 = sg_ref_from_bf16,
    .from_int8 = sg_ref_from_int8,
    .thin_product_bf16 = sg_ref_thin_product_bf16,
    .thin_product_int8 = sg_ref_thin_product_int8,
    .gather_dots_bf16 = sg_ref_gather_dots_bf16,
    .gather_sum_bf16 = sg_ref_gather_sum_bf16,
    .gather_dots_int8 = sg_ref_gather_dots_int8,
    .gather_sum_int8 = sg_ref_gather_sum_int8,
    .from_f16 = sg_ref_from_f16,
    .thin_product_f16 = sg_ref_thin_product_f16,
    .gather_dots_f16 = sg_ref_gather_dots_f16,
    .gather_sum_f16 = sg_ref_gather_sum_f16,
    .from_blocks = sg_ref_from_blocks,
    .dots_blocks = sg_ref_dots_blocks,
    .adamw = sg_ref_adamw,
    .adamw_idle = sg_ref_adamw_idle,
};

const sg_kernels *sg_kernels_ref(void)
{
    return &ref_table;
}
