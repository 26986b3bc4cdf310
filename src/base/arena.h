// A bump allocator for the many small pieces of one parsed object, released together.
#ifndef SG_BASE_ARENA_H
#define SG_BASE_ARENA_H

#include <stddef.h>

typedef struct sg_arena {
    struct sg_arena_block *head;
} sg_arena;

// Aligned for any type, uninitialised; NULL when out of memory. A zeroed sg_arena is empty.
void *sg_arena_alloc(sg_arena *arena, size_t bytes);
char *sg_arena_strndup(sg_arena *arena, const char *text, size_t length);
void sg_arena_free(sg_arena *arena);

#endif
