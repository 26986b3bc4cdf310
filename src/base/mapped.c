// Which file lies where: a list that a handler of signals may read, so it is of fixed size and
// changed by single stores. What does not fit has no name.
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

enum { mapped_most = 256, mapped_name = 240 };

static struct {
    _Atomic(uintptr_t) first; // 0: free, 1: being filled in
    size_t bytes;
    char name[mapped_name]; // the end of it
} mapped[mapped_most];

void sg_mapped_add(const sg_map *map, const char *path)
{
    const size_t length = strlen(path),
                 skipped = length < mapped_name ? 0 : length - mapped_name + 1;
    for (int i = 0; i < mapped_most; i++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&mapped[i].first, &none, 1)) continue;
        mapped[i].bytes = map->bytes;
        snprintf(mapped[i].name, mapped_name, "%s", path + skipped);
        atomic_store(&mapped[i].first, (uintptr_t)map->data);
        return;
    }
}

void sg_mapped_remove(const sg_map *map)
{
    for (int i = 0; i < mapped_most; i++)
        if (atomic_load(&mapped[i].first) == (uintptr_t)map->data) {
            atomic_store(&mapped[i].first, 0);
            return;
        }
}

const char *sg_mapped_file(const void *address)
{
    const uintptr_t at = (uintptr_t)address;
    for (int i = 0; i < mapped_most; i++) {
        const uintptr_t first = atomic_load(&mapped[i].first);
        if (first > 1 && at >= first && at - first < mapped[i].bytes) return mapped[i].name;
    }
    return NULL;
}
