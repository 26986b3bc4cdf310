// Activations in one of two forms, sg_real or bf16, for kernels that pass over them once: what they
// read may be in either, and what they write in either or both.
#ifndef SG_KERNEL_FORMS_H
#define SG_KERNEL_FORMS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel/bf16.h"
#include "kernel/real.h"

// Read from half where that is not NULL, else from wide.
typedef struct sg_source {
    const sg_real *wide;
    const sg_bf16 *half;
} sg_source;

// Written to each that is not NULL. Where both are there, wide gets the numbers that are in half,
// or, `exact`, those that half is rounded from.
typedef struct sg_target {
    sg_real *wide;
    sg_bf16 *half;
    bool exact;
} sg_target;

static inline sg_source sg_wide_source(const sg_real *wide)
{
    return (sg_source){wide, NULL};
}
static inline sg_target sg_wide_target(sg_real *wide)
{
    return (sg_target){wide, NULL, true};
}
// From number i on.
static inline sg_source sg_source_at(sg_source x, int64_t i)
{
    if (x.half != NULL) return (sg_source){NULL, x.half + i};
    return (sg_source){x.wide + i, NULL};
}
static inline sg_target sg_target_at(sg_target y, int64_t i)
{
    if (y.wide != NULL) y.wide += i;
    if (y.half != NULL) y.half += i;
    return y;
}
// One number.
static inline sg_real sg_source_read(sg_source x, int64_t i)
{
    return x.half != NULL ? (sg_real)sg_bf16_value(x.half[i]) : x.wide[i];
}
static inline void sg_target_write(sg_target y, int64_t i, sg_real value)
{
    if (y.half != NULL) y.half[i] = sg_bf16_round((float)value);
    if (y.wide == NULL) return;
    y.wide[i] = y.half != NULL && !y.exact ? (sg_real)sg_bf16_value(y.half[i]) : value;
}

#endif
