// Tensors are read in pieces of rows, on all threads; the checksum is that of the pieces' checksums
// in order, so that neither threads nor the way the weights are stored change it.
#include "probe/record_checksum.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

enum { piece_numbers = 1 << 18 };

typedef struct checksum_loop {
    const sg_model *model;
    size_t tensor;
    int64_t columns;
    uint64_t *pieces;
    float **buffers; // (threads)
    atomic_bool failed;
} checksum_loop;

static void checksum_rows(void *context, sg_range rows)
{
    checksum_loop *l = context;
    float *values = l->buffers[rows.worker];
    const int64_t count = rows.end - rows.first;
    if (sg_model_tensor_read(l->model, l->tensor, rows.first, count, values, NULL) != SG_OK)
        atomic_store(&l->failed, true);
    else
        l->pieces[rows.chunk] = sg_hash(values, (size_t)(count * l->columns) * sizeof *values);
}

static sg_status checksum_tensor(const sg_model *model, size_t index, sg_hasher *hasher,
                                 sg_error *err)
{
    sg_tensor_info info;
    SG_TRY(sg_model_tensor_info(model, index, &info, err));
    const int threads = model->context->threads;
    const int64_t rows = info.columns < piece_numbers ? piece_numbers / info.columns : 1;
    const size_t chunks = (size_t)sg_chunks(info.rows, rows);
    checksum_loop l = {.model = model, .tensor = index, .columns = info.columns};
    l.pieces = sg_alloc_zero(chunks, sizeof *l.pieces);
    l.buffers = sg_alloc_zero((size_t)threads, sizeof *l.buffers);
    bool fine = l.pieces != NULL && l.buffers != NULL;
    for (int i = 0; fine && i < threads; i++) {
        l.buffers[i] = sg_alloc_array((size_t)(rows * info.columns), sizeof(float));
        fine = l.buffers[i] != NULL;
    }
    if (fine) {
        sg_parallel_ranges(model->context->compute.pool, info.rows, rows, checksum_rows, &l);
        sg_hasher_add(hasher, info.name, strlen(info.name));
        sg_hasher_add(hasher, l.pieces, chunks * sizeof *l.pieces);
    }
    for (int i = 0; l.buffers != NULL && i < threads; i++)
        sg_free(l.buffers[i]);
    sg_free(l.buffers);
    sg_free(l.pieces);
    if (!fine) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a checksum");
    if (!atomic_load(&l.failed)) return SG_OK;
    return sg_fail(err, SG_ERR_IO, "%s: cannot read its values", info.name);
}

sg_status sg_model_checksum(const sg_model *model, uint64_t *checksum, sg_error *err)
{
    char *config;
    SG_TRY(sg_model_config_text(model, &config, err));
    sg_hasher *hasher = sg_hasher_new();
    sg_status status =
        hasher == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a checksum") : SG_OK;
    if (status == SG_OK) sg_hasher_add(hasher, config, strlen(config));
    for (size_t i = 0; status == SG_OK && i < sg_model_tensor_count(model); i++)
        status = checksum_tensor(model, i, hasher, err);
    if (status == SG_OK) *checksum = sg_hasher_value(hasher);
    sg_hasher_free(hasher);
    sg_free(config);
    return status;
}
