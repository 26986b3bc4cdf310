// sgatlin probe trace: what the logit of an answer is made of.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"
#include "sgatlin_trace.h"

static struct {
    const char *model, *prompt, *answer, *against, *attention, *out, *tokenizer;
    bool centred, prompt_tokens, force;
    double threshold, edge_threshold;
    int64_t max_nodes, top;
} trace = {
    .attention = "pair", .threshold = 0.8, .edge_threshold = 0.98, .max_nodes = 400, .top = 20};

static const cli_option trace_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &trace.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "prompt",
     .kind = CLI_STRING,
     .value = &trace.prompt,
     .argument = "TEXT",
     .help = "what the model reads, begun as generate begins it",
     .required = true},
    {.name = "answer",
     .kind = CLI_STRING,
     .value = &trace.answer,
     .argument = "TEXT",
     .shown = "the likeliest token",
     .help = "what follows it, with its space: the logit of its first token is traced"},
    {.name = "against",
     .kind = CLI_STRING,
     .value = &trace.against,
     .argument = "TEXT",
     .shown = "",
     .help = "trace the difference to the logit of this one; tokens that both begin with are read "
             "behind the prompt"},
    {.name = "centred",
     .kind = CLI_FLAG,
     .value = &trace.centred,
     .help = "without --against: trace the difference to the mean of all logits"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &trace.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "", .kind = CLI_HEADING, .help = "The graph"},
    {.name = "attention",
     .kind = CLI_STRING,
     .value = &trace.attention,
     .argument = "BY",
     .help = "nodes of attention: each pair of query and source position, each head of those, or "
             "each source",
     .choices = "pair|head|source"},
    {.name = "threshold",
     .kind = CLI_DOUBLE,
     .value = &trace.threshold,
     .argument = "SHARE",
     .help = "keep the nodes that carry this share of the influence; what is left out becomes "
             "edges of nodes \"pruned\"",
     .low = 1e-9,
     .high = 1},
    {.name = "edge-threshold",
     .kind = CLI_DOUBLE,
     .value = &trace.edge_threshold,
     .argument = "SHARE",
     .help = "of their edges those that carry this share",
     .low = 1e-9,
     .high = 1},
    {.name = "max-nodes",
     .kind = CLI_COUNT,
     .value = &trace.max_nodes,
     .argument = "N",
     .help = "at most so many nodes besides the embeddings",
     .low = 1,
     .high = 1e6},
    {.name = "", .kind = CLI_HEADING, .help = "What is shown"},
    {.name = "top",
     .kind = CLI_COUNT,
     .value = &trace.top,
     .argument = "N",
     .help = "print the N nodes of most influence",
     .low = 0,
     .high = 1e6},
    {.name = "prompt-tokens",
     .kind = CLI_FLAG,
     .value = &trace.prompt_tokens,
     .help = "print the tokens that were read, and what the embedding of each contributes"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &trace.out,
     .argument = "FILE",
     .shown = "",
     .help =
         "write the graph as JSON, as the viewer of circuit-tracer reads it (--json prints it)"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &trace.force,
     .help = "replace a file that is there"},
    {0},
};

typedef struct trace_talk {
    const cli_args *args;
    cli_progress bar;
} trace_talk;

static bool trace_progress(void *user, int64_t done, int64_t total)
{
    trace_talk *talk = user;
    cli_progress_update(&talk->bar, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// ---- words --------------------------------------------------------------------------------------

// A token in quotes, line ends spelt out; cut where it is long.
static void trace_token(const sg_tokenizer *tokenizer, int32_t id, char *text, size_t capacity)
{
    const sg_decode_options options = {0};
    char *decoded;
    size_t bytes, used = 0;
    if (sg_tokenizer_decode(tokenizer, &id, 1, &options, &decoded, &bytes, NULL) != SG_OK) {
        snprintf(text, capacity, "#%d", id);
        return;
    }
    // What begins a word in the SentencePiece style keeps the space that it loses as the first.
    const char *spelling = sg_tokenizer_token_text(tokenizer, id);
    text[used++] = '"';
    if (spelling != NULL && (*spelling == ' ' || strncmp(spelling, "\u2581", 3) == 0) &&
        *decoded != ' ')
        text[used++] = ' ';
    for (size_t i = 0; i < bytes && used + 8 < capacity; i++) {
        const char c = decoded[i];
        // Whole characters: one of several bytes needs room for all.
        if (((unsigned char)c & 0xC0) == 0xC0 && used + 12 >= capacity) break;
        if (c == '\n') text[used++] = '\\';
        text[used++] = c == '\n' ? 'n' : c;
    }
    text[used++] = '"';
    text[used] = '\0';
    sg_buffer_free(decoded);
}

static void trace_node_name(const sg_trace_node *n, char *text, size_t capacity)
{
    const long long l = n->layer;
    switch (n->kind) {
    case SG_TRACE_NEURON:
        snprintf(text, capacity, "layer %lld neuron %lld:%lld", l, (long long)n->channel,
                 (long long)n->neuron);
        break;
    case SG_TRACE_ATTENTION:
        if (n->head >= 0)
            snprintf(text, capacity, "layer %lld head %lld from %lld", l, (long long)n->head,
                     (long long)n->source);
        else
            snprintf(text, capacity, "layer %lld attention from %lld", l, (long long)n->source);
        break;
    case SG_TRACE_EMBEDDING:
    case SG_TRACE_POSITION:
        snprintf(text, capacity, "%s", sg_trace_kind_name(n->kind));
        break;
    default:
        snprintf(text, capacity, "layer %lld %s", l, sg_trace_kind_name(n->kind));
    }
}

// ---- tables -------------------------------------------------------------------------------------

static void trace_print_kinds(const char *label, const double *values)
{
    double sum = 0;
    printf("%-10s", label);
    for (int k = 0; k < SG_TRACE_KINDS; k++) {
        sum += values[k];
        if (values[k] != 0)
            printf(" %s %+.4f", sg_trace_kind_name((sg_trace_kind)k),
                   cli_unsigned_zero(values[k], 4));
    }
    printf(" = %.4f\n", cli_unsigned_zero(sum, 4));
}

static void trace_print_head(const sg_trace_info *info, const sg_tokenizer *tokenizer)
{
    char answer[48], against[48];
    trace_token(tokenizer, info->answer, answer, sizeof answer);
    printf("prompt     %lld tokens", (long long)info->tokens);
    if (info->shared > 0) printf(", the last %lld of both answers", (long long)info->shared);
    printf("\nanswer     %s, probability %.4f", answer, info->probability);
    if (info->against >= 0) {
        trace_token(tokenizer, info->against, against, sizeof against);
        printf("; against %s, %.4f", against, info->against_probability);
    }
    printf("\n%-10s %.4f; the model says %.4f\n",
           info->against >= 0 ? "difference"
           : trace.centred    ? "centred"
                              : "logit",
           cli_unsigned_zero(info->value, 4), cli_unsigned_zero(info->model_value, 4));
    trace_print_kinds("directly", info->direct);
    trace_print_kinds("in the end", info->leaves);
    printf("check      edges sum to values within %.1e; values are the model's within %.1e "
           "(neurons), %.1e (answer)\n",
           info->sum_error, info->neuron_error, info->value_error);
}

static void trace_print_tokens(const sg_trace *t, const sg_tokenizer *tokenizer)
{
    size_t count;
    const sg_trace_node *nodes = sg_trace_nodes(t, &count);
    char token[48];
    printf("\n%8s  %-20s %12s\n", "position", "token", "contributes");
    for (size_t i = 0; i < count && nodes[i].kind == SG_TRACE_EMBEDDING; i++) {
        trace_token(tokenizer, nodes[i].token, token, sizeof token);
        printf("%8lld  %-20s %+12.4f\n", (long long)nodes[i].position, token,
               cli_unsigned_zero(nodes[i].contribution, 4));
    }
}

static const sg_trace_node *trace_sorted; // one command runs in a process

static int trace_compare(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const double p = trace_sorted[x].influence, q = trace_sorted[y].influence;
    return p != q ? (p < q ? 1 : -1) : (x < y ? -1 : x > y);
}

static void trace_print_node(const sg_trace *t, const sg_tokenizer *tokenizer,
                             const sg_trace_node *n)
{
    size_t count;
    const int32_t *ids = sg_trace_tokens(t, &count);
    const int64_t at = n->position >= 0 ? n->position : n->source;
    char token[24], name[64], writes[48];
    trace_token(tokenizer, ids[at], token, sizeof token);
    trace_node_name(n, name, sizeof name);
    printf("%8lld  %-16s %-28s %9.2f%% %+11.4f %+11.4f", (long long)at, token, name,
           100 * n->influence, cli_unsigned_zero(n->contribution, 4),
           cli_unsigned_zero(n->direct, 4));
    if (n->kind == SG_TRACE_NEURON) printf(" %+11.4f ", cli_unsigned_zero(n->value, 4));
    for (int i = 0; n->kind == SG_TRACE_NEURON && i < SG_TRACE_WRITES; i++) {
        if (n->writes[i] < 0) break;
        trace_token(tokenizer, n->writes[i], writes, sizeof writes);
        printf(" %s", writes);
    }
    printf("\n");
}

// Nodes of a kind of their own: those of what was left out are not counted.
static size_t trace_shown(size_t count)
{
    size_t shown = 0;
    for (size_t i = 0; i < count; i++)
        shown += trace_sorted[i].kind != SG_TRACE_PRUNED;
    return shown;
}

static double trace_left_out(size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if (trace_sorted[i].kind == SG_TRACE_PRUNED) sum += trace_sorted[i].direct;
    return sum;
}

static bool trace_print_nodes(const sg_trace *t, const sg_tokenizer *tokenizer)
{
    size_t count, edges;
    trace_sorted = sg_trace_nodes(t, &count);
    sg_trace_edges(t, &edges);
    size_t *order = malloc((count + 1) * sizeof *order);
    if (order == NULL) return false;
    for (size_t i = 0; i < count; i++)
        order[i] = i;
    qsort(order, count - 1, sizeof *order, trace_compare); // the logit is the last
    const sg_trace_info *info = sg_trace_get_info(t);
    printf("graph      %zu nodes of %lld, with %.1f%% of the influence, %zu edges; left out of the "
           "answer's own: %+.4f\n",
           trace_shown(count), (long long)info->all_nodes, 100 * info->node_share, edges,
           cli_unsigned_zero(trace_left_out(count), 4));
    if (info->unfollowed > 0.1)
        printf("           %.1f%% of the influence was not followed to its sources: it is spread "
               "over many\n",
               100 * info->unfollowed);
    if (trace.prompt_tokens) trace_print_tokens(t, tokenizer);
    if (trace.top > 0)
        printf("\n%8s  %-16s %-28s %10s %11s %11s %11s  %s\n", "position", "token", "node",
               "influence", "contributes", "directly", "value", "writes");
    int64_t printed = 0;
    for (size_t i = 0; i + 1 < count && printed < trace.top; i++) {
        if (trace_sorted[order[i]].kind == SG_TRACE_PRUNED) continue;
        trace_print_node(t, tokenizer, &trace_sorted[order[i]]);
        printed++;
    }
    free(order);
    return true;
}

static int trace_report(const cli_args *args, const sg_trace *t, const sg_tokenizer *tokenizer)
{
    if (!args->json) {
        trace_print_head(sg_trace_get_info(t), tokenizer);
        if (trace_print_nodes(t, tokenizer)) return CLI_DONE;
        return cli_fail(args, SG_ERR_MEMORY, &(sg_error){.message = "out of memory for a table"});
    }
    char *text, *command = cli_command_line(args);
    sg_error err = {0};
    sg_status status = sg_trace_json(t, tokenizer, "trace", trace.model, command, &text, &err);
    free(command);
    if (status != SG_OK) return cli_fail(args, status, &err);
    printf("%s\n", text);
    sg_buffer_free(text);
    return CLI_DONE;
}

// ---- the command --------------------------------------------------------------------------------

static sg_status trace_save(const cli_args *args, const sg_trace *t, const sg_tokenizer *tokenizer,
                            sg_error *err)
{
    char slug[128], *command = cli_command_line(args);
    const char *name = strrchr(trace.out, '/') ? strrchr(trace.out, '/') + 1 : trace.out;
    const size_t bytes = strcspn(name, ".");
    snprintf(slug, sizeof slug, "%.*s", bytes > 0 ? (int)bytes : 5, bytes > 0 ? name : "trace");
    sg_status status =
        sg_trace_save(t, tokenizer, slug, trace.model, command, trace.out, trace.force, err);
    free(command);
    if (status == SG_OK) cli_note(args, "the graph is in %s", trace.out);
    return status;
}

static sg_status trace_make(const cli_args *args, sg_model *model, const sg_tokenizer *tokenizer,
                            sg_trace **out, sg_error *err)
{
    trace_talk talk = {.args = args};
    sg_trace_options o = sg_trace_options_default();
    o.prompt = trace.prompt;
    o.prompt_bytes = strlen(trace.prompt);
    o.tokenizer = tokenizer;
    o.answer = trace.answer;
    o.against = trace.against;
    o.centred = trace.centred;
    o.attention = strcmp(trace.attention, "head") == 0     ? SG_TRACE_BY_HEAD
                  : strcmp(trace.attention, "source") == 0 ? SG_TRACE_BY_SOURCE
                                                           : SG_TRACE_BY_PAIR;
    o.node_threshold = trace.threshold;
    o.edge_threshold = trace.edge_threshold;
    o.max_nodes = trace.max_nodes;
    o.progress = trace_progress;
    o.user = &talk;
    cli_progress_begin(&talk.bar, args, "trace", "layers");
    sg_status status = sg_trace_new(model, &o, out, err);
    cli_progress_end(&talk.bar);
    return status;
}

static int trace_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_trace *made = NULL;
    char folder[CLI_PATH];
    if (trace.centred && trace.against != NULL)
        return cli_wrong(args, "--centred: goes without --against only");
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, trace.model, "stored", &model, folder, &err);
    if (status == SG_OK) status = cli_tokenizer_open(trace.tokenizer, folder, &tokenizer, &err);
    if (status == SG_OK) status = trace_make(args, model, tokenizer, &made, &err);
    if (status == SG_OK && trace.out != NULL) status = trace_save(args, made, tokenizer, &err);
    const int code =
        status == SG_OK ? trace_report(args, made, tokenizer) : cli_fail(args, status, &err);
    sg_trace_free(made);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_probe_trace = {
    .name = "probe trace",
    .summary = "show what the logit of an answer is made of",
    .usage = "--model DIR --prompt TEXT [--answer TEXT [--against TEXT]] [options]",
    .about =
        "With gates, attention weights and norms held fixed as they are behind this prompt, every "
        "neuron, every output of attention and the logit are sums of what came before: embeddings, "
        "attention from source positions, neurons. In a sgatlin model that is exact. Where neurons "
        "have an activation, an edge is the share of its tangent, and nodes \"remainder\" have "
        "what that leaves; nodes \"constant\" are biases. So edges always sum to values, and "
        "contributions to the logit.\n"
        "\n"
        "influence: the share of the logit that reaches a node on all paths, in absolute value; "
        "contributes: what it gives, all in all; directly: of which by an edge to the logit; value "
        "and writes: what multiplies the neuron's row of w_out, and the tokens whose logits this "
        "raises most. Frozen is not free: what a change of the prompt does to gates and attention "
        "weights is no part of it (probe patch shows that).",
    .options = trace_options,
    .example = "sgatlin probe trace --model run --prompt 'The cat sat on the' --answer ' mat'\n"
               "sgatlin probe trace --model run --prompt 'The lake was' --out graph.json",
    .run = trace_run,
};
