// What it costs that shapes change: prompts of mixed lengths, batches whose count changes, and
// recording the graph of a deep model:
//   build/bench/bench_shapes [prompts] [scores] [batches] [server] [record]
// Without an argument all are run. Times are of the processor, one thread, the fastest of some
// repetitions, so that they can be compared on a machine that does other work too.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/config.h"
#include "model/graph.h"
#include "sgatlin.h"
#include "timing.h"

enum { prompts = 60, longest = 300, most = 16, passes = 200, answer = 8, repeats = 5 };

// The i-th of some numbers from 1 to `limit`, the same in every run.
static int64_t length_of(int64_t i, int64_t limit)
{
    return 1 + (int64_t)(sg_rng_uniform(5, 1, (uint64_t)i) * (double)limit);
}

static sg_config shape_config(const char *name)
{
    sg_preset preset;
    sg_error err = {0};
    must(sg_preset_find(name, &preset, &err), &err);
    preset.config.vocab_size = 4096;
    return preset.config;
}

typedef struct shapes {
    sg_model *model;
    sg_session *sessions[most];
    sg_batch *batch;
    int32_t tokens[longest], targets[longest];
    double nll[longest];
    bool likeliest[longest];
} shapes;

static int64_t run_prompts(shapes *s)
{
    sg_error err = {0};
    const float *logits;
    int64_t tokens = 0;
    for (int64_t i = 0; i < prompts; i++) {
        int64_t n = length_of(i, longest);
        must(sg_session_rewind(s->sessions[0], 0, &err), &err);
        must(sg_session_feed(s->sessions[0], s->tokens, n, &logits, &err), &err);
        tokens += n;
    }
    return tokens;
}

static int64_t run_scores(shapes *s)
{
    sg_error err = {0};
    int64_t tokens = 0;
    for (int64_t i = 0; i < prompts; i++) {
        int64_t n = length_of(i, longest / 10);
        must(sg_session_rewind(s->sessions[0], 0, &err), &err);
        must(sg_session_score(s->sessions[0], s->tokens, s->targets, n, s->nll, s->likeliest, &err),
             &err);
        tokens += n;
    }
    return tokens;
}

static int64_t run_batches(shapes *s)
{
    sg_error err = {0};
    const float *logits;
    int64_t tokens = 0;
    for (int i = 0; i < most; i++)
        must(sg_session_rewind(s->sessions[i], 0, &err), &err);
    for (int64_t i = 0; i < passes; i++) {
        int64_t n = length_of(i, most);
        must(sg_batch_feed(s->batch, s->sessions, s->tokens, n, &logits, &err), &err);
        tokens += n;
    }
    return tokens;
}

// A session a request: a short prompt, a short answer.
static int64_t run_server(shapes *s)
{
    sg_error err = {0};
    const float *logits;
    sg_session *session;
    int64_t tokens = 0;
    for (int64_t i = 0; i < prompts; i++) {
        int64_t n = length_of(i, longest / 10);
        must(sg_session_new(s->model, n + answer, &session, &err), &err);
        must(sg_session_feed(session, s->tokens, n, &logits, &err), &err);
        for (int64_t t = 0; t < answer; t++)
            must(sg_session_feed(session, s->tokens + t, 1, &logits, &err), &err);
        sg_session_free(session);
        tokens += n + answer;
    }
    return tokens;
}

static void measure(shapes *s, const char *name, int64_t (*run)(shapes *s))
{
    double best = 1e30;
    int64_t tokens = run(s);
    for (int r = 0; r < repeats; r++) {
        double start = seconds();
        run(s);
        double took = seconds() - start;
        if (took < best) best = took;
    }
    printf("%-10s %8.1f us a token, %6lld tokens\n", name, 1e6 * best / (double)tokens,
           (long long)tokens);
}

static void measure_sessions(sg_context *context, bool (*wanted)(const char *name))
{
    sg_config config = shape_config("tinystories-sgatlin");
    shapes *s = calloc(1, sizeof *s);
    sg_error err = {0};
    if (s == NULL) exit(1);
    must(sg_model_new(context, &config, 1, &s->model, &err), &err);
    for (int i = 0; i < most; i++)
        must(sg_session_new(s->model, longest, &s->sessions[i], &err), &err);
    must(sg_batch_new(s->model, most, &s->batch, &err), &err);
    for (int i = 0; i < longest; i++)
        s->tokens[i] = s->targets[i] = (int32_t)(length_of(i, config.vocab_size) - 1);
    if (wanted("prompts")) measure(s, "prompts", run_prompts);
    if (wanted("scores")) measure(s, "scores", run_scores);
    if (wanted("batches")) measure(s, "batches", run_batches);
    if (wanted("server")) measure(s, "server", run_server);
    sg_batch_free(s->batch);
    for (int i = 0; i < most; i++)
        sg_session_free(s->sessions[i]);
    sg_model_free(s->model);
    free(s);
}

// Recording and planning alone, without memory for values.
static void measure_record(int64_t layers, bool gradient)
{
    sg_config config = shape_config("tinystories-sgatlin");
    config.num_hidden_layers = layers;
    sg_param_list params = {0};
    sg_error err = {0};
    must(sg_config_params(&config, &params, &err), &err);
    sg_rope_table rope = {.positions = 256, .half = sg_config_rotary_dim(&config) / 2};
    sg_graph_options options = {.batch = 1,
                                .length = 256,
                                .output = gradient ? SG_OUTPUT_LOSS : SG_OUTPUT_LAST,
                                .gradient = gradient,
                                .threads = 1};
    double best = 1e30;
    size_t bytes = 0;
    for (int r = 0; r < 3 * repeats; r++) {
        sg_graph *graph;
        double start = seconds();
        must(sg_graph_new(&config, &params, NULL, NULL, &rope, &options, &graph, &err), &err);
        double took = seconds() - start;
        if (took < best) best = took;
        bytes = sg_tape_bytes(graph->tape);
        sg_graph_free(graph);
    }
    printf("record %3lld layers%-16s %9.0f us, %11zu bytes\n", (long long)layers,
           gradient ? ", with gradient" : "", 1e6 * best, bytes);
    sg_param_list_free(&params);
}

static int argument_count;
static char **arguments;

static bool wanted(const char *name)
{
    for (int i = 1; i < argument_count; i++)
        if (strcmp(arguments[i], name) == 0) return true;
    return argument_count < 2;
}

int main(int argc, char **argv)
{
    argument_count = argc;
    arguments = argv;
    sg_context_options options = sg_context_options_default();
    options.threads = 1;
    sg_context *context;
    sg_error err = {0};
    must(sg_context_new(&options, &context, &err), &err);
    measure_sessions(context, wanted);
    static const int64_t layers[] = {4, 16, 64, 128};
    for (int i = 0; i < 8 && wanted("record"); i++)
        measure_record(layers[i / 2], i % 2 == 1);
    sg_context_free(context);
    return 0;
}
