// Keys of all rows for a query: of cosine a.b / (|a| |b|), the rows being stored as unit vectors,
// and 0 where one of them is 0; of Euclidean distance 2 a.b - |b|^2, which is |a|^2 - |a - b|^2.
#include "probe/scan.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"

enum { scan_block = 4096 }; // rows: their keys fill a first-level cache

// ---- rows ---------------------------------------------------------------------------------------

static sg_status vectors_check_sparse(const sg_vectors *v, const char *name, sg_error *err)
{
    if (v->begins[0] != 0) return sg_fail(err, SG_ERR_ARGUMENT, "%s: rows do not begin at 0", name);
    for (int64_t r = 0; r < v->rows; r++) {
        if (v->begins[r + 1] < v->begins[r])
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: row %lld ends before it begins", name,
                           (long long)r);
        for (int64_t i = v->begins[r]; i < v->begins[r + 1]; i++) {
            const int64_t least = i > v->begins[r] ? v->neurons[i - 1] + (int64_t)1 : 0;
            if (v->neurons[i] < least || v->neurons[i] >= v->columns)
                return sg_fail(
                    err, SG_ERR_ARGUMENT, "%s: row %lld: found column %d, expected %lld to %lld",
                    name, (long long)r, v->neurons[i], (long long)least, (long long)v->columns - 1);
            if (!isfinite(v->scores[i]))
                return sg_fail(err, SG_ERR_NUMERIC, "%s: row %lld, column %d: not a finite number",
                               name, (long long)r, v->neurons[i]);
        }
    }
    return SG_OK;
}

sg_status sg_vectors_check(const sg_vectors *v, const char *name, sg_error *err)
{
    if (v->rows < 0 || v->rows > INT32_MAX || v->columns < 0 || v->columns > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found %lld rows of %lld columns, expected at most %d of each", name,
                       (long long)v->rows, (long long)v->columns, INT32_MAX);
    if (v->begins != NULL) return vectors_check_sparse(v, name, err);
    if (v->values == NULL && v->rows * v->columns > 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found no numbers", name);
    for (int64_t i = 0; i < v->rows * v->columns; i++)
        if (!isfinite(v->values[i]))
            return sg_fail(err, SG_ERR_NUMERIC, "%s: row %lld, column %lld: not a finite number",
                           name, (long long)(i / v->columns), (long long)(i % v->columns));
    return SG_OK;
}

int64_t sg_vectors_longest(const sg_vectors *v)
{
    int64_t longest = 0;
    if (v->begins == NULL) return v->columns;
    for (int64_t r = 0; r < v->rows; r++)
        if (v->begins[r + 1] - v->begins[r] > longest) longest = v->begins[r + 1] - v->begins[r];
    return longest;
}

int64_t sg_vectors_row(const sg_vectors *v, int64_t row, int32_t *columns, double *values)
{
    const bool sparse = v->begins != NULL;
    const int64_t first = sparse ? v->begins[row] : row * v->columns;
    const int64_t end = sparse ? v->begins[row + 1] : first + v->columns;
    int64_t count = 0;
    for (int64_t i = first; i < end; i++) {
        const float value = sparse ? v->scores[i] : v->values[i];
        if (value == 0) continue;
        columns[count] = sparse ? v->neurons[i] : (int32_t)(i - first);
        values[count++] = value;
    }
    return count;
}

static double vectors_square(const sg_vectors *v, int64_t row)
{
    const bool sparse = v->begins != NULL;
    const float *values = sparse ? v->scores + v->begins[row] : v->values + row * v->columns;
    const int64_t count = sparse ? v->begins[row + 1] - v->begins[row] : v->columns;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)values[i] * values[i];
    return sum;
}

int64_t sg_vectors_zeros(const sg_vectors *v)
{
    int64_t zeros = 0;
    for (int64_t r = 0; r < v->rows; r++)
        zeros += vectors_square(v, r) == 0;
    return zeros;
}

// ---- the index ----------------------------------------------------------------------------------

static sg_status scan_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for an index of rows");
}

// What the numbers of a row are multiplied by where it is stored.
static double scan_scale(const sg_scan *s, double square)
{
    if (s->metric != SG_METRIC_COSINE) return 1;
    return square > 0 ? 1 / sqrt(square) : 0;
}

static sg_status scan_index_dense(sg_scan *s, const sg_vectors *v, sg_error *err)
{
    s->weights = sg_alloc_zero((size_t)(s->blocks * s->columns), (size_t)s->block * sizeof(double));
    if (s->weights == NULL) return scan_memory(err);
    for (int64_t r = 0; r < s->rows; r++) {
        const double scale = scan_scale(s, vectors_square(v, r));
        double *to = s->weights + r / s->block * s->columns * s->block + r % s->block;
        for (int64_t c = 0; c < s->columns; c++)
            to[c * s->block] = v->values[r * s->columns + c] * scale;
    }
    return SG_OK;
}

// A counting sort by block and column; within these by row.
static sg_status scan_index_sparse(sg_scan *s, const sg_vectors *v, sg_error *err)
{
    const int64_t lists = s->blocks * s->columns, numbers = v->begins[s->rows];
    s->begins = sg_alloc_zero((size_t)lists + 2, sizeof *s->begins);
    s->places = sg_alloc_array((size_t)numbers, sizeof *s->places);
    s->weights = sg_alloc_array((size_t)numbers, sizeof *s->weights);
    if (s->begins == NULL || s->places == NULL || s->weights == NULL) return scan_memory(err);
    for (int64_t r = 0; r < s->rows; r++)
        for (int64_t i = v->begins[r]; i < v->begins[r + 1]; i++)
            s->begins[r / s->block * s->columns + v->neurons[i] + 2]++;
    for (int64_t i = 0; i < lists; i++)
        s->begins[i + 2] += s->begins[i + 1];
    // begins[l + 1] is where list l goes on, and in the end where it ends.
    for (int64_t r = 0; r < s->rows; r++) {
        const double scale = scan_scale(s, vectors_square(v, r));
        for (int64_t i = v->begins[r]; i < v->begins[r + 1]; i++) {
            const int64_t at = s->begins[r / s->block * s->columns + v->neurons[i] + 1]++;
            s->places[at] = (int32_t)(r % s->block);
            s->weights[at] = v->scores[i] * scale;
        }
    }
    return SG_OK;
}

sg_status sg_scan_begin(const sg_vectors *v, int metric, sg_scan *s, sg_error *err)
{
    *s = (sg_scan){.rows = v->rows, .columns = v->columns, .block = scan_block, .metric = metric};
    // Many columns and few numbers: larger blocks, so that the lists do not outgrow the numbers.
    const int64_t room = 65536 + (v->begins != NULL ? 8 * v->begins[v->rows] : INT64_MAX / 2);
    while (s->block < s->rows && (s->rows / s->block + 1) * s->columns > room)
        s->block *= 2;
    s->blocks = (s->rows + s->block - 1) / s->block;
    s->bases = sg_alloc_zero((size_t)s->rows, sizeof *s->bases);
    sg_status status = s->bases == NULL    ? scan_memory(err)
                       : v->begins != NULL ? scan_index_sparse(s, v, err)
                                           : scan_index_dense(s, v, err);
    for (int64_t r = 0; status == SG_OK && metric == SG_METRIC_EUCLIDEAN && r < s->rows; r++)
        s->bases[r] = -vectors_square(v, r);
    if (status != SG_OK) sg_scan_end(s);
    return status;
}

void sg_scan_end(sg_scan *s)
{
    sg_free(s->begins);
    sg_free(s->places);
    sg_free(s->weights);
    sg_free(s->bases);
    *s = (sg_scan){0};
}

// ---- queries ------------------------------------------------------------------------------------

void sg_scan_query_set(const sg_scan *s, const sg_vectors *v, int64_t row, sg_scan_query *q)
{
    q->square = vectors_square(v, row);
    q->count = sg_vectors_row(v, row, q->columns, q->weights);
    const double scale = s->metric == SG_METRIC_EUCLIDEAN ? 2 : scan_scale(s, q->square);
    for (int64_t i = 0; i < q->count; i++)
        q->weights[i] *= scale;
}

// Four columns at a time, with the sums of one at a time.
static void scan_add_dense(const sg_scan *s, const sg_scan_query *q, const double *block,
                           int64_t rows, double *restrict keys)
{
    int64_t i = 0;
    for (; i + 4 <= q->count; i += 4) {
        const double *const a = block + q->columns[i] * s->block;
        const double *const b = block + q->columns[i + 1] * s->block;
        const double *const c = block + q->columns[i + 2] * s->block;
        const double *const d = block + q->columns[i + 3] * s->block;
        const double *const w = q->weights + i;
        for (int64_t r = 0; r < rows; r++)
            keys[r] = (((keys[r] + w[0] * a[r]) + w[1] * b[r]) + w[2] * c[r]) + w[3] * d[r];
    }
    for (; i < q->count; i++) {
        const double *const a = block + q->columns[i] * s->block;
        for (int64_t r = 0; r < rows; r++)
            keys[r] += q->weights[i] * a[r];
    }
}

int64_t sg_scan_keys(const sg_scan *s, const sg_scan_query *q, int64_t block, double *restrict keys)
{
    const int64_t first = block * s->block;
    const int64_t rows = s->rows - first < s->block ? s->rows - first : s->block;
    memcpy(keys, s->bases + first, (size_t)rows * sizeof *keys);
    if (s->begins == NULL) {
        scan_add_dense(s, q, s->weights + first * s->columns, rows, keys);
        return rows;
    }
    for (int64_t i = 0; i < q->count; i++) {
        const int64_t *const begins = s->begins + block * s->columns + q->columns[i];
        const double weight = q->weights[i];
        for (int64_t at = begins[0]; at < begins[1]; at++)
            keys[s->places[at]] += weight * s->weights[at];
    }
    return rows;
}

double sg_scan_distance(const sg_scan *s, const sg_scan_query *q, double key)
{
    if (s->metric == SG_METRIC_EUCLIDEAN) return sqrt(fmax(q->square - key, 0));
    return 1 - key < 4 * DBL_EPSILON ? 0 : 1 - key; // what rounding leaves of equal directions
}
