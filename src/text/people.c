// People of a story world: who they are, what is true of them, and biographies that tell it.
//
// Nothing is stored. With u(x, i) a number that belongs to (seed, name x, index i):
//     name of person p      the syllables of a permutation of all 20^4 names at p: no two alike
//     answer of (p, r)      value u(r, p) of the list of relation r: uniform, and independent of
//                           all others, so that a fact holds exactly log2 of its list's length
//     biography (p, t)      telling t of person p: the facts in an order, and phrasings, of its own
// so that a person is the same however many there are, and a telling however many are told.
//
// Bits: Allen-Zhu and Li, "Physics of Language Models: Part 3.3" (arXiv 2404.05405), count what a
// model must store as log2 of the number of possible worlds. Here, for N people of N0 names and F
// facts, that is log2 binomial(N0, N) of who exists and the sum over facts of log2 values; their
// third term, the words that values are made of, is zero: the lists are the same in all worlds.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "text/people_tables.h"
#include "sgatlin_data.h"

enum { people_syllables_in_name = 4 };
static const uint64_t people_names =
    (uint64_t)PEOPLE_SYLLABLES * PEOPLE_SYLLABLES * PEOPLE_SYLLABLES * PEOPLE_SYLLABLES;

sg_people_options sg_people_options_default(void)
{
    return (sg_people_options){.tellings = 100};
}

struct sg_people {
    sg_people_options options;
    sg_story_world *world; // of the stories between the biographies; NULL: none
};

static sg_status people_check(const sg_people_options *o, sg_error *err)
{
    if (o->people < 1 || o->people > SG_PEOPLE_MOST)
        return sg_fail(err, SG_ERR_ARGUMENT, "people: found %llu, expected 1 to %d",
                       (unsigned long long)o->people, SG_PEOPLE_MOST);
    if (o->facts < o->people || o->facts > o->people * PEOPLE_RELATIONS)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "facts of people: found %llu, expected %llu to %llu: 1 to %d a person",
                       (unsigned long long)o->facts, (unsigned long long)o->people,
                       (unsigned long long)o->people * PEOPLE_RELATIONS, PEOPLE_RELATIONS);
    if (o->tellings < 1 || o->tellings > SG_PEOPLE_TELLINGS_MOST)
        return sg_fail(err, SG_ERR_ARGUMENT, "tellings: found %llu, expected 1 to %d",
                       (unsigned long long)o->tellings, SG_PEOPLE_TELLINGS_MOST);
    if (o->stories > SG_PEOPLE_STORIES_MOST)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "stories among people: found %llu, expected at most %d",
                       (unsigned long long)o->stories, SG_PEOPLE_STORIES_MOST);
    return SG_OK;
}

sg_status sg_people_new(const sg_people_options *options, sg_people **out, sg_error *err)
{
    *out = NULL;
    sg_people_options o = *options;
    if (o.facts == 0) o.facts = o.people * PEOPLE_RELATIONS;
    SG_TRY(people_check(&o, err));
    sg_people *people = sg_alloc_zero(1, sizeof *people);
    if (people == NULL) return sg_fail(err, SG_ERR_MEMORY, "people: out of memory");
    people->options = o;
    if (o.stories > 0) {
        sg_status status = sg_story_world_new(o.seed, &people->world, err);
        if (status != SG_OK) {
            sg_people_free(people);
            return status;
        }
    }
    *out = people;
    return SG_OK;
}

void sg_people_free(sg_people *people)
{
    if (people == NULL) return;
    sg_story_world_free(people->world);
    sg_free(people);
}

sg_people_options sg_people_options_of(const sg_people *people)
{
    return people->options;
}

// ---- what is true -------------------------------------------------------------------------------

static void people_name(uint64_t seed, uint64_t person, char name[SG_PEOPLE_NAME])
{
    uint64_t place = sg_rng_permute(seed, sg_rng_stream("people.name"), person, people_names);
    const char *parts[people_syllables_in_name];
    for (int i = 0; i < people_syllables_in_name; i++, place /= PEOPLE_SYLLABLES)
        parts[i] = sg_people_syllables[i][place % PEOPLE_SYLLABLES];
    snprintf(name, SG_PEOPLE_NAME, "%s%s %s%s", parts[0], parts[1], parts[2], parts[3]);
}

// Facts go to people in turn: the first (facts mod people) have one more than the others.
static uint64_t people_facts_of(const sg_people *people, uint64_t person)
{
    const sg_people_options *o = &people->options;
    return o->facts / o->people + (person < o->facts % o->people);
}

// Fact `slot` of a person is of another relation for each person, so that all are about as many.
static size_t people_relation_of(uint64_t person, uint64_t slot)
{
    return (size_t)((person + slot) % PEOPLE_RELATIONS);
}

static const char *people_answer(uint64_t seed, uint64_t person, size_t relation)
{
    const people_relation *r = &sg_people_relations[relation];
    return r->values[sg_rng_below(seed, sg_rng_stream(r->name), person, r->count)];
}

// Who fact `index` is about, person by person, and which of theirs it is.
static uint64_t people_of_fact(const sg_people *people, uint64_t index, uint64_t *slot)
{
    const sg_people_options *o = &people->options;
    const uint64_t each = o->facts / o->people, more = o->facts % o->people;
    if (index < more * (each + 1)) {
        *slot = index % (each + 1);
        return index / (each + 1);
    }
    index -= more * (each + 1);
    *slot = index % each;
    return more + index / each;
}

sg_people_fact sg_people_fact_at(const sg_people *people, uint64_t index)
{
    const uint64_t seed = people->options.seed;
    uint64_t slot, person = people_of_fact(people, index, &slot);
    size_t relation = people_relation_of(person, slot);
    sg_people_fact fact = {.relation = sg_people_relations[relation].name,
                           .answer = people_answer(seed, person, relation),
                           .values = sg_people_relations[relation].count};
    people_name(seed, person, fact.subject);
    return fact;
}

double sg_people_bits(const sg_people *people)
{
    double bits = 0;
    for (uint64_t i = 0; i < people->options.facts; i++) {
        uint64_t slot, person = people_of_fact(people, i, &slot);
        bits += log2((double)sg_people_relations[people_relation_of(person, slot)].count);
    }
    return bits;
}

double sg_people_name_bits(const sg_people *people)
{
    const double all = (double)people_names, n = (double)people->options.people;
    return (lgamma(all + 1) - lgamma(n + 1) - lgamma(all - n + 1)) / log(2);
}

// ---- one biography ------------------------------------------------------------------------------

typedef struct people_teller {
    uint64_t seed, index; // of the biography
    uint32_t stream, next, random[4];
    char name[SG_PEOPLE_NAME];
    bool woman;
    char *text;
    size_t used;
    bool failed; // too long, or a pattern that is wrong
} people_teller;

// Uniform in [0, bound) for small bounds; the bias is below bound / 2^32.
static uint32_t people_draw(people_teller *teller, uint32_t bound)
{
    if (teller->next % 4 == 0)
        sg_rng_block(teller->seed, teller->stream, teller->index, teller->next / 4, teller->random);
    return (uint32_t)((uint64_t)teller->random[teller->next++ % 4] * bound >> 32);
}

static void people_put(people_teller *teller, const char *text, size_t bytes)
{
    if (teller->used + bytes >= SG_STORY_MAX) {
        teller->failed = true;
        return;
    }
    memcpy(teller->text + teller->used, text, bytes);
    teller->used += bytes;
}

static const char *people_slot(const people_teller *teller, const char *answer, const char *slot,
                               size_t bytes)
{
    const struct {
        const char *slot, *word;
    } slots[] = {{"{subject}", teller->name},
                 {"{answer}", answer},
                 {"{He}", teller->woman ? "She" : "He"},
                 {"{he}", teller->woman ? "she" : "he"},
                 {"{His}", teller->woman ? "Her" : "His"},
                 {"{him}", teller->woman ? "her" : "him"}};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        if (strlen(slots[i].slot) == bytes && memcmp(slots[i].slot, slot, bytes) == 0)
            return slots[i].word;
    return NULL;
}

// One sentence, behind a space where it is not the first.
static void people_say(people_teller *teller, const char *pattern, const char *answer)
{
    if (teller->used > 0) people_put(teller, " ", 1);
    for (const char *p = pattern; *p != '\0' && !teller->failed;) {
        size_t bytes = strcspn(p, "{");
        people_put(teller, p, bytes);
        p += bytes;
        if (*p == '\0') break;
        bytes = strcspn(p, "}") + 1;
        const char *word = people_slot(teller, answer, p, bytes);
        if (word == NULL) {
            teller->failed = true;
            break;
        }
        people_put(teller, word, strlen(word));
        p += bytes;
    }
}

// The full name in the first sentence with a fact and in two of three behind it.
static void people_say_fact(people_teller *teller, uint64_t person, size_t relation, bool first)
{
    const people_relation *r = &sg_people_relations[relation];
    const char *answer = people_answer(teller->seed, person, relation);
    const bool pronoun = people_draw(teller, 3) == 0 && !first;
    people_say(teller,
               pronoun ? r->pronouns[people_draw(teller, PEOPLE_PRONOUNS)]
                       : r->prompts[people_draw(teller, PEOPLE_PROMPTS)],
               answer);
}

static void people_say_all(people_teller *teller, const sg_people *people, uint64_t person)
{
    size_t order[PEOPLE_RELATIONS];
    const uint32_t count = (uint32_t)people_facts_of(people, person);
    for (uint32_t i = 0; i < count; i++) { // Fisher and Yates, from the inside out
        uint32_t j = people_draw(teller, i + 1);
        order[i] = order[j];
        order[j] = people_relation_of(person, i);
    }
    if (people_draw(teller, 2) == 0)
        people_say(teller, sg_people_openings[people_draw(teller, PEOPLE_FRAMES)], NULL);
    for (uint32_t i = 0; i < count; i++)
        people_say_fact(teller, person, order[i], i == 0);
    if (people_draw(teller, 4) == 0)
        people_say(teller, sg_people_closings[people_draw(teller, PEOPLE_FRAMES)], NULL);
}

// Biography `index`: tellings go round by round, people within a round in an order of its own.
static sg_status people_biography(const sg_people *people, uint64_t index, char *text,
                                  size_t *bytes, sg_error *err)
{
    const sg_people_options *o = &people->options;
    const uint64_t telling = index / o->people;
    const uint32_t stream = sg_rng_stream("people.order");
    const uint64_t person =
        sg_rng_permute(sg_rng_u64(o->seed, stream, telling), stream, index % o->people, o->people);
    people_teller teller = {.seed = o->seed,
                            .index = person << 32 | telling,
                            .stream = sg_rng_stream("people.telling"),
                            .text = text};
    teller.woman = sg_rng_below(o->seed, sg_rng_stream("people.woman"), person, 2) == 1;
    people_name(o->seed, person, teller.name);
    people_say_all(&teller, people, person);
    text[teller.used] = '\0';
    *bytes = teller.used;
    if (!teller.failed) return SG_OK;
    return sg_fail(err, SG_ERR_INTERNAL, "biography %llu: a pattern is wrong near \"%.40s\"",
                   (unsigned long long)index, text + (teller.used > 40 ? teller.used - 40 : 0));
}

// ---- all documents ------------------------------------------------------------------------------

uint64_t sg_people_document_count(const sg_people *people)
{
    const sg_people_options *o = &people->options;
    return o->people * o->tellings + o->stories;
}

// Ordinary stories in front of document `index`: they stand evenly between the biographies. Limits
// keep the product below 2^64.
static uint64_t people_stories_before(const sg_people *people, uint64_t index)
{
    return index * people->options.stories / sg_people_document_count(people);
}

sg_status sg_people_tell(const sg_people *people, uint64_t index, char text[SG_STORY_MAX],
                         size_t *bytes, sg_error *err)
{
    const uint64_t before = people_stories_before(people, index);
    if (people_stories_before(people, index + 1) > before)
        return sg_story_tell(people->world, before, text, bytes, err);
    return people_biography(people, index - before, text, bytes, err);
}
