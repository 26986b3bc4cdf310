// The permutation itself: making it from labels, checking one that comes from elsewhere, and rows
// in its order.
#include "sparsify/partition.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"

sg_status sg_partition_fits(int64_t neurons, int64_t size, sg_error *err)
{
    if (neurons < 1 || neurons > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: neurons: found %lld, expected 1 … %lld",
                       (long long)neurons, (long long)INT32_MAX);
    if (size < 1 || size > neurons)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "block_size: found %lld, expected 1 to %lld, the neurons of a layer",
                       (long long)size, (long long)neurons);
    if (neurons % size == 0) return SG_OK;
    int64_t below = size, above = size;
    while (neurons % below != 0)
        below--;
    while (neurons % above != 0)
        above++;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "block_size: found %lld, expected a divisor of the %lld neurons of a layer; "
                   "near it are %lld and %lld",
                   (long long)size, (long long)neurons, (long long)below, (long long)above);
}

sg_status sg_partition_new(int64_t neurons, int64_t size, sg_partition *split, sg_error *err)
{
    *split = (sg_partition){0};
    SG_TRY(sg_partition_fits(neurons, size, err));
    int32_t *order = sg_alloc_array((size_t)neurons, sizeof *order);
    if (order == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    for (int64_t i = 0; i < neurons; i++)
        order[i] = (int32_t)i;
    *split =
        (sg_partition){.neurons = neurons, .size = size, .blocks = neurons / size, .order = order};
    return SG_OK;
}

void sg_partition_free(sg_partition *split)
{
    sg_free(split->order);
    *split = (sg_partition){0};
}

// Puts each neuron behind those of its block that came before it.
static sg_status split_fill(sg_partition *s, const int32_t *labels, int32_t *used, sg_error *err)
{
    for (int64_t j = 0; j < s->neurons; j++) {
        const int64_t e = labels[j];
        if (e < 0 || e >= s->blocks)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "split: block of neuron %lld: found %lld, expected 0 … %lld",
                           (long long)j, (long long)e, (long long)s->blocks - 1);
        if (used[e] == s->size)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "split: block %lld: found more than %lld neurons, expected so many",
                           (long long)e, (long long)s->size);
        s->order[e * s->size + used[e]++] = (int32_t)j;
    }
    return SG_OK; // none has more, so all have as many
}

sg_status sg_partition_of_labels(const int32_t *labels, int64_t neurons, int64_t size,
                                 sg_partition *split, sg_error *err)
{
    SG_TRY(sg_partition_new(neurons, size, split, err));
    int32_t *used = sg_alloc_zero((size_t)split->blocks, sizeof *used);
    sg_status status = used != NULL ? split_fill(split, labels, used, err)
                                    : sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    sg_free(used);
    if (status != SG_OK) sg_partition_free(split);
    return status;
}

void sg_partition_labels(const sg_partition *split, int32_t *labels)
{
    for (int64_t i = 0; i < split->neurons; i++)
        labels[split->order[i]] = (int32_t)(i / split->size);
}

sg_status sg_partition_check(const sg_partition *s, sg_error *err)
{
    SG_TRY(sg_partition_fits(s->neurons, s->size, err));
    if (s->blocks != s->neurons / s->size || s->shared < 0 || s->shared > s->blocks)
        return sg_fail(
            err, SG_ERR_ARGUMENT, "split: blocks: found %lld, %lld shared, expected %lld",
            (long long)s->blocks, (long long)s->shared, (long long)(s->neurons / s->size));
    bool *seen = sg_alloc_zero((size_t)s->neurons, sizeof *seen);
    if (seen == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    sg_status status = SG_OK;
    for (int64_t i = 0; i < s->neurons && status == SG_OK; i++) {
        const int64_t j = s->order[i];
        if (j < 0 || j >= s->neurons || seen[j])
            status = sg_fail(err, SG_ERR_ARGUMENT,
                             "split: place %lld: found neuron %lld, expected each of %lld once",
                             (long long)i, (long long)j, (long long)s->neurons);
        else
            seen[j] = true;
    }
    sg_free(seen);
    return status;
}

void sg_partition_rows(const sg_partition *split, sg_real *to, const sg_real *from, int64_t d)
{
    for (int64_t i = 0; i < split->neurons; i++)
        memcpy(to + i * d, from + split->order[i] * d, (size_t)d * sizeof *to);
}

sg_status sg_partition_random(int64_t neurons, int64_t size, uint64_t seed, sg_partition *split,
                              sg_error *err)
{
    SG_TRY(sg_partition_new(neurons, size, split, err));
    int32_t *labels = sg_alloc_array((size_t)neurons, sizeof *labels);
    const uint32_t stream = sg_rng_stream("split.random");
    for (int64_t j = 0; labels != NULL && j < neurons; j++)
        labels[j] =
            (int32_t)((int64_t)sg_rng_permute(seed, stream, (uint64_t)j, (uint64_t)neurons) / size);
    sg_partition_free(split);
    sg_status status = labels != NULL ? sg_partition_of_labels(labels, neurons, size, split, err)
                                      : sg_fail(err, SG_ERR_MEMORY, "out of memory for a split");
    sg_free(labels);
    return status;
}
