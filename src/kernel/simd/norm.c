// RMSNorm and rotary positions: two passes over a row that stays in the first cache.
#include "kernel/simd/targets.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

// ---- root mean square norm ----------------------------------------------------------------------

// The sum of squares of a row, as `dot` sums.
SIMD_INLINE float norm_squares(sg_source x, bool half, int64_t d)
{
    simd_vec s0 = simd_zero(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 4 * simd_width <= d; i += 4 * simd_width) {
        const simd_vec x0 = source_load(x, half, i, simd_width);
        const simd_vec x1 = source_load(x, half, i + simd_width, simd_width);
        const simd_vec x2 = source_load(x, half, i + 2 * simd_width, simd_width);
        const simd_vec x3 = source_load(x, half, i + 3 * simd_width, simd_width);
        s0 = simd_fma(x0, x0, s0);
        s1 = simd_fma(x1, x1, s1);
        s2 = simd_fma(x2, x2, s2);
        s3 = simd_fma(x3, x3, s3);
    }
    for (; i < d; i += simd_width) {
        const simd_vec part = source_load(x, half, i, d - i);
        s0 = simd_fma(part, part, s0);
    }
    return simd_sum(simd_add(simd_add(s0, s1), simd_add(s2, s3)));
}

SIMD_INLINE simd_vec norm_value(sg_source x, bool half, simd_vec scale, const float *w, int64_t i,
                                int64_t left)
{
    return simd_mul(source_load(x, half, i, left), simd_mul(scale, simd_load(w + i, left)));
}

SIMD_INLINE void norm_forward(sg_target y, target_form form, float *rstd, sg_source x, bool half,
                              const float *w, int64_t rows, int64_t d, float eps)
{
    for (int64_t r = 0; r < rows; r++, x = sg_source_at(x, d), y = sg_target_at(y, d)) {
        rstd[r] = 1 / sqrtf(norm_squares(x, half, d) / (float)d + eps);
        const simd_vec scale = simd_set(rstd[r]);
        int64_t i = 0;
        for (; i + 2 * simd_width <= d; i += 2 * simd_width) {
            target_prefetch(y, form, i);
            target_store_two(y, form, i, norm_value(x, half, scale, w, i, simd_width),
                             norm_value(x, half, scale, w, i + simd_width, simd_width));
        }
        for (; i < d; i += simd_width)
            target_store(y, form, i, norm_value(x, half, scale, w, i, d - i), d - i);
        target_widen(y, form, d);
    }
}

SIMD_INLINE void norm_forward_from(sg_target y, float *rstd, sg_source x, bool half, const float *w,
                                   int64_t rows, int64_t d, float eps)
{
    switch (target_form_of(y)) {
    case TARGET_WIDE:
        norm_forward(y, TARGET_WIDE, rstd, x, half, w, rows, d, eps);
        break;
    case TARGET_HALF:
        norm_forward(y, TARGET_HALF, rstd, x, half, w, rows, d, eps);
        break;
    default:
        norm_forward(y, TARGET_BOTH, rstd, x, half, w, rows, d, eps);
        break;
    }
}

void SIMD_NAME(rmsnorm_forward)(sg_target y, float *rstd, sg_source x, const float *w, int64_t rows,
                                int64_t d, double eps)
{
    if (x.half != NULL)
        norm_forward_from(y, rstd, x, true, w, rows, d, (float)eps);
    else
        norm_forward_from(y, rstd, x, false, w, rows, d, (float)eps);
}

// sum of dy w x
SIMD_INLINE float norm_dot3(const float *dy, const float *w, sg_source x, bool half, int64_t d)
{
    simd_vec s0 = simd_zero(), s1 = s0;
    int64_t i = 0;
    for (; i + 2 * simd_width <= d; i += 2 * simd_width) {
        simd_vec h0 = simd_mul(simd_loadu(dy + i), simd_loadu(w + i));
        simd_vec h1 = simd_mul(simd_loadu(dy + i + simd_width), simd_loadu(w + i + simd_width));
        s0 = simd_fma(h0, source_load(x, half, i, simd_width), s0);
        s1 = simd_fma(h1, source_load(x, half, i + simd_width, simd_width), s1);
    }
    for (; i < d; i += simd_width) {
        simd_vec h = simd_mul(simd_load(dy + i, d - i), simd_load(w + i, d - i));
        s0 = simd_fma(h, source_load(x, half, i, d - i), s0);
    }
    return simd_sum(simd_add(s0, s1));
}

// dx_i = rstd (dy_i w_i - n_i mean(dy w n)),  dw_i += dy_i n_i,  n_i = x_i rstd.
SIMD_INLINE void norm_backward(float *dx, float *dw, const float *dy, sg_source x, bool half,
                               const float *w, const float *rstd, int64_t rows, int64_t d,
                               bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x = sg_source_at(x, d), dy += d, dx += d) {
        const simd_vec scale = simd_set(rstd[r]);
        const simd_vec mean = simd_set(norm_dot3(dy, w, x, half, d) * rstd[r] / (float)d);
        for (int64_t i = 0; i < d; i += simd_width) {
            int64_t left = d - i;
            if (!accumulate) simd_prefetch(dx + i + target_ahead);
            simd_vec grad = simd_load(dy + i, left);
            simd_vec normed = simd_mul(source_load(x, half, i, left), scale);
            simd_store(dw + i, simd_fma(grad, normed, simd_load(dw + i, left)), left);
            simd_vec h = simd_mul(grad, simd_load(w + i, left));
            simd_vec value = simd_mul(scale, simd_fnma(normed, mean, h));
            if (accumulate) value = simd_add(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}

void SIMD_NAME(rmsnorm_backward)(float *dx, float *dw, const float *dy, sg_source x, const float *w,
                                 const float *rstd, int64_t rows, int64_t d, bool accumulate)
{
    if (x.half != NULL && accumulate)
        norm_backward(dx, dw, dy, x, true, w, rstd, rows, d, true);
    else if (x.half != NULL)
        norm_backward(dx, dw, dy, x, true, w, rstd, rows, d, false);
    else if (accumulate)
        norm_backward(dx, dw, dy, x, false, w, rstd, rows, d, true);
    else
        norm_backward(dx, dw, dy, x, false, w, rstd, rows, d, false);
}

// ---- rotary positions ---------------------------------------------------------------------------

// Numbers i … of the first half of a head, and those that they are rotated with.
SIMD_INLINE simd_pair rope_value(sg_source x, bool from_half, const float *cosines,
                                 const float *sines, int64_t i, int64_t half, simd_vec sign,
                                 int64_t left)
{
    const simd_vec x1 = source_load(x, from_half, i, left);
    const simd_vec x2 = source_load(x, from_half, half + i, left);
    const simd_vec c = simd_load(cosines + i, left);
    const simd_vec t = simd_mul(sign, simd_load(sines + i, left));
    return (simd_pair){simd_fnma(x2, t, simd_mul(x1, c)), simd_fma(x1, t, simd_mul(x2, c))};
}

SIMD_INLINE void rope_head(sg_target y, target_form form, sg_source x, bool from_half,
                           const float *cosines, const float *sines, int64_t head_dim, int64_t half,
                           simd_vec sign)
{
    int64_t i = 0;
    for (; i + 2 * simd_width <= half; i += 2 * simd_width) {
        const int64_t j = i + simd_width;
        const simd_pair a = rope_value(x, from_half, cosines, sines, i, half, sign, simd_width);
        const simd_pair b = rope_value(x, from_half, cosines, sines, j, half, sign, simd_width);
        target_store_two(y, form, i, a.a, b.a);
        target_store_two(y, form, half + i, a.b, b.b);
    }
    for (; i < half; i += simd_width) {
        const simd_pair a = rope_value(x, from_half, cosines, sines, i, half, sign, half - i);
        target_store(y, form, i, a.a, half - i);
        target_store(y, form, half + i, a.b, half - i);
    }
    for (i = 2 * half; i < head_dim; i += simd_width)
        target_store(y, form, i, source_load(x, from_half, i, head_dim - i), head_dim - i);
    target_widen(y, form, head_dim);
}

SIMD_INLINE void rope_heads(sg_target y, target_form form, sg_source x, bool from_half,
                            const float *cosines, const float *sines, int64_t heads,
                            int64_t head_dim, int64_t half, float s)
{
    const simd_vec sign = simd_set(s);
    for (int64_t h = 0; h < heads; h++)
        rope_head(sg_target_at(y, h * head_dim), form, sg_source_at(x, h * head_dim), from_half,
                  cosines, sines, head_dim, half, sign);
}

SIMD_INLINE void rope_from(sg_target y, sg_source x, bool from_half, const float *cosines,
                           const float *sines, int64_t heads, int64_t head_dim, int64_t half,
                           float s)
{
    switch (target_form_of(y)) {
    case TARGET_WIDE:
        rope_heads(y, TARGET_WIDE, x, from_half, cosines, sines, heads, head_dim, half, s);
        break;
    case TARGET_HALF:
        rope_heads(y, TARGET_HALF, x, from_half, cosines, sines, heads, head_dim, half, s);
        break;
    default:
        rope_heads(y, TARGET_BOTH, x, from_half, cosines, sines, heads, head_dim, half, s);
        break;
    }
}

void SIMD_NAME(rope)(sg_target y, sg_source x, const float *cosines, const float *sines,
                     int64_t heads, int64_t head_dim, int64_t half, float s)
{
    if (x.half != NULL)
        rope_from(y, x, true, cosines, sines, heads, head_dim, half, s);
    else
        rope_from(y, x, false, cosines, sines, heads, head_dim, half, s);
}
