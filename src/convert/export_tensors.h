// The tensors of a file that is to be written, made one after the other from the parameters of an
// open model: the rules of model/tensor_map.h the other way.
#ifndef SG_CONVERT_EXPORT_TENSORS_H
#define SG_CONVERT_EXPORT_TENSORS_H

#include "base/parallel.h"
#include "model/model_file.h"

// How pairs of rotary positions move on the way: files differ in which numbers of a head are
// rotated together.
typedef enum sg_pairing {
    SG_PAIRING_KEPT,
    SG_PAIRING_TO_HALVES,    // neighbours become i and i + half
    SG_PAIRING_TO_NEIGHBOURS // the other way
} sg_pairing;

// SG_DTYPE_COUNT: as stored, if that is elements of a floating type, else F32.
typedef struct sg_export_types {
    sg_dtype matrices, vectors;
    const char *const *f32; // ends of names of tensors that are F32 in any case; a NULL ends them
} sg_export_types;

typedef struct sg_export_part {
    size_t param;
    sg_piece piece;
} sg_export_part;

typedef struct sg_export {
    sg_tensor_view *views; // (count) what writers take: their source is this
    size_t count;
    int64_t bytes; // of all tensors
    sg_progress_fn progress;
    void *progress_user;
    // Inside:
    const sg_model_file *file;
    sg_param_list params;
    sg_compute compute;
    sg_pairing pairing;
    sg_tensor_source source;
    sg_export_part *parts;                         // by tensor
    size_t part_count, part_capacity, *first_part; // (count + 1)
    sg_pieces pieces;                              // of parameter `pieces_of` in the open file
    size_t pieces_of;
    sg_real *wide, *rows; // values of one tensor; of one part
    void *narrow;         // one tensor in its type
    int64_t done;
} sg_export;

// map: rules of what is written. The file must have been opened and stays open; it is checked here.
// `out` is not moved while it is used. Release with sg_export_free, also on failure.
sg_status sg_export_new(const sg_model_file *file, const sg_tensor_map *map,
                        const sg_export_types *types, sg_pairing pairing, sg_compute compute,
                        sg_export *out, sg_error *err);
// One more tensor, of bytes that outlive this, behind the others.
sg_status sg_export_add(sg_export *out, sg_tensor_view view, sg_error *err);
void sg_export_free(sg_export *out);

#endif
