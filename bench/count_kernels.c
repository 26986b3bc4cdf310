// Calls one AVX2 kernel on a fixed input, for a tool that counts instructions (tools/callgrind.sh):
//   build/bench/count_kernels           names and shapes, a line each
//   build/bench/count_kernels NAME      calls that one `calls` times
// Counts do not depend on what else the machine does, so a change of a kernel shows in them at
// once.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernel/kernel.h"

enum { calls = 100, table_rows = 64, longest = 8192 };

typedef struct count_input {
    sg_real *x, *y, *z, *w; // (longest) each
    sg_real *table;         // (table_rows, 768)
    sg_bf16 *narrow;        // the same
    int32_t rows[128], ids[128];
    sg_real scores[128];
    int64_t at; // of the call: inputs of selection change
} count_input;

static void count_gather_dots(const sg_kernels *k, count_input *in)
{
    k->gather_dots(in->y, in->x, in->table, in->rows, 8, 256);
}

static void count_gather_sum(const sg_kernels *k, count_input *in)
{
    k->gather_sum(in->y, in->z, in->table, in->rows, 8, 256);
}

static void count_gather_dots_long(const sg_kernels *k, count_input *in)
{
    k->gather_dots(in->y, in->x, in->table, in->rows, 128, 768);
}

static void count_gather_sum_long(const sg_kernels *k, count_input *in)
{
    k->gather_sum(in->y, in->z, in->table, in->rows, 128, 768);
}

static void count_gather_dots_bf16(const sg_kernels *k, count_input *in)
{
    k->gather_dots_bf16(in->y, in->x, in->narrow, in->rows, NULL, 8, 256);
}

static void count_gather_sum_bf16(const sg_kernels *k, count_input *in)
{
    k->gather_sum_bf16(in->y, in->z, in->narrow, in->rows, NULL, 8, 256);
}

static void count_thin_product(const sg_kernels *k, count_input *in)
{
    k->thin_product(in->y, table_rows, in->x, 768, 1, in->table, 768, table_rows, 768);
}

static void count_thin_product_bf16(const sg_kernels *k, count_input *in)
{
    k->thin_product_bf16(in->y, table_rows, in->x, 768, 1, in->narrow, 768, table_rows, 768);
}

static void count_thin_sum(const sg_kernels *k, count_input *in)
{
    k->thin_sum(in->y, 64, in->x, 256, 3, in->table, 64, 256, 64);
}

// The bytes of a bf16 table, as blocks: what they stand for does not matter.
static void count_dots_q8_0(const sg_kernels *k, count_input *in)
{
    k->dots_blocks(in->y, table_rows, in->x, 768, 1, SG_WEIGHTS_Q8_0, in->narrow, NULL, NULL,
                   table_rows, 768);
}

static void count_dots_q4_1(const sg_kernels *k, count_input *in)
{
    k->dots_blocks(in->y, table_rows, in->x, 768, 1, SG_WEIGHTS_Q4_1, in->narrow, NULL, NULL,
                   table_rows, 768);
}

static void count_sum_q8_0(const sg_kernels *k, count_input *in)
{
    k->sum_blocks(in->y, in->z, SG_WEIGHTS_Q8_0, in->narrow, NULL, in->rows, table_rows, 768);
}

static void count_sum_q4_1(const sg_kernels *k, count_input *in)
{
    k->sum_blocks(in->y, in->z, SG_WEIGHTS_Q4_1, in->narrow, NULL, in->rows, table_rows, 768);
}

static void count_topk(const sg_kernels *k, count_input *in)
{
    k->topk(in->ids, in->scores, in->x + in->at % 16 * 512, 512, 8);
}

static void count_product_topk(const sg_kernels *k, count_input *in)
{
    k->product_topk(in->ids, in->scores, in->x + in->at * 32, in->x + 4096 + in->at * 32, 32, 8);
}

static void count_exp_sum(const sg_kernels *k, count_input *in)
{
    k->exp_sum(in->y, in->x, 4, longest);
}

static void count_attention_row(const sg_kernels *k, count_input *in)
{
    memcpy(in->y, in->x, 256 * sizeof *in->y); // it works in place
    k->attention_row(in->y, in->z, 4, 0.5, 256);
}

static void count_rmsnorm_forward(const sg_kernels *k, count_input *in)
{
    k->rmsnorm_forward(sg_wide_target(in->y), in->scores, sg_wide_source(in->x), in->w, 16, 256,
                       1e-6);
}

static void count_rmsnorm_backward(const sg_kernels *k, count_input *in)
{
    k->rmsnorm_backward(in->y, in->z, in->x, sg_wide_source(in->x), in->w, in->scores, 16, 256,
                        false);
}

static void count_adamw(const sg_kernels *k, count_input *in)
{
    const sg_adamw_args args = {1e-3, 0.9, 0.95, 1e-8, 0.1, 0.5, 0.5, 1};
    k->adamw(in->y, in->z, in->w, in->x, 4096, &args);
}

static const struct {
    const char *name, *function, *shape;
    void (*call)(const sg_kernels *k, count_input *in);
} kernels[] = {
    {"gather_dots", "gather_dots", "8 rows of 256", count_gather_dots},
    {"gather_sum", "gather_sum", "8 rows of 256", count_gather_sum},
    {"gather_dots_long", "gather_dots", "128 rows of 768", count_gather_dots_long},
    {"gather_sum_long", "gather_sum", "128 rows of 768", count_gather_sum_long},
    {"gather_dots_bf16", "gather_dots_bf16", "8 rows of 256", count_gather_dots_bf16},
    {"gather_sum_bf16", "gather_sum_bf16", "8 rows of 256", count_gather_sum_bf16},
    {"thin_product", "thin_product", "64 rows of 768", count_thin_product},
    {"thin_product_bf16", "thin_product_bf16", "64 rows of 768", count_thin_product_bf16},
    {"thin_sum", "thin_sum", "3 sums of 256 rows of 64", count_thin_sum},
    {"dots_q8_0", "dots_blocks", "64 rows of 768", count_dots_q8_0},
    {"dots_q4_1", "dots_blocks", "64 rows of 768", count_dots_q4_1},
    {"sum_q8_0", "sum_blocks", "64 rows of 768", count_sum_q8_0},
    {"sum_q4_1", "sum_blocks", "64 rows of 768", count_sum_q4_1},
    {"topk", "topk", "8 of 512", count_topk},
    {"product_topk", "product_topk", "8 of 32 x 32", count_product_topk},
    {"exp_sum", "exp_sum", "8192", count_exp_sum},
    {"attention_row", "attention_row", "256", count_attention_row},
    {"rmsnorm_forward", "rmsnorm_forward", "16 rows of 256", count_rmsnorm_forward},
    {"rmsnorm_backward", "rmsnorm_backward", "16 rows of 256", count_rmsnorm_backward},
    {"adamw", "adamw", "4096", count_adamw},
};
enum { kernel_count = sizeof kernels / sizeof *kernels };

static sg_real *numbers(int64_t n, uint32_t stream)
{
    sg_real *x = malloc((size_t)n * sizeof *x);
    if (x == NULL) {
        fprintf(stderr, "count_kernels: out of memory\n");
        exit(1);
    }
    for (int64_t i = 0; i < n; i++) // a tenth of the range: exp_sum wants x <= 4
        x[i] = (sg_real)sg_rng_normal(1, stream, (uint64_t)i) / 10;
    return x;
}

static void count(const sg_kernels *table, size_t which)
{
    count_input in = {.x = numbers(longest, 1), .y = numbers(longest, 2), .z = numbers(longest, 3)};
    in.w = calloc(longest, sizeof *in.w); // second moments from zero
    in.table = numbers(table_rows * 768, 4);
    in.narrow = malloc(table_rows * 768 * sizeof *in.narrow);
    if (in.w == NULL || in.narrow == NULL) exit(1);
    for (int i = 0; i < table_rows * 768; i++)
        in.narrow[i] = sg_bf16_round((float)in.table[i]);
    for (int i = 0; i < 128; i++)
        in.rows[i] = i * 37 % table_rows;
    for (in.at = 0; in.at < calls; in.at++)
        kernels[which].call(table, &in);
    free(in.x);
    free(in.y);
    free(in.z);
    free(in.w);
    free(in.table);
    free(in.narrow);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < kernel_count; i++) {
        if (argc < 2) {
            printf("%s sg_avx2_%s %d %s\n", kernels[i].name, kernels[i].function, calls,
                   kernels[i].shape);
        } else if (strcmp(argv[1], kernels[i].name) == 0) {
            if (sg_kernels_named("avx2") == NULL) {
                fprintf(stderr, "count_kernels: no AVX2 and FMA on this processor\n");
                return 1;
            }
            count(sg_kernels_named("avx2"), i);
            return 0;
        }
    }
    if (argc < 2) return 0;
    fprintf(stderr, "count_kernels: no kernel '%s'\n", argv[1]);
    return 2;
}
