// sgatlin data tokenizer: learns a tokenizer from text files.
#include <string.h>

#include "cli/reading.h"

static const char *learn_out;
static cli_strings learn_specials;
static bool learn_no_nfkc;
static bool learn_no_prefix_space;
static bool learn_no_full_alphabet;
static int64_t learn_vocab_size = 8192;
static int64_t learn_min_frequency = 0;
static bool learn_force;

static const cli_option learn_options[] = {
    {.name = "vocab-size",
     .kind = CLI_COUNT,
     .value = &learn_vocab_size,
     .argument = "V",
     .help = "tokens, special ones and single bytes included",
     .low = 1,
     .high = 1 << 23},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &learn_out,
     .argument = "DIR",
     .shown = "",
     .help = "the folder that gets tokenizer.json",
     .required = true},
    {.name = "special",
     .kind = CLI_STRINGS,
     .value = &learn_specials,
     .argument = "TEXT",
     .help = "a special token, in place of <|pad|> and <|endoftext|>; they get the ids 0, 1 and "
             "so on"},
    {.name = "no-full-alphabet",
     .kind = CLI_FLAG,
     .value = &learn_no_full_alphabet,
     .help = "no token for bytes that do not occur, instead of one for each of the 256: such bytes "
             "are lost from text encoded later"},
    {.name = "no-nfkc",
     .kind = CLI_FLAG,
     .value = &learn_no_nfkc,
     .help = "leave text as it is instead of normalising it to NFKC"},
    {.name = "no-prefix-space",
     .kind = CLI_FLAG,
     .value = &learn_no_prefix_space,
     .help = "do not put a space before the first word of a text"},
    {.name = "min-frequency",
     .kind = CLI_COUNT,
     .value = &learn_min_frequency,
     .argument = "N",
     .help = "do not merge pairs that are rarer",
     .low = 0,
     .high = 1e15},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &learn_force,
     .help = "write into a DIR that holds files, replacing a tokenizer.json in it"},
    CLI_READING_OPTIONS,
    {0},
};

// The corpus on its way into training, with the bar of each of the two phases.
typedef struct learn_state {
    const cli_args *args;
    sg_corpus *corpus;
    cli_progress bar;
    bool merging;
    int64_t documents, bytes;
    sg_text_counts counts;
} learn_state;

static sg_status learn_source(void *user, const char **text, size_t *bytes, sg_error *err)
{
    learn_state *s = user;
    if (cli_stop_requested()) {
        if (err != NULL) snprintf(err->message, sizeof err->message, "stopped");
        return SG_ERR_STOPPED;
    }
    sg_status status = sg_corpus_text(s->corpus, text, bytes, err);
    if (status != SG_OK || *text == NULL) return status;
    s->documents++;
    s->bytes += (int64_t)*bytes;
    int64_t done, total;
    sg_corpus_progress(s->corpus, &done, &total);
    cli_progress_update(&s->bar, (double)done, (double)total, NULL);
    return SG_OK;
}

static bool learn_progress(void *user, int32_t size, int32_t target)
{
    learn_state *s = user;
    if (!s->merging) {
        s->merging = true;
        cli_progress_end(&s->bar);
        cli_progress_begin(&s->bar, s->args, "merging", "tokens");
    }
    cli_progress_update(&s->bar, size, target, NULL);
    return !cli_stop_requested();
}

static sg_status learn_train(learn_state *s, const sg_corpus_options *reading,
                             sg_tokenizer **tokenizer, sg_error *err)
{
    sg_status status =
        sg_corpus_open(s->args->operands, (size_t)s->args->count, reading, &s->corpus, err);
    if (status != SG_OK) return status;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = (int32_t)learn_vocab_size;
    if (learn_specials.count > 0) {
        options.specials = learn_specials.items;
        options.special_count = (size_t)learn_specials.count;
    }
    options.nfkc = !learn_no_nfkc;
    options.prefix_space = !learn_no_prefix_space;
    options.full_alphabet = !learn_no_full_alphabet;
    options.min_frequency = learn_min_frequency;
    options.progress = learn_progress;
    options.progress_user = s;
    cli_progress_begin(&s->bar, s->args, "counting words", "B");
    status = sg_tokenizer_train(&options, learn_source, s, tokenizer, err);
    cli_progress_end(&s->bar);
    s->counts = sg_corpus_counts(s->corpus);
    sg_corpus_close(s->corpus);
    return status;
}

static int learn_run(const cli_args *args)
{
    sg_corpus_options reading;
    if (!cli_reading_options(args, &reading)) return CLI_WRONG;
    cli_catch_signals();
    sg_error err = {0};
    learn_state state = {.args = args};
    sg_tokenizer *tokenizer = NULL;
    sg_claim *claim;
    sg_status status = sg_folder_claim(learn_out, learn_force, &claim, &err);
    if (status == SG_OK) status = learn_train(&state, &reading, &tokenizer, &err);
    if (status == SG_OK) status = sg_tokenizer_save(tokenizer, learn_out, &err);
    sg_folder_release(claim);
    if (status != SG_OK) {
        sg_tokenizer_free(tokenizer);
        return cli_fail(args, status, &err);
    }
    int32_t size = sg_tokenizer_vocab_size(tokenizer);
    sg_tokenizer_free(tokenizer);
    cli_reading_warn(args, &state.counts);
    if (args->json)
        return cli_print_json(
            args, json_pack("{s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "out", learn_out, "vocab_size",
                            (int)size, "documents", (json_int_t)state.documents, "bytes",
                            (json_int_t)state.bytes, "replaced", (json_int_t)state.counts.replaced,
                            "skipped_documents", (json_int_t)state.counts.skipped,
                            "empty_documents", (json_int_t)state.counts.empty));
    printf("%s/tokenizer.json: %d tokens from %lld documents, %lld bytes\n", learn_out, size,
           (long long)state.documents, (long long)state.bytes);
    if (size < learn_vocab_size)
        cli_note(args, "the text has nothing left to merge after %d of %lld tokens", size,
                 (long long)learn_vocab_size);
    if (size > learn_vocab_size)
        cli_note(args, "%d tokens in place of %lld: special tokens and bytes alone are as many",
                 size, (long long)learn_vocab_size);
    return CLI_DONE;
}

const cli_command cli_cmd_data_tokenizer = {
    .name = "data tokenizer",
    .summary = "learn a byte-pair tokenizer from text",
    .usage = "--out DIR [--vocab-size V] [options] FILE...",
    .about = "FILE is text or JSON lines, plain or compressed (gzip, zstd); - is the standard "
             "input. The tokenizer is the one that the BpeTrainer of the Hugging Face library "
             "learns from the same documents with all bytes as its initial alphabet (with "
             "--no-full-alphabet: with none), and that library reads DIR/tokenizer.json too.",
    .options = learn_options,
    .example = "sgatlin data tokenizer --vocab-size 8192 --out tok stories.txt",
    .min_operands = 1,
    .max_operands = -1,
    .operands = "FILE",
    .run = learn_run,
};
