// The AVX2 kernels to which the AVX-512 ones hand what they do not do faster.
#ifndef SG_KERNEL_AVX2_SELECT_H
#define SG_KERNEL_AVX2_SELECT_H

#include <stdint.h>

void sg_avx2_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k);
void sg_avx2_product_topk(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                          int64_t k);

#endif
