#include "train/optimizer.h"

#include <math.h>

#include "base/alloc.h"

// Work is cut into pieces of one parameter each, by shape alone.
enum { optimizer_piece = 1 << 16 };

typedef struct optimizer_chunk {
    size_t parameter;
    int64_t first, count;
} optimizer_chunk;

struct sg_optimizer {
    const sg_param_list *params;
    sg_real *const *values, *const *grads;
    sg_optimizer_options options;
    sg_real *moments; // all first moments, then all second moments
    size_t moment_bytes;
    int64_t *offsets; // of each parameter in one half of the moments
    optimizer_chunk *chunks;
    double *sums; // a chunk
    int64_t n_chunks;
    int64_t updates;
};

sg_status sg_optimizer_new(const sg_param_list *params, sg_real *const *values,
                           sg_real *const *grads, const sg_optimizer_options *options,
                           sg_optimizer **out, sg_error *err)
{
    *out = NULL;
    int64_t chunks = 0;
    for (size_t i = 0; i < params->count; i++)
        chunks += (params->specs[i].count + optimizer_piece - 1) / optimizer_piece;
    sg_optimizer *o = sg_alloc_zero(1, sizeof *o);
    if (o == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    *o = (sg_optimizer){.params = params, .values = values, .grads = grads, .options = *options};
    o->moment_bytes = 2 * (size_t)params->total * sizeof(sg_real);
    o->moments = sg_alloc_big(o->moment_bytes);
    o->offsets = sg_alloc_array(params->count, sizeof *o->offsets);
    o->chunks = sg_alloc_array((size_t)chunks, sizeof *o->chunks);
    o->sums = sg_alloc_array((size_t)chunks, sizeof *o->sums);
    if (!o->moments || !o->offsets || !o->chunks || !o->sums) {
        sg_optimizer_free(o);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the optimiser");
    }
    int64_t offset = 0;
    for (size_t i = 0; i < params->count; i++) {
        int64_t count = params->specs[i].count;
        o->offsets[i] = offset;
        offset += count;
        if (params->specs[i].buffer != SG_BUFFER_NONE) continue; // its moments stay 0
        for (int64_t first = 0; first < count; first += optimizer_piece) {
            int64_t left = count - first;
            o->chunks[o->n_chunks++] =
                (optimizer_chunk){i, first, left < optimizer_piece ? left : optimizer_piece};
        }
    }
    *out = o;
    return SG_OK;
}

void sg_optimizer_free(sg_optimizer *o)
{
    if (o == NULL) return;
    sg_free_big(o->moments, o->moment_bytes);
    sg_free(o->offsets);
    sg_free(o->chunks);
    sg_free(o->sums);
    sg_free(o);
}

static void norm_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_optimizer *o = context;
    const optimizer_chunk *c = &o->chunks[chunk];
    o->sums[chunk] = sg_kernels_get()->sum_squares(o->grads[c->parameter] + c->first, c->count);
}

double sg_optimizer_norm(const sg_optimizer *o, sg_pool *pool)
{
    sg_parallel_for(pool, o->n_chunks, norm_chunk, (void *)(uintptr_t)o);
    double sum = 0;
    for (int64_t i = 0; i < o->n_chunks; i++)
        sum += o->sums[i];
    return sqrt(sum);
}

typedef struct apply_loop {
    const sg_optimizer *o;
    sg_adamw_args args;
} apply_loop;

static void apply_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const apply_loop *l = context;
    const optimizer_chunk *c = &l->o->chunks[chunk];
    sg_adamw_args args = l->args;
    if (!l->o->params->specs[c->parameter].decay) args.decay = 0;
    sg_kernels_get()->adamw(l->o->values[c->parameter] + c->first,
                            sg_optimizer_moment(l->o, c->parameter, 0) + c->first,
                            sg_optimizer_moment(l->o, c->parameter, 1) + c->first,
                            l->o->grads[c->parameter] + c->first, c->count, &args);
}

void sg_optimizer_apply(sg_optimizer *o, sg_pool *pool, double lr, double norm)
{
    const sg_optimizer_options *options = &o->options;
    o->updates++;
    apply_loop l = {.o = o,
                    .args = {.lr = lr,
                             .beta1 = options->beta1,
                             .beta2 = options->beta2,
                             .eps = options->eps,
                             .decay = options->weight_decay,
                             .bias1 = 1 - pow(options->beta1, (double)o->updates),
                             .bias2 = 1 - pow(options->beta2, (double)o->updates),
                             .grad_scale = 1}};
    if (options->clip > 0 && norm >= options->clip) l.args.grad_scale = options->clip / norm;
    sg_parallel_for(pool, o->n_chunks, apply_chunk, &l);
}

int64_t sg_optimizer_updates(const sg_optimizer *o)
{
    return o->updates;
}

void sg_optimizer_set_updates(sg_optimizer *o, int64_t updates)
{
    o->updates = updates;
}

sg_real *sg_optimizer_moment(const sg_optimizer *o, size_t parameter, int which)
{
    return o->moments + (which ? o->params->total : 0) + o->offsets[parameter];
}
