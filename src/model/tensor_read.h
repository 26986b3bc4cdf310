// Values of parameters from the pieces that a file has of them: copied as sg_real, or left where
// they lie.
#ifndef SG_MODEL_TENSOR_READ_H
#define SG_MODEL_TENSOR_READ_H

#include "model/tensor_map.h"

// The type that the weights of such tensors are stored in here; false where there is none.
bool sg_weights_of_dtype(sg_dtype dtype, sg_weights *weights);

// Writes all values of a parameter. to (spec->count).
sg_status sg_pieces_read(const sg_pieces *pieces, const sg_param_spec *spec, sg_real *to,
                         sg_error *err);

// Writes the values of `count` rows from `first` on, rows being those of the last dimension (of one
// number where it is a vector). to (count, k).
sg_status sg_pieces_read_rows(const sg_pieces *pieces, const sg_param_spec *spec, int64_t first,
                              int64_t count, sg_real *to, sg_error *err);

// Whether a parameter can be read where it lies, as rows of one type behind each other or in parts
// of as many rows each. *stored then says how; with more than one piece its `parts` are to be
// pieces->count pointers, which the caller provides: parts (count) is filled in, or NULL only to
// ask.
bool sg_pieces_in_place(const sg_pieces *pieces, const sg_param_spec *spec, const void **parts,
                        sg_stored *stored);

#endif
