// What other analyses found, on the page: effects of patches, and traces.
#include <math.h>
#include <string.h>

#include "format/json.h"
#include "probe/scope_page.h"

// ---- patches ------------------------------------------------------------------------------------

static json_t *patch_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *patch_row(const sg_patch_summary *s)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "layers", s->layers, "channels", s->channels, "position", s->position, "point", s->point,
        "direction", s->direction == SG_PATCH_NOISE ? "noise" : "denoise", "metric",
        sg_patch_metric_name(s->metric), "control", sg_patch_control_name(s->control), "pairs",
        (json_int_t)s->pairs, "facts", (json_int_t)s->facts, "mean", patch_number(s->mean), "low",
        patch_number(s->low), "high", patch_number(s->high), "of_sums", patch_number(s->of_sums),
        "of_sums_low", patch_number(s->of_sums_low), "of_sums_high", patch_number(s->of_sums_high),
        "p", patch_number(s->p), "p_holm", patch_number(s->p_holm));
}

sg_status sg_scope_patch(sg_scope_page *page, json_t *root, sg_error *err)
{
    const sg_patch_result *r = page->options->patch;
    if (r == NULL) return SG_OK;
    json_t *rows = json_array();
    for (size_t i = 0; i < r->count; i++)
        if (json_array_append_new(rows, patch_row(&r->items[i])) != 0) {
            json_decref(rows);
            return sg_scope_memory(err);
        }
    page->info.patch_rows = (int64_t)r->count;
    return sg_scope_set(
        root, "patch",
        json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:s?, s:s?, s:s?}", "rows", rows, "pairs",
                  (json_int_t)r->counts.pairs, "facts_used", (json_int_t)r->counts.used, "facts",
                  (json_int_t)r->counts.facts, "correct_clean", patch_number(r->correct_clean),
                  "recalled", patch_number(r->recalled), "file", page->options->facts, "command",
                  page->options->patch_command, "records", page->options->patch_records),
        err);
}

// ---- traces -------------------------------------------------------------------------------------

static double trace_number(double x)
{
    return isfinite(x) ? x : 0;
}

static json_t *trace_node(const sg_trace_node *n)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "kind",
                     sg_trace_kind_name(n->kind), "layer", (json_int_t)n->layer, "position",
                     (json_int_t)n->position, "source", (json_int_t)n->source, "head",
                     (json_int_t)n->head, "channel", (json_int_t)n->channel, "neuron",
                     (json_int_t)n->neuron, "value", trace_number(n->value), "contribution",
                     trace_number(n->contribution), "direct", trace_number(n->direct), "influence",
                     trace_number(n->influence));
}

// A node; of a neuron with the tokens whose logits it raises most.
static sg_status trace_add(sg_scope_page *page, const sg_trace_node *n, json_t *nodes,
                           sg_error *err)
{
    int32_t piece;
    json_t *object = trace_node(n), *writes;
    if (json_array_append_new(nodes, object) != 0) return sg_scope_memory(err);
    if (n->kind != SG_TRACE_NEURON) return SG_OK;
    SG_TRY(sg_scope_set(object, "writes", writes = json_array(), err));
    for (int i = 0; i < SG_TRACE_WRITES && n->writes[i] >= 0; i++) {
        SG_TRY(sg_scope_piece(page, n->writes[i], &piece, err));
        if (json_array_append_new(writes, json_integer(piece)) != 0) return sg_scope_memory(err);
    }
    return SG_OK;
}

static sg_status trace_lists(sg_scope_page *page, const sg_trace *trace, json_t *object,
                             sg_error *err)
{
    size_t count;
    int32_t piece;
    json_t *nodes, *edges, *tokens;
    SG_TRY(sg_scope_set(object, "nodes", nodes = json_array(), err));
    SG_TRY(sg_scope_set(object, "edges", edges = json_array(), err));
    SG_TRY(sg_scope_set(object, "tokens", tokens = json_array(), err));
    const sg_trace_node *node = sg_trace_nodes(trace, &count);
    for (size_t i = 0; i < count; i++)
        SG_TRY(trace_add(page, &node[i], nodes, err));
    const sg_trace_edge *edge = sg_trace_edges(trace, &count);
    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(edges, json_pack("[I, I, f]", (json_int_t)edge[i].source,
                                                   (json_int_t)edge[i].target, edge[i].weight)))
            return sg_scope_memory(err);
    const int32_t *ids = sg_trace_tokens(trace, &count);
    for (size_t i = 0; i < count; i++) {
        SG_TRY(sg_scope_piece(page, ids[i], &piece, err));
        if (json_array_append_new(tokens, json_integer(piece)) != 0) return sg_scope_memory(err);
    }
    return SG_OK;
}

static sg_status trace_make(sg_scope_page *page, const sg_scope_trace *t, json_t *object,
                            sg_error *err)
{
    int32_t answer, against;
    const sg_trace_info *info = sg_trace_get_info(t->trace);
    SG_TRY(sg_scope_piece(page, info->answer, &answer, err));
    SG_TRY(sg_scope_piece(page, info->against, &against, err));
    SG_TRY(sg_scope_set(object, "prompt", json_string(t->prompt ? t->prompt : ""), err));
    SG_TRY(
        sg_scope_set(object, "command", t->command ? json_string(t->command) : json_null(), err));
    SG_TRY(sg_scope_set(object, "answer", json_integer(answer), err));
    SG_TRY(sg_scope_set(object, "against", json_integer(against), err));
    SG_TRY(sg_scope_set(object, "value", json_real(trace_number(info->value)), err));
    SG_TRY(sg_scope_set(object, "probability", json_real(trace_number(info->probability)), err));
    SG_TRY(sg_scope_set(object, "layers", json_integer(info->layers), err));
    SG_TRY(sg_scope_set(object, "all_nodes", json_integer(info->all_nodes), err));
    SG_TRY(sg_scope_set(object, "node_share", json_real(trace_number(info->node_share)), err));
    SG_TRY(sg_scope_set(object, "sum_error", json_real(trace_number(info->sum_error)), err));
    return trace_lists(page, t->trace, object, err);
}

sg_status sg_scope_traces(sg_scope_page *page, json_t *root, sg_error *err)
{
    const sg_scope_options *o = page->options;
    if (o->trace_count == 0) return SG_OK;
    json_t *list = json_array();
    SG_TRY(sg_scope_set(root, "traces", list, err));
    for (size_t i = 0; i < o->trace_count; i++) {
        json_t *object = json_object();
        if (json_array_append_new(list, object) != 0) return sg_scope_memory(err);
        SG_TRY(trace_make(page, &o->traces[i], object, err));
        page->info.traces++;
    }
    return SG_OK;
}
