// Oracles: the blocks of a layer of family moefied that a router would choose which knew what each
// of them does for the token at hand. They compute the whole layer first, and so save nothing: they
// are what routers are measured by.
#ifndef SG_SPARSIFY_ORACLE_H
#define SG_SPARSIFY_ORACLE_H

#include "sgatlin_probe.h"
#include "sparsify/block_targets.h"
#include "sparsify/dense_layer.h"

enum { SG_ORACLE_POINTS = 2 };

typedef struct sg_oracle {
    const sg_model *model;
    sg_block_target kind; // what is largest: SG_TARGET_POSITIVE, or SG_TARGET_NORM
    sg_dense_layer layer; // that which is at hand, its neurons in the order of blocks
    sg_partition blocks;  // of it: the identity
    sg_real *means;       // (neurons) what unread blocks give; NULL: nothing
    sg_real *x;           // (x_room, d) its inputs
    sg_real *values;      // (rows, blocks) of the kind
    size_t x_room, values_room;
    int64_t rows;
    // To be asked for in a pass: the inputs of layers, and ids of blocks, which they write: as many
    // of a token as were selected, the best first.
    sg_point_request requests[SG_ORACLE_POINTS];
} sg_oracle;

// model: of family moefied, with a router that chooses blocks. SG_ERR_UNSUPPORTED where layers
// share their blocks. Ownership: sg_oracle_free. The requests point into *oracle.
sg_status sg_oracle_new(const sg_model *model, sg_block_target kind, sg_oracle *oracle,
                        sg_error *err);
void sg_oracle_free(sg_oracle *oracle);

#endif
