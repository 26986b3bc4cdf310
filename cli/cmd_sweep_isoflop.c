// sgatlin sweep isoflop: families at equal FLOPs. Makes the sweep file of such a comparison, and
// the sweep.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/sweep_options.h"

static struct {
    const char *budgets, *families, *scales, *seeds, *base, *lr, *facts;
    double search_budget;
    bool all_seeds;
} given = {.base = "laptop", .seeds = "1"};

static const cli_option options[] = {
    {.name = "budgets",
     .kind = CLI_STRING,
     .value = &given.budgets,
     .argument = "LIST",
     .shown = "",
     .required = true,
     .help = "published FLOPs of a run, joined by commas: 1e12,3e12,1e13"},
    {.name = "families",
     .kind = CLI_STRING,
     .value = &given.families,
     .argument = "LIST",
     .shown = "",
     .required = true,
     .help = "what is compared, joined by commas: mlp,glu,moe,peer,sgatlin"},
    {.name = "scales",
     .kind = CLI_STRING,
     .value = &given.scales,
     .argument = "LIST",
     .shown = "none",
     .help = "sizes of the ladder of presets, joined by commas: 2,3,4,5,6; five at least are "
             "needed for an exponent"},
    {.name = "seeds",
     .kind = CLI_STRING,
     .value = &given.seeds,
     .argument = "LIST",
     .help = "of weights and data order, joined by commas; the first is run everywhere, the others "
             "at the best two scales of each family and budget"},
    {.name = "seeds-everywhere",
     .kind = CLI_FLAG,
     .value = &given.all_seeds,
     .help = "run all seeds at all scales"},
    {.name = "base",
     .kind = CLI_STRING,
     .value = &given.base,
     .argument = "NAME",
     .choices = "laptop|slimpajama|tinystories",
     .help = "the ladder: presets NAME-FAMILY-sSCALE"},
    {.name = "lr",
     .kind = CLI_STRING,
     .value = &given.lr,
     .argument = "LIST",
     .shown = "half the preset's, the preset's, twice the preset's",
     .help = "learning rates to begin the search with, joined by commas, each the same multiple of "
             "the one before; one alone is taken as it is"},
    {.name = "search-budget",
     .kind = CLI_DOUBLE,
     .value = &given.search_budget,
     .argument = "X",
     .shown = "every budget",
     .help = "the budget at which rates are searched; the others take what was found there",
     .low = 1,
     .high = INFINITY},
    {.name = "facts",
     .kind = CLI_STRING,
     .value = &given.facts,
     .argument = "FILE",
     .shown = "none",
     .help = "facts that every model is asked for in the end (sgatlin data synth --facts)"},
    {.name = "", .kind = CLI_HEADING, .help = "The sweep"},
    CLI_SWEEP_OPTIONS,
    {0}};

// ---- lists --------------------------------------------------------------------------------------

enum { list_most = 64 };

typedef struct list {
    char *text; // cut at its commas
    const char *items[list_most];
    size_t count;
} list;

// Frees of the text: list_free. Empty lists and items are refused.
static int list_read(const cli_args *args, const char *name, const char *text, list *out)
{
    *out = (list){0};
    if (text == NULL) return CLI_DONE;
    out->text = strdup(text);
    if (out->text == NULL) return cli_wrong(args, "--%s: out of memory", name);
    for (char *at = out->text, *next; at != NULL; at = next) {
        next = strchr(at, ',');
        if (next != NULL) *next++ = '\0';
        if (*at == '\0') return cli_wrong(args, "--%s: found an empty item in '%s'", name, text);
        if (out->count == list_most)
            return cli_wrong(args, "--%s: found more than %d items", name, list_most);
        out->items[out->count++] = at;
    }
    return CLI_DONE;
}

static int list_numbers(const cli_args *args, const char *name, const list *from, double *out)
{
    for (size_t i = 0; i < from->count; i++)
        if (!cli_read_double(from->items[i], &out[i]))
            return cli_wrong(args, "--%s: found '%s', expected a number", name, from->items[i]);
    return CLI_DONE;
}

static int list_seeds(const cli_args *args, const list *from, uint64_t *out)
{
    for (size_t i = 0; i < from->count; i++) {
        int64_t seed;
        if (!cli_read_int(from->items[i], &seed) || seed < 0 || (double)seed > CLI_SEED_MOST)
            return cli_wrong(args, "--seeds: found '%s', expected an integer from 0 to 9e18",
                             from->items[i]);
        out[i] = (uint64_t)seed;
    }
    return CLI_DONE;
}

// ---- the file, and the sweep --------------------------------------------------------------------

typedef struct lists {
    list budgets, families, scales, seeds, rates;
    double budget[list_most], scale[list_most], rate[list_most];
    uint64_t seed[list_most];
} lists;

static int isoflop_read(const cli_args *args, lists *l)
{
    int code = list_read(args, "budgets", given.budgets, &l->budgets);
    if (code == CLI_DONE) code = list_read(args, "families", given.families, &l->families);
    if (code == CLI_DONE) code = list_read(args, "scales", given.scales, &l->scales);
    if (code == CLI_DONE) code = list_read(args, "seeds", given.seeds, &l->seeds);
    if (code == CLI_DONE) code = list_read(args, "lr", given.lr, &l->rates);
    if (code == CLI_DONE) code = list_numbers(args, "budgets", &l->budgets, l->budget);
    if (code == CLI_DONE) code = list_numbers(args, "scales", &l->scales, l->scale);
    if (code == CLI_DONE) code = list_numbers(args, "lr", &l->rates, l->rate);
    if (code == CLI_DONE) code = list_seeds(args, &l->seeds, l->seed);
    return code;
}

static int isoflop_go(const cli_args *args, const lists *l)
{
    sg_error err = {0};
    char *text;
    sg_isoflop_options o = sg_isoflop_options_default();
    o.base = given.base;
    o.facts = given.facts;
    o.budgets = l->budget;
    o.budget_count = l->budgets.count;
    o.families = l->families.items;
    o.family_count = l->families.count;
    o.scales = l->scale;
    o.scale_count = l->scales.count;
    o.seeds = l->seed;
    o.seed_count = l->seeds.count;
    o.seeds_at_best = !given.all_seeds;
    o.rates = l->rate;
    o.rate_count = l->rates.count;
    if (cli_given(args, "search-budget")) o.search_budget = given.search_budget;
    const sg_status status = sg_isoflop_write(&o, &text, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    const int code = cli_sweep_go(args, NULL, text);
    sg_buffer_free(text);
    return code;
}

static int isoflop_run(const cli_args *args)
{
    static lists l;
    if (cli_sweep.data == NULL) return cli_wrong(args, "found no --data, expected it");
    int code = isoflop_read(args, &l);
    if (code == CLI_DONE) code = isoflop_go(args, &l);
    list *const all[] = {&l.budgets, &l.families, &l.scales, &l.seeds, &l.rates};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->text);
    return code;
}

const cli_command cli_cmd_sweep_isoflop = {
    .name = "sweep isoflop",
    .summary = "compare families at equal FLOPs",
    .usage = "--budgets LIST --families LIST --scales LIST --data DIR --out DIR [options]",
    .about =
        "Every family is trained at every scale for every budget. The learning rate is searched "
        "for each of them alike: the given rates, further ones beyond an edge that is best (at "
        "most two), then the two midpoints beside the best. What is compared are the best of each "
        "family and budget, over their seeds. DIR/sweep.json is the file: it can be changed for "
        "another folder, and made by sgatlin sweep.",
    .options = options,
    .example = "sgatlin sweep isoflop --budgets 1e11,4e11 --families glu,moe,sgatlin \\\n"
               "    --scales 1,2,3,4,5 --seeds 1,2,3 --data data --out isoflop",
    .max_operands = 0,
    .run = isoflop_run,
};
