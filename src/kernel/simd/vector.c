// Vector kernels. Sums run in four vectors (an FMA takes four cycles and two start in each), joined
// in a fixed order.
#include "kernel/simd/targets.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

float SIMD_NAME(dot)(const float *a, const float *b, int64_t n)
{
    simd_vec s0 = simd_zero(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 4 * simd_width <= n; i += 4 * simd_width) {
        s0 = simd_fma(simd_loadu(a + i), simd_loadu(b + i), s0);
        s1 = simd_fma(simd_loadu(a + i + simd_width), simd_loadu(b + i + simd_width), s1);
        s2 = simd_fma(simd_loadu(a + i + 2 * simd_width), simd_loadu(b + i + 2 * simd_width), s2);
        s3 = simd_fma(simd_loadu(a + i + 3 * simd_width), simd_loadu(b + i + 3 * simd_width), s3);
    }
    for (; i < n; i += simd_width)
        s0 = simd_fma(simd_load(a + i, n - i), simd_load(b + i, n - i), s0);
    return simd_sum(simd_add(simd_add(s0, s1), simd_add(s2, s3)));
}

void SIMD_NAME(axpy)(float *y, float alpha, const float *x, int64_t n)
{
    const simd_vec a = simd_set(alpha);
    for (int64_t i = 0; i < n; i += simd_width) {
        simd_vec sum = simd_fma(a, simd_load(x + i, n - i), simd_load(y + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void SIMD_NAME(add)(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += simd_width) {
        simd_vec sum = simd_add(simd_load(a + i, n - i), simd_load(b + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void SIMD_NAME(scale)(float *y, float alpha, int64_t n)
{
    const simd_vec a = simd_set(alpha);
    for (int64_t i = 0; i < n; i += simd_width)
        simd_store(y + i, simd_mul(a, simd_load(y + i, n - i)), n - i);
}

float SIMD_NAME(max)(const float *x, int64_t n)
{
    simd_vec m0 = simd_set(x[0]), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 4 * simd_width <= n; i += 4 * simd_width) {
        m0 = simd_max(m0, simd_loadu(x + i));
        m1 = simd_max(m1, simd_loadu(x + i + simd_width));
        m2 = simd_max(m2, simd_loadu(x + i + 2 * simd_width));
        m3 = simd_max(m3, simd_loadu(x + i + 3 * simd_width));
    }
    for (; i < n; i += simd_width)
        m0 = simd_max_left(m0, simd_load(x + i, n - i), n - i);
    return simd_largest(simd_max(simd_max(m0, m1), simd_max(m2, m3)));
}

float SIMD_NAME(exp_sum)(float *y, const float *x, float shift, int64_t n)
{
    const simd_vec offset = simd_set(shift);
    simd_vec s0 = simd_zero(), s1 = s0;
    int64_t i = 0;
    for (; i + 2 * simd_width <= n; i += 2 * simd_width) { // an exponential is one long chain
        simd_vec e0 = simd_exp_low(simd_sub(simd_loadu(x + i), offset));
        simd_vec e1 = simd_exp_low(simd_sub(simd_loadu(x + i + simd_width), offset));
        simd_storeu(y + i, e0);
        simd_storeu(y + i + simd_width, e1);
        s0 = simd_add(s0, e0);
        s1 = simd_add(s1, e1);
    }
    for (; i < n; i += simd_width) {
        simd_vec e = simd_exp_low(simd_sub(simd_load(x + i, n - i), offset));
        simd_store(y + i, e, n - i);
        s0 = simd_add_left(s0, e, n - i);
    }
    return simd_sum(simd_add(s0, s1));
}

SIMD_INLINE void add_forward(sg_target y, target_form form, const float *a, const float *b,
                             int64_t n)
{
    int64_t i = 0;
    for (; i + 2 * simd_width <= n; i += 2 * simd_width) {
        const int64_t j = i + simd_width;
        target_prefetch(y, form, i);
        target_store_two(y, form, i, simd_add(simd_loadu(a + i), simd_loadu(b + i)),
                         simd_add(simd_loadu(a + j), simd_loadu(b + j)));
    }
    for (; i < n; i += simd_width) {
        const simd_vec sum = simd_add(simd_load(a + i, n - i), simd_load(b + i, n - i));
        target_store(y, form, i, sum, n - i);
    }
    target_widen(y, form, n);
}

void SIMD_NAME(add_forward)(sg_target y, const float *a, const float *b, int64_t n)
{
    switch (target_form_of(y)) {
    case TARGET_WIDE:
        add_forward(y, TARGET_WIDE, a, b, n);
        break;
    case TARGET_HALF:
        add_forward(y, TARGET_HALF, a, b, n);
        break;
    default:
        add_forward(y, TARGET_BOTH, a, b, n);
        break;
    }
}

int64_t SIMD_NAME(multiply_adds)(float *y, float a, float b, int64_t times)
{
    const simd_vec factor = simd_set(a), term = simd_set(b);
    simd_vec x[SG_CHAINS];
    SIMD_UNROLL
    for (int c = 0; c < SG_CHAINS; c++)
        x[c] = simd_set(y[c]);
    for (int64_t i = 0; i < times; i++)
        SIMD_UNROLL
    for (int c = 0; c < SG_CHAINS; c++)
        x[c] = simd_fma(x[c], factor, term);
    SIMD_UNROLL
    for (int c = 0; c < SG_CHAINS; c++)
        y[c] = simd_largest(x[c]);
    return 2 * SG_CHAINS * simd_width * times;
}
