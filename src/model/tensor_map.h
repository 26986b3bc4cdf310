// Where the values of each parameter lie in a checkpoint of another kind. One table of rules a kind
// of checkpoint (format/tensor_rules.h) says how our parameters are cut from its tensors; reading
// and writing both go by it.
#ifndef SG_MODEL_TENSOR_MAP_H
#define SG_MODEL_TENSOR_MAP_H

#include "ffn/params.h"
#include "format/tensor_rules.h"
#include "format/tensor_view.h"

// Tensors of an open file, by whatever format; borrowed.
typedef struct sg_tensors {
    const void *file;
    const char *name; // what errors call it
    size_t (*count)(const void *file);
    const sg_tensor_view *(*at)(const void *file, size_t i);
    const sg_tensor_view *(*find)(const void *file, const char *name); // NULL: there is none
} sg_tensors;

// The rules of a model_type of the Hugging Face library, "sgatlin" (each tensor is named as its
// parameter), "gguf", or "llama2c"; NULL when there are none. GGUF's architectures have theirs for
// writing (format/gguf_architecture.h).
const sg_tensor_map *sg_tensor_map_find(const char *type);

// The rules whose names are those of a model's matrices for other programs: of a type of the
// Hugging Face library its own; else ("gguf", "llama2c", NULL) those of "sgatlin".
const sg_tensor_map *sg_tensor_map_of_modules(const sg_tensor_map *map);

// Rows of a parameter as a tensor has them. Parameters are rows of their last dimension (vectors:
// rows of one number), tensors likewise.
typedef struct sg_piece {
    const sg_tensor_view *view;   // NULL while there is no file
    const sg_tensor_view *scales; // of MXFP4, whose view are bytes of two weights each; else NULL
    char tensor[SG_PARAM_NAME];
    int ndim; // the shape that the tensor must have
    int64_t shape[SG_VIEW_DIMS];
    int64_t first, count; // rows of the parameter
    int64_t row, column;  // of the tensor (as a matrix of its last dimension), where they begin
    bool transposed;      // our rows are columns there
} sg_piece;

typedef struct sg_pieces {
    sg_piece *items;
    size_t count, capacity;
} sg_pieces;

// The pieces of one parameter, in the order of its rows, all of them covered. With `tensors` they
// are looked up: a missing tensor or another shape is SG_ERR_MISMATCH. Without, the names are those
// that a file is written with. pieces: emptied first; sg_pieces_free in the end.
sg_status sg_tensor_map_pieces(const sg_tensor_map *map, const sg_config *config,
                               const sg_param_spec *spec, const sg_tensors *tensors,
                               sg_pieces *pieces, sg_error *err);
void sg_pieces_free(sg_pieces *pieces);

// What a file calls the classifier; and the matrix of the embedding that it has, or NULL.
const char *sg_tensor_map_head(const sg_tensor_map *map);
const sg_tensor_view *sg_tensor_map_embedding(const sg_tensor_map *map, const sg_tensors *tensors);
// The end of a name that is one of a buffer which some writers leave in such files; NULL: it is
// none.
const char *sg_tensor_map_buffer(const sg_tensor_map *map, const char *tensor);

#endif
