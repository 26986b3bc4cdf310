// Weights on disk: the safetensors format (github.com/huggingface/safetensors). A reader that maps
// files and trusts nothing in them, and a writer that never holds the file in memory.
#ifndef SG_FORMAT_SAFETENSORS_H
#define SG_FORMAT_SAFETENSORS_H

#include "format/tensor_view.h"

// ---- reading ----------------------------------------------------------------------------------

// One file, or all the shards of a folder. Views point into read-only mappings and live until
// close. The files must not be shortened by others meanwhile: the system would end the process.
typedef struct sg_safetensors sg_safetensors;

// `path` is a .safetensors file, or a folder with model.safetensors or, when that is missing, with
// model.safetensors.index.json and its shards. Refused with a message naming file and tensor:
// everything the format forbids (also holes, overlaps, trailing bytes and repeated names), more
// than 8 dimensions, and shards whose content is not what the index says.
sg_status sg_safetensors_open(const char *path, sg_safetensors **out, sg_error *err);
// The same checks on one file in memory, which is borrowed until close. `name` is for messages.
sg_status sg_safetensors_open_memory(const void *data, size_t bytes, const char *name,
                                     sg_safetensors **out, sg_error *err);
void sg_safetensors_close(sg_safetensors *file); // NULL is allowed

// What errors should call it: the path it was opened by.
int64_t sg_safetensors_bytes(const sg_safetensors *file, int64_t *files); // of its shards
const char *sg_safetensors_name(const sg_safetensors *file);
size_t sg_safetensors_count(const sg_safetensors *file);
// In the order of the data in the file, shard after shard; i < count.
const sg_tensor_view *sg_safetensors_at(const sg_safetensors *file, size_t i);
// NULL when there is none of that name.
const sg_tensor_view *sg_safetensors_find(const sg_safetensors *file, const char *name);
// As find, and checks type and shape: SG_ERR_NOT_FOUND or SG_ERR_MISMATCH with a message.
sg_status sg_safetensors_get(const sg_safetensors *file, const char *name, sg_dtype dtype, int ndim,
                             const int64_t *shape, const sg_tensor_view **view, sg_error *err);
// A value of "__metadata__" (of the first shard); NULL when there is none.
const char *sg_safetensors_metadata(const sg_safetensors *file, const char *key);

// ---- writing ----------------------------------------------------------------------------------

typedef struct sg_key_value {
    const char *key;
    const char *value;
} sg_key_value;

// What a written file can be recognised by.
typedef struct sg_file_seal {
    int64_t bytes;
    uint64_t hash; // sg_hash of the whole file
} sg_file_seal;

// Writes `path` (made or emptied) and syncs it; its name is the caller's to sync. The header is
// padded so that data start at a multiple of 8 bytes; give tensors of wide types first to have
// every one of them aligned. metadata may be NULL with count 0, seal NULL.
sg_status sg_safetensors_write(const char *path, const sg_tensor_view *tensors, size_t count,
                               const sg_key_value *metadata, size_t metadata_count,
                               sg_file_seal *seal, sg_error *err);
// As an output (base/file.h) in the place of what is there; the one above is for new folders.
sg_status sg_safetensors_replace(const char *path, const sg_tensor_view *tensors, size_t count,
                                 const sg_key_value *metadata, size_t metadata_count,
                                 sg_error *err);

// Writes model.safetensors into a folder, or, when the data are more than max_shard_bytes,
// model-00001-of-0000N.safetensors … and model.safetensors.index.json. A tensor is never cut, so a
// shard may exceed the limit when one tensor does. Every file is synced; the folder is not.
sg_status sg_safetensors_write_sharded(const char *folder, int64_t max_shard_bytes,
                                       const sg_tensor_view *tensors, size_t count,
                                       const sg_key_value *metadata, size_t metadata_count,
                                       sg_error *err);

#endif
