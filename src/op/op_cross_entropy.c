// Classifier and cross-entropy in one. Of a row with target t >= 0, and n of the whole step:
//
//     l = x W^T      loss = (log(sum_j exp(l_j)) - l_t) / n
//     dl = (softmax(l) - onehot(t)) / n      dx = dl W      dW = sum over rows of dl^T x
//
// x (rows, d), W (V, d), targets (rows) -> one number. The (rows, V) logits never exist whole:
// logits, loss and both gradients of a block of rows are made before the next. The weight 1 / n is
// known before the pass, so the gradients need not wait for a backward pass, nor the logits be
// computed twice. An adapter of the classifier adds scale u B^T to the logits.
//
// Products are of the tape's kind for logits; losses, softmax and sums are sg_real. Where matrix
// units compute them, W is prepared once a pass for each of its two products (both together take
// the bytes of W in bf16 twice), and in bf16 the gradients of a row's logits are rounded by whoever
// makes them, into the begin of that row.
//
// In place of losses the result may be any sum of logits, of terms (r, j, w):
//
//     sum of w l_rj / n      dl_rj = sum of their w / n
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm_tiles.h"
#include "op/observe.h"

// Whoever looks at the logits.
typedef struct entropy_point {
    sg_observation observation;
    struct entropy_point *next;
} entropy_point;

// Where the scratch of a pass has what, in bytes.
typedef struct entropy_places {
    size_t logits;
    size_t deep;              // for the product that is long in V
    size_t packed[3];         // W for the logits, and for dx; the rows of x of a block, for dW
    size_t room;              // for products to prepare what is not
    size_t gradients, turned; // of slabs, in the place of the logits: see there
    size_t losses, correct, end;
} entropy_places;

typedef struct entropy_attributes {
    sg_loss_stats *stats;
    int64_t block; // rows
    entropy_places places;
    bool slabs;   // where nobody looks at the logits
    bool adapted; // in[3] u (rows, r) and in[4] B (V, r) add scale u B^T to the logits
    double scale;
    entropy_point *points; // of the logits, in the order of the requests
} entropy_attributes;

typedef struct entropy_loop {
    const sg_run *run;
    sg_real *logits; // (rows, V), turned into gradients in place
    const int32_t *targets;
    double *losses; // (rows); -1 for a target without weight
    bool *correct;
    const void *packed[2]; // W for the logits and for dx; NULL: as it is
    int64_t rows, vocab;
    sg_real weight; // of one row's loss in the total
    bool gradient;
    bool half; // gradients of logits are bf16, each row at the begin of what it was
} entropy_loop;

enum { entropy_part = 1024 }; // numbers rounded at a time

// The gradients of a row from its exponentials, rounded in place, part by part.
static void entropy_round(const entropy_loop *c, sg_real *row, sg_real factor, int32_t target)
{
    const sg_kernels *kernels = c->run->compute.kernels;
    sg_bf16 part[entropy_part], *half = (sg_bf16 *)(void *)row;
    for (int64_t i = 0; i < c->vocab; i += entropy_part) {
        const int64_t n = sg_min(entropy_part, c->vocab - i);
        kernels->scale(row + i, factor, n);
        if (target >= i && target < i + n) row[target] -= c->weight;
        kernels->to_bf16(part, row + i, n);
        memcpy(half + i, part, (size_t)n * sizeof *part);
    }
}

static void entropy_row(const entropy_loop *c, int64_t r)
{
    sg_real *row = c->logits + r * c->vocab;
    int32_t target = c->targets[r];
    c->correct[r] = false;
    c->losses[r] = -1;
    if (target < 0) {
        if (c->gradient) memset(row, 0, (size_t)c->vocab * sizeof *row);
        return;
    }
    sg_real top = c->run->compute.kernels->max(row, c->vocab), own = row[target];
    if (own == top) {
        int64_t first = 0;
        while (row[first] != top)
            first++;
        c->correct[r] = first == target;
    }
    sg_real sum = c->run->compute.kernels->exp_sum(row, row, top, c->vocab);
    double loss = log((double)sum) + (double)top - (double)own;
    c->losses[r] = loss > 0 || isnan(loss) ? loss : 0;
    if (c->gradient && c->half) {
        entropy_round(c, row, c->weight / sum, target);
    } else if (c->gradient) {
        c->run->compute.kernels->scale(row, c->weight / sum, c->vocab);
        row[target] -= c->weight;
    }
}

static void entropy_chunk(void *context, sg_range rows)
{
    const entropy_loop *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        entropy_row(c, r);
}

// The terms of the rows of a block, whose logits become their gradients.
static void entropy_terms(const entropy_loop *c, const sg_loss_stats *stats, int64_t first,
                          double *sum)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < stats->term_count; i++) {
            const sg_logit_term *t = &stats->terms[i];
            if (t->token < first || t->token >= first + c->rows) continue;
            sg_real *logit = c->logits + (t->token - first) * c->vocab + t->id;
            if (pass == 0)
                *sum += t->weight * (double)*logit;
            else
                *logit += (sg_real)(t->weight * (double)c->weight);
        }
        if (!c->gradient) return;
        if (pass == 0) memset(c->logits, 0, (size_t)(c->rows * c->vocab) * sizeof *c->logits);
    }
}

static size_t entropy_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t entropy_take(size_t *end, size_t bytes)
{
    const size_t at = *end;
    *end += sg_whole_lines(bytes);
    return at;
}

static void *entropy_place(const sg_run *run, size_t at)
{
    return run->scratch + at;
}

// Rows of an input from `row` on.
static const sg_real *entropy_values(const sg_node *node, int i, int64_t row)
{
    const sg_real *all = sg_values(node->in[i]);
    return all ? all + row * sg_columns(node->in[i]) : NULL;
}

static const sg_bf16 *entropy_half(const sg_node *node, int i, int64_t row)
{
    const sg_bf16 *all = sg_half_in(node, i);
    return all ? all + row * sg_columns(node->in[i]) : NULL;
}

// A product of the gradients of a block's logits.
static sg_gemm_args entropy_product(const sg_run *run, const sg_node *node, const entropy_loop *c)
{
    const entropy_attributes *a = node->attributes;
    sg_gemm_args args = {.alpha = 1,
                         .a = c->logits,
                         .lda = c->vocab,
                         .kind = node->kind,
                         .room = entropy_place(run, a->places.room)};
    if (!c->half) return args;
    args.a = NULL;
    args.a_half = (const sg_bf16 *)(const void *)c->logits;
    args.lda = c->vocab * (int64_t)(sizeof(sg_real) / sizeof(sg_bf16));
    return args;
}

// Operands that are prepared are so for this many rows of a result at a time, of dx and of dW,
// which bounds what that takes.
enum { entropy_slice_x = 256, entropy_slice_w = 2048 };

static int64_t entropy_slice(const sg_node *node, bool of_w, int64_t rows)
{
    if (node->kind == SG_COMPUTE_F32) return rows;
    return sg_min(rows, of_w ? entropy_slice_w : entropy_slice_x);
}

// deep: for a product that is long in k, else NULL.
static void entropy_slices(const sg_run *run, const sg_node *node, const sg_gemm_args *args,
                           void *deep)
{
    const int64_t slice = entropy_slice(node, args->transpose_a, args->m);
    for (int64_t i = 0; i < args->m; i += slice) {
        const int64_t at = args->transpose_a ? i : i * args->lda;
        sg_gemm_args part = *args;
        part.m = sg_min(slice, args->m - i);
        if (part.a != NULL) part.a += at;
        if (part.a_half != NULL) part.a_half += at;
        part.c += i * part.ldc;
        if (deep != NULL)
            sg_gemm_deep(run->compute, &part, deep);
        else
            sg_gemm(run->compute, &part);
    }
}

typedef struct entropy_grads {
    sg_real *dx, *dw, *du, *db;
    bool add_x, add_w, add_u, add_b;
} entropy_grads;

// What an adapter adds to the logits of a block.
static void entropy_block_adapter(const sg_run *run, const sg_node *node, const entropy_loop *c,
                                  int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t r = sg_columns(node->in[3]);
    sg_gemm(run->compute, &(sg_gemm_args){.transpose_b = true,
                                          .m = c->rows,
                                          .n = c->vocab,
                                          .k = r,
                                          .alpha = (sg_real)a->scale,
                                          .a = entropy_values(node, 3, first),
                                          .a_half = entropy_half(node, 3, first),
                                          .lda = r,
                                          .b = sg_values(node->in[4]),
                                          .ldb = r,
                                          .beta = 1,
                                          .c = c->logits,
                                          .ldc = c->vocab,
                                          .kind = node->kind,
                                          .room = entropy_place(run, a->places.room)});
}

// du = scale dz B, dB = scale dz^T u, z being the logits.
static void entropy_adapter_gradient(const sg_run *run, const sg_node *node, const entropy_loop *c,
                                     const entropy_grads *g, int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t r = sg_columns(node->in[3]);
    sg_gemm_args args = entropy_product(run, node, c);
    args.alpha = (sg_real)a->scale;
    args.n = args.ldb = args.ldc = r;
    if (g->du != NULL) {
        args.m = c->rows;
        args.k = c->vocab;
        args.b = sg_values(node->in[4]);
        args.beta = g->add_u ? 1 : 0;
        args.c = g->du + first * r;
        entropy_slices(run, node, &args, NULL);
    }
    if (g->db != NULL) {
        args.transpose_a = true;
        args.m = c->vocab;
        args.k = c->rows;
        args.b = entropy_values(node, 3, first);
        args.b_half = entropy_half(node, 3, first);
        args.beta = g->add_b || first > 0 ? 1 : 0;
        args.c = g->db;
        entropy_slices(run, node, &args, NULL);
    }
}

// The right operand of a product prepared, or NULL where there is nothing to prepare.
static const void *entropy_pack(const sg_run *run, const sg_gemm_args *args, size_t to)
{
    if (sg_gemm_packed_bytes(args->kind, args->n, args->k) == 0) return NULL;
    sg_gemm_pack(run->compute, args, entropy_place(run, to));
    return entropy_place(run, to);
}

static const void *entropy_pack_w(const sg_run *run, const sg_node *node, bool logits)
{
    const entropy_attributes *a = node->attributes;
    const sg_tensor *w = node->in[1];
    const int64_t vocab = sg_rows(w), d = sg_columns(w);
    const sg_gemm_args args = {.transpose_b = logits,
                               .n = logits ? vocab : d,
                               .k = logits ? d : vocab,
                               .b = sg_values(w),
                               .ldb = d,
                               .kind = node->kind};
    return entropy_pack(run, &args, a->places.packed[logits ? 0 : 1]);
}

static void entropy_block_dx(const sg_run *run, const sg_node *node, const entropy_loop *c,
                             const entropy_grads *g, int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[0]);
    sg_gemm_args args = entropy_product(run, node, c);
    args.n = args.ldb = args.ldc = d;
    args.m = c->rows;
    args.k = c->vocab;
    args.b = sg_values(node->in[1]);
    args.b_packed = c->packed[1];
    args.beta = g->add_x ? 1 : 0;
    args.c = g->dx + first * d;
    entropy_slices(run, node, &args, entropy_place(run, a->places.deep));
}

static void entropy_block_dw(const sg_run *run, const sg_node *node, const entropy_loop *c,
                             const entropy_grads *g, int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[0]);
    sg_gemm_args args = entropy_product(run, node, c);
    args.n = args.ldb = args.ldc = d;
    args.transpose_a = true;
    args.m = c->vocab;
    args.k = c->rows;
    args.b = entropy_values(node, 0, first);
    args.b_half = entropy_half(node, 0, first);
    args.b_packed = entropy_pack(run, &args, a->places.packed[2]);
    args.beta = g->add_w || first > 0 ? 1 : 0;
    args.c = g->dw;
    entropy_slices(run, node, &args, NULL);
}

// Calls for the logits of a block, or for their gradients. False: the pass has ended.
static bool entropy_observe(const sg_run *run, const entropy_point *points, const entropy_loop *c,
                            int64_t first, bool gradient)
{
    for (const entropy_point *p = points; p != NULL; p = p->next) {
        const unsigned asked = p->observation.request->use;
        const unsigned use = gradient                 ? asked & SG_POINT_GRADIENT
                             : asked & SG_POINT_WRITE ? SG_POINT_WRITE
                                                      : asked & SG_POINT_READ;
        if (use != 0 && !sg_observe_rows(run, &p->observation, use, first, c->rows,
                                         gradient ? NULL : c->logits, gradient ? c->logits : NULL))
            return false;
    }
    return true;
}

// The losses of a block's rows, in their order.
static void entropy_collect(sg_loss_stats *stats, const entropy_loop *c, int64_t first)
{
    for (int64_t r = 0; r < c->rows; r++) {
        const bool counts = c->targets[r] >= 0;
        if (stats->row_losses != NULL) stats->row_losses[first + r] = counts ? c->losses[r] : 0;
        if (!counts) continue;
        stats->loss_sum += c->losses[r];
        stats->tokens++;
        stats->correct += c->correct[r];
    }
}

// Losses of a block, or its terms; the logits become gradients where these are wanted.
static void entropy_losses(const sg_run *run, sg_loss_stats *stats, entropy_loop *c, int64_t first)
{
    if (stats->terms != NULL) {
        entropy_terms(c, stats, first, &stats->loss_sum);
        return;
    }
    sg_parallel_ranges(run->compute.pool, c->rows, sg_chunk_rows(c->vocab), entropy_chunk, c);
    entropy_collect(stats, c, first);
}

// Whether a callback wants the gradients of the logits.
static bool entropy_asked(const entropy_attributes *a)
{
    for (const entropy_point *p = a->points; p != NULL; p = p->next)
        if (p->observation.request->use & SG_POINT_GRADIENT) return true;
    return false;
}

static sg_gemm_args entropy_product_of_x(const sg_node *node, const entropy_loop *c, int64_t first)
{
    const int64_t d = sg_columns(node->in[0]);
    return (sg_gemm_args){.transpose_b = true,
                          .m = c->rows,
                          .n = c->vocab,
                          .k = d,
                          .alpha = 1,
                          .a = entropy_values(node, 0, first),
                          .a_half = entropy_half(node, 0, first),
                          .lda = d,
                          .b = sg_values(node->in[1]),
                          .ldb = d,
                          .b_packed = c->packed[0],
                          .c = c->logits,
                          .ldc = c->vocab,
                          .kind = node->kind};
}

static void entropy_logits(const sg_run *run, const sg_node *node, const entropy_loop *c,
                           int64_t first)
{
    const entropy_attributes *a = node->attributes;
    sg_gemm_args args = entropy_product_of_x(node, c, first);
    args.room = entropy_place(run, a->places.room);
    if (c->packed[0] != NULL)
        sg_gemm(run->compute, &args);
    else
        sg_weights_product(run, args, node->in[1], 0);
    if (a->adapted) entropy_block_adapter(run, node, c, first);
}

// ---- slabs --------------------------------------------------------------------------------------

// By the processor's tiles some rows go through the vocabulary as the work of one thread, 256 ids
// at a time and twice, so that nothing leaves its second cache but dx and the rows' gradients:
//
//     l = x W_p^T of these ids       top, sum: the largest l so far, the sum of exp(l - top)
//     l again                        dl = (exp(l - top) / sum - onehot) / n      dx += dl W_p
//
// The gradients are handed on as the right operand of dW^T += x^T dl, which takes them as they lie;
// the left one of dW = dl^T x would be transposed. Logits that are made twice cost less than logits
// that are fetched from behind the second cache (docs/SPEED.md).
enum { entropy_slab = 256, entropy_slab_least = 32, entropy_ids = 256, entropy_side = 16 };

typedef struct entropy_slabs {
    const sg_run *run;
    const sg_node *node;
    const entropy_loop *loop;
    const entropy_grads *grads;
    int64_t first, slab; // row of the block; rows of a slab
} entropy_slabs;

// One slab: its rows, and the ids it is at.
typedef struct entropy_work {
    const entropy_slabs *s;
    int64_t row, rows; // of the block
    int64_t d, wide;   // wide: d filled up
    int64_t id, ids;
    sg_bf16 *x[2], *dl[2]; // parts: hi, for bf16x3 lo (else NULL)
    sg_real *logits;       // (rows, entropy_ids)
    sg_real *top, *sum, *own;
    bool *first; // the target is the first of the largest logits so far
} entropy_work;

static int64_t entropy_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

// Numbers of a row of dW^T: rows must not lie a page apart.
static int64_t entropy_turned_stride(int64_t vocab)
{
    return entropy_up(vocab, entropy_side) + entropy_side;
}

// Takes places for the work of one slab from memory on, or with NULL says how many bytes they take.
static size_t entropy_work_places(const sg_node *node, unsigned char *memory, entropy_work *w)
{
    const size_t parts = node->kind == SG_COMPUTE_BF16X3 ? 2 : 1, rows = entropy_slab;
    const size_t wide = (size_t)entropy_up(sg_columns(node->in[1]), entropy_slab_least);
    size_t end = 0, x[2] = {0}, dl[2] = {0};
    for (size_t i = 0; i < parts; i++) {
        x[i] = entropy_take(&end, rows * wide * sizeof(sg_bf16));
        dl[i] = entropy_take(&end, rows * entropy_ids * sizeof(sg_bf16));
    }
    const size_t logits = entropy_take(&end, rows * entropy_ids * sizeof(sg_real));
    const size_t numbers = entropy_take(&end, 3 * rows * sizeof(sg_real));
    const size_t first = entropy_take(&end, rows * sizeof(bool));
    if (memory == NULL) return end;
    w->wide = (int64_t)wide;
    for (size_t i = 0; i < parts; i++) {
        w->x[i] = (sg_bf16 *)(void *)(memory + x[i]);
        w->dl[i] = (sg_bf16 *)(void *)(memory + dl[i]);
    }
    w->logits = (sg_real *)(void *)(memory + logits);
    w->top = (sg_real *)(void *)(memory + numbers);
    w->sum = w->top + rows;
    w->own = w->sum + rows;
    w->first = (bool *)(memory + first);
    return end;
}

// `n` numbers in the form of operands; the rest up to `filled` are 0.
static void entropy_operand(const sg_kernels *kernels, sg_bf16 *hi, sg_bf16 *lo,
                            const sg_real *from, int64_t n, int64_t filled)
{
    if (lo != NULL)
        kernels->split_bf16(hi, lo, from, n);
    else
        kernels->to_bf16(hi, from, n);
    memset(hi + n, 0, (size_t)(filled - n) * sizeof *hi);
    if (lo != NULL) memset(lo + n, 0, (size_t)(filled - n) * sizeof *lo);
}

static sg_bf16 *entropy_part_at(sg_bf16 *part, int64_t at)
{
    return part != NULL ? part + at : NULL;
}

static void entropy_work_begin(entropy_work *w)
{
    const sg_node *node = w->s->node;
    for (int64_t r = 0; r < w->rows; r++) {
        const int64_t row = w->s->first + w->row + r, at = r * w->wide;
        const sg_bf16 *half = entropy_half(node, 0, row);
        if (half != NULL && w->x[1] == NULL) {
            memcpy(w->x[0] + at, half, (size_t)w->d * sizeof *half);
            memset(w->x[0] + at + w->d, 0, (size_t)(w->wide - w->d) * sizeof *half);
        } else {
            entropy_operand(w->s->run->compute.kernels, w->x[0] + at, entropy_part_at(w->x[1], at),
                            entropy_values(node, 0, row), w->d, w->wide);
        }
        w->top[r] = -INFINITY;
        w->sum[r] = 0;
        w->first[r] = false;
    }
}

static void entropy_work_logits(const entropy_work *w)
{
    sg_gemm_tiles(&(sg_tile_product){.m = w->rows,
                                     .n = w->ids,
                                     .k = w->wide,
                                     .a = w->x[0],
                                     .a_low = w->x[1],
                                     .lda = w->wide,
                                     .b_packed = w->s->loop->packed[0],
                                     .b_column = w->id,
                                     .c = w->logits,
                                     .ldc = entropy_ids});
}

// The logits of these ids in the maximum and the sum of one row.
static void entropy_work_sum(const entropy_work *w, int64_t r)
{
    const sg_kernels *kernels = w->s->run->compute.kernels;
    sg_real *row = w->logits + r * entropy_ids;
    const int64_t target = w->s->loop->targets[w->row + r] - w->id;
    const sg_real here = kernels->max(row, w->ids);
    if (here > w->top[r]) w->first[r] = false; // a target before these ids
    if (target >= 0 && target < w->ids) {
        w->own[r] = row[target];
        int64_t at = 0;
        while (at < target && row[at] != here)
            at++;
        w->first[r] = at == target && row[target] == here && here > w->top[r];
    }
    if (here > w->top[r]) {
        w->sum[r] *= (sg_real)exp((double)(w->top[r] - here));
        w->top[r] = here;
    }
    w->sum[r] += kernels->exp_sum(row, row, w->top[r], w->ids);
}

// The gradients of these logits of one row.
static void entropy_work_gradient(const entropy_work *w, int64_t r)
{
    const sg_kernels *kernels = w->s->run->compute.kernels;
    const entropy_loop *c = w->s->loop;
    sg_real *row = w->logits + r * entropy_ids;
    const int64_t target = c->targets[w->row + r] - w->id;
    if (c->targets[w->row + r] < 0) {
        memset(row, 0, (size_t)w->ids * sizeof *row);
    } else {
        kernels->exp_sum(row, row, w->top[r], w->ids);
        kernels->scale(row, c->weight / w->sum[r], w->ids);
        if (target >= 0 && target < w->ids) row[target] -= c->weight;
    }
    entropy_operand(kernels, w->dl[0] + r * entropy_ids, entropy_part_at(w->dl[1], r * entropy_ids),
                    row, w->ids, entropy_up(w->ids, entropy_slab_least));
}

static void entropy_work_end(const entropy_work *w)
{
    const entropy_loop *c = w->s->loop;
    for (int64_t r = 0; r < w->rows; r++) {
        const double loss = log((double)w->sum[r]) + (double)w->top[r] - (double)w->own[r];
        const bool counts = c->targets[w->row + r] >= 0;
        c->losses[w->row + r] = !counts ? -1 : loss > 0 || isnan(loss) ? loss : 0;
        c->correct[w->row + r] = counts && w->first[r];
    }
}

// dx += dl W of these ids; the gradients handed on.
static void entropy_work_spread(const entropy_work *w)
{
    const entropy_slabs *s = w->s;
    const entropy_attributes *a = s->node->attributes;
    if (s->grads->dx != NULL)
        sg_gemm_tiles(&(sg_tile_product){.m = w->rows,
                                         .n = w->d,
                                         .k = entropy_up(w->ids, entropy_slab_least),
                                         .a = w->dl[0],
                                         .a_low = w->dl[1],
                                         .lda = entropy_ids,
                                         .b_packed = s->loop->packed[1],
                                         .b_row = w->id,
                                         .add = w->id > 0 || s->grads->add_x,
                                         .c = s->grads->dx + (s->first + w->row) * w->d,
                                         .ldc = w->d});
    if (s->grads->dw != NULL)
        sg_gemm_pack_part(s->run->compute.kernels, entropy_place(s->run, a->places.gradients),
                          &(sg_pack_part){.row = w->row,
                                          .rows = w->rows,
                                          .column = w->id,
                                          .columns = w->ids,
                                          .from = w->dl[0],
                                          .low = w->dl[1],
                                          .stride = entropy_ids});
}

static void entropy_slab_chunk(void *context, int64_t chunk, int worker)
{
    const entropy_slabs *s = context;
    const int64_t vocab = s->loop->vocab;
    entropy_work w = {.s = s, .row = chunk * s->slab, .d = sg_columns(s->node->in[0])};
    w.rows = sg_min(s->slab, s->loop->rows - w.row);
    entropy_work_places(s->node, sg_worker_scratch(s->run, worker), &w);
    entropy_work_begin(&w);
    for (w.id = 0; w.id < vocab; w.id += entropy_ids) {
        w.ids = sg_min(entropy_ids, vocab - w.id);
        entropy_work_logits(&w);
        for (int64_t r = 0; r < w.rows; r++)
            entropy_work_sum(&w, r);
    }
    entropy_work_end(&w);
    for (w.id = 0; w.id < vocab && s->loop->gradient; w.id += entropy_ids) {
        w.ids = sg_min(entropy_ids, vocab - w.id);
        entropy_work_logits(&w);
        for (int64_t r = 0; r < w.rows; r++)
            entropy_work_gradient(&w, r);
        entropy_work_spread(&w);
    }
}

// As many slabs as there are threads, if these have rows enough: no row depends on its slab.
static void entropy_slabs_run(const sg_run *run, const sg_node *node, const entropy_loop *c,
                              const entropy_grads *grads, int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[0]);
    const int64_t each = sg_chunks(c->rows, sg_pool_threads(run->compute.pool));
    entropy_slabs s = {run, node, c, grads, first, 0};
    s.slab = sg_min(entropy_up(each, entropy_slab_least), entropy_slab);
    if (grads->dw != NULL)
        sg_gemm_pack_begin(node->kind, c->vocab, c->rows, entropy_place(run, a->places.gradients));
    sg_parallel_for(run->compute.pool, sg_chunks(c->rows, s.slab), entropy_slab_chunk, &s);
    if (grads->dw == NULL) return;
    sg_gemm(run->compute, &(sg_gemm_args){.transpose_a = true,
                                          .m = d,
                                          .n = c->vocab,
                                          .k = c->rows,
                                          .alpha = 1,
                                          .a = entropy_values(node, 0, first),
                                          .a_half = entropy_half(node, 0, first),
                                          .lda = d,
                                          .b_packed = entropy_place(run, a->places.gradients),
                                          .beta = first > 0 ? 1 : 0,
                                          .c = entropy_place(run, a->places.turned),
                                          .ldc = entropy_turned_stride(c->vocab),
                                          .kind = node->kind,
                                          .room = entropy_place(run, a->places.room)});
}

typedef struct entropy_turn {
    const sg_real *from; // (d, V), with that stride
    sg_real *to;         // (V, d)
    int64_t stride, d;
    bool add;
} entropy_turn;

static void entropy_turn_chunk(void *context, sg_range rows)
{
    const entropy_turn *t = context;
    for (int64_t j = rows.first; j < rows.end; j += entropy_side)
        for (int64_t i = 0; i < t->d; i += entropy_side)
            for (int64_t v = j; v < sg_min(j + entropy_side, rows.end); v++)
                for (int64_t p = i; p < sg_min(i + entropy_side, t->d); p++) {
                    sg_real *to = t->to + v * t->d + p;
                    *to = t->from[p * t->stride + v] + (t->add ? *to : 0);
                }
}

// dW from its transpose, at the end of a pass.
static void entropy_slabs_end(const sg_run *run, const sg_node *node, const entropy_loop *c,
                              const entropy_grads *grads)
{
    const entropy_attributes *a = node->attributes;
    entropy_turn t = {.from = entropy_place(run, a->places.turned),
                      .to = grads->dw,
                      .stride = entropy_turned_stride(c->vocab),
                      .d = sg_columns(node->in[0]),
                      .add = grads->add_w};
    if (grads->dw != NULL)
        sg_parallel_ranges(run->compute.pool, c->vocab, 4 * entropy_side, entropy_turn_chunk, &t);
}

static bool entropy_in_slabs(const sg_node *node)
{
    const entropy_attributes *a = node->attributes;
    return a->slabs && a->points == NULL && a->stats->terms == NULL;
}

static entropy_loop entropy_begin(const sg_run *run, const sg_node *node, const entropy_grads *g)
{
    const entropy_attributes *a = node->attributes;
    const bool asked = run->recording_gradient && entropy_asked(a);
    entropy_loop c = {.run = run,
                      .logits = entropy_place(run, a->places.logits),
                      .losses = entropy_place(run, a->places.losses),
                      .correct = entropy_place(run, a->places.correct),
                      .vocab = sg_rows(node->in[1]),
                      .weight = (sg_real)(node->loss_weight / a->stats->normaliser),
                      .gradient = g->dx || g->dw || g->du || g->db || asked};
    // Who asks for gradients, or sums other things than losses, does so in f32.
    c.half = node->kind == SG_COMPUTE_BF16 && !asked && a->stats->terms == NULL;
    if (node->in[1]->narrow == NULL) c.packed[0] = entropy_pack_w(run, node, true);
    if (g->dx != NULL) c.packed[1] = entropy_pack_w(run, node, false);
    return c;
}

static void entropy_forward(const sg_run *run, const sg_node *node)
{
    const entropy_attributes *a = node->attributes;
    const int64_t rows = sg_rows(node->in[0]);
    entropy_grads grads = {0};
    if (run->recording_gradient) {
        grads.dx = sg_grad_in(run, node, 0, &grads.add_x);
        grads.dw = sg_grad_in(run, node, 1, &grads.add_w);
        if (a->adapted) grads.du = sg_grad_in(run, node, 3, &grads.add_u);
        if (a->adapted) grads.db = sg_grad_in(run, node, 4, &grads.add_b);
    }
    entropy_loop c = entropy_begin(run, node, &grads);
    a->stats->loss_sum = 0;
    a->stats->tokens = a->stats->correct = 0;
    const bool slabs = entropy_in_slabs(node);
    for (int64_t first = 0; first < rows; first += a->block) {
        c.rows = sg_min(a->block, rows - first);
        c.targets = sg_ints(node->in[2]) + first;
        if (slabs) {
            entropy_slabs_run(run, node, &c, &grads, first);
            entropy_collect(a->stats, &c, first);
            continue;
        }
        entropy_logits(run, node, &c, first);
        if (!entropy_observe(run, a->points, &c, first, false)) return;
        entropy_losses(run, a->stats, &c, first);
        if (c.gradient && !entropy_observe(run, a->points, &c, first, true)) return;
        if (grads.dx != NULL) entropy_block_dx(run, node, &c, &grads, first);
        if (grads.dw != NULL) entropy_block_dw(run, node, &c, &grads, first);
        if (a->adapted && c.gradient) entropy_adapter_gradient(run, node, &c, &grads, first);
    }
    if (slabs) entropy_slabs_end(run, node, &c, &grads);
    sg_values(node->out[0])[0] = (sg_real)(a->stats->loss_sum / a->stats->normaliser);
}

static double entropy_flops(const sg_node *node)
{
    const entropy_attributes *a = node->attributes;
    const double columns = (double)(a->adapted ? node->in[3]->count : 0);
    return 2.0 * ((double)node->in[0]->count + columns) * (double)sg_rows(node->in[1]);
}

static const sg_op op_cross_entropy = {
    .name = "cross_entropy",
    .forward = entropy_forward,
    .flops = entropy_flops,
    .gradient_in_forward = true,
    .forward_reads_narrow = 2, // its gradients, which count as of both passes, need them wide
    .reads_half = 1 << 0 | 1 << 3,
};

bool sg_is_cross_entropy(const sg_node *node)
{
    return node->op == &op_cross_entropy;
}

// What a product prepares, slice by slice.
static size_t entropy_room_of(const sg_node *node, bool of_w, int64_t m, int64_t n, int64_t k,
                              bool packed)
{
    const int64_t slice = entropy_slice(node, of_w, m), sizes[] = {slice, m % slice};
    size_t room = 0;
    for (int i = 0; i < 2; i++)
        if (sizes[i] > 0)
            room = entropy_max(room, packed ? sg_gemm_room_packed(node->kind, sizes[i], n, k)
                                            : sg_gemm_room(node->kind, sizes[i], n, k));
    return room;
}

// The products of a block of so many rows, one after the other.
static size_t entropy_room(const sg_node *node, int64_t rows)
{
    const sg_tensor *w = node->in[1];
    const int64_t vocab = sg_rows(w), d = sg_columns(w);
    const bool packed = sg_gemm_packed_bytes(node->kind, vocab, d) > 0;
    size_t room = packed && w->narrow == NULL ? sg_gemm_room_packed(node->kind, rows, vocab, d)
                                              : sg_weights_room(node->kind, w, rows, vocab, d);
    if (node->in[0]->wants_grad)
        room = entropy_max(room, entropy_room_of(node, false, rows, d, vocab, packed));
    if (w->wants_grad)
        room = entropy_max(room, entropy_room_of(node, true, vocab, d, rows, packed));
    if (((const entropy_attributes *)node->attributes)->slabs)
        room = entropy_max(room, sg_gemm_room_packed(node->kind, d, vocab, rows));
    if (node->n_in <= 3) return room;
    const int64_t r = sg_columns(node->in[3]);
    room = entropy_max(room, sg_gemm_room(node->kind, rows, vocab, r));
    room = entropy_max(room, entropy_room_of(node, false, rows, r, vocab, false));
    return entropy_max(room, entropy_room_of(node, true, vocab, r, rows, false));
}

static entropy_places entropy_places_of(const sg_node *node, int64_t block)
{
    const sg_tensor *x = node->in[0], *w = node->in[1];
    const int64_t vocab = sg_rows(w), d = sg_columns(w);
    const size_t rows = (size_t)block;
    entropy_places p = {0};
    p.logits = entropy_take(&p.end, rows * (size_t)vocab * sizeof(sg_real));
    if (((const entropy_attributes *)node->attributes)->slabs && w->wants_grad) {
        size_t end = p.gradients = p.logits;
        entropy_take(&end, sg_gemm_packed_bytes(node->kind, vocab, block));
        p.turned = entropy_take(&end, (size_t)(d * entropy_turned_stride(vocab)) * sizeof(sg_real));
        p.end = entropy_max(p.end, end);
    }
    p.deep =
        entropy_take(&p.end, sg_gemm_scratch_bytes(entropy_slice(node, false, block), d, vocab));
    p.packed[0] = entropy_take(&p.end, sg_gemm_packed_bytes(node->kind, vocab, d));
    p.packed[1] =
        entropy_take(&p.end, x->wants_grad ? sg_gemm_packed_bytes(node->kind, d, vocab) : 0);
    p.packed[2] =
        entropy_take(&p.end, w->wants_grad ? sg_gemm_packed_bytes(node->kind, d, block) : 0);
    const int64_t last = sg_rows(x) % block; // of fewer rows, which may take more
    p.room = entropy_take(
        &p.end, entropy_max(entropy_room(node, block), last > 0 ? entropy_room(node, last) : 0));
    p.losses = entropy_take(&p.end, rows * sizeof(double));
    p.correct = entropy_take(&p.end, rows * sizeof(bool));
    return p;
}

sg_tensor *sg_cross_entropy_adapted(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                                    sg_loss_stats *stats, sg_tensor *u, sg_tensor *b, double scale)
{
    const bool adapted = u != NULL || b != NULL;
    if (x == NULL || w == NULL || targets == NULL || (adapted && (u == NULL || b == NULL)))
        return NULL;
    if (adapted && (b->rank != 2 || sg_rows(u) != sg_rows(x) || sg_columns(u) != sg_columns(b) ||
                    sg_rows(b) != sg_rows(w)))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "cross_entropy: the adapter does not fit");
    if (sg_columns(x) != sg_columns(w) || targets->count != sg_rows(x) ||
        targets->kind != SG_KIND_INT)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "cross_entropy: shapes do not fit");
    sg_node *node = sg_tape_node(tape, &op_cross_entropy, adapted ? 5 : 3,
                                 (sg_tensor *[]){x, w, targets, u, b});
    entropy_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    int64_t vocab = sg_rows(w);
    int64_t block = ((int64_t)4 << 20) / vocab;
    block = block < 16 ? 16 : block > 1024 ? 1024 : block;
    *a = (entropy_attributes){
        .stats = stats, .block = sg_min(block, sg_rows(x)), .adapted = adapted, .scale = scale};
    node->attributes = a;
    node->kind = sg_tape_logits_kind(tape);
    a->slabs = !adapted && w->narrow == NULL && sg_gemm_is_cheap(node->kind);
    a->places = entropy_places_of(node, a->block);
    node->scratch_bytes = a->places.end;
    node->worker_scratch_bytes =
        entropy_max(a->slabs ? entropy_work_places(node, NULL, NULL) : 0,
                    sg_weights_scratch_bytes(w, a->block, vocab, sg_columns(x)));
    return sg_node_output(tape, node, "loss", SG_KIND_REAL, 1, (int64_t[]){1});
}

sg_tensor *sg_cross_entropy(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                            sg_loss_stats *stats)
{
    return sg_cross_entropy_adapted(tape, x, w, targets, stats, NULL, NULL, 0);
}

void sg_observe_logits(sg_tape *tape, sg_tensor *loss, const sg_observation *observation)
{
    for (int n = 0; loss != NULL && n < sg_tape_nodes(tape); n++) {
        const sg_node *node = sg_tape_node_at(tape, n);
        if (node->out[0] != loss) continue;
        entropy_attributes *a = node->attributes;
        entropy_point *point = sg_tape_memory(tape, sizeof *point), **end = &a->points;
        if (point == NULL) return;
        point->observation = *observation;
        while (*end != NULL)
            end = &(*end)->next;
        *end = point;
    }
}
