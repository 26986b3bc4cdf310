// What is told here changes how long reading takes, never what is read, so refusals are answers and
// not errors.
#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t sg_page_bytes(void)
{
    const long bytes = sysconf(_SC_PAGESIZE);
    return bytes > 0 ? bytes : 4096;
}

typedef struct pages_range {
    void *at;
    size_t bytes; // 0: there are none
} pages_range;

static pages_range pages_of(const void *at, int64_t bytes, bool inside)
{
    const uintptr_t page = (uintptr_t)sg_page_bytes();
    if (at == NULL || bytes <= 0) return (pages_range){0};
    uintptr_t first = (uintptr_t)at / page, end = ((uintptr_t)at + (uintptr_t)bytes) / page;
    if (inside)
        first += (uintptr_t)at % page != 0;
    else
        end += ((uintptr_t)at + (uintptr_t)bytes) % page != 0;
    if (end <= first) return (pages_range){0};
    return (pages_range){(void *)(first * page), (size_t)((end - first) * page)};
}

bool sg_pages_resident(const void *at, int64_t bytes, int64_t *pages, int64_t *resident)
{
    enum { together = 1024 };
    unsigned char states[together];
    const pages_range r = pages_of(at, bytes, false);
    const size_t page = (size_t)sg_page_bytes(), all = r.bytes / page;
    *pages = (int64_t)all;
    *resident = 0;
    for (size_t first = 0; first < all; first += together) {
        const size_t n = all - first < together ? all - first : together;
        if (mincore((char *)r.at + first * page, n * page, states) != 0) return false;
        for (size_t i = 0; i < n; i++)
            *resident += states[i] & 1;
    }
    return true;
}

bool sg_pages_told(const char *file)
{
    struct stat about;
    return access(file, W_OK) == 0 || (stat(file, &about) == 0 && about.st_uid == geteuid());
}

bool sg_pages_lock(const void *at, int64_t bytes)
{
    const pages_range r = pages_of(at, bytes, false);
    return r.bytes == 0 || mlock(r.at, r.bytes) == 0;
}

void sg_pages_unlock(const void *at, int64_t bytes)
{
    const pages_range r = pages_of(at, bytes, false);
    if (r.bytes > 0) munlock(r.at, r.bytes);
}

void sg_pages_ask(const void *at, int64_t bytes)
{
    const pages_range r = pages_of(at, bytes, false);
    if (r.bytes > 0) madvise(r.at, r.bytes, MADV_WILLNEED);
}

void sg_pages_scattered(const void *at, int64_t bytes)
{
    const pages_range r = pages_of(at, bytes, true);
    if (r.bytes > 0) madvise(r.at, r.bytes, MADV_RANDOM);
}

bool sg_pages_drop(const void *at, int64_t bytes)
{
    const pages_range r = pages_of(at, bytes, true);
    if (r.bytes == 0) return true;
#ifdef MADV_PAGEOUT
    return madvise(r.at, r.bytes, MADV_PAGEOUT) == 0;
#else
    return false;
#endif
}

int64_t sg_pages_waited(void)
{
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? use.ru_majflt : 0;
}
