// A stream of bytes from a file, the standard input or memory, with gzip and zstd undone on the
// way. Below sg_corpus; memory is bounded whatever the file claims to hold.
#ifndef SG_TEXT_SOURCE_H
#define SG_TEXT_SOURCE_H

#include "base/status.h"

typedef struct sg_source sg_source;

// "-" is the standard input. Compression is recognised by the first bytes; a name that ends in .gz
// or .zst, in letters of any case, over other bytes is an error.
sg_status sg_source_open(const char *path, sg_source **source, sg_error *err);
// `data` must outlive the source.
sg_status sg_source_open_memory(const void *data, size_t bytes, const char *name,
                                sg_source **source, sg_error *err);
void sg_source_close(sg_source *source); // NULL is allowed

// At most `capacity` (> 0) bytes of content; *got is 0 at the end only.
sg_status sg_source_read(sg_source *source, void *out, size_t capacity, size_t *got, sg_error *err);
// Bytes of the file used so far, as stored.
int64_t sg_source_position(const sg_source *source);

// Whether the first `bytes` bytes of a name end so, whatever the case of their letters; `ending` is
// in lower case.
bool sg_name_ends(const char *name, size_t bytes, const char *ending);

#endif
