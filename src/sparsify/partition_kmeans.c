// Balanced k-means on the unit vectors of neurons: rounds of an assignment in which every block
// takes m neurons, and of new centres. The exact form assigns at the least sum of squared distances
// and lets the sum fall until nothing changes; the auction's scores are distances, not squared, as
// published, so its sum need not fall, and the best round is kept.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "sparsify/auction.h"
#include "sparsify/kmeans.h"
#include "sparsify/partition.h"
#include "sparsify/transport.h"

typedef struct split_work {
    sg_kmeans k;
    const sg_kmeans_options *options;
    int64_t size;
    sg_real *unit;    // (D, d)
    sg_real *scores;  // (E, D) of an auction
    int32_t *labels;  // (D) of the best round
    double objective; // of those
} split_work;

sg_kmeans_options sg_kmeans_options_default(void)
{
    return (sg_kmeans_options){.kind = SG_KMEANS_EXACT, .rounds = 100, .plain = 25};
}

// Rows of length 1: which the published code makes of all vectors before it compares them.
static sg_status split_unit_rows(const sg_real *x, int64_t rows, int64_t d, sg_real **unit,
                                 sg_error *err)
{
    *unit = sg_alloc_array((size_t)(rows * d), sizeof **unit);
    if (*unit == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for unit vectors");
    for (int64_t i = 0; i < rows; i++) {
        double square = 0;
        for (int64_t j = 0; j < d; j++)
            square += (double)x[i * d + j] * (double)x[i * d + j];
        if (!isfinite(square) || square == 0)
            return sg_fail(err, SG_ERR_NUMERIC,
                           "split: vector of neuron %lld: found a length of %g, expected one above "
                           "0 that is finite",
                           (long long)i, sqrt(square));
        const double by = 1 / sqrt(square);
        for (int64_t j = 0; j < d; j++)
            (*unit)[i * d + j] = (sg_real)((double)x[i * d + j] * by);
    }
    return SG_OK;
}

// ---- rounds -------------------------------------------------------------------------------------

static sg_status split_assign(split_work *w, sg_error *err)
{
    sg_kmeans *k = &w->k;
    if (w->options->kind == SG_KMEANS_EXACT)
        return sg_assign_balanced(k->squares, k->rows, k->clusters, w->size, k->labels, err);
    for (int64_t i = 0; i < k->rows; i++)
        for (int64_t e = 0; e < k->clusters; e++)
            w->scores[e * k->rows + i] = -(sg_real)sqrt(k->squares[i * k->clusters + e]);
    return sg_assign_auction(k->compute, w->scores, k->rows, k->clusters, w->size, 2 * w->size,
                             k->labels, err);
}

// One round from the centres as they are; *moved: whether the labels are others than before.
static sg_status split_round(split_work *w, int64_t round, int32_t *before, bool *moved,
                             sg_error *err)
{
    sg_kmeans *k = &w->k;
    const size_t bytes = (size_t)k->rows * sizeof *before;
    memcpy(before, k->labels, bytes);
    sg_kmeans_squares(k);
    SG_TRY(split_assign(w, err));
    sg_kmeans_centres(k);
    *moved = round == 0 || memcmp(before, k->labels, bytes) != 0;
    const double objective = sg_kmeans_objective(k);
    if (objective < w->objective) {
        w->objective = objective;
        memcpy(w->labels, k->labels, bytes);
    }
    if (w->options->progress != NULL &&
        !w->options->progress(w->options->user, round, w->objective))
        return sg_fail(err, SG_ERR_STOPPED, "stopped while neurons were split");
    return SG_OK;
}

static sg_status split_rounds(split_work *w, sg_error *err)
{
    int32_t *before = sg_alloc_array((size_t)w->k.rows, sizeof *before);
    if (before == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for labels");
    sg_status status = SG_OK;
    bool moved = true;
    for (int64_t r = 0; r < w->options->rounds && moved && status == SG_OK; r++)
        status = split_round(w, r, before, &moved, err);
    sg_free(before);
    return status;
}

// From k-means++ and, before an auction, plain k-means; or from the centres of a labelling.
static sg_status split_begin_rounds(split_work *w, const int32_t *start, sg_error *err)
{
    sg_kmeans *k = &w->k;
    if (start != NULL) {
        memcpy(k->labels, start, (size_t)k->rows * sizeof *start);
        sg_kmeans_centres(k);
    } else {
        SG_TRY(sg_kmeans_seed(k, w->options->seed, err));
    }
    if (w->options->kind == SG_KMEANS_AUCTION) sg_kmeans_plain(k, w->options->plain);
    return split_rounds(w, err);
}

static sg_status split_search(split_work *w, sg_error *err)
{
    w->objective = INFINITY;
    SG_TRY(split_begin_rounds(w, w->options->start, err));
    if (w->options->start == NULL || w->options->kind == SG_KMEANS_EXACT) return SG_OK;
    return split_begin_rounds(w, NULL, err);
}

// ---- from vectors to a split --------------------------------------------------------------------

static sg_status split_work_begin(split_work *w, sg_compute compute, const sg_real *vectors,
                                  int64_t neurons, int64_t d, sg_error *err)
{
    SG_TRY(split_unit_rows(vectors, neurons, d, &w->unit, err));
    SG_TRY(sg_kmeans_new(compute, w->unit, neurons, d, neurons / w->size, &w->k, err));
    w->labels = sg_alloc_zero((size_t)neurons, sizeof *w->labels);
    if (w->options->kind == SG_KMEANS_AUCTION)
        w->scores = sg_alloc_array((size_t)(neurons * w->k.clusters), sizeof *w->scores);
    if (w->labels == NULL || (w->scores == NULL && w->options->kind == SG_KMEANS_AUCTION))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    return SG_OK;
}

static void split_work_free(split_work *w)
{
    sg_kmeans_free(&w->k);
    sg_free(w->unit);
    sg_free(w->scores);
    sg_free(w->labels);
}

static sg_status split_check_options(const sg_kmeans_options *o, int64_t d, int64_t blocks,
                                     int64_t neurons, sg_error *err)
{
    if (o->rounds < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: rounds: found %lld, expected 1 or more",
                       (long long)o->rounds);
    if (d < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: width: found %lld, expected 1 or more",
                       (long long)d);
    for (int64_t j = 0; o->start != NULL && j < neurons; j++)
        if (o->start[j] < 0 || o->start[j] >= blocks)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "split: earlier block of neuron %lld: found %d, expected 0 … %lld",
                           (long long)j, (int)o->start[j], (long long)blocks - 1);
    return SG_OK;
}

sg_status sg_partition_kmeans(sg_compute compute, const sg_real *vectors, int64_t neurons,
                              int64_t d, int64_t size, const sg_kmeans_options *options,
                              sg_partition *split, double *objective, sg_error *err)
{
    SG_TRY(sg_partition_new(neurons, size, split, err)); // its checks
    split_work w = {.options = options, .size = size};
    sg_status status = split_check_options(options, d, split->blocks, neurons, err);
    if (status == SG_OK) status = split_work_begin(&w, compute, vectors, neurons, d, err);
    if (status == SG_OK) status = split_search(&w, err);
    sg_partition_free(split);
    if (status == SG_OK) status = sg_partition_of_labels(w.labels, neurons, size, split, err);
    if (status == SG_OK && objective != NULL) *objective = w.objective;
    split_work_free(&w);
    return status;
}

sg_status sg_partition_distance(sg_compute compute, const sg_partition *split,
                                const sg_real *vectors, int64_t d, double *distance, sg_error *err)
{
    sg_real *unit = NULL;
    sg_kmeans k = {0};
    sg_status status = split_unit_rows(vectors, split->neurons, d, &unit, err);
    if (status == SG_OK)
        status = sg_kmeans_new(compute, unit, split->neurons, d, split->blocks, &k, err);
    if (status == SG_OK) {
        sg_partition_labels(split, k.labels);
        sg_kmeans_centres(&k);
        *distance = sg_kmeans_objective(&k);
    }
    sg_kmeans_free(&k);
    sg_free(unit);
    return status;
}
