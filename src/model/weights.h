// Narrow weights of a model: which parameters can be stored in fewer bytes, and memory for them.
// The operations that read a parameter decide (tensor/tape.h), so a new layer needs no word here.
#ifndef SG_MODEL_WEIGHTS_H
#define SG_MODEL_WEIGHTS_H

#include "ffn/params.h"

// Narrow weights are those that are stored otherwise than as values of sg_real behind each other.
typedef enum sg_narrow_use {
    SG_NARROW_DECODING, // all that the forward pass can read narrow, in place of its values
    SG_NARROW_TRAINING  // what both passes can, beside its values: tables of sparse memories
} sg_narrow_use;

typedef struct sg_narrow_set {
    sg_weights type;
    size_t count;       // parameters of the model
    sg_stored *items;   // (count); type SG_WEIGHTS_F32: this one stays sg_real. Empty set: NULL
    const void **parts; // memory for sg_stored.parts of all items, or NULL
    int64_t elements;   // weights that are narrow
    int64_t n_scales;
    void *memory;
    size_t bytes;
    const sg_allocator *allocator; // where the memory is from
} sg_narrow_set;

// Memory for the parameters where `mask` (params->count) says so, not filled in; with
// SG_WEIGHTS_F32 an empty set. Where `mapped` (as many, or NULL) says so the caller sets the rows
// itself. allocator: NULL: the system's.
sg_status sg_narrow_set_new(const sg_param_list *params, const bool *mask, const bool *mapped,
                            sg_weights type, const sg_allocator *allocator, sg_narrow_set *set,
                            sg_error *err);
// The same for the parameters of a model that can be narrow.
sg_status sg_narrow_set_of_model(const sg_config *config, const sg_param_list *params,
                                 sg_narrow_use use, const bool *mapped, sg_weights type,
                                 const sg_allocator *allocator, sg_narrow_set *set, sg_error *err);
// Which parameters the forward passes of decoding and evaluation can read as they are stored: mask
// (params->count).
sg_status sg_narrow_readable(const sg_config *config, const sg_param_list *params, bool *mask,
                             sg_error *err);
// Which parameters are matrices of plain products (sg_build_linear), at least: mask
// (params->count).
sg_status sg_weights_plain(const sg_config *config, const sg_param_list *params, bool *mask,
                           sg_error *err);
void sg_narrow_set_free(sg_narrow_set *set);
// Whether parameter i is narrow.
bool sg_narrow_has(const sg_narrow_set *set, size_t i);
// Bytes of narrow parameter i as it is stored, scales and all; the type of most narrow weights.
int64_t sg_narrow_bytes(const sg_narrow_set *set, const sg_param_list *params, size_t i);
sg_weights sg_narrow_most(const sg_narrow_set *set, const sg_param_list *params);
// Rounds the values of every narrow parameter. values (count).
void sg_narrow_set_write(const sg_narrow_set *set, const sg_param_list *params,
                         sg_real *const *values, sg_compute compute);

#endif
