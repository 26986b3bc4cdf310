// Tensors of a checkpoint that no parameter is made of: buffers that some writers leave in, and a
// second copy of a tied classifier. Each is passed over only where it is what it is taken for.
#ifndef SG_MODEL_TENSOR_UNUSED_H
#define SG_MODEL_TENSOR_UNUSED_H

#include "model/tensor_map.h"

// SG_OK where a model needs nothing of a tensor. SG_ERR_MISMATCH: the tensor is no part of such a
// model, or a buffer that says otherwise than the configuration, which must be complete.
sg_status sg_tensor_unused(const sg_tensor_map *map, const sg_config *config,
                           const sg_tensors *tensors, const sg_tensor_view *view, sg_error *err);

// Whether a classifier is really tied: it is not where the configuration says so but the file has
// a matrix of its own for it, of other values than the embedding. *differs tells that.
sg_status sg_tensor_tied(const sg_tensor_map *map, const sg_config *config,
                         const sg_tensors *tensors, bool *differs, sg_error *err);

// That tensors are no packed ones of other libraries, known by their names.
sg_status sg_tensors_plain(const sg_tensors *tensors, sg_error *err);

#endif
