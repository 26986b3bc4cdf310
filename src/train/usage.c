// Counting what is selected; the statistics of the counts are those of probe/evenness.h.
#include "train/usage.h"

#include "base/alloc.h"
#include "format/json.h"
#include "probe/evenness.h"

sg_status sg_use_counts_new(const sg_config *config, sg_compute compute, sg_use_counts *counts,
                            sg_error *err)
{
    const int64_t layers = config->num_hidden_layers;
    *counts = (sg_use_counts){.count = layers, .compute = compute};
    counts->layers = sg_alloc_zero((size_t)layers, sizeof *counts->layers);
    counts->shapes = sg_alloc_zero((size_t)layers, sizeof *counts->shapes);
    bool enough = counts->layers != NULL && counts->shapes != NULL;
    for (int64_t l = 0; l < layers && enough; l++) {
        if (!sg_ffn_is_sparse(config, l)) continue;
        const sg_memory_shape m = counts->shapes[l] = sg_ffn_memory_at(config, l);
        counts->layers[l] = sg_alloc_zero((size_t)(m.pools * m.blocks), sizeof **counts->layers);
        enough = counts->layers[l] != NULL;
    }
    if (enough) return SG_OK;
    sg_use_counts_free(counts);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for counting what is used");
}

void sg_use_counts_free(sg_use_counts *counts)
{
    for (int64_t l = 0; counts->layers != NULL && l < counts->count; l++)
        sg_free(counts->layers[l]);
    sg_free(counts->layers);
    sg_free(counts->shapes);
    *counts = (sg_use_counts){0};
}

typedef struct usage_loop {
    const sg_use_counts *counts;
    const sg_point_values *point;
} usage_loop;

// How many of the k of a row and channel are selected.
static int64_t usage_selected(const sg_point_values *p, int64_t row, int64_t channel)
{
    return p->counts ? p->counts[row * p->shape[1] + channel] : p->shape[2];
}

// The channels that read one pool: nobody else counts in it.
static void usage_pool(void *context, int64_t pool, int worker)
{
    (void)worker;
    const usage_loop *l = context;
    const sg_point_values *p = l->point;
    const sg_memory_shape *m = &l->counts->shapes[p->layer];
    const int64_t channels = p->shape[1] / m->pools, k = p->shape[2];
    const int64_t cells = k / m->selected; // that an id of a block was made of
    int64_t *counts = l->counts->layers[p->layer] + pool * m->blocks;
    for (int64_t r = 0; r < p->shape[0]; r++) {
        if (p->targets != NULL && p->targets[r] < 0) continue;
        for (int64_t c = pool * channels; c < (pool + 1) * channels; c++)
            for (int64_t i = 0; i < usage_selected(p, r, c); i += cells)
                counts[p->ids[(r * p->shape[1] + c) * k + i] / cells]++;
    }
}

static sg_status usage_count(void *user, const sg_point_values *point, sg_error *err)
{
    (void)err;
    usage_loop l = {user, point};
    sg_parallel_for(l.counts->compute.pool, l.counts->shapes[point->layer].pools, usage_pool, &l);
    return SG_OK;
}

sg_point_request sg_use_counts_request(sg_use_counts *counts)
{
    return (sg_point_request){.name = "blocks.*.mlp.hook_gate_ids",
                              .use = SG_POINT_READ,
                              .call = usage_count,
                              .user = counts};
}

sg_usage sg_usage_of(int64_t layer, int64_t *counts, int64_t blocks)
{
    const sg_evenness e = sg_evenness_of(counts, blocks);
    return (sg_usage){.layer = layer,
                      .blocks = blocks,
                      .selections = e.sum,
                      .used = e.used,
                      .entropy = e.entropy,
                      .gini = e.gini,
                      .max_load = e.max_load};
}

json_t *sg_usage_json(const sg_usage *usage, int64_t count)
{
    static const char *const names[] = {"layer",   "blocks", "selections", "used",
                                        "entropy", "gini",   "max_load"};
    enum { members = sizeof names / sizeof *names };
    sg_json_setup();
    json_t *object = json_object();
    int failed = object == NULL;
    for (int m = 0; m < members && !failed; m++) {
        json_t *array = json_array();
        for (int64_t i = 0; i < count && !failed; i++) {
            const sg_usage *u = &usage[i];
            const int64_t whole[] = {u->layer, u->blocks, u->selections};
            const double share[] = {u->used, u->entropy, u->gini, u->max_load};
            failed = json_array_append_new(array, m < 3 ? json_integer(whole[m])
                                                        : json_real(share[m - 3]));
        }
        // This releases the array when it fails, too.
        failed = json_object_set_new(object, names[m], array) || failed;
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}
