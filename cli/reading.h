// How the commands that take texts read them: their options in common, and what is said of bad
// text.
#ifndef SGATLIN_CLI_READING_H
#define SGATLIN_CLI_READING_H

#include "cli/cli.h"
#include "sgatlin_data.h"

typedef struct cli_reading {
    const char *format, *separator, *field, *bad_text;
    bool no_separator, keep_empty;
    int64_t max_document;
} cli_reading;
extern cli_reading cli_reading_given; // one command runs in a process

#define CLI_BAD_TEXT_OPTION(hows, words)                                                           \
    {                                                                                              \
        .name = "bad-text", .kind = CLI_STRING, .value = &cli_reading_given.bad_text,              \
        .argument = "HOW", .choices = hows, .help = words                                          \
    }

// Rows of an option table.
#define CLI_READING_OPTIONS                                                                        \
    {.kind = CLI_HEADING, .name = "", .help = "How files are read"},                               \
        {.name = "format",                                                                         \
         .kind = CLI_STRING,                                                                       \
         .value = &cli_reading_given.format,                                                       \
         .argument = "KIND",                                                                       \
         .choices = "auto|text|jsonl|lines",                                                       \
         .help = "auto goes by the name: .jsonl, .ndjson and .json are JSON lines, or one array "  \
                 "of objects, the rest text; lines: each line is a document"},                     \
        {.name = "separator",                                                                      \
         .kind = CLI_STRING,                                                                       \
         .value = &cli_reading_given.separator,                                                    \
         .argument = "LINE",                                                                       \
         .help = "text: the line between documents"},                                              \
        {.name = "no-separator",                                                                   \
         .kind = CLI_FLAG,                                                                         \
         .value = &cli_reading_given.no_separator,                                                 \
         .help = "text: each file is one document"},                                               \
        {.name = "field",                                                                          \
         .kind = CLI_STRING,                                                                       \
         .value = &cli_reading_given.field,                                                        \
         .argument = "NAME",                                                                       \
         .help = "JSON lines: the member that holds the text"},                                    \
        CLI_BAD_TEXT_OPTION("replace|skip|stop",                                                   \
                            "text that is not UTF-8, or half a character in JSON: replace it by "  \
                            "U+FFFD, skip its document, or stop; what is not stopped is counted"), \
        {.name = "keep-empty",                                                                     \
         .kind = CLI_FLAG,                                                                         \
         .value = &cli_reading_given.keep_empty,                                                   \
         .help = "keep documents of nothing but white space, as the published training does"},     \
    {                                                                                              \
        .name = "max-document", .kind = CLI_COUNT, .value = &cli_reading_given.max_document,       \
        .argument = "BYTES", .shown = "64Mi", .help = "longest document, or line of JSON",         \
        .low = 1, .high = 1e12                                                                     \
    }

// Fills in what the options say. False, having said why, where they exclude each other.
bool cli_reading_options(const cli_args *args, sg_corpus_options *options);

// A whole text, or its lines, from a file or "-", as --bad-text says: a corpus of one document, or
// of each line, none left out for being empty.
sg_status cli_text_open(const char *path, bool lines, sg_corpus **corpus, sg_error *err);

// Whether packed data are of the tokenizer that was given or, given NULL, of a model's: ids of
// another are other words to it (SG_ERR_MISMATCH). Warns where the model's cannot be opened.
sg_status cli_data_check(const cli_args *args, sg_context *context, const char *given,
                         const char *model, const char *data, sg_error *err);

// Warns of what was not read as it stood; nothing is said where nothing was.
void cli_reading_warn(const cli_args *args, const sg_text_counts *counts);
// Warns of bytes that have no token.
void cli_lost_warn(const cli_args *args, const char *of, int64_t lost, int64_t bytes);

#endif
