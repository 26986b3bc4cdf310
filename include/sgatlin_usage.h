// How a model uses its neurons: how evenly they are selected, which are selected together, and what
// single ones read and write.
// A companion of sgatlin.h, whose conventions hold here too. Layers, channels and neurons are
// numbered from 0, as in sgatlin_probe.h. Formulas and sources: docs/PROBE.md, "Usage", "Neurons".
#ifndef SGATLIN_USAGE_H
#define SGATLIN_USAGE_H

#include "sgatlin_record.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- what is selected ---------------------------------------------------------------------------

// The neurons that one channel selected in each row: neurons[begins[r]] … [begins[r + 1] - 1],
// ascending. Where blocks of neurons (experts) are selected together, "neurons" are such blocks.
typedef struct sg_selection_rows {
    const int64_t *begins; // (rows + 1)
    const int32_t *neurons;
} sg_selection_rows;

// Those of one layer; a row is a token.
typedef struct sg_layer_selections {
    int64_t layer, rows;
    int64_t neurons;                // that a channel selects from
    int64_t channels;               // that are here
    const int64_t *channel_numbers; // (channels)
    const sg_selection_rows *gates; // (channels)
    bool shared;      // all channels select from the same neurons; else each has its own
    int64_t sub_keys; // n of product keys, where neuron i n + j has the sub-keys i and j; else 0
    const int32_t *tokens;    // (rows): ids that were read
    const int64_t *sequences; // (rows), ascending
} sg_layer_selections;

// Collects the selections of a model's sparse layers while it reads: its points go into
// sg_eval_options or sg_session_options. Rows whose target does not count are left out. Takes
// 4 bytes for each selection.
typedef struct sg_selections sg_selections;
// layers, channels: lists such as "0,2-4", NULL: all. SG_ERR_NOT_FOUND where no such layer is
// sparse.
SG_API sg_status sg_selections_new(const sg_model *model, const char *layers, const char *channels,
                                   sg_selections **selections, sg_error *err);
// The layers of a list (NULL: all) that are recorded: layers (the record's layer_count), *count of
// them, at least one (SG_ERR_NOT_FOUND).
SG_API sg_status sg_selections_layers(const sg_record *record, const char *list, int64_t *layers,
                                      int64_t *count, sg_error *err);
// Those of one layer of a record, in place of a model's. Of a layer of which the strongest neurons
// alone are recorded these are all there is.
SG_API sg_status sg_selections_read(sg_record *record, int64_t layer, const char *channels,
                                    sg_selections **selections, sg_error *err);
SG_API void sg_selections_free(sg_selections *selections);
SG_API const sg_points *sg_selections_points(const sg_selections *selections);
SG_API int64_t sg_selections_count(const sg_selections *selections); // of layers
// Valid until more is read.
SG_API sg_layer_selections sg_selections_layer(const sg_selections *selections, int64_t index);

// ---- how evenly ---------------------------------------------------------------------------------

// Of the bins of a channel (its neurons) or of a layer: those of all its channels, one set where
// they share them. NaN where there is nothing to say.
typedef struct sg_gate_usage {
    int64_t layer, channel; // channel -1: the layer
    int64_t bins, selections, rows;
    double used;       // share of bins selected at least once
    double entropy;    // of the bins' shares of the selections, over log bins
    double gini;       // of the bins' selections
    double max_load;   // selections of the most selected bin over the mean
    double min_max;    // of the least selected over the most selected
    double deviation;  // standard deviation over mean
    int64_t tokens;    // different ids that were read
    double token_gini; // each id counts once for each bin that any of its rows selects
    double first_gini; // each id counts once: by the row where it comes first
} sg_gate_usage;

// As the published callback computes it, channels merged (neuron i of all channels is one bin): for
// each sequence, then the mean; and "global", of the counts of all sequences one behind the other
// as one long row of bins.
typedef struct sg_published_usage {
    int64_t layer, sequences, bins;
    double sequence_used, sequence_entropy, sequence_min_max, sequence_deviation;
    double global_used, global_entropy, global_min_max, global_deviation;
} sg_published_usage;

// usage (channels + 1): each channel, the layer last. published may be NULL.
SG_API sg_status sg_gate_usage_of(const sg_layer_selections *layer, sg_gate_usage *usage,
                                  sg_published_usage *published, sg_error *err);

// ---- which together -----------------------------------------------------------------------------

// Two neurons of a channel that are selected in the same rows.
typedef struct sg_neuron_pair {
    int32_t a, b;
    int64_t count, of_a, of_b; // rows that select both, a, b
    double given_a, given_b;   // P(b | a) = count / of_a, P(a | b)
    double lift;               // count rows / (of_a of_b): 1 where they know nothing of each other
} sg_neuron_pair;

typedef struct sg_coactivation {
    int64_t layer, channel, rows;
    int64_t events; // pairs of neurons in a row, summed over rows
    // Shares of them with the same first, the same second sub-key, and the share of either among
    // all pairs that there could be. NaN without sub-keys.
    double same_first, same_second, chance;
    sg_neuron_pair *pairs; // (count), those that need each other most first: by the smaller of
                           // given_a and given_b, then by count, then by number
    int64_t count;
} sg_coactivation;

// The `most` first pairs among those of at least `least` rows. channel is an index into
// layer->gates. sg_coactivation_free.
SG_API sg_status sg_coactivation_find(const sg_layer_selections *layer, int64_t channel,
                                      int64_t most, int64_t least, sg_coactivation *result,
                                      sg_error *err);
SG_API void sg_coactivation_free(sg_coactivation *result);

typedef enum sg_coactivation_form {
    SG_COACTIVATION_CONDITIONAL = 0, // P(j | i): rows that select both over rows that select i
    SG_COACTIVATION_PUBLISHED = 1    // rows of both over the sum of that over all j: with k of a
                                     // channel selected P(j | i) / (k - 1)
} sg_coactivation_form;

// Writes the matrix (neurons, neurons), row i and column j, 0 where i = j, as an .npy file of f32.
// What is there is kept but with `force` (SG_ERR_ARGUMENT).
SG_API sg_status sg_coactivation_write(const sg_layer_selections *layer, int64_t channel,
                                       sg_coactivation_form form, const char *path, bool force,
                                       sg_error *err);

// The neurons of the same channel that are selected with one, those in most rows first; a is it.
// *pairs (*count), at most `most`: sg_buffer_free.
SG_API sg_status sg_coactive_neurons(const sg_layer_selections *layer, int64_t channel,
                                     int64_t neuron, int64_t most, sg_neuron_pair **pairs,
                                     int64_t *count, sg_error *err);

// ---- one neuron ---------------------------------------------------------------------------------

// A token and how well it fits a direction.
typedef struct sg_token_match {
    int32_t token;
    float dot, cosine;
} sg_token_match;

// What a neuron reads and writes, from the model's weights alone. Neurons are numbered as in
// sgatlin_probe.h: of blocks of g neurons, neuron b g + j is the j-th of block b.
typedef struct sg_neuron_view {
    int64_t layer, channel, neuron;
    int64_t block;                 // neurons of a block, 1 where each is selected by itself
    int64_t first_key, second_key; // of product keys, of the block; -1: there are none
    bool dense;                    // every token has all neurons of the layer
    bool reads;  // false: it has no w_in of its own (pkm and other memories of values)
    bool writes; // false: the model goes on computing with the sum before it adds it (memory_plus)
    double in_norm, out_norm; // lengths of w_in (NAN: none), w_out
    int64_t count;            // of each list; those that there are not are NULL
    // By w_in . norm(e), e being a token's embedding and norm that of the layer: by cosine, and
    // dot is what hook_pre would be if the stream were e alone.
    sg_token_match *read_most, *read_least;
    // By u . (gain w_out), u being a token's row of the classifier and gain that of the last norm:
    // by dot, which is what one unit of hook_post adds to the logit, times the last norm's scale.
    sg_token_match *write_most, *write_least;
} sg_neuron_view;

// The `count` first of each list, fewer where the vocabulary has fewer.
SG_API sg_status sg_neuron_view_of(const sg_model *model, int64_t layer, int64_t channel,
                                   int64_t neuron, int64_t count, sg_neuron_view *view,
                                   sg_error *err);
SG_API void sg_neuron_view_free(sg_neuron_view *view);

#ifdef __cplusplus
}
#endif
#endif
