// AVX-512 on processors without it, for tests (-DSG_EMULATE_AVX512=ON): SIMDe's functions in the
// place of the compiler's, and here, by what Intel's guide says of them, those that SIMDe lacks.
// Slow; the results are those of the instructions.
#ifndef SG_TESTS_EMULATION_IMMINTRIN_H
#define SG_TESTS_EMULATION_IMMINTRIN_H

#include_next <immintrin.h> // all up to AVX2 is the processor's own

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <stdint.h>
#include <string.h>

typedef union emulated {
    float f[16];
    double d[8];
    int32_t i[16];
    uint32_t u[16];
    uint16_t h[32];
    int8_t b[64];
    simde__m512 ps;
    simde__m512d pd;
    simde__m512i si;
} emulated;

typedef union emulated_half {
    float f[8];
    uint16_t h[16];
    simde__m128i quarter[2];
    simde__m256 ps;
    simde__m256i si;
} emulated_half;

// Copies the elements of `bytes` that the mask chooses.
static inline void emulated_move(void *to, const void *from, uint32_t mask, int count, size_t bytes)
{
    for (int i = 0; i < count; i++)
        if (mask >> i & 1)
            memcpy((char *)to + (size_t)i * bytes, (const char *)from + (size_t)i * bytes, bytes);
}

// ---- loads and stores under a mask --------------------------------------------------------------

static inline simde__m128i emulated_load_8(uint32_t mask, const void *from)
{
    emulated v = {.i = {0}};
    emulated_move(&v, from, mask, 16, 1);
    simde__m128i low;
    memcpy(&low, &v, sizeof low);
    return low;
}

static inline simde__m256i emulated_load_half_16(uint32_t mask, const void *from)
{
    emulated_half v = {.h = {0}};
    emulated_move(&v, from, mask, 16, 2);
    return v.si;
}

static inline simde__m256 emulated_load_half_ps(uint32_t mask, const void *from)
{
    emulated_half v = {.h = {0}};
    emulated_move(&v, from, mask, 8, 4);
    return v.ps;
}

static inline simde__m512 emulated_load_ps(simde__m512 other, uint32_t mask, const void *from)
{
    emulated v = {.ps = other};
    emulated_move(&v, from, mask, 16, 4);
    return v.ps;
}

static inline simde__m512i emulated_load_16(uint32_t mask, const void *from)
{
    emulated v = {.i = {0}};
    emulated_move(&v, from, mask, 32, 2);
    return v.si;
}

static inline simde__m512 emulated_gather(simde__m512 other, uint32_t mask, simde__m512i places,
                                          const void *from, int scale)
{
    emulated v = {.ps = other}, at = {.si = places};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) memcpy(&v.f[i], (const char *)from + (int64_t)at.i[i] * scale, 4);
    return v.ps;
}

static inline void emulated_store_ps(void *to, uint32_t mask, simde__m512 value)
{
    emulated_move(to, &value, mask, 16, 4);
}

static inline void emulated_store_32(void *to, uint32_t mask, simde__m512i value)
{
    emulated_move(to, &value, mask, 16, 4);
}

static inline void emulated_store_half_16(void *to, uint32_t mask, simde__m256i value)
{
    emulated_move(to, &value, mask, 16, 2);
}

#define _mm_maskz_loadu_epi8              emulated_load_8
#define _mm256_maskz_loadu_epi16          emulated_load_half_16
#define _mm256_maskz_loadu_ps             emulated_load_half_ps
#define _mm256_mask_storeu_epi16          emulated_store_half_16
#define _mm512_maskz_loadu_epi16          emulated_load_16
#define _mm512_mask_loadu_ps              emulated_load_ps
#define _mm512_maskz_loadu_ps(mask, from) emulated_load_ps(_mm512_setzero_ps(), mask, from)
#define _mm512_mask_i32gather_ps          emulated_gather
#define _mm512_mask_storeu_ps             emulated_store_ps
#define _mm512_mask_storeu_epi32          emulated_store_32

// ---- conversions --------------------------------------------------------------------------------

static inline simde__m512i emulated_int8_to_32(simde__m128i a)
{
    int8_t from[16];
    emulated v;
    memcpy(from, &a, sizeof from);
    for (int i = 0; i < 16; i++)
        v.i[i] = from[i];
    return v.si;
}

static inline simde__m512i emulated_uint8_to_32(simde__m128i a)
{
    uint8_t from[16];
    emulated v;
    memcpy(from, &a, sizeof from);
    for (int i = 0; i < 16; i++)
        v.u[i] = from[i];
    return v.si;
}

static inline simde__m512i emulated_uint16_to_32(simde__m256i a)
{
    emulated_half from = {.si = a};
    emulated v;
    for (int i = 0; i < 16; i++)
        v.u[i] = from.h[i];
    return v.si;
}

static inline simde__m256i emulated_32_to_16(simde__m512i a)
{
    emulated from = {.si = a};
    emulated_half v;
    for (int i = 0; i < 16; i++)
        v.h[i] = (uint16_t)from.u[i];
    return v.si;
}

static inline simde__m512 emulated_32_to_ps(simde__m512i a)
{
    emulated from = {.si = a}, v;
    for (int i = 0; i < 16; i++)
        v.f[i] = (float)from.i[i];
    return v.ps;
}

static inline simde__m512d emulated_ps_to_pd(simde__m256 a)
{
    emulated_half from = {.ps = a};
    emulated v;
    for (int i = 0; i < 8; i++)
        v.d[i] = from.f[i];
    return v.pd;
}

static inline simde__m512 emulated_ph_to_ps(simde__m256i a)
{
    emulated_half from = {.si = a}, to;
    emulated v;
    for (int part = 0; part < 2; part++) {
        to.ps = simde_mm256_cvtph_ps(from.quarter[part]);
        memcpy(v.f + 8 * part, &to, sizeof to);
    }
    return v.ps;
}

#define _mm512_cvtepi8_epi32  emulated_int8_to_32
#define _mm512_cvtepu8_epi32  emulated_uint8_to_32
#define _mm512_cvtepu16_epi32 emulated_uint16_to_32
#define _mm512_cvtepi32_epi16 emulated_32_to_16
#define _mm512_cvtepi32_ps    emulated_32_to_ps
#define _mm512_cvtps_pd       emulated_ps_to_pd
#define _mm512_cvtph_ps       emulated_ph_to_ps
#define _mm512_cvtss_f32(a)   (((emulated){.ps = (a)}).f[0])

// ---- moves between lanes, masks -----------------------------------------------------------------

static inline simde__m512 emulated_odd(simde__m512 a)
{
    emulated from = {.ps = a}, v;
    for (int i = 0; i < 16; i++)
        v.f[i] = from.f[i | 1];
    return v.ps;
}

static inline simde__m512i emulated_shuffle_32(simde__m512i a, int order)
{
    emulated from = {.si = a}, v;
    for (int i = 0; i < 16; i++)
        v.i[i] = from.i[(i & ~3) + (order >> (2 * (i & 3)) & 3)];
    return v.si;
}

static inline simde__m512 emulated_shuffle_quarters(simde__m512 a, simde__m512 b, int order)
{
    emulated first = {.ps = a}, second = {.ps = b}, v;
    for (int q = 0; q < 4; q++)
        memcpy(v.f + 4 * q, (q < 2 ? first : second).f + 4 * (order >> (2 * q) & 3), 16);
    return v.ps;
}

static inline simde__m512i emulated_align(simde__m512i a, simde__m512i b, int count)
{
    emulated high = {.si = a}, low = {.si = b}, v;
    for (int i = 0; i < 16; i++)
        v.i[i] = i + count < 16 ? low.i[i + count] : high.i[i + count - 16];
    return v.si;
}

static inline simde__m512i emulated_shift_right(simde__m512i a, int count)
{
    emulated v = {.si = a};
    for (int i = 0; i < 16; i++)
        v.i[i] >>= count > 31 ? 31 : count;
    return v.si;
}

static inline simde__m256 emulated_half_of(simde__m512 a, int half)
{
    emulated from = {.ps = a};
    emulated_half v;
    memcpy(&v, from.f + 8 * half, sizeof v);
    return v.ps;
}

#define _mm512_movehdup_ps             emulated_odd
#define _mm512_shuffle_epi32(a, order) emulated_shuffle_32(a, (int)(order))
#define _mm512_shuffle_f32x4           emulated_shuffle_quarters
#define _mm512_alignr_epi32            emulated_align
#define _mm512_srai_epi32(a, count)    emulated_shift_right(a, (int)(count))
#define _mm512_extractf32x8_ps         emulated_half_of
#undef _mm512_madd_epi16 // whose macro has the arguments of another
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#undef _cvtu32_mask16
#define _cvtu32_mask16(mask)       ((simde__mmask16)(mask))
#define _mm512_kunpackw(high, low) ((simde__mmask32)((uint32_t)(high) << 16 | (uint16_t)(low)))
#define _mm512_mask_cmp_ps_mask(mask, a, b, how)                                                   \
    ((simde__mmask16)((mask)&_mm512_cmp_ps_mask(a, b, how)))

#endif
