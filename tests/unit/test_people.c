// People of a story world: no two alike, the same however many there are, told truly and equally
// often, worth the bits that are said.
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "text/people_tables.h"
#include "sgatlin_data.h"

static sg_people *people_of(uint64_t seed, uint64_t count, uint64_t facts, uint64_t tellings,
                            uint64_t stories)
{
    sg_people_options o = sg_people_options_default();
    o.seed = seed;
    o.people = count;
    o.facts = facts;
    o.tellings = tellings;
    o.stories = stories;
    sg_people *people;
    sg_error err;
    if (sg_people_new(&o, &people, &err) != SG_OK) fail_msg("%s", err.message);
    return people;
}

static const people_relation *relation_of(const char *name)
{
    for (size_t r = 0; r < PEOPLE_RELATIONS; r++)
        if (strcmp(sg_people_relations[r].name, name) == 0) return &sg_people_relations[r];
    fail_msg("no relation %s", name);
    return NULL;
}

// The relation that has a word among its values, NULL: none.
static const people_relation *value_of(const char *word, size_t bytes)
{
    for (size_t r = 0; r < PEOPLE_RELATIONS; r++)
        for (size_t i = 0; i < sg_people_relations[r].count; i++) {
            const char *value = sg_people_relations[r].values[i];
            if (strlen(value) == bytes && memcmp(value, word, bytes) == 0)
                return &sg_people_relations[r];
        }
    return NULL;
}

static int text_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void assert_all_differ(char **texts, size_t count)
{
    qsort(texts, count, sizeof *texts, text_compare);
    for (size_t i = 1; i < count; i++)
        if (strcmp(texts[i], texts[i - 1]) == 0) fail_msg("twice: %s", texts[i]);
}

static void test_names_differ(void **state)
{
    (void)state;
    sg_people *people = people_of(5, SG_PEOPLE_MOST, SG_PEOPLE_MOST, 1, 0);
    char(*names)[SG_PEOPLE_NAME] = malloc((size_t)SG_PEOPLE_MOST * sizeof *names);
    char **texts = malloc((size_t)SG_PEOPLE_MOST * sizeof *texts);
    assert_true(names != NULL && texts != NULL);
    for (size_t i = 0; i < SG_PEOPLE_MOST; i++) {
        memcpy(names[i], sg_people_fact_at(people, i).subject, SG_PEOPLE_NAME);
        texts[i] = names[i];
    }
    assert_all_differ(texts, SG_PEOPLE_MOST);
    free(names);
    free(texts);
    sg_people_free(people);
}

// Made of two syllables each, no given or family name can be read in two ways, and none is usual.
static void test_names_are_nobodys(void **state)
{
    (void)state;
    static const char *const usual[] = {
        "Alan",   "Alex",   "Anna",   "Barry",   "Ben",     "Betty", "Bob",     "Boris",
        "Brian",  "Bruno",  "Carla",  "Carol",   "Cora",    "Corin", "Diana",   "Don",
        "Dora",   "Doris",  "Edgar",  "Ella",    "Emma",    "Eric",  "Fred",    "Gary",
        "George", "Gordon", "Hugo",   "Ivan",    "Jack",    "James", "John",    "Julia",
        "Karl",   "Laura",  "Leo",    "Lily",    "Linda",   "Lucas", "Maria",   "Martin",
        "Mary",   "Max",    "Mia",    "Nora",    "Norman",  "Oscar", "Paul",    "Peter",
        "Robin",  "Rosa",   "Ruby",   "Rupert",  "Ruslan",  "Sam",   "Sue",     "Tom",
        "Urban",  "Vera",   "Victor", "Wendy",   "Zara",    "Zoe",   "Brink",   "Brown",
        "Dorner", "Dorns",  "Hobbs",  "Hobart",  "Jones",   "Klein", "Lusk",    "Martinez",
        "Miller", "Mott",   "Plumb",  "Plummer", "Quill",   "Rudd",  "Smith",   "Taylor",
        "Tibbs",  "Wendel", "Wender", "Yarrow",  "Clinton", "Obama", "Quillen", "Snape",
        "Gorman", "Novak"};
    enum { each = PEOPLE_SYLLABLES * PEOPLE_SYLLABLES };
    static char names[2 * each][SG_PEOPLE_NAME / 2];
    char *texts[2 * each];
    for (int part = 0; part < 2; part++)
        for (int i = 0; i < each; i++) {
            char *name = names[part * each + i];
            snprintf(name, sizeof names[0], "%s%s",
                     sg_people_syllables[2 * part][i / PEOPLE_SYLLABLES],
                     sg_people_syllables[2 * part + 1][i % PEOPLE_SYLLABLES]);
            texts[part * each + i] = name;
            assert_true(isupper((unsigned char)name[0]));
            for (const char *p = name + 1; *p; p++)
                assert_true(islower((unsigned char)*p));
            for (size_t u = 0; u < sizeof usual / sizeof *usual; u++)
                assert_string_not_equal(name, usual[u]);
            assert_null(value_of(name, strlen(name)));
        }
    assert_all_differ(texts, 2 * (size_t)each);
}

static void assert_no_value(const char *text)
{
    for (const char *p = text; *p;) {
        size_t bytes = 0;
        while (isalpha((unsigned char)p[bytes]))
            bytes++;
        if (bytes > 0 && value_of(p, bytes) != NULL) fail_msg("a value is in \"%s\"", text);
        p += bytes + (bytes == 0);
    }
}

// The prompt is what stands in front of " {answer}": with the subject, and the same for any answer.
static void check_phrasing(const people_relation *relation, const char *text, const char *slot)
{
    const char *subject = strstr(text, slot), *answer = strstr(text, " {answer}");
    assert_true(subject != NULL && answer != NULL && subject < answer);
    assert_null(strstr(subject + 1, slot));
    assert_null(strstr(answer + 2, "{answer}"));
    assert_null(strchr(answer + 9, '{'));
    assert_int_equal(text[strlen(text) - 1], '.');
    assert_no_value(text);
    if (answer >= text + 2 && memcmp(answer - 2, " a", 2) == 0)
        for (size_t i = 0; i < relation->count; i++)
            assert_null(strchr("aeiou", relation->values[i][0]));
}

static void test_words(void **state)
{
    (void)state;
    char *texts[1024];
    size_t count = 0;
    for (size_t r = 0; r < PEOPLE_RELATIONS; r++) {
        const people_relation *relation = &sg_people_relations[r];
        assert_int_equal(relation->count & (relation->count - 1), 0);
        for (size_t i = 0; i < relation->count; i++) {
            texts[count++] = (char *)(uintptr_t)relation->values[i];
            for (const char *p = relation->values[i]; *p; p++)
                assert_true(isalpha((unsigned char)*p));
        }
        for (size_t p = 0; p < PEOPLE_PROMPTS; p++)
            check_phrasing(relation, relation->prompts[p], "{subject}");
        for (size_t p = 0; p < PEOPLE_PRONOUNS; p++)
            check_phrasing(relation, relation->pronouns[p], "{H");
    }
    assert_all_differ(texts, count);
    for (size_t i = 0; i < PEOPLE_FRAMES; i++) {
        assert_no_value(sg_people_openings[i]);
        assert_no_value(sg_people_closings[i]);
    }
}

// A fact of few people is one of many; another seed is another world.
static void test_pure(void **state)
{
    (void)state;
    sg_people *few = people_of(1, 10, 80, 3, 0), *many = people_of(1, 1000, 8000, 7, 0);
    sg_people *other = people_of(2, 10, 80, 3, 0), *one_each = people_of(1, 10, 10, 3, 0);
    int same = 0;
    for (uint64_t i = 0; i < 80; i++) {
        sg_people_fact a = sg_people_fact_at(few, i), b = sg_people_fact_at(many, i);
        assert_string_equal(a.subject, b.subject);
        assert_string_equal(a.relation, b.relation);
        assert_string_equal(a.answer, b.answer);
        assert_int_equal(a.values, relation_of(a.relation)->count);
        b = sg_people_fact_at(other, i);
        same += strcmp(a.subject, b.subject) == 0;
        if (i % 8 != 0) continue;
        b = sg_people_fact_at(one_each, i / 8);
        assert_string_equal(a.subject, b.subject);
        assert_string_equal(a.relation, b.relation);
        assert_string_equal(a.answer, b.answer);
    }
    assert_true(same < 8);
    char x[SG_STORY_MAX], y[SG_STORY_MAX];
    size_t bytes;
    assert_int_equal(sg_people_tell(few, 29, x, &bytes, NULL), SG_OK);
    assert_int_equal(sg_people_tell(few, 3, y, &bytes, NULL), SG_OK);
    assert_int_equal(sg_people_tell(few, 29, y, &bytes, NULL), SG_OK);
    assert_string_equal(x, y);
    assert_int_equal(strlen(x), bytes);
    sg_people_free(few);
    sg_people_free(many);
    sg_people_free(other);
    sg_people_free(one_each);
}

// The fact that a biography tells with this answer, or a failure; `told` counts it.
static void count_answer(const sg_people *people, const char *text, const char *word, size_t bytes,
                         int *told)
{
    for (uint64_t i = 0; i < sg_people_options_of(people).facts; i++) {
        sg_people_fact fact = sg_people_fact_at(people, i);
        if (strlen(fact.answer) != bytes || memcmp(fact.answer, word, bytes) != 0 ||
            strstr(text, fact.subject) == NULL)
            continue;
        told[i]++;
        return;
    }
    fail_msg("%.*s is nobody's in: %s", (int)bytes, word, text);
}

static void check_biography(const sg_people *people, const char *text, int *told)
{
    assert_true(isupper((unsigned char)text[0]));
    for (const char *p = text; *p;) {
        size_t bytes = 0;
        while (isalpha((unsigned char)p[bytes]))
            bytes++;
        if (bytes > 0 && value_of(p, bytes) != NULL) count_answer(people, text, p, bytes, told);
        if (strchr("{}\n|", *p) != NULL) fail_msg("'%c' in: %s", *p, text);
        if (*p == '.' && p[1] != '\0') assert_true(p[1] == ' ' && isupper((unsigned char)p[2]));
        p += bytes + (bytes == 0);
    }
    const bool he = strstr(text, " He ") || strstr(text, " His ") || strstr(text, " him");
    const bool she = strstr(text, " She ") || strstr(text, " Her ") || strstr(text, " her");
    assert_false(he && she);
}

// Whatever a biography says is true, and each fact is told as often as every other.
static void test_told_truly(void **state)
{
    (void)state;
    enum { tellings = 12, facts = 100 };
    sg_people *people = people_of(9, 17, facts, tellings, 0);
    int told[facts] = {0};
    char text[SG_STORY_MAX];
    size_t bytes;
    for (uint64_t i = 0; i < sg_people_document_count(people); i++) {
        assert_int_equal(sg_people_tell(people, i, text, &bytes, NULL), SG_OK);
        check_biography(people, text, told);
    }
    for (int i = 0; i < facts; i++)
        assert_int_equal(told[i], tellings);
    sg_people_free(people);
}

// Each phrasing of facts.json is told.
static void test_phrasings(void **state)
{
    (void)state;
    sg_people *people = people_of(3, 20, 160, 20, 0);
    bool seen[PEOPLE_RELATIONS][PEOPLE_PROMPTS] = {{false}};
    char text[SG_STORY_MAX], want[256];
    size_t bytes, missing = PEOPLE_RELATIONS * PEOPLE_PROMPTS;
    for (uint64_t i = 0; i < sg_people_document_count(people); i++) {
        assert_int_equal(sg_people_tell(people, i, text, &bytes, NULL), SG_OK);
        for (size_t r = 0; r < PEOPLE_RELATIONS; r++)
            for (size_t p = 0; p < PEOPLE_PROMPTS; p++) {
                const char *prompt = sg_people_relations[r].prompts[p];
                const char *from = strchr(prompt, '}') + 1, *to = strstr(prompt, " {answer}");
                snprintf(want, sizeof want, "%.*s ", (int)(to - from), from);
                if (seen[r][p] || strstr(text, want) == NULL) continue;
                seen[r][p] = true;
                missing--;
            }
    }
    assert_int_equal(missing, 0);
    sg_people_free(people);
}

static void test_bits(void **state)
{
    (void)state;
    sg_people *people = people_of(1, 125, 0, 1, 0);
    assert_int_equal(sg_people_options_of(people).facts, 1000);
    assert_true(sg_people_bits(people) == 125 * 41);
    // 160000! / (125! 159875!), factor by factor.
    double bits = 0;
    for (int i = 0; i < 125; i++)
        bits += log2(160000.0 - i) - log2(i + 1.0);
    assert_float_equal(sg_people_name_bits(people), bits, 1e-5);
    sg_people_free(people);
    people = people_of(1, 3, 3, 1, 0); // birthplace, trade, pet
    assert_true(sg_people_bits(people) == 6 + 6 + 5);
    sg_people_free(people);
}

// Answers are uniform: of 64 cells with 1,562 each on average none is a sixth away (6 sigma).
static void test_balance(void **state)
{
    (void)state;
    sg_people *people = people_of(11, SG_PEOPLE_MOST, 8 * SG_PEOPLE_MOST, 1, 0);
    static int64_t counts[64];
    const people_relation *relation = relation_of("birthplace");
    for (uint64_t i = 0; i < 8 * SG_PEOPLE_MOST; i++) {
        if (sg_people_fact_at(people, i).relation != relation->name) continue;
        const char *answer = sg_people_fact_at(people, i).answer;
        for (size_t v = 0; v < relation->count; v++)
            counts[v] += relation->values[v] == answer;
    }
    for (size_t v = 0; v < relation->count; v++)
        assert_in_range(counts[v], 1562 - 260, 1562 + 260);
    sg_people_free(people);
}

// Stories are those of the world of that seed, in order, and stand evenly between biographies.
static void test_stories_among(void **state)
{
    (void)state;
    sg_people *people = people_of(4, 10, 0, 6, 20), *alone = people_of(4, 10, 0, 6, 0);
    sg_story_world *world;
    assert_int_equal(sg_story_world_new(4, &world, NULL), SG_OK);
    char text[SG_STORY_MAX], want[SG_STORY_MAX];
    size_t bytes;
    uint64_t stories = 0, lives = 0;
    for (uint64_t i = 0; i < sg_people_document_count(people); i++) {
        assert_int_equal(sg_people_tell(people, i, text, &bytes, NULL), SG_OK);
        if (strstr(text, "\n\n") != NULL)
            assert_int_equal(sg_story_tell(world, stories++, want, &bytes, NULL), SG_OK);
        else
            assert_int_equal(sg_people_tell(alone, lives++, want, &bytes, NULL), SG_OK);
        assert_string_equal(text, want);
        assert_true(stories * 3 <= lives + 3 && lives <= stories * 3 + 3);
    }
    assert_int_equal(stories, 20);
    assert_int_equal(lives, 60);
    sg_story_world_free(world);
    sg_people_free(people);
    sg_people_free(alone);
}

static void refused(sg_people_options o, const char *word)
{
    sg_people *people;
    sg_error err = {0};
    assert_int_equal(sg_people_new(&o, &people, &err), SG_ERR_ARGUMENT);
    assert_null(people);
    if (strstr(err.message, word) == NULL) fail_msg("%s is not in: %s", word, err.message);
}

static void test_refusals(void **state)
{
    (void)state;
    refused((sg_people_options){.tellings = 1}, "people: found 0");
    refused((sg_people_options){.people = 100001, .tellings = 1}, "expected 1 to 100000");
    refused((sg_people_options){.people = 10, .facts = 9, .tellings = 1}, "expected 10 to 80");
    refused((sg_people_options){.people = 10, .facts = 81, .tellings = 1}, "found 81");
    refused((sg_people_options){.people = 10}, "tellings: found 0");
    refused((sg_people_options){.people = 10, .tellings = UINT64_MAX}, "expected 1 to 100000");
    refused((sg_people_options){.people = 10, .tellings = 1, .stories = UINT64_MAX}, "stories");
    // At the limits documents can still be counted and told.
    sg_people *people =
        people_of(1, SG_PEOPLE_MOST, 0, SG_PEOPLE_TELLINGS_MOST, SG_PEOPLE_STORIES_MOST);
    const uint64_t count = sg_people_document_count(people);
    assert_true(count == 11000000000u);
    char text[SG_STORY_MAX];
    size_t bytes;
    for (uint64_t i = count - 20; i < count; i++)
        assert_int_equal(sg_people_tell(people, i, text, &bytes, NULL), SG_OK);
    sg_people_free(people);
}

typedef struct paths {
    char folder[64], lives[96], facts[96];
} paths;

static paths paths_new(void)
{
    paths p = {.folder = "/tmp/sg-people-XXXXXX"};
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.lives, sizeof p.lives, "%s/lives.txt", p.folder);
    snprintf(p.facts, sizeof p.facts, "%s/facts.json", p.folder);
    return p;
}

static bool never(void *user, int64_t done, int64_t total)
{
    (void)user;
    return done < total;
}

static void test_files(void **state)
{
    (void)state;
    paths p = paths_new();
    sg_people *people = people_of(UINT64_MAX, 40, 100, 2, 10);
    sg_error err;
    json_t *root;
    assert_int_equal(sg_people_write(people, p.lives, p.facts, NULL, NULL, &err), SG_OK);
    assert_int_equal(sg_json_read(p.facts, 1 << 20, &root, &err), SG_OK);
    assert_string_equal(json_string_value(json_object_get(root, "format")), "sgatlin facts");
    assert_int_equal(json_integer_value(json_object_get(root, "version")), 2);
    assert_string_equal(json_string_value(json_object_get(root, "seed")), "18446744073709551615");
    assert_true(json_number_value(json_object_get(root, "bits")) == sg_people_bits(people));
    json_t *facts = json_object_get(root, "facts"), *relations = json_object_get(root, "relations");
    assert_int_equal(json_array_size(facts), 100);
    assert_int_equal(json_array_size(relations), PEOPLE_RELATIONS);
    for (size_t i = 0; i < 100; i++) {
        json_t *entry = json_array_get(facts, i);
        sg_people_fact fact = sg_people_fact_at(people, i);
        assert_string_equal(json_string_value(json_object_get(entry, "subject")), fact.subject);
        assert_string_equal(json_string_value(json_object_get(entry, "relation")), fact.relation);
        assert_string_equal(json_string_value(json_object_get(entry, "answer")), fact.answer);
    }
    for (size_t r = 0; r < PEOPLE_RELATIONS; r++) {
        json_t *entry = json_array_get(relations, r), *prompts = json_object_get(entry, "prompts");
        assert_string_equal(json_string_value(json_object_get(entry, "name")),
                            sg_people_relations[r].name);
        assert_int_equal(json_array_size(prompts), PEOPLE_PROMPTS);
        assert_string_equal(json_string_value(json_array_get(prompts, 4)),
                            sg_people_relations[r].prompts[4]);
    }
    json_decref(root);

    // Stopped or refused: the old files stay as they were.
    int64_t bytes, after;
    assert_int_equal(sg_path_bytes(p.lives, &bytes, &err), SG_OK);
    sg_people *more = people_of(1, 50, 0, 9, 0);
    assert_int_equal(sg_people_write(more, p.lives, NULL, never, NULL, &err), SG_ERR_STOPPED);
    assert_int_equal(sg_people_write(more, p.lives, "/tmp/sg-none/f", NULL, NULL, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_path_bytes(p.lives, &after, &err), SG_OK);
    assert_int_equal(bytes, after);
    sg_people_free(more);
    sg_people_free(people);
    assert_int_equal(sg_tree_remove(p.folder, &err), SG_OK);
}

static sg_status write_people(void *user, sg_error *err)
{
    const paths *p = user;
    sg_people_options o = {.seed = 1, .people = 3, .tellings = 1, .stories = 1};
    sg_people *people;
    sg_status status = sg_people_new(&o, &people, err);
    if (status == SG_OK) status = sg_people_write(people, p->lives, p->facts, NULL, NULL, err);
    sg_people_free(people);
    if (status != SG_OK) assert_false(sg_path_exists(p->lives));
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    paths p = paths_new();
    assert_true(alloc_failure_loop(write_people, &p) > 3);
    assert_int_equal(sg_tree_remove(p.folder, NULL), SG_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_differ),  cmocka_unit_test(test_names_are_nobodys),
        cmocka_unit_test(test_words),         cmocka_unit_test(test_pure),
        cmocka_unit_test(test_told_truly),    cmocka_unit_test(test_phrasings),
        cmocka_unit_test(test_bits),          cmocka_unit_test(test_balance),
        cmocka_unit_test(test_stories_among), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_files),         cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
