// Two models in turns: who begins alternates, no turn overlaps another, what is reported is what
// the rounds say, and blocks are those that a plain count finds. How long anything took is never
// looked at beyond "longer than nothing".
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
#include "sgatlin_bench.h"
#include "sgatlin_probe.h"
#include "tiny_models.h"
#include "train/bench_sessions.h"
#include "word_tokenizer.h"

enum { vocab = 40, positions = 32, context_tokens = 5, turn = 3, rounds = 7, results_max = 8 };

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

// ---- blocks -------------------------------------------------------------------------------------

enum { layers = 2, blocks_max = 12 };

// A plain count of one pass, session by session.
typedef struct plain {
    bool seen[layers][blocks_max];
    double selected;
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

typedef struct plain_sum {
    double selected, together[layers];
    int64_t passes, tokens;
} plain_sum;

static void plain_pass(sg_session **sessions, int64_t batch, int64_t at, plain *count,
                       plain_sum *sum)
{
    const float *logits;
    *count = (plain){0};
    for (int64_t s = 0; s < batch; s++) {
        const int32_t id = sg_bench_token(1, vocab, (s << 20) + context_tokens + at);
        assert_int_equal(sg_session_feed(sessions[s], &id, 1, &logits, NULL), SG_OK);
    }
    for (int l = 0; l < layers; l++)
        for (int b = 0; b < blocks_max; b++)
            sum->together[l] += count->seen[l][b];
    sum->selected += count->selected;
    sum->passes++;
    sum->tokens += batch;
}

// All passes of the turn that does not count, and the first of each that does.
static plain_sum plain_decode(sg_model *m, int64_t batch)
{
    plain count;
    plain_sum sum = {0};
    const sg_point_request request = {"blocks.*.mlp.hook_gate_ids", SG_POINT_READ, plain_count,
                                      &count};
    const sg_points points = {&request, 1};
    sg_session *sessions[16];
    for (int64_t s = 0; s < batch; s++) {
        const sg_session_options o = {.capacity = positions, .points = &points};
        const float *logits;
        int32_t ids[context_tokens];
        assert_int_equal(sg_session_open(m, &o, &sessions[s], NULL), SG_OK);
        for (int i = 0; i < context_tokens; i++)
            ids[i] = sg_bench_token(1, vocab, (s << 20) + i);
        assert_int_equal(sg_session_feed(sessions[s], ids, context_tokens, &logits, NULL), SG_OK);
    }
    for (int round = 0; round <= rounds; round++) {
        for (int64_t s = 0; s < batch; s++)
            assert_int_equal(sg_session_rewind(sessions[s], context_tokens, NULL), SG_OK);
        for (int i = 0; i <= (round == 0 ? turn : 0); i++)
            plain_pass(sessions, batch, round * (turn + 1) + i, &count, &sum);
    }
    for (int64_t s = 0; s < batch; s++)
        sg_session_free(sessions[s]);
    return sum;
}

// Weights of a model of one kind are all read, but for the embedding where a classifier stands
// beside it and, of tables of blocks, what no token of the pass selects.
static double plain_bytes(sg_model *m, const plain_sum *sum, int64_t batch)
{
    const sg_config *c = sg_model_config(m);
    const double blocks = blocks_max, cached = context_tokens + 1 + (turn + 1) / 2.0;
    double bytes = 2.0 * layers * (double)batch * 16 * cached * sizeof(float);
    sg_tensor_info info;
    for (size_t i = 0; sg_model_tensor_info(m, i, &info, NULL) == SG_OK; i++) {
        const bool table = strstr(info.name, "experts") != NULL;
        if (strstr(info.name, "embed_tokens") != NULL && c->untied_classifier) continue;
        bytes += (double)info.bytes *
                 (table ? sum->together[info.layer - 1] / (double)sum->passes / blocks : 1);
    }
    return bytes;
}

static void check_blocks(sg_model *m, const sg_beside_result *r, const sg_beside_side *s)
{
    const plain_sum sum = plain_decode(m, r->batch);
    const double each = sum.selected / layers / (double)sum.tokens;
    double together = 0;
    for (int l = 0; l < layers; l++)
        together += sum.together[l] / layers / (double)sum.passes;
    assert_true(fabs(s->blocks - each) < 1e-12);
    assert_true(fabs(s->read - each / blocks_max) < 1e-12);
    assert_true(fabs(s->together - together / blocks_max) < 1e-12);
    assert_true(s->together >= s->read - 1e-12);
    assert_true(fabs(s->bytes / plain_bytes(m, &sum, r->batch) - 1) < 1e-12);
}

static void test_blocks(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "moefied ffn_activation=swiglu",
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
            const plain_sum none = {.passes = 1};
            check_blocks(sparse, r, &r->sides[1]);
            assert_true(r->sides[0].blocks == 0 && r->sides[0].together == 0);
            assert_true(fabs(r->sides[0].bytes / plain_bytes(dense, &none, r->batch) - 1) < 1e-12);
            assert_true(r->ceiling == r->sides[0].bytes / r->sides[1].bytes);
        }
        sg_model_free(sparse);
    }
    sg_model_free(dense);
}

// Of neurons that no gate leaves in, gates alone are read.
static void test_gate(void **state)
{
    (void)state;
    sg_model *m = model_of("moefied ffn_router=gate ffn_activation=swiglu ffn_block_size=0 "
                           "ffn_top_k=1 ffn_select=threshold ffn_threshold=1e6");
    sg_model *const models[] = {m, m};
    const plain_sum none = {.passes = 1};
    sg_beside_options o = tiny();
    results got = {0};
    o.batch_count = 1;
    o.what = SG_BENCH_DECODE;
    assert_int_equal(sg_bench_beside(models, &o, take, &got, NULL), SG_OK);
    const sg_beside_side *s = &got.items[0].sides[1];
    const double gates = layers * 24 * 16 * sizeof(float);
    assert_true(s->read == 0 && s->together == 0);
    assert_true(fabs(s->bytes / (plain_bytes(m, &none, 1) + gates) - 1) < 1e-12);
    sg_model_free(m);
}

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
    failing user = {{model_of("glu"), model_of("moefied ffn_activation=swiglu")}, tiny()};
    sg_tokenizer *t = used_tokenizer();
    user.options.rounds = 1;
    user.options.batch_count = 2;
    user.options.text = said;
    user.options.text_bytes = strlen(said);
    user.options.tokenizers[0] = user.options.tokenizers[1] = t;
    assert_true(alloc_failure_loop(beside_once, &user) > 50);
    sg_tokenizer_free(t);
    for (int i = 0; i < 2; i++)
        sg_model_free(user.models[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),    cmocka_unit_test(test_what),
        cmocka_unit_test(test_blocks),   cmocka_unit_test(test_gate),
        cmocka_unit_test(test_families), cmocka_unit_test(test_text),
        cmocka_unit_test(test_refuses),  cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
