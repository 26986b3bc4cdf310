// sgatlin tokenize: text to ids and back.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/reading.h"

static const char *tokenize_path;
static bool tokenize_decode;
static bool tokenize_lines;
static bool tokenize_add_special;
static bool tokenize_plain_special;
static bool tokenize_skip_special;

static const cli_option tokenize_options[] = {
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &tokenize_path,
     .argument = "DIR|FILE",
     .shown = "",
     .help = "a tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin",
     .required = true},
    {.name = "decode",
     .kind = CLI_FLAG,
     .value = &tokenize_decode,
     .help = "the other way: ids on standard input, text out"},
    {.name = "lines",
     .kind = CLI_FLAG,
     .value = &tokenize_lines,
     .help = "each line is a text of its own, without its line end, \\n or \\r\\n; a line out for "
             "each"},
    {.name = "add-special",
     .kind = CLI_FLAG,
     .value = &tokenize_add_special,
     .help = "put the special tokens around the text that the file asks for"},
    {.name = "plain-special",
     .kind = CLI_FLAG,
     .value = &tokenize_plain_special,
     .help = "take special tokens written in the text for text"},
    {.name = "skip-special",
     .kind = CLI_FLAG,
     .value = &tokenize_skip_special,
     .help = "with --decode: leave special tokens out"},
    CLI_BAD_TEXT_OPTION(
        "replace|skip|stop",
        "text that is not UTF-8: replace it by U+FFFD, with --lines skip the line, or "
        "stop; what is not stopped is counted"),
    {0},
};

static json_t *tokenize_encode_json(const sg_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                    int64_t lost)
{
    json_t *list = json_array(), *tokens = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(ids[i]));
        json_array_append_new(tokens, json_string(sg_tokenizer_token_text(tokenizer, ids[i])));
    }
    if (json_array_size(list) != count || json_array_size(tokens) != count) {
        json_decref(list);
        json_decref(tokens);
        return NULL;
    }
    return json_pack("{s:I, s:o, s:o, s:I}", "count", (json_int_t)count, "ids", list, "tokens",
                     tokens, "lost_bytes", (json_int_t)lost);
}

static int tokenize_encode_one(const cli_args *args, const sg_tokenizer *tokenizer,
                               const sg_document *text, int64_t *lost)
{
    sg_encode_options options = sg_encode_options_default();
    options.lost_bytes = lost;
    options.add_special = tokenize_add_special;
    options.parse_special = !tokenize_plain_special;
    int32_t *ids;
    size_t count;
    sg_error err = {0};
    sg_status status =
        sg_tokenizer_encode(tokenizer, text->text, text->bytes, &options, &ids, &count, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    int code = CLI_DONE;
    if (args->json) {
        code = cli_print_json(args, tokenize_encode_json(tokenizer, ids, count, *lost));
    } else {
        for (size_t i = 0; i < count; i++)
            printf(i == 0 ? "%d" : " %d", ids[i]);
        printf("\n");
    }
    sg_buffer_free(ids);
    return code;
}

static int tokenize_no_id(const cli_args *args, const char *begin, const char *end)
{
    const char *stop = begin;
    while (stop < end && *stop != '\0' && strchr(" \t\r\n,]", *stop) == NULL)
        stop++;
    return cli_wrong(args, "found '%.*s', expected a token id", (int)(stop - begin), begin);
}

// Reads the ids of a text; *ids is freed by the caller. Brackets and commas count as white space,
// so that a JSON list will do.
static int tokenize_parse_ids(const cli_args *args, const char *text, size_t bytes, int32_t **ids,
                              size_t *count)
{
    const char *end = text + bytes;
    *count = 0;
    *ids = malloc((bytes / 2 + 1) * sizeof **ids);
    if (*ids == NULL) {
        sg_error err = {.message = "out of memory"};
        return cli_fail(args, SG_ERR_MEMORY, &err);
    }
    for (const char *at = text; at < end;) {
        if (isspace((unsigned char)*at) || strchr("[],", *at) != NULL) {
            if (*at == '\0') return cli_wrong(args, "found a NUL, expected a token id");
            at++;
            continue;
        }
        const char *begin = at;
        int64_t id = 0;
        while (at < end && *at >= '0' && *at <= '9' && id <= INT32_MAX)
            id = id * 10 + (*at++ - '0');
        bool closed = at == end || isspace((unsigned char)*at) || *at == ',' || *at == ']';
        if (at == begin || !closed || id > INT32_MAX) return tokenize_no_id(args, begin, end);
        (*ids)[(*count)++] = (int32_t)id;
    }
    return CLI_DONE;
}

static int tokenize_decode_one(const cli_args *args, const sg_tokenizer *tokenizer,
                               const char *text, size_t bytes)
{
    int32_t *ids = NULL;
    size_t count = 0, out_bytes;
    int code = tokenize_parse_ids(args, text, bytes, &ids, &count);
    if (code == CLI_DONE) {
        // JSON holds UTF-8 only; plain output gives the bytes back as they were.
        sg_decode_options options = {.skip_special = tokenize_skip_special, .raw = !args->json};
        char *out;
        sg_error err = {0};
        sg_status status =
            sg_tokenizer_decode(tokenizer, ids, count, &options, &out, &out_bytes, &err);
        if (status != SG_OK)
            code = cli_fail(args, status, &err);
        else if (args->json)
            code = cli_print_json(args, json_pack("{s:o}", "text", json_stringn(out, out_bytes)));
        else
            fwrite(out, 1, out_bytes, stdout);
        if (status == SG_OK) sg_buffer_free(out);
        if (code == CLI_DONE && !args->json && tokenize_lines) printf("\n");
    }
    free(ids);
    return code;
}

// The texts of standard input, one after the other.
static int tokenize_all(const cli_args *args, const sg_tokenizer *tokenizer, sg_corpus *corpus)
{
    int code = CLI_DONE;
    int64_t lost = 0, bytes = 0;
    while (code == CLI_DONE && !ferror(stdout)) {
        sg_error err = {0};
        sg_document text;
        int64_t more = 0;
        sg_status status = sg_corpus_next(corpus, &text, &err);
        if (status != SG_OK) code = cli_fail(args, status, &err);
        if (status != SG_OK || text.text == NULL) break;
        code = tokenize_decode ? tokenize_decode_one(args, tokenizer, text.text, text.bytes)
                               : tokenize_encode_one(args, tokenizer, &text, &more);
        lost += more;
        bytes += (int64_t)text.bytes;
    }
    fflush(stdout);
    const sg_text_counts counts = sg_corpus_counts(corpus);
    cli_reading_warn(args, &counts);
    cli_lost_warn(args, "text", lost, bytes);
    return code;
}

static int tokenize_run(const cli_args *args)
{
    if (tokenize_decode && (tokenize_add_special || tokenize_plain_special))
        return cli_wrong(args, "--decode takes neither --add-special nor --plain-special");
    if (!tokenize_decode && tokenize_skip_special)
        return cli_wrong(args, "--skip-special needs --decode");
    if (!tokenize_lines && strcmp(cli_reading_given.bad_text, "skip") == 0)
        return cli_wrong(args,
                         "--bad-text skip needs --lines: there is one text, and nothing else");
    sg_error err = {0};
    sg_tokenizer *tokenizer;
    sg_corpus *corpus;
    sg_status status = sg_tokenizer_open(tokenize_path, &tokenizer, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_text_open("-", tokenize_lines, &corpus, &err);
    int code =
        status == SG_OK ? tokenize_all(args, tokenizer, corpus) : cli_fail(args, status, &err);
    if (status == SG_OK) sg_corpus_close(corpus);
    sg_tokenizer_free(tokenizer);
    return code;
}

const cli_command cli_cmd_tokenize = {
    .name = "tokenize",
    .summary = "turn text into token ids, or ids back into text",
    .usage = "--tokenizer DIR|FILE [--decode] [options] <INPUT",
    .about = "Reads all of standard input as one text, line ends included (but for a byte order "
             "mark, which tells UTF-8, UTF-16 and UTF-32), and prints its ids "
             "separated by spaces. With --decode it reads ids and writes the text, the bytes "
             "as they were. The ids are those of the Hugging Face library. --json prints them "
             "with the tokens as the vocabulary spells them.",
    .options = tokenize_options,
    .example = "sgatlin tokenize --tokenizer tok <prompt.txt",
    .run = tokenize_run,
};
