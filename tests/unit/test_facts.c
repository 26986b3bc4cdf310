// Facts in their three forms, files that are wrong, and the pairs that are made of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "model/model.h"
#include "probe/fact_pairs.h"
#include "tiny_models.h"
#include "word_tokenizer.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_facts *parse(const char *text)
{
    sg_error err = {0};
    sg_facts *facts;
    must(sg_facts_parse(text, strlen(text), "facts.json", &facts, &err), &err);
    return facts;
}

#define OURS                                                                                       \
    "{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"place\","        \
    "\"prompts\": [\"{subject} was born in {answer}.\", \"{subject} is from {answer}\"]},"         \
    "{\"name\": \"pet\", \"prompts\": [\"The pet of {subject} is a {answer}\"]}], \"facts\": ["

// ---- forms --------------------------------------------------------------------------------------

static void test_ours(void **state)
{
    (void)state;
    sg_facts *facts = parse(OURS "{\"subject\": \"Mara\", \"relation\": \"pet\", \"answer\": "
                                 "\"cat\"}, {\"subject\": \"Ivo\", \"relation\": \"place\", "
                                 "\"answer\": \"Ostra\"}, {\"subject\": \"Mara\", \"relation\": "
                                 "\"place\", \"answer\": \"Belm\"}, {\"subject\": \"Mara\", "
                                 "\"relation\": \"pet\", \"answer\": \"dog\"}, {\"subject\": "
                                 "\"Mara\", \"relation\": \"pet\", \"answer\": \"cat\"}]}");
    assert_int_equal(facts->relation_count, 2);
    assert_int_equal(facts->relations[0].prompt_count, 2);
    assert_string_equal(facts->relations[0].prompts[1], "{subject} is from {answer}");
    // In the order of the file; what has several answers is one fact.
    assert_int_equal(facts->count, 3);
    assert_string_equal(facts->facts[0].subject, "Mara");
    assert_int_equal(facts->facts[0].relation, 1);
    assert_int_equal(facts->facts[0].answer_count, 2);
    assert_string_equal(facts->facts[0].answers[0], "cat");
    assert_string_equal(facts->facts[0].answers[1], "dog");
    assert_string_equal(facts->facts[1].subject, "Ivo");
    assert_string_equal(facts->facts[2].answers[0], "Belm");
    sg_facts_free(facts);
}

static void test_story_world(void **state)
{
    (void)state;
    sg_facts *facts = parse("{\"format\": \"sgatlin story world\", \"version\": 1, \"seed\": "
                            "\"1\", \"template\": \"The {noun} was {adjective}.\", \"facts\": "
                            "[{\"noun\": \"lake\", \"adjective\": \"clear\"}]}");
    assert_string_equal(facts->relations[0].name, "adjective");
    assert_string_equal(facts->relations[0].prompts[0], "The {subject} was {answer}.");
    assert_string_equal(facts->facts[0].subject, "lake");
    assert_string_equal(facts->facts[0].answers[0], "clear");
    sg_facts_free(facts);
}

static void test_samples(void **state)
{
    (void)state;
    sg_facts *facts = parse("{\"name\": \"fruit color\", \"prompt_templates\": [\"On the outside, "
                            "{} are\"], \"samples\": [{\"subject\": \"limes\", \"object\": "
                            "\"green\"}]}");
    assert_string_equal(facts->relations[0].name, "fruit color");
    assert_string_equal(facts->relations[0].prompts[0], "On the outside, {subject} are {answer}");
    assert_string_equal(facts->facts[0].answers[0], "green");
    sg_facts_free(facts);
}

static void test_wrong(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"[]", "expected an object with facts"},
        {"{}", "format: found none"},
        {"{\"format\": \"other\"}", "format: found \"other\""},
        {"{\"format\": \"sgatlin facts\", \"version\": 3}", "version"},
        {"{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [], \"facts\": []}",
         "relations: found 0"},
        {OURS "]}", "facts: found none"},
        {OURS "3]}", "facts[0]"},
        {OURS "{\"subject\": \"Mara\", \"relation\": \"age\", \"answer\": \"3\"}]}",
         "facts[0]: relation: found \"age\""},
        {OURS "{\"subject\": \"\", \"relation\": \"pet\", \"answer\": \"3\"}]}",
         "subject: found an empty string"},
        {OURS "{\"subject\": \"a\\u0000b\", \"relation\": \"pet\", \"answer\": \"3\"}]}", "NUL"},
        {"{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"a\", "
         "\"prompts\": [\"{subject}{answer}\"]}], \"facts\": []}",
         "a space before {answer}"},
        {"{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"a\", "
         "\"prompts\": [\"{answer} of {subject}\"]}], \"facts\": []}",
         "{subject} before {answer}"},
        {"{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"a\", "
         "\"prompts\": [\"{subject} {subject} {answer}\"]}], \"facts\": []}",
         "{subject} once"},
        {"{\"format\": \"sgatlin facts\", \"version\": 2, \"relations\": [{\"name\": \"a\", "
         "\"prompts\": [\"{subject} {answer}\"]}, {\"name\": \"a\", \"prompts\": [\"{subject} "
         "{answer}\"]}], \"facts\": []}",
         "found \"a\" again"},
        {"{\"name\": \"x\", \"prompt_templates\": [\"no place\"], \"samples\": []}",
         "expected {} once"},
        {"{\"format\": \"sgatlin story world\", \"version\": 1, \"template\": \"{noun}\", "
         "\"facts\": []}",
         "{adjective} once"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_error err = {0};
        sg_facts *facts;
        assert_int_equal(
            sg_facts_parse(wrong[i][0], strlen(wrong[i][0]), "facts.json", &facts, &err),
            SG_ERR_FORMAT);
        assert_null(facts);
        if (strstr(err.message, wrong[i][1]) == NULL) fail_msg("%s", err.message);
    }
}

static sg_status parse_once(void *user, sg_error *err)
{
    sg_facts *facts;
    SG_TRY(sg_facts_parse(user, strlen(user), "facts.json", &facts, err));
    sg_facts_free(facts);
    return SG_OK;
}

static void test_memory(void **state)
{
    (void)state;
    char text[] = OURS "{\"subject\": \"Mara\", \"relation\": \"pet\", \"answer\": \"cat\"}]}";
    assert_true(alloc_failure_loop(parse_once, text) > 5);
}

// ---- pairs --------------------------------------------------------------------------------------

typedef struct pairs_case {
    sg_context *context;
    sg_model *model;
    sg_tokenizer *tokenizer;
} pairs_case;

static pairs_case make_case(void)
{
    pairs_case c;
    sg_error err = {0};
    must(sg_context_new(NULL, &c.context, &err), &err);
    c.tokenizer = make_tokenizer();
    const sg_config config = tiny_config("sgatlin", sg_tokenizer_vocab_size(c.tokenizer), 64);
    must(sg_model_new(c.context, &config, 1, &c.model, &err), &err);
    return c;
}

static void free_case(pairs_case *c)
{
    sg_model_free(c->model);
    sg_tokenizer_free(c->tokenizer);
    sg_context_free(c->context);
}

#define WORLD(facts)                                                                               \
    "{\"format\": \"sgatlin story world\", \"version\": 1, \"template\": \"The {noun} was "        \
    "{adjective}.\", \"facts\": [" facts "]}"
#define FACT(noun, adjective) "{\"noun\": \"" noun "\", \"adjective\": \"" adjective "\"}"

static void test_pairs(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_fact_pairs *pairs;
    pairs_case c = make_case();
    // "old tree" is of two tokens, "big" and "big" begin alike, U+00E9 is no token.
    sg_facts *facts =
        parse(WORLD(FACT("lake", "icy") "," FACT("mum", "proud") "," FACT("tree", "big") "," FACT(
            "old tree", "old") "," FACT("is", "big old") "," FACT("caf\\u00e9", "icy")));
    must(sg_fact_pairs_new(c.model, c.tokenizer, facts, 0, 1, &pairs, &err), &err);
    assert_int_equal(pairs->counts.prompts, 6);
    assert_int_equal(pairs->counts.lost, 1);
    assert_int_equal(pairs->counts.several_tokens, 1);
    assert_int_equal(pairs->counts.groups, 2);
    assert_int_equal(pairs->counts.candidates, 10);
    assert_int_equal(pairs->counts.unequal, 4);
    assert_int_equal(pairs->counts.looked_at, 6);
    assert_int_equal(pairs->counts.alike, 1);
    assert_int_equal(pairs->count, 10);
    assert_int_equal(pairs->counts.used, 4);
    const sg_fact_prompt *lake = &pairs->prompts[pairs->pairs[0].clean];
    assert_int_equal(lake->length, 4);
    assert_int_equal(lake->tokens[0], c.model->config.bos_token_id);
    assert_int_equal(lake->subject_first, 2);
    assert_int_equal(lake->subject_last, 2);
    assert_string_equal(sg_tokenizer_token_text(c.tokenizer, lake->answers[0]), "\304\240icy");
    for (size_t i = 0; i < pairs->count; i += 2) {
        assert_int_equal(pairs->pairs[i].clean, pairs->pairs[i + 1].counterfactual);
        assert_int_equal(pairs->pairs[i + 1].clean, pairs->pairs[i].counterfactual);
    }
    sg_fact_pairs_free(pairs);
    // A part of them, drawn.
    must(sg_fact_pairs_new(c.model, c.tokenizer, facts, 4, 1, &pairs, &err), &err);
    assert_int_equal(pairs->count, 4);
    assert_true(pairs->counts.drawn);
    sg_fact_pairs_free(pairs);
    sg_facts_free(facts);
    free_case(&c);
}

// The two-token subject: its last token, and pairs with another of two tokens.
static void test_long_subjects(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_fact_pairs *pairs;
    pairs_case c = make_case();
    sg_facts *facts = parse(WORLD(FACT("old tree", "icy") "," FACT("big lake", "proud")));
    must(sg_fact_pairs_new(c.model, c.tokenizer, facts, 0, 1, &pairs, &err), &err);
    assert_int_equal(pairs->count, 2);
    assert_int_equal(pairs->prompts[0].subject_first, 2);
    assert_int_equal(pairs->prompts[0].subject_last, 3);
    sg_fact_pairs_free(pairs);
    sg_facts_free(facts);
    free_case(&c);
}

static void test_no_pairs(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_fact_pairs *pairs;
    pairs_case c = make_case();
    sg_facts *facts = parse(WORLD(FACT("lake", "icy") "," FACT("old tree", "proud")));
    assert_int_equal(sg_fact_pairs_new(c.model, c.tokenizer, facts, 0, 1, &pairs, &err),
                     SG_ERR_MISMATCH);
    assert_null(pairs);
    assert_non_null(strstr(err.message, "of 1 pairs of the others, 1 have unequal lengths"));
    sg_facts_free(facts);
    free_case(&c);
}

typedef struct pairs_user {
    const pairs_case *c;
    const sg_facts *facts;
} pairs_user;

static sg_status pairs_once(void *user, sg_error *err)
{
    sg_fact_pairs *pairs;
    const pairs_user *u = user;
    SG_TRY(sg_fact_pairs_new(u->c->model, u->c->tokenizer, u->facts, 0, 1, &pairs, err));
    sg_fact_pairs_free(pairs);
    return SG_OK;
}

static void test_pairs_memory(void **state)
{
    (void)state;
    pairs_case c = make_case();
    sg_facts *facts = parse(WORLD(FACT("lake", "icy") "," FACT("mum", "proud")));
    pairs_user user = {&c, facts};
    sg_error err = {0};
    must(pairs_once(&user, &err), &err); // the tokenizer makes what it keeps
    assert_true(alloc_failure_loop(pairs_once, &user) > 10);
    sg_facts_free(facts);
    free_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ours),          cmocka_unit_test(test_story_world),
        cmocka_unit_test(test_samples),       cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_memory),        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_long_subjects), cmocka_unit_test(test_no_pairs),
        cmocka_unit_test(test_pairs_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
