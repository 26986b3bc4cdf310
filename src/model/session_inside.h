// What a session is made of, for the files that run passes with it: session.c, batch.c and
// session_gradient.c.
#ifndef SG_MODEL_SESSION_INSIDE_H
#define SG_MODEL_SESSION_INSIDE_H

#include "model/graph_cache.h"
#include "model/session.h"
#include "sgatlin_probe.h"

struct sg_session {
    sg_model *model; // borrowed
    int64_t capacity, length;
    int64_t version,
        layout; // the model's, when the first of the tokens came, and when this was opened
    sg_kv_cache *caches;
    sg_real *cache_memory;
    size_t cache_bytes;
    const sg_points *points; // the caller's; NULL: none
    int64_t serial;          // no other session of the model has or had it
    int64_t sequence;        // what points call its tokens: sg_point_values.first_sequence
    sg_graph_cache *graphs;  // the model's; with points `own`
    sg_graph_cache own;
    sg_graph_cache gradients; // of passes with gradients, from the first on
    sg_kept_graph *single;    // one token: to look at
    float *logits;            // (V)
    double *seconds;          // of one token by node and direction, or NULL
};

// Everything that can be wrong with `count` tokens behind those a session has.
sg_status sg_session_check(sg_session *session, const int32_t *tokens, int64_t count,
                           sg_error *err);

#endif
