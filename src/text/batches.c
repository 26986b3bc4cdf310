// Rows in the order of a keyed permutation of the epoch, worked out row by row: no list of rows is
// kept, so that the position alone says where a run stands.
#include "text/batches.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "sgatlin_data.h"

struct sg_batches {
    const sg_data *data;
    sg_batches_options options;
    int64_t seq_len;
    int64_t rows; // in the split
    int64_t eos_id, pad_id;
    int64_t position;
    uint32_t stream;
    int32_t *inputs, *targets; // (batch_rows, T)
    float *weights;
};

sg_status sg_batches_new(const sg_data *data, const sg_batches_options *options, sg_batches **out,
                         sg_error *err)
{
    *out = NULL;
    const sg_data_info *info = sg_data_get_info(data);
    if (options->split != SG_SPLIT_TRAIN && options->split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1",
                       (int)options->split);
    const char *name = options->split == SG_SPLIT_TRAIN ? "training" : "validation";
    int64_t most = INT64_MAX / 16 / info->seq_len; // the arrays' sizes must not overflow
    if (options->batch_rows < 1 || options->batch_rows > most)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch size: found %lld, expected 1 to %lld",
                       (long long)options->batch_rows, (long long)most);
    int64_t rows = info->split[options->split].rows;
    if (rows == 0) return sg_fail(err, SG_ERR_MISMATCH, "packed data: its %s split is empty", name);
    if (options->once && options->drop_last && rows < options->batch_rows)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "packed data: its %s split has %lld rows, expected at least a batch of %lld",
                       name, (long long)rows, (long long)options->batch_rows);
    sg_batches *batches = sg_alloc_zero(1, sizeof *batches);
    if (batches == NULL) return sg_fail(err, SG_ERR_MEMORY, "batches: out of memory");
    batches->data = data;
    batches->options = *options;
    batches->seq_len = info->seq_len;
    batches->rows = rows;
    batches->eos_id = info->eos_id;
    batches->pad_id = info->pad_id;
    batches->stream = sg_rng_stream("data.order");
    size_t count = (size_t)(options->batch_rows * info->seq_len);
    batches->inputs = sg_alloc_array(count, sizeof *batches->inputs);
    batches->targets = sg_alloc_array(count, sizeof *batches->targets);
    batches->weights = sg_alloc_array(count, sizeof *batches->weights);
    if (batches->inputs == NULL || batches->targets == NULL || batches->weights == NULL) {
        sg_batches_free(batches);
        return sg_fail(err, SG_ERR_MEMORY, "batches: out of memory for %zu tokens", count);
    }
    *out = batches;
    return SG_OK;
}

void sg_batches_free(sg_batches *batches)
{
    if (batches == NULL) return;
    sg_free(batches->inputs);
    sg_free(batches->targets);
    sg_free(batches->weights);
    sg_free(batches);
}

int64_t sg_batches_in_epoch(const sg_batches *batches)
{
    int64_t b = batches->options.batch_rows;
    return batches->rows / b + (!batches->options.drop_last && batches->rows % b != 0);
}

int64_t sg_batches_position(const sg_batches *batches)
{
    return batches->position;
}

sg_status sg_batches_seek(sg_batches *batches, int64_t position, sg_error *err)
{
    if (position < 0 || position > INT64_MAX / 2)
        return sg_fail(err, SG_ERR_ARGUMENT, "data position: found %lld, expected 0 to %lld",
                       (long long)position, (long long)(INT64_MAX / 2));
    batches->position = position;
    return SG_OK;
}

int64_t sg_batches_row_at(const sg_batches *batches, int64_t position)
{
    int64_t epoch = position / batches->rows, place = position % batches->rows;
    if (!batches->options.shuffle) return place;
    uint64_t seed = sg_rng_u64(batches->options.seed, batches->stream, (uint64_t)epoch);
    return (int64_t)sg_rng_permute(seed, batches->stream, (uint64_t)place, (uint64_t)batches->rows);
}

sg_status sg_batches_next(sg_batches *batches, sg_data_batch *batch, sg_error *err)
{
    *batch = (sg_data_batch){0};
    int64_t rows = batches->options.batch_rows, seq_len = batches->seq_len;
    if (batches->options.once) {
        int64_t left = batches->position < batches->rows ? batches->rows - batches->position : 0;
        if (left < rows) rows = batches->options.drop_last ? 0 : left;
    }
    int64_t tokens = 0;
    for (int64_t b = 0; b < rows; b++) {
        int32_t *inputs = batches->inputs + b * seq_len, *targets = batches->targets + b * seq_len;
        float *weights = batches->weights + b * seq_len;
        int64_t row = sg_batches_row_at(batches, batches->position + b);
        SG_TRY(sg_data_row(batches->data, batches->options.split, row, targets, err));
        inputs[0] = (int32_t)batches->eos_id;
        memcpy(inputs + 1, targets, (size_t)(seq_len - 1) * sizeof *inputs);
        for (int64_t t = 0; t < seq_len; t++) {
            bool counts = targets[t] != batches->pad_id;
            weights[t] = counts ? 1.0f : 0.0f;
            tokens += counts;
        }
    }
    batches->position += rows;
    *batch = (sg_data_batch){rows, tokens, batches->inputs, batches->targets, batches->weights};
    return SG_OK;
}
