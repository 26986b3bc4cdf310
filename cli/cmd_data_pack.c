// sgatlin data pack: text files into the packed rows that training reads.
#include <string.h>

#include "cli/reading.h"

static const char *pack_tokenizer;
static const char *pack_out;
static const char *pack_mode = "concat";
static bool pack_force;
static int64_t pack_seq_len = 512;
static int64_t pack_seed = 0;
static int64_t pack_shard_bytes = (int64_t)256 << 20;
static double pack_val_fraction = 0.01;

static const cli_option pack_options[] = {
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &pack_tokenizer,
     .argument = "DIR|FILE",
     .shown = "",
     .help = "a tokenizer.json, or the folder it lies in",
     .required = true},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &pack_out,
     .argument = "DIR",
     .shown = "",
     .help = "the folder to make",
     .required = true},
    {.name = "seq-len",
     .kind = CLI_COUNT,
     .value = &pack_seq_len,
     .argument = "T",
     .help = "tokens in a row: the sequence length of training",
     .low = 2,
     .high = 1 << 20},
    {.name = "mode",
     .kind = CLI_STRING,
     .value = &pack_mode,
     .argument = "MODE",
     .choices = "concat|pad",
     .help = "concat: join documents, cut every T tokens; pad: one document a row, cut or padded"},
    {.name = "val-fraction",
     .kind = CLI_DOUBLE,
     .value = &pack_val_fraction,
     .argument = "F",
     .help = "share of the documents kept for validation",
     .low = 0,
     .high = 1},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &pack_seed,
     .argument = "S",
     .help = "of the draw of those documents",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &pack_force,
     .help = "pack into a DIR that holds files, replacing packed data in it"},
    {.name = "shard-bytes",
     .kind = CLI_COUNT,
     .value = &pack_shard_bytes,
     .argument = "BYTES",
     .shown = "256Mi",
     .help = "size of one file of rows",
     .low = 1,
     .high = 1e15},
    CLI_READING_OPTIONS,
    {0},
};

static bool pack_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_pack_options pack_fill_options(const sg_corpus_options *reading, cli_progress *bar)
{
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = pack_seq_len;
    options.mode = strcmp(pack_mode, "pad") == 0 ? SG_PACK_PAD : SG_PACK_CONCAT;
    options.val_fraction = pack_val_fraction;
    options.seed = (uint64_t)pack_seed;
    options.shard_bytes = pack_shard_bytes;
    options.force = pack_force;
    options.corpus = *reading;
    options.progress = pack_progress;
    options.progress_user = bar;
    return options;
}

static json_t *pack_split_json(const sg_split_info *split)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "documents", (json_int_t)split->documents, "rows",
                     (json_int_t)split->rows, "tokens", (json_int_t)split->tokens, "dropped_tokens",
                     (json_int_t)split->dropped);
}

static json_t *pack_text_json(const sg_data_info *info)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "bytes", (json_int_t)info->text_bytes,
                     "lost_bytes", (json_int_t)info->lost_bytes, "replaced",
                     (json_int_t)info->text.replaced, "skipped_documents",
                     (json_int_t)info->text.skipped, "empty_documents",
                     (json_int_t)info->text.empty);
}

// What is in no row, or is not as one would think.
static void pack_warn(const cli_args *args, const sg_data_info *info)
{
    const bool both = info->val_fraction > 0 && info->val_fraction < 1;
    cli_reading_warn(args, &info->text);
    cli_lost_warn(args, "text", info->lost_bytes, info->text_bytes);
    if (info->split_rows)
        cli_note(args, "no document was drawn into validation: it has the last rows of the last "
                       "document");
    if (both && info->split[SG_SPLIT_VAL].rows == 0)
        cli_warn(args, "no row is left for validation: the text is one document%s",
                 info->mode == SG_PACK_PAD ? ", which is one row" : " of one row");
}

static int pack_report(const cli_args *args, const sg_data_info *info)
{
    const sg_split_info *train = &info->split[SG_SPLIT_TRAIN], *val = &info->split[SG_SPLIT_VAL];
    pack_warn(args, info);
    if (args->json)
        return cli_print_json(
            args, json_pack("{s:s, s:I, s:s, s:I, s:o, s:o, s:b, s:o}", "out", pack_out, "seq_len",
                            (json_int_t)info->seq_len, "mode", pack_mode, "vocab_size",
                            (json_int_t)info->vocab_size, "train", pack_split_json(train), "val",
                            pack_split_json(val), "split_rows", info->split_rows, "text",
                            pack_text_json(info)));
    printf("%s: rows of %lld tokens, vocabulary %lld\n", pack_out, (long long)info->seq_len,
           (long long)info->vocab_size);
    for (int i = 0; i < 2; i++) {
        const sg_split_info *split = &info->split[i];
        printf("  %-10s documents %lld, rows %lld, tokens %lld", i ? "validation" : "training",
               (long long)split->documents, (long long)split->rows, (long long)split->tokens);
        if (split->dropped > 0) printf(", cut off %lld", (long long)split->dropped);
        printf("\n");
    }
    return CLI_DONE;
}

static int pack_run(const cli_args *args)
{
    sg_corpus_options reading;
    if (!cli_reading_options(args, &reading)) return CLI_WRONG;
    cli_catch_signals();
    sg_error err = {0};
    sg_context *context = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_data_info info;
    sg_status status = cli_context_new(args, &context, &err);
    if (status == SG_OK) status = sg_tokenizer_open(pack_tokenizer, &tokenizer, &err);
    if (status == SG_OK) {
        cli_progress bar;
        cli_progress_begin(&bar, args, "packing", "B");
        sg_pack_options options = pack_fill_options(&reading, &bar);
        status = sg_data_pack(context, tokenizer, args->operands, (size_t)args->count, &options,
                              pack_out, &info, &err);
        cli_progress_end(&bar);
    }
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return status == SG_OK ? pack_report(args, &info) : cli_fail(args, status, &err);
}

const cli_command cli_cmd_data_pack = {
    .name = "data pack",
    .summary = "turn text into packed rows of tokens for training",
    .usage = "--tokenizer DIR|FILE --out DIR [options] FILE...",
    .about =
        "FILE is text or JSON lines, plain or compressed (gzip, zstd); - is the standard input. "
        "Train and validation are split by document; where no document was drawn into validation, "
        "as of a single one, concat takes its share of rows from the end of the last document. "
        "DIR gets data.json, tokenizer.json and the shards.",
    .options = pack_options,
    .example = "sgatlin data pack --tokenizer tok --seq-len 256 --out packed stories.txt",
    .min_operands = 1,
    .max_operands = -1,
    .operands = "FILE",
    .run = pack_run,
};
