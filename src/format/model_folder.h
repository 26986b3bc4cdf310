// A Hugging Face model folder as a whole (config.json, weights, tokenizer.json), replaced so that
// after a crash it is the old model or the new one, never half of each.
//
// The new files are written and synced in FOLDER/.incoming.tmp, which is renamed to
// FOLDER/.incoming: from that moment the save is decided. Then the files move up one by one.
// A crash in between leaves .incoming behind; sg_model_folder_recover finishes the moves.
#ifndef SG_FORMAT_MODEL_FOLDER_H
#define SG_FORMAT_MODEL_FOLDER_H

#include "format/safetensors.h"

// A small file that goes along, given as bytes.
typedef struct sg_named_bytes {
    const char *name; // a plain file name: "config.json"
    const void *data;
    size_t bytes;
} sg_named_bytes;

// Saves a model into `folder` (made when missing; other files in it stay, old shards go).
// max_shard_bytes: see sg_safetensors_write_sharded; 0 means 5 GB, the Hugging Face custom.
sg_status sg_model_folder_save(const char *folder, int64_t max_shard_bytes,
                               const sg_tensor_view *tensors, size_t count,
                               const sg_key_value *metadata, size_t metadata_count,
                               const sg_named_bytes *files, size_t file_count, sg_error *err);

// Whether a name in a folder is what a save leaves behind that was interrupted before it was decided; the
// next save removes it.
bool sg_model_folder_is_staging(const char *name);

// Finishes a save that a crash interrupted; cheap and without effect when there is none. Call it
// before reading anything of a model folder (sg_safetensors_open refuses one that needs it). A `path` that is a file or is not there is fine.
sg_status sg_model_folder_recover(const char *path, sg_error *err);

#endif
