// sgatlin probe map: a map of patterns of gates, or of the rows of any array.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/recorded.h"

static struct {
    const char *colour, *metric;
    cli_strings out;
    int64_t layer, channel, top, rows, seed;
    bool npy, activations, force;
    sg_umap_options umap;
} map = {.colour = "input", .metric = "cosine", .layer = -1, .rows = 20000};

static const cli_option map_options[] = {
    {.name = "out",
     .kind = CLI_STRINGS,
     .value = &map.out,
     .argument = "FILE",
     .shown = "",
     .help = "where to; may be given several times: .csv, a line a token; .svg, a drawing; .json, "
             "parameters and columns"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &map.force,
     .help = "replace files that are there"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &map.seed,
     .argument = "N",
     .help = "of all that is drawn: rows, first places, negative samples",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "", .kind = CLI_HEADING, .help = "What is mapped"},
    {.name = "layer",
     .kind = CLI_COUNT,
     .value = &map.layer,
     .argument = "L",
     .shown = "",
     .help = "of a record: layer, from 0",
     .low = 0,
     .high = 1e6},
    {.name = "channel",
     .kind = CLI_COUNT,
     .value = &map.channel,
     .argument = "C",
     .help = "channel of the layer, from 0",
     .low = 0,
     .high = 1e6},
    {.name = "tokens-top",
     .kind = CLI_COUNT,
     .value = &map.top,
     .argument = "N",
     .shown = "all",
     .help = "only the N most frequent input tokens; 100 as published",
     .low = 1,
     .high = 1e9},
    {.name = "rows",
     .kind = CLI_COUNT,
     .value = &map.rows,
     .argument = "N",
     .help = "at most N rows, drawn where there are more",
     .low = 1,
     .high = 1e7},
    {.name = "colour",
     .kind = CLI_STRING,
     .value = &map.colour,
     .argument = "WHAT",
     .help = "colours of the drawing: the token that was read, or the next one, in which case "
             "tokens without a next one are left out",
     .choices = "input|next"},
    {.name = "activations",
     .kind = CLI_FLAG,
     .value = &map.activations,
     .help = "activations (hook_post) in place of the router's scores, as always in a dense layer"},
    {.name = "npy",
     .kind = CLI_FLAG,
     .value = &map.npy,
     .help = "FILE is an .npy array of floats, (rows, …), in place of a record: embeddings, values "
             "of probe dump"},
    {.name = "", .kind = CLI_HEADING, .help = "How: names and defaults of umap-learn"},
    {.name = "neighbors",
     .kind = CLI_COUNT,
     .value = &map.umap.neighbours,
     .argument = "K",
     .help = "neighbours of a row in its graph, itself counted",
     .low = 2,
     .high = 10000},
    {.name = "min-dist",
     .kind = CLI_DOUBLE,
     .value = &map.umap.min_dist,
     .argument = "D",
     .help = "how near rows may come to each other on the map",
     .low = 0,
     .high = 1e6},
    {.name = "spread",
     .kind = CLI_DOUBLE,
     .value = &map.umap.spread,
     .argument = "D",
     .help = "scale of the map",
     .low = 1e-3,
     .high = 1e6},
    {.name = "epochs",
     .kind = CLI_COUNT,
     .value = &map.umap.epochs,
     .argument = "N",
     .shown = "500 up to 10,000 rows, else 200",
     .help = "how often edges are taken at most",
     .low = 1,
     .high = 100000},
    {.name = "negative-samples",
     .kind = CLI_COUNT,
     .value = &map.umap.negative_samples,
     .argument = "N",
     .help = "rows that are drawn to go away from, each time an edge is taken",
     .low = 0,
     .high = 1000},
    {.name = "rate",
     .kind = CLI_DOUBLE,
     .value = &map.umap.rate,
     .argument = "R",
     .help = "length of the first steps",
     .low = 1e-6,
     .high = 1e6},
    {.name = "metric",
     .kind = CLI_STRING,
     .value = &map.metric,
     .argument = "NAME",
     .help = "distance between rows",
     .choices = "cosine|euclidean"},
    {.name = "components",
     .kind = CLI_COUNT,
     .value = &map.umap.components,
     .argument = "N",
     .help = "dimensions of the map; a drawing shows the first two",
     .low = 2,
     .high = 3},
    {.name = "quality-neighbors",
     .kind = CLI_COUNT,
     .value = &map.umap.quality_neighbours,
     .argument = "K",
     .help = "neighbours that trustworthiness and overlap count",
     .low = 1,
     .high = 10000},
    {.name = "quality-rows",
     .kind = CLI_COUNT,
     .value = &map.umap.quality_rows,
     .argument = "N",
     .help = "rows whose neighbours are looked at, drawn where there are more",
     .low = 1,
     .high = 1e9},
    {0},
};

// The defaults of the library are those of the options.
static const cli_option *map_table(void)
{
    static bool filled;
    if (!filled) map.umap = sg_umap_options_default();
    filled = true;
    return map_options;
}

// ---- what is mapped -----------------------------------------------------------------------------

typedef struct map_rows {
    sg_record *record;
    sg_patterns *patterns;
    sg_array *rows;
    const sg_vectors *vectors;
} map_rows;

static void map_rows_free(map_rows *r)
{
    sg_patterns_free(r->patterns);
    sg_record_free(r->record);
    sg_array_free(r->rows);
}

static sg_status map_rows_open(const cli_args *args, map_rows *r, sg_error *err)
{
    const char *path = args->operands[0];
    sg_patterns_options o = sg_patterns_options_default();
    if (map.npy) {
        const sg_status status = sg_array_open(path, &r->rows, err);
        if (status == SG_OK) r->vectors = &r->rows->vectors;
        return status;
    }
    o.layer = map.layer;
    o.channel = map.channel;
    o.top = map.top;
    o.most = map.rows;
    o.seed = (uint64_t)map.seed;
    o.activations = map.activations;
    o.next_known = strcmp(map.colour, "next") == 0;
    sg_status status = sg_record_open(path, &r->record, err);
    if (status == SG_OK) status = sg_patterns_read(r->record, &o, &r->patterns, err);
    if (status != SG_OK) return status;
    r->vectors = &r->patterns->vectors;
    cli_patterns_note(args, r->patterns);
    if (r->vectors->rows < r->patterns->fitting)
        cli_note(args, "%lld rows drawn of %lld (--rows)", (long long)r->vectors->rows,
                 (long long)r->patterns->fitting);
    return SG_OK;
}

// ---- results ------------------------------------------------------------------------------------

static void map_print_quality(const sg_umap *m, const sg_umap_options *o)
{
    if (m->quality_rows == 0) {
        printf("trustworthiness: not known, there are too few rows\n");
        return;
    }
    printf("trustworthiness %.4f, neighbour overlap %.4f (%lld neighbours of ", m->trustworthiness,
           m->overlap, (long long)m->quality_neighbours);
    if (m->quality_rows < m->rows)
        printf("%lld rows that were drawn)\n", (long long)m->quality_rows);
    else
        printf("all rows)\n");
    if (m->quality_neighbours < o->quality_neighbours)
        printf("fewer than %lld neighbours: there are only %lld rows\n",
               (long long)o->quality_neighbours, (long long)m->rows);
}

static void map_print(const map_rows *r, const sg_umap *m, const sg_umap_options *o)
{
    if (r->patterns != NULL)
        printf("layer %lld, channel %lld: ", (long long)r->patterns->layer,
               (long long)r->patterns->channel);
    printf("%lld row%s, %lld edges, %lld part%s\n", (long long)m->rows, m->rows == 1 ? "" : "s",
           (long long)m->edges, (long long)m->parts, m->parts == 1 ? "" : "s");
    if (m->parts > 1)
        printf("parts are joined by no neighbours: how far they lie apart was chosen here\n");
    if (m->neighbours < o->neighbours)
        printf("neighbours: %lld in place of %lld, there are no more rows\n",
               (long long)m->neighbours, (long long)o->neighbours);
    if (m->duplicates > 0)
        printf("%lld row%s equal to another\n", (long long)m->duplicates,
               m->duplicates == 1 ? " is" : "s are");
    if (m->zeros > 0 && o->metric == SG_METRIC_COSINE)
        printf("%lld row%s nothing but zeros: at distance 1 from all, so that their places say "
               "nothing\n",
               (long long)m->zeros, m->zeros == 1 ? " is" : "s are");
    map_print_quality(m, o);
    printf(
        "What is near on the map was near before as often as trustworthiness says; how far apart, "
        "how large and how dense its clusters are means nothing.\n");
}

static int map_report(const cli_args *args, const map_rows *r, const sg_umap *m, sg_error *err)
{
    char *command = cli_command_line(args);
    const sg_umap_notes notes = {.record = r->record,
                                 .patterns = r->patterns,
                                 .colour_next = strcmp(map.colour, "next") == 0,
                                 .options = &map.umap,
                                 .source = args->operands[0],
                                 .command = command};
    sg_status status = SG_OK;
    char *text = NULL;
    for (int i = 0; status == SG_OK && i < map.out.count; i++)
        status = sg_umap_write(m, &notes, map.out.items[i], map.force, err);
    if (status == SG_OK && args->json) status = sg_umap_json(m, &notes, &text, err);
    free(command);
    if (status != SG_OK) return cli_fail(args, status, err);
    if (args->json)
        puts(text);
    else
        map_print(r, m, &map.umap);
    sg_buffer_free(text);
    return CLI_DONE;
}

// ---- all ----------------------------------------------------------------------------------------

typedef struct map_talk {
    const cli_args *args;
    cli_progress bar;
    bool open;
} map_talk;

static void map_part(void *user, const char *name)
{
    map_talk *talk = user;
    if (talk->open) cli_progress_end(&talk->bar);
    cli_progress_begin(&talk->bar, talk->args, name, "");
    talk->open = true;
}

static bool map_progress(void *user, int64_t done, int64_t total)
{
    map_talk *talk = user;
    cli_progress_update(&talk->bar, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static int map_wrong(const cli_args *args)
{
    static const char *const of_record[] = {"layer",  "channel",     "tokens-top", "rows",
                                            "colour", "activations", NULL};
    for (int i = 0; map.npy && of_record[i] != NULL; i++)
        if (cli_given(args, of_record[i]))
            return cli_wrong(args, "--%s: goes with a record, not with --npy", of_record[i]);
    if (!map.npy && map.layer < 0) return cli_wrong(args, "found no --layer, which a record needs");
    if (map.out.count == 0 && !args->json)
        return cli_wrong(args, "found no --out and no --json: the map would be lost");
    return CLI_DONE;
}

static sg_status map_make(const cli_args *args, sg_context *context, const map_rows *r,
                          sg_umap **made, sg_error *err)
{
    map_talk talk = {.args = args};
    map.umap.seed = (uint64_t)map.seed;
    map.umap.metric = strcmp(map.metric, "cosine") == 0 ? SG_METRIC_COSINE : SG_METRIC_EUCLIDEAN;
    map.umap.part = map_part;
    map.umap.progress = map_progress;
    map.umap.user = &talk;
    const sg_status status = sg_umap_make(context, r->vectors, &map.umap, made, err);
    if (talk.open) cli_progress_end(&talk.bar);
    return status;
}

static int map_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_umap *made = NULL;
    map_rows rows = {0};
    const int wrong = map_wrong(args);
    if (wrong != CLI_DONE) return wrong;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    for (int i = 0; status == SG_OK && i < map.out.count; i++)
        status = sg_umap_write_check(map.out.items[i], map.force, &err);
    if (status == SG_OK) status = map_rows_open(args, &rows, &err);
    if (status == SG_OK) status = map_make(args, context, &rows, &made, &err);
    const int code =
        status == SG_OK ? map_report(args, &rows, made, &err) : cli_fail(args, status, &err);
    sg_umap_free(made);
    map_rows_free(&rows);
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_probe_map = {
    .name = "probe map",
    .summary = "a map of patterns of gates (UMAP), and what it is worth",
    .usage = "(RECORD --layer L | --npy FILE) --out FILE [options]",
    .about =
        "UMAP (McInnes, Healy, Melville 2018) of the gates of one channel at the tokens of a "
        "record, from exact neighbours. The same seed gives the same map, to the bit, with any "
        "number of threads.\n"
        "\n"
        "Trustworthiness (Venna and Kaski 2001) is 1 where all neighbours on the map were "
        "neighbours before; overlap is the mean share of a row's neighbours that are its "
        "neighbours on the map. Distances between clusters, their sizes and densities on the map "
        "mean nothing.",
    .table = map_table,
    .example = "sgatlin probe map scope.db --layer 2 --tokens-top 100 --out map.svg\n"
               "sgatlin probe map --npy embeddings.npy --out map.json",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "FILE",
    .run = map_run,
};
