// The words of the people of a story world. All of them are our own.
#ifndef SG_TEXT_PEOPLE_TABLES_H
#define SG_TEXT_PEOPLE_TABLES_H

#include <stddef.h>

enum {
    PEOPLE_SYLLABLES = 20, // of each of the four parts of a name
    PEOPLE_RELATIONS = 8,
    PEOPLE_PROMPTS = 5,  // phrasings of a relation with the full name
    PEOPLE_PRONOUNS = 2, // phrasings with a pronoun
    PEOPLE_FRAMES = 4    // sentences that may open, or close, a biography
};

// What may be known of a person. Values are single words, each in one relation only, and none is
// in any phrasing. Phrasings have {subject} once, in front of {answer}; {He}, {he}, {His}, {him}
// are the pronouns.
typedef struct people_relation {
    const char *name;
    size_t count; // of values: a power of two, so that a fact has a whole number of bits
    const char *const *values;
    const char *prompts[PEOPLE_PROMPTS];
    const char *pronouns[PEOPLE_PRONOUNS];
} people_relation;

extern const people_relation sg_people_relations[PEOPLE_RELATIONS];

// Given name = [0] + [1], family name = [2] + [3].
extern const char *const sg_people_syllables[4][PEOPLE_SYLLABLES];
extern const char *const sg_people_openings[PEOPLE_FRAMES];
extern const char *const sg_people_closings[PEOPLE_FRAMES];

#endif
