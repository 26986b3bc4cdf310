// As many of a selection as score enough: of a row and channel with the scores s_0 >= s_1 >= …
//
//     count = max(least, #{leading i that a rule takes})        op/selected_count.h has the rules
//
// scores (rows, channels*k), counts (rows, channels) or NULL -> counts (rows, channels). Ids and
// scores stay as they are, and with them the gradient: a void score has none. (Thresholds of a
// router: LTE, Zheng et al. 2024; shares: DSTI and D2DMoE, Szatkowski et al. 2023, 2024.)
#include "op/op.h"
#include "op/selected_count.h"

typedef struct above_attributes {
    int64_t k, least;
    double threshold;
    sg_count_rule rule;
} above_attributes;

// Inputs: scores, counts.
static void above_groups(void *context, sg_range range)
{
    const sg_node *node = context;
    const above_attributes *a = node->attributes;
    for (int64_t g = range.first; g < range.end; g++) {
        const sg_real *scores = sg_values(node->in[0]) + g * a->k;
        const int64_t most = node->in[1] != NULL ? sg_ints(node->in[1])[g] : a->k;
        sg_ints(node->out[0])[g] =
            (int32_t)sg_selected_count(scores, most, a->rule, a->threshold, a->least);
    }
}

static void above_forward(const sg_run *run, const sg_node *node)
{
    const above_attributes *a = node->attributes;
    sg_parallel_ranges(run->compute.pool, node->out[0]->count, sg_chunk_rows(a->k), above_groups,
                       (void *)(uintptr_t)node);
}

static const sg_op op_above = {.name = "select_above", .forward = above_forward};

static sg_selection above_record(sg_tape *tape, const sg_selection *selection,
                                 above_attributes attributes)
{
    sg_selection none = {0}, above = *selection;
    sg_tensor *scores = selection->scores, *counts = selection->counts;
    if (selection->ids == NULL || scores == NULL) return none;
    const int64_t groups = selection->k > 0 ? scores->count / selection->k : 0;
    if (selection->channels < 1 || groups * selection->k != scores->count ||
        groups % selection->channels != 0 || (counts != NULL && counts->count != groups) ||
        attributes.least < 0 || attributes.least > selection->k) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "select_above: %s does not fit", scores->name);
        return none;
    }
    sg_node *node = sg_tape_node(tape, &op_above, 2, (sg_tensor *[]){scores, counts});
    above_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return none;
    *a = attributes;
    node->attributes = a;
    above.counts = sg_node_output(tape, node, "counts", SG_KIND_INT, 2,
                                  (int64_t[]){groups / selection->channels, selection->channels});
    return above;
}

sg_selection sg_select_above(sg_tape *tape, const sg_selection *selection, double threshold,
                             bool of_best, int64_t least)
{
    return above_record(tape, selection,
                        (above_attributes){selection->k, least, threshold,
                                           of_best ? SG_COUNT_OF_BEST : SG_COUNT_ABOVE});
}

sg_selection sg_select_share(sg_tape *tape, const sg_selection *selection, double share,
                             int64_t least)
{
    return above_record(tape, selection,
                        (above_attributes){selection->k, least, share, SG_COUNT_SHARE});
}
