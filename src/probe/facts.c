// Reading facts: each form becomes relations with prompts in our own spelling, and answers, which
// are then put together by subject.
#include "probe/facts.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"

#define SUBJECT "{subject}"
#define ANSWER  "{answer}"

enum { facts_limit = 256 << 20, facts_relations = 1000, facts_answers = 64 };

// One answer as the file has it.
typedef struct facts_answer {
    const char *subject, *answer;
    size_t relation, order;
} facts_answer;

typedef struct facts_reader {
    const char *name; // of the file
    sg_facts *facts;
    facts_answer *answers; // (count)
    size_t count;
} facts_reader;

static sg_status facts_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for facts");
}

// ---- members ------------------------------------------------------------------------------------

// A string that is not empty and has no NUL, kept in the arena; what: for errors, "facts[3]".
static sg_status facts_string(facts_reader *r, const json_t *object, const char *what,
                              const char *key, const char **out, sg_error *err)
{
    const char *text;
    char name[SG_PATH_MAX + 64];
    snprintf(name, sizeof name, "%s: %s", r->name, what);
    SG_TRY(sg_json_get_string(object, name, key, true, &text, err));
    const size_t bytes = json_string_length(json_object_get(object, key));
    if (bytes == 0 || strlen(text) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found %s, expected a text", name, key,
                       bytes == 0 ? "an empty string" : "a string with a NUL");
    *out = sg_arena_strndup(&r->facts->arena, text, bytes);
    return *out == NULL ? facts_memory(err) : SG_OK;
}

static size_t facts_times(const char *text, const char *part)
{
    size_t count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

// That a prompt has what it must.
static sg_status facts_check_prompt(const facts_reader *r, const char *prompt, sg_error *err)
{
    const char *subject = strstr(prompt, SUBJECT), *answer = strstr(prompt, ANSWER);
    const char *wrong = NULL;
    if (facts_times(prompt, SUBJECT) != 1 || facts_times(prompt, ANSWER) != 1)
        wrong = SUBJECT " once and " ANSWER " once";
    else if (answer < subject)
        wrong = SUBJECT " before " ANSWER;
    else if (answer[-1] != ' ' || answer - 1 == subject + strlen(SUBJECT) - 1)
        wrong = "a space before " ANSWER;
    if (wrong == NULL) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: prompt \"%.200s\": expected %s", r->name, prompt,
                   wrong);
}

// ---- forms of prompts ---------------------------------------------------------------------------

// text with the one `part` replaced; NULL: out of memory.
static const char *facts_replace(facts_reader *r, const char *text, const char *part,
                                 const char *by)
{
    const char *at = strstr(text, part);
    const size_t before = (size_t)(at - text), length = strlen(text) - strlen(part) + strlen(by);
    char *made = sg_arena_alloc(&r->facts->arena, length + 1);
    if (made == NULL) return NULL;
    memcpy(made, text, before);
    memcpy(made + before, by, strlen(by));
    strcpy(made + before + strlen(by), at + strlen(part));
    return made;
}

// "The {noun} was {adjective}." of the story world.
static sg_status facts_world_prompt(facts_reader *r, const char **prompt, sg_error *err)
{
    if (facts_times(*prompt, "{noun}") != 1 || facts_times(*prompt, "{adjective}") != 1)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: template: found \"%.200s\", expected {noun} once and {adjective} once",
                       r->name, *prompt);
    *prompt = facts_replace(r, *prompt, "{noun}", SUBJECT);
    if (*prompt != NULL) *prompt = facts_replace(r, *prompt, "{adjective}", ANSWER);
    return *prompt == NULL ? facts_memory(err) : SG_OK;
}

// "{} is commonly associated with" of a list of samples: the answer follows.
static sg_status facts_sample_prompt(facts_reader *r, const char **prompt, sg_error *err)
{
    if (facts_times(*prompt, "{}") != 1)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: prompt_templates: found \"%.200s\", expected {} once", r->name,
                       *prompt);
    const char *subject = facts_replace(r, *prompt, "{}", SUBJECT);
    if (subject == NULL) return facts_memory(err);
    size_t bytes = strlen(subject);
    char *made = sg_arena_alloc(&r->facts->arena, bytes + sizeof " " ANSWER);
    if (made == NULL) return facts_memory(err);
    while (bytes > 0 && subject[bytes - 1] == ' ')
        bytes--;
    memcpy(made, subject, bytes);
    strcpy(made + bytes, " " ANSWER);
    *prompt = made;
    return SG_OK;
}

// ---- relations ----------------------------------------------------------------------------------

// An array of strings as the prompts of a relation; turn: into our spelling, or NULL.
static sg_status facts_prompts(facts_reader *r, const json_t *array, const char *what,
                               sg_status (*turn)(facts_reader *, const char **, sg_error *),
                               sg_relation *relation, sg_error *err)
{
    const size_t count = json_array_size(array);
    if (count == 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found none, expected some", r->name, what);
    relation->prompts = sg_arena_alloc(&r->facts->arena, count * sizeof *relation->prompts);
    if (relation->prompts == NULL) return facts_memory(err);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(array, i);
        const char *text = json_string_value(item);
        if (text == NULL || strlen(text) != json_string_length(item))
            return sg_fail(err, SG_ERR_FORMAT, "%s: %s[%zu]: expected a text", r->name, what, i);
        text = sg_arena_strndup(&r->facts->arena, text, strlen(text));
        if (text == NULL) return facts_memory(err);
        if (turn != NULL) SG_TRY(turn(r, &text, err));
        SG_TRY(facts_check_prompt(r, text, err));
        relation->prompts[relation->prompt_count++] = text;
    }
    return SG_OK;
}

static sg_status facts_relations_new(facts_reader *r, size_t count, sg_error *err)
{
    const size_t bytes = count * sizeof *r->facts->relations;
    if (count == 0 || count > facts_relations)
        return sg_fail(err, SG_ERR_FORMAT, "%s: relations: found %zu, expected 1 to %d", r->name,
                       count, facts_relations);
    r->facts->relations = sg_arena_alloc(&r->facts->arena, bytes);
    if (r->facts->relations == NULL) return facts_memory(err);
    memset(r->facts->relations, 0, bytes);
    r->facts->relation_count = count;
    return SG_OK;
}

static sg_status facts_answers_new(facts_reader *r, const json_t *array, const char *what,
                                   sg_error *err)
{
    r->count = json_array_size(array);
    if (r->count == 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found none, expected some", r->name, what);
    r->answers = sg_alloc_zero(r->count, sizeof *r->answers);
    return r->answers == NULL ? facts_memory(err) : SG_OK;
}

static sg_status facts_relation_of(const facts_reader *r, const char *what, const char *name,
                                   size_t *relation, sg_error *err)
{
    for (size_t i = 0; i < r->facts->relation_count; i++)
        if (r->facts->relations[i].name != NULL && strcmp(r->facts->relations[i].name, name) == 0) {
            *relation = i;
            return SG_OK;
        }
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: %s: relation: found \"%.100s\", expected one of the relations", r->name,
                   what, name);
}

// ---- forms of files -----------------------------------------------------------------------------

static sg_status facts_read_ours(facts_reader *r, const json_t *root, sg_error *err)
{
    json_t *relations, *facts;
    int64_t version = 0;
    char what[48];
    const char *name;
    size_t known;
    SG_TRY(sg_json_get_int(root, r->name, "version", true, 2, 2, &version, err));
    SG_TRY(sg_json_get_array(root, r->name, "relations", true, &relations, err));
    SG_TRY(sg_json_get_array(root, r->name, "facts", true, &facts, err));
    SG_TRY(facts_relations_new(r, json_array_size(relations), err));
    for (size_t i = 0; i < r->facts->relation_count; i++) {
        const json_t *item = json_array_get(relations, i);
        json_t *prompts;
        snprintf(what, sizeof what, "relations[%zu]", i);
        SG_TRY(facts_string(r, item, what, "name", &name, err));
        if (facts_relation_of(r, what, name, &known, NULL) == SG_OK)
            return sg_fail(err, SG_ERR_FORMAT, "%s: %s: name: found \"%.100s\" again", r->name,
                           what, name);
        r->facts->relations[i].name = name;
        SG_TRY(sg_json_get_array(item, r->name, "prompts", true, &prompts, err));
        SG_TRY(facts_prompts(r, prompts, "prompts", NULL, &r->facts->relations[i], err));
    }
    SG_TRY(facts_answers_new(r, facts, "facts", err));
    for (size_t i = 0; i < r->count; i++) {
        const json_t *item = json_array_get(facts, i);
        snprintf(what, sizeof what, "facts[%zu]", i);
        SG_TRY(facts_string(r, item, what, "subject", &r->answers[i].subject, err));
        SG_TRY(facts_string(r, item, what, "answer", &r->answers[i].answer, err));
        SG_TRY(facts_string(r, item, what, "relation", &name, err));
        SG_TRY(facts_relation_of(r, what, name, &r->answers[i].relation, err));
    }
    return SG_OK;
}

// One relation and a list of objects with two strings.
static sg_status facts_read_list(facts_reader *r, const json_t *list, const char *what,
                                 const char *subject, const char *answer, sg_error *err)
{
    char item[48];
    SG_TRY(facts_answers_new(r, list, what, err));
    for (size_t i = 0; i < r->count; i++) {
        const json_t *object = json_array_get(list, i);
        snprintf(item, sizeof item, "%s[%zu]", what, i);
        SG_TRY(facts_string(r, object, item, subject, &r->answers[i].subject, err));
        SG_TRY(facts_string(r, object, item, answer, &r->answers[i].answer, err));
    }
    return SG_OK;
}

static sg_status facts_read_world(facts_reader *r, const json_t *root, sg_error *err)
{
    json_t *facts;
    const char *prompt;
    int64_t version = 0;
    SG_TRY(sg_json_get_int(root, r->name, "version", true, 1, 1, &version, err));
    SG_TRY(sg_json_get_array(root, r->name, "facts", true, &facts, err));
    SG_TRY(facts_string(r, root, "story world", "template", &prompt, err));
    SG_TRY(facts_relations_new(r, 1, err));
    r->facts->relations[0].name = "adjective";
    json_t *prompts = json_pack("[s]", prompt);
    if (prompts == NULL) return facts_memory(err);
    sg_status status =
        facts_prompts(r, prompts, "template", facts_world_prompt, &r->facts->relations[0], err);
    json_decref(prompts);
    if (status != SG_OK) return status;
    return facts_read_list(r, facts, "facts", "noun", "adjective", err);
}

static sg_status facts_read_samples(facts_reader *r, const json_t *root, sg_error *err)
{
    json_t *prompts, *samples;
    SG_TRY(sg_json_get_array(root, r->name, "prompt_templates", true, &prompts, err));
    SG_TRY(sg_json_get_array(root, r->name, "samples", true, &samples, err));
    SG_TRY(facts_relations_new(r, 1, err));
    SG_TRY(facts_string(r, root, "relation", "name", &r->facts->relations[0].name, err));
    SG_TRY(facts_prompts(r, prompts, "prompt_templates", facts_sample_prompt,
                         &r->facts->relations[0], err));
    return facts_read_list(r, samples, "samples", "subject", "object", err);
}

static sg_status facts_read_any(facts_reader *r, const json_t *root, sg_error *err)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    if (!json_is_object(root))
        return sg_fail(err, SG_ERR_FORMAT, "%s: expected an object with facts", r->name);
    if (format != NULL && strcmp(format, "sgatlin facts") == 0)
        return facts_read_ours(r, root, err);
    if (format != NULL && strcmp(format, "sgatlin story world") == 0)
        return facts_read_world(r, root, err);
    if (format == NULL && json_object_get(root, "prompt_templates") != NULL)
        return facts_read_samples(r, root, err);
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: format: found %s%.60s%s, expected \"sgatlin facts\", \"sgatlin story "
                   "world\", or a relation with prompt_templates and samples",
                   r->name, format ? "\"" : "none", format ? format : "", format ? "\"" : "");
}

// ---- answers by subject -------------------------------------------------------------------------

static int answers_order(const void *one, const void *other)
{
    const facts_answer *a = one, *b = other;
    if (a->relation != b->relation) return a->relation < b->relation ? -1 : 1;
    const int subject = strcmp(a->subject, b->subject);
    return subject != 0 ? subject : (a->order > b->order) - (a->order < b->order);
}

static int answers_file_order(const void *one, const void *other)
{
    const facts_answer *a = *(const facts_answer *const *)one;
    const facts_answer *b = *(const facts_answer *const *)other;
    return (a->order > b->order) - (a->order < b->order);
}

static bool answers_same_fact(const facts_answer *a, const facts_answer *b)
{
    return a->relation == b->relation && strcmp(a->subject, b->subject) == 0;
}

// The answers from *a on that are of its fact, without those that were there before.
static sg_status facts_add(facts_reader *r, const facts_answer *a, sg_error *err)
{
    const facts_answer *end = r->answers + r->count;
    sg_fact *fact = &r->facts->facts[r->facts->count++];
    size_t most = 0;
    for (const facts_answer *b = a; b < end && answers_same_fact(a, b); b++)
        most++;
    *fact = (sg_fact){.subject = a->subject, .relation = a->relation};
    fact->answers = sg_arena_alloc(&r->facts->arena, most * sizeof *fact->answers);
    if (fact->answers == NULL) return facts_memory(err);
    for (size_t i = 0; i < most; i++) {
        size_t n = 0;
        while (n < fact->answer_count && strcmp(fact->answers[n], a[i].answer) != 0)
            n++;
        if (n == facts_answers)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: subject \"%.100s\": found more than %d answers, expected fewer",
                           r->name, a->subject, facts_answers);
        if (n == fact->answer_count) fact->answers[fact->answer_count++] = a[i].answer;
    }
    return SG_OK;
}

static sg_status facts_gather(facts_reader *r, sg_error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < r->count; i++)
        r->answers[i].order = i;
    qsort(r->answers, r->count, sizeof *r->answers, answers_order);
    const facts_answer **first = sg_alloc_array(r->count, sizeof *first);
    r->facts->facts = sg_arena_alloc(&r->facts->arena, r->count * sizeof *r->facts->facts);
    if (first == NULL || r->facts->facts == NULL) {
        sg_free(first);
        return facts_memory(err);
    }
    for (size_t i = 0; i < r->count; i++)
        if (i == 0 || !answers_same_fact(&r->answers[i - 1], &r->answers[i]))
            first[count++] = &r->answers[i];
    qsort(first, count, sizeof *first, answers_file_order);
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < count; i++)
        status = facts_add(r, first[i], err);
    sg_free(first);
    return status;
}

// ---- the whole ----------------------------------------------------------------------------------

void sg_facts_free(sg_facts *facts)
{
    if (facts == NULL) return;
    sg_arena_free(&facts->arena);
    sg_free(facts);
}

static sg_status facts_from(const json_t *root, const char *name, sg_facts **out, sg_error *err)
{
    facts_reader r = {.name = name, .facts = sg_alloc_zero(1, sizeof *r.facts)};
    if (r.facts == NULL) return facts_memory(err);
    sg_status status = facts_read_any(&r, root, err);
    if (status == SG_OK) status = facts_gather(&r, err);
    sg_free(r.answers);
    if (status == SG_OK)
        *out = r.facts;
    else
        sg_facts_free(r.facts);
    return status;
}

sg_status sg_facts_parse(const char *text, size_t bytes, const char *name, sg_facts **facts,
                         sg_error *err)
{
    json_t *root;
    *facts = NULL;
    SG_TRY(sg_json_parse(text, bytes, name, &root, err));
    sg_status status = facts_from(root, name, facts, err);
    json_decref(root);
    return status;
}

sg_status sg_facts_read(const char *path, sg_facts **facts, sg_error *err)
{
    json_t *root;
    *facts = NULL;
    SG_TRY(sg_json_read(path, facts_limit, &root, err));
    sg_status status = facts_from(root, path, facts, err);
    json_decref(root);
    return status;
}
