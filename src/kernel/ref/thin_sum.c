// Sums of rows for a few rows of weights (kernel/kernel.h).
#include "kernel/ref/ref.h"

void sg_ref_thin_sum(sg_real *y, int64_t ldy, const sg_real *s, int64_t lds, int64_t m,
                     const sg_real *v, int64_t ldv, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            sg_ref_axpy(y + i * ldy, s[i * lds + j], v + j * ldv, d);
}
