// AdamW, one pass over the four arrays; bound by memory for tensors beyond the caches.
#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

void sg_avx2_adamw(float *p, float *m, float *v, const float *g, int64_t n,
                   const sg_adamw_args *args)
{
    const __m256 keep1 = _mm256_set1_ps((float)args->beta1);
    const __m256 take1 = _mm256_set1_ps((float)(1 - args->beta1));
    const __m256 keep2 = _mm256_set1_ps((float)args->beta2);
    const __m256 take2 = _mm256_set1_ps((float)(1 - args->beta2));
    const __m256 inverse1 = _mm256_set1_ps((float)(1 / args->bias1));
    const __m256 inverse2 = _mm256_set1_ps((float)(1 / args->bias2));
    const __m256 lr = _mm256_set1_ps((float)args->lr), eps = _mm256_set1_ps((float)args->eps);
    const __m256 decay = _mm256_set1_ps((float)args->decay);
    const __m256 scale = _mm256_set1_ps((float)args->grad_scale);
    for (int64_t i = 0; i < n; i += 8) {
        int64_t left = n - i;
        __m256 grad = _mm256_mul_ps(simd_load(g + i, left), scale);
        __m256 first = _mm256_mul_ps(keep1, simd_load(m + i, left));
        __m256 second = _mm256_mul_ps(keep2, simd_load(v + i, left));
        first = _mm256_fmadd_ps(take1, grad, first);
        second = _mm256_fmadd_ps(take2, _mm256_mul_ps(grad, grad), second);
        __m256 root = _mm256_sqrt_ps(_mm256_mul_ps(second, inverse2));
        __m256 step = _mm256_div_ps(_mm256_mul_ps(first, inverse1), _mm256_add_ps(root, eps));
        __m256 value = simd_load(p + i, left);
        step = _mm256_fmadd_ps(decay, value, step);
        simd_store(m + i, first, left);
        simd_store(v + i, second, left);
        simd_store(p + i, _mm256_fnmadd_ps(lr, step, value), left);
    }
}

void sg_avx2_adamw_idle(float *p, float *m, float *v, int64_t n, const sg_adamw_idle_args *args)
{
    const __m256 keep = _mm256_set1_ps((float)args->keep);
    const __m256 move = _mm256_set1_ps((float)args->move);
    const __m256 root = _mm256_set1_ps((float)args->root);
    const __m256 eps = _mm256_set1_ps((float)args->eps);
    const __m256 keep1 = _mm256_set1_ps((float)args->keep1);
    const __m256 keep2 = _mm256_set1_ps((float)args->keep2);
    for (int64_t i = 0; i < n; i += 8) {
        int64_t left = n - i;
        __m256 first = simd_load(m + i, left), second = simd_load(v + i, left);
        __m256 below = _mm256_fmadd_ps(root, _mm256_sqrt_ps(second), eps);
        __m256 step = _mm256_div_ps(first, below);
        __m256 value = _mm256_mul_ps(keep, simd_load(p + i, left));
        simd_store(p + i, _mm256_fnmadd_ps(move, step, value), left);
        simd_store(m + i, _mm256_mul_ps(first, keep1), left);
        simd_store(v + i, _mm256_mul_ps(second, keep2), left);
    }
}
