// Writing the people of a story world: their biographies, and facts.json (docs/FORMATS.md). Facts
// are written as they are drawn, so that their number costs no memory; all words are plain letters,
// which JSON takes as they are.
#include "base/file.h"
#include "text/people_tables.h"
#include "sgatlin_data.h"

static void people_put_relations(sg_writer *writer)
{
    for (size_t r = 0; r < PEOPLE_RELATIONS; r++) {
        const people_relation *relation = &sg_people_relations[r];
        sg_writer_printf(writer, "%s\n    {\"name\": \"%s\", \"values\": %zu, \"prompts\": [",
                         r > 0 ? "," : "", relation->name, relation->count);
        for (size_t p = 0; p < PEOPLE_PROMPTS; p++)
            sg_writer_printf(writer, "%s\n      \"%s\"", p > 0 ? "," : "", relation->prompts[p]);
        sg_writer_printf(writer, "]}");
    }
}

static sg_status people_put_facts(const sg_people *people, sg_writer *writer, sg_error *err)
{
    const sg_people_options o = sg_people_options_of(people);
    // A seed has 64 bits, more than many readers of JSON keep in a number.
    sg_writer_printf(writer,
                     "{\n  \"format\": \"sgatlin facts\",\n  \"version\": 2,\n  \"seed\": \"%llu\","
                     "\n  \"people\": %llu,\n  \"tellings\": %llu,\n  \"bits\": %.0f,"
                     "\n  \"name_bits\": %.1f,\n  \"relations\": [",
                     (unsigned long long)o.seed, (unsigned long long)o.people,
                     (unsigned long long)o.tellings, sg_people_bits(people),
                     sg_people_name_bits(people));
    people_put_relations(writer);
    sg_writer_printf(writer, "],\n  \"facts\": [");
    for (uint64_t i = 0; i < o.facts; i++) {
        const sg_people_fact fact = sg_people_fact_at(people, i);
        sg_writer_printf(writer,
                         "%s\n    {\"subject\": \"%s\", \"relation\": \"%s\", \"answer\": \"%s\"}",
                         i > 0 ? "," : "", fact.subject, fact.relation, fact.answer);
        if (i % 4096 == 0) SG_TRY(sg_writer_flush(writer, err)); // a full disk is noticed now
    }
    sg_writer_printf(writer, "]\n}\n");
    return SG_OK;
}

static sg_status people_write_facts(const sg_people *people, const char *path, sg_error *err)
{
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err));
    sg_status status = people_put_facts(people, writer, err);
    if (status == SG_OK) return sg_writer_replace(writer, err);
    sg_writer_withdraw(writer);
    return status;
}

static sg_status people_write_all(const sg_people *people, sg_writer *writer,
                                  sg_progress_fn progress, void *user, sg_error *err)
{
    char text[SG_STORY_MAX];
    size_t bytes;
    const uint64_t count = sg_people_document_count(people);
    for (uint64_t i = 0; i < count; i++) {
        SG_TRY(sg_people_tell(people, i, text, &bytes, err));
        sg_writer_put(writer, text, bytes);
        sg_writer_put(writer, "\n<|endoftext|>\n", 15);
        if (i % 1024 != 0) continue;
        SG_TRY(sg_writer_flush(writer, err)); // a full disk is noticed now, not at the end
        if (progress != NULL && !progress(user, (int64_t)i, (int64_t)count))
            return sg_fail(err, SG_ERR_STOPPED, "writing biographies was stopped");
    }
    if (progress != NULL && !progress(user, (int64_t)count, (int64_t)count))
        return sg_fail(err, SG_ERR_STOPPED, "writing biographies was stopped");
    return SG_OK;
}

sg_status sg_people_write(const sg_people *people, const char *path, const char *facts_path,
                          sg_progress_fn progress, void *progress_user, sg_error *err)
{
    sg_writer *writer;
    if (facts_path != NULL) SG_TRY(sg_output_check(facts_path, SG_OUTPUT_REPLACE, err));
    SG_TRY(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err));
    sg_status status = people_write_all(people, writer, progress, progress_user, err);
    if (status == SG_OK && facts_path != NULL) status = people_write_facts(people, facts_path, err);
    if (status == SG_OK) return sg_writer_replace(writer, err);
    sg_writer_withdraw(writer);
    return status;
}
