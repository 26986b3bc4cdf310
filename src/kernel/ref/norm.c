// RMSNorm (Zhang & Sennrich 2019) and rotary positions (Su et al. 2021), row by row.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

void sg_ref_rmsnorm_forward(sg_real *y, sg_real *rstd, const sg_real *x, const sg_real *w,
                            int64_t rows, int64_t d, double eps)
{
    for (int64_t r = 0; r < rows; r++, x += d, y += d) {
        sg_real mean = sg_ref_dot(x, x, d) / (sg_real)d;
        rstd[r] = 1 / sg_real_sqrt(mean + (sg_real)eps);
        for (int64_t i = 0; i < d; i++)
            y[i] = x[i] * (rstd[r] * w[i]);
    }
}

// With n_i = x_i rstd and h_i = dy_i w_i:  dx_i = rstd (h_i - n_i mean(h n)),  dw_i = sum dy_i n_i.
void sg_ref_rmsnorm_backward(sg_real *dx, sg_real *dw, const sg_real *dy, const sg_real *x,
                             const sg_real *w, const sg_real *rstd, int64_t rows, int64_t d,
                             bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x += d, dy += d, dx += d) {
        sg_real sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += dy[i] * w[i] * x[i];
        sg_real mean = sum * rstd[r] / (sg_real)d;
        for (int64_t i = 0; i < d; i++) {
            sg_real normed = x[i] * rstd[r];
            sg_real value = rstd[r] * (dy[i] * w[i] - normed * mean);
            dw[i] += dy[i] * normed;
            dx[i] = accumulate ? dx[i] + value : value;
        }
    }
}

void sg_ref_rope(sg_real *y, const sg_real *x, const sg_real *cosines, const sg_real *sines,
                 int64_t heads, int64_t head_dim, int64_t half, sg_real s)
{
    for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim) {
        for (int64_t i = 0; i < half; i++) {
            sg_real x1 = x[i], x2 = x[half + i], c = cosines[i], t = s * sines[i];
            y[i] = x1 * c - x2 * t;
            y[half + i] = x2 * c + x1 * t;
        }
        for (int64_t i = 2 * half; i < head_dim; i++)
            y[i] = x[i];
    }
}
