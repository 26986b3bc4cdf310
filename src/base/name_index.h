// Finding things by name. Sorted rather than hashed: names come from files, and there are none for
// which this is slow.
#ifndef SG_BASE_NAME_INDEX_H
#define SG_BASE_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sg_name_index {
    struct sg_name_entry *entries;
    size_t count;
} sg_name_index;

enum { SG_NAME_NONE = -1 };

// Of `count` structs of `stride` bytes whose first member is their name (a char *); the names are
// borrowed. False when out of memory.
bool sg_name_index_build(sg_name_index *index, const void *items, size_t stride, size_t count);
void sg_name_index_free(sg_name_index *index);
// The number of the item of that name, or SG_NAME_NONE.
ptrdiff_t sg_name_index_find(const sg_name_index *index, const char *name);
// The number of an item whose name another one has too, or SG_NAME_NONE.
ptrdiff_t sg_name_index_repeated(const sg_name_index *index);

#endif
