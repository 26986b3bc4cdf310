// What tests share whose files all lie in memory: the disk of the running test, its setup and
// teardown, and what must not fail.
#ifndef SG_TESTS_MEMORY_DISK_H
#define SG_TESTS_MEMORY_DISK_H

#include "memory_fs.h"

static memory_fs *disk;

static inline void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static inline int disk_begin(void **state)
{
    (void)state;
    disk = memory_fs_begin();
    return disk ? 0 : -1;
}

static inline int disk_end(void **state)
{
    (void)state;
    return memory_fs_end(disk) ? -1 : 0;
}

#endif
