// From documents to rows: a document is encoded and goes to the split that a number drawn for its
// place says, the same for the same seed whatever the tokenizer.
#include "text/pack.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/publish.h"
#include "base/rng.h"
#include "format/shards.h"
#include "sgatlin_data.h"

// Documents are taken in groups, so that threads have something to share; the ids of a group are
// appended in order, so that the result is the same for any number of threads.
enum { pack_group_documents = 1024, pack_group_bytes = 4 << 20 };

sg_pack_options sg_pack_options_default(void)
{
    return (sg_pack_options){
        .seq_len = 512,
        .mode = SG_PACK_CONCAT,
        .val_fraction = 0.01,
        .shard_bytes = (int64_t)256 << 20,
        .corpus = sg_corpus_options_default(),
    };
}

typedef struct pack_item {
    size_t start, bytes; // text in the group
    int32_t *ids;
    size_t count;
    int64_t lost; // bytes that no id stands for
    sg_status status;
    sg_error err;
} pack_item;

typedef struct pack_split {
    sg_shard_writer *writer;
    int32_t *row; // (T) being filled
    int64_t filled;
} pack_split;

typedef struct pack_state {
    const sg_pack_options *options;
    const sg_pack_encoder *encoder;
    sg_data_manifest manifest;
    pack_split split[2];
    uint32_t stream;
    int64_t documents; // drawn so far
    // The group being encoded.
    char *text;
    size_t text_bytes, text_capacity;
    pack_item *items; // (pack_group_documents)
    size_t item_count;
    // The document before: it is placed only when another one follows.
    int32_t *held_ids;
    size_t held_count;
    bool holds;
} pack_state;

// ---- rows -------------------------------------------------------------------------------------

static sg_status pack_flush_row(pack_state *pack, sg_split split, sg_error *err)
{
    pack_split *s = &pack->split[split];
    sg_split_info *counts = &pack->manifest.info.split[split];
    int64_t seq_len = pack->options->seq_len, pad = pack->encoder->pad_id;
    if (s->filled == 0) return SG_OK;
    if (s->filled < seq_len && pad < 0) {
        counts->dropped += s->filled;
        s->filled = 0;
        return SG_OK;
    }
    // Text may name the padding id itself; such tokens have no weight either.
    int64_t tokens = 0;
    for (int64_t t = 0; t < s->filled; t++)
        tokens += s->row[t] != pad;
    for (int64_t t = s->filled; t < seq_len; t++)
        s->row[t] = (int32_t)pad;
    SG_TRY(sg_shard_writer_put(s->writer, s->row, err));
    counts->rows++;
    counts->tokens += tokens;
    s->filled = 0;
    return SG_OK;
}

static sg_status pack_append(pack_state *pack, sg_split split, const int32_t *ids, size_t count,
                             sg_error *err)
{
    pack_split *s = &pack->split[split];
    int64_t seq_len = pack->options->seq_len;
    while (count > 0) {
        size_t room = (size_t)(seq_len - s->filled);
        size_t n = count < room ? count : room;
        memcpy(s->row + s->filled, ids, n * sizeof *ids);
        s->filled += (int64_t)n;
        ids += n;
        count -= n;
        if (s->filled < seq_len) break;
        if (pack->options->mode == SG_PACK_PAD) {
            pack->manifest.info.split[split].dropped += (int64_t)count;
            break;
        }
        SG_TRY(pack_flush_row(pack, split, err));
    }
    return SG_OK;
}

static sg_status pack_place(pack_state *pack, sg_split split, const int32_t *ids, size_t count,
                            sg_error *err)
{
    const int32_t eos = (int32_t)pack->encoder->eos_id;
    pack->manifest.info.split[split].documents++;
    SG_TRY(pack_append(pack, split, ids, count, err));
    bool cut =
        pack->options->mode == SG_PACK_PAD && pack->split[split].filled == pack->options->seq_len;
    if (cut)
        pack->manifest.info.split[split].dropped++;
    else
        SG_TRY(pack_append(pack, split, &eos, 1, err));
    return pack->options->mode == SG_PACK_PAD ? pack_flush_row(pack, split, err) : SG_OK;
}

// ---- the split by document ----------------------------------------------------------------------

static sg_split pack_draw(pack_state *pack)
{
    double u = sg_rng_uniform(pack->options->seed, pack->stream, (uint64_t)pack->documents++);
    return u < pack->options->val_fraction ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
}

// Of the last document the rows at its end go to validation, as many as the fraction is of all
// rows, at least one; the rest goes to training. Neither gets nothing, unless the document is of
// one row and there is no other.
static sg_status pack_divide(pack_state *pack, const int32_t *ids, size_t count, sg_error *err)
{
    sg_data_info *info = &pack->manifest.info;
    const int64_t seq_len = pack->options->seq_len, total = (int64_t)count + 1;
    const bool alone = info->split[SG_SPLIT_TRAIN].documents == 0;
    int64_t rows = (total + (pack->encoder->pad_id >= 0 ? seq_len - 1 : 0)) / seq_len;
    double share = pack->options->val_fraction * (double)(info->split[SG_SPLIT_TRAIN].rows + rows);
    int64_t kept = share < 1 ? 1 : (int64_t)llround(share);
    if (kept >= rows && alone) kept = rows - 1;
    if (kept < 1) return pack_place(pack, SG_SPLIT_TRAIN, ids, count, err);
    if (kept >= rows) return pack_place(pack, SG_SPLIT_VAL, ids, count, err);
    const size_t head = (size_t)(total - kept * seq_len);
    info->split_rows = true;
    info->split[SG_SPLIT_TRAIN].documents++;
    SG_TRY(pack_append(pack, SG_SPLIT_TRAIN, ids, head, err));
    return pack_place(pack, SG_SPLIT_VAL, ids + head, count - head, err);
}

// Places the held document. The last one serves a split that has none yet, when both should have.
static sg_status pack_release(pack_state *pack, bool last, sg_error *err)
{
    if (!pack->holds) return SG_OK;
    sg_split split = pack_draw(pack);
    double fraction = pack->options->val_fraction;
    const sg_split_info *counts = pack->manifest.info.split;
    const bool both = last && fraction > 0 && fraction < 1, alone = pack->documents == 1;
    bool divide = false;
    if (both && counts[SG_SPLIT_VAL].documents == 0 && (alone || split == SG_SPLIT_TRAIN)) {
        divide = pack->options->mode == SG_PACK_CONCAT;
        split = alone ? SG_SPLIT_TRAIN : SG_SPLIT_VAL;
    } else if (both && counts[SG_SPLIT_TRAIN].documents == 0) {
        split = SG_SPLIT_TRAIN;
    }
    sg_status status = divide ? pack_divide(pack, pack->held_ids, pack->held_count, err)
                              : pack_place(pack, split, pack->held_ids, pack->held_count, err);
    sg_free(pack->held_ids);
    pack->held_ids = NULL;
    pack->holds = false;
    return status;
}

// ---- groups of documents ------------------------------------------------------------------------

static void pack_encode_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    pack_state *pack = context;
    pack_item *item = &pack->items[chunk];
    item->status = pack->encoder->encode(pack->encoder->user, pack->text + item->start, item->bytes,
                                         &item->ids, &item->count, &item->lost, &item->err);
}

static void pack_drop_group(pack_state *pack)
{
    for (size_t i = 0; i < pack->item_count; i++)
        sg_free(pack->items[i].ids);
    pack->item_count = 0;
    pack->text_bytes = 0;
}

static sg_status pack_encode_group(pack_state *pack, sg_pool *pool, sg_error *err)
{
    sg_parallel_for(pool, (int64_t)pack->item_count, pack_encode_chunk, pack);
    for (size_t i = 0; i < pack->item_count; i++) {
        pack_item *item = &pack->items[i];
        if (item->status != SG_OK) return sg_fail(err, item->status, "%s", item->err.message);
        SG_TRY(pack_release(pack, false, err));
        pack->manifest.info.text_bytes += (int64_t)item->bytes;
        pack->manifest.info.lost_bytes += item->lost;
        pack->held_ids = item->ids;
        pack->held_count = item->count;
        pack->holds = true;
        item->ids = NULL;
    }
    pack_drop_group(pack);
    return SG_OK;
}

static sg_status pack_add_document(pack_state *pack, const sg_document *document, sg_error *err)
{
    if (!sg_grow((void **)&pack->text, &pack->text_capacity, pack->text_bytes + document->bytes, 1))
        return sg_fail(err, SG_ERR_MEMORY, "packing: out of memory for %zu bytes of text",
                       document->bytes);
    if (document->bytes > 0) memcpy(pack->text + pack->text_bytes, document->text, document->bytes);
    pack->items[pack->item_count++] =
        (pack_item){.start = pack->text_bytes, .bytes = document->bytes};
    pack->text_bytes += document->bytes;
    return SG_OK;
}

static sg_status pack_documents(pack_state *pack, sg_corpus *corpus, sg_pool *pool, sg_error *err)
{
    sg_document document;
    do {
        SG_TRY(sg_corpus_next(corpus, &document, err));
        if (document.text != NULL) SG_TRY(pack_add_document(pack, &document, err));
        if (document.text != NULL && pack->item_count < pack_group_documents &&
            pack->text_bytes < pack_group_bytes)
            continue;
        SG_TRY(pack_encode_group(pack, pool, err));
        int64_t done, total;
        sg_corpus_progress(corpus, &done, &total);
        if (pack->options->progress != NULL &&
            !pack->options->progress(pack->options->progress_user, done, total))
            return sg_fail(err, SG_ERR_STOPPED, "packing was stopped");
    } while (document.text != NULL);
    pack->manifest.info.text = sg_corpus_counts(corpus);
    SG_TRY(pack_release(pack, true, err));
    SG_TRY(pack_flush_row(pack, SG_SPLIT_TRAIN, err));
    return pack_flush_row(pack, SG_SPLIT_VAL, err);
}

// ---- the whole ----------------------------------------------------------------------------------

static sg_status pack_check(const sg_pack_encoder *encoder, const sg_pack_options *options,
                            sg_error *err)
{
    if (options->seq_len < 2 || options->seq_len > SG_SEQ_LEN_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "sequence length: found %lld, expected 2 to %d",
                       (long long)options->seq_len, SG_SEQ_LEN_MAX);
    if (options->mode != SG_PACK_CONCAT && options->mode != SG_PACK_PAD)
        return sg_fail(err, SG_ERR_ARGUMENT, "mode: found %d, expected concat or pad",
                       (int)options->mode);
    if (!(options->val_fraction >= 0 && options->val_fraction <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "validation fraction: found %g, expected 0 to 1",
                       options->val_fraction);
    if (options->seed > INT64_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "seed: found %llu, expected less than 2^63",
                       (unsigned long long)options->seed);
    if (options->shard_bytes < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "shard size: found %lld, expected at least 1",
                       (long long)options->shard_bytes);
    if (encoder->eos_id < 0 || encoder->eos_id >= encoder->vocab_size)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "tokenizer: found no end-of-text token, expected one to close documents");
    if (encoder->pad_id >= encoder->vocab_size || encoder->pad_id == encoder->eos_id)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "tokenizer: found id %lld for padding, expected one in the vocabulary that "
                       "is not the end-of-text id: training skips padding, and the model would "
                       "never learn to end",
                       (long long)encoder->pad_id);
    if (options->mode == SG_PACK_PAD && encoder->pad_id < 0)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "tokenizer: found no padding token, expected one for mode pad; use mode "
                       "concat or a tokenizer with one, such as <|pad|>");
    return SG_OK;
}

// Data that is there is replaced with `force` alone; nothing of it before all of the new is
// written.
static sg_status pack_claim(const char *folder, bool force, sg_claim **claim, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_published_path(path, sizeof path, folder, SG_DATA_MANIFEST, NULL, err));
    if (sg_path_exists(path) && !force)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: holds packed data already; pack elsewhere, or force to replace it",
                       folder);
    return sg_folder_claim(folder, force, claim, err);
}

static sg_status pack_start(pack_state *pack, const char *const *sources, size_t source_count,
                            const char *folder, sg_error *err)
{
    const sg_pack_options *options = pack->options;
    const sg_pack_encoder *encoder = pack->encoder;
    pack->stream = sg_rng_stream("data.split");
    pack->manifest.info = (sg_data_info){
        .seq_len = options->seq_len,
        .vocab_size = encoder->vocab_size,
        .eos_id = encoder->eos_id,
        .pad_id = encoder->pad_id < 0 ? -1 : encoder->pad_id,
        .mode = options->mode,
        .tokenizer_hash = encoder->hash,
        .seed = options->seed,
        .val_fraction = options->val_fraction,
    };
    pack->items = sg_alloc_array(pack_group_documents, sizeof *pack->items);
    pack->manifest.sources = sg_alloc_zero(source_count, sizeof *pack->manifest.sources);
    bool whole = pack->items != NULL && pack->manifest.sources != NULL;
    for (size_t i = 0; whole && i < source_count; i++) {
        whole = (pack->manifest.sources[i] = sg_strdup(sources[i])) != NULL;
        pack->manifest.source_count += whole;
    }
    for (int split = 0; split < 2 && whole; split++) {
        pack->split[split].row =
            sg_alloc_array((size_t)options->seq_len, sizeof *pack->split[split].row);
        whole = pack->split[split].row != NULL;
        if (whole)
            SG_TRY(sg_shard_writer_new(folder, (sg_split)split, &pack->manifest.info,
                                       options->shard_bytes, &pack->split[split].writer, err));
    }
    return whole ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "packing: out of memory");
}

// A split that was asked for and has no row would only be found out when training starts.
static sg_status pack_check_result(const pack_state *pack, sg_error *err)
{
    const sg_split_info *counts = pack->manifest.info.split;
    if (counts[0].documents + counts[1].documents == 0)
        return sg_fail(err, SG_ERR_FORMAT, "packing: found no documents in the files");
    for (int split = 0; split < 2; split++)
        if (counts[split].documents > 0 && counts[split].rows == 0)
            return sg_fail(err, SG_ERR_MISMATCH,
                           "packing: the %s split has %lld tokens, expected at least a row of "
                           "%lld; add text, shorten the rows, or use a tokenizer with a padding "
                           "token",
                           split == SG_SPLIT_TRAIN ? "training" : "validation",
                           (long long)counts[split].dropped, (long long)pack->options->seq_len);
    return SG_OK;
}

static sg_status pack_finish(pack_state *pack, const char *folder, sg_error *err)
{
    SG_TRY(pack_check_result(pack, err));
    for (int split = 0; split < 2; split++)
        SG_TRY(
            sg_shard_writer_finish(pack->split[split].writer, &pack->manifest.shards[split], err));
    char path[SG_PATH_MAX];
    SG_TRY(pack->encoder->save(pack->encoder->user, folder, err));
    char *text;
    SG_TRY(sg_data_manifest_text(&pack->manifest, &text, err));
    sg_status status = sg_path_join(path, sizeof path, folder, SG_DATA_MANIFEST, err);
    if (status == SG_OK) status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    return status;
}

static void pack_clear(pack_state *pack)
{
    if (pack->items != NULL) pack_drop_group(pack);
    for (int split = 0; split < 2; split++) {
        sg_shard_writer_free(pack->split[split].writer);
        sg_free(pack->split[split].row);
    }
    sg_data_manifest_clear(&pack->manifest);
    sg_free(pack->items);
    sg_free(pack->text);
    sg_free(pack->held_ids);
}

// What the rows take at the least: no tokenizer makes of ordinary text a token of more than eight
// bytes on average. A disk that lacks even that is reported before the work.
static sg_status pack_need_space(const sg_corpus *corpus, const sg_pack_encoder *encoder,
                                 const char *folder, sg_error *err)
{
    int64_t done, total;
    sg_corpus_progress(corpus, &done, &total);
    if (total <= 0) return SG_OK; // not known
    return sg_file_need_space(folder, total / 8 * sg_shard_id_bytes(encoder->vocab_size), err);
}

sg_status sg_pack_corpus(sg_corpus *corpus, const sg_pack_encoder *encoder, sg_pool *pool,
                         const sg_pack_options *options, const char *const *sources,
                         size_t source_count, const char *folder, sg_data_info *info, sg_error *err)
{
    SG_TRY(pack_check(encoder, options, err));
    SG_TRY(pack_need_space(corpus, encoder, folder, err));
    sg_claim *claim;
    char staging[SG_PATH_MAX];
    SG_TRY(pack_claim(folder, options->force, &claim, err));
    pack_state pack = {.options = options, .encoder = encoder};
    sg_status status = sg_publish_begin(&sg_data_publication, folder, staging, err);
    if (status == SG_OK) status = pack_start(&pack, sources, source_count, staging, err);
    if (status == SG_OK) status = pack_documents(&pack, corpus, pool, err);
    if (status == SG_OK) status = pack_finish(&pack, staging, err);
    if (status == SG_OK && info != NULL) *info = pack.manifest.info;
    pack_clear(&pack);
    if (status == SG_OK)
        status = sg_publish_end(&sg_data_publication, folder, err);
    else
        sg_publish_abandon(folder);
    sg_folder_release(claim);
    return status;
}

// ---- with a tokenizer ---------------------------------------------------------------------------

static sg_status pack_tokenizer_encode(void *user, const char *text, size_t bytes, int32_t **ids,
                                       size_t *count, int64_t *lost, sg_error *err)
{
    sg_encode_options options = sg_encode_options_default();
    options.lost_bytes = lost;
    return sg_tokenizer_encode(user, text, bytes, &options, ids, count, err);
}

static sg_status pack_tokenizer_save(void *user, const char *folder, sg_error *err)
{
    return sg_tokenizer_save(user, folder, err);
}

sg_status sg_data_pack(sg_context *context, const sg_tokenizer *tokenizer, const char *const *paths,
                       size_t count, const sg_pack_options *options, const char *folder,
                       sg_data_info *info, sg_error *err)
{
    const sg_pack_options defaults = sg_pack_options_default();
    if (options == NULL) options = &defaults;
    sg_pack_encoder encoder = {
        .user = (void *)(uintptr_t)tokenizer, // only read
        .encode = pack_tokenizer_encode,
        .save = pack_tokenizer_save,
        .vocab_size = sg_tokenizer_vocab_size(tokenizer),
        .eos_id = sg_tokenizer_eos(tokenizer),
        .pad_id = sg_tokenizer_pad(tokenizer),
        .hash = sg_tokenizer_hash(tokenizer),
    };
    // Joined rows can do without padding; a document a row cannot, and says so.
    if (encoder.pad_id == encoder.eos_id && options->mode == SG_PACK_CONCAT) encoder.pad_id = -1;
    sg_corpus *corpus;
    SG_TRY(sg_corpus_open(paths, count, &options->corpus, &corpus, err));
    sg_status status = sg_pack_corpus(corpus, &encoder, context ? context->compute.pool : NULL,
                                      options, paths, count, folder, info, err);
    sg_corpus_close(corpus);
    return status;
}
