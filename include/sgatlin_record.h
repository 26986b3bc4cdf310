// Recording: which neurons fire for which tokens, kept in an SQLite file (docs/PROBE.md,
// "Recording", has its tables and views), and that file read again.
// A companion of sgatlin_probe.h, whose conventions hold here too. Layers, channels and neurons are
// from 0.
#ifndef SGATLIN_RECORD_H
#define SGATLIN_RECORD_H

#include "sgatlin_data.h"
#include "sgatlin_probe.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- making one ---------------------------------------------------------------------------------

// What an id of a gate stands for.
typedef enum sg_record_unit {
    SG_RECORD_AUTO = 0, // a block where a router selects blocks of many neurons, else a neuron
    SG_RECORD_NEURON = 1,
    SG_RECORD_BLOCK = 2
} sg_record_unit;

typedef struct sg_record_plan {
    int64_t tokens;               // that are read
    int64_t sequences;            // that they are cut into
    int64_t length;               // tokens of a sequence
    int64_t gates;                // rows (token, layer, channel), at most
    int64_t hits;                 // in them, at most
    int64_t bytes;                // of the database at its end, about
    double seconds;               // about, measured on the first sequences
    int64_t layers, channels;     // that are recorded, channels of all layers together
    int64_t strongest;            // layers of which the strongest neurons alone are recorded
    int64_t done;                 // tokens that are recorded already (resume)
    int64_t replaced, lost_bytes; // of a text: see sg_encode_options
} sg_record_plan;

typedef struct sg_record_options {
    const char *path;
    bool force;  // what is there is replaced
    bool resume; // what is there, begun with the same options, model and data, is continued
    // What is read, one of two: a text, which begins as for sg_generate,
    const char *text;
    size_t text_bytes;
    // or rows of packed data, in their order: the ids that are read, each row shifted right.
    // Padding is read, and not recorded.
    const sg_data *data;
    sg_split split;    // default SG_SPLIT_VAL
    int64_t first_row; // of the split; default 0
    // The texts of ids come from it; needed.
    const sg_tokenizer *tokenizer;
    int64_t max_tokens; // the first so many alone; 0: all; default 10,000
    // A text is cut into sequences of so many tokens, each of which knows nothing of those before
    // it; 0: the model's longest sequence, at most 2,048.
    int64_t context;
    const char *layers;   // "0,2-4"; NULL: all
    const char *channels; // of each of them; NULL: all
    // Positions in a sequence whose gates are recorded; last < 0: to its end. Default 0, -1.
    int64_t first_position, last_position;
    // Of layers in which a channel reads more neurons than this, the strongest by contribution
    // norm (|activation| times the length of w_out) alone; default 64.
    int64_t top;
    sg_record_unit unit;
    int64_t predictions; // how many of the likeliest next tokens are recorded, 0 to 100; default 5
    // Passes end behind this layer: there are no log-probabilities and no predictions. -1 (the
    // default): they do not.
    int64_t stop_at_layer;
    int64_t micro_batch; // sequences computed at a time; default 8; changes memory, and roundings
    const char *source;  // what the record says was read: a path; NULL: nothing
    const char *model, *command; // what it calls them; NULL: nothing
    // Told what it comes to, once the first sequences are measured; false stops. May be NULL.
    bool (*plan)(void *user, const sg_record_plan *plan);
    sg_progress_fn progress; // in tokens; may be NULL
    void *user;
} sg_record_options;
SG_API sg_record_options sg_record_options_default(void);

// Runs a model over tokens and records what its feed-forward layers select and compute. Rows are
// written as they come, beside the passes, and committed every few seconds. A stop
// (SG_ERR_STOPPED), a failure, a kill leave a database that `resume` continues; it ends as one that
// was never interrupted. Nothing is overwritten but with `force`. plan may be NULL.
SG_API sg_status sg_probe_record(sg_model *model, const sg_record_options *options,
                                 sg_record_plan *plan, sg_error *err);

// ---- reading one --------------------------------------------------------------------------------

typedef struct sg_record sg_record; // an open one

typedef struct sg_record_layer {
    int64_t layer;
    char family[24];
    int64_t channels; // of the layer, recorded or not
    int64_t neurons;  // ids of a channel are 0 … neurons - 1
    int64_t unit;     // neurons that an id stands for: 1, or those of a block
    int64_t slots;    // ids of a token and channel at most
    bool dense;       // nothing selects
    bool strongest;   // a channel reads more than `slots`: the strongest alone are recorded
    bool shared;      // all channels select from the same neurons
    int64_t block;    // neurons that are selected together; of a dense layer 1
    int64_t sub_keys; // n of product keys, where block i n + j has the sub-keys i and j; else 0
} sg_record_layer;

typedef struct sg_record_channel {
    int64_t layer, channel;
} sg_record_channel;

typedef struct sg_record_info {
    const char *model, *source, *command, *version; // "": it does not say
    uint64_t model_checksum;                        // of weights and configuration
    bool complete;         // else it was interrupted: what there is can be read, and continued
    int64_t tokens;        // recorded so far
    int64_t planned;       // that were to be read
    int64_t sequences;     // of which there are tokens
    int64_t length;        // tokens of a sequence; token id = sequence * length + position
    int64_t gates;         // rows (token, layer, channel)
    int64_t predictions;   // of a token
    int64_t stop_at_layer; // -1: passes went to the end
    int64_t vocabulary;    // ids are 0 … vocabulary - 1
    const sg_record_layer *layers; // (layer_count) that are recorded, ascending
    size_t layer_count;
    const sg_record_channel *channels; // (channel_count) likewise
    size_t channel_count;
} sg_record_info;

// To read; changes nothing, and one that is incomplete may be read too. A record holds its
// vocabulary in memory, and nothing else.
SG_API sg_status sg_record_open(const char *path, sg_record **record, sg_error *err);
SG_API void sg_record_free(sg_record *record);
SG_API const sg_record_info *sg_record_get_info(const sg_record *record);
// NULL: that layer is not recorded.
SG_API const sg_record_layer *sg_record_find_layer(const sg_record *record, int64_t layer);
// That a channel is recorded; SG_ERR_NOT_FOUND says what is.
SG_API sg_status sg_record_check_channel(const sg_record *record, int64_t layer, int64_t channel,
                                         sg_error *err);

typedef struct sg_record_token {
    int64_t id;       // sequence * length + position
    int64_t sequence; // of packed data its row of the split
    int64_t position; // in the sequence
    int32_t token;    // its id in the vocabulary
    int32_t next;     // that of the token that follows; -1: none is known
    double logprob;   // ln p of it; NAN: not known
} sg_record_token;
// Those with ids from `first` on, in order of their ids: at most `most`, *count of them. Ids have
// gaps where padding was read.
SG_API sg_status sg_record_tokens(sg_record *record, int64_t first, int64_t most,
                                  sg_record_token *tokens, int64_t *count, sg_error *err);
// The bytes of an id of the vocabulary as they are decoded, not always UTF-8 by themselves (NUL
// behind); "" for one that has none. They are the record's.
SG_API const char *sg_record_text(const sg_record *record, int32_t id, size_t *bytes);

// The text around a token, valid UTF-8 (what is not becomes U+FFFD): tokens before it, it, tokens
// behind it, of its own sequence.
typedef struct sg_record_excerpt {
    char *before, *token, *after;
} sg_record_excerpt;
SG_API sg_status sg_record_excerpt_of(sg_record *record, int64_t token, int64_t before,
                                      int64_t after, sg_record_excerpt *excerpt, sg_error *err);
SG_API void sg_record_excerpt_clear(sg_record_excerpt *excerpt);

// What the model expected behind a token, the likeliest first: at most `most`, *count of them; 0
// where none were recorded.
SG_API sg_status sg_record_predictions(sg_record *record, int64_t token, int64_t most,
                                       sg_scored_token *predictions, int64_t *count, sg_error *err);

// One gate: neuron `neuron` of a channel at a token.
typedef struct sg_record_hit {
    int64_t token;
    int32_t neuron;
    float score;      // of the router; of a dense layer 1
    float activation; // hook_post: what multiplies w_out; of a block its length
} sg_record_hit;
// All of a channel at a token, in the order of the selection: at most `most`, *count of them.
SG_API sg_status sg_record_token_hits(sg_record *record, int64_t layer, int64_t channel,
                                      int64_t token, int64_t most, sg_record_hit *hits,
                                      int64_t *count, sg_error *err);
// All of a neuron, in order of their tokens. *hits (*count): sg_buffer_free.
SG_API sg_status sg_record_neuron_hits(sg_record *record, int64_t layer, int64_t channel,
                                       int64_t neuron, sg_record_hit **hits, int64_t *count,
                                       sg_error *err);

// Sums over what is recorded of a neuron; one that never fired has 0.
typedef struct sg_record_neuron {
    int64_t hits;
    double score, activation; // sums of scores, and of |activation|
    float out_norm;           // length of w_out; of a block NAN
} sg_record_neuron;
// Of all neurons of a channel: neurons (layer's neurons), the caller's.
SG_API sg_status sg_record_neurons(sg_record *record, int64_t layer, int64_t channel,
                                   sg_record_neuron *neurons, sg_error *err);

// ---- taking it elsewhere ------------------------------------------------------------------------

typedef enum sg_export_format {
    SG_EXPORT_CSV = 0,   // RFC 4180 with a line of names; nothing where a value is not known
    SG_EXPORT_JSONL = 1, // an object a line; null
    SG_EXPORT_NPY = 2    // one array of records with named columns, without texts; -1, NaN
} sg_export_format;

typedef struct sg_export_options {
    const char *table; // "hits", "tokens", "neurons", "predictions", "vocabulary"
    sg_export_format format;
    const char *path;
    bool force;              // what is there is replaced
    const char *layers;      // of hits and neurons those of these layers alone: "0,2-4"; NULL: all
    const char *channels;    // and of these channels
    sg_progress_fn progress; // in tokens; may be NULL
    void *user;
} sg_export_options;

// Writes a table as a file, row by row; docs/PROBE.md has the columns. Texts that are not UTF-8 (or
// hold a NUL) by themselves have U+FFFD where they are not, and all their bytes in hexadecimal in a
// column beside. The file is there when it is whole. *rows may be NULL.
SG_API sg_status sg_record_export(sg_record *record, const sg_export_options *options,
                                  int64_t *rows, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
