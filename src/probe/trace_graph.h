// The graph of a trace: which nodes carry influence, and those of them that are shown.
#ifndef SG_PROBE_TRACE_GRAPH_H
#define SG_PROBE_TRACE_GRAPH_H

#include "probe/trace_rows.h"

struct sg_trace {
    sg_trace_info info;
    sg_trace_attention by;
    sg_trace_node *nodes;
    sg_trace_edge *edges;
    size_t node_count, edge_count;
    int32_t *ids;  // (info.tokens)
    int64_t *hits; // (node_count) the place of a neuron among the hits of its token; else -1
    int64_t heads;
    bool centred;
    double node_threshold, edge_threshold;
};

// Nodes and edges, and what of info is of them, of a frozen model that has its gradients.
sg_status sg_trace_graph(sg_frozen *f, const sg_trace_options *options, sg_trace *trace,
                         sg_error *err);

// What neurons of the graph write, by the classifier, a tensor of the model.
sg_status sg_trace_say_writes(sg_frozen *f, size_t classifier, sg_trace *trace, sg_error *err);

#endif
