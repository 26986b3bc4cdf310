// Checksums (XXH3) of files and tables, 64 bits. They find damage, not forgery.
#ifndef SG_BASE_HASH_H
#define SG_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t sg_hash(const void *data, size_t bytes);

// 128 bits, as 32 hex digits and a NUL: names of things by what they are.
void sg_hash_name(const void *data, size_t bytes, char name[33]);

// A running checksum; the result equals sg_hash over the pieces joined.
typedef struct sg_hasher sg_hasher;
sg_hasher *sg_hasher_new(void); // NULL when out of memory
void sg_hasher_free(sg_hasher *hasher);
void sg_hasher_add(sg_hasher *hasher, const void *data, size_t bytes);
uint64_t sg_hasher_value(const sg_hasher *hasher);

#endif
