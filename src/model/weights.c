// Asks a tape of one token which parameters all their readers can read narrow, and gives those a
// place behind each other in one block.
#include "model/config.h"
#include "model/weights.h"

#include "base/alloc.h"
#include "model/graph.h"

// ---- which --------------------------------------------------------------------------------------

// What reads a parameter does not depend on the number of rows: a graph of one token tells. plain:
// as of sg_graph_options.
static sg_status weights_graph(const sg_config *config, const sg_param_list *params, bool training,
                               bool *plain, sg_graph **graph, sg_error *err)
{
    sg_rope_table rope = {.positions = 1, .half = sg_config_rotary_dim(config) / 2};
    sg_graph_options options = {.batch = 1,
                                .length = 1,
                                .output = training ? SG_OUTPUT_LOSS : SG_OUTPUT_LAST,
                                .gradient = training,
                                .threads = 1,
                                .plain = plain};
    return sg_graph_new(config, params, NULL, NULL, &rope, &options, graph, err);
}

static sg_status weights_mask(const sg_config *config, const sg_param_list *params,
                              sg_narrow_use use, bool *mask, sg_error *err)
{
    const bool training = use == SG_NARROW_TRAINING;
    sg_graph *graph;
    SG_TRY(weights_graph(config, params, training, NULL, &graph, err));
    for (size_t i = 0; i < params->count; i++)
        mask[i] = graph->leaves[i] != NULL && sg_tape_reads_narrow(graph->leaves[i], training);
    sg_graph_free(graph);
    return SG_OK;
}

sg_status sg_weights_plain(const sg_config *config, const sg_param_list *params, bool *mask,
                           sg_error *err)
{
    sg_graph *graph;
    SG_TRY(weights_graph(config, params, false, mask, &graph, err));
    sg_graph_free(graph);
    return SG_OK;
}

sg_status sg_narrow_readable(const sg_config *config, const sg_param_list *params, bool *mask,
                             sg_error *err)
{
    return weights_mask(config, params, SG_NARROW_DECODING, mask, err);
}

// ---- memory -------------------------------------------------------------------------------------

static int64_t weights_rows(const sg_param_spec *spec)
{
    return spec->count / spec->shape[spec->rank - 1];
}

static size_t weights_bytes(const sg_param_spec *spec, sg_weights type)
{
    int64_t d = spec->shape[spec->rank - 1];
    size_t scales = (size_t)weights_rows(spec) * sg_stored_scale_bytes(type, d);
    return sg_whole_lines(sg_stored_row_bytes(type, spec->count)) + sg_whole_lines(scales);
}

// Two tables of one shape of which a token reads the same few rows, as those of a memory of single
// neurons, i and i + 1: where they are larger than caches a pair of rows behind each other is read
// in less time than two apart. Smaller ones are read table by table.
enum { weights_pair_least = 1 << 25 };

static bool weights_pair(const sg_param_list *params, size_t i, const bool *mask, sg_weights type)
{
    if (type != SG_WEIGHTS_BF16 || i + 1 >= params->count || !mask[i] || !mask[i + 1]) return false;
    const sg_param_spec *a = &params->specs[i], *b = &params->specs[i + 1];
    const int64_t d = a->shape[a->rank - 1];
    return b->paired && b->count == a->count && b->shape[b->rank - 1] == d && d % 32 == 0 &&
           weights_rows(a) <= INT32_MAX / 2 && weights_bytes(a, type) >= weights_pair_least;
}

// Puts the rows of parameter i + 1 between those of i.
static void weights_join(sg_narrow_set *set, const sg_param_spec *spec, size_t i, void *at)
{
    const int64_t d = spec->shape[spec->rank - 1];
    set->items[i].rows = at;
    set->items[i + 1].rows = (unsigned char *)at + sg_stored_row_bytes(set->type, d);
    set->items[i].step = set->items[i + 1].step = 2;
}

static sg_status weights_place(sg_narrow_set *set, const sg_param_list *params, const bool *mask,
                               const bool *mapped, bool pairs, sg_error *err)
{
    for (size_t i = 0; i < params->count; i++) {
        if (!mask[i]) continue;
        set->items[i].type = set->type;
        set->elements += params->specs[i].count;
        if (set->type == SG_WEIGHTS_INT8) set->n_scales += weights_rows(&params->specs[i]);
        if (mapped == NULL || !mapped[i]) set->bytes += weights_bytes(&params->specs[i], set->type);
    }
    if (set->bytes == 0) return SG_OK;
    set->memory = sg_alloc_from(set->allocator, set->bytes);
    if (set->memory == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory: the %s weights take %zu bytes",
                       sg_weights_name(set->type), set->bytes);
    unsigned char *at = set->memory;
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        if (!mask[i] || (mapped != NULL && mapped[i])) continue;
        if (pairs && weights_pair(params, i, mask, set->type)) {
            weights_join(set, spec, i++, at);
            at += 2 * weights_bytes(spec, set->type);
            continue;
        }
        set->items[i].rows = at;
        if (set->type == SG_WEIGHTS_INT8)
            set->items[i].scales = at + sg_whole_lines(sg_stored_row_bytes(set->type, spec->count));
        at += weights_bytes(spec, set->type);
    }
    return SG_OK;
}

static sg_status weights_new(const sg_param_list *params, const bool *mask, const bool *mapped,
                             bool pairs, sg_weights type, const sg_allocator *allocator,
                             sg_narrow_set *set, sg_error *err)
{
    *set = (sg_narrow_set){.type = type, .count = params->count, .allocator = allocator};
    if (type == SG_WEIGHTS_F32) return SG_OK;
    set->items = sg_alloc_zero(params->count, sizeof *set->items);
    sg_status status = set->items != NULL
                           ? weights_place(set, params, mask, mapped, pairs, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for narrow weights");
    if (status != SG_OK) sg_narrow_set_free(set);
    return status;
}

sg_status sg_narrow_set_new(const sg_param_list *params, const bool *mask, const bool *mapped,
                            sg_weights type, const sg_allocator *allocator, sg_narrow_set *set,
                            sg_error *err)
{
    return weights_new(params, mask, mapped, mapped == NULL, type, allocator, set, err);
}

sg_status sg_narrow_set_of_model(const sg_config *config, const sg_param_list *params,
                                 sg_narrow_use use, const bool *mapped, sg_weights type,
                                 const sg_allocator *allocator, sg_narrow_set *set, sg_error *err)
{
    *set = (sg_narrow_set){.type = type, .count = params->count, .allocator = allocator};
    if (type == SG_WEIGHTS_F32) return SG_OK;
    bool *mask = sg_alloc_array(params->count, sizeof *mask);
    sg_status status = mask != NULL
                           ? weights_mask(config, params, use, mask, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for narrow weights");
    // What decodes may be written to files or joined with others: there tables stay whole.
    if (status == SG_OK)
        status =
            weights_new(params, mask, mapped, use == SG_NARROW_TRAINING, type, allocator, set, err);
    sg_free(mask);
    return status;
}

void sg_narrow_set_free(sg_narrow_set *set)
{
    sg_free_to(set->allocator, set->memory, set->bytes);
    sg_free((void *)set->parts);
    sg_free(set->items);
    *set = (sg_narrow_set){0};
}

bool sg_narrow_has(const sg_narrow_set *set, size_t i)
{
    return set->items != NULL && sg_stored_is_narrow(&set->items[i]);
}

int64_t sg_narrow_bytes(const sg_narrow_set *set, const sg_param_list *params, size_t i)
{
    const sg_param_spec *spec = &params->specs[i];
    const sg_weights type = set->items[i].type;
    const int64_t d = spec->shape[spec->rank - 1];
    return weights_rows(spec) *
           (int64_t)(sg_stored_row_bytes(type, d) + sg_stored_scale_bytes(type, d));
}

sg_weights sg_narrow_most(const sg_narrow_set *set, const sg_param_list *params)
{
    int64_t most = 0;
    sg_weights found = SG_WEIGHTS_F32;
    for (int type = 0; sg_weights_name((sg_weights)type) != NULL; type++) {
        int64_t elements = 0;
        for (size_t i = 0; set->items != NULL && i < params->count; i++)
            if (sg_narrow_has(set, i) && set->items[i].type == (sg_weights)type)
                elements += params->specs[i].count;
        if (elements > most) found = (sg_weights)type;
        if (elements > most) most = elements;
    }
    return found;
}

void sg_narrow_set_write(const sg_narrow_set *set, const sg_param_list *params,
                         sg_real *const *values, sg_compute compute)
{
    for (size_t i = 0; i < params->count; i++) {
        const sg_param_spec *spec = &params->specs[i];
        if (sg_narrow_has(set, i))
            sg_stored_write(compute, &set->items[i], 0, weights_rows(spec),
                            spec->shape[spec->rank - 1], values[i]);
    }
}
