// The table of the AVX2+FMA kernels.
#include "kernel/avx2/avx2.h"
#include "kernel/avx2/kernels.h"

const sg_kernels sg_avx2_table = {
    .name = "avx2",
    .dot = sg_avx2_dot,
    .axpy = sg_avx2_axpy,
    .add = sg_avx2_add,
    .scale = sg_avx2_scale,
    .sum_squares = sg_avx2_sum_squares,
    .max = sg_avx2_max,
    .exp_sum = sg_avx2_exp_sum,
    .thin_product = sg_avx2_thin_product,
    .rmsnorm_forward = sg_avx2_rmsnorm_forward,
    .rmsnorm_backward = sg_avx2_rmsnorm_backward,
    .rope = sg_avx2_rope,
    .softmax_forward = sg_avx2_softmax_forward,
    .softmax_backward = sg_avx2_softmax_backward,
    .attention_row = sg_avx2_attention_row,
    .act_forward = sg_avx2_act_forward,
    .act_backward = sg_avx2_act_backward,
    .swiglu_forward = sg_avx2_swiglu_forward,
    .swiglu_backward = sg_avx2_swiglu_backward,
    .topk = sg_avx2_topk,
    .product_topk = sg_avx2_product_topk,
    .gather_dots = sg_avx2_gather_dots,
    .gather_sum = sg_avx2_gather_sum,
    .adamw = sg_avx2_adamw,
    .adamw_idle = sg_avx2_adamw_idle,
};
