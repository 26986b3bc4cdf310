// A Hugging Face model folder as a whole (config.json, weights, tokenizer.json), replaced so that
// after a crash it is the old model or the new one, never half of each: see base/publish.h.
#ifndef SG_FORMAT_MODEL_FOLDER_H
#define SG_FORMAT_MODEL_FOLDER_H

#include "format/safetensors.h"

// A small file that goes along, given as bytes.
typedef struct sg_named_bytes {
    const char *name; // "config.json", or another name that model folders have
    const void *data;
    size_t bytes;
} sg_named_bytes;

// Saves a model into `folder` (made when missing; other files in it stay, old shards go), which the
// caller has a claim or another lock on.
// max_shard_bytes: see sg_safetensors_write_sharded; 0 means 5 GB, the Hugging Face custom.
sg_status sg_model_folder_save(const char *folder, int64_t max_shard_bytes,
                               const sg_tensor_view *tensors, size_t count,
                               const sg_key_value *metadata, size_t metadata_count,
                               const sg_named_bytes *files, size_t file_count, sg_error *err);

// Finishes a save that a crash interrupted; cheap and without effect when there is none. For
// writers: readers open such a folder as it is. A `path` that is a file or is not there is fine.
sg_status sg_model_folder_recover(const char *path, sg_error *err);

#endif
