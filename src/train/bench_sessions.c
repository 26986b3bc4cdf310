// Sessions that are fed together: as one, or as a batch.
#include "train/bench_sessions.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "model/session.h"

sg_status sg_bench_sessions_open(sg_bench_sessions *s, sg_model *model, int64_t count,
                                 int64_t capacity, const sg_points *points, sg_error *err)
{
    const sg_session_options options = {.capacity = capacity, .points = points};
    *s = (sg_bench_sessions){.model = model, .count = count};
    s->items = sg_alloc_zero((size_t)count, sizeof *s->items);
    if (s->items == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld sessions", (long long)count);
    for (int64_t i = 0; i < count; i++)
        SG_TRY(sg_session_open(model, &options, &s->items[i], err));
    return count > 1 ? sg_batch_new(model, count, &s->batch, err) : SG_OK;
}

void sg_bench_sessions_close(sg_bench_sessions *s)
{
    sg_batch_free(s->batch);
    for (int64_t i = 0; s->items != NULL && i < s->count; i++)
        sg_session_free(s->items[i]);
    sg_free(s->items);
    *s = (sg_bench_sessions){0};
}

sg_status sg_bench_sessions_feed(const sg_bench_sessions *s, const int32_t *ids, sg_error *err)
{
    const float *logits;
    if (s->batch == NULL) return sg_session_feed(s->items[0], ids, 1, &logits, err);
    return sg_batch_feed(s->batch, s->items, ids, s->count, &logits, err);
}

sg_status sg_bench_sessions_rewind(const sg_bench_sessions *s, int64_t length, sg_error *err)
{
    for (int64_t i = 0; i < s->count; i++)
        SG_TRY(sg_session_rewind(s->items[i], length, err));
    return SG_OK;
}

void sg_bench_sessions_profile(const sg_bench_sessions *s, double *seconds)
{
    if (s->batch != NULL)
        sg_batch_profile(s->batch, seconds);
    else
        sg_session_profile(s->items[0], seconds);
}

const sg_tape *sg_bench_sessions_tape(const sg_bench_sessions *s)
{
    return s->batch != NULL ? sg_batch_tape(s->batch) : sg_session_tape(s->items[0]);
}

int64_t sg_bench_sessions_bytes(const sg_bench_sessions *s)
{
    int64_t bytes = s->batch != NULL ? (int64_t)sg_batch_bytes(s->batch) : 0;
    for (int64_t i = 0; i < s->count; i++)
        bytes += (int64_t)sg_session_bytes(s->items[i]);
    return bytes;
}

int32_t sg_bench_token(uint64_t seed, int64_t vocab, int64_t index)
{
    const double u = sg_rng_uniform(seed, sg_rng_stream("bench.tokens"), (uint64_t)index);
    const int64_t id = (int64_t)(u * u * u * (double)vocab);
    return (int32_t)(id < vocab - 1 ? id : vocab - 1);
}
