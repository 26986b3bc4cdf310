// Matrices of the model itself that the library PEFT saves beside adapters: the classifier and the
// embedding, where it finds an adapter on one or thinks that they may have changed.
#ifndef SG_MODEL_ADAPTER_BASE_H
#define SG_MODEL_ADAPTER_BASE_H

#include "model/model.h"

// *is: a tensor of an adapter file is named as a matrix of the model. SG_ERR_MISMATCH: and it is
// another than that. Where the model's is stored in few bits only nearness can be told.
sg_status sg_adapter_base_check(const sg_model *model, const char *file, const sg_tensor_view *view,
                                bool *is, sg_error *err);

#endif
