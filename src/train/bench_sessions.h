// Sessions of a model that decode at once, a token of each in one pass: what measuring feeds.
#ifndef SG_TRAIN_BENCH_SESSIONS_H
#define SG_TRAIN_BENCH_SESSIONS_H

#include "model/model.h"
#include "sgatlin_probe.h"

typedef struct sg_bench_sessions {
    sg_model *model;
    int64_t count;
    sg_session **items; // (count)
    sg_batch *batch;    // with more than one
} sg_bench_sessions;

// capacity: tokens of each; points: NULL: none. On failure too, sg_bench_sessions_close.
sg_status sg_bench_sessions_open(sg_bench_sessions *s, sg_model *model, int64_t count,
                                 int64_t capacity, const sg_points *points, sg_error *err);
void sg_bench_sessions_close(sg_bench_sessions *s);
// One pass: ids (count), the next token of each.
sg_status sg_bench_sessions_feed(const sg_bench_sessions *s, const int32_t *ids, sg_error *err);
// All of them forget what is behind so many tokens.
sg_status sg_bench_sessions_rewind(const sg_bench_sessions *s, int64_t length, sg_error *err);
// Passes add their seconds by node and direction; NULL: they do not.
void sg_bench_sessions_profile(const sg_bench_sessions *s, double *seconds);
// Once one pass was fed: the tape of a pass; and bytes of keys, values and activations.
const sg_tape *sg_bench_sessions_tape(const sg_bench_sessions *s);
int64_t sg_bench_sessions_bytes(const sg_bench_sessions *s);
// Token `index` of an endless text with few frequent and many rare words.
int32_t sg_bench_token(uint64_t seed, int64_t vocab, int64_t index);

#endif
