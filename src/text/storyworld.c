// Telling stories: facts, people and plots are drawn from numbers that belong to the story's index,
// so that story i is the same however many are told and in whatever order.
#include "text/storyworld.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/json.h"
#include "text/storyworld_tables.h"
#include "sgatlin_data.h"

enum { story_facts_max = 128, story_class_max = 32, story_depth_max = 16 };

typedef struct story_fact {
    const story_noun *noun;
    const story_adjective *adjective;
    story_class class;
} story_fact;

struct sg_story_world {
    uint64_t seed;
    uint32_t stream;
    story_fact facts[story_facts_max];
    size_t count;
    size_t first[STORY_CLASSES + 1]; // facts of class c are first[c] … first[c + 1] - 1
};

// ---- the world --------------------------------------------------------------------------------

// Within a class adjectives are dealt out like cards, so that each is used about equally often.
static void story_deal(sg_story_world *world, story_class class)
{
    const story_class_words *words = &sg_story_words[class];
    size_t nouns = 0, adjectives = 0;
    while (words->nouns[nouns].word != NULL)
        nouns++;
    while (words->adjectives[adjectives].word != NULL)
        adjectives++;
    uint32_t stream = sg_rng_stream(words->name);
    for (size_t i = 0; i < nouns; i++) {
        uint64_t place = sg_rng_permute(world->seed, stream, i, nouns);
        uint64_t card = sg_rng_permute(world->seed, stream + 1, place % adjectives, adjectives);
        world->facts[world->count++] =
            (story_fact){&words->nouns[i], &words->adjectives[card], class};
    }
    world->first[class + 1] = world->count;
}

sg_status sg_story_world_new(uint64_t seed, sg_story_world **out, sg_error *err)
{
    *out = NULL;
    sg_story_world *world = sg_alloc_zero(1, sizeof *world);
    if (world == NULL) return sg_fail(err, SG_ERR_MEMORY, "story world: out of memory");
    world->seed = seed;
    world->stream = sg_rng_stream("story");
    for (int class = 0; class < STORY_CLASSES; class ++)
        story_deal(world, (story_class) class);
    *out = world;
    return SG_OK;
}

void sg_story_world_free(sg_story_world *world)
{
    sg_free(world);
}

size_t sg_story_fact_count(const sg_story_world *world)
{
    return world->count;
}

sg_story_fact sg_story_fact_at(const sg_story_world *world, size_t index)
{
    const story_fact *fact = &world->facts[index];
    return (sg_story_fact){fact->noun->word, sg_story_words[fact->class].name,
                           fact->adjective->word};
}

bool sg_story_is_adjective(const char *word, size_t bytes)
{
    for (int class = 0; class < STORY_CLASSES; class ++)
        for (const story_adjective *a = sg_story_words[class].adjectives; a->word != NULL; a++)
            if (strlen(a->word) == bytes && memcmp(a->word, word, bytes) == 0) return true;
    return false;
}

// ---- one story --------------------------------------------------------------------------------

typedef struct story_teller {
    const sg_story_world *world;
    uint64_t index;
    uint32_t random[4];  // one block of numbers, used one by one
    uint32_t next;       // numbers drawn
    const char *name[2]; // hero, friend
    bool girl[2];
    const char *colour;
    const story_fact *fact[8]; // by position in story_entities
    const story_fact *told;    // the one that {z} means
    char article;              // 'a' or 'A' until the next letter decides about the n
    char *text;
    size_t used;
    bool failed; // text too long, or a pattern that is wrong
} story_teller;

static const char story_entities[] = "pqowmxb";

// Uniform in [0, bound) for small bounds; the bias is below bound / 2^32.
static uint32_t story_draw(story_teller *teller, uint32_t bound)
{
    if (teller->next % 4 == 0)
        sg_rng_block(teller->world->seed, teller->world->stream, teller->index, teller->next / 4,
                     teller->random);
    return (uint32_t)((uint64_t)teller->random[teller->next++ % 4] * bound >> 32);
}

static void story_put(story_teller *teller, char c)
{
    char buffer[4];
    size_t n = 0;
    if (teller->article != 0) {
        if (c == ' ') return;
        buffer[n++] = teller->article;
        if (strchr("aeiou", c) != NULL) buffer[n++] = 'n';
        buffer[n++] = ' ';
        teller->article = 0;
    }
    buffer[n++] = c;
    if (teller->used + n >= SG_STORY_MAX) {
        teller->failed = true;
        return;
    }
    memcpy(teller->text + teller->used, buffer, n);
    teller->used += n;
}

static void story_put_word(story_teller *teller, const char *word, bool capital)
{
    for (const char *p = word; *p; p++)
        story_put(teller, p == word && capital ? (char)toupper((unsigned char)*p) : *p);
}

static void story_tell_pattern(story_teller *teller, const char *begin, const char *end, int depth);

static void story_tell_string(story_teller *teller, const char *pattern, int depth)
{
    story_tell_pattern(teller, pattern, pattern + strlen(pattern), depth);
}

static void story_tell_fact(story_teller *teller, const story_fact *fact, int depth)
{
    const bool person = fact->class == STORY_PERSON;
    teller->told = fact;
    // The plain sentence is the most frequent: probes of the model use it.
    const char *sentence = "The {z} was {za}.";
    switch (story_draw(teller, 10)) {
    case 0:
        sentence = "Everyone knew that the {z} was {za}.";
        break;
    case 1:
        sentence = "{H} could see that the {z} was {za}.";
        break;
    case 2:
        sentence = "\"The {z} is {za},\" {h} [thought|said|whispered].";
        break;
    case 3:
        sentence = person ? "People said that the {z} was {za}." : "It was {a} {za} {z}.";
        break;
    default:
        break;
    }
    story_tell_string(teller, sentence, depth + 1);
    if (story_draw(teller, 5) < 2) {
        story_put(teller, ' ');
        story_tell_string(teller, fact->adjective->then, depth + 1);
    }
}

static void story_tell_person(story_teller *teller, const char *slot, size_t bytes, int who,
                              bool capital)
{
    const bool girl = teller->girl[who];
    const char *word = NULL;
    if (bytes == 1) word = teller->name[who];
    if (bytes == 2 && slot[1] == 's') word = girl ? "she" : "he";
    if (bytes == 2 && slot[1] == 'o') word = girl ? "her" : "him";
    if (bytes == 2 && slot[1] == 'p') word = girl ? "her" : "his";
    if (bytes == 2 && slot[1] == 'k') word = girl ? "girl" : "boy";
    if (word == NULL)
        teller->failed = true;
    else
        story_put_word(teller, word, capital);
}

// The inside of {…}.
static void story_tell_slot(story_teller *teller, const char *slot, size_t bytes, int depth)
{
    const bool is_fact = bytes > 1 && slot[0] == '=';
    slot += is_fact;
    bytes -= is_fact;
    const bool capital = bytes > 0 && isupper((unsigned char)slot[0]) != 0;
    const char first = bytes > 0 ? (char)tolower((unsigned char)slot[0]) : '\0';
    const char *entity = first != '\0' ? strchr(story_entities, first) : NULL;
    const story_fact *fact = entity         ? teller->fact[entity - story_entities]
                             : first == 'z' ? teller->told
                                            : NULL;
    if (first == 'h' || first == 'f')
        story_tell_person(teller, slot, bytes, first == 'f', capital);
    else if (first == 'a' && bytes == 1)
        teller->article = slot[0];
    else if (first == 'c' && bytes == 1)
        story_put_word(teller, teller->colour, capital);
    else if (fact != NULL && is_fact && bytes == 1)
        story_tell_fact(teller, fact, depth);
    else if (fact != NULL && bytes == 1)
        story_put_word(teller, fact->noun->word, capital);
    else if (fact != NULL && bytes == 2 && slot[1] == 'a')
        story_put_word(teller, fact->adjective->word, capital);
    else if (fact != NULL && bytes == 2 && slot[1] == 'i')
        story_put_word(teller, fact->noun->at, capital);
    else
        teller->failed = true;
}

// Tells one of the alternatives that begin behind '['; returns the place behind the closing ']'.
static const char *story_tell_choice(story_teller *teller, const char *begin, const char *end,
                                     int depth)
{
    uint32_t count = 1;
    int nested = 0;
    const char *close = begin;
    for (; close < end && (nested > 0 || *close != ']'); close++) {
        nested += (*close == '[') - (*close == ']');
        count += nested == 0 && *close == '|';
    }
    if (close == end) {
        teller->failed = true;
        return end;
    }
    uint32_t chosen = story_draw(teller, count);
    const char *from = begin, *to = begin;
    for (nested = 0;; to++) {
        if (nested == 0 && (*to == '|' || to == close)) {
            if (chosen == 0) break;
            chosen--;
            from = to + 1;
            continue;
        }
        nested += (*to == '[') - (*to == ']');
    }
    story_tell_pattern(teller, from, to, depth + 1);
    return close + 1;
}

static void story_tell_pattern(story_teller *teller, const char *begin, const char *end, int depth)
{
    if (depth > story_depth_max) {
        teller->failed = true;
        return;
    }
    const char *p = begin;
    while (p < end && !teller->failed) {
        if (*p == '[') {
            p = story_tell_choice(teller, p + 1, end, depth);
        } else if (*p == '{') {
            const char *close = memchr(p, '}', (size_t)(end - p));
            if (close == NULL) {
                teller->failed = true;
                return;
            }
            story_tell_slot(teller, p + 1, (size_t)(close - p - 1), depth);
            p = close + 1;
        } else if (*p == '@') {
            const char letter = p + 1 < end ? p[1] : '\0';
            const char *macro =
                letter >= 'A' && letter <= 'Z' ? sg_story_macros[letter - 'A'] : NULL;
            if (macro == NULL) {
                teller->failed = true;
                return;
            }
            story_tell_string(teller, macro, depth + 1);
            p += 2;
        } else {
            story_put(teller, *p++);
        }
    }
}

static const story_fact *story_pick(story_teller *teller, story_class low, story_class high)
{
    const sg_story_world *world = teller->world;
    size_t first = world->first[low], count = world->first[high + 1] - first;
    return &world->facts[first + story_draw(teller, (uint32_t)count)];
}

static const char *story_pick_word(story_teller *teller, const char *const *words)
{
    uint32_t count = 0;
    while (words[count] != NULL)
        count++;
    return words[story_draw(teller, count)];
}

static void story_cast(story_teller *teller)
{
    for (int who = 0; who < 2; who++) {
        teller->girl[who] = story_draw(teller, 2) == 0;
        do
            teller->name[who] =
                story_pick_word(teller, teller->girl[who] ? sg_story_girls : sg_story_boys);
        while (who == 1 && teller->name[0] == teller->name[1]);
    }
    teller->colour = story_pick_word(teller, sg_story_colours);
    teller->fact[0] = story_pick(teller, STORY_WATER, STORY_LAND);
    do
        teller->fact[1] = story_pick(teller, STORY_WATER, STORY_BUILDING);
    while (teller->fact[1] == teller->fact[0]);
    teller->fact[2] = story_pick(teller, STORY_HARD, STORY_TOY);
    teller->fact[3] = story_pick(teller, STORY_PERSON, STORY_PERSON);
    teller->fact[4] = story_pick(teller, STORY_ANIMAL, STORY_ANIMAL);
    teller->fact[5] = story_pick(teller, STORY_FOOD, STORY_FOOD);
    teller->fact[6] = story_pick(teller, STORY_BARRIER, STORY_BARRIER);
}

sg_status sg_story_tell(const sg_story_world *world, uint64_t index, char text[SG_STORY_MAX],
                        size_t *bytes, sg_error *err)
{
    story_teller teller = {.world = world, .index = index, .text = text};
    story_cast(&teller);
    story_tell_string(&teller, story_pick_word(&teller, sg_story_plots), 0);
    while (teller.used > 0 && text[teller.used - 1] == '\n')
        teller.used--;
    text[teller.used] = '\0';
    *bytes = teller.used;
    if (teller.failed || teller.article != 0)
        return sg_fail(err, SG_ERR_INTERNAL, "story %llu: a pattern is wrong near \"%.40s\"",
                       (unsigned long long)index, text + (teller.used > 40 ? teller.used - 40 : 0));
    return SG_OK;
}

// ---- files --------------------------------------------------------------------------------------

static sg_status story_facts_text(const sg_story_world *world, char **text, sg_error *err)
{
    sg_json_setup();
    *text = NULL;
    json_t *root = json_object(), *facts = json_array();
    char seed[32], sentence[128];
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)world->seed);
    // A seed has 64 bits, more than many readers of JSON keep in a number.
    bool whole = json_object_set_new(root, "format", json_string("sgatlin story world")) == 0;
    whole &= json_object_set_new(root, "version", json_integer(1)) == 0;
    whole &= json_object_set_new(root, "seed", json_string(seed)) == 0;
    whole &= json_object_set_new(root, "template", json_string("The {noun} was {adjective}.")) == 0;
    for (size_t i = 0; i < world->count; i++) {
        sg_story_fact fact = sg_story_fact_at(world, i);
        snprintf(sentence, sizeof sentence, "The %s was %s.", fact.noun, fact.adjective);
        json_t *entry = json_object();
        whole &= json_object_set_new(entry, "noun", json_string(fact.noun)) == 0;
        whole &= json_object_set_new(entry, "class", json_string(fact.kind)) == 0;
        whole &= json_object_set_new(entry, "adjective", json_string(fact.adjective)) == 0;
        whole &= json_object_set_new(entry, "sentence", json_string(sentence)) == 0;
        whole &= json_array_append_new(facts, entry) == 0;
    }
    whole &= json_object_set_new(root, "facts", facts) == 0;
    sg_status status = whole ? sg_json_text(root, true, text, err)
                             : sg_fail(err, SG_ERR_MEMORY, "facts: out of memory");
    json_decref(root);
    return status;
}

static sg_status story_write_all(const sg_story_world *world, uint64_t count, sg_writer *writer,
                                 sg_progress_fn progress, void *user, sg_error *err)
{
    char text[SG_STORY_MAX];
    size_t bytes;
    for (uint64_t i = 0; i < count; i++) {
        SG_TRY(sg_story_tell(world, i, text, &bytes, err));
        sg_writer_put(writer, text, bytes);
        sg_writer_put(writer, "\n<|endoftext|>\n", 15);
        if (i % 1024 != 0) continue;
        SG_TRY(sg_writer_flush(writer, err)); // a full disk is noticed now, not at the end
        if (progress != NULL && !progress(user, (int64_t)i, (int64_t)count))
            return sg_fail(err, SG_ERR_STOPPED, "writing stories was stopped");
    }
    if (progress != NULL && !progress(user, (int64_t)count, (int64_t)count))
        return sg_fail(err, SG_ERR_STOPPED, "writing stories was stopped");
    return SG_OK;
}

sg_status sg_story_write(const sg_story_world *world, uint64_t count, const char *path,
                         const char *facts_path, sg_progress_fn progress, void *progress_user,
                         sg_error *err)
{
    sg_writer *writer;
    if (count == 0 || count > INT64_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "stories: found %llu, expected 1 to 2^63 - 1",
                       (unsigned long long)count);
    if (facts_path != NULL) SG_TRY(sg_output_check(facts_path, SG_OUTPUT_REPLACE, err));
    SG_TRY(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err));
    sg_status status = story_write_all(world, count, writer, progress, progress_user, err);
    if (status == SG_OK && facts_path != NULL) {
        char *text;
        status = story_facts_text(world, &text, err);
        if (status == SG_OK) status = sg_file_write_atomic(facts_path, text, strlen(text), err);
        sg_free(text);
    }
    if (status == SG_OK) return sg_writer_replace(writer, err);
    sg_writer_withdraw(writer);
    return status;
}
