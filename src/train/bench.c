// What all measurements share: when a figure has been repeated often enough, the work and bytes it
// is held against, and where its time went. Timing lives here and is only reported; nothing depends
// on it.
#include "train/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sgatlin_bench.h"

enum { bench_lines = 64 };

static const double bench_look_seconds = 0.25; // of measuring between two looks at the machine

// ---- repeats ----------------------------------------------------------------------------------

bool sg_bench_more(const sg_bench_run *b, sg_bench_timer *timer)
{
    bool more = timer->count < b->options->repeats ||
                (timer->total < b->options->seconds && timer->count < SG_BENCH_REPEATS);
    bool due = timer->looks == 0 || timer->total > timer->looked + bench_look_seconds;
    if (b->measure != NULL && due) {
        int64_t at = timer->looks++;
        timer->looked = timer->total;
        sg_measure_run(b->measure, timer->kinds, &timer->limits[at]);
    }
    return more;
}

void sg_bench_add(sg_bench_timer *timer, double seconds)
{
    timer->samples[timer->count++] = seconds;
    timer->total += seconds;
}

static int sample_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts them.
static double sample_median(double *samples, int64_t count)
{
    qsort(samples, (size_t)count, sizeof *samples, sample_order);
    return (samples[(count - 1) / 2] + samples[count / 2]) / 2;
}

// ---- limits -----------------------------------------------------------------------------------

static double bench_products(sg_bench_timer *timer, sg_compute_kind kind)
{
    for (int64_t i = 0; i < timer->looks; i++)
        timer->sorted[i] = timer->limits[i].gflops[kind];
    return sample_median(timer->sorted, timer->looks);
}

// Of what was measured around a figure, or given. Where two kinds are in use, the rate of products
// is that at which all work is done when each part of it is done at its own.
static void bench_limits(const sg_bench_run *b, const sg_bench_figure *f, sg_bench_timer *timer,
                         double *gemm, double *stream)
{
    const sg_bench_options *o = b->options;
    const double share = f->flops > 0 ? f->logits_flops / f->flops : 0;
    *gemm = o->gemm_gflops;
    *stream = o->stream_gbs;
    if (b->measure == NULL) return;
    const double body = bench_products(timer, f->compute);
    const double logits = bench_products(timer, f->logits_compute);
    *gemm = 1 / ((1 - share) / body + share / logits);
    for (int64_t i = 0; i < timer->looks; i++)
        timer->sorted[i] = timer->limits[i].stream_gbs;
    *stream = sample_median(timer->sorted, timer->looks);
}

// ---- bytes --------------------------------------------------------------------------------------

// Where anything is narrow, memories are: what is idle lies in them.
sg_bench_bytes sg_bench_weight_bytes(const sg_param_list *params, const sg_narrow_set *narrow,
                                     int64_t idle)
{
    const double wide = sizeof(sg_real);
    double total = (double)params->total, used = total - (double)idle, all_copies = 0;
    for (size_t i = 0; i < params->count; i++)
        if (sg_narrow_has(narrow, i)) all_copies += (double)sg_narrow_bytes(narrow, params, i);
    // As many bytes for each weight in use as for all.
    double copied = narrow->elements > 0 ? (double)(narrow->elements - idle) : 0;
    double copies = copied > 0 ? copied / (double)narrow->elements * all_copies : 0;
    return (sg_bench_bytes){
        .read = (used - copied) * wide + copies, .gradients = used * wide, .copies = copies};
}

// ---- reporting ----------------------------------------------------------------------------------

static int line_slower(const void *a, const void *b)
{
    const sg_bench_line *x = a, *y = b;
    double d = y->forward_seconds + y->backward_seconds - x->forward_seconds - x->backward_seconds;
    return (d > 0) - (d < 0);
}

static size_t bench_profile(const sg_bench_figure *f, double repeats, bool backward,
                            sg_bench_line lines[bench_lines])
{
    size_t n = 0;
    double all = 0;
    for (int i = 0; f->tape != NULL && i < sg_tape_nodes(f->tape); i++) {
        const sg_node *node = sg_tape_node_at(f->tape, i);
        if (f->skip != NULL && strcmp(node->op->name, f->skip) == 0) continue;
        if (sg_is_observation(node)) continue; // who watches is not measured
        size_t at = 0;
        while (at < n && strcmp(lines[at].operation, node->op->name) != 0)
            at++;
        if (at == bench_lines) continue; // there are not that many operations
        if (at == n) lines[n++] = (sg_bench_line){.operation = node->op->name};
        lines[at].nodes++;
        lines[at].forward_seconds += f->seconds[2 * i] / repeats;
        lines[at].backward_seconds += f->seconds[2 * i + 1] / repeats;
        lines[at].flops += (backward ? 3 : 1) * (node->op->flops ? node->op->flops(node) : 0);
    }
    if (f->optimizer >= 0 && n < bench_lines)
        lines[n++] = (sg_bench_line){
            .operation = "optimizer", .nodes = 1, .forward_seconds = f->optimizer / repeats};
    qsort(lines, n, sizeof *lines, line_slower);
    for (size_t i = 0; i < n; i++)
        all += lines[i].forward_seconds + lines[i].backward_seconds;
    for (size_t i = 0; i < n && all > 0; i++)
        lines[i].share = (lines[i].forward_seconds + lines[i].backward_seconds) / all;
    return n;
}

// ---- routers ------------------------------------------------------------------------------------

static bool bench_reads(const sg_node *node, const char *part)
{
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] != NULL && node->in[i]->name != NULL &&
            strstr(node->in[i]->name, part) != NULL)
            return true;
    return false;
}

static bool bench_follows(const sg_node *node, const sg_node *before)
{
    for (int i = 0; i < node->n_in; i++)
        for (int j = 0; node->in[i] != NULL && j < before->n_out; j++)
            if (node->in[i] == before->out[j]) return true;
    return false;
}

// What reads a router's parameters, and all that follows from it until a memory is read.
static bool bench_is_router(const sg_tape *tape, const bool *routers, int at)
{
    const sg_node *node = sg_tape_node_at(tape, at);
    if (bench_reads(node, ".experts.")) return false;
    bool found = bench_reads(node, ".router.");
    for (int i = at - 1; i >= 0 && !found; i--)
        found = routers[i] && bench_follows(node, sg_tape_node_at(tape, i));
    return found;
}

// Seconds of all repeats.
static sg_status bench_router_seconds(const sg_bench_figure *f, double *seconds, sg_error *err)
{
    const int n = f->tape != NULL ? sg_tape_nodes(f->tape) : 0;
    *seconds = 0;
    if (n == 0) return SG_OK;
    bool *routers = sg_alloc_zero((size_t)n, sizeof *routers);
    if (routers == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the %d operations of a pass", n);
    for (int i = 0; i < n; i++) {
        routers[i] = bench_is_router(f->tape, routers, i);
        if (routers[i] && !sg_is_observation(sg_tape_node_at(f->tape, i)))
            *seconds += f->seconds[2 * i];
    }
    sg_free(routers);
    return SG_OK;
}

static double bench_router_share(const sg_config *config)
{
    double router = 0, all = 0;
    for (int64_t l = 0; l < config->num_hidden_layers; l++) {
        sg_config own;
        if (!sg_ffn_is_sparse(config, l)) continue;
        const sg_config *c = sg_ffn_layer_config(config, l, &own);
        const sg_memory_shape m = sg_ffn_memory_at(config, l);
        const sg_memory_count count = sg_ffn_memory_of(c)->count(sg_family_find(c->ffn), c);
        router += sg_ffn_counts(config, l).router_flops;
        all += (double)(m.pools * m.blocks) * count.block_flops;
    }
    return all > 0 ? router / all : 0;
}

// The order in which the memories of a tape were read; see sg_bench_result.
static const char *bench_memory_order(const sg_tape *tape)
{
    if (tape == NULL) return NULL;
    const sg_memory_orders orders = sg_memory_orders_of(tape);
    if (orders.by_table + orders.by_row == 0) return orders.dense > 0 ? "dense" : NULL;
    return orders.dense > 0       ? "mixed"
           : orders.by_row == 0   ? "tables"
           : orders.by_table == 0 ? "rows"
                                  : "mixed";
}

sg_status sg_bench_report(const sg_bench_run *b, const sg_bench_figure *f, sg_bench_timer *timer,
                          sg_error *err)
{
    sg_bench_line lines[bench_lines];
    int64_t per_sample = f->per_sample > 0 ? f->per_sample : 1;
    bool backward =
        strcmp(f->name, "train_step") == 0 || strcmp(f->name, "layer_forward_backward") == 0;
    double middle = sample_median(timer->samples, timer->count);
    double gemm, stream;
    bench_limits(b, f, timer, &gemm, &stream);
    double compute = 1e-9 * f->flops / gemm, move = 1e-9 * f->bytes / stream, routers;
    SG_TRY(bench_router_seconds(f, &routers, err));
    sg_bench_result r = {
        .name = f->name,
        .family = sg_family_find(b->config.ffn)->name,
        .dtype = sizeof(sg_real) == sizeof(float) ? sg_weights_name(f->dtype) : "f64",
        .compute = f->compute,
        .logits_compute = f->logits_compute,
        .tokens = f->tokens,
        .repeats = timer->count * per_sample,
        .seconds = middle / (double)per_sample,
        .fastest = timer->samples[0] / (double)per_sample,
        .flops_published = f->flops_published,
        .flops = f->flops,
        .bytes = f->bytes,
        .gemm_gflops = gemm,
        .stream_gbs = stream,
        .limit = compute >= move ? "gemm" : "stream",
        .peak_bytes = f->peak_bytes,
        .reuse = f->reuse,
        .memory_order = bench_memory_order(f->tape),
        .router_share = bench_router_share(&b->config),
        .router_seconds = routers / (double)(timer->count * per_sample),
        .optimizer_rows = f->optimizer_rows,
        .lines = lines,
    };
    r.tokens_per_second = (double)r.tokens / r.seconds;
    r.limit_fraction = fmax(compute, move) / r.seconds;
    r.line_count = bench_profile(f, (double)r.repeats, backward, lines);
    if (b->result(b->user, &r)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after %s", f->name);
}
