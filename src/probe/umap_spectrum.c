// Where the rows of a map begin. Each connected part of the graph by itself: the eigenvectors of
// the normalised Laplacian I - D^-1/2 W D^-1/2 with the smallest eigenvalues above 0, which are the
// largest of D^-1/2 W D^-1/2 below 1. Parts lie side by side, on a spiral of discs as large as they
// have rows, the largest in the middle: nothing says how far they are from each other. Parts of
// fewer than twice as many rows as the map has dimensions are drawn. A small noise keeps equal rows
// apart.
#include "probe/umap_spectrum.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/lanczos.h"

enum { spectrum_chunk = 2048 };
#define SPECTRUM_TOLERANCE 1e-3 // of an eigenvector's residual: it is where the layout begins
#define SPECTRUM_SIZE      10.0 // of the map in each dimension
#define SPECTRUM_NOISE     1e-4
#define SPECTRUM_ANGLE     2.399963229728653 // the golden angle, pi (3 - sqrt 5)

// ---- one part -----------------------------------------------------------------------------------

typedef struct spectrum_part {
    const sg_graph_edges *graph;
    sg_pool *pool;
    const int32_t *members, *local;
    int64_t size;
    double *roots; // (size): 1 / sqrt of degrees
    const double *x;
    double *y;
} spectrum_part;

static void spectrum_apply_rows(void *context, sg_range range)
{
    const spectrum_part *p = context;
    const sg_graph_edges *g = p->graph;
    for (int64_t r = range.first; r < range.end; r++) {
        const int32_t row = p->members[r];
        double sum = 0;
        for (int64_t e = g->begins[row]; e < g->begins[row + 1]; e++) {
            const int32_t other = p->local[g->ids[e]];
            sum += g->weights[e] * p->roots[other] * p->x[other];
        }
        p->y[r] = p->roots[r] * sum;
    }
}

static void spectrum_apply(void *user, const double *x, double *y)
{
    spectrum_part *p = user;
    p->x = x;
    p->y = y;
    sg_parallel_ranges(p->pool, p->size, spectrum_chunk, spectrum_apply_rows, p);
}

sg_status sg_umap_eigenvectors(sg_compute compute, const sg_graph_edges *g, const int32_t *members,
                               int64_t size, const int32_t *local, int64_t count, uint64_t seed,
                               double *vectors, double *values, sg_error *err)
{
    spectrum_part p = {
        .graph = g, .pool = compute.pool, .members = members, .local = local, .size = size};
    double *known = sg_alloc_array((size_t)size, sizeof *known);
    p.roots = sg_alloc_array((size_t)size, sizeof *p.roots);
    sg_status status = known == NULL || p.roots == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for eigenvectors")
                           : SG_OK;
    double all = 0;
    for (int64_t r = 0; status == SG_OK && r < size; r++) {
        double degree = 0;
        for (int64_t e = g->begins[members[r]]; e < g->begins[members[r] + 1]; e++)
            degree += g->weights[e];
        p.roots[r] = degree > 0 ? 1 / sqrt(degree) : 0;
        known[r] = sqrt(degree);
        all += degree;
    }
    for (int64_t r = 0; status == SG_OK && r < size; r++)
        known[r] /= all > 0 ? sqrt(all) : 1;
    const sg_symmetric a = {.size = size, .apply = spectrum_apply, .user = &p, .known = known};
    if (status == SG_OK)
        status = sg_lanczos(compute, &a, count, SPECTRUM_TOLERANCE, seed, vectors, values, err);
    sg_free(known);
    sg_free(p.roots);
    return status;
}

// ---- all parts ----------------------------------------------------------------------------------

typedef struct spectrum_size {
    int32_t part;
    int64_t first, size; // members
} spectrum_size;

typedef struct spectrum {
    const sg_graph_edges *graph;
    const sg_umap_options *options;
    int32_t *part, *members, *local; // (rows)
    spectrum_size *sizes;            // (parts), the largest first
    int64_t parts, drawn;
    double *vectors; // (components, rows of the largest)
    float *positions;
} spectrum;

static int spectrum_larger(const void *a, const void *b)
{
    const spectrum_size *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return (x->part > y->part) - (x->part < y->part);
}

// Members part by part, and where each stands in its own.
static void spectrum_members(spectrum *s)
{
    int64_t first = 0;
    for (int64_t r = 0; r < s->graph->rows; r++) {
        s->sizes[s->part[r]].part = s->part[r];
        s->local[r] = (int32_t)s->sizes[s->part[r]].size++;
    }
    for (int64_t p = 0; p < s->parts; p++) {
        s->sizes[p].first = first;
        first += s->sizes[p].size;
    }
    for (int64_t r = 0; r < s->graph->rows; r++)
        s->members[s->sizes[s->part[r]].first + s->local[r]] = (int32_t)r;
    qsort(s->sizes, (size_t)s->parts, sizeof *s->sizes, spectrum_larger);
}

// Vectors of a part, between -1 and 1.
static sg_status spectrum_vectors(spectrum *s, sg_compute compute, const spectrum_size *part,
                                  sg_error *err)
{
    const int64_t dims = s->options->components;
    const int32_t *members = s->members + part->first;
    double values[3];
    if (part->size < 2 * dims || part->size <= dims + 1) {
        const uint32_t stream = sg_rng_stream("umap places");
        for (int64_t r = 0; r < part->size; r++)
            for (int64_t d = 0; d < dims; d++)
                s->vectors[d * part->size + r] =
                    2 * sg_rng_uniform(s->options->seed, stream,
                                       (uint64_t)(members[r] * dims + d)) -
                    1;
        s->drawn++;
        return SG_OK;
    }
    SG_TRY(sg_umap_eigenvectors(compute, s->graph, members, part->size, s->local, dims,
                                s->options->seed, s->vectors, values, err));
    double most = 0;
    for (int64_t i = 0; i < dims * part->size; i++)
        most = fmax(most, fabs(s->vectors[i]));
    for (int64_t i = 0; i < dims * part->size && most > 0; i++)
        s->vectors[i] /= most;
    return SG_OK;
}

static sg_status spectrum_place(spectrum *s, sg_compute compute, sg_error *err)
{
    const int64_t dims = s->options->components, rows = s->graph->rows;
    double before = 0;
    for (int64_t p = 0; p < s->parts; p++) {
        const spectrum_size *part = &s->sizes[p];
        const double share = (double)part->size / (double)rows;
        const double far = p == 0 ? 0 : 2 * sqrt(before + share / 2);
        const double centre[3] = {far * cos((double)p * SPECTRUM_ANGLE),
                                  far * sin((double)p * SPECTRUM_ANGLE), 0};
        SG_TRY(spectrum_vectors(s, compute, part, err));
        for (int64_t r = 0; r < part->size; r++)
            for (int64_t d = 0; d < dims; d++)
                s->positions[s->members[part->first + r] * dims + d] =
                    (float)(centre[d] + sqrt(share) * s->vectors[d * part->size + r]);
        before += share;
    }
    return SG_OK;
}

// Each dimension from 0 to 10, and the noise.
static void spectrum_spread(const spectrum *s)
{
    const int64_t dims = s->options->components, rows = s->graph->rows;
    const uint32_t stream = sg_rng_stream("umap noise");
    for (int64_t d = 0; d < dims; d++) {
        double low = INFINITY, high = -INFINITY;
        for (int64_t r = 0; r < rows; r++) {
            low = fmin(low, s->positions[r * dims + d]);
            high = fmax(high, s->positions[r * dims + d]);
        }
        const double scale = high > low ? SPECTRUM_SIZE / (high - low) : 0;
        for (int64_t r = 0; r < rows; r++) {
            const double noise = sg_rng_normal(s->options->seed, stream, (uint64_t)(r * dims + d));
            float *at = &s->positions[r * dims + d];
            *at = (float)((*at - low) * scale + SPECTRUM_NOISE * noise);
        }
    }
}

static sg_status spectrum_run(spectrum *s, sg_compute compute, sg_umap *map, sg_error *err)
{
    const size_t rows = (size_t)s->graph->rows;
    s->parts = sg_umap_parts(s->graph, s->part, s->members);
    s->sizes = sg_alloc_zero((size_t)s->parts, sizeof *s->sizes);
    s->vectors = sg_alloc_zero(rows, (size_t)s->options->components * sizeof *s->vectors);
    if (s->sizes == NULL || s->vectors == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a map");
    spectrum_members(s);
    SG_TRY(spectrum_place(s, compute, err));
    spectrum_spread(s);
    map->parts = s->parts;
    map->parts_drawn = s->drawn;
    return SG_OK;
}

sg_status sg_umap_places(sg_compute compute, const sg_graph_edges *g,
                         const sg_umap_options *options, float *positions, sg_umap *map,
                         sg_error *err)
{
    const size_t rows = (size_t)g->rows;
    spectrum s = {.graph = g, .options = options, .positions = positions};
    s.part = sg_alloc_array(rows, sizeof *s.part);
    s.members = sg_alloc_array(rows, sizeof *s.members);
    s.local = sg_alloc_array(rows, sizeof *s.local);
    sg_status status = s.part == NULL || s.members == NULL || s.local == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a map")
                           : spectrum_run(&s, compute, map, err);
    sg_free(s.part);
    sg_free(s.members);
    sg_free(s.local);
    sg_free(s.sizes);
    sg_free(s.vectors);
    return status;
}
