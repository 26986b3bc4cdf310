// Corpora: documents of every storage, wherever buffers end; limits, damage and failures.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "text/corpus.h"
#include "sgatlin_data.h"

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/sg-corpus-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static const char *put_file(const char *name, const void *data, size_t bytes)
{
    static char path[8][128];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    FILE *f = fopen(p, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
    return p;
}

static size_t gzip_bytes(const char *data, size_t bytes, char *out, size_t capacity)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)data;
    z.avail_in = (uInt)bytes;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)capacity;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t used = z.total_out;
    deflateEnd(&z);
    return used;
}

// Documents of a corpus joined as "[a][b]"; the corpus is closed.
static void read_all(sg_corpus *corpus, char *out, size_t capacity)
{
    size_t used = 0;
    sg_document document;
    sg_error err;
    for (;;) {
        assert_int_equal(sg_corpus_next(corpus, &document, &err), SG_OK);
        if (document.text == NULL) break;
        assert_true(used + document.bytes + 3 < capacity);
        out[used++] = '[';
        memcpy(out + used, document.text, document.bytes);
        used += document.bytes;
        out[used++] = ']';
    }
    out[used] = '\0';
    // The end stays the end.
    assert_int_equal(sg_corpus_next(corpus, &document, &err), SG_OK);
    assert_null(document.text);
    sg_corpus_close(corpus);
}

static void expect(const char *name, const char *text, const sg_corpus_options *options,
                   const char *expected)
{
    char out[4096];
    sg_corpus *corpus;
    assert_int_equal(sg_corpus_open_memory(text, strlen(text), name, options, &corpus, NULL),
                     SG_OK);
    read_all(corpus, out, sizeof out);
    assert_string_equal(out, expected);
}

static void test_text(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    expect("a.txt", "one\n<|endoftext|>\ntwo\nlines\n<|endoftext|>\n", NULL, "[one][two\nlines]");
    expect("a.txt", "one\n<|endoftext|>\ntwo", NULL, "[one][two]");
    expect("a.txt", "one\n<|endoftext|>\ntwo\n", NULL, "[one][two]");
    expect("a.txt", "one\r\n<|endoftext|>\r\ntwo\r\n", NULL, "[one][two]");
    // Only one line end goes; a separator inside a line is text; so is a longer one.
    expect("a.txt", "\none\n\n<|endoftext|>\n\ntwo", NULL, "[\none\n][\ntwo]");
    expect("a.txt", "one <|endoftext|> two\n<|endoftext|>x\n", NULL,
           "[one <|endoftext|> two\n<|endoftext|>x]");
    expect("a.txt", "one\n<|endoftext|>", NULL, "[one]");
    expect("a.txt", "<|endoftext|>\n<|endoftext|>\n \n\t\n<|endoftext|>\nx\n<|endoftext|>\n", NULL,
           "[x]");
    expect("a.txt", "", NULL, "");
    expect("a.txt", "\n\n", NULL, "");
    expect("a.txt", "\xef\xbb\xbfone", NULL, "[one]");
    expect("a.txt", "\xef\xbb\xbf<|endoftext|>\none", NULL, "[one]");
    expect("a.txt", "{\"text\": \"x\"}", NULL, "[{\"text\": \"x\"}]");
    sg_corpus_options options = sg_corpus_options_default();
    options.separator = "---";
    expect("a.txt", "one\n---\ntwo\n--\n---", &options, "[one][two\n--]");
    options.separator = NULL;
    expect("a.txt", "one\n<|endoftext|>\ntwo\n", &options, "[one\n<|endoftext|>\ntwo\n]");
    assert_int_equal(sg_alloc_live(), live);
}

static void test_json_lines(void **state)
{
    (void)state;
    int64_t live = sg_alloc_live();
    expect("a.jsonl", "{\"text\": \"one\"}\n\n{\"id\": 3, \"text\": \"t\\u00e9\\nx\"}\r\n", NULL,
           "[one][t\xc3\xa9\nx]");
    expect("a.jsonl", "{\"text\": \"one\\n\"}", NULL, "[one\n]");
    expect("a.jsonl", "{\"text\": \"  \"}\n{\"text\": \"\"}\n{\"text\": \"b\"}", NULL, "[b]");
    expect("a.json", "\xef\xbb\xbf{\"text\": \"one\"}\n", NULL, "[one]");
    sg_corpus_options options = sg_corpus_options_default();
    options.field = "body";
    options.kind = SG_CORPUS_JSONL;
    expect("a.dat", "{\"text\": 1, \"body\": \"<|endoftext|>\"}", &options, "[<|endoftext|>]");
    options.kind = SG_CORPUS_TEXT;
    expect("a.jsonl", "{}", &options, "[{}]");
    assert_int_equal(sg_alloc_live(), live);
}

static void expect_error(const char *name, const void *data, size_t bytes,
                         const sg_corpus_options *options, sg_status code, const char *part)
{
    int64_t live = sg_alloc_live();
    sg_corpus *corpus;
    sg_error err = {0};
    sg_document document = {0};
    sg_status status = sg_corpus_open_memory(data, bytes, name, options, &corpus, &err);
    if (status == SG_OK) {
        do
            status = sg_corpus_next(corpus, &document, &err);
        while (status == SG_OK && document.text != NULL);
        sg_corpus_close(corpus);
    }
    if (status != code || strstr(err.message, part) == NULL)
        fail_msg("status %d, message '%s', expected '%s'", (int)status, err.message, part);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_wrong_lines(void **state)
{
    (void)state;
    const char *good = "{\"text\": \"a\"}\n";
    const char *cases[][2] = {
        {"{\"text\": \"b\n", "f.jsonl:2"},
        {"{\"body\": \"b\"}\n", "\"text\" is missing"},
        {"{\"text\": 7}\n", "found an integer, expected a string"},
        {"[1]\n", "f.jsonl:2: found an array"},
        {"7", "f.jsonl:2: found an integer"},
        {"{\n  \"text\": \"x\"\n}\n", "f.jsonl:2: not valid JSON: line 1, column 2: the text ends, "
                                      "expected a key in quotes (expected JSON lines, a whole"},
        {"{\"text\": \"a\"} x", "f.jsonl:2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s%s", good, cases[i][0]);
        expect_error("f.jsonl", text, strlen(text), NULL, SG_ERR_FORMAT, cases[i][1]);
    }
    // Nesting without end must not exhaust the stack.
    size_t deep = 1000000;
    char *text = malloc(deep);
    assert_non_null(text);
    memset(text, '[', deep);
    expect_error("f.jsonl", text, deep, NULL, SG_ERR_FORMAT, "f.jsonl:1");
    free(text);
}

static void test_limits(void **state)
{
    (void)state;
    sg_corpus_options options = sg_corpus_options_default();
    options.max_document = 10;
    expect("a.txt", "0123456789\n<|endoftext|>\n", &options, "[0123456789]");
    expect_error("a.txt", "x\n<|endoftext|>\n0123456789a\n<|endoftext|>\n", 41, &options,
                 SG_ERR_FORMAT, "a.txt: the document at byte 16");
    expect_error("a.jsonl", "{\"text\": \"abcdefghijk\"}", 23, &options, SG_ERR_FORMAT,
                 "a.jsonl:1");
    // Far beyond the limit the reader stops early instead of keeping it all.
    size_t n = 4 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'x', n);
    expect_error("a.txt", text, n, &options, SG_ERR_FORMAT, "longer than the limit of 10");
    expect_error("a.jsonl", text, n, &options, SG_ERR_FORMAT, "longer than the limit of 10");
    free(text);
    options.max_document = 0;
    expect_error("a.txt", "x", 1, &options, SG_ERR_ARGUMENT, "max_document");
    options = sg_corpus_options_default();
    options.separator = "";
    expect_error("a.txt", "x", 1, &options, SG_ERR_ARGUMENT, "separator");
    options.separator = "a\nb";
    expect_error("a.txt", "x", 1, &options, SG_ERR_ARGUMENT, "separator");
    options = sg_corpus_options_default();
    options.field = "";
    expect_error("a.txt", "x", 1, &options, SG_ERR_ARGUMENT, "field");
}

// Bytes that may hold NUL, read with a policy; what came of the counts.
static sg_text_counts expect_bytes(const char *name, const void *data, size_t bytes,
                                   const sg_corpus_options *options, const char *expected)
{
    char out[4096];
    sg_corpus *corpus;
    sg_error err = {0};
    size_t used = 0;
    sg_document document;
    assert_int_equal(sg_corpus_open_memory(data, bytes, name, options, &corpus, &err), SG_OK);
    for (;;) {
        if (sg_corpus_next(corpus, &document, &err) != SG_OK) fail_msg("%s", err.message);
        if (document.text == NULL) break;
        used += (size_t)sprintf(out + used, "[%.*s]", (int)document.bytes, document.text);
    }
    out[used] = '\0';
    sg_text_counts counts = sg_corpus_counts(corpus);
    sg_corpus_close(corpus);
    assert_string_equal(out, expected);
    return counts;
}

#define BAD "\xef\xbf\xbd"

// The same fault in plain text and in JSON, as a byte and as half a character.
static void test_bad_text(void **state)
{
    (void)state;
    static const struct {
        const char *name, *data, *place;
    } files[] = {{"a.txt", "fine\n<|endoftext|>\nx\ncaf\xe9 noir",
                  "a.txt:4: found byte 0xe9, expected UTF-8"},
                 {"a.jsonl", "{\"text\":\"fine\"}\n{\"text\":\"x\\ncaf\xe9 noir\"}\n",
                  "a.jsonl:2: not valid"},
                 {"a.jsonl", "{\"text\":\"fine\"}\n{\"text\":\"x\\ncaf\\ud83d noir\"}\n",
                  "a.jsonl:2: not valid"},
                 {"a.json", "[{\"text\":\"fine\"},\n{\"text\":\"x\\ncaf\\udc00 noir\"}]",
                  "a.json:2: not valid"}};
    int64_t live = sg_alloc_live();
    sg_corpus_options options = sg_corpus_options_default();
    assert_int_equal(options.bad_text, SG_BAD_TEXT_REPLACE);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t bytes = strlen(files[i].data);
        options.bad_text = SG_BAD_TEXT_REPLACE;
        sg_text_counts counts = expect_bytes(files[i].name, files[i].data, bytes, &options,
                                             "[fine][x\ncaf" BAD " noir]");
        assert_int_equal(counts.replaced, 1);
        assert_int_equal(counts.skipped, 0);
        options.bad_text = SG_BAD_TEXT_SKIP;
        counts = expect_bytes(files[i].name, files[i].data, bytes, &options, "[fine]");
        assert_int_equal(counts.replaced, 0);
        assert_int_equal(counts.skipped, 1);
        options.bad_text = SG_BAD_TEXT_STOP;
        expect_error(files[i].name, files[i].data, bytes, &options, SG_ERR_FORMAT, files[i].place);
    }
    // One U+FFFD for each maximal ill-formed subpart, and none for what nobody reads.
    options.bad_text = SG_BAD_TEXT_REPLACE;
    const char many[] = "\xf0\x9f\x98 \xc0\xaf \xed\xa0\x80";
    sg_text_counts counts = expect_bytes("a.txt", many, strlen(many), &options,
                                         "[" BAD " " BAD BAD " " BAD BAD BAD "]");
    assert_int_equal(counts.replaced, 6);
    const char unread[] =
        "{\"id\":\"\xff\\ud800\",\"text\":\"a\",\"n\":[NaN,18446744073709551616]}";
    counts = expect_bytes("a.jsonl", unread, strlen(unread), &options, "[a]");
    assert_int_equal(counts.replaced, 0);
    options.bad_text = (sg_bad_text)3;
    expect_error("a.txt", "x", 1, &options, SG_ERR_ARGUMENT, "bad text");
    assert_int_equal(sg_alloc_live(), live);
}

// h, e-acute, U+1F600, a line end, x; then what is no character.
static void test_encodings(void **state)
{
    (void)state;
    static const char little[] = "\xff\xfeh\0\xe9\0\x3d\xd8\x00\xde\n\0x\0";
    static const char big[] = "\xfe\xff\0h\0\xe9\xd8\x3d\xde\x00\0\n\0x";
    static const char little32[] = "\xff\xfe\0\0h\0\0\0\xe9\0\0\0\0\xf6\x01\0\n\0\0\0x\0\0\0";
    static const char big32[] = "\0\0\xfe\xff\0\0\0h\0\0\0\xe9\0\x01\xf6\0\0\0\0\n\0\0\0x";
    const char *same = "[h\xc3\xa9\xf0\x9f\x98\x80\nx]";
    sg_corpus_options options = sg_corpus_options_default();
    options.separator = NULL;
#define READ(text, wanted) expect_bytes("a.txt", text, sizeof text - 1, &options, wanted)
    READ(little, same);
    READ(big, same);
    READ(little32, same);
    READ(big32, same);
    sg_text_counts counts = READ("\xff\xfe\x3d\xd8x\0\x00\xde\x3d\xd8\x3d\xd8\x00\xdez",
                                 "[" BAD "x" BAD BAD "\xf0\x9f\x98\x80" BAD "]");
    assert_int_equal(counts.replaced, 4);
    counts = READ("\xff\xfeh\0\x3d\xd8", "[h" BAD "]");
    assert_int_equal(counts.replaced, 1);
    READ("\0\0\xfe\xff\0\0\xd8\0\0\x11\0\0\0\0\0h\0", "[" BAD BAD "h" BAD "]");
    options.bad_text = SG_BAD_TEXT_STOP;
    expect_error("a.txt", "\xff\xfeh\0\n\0\x3d\xd8", 8, &options, SG_ERR_FORMAT,
                 "a.txt:2: found half a character, expected UTF-16 or UTF-32");
    READ("\xff\xfe", "");
    // Lines of JSON and arrays go the same way.
    static const char lines[] = "\xff\xfe{\0\"\0t\0e\0x\0t\0\"\0:\0\"\0\xe9\0\"\0}\0";
    expect_bytes("a.jsonl", lines, sizeof lines - 1, &options, "[\xc3\xa9]");
    // The mark was lost: nobody can be certain, and U+0000 is not what was meant.
    expect_error("a.txt", "h\0e\0l\0l\0o\0", 10, NULL, SG_ERR_FORMAT, "a.txt: found NUL in every");
    expect_error("a.txt", "\0h\0e\0l\0l\0o", 10, NULL, SG_ERR_FORMAT, "this is UTF-16 without");
    expect_bytes("a.txt", "hell\0 in a text\n", 16, NULL, "[hell]"); // as printf shows it
#undef READ
    // Wherever a buffer ends.
    enum { count = 100000 };
    unsigned char *text = malloc(4 * count + 2);
    assert_non_null(text);
    memcpy(text, "\xff\xfe", 2);
    for (size_t i = 0; i < count; i++) // U+10000 + i
        memcpy(text + 2 + 4 * i,
               (unsigned char[4]){(unsigned char)(i >> 10), (unsigned char)(0xD8 + (i >> 18)),
                                  (unsigned char)i, (unsigned char)(0xDC + (i >> 8 & 3))},
               4);
    sg_corpus *corpus;
    sg_document document;
    assert_int_equal(sg_corpus_open_memory(text, 4 * count + 2, "a.txt", NULL, &corpus, NULL),
                     SG_OK);
    assert_int_equal(sg_corpus_next(corpus, &document, NULL), SG_OK);
    assert_int_equal(document.bytes, 4 * count);
    for (size_t i = 0; i < count; i++) {
        uint32_t code;
        assert_int_equal(sg_utf8_decode(document.text + 4 * i, 4, &code), 4);
        assert_int_equal(code, 0x10000 + i);
    }
    sg_corpus_close(corpus);
    free(text);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const json[] = {"a.JSONL", "a.Ndjson", "A.JSON", "a.jsonL"};
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
        expect(json[i], "{\"text\": \"x\"}\n", NULL, "[x]");
    char packed[256];
    size_t n = gzip_bytes("{\"text\":\"x\"}", 12, packed, sizeof packed);
    expect_bytes("a.jsonl.GZ", packed, n, NULL, "[x]");
    expect_error("a.GZ", "x", 1, NULL, SG_ERR_FORMAT, "no gzip header");
    n = ZSTD_compress(packed, sizeof packed, "{\"text\":\"x\"}", 12, 3);
    expect_bytes("a.Ndjson.ZST", packed, n, NULL, "[x]");
    expect_error("a.Zst", "x", 1, NULL, SG_ERR_FORMAT, "no zstd header");
}

static void test_lines(void **state)
{
    (void)state;
    sg_corpus_options options = sg_corpus_options_default();
    options.kind = SG_CORPUS_LINES;
    expect("a.jsonl", "one\r\n\n two \n<|endoftext|>\nlast", &options,
           "[one][ two ][<|endoftext|>][last]");
    options.keep_empty = true;
    expect("a.txt", "one\r\n\n \r\nlast\r", &options, "[one][][ ][last]");
    expect("a.txt", "one\n", &options, "[one]");
    expect("a.txt", "\n", &options, "[]");
    expect("a.txt", "", &options, "");
    options.bad_text = SG_BAD_TEXT_STOP;
    expect_error("a.txt", "one\ntwo\n\xff\n", 10, &options, SG_ERR_FORMAT, "a.txt:3: found byte");
}

static void test_empty_documents(void **state)
{
    (void)state;
    static const char text[] = "<|endoftext|>\n \n\t\n<|endoftext|>\nx\n<|endoftext|>\n\n";
    static const char json[] = "{\"text\":\"\"}\n\n{\"text\":\" \"}\n{\"text\":\"x\"}\n";
    sg_corpus_options options = sg_corpus_options_default();
    sg_text_counts counts = expect_bytes("a.txt", text, sizeof text - 1, &options, "[x]");
    assert_int_equal(counts.empty, 2);
    counts = expect_bytes("a.jsonl", json, sizeof json - 1, &options, "[x]");
    assert_int_equal(counts.empty, 2);
    options.keep_empty = true;
    counts = expect_bytes("a.txt", text, sizeof text - 1, &options, "[][ \n\t][x]");
    assert_int_equal(counts.empty, 0);
    expect_bytes("a.jsonl", json, sizeof json - 1, &options, "[][ ][x]");
    options.separator = NULL;
    expect_bytes("a.txt", "", 0, &options, "[]");
    expect_bytes("a.txt", "\n", 1, &options, "[\n]");
}

// A corpus of many sizes, so that separators fall on every place of the read buffer.
static char *make_text(size_t documents, size_t *bytes, uint64_t *sum)
{
    char *text = malloc(documents * 700 + 64);
    assert_non_null(text);
    size_t used = 0;
    *sum = 0;
    uint32_t x = 12345;
    for (size_t i = 0; i < documents; i++) {
        x = x * 1664525u + 1013904223u;
        size_t n = 1 + (x >> 8) % 600;
        for (size_t j = 0; j < n; j++) {
            char c = j % 61 == 60 && j + 1 < n ? '\n' : (char)('a' + (i + j) % 26);
            text[used++] = c;
            *sum = *sum * 31 + (uint64_t)c;
        }
        *sum = *sum * 31 + 1;
        used += (size_t)sprintf(text + used, "\n<|endoftext|>\n");
    }
    *bytes = used;
    return text;
}

static void check_sum(const char *const *paths, size_t count, uint64_t expected, size_t documents)
{
    int64_t live = sg_alloc_live();
    sg_corpus *corpus;
    sg_error err = {0};
    sg_document document;
    if (sg_corpus_open(paths, count, NULL, &corpus, &err) != SG_OK) fail_msg("%s", err.message);
    uint64_t sum = 0;
    size_t seen = 0;
    int64_t last = 0, done, total;
    for (;;) {
        if (sg_corpus_next(corpus, &document, &err) != SG_OK) fail_msg("%s", err.message);
        if (document.text == NULL) break;
        for (size_t j = 0; j < document.bytes; j++)
            sum = sum * 31 + (uint64_t)document.text[j];
        sum = sum * 31 + 1;
        seen++;
        sg_corpus_progress(corpus, &done, &total);
        assert_true(done >= last && done <= total);
        last = done;
    }
    sg_corpus_progress(corpus, &done, &total);
    assert_true(done == total);
    assert_int_equal(seen, documents);
    assert_true(sum == expected);
    sg_corpus_close(corpus);
    assert_int_equal(sg_alloc_live(), live);
}

// Printed over many lines, or all on one; elements are found whatever their strings hold.
static void test_arrays(void **state)
{
    (void)state;
    expect("a.json", "[\n  {\"text\": \"one\"},\n  {\n    \"text\": \"t]w}o\\\"\"\n  }\n]\n", NULL,
           "[one][t]w}o\"]");
    expect("a.jsonl", "  [{\"text\":\"a\",\"b\":[{},[1]]},{\"text\":\" \"},{\"text\":\"c\"}]", NULL,
           "[a][c]");
    expect("a.json", "\xef\xbb\xbf[]\n", NULL, "");
    static const char *const wrong[][2] = {
        {"[\n1]", "f.json:2: found '1', expected an object"},
        {"[{\"text\":\"a\"},]", "f.json:1: found ']', expected an object"},
        {"[{\"text\":\"a\"}", "f.json:1: found the end, expected the rest of an element"},
        {"[", "f.json:1: found the end, expected an object"},
        {"[{\"text\":\"a\"}]\n\nx", "f.json:3: found 'x', expected nothing behind the array"},
        {"[{\"text\":\"a\"}\n{\"text\":\"b\"}]",
         "f.json:1: not valid JSON: line 2, column 1: found '{'"},
        {"[{\"text\":\"a\"},\n\n{\"text\":7}]", "f.json:3: \"text\": found an integer"},
        {"[{\"text\":\"a\"}}]", "f.json:1: found '}', expected ',' or ']'"},
        {"[{\"text\":\"a]", "f.json:1: found the end"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        expect_error("f.json", wrong[i][0], strlen(wrong[i][0]), NULL, SG_ERR_FORMAT, wrong[i][1]);
    // Longer than any buffer, and longer than is allowed.
    size_t bytes, documents = 3000, used = 1;
    uint64_t sum;
    char *text = make_text(documents, &bytes, &sum), *json = malloc(2 * bytes + 40 * documents);
    assert_non_null(json);
    json[0] = '[';
    for (char *at = text, *end; (end = strstr(at, "\n<|endoftext|>\n")) != NULL; at = end + 15) {
        used += (size_t)sprintf(json + used, "%s\n {\"text\":\"", at == text ? "" : ",");
        for (; at < end; at++)
            used += (size_t)sprintf(json + used, *at == '\n' ? "\\n" : "%c", *at);
        used += (size_t)sprintf(json + used, "\"}");
    }
    used += (size_t)sprintf(json + used, "\n]\n");
    const char *path = put_file("big.json", json, used);
    check_sum(&path, 1, sum, documents);
    sg_corpus_options options = sg_corpus_options_default();
    options.max_document = 100;
    expect_error("f.json", json, used, &options, SG_ERR_FORMAT, "the element has");
    free(text);
    free(json);
}

static void test_storages(void **state)
{
    (void)state;
    size_t bytes, documents = 3000;
    uint64_t sum;
    char *text = make_text(documents, &bytes, &sum);
    size_t room = bytes + 4096;
    char *packed = malloc(room);
    assert_non_null(packed);

    const char *path = put_file("a.txt", text, bytes);
    check_sum(&path, 1, sum, documents);
    // Two gzip members and padding, as `cat a.gz b.gz` gives.
    size_t half = gzip_bytes(text, bytes / 2, packed, room);
    size_t whole =
        half + gzip_bytes(text + bytes / 2, bytes - bytes / 2, packed + half, room - half);
    memset(packed + whole, 0, 100);
    path = put_file("a.txt.gz", packed, whole + 100);
    check_sum(&path, 1, sum, documents);
    path = put_file("b.txt", packed, whole); // told by its first bytes
    check_sum(&path, 1, sum, documents);
    expect_error("a.gz", packed, whole - 9, NULL, SG_ERR_FORMAT, "expected more");
    packed[half / 2] = (char)(packed[half / 2] ^ 0x55);
    expect_error("a.gz", packed, whole, NULL, SG_ERR_FORMAT, "damaged compressed data");
    expect_error("a.gz", text, bytes, NULL, SG_ERR_FORMAT, "no gzip header");
    expect_error("a.zst", text, bytes, NULL, SG_ERR_FORMAT, "no zstd header");
    // Something else behind the last member is damage too.
    whole = gzip_bytes("x", 1, packed, room);
    memcpy(packed + whole, "junk", 4);
    expect_error("a.gz", packed, whole + 4, NULL, SG_ERR_FORMAT, "damaged compressed data");

    half = ZSTD_compress(packed, room, text, bytes / 3, 3);
    whole =
        half + ZSTD_compress(packed + half, room - half, text + bytes / 3, bytes - bytes / 3, 3);
    path = put_file("a.txt.zst", packed, whole);
    check_sum(&path, 1, sum, documents);
    expect_error("a.zst", packed, whole - 1, NULL, SG_ERR_FORMAT, "expected more");
    expect_error("a.zst", packed, 3, NULL, SG_ERR_FORMAT, "no zstd header");
    packed[half / 2] = (char)(packed[half / 2] ^ 0x55);
    packed[half + 20] = (char)(packed[half + 20] ^ 0x55);
    sg_corpus *corpus;
    sg_document document;
    sg_status status = sg_corpus_open_memory(packed, whole, "a.zst", NULL, &corpus, NULL);
    assert_int_equal(status, SG_OK);
    do
        status = sg_corpus_next(corpus, &document, NULL);
    while (status == SG_OK && document.text != NULL);
    sg_corpus_close(corpus); // without frame checksums damage may pass as text, but never crashes
    free(packed);
    free(text);
}

static void test_many_files(void **state)
{
    (void)state;
    const char *paths[3] = {put_file("1.txt", "one", 3),
                            put_file("2.jsonl", "{\"text\":\"two\"}", 14),
                            put_file("3.txt", "three\n<|endoftext|>\nfour", 24)};
    sg_corpus *corpus;
    sg_document document;
    char out[256];
    assert_int_equal(sg_corpus_open(paths, 3, NULL, &corpus, NULL), SG_OK);
    assert_int_equal(sg_corpus_next(corpus, &document, NULL), SG_OK);
    assert_int_equal(document.file, 0);
    assert_int_equal(sg_corpus_next(corpus, &document, NULL), SG_OK);
    assert_int_equal(document.file, 1);
    read_all(corpus, out, sizeof out);
    assert_string_equal(out, "[three][four]");

    sg_error err;
    const char *missing[2] = {paths[0], "/tmp/sg-no-such-file.txt"};
    assert_int_equal(sg_corpus_open(missing, 2, NULL, &corpus, &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "sg-no-such-file.txt"));
    missing[1] = folder;
    assert_int_equal(sg_corpus_open(missing, 2, NULL, &corpus, &err), SG_ERR_IO);
    const char *twice[2] = {"-", "-"};
    assert_int_equal(sg_corpus_open(twice, 2, NULL, &corpus, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_corpus_open(paths, 0, NULL, &corpus, &err), SG_ERR_ARGUMENT);
}

static void test_standard_input(void **state)
{
    (void)state;
    int ends[2], kept = dup(0);
    assert_int_equal(pipe(ends), 0);
    char packed[256];
    size_t n = gzip_bytes("a\n<|endoftext|>\nb", 17, packed, sizeof packed);
    assert_int_equal(write(ends[1], packed, n), n);
    close(ends[1]);
    assert_int_equal(dup2(ends[0], 0), 0);
    close(ends[0]);
    const char *path = "-";
    sg_corpus *corpus;
    char out[64];
    int64_t done, total;
    assert_int_equal(sg_corpus_open(&path, 1, NULL, &corpus, NULL), SG_OK);
    sg_corpus_progress(corpus, &done, &total);
    assert_true(total == 0);
    read_all(corpus, out, sizeof out);
    assert_string_equal(out, "[a][b]");
    dup2(kept, 0);
    close(kept);
}

// 5,726 stories with a separator line behind each (counted with other tools).
static void test_real_stories(void **state)
{
    (void)state;
    const char *folder_given = getenv("SG_TEST_DATA");
    char path[4096];
    snprintf(path, sizeof path, "%s/tinystories/train.txt",
             folder_given != NULL ? folder_given : SG_DATA_DIR);
    if (!sg_path_exists(path)) {
        print_message("SKIP: %s is not there\n", path);
        skip();
    }
    const char *paths[1] = {path};
    sg_corpus *corpus;
    sg_document document;
    assert_int_equal(sg_corpus_open(paths, 1, NULL, &corpus, NULL), SG_OK);
    size_t documents = 0, bytes = 0;
    while (sg_corpus_next(corpus, &document, NULL) == SG_OK && document.text != NULL) {
        documents++;
        bytes += document.bytes;
    }
    sg_corpus_close(corpus);
    assert_int_equal(documents, 5726);
    assert_int_equal(bytes, 4753037);
}

static bool fail_nth(void *user, size_t bytes)
{
    (void)bytes;
    int64_t *left = user;
    return (*left)-- != 0;
}

static sg_status read_and_forget(const char *const *paths, size_t count, size_t *documents)
{
    sg_corpus *corpus;
    sg_document document;
    *documents = 0;
    sg_error err;
    SG_TRY(sg_corpus_open(paths, count, NULL, &corpus, &err));
    sg_status status;
    while ((status = sg_corpus_next(corpus, &document, &err)) == SG_OK && document.text != NULL)
        ++*documents;
    sg_corpus_close(corpus);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    char packed[2][512];
    size_t n = gzip_bytes("a\n<|endoftext|>\nb", 17, packed[0], 512);
    size_t m = ZSTD_compress(packed[1], 512, "c\n<|endoftext|>\nd", 17, 3);
    const char *paths[5] = {put_file("1.txt.gz", packed[0], n), put_file("2.txt.zst", packed[1], m),
                            put_file("3.jsonl", "{\"text\":\"two\"}", 14),
                            put_file("4.txt", "\xff\xfe\x3d\xd8", 4),
                            put_file("5.json", "[{\"\\u0074ext\":\"e\"}]", 19)};
    size_t documents;
    assert_int_equal(read_and_forget(paths, 5, &documents), SG_OK);
    assert_int_equal(documents, 7);
    int64_t live = sg_alloc_live();
    for (int64_t fail = 0;; fail++) {
        assert_true(fail < 1000);
        int64_t left = fail;
        sg_alloc_set_hook(fail_nth, &left);
        sg_status status = read_and_forget(paths, 5, &documents);
        sg_alloc_set_hook(NULL, NULL);
        assert_int_equal(sg_alloc_live(), live);
        if (left >= 0) {
            assert_int_equal(status, SG_OK);
            break;
        }
        if (status != SG_ERR_MEMORY) fail_msg("allocation %d: status %d", (int)fail, (int)status);
    }
}

static int64_t broken_read(void *user, int handle, void *data, size_t n)
{
    static int calls;
    if (++calls % 3 == 0) return -5; // EIO
    return sg_fs_system()->read(user, handle, data, n < 2 ? n : 2);
}

static void test_read_error(void **state)
{
    (void)state;
    const char *path = put_file("e.txt", "some text", 9);
    sg_fs fs = *sg_fs_system();
    fs.read = broken_read;
    sg_fs_set(&fs);
    size_t documents;
    int64_t live = sg_alloc_live();
    assert_int_equal(read_and_forget(&path, 1, &documents), SG_ERR_IO);
    sg_fs_set(NULL);
    assert_int_equal(sg_alloc_live(), live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json_lines),
        cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bad_text),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_empty_documents),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_storages),
        cmocka_unit_test(test_many_files),
        cmocka_unit_test(test_real_stories),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_read_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
