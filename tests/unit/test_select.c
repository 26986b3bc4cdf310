// Top-k and product top-k: the plain ones against a sort and against their definition, the fast
// ones against the plain ones, which they must equal to the last bit and in every tie. Near scores
// of screened keys likewise.
#include "unit/kernel_check.h"

typedef struct candidate {
    float score;
    int64_t rank, id; // ties go to the lower rank
} candidate;

static int by_score(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

static float number(float x)
{
    return isnan(x) ? -INFINITY : x;
}

// The k best of x by sorting all of it.
static void sorted_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    candidate *all = malloc((size_t)n * sizeof *all);
    assert_non_null(all);
    for (int64_t i = 0; i < n; i++)
        all[i] = (candidate){number(x[i]), i, i};
    qsort(all, (size_t)n, sizeof *all, by_score);
    for (int64_t i = 0; i < k; i++) {
        ids[i] = (int32_t)all[i].id;
        scores[i] = all[i].score;
    }
    free(all);
}

// The definition: k best of each part, all k x k sums, sorted.
static void sorted_product(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                           int64_t k)
{
    int32_t ids0[SG_TOPK_MAX], ids1[SG_TOPK_MAX];
    float best0[SG_TOPK_MAX], best1[SG_TOPK_MAX];
    sorted_topk(ids0, best0, s0, n, k);
    sorted_topk(ids1, best1, s1, n, k);
    candidate *all = malloc((size_t)(k * k) * sizeof *all);
    assert_non_null(all);
    for (int64_t i = 0; i < k * k; i++)
        all[i] = (candidate){number(best0[i / k] + best1[i % k]), i, ids0[i / k] * n + ids1[i % k]};
    qsort(all, (size_t)(k * k), sizeof *all, by_score);
    for (int64_t i = 0; i < k; i++) {
        ids[i] = (int32_t)all[i].id;
        scores[i] = all[i].score;
    }
    free(all);
}

enum { kinds = 10 };

// Rows that are easy to get wrong: many ties, few or no finite numbers, sorted either way, numbers
// that differ in their last bits alone, by chance or the largest ones last.
static void fill(float *x, int64_t n, int kind, uint64_t seed)
{
    const float odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, 1, 1e-42f, -3e38f};
    for (int64_t i = 0; i < n; i++) {
        uint64_t u = sg_rng_u64(seed, (uint32_t)kind, (uint64_t)i);
        float smooth = (float)sg_rng_normal(seed, 9, (uint64_t)i);
        switch (kind) {
        case 0:
            x[i] = smooth;
            break;
        case 1:
            x[i] = (float)(u % 5) / 4; // ties
            break;
        case 2:
            x[i] = seed % 2 ? -INFINITY : 0.25f; // all equal
            break;
        case 3:
            x[i] = odd[u % 8];
            break;
        case 4:
            x[i] = u % 20 ? -INFINITY : smooth; // few finite
            break;
        case 5:
            x[i] = (float)i * (seed % 2 ? 1.0f : -1.0f);
            break;
        case 6:
            x[i] = u % 7 ? smooth : NAN;
            break;
        case 8: {
            float step = (float)(u % 64) * FLT_EPSILON;
            x[i] = seed % 2 ? -1 - step : 1 + step;
            break;
        }
        case 9:
            x[i] = 2 * i < n ? 1 : 1 + FLT_EPSILON;
            break;
        default:
            x[i] = roundf(smooth * 8) / 8; // ties among random numbers
            break;
        }
    }
}

static void check_same(const char *what, const int32_t *ids, const float *scores,
                       const int32_t *ids0, const float *scores0, int64_t n, int64_t k, int kind)
{
    for (int64_t i = 0; i < k; i++)
        if (ids[i] != ids0[i] || !(scores[i] == scores0[i]))
            fail_msg("%s n %lld k %lld kind %d, place %lld: found %d (%g), expected %d (%g)", what,
                     (long long)n, (long long)k, kind, (long long)i, ids[i], (double)scores[i],
                     ids0[i], (double)scores0[i]);
    assert_int_equal(ids[k], -77);
    assert_true(scores[k] == check_canary);
}

static const int64_t widths[] = {1,   2,   3,   4,   5,   7,    8,    9,   12, 15,
                                 16,  17,  23,  24,  32,  33,   63,   64,  65, 100,
                                 127, 128, 129, 255, 512, 1000, 1024, 1500};
static const int64_t counts[] = {1,  2,  3,  4,  7,  8,  9,  10,  15, 16,
                                 17, 24, 31, 32, 33, 63, 64, 200, 512};
enum {
    width_count = sizeof widths / sizeof *widths,
    count_count = sizeof counts / sizeof *counts,
    list_max = 20001
};

static void check_topk(const sg_kernels *table, int64_t n, int64_t k, int kind, uint64_t seed)
{
    static float x[list_max], scores[list_max], scores0[list_max];
    static int32_t ids[list_max], ids0[list_max];
    fill(x, n, kind, seed);
    ids[k] = -77;
    scores[k] = check_canary;
    sorted_topk(ids0, scores0, x, n, k);
    table->topk(ids, scores, x, n, k);
    check_same("topk", ids, scores, ids0, scores0, n, k, kind);
}

static void check_all_topk(const sg_kernels *table)
{
    for (int w = 0; w < width_count; w++)
        for (int c = 0; c < count_count && counts[c] <= widths[w]; c++)
            for (int kind = 0; kind < kinds; kind++)
                for (uint64_t seed = 0; seed < 2; seed++)
                    check_topk(table, widths[w], counts[c], kind, seed);
    for (int kind = 0; kind < kinds; kind++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            check_topk(table, 1500, 700, kind, seed);
            check_topk(table, 1599, 1024, kind, seed);
            check_topk(table, 600, 600, kind, seed);
            check_topk(table, 512, 48, kind, seed);
        }
    }
    check_topk(table, 20000, SG_TOPK_MAX, 7, 1);
    check_topk(table, 20000, SG_TOPK_MAX + 1, 0, 1);
    for (uint64_t seed = 0; seed < 300; seed++)
        check_topk(table, 16 + (int64_t)(seed % 50), 8, seed % 2 ? 0 : 7, seed);
}

static void test_ref_topk(void **state)
{
    (void)state;
    check_all_topk(sg_kernels_ref());
}

static void test_topk(void **state)
{
    (void)state;
    check_fast(check_all_topk);
}

static void check_product(const sg_kernels *table, int64_t n, int64_t k, int kind, uint64_t seed)
{
    static float s0[list_max], s1[list_max], scores[list_max], scores0[list_max];
    static int32_t ids[list_max], ids0[list_max];
    fill(s0, n, kind, seed);
    fill(s1, n, seed % 3 ? kind : (kind + 1) % kinds, seed + 1000);
    ids[k] = -77;
    scores[k] = check_canary;
    sorted_product(ids0, scores0, s0, s1, n, k);
    table->product_topk(ids, scores, s0, s1, n, k);
    check_same("product_topk", ids, scores, ids0, scores0, n, k, kind);
}

// Rows of every kind beside each other, ends where memory ends.
static void check_product_rows(const sg_kernels *table, int64_t rows, int64_t n, int64_t k,
                               int kind, uint64_t seed)
{
    const int64_t ldx = 2 * n + (int64_t)(seed % 3), ldy = k + 1;
    const int64_t size = (rows - 1) * ldx + 2 * n;
    float *x = malloc((size_t)size * sizeof *x), *scores = malloc((size_t)(rows * ldy) * 4);
    int32_t *ids = malloc((size_t)(rows * ldy) * sizeof *ids), ids0[64];
    float scores0[64];
    assert_true(x != NULL && scores != NULL && ids != NULL);
    for (int64_t r = 0; r < rows; r++) {
        const int here = kind < 0 ? (int)(r % kinds) : kind;
        fill(x + r * ldx, n, here, seed + (uint64_t)r);
        fill(x + r * ldx + n, n, r % 3 ? here : (here + 1) % kinds, seed + 1000 + (uint64_t)r);
    }
    for (int64_t i = 0; i < rows * ldy; i++)
        ids[i] = -77, scores[i] = check_canary;
    table->product_topk_rows(ids, scores, ldy, x, x + n, ldx, rows, n, k);
    for (int64_t r = 0; r < rows; r++) {
        sorted_product(ids0, scores0, x + r * ldx, x + r * ldx + n, n, k);
        check_same("product_topk_rows", ids + r * ldy, scores + r * ldy, ids0, scores0, n, k, kind);
    }
    free(x);
    free(ids);
    free(scores);
}

static void check_all_rows(const sg_kernels *table)
{
    static const int64_t sizes[] = {1, 8, 12, 13, 16, 20, 24, 28, 31, 32, 36};
    for (int i = 0; i < 11; i++)
        for (int64_t k = 1; k <= 9 && k <= sizes[i]; k++)
            for (int kind = -1; kind < kinds; kind++)
                check_product_rows(table, kind < 0 ? 47 : 16 + k, sizes[i], k, kind, (uint64_t)k);
    for (uint64_t seed = 0; seed < 60; seed++)
        check_product_rows(table, 64, 32, 8, seed % 4 ? 0 : 7, 50 * seed);
}

static void check_all_products(const sg_kernels *table)
{
    check_all_rows(table);
    for (int w = 0; w < width_count; w++)
        for (int c = 0; c < count_count && counts[c] <= widths[w] && counts[c] <= 64; c++)
            for (int kind = 0; kind < kinds; kind++)
                for (uint64_t seed = 0; seed < 2; seed++)
                    check_product(table, widths[w], counts[c], kind, seed);
    for (int kind = 0; kind < kinds; kind++) {
        check_product(table, 600, 512, kind, 1);
        check_product(table, 300, 300, kind, 2);
    }
    for (uint64_t seed = 0; seed < 500; seed++)
        check_product(table, 16 + (int64_t)(seed % 50), 1 + (int64_t)(seed % 8), seed % 2 ? 0 : 1,
                      seed);
}

static void test_ref_product(void **state)
{
    (void)state;
    check_all_products(sg_kernels_ref());
}

static void test_product(void **state)
{
    (void)state;
    check_fast(check_all_products);
}

// Nothing is lost by looking at the k best of each part only: all n^2 sums of distinct numbers.
static void test_product_is_exact(void **state)
{
    (void)state;
    enum { n = 40 };
    const sg_kernels *tables[SG_TABLES_MAX];
    const int count = sg_kernels_list(tables);
    candidate *all = malloc(n * n * sizeof *all);
    assert_non_null(all);
    for (uint64_t seed = 0; seed < 60; seed++) {
        float s0[n], s1[n], scores[n];
        int32_t ids[n];
        int64_t k = 1 + (int64_t)(seed % n);
        for (int i = 0; i < n; i++) {
            s0[i] = (float)sg_rng_normal(seed, 1, (uint64_t)i);
            s1[i] = (float)sg_rng_normal(seed, 2, (uint64_t)i);
        }
        for (int i = 0; i < n * n; i++)
            all[i] = (candidate){s0[i / n] + s1[i % n], i, i};
        qsort(all, n * n, sizeof *all, by_score);
        for (int t = 0; t < count; t++) {
            tables[t]->product_topk(ids, scores, s0, s1, n, k);
            for (int64_t i = 0; i < k; i++) {
                assert_true(scores[i] == all[i].score);
                bool tied =
                    (i > 0 && all[i].score == all[i - 1].score) || all[i].score == all[i + 1].score;
                if (!tied) assert_int_equal(ids[i], all[i].id);
            }
        }
    }
    free(all);
}

// ---- screening ----------------------------------------------------------------------------------

enum { screen_most = 70, screen_width = 200 };

// Whole numbers, so every table gives the bits of the plain one.
static void check_screen(const sg_kernels *table, int64_t n, int64_t d, uint64_t seed)
{
    int16_t *q = malloc(screen_width * sizeof *q);
    int8_t *w = malloc(screen_most * screen_width);
    float *scales = check_random(n, seed, 1), *x = check_random(n, seed + 1, 1);
    float *y = check_random(n, seed, 1), *expected = check_copy(y, n);
    int32_t *places = malloc((size_t)(n + 16) * sizeof *places),
            *same = malloc((size_t)(n + 16) * 4);
    assert_true(q != NULL && w != NULL && places != NULL && same != NULL);
    for (int64_t i = 0; i < d; i++)
        q[i] = (int16_t)((int64_t)sg_rng_below(seed, 5, (uint64_t)i, 65535) - 32767);
    for (int64_t i = 0; i < n * d; i++)
        w[i] = (int8_t)((int64_t)sg_rng_below(seed, 6, (uint64_t)i, 255) - 127);
    for (int64_t i = 0; i < n; i++)
        scales[i] = seed % 4 == 3 && i % 5 == 0 ? NAN : fabsf(scales[i]);
    const float unit = seed % 2 ? 1e-3f : 1e-30f;
    const float most = sg_kernels_ref()->screen_scores(expected, q, unit, w, scales, n, d);
    assert_true(table->screen_scores(y, q, unit, w, scales, n, d) == most);
    for (int64_t i = 0; i < n; i++)
        assert_true(y[i] == expected[i] || (isnan(y[i]) && isnan(expected[i])));
    check_intact(y, n);
    if (seed % 3 == 0) x[n / 2] = NAN;
    const float bounds[] = {x[n / 3], 0.8f, -INFINITY, 2};
    for (int b = 0; b < 4; b++) {
        const int64_t count = sg_kernels_ref()->not_below(same, x, n, bounds[b]);
        assert_int_equal(table->not_below(places, x, n, bounds[b]), count);
        assert_memory_equal(places, same, (size_t)count * sizeof *same);
    }
    free(q);
    free(w);
    free(scales);
    free(x);
    free(y);
    free(expected);
    free(places);
    free(same);
}

static void check_all_screens(const sg_kernels *table)
{
    static const int64_t many[] = {1, 3, 4, 15, 16, 17, 32, 64, 70};
    static const int64_t wide[] = {1, 8, 16, 17, 31, 32, 33, 64, 100, 128, 200};
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        for (size_t j = 0; j < sizeof wide / sizeof *wide; j++)
            for (uint64_t seed = 0; seed < 4; seed++)
                check_screen(table, many[i], wide[j], seed);
}

// By hand: 2 x 3 - 4 x 1 = 2, halved, times 3; NaN and what is not below 1.
static void test_ref_screen(void **state)
{
    (void)state;
    float y[2];
    int32_t places[3 + 16];
    const int16_t q[] = {2, -4};
    const int8_t w[] = {3, 1, 0, 127};
    const float scales[] = {3, NAN}, x[] = {NAN, 0.5f, 1};
    assert_true(sg_kernels_ref()->screen_scores(y, q, 0.5f, w, scales, 2, 2) == 3);
    assert_true(y[0] == 3 && isnan(y[1]));
    assert_int_equal(sg_kernels_ref()->not_below(places, x, 3, 1), 2);
    assert_true(places[0] == 0 && places[1] == 2);
}

static void test_screen(void **state)
{
    (void)state;
    check_fast(check_all_screens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_topk),         cmocka_unit_test(test_topk),
        cmocka_unit_test(test_ref_product),      cmocka_unit_test(test_product),
        cmocka_unit_test(test_product_is_exact), cmocka_unit_test(test_ref_screen),
        cmocka_unit_test(test_screen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
