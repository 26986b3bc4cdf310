// sgatlin data synth: stories of the story world into a file, and the facts they are true to.
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_data.h"

static int64_t synth_stories = 20000;
static int64_t synth_seed = 0;
static const char *synth_out;
static const char *synth_facts;

static const cli_option synth_options[] = {
    {.name = "stories",
     .kind = CLI_COUNT,
     .value = &synth_stories,
     .argument = "N",
     .help = "how many stories to tell (one is about 1 kB)",
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
     .help = "also write what is true in this world, as JSON"},
    {0},
};

static bool synth_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_status synth_print(const sg_story_world *world, sg_error *err)
{
    char text[SG_STORY_MAX];
    size_t bytes;
    for (int64_t i = 0; i < synth_stories && !cli_stop_requested(); i++) {
        sg_status status = sg_story_tell(world, (uint64_t)i, text, &bytes, err);
        if (status != SG_OK) return status;
        fwrite(text, 1, bytes, stdout);
        if (fputs("\n<|endoftext|>\n", stdout) < 0) break; // said by cli_finish
    }
    return SG_OK;
}

static int synth_run(const cli_args *args)
{
    const bool print = strcmp(synth_out, "-") == 0;
    if (print && (args->json || synth_facts != NULL))
        return cli_wrong(args, "--out - takes neither --json nor --facts");
    cli_catch_signals();
    sg_error err = {0};
    sg_story_world *world = NULL;
    sg_status status = sg_story_world_new((uint64_t)synth_seed, &world, &err);
    if (status == SG_OK && print) {
        status = synth_print(world, &err);
    } else if (status == SG_OK) {
        cli_progress bar;
        cli_progress_begin(&bar, args, "stories", "stories");
        status = sg_story_write(world, (uint64_t)synth_stories, synth_out, synth_facts,
                                synth_progress, &bar, &err);
        cli_progress_end(&bar);
    }
    size_t facts = status == SG_OK ? sg_story_fact_count(world) : 0;
    sg_story_world_free(world);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (print) return CLI_DONE;
    if (args->json)
        return cli_print_json(args,
                              json_pack("{s:s, s:I, s:I, s:I, s:s?}", "out", synth_out, "stories",
                                        (json_int_t)synth_stories, "seed", (json_int_t)synth_seed,
                                        "facts", (json_int_t)facts, "facts_file", synth_facts));
    printf("%s: %lld stories true to %zu facts\n", synth_out, (long long)synth_stories, facts);
    return CLI_DONE;
}

const cli_command cli_cmd_data_synth = {
    .name = "data synth",
    .summary = "tell simple English stories with known facts",
    .usage = "--out FILE [--stories N] [--seed S] [--facts FILE]",
    .about = "Every noun of a world has one adjective for good (\"The lake was deep.\"), which "
             "stories tell and come back to. Stories are parted by lines \"<|endoftext|>\". The "
             "same seed tells the same stories, however many.",
    .options = synth_options,
    .example = "sgatlin data synth --stories 20000 --seed 1 --out stories.txt --facts f.json",
    .run = synth_run,
};
