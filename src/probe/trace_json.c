// The graph of a trace in the form that the viewer of circuit-tracer reads (Ameisen et al. 2025;
// its frontend/graph_models.py): metadata, qParams, nodes and links, whose members docs/PROBE.md
// lists. What that form has no place for stands in members "sgatlin", which the viewer passes over.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "probe/trace_graph.h"

enum { viewer_text = 512 };

typedef struct viewer {
    const sg_trace *trace;
    const sg_tokenizer *tokenizer; // NULL: tokens are called by their ids
    const char *slug, *model, *command;
} viewer;

// The text of a token. text has viewer_text bytes. A token that begins a word in the SentencePiece
// style keeps the space that it loses as the first of a text.
static void viewer_token(const viewer *j, int32_t id, char *text)
{
    char *decoded = NULL;
    size_t bytes;
    const sg_decode_options options = {0};
    snprintf(text, viewer_text, "#%d", id);
    if (j->tokenizer == NULL || id < 0 || id >= sg_tokenizer_vocab_size(j->tokenizer)) return;
    if (sg_tokenizer_decode(j->tokenizer, &id, 1, &options, &decoded, &bytes, NULL) != SG_OK)
        return;
    const char *spelling = sg_tokenizer_token_text(j->tokenizer, id);
    const size_t space = spelling != NULL &&
                         (*spelling == ' ' || strncmp(spelling, "\u2581", 3) == 0) &&
                         *decoded != ' ';
    // Of a long one the beginning, whole characters.
    while (bytes + space >= viewer_text || (decoded[bytes] & 0xC0) == 0x80)
        bytes--;
    text[0] = ' ';
    memcpy(text + space, decoded, bytes);
    text[space + bytes] = '\0';
    sg_buffer_free(decoded);
}

// "3_517_4": layer, what it is there, position; the same for the same node of another run.
static void viewer_id(const viewer *j, const sg_trace_node *n, char *id)
{
    const long long l = n->layer, p = n->position, s = n->source;
    switch (n->kind) {
    case SG_TRACE_EMBEDDING:
        snprintf(id, viewer_text, "E_%d_%lld", n->token, p);
        break;
    case SG_TRACE_POSITION:
        snprintf(id, viewer_text, "E_position_%lld", p);
        break;
    case SG_TRACE_ATTENTION:
        if (n->head >= 0)
            snprintf(id, viewer_text, "%lld_head%lldfrom%lld_%lld", l, (long long)n->head, s, p);
        else
            snprintf(id, viewer_text, "%lld_attentionfrom%lld_%lld", l, s, p < 0 ? s : p);
        break;
    case SG_TRACE_NEURON:
        snprintf(id, viewer_text, "%lld_%lldn%lld_%lld", l, (long long)n->channel,
                 (long long)n->neuron, p);
        break;
    case SG_TRACE_LOGIT:
        snprintf(id, viewer_text, "%lld_%d_%lld", (long long)j->trace->info.layers + 1, n->token,
                 p);
        break;
    default:
        snprintf(id, viewer_text, "%lld_%s_%lld", l, sg_trace_kind_name(n->kind), p);
    }
}

// Cantor's number of a pair, as the viewer's own features have it.
static long long viewer_pair(int64_t x, int64_t y)
{
    return (long long)((x + y) * (x + y + 1) / 2 + y);
}

// The viewer takes nodes of a layer and token with one number for one: that of what is no feature
// lies below 0, each of its own.
static long long viewer_feature(const viewer *j, const sg_trace_node *n)
{
    const int64_t T = j->trace->info.tokens;
    switch (n->kind) {
    case SG_TRACE_EMBEDDING:
        return n->position;
    case SG_TRACE_POSITION:
        return T + n->position;
    case SG_TRACE_NEURON:
        return viewer_pair(n->layer, viewer_pair(n->channel, n->neuron));
    case SG_TRACE_REMAINDER:
        return -1; // the viewer's own number of an error
    case SG_TRACE_ATTENTION:
        return -(2 + (n->head + 1) * T + n->source);
    case SG_TRACE_LOGIT:
        return n->token;
    default:
        return -(2 + (j->trace->heads + 1) * T + n->kind);
    }
}

static const char *viewer_type(sg_trace_kind kind)
{
    switch (kind) {
    case SG_TRACE_EMBEDDING:
        return "embedding";
    case SG_TRACE_POSITION:
        return "position embedding";
    case SG_TRACE_NEURON:
        return "cross layer transcoder";
    case SG_TRACE_REMAINDER:
    case SG_TRACE_PRUNED:
        return "mlp reconstruction error";
    case SG_TRACE_LOGIT:
        return "logit";
    default:
        return sg_trace_kind_name(kind);
    }
}

// What a reader is told of a neuron: which it is, and what it writes.
static void viewer_say_neuron(const viewer *j, const sg_trace_node *n, char *text)
{
    char token[viewer_text];
    size_t used =
        (size_t)snprintf(text, viewer_text, "layer %lld, channel %lld, neuron %lld",
                         (long long)n->layer, (long long)n->channel, (long long)n->neuron);
    for (int i = 0; i < SG_TRACE_WRITES && n->writes[i] >= 0 && used < viewer_text; i++) {
        viewer_token(j, n->writes[i], token);
        used += (size_t)snprintf(text + used, viewer_text - used, "%s \"%.40s\"",
                                 i == 0 ? ", writes" : "", token);
    }
}

static void viewer_say_logit(const viewer *j, char *text)
{
    char answer[viewer_text], against[viewer_text];
    const sg_trace_info *info = &j->trace->info;
    viewer_token(j, info->answer, answer);
    viewer_token(j, info->against, against);
    if (info->against < 0)
        snprintf(text, viewer_text, "Output \"%.150s\" (p=%.3f)", answer, info->probability);
    else
        snprintf(text, viewer_text, "Output \"%.150s\" (p=%.3f) against \"%.150s\"", answer,
                 info->probability, against);
}

static void viewer_say(const viewer *j, const sg_trace_node *n, char *text)
{
    char token[viewer_text];
    const long long l = n->layer;
    text[0] = '\0';
    switch (n->kind) {
    case SG_TRACE_EMBEDDING:
        viewer_token(j, n->token, token);
        snprintf(text, viewer_text, "Emb: \"%.200s\"", token);
        break;
    case SG_TRACE_POSITION:
        snprintf(text, viewer_text, "position %lld", (long long)n->position);
        break;
    case SG_TRACE_ATTENTION:
        viewer_token(j, j->trace->ids[n->source], token);
        snprintf(text, viewer_text,
                 n->head >= 0 ? "layer %lld, head %lld, from" : "layer %lld, from", l,
                 (long long)n->head);
        snprintf(text + strlen(text), viewer_text - strlen(text), " %lld \"%.200s\"",
                 (long long)n->source, token);
        break;
    case SG_TRACE_NEURON:
        viewer_say_neuron(j, n, text);
        break;
    case SG_TRACE_LOGIT:
        viewer_say_logit(j, text);
        break;
    default:
        snprintf(text, viewer_text, "layer %lld, %s", l, sg_trace_kind_name(n->kind));
    }
}

// Cut at 40 or 150 bytes a text may end within a character: jansson wants whole ones.
static json_t *viewer_text_of(const char *text)
{
    size_t bytes = 0;
    const size_t all = strlen(text);
    char clean[viewer_text + 1];
    for (size_t i = 0; i < all;) {
        const unsigned char c = (unsigned char)text[i];
        const size_t n = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        size_t there = 1;
        while (there < n && ((unsigned char)text[i + there] & 0xC0) == 0x80)
            there++;
        if (there == n) {
            memcpy(clean + bytes, text + i, n);
            bytes += n;
        }
        i += there;
    }
    return json_stringn(clean, bytes);
}

// Each of these is NULL when out of memory.
static json_t *viewer_inside(const sg_trace_node *n)
{
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:f, s:f, s:f, s:f}", "kind", sg_trace_kind_name(n->kind), "layer",
        (json_int_t)n->layer, "position", (json_int_t)n->position, "value", n->value,
        "contribution", n->contribution, "direct", n->direct, "influence", n->influence);
    int failed = object == NULL;
    if (!failed && n->kind == SG_TRACE_ATTENTION)
        failed = json_object_set_new(object, "source", json_integer(n->source)) != 0 ||
                 json_object_set_new(object, "head",
                                     n->head < 0 ? json_null() : json_integer(n->head)) != 0;
    if (!failed && n->kind == SG_TRACE_NEURON)
        failed = json_object_set_new(object, "channel", json_integer(n->channel)) != 0 ||
                 json_object_set_new(object, "neuron", json_integer(n->neuron)) != 0;
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static json_t *viewer_node(const viewer *j, const sg_trace_node *n)
{
    char id[viewer_text], say[viewer_text];
    const sg_trace_info *info = &j->trace->info;
    const bool logit = n->kind == SG_TRACE_LOGIT, outside = n->layer < 0;
    const int64_t at = n->position < 0 ? n->source : n->position;
    char layer[32];
    snprintf(layer, sizeof layer, "%lld", (long long)(logit ? info->layers + 1 : n->layer));
    viewer_id(j, n, id);
    viewer_say(j, n, say);
    return json_pack("{s:s, s:I, s:s, s:I, s:s, s:f, s:b, s:i, s:i, s:s, s:o, s:o, s:o, s:o}",
                     "node_id", id, "feature", (json_int_t)viewer_feature(j, n), "layer",
                     outside ? "E" : layer, "ctx_idx", (json_int_t)at, "feature_type",
                     viewer_type(n->kind), "token_prob", logit ? info->probability : 0.0,
                     "is_target_logit", logit, "run_idx", 0, "reverse_ctx_idx", 0, "jsNodeId", id,
                     "clerp", viewer_text_of(say), "influence",
                     logit ? json_null() : json_real(n->cumulative), "activation",
                     n->kind == SG_TRACE_NEURON ? json_real(n->value) : json_null(), "sgatlin",
                     viewer_inside(n));
}

static json_t *viewer_nodes(const viewer *j)
{
    json_t *list = json_array();
    for (size_t i = 0; i < j->trace->node_count; i++)
        if (json_array_append_new(list, viewer_node(j, &j->trace->nodes[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *viewer_links(const viewer *j)
{
    char source[viewer_text], target[viewer_text];
    json_t *list = json_array();
    for (size_t e = 0; e < j->trace->edge_count; e++) {
        const sg_trace_edge *edge = &j->trace->edges[e];
        viewer_id(j, &j->trace->nodes[edge->source], source);
        viewer_id(j, &j->trace->nodes[edge->target], target);
        if (json_array_append_new(list, json_pack("{s:s, s:s, s:f}", "source", source, "target",
                                                  target, "weight", edge->weight)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

// The text of a token, or of all of them, where `ids` is NULL.
static json_t *viewer_tokens(const viewer *j)
{
    char text[viewer_text];
    json_t *list = json_array();
    for (int64_t i = 0; i < j->trace->info.tokens; i++) {
        viewer_token(j, j->trace->ids[i], text);
        if (json_array_append_new(list, viewer_text_of(text)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *viewer_prompt(const viewer *j)
{
    char *text = NULL;
    size_t bytes;
    const sg_decode_options options = sg_decode_options_default();
    if (j->tokenizer == NULL ||
        sg_tokenizer_decode(j->tokenizer, j->trace->ids, (size_t)j->trace->info.tokens, &options,
                            &text, &bytes, NULL) != SG_OK)
        return json_string("");
    json_t *value = json_stringn(text, bytes);
    sg_buffer_free(text);
    return value;
}

static json_t *viewer_kinds(const double *values)
{
    json_t *object = json_object();
    for (int k = 0; k < SG_TRACE_KINDS; k++)
        if (values[k] != 0 && json_object_set_new(object, sg_trace_kind_name((sg_trace_kind)k),
                                                  json_real(values[k])) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

// What is traced, and how well it adds up.
static json_t *viewer_summary(const viewer *j)
{
    char answer[viewer_text], against[viewer_text];
    const sg_trace_info *i = &j->trace->info;
    static const char *const groups[] = {"pair", "head", "source"};
    viewer_token(j, i->answer, answer);
    viewer_token(j, i->against, against);
    return json_pack(
        "{s:s, s:s?, s:o, s:i, s:o, s:o, s:b, s:f, s:f, s:f, s:I, s:s, s:I, s:f, s:f, s:f, s:f, "
        "s:f, "
        "s:f, s:f, s:o, s:o}",
        "version", sg_version(), "command", j->command, "answer", viewer_text_of(answer),
        "answer_id", (int)i->answer, "against",
        i->against < 0 ? json_null() : viewer_text_of(against), "against_id",
        i->against < 0 ? json_null() : json_integer(i->against), "centred", j->trace->centred,
        "value", i->value, "model_value", i->model_value, "probability", i->probability,
        "shared_tokens", (json_int_t)i->shared, "attention", groups[j->trace->by], "all_nodes",
        (json_int_t)i->all_nodes, "node_share", i->node_share, "unfollowed", i->unfollowed,
        "node_threshold", j->trace->node_threshold, "edge_threshold", j->trace->edge_threshold,
        "sum_error", i->sum_error, "neuron_error", i->neuron_error, "value_error", i->value_error,
        "direct", viewer_kinds(i->direct), "leaves", viewer_kinds(i->leaves));
}

sg_status sg_trace_json(const sg_trace *trace, const sg_tokenizer *tokenizer, const char *slug,
                        const char *model, const char *command, char **text, sg_error *err)
{
    const viewer j = {trace, tokenizer, slug, model, command};
    sg_json_setup();
    json_t *root = json_pack(
        "{s:{s:s, s:s, s:[], s:o, s:o, s:f, s:i, s:o}, s:{s:[], s:[], s:s, s:s, s:s}, s:o, s:o}",
        "metadata", "slug", slug, "scan", model, "transcoder_list", "prompt_tokens",
        viewer_tokens(&j), "prompt", viewer_prompt(&j), "node_threshold", trace->node_threshold,
        "schema_version", 1, "sgatlin", viewer_summary(&j), "qParams", "pinnedIds", "supernodes",
        "linkType", "both", "clickedId", "", "sg_pos", "", "nodes", viewer_nodes(&j), "links",
        viewer_links(&j));
    sg_status status = root == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a graph")
                                    : sg_json_text(root, false, text, err);
    json_decref(root);
    return status;
}

sg_status sg_trace_save(const sg_trace *trace, const sg_tokenizer *tokenizer, const char *slug,
                        const char *model, const char *command, const char *path, bool force,
                        sg_error *err)
{
    char *text;
    sg_writer *writer;
    SG_TRY(sg_trace_json(trace, tokenizer, slug, model, command, &text, err));
    sg_status status =
        sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &writer, err);
    if (status == SG_OK) {
        sg_writer_put(writer, text, strlen(text));
        sg_writer_put(writer, "\n", 1);
        status = sg_writer_replace(writer, err);
    }
    sg_free(text);
    return status;
}
