// Weights in blocks, taken apart one by one as kernel/quant.h defines them.
#include "kernel/quant.h"

#include "kernel/ref/ref.h"
#include "kernel/stored.h"

static const float ref_fp4[16] = {0, 0.5f,  1,     1.5f,  2,  3,  4,  6,
                                  0, -0.5f, -1.0f, -1.5f, -2, -3, -4, -6};

// n_i of the types of 32.
static int ref_nibble(const unsigned char *q, int i)
{
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

static int ref_bit(const unsigned char *bits, int i)
{
    return bits[i / 8] >> i % 8 & 1;
}

static void ref_q4_k(float *w, const unsigned char *block, const unsigned char *fifth,
                     const unsigned char *q)
{
    float d = sg_quant_half(block), e = sg_quant_half(block + 2);
    unsigned char s[8], t[8];
    sg_quant_factors(s, t, block + 4);
    for (int i = 0; i < SG_SUPERBLOCK_WEIGHTS; i++) {
        int g = i / 32, n = q[32 * (g / 2) + i % 32];
        n = g % 2 == 0 ? n & 15 : n >> 4;
        if (fifth != NULL) n += 16 * (fifth[i % 32] >> g & 1);
        w[i] = (d * s[g]) * (float)n - e * t[g];
    }
}

static void ref_q6_k(float *w, const unsigned char *block)
{
    const unsigned char *q = block, *h = block + 128;
    const int8_t *s = (const int8_t *)block + 192;
    float d = sg_quant_half(block + 208);
    for (int i = 0; i < SG_SUPERBLOCK_WEIGHTS; i++) {
        int a = i / 128, b = i / 32 % 4, c = i % 32;
        int n = q[64 * a + 32 * (b % 2) + c];
        n = (b < 2 ? n & 15 : n >> 4) + 16 * (h[32 * a + c] >> 2 * b & 3);
        w[i] = (d * s[i / 16]) * (float)(n - 32);
    }
}

// One block; `exponent` counts for MXFP4 alone.
static void ref_block(float *w, sg_weights type, const unsigned char *block, unsigned char exponent)
{
    float d = sg_quant_half(block), m = sg_quant_half(block + 2);
    switch (type) {
    case SG_WEIGHTS_Q4_K:
        ref_q4_k(w, block, NULL, block + 16);
        return;
    case SG_WEIGHTS_Q5_K:
        ref_q4_k(w, block, block + 16, block + 48);
        return;
    case SG_WEIGHTS_Q6_K:
        ref_q6_k(w, block);
        return;
    default:
        break;
    }
    for (int i = 0; i < SG_BLOCK_WEIGHTS; i++) {
        switch (type) {
        case SG_WEIGHTS_Q8_0:
            w[i] = d * (int8_t)block[2 + i];
            break;
        case SG_WEIGHTS_Q4_0:
            w[i] = d * (float)(ref_nibble(block + 2, i) - 8);
            break;
        case SG_WEIGHTS_Q4_1:
            w[i] = d * (float)ref_nibble(block + 4, i) + m;
            break;
        case SG_WEIGHTS_Q5_0:
            w[i] = d * (float)(ref_nibble(block + 6, i) + 16 * ref_bit(block + 2, i) - 16);
            break;
        case SG_WEIGHTS_Q5_1:
            w[i] = d * (float)(ref_nibble(block + 8, i) + 16 * ref_bit(block + 4, i)) + m;
            break;
        default: // MXFP4
            w[i] = sg_quant_power(exponent) *
                   ref_fp4[i % 2 == 0 ? block[i / 2] & 15 : block[i / 2] >> 4];
        }
    }
}

void sg_ref_from_blocks(sg_real *y, sg_weights type, const void *blocks, const void *scales,
                        int64_t n)
{
    const unsigned char *block = blocks, *exponent = scales;
    const int64_t values = sg_stored_block(type),
                  bytes = (int64_t)sg_stored_row_bytes(type, values);
    float w[SG_SUPERBLOCK_WEIGHTS];
    for (int64_t i = 0; i < n; i += values, block += bytes) {
        ref_block(w, type, block, exponent != NULL ? exponent[i / values] : 0);
        for (int64_t j = 0; j < values; j++)
            y[i + j] = w[j];
    }
}

void sg_ref_dots_blocks(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                        sg_weights type, const void *table, const void *scales, const int32_t *rows,
                        int64_t n, int64_t d)
{
    const int64_t values = sg_stored_block(type);
    const size_t bytes = sg_stored_row_bytes(type, values);
    sg_real w[SG_SUPERBLOCK_WEIGHTS];
    for (int64_t j = 0; j < n; j++) {
        const int64_t first = (rows != NULL ? rows[j] : j) * (d / values);
        for (int64_t i = 0; i < m; i++)
            y[i * ldy + j] = 0;
        for (int64_t b = 0; b < d / values; b++) {
            const unsigned char *block = (const unsigned char *)table + (size_t)(first + b) * bytes;
            const unsigned char *exponent = scales;
            if (exponent != NULL) exponent += first + b;
            sg_ref_from_blocks(w, type, block, exponent, values);
            for (int64_t i = 0; i < m; i++)
                for (int64_t q = 0; q < values; q++)
                    y[i * ldy + j] += x[i * ldx + b * values + q] * w[q];
        }
    }
}

void sg_ref_sum_blocks(sg_real *y, const sg_real *z, sg_weights type, const void *table,
                       const void *scales, const int32_t *rows, int64_t count, int64_t d)
{
    const int64_t values = sg_stored_block(type);
    const size_t bytes = sg_stored_row_bytes(type, values);
    sg_real w[SG_SUPERBLOCK_WEIGHTS];
    for (int64_t j = 0; j < count; j++)
        for (int64_t b = 0; b < d / values; b++) {
            const int64_t at = rows[j] * (d / values) + b;
            const unsigned char *exponent = scales;
            if (exponent != NULL) exponent += at;
            sg_ref_from_blocks(w, type, (const unsigned char *)table + (size_t)at * bytes, exponent,
                               values);
            sg_ref_axpy(y + b * values, z[j], w, values);
        }
}
