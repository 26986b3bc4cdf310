// Vector kernels: sums run from the first element to the last.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

sg_real sg_ref_dot(const sg_real *a, const sg_real *b, int64_t n)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

void sg_ref_axpy(sg_real *y, sg_real alpha, const sg_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += alpha * x[i];
}

void sg_ref_add(sg_real *y, const sg_real *a, const sg_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void sg_ref_scale(sg_real *y, sg_real alpha, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] *= alpha;
}

double sg_ref_sum_squares(const sg_real *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

sg_real sg_ref_max(const sg_real *x, int64_t n)
{
    sg_real max = x[0];
    for (int64_t i = 1; i < n; i++)
        if (x[i] > max) max = x[i];
    return max;
}

sg_real sg_ref_exp_sum(sg_real *y, const sg_real *x, sg_real shift, int64_t n)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < n; i++) {
        y[i] = sg_real_exp(x[i] - shift);
        sum += y[i];
    }
    return sum;
}

void sg_ref_thin_product(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                         const sg_real *w, int64_t ldw, int64_t n, int64_t d)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] = sg_ref_dot(x + i * ldx, w + j * ldw, d);
}

void sg_ref_add_forward(sg_target y, const sg_real *a, const sg_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sg_target_write(y, i, a[i] + b[i]);
}

int64_t sg_ref_multiply_adds(sg_real *y, sg_real a, sg_real b, int64_t times)
{
    for (int64_t i = 0; i < times; i++)
        for (int c = 0; c < SG_CHAINS; c++)
            y[c] = y[c] * a + b;
    return 2 * SG_CHAINS * times;
}
