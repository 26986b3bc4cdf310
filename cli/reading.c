// Options of reading texts, and the words for what went wrong in them.
#include "cli/reading.h"

#include <string.h>

cli_reading cli_reading_given = {.format = "auto",
                                 .separator = "<|endoftext|>",
                                 .field = "text",
                                 .bad_text = "replace",
                                 .max_document = (int64_t)64 << 20};

static sg_bad_text reading_bad_text(void)
{
    const char *how = cli_reading_given.bad_text;
    return strcmp(how, "stop") == 0   ? SG_BAD_TEXT_STOP
           : strcmp(how, "skip") == 0 ? SG_BAD_TEXT_SKIP
                                      : SG_BAD_TEXT_REPLACE;
}

bool cli_reading_options(const cli_args *args, sg_corpus_options *options)
{
    const cli_reading *given = &cli_reading_given;
    if (given->no_separator && cli_given(args, "separator")) {
        cli_wrong(args, "--separator and --no-separator exclude each other");
        return false;
    }
    *options = sg_corpus_options_default();
    options->kind = strcmp(given->format, "jsonl") == 0   ? SG_CORPUS_JSONL
                    : strcmp(given->format, "text") == 0  ? SG_CORPUS_TEXT
                    : strcmp(given->format, "lines") == 0 ? SG_CORPUS_LINES
                                                          : SG_CORPUS_AUTO;
    options->separator = given->no_separator ? NULL : given->separator;
    options->field = given->field;
    options->max_document = (size_t)given->max_document;
    options->bad_text = reading_bad_text();
    options->keep_empty = given->keep_empty;
    return true;
}

sg_status cli_text_open(const char *path, bool lines, sg_corpus **corpus, sg_error *err)
{
    sg_corpus_options options = sg_corpus_options_default();
    options.kind = lines ? SG_CORPUS_LINES : SG_CORPUS_TEXT;
    options.separator = NULL;
    options.max_document = (size_t)1 << 40;
    options.bad_text = reading_bad_text();
    options.keep_empty = true;
    return sg_corpus_open(&path, 1, &options, corpus, err);
}

sg_status cli_data_check(const cli_args *args, sg_context *context, const char *given,
                         const char *model, const char *data, sg_error *err)
{
    sg_tokenizer *tokenizer;
    sg_status status = sg_tokenizer_open(given != NULL ? given : model, &tokenizer, err);
    if (status != SG_OK && given != NULL) return status;
    if (status != SG_OK) {
        cli_warn(args, "whether the data are of the model's tokenizer cannot be told: %s",
                 err->message);
        return SG_OK;
    }
    status = sg_data_check_tokenizer(context, data, tokenizer, err);
    sg_tokenizer_free(tokenizer);
    return status;
}

void cli_reading_warn(const cli_args *args, const sg_text_counts *counts)
{
    if (counts->replaced > 0)
        cli_warn(args, "%lld %s not UTF-8 and became U+FFFD", (long long)counts->replaced,
                 counts->replaced == 1 ? "place was" : "places were");
    if (counts->skipped > 0)
        cli_warn(args, "%lld %s skipped: not UTF-8", (long long)counts->skipped,
                 counts->skipped == 1 ? "document was" : "documents were");
    if (counts->empty > 0)
        cli_note(args, "%lld %s nothing but white space and left out; --keep-empty keeps such",
                 (long long)counts->empty, counts->empty == 1 ? "document was" : "documents were");
}

void cli_lost_warn(const cli_args *args, const char *of, int64_t lost, int64_t bytes)
{
    if (lost > 0)
        cli_warn(args, "%lld of %lld bytes of the %s are lost: the tokenizer has no token for them",
                 (long long)lost, (long long)bytes, of);
}
