// Philox 4x32-10 and the laws on top of it. One number takes one block, with nothing kept between
// numbers: wasteful by a factor of four and free of any state to save.
#include "base/rng.h"

#include <math.h>

void sg_rng_block(uint64_t seed, uint32_t stream, uint64_t index, uint32_t sub, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = stream, c3 = sub;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t rng_u64_sub(uint64_t seed, uint32_t stream, uint64_t index, uint32_t sub)
{
    uint32_t b[4];
    sg_rng_block(seed, stream, index, sub, b);
    return (uint64_t)b[1] << 32 | b[0];
}

uint64_t sg_rng_u64(uint64_t seed, uint32_t stream, uint64_t index)
{
    return rng_u64_sub(seed, stream, index, 0);
}

uint64_t sg_rng_below(uint64_t seed, uint32_t stream, uint64_t index, uint64_t bound)
{
    uint64_t reject = (0 - bound) % bound; // 2^64 mod bound values at the low end would bias
    for (uint32_t sub = 0;; sub++) {
        uint64_t x = rng_u64_sub(seed, stream, index, sub);
        if (x >= reject) return x % bound;
    }
}

static double rng_unit(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

double sg_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index)
{
    return rng_unit(sg_rng_u64(seed, stream, index));
}

static double rng_normal_sub(uint64_t seed, uint32_t stream, uint64_t index, uint32_t sub)
{
    // Box-Muller; 1 - u is in (0, 1], so that the logarithm is finite.
    uint32_t b[4];
    sg_rng_block(seed, stream, index, sub, b);
    double u = 1.0 - rng_unit((uint64_t)b[1] << 32 | b[0]);
    double v = rng_unit((uint64_t)b[3] << 32 | b[2]);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

double sg_rng_normal(uint64_t seed, uint32_t stream, uint64_t index)
{
    return rng_normal_sub(seed, stream, index, 0);
}

double sg_rng_truncated_normal(uint64_t seed, uint32_t stream, uint64_t index)
{
    for (uint32_t sub = 0;; sub++) {
        double z = rng_normal_sub(seed, stream, index, sub);
        if (z >= -2.0 && z <= 2.0) return z;
    }
}

uint64_t sg_rng_permute(uint64_t seed, uint32_t stream, uint64_t index, uint64_t n)
{
    int half = 1;
    while (half < 32 && (uint64_t)1 << (2 * half) < n)
        half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {
        uint64_t left = index >> half, right = index & mask;
        for (uint32_t round = 0; round < 4; round++) {
            uint64_t next = left ^ (rng_u64_sub(seed, stream, right, round) & mask);
            left = right;
            right = next;
        }
        index = left << half | right;
    } while (index >= n);
    return index;
}

uint32_t sg_rng_stream(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

uint64_t sg_rng_next_below(sg_rng *rng, uint64_t bound)
{
    return sg_rng_below(rng->seed, rng->stream, rng->next++, bound);
}

double sg_rng_next_uniform(sg_rng *rng)
{
    return sg_rng_uniform(rng->seed, rng->stream, rng->next++);
}
