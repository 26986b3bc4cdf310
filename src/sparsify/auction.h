// Balanced assignment by an auction (Bertsekas; the form of BASE layers, Lewis et al. 2021, which
// MoEfication's later code uses): blocks bid for neurons. Near the best there is, and fast.
#ifndef SG_SPARSIFY_AUCTION_H
#define SG_SPARSIFY_AUCTION_H

#include "base/compute.h"
#include "kernel/real.h"
#include "sgatlin.h"

// scores (blocks, rows), finite: what each block would give for each row; rows = blocks * size.
// labels (rows): each block has `size` rows. After `rounds` rounds blocks hold on to what they have
// less firmly, which ends soon.
sg_status sg_assign_auction(sg_compute compute, const sg_real *scores, int64_t rows, int64_t blocks,
                            int64_t size, int64_t rounds, int32_t *labels, sg_error *err);

#endif
