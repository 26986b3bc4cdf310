// Feed-forward layers: one formula, a table of families (families.c), and routers that turn x into
// a selection (router_*.c). A new published layer is a new row of the table and at most one new
// router. Counts of FLOPs and parameters are of one layer and one token, as published (spec 5.9).
#ifndef SG_FFN_FFN_H
#define SG_FFN_FFN_H

#include "ffn/memory.h"
#include "ffn/params.h"

// How model code gets at the tape, the sizes and the weights while it records a layer.
typedef struct sg_builder {
    sg_tape *tape;
    const sg_config *config;
    const char *prefix; // "model.layers.3."
    // The leaf of a parameter, made at the first request; NULL and a kept error when unknown.
    sg_tensor *(*parameter)(void *user, const char *prefix, const char *name);
    // What is added to a plain product y = x W^T + bias: y itself where nothing is; NULL: nothing
    // ever.
    sg_tensor *(*adapt)(void *user, sg_tensor *x, sg_tensor *w, sg_tensor *y);
    void *user;
    sg_tensor *ids; // (rows) the tokens of x; NULL where there are none
    int64_t layer;  // from 0
    // Of training: losses of routers and capacities, statistics of the batch in norms of queries.
    // Each loss has loss_share of its weight: a step may be several passes.
    bool training;
    double loss_share;
    sg_tensor *counted; // (rows) which rows count for a router, as targets do (op/op.h); NULL: all
    int64_t *counts;    // where the selections of this layer are counted, or NULL
} sg_builder;

static inline sg_tensor *sg_build_param(const sg_builder *b, const char *name)
{
    return b->parameter(b->user, b->prefix, name);
}

// y = x W^T + bias, the way every matrix that is a parameter is multiplied with: where it has an
// adapter, that has its place here.
static inline sg_tensor *sg_build_linear(const sg_builder *b, sg_tensor *x, sg_tensor *w,
                                         sg_tensor *bias)
{
    sg_tensor *y = sg_linear(b->tape, x, w, bias);
    return b->adapt != NULL && y != NULL ? b->adapt(b->user, x, w, y) : y;
}

typedef struct sg_router sg_router;
struct sg_router {
    const char *name;
    bool product;  // scores are sums of two parts' scores (router_keys.c)
    bool keyed;    // a query for each channel, not one for all
    bool unscaled; // of keyed ones: scores are the products themselves, and keys begin small
    sg_status (*check)(const sg_router *self, const sg_config *config, sg_error *err);
    void (*params)(const sg_router *self, const sg_config *config, const char *prefix,
                   sg_param_list *list);
    sg_selection (*build)(const sg_router *self, const sg_builder *b, sg_tensor *x);
    double (*flops)(const sg_router *self, const sg_config *config);
};

extern const sg_router sg_router_product_dense;
extern const sg_router sg_router_product_key_value;
extern const sg_router sg_router_dense;
extern const sg_router sg_router_key_value;
extern const sg_router sg_router_product_keys;
extern const sg_router sg_router_keys;
extern const sg_router sg_router_low_rank;
extern const sg_router sg_router_linear;
extern const sg_router sg_router_hash;
extern const sg_router sg_router_average;

// What the selected blocks are.
typedef enum sg_block {
    SG_BLOCK_DENSE,   // no selection: up, activation, down
    SG_BLOCK_GLU,     // no selection: clamped SwiGLU with biases
    SG_BLOCK_EXPERTS, // blocks of F neurons, clamped SwiGLU with biases
    SG_BLOCK_NEURONS, // blocks of one neuron
    SG_BLOCK_CELLS    // blocks of g cells, rows of w_in and w_out
} sg_block;

// Fields of a configuration that a family may have; all others are cleared (sg_ffn_complete).
enum {
    SG_HAS_WIDTH = 1 << 0,       // ffn_intermediate_size
    SG_HAS_EXPERTS = 1 << 1,     // ffn_experts
    SG_HAS_CHANNELS = 1 << 2,    // ffn_channels
    SG_HAS_NEURONS = 1 << 3,     // ffn_neurons
    SG_HAS_KEY = 1 << 4,         // ffn_key_size
    SG_HAS_TOP_K = 1 << 5,       // ffn_top_k
    SG_HAS_BLOCK = 1 << 6,       // ffn_block_size
    SG_HAS_FACTOR = 1 << 7,      // ffn_memory_factor
    SG_HAS_ACTIVE = 1 << 8,      // ffn_active_neurons
    SG_HAS_HASH = 1 << 9,        // ffn_hash_seed
    SG_HAS_BIAS = 1 << 10,       // ffn_query_bias
    SG_HAS_LAYER_BIAS = 1 << 11, // ffn_bias
    SG_HAS_PAIRS = 1 << 12,      // ffn_glu_interleaved
    SG_HAS_RENORMALISE = 1 << 16,
    SG_HAS_SHARED = 1 << 17, // ffn_shared_experts, and what else only moe has
    SG_HAS_CAPACITY = 1 << 18,
    SG_HAS_BALANCE = 1 << 19,
    SG_HAS_Z = 1 << 20,
    SG_HAS_BIAS_RATE = 1 << 21, // ffn_bias_rate
    // What the router "linear" can do for any memory of blocks.
    SG_HAS_LINEAR = SG_HAS_RENORMALISE | SG_HAS_CAPACITY | SG_HAS_BALANCE | SG_HAS_Z,
    // A memory of E F cells, of which a token reads k (Liu et al. 2023).
    SG_HAS_CELLS = SG_HAS_WIDTH | SG_HAS_FACTOR | SG_HAS_ACTIVE
};

enum { SG_FAMILY_CHOICES = 5 };

typedef struct sg_family {
    const char *name;
    const char *routers[SG_FAMILY_CHOICES];     // allowed; the first is the default
    const char *activations[SG_FAMILY_CHOICES]; // likewise
    const char *gates[SG_FAMILY_CHOICES];       // likewise; none: `gate` it is
    const char *normalisers[SG_FAMILY_CHOICES]; // of the selected scores of a channel; likewise
    const char *query_norms[SG_FAMILY_CHOICES]; // likewise
    const char *scores[SG_FAMILY_CHOICES];      // likewise; none: the router knows
    unsigned has;                               // SG_HAS_…
    sg_block block;
    sg_gate gate;
    bool shared_pool; // all channels read one pool
    bool no_keys;     // a memory of cells has no w_in: its router has keys of its own
    // For presets, as published: blocks that are whole experts, and the weight of a balance loss.
    bool whole_blocks;
    double balance_loss;
} sg_family;

// A family's memory: `cells` of a pool in `blocks` of `block` cells; each channel of a token
// selects `selected` blocks. Families without a selection are one block. Of a configuration that is
// complete.
typedef struct sg_memory_shape {
    int64_t pools, channels;
    int64_t cells, block, blocks, selected;
} sg_memory_shape;
sg_memory_shape sg_ffn_memory(const sg_config *config);
sg_activation sg_ffn_activation(const sg_config *config);
// Of the experts that every token takes, together.
int64_t sg_ffn_shared_width(const sg_config *config);
// For routers that score every block of cells: that a top-k can select as many as a token reads.
sg_status sg_ffn_check_selected(const sg_config *config, sg_error *err);

// NULL when there is none of that name.
const sg_family *sg_family_find(const char *name);
// The names in the order of the table, NULL behind the last.
const char *sg_family_name(size_t index);
// All names, for messages: "mlp, glu, …". Returns text.
enum { SG_FAMILY_LIST = 160 };
const char *sg_family_list(char *text, size_t capacity);

// Whether the family has a field of a configuration ("ffn_top_k"), and what it may be: text is a
// list of names, the first the default, or the ends of a range; "" where any family has it.
bool sg_family_takes(const sg_family *family, const char *field, char *text, size_t capacity);
// Fills in and checks the names and the sizes that the family has; those that it does not have
// become "" and 0, so that equal models have equal configurations.
sg_status sg_family_check_names(sg_config *config, const sg_family *family, sg_error *err);
sg_status sg_family_check_sizes(sg_config *config, const sg_family *family, sg_error *err);

// Fills in the defaults of the family and checks its rules.
sg_status sg_ffn_complete(sg_config *config, sg_error *err);
// Parameters of one layer, from 0. A memory that layers share comes with the first of them.
void sg_ffn_params(const sg_config *config, int64_t layer, const char *prefix, sg_param_list *list);
// x (rows, d) -> (rows, d), after the norm.
sg_tensor *sg_ffn_build(const sg_builder *b, sg_tensor *x);

// ---- which layers are sparse (layers.c) -------------------------------------------------------

// Lists of layers, as ffn_layers of a configuration has them: "all", "every:N", "1,3", "2-4,6",
// from 1. `field` is what errors call it; layer: from 0, of a list that was checked.
sg_status sg_layers_check(const char *layers, const char *field, int64_t count, sg_error *err);
bool sg_layers_have(const char *layers, int64_t layer);

// Completes and checks what a configuration says of that; all else of it is complete.
sg_status sg_ffn_complete_layers(sg_config *config, sg_error *err);
// Whether the family selects at all.
bool sg_family_is_sparse(const sg_family *family);
bool sg_ffn_is_sparse(const sg_config *config, int64_t layer);
// The first sparse layer; 0 when there is none.
int64_t sg_ffn_first_sparse(const sg_config *config);
// The configuration that a layer is built by: `config` for a sparse layer; for a dense one among
// sparse ones a model of nothing but such layers, written to *dense.
const sg_config *sg_ffn_of_layer(const sg_config *config, int64_t layer, sg_config *dense);

// A parameter of the memory, "mlp.experts.…": of the layer, or of the memory that all layers share.
sg_tensor *sg_build_table(const sg_builder *b, const char *name);

// ---- for routers of blocks (router_linear.c) --------------------------------------------------

// The losses of a router, in training: of its logits (rows, B), the scores p made of them, and what
// was selected by them. share: p does not sum to 1.
void sg_build_losses(const sg_builder *b, sg_tensor *logits, sg_tensor *p, bool share,
                     const sg_selection *selection);

// ---- counts -----------------------------------------------------------------------------------

typedef struct sg_ffn_count {
    double router_flops, memory_flops;
    int64_t neurons, active_neurons;
    int64_t idle_parameters; // of neurons that a token does not select
} sg_ffn_count;
// Of one layer, from 0.
sg_ffn_count sg_ffn_counts(const sg_config *config, int64_t layer);
// Of all layers together, a memory that they share once.
sg_ffn_count sg_ffn_total(const sg_config *config);

#endif
