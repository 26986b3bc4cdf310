// Looking inside a model while it runs: named points at which a callback reads the values of a
// pass, replaces them, and receives their gradients.
// A companion of sgatlin.h, whose conventions hold here too.
//
// Points are asked for by a list (sg_points) in the options of a session (sg_session_options), of
// text that is generated (sg_generate_options), an evaluation (sg_eval_options) or a training run
// (sg_train_hooks). Only points that are asked for cost memory or time, and a point that is only
// read changes no bit of any result. Three points that are written, or whose gradient is asked for,
// make the pass compute them in another order, with other roundings: hook_scale, attn.hook_pattern
// (whose weights then take rows times keys times heads numbers), and mlp.hook_post of experts.
//
// Names are TransformerLens's where it has one. Rows are the tokens of a pass, sequence by
// sequence; d: hidden size, H, H_kv: heads of queries, of keys and values, h: size of a head.
//
//     hook_embed                       (rows, d)        embeddings
//     hook_pos_embed                   (rows, d)        learned positions, where they are learned
//     blocks.L.hook_resid_pre          (rows, d)        residual stream before attention,
//     blocks.L.hook_resid_mid          (rows, d)        before the feed-forward layer (not where
//                                                       both layers read one stream: GPT-NeoX),
//     blocks.L.hook_resid_post         (rows, d)        behind it
//     blocks.L.ln1.hook_scale          (rows)           what the norm divides by
//     blocks.L.ln1.hook_normalized     (rows, d)        output of the norm, its weights applied
//     blocks.L.ln2.…, ln_final.…       likewise
//     blocks.L.attn.hook_q             (rows, H, h)     queries and keys as they are rotated,
//     blocks.L.attn.hook_k             (rows, H_kv, h)  behind norms and limits of their own
//     blocks.L.attn.hook_v             (rows, H_kv, h)  values
//     blocks.L.attn.hook_rot_q, …_k    likewise         behind the rotation, where there is one
//     blocks.L.attn.hook_pattern       (rows, H, keys)  attention weights, in blocks of rows; where
//                                                       they are written, all of them count
//     blocks.L.attn.hook_z             (rows, H, h)     outputs of the heads
//     blocks.L.attn.q_mlp.hook_pre     (rows, w)        where a projection (q, k, v, o) is an MLP
//     blocks.L.attn.q_mlp.hook_post    likewise         its hidden neurons, before ReLU and behind
//     blocks.L.hook_attn_out           (rows, d)        what attention adds to the stream
//     blocks.L.mlp.hook_gate_ids       (rows, C, k)     int32: the selection of a sparse layer,
//                                                       blocks of g neurons;
//     blocks.L.mlp.hook_gate_scores    (rows, C, k)     its scores, as the router gives them
//     blocks.L.mlp.hook_pre            (rows, C, k g)   w_in . x of the selected neurons, those
//                                      or (rows, F)     of a block together (there is none in
//                                                       a memory of values: pkm …); of all in
//                                                       a dense layer
//     blocks.L.mlp.hook_pre_linear     likewise         of gated linear units the half that is
//                                                       not activated, hook_pre being the other
//     blocks.L.mlp.hook_post           likewise         what multiplies w_out, gates applied
//     blocks.L.hook_mlp_out            (rows, d)        what the feed-forward layer adds: the
//                                                       sum of hook_post times rows of w_out,
//                                                       and biases, shared experts, and what
//                                                       memory_plus does with the sum
//     ln_final.hook_scale, …           as above
//     logits                           (rows, V)        in blocks of rows where there is a loss,
//                                                       whose gradients come right behind them
//
// sg_points_of lists those of a model. Layers L are from 0.
#ifndef SGATLIN_PROBE_H
#define SGATLIN_PROBE_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

// What is asked of a point: one or more of these, joined by |.
enum {
    SG_POINT_READ = 1,  // a call in the forward pass, with the values
    SG_POINT_WRITE = 2, // likewise; the callback may change the values: what comes after uses them
    SG_POINT_GRADIENT = 4 // a call in the backward pass, with the gradient of the values
};

typedef enum sg_point_kind { SG_POINT_F32 = 0, SG_POINT_I32 = 1 } sg_point_kind;

// What a callback is given; all pointers are valid during the call only.
typedef struct sg_point_values {
    const char *name; // "blocks.3.hook_resid_post"
    int64_t layer;    // from 0; -1: of no layer
    unsigned use;     // of this call: SG_POINT_READ, SG_POINT_WRITE or SG_POINT_GRADIENT
    sg_point_kind kind;
    int rank;
    int64_t shape[3]; // rows first; dense
    // The values: one of the two is NULL, by kind; both are NULL with the gradient of the logits,
    // which are gone by then. Only to be changed in a call with SG_POINT_WRITE.
    float *values;
    int32_t *ids; // changed ones are checked: they must be in the pool that they are read from
    // With SG_POINT_GRADIENT, of the loss with respect to the values, else NULL: in training the
    // step's mean, in evaluation the sum of -log p of the targets, in a session its objective.
    // Where the point was also asked for with SG_POINT_WRITE it may be changed, to what is passed
    // on to the computation of the values that were replaced (set to 0 where they no longer
    // matter).
    float *gradient;
    // Of a selection: (rows, C), how many of the k are selected, the rest being void; NULL: all.
    // hook_pre and hook_post are 0 behind it.
    const int32_t *counts;

    // Which rows these are. Row i here is row r = first_row + i row_step of the pass: token
    // r mod length of sequence r / length, with the id tokens[r], at position
    // start[r / length] + r mod length (start NULL: 0). row_step is not 1 where a session needs
    // the last row of a pass only (ln_final, logits).
    int64_t first_row, row_step;
    int64_t sequences, length;
    const int32_t *tokens; // (sequences * length)
    const int32_t
        *targets;         // likewise, < 0: does not count (padding, rows filled in); NULL: no loss
    const int64_t *start; // (sequences)
    // In evaluation the first sequence's row of the split; in training its number in the batch; in
    // generation the number of the prompt; else 0.
    int64_t first_sequence;
} sg_point_values;

// Called once for each point and pass (for each block of rows where it says so), in the order of
// the computation, on the thread that called the library; not again where training computes values
// anew to save memory. Of several requests for one point the first is called first, and each sees
// what the one before it wrote. It may use other handles of the library, not those that are at
// work. Anything but SG_OK ends the pass: the function that was called fails with that status and
// the message put into `err` (which may be left alone); SG_ERR_STOPPED says that all is well.
typedef sg_status (*sg_point_fn)(void *user, const sg_point_values *point, sg_error *err);

typedef struct sg_point_request {
    const char
        *name;    // of a point, or of several: * stands for any text ("blocks.*.hook_resid_post")
    unsigned use; // SG_POINT_…
    sg_point_fn call;
    void *user;
} sg_point_request;

// A list of requests, the caller's; it and what it names must outlive what was given it. A name
// that fits no point is SG_ERR_NOT_FOUND, a use that the point does not have SG_ERR_UNSUPPORTED,
// and a gradient alone where a pass has none SG_ERR_ARGUMENT. Sessions have gradients in
// sg_session_gradient alone; other passes of theirs let requests for them be.
struct sg_points {
    const sg_point_request *items;
    size_t count;
};

// ---- gradients ----------------------------------------------------------------------------------

// What is differentiated: a sum of logits, such as the difference of two,
typedef struct sg_logit_term {
    int64_t token; // whose logits, those behind tokens[token]
    int32_t id;
    double weight;
} sg_logit_term;
typedef struct sg_objective {
    const sg_logit_term *terms; // (term_count) the sum of weight * logit;
    size_t term_count;
    // or, where terms is NULL, the sum of -log p(targets[i]) behind tokens[i]; < 0: does not count.
    const int32_t *targets;
} sg_objective;

// A pass of its own forwards and backwards over tokens (count >= 1) at positions from 0, which
// knows nothing of the tokens of the session and leaves them as they are. The session's points are
// called as in any pass, and those with SG_POINT_GRADIENT with the gradient of the objective with
// respect to their values, in the order of the backward pass. *value becomes the objective's; on
// failure it is as it was. No parameter has a gradient here: what is in front of the first point
// that asks for one is not computed backwards. Weights must be f32 (SG_ERR_ARGUMENT); ids that are
// selected are constants.
SG_API sg_status sg_session_gradient(sg_session *session, const int32_t *tokens, int64_t count,
                                     const sg_objective *objective, double *value, sg_error *err);

// ---- the list -----------------------------------------------------------------------------------

typedef struct sg_point_info {
    char name[64];
    int64_t layer;
    sg_point_kind kind;
    unsigned can; // SG_POINT_…; the gradient is there where a pass has one and the value matters
    int rank;
    int64_t shape[3]; // 0: the rows of a pass; of a pattern also the keys
} sg_point_info;

// All points of a model in the order of the computation. *list (*count): sg_buffer_free.
SG_API sg_status sg_points_of(const sg_model *model, sg_point_info **list, size_t *count,
                              sg_error *err);

// ---- values into files --------------------------------------------------------------------------

// What a dump comes to.
typedef struct sg_dump_info {
    int64_t rows;                 // tokens read
    int64_t sequences;            // that they are cut into
    int64_t length;               // tokens of a sequence; of the last one, if it is not full, less
    int64_t points, files, bytes; // bytes: of all arrays
    int64_t replaced, lost_bytes; // of a text: see sg_encode_options
} sg_dump_info;

typedef struct sg_dump_options {
    const char *points; // names of points, joined by commas; * stands for any text
    const char *layers; // "0,2-4": of the points in layers those of these alone; NULL: all
    const char *path;   // of the file, or of the folder
    bool force;         // what is there is replaced
    // What is read, one of three: ids,
    const int32_t *tokens;
    int64_t token_count;
    // a text, which begins as for sg_generate,
    const char *text;
    size_t text_bytes;
    const sg_tokenizer *tokenizer;
    // or rows of packed data, in their order: the ids that are read, each row shifted right.
    const sg_data *data;
    sg_split split;     // default SG_SPLIT_VAL
    int64_t max_tokens; // the first so many alone; 0: all
    // Ids and texts are cut into sequences of so many tokens, each of which knows nothing of those
    // before it; 0: the model's longest sequence, at most 2,048.
    int64_t context;
    const char *model, *command; // what points.json calls them; NULL: nothing
    // Told what it comes to, before the first row is read; false stops. May be NULL.
    bool (*plan)(void *user, const sg_dump_info *plan);
    sg_progress_fn progress; // in rows; may be NULL
    void *user;
} sg_dump_options;
SG_API sg_dump_options sg_dump_options_default(void);

// Reads tokens by a session and writes what is at points as .npy files (f32; int32 of ids). One
// name without * is the file `path`. Otherwise `path` is a folder with NAME.npy for each point,
// tokens.npy (rows), int32, and points.json, which says what is in it (docs/FORMATS.md).
//
// The rows of an array are the tokens read: row r is token r mod length of sequence r / length.
// Shapes are those of sg_points_of; of hook_pattern (rows, H, length), 0 behind a row's own
// position in its sequence. Sessions select k blocks for every token, so that there are no counts.
// All logits are computed in any case: the values of a point do not depend on which others are
// asked for, and are those that sg_session_score shows, to the bit.
//
// Rows are written as they come, a pass in memory at a time. Nothing is overwritten but with
// `force`; a failure, or a stop (SG_ERR_STOPPED), leaves what was there before (where the last
// sync alone failed, the new files). The disk must have room (SG_ERR_IO). A name that fits no
// point is SG_ERR_NOT_FOUND and names the nearest. info may be NULL.
SG_API sg_status sg_probe_dump(sg_model *model, const sg_dump_options *options, sg_dump_info *info,
                               sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
