// A training step of the dense model (docs/MODEL.md, family mlp) in plain C, as a peer to compare
// with: loops over arrays, OpenMP over rows, no library but libm. This is what a careful person
// gets from a compiler alone, in the manner of llm.c: every activation kept, forward and backward
// of an operation side by side, products cut into tiles that stay in caches and in registers.
// It shares no line with the library, so that it can also disagree with it.
//
//     cc -O3 -march=native -ffast-math -fopenmp bench/peers/plain_step.c -o plain_step -lm
//     ./plain_step --threads 2 --batch 2 --tokens 1024 --steps 5          one JSON line
//     ./plain_step --check tests/golden/models/mlp.safetensors           loss, gradients, training
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    size_t vocab, d, layers, heads, ffn; // d = heads * size of a head
    size_t batch, tokens;
    float eps, theta;
    int pad;
} shape_t;

typedef struct {
    float clip, beta1, beta2, eps, decay;
} adam_t;

// One tensor: its name in the file, its place in every flat buffer, its size and mean of squares
// at the start (0: all ones, a norm, which does not decay).
typedef struct {
    char name[96];
    size_t at, size;
    float variance;
} tensor_t;

enum { NORM_A, WQ, WK, WV, WO, NORM_Q, NORM_K, NORM_F, UP, DOWN, PER_LAYER };
enum { EMBED, NORM_O, FIRST_LAYER };

// What the forward pass of a layer leaves for the backward pass; R = batch * tokens rows.
typedef struct {
    float *in, *in_rms, *a;            // (R, d), (R), (R, d)  residual, 1 / rms, normed
    float *q0, *k0, *v;                // (R, d)               projections
    float *q_rms, *k_rms, *q, *k;      // (R, heads), (R, d)   normed and turned
    float *p, *y;                      // (B, heads, T, T), (R, d)
    float *mid, *mid_rms, *f, *up, *g; // (R, d), (R), (R, d), (R, ffn), (R, ffn)
} layer_t;

typedef struct {
    shape_t s;
    size_t tensors, parameters;
    tensor_t *t;
    float *w, *dw, *m, *v; // weights, gradients, moments
    float *cosine, *sine;  // (T, h / 2)
    layer_t *layer;
    float *out, *out_rms, *x, *logits;        // (R, d), (R), (R, d), (R, vocab)
    float *dh, *dx, *dq, *dk, *dv, *dup, *dp; // (R, d) each, (R, ffn), (B, heads, T)
    float *losses;                            // (R)
} model_t;

static _Noreturn void die(const char *what, const char *which)
{
    fprintf(stderr, "plain_step: %s%s\n", what, which);
    exit(1);
}

static void *get(size_t count, size_t size)
{
    void *p = calloc(count, size);
    if (p == NULL) die("out of memory", "");
    return p;
}

static float *floats(size_t count)
{
    return get(count, sizeof(float));
}

// Products. Sizes of a tile are constants where it is called, so the compiler unrolls it before it
// looks for a loop to make vectors of.
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { DOT_ROWS = 8, SUM_ROWS = 8, SUM_TERMS = 4, BLOCK = 64, SHORT = 16 };

// y[r] (o) = x[r] . w[o]
static inline __attribute__((always_inline)) void dot_tile(const size_t rows, float *restrict y,
                                                           size_t y_step, const float *restrict x,
                                                           const float *restrict w, size_t n)
{
    float sum[DOT_ROWS] = {0};
    for (size_t i = 0; i < n; i++) {
#ifndef __clang__ // which unrolls it later, and better
        UNROLL
#endif
        for (size_t r = 0; r < rows; r++)
            sum[r] += x[r * n + i] * w[i];
    }
    for (size_t r = 0; r < rows; r++)
        y[r * y_step] = sum[r];
}

// y (rows, out) = x (rows, n) w^T, w (out, n)
static void linear_forward(float *y, const float *x, const float *w, size_t rows, size_t n,
                           size_t out)
{
#pragma omp parallel for
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK) {
        size_t r1 = r0 + BLOCK < rows ? r0 + BLOCK : rows;
        for (size_t o0 = 0; o0 < out; o0 += BLOCK) {
            size_t o1 = o0 + BLOCK < out ? o0 + BLOCK : out, r = r0;
            for (; r + DOT_ROWS <= r1; r += DOT_ROWS)
                for (size_t o = o0; o < o1; o++)
                    dot_tile(DOT_ROWS, y + r * out + o, out, x + r * n, w + o * n, n);
            for (; r < r1; r++)
                for (size_t o = o0; o < o1; o++)
                    dot_tile(1, y + r * out + o, out, x + r * n, w + o * n, n);
        }
    }
}

// c[r] (n) += sum over terms t of a[r, t] * b[t] (n)
static inline __attribute__((always_inline)) void
sum_tile(const size_t rows, const size_t terms, float *restrict c, const float *restrict a,
         size_t a_row, size_t a_term, const float *restrict b, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++) {
        UNROLL
        for (size_t r = 0; r < rows; r++) {
            float sum = c[r * n + i];
            UNROLL
            for (size_t t = 0; t < terms; t++)
                sum += a[r * a_row + t * a_term] * b[t * n + i];
            c[r * n + i] = sum;
        }
    }
}

// c (rows, n) += a (rows, terms) b (terms, n); the steps of a say whether it is read transposed.
// Short blocks of rows: a small weight has too few for many threads otherwise.
static void add_product(float *c, const float *a, size_t a_row, size_t a_term, const float *b,
                        size_t rows, size_t terms, size_t n)
{
#pragma omp parallel for
    for (size_t r0 = 0; r0 < rows; r0 += SHORT) {
        size_t r1 = r0 + SHORT < rows ? r0 + SHORT : rows;
        for (size_t t0 = 0; t0 < terms; t0 += BLOCK) {
            size_t t1 = t0 + BLOCK < terms ? t0 + BLOCK : terms, r = r0, t;
            for (; r + SUM_ROWS <= r1; r += SUM_ROWS) {
                const float *ar = a + r * a_row;
                for (t = t0; t + SUM_TERMS <= t1; t += SUM_TERMS)
                    sum_tile(SUM_ROWS, SUM_TERMS, c + r * n, ar + t * a_term, a_row, a_term,
                             b + t * n, n);
                for (; t < t1; t++)
                    sum_tile(SUM_ROWS, 1, c + r * n, ar + t * a_term, a_row, a_term, b + t * n, n);
            }
            for (; r < r1; r++)
                for (t = t0; t < t1; t++)
                    sum_tile(1, 1, c + r * n, a + r * a_row + t * a_term, a_row, a_term, b + t * n,
                             n);
        }
    }
}

// dx (rows, n) += dy (rows, out) w,  dw (out, n) += dy^T x
static void linear_backward(float *dx, float *dw, const float *dy, const float *x, const float *w,
                            size_t rows, size_t n, size_t out)
{
    add_product(dx, dy, out, 1, w, rows, out, n);
    add_product(dw, dy, 1, out, x, out, rows, n);
}

// y = x * r * w, r = 1 / sqrt(mean(x^2) + eps), over rows of n
static void rmsnorm_forward(float *y, float *rms, const float *x, const float *w, size_t rows,
                            size_t n, float eps)
{
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const float *xr = x + r * n;
        float squares = 0;
        for (size_t i = 0; i < n; i++)
            squares += xr[i] * xr[i];
        float scale = rms[r] = 1 / sqrtf(squares / (float)n + eps);
        for (size_t i = 0; i < n; i++)
            y[r * n + i] = xr[i] * scale * w[i];
    }
}

// dx += r (u - x r mean(u x r)), u = w dy;  dw += dy x r. dx is (rows, n), as dy.
static void rmsnorm_backward(float *dx, float *dw, const float *dy, const float *x,
                             const float *rms, const float *w, size_t rows, size_t n)
{
#pragma omp parallel for reduction(+ : dw[:n])
    for (size_t r = 0; r < rows; r++) {
        const float *xr = x + r * n, *dyr = dy + r * n;
        float scale = rms[r], mean = 0;
        for (size_t i = 0; i < n; i++)
            mean += w[i] * dyr[i] * xr[i];
        mean *= scale * scale / (float)n;
        for (size_t i = 0; i < n; i++) {
            dw[i] += dyr[i] * xr[i] * scale;
            dx[r * n + i] += scale * (w[i] * dyr[i] - xr[i] * mean);
        }
    }
}

// Turns the pairs (i, i + h/2) of every head of x (R, d) by the angle of its position, in place;
// direction -1 turns back, which is the backward pass.
static void rope(const model_t *m, float *x, float direction)
{
    size_t heads = m->s.heads, half = m->s.d / heads / 2, rows = m->s.batch * m->s.tokens;
#pragma omp parallel for
    for (size_t r = 0; r < rows; r++) {
        const float *c = m->cosine + r % m->s.tokens * half, *s = m->sine + r % m->s.tokens * half;
        for (size_t j = 0; j < heads; j++) {
            float *restrict a = x + r * m->s.d + j * 2 * half;
            for (size_t i = 0; i < half; i++) {
                float left = a[i], right = a[i + half], sine = direction * s[i];
                a[i] = left * c[i] - right * sine;
                a[i + half] = right * c[i] + left * sine;
            }
        }
    }
}

static inline float dot(const float *a, const float *b, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static inline void add_scaled(float *restrict y, float scale, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += scale * x[i];
}

// p = softmax over s <= t of q_t . k_s / sqrt(h),  y_t = sum p_s v_s
static void attention_forward(const model_t *m, layer_t *l)
{
    size_t T = m->s.tokens, d = m->s.d, h = d / m->s.heads;
    float scale = 1 / sqrtf((float)h);
#pragma omp parallel for collapse(2)
    for (size_t b = 0; b < m->s.batch; b++) {
        for (size_t j = 0; j < m->s.heads; j++) {
            size_t at = b * T * d + j * h;
            for (size_t t = 0; t < T; t++) {
                float *p = l->p + ((b * m->s.heads + j) * T + t) * T, *y = l->y + at + t * d;
                float most = -FLT_MAX, sum = 0;
                for (size_t s = 0; s <= t; s++) {
                    p[s] = scale * dot(l->q + at + t * d, l->k + at + s * d, h);
                    most = p[s] > most ? p[s] : most;
                }
                for (size_t s = 0; s <= t; s++)
                    sum += p[s] = expf(p[s] - most);
                memset(y, 0, h * sizeof *y);
                for (size_t s = 0; s <= t; s++) {
                    p[s] /= sum;
                    add_scaled(y, p[s], l->v + at + s * d, h);
                }
            }
        }
    }
}

// Sets dq, dk, dv of the model from dy (R, d).
static void attention_backward(model_t *m, const layer_t *l, const float *dy)
{
    size_t T = m->s.tokens, d = m->s.d, h = d / m->s.heads, R = m->s.batch * T;
    float scale = 1 / sqrtf((float)h);
    memset(m->dq, 0, R * d * sizeof(float));
    memset(m->dk, 0, R * d * sizeof(float));
    memset(m->dv, 0, R * d * sizeof(float));
#pragma omp parallel for collapse(2)
    for (size_t b = 0; b < m->s.batch; b++) {
        for (size_t j = 0; j < m->s.heads; j++) {
            size_t at = b * T * d + j * h;
            float *dp = m->dp + (b * m->s.heads + j) * T;
            for (size_t t = 0; t < T; t++) {
                const float *p = l->p + ((b * m->s.heads + j) * T + t) * T;
                const float *dyt = dy + at + t * d;
                float mean = 0;
                for (size_t s = 0; s <= t; s++) {
                    dp[s] = dot(dyt, l->v + at + s * d, h);
                    add_scaled(m->dv + at + s * d, p[s], dyt, h);
                    mean += p[s] * dp[s];
                }
                for (size_t s = 0; s <= t; s++) {
                    float ds = scale * p[s] * (dp[s] - mean);
                    add_scaled(m->dq + at + t * d, ds, l->k + at + s * d, h);
                    add_scaled(m->dk + at + s * d, ds, l->q + at + t * d, h);
                }
            }
        }
    }
}

#define GELU_SCALE 0.7978845608028654f // sqrt(2 / pi)

static void gelu_forward(float *y, const float *x, size_t n)
{
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        y[i] = 0.5f * x[i] * (1 + tanhf(GELU_SCALE * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
}

// dx = gelu'(x) dx
static void gelu_backward(float *dx, const float *x, size_t n)
{
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        float t = tanhf(GELU_SCALE * (x[i] + 0.044715f * x[i] * x[i] * x[i]));
        float inner = GELU_SCALE * (1 + 3 * 0.044715f * x[i] * x[i]);
        dx[i] *= 0.5f * (1 + t) + 0.5f * x[i] * (1 - t * t) * inner;
    }
}

// Mean loss of the rows whose target is not padding; logits (R, vocab) become their gradient.
static double cross_entropy(model_t *m, const int *targets)
{
    size_t R = m->s.batch * m->s.tokens, V = m->s.vocab, counted = 0;
    for (size_t r = 0; r < R; r++)
        counted += targets[r] != m->s.pad;
    float weight = counted == 0 ? 0 : 1 / (float)counted;
#pragma omp parallel for
    for (size_t r = 0; r < R; r++) {
        float *x = m->logits + r * V, most = -FLT_MAX, sum = 0;
        float part = targets[r] == m->s.pad ? 0 : weight;
        for (size_t i = 0; i < V; i++)
            most = x[i] > most ? x[i] : most;
        float right = x[targets[r]] - most;
        for (size_t i = 0; i < V; i++)
            sum += x[i] = expf(x[i] - most);
        m->losses[r] = part * (logf(sum) - right);
        for (size_t i = 0; i < V; i++)
            x[i] *= part / sum;
        x[targets[r]] -= part;
    }
    double loss = 0;
    for (size_t r = 0; r < R; r++)
        loss += m->losses[r];
    return loss;
}

static void add(float *y, const float *a, const float *b, size_t n)
{
#pragma omp parallel for
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

// The model: whose tensor is where.

static float *weight(const model_t *m, size_t tensor)
{
    return m->w + m->t[tensor].at;
}

static float *gradient(const model_t *m, size_t tensor)
{
    return m->dw + m->t[tensor].at;
}

static void add_tensor(model_t *m, const char *name, size_t layer, size_t size, float variance)
{
    tensor_t *t = &m->t[m->tensors++];
    if (layer == SIZE_MAX)
        snprintf(t->name, sizeof t->name, "model.%s.weight", name);
    else
        snprintf(t->name, sizeof t->name, "model.layers.%zu.%s.weight", layer, name);
    t->at = m->parameters;
    t->size = size;
    t->variance = variance;
    m->parameters += size;
}

static void model_layout(model_t *m)
{
    size_t d = m->s.d, h = d / m->s.heads, F = m->s.ffn;
    float by_d = 1 / (float)d;
    m->t = get(FIRST_LAYER + PER_LAYER * m->s.layers, sizeof *m->t);
    add_tensor(m, "embed_tokens", SIZE_MAX, m->s.vocab * d, by_d);
    add_tensor(m, "norm", SIZE_MAX, d, 0);
    for (size_t i = 0; i < m->s.layers; i++) { // in the order of the enum
        add_tensor(m, "input_layernorm", i, d, 0);
        add_tensor(m, "self_attn.q_proj", i, d * d, by_d);
        add_tensor(m, "self_attn.k_proj", i, d * d, by_d);
        add_tensor(m, "self_attn.v_proj", i, d * d, by_d);
        add_tensor(m, "self_attn.o_proj", i, d * d, by_d);
        add_tensor(m, "self_attn.q_norm", i, h, 0);
        add_tensor(m, "self_attn.k_norm", i, h, 0);
        add_tensor(m, "post_attention_layernorm", i, d, 0);
        add_tensor(m, "mlp.up_proj", i, F * d, by_d);
        add_tensor(m, "mlp.down_proj", i, d * F, 1 / (float)F);
    }
}

// The process ends with its model: nothing is freed.
static void model_new(model_t *m, const shape_t *s)
{
    memset(m, 0, sizeof *m);
    m->s = *s;
    model_layout(m);
    size_t R = s->batch * s->tokens, Rd = R * s->d, half = s->d / s->heads / 2;
    m->w = floats(m->parameters), m->dw = floats(m->parameters);
    m->m = floats(m->parameters), m->v = floats(m->parameters);
    m->cosine = floats(s->tokens * half), m->sine = floats(s->tokens * half);
    for (size_t t = 0; t < s->tokens; t++) {
        for (size_t i = 0; i < half; i++) {
            double angle = (double)t * pow(s->theta, -(double)i / (double)half);
            m->cosine[t * half + i] = (float)cos(angle);
            m->sine[t * half + i] = (float)sin(angle);
        }
    }
    m->layer = get(s->layers, sizeof *m->layer);
    for (size_t i = 0; i < s->layers; i++) {
        layer_t *l = &m->layer[i];
        l->in = floats(Rd), l->in_rms = floats(R), l->a = floats(Rd);
        l->q0 = floats(Rd), l->k0 = floats(Rd), l->v = floats(Rd);
        l->q_rms = floats(R * s->heads), l->k_rms = floats(R * s->heads);
        l->q = floats(Rd), l->k = floats(Rd);
        l->p = floats(R * s->heads * s->tokens), l->y = floats(Rd);
        l->mid = floats(Rd), l->mid_rms = floats(R), l->f = floats(Rd);
        l->up = floats(R * s->ffn), l->g = floats(R * s->ffn);
    }
    m->out = floats(Rd), m->out_rms = floats(R), m->x = floats(Rd);
    m->logits = floats(R * s->vocab), m->losses = floats(R);
    m->dh = floats(Rd), m->dx = floats(Rd), m->dup = floats(R * s->ffn);
    m->dq = floats(Rd), m->dk = floats(Rd), m->dv = floats(Rd);
    m->dp = floats(R * s->heads);
}

// Returns the loss; the logits hold their gradient afterwards. inputs, targets (R)
static double forward(model_t *m, const int *inputs, const int *targets)
{
    const shape_t *s = &m->s;
    size_t R = s->batch * s->tokens, d = s->d, h = d / s->heads;
    for (size_t r = 0; r < R; r++)
        memcpy((s->layers == 0 ? m->out : m->layer[0].in) + r * d,
               weight(m, EMBED) + (size_t)inputs[r] * d, d * sizeof(float));
    for (size_t i = 0; i < s->layers; i++) {
        layer_t *l = &m->layer[i];
        size_t w = FIRST_LAYER + i * PER_LAYER;
        float *next = i + 1 < s->layers ? m->layer[i + 1].in : m->out;
        rmsnorm_forward(l->a, l->in_rms, l->in, weight(m, w + NORM_A), R, d, s->eps);
        linear_forward(l->q0, l->a, weight(m, w + WQ), R, d, d);
        linear_forward(l->k0, l->a, weight(m, w + WK), R, d, d);
        linear_forward(l->v, l->a, weight(m, w + WV), R, d, d);
        rmsnorm_forward(l->q, l->q_rms, l->q0, weight(m, w + NORM_Q), R * s->heads, h, s->eps);
        rmsnorm_forward(l->k, l->k_rms, l->k0, weight(m, w + NORM_K), R * s->heads, h, s->eps);
        rope(m, l->q, 1);
        rope(m, l->k, 1);
        attention_forward(m, l);
        linear_forward(l->mid, l->y, weight(m, w + WO), R, d, d);
        add(l->mid, l->mid, l->in, R * d);
        rmsnorm_forward(l->f, l->mid_rms, l->mid, weight(m, w + NORM_F), R, d, s->eps);
        linear_forward(l->up, l->f, weight(m, w + UP), R, d, s->ffn);
        gelu_forward(l->g, l->up, R * s->ffn);
        linear_forward(next, l->g, weight(m, w + DOWN), R, s->ffn, d);
        add(next, next, l->mid, R * d);
    }
    rmsnorm_forward(m->x, m->out_rms, m->out, weight(m, NORM_O), R, d, s->eps);
    linear_forward(m->logits, m->x, weight(m, EMBED), R, d, s->vocab);
    return cross_entropy(m, targets);
}

// dh is the gradient of the residual stream, from the last layer to the first.
static void layer_backward(model_t *m, size_t i)
{
    const shape_t *s = &m->s;
    const layer_t *l = &m->layer[i];
    size_t R = s->batch * s->tokens, d = s->d, h = d / s->heads, w = FIRST_LAYER + i * PER_LAYER;
    memset(m->dup, 0, R * s->ffn * sizeof(float));
    linear_backward(m->dup, gradient(m, w + DOWN), m->dh, l->g, weight(m, w + DOWN), R, s->ffn, d);
    gelu_backward(m->dup, l->up, R * s->ffn);
    memset(m->dx, 0, R * d * sizeof(float));
    linear_backward(m->dx, gradient(m, w + UP), m->dup, l->f, weight(m, w + UP), R, d, s->ffn);
    rmsnorm_backward(m->dh, gradient(m, w + NORM_F), m->dx, l->mid, l->mid_rms,
                     weight(m, w + NORM_F), R, d);
    memset(m->dx, 0, R * d * sizeof(float));
    linear_backward(m->dx, gradient(m, w + WO), m->dh, l->y, weight(m, w + WO), R, d, d);
    attention_backward(m, l, m->dx);
    rope(m, m->dq, -1);
    rope(m, m->dk, -1);
    memset(m->dx, 0, R * d * sizeof(float));
    linear_backward(m->dx, gradient(m, w + WV), m->dv, l->a, weight(m, w + WV), R, d, d);
    float *dq0 = m->dv; // no longer needed
    memset(dq0, 0, R * d * sizeof(float));
    rmsnorm_backward(dq0, gradient(m, w + NORM_Q), m->dq, l->q0, l->q_rms, weight(m, w + NORM_Q),
                     R * s->heads, h);
    linear_backward(m->dx, gradient(m, w + WQ), dq0, l->a, weight(m, w + WQ), R, d, d);
    float *dk0 = m->dv;
    memset(dk0, 0, R * d * sizeof(float));
    rmsnorm_backward(dk0, gradient(m, w + NORM_K), m->dk, l->k0, l->k_rms, weight(m, w + NORM_K),
                     R * s->heads, h);
    linear_backward(m->dx, gradient(m, w + WK), dk0, l->a, weight(m, w + WK), R, d, d);
    rmsnorm_backward(m->dh, gradient(m, w + NORM_A), m->dx, l->in, l->in_rms, weight(m, w + NORM_A),
                     R, d);
}

static void backward(model_t *m, const int *inputs)
{
    size_t R = m->s.batch * m->s.tokens, d = m->s.d;
    memset(m->dw, 0, m->parameters * sizeof(float));
    memset(m->dx, 0, R * d * sizeof(float));
    memset(m->dh, 0, R * d * sizeof(float));
    linear_backward(m->dx, gradient(m, EMBED), m->logits, m->x, weight(m, EMBED), R, d, m->s.vocab);
    rmsnorm_backward(m->dh, gradient(m, NORM_O), m->dx, m->out, m->out_rms, weight(m, NORM_O), R,
                     d);
    for (size_t i = m->s.layers; i-- > 0;)
        layer_backward(m, i);
    for (size_t r = 0; r < R; r++)
        add_scaled(gradient(m, EMBED) + (size_t)inputs[r] * d, 1, m->dh + r * d, d);
}

// Clipping, then AdamW; t counts from 1. Returns the norm before clipping.
static double update(model_t *m, const adam_t *o, float rate, int t)
{
    double squares = 0;
#pragma omp parallel for reduction(+ : squares)
    for (size_t i = 0; i < m->parameters; i++)
        squares += (double)m->dw[i] * m->dw[i];
    double norm = sqrt(squares);
    float scale = norm >= o->clip ? (float)(o->clip / norm) : 1;
    float first = (float)(1 / (1 - pow(o->beta1, t))), second = (float)(1 / (1 - pow(o->beta2, t)));
    for (size_t k = 0; k < m->tensors; k++) {
        float decay = m->t[k].variance > 0 ? o->decay : 0;
#pragma omp parallel for
        for (size_t i = m->t[k].at; i < m->t[k].at + m->t[k].size; i++) {
            float g = scale * m->dw[i];
            m->m[i] = o->beta1 * m->m[i] + (1 - o->beta1) * g;
            m->v[i] = o->beta2 * m->v[i] + (1 - o->beta2) * g * g;
            float move = first * m->m[i] / (sqrtf(second * m->v[i]) + o->eps);
            m->w[i] -= rate * (move + decay * m->w[i]);
        }
    }
    return norm;
}

// --check: a golden file of the library's tests, read no further than this program needs it.

typedef struct {
    char *header, *data;
    size_t size; // bytes of data
} golden_t;

static golden_t golden_read(const char *path)
{
    uint64_t length = 0;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fread(&length, sizeof length, 1, f) != 1 || length > 1 << 24 ||
        fseek(f, 0, SEEK_END) != 0)
        die("cannot read ", path);
    long end = ftell(f);
    if (end < 0 || (uint64_t)end < 8 + length) die("cut short: ", path);
    char *all = get((size_t)end + 1, 1);
    rewind(f);
    if (fread(all, 1, (size_t)end, f) != (size_t)end) die("cannot read ", path);
    fclose(f);
    golden_t g = {get(length + 1, 1), all + 8 + length, (size_t)end - 8 - length};
    memcpy(g.header, all + 8, length);
    return g;
}

// The 32-bit numbers of the tensor prefix + name, and how many they are.
static const void *golden_find(const golden_t *g, const char *prefix, const char *name,
                               size_t *count)
{
    char key[128];
    size_t from = 0, to = 0;
    snprintf(key, sizeof key, "\"%s%s\":{", prefix, name);
    const char *at = strstr(g->header, key);
    at = at == NULL ? NULL : strstr(at, "\"data_offsets\":[");
    if (at == NULL || sscanf(at, "\"data_offsets\":[%zu,%zu]", &from, &to) != 2)
        die("the golden file has no ", key);
    if (from > to || to > g->size) die("the golden file is cut short in ", key);
    *count = (to - from) / 4;
    return g->data + from;
}

static const void *golden_tensor(const golden_t *g, const char *prefix, const char *name,
                                 size_t count)
{
    size_t found;
    const void *numbers = golden_find(g, prefix, name, &found);
    if (found != count) die("the golden file has another size of ", name);
    return numbers;
}

// A number of the metadata, whose JSON stands quoted in the header.
static double golden_number(const golden_t *g, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\\\"%s\\\": ", name);
    const char *at = strstr(g->header, key);
    if (at == NULL) die("the golden file has no ", name);
    return strtod(at + strlen(key), NULL);
}

// By its bits: with -ffast-math the compiler takes every number for finite.
static int finite_number(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

// The largest difference over the largest b; FLT_MAX where a is not finite.
static float difference(const float *a, const float *b, size_t n)
{
    float most = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        if (!finite_number(a[i])) return FLT_MAX;
        scale = fmaxf(scale, fabsf(b[i]));
        most = fmaxf(most, fabsf(a[i] - b[i]));
    }
    return scale == 0 ? most : most / scale;
}

// Loss and all gradients of one batch, then losses and norms of a short training.
static int check(const char *path)
{
    golden_t g = golden_read(path);
    if (strstr(g.header, "\\\"ffn\\\": \\\"mlp\\\"") == NULL)
        die("not a model of family mlp: ", path);
    shape_t s = {.vocab = (size_t)golden_number(&g, "vocab_size"),
                 .d = (size_t)golden_number(&g, "hidden_size"),
                 .layers = (size_t)golden_number(&g, "num_hidden_layers"),
                 .heads = (size_t)golden_number(&g, "num_attention_heads"),
                 .ffn = (size_t)golden_number(&g, "ffn_intermediate_size"),
                 .tokens = (size_t)golden_number(&g, "max_position_embeddings"),
                 .eps = (float)golden_number(&g, "rms_norm_eps"),
                 .theta = (float)golden_number(&g, "rope_theta"),
                 .pad = (int)golden_number(&g, "pad_token_id")};
    golden_find(&g, "", "inputs", &s.batch);
    s.batch /= s.tokens;
    adam_t o = {.clip = (float)golden_number(&g, "clip_norm"),
                .beta1 = (float)golden_number(&g, "beta1"),
                .beta2 = (float)golden_number(&g, "beta2"),
                .eps = (float)golden_number(&g, "eps"),
                .decay = (float)golden_number(&g, "weight_decay")};
    size_t steps = (size_t)golden_number(&g, "steps"), R = s.batch * s.tokens;
    model_t m;
    model_new(&m, &s);
    for (size_t k = 0; k < m.tensors; k++)
        memcpy(m.w + m.t[k].at, golden_tensor(&g, "param.", m.t[k].name, m.t[k].size),
               m.t[k].size * sizeof(float));
    const int *inputs = golden_tensor(&g, "", "inputs", R);
    float loss = (float)forward(&m, inputs, golden_tensor(&g, "", "targets", R));
    float loss_error = difference(&loss, golden_tensor(&g, "", "loss", 1), 1), worst = 0;
    backward(&m, inputs);
    for (size_t k = 0; k < m.tensors; k++)
        worst = fmaxf(worst, difference(m.dw + m.t[k].at,
                                        golden_tensor(&g, "grad.", m.t[k].name, m.t[k].size),
                                        m.t[k].size));
    inputs = golden_tensor(&g, "", "train.inputs", steps * R);
    const int *targets = golden_tensor(&g, "", "train.targets", steps * R);
    const float *rates = golden_tensor(&g, "", "lrs", steps);
    float *losses = floats(steps), *norms = floats(steps);
    for (size_t t = 0; t < steps; t++) {
        losses[t] = (float)forward(&m, inputs + t * R, targets + t * R);
        backward(&m, inputs + t * R);
        norms[t] = (float)update(&m, &o, rates[t], (int)t + 1);
    }
    float training = fmaxf(difference(losses, golden_tensor(&g, "", "losses", steps), steps),
                           difference(norms, golden_tensor(&g, "", "grad_norms", steps), steps));
    printf("{\"loss_error\": %.3g, \"gradient_error\": %.3g, \"training_error\": %.3g}\n",
           loss_error, worst, training);
    if (loss_error < 2e-5f && worst < 2e-5f && training < 2e-4f) return 0;
    fprintf(stderr, "plain_step: computes something else than %s\n", path);
    return 1;
}

// Timing.

static double uniform(uint64_t *state) // in (0, 1), 64-bit linear congruence [Knuth]
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static void init(model_t *m, uint64_t *state)
{
    for (size_t k = 0; k < m->tensors; k++) {
        for (size_t i = 0; i < m->t[k].size; i++) {
            double u = uniform(state), turn = 6.283185307179586 * uniform(state);
            double normal = sqrt(-2 * log(u)) * cos(turn);
            float variance = m->t[k].variance;
            m->w[m->t[k].at + i] = variance > 0 ? (float)normal * sqrtf(variance) : 1;
        }
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times, size_t n)
{
    qsort(times, n, sizeof *times, by_size);
    return (times[(n - 1) / 2] + times[n / 2]) / 2;
}

static void bench(const shape_t *s, size_t warmup, size_t steps)
{
    enum { FORWARD, BACKWARD, OPTIMIZER, STEP, PARTS };
    adam_t o = {.clip = 2, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .decay = 0.1f};
    uint64_t state = 1;
    model_t m;
    model_new(&m, s);
    init(&m, &state);
    size_t R = s->batch * s->tokens;
    int *inputs = get(R, sizeof *inputs), *targets = get(R, sizeof *targets);
    for (size_t b = 0; b < s->batch; b++) { // the skewed law of `sgatlin bench`
        for (size_t t = 0; t <= s->tokens; t++) {
            double u = uniform(&state);
            int token = (int)(u * u * u * (double)s->vocab);
            if (t < s->tokens) inputs[b * s->tokens + t] = token;
            if (t > 0) targets[b * s->tokens + t - 1] = token;
        }
    }
    double *times[PARTS], at[PARTS], first = 0, last = 0;
    for (size_t k = 0; k < PARTS; k++)
        times[k] = get(steps, sizeof *times[k]);
    for (size_t i = 0; i < warmup + steps; i++) {
        at[0] = omp_get_wtime();
        last = forward(&m, inputs, targets);
        at[1] = omp_get_wtime();
        backward(&m, inputs);
        at[2] = omp_get_wtime();
        update(&m, &o, 1e-3f, (int)i + 1);
        at[3] = omp_get_wtime();
        first = i == 0 ? last : first;
        for (size_t k = 0; i >= warmup && k < PARTS; k++)
            times[k][i - warmup] = k == STEP ? at[3] - at[0] : at[k + 1] - at[k];
    }
    if (!finite_number((float)last)) die("the loss is not finite", "");
    double step = median(times[STEP], steps);
    printf("{\"peer\": \"plain C\", \"model\": \"tinystories-mlp\", \"threads\": %d, "
           "\"batch\": %zu, \"tokens\": %zu, \"steps\": %zu, \"parameters\": %zu, ",
           omp_get_max_threads(), s->batch, s->tokens, steps, m.parameters);
    printf("\"forward_s\": %.4f, \"backward_s\": %.4f, \"optimizer_s\": %.4f, \"step_s\": %.4f, ",
           median(times[FORWARD], steps), median(times[BACKWARD], steps),
           median(times[OPTIMIZER], steps), step);
    printf("\"step_min_s\": %.4f, \"step_max_s\": %.4f, \"tokens_per_s\": %.0f, "
           "\"first_loss\": %.4f, \"last_loss\": %.4f}\n",
           times[STEP][0], times[STEP][steps - 1], (double)R / step, first, last);
}

int main(int argc, char **argv)
{
    shape_t s = {.vocab = 8192, .d = 256, .layers = 4, .heads = 4, .ffn = 1024};
    size_t threads = 2, steps = 5, warmup = 2;
    s.batch = 2, s.tokens = 1024, s.eps = 1e-6f, s.theta = 10000;
    struct {
        const char *name;
        size_t *value, least;
    } options[] = {{"--batch", &s.batch, 1},
                   {"--tokens", &s.tokens, 1},
                   {"--threads", &threads, 1},
                   {"--steps", &steps, 1},
                   {"--warmup", &warmup, 0},
                   {"--vocab-size", &s.vocab, 2},
                   {"--hidden-size", &s.d, 2},
                   {"--num-hidden-layers", &s.layers, 1},
                   {"--num-attention-heads", &s.heads, 1},
                   {"--ffn-intermediate-size", &s.ffn, 1}};
    const char *golden = NULL;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        size_t k = 0, count = sizeof options / sizeof *options;
        while (k < count && strcmp(argv[i], options[k].name) != 0)
            k++;
        if (k < count) {
            char *end;
            unsigned long number = strtoul(value, &end, 10);
            if (end == value || *end != 0 || number < options[k].least || number > 1 << 24)
                die("no fitting number after ", argv[i]);
            *options[k].value = number;
        } else if (strcmp(argv[i], "--check") == 0 && *value != 0) {
            golden = value;
        } else {
            die("unknown argument, or nothing after ", argv[i]);
        }
    }
    if (s.d % s.heads != 0 || s.d / s.heads % 2 != 0)
        die("--hidden-size must be --num-attention-heads times an even number", "");
    omp_set_num_threads((int)threads);
    if (golden != NULL) return check(golden);
    bench(&s, warmup, steps);
    return 0;
}
