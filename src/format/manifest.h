// manifest.json: which files make up a checkpoint, with sizes and checksums, and the state that is
// not tensors. The manifest carries a checksum of itself, so that no flipped bit goes unseen.
#ifndef SG_FORMAT_MANIFEST_H
#define SG_FORMAT_MANIFEST_H

#include <jansson.h>

#include "base/status.h"

enum { SG_MANIFEST_VERSION = 1, SG_MANIFEST_FILES = 4096 };

typedef struct sg_manifest_file {
    char *name; // a plain file name
    int64_t bytes;
    uint64_t hash; // sg_hash of the whole file
} sg_manifest_file;

typedef struct sg_manifest {
    int64_t step;
    sg_manifest_file *files;
    size_t count;
    size_t capacity;
    json_t *state; // an object
} sg_manifest;

// An empty manifest; `state` (an object; NULL for an empty one) is shared, not copied.
sg_status sg_manifest_new(int64_t step, json_t *state, sg_manifest **out, sg_error *err);
void sg_manifest_free(sg_manifest *manifest); // NULL is allowed
// Refuses names that are not plain or are there already, and more than SG_MANIFEST_FILES.
sg_status sg_manifest_add(sg_manifest *manifest, const char *name, int64_t bytes, uint64_t hash,
                          sg_error *err);

// `name` is what errors call the text.
sg_status sg_manifest_parse(const char *text, size_t bytes, const char *name, sg_manifest **out,
                            sg_error *err);
// Reads folder/manifest.json.
sg_status sg_manifest_read(const char *folder, sg_manifest **out, sg_error *err);
// Writes and syncs folder/manifest.json.
sg_status sg_manifest_write(const sg_manifest *manifest, const char *folder, sg_error *err);
// Every listed file is there with its size and checksum. Other files are ignored. Damage is
// SG_ERR_FORMAT, a missing file SG_ERR_NOT_FOUND.
sg_status sg_manifest_verify(const sg_manifest *manifest, const char *folder, sg_error *err);

#endif
