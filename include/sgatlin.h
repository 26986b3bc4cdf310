// sgatlin: train, run, convert and look inside transformer language models whose feed-forward
// layers are sparse. This is the whole public interface, in order of need, and its manual.
//
// Conventions
//   * Every function that can fail returns a status and, when `err` is not NULL, fills in a message
//     that names the file, the field, what was found and what was expected.
//   * Handles are opaque; what `_new` or `_open` returns, `_free` releases (NULL is allowed).
//   * Options structs are filled by their `_default` function first, then changed.
//   * The library never prints, exits, aborts on input, or reads the environment.
//   * Shapes are written (rows, columns); arrays are dense and row-major.
//   * Strings are UTF-8 and NUL-terminated unless a length goes with them.
//   * A handle is used by one thread at a time; different handles are independent.
#ifndef SGATLIN_H
#define SGATLIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SG_API __attribute__((visibility("default")))
#define SG_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define SG_API
#define SG_PRINTF(format_index, first)
#endif

// ---- 1. Status ------------------------------------------------------------------------------

typedef enum sg_status {
    SG_OK = 0,
    SG_ERR_ARGUMENT = 1,    // a value passed by the caller is wrong
    SG_ERR_MEMORY = 2,      // out of memory
    SG_ERR_IO = 3,          // the system refused to read or write
    SG_ERR_NOT_FOUND = 4,   // a file or a name does not exist
    SG_ERR_FORMAT = 5,      // the content of a file is damaged or not of its kind
    SG_ERR_MISMATCH = 6,    // two things that must fit each other do not
    SG_ERR_UNSUPPORTED = 7, // valid, but not something this build can do
    SG_ERR_NUMERIC = 8,     // a NaN, an infinity or a diverging loss
    SG_ERR_STOPPED = 9,     // the caller asked to stop; what was done is saved
    SG_ERR_INTERNAL = 10    // a bug in this library
} sg_status;

typedef struct sg_error {
    sg_status code;
    char message[1024];
} sg_error;

// The name of a status, such as "format error". Never NULL.
SG_API const char *sg_status_name(sg_status status);
// Library version, such as "0.1.0".
SG_API const char *sg_version(void);

// ---- 2. Context: threads and talk -----------------------------------------------------------

typedef enum sg_log_level { SG_LOG_INFO = 0, SG_LOG_WARNING = 1 } sg_log_level;
// One message, without a line end; valid during the call only.
typedef void (*sg_log_fn)(void *user, sg_log_level level, const char *message);

typedef struct sg_context_options {
    int threads;        // 0: as many as the processor has cores
    sg_log_fn log;      // NULL: silent
    void *log_user;
    const char *kernel; // NULL: the fastest this processor has; or "ref", "avx2"
} sg_context_options;

// Threads, kernels and the log callback. Models, tokenizers and runs are made inside a context and
// must be freed before it.
typedef struct sg_context sg_context;

SG_API sg_context_options sg_context_options_default(void);
// options may be NULL for the defaults.
SG_API sg_status sg_context_new(const sg_context_options *options, sg_context **context,
                                sg_error *err);
SG_API void sg_context_free(sg_context *context);
SG_API int sg_context_threads(const sg_context *context);
// The name of the kernels in use: "ref" or "avx2".
SG_API const char *sg_context_kernel(const sg_context *context);

// ---- 4. Text and packed data ----------------------------------------------------------------

// Progress of long work: `done` of `total` in the unit that the function names; total 0 means that
// the end is not known. Called on the calling thread. Returning false stops the work, which then
// reports SG_ERR_STOPPED.
typedef bool (*sg_progress_fn)(void *user, int64_t done, int64_t total);

typedef enum sg_corpus_kind {
    SG_CORPUS_AUTO = 0, // by the name: .jsonl, .ndjson and .json are JSON lines, all else is text
    SG_CORPUS_TEXT = 1,
    SG_CORPUS_JSONL = 2
} sg_corpus_kind;

// How documents are read from files. A path is a plain, gzip or zstd file (told apart by their
// first bytes), or "-" for the standard input; names ending in .gz or .zst are named after what is
// inside.
typedef struct sg_corpus_options {
    sg_corpus_kind kind;
    const char *separator; // text: the line between documents; NULL: each file is one document
    const char *field;     // JSON lines: the member that holds the text
    size_t max_document;   // longest document, and longest line of JSON, in bytes
} sg_corpus_options;

// AUTO, "<|endoftext|>", "text", 64 MiB.
SG_API sg_corpus_options sg_corpus_options_default(void);

typedef enum sg_split { SG_SPLIT_TRAIN = 0, SG_SPLIT_VAL = 1 } sg_split;

typedef enum sg_pack_mode {
    SG_PACK_CONCAT = 0, // documents joined, each closed by the end-of-text id, cut every T ids
    SG_PACK_PAD = 1     // a document a row: cut to T ids or filled up with the padding id
} sg_pack_mode;

typedef struct sg_split_info {
    int64_t documents;
    int64_t rows;
    int64_t tokens;  // in the rows, padding not counted
    int64_t dropped; // tokens cut off: ends of long documents, or a last row that stayed short
} sg_split_info;

typedef struct sg_data_info {
    int64_t seq_len;
    int64_t vocab_size;
    int64_t eos_id;
    int64_t pad_id; // -1: none
    sg_pack_mode mode;
    uint64_t tokenizer_hash;
    uint64_t seed; // of the draw that sent documents to the validation split
    double val_fraction;
    sg_split_info split[2]; // by sg_split
} sg_data_info;

typedef enum sg_data_verify {
    SG_VERIFY_AUTO = 0,  // checksums too when the data is smaller than 1 GiB
    SG_VERIFY_QUICK = 1, // manifest, sizes and headers
    SG_VERIFY_FULL = 2   // and the checksum of every shard
} sg_data_verify;

// A folder of packed data, memory-mapped. The folder must not change while it is open.
typedef struct sg_data sg_data;

SG_API sg_status sg_data_open(const char *folder, sg_data_verify verify, sg_data **data,
                              sg_error *err);
SG_API void sg_data_free(sg_data *data);
// Valid while `data` is.
SG_API const sg_data_info *sg_data_get_info(const sg_data *data);
// One row of seq_len ids, each checked to be below the vocabulary size. May be called by several
// threads at a time.
SG_API sg_status sg_data_row(const sg_data *data, sg_split split, int64_t row, int32_t *ids,
                             sg_error *err);

typedef struct sg_pack_options {
    int64_t seq_len; // T, ids in a row
    sg_pack_mode mode;
    double val_fraction;      // share of documents drawn into the validation split, 0 to 1
    uint64_t seed;            // of that draw, below 2^63
    int64_t shard_bytes;      // about how large a shard file becomes
    bool force;               // replace packed data that is already in the folder
    sg_corpus_options corpus;
    sg_progress_fn progress;  // in bytes of the files; may be NULL
    void *progress_user;
} sg_pack_options;

// T 512, CONCAT, 0.01, seed 0, 256 MiB.
SG_API sg_pack_options sg_pack_options_default(void);

#ifdef __cplusplus
}
#endif

#endif
