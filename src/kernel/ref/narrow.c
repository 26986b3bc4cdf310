// Weights in bf16, f16 or int8: widened one by one and used as the wide kernels use theirs.
#include "base/half.h"
#include "kernel/ref/ref.h"

void sg_ref_to_bf16(sg_bf16 *y, const sg_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = sg_bf16_round((float)x[i]);
}

void sg_ref_from_bf16(sg_real *y, const sg_bf16 *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = sg_bf16_value(x[i]);
}

void sg_ref_from_int8(sg_real *y, const int8_t *q, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (sg_real)scale * q[i];
}

static sg_real ref_dot_bf16(const sg_real *x, const sg_bf16 *w, int64_t n)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * sg_bf16_value(w[i]);
    return sum;
}

static sg_real ref_dot_int8(const sg_real *x, const int8_t *q, float scale, int64_t n)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * q[i];
    return scale * sum;
}

void sg_ref_thin_product_bf16(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] = ref_dot_bf16(x + i * ldx, w + j * ldw, d);
}

void sg_ref_thin_product_int8(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                              int64_t d)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] = ref_dot_int8(x + i * ldx, w + j * ldw, scales[j], d);
}

void sg_ref_gather_dots_bf16(sg_real *a, const sg_real *x, const sg_bf16 *table,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        a[j] = ref_dot_bf16(x, table + rows[j] * d, d);
}

void sg_ref_gather_sum_bf16(sg_real *y, const sg_real *z, const sg_bf16 *table, const int32_t *rows,
                            const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < d; i++)
            y[i] += z[j] * sg_bf16_value(table[rows[j] * d + i]);
}

void sg_ref_gather_dots_pairs(sg_real *a, const sg_bf16 *x, const sg_bf16 *table,
                              const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++) {
        const sg_bf16 *w = table + rows[j] * d;
        a[j] = 0;
        for (int64_t i = 0; i < d; i++)
            a[j] += (sg_real)sg_bf16_value(x[i]) * sg_bf16_value(w[i]);
    }
}

void sg_ref_slice_sum(sg_real *y, const sg_real *z, const sg_bf16 *slice, const int32_t *rows,
                      int64_t count, int64_t known, int64_t n, bool add)
{
    (void)known;
    for (int64_t i = 0; i < n; i++) {
        sg_real sum = add ? y[i] : 0;
        for (int64_t j = 0; j < count; j++)
            sum += z[j] * sg_bf16_value(slice[rows[j] * SG_SLICE + i]);
        y[i] = sum;
    }
}

void sg_ref_slice_both(sg_real *a, sg_real *y, const sg_bf16 *x, const sg_real *z,
                       const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                       int64_t n, bool add_a, bool add_y)
{
    for (int64_t j = 0; j < count; j++) {
        sg_real dot;
        sg_ref_gather_dots_pairs(&dot, x, slice, rows + j, NULL, 1, SG_SLICE);
        a[j] = add_a ? a[j] + dot : dot;
    }
    sg_ref_slice_sum(y, z, slice, rows, count, known, n, add_y);
}

void sg_ref_gather_dots_int8(sg_real *a, const sg_real *x, const int8_t *table, const float *scales,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        a[j] = ref_dot_int8(x, table + rows[j] * d, scales[rows[j]], d);
}

void sg_ref_gather_sum_int8(sg_real *y, const sg_real *z, const int8_t *table, const float *scales,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < d; i++)
            y[i] += z[j] * scales[rows[j]] * table[rows[j] * d + i];
}

// ---- halves -----------------------------------------------------------------------------------

void sg_ref_from_f16(sg_real *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = sg_half_value(x[i]);
}

static sg_real ref_dot_f16(const sg_real *x, const uint16_t *w, int64_t n)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * sg_half_value(w[i]);
    return sum;
}

void sg_ref_thin_product_f16(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                             const uint16_t *w, int64_t ldw, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] = ref_dot_f16(x + i * ldx, w + j * ldw, d);
}

void sg_ref_gather_dots_f16(sg_real *a, const sg_real *x, const uint16_t *table,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        a[j] = ref_dot_f16(x, table + rows[j] * d, d);
}

void sg_ref_gather_sum_f16(sg_real *y, const sg_real *z, const uint16_t *table, const int32_t *rows,
                           const int32_t *next, int64_t count, int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < d; i++)
            y[i] += z[j] * sg_half_value(table[rows[j] * d + i]);
}
