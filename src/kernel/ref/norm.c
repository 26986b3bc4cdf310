// RMSNorm (Zhang & Sennrich 2019) and rotary positions (Su et al. 2021), row by row.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

// Of a row, from left to right.
static sg_real norm_squares(sg_source x, int64_t d)
{
    sg_real sum = 0;
    for (int64_t i = 0; i < d; i++)
        sum += sg_source_read(x, i) * sg_source_read(x, i);
    return sum;
}

void sg_ref_rmsnorm_forward(sg_target y, sg_real *rstd, sg_source x, const sg_real *w, int64_t rows,
                            int64_t d, double eps)
{
    for (int64_t r = 0; r < rows; r++) {
        sg_real mean = norm_squares(sg_source_at(x, r * d), d) / (sg_real)d;
        rstd[r] = 1 / sg_real_sqrt(mean + (sg_real)eps);
        for (int64_t i = 0; i < d; i++)
            sg_target_write(y, r * d + i, sg_source_read(x, r * d + i) * (rstd[r] * w[i]));
    }
}

// With n_i = x_i rstd and h_i = dy_i w_i:  dx_i = rstd (h_i - n_i mean(h n)),  dw_i = sum dy_i n_i.
void sg_ref_rmsnorm_backward(sg_real *dx, sg_real *dw, const sg_real *dy, sg_source x,
                             const sg_real *w, const sg_real *rstd, int64_t rows, int64_t d,
                             bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, x = sg_source_at(x, d), dy += d, dx += d) {
        sg_real sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += dy[i] * w[i] * sg_source_read(x, i);
        sg_real mean = sum * rstd[r] / (sg_real)d;
        for (int64_t i = 0; i < d; i++) {
            sg_real normed = sg_source_read(x, i) * rstd[r];
            sg_real value = rstd[r] * (dy[i] * w[i] - normed * mean);
            dw[i] += dy[i] * normed;
            dx[i] = accumulate ? dx[i] + value : value;
        }
    }
}

void sg_ref_rope(sg_target y, sg_source x, const sg_real *cosines, const sg_real *sines,
                 int64_t heads, int64_t head_dim, int64_t half, sg_real s)
{
    for (int64_t h = 0; h < heads; h++) {
        const int64_t first = h * head_dim, second = first + half;
        for (int64_t i = 0; i < half; i++) {
            sg_real x1 = sg_source_read(x, first + i), x2 = sg_source_read(x, second + i);
            sg_real c = cosines[i], t = s * sines[i];
            sg_target_write(y, first + i, x1 * c - x2 * t);
            sg_target_write(y, second + i, x2 * c + x1 * t);
        }
        for (int64_t i = 2 * half; i < head_dim; i++)
            sg_target_write(y, first + i, sg_source_read(x, first + i));
    }
}
