// Counter-based random numbers: a number is a pure function of (seed, stream, index), so results do
// not depend on threads, order or resumption. Philox 4x32-10, Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3".
#ifndef SG_BASE_RNG_H
#define SG_BASE_RNG_H

#include <stdint.h>

// Four independent 32-bit numbers for one (seed, stream, index).
void sg_rng_block(uint64_t seed, uint32_t stream, uint64_t index, uint32_t sub, uint32_t out[4]);
uint64_t sg_rng_u64(uint64_t seed, uint32_t stream, uint64_t index);
// Uniform in [0, bound), without bias; bound >= 1.
uint64_t sg_rng_below(uint64_t seed, uint32_t stream, uint64_t index, uint64_t bound);
// Uniform in [0, 1) with 53 bits.
double sg_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index);
// Standard normal.
double sg_rng_normal(uint64_t seed, uint32_t stream, uint64_t index);
// Standard normal truncated to [-2, 2] (by rejection).
double sg_rng_truncated_normal(uint64_t seed, uint32_t stream, uint64_t index);

// The image of `index` under a pseudo-random permutation of [0, n), in constant memory: a
// four-round Feistel network with cycle walking. Needs index < n.
uint64_t sg_rng_permute(uint64_t seed, uint32_t stream, uint64_t index, uint64_t n);

// A stream number made from a name, so that each use has its own: FNV-1a.
uint32_t sg_rng_stream(const char *name);

// A small sequential generator on top, for code that draws an unknown count of numbers.
typedef struct sg_rng {
    uint64_t seed;
    uint32_t stream;
    uint64_t next;
} sg_rng;

uint64_t sg_rng_next_below(sg_rng *rng, uint64_t bound);
double sg_rng_next_uniform(sg_rng *rng);

#endif
