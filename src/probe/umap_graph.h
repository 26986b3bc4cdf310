// The graph of UMAP: who is joined to whom, and how strongly.
#ifndef SG_PROBE_UMAP_GRAPH_H
#define SG_PROBE_UMAP_GRAPH_H

#include "base/compute.h"

// Symmetric; row i is joined to ids[j] with weights[j] in (0, 1], j from begins[i] to
// begins[i + 1] - 1, ids ascending.
typedef struct sg_graph_edges {
    int64_t rows;
    int64_t *begins; // (rows + 1)
    int32_t *ids;
    float *weights;
} sg_graph_edges;

// From the nearest rows of each row, itself not among them. ids, distances (rows, count): -1 and
// infinity where there are fewer. Ownership: sg_umap_graph_free.
sg_status sg_umap_graph(int64_t rows, int64_t count, const int32_t *ids, const double *distances,
                        sg_graph_edges *graph, sg_error *err);
void sg_umap_graph_free(sg_graph_edges *graph);

// Which connected part each row is in, parts numbered in the order of their first rows. part
// (rows); stack (rows) is worked in. Returns how many parts.
int64_t sg_umap_parts(const sg_graph_edges *graph, int32_t *part, int32_t *stack);

#endif
