// Few rows through the neurons of selected blocks: one token that is decoded, or one of each of
// some sessions. All the time is that of reading the tables, so all threads read, each block once
// for all rows that selected it, and a neuron whose z is 0 has no row of w_out read.
//
// The selected blocks, in their order, are cut into units of some dozens of neurons: pieces of a
// block, or several small ones. A unit is the work of one thread. It makes u and z and, of each row
// that has a block in it, a sum of its own; a row's result is the bias and then its units' sums in
// their order:
//
//     y = c + (sum of unit 0) + (sum of unit 1) + …       each from 0, neuron by neuron
//
// With a threshold of |act| a unit first makes the gates of its neurons, then reads the linear
// parts of those alone that are above it, whose rows of w_out are the only ones that are read too.
//
// How units are cut follows from the number of neurons that are selected, so the bits do not depend
// on threads; and where all blocks are selected not on how many blocks the neurons are cut into
// either, if their sizes are divisors or multiples of a unit's.
#include "ffn/moefied.h"

#include <string.h>

#include "base/alloc.h"
#include "op/trim.h"

enum { few_neurons = 32, few_units = 64 }; // of a unit at least; so many of these that units grow

typedef struct few_loop {
    sg_blocks_loop *l;
    int32_t *used; // blocks that a row selected, ascending
    int64_t used_count;
    int64_t pieces, piece; // of a block, of so many neurons; pieces 1: `together` blocks a unit
    int64_t together, units;
    unsigned char *there; // (units, rows): whether a row has a sum of the unit
    sg_real *sums;        // (units, rows, d)
} few_loop;

bool sg_moefied_are_few(const sg_node *node)
{
    const sg_blocks *a = node->attributes;
    return a->rows <= SG_MOEFIED_FEW && node->kind == SG_COMPUTE_F32;
}

// Units at most: few_units of the least size and as many more as blocks end within one.
static int64_t few_most_units(const sg_blocks *a)
{
    const int64_t whole = a->blocks * sg_chunks(a->g, few_neurons);
    return sg_min(whole, 2 * few_units + 2);
}

static size_t few_used_bytes(const sg_blocks *a)
{
    return sg_whole_lines((size_t)a->blocks * sizeof(int32_t));
}

static size_t few_there_bytes(const sg_blocks *a)
{
    return sg_whole_lines((size_t)(few_most_units(a) * a->rows));
}

size_t sg_moefied_few_bytes(const sg_blocks *a)
{
    return few_used_bytes(a) + few_there_bytes(a) +
           (size_t)(few_most_units(a) * a->rows * a->d) * sizeof(sg_real);
}

// ---- cutting ------------------------------------------------------------------------------------

static bool few_has(const few_loop *f, int input)
{
    return f->l->node->in[input] != NULL;
}

static few_loop few_begin(sg_blocks_loop *l)
{
    const sg_blocks *a = l->a;
    unsigned char *at = l->run->scratch;
    few_loop f = {.l = l, .used = (int32_t *)(void *)at, .pieces = 1, .together = 1};
    f.there = at + few_used_bytes(a);
    f.sums = (sg_real *)(void *)(f.there + few_there_bytes(a));
    for (int64_t b = 0; b < a->blocks; b++)
        if (l->starts[b + 1] > l->starts[b]) f.used[f.used_count++] = (int32_t)b;
    int64_t unit = few_neurons;
    while (f.used_count * a->g > few_units * unit)
        unit *= 2;
    f.piece = sg_min(unit, a->g);
    f.pieces = sg_chunks(a->g, f.piece);
    f.together = f.pieces > 1 ? 1 : unit / a->g;
    f.units = f.pieces > 1 ? f.used_count * f.pieces : sg_chunks(f.used_count, f.together);
    return f;
}

// ---- what is read next --------------------------------------------------------------------------

// A block begins anywhere, and the processor looks ahead by itself in a page that is being read,
// not beyond it: so a line of each page of all selected blocks is asked for at the start. Kernels
// ask for the rows four behind those that they read; so nobody has asked for the first rows of a
// table, which are asked for while the table before them is read.
enum { few_page = 4096, few_line = 64, few_first = 4 };

static void few_ask(const sg_stored *table, int64_t row, int64_t count, int64_t d, int64_t step)
{
    const sg_stored at = sg_stored_at(table, row, d);
    const char *begin = at.rows;
    const int64_t rows = sg_stored_run(&at, count);
    const int64_t bytes = rows * (int64_t)sg_stored_row_bytes(at.type, d);
    for (int64_t i = 0; i < bytes; i += step)
        __builtin_prefetch(begin + i, 0, 2);
}

static void few_pages_ahead(const few_loop *f)
{
    const sg_blocks *a = f->l->a;
    const bool up = few_has(f, SG_BLOCKS_UP), down = few_has(f, SG_BLOCKS_DOWN);
    const sg_stored none = {0}, w_in = up ? sg_weights_of(f->l->node->in[SG_BLOCKS_UP]) : none;
    const sg_stored w_out = down ? sg_weights_of(f->l->node->in[SG_BLOCKS_DOWN]) : none;
    for (int64_t b = 0; b < f->used_count; b++) {
        if (up) few_ask(&w_in, f->used[b] * a->width, a->width, a->d, few_page);
        if (down) few_ask(&w_out, f->used[b] * a->g, a->g, a->d, few_page);
    }
}

// ---- a piece of one block -----------------------------------------------------------------------

typedef struct few_piece {
    const few_loop *f;
    const sg_blocks_part *p;
    int64_t unit, from, count; // neurons of the block
    int64_t next;              // the block that is read next; -1: none
} few_piece;

// While w_in of this piece is read: its first rows of w_out.
static void few_down_ahead(const few_piece *c)
{
    const sg_blocks_part *p = c->p;
    if (!few_has(c->f, SG_BLOCKS_DOWN)) return;
    const sg_stored w_out = sg_weights_of(p->l->node->in[SG_BLOCKS_DOWN]);
    few_ask(&w_out, p->block * p->l->a->g + c->from, sg_min(few_first, c->count), p->l->a->d,
            few_line);
}

// While w_out of this piece is read: the first rows of w_in of the next block.
static void few_up_ahead(const few_piece *c)
{
    const sg_blocks *a = c->p->l->a;
    if (!few_has(c->f, SG_BLOCKS_UP) || c->next < 0) return;
    const sg_stored w_in = sg_weights_of(c->p->l->node->in[SG_BLOCKS_UP]);
    few_ask(&w_in, c->next * a->width, sg_min(few_first, a->width), a->d, few_line);
}

// What multiplies w_in: x where one row is all, else gathered.
static const sg_real *few_x(const sg_blocks_part *p, sg_real *room)
{
    const sg_real *x = sg_values(p->l->node->in[SG_BLOCKS_X]);
    const int64_t d = p->l->a->d;
    if (p->m == 1) return x + sg_blocks_row(p, 0) * d;
    for (int64_t i = 0; i < p->m; i++)
        memcpy(room + i * d, x + sg_blocks_row(p, i) * d, (size_t)d * sizeof *room);
    return room;
}

// Part 0 of u (m, parts of `count`), gates or plain ones, or 1, linear parts, with their biases.
static void few_part(const few_piece *c, sg_real *u, const sg_real *x, int64_t part)
{
    const sg_blocks_part *p = c->p;
    const sg_blocks *a = p->l->a;
    const sg_tensor *bias = p->l->node->in[SG_BLOCKS_UP_BIAS];
    const sg_stored up = sg_weights_of(p->l->node->in[SG_BLOCKS_UP]);
    const int64_t width = a->width / a->g * c->count;
    const int64_t row = p->block * a->width + part * a->g + c->from;
    sg_real *to = u + part * c->count;
    sg_stored_dots(p->l->run->compute.kernels, to, width, x, a->d, p->m, &up, row, c->count, a->d);
    for (int64_t i = 0; bias != NULL && i < p->m; i++)
        for (int64_t j = 0; j < c->count; j++)
            to[i * width + j] += sg_values(bias)[row + j];
}

// The linear parts of n neurons of the piece, `ids`, of row x; 0 for the others. room (n).
static void few_linear(const few_piece *c, sg_real *linear, const sg_real *x, const int32_t *ids,
                       int64_t n, sg_real *room)
{
    const sg_blocks_part *p = c->p;
    const sg_blocks *a = p->l->a;
    const sg_tensor *bias = p->l->node->in[SG_BLOCKS_UP_BIAS];
    const sg_stored up = sg_weights_of(p->l->node->in[SG_BLOCKS_UP]);
    const int64_t row = p->block * a->width + a->g + c->from;
    const sg_stored rows = sg_stored_at(&up, row, a->d);
    sg_gather_dots(p->l->run->compute.kernels, room, x, &rows, ids, n, a->d);
    memset(linear, 0, (size_t)c->count * sizeof *linear);
    for (int64_t j = 0; j < n; j++)
        linear[ids[j]] = room[j] + (bias != NULL ? sg_values(bias)[row + ids[j]] : 0);
}

// Linear parts where there is a threshold: of those neurons whose gate is above it, or of all where
// what the gates come to is for another operation. room (2 count), of numbers and of ids.
static void few_above(const few_piece *c, sg_real *u, const sg_real *x, bool all, sg_real *room)
{
    const sg_blocks_part *p = c->p;
    const sg_blocks *a = p->l->a;
    int32_t *ids = (int32_t *)(void *)(room + c->count);
    for (int64_t i = 0; i < p->m; i++) {
        sg_real *gates = u + i * 2 * c->count;
        int64_t n = 0;
        p->l->run->compute.kernels->act_forward(room, gates, a->activation, c->count);
        for (int64_t j = 0; j < c->count; j++) {
            ids[n] = (int32_t)j;
            n += all || !sg_trim_takes(room[j], a->trim);
        }
        few_linear(c, gates + c->count, x + i * a->d, ids, n, room);
    }
}

// u (m, parts of `count`); room (2 count) beside that of x; all: whatever the threshold.
static void few_dots(const few_piece *c, sg_real *u, sg_real *x_room, sg_real *room, bool all)
{
    const sg_blocks *a = c->p->l->a;
    const sg_real *x = few_x(c->p, x_room);
    few_part(c, u, x, 0);
    few_down_ahead(c);
    if (a->glu && a->trim > 0)
        few_above(c, u, x, all, room);
    else if (a->glu)
        few_part(c, u, x, 1);
}

// Values of hits, a piece of `width` runs of g each: to (m, parts of `count`) from (rows, k, parts
// of g), and back.
static void few_move(const few_piece *c, sg_real *piece, sg_real *values, int64_t parts, bool put)
{
    const int64_t g = c->p->l->a->g;
    for (int64_t i = 0; i < c->p->m; i++)
        for (int64_t part = 0; part < parts; part++) {
            sg_real *at = values + (sg_blocks_hit(c->p, i) * parts + part) * g + c->from;
            sg_real *here = piece + (i * parts + part) * c->count;
            memcpy(put ? at : here, put ? here : at, (size_t)c->count * sizeof *at);
        }
}

// z (m, count) of u. Linear parts that were not read are 0.
static void few_act(const few_piece *c, sg_real *z, const sg_real *u)
{
    const sg_blocks *a = c->p->l->a;
    const sg_kernels *kernels = c->p->l->run->compute.kernels;
    if (a->glu) {
        kernels->glu_forward(z, u, c->p->m, c->count, &a->form);
        return;
    }
    kernels->act_forward(z, u, a->activation, c->p->m * c->count);
    if (a->trim > 0) sg_trim_values(z, z, z, c->p->m * c->count, a->trim);
}

static void few_adjust(const few_piece *c, sg_real *z)
{
    const sg_blocks_part *p = c->p;
    const sg_tensor *mean = p->l->node->in[SG_BLOCKS_MEAN];
    const bool gated = p->l->node->in[SG_BLOCKS_SCORES] != NULL;
    for (int64_t i = 0; i < p->m; i++) {
        sg_real *row = z + i * c->count;
        for (int64_t j = 0; mean != NULL && j < c->count; j++)
            row[j] -= sg_values(mean)[p->block * p->l->a->g + c->from + j];
        if (gated) p->l->run->compute.kernels->scale(row, sg_blocks_score(p, i), c->count);
    }
}

// The sum of a row of the unit, from 0 where it has none yet.
static sg_real *few_sum_of(const few_piece *c, int64_t row)
{
    const sg_blocks *a = c->p->l->a;
    const int64_t at = c->unit * a->rows + row;
    sg_real *sum = c->f->sums + at * a->d;
    if (!c->f->there[at]) memset(sum, 0, (size_t)a->d * sizeof *sum);
    c->f->there[at] = 1;
    return sum;
}

// Of each row that hit the block; neurons whose z is 0 add nothing.
static void few_sums(const few_piece *c, const sg_real *z, sg_real *left)
{
    const sg_blocks_part *p = c->p;
    const sg_blocks *a = p->l->a;
    const sg_stored all = sg_weights_of(p->l->node->in[SG_BLOCKS_DOWN]);
    const sg_stored rows = sg_stored_at(&all, p->block * a->g, a->d);
    int32_t *ids = (int32_t *)(void *)(left + c->count);
    for (int64_t i = 0; i < p->m; i++) {
        int64_t n = 0;
        for (int64_t j = 0; j < c->count; j++) {
            left[n] = z[i * c->count + j];
            ids[n] = (int32_t)(c->from + j);
            n += left[n] != 0;
        }
        sg_real *sum = few_sum_of(c, sg_blocks_row(p, i));
        if (n > 0) sg_gather_sum(p->l->run->compute.kernels, sum, left, &rows, ids, n, a->d);
    }
}

// ---- units --------------------------------------------------------------------------------------

// u of a whole block (m, width) is kept for the backward pass.
static void few_keep(const few_piece *c, const sg_real *u)
{
    const sg_blocks *a = c->p->l->a;
    const int64_t parts = a->width / a->g;
    if (c->p->l->u == NULL) return;
    for (int64_t i = 0; i < c->p->m; i++)
        for (int64_t part = 0; part < parts; part++)
            memcpy(c->p->l->u + (c->p->at + i) * a->width + part * a->g + c->from,
                   u + (i * parts + part) * c->count, (size_t)c->count * sizeof *u);
}

static void few_piece_run(const few_piece *c)
{
    const sg_blocks_part *p = c->p;
    const sg_blocks *a = p->l->a;
    const sg_node *node = p->l->node;
    const bool up = few_has(c->f, SG_BLOCKS_UP), down = few_has(c->f, SG_BLOCKS_DOWN);
    const int64_t parts = a->width / a->g;
    sg_real *x = p->room, *u = x + p->m * a->d, *z = u + p->m * parts * c->count;
    if (up) few_dots(c, u, x, z + p->m * c->count, !down);
    few_up_ahead(c);
    if (up && down) {
        few_keep(c, u);
        few_act(c, z, u);
    }
    if (!up) few_move(c, z, sg_values(node->in[SG_BLOCKS_X]), 1, false);
    if (!down) {
        few_move(c, u, sg_values(node->out[0]), parts, true);
        return;
    }
    few_adjust(c, z);
    few_sums(c, z, z + p->m * c->count);
}

static void few_unit(void *context, int64_t unit, int worker)
{
    const few_loop *f = context;
    const sg_blocks *a = f->l->a;
    unsigned char *scratch = sg_worker_scratch(f->l->run, worker);
    if (few_has(f, SG_BLOCKS_DOWN)) memset(f->there + unit * a->rows, 0, (size_t)a->rows);
    const int64_t first = f->pieces > 1 ? unit / f->pieces : unit * f->together;
    const int64_t end = sg_min(f->used_count, first + f->together);
    for (int64_t b = first; b < end; b++) {
        const int64_t block = f->used[b], at = f->l->starts[block];
        const sg_blocks_part p = {.l = f->l,
                                  .block = block,
                                  .at = at,
                                  .m = f->l->starts[block + 1] - at,
                                  .room = (sg_real *)(void *)(scratch + a->wide + a->gemm)};
        few_piece c = {.f = f,
                       .p = &p,
                       .unit = unit,
                       .from = unit % f->pieces * f->piece,
                       .next = b + 1 < f->used_count ? f->used[b + 1] : -1};
        c.count = sg_min(f->piece, a->g - c.from);
        few_piece_run(&c);
    }
}

static void few_row(void *context, int64_t row, int worker)
{
    (void)worker;
    const few_loop *f = context;
    const sg_blocks *a = f->l->a;
    const sg_tensor *bias = f->l->node->in[SG_BLOCKS_DOWN_BIAS];
    sg_real *y = sg_values(f->l->node->out[0]) + row * a->d;
    if (bias != NULL)
        memcpy(y, sg_values(bias), (size_t)a->d * sizeof *y);
    else
        memset(y, 0, (size_t)a->d * sizeof *y);
    for (int64_t unit = 0; unit < f->units; unit++)
        if (f->there[unit * a->rows + row])
            f->l->run->compute.kernels->add(y, y, f->sums + (unit * a->rows + row) * a->d, a->d);
}

void sg_moefied_few(sg_blocks_loop *l)
{
    few_loop f = few_begin(l);
    few_pages_ahead(&f);
    sg_parallel_for(l->run->compute.pool, f.units, few_unit, &f);
    if (few_has(&f, SG_BLOCKS_DOWN)) sg_parallel_for(l->run->compute.pool, l->a->rows, few_row, &f);
}
