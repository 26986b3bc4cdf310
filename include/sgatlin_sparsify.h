// Dense models made sparse: the neurons of each feed-forward layer in blocks, of which a token
// reads those that a router chooses (family moefied; docs/MODEL.md). A companion of sgatlin.h,
// whose conventions hold here too.
#ifndef SGATLIN_SPARSIFY_H
#define SGATLIN_SPARSIFY_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

// Shares of a truth about blocks, means over tokens: what the blocks of the router have of it, as
// many of the truth itself, and as many of the control, whose centres are single neurons.
typedef struct sg_sparsify_captured {
    double router, oracle, random;
} sg_sparsify_captured;

// Where inputs are left out (trim teal, wina): in front of queries, keys and values, of the
// projection behind attention, of the feed-forward layer, of its w_out.
enum { SG_SPARSIFY_INPUTS = 4 };

// What one layer comes to, on the test part of the text; without one NaN, or 0, but for `distance`
// and what a router's training says.
typedef struct sg_sparsify_layer {
    double
        distance;  // mean squared distance of neurons, of length 1, to the centres of their blocks
    double within; // share of the co-activation of pairs of neurons that lies within blocks
    double mean, deviation;            // of the count of blocks that a token reads, beside
    int64_t least, p5, p50, p95, most; // those that every token reads; percentiles of it
    int64_t compared;                  // count at which the two below compare: the mean
    sg_sparsify_captured positive;     // of the sums of positive activations of a block
    sg_sparsify_captured norm;         // of the lengths of what blocks add to the output
    int64_t router_epoch;              // of its training, the one kept, from 1; 0: not trained
    double router_loss;                // of the last epoch
    double inputs[SG_SPARSIFY_INPUTS]; // with trim teal or wina: see sg_sparsify_result
} sg_sparsify_layer;

// An MLP that took the place of a projection of attention; hidden 0: it is as it was.
typedef struct sg_sparsify_projection {
    int64_t hidden; // width
    double loss;    // mean square of what it differs by, of the last step of its training
    double error;   // |y - t| / |t| of the test part, t what the linear layer says; NaN without one
    double zeros;   // there: share of hidden activations that are 0
} sg_sparsify_projection;

typedef struct sg_sparsify_options {
    // NULL: blocks, as below. cats: no blocks and no router; neurons are left out whose activation,
    // in a gated layer that of the gate, is no larger in size than a threshold of the layer, that
    // that of the calibration part of the text of which `active` of them are above it (router gate
    // of family moefied). teal: inputs of the products of attention and of feed-forward layers are
    // left out that are no larger in size than a threshold of their place and layer (trim_… of a
    // configuration), so that `active` of them stay; wina: sizes are times the norms of the columns
    // of the matrices. Of what follows only `active`, the options of the text and those behind them
    // are read.
    const char *trim;
    // Of teal and wina: uniform, the same share everywhere; greedy: in each layer `active` of its
    // weights are read, by shares of its places that move its output on the first 2,048 tokens of
    // the calibration part least, step by step. NULL: uniform.
    const char *shares;
    // NULL: blocks, as below. Some of "q,k,v,o": feed-forward layers stay as they are, and these
    // projections of attention become MLPs of ReLU (attention_mlp_q, …), each trained by itself to
    // say what it says on the calibration part of the text (D2DMoE, Szatkowski et al. 2024). Any
    // family. Of what follows only the options of projections, of the text and those behind them
    // are read.
    const char *projections;
    const char *projection_layers; // as ffn_layers; default "all"
    // f: hidden width round(f (in out + out) / (in + out + 1)), about f times the FLOPs; default 1
    double projection_size;
    int64_t projection_steps; // default 1,000
    int64_t projection_batch; // tokens of a step, at most what the text has; default 512
    double projection_rate;   // of AdamW, down to a tenth along a cosine; default 0.001
    // Weight of the square Hoyer of hidden activations, from 0 at the first step on; default 0.001.
    double projection_sparsity;
    sg_sparsify_projection *projected; // room for 4 of each layer, q, k, v, o; NULL: not wanted
    // Neurons of a block: random; by their weights kmeans (balanced, exact) or auction (balanced,
    // fast); by what they do on the text coactivation (a graph cut by METIS) or shared (CMoE:
    // shared_blocks that every token reads, the rest by the tokens they are strong for).
    const char *split;
    // Scores of blocks: centroid; random (the control: centres are single neurons); representative
    // (one neuron of each block: of split shared); trained on the text mlp (MoEfication), norm
    // (D2DMoE), sigmoid.
    const char *router;
    // What routers are trained to foresee of a block: positive (the sum of positive activations),
    // deviation, absolute (squares and absolute values of activations less their means), norm (the
    // length of what it adds to the output). NULL: norm of router norm, else positive.
    const char *target;
    const char *unread;    // what a block that is not read gives: nothing, or mean (of activations)
    int64_t block_size;    // neurons of a block, a divisor of the width of layers; default 32
    int64_t blocks;        // in its place how many blocks there are; 0: block_size says
    int64_t shared_blocks; // of split shared; default 0
    double active;         // share of the blocks that a token reads, at most where there is a
                           // threshold, shared ones among them; above 0, at most 1; default 0.25
    // top_k; max: of these the blocks with at least `threshold` times the best score; share: the
    // best that together have that share of the scores; threshold: those with at least that score.
    const char *select;
    double threshold; // default 0. Scores of centroid are (1 - |x' - c|^2) / 2, x' = x / |x|, c the
                      // centre
    int64_t router_size;   // hidden width of mlp and norm; 0: as many as blocks, 128 of norm
    int64_t router_epochs; // default 30; 0: a router stays as it is drawn, as LTE begins
    double router_rate;    // of learning; 0: 0.01, 0.001 of norm
    uint64_t seed;         // of splits and routers

    // The text: bytes with `tokenizer`, or packed data; NULL, both: none. It is cut into three
    // parts in its order, as many tokens each as are said here and nothing else of it is read:
    // calibration (for splits coactivation and shared, and means), what routers are trained on (of
    // which the last tenth chooses the epoch), and the test. A part that nothing needs is not
    // there. Of packed data the parts are whole rows, and the test is of the validation split.
    const char *text;
    size_t text_bytes;
    const sg_data *data;
    int64_t context; // tokens of a sequence of a text; 0: the model's longest, at most 2,048
    int64_t calibration_tokens; // default 16,384, as CMoE; MoEfication takes up to 200,000
    int64_t router_tokens;      // default 32,768; fewer than published (10,000 sentences and more)
    int64_t test_tokens;        // default 8,192; 0: no test
    // Bytes for inputs of layers, 4 a number: as many layers as fit are collected in one pass over
    // the text. One layer must (SG_ERR_ARGUMENT). Default 1 GiB.
    int64_t memory;
    sg_sparsify_layer *layers; // room for every layer of the model; NULL: not wanted

    // NULL, or a folder that the sparse model is written to, with this tokenizer where it is not
    // NULL. Before any work it is claimed: one with files in it is refused, unless they are what
    // the same work left that did not end.
    const char *out;
    const sg_tokenizer *tokenizer;
    sg_progress_fn progress; // in layers; may be NULL
    void *progress_user;
} sg_sparsify_options;
SG_API sg_sparsify_options sg_sparsify_options_default(void);

// As published methods have it; SG_ERR_ARGUMENT for any other name. They differ from the default
// in what is said here:
//     similarity    nothing: balanced k-means, centres as a router (MoEfication without training)
//     moefication   router mlp, active 0.2
//     gmoefication  router mlp, target deviation, unread mean
//     dsti          router norm, select max, threshold 0.1, active 1, blocks of 4 (D2DMoE)
//     cmoe          split shared, router representative, 16 blocks, 2 of them shared, active 0.375
//     cats          trim cats, active 0.5
//     attention-mlp projections q,k,v,o
//     teal, wina    trim teal, trim wina, active 0.6
SG_API sg_status sg_sparsify_options_of(const char *method, sg_sparsify_options *options,
                                        sg_error *err);
// Their names; NULL behind the last.
SG_API const char *sg_sparsify_method(size_t index);
// What their router is trained for: a name of `target`; NULL: it is not trained.
SG_API const char *sg_sparsify_target(const sg_sparsify_options *options);

// What a sparse version can gain, before one is made. Bytes are those that a token which is decoded
// reads, in the types that weights are stored in; FLOPs those of the forward pass of one token with
// the logits, without attention to other tokens.
typedef struct sg_sparsify_outlook {
    double ffn_bytes, all_bytes; // per token
    double ffn_flops, all_flops;
    double projection_bytes, projection_flops; // of the projections of attention
    double ceiling; // of the speed of decoding, were feed-forward layers free
    double bound;   // the same with the share of blocks that is read, and the router
    double router;  // FLOPs of the router over those of the dense layers
    // Of trim teal and wina, to which ceiling and bound then refer: of the matrices whose inputs
    // are left out; else 0.
    double trimmed_bytes;
    // Of the text: tokens of its three parts, as many passes over it as the memory for inputs
    // needs, and bytes of these; 0 without one.
    int64_t calibration_tokens, router_tokens, test_tokens;
    int64_t passes, input_bytes;
} sg_sparsify_outlook;
SG_API sg_status sg_sparsify_look(const sg_model *dense, const sg_sparsify_options *options,
                                  sg_sparsify_outlook *outlook, sg_error *err);

typedef struct sg_sparsify_result {
    double distance; // mean over layers
    // Of the test part, sequences that know nothing of each other; NaN without one.
    double dense_perplexity, sparse_perplexity;
    // With `trim`, on the test part: the share of neurons above the thresholds, or of inputs that
    // are read, all places together by the size of their matrices; and of each place.
    double kept, inputs[SG_SPARSIFY_INPUTS];
    double executed; // FLOPs of the sparse layers over those of the dense ones, routers included
    int64_t test_tokens;          // predicted
    int64_t lost_bytes, replaced; // of the text: see sg_encode_options
    int64_t resumed;              // layers that were there from before
    int64_t passes;               // over the text, to collect inputs of layers
} sg_sparsify_result;

// The sparse version of a dense model, whose weights are left as they are. Its other weights are
// copies. With `out` layers that are done are kept in out/.sparsify until the model is written:
// after a stop, a failure or a death the same call on the same machine goes on where it was, to the
// same bits; another call is refused (SG_ERR_ARGUMENT). With `trim` the layers of a pass over the
// text are done together, or one by one with shares "greedy". SG_ERR_UNSUPPORTED where the model
// has no dense layers, SG_ERR_ARGUMENT where blocks do not fit, the text is too short or missing,
// or `out` is not empty; where it cannot be written there is no model either. result may be NULL.
// Ownership of *sparse: sg_model_free.
SG_API sg_status sg_sparsify(sg_model *dense, const sg_sparsify_options *options, sg_model **sparse,
                             sg_sparsify_result *result, sg_error *err);

// Another threshold (ffn_threshold) for a model of family moefied whose ffn_select is not top_k,
// for all its layers; nothing needs to be trained anew. Of another model that leaves inputs out all
// thresholds of inputs are multiplied by it: 0, nothing is left out; 1, the same. While it has no
// session and no batch (SG_ERR_ARGUMENT); SG_ERR_UNSUPPORTED for any other model.
SG_API sg_status sg_sparsify_set_threshold(sg_model *model, double threshold, sg_error *err);

// Another share of the blocks that a token reads, above 0 and at most 1, those that all tokens read
// (shared_blocks) included, in each layer of a model of family moefied; one block at least, and the
// most of them where ffn_select is not top_k. As above.
SG_API sg_status sg_sparsify_set_active(sg_model *model, double share, sg_error *err);

// What sessions of a model that leaves inputs out take beside the weights: copies of matrices by
// their columns, made with the first session and kept with the model. bytes: of these; copied:
// matrices; dense: others, whose weights are stored in blocks or have adapters: they are read
// whole. All 0 of a model that leaves no inputs out.
SG_API sg_status sg_sparsify_columns(const sg_model *model, int64_t *bytes, int64_t *copied,
                                     int64_t *dense, sg_error *err);

// ---- what is lost by what is left out -----------------------------------------------------------

// A model at one setting, on a text.
// What chooses as many blocks of a token as the router counts, in its place.
typedef enum sg_sparsify_control {
    SG_CONTROL_NONE,   // the router itself
    SG_CONTROL_RANDOM, // chance
    // Oracles, which compute the whole layer first: the blocks with the largest sums of positive
    // activations, and those that add the longest vectors to the output.
    SG_CONTROL_ORACLE,
    SG_CONTROL_ORACLE_NORM,
    SG_CONTROLS
} sg_sparsify_control;
// As files have it: "", random, oracle, oracle_norm.
SG_API const char *sg_sparsify_control_name(sg_sparsify_control control);

typedef struct sg_sparsify_point {
    const char *model;        // what files call it; the caller's
    const char *family;       // "moefied"
    const char *select;       // ffn_select; "inputs" where these are left out, else ""
    double active, threshold; // the setting; NAN: the model's own
    sg_sparsify_control control;
    double loss, loss_low, loss_high; // mean of all tokens, in nats, and an interval over windows
    double perplexity, perplexity_low, perplexity_high; // exp of these
    double excess, excess_low, excess_high; // loss over that of `base`, paired; NAN without
    double blocks; // that a token reads in a layer, mean (of router gate neurons); 0: none selects
    double read;  // share of the neurons of such layers that these are, or of inputs where they are
                  // left out, by the size of their matrices
    double flops; // of all feed-forward layers, routers included, over those of all their blocks
    double router; // of `flops`, what routers take
    // Of all matrices of layers, those of attention too, over those with all blocks and inputs.
    double layer_flops;
    int64_t tokens, windows;
    int64_t lost_bytes; // of the text: see sg_encode_options
    // Set by the caller, for files; NAN: not measured. Of one session, and over that of a model.
    double tokens_per_second, speed, speed_low, speed_high;
} sg_sparsify_point;

// losses (windows): sums over the tokens of each; valid during the call only. The model is at the
// setting, and has no session. false stops.
typedef bool (*sg_sparsify_point_fn)(void *user, const sg_sparsify_point *point,
                                     const double *losses);

// why: "active: found 0.1 of 14 blocks, expected more than the 2 shared ones".
typedef void (*sg_sparsify_left_out_fn)(void *user, double active, const char *why);

typedef struct sg_sparsify_curve_options {
    // Shares of blocks, for models of family moefied that select top_k, and thresholds, for those
    // that select otherwise; of models that leave inputs out these multiply their own. Of several
    // that come to the same (shares to the same counts) the first is read. A model with none for
    // it, or any other, has one point: as it is.
    const double *active, *thresholds;
    size_t active_count, threshold_count;
    // Told, before anything is read, of each share that is left out since it is not above the
    // blocks which every token reads; SG_ERR_ARGUMENT where no share is left. May be NULL.
    sg_sparsify_left_out_fn left_out;
    void *left_out_user;
    // Beside each point of a router that chooses blocks the same with as many blocks of each token
    // drawn at random, which is what is lost if the router knows nothing, and by both oracles: what
    // is lost though it knows all. They stand at the FLOPs of their router.
    bool random, oracle;
    const char *text; // (text_bytes)
    size_t text_bytes;
    const sg_tokenizer *tokenizer;
    // The text is read in windows of so many tokens, each of which knows nothing of those before
    // it; 0 (the default): the model's longest sequence, at most 512.
    int64_t context;
    int64_t max_tokens;      // 0: the whole text
    const double *base;      // (base_count) losses of windows of another point, or NULL: of a dense
    int64_t base_count;      // model on the same text, so that intervals are of differences
    int64_t resamples;       // of windows, for intervals; default 2000
    uint64_t seed;           // of these, and of random blocks; default 1
    sg_progress_fn progress; // in tokens, of all points; may be NULL
    void *progress_user;
} sg_sparsify_curve_options;
SG_API sg_sparsify_curve_options sg_sparsify_curve_options_default(void);

// Evaluates a model at each setting in turn, its controls behind it; afterwards it is as it was.
// Intervals are the 2.5 and 97.5 percentiles of means over windows that are drawn anew. FLOPs are
// those of the memory and of the router of each layer, by what tokens read; a layer that does not
// select counts in full. SG_ERR_ARGUMENT where `base` has other windows, SG_ERR_UNSUPPORTED for
// oracles of layers that share their blocks.
SG_API sg_status sg_sparsify_curve(sg_model *model, const sg_sparsify_curve_options *options,
                                   sg_sparsify_point_fn point, void *user, sg_error *err);

typedef struct sg_sparsify_files {
    const char *csv;  // a table; NULL here and below: not written
    const char *svg;  // a drawing: perplexity by FLOPs and, where it was measured, by speed
    const char *html; // both as a page for a browser, which asks nothing of any host
    const char *command, *text; // for the page to tell: what made it, what was read; may be NULL
    bool force;                 // replace what is there
} sg_sparsify_files;

// Writes points in their order; the first, a dense model as a rule, is what others are drawn
// beside, a line a model, its controls dashed. Nothing is overwritten but with `force`. With points
// NULL nothing is written: whether it could be.
SG_API sg_status sg_sparsify_write(const sg_sparsify_point *points, size_t count,
                                   const sg_sparsify_files *files, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
