// The sum of squares is taken in vectors of doubles, whose number and order are each table's own.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

// The square of a float is exact in double, so only the sum rounds.
double SIMD_NAME(sum_squares)(const float *x, int64_t n)
{
    float64x2_t s0 = vdupq_n_f64(0), s1 = s0;
    for (int64_t i = 0; i < n; i += simd_width) {
        const float32x4_t v = simd_load(x + i, n - i);
        const float64x2_t low = vcvt_f64_f32(vget_low_f32(v)), high = vcvt_high_f64_f32(v);
        s0 = vfmaq_f64(s0, low, low);
        s1 = vfmaq_f64(s1, high, high);
    }
    return vaddvq_f64(vaddq_f64(s0, s1));
}
