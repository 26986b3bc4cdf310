// First places of the rows of a map: eigenvectors of the graph.
#ifndef SG_PROBE_UMAP_SPECTRUM_H
#define SG_PROBE_UMAP_SPECTRUM_H

#include "probe/umap_graph.h"
#include "sgatlin_gates.h"

// positions (rows, components), between 0 and 10 in each of them. Fills in `parts` and
// `parts_drawn` of the map.
sg_status sg_umap_places(sg_compute compute, const sg_graph_edges *graph,
                         const sg_umap_options *options, float *positions, sg_umap *map,
                         sg_error *err);

// The `count` eigenvectors of D^-1/2 W D^-1/2 of one connected part with the largest eigenvalues
// below that of D^1/2 1, which is 1. members (size): its rows, ascending; local (rows): where a
// member stands among them. vectors (count, size), values (count).
sg_status sg_umap_eigenvectors(sg_compute compute, const sg_graph_edges *graph,
                               const int32_t *members, int64_t size, const int32_t *local,
                               int64_t count, uint64_t seed, double *vectors, double *values,
                               sg_error *err);

#endif
