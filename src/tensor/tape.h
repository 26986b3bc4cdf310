// A tape: operations recorded once for a fixed shape, then replayed forwards and backwards as often
// as wanted. Recording computes shapes only, so a tape also is the memory plan of a step: before
// anything runs, it knows where every value lives and for how long.
//
//   sg_tape *tape = sg_tape_new(...);
//   sg_tensor *x = sg_rmsnorm(tape, h, w, eps);   // operations live in op/ and ffn/
//   ...
//   sg_tape_finish(tape, &options, err);          // lifetimes, places in memory
//   sg_tape_allocate(tape, err);
//   sg_tape_forward(tape, &run); sg_tape_backward(tape, &run);
//
// Errors while recording are kept: an operation given NULL returns NULL, and finish reports the
// first error. So model code reads straight through.
#ifndef SG_TENSOR_TAPE_H
#define SG_TENSOR_TAPE_H

#include "base/arena.h"
#include "base/parallel.h"
#include "kernel/stored.h"
#include "tensor/row_grads.h"

enum { SG_RANK_MAX = 4, SG_NODE_IN = 9, SG_NODE_OUT = 3, SG_NODE_SAVED = 4 };

typedef enum sg_kind { SG_KIND_REAL = 0, SG_KIND_INT = 1 } sg_kind; // sg_real or int32_t

// One value. Dense, row-major; shape[i] = 1 for i >= rank.
typedef struct sg_tensor {
    const char *name; // for messages; static or owned by the tape
    sg_kind kind;
    int rank;
    int64_t shape[SG_RANK_MAX];
    int64_t count;           // elements
    void *data;              // sg_real or int32_t; valid once the tape has memory
    sg_real *grad;           // NULL: no gradient is wanted
    sg_row_grads *row_grads; // of a leaf, in place of grad: a gradient by rows; else NULL
    // Of a leaf, NULL or the same rows in fewer bytes: read in place of data by the operations that
    // can (sg_op.forward_reads_narrow); if all can, data may be NULL. Set before it is used.
    const sg_stored *narrow;
    const sg_stored *screen; // of a leaf, NULL or a copy in int8 that shows what need not be read
    const sg_stored_columns *columns; // of a leaf, NULL or a copy whose rows are its columns
    // Of a result, in a tape that computes in bf16: its numbers in bf16, for the operations that
    // read it so (sg_op.reads_half), in both passes; else NULL. The same numbers as in data, which
    // is NULL where nothing reads it; but where it is exact, data are not rounded.
    sg_bf16 *half;
    struct sg_tensor *base; // whose memory this is; itself unless a reshape
    bool leaf;              // memory is the caller's: a parameter or an input
    bool wants_grad;
    // Of a leaf of a finished tape: whether something reads it that cannot read it narrow in the
    // forward pass, or in one of both.
    bool not_narrow, not_narrow_both;
    bool has_half; // of a finished tape: see half
    bool no_data;  // likewise: its data are read by nobody
    bool exact;    // likewise: of the sum that layers add to, which is kept in f32 (sg_op.exact)
    int index;     // in the tape
} sg_tensor;

typedef struct sg_node sg_node;
typedef struct sg_tape sg_tape;

// What an operation sees when it runs.
typedef struct sg_run {
    sg_compute compute;
    bool accumulate;        // parameter gradients are added to, not written: a later micro-batch
    unsigned char *scratch; // shared by the chunks of one node
    unsigned char *worker_scratch; // one piece per worker
    size_t worker_stride;
    bool again; // in the backward pass of an operation, or in one that is run again for it
    bool recording_gradient; // this forward pass will be followed by a backward pass
    double *seconds;         // per node and direction when profiling, else NULL
    sg_error *err;           // why a pass ended early (sg_run_end); the caller's, or NULL
    sg_status *status;       // of the pass
} sg_run;

typedef struct sg_op {
    const char *name;
    void (*forward)(const sg_run *run, const sg_node *node);
    // NULL: no gradient passes this operation.
    void (*backward)(const sg_run *run, const sg_node *node);
    // Multiply-adds count 2. What the published counts leave out (norms, softmax, top-k) is 0 here
    // too; logits are counted by their own operation. NULL: 0.
    double (*flops)(const sg_node *node);
    unsigned backward_reads_in;  // bit i: backward reads the value of input i
    unsigned backward_reads_out; // bit i: backward reads the value of output i
    // bit i: the gradient of input i is that of output 0, and may lie in its place: where
    // sg_grad_in gives that one, nothing is left to do
    unsigned passes_gradient;
    unsigned row_gradients; // bit i: reads and differentiates input i by announced rows
    // bit i: that pass reads input i through sg_weights_of or sg_weights_product, narrow where it
    // is
    unsigned forward_reads_narrow, backward_reads_narrow;
    // bit i: both passes read input i as sg_half_in gives it, where that is not NULL, in place of
    // data
    unsigned reads_half;
    // bit i, beside reads_half: where input i is exact, the forward pass reads data, and half only
    // where it is run again for the backward pass (sg_get_in)
    unsigned reads_exact;
    // bit i: the backward pass reads output i as sg_half_out gives it, likewise
    unsigned reads_half_out;
    // bit i: the forward pass writes half of output i where it is not NULL, and the same numbers to
    // its data unless that is NULL (sg_put_begin). Without the bit the tape rounds what the
    // operation wrote.
    unsigned writes_half;
    // Its inputs and outputs are parts of a sum that is kept in f32 throughout: a product that
    // reads one rounds it for itself alone.
    bool exact;
    bool copies; // output 0 is a copy of input 0: exact where that is, rounded where it is
    // Costs little beside the backward passes that read its outputs: a tape that computes in bf16
    // makes them again for these, from inputs that are there anyway, and does not keep them.
    bool cheap;
    // The forward pass already writes the input gradients (a loss whose weight is known then); the
    // output must be a loss of the tape.
    bool gradient_in_forward;
    // Runs once a pass: where values of its segment are computed again, its outputs have been kept.
    bool once;
} sg_op;

struct sg_node {
    const sg_op *op;
    int n_in, n_out, n_saved;
    sg_tensor *in[SG_NODE_IN]; // NULL: an optional input that is absent
    sg_tensor *out[SG_NODE_OUT];
    sg_tensor *saved[SG_NODE_SAVED]; // live from forward to backward
    bool first[SG_NODE_IN];          // this backward is the first to touch that input's gradient
    size_t scratch_bytes;            // shared scratch, forward and backward alike
    size_t worker_scratch_bytes;     // scratch of each worker
    void *attributes;                // of the operation; owned by the tape
    bool loss;                       // a loss of the tape
    double loss_weight;              // of such
    int segment;                     // recomputation segment, 0: none
    sg_compute_kind kind;            // of the products: the tape's when it was recorded
};

// ---- recording --------------------------------------------------------------------------------

sg_status sg_tape_new(sg_tape **tape, sg_error *err);
void sg_tape_free(sg_tape *tape);
// The kind of products of what is recorded from here on, f32 at first, and f32 for bf16x3 where no
// unit multiplies so; with bf16 results that are read in bf16 are kept in it. logits: of the
// classifier with cross-entropy.
void sg_tape_compute(sg_tape *tape, sg_compute_kind kind, sg_compute_kind logits);
sg_compute_kind sg_tape_kind(const sg_tape *tape);
sg_compute_kind sg_tape_logits_kind(const sg_tape *tape);
// How memories that are recorded from here on are read (ffn/memory.h); auto at first.
void sg_tape_set_memory_path(sg_tape *tape, sg_memory_path path);
sg_memory_path sg_tape_memory_path(const sg_tape *tape);

// A value in the caller's memory; grad may be NULL. The pointers may be set later, before running,
// through sg_tensor.data / .grad (wants_grad says whether a gradient is wanted).
sg_tensor *sg_tape_leaf(sg_tape *tape, const char *name, sg_kind kind, int rank,
                        const int64_t *shape, void *data, sg_real *grad, bool wants_grad);
// The same memory in another shape of equal count.
sg_tensor *sg_reshape(sg_tape *tape, sg_tensor *tensor, int rank, const int64_t *shape);

// For operations: adds a node (NULL and a kept error on failure), then its outputs and saved
// values. The node's op may be changed until the tape is finished.
sg_node *sg_tape_node(sg_tape *tape, const sg_op *op, int n_in, sg_tensor *const *in);
sg_tensor *sg_node_output(sg_tape *tape, sg_node *node, const char *name, sg_kind kind, int rank,
                          const int64_t *shape);
// An output that is an input of the node, in the same memory.
sg_tensor *sg_node_view(sg_tape *tape, sg_node *node, sg_tensor *input);
sg_tensor *sg_node_save(sg_tape *tape, sg_node *node, sg_kind kind, int rank, const int64_t *shape);
// Zeroed memory that lives as long as the tape.
void *sg_tape_memory(sg_tape *tape, size_t bytes);
// Keeps the first error of the recording; returns NULL so that an operation can return it.
void *sg_tape_fail(sg_tape *tape, sg_status status, const char *format, ...) SG_PRINTF(3, 4);

// Makes a scalar a loss: the total is the sum of weight * loss.
void sg_tape_add_loss(sg_tape *tape, sg_tensor *loss, double weight);
// Another weight of the loss that is a node's, from the next forward pass on; 0 too.
void sg_tape_weigh_loss(sg_tape *tape, int node, double weight);
// Keeps a value readable after the pass (logits, say).
void sg_tape_keep(sg_tape *tape, sg_tensor *tensor);
// Nodes recorded between these two are forgotten after the forward pass and computed again before
// their backward pass, when the tape is finished with `recompute`.
void sg_tape_segment_begin(sg_tape *tape);
void sg_tape_segment_end(sg_tape *tape);

// ---- planning and running ---------------------------------------------------------------------

typedef struct sg_tape_options {
    bool gradient;                 // plan a backward pass
    bool recompute;                // forget and compute again what lies in segments
    int threads;                   // workers that need scratch
    const sg_allocator *allocator; // of sg_tape_allocate; NULL: the system's
} sg_tape_options;

sg_status sg_tape_finish(sg_tape *tape, const sg_tape_options *options, sg_error *err);
// Bytes that sg_tape_allocate will take: values, gradients of values, scratch. Leaves not counted.
size_t sg_tape_bytes(const sg_tape *tape);
sg_status sg_tape_allocate(sg_tape *tape, sg_error *err);
// In place of that: memory of at least sg_tape_bytes, 64-byte aligned, that stays the caller's and
// may be other memory, or be used otherwise, before each forward pass.
void sg_tape_lend(sg_tape *tape, void *memory);

// run->compute.pool, kernels, accumulate, seconds and err are the caller's; the rest is filled in.
// Not SG_OK: an operation ended the pass (sg_run_end), whose results are then void.
sg_status sg_tape_forward(sg_tape *tape, sg_run *run);
// After a forward pass of a tape finished with `gradient`.
sg_status sg_tape_backward(sg_tape *tape, sg_run *run);

// Whether all operations that read `leaf`, a parameter of a finished tape, can read it narrow (in
// the forward pass, or in both passes), and see the same rows: a view of other columns has no
// scales.
bool sg_tape_reads_narrow(const sg_tensor *leaf, bool both);

// Sum over nodes of forward FLOPs; `only` restricts to operations for which it returns true.
double sg_tape_flops(const sg_tape *tape, bool (*only)(const sg_node *node));
int sg_tape_nodes(const sg_tape *tape);
const sg_node *sg_tape_node_at(const sg_tape *tape, int index);

// ---- for operations ---------------------------------------------------------------------------

static inline sg_real *sg_values(const sg_tensor *tensor)
{
    return (sg_real *)tensor->data;
}
// The rows of a matrix as an operation that may read it narrow finds them.
static inline sg_stored sg_weights_of(const sg_tensor *tensor)
{
    return tensor->narrow ? *tensor->narrow
                          : (sg_stored){.type = SG_WEIGHTS_F32, .rows = tensor->data};
}
// Whether a node reads input i in bf16, if that is there: in the backward pass, or a forward pass
// that is run again for it, or in the forward pass that comes first.
static inline bool sg_reads_half(const sg_node *node, int i, bool again)
{
    return node->kind == SG_COMPUTE_BF16 && (node->op->reads_half >> i & 1) &&
           (again || !(node->op->reads_exact >> i & 1) || !node->in[i]->base->exact);
}
// Input i of a node that reads it in bf16; NULL: it is to be read in data. Not for inputs of
// reads_exact.
static inline const sg_bf16 *sg_half_in(const sg_node *node, int i)
{
    return node->in[i] != NULL && sg_reads_half(node, i, true) ? node->in[i]->half : NULL;
}
// Output i of a node whose backward pass reads it in bf16, likewise.
static inline const sg_bf16 *sg_half_out(const sg_node *node, int i)
{
    return node->op->reads_half_out >> i & 1 ? node->out[i]->half : NULL;
}
static inline int32_t *sg_ints(const sg_tensor *tensor)
{
    return (int32_t *)tensor->data;
}
// Where the gradient of input i goes (NULL: not wanted) and whether to add to it.
static inline sg_real *sg_grad_in(const sg_run *run, const sg_node *node, int i, bool *add)
{
    const sg_tensor *t = node->in[i];
    if (t == NULL || !t->wants_grad || t->grad == NULL) return NULL;
    *add = !node->first[i] || (t->leaf && run->accumulate);
    return t->grad;
}
// The same for an input whose gradient is kept by rows (op->row_gradients).
static inline sg_row_grads *sg_row_grads_in(const sg_run *run, const sg_node *node, int i,
                                            bool *add)
{
    const sg_tensor *t = node->in[i];
    if (t == NULL || !t->wants_grad) return NULL;
    *add = !node->first[i] || run->accumulate;
    return t->base->row_grads;
}
// Ends the pass behind this node. On the thread that runs the tape; the first call counts.
void sg_run_end(const sg_run *run, sg_status status, const char *format, ...) SG_PRINTF(3, 4);
static inline void *sg_worker_scratch(const sg_run *run, int worker)
{
    return run->worker_scratch + (size_t)worker * run->worker_stride;
}
// Inputs and outputs in the forms that they have, from number `at` on, for kernels that take these.
static inline sg_source sg_source_in(const sg_run *run, const sg_node *node, int i, int64_t at)
{
    const sg_tensor *t = node->in[i];
    const bool half = sg_reads_half(node, i, run->again) && t->half != NULL;
    return sg_source_at(half ? (sg_source){NULL, t->half} : sg_wide_source(sg_values(t)), at);
}
// The op says writes_half.
static inline sg_target sg_target_out(const sg_node *node, int i, int64_t at)
{
    const sg_tensor *t = node->out[i];
    return sg_target_at((sg_target){sg_values(t), t->half, t->base->exact}, at);
}
// For other kernels, piece by piece: numbers at … at + n - 1. A buffer of n is used
// where there are no f32 to be read, or nobody to read them.
static inline const sg_real *sg_get_half(const sg_run *run, const sg_bf16 *half,
                                         const sg_tensor *tensor, int64_t at, int64_t n,
                                         sg_real *buffer)
{
    if (half == NULL) return sg_values(tensor) + at;
    run->compute.kernels->from_bf16(buffer, half + at, n);
    return buffer;
}
static inline const sg_real *sg_get_in(const sg_run *run, const sg_node *node, int i, int64_t at,
                                       int64_t n, sg_real *buffer)
{
    const bool half = sg_reads_half(node, i, run->again);
    return sg_get_half(run, half ? node->in[i]->half : NULL, node->in[i], at, n, buffer);
}
// Where to write them; sg_put_end then brings them into the forms that there are. The op says
// writes_half.
static inline sg_real *sg_put_begin(const sg_node *node, int i, int64_t at, sg_real *buffer)
{
    return node->out[i]->data != NULL ? sg_values(node->out[i]) + at : buffer;
}
static inline void sg_put_end(const sg_run *run, const sg_node *node, int i, int64_t at, int64_t n,
                              const sg_real *from)
{
    const sg_tensor *out = node->out[i];
    if (out->half == NULL) return;
    run->compute.kernels->to_bf16(out->half + at, from, n);
    if (out->data != NULL && !out->base->exact)
        run->compute.kernels->from_bf16(sg_values(out) + at, out->half + at, n);
}
// Rows of such a piece: about what the first cache holds; of a chunk of rows first … end - 1, the
// end of the piece that begins at first: all of them where nothing is widened.
static inline int64_t sg_piece_rows(int64_t columns)
{
    const int64_t rows = 4096 / (columns > 0 ? columns : 1);
    return rows < 1 ? 1 : rows;
}
static inline int64_t sg_piece_end(const sg_node *node, int64_t columns, int64_t first, int64_t end)
{
    const int64_t rows = sg_piece_rows(columns);
    return node->kind != SG_COMPUTE_BF16 || end - first < rows ? end : first + rows;
}
// Bytes of a worker's buffer for one piece, in a node of that kind.
static inline size_t sg_piece_bytes(sg_compute_kind kind, int64_t columns)
{
    return kind == SG_COMPUTE_BF16 ? (size_t)(sg_piece_rows(columns) * columns) * sizeof(sg_real)
                                   : 0;
}
// Last dimension, and the product of all others.
static inline int64_t sg_columns(const sg_tensor *t)
{
    return t->shape[t->rank - 1];
}
static inline int64_t sg_rows(const sg_tensor *t)
{
    return t->count / sg_columns(t);
}

#endif
