// Softmax of rows, with the largest element taken out first so that exp cannot overflow. A row that
// holds a NaN, or nothing but -inf, becomes NaN throughout.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

void sg_ref_softmax_forward(sg_real *y, const sg_real *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows && n > 0; r++, x += n, y += n) {
        sg_real sum = sg_ref_exp_sum(y, x, sg_ref_max(x, n), n);
        sg_ref_scale(y, 1 / sum, n);
    }
}

void sg_ref_softmax_backward(sg_real *dx, const sg_real *dy, const sg_real *y, int64_t rows,
                             int64_t n, bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        sg_real sum = sg_ref_dot(dy, y, n);
        for (int64_t i = 0; i < n; i++) {
            sg_real value = y[i] * (dy[i] - sum);
            dx[i] = accumulate ? dx[i] + value : value;
        }
    }
}

void sg_ref_attention_row(sg_real *s, sg_real *dp, sg_real lse, sg_real delta, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        s[i] = sg_real_exp(s[i] - lse);
        dp[i] = s[i] * (dp[i] - delta);
    }
}

void sg_ref_attention_key(sg_real *s, sg_real *dp, const sg_real *lse, const sg_real *delta,
                          int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        s[i] = sg_real_exp(s[i] - lse[i]);
        dp[i] = s[i] * (dp[i] - delta[i]);
    }
}
