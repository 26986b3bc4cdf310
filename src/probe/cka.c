// Linear centred kernel alignment (Kornblith et al. 2019). X (n, p) and Y (n, q) with their columns
// centred, in one of two forms of the same value:
//
//     features   |X'Y|^2 / (|X'X| |Y'Y|), Frobenius norms; (X'Y)_ab = sum_r x_ra y_rb - n mean_a mean_b
//     Gram       HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of K = XX', L = YY', H = 1 - 1/n:
//                (n - 1)^2 HSIC(K, L) = tr(KHLH) = sum_ij K_ij L_ij - 2/n sum_i k_i l_i + k l / n^2,
//                k_i and k being sums of row i and of all
//
// Neither holds more than a row a thread of the products or of the Gram matrices. All in double;
// the sums of rows are added in their order.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "probe/scan.h"

enum { cka_chunk = 8, cka_pairs = 3 }; // pairs: XY, XX, YY
#define CKA_NOTHING      1e-24         // what rounding leaves of a constant matrix: of squares,
#define CKA_NOTHING_LEFT 1e-13         // and of a difference of sums

typedef struct cka_matrix {
    const sg_vectors *vectors;
    int64_t *begins; // (columns + 2): the numbers of a column, where it is sparse
    int32_t *rows;
    float *values;
    double *means; // (columns)
    sg_scan scan;  // of the Gram form
} cka_matrix;

typedef struct cka_scratch {
    double *sums[2];        // (rows or columns)
    sg_scan_query query[2]; // of the Gram form
} cka_scratch;

typedef struct cka {
    cka_matrix of[2];
    int64_t rows;
    int left, right;      // of the pair that is worked on
    double *parts;        // (items, 2) of features: squares, before and behind centring;
                          // (rows, 5) of Gram: KL, KK, LL, k, l
    cka_scratch *scratch; // (threads)
    int threads;
} cka;

static sg_status cka_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for centred kernel alignment");
}

static int64_t cka_row_count(const sg_vectors *v, int64_t row)
{
    return v->begins != NULL ? v->begins[row + 1] - v->begins[row] : v->columns;
}

// ---- features -----------------------------------------------------------------------------------

// The columns of a sparse matrix as lists, and all means.
static sg_status cka_columns(cka_matrix *m, sg_error *err)
{
    const sg_vectors *v = m->vectors;
    const int64_t numbers = v->begins != NULL ? v->begins[v->rows] : v->rows * v->columns;
    m->means = sg_alloc_zero((size_t)v->columns, sizeof *m->means);
    if (v->begins != NULL) {
        m->begins = sg_alloc_zero((size_t)v->columns + 2, sizeof *m->begins);
        m->rows = sg_alloc_array((size_t)numbers, sizeof *m->rows);
        m->values = sg_alloc_array((size_t)numbers, sizeof *m->values);
    }
    if (m->means == NULL ||
        (v->begins != NULL && (m->begins == NULL || m->rows == NULL || m->values == NULL)))
        return cka_memory(err);
    for (int64_t i = 0; i < numbers; i++)
        if (v->begins != NULL) {
            m->means[v->neurons[i]] += v->scores[i];
            m->begins[v->neurons[i] + 2]++;
        } else {
            m->means[i % v->columns] += v->values[i];
        }
    for (int64_t c = 0; c < v->columns; c++)
        m->means[c] /= (double)v->rows;
    for (int64_t c = 0; v->begins != NULL && c < v->columns; c++)
        m->begins[c + 2] += m->begins[c + 1];
    for (int64_t r = 0; v->begins != NULL && r < v->rows; r++)
        for (int64_t i = v->begins[r]; i < v->begins[r + 1]; i++) {
            const int64_t at = m->begins[v->neurons[i] + 1]++;
            m->rows[at] = (int32_t)r;
            m->values[at] = v->scores[i];
        }
    return SG_OK;
}

// sums (columns) += x times a row.
static void cka_add_row(const sg_vectors *v, int64_t row, double x, double *restrict sums)
{
    if (v->begins == NULL) {
        const float *values = v->values + row * v->columns;
        for (int64_t c = 0; c < v->columns; c++)
            sums[c] += x * values[c];
        return;
    }
    for (int64_t i = v->begins[row]; i < v->begins[row + 1]; i++)
        sums[v->neurons[i]] += x * v->scores[i];
}

// Rows of X'Y: one a column of X.
static void cka_feature_rows(void *context, sg_range range)
{
    const cka *k = context;
    const cka_matrix *x = &k->of[k->left], *y = &k->of[k->right];
    const sg_vectors *v = x->vectors;
    double *sums = k->scratch[range.worker].sums[0];
    for (int64_t a = range.first; a < range.end; a++) {
        memset(sums, 0, (size_t)y->vectors->columns * sizeof *sums);
        if (v->begins != NULL)
            for (int64_t i = x->begins[a]; i < x->begins[a + 1]; i++)
                cka_add_row(y->vectors, x->rows[i], x->values[i], sums);
        else
            for (int64_t r = 0; r < v->rows; r++)
                cka_add_row(y->vectors, r, v->values[r * v->columns + a], sums);
        double before = 0, behind = 0;
        for (int64_t b = 0; b < y->vectors->columns; b++) {
            const double centred = sums[b] - (double)k->rows * x->means[a] * y->means[b];
            before += sums[b] * sums[b];
            behind += centred * centred;
        }
        k->parts[2 * a] = before;
        k->parts[2 * a + 1] = behind;
    }
}

static double cka_feature_pair(cka *k, sg_pool *pool, int left, int right)
{
    const int64_t columns = k->of[left].vectors->columns;
    double before = 0, behind = 0;
    k->left = left;
    k->right = right;
    sg_parallel_ranges(pool, columns, cka_chunk, cka_feature_rows, k);
    for (int64_t a = 0; a < columns; a++) {
        before += k->parts[2 * a];
        behind += k->parts[2 * a + 1];
    }
    return behind > CKA_NOTHING * before ? behind : 0;
}

static sg_status cka_features(cka *k, sg_pool *pool, double pairs[cka_pairs], sg_error *err)
{
    const int64_t p = k->of[0].vectors->columns, q = k->of[1].vectors->columns;
    const size_t most = (size_t)(p > q ? p : q);
    SG_TRY(cka_columns(&k->of[0], err));
    SG_TRY(cka_columns(&k->of[1], err));
    k->parts = sg_alloc_array(most, 2 * sizeof *k->parts);
    if (k->parts == NULL) return cka_memory(err);
    for (int t = 0; t < k->threads; t++) {
        k->scratch[t].sums[0] = sg_alloc_array(most, sizeof *k->scratch[t].sums[0]);
        if (k->scratch[t].sums[0] == NULL) return cka_memory(err);
    }
    pairs[0] = cka_feature_pair(k, pool, 0, 1);
    pairs[1] = cka_feature_pair(k, pool, 0, 0);
    pairs[2] = cka_feature_pair(k, pool, 1, 1);
    return SG_OK;
}

// ---- Gram matrices ------------------------------------------------------------------------------

static void cka_gram_rows(void *context, sg_range range)
{
    const cka *k = context;
    cka_scratch *s = &k->scratch[range.worker];
    for (int64_t i = range.first; i < range.end; i++) {
        double sums[5] = {0};
        for (int m = 0; m < 2; m++) {
            const sg_scan *scan = &k->of[m].scan;
            sg_scan_query_set(scan, k->of[m].vectors, i, &s->query[m]);
            for (int64_t b = 0; b < scan->blocks; b++)
                sg_scan_keys(scan, &s->query[m], b, s->sums[m] + b * scan->block);
        }
        for (int64_t j = 0; j < k->rows; j++) {
            const double x = s->sums[0][j], y = s->sums[1][j];
            sums[0] += x * y;
            sums[1] += x * x;
            sums[2] += y * y;
            sums[3] += x;
            sums[4] += y;
        }
        memcpy(k->parts + 5 * i, sums, sizeof sums);
    }
}

static sg_status cka_gram_prepare(cka *k, sg_error *err)
{
    for (int m = 0; m < 2; m++)
        SG_TRY(sg_scan_begin(k->of[m].vectors, SG_SCAN_PRODUCT, &k->of[m].scan, err));
    k->parts = sg_alloc_array((size_t)k->rows, 5 * sizeof *k->parts);
    if (k->parts == NULL) return cka_memory(err);
    for (int t = 0; t < k->threads; t++)
        for (int m = 0; m < 2; m++) {
            cka_scratch *s = &k->scratch[t];
            const size_t longest = (size_t)sg_vectors_longest(k->of[m].vectors);
            s->sums[m] = sg_alloc_array((size_t)k->rows, sizeof *s->sums[m]);
            s->query[m].columns = sg_alloc_array(longest, sizeof *s->query[m].columns);
            s->query[m].weights = sg_alloc_array(longest, sizeof *s->query[m].weights);
            if (s->sums[m] == NULL || s->query[m].columns == NULL || s->query[m].weights == NULL)
                return cka_memory(err);
        }
    return SG_OK;
}

static sg_status cka_gram(cka *k, sg_pool *pool, double pairs[cka_pairs], sg_error *err)
{
    static const int left[cka_pairs] = {3, 3, 4}, right[cka_pairs] = {4, 3, 4};
    const double n = (double)k->rows;
    SG_TRY(cka_gram_prepare(k, err));
    sg_parallel_ranges(pool, k->rows, cka_chunk, cka_gram_rows, k);
    for (int p = 0; p < cka_pairs; p++) {
        double sum = 0, product = 0, x = 0, y = 0;
        for (int64_t i = 0; i < k->rows; i++) {
            const double *part = k->parts + 5 * i;
            sum += part[p];
            product += part[left[p]] * part[right[p]];
            x += part[left[p]];
            y += part[right[p]];
        }
        pairs[p] = sum - 2 / n * product + x * y / (n * n);
        if (pairs[p] <= CKA_NOTHING_LEFT * sum) pairs[p] = 0; // of XY, HSIC is not negative
    }
    return SG_OK;
}

// ---- which form ---------------------------------------------------------------------------------

// Whether the sum over pairs of numbers in a row is more than that over pairs in a column.
static bool cka_gram_is_cheaper(const sg_vectors *x, const sg_vectors *y)
{
    const double n = (double)x->rows, p = (double)x->columns, q = (double)y->columns;
    double features = p * q + p * p + q * q, numbers = 0;
    for (int64_t r = 0; r < x->rows; r++) {
        const double a = (double)cka_row_count(x, r), b = (double)cka_row_count(y, r);
        features += a * b + a * a + b * b;
        numbers += a + b;
    }
    // A number meets those of its column, of which there are as many rows as hold it: all in a
    // dense matrix, and taken as evenly spread in a sparse one.
    double gram = 2 * n * n;
    gram += x->begins == NULL ? n * n * p : numbers * numbers / (p > 0 ? p : 1) / 4;
    gram += y->begins == NULL ? n * n * q : numbers * numbers / (q > 0 ? q : 1) / 4;
    return gram < features;
}

static void cka_free(cka *k)
{
    for (int m = 0; m < 2; m++) {
        sg_free(k->of[m].begins);
        sg_free(k->of[m].rows);
        sg_free(k->of[m].values);
        sg_free(k->of[m].means);
        sg_scan_end(&k->of[m].scan);
        for (int t = 0; k->scratch != NULL && t < k->threads; t++) {
            sg_free(k->scratch[t].sums[m]);
            sg_free(k->scratch[t].query[m].columns);
            sg_free(k->scratch[t].query[m].weights);
        }
    }
    sg_free(k->parts);
    sg_free(k->scratch);
}

static sg_status cka_check(const sg_vectors *x, const sg_vectors *y, sg_cka_form form,
                           sg_error *err)
{
    if (x->rows != y->rows)
        return sg_fail(err, SG_ERR_MISMATCH, "cka: found %lld rows and %lld, expected as many",
                       (long long)x->rows, (long long)y->rows);
    if (x->rows < 2)
        return sg_fail(err, SG_ERR_ARGUMENT, "cka: found %lld rows, expected at least 2",
                       (long long)x->rows);
    if (form != SG_CKA_AUTO && form != SG_CKA_FEATURES && form != SG_CKA_GRAM)
        return sg_fail(err, SG_ERR_ARGUMENT, "form: found %d, expected 0 to 2", (int)form);
    SG_TRY(sg_vectors_check(x, "x", err));
    return sg_vectors_check(y, "y", err);
}

sg_status sg_cka(sg_context *context, const sg_vectors *x, const sg_vectors *y, sg_cka_form form,
                 double *value, sg_error *err)
{
    double pairs[cka_pairs] = {0};
    sg_pool *pool = context->compute.pool;
    SG_TRY(cka_check(x, y, form, err));
    cka k = {
        .of = {{.vectors = x}, {.vectors = y}}, .rows = x->rows, .threads = sg_pool_threads(pool)};
    const bool gram = form == SG_CKA_GRAM || (form == SG_CKA_AUTO && cka_gram_is_cheaper(x, y));
    k.scratch = sg_alloc_zero((size_t)k.threads, sizeof *k.scratch);
    sg_status status = k.scratch == NULL ? cka_memory(err)
                       : gram            ? cka_gram(&k, pool, pairs, err)
                                         : cka_features(&k, pool, pairs, err);
    cka_free(&k);
    if (status != SG_OK) return status;
    const double scale = sqrt(pairs[1]) * sqrt(pairs[2]);
    *value = scale > 0 ? pairs[0] / scale : 0;
    return SG_OK;
}
