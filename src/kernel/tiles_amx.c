// Products by AMX. See tiles.h.
//
//     C[i][j] += sum over k of A[i][k] B[k][j]
//
// 32 x 32 numbers of C lie in four tiles; a step of 32 along k loads two tiles of A and two of B
// for four products. A's 32 rows stay in the first cache while the panel of B passes by.
#include "kernel/tiles_units.h"

#if defined(SG_AMX)

#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cpu.h"
#include "kernel/panels.h"

enum {
    tiles_rows = 16,                 // of a tile
    tiles_side = 2 * tiles_rows,     // of C at once
    tiles_pair = 2 * SG_PANEL_BLOCK, // numbers of a pair of rows of B
    tiles_permission = 0x1023,       // arch_prctl's ARCH_REQ_XCOMP_PERM
    tiles_data = 18                  // of the state that tiles are
};

// What ldtilecfg reads: palette 1, eight tiles of 16 rows of 64 bytes.
typedef struct tiles_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles_config;

static const tiles_config tiles_whole = {.palette = 1,
                                         .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                                         .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

// Linux gives the unit to processes that ask for it; all threads of one have it then.
bool sg_tiles_have_amx(void)
{
    return sg_cpu_detect().amx_bf16 && syscall(SYS_arch_prctl, tiles_permission, tiles_data) == 0;
}

// One square of C: strides in bytes.
typedef struct tiles_square {
    float *c;
    size_t c_stride;
    const sg_bf16 *a, *a_low;
    size_t a_stride;
    int64_t a_half, a_step; // numbers from row 0 to row 16, and from a step along k to the next
    const sg_bf16 *b, *b_low;
    int64_t b_block;
    int64_t k;
    bool add, chained;
} tiles_square;

static inline void tiles_begin(const tiles_square *s)
{
    float *low = s->c + tiles_rows * (s->c_stride / sizeof *s->c);
    if (!s->chained) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, s->c, s->c_stride);
    _tile_loadd(1, s->c + tiles_rows, s->c_stride);
    _tile_loadd(2, low, s->c_stride);
    _tile_loadd(3, low + tiles_rows, s->c_stride);
}

static inline void tiles_store(float *c, size_t stride)
{
    float *low = c + tiles_rows * (stride / sizeof *c);
    _tile_stored(0, c, stride);
    _tile_stored(1, c + tiles_rows, stride);
    _tile_stored(2, low, stride);
    _tile_stored(3, low + tiles_rows, stride);
}

static inline void tiles_end(const tiles_square *s)
{
    _Alignas(64) float sum[tiles_side * tiles_side];
    if (!s->add) {
        tiles_store(s->c, s->c_stride);
        return;
    }
    tiles_store(sum, tiles_side * sizeof *sum);
    for (int i = 0; i < tiles_side; i++) {
        float *c = s->c + (size_t)i * (s->c_stride / sizeof *s->c), *from = sum + i * tiles_side;
        _mm512_storeu_ps(c, _mm512_add_ps(_mm512_loadu_ps(c), _mm512_load_ps(from)));
        _mm512_storeu_ps(c + 16, _mm512_add_ps(_mm512_loadu_ps(c + 16), _mm512_load_ps(from + 16)));
    }
}

static inline void tiles_multiply_one(const tiles_square *s)
{
    const sg_bf16 *a = s->a, *b = s->b;
    for (int64_t p = 0; p < s->k; p += SG_PANEL_STEP) {
        _tile_loadd(4, a, s->a_stride);
        _tile_loadd(6, b, tiles_pair * sizeof *b);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 2 * tiles_rows, tiles_pair * sizeof *b);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + s->a_half, s->a_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        a += s->a_step;
        b += SG_PANEL_STEP * SG_PANEL_BLOCK;
    }
}

// A_lo B_hi, A_hi B_hi, A_hi B_lo of each step: eight tiles are loaded for twelve products.
static inline void tiles_multiply_three(const tiles_square *s)
{
    const sg_bf16 *a = s->a, *a_low = s->a_low, *b = s->b, *b_low = s->b_low;
    for (int64_t p = 0; p < s->k; p += SG_PANEL_STEP) {
        _tile_loadd(4, a_low, s->a_stride);
        _tile_loadd(6, b, tiles_pair * sizeof *b);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 2 * tiles_rows, tiles_pair * sizeof *b);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a_low + s->a_half, s->a_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(4, a, s->a_stride);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + s->a_half, s->a_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        _tile_loadd(6, b_low, tiles_pair * sizeof *b);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        _tile_loadd(7, b_low + 2 * tiles_rows, tiles_pair * sizeof *b);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
        a += s->a_step;
        a_low += s->a_step;
        b += SG_PANEL_STEP * SG_PANEL_BLOCK;
        b_low += SG_PANEL_STEP * SG_PANEL_BLOCK;
    }
}

static inline void tiles_multiply(const tiles_square *s)
{
    tiles_begin(s);
    if (s->a_low != NULL)
        tiles_multiply_three(s);
    else
        tiles_multiply_one(s);
    tiles_end(s);
}

// A square of which only `rows` by `columns` are C's goes through a place of its own.
static void tiles_at_edge(tiles_square s, int64_t rows, int64_t columns)
{
    _Alignas(64) float place[tiles_side * tiles_side];
    float *c = s.c;
    const int64_t ldc = (int64_t)(s.c_stride / sizeof *c);
    const bool reads = s.add || s.chained;
    if (reads) memset(place, 0, sizeof place);
    for (int64_t i = 0; i < rows && reads; i++)
        memcpy(place + i * tiles_side, c + i * ldc, (size_t)columns * sizeof *c);
    s.c = place;
    s.c_stride = tiles_side * sizeof *place;
    if (rows <= tiles_rows) s.a_half = 0; // rows 16 to 31 are not there
    tiles_multiply(&s);
    for (int64_t i = 0; i < rows; i++)
        memcpy(c + i * ldc, place + i * tiles_side, (size_t)columns * sizeof *c);
}

static const sg_bf16 *tiles_b_at(const tiles_square *s, const sg_bf16 *b, int64_t column)
{
    return b + column / SG_PANEL_BLOCK * s->b_block + column % SG_PANEL_BLOCK * 2;
}

// The squares of 32 rows (or `rows`, fewer) of C, `s` the first of them.
static void tiles_row(tiles_square s, int64_t rows, int64_t n)
{
    float *c = s.c;
    const sg_bf16 *b = s.b, *b_low = s.b_low;
    for (int64_t j = 0; j < n; j += tiles_side) {
        s.c = c + j;
        s.b = tiles_b_at(&s, b, j);
        if (b_low != NULL) s.b_low = tiles_b_at(&s, b_low, j);
        if (rows == tiles_side && n - j >= tiles_side)
            tiles_multiply(&s);
        else
            tiles_at_edge(s, rows, n - j < tiles_side ? n - j : tiles_side);
    }
}

// Rows that lie a page apart all want the same place in the first cache; they are copied there
// before many columns are multiplied with them, 32 rows of at most so many numbers.
enum { tiles_copied = SG_PANEL_DEPTH, tiles_page = 4096 };

static bool tiles_collide(const sg_tiles_args *g)
{
    return g->lda * (int64_t)sizeof *g->a % tiles_page == 0 && g->n > tiles_side &&
           g->k <= tiles_copied && g->a_low == NULL;
}

// `rows` of A, tile by tile, to `place`.
static void tiles_copy(sg_bf16 *place, const sg_bf16 *a, int64_t lda, int64_t rows, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t p = 0; p < k; p += SG_PANEL_STEP)
            memcpy(place + p * tiles_side + r * SG_PANEL_STEP, a + r * lda + p,
                   SG_PANEL_STEP * sizeof *place);
}

void sg_tiles_by_amx(const sg_tiles_args *g)
{
    _Alignas(64) sg_bf16 place[tiles_side * tiles_copied];
    const bool copied = tiles_collide(g);
    _tile_loadconfig(&tiles_whole);
    for (int64_t i = 0; i < g->m; i += tiles_side) {
        const int64_t rows = g->m - i < tiles_side ? g->m - i : tiles_side;
        tiles_square s = {.c = g->c + i * g->ldc,
                          .c_stride = (size_t)g->ldc * sizeof *g->c,
                          .a = g->a + i * g->lda,
                          .a_low = g->a_low != NULL ? g->a_low + i * g->lda : NULL,
                          .a_stride = (size_t)g->lda * sizeof *g->a,
                          .a_half = tiles_rows * g->lda,
                          .a_step = SG_PANEL_STEP,
                          .b = g->b,
                          .b_low = g->b_low,
                          .b_block = g->b_block,
                          .k = g->k,
                          .add = g->add && !g->chained,
                          .chained = g->add && g->chained};
        if (copied) {
            tiles_copy(place, s.a, g->lda, rows, g->k);
            s.a = place;
            s.a_stride = SG_PANEL_STEP * sizeof *place;
            s.a_half = tiles_rows * SG_PANEL_STEP;
            s.a_step = SG_PANEL_STEP * tiles_side;
        }
        tiles_row(s, rows, g->n);
    }
    _tile_release();
}

#else

bool sg_tiles_have_amx(void)
{
    return false;
}

void sg_tiles_by_amx(const sg_tiles_args *args)
{
    (void)args;
}

#endif
