// Counting allocations and asking a hook before each. Large blocks come page-aligned from mmap with
// huge pages advised: tables are read at random, and each small page would cost a lookup.
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static sg_alloc_hook alloc_hook;
static void *alloc_user;
static atomic_llong alloc_live;
static atomic_llong alloc_count;

static bool alloc_allowed(size_t bytes)
{
    atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);
    return alloc_hook == NULL || alloc_hook(alloc_user, bytes);
}

static void *alloc_counted(void *pointer)
{
    if (pointer != NULL) atomic_fetch_add_explicit(&alloc_live, 1, memory_order_relaxed);
    return pointer;
}

void *sg_alloc(size_t bytes)
{
    if (!alloc_allowed(bytes)) return NULL;
    return alloc_counted(malloc(bytes ? bytes : 1));
}

void *sg_alloc_zero(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) return NULL;
    if (!alloc_allowed(count * size)) return NULL;
    return alloc_counted(calloc(count ? count : 1, size ? size : 1));
}

void *sg_alloc_array(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) return NULL;
    return sg_alloc(count * size);
}

void *sg_realloc(void *pointer, size_t bytes)
{
    if (pointer == NULL) return sg_alloc(bytes);
    if (!alloc_allowed(bytes)) return NULL;
    return realloc(pointer, bytes ? bytes : 1);
}

void sg_free(void *pointer)
{
    if (pointer == NULL) return;
    atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed);
    free(pointer);
}

char *sg_strndup(const char *text, size_t length)
{
    char *copy = sg_alloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *sg_strdup(const char *text)
{
    return sg_strndup(text, strlen(text));
}

bool sg_grow(void **array, size_t *capacity, size_t need, size_t element_size)
{
    if (need <= *capacity) return true;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < need) wanted = need;
    if (wanted < 16) wanted = 16;
    if (wanted > SIZE_MAX / element_size) return false;
    void *grown = sg_realloc(*array, wanted * element_size);
    if (grown == NULL) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

enum { big_huge_page = 2 << 20 };

void *sg_alloc_big(size_t bytes)
{
    if (bytes == 0) bytes = 1;
    if (!alloc_allowed(bytes)) return NULL;
    // Anonymous mappings come zeroed and page-aligned; the kernel backs them lazily.
    void *pointer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pointer == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= 2 * (size_t)big_huge_page) (void)madvise(pointer, bytes, MADV_HUGEPAGE);
#endif
    return alloc_counted(pointer);
}

void sg_free_big(void *pointer, size_t bytes)
{
    if (pointer == NULL) return;
    atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed);
    munmap(pointer, bytes ? bytes : 1);
}

void *sg_alloc_from(const sg_allocator *allocator, size_t bytes)
{
    return allocator != NULL ? allocator->alloc(allocator->user, bytes) : sg_alloc_big(bytes);
}

void sg_free_to(const sg_allocator *allocator, void *pointer, size_t bytes)
{
    if (allocator == NULL)
        sg_free_big(pointer, bytes);
    else if (pointer != NULL)
        allocator->free(allocator->user, pointer, bytes);
}

void sg_alloc_set_hook(sg_alloc_hook hook, void *user)
{
    alloc_hook = hook;
    alloc_user = user;
}

int64_t sg_alloc_live(void)
{
    return atomic_load_explicit(&alloc_live, memory_order_relaxed);
}

int64_t sg_alloc_count(void)
{
    return atomic_load_explicit(&alloc_count, memory_order_relaxed);
}

void sg_buffer_free(void *buffer)
{
    sg_free(buffer);
}
