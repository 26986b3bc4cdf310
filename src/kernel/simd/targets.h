// Vectors of sources and targets (kernel/forms.h). Which forms there are is a constant where these
// are used: a kernel is compiled once for each and chooses at its begin.
#ifndef SG_KERNEL_SIMD_TARGETS_H
#define SG_KERNEL_SIMD_TARGETS_H

#include "kernel/forms.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

typedef enum target_form { TARGET_WIDE, TARGET_HALF, TARGET_BOTH } target_form;

static inline target_form target_form_of(sg_target y)
{
    if (y.half == NULL) return TARGET_WIDE;
    return y.wide == NULL ? TARGET_HALF : TARGET_BOTH;
}

// Numbers i … of a source, a whole vector or the `left` that remain.
SIMD_INLINE simd_vec source_load(sg_source x, bool half, int64_t i, int64_t left)
{
    return half ? simd_load_bf16(x.half + i, left) : simd_load(x.wide + i, left);
}

SIMD_INLINE void target_store(sg_target y, target_form form, int64_t i, simd_vec value,
                              int64_t left)
{
    if (form != TARGET_HALF) simd_store(y.wide + i, value, left);
    if (form != TARGET_WIDE) simd_store_bf16(y.half + i, value, left);
}

// Two whole vectors behind each other.
SIMD_INLINE void target_store_two(sg_target y, target_form form, int64_t i, simd_vec a, simd_vec b)
{
    if (form != TARGET_HALF) {
        simd_storeu(y.wide + i, a);
        simd_storeu(y.wide + i + simd_width, b);
    }
    if (form != TARGET_WIDE) simd_store_bf16_two(y.half + i, a, b);
}

// Behind n numbers that were stored, and still are in the first cache: where both forms are there,
// wide ones become what half ones are.
SIMD_INLINE void target_widen(sg_target y, target_form form, int64_t n)
{
    if (form == TARGET_BOTH && !y.exact) SIMD_NAME(from_bf16)(y.wide, y.half, n);
}

// What is written next: a line that is not in the caches is waited for at its store otherwise.
enum { target_ahead = 1024 };
SIMD_INLINE void target_prefetch(sg_target y, target_form form, int64_t i)
{
    if (form != TARGET_HALF) {
        simd_prefetch(y.wide + i + target_ahead);
        simd_prefetch(y.wide + i + target_ahead + simd_width);
    }
    if (form != TARGET_WIDE) simd_prefetch(y.half + i + target_ahead);
}

#endif
