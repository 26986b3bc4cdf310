// Feed-forward layers: one formula, a table of families (families.c), routers that turn x into a
// selection (router_*.c) and memories that are read by it (read_*.c). A new published layer is a
// new row of the table and at most one new router or memory. Counts of FLOPs and parameters are of
// one layer and one token, as published (spec 5.9).
//
// Who asks whom: layers.c (which layer is of which kind) asks families.c (the table, and a layer
// put together from its row), which asks the routers and memories; these ask for the sizes of their
// own layer only.
#ifndef SG_FFN_FFN_H
#define SG_FFN_FFN_H

#include "base/fields.h"
#include "ffn/memory.h"
#include "ffn/params.h"
#include "ffn/points.h"
#include "ffn/sizes.h"

// How model code gets at the tape, the sizes and the weights while it records a layer.
struct sg_builder {
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
    int64_t layer;  // from 0; -1: outside of layers
    // What stands for "mlp." in the names of points of the layer that is recorded: that, or the
    // place of an MLP in attention; NULL: that.
    const char *mlp_point;
    bool of_attention; // it is such an MLP
    // Of training: losses of routers and capacities, statistics of the batch in norms of queries.
    // Each loss has loss_share of its weight: a step may be several passes.
    bool training;
    double loss_share;
    const sg_sparsity *sparsity; // what else training adds (ffn/sparsity.h); NULL: nothing
    sg_tensor *counted; // (rows) which rows count for a router, as targets do (op/op.h); NULL: all
    sg_point_recorder *points; // NULL: nobody looks inside
};

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

// A parameter of the memory, "mlp.experts.…": of the layer, or of the memory that all layers share.
static inline sg_tensor *sg_build_table(const sg_builder *b, const char *name)
{
    if (!b->config->ffn_share_pool) return sg_build_param(b, name);
    return b->parameter(b->user, "model.shared_memory.", name + sizeof "mlp." - 1);
}

// ---- routers ----------------------------------------------------------------------------------

// What a router does for a token: FLOPs, and numbers that it keeps (queries, scores).
typedef struct sg_router_count {
    double flops, numbers;
} sg_router_count;

typedef struct sg_router sg_router;
struct sg_router {
    const char *name;
    bool product;    // scores are sums of two parts' scores (router_keys.c)
    bool keyed;      // a query for each channel, not one for all
    bool direct;     // x is the query of all, and keys are as wide
    bool unscaled;   // of keyed ones: scores are the products themselves, and keys begin small
    bool reads_keys; // all rows w_in of the memory: these are its keys
    sg_status (*check)(const sg_router *self, const sg_config *config, sg_error *err);
    void (*params)(const sg_router *self, const sg_config *config, const char *prefix,
                   sg_param_list *list);
    sg_selection (*build)(const sg_router *self, const sg_builder *b, sg_tensor *x);
    sg_router_count (*count)(const sg_router *self, const sg_config *config);
};

extern const sg_router sg_router_product_dense;
extern const sg_router sg_router_product_key_value;
extern const sg_router sg_router_dense;
extern const sg_router sg_router_key_value;
extern const sg_router sg_router_product_keys;
extern const sg_router sg_router_product_linear;
extern const sg_router sg_router_keys;
extern const sg_router sg_router_low_rank;
extern const sg_router sg_router_linear;
extern const sg_router sg_router_hash;
extern const sg_router sg_router_average;
// Of moefied (router_moefied.c, router_gate.c).
extern const sg_router sg_router_sigmoid;
extern const sg_router sg_router_mlp;
extern const sg_router sg_router_norm;
extern const sg_router sg_router_centroid;
extern const sg_router sg_router_representative;
extern const sg_router sg_router_gate;

// ---- memories ---------------------------------------------------------------------------------

typedef struct sg_family sg_family;

// `cells` of a pool in `blocks` of `block` cells; each channel of a token selects `selected`
// blocks. A dense layer is one block.
typedef struct sg_memory_shape {
    int64_t pools, channels;
    int64_t cells, block, blocks, selected;
} sg_memory_shape;

// What reading a memory takes for a token.
typedef struct sg_memory_count {
    double block_flops;       // of each block that is selected
    double token_flops;       // beside those
    int64_t block_parameters; // that nobody reads where the block is not selected
    int64_t idle_cells;      // of the blocks selected, about so many that are not read all the same
    int64_t idle_parameters; // and theirs
    double idle_flops;       // that one of them spares; block_flops is without what all do
    double numbers;          // that a token keeps: products, activations
    int64_t hits;            // selections a token, as the operation sorts them
} sg_memory_count;

// Where the parameters of a layer's memory go.
typedef struct sg_memory_place {
    sg_param_list *list;
    const char *prefix;         // "model.layers.3."
    const char *tables, *table; // prefixes of tables; NULL: another layer has them
    int64_t readers;            // layers that read the tables
} sg_memory_place;

enum { SG_MEMORY_SAYS = 160 };

typedef struct sg_memory {
    const char *name;
    const char *cell, *block; // what messages call them: "neuron", "expert"
    bool dense;               // read as a whole: there is no router
    bool gated;               // of gated linear units: ffn_activation is one of theirs
    sg_memory_shape (*shape)(const sg_family *family, const sg_config *config);
    // Rules beyond the ranges of sizes; NULL: none.
    sg_status (*check)(const sg_family *family, const sg_config *config, sg_error *err);
    void (*params)(const sg_family *family, const sg_config *config, const sg_memory_place *place);
    // selection: NULL of a dense layer.
    sg_tensor *(*build)(const sg_family *family, const sg_builder *b, sg_tensor *x,
                        const sg_selection *selection);
    sg_memory_count (*count)(const sg_family *family, const sg_config *config);
    // How errors of routers begin, of the cells there are and of those that a channel selects:
    // "ffn_neurons: found 1000". NULL of a memory whose routers have no such rules.
    void (*say_cells)(const sg_config *config, char text[SG_MEMORY_SAYS]);
    void (*say_selected)(const sg_config *config, char text[SG_MEMORY_SAYS]);
} sg_memory;

extern const sg_memory sg_memory_of_mlp;
extern const sg_memory sg_memory_of_glu;
extern const sg_memory sg_memory_of_experts;
extern const sg_memory sg_memory_of_neurons;
extern const sg_memory sg_memory_of_cells;
extern const sg_memory sg_memory_of_values;
extern const sg_memory sg_memory_of_gated_values;
extern const sg_memory sg_memory_of_moefied;

// Adds a table, unless another layer has it. hits > 0: it is read in the rows selected alone, so
// many a token in each layer.
void sg_memory_table(const sg_memory_place *place, const char *name, int rank, const int64_t *shape,
                     sg_init init, double variance, int64_t hits);
// The same as a tensor of its pools: (pools, rows, d).
sg_tensor *sg_build_pools(const sg_builder *b, const char *name, int64_t pools, int64_t rows);

// ---- families ---------------------------------------------------------------------------------

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
    SG_HAS_SELECT = 1 << 13,     // what only moefied has
    SG_HAS_BESIDE = 1 << 15,     // ffn_shared_experts, ffn_shared_size
    SG_HAS_RENORMALISE = 1 << 16,
    SG_HAS_SHARED = 1 << 17, // what else of shared experts, and of routers, only moe has
    SG_HAS_CAPACITY = 1 << 18,
    SG_HAS_BALANCE = 1 << 19,
    SG_HAS_Z = 1 << 20,
    SG_HAS_BIAS_RATE = 1 << 21, // ffn_bias_rate
    // What the router "linear" can do for any memory of blocks.
    SG_HAS_LINEAR = SG_HAS_RENORMALISE | SG_HAS_CAPACITY | SG_HAS_BALANCE | SG_HAS_Z,
    // A memory of E F cells, of which a token reads k (Liu et al. 2023).
    SG_HAS_CELLS = SG_HAS_WIDTH | SG_HAS_FACTOR | SG_HAS_ACTIVE
};

enum { SG_FAMILY_CHOICES = 12 };

struct sg_family {
    const char *name;
    const char *routers[SG_FAMILY_CHOICES];     // allowed; the first is the default
    const char *activations[SG_FAMILY_CHOICES]; // likewise
    const char *gates[SG_FAMILY_CHOICES];       // likewise; none: `gate` it is
    const char *normalisers[SG_FAMILY_CHOICES]; // of the selected scores of a channel; likewise
    const char *query_norms[SG_FAMILY_CHOICES]; // likewise
    const char *scores[SG_FAMILY_CHOICES];      // likewise; none: the router knows
    const char *selects[SG_FAMILY_CHOICES];     // likewise; none: ffn_top_k it is
    unsigned has;                               // SG_HAS_…
    const sg_memory *memory;
    sg_gate gate;
    bool shared_pool; // all channels read one pool
    bool uniform;     // queries and keys begin with uniform laws
    bool branch;      // every token takes a gated layer of width F beside its selection
    sg_sizes *sizes;  // of presets
    // Named after the family, NULL behind the last: small, then published ones; NULL: none. Then
    // those for laptops.
    const char *const *presets, *const *laptop;
};

// NULL when there is none of that name.
const sg_family *sg_family_find(const char *name);
// In the order of the table, NULL behind the last.
const sg_family *sg_family_at(size_t index);
const char *sg_family_name(size_t index);
// Whether the family selects at all, reads all it has, or has published presets.
bool sg_family_is_sparse(const sg_family *family);
bool sg_family_is_dense(const sg_family *family);
bool sg_family_has_presets(const sg_family *family);
// The names of those that `has` says, NULL: all, for messages: "mlp, glu, …". Returns text.
enum { SG_FAMILY_LIST = 200 };
const char *sg_family_list(char *text, size_t capacity, bool (*has)(const sg_family *family));

// Whether the family has a field of a configuration ("ffn_top_k"), and what it may be: text is a
// list of names, the first the default, or the ends of a range; "" where any family has it.
bool sg_family_takes(const sg_family *family, const char *field, char *text, size_t capacity);
// Checks the fields that the family has, and fills in its names; those that it does not have become
// "" and 0, so that equal models have equal configurations.
sg_status sg_family_check_fields(sg_config *config, const sg_family *family, sg_error *err);
// The rows of ffn and ffn_…, in order, NULL behind the last; and that of a member, by its offset.
const sg_field *sg_ffn_field_at(size_t index);
size_t sg_ffn_field_count(void);
const sg_field *sg_ffn_field(size_t offset);

// ---- a layer of one family --------------------------------------------------------------------
// Of a configuration that is complete, and that all layers are built by.

sg_memory_shape sg_ffn_memory(const sg_config *config);
// Channels of a family that has them, else 1.
int64_t sg_ffn_channels(const sg_family *family, const sg_config *config);
sg_activation sg_ffn_activation(const sg_config *config);
sg_gate sg_ffn_gate(const sg_config *config);
const sg_memory *sg_ffn_memory_of(const sg_config *config);
// Whether its neurons are gated linear units: of moefied its activation says so.
bool sg_ffn_is_gated(const sg_config *config);
// NULL of a dense layer.
const sg_router *sg_ffn_router(const sg_config *config);
// Of what every token takes beside its selection: experts together, or a branch; 0: nothing.
int64_t sg_ffn_shared_width(const sg_config *config);
// For routers that score every block of cells: that a top-k can select as many as a token reads.
sg_status sg_ffn_check_selected(const sg_config *config, sg_error *err);

typedef struct sg_ffn_count {
    double router_flops, memory_flops;
    int64_t neurons, active_neurons;
    int64_t idle_parameters; // of neurons that a token does not select
    double numbers;          // that a token keeps in a pass, about
    int64_t hits;            // selections a token
} sg_ffn_count;

sg_status sg_family_complete(sg_config *config, sg_error *err);
void sg_family_params(const sg_config *config, const sg_memory_place *place);
sg_tensor *sg_family_build(const sg_builder *b, sg_tensor *x);
sg_ffn_count sg_family_count(const sg_config *config);

// ---- layers of a model, and which of them are sparse (layers.c) -------------------------------

// Lists of layers, as ffn_layers of a configuration has them: "all", "every:N", "1,3", "2-4,6",
// from 1. `field` is what errors call it; layer: from 0, of a list that was checked.
sg_status sg_layers_check(const char *layers, const char *field, int64_t count, sg_error *err);
bool sg_layers_have(const char *layers, int64_t layer);

// Fills in the defaults of the family and checks its rules.
sg_status sg_ffn_complete(sg_config *config, sg_error *err);
bool sg_ffn_is_sparse(const sg_config *config, int64_t layer);
// The first sparse layer; 0 when there is none.
int64_t sg_ffn_first_sparse(const sg_config *config);
// The configuration that a layer is built by: `c` for a sparse layer; for a dense one among sparse
// ones that of a model of nothing but such layers, and for one with values of its own (ffn_layer_…)
// that of a model of such alone, written to *own.
const sg_config *sg_ffn_layer_config(const sg_config *c, int64_t layer, sg_config *own);
// The memory of a sparse layer, from 0: layers may have sizes of their own.
sg_memory_shape sg_ffn_memory_at(const sg_config *config, int64_t layer);
// Parameters of one layer, from 0. A memory that layers share comes with the first of them.
void sg_ffn_params(const sg_config *config, int64_t layer, const char *prefix, sg_param_list *list);
// x (rows, d) -> (rows, d), after the norm.
sg_tensor *sg_ffn_build(const sg_builder *b, sg_tensor *x);
// Of one layer, from 0.
sg_ffn_count sg_ffn_counts(const sg_config *config, int64_t layer);
// Of all layers together, a memory that they share once; hits: the most of a layer.
sg_ffn_count sg_ffn_total(const sg_config *config);

// ---- for routers of blocks (router_linear.c) --------------------------------------------------

// The losses of a router, in training: of its logits (rows, B), the scores p made of them, and what
// was selected by them. share: p does not sum to 1.
void sg_build_losses(const sg_builder *b, sg_tensor *logits, sg_tensor *p, bool share,
                     const sg_selection *selection);

#endif
