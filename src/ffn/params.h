// The list of a model's parameters: names, shapes, initial laws. It is what counts parameters,
// initialises, checks a file and lays out the optimiser, so that each is stated once.
#ifndef SG_FFN_PARAMS_H
#define SG_FFN_PARAMS_H

#include "tensor/tape.h"

typedef enum sg_init {
    SG_INIT_ZERO,
    SG_INIT_ONE,
    SG_INIT_NORMAL,        // normal, variance as given
    SG_INIT_TRUNCATED,     // normal cut at two deviations, rescaled to the variance given
    SG_INIT_TRUNCATED_RAW, // standard normal cut at ±2, not rescaled
    SG_INIT_UNIFORM        // around 0, variance as given
} sg_init;

// What moves a value. Gradients move a parameter. A buffer is initialised, saved and loaded like
// one, but the optimiser, the norm of the gradients and decay pass it by: where a parameter has its
// gradient, each backward pass leaves a statistic of its micro-batch (written or added to, as
// gradients are), and an update moves the buffer once by its rule, s being the mean of the
// statistic over the micro-batches. So neither recomputation nor accumulation counts anything
// twice.
typedef enum sg_buffer {
    SG_BUFFER_NONE,    // a parameter
    SG_BUFFER_AVERAGE, // v += rate (s - v)
    // v += rate sign(mean of s - s): what was selected less than the others becomes more likely
    // (Wang et al. 2024; DeepSeek-V3).
    SG_BUFFER_BALANCE
} sg_buffer;

enum { SG_PARAM_NAME = 128 };

typedef struct sg_param_spec {
    char name[SG_PARAM_NAME];
    int rank;
    int64_t shape[SG_RANK_MAX];
    int64_t count;
    sg_init init;
    double variance;
    bool decay; // weight decay applies: all but norm scales and biases
    // Rows of the table that a token reads at most, where nothing but the selected rows of a memory
    // is ever read of it; 0: any parameter that is read as a whole.
    int64_t row_hits;
    bool paired; // its rows are read one by one, each with that of the parameter before
    bool keys;   // of a selection among many: decoding may screen them (op/op.h)
    sg_buffer buffer;
    double rate; // of a buffer's rule
    bool frozen; // training leaves it as it is: no gradient, no moments
} sg_param_spec;

typedef struct sg_param_list {
    sg_param_spec *specs;
    size_t count, capacity;
    int64_t total;    // values, parameters and buffers
    int64_t buffers;  // of these, in buffers
    sg_status status; // the first failure
} sg_param_list;

// Adds prefix + name; failures are kept in the list.
void sg_param_add(sg_param_list *list, const char *prefix, const char *name, int rank,
                  const int64_t *shape, sg_init init, double variance);
// The parameter added last is a table that only a memory reads, and only selected rows: of those
// `hits` a token at most (sg_param_spec.row_hits).
void sg_param_rows(sg_param_list *list, int64_t hits);
// Of the two added last, a token reads the same rows (sg_param_spec.paired).
void sg_param_paired(sg_param_list *list);
// The parameter added last is keys of a selection (sg_param_spec.keys).
void sg_param_keys(sg_param_list *list);
void sg_param_add_buffer(sg_param_list *list, const char *prefix, const char *name, int rank,
                         const int64_t *shape, sg_init init, sg_buffer buffer, double rate);
void sg_param_list_free(sg_param_list *list);
// Writes the initial values of one parameter; a pure function of seed, name and index.
void sg_param_init(const sg_param_spec *spec, uint64_t seed, sg_pool *pool, sg_real *values);
// Moves all buffers after an update of the parameters. statistics: where their gradients would be.
void sg_buffers_update(const sg_param_list *params, sg_real *const *values,
                       sg_real *const *statistics, int64_t micro_batches);

// One block of memory for a number of every parameter (weights, gradients), each parameter at a
// multiple of 64 bytes, so that two of them never share a cache line.
typedef struct sg_param_block {
    sg_real **parts; // by parameter
    void *memory;
    size_t bytes;
    const sg_allocator *allocator; // where the memory is from
} sg_param_block;

// Zeroed. `what` is what an error calls it: "weights". A parameter where `skip` (by parameter, or
// NULL) says so has no part. allocator: NULL: the system's.
sg_status sg_param_block_new(const sg_param_list *params, const char *what, const bool *skip,
                             const sg_allocator *allocator, sg_param_block *block, sg_error *err);
void sg_param_block_free(sg_param_block *block);

#endif
