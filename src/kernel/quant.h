// Weights in blocks that share a scale, as other programs store them. Halves are IEEE half
// precision; bytes are in the order of the file and unaligned. w_i is what the block stands for,
// and is computed as written here, each operation rounded to f32: every table gives these very
// numbers.
//
// Blocks of 32 (ggml-quants.h; q: bytes behind the scales):
//   Q8_0   half d, int8 q[32]                       w_i = d q_i
//   Q4_0   half d, q[16]                            w_i = d (n_i - 8)
//   Q4_1   half d, half m, q[16]                    w_i = d n_i + m
//          n_i = low nibble of q_i for i < 16, high nibble of q_(i-16) from there on
//   Q5_0   half d, u32 h, q[16]                     w_i = d (n_i + 16 h_i - 16), h_i bit i of h
//   Q5_1   half d, half m, u32 h, q[16]             w_i = d (n_i + 16 h_i) + m
// Blocks of 256:
//   Q4_K   half d, half e, packed[12], q[128]       w_i = (d s_g) n_i - e t_g, g = i / 32
//          n_i = nibble of q[32 (g / 2) + i % 32], low for even g, high for odd; s and t (6 bits
//          each): sg_quant_factors
//   Q5_K   half d, half e, packed[12], h[32], q[128]   as Q4_K with 16 more where bit g of
//          h[i % 32] is set
//   Q6_K   q[128], h[64], int8 s[16], half d        w_i = (d s_(i/16)) (n_i - 32)
//          with i = 128 a + 32 b + c: n_i = nibble of q[64 a + 32 (b % 2) + c], low for b < 2, plus 16
//          times bits 2b, 2b + 1 of h[32 a + c]
// Blocks of 32 in two arrays (OCP Microscaling 1.0, as GPT-OSS lays it out):
//   MXFP4  q[16], exponent x elsewhere              w_i = 2^(x - 127) f(nibble), x = 255: NaN
//          low nibble of q_(i/2) for even i, high for odd; f: 0, .5, 1, 1.5, 2, 3, 4, 6, then their
//          negatives (minus 0 counts as 0)
#ifndef SG_KERNEL_QUANT_H
#define SG_KERNEL_QUANT_H

#include <stdint.h>
#include <string.h>

#include "base/block_sizes.h"
#include "base/half.h"

// A half at `at`.
static inline float sg_quant_half(const unsigned char *at)
{
    return sg_half_value((uint16_t)(at[0] | at[1] << 8));
}

// The eight pairs of 6-bit factors of Q4_K and Q5_K. Bytes 0-3 are s_0 to s_3, bytes 4-7 t_0 to
// t_3, of which the lower 6 bits count; bytes 8-11 have the lower 4 bits of s_4 to s_7 (low
// nibbles) and t_4 to t_7 (high), whose upper 2 bits are the upper bits of bytes 0-3 and 4-7.
static inline void sg_quant_factors(unsigned char s[8], unsigned char t[8],
                                    const unsigned char packed[12])
{
    for (int i = 0; i < 4; i++) {
        s[i] = packed[i] & 63;
        t[i] = packed[i + 4] & 63;
        s[i + 4] = (unsigned char)((packed[i + 8] & 15) | packed[i] >> 6 << 4);
        t[i + 4] = (unsigned char)(packed[i + 8] >> 4 | packed[i + 4] >> 6 << 4);
    }
}

// 2^(exponent - 127), exact: below 2^-126 it is a subnormal.
static inline float sg_quant_power(unsigned char exponent)
{
    uint32_t bits = exponent == 255 ? 0x7fc00000u
                    : exponent > 0  ? (uint32_t)exponent << 23
                                    : 0x400000u;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
