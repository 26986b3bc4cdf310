// Screening of many keys: near scores by whole numbers, and what of them reaches a bound.
#include "kernel/ref/ref.h"

float sg_ref_screen_scores(sg_real *y, const int16_t *q, float unit, const int8_t *w,
                           const float *scales, int64_t n, int64_t d)
{
    float widest = 0;
    for (int64_t j = 0; j < n; j++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += q[i] * w[j * d + i];
        y[j] = (sg_real)((float)sum * unit * scales[j]);
        if (scales[j] > widest) widest = scales[j];
    }
    return widest;
}

int64_t sg_ref_not_below(int32_t *places, const sg_real *x, int64_t n, sg_real bound)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        places[count] = (int32_t)i;
        count += !(x[i] < bound);
    }
    return count;
}
