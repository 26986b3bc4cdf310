// The tokenizer's own properties: hostile files, long words, decoding piece by piece, training on
// odd corpora, failing allocations. Equality with the Hugging Face library is test_bpe_golden.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "sgatlin.h"

// ---- small files ------------------------------------------------------------------------------

// A tokenizer.json with the parts given; NULL takes a plain one.
typedef struct file_parts {
    const char *added, *normalizer, *pre, *post, *decoder, *vocab, *merges, *model;
} file_parts;

static const char plain_vocab[] =
    "{\"a\":0,\"b\":1,\"c\":2,\"\u0120\":3,\"ab\":4,\"abc\":5,\"<e>\":6,\"\u00c3\":7,\"\u00a9\":8}";

static char *file_text(const file_parts *p)
{
    static char text[1 << 20];
#define PART(member, otherwise) (p->member != NULL ? p->member : (otherwise))
    int length = snprintf(
        text, sizeof text,
        "{\"version\":\"1.0\",\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,"
        "\"post_processor\":%s,\"decoder\":%s,\"model\":{\"type\":\"BPE\",%s\"vocab\":%s,"
        "\"merges\":%s}}",
        PART(added, "[]"), PART(normalizer, "null"),
        PART(pre, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}"),
        PART(post, "null"), PART(decoder, "{\"type\":\"ByteLevel\"}"), PART(model, ""),
        PART(vocab, plain_vocab), PART(merges, "[\"a b\",[\"ab\",\"c\"]]"));
#undef PART
    assert_true(length > 0 && (size_t)length < sizeof text);
    return text;
}

static sg_tokenizer *make(const file_parts *parts)
{
    const char *text = file_text(parts);
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_from_memory(text, strlen(text), "test", &tokenizer, &err) != SG_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

static void check_ids(const sg_tokenizer *tokenizer, const char *text, const char *expected)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(sg_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids, &count, NULL),
                     SG_OK);
    char found[256] = "";
    for (size_t i = 0; i < count; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%d", i > 0 ? " " : "",
                 ids[i]);
    assert_string_equal(found, expected);
    sg_buffer_free(ids);
}

// The file is refused with this status, and the message says where.
static void check_refused(const file_parts *parts, sg_status status, const char *part)
{
    const char *text = file_text(parts);
    sg_tokenizer *tokenizer = (sg_tokenizer *)&parts;
    sg_error err;
    int64_t live = sg_alloc_live();
    sg_status found = sg_tokenizer_from_memory(text, strlen(text), "test", &tokenizer, &err);
    assert_int_equal(sg_alloc_live(), live);
    assert_null(tokenizer);
    if (found != status || strstr(err.message, part) == NULL)
        fail_msg("found %s: %s; expected %s and \"%s\"", sg_status_name(found),
                 found == SG_OK ? "" : err.message, sg_status_name(status), part);
}

static void check_lost(const sg_tokenizer *tokenizer, const char *text, int64_t expected)
{
    int32_t *ids;
    size_t count;
    int64_t lost = -1;
    sg_encode_options options = sg_encode_options_default();
    options.lost_bytes = &lost;
    for (int i = 0; i < 2; i++) { // the second time from the cache of words
        assert_int_equal(
            sg_tokenizer_encode(tokenizer, text, strlen(text), &options, &ids, &count, NULL),
            SG_OK);
        sg_buffer_free(ids);
        assert_int_equal(lost, expected);
    }
}

// Bytes that no token stands for are counted, wherever they go.
static void test_lost_bytes(void **state)
{
    (void)state;
    sg_tokenizer *t = make(&(file_parts){0});
    check_lost(t, "abc ab ca", 0);
    check_lost(t, "", 0);
    check_lost(t, "xyz", 3);
    check_lost(t, "axb xyz ab", 4);
    check_lost(t, "axxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxb", 60);
    check_lost(t, "\xc3\xa9\xc3\xa8", 1); // half of the second letter has a symbol
    int64_t replaced = -1;
    int32_t *ids;
    size_t count;
    sg_encode_options options = sg_encode_options_default();
    options.replaced = &replaced;
    assert_int_equal(sg_tokenizer_encode(t, "a\xff\xf0\x9f", 4, &options, &ids, &count, NULL),
                     SG_OK);
    assert_int_equal(replaced, 2);
    sg_buffer_free(ids);
    sg_tokenizer_free(t);
    // They are lost as the unknown token too, but not as tokens of bytes.
    t = make(&(file_parts){.pre = "null",
                           .decoder = "null",
                           .model = "\"unk_token\":\"<e>\",\"byte_fallback\":true,",
                           .vocab = "{\"a\":0,\"<e>\":1,\"<0xC3>\":2,\"<0xA9>\":3}",
                           .merges = "[]"});
    check_ids(t, "a\xc3\xa9\xe2\x82\xac", "0 2 3 1");
    check_lost(t, "a\xc3\xa9\xe2\x82\xac", 3);
    sg_tokenizer_free(t);
    // And so is what a pre-tokenizer takes out.
    t = make(&(file_parts){.pre = "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":"
                                  "\"Removed\",\"invert\":false}",
                           .decoder = "null"});
    check_ids(t, "ab  ab", "4 4");
    check_lost(t, "ab  ab", 2);
    sg_tokenizer_free(t);
}

static void test_plain(void **state)
{
    (void)state;
    sg_tokenizer *t = make(&(file_parts){0});
    assert_int_equal(sg_tokenizer_vocab_size(t), 9);
    check_ids(t, "abc ab ca", "5 3 4 3 2 0");
    check_ids(t, "", "");
    check_ids(t, "xyz", ""); // no symbols, no unknown token: they vanish
    check_ids(t, "<e>", ""); // in the vocabulary, but no added token
    assert_int_equal(sg_tokenizer_token_id(t, "abc"), 5);
    assert_int_equal(sg_tokenizer_token_id(t, "abcd"), -1);
    assert_string_equal(sg_tokenizer_token_text(t, 4), "ab");
    assert_null(sg_tokenizer_token_text(t, 9));
    assert_null(sg_tokenizer_token_text(t, -1));
    assert_int_equal(sg_tokenizer_eos(t), -1);
    sg_tokenizer_free(t);
    sg_tokenizer_free(NULL);
}

#define TOKEN(id, content, special)                                                                \
    "{\"id\":" id ",\"content\":\"" content                                                        \
    "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"             \
    "\"special\":" special "}"

static void test_added_tokens(void **state)
{
    (void)state;
    sg_tokenizer *t =
        make(&(file_parts){.added = "[" TOKEN("6", "<e>", "true") "," TOKEN(
                               "9", "<|endoftext|>", "true") "," TOKEN("10", "ca", "false") "]"});
    assert_int_equal(sg_tokenizer_vocab_size(t), 11);
    assert_int_equal(sg_tokenizer_eos(t), 9);
    assert_int_equal(sg_tokenizer_bos(t), 9);
    assert_int_equal(sg_tokenizer_pad(t), -1);
    assert_true(sg_tokenizer_is_special(t, 6));
    assert_false(sg_tokenizer_is_special(t, 10));
    assert_false(sg_tokenizer_is_special(t, 0));
    assert_false(sg_tokenizer_is_special(t, 11));
    check_ids(t, "ab<e>cab<|endoftext|>", "4 6 10 1 9");
    sg_encode_options options = sg_encode_options_default();
    options.parse_special = false;
    int32_t *ids;
    size_t count;
    assert_int_equal(sg_tokenizer_encode(t, "a<e>ca", 6, &options, &ids, &count, NULL), SG_OK);
    assert_int_equal(count, 2); // "<" and ">" and "e" have no symbols
    assert_int_equal(ids[1], 10);
    sg_buffer_free(ids);
    sg_tokenizer_free(t);
}

static void test_refused_models(void **state)
{
    (void)state;
    const sg_status format = SG_ERR_FORMAT, unsupported = SG_ERR_UNSUPPORTED;
    check_refused(&(file_parts){.vocab = "{\"a\":0,\"b\":0}", .merges = "[]"}, format, "vocab");
    check_refused(&(file_parts){.vocab = "{\"a\":0,\"b\":2}", .merges = "[]"}, format, "holes");
    check_refused(&(file_parts){.vocab = "{\"a\":-1}", .merges = "[]"}, format, "-1");
    check_refused(&(file_parts){.vocab = "{\"a\":9223372036854775807}"}, format, "vocab");
    check_refused(&(file_parts){.vocab = "{\"a\":1e3}"}, format, "not an integer");
    check_refused(&(file_parts){.vocab = "{\"a\":\"0\"}"}, format, "not an integer");
    check_refused(&(file_parts){.vocab = "{\"a\":0,\"a\":1}"}, format, "duplicate");
    check_refused(&(file_parts){.vocab = "{}"}, format, "vocab");
    check_refused(&(file_parts){.vocab = "[]"}, format, "vocab");
    check_refused(&(file_parts){.merges = "[\"a x\"]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "[\"a b\",\"b a\"]"}, format, "merges[1]");
    check_refused(&(file_parts){.merges = "[\"ab\"]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "[\"a b c\"]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "[[\"a\"]]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "[[\"a\",1]]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "[[\"a\\u0000\",\"b\"]]"}, format, "merges[0]");
    check_refused(&(file_parts){.merges = "{}"}, format, "merges");
    check_refused(&(file_parts){.model = "\"dropout\":0.1,"}, unsupported, "dropout");
    check_refused(&(file_parts){.model = "\"byte_fallback\":1,"}, format, "byte_fallback");
    check_refused(&(file_parts){.model = "\"unk_token\":\"?\","}, format, "unk_token");
    check_refused(&(file_parts){.model = "\"end_of_word_suffix\":\"</w>\","}, unsupported,
                  "end_of_word_suffix");
    check_refused(&(file_parts){.model = "\"continuing_subword_prefix\":\"##\","}, unsupported,
                  "continuing_subword_prefix");
    check_refused(&(file_parts){.added = "[" TOKEN("12", "x", "true") "]"}, format, "found 12");
    check_refused(&(file_parts){.added = "[" TOKEN("0", "x", "true") "]"}, format, "expected 9");
    check_refused(
        &(file_parts){.added = "[" TOKEN("6", "<e>", "true") "," TOKEN("6", "<e>", "true") "]"},
        format, "twice");
    check_refused(&(file_parts){.added = "[" TOKEN("9", "", "true") "]"}, format, "content");
    check_refused(&(file_parts){.added = "[{\"id\":9,\"content\":\"x\"}]"}, format, "special");
    check_refused(&(file_parts){.added = "[7]"}, format, "added_tokens[0]");
}

#define LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}"

static void test_refused_steps(void **state)
{
    (void)state;
    const sg_status format = SG_ERR_FORMAT, unsupported = SG_ERR_UNSUPPORTED;
    check_refused(&(file_parts){.normalizer = "{\"type\":\"BertNormalizer\"}"}, unsupported,
                  "BertNormalizer");
    check_refused(&(file_parts){.normalizer = "{}"}, format, "type");
    check_refused(&(file_parts){.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},"
                                              "\"content\":\"\"}"},
                  unsupported, "pattern");
    check_refused(&(file_parts){.normalizer = "{\"type\":\"Strip\"}"}, format, "strip_left");
    check_refused(&(file_parts){.pre = "{\"type\":\"UnicodeScripts\"}"}, unsupported,
                  "UnicodeScripts");
    check_refused(&(file_parts){.pre = "{\"type\":\"Metaspace\"}"}, format, "replacement");
    check_refused(&(file_parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"__\"}"}, format,
                  "one character");
    check_refused(&(file_parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\","
                                       "\"add_prefix_space\":false}"},
                  format, "contradicts");
    check_refused(&(file_parts){.pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\","
                                       "\"prepend_scheme\":\"last\"}"},
                  unsupported, "last");
    check_refused(
        &(file_parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL "," LEVEL "]}"},
        unsupported, "more than one");
    check_refused(&(file_parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL
                                       ",{\"type\":\"Metaspace\",\"replacement\":\"_\"}]}"},
                  unsupported, "behind");
    check_refused(&(file_parts){.pre = "{\"type\":\"ByteLevel\"}"}, format, "add_prefix_space");
    check_refused(&(file_parts){.post = "{\"type\":\"X\"}"}, unsupported, "X");
    check_refused(&(file_parts){.post = "{\"type\":\"BertProcessing\",\"cls\":[\"a\",99],"
                                        "\"sep\":[\"a\",0]}"},
                  format, "post_processor");
    check_refused(&(file_parts){.post = "{\"type\":\"TemplateProcessing\",\"single\":[]}"}, format,
                  "Sequence");
    check_refused(&(file_parts){.decoder = "{\"type\":\"WordPiece\"}"}, unsupported, "WordPiece");
    check_refused(&(file_parts){.decoder = "{\"type\":\"Strip\",\"content\":\" \",\"start\":-1,"
                                           "\"stop\":0}"},
                  format, "start");
    check_refused(&(file_parts){.decoder = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x\"},"
                                           "\"content\":\"\"}"},
                  unsupported, "Regex");
    check_refused(&(file_parts){.decoder =
                                    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"},"
                                    "{\"type\":\"ByteFallback\"}]}"},
                  unsupported, "joins");
    // Sequences in sequences without end, and steps without end.
    char deep[4096] = "", wide[8192] = "";
    for (int i = 0; i < 40; i++)
        strcat(deep, "{\"type\":\"Sequence\",\"normalizers\":[");
    strcat(deep, "{\"type\":\"NFC\"}");
    for (int i = 0; i < 40; i++)
        strcat(deep, "]}");
    check_refused(&(file_parts){.normalizer = deep}, format, "nested");
    strcat(wide, "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}");
    for (int i = 0; i < 100; i++)
        strcat(wide, ",{\"type\":\"NFC\"}");
    strcat(wide, "]}");
    check_refused(&(file_parts){.normalizer = wide}, unsupported, "steps");
    // An added token of which the normaliser leaves nothing.
    check_refused(
        &(file_parts){.normalizer = "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}",
                      .added = "[{\"id\":9,\"content\":\"  \",\"single_word\":false,"
                               "\"lstrip\":false,\"rstrip\":false,\"normalized\":true,"
                               "\"special\":false}]"},
        unsupported, "added_tokens");
}

// Patterns that PCRE2 and the library's engine would read differently are refused, not guessed.
static void test_refused_patterns(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "(",       ")",           "[a",    "a**",      "*a",     "\\\\1",         "\\\\p{Foo}",
        "\\\\pL",  "[[:alpha:]]", "a{2}+", "a{2}?",    "[]a]",   "(?i:ss)",       "(?i:\u00e9)",
        "a{1001}", "[b-a]",       "\\\\",  "(?<=a+)b", "(?=a)*", "\\\\x{110000}", "\\\\xff"};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char pre[512];
        snprintf(pre, sizeof pre,
                 "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
                 "\"Regex\":\"%s\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":"
                 "\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}]}",
                 patterns[i]);
        check_refused(&(file_parts){.pre = pre}, SG_ERR_UNSUPPORTED, "pattern.Regex");
    }
}

static void test_refused_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",          "{", "[]", "7", "null", "{\"model\":{\"vocab\":7}}", "{\"version\":\"2.0\"}",
        "\xff\xfe{}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        sg_tokenizer *t;
        sg_error err;
        sg_status status =
            sg_tokenizer_from_memory(texts[i], strlen(texts[i]), "bad.json", &t, &err);
        assert_true(status == SG_ERR_FORMAT || status == SG_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "bad.json"));
    }
    sg_tokenizer *t;
    assert_int_equal(sg_tokenizer_open("/nowhere/at/all", &t, NULL), SG_ERR_NOT_FOUND);
}

#define TIMES_16(letter)                                                                           \
    "\"" letter letter letter letter letter letter letter letter letter letter letter letter       \
        letter letter letter letter "\""
#define REPLACE(from, to)                                                                          \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"" from "\"},\"content\":" to "}"

// Steps that make much of little are refused, when a text comes to them, or a token does.
static void test_multiplying_steps(void **state)
{
    (void)state;
#define A16 REPLACE("a", TIMES_16("a"))
#define MANY(list)                                                                                 \
    "{\"type\":\"Sequence\",\"" list "\":[" A16 "," A16 "," A16 "," A16 "," A16 "," A16 "]}"
    sg_tokenizer *t = make(&(file_parts){.normalizer = MANY("normalizers")});
    int32_t *ids;
    size_t count;
    sg_error err;
    int64_t live = sg_alloc_live();
    assert_int_equal(sg_tokenizer_encode(t, "aa", 2, NULL, &ids, &count, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "normalizer"));
    assert_null(ids);
    assert_true(sg_alloc_live() - live < 100); // an encoder, kept for the next text
    check_ids(t, "b", "1");
    sg_tokenizer_free(t);
    t = make(&(file_parts){.normalizer = A16}); // few letters may become many
    assert_int_equal(sg_tokenizer_encode(t, "aa", 2, NULL, &ids, &count, NULL), SG_OK);
    assert_int_equal(count, 32);
    sg_buffer_free(ids);
    sg_tokenizer_free(t);
    check_refused(&(file_parts){.decoder = MANY("decoders")}, SG_ERR_UNSUPPORTED, "decoder");
    // Behind a step that looks at more than one token they run when tokens are decoded.
    t = make(&(file_parts){.decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
                                      "\"ByteFallback\"}," A16 "," A16 "," A16 "," A16 "," A16
                                      "," A16 "]}"});
    char *text;
    size_t bytes;
    int32_t id = sg_tokenizer_token_id(t, "a");
    assert_int_equal(sg_tokenizer_decode(t, &id, 1, NULL, &text, &bytes, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "decoder"));
    sg_decoder *decoder;
    const char *piece;
    assert_int_equal(sg_decoder_new(t, NULL, &decoder, NULL), SG_OK);
    assert_int_equal(sg_decoder_push(decoder, id, &piece, &bytes, &err), SG_ERR_UNSUPPORTED);
    sg_decoder_free(decoder);
    sg_tokenizer_free(t);
    // Marks in front of every word, again and again.
    char pre[8192] =
        "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"FixedLength\",\"length\":1}";
    for (int i = 0; i < 40; i++)
        snprintf(pre + strlen(pre), 200,
                 ",{\"type\":\"Metaspace\",\"replacement\":\"%s\",\"prepend_scheme\":\"always\","
                 "\"split\":false}",
                 i % 2 == 0 ? "\u2581" : "\u2582");
    strcat(pre, "]}");
    t = make(&(file_parts){.pre = pre});
    char *long_text = malloc(200000);
    memset(long_text, 'a', 200000);
    assert_int_equal(sg_tokenizer_encode(t, long_text, 200000, NULL, &ids, &count, &err),
                     SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "pre_tokenizer"));
    free(long_text);
    sg_tokenizer_free(t);
}

// A pattern that would take for ever gives up with an error.
static void test_runaway_pattern(void **state)
{
    (void)state;
    sg_tokenizer *t = make(&(file_parts){
        .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
               "\"Regex\":\"(?:a|a)*[cd]\"},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":"
               "\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}]}"});
    char text[60];
    memset(text, 'a', sizeof text);
    int32_t *ids;
    size_t count;
    sg_error err;
    assert_int_equal(sg_tokenizer_encode(t, text, sizeof text, NULL, &ids, &count, &err),
                     SG_ERR_UNSUPPORTED);
    assert_null(ids);
    assert_non_null(strstr(err.message, "gave up"));
    check_ids(t, "abc", "4 2"); // and works on afterwards
    sg_tokenizer_free(t);
}

// ---- words ------------------------------------------------------------------------------------

// Short words are merged by scanning, long ones with a heap; both are the rule itself.
static void test_merge_rule(void **state)
{
    (void)state;
    // "abc" over and over: "ab"+"c" ranks before "c"+"a", so a word of n of them is n tokens.
    sg_tokenizer *t = make(&(file_parts){
        .vocab = "{\"a\":0,\"b\":1,\"c\":2,\"ca\":3,\"ab\":4,\"abc\":5,\"aa\":6,\"aaaa\":7}",
        .merges = "[\"a b\",\"ab c\",\"c a\",\"a a\",\"aa aa\"]"});
    for (size_t n = 1; n < 200; n++) {
        char text[600];
        for (size_t i = 0; i < 3 * n; i++)
            text[i] = "abc"[i % 3];
        int32_t *ids;
        size_t count;
        assert_int_equal(sg_tokenizer_encode(t, text, 3 * n, NULL, &ids, &count, NULL), SG_OK);
        assert_int_equal(count, n);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(ids[i], 5);
        sg_buffer_free(ids);
        memset(text, 'a', n);
        assert_int_equal(sg_tokenizer_encode(t, text, n, NULL, &ids, &count, NULL), SG_OK);
        assert_int_equal(count, n / 4 + n % 4 / 2 + n % 2);
        if (n >= 4) assert_int_equal(ids[0], 7);
        if (n % 2 == 1) assert_int_equal(ids[count - 1], 0);
        sg_buffer_free(ids);
    }
    sg_tokenizer_free(t);
}

// A word of a million letters takes no quadratic time: this test would run for hours.
static void test_long_run(void **state)
{
    (void)state;
    sg_tokenizer *t = make(
        &(file_parts){.vocab = "{\"a\":0,\"aa\":1,\"aaaa\":2}", .merges = "[\"a a\",\"aa aa\"]"});
    size_t n = 1000000;
    char *text = malloc(n);
    memset(text, 'a', n);
    int32_t *ids;
    size_t count;
    assert_int_equal(sg_tokenizer_encode(t, text, n, NULL, &ids, &count, NULL), SG_OK);
    assert_int_equal(count, n / 4);
    sg_buffer_free(ids);
    free(text);
    sg_tokenizer_free(t);
}

// ---- training and decoding --------------------------------------------------------------------

typedef struct text_list {
    const char *const *texts;
    size_t count, next;
} text_list;

static sg_status next_text(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    text_list *list = user;
    *text = list->next < list->count ? list->texts[list->next++] : NULL;
    *bytes = *text == NULL ? 0 : strlen(*text);
    return SG_OK;
}

static sg_tokenizer *train(const sg_tokenizer_train_options *options, const char *const *texts,
                           size_t count)
{
    text_list list = {texts, count, 0};
    sg_tokenizer *t;
    sg_error err;
    if (sg_tokenizer_train(options, next_text, &list, &t, &err) != SG_OK)
        fail_msg("%s", err.message);
    return t;
}

static const char *const stories[] = {"The cat sat on the mat. The cat ran.",
                                      "A dog sat on the cat, and the cat sat on the dog!",
                                      "caf\u00e9 na\u00efve \u732b \U0001F600 don't 1984\n\n  end"};

static void test_train_plain(void **state)
{
    (void)state;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = 80;
    options.full_alphabet = false;
    sg_tokenizer *t = train(&options, stories, 3);
    assert_int_equal(sg_tokenizer_vocab_size(t), 80);
    assert_int_equal(sg_tokenizer_pad(t), 0);
    assert_int_equal(sg_tokenizer_eos(t), 1);
    assert_string_equal(sg_tokenizer_token_text(t, 2), "!"); // bytes in order of their characters
    assert_true(sg_tokenizer_token_id(t, "\u0120the") >= 0);
    uint64_t hash = sg_tokenizer_hash(t);
    sg_tokenizer_free(t);
    t = train(&options, stories, 3);
    assert_int_equal(sg_tokenizer_hash(t), hash); // the same text, the same file
    sg_tokenizer_free(t);
    t = train(&options, stories, 2);
    assert_int_not_equal(sg_tokenizer_hash(t), hash);
    sg_tokenizer_free(t);
}

static void test_train_odd(void **state)
{
    (void)state;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    assert_true(options.full_alphabet);
    sg_tokenizer *t = train(&options, NULL, 0); // no text: the special tokens and the bytes
    assert_int_equal(sg_tokenizer_vocab_size(t), 258);
    check_lost(t, "x \xc3\xa9", 0);
    sg_tokenizer_free(t);
    options.full_alphabet = false;
    t = train(&options, NULL, 0);
    assert_int_equal(sg_tokenizer_vocab_size(t), 2);
    check_ids(t, "x<|endoftext|>", "1");
    check_lost(t, "x<|endoftext|>", 2); // with the space in front
    sg_tokenizer_free(t);
    static const char *const one[] = {"aaaa", ""};
    t = train(&options, one, 2); // nothing left to merge long before 8192
    assert_true(sg_tokenizer_vocab_size(t) < 12);
    sg_tokenizer_free(t);
    options.full_alphabet = true;
    options.special_count = 0;
    options.vocab_size = 1; // smaller than the alphabet
    t = train(&options, one, 1);
    assert_int_equal(sg_tokenizer_vocab_size(t), 256);
    sg_tokenizer_free(t);
    options.vocab_size = 0;
    text_list list = {one, 1, 0};
    sg_error err;
    assert_int_equal(sg_tokenizer_train(&options, next_text, &list, &t, &err), SG_ERR_ARGUMENT);
    options = sg_tokenizer_train_options_default();
    static const char *const twice[] = {"<a>", "<a>"};
    options.specials = twice;
    assert_int_equal(sg_tokenizer_train(&options, next_text, &list, &t, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "twice"));
}

static bool stop_at_once(void *user, int32_t size, int32_t target)
{
    (void)user;
    (void)size;
    (void)target;
    return false;
}

static sg_status broken_source(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)user;
    (void)text;
    (void)bytes;
    if (err != NULL) strcpy(err->message, "broken");
    return SG_ERR_IO;
}

static void test_train_stopped(void **state)
{
    (void)state;
    // Random words, so that there are more than the 256 merges between two reports.
    static char text[40000];
    sg_rng rng = {1, 2, 0};
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (char)(i % 7 == 0 ? ' ' : 'a' + (char)sg_rng_next_below(&rng, 26));
    const char *const texts[] = {text};
    text_list list = {texts, 1, 0};
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.progress = stop_at_once;
    sg_tokenizer *t;
    int64_t live = sg_alloc_live();
    assert_int_equal(sg_tokenizer_train(&options, next_text, &list, &t, NULL), SG_ERR_STOPPED);
    assert_null(t);
    assert_int_equal(sg_tokenizer_train(&options, broken_source, NULL, &t, NULL), SG_ERR_IO);
    assert_int_equal(sg_alloc_live(), live);
}

// With every byte in the alphabet and no normaliser, any bytes survive encoding and raw decoding if
// they are UTF-8, and are repaired if not; token by token gives the same as at once.
static void test_round_trip(void **state)
{
    (void)state;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.full_alphabet = true;
    options.nfkc = options.prefix_space = false;
    options.vocab_size = 300;
    sg_tokenizer *t = train(&options, stories, 3);
    sg_rng rng = {3, 4, 0};
    for (int round = 0; round < 2000; round++) {
        int32_t ids[24];
        size_t count = 1 + sg_rng_next_below(&rng, 23), whole_bytes, joined_bytes = 0;
        for (size_t i = 0; i < count; i++)
            ids[i] = (int32_t)sg_rng_next_below(&rng, (uint64_t)sg_tokenizer_vocab_size(t));
        char *whole, joined[2048];
        assert_int_equal(sg_tokenizer_decode(t, ids, count, NULL, &whole, &whole_bytes, NULL),
                         SG_OK);
        sg_decoder *decoder;
        assert_int_equal(sg_decoder_new(t, NULL, &decoder, NULL), SG_OK);
        for (size_t i = 0; i <= count; i++) {
            const char *piece;
            size_t bytes;
            sg_status status = i < count ? sg_decoder_push(decoder, ids[i], &piece, &bytes, NULL)
                                         : sg_decoder_finish(decoder, &piece, &bytes, NULL);
            assert_int_equal(status, SG_OK);
            assert_int_equal(piece[bytes], '\0');
            memcpy(joined + joined_bytes, piece, bytes);
            joined_bytes += bytes;
        }
        sg_decoder_free(decoder);
        assert_int_equal(joined_bytes, whole_bytes);
        assert_memory_equal(joined, whole, whole_bytes);
        // What was decoded is valid, so encoding and decoding it changes nothing.
        int32_t *back;
        size_t back_count, again_bytes;
        char *again;
        sg_encode_options plain = {.parse_special = false};
        sg_decode_options raw = {.skip_special = false, .raw = true};
        assert_int_equal(
            sg_tokenizer_encode(t, whole, whole_bytes, &plain, &back, &back_count, NULL), SG_OK);
        assert_int_equal(sg_tokenizer_decode(t, back, back_count, &raw, &again, &again_bytes, NULL),
                         SG_OK);
        assert_int_equal(again_bytes, whole_bytes);
        assert_memory_equal(again, whole, whole_bytes);
        sg_buffer_free(whole);
        sg_buffer_free(back);
        sg_buffer_free(again);
    }
    sg_tokenizer_free(t);
}

static void test_decode(void **state)
{
    (void)state;
    sg_tokenizer *t = make(&(file_parts){.added = "[" TOKEN("6", "<e>", "true") "]"});
    char *text;
    size_t bytes;
    const int32_t ids[] = {5, 6, 3, 7, 8, 7};
    assert_int_equal(sg_tokenizer_decode(t, ids, 6, NULL, &text, &bytes, NULL), SG_OK);
    assert_string_equal(text, "abc \u00e9\uFFFD");
    sg_buffer_free(text);
    sg_decode_options raw = {.skip_special = false, .raw = true};
    assert_int_equal(sg_tokenizer_decode(t, ids, 6, &raw, &text, &bytes, NULL), SG_OK);
    assert_int_equal(bytes, 10);
    assert_memory_equal(text, "abc<e> \xC3\xA9\xC3", 10);
    sg_buffer_free(text);
    for (int bad = 0; bad < 2; bad++) {
        int32_t id = bad == 0 ? -1 : 9;
        sg_error err;
        assert_int_equal(sg_tokenizer_decode(t, &id, 1, NULL, &text, &bytes, &err),
                         SG_ERR_ARGUMENT);
        assert_null(text);
    }
    // A character over two tokens comes out with the second.
    sg_decoder *decoder;
    const char *piece;
    assert_int_equal(sg_decoder_new(t, NULL, &decoder, NULL), SG_OK);
    assert_int_equal(sg_decoder_push(decoder, 7, &piece, &bytes, NULL), SG_OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(sg_decoder_push(decoder, 8, &piece, &bytes, NULL), SG_OK);
    assert_string_equal(piece, "\u00e9");
    assert_int_equal(sg_decoder_push(decoder, 9, &piece, &bytes, NULL), SG_ERR_ARGUMENT);
    sg_decoder_free(decoder);
    sg_decoder_free(NULL);
    sg_tokenizer_free(t);
}

// ---- memory -----------------------------------------------------------------------------------

static sg_status open_encode_decode(void *user, sg_error *err)
{
    const char *text = user;
    sg_tokenizer *t;
    sg_status status = sg_tokenizer_from_memory(text, strlen(text), "test", &t, err);
    if (status != SG_OK) return status;
    int32_t *ids = NULL;
    size_t count = 0, bytes;
    char *back = NULL;
    const char input[] = "abc \xC3\xA9 ab\xFF -1 <e>ca e\xCC\x81";
    sg_encode_options options = {.add_special = true, .parse_special = true};
    status = sg_tokenizer_encode(t, input, sizeof input - 1, &options, &ids, &count, err);
    if (status == SG_OK) status = sg_tokenizer_decode(t, ids, count, NULL, &back, &bytes, err);
    sg_decoder *decoder = NULL;
    const char *piece;
    if (status == SG_OK) status = sg_decoder_new(t, NULL, &decoder, err);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        status = sg_decoder_push(decoder, ids[i], &piece, &bytes, err);
    if (status == SG_OK) status = sg_decoder_finish(decoder, &piece, &bytes, err);
    sg_decoder_free(decoder);
    sg_buffer_free(ids);
    sg_buffer_free(back);
    sg_tokenizer_free(t);
    return status;
}

static void test_no_memory_open(void **state)
{
    (void)state;
    char *text = strdup(file_text(&(file_parts){
        .added = "[" TOKEN("6", "<e>", "true") "," TOKEN("9", "ca", "false") "]",
        .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
                      "\"Lowercase\"}]}",
        .model = "\"ignore_merges\":true,",
        .post = "{\"type\":\"RobertaProcessing\",\"cls\":[\"<e>\",6],\"sep\":[\"<e>\",6]}",
        .pre = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
               "\"Regex\":\"-|e+\"},\"behavior\":\"MergedWithNext\",\"invert\":false},{\"type\":"
               "\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true},{\"type\":"
               "\"Digits\",\"individual_digits\":true}]}"}));
    assert_true(alloc_failure_loop(open_encode_decode, text) > 40);
    free(text);
}

// The same for a tokenizer over characters, whose decoder holds text back.
static void test_no_memory_characters(void **state)
{
    (void)state;
    char *text = strdup(file_text(&(file_parts){
        .added = "[" TOKEN("6", "<e>", "true") "," TOKEN("9", "ca", "false") "]",
        .normalizer = "{\"type\":\"Prepend\",\"prepend\":\"_\"}",
        .model = "\"byte_fallback\":true,\"ignore_merges\":true,",
        .vocab = "{\"a\":0,\"b\":1,\"c\":2,\"_\":3,\"ab\":4,\"abc\":5,\"<e>\":6,\"<0xC3>\":7,"
                 "\"<0xA9>\":8}",
        .pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\"}",
        .decoder = "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
                   "\"String\":\"c\"},\"content\":\"cc\"},{\"type\":\"Metaspace\",\"replacement\":"
                   "\"_\"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                   "\"content\":\" \",\"start\":1,\"stop\":2}]}"}));
    assert_true(alloc_failure_loop(open_encode_decode, text) > 40);
    free(text);
}

static sg_status train_some(void *user, sg_error *err)
{
    (void)user;
    sg_tokenizer_train_options options = sg_tokenizer_train_options_default();
    options.vocab_size = 60;
    text_list list = {stories, 3, 0};
    sg_tokenizer *t;
    SG_TRY(sg_tokenizer_train(&options, next_text, &list, &t, err));
    sg_tokenizer_free(t);
    return SG_OK;
}

static void test_no_memory_train(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(train_some, NULL) > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),           cmocka_unit_test(test_lost_bytes),
        cmocka_unit_test(test_added_tokens),    cmocka_unit_test(test_refused_models),
        cmocka_unit_test(test_refused_steps),   cmocka_unit_test(test_refused_patterns),
        cmocka_unit_test(test_refused_bytes),   cmocka_unit_test(test_multiplying_steps),
        cmocka_unit_test(test_runaway_pattern), cmocka_unit_test(test_merge_rule),
        cmocka_unit_test(test_long_run),        cmocka_unit_test(test_train_plain),
        cmocka_unit_test(test_train_odd),       cmocka_unit_test(test_train_stopped),
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_decode),
        cmocka_unit_test(test_no_memory_open),  cmocka_unit_test(test_no_memory_characters),
        cmocka_unit_test(test_no_memory_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
