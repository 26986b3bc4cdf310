// Patterns of gates as vectors: which are near each other, a map of them, and how alike two spaces
// are. Works on any rows of numbers: those of a record (sgatlin_record.h), of .npy files,
// embeddings. A companion of sgatlin.h, whose conventions hold here too: all results are the same
// bits for any number of threads.
#ifndef SGATLIN_GATES_H
#define SGATLIN_GATES_H

#include "sgatlin_record.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rows of numbers, the caller's, sparse or dense. All must be finite (SG_ERR_NUMERIC).
typedef struct sg_vectors {
    int64_t rows, columns; // at most 2^31 - 1 each
    // Sparse, where begins is not NULL: row r has scores[i] in column neurons[i], ascending, for i
    // from begins[r] to begins[r + 1] - 1, and 0 elsewhere.
    const int64_t *begins; // (rows + 1)
    const int32_t *neurons;
    const float *scores;
    const float *values; // dense: (rows, columns)
} sg_vectors;

// ---- rows ---------------------------------------------------------------------------------------

// The two-dimensional array of an .npy file (f16, f32, f64, rounded to f32; of more dimensions
// those behind the first are one). *rows: sg_array_free.
typedef struct sg_array {
    sg_vectors vectors;
} sg_array;
SG_API sg_status sg_array_open(const char *path, sg_array **rows, sg_error *err);
SG_API void sg_array_free(sg_array *rows);

typedef struct sg_patterns_options {
    int64_t layer, channel;
    int64_t top;      // only of the so many most frequent input tokens of the record; 0: of all
    bool first_only;  // only where an input token comes first
    bool next_known;  // only where the token that follows is known
    bool activations; // hook_post in place of the scores of the router; always in a dense layer
    int64_t most;     // rows at most, drawn by `seed` where there are more; 0: all
    uint64_t seed;
} sg_patterns_options;
SG_API sg_patterns_options sg_patterns_options_default(void);

// What a record has of one channel: a row is the gates of a token, a column a neuron of the channel
// (a block, where the record says so).
typedef struct sg_patterns {
    sg_vectors vectors;
    int64_t layer, channel;
    bool activations; // else scores
    bool strongest; // a channel reads more neurons than were recorded: the strongest alone are here
    int64_t recorded; // rows there are
    int64_t fitting;  // of them those that the options ask for, before `most`
    // (vectors.rows), in order of the tokens of the record: their ids, places and ids in the
    // vocabulary; next -1: not known.
    int64_t *tokens, *sequences, *positions;
    int32_t *inputs, *nexts;
} sg_patterns;
// *patterns: sg_patterns_free.
SG_API sg_status sg_patterns_read(sg_record *record, const sg_patterns_options *options,
                                  sg_patterns **patterns, sg_error *err);
SG_API void sg_patterns_free(sg_patterns *patterns);

typedef enum sg_metric {
    SG_METRIC_COSINE = 0,   // 1 - a.b / (|a| |b|); 1 from a row of zeros to any
    SG_METRIC_EUCLIDEAN = 1 // |a - b|
} sg_metric;

// SG_ERR_ARGUMENT names `field`, what was found and expected.
SG_API sg_status sg_metric_parse(const char *name, const char *field, sg_metric *metric,
                                 sg_error *err);
SG_API const char *sg_metric_name(sg_metric metric);

// ---- neighbours ---------------------------------------------------------------------------------

typedef struct sg_neighbours_options {
    int64_t count; // of neighbours of each query; default 10
    sg_metric metric;
    // Whether a row is a neighbour of itself, where queries are the rows.
    bool self;
    // (rows): rows of one group, say a sequence, are no neighbours of each other; NULL: all may be.
    const int64_t *groups;
    const int64_t *query_groups; // (queries), where queries are not the rows; < 0: of none
    sg_progress_fn progress;     // in queries; may be NULL
    void *user;
} sg_neighbours_options;
SG_API sg_neighbours_options sg_neighbours_options_default(void);

// The nearest rows of each query, the nearest first, of equal ones the one of the lower number;
// exact, computed in double. queries NULL: the rows themselves. ids, distances (queries, count):
// where there are fewer than `count` to choose from, -1 and infinity at the end.
SG_API sg_status sg_neighbours(sg_context *context, const sg_vectors *rows,
                               const sg_vectors *queries, const sg_neighbours_options *options,
                               int32_t *ids, double *distances, sg_error *err);

// ---- maps ---------------------------------------------------------------------------------------

// UMAP (McInnes, Healy, Melville 2018, arXiv 1802.03426). Names and defaults are umap-learn's.
typedef struct sg_umap_options {
    int64_t neighbours;       // default 15, the row itself counted
    double min_dist;          // default 0.1
    double spread;            // default 1
    int64_t epochs;           // default 0: 500 up to 10,000 rows, 200 above
    int64_t negative_samples; // default 5
    double rate;              // default 1
    sg_metric metric;         // default SG_METRIC_COSINE
    int64_t components;       // dimensions of the map, 2 (default) or 3
    uint64_t seed;
    // Of the figures of its quality: neighbours that count (default 15), rows at most that are
    // looked at (default 10,000, drawn; each is ranked among all rows).
    int64_t quality_neighbours, quality_rows;
    // Told before each part begins, by its name ("neighbours", "spectrum", "layout", "quality").
    void (*part)(void *user, const char *name);
    sg_progress_fn progress; // of a part; may be NULL
    void *user;
} sg_umap_options;
SG_API sg_umap_options sg_umap_options_default(void);

typedef struct sg_umap {
    int64_t rows, components;
    float *positions; // (rows, components)
    // What it was made with, where it is not what the options say: of few rows fewer.
    int64_t neighbours, epochs;
    double a, b;         // 1 / (1 + a d^(2 b)) is how alike two points at distance d count
    int64_t edges;       // of the graph, each once
    int64_t parts;       // of the graph that nothing joins: placed side by side, their distances
                         // mean nothing
    int64_t zeros;       // rows without a number that is not 0
    int64_t duplicates;  // rows equal to one before them, within their neighbours
    int64_t parts_drawn; // of them those of too few rows for eigenvectors: their first places are
                         // drawn
    // Of `quality_rows` rows, drawn where there are more: trustworthiness (Venna and Kaski 2001),
    // 1 where all neighbours on the map were neighbours before, and the mean share of each row's
    // neighbours that are its neighbours on the map. NaN where there are too few rows.
    double trustworthiness, overlap;
    int64_t quality_neighbours, quality_rows;
} sg_umap;

// *map: sg_umap_free.
SG_API sg_status sg_umap_make(sg_context *context, const sg_vectors *rows,
                              const sg_umap_options *options, sg_umap **map, sg_error *err);
SG_API void sg_umap_free(sg_umap *map);

// The quality of positions (rows, components) that were made elsewhere; fills in the last four
// members of *map.
SG_API sg_status sg_umap_quality(sg_context *context, const sg_vectors *rows,
                                 const float *positions, const sg_umap_options *options,
                                 sg_umap *map, sg_error *err);

// What a map that is written says of its rows. Colours and columns are of what is given.
typedef struct sg_umap_notes {
    sg_record *record;           // with patterns: the texts of their tokens
    const sg_patterns *patterns; // whose rows are on the map; NULL: they have numbers alone
    bool colour_next;            // by the token that follows, in place of the token itself
    const sg_umap_options *options;
    const char *source, *command; // NULL: nothing
} sg_umap_notes;

// Writes a map as its name ends: .csv (a line a row), .json (parameters, then a list a column) or
// .svg (a drawing of the first two dimensions, the eight most frequent tokens in colours of their
// own). Nothing is overwritten but with `force`.
SG_API sg_status sg_umap_write(const sg_umap *map, const sg_umap_notes *notes, const char *path,
                               bool force, sg_error *err);
// What it would refuse of a path, before long work.
SG_API sg_status sg_umap_write_check(const char *path, bool force, sg_error *err);
// The text of the .json. *text: sg_buffer_free.
SG_API sg_status sg_umap_json(const sg_umap *map, const sg_umap_notes *notes, char **text,
                              sg_error *err);

// ---- likeness of two spaces ---------------------------------------------------------------------

// How sg_cka computes; the value is the same but for rounding.
typedef enum sg_cka_form {
    SG_CKA_AUTO = 0,     // the cheaper one
    SG_CKA_FEATURES = 1, // |X'Y|^2 / (|X'X| |Y'Y|): rows x columns x columns
    SG_CKA_GRAM = 2      // HSIC of the Gram matrices XX', YY', block by block: rows x rows
} sg_cka_form;

// Linear centred kernel alignment (Kornblith et al. 2019, arXiv 1905.00414) of two descriptions of
// the same rows, columns centred; from 0 to 1. 0 where one of them is the same in all rows.
SG_API sg_status sg_cka(sg_context *context, const sg_vectors *x, const sg_vectors *y,
                        sg_cka_form form, double *value, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
