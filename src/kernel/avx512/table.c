// The table of the AVX-512 kernels. AdamW stays as it is: in caches it waits for divisions and roots,
// which take as long for sixteen as for twice eight, and elsewhere for memory.
#include "kernel/avx2/kernels.h"
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/kernels.h"

const sg_kernels sg_avx512_table = {
    .name = "avx512",
    .dot = sg_avx512_dot,
    .axpy = sg_avx512_axpy,
    .add = sg_avx512_add,
    .scale = sg_avx512_scale,
    .sum_squares = sg_avx512_sum_squares,
    .max = sg_avx512_max,
    .exp_sum = sg_avx512_exp_sum,
    .thin_product = sg_avx512_thin_product,
    .rmsnorm_forward = sg_avx512_rmsnorm_forward,
    .rmsnorm_backward = sg_avx512_rmsnorm_backward,
    .rope = sg_avx512_rope,
    .softmax_forward = sg_avx512_softmax_forward,
    .softmax_backward = sg_avx512_softmax_backward,
    .attention_row = sg_avx512_attention_row,
    .act_forward = sg_avx512_act_forward,
    .act_backward = sg_avx512_act_backward,
    .swiglu_forward = sg_avx512_swiglu_forward,
    .swiglu_backward = sg_avx512_swiglu_backward,
    .topk = sg_avx512_topk,
    .product_topk = sg_avx512_product_topk,
    .gather_dots = sg_avx512_gather_dots,
    .gather_sum = sg_avx512_gather_sum,
    .adamw = sg_avx2_adamw,
};
