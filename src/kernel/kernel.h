// The inner loops, as a table of functions filled once at start-up: `ref` is plain C and defines
// the result, `avx2`, `avx512` and `neon` are checked against it. Kernels run on one thread, take
// raw pointers and sizes, outputs first, and allocate nothing. Arrays do not overlap unless a
// comment allows it. Results depend on the arguments alone (never on alignment or on the thread),
// so that runs repeat bit for bit; different tables may round differently.
#ifndef SG_KERNEL_KERNEL_H
#define SG_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compute.h"
#include "kernel/bf16.h"
#include "kernel/forms.h"
#include "kernel/real.h"
#include "sgatlin.h"

typedef enum sg_activation {
    SG_ACT_IDENTITY = 0,
    SG_ACT_GELU = 1, // tanh form: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
    SG_ACT_RELU = 2,
    SG_ACT_SWISH = 3, // x sigmoid(x)
    SG_ACT_SIGMOID = 4,
    SG_ACT_GELU_ERF = 5, // x/2 (1 + erf(x / sqrt 2)), which the tanh form is near
    SG_ACT_RELU2 = 6,    // max(x, 0)^2 (So et al. 2021, "Primer")
    SG_ACT_TANH = 7,
    SG_ACT_ABS = 8, // the absolute value; its slope at 0 is 0
    SG_ACT_COUNT
} sg_activation;

// Gated linear units (Shazeer 2020), y_j = act(g_j) l_j of gates g and linear parts l.
typedef enum sg_glu_kind {
    // Of GPT-OSS (spec 5.3): g' = min(g, 7), l' = clamp(l, -7, 7), y = g' sigmoid(1.702 g') (l' +
    // 1). The gradient through a value that was cut is 0 (at exactly 7 the value counts as not
    // cut).
    SG_GLU_CLAMPED = 0,
    SG_GLU_SILU, // act is swish
    SG_GLU_GELU, // in its tanh form
    SG_GLU_GELU_ERF,
    SG_GLU_RELU,
    SG_GLU_COUNT
} sg_glu_kind;
typedef struct sg_glu_form {
    sg_glu_kind kind;
    bool interleaved; // a row of 2f numbers is g_0 l_0 g_1 l_1 …, else all g, then all l
} sg_glu_form;
// Of the kinds that are not clamped.
static inline sg_activation sg_glu_activation(sg_glu_kind kind)
{
    return kind == SG_GLU_SILU       ? SG_ACT_SWISH
           : kind == SG_GLU_GELU     ? SG_ACT_GELU
           : kind == SG_GLU_GELU_ERF ? SG_ACT_GELU_ERF
                                     : SG_ACT_RELU;
}

// One step of AdamW on one tensor: m, v, p in place.
//   g' = g * grad_scale
//   m = beta1 m + (1 - beta1) g' ;  v = beta2 v + (1 - beta2) g'^2
//   p = p - lr ( (m / bias1) / (sqrt(v / bias2) + eps) + decay p )
// (Loshchilov & Hutter 2019, decoupled decay; eps outside the root.)
typedef struct sg_adamw_args {
    double lr, beta1, beta2, eps, decay;
    double bias1, bias2; // 1 - beta^t for the t-th update, t = 1, 2, …
    double grad_scale;   // from gradient clipping
} sg_adamw_args;

// Steps of AdamW that a tensor without a gradient has waited for, all at once: m, v, p in place.
//   p = keep p - move m / (root sqrt(v) + eps) ;  m = keep1 m ;  v = keep2 v
// (train/row_clock.h has the derivation.)
typedef struct sg_adamw_idle_args {
    double keep, move, root, eps;
    double keep1, keep2; // beta1 and beta2 to the number of steps
} sg_adamw_idle_args;

// Numbers that do not wait for each other: two units that take four or five cycles for each have
// ten on the way.
enum { SG_CHAINS = 12 };

typedef struct sg_kernels {
    const char *name;

    // ---- vectors of n ----
    sg_real (*dot)(const sg_real *a, const sg_real *b, int64_t n);
    void (*axpy)(sg_real *y, sg_real alpha, const sg_real *x, int64_t n);   // y += alpha x
    void (*add)(sg_real *y, const sg_real *a, const sg_real *b, int64_t n); // y = a + b; may alias
    void (*scale)(sg_real *y, sg_real alpha, int64_t n);                    // y *= alpha
    double (*sum_squares)(const sg_real *x, int64_t n);                     // summed in double
    // So many times y a + b of SG_CHAINS numbers y, which stay in registers: how many
    // multiplications and additions that were. What no product can be faster than.
    int64_t (*multiply_adds)(sg_real *y, sg_real a, sg_real b, int64_t times);
    sg_real (*max)(const sg_real *x, int64_t n); // n >= 1; no NaN inside
    // y = exp(x - shift), returns the sum of y; y may be x. Inputs x - shift <= 0; -INFINITY gives
    // 0, and what is below the smallest normal number may be 0.
    sg_real (*exp_sum)(sg_real *y, const sg_real *x, sg_real shift, int64_t n);

    // A few rows against many: y[i][j] = x_i . w_j for i < m, j < n. m is small (decoding: one
    // token or four), so the cost is reading w once. y (m, n), x (m, d), w (n, d) with row strides.
    void (*thin_product)(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                         const sg_real *w, int64_t ldw, int64_t n, int64_t d);
    // The other way: y_i += sum_j s[i][j] v_j in the order of j, with the bits of axpy after axpy.
    // Few rows of sums read v once. y (m, d), s (m, n), v (n, d) with row strides.
    void (*thin_sum)(sg_real *y, int64_t ldy, const sg_real *s, int64_t lds, int64_t m,
                     const sg_real *v, int64_t ldv, int64_t n, int64_t d);

    // y = a + b, in the forms of y.
    void (*add_forward)(sg_target y, const sg_real *a, const sg_real *b, int64_t n);

    // ---- rows ----
    // RMSNorm (Zhang & Sennrich 2019): rstd[r] = 1/sqrt(mean(x_r^2) + eps), y = x * (rstd * w).
    // x, y (rows, d), w (d), rstd (rows).
    void (*rmsnorm_forward)(sg_target y, sg_real *rstd, sg_source x, const sg_real *w, int64_t rows,
                            int64_t d, double eps);
    // dx is written, or added to when `accumulate`; dw (d) is always added to.
    void (*rmsnorm_backward)(sg_real *dx, sg_real *dw, const sg_real *dy, sg_source x,
                             const sg_real *w, const sg_real *rstd, int64_t rows, int64_t d,
                             bool accumulate);
    // Rotary positions (Su et al. 2021), half-split layout, over `heads` heads of one token:
    // y1 = x1 cos - s x2 sin, y2 = x2 cos + s x1 sin, x = [x1; x2; rest] per head; s = +1 rotates,
    // s = -1 rotates back (the backward pass); what is behind the first 2 half numbers of a head is
    // copied. x, y (heads, head_dim), cos, sin (half), 2 half <= head_dim. y may be x.
    void (*rope)(sg_target y, sg_source x, const sg_real *cos, const sg_real *sin, int64_t heads,
                 int64_t head_dim, int64_t half, sg_real s);
    // Softmax of each row; y may be x. x, y (rows, n). A row that holds a NaN or nothing but -inf
    // becomes NaN throughout.
    void (*softmax_forward)(sg_real *y, const sg_real *x, int64_t rows, int64_t n);
    // dx = y (dy - sum(dy y)), written or added.
    void (*softmax_backward)(sg_real *dx, const sg_real *dy, const sg_real *y, int64_t rows,
                             int64_t n, bool accumulate);

    // One row of attention's backward pass, in place: s becomes p = exp(s - lse), the
    // probabilities, dp becomes p (dp - delta), the gradient of s. s, dp (n); s - lse <= 0 but for
    // rounding, p as of exp_sum.
    void (*attention_row)(sg_real *s, sg_real *dp, sg_real lse, sg_real delta, int64_t n);
    // The same of one key and n queries, each with its own lse and delta (n).
    void (*attention_key)(sg_real *s, sg_real *dp, const sg_real *lse, const sg_real *delta,
                          int64_t n);

    // ---- activations ----
    void (*act_forward)(sg_real *y, const sg_real *x, sg_activation act, int64_t n); // y may be x
    // dx = dy act'(x), written or added; dx may be dy when not accumulating.
    void (*act_backward)(sg_real *dx, const sg_real *dy, const sg_real *x, sg_activation act,
                         int64_t n, bool accumulate);
    // Gated linear units: u (rows, 2f), y (rows, f).
    void (*glu_forward)(sg_real *y, const sg_real *u, int64_t rows, int64_t f,
                        const sg_glu_form *form);
    void (*glu_backward)(sg_real *du, const sg_real *dy, const sg_real *u, int64_t rows, int64_t f,
                         const sg_glu_form *form); // du (rows, 2f) is written

    // ---- selection ----
    // The k largest of n scores in descending order, ties to the lower index; NaN counts as -inf.
    // ids, scores (k); 1 <= k <= n.
    void (*topk)(int32_t *ids, sg_real *scores, const sg_real *x, int64_t n, int64_t k);
    // Product top-k (Lample et al. 2019; spec 5.3): the k best sums s0[i] + s1[j], id = i n + j,
    // formed from the k best of each part; descending, ties to the lower rank in part 0, then 1.
    // ids, scores (k); 1 <= k <= n; k <= SG_TOPK_MAX.
    void (*product_topk)(int32_t *ids, sg_real *scores, const sg_real *s0, const sg_real *s1,
                         int64_t n, int64_t k);
    // The same of many rows, ldx apart in s0 and s1, ldy in ids and scores.
    void (*product_topk_rows)(int32_t *ids, sg_real *scores, int64_t ldy, const sg_real *s0,
                              const sg_real *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k);

    // Scores of int8 rows that are near enough to show which are not selected: y[j] =
    // (unit (q . w_j)) scales[j], the product of whole numbers exact, so the same bits in every
    // table. Returns the largest scale, NaN left out; at least 0. y (n), q (d), w (n, d), scales
    // (n); |q . w_j| < 2^31 in all partial sums.
    float (*screen_scores)(sg_real *y, const int16_t *q, float unit, const int8_t *w,
                           const float *scales, int64_t n, int64_t d);
    // The places, in rising order, of what is not below the bound, NaN among them. Returns how
    // many. places: room for n + 16.
    int64_t (*not_below)(int32_t *places, const sg_real *x, int64_t n, sg_real bound);

    // ---- sparse memory: rows read by index ----
    // a[j] = x . table[rows[j]].  a, rows (count), x (d), table (any, d).
    void (*gather_dots)(sg_real *a, const sg_real *x, const sg_real *table, const int32_t *rows,
                        int64_t count, int64_t d);
    // y += sum_j z[j] table[rows[j]], in the order of j.  y (d), z, rows (count), table (any, d).
    void (*gather_sum)(sg_real *y, const sg_real *z, const sg_real *table, const int32_t *rows,
                       int64_t count, int64_t d);

    // ---- narrow weights: bf16, or int8 with one scale a row, w = scale q ----
    // The same with weights of fewer bytes; each counts as the exact value that it stands for, and
    // sums round as those of the wide kernels do. ldw and d count elements.
    void (*to_bf16)(sg_bf16 *y, const sg_real *x, int64_t n);   // rounds as sg_bf16_round
    void (*from_bf16)(sg_real *y, const sg_bf16 *x, int64_t n); // exact
    // hi + lo = x but for 2^-17 of it: hi as sg_bf16_round, but finite where x is; lo what is left,
    // rounded, 0 where hi is infinite or NaN.
    void (*split_bf16)(sg_bf16 *hi, sg_bf16 *lo, const sg_real *x, int64_t n);
    // y[2j] = even[j], y[2j + 1] = odd[j], j < n.
    void (*pair_bf16)(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd, int64_t n);
    // Pairs of numbers that lie behind each other, as a matrix (m, n) of pairs, transposed: pair i
    // of row j of y is pair j of row i of x. ldy, ldx: numbers from row to row.
    void (*transpose_pairs)(sg_bf16 *y, int64_t ldy, const sg_bf16 *x, int64_t ldx, int64_t m,
                            int64_t n);
    void (*from_int8)(sg_real *y, const int8_t *q, float scale, int64_t n); // y = scale q
    void (*thin_product_bf16)(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d);
    // y[i][j] = scales[j] (x_i . w_j); scales (n)
    void (*thin_product_int8)(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                              const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                              int64_t d);
    void (*gather_dots_bf16)(sg_real *a, const sg_real *x, const sg_bf16 *table,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
    void (*gather_sum_bf16)(sg_real *y, const sg_real *z, const sg_bf16 *table, const int32_t *rows,
                            const int32_t *next, int64_t count, int64_t d);
    // next (count): rows that will be read soon, by the next call say, and are fetched meanwhile;
    // NULL where unknown. The first with x in bf16 too, with its bits: x counts as what it stands
    // for.
    void (*gather_dots_pairs)(sg_real *a, const sg_bf16 *x, const sg_bf16 *table,
                              const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
    // A slice of a table, SG_SLICE columns of it behind each other and zeros behind the last one:
    // sums of many rows keep y in registers, and a slice stays in a cache where its table does not.
    // y (n), n <= SG_SLICE: y = sum_j z[j] slice[rows[j]], or added to, with the bits of
    // gather_sum_bf16. slice (any, SG_SLICE). `known` >= count: entries of rows, those behind count
    // being read soon.
    void (*slice_sum)(sg_real *y, const sg_real *z, const sg_bf16 *slice, const int32_t *rows,
                      int64_t count, int64_t known, int64_t n, bool add);
    // The same, and a[j] = x . slice[rows[j]] from the same reading, or added to; x (SG_SLICE).
    void (*slice_both)(sg_real *a, sg_real *y, const sg_bf16 *x, const sg_real *z,
                       const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                       int64_t n, bool add_a, bool add_y);
    // a[j] = scales[rows[j]] (x . table[rows[j]]); scales: one a row of the
    // table
    void (*gather_dots_int8)(sg_real *a, const sg_real *x, const int8_t *table, const float *scales,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
    // y += sum_j (z[j] scales[rows[j]]) table[rows[j]]
    void (*gather_sum_int8)(sg_real *y, const sg_real *z, const int8_t *table, const float *scales,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d);

    // The same with halves (kernel/quant.h, base/half.h).
    void (*from_f16)(sg_real *y, const uint16_t *x, int64_t n);
    void (*thin_product_f16)(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                             const uint16_t *w, int64_t ldw, int64_t n, int64_t d);
    void (*gather_dots_f16)(sg_real *a, const sg_real *x, const uint16_t *table,
                            const int32_t *rows, const int32_t *next, int64_t count, int64_t d);
    void (*gather_sum_f16)(sg_real *y, const sg_real *z, const uint16_t *table, const int32_t *rows,
                           const int32_t *next, int64_t count, int64_t d);

    // ---- weights in blocks (kernel/quant.h): the types from SG_WEIGHTS_Q8_0 on ----
    // The n weights of n / sg_stored_block(type) blocks, the same bits in every table; scales: of
    // MXFP4, one a block.
    void (*from_blocks)(sg_real *y, sg_weights type, const void *blocks, const void *scales,
                        int64_t n);
    // y[i][j] = x_i . row_j for i < m, j < n: rows of d weights, d a multiple of the block, those
    // of the table that `rows` (n) names, or the first n where it is NULL. Weights count as
    // from_blocks gives them, sums are sg_real.
    void (*dots_blocks)(sg_real *y, int64_t ldy, const sg_real *x, int64_t ldx, int64_t m,
                        sg_weights type, const void *table, const void *scales, const int32_t *rows,
                        int64_t n, int64_t d);
    // y += sum_j z[j] row_j over the `count` rows that `rows` names, in the order of j. Weights
    // count as from_blocks gives them.  y (d), z, rows (count)
    void (*sum_blocks)(sg_real *y, const sg_real *z, sg_weights type, const void *table,
                       const void *scales, const int32_t *rows, int64_t count, int64_t d);

    // ---- optimiser ----
    void (*adamw)(sg_real *p, sg_real *m, sg_real *v, const sg_real *g, int64_t n,
                  const sg_adamw_args *args);
    void (*adamw_idle)(sg_real *p, sg_real *m, sg_real *v, int64_t n,
                       const sg_adamw_idle_args *args);
} sg_kernels;

enum { SG_TOPK_MAX = 1 << 14, SG_SLICE = 64 };

// The plain C table (kernel/ref), always there: the definition of every result.
const sg_kernels *sg_kernels_ref(void);
// The tables that this build has and this processor can run: ref first, the fastest last, at most
// SG_TABLES_MAX. Returns how many.
enum { SG_TABLES_MAX = 3 };
int sg_kernels_list(const sg_kernels *tables[SG_TABLES_MAX]);
// The fastest table for this processor.
const sg_kernels *sg_kernels_fastest(void);
// name: "ref", "avx2" (with FMA and F16C), "avx512" (F, BW, DQ, VL), "neon", or NULL for the
// fastest. NULL when the name is unknown or the table is not in the list.
const sg_kernels *sg_kernels_named(const char *name);

#endif
