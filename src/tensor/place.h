// Where the values of a tape lie: each has a size and a life, and those that live at the same time
// may not share bytes.
#ifndef SG_TENSOR_PLACE_H
#define SG_TENSOR_PLACE_H

#include "base/status.h"

// Steps begin … end, both included. Values are written at most twice (recomputation), so two spans
// are enough.
typedef struct sg_life {
    int begin[2], end[2];
    int spans; // 0: never there
} sg_life;

typedef enum sg_place_kind { SG_PLACE_DATA, SG_PLACE_HALF, SG_PLACE_GRAD } sg_place_kind;

typedef struct sg_place {
    sg_life life;
    size_t bytes;
    size_t offset; // set by sg_place_all
    int tensor;    // these two are the caller's: what it places
    sg_place_kind kind;
} sg_place;

// Places the largest first (of equals the one that comes first), each at the lowest offset that is
// free for its whole life. steps: the end of every life is below it. *total: bytes of all together.
sg_status sg_place_all(sg_place *items, int count, int steps, size_t *total, sg_error *err);

#endif
