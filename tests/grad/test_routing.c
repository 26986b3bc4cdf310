// The operations between a router's scores and a memory, and the losses of a router: gradients in
// double, values against sums written out here, and what they must be at the ends.
#include "ffn/memory.h"
#include "grad/counts.h"

typedef struct routing_user {
    int64_t rows, blocks, k, capacity;
    bool share;
    int32_t *ids, *counted; // (rows, k); (rows) or NULL
    int32_t *counts;        // (rows) or NULL
} routing_user;

static int32_t *ints(int64_t n)
{
    int32_t *p = sg_alloc_array((size_t)n, sizeof *p);
    assert_non_null(p);
    return p;
}

// Random ids, different ones in a row; every third row does not count when `masked`.
static routing_user user_new(int64_t rows, int64_t blocks, int64_t k, bool masked, uint64_t seed)
{
    routing_user u = {.rows = rows, .blocks = blocks, .k = k, .ids = ints(rows * k)};
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            u.ids[r * k + i] =
                (int32_t)sg_rng_permute(seed + (uint64_t)r, 3, (uint64_t)i, (uint64_t)blocks);
    if (masked) {
        u.counted = ints(rows);
        for (int64_t r = 0; r < rows; r++)
            u.counted[r] = r % 3 == 1 ? -1 : 7;
    }
    return u;
}

static void user_free(routing_user *u)
{
    sg_free(u->ids);
    sg_free(u->counted);
    sg_free(u->counts);
}

static bool user_counts(const routing_user *u, int64_t row)
{
    return u->counted == NULL || u->counted[row] >= 0;
}

static sg_selection user_selection(const routing_user *u, sg_tape *tape, sg_tensor *scores)
{
    int64_t shape[] = {u->rows, u->k};
    return (sg_selection){.ids =
                              sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, u->ids, NULL, false),
                          .scores = scores,
                          .counts = gc_counts_leaf(tape, u->counts, u->rows, 1),
                          .channels = 1,
                          .k = u->k,
                          .unit = 1};
}

static sg_tensor *user_counted(const routing_user *u, sg_tape *tape)
{
    if (u->counted == NULL) return NULL;
    return sg_tape_leaf(tape, "counted", SG_KIND_INT, 1, &u->rows, u->counted, NULL, false);
}

static void expect_near(const char *what, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-12 * (1 + fabs(expected))))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

// ---- share --------------------------------------------------------------------------

static sg_tensor *build_share(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const routing_user *u = c->user;
    return sg_share(tape, in[0], u->k);
}

static void test_share(void **state)
{
    (void)state;
    for (int64_t k = 1; k <= 4; k += 3) {
        routing_user u = {.k = k};
        gc_case c = {.name = "share", .build = build_share, .user = &u};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){10, 2 * k}, 1, 2), y[80];
        for (int64_t i = 0; i < 20 * k; i++)
            x[i] = 0.1 + fabs(x[i]);
        gc_check(&c);
        for (int64_t i = 0; i < k; i++)
            x[i] = 0; // nothing to share
        gc_forward(&c, y, 20 * k);
        for (int64_t g = 0; g < 20; g++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += y[g * k + i];
            expect_near("the sum of shares", sum, g == 0 ? 0 : 1);
        }
        gc_free(&c);
    }
}

// ---- capacity -----------------------------------------------------------------------------------

static sg_tensor *build_capacity(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const routing_user *u = c->user;
    sg_selection selection = user_selection(u, tape, in[0]);
    return sg_capacity(tape, &selection, u->blocks, u->capacity, user_counted(u, tape)).scores;
}

// What a row keeps, in its order: slots (k), how many. `taken` (blocks) is of the rows before it.
static int64_t capacity_kept(const routing_user *u, int64_t row, int64_t *taken, int64_t *slots)
{
    int64_t kept = 0, selected = u->counts != NULL ? u->counts[row] : u->k;
    for (int64_t i = 0; i < selected; i++) {
        int32_t block = u->ids[row * u->k + i];
        if (!user_counts(u, row)) {
            slots[kept++] = i;
        } else if (taken[block] < u->capacity) {
            taken[block]++;
            slots[kept++] = i;
        }
    }
    return kept;
}

// The ids and counts of one forward pass.
static void capacity_selection(const gc_case *c, int32_t *ids, int32_t *counts)
{
    const routing_user *u = c->user;
    const gc_input *in = &c->in[0];
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *scores =
        sg_tape_leaf(tape, "scores", SG_KIND_REAL, in->rank, in->shape, in->data, NULL, false);
    sg_selection s = user_selection(u, tape, scores);
    s = sg_capacity(tape, &s, u->blocks, u->capacity, user_counted(u, tape));
    assert_int_equal(s.channels, 1);
    assert_int_equal(s.k, u->k);
    assert_int_equal(s.unit, 1);
    sg_tape_keep(tape, s.ids);
    sg_tape_keep(tape, s.counts);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    gc_poison(tape);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    memcpy(ids, s.ids->data, (size_t)s.ids->count * sizeof *ids);
    memcpy(counts, s.counts->data, (size_t)s.counts->count * sizeof *counts);
    sg_tape_free(tape);
}

static void check_capacity(routing_user u)
{
    gc_case c = {.name = "capacity", .build = build_capacity, .user = &u, .components = 60};
    int64_t hits = u.rows * u.k, dropped = 0, taken[8] = {0}, slots[8];
    sg_real *scores = gc_add(&c, "scores", 2, (int64_t[]){u.rows, u.k}, 1, 3), *y = gc_room(hits);
    int32_t *ids = ints(hits), *counts = ints(u.rows);
    gc_check(&c);
    gc_forward(&c, y, hits);
    capacity_selection(&c, ids, counts);
    for (int64_t r = 0; r < u.rows; r++) {
        int64_t kept = capacity_kept(&u, r, taken, slots);
        assert_int_equal(counts[r], kept);
        dropped += u.k - kept;
        for (int64_t i = 0; i < u.k; i++) {
            int64_t at = r * u.k + (i < kept ? slots[i] : 0);
            assert_int_equal(ids[r * u.k + i], i < kept ? u.ids[at] : -1);
            expect_near("a score under a capacity", y[r * u.k + i], i < kept ? scores[at] : 0);
        }
    }
    assert_true(dropped > 0);
    gc_check_void(&c, 0, 1, u.counts, u.k);
    sg_free(ids);
    sg_free(counts);
    sg_free(y);
    gc_free(&c);
    user_free(&u);
}

static void test_capacity(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        routing_user u = user_new(21, 4, 2, n % 2, 5);
        if (n / 2) u.counts = gc_counts(COUNT_SOME, u.rows, u.k, u.ids);
        u.capacity = 3;
        check_capacity(u);
        u = user_new(40, 3, 1, n % 2, 6);
        if (n / 2) u.counts = gc_counts(COUNT_SOME, u.rows, u.k, u.ids);
        u.capacity = 1;
        check_capacity(u);
    }
}

// Where every block has room for all rows the selection is the same.
static void test_capacity_for_all(void **state)
{
    (void)state;
    routing_user u = user_new(5, 3, 2, false, 6);
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, NULL), SG_OK);
    sg_tensor *scores =
        sg_tape_leaf(tape, "scores", SG_KIND_REAL, 2, (int64_t[]){5, 2}, NULL, NULL, true);
    sg_selection s = user_selection(&u, tape, scores);
    sg_selection kept = sg_capacity(tape, &s, u.blocks, 5, NULL);
    assert_ptr_equal(kept.scores, scores);
    assert_ptr_equal(kept.ids, s.ids);
    assert_null(kept.counts);
    assert_non_null(sg_capacity(tape, &s, u.blocks, 4, NULL).counts);
    sg_tape_free(tape);
    user_free(&u);
}

// ---- thresholds ---------------------------------------------------------------------------------

typedef struct above_user {
    int64_t rows, channels, k, least;
    double threshold;
    bool of_best, softmax;
} above_user;

// The sum over all selected neurons of score times a row of the table: what has a gradient is what
// is selected.
static sg_tensor *build_above(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const above_user *u = c->user;
    sg_selection s = sg_topk(tape, in[0], u->channels, u->k);
    s = sg_select_above(tape, &s, u->threshold, u->of_best, u->least);
    if (u->softmax) s.scores = sg_softmax_selected(tape, &s);
    return sg_memory_neurons(tape, NULL, &s, NULL, in[1], SG_ACT_IDENTITY, SG_GATE_VALUE);
}

// Of one row and channel: the k largest of x (n), as many as the threshold lets through.
static void above_naive(const above_user *u, const sg_real *x, int64_t n, const sg_real *table,
                        int64_t d, sg_real *y)
{
    int32_t ids[16];
    sg_real scores[16];
    sg_kernels_ref()->topk(ids, scores, x, n, u->k);
    const double threshold = u->threshold * (u->of_best ? scores[0] : 1);
    int64_t count = 0;
    double sum = 0;
    while (count < u->k && (count < u->least || scores[count] >= threshold))
        sum += exp(scores[count++]);
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < d; j++)
            y[j] += (u->softmax ? exp(scores[i]) / sum : scores[i]) * table[ids[i] * d + j];
}

static void check_above(above_user u)
{
    enum { n = 7, d = 3 };
    gc_case c = {.name = "select_above", .build = build_above, .user = &u};
    const sg_real *x = gc_add(&c, "x", 2, (int64_t[]){u.rows, u.channels * n}, 1, 3);
    const sg_real *table = gc_add(&c, "table", 3, (int64_t[]){1, n, d}, 1, 3);
    sg_real *y = gc_room(u.rows * d), *expected = gc_room(u.rows * d);
    for (int64_t g = 0; g < u.rows * u.channels; g++)
        above_naive(&u, x + g * n, n, table, d, expected + g / u.channels * d);
    gc_forward(&c, y, u.rows * d);
    gc_expect_close(c.name, y, expected, u.rows * d);
    gc_check(&c);
    sg_free(y);
    sg_free(expected);
    gc_free(&c);
}

static void test_above(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        const bool of_best = n % 2, softmax = n / 2;
        for (int64_t least = 0; least <= 4; least += 2) {
            check_above((above_user){12, 2, 4, least, 0.5, of_best, softmax});
            check_above((above_user){300, 1, 5, least, 0.9, of_best, softmax});
        }
        check_above((above_user){12, 2, 4, 0, 100, false, softmax});  // none at all
        check_above((above_user){12, 2, 4, 0, -100, false, softmax}); // all
    }
}

// No count goes up, and the error of a wrong shape is the tape's.
static void test_above_counts(void **state)
{
    (void)state;
    int32_t ids[6] = {0}, counts[] = {1, 3}, above[2];
    sg_real scores[] = {3, 2, 1, 3, 2, 1};
    sg_error err;
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    const int64_t shape[] = {2, 3};
    sg_selection s = {.channels = 1, .k = 3, .unit = 1};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, ids, NULL, false);
    s.scores = sg_tape_leaf(tape, "scores", SG_KIND_REAL, 2, shape, scores, NULL, false);
    s.counts = gc_counts_leaf(tape, counts, 2, 1);
    sg_selection two = sg_select_above(tape, &s, 1.5, false, 0);
    sg_tape_keep(tape, two.counts);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    memcpy(above, two.counts->data, sizeof above);
    sg_tape_free(tape);
    assert_int_equal(above[0], 1);
    assert_int_equal(above[1], 2);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    s.ids = s.scores = sg_tape_leaf(tape, "scores", SG_KIND_REAL, 2, shape, NULL, NULL, true);
    s.counts = NULL;
    assert_null(sg_select_above(tape, &s, 0, false, 4).counts); // more than there are
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
    sg_tape_free(tape);
}

// ---- balance ------------------------------------------------------------------------------------

static sg_tensor *build_balance(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const routing_user *u = c->user;
    sg_selection selection = user_selection(u, tape, NULL);
    sg_tensor *p =
        u->share ? sg_activate(tape, in[0], SG_ACT_SIGMOID) : sg_softmax(tape, in[0], u->blocks);
    return sg_balance_loss(tape, p, &selection, u->share, user_counted(u, tape));
}

// B sum f P, each written out.
static double balance_expected(const routing_user *u, const sg_real *x)
{
    double loss = 0, rows = 0, hits = 0;
    for (int64_t r = 0; r < u->rows; r++) {
        rows += user_counts(u, r);
        for (int64_t i = 0; user_counts(u, r) && i < u->k; i++)
            hits += gc_selected(u->counts, u->k, r * u->k + i);
    }
    for (int64_t b = 0; b < u->blocks && rows > 0; b++) {
        double f = 0, P = 0;
        for (int64_t r = 0; r < u->rows; r++) {
            const sg_real *row = x + r * u->blocks;
            double sum = 0;
            if (!user_counts(u, r)) continue;
            for (int64_t i = 0; i < u->blocks; i++)
                sum += u->share ? 1 / (1 + exp(-row[i])) : exp(row[i]);
            P += (u->share ? 1 / (1 + exp(-row[b])) : exp(row[b])) / sum / rows;
            for (int64_t i = 0; i < u->k; i++)
                f += hits > 0 ? (u->ids[r * u->k + i] == b) / hits : 0;
        }
        loss += (double)u->blocks * f * P;
    }
    return loss;
}

static void check_balance(routing_user u, bool share)
{
    u.share = share;
    gc_case c = {.name = "balance_loss", .build = build_balance, .user = &u, .own_loss = true};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){u.rows, u.blocks}, 1, 4), loss;
    gc_check(&c);
    gc_forward(&c, &loss, 1);
    expect_near("the balance loss", loss, balance_expected(&u, x));
    gc_free(&c);
    user_free(&u);
}

static void test_balance(void **state)
{
    (void)state;
    for (int share = 0; share < 2; share++) {
        check_balance(user_new(12, 5, 2, false, 1), share);
        check_balance(user_new(30, 7, 3, true, 2), share);
        check_balance(user_new(1, 1, 1, false, 3), share);
        check_balance(user_new(6, 8192, 2, true, 4), share); // several chunks
    }
    for (int counting = COUNT_SOME; counting <= COUNT_NONE; counting++) {
        routing_user u = user_new(30, 7, 3, true, 2);
        u.counts = gc_counts((gc_counting)counting, u.rows, u.k, u.ids);
        check_balance(u, false);
    }
    routing_user none = user_new(4, 3, 1, true, 1);
    for (int r = 0; r < 4; r++)
        none.counted[r] = -1; // no row counts: no loss
    check_balance(none, false);
}

static double balance_of(routing_user *u, sg_real (*logit)(int64_t row, int64_t block))
{
    gc_case c = {.name = "balance_loss", .build = build_balance, .user = u, .own_loss = true};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){u->rows, u->blocks}, 1, 4), loss;
    for (int64_t i = 0; i < u->rows * u->blocks; i++)
        x[i] = logit(i / u->blocks, i % u->blocks);
    gc_forward(&c, &loss, 1);
    gc_free(&c);
    return loss;
}

static sg_real logit_random(int64_t row, int64_t block)
{
    return sg_rng_normal(8, 8, (uint64_t)(row * 100 + block));
}
static sg_real logit_first(int64_t row, int64_t block)
{
    (void)row;
    return block == 0 ? 1000 : 0;
}

// 1 when the selections are spread evenly, whatever the probabilities; B when all rows take one
// block and are sure of it.
static void test_balance_ends(void **state)
{
    (void)state;
    routing_user u = user_new(24, 6, 2, false, 9);
    for (int64_t h = 0; h < 48; h++)
        u.ids[h] = (int32_t)(h % 6);
    expect_near("the balance loss of an even use", balance_of(&u, logit_random), 1);
    user_free(&u);
    u = user_new(24, 6, 1, false, 9);
    memset(u.ids, 0, 24 * sizeof *u.ids);
    expect_near("the balance loss of a collapse", balance_of(&u, logit_first), 6);
    user_free(&u);
}

// ---- z ------------------------------------------------------------------------------------------

static sg_tensor *build_z(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const routing_user *u = c->user;
    return sg_z_loss(tape, in[0], user_counted(u, tape));
}

static void test_z(void **state)
{
    (void)state;
    for (int masked = 0; masked < 2; masked++)
        for (int64_t blocks = 1; blocks < 9000; blocks *= 90) { // one chunk, and several
            routing_user u = user_new(blocks > 90 ? 6 : 20, blocks, 1, masked, 1);
            gc_case c = {.name = "z_loss", .build = build_z, .user = &u, .own_loss = true};
            sg_real *x = gc_add(&c, "x", 2, (int64_t[]){u.rows, blocks}, 1, 4), loss;
            for (int64_t i = 0; i < u.rows * blocks; i++)
                x[i] -= log((double)blocks); // or the loss is large and differences lose digits
            gc_check(&c);
            double expected = 0, rows = 0;
            for (int64_t r = 0; r < u.rows; r++) {
                double sum = 0;
                for (int64_t b = 0; b < blocks; b++)
                    sum += exp(x[r * blocks + b]);
                rows += user_counts(&u, r);
                if (user_counts(&u, r)) expected += log(sum) * log(sum);
            }
            gc_forward(&c, &loss, 1);
            expect_near("the z loss", loss, expected / rows);
            gc_free(&c);
            user_free(&u);
        }
}

// ---- a biased choice ----------------------------------------------------------------------------

typedef struct biased {
    sg_real x[24], bias[4], dx[24], statistic[4];
    int32_t counted[6];
} biased;

// Two passes, the second of which adds; returns the tape with ids and scores of two of four.
static sg_tape *biased_run(biased *u, int threads, bool recompute, sg_selection *selection)
{
    sg_error err = {0};
    sg_tape *tape;
    int64_t rows = 6;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){6, 4}, u->x, u->dx, true);
    sg_tensor *bias =
        sg_tape_leaf(tape, "bias", SG_KIND_REAL, 1, (int64_t[]){4}, u->bias, u->statistic, true);
    sg_tensor *counted =
        sg_tape_leaf(tape, "counted", SG_KIND_INT, 1, &rows, u->counted, NULL, false);
    sg_tape_segment_begin(tape);
    *selection = sg_topk_biased(tape, x, bias, 2, counted);
    sg_tensor *y = sg_share(tape, sg_activate(tape, selection->scores, SG_ACT_SIGMOID), 2);
    sg_tape_segment_end(tape);
    sg_tape_keep(tape, selection->ids);
    sg_tape_keep(tape, selection->scores);
    gc_sum(tape, y, 1);
    sg_tape_options options = {.gradient = true, .recompute = recompute, .threads = threads};
    if (sg_tape_finish(tape, &options, &err) != SG_OK || sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    gc_poison(tape);
    sg_run run = {.compute = {.pool = gc_pool(threads), .kernels = sg_kernels_fastest()}};
    for (int pass = 0; pass < 2; pass++) {
        run.accumulate = pass > 0;
        sg_tape_forward(tape, &run);
        sg_tape_backward(tape, &run);
    }
    sg_pool_free(run.compute.pool);
    return tape;
}

static void check_biased(biased *u, int threads, bool recompute)
{
    sg_selection selection;
    int64_t expected[4] = {0};
    sg_tape *tape = biased_run(u, threads, recompute, &selection);
    const int32_t *ids = sg_ints(selection.ids);
    for (int64_t h = 0; h < 12; h++) {
        const sg_real *row = u->x + h / 2 * 4;
        expect_near("a score without its bias", sg_values(selection.scores)[h], row[ids[h]]);
        for (int64_t i = 0; i < 4; i++) { // nothing that was left out is better
            bool chosen = i == ids[h / 2 * 2] || i == ids[h / 2 * 2 + 1];
            assert_true(chosen || row[i] + u->bias[i] <= row[ids[h]] + u->bias[ids[h]]);
        }
        assert_int_not_equal(ids[h / 2 * 2], ids[h / 2 * 2 + 1]);
        expected[ids[h]] += u->counted[h / 2] >= 0;
    }
    for (int64_t i = 0; i < 4; i++)
        expect_near("the statistic of a bias", u->statistic[i], 2 * (double)expected[i]);
    for (int64_t i = 0; i < 24; i++) {
        bool chosen = i % 4 == ids[i / 4 * 2] || i % 4 == ids[i / 4 * 2 + 1];
        assert_true((u->dx[i] != 0) == chosen);
    }
    sg_tape_free(tape);
}

static void test_biased(void **state)
{
    (void)state;
    biased u = {.bias = {0, 3, -3, 0.5}, .counted = {0, 5, -1, 2, 9, -9}};
    for (int64_t i = 0; i < 24; i++)
        u.x[i] = sg_rng_normal(1, 1, (uint64_t)i);
    for (int threads = 1; threads <= 3; threads++)
        for (int recompute = 0; recompute < 2; recompute++)
            check_biased(&u, threads, recompute);
}

// Without a bias, the plain selection.
static void test_biased_by_nothing(void **state)
{
    (void)state;
    biased u = {.counted = {0}};
    for (int64_t i = 0; i < 24; i++)
        u.x[i] = (sg_real)(i * 7 % 5); // ties
    sg_selection selection;
    sg_tape *tape = biased_run(&u, 1, false, &selection);
    for (int64_t r = 0; r < 6; r++) {
        int32_t ids[2];
        sg_real scores[2];
        sg_kernels_fastest()->topk(ids, scores, u.x + 4 * r, 4, 2);
        assert_memory_equal(ids, sg_ints(selection.ids) + 2 * r, sizeof ids);
        assert_memory_equal(scores, sg_values(selection.scores) + 2 * r, sizeof scores);
    }
    sg_tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_capacity_for_all),
        cmocka_unit_test(test_above),
        cmocka_unit_test(test_above_counts),
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_balance_ends),
        cmocka_unit_test(test_z),
        cmocka_unit_test(test_biased),
        cmocka_unit_test(test_biased_by_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
