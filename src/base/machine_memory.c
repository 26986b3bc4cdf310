// Linux says it in text files whose size it gives as 0, so they are read here in pieces: the
// machine (/proc/meminfo), the control group (version 2, then 1), and the limit of addresses.
#include "base/machine_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"

static bool memory_text(const char *path, char *text, size_t capacity)
{
    const sg_fs *fs = sg_fs_get();
    int handle = fs->open(fs->user, path, SG_FS_READ);
    if (handle < 0) return false;
    size_t used = 0;
    int64_t got = 0;
    while (used + 1 < capacity &&
           (got = fs->read(fs->user, handle, text + used, capacity - 1 - used)) > 0)
        used += (size_t)got;
    fs->close(fs->user, handle);
    text[used] = '\0';
    return got >= 0;
}

static int64_t memory_number(const char *text, int64_t unit)
{
    char *end;
    const unsigned long long value = strtoull(text, &end, 10);
    if (end == text || value > (unsigned long long)(INT64_MAX / unit)) return INT64_MAX;
    return (int64_t)value * unit;
}

// "MemTotal:       16384 kB"
static int64_t memory_line(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? memory_number(at + strlen(name), 1024) : INT64_MAX;
}

static void memory_group(const char *limit, const char *used, sg_machine_memory *memory)
{
    char text[64];
    if (!memory_text(limit, text, sizeof text)) return;
    const int64_t most = memory_number(text, 1); // "max": not a number, no limit
    if (most >= memory->most) return;
    memory->most = most;
    if (!memory_text(used, text, sizeof text)) return;
    const int64_t now = memory_number(text, 1);
    const int64_t free = now < most ? most - now : 0;
    if (free < memory->available) memory->available = free;
}

sg_machine_memory sg_memory_of_machine(void)
{
    sg_machine_memory memory = {INT64_MAX, INT64_MAX};
    char text[4096];
    if (memory_text("/proc/meminfo", text, sizeof text)) {
        memory.most = memory_line(text, "MemTotal:");
        memory.available = memory_line(text, "MemAvailable:");
    }
    memory_group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", &memory);
    memory_group("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                 "/sys/fs/cgroup/memory/memory.usage_in_bytes", &memory);
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur < (rlim_t)memory.most)
        memory.most = (int64_t)limit.rlim_cur;
    if (memory.available > memory.most) memory.available = memory.most;
    return memory;
}
