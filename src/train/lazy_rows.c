// Rows are brought up to date where a pass announces that it reads them, take their step when their
// gradient is there, and all of them are settled now and then, before the list of missed steps
// grows long.
#include "train/lazy_rows.h"

#include "base/alloc.h"

enum { lazy_chunk = 128, lazy_ahead = 2, lazy_line = 64, lazy_piece = 1 << 16, lazy_sums = 512 };

typedef struct lazy_loop {
    sg_lazy_table *t;
    const sg_kernels *kernels;
    const int32_t *ids; // of the rows to be read
    const sg_adamw_args *args;
    double sums[lazy_sums];
} lazy_loop;

// Rows lie apart: each would begin with a wait for memory.
static void lazy_fetch(const sg_lazy_table *t, int32_t row)
{
    int64_t at = row * t->grads->width;
    const sg_real *from[] = {t->p + at, t->m + at, t->v + at};
    for (int i = 0; i < 3; i++)
        for (size_t byte = 0; byte < (size_t)t->grads->width * sizeof(sg_real); byte += lazy_line)
            __builtin_prefetch((const char *)from[i] + byte, 1);
}

// Rounds the narrow copy of a row anew, where the table has one.
static void lazy_renew(const sg_lazy_table *t, const sg_kernels *kernels, int64_t row)
{
    int64_t width = t->grads->width, at = row * width;
    if (t->narrow != NULL && t->narrow->type == SG_WEIGHTS_BF16)
        kernels->to_bf16(sg_stored_at(t->narrow, row, width).rows, t->p + at, width);
}

static void lazy_catch_up(const sg_lazy_table *t, const sg_kernels *kernels, int64_t row)
{
    const sg_row_clock *clock = t->clock;
    int64_t width = t->grads->width, at = row * width;
    if (t->last[row] == clock->updates) return;
    kernels->adamw_idle(t->p + at, t->m + at, t->v + at, width, &clock->idle[t->last[row]]);
    lazy_renew(t, kernels, row);
    t->last[row] = (int32_t)clock->updates;
}

// ---- before reading -----------------------------------------------------------------------------

static void lazy_read_chunk(void *context, sg_range rows)
{
    const lazy_loop *l = context;
    for (int64_t i = rows.first; i < rows.end; i++) {
        if (i + lazy_ahead < rows.end) lazy_fetch(l->t, l->ids[i + lazy_ahead]);
        lazy_catch_up(l->t, l->kernels, l->ids[i]);
    }
}

static void lazy_before_read(void *user, sg_compute compute, const int32_t *ids, int64_t count)
{
    sg_lazy_table *t = user;
    lazy_loop l = {.t = t, .kernels = compute.kernels, .ids = ids};
    if (t->clock->updates == 0) return;
    sg_row_clock_build(t->clock);
    sg_parallel_ranges(compute.pool, count, lazy_chunk, lazy_read_chunk, &l);
}

// ---- a step -------------------------------------------------------------------------------------

static void lazy_apply_chunk(void *context, sg_range rows)
{
    const lazy_loop *l = context;
    const sg_lazy_table *t = l->t;
    const sg_row_grads *g = t->grads;
    for (int64_t i = rows.first; i < rows.end; i++) {
        int64_t row = g->ids[i], at = row * g->width;
        if (i + lazy_ahead < rows.end) lazy_fetch(t, g->ids[i + lazy_ahead]);
        lazy_catch_up(t, l->kernels, row); // it was read, and so is there already
        l->kernels->adamw(t->p + at, t->m + at, t->v + at, g->values + g->slots[i] * g->width,
                          g->width, l->args);
        lazy_renew(t, l->kernels, row);
        t->last[row] = (int32_t)(t->clock->updates + 1);
    }
}

void sg_lazy_table_apply(sg_lazy_table *t, sg_compute compute, const sg_adamw_args *args)
{
    lazy_loop l = {.t = t, .kernels = compute.kernels, .args = args};
    sg_row_clock_build(t->clock);
    sg_parallel_ranges(compute.pool, t->grads->count, lazy_chunk, lazy_apply_chunk, &l);
}

static void lazy_square_chunk(void *context, sg_range part)
{
    lazy_loop *l = context;
    l->sums[part.chunk] =
        l->kernels->sum_squares(l->t->grads->values + part.first, part.end - part.first);
}

double sg_lazy_table_squares(const sg_lazy_table *t, sg_compute compute)
{
    lazy_loop l = {.t = (sg_lazy_table *)(uintptr_t)t, .kernels = compute.kernels};
    double sum = 0;
    const int64_t count = t->grads->count * t->grads->width;
    int64_t piece = sg_chunks(count, lazy_sums);
    if (piece < lazy_piece) piece = lazy_piece;
    sg_parallel_ranges(compute.pool, count, piece, lazy_square_chunk, &l);
    for (int64_t i = 0; i < sg_chunks(count, piece); i++)
        sum += l.sums[i];
    return sum;
}

// ---- all rows -----------------------------------------------------------------------------------

static void lazy_settle_chunk(void *context, sg_range rows)
{
    const lazy_loop *l = context;
    for (int64_t row = rows.first; row < rows.end; row++) {
        lazy_catch_up(l->t, l->kernels, row);
        l->t->last[row] = 0;
    }
}

void sg_lazy_table_settle(sg_lazy_table *t, sg_compute compute)
{
    lazy_loop l = {.t = t, .kernels = compute.kernels};
    sg_row_clock_build(t->clock);
    sg_parallel_ranges(compute.pool, t->grads->rows, lazy_chunk, lazy_settle_chunk, &l);
}

// ---- opening ------------------------------------------------------------------------------------

static size_t lazy_bytes(const sg_lazy_table *t)
{
    return (size_t)t->grads->rows * sizeof *t->last;
}

sg_status sg_lazy_table_open(sg_lazy_table *t, sg_error *err)
{
    t->last = sg_alloc_big(lazy_bytes(t));
    if (t->last == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    t->grads->before_read = lazy_before_read;
    t->grads->user = t;
    return SG_OK;
}

void sg_lazy_table_close(sg_lazy_table *t)
{
    if (t->last != NULL) sg_free_big(t->last, lazy_bytes(t));
    t->last = NULL;
}
