// Whole parameters in pieces cut by shape alone, then tables by rows; the norm is summed over
// pieces in their order, so that it has the same bits for any threads.
#include "train/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "train/lazy_rows.h"

// Work is cut into pieces of one parameter each, by shape alone.
enum { optimizer_piece = 1 << 16 };

typedef struct optimizer_chunk {
    size_t parameter;
    int64_t first, count;
} optimizer_chunk;

struct sg_optimizer {
    const sg_param_list *params;
    sg_real *const *values;
    const sg_gradients *gradients;
    sg_optimizer_options options;
    sg_real *moments; // all first moments, then all second moments
    size_t moment_bytes;
    int64_t half;     // of either kind
    int64_t *offsets; // of each parameter that is not frozen in one half of the moments
    optimizer_chunk *chunks;
    double *sums; // a chunk
    int64_t n_chunks;
    int64_t updates;
    sg_row_clock *clock; // NULL without lazy tables
    sg_lazy_table *lazy;
    size_t n_lazy;
    sg_tensor_view *state;
    char (*names)[SG_PARAM_NAME + 16]; // of the state
    size_t n_state;
};

sg_real *sg_optimizer_moment(const sg_optimizer *o, size_t parameter, int which)
{
    return o->moments + (which ? o->half : 0) + o->offsets[parameter];
}

// ---- opening ------------------------------------------------------------------------------------

static void optimizer_cut(sg_optimizer *o)
{
    int64_t offset = 0;
    for (size_t i = 0; i < o->params->count; i++) {
        int64_t count = o->params->specs[i].count;
        if (o->params->specs[i].frozen) continue;
        o->offsets[i] = offset;
        offset += count;
        if (o->params->specs[i].buffer != SG_BUFFER_NONE) continue; // its moments stay 0
        if (sg_gradients_rows(o->gradients, i) != NULL) continue;   // lazy
        for (int64_t first = 0; first < count; first += optimizer_piece) {
            int64_t left = count - first;
            o->chunks[o->n_chunks++] =
                (optimizer_chunk){i, first, left < optimizer_piece ? left : optimizer_piece};
        }
    }
}

static sg_status optimizer_tables(sg_optimizer *o, sg_error *err)
{
    o->lazy = sg_alloc_zero((size_t)o->gradients->lazy_tables, sizeof *o->lazy);
    o->clock = sg_alloc_zero(1, sizeof *o->clock);
    if (o->lazy == NULL || o->clock == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    o->clock->beta1 = o->options.beta1;
    o->clock->beta2 = o->options.beta2;
    o->clock->eps = o->options.eps;
    o->clock->decay = o->options.weight_decay; // which all tables have
    o->clock->built = -1;
    for (size_t i = 0; i < o->params->count; i++) {
        if (sg_gradients_rows(o->gradients, i) == NULL) continue;
        sg_lazy_table *t = &o->lazy[o->n_lazy++];
        *t = (sg_lazy_table){.clock = o->clock,
                             .grads = sg_gradients_rows(o->gradients, i),
                             .p = o->values[i],
                             .m = sg_optimizer_moment(o, i, 0),
                             .v = sg_optimizer_moment(o, i, 1),
                             .narrow = o->options.narrow ? &o->options.narrow[i] : NULL,
                             .parameter = i};
        SG_TRY(sg_lazy_table_open(t, err));
    }
    return SG_OK;
}

static void state_add(sg_optimizer *o, const char *prefix, const char *name, sg_dtype type,
                      int rank, const int64_t *shape, const void *data)
{
    char *full = o->names[o->n_state];
    snprintf(full, sizeof o->names[0], "%s%s", prefix, name);
    o->state[o->n_state++] = sg_tensor_view_make(full, type, rank, shape, data);
}

// docs/FORMATS.md describes optimizer.safetensors.
static sg_status optimizer_state(sg_optimizer *o, sg_error *err)
{
    size_t most = 2 * o->params->count + o->n_lazy + 2;
    const int64_t one = 1, period = SG_ROW_PERIOD;
    o->state = sg_alloc_array(most, sizeof *o->state);
    o->names = sg_alloc_array(most, sizeof *o->names);
    if (o->state == NULL || o->names == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    for (size_t i = 0; i < 2 * o->params->count; i++) {
        const sg_param_spec *spec = &o->params->specs[i / 2];
        if (spec->frozen) continue;
        state_add(o, i % 2 ? "v." : "m.", spec->name,
                  sizeof(sg_real) == 4 ? SG_DTYPE_F32 : SG_DTYPE_F64, spec->rank, spec->shape,
                  sg_optimizer_moment(o, i / 2, (int)(i % 2)));
    }
    for (size_t i = 0; i < o->n_lazy; i++)
        state_add(o, "rows.last.", o->params->specs[o->lazy[i].parameter].name, SG_DTYPE_I32, 1,
                  &o->lazy[i].grads->rows, o->lazy[i].last);
    if (o->clock == NULL) return SG_OK;
    state_add(o, "rows.settled", "", SG_DTYPE_I64, 1, &one, &o->clock->settled);
    state_add(o, "rows.lr", "", SG_DTYPE_F64, 1, &period, o->clock->lr);
    return SG_OK;
}

static sg_status optimizer_open(sg_optimizer *o, sg_error *err)
{
    const sg_param_list *params = o->params;
    int64_t chunks = 0;
    for (size_t i = 0; i < params->count; i++) {
        chunks += (params->specs[i].count + optimizer_piece - 1) / optimizer_piece;
        if (!params->specs[i].frozen) o->half += params->specs[i].count;
    }
    o->moment_bytes = 2 * (size_t)o->half * sizeof(sg_real);
    o->moments = sg_alloc_from(o->options.allocator, o->moment_bytes);
    o->offsets = sg_alloc_zero(params->count, sizeof *o->offsets);
    o->chunks = sg_alloc_array((size_t)chunks, sizeof *o->chunks);
    o->sums = sg_alloc_array((size_t)chunks, sizeof *o->sums);
    if (!o->moments || !o->offsets || !o->chunks || !o->sums)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    optimizer_cut(o);
    if (o->gradients->lazy_tables > 0) SG_TRY(optimizer_tables(o, err));
    return optimizer_state(o, err);
}

sg_status sg_optimizer_new(const sg_param_list *params, sg_real *const *values,
                           const sg_gradients *gradients, const sg_optimizer_options *options,
                           sg_optimizer **out, sg_error *err)
{
    *out = NULL;
    sg_optimizer *o = sg_alloc_zero(1, sizeof *o);
    if (o == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    *o = (sg_optimizer){
        .params = params, .values = values, .gradients = gradients, .options = *options};
    sg_status status = optimizer_open(o, err);
    if (status != SG_OK) {
        sg_optimizer_free(o);
        return status;
    }
    *out = o;
    return SG_OK;
}

void sg_optimizer_free(sg_optimizer *o)
{
    if (o == NULL) return;
    for (size_t i = 0; i < o->n_lazy; i++)
        sg_lazy_table_close(&o->lazy[i]);
    sg_free(o->lazy);
    sg_free(o->clock);
    sg_free(o->state);
    sg_free(o->names);
    sg_free_to(o->options.allocator, o->moments, o->moment_bytes);
    sg_free(o->offsets);
    sg_free(o->chunks);
    sg_free(o->sums);
    sg_free(o);
}

// ---- a step -------------------------------------------------------------------------------------

typedef struct optimizer_loop {
    const sg_optimizer *o;
    const sg_kernels *kernels;
    sg_adamw_args args; // of a step
} optimizer_loop;

static void norm_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const optimizer_loop *l = context;
    const optimizer_chunk *c = &l->o->chunks[chunk];
    l->o->sums[chunk] =
        l->kernels->sum_squares(l->o->gradients->parts[c->parameter] + c->first, c->count);
}

double sg_optimizer_norm(const sg_optimizer *o, sg_compute compute)
{
    optimizer_loop l = {.o = o, .kernels = compute.kernels};
    sg_parallel_for(compute.pool, o->n_chunks, norm_chunk, &l);
    double sum = 0;
    for (int64_t i = 0; i < o->n_chunks; i++)
        sum += o->sums[i];
    for (size_t i = 0; i < o->n_lazy; i++)
        sum += sg_lazy_table_squares(&o->lazy[i], compute);
    return sqrt(sum);
}

// Rounds the narrow copy of some values anew, where they have one: whatever writes weights after a
// step calls this for what it wrote.
static void optimizer_renew(const optimizer_loop *l, size_t parameter, int64_t first, int64_t count)
{
    const sg_optimizer *o = l->o;
    const sg_stored *copy = o->options.narrow ? &o->options.narrow[parameter] : NULL;
    if (copy == NULL || copy->type != SG_WEIGHTS_BF16) return;
    const sg_param_spec *spec = &o->params->specs[parameter];
    const int64_t d = spec->shape[spec->rank - 1];
    for (int64_t i = first, n; i < first + count; i += n) { // rows may lie apart
        n = first + count - i;
        if (copy->step > 1 && n > d - i % d) n = d - i % d;
        sg_bf16 *row = sg_stored_at(copy, i / d, d).rows;
        l->kernels->to_bf16(row + i % d, o->values[parameter] + i, n);
    }
}

static void optimizer_wrote(const sg_optimizer *o)
{
    if (o->options.version != NULL) ++*o->options.version;
}

static void apply_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const optimizer_loop *l = context;
    const optimizer_chunk *c = &l->o->chunks[chunk];
    sg_adamw_args args = l->args;
    if (!l->o->params->specs[c->parameter].decay) args.decay = 0;
    l->kernels->adamw(l->o->values[c->parameter] + c->first,
                      sg_optimizer_moment(l->o, c->parameter, 0) + c->first,
                      sg_optimizer_moment(l->o, c->parameter, 1) + c->first,
                      l->o->gradients->parts[c->parameter] + c->first, c->count, &args);
    optimizer_renew(l, c->parameter, c->first, c->count);
}

void sg_optimizer_apply(sg_optimizer *o, sg_compute compute, double lr, double norm)
{
    const sg_optimizer_options *options = &o->options;
    o->updates++;
    optimizer_wrote(o);
    optimizer_loop l = {.o = o,
                        .kernels = compute.kernels,
                        .args = {.lr = lr,
                                 .beta1 = options->beta1,
                                 .beta2 = options->beta2,
                                 .eps = options->eps,
                                 .decay = options->weight_decay,
                                 .bias1 = 1 - pow(options->beta1, (double)o->updates),
                                 .bias2 = 1 - pow(options->beta2, (double)o->updates),
                                 .grad_scale = 1}};
    if (options->clip > 0 && norm >= options->clip) l.args.grad_scale = options->clip / norm;
    sg_parallel_for(compute.pool, o->n_chunks, apply_chunk, &l);
    for (size_t i = 0; i < o->n_lazy; i++)
        sg_lazy_table_apply(&o->lazy[i], compute, &l.args);
    if (o->clock != NULL) {
        sg_row_clock_advance(o->clock, lr);
        if (o->clock->updates == SG_ROW_PERIOD) sg_optimizer_settle(o, compute);
    }
}

void sg_optimizer_settle(sg_optimizer *o, sg_compute compute)
{
    if (o->clock == NULL || o->clock->updates == 0) return;
    optimizer_wrote(o);
    for (size_t i = 0; i < o->n_lazy; i++)
        sg_lazy_table_settle(&o->lazy[i], compute);
    sg_row_clock_settle(o->clock);
}

// ---- state --------------------------------------------------------------------------------------

int64_t sg_optimizer_updates(const sg_optimizer *o)
{
    return o->updates;
}

size_t sg_optimizer_moment_bytes(const sg_optimizer *o)
{
    return o->moment_bytes;
}

const sg_tensor_view *sg_optimizer_state(const sg_optimizer *o, size_t *count)
{
    *count = o->n_state;
    return o->state;
}

// The numbers that index and scale must be what a run of that many updates can have.
static sg_status restore_clock(sg_optimizer *o, sg_error *err)
{
    sg_row_clock *clock = o->clock;
    if (clock->settled < 0 || clock->settled > o->updates ||
        o->updates - clock->settled >= SG_ROW_PERIOD)
        return sg_fail(err, SG_ERR_FORMAT,
                       "rows.settled: found %lld, expected %d before %lld at most",
                       (long long)clock->settled, SG_ROW_PERIOD - 1, (long long)o->updates);
    clock->updates = o->updates - clock->settled;
    clock->built = -1;
    for (int64_t i = 0; i < clock->updates; i++)
        if (!(clock->lr[i] >= 0 && clock->lr[i] <= 1e3))
            return sg_fail(err, SG_ERR_FORMAT, "rows.lr: found %g, expected a learning rate",
                           clock->lr[i]);
    for (size_t i = 0; i < o->n_lazy; i++)
        for (int64_t row = 0; row < o->lazy[i].grads->rows; row++)
            if (o->lazy[i].last[row] < 0 || o->lazy[i].last[row] > clock->updates)
                return sg_fail(err, SG_ERR_FORMAT,
                               "rows.last.%s: row %lld: found %d, expected 0 to %lld",
                               o->params->specs[o->lazy[i].parameter].name, (long long)row,
                               o->lazy[i].last[row], (long long)clock->updates);
    return SG_OK;
}

// First moments are numbers, second ones no less than 0: their root is taken.
static sg_status restore_moments(const sg_tensor_view *view, sg_error *err)
{
    const sg_real *values = view->data;
    const bool second = view->name[0] == 'v';
    if (view->dtype != (sizeof(sg_real) == 4 ? SG_DTYPE_F32 : SG_DTYPE_F64) ||
        (view->name[0] != 'm' && !second))
        return SG_OK;
    for (size_t i = 0; i < view->bytes / sizeof *values; i++)
        if (isnan(values[i]) || (second && values[i] < 0))
            return sg_fail(err, SG_ERR_FORMAT, "%s: value %zu: found %g, expected a moment",
                           view->name, i, (double)values[i]);
    return SG_OK;
}

sg_status sg_optimizer_restore(sg_optimizer *o, const sg_safetensors *file, int64_t updates,
                               sg_error *err)
{
    for (size_t i = 0; i < o->n_state; i++) {
        const sg_tensor_view *to = &o->state[i], *from;
        SG_TRY(sg_safetensors_get(file, to->name, to->dtype, to->ndim, to->shape, &from, err));
        memcpy((void *)(uintptr_t)to->data, from->data, to->bytes);
        SG_TRY(restore_moments(to, err));
    }
    o->updates = updates;
    return o->clock != NULL ? restore_clock(o, err) : SG_OK;
}
