// Screened keys select what the plain product selects, with its scores: all groups, shared and
// keyed queries, several rows, ties, keys stored narrow, queries and keys that are no numbers; and
// a model whose keys are screened decodes what it decodes without.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "op/op.h"
#include "compute_on.h"
#include "tiny_models.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

typedef struct screen_case {
    int64_t groups, n, width, k, rows;
    bool keyed, product;
    sg_weights weights; // of the keys
    double spread;      // of the scores
    uint64_t seed;
    bool ties, nan_q, nan_key, beyond; // sums beyond the largest number
} screen_case;

typedef struct screen_data {
    sg_real *keys, *q;
    sg_stored screen, narrow;
} screen_data;

static int64_t key_count(const screen_case *c)
{
    return c->groups * c->n;
}

static int64_t query_width(const screen_case *c)
{
    return c->keyed ? c->groups * c->width : c->width;
}

static void data_new(const screen_case *c, screen_data *d)
{
    const int64_t keys = key_count(c), count = keys * c->width;
    sg_rng rng = {.seed = c->seed, .stream = (uint32_t)(c->n + c->width)};
    d->keys = sg_alloc_array((size_t)count, sizeof *d->keys);
    d->q = sg_alloc_array((size_t)(c->rows * query_width(c)), sizeof *d->q);
    d->screen = (sg_stored){.type = SG_WEIGHTS_INT8,
                            .rows = sg_alloc_array((size_t)count, 1),
                            .scales = sg_alloc_array((size_t)keys, sizeof(float))};
    d->narrow = (sg_stored){.type = c->weights,
                            .rows = sg_alloc_array((size_t)count, sizeof(sg_real)),
                            .scales = sg_alloc_array((size_t)keys, sizeof(float))};
    for (int64_t i = 0; i < count; i++)
        d->keys[i] = (sg_real)((sg_rng_next_uniform(&rng) * 2 - 1) * c->spread);
    for (int64_t i = 0; i < c->rows * query_width(c); i++)
        d->q[i] = (sg_real)(sg_rng_next_uniform(&rng) * 2 - 1);
    for (int64_t r = 1; c->ties && r < keys; r++) // few different rows
        memcpy(d->keys + r * c->width, d->keys + r % 3 * c->width,
               (size_t)c->width * sizeof *d->keys);
    if (c->nan_q) d->q[c->width / 2] = NAN;
    if (c->nan_key) d->keys[(c->n / 2) * c->width] = (sg_real)INFINITY;
    if (c->weights != SG_WEIGHTS_F32) {
        sg_stored_write(compute_on(NULL), &d->narrow, 0, keys, c->width, d->keys);
        sg_stored_read(sg_kernels_fastest(), d->keys, &d->narrow, 0, keys, c->width);
    }
    sg_stored_write(compute_on(NULL), &d->screen, 0, keys, c->width, d->keys);
}

static void data_free(screen_data *d)
{
    sg_free(d->keys);
    sg_free(d->q);
    sg_free(d->screen.rows);
    sg_free(d->screen.scales);
    sg_free(d->narrow.rows);
    sg_free(d->narrow.scales);
}

// The selection with screened keys or with plain ones: ids and scores (rows * channels * k);
// returns how many scores were no longer -inf, or all.
static int64_t selected(const screen_case *c, const screen_data *d, bool screened, int threads,
                        int32_t *ids, sg_real *scores)
{
    sg_tape *tape;
    sg_pool *pool;
    sg_error err = {0};
    must(sg_tape_new(&tape, &err), &err);
    must(sg_pool_new(threads, &pool, &err), &err);
    const int64_t channels = c->product ? c->groups / 2 : c->groups, K = c->width;
    sg_tensor *q = sg_tape_leaf(tape, "q", SG_KIND_REAL, 2, (int64_t[]){c->rows, query_width(c)},
                                d->q, NULL, false);
    sg_tensor *keys = sg_tape_leaf(tape, "keys", SG_KIND_REAL, 3, (int64_t[]){c->groups, c->n, K},
                                   d->keys, NULL, false);
    if (c->weights != SG_WEIGHTS_F32) keys->narrow = &d->narrow;
    keys->screen = &d->screen;
    const sg_key_groups g = {c->groups, c->n, c->k, c->keyed, c->keyed ? 0.25 : 1};
    sg_tensor *s =
        screened ? sg_screened_keys(tape, q, keys, &g)
        : c->keyed
            ? sg_linear_groups(tape, q, keys, g.scale)
            : sg_linear(tape, q, sg_reshape(tape, keys, 2, (int64_t[]){key_count(c), K}), NULL);
    sg_selection best =
        c->product ? sg_product_topk(tape, s, channels, c->k) : sg_topk(tape, s, channels, c->k);
    if (s != NULL) sg_tape_keep(tape, s);
    if (best.ids != NULL) sg_tape_keep(tape, best.ids);
    if (best.scores != NULL) sg_tape_keep(tape, best.scores);
    must(sg_tape_finish(tape, &(sg_tape_options){.threads = threads}, &err), &err);
    must(sg_tape_allocate(tape, &err), &err);
    sg_run run = {.compute = {.pool = pool, .kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    memcpy(ids, sg_ints(best.ids), (size_t)best.ids->count * sizeof *ids);
    memcpy(scores, sg_values(best.scores), (size_t)best.ids->count * sizeof *scores);
    int64_t finite = 0;
    for (int64_t i = 0; i < s->count; i++)
        finite += sg_values(s)[i] > -INFINITY;
    sg_tape_free(tape);
    sg_pool_free(pool);
    return finite;
}

static void check(screen_case c)
{
    screen_data d;
    data_new(&c, &d);
    const size_t count = (size_t)(c.rows * (c.product ? c.groups / 2 : c.groups) * c.k);
    int32_t *ids = sg_alloc_array(3 * count, sizeof *ids);
    sg_real *scores = sg_alloc_array(3 * count, sizeof *scores);
    const int64_t all = selected(&c, &d, false, 1, ids, scores);
    const int64_t left = selected(&c, &d, true, 1, ids + count, scores + count);
    selected(&c, &d, true, 3, ids + 2 * count, scores + 2 * count);
    if (!c.nan_q && !c.nan_key &&
        !c.beyond) { // what is selected of no numbers is nobody's business
        assert_memory_equal(ids + count, ids, count * sizeof *ids);
        for (size_t i = 0; i < count; i++) // the plain product may sum in another order
            assert_true(fabs((double)(scores[count + i] - scores[i])) <=
                        1e-5 * c.spread * sqrt((double)c.width));
    }
    if (c.spread > 1e-30 && !c.ties && !c.beyond && !c.nan_q && !c.nan_key && c.k * 20 < c.n)
        assert_true(left * 4 < all);
    assert_memory_equal(ids + 2 * count, ids + count, count * sizeof *ids);
    assert_memory_equal(scores + 2 * count, scores + count, count * sizeof *scores);
    for (size_t i = 0; i < 2 * count; i++)
        assert_in_range(ids[count + i], 0, c.product ? c.n * c.n - 1 : c.n - 1);
    sg_free(ids);
    sg_free(scores);
    data_free(&d);
}

static void test_selections(void **state)
{
    (void)state;
    const screen_case some[] = {
        {.groups = 4, .n = 512, .width = 64, .k = 8, .rows = 1, .product = true, .spread = 1},
        {.groups = 4, .n = 512, .width = 64, .k = 8, .rows = 1, .keyed = true, .spread = 1e-3},
        {.groups = 2, .n = 300, .width = 37, .k = 1, .rows = 3, .product = true, .spread = 1e4},
        {.groups = 1, .n = 1000, .width = 128, .k = 16, .rows = 8, .spread = 1},
        {.groups = 2, .n = 64, .width = 1, .k = 32, .rows = 2, .spread = 1},
        {.groups = 2, .n = 17, .width = 8, .k = 17, .rows = 1, .spread = 1},
        {.groups = 2,
         .n = 256,
         .width = 64,
         .k = 8,
         .rows = 2,
         .keyed = true,
         .product = true,
         .spread = 1},
        {.groups = 2,
         .n = 256,
         .width = 64,
         .k = 8,
         .rows = 1,
         .product = true,
         .spread = 1,
         .weights = SG_WEIGHTS_BF16},
    };
    // Copies alone would put some of many selections wrong.
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        screen_case c = some[i];
        for (; c.seed < 12; c.seed++)
            check(c);
    }
}

static void test_edges(void **state)
{
    (void)state;
    const screen_case usual = {.groups = 2, .n = 256, .width = 32, .k = 8, .rows = 1, .spread = 1};
    screen_case c = usual;
    c.ties = true;
    check(c);
    c.product = true;
    check(c);
    c = usual;
    c.spread = 0; // every score is 0
    check(c);
    c.spread = 1e-42; // steps among denormals
    check(c);
    c = usual;
    c.spread = 1e38;
    c.beyond = true;
    check(c);
    c = usual;
    c.nan_q = true;
    check(c);
    c = usual;
    c.nan_key = true;
    check(c);
}

// ---- a model ----------------------------------------------------------------------------------

static sg_model *screen_model(sg_context *context, const char *router)
{
    sg_model *m;
    sg_error err = {0};
    const sg_config c = tiny_keyed_config(router, 50, 16);
    must(sg_model_new(context, &c, 3, &m, &err), &err);
    return m;
}

static void test_session(void **state)
{
    (void)state;
    enum { tokens = 12, vocab = 50 };
    static const char *const routers[] = {"product_dense", "product_key_value"};
    sg_context_options options = {.threads = 2};
    sg_context *context;
    sg_error err = {0};
    must(sg_context_new(&options, &context, &err), &err);
    for (int r = 0; r < 2; r++) {
        sg_model *m = screen_model(context, routers[r]);
        float *seen = sg_alloc_array((size_t)(tokens * vocab), sizeof *seen);
        for (int screened = 1; screened >= 0; screened--) {
            sg_session *s;
            const float *logits;
            must(sg_model_set_key_copies(m, screened, &err), &err);
            must(sg_session_new(m, 0, &s, &err), &err);
            assert_int_equal(sg_model_screens(m) != NULL, screened);
            assert_int_equal(sg_model_set_key_copies(m, true, &err), SG_ERR_ARGUMENT);
            for (int32_t t = 0; t < tokens; t++) {
                must(sg_session_feed(s, &(int32_t){7 * t % 50}, 1, &logits, &err), &err);
                float *own = seen + t * vocab;
                const size_t bytes = vocab * sizeof *own;
                if (screened) memcpy(own, logits, bytes);
                for (int64_t v = 0; v < vocab; v++)
                    assert_true(fabsf(own[v] - logits[v]) <= 1e-5f);
            }
            sg_session_free(s);
        }
        sg_free(seen);
        sg_model_free(m);
    }
    sg_context_free(context);
}

// ---- weights that change ------------------------------------------------------------------------

// Logits of the last of some tokens, (50).
static void fed(sg_session *s, const int32_t *tokens, int64_t count, float *out)
{
    const float *logits;
    sg_error err = {0};
    must(sg_session_feed(s, tokens, count, &logits, &err), &err);
    memcpy(out, logits, 50 * sizeof *out);
}

// Other weights in the same places; `from` NULL: random ones.
static void rewrite(sg_model *m, const sg_model *from)
{
    sg_rng rng = {.seed = 11};
    for (size_t i = 0; i < m->params.count; i++)
        for (int64_t n = 0; n < m->params.specs[i].count; n++)
            m->values[i][n] =
                from ? from->values[i][n] : (sg_real)(sg_rng_next_uniform(&rng) - 0.5);
    sg_model_touch(m);
}

// What was made from weights is not used with others: copies of keys are made anew, keys and values
// of tokens refused, and so are graphs of weights that lie elsewhere now.
static void test_versions(void **state)
{
    (void)state;
    static const int32_t tokens[] = {3, 7, 20, 31, 5};
    float before[50], expected[50], found[50];
    const float *logits;
    sg_context *context;
    sg_session *s, *t;
    sg_batch *b;
    sg_error err = {0};
    must(sg_context_new(NULL, &context, &err), &err);
    sg_model *m = screen_model(context, "product_dense");
    sg_model *other = screen_model(context, "product_dense");
    rewrite(other, NULL);
    must(sg_session_new(other, 0, &t, &err), &err);
    fed(t, tokens, 5, expected);
    must(sg_session_new(m, 0, &s, &err), &err);
    fed(s, tokens, 5, before);
    assert_memory_not_equal(before, expected, sizeof before);

    rewrite(m, other);
    assert_int_equal(sg_session_feed(s, tokens, 1, &logits, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "other weights"));
    must(sg_session_rewind(s, 0, &err), &err);
    fed(s, tokens, 5, found);
    assert_memory_equal(found, expected, sizeof found);
    sg_session_free(t);
    must(sg_session_new(m, 0, &t, &err), &err);
    fed(t, tokens, 5, found);
    assert_memory_equal(found, expected, sizeof found);
    must(sg_session_rewind(t, 0, &err), &err);
    rewrite(m, other); // again, and nobody opens a session
    must(sg_batch_new(m, 1, &b, &err), &err);
    must(sg_batch_feed(b, &t, tokens, 1, &logits, &err), &err);

    must(sg_model_narrow(m, SG_WEIGHTS_BF16, &err), &err);
    must(sg_session_rewind(s, 0, &err), &err);
    assert_int_equal(sg_session_feed(s, tokens, 1, &logits, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "open another session"));
    sg_session_free(t);
    must(sg_session_new(m, 0, &t, &err), &err);
    must(sg_batch_feed(b, &t, tokens, 1, &logits, &err), &err); // records its graph anew
    sg_batch_free(b);
    sg_session_free(s);
    sg_session_free(t);
    sg_model_free(other);
    sg_model_free(m);
    sg_context_free(context);
}

// A first session that fails leaves no half of the copies for the next.
static sg_status first_session(void *user, sg_error *err)
{
    sg_model *m = user;
    sg_session *s = NULL;
    sg_status status = sg_session_new(m, 0, &s, err);
    if (status == SG_OK) assert_non_null(m->screens.items);
    for (size_t i = 0; m->screens.items != NULL && i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        const int64_t rows = spec->count / spec->shape[spec->rank - 1];
        if (m->screens.items[i].type != SG_WEIGHTS_INT8) continue;
        assert_true(((const float *)m->screens.items[i].scales)[rows - 1] > 0); // 0: never written
    }
    sg_session_free(s);
    assert_int_equal(sg_model_set_key_copies(m, false, NULL), SG_OK); // frees them
    assert_int_equal(sg_model_set_key_copies(m, true, NULL), SG_OK);
    return status;
}

static int64_t rank_of(void *user, const char *module, sg_adapter_place place, double *scale)
{
    (void)user;
    (void)module;
    *scale = 1;
    return place == SG_ADAPTER_PLAIN ? 2 : 0;
}

// A model with adapters may not use them, so it has none.
static void test_adapted(void **state)
{
    (void)state;
    const sg_adapter_choice choice = {.rank = rank_of, .what = "test"};
    sg_context *context;
    sg_session *s;
    sg_error err = {0};
    must(sg_context_new(NULL, &context, &err), &err);
    sg_model *m = screen_model(context, "product_dense");
    for (int round = 0; round < 2; round++) {
        must(sg_session_new(m, 0, &s, &err), &err);
        assert_non_null(sg_model_screens(m));
        sg_session_free(s);
        must(sg_model_add_adapters(m, &choice, &err), &err);
        assert_null(sg_model_screens(m));
        const int64_t bytes = sg_model_weight_bytes(m);
        must(sg_session_new(m, 0, &s, &err), &err);
        assert_null(sg_model_screens(m));
        assert_int_equal(sg_model_weight_bytes(m), bytes);
        sg_session_free(s);
        sg_model_drop_adapters(m);
    }
    sg_model_free(m);
    sg_context_free(context);
}

static void test_memory(void **state)
{
    (void)state;
    sg_context *context;
    sg_error err = {0};
    must(sg_context_new(NULL, &context, &err), &err);
    sg_model *m = screen_model(context, "product_dense");
    must(sg_model_narrow(m, SG_WEIGHTS_BF16, &err), &err);
    assert_true(alloc_failure_loop(first_session, m) > 5);
    sg_model_free(m);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selections), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_session),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_adapted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
