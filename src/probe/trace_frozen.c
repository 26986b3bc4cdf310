// A frozen model: the pass of trace_pass.c as sums, in double.
//
// Held fixed are the attention weights p, what norms divide by, s, and the selections with their
// scores. Of the stream x (T, d) then, at every token t,
//
//     n     = (x - mean x) / s * weight + shift         a norm; without mean and shift an RMSNorm
//     a_t   = sum over heads h, sources u of p_htu W_o,h (W_v n_u + b_v)  +  b_o
//     z_i   = slope_i (w_in_i . n) + line_i (w_line_i . n) + constant_i + bent_i
//     y_t   = sum over hits i of z_i w_out_i  +  biases  +  what stands beside
//     logit = (W_a - W_b) . last norm of x_T-1
//
// so that each is a sum over what wrote into the stream. Of sgatlin z = (w_in . n) score: slope is
// the score, bent is 0. In general z = f(w_in . n, w_line . n) is replaced by its tangent where it
// stands: slope and line are its derivatives, bent = f - slope (w_in . n) - line (w_line . n).
// Coefficients that are nothing but scores are bent as a whole; those of vanillam, act(w_in . n),
// are not. A gated layer beside the neurons is one function y(n) with its tangent. memory_plus'
// silu(W_1 n + b_1), by which a token gates the sum of its values, is held fixed as scores are.
//
// Gradients of the logit by all of these are sums the same way backwards. Source: chain rule; the
// idea of freezing what is not linear is that of Ameisen et al. 2025, "Circuit Tracing", who need
// transcoders in place of neurons.
#include "probe/trace_frozen.h"

#include <math.h>
#include <string.h>

// ---- sums ---------------------------------------------------------------------------------------

double sg_frozen_dot(const float *w, const double *x, int64_t n)
{
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += (double)w[i + j] * x[i + j];
    for (; i < n; i++)
        s[0] += (double)w[i] * x[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

double sg_frozen_dots(const double *a, const double *b, int64_t n)
{
    double s[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

void sg_frozen_axpy(double *y, double a, const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * (double)w[i];
}

static void frozen_add(double *y, double a, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static double frozen_mean(const double *x, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++)
        sum += x[i];
    return sum / (double)d;
}

// ---- norms --------------------------------------------------------------------------------------

void sg_frozen_normed(const sg_frozen *f, const sg_frozen_norm *norm, int64_t token,
                      const double *x, double *n)
{
    const double mean = norm->shift ? frozen_mean(x, f->width) : 0;
    for (int64_t i = 0; i < f->width; i++) {
        n[i] = (x[i] - mean) / (double)norm->scale[token] * (double)norm->weight[i];
        if (norm->shift) n[i] += (double)norm->shift[i];
    }
}

void sg_frozen_norm_back(const sg_frozen *f, const sg_frozen_norm *norm, int64_t token,
                         const double *gradient, double *x)
{
    for (int64_t i = 0; i < f->width; i++)
        x[i] = gradient[i] * (double)norm->weight[i] / (double)norm->scale[token];
    const double mean = norm->shift ? frozen_mean(x, f->width) : 0;
    for (int64_t i = 0; i < f->width; i++)
        x[i] -= mean;
}

static double frozen_shift_dot(const sg_frozen *f, const sg_frozen_norm *norm, const float *w)
{
    double sum = 0;
    for (int64_t i = 0; norm->shift && i < f->width; i++)
        sum += (double)norm->shift[i] * (double)w[i];
    return sum;
}

// ---- a pass -------------------------------------------------------------------------------------

typedef struct frozen_loop {
    sg_frozen *f;
    sg_frozen_layer *l;
    double *x, *next; // (T, d) the stream in front of the layer, and behind it
    double *v;        // (T, G h)
    double *room;     // (threads, room_size)
    int64_t room_size;
} frozen_loop;

static double *frozen_room(const frozen_loop *p, int worker)
{
    return p->room + worker * p->room_size;
}

static int64_t frozen_kv(const sg_frozen *f)
{
    return sg_config_kv_heads(f->config) * f->config->head_dim;
}

// Values of a token, and what its heads would write of them.
static void frozen_values(void *context, int64_t t, int worker)
{
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const sg_config *c = f->config;
    const int64_t d = f->width, kv = frozen_kv(f), h = c->head_dim, H = c->num_attention_heads;
    const int64_t heads = H / sg_config_kv_heads(c);
    double *n = frozen_room(p, worker), *v = p->v + t * kv;
    sg_frozen_normed(f, &l->norm1, t, p->x + t * d, n);
    for (int64_t j = 0; j < kv; j++) {
        const double bias = l->b_v ? (double)l->b_v[j] : 0;
        v[j] = sg_frozen_dot(l->w_v + j * d, n, d) + bias;
        if (l->cut != NULL && fabs(v[j]) > c->clip_qkv) {
            l->cut[t * kv + j] = true;
            l->rest[t * kv + j] = v[j] = v[j] > 0 ? c->clip_qkv : -c->clip_qkv;
        } else {
            l->fixed[t * kv + j] = frozen_shift_dot(f, &l->norm1, l->w_v + j * d) + bias;
        }
    }
    for (int64_t head = 0; head < H; head++)
        for (int64_t i = 0; i < d; i++)
            l->out[(head * f->tokens + t) * d + i] =
                sg_frozen_dot(l->w_o + i * H * h + head * h, v + head / heads * h, h);
}

// next = x + what attention adds.
static void frozen_attend(void *context, int64_t t, int worker)
{
    (void)worker;
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const int64_t d = f->width, T = f->tokens, H = f->config->num_attention_heads;
    double *y = p->next + t * d;
    memcpy(y, p->x + t * d, (size_t)d * sizeof *y);
    for (int64_t h = 0; h < H; h++)
        for (int64_t u = 0; u <= t; u++)
            frozen_add(y, (double)l->pattern[(t * H + h) * T + u], l->out + (h * T + u) * d, d);
    if (l->b_o) sg_frozen_axpy(y, 1, l->b_o, d);
}

// ---- neurons ------------------------------------------------------------------------------------

int64_t sg_frozen_row(const sg_frozen_layer *l, int64_t token, int64_t hit)
{
    return l->block[token * l->slots + hit / l->unit] * l->unit + hit % l->unit;
}

// What scores become before they gate: gates (slots). A channel's are normalised together.
static void frozen_gates(const sg_frozen_layer *l, int64_t t, double *gates)
{
    const char *by = l->config.ffn_normaliser;
    const int64_t k = l->slots / l->channels;
    double slope;
    for (int64_t i = 0; i < l->slots; i++) {
        const double s = l->scores ? (double)l->scores[t * l->slots + i] : 1;
        gates[i] = strcmp(by, "sigmoid") == 0 ? sg_unit_value(s, SG_ACT_SIGMOID, &slope)
                   : strcmp(by, "relu") == 0  ? sg_unit_value(s, SG_ACT_RELU, &slope)
                   : strcmp(by, "gelu") == 0  ? sg_unit_value(s, SG_ACT_GELU, &slope)
                                              : s;
    }
    for (int64_t c = 0; c < l->channels && strcmp(by, "softmax") == 0; c++) {
        double most = -INFINITY, sum = 0, *g = gates + c * k;
        for (int64_t i = 0; i < k; i++)
            most = fmax(most, g[i]);
        for (int64_t i = 0; i < k; i++)
            sum += g[i] = exp(g[i] - most);
        for (int64_t i = 0; i < k; i++)
            g[i] /= sum;
    }
}

// z of one hit with its derivatives by a = w_in . n and b = w_line . n.
static double frozen_unit(const sg_frozen_layer *l, double gate, double a, double b, double *slope,
                          double *line)
{
    const sg_activation act = sg_ffn_activation(&l->config);
    double z;
    *line = 0;
    if (l->w_line != NULL) {
        z = sg_unit_glu(a, b, sg_glu_form_of(&l->config).kind, slope, line);
        *slope *= gate;
        *line *= gate;
        return gate * z;
    }
    switch (sg_ffn_gate(&l->config)) {
    case SG_GATE_BEFORE:
        z = sg_unit_value(gate * a, act, slope);
        *slope *= gate;
        return z;
    case SG_GATE_AFTER:
        z = gate * sg_unit_value(a, act, slope);
        *slope *= gate;
        return z;
    default: // none, or the value, of the keys that are w_in
        return sg_unit_value(a, act, slope);
    }
}

static void frozen_hit(const frozen_loop *p, int64_t t, int64_t i, double gate, const double *n)
{
    const sg_frozen *f = p->f;
    sg_frozen_layer *l = p->l;
    const int64_t d = f->width, at = t * l->hits + i, row = sg_frozen_row(l, t, i);
    if (l->w_in == NULL) { // the coefficient is a score
        l->value[at] = l->bent[at] = (double)l->seen[at];
        return;
    }
    const float *in = l->w_in + row * d, *line_in = l->w_line ? l->w_line + row * d : NULL;
    const double b_in = l->b_in ? (double)l->b_in[row] : 0;
    const double b_line = l->b_line ? (double)l->b_line[row] : 0;
    const double a = sg_frozen_dot(in, n, d) + b_in;
    const double b = line_in ? sg_frozen_dot(line_in, n, d) + b_line : 0;
    double slope, line;
    l->value[at] = frozen_unit(l, gate, a, b, &slope, &line);
    l->slope[at] = slope;
    l->constant[at] = slope * (frozen_shift_dot(f, &l->norm2, in) + b_in);
    l->bent[at] = l->value[at] - slope * a - line * b;
    if (line_in == NULL) return;
    l->line[at] = line;
    l->constant[at] += line * (frozen_shift_dot(f, &l->norm2, line_in) + b_line);
}

// The unit beside the neurons: values of both halves of pair j lie at half(j) and half(j) + step.
static int64_t beside_half(const sg_frozen_layer *l, int64_t j, bool line)
{
    const bool pairs = l->config.ffn_glu_interleaved != 0;
    return pairs ? 2 * j + line : j + (line ? l->beside.width : 0);
}

static double beside_sigma(const sg_frozen_beside *b, int64_t t, double *slope)
{
    *slope = 0;
    return b->gate ? sg_unit_value(b->gate_in[t], SG_ACT_SIGMOID, slope) : 1;
}

static void frozen_beside(const frozen_loop *p, int64_t t, const double *n, double *y)
{
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const sg_frozen_beside *b = &l->beside;
    const int64_t d = f->width, W = b->width;
    const sg_glu_kind kind = sg_glu_form_of(&l->config).kind;
    double *u = b->u + t * 2 * W, *own = b->y + t * d, slope, by_gate, by_line;
    for (int64_t j = 0; j < 2 * W; j++)
        u[j] = sg_frozen_dot(b->up + j * d, n, d) + (b->up_bias ? (double)b->up_bias[j] : 0);
    if (b->gate) b->gate_in[t] = sg_frozen_dot(b->gate, n, d);
    const double sigma = beside_sigma(b, t, &slope);
    for (int64_t j = 0; j < W; j++) {
        const double z = sg_unit_glu(u[beside_half(l, j, false)], u[beside_half(l, j, true)], kind,
                                     &by_gate, &by_line);
        for (int64_t i = 0; i < d; i++)
            own[i] += z * (double)b->down[i * W + j];
    }
    if (b->down_bias) sg_frozen_axpy(own, 1, b->down_bias, d);
    for (int64_t i = 0; i < d; i++)
        y[i] += own[i] *= sigma;
}

// y += the sum of what was read; of memory_plus through its gate and projection.
static void frozen_sum(const sg_frozen *f, const sg_frozen_layer *l, int64_t t, double *sum,
                       double *y)
{
    const int64_t d = f->width;
    memset(sum, 0, (size_t)d * sizeof *sum);
    for (int64_t i = 0; i < l->hits; i++)
        sg_frozen_axpy(sum, l->value[t * l->hits + i], l->w_out + sg_frozen_row(l, t, i) * d, d);
    for (int64_t i = 0; l->proj_out && i < d; i++)
        sum[i] *= l->token_gate[t * d + i];
    for (int64_t i = 0; i < d; i++)
        y[i] += l->proj_out ? sg_frozen_dot(l->proj_out + i * d, sum, d) : sum[i];
    if (l->biases) frozen_add(y, 1, l->biases + t * d, d);
}

static void frozen_neurons(void *context, int64_t t, int worker)
{
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const int64_t d = f->width;
    double *n = frozen_room(p, worker), *sum = n + d, *gates = sum + d, *y = p->next + t * d;
    const double *x = f->config->parallel_residual ? p->x : p->next;
    sg_frozen_normed(f, &l->norm2, t, x + t * d, n);
    frozen_gates(l, t, gates);
    for (int64_t i = 0; i < l->hits; i++)
        frozen_hit(p, t, i, gates[i / l->unit], n);
    for (int64_t i = 0; l->b_out && i < l->slots; i++)
        sg_frozen_axpy(l->biases + t * d, gates[i], l->b_out + l->block[t * l->slots + i] * d, d);
    for (int64_t i = 0; l->proj_out && i < d; i++) {
        double slope;
        const double u = sg_frozen_dot(l->proj_in + i * d, n, d) + (double)l->proj_bias[i];
        l->token_gate[t * d + i] = sg_unit_value(u, SG_ACT_SWISH, &slope);
    }
    frozen_sum(f, l, t, sum, y);
    if (l->beside.width > 0) frozen_beside(p, t, n, y);
}

// ---- the whole pass -----------------------------------------------------------------------------

static bool frozen_layer_room(sg_frozen *f, sg_frozen_layer *l)
{
    const int64_t T = f->tokens, d = f->width, kv = frozen_kv(f), M = T * l->hits;
    const int64_t H = f->config->num_attention_heads;
    const size_t size = sizeof(double);
    l->out = sg_frozen_array(f, H * T * d, size);
    l->fixed = sg_frozen_array(f, T * kv, size);
    l->rest = sg_frozen_array(f, T * kv, size);
    l->pull = sg_frozen_array(f, T * H * f->config->head_dim, size);
    l->value = sg_frozen_array(f, M, size);
    l->slope = sg_frozen_array(f, M, size);
    l->constant = sg_frozen_array(f, M, size);
    l->bent = sg_frozen_array(f, M, size);
    l->gradient = sg_frozen_array(f, M, size);
    l->after = sg_frozen_array(f, T * d, size);
    l->after_attention = sg_frozen_array(f, T * d, size);
    bool there = l->out && l->fixed && l->rest && l->pull && l->value && l->slope && l->constant &&
                 l->bent && l->gradient && l->after && l->after_attention;
    if (l->w_line) there = there && (l->line = sg_frozen_array(f, M, size)) != NULL;
    if (l->b_out) there = there && (l->biases = sg_frozen_array(f, T * d, size)) != NULL;
    if (f->config->clip_qkv > 0)
        there = there && (l->cut = sg_frozen_array(f, T * kv, sizeof *l->cut)) != NULL;
    if (l->proj_out) there = there && (l->token_gate = sg_frozen_array(f, T * d, size)) != NULL;
    if (!there || l->beside.width == 0) return there;
    l->beside.u = sg_frozen_array(f, T * 2 * l->beside.width, size);
    l->beside.gate_in = sg_frozen_array(f, T, size);
    l->beside.y = sg_frozen_array(f, T * d, size);
    return l->beside.u && l->beside.gate_in && l->beside.y;
}

// Against what the model computed: see sg_trace_info.
static void frozen_compare(sg_frozen *f, const sg_frozen_layer *l)
{
    double squares = 0, worst = 0;
    const int64_t count = f->tokens * l->hits;
    for (int64_t i = 0; i < count; i++) {
        squares += (double)l->seen[i] * (double)l->seen[i];
        worst = fmax(worst, fabs(l->value[i] - (double)l->seen[i]));
    }
    const double size = sqrt(squares / (double)count);
    if (worst > 0) f->neuron_error = fmax(f->neuron_error, size > 0 ? worst / size : worst);
}

static sg_status frozen_begin(sg_frozen *f, frozen_loop *p, sg_error *err)
{
    const int64_t T = f->tokens, d = f->width;
    int64_t slots = 0;
    bool there = true;
    for (int64_t l = 0; there && l < f->config->num_hidden_layers; l++) {
        there = frozen_layer_room(f, &f->layers[l]);
        if (f->layers[l].slots > slots) slots = f->layers[l].slots;
    }
    p->f = f;
    p->room_size = 2 * d + slots;
    p->x = sg_frozen_array(f, T * d, sizeof(double));
    p->next = sg_frozen_array(f, T * d, sizeof(double));
    p->v = sg_frozen_array(f, T * frozen_kv(f), sizeof(double));
    p->room = sg_frozen_array(f, p->room_size * sg_pool_threads(f->model->context->compute.pool),
                              sizeof(double));
    f->before = sg_frozen_array(f, T * d, sizeof(double));
    if (!there || !p->x || !p->next || !p->v || !p->room || !f->before)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    for (int64_t i = 0; i < T * d; i++)
        p->x[i] = (double)f->embedding[i] + (f->positions ? (double)f->positions[i] : 0);
    return SG_OK;
}

sg_status sg_frozen_forward(sg_frozen *f, sg_error *err)
{
    frozen_loop p = {0};
    sg_pool *pool = f->model->context->compute.pool;
    const int64_t T = f->tokens, d = f->width;
    SG_TRY(frozen_begin(f, &p, err));
    for (int64_t l = 0; l < f->config->num_hidden_layers; l++) {
        p.l = &f->layers[l];
        sg_parallel_for(pool, T, frozen_values, &p);
        sg_parallel_for(pool, T, frozen_attend, &p);
        sg_parallel_for(pool, T, frozen_neurons, &p);
        frozen_compare(f, p.l);
        double *behind = p.next;
        p.next = p.x;
        p.x = behind;
    }
    double *n = p.room;
    sg_frozen_normed(f, &f->last, 0, p.x + (T - 1) * d, n);
    f->value = sg_frozen_dots(n, f->readout, d);
    f->fixed = 0;
    for (int64_t i = 0; f->last.shift && i < d; i++)
        f->fixed += (double)f->last.shift[i] * f->readout[i];
    if (isfinite(f->value)) return SG_OK;
    return sg_fail(err, SG_ERR_NUMERIC, "trace: found a logit of %g, expected a finite one",
                   f->value);
}

// ---- readings -----------------------------------------------------------------------------------

void sg_frozen_read_attention(const sg_frozen *f, const sg_frozen_layer *l, int64_t source,
                              const double *pull, double *r, double *constant, double *rest)
{
    const sg_config *c = f->config;
    const int64_t d = f->width, kv = frozen_kv(f), h = c->head_dim, H = c->num_attention_heads;
    const int64_t heads = H / sg_config_kv_heads(c), first = source * kv;
    memset(r, 0, (size_t)d * sizeof *r);
    *constant = *rest = 0;
    for (int64_t j = 0; j < kv; j++) {
        double sum = 0;
        for (int64_t head = j / h * heads; head < (j / h + 1) * heads; head++)
            sum += pull[head * h + j % h];
        *constant += sum * l->fixed[first + j];
        *rest += sum * l->rest[first + j];
        if (l->cut == NULL || !l->cut[first + j]) sg_frozen_axpy(r, sum, l->w_v + j * d, d);
    }
    sg_frozen_norm_back(f, &l->norm1, source, r, r);
}

void sg_frozen_read_neuron(const sg_frozen *f, const sg_frozen_layer *l, int64_t token, int64_t hit,
                           double *r, double *constant, double *rest)
{
    const int64_t d = f->width, at = token * l->hits + hit, row = sg_frozen_row(l, token, hit);
    memset(r, 0, (size_t)d * sizeof *r);
    *constant = l->constant[at];
    *rest = l->bent[at];
    if (l->w_in == NULL) return;
    sg_frozen_axpy(r, l->slope[at], l->w_in + row * d, d);
    if (l->w_line) sg_frozen_axpy(r, l->line[at], l->w_line + row * d, d);
    sg_frozen_norm_back(f, &l->norm2, token, r, r);
}

void sg_frozen_read_beside(const sg_frozen *f, const sg_frozen_layer *l, int64_t token, double *r,
                           double *constant, double *rest)
{
    const sg_frozen_beside *b = &l->beside;
    const int64_t d = f->width, W = b->width;
    const sg_glu_kind kind = sg_glu_form_of(&l->config).kind;
    const double *D = l->after + token * d, *u = b->u + token * 2 * W;
    double bend, by[2];
    const double sigma = beside_sigma(b, token, &bend);
    const double whole = sg_frozen_dots(D, b->y + token * d, d);
    memset(r, 0, (size_t)d * sizeof *r);
    *constant = b->down_bias ? sigma * sg_frozen_dot(b->down_bias, D, d) : 0;
    double seen = *constant;
    for (int64_t j = 0; j < W; j++) {
        double pull = 0;
        for (int64_t i = 0; i < d; i++)
            pull += sigma * D[i] * (double)b->down[i * W + j];
        sg_unit_glu(u[beside_half(l, j, false)], u[beside_half(l, j, true)], kind, &by[0], &by[1]);
        for (int side = 0; side < 2; side++) {
            const int64_t at = beside_half(l, j, side == 1);
            const double du = pull * by[side];
            sg_frozen_axpy(r, du, b->up + at * d, d);
            *constant += du * (frozen_shift_dot(f, &l->norm2, b->up + at * d) +
                               (b->up_bias ? (double)b->up_bias[at] : 0));
            seen += du * u[at];
        }
    }
    if (b->gate) {
        const double du = sigma > 0 ? bend * whole / sigma : 0;
        sg_frozen_axpy(r, du, b->gate, d);
        *constant += du * frozen_shift_dot(f, &l->norm2, b->gate);
        seen += du * b->gate_in[token];
    }
    *rest = whole - seen;
    sg_frozen_norm_back(f, &l->norm2, token, r, r);
}

const double *sg_frozen_to_values(const sg_frozen *f, const sg_frozen_layer *l, int64_t token,
                                  const double *r, double *own)
{
    const int64_t d = f->width;
    if (l->proj_out == NULL) return r;
    memset(own, 0, (size_t)d * sizeof *own);
    for (int64_t i = 0; i < d; i++)
        sg_frozen_axpy(own, r[i], l->proj_out + i * d, d);
    for (int64_t i = 0; i < d; i++)
        own[i] *= l->token_gate[token * d + i];
    return own;
}

// ---- gradients ----------------------------------------------------------------------------------

// Of the hits of a token, and what they and what stands beside them pass on: back (d).
static void frozen_back_neurons(void *context, int64_t t, int worker)
{
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const int64_t d = f->width;
    double *own = frozen_room(p, worker), *r = own + d, *back = p->next + t * d, constant, rest;
    const double *D = l->after + t * d;
    const double *to = sg_frozen_to_values(f, l, t, D, own);
    memset(back, 0, (size_t)d * sizeof *back);
    for (int64_t i = 0; i < l->hits; i++) {
        const int64_t at = t * l->hits + i, row = sg_frozen_row(l, t, i) * d;
        const double gradient = sg_frozen_dot(l->w_out + row, to, d);
        l->gradient[at] = gradient;
        if (l->w_in) sg_frozen_axpy(back, gradient * l->slope[at], l->w_in + row, d);
        if (l->w_line) sg_frozen_axpy(back, gradient * l->line[at], l->w_line + row, d);
    }
    sg_frozen_norm_back(f, &l->norm2, t, back, back);
    if (l->beside.width == 0) return;
    sg_frozen_read_beside(f, l, t, r, &constant, &rest);
    frozen_add(back, 1, r, d);
}

// Gradients of what the heads of a query gather.
static void frozen_back_heads(void *context, int64_t t, int worker)
{
    (void)worker;
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const int64_t d = f->width, q = f->config->num_attention_heads * f->config->head_dim;
    double *pull = p->l->pull + t * q;
    for (int64_t i = 0; i < d; i++)
        sg_frozen_axpy(pull, p->l->after_attention[t * d + i], p->l->w_o + i * q, q);
}

// What attention passes on to a source, which is added to x.
static void frozen_back_source(void *context, int64_t s, int worker)
{
    const frozen_loop *p = context;
    const sg_frozen *f = p->f;
    const sg_frozen_layer *l = p->l;
    const int64_t d = f->width, T = f->tokens, H = f->config->num_attention_heads;
    const int64_t h = f->config->head_dim;
    double *pull = frozen_room(p, worker), *r = pull + H * h, constant, rest;
    memset(pull, 0, (size_t)(H * h) * sizeof *pull);
    for (int64_t t = s; t < T; t++)
        for (int64_t head = 0; head < H; head++)
            frozen_add(pull + head * h, (double)l->pattern[(t * H + head) * T + s],
                       l->pull + (t * H + head) * h, h);
    sg_frozen_read_attention(f, l, s, pull, r, &constant, &rest);
    frozen_add(p->x + s * d, 1, r, d);
}

sg_status sg_frozen_backward(sg_frozen *f, sg_error *err)
{
    sg_pool *pool = f->model->context->compute.pool;
    const sg_config *c = f->config;
    const int64_t T = f->tokens, d = f->width;
    frozen_loop p = {.f = f, .room_size = 2 * d + c->num_attention_heads * c->head_dim};
    p.x = f->before; // gradients by the stream, layer by layer downwards
    p.next = sg_frozen_array(f, T * d, sizeof(double));
    p.room = sg_frozen_array(f, p.room_size * sg_pool_threads(f->model->context->compute.pool),
                             sizeof(double));
    if (p.next == NULL || p.room == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    memset(p.x, 0, (size_t)(T * d) * sizeof *p.x);
    sg_frozen_norm_back(f, &f->last, 0, f->readout, p.x + (T - 1) * d);
    for (int64_t l = c->num_hidden_layers - 1; l >= 0; l--) {
        p.l = &f->layers[l];
        memcpy(p.l->after, p.x, (size_t)(T * d) * sizeof *p.x);
        sg_parallel_for(pool, T, frozen_back_neurons, &p);
        memcpy(p.l->after_attention, p.x, (size_t)(T * d) * sizeof *p.x);
        frozen_add(p.x, 1, p.next, T * d);
        if (!c->parallel_residual) memcpy(p.l->after_attention, p.x, (size_t)(T * d) * sizeof *p.x);
        sg_parallel_for(pool, T, frozen_back_heads, &p);
        sg_parallel_for(pool, T, frozen_back_source, &p);
    }
    return SG_OK;
}
