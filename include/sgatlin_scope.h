// One page, a file for a browser, that shows what is inside a model: a text with its neurons, a map
// of gates, usage, effects of exchanged gates, traces of answers. It asks nothing of any host.
// docs/PROBE.md, "The page", says what is on it and in which form.
// A companion of sgatlin_record.h, sgatlin_patch.h and sgatlin_trace.h, whose results it draws.
#ifndef SGATLIN_SCOPE_H
#define SGATLIN_SCOPE_H

#include "sgatlin_patch.h"
#include "sgatlin_record.h"
#include "sgatlin_trace.h"

#ifdef __cplusplus
extern "C" {
#endif

// A model on the page. Strings may be NULL: then the page does not say.
typedef struct sg_scope_model {
    sg_record *record; // what it did
    // What its neurons read and write is computed from its weights; NULL: that is not shown.
    const sg_model *model;
    const char *name;    // in a few words
    const char *path;    // in commands
    const char *records; // path of the record, in queries and commands
} sg_scope_model;

// A trace on the page, of the first model.
typedef struct sg_scope_trace {
    const sg_trace *trace;
    const char *prompt, *command;
} sg_scope_trace;

typedef struct sg_scope_options {
    const char *path;
    bool force; // what is there is replaced
    // One, or two beside each other: of the same text, cut into the same tokens.
    const sg_scope_model *models;
    size_t model_count;
    // "0,2-4", NULL: all that are recorded. Where the page would be too large, channels are left
    // out, the last of each layer first.
    const char *layers, *channels;
    int64_t maps;       // channels of each layer that get a map, the first ones; default 1
    int64_t map_tokens; // tokens of a map at most, the first ones; default 5,000, 0: all
    uint64_t seed;      // of the maps; default 1
    int64_t max_bytes;  // of the page; default 10 MiB
    const sg_patch_result *patch; // of the first model; NULL: none
    const char *facts, *patch_command, *patch_records;
    const sg_scope_trace *traces; // (trace_count)
    size_t trace_count;
    const char *source, *command; // what was read, and what wrote the page
    // Told before each part begins, by its name ("neurons", "maps", "page"). May be NULL.
    void (*part)(void *user, const char *name);
    sg_progress_fn progress; // in channels, then in maps; may be NULL
    void *user;
} sg_scope_options;
SG_API sg_scope_options sg_scope_options_default(void);

typedef struct sg_scope_info {
    int64_t tokens, sequences;
    int64_t channels, channels_left_out; // of all layers and models
    int64_t maps, traces, patch_rows;
    int64_t bytes;  // of the page
    char *left_out; // what is not on the page, a line each, or NULL: sg_buffer_free
} sg_scope_info;

// Writes the page, crash-safe. Scores are rounded to 63 steps of a channel's range, activations to
// 31 steps of the root of its largest. SG_ERR_MISMATCH where the models read other tokens;
// SG_ERR_ARGUMENT where max_bytes does not hold a channel of each layer. info may be NULL.
SG_API sg_status sg_scope_write(sg_context *context, const sg_scope_options *options,
                                sg_scope_info *info, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
