// Patterns of gates as vectors: which are near each other, a map of them, and how alike two spaces
// are. Works on any rows of numbers, embeddings too. What fills in the rows from a record is in
// sgatlin_record.h.
// A companion of sgatlin.h, whose conventions hold here too: all results are the same bits for any
// number of threads.
#ifndef SGATLIN_GATES_H
#define SGATLIN_GATES_H

#include "sgatlin.h"

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
typedef struct sg_map_options {
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
} sg_map_options;
SG_API sg_map_options sg_map_options_default(void);

typedef struct sg_map {
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
} sg_map;

// *map: sg_map_free.
SG_API sg_status sg_map_make(sg_context *context, const sg_vectors *rows,
                             const sg_map_options *options, sg_map **map, sg_error *err);
SG_API void sg_map_free(sg_map *map);

// The quality of positions (rows, components) that were made elsewhere; fills in the last four
// members of *map.
SG_API sg_status sg_map_quality(sg_context *context, const sg_vectors *rows, const float *positions,
                                const sg_map_options *options, sg_map *map, sg_error *err);

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
