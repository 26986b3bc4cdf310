// sgatlin: train, run, convert and look inside transformer language models whose feed-forward
// layers are sparse. This header is the manual to read first: status, context, tokenizers, models,
// evaluation and generation. Its companions are included where they are needed: sgatlin_data.h
// (text and packed data), sgatlin_train.h, sgatlin_convert.h and sgatlin_bench.h; for experiments
// sgatlin_sweep.h (many runs that answer one question) and sgatlin_report.h (the answer); and for
// looking inside sgatlin_probe.h (values of a pass), sgatlin_record.h (what fires where),
// sgatlin_usage.h, sgatlin_gates.h (such records), sgatlin_recall.h (facts known), sgatlin_patch.h
// (parts of runs exchanged), sgatlin_edit.h (neurons changed; circuits), sgatlin_trace.h (what a
// logit is made of), sgatlin_scope.h (a page); sgatlin_resident.h is of models larger than memory.
//
// Conventions
//   * Every function that can fail returns a status and, when `err` is not NULL, fills in a message
//     that names the file, the field, what was found and what was expected.
//   * Handles are opaque; what `_new` or `_open` returns, `_free` releases (NULL is allowed).
//   * Options structs are filled by their `_default` function first, then changed.
//   * The library never prints, exits, aborts on input, or reads the environment.
//   * Shapes are written (rows, columns); arrays are dense and row-major.
//   * Strings are UTF-8 and NUL-terminated unless a length goes with them.
//   * A program that handles signals does so on a stack of its own (sigaltstack, SA_ONSTACK), since
//     long products borrow the stack register. Threads of a context handle none.
//   * A handle is used by one thread at a time; different handles are independent. Sessions of one
//     model may work on several threads at once: their loops take turns on the threads of the
//     context.
#ifndef SGATLIN_H
#define SGATLIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SG_API                         __attribute__((visibility("default")))
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

// Why a call failed; NULL is allowed. One that returns SG_OK leaves it as it was, or empty.
typedef struct sg_error {
    sg_status code;
    char message[1024];
} sg_error;

// The name of a status, such as "format error". Never NULL.
SG_API const char *sg_status_name(sg_status status);
// Library version, such as "0.1.0".
SG_API const char *sg_version(void);
// What the library was built with: "gcc 12.2.0".
SG_API const char *sg_compiler(void);
// A library that this one computes or reads files with, in the version that is loaded now. The one
// of dense products is sg_context_products.
typedef struct sg_library {
    const char *name;
    char version[32];
} sg_library;
// Fills in at most `room` of them and returns how many there are.
SG_API size_t sg_libraries(sg_library *list, size_t room);
// The file that the library has mapped at an address, or NULL: for a handler of SIGBUS, which comes
// when a file is cut short while it is read. May be called in one.
SG_API const char *sg_mapped_file(const void *address);
// Releases memory that a function of the library handed over to the caller; NULL is allowed.
SG_API void sg_buffer_free(void *buffer);

// ---- 2. Context: threads and talk -----------------------------------------------------------

typedef enum sg_log_level { SG_LOG_INFO = 0, SG_LOG_WARNING = 1 } sg_log_level;
// One message, without a line end; valid during the call only.
typedef void (*sg_log_fn)(void *user, sg_log_level level, const char *message);

// Where the big blocks of a context come from: weights that are not mapped from a file,
// activations, keys and values, gradients, moments of the optimiser. What is small, and gradients
// by rows, whose tables are addresses rather than memory, come from the system. Any thread may
// call.
typedef struct sg_allocator {
    // Zeroed and 64-byte aligned; NULL: there is none, and SG_ERR_MEMORY is what comes of it.
    void *(*alloc)(void *user, size_t bytes);
    void (*free)(void *user, void *block, size_t bytes); // what alloc gave, and its size
    void *user;
} sg_allocator;

typedef struct sg_context_options {
    int threads;   // 0: as many as the processor has cores
    sg_log_fn log; // NULL: silent
    void *log_user;
    const char *kernel; // NULL: the fastest this processor has; or "ref", "avx2", "avx512", "neon"
    sg_allocator allocator; // alloc NULL: memory of the system
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
// The name of the kernels in use: "ref", "avx2", "avx512" or "neon".
SG_API const char *sg_context_kernel(const sg_context *context);
// What computes dense products, its version and the instructions it uses: "onednn 2.6.3 (avx2)", or
// "plain". The same seed gives the same bits where this and sg_context_kernel are the same.
SG_API const char *sg_context_products(const sg_context *context);

// Progress of long work: `done` of `total` in the unit that the function names; total 0 means that
// the end is not known. Called on the calling thread. Returning false stops the work, which then
// reports SG_ERR_STOPPED.
typedef bool (*sg_progress_fn)(void *user, int64_t done, int64_t total);

// ---- 3. Tokenizers --------------------------------------------------------------------------
//
// BPE as in a Hugging Face tokenizer.json, over bytes or over characters with a fallback to bytes:
// the ids are those of the Hugging Face library. Also llama2.c's tokenizer.bin and those of GGUF
// files. A tokenizer never changes once made and may be used by several threads at a time.

typedef struct sg_tokenizer sg_tokenizer;
// Reads a tokenizer.json, a tokenizer.bin of llama2.c, or what a GGUF file has of one; `path` is
// the file or the folder in which a tokenizer.json lies. SG_ERR_UNSUPPORTED names the field when
// the file is of a kind this library does not do.
SG_API sg_status sg_tokenizer_open(const char *path, sg_tokenizer **tokenizer, sg_error *err);
// The same from the bytes of the file; `name` is what errors call it.
SG_API sg_status sg_tokenizer_from_memory(const void *data, size_t bytes, const char *name,
                                          sg_tokenizer **tokenizer, sg_error *err);
SG_API void sg_tokenizer_free(sg_tokenizer *tokenizer);
// Writes FOLDER/tokenizer.json, making the folder: the very bytes the tokenizer was made from, or,
// of a tokenizer.bin, a file that means the same. SG_ERR_UNSUPPORTED where no such file could
// (tokens that merge with equal scores).
SG_API sg_status sg_tokenizer_save(const sg_tokenizer *tokenizer, const char *folder,
                                   sg_error *err);

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

// The ids that the file's template puts in front of a text. False when it has no template; *count
// may be 0 when it has.
SG_API bool sg_tokenizer_begin(const sg_tokenizer *tokenizer, const int32_t **ids, size_t *count);

typedef struct sg_encode_options {
    bool add_special;   // put the post-processor's special tokens around the text; default false
    bool parse_special; // special tokens written in the text become their ids; default true. Added
                        // tokens that are not special always do.
    int64_t *replaced;  // where given, set to the places that were not UTF-8
    // Where given, set to the bytes of the normalised text that no id stands for: the vocabulary
    // has no symbol for them, so that they vanish or become the unknown token, or they lie between
    // words and are taken out there.
    int64_t *lost_bytes;
} sg_encode_options;
SG_API sg_encode_options sg_encode_options_default(void);
// Text to ids; options may be NULL for the defaults. Bytes that are not UTF-8 become U+FFFD, one
// for each maximal ill-formed subpart, as Python's decode("utf-8", "replace") does. *ids:
// sg_buffer_free.
SG_API sg_status sg_tokenizer_encode(const sg_tokenizer *tokenizer, const char *text, size_t bytes,
                                     const sg_encode_options *options, int32_t **ids, size_t *count,
                                     sg_error *err);

typedef struct sg_decode_options {
    bool skip_special; // leave special tokens out; default true
    bool raw;          // hand out the bytes as they are; default false: what is not UTF-8 becomes
                       // U+FFFD as above
} sg_decode_options;
SG_API sg_decode_options sg_decode_options_default(void);
// Ids to text, with a NUL behind it, as the library's decoder steps have it. An id outside the
// vocabulary is SG_ERR_ARGUMENT.
// *text: sg_buffer_free.
SG_API sg_status sg_tokenizer_decode(const sg_tokenizer *tokenizer, const int32_t *ids,
                                     size_t count, const sg_decode_options *options, char **text,
                                     size_t *bytes, sg_error *err);

// Decoding token by token: a character whose bytes are spread over tokens comes out once it is
// whole; a run of fallback tokens for bytes once it ends, for only then is it known whether it is
// UTF-8. The pieces joined are the text of sg_tokenizer_decode.
typedef struct sg_decoder sg_decoder;
SG_API sg_status sg_decoder_new(const sg_tokenizer *tokenizer, const sg_decode_options *options,
                                sg_decoder **decoder, sg_error *err);
SG_API void sg_decoder_free(sg_decoder *decoder);
// *text (maybe empty, NUL behind it) is valid until the next call.
SG_API sg_status sg_decoder_push(sg_decoder *decoder, int32_t id, const char **text, size_t *bytes,
                                 sg_error *err);
// What the text goes on from: takes the ids of a prompt, hands out nothing of it, and decodes what
// is pushed afterwards as its continuation. A token that begins a word in the SentencePiece style
// has its space there, which it would lose as the first of a text. To be called before the first
// push.
SG_API sg_status sg_decoder_follow(sg_decoder *decoder, const int32_t *ids, size_t count,
                                   sg_error *err);
// What is left of an unfinished character; the decoder can then be used for another text.
SG_API sg_status sg_decoder_finish(sg_decoder *decoder, const char **text, size_t *bytes,
                                   sg_error *err);

// Chat templates: the Jinja that comes with a model and makes the prompt of a chat. The language is
// that of Jinja 3.1 as Hugging Face sets it up (immutable sandbox, trim_blocks, lstrip_blocks, loop
// controls, {% generation %}), read as a whole: statements with macros and call blocks, loops with
// conditions, recursion and loop.*, set of names and blocks, with, filter, raw; expressions of
// strings, numbers of 64 bits, lists, tuples and maps with Python's operators, slices and formats;
// the filters, tests and methods of Jinja and of Python's str and dict; range, dict, namespace,
// cycler, joiner, raise_exception, strftime_now. What is left out (other templates, random, urlize
// …) is SG_ERR_UNSUPPORTED when a chat comes to it: named, with the line. What Jinja refuses too is
// SG_ERR_ARGUMENT. A template that takes too much time or memory is SG_ERR_FORMAT.
typedef struct sg_chat sg_chat;
// Reads the template of a model folder: chat_template.jinja, else "chat_template" of
// tokenizer_config.json (of several the one named "default"), with the texts of its bos_token,
// eos_token and other special tokens; or of a GGUF file. SG_ERR_NOT_FOUND when it has none.
SG_API sg_status sg_chat_open(const char *folder, sg_chat **chat, sg_error *err);
// From the text of a template; bos, eos: what the template calls bos_token and eos_token, or NULL.
SG_API sg_status sg_chat_new(const char *source, size_t bytes, const char *name, const char *bos,
                             const char *eos, sg_chat **chat, sg_error *err);
SG_API void sg_chat_free(sg_chat *chat);
// The text of the token that ends what the model says, or NULL when the folder does not tell.
SG_API const char *sg_chat_eos(const sg_chat *chat);

typedef struct sg_chat_message {
    const char *role;    // "system", "user", "assistant", …
    const char *content; // UTF-8; NULL: none
    const char *json; // not NULL: the whole message as a JSON object (with tool_calls, name, a list
                      // as content …); role and content are then not looked at
} sg_chat_message;

typedef struct sg_chat_options {
    bool answer; // add_generation_prompt: end with what begins the assistant's turn; default true
    // JSON, or NULL: the lists `tools` and `documents` (none), an object whose members are more
    // names for the template ({"enable_thinking": false}).
    const char *tools, *documents, *variables;
    // What strftime_now tells: "2026-01-31" or "2026-01-31 23:59:59". NULL (the default): a
    // template that asks for the date is SG_ERR_ARGUMENT, since the library reads no clock.
    const char *date;
    int64_t work; // the most it may cost, in units of some nanoseconds; default 2^27
    // Asked now and then while it runs; returning false stops with SG_ERR_STOPPED. NULL: goes on.
    bool (*go_on)(void *user);
    void *user;
} sg_chat_options;
SG_API sg_chat_options sg_chat_options_default(void);

// The messages of a JSON file: [{"role": "user", "content": "…"}, …], or an object that has them as
// "messages".
typedef struct sg_chat_messages {
    sg_chat_message *items; // (count) as JSON
    size_t count;
    char *last; // the content of the last one where it is a text, else ""
} sg_chat_messages;
SG_API sg_status sg_chat_messages_read(const char *path, sg_chat_messages *messages, sg_error *err);
SG_API void sg_chat_messages_clear(sg_chat_messages *messages);
// A JSON file that holds a list, for `tools` or `documents`. *text: sg_buffer_free.
SG_API sg_status sg_chat_list_read(const char *path, char **text, sg_error *err);

// The prompt of a chat, to be encoded as it is (plain_start of sg_generate_options). options: NULL
// for the defaults. *text (*bytes, NUL behind it): sg_buffer_free. A template that raises an
// exception is SG_ERR_ARGUMENT with its words. May be called by several threads at a time.
SG_API sg_status sg_chat_render(const sg_chat *chat, const sg_chat_message *messages, size_t count,
                                const sg_chat_options *options, char **text, size_t *bytes,
                                sg_error *err);

// Training: byte-level BPE with GPT-2's word pattern, equal to the Hugging Face library's
// BpeTrainer.
typedef struct sg_tokenizer_train_options {
    int32_t vocab_size;          // default 8192; special tokens and bytes are counted
    const char *const *specials; // ids 0, 1, …; default "<|pad|>", "<|endoftext|>"
    size_t special_count;
    bool nfkc;          // normalise text to NFKC first; default true
    bool prefix_space;  // a text's first word gets a space too; default true
    bool full_alphabet; // a symbol for each of the 256 bytes; default true. Without it bytes that
                        // do not occur get none, and are lost from text encoded later
    int64_t min_frequency; // pairs that are rarer are not merged; default 0
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

// ---- 4. Models ------------------------------------------------------------------------------

// The configuration of a model, as stored in its config.json under the same names. A value of 0, or
// an empty string, means "left out": the default of the family, filled in by sg_config_complete. A
// number that is said to be 0 is -0.0, which sg_config_set makes of "0": an epsilon of 0 is one;
// what cannot be 0 is refused.
typedef struct sg_config {
    int64_t vocab_size;                               // V
    int64_t hidden_size;                              // d
    int64_t num_hidden_layers;                        // L
    int64_t num_attention_heads;                      // H
    int64_t head_dim;                                 // even; 64 in all published models
    int64_t max_position_embeddings;                  // longest sequence
    double rms_norm_eps;                              // of all norms of the block; 1e-6
    double rope_theta;                                // 10000
    int64_t pad_token_id, eos_token_id, bos_token_id; // -1: none
    // What the transformer around the layers is. Our own models keep the defaults, which are named
    // first; other checkpoints are opened by these (docs/CHECKPOINTS.md).
    int64_t untied_classifier;   // 0: the embedding is the classifier; 1: it has weights of its own
    char norm[16];               // rmsnorm, layernorm (with a shift)
    int64_t parallel_residual;   // 0; 1: attention and feed-forward layer read the same h
    int64_t num_key_value_heads; // of keys and values, a divisor of num_attention_heads; 0: all
    char qk_norm[16];            // norm of queries and keys: head, full (before the split), none
    double clip_qkv;             // 0: none; queries, keys and values are cut at this magnitude
    int64_t attention_bias;      // 1: projections to queries, keys and values have biases
    int64_t attention_out_bias;  // 1: the projection behind attention has one
    int64_t attention_sinks;     // 1: a learned logit a head that takes weight and gives nothing
    int64_t sliding_window;      // 0: all; a token sees itself and those before, so many in all
    char sliding_layers[192];    // layers with the window, as ffn_layers
    // Projections to queries, keys and values and the one behind attention that are MLPs of ReLU in
    // place of linear layers: their hidden width, one for all layers or a list, "64,0,64"; 0, "":
    // linear.
    char attention_mlp_q[512], attention_mlp_k[512], attention_mlp_v[512], attention_mlp_o[512];
    char positions[16];       // rotary, learned
    int64_t position_offset;  // learned: row of the first position; 0
    int64_t rotary_dim;       // numbers of a head that are rotated; 0: all
    int64_t rope_interleaved; // 1: neighbours are rotated together, 0: halves
    char rope_scaling[16];    // none, linear, llama3, yarn
    double rope_factor;       // of a scaling
    double rope_low_freq_factor, rope_high_freq_factor; // llama3
    double rope_beta_fast, rope_beta_slow;              // yarn: 32, 1
    double rope_attention_factor;                       // yarn; 0: 0.1 ln(factor) + 1
    int64_t rope_original_positions;                    // llama3, yarn
    int64_t rope_exact_borders;                         // yarn: 0; 1: borders are not rounded
    // Inputs of products that are left out where they are small: lists of thresholds, one for each
    // layer, "0.1,0.12"; "": none is left out there.
    char trim_attention[1024];     // of queries, keys and values
    char trim_attention_out[1024]; // of the projection behind attention
    char trim_ffn[1024];           // of dense feed-forward layers
    char trim_ffn_down[1024];      // of their w_out
    int64_t trim_scaled;           // 1: sizes are times norms of columns, which are parameters
    // The feed-forward layer. What a family does not have is 0 or "" in a complete configuration;
    // docs/MODEL.md says which family takes what.
    char ffn[24]; // family, one of sg_config_family
    char ffn_router[24];
    char ffn_activation[24];
    int64_t ffn_intermediate_size; // F: width of a dense layer or one expert
    int64_t ffn_experts;           // E
    int64_t ffn_channels;          // C
    int64_t ffn_neurons;           // N, a channel or in the one pool they share; a square
                                   // for product routers
    int64_t ffn_key_size;          // K: router bottleneck
    int64_t ffn_top_k;             // k: selected a channel, or experts a token
    // Memories of cells: E F cells in blocks of g, of which a token reads k.
    int64_t ffn_block_size;     // g; 0: F
    int64_t ffn_memory_factor;  // E
    int64_t ffn_active_neurons; // k; 0: F
    char ffn_gate[24];          // none, after
    int64_t ffn_hash_seed;      // of the draw of blocks
    char ffn_normaliser[24];    // of the selected scores of a channel: softmax, sigmoid, relu, gelu
    char ffn_query_norm[24];    // none, layernorm, batchnorm
    int64_t ffn_query_bias;     // 0, 1
    // Which layers are sparse, of all sparse families; the others are dense.
    char ffn_layers[96];    // "all", "every:N" (layers N, 2N, …) or a list: "1,3", "2-4,6"
    char ffn_dense[24];     // mlp, glu: the family of the others
    int64_t ffn_dense_size; // their width; 0: ffn_intermediate_size where there is one, else 4 d
    int64_t ffn_share_pool; // 1: one memory for all sparse layers, each with its own router
    // Routers that score blocks.
    char ffn_score[24];         // softmax, sigmoid
    int64_t ffn_renormalise;    // 1: the scores of the selected are divided by their sum
    int64_t ffn_shared_experts; // experts that every token takes
    double ffn_capacity_factor; // in training, a block takes that many times its share; 0: all
    double ffn_balance_loss;    // weights of the losses of the router; 0: none
    double ffn_z_loss;
    double ffn_bias_rate; // step of the bias that balances the choice; 0: none
    // Forms of other checkpoints.
    int64_t ffn_bias;            // 1: the layers have biases (clamped_swiglu always)
    int64_t ffn_glu_interleaved; // 1: gates and values in turns, 0: one half each
    int64_t ffn_router_bias;     // 1: the router has a learned bias
    int64_t ffn_shared_size;     // width of the shared experts together; 0: that of as many
    int64_t ffn_shared_gate;     // 1: they are scaled by a sigmoid of their own
    // Dense layers whose neurons were cut into blocks of ffn_block_size (moefied).
    char ffn_select[24];     // which of ffn_top_k blocks are read: top_k, max, share, threshold
    double ffn_threshold;    // of all but top_k
    int64_t ffn_router_size; // hidden width of routers that are small networks; 0: blocks
    int64_t ffn_mean;        // 1: means of activations stand in for blocks that are not read
    // Lists with a value for each layer, "32,32,64", in place of ffn_block_size, ffn_top_k and
    // ffn_threshold; "": those hold for all. What stands there for a dense layer is not read.
    char ffn_layer_block_size[512], ffn_layer_top_k[512], ffn_layer_threshold[1024];
} sg_config;

// What is stated of a field of options: of a configuration here, of training in sgatlin_train.h.
// Options of the command, keys of JSON, help and rules are made from it.
typedef enum sg_field_kind {
    SG_FIELD_INT = 0, // int64_t
    SG_FIELD_NUMBER,  // double
    SG_FIELD_STRING,  // char[]
    SG_FIELD_BOOL,    // bool
    SG_FIELD_SEED,    // uint64_t; text in JSON, whose integers have not all 64 bits
    SG_FIELD_ENUM     // an enum: the number of a choice, its text in JSON
} sg_field_kind;

enum {
    SG_FIELD_ABOVE = 1,  // the range begins above `low`, not at it
    SG_FIELD_BELOW = 2,  // and ends below `high`
    SG_FIELD_FILLED = 4, // 0 or "" is left out and filled in: where it is said, it is refused
    SG_FIELD_RULED = 8,  // depends on other fields: a rule of its own fills it in and checks it
    SG_FIELD_TUNED = 16, // of a configuration: may be chosen anew for a model that is gone on from
    SG_FIELD_CHANGES = 32, // of training: a run that goes on may change it
    SG_FIELD_BESIDE = 64,  // of training: may be chosen beside a published recipe
    SG_FIELD_BUDGET = 128  // of training: exactly one of these is above 0
};

typedef struct sg_field {
    const char *name; // of the member and of its key in JSON; with dashes, of its option
    sg_field_kind kind;
    const char *help;
    const char *group;    // the title it stands under; NULL: it is no option of the command
    const char *also;     // a second name of the option; NULL: none
    const char *argument; // what help calls the value: "N"
    const char *choices;  // "head|full|none"; NULL: any text, or the family says
    const char *initial;  // the default as text; NULL: `shown` says whose it is, or 0 or ""
    const char *shown;    // the default as help shows it; NULL: `initial`
    double low, high;     // of a number; both 0: any
    unsigned flags;       // SG_FIELD_…
    size_t offset, bytes; // of the member
} sg_field;

// The fields above in order, for programs that offer each as an option.
SG_API size_t sg_config_field_count(void);
SG_API const sg_field *sg_config_field_at(size_t index);
// The value of a field, in the member of its kind; the others are 0 or "".
typedef struct sg_config_value {
    int64_t integer;
    double number;
    const char *text; // in the configuration
} sg_config_value;
SG_API sg_config_value sg_config_get(const sg_config *config, size_t index);
// Sets one field from text; SG_ERR_ARGUMENT names the field, what was found and expected.
SG_API sg_status sg_config_set(sg_config *config, const char *name, const char *value,
                               sg_error *err);
// Fills in defaults of the family, then checks every rule that the layers need.
SG_API sg_status sg_config_complete(sg_config *config, sg_error *err);

// A named configuration with its training recipe: tinystories-{mlp,glu,moe,peer,sgatlin},
// slimpajama-{...}-s1 ... s9, demo; Schug 2026 (arXiv 2606.07414) and its released code. And
// laptop-FAMILY-s1 ... s12 of every family, for studies on a few cores (docs/MODEL.md).
typedef struct sg_preset {
    const char *name;
    sg_config config; // complete but for vocab_size, which comes with the tokenizer
    int64_t seq_len;
    int64_t batch_size; // sequences a step
    double lr, weight_decay, clip;
    int64_t warmup_steps;
    double decay_fraction;
} sg_preset;

// SG_ERR_NOT_FOUND lists the names there are.
SG_API sg_status sg_preset_find(const char *name, sg_preset *preset, sg_error *err);
// The names in order, NULL behind the last. index < 0 is not allowed.
SG_API const char *sg_preset_name(size_t index);
// Names of the feed-forward families, from 0; NULL behind the last.
SG_API const char *sg_config_family(size_t index);
// Whether a family has a field of a configuration ("ffn_top_k"). text becomes what it may be there:
// a list of names, the first the default, or the ends of a range; "" where all families have it.
SG_API bool sg_config_takes(const char *family, const char *field, char *text, size_t capacity);
// Changes the family of a preset: the sizes of the feed-forward layer become those of the preset of
// the same scale; all else stays as it is.
SG_API sg_status sg_preset_set_family(sg_preset *preset, const char *family, sg_error *err);

// A field or option by its name, and its value as text, as on a command line.
typedef struct sg_setting {
    const char *name, *value;
} sg_setting;
// Sets fields of the preset's configuration: "ffn" first, as sg_preset_set_family does, then the
// others; of two of one name the last holds. Names of other things are passed over. Heads follow
// the width unless they are given. seq_len: 0, or the length of sequences. SG_ERR_ARGUMENT also for
// a field of the feed-forward layer that has no effect beside the others.
SG_API sg_status sg_preset_change(sg_preset *preset, const sg_setting *settings, size_t count,
                                  int64_t seq_len, sg_error *err);
// The name that is most like `word`, for "did you mean"; NULL: none is much like it. names: NULL
// behind the last.
SG_API const char *sg_nearest_name(const char *word, const char *const *names);

// How dense products are computed. Sums are f32 in all kinds.
typedef enum sg_compute_kind {
    SG_COMPUTE_F32 = 0,
    SG_COMPUTE_BF16X3 = 1, // each operand as the sum of two bf16, three products: error near 2^-16
    SG_COMPUTE_BF16 = 2    // operands rounded to bf16
} sg_compute_kind;
// The units of the processor that multiply in a kind: "amx", "avx512_bf16"; NULL: f32 does, of
// operands that are rounded where the kind is bf16. AVX512-BF16 multiplies bf16 twice as fast as
// f32, so bf16x3, three such products, is f32 there; AMX multiplies in both kinds.
SG_API const char *sg_context_units(const sg_context *context, sg_compute_kind kind);
// "f32", "bf16x3", "bf16"; NULL for no value of the enum.
SG_API const char *sg_compute_kind_name(sg_compute_kind kind);
// SG_ERR_ARGUMENT names `field`, what was found and expected.
SG_API sg_status sg_compute_kind_parse(const char *text, const char *field, sg_compute_kind *kind,
                                       sg_error *err);

// How a memory of single neurons is read: in the rows of the selected neurons, or whole, through
// dense products whose results are thrown away but for the selected. Results differ in roundings.
typedef enum sg_memory_path {
    SG_MEMORY_PATH_AUTO = 0, // as the shape says, the kind of products and the processor's units
    SG_MEMORY_PATH_ROWS = 1,
    SG_MEMORY_PATH_DENSE = 2 // not of tables whose gradients are kept by rows
} sg_memory_path;
// "auto", "rows", "dense"; NULL for no value of the enum.
SG_API const char *sg_memory_path_name(sg_memory_path path);
// SG_ERR_ARGUMENT names `field`, what was found and expected.
SG_API sg_status sg_memory_path_parse(const char *text, const char *field, sg_memory_path *path,
                                      sg_error *err);

// What training adds to the loss so that activations of dense layers, plain, gated or in blocks,
// become sparse: of the hidden activations of a token, of a gated layer of the outputs of its
// gates, their sum (L1, of magnitudes) or square Hoyer; or the same of what is above `floor` before
// the activation (D2DMoE, Szatkowski et al. 2024).
typedef enum sg_sparsity_term {
    SG_SPARSITY_NONE = 0,
    SG_SPARSITY_L1 = 1,
    SG_SPARSITY_HOYER = 2,
    SG_SPARSITY_CLAMPED = 3,
    SG_SPARSITY_CLAMPED_HOYER = 4
} sg_sparsity_term;
// What of a model has such a term: feed-forward layers, MLPs in place of projections of attention
// (attention_mlp_q, …), or both, each of them a mean of its own.
typedef enum sg_sparsity_modules {
    SG_SPARSITY_OF_FFN = 0,
    SG_SPARSITY_OF_ATTENTION = 1,
    SG_SPARSITY_OF_BOTH = 2
} sg_sparsity_modules;
typedef struct sg_sparsity {
    sg_sparsity_term term;
    sg_sparsity_modules modules;
    double floor;
    // LTE's first stage (Zheng et al. 2024): routers "sigmoid" run all blocks, each times its
    // score, and have losses, of which separability has a pole that is cut off at a distance
    // `least`.
    bool soft;
    double least;
} sg_sparsity;

// What a model of this configuration costs. FLOPs are of one sequence of seq_len tokens, forward.
typedef struct sg_cost {
    int64_t parameters;
    int64_t active_parameters_per_token; // all but the neurons that a token does not select
    // The parts. The embedding is the classifier too; memory: experts, neurons, dense layers.
    int64_t attention_parameters, router_parameters, memory_parameters, embedding_parameters,
        norm_parameters;
    int64_t ffn_neurons; // of all layers
    int64_t ffn_active_neurons_per_token;
    double forward_flops_per_sequence;        // published count: attention (full T x T) and FFN
    double forward_flops_per_sequence_all_in; // and the logits
    double attention_flops, router_flops, memory_flops, logits_flops; // the parts
    double forward_work_per_sequence; // that must be done: logits, attention over the causal half
    int64_t weight_bytes, gradient_bytes, optimizer_bytes;
    int64_t activation_bytes; // of a training step on `batch` sequences, in its kind of products
    int64_t bf16_table_bytes; // of the copies that table_dtype SG_WEIGHTS_BF16 adds to training
} sg_cost;

// `batch` sequences in one micro-batch; recompute: activation checkpointing; threads: 0 counts as
// 1. Products are f32.
SG_API sg_status sg_config_cost(const sg_config *config, int64_t seq_len, int64_t batch,
                                bool recompute, int threads, sg_cost *cost, sg_error *err);
// The same with products of other kinds, which decide what activations are kept in, and another way
// of computing sparse memories, which decides what a step needs beside them.
typedef struct sg_cost_options {
    int64_t seq_len, batch;
    bool recompute;
    int threads;
    sg_compute_kind compute, logits_compute;
    sg_memory_path memory_path; // of sparse memories of single neurons; auto
    sg_sparsity sparsity;       // what training adds; nothing
} sg_cost_options;
SG_API sg_status sg_config_cost_of(const sg_config *config, const sg_cost_options *options,
                                   sg_cost *cost, sg_error *err);

// What weights are stored in where they are only read. Sums are f32 in any case. The first three
// can be chosen; the others are what files hold, and are read as they lie there (docs/FORMATS.md,
// "Stored weights").
typedef enum sg_weights {
    SG_WEIGHTS_F32 = 0,
    SG_WEIGHTS_BF16 = 1, // the upper half of a float, to nearest, ties to even: 8 bits of precision
    SG_WEIGHTS_INT8 = 2, // -127 to 127 times a scale (f32) of each row, its largest magnitude / 127
    SG_WEIGHTS_F16 = 3,  // IEEE half precision
    SG_WEIGHTS_Q8_0 = 4, // GGUF: blocks of 32 or 256 neighbours in a row with a common scale
    SG_WEIGHTS_Q4_0 = 5,
    SG_WEIGHTS_Q4_1 = 6,
    SG_WEIGHTS_Q5_0 = 7,
    SG_WEIGHTS_Q5_1 = 8,
    SG_WEIGHTS_Q4_K = 9,
    SG_WEIGHTS_Q5_K = 10,
    SG_WEIGHTS_Q6_K = 11,
    SG_WEIGHTS_MXFP4 = 12 // GPT-OSS: 4-bit floats, 32 neighbours with a common power of two
} sg_weights;
// "f32", "bf16", "q4_k", …; NULL for no value of the enum.
SG_API const char *sg_weights_name(sg_weights weights);
// One that can be chosen. SG_ERR_ARGUMENT names `field`, what was found and expected.
SG_API sg_status sg_weights_parse(const char *text, const char *field, sg_weights *weights,
                                  sg_error *err);

// What a model on disk is, as its files say.
enum { SG_ABOUT_TYPES = 16 };
typedef struct sg_type_share {
    char name[16]; // "BF16", "Q4_K"
    int64_t tensors, bytes;
} sg_type_share;
typedef struct sg_model_about {
    char form[16];                       // "sgatlin", "Hugging Face", "GGUF", "llama2.c"
    char architecture[40];               // its model_type, or GGUF's general.architecture
    int64_t files, bytes;                // that hold the weights
    sg_type_share types[SG_ABOUT_TYPES]; // (type_count) the one with most bytes first
    size_t type_count;
    char tokenizer
        [400];     // "gpt2 smollm, 49152 tokens"; "": none; "not read: …" why it cannot be opened
    bool has_chat; // a chat template
    char chat[400]; // "", or "not read: …"
} sg_model_about;
SG_API sg_status sg_model_describe(const char *path, sg_model_about *about, sg_error *err);

// A model: configuration and weights (f32, unless opened otherwise).
typedef struct sg_model sg_model;
// Fresh weights by the published laws from (seed). Ownership: sg_model_free.
SG_API sg_status sg_model_new(sg_context *context, const sg_config *config, uint64_t seed,
                              sg_model **model, sg_error *err);
// Opens a model: a folder with config.json and model.safetensors or its shards, of ours or of a
// model type of the Hugging Face library that docs/CHECKPOINTS.md lists; a GGUF file; or a model of
// llama2.c. All weights are f32 then: memory-mapped where the file has them so, and converted
// otherwise.
SG_API sg_status sg_model_open(sg_context *context, const char *path, sg_model **model,
                               sg_error *err);
// The same for sessions, sg_generate and sg_evaluate alone: weights stay in the file as they are
// stored (bf16, f16, blocks of GGUF) and are converted as they are read, so that opening costs
// nothing and a model may be larger than memory. Vectors, and matrices that are stored transposed
// (GPT-2), are f32 in memory. Such a model cannot be trained or saved (SG_ERR_ARGUMENT).
SG_API sg_status sg_model_open_stored(sg_context *context, const char *path, sg_model **model,
                                      sg_error *err);
// The same with every matrix that such passes multiply with or take rows of stored as `weights`
// says (f32, bf16, int8), once, here (bf16 weights of a file are used where they lie); norms and
// biases stay f32. What was converted is no longer read: memory holds the narrow weights only.
SG_API sg_status sg_model_open_narrow(sg_context *context, const char *path, sg_weights weights,
                                      sg_model **model, sg_error *err);
// Adds low-rank adapters to an open model, whatever its weights are stored in: those of a folder in
// the layout of the library PEFT (adapter_config.json, adapter_model.safetensors). What is more
// than W + scale B A of plain matrices is SG_ERR_UNSUPPORTED, adapters of another model
// SG_ERR_MISMATCH; the model then is as it was. One set a model, and while it has no session and no
// batch (SG_ERR_ARGUMENT). Keys of adapter_config.json that are not read are named in a warning.
SG_API sg_status sg_model_adapt(sg_model *model, const char *folder, sg_error *err);
// Where a layer has very many keys, sessions read copies of them in int8 first, which show the few
// that must be read themselves: tokens are the same and come faster, for a quarter more memory for
// keys (f32). They are made with the first session. on false: without them; default true. While the
// model has no session and no batch (SG_ERR_ARGUMENT).
SG_API sg_status sg_model_set_key_copies(sg_model *model, bool on, sg_error *err);
// How dense products are computed, and those of the classifier, in passes of several tokens of a
// sequence: evaluations and prompts. Default f32. Tokens that go through one by one (one of each
// session of a batch, too) are computed in f32 whatever this says: their time is that of reading
// weights. While the model has no session and no batch (SG_ERR_ARGUMENT).
SG_API sg_status sg_model_set_compute(sg_model *model, sg_compute_kind compute,
                                      sg_compute_kind logits, sg_error *err);
// As it was set; logits: of the classifier. Either may be NULL.
SG_API void sg_model_compute(const sg_model *model, sg_compute_kind *compute,
                             sg_compute_kind *logits);
SG_API void sg_model_free(sg_model *model);
SG_API const sg_config *sg_model_config(const sg_model *model);
// The ids that end a text (*count), eos_token_id first: models of other programs may have several.
SG_API const int32_t *sg_model_ends(const sg_model *model, size_t *count);
// Writes config.json, model.safetensors and, when given, tokenizer.json; crash-safe. SG_ERR_IO
// where another process is writing into the folder.
SG_API sg_status sg_model_save(const sg_model *model, const sg_tokenizer *tokenizer,
                               const char *folder, sg_error *err);
// Parameters by number and name, in a fixed order; those of adapters come last. The rows of one are
// rows of its last dimension (a table of experts (E, out, in) has E * out of them), and those of a
// vector its numbers.
typedef struct sg_tensor_info {
    const char *name; // the model's
    int64_t layer;    // from 1; 0: of none, as the embedding is
    int rank;         // at most 4
    int64_t shape[4]; // (rank), 1 behind it
    int64_t rows, columns;
    sg_weights weights; // what its values are stored in
    int64_t bytes;      // as it is stored, with its scales
    bool in_file;       // read where it lies in a mapped file
} sg_tensor_info;
SG_API size_t sg_model_tensor_count(const sg_model *model);
// NULL for a number that there is not.
SG_API const char *sg_model_tensor_name(const sg_model *model, size_t index);
// The number of a name; SG_ERR_NOT_FOUND. Of a model with a tied classifier there is no
// lm_head.weight.
SG_API sg_status sg_model_tensor_find(const sg_model *model, const char *name, size_t *index,
                                      sg_error *err);
SG_API sg_status sg_model_tensor_info(const sg_model *model, size_t index, sg_tensor_info *info,
                                      sg_error *err);
// Rows [first, first + rows) in f32, whatever they are stored in: values (rows, columns), the
// caller's. They are the model's own numbers, without what adapters add to them. SG_ERR_ARGUMENT
// where there are no such rows. Several threads may read at once.
SG_API sg_status sg_model_tensor_read(const sg_model *model, size_t index, int64_t first,
                                      int64_t rows, float *values, sg_error *err);
// Writes rows [first, first + rows): values (rows, columns), all finite (SG_ERR_NUMERIC). Where the
// model stores the tensor in fewer bits they are rounded, and *rounding is the largest difference
// between a value and what is stored; with rounding NULL such values are refused
// (SG_ERR_ARGUMENT). Blocks of GGUF other than Q8_0, and MXFP4, are not made here
// (SG_ERR_UNSUPPORTED). On failure the model is as it was. Files never change: a tensor that lies
// in one gets memory of its own, the whole tensor at its first write; sg_model_save writes the
// model.
//
// No session, batch or evaluation of the model may be at work meanwhile. A session that holds
// tokens computed with the old weights goes on only after sg_session_rewind to 0, and one that was
// opened before a tensor in a file was written for the first time must be opened anew; both say so
// (SG_ERR_ARGUMENT). Copies of keys that decoding reads are made anew by themselves.
SG_API sg_status sg_model_tensor_write(sg_model *model, const char *name, int64_t first,
                                       int64_t rows, const float *values, double *rounding,
                                       sg_error *err);
// All values of one with its shape, without copying them; NULL where the model does not store it as
// f32 in one place. They stay where they are until the tensor is written or the model freed.
SG_API const float *sg_model_tensor_values(const sg_model *model, size_t index, int *rank,
                                           int64_t shape[4]);

// A session is one timeline on a model: tokens go in, the logits of the last one come out. It keeps
// the keys and values of all tokens so far.
typedef struct sg_session sg_session;
// capacity: most tokens it can hold, at most max_position_embeddings; 0: that many.
SG_API sg_status sg_session_new(sg_model *model, int64_t capacity, sg_session **session,
                                sg_error *err);
// The same with more to choose.
typedef struct sg_points sg_points; // a list of points to look at: sgatlin_probe.h
typedef struct sg_session_options {
    int64_t capacity;        // as above; default 0
    const sg_points *points; // read, or written, in every pass; NULL (the default): none
} sg_session_options;
SG_API sg_session_options sg_session_options_default(void);
SG_API sg_status sg_session_open(sg_model *model, const sg_session_options *options,
                                 sg_session **session, sg_error *err);
SG_API void sg_session_free(sg_session *session);
// Forgets all tokens but the first `length`.
SG_API sg_status sg_session_rewind(sg_session *session, int64_t length, sg_error *err);
SG_API int64_t sg_session_length(const sg_session *session);
// Feeds tokens (count >= 1), all of them or, on failure, none. *logits (V) belong to the session
// until its next call.
SG_API sg_status sg_session_feed(sg_session *session, const int32_t *tokens, int64_t count,
                                 const float **logits, sg_error *err);

// Feeds tokens like sg_session_feed and tells how likely what follows each was: nll[i] (count) is
// -log p(targets[i]) behind tokens[i], in nats, likeliest[i] whether no token was likelier; for a
// target below 0 they are 0 and false.
SG_API sg_status sg_session_score(sg_session *session, const int32_t *tokens,
                                  const int32_t *targets, int64_t count, double *nll,
                                  bool *likeliest, sg_error *err);

// A batch feeds one token to each of several sessions of a model in one pass, which reads each
// weight once for all of them. Sessions may come and go between passes and be of any length.
typedef struct sg_batch sg_batch;
enum { SG_BATCH_MAX = 4096 };
// most: sessions of one pass, at most SG_BATCH_MAX. Ownership: sg_batch_free; the model must
// outlive it.
SG_API sg_status sg_batch_new(sg_model *model, int64_t most, sg_batch **batch, sg_error *err);
SG_API void sg_batch_free(sg_batch *batch);
// tokens[i] goes to sessions[i], i < count; no session may be there twice. On failure none takes
// any. *logits (count, V) belong to the batch until its next call; they are those of
// sg_session_feed up to rounding. The points of a session are called with its own row; where
// sessions have the same list, each of its requests is called for all of them before the next.
SG_API sg_status sg_batch_feed(sg_batch *batch, sg_session *const *sessions, const int32_t *tokens,
                               int64_t count, const float **logits, sg_error *err);

// The steps of Hugging Face's generate, in its order: penalty, temperature, top-k, top-p, min-p.
typedef struct sg_sample_options {
    double temperature; // 0: the most likely token
    int64_t top_k;      // 0: off; tokens as likely as the k-th stay with it
    double top_p;       // the likeliest tokens that together reach this probability; 1: off
    uint64_t seed;
    double min_p;              // tokens at least this share as likely as the likeliest; 0: off
    double repetition_penalty; // logits of tokens in the history are divided by it, negative ones
                               // multiplied; 1 or 0: off
    const int32_t *history;    // (history_count) prompt and what followed; sg_generate sets it
    int64_t history_count;
} sg_sample_options;
SG_API sg_sample_options sg_sample_options_default(void);
// Draws a token from logits (vocab); `index` counts the draws of this seed.
SG_API sg_status sg_sample(const float *logits, int64_t vocab, const sg_sample_options *options,
                           uint64_t index, int32_t *token, sg_error *err);

// ---- 5. Evaluation and generation -----------------------------------------------------------

// Packed data; sgatlin_data.h makes and opens it.
typedef struct sg_data sg_data;
typedef enum sg_split { SG_SPLIT_TRAIN = 0, SG_SPLIT_VAL = 1 } sg_split;

// How evenly one sparse layer uses its memory. Counted are the selections of all tokens whose
// targets count, exactly; the blocks (experts, neurons) of all pools of the layer are taken
// together.
typedef struct sg_usage {
    int64_t layer;      // from 1
    int64_t blocks;     // B
    int64_t selections; // of all tokens
    double used;        // share of the blocks that were selected at all
    double entropy;     // of the blocks' shares of the selections, over log B: 1 when all are alike
    double gini;        // of the blocks' selections: 0 when all are alike, 1 - 1/B when one has all
    double max_load;    // selections of the most selected block over the mean, 1 to B
} sg_usage;

// Called in order with each token that counts: its position (of a text: from its
// beginning, 0; of packed data: row * sequence length + place among the row's targets), its id and
// ln p of it; false stops with SG_ERR_STOPPED.
typedef bool (*sg_eval_token_fn)(void *user, int64_t position, int32_t id, double logprob);

// Told of each sequence of the split in turn, from 0: the sum of its losses, in nats, over so many
// targets.
typedef void (*sg_eval_sequence_fn)(void *user, int64_t sequence, double loss, int64_t targets);

typedef struct sg_eval_options {
    sg_split split;      // default SG_SPLIT_VAL
    int64_t batch_size;  // sequences of one batch of the batch mean; default 64
    int64_t micro_batch; // sequences computed at a time; default 8; changes no result but memory
    int64_t max_batches; // 0: the whole split
    sg_usage *usage;     // room for every layer of the model; NULL: what is used is not counted
    sg_progress_fn progress; // in sequences; may be NULL
    void *progress_user;
    sg_eval_token_fn token; // may be NULL; each sequence is then read once more, by a session
    void *token_user;
    const sg_points *points;      // read, or written, in the passes of the loss; NULL: none
    sg_eval_sequence_fn sequence; // may be NULL
    void *sequence_user;
} sg_eval_options;
SG_API sg_eval_options sg_eval_options_default(void);

typedef struct sg_eval_result {
    double loss;       // mean cross-entropy over all targets, in nats
    double perplexity; // exp(loss)
    double
        perplexity_batch_mean; // mean over full batches of exp(batch loss): the published metric.
                               // Never smaller where all batches are full and have as many
                               // targets; one that is not full counts if it is alone
    double accuracy;           // share of targets that are the likeliest token
    int64_t tokens, batches;
    int64_t usage_count; // sparse layers, in order, that `usage` of the options tells of
} sg_eval_result;

// The data must have been packed with a vocabulary that the model has (it may have more tokens:
// many are padded) and for a sequence length it can take.
SG_API sg_status sg_evaluate(sg_model *model, const sg_data *data, const sg_eval_options *options,
                             sg_eval_result *result, sg_error *err);

typedef struct sg_eval_text_options {
    int64_t context; // tokens of a window; default 0: the model's longest sequence, at most 2,048
    int64_t stride; // how far a window moves on, at most context: no overlap; default 0: half of it
    int64_t max_tokens;      // 0: the whole text
    sg_progress_fn progress; // in tokens; may be NULL
    void *progress_user;
    sg_eval_token_fn token; // of each token that is predicted; may be NULL
    void *token_user;
    const sg_points *points; // read, or written, in every pass; NULL: none
} sg_eval_text_options;
SG_API sg_eval_text_options sg_eval_text_options_default(void);

typedef struct sg_eval_text_result {
    double loss;          // mean over all tokens predicted, in nats
    double perplexity;    // exp(loss)
    double accuracy;      // share of tokens that were the likeliest
    double bits_per_byte; // tokens that nothing predicts, the first of windows that do not overlap,
                          // count as the mean
    int64_t tokens, windows, bytes; // tokens: predicted; bytes: those that bits are counted over
    int64_t context, stride;        // as used
    int64_t lost_bytes;             // of the whole text, bytes that no token stands for
    bool
        reversible; // the tokens of the text, if all are read, say it byte by byte, but for a space
                    // in front; false also where the tokenizer changes it (NFKC, lower case)
} sg_eval_text_result;

// Perplexity of a text by a sliding window, as in Hugging Face's guide "Perplexity of fixed-length
// models": windows of `context` tokens begin every `stride` tokens, each forgets all before it, and
// of each only tokens count that no window before it has seen; the first token of all is not
// predicted. Every token counts alike (the guide's own mean takes one token of each window for
// granted). The text begins as for sg_generate. Any model that sg_generate takes will do.
//
// bits_per_byte are the bits of a code from which the text can be had back, over its bytes n, so
// that models compare whatever their tokenizers: for `lost` bytes that no token stands for it is
// charged 8 bits each and the n H(lost / n) bits that say where they stand (H: entropy of a coin,
// in bits). Where the tokens stand for fewer bytes than the text has, as under NFKC, n is those.
// NAN where only a part is read of a text that loses bytes.
SG_API sg_status sg_evaluate_text(sg_model *model, const sg_tokenizer *tokenizer, const char *text,
                                  size_t bytes, const sg_eval_text_options *options,
                                  sg_eval_text_result *result, sg_error *err);

// Called with each piece of text as it is decided (UTF-8, not NUL-terminated); false stops.
typedef bool (*sg_text_fn)(void *user, const char *text, size_t bytes);

// A token and ln p of it, by the model's own logits: before penalties, temperature and what else
// sampling does to them.
typedef struct sg_scored_token {
    int32_t id;
    double logprob;
} sg_scored_token;
enum { SG_LOGPROBS_MAX = 100 };
// Called with each token as it is drawn (an end of the document too), and the likeliest (top_count)
// in its place, the likeliest first; false stops.
typedef bool (*sg_token_fn)(void *user, const sg_scored_token *token, const sg_scored_token *top,
                            size_t top_count);

typedef struct sg_generate_options {
    int64_t max_tokens; // default 200; less where the model's positions end
    sg_sample_options sample;
    bool ignore_eos;  // go on behind the end of a document
    bool plain_start; // nothing is put in front of the prompt, for it says itself how it begins
    const char *const *stops; // (stop_count) strings, none empty, that end the text when they come;
    size_t stop_count;        // neither they nor what is behind them is passed on
    const int32_t *ends;      // (end_count) more ids than sg_model_ends that end a document
    size_t end_count;
    sg_text_fn text; // may be NULL
    void *text_user;
    sg_token_fn token; // may be NULL; gets the user of `text`
    int64_t logprobs;  // how many of the likeliest it gets, 0 (the default) to SG_LOGPROBS_MAX
    // Read, or written, in every pass (sgatlin_probe.h); NULL (the default): none. The number of
    // the prompt is sg_point_values.first_sequence.
    const sg_points *points;
} sg_generate_options;
SG_API sg_generate_options sg_generate_options_default(void);

// Why a text ended: at an end of the document, at a stop, at max_tokens or the model's last
// position, or since the caller wanted no more.
typedef enum sg_stop_reason {
    SG_STOP_END = 0,
    SG_STOP_TEXT,
    SG_STOP_LENGTH,
    SG_STOP_CALLER
} sg_stop_reason;
// "end", "stop", "length", "caller"
SG_API const char *sg_stop_reason_name(sg_stop_reason reason);

typedef struct sg_generate_result {
    int64_t prompt_tokens, tokens;
    double prompt_seconds, seconds;
    int64_t replaced, lost_bytes; // of the prompt: see sg_encode_options
    sg_stop_reason reason;
} sg_generate_result;

// Continues a prompt: what the tokenizer's template puts in front of a text (where it has none: the
// BOS of a model of ours, or of any whose prompt is empty) and the prompt go in, tokens come out
// until an end of the document, a stop or max_tokens. The same seed gives the same text. The
// tokenizer may have fewer tokens than the model, whose vocabulary often is padded. result may be
// NULL.
SG_API sg_status sg_generate(sg_model *model, const sg_tokenizer *tokenizer, const char *prompt,
                             const sg_generate_options *options, sg_generate_result *result,
                             sg_error *err);
// The same for several prompts, a few dozen at a time in one pass over the weights (sg_batch): each
// gives what it gives alone, up to the rounding of sg_batch_feed. Pieces of text i go to
// users[i] (count), `false` ends that text only; options->text_user is not used. results (count)
// may be NULL.
SG_API sg_status sg_generate_many(sg_model *model, const sg_tokenizer *tokenizer,
                                  const char *const *prompts, size_t count,
                                  const sg_generate_options *options, void *const *users,
                                  sg_generate_result *results, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
