// Which unit multiplies, and the loops in C that say what all of them compute. See tiles.h.
#include "kernel/tiles.h"

#include <stdatomic.h>

#include "kernel/bf16.h"
#include "kernel/panels.h"
#include "kernel/tiles_units.h"

static bool tiles_ask(sg_tiles_unit unit)
{
    switch (unit) {
    case SG_TILES_PLAIN:
        return true;
    case SG_TILES_AVX512_BF16:
        return sg_tiles_have_avx512();
    case SG_TILES_AMX:
        return sg_tiles_have_amx();
    default:
        return false;
    }
}

bool sg_tiles_have(sg_tiles_unit unit)
{
    enum { unknown, no, yes };
    static atomic_int known[SG_TILES_AMX + 1];
    int now = atomic_load_explicit(&known[unit], memory_order_relaxed);
    if (now == unknown) {
        now = tiles_ask(unit) ? yes : no;
        atomic_store_explicit(&known[unit], now, memory_order_relaxed);
    }
    return now == yes;
}

const char *sg_tiles_name(sg_tiles_unit unit)
{
    static const char *const names[] = {NULL, "plain", "avx512_bf16", "amx"};
    return names[unit];
}

// ---- in C ---------------------------------------------------------------------------------------

// 64 sums, or fewer at the end of C.
typedef struct plain_sums {
    float of[SG_PANEL_BLOCK];
    int64_t count;
} plain_sums;

// sum + the product of a row of a part of A and a block of columns of one of B.
static void plain_add(plain_sums *sum, const sg_bf16 *a, const sg_bf16 *b, int64_t k)
{
    for (int64_t p = 0; p < k; p++) {
        const float x = sg_bf16_value(a[p]);
        const sg_bf16 *pair = b + p / 2 * 2 * SG_PANEL_BLOCK + p % 2;
        for (int64_t j = 0; j < sum->count; j++)
            sum->of[j] += x * sg_bf16_value(pair[2 * j]);
    }
}

static void plain_block(const sg_tiles_args *g, int64_t i, int64_t j)
{
    const int64_t row = i * g->lda, at = j / SG_PANEL_BLOCK * g->b_block;
    float *c = g->c + i * g->ldc + j;
    plain_sums sum = {.count = g->n - j < SG_PANEL_BLOCK ? g->n - j : SG_PANEL_BLOCK};
    for (int64_t l = 0; l < sum.count && g->add && g->chained; l++)
        sum.of[l] = c[l];
    if (g->a_low != NULL) {
        plain_add(&sum, g->a_low + row, g->b + at, g->k);
        plain_add(&sum, g->a + row, g->b_low + at, g->k);
    }
    plain_add(&sum, g->a + row, g->b + at, g->k);
    for (int64_t l = 0; l < sum.count; l++)
        c[l] = g->add && !g->chained ? c[l] + sum.of[l] : sum.of[l];
}

static void plain_product(const sg_tiles_args *g)
{
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t j = 0; j < g->n; j += SG_PANEL_BLOCK)
            plain_block(g, i, j);
}

void sg_tiles_product(sg_tiles_unit unit, const sg_tiles_args *args)
{
    if (unit == SG_TILES_AMX)
        sg_tiles_by_amx(args);
    else if (unit == SG_TILES_AVX512_BF16)
        sg_tiles_by_avx512(args);
    else
        plain_product(args);
}
