// AdamW, one pass over the four arrays; bound by memory for tensors beyond the caches.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

// The processor follows four streams that far, and no further than their pages; so the lines of the
// next page are fetched by hand.
enum { adamw_ahead = 1024, adamw_line = 16 };

SIMD_INLINE void adamw_prefetch(const float *p, const float *m, const float *v, const float *g,
                                int64_t i)
{
    if (i % adamw_line != 0) return;
    simd_prefetch(g + i + adamw_ahead);
    simd_prefetch(m + i + adamw_ahead);
    simd_prefetch(v + i + adamw_ahead);
    simd_prefetch(p + i + adamw_ahead);
}

void SIMD_NAME(adamw)(float *p, float *m, float *v, const float *g, int64_t n,
                      const sg_adamw_args *args)
{
    const simd_vec keep1 = simd_set((float)args->beta1);
    const simd_vec take1 = simd_set((float)(1 - args->beta1));
    const simd_vec keep2 = simd_set((float)args->beta2);
    const simd_vec take2 = simd_set((float)(1 - args->beta2));
    const simd_vec inverse1 = simd_set((float)(1 / args->bias1));
    const simd_vec inverse2 = simd_set((float)(1 / args->bias2));
    const simd_vec lr = simd_set((float)args->lr), eps = simd_set((float)args->eps);
    const simd_vec decay = simd_set((float)args->decay);
    const simd_vec scale = simd_set((float)args->grad_scale);
    for (int64_t i = 0; i < n; i += simd_width) {
        int64_t left = n - i;
        adamw_prefetch(p, m, v, g, i);
        simd_vec grad = simd_mul(simd_load(g + i, left), scale);
        simd_vec first = simd_mul(keep1, simd_load(m + i, left));
        simd_vec second = simd_mul(keep2, simd_load(v + i, left));
        first = simd_fma(take1, grad, first);
        second = simd_fma(take2, simd_mul(grad, grad), second);
        simd_vec root = simd_sqrt(simd_mul(second, inverse2));
        simd_vec step = simd_div(simd_mul(first, inverse1), simd_add(root, eps));
        simd_vec value = simd_load(p + i, left);
        step = simd_fma(decay, value, step);
        simd_store(m + i, first, left);
        simd_store(v + i, second, left);
        simd_store(p + i, simd_fnma(lr, step, value), left);
    }
}

void SIMD_NAME(adamw_idle)(float *p, float *m, float *v, int64_t n, const sg_adamw_idle_args *args)
{
    const simd_vec keep = simd_set((float)args->keep);
    const simd_vec move = simd_set((float)args->move);
    const simd_vec root = simd_set((float)args->root);
    const simd_vec eps = simd_set((float)args->eps);
    const simd_vec keep1 = simd_set((float)args->keep1);
    const simd_vec keep2 = simd_set((float)args->keep2);
    for (int64_t i = 0; i < n; i += simd_width) {
        int64_t left = n - i;
        simd_vec first = simd_load(m + i, left), second = simd_load(v + i, left);
        simd_vec below = simd_fma(root, simd_sqrt(second), eps);
        simd_vec step = simd_div(first, below);
        simd_vec value = simd_mul(keep, simd_load(p + i, left));
        simd_store(p + i, simd_fnma(move, step, value), left);
        simd_store(m + i, simd_mul(first, keep1), left);
        simd_store(v + i, simd_mul(second, keep2), left);
    }
}
