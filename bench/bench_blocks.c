// A dense layer whose neurons lie in blocks, of which some are read, beside the same layer read
// whole by dense products: one row, or few, as in decoding.
//   build/bench/bench_blocks [--rows R] [--d D] [--neurons N] [--block G] [--plain 1]
//                            [--megabytes M] [--type f32|bf16|f16|int8|q8_0|q4_0|q4_1]
// Layers are as many as fill M megabytes, read one after the other, so that no cache holds what is
// read. Blocks at random. Times are of the processor, one thread, medians of rounds in which all
// take turns, so that they can be compared on a machine that does other work too. "of bytes" is the
// ratio of times over that of the bytes of tables: 1 is a kernel that gains all that it leaves out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "ffn/moefied.h"
#include "kernel/products.h"
#include "timing.h"

enum { rounds = 15, most_layers = 4096, shares = 7 };
static const int percents[shares] = {10, 20, 30, 40, 50, 75, 100};

typedef struct bench_case {
    int64_t rows, d, neurons, g, megabytes, plain, layers;
    sg_weights type;
    sg_real *x, *ones;
    sg_stored *up, *down; // (layers) rows of neurons
    sg_stored *columns;   // (layers) the dense layer's second matrix
    int32_t *ids;         // (rows, blocks)
} bench_case;

static void *room(size_t count, size_t size)
{
    void *p = sg_alloc_zero(count, size);
    if (p == NULL) exit(1);
    return p;
}

// ---- tables -------------------------------------------------------------------------------------

static bool is_four_bits(sg_weights type)
{
    return type == SG_WEIGHTS_Q4_0 || type == SG_WEIGHTS_Q4_1;
}

// Blocks of 4 bits are not made by the library: all scales the same, quants at random.
static void fill_q4(sg_weights type, unsigned char *to, int64_t count, uint64_t seed)
{
    const int halves = type == SG_WEIGHTS_Q4_1 ? 2 : 1; // of a block: scale, offset
    for (int64_t b = 0; b < count / 32; b++, to += 16 + 2 * halves) {
        for (int j = 0; j < halves; j++)
            to[2 * j] = 0, to[2 * j + 1] = 0x28; // 2^-5
        for (int j = 0; j < 16; j++)
            to[2 * halves + j] = (unsigned char)sg_rng_below(seed, 1, (uint64_t)(16 * b + j), 256);
    }
}

// A table, or a copy of one that was made.
static sg_stored table(const bench_case *c, int64_t rows, int64_t d, const sg_stored *of)
{
    const sg_compute compute = {.kernels = sg_kernels_fastest()};
    sg_stored w = {.type = c->type};
    w.rows = room((size_t)rows, sg_stored_row_bytes(c->type, d));
    if (sg_stored_scale_bytes(c->type, d) > 0)
        w.scales = room((size_t)rows, sg_stored_scale_bytes(c->type, d));
    if (of != NULL) {
        memcpy(w.rows, of->rows, (size_t)rows * sg_stored_row_bytes(c->type, d));
        if (w.scales != NULL)
            memcpy(w.scales, of->scales, (size_t)rows * sg_stored_scale_bytes(c->type, d));
        return w;
    }
    if (is_four_bits(c->type)) {
        fill_q4(c->type, w.rows, rows * d, 1);
        return w;
    }
    sg_real *row = room((size_t)d, sizeof *row);
    for (int64_t i = 0; i < d; i++)
        row[i] = (sg_real)(0.05 * sg_rng_normal(1, 2, (uint64_t)i));
    for (int64_t r = 0; r < rows; r++)
        sg_stored_write(compute, &w, r, 1, d, row);
    sg_free(row);
    return w;
}

static int64_t width_of(const bench_case *c)
{
    return c->plain ? c->neurons : 2 * c->neurons;
}

static void make_layers(bench_case *c)
{
    const double bytes =
        (double)(width_of(c) + c->neurons) *
        (double)(sg_stored_row_bytes(c->type, c->d) + sg_stored_scale_bytes(c->type, c->d));
    c->layers = 1 + (int64_t)((double)c->megabytes * 1e6 / bytes);
    if (c->layers > most_layers) c->layers = most_layers;
    c->up = room((size_t)c->layers, sizeof *c->up);
    c->down = room((size_t)c->layers, sizeof *c->down);
    c->columns = room((size_t)c->layers, sizeof *c->columns);
    for (int64_t l = 0; l < c->layers; l++) {
        c->up[l] = table(c, width_of(c), c->d, l > 0 ? c->up : NULL);
        c->down[l] = table(c, c->neurons, c->d, l > 0 ? c->down : NULL);
        c->columns[l] = table(c, c->d, c->neurons, l > 0 ? c->columns : NULL);
    }
    c->x = room((size_t)(c->rows * c->d), sizeof *c->x);
    for (int64_t i = 0; i < c->rows * c->d; i++)
        c->x[i] = (sg_real)sg_rng_normal(1, 1, (uint64_t)i);
    c->ones = room((size_t)c->d, sizeof *c->ones);
    for (int64_t i = 0; i < c->d; i++)
        c->ones[i] = 1;
    const int64_t blocks = c->neurons / c->g;
    c->ids = room((size_t)(c->rows * blocks), sizeof *c->ids);
    for (int64_t i = 0; i < c->rows * blocks; i++)
        c->ids[i] = (int32_t)sg_rng_permute(3, (uint32_t)(i / blocks), (uint64_t)(i % blocks),
                                            (uint64_t)blocks);
}

static void free_layers(bench_case *c)
{
    for (int64_t l = 0; l < c->layers; l++) {
        sg_stored *const all[] = {&c->up[l], &c->down[l], &c->columns[l]};
        for (int i = 0; i < 3; i++) {
            sg_free(all[i]->rows);
            sg_free(all[i]->scales);
        }
    }
    sg_free(c->up);
    sg_free(c->down);
    sg_free(c->columns);
    sg_free(c->x);
    sg_free(c->ones);
    sg_free(c->ids);
}

// ---- tapes --------------------------------------------------------------------------------------

static sg_tensor *narrow(const bench_case *c, sg_tape *tape, int rank, const int64_t *shape,
                         sg_stored *w)
{
    const bool wide = c->type == SG_WEIGHTS_F32;
    sg_tensor *t =
        sg_tape_leaf(tape, "w", SG_KIND_REAL, rank, shape, wide ? w->rows : NULL, NULL, false);
    if (!wide) t->narrow = w;
    return t;
}

static sg_tensor *record_dense(bench_case *c, sg_tape *tape, sg_tensor *x, int64_t l)
{
    const int64_t up[] = {width_of(c), c->d}, down[] = {c->d, c->neurons};
    sg_tensor *u = sg_linear(tape, x, narrow(c, tape, 2, up, &c->up[l]), NULL);
    u = c->plain ? sg_activate(tape, u, SG_ACT_GELU)
                 : sg_glu(tape, u, &(sg_glu_form){.kind = SG_GLU_SILU});
    return sg_linear(tape, u, narrow(c, tape, 2, down, &c->columns[l]), NULL);
}

static sg_tensor *record_blocks(bench_case *c, sg_tape *tape, sg_tensor *x, int64_t l, int64_t k)
{
    const int64_t blocks = c->neurons / c->g, ids[] = {c->rows, k};
    const int64_t up[] = {blocks, width_of(c) / blocks, c->d}, down[] = {1, c->neurons, c->d};
    const int64_t plain[] = {1, c->neurons, c->d};
    int32_t *chosen = sg_tape_memory(tape, (size_t)(c->rows * k) * sizeof *chosen);
    if (chosen == NULL) exit(1);
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t i = 0; i < k; i++)
            chosen[r * k + i] = (int32_t)((c->ids[r * blocks + i] + l) % blocks);
    sg_selection s = {.channels = 1, .k = k, .unit = c->g};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, ids, chosen, NULL, false);
    const sg_moefied of = {.up = narrow(c, tape, 3, c->plain ? plain : up, &c->up[l]),
                           .down = narrow(c, tape, 3, down, &c->down[l]),
                           .glu = !c->plain,
                           .form.kind = SG_GLU_SILU,
                           .activation = SG_ACT_GELU};
    return sg_memory_moefied(tape, x, &s, &of);
}

// All layers, x += layer(norm(x)), as a model has them. share: percent of blocks; 0: dense layers.
static sg_tape *tape_of(bench_case *c, int percent)
{
    const int64_t blocks = c->neurons / c->g, shape[] = {c->rows, c->d};
    const int64_t k = (blocks * percent + 50) / 100;
    sg_tape *tape;
    sg_error err = {0};
    must(sg_tape_new(&tape, &err), &err);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, c->x, NULL, false);
    sg_tensor *ones = sg_tape_leaf(tape, "ones", SG_KIND_REAL, 1, &c->d, c->ones, NULL, false);
    for (int64_t l = 0; l < c->layers; l++) {
        sg_tensor *n = sg_rmsnorm(tape, x, ones, 1e-5);
        sg_tensor *y = percent == 0 ? record_dense(c, tape, n, l)
                                    : record_blocks(c, tape, n, l, k > 0 ? k : 1);
        x = sg_add(tape, x, y);
    }
    sg_tape_keep(tape, x);
    must(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), &err);
    must(sg_tape_allocate(tape, &err), &err);
    return tape;
}

static double time_of(const bench_case *c, sg_tape *tape)
{
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    const double begin = seconds();
    sg_tape_forward(tape, &run);
    return (seconds() - begin) / (double)c->layers;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Blocks that some row reads, as a share of all.
static double share_read(const bench_case *c, int percent)
{
    const int64_t blocks = c->neurons / c->g, some = (blocks * percent + 50) / 100;
    const int64_t k = some > 0 ? some : 1;
    unsigned char *read = room((size_t)blocks, 1);
    int64_t count = 0;
    for (int64_t r = 0; r < c->rows; r++)
        for (int64_t i = 0; i < k; i++)
            read[c->ids[r * blocks + i]] = 1;
    for (int64_t b = 0; b < blocks; b++)
        count += read[b];
    sg_free(read);
    return (double)count / (double)blocks;
}

static void run_case(bench_case *c)
{
    sg_tape *tapes[shares + 1];
    double times[shares + 1][rounds];
    make_layers(c);
    for (int i = 0; i <= shares; i++)
        tapes[i] = tape_of(c, i == 0 ? 0 : percents[i - 1]);
    for (int r = -1; r < rounds; r++)
        for (int i = 0; i <= shares; i++) {
            const double time = time_of(c, tapes[i]);
            if (r >= 0) times[i][r] = time;
        }
    for (int i = 0; i <= shares; i++)
        qsort(times[i], rounds, sizeof(double), compare);
    const double dense = times[0][rounds / 2];
    printf("%s, %lld rows, d %lld, %lld neurons in blocks of %lld, %lld layers: dense %.1f us\n",
           sg_weights_name(c->type), (long long)c->rows, (long long)c->d, (long long)c->neurons,
           (long long)c->g, (long long)c->layers, 1e6 * dense);
    for (int i = 1; i <= shares; i++) {
        const double time = times[i][rounds / 2], share = share_read(c, percents[i - 1]);
        printf("  %3d %%, %5.1f %% of bytes: %8.1f us, %5.1f %% of time, of bytes %.2f\n",
               percents[i - 1], 100 * share, 1e6 * time, 100 * time / dense, share * dense / time);
    }
    fflush(stdout);
    for (int i = 0; i <= shares; i++)
        sg_tape_free(tapes[i]);
    free_layers(c);
}

static bool type_of(const char *name, sg_weights *type)
{
    static const sg_weights types[] = {SG_WEIGHTS_F32,  SG_WEIGHTS_BF16, SG_WEIGHTS_F16,
                                       SG_WEIGHTS_INT8, SG_WEIGHTS_Q8_0, SG_WEIGHTS_Q4_0,
                                       SG_WEIGHTS_Q4_1};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(sg_weights_name(types[i]), name) == 0) {
            *type = types[i];
            return true;
        }
    return false;
}

int main(int argc, char **argv)
{
    bench_case c = {.rows = 1, .d = 576, .neurons = 1536, .g = 32, .megabytes = 400};
    const char *only = NULL;
    sg_error err = {0};
    must(sg_products_open(&err), &err);
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--type") == 0)
            only = value;
        else
            *(strcmp(argv[i], "--rows") == 0      ? &c.rows
              : strcmp(argv[i], "--d") == 0       ? &c.d
              : strcmp(argv[i], "--neurons") == 0 ? &c.neurons
              : strcmp(argv[i], "--block") == 0   ? &c.g
              : strcmp(argv[i], "--plain") == 0   ? &c.plain
                                                  : &c.megabytes) = atoll(value);
    }
    static const char *const all[] = {"f32", "bf16", "f16", "int8", "q8_0", "q4_0", "q4_1"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (only != NULL && strcmp(only, all[i]) != 0) continue;
        if (type_of(all[i], &c.type)) run_case(&c);
    }
    return 0;
}
