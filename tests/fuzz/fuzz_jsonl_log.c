// Any bytes as the log of an earlier life: opening it for step 5 keeps whole lines of it, and
// opening it again all of those.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/jsonl_log.h"
#include "memory_fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    if (sg_file_write_atomic("log", data, size, NULL) != SG_OK) abort();
    sg_jsonl_log *log;
    sg_error err = {0};
    int64_t damaged = -1;
    if (sg_jsonl_log_open("log", 5, &log, &damaged, &err) != SG_OK) abort();
    if (sg_jsonl_log_close(log, &err) != SG_OK) abort();
    size_t kept, again;
    const unsigned char *text = memory_fs_bytes(fs, "log", &kept);
    if (kept > size || damaged < 0 || (kept > 0 && text[kept - 1] != '\n')) abort();
    // What was kept is kept again.
    if (sg_jsonl_log_open("log", 5, &log, &damaged, &err) != SG_OK || damaged != 0) abort();
    if (sg_jsonl_log_close(log, &err) != SG_OK) abort();
    memory_fs_bytes(fs, "log", &again);
    if (again != kept) abort();
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}
