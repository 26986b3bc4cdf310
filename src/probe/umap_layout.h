// The layout of a map: rows move until the graph of the map is as near as it gets to theirs.
#ifndef SG_PROBE_UMAP_LAYOUT_H
#define SG_PROBE_UMAP_LAYOUT_H

#include "probe/umap_graph.h"
#include "sgatlin_gates.h"

// a and b of 1 / (1 + a d^(2 b)), which is fitted by least squares to 1 up to min_dist and exp(-(d
// - min_dist) / spread) from there, at 300 distances from 0 to 3 spread, as umap-learn does.
void sg_umap_curve(double min_dist, double spread, double *a, double *b);

// Moves positions (rows, components) for map->epochs epochs, with map->a and map->b.
sg_status sg_umap_layout(sg_compute compute, const sg_graph_edges *graph,
                         const sg_umap_options *options, const sg_umap *map, float *positions,
                         sg_error *err);

#endif
