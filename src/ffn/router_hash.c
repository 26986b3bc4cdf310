// Router "hash": the blocks of a token are a fixed random draw for its id, made before any training
// and never looked at by it (Roller et al. 2021, Hash Layers; Liu et al. 2023 draw several blocks).
//
// The draw: the first b entries of a random permutation of the B blocks, made by the first b steps
// of a Fisher-Yates shuffle. Step j swaps entry j with entry j + r, r uniform below B - j, from
// base/rng.h with the seed of the configuration, the stream of the name
// "model.layers.{i}.mlp.router.hash", and index id b + j. So it depends on the seed, the layer and
// the token alone. It is drawn anew when a token comes by: that costs less than 2 % of the layer's
// work, where a table would take 4 V b bytes a layer (32 MB at V = 8192, b = 1024).
#include <stdio.h>

#include "base/rng.h"
#include "ffn/ffn.h"

typedef struct hash_attributes {
    int64_t blocks, selected;
    uint64_t seed;
    uint32_t stream;
} hash_attributes;

typedef struct hash_loop {
    const sg_run *run;
    const sg_node *node;
} hash_loop;

enum { hash_chunk = 64 };

static void hash_chunk_rows(void *context, sg_range rows)
{
    const hash_loop *l = context;
    const hash_attributes *a = l->node->attributes;
    const int32_t *tokens = sg_ints(l->node->in[0]);
    const int64_t b = a->selected;
    // The permutation, and what each step swapped with: undone after each token.
    int32_t *order = sg_worker_scratch(l->run, rows.worker), *swapped = order + a->blocks;
    for (int64_t i = 0; i < a->blocks; i++)
        order[i] = (int32_t)i;
    for (int64_t row = rows.first; row < rows.end; row++) {
        int32_t *ids = sg_ints(l->node->out[0]) + row * b;
        for (int64_t j = 0; j < b; j++) {
            uint64_t index = (uint64_t)tokens[row] * (uint64_t)b + (uint64_t)j;
            uint64_t bound = (uint64_t)(a->blocks - j);
            swapped[j] = (int32_t)(j + (int64_t)sg_rng_below(a->seed, a->stream, index, bound));
            ids[j] = order[swapped[j]];
            order[swapped[j]] = order[j];
            order[j] = ids[j];
        }
        for (int64_t j = b - 1; j >= 0; j--) {
            int32_t first = order[j];
            order[j] = order[swapped[j]];
            order[swapped[j]] = first;
        }
    }
}

static void hash_forward(const sg_run *run, const sg_node *node)
{
    hash_loop l = {run, node};
    sg_parallel_ranges(run->compute.pool, node->in[0]->count, hash_chunk, hash_chunk_rows, &l);
}

static const sg_op op_hash = {.name = "hash_blocks", .forward = hash_forward};

static sg_selection hash_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    sg_selection none = {0};
    const sg_memory_shape m = sg_ffn_memory(b->config);
    (void)self;
    if (x == NULL) return none;
    if (b->ids == NULL || b->ids->count != sg_rows(x)) {
        sg_tape_fail(b->tape, SG_ERR_INTERNAL, "router hash: %s has no token ids", x->name);
        return none;
    }
    sg_node *node = sg_tape_node(b->tape, &op_hash, 1, (sg_tensor *[]){b->ids});
    hash_attributes *a = sg_tape_memory(b->tape, sizeof *a);
    if (node == NULL || a == NULL) return none;
    char name[SG_PARAM_NAME];
    snprintf(name, sizeof name, "%smlp.router.hash", b->prefix);
    *a = (hash_attributes){.blocks = m.blocks,
                           .selected = m.selected,
                           .seed = (uint64_t)b->config->ffn_hash_seed,
                           .stream = sg_rng_stream(name)};
    node->attributes = a;
    node->worker_scratch_bytes = (size_t)(m.blocks + m.selected) * sizeof(int32_t);
    sg_selection s = {.channels = 1, .k = m.selected, .unit = m.block};
    s.ids = sg_node_output(b->tape, node, "ids", SG_KIND_INT, 2,
                           (int64_t[]){b->ids->count, m.selected});
    return s;
}

static sg_status hash_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self, (void)c, (void)err;
    return SG_OK;
}

static void hash_params(const sg_router *self, const sg_config *c, const char *prefix,
                        sg_param_list *list)
{
    (void)self, (void)c, (void)prefix, (void)list;
}

static sg_router_count hash_count(const sg_router *self, const sg_config *c)
{
    (void)self, (void)c;
    return (sg_router_count){0};
}

const sg_router sg_router_hash = {
    .name = "hash",
    .check = hash_check,
    .params = hash_params,
    .build = hash_build,
    .count = hash_count,
};
