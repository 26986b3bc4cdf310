// What takes the place of a projection where it is to become sparse too (D2DMoE, attention): how
// wide.
#ifndef SG_SPARSIFY_SPARSENING_H
#define SG_SPARSIFY_SPARSENING_H

#include <stdint.h>

// Hidden width of a 2-layer network that costs `share` of what a projection d -> d with bias does:
// round(share (d^2 + d) / (2d + 1)), at least 1.
int64_t sg_replacement_width(int64_t d, double share);

#endif
