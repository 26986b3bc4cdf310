// RMSNorm and rotary positions: two passes over a row that stays in the first cache.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

void SIMD_NAME(rmsnorm_forward)(float *y, float *rstd, const float *x, const float *w, int64_t rows,
                                int64_t d, double eps)
{
    for (int64_t r = 0; r < rows; r++, x += d, y += d) {
        float scale = 1 / sqrtf(SIMD_NAME(dot)(x, x, d) / (float)d + (float)eps);
        rstd[r] = scale;
        const simd_vec s = simd_set(scale);
        for (int64_t i = 0; i < d; i += simd_width) {
            simd_vec weight = simd_mul(s, simd_load(w + i, d - i));
            simd_store(y + i, simd_mul(simd_load(x + i, d - i), weight), d - i);
        }
    }
}

// sum of dy w x
static float norm_dot3(const float *dy, const float *w, const float *x, int64_t d)
{
    simd_vec s0 = simd_zero(), s1 = s0;
    int64_t i = 0;
    for (; i + 2 * simd_width <= d; i += 2 * simd_width) {
        simd_vec h0 = simd_mul(simd_loadu(dy + i), simd_loadu(w + i));
        simd_vec h1 = simd_mul(simd_loadu(dy + i + simd_width), simd_loadu(w + i + simd_width));
        s0 = simd_fma(h0, simd_loadu(x + i), s0);
        s1 = simd_fma(h1, simd_loadu(x + i + simd_width), s1);
    }
    for (; i < d; i += simd_width) {
        simd_vec h = simd_mul(simd_load(dy + i, d - i), simd_load(w + i, d - i));
        s0 = simd_fma(h, simd_load(x + i, d - i), s0);
    }
    return simd_sum(simd_add(s0, s1));
}

// dx_i = rstd (dy_i w_i - n_i mean(dy w n)),  dw_i += dy_i n_i,  n_i = x_i rstd.
void SIMD_NAME(rmsnorm_backward)(float *dx, float *dw, const float *dy, const float *x,
                                 const float *w, const float *rstd, int64_t rows, int64_t d,
                                 bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d) {
        const simd_vec scale = simd_set(rstd[r]);
        const simd_vec mean = simd_set(norm_dot3(dy, w, x, d) * rstd[r] / (float)d);
        for (int64_t i = 0; i < d; i += simd_width) {
            int64_t left = d - i;
            simd_vec grad = simd_load(dy + i, left);
            simd_vec normed = simd_mul(simd_load(x + i, left), scale);
            simd_store(dw + i, simd_fma(grad, normed, simd_load(dw + i, left)), left);
            simd_vec h = simd_mul(grad, simd_load(w + i, left));
            simd_vec value = simd_mul(scale, simd_fnma(normed, mean, h));
            if (accumulate) value = simd_add(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}

void SIMD_NAME(rope)(float *y, const float *x, const float *cosines, const float *sines,
                     int64_t heads, int64_t head_dim, int64_t half, float s)
{
    const simd_vec sign = simd_set(s);
    for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim) {
        for (int64_t i = 0; i < half; i += simd_width) {
            int64_t left = half - i;
            simd_vec x1 = simd_load(x + i, left), x2 = simd_load(x + half + i, left);
            simd_vec c = simd_load(cosines + i, left);
            simd_vec t = simd_mul(sign, simd_load(sines + i, left));
            simd_store(y + i, simd_fnma(x2, t, simd_mul(x1, c)), left);
            simd_store(y + half + i, simd_fma(x1, t, simd_mul(x2, c)), left);
        }
        for (int64_t i = 2 * half; i < head_dim; i += simd_width)
            simd_store(y + i, simd_load(x + i, head_dim - i), head_dim - i);
    }
}
