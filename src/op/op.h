// The operations a model is written with. Each lives in its own file with its shape rule, forward
// and backward pass and FLOP count side by side. All take the tape first, return NULL when an input
// is NULL or a shape does not fit (the tape keeps the error), and read (rows, columns) as "all
// dimensions but the last, the last".
#ifndef SG_OP_OP_H
#define SG_OP_OP_H

#include "tensor/tape.h"

// Rows of a table: ids (rows), table (V, d) -> (rows, d).
sg_tensor *sg_embedding(sg_tape *tape, sg_tensor *table, sg_tensor *ids);
// Learned positions: row r is that of table (P, d) at offset + start[r / length] + r mod length,
// start (rows / length) or NULL (all 0) -> (rows, d).
sg_tensor *sg_position_rows(sg_tape *tape, sg_tensor *table, int64_t rows, int64_t length,
                            const int64_t *start, int64_t offset);

// y = x W^T + bias. x (rows, k), w (n, k), bias (n) or NULL -> (rows, n).
sg_tensor *sg_linear(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *bias);

// The same of x most of whose numbers are 0, which w has a copy by columns for (sg_tensor.columns):
// columns of zeros are not read. Few rows, without a gradient.
enum { SG_SPARSE_ROWS = 4 }; // at most
sg_tensor *sg_linear_sparse(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *bias);

// One product a group: y[:, g, :] = scale * x[:, g, :] W[g]^T. x (rows, G*k), w (G, n, k)
// -> (rows, G*n).
sg_tensor *sg_linear_groups(sg_tape *tape, sg_tensor *x, sg_tensor *w, double scale);

// Either of the two for a selection of the k best of each group of n keys, without a gradient: keys
// (groups * n rows of width K) have a copy in int8 (sg_tensor.screen), which shows of most that
// they are not selected; those score -inf. q (rows, K), or keyed (rows, groups * K) -> (rows,
// groups * n).
enum { SG_SCREEN_ROWS = 8 }; // at most
typedef struct sg_key_groups {
    int64_t groups, n, k;
    bool keyed; // a query for each group, else one for all
    double scale;
} sg_key_groups;
sg_tensor *sg_screened_keys(sg_tape *tape, sg_tensor *q, sg_tensor *keys,
                            const sg_key_groups *groups);

// y + scale u B^T on some of y's columns: those first … first + count - 1 of a span get the
// products with the rows row … row + count - 1 of B. y (rows, n), u (rows, r), B (m, r); spans do
// not overlap in y.
typedef struct sg_low_rank_span {
    int64_t first, count; // columns of y
    int64_t row;          // of B
} sg_low_rank_span;
sg_tensor *sg_add_low_rank(sg_tape *tape, sg_tensor *y, sg_tensor *u, sg_tensor *b, double scale,
                           const sg_low_rank_span *spans, size_t count);

// a + b, of the same shape.
sg_tensor *sg_add(sg_tape *tape, sg_tensor *a, sg_tensor *b);
// a b, element by element, of the same shape.
sg_tensor *sg_multiply(sg_tape *tape, sg_tensor *a, sg_tensor *b);

// Root mean square norm with a learned scale: x (rows, d), w (d).
sg_tensor *sg_rmsnorm(sg_tape *tape, sg_tensor *x, sg_tensor *w, double eps);

// Layer norm with a learned scale and shift: x (rows, d), w (d), shift (d) or NULL.
sg_tensor *sg_layernorm(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *shift, double eps);
// Batch norm: x (rows, d); scale, shift (d); mean, variance (d) are running averages. In training
// the statistics are the batch's, and a backward pass leaves them where the gradients of the
// averages would be (SG_BUFFER_AVERAGE in ffn/params.h); otherwise they are the averages.
sg_tensor *sg_batchnorm(sg_tape *tape, sg_tensor *x, sg_tensor *scale, sg_tensor *shift,
                        sg_tensor *mean, sg_tensor *variance, double eps, bool training);

// Rotary positions. x (B*T, heads*head_dim); row r stands at position start[r / T] + r mod T. Of
// each head the first 2*half numbers are rotated, the rest passes. The table covers positions 0
// … positions-1. start (B) may be NULL (all 0).
typedef struct sg_rope_table {
    int64_t positions, half;
    sg_real *cos, *sin;            // (positions, half)
    size_t bytes;                  // of the one block both are in
    const sg_allocator *allocator; // where it is from
    bool interleaved; // 2i and 2i + 1 of a head are rotated together; else i and half + i
} sg_rope_table;
typedef enum sg_rope_scaling {
    SG_ROPE_NONE,
    SG_ROPE_LINEAR, // all frequencies divided by the factor
    SG_ROPE_LLAMA3, // the low ones: low_freq_factor, high_freq_factor, original_positions
    SG_ROPE_YARN    // the low ones: beta_fast, beta_slow, original_positions, truncate
} sg_rope_scaling;
typedef struct sg_rope_options {
    int64_t dim;  // of the numbers that are rotated, even
    double theta; // frequency i is theta^(-2i/dim), before scaling
    sg_rope_scaling kind;
    double factor, low_freq_factor, high_freq_factor, beta_fast, beta_slow;
    double attention_factor; // of cosines and sines; 0: 0.1 ln(factor) + 1 with yarn, else 1
    int64_t original_positions;
    bool truncate;
    bool interleaved;              // see the table
    const sg_allocator *allocator; // of the table; NULL: the system's
} sg_rope_options;
sg_status sg_rope_table_new(sg_rope_table *table, int64_t positions, const sg_rope_options *options,
                            sg_error *err);
void sg_rope_table_free(sg_rope_table *table);
// Frequency `pair` (0 to dim/2 - 1), scaled.
double sg_rope_frequency(const sg_rope_options *options, int64_t pair);
sg_tensor *sg_rope(sg_tape *tape, sg_tensor *x, const sg_rope_table *table, int64_t head_dim,
                   int64_t length, const int64_t *start);
// The same of sg_rmsnorm of each head, w (head_dim), in one pass and with the same bits.
sg_tensor *sg_norm_rope(sg_tape *tape, sg_tensor *x, sg_tensor *w, double eps,
                        const sg_rope_table *table, int64_t length, const int64_t *start);

// Causal softmax attention, softmax(scale q k^T) v per head, tiled with running maxima (Dao 2023,
// FlashAttention-2); no T x T matrix is kept. q (B*T, heads*head_dim), k, v (B*T,
// kv_heads*head_dim)
// -> as q.
typedef struct sg_kv_cache {
    // (kv_heads, capacity, head_dim): what one head has lies together, as it is read. Room for
    // start + length positions.
    sg_real *k, *v;
    int64_t capacity;
} sg_kv_cache;
typedef struct sg_attention_options {
    int64_t length, heads; // T; of the queries
    // Of keys and values, a divisor of heads (0: as many): head h reads the keys of head
    // h / (heads / kv_heads) (Ainslie et al. 2023, grouped queries).
    int64_t kv_heads;
    int64_t window; // > 0: the query at p sees the keys p - window + 1 … p, else all up to p
    // (heads), or NULL: a score of each head that is part of the softmax's sum and has no value.
    sg_tensor *sinks;
    double scale; // 0: 1 / sqrt(head_dim)
    // Of each sequence, or NULL. With them there is no gradient: k, v of the new rows of sequence b
    // are put into caches[b] at positions start[b] …, and each row attends to what is there.
    const sg_kv_cache *caches;
    const int64_t *start;
} sg_attention_options;
sg_tensor *sg_attention(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                        const sg_attention_options *options);
// Puts the rows of a pass, k, v (B*T, kv_heads*head_dim), where attention would.
void sg_fill_caches(const sg_kv_cache *caches, const int64_t *start, int64_t length,
                    int64_t head_dim, const sg_tensor *k, const sg_tensor *v);

// Elementwise activation.
sg_tensor *sg_activate(sg_tape *tape, sg_tensor *x, sg_activation activation);
// Gated linear unit (kernel/kernel.h): x (rows, 2f) -> (rows, f).
sg_tensor *sg_glu(sg_tape *tape, sg_tensor *x, const sg_glu_form *form);
// What a gated linear unit takes, as its gate and its linear part (rows, f) each, and back: copies.
// Splitting: false where there is none, and the parts are NULL.
bool sg_glu_split(sg_tape *tape, sg_tensor *u, bool interleaved, sg_tensor *parts[2]);
sg_tensor *sg_glu_join(sg_tape *tape, sg_tensor *gate, sg_tensor *linear, bool interleaved);
// x cut to [-limit, limit]; no gradient passes where it is cut (at the limit it is not).
sg_tensor *sg_clamp(sg_tape *tape, sg_tensor *x, double limit);
// x where it, times its scale (n) where scales are not NULL, is larger in size than a threshold
// >= 0, or where act of the gate is, which is the first half of its row of u (rows, 2n); 0
// elsewhere, where no gradient passes. x (rows, n). With 0 x itself.
sg_tensor *sg_trim(sg_tape *tape, sg_tensor *x, sg_tensor *scales, double threshold);
sg_tensor *sg_trim_gated(sg_tape *tape, sg_tensor *x, sg_tensor *u, sg_activation activation,
                         double threshold);
// Each row times a number of its own: x (rows, d), s (rows, 1).
sg_tensor *sg_scale_rows(sg_tape *tape, sg_tensor *x, sg_tensor *s);
// Each row divided by its length; a row of zeros stays one. x (rows, d).
sg_tensor *sg_unit_rows(sg_tape *tape, sg_tensor *x);
// Softmax over groups of `width` neighbours in the last dimension.
sg_tensor *sg_softmax(sg_tape *tape, sg_tensor *x, int64_t width);

// A selection: for each row and channel, k ids (descending score) and their scores.
typedef struct sg_selection {
    sg_tensor *ids;    // (rows, channels*k) int32
    sg_tensor *scores; // (rows, channels*k); NULL: the router gives none
    // (rows, channels) int32: of the k of a row and channel the first so many are selected. What is
    // behind them is void: whatever stands there is not read, and its score has a gradient of zero.
    // NULL: all k are selected.
    sg_tensor *counts;
    int64_t channels, k;
    int64_t unit; // cells that an id stands for. 1: ids are of cells; g: of blocks of g cells
} sg_selection;

// The k largest of each of `channels` runs of n: x (rows, channels*n). Here and below an id is of
// one cell (unit 1) until the caller says otherwise.
sg_selection sg_topk(sg_tape *tape, sg_tensor *x, int64_t channels, int64_t k);
// The k largest sums of two parts: x (rows, 2*channels*n), [part][channel][n]; ids are i*n + j.
sg_selection sg_product_topk(sg_tape *tape, sg_tensor *x, int64_t channels, int64_t k);
// Cells by their own keys: scores m = act(x keys^T), of which only those of the k / block blocks of
// `block` neighbours with the largest mean m are kept, block by block, each in its order (block 1:
// the k largest m). x (rows, d), keys (N, d).
sg_selection sg_key_topk(sg_tape *tape, sg_tensor *x, sg_tensor *keys, sg_activation activation,
                         int64_t block, int64_t k);

// The k largest of x + bias, with the scores of x: the bias (n), a buffer, moves the choice alone
// (Wang et al. 2024, "Auxiliary-Loss-Free Load Balancing"). Its statistic is how often each of the
// n was selected in rows that count. x (rows, n).
sg_selection sg_topk_biased(sg_tape *tape, sg_tensor *x, sg_tensor *bias, int64_t k,
                            sg_tensor *counted);

// Below, `counted` (rows) says which rows count: those where it is not negative, as the targets of
// a loss; NULL: all.

// Each group of `width` neighbours divided by its sum: x >= 0.
sg_tensor *sg_share(sg_tape *tape, sg_tensor *x, int64_t width);
#define SG_SHARE_LEAST ((sg_real)1e-20) // added to the sum, which may be 0
// A selection of one channel in which each of `blocks` blocks is taken by the first `capacity` rows
// that select it, in the order of rows, and not by the others: what a row keeps stands in its order
// before the count. Rows that do not count keep all and take no place.
sg_selection sg_capacity(sg_tape *tape, const sg_selection *selection, int64_t blocks,
                         int64_t capacity, sg_tensor *counted);
// All of n, in their order, for each row of x: without scores.
sg_selection sg_select_all(sg_tape *tape, sg_tensor *x, int64_t n);
// A selection, best first, up to the first score that is below the threshold, or, `of_best`, below
// the threshold times the best score of the row and channel; at least `least` of the k, 0 … k, are
// kept. Only the counts are new (none of which goes up).
sg_selection sg_select_above(sg_tape *tape, const sg_selection *selection, double threshold,
                             bool of_best, int64_t least);
// A selection, best first, until the sum of its scores first reaches `share` of the sum of all k
// (op/selected_count.h); likewise.
sg_selection sg_select_share(sg_tape *tape, const sg_selection *selection, double share,
                             int64_t least);
// Softmax over what is selected of each row and channel, 0 behind it -> as the scores.
sg_tensor *sg_softmax_selected(sg_tape *tape, const sg_selection *selection);

// Scalars that a router may add to the loss, of a selection of one channel.
// Balance: B sum_i f_i P_i, f_i the share of i in all selections (without a gradient), P_i the mean
// of p (rows, B) or, when `share`, of p divided by its sum over the row. 1 when all are used alike,
// B when all rows use one and p is sure of it.
sg_tensor *sg_balance_loss(sg_tape *tape, sg_tensor *p, const sg_selection *selection, bool share,
                           sg_tensor *counted);
// z: mean over rows of the squared logarithm of the sum of exponentials. logits (rows, B).
sg_tensor *sg_z_loss(sg_tape *tape, sg_tensor *logits, sg_tensor *counted);
bool sg_is_balance_loss(const sg_node *node);
bool sg_is_z_loss(const sg_node *node);

// Means over the rows that count of what each row of x (rows, n) comes to: of activations that are
// to become sparse, or of scores of a router (op_row_loss.c has the formulas).
typedef enum sg_row_loss_kind {
    SG_ROW_L1,            // a sum over the row, not a mean
    SG_ROW_HOYER,         // square Hoyer: 1 … the number of non-zeros of the row
    SG_ROW_CROSS_ENTROPY, // of logits x with targets in [0, 1]
    SG_ROW_SQUARES,       // of x less the targets
    SG_ROW_EFFICIENCY,
    SG_ROW_SEPARABILITY
} sg_row_loss_kind;
typedef struct sg_row_loss_options {
    sg_tensor *targets; // (rows, n), of the two kinds that have them, without a gradient
    sg_tensor *counted; // (rows) or NULL
    bool clamped;       // of L1 and Hoyer: max(x, floor) - floor takes the place of x
    double floor;
    double centre; // what is below counts as 0, but of L1 and Hoyer; of separability: the pole
    double least;  // of separability: the distance to the pole that counts
    int group;     // by which losses of one kind are told apart (sg_row_loss_group)
} sg_row_loss_options;
sg_tensor *sg_row_loss(sg_tape *tape, sg_row_loss_kind kind, sg_tensor *x,
                       const sg_row_loss_options *options); // NULL: none of them
bool sg_is_row_loss(const sg_node *node, sg_row_loss_kind kind);
int sg_row_loss_group(const sg_node *node);
// After a forward pass: the share of zeros in the rows that count; NaN: none counts.
double sg_row_loss_zeros(const sg_node *node);

// A selection of blocks of g cells (its unit) as one of cells, each with the score of its block
// (NULL: none); block i is cells i g … i g + g - 1. ids (rows, channels*k) -> (rows, channels*k*g).
sg_selection sg_expand_blocks(sg_tape *tape, const sg_selection *blocks);

// The last row of each run of `length` rows, without a gradient: x (B*length, d) -> (B, d).
sg_tensor *sg_take_last(sg_tape *tape, sg_tensor *x, int64_t length);

// Cross-entropy of the classifier x W^T against targets, in blocks of rows: the (rows, V) logits
// never exist as a whole. x (rows, d), w (V, d), targets (rows), a target < 0 carries no weight.
// The result is the sum of losses / *normaliser; both gradients are computed in the forward pass.
//
// With terms it is the sum of their weights times the logits they name, in place of losses (and
// over *normaliser likewise); the targets are not read.
typedef struct sg_logit_term sg_logit_term; // sgatlin_probe.h
typedef struct sg_loss_stats {
    double normaliser; // set by the caller before each pass, > 0: the weights of the whole step
    const sg_logit_term *terms; // (term_count) likewise, or NULL
    size_t term_count;
    double *row_losses; // (rows) set by the caller, or NULL: receives the losses, 0 without weight
    double loss_sum;    // set by the pass: sum of losses in nats
    int64_t tokens;     // set by the pass: targets with weight
    int64_t correct;    // set by the pass: targets that are the first largest logit
} sg_loss_stats;
sg_tensor *sg_cross_entropy(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                            sg_loss_stats *stats);
// The same of logits x W^T + scale u B^T, what a low-rank adapter of the classifier makes them: u
// (rows, r), B (V, r); both NULL: none.
sg_tensor *sg_cross_entropy_adapted(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                                    sg_loss_stats *stats, sg_tensor *u, sg_tensor *b, double scale);
bool sg_is_cross_entropy(const sg_node *node);

// ---- help for operations ----------------------------------------------------------------------

// Rows a chunk of a parallel loop takes, by shape alone.
static inline int64_t sg_chunk_rows(int64_t columns)
{
    int64_t rows = 32768 / (columns > 0 ? columns : 1);
    return rows < 1 ? 1 : rows;
}
static inline int64_t sg_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
// C = alpha A W^T + beta C on the pool, for the forward pass: W (args.n, args.k) the rows of w from
// `row` on, read as they are stored; args.b, ldb and transpose_b are filled in. m rows of A take
// sg_weights_scratch_bytes of each worker's scratch.
void sg_weights_product(const sg_run *run, sg_gemm_args args, const sg_tensor *w, int64_t row);
size_t sg_weights_scratch_bytes(const sg_tensor *w, int64_t m, int64_t n, int64_t k);
// Bytes of args.room.
size_t sg_weights_room(sg_compute_kind kind, const sg_tensor *w, int64_t m, int64_t n, int64_t k);

// The gradient of input i, if it is wanted: the sum of the parts of all chunks, in their order.
// parts (chunks, count of the input).
static inline void sg_grad_parts(const sg_run *run, const sg_node *node, int i,
                                 const sg_real *parts, int64_t chunks)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, i, &add);
    const int64_t n = node->in[i] != NULL ? node->in[i]->count : 0;
    for (int64_t j = 0; grad != NULL && !add && j < n; j++)
        grad[j] = 0;
    for (int64_t chunk = 0; grad != NULL && chunk < chunks; chunk++)
        run->compute.kernels->add(grad, grad, parts + chunk * n, n);
}

// Writes or adds `n` values into a gradient.
static inline void sg_grad_put(const sg_kernels *kernels, sg_real *grad, const sg_real *value,
                               int64_t n, bool add)
{
    if (add) {
        kernels->add(grad, grad, value, n);
    } else {
        for (int64_t i = 0; i < n; i++)
            grad[i] = value[i];
    }
}

#endif
