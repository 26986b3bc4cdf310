// Attention by products of other kinds than f32, with the formulas of op_attention.c, for units
// that multiply matrices. Of a tile of queries Q (rows, h) and one of keys K and their values V
// (keys, h):
//
//     S = scale Q K^T         P = exp(S - max)                                  O += P V
//     S^T = scale K Q^T       P^T = exp(S^T - lse)        dP^T = V dO^T         dV += P^T dO
//     dS^T = P^T (dP^T - delta)       dK += scale dS^T Q       dQ += scale dS K
//
// In the kind bf16 all operands are rounded, P and dS where softmax leaves them; in bf16x3 P, dS
// and what is a left operand of many tiles are split there in the two parts that products take,
// where a unit computes these. Sums, maxima, softmax and gradients are sg_real. The backward pass
// works on transposed tiles, so that dQ alone needs a left operand transposed. Tiles are multiplied
// whole, what is masked too: so right operands are prepared once, K and V for all tiles of queries
// of a chunk, Q and dO for all tiles of keys. A chunk has at most tiles_rows queries of all of its
// heads, which bounds scratch whatever the length of sequences; for each such run of queries the
// keys that it sees are prepared anew.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm_tiles.h"
#include "kernel/rows_ahead.h"
#include "op/attention.h"

enum {
    tiles_side = 256,            // rows of keys, and at most of queries, of a tile
    tiles_least = 64,            // of queries
    tiles_rows = 4 * tiles_side, // queries of a chunk
    tiles_ahead = 8,             // rows before one is read that it is asked for
    tiles_chunks = 16,           // wanted, for the sake of eight threads
    tiles_most = tiles_rows / tiles_side
};

// ---- how work is cut ----------------------------------------------------------------------------

// A chunk of the forward pass: `tiles` tiles of `side` queries each of `heads` heads that share
// their keys.
typedef struct tiles_cut {
    int64_t side, tiles, heads;
} tiles_cut;

// Where a worker's scratch has what, in bytes; forward and backward each begin at 0.
typedef struct tiles_places {
    size_t s, dp;       // (tiles_side, tiles_side) scores; gradients of probabilities
    size_t o, top, sum; // forward: results so far, and of each row
    size_t lse, delta;  // backward
    size_t q_half, k_half, v_half, dout_half;
    size_t packed_q[2], packed_dout[2]; // of all tiles, transposed and as they lie
    size_t packed_k, packed_v;
    size_t room, end;
} tiles_places;

typedef struct tiles_attributes {
    sg_attention_shape shape; // first: what sg_attention_flops reads
    tiles_cut cut;
    bool folded;   // the scale is a power of two, by which rounded queries are multiplied, exactly
    int64_t parts; // of left operands, in bf16: 1, 2, or 0 where products take them as they are
    tiles_places forward, backward;
} tiles_attributes;

static int64_t cut_chunks(const sg_attention_shape *a, int64_t sequences, const tiles_cut *c)
{
    return sequences * (a->heads / c->heads) * sg_chunks(a->length, c->side * c->tiles);
}

// The next smaller divisor.
static int64_t cut_divisor(int64_t of, int64_t n)
{
    do
        n--;
    while (of % n != 0);
    return n;
}

static tiles_cut cut_of(const sg_attention_shape *a, int64_t sequences)
{
    const int64_t shared = sg_attention_shared(a);
    tiles_cut c = {.side = tiles_side, .tiles = 1, .heads = shared};
    while (c.heads > tiles_most)
        c.heads = cut_divisor(shared, c.heads);
    c.tiles = sg_min(tiles_most / c.heads, sg_chunks(a->length, c.side));
    while (cut_chunks(a, sequences, &c) < tiles_chunks) {
        if (c.tiles > 1)
            c.tiles = (c.tiles + 1) / 2;
        else if (c.heads > 1)
            c.heads = cut_divisor(shared, c.heads);
        else if (c.side > tiles_least)
            c.side /= 2;
        else
            break;
    }
    return c;
}

static size_t place_take(size_t *end, size_t bytes)
{
    const size_t at = *end;
    *end += sg_whole_lines(bytes);
    return at;
}

static size_t place_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t place_product(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    if (m <= 0 || n <= 0 || k <= 0) return 0;
    return sg_gemm_packed_bytes(kind, n, k) > 0 ? sg_gemm_room_packed(kind, m, n, k)
                                                : sg_gemm_room(kind, m, n, k);
}

// Of all products with whole tiles and with those at the end: small ones may take more than larger
// ones, as they may be computed in another way.
static size_t place_room(sg_compute_kind kind, const sg_attention_shape *a, int64_t side)
{
    const int64_t all[] = {sg_min(side, a->length), a->length % side}, h = a->head_dim;
    size_t room = 0;
    for (int i = 0; i < 2; i++)
        for (int64_t keys = 1; keys <= tiles_side; keys++) {
            const int64_t rows = all[i];
            room = place_max(room, place_product(kind, rows, keys, h));
            room = place_max(room, place_product(kind, rows, h, keys));
            room = place_max(room, place_product(kind, keys, rows, h));
            room = place_max(room, place_product(kind, keys, h, rows));
        }
    return room;
}

static tiles_places places_forward(const tiles_attributes *a, sg_compute_kind kind)
{
    const int64_t h = a->shape.head_dim, side = a->cut.side;
    const size_t rows = (size_t)(a->cut.heads * a->cut.tiles * side);
    const size_t half = (size_t)a->parts * sizeof(sg_bf16);
    tiles_places p = {0};
    p.s = place_take(&p.end, (size_t)(side * tiles_side) * sizeof(sg_real));
    p.o = place_take(&p.end, rows * (size_t)h * sizeof(sg_real));
    p.top = place_take(&p.end, rows * sizeof(sg_real));
    p.sum = place_take(&p.end, rows * sizeof(sg_real));
    p.q_half = place_take(&p.end, rows * (size_t)h * half);
    p.packed_k = place_take(&p.end, sg_gemm_packed_bytes(kind, tiles_side, h));
    p.packed_v = place_take(&p.end, sg_gemm_packed_bytes(kind, h, tiles_side));
    p.room = place_take(&p.end, place_room(kind, &a->shape, side));
    return p;
}

static tiles_places places_backward(const tiles_attributes *a, sg_compute_kind kind)
{
    const int64_t h = a->shape.head_dim, side = tiles_side;
    const int64_t tiles = sg_min(tiles_most, sg_chunks(a->shape.length, side));
    const size_t rows = (size_t)(tiles * side), square = (size_t)(side * side);
    const size_t half = (size_t)a->parts * sizeof(sg_bf16);
    const size_t across = (size_t)tiles * sg_whole_lines(sg_gemm_packed_bytes(kind, side, h));
    const size_t along = (size_t)tiles * sg_whole_lines(sg_gemm_packed_bytes(kind, h, side));
    tiles_places p = {0};
    p.s = place_take(&p.end, square * sizeof(sg_real));
    p.dp = place_take(&p.end, square * sizeof(sg_real));
    p.lse = place_take(&p.end, rows * sizeof(sg_real));
    p.delta = place_take(&p.end, rows * sizeof(sg_real));
    p.q_half = place_take(&p.end, rows * (size_t)h * half);
    p.dout_half = place_take(&p.end, rows * (size_t)h * half);
    p.k_half = place_take(&p.end, (size_t)(side * h) * half);
    p.v_half = place_take(&p.end, (size_t)(side * h) * half);
    p.packed_q[0] = place_take(&p.end, across);
    p.packed_q[1] = place_take(&p.end, along);
    p.packed_dout[0] = place_take(&p.end, across);
    p.packed_dout[1] = place_take(&p.end, along);
    p.packed_k = place_take(&p.end, sg_gemm_packed_bytes(kind, h, side));
    p.room = place_take(&p.end, place_room(kind, &a->shape, side));
    return p;
}

// ---- operands -----------------------------------------------------------------------------------

// Rows of one head: in sg_real, or where half is not NULL in bf16, or in two parts of it.
typedef struct tiles_matrix {
    const sg_real *values;
    const sg_bf16 *half, *low;
    int64_t stride;
} tiles_matrix;

// A right operand, prepared where that helps.
typedef struct tiles_right {
    tiles_matrix of;
    bool transpose;
    const void *packed;
} tiles_right;

// What all parts of a chunk share.
typedef struct tiles_work {
    const sg_run *run;
    const sg_node *node;
    const tiles_attributes *a;
    const tiles_places *places;
    unsigned char *scratch; // the worker's
    int64_t sequence;
} tiles_work;

static void *work_place(const tiles_work *w, size_t place)
{
    return w->scratch + place;
}

static const sg_kernels *work_kernels(const tiles_work *w)
{
    return w->run->compute.kernels;
}

static tiles_matrix matrix_at(tiles_matrix m, int64_t row, int64_t column)
{
    const int64_t at = row * m.stride + column;
    return (tiles_matrix){m.values ? m.values + at : NULL, m.half ? m.half + at : NULL,
                          m.low ? m.low + at : NULL, m.stride};
}

// The rows of a sequence of input i, from the first column of a head on.
static tiles_matrix work_input(const tiles_work *w, int i, int64_t head)
{
    const sg_tensor *t = w->node->in[i];
    const tiles_matrix all = {sg_values(t), sg_half_in(w->node, i), NULL, sg_columns(t)};
    return matrix_at(all, w->sequence * w->a->shape.length, head * w->a->shape.head_dim);
}

// Row r and its neighbours are read now, one of those that come in a while is asked for: rows lie a
// whole width apart, of which a head is a part.
static void work_expect(const tiles_work *w, tiles_matrix m, int64_t r, int64_t rows)
{
    const int64_t h = w->a->shape.head_dim, at = (r + tiles_ahead) * m.stride;
    if (r + tiles_ahead >= rows) return;
    if (m.half != NULL)
        sg_expect(m.half + at, h * (int64_t)sizeof *m.half);
    else
        sg_expect(m.values + at, h * (int64_t)sizeof *m.values);
}

// In two parts, row by row.
static tiles_matrix work_split(const tiles_work *w, tiles_matrix m, int64_t rows, size_t to)
{
    const int64_t h = w->a->shape.head_dim;
    sg_bf16 *half = work_place(w, to);
    for (int64_t r = 0; r < rows; r++) {
        work_expect(w, m, r, rows);
        work_kernels(w)->split_bf16(half + 2 * r * h, half + (2 * r + 1) * h,
                                    m.values + r * m.stride, h);
    }
    return (tiles_matrix){NULL, half, half + h, 2 * h};
}

// A left operand whose rows products take as they are: those of a bf16 product are dense, rounded
// where they have not been, and multiplied by a power of two.
static tiles_matrix work_left(const tiles_work *w, tiles_matrix m, int64_t rows, size_t to,
                              sg_real factor)
{
    const int64_t h = w->a->shape.head_dim;
    const sg_kernels *kernels = work_kernels(w);
    if (w->a->parts == 2) return work_split(w, m, rows, to);
    if (w->node->kind != SG_COMPUTE_BF16) return m;
    if (m.half != NULL && m.stride == h && factor == 1) return m;
    sg_bf16 *half = work_place(w, to);
    sg_real *wide = work_place(w, w->places->s);
    for (int64_t r = 0; r < rows; r++) {
        const tiles_matrix row = matrix_at(m, r, 0);
        work_expect(w, m, r, rows);
        if (factor != 1) {
            if (row.half != NULL)
                kernels->from_bf16(wide, row.half, h);
            else
                memcpy(wide, row.values, (size_t)h * sizeof *wide);
            kernels->scale(wide, factor, h);
            kernels->to_bf16(half + r * h, wide, h);
        } else if (row.half != NULL) {
            memcpy(half + r * h, row.half, (size_t)h * sizeof *half);
        } else {
            kernels->to_bf16(half + r * h, row.values, h);
        }
    }
    return (tiles_matrix){NULL, half, NULL, h};
}

// Queries as left operands, or for them to be prepared as right ones.
static tiles_matrix work_queries(const tiles_work *w, tiles_matrix q, int64_t rows, size_t to)
{
    return work_left(w, q, rows, to, w->a->folded ? w->a->shape.scale : 1);
}

// op(B) (k, n)
static tiles_right work_prepare(const tiles_work *w, tiles_matrix b, bool transpose, int64_t n,
                                int64_t k, size_t to)
{
    tiles_right right = {b, transpose, NULL};
    if (sg_gemm_packed_bytes(w->node->kind, n, k) == 0) return right;
    right.packed = work_place(w, to);
    sg_gemm_pack_serial(work_kernels(w),
                        &(sg_gemm_args){.transpose_b = transpose,
                                        .n = n,
                                        .k = k,
                                        .b = b.values,
                                        .b_half = b.half,
                                        .ldb = b.stride,
                                        .kind = w->node->kind},
                        work_place(w, to));
    return right;
}

typedef struct tiles_size {
    int64_t m, n, k;
} tiles_size;

// C = alpha op(A) op(B), added to C or written.
static void work_product(const tiles_work *w, tiles_size size, sg_real alpha, tiles_matrix a,
                         bool transpose_a, const tiles_right *b, bool add, sg_real *c, int64_t ldc)
{
    sg_gemm_serial(work_kernels(w), &(sg_gemm_args){.transpose_a = transpose_a,
                                                    .transpose_b = b->transpose,
                                                    .m = size.m,
                                                    .n = size.n,
                                                    .k = size.k,
                                                    .alpha = alpha,
                                                    .a = a.values,
                                                    .a_half = a.half,
                                                    .a_low = a.low,
                                                    .lda = a.stride,
                                                    .b = b->of.values,
                                                    .b_half = b->of.half,
                                                    .ldb = b->of.stride,
                                                    .b_packed = b->packed,
                                                    .beta = add ? 1 : 0,
                                                    .c = c,
                                                    .ldc = ldc,
                                                    .kind = w->node->kind,
                                                    .room = work_place(w, w->places->room)});
}

// A tile of numbers that products take next, of `count` in a row: in bf16 dense rows of halves,
// which begin where it began; in two parts each row is where it was, one part behind the other.
static tiles_matrix work_tile(const tiles_work *w, const sg_real *tile, int64_t count)
{
    const sg_bf16 *half = (const sg_bf16 *)(const void *)tile;
    if (w->a->parts == 2) return (tiles_matrix){NULL, half, half + tiles_side, 2 * tiles_side};
    if (w->a->parts == 0) return (tiles_matrix){tile, NULL, NULL, tiles_side};
    return (tiles_matrix){NULL, half, NULL, count};
}

// Ends row r of it, after those before it: 0 but for [from, to). Halves never reach a row that is
// still to be read.
static void work_tile_row(const tiles_work *w, sg_real *tile, int64_t r, int64_t from, int64_t to,
                          int64_t count)
{
    sg_real *row = tile + r * tiles_side;
    sg_bf16 half[2][tiles_side];
    if (w->a->parts == 0) {
        memset(row, 0, (size_t)from * sizeof *row);
        memset(row + to, 0, (size_t)(count - to) * sizeof *row);
        return;
    }
    for (int64_t i = 0; i < w->a->parts; i++) {
        memset(half[i], 0, (size_t)from * sizeof *half[i]);
        memset(half[i] + to, 0, (size_t)(count - to) * sizeof *half[i]);
    }
    if (w->a->parts == 2) {
        work_kernels(w)->split_bf16(half[0] + from, half[1] + from, row + from, to - from);
        memcpy(row, half[0], (size_t)count * sizeof *half[0]);
        memcpy((sg_bf16 *)(void *)row + tiles_side, half[1], (size_t)count * sizeof *half[1]);
        return;
    }
    work_kernels(w)->to_bf16(half[0] + from, row + from, to - from);
    memcpy((sg_bf16 *)(void *)tile + r * count, half[0], (size_t)count * sizeof *half[0]);
}

// What scores are still to be multiplied by.
static sg_real work_scale(const tiles_work *w)
{
    return w->a->folded ? 1 : w->a->shape.scale;
}

// The tile of keys in which a query at `position` sees its first one.
static int64_t tile_first(const tiles_work *w, int64_t position)
{
    return sg_attention_first_key(w->a->shape.window, position) / tiles_side * tiles_side;
}

// Whether any of the queries at position … sees any of the keys of the tile that begins at `key`.
static bool tile_sees(const tiles_work *w, int64_t position, int64_t rows, int64_t key)
{
    return key < position + rows && key >= tile_first(w, position);
}

// ---- forward ------------------------------------------------------------------------------------

typedef struct tiles_forward {
    tiles_work w;
    int64_t head, first, rows, position; // the first head, query and its position; queries of each
    tiles_matrix q[tiles_most], k, v;
    sg_real *s, *o, *top, *sum; // o, top, sum: (heads, queries of a whole chunk)
} tiles_forward;

// What row r of a tile of scores gives: op_attention.c has the same.
static void forward_row(const tiles_forward *f, int64_t state, int64_t position, int64_t r,
                        int64_t key, int64_t keys, bool first)
{
    const sg_kernels *kernels = work_kernels(&f->w);
    const sg_attention_shape *a = &f->w.a->shape;
    const int64_t seen_from = sg_attention_first_key(a->window, position + r) - key;
    const int64_t from = seen_from > 0 ? seen_from : 0, to = sg_min(keys, position + r + 1 - key);
    if (to <= from) {
        work_tile_row(&f->w, f->s, r, 0, 0, keys);
        return;
    }
    sg_real *row = f->s + r * tiles_side + from, *top = f->top + state + r;
    sg_real *sum = f->sum + state + r, old_top = *top;
    if (work_scale(&f->w) != 1) kernels->scale(row, work_scale(&f->w), to - from);
    const sg_real here_top = kernels->max(row, to - from);
    if (here_top > old_top) *top = here_top;
    const sg_real here = kernels->exp_sum(row, row, *top, to - from);
    work_tile_row(&f->w, f->s, r, from, to, keys);
    if (*sum != 0 && *top > old_top) {
        const sg_real shrink = (sg_real)exp((double)(old_top - *top));
        if (!first) kernels->scale(f->o + (state + r) * a->head_dim, shrink, a->head_dim);
        *sum *= shrink;
    }
    *sum += here;
}

static int64_t forward_state(const tiles_forward *f, int64_t head, int64_t row)
{
    return head * f->w.a->cut.tiles * f->w.a->cut.side + row;
}

static void forward_tile(const tiles_forward *f, int64_t head, int64_t row, int64_t key,
                         int64_t keys, const tiles_right *k, const tiles_right *v)
{
    const sg_attention_shape *a = &f->w.a->shape;
    const int64_t rows = sg_min(f->w.a->cut.side, f->rows - row), h = a->head_dim;
    const int64_t position = f->position + row, state = forward_state(f, head, row);
    if (!tile_sees(&f->w, position, rows, key)) return;
    const bool first = key == tile_first(&f->w, position);
    work_product(&f->w, (tiles_size){rows, keys, h}, 1, matrix_at(f->q[head], row, 0), false, k,
                 false, f->s, tiles_side);
    for (int64_t r = 0; r < rows; r++)
        forward_row(f, state, position, r, key, keys, first);
    work_product(&f->w, (tiles_size){rows, h, keys}, 1, work_tile(&f->w, f->s, keys), false, v,
                 !first, f->o + state * h, h);
}

// Row r of a head: its result, rounded where the tape wants that too.
static void forward_end_row(const tiles_forward *f, int64_t head, int64_t r)
{
    const sg_kernels *kernels = work_kernels(&f->w);
    const sg_node *node = f->w.node;
    const sg_attention_shape *a = &f->w.a->shape;
    const int64_t h = a->head_dim, state = forward_state(f, head, r);
    const int64_t row = f->w.sequence * a->length + f->first + r;
    const int64_t at = row * sg_attention_width(a) + (f->head + head) * h;
    sg_real *o = f->o + state * h;
    kernels->scale(o, 1 / f->sum[state], h);
    if (node->out[0]->data != NULL) memcpy(sg_values(node->out[0]) + at, o, (size_t)h * sizeof *o);
    sg_put_end(f->w.run, node, 0, at, h, o);
    if (node->n_saved > 0)
        sg_values(node->saved[0])[row * a->heads + f->head + head] =
            f->top[state] + (sg_real)log((double)f->sum[state]);
}

static void forward_keys(const tiles_forward *f)
{
    const tiles_attributes *a = f->w.a;
    const int64_t end = f->position + f->rows, h = a->shape.head_dim;
    for (int64_t key = tile_first(&f->w, f->position); key < end; key += tiles_side) {
        const int64_t keys = sg_min(tiles_side, end - key);
        const tiles_right k =
            work_prepare(&f->w, matrix_at(f->k, key, 0), true, keys, h, f->w.places->packed_k);
        const tiles_right v =
            work_prepare(&f->w, matrix_at(f->v, key, 0), false, h, keys, f->w.places->packed_v);
        for (int64_t head = 0; head < a->cut.heads; head++)
            for (int64_t row = 0; row < f->rows; row += a->cut.side)
                forward_tile(f, head, row, key, keys, &k, &v);
    }
}

static void forward_heads(tiles_forward *f)
{
    const tiles_attributes *a = f->w.a;
    const int64_t h = a->shape.head_dim, most = forward_state(f, 1, 0);
    const sg_tensor *sinks = f->w.node->in[SG_ATTENTION_SINKS];
    for (int64_t head = 0; head < a->cut.heads; head++) {
        const tiles_matrix q = work_input(&f->w, SG_ATTENTION_Q, f->head + head);
        f->q[head] = work_queries(&f->w, matrix_at(q, f->first, 0), f->rows,
                                  f->w.places->q_half +
                                      (size_t)(a->parts * head * most * h) * sizeof(sg_bf16));
        // A sink is a score that has been met before all keys.
        for (int64_t r = 0; r < f->rows; r++) {
            f->top[head * most + r] = sinks ? sg_values(sinks)[f->head + head] : -INFINITY;
            f->sum[head * most + r] = sinks ? 1 : 0;
        }
    }
    forward_keys(f);
    for (int64_t head = 0; head < a->cut.heads; head++)
        for (int64_t r = 0; r < f->rows; r++)
            forward_end_row(f, head, r);
}

typedef struct tiles_loop {
    const sg_run *run;
    const sg_node *node;
    sg_attention_grads grads; // backward
} tiles_loop;

static tiles_work work_of(const tiles_loop *l, const tiles_places *places, int worker,
                          int64_t sequence)
{
    return (tiles_work){
        l->run, l->node, l->node->attributes, places, sg_worker_scratch(l->run, worker), sequence};
}

static void tiles_forward_chunk(void *context, int64_t chunk, int worker)
{
    const tiles_loop *l = context;
    const tiles_attributes *a = l->node->attributes;
    const sg_attention_shape *shape = &a->shape;
    const int64_t most = a->cut.side * a->cut.tiles, parts = sg_chunks(shape->length, most);
    const int64_t groups = shape->heads / a->cut.heads;
    // Later queries see more keys: they come first, so that the threads end together.
    const int64_t part = parts - 1 - chunk % parts, unit = chunk / parts;
    tiles_forward f = {.w = work_of(l, &a->forward, worker, unit / groups),
                       .head = unit % groups * a->cut.heads,
                       .first = part * most};
    f.rows = sg_min(most, shape->length - f.first);
    f.position = f.first;
    f.s = work_place(&f.w, a->forward.s);
    f.o = work_place(&f.w, a->forward.o);
    f.top = work_place(&f.w, a->forward.top);
    f.sum = work_place(&f.w, a->forward.sum);
    const int64_t key_head = f.head / sg_attention_shared(shape);
    if (shape->caches != NULL) {
        const sg_kv_cache *cache = &shape->caches[f.w.sequence];
        const int64_t at = key_head * cache->capacity * shape->head_dim;
        f.k = (tiles_matrix){cache->k + at, NULL, NULL, shape->head_dim};
        f.v = (tiles_matrix){cache->v + at, NULL, NULL, shape->head_dim};
        f.position += shape->start[f.w.sequence];
    } else {
        f.k = work_input(&f.w, SG_ATTENTION_K, key_head);
        f.v = work_input(&f.w, SG_ATTENTION_V, key_head);
    }
    forward_heads(&f);
}

static void tiles_forward_pass(const sg_run *run, const sg_node *node)
{
    const tiles_attributes *a = node->attributes;
    const sg_attention_shape *shape = &a->shape;
    if (shape->caches != NULL)
        sg_fill_caches(shape->caches, shape->start, shape->length, shape->head_dim,
                       node->in[SG_ATTENTION_K], node->in[SG_ATTENTION_V]);
    tiles_loop l = {.run = run, .node = node};
    const int64_t sequences = sg_rows(node->in[SG_ATTENTION_Q]) / shape->length;
    sg_parallel_for(run->compute.pool, cut_chunks(shape, sequences, &a->cut), tiles_forward_chunk,
                    &l);
}

// ---- backward -----------------------------------------------------------------------------------

// One head, and a run of its queries.
typedef struct tiles_backward {
    tiles_work w;
    const sg_attention_grads *grads;
    int64_t head;
    bool fresh;            // the keys have had no gradient from another head
    tiles_matrix q, k, v;  // of the sequence
    sg_real *dq, *dk, *dv; // likewise; NULL: not wanted
    int64_t first, rows;   // the queries
    sg_real *lse, *delta;  // of each
    sg_real *s, *dp;
    tiles_right packed_q[tiles_most][2], packed_dout[tiles_most][2]; // transposed, as it lies
} tiles_backward;

// Of one key, row r of a tile, from where its queries begin to see it to where they no longer do.
static void backward_key(const tiles_backward *b, int64_t row, int64_t rows, int64_t key, int64_t r)
{
    const int64_t before = key + r - (b->first + row), window = b->w.a->shape.window;
    const int64_t from = sg_min(rows, before > 0 ? before : 0);
    int64_t to = window > 0 ? sg_min(rows, before + window) : rows;
    if (to < from) to = from;
    sg_real *s = b->s + r * tiles_side + from, *dp = b->dp + r * tiles_side + from;
    if (work_scale(&b->w) != 1) work_kernels(&b->w)->scale(s, work_scale(&b->w), to - from);
    work_kernels(&b->w)->attention_key(s, dp, b->lse + row + from, b->delta + row + from,
                                       to - from);
    work_tile_row(&b->w, b->s, r, from, to, rows);
    work_tile_row(&b->w, b->dp, r, from, to, rows);
}

typedef struct tiles_keys {
    int64_t first, count;
    tiles_matrix k, v;
    tiles_right packed_k;
} tiles_keys;

static void backward_tile(const tiles_backward *b, int64_t tile, const tiles_keys *keys)
{
    const sg_attention_shape *a = &b->w.a->shape;
    const int64_t h = a->head_dim, row = tile * tiles_side,
                  rows = sg_min(tiles_side, b->rows - row);
    const int64_t query = b->first + row, n = keys->count, key_width = sg_attention_key_width(a);
    const int64_t width = sg_attention_width(a);
    if (!tile_sees(&b->w, query, rows, keys->first)) return;
    work_product(&b->w, (tiles_size){n, rows, h}, 1, keys->k, false, &b->packed_q[tile][0], false,
                 b->s, tiles_side);
    work_product(&b->w, (tiles_size){n, rows, h}, 1, keys->v, false, &b->packed_dout[tile][0],
                 false, b->dp, tiles_side);
    for (int64_t r = 0; r < n; r++)
        backward_key(b, row, rows, keys->first, r);
    const tiles_matrix p = work_tile(&b->w, b->s, rows), ds = work_tile(&b->w, b->dp, rows);
    // Tiles on the diagonal come first of those with their keys.
    const bool write = b->fresh && query == keys->first;
    if (b->dv != NULL)
        work_product(&b->w, (tiles_size){n, h, rows}, 1, p, false, &b->packed_dout[tile][1],
                     !write || b->grads->add_v, b->dv + keys->first * key_width, key_width);
    if (b->dk != NULL)
        work_product(&b->w, (tiles_size){n, h, rows}, work_scale(&b->w), ds, false,
                     &b->packed_q[tile][1], !write || b->grads->add_k,
                     b->dk + keys->first * key_width, key_width);
    if (b->dq != NULL)
        work_product(&b->w, (tiles_size){rows, h, n}, a->scale, ds, true, &keys->packed_k,
                     keys->first != tile_first(&b->w, query) || b->grads->add_q,
                     b->dq + query * width, width);
}

// lse and delta, the sums of dO O, of the rows of a run. dO is what products take, so that the rows
// of dS sum to 0 as far as those of P do to 1.
static void backward_rows(const tiles_backward *b, tiles_matrix dout)
{
    const sg_kernels *kernels = work_kernels(&b->w);
    const sg_node *node = b->w.node;
    const sg_attention_shape *a = &b->w.a->shape;
    const int64_t h = a->head_dim, width = sg_attention_width(a);
    const int64_t at = (b->w.sequence * a->length + b->first) * width + b->head * h;
    const tiles_matrix result = matrix_at(
        (tiles_matrix){sg_values(node->out[0]), sg_half_out(node, 0), NULL, width}, 0, at);
    for (int64_t r = 0; r < b->rows; r++) {
        const int64_t row = b->w.sequence * a->length + b->first + r;
        work_expect(&b->w, result, r, b->rows);
        work_expect(&b->w, dout, r, b->rows);
        const sg_real *o = sg_get_half(b->w.run, sg_half_out(node, 0), node->out[0],
                                       row * width + b->head * h, h, b->dp);
        const tiles_matrix d = matrix_at(dout, r, 0);
        if (d.half != NULL) kernels->from_bf16(b->s, d.half, h);
        b->lse[r] = sg_values(node->saved[0])[row * a->heads + b->head];
        b->delta[r] = kernels->dot(d.half ? b->s : d.values, o, h);
    }
}

// Right operands of products with each tile of queries.
static void backward_prepare(tiles_backward *b, tiles_matrix dout)
{
    const tiles_places *places = b->w.places;
    const int64_t h = b->w.a->shape.head_dim;
    const size_t across = sg_whole_lines(sg_gemm_packed_bytes(b->w.node->kind, tiles_side, h));
    const size_t along = sg_whole_lines(sg_gemm_packed_bytes(b->w.node->kind, h, tiles_side));
    tiles_matrix q = matrix_at(b->q, b->first, 0);
    if (b->w.a->parts == 1) q = work_queries(&b->w, q, b->rows, places->q_half);
    for (int64_t row = 0, t = 0; row < b->rows; row += tiles_side, t++) {
        const int64_t rows = sg_min(tiles_side, b->rows - row);
        const size_t over = (size_t)t * across, under = (size_t)t * along;
        const tiles_matrix qt = matrix_at(q, row, 0), dt = matrix_at(dout, row, 0);
        b->packed_q[t][0] = work_prepare(&b->w, qt, true, rows, h, places->packed_q[0] + over);
        b->packed_q[t][1] = work_prepare(&b->w, qt, false, h, rows, places->packed_q[1] + under);
        b->packed_dout[t][0] =
            work_prepare(&b->w, dt, true, rows, h, places->packed_dout[0] + over);
        b->packed_dout[t][1] =
            work_prepare(&b->w, dt, false, h, rows, places->packed_dout[1] + under);
    }
}

static void backward_run(tiles_backward *b)
{
    const sg_attention_shape *a = &b->w.a->shape;
    const int64_t h = a->head_dim, width = sg_attention_width(a);
    const int64_t at = (b->w.sequence * a->length + b->first) * width + b->head * h;
    tiles_matrix dout = {b->w.node->out[0]->grad + at, NULL, NULL, width};
    if (b->w.a->parts == 1) dout = work_left(&b->w, dout, b->rows, b->w.places->dout_half, 1);
    backward_rows(b, dout);
    if (b->dq == NULL && b->dk == NULL && b->dv == NULL) return;
    backward_prepare(b, dout);
    for (int64_t key = tile_first(&b->w, b->first); key < b->first + b->rows; key += tiles_side) {
        tiles_keys keys = {.first = key, .count = sg_min(tiles_side, a->length - key)};
        keys.k = work_left(&b->w, matrix_at(b->k, key, 0), keys.count, b->w.places->k_half, 1);
        keys.v = work_left(&b->w, matrix_at(b->v, key, 0), keys.count, b->w.places->v_half, 1);
        keys.packed_k = work_prepare(&b->w, b->w.a->parts == 1 ? keys.k : matrix_at(b->k, key, 0),
                                     false, h, keys.count, b->w.places->packed_k);
        for (int64_t tile = 0; tile * tiles_side < b->rows; tile++)
            backward_tile(b, tile, &keys);
    }
}

// A sink has a score and no value: its gradient is the sum over rows of p (0 - delta).
static double backward_sink(const tiles_backward *b, double sink)
{
    double sum = 0;
    for (int64_t r = 0; r < b->rows; r++)
        sum -= exp(sink - (double)b->lse[r]) * (double)b->delta[r];
    return sum;
}

static void backward_head(tiles_backward *b)
{
    const sg_node *node = b->w.node;
    const sg_attention_shape *a = &b->w.a->shape;
    const int64_t shared = sg_attention_shared(a), key_head = b->head / shared, h = a->head_dim;
    const int64_t row = b->w.sequence * a->length;
    const int64_t key_at = row * sg_attention_key_width(a) + key_head * h;
    const sg_attention_grads *g = b->grads;
    b->fresh = b->head % shared == 0;
    b->q = work_input(&b->w, SG_ATTENTION_Q, b->head);
    b->k = work_input(&b->w, SG_ATTENTION_K, key_head);
    b->v = work_input(&b->w, SG_ATTENTION_V, key_head);
    b->dq = g->dq ? g->dq + row * sg_attention_width(a) + b->head * h : NULL;
    b->dk = g->dk ? g->dk + key_at : NULL;
    b->dv = g->dv ? g->dv + key_at : NULL;
    double sinks = 0;
    for (b->first = 0; b->first < a->length; b->first += tiles_rows) {
        b->rows = sg_min(tiles_rows, a->length - b->first);
        backward_run(b);
        if (g->sink_sums != NULL)
            sinks += backward_sink(b, (double)sg_values(node->in[SG_ATTENTION_SINKS])[b->head]);
    }
    if (g->sink_sums != NULL) g->sink_sums[b->w.sequence * a->heads + b->head] = sinks;
}

// The heads that share their keys are one thread's, which adds up what they give to them.
static void tiles_backward_chunk(void *context, int64_t chunk, int worker)
{
    const tiles_loop *l = context;
    const tiles_attributes *a = l->node->attributes;
    const int64_t kv_heads = a->shape.kv_heads, shared = sg_attention_shared(&a->shape);
    tiles_backward b = {.w = work_of(l, &a->backward, worker, chunk / kv_heads),
                        .grads = &l->grads};
    b.lse = work_place(&b.w, a->backward.lse);
    b.delta = work_place(&b.w, a->backward.delta);
    b.s = work_place(&b.w, a->backward.s);
    b.dp = work_place(&b.w, a->backward.dp);
    for (int64_t i = 0; i < shared; i++) {
        b.head = chunk % kv_heads * shared + i;
        backward_head(&b);
    }
}

static void tiles_backward_pass(const sg_run *run, const sg_node *node)
{
    const tiles_attributes *a = node->attributes;
    tiles_loop l = {.run = run, .node = node, .grads = sg_attention_grads_of(run, node)};
    const int64_t sequences = sg_rows(node->in[SG_ATTENTION_Q]) / a->shape.length;
    sg_parallel_for(run->compute.pool, sequences * a->shape.kv_heads, tiles_backward_chunk, &l);
    sg_attention_sinks_end(&l.grads, node);
}

static const sg_op op_attention_tiles = {
    .name = "attention",
    .forward = tiles_forward_pass,
    .backward = tiles_backward_pass,
    .flops = sg_attention_flops,
    .backward_reads_in = (1 << SG_ATTENTION_INPUTS) - 1,
    .backward_reads_out = 1,
    .reads_half_out = 1,
    .reads_half = 1 << SG_ATTENTION_Q | 1 << SG_ATTENTION_K | 1 << SG_ATTENTION_V,
    .writes_half = 1,
};

// Caches are f32 and filled from f32.
static const sg_op op_attention_tiles_cached = {
    .name = "attention_cached",
    .forward = tiles_forward_pass,
    .flops = sg_attention_flops,
};

void sg_attention_tile(sg_tape *tape, sg_node *node, const sg_attention_shape *shape)
{
    tiles_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (a == NULL) return;
    a->shape = *shape;
    int exponent;
    a->folded = node->kind == SG_COMPUTE_BF16 && frexp((double)shape->scale, &exponent) == 0.5;
    a->parts = node->kind == SG_COMPUTE_BF16               ? 1
               : sg_gemm_unit(node->kind) != SG_TILES_NONE ? 2
                                                           : 0;
    a->cut = cut_of(shape, sg_rows(node->in[SG_ATTENTION_Q]) / shape->length);
    a->forward = places_forward(a, node->kind);
    a->backward = places_backward(a, node->kind);
    node->op = shape->caches ? &op_attention_tiles_cached : &op_attention_tiles;
    node->attributes = a;
    node->worker_scratch_bytes =
        node->op->backward ? place_max(a->forward.end, a->backward.end) : a->forward.end;
}
