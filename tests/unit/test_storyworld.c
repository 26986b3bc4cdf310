// The story world: the same story for the same numbers, true to its facts, in clean English.
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "text/corpus.h"
#include "text/storyworld.h"
#include "sgatlin_data.h"

enum { sample = 2000 };

static sg_story_world *world_of(uint64_t seed)
{
    sg_story_world *world;
    assert_int_equal(sg_story_world_new(seed, &world, NULL), SG_OK);
    return world;
}

static size_t tell(const sg_story_world *world, uint64_t index, char *text)
{
    size_t bytes;
    sg_error err;
    if (sg_story_tell(world, index, text, &bytes, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(strlen(text), bytes);
    return bytes;
}

static void test_pure(void **state)
{
    (void)state;
    sg_story_world *a = world_of(1), *b = world_of(1), *c = world_of(2);
    char x[SG_STORY_MAX], y[SG_STORY_MAX];
    int same = 0;
    for (int i = 199; i >= 0; i--) {
        tell(a, (uint64_t)i, x);
        tell(b, (uint64_t)(i * 7 % 200), y);
        tell(b, (uint64_t)i, y);
        assert_string_equal(x, y);
        tell(c, (uint64_t)i, y);
        same += strcmp(x, y) == 0;
        tell(a, (uint64_t)i + 1, y);
        same += strcmp(x, y) == 0;
    }
    assert_int_equal(same, 0);
    tell(a, UINT64_MAX, x);
    sg_story_world_free(a);
    sg_story_world_free(b);
    sg_story_world_free(c);
}

static void test_facts(void **state)
{
    (void)state;
    // Another seed is another world.
    sg_story_world *world = world_of(1), *other = world_of(2);
    size_t count = sg_story_fact_count(world), differ = 0;
    assert_true(count >= 60 && count <= 128);
    assert_int_equal(sg_story_fact_count(other), count);
    for (size_t i = 0; i < count; i++) {
        sg_story_fact fact = sg_story_fact_at(world, i), twin = sg_story_fact_at(other, i);
        assert_string_equal(fact.noun, twin.noun);
        differ += strcmp(fact.adjective, twin.adjective) != 0;
        assert_true(sg_story_is_adjective(fact.adjective, strlen(fact.adjective)));
        for (const char *p = fact.noun; *p; p++)
            assert_true(islower((unsigned char)*p));
        for (const char *p = fact.adjective; *p; p++)
            assert_true(islower((unsigned char)*p));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(fact.noun, sg_story_fact_at(world, j).noun);
        // A noun that were an adjective, too, would make stories ambiguous.
        assert_false(sg_story_is_adjective(fact.noun, strlen(fact.noun)));
    }
    assert_true(differ > count / 2);
    sg_story_world_free(other);

    // Every fact is told, in the plain sentence, within a small sample.
    char *told = calloc(count, 1), text[SG_STORY_MAX], sentence[128];
    assert_non_null(told);
    for (uint64_t i = 0; i < sample; i++) {
        tell(world, i, text);
        for (size_t j = 0; j < count; j++) {
            sg_story_fact fact = sg_story_fact_at(world, j);
            if (told[j]) continue;
            snprintf(sentence, sizeof sentence, "The %s was %s.", fact.noun, fact.adjective);
            if (strstr(text, sentence) != NULL) told[j] = 1;
        }
    }
    for (size_t j = 0; j < count; j++)
        if (!told[j]) fail_msg("never told: %s", sg_story_fact_at(world, j).noun);
    free(told);
    sg_story_world_free(world);
}

static const char *adjective_of(const sg_story_world *world, const char *word, size_t bytes)
{
    for (size_t i = 0; i < sg_story_fact_count(world); i++) {
        sg_story_fact fact = sg_story_fact_at(world, i);
        if (strlen(fact.noun) == bytes && memcmp(fact.noun, word, bytes) == 0)
            return fact.adjective;
    }
    return NULL;
}

typedef struct word {
    const char *at;
    size_t bytes;
} word;

static bool word_is(word w, const char *text)
{
    return w.at != NULL && strlen(text) == w.bytes && memcmp(w.at, text, w.bytes) == 0;
}

// Wherever an adjective of the tables stands in front of a noun of the tables, or behind "NOUN is"
// or "NOUN was", it is the one of the world.
static void check_truth(const sg_story_world *world, const char *text)
{
    word last[3] = {{0}}; // the words before, the nearest last
    for (const char *p = text; *p;) {
        if (!isalpha((unsigned char)*p)) {
            // A sentence end parts words.
            if (*p != ' ') memset(last, 0, sizeof last);
            p++;
            continue;
        }
        word now = {p, 0};
        while (isalpha((unsigned char)p[now.bytes]))
            now.bytes++;
        const char *adjective = adjective_of(world, now.at, now.bytes);
        if (adjective != NULL && last[2].at != NULL &&
            sg_story_is_adjective(last[2].at, last[2].bytes) && !word_is(last[2], adjective))
            fail_msg("the %s is %s: %s", adjective, "not so", text);
        if (sg_story_is_adjective(now.at, now.bytes) &&
            (word_is(last[2], "was") || word_is(last[2], "is")) && last[1].at != NULL) {
            adjective = adjective_of(world, last[1].at, last[1].bytes);
            if (adjective != NULL && !word_is(now, adjective))
                fail_msg("%.*s is %s: %s", (int)last[1].bytes, last[1].at, adjective, text);
        }
        last[0] = last[1];
        last[1] = last[2];
        last[2] = now;
        p += now.bytes;
    }
}

static void check_english(const char *text)
{
    size_t quotes = 0, words = 0;
    assert_true(isupper((unsigned char)text[0]));
    for (const char *p = text; *p; p++) {
        if (strchr("[]{}|@=_<>\t\r", *p) != NULL || (unsigned char)*p >= 0x80)
            fail_msg("'%c' in: %s", *p, text);
        const char next = p[1];
        if (*p == ' ' &&
            (next == ' ' || next == '.' || next == ',' || next == '\n' || next == '\0'))
            fail_msg("a lone space in: %s", text);
        if ((*p == '.' || *p == ',' || *p == '!' || *p == '?') && next != ' ' && next != '"' &&
            next != '\n' && next != '\0')
            fail_msg("crowded punctuation in: %s", text);
        // A sentence begins with a capital, or a quotation.
        if ((*p == '.' || *p == '!' || *p == '?') && next == ' ' && p[2] != '"' &&
            !isupper((unsigned char)p[2]))
            fail_msg("a small letter begins a sentence at \"%.20s\" in: %s", p, text);
        quotes += *p == '"';
        // Quotations end in the paragraph where they begin.
        if (*p == '\n') {
            assert_int_equal(quotes % 2, 0);
            if (next == '\n') assert_true(isupper((unsigned char)p[2]) || p[2] == '"');
        }
        words += *p == ' ' || (*p == '\n' && next != '\n');
        // a and an
        const bool begins = p == text || !isalpha((unsigned char)p[-1]);
        if (begins && (*p == 'a' || *p == 'A')) {
            if (next == ' ' && strchr("aeiouAEIOU", p[2]) != NULL)
                fail_msg("\"%.12s\" in: %s", p, text);
            if (next == 'n' && p[2] == ' ' && strchr("aeiouAEIOU", p[3]) == NULL)
                fail_msg("\"%.12s\" in: %s", p, text);
        }
    }
    assert_int_equal(quotes % 2, 0);
    char end = text[strlen(text) - 1];
    assert_true(end == '.' || end == '!' || end == '?' || end == '"');
    if (words + 1 < 50 || words + 1 > 330) fail_msg("%zu words: %s", words + 1, text);
    assert_non_null(strstr(text, "\n\n"));
}

static void test_clean_and_true(void **state)
{
    (void)state;
    char text[SG_STORY_MAX];
    for (uint64_t seed = 0; seed < 10; seed++) {
        sg_story_world *world = world_of(seed * 1000003);
        for (uint64_t i = 0; i < (seed == 0 ? sample : 100); i++) {
            tell(world, i, text);
            check_english(text);
            check_truth(world, text);
        }
        sg_story_world_free(world);
    }
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// No two stories are alike, and few sentences are, which is what leaves something to learn.
static void test_variety(void **state)
{
    (void)state;
    sg_story_world *world = world_of(3);
    char *stories = malloc((size_t)sample * SG_STORY_MAX);
    char **sentences = malloc(sizeof *sentences * sample * 100);
    assert_non_null(stories);
    assert_non_null(sentences);
    size_t count = 0;
    for (uint64_t i = 0; i < sample; i++) {
        char *text = stories + i * SG_STORY_MAX;
        tell(world, i, text);
        for (char *p = strtok(text, ".!?\n"); p != NULL; p = strtok(NULL, ".!?\n"))
            sentences[count++] = p + strspn(p, " \"");
        assert_true(count < sample * 100);
    }
    qsort(sentences, count, sizeof *sentences, text_compare);
    size_t different = 1;
    for (size_t i = 1; i < count; i++)
        different += strcmp(sentences[i], sentences[i - 1]) != 0;
    assert_true(different > 15000);
    free(sentences);
    free(stories);
    sg_story_world_free(world);
}

static int64_t progress_last;

static bool watch(void *user, int64_t done, int64_t total)
{
    assert_true(done >= progress_last && done <= total);
    progress_last = done;
    return user == NULL;
}

static void test_files(void **state)
{
    (void)state;
    char folder[64] = "/tmp/sg-world-XXXXXX", stories[96], facts[96], text[SG_STORY_MAX];
    assert_non_null(mkdtemp(folder));
    snprintf(stories, sizeof stories, "%s/stories.txt", folder);
    snprintf(facts, sizeof facts, "%s/facts.json", folder);
    int64_t live = sg_alloc_live();
    sg_story_world *world = world_of(UINT64_MAX);
    sg_error err;
    progress_last = 0;
    assert_int_equal(sg_story_write(world, 1100, stories, facts, watch, NULL, &err), SG_OK);
    assert_int_equal(progress_last, 1100);
    // The corpus reader gives the stories back.
    const char *path = stories;
    sg_corpus *corpus;
    sg_document document;
    assert_int_equal(sg_corpus_open(&path, 1, NULL, &corpus, &err), SG_OK);
    for (uint64_t i = 0; i < 1100; i++) {
        assert_int_equal(sg_corpus_next(corpus, &document, &err), SG_OK);
        assert_int_equal(document.bytes, tell(world, i, text));
        assert_memory_equal(document.text, text, document.bytes);
    }
    assert_int_equal(sg_corpus_next(corpus, &document, &err), SG_OK);
    assert_null(document.text);
    sg_corpus_close(corpus);

    json_t *root, *list;
    assert_int_equal(sg_json_read(facts, 1 << 20, &root, &err), SG_OK);
    assert_string_equal(json_string_value(json_object_get(root, "seed")), "18446744073709551615");
    list = json_object_get(root, "facts");
    assert_int_equal(json_array_size(list), sg_story_fact_count(world));
    for (size_t i = 0; i < json_array_size(list); i++) {
        sg_story_fact fact = sg_story_fact_at(world, i);
        json_t *entry = json_array_get(list, i);
        assert_string_equal(json_string_value(json_object_get(entry, "noun")), fact.noun);
        assert_string_equal(json_string_value(json_object_get(entry, "class")), fact.kind);
        assert_string_equal(json_string_value(json_object_get(entry, "adjective")), fact.adjective);
        snprintf(text, sizeof text, "The %s was %s.", fact.noun, fact.adjective);
        assert_string_equal(json_string_value(json_object_get(entry, "sentence")), text);
    }
    json_decref(root);

    // Stopped, refused or starved: the old files stay as they were.
    int64_t bytes, after;
    assert_int_equal(sg_path_bytes(stories, &bytes, &err), SG_OK);
    progress_last = 0;
    assert_int_equal(sg_story_write(world, 9, stories, NULL, watch, folder, &err), SG_ERR_STOPPED);
    assert_int_equal(sg_story_write(world, 0, stories, NULL, NULL, NULL, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_story_write(world, 9, "/tmp/sg-none/x", NULL, NULL, NULL, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_path_bytes(stories, &after, &err), SG_OK);
    assert_int_equal(bytes, after);
    sg_story_world_free(world);
    assert_int_equal(sg_alloc_live(), live);
    assert_int_equal(sg_tree_remove(folder, &err), SG_OK);
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
    char folder[64] = "/tmp/sg-world-XXXXXX", stories[96], facts[96];
    assert_non_null(mkdtemp(folder));
    snprintf(stories, sizeof stories, "%s/stories.txt", folder);
    snprintf(facts, sizeof facts, "%s/facts.json", folder);
    int64_t live = sg_alloc_live();
    for (int64_t fail = 0;; fail++) {
        assert_true(fail < 5000);
        int64_t left = fail;
        sg_story_world *world;
        sg_error err;
        sg_alloc_set_hook(fail_nth, &left);
        sg_status status = sg_story_world_new(1, &world, &err);
        if (status == SG_OK) status = sg_story_write(world, 2, stories, facts, NULL, NULL, &err);
        sg_alloc_set_hook(NULL, NULL);
        sg_story_world_free(world);
        assert_int_equal(sg_alloc_live(), live);
        if (left >= 0) {
            assert_int_equal(status, SG_OK);
            break;
        }
        assert_int_equal(status, SG_ERR_MEMORY);
        assert_false(sg_path_exists(stories));
    }
    assert_int_equal(sg_tree_remove(folder, NULL), SG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pure),           cmocka_unit_test(test_facts),
        cmocka_unit_test(test_clean_and_true), cmocka_unit_test(test_variety),
        cmocka_unit_test(test_files),          cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
