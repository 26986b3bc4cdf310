// Two models in turns: who begins alternates, no turn overlaps another, what is reported is what
// the rounds say, blocks, neurons and inputs are those that a plain count finds, and bytes follow
// from them. How long anything took is never looked at beyond "longer than nothing".
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "ffn/trimmed.h"
#include "sgatlin_bench.h"
#include "sgatlin_probe.h"
#include "tiny_models.h"
#include "train/bench_sessions.h"
#include "word_tokenizer.h"

enum { vocab = 40, positions = 32, context_tokens = 5, turn = 3, rounds = 7, results_max = 8 };
enum { layers = 2, blocks_max = 12, neurons = 24, width = 16, sessions_max = 17 };

typedef struct results {
    sg_beside_result items[results_max];
    sg_beside_round rounds[results_max][rounds + 1];
    int count, stop_after;
} results;

static sg_context *context;

static int open_context(void **state)
{
    (void)state;
    return sg_context_new(&(sg_context_options){.threads = 2}, &context, NULL) == SG_OK ? 0 : -1;
}

static int close_context(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_model *model_of(const char *kind)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config(kind, vocab, positions);
    if (sg_model_new(context, &config, 3, &m, &err) != SG_OK) fail_msg("%s", err.message);
    return m;
}

static sg_beside_options tiny(void)
{
    sg_beside_options o = sg_beside_options_default();
    o.context = context_tokens;
    o.tokens = turn;
    o.rounds = rounds;
    o.seconds = 0;
    return o;
}

static bool take(void *user, const sg_beside_result *r)
{
    results *all = user;
    assert_true(all->count < results_max);
    assert_int_equal(r->round_count, rounds);
    memcpy(all->rounds[all->count], r->rounds, rounds * sizeof *r->rounds);
    all->items[all->count] = *r;
    all->items[all->count++].rounds = NULL; // valid during the call only
    return all->count != all->stop_after;
}

// ---- rounds -------------------------------------------------------------------------------------

static double middle(const double *values, int count)
{
    for (int i = 0; i < count; i++) {
        int below = 0;
        for (int j = 0; j < count; j++)
            below += values[j] < values[i] || (!(values[i] < values[j]) && j < i);
        if (below == count / 2) return values[i]; // count is odd
    }
    return NAN;
}

static void check_rounds(const sg_beside_result *r, const sg_beside_round *round)
{
    double ratios[rounds], speeds[2][rounds], before = 0;
    for (int i = 0; i < rounds; i++) {
        const int first = i % 2, second = 1 - first;
        assert_true(round[i].seconds[0] > 0 && round[i].seconds[1] > 0);
        assert_true(round[i].start[first] >= before);
        assert_true(round[i].start[second] >= round[i].start[first] + round[i].seconds[first]);
        before = round[i].start[second] + round[i].seconds[second];
        ratios[i] = round[i].seconds[0] / round[i].seconds[1];
        for (int m = 0; m < 2; m++)
            speeds[m][i] = (double)r->tokens / round[i].seconds[m];
    }
    assert_true(fabs(r->ratio / middle(ratios, rounds) - 1) < 1e-12);
    assert_true(r->ratio_low <= r->ratio && r->ratio <= r->ratio_high);
    for (int m = 0; m < 2; m++) {
        const sg_beside_side *s = &r->sides[m];
        assert_true(fabs(s->tokens_per_second / middle(speeds[m], rounds) - 1) < 1e-12);
        assert_true(s->low <= s->tokens_per_second && s->tokens_per_second <= s->high);
    }
}

static void test_turns(void **state)
{
    (void)state;
    static const int64_t batches[] = {1, 1, 4, 16};
    sg_model *const models[] = {model_of("glu"), model_of("moefied ffn_activation=swiglu")};
    const sg_beside_options o = tiny();
    results got = {0};
    const int64_t live = sg_alloc_live();
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
    assert_int_equal(sg_alloc_live(), live);
    assert_int_equal(got.count, 4);
    for (int i = 0; i < 4; i++) {
        const sg_beside_result *r = &got.items[i];
        assert_string_equal(r->name, i == 0 ? "prefill" : "decode");
        assert_int_equal(r->batch, batches[i]);
        assert_int_equal(r->context, context_tokens);
        assert_int_equal(r->tokens, i == 0 ? context_tokens : turn * batches[i]);
        assert_int_equal(r->text_tokens[0], 0);
        assert_string_equal(r->sides[0].family, "glu");
        assert_string_equal(r->sides[1].family, "moefied");
        assert_string_equal(r->sides[1].dtype, "f32");
        check_rounds(r, got.rounds[i]);
    }
    for (int i = 0; i < 2; i++)
        sg_model_free(models[i]);
}

static void test_what(void **state)
{
    (void)state;
    static const int64_t two[] = {2};
    sg_model *m = model_of("mlp");
    sg_model *const models[] = {m, m}; // beside itself
    sg_beside_options o = tiny();
    results got = {0};
    o.what = SG_BENCH_PREFILL;
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
    o.what = SG_BENCH_DECODE;
    o.batches = two;
    o.batch_count = 1;
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
    assert_int_equal(got.count, 2);
    assert_string_equal(got.items[0].name, "prefill");
    assert_true(isnan(got.items[0].ceiling) && got.items[0].sides[0].bytes == 0);
    assert_int_equal(got.items[1].batch, 2);
    assert_true(got.items[1].ceiling == 1);
    got = (results){.stop_after = 1};
    o.what = SG_BENCH_DECODE | SG_BENCH_PREFILL;
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_ERR_STOPPED);
    assert_int_equal(got.count, 1);
    sg_model_free(m);
}

// ---- the passes that are counted ----------------------------------------------------------------

// begin: before a pass is fed, session by session; end: behind it.
typedef struct walk {
    sg_model *model;
    int64_t batch;
    const sg_points *points;
    void (*begin)(void *user);
    void (*end)(void *user);
    void *user;
} walk;

static void walk_pass(const walk *w, sg_session **sessions, int64_t at)
{
    const float *logits;
    w->begin(w->user);
    for (int64_t s = 0; s < w->batch; s++) {
        const int32_t id = sg_bench_token(1, vocab, (s << 20) + context_tokens + at);
        assert_int_equal(sg_session_feed(sessions[s], &id, 1, &logits, NULL), SG_OK);
    }
    w->end(w->user);
}

// All passes of the turn that does not count, and the first of each that does.
static void walk_decode(const walk *w)
{
    sg_session *sessions[sessions_max];
    assert_true(w->batch <= sessions_max);
    for (int64_t s = 0; s < w->batch; s++) {
        const sg_session_options o = {.capacity = positions, .points = w->points};
        const float *logits;
        int32_t ids[context_tokens];
        assert_int_equal(sg_session_open(w->model, &o, &sessions[s], NULL), SG_OK);
        for (int i = 0; i < context_tokens; i++)
            ids[i] = sg_bench_token(1, vocab, (s << 20) + i);
        assert_int_equal(sg_session_feed(sessions[s], ids, context_tokens, &logits, NULL), SG_OK);
    }
    for (int round = 0; round <= rounds; round++) {
        for (int64_t s = 0; s < w->batch; s++)
            assert_int_equal(sg_session_rewind(sessions[s], context_tokens, NULL), SG_OK);
        for (int i = 0; i <= (round == 0 ? turn : 0); i++)
            walk_pass(w, sessions, round * (turn + 1) + i);
    }
    for (int64_t s = 0; s < w->batch; s++)
        sg_session_free(sessions[s]);
}

// Bytes of keys and values, and of all weights but the embedding where a classifier stands beside
// it, by the share of each that is read.
typedef double (*share_fn)(const void *user, const sg_tensor_info *info);

static double bytes_by(sg_model *m, int64_t batch, share_fn share, const void *user)
{
    const double cached = context_tokens + 1 + (turn + 1) / 2.0;
    double bytes = 2.0 * layers * (double)batch * 16 * cached * sizeof(float);
    sg_tensor_info info;
    for (size_t i = 0; sg_model_tensor_info(m, i, &info, NULL) == SG_OK; i++) {
        if (strstr(info.name, "embed_tokens") != NULL && sg_model_config(m)->untied_classifier)
            continue;
        bytes += (double)info.bytes * share(user, &info);
    }
    return bytes;
}

static double share_all(const void *user, const sg_tensor_info *info)
{
    (void)user, (void)info;
    return 1;
}

// ---- blocks -------------------------------------------------------------------------------------

// A plain count of one pass, session by session, and the sum of them.
typedef struct plain {
    bool seen[layers][blocks_max];
    double selected, all_selected, together[layers];
    int64_t passes;
} plain;

static sg_status plain_count(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    plain *count = user;
    assert_int_equal(p->shape[1], 1);
    for (int64_t r = 0; r < p->shape[0]; r++) {
        const int64_t n = p->counts ? p->counts[r] : p->shape[2];
        for (int64_t i = 0; i < n; i++)
            count->seen[p->layer][p->ids[r * p->shape[2] + i]] = true;
        count->selected += (double)n;
    }
    return SG_OK;
}

static void plain_begin(void *user)
{
    plain *count = user;
    memset(count->seen, 0, sizeof count->seen);
    count->selected = 0;
}

static void plain_end(void *user)
{
    plain *count = user;
    for (int l = 0; l < layers; l++)
        for (int b = 0; b < blocks_max; b++)
            count->together[l] += count->seen[l][b];
    count->all_selected += count->selected;
    count->passes++;
}

static plain plain_decode(sg_model *m, int64_t batch)
{
    plain count = {0};
    const sg_point_request request = {"blocks.*.mlp.hook_gate_ids", SG_POINT_READ, plain_count,
                                      &count};
    const sg_points points = {&request, 1};
    walk_decode(&(walk){m, batch, &points, plain_begin, plain_end, &count});
    return count;
}

// Tables of blocks by what any token of the pass selects; the bias of a layer is no table.
static double plain_share(const void *user, const sg_tensor_info *info)
{
    const plain *count = user;
    if (strstr(info->name, "experts") == NULL || strstr(info->name, "w_out.bias") != NULL) return 1;
    return count->together[info->layer - 1] / (double)count->passes / (double)blocks_max;
}

static void check_blocks(sg_model *m, const sg_beside_result *r, const sg_beside_side *s)
{
    const plain count = plain_decode(m, r->batch);
    const double each = count.all_selected / layers / (double)(count.passes * r->batch);
    double together = 0;
    for (int l = 0; l < layers; l++)
        together += count.together[l] / layers / (double)count.passes;
    assert_true(fabs(s->blocks - each) < 1e-12);
    assert_true(fabs(s->read - each / blocks_max) < 1e-12);
    assert_true(fabs(s->together - together / blocks_max) < 1e-12);
    assert_true(s->together >= s->read - 1e-12);
    assert_true(fabs(s->bytes / bytes_by(m, r->batch, plain_share, &count) - 1) < 1e-12);
}

static void test_blocks(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "moefied ffn_activation=swiglu ffn_bias=1",
        "moefied ffn_router=mlp ffn_select=share ffn_threshold=0.6 ffn_top_k=12",
        ("moefied ffn_router=representative ffn_activation=relu2 ffn_select=threshold "
         "ffn_threshold=0.001 ffn_top_k=12")};
    sg_model *const dense = model_of("mlp");
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        sg_model *const sparse = model_of(kinds[k]);
        sg_model *const models[] = {dense, sparse};
        const sg_beside_options o = tiny();
        results got = {0};
        assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
        for (int i = 1; i < got.count; i++) {
            const sg_beside_result *r = &got.items[i];
            check_blocks(sparse, r, &r->sides[1]);
            assert_true(r->sides[0].blocks == 0 && r->sides[0].together == 0);
            assert_true(fabs(r->sides[0].bytes / bytes_by(dense, r->batch, share_all, NULL) - 1) <
                        1e-12);
            assert_true(r->ceiling == r->sides[0].bytes / r->sides[1].bytes);
        }
        sg_model_free(sparse);
    }
    sg_model_free(dense);
}

// ---- neurons ------------------------------------------------------------------------------------

// What multiplies w_out, of router gate: 0 where a neuron is left out. By neurons.
typedef struct left_in {
    const double *thresholds; // (layers)
    bool seen[layers][neurons];
    double read, together[layers];
    int64_t passes, batch;
} left_in;

static sg_status left_in_count(void *user, const sg_point_values *p, sg_error *err)
{
    left_in *count = user;
    (void)err;
    assert_int_equal(p->shape[1] * p->shape[2], neurons);
    for (int64_t i = 0; i < p->shape[0] * neurons; i++) {
        if (p->values[i] == 0) continue;
        count->seen[p->layer][i % neurons] = true;
        count->read++;
    }
    return SG_OK;
}

static void left_in_begin(void *user)
{
    left_in *count = user;
    memset(count->seen, 0, sizeof count->seen);
    if (count->passes == 0) count->read = 0; // of prompts
}

static void left_in_end(void *user)
{
    left_in *count = user;
    for (int l = 0; l < layers; l++)
        for (int i = 0; i < neurons; i++)
            count->together[l] += count->seen[l][i];
    count->passes++;
}

static double left_in_share(const void *user, const sg_tensor_info *info)
{
    const left_in *count = user;
    if (strstr(info->name, "experts") == NULL || count->batch > 16) return 1;
    const int64_t l = info->layer - 1;
    const double share = count->together[l] / (double)count->passes / (double)neurons;
    if (strstr(info->name, "w_out.weight") != NULL) return share;
    if (strstr(info->name, "gate_up_proj") == NULL) return 1;
    return count->thresholds[l] > 0 ? (1 + share) / 2 : 1;
}

// Batches of 1, 3 and 17: the last one is read whole.
static sg_beside_options some_batches(void)
{
    static const int64_t some[] = {1, 3, sessions_max};
    sg_beside_options o = tiny();
    o.what = SG_BENCH_DECODE;
    o.batches = some;
    o.batch_count = sizeof some / sizeof *some;
    return o;
}

static void check_gate(sg_model *m, const sg_beside_result *r, const double thresholds[layers])
{
    const sg_beside_side *s = &r->sides[1];
    left_in count = {.thresholds = thresholds, .batch = r->batch};
    const sg_point_request request = {"blocks.*.mlp.hook_post", SG_POINT_READ, left_in_count,
                                      &count};
    const sg_points points = {&request, 1};
    walk_decode(&(walk){m, r->batch, &points, left_in_begin, left_in_end, &count});
    const double stored = (double)(layers * neurons * count.passes);
    assert_true(fabs(s->read - count.read / stored / (double)r->batch) < 1e-12);
    assert_true(fabs(s->together - (count.together[0] + count.together[1]) / stored) < 1e-12);
    assert_true(fabs(s->bytes / bytes_by(m, r->batch, left_in_share, &count) - 1) < 1e-12);
    assert_true(s->whole == (r->batch > 16));
}

// A threshold of 0 spares rows of w_out alone, a large one everything but gates and biases.
static void test_gate(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        double thresholds[layers];
    } kinds[] = {{"ffn_activation=swiglu ffn_bias=1", {0.2, 0.4}},
                 {"ffn_activation=reglu", {0, 0.3}},
                 {"ffn_activation=gelu", {0.2, 0.2}},
                 {"ffn_activation=swiglu", {1e6, 1e6}}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char kind[256];
        snprintf(kind, sizeof kind,
                 "moefied ffn_router=gate ffn_block_size=0 ffn_top_k=1 ffn_select=threshold "
                 "ffn_layer_threshold=%g,%g %s",
                 kinds[k].thresholds[0], kinds[k].thresholds[1], kinds[k].kind);
        sg_model *const models[] = {model_of("glu"), model_of(kind)};
        const sg_beside_options o = some_batches();
        results got = {0};
        assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
        assert_int_equal(got.count, 3);
        for (int i = 0; i < got.count; i++)
            check_gate(models[1], &got.items[i], kinds[k].thresholds);
        const double read = got.items[0].sides[1].read;
        assert_true(kinds[k].thresholds[0] > 1 ? read == 0 : read > 0.1 && read < 0.9);
        for (int i = 0; i < 2; i++)
            sg_model_free(models[i]);
    }
}

// ---- inputs -------------------------------------------------------------------------------------

// About half of what stands in front of each place is left out; one place of a layer has no
// threshold.
static const double trims[SG_TRIMMED_PLACES][layers] = {
    {0.65, 0.65}, {0.3, 0}, {0.65, 0.65}, {0.2, 0.2}};

typedef struct inputs inputs;
typedef struct inputs_place {
    inputs *of;
    int place;
} inputs_place;

struct inputs {
    bool seen[layers][SG_TRIMMED_PLACES][neurons];
    double read[layers][SG_TRIMMED_PLACES], together[layers][SG_TRIMMED_PLACES];
    int64_t passes, batch;
};

static int64_t inputs_width(int place)
{
    return place == SG_TRIMMED_FFN_DOWN ? neurons : width;
}

static sg_status inputs_see(void *user, const sg_point_values *p, sg_error *err)
{
    const inputs_place *at = user;
    const int64_t n = inputs_width(at->place);
    (void)err;
    int64_t numbers = 1;
    for (int i = 0; i < p->rank; i++)
        numbers *= p->shape[i];
    for (int64_t i = 0; i < numbers; i++) {
        // 0 of a place whose threshold is 0 is read.
        const double t = trims[at->place][p->layer];
        if (t > 0 && fabs((double)p->values[i]) <= (double)(float)t) continue;
        at->of->seen[p->layer][at->place][i % n] = true;
        at->of->read[p->layer][at->place]++;
    }
    return SG_OK;
}

static void inputs_begin(void *user)
{
    inputs *count = user;
    memset(count->seen, 0, sizeof count->seen);
    if (count->passes == 0) memset(count->read, 0, sizeof count->read); // of prompts
}

static void inputs_end(void *user)
{
    inputs *count = user;
    for (int l = 0; l < layers; l++)
        for (int place = 0; place < SG_TRIMMED_PLACES; place++)
            for (int i = 0; i < neurons; i++)
                count->together[l][place] += count->seen[l][place][i];
    count->passes++;
}

// The place in front of a matrix; SG_TRIMMED_PLACES: it is none.
static int inputs_place_of(const sg_tensor_info *info)
{
    static const struct {
        const char *name;
        sg_trimmed place;
    } matrices[] = {
        {"q_proj.weight", SG_TRIMMED_ATTENTION}, {"k_proj.weight", SG_TRIMMED_ATTENTION},
        {"v_proj.weight", SG_TRIMMED_ATTENTION}, {"o_proj.weight", SG_TRIMMED_ATTENTION_OUT},
        {"up_proj.weight", SG_TRIMMED_FFN},      {"down_proj.weight", SG_TRIMMED_FFN_DOWN}};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        if (strstr(info->name, matrices[i].name) != NULL) return (int)matrices[i].place;
    return SG_TRIMMED_PLACES;
}

static double inputs_share(const void *user, const sg_tensor_info *info)
{
    const inputs *count = user;
    const int place = inputs_place_of(info);
    if (place == SG_TRIMMED_PLACES || count->batch > 4) return 1;
    return count->together[info->layer - 1][place] / (double)count->passes /
           (double)inputs_width(place);
}

// Shares of all matrices behind places, by their weights.
static void inputs_shares(sg_model *m, const inputs *count, double *read, double *together)
{
    double all = *read = *together = 0;
    sg_tensor_info info;
    for (size_t i = 0; sg_model_tensor_info(m, i, &info, NULL) == SG_OK; i++) {
        const int place = inputs_place_of(&info);
        if (place == SG_TRIMMED_PLACES) continue;
        const double bytes = (double)info.bytes, n = (double)inputs_width(place);
        const double passes = (double)count->passes;
        *read += bytes * count->read[info.layer - 1][place] / passes / (double)count->batch / n;
        *together += bytes * count->together[info.layer - 1][place] / passes / n;
        all += bytes;
    }
    *read /= all;
    *together /= all;
}

static inputs inputs_decode(sg_model *m, int64_t batch)
{
    static const char *const names[] = {"blocks.*.ln1.hook_normalized", "blocks.*.attn.hook_z",
                                        "blocks.*.ln2.hook_normalized", "blocks.*.mlp.hook_post"};
    inputs count = {.batch = batch};
    inputs_place at[SG_TRIMMED_PLACES];
    sg_point_request requests[SG_TRIMMED_PLACES];
    for (int i = 0; i < SG_TRIMMED_PLACES; i++) {
        at[i] = (inputs_place){&count, i};
        requests[i] = (sg_point_request){names[i], SG_POINT_READ, inputs_see, &at[i]};
    }
    const sg_points points = {requests, SG_TRIMMED_PLACES};
    walk_decode(&(walk){m, batch, &points, inputs_begin, inputs_end, &count});
    return count;
}

// With half of the inputs left out: the ceiling is what the formula gives.
static void test_inputs(void **state)
{
    (void)state;
    static const char *const kinds[] = {"glu", "mlp ffn_bias=1 attention_bias=1"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char kind[256];
        snprintf(kind, sizeof kind,
                 "%s trim_attention=%g,%g trim_attention_out=%g,%g trim_ffn=%g,%g "
                 "trim_ffn_down=%g,%g",
                 kinds[k], trims[0][0], trims[0][1], trims[1][0], trims[1][1], trims[2][0],
                 trims[2][1], trims[3][0], trims[3][1]);
        sg_model *const models[] = {model_of(kinds[k]), model_of(kind)};
        const sg_beside_options o = some_batches();
        results got = {0};
        assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
        for (int i = 0; i < got.count; i++) {
            const sg_beside_result *r = &got.items[i];
            const sg_beside_side *s = &r->sides[1];
            const inputs count = inputs_decode(models[1], r->batch);
            const double dense = bytes_by(models[0], r->batch, share_all, NULL);
            const double left = bytes_by(models[1], r->batch, inputs_share, &count);
            double read, together;
            inputs_shares(models[1], &count, &read, &together);
            assert_true(fabs(s->bytes / left - 1) < 1e-12);
            assert_true(fabs(r->ceiling / (dense / left) - 1) < 1e-12);
            assert_true(fabs(s->read - read) < 1e-12 && fabs(s->together - together) < 1e-12);
            assert_true(s->blocks == 0 && s->read > 0.4 && s->read < 0.6);
            assert_true(r->batch == 1 ? s->together == s->read : s->together > s->read);
            assert_true(s->whole == (r->batch > 4) && (r->ceiling > 1.2) == (r->batch == 1));
            assert_true(r->sides[0].read == 0 && !r->sides[0].whole);
        }
        for (int i = 0; i < 2; i++)
            sg_model_free(models[i]);
    }
}

// ---- families -----------------------------------------------------------------------------------

// Blocks of several pools, and of one that layers share, whose layers read it together.
static void test_families(void **state)
{
    (void)state;
    const char *kind;
    for (int k = 0; (kind = tiny_kind(k)) != NULL; k++) {
        sg_model *const models[] = {model_of("glu"), model_of(kind)};
        sg_beside_options o = tiny();
        results got = {0};
        o.batch_count = 2;
        assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
        assert_int_equal(got.count, 3);
        const bool sparse = got.items[1].sides[1].blocks > 0;
        for (int i = 0; i < 3 && sparse; i++) {
            const sg_beside_side *s = &got.items[i].sides[1];
            assert_true(s->read > 0 && s->read <= 1 + 1e-12);
            assert_true(s->together > 0 && s->together <= 1 + 1e-12);
        }
        if (sparse) assert_true(got.items[2].sides[1].together >= got.items[1].sides[1].together);
        for (int i = 0; i < 2; i++)
            sg_model_free(models[i]);
    }
}

// ---- a text -------------------------------------------------------------------------------------

static void test_text(void **state)
{
    (void)state;
    static const char text[] = "The lake was icy The tree is old";
    static const char other[] = "The lake was big The tree is old";
    sg_tokenizer *t = make_tokenizer();
    sg_model *m = model_of("moefied ffn_activation=swiglu");
    sg_model *const models[] = {m, m};
    results got = {0}, again = {0}, changed = {0};
    sg_beside_options o = tiny();
    o.text = text;
    o.text_bytes = strlen(text);
    o.tokenizers[0] = o.tokenizers[1] = t;
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
    assert_int_equal(sg_bench_beside(models, &o, take, &again, NULL), SG_OK);
    o.text = other;
    assert_int_equal(sg_bench_beside(models, &o, take, &changed, NULL), SG_OK);
    // The same text reads the same blocks, another one others.
    bool differs = false;
    for (int i = 0; i < got.count; i++) {
        const sg_beside_side *s = got.items[i].sides;
        for (int j = 0; j < 2; j++)
            assert_true(got.items[i].text_tokens[j] >= 8);
        assert_true(s[0].together == s[1].together);
        assert_true(s[0].together == again.items[i].sides[0].together);
        differs = differs || s[0].together != changed.items[i].sides[0].together;
    }
    assert_true(differs);
    sg_model_free(m);
    sg_tokenizer_free(t);
}

static const char said[] = "The lake was icy The tree is old";

// One that has encoded that before: it keeps memory of its own from then on.
static sg_tokenizer *used_tokenizer(void)
{
    sg_tokenizer *t = make_tokenizer();
    int32_t *ids;
    size_t count;
    assert_int_equal(sg_tokenizer_encode(t, said, strlen(said), NULL, &ids, &count, NULL), SG_OK);
    sg_buffer_free(ids);
    return t;
}

// ---- what is wrong ------------------------------------------------------------------------------

static void refuse(sg_model *const models[2], const sg_beside_options *o, const char *word)
{
    sg_error err = {0};
    results got = {0};
    const int64_t live = sg_alloc_live();
    assert_int_equal(sg_bench_beside(models, o, take, &got, &err), SG_ERR_ARGUMENT);
    if (strstr(err.message, word) == NULL) fail_msg("%s", err.message);
    assert_int_equal(got.count, 0);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_refuses(void **state)
{
    (void)state;
    static const int64_t none[] = {0}, many[] = {SG_BATCH_MAX + 1};
    sg_model *const m = model_of("glu");
    sg_model *const models[] = {m, m};
    sg_beside_options o;
#define REFUSE(field, value, word)                                                                 \
    do {                                                                                           \
        o = tiny();                                                                                \
        o.field = (value);                                                                         \
        refuse(models, &o, word);                                                                  \
    } while (0)
    REFUSE(what, 0, "what");
    REFUSE(what, SG_BENCH_TRAIN_STEP, "what");
    REFUSE(rounds, 0, "rounds");
    REFUSE(rounds, 1001, "rounds");
    REFUSE(seconds, -1, "seconds");
    REFUSE(seconds, NAN, "seconds");
    REFUSE(tokens, 0, "tokens");
    REFUSE(tokens, positions, "context");
    REFUSE(context, 0, "context");
    REFUSE(context, positions - turn, "context: found 29, expected 1 to 28");
    REFUSE(batch_count, 0, "batches");
    REFUSE(batches, none, "batches");
    REFUSE(batches, many, "batches");
    REFUSE(text, "The lake", "tokenizers");
#undef REFUSE
    sg_tokenizer *t = used_tokenizer();
    o = tiny();
    o.text = "";
    o.tokenizers[0] = o.tokenizers[1] = t;
    refuse(models, &o, "text: found no token");
    sg_context *elsewhere;
    sg_model *stranger;
    const sg_config config = tiny_config("glu", vocab, positions);
    assert_int_equal(sg_context_new(&(sg_context_options){.threads = 1}, &elsewhere, NULL), SG_OK);
    assert_int_equal(sg_model_new(elsewhere, &config, 3, &stranger, NULL), SG_OK);
    o = tiny();
    refuse((sg_model *const[]){m, stranger}, &o, "two contexts");
    sg_model_free(stranger);
    sg_context_free(elsewhere);
    sg_tokenizer_free(t);
    sg_model_free(m);
}

typedef struct failing {
    sg_model *models[2];
    sg_beside_options options;
} failing;

static bool listen(void *user, const sg_beside_result *r)
{
    (void)user;
    return r->round_count == 1;
}

static sg_status beside_once(void *user, sg_error *err)
{
    const failing *f = user;
    return sg_bench_beside(f->models, &f->options, listen, NULL, err);
}

static void test_memory_fails(void **state)
{
    (void)state;
    failing user = {
        {model_of("glu"), model_of("moefied ffn_activation=swiglu trim_attention=0.5,0.5")},
        tiny()};
    sg_tokenizer *t = used_tokenizer();
    user.options.rounds = 1;
    user.options.batch_count = 2;
    user.options.text = said;
    user.options.text_bytes = strlen(said);
    user.options.tokenizers[0] = user.options.tokenizers[1] = t;
    assert_int_equal(beside_once(&user, NULL), SG_OK); // copies by columns stay with the model
    assert_true(alloc_failure_loop(beside_once, &user) > 50);
    sg_tokenizer_free(t);
    for (int i = 0; i < 2; i++)
        sg_model_free(user.models[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),        cmocka_unit_test(test_what),
        cmocka_unit_test(test_blocks),       cmocka_unit_test(test_gate),
        cmocka_unit_test(test_inputs),       cmocka_unit_test(test_families),
        cmocka_unit_test(test_text),         cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
