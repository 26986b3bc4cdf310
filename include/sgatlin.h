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
// Releases memory that a function of the library handed over to the caller; NULL is allowed.
SG_API void sg_buffer_free(void *buffer);

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

// ---- 3. Tokenizers --------------------------------------------------------------------------
//
// Byte-level BPE as in a Hugging Face tokenizer.json: the ids are those of the Hugging Face library.
// A tokenizer never changes once made and may be used by several threads at a time.

typedef struct sg_tokenizer sg_tokenizer;

// Reads a tokenizer.json; `path` is the file or the folder it lies in. SG_ERR_UNSUPPORTED names the
// field when the file is of a kind this library does not do.
SG_API sg_status sg_tokenizer_open(const char *path, sg_tokenizer **tokenizer, sg_error *err);
// The same from the bytes of a tokenizer.json; `name` is what errors call it.
SG_API sg_status sg_tokenizer_from_memory(const void *json, size_t bytes, const char *name,
                                          sg_tokenizer **tokenizer, sg_error *err);
SG_API void sg_tokenizer_free(sg_tokenizer *tokenizer);
// Writes FOLDER/tokenizer.json: the very bytes the tokenizer was made from.
SG_API sg_status sg_tokenizer_save(const sg_tokenizer *tokenizer, const char *folder, sg_error *err);

// The number of ids, added tokens included; ids are 0 … size-1.
SG_API int32_t sg_tokenizer_vocab_size(const sg_tokenizer *tokenizer);
// A checksum of the tokenizer.json, to tell whether ids on disk are of this tokenizer.
SG_API uint64_t sg_tokenizer_hash(const sg_tokenizer *tokenizer);
// The id of a token as the vocabulary spells it ("<|endoftext|>", "\u0120the"), or -1.
SG_API int32_t sg_tokenizer_token_id(const sg_tokenizer *tokenizer, const char *token);
// The spelling of an id (valid as long as the tokenizer), or NULL.
SG_API const char *sg_tokenizer_token_text(const sg_tokenizer *tokenizer, int32_t id);
SG_API bool sg_tokenizer_is_special(const sg_tokenizer *tokenizer, int32_t id);
// The id that ends, begins or pads a text, or -1. Found by name among the added tokens:
// "<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", … The begin falls back to the end.
SG_API int32_t sg_tokenizer_eos(const sg_tokenizer *tokenizer);
SG_API int32_t sg_tokenizer_bos(const sg_tokenizer *tokenizer);
SG_API int32_t sg_tokenizer_pad(const sg_tokenizer *tokenizer);

typedef struct sg_encode_options {
    bool add_special;   // put the post-processor's special tokens around the text; default false
    bool parse_special; // special tokens written in the text become their ids; default true. Added
                        // tokens that are not special always do.
} sg_encode_options;

SG_API sg_encode_options sg_encode_options_default(void);
// Text to ids; options may be NULL for the defaults. Bytes that are not UTF-8 become U+FFFD, one for
// each maximal ill-formed subpart, as Python's decode("utf-8", "replace") does. Bytes the vocabulary
// has no symbol for vanish, unless it has an unknown token. *ids: sg_buffer_free.
SG_API sg_status sg_tokenizer_encode(const sg_tokenizer *tokenizer, const char *text, size_t bytes,
                                     const sg_encode_options *options, int32_t **ids,
                                     size_t *count, sg_error *err);

typedef struct sg_decode_options {
    bool skip_special; // leave special tokens out; default true
    bool raw;          // hand out the bytes as they are; default false: what is not UTF-8 becomes
                       // U+FFFD as above
} sg_decode_options;

SG_API sg_decode_options sg_decode_options_default(void);
// Ids to text, with a NUL behind it. An id outside the vocabulary is SG_ERR_ARGUMENT.
// *text: sg_buffer_free.
SG_API sg_status sg_tokenizer_decode(const sg_tokenizer *tokenizer, const int32_t *ids,
                                     size_t count, const sg_decode_options *options, char **text,
                                     size_t *bytes, sg_error *err);

// Decoding token by token: a character whose bytes are spread over tokens comes out once it is whole.
// The pieces joined are the text of sg_tokenizer_decode.
typedef struct sg_decoder sg_decoder;

SG_API sg_status sg_decoder_new(const sg_tokenizer *tokenizer, const sg_decode_options *options,
                                sg_decoder **decoder, sg_error *err);
SG_API void sg_decoder_free(sg_decoder *decoder);
// *text (maybe empty, NUL behind it) is valid until the next call.
SG_API sg_status sg_decoder_push(sg_decoder *decoder, int32_t id, const char **text, size_t *bytes,
                                 sg_error *err);
// What is left of an unfinished character; the decoder can then be used for another text.
SG_API sg_status sg_decoder_finish(sg_decoder *decoder, const char **text, size_t *bytes,
                                   sg_error *err);

// Training: byte-level BPE with GPT-2's word pattern, equal to the Hugging Face library's BpeTrainer.
typedef struct sg_tokenizer_train_options {
    int32_t vocab_size;              // default 8192; special tokens and bytes are counted
    const char *const *specials;     // ids 0, 1, …; default "<|pad|>", "<|endoftext|>"
    size_t special_count;
    bool nfkc;                       // normalise text to NFKC first; default true
    bool prefix_space;               // a text's first word gets a space too; default true
    bool full_alphabet;              // a symbol for each of the 256 bytes; default false: bytes that
                                     // do not occur get none, and vanish when such text is encoded
    int64_t min_frequency;           // pairs that are rarer are not merged; default 0
    // Told now and then how far the merging is; returning false stops with SG_ERR_STOPPED.
    bool (*progress)(void *user, int32_t vocab_size, int32_t target);
    void *progress_user;
} sg_tokenizer_train_options;

SG_API sg_tokenizer_train_options sg_tokenizer_train_options_default(void);

// Hands out one document a call, valid until the next; *text = NULL at the end. A status other than
// SG_OK stops the training and is its result.
typedef sg_status (*sg_text_source)(void *user, const char **text, size_t *bytes, sg_error *err);

// Memory grows with the number of different words, not with the length of the text. The result may
// have fewer tokens than asked for when the text has nothing left to merge.
SG_API sg_status sg_tokenizer_train(const sg_tokenizer_train_options *options,
                                    sg_text_source source, void *user, sg_tokenizer **tokenizer,
                                    sg_error *err);

#ifdef __cplusplus
}
#endif

#endif
