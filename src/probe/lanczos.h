// The largest eigenvalues of a symmetric operator, and their vectors.
#ifndef SG_PROBE_LANCZOS_H
#define SG_PROBE_LANCZOS_H

#include "base/compute.h"

typedef struct sg_symmetric {
    int64_t size;
    // y = A x, on the pool; x, y (size)
    void (*apply)(void *user, const double *x, double *y);
    void *user;
    const double *known; // (size): an eigenvector of length 1 that is left out
} sg_symmetric;

// vectors (count, size), values (count), the largest first; count < size. Ends when the residuals
// are below `tolerance`, or after some restarts with what there is then.
sg_status sg_lanczos(sg_compute compute, const sg_symmetric *a, int64_t count, double tolerance,
                     uint64_t seed, double *vectors, double *values, sg_error *err);

#endif
