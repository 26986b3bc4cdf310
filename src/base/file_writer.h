// The inside of a writer, for file_writer.c and file_output.c alone.
#ifndef SG_BASE_FILE_WRITER_H
#define SG_BASE_FILE_WRITER_H

#include "base/file.h"
#include "base/hash.h"

typedef struct sg_output sg_output;

enum { writer_capacity = 1 << 18 };

struct sg_writer {
    const sg_fs *fs;
    int handle;
    char path[SG_PATH_MAX]; // what errors call it
    sg_hasher *hasher;
    int64_t bytes;
    size_t used;
    int64_t failure;   // 0 or -errno
    sg_output *output; // of one that replaces a file
    char buffer[writer_capacity];
};

// A writer without a handle, and the end of one whose handle is closed.
sg_status sg_writer_new(const char *path, sg_writer **out, sg_error *err);
void sg_writer_free(sg_writer *writer);

#endif
