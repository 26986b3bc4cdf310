// AdamW (Loshchilov & Hutter 2019), one step; the formula stands at sg_adamw_args.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

void sg_ref_adamw(sg_real *p, sg_real *m, sg_real *v, const sg_real *g, int64_t n,
                  const sg_adamw_args *args)
{
    const sg_real keep1 = (sg_real)args->beta1, take1 = (sg_real)(1 - args->beta1);
    const sg_real keep2 = (sg_real)args->beta2, take2 = (sg_real)(1 - args->beta2);
    const sg_real bias1 = (sg_real)args->bias1, bias2 = (sg_real)args->bias2;
    const sg_real lr = (sg_real)args->lr, eps = (sg_real)args->eps;
    const sg_real decay = (sg_real)args->decay, scale = (sg_real)args->grad_scale;
    for (int64_t i = 0; i < n; i++) {
        sg_real grad = g[i] * scale;
        m[i] = keep1 * m[i] + take1 * grad;
        v[i] = keep2 * v[i] + take2 * (grad * grad);
        sg_real step = (m[i] / bias1) / (sg_real_sqrt(v[i] / bias2) + eps);
        p[i] -= lr * (step + decay * p[i]);
    }
}

void sg_ref_adamw_idle(sg_real *p, sg_real *m, sg_real *v, int64_t n,
                       const sg_adamw_idle_args *args)
{
    const sg_real keep = (sg_real)args->keep, move = (sg_real)args->move;
    const sg_real root = (sg_real)args->root, eps = (sg_real)args->eps;
    const sg_real keep1 = (sg_real)args->keep1, keep2 = (sg_real)args->keep2;
    for (int64_t i = 0; i < n; i++) {
        p[i] = keep * p[i] - move * (m[i] / (root * sg_real_sqrt(v[i]) + eps));
        m[i] *= keep1;
        v[i] *= keep2;
    }
}
