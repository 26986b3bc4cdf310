// GGUF files (github.com/ggml-org/ggml, docs/gguf.md): typed metadata and tensors in one file,
// little- endian. A reader that maps the file and trusts nothing in it, and a writer.
#ifndef SG_FORMAT_GGUF_H
#define SG_FORMAT_GGUF_H

#include "format/tensor_view.h"

// Types of metadata, by their numbers in files.
typedef enum sg_gguf_type {
    SG_GGUF_U8 = 0,
    SG_GGUF_I8 = 1,
    SG_GGUF_U16 = 2,
    SG_GGUF_I16 = 3,
    SG_GGUF_U32 = 4,
    SG_GGUF_I32 = 5,
    SG_GGUF_F32 = 6,
    SG_GGUF_BOOL = 7,
    SG_GGUF_STRING = 8,
    SG_GGUF_ARRAY = 9, // in files alone: of one of the others, never of arrays here
    SG_GGUF_U64 = 10,
    SG_GGUF_I64 = 11,
    SG_GGUF_F64 = 12,
    SG_GGUF_TYPE_COUNT
} sg_gguf_type;

// Text inside the file: no NUL behind it, and it may hold any bytes.
typedef struct sg_gguf_string {
    const char *data;
    size_t bytes;
} sg_gguf_string;

typedef struct sg_gguf_value {
    const char *key;
    sg_gguf_type type; // of the value, or of the elements of an array
    bool is_array;
    size_t count; // elements; 1 where it is no array
    // As in the file, without gaps and unaligned; each string is its length (u64) and its bytes.
    const unsigned char *data;
    size_t bytes;
    const char *text; // of a string that is no array: with a NUL behind it; NULL if one is inside
} sg_gguf_value;

// "u8", "string", …; "unknown" for no type.
const char *sg_gguf_type_name(sg_gguf_type type);

// ---- reading ----------------------------------------------------------------------------------

// Views and values point into a read-only mapping and live until close. The file must not be
// shortened by others meanwhile: the system would end the process.
typedef struct sg_gguf sg_gguf;

// Versions 2 and 3. Refused with a message naming file and key or tensor: what does not fit in the
// file, repeated names, alignments that are no power of two, offsets that are no multiple of it,
// tensors that overlap or are of unknown types (SG_ERR_UNSUPPORTED: types, arrays of arrays,
// big-endian files). Space between tensors and behind them is allowed. Of a split file the first
// part is opened and the others, PREFIX-00002-of-00003.gguf …, are with it; another part is
// SG_ERR_ARGUMENT.
sg_status sg_gguf_open(const char *path, sg_gguf **out, sg_error *err);
// The same checks on a file in memory, which is borrowed until close. `name` is for messages.
sg_status sg_gguf_open_memory(const void *data, size_t bytes, const char *name, sg_gguf **out,
                              sg_error *err);
void sg_gguf_close(sg_gguf *file); // NULL is allowed
// Whether a file says that it is one.
sg_status sg_gguf_detect(const char *path, bool *is, sg_error *err);

// What errors should call it: the path it was opened by.
const char *sg_gguf_name(const sg_gguf *file);
uint32_t sg_gguf_version(const sg_gguf *file);
// Bytes of its files, and how many there are.
int64_t sg_gguf_bytes(const sg_gguf *file, int64_t *files);

// Tensors in the order of their data, shapes outermost first (rows of a matrix before columns, the
// reverse of the file), 1 to 4 dimensions. i < count.
size_t sg_gguf_count(const sg_gguf *file);
const sg_tensor_view *sg_gguf_at(const sg_gguf *file, size_t i);
const sg_tensor_view *sg_gguf_find(const sg_gguf *file, const char *name); // NULL: there is none

// Metadata in the order of the file. i < count.
size_t sg_gguf_value_count(const sg_gguf *file);
const sg_gguf_value *sg_gguf_value_at(const sg_gguf *file, size_t i);
const sg_gguf_value *sg_gguf_value_find(const sg_gguf *file, const char *key); // NULL: none

// Typed values. Required when `required` (SG_ERR_NOT_FOUND), else *out keeps its value when the key
// is missing. A wrong type or range is SG_ERR_FORMAT. Writers disagree on the width and sign of
// integers, so every integer type is taken where one is asked for, and both widths of floats.
sg_status sg_gguf_get_int(const sg_gguf *file, const char *key, bool required, int64_t low,
                          int64_t high, int64_t *out, sg_error *err);
// The token that a key names: -1 when it is missing, or no id of a vocabulary of that size (writers
// put 4294967295 and the like for none).
sg_status sg_gguf_get_token(const sg_gguf *file, const char *key, int64_t vocab_size, int64_t *id,
                            sg_error *err);
sg_status sg_gguf_get_number(const sg_gguf *file, const char *key, bool required, double *out,
                             sg_error *err);
sg_status sg_gguf_get_bool(const sg_gguf *file, const char *key, bool required, bool *out,
                           sg_error *err);
// *out lives until close. A string with a NUL inside is SG_ERR_FORMAT.
sg_status sg_gguf_get_string(const sg_gguf *file, const char *key, bool required, const char **out,
                             sg_error *err);
// Arrays. *out: sg_free; NULL with *count 0 when the key is missing and not required. Integers are
// taken from arrays of bool too (0 and 1). Texts point into the file.
sg_status sg_gguf_get_strings(const sg_gguf *file, const char *key, bool required,
                              sg_gguf_string **out, size_t *count, sg_error *err);
sg_status sg_gguf_get_ints(const sg_gguf *file, const char *key, bool required, int64_t **out,
                           size_t *count, sg_error *err);
sg_status sg_gguf_get_floats(const sg_gguf *file, const char *key, bool required, float **out,
                             size_t *count, sg_error *err);

// ---- writing ----------------------------------------------------------------------------------

// Metadata to be written, in the order of the calls. The first failure is kept: later calls do
// nothing, sg_gguf_write reports it.
typedef struct sg_gguf_metadata sg_gguf_metadata;

sg_gguf_metadata *sg_gguf_metadata_new(void); // NULL when out of memory
void sg_gguf_metadata_free(sg_gguf_metadata *metadata);
// Keys must differ; "general.alignment" is the writer's own and refused.
void sg_gguf_put_u32(sg_gguf_metadata *metadata, const char *key, uint32_t value);
void sg_gguf_put_u64(sg_gguf_metadata *metadata, const char *key, uint64_t value);
void sg_gguf_put_f32(sg_gguf_metadata *metadata, const char *key, float value);
void sg_gguf_put_bool(sg_gguf_metadata *metadata, const char *key, bool value);
void sg_gguf_put_string(sg_gguf_metadata *metadata, const char *key, const char *value);
void sg_gguf_put_strings(sg_gguf_metadata *metadata, const char *key, const sg_gguf_string *values,
                         size_t count);
void sg_gguf_put_ints(sg_gguf_metadata *metadata, const char *key, const int32_t *values,
                      size_t count);
void sg_gguf_put_floats(sg_gguf_metadata *metadata, const char *key, const float *values,
                        size_t count);

// Writes version 3 with data aligned to 32 bytes, tensors in the order given, so that a crash
// leaves the old file or the new. mode: SG_OUTPUT_REPLACE or SG_OUTPUT_NEW. Views have 1 to 4
// dimensions, different names of less than 64 bytes (what readers allow), and a type that GGUF has:
// floats, signed integers and blocks. metadata may be NULL.
sg_status sg_gguf_write(const char *path, int mode, const sg_gguf_metadata *metadata,
                        const sg_tensor_view *tensors, size_t count, sg_error *err);

// The number of a tensor type in files, or -1 where GGUF has none; and back, false for no type of
// ours, when *name is what GGUF calls it, or NULL.
int sg_gguf_tensor_type(sg_dtype dtype);
bool sg_gguf_tensor_dtype(uint32_t type, sg_dtype *dtype, const char **name);

// Bytes of a scalar in files; 0 for strings, arrays and unknown types.
size_t sg_gguf_type_bytes(sg_gguf_type type);

enum { SG_GGUF_ALIGNMENT = 32 }; // where a file does not say

#endif
