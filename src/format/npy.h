// NumPy .npy files, for taking figures and activations elsewhere (format: numpy.lib.format).
#ifndef SG_FORMAT_NPY_H
#define SG_FORMAT_NPY_H

#include "base/file.h"
#include "format/tensor_view.h"

typedef struct sg_npy {
    sg_map map;
    sg_tensor_view view; // name "", data inside the map
} sg_npy;

enum { SG_NPY_HEADER = 512 }; // bytes at most of a header that is written

// What stands in front of the data in a file of version 1.0, for those who write these piece by
// piece: bytes of it; 0: NumPy has no such type (bf16, f8, blocks).
size_t sg_npy_header(const sg_tensor_view *view, unsigned char out[SG_NPY_HEADER]);
// Writes version 1.0; mode: SG_OUTPUT_REPLACE or SG_OUTPUT_NEW. bool, integers and f16, f32, f64;
// others are SG_ERR_UNSUPPORTED.
sg_status sg_npy_write(const char *path, int mode, const sg_tensor_view *view, sg_error *err);
// Maps a file of version 1.0 to 3.0: little-endian, row-major, at most 8 dimensions; other valid
// files are SG_ERR_UNSUPPORTED.
sg_status sg_npy_open(const char *path, sg_npy *npy, sg_error *err);
// The same on borrowed memory. `name` is what errors call it.
sg_status sg_npy_parse(const void *data, size_t bytes, const char *name, sg_tensor_view *view,
                       sg_error *err);
void sg_npy_close(sg_npy *npy);

#endif
