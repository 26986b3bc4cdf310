// Neighbours, maps and likeness of spaces: what must hold of any rows, odd rows (none, one, equal
// ones, zeros), any number of threads, stops, failing memory, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "context_on.h"
#include "probe/lanczos.h"
#include "probe/umap_layout.h"
#include "sgatlin_gates.h"

enum { most_rows = 700, most_slots = 8 };

static sg_context *context, *alone;

// Rows that are made here, sparse, and the same ones dense.
typedef struct rows_made {
    sg_vectors sparse, dense;
    int64_t begins[most_rows + 1];
    int32_t neurons[most_rows * most_slots];
    float scores[most_rows * most_slots];
    float *values;
} rows_made;

// cmocka's own compares floats.
static void close_to(double found, double expected, double within)
{
    if (!(fabs(found - expected) <= within))
        fail_msg("found %.17g, expected %.17g within %g", found, expected, within);
}

static int group_begin(void **state)
{
    (void)state;
    context = context_on(3);
    alone = context_on(1);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    sg_context_free(alone);
    return 0;
}

// Rows around `kinds` patterns of neurons.
static void make_rows(rows_made *m, int64_t rows, int64_t columns, int64_t kinds)
{
    int64_t at = 0;
    m->values = calloc((size_t)(rows * columns) + 1, sizeof *m->values);
    assert_non_null(m->values);
    m->begins[0] = 0;
    for (int64_t r = 0; r < rows; r++) {
        const uint64_t kind = sg_rng_below(1, 1, (uint64_t)r, (uint64_t)kinds);
        float *row = m->values + r * columns;
        for (uint64_t s = 0; s < most_slots; s++) {
            const uint64_t place = (uint64_t)r * most_slots + s;
            const bool own = sg_rng_uniform(1, 2, place) < 0.3;
            const uint64_t neuron =
                sg_rng_below(1, own ? 3 : 4, own ? place : kind * 8 + s, (uint64_t)columns);
            row[neuron] = (float)(0.2 + sg_rng_uniform(1, 5, place));
        }
        for (int32_t c = 0; c < (int32_t)columns; c++)
            if (row[c] != 0) {
                m->neurons[at] = c;
                m->scores[at++] = row[c];
            }
        m->begins[r + 1] = at;
    }
    m->sparse = (sg_vectors){rows, columns, m->begins, m->neurons, m->scores, NULL};
    m->dense = (sg_vectors){rows, columns, NULL, NULL, NULL, m->values};
}

// ---- neighbours ---------------------------------------------------------------------------------

static double distance_of(const float *a, const float *b, int64_t columns, sg_metric metric)
{
    double ab = 0, aa = 0, bb = 0, dd = 0;
    for (int64_t c = 0; c < columns; c++) {
        ab += (double)a[c] * (double)b[c];
        aa += (double)a[c] * (double)a[c];
        bb += (double)b[c] * (double)b[c];
        dd += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    }
    if (metric == SG_METRIC_EUCLIDEAN) return sqrt(dd);
    return aa > 0 && bb > 0 ? 1 - ab / sqrt(aa) / sqrt(bb) : 1;
}

// No row that is left out may be nearer than one that is found.
static void check_found(const rows_made *m, sg_metric metric, int64_t count, const int32_t *ids,
                        const double *distances)
{
    const int64_t rows = m->dense.rows, columns = m->dense.columns;
    for (int64_t q = 0; q < rows; q += 7) {
        const float *a = m->values + q * columns;
        for (int64_t j = 0; j < count; j++) {
            const float *b = m->values + ids[q * count + j] * columns;
            const double d = distances[q * count + j];
            assert_true(ids[q * count + j] != q);
            close_to(d, distance_of(a, b, columns, metric), 1e-7);
            assert_true(j == 0 || d >= distances[q * count + j - 1]);
        }
        for (int64_t r = 0; r < rows; r++) {
            bool in = r == q;
            for (int64_t j = 0; j < count; j++)
                in = in || ids[q * count + j] == r;
            if (!in)
                assert_true(distance_of(a, m->values + r * columns, columns, metric) >=
                            distances[q * count + count - 1] - 1e-7);
        }
    }
}

static void test_exact(void **state)
{
    enum { count = 9 };
    (void)state;
    rows_made m;
    make_rows(&m, 300, 50, 20);
    int32_t ids[4][300 * count];
    double distances[4][300 * count];
    for (sg_metric metric = SG_METRIC_COSINE; metric <= SG_METRIC_EUCLIDEAN; metric++) {
        sg_neighbours_options o = sg_neighbours_options_default();
        o.count = count;
        o.metric = metric;
        for (int way = 0; way < 4; way++)
            assert_int_equal(sg_neighbours(way % 2 ? context : alone,
                                           way < 2 ? &m.sparse : &m.dense, NULL, &o, ids[way],
                                           distances[way], NULL),
                             SG_OK);
        check_found(&m, metric, count, ids[0], distances[0]);
        // Any number of threads, dense or sparse: the same bits.
        for (int way = 1; way < 4; way++) {
            assert_memory_equal(ids[0], ids[way], sizeof ids[0]);
            assert_memory_equal(distances[0], distances[way], sizeof distances[0]);
        }
    }
    free(m.values);
}

static void test_groups_and_queries(void **state)
{
    (void)state;
    const float values[] = {1, 0, 1, 0, 1, 0.1f, 0, 1, 0, 0}; // rows 0 and 1 equal, 4 of zeros
    const int64_t groups[] = {0, 0, 1, 1, 2};
    const sg_vectors rows = {5, 2, NULL, NULL, NULL, values};
    sg_neighbours_options o = sg_neighbours_options_default();
    int32_t ids[5 * 6];
    double distances[5 * 6];
    o.count = 2;
    assert_int_equal(sg_neighbours(context, &rows, NULL, &o, ids, distances, NULL), SG_OK);
    const int32_t expected[] = {1, 2, 0, 2, 0, 1, 2, 0, 0, 1}; // of equal ones the first
    assert_memory_equal(ids, expected, sizeof expected);
    assert_true(distances[0] == 0 && distances[8] == 1 && distances[9] == 1);
    o.groups = groups;
    assert_int_equal(sg_neighbours(context, &rows, NULL, &o, ids, distances, NULL), SG_OK);
    const int32_t apart[] = {2, 3, 2, 3, 0, 1, 0, 1, 0, 1};
    assert_memory_equal(ids, apart, sizeof apart);
    // More than there are; queries of another origin, of group 2.
    const int64_t group = 2;
    const sg_vectors query = {1, 2, NULL, NULL, NULL, values + 4};
    o.count = 6;
    o.query_groups = &group;
    assert_int_equal(sg_neighbours(context, &rows, &query, &o, ids, distances, NULL), SG_OK);
    const int32_t some[] = {2, 0, 1, 3, -1, -1};
    assert_memory_equal(ids, some, sizeof some);
    assert_true(isinf(distances[4]) && distances[0] == 0);
    o.groups = NULL;
    o.self = true;
    o.count = 1;
    assert_int_equal(sg_neighbours(context, &rows, NULL, &o, ids, distances, NULL), SG_OK);
    const int32_t self[] = {0, 0, 2, 3, 0};
    assert_memory_equal(ids, self, sizeof self);
}

static void refused(const sg_vectors *rows, sg_status status, const char *words)
{
    int32_t id[8];
    double distance[8];
    sg_error err = {0};
    sg_neighbours_options o = sg_neighbours_options_default();
    o.count = 1;
    assert_int_equal(sg_neighbours(context, rows, NULL, &o, id, distance, &err), status);
    assert_non_null(strstr(err.message, words));
}

static void test_refused(void **state)
{
    (void)state;
    int64_t begins[] = {0, 2, 3};
    int32_t neurons[] = {0, 1, 2};
    float scores[] = {1, 2, 3};
    const sg_vectors rows = {2, 3, begins, neurons, scores, NULL};
    neurons[1] = 0;
    refused(&rows, SG_ERR_ARGUMENT, "row 0: found column 0, expected 1 to 2");
    neurons[1] = 3;
    refused(&rows, SG_ERR_ARGUMENT, "found column 3");
    neurons[1] = 1;
    scores[2] = NAN;
    refused(&rows, SG_ERR_NUMERIC, "row 1, column 2");
    begins[2] = 1;
    refused(&rows, SG_ERR_ARGUMENT, "row 1 ends before it begins");
    const sg_vectors many = {(int64_t)1 << 40, 3, NULL, NULL, NULL, scores};
    refused(&many, SG_ERR_ARGUMENT, "rows of 3 columns");
    const sg_vectors dense = {1, 3, NULL, NULL, NULL, scores};
    refused(&dense, SG_ERR_NUMERIC, "not a finite number");
    sg_error err = {0};
    sg_umap *map;
    sg_umap_options o = sg_umap_options_default();
    const sg_vectors good = {1, 2, NULL, NULL, NULL, scores};
    o.components = 4;
    assert_int_equal(sg_umap_make(context, &good, &o, &map, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "components: found 4, expected 2 to 3"));
    o = sg_umap_options_default();
    o.min_dist = 2;
    assert_int_equal(sg_umap_make(context, &good, &o, &map, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "min-dist: found 2"));
    double value;
    assert_int_equal(sg_cka(context, &good, &good, SG_CKA_AUTO, &value, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "expected at least 2"));
}

// ---- eigenvectors -------------------------------------------------------------------------------

static void apply_path(void *user, const double *x, double *y)
{
    const int64_t n = *(const int64_t *)user;
    for (int64_t i = 0; i < n; i++)
        y[i] = (i > 0 ? x[i - 1] : x[i]) + (i + 1 < n ? x[i + 1] : x[i]);
}

// A path with loops at its ends: eigenvalues 2 cos(pi j / n), the constant vector for j = 0.
static void test_eigenvectors(void **state)
{
    (void)state;
    const int64_t sizes[] = {4, 30, 120};
    for (int s = 0; s < 3; s++) {
        int64_t n = sizes[s];
        double known[120], vectors[3 * 120], values[3];
        for (int64_t i = 0; i < n; i++)
            known[i] = 1 / sqrt((double)n);
        const sg_symmetric a = {.size = n, .apply = apply_path, .user = &n, .known = known};
        assert_int_equal(
            sg_lanczos((sg_compute){.pool = NULL}, &a, 3, 1e-7, 5, vectors, values, NULL), SG_OK);
        for (int64_t j = 0; j < 3; j++) {
            const double angle = acos(-1) * (double)(j + 1) / (double)n;
            double product = 0, length = 0;
            close_to(values[j], 2 * cos(angle), 1e-9);
            for (int64_t i = 0; i < n; i++) {
                product += vectors[j * n + i] * cos(angle * ((double)i + 0.5));
                length += vectors[j * n + i] * vectors[j * n + i];
            }
            close_to(length, 1, 1e-9);
            close_to(fabs(product) / sqrt((double)n / 2), 1, 1e-6);
        }
    }
}

// ---- maps ---------------------------------------------------------------------------------------

static sg_umap *map_of(sg_context *in, const sg_vectors *rows, const sg_umap_options *o)
{
    sg_umap *map;
    sg_error err = {0};
    if (sg_umap_make(in, rows, o, &map, &err) != SG_OK) fail_msg("%s", err.message);
    for (int64_t i = 0; i < map->rows * map->components; i++)
        assert_true(isfinite(map->positions[i]));
    return map;
}

static void test_map_threads(void **state)
{
    (void)state;
    rows_made m;
    make_rows(&m, most_rows, 120, 12);
    for (int64_t components = 2; components <= 3; components++) {
        sg_umap_options o = sg_umap_options_default();
        o.components = components;
        o.epochs = 60;
        o.quality_rows = 200;
        sg_umap *a = map_of(alone, &m.sparse, &o), *b = map_of(context, &m.sparse, &o);
        const size_t bytes = (size_t)(a->rows * components) * sizeof *a->positions;
        assert_memory_equal(a->positions, b->positions, bytes);
        assert_true(a->trustworthiness == b->trustworthiness && a->overlap == b->overlap);
        assert_true(a->trustworthiness > 0.9);
        assert_int_equal(a->quality_rows, 200);
        o.seed = 1;
        sg_umap *c = map_of(alone, &m.sparse, &o);
        assert_memory_not_equal(a->positions, c->positions, bytes);
        sg_umap_free(a);
        sg_umap_free(b);
        sg_umap_free(c);
    }
    free(m.values);
}

static void test_odd_rows(void **state)
{
    (void)state;
    float values[40 * 2] = {0};
    sg_umap_options o = sg_umap_options_default();
    o.epochs = 20;
    for (int64_t rows = 1; rows <= 40; rows += rows < 6 ? 1 : 17) {
        const sg_vectors zeros = {rows, 2, NULL, NULL, NULL, values};
        sg_umap *map = map_of(context, &zeros, &o);
        assert_int_equal(map->zeros, rows);
        assert_int_equal(map->neighbours, rows < 15 ? rows : 15);
        assert_true(rows > 2 || isnan(map->trustworthiness));
        assert_true(map->quality_neighbours * 2 < rows + 1);
        sg_umap_free(map);
    }
    // Two rows, over and over: parts that nothing joins.
    for (int64_t r = 0; r < 40; r++)
        values[2 * r + r % 2] = 1;
    const sg_vectors twins = {40, 2, NULL, NULL, NULL, values};
    sg_umap *map = map_of(context, &twins, &o);
    assert_int_equal(map->duplicates, 38);
    assert_int_equal(map->parts, 2);
    assert_int_equal(map->zeros, 0);
    sg_umap_free(map);
    const sg_vectors none = {0, 2, NULL, NULL, NULL, values};
    sg_error err = {0};
    assert_int_equal(sg_umap_make(context, &none, &o, &map, &err), SG_ERR_ARGUMENT);
}

// A map that is the space itself loses nothing; one of other rows' places nearly all.
static void test_quality(void **state)
{
    (void)state;
    enum { rows = 200 };
    float values[rows * 2], other[rows * 2];
    for (uint64_t i = 0; i < rows * 2; i++) {
        values[i] = (float)sg_rng_uniform(3, 1, i);
        other[i] = (float)sg_rng_uniform(3, 2, i);
    }
    const sg_vectors v = {rows, 2, NULL, NULL, NULL, values};
    sg_umap map;
    sg_umap_options o = sg_umap_options_default();
    o.metric = SG_METRIC_EUCLIDEAN;
    assert_int_equal(sg_umap_quality(context, &v, values, &o, &map, NULL), SG_OK);
    assert_true(map.trustworthiness == 1 && map.overlap == 1);
    assert_int_equal(sg_umap_quality(context, &v, other, &o, &map, NULL), SG_OK);
    close_to(map.trustworthiness, 0.5, 0.05);
    close_to(map.overlap, 15.0 / rows, 0.03);
}

static bool stop_at_once(void *user, int64_t done, int64_t total)
{
    (void)done;
    (void)total;
    return (*(int *)user)-- > 0;
}

static void test_stops(void **state)
{
    (void)state;
    rows_made m;
    make_rows(&m, 100, 40, 5);
    const int64_t live = sg_alloc_live();
    sg_umap_options o = sg_umap_options_default();
    o.progress = stop_at_once;
    o.epochs = 10;
    int stopped = 0;
    for (int after = 0;; after++) {
        int left = after;
        sg_umap *map = NULL;
        sg_error err = {0};
        o.user = &left;
        const sg_status status = sg_umap_make(context, &m.sparse, &o, &map, &err);
        if (status == SG_OK) {
            sg_umap_free(map);
            break;
        }
        assert_int_equal(status, SG_ERR_STOPPED);
        assert_int_equal(sg_alloc_live(), live);
        stopped++;
    }
    assert_int_equal(stopped, 12); // neighbours, ten epochs, quality
    free(m.values);
}

// ---- likeness of spaces -------------------------------------------------------------------------

static void test_cka(void **state)
{
    (void)state;
    rows_made m, n;
    make_rows(&m, 150, 60, 9);
    make_rows(&n, 150, 30, 4);
    double value, again, scaled;
    for (sg_cka_form form = SG_CKA_AUTO; form <= SG_CKA_GRAM; form++) {
        assert_int_equal(sg_cka(alone, &m.sparse, &m.dense, form, &value, NULL), SG_OK);
        close_to(value, 1, 1e-9);
        assert_int_equal(sg_cka(alone, &m.sparse, &n.dense, form, &value, NULL), SG_OK);
        assert_int_equal(sg_cka(context, &m.sparse, &n.sparse, form, &again, NULL), SG_OK);
        assert_true(value == again);
        for (int64_t i = 0; i < n.begins[150]; i++)
            n.scores[i] *= -2;
        assert_int_equal(sg_cka(context, &m.sparse, &n.sparse, form, &scaled, NULL), SG_OK);
        close_to(scaled, value, 1e-12);
        for (int64_t i = 0; i < n.begins[150]; i++)
            n.scores[i] *= -0.5f;
    }
    // The same in all rows: there is nothing to be like.
    for (int64_t i = 0; i < 150 * 30; i++)
        n.values[i] = (float)(i % 30) / 7;
    for (sg_cka_form form = SG_CKA_FEATURES; form <= SG_CKA_GRAM; form++) {
        assert_int_equal(sg_cka(context, &m.sparse, &n.dense, form, &value, NULL), SG_OK);
        assert_true(value == 0);
    }
    free(m.values);
    free(n.values);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status all_of_it(void *user, sg_error *err)
{
    const rows_made *m = user;
    sg_umap *map;
    double value;
    sg_umap_options o = sg_umap_options_default();
    o.epochs = 2;
    SG_TRY(sg_umap_make(alone, &m->sparse, &o, &map, err));
    sg_umap_free(map);
    SG_TRY(sg_cka(alone, &m->sparse, &m->dense, SG_CKA_FEATURES, &value, err));
    return sg_cka(alone, &m->sparse, &m->dense, SG_CKA_GRAM, &value, err);
}

static void test_memory(void **state)
{
    (void)state;
    rows_made m;
    make_rows(&m, 60, 20, 3);
    assert_true(alloc_failure_loop(all_of_it, &m) > 40);
    free(m.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),       cmocka_unit_test(test_groups_and_queries),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_eigenvectors),
        cmocka_unit_test(test_map_threads), cmocka_unit_test(test_odd_rows),
        cmocka_unit_test(test_quality),     cmocka_unit_test(test_stops),
        cmocka_unit_test(test_cka),         cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
