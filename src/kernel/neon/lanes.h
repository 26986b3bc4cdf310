// Vectors of four floats: what kernel/simd/simd.h asks for, by NEON, which every aarch64 has. The
// end of an array is read and written lane by lane.
#ifndef SG_KERNEL_NEON_LANES_H
#define SG_KERNEL_NEON_LANES_H

#include <arm_neon.h>

#define SIMD_NAME(kernel) sg_neon_##kernel
#define SIMD_TABLE        "neon"

typedef float32x4_t simd_vec;
enum { simd_width = 4, simd_registers = 32 };

typedef struct simd_pair {
    simd_vec a, b;
} simd_pair;

#define simd_set    vdupq_n_f32
#define simd_loadu  vld1q_f32
#define simd_storeu vst1q_f32
#define simd_add    vaddq_f32
#define simd_sub    vsubq_f32
#define simd_mul    vmulq_f32
#define simd_div    vdivq_f32
#define simd_sqrt   vsqrtq_f32
#define simd_min    vminq_f32 // NaN where either is NaN, as max
#define simd_max    vmaxq_f32
#define simd_abs    vabsq_f32
#define simd_negate vnegq_f32
#define simd_round  vrndnq_f32

static inline float32x4_t simd_zero(void)
{
    return vdupq_n_f32(0);
}

static inline float32x4_t simd_fma(float32x4_t a, float32x4_t b, float32x4_t c)
{
    return vfmaq_f32(c, a, b);
}

static inline float32x4_t simd_fnma(float32x4_t a, float32x4_t b, float32x4_t c)
{
    return vfmsq_f32(c, a, b);
}

static inline float32x4_t simd_fms(float32x4_t a, float32x4_t b, float32x4_t c)
{
    return vfmaq_f32(vnegq_f32(c), a, b);
}

// ---- the end of an array ------------------------------------------------------------------------

// All bits set in the first `left` of four lanes; in all of them where more are left.
static inline uint32x4_t simd_lanes(int64_t left)
{
    const uint32x4_t index = {0, 1, 2, 3};
    return vcltq_u32(index, vdupq_n_u32(left < 4 ? (uint32_t)left : 4));
}

static inline float32x4_t simd_load(const float *x, int64_t left)
{
    if (left >= 4) return vld1q_f32(x);
    float32x4_t value = vld1q_lane_f32(x, vdupq_n_f32(0), 0);
    if (left > 1) value = vld1q_lane_f32(x + 1, value, 1);
    return left > 2 ? vld1q_lane_f32(x + 2, value, 2) : value;
}

static inline void simd_store(float *y, float32x4_t value, int64_t left)
{
    if (left >= 4) {
        vst1q_f32(y, value);
        return;
    }
    vst1q_lane_f32(y, value, 0);
    if (left > 1) vst1q_lane_f32(y + 1, value, 1);
    if (left > 2) vst1q_lane_f32(y + 2, value, 2);
}

static inline float32x4_t simd_add_left(float32x4_t sum, float32x4_t value, int64_t left)
{
    return vbslq_f32(simd_lanes(left), vaddq_f32(sum, value), sum);
}

static inline float32x4_t simd_max_left(float32x4_t most, float32x4_t value, int64_t left)
{
    return vbslq_f32(simd_lanes(left), vmaxq_f32(most, value), most);
}

// ---- across lanes -------------------------------------------------------------------------------

// (0+2) + (1+3)
static inline float simd_sum(float32x4_t x)
{
    float32x2_t two = vadd_f32(vget_low_f32(x), vget_high_f32(x));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline float simd_largest(float32x4_t x)
{
    return vmaxvq_f32(x);
}

SIMD_INLINE simd_pair simd_unzip(float32x4_t first, float32x4_t second)
{
    return (simd_pair){vuzp1q_f32(first, second), vuzp2q_f32(first, second)};
}

SIMD_INLINE simd_pair simd_zip(float32x4_t even, float32x4_t odd)
{
    return (simd_pair){vzip1q_f32(even, odd), vzip2q_f32(even, odd)};
}

// ---- choices ------------------------------------------------------------------------------------

static inline float32x4_t simd_by_sign(float32x4_t x, float32x4_t below, float32x4_t above)
{
    return vbslq_f32(vcltzq_s32(vreinterpretq_s32_f32(x)), below, above);
}

static inline float32x4_t simd_where(uint32x4_t lanes, float32x4_t value)
{
    return vreinterpretq_f32_u32(vandq_u32(lanes, vreinterpretq_u32_f32(value)));
}

static inline float32x4_t simd_if_greater(float32x4_t value, float32x4_t a, float32x4_t b)
{
    return simd_where(vcgtq_f32(a, b), value);
}

static inline float32x4_t simd_if_same(float32x4_t value, float32x4_t a, float32x4_t b)
{
    const uint32x4_t differ = vorrq_u32(vcgtq_f32(a, b), vcltq_f32(a, b));
    return simd_where(vmvnq_u32(differ), value);
}

// ---- powers of two ------------------------------------------------------------------------------

// 2^n is applied in two halves, each a normal number.
static inline float32x4_t simd_times_power(float32x4_t e, float32x4_t n)
{
    const int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    const int32x4_t rest = vsubq_s32(whole, half), bias = vdupq_n_s32(127);
    e = vmulq_f32(e, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(e, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
}

static inline float32x4_t simd_low_count(float32x4_t x)
{
    return vrndnq_f32(vmulq_f32(x, vdupq_n_f32(0x1.715476p+0f)));
}

static inline float32x4_t simd_low_number(float32x4_t n)
{
    return n;
}

// n + 127 in the place of the exponent: zero bits for n = -127.
static inline float32x4_t simd_low_power(float32x4_t n)
{
    const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
}

// ---- other types --------------------------------------------------------------------------------

// 2 * simd_width numbers: those at even and those at odd places, since 32 bits hold one of each:
// the one shifted up, the other with the lower half cut off.
SIMD_INLINE simd_pair simd_loadu_bf16_unzipped(const void *w)
{
    const uint32x4_t bits = vreinterpretq_u32_u8(vld1q_u8(w));
    const uint32x4_t odd = vandq_u32(bits, vdupq_n_u32(0xffff0000));
    return (simd_pair){vreinterpretq_f32_u32(vshlq_n_u32(bits, 16)), vreinterpretq_f32_u32(odd)};
}

static inline float32x4_t simd_loadu_f16(const void *w)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(w)));
}

static inline float32x4_t simd_loadu_int8(const void *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    const int8x8_t bytes = vreinterpret_s8_s32(vdup_n_s32(four));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(bytes))));
}

static inline float32x4_t simd_load_bf16(const sg_bf16 *w, int64_t left)
{
    sg_bf16 end[4] = {0};
    if (left < 4) w = memcpy(end, w, (size_t)left * sizeof *w);
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(w), 16));
}

static inline float32x4_t simd_load_f16(const uint16_t *w, int64_t left)
{
    uint16_t end[4] = {0};
    if (left < 4) w = memcpy(end, w, (size_t)left * sizeof *w);
    return simd_loadu_f16(w);
}

static inline float32x4_t simd_load_int8(const int8_t *q, int64_t left)
{
    int8_t end[4] = {0};
    if (left < 4) q = memcpy(end, q, (size_t)left);
    return simd_loadu_int8(q);
}

// To the nearest, of two as near the even one; a NaN is made quiet, that it may not become
// infinity.
static inline void simd_store_bf16(sg_bf16 *y, float32x4_t value, int64_t left)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(value);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t chosen = vbslq_u32(vceqq_f32(value, value), rounded, quiet);
    const uint16x4_t four = vshrn_n_u32(chosen, 16);
    if (left >= 4) {
        vst1_u16(y, four);
        return;
    }
    sg_bf16 end[4];
    vst1_u16(end, four);
    memcpy(y, end, (size_t)left * sizeof *y);
}

// The number that simd_store_bf16 stores; not of a NaN.
static inline float32x4_t simd_as_bf16(float32x4_t value)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(value);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    return vreinterpretq_f32_u32(vandq_u32(rounded, vdupq_n_u32(0xffff0000)));
}

static inline void simd_pair_bf16(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd)
{
    const uint16x4x2_t pair = {{vld1_u16(even), vld1_u16(odd)}};
    vst2_u16(y, pair); // a macro in clang
}

static inline void simd_store_bf16_two(sg_bf16 *y, float32x4_t a, float32x4_t b)
{
    simd_store_bf16(y, a, simd_width);
    simd_store_bf16(y + simd_width, b, simd_width);
}

#endif
