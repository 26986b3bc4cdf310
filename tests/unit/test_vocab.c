// Tokenizers from plain arrays: merging by score against the rule itself, the same tokenizer
// written as tokenizer.json and read again, byte-level ones against those of tokenizer.json,
// llama2.c's file.
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "sgatlin.h"
#include "text/pretokenize.h"
#include "text/vocab.h"
#include "text/word_cuts.h"

enum { most_tokens = 1024, most_symbols = 256 };

typedef struct pieces {
    char text[most_tokens][24];
    sg_hf_string strings[most_tokens];
    float scores[most_tokens];
    int32_t types[most_tokens];
    sg_vocab vocab;
} pieces;

static void pieces_add(pieces *p, const char *text, float score, int32_t type)
{
    size_t i = p->vocab.count++;
    assert_true(i < most_tokens);
    snprintf(p->text[i], sizeof p->text[i], "%s", text);
    p->strings[i] = (sg_hf_string){p->text[i], strlen(p->text[i])};
    p->scores[i] = score;
    p->types[i] = type;
}

static int32_t pieces_find(const pieces *p, const char *text, size_t bytes)
{
    for (size_t i = 0; i < p->vocab.count; i++)
        if (p->types[i] == SG_TOKEN_NORMAL && p->strings[i].bytes == bytes &&
            memcmp(p->text[i], text, bytes) == 0)
            return (int32_t)i;
    return -1;
}

// <unk>, <s>, </s>, the bytes, then single characters with low scores.
static void pieces_begin(pieces *p, const char *const *letters)
{
    memset(p, 0, sizeof *p);
    p->vocab = (sg_vocab){.model = "llama",
                          .tokens = p->strings,
                          .types = p->types,
                          .scores = p->scores,
                          .space = "\u2581",
                          .add_space_prefix = true,
                          .bos = 1,
                          .eos = 2,
                          .pad = -1,
                          .unk = 0,
                          .add_bos = true};
    pieces_add(p, "<unk>", 0, SG_TOKEN_UNKNOWN);
    pieces_add(p, "<s>", 0, SG_TOKEN_CONTROL);
    pieces_add(p, "</s>", 0, SG_TOKEN_CONTROL);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        pieces_add(p, text, 0, SG_TOKEN_BYTE);
    }
    for (int i = 0; letters[i] != NULL; i++)
        pieces_add(p, letters[i], -1000 - (float)i, SG_TOKEN_NORMAL);
}

static sg_tokenizer *make(const sg_vocab *vocab)
{
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_from_vocab(vocab, "test", &tokenizer, &err) != SG_OK)
        fail_msg("%s", err.message);
    return tokenizer;
}

// The rule: of all adjacent symbols whose texts together are a token, join the two whose token
// scores highest, of equal ones the leftmost. `text` comes with its spaces marked and its prefix.
static size_t naive(const pieces *p, const char *text, int32_t *ids)
{
    size_t begin[most_symbols + 1], n = 0;
    for (size_t at = 0; text[at] != '\0'; at++) {
        if (((unsigned char)text[at] & 0xC0) == 0x80) continue;
        assert_true(n < most_symbols);
        begin[n++] = at;
    }
    begin[n] = strlen(text);
    for (;;) {
        size_t best = n;
        float score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t id = pieces_find(p, text + begin[i], begin[i + 2] - begin[i]);
            if (id < 0 || (best < n && p->scores[id] <= score)) continue;
            best = i;
            score = p->scores[id];
        }
        if (best == n) break;
        memmove(&begin[best + 1], &begin[best + 2], (n - best - 1) * sizeof *begin);
        n--;
    }
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t id = pieces_find(p, text + begin[i], begin[i + 1] - begin[i]);
        if (id >= 0) ids[count++] = id;
        for (size_t b = begin[i]; id < 0 && b < begin[i + 1]; b++)
            ids[count++] = 3 + (unsigned char)text[b];
    }
    return count;
}

static void check_ids(const sg_tokenizer *t, const char *text, const int32_t *expected,
                      size_t expected_count)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(sg_tokenizer_encode(t, text, strlen(text), NULL, &ids, &count, NULL), SG_OK);
    if (count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0)) {
        for (size_t i = 0; i < count; i++)
            fprintf(stderr, " %s", sg_tokenizer_token_text(t, ids[i]));
        fprintf(stderr, "\nexpected");
        for (size_t i = 0; i < expected_count; i++)
            fprintf(stderr, " %s", sg_tokenizer_token_text(t, expected[i]));
        fail_msg("\"%s\" differs", text);
    }
    char *back;
    size_t bytes;
    assert_int_equal(sg_tokenizer_decode(t, ids, count, NULL, &back, &bytes, NULL), SG_OK);
    assert_string_equal(back, text);
    sg_buffer_free(back);
    sg_buffer_free(ids);
}

// Writes and reads again.
static sg_tokenizer *through_json(const sg_tokenizer *t)
{
    char folder[] = "/tmp/sg_vocab_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    sg_error err;
    sg_tokenizer *again = NULL;
    if (sg_tokenizer_save(t, folder, &err) != SG_OK ||
        sg_tokenizer_open(folder, &again, &err) != SG_OK)
        fail_msg("%s", err.message);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    remove(path);
    remove(folder);
    assert_true(sg_tokenizer_hash(t) == sg_tokenizer_hash(again));
    return again;
}

static const char *const alphabet[] = {"a", "b", "c", "\u00e9", "\u2581", NULL};

// A text over the alphabet and a stranger; *marked is the same with its spaces marked and prefix.
static void random_text(uint64_t seed, uint64_t index, char *text, char *marked)
{
    static const char *const letters[] = {"a", "b", "c", "\u00e9", " ", "\u4e09", "a", "b"};
    size_t length = 1 + sg_rng_below(seed, 7, 100 * index, 14);
    if (index % 10 == 9) length += 60; // long enough for the heap
    text[0] = '\0';
    strcpy(marked, "\u2581");
    for (size_t i = 0; i < length; i++) {
        const char *letter = letters[sg_rng_below(seed, 8, 100 * index + i, 8)];
        strcat(text, letter);
        strcat(marked, letter[0] == ' ' ? "\u2581" : letter);
    }
}

// Random vocabularies, whose scores rise and fall without any order that training would give: some
// with equal scores, which cannot be written, and some without, which must come back the same.
static void test_score_rule(void **state)
{
    (void)state;
    static pieces p;
    size_t written = 0, refused = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        pieces_begin(&p, alphabet);
        bool ties = seed % 3 == 0;
        for (uint64_t k = 0; k < 40; k++) {
            char token[24] = "";
            size_t length = 2 + sg_rng_below(seed, 1, k, seed % 2 == 0 ? 2 : 5);
            for (size_t i = 0; i < length; i++)
                strcat(token, alphabet[sg_rng_below(seed, 2, 10 * k + i, seed % 5 == 0 ? 2 : 5)]);
            if (pieces_find(&p, token, strlen(token)) >= 0) continue;
            uint64_t draw = sg_rng_below(seed, 3, k, ties ? 6 : 1000);
            pieces_add(&p, token, -(float)draw - (ties ? 0 : (float)k / 64), SG_TOKEN_NORMAL);
        }
        sg_tokenizer *t = make(&p.vocab), *again = NULL;
        sg_error err;
        sg_status status = ties ? sg_tokenizer_save(t, "/nowhere/at/all", &err) : SG_OK;
        if (status == SG_ERR_UNSUPPORTED) {
            assert_non_null(strstr(err.message, "same score"));
            refused++;
        } else if (!ties) {
            again = through_json(t);
            written++;
        }
        for (uint64_t i = 0; i < 60; i++) {
            char text[512], marked[512];
            int32_t expected[4 * most_symbols];
            random_text(seed, i, text, marked);
            size_t count = naive(&p, marked, expected);
            check_ids(t, text, expected, count);
            if (again != NULL) check_ids(again, text, expected, count);
        }
        sg_tokenizer_free(again);
        sg_tokenizer_free(t);
    }
    assert_true(written == 100 && refused > 20);
}

static void test_roles(void **state)
{
    (void)state;
    static pieces p;
    pieces_begin(&p, alphabet);
    pieces_add(&p, "ab", -1, SG_TOKEN_NORMAL);
    pieces_add(&p, "<tool>", -1, SG_TOKEN_USER);
    pieces_add(&p, "abc", -2, SG_TOKEN_UNUSED);
    p.vocab.add_eos = true;
    sg_tokenizer *t = make(&p.vocab), *again = through_json(t);
    int32_t ab = pieces_find(&p, "ab", 2), mark = pieces_find(&p, "\u2581", 3);
    for (int round = 0; round < 2; round++, t = again) {
        assert_int_equal(sg_tokenizer_bos(t), 1);
        assert_int_equal(sg_tokenizer_eos(t), 2);
        assert_int_equal(sg_tokenizer_pad(t), -1);
        assert_true(sg_tokenizer_is_special(t, 1));
        assert_false(sg_tokenizer_is_special(t, ab + 1));
        const char text[] = "ab<tool>abc<s>";
        // A prefix for each stretch of text; the unused token stays unused.
        const int32_t expected[] = {1, mark, ab, ab + 1, mark, ab, pieces_find(&p, "c", 1), 1, 2};
        int32_t *ids;
        size_t count;
        sg_encode_options options = {.add_special = true, .parse_special = true};
        assert_int_equal(
            sg_tokenizer_encode(t, text, sizeof text - 1, &options, &ids, &count, NULL), SG_OK);
        assert_int_equal(count, 9);
        assert_memory_equal(ids, expected, sizeof expected);
        sg_buffer_free(ids);
        if (round == 0) sg_tokenizer_free(t);
    }
    sg_tokenizer_free(again);
    // Without the prefix.
    p.vocab.add_space_prefix = false;
    t = make(&p.vocab);
    check_ids(t, "ab ab", (const int32_t[]){ab, mark, ab}, 3);
    sg_tokenizer_free(t);
}

static void check_refused(const sg_vocab *vocab, sg_status status, const char *part)
{
    sg_tokenizer *t = (sg_tokenizer *)&vocab;
    sg_error err;
    int64_t live = sg_alloc_live();
    sg_status found = sg_tokenizer_from_vocab(vocab, "test", &t, &err);
    assert_int_equal(sg_alloc_live(), live);
    if (found != status || strstr(err.message, part) == NULL)
        fail_msg("found %s: %s; expected %s and \"%s\"", sg_status_name(found),
                 found == SG_OK ? "" : err.message, sg_status_name(status), part);
    assert_null(t);
}

static void test_refused(void **state)
{
    (void)state;
    static pieces p;
    const sg_status format = SG_ERR_FORMAT, unsupported = SG_ERR_UNSUPPORTED;
    pieces_begin(&p, alphabet);
    sg_vocab good = p.vocab, v;
    v = good, v.model = "rwkv", check_refused(&v, unsupported, "rwkv");
    v = good, v.count = 0, check_refused(&v, format, "0 tokens");
    v = good, v.scores = NULL, check_refused(&v, format, "scores");
    v = good, v.bos = 5000, check_refused(&v, format, "5000");
    v = good, v.eos = -2, check_refused(&v, format, "end token");
    v = good, v.bos = -1, check_refused(&v, format, "begin token");
    p.scores[300 - 40] = NAN, check_refused(&good, format, "token 260");
    p.scores[300 - 40] = 0;
    p.types[7] = 9, check_refused(&good, format, "found 9");
    p.types[7] = SG_TOKEN_BYTE;
    sg_hf_string keep = p.strings[8];
    p.strings[8] = p.strings[9], check_refused(&good, unsupported, "tokens 8 and 9");
    p.strings[8] = (sg_hf_string){"a\0b", 3}, check_refused(&good, format, "token 8");
    p.strings[8] = (sg_hf_string){"\xff", 1}, check_refused(&good, format, "token 8");
    p.strings[8] = (sg_hf_string){"", 0}, check_refused(&good, format, "token 8");
    char *huge = malloc(1 << 17);
    memset(huge, 'a', 1 << 17);
    int32_t type = p.types[8];
    p.types[8] = SG_TOKEN_NORMAL;
    p.strings[8] = (sg_hf_string){huge, 1 << 17}, check_refused(&good, format, "too long");
    free(huge);
    p.strings[8] = keep;
    p.types[8] = type;

    static const sg_hf_string tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"<e>", 3}};
    sg_vocab bytes = {
        .model = "gpt2", .tokens = tokens, .count = 4, .bos = -1, .eos = 3, .pad = -1};
    bytes.unk = -1;
    static const sg_hf_string bad[] = {{"a b c", 5}, {"ab", 2}, {" ab", 3}, {"a ", 2}, {"b a", 3}};
    bytes.merge_count = 1;
    for (size_t i = 0; i < 5; i++) {
        bytes.merges = &bad[i];
        check_refused(&bytes, format, "merge 0");
    }
    bytes.merge_count = 0;
    bytes.pre = "unheard-of", check_refused(&bytes, unsupported, "unheard-of");
    check_refused(&bytes, unsupported, "qwen2, deepseek-r1-qwen");
    check_refused(&bytes, unsupported, "exaone-moe"); // the last of the list
}

// ---- byte-level -------------------------------------------------------------------------------

static json_t *load_golden(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/tokenizer/%s.json", SG_TEST_DIR, name);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

// The arrays of a tokenizer.json with merges as pairs.
static void arrays_of(json_t *root, sg_vocab *v, char **merges)
{
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    json_t *list = json_object_get(model, "merges"), *added = json_object_get(root, "added_tokens");
    size_t count = json_object_size(vocab), at = 0;
    for (size_t i = 0; i < json_array_size(added); i++) {
        size_t id = (size_t)json_integer_value(json_object_get(json_array_get(added, i), "id"));
        if (id >= count) count = id + 1;
    }
    sg_hf_string *tokens = calloc(count, sizeof *tokens);
    int32_t *types = calloc(count, sizeof *types);
    const char *key;
    json_t *value;
    json_object_foreach(vocab, key, value)
    {
        size_t id = (size_t)json_integer_value(value);
        tokens[id] = (sg_hf_string){key, strlen(key)};
        types[id] = SG_TOKEN_NORMAL;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        json_t *token = json_array_get(added, i);
        size_t id = (size_t)json_integer_value(json_object_get(token, "id"));
        const char *content = json_string_value(json_object_get(token, "content"));
        tokens[id] = (sg_hf_string){content, strlen(content)};
        types[id] = SG_TOKEN_CONTROL;
    }
    size_t n = json_array_size(list);
    sg_hf_string *texts = calloc(n, sizeof *texts);
    *merges = malloc(n * 200);
    for (size_t i = 0; i < n; i++) {
        json_t *merge = json_array_get(list, i);
        char *text = *merges + at;
        int bytes = json_is_string(merge)
                        ? snprintf(text, 200, "%s", json_string_value(merge))
                        : snprintf(text, 200, "%s %s", json_string_value(json_array_get(merge, 0)),
                                   json_string_value(json_array_get(merge, 1)));
        texts[i] = (sg_hf_string){text, (size_t)bytes};
        at += (size_t)bytes;
    }
    *v = (sg_vocab){.model = "gpt2",
                    .tokens = tokens,
                    .count = count,
                    .types = types,
                    .merges = texts,
                    .merge_count = n,
                    .bos = -1,
                    .eos = -1,
                    .pad = -1,
                    .unk = -1};
}

static const char *const nasty[] = {
    "Hello  world's   12345 times\n\n  x=1;\t\r\n end ",
    "don't I'LL we\u2019re na\u00efve \u0416\u0443\u043a 3.14159 $5+3<=8^2~|",
    "\u5c0f\u732b\u5728\u82b1\u56ed 2026\u5e74 \U0001F600\U0001F469\u200D\U0001F467 <|im_end|>t",
    " \u00a0\u3000 a\u0301e\u0301 ...!!! \u0661\u0662\u0663 ___ #tag @me (x) [y] {z}",
    "'s'S'll 'LL' can't  \n \n\n\t",
    "qzx zzzz the the The fox."};

static void check_same(const sg_tokenizer *a, const sg_tokenizer *b)
{
    for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
        int32_t *ids, *others;
        size_t count, other_count;
        assert_int_equal(
            sg_tokenizer_encode(a, nasty[i], strlen(nasty[i]), NULL, &ids, &count, NULL), SG_OK);
        assert_int_equal(
            sg_tokenizer_encode(b, nasty[i], strlen(nasty[i]), NULL, &others, &other_count, NULL),
            SG_OK);
        assert_true(count > 3);
        for (size_t k = 0; k < count && k < other_count; k++)
            if (ids[k] != others[k])
                fail_msg("text %zu, token %zu: found %s, expected %s", i, k,
                         sg_tokenizer_token_text(a, ids[k]), sg_tokenizer_token_text(b, others[k]));
        assert_int_equal(count, other_count);
        sg_buffer_free(ids);
        sg_buffer_free(others);
    }
}

#define SPLIT(regex)                                                                               \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                                          \
    "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define GPT2_WORDS                                                                                 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)"
#define LEVEL                                                                                      \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":"      \
    "false}"

static void test_byte_level(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"llama3", "llama-v3"}, {"qwen2", "qwen2"},
                                           {"smollm", "smollm"},   {"falcon", "gpt-2"},
                                           {"falcon", "default"},  {"deepseek3", "deepseek-v3"}};
    for (size_t i = 0; i < 6; i++) {
        json_t *root = load_golden(cases[i][0]);
        // No golden file has GPT-2's plain words or the default's four cuts: spell them out.
        json_t *pre = NULL;
        if (i == 3)
            pre = json_loads("{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                             "\"trim_offsets\":true}",
                             0, NULL);
        if (i == 4)
            pre = json_loads(
                "{\"type\":\"Sequence\",\"pretokenizers\":[" SPLIT("[\\\\p{P}$+<=>^~|]+") "," SPLIT(
                    GPT2_WORDS) "," SPLIT("\\\\p{N}+") "," SPLIT("[0-9]{3}") "," LEVEL "]}",
                0, NULL);
        if (pre != NULL) json_object_set_new(root, "pre_tokenizer", pre);
        json_object_set_new(root, "normalizer", json_null()); // which the arrays cannot say
        char *json = json_dumps(root, 0), *merges;
        sg_vocab v;
        arrays_of(root, &v, &merges);
        v.pre = cases[i][1];
        sg_tokenizer *theirs, *ours = make(&v), *again = through_json(ours);
        sg_error err;
        if (sg_tokenizer_from_memory(json, strlen(json), cases[i][0], &theirs, &err) != SG_OK)
            fail_msg("%s", err.message);
        check_same(ours, theirs);
        check_same(ours, again);
        sg_tokenizer_free(theirs);
        sg_tokenizer_free(again);
        sg_tokenizer_free(ours);
        free((void *)v.tokens);
        free((void *)v.types);
        free((void *)v.merges);
        free(merges);
        free(json);
        json_decref(root);
    }
}

// Names that mean the same, and the expressions of other files that have names.
static void test_word_cuts(void **state)
{
    (void)state;
    static const char *const same[][2] = {{"olmo", "gpt-2"},
                                          {"phi-2", "gpt-2"},
                                          {"jina-v2-de", "gpt-2"},
                                          {"mpt", "gpt-2"},
                                          {"starcoder", "smollm"},
                                          {"command-r", "smollm"},
                                          {"llama3", "llama-bpe"},
                                          {"llama-v3", "llama-bpe"},
                                          {"pixtral", "llama-bpe"},
                                          {"lfm2", "llama-bpe"},
                                          {"falcon-h1", "llama-bpe"},
                                          {"deepseek-r1-qwen", "qwen2"},
                                          {"stablelm2", "qwen2"},
                                          {"hunyuan", "qwen2"},
                                          {"megrez", "qwen2"},
                                          {"llama4", "gpt-4o"},
                                          {"hunyuan-dense", "deepseek-v3"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        sg_hf_pre a[SG_WORDS_STEPS], b[SG_WORDS_STEPS];
        bool whole_a = false, whole_b = true;
        size_t n = sg_words_steps(same[i][0], a, &whole_a);
        assert_true(n > 0 && n == sg_words_steps(same[i][1], b, &whole_b));
        assert_int_equal(whole_a, whole_b);
        for (size_t k = 0; k < n; k++) {
            assert_ptr_equal(a[k].pattern.text, b[k].pattern.text);
            assert_true(a[k].kind == b[k].kind && a[k].use_regex == b[k].use_regex);
        }
        assert_int_equal(sg_words_begin(same[i][0]), sg_words_begin(same[i][1]));
    }
    static const char *const begin[] = {"llama-bpe", "llama-v3", "tekken", "chameleon"};
    static const char *const none[] = {"dbrx", "qwen2", "gpt-2", "default", "unheard-of"};
    for (size_t i = 0; i < 4; i++)
        assert_true(sg_words_begin(begin[i]));
    for (size_t i = 0; i < 5; i++)
        assert_false(sg_words_begin(none[i]));
    assert_false(sg_words_begin(NULL));
    // What files say otherwise, and what only looks alike.
    static const char *const files[][2] = {{"llama3", "llama-bpe"}, {"qwen2", "qwen2"},
                                           {"smollm", "smollm"},    {"deepseek3", "deepseek-v3"},
                                           {"o200k", "gpt-4o"},     {"nfkc", NULL},
                                           {"falcon", NULL},        {"bloom", NULL}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        json_t *root = load_golden(files[i][0]);
        char *json = json_dumps(root, 0);
        sg_hf_tokenizer *hf;
        assert_int_equal(sg_hf_tokenizer_parse(json, strlen(json), "test", &hf, NULL), SG_OK);
        const char *name = sg_words_name(hf);
        if ((name == NULL) != (files[i][1] == NULL) ||
            (name != NULL && strcmp(name, files[i][1]) != 0))
            fail_msg("%s: found %s", files[i][0], name == NULL ? "none" : name);
        sg_hf_tokenizer_free(hf);
        free(json);
        json_decref(root);
    }
}

// Every name of the table can be cut with, and a wrong one is refused with all of them.
static void test_every_cut(void **state)
{
    (void)state;
    sg_bytes names = {0};
    assert_true(sg_words_names(&names) && sg_bytes_add(&names, "", 1));
    size_t count = 0;
    for (char *name = strtok(names.data, ", "); name != NULL; name = strtok(NULL, ", ")) {
        sg_hf_pre steps[SG_WORDS_STEPS];
        bool whole;
        sg_cutter *cutter;
        sg_cutting c;
        sg_error err;
        size_t n = sg_words_steps(name, steps, &whole);
        assert_true(n > 0 && n <= SG_WORDS_STEPS);
        if (sg_cutter_new(steps, n, name, &cutter, &err) != SG_OK) fail_msg("%s", err.message);
        assert_int_equal(sg_cutting_open(cutter, &c, NULL), SG_OK);
        size_t words = 0;
        for (size_t i = 0; i < sizeof nasty / sizeof *nasty; i++) {
            assert_int_equal(sg_cutter_run(cutter, &c, nasty[i], strlen(nasty[i]), true, NULL),
                             SG_OK);
            size_t at = 0; // all of the text is in some word
            for (size_t w = 0; w < c.count; w++, at = c.words[w - 1].end)
                assert_int_equal(c.words[w].begin, at);
            assert_int_equal(at, strlen(nasty[i]));
            words += c.count;
        }
        assert_true(words > 10);
        sg_cutting_close(&c);
        sg_cutter_free(cutter);
        count++;
    }
    assert_true(count > 75);
    sg_free(names.data);
}

// ---- GGUF -------------------------------------------------------------------------------------

static sg_gguf_string gguf_string(sg_hf_string s)
{
    return (sg_gguf_string){s.text, s.bytes};
}

// A vocabulary as a GGUF file, then as a tokenizer. With `plain` only what has no default is
// written.
static sg_status through_gguf(const sg_vocab *v, bool plain, size_t scores, sg_tokenizer **t,
                              sg_error *err)
{
    static sg_gguf_string tokens[most_tokens], merges[4 * most_tokens];
    char folder[] = "/tmp/sg_vocab_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/v.gguf", folder);
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    sg_gguf_put_string(m, "general.architecture", "llama");
    sg_gguf_put_string(m, "tokenizer.ggml.model", v->model);
    assert_true(v->count <= most_tokens && v->merge_count <= 4 * most_tokens);
    for (size_t i = 0; i < v->count; i++)
        tokens[i] = gguf_string(v->tokens[i]);
    for (size_t i = 0; i < v->merge_count; i++)
        merges[i] = gguf_string(v->merges[i]);
    sg_gguf_put_strings(m, "tokenizer.ggml.tokens", tokens, v->count);
    if (scores > 0) sg_gguf_put_floats(m, "tokenizer.ggml.scores", v->scores, scores);
    if (v->types != NULL) sg_gguf_put_ints(m, "tokenizer.ggml.token_type", v->types, v->count);
    if (v->merges != NULL) sg_gguf_put_strings(m, "tokenizer.ggml.merges", merges, v->merge_count);
    if (v->pre != NULL) sg_gguf_put_string(m, "tokenizer.ggml.pre", v->pre);
    if (!plain) {
        sg_gguf_put_u32(m, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
        sg_gguf_put_u32(m, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
        sg_gguf_put_bool(m, "tokenizer.ggml.add_bos_token", v->add_bos);
        sg_gguf_put_bool(m, "tokenizer.ggml.add_eos_token", v->add_eos);
        sg_gguf_put_bool(m, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    }
    if (sg_gguf_write(path, SG_OUTPUT_REPLACE, m, NULL, 0, err) != SG_OK)
        fail_msg("%s", err->message);
    sg_gguf_metadata_free(m);
    int64_t live = sg_alloc_live();
    sg_status status = sg_tokenizer_open(path, t, err);
    if (status != SG_OK) assert_int_equal(sg_alloc_live(), live);
    remove(path);
    remove(folder);
    return status;
}

static void test_gguf(void **state)
{
    (void)state;
    static pieces p;
    pieces_begin(&p, alphabet);
    pieces_add(&p, "ab", -1, SG_TOKEN_NORMAL);
    pieces_add(&p, "\u2581ab", -2, SG_TOKEN_NORMAL);
    pieces_add(&p, "<tool>", -1, SG_TOKEN_USER);
    for (int plain = 0; plain < 2; plain++) {
        p.vocab.add_eos = plain == 0;
        p.vocab.add_space_prefix = plain == 1; // what a file means that does not say
        sg_tokenizer *ours = make(&p.vocab), *theirs;
        sg_error err;
        if (through_gguf(&p.vocab, plain == 1, p.vocab.count, &theirs, &err) != SG_OK)
            fail_msg("%s", err.message);
        assert_true(sg_tokenizer_hash(ours) ==
                    sg_tokenizer_hash(theirs)); // the same tokenizer.json
        assert_int_equal(sg_tokenizer_bos(theirs), 1);
        assert_int_equal(sg_tokenizer_eos(theirs), 2);
        check_same(ours, theirs);
        sg_tokenizer_free(ours);
        sg_tokenizer_free(theirs);
    }
    json_t *root = load_golden("smollm");
    char *merges;
    sg_vocab v;
    arrays_of(root, &v, &merges);
    v.pre = "smollm";
    v.bos = v.eos = 0;
    sg_tokenizer *ours = make(&v), *theirs;
    sg_error err;
    if (through_gguf(&v, false, 0, &theirs, &err) != SG_OK) fail_msg("%s", err.message);
    assert_true(sg_tokenizer_hash(ours) == sg_tokenizer_hash(theirs));
    check_same(ours, theirs);
    sg_tokenizer_free(ours);
    sg_tokenizer_free(theirs);
    // Ids that are no tokens are none, and a version line is no merge.
    sg_hf_string *more = calloc(v.merge_count + 1, sizeof *more);
    more[0] = (sg_hf_string){"#version: 0.2", 13};
    memcpy(more + 1, v.merges, v.merge_count * sizeof *more);
    sg_vocab odd = v;
    odd.merges = more;
    odd.merge_count++;
    odd.bos = -1; // written as 4294967295
    odd.eos = (int32_t)v.count;
    if (through_gguf(&odd, false, 0, &theirs, &err) != SG_OK) fail_msg("%s", err.message);
    v.bos = v.eos = -1;
    ours = make(&v);
    assert_true(sg_tokenizer_hash(ours) == sg_tokenizer_hash(theirs));
    assert_int_equal(sg_tokenizer_eos(theirs), sg_tokenizer_eos(ours));
    check_same(ours, theirs);
    sg_tokenizer_free(ours);
    sg_tokenizer_free(theirs);
    free(more);
    v.pre = "other-words";
    assert_int_equal(through_gguf(&v, false, 0, &theirs, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "other-words"));
    free((void *)v.tokens);
    free((void *)v.types);
    free((void *)v.merges);
    free(merges);
    json_decref(root);
    assert_int_equal(through_gguf(&p.vocab, false, 5, &theirs, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "\"tokenizer.ggml.scores\": found 5 entries"));
    assert_int_equal(through_gguf(&p.vocab, false, 0, &theirs, &err), SG_ERR_FORMAT);
    p.types[20] = -1;
    assert_int_equal(through_gguf(&p.vocab, false, p.vocab.count, &theirs, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "type of token 20"));
}

// ---- llama2.c ---------------------------------------------------------------------------------

typedef struct binary {
    unsigned char data[1 << 16];
    size_t bytes;
} binary;

static void binary_word(binary *b, uint32_t word)
{
    for (int i = 0; i < 4; i++)
        b->data[b->bytes++] = (unsigned char)(word >> (8 * i));
}

static void binary_token(binary *b, const char *text, float score)
{
    uint32_t bits;
    memcpy(&bits, &score, 4);
    binary_word(b, bits);
    binary_word(b, (uint32_t)strlen(text));
    memcpy(b->data + b->bytes, text, strlen(text));
    b->bytes += strlen(text);
}

// A file with tokens for a, b, space, ab and " ab".
static void binary_make(binary *b)
{
    b->bytes = 0;
    binary_word(b, 7);
    binary_token(b, "<unk>", 0);
    binary_token(b, "\n<s>\n", 0);
    binary_token(b, "\n</s>\n", 0);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        binary_token(b, text, 0);
    }
    binary_token(b, "ab", -1);
    binary_token(b, " ab", -2);
    binary_token(b, " ", -3);
    binary_token(b, "a", -4);
    binary_token(b, "b", -5);
}

static sg_status open_llama2c(void *user, sg_error *err)
{
    binary *b = user;
    sg_tokenizer *t;
    SG_TRY(sg_tokenizer_from_memory(b->data, b->bytes, "t.bin", &t, err));
    sg_tokenizer_free(t);
    return SG_OK;
}

static void test_llama2c(void **state)
{
    (void)state;
    static binary b;
    binary_make(&b);
    sg_tokenizer *t;
    sg_error err;
    if (sg_tokenizer_from_memory(b.data, b.bytes, "t.bin", &t, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_tokenizer_vocab_size(t), 264);
    assert_int_equal(sg_tokenizer_bos(t), 1);
    assert_int_equal(sg_tokenizer_eos(t), 2);
    sg_tokenizer *again = through_json(t);
    for (int round = 0; round < 2; round++) {
        sg_tokenizer *it = round == 0 ? t : again;
        check_ids(it, "ab ab", (const int32_t[]){260, 260}, 2);
        check_ids(it, " ab", (const int32_t[]){261, 260}, 2); // a space in front all the same
        check_ids(it, "\u00e9", (const int32_t[]){261, 3 + 0xC3, 3 + 0xA9}, 3);
        check_ids(it, "", NULL, 0);
    }
    sg_tokenizer_free(again);
    sg_tokenizer_free(t);
    assert_true(alloc_failure_loop(open_llama2c, &b) > 20);
    // Every shorter file ends inside a token, or has too few.
    for (size_t bytes = 0; bytes < b.bytes; bytes += bytes < 40 ? 1 : 13) {
        binary cut = b;
        cut.bytes = bytes;
        sg_status status = open_llama2c(&cut, &err);
        assert_true(status == SG_ERR_FORMAT || bytes > b.bytes - 50);
    }
    binary bad = b;
    bad.data[8] = 0xFF; // a length that is negative, one beyond what is announced, one of nothing
    bad.data[11] = 0xFF;
    assert_int_equal(open_llama2c(&bad, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "token 0"));
    bad = b;
    bad.data[8] = 8;
    assert_int_equal(open_llama2c(&bad, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "found a length of 8, expected 1 to 7"));
    bad.data[8] = 0;
    assert_int_equal(open_llama2c(&bad, &err), SG_ERR_FORMAT);
    bad = b;
    memcpy(memmem(bad.data, bad.bytes, "<0x01>", 6), "<0x02>", 6);
    assert_int_equal(sg_tokenizer_from_llama2c(bad.data, bad.bytes, "t.bin", &t, &err),
                     SG_ERR_FORMAT);
}

// The tokenizer of stories260K, by the rule itself.
static void test_stories260k(void **state)
{
    (void)state;
    const char *folder = getenv("SG_TEST_DATA") != NULL ? getenv("SG_TEST_DATA") : SG_DATA_DIR;
    char path[1024];
    snprintf(path, sizeof path, "%s/models/stories260K/tok512.bin", folder);
    sg_tokenizer *t;
    sg_error err;
    sg_status status = sg_tokenizer_open(path, &t, &err);
    if (status == SG_ERR_NOT_FOUND) {
        print_message("%s is missing\n", path);
        skip();
    }
    if (status != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_tokenizer_vocab_size(t), 512);
    static pieces p;
    memset(&p, 0, sizeof p);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 4, SEEK_SET);
    float score;
    int32_t length;
    while (fread(&score, 4, 1, file) == 1 && fread(&length, 4, 1, file) == 1) {
        char text[24] = "";
        assert_true(length < 24 && fread(text, (size_t)length, 1, file) == 1);
        pieces_add(&p, text, score, p.vocab.count < 259 ? SG_TOKEN_CONTROL : SG_TOKEN_NORMAL);
    }
    fclose(file);
    static const char *const texts[] = {
        "Once upon a time, there was a little girl named Lily.",
        "She loved to play.  One day,\nshe saw a \"big\", ball \u00e9\U0001F600!", " leading",
        "ssssssss   tttt   eeee", "the the thethe  n't I'm"};
    sg_tokenizer *again = through_json(t);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char spaced[256];
        int32_t expected[512];
        snprintf(spaced, sizeof spaced, " %s", texts[i]);
        size_t count = naive(&p, spaced, expected);
        check_ids(t, texts[i], expected, count);
        check_ids(again, texts[i], expected, count);
    }
    sg_tokenizer_free(again);
    sg_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_score_rule),  cmocka_unit_test(test_roles),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_word_cuts),   cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_gguf),        cmocka_unit_test(test_llama2c),
        cmocka_unit_test(test_stories260k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
