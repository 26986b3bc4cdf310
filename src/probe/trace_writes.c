// What the neurons of a graph write: the tokens whose logits a neuron of the prompt raises most,
// read straight from z w_out by the last norm's weights and the classifier (the logit lens;
// nostalgebraist 2020). Nothing that comes between them has a part in it.
#include <string.h>

#include "base/alloc.h"
#include "probe/trace_graph.h"

enum { writes_piece = 256 };           // rows of the classifier at a time
static const double writes_work = 4e9; // multiplications at most

typedef struct writes {
    const sg_frozen *f;
    sg_trace *trace;
    size_t *nodes; // (count) of the trace
    int64_t count;
    double *directions;              // (count, d)
    double (*best)[SG_TRACE_WRITES]; // (count)
    const float *rows;               // (piece, d) of the classifier
    int64_t first, piece;
} writes;

static void writes_direction(const writes *w, int64_t i)
{
    const sg_frozen *f = w->f;
    const sg_trace_node *node = &w->trace->nodes[w->nodes[i]];
    const sg_frozen_layer *l = &f->layers[node->layer];
    const int64_t d = f->width, t = node->position;
    const float *row = l->w_out + sg_frozen_row(l, t, w->trace->hits[w->nodes[i]]) * d;
    double *to = w->directions + i * d;
    for (int64_t j = 0; j < d; j++) {
        double x = (double)row[j];
        if (l->proj_out) {
            x = 0;
            for (int64_t n = 0; n < d; n++)
                x += (double)l->proj_out[j * d + n] * l->token_gate[t * d + n] * (double)row[n];
        }
        to[j] = x * node->value;
    }
    double mean = 0;
    for (int64_t j = 0; f->last.shift && j < d; j++)
        mean += to[j] / (double)d;
    for (int64_t j = 0; j < d; j++)
        to[j] = (to[j] - mean) * (double)f->last.weight[j];
}

static void writes_of(void *context, int64_t i, int worker)
{
    (void)worker;
    const writes *w = context;
    const int64_t d = w->f->width;
    int32_t *ids = w->trace->nodes[w->nodes[i]].writes;
    for (int64_t r = 0; r < w->piece; r++) {
        double by = sg_frozen_dot(w->rows + r * d, w->directions + i * d, d);
        int32_t id = (int32_t)(w->first + r);
        for (int n = 0; n < SG_TRACE_WRITES; n++) {
            if (ids[n] >= 0 && by <= w->best[i][n]) continue;
            const double lesser = w->best[i][n];
            const int32_t other = ids[n];
            w->best[i][n] = by;
            ids[n] = id;
            by = lesser;
            id = other;
            if (id < 0) break;
        }
    }
}

static sg_status writes_run(writes *w, size_t classifier, float *rows, sg_error *err)
{
    const int64_t V = w->f->config->vocab_size;
    for (int64_t i = 0; i < w->count; i++)
        writes_direction(w, i);
    w->rows = rows;
    for (w->first = 0; w->first < V; w->first += w->piece) {
        w->piece = sg_min(V - w->first, writes_piece);
        SG_TRY(sg_model_tensor_read(w->f->model, classifier, w->first, w->piece, rows, err));
        sg_parallel_for(w->f->model->context->compute.pool, w->count, writes_of, w);
    }
    return SG_OK;
}

sg_status sg_trace_say_writes(sg_frozen *f, size_t classifier, sg_trace *trace, sg_error *err)
{
    writes w = {.f = f, .trace = trace};
    const int64_t d = f->width;
    const double each = (double)f->config->vocab_size * (double)d;
    w.nodes = sg_frozen_array(f, (int64_t)trace->node_count, sizeof *w.nodes);
    for (size_t i = 0; w.nodes != NULL && i < trace->node_count; i++)
        if (trace->nodes[i].kind == SG_TRACE_NEURON) w.nodes[w.count++] = i;
    if ((double)w.count * each > writes_work) return SG_OK; // nothing is said rather than a part
    w.directions = sg_frozen_array(f, w.count * d, sizeof(double));
    w.best = sg_frozen_array(f, w.count, sizeof *w.best);
    float *rows = sg_frozen_array(f, writes_piece * d, sizeof *rows);
    if (!w.nodes || !w.directions || !w.best || !rows)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    return writes_run(&w, classifier, rows, err);
}
