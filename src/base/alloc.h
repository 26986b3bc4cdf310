// The one seam through which the library gets memory. Tests replace the hook to fail the n-th
// allocation; the counters let a test state how much memory an operation may take.
#ifndef SG_BASE_ALLOC_H
#define SG_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sgatlin.h"

// Uninitialised memory, aligned for any type; NULL when there is none. 0 bytes give a valid
// pointer.
void *sg_alloc(size_t bytes);
// Zeroed memory for count * size bytes; NULL on overflow too.
void *sg_alloc_zero(size_t count, size_t size);
// Uninitialised memory for count * size bytes; NULL on overflow too.
void *sg_alloc_array(size_t count, size_t size);
// Grows or shrinks; on failure returns NULL and leaves `pointer` as it was.
void *sg_realloc(void *pointer, size_t bytes);
// Releases what the functions above gave; NULL is allowed.
void sg_free(void *pointer);
char *sg_strdup(const char *text);
char *sg_strndup(const char *text, size_t length);

// Makes room for at least `need` elements in a growing array: *capacity is in elements. False when
// out of memory; the array is then unchanged.
bool sg_grow(void **array, size_t *capacity, size_t need, size_t element_size);

// Big arrays (weights, activations): 64-byte aligned, zeroed, huge pages where the system allows.
void *sg_alloc_big(size_t bytes);
void sg_free_big(void *pointer, size_t bytes);
// The same from an allocator (sgatlin.h), or, for NULL, by these two.
void *sg_alloc_from(const sg_allocator *allocator, size_t bytes);
void sg_free_to(const sg_allocator *allocator, void *pointer, size_t bytes);

// Bytes in whole cache lines: parts of a block that each begin one.
static inline size_t sg_whole_lines(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

// Called before each allocation with its size; returning false makes that allocation fail.
// NULL removes the hook. For tests; set while no other thread allocates.
typedef bool (*sg_alloc_hook)(void *user, size_t bytes);
void sg_alloc_set_hook(sg_alloc_hook hook, void *user);

// Blocks now alive (both kinds), and allocations made since the program started.
int64_t sg_alloc_live(void);
int64_t sg_alloc_count(void);

#endif
