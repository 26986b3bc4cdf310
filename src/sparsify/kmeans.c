// Distances come from one dense product: |x - c|^2 = |x|^2 + |c|^2 - 2 x . c, not below 0. Sums are
// taken in double, each in the order of rows.
#include "sparsify/kmeans.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "kernel/gemm.h"

enum { kmeans_rows_chunk = 64, kmeans_columns_chunk = 64 };

sg_status sg_kmeans_new(sg_compute compute, const sg_real *x, int64_t rows, int64_t d,
                        int64_t clusters, sg_kmeans *k, sg_error *err)
{
    const size_t n = (size_t)rows, c = (size_t)clusters, width = (size_t)d;
    *k = (sg_kmeans){.compute = compute, .x = x, .rows = rows, .d = d, .clusters = clusters};
    k->centres = sg_alloc_zero(c * width, sizeof *k->centres);
    k->squares = sg_alloc_array(n * c, sizeof *k->squares);
    k->dots = sg_alloc_array(n * c, sizeof *k->dots);
    k->lengths = sg_alloc_array(n + c, sizeof *k->lengths);
    k->sums = sg_alloc_array(c * width, sizeof *k->sums);
    k->counts = sg_alloc_array(c, sizeof *k->counts);
    k->labels = sg_alloc_zero(n, sizeof *k->labels);
    if (!k->centres || !k->squares || !k->dots || !k->lengths || !k->sums || !k->counts ||
        !k->labels) {
        sg_kmeans_free(k);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for distances of %lld rows to %lld means",
                       (long long)rows, (long long)clusters);
    }
    for (int64_t i = 0; i < rows; i++)
        k->lengths[i] = compute.kernels->sum_squares(x + i * d, d);
    return SG_OK;
}

void sg_kmeans_free(sg_kmeans *k)
{
    sg_free(k->centres);
    sg_free(k->squares);
    sg_free(k->dots);
    sg_free(k->lengths);
    sg_free(k->sums);
    sg_free(k->counts);
    sg_free(k->labels);
    *k = (sg_kmeans){0};
}

// ---- distances ----------------------------------------------------------------------------------

static void kmeans_square_rows(void *context, sg_range range)
{
    sg_kmeans *k = context;
    const int64_t n = k->clusters;
    const double *lengths = k->lengths + k->rows;
    for (int64_t i = range.first; i < range.end; i++)
        for (int64_t e = 0; e < n; e++)
            k->squares[i * n + e] =
                fmax(0, k->lengths[i] + lengths[e] - 2 * (double)k->dots[i * n + e]);
}

void sg_kmeans_squares(sg_kmeans *k)
{
    const sg_gemm_args args = {.transpose_b = true,
                               .m = k->rows,
                               .n = k->clusters,
                               .k = k->d,
                               .alpha = 1,
                               .a = k->x,
                               .lda = k->d,
                               .b = k->centres,
                               .ldb = k->d,
                               .c = k->dots,
                               .ldc = k->clusters};
    for (int64_t e = 0; e < k->clusters; e++)
        k->lengths[k->rows + e] = k->compute.kernels->sum_squares(k->centres + e * k->d, k->d);
    sg_gemm(k->compute, &args);
    sg_parallel_ranges(k->compute.pool, k->rows, kmeans_rows_chunk, kmeans_square_rows, k);
}

// ---- centres ------------------------------------------------------------------------------------

static void kmeans_mean_columns(void *context, sg_range range)
{
    const sg_kmeans *k = context;
    const int64_t d = k->d;
    for (int64_t e = 0; e < k->clusters; e++)
        memset(k->sums + e * d + range.first, 0,
               (size_t)(range.end - range.first) * sizeof *k->sums);
    for (int64_t i = 0; i < k->rows; i++) {
        double *sum = k->sums + k->labels[i] * d;
        for (int64_t j = range.first; j < range.end; j++)
            sum[j] += (double)k->x[i * d + j];
    }
    for (int64_t e = 0; e < k->clusters; e++)
        for (int64_t j = range.first; k->counts[e] > 0 && j < range.end; j++)
            k->centres[e * d + j] = (sg_real)(k->sums[e * d + j] / (double)k->counts[e]);
}

void sg_kmeans_centres(sg_kmeans *k)
{
    memset(k->counts, 0, (size_t)k->clusters * sizeof *k->counts);
    for (int64_t i = 0; i < k->rows; i++)
        k->counts[k->labels[i]]++;
    sg_parallel_ranges(k->compute.pool, k->d, kmeans_columns_chunk, kmeans_mean_columns, k);
}

double sg_kmeans_objective(const sg_kmeans *k)
{
    double sum = 0;
    for (int64_t i = 0; i < k->rows; i++) {
        const sg_real *x = k->x + i * k->d, *c = k->centres + k->labels[i] * k->d;
        double square = 0;
        for (int64_t j = 0; j < k->d; j++)
            square += ((double)x[j] - (double)c[j]) * ((double)x[j] - (double)c[j]);
        sum += square;
    }
    return sum;
}

// ---- a start ------------------------------------------------------------------------------------

int64_t sg_kmeans_draw(const double *weights, int64_t rows, double uniform)
{
    double all = 0, sum = 0;
    for (int64_t i = 0; i < rows; i++)
        all += weights[i];
    int64_t last = (int64_t)(uniform * (double)rows);
    for (int64_t i = 0; i < rows && all > 0; i++) {
        if (weights[i] == 0) continue;
        sum += weights[i];
        last = i;
        if (sum > uniform * all) break;
    }
    return last;
}

sg_status sg_kmeans_seed(sg_kmeans *k, uint64_t seed, sg_error *err)
{
    const uint32_t stream = sg_rng_stream("split.kmeans");
    const sg_kernels *kernels = k->compute.kernels;
    double *nearest = sg_alloc_array((size_t)k->rows, sizeof *nearest);
    if (nearest == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for first means");
    for (int64_t i = 0; i < k->rows; i++)
        nearest[i] = 1;
    for (int64_t e = 0; e < k->clusters; e++) {
        const int64_t row =
            sg_kmeans_draw(nearest, k->rows, sg_rng_uniform(seed, stream, (uint64_t)e));
        sg_real *centre = k->centres + e * k->d;
        memcpy(centre, k->x + row * k->d, (size_t)k->d * sizeof *centre);
        kernels->thin_product(k->dots, k->rows, centre, k->d, 1, k->x, k->d, k->rows, k->d);
        for (int64_t i = 0; i < k->rows; i++) {
            const double square = k->lengths[i] + k->lengths[row] - 2 * (double)k->dots[i];
            if (e == 0 || square < nearest[i]) nearest[i] = fmax(0, square);
        }
        nearest[row] = 0; // whatever the difference rounds to
    }
    sg_free(nearest);
    return SG_OK;
}

// ---- plain k-means ------------------------------------------------------------------------------

static bool kmeans_nearest(sg_kmeans *k)
{
    bool changed = false;
    for (int64_t i = 0; i < k->rows; i++) {
        const double *square = k->squares + i * k->clusters;
        int64_t best = 0;
        for (int64_t e = 1; e < k->clusters; e++)
            if (square[e] < square[best]) best = e;
        changed |= k->labels[i] != best;
        k->labels[i] = (int32_t)best;
    }
    return changed;
}

// Gives each cluster without rows the farthest row of one that has two or more.
static void kmeans_fill_empty(sg_kmeans *k)
{
    memset(k->counts, 0, (size_t)k->clusters * sizeof *k->counts);
    for (int64_t i = 0; i < k->rows; i++)
        k->counts[k->labels[i]]++;
    for (int64_t e = 0; e < k->clusters; e++) {
        if (k->counts[e] > 0) continue;
        int64_t farthest = -1;
        double square = -1;
        for (int64_t i = 0; i < k->rows; i++) {
            const double own = k->squares[i * k->clusters + k->labels[i]];
            if (k->counts[k->labels[i]] < 2 || own <= square) continue;
            square = own;
            farthest = i;
        }
        if (farthest < 0) return; // more clusters than rows
        k->counts[k->labels[farthest]]--;
        k->counts[e] = 1;
        k->labels[farthest] = (int32_t)e;
        k->squares[farthest * k->clusters + e] = 0; // its centre is there
    }
}

void sg_kmeans_plain(sg_kmeans *k, int64_t rounds)
{
    for (int64_t round = 0; round < rounds; round++) {
        sg_kmeans_squares(k);
        if (!kmeans_nearest(k) && round > 0) return;
        kmeans_fill_empty(k);
        sg_kmeans_centres(k);
    }
}
