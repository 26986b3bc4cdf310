// A memory of single neurons, forward and backward, both ways of reading it: in the rows of the
// selected neurons, and through dense products (ffn/dense.c).
//   build/bench/bench_memory [--kind f32|bf16x3|bf16] [--rows R] [--d D] [--tables f32|bf16]
//                            [--channels C] [--only rows|dense] [N k]...
// A pool for each channel, ids at random. Times are of the processor, one thread, the fastest of
// some rounds in which both ways take turns, so that they can be compared on a machine that does
// other work too.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "ffn/memory.h"
#include "kernel/products.h"
#include "timing.h"

enum { ways = 2, least_rounds = 3, most_rounds = 9 };
static const double most_seconds = 4; // of a case

static sg_real *numbers(int64_t count, const char *name)
{
    sg_real *x = sg_alloc_array((size_t)count, sizeof *x);
    if (x == NULL) exit(1);
    for (int64_t i = 0; i < count; i++)
        x[i] = (sg_real)sg_rng_normal(1, sg_rng_stream(name), (uint64_t)i);
    return x;
}

// Gives the gradient of its input, which is its other input.
static void given_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    sg_values(node->out[0])[0] = 0;
}

static void given_backward(const sg_run *run, const sg_node *node)
{
    bool add;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    memcpy(grad, sg_values(node->in[1]), (size_t)node->in[1]->count * sizeof *grad);
}

static const sg_op op_given = {
    .name = "given", .forward = given_forward, .backward = given_backward, .backward_reads_in = 2};

// Stands where the operation is that makes x, which has a form in bf16 then.
static void made_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0], *y = node->out[0];
    if (y->data != NULL) memcpy(y->data, x->data, (size_t)x->count * sizeof(sg_real));
    if (y->half != NULL) run->compute.kernels->to_bf16(y->half, sg_values(x), x->count);
}

static void made_backward(const sg_run *run, const sg_node *node)
{
    (void)run;
    (void)node;
}

static const sg_op op_made = {
    .name = "made", .forward = made_forward, .backward = made_backward, .writes_half = 1};

typedef struct memory_case {
    int64_t rows, channels, n, k, d;
    sg_memory_path only; // auto: both
    sg_compute_kind kind;
    sg_weights tables;
    sg_real *x, *dx, *scores, *dscores, *w[2], *dw[2], *dy;
    sg_stored narrow[2];
    int32_t *ids;
} memory_case;

static sg_tape *record(memory_case *c, sg_memory_path path)
{
    sg_tape *tape;
    sg_error err = {0};
    const int64_t x[] = {c->rows, c->d}, hits[] = {c->rows, c->channels * c->k};
    const int64_t table[] = {c->channels, c->n, c->d};
    must(sg_tape_new(&tape, &err), &err);
    sg_tape_compute(tape, c->kind, SG_COMPUTE_F32);
    sg_tape_set_memory_path(tape, path);
    sg_selection s = {.channels = c->channels, .k = c->k, .unit = 1};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, hits, c->ids, NULL, false);
    s.scores = sg_tape_leaf(tape, "scores", SG_KIND_REAL, 2, hits, c->scores, c->dscores, true);
    sg_tensor *in = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, x, c->x, c->dx, true), *w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = sg_tape_leaf(tape, "w", SG_KIND_REAL, 3, table, c->w[i], c->dw[i], true);
        if (c->tables != SG_WEIGHTS_F32) w[i]->narrow = &c->narrow[i];
    }
    sg_node *made = sg_tape_node(tape, &op_made, 1, &in);
    in = sg_node_output(tape, made, "x", SG_KIND_REAL, 2, x);
    sg_tensor *y = sg_memory_neurons(tape, in, &s, w[0], w[1], SG_ACT_IDENTITY, SG_GATE_BEFORE);
    sg_tensor *dy = sg_tape_leaf(tape, "dy", SG_KIND_REAL, 2, x, c->dy, NULL, false);
    sg_node *node = sg_tape_node(tape, &op_given, 2, (sg_tensor *[]){y, dy});
    sg_tape_add_loss(tape, sg_node_output(tape, node, "given", SG_KIND_REAL, 1, (int64_t[]){1}), 1);
    must(sg_tape_finish(tape, &(sg_tape_options){.gradient = true, .threads = 1}, &err), &err);
    must(sg_tape_allocate(tape, &err), &err);
    return tape;
}

static void measure(memory_case *c)
{
    sg_tape *tapes[ways];
    double forward[ways] = {1e9, 1e9}, both[ways] = {1e9, 1e9}, begin = seconds();
    for (int i = 0; i < ways; i++)
        tapes[i] = record(c, (sg_memory_path)(SG_MEMORY_PATH_ROWS + i));
    for (int r = 0; r < least_rounds || (r < most_rounds && seconds() - begin < most_seconds); r++)
        for (int i = 0; i < ways; i++) {
            if (c->only != SG_MEMORY_PATH_AUTO && (int)c->only != SG_MEMORY_PATH_ROWS + i) continue;
            sg_run run = {.compute.kernels = sg_kernels_fastest()};
            double start = seconds();
            sg_tape_forward(tapes[i], &run);
            double middle = seconds();
            sg_tape_backward(tapes[i], &run);
            double end = seconds();
            if (r == 0) continue; // pages and caches
            if (middle - start < forward[i]) forward[i] = middle - start;
            if (end - start < both[i]) both[i] = end - start;
        }
    const double us = 1e6 / (double)c->rows;
    printf("%8lld %6lld %12.2f %9.2f %14.2f %9.2f %10.2f\n", (long long)c->n, (long long)c->k,
           us * forward[0], us * forward[1], us * both[0], us * both[1], both[1] / both[0]);
    fflush(stdout);
    for (int i = 0; i < ways; i++)
        sg_tape_free(tapes[i]);
}

static void run_case(memory_case c)
{
    const sg_compute compute = {.kernels = sg_kernels_fastest()};
    const int64_t x = c.rows * c.d, hits = c.rows * c.channels * c.k;
    const int64_t table = c.channels * c.n * c.d;
    c.x = numbers(x, "x"), c.dx = numbers(x, "dx"), c.dy = numbers(x, "dy");
    c.scores = numbers(hits, "scores"), c.dscores = numbers(hits, "dscores");
    c.ids = sg_alloc_array((size_t)hits, sizeof *c.ids);
    if (c.ids == NULL) exit(1);
    for (int64_t i = 0; i < hits; i++)
        c.ids[i] =
            (int32_t)sg_rng_permute(3, (uint32_t)(i / c.k), (uint64_t)(i % c.k), (uint64_t)c.n);
    for (int i = 0; i < 2; i++) {
        c.w[i] = numbers(table, "w"), c.dw[i] = numbers(table, "dw");
        c.narrow[i] = (sg_stored){.type = c.tables};
        if (c.tables == SG_WEIGHTS_F32) continue;
        c.narrow[i].rows = sg_alloc_array((size_t)table, sizeof(sg_bf16));
        if (c.narrow[i].rows == NULL) exit(1);
        sg_stored_write(compute, &c.narrow[i], 0, c.channels * c.n, c.d, c.w[i]);
    }
    measure(&c);
    for (int i = 0; i < 2; i++) {
        sg_free(c.narrow[i].rows);
        sg_free(c.w[i]);
        sg_free(c.dw[i]);
    }
    sg_real *const others[] = {c.x, c.dx, c.dy, c.scores, c.dscores};
    for (int i = 0; i < 5; i++)
        sg_free(others[i]);
    sg_free(c.ids);
}

int main(int argc, char **argv)
{
    static const int64_t sizes[] = {256, 1024, 4096, 16384}, selected[] = {4, 16, 64, 256};
    memory_case c = {.rows = 8192, .channels = 1, .d = 256};
    sg_error err = {0};
    int i = 1;
    must(sg_products_open(&err), &err);
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        if (strcmp(argv[i], "--kind") == 0)
            must(sg_compute_kind_parse(argv[i + 1], "kind", &c.kind, &err), &err);
        else if (strcmp(argv[i], "--tables") == 0)
            must(sg_weights_parse(argv[i + 1], "tables", &c.tables, &err), &err);
        else if (strcmp(argv[i], "--only") == 0)
            must(sg_memory_path_parse(argv[i + 1], "only", &c.only, &err), &err);
        else
            *(strcmp(argv[i], "--rows") == 0       ? &c.rows
              : strcmp(argv[i], "--channels") == 0 ? &c.channels
                                                   : &c.d) = atoll(argv[i + 1]);
    }
    printf("%lld rows, %lld channels, d %lld, %s, tables %s, %s; us a row, fastest\n"
           "       N      k forward rows     dense  both passes rows  dense  dense/rows\n",
           (long long)c.rows, (long long)c.channels, (long long)c.d, sg_compute_kind_name(c.kind),
           sg_weights_name(c.tables), sg_products_name());
    const bool given = i < argc;
    for (; i + 1 < argc; i += 2) {
        c.n = atoll(argv[i]), c.k = atoll(argv[i + 1]);
        run_case(c);
    }
    for (int n = 0; !given && n < 4; n++)
        for (int k = 0; k < 4; k++) {
            c.n = sizes[n], c.k = selected[k];
            if (c.k <= c.n) run_case(c);
        }
    return 0;
}
