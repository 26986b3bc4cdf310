// The words and sentence patterns of the story world. All of them are our own.
#ifndef SG_TEXT_STORYWORLD_TABLES_H
#define SG_TEXT_STORYWORLD_TABLES_H

#include <stddef.h>

typedef enum story_class {
    STORY_WATER,
    STORY_LAND,
    STORY_BUILDING,
    STORY_HARD, // small hard things
    STORY_SOFT, // things of cloth
    STORY_TOY,
    STORY_ANIMAL,
    STORY_PERSON,
    STORY_FOOD,
    STORY_BARRIER,
    STORY_CLASSES
} story_class;

typedef struct story_noun {
    const char *word;
    const char *at; // the preposition of a place
} story_noun;

// An adjective and what follows from it, so that a fact matters to the rest of a story. In the
// pattern z is the noun.
typedef struct story_adjective {
    const char *word;
    const char *then;
} story_adjective;

// Lists end with an empty entry.
typedef struct story_class_words {
    const char *name;
    const story_noun *nouns;
    const story_adjective *adjectives;
} story_class_words;

extern const story_class_words sg_story_words[STORY_CLASSES];
extern const char *const sg_story_girls[];   // NULL-terminated
extern const char *const sg_story_boys[];    // NULL-terminated
extern const char *const sg_story_colours[]; // NULL-terminated; no adjective is among them

// Patterns: [a|b|c] is one of the alternatives, which may nest; @X is the macro X; {…} is a slot:
//   {h} {f}       name of the hero, of the friend; {hs} {ho} {hp} he, him, his; {hk} boy or girl
//   {p} {q} {o} {w} {m} {x} {b} {z}   noun: two places, object, person, animal, food, barrier, and
//                 the noun that a fact is being told of
//   {pa} …        its adjective; {pi} … the preposition of a place
//   {=p} …        a whole sentence that tells its fact, perhaps with what follows from it
//   {c}           colour of the object
//   {a}           "a" or "an", as the next letter asks
// A capital first letter in a slot gives a capital in the text.
extern const char *const sg_story_macros[26]; // by letter; NULL where there is none
extern const char *const sg_story_plots[];    // NULL-terminated

#endif
