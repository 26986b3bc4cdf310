// The kernels of the table that is being compiled; see kernel/kernel.h for what each computes.
#ifndef SG_KERNEL_SIMD_KERNELS_H
#define SG_KERNEL_SIMD_KERNELS_H

#include "kernel/kernel.h"
#include "kernel/simd/simd.h"

float SIMD_NAME(dot)(const float *a, const float *b, int64_t n);
void SIMD_NAME(axpy)(float *y, float alpha, const float *x, int64_t n);
void SIMD_NAME(add)(float *y, const float *a, const float *b, int64_t n);
void SIMD_NAME(scale)(float *y, float alpha, int64_t n);
double SIMD_NAME(sum_squares)(const float *x, int64_t n);
int64_t SIMD_NAME(multiply_adds)(float *y, float a, float b, int64_t times);
float SIMD_NAME(max)(const float *x, int64_t n);
float SIMD_NAME(exp_sum)(float *y, const float *x, float shift, int64_t n);
void SIMD_NAME(thin_product)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                             const float *w, int64_t ldw, int64_t n, int64_t d);
void SIMD_NAME(thin_sum)(float *y, int64_t ldy, const float *s, int64_t lds, int64_t m,
                         const float *v, int64_t ldv, int64_t n, int64_t d);

void SIMD_NAME(add_forward)(sg_target y, const float *a, const float *b, int64_t n);
void SIMD_NAME(rmsnorm_forward)(sg_target y, float *rstd, sg_source x, const float *w, int64_t rows,
                                int64_t d, double eps);
void SIMD_NAME(rmsnorm_backward)(float *dx, float *dw, const float *dy, sg_source x, const float *w,
                                 const float *rstd, int64_t rows, int64_t d, bool accumulate);
void SIMD_NAME(rope)(sg_target y, sg_source x, const float *cosines, const float *sines,
                     int64_t heads, int64_t head_dim, int64_t half, float s);
void SIMD_NAME(softmax_forward)(float *y, const float *x, int64_t rows, int64_t n);
void SIMD_NAME(softmax_backward)(float *dx, const float *dy, const float *y, int64_t rows,
                                 int64_t n, bool accumulate);
void SIMD_NAME(attention_row)(float *s, float *dp, float lse, float delta, int64_t n);
void SIMD_NAME(attention_key)(float *s, float *dp, const float *lse, const float *delta, int64_t n);

void SIMD_NAME(act_forward)(float *y, const float *x, sg_activation act, int64_t n);
void SIMD_NAME(act_backward)(float *dx, const float *dy, const float *x, sg_activation act,
                             int64_t n, bool accumulate);
void SIMD_NAME(glu_forward)(float *y, const float *u, int64_t rows, int64_t f,
                            const sg_glu_form *form);
void SIMD_NAME(glu_backward)(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                             const sg_glu_form *form);

void SIMD_NAME(topk)(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k);
void SIMD_NAME(product_topk)(int32_t *ids, float *scores, const float *s0, const float *s1,
                             int64_t n, int64_t k);
void SIMD_NAME(product_topk_rows)(int32_t *ids, float *scores, int64_t ldy, const float *s0,
                                  const float *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k);
float SIMD_NAME(screen_scores)(float *y, const int16_t *q, float unit, const int8_t *w,
                               const float *scales, int64_t n, int64_t d);
int64_t SIMD_NAME(not_below)(int32_t *places, const float *x, int64_t n, float bound);

void SIMD_NAME(gather_dots)(float *a, const float *x, const float *table, const int32_t *rows,
                            int64_t count, int64_t d);
void SIMD_NAME(gather_sum)(float *y, const float *z, const float *table, const int32_t *rows,
                           int64_t count, int64_t d);

void SIMD_NAME(to_bf16)(sg_bf16 *y, const float *x, int64_t n);
void SIMD_NAME(from_bf16)(float *y, const sg_bf16 *x, int64_t n);
void SIMD_NAME(split_bf16)(sg_bf16 *hi, sg_bf16 *lo, const float *x, int64_t n);
void SIMD_NAME(pair_bf16)(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd, int64_t n);
void SIMD_NAME(transpose_pairs)(sg_bf16 *y, int64_t ldy, const sg_bf16 *x, int64_t ldx, int64_t m,
                                int64_t n);
void SIMD_NAME(from_int8)(float *y, const int8_t *q, float scale, int64_t n);
void SIMD_NAME(thin_product_bf16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d);
void SIMD_NAME(thin_product_int8)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                                  int64_t d);
void SIMD_NAME(gather_dots_bf16)(float *a, const float *x, const sg_bf16 *table,
                                 const int32_t *rows, const int32_t *next, int64_t count,
                                 int64_t d);
void SIMD_NAME(gather_sum_bf16)(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                                const int32_t *next, int64_t count, int64_t d);
void SIMD_NAME(gather_dots_pairs)(float *a, const sg_bf16 *x, const sg_bf16 *table,
                                  const int32_t *rows, const int32_t *next, int64_t count,
                                  int64_t d);
void SIMD_NAME(slice_sum)(float *y, const float *z, const sg_bf16 *slice, const int32_t *rows,
                          int64_t count, int64_t known, int64_t n, bool add);
void SIMD_NAME(slice_both)(float *a, float *y, const sg_bf16 *x, const float *z,
                           const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                           int64_t n, bool add_a, bool add_y);
void SIMD_NAME(gather_dots_int8)(float *a, const float *x, const int8_t *table, const float *scales,
                                 const int32_t *rows, const int32_t *next, int64_t count,
                                 int64_t d);
void SIMD_NAME(gather_sum_int8)(float *y, const float *z, const int8_t *table, const float *scales,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d);

void SIMD_NAME(from_f16)(float *y, const uint16_t *x, int64_t n);
void SIMD_NAME(thin_product_f16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                 const uint16_t *w, int64_t ldw, int64_t n, int64_t d);
void SIMD_NAME(gather_dots_f16)(float *a, const float *x, const uint16_t *table,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
void SIMD_NAME(gather_sum_f16)(float *y, const float *z, const uint16_t *table, const int32_t *rows,
                               const int32_t *next, int64_t count, int64_t d);
void SIMD_NAME(from_blocks)(float *y, sg_weights type, const void *blocks, const void *scales,
                            int64_t n);
void SIMD_NAME(dots_blocks)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                            sg_weights type, const void *table, const void *scales,
                            const int32_t *rows, int64_t n, int64_t d);
void SIMD_NAME(sum_blocks)(float *y, const float *z, sg_weights type, const void *table,
                           const void *scales, const int32_t *rows, int64_t count, int64_t d);

void SIMD_NAME(adamw)(float *p, float *m, float *v, const float *g, int64_t n,
                      const sg_adamw_args *args);
void SIMD_NAME(adamw_idle)(float *p, float *m, float *v, int64_t n, const sg_adamw_idle_args *args);

#endif
