// Text and packed data: reading corpora, packing, the built-in story world.
// A companion of sgatlin.h, whose conventions hold here too.
#ifndef SGATLIN_DATA_H
#define SGATLIN_DATA_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sg_corpus_kind {
    SG_CORPUS_AUTO = 0, // by the name, in letters of any case: .jsonl, .ndjson and .json are JSON
                        // lines, all else is text
    SG_CORPUS_TEXT = 1,
    SG_CORPUS_JSONL =
        2, // an object a line; or, where the first thing in the file is '[', one array of
           // objects over any number of lines
    SG_CORPUS_LINES = 3 // each line is a document, without its line end, "\n" or "\r\n"
} sg_corpus_kind;

// What to do where a text is not UTF-8: a byte, an unpaired surrogate ("\ud83d" in JSON, or in
// UTF-16).
typedef enum sg_bad_text {
    SG_BAD_TEXT_REPLACE = 0, // U+FFFD in the place of each maximal ill-formed subpart, as Python's
                             // decode("utf-8", "replace") does; counted
    SG_BAD_TEXT_SKIP = 1,    // the document is left out; counted
    SG_BAD_TEXT_STOP = 2     // SG_ERR_FORMAT, which names the file and the line
} sg_bad_text;

// How documents are read from files. A path is a plain, gzip or zstd file (told apart by their
// first bytes), or "-" for the standard input; names ending in .gz or .zst are named after what is
// inside. Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark; the mark is taken off.
typedef struct sg_corpus_options {
    sg_corpus_kind kind;
    const char *separator; // text: the line between documents; NULL: each file is one document
    const char *field;     // JSON lines: the member that holds the text
    size_t max_document;   // longest document, and longest line or element of JSON, in bytes
    sg_bad_text bad_text;
    bool
        keep_empty; // hand out documents of nothing but white space too. Training on them teaches that
                    // a text may end at once; what published training loops do, which drop none
} sg_corpus_options;

// AUTO, "<|endoftext|>", "text", 64 MiB, REPLACE, false.
SG_API sg_corpus_options sg_corpus_options_default(void);

// Documents read one after the other from any number of files, in memory bounded by the longest.
// A text document loses the one line end in front of its separator, or at the end of its file;
// without a separator it is the file as it is. What lies behind the last separator is a document
// only if it is more than white space. Documents are UTF-8 whatever the file holds. Of JSON only
// the field is read: other members may hold any number, and text that is no UTF-8 unless that
// stops.
typedef struct sg_corpus sg_corpus;
typedef struct sg_document {
    const char *text; // no NUL behind it; valid until the next call; NULL after the last document
    size_t bytes;
    size_t file; // index of its path
} sg_document;

// What was not handed out as it stood.
typedef struct sg_text_counts {
    int64_t replaced; // places that became U+FFFD
    int64_t skipped;  // documents left out because they are not UTF-8
    int64_t empty;    // documents left out because they are nothing but white space
} sg_text_counts;

// Opens a list of paths ("-" at most once). Every path but "-" is looked up at once, so that a
// wrong name fails now and not after hours. options may be NULL.
SG_API sg_status sg_corpus_open(const char *const *paths, size_t count,
                                const sg_corpus_options *options, sg_corpus **corpus,
                                sg_error *err);
SG_API void sg_corpus_close(sg_corpus *corpus);
// The next document; document->text is NULL when there is none. After an error the corpus can only
// be closed.
SG_API sg_status sg_corpus_next(sg_corpus *corpus, sg_document *document, sg_error *err);
// The same as an sg_text_source for sg_tokenizer_train: `corpus` is an sg_corpus.
SG_API sg_status sg_corpus_text(void *corpus, const char **text, size_t *bytes, sg_error *err);
// Of what was read so far.
SG_API sg_text_counts sg_corpus_counts(const sg_corpus *corpus);
// Bytes read from the files (as stored) and their sum; total is 0 when the standard input is one.
SG_API void sg_corpus_progress(const sg_corpus *corpus, int64_t *done, int64_t *total);

// ---- folders that take long to fill -------------------------------------------------------------

// Keeps a folder for what a long work will write into it: makes it when missing, and locks it
// (FOLDER/.lock) until it is released or the process ends. SG_ERR_IO, saying who it is, where
// another process has it. SG_ERR_ARGUMENT where the folder holds anything but what interrupted
// writers leave, unless `any`. sg_data_pack, sg_convert, sg_model_save and sg_probe_dump claim
// their folders themselves.
typedef struct sg_claim sg_claim;
SG_API sg_status sg_folder_claim(const char *folder, bool any, sg_claim **claim, sg_error *err);
// A folder that the claim made and that is still empty goes. NULL is allowed.
SG_API void sg_folder_release(sg_claim *claim);

// ---- packed data --------------------------------------------------------------------------------

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
    bool split_rows;        // one document is in both: the rows at its end are for validation
    // What the documents held; all 0 in data packed before these were counted.
    int64_t text_bytes; // of UTF-8, when they were encoded
    int64_t lost_bytes; // of these, bytes that no token stands for (sg_encode_options)
    sg_text_counts text;
} sg_data_info;

typedef enum sg_data_verify {
    SG_VERIFY_AUTO = 0,  // checksums too when the data is smaller than 1 GiB
    SG_VERIFY_QUICK = 1, // manifest, sizes and headers
    SG_VERIFY_FULL = 2   // and the checksum of every shard
} sg_data_verify;

// A folder of packed data, memory-mapped. The folder must not change while it is open.
SG_API sg_status sg_data_open(const char *folder, sg_data_verify verify, sg_data **data,
                              sg_error *err);
SG_API void sg_data_free(sg_data *data);
// Valid while `data` is.
SG_API const sg_data_info *sg_data_get_info(const sg_data *data);
// Whether the data in `folder` were packed with this tokenizer, or with one whose ids, as far as
// the data have them, stand for the same tokens (a warning through the context's log, which may be
// NULL). SG_ERR_MISMATCH names the first id that stands for another token.
SG_API sg_status sg_data_check_tokenizer(sg_context *context, const char *folder,
                                         const sg_tokenizer *tokenizer, sg_error *err);
// One row of seq_len ids, each checked to be below the vocabulary size. May be called by several
// threads at a time.
SG_API sg_status sg_data_row(const sg_data *data, sg_split split, int64_t row, int32_t *ids,
                             sg_error *err);

typedef struct sg_pack_options {
    int64_t seq_len; // T, ids in a row
    sg_pack_mode mode;
    double val_fraction; // share of documents drawn into the validation split, 0 to 1
    uint64_t seed;       // of that draw, below 2^63
    int64_t shard_bytes; // about how large a shard file becomes
    bool force; // replace packed data that is already in the folder, whatever else is there
    sg_corpus_options corpus;
    sg_progress_fn progress; // in bytes of the files; may be NULL
    void *progress_user;
} sg_pack_options;

// T 512, CONCAT, 0.01, seed 0, 256 MiB.
SG_API sg_pack_options sg_pack_options_default(void);

// Packs the documents of files into a folder of packed data, with a copy of the tokenizer.
// A document is drawn into the validation split by its number. With a fraction strictly between 0
// and 1 neither split stays empty where that can be: in CONCAT mode, when no document was drawn
// into validation, the rows at the end of the last document are taken for it, as many as the
// fraction is of all rows, at least one (split_rows); in PAD mode the last of two documents or
// more. A split that was left without a row shows in info. The padding id must not be the
// end-of-text id, since training gives padding no weight. Without one of its own a tokenizer does
// for CONCAT only, and a last row that stays short is dropped. context (may be NULL) gives the
// threads and the log; info may be NULL. A folder that holds anything is refused; with `force`
// packed data in it is replaced. Until all of the new is written the old stays as it is, also after
// a failure.
SG_API sg_status sg_data_pack(sg_context *context, const sg_tokenizer *tokenizer,
                              const char *const *paths, size_t count,
                              const sg_pack_options *options, const char *folder,
                              sg_data_info *info, sg_error *err);

// The story world: an endless, seeded supply of simple English stories. In a world (a seed) every
// noun has one adjective for good ("The lake was deep."), which stories tell and come back to.
// Story `index` depends on the seed and the index alone.
typedef struct sg_story_world sg_story_world;
typedef struct sg_story_fact {
    const char *noun;      // a lower-case word; each noun once
    const char *kind;      // "water", "land", "building", "animal", "person" …
    const char *adjective; // what the noun is in this world
} sg_story_fact;

SG_API sg_status sg_story_world_new(uint64_t seed, sg_story_world **world, sg_error *err);
SG_API void sg_story_world_free(sg_story_world *world);
SG_API size_t sg_story_fact_count(const sg_story_world *world);
// index < sg_story_fact_count. The strings are constant.
SG_API sg_story_fact sg_story_fact_at(const sg_story_world *world, size_t index);

enum { SG_STORY_MAX = 8192 };
// Tells one story into text: paragraphs parted by empty lines, without a line end at the end.
// *bytes is its length; a NUL follows.
SG_API sg_status sg_story_tell(const sg_story_world *world, uint64_t index, char text[SG_STORY_MAX],
                               size_t *bytes, sg_error *err);
// Writes stories 0 … count-1 to a file, each followed by the line "<|endoftext|>", and, when
// facts_path is not NULL, the facts as JSON. Progress is in stories.
SG_API sg_status sg_story_write(const sg_story_world *world, uint64_t count, const char *path,
                                const char *facts_path, sg_progress_fn progress,
                                void *progress_user, sg_error *err);

// The people of a story world: as many facts as are asked for, about people that exist nowhere
// else. A person has a given and a family name (no two people the same) and up to eight facts
// ("birthplace", "trade", "pet" …), each a word drawn uniformly from a list of 16, 32 or 64. Short
// biographies tell them in several phrasings. A person depends on the seed and the person's number
// alone, biography t of a person also on how many facts the person has.
typedef struct sg_people sg_people;
enum {
    SG_PEOPLE_MOST = 100000,
    SG_PEOPLE_TELLINGS_MOST = 100000,
    SG_PEOPLE_STORIES_MOST = 1000000000,
    SG_PEOPLE_NAME = 32
};
typedef struct sg_people_options {
    uint64_t seed;
    uint64_t people;
    uint64_t facts;    // of all people together, 1 to 8 for each; 0: 8 for each
    uint64_t tellings; // biographies of each person, each of which tells all facts of the person
    uint64_t stories;  // ordinary stories of the world of that seed, evenly among the biographies
} sg_people_options;
// seed 0, people 0 (to be set), all facts, 100 tellings, no stories.
SG_API sg_people_options sg_people_options_default(void);

typedef struct sg_people_fact {
    char subject[SG_PEOPLE_NAME]; // "Belbik Brinabel"
    const char *relation;         // "birthplace"
    const char *answer;           // "Ashkaro": one word
    size_t values;                // how many answers the relation has, all equally likely
} sg_people_fact;

SG_API sg_status sg_people_new(const sg_people_options *options, sg_people **people, sg_error *err);
SG_API void sg_people_free(sg_people *people);
// As they came to be: facts is never 0.
SG_API sg_people_options sg_people_options_of(const sg_people *people);
// index < facts; person by person.
SG_API sg_people_fact sg_people_fact_at(const sg_people *people, uint64_t index);
// What a model must store that knows all answers, and who exists: log2 of the number of possible
// worlds (docs/FORMATS.md).
SG_API double sg_people_bits(const sg_people *people);
SG_API double sg_people_name_bits(const sg_people *people);

// Biographies and stories together: people * tellings + stories.
SG_API uint64_t sg_people_document_count(const sg_people *people);
// Tells document `index` as sg_story_tell does; a biography is one paragraph.
SG_API sg_status sg_people_tell(const sg_people *people, uint64_t index, char text[SG_STORY_MAX],
                                size_t *bytes, sg_error *err);
// Writes all documents as sg_story_write does and, when facts_path is not NULL, the facts as JSON
// in the form that `probe patch` takes. Progress is in documents.
SG_API sg_status sg_people_write(const sg_people *people, const char *path, const char *facts_path,
                                 sg_progress_fn progress, void *progress_user, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
