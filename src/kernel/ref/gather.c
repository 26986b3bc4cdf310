// Sparse memory: products with, and sums of, table rows picked by index.
#include "kernel/ref/ref.h"

void sg_ref_gather_dots(sg_real *a, const sg_real *x, const sg_real *table, const int32_t *rows,
                        int64_t count, int64_t d)
{
    for (int64_t j = 0; j < count; j++)
        a[j] = sg_ref_dot(x, table + (int64_t)rows[j] * d, d);
}

void sg_ref_gather_sum(sg_real *y, const sg_real *z, const sg_real *table, const int32_t *rows,
                       int64_t count, int64_t d)
{
    for (int64_t j = 0; j < count; j++)
        sg_ref_axpy(y, z[j], table + (int64_t)rows[j] * d, d);
}
