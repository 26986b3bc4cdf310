// Measuring: this machine, layers, steps, decoding.
// A companion of sgatlin.h, whose conventions hold here too.
#ifndef SGATLIN_BENCH_H
#define SGATLIN_BENCH_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

// This machine, by what the processor and the system say. What they do not say is "", 0 or NULL.
typedef struct sg_machine {
    char cpu[96];       // name of the processor
    char cpu_kind[112]; // "GenuineIntel family 6 model 207 stepping 2"
    char flags[256];    // of its flags those that products and kernels use, as the system has them
    char system[208];   // "Linux 6.1.0 x86_64"
    int threads;        // processors that this process may use
    int cores;          // the cores that these are, as two threads of a core share its units
    int vector_bits;    // of the widest vectors of f32 that are used
    double ghz;         // the highest frequency, or the nominal one where that is all there is
    const char *ghz_from; // who said so
    int64_t memory_bytes;
} sg_machine;
SG_API void sg_machine_describe(sg_machine *machine);
// What no product in f32 can exceed, measured in some milliseconds: GFLOP/s of multiplications and
// additions of numbers in registers, by all threads of the context.
SG_API double sg_measure_peak(const sg_context *context);

// Measures this machine for a moment, all threads of the context: dense products (f32), reading
// memory.
SG_API sg_status sg_measure_machine(sg_context *context, double *gemm_gflops, double *stream_gbs,
                                    sg_error *err);
// Products of one kind alone, for so many seconds, two of them at least. The work counted is that
// of f32: 2 m n k.
SG_API sg_status sg_measure_products(sg_context *context, sg_compute_kind kind, double seconds,
                                     double *gflops, sg_error *err);

// What sg_bench can measure; bits of a set.
typedef enum sg_bench_what {
    SG_BENCH_LAYER_FORWARD = 1,          // one feed-forward layer alone, without a gradient
    SG_BENCH_LAYER_FORWARD_BACKWARD = 2, // the same with gradients of its input and weights
    SG_BENCH_TRAIN_STEP = 4,             // forward, backward, clipping and AdamW on one micro-batch
    SG_BENCH_DECODE = 8,                 // one token through a session
    SG_BENCH_ALL = 15,
    SG_BENCH_PREFILL = 16 // `context` tokens into an empty session; not in SG_BENCH_ALL
} sg_bench_what;

typedef struct sg_bench_options {
    sg_config config; // vocab_size > 0; random weights
    // In place of it a model (sg_model_open_stored) whose prefill and decoding are measured, with
    // its weights as they are stored; config is ignored then. Default NULL.
    const char *model;
    int64_t batch_size; // sequences; default 8
    int64_t seq_len;    // tokens of each; default 0: max_position_embeddings
    int64_t context;    // tokens a session holds before those that are measured; default -1:
                        // half of seq_len, at most 512
    int64_t sessions;   // that decode at once, as sg_batch_feed does; default 1
    unsigned what;      // set of sg_bench_what; default all
    const char *optimizer_rows; // as of sg_train_options; default "auto"
    double seconds;             // spent on each figure, at least; default 1
    int64_t repeats;            // of each figure, at least, 1 to 1000; default 3. One more warms up
    uint64_t seed;              // of weights, tokens and hidden states; default 1
    // The limits of the machine. Default 0 and 0: measured again and again between the repeats of a
    // figure, whose limits are their medians; products in the kinds below.
    double gemm_gflops, stream_gbs;
    // Of products, as in sg_train_options, and of prompts, as in sg_model_set_compute. Default f32.
    sg_compute_kind compute, logits_compute;
    sg_memory_path memory_path; // of a layer and a training step, as in sg_train_options
    sg_weights table_dtype;     // likewise
    sg_weights weights;         // of decoding, as sg_model_open_narrow
} sg_bench_options;
SG_API sg_bench_options sg_bench_options_default(void);

// Where the time of one operation goes, summed over its places in the model.
typedef struct sg_bench_line {
    const char *operation;                    // "linear", "memory_neurons", "optimizer", …
    int64_t nodes;                            // places
    double forward_seconds, backward_seconds; // mean of the repeats
    double flops;                             // published count, forward and backward
    double share;                             // of all lines
} sg_bench_line;

// One figure. Everything is of one repeat: a pass over, or a step on, `tokens` tokens.
typedef struct sg_bench_result {
    const char *name;   // layer_forward, layer_forward_backward, train_step, decode, prefill
    const char *family; // options->config.ffn
    const char
        *dtype; // what most narrow weights are stored in ("bf16", "q4_1"), or "f32" without any
    // How its products were computed: as the options say, and tokens one by one in f32.
    sg_compute_kind compute, logits_compute;
    int64_t tokens;
    int64_t repeats;
    double seconds; // median
    double fastest;
    double tokens_per_second; // of the median
    // Work counted as published: attention over the full T x T square, no logits, backward twice
    // forward. A layer: router and memory.
    double flops_published;
    // Work that must be done: with the logits, attention over the causal half, T (T+1) / 2.
    double flops;
    // What must at least move from or to memory if nothing is kept in cache from one repeat to the
    // next, and all within: weights in use (those a repeat touches) read once by each pass, their
    // gradients written, and read and written by AdamW with its moments (40 bytes a weight of a
    // step in all); input and output of a layer; keys and values of a session.
    double bytes;
    // The limits it is held against. Where the classifier is computed in another kind than the
    // rest, that of products is of both, each by its work.
    double gemm_gflops, stream_gbs;
    const char *limit;     // "gemm" or "stream": which of flops and bytes takes the machine longer
    double limit_fraction; // that time / seconds
    int64_t peak_bytes;    // planned: weights, gradients, moments, activations, caches
    // Sparse memories: selections of a repeat for each different block (neuron or expert) selected,
    // mean of the layers; 0 for other families, and for decode.
    double reuse;
    // Memories read neuron by neuron, by the reuse of their passes: "tables" where all tiles of
    // rows read one table before the next, "rows" where each tile reads all; "mixed" where layers
    // differ; "dense" where they are read through dense products; NULL for other families.
    const char *memory_order;
    // Of sparse layers: FLOPs of their routers over those that the layers would take without a
    // router, were all blocks read; and the time of the routers, selection and all, in a repeat,
    // forward pass. 0: there are no routers, or (the time) none that are parts of this figure.
    double router_share, router_seconds;
    // Of a training step, "exact" or "lazy" (a table at least); else NULL.
    const char *optimizer_rows;
    const sg_bench_line *lines; // the slowest first; valid during the call
    size_t line_count;
} sg_bench_result;

// false stops with SG_ERR_STOPPED.
typedef bool (*sg_bench_fn)(void *user, const sg_bench_result *result);

// Measures one configuration: calls `result` once for each figure asked for, in the order of the
// enum. Token ids follow a skewed law (V u^3, u uniform), hidden states are standard normal.
SG_API sg_status sg_bench(sg_context *context, const sg_bench_options *options, sg_bench_fn result,
                          void *user, sg_error *err);

// ---- two models side by side --------------------------------------------------------------------

typedef struct sg_beside_options {
    unsigned what;          // SG_BENCH_PREFILL, SG_BENCH_DECODE; default both
    const int64_t *batches; // (batch_count) sessions that decode at once; default 1, 4 and 16
    size_t batch_count;
    int64_t context; // tokens of a prompt, at least 1; default 128
    int64_t tokens;  // that each session decodes in a round, timed; default 16
    int64_t rounds;  // of each figure, at least, 1 to 1000; default 12
    double seconds;  // spent on each figure, at least; default 1
    uint64_t seed;   // of tokens where there is no text; default 1
    // What is read: a text, by the tokenizer of each model, or, NULL (the default), ids at random
    // as in sg_bench. What a sparse model reads of its layers depends on it.
    const char *text;
    size_t text_bytes;
    const sg_tokenizer *tokenizers[2];
} sg_beside_options;
SG_API sg_beside_options sg_beside_options_default(void);

// One model in one figure.
typedef struct sg_beside_side {
    const char *family, *dtype;          // dtype: as of sg_bench_result
    double tokens_per_second, low, high; // median of the rounds, and quartiles
    // That a pass must fetch, everything once: weights, of sparse layers those of blocks that any
    // token of the pass reads, of matrices in front of which inputs are left out the columns that
    // any token reads; and keys and values. 0 of prefill, which they do not limit.
    double bytes;
    // Inputs, or neurons by a threshold, are left out, but so many tokens at once read the weights
    // behind them all the same: more than 4, more than 16. They are in bytes.
    bool whole;
    // Of sparse layers, in passes that are not timed: blocks (neurons, experts) that a token reads
    // in a layer; the share of the neurons that a token reads; the share that all tokens of a pass
    // (of prefill, of up to 256 tokens) read together. 0: there is no such layer. Of moefied with
    // router gate blocks are neurons whose gates leave them in. Of dense layers with thresholds of
    // inputs blocks are 0, and the shares those of inputs, by the weights behind them, attention
    // included.
    double blocks, read, together;
} sg_beside_side;

// Of each model when it was its turn, since the first round, and how long it took.
typedef struct sg_beside_round {
    double start[2], seconds[2];
} sg_beside_round;

typedef struct sg_beside_result {
    const char *name; // prefill, decode
    int64_t batch;    // sessions
    int64_t context;
    int64_t tokens;         // of a model in a round, all sessions together
    int64_t text_tokens[2]; // of the text, which begins anew behind its end; 0: there is none
    sg_beside_side sides[2];
    // Speed of the second model over that of the first: the median of rounds, and an interval that
    // holds the true median in at least 95 of 100 cases, where there are 6 rounds; else NAN.
    double ratio, ratio_low, ratio_high;
    double ceiling;                // bytes of the first over those of the second; NAN of prefill
    const sg_beside_round *rounds; // (round_count); valid during the call only
    int64_t round_count;
} sg_beside_result;
typedef bool (*sg_beside_fn)(void *user, const sg_beside_result *result); // false stops

// Measures two models of one context in turns, so that a slow moment of the machine meets both: a
// round is a turn of each, and the one that begins is the other one in the next round. A turn of
// decoding goes back to the end of the prompts, feeds one token to each session untimed, then
// `tokens` timed, other ones in each round; a turn of prefill feeds another prompt to an empty
// session. Before the first round each model has a turn that does not count, and before that its
// blocks are counted, over the tokens of that turn and the first ones of `rounds` turns. Calls
// `result` for prefill, then for each batch. SG_ERR_ARGUMENT where a prompt and what follows do not
// fit a model, or the models are of two contexts.
SG_API sg_status sg_bench_beside(sg_model *const models[2], const sg_beside_options *options,
                                 sg_beside_fn result, void *user, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
