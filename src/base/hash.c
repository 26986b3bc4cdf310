// XXH3 through xxHash, in one call and piece by piece.
#include "base/hash.h"

#define XXH_STATIC_LINKING_ONLY
#include <stdio.h>
#include <xxhash.h>

#include "base/alloc.h"

struct sg_hasher {
    XXH3_state_t *state; // 64-byte aligned inside `memory`
    unsigned char memory[sizeof(XXH3_state_t) + 64];
};

uint64_t sg_hash(const void *data, size_t bytes)
{
    return XXH3_64bits(data, bytes);
}

void sg_hash_name(const void *data, size_t bytes, char name[33])
{
    const XXH128_hash_t hash = XXH3_128bits(data, bytes);
    snprintf(name, 33, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

sg_hasher *sg_hasher_new(void)
{
    sg_hasher *hasher = sg_alloc(sizeof *hasher);
    if (hasher == NULL) return NULL;
    uintptr_t base = ((uintptr_t)hasher->memory + 63) & ~(uintptr_t)63;
    hasher->state = (XXH3_state_t *)base;
    XXH3_INITSTATE(hasher->state);
    XXH3_64bits_reset(hasher->state);
    return hasher;
}

void sg_hasher_free(sg_hasher *hasher)
{
    sg_free(hasher);
}

void sg_hasher_add(sg_hasher *hasher, const void *data, size_t bytes)
{
    if (bytes > 0) XXH3_64bits_update(hasher->state, data, bytes);
}

uint64_t sg_hasher_value(const sg_hasher *hasher)
{
    return XXH3_64bits_digest(hasher->state);
}
