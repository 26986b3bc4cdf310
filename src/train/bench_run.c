// Measuring a configuration or a model: what is asked for, checked and measured in turn.
#include <math.h>

#include "train/bench.h"

sg_bench_options sg_bench_options_default(void)
{
    return (sg_bench_options){.batch_size = 8,
                              .context = -1,
                              .sessions = 1,
                              .what = SG_BENCH_ALL,
                              .optimizer_rows = "auto",
                              .seconds = 1,
                              .repeats = 3,
                              .seed = 1};
}

static sg_status bench_check(const sg_bench_options *o, int64_t length, sg_error *err)
{
    if (o->what == 0 || (o->what & ~(unsigned)(SG_BENCH_ALL | SG_BENCH_PREFILL)) != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "what: found %u, expected a set of sg_bench_what",
                       o->what);
    if (o->table_dtype != SG_WEIGHTS_F32 && o->table_dtype != SG_WEIGHTS_BF16)
        return sg_fail(err, SG_ERR_ARGUMENT, "table_dtype: found %d, expected f32 or bf16",
                       (int)o->table_dtype);
    if (!sg_stored_is_choice(o->weights))
        return sg_fail(err, SG_ERR_ARGUMENT, "weights: found %d, expected f32, bf16 or int8",
                       (int)o->weights);
    if (sg_compute_kind_name(o->compute) == NULL || sg_compute_kind_name(o->logits_compute) == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "compute: found %d and %d, expected values of sg_compute_kind",
                       (int)o->compute, (int)o->logits_compute);
    if (sg_memory_path_name(o->memory_path) == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "memory_path: found %d, expected one of sg_memory_path",
                       (int)o->memory_path);
    if (o->repeats < 1 || o->repeats > SG_BENCH_REPEATS)
        return sg_fail(err, SG_ERR_ARGUMENT, "repeats: found %lld, expected 1 to %d",
                       (long long)o->repeats, SG_BENCH_REPEATS);
    if (!(o->seconds >= 0 && o->seconds <= 1e6))
        return sg_fail(err, SG_ERR_ARGUMENT, "seconds: found %s, expected 0 to 1e6",
                       SG_NUMBER(o->seconds));
    if (!(o->gemm_gflops >= 0 && isfinite(o->gemm_gflops) && o->stream_gbs >= 0 &&
          isfinite(o->stream_gbs)) ||
        (o->gemm_gflops > 0) != (o->stream_gbs > 0))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "limits: found %g and %g, expected both above 0 or both 0", o->gemm_gflops,
                       o->stream_gbs);
    if (o->sessions < 1 || o->sessions > SG_BATCH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "sessions: found %lld, expected 1 to %d",
                       (long long)o->sessions, SG_BATCH_MAX);
    if (o->model != NULL && (o->what & ~(unsigned)(SG_BENCH_DECODE | SG_BENCH_PREFILL)) != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "what: found %u, expected prefill and decoding for a model", o->what);
    if (o->context < -1 || o->context >= length)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected less than the %lld tokens of a sequence",
                       (long long)o->context, (long long)length);
    return SG_OK;
}

static sg_status bench_prepare(sg_bench_run *b, sg_error *err)
{
    const sg_bench_options *o = b->options;
    if (o->model != NULL) {
        SG_TRY(sg_model_open_stored(b->context, o->model, &b->model, err));
        b->config = b->model->config;
    } else {
        b->config = o->config;
        SG_TRY(sg_config_complete(&b->config, err));
    }
    b->length = o->seq_len > 0 ? o->seq_len : b->config.max_position_embeddings;
    if (b->length > b->config.max_position_embeddings || o->seq_len < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "seq_len: found %lld, expected 1 to %lld",
                       (long long)o->seq_len, (long long)b->config.max_position_embeddings);
    SG_TRY(bench_check(o, b->length, err));
    SG_TRY(sg_optimizer_rows_parse(o->optimizer_rows ? o->optimizer_rows : "", &b->rows, err));
    SG_TRY(sg_config_cost(&b->config, b->length, o->batch_size, false, b->context->threads,
                          &b->cost, err));
    b->tokens = o->batch_size * b->length;
    if (o->gemm_gflops > 0) return SG_OK;
    const unsigned kinds = sg_measure_kind(SG_COMPUTE_F32) | sg_measure_kind(o->compute) |
                           sg_measure_kind(o->logits_compute);
    return sg_measure_new(b->context, kinds, &b->measure, err);
}

sg_status sg_bench(sg_context *context, const sg_bench_options *options, sg_bench_fn result,
                   void *user, sg_error *err)
{
    sg_bench_run b = {.context = context, .options = options, .result = result, .user = user};
    unsigned what = options->what;
    sg_status status = bench_prepare(&b, err);
    if (status == SG_OK && what & SG_BENCH_LAYER_FORWARD) status = sg_bench_layer(&b, false, err);
    if (status == SG_OK && what & SG_BENCH_LAYER_FORWARD_BACKWARD)
        status = sg_bench_layer(&b, true, err);
    if (status == SG_OK && what & SG_BENCH_TRAIN_STEP) status = sg_bench_train_step(&b, err);
    if (status == SG_OK && what & SG_BENCH_PREFILL) status = sg_bench_prefill(&b, err);
    if (status == SG_OK && what & SG_BENCH_DECODE) status = sg_bench_decode(&b, err);
    sg_model_free(b.model);
    sg_measure_free(b.measure);
    return status;
}
