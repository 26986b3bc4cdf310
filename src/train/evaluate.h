// Evaluation on packed data: shared by sg_evaluate and by a run's own evaluations.
#ifndef SG_TRAIN_EVALUATE_H
#define SG_TRAIN_EVALUATE_H

#include "model/model.h"

// Inputs and targets as an operation wants them: targets that are padding become -1.
// Returns the number of targets that count. masked (count).
int64_t sg_mask_targets(const int32_t *targets, const float *weights, int64_t count,
                        int32_t *masked);

#endif
