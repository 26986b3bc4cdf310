// Any bytes as a file of facts: what is read has what its users rely on.
#include <stdlib.h>
#include <string.h>

#include "probe/facts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_prompt(const char *prompt)
{
    const char *subject = strstr(prompt, "{subject}"), *answer = strstr(prompt, "{answer}");
    if (subject == NULL || answer == NULL || answer < subject + strlen("{subject} ")) abort();
    if (answer[-1] != ' ') abort();
}

static void check_fact(const sg_facts *facts, const sg_fact *fact)
{
    if (fact->relation >= facts->relation_count || fact->subject[0] == '\0') abort();
    if (fact->answer_count == 0) abort();
    for (size_t i = 0; i < fact->answer_count; i++)
        if (fact->answers[i][0] == '\0') abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_facts *facts;
    sg_error err = {0};
    if (sg_facts_parse((const char *)data, size, "input", &facts, &err) != SG_OK) {
        if (facts != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    if (facts->count == 0 || facts->relation_count == 0) abort();
    for (size_t i = 0; i < facts->relation_count; i++)
        for (size_t n = 0; n < facts->relations[i].prompt_count; n++)
            check_prompt(facts->relations[i].prompts[n]);
    for (size_t i = 0; i < facts->count; i++)
        check_fact(facts, &facts->facts[i]);
    sg_facts_free(facts);
    return 0;
}
