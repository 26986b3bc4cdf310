// Arrays of points on their way into .npy files: one file, or a folder with a file for each. Sizes
// are known before the first row, so a header is written once, rows go out as they come, and no
// array is ever held whole. Whatever ends the work early, nothing of it stays (base/publish.h,
// base/file.h).
#ifndef SG_PROBE_POINT_OUTPUT_H
#define SG_PROBE_POINT_OUTPUT_H

#include "base/publish.h"
#include "format/tensor_view.h"
#include "sgatlin_probe.h"

#define SG_POINTS_JSON   "points.json"
#define SG_POINTS_TOKENS "tokens" // the array of ids beside the points

typedef struct sg_point_file {
    char name[80];       // in the folder
    sg_tensor_view view; // of the whole array: type, shape, bytes
    int64_t rows;        // written so far
} sg_point_file;

typedef struct sg_point_output {
    sg_point_file *files;
    size_t count, capacity;
    bool folder; // else one file
    const char *path;
    char staging[SG_PATH_MAX]; // of a folder
    sg_claim *claim;           // likewise
    sg_writer *writer;         // of one file
} sg_point_output;

// One more array, NAME.npy, before the beginning; shape (rank), rows first.
sg_status sg_point_output_add(sg_point_output *output, const char *name, sg_point_kind kind,
                              int rank, const int64_t *shape, sg_error *err);
// Of all arrays, headers included.
int64_t sg_point_output_bytes(const sg_point_output *output);
// Makes the files. What is there already is refused, or with `force` replaced at the end. A folder
// may hold other files then.
sg_status sg_point_output_begin(sg_point_output *output, const char *path, bool force,
                                sg_error *err);
// The next rows of one array: values (rows, …, width), where width is the last dimension of the
// array, or less: numbers behind it become 0.
sg_status sg_point_output_put(sg_point_output *output, size_t file, const void *values,
                              int64_t rows, int64_t width, sg_error *err);
// Publishes them; json: what points.json of a folder says. On failure nothing of them stays.
sg_status sg_point_output_end(sg_point_output *output, const char *json, sg_error *err);
// Releases all; where sg_point_output_end did not succeed, nothing of the files stays.
void sg_point_output_free(sg_point_output *output);

#endif
