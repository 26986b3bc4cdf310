// The tokenizer against the Hugging Face library: some 6,000 nasty strings with the ids that
// library gives (tests/twins/tokenizer_twin.py made them), whole and from several threads, and a
// training.
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sgatlin.h"

typedef struct golden_strings {
    char *data;
    char **text;
    size_t *bytes;
    size_t count;
} golden_strings;

static golden_strings strings;

// Reads a whole .gz file; NUL behind it.
static char *read_gz(const char *name, size_t *bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/tokenizer/%s", SG_TEST_DIR, name);
    gzFile file = gzopen(path, "rb");
    assert_non_null(file);
    size_t capacity = 1 << 20;
    char *data = malloc(capacity);
    *bytes = 0;
    for (;;) {
        int got = gzread(file, data + *bytes, (unsigned)(capacity - *bytes - 1));
        assert_true(got >= 0);
        if (got == 0) break;
        *bytes += (size_t)got;
        if (capacity - *bytes < 2) data = realloc(data, capacity *= 2);
    }
    gzclose(file);
    data[*bytes] = '\0';
    return data;
}

static int load_strings(void **state)
{
    (void)state;
    size_t bytes;
    strings.data = read_gz("strings.gz", &bytes);
    strings.text = malloc((bytes + 1) * sizeof *strings.text);
    strings.bytes = malloc((bytes + 1) * sizeof *strings.bytes);
    char *out = strings.data, *begin = out;
    for (size_t i = 0; i < bytes; i++) {
        char c = strings.data[i];
        if (c == '\n') {
            strings.text[strings.count] = begin;
            strings.bytes[strings.count++] = (size_t)(out - begin);
            begin = out;
        } else if (c == '\\') {
            i++;
            *out++ = strings.data[i] == 'n' ? '\n' : '\\';
        } else {
            *out++ = c;
        }
    }
    return 0;
}

static int free_strings(void **state)
{
    (void)state;
    free(strings.data);
    free(strings.text);
    free(strings.bytes);
    return 0;
}

static sg_tokenizer *open_path(const char *path)
{
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_open(path, &tokenizer, &err) != SG_OK) fail_msg("%s", err.message);
    return tokenizer;
}

static uLong decode_crc(const sg_tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    uLong crc = crc32(0, NULL, 0);
    for (int skip = 1; skip >= 0; skip--) {
        sg_decode_options options = sg_decode_options_default();
        options.skip_special = skip;
        char *text;
        size_t bytes;
        assert_int_equal(sg_tokenizer_decode(tokenizer, ids, count, &options, &text, &bytes, NULL),
                         SG_OK);
        crc = crc32(crc, (const Bytef *)text, (uInt)bytes + (uInt)skip); // the NUL between them
        sg_buffer_free(text);
    }
    return crc;
}

static void show(size_t index, const int32_t *ids, size_t count, const char *expected)
{
    fprintf(stderr, "string %zu:", index);
    for (size_t i = 0; i < strings.bytes[index]; i++)
        fprintf(stderr, " %02x", (unsigned char)strings.text[index][i]);
    fprintf(stderr, "\n  found   ");
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, " %d", ids[i]);
    fprintf(stderr, "\n  expected %.*s\n", (int)strcspn(expected, "\n"), expected);
}

// Token by token, the pieces are the text of the whole.
static void check_pieces(const sg_tokenizer *tokenizer, const int32_t *ids, size_t count, bool raw)
{
    sg_decode_options options = {.skip_special = count % 2 == 0, .raw = raw};
    sg_decoder *decoder;
    char *whole;
    size_t bytes, at = 0, piece_bytes;
    assert_int_equal(sg_tokenizer_decode(tokenizer, ids, count, &options, &whole, &bytes, NULL),
                     SG_OK);
    assert_int_equal(sg_decoder_new(tokenizer, &options, &decoder, NULL), SG_OK);
    for (int round = 0; round < 2; round++, at = 0) { // a decoder serves a second text
        for (size_t i = 0; i <= count; i++) {
            const char *piece;
            sg_status status = i < count
                                   ? sg_decoder_push(decoder, ids[i], &piece, &piece_bytes, NULL)
                                   : sg_decoder_finish(decoder, &piece, &piece_bytes, NULL);
            assert_int_equal(status, SG_OK);
            assert_true(piece_bytes <= bytes - at);
            assert_memory_equal(piece, whole + at, piece_bytes);
            at += piece_bytes;
        }
        assert_int_equal(at, bytes);
    }
    sg_decoder_free(decoder);
    sg_buffer_free(whole);
}

// The pieces behind a part of the ids are the rest of the text of the whole. Only that part's last
// bytes may differ: those of a character it breaks off, and what Strip drops at its end.
static void check_rest(const sg_tokenizer *tokenizer, const int32_t *ids, size_t count, size_t from)
{
    sg_decoder *decoder;
    char *whole, *part;
    size_t bytes, before, at = 0, piece_bytes;
    assert_int_equal(sg_tokenizer_decode(tokenizer, ids, count, NULL, &whole, &bytes, NULL), SG_OK);
    assert_int_equal(sg_tokenizer_decode(tokenizer, ids, from, NULL, &part, &before, NULL), SG_OK);
    if (before > bytes || memcmp(whole, part, before) != 0 || strstr(whole, "\uFFFD") != NULL ||
        strstr(part, "\uFFFD") != NULL || strlen(whole) != bytes)
        before = SIZE_MAX;
    char *rest = malloc(bytes + 64);
    assert_int_equal(sg_decoder_new(tokenizer, NULL, &decoder, NULL), SG_OK);
    assert_int_equal(sg_decoder_follow(decoder, ids, from, NULL), SG_OK);
    for (size_t i = from; i <= count; i++) {
        const char *piece;
        sg_status status = i < count ? sg_decoder_push(decoder, ids[i], &piece, &piece_bytes, NULL)
                                     : sg_decoder_finish(decoder, &piece, &piece_bytes, NULL);
        assert_int_equal(status, SG_OK);
        assert_true(at + piece_bytes < bytes + 64);
        memcpy(rest + at, piece, piece_bytes);
        at += piece_bytes;
    }
    if (before != SIZE_MAX) {
        size_t held = bytes - before - at; // by Strip
        assert_true(before + at <= bytes && held <= 3);
        assert_memory_equal(whole + bytes - at, rest, at);
    }
    sg_decoder_free(decoder);
    sg_buffer_free(whole);
    sg_buffer_free(part);
    free(rest);
}

// Checks every line of NAME.ids.gz; returns how many there were.
static size_t check_ids(const sg_tokenizer *tokenizer, const char *name)
{
    enum { most = 4096 };
    static int32_t expected_ids[most];
    char file[64];
    snprintf(file, sizeof file, "%s.ids.gz", name);
    size_t bytes, lines = 0, wrong = 0;
    char *data = read_gz(file, &bytes), *at = data;
    while (*at != '\0') {
        size_t index = strtoul(at, &at, 10);
        int mode = (int)strtol(at, &at, 10);
        uLong crc = strtoul(at, &at, 10);
        const char *expected = at;
        assert_true(index < strings.count);
        size_t expected_count = 0;
        while (*at == ' ') {
            assert_true(expected_count < most);
            expected_ids[expected_count++] = (int32_t)strtol(at, &at, 10);
        }
        sg_encode_options options = sg_encode_options_default();
        options.add_special = mode == 1;
        options.parse_special = mode != 2;
        int32_t *ids = NULL;
        size_t count = expected_count;
        sg_error err;
        if (mode != 3 && sg_tokenizer_encode(tokenizer, strings.text[index], strings.bytes[index],
                                             &options, &ids, &count, &err) != SG_OK)
            fail_msg("%s", err.message);
        bool same = count == expected_count &&
                    (mode == 3 || memcmp(ids, expected_ids, count * sizeof *ids) == 0);
        if (!same || decode_crc(tokenizer, expected_ids, count) != crc) {
            if (wrong++ < 5) show(index, mode == 3 ? expected_ids : ids, count, expected);
        }
        check_pieces(tokenizer, expected_ids, expected_count, lines % 3 == 0);
        check_rest(tokenizer, expected_ids, expected_count, lines % (expected_count + 1));
        sg_buffer_free(ids);
        lines++;
        assert_int_equal(*at, '\n');
        at++;
    }
    free(data);
    if (wrong > 0) fail_msg("%s: %zu of %zu strings differ", name, wrong, lines);
    return lines;
}

static const char *const small[] = {"nfkc",      "llama3",  "qwen2", "flags",    "steps",
                                    "gpt4o",     "falcon",  "bloom", "llama2",   "mistral",
                                    "metaspace", "partial", "never", "deepseek", "deepseek3",
                                    "o200k",     "smollm"};
enum { small_count = sizeof small / sizeof *small };

static void test_small(void **state)
{
    (void)state;
    assert_true(strings.count >= 5000);
    size_t checked = 0;
    for (int i = 0; i < small_count; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/golden/tokenizer/%s.json", SG_TEST_DIR, small[i]);
        sg_tokenizer *tokenizer = open_path(path);
        checked += check_ids(tokenizer, small[i]);
        sg_tokenizer_free(tokenizer);
    }
    assert_true(checked >= 4 * 5000); // every string with about four tokenizers
}

static const char *data_folder(void)
{
    const char *folder = getenv("SG_TEST_DATA");
    return folder != NULL ? folder : SG_DATA_DIR;
}

static void check_shared(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizers/%s/tokenizer.json", data_folder(), name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_message("%s is missing\n", path);
        skip();
    }
    fclose(file);
    *strrchr(path, '/') = '\0'; // the folder will do
    sg_tokenizer *tokenizer = open_path(path);
    check_ids(tokenizer, name);
    sg_tokenizer_free(tokenizer);
}

static void test_gpt2(void **state)
{
    (void)state;
    check_shared("gpt2");
}

static void test_gpt_neox(void **state)
{
    (void)state;
    check_shared("gpt-neox");
}

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        print_message("%s is missing\n", path);
        skip();
    }
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    char *data = malloc((size_t)bytes + 1);
    assert_int_equal(fread(data, 1, (size_t)bytes, file), bytes);
    data[bytes] = '\0';
    fclose(file);
    return data;
}

// The vectors that llama.cpp publishes for GPT-2.
static void test_published_vectors(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/tokenizers/gpt2/vectors.inp", data_folder());
    char *inputs = read_whole(path);
    snprintf(path, sizeof path, "%s/tokenizers/gpt2/vectors.out", data_folder());
    char *outputs = read_whole(path);
    snprintf(path, sizeof path, "%s/tokenizers/gpt2", data_folder());
    sg_tokenizer *tokenizer = open_path(path);
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char *at = outputs;
    size_t checked = 0;
    for (char *text = inputs; text != NULL;) {
        char *end = strstr(text, separator);
        size_t bytes = end == NULL ? strlen(text) : (size_t)(end - text);
        int32_t *ids;
        size_t count;
        // A piece at the end without a line of ids is what follows the last separator.
        if (end == NULL && *at == '\0') break;
        assert_int_equal(sg_tokenizer_encode(tokenizer, text, bytes, NULL, &ids, &count, NULL),
                         SG_OK);
        char *line_end = strchr(at, '\n');
        for (size_t i = 0; i < count; i++)
            assert_int_equal(strtol(at, &at, 10), ids[i]);
        if (line_end != NULL) {
            at += strspn(at, " ");
            assert_ptr_equal(at, line_end);
            at++;
        }
        sg_buffer_free(ids);
        checked++;
        text = end == NULL ? NULL : end + sizeof separator - 1;
    }
    assert_true(checked > 40);
    sg_tokenizer_free(tokenizer);
    free(inputs);
    free(outputs);
}

typedef struct documents {
    char *next;
} documents;

static sg_status next_document(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    documents *d = user;
    *text = d->next;
    if (d->next == NULL) return SG_OK;
    char *end = strstr(d->next, "<|endoftext|>");
    *bytes = end == NULL ? strlen(d->next) : (size_t)(end - d->next);
    d->next = end == NULL ? NULL : end + strlen("<|endoftext|>");
    return SG_OK;
}

// The library writes pairs, which its versions before 0.20 do not read.
static void join_merges(json_t *tokenizer)
{
    json_t *merges = json_object_get(json_object_get(tokenizer, "model"), "merges"), *pair;
    size_t i;
    json_array_foreach(merges, i, pair)
    {
        char text[256];
        snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(pair, 0)),
                 json_string_value(json_array_get(pair, 1)));
        json_array_set_new(merges, i, json_string(text));
    }
}

// Our training on corpus.txt makes the tokenizer.json that the library made from it, but for what
// stands in front of a text: the library's users choose that later, ours is what rows of data begin
// with.
static void test_training(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/tokenizer/corpus.txt", SG_TEST_DIR);
    char *corpus = read_whole(path);
    documents d = {corpus};
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = 600;
    options.full_alphabet = false; // as the library does unless it is given an alphabet
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_train(&options, next_document, &d, &tokenizer, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_tokenizer_vocab_size(tokenizer), 600);
    char folder[] = "/tmp/sg_bpe_XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_int_equal(sg_tokenizer_save(tokenizer, folder, NULL), SG_OK);
    sg_tokenizer_free(tokenizer);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    json_t *ours = json_load_file(path, 0, NULL);
    remove(path);
    remove(folder);
    snprintf(path, sizeof path, "%s/golden/tokenizer/nfkc.json", SG_TEST_DIR);
    json_t *theirs = json_load_file(path, 0, NULL);
    assert_non_null(ours);
    assert_non_null(theirs);
    join_merges(theirs);
    json_t *post = json_loads(
        "{\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": "
        "\"<|endoftext|>\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}], "
        "\"pair\": [{\"SpecialToken\": {\"id\": \"<|endoftext|>\", \"type_id\": 0}}, "
        "{\"Sequence\": "
        "{\"id\": \"A\", \"type_id\": 0}}, {\"SpecialToken\": {\"id\": \"<|endoftext|>\", "
        "\"type_id\": 1}}, {\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}], \"special_tokens\": "
        "{\"<|endoftext|>\": {\"id\": \"<|endoftext|>\", \"ids\": [1], \"tokens\": "
        "[\"<|endoftext|>\"]}}}",
        0, NULL);
    assert_non_null(post);
    json_object_set_new(theirs, "post_processor", post);
    assert_true(json_equal(ours, theirs));
    json_decref(ours);
    json_decref(theirs);
    free(corpus);
}

typedef struct thread_job {
    const sg_tokenizer *tokenizer;
    size_t begin;
    uint64_t sum;
} thread_job;

static void *encode_some(void *argument)
{
    thread_job *job = argument;
    for (size_t i = job->begin; i < strings.count; i += 4) {
        int32_t *ids;
        size_t count;
        if (sg_tokenizer_encode(job->tokenizer, strings.text[i], strings.bytes[i], NULL, &ids,
                                &count, NULL) != SG_OK)
            return NULL;
        for (size_t k = 0; k < count; k++)
            job->sum += (uint64_t)ids[k] * (k + 1);
        sg_buffer_free(ids);
    }
    return NULL;
}

// One handle, four threads: the same ids as one after the other.
static void test_threads(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/tokenizer/llama3.json", SG_TEST_DIR);
    sg_tokenizer *tokenizer = open_path(path);
    thread_job jobs[4], alone[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = alone[i] = (thread_job){tokenizer, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_some, &jobs[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 4; i++) {
        encode_some(&alone[i]);
        assert_int_equal(jobs[i].sum, alone[i].sum);
        assert_true(jobs[i].sum > 0);
    }
    sg_tokenizer_free(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),    cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_gpt_neox), cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_training), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, load_strings, free_strings);
}
