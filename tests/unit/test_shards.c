// Packed data: what packing writes, that reading gives it back, and that damage is found.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/shards.h"
#include "memory_fs.h"
#include "pack_bytes.h"
#include "sgatlin_data.h"

static char folder[64];
static char out_folder[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sg-shards-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(out_folder, sizeof out_folder, "%s/a/data", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static const char *path_of(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", out_folder, name);
    return path;
}

static sg_data *pack_and_open(const char *text, const sg_pack_encoder *encoder,
                              const sg_pack_options *options)
{
    sg_error err = {0};
    sg_data_info info;
    sg_data *data;
    if (bytes_pack(text, encoder, NULL, options, out_folder, &info, &err) != SG_OK)
        fail_msg("%s", err.message);
    if (sg_data_open(out_folder, SG_VERIFY_FULL, &data, &err) != SG_OK) fail_msg("%s", err.message);
    const sg_data_info *found = sg_data_get_info(data);
    assert_memory_equal(info.split, found->split, sizeof info.split);
    assert_true(info.seq_len == found->seq_len && info.vocab_size == found->vocab_size &&
                info.eos_id == found->eos_id && info.pad_id == found->pad_id &&
                info.mode == found->mode && info.tokenizer_hash == found->tokenizer_hash &&
                info.seed == found->seed && info.val_fraction == found->val_fraction);
    return data;
}

static void expect_row(const sg_data *data, sg_split split, int64_t row, const int32_t *expected)
{
    int32_t ids[16];
    assert_true(sg_data_get_info(data)->seq_len <= 16);
    assert_int_equal(sg_data_row(data, split, row, ids, NULL), SG_OK);
    for (int64_t t = 0; t < sg_data_get_info(data)->seq_len; t++)
        assert_int_equal(ids[t], expected[t]);
}

static sg_pack_options small_options(sg_pack_mode mode)
{
    sg_pack_options options = sg_pack_options_default();
    options.seq_len = 5;
    options.mode = mode;
    options.val_fraction = 0;
    options.force = true;
    return options;
}

enum { A = 'a' + 3, B = 'b' + 3, C = 'c' + 3 };
static const char abc[] = "aaa\n<|endoftext|>\nbbbbb\n<|endoftext|>\nc";

static void test_concat(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    sg_pack_encoder encoder = bytes_encoder();
    sg_data *data = pack_and_open(abc, &encoder, &options);
    const sg_data_info *info = sg_data_get_info(data);
    // aaa. bbbbb. c. -> 12 ids in rows of 5, the last one filled up.
    assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, 3);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].documents, 3);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].tokens, 12);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].dropped, 0);
    assert_int_equal(info->split[SG_SPLIT_VAL].rows, 0);
    expect_row(data, SG_SPLIT_TRAIN, 0, (int32_t[]){A, A, A, 1, B});
    expect_row(data, SG_SPLIT_TRAIN, 1, (int32_t[]){B, B, B, B, 1});
    expect_row(data, SG_SPLIT_TRAIN, 2, (int32_t[]){C, 1, 0, 0, 0});
    int32_t ids[5];
    assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, 3, ids, NULL), SG_ERR_ARGUMENT);
    assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, -1, ids, NULL), SG_ERR_ARGUMENT);
    assert_int_equal(sg_data_row(data, SG_SPLIT_VAL, 0, ids, NULL), SG_ERR_ARGUMENT);
    sg_data_free(data);

    encoder.pad_id = -1;
    data = pack_and_open(abc, &encoder, &options);
    info = sg_data_get_info(data);
    assert_int_equal(info->pad_id, -1);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, 2);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].tokens, 10);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].dropped, 2);
    sg_data_free(data);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_pad(void **state)
{
    (void)state;
    sg_pack_options options = small_options(SG_PACK_PAD);
    sg_pack_encoder encoder = bytes_encoder();
    sg_data *data = pack_and_open(abc, &encoder, &options);
    const sg_data_info *info = sg_data_get_info(data);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, 3);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].tokens, 11);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].dropped, 1);
    expect_row(data, SG_SPLIT_TRAIN, 0, (int32_t[]){A, A, A, 1, 0});
    expect_row(data, SG_SPLIT_TRAIN, 1, (int32_t[]){B, B, B, B, B});
    expect_row(data, SG_SPLIT_TRAIN, 2, (int32_t[]){C, 1, 0, 0, 0});
    sg_data_free(data);
    data = pack_and_open("aaaaaaaaa", &encoder, &options);
    assert_int_equal(sg_data_get_info(data)->split[SG_SPLIT_TRAIN].dropped, 5);
    sg_data_free(data);
}

// Documents "1", "2", … with separators.
static char *numbered(int count)
{
    char *text = malloc((size_t)count * 32 + 1);
    assert_non_null(text);
    size_t used = 0;
    text[0] = '\0';
    for (int i = 1; i <= count; i++)
        used += (size_t)sprintf(text + used, "%d\n<|endoftext|>\n", i);
    return text;
}

static void test_split(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new(); // spares hundreds of syncs of a disk
    sg_fs_set(memory_fs_table(fs));
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_PAD);
    char *text = numbered(4000);
    options.val_fraction = 0.1;
    sg_data *data = pack_and_open(text, &encoder, &options);
    const sg_data_info *info = sg_data_get_info(data);
    int64_t val = info->split[SG_SPLIT_VAL].documents;
    assert_true(val > 320 && val < 480);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].documents, 4000 - val);
    // In each split the documents keep their order.
    for (int split = 0; split < 2; split++) {
        int last = 0;
        for (int64_t row = 0; row < info->split[split].rows; row++) {
            int32_t ids[5];
            char number[8] = {0};
            assert_int_equal(sg_data_row(data, (sg_split)split, row, ids, NULL), SG_OK);
            for (int t = 0; t < 5 && ids[t] >= 3; t++)
                number[t] = (char)(ids[t] - 3);
            assert_true(atoi(number) > last);
            last = atoi(number);
        }
    }
    sg_data_free(data);
    free(text);
    // However small the fraction, both splits have something when there are two documents.
    for (int count = 2; count < 6; count++) {
        text = numbered(count);
        for (uint64_t seed = 0; seed < 8; seed++) {
            options.seed = seed;
            options.val_fraction = seed % 2 ? 1e-9 : 1 - 1e-9;
            data = pack_and_open(text, &encoder, &options);
            int rare = seed % 2 ? SG_SPLIT_VAL : SG_SPLIT_TRAIN;
            assert_int_equal(sg_data_get_info(data)->split[rare].documents, 1);
            sg_data_free(data);
        }
        free(text);
    }
    options.val_fraction = 1;
    data = pack_and_open(abc, &encoder, &options);
    assert_int_equal(sg_data_get_info(data)->split[SG_SPLIT_VAL].rows, 3);
    sg_data_free(data);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

// Where no document is drawn into validation, rows at the end of the last one are taken, so that a
// book can be packed as it is.
static void test_few_documents(void **state)
{
    (void)state;
    static const char book[] = "abcdefghijklmnopqrstuvw"; // 24 ids, 5 rows
    static const struct {
        double fraction;
        int64_t train, val, first; // rows, and the first letter of validation
        bool pads;
    } cases[] = {{0.2, 4, 1, 't', true},   {1e-9, 4, 1, 't', true},     {0.4, 3, 2, 'o', true},
                 {0.3, 3, 2, 'o', true},   {1 - 1e-9, 1, 4, 'e', true}, {0.2, 3, 1, 't', false},
                 {0.99, 1, 3, 'j', false}, {0.001, 3, 1, 't', false}};
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    const sg_data_info *info;
    sg_data *data;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        encoder.pad_id = cases[i].pads ? BYTES_PAD : -1;
        options.val_fraction = cases[i].fraction;
        for (options.seed = 0; options.seed < 4; options.seed++) { // whatever is drawn
            data = pack_and_open(book, &encoder, &options);
            info = sg_data_get_info(data);
            assert_true(info->split_rows);
            assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, cases[i].train);
            assert_int_equal(info->split[SG_SPLIT_VAL].rows, cases[i].val);
            assert_int_equal(info->split[SG_SPLIT_VAL].tokens, 5 * cases[i].val);
            int64_t lost = info->split[SG_SPLIT_TRAIN].dropped;
            assert_int_equal(info->split[SG_SPLIT_TRAIN].tokens + 5 * cases[i].val + lost, 24);
            assert_true(cases[i].pads ? lost == 0 : lost < 5);
            int32_t ids[5];
            assert_int_equal(sg_data_row(data, SG_SPLIT_VAL, 0, ids, NULL), SG_OK);
            assert_int_equal(ids[0], cases[i].first + 3);
            assert_int_equal(sg_data_row(data, SG_SPLIT_VAL, cases[i].val - 1, ids, NULL), SG_OK);
            assert_int_equal(ids[4], BYTES_EOS);
            expect_row(
                data, SG_SPLIT_TRAIN, 0,
                (int32_t[]){A, B, C, A + 3, cases[i].train > 1 || !cases[i].pads ? A + 4 : 0});
            sg_data_free(data);
        }
    }
    // Two documents: of the second, half as long, what the fraction of all rows is.
    encoder.pad_id = BYTES_PAD;
    options.seed = 0;
    options.val_fraction = 1e-9;
    data = pack_and_open("aaa\n<|endoftext|>\nbbbbbbbbbbb", &encoder, &options);
    info = sg_data_get_info(data);
    assert_true(info->split_rows);
    assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, 3); // aaa.b bbbbb b
    assert_int_equal(info->split[SG_SPLIT_VAL].rows, 1);
    expect_row(data, SG_SPLIT_TRAIN, 0, (int32_t[]){A, A, A, 1, B});
    expect_row(data, SG_SPLIT_VAL, 0, (int32_t[]){B, B, B, B, 1});
    sg_data_free(data);
    // A short last document goes there whole, as ever.
    data = pack_and_open(abc, &encoder, &options);
    assert_false(sg_data_get_info(data)->split_rows);
    assert_int_equal(sg_data_get_info(data)->split[SG_SPLIT_VAL].documents, 1);
    expect_row(data, SG_SPLIT_VAL, 0, (int32_t[]){C, 1, 0, 0, 0});
    sg_data_free(data);
    // One row cannot be divided, nor one document a row: training has it.
    for (int mode = 0; mode < 2; mode++)
        for (int large = 0; large < 2; large++) {
            options = small_options(mode ? SG_PACK_PAD : SG_PACK_CONCAT);
            options.val_fraction = large ? 1 - 1e-9 : 0.01;
            data = pack_and_open(mode ? book : "abc", &encoder, &options);
            info = sg_data_get_info(data);
            assert_int_equal(info->split[SG_SPLIT_TRAIN].rows, 1);
            assert_int_equal(info->split[SG_SPLIT_VAL].rows, 0);
            sg_data_free(data);
        }
}

static sg_status vowels_encode(void *user, const char *text, size_t bytes, int32_t **ids,
                               size_t *count, int64_t *lost, sg_error *err)
{
    sg_status status = bytes_encode(user, text, bytes, ids, count, lost, err);
    for (size_t i = 0; status == SG_OK && i < bytes; i++)
        *lost += strchr("aeiou", text[i]) != NULL;
    return status;
}

static void test_what_the_text_held(void **state)
{
    (void)state;
    sg_pack_encoder encoder = bytes_encoder();
    encoder.encode = vowels_encode;
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    static const char text[] = "aeb\n<|endoftext|>\n \n<|endoftext|>\nb\xe9o\n<|endoftext|>\n";
    sg_data *data = pack_and_open(text, &encoder, &options);
    sg_data_info info = *sg_data_get_info(data); // read back from data.json
    sg_data_free(data);
    assert_int_equal(info.text_bytes, 3 + 5); // U+FFFD is three
    assert_int_equal(info.lost_bytes, 3);
    assert_int_equal(info.text.replaced, 1);
    assert_int_equal(info.text.empty, 1);
    assert_int_equal(info.text.skipped, 0);
    options.corpus.bad_text = SG_BAD_TEXT_SKIP;
    options.corpus.keep_empty = true;
    data = pack_and_open(text, &encoder, &options);
    info = *sg_data_get_info(data);
    assert_int_equal(info.text.skipped, 1);
    assert_int_equal(info.text.empty, 0);
    assert_int_equal(info.split[SG_SPLIT_TRAIN].documents, 2);
    expect_row(data, SG_SPLIT_TRAIN, 0, (int32_t[]){A, A + 4, B, 1, ' ' + 3});
    expect_row(data, SG_SPLIT_TRAIN, 1, (int32_t[]){1, 0, 0, 0, 0}); // white space, and the end
    sg_data_free(data);
}

// Many shards, any number of threads: the same rows; and the same bytes twice.
static void test_shards_and_threads(void **state)
{
    (void)state;
    sg_pack_encoder encoder = bytes_encoder();
    char *text = numbered(3000);
    uint64_t sums[4];
    for (int round = 0; round < 4; round++) {
        sg_pack_options options = small_options(SG_PACK_CONCAT);
        options.val_fraction = 0.05;
        if (round % 2) options.shard_bytes = 1000;
        sg_pool *pool;
        sg_data *data;
        sg_error err;
        assert_int_equal(sg_pool_new(round < 2 ? 1 : 3, &pool, &err), SG_OK);
        if (bytes_pack(text, &encoder, pool, &options, out_folder, NULL, &err) != SG_OK)
            fail_msg("%s", err.message);
        sg_pool_free(pool);
        assert_int_equal(sg_path_exists(path_of("train-00001.bin")), round % 2);
        assert_false(sg_path_exists(path_of(".incoming.tmp")));
        assert_true(sg_path_exists(path_of("tokenizer.json")));
        assert_int_equal(sg_data_open(out_folder, SG_VERIFY_AUTO, &data, &err), SG_OK);
        sums[round] = 0;
        int32_t ids[5];
        for (int64_t row = 0; row < sg_data_get_info(data)->split[0].rows; row++) {
            assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, row, ids, NULL), SG_OK);
            for (int t = 0; t < 5; t++)
                sums[round] = sums[round] * 1000003 + (uint64_t)ids[t];
        }
        sg_data_free(data);
    }
    assert_true(sums[0] == sums[1] && sums[0] == sums[2] && sums[0] == sums[3]);
    free(text);
}

static void test_wide_ids(void **state)
{
    (void)state;
    sg_pack_encoder encoder = bytes_encoder();
    encoder.vocab_size = 70000;
    encoder.eos_id = 69999;
    sg_pack_options options = small_options(SG_PACK_PAD);
    sg_data *data = pack_and_open("a", &encoder, &options);
    expect_row(data, SG_SPLIT_TRAIN, 0, (int32_t[]){A, 69999, 0, 0, 0});
    sg_data_free(data);
}

static void expect_refusal(const sg_pack_encoder *encoder, const sg_pack_options *options,
                           const char *text, sg_status code, const char *part)
{
    sg_error err = {0};
    sg_status status = bytes_pack(text, encoder, NULL, options, out_folder, NULL, &err);
    if (status != code || strstr(err.message, part) == NULL)
        fail_msg("status %d: %s", (int)status, err.message);
}

static bool stop_at_once(void *user, int64_t done, int64_t total)
{
    (void)user;
    assert_true(done <= total);
    return false;
}

static void test_refusals(void **state)
{
    (void)state;
    sg_pack_encoder good = bytes_encoder(), encoder = good;
    sg_pack_options options = small_options(SG_PACK_PAD), changed = options;
    encoder.pad_id = encoder.eos_id;
    expect_refusal(&encoder, &options, abc, SG_ERR_MISMATCH, "not the end-of-text id");
    encoder.pad_id = -1;
    expect_refusal(&encoder, &options, abc, SG_ERR_MISMATCH, "no padding token");
    encoder = good;
    encoder.eos_id = -1;
    expect_refusal(&encoder, &options, abc, SG_ERR_MISMATCH, "no end-of-text token");
    changed.seq_len = 1;
    expect_refusal(&good, &changed, abc, SG_ERR_ARGUMENT, "sequence length");
    changed = options;
    changed.val_fraction = 1.5;
    expect_refusal(&good, &changed, abc, SG_ERR_ARGUMENT, "validation fraction");
    expect_refusal(&good, &options, " \n", SG_ERR_FORMAT, "no documents");
    changed = small_options(SG_PACK_CONCAT);
    encoder = good;
    encoder.pad_id = -1;
    expect_refusal(&encoder, &changed, "ab", SG_ERR_MISMATCH, "at least a row of 5");

    // Finished data is not replaced without force, and stays where a pack is stopped.
    sg_data_free(pack_and_open(abc, &good, &options));
    changed = options;
    changed.force = false;
    expect_refusal(&good, &changed, abc, SG_ERR_ARGUMENT, "holds packed data already");
    assert_true(sg_path_exists(path_of("data.json")));
    changed.force = true;
    changed.progress = stop_at_once;
    expect_refusal(&good, &changed, abc, SG_ERR_STOPPED, "stopped");
    sg_data *data;
    sg_error err;
    assert_int_equal(sg_data_open(out_folder, SG_VERIFY_FULL, &data, &err), SG_OK);
    sg_data_free(data);
    assert_false(sg_path_exists(path_of(".incoming.tmp")));
    assert_false(sg_path_exists(path_of(".lock")));
}

// A folder of the user's is not packed into without force; with it, what is no packed data stays.
static void test_other_files(void **state)
{
    (void)state;
    sg_error err;
    sg_pack_encoder good = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT), careful = options;
    options.shard_bytes = 20;
    careful.force = false;
    if (sg_folder_make(out_folder, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_file_write_atomic(path_of("tokenizer.json"), "mine", 4, &err), SG_OK);
    expect_refusal(&good, &careful, abc, SG_ERR_ARGUMENT, "found a folder with files in it (tok");
    assert_int_equal(sg_file_write_atomic(path_of("notes"), "mine", 4, &err), SG_OK);
    sg_data_free(pack_and_open(abc, &good, &options));
    assert_true(sg_path_exists(path_of("train-00001.bin")));
    // Fewer shards: the rest of the old ones goes.
    options.shard_bytes = 1 << 20;
    sg_data_free(pack_and_open(abc, &good, &options));
    assert_false(sg_path_exists(path_of("train-00001.bin")));
    assert_true(sg_path_exists(path_of("notes")));
    // Two at a time.
    sg_claim *claim;
    assert_int_equal(sg_folder_claim(out_folder, true, &claim, &err), SG_OK);
    expect_refusal(&good, &options, abc, SG_ERR_IO, "another process is working on this");
    sg_folder_release(claim);
    // A disk without room is told before the work.
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    memory_fs_limit(fs, 1);
    memory_fs_show_limit(fs, true);
    expect_refusal(&good, &options, abc, SG_ERR_IO, "B free on the disk");
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

static void put_bytes(const char *path, const char *data, size_t bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

// Every bit of a shard and every byte of the manifest matters, or is harmless; nothing crashes.
static void test_damage(void **state)
{
    (void)state;
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    sg_data_free(pack_and_open(abc, &encoder, &options));
    char path[160], *bytes;
    size_t count;
    sg_data *data;
    sg_error err;
    int64_t live = sg_alloc_live();
    strcpy(path, path_of("train-00000.bin"));
    assert_int_equal(sg_file_read(path, 1 << 20, &bytes, &count, NULL), SG_OK);
    assert_int_equal(count, 64 + 3 * 5 * 2);
    for (size_t bit = 0; bit < count * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
        put_bytes(path, bytes, count);
        assert_int_equal(sg_data_open(out_folder, SG_VERIFY_AUTO, &data, &err), SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, "train-00000.bin"));
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t keep = 0; keep < count; keep++) {
        put_bytes(path, bytes, keep);
        assert_int_equal(sg_data_open(out_folder, SG_VERIFY_QUICK, &data, &err), SG_ERR_FORMAT);
    }
    put_bytes(path, bytes, count);
    sg_path_remove(path, NULL);
    assert_int_equal(sg_data_open(out_folder, SG_VERIFY_QUICK, &data, &err), SG_ERR_NOT_FOUND);
    // Without the checksum an id that is too large is found when its row is read.
    bytes[64 + 11] = 0x7f;
    put_bytes(path, bytes, count);
    assert_int_equal(sg_data_open(out_folder, SG_VERIFY_QUICK, &data, &err), SG_OK);
    int32_t ids[5];
    assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, 0, ids, &err), SG_OK);
    assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, 1, ids, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "train-00000.bin: row 1: found id"));
    sg_data_free(data);
    bytes[64 + 11] = 0;
    put_bytes(path, bytes, count);
    sg_free(bytes);

    strcpy(path, path_of("data.json"));
    assert_int_equal(sg_file_read(path, 1 << 20, &bytes, &count, NULL), SG_OK);
    for (size_t i = 0; i < count; i++) {
        char kept = bytes[i];
        const char tries[] = {'9', '"', 0};
        for (size_t j = 0; j < sizeof tries; j++) {
            bytes[i] = tries[j];
            put_bytes(path, bytes, count);
            if (sg_data_open(out_folder, SG_VERIFY_AUTO, &data, &err) == SG_OK) {
                for (int64_t row = 0; row < sg_data_get_info(data)->split[0].rows; row++)
                    assert_int_equal(sg_data_row(data, SG_SPLIT_TRAIN, row, ids, &err), SG_OK);
                sg_data_free(data);
            }
        }
        bytes[i] = kept;
    }
    sg_free(bytes);
    assert_int_equal(sg_alloc_live(), live);
}

static void expect_manifest(const char *text, const char *from, const char *to, const char *part)
{
    char changed[4096];
    const char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    sg_data_manifest manifest;
    sg_error err = {0};
    sg_status status =
        sg_data_manifest_parse(changed, strlen(changed), "data.json", &manifest, &err);
    if (status == SG_OK || strstr(err.message, part) == NULL)
        fail_msg("%s -> %s: status %d, %s", from, to, (int)status, err.message);
}

static void test_hostile_manifest(void **state)
{
    (void)state;
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    sg_data_free(pack_and_open(abc, &encoder, &options));
    char *text;
    size_t bytes;
    assert_int_equal(sg_file_read(path_of("data.json"), 4096, &text, &bytes, NULL), SG_OK);
    expect_manifest(text, "\"seq_len\": 5", "\"seq_len\": 0", "\"seq_len\"");
    expect_manifest(text, "\"seq_len\": 5", "\"seq_len\": 1048577", "\"seq_len\"");
    expect_manifest(text, "\"seq_len\": 5", "\"seq_len\": \"5\"", "found a string");
    expect_manifest(text, "\"vocab_size\": 259", "\"vocab_size\": 4294967296", "\"vocab_size\"");
    expect_manifest(text, "\"eos_id\": 1", "\"eos_id\": 259", "\"eos_id\"");
    expect_manifest(text, "\"pad_id\": 0", "\"pad_id\": 1", "\"pad_id\"");
    expect_manifest(text, "\"rows\": 3", "\"rows\": 9223372036854775807", "\"rows\"");
    expect_manifest(text, "\"rows\": 3", "\"rows\": 4", "rows, expected 4");
    expect_manifest(text, "\"rows\": 3", "\"rows\": 2", "\"tokens\"");
    expect_manifest(text, "train-00000.bin", "../../secret.bin", "expected \"train-00000.bin\"");
    expect_manifest(text, "\"bytes\": 94", "\"bytes\": 93", "\"bytes\"");
    expect_manifest(text, "\"mode\": \"concat\"", "\"mode\": \"other\"", "\"mode\"");
    expect_manifest(text, "\"version\": 1", "\"version\": 2", "\"version\"");
    expect_manifest(text, "1234567890abcdef", "1234567890abcdeg", "\"tokenizer_hash\"");
    expect_manifest(text, "\"tokens\": 12", "\"tokens\": 16", "\"tokens\"");
    sg_free(text);
}

static bool fail_nth(void *user, size_t bytes)
{
    (void)bytes;
    int64_t *left = user;
    return (*left)-- != 0;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new(); // spares hundreds of syncs of a disk
    sg_fs_set(memory_fs_table(fs));
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    options.val_fraction = 0.4;
    options.shard_bytes = 20;
    int64_t live = sg_alloc_live();
    sg_data_free(pack_and_open(abc, &encoder, &options));
    for (int64_t fail = 0;; fail++) {
        assert_true(fail < 2000);
        int64_t left = fail;
        sg_error err;
        sg_alloc_set_hook(fail_nth, &left);
        sg_status status = bytes_pack(abc, &encoder, NULL, &options, out_folder, NULL, &err);
        sg_alloc_set_hook(NULL, NULL);
        assert_int_equal(sg_alloc_live(), live);
        sg_error ignored;
        // A manifest means that the data is whole.
        bool finished = sg_path_exists(path_of("data.json"));
        if (finished) {
            sg_data *data;
            if (sg_data_open(out_folder, SG_VERIFY_FULL, &data, &ignored) != SG_OK)
                fail_msg("%d: %s; %s", (int)fail, status == SG_OK ? "packed" : err.message,
                         ignored.message);
            sg_data_free(data);
        }
        assert_true(finished || status != SG_OK);
        if (left >= 0) {
            assert_int_equal(status, SG_OK);
            break;
        }
        if (status != SG_ERR_MEMORY) fail_msg("%d: %d %s", (int)fail, (int)status, err.message);
    }
    for (int64_t fail = 0;; fail++) {
        assert_true(fail < 2000);
        int64_t left = fail;
        sg_data *data;
        sg_error err;
        sg_alloc_set_hook(fail_nth, &left);
        sg_status status = sg_data_open(out_folder, SG_VERIFY_AUTO, &data, &err);
        sg_alloc_set_hook(NULL, NULL);
        sg_data_free(data);
        assert_int_equal(sg_alloc_live(), live);
        if (left >= 0) {
            assert_int_equal(status, SG_OK);
            break;
        }
        if (status != SG_ERR_MEMORY) fail_msg("%d: %d %s", (int)fail, (int)status, err.message);
    }
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

// ---- a disk that fails --------------------------------------------------------------------------

// Version 0 is the old data, of three rows in two shards, 1 the new, of five.
static sg_status pack_version(int version, sg_error *err)
{
    static const char more[] = "aaa\n<|endoftext|>\nbbbbb\n<|endoftext|>\ncccccccccc";
    sg_pack_encoder encoder = bytes_encoder();
    sg_pack_options options = small_options(SG_PACK_CONCAT);
    options.shard_bytes = version ? 10 : 20;
    return bytes_pack(version ? more : abc, &encoder, NULL, &options, "/data", NULL, err);
}

// On the file system in use: the version that is there, whole, or -1. A reader finds it without
// changing anything.
static int found_version(void)
{
    sg_error err = {0};
    sg_data *data;
    memory_fs *fs = sg_fs_get()->user;
    const int64_t used = memory_fs_used(fs);
    sg_status status = sg_data_open("/data", SG_VERIFY_FULL, &data, &err);
    assert_int_equal(memory_fs_used(fs), used);
    if (status == SG_ERR_NOT_FOUND) return -1;
    if (status != SG_OK) fail_msg("%s", err.message);
    const int64_t rows = sg_data_get_info(data)->split[0].rows;
    sg_data_free(data);
    assert_true(rows == 3 || rows == 5);
    return rows == 5;
}

// Whatever happened, it is the old data or the new, and packing again succeeds.
static void expect_old_or_new(memory_fs *fs, bool old, bool done)
{
    sg_error err = {0};
    char **names;
    size_t count;
    sg_fs_set(memory_fs_table(fs));
    const int found = found_version();
    if (done) assert_int_equal(found, 1);
    if (old) assert_true(found >= 0);
    if (pack_version(1, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(found_version(), 1);
    if (sg_folder_list("/data", &names, &count, &err) != SG_OK) fail_msg("%s", err.message);
    sg_names_free(names, count);
    assert_int_equal(count, 7); // data.json, tokenizer.json and five shards: nothing is left over
    sg_fs_set(NULL);
}

static memory_fs *with_old(bool old)
{
    sg_error err = {0};
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    if (old && pack_version(0, &err) != SG_OK) fail_msg("%s", err.message);
    memory_fs_settle(fs);
    return fs;
}

static void test_disk_failures(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    for (int old = 0; old < 2; old++) {
        int64_t n = 0;
        for (int64_t last = 1; n < last; n++) {
            memory_fs *fs = with_old(old);
            const int64_t start = memory_fs_operations(fs);
            memory_fs_fail(fs, start + n, n % 2 ? ENOSPC : EIO, n % 3 == 0);
            sg_error err;
            sg_status status = pack_version(1, &err);
            // Looking whether something exists may fail without harm; every other failure is told.
            if (status != SG_OK && status != SG_ERR_IO && status != SG_ERR_NOT_FOUND)
                fail_msg("operation %d: %s", (int)n, err.message);
            assert_int_equal(memory_fs_open_handles(fs), 0);
            last = memory_fs_operations(fs) > start + n ? n + 2 : last;
            memory_fs *later = memory_fs_clone(fs);
            expect_old_or_new(later, old, status == SG_OK);
            memory_fs_free(later);
            memory_fs_free(fs);
        }
        assert_true(n > 60);
    }
    assert_int_equal(sg_alloc_live(), live);
}

static void test_full_disks(void **state)
{
    (void)state;
    for (int64_t room = 0, full = 1; full; room = room * 5 / 4 + 1) {
        memory_fs *fs = with_old(true);
        const int64_t used = memory_fs_used(fs);
        sg_error err;
        memory_fs_limit(fs, used + room);
        sg_status status = pack_version(1, &err);
        full = status != SG_OK;
        if (full) assert_int_equal(status, SG_ERR_IO);
        if (full) assert_int_equal(memory_fs_used(fs), used); // the space is given back
        assert_int_equal(found_version(), !full);
        memory_fs_limit(fs, -1);
        expect_old_or_new(fs, true, !full);
        memory_fs_free(fs);
    }
}

static void test_power_cuts(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        int64_t n = 0;
        for (int64_t last = 1; n < last; n++) {
            // Into an empty folder, and over data that is there and settled.
            memory_fs *fs = with_old(old);
            sg_error err;
            int64_t start = memory_fs_operations(fs);
            memory_fs_cut_power(fs, start + n);
            sg_status status = pack_version(1, &err);
            last = memory_fs_operations(fs) > start + n ? n + 2 : last;
            for (int kind = 0; kind < MEMORY_CRASH_KINDS; kind++) {
                memory_fs *later = memory_fs_reboot(fs, (memory_crash)kind, (uint64_t)n);
                expect_old_or_new(later, old, status == SG_OK);
                memory_fs_free(later);
            }
            memory_fs_free(fs);
        }
        assert_true(n > 60);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concat),
        cmocka_unit_test(test_pad),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_few_documents),
        cmocka_unit_test(test_what_the_text_held),
        cmocka_unit_test(test_shards_and_threads),
        cmocka_unit_test(test_wide_ids),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test_setup_teardown(test_other_files, set_up, tear_down),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_hostile_manifest),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_disk_failures),
        cmocka_unit_test(test_full_disks),
        cmocka_unit_test(test_power_cuts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
