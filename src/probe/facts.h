// Facts of a file: who has which answer to what, and the prompts that ask. Three forms are read
// (docs/FORMATS.md): ours ("sgatlin facts"), facts.json of the story world, and lists of a relation
// with prompt_templates and samples.
#ifndef SG_PROBE_FACTS_H
#define SG_PROBE_FACTS_H

#include "base/arena.h"
#include "base/status.h"

// A prompt is a text with "{subject}" once and, behind it and a space, "{answer}" once.
typedef struct sg_relation {
    const char *name;
    const char **prompts; // (prompt_count) at least one
    size_t prompt_count;
} sg_relation;

// A subject has one relation once, with all its answers in the order of the file.
typedef struct sg_fact {
    const char *subject;
    const char **answers; // (answer_count) at least one, none twice
    size_t answer_count;
    size_t relation;
} sg_fact;

typedef struct sg_facts {
    sg_relation *relations;
    size_t relation_count;
    sg_fact *facts; // in the order of their first answers
    size_t count;
    sg_arena arena; // has all of it
} sg_facts;

// name: what errors call the text. *facts: sg_facts_free; NULL on failure.
sg_status sg_facts_parse(const char *text, size_t bytes, const char *name, sg_facts **facts,
                         sg_error *err);
// A file of at most 256 MiB.
sg_status sg_facts_read(const char *path, sg_facts **facts, sg_error *err);
void sg_facts_free(sg_facts *facts); // NULL is allowed

#endif
