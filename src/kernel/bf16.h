// bf16: the upper half of a float, a sign, eight bits of exponent, seven of fraction. Weights kept
// in it take half the memory; what is computed from them is computed in sg_real.
#ifndef SG_KERNEL_BF16_H
#define SG_KERNEL_BF16_H

#include <stdint.h>
#include <string.h>

typedef uint16_t sg_bf16;

// Exact.
static inline float sg_bf16_value(sg_bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// To nearest, ties to even; beyond the largest number infinity; NaN stays NaN.
static inline sg_bf16 sg_bf16_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) return (sg_bf16)(bits >> 16 | 0x40);
    return (sg_bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
