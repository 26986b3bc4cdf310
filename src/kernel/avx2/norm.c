// RMSNorm and rotary positions: two passes over a row that stays in the first cache.
#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

void sg_avx2_rmsnorm_forward(float *y, float *rstd, const float *x, const float *w, int64_t rows,
                             int64_t d, double eps)
{
    for (int64_t r = 0; r < rows; r++, x += d, y += d) {
        float scale = 1 / sqrtf(sg_avx2_dot(x, x, d) / (float)d + (float)eps);
        rstd[r] = scale;
        const __m256 s = _mm256_set1_ps(scale);
        for (int64_t i = 0; i < d; i += 8) {
            __m256 weight = _mm256_mul_ps(s, simd_load(w + i, d - i));
            simd_store(y + i, _mm256_mul_ps(simd_load(x + i, d - i), weight), d - i);
        }
    }
}

// sum of dy w x
static float norm_dot3(const float *dy, const float *w, const float *x, int64_t d)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        __m256 h0 = _mm256_mul_ps(_mm256_loadu_ps(dy + i), _mm256_loadu_ps(w + i));
        __m256 h1 = _mm256_mul_ps(_mm256_loadu_ps(dy + i + 8), _mm256_loadu_ps(w + i + 8));
        s0 = _mm256_fmadd_ps(h0, _mm256_loadu_ps(x + i), s0);
        s1 = _mm256_fmadd_ps(h1, _mm256_loadu_ps(x + i + 8), s1);
    }
    for (; i < d; i += 8) {
        __m256 h = _mm256_mul_ps(simd_load(dy + i, d - i), simd_load(w + i, d - i));
        s0 = _mm256_fmadd_ps(h, simd_load(x + i, d - i), s0);
    }
    return simd_sum(_mm256_add_ps(s0, s1));
}

// dx_i = rstd (dy_i w_i - n_i mean(dy w n)),  dw_i += dy_i n_i,  n_i = x_i rstd.
void sg_avx2_rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                              const float *rstd, int64_t rows, int64_t d, bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d) {
        const __m256 scale = _mm256_set1_ps(rstd[r]);
        const __m256 mean = _mm256_set1_ps(norm_dot3(dy, w, x, d) * rstd[r] / (float)d);
        for (int64_t i = 0; i < d; i += 8) {
            int64_t left = d - i;
            __m256 grad = simd_load(dy + i, left);
            __m256 normed = _mm256_mul_ps(simd_load(x + i, left), scale);
            simd_store(dw + i, _mm256_fmadd_ps(grad, normed, simd_load(dw + i, left)), left);
            __m256 h = _mm256_mul_ps(grad, simd_load(w + i, left));
            __m256 value = _mm256_mul_ps(scale, _mm256_fnmadd_ps(normed, mean, h));
            if (accumulate) value = _mm256_add_ps(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}

void sg_avx2_rope(float *y, const float *x, const float *cosines, const float *sines, int64_t heads,
                  int64_t head_dim, int64_t half, float s)
{
    const __m256 sign = _mm256_set1_ps(s);
    for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim) {
        for (int64_t i = 0; i < half; i += 8) {
            int64_t left = half - i;
            __m256 x1 = simd_load(x + i, left), x2 = simd_load(x + half + i, left);
            __m256 c = simd_load(cosines + i, left);
            __m256 t = _mm256_mul_ps(sign, simd_load(sines + i, left));
            simd_store(y + i, _mm256_fnmadd_ps(x2, t, _mm256_mul_ps(x1, c)), left);
            simd_store(y + half + i, _mm256_fmadd_ps(x1, t, _mm256_mul_ps(x2, c)), left);
        }
        for (int64_t i = 2 * half; i < head_dim; i += 8)
            simd_store(y + i, simd_load(x + i, head_dim - i), head_dim - i);
    }
}
