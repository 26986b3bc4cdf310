// The plain C kernels, listed for the table; see kernel/kernel.h for what each computes. They are
// written to be read and checked, and are the definition that faster tables are tested against.
#ifndef SG_KERNEL_REF_REF_H
#define SG_KERNEL_REF_REF_H

#include "kernel/kernel.h"

sg_real sg_ref_dot(const sg_real *a, const sg_real *b, int64_t n);
void sg_ref_axpy(sg_real *y, sg_real alpha, const sg_real *x, int64_t n);
void sg_ref_add(sg_real *y, const sg_real *a, const sg_real *b, int64_t n);
void sg_ref_scale(sg_real *y, sg_real alpha, int64_t n);
double sg_ref_sum_squares(const sg_real *x, int64_t n);
int64_t sg_ref_multiply_adds(sg_real *y, sg_real a, sg_real b, int64_t times);
sg_real sg_ref_max(const sg_real *x, int64_t n);
sg_real sg_ref_exp_sum(sg_real *y, const sg_real *x, sg_real shift, int64_t n);
void sg_ref_thin_product(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                         const sg_real *w, int64_t ldw, int64_t n, int64_t d);
void sg_ref_thin_sum(sg_real *y, int64_t ldy, const sg_real *s, int64_t lds, int64_t m,
                     const sg_real *v, int64_t ldv, int64_t n, int64_t d);

void sg_ref_add_forward(sg_target y, const sg_real *a, const sg_real *b, int64_t n);
void sg_ref_rmsnorm_forward(sg_target y, sg_real *rstd, sg_source x, const sg_real *w, int64_t rows,
                            int64_t d, double eps);
void sg_ref_rmsnorm_backward(sg_real *dx, sg_real *dw, const sg_real *dy, sg_source x,
                             const sg_real *w, const sg_real *rstd, int64_t rows, int64_t d,
                             bool accumulate);
void sg_ref_rope(sg_target y, sg_source x, const sg_real *cosines, const sg_real *sines,
                 int64_t heads, int64_t head_dim, int64_t half, sg_real s);
void sg_ref_softmax_forward(sg_real *y, const sg_real *x, int64_t rows, int64_t n);
void sg_ref_softmax_backward(sg_real *dx, const sg_real *dy, const sg_real *y, int64_t rows,
                             int64_t n, bool accumulate);
void sg_ref_attention_row(sg_real *s, sg_real *dp, sg_real lse, sg_real delta, int64_t n);
void sg_ref_attention_key(sg_real *s, sg_real *dp, const sg_real *lse, const sg_real *delta,
                          int64_t n);

// One number; slope: the derivative.
sg_real sg_ref_act_value(sg_real x, sg_activation act);
sg_real sg_ref_act_slope(sg_real x, sg_activation act);
void sg_ref_act_forward(sg_real *y, const sg_real *x, sg_activation act, int64_t n);
void sg_ref_act_backward(sg_real *dx, const sg_real *dy, const sg_real *x, sg_activation act,
                         int64_t n, bool accumulate);
void sg_ref_glu_forward(sg_real *y, const sg_real *u, int64_t rows, int64_t f,
                        const sg_glu_form *form);
void sg_ref_glu_backward(sg_real *du, const sg_real *dy, const sg_real *u, int64_t rows, int64_t f,
                         const sg_glu_form *form);

void sg_ref_topk(int32_t *ids, sg_real *scores, const sg_real *x, int64_t n, int64_t k);
void sg_ref_product_topk(int32_t *ids, sg_real *scores, const sg_real *s0, const sg_real *s1,
                         int64_t n, int64_t k);
void sg_ref_product_topk_rows(int32_t *ids, sg_real *scores, int64_t ldy, const sg_real *s0,
                              const sg_real *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k);
float sg_ref_screen_scores(sg_real *y, const int16_t *q, float unit, const int8_t *w,
                           const float *scales, int64_t n, int64_t d);
int64_t sg_ref_not_below(int32_t *places, const sg_real *x, int64_t n, sg_real bound);

void sg_ref_gather_dots(sg_real *a, const sg_real *x, const sg_real *table, const int32_t *rows,
                        int64_t count, int64_t d);
void sg_ref_gather_sum(sg_real *y, const sg_real *z, const sg_real *table, const int32_t *rows,
                       int64_t count, int64_t d);

void sg_ref_to_bf16(sg_bf16 *y, const sg_real *x, int64_t n);
void sg_ref_from_bf16(sg_real *y, const sg_bf16 *x, int64_t n);
void sg_ref_split_bf16(sg_bf16 *hi, sg_bf16 *lo, const sg_real *x, int64_t n);
void sg_ref_pair_bf16(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd, int64_t n);
void sg_ref_transpose_pairs(sg_bf16 *y, int64_t ldy, const sg_bf16 *x, int64_t ldx, int64_t m,
                            int64_t n);
void sg_ref_from_int8(sg_real *y, const int8_t *q, float scale, int64_t n);
void sg_ref_thin_product_bf16(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d);
void sg_ref_thin_product_int8(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                              int64_t d);
void sg_ref_gather_dots_bf16(sg_real *a, const sg_real *x, const sg_bf16 *table,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
void sg_ref_gather_sum_bf16(sg_real *y, const sg_real *z, const sg_bf16 *table, const int32_t *rows,
                            const int32_t *next, int64_t count, int64_t d);
void sg_ref_gather_dots_pairs(sg_real *a, const sg_bf16 *x, const sg_bf16 *table,
                              const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
void sg_ref_slice_sum(sg_real *y, const sg_real *z, const sg_bf16 *slice, const int32_t *rows,
                      int64_t count, int64_t known, int64_t n, bool add);
void sg_ref_slice_both(sg_real *a, sg_real *y, const sg_bf16 *x, const sg_real *z,
                       const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                       int64_t n, bool add_a, bool add_y);
void sg_ref_gather_dots_int8(sg_real *a, const sg_real *x, const int8_t *table, const float *scales,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
void sg_ref_gather_sum_int8(sg_real *y, const sg_real *z, const int8_t *table, const float *scales,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d);

void sg_ref_from_f16(sg_real *y, const uint16_t *x, int64_t n);
void sg_ref_thin_product_f16(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                             const uint16_t *w, int64_t ldw, int64_t n, int64_t d);
void sg_ref_gather_dots_f16(sg_real *a, const sg_real *x, const uint16_t *table,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
void sg_ref_gather_sum_f16(sg_real *y, const sg_real *z, const uint16_t *table, const int32_t *rows,
                           const int32_t *next, int64_t count, int64_t d);
void sg_ref_from_blocks(sg_real *y, sg_weights type, const void *blocks, const void *scales,
                        int64_t n);
void sg_ref_dots_blocks(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                        sg_weights type, const void *table, const void *scales, const int32_t *rows,
                        int64_t n, int64_t d);
void sg_ref_sum_blocks(sg_real *y, const sg_real *z, sg_weights type, const void *table,
                       const void *scales, const int32_t *rows, int64_t count, int64_t d);

void sg_ref_adamw(sg_real *p, sg_real *m, sg_real *v, const sg_real *g, int64_t n,
                  const sg_adamw_args *args);
void sg_ref_adamw_idle(sg_real *p, sg_real *m, sg_real *v, int64_t n,
                       const sg_adamw_idle_args *args);

#endif
