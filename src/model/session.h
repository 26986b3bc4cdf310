// A look inside a session, for measuring: what one token costs and where its time goes.
#ifndef SG_MODEL_SESSION_H
#define SG_MODEL_SESSION_H

#include "tensor/tape.h"

// Tokens of a prompt that go through together.
enum { SG_SESSION_PIECE = 256 };

// The tape that each token after the prompt goes through.
const sg_tape *sg_session_tape(const sg_session *session);
// Passes of one token add their seconds by node and direction (sg_run.seconds); NULL: they do not.
void sg_session_profile(sg_session *session, double *seconds);
// Bytes of keys, values, activations of one token and logits.
size_t sg_session_bytes(const sg_session *session);
// What points call the session's tokens (sg_point_values.first_sequence); 0 at first.
void sg_session_call(sg_session *session, int64_t sequence);

// The same of a batch, once it has been fed: its tape is that of the last feed.
const sg_tape *sg_batch_tape(const sg_batch *batch);
void sg_batch_profile(sg_batch *batch, double *seconds);
// Activations and logits; keys and values are the sessions'.
size_t sg_batch_bytes(const sg_batch *batch);
// As sg_batch_feed with `length` tokens of each session in one pass: tokens (count, length), logits
// behind the last of each, up to rounding those of sg_session_feed. Of sessions without points
// (SG_ERR_ARGUMENT).
sg_status sg_batch_feed_prompts(sg_batch *batch, sg_session *const *sessions, const int32_t *tokens,
                                int64_t count, int64_t length, const float **logits, sg_error *err);

#endif
