// IEEE 754 half precision: 1 sign, 5 exponent (bias 15), 10 fraction bits. What files store in it
// is widened here, and rounded to it.
#ifndef SG_BASE_HALF_H
#define SG_BASE_HALF_H

#include <stdint.h>
#include <string.h>

// Exact.
static inline float sg_half_value(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = (half >> 10) & 31u;
    uint32_t fraction = half & 1023u, bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent > 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        // Subnormal: fraction * 2^-24, exact in f32.
        float value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// To nearest, ties to even; beyond the largest half to infinity; a NaN stays one.
static inline uint16_t sg_half_round(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (bits >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); // 65,520 and more
    if (bits < 0x38800000u) { // below 2^-14: a multiple of 2^-24, which adding 1/2 rounds to
        float size;
        memcpy(&size, &bits, sizeof size);
        size += 0.5f;
        memcpy(&bits, &size, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    bits += 0xfffu + (bits >> 13 & 1); // half an ulp, less one where the last bit is even
    return (uint16_t)(sign | ((bits >> 13) - (112u << 10)));
}

#endif
