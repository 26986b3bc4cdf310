// The inside of sg_model.
#ifndef SG_MODEL_MODEL_H
#define SG_MODEL_MODEL_H

#include <stdatomic.h>

#include "base/context.h"
#include "ffn/params.h"
#include "format/model_folder.h"
#include "model/adapters.h"
#include "model/column_copies.h"
#include "model/graph_cache.h"
#include "model/model_file.h"
#include "model/weights.h"
#include "op/op.h"

// Memory of a parameter that lay in the file until it was written.
typedef struct sg_model_copy {
    void *memory;
    size_t bytes;
} sg_model_copy;

struct sg_model {
    sg_context *context;
    sg_config config;
    sg_param_list params;
    sg_real **values; // by parameter: of `storage`, or into the mapped file; NULL where narrow
    sg_param_block storage; // without parts while values point into a file
    sg_model_file *file;    // while values point into it
    sg_model_copy *copies;  // (copy_count) of what of it was written (sg_model_tensor_write)
    size_t copy_count, copy_capacity;
    sg_rope_table rope;    // max_position_embeddings positions
    sg_narrow_set narrow;  // weights stored otherwise, for decoding
    sg_end_tokens ends;    // of a text: config.eos_token_id, and more where a file says so
    sg_narrow_set screens; // copies of keys, made when the first session is (sg_model_screen)
    sg_column_set columns; // copies of matrices, made when the first session is, too
    pthread_mutex_t screens_mutex;           // held while either is made
    bool no_key_copies;                      // they are not to be made
    sg_compute_kind compute, logits_compute; // of passes of several tokens (sg_model_set_compute)
    // Of the weights, raised by whatever writes them (sg_model_touch): what is derived from them
    // notes the version it was made from, and is made anew or refused where it is older.
    int64_t version;
    int64_t screens_version;  // what `screens` were made from
    int64_t layout;           // of where weights lie: raised where recorded graphs no longer hold
    const sg_tensor_map *map; // of the file it came from; NULL: names are ours
    sg_adapters *adapters;    // whose parameters are the last ones; NULL: it has none
    atomic_int users;         // sessions and batches, which hold on to what adapters would move
    atomic_llong sessions;    // that were ever opened
    sg_graph_cache graphs;    // of their passes
};

// A model whose weights are copied from an opened file into writable memory: training.
sg_status sg_model_from_file(sg_context *context, const sg_config *config,
                             const sg_safetensors *file, sg_model **model, sg_error *err);
// A model of an open file, which becomes the model's or is closed, also on failure. copy: all
// weights in writable memory; otherwise as sg_model_open.
sg_status sg_model_take_file(sg_context *context, sg_model_file *file, bool copy, sg_model **model,
                             sg_error *err);
// What goes in front of a text: what the tokenizer's template says; where it has none, the BOS of a
// model of ours, as rows of training data begin, and nothing for models of others, as in their
// authors' library. bos: memory for *begin (*count).
void sg_model_begin(const sg_model *model, const sg_tokenizer *tokenizer, int32_t *bos,
                    const int32_t **begin, size_t *count);
// A text as the model reads it: that (*begins), then the ids of the text. *ids (*count): sg_free.
sg_status sg_model_encode(const sg_model *model, const sg_tokenizer *tokenizer, const char *text,
                          size_t bytes, const sg_encode_options *options, int32_t **ids,
                          int64_t *count, int64_t *begins, sg_error *err);
// Whether a model can read these data: vocabulary and length. `name` is what errors call the data.
sg_status sg_data_fits(const sg_data *data, const sg_config *config, const char *name,
                       sg_error *err);
// Stores the weights of a model in memory narrow and lets go of what that replaces; as
// sg_model_open_narrow. The model is as it was on failure.
sg_status sg_model_narrow(sg_model *model, sg_weights weights, sg_error *err);
// A session or batch begins to use the model, and ends. What is kept for their passes goes with the
// last of them.
void sg_model_enter(sg_model *model);
void sg_model_leave(sg_model *model);
// Weights have been written.
void sg_model_touch(sg_model *model);
// Rows of a parameter, whatever it is stored in: to (count, columns), all of them in range.
void sg_model_rows(const sg_model *model, size_t index, int64_t first, int64_t count, sg_real *to);
// Copies in int8 of the keys that decoding screens, where keys are wider and there are none of the
// present version; none for a model with adapters, or where they are not wanted. Any thread.
sg_status sg_model_screen(sg_model *model, sg_error *err);
// Those that decoding shall use: by parameter, or NULL.
const sg_stored *sg_model_screens(const sg_model *model);
// Bytes of the weights as they are stored, in memory or mapped, and of such copies.
int64_t sg_model_weight_bytes(const sg_model *model);
// Views of all parameters of a model that is not narrow, named as in files. views (params.count).
void sg_model_views(const sg_model *model, sg_tensor_view *views);
// Text of config.json. *text: sg_free.
sg_status sg_model_config_text(const sg_model *model, char **text, sg_error *err);
// Writes the model folder, crash-safe. tokenizer: the bytes of a tokenizer.json, or NULL.
sg_status sg_model_write(const sg_model *model, const char *tokenizer, size_t tokenizer_bytes,
                         const char *folder, sg_error *err);

#endif
