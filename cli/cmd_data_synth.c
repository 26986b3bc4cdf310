// sgatlin data synth: stories of the story world, or biographies of people of it, into a file, and
// the facts they are true to.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_data.h"

static int64_t synth_stories = 20000;
static int64_t synth_seed = 0;
static const char *synth_out;
static const char *synth_facts;
static int64_t synth_people = 0;
static int64_t synth_people_facts = 0;
static int64_t synth_tellings = 100;

static const cli_option synth_options[] = {
    {.name = "stories",
     .kind = CLI_COUNT,
     .value = &synth_stories,
     .argument = "N",
     .help =
         "how many stories to tell (one is about 1 kB); with --people none but those asked for, "
         "which stand among the biographies",
     .low = 1,
     .high = 1e12},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &synth_seed,
     .argument = "S",
     .help = "which world: its facts and its stories",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &synth_out,
     .argument = "FILE",
     .shown = "",
     .help = "where the stories go; - is the standard output",
     .required = true},
    {.name = "facts",
     .kind = CLI_STRING,
     .value = &synth_facts,
     .argument = "FILE",
     .shown = "",
     .help = "also write what is true in this world, as JSON; with --people of the people alone"},
    {.name = "", .kind = CLI_HEADING, .help = "Biographies in place of stories"},
    {.name = "people",
     .kind = CLI_COUNT,
     .value = &synth_people,
     .argument = "N",
     .shown = "",
     .help = "tell of N people that exist nowhere else, no two of one name",
     .low = 1,
     .high = SG_PEOPLE_MOST},
    {.name = "people-facts",
     .kind = CLI_COUNT,
     .value = &synth_people_facts,
     .argument = "N",
     .shown = "8 a person",
     .help = "how many facts about them in all, 1 to 8 a person; --facts is the file they go to",
     .low = 1,
     .high = 8.0 * SG_PEOPLE_MOST},
    {.name = "tellings",
     .kind = CLI_COUNT,
     .value = &synth_tellings,
     .argument = "N",
     .help = "biographies of each person: how often each fact is told",
     .low = 1,
     .high = SG_PEOPLE_TELLINGS_MOST},
    {0},
};

static bool synth_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// What is told: the stories of a world, or what people's documents are; the other is NULL.
typedef struct synth_source {
    sg_story_world *world;
    sg_people *people;
    int64_t documents;
} synth_source;

static sg_status synth_open(const cli_args *args, synth_source *source, sg_error *err)
{
    source->documents = synth_stories;
    if (synth_people == 0) return sg_story_world_new((uint64_t)synth_seed, &source->world, err);
    sg_people_options o = sg_people_options_default();
    o.seed = (uint64_t)synth_seed;
    o.people = (uint64_t)synth_people;
    o.facts = (uint64_t)synth_people_facts;
    o.tellings = (uint64_t)synth_tellings;
    o.stories = cli_given(args, "stories") ? (uint64_t)synth_stories : 0;
    sg_status status = sg_people_new(&o, &source->people, err);
    if (status == SG_OK) source->documents = (int64_t)sg_people_document_count(source->people);
    return status;
}

static void synth_close(synth_source *source)
{
    sg_story_world_free(source->world);
    sg_people_free(source->people);
}

static sg_status synth_print(const synth_source *source, sg_error *err)
{
    char text[SG_STORY_MAX];
    size_t bytes;
    for (int64_t i = 0; i < source->documents && !cli_stop_requested(); i++) {
        sg_status status = source->people != NULL
                               ? sg_people_tell(source->people, (uint64_t)i, text, &bytes, err)
                               : sg_story_tell(source->world, (uint64_t)i, text, &bytes, err);
        if (status != SG_OK) return status;
        fwrite(text, 1, bytes, stdout);
        if (fputs("\n<|endoftext|>\n", stdout) < 0) break; // said by cli_finish
    }
    return SG_OK;
}

static sg_status synth_write(const cli_args *args, const synth_source *source, sg_error *err)
{
    cli_progress bar;
    const char *unit = source->people != NULL ? "documents" : "stories";
    cli_progress_begin(&bar, args, unit, unit);
    sg_status status =
        source->people != NULL
            ? sg_people_write(source->people, synth_out, synth_facts, synth_progress, &bar, err)
            : sg_story_write(source->world, (uint64_t)synth_stories, synth_out, synth_facts,
                             synth_progress, &bar, err);
    cli_progress_end(&bar);
    return status;
}

static int synth_report_people(const cli_args *args, const sg_people *people)
{
    const sg_people_options o = sg_people_options_of(people);
    const double bits = sg_people_bits(people), name_bits = sg_people_name_bits(people);
    if (args->json)
        return cli_print_json(
            args, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:s?}", "out", synth_out,
                            "people", (json_int_t)o.people, "facts", (json_int_t)o.facts,
                            "tellings", (json_int_t)o.tellings, "stories", (json_int_t)o.stories,
                            "seed", (json_int_t)synth_seed, "bits", bits, "name_bits", name_bits,
                            "facts_file", synth_facts));
    printf("%s: %llu biographies and %llu stories: %llu facts about %llu people, each told %llu "
           "times\n",
           synth_out, (unsigned long long)(o.people * o.tellings), (unsigned long long)o.stories,
           (unsigned long long)o.facts, (unsigned long long)o.people,
           (unsigned long long)o.tellings);
    printf("  %.0f bits of answers, %.0f of who exists\n", bits, name_bits);
    return CLI_DONE;
}

static int synth_report(const cli_args *args, const synth_source *source)
{
    if (source->people != NULL) return synth_report_people(args, source->people);
    const size_t facts = sg_story_fact_count(source->world);
    if (args->json)
        return cli_print_json(args,
                              json_pack("{s:s, s:I, s:I, s:I, s:s?}", "out", synth_out, "stories",
                                        (json_int_t)synth_stories, "seed", (json_int_t)synth_seed,
                                        "facts", (json_int_t)facts, "facts_file", synth_facts));
    printf("%s: %lld stories true to %zu facts\n", synth_out, (long long)synth_stories, facts);
    return CLI_DONE;
}

static int synth_run(const cli_args *args)
{
    const bool print = strcmp(synth_out, "-") == 0;
    if (print && (args->json || synth_facts != NULL))
        return cli_wrong(args, "--out - takes neither --json nor --facts");
    if (synth_people == 0 && (cli_given(args, "people-facts") || cli_given(args, "tellings")))
        return cli_wrong(args, "--people-facts and --tellings: go with --people only");
    cli_catch_signals();
    sg_error err = {0};
    synth_source source = {0};
    sg_status status = synth_open(args, &source, &err);
    if (status == SG_OK)
        status = print ? synth_print(&source, &err) : synth_write(args, &source, &err);
    int code = status != SG_OK ? cli_fail(args, status, &err)
               : print         ? CLI_DONE
                               : synth_report(args, &source);
    synth_close(&source);
    return code;
}

const cli_command cli_cmd_data_synth = {
    .name = "data synth",
    .summary = "tell simple English stories with known facts",
    .usage = "--out FILE [--stories N] [--people N] [--seed S] [--facts FILE] [options]",
    .about = "Every noun of a world has one adjective for good (\"The lake was deep.\"), which "
             "stories tell and come back to. Stories are parted by lines \"<|endoftext|>\". The "
             "same seed tells the same stories, however many.\n"
             "\n"
             "With --people it tells short biographies: each person has a birthplace, trade, pet, "
             "instrument, food, colour, collection and fear, each drawn uniformly from 16 to 64 "
             "words, 41 bits in all, told in several phrasings. A model that knows the facts has "
             "stored at least that many bits. FILE of --facts is what probe patch takes.",
    .options = synth_options,
    .example = "sgatlin data synth --stories 20000 --seed 1 --out stories.txt --facts f.json\n"
               "sgatlin data synth --people 125 --tellings 100 --out lives.txt --facts f.json",
    .run = synth_run,
};
