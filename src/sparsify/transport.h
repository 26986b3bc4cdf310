// Assignment at the least cost where each block takes exactly as many: the transportation problem,
// which balanced k-means (Malinen & Fränti 2014) and CMoE solve in each round.
#ifndef SG_SPARSIFY_TRANSPORT_H
#define SG_SPARSIFY_TRANSPORT_H

#include "base/status.h"

// labels (rows): the block of each row, such that each of `blocks` has `size` rows = blocks * size
// and the sum of cost[row][label] is the least there is. cost (rows, blocks), finite.
sg_status sg_assign_balanced(const double *cost, int64_t rows, int64_t blocks, int64_t size,
                             int32_t *labels, sg_error *err);

#endif
