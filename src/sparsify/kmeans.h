// What forms of k-means have in common: distances of rows to centres, centres of labels, a start.
#ifndef SG_SPARSIFY_KMEANS_H
#define SG_SPARSIFY_KMEANS_H

#include "base/status.h"
#include "kernel/kernel.h"

typedef struct sg_kmeans {
    sg_compute compute;
    const sg_real *x; // (rows, d), borrowed
    int64_t rows, d, clusters;
    sg_real *centres; // (clusters, d)
    double *squares;  // (rows, clusters) squared distances to them
    sg_real *dots;    // (rows, clusters), scratch
    double *lengths;  // (rows + clusters) of x and of centres, squared
    double *sums;     // (clusters, d), scratch
    int64_t *counts;  // (clusters) likewise
    int32_t *labels;  // (rows)
} sg_kmeans;

sg_status sg_kmeans_new(sg_compute compute, const sg_real *x, int64_t rows, int64_t d,
                        int64_t clusters, sg_kmeans *k, sg_error *err);
void sg_kmeans_free(sg_kmeans *k);

// Centres by k-means++ (Arthur & Vassilvitskii 2007): rows, each drawn by its squared distance to
// the nearest before it.
sg_status sg_kmeans_seed(sg_kmeans *k, uint64_t seed, sg_error *err);
// A number below `count` drawn by its weight, from a number in [0, 1); where all weights are 0,
// any.
int64_t sg_kmeans_draw(const double *weights, int64_t count, double uniform);
void sg_kmeans_squares(sg_kmeans *k);
// The means of what is labelled, each sum in the order of rows; a cluster without rows keeps its
// centre.
void sg_kmeans_centres(sg_kmeans *k);
// The sum of squared distances of rows to the centres of their labels, as they are now.
double sg_kmeans_objective(const sg_kmeans *k);
// Rounds of plain k-means (Lloyd), until nothing changes or so many. A cluster that nobody is near
// to takes the row that is farthest from its own.
void sg_kmeans_plain(sg_kmeans *k, int64_t rounds);

#endif
