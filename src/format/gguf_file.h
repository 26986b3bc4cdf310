// An open GGUF file, for the files that read it: gguf.c, gguf_values.c.
#ifndef SG_FORMAT_GGUF_FILE_H
#define SG_FORMAT_GGUF_FILE_H

#include "base/arena.h"
#include "base/file.h"
#include "base/name_index.h"
#include "format/gguf.h"

struct sg_gguf {
    char *name;
    sg_map map;     // empty where the file is in memory of others
    sg_map *others; // of the parts behind the first
    size_t other_count, other_capacity;
    uint32_t version;
    uint64_t alignment;
    sg_gguf_value *values;
    size_t value_count, value_capacity;
    sg_tensor_view *views;
    size_t view_count, view_capacity;
    sg_name_index keys, names;
    sg_arena arena; // keys, names, texts
};

// One part of a file that may be split, by itself; and what brings the other parts to the first.
sg_status sg_gguf_open_part(const char *path, sg_gguf **out, sg_error *err);
sg_status sg_gguf_join(sg_gguf *file, sg_error *err);

// `bytes` <= 8 bytes, the lowest first.
static inline uint64_t sg_gguf_load(const unsigned char *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)data[i] << 8 * i;
    return value;
}

#endif
