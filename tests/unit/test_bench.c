// Measuring: every figure asked for comes once and in order, its work and memory are those of the
// published formulas and of the plan, what is asked wrongly is refused, memory may fail anywhere.
// How long anything took is never looked at beyond "longer than nothing".
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/context.h"
#include "model/session.h"
#include "sgatlin.h"
#include "sgatlin_bench.h"

enum { figures_max = 8 };

typedef struct figures {
    sg_bench_result items[figures_max];
    char operations[figures_max][256]; // names of the lines, each with a space behind it
    int count, stop_after;
} figures;

static const char *const families[] = {"mlp", "glu", "moe", "peer", "sgatlin"};
enum { n_families = sizeof families / sizeof *families };

static sg_context *context;

static int open_context(void **state)
{
    (void)state;
    sg_context_options o = sg_context_options_default();
    o.threads = 2;
    return sg_context_new(&o, &context, NULL) == SG_OK ? 0 : -1;
}

static int close_context(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_bench_options tiny(const char *family)
{
    sg_bench_options o = sg_bench_options_default();
    sg_config *c = &o.config;
    *c = (sg_config){.vocab_size = 50,
                     .hidden_size = 16,
                     .num_hidden_layers = 2,
                     .num_attention_heads = 2,
                     .head_dim = 8,
                     .max_position_embeddings = 12,
                     .rms_norm_eps = 1e-6,
                     .rope_theta = 10000,
                     .pad_token_id = -1,
                     .eos_token_id = -1,
                     .bos_token_id = -1};
    strcpy(c->ffn, family);
    if (strcmp(family, "peer") == 0 || strcmp(family, "sgatlin") == 0) {
        c->ffn_channels = 2;
        c->ffn_neurons = 64;
        c->ffn_key_size = 8;
        c->ffn_top_k = 3;
    } else {
        c->ffn_intermediate_size = 24;
    }
    if (strcmp(family, "moe") == 0) {
        c->ffn_experts = 5;
        c->ffn_top_k = 2;
    }
    o.batch_size = 3;
    o.seconds = 0;
    o.repeats = 2;
    o.gemm_gflops = 50; // given, so that nothing is measured here
    o.stream_gbs = 10;
    return o;
}

static bool take(void *user, const sg_bench_result *r)
{
    figures *f = user;
    assert_true(f->count < figures_max);
    char *names = f->operations[f->count];
    f->items[f->count] = *r;
    f->items[f->count++].lines = NULL; // valid during the call only
    double share = 0, forward = 0, backward = 0;
    for (size_t i = 0; i < r->line_count; i++) {
        const sg_bench_line *l = &r->lines[i];
        assert_true(l->forward_seconds >= 0 && l->backward_seconds >= 0 && l->nodes > 0);
        assert_true(i == 0 || l->share <= r->lines[i - 1].share);
        share += l->share;
        forward += l->forward_seconds;
        backward += l->backward_seconds;
        assert_true(strlen(names) + strlen(l->operation) + 2 < sizeof f->operations[0]);
        strcat(strcat(names, l->operation), " ");
    }
    assert_true(r->line_count > 0 && fabs(share - 1) < 1e-9);
    assert_true(forward > 0);
    bool gradient = strcmp(r->name, "train_step") == 0 || strstr(r->name, "backward") != NULL;
    assert_true(gradient ? backward > 0 : backward == 0);
    return f->count != f->stop_after;
}

// The counts of the spec (5.9), written again from the configuration.
static double layer_flops(const sg_config *c)
{
    double d = (double)c->hidden_size, C = (double)c->ffn_channels, K = (double)c->ffn_key_size;
    double k = (double)c->ffn_top_k, F = (double)c->ffn_intermediate_size;
    double root = sqrt((double)c->ffn_neurons);
    if (strcmp(c->ffn, "mlp") == 0) return 4 * d * F;
    if (strcmp(c->ffn, "glu") == 0) return 6 * d * F;
    if (strcmp(c->ffn, "moe") == 0) return 2 * d * (double)c->ffn_experts + 6 * d * k * F;
    if (strcmp(c->ffn, "sgatlin") == 0) return 2 * d * K + 4 * C * K * root + 4 * d * C * k;
    return 4 * C * d * K + 4 * C * K * root + 4 * d * C * k; // peer
}

static void check_figure(const sg_bench_options *o, const sg_bench_result *r)
{
    const sg_config *c = &o->config;
    double T = (double)c->max_position_embeddings, rows = T * (double)o->batch_size;
    double L = (double)c->num_hidden_layers, d = (double)c->hidden_size;
    double width = (double)(c->num_attention_heads * c->head_dim), V = (double)c->vocab_size;
    double ffn = layer_flops(c), published = 0, all = 0;
    if (strcmp(r->name, "layer_forward") == 0) {
        published = all = rows * ffn;
    } else if (strcmp(r->name, "layer_forward_backward") == 0) {
        published = all = 3 * rows * ffn;
    } else if (strcmp(r->name, "train_step") == 0) {
        double dense = rows * L * (8 * d * width + ffn);
        published = 3 * (dense + rows * L * 4 * T * width);
        all = 3 * (dense + rows * L * 2 * (T + 1) * width + rows * 2 * d * V);
    } else { // 6 tokens are there; the next 6 attend to 7 … 12
        published = L * (8 * d * width + ffn + 4 * 9.5 * width);
        all = published + 2 * d * V;
    }
    assert_true(fabs(r->flops_published / published - 1) < 1e-12);
    assert_true(fabs(r->flops / all - 1) < 1e-12);
}

static void check_sane(const sg_bench_options *o, const sg_bench_result *r)
{
    bool decode = strcmp(r->name, "decode") == 0;
    int64_t rows = o->batch_size * o->config.max_position_embeddings;
    assert_string_equal(r->family, o->config.ffn);
    assert_string_equal(r->dtype, "f32");
    assert_int_equal(r->tokens, decode ? 1 : rows);
    assert_int_equal(r->repeats, decode ? 2 * 6 : 2);
    assert_true(r->fastest > 0 && r->fastest <= r->seconds);
    assert_true(fabs(r->tokens_per_second * r->seconds / (double)r->tokens - 1) < 1e-9);
    double compute = r->flops / 50e9, move = r->bytes / 10e9;
    assert_string_equal(r->limit, compute >= move ? "gemm" : "stream");
    assert_true(fabs(r->limit_fraction * r->seconds / fmax(compute, move) - 1) < 1e-9);
    assert_true(r->bytes > 0 && r->peak_bytes > 0);
}

// Selections for each different block: at least one, at most all rows choose the same.
static void check_reuse(const sg_bench_options *o, const sg_bench_result *r)
{
    const sg_config *c = &o->config;
    bool moe = strcmp(c->ffn, "moe") == 0;
    bool sparse = moe || c->ffn_neurons > 0;
    double hits = (double)(o->batch_size * c->max_position_embeddings * c->ffn_top_k);
    if (!moe) hits *= (double)c->ffn_channels;
    double blocks = (double)(moe ? c->ffn_experts : c->ffn_neurons);
    if (strcmp(c->ffn, "sgatlin") == 0) blocks *= (double)c->ffn_channels;
    if (!sparse || strcmp(r->name, "decode") == 0)
        assert_true(r->reuse == 0);
    else
        assert_true(r->reuse >= hits / blocks - 1e-9 && r->reuse <= hits / (double)c->ffn_top_k);
}

static void check_memory(const sg_bench_options *o, const sg_bench_result *r)
{
    sg_cost cost;
    assert_int_equal(sg_config_cost(&o->config, o->config.max_position_embeddings, o->batch_size,
                                    false, 2, &cost, NULL),
                     SG_OK);
    if (strcmp(r->name, "train_step") == 0) {
        assert_int_equal(r->peak_bytes, cost.weight_bytes + cost.gradient_bytes +
                                            cost.optimizer_bytes + cost.activation_bytes);
    } else if (strcmp(r->name, "decode") == 0) {
        sg_model *model;
        sg_session *session;
        assert_int_equal(sg_model_new(context, &o->config, 1, &model, NULL), SG_OK);
        assert_int_equal(sg_session_new(model, 0, &session, NULL), SG_OK);
        assert_int_equal(r->peak_bytes, cost.weight_bytes + (int64_t)sg_session_bytes(session));
        // Keys and values of all positions, and the logits, are in it.
        assert_true(sg_session_bytes(session) > (2 * 2 * 12 * 16 + 50) * sizeof(float));
        sg_session_free(session);
        sg_model_free(model);
    } else {
        // The weights of one layer, and x at least; with gradients twice that and dy.
        int64_t x = 3 * 12 * 16 * (int64_t)sizeof(float);
        assert_true(r->peak_bytes > x && r->peak_bytes < cost.weight_bytes + cost.gradient_bytes +
                                                             cost.activation_bytes + 3 * x);
    }
}

static void test_every_figure(void **state)
{
    (void)state;
    const char *const names[] = {"layer_forward", "layer_forward_backward", "train_step", "decode"};
    for (int f = 0; f < n_families; f++) {
        sg_bench_options o = tiny(families[f]);
        figures got = {.count = 0};
        int64_t live = sg_alloc_live();
        assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
        assert_int_equal(sg_alloc_live(), live);
        assert_int_equal(got.count, 4);
        for (int i = 0; i < 4; i++) {
            assert_string_equal(got.items[i].name, names[i]);
            check_sane(&o, &got.items[i]);
            check_figure(&o, &got.items[i]);
            check_reuse(&o, &got.items[i]);
            check_memory(&o, &got.items[i]);
        }
        assert_true(got.items[1].peak_bytes > got.items[0].peak_bytes);
        // The gradient that stands for the rest of a model is no part of the layer.
        assert_null(strstr(got.operations[1], "given"));
        assert_non_null(strstr(got.operations[2], "optimizer "));
        assert_non_null(strstr(got.operations[3], "attention_cached "));
    }
}

static void test_only_what_is_asked(void **state)
{
    (void)state;
    for (unsigned what = 1; what <= SG_BENCH_ALL; what++) {
        sg_bench_options o = tiny("sgatlin");
        figures got = {.count = 0};
        o.what = what;
        o.repeats = 1;
        assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
        assert_int_equal(got.count, __builtin_popcount(what));
    }
}

// A figure is held against products of its kinds, which it states; tokens one by one are f32's.
static void test_kinds(void **state)
{
    (void)state;
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
        sg_bench_options o = tiny("sgatlin");
        figures got = {.count = 0};
        o.what = SG_BENCH_ALL;
        o.repeats = 1;
        o.compute = (sg_compute_kind)kind;
        o.logits_compute = SG_COMPUTE_BF16X3;
        o.gemm_gflops = o.stream_gbs = 0; // measured
        assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
        assert_int_equal(got.count, 4);
        for (int i = 0; i < 4; i++) {
            const sg_bench_result *r = &got.items[i];
            const bool layer = strncmp(r->name, "layer", 5) == 0;
            const bool decode = strcmp(r->name, "decode") == 0;
            assert_int_equal(r->compute, decode ? SG_COMPUTE_F32 : o.compute);
            assert_int_equal(r->logits_compute, decode  ? SG_COMPUTE_F32
                                                : layer ? o.compute
                                                        : SG_COMPUTE_BF16X3);
            assert_true(r->gemm_gflops > 0 && r->stream_gbs > 0 && r->limit_fraction > 0);
        }
    }
}

// The optimiser is that of training: lazy by choice or by size, and then a step of a pool with many
// more neurons takes memory for those that it reads.
static void test_optimizer_rows(void **state)
{
    (void)state;
    static const char *const modes[] = {"auto", "exact", "lazy"};
    int64_t peak[3];
    for (int i = 0; i < 3; i++) {
        sg_bench_options o = tiny("sgatlin");
        figures got = {.count = 0};
        o.config.ffn_neurons = 1 << 14;
        o.what = SG_BENCH_TRAIN_STEP | SG_BENCH_LAYER_FORWARD_BACKWARD;
        o.repeats = 1;
        o.optimizer_rows = modes[i];
        assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
        assert_null(got.items[0].optimizer_rows);
        assert_string_equal(got.items[1].optimizer_rows, i == 1 ? "exact" : "lazy");
        peak[i] = got.items[1].peak_bytes;
    }
    assert_true(peak[0] == peak[2] && peak[0] < peak[1]);
    sg_bench_options o = tiny("sgatlin");
    o.optimizer_rows = "";
    sg_error err;
    assert_int_equal(sg_bench(context, &o, take, &(figures){.count = 0}, &err), SG_ERR_ARGUMENT);
}

// One token, one sequence: nothing before it, no half of a sequence.
static void test_smallest(void **state)
{
    (void)state;
    for (int f = 0; f < n_families; f++) {
        sg_bench_options o = tiny(families[f]);
        figures got = {.count = 0};
        o.config.max_position_embeddings = o.batch_size = 1;
        o.repeats = 1;
        assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
        assert_int_equal(got.count, 4);
        assert_int_equal(got.items[3].repeats, 1);
    }
}

// Fewer weights in use: fewer bytes. All tokens of one row select k neurons a channel.
static void test_bytes_of_one_row(void **state)
{
    (void)state;
    sg_bench_options o = tiny("sgatlin");
    figures got = {.count = 0};
    o.config.max_position_embeddings = o.batch_size = 1;
    o.what = SG_BENCH_LAYER_FORWARD;
    assert_int_equal(sg_bench(context, &o, take, &got, NULL), SG_OK);
    // Router: query (8, 16) and keys (2 * 2 * 8, 8); 2 * 3 neurons of 2 * 16; x and y of 16.
    double floats = 8 * 16 + 2 * 2 * 8 * 8 + 2 * 3 * 2 * 16 + 2 * 16;
    assert_true(got.items[0].bytes == 4 * floats);
    assert_true(got.items[0].reuse == 1);
}

static void test_stops(void **state)
{
    (void)state;
    sg_bench_options o = tiny("mlp");
    sg_error err = {0};
    figures got = {.stop_after = 2};
    int64_t live = sg_alloc_live();
    assert_int_equal(sg_bench(context, &o, take, &got, &err), SG_ERR_STOPPED);
    assert_int_equal(got.count, 2);
    assert_int_equal(sg_alloc_live(), live);
}

static void refuse(const sg_bench_options *o, const char *word)
{
    sg_error err = {0};
    figures got = {.count = 0};
    assert_int_equal(sg_bench(context, o, take, &got, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, word));
    assert_int_equal(got.count, 0);
}

// Several sessions in one pass do the work of each, and read what they share once.
static void test_sessions(void **state)
{
    (void)state;
    for (int f = 0; f < n_families; f++) {
        sg_bench_options o = tiny(families[f]);
        o.what = SG_BENCH_DECODE;
        figures one = {.count = 0}, three = {.count = 0};
        assert_int_equal(sg_bench(context, &o, take, &one, NULL), SG_OK);
        o.sessions = 3;
        int64_t live = sg_alloc_live();
        assert_int_equal(sg_bench(context, &o, take, &three, NULL), SG_OK);
        assert_int_equal(sg_alloc_live(), live);
        const sg_bench_result *a = &one.items[0], *b = &three.items[0];
        assert_int_equal(b->tokens, 3);
        assert_true(fabs(b->flops / a->flops - 3) < 1e-12);
        assert_true(b->bytes > a->bytes && b->bytes < 3 * a->bytes);
        assert_true(b->peak_bytes > a->peak_bytes);
    }
}

static void test_refuses(void **state)
{
    (void)state;
    sg_bench_options good = tiny("sgatlin"), o;
#define REFUSE(field, value, word)                                                                 \
    do {                                                                                           \
        o = good;                                                                                  \
        o.field = (value);                                                                         \
        refuse(&o, word);                                                                          \
    } while (0)
    REFUSE(what, 0, "what");
    REFUSE(what, 32, "what");
    REFUSE(compute, (sg_compute_kind)3, "compute");
    REFUSE(logits_compute, (sg_compute_kind)-1, "compute");
    REFUSE(repeats, 0, "repeats");
    REFUSE(repeats, 1001, "repeats");
    REFUSE(seconds, -1, "seconds");
    REFUSE(seconds, NAN, "seconds");
    REFUSE(gemm_gflops, -1, "limits");
    REFUSE(stream_gbs, INFINITY, "limits");
    REFUSE(context, 12, "context");
    REFUSE(context, -2, "context");
    REFUSE(sessions, 0, "sessions");
    REFUSE(sessions, SG_BATCH_MAX + 1, "sessions");
    REFUSE(seq_len, 13, "seq_len");
    REFUSE(seq_len, -1, "seq_len");
    REFUSE(batch_size, 0, "batch");
    REFUSE(config.ffn_top_k, 0, "ffn_top_k");
    REFUSE(config.vocab_size, 0, "vocab_size");
#undef REFUSE
}

typedef struct failing {
    sg_bench_options options;
} failing;

static sg_status bench_once(void *user, sg_error *err)
{
    const failing *f = user;
    figures got = {.count = 0};
    return sg_bench(context, &f->options, take, &got, err);
}

static void test_memory_fails(void **state)
{
    (void)state;
    for (int f = 0; f < n_families; f++) {
        failing user = {tiny(families[f])};
        user.options.repeats = 1;
        assert_true(alloc_failure_loop(bench_once, &user) > 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_figure), cmocka_unit_test(test_only_what_is_asked),
        cmocka_unit_test(test_kinds),        cmocka_unit_test(test_optimizer_rows),
        cmocka_unit_test(test_smallest),     cmocka_unit_test(test_bytes_of_one_row),
        cmocka_unit_test(test_stops),        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_refuses),      cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
