// Names sorted once, found by halving.
#include "base/name_index.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct sg_name_entry {
    const char *name;
    size_t item;
};

static int name_compare(const void *a, const void *b)
{
    const struct sg_name_entry *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    if (order != 0) return order;
    return x->item < y->item ? -1 : x->item > y->item;
}

bool sg_name_index_build(sg_name_index *index, const void *items, size_t stride, size_t count)
{
    *index = (sg_name_index){.entries = sg_alloc_array(count, sizeof *index->entries)};
    if (index->entries == NULL) return false;
    index->count = count;
    for (size_t i = 0; i < count; i++) {
        const char *const *name = (const void *)((const char *)items + i * stride);
        index->entries[i] = (struct sg_name_entry){*name, i};
    }
    if (count > 1) qsort(index->entries, count, sizeof *index->entries, name_compare);
    return true;
}

void sg_name_index_free(sg_name_index *index)
{
    sg_free(index->entries);
    *index = (sg_name_index){0};
}

ptrdiff_t sg_name_index_find(const sg_name_index *index, const char *name)
{
    size_t low = 0, high = index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, index->entries[middle].name);
        if (order == 0) return (ptrdiff_t)index->entries[middle].item;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SG_NAME_NONE;
}

ptrdiff_t sg_name_index_repeated(const sg_name_index *index)
{
    for (size_t i = 1; i < index->count; i++)
        if (strcmp(index->entries[i - 1].name, index->entries[i].name) == 0)
            return (ptrdiff_t)index->entries[i].item;
    return SG_NAME_NONE;
}
