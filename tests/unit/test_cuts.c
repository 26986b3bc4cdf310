// Cutting words against the Hugging Face library: split patterns written by hand and drawn, and the
// other pre-tokenizers (tests/twins/cut_twin.py made the words); refusals and limits.
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "sgatlin.h"
#include "text/pretokenize.h"

enum { texts_most = 2048 };

static json_t *golden;
static sg_bytes texts[texts_most]; // the first has all code points of the ranges
static size_t text_count;

static void add_line(const char *line, size_t bytes)
{
    static char plain[1 << 16];
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = line[i];
        if (c == '\\') c = line[++i] == 'n' ? '\n' : '\\';
        plain[n++] = c;
    }
    assert_true(text_count < texts_most);
    assert_true(sg_utf8_repair(plain, n, &texts[text_count++], NULL));
}

static int set_up(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/tokenizer/cuts.json", SG_TEST_DIR);
    golden = json_load_file(path, 0, NULL);
    if (golden == NULL) return -1;
    size_t i;
    json_t *range;
    json_array_foreach(json_object_get(golden, "ranges"), i, range)
    {
        uint32_t last = (uint32_t)json_integer_value(json_array_get(range, 1));
        for (uint32_t c = (uint32_t)json_integer_value(json_array_get(range, 0)); c <= last; c++) {
            char text[4];
            sg_bytes_add(&texts[0], text, (size_t)sg_utf8_encode(c, text));
        }
    }
    text_count = 1;
    snprintf(path, sizeof path, "%s/golden/tokenizer/strings.gz", SG_TEST_DIR);
    gzFile file = gzopen(path, "rb");
    static char line[1 << 16];
    for (size_t n = 0; file != NULL; n++) {
        size_t bytes = 0; // gzgets would lose NULs
        int c;
        while ((c = gzgetc(file)) >= 0 && c != '\n')
            line[bytes++] = (char)c;
        if (c < 0) break;
        if (n % 4 == 0) add_line(line, bytes);
    }
    gzclose(file);
    return text_count > 1000 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < text_count; i++)
        sg_free(texts[i].data);
    json_decref(golden);
    return 0;
}

// A tokenizer.json with that pre-tokenizer; free it.
static char *file_of(const json_t *pre)
{
    json_t *root = json_pack("{s:O, s:{s:s, s:{s:i}, s:[]}}", "pre_tokenizer", pre, "model", "type",
                             "BPE", "vocab", "a", 0, "merges");
    char *text = json_dumps(root, 0);
    json_decref(root);
    assert_non_null(text);
    return text;
}

static sg_status open_file(const char *text, sg_hf_tokenizer **hf, sg_cutter **cutter,
                           sg_error *err)
{
    *hf = NULL;
    *cutter = NULL;
    SG_TRY(sg_hf_tokenizer_parse(text, strlen(text), "test", hf, err));
    return sg_cutter_new((*hf)->pre, (*hf)->pre_count, "test", cutter, err);
}

static sg_status cutter_of(const json_t *pre, sg_hf_tokenizer **hf, sg_cutter **cutter,
                           sg_error *err)
{
    char *text = file_of(pre);
    sg_status status = open_file(text, hf, cutter, err);
    free(text);
    return status;
}

static void cutter_close(sg_hf_tokenizer *hf, sg_cutter *cutter)
{
    sg_cutter_free(cutter);
    sg_hf_tokenizer_free(hf);
}

static uLong add_words(uLong crc, const sg_cutting *c)
{
    for (size_t i = 0; i < c->count; i++) {
        size_t bytes = c->words[i].end - c->words[i].begin;
        crc = crc32(crc, (const Bytef *)c->text + c->words[i].begin, (uInt)bytes);
        crc = crc32(crc, (const Bytef *)"", 1);
    }
    return crc;
}

// The words of the texts [from, to); false where matching was given up.
static bool words_of(const sg_cutter *cutter, sg_cutting *c, size_t from, size_t to, uLong *crc)
{
    *crc = crc32(0, NULL, 0);
    for (size_t i = from; i < to; i++) {
        if (texts[i].count == 0) continue;
        sg_error err;
        sg_status status = sg_cutter_run(cutter, c, texts[i].data, texts[i].count, true, &err);
        if (status == SG_ERR_UNSUPPORTED && strstr(err.message, "gave up") != NULL) return false;
        if (status != SG_OK) fail_msg("%s", err.message);
        *crc = add_words(*crc, c);
    }
    return true;
}

static size_t check_cut(const json_t *cut, const sg_cutter *cutter)
{
    bool random = json_object_get(cut, "random") != NULL;
    const json_t *crcs = json_object_get(cut, "crcs");
    size_t wrong = 0;
    sg_cutting c;
    assert_int_equal(sg_cutting_open(cutter, &c, NULL), SG_OK);
    for (size_t b = 0; b < json_array_size(crcs); b++) {
        const json_t *crc = json_array_get(crcs, b);
        size_t block = random ? b + 1 : b;
        size_t from = block == 0 ? 0 : 100 * (block - 1) + 1, to = block == 0 ? 1 : from + 100;
        if (to > text_count) to = text_count;
        uLong found;
        if (!json_is_integer(crc)) continue; // the library gave up
        if (!words_of(cutter, &c, from, to, &found))
            wrong += !random;
        else
            wrong += found != (uLong)json_integer_value(crc);
    }
    sg_cutting_close(&c);
    return wrong;
}

static void test_words(void **state)
{
    (void)state;
    size_t i, wrong = 0, by_hand = 0, drawn = 0, refused = 0;
    json_t *cut;
    json_array_foreach(json_object_get(golden, "cuts"), i, cut)
    {
        sg_hf_tokenizer *hf;
        sg_cutter *cutter;
        sg_error err;
        bool random = json_object_get(cut, "random") != NULL;
        sg_status status = cutter_of(json_object_get(cut, "pre"), &hf, &cutter, &err);
        char *text = json_dumps(json_object_get(cut, "pre"), 0);
        if (status != SG_OK && !(random && status == SG_ERR_UNSUPPORTED)) {
            fprintf(stderr, "%s: %s\n", text, err.message);
            wrong++;
        }
        refused += status != SG_OK;
        if (status == SG_OK) {
            size_t blocks = check_cut(cut, cutter);
            if (blocks > 0) fprintf(stderr, "%s: %zu blocks differ\n", text, blocks);
            wrong += blocks > 0;
            *(random ? &drawn : &by_hand) += 1;
        }
        cutter_close(hf, cutter);
        free(text);
    }
    print_message("%zu by hand, %zu drawn, %zu drawn and refused\n", by_hand, drawn, refused);
    assert_int_equal(wrong, 0);
    assert_true(by_hand > 110 && drawn > 250);
}

static json_t *split(const char *pattern)
{
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", pattern,
                     "behavior", "Isolated", "invert", 0);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "\\X",
        "\\K",
        "\\Gab",
        "(a)\\1",
        "(?<n>a)\\k<n>",
        "\\y",
        "(?x: a)",
        "(?s:.)",
        "(?P<n>a)",
        "(?~ab)",
        "(?i:\u00e9)",
        "(?i:stress)",
        "(?i:[a\u00e9])",
        "(?i:[\\p{L}])",
        "(?i:[a&&b])",
        "(?i:(?<=a)b)",
        "[[:alpha:]]",
        "[[:^punct:]]",
        "[a&&]",
        "[&&a]",
        "[\\R]",
        "[\\b]",
        "\\p{Alpha}",
        "\\p{Script=Han}",
        "\\p{L&}",
        "\\pL",
        "\\p{Han",
        "\\b+",
        "\\A*",
        "(?=a)*",
        "(?i)*",
        "(?i",
        "(?<a",
        "(?#a",
        "\\cA",
        "\\101",
        "(*FAIL)",
        "[a-",
        "[a",
        "[a&&",
        "[",

        "\\p{",
        "(?",
        "(?i",
        "[[:",
        "\\",
        "[\\w-z]",
        "[a-\\d]",
        "(?<=a+)b",
        "[\\xc3]",
        "\\xc3",
    };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        sg_hf_tokenizer *hf;
        sg_cutter *cutter;
        sg_error err;
        json_t *pre = split(patterns[i]);
        if (cutter_of(pre, &hf, &cutter, &err) != SG_ERR_UNSUPPORTED ||
            strstr(err.message, "pattern.Regex") == NULL)
            fail_msg("%s: expected a refusal", patterns[i]);
        cutter_close(hf, cutter);
        json_decref(pre);
    }
}

static sg_status run_file(const char *file, const char *text, size_t bytes, sg_error *err)
{
    sg_hf_tokenizer *hf;
    sg_cutter *cutter;
    sg_cutting c = {0};
    sg_status status = open_file(file, &hf, &cutter, err);
    if (status == SG_OK) status = sg_cutting_open(cutter, &c, err);
    if (status == SG_OK) status = sg_cutter_run(cutter, &c, text, bytes, true, err);
    sg_cutting_close(&c);
    cutter_close(hf, cutter);
    return status;
}

static sg_status run_pattern(const char *pattern, const char *text, size_t bytes, sg_error *err)
{
    json_t *pre = split(pattern);
    char *file = file_of(pre);
    sg_status status = run_file(file, text, bytes, err);
    free(file);
    json_decref(pre);
    return status;
}

// One limit for all matches in a text: what reads the rest of a long text from each letter is given
// up, what is honest is not, however long its words are.
static void test_limits(void **state)
{
    (void)state;
    enum { length = 600000, honest_length = 100000 };
    char *text = malloc(length);
    sg_error err;
    memset(text, 'a', length);
    assert_int_equal(run_pattern("a*b|.", text, length, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "gave up on the text: it needs too many steps"));
    static const char llama[] =
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    static const char *const honest[] = {llama, "\\w+|[^\\w\\s]+", "a+",
                                         "\\b", "[^\\n]+|\\n+",    "b"};
    static const char *const runs[] = {"a", " ", "\n", "0", "- ", "a b", "\u4e2d", "\u00e9 "};
    for (size_t r = 0; r < sizeof runs / sizeof *runs; r++) {
        size_t unit = strlen(runs[r]), bytes = honest_length / unit * unit;
        for (size_t i = 0; i < bytes; i++)
            text[i] = runs[r][i % unit];
        for (size_t i = 0; i < sizeof honest / sizeof *honest; i++)
            if (run_pattern(honest[i], text, bytes, &err) != SG_OK)
                fail_msg("%s, run %zu: %s", honest[i], r, err.message);
    }
    free(text);
}

static sg_status failing_run(void *user, sg_error *err)
{
    return run_file(user, "ab cd \u0301", 8, err);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    json_t *pre = split("\\b[\\p{Mn}&&[^a]\\W]|(?i)[ab]|(?<n>\\P{Han})");
    char *file = file_of(pre);
    assert_true(alloc_failure_loop(failing_run, file) > 20);
    free(file);
    json_decref(pre);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
