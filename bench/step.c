// One training step of a preset, operation by operation: seconds forward and backward, and the share
// of the machine's GEMM rate. step PRESET BATCH [THREADS] [STEPS]. Each operation's time is the
// least of all steps, as other work on a machine only adds to it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/rng.h"
#include "model/graph.h"
#include "model/model.h"
#include "train/optimizer.h"

typedef struct line {
    const char *name;
    double forward, backward, flops;
    int count;
} line;

static int line_slower(const void *a, const void *b)
{
    const line *x = a, *y = b;
    double d = y->forward + y->backward - x->forward - x->backward;
    return d > 0 ? 1 : d < 0 ? -1 : 0;
}

static void report(const sg_tape *tape, const double *seconds, double peak, double step)
{
    line lines[64] = {0};
    int n = 0;
    for (int i = 0; i < sg_tape_nodes(tape); i++) {
        const sg_node *node = sg_tape_node_at(tape, i);
        int at = 0;
        while (at < n && strcmp(lines[at].name, node->op->name) != 0)
            at++;
        if (at == n) lines[n++].name = node->op->name;
        lines[at].forward += seconds[2 * i];
        lines[at].backward += seconds[2 * i + 1];
        lines[at].flops += node->op->flops ? node->op->flops(node) : 0;
        lines[at].count++;
    }
    qsort(lines, (size_t)n, sizeof *lines, line_slower);
    printf("%-16s %5s %10s %10s %6s %9s\n", "operation", "nodes", "forward ms", "backward", "share",
           "GEMM peak");
    for (int i = 0; i < n; i++) {
        double both = lines[i].forward + lines[i].backward;
        printf("%-16s %5d %10.2f %10.2f %5.1f%% %8.1f%%\n", lines[i].name, lines[i].count,
               1e3 * lines[i].forward, 1e3 * lines[i].backward, 100 * both / step,
               100 * 3 * lines[i].flops / both / peak);
    }
}

int main(int argc, char **argv)
{
    sg_error err = {0};
    sg_preset preset;
    sg_context_options options = sg_context_options_default();
    const char *name = argc > 1 ? argv[1] : "tinystories-sgatlin";
    int64_t batch = argc > 2 ? atoll(argv[2]) : 8;
    options.threads = argc > 3 ? atoi(argv[3]) : 0;
    int steps = argc > 4 ? atoi(argv[4]) : 3;
    sg_context *context;
    sg_model *model;
    if (sg_context_new(&options, &context, &err) != SG_OK ||
        sg_preset_find(name, &preset, &err) != SG_OK ||
        sg_model_new(context, &preset.config, 1, &model, &err) != SG_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    double gemm, stream;
    sg_measure_machine(context, &gemm, &stream, &err);
    size_t n = model->params.count;
    sg_real **grads = sg_alloc_array(n, sizeof *grads);
    for (size_t i = 0; i < n; i++)
        grads[i] = sg_alloc_big((size_t)model->params.specs[i].count * sizeof(sg_real));
    sg_graph_options graph_options = {
        .batch = batch, .length = preset.seq_len, .gradient = true, .threads = context->threads};
    sg_graph *graph;
    sg_optimizer *optimizer;
    sg_optimizer_options adamw = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 2};
    if (sg_graph_new(&model->config, &model->params, model->values, grads, &model->rope,
                     &graph_options, &graph, &err) != SG_OK ||
        sg_optimizer_new(&model->params, model->values, grads, &adamw, &optimizer, &err) != SG_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int64_t rows = batch * preset.seq_len;
    int32_t *ids = sg_alloc_array((size_t)rows, sizeof *ids);
    for (int64_t i = 0; i < rows; i++) // a skewed law, as words have
        ids[i] =
            (int32_t)(pow(sg_rng_uniform(1, 1, (uint64_t)i), 3) * (double)model->config.vocab_size);
    graph->ids->data = graph->targets->data = ids;
    graph->stats.normaliser = (double)rows;
    size_t times = 2 * (size_t)sg_tape_nodes(graph->tape);
    double *now = sg_alloc_array(times, sizeof *now), *seconds = sg_alloc_array(times, sizeof *now);
    double passes = INFINITY, update = INFINITY;
    for (size_t i = 0; i < times; i++)
        seconds[i] = INFINITY;
    for (int s = -1; s < steps; s++) { // the first warms up
        sg_run run = {.pool = context->pool, .kernels = sg_kernels_get(), .seconds = now};
        memset(now, 0, times * sizeof *now);
        double start = sg_clock_seconds();
        sg_tape_forward(graph->tape, &run);
        sg_tape_backward(graph->tape, &run);
        double middle = sg_clock_seconds();
        sg_optimizer_apply(optimizer, context->pool, 1e-3,
                           sg_optimizer_norm(optimizer, context->pool));
        if (s < 0) continue;
        passes = fmin(passes, middle - start);
        update = fmin(update, sg_clock_seconds() - middle);
        for (size_t i = 0; i < times; i++)
            seconds[i] = fmin(seconds[i], now[i]);
    }
    double step = passes + update, flops = 3 * sg_tape_flops(graph->tape, NULL);
    printf("%s, %lld x %lld tokens, %d threads, kernel %s: GEMM %.1f GFLOP/s, stream %.1f GB/s\n",
           name, (long long)batch, (long long)preset.seq_len, context->threads, context->kernel,
           gemm, stream);
    report(graph->tape, seconds, gemm * 1e9, step);
    printf("step %.1f ms (optimiser %.1f), %.0f tokens/s, %.1f GFLOP/s = %.1f%% of GEMM peak "
           "(full attention square), activations %.0f MB\n",
           1e3 * step, 1e3 * update, (double)rows / step, 1e-9 * flops / step,
           100 * 1e-9 * flops / step / gemm, 1e-6 * (double)sg_tape_bytes(graph->tape));
    return 0;
}
