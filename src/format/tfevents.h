// TensorBoard event files, written without TensorFlow: TFRecord framing with masked CRC-32C around
// hand-encoded Event messages. One file per life of a process: TensorBoard joins the files of a
// folder, and a resumed run says from which step on the events of its earlier life are void.
#ifndef SG_FORMAT_TFEVENTS_H
#define SG_FORMAT_TFEVENTS_H

#include "base/status.h"

typedef struct sg_tfevents sg_tfevents;

// CRC-32C (Castagnoli), and as TFRecord files store it.
uint32_t sg_crc32c(const void *data, size_t bytes);
uint32_t sg_crc32c_masked(const void *data, size_t bytes);

// Makes folder/events.out.tfevents.SECONDS.TAG (a number is added when that is there already). The
// folder is made when missing. wall_time is in seconds since 1970; `tag` is a plain name, such as
// the host's. first_step: 0 for a new run or one started anew; for one resumed after step S, S + 1.
// TensorBoard drops the events of earlier files from that step on.
sg_status sg_tfevents_open(const char *folder, double wall_time, const char *tag,
                           int64_t first_step, sg_tfevents **out, sg_error *err);
sg_status sg_tfevents_scalar(sg_tfevents *file, double wall_time, int64_t step, const char *name,
                             float value, sg_error *err);
// Shown (as Markdown) under TensorBoard's "text".
sg_status sg_tfevents_text(sg_tfevents *file, double wall_time, int64_t step, const char *name,
                           const char *text, sg_error *err);
// Hands what was written to the system, so that a TensorBoard running beside sees it.
sg_status sg_tfevents_flush(sg_tfevents *file, sg_error *err);
sg_status sg_tfevents_close(sg_tfevents *file, sg_error *err); // NULL is allowed

#endif
