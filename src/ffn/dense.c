// How a memory of single neurons is read through dense products: every row of a tile meets every
// neuron of a block, and what is not selected is thrown away. That is more work than reading the
// selected rows, N / k times as much, and pays where a product is as many times faster: with units
// for matrices, or where most of a pool is selected. With A a tile of rows, W a block of a table:
//
//     dots:     P = A W^T, of which the hits are picked
//     sums:     A += Z W, Z zero but for the hits (those of one neuron and row, which channels of a
//               shared pool can have, add up)
//     tables:   dW += Z^T A
//
// Blocks that no row of a tile hits are skipped. Tiles, blocks and the order of all sums follow
// from the shape alone. Z is not cleared as a whole: after its product the hits are set to 0 again.
#include "ffn/dense.h"

#include "base/alloc.h"
#include "kernel/gemm.h"

enum { dense_tiles = 16, dense_tile_min = 64, dense_tile_max = 512 }; // rows
enum { dense_bits_min = 6, dense_bits_max = 8, dense_chunks = 8 };    // neurons, 1 << bits
enum { dense_convert = 32768 };

// ---- recording ----------------------------------------------------------------------------------

static size_t dense_reals(int64_t count)
{
    return sg_whole_lines((size_t)count * sizeof(sg_real));
}

static bool dense_wants_half(const sg_node *node)
{
    return node->kind == SG_COMPUTE_BF16;
}

static int64_t dense_tiles_of(const sg_neurons *a)
{
    return sg_chunks(a->rows, a->tile);
}

static void dense_cut(sg_neurons *a)
{
    a->tile = sg_chunks(sg_chunks(a->rows, dense_tiles), 16) * 16;
    if (a->tile < dense_tile_min) a->tile = dense_tile_min;
    if (a->tile > dense_tile_max) a->tile = dense_tile_max;
    a->bits = dense_bits_max;
    while (a->bits > dense_bits_min && a->pools * sg_chunks(a->n, 1 << a->bits) < dense_chunks)
        a->bits--;
    a->block = (int64_t)1 << a->bits;
    a->blocks = sg_chunks(a->n, a->block);
}

// Of the right side of a product with a block, either way, and with a tile.
static size_t dense_block_bytes(const sg_node *node, const sg_neurons *a)
{
    const size_t dots = sg_gemm_packed_bytes(node->kind, a->block, a->d);
    const size_t sums = sg_gemm_packed_bytes(node->kind, a->d, a->block);
    return sg_whole_lines(dots > sums ? dots : sums);
}

static size_t dense_tile_bytes(const sg_node *node, const sg_neurons *a)
{
    return sg_whole_lines(sg_gemm_packed_bytes(node->kind, a->d, a->tile));
}

// No neuron is selected twice by a row and channel, as a top-k selects; if one is after all, its
// values are rounded once more where they meet.
static bool dense_meet(const sg_neurons *a)
{
    return a->pools < a->channels;
}

static size_t dense_gemm_room(const sg_node *node, const sg_neurons *a)
{
    const size_t rooms[] = {sg_gemm_room(node->kind, a->tile, a->block, a->d),
                            sg_gemm_room(node->kind, a->tile, a->d, a->block),
                            sg_gemm_room(node->kind, a->block, a->d, a->tile)};
    size_t most = 0;
    for (int i = 0; i < 3; i++)
        if (rooms[i] > most) most = rooms[i];
    return sg_whole_lines(most);
}

bool sg_dense_record(sg_tape *tape, sg_node *node, sg_neurons *a, int hits)
{
    dense_cut(a);
    a->hit_values = hits;
    node->attributes = a;
    int64_t count = sg_neurons_hits(a);
    int64_t starts = a->pools * dense_tiles_of(a) * (a->blocks + 1);
    sg_node_save(tape, node, SG_KIND_INT, 1, &count);
    sg_node_save(tape, node, SG_KIND_INT, 1, &count);
    if (sg_node_save(tape, node, SG_KIND_INT, 1, &starts) == NULL) return false;
    size_t matrix = dense_reals(a->tile * a->block), half = (size_t)(a->rows * a->d) * 2;
    const size_t blocks = 2 * (size_t)(a->pools * a->blocks) * dense_block_bytes(node, a);
    const size_t tiles = 2 * (size_t)dense_tiles_of(a) * dense_tile_bytes(node, a);
    node->scratch_bytes = (size_t)hits * dense_reals(count) + (blocks > tiles ? blocks : tiles);
    if (dense_wants_half(node)) node->scratch_bytes += 2 * sg_whole_lines(half);
    node->worker_scratch_bytes = 2 * matrix + dense_reals(a->block * a->d) +
                                 dense_reals(3 * a->tile * a->k) + dense_gemm_room(node, a);
    if (dense_wants_half(node)) node->worker_scratch_bytes += matrix;
    return true;
}

// ---- running ------------------------------------------------------------------------------------

typedef struct dense_rounding {
    const sg_kernels *kernels;
    sg_bf16 *to;
    const sg_real *from;
} dense_rounding;

static void dense_round_chunk(void *context, sg_range range)
{
    const dense_rounding *c = context;
    c->kernels->to_bf16(c->to + range.first, c->from + range.first, range.end - range.first);
}

static sg_dense_rows dense_rows(const sg_dense_loop *l, const sg_real *values, const sg_bf16 *half,
                                sg_bf16 *to)
{
    const sg_neurons *a = l->n.a;
    if (half != NULL || values == NULL || !dense_wants_half(l->n.node))
        return (sg_dense_rows){values, half};
    dense_rounding c = {l->n.run->compute.kernels, to, values};
    sg_parallel_ranges(l->n.run->compute.pool, a->rows * a->d, dense_convert, dense_round_chunk,
                       &c);
    return (sg_dense_rows){values, to};
}

sg_dense_loop sg_dense_begin(const sg_run *run, const sg_node *node, const sg_real *dy)
{
    const sg_neurons *a = node->attributes;
    sg_dense_loop l = {.n = {.run = run, .node = node, .a = a}};
    const sg_tensor *x = node->in[SG_NEURONS_X];
    sg_tensor *const *saved = node->saved + node->n_saved - 3;
    l.index = (sg_dense_index){sg_ints(saved[0]), sg_ints(saved[1]), sg_ints(saved[2])};
    const size_t hits = dense_reals(sg_neurons_hits(a));
    const size_t half = sg_whole_lines((size_t)(a->rows * a->d) * sizeof(sg_bf16));
    l.z = (sg_real *)run->scratch;
    l.da = (sg_real *)(run->scratch + hits);
    l.pack = run->scratch + (size_t)a->hit_values * hits;
    if (dense_wants_half(node)) {
        unsigned char *halves = run->scratch + node->scratch_bytes - 2 * half;
        if (x != NULL)
            l.x = dense_rows(&l, sg_values(x), sg_half_in(node, SG_NEURONS_X), (sg_bf16 *)halves);
        l.dy = dense_rows(&l, dy, NULL, (sg_bf16 *)(halves + half));
    } else {
        l.x.values = x != NULL ? sg_values(x) : NULL;
        l.dy.values = dy;
    }
    return l;
}

sg_dense_room sg_dense_room_of(const sg_dense_loop *l, int worker)
{
    const sg_neurons *a = l->n.a;
    unsigned char *at = sg_worker_scratch(l->n.run, worker);
    const size_t matrix = dense_reals(a->tile * a->block);
    sg_dense_room room = {.product = (sg_real *)at};
    at += matrix;
    if (!dense_wants_half(l->n.node) || dense_meet(a)) {
        room.spread = (sg_real *)at;
        memset(room.spread, 0, matrix);
        at += matrix;
    }
    if (dense_wants_half(l->n.node)) {
        room.half = (sg_bf16 *)at;
        memset(room.half, 0, (size_t)(a->tile * a->block) * sizeof *room.half);
        at += matrix;
    }
    room.wide = (sg_real *)at;
    room.gates = (sg_real *)(at + dense_reals(a->block * a->d));
    room.gemm = (unsigned char *)room.gates + dense_reals(3 * a->tile * a->k);
    return room;
}

// ---- the index ----------------------------------------------------------------------------------

static int64_t dense_base(const sg_neurons *a, const sg_dense_part *p)
{
    return (p->channel * a->rows + p->channels * p->row) * a->k;
}

sg_dense_part sg_dense_part_of(const sg_dense_loop *l, int64_t pool, int64_t tile)
{
    const sg_neurons *a = l->n.a;
    sg_dense_part p = {.pool = pool,
                       .row = tile * a->tile,
                       .end = sg_min(a->rows, (tile + 1) * a->tile),
                       .channel = a->pools == 1 ? 0 : pool,
                       .channels = a->pools == 1 ? a->channels : 1};
    p.places = l->index.places + dense_base(a, &p);
    p.hits = l->index.hits + dense_base(a, &p);
    p.starts = l->index.starts + (pool * dense_tiles_of(a) + tile) * (a->blocks + 1);
    return p;
}

// One part, as if all that is selected came before it.
static void dense_sort_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_dense_loop *l = context;
    const sg_neurons *a = l->n.a;
    const sg_node *node = l->n.node;
    const int64_t tiles = dense_tiles_of(a);
    const sg_dense_part p = sg_dense_part_of(l, chunk / tiles, chunk % tiles);
    int32_t *starts = l->index.starts + chunk * (a->blocks + 1);
    int32_t *places = l->index.places + dense_base(a, &p);
    int32_t *hits = l->index.hits + dense_base(a, &p);
    memset(starts, 0, (size_t)(a->blocks + 1) * sizeof *starts);
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++) {
            const int32_t *ids = sg_neurons_ids(node, a, r, c);
            for (int64_t i = 0; i < sg_neurons_count(node, a, r, c); i++)
                starts[(ids[i] >> a->bits) + 1]++;
        }
    for (int64_t b = 0; b < a->blocks; b++)
        starts[b + 1] += starts[b];
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++) {
            const int32_t *ids = sg_neurons_ids(node, a, r, c);
            for (int64_t i = 0; i < sg_neurons_count(node, a, r, c); i++) {
                const int32_t to = starts[ids[i] >> a->bits]++;
                places[to] = (int32_t)((r - p.row) * a->block + (ids[i] & (a->block - 1)));
                hits[to] = (int32_t)(c * a->of_channel + r * a->of_row + i);
            }
        }
    // Filling moved each start to the end of its block; move them back by one place.
    memmove(starts + 1, starts, (size_t)a->blocks * sizeof *starts);
    starts[0] = 0;
}

void sg_dense_sort(sg_dense_loop *l)
{
    sg_parallel_for(l->n.run->compute.pool, l->n.a->pools * dense_tiles_of(l->n.a),
                    dense_sort_chunk, l);
}

// ---- products -----------------------------------------------------------------------------------

// B is block `block` of a table, or of what was packed of it, of which there are the returned count
// of neurons.
static int64_t dense_block(const sg_dense_loop *l, const sg_dense_part *p, int64_t block,
                           const sg_dense_room *room, int input, const unsigned char *packed,
                           sg_gemm_args *args)
{
    const sg_neurons *a = l->n.a;
    const int64_t from = block << a->bits, count = sg_min(a->block, a->n - from);
    const sg_stored pool = sg_neurons_pool(a, l->n.node->in[input], p->channel);
    const sg_stored w = sg_stored_at(&pool, from, a->d);
    args->kind = l->n.node->kind;
    args->room = room->gemm;
    args->ldb = a->d;
    if (packed != NULL) {
        args->b_packed = packed + (size_t)(p->pool * a->blocks + block) * l->packed.block_bytes;
        return count;
    }
    if (!sg_stored_is_narrow(&w)) {
        args->b = w.rows;
    } else if (w.type == SG_WEIGHTS_BF16 && w.parts == NULL && args->kind == SG_COMPUTE_BF16) {
        args->b_half = w.rows;
        if (w.step > 1) args->ldb *= w.step;
    } else {
        sg_stored_read(l->n.run->compute.kernels, room->wide, &w, 0, count, a->d);
        args->b = room->wide;
    }
    return count;
}

static void dense_gemm(const sg_dense_loop *l, const sg_gemm_args *args)
{
    sg_gemm_serial(l->n.run->compute.kernels, args);
}

static void dense_rows_from(const sg_dense_rows *rows, int64_t first, int64_t d,
                            const sg_real **values, const sg_bf16 **half)
{
    *values = rows->values != NULL ? rows->values + first * d : NULL;
    *half = rows->half != NULL ? rows->half + first * d : NULL;
}

void sg_dense_dots(const sg_dense_loop *l, const sg_dense_part *p, const sg_dense_room *room,
                   sg_real *values, const sg_dense_rows *from, int input)
{
    const sg_neurons *a = l->n.a;
    for (int64_t b = 0; b < a->blocks; b++) {
        if (p->starts[b] == p->starts[b + 1]) continue;
        sg_gemm_args args = {.transpose_b = true,
                             .m = p->end - p->row,
                             .k = a->d,
                             .alpha = 1,
                             .lda = a->d,
                             .c = room->product,
                             .ldc = a->block};
        dense_rows_from(from, p->row, a->d, &args.a, &args.a_half);
        args.n = dense_block(l, p, b, room, input, l->packed.dots, &args);
        dense_gemm(l, &args);
        for (int32_t i = p->starts[b]; i < p->starts[b + 1]; i++)
            values[p->hits[i]] = room->product[p->places[i]];
    }
}

// The values of the hits of a block as a matrix (rows, block): op(A) of a product.
static void dense_spread(const sg_dense_part *p, int64_t b, const sg_dense_room *room,
                         const sg_real *values, sg_gemm_args *args)
{
    const int32_t begin = p->starts[b], end = p->starts[b + 1];
    args->a = room->spread;
    args->a_half = room->half;
    for (int32_t i = begin; room->spread != NULL && i < end; i++)
        room->spread[p->places[i]] += values[p->hits[i]];
    for (int32_t i = begin; room->half != NULL && i < end; i++) {
        sg_bf16 *half = &room->half[p->places[i]];
        *half = sg_bf16_round((float)(room->spread != NULL
                                          ? room->spread[p->places[i]]
                                          : (sg_real)sg_bf16_value(*half) + values[p->hits[i]]));
    }
}

static void dense_clear(const sg_dense_part *p, int64_t b, const sg_dense_room *room)
{
    const int32_t begin = p->starts[b], end = p->starts[b + 1];
    for (int32_t i = begin; room->spread != NULL && i < end; i++)
        room->spread[p->places[i]] = 0;
    for (int32_t i = begin; room->half != NULL && i < end; i++)
        room->half[p->places[i]] = 0;
}

void sg_dense_sums(const sg_dense_loop *l, const sg_dense_part *p, const sg_dense_room *room,
                   sg_real *to, bool add, const sg_real *values, int input)
{
    const sg_neurons *a = l->n.a;
    const int64_t rows = p->end - p->row;
    to += p->row * a->d;
    for (int64_t b = 0; b < a->blocks; b++) {
        if (p->starts[b] == p->starts[b + 1]) continue;
        sg_gemm_args args = {.m = rows,
                             .n = a->d,
                             .alpha = 1,
                             .lda = a->block,
                             .beta = add ? 1 : 0,
                             .c = to,
                             .ldc = a->d};
        dense_spread(p, b, room, values, &args);
        args.k = dense_block(l, p, b, room, input, l->packed.sums, &args);
        dense_gemm(l, &args);
        dense_clear(p, b, room);
        add = true;
    }
    if (!add) memset(to, 0, (size_t)(rows * a->d) * sizeof *to);
}

// ---- tiles ------------------------------------------------------------------------------------

// Packs one block of the tables that are read.
static void dense_pack_block(void *context, int64_t chunk, int worker)
{
    const sg_dense_loop *l = context;
    const sg_neurons *a = l->n.a;
    const sg_dense_room room = sg_dense_room_of(l, worker);
    const sg_dense_part p = sg_dense_part_of(l, chunk / a->blocks, 0);
    const size_t at = (size_t)chunk * l->packed.block_bytes;
    sg_gemm_args args = {.transpose_b = true, .k = a->d};
    if (l->dots >= 0) {
        args.n = dense_block(l, &p, chunk % a->blocks, &room, l->dots, NULL, &args);
        sg_gemm_pack_serial(l->n.run->compute.kernels, &args, l->packed.dots + at);
    }
    args = (sg_gemm_args){.n = a->d};
    if (l->sums >= 0) {
        args.k = dense_block(l, &p, chunk % a->blocks, &room, l->sums, NULL, &args);
        sg_gemm_pack_serial(l->n.run->compute.kernels, &args, l->packed.sums + at);
    }
}

void sg_dense_tiles(sg_dense_loop *l, sg_range_fn fn, int dots, int sums)
{
    const sg_neurons *a = l->n.a;
    l->dots = dots;
    l->sums = sums;
    l->packed.block_bytes = dense_block_bytes(l->n.node, a);
    if (l->packed.block_bytes > 0) {
        l->packed.dots = l->pack;
        l->packed.sums = l->pack + (size_t)(a->pools * a->blocks) * l->packed.block_bytes;
        sg_parallel_for(l->n.run->compute.pool, a->pools * a->blocks, dense_pack_block, l);
    }
    sg_parallel_ranges(l->n.run->compute.pool, a->rows, a->tile, fn, l);
}

// ---- gradients of the tables --------------------------------------------------------------------

// dw (count, d), of one block, from all tiles in order.
static void dense_gradient(const sg_dense_loop *l, int64_t pool, int64_t b,
                           const sg_dense_room *room, sg_real *dw, bool add, const sg_real *values,
                           const sg_dense_rows *from, const unsigned char *packed)
{
    const sg_neurons *a = l->n.a;
    const int64_t count = sg_min(a->block, a->n - (b << a->bits));
    dw += (pool * a->n + (b << a->bits)) * a->d;
    for (int64_t t = 0; t < dense_tiles_of(a); t++) {
        const sg_dense_part p = sg_dense_part_of(l, pool, t);
        if (p.starts[b] == p.starts[b + 1]) continue;
        sg_gemm_args args = {.transpose_a = true,
                             .m = count,
                             .n = a->d,
                             .k = p.end - p.row,
                             .alpha = 1,
                             .lda = a->block,
                             .ldb = a->d,
                             .beta = add ? 1 : 0,
                             .c = dw,
                             .ldc = a->d,
                             .kind = l->n.node->kind,
                             .room = room->gemm};
        dense_spread(&p, b, room, values, &args);
        if (packed != NULL)
            args.b_packed = packed + (size_t)t * l->packed.tile_bytes;
        else
            dense_rows_from(from, p.row, a->d, &args.b, &args.b_half);
        dense_gemm(l, &args);
        dense_clear(&p, b, room);
        add = true;
    }
    if (!add) memset(dw, 0, (size_t)(count * a->d) * sizeof *dw);
}

static void dense_weights_chunk(void *context, int64_t chunk, int worker)
{
    const sg_dense_loop *l = context;
    const sg_neurons_loop *n = &l->n;
    const int64_t pool = chunk / n->a->blocks, b = chunk % n->a->blocks;
    const sg_dense_room room = sg_dense_room_of(l, worker);
    // In the order of the inputs, so that tied tables (w_in is w_out) add up.
    if (n->dw_in != NULL)
        dense_gradient(l, pool, b, &room, n->dw_in, n->add_in, l->da, &l->x, l->packed.x);
    if (n->dw_out != NULL)
        dense_gradient(l, pool, b, &room, n->dw_out, n->add_out, l->z, &l->dy, l->packed.dy);
}

// Packs the rows of one tile.
static void dense_pack_tile(void *context, sg_range range)
{
    const sg_dense_loop *l = context;
    const sg_neurons *a = l->n.a;
    sg_gemm_args args = {
        .n = a->d, .k = range.end - range.first, .ldb = a->d, .kind = l->n.node->kind};
    const size_t at = (size_t)range.chunk * l->packed.tile_bytes;
    if (l->n.dw_in != NULL) {
        dense_rows_from(&l->x, range.first, a->d, &args.b, &args.b_half);
        sg_gemm_pack_serial(l->n.run->compute.kernels, &args, l->packed.x + at);
    }
    if (l->n.dw_out != NULL) {
        dense_rows_from(&l->dy, range.first, a->d, &args.b, &args.b_half);
        sg_gemm_pack_serial(l->n.run->compute.kernels, &args, l->packed.dy + at);
    }
}

void sg_dense_weights(sg_dense_loop *l)
{
    if (l->n.dw_in == NULL && l->n.dw_out == NULL) return;
    l->packed.tile_bytes = dense_tile_bytes(l->n.node, l->n.a);
    if (l->packed.tile_bytes > 0) {
        l->packed.x = l->pack;
        l->packed.dy = l->pack + (size_t)dense_tiles_of(l->n.a) * l->packed.tile_bytes;
        sg_parallel_ranges(l->n.run->compute.pool, l->n.a->rows, l->n.a->tile, dense_pack_tile, l);
    }
    sg_parallel_for(l->n.run->compute.pool, l->n.a->pools * l->n.a->blocks, dense_weights_chunk, l);
}
