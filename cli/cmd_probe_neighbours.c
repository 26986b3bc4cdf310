// sgatlin probe neighbours: tokens with the nearest patterns of gates.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/recorded.h"

static struct {
    const char *positions, *text, *model, *adapter, *tokenizer;
    int64_t layer, channel, token, sequence, count, around, predictions;
    bool others, activations;
} near = {.token = -1, .sequence = -1, .count = 10, .around = 5, .predictions = 5};

static const cli_option near_options[] = {
    {.name = "layer",
     .kind = CLI_COUNT,
     .value = &near.layer,
     .argument = "L",
     .shown = "",
     .help = "layer, from 0",
     .low = 0,
     .high = 1e6,
     .required = true},
    {.name = "channel",
     .kind = CLI_COUNT,
     .value = &near.channel,
     .argument = "C",
     .help = "channel of the layer, from 0",
     .low = 0,
     .high = 1e6},
    {.name = "count",
     .kind = CLI_COUNT,
     .value = &near.count,
     .argument = "N",
     .help = "neighbours of each token",
     .low = 1,
     .high = 1e6},
    {.name = "other-sequences",
     .kind = CLI_FLAG,
     .value = &near.others,
     .help = "of other sequences alone; as published, those of the same one count"},
    {.name = "activations",
     .kind = CLI_FLAG,
     .value = &near.activations,
     .help = "compare activations (hook_post) in place of the router's scores, as always in a "
             "dense layer"},
    {.name = "around",
     .kind = CLI_COUNT,
     .value = &near.around,
     .argument = "N",
     .help = "tokens that are shown before and behind each",
     .low = 0,
     .high = 1000},
    {.name = "predictions",
     .kind = CLI_COUNT,
     .value = &near.predictions,
     .argument = "N",
     .help = "likeliest next tokens that are shown, of those that were recorded",
     .low = 0,
     .high = 100},
    {.name = "", .kind = CLI_HEADING, .help = "Of which tokens, one of"},
    {.name = "token",
     .kind = CLI_COUNT,
     .value = &near.token,
     .argument = "ID",
     .shown = "",
     .help = "a token of the record, by its id",
     .low = 0,
     .high = 9e18},
    {.name = "sequence",
     .kind = CLI_COUNT,
     .value = &near.sequence,
     .argument = "S",
     .shown = "",
     .help = "those of a sequence of the record",
     .low = 0,
     .high = 9e18},
    {.name = "text",
     .kind = CLI_STRING,
     .value = &near.text,
     .argument = "TEXT",
     .shown = "",
     .help = "those of a new text, which --model reads, begun as generate begins it"},
    {.name = "", .kind = CLI_HEADING, .help = "With --sequence and --text"},
    {.name = "positions",
     .kind = CLI_STRING,
     .value = &near.positions,
     .argument = "A-B",
     .shown = "all",
     .help = "those at these positions alone, from 0; A- is to the end"},
    {.name = "", .kind = CLI_HEADING, .help = "With --text"},
    {.name = "model",
     .kind = CLI_STRING,
     .value = &near.model,
     .argument = "DIR",
     .shown = "",
     .help = "the model that was recorded"},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &near.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of it"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &near.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {0},
};

// Tokens, and where they are recorded.
typedef struct near_side {
    sg_record *record;
    sg_patterns *patterns;
} near_side;

typedef struct near_work {
    const cli_args *args;
    near_side rows;
    near_side text;        // of --text: a record of its own, in a folder that goes
    char folder[CLI_PATH]; // "": none
    const near_side *of;   // where the queries are
    int64_t first, end;    // rows of its patterns
    int64_t *begins;       // of the queries
    int32_t *ids;          // (queries, count)
    double *distances;
} near_work;

static sg_status near_fail(sg_error *err, sg_status code, const char *words)
{
    snprintf(err->message, sizeof err->message, "%s", words);
    return err->code = code;
}

// ---- a new text ---------------------------------------------------------------------------------

static void near_folder_remove(near_work *w)
{
    static const char *const names[] = {"text.db", "text.db-wal", "text.db-shm", "text.db-journal"};
    char path[CLI_PATH + 32];
    if (w->folder[0] == '\0') return;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", w->folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(w->folder);
    w->folder[0] = '\0';
}

static sg_status near_folder_make(near_work *w, sg_error *err)
{
    const char *where = getenv("TMPDIR");
    if (where == NULL || where[0] == '\0') where = "/tmp";
    const int bytes = snprintf(w->folder, sizeof w->folder, "%s/sgatlin-XXXXXX", where);
    if (bytes < (int)sizeof w->folder && mkdtemp(w->folder) != NULL) return SG_OK;
    snprintf(err->message, sizeof err->message, "%.400s: cannot make a folder for --text: %s",
             w->folder, strerror(errno));
    w->folder[0] = '\0';
    return err->code = SG_ERR_IO;
}

static bool near_go_on(void *user, int64_t done, int64_t total)
{
    (void)user, (void)done, (void)total;
    return !cli_stop_requested();
}

// The text is recorded as the tokens were that it is compared with, so that gates mean the same.
static sg_status near_text_record(near_work *w, sg_model *model, const sg_tokenizer *tokenizer,
                                  sg_error *err)
{
    const sg_record_layer *layer = sg_record_find_layer(w->rows.record, near.layer);
    const sg_record_info *info = sg_record_get_info(w->rows.record);
    char path[CLI_PATH + 32], layers[32], channels[32];
    sg_record_options o = sg_record_options_default();
    const sg_status made = near_folder_make(w, err);
    if (made != SG_OK) return made;
    snprintf(path, sizeof path, "%s/text.db", w->folder);
    snprintf(layers, sizeof layers, "%lld", (long long)near.layer);
    snprintf(channels, sizeof channels, "%lld", (long long)near.channel);
    o.path = path;
    o.text = near.text;
    o.text_bytes = strlen(near.text);
    o.tokenizer = tokenizer;
    o.layers = layers;
    o.channels = channels;
    o.unit = layer->unit > 1 ? SG_RECORD_BLOCK : SG_RECORD_NEURON;
    if (layer->strongest) o.top = layer->slots;
    o.stop_at_layer = info->stop_at_layer;
    o.predictions = info->predictions;
    o.progress = near_go_on;
    sg_status status = sg_probe_record(model, &o, NULL, err);
    if (status == SG_OK) status = sg_record_open(path, &w->text.record, err);
    if (status != SG_OK) return status;
    if (sg_record_get_info(w->text.record)->model_checksum != info->model_checksum)
        return near_fail(err, SG_ERR_MISMATCH,
                         "model: is another than the one that was recorded: its gates cannot be "
                         "compared");
    return SG_OK;
}

static sg_status near_text_open(near_work *w, sg_context *context, sg_error *err)
{
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    char folder[CLI_PATH];
    sg_status status = cli_model_open(context, near.model, "stored", &model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(context, near.adapter, model, err);
    if (status == SG_OK) status = cli_tokenizer_open(near.tokenizer, folder, &tokenizer, err);
    if (status == SG_OK) status = near_text_record(w, model, tokenizer, err);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    return status;
}

// ---- which tokens -------------------------------------------------------------------------------

static sg_status near_patterns(near_side *side, sg_error *err)
{
    sg_patterns_options o = sg_patterns_options_default();
    o.layer = near.layer;
    o.channel = near.channel;
    o.activations = near.activations;
    return sg_patterns_read(side->record, &o, &side->patterns, err);
}

// Rows [first, end) of the patterns that are asked for: those of neighbours in a sequence.
static sg_status near_choose(near_work *w, sg_error *err)
{
    const sg_patterns *p = w->of->patterns;
    int64_t low = 0, high = INT64_MAX;
    if (near.positions != NULL) cli_range_read(near.positions, &low, &high);
    for (int64_t r = 0; r < p->vectors.rows; r++) {
        const bool fits = near.token >= 0
                              ? p->tokens[r] == near.token
                              : (near.text != NULL || p->sequences[r] == near.sequence) &&
                                    p->positions[r] >= low && p->positions[r] <= high;
        if (!fits) continue;
        if (w->end == 0) w->first = r;
        w->end = r + 1;
    }
    if (w->end > 0) return SG_OK;
    if (near.token >= 0)
        snprintf(err->message, sizeof err->message, "token %lld: has no gates in this record",
                 (long long)near.token);
    else
        snprintf(err->message, sizeof err->message, "%s: no token there has gates%s",
                 near.text != NULL ? "text" : "sequence",
                 near.text != NULL ? "" : " in this record");
    return err->code = SG_ERR_NOT_FOUND;
}

static sg_status near_find(near_work *w, sg_context *context, sg_error *err)
{
    const sg_patterns *p = w->of->patterns, *all = w->rows.patterns;
    const int64_t queries = w->end - w->first, offset = p->vectors.begins[w->first];
    sg_neighbours_options o = sg_neighbours_options_default();
    if (near.count > all->vectors.rows) near.count = all->vectors.rows;
    o.count = near.count;
    o.progress = near_go_on;
    if (w->of == &w->rows) {
        o.groups = near.others ? all->sequences : all->tokens; // a token is not its own neighbour
        o.query_groups = o.groups + w->first;
    }
    w->begins = calloc((size_t)queries + 1, sizeof *w->begins);
    w->ids = calloc((size_t)(queries * near.count) + 1, sizeof *w->ids);
    w->distances = calloc((size_t)(queries * near.count) + 1, sizeof *w->distances);
    if (w->begins == NULL || w->ids == NULL || w->distances == NULL)
        return near_fail(err, SG_ERR_MEMORY, "out of memory for results");
    for (int64_t r = 0; r <= queries; r++)
        w->begins[r] = p->vectors.begins[w->first + r] - offset;
    const sg_vectors some = {.rows = queries,
                             .columns = p->vectors.columns,
                             .begins = w->begins,
                             .neurons = p->vectors.neurons + offset,
                             .scores = p->vectors.scores + offset};
    return sg_neighbours(context, &all->vectors, &some, &o, w->ids, w->distances, err);
}

// ---- results ------------------------------------------------------------------------------------

static sg_status near_print_query(near_work *w, int64_t query, sg_error *err)
{
    const sg_patterns *p = w->of->patterns, *all = w->rows.patterns;
    const int64_t row = w->first + query;
    sg_status status = SG_OK;
    printf("%ssequence %lld, position %lld: ", query > 0 ? "\n" : "", (long long)p->sequences[row],
           (long long)p->positions[row]);
    status = cli_excerpt_print(w->of->record, p->tokens[row], near.around, err);
    if (status == SG_OK)
        status = cli_predictions_print(w->of->record, p->tokens[row], near.predictions, err);
    fputc('\n', stdout);
    for (int64_t j = 0; status == SG_OK && j < near.count; j++) {
        const int32_t id = w->ids[query * near.count + j];
        if (id < 0) break;
        printf("  %8.6f  %6lld:%-4lld  ", w->distances[query * near.count + j],
               (long long)all->sequences[id], (long long)all->positions[id]);
        status = cli_excerpt_print(w->rows.record, all->tokens[id], near.around, err);
        if (status == SG_OK)
            status = cli_predictions_print(w->rows.record, all->tokens[id], near.predictions, err);
        fputc('\n', stdout);
    }
    return status;
}

// One token as a member of the result; distance < 0: of a query.
static sg_status near_json_token(const near_side *side, int64_t row, double distance,
                                 json_t **value, sg_error *err)
{
    const sg_patterns *p = side->patterns;
    json_t *excerpt = NULL, *predictions = NULL;
    sg_status status = cli_excerpt_json(side->record, p->tokens[row], near.around, &excerpt, err);
    if (status == SG_OK)
        status =
            cli_predictions_json(side->record, p->tokens[row], near.predictions, &predictions, err);
    if (status != SG_OK) {
        json_decref(excerpt);
        return status;
    }
    *value = json_pack(
        "{s:I, s:I, s:I, s:i, s:o, s:o*, s:o, s:o}", "token", (json_int_t)p->tokens[row],
        "sequence", (json_int_t)p->sequences[row], "position", (json_int_t)p->positions[row], "id",
        (int)p->inputs[row], "text", cli_token_json(side->record, p->inputs[row]), "distance",
        distance >= 0 ? json_real(distance) : NULL, "excerpt", excerpt, "predictions", predictions);
    return *value != NULL ? SG_OK : near_fail(err, SG_ERR_MEMORY, "out of memory for results");
}

static sg_status near_json_query(near_work *w, int64_t query, json_t *queries, sg_error *err)
{
    json_t *value = NULL, *list = json_array();
    sg_status status = near_json_token(w->of, w->first + query, -1, &value, err);
    for (int64_t j = 0; status == SG_OK && j < near.count; j++) {
        json_t *neighbour;
        const int64_t at = query * near.count + j;
        if (w->ids[at] < 0) break;
        status = near_json_token(&w->rows, w->ids[at], w->distances[at], &neighbour, err);
        if (status == SG_OK && json_array_append_new(list, neighbour) != 0)
            status = near_fail(err, SG_ERR_MEMORY, "out of memory for results");
    }
    if (status != SG_OK || json_object_set(value, "neighbors", list) != 0 ||
        json_array_append(queries, value) != 0)
        status =
            status != SG_OK ? status : near_fail(err, SG_ERR_MEMORY, "out of memory for results");
    json_decref(list);
    json_decref(value);
    return status;
}

static sg_status near_report(near_work *w, json_t **result, sg_error *err)
{
    const int64_t queries = w->end - w->first;
    sg_status status = SG_OK;
    json_t *list = w->args->json ? json_array() : NULL;
    for (int64_t q = 0; status == SG_OK && q < queries; q++)
        status = w->args->json ? near_json_query(w, q, list, err) : near_print_query(w, q, err);
    if (status == SG_OK && w->args->json)
        *result = json_pack("{s:I, s:I, s:s, s:s, s:b, s:I, s:O}", "layer", (json_int_t)near.layer,
                            "channel", (json_int_t)near.channel, "metric", "cosine", "values",
                            w->rows.patterns->activations ? "activations" : "scores",
                            "other_sequences", (int)near.others, "patterns",
                            (json_int_t)w->rows.patterns->vectors.rows, "queries", list);
    json_decref(list);
    return status;
}

// ---- all ----------------------------------------------------------------------------------------

static int near_wrong(const cli_args *args)
{
    int64_t first, last;
    const int sources = (near.token >= 0) + (near.sequence >= 0) + (near.text != NULL);
    if (sources != 1)
        return cli_wrong(args, "found %s, expected one of --token, --sequence and --text",
                         sources == 0 ? "none" : "several");
    if (near.positions != NULL && near.token >= 0)
        return cli_wrong(args, "--positions: goes with --sequence and --text only");
    if (near.positions != NULL && !cli_range_read(near.positions, &first, &last))
        return cli_wrong(args, "--positions: found \"%s\", expected such as 8 or 0-15 or 16-",
                         near.positions);
    if (near.text != NULL && near.model == NULL)
        return cli_wrong(args, "--text: found no --model to read it");
    if (near.text == NULL && (near.model != NULL || near.adapter != NULL || near.tokenizer != NULL))
        return cli_wrong(args, "--model, --adapter and --tokenizer: go with --text only");
    if (near.text != NULL && near.others)
        return cli_wrong(args, "--other-sequences: a new text is no sequence of the record");
    return CLI_DONE;
}

static void near_free(near_work *w)
{
    sg_patterns_free(w->rows.patterns);
    sg_patterns_free(w->text.patterns);
    sg_record_free(w->rows.record);
    sg_record_free(w->text.record);
    near_folder_remove(w);
    free(w->begins);
    free(w->ids);
    free(w->distances);
}

static int near_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    json_t *result = NULL;
    near_work w = {.args = args, .of = &w.rows};
    const int wrong = near_wrong(args);
    if (wrong != CLI_DONE) return wrong;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = sg_record_open(args->operands[0], &w.rows.record, &err);
    if (status == SG_OK) status = near_patterns(&w.rows, &err);
    if (status == SG_OK) cli_patterns_note(args, w.rows.patterns);
    if (status == SG_OK && near.text != NULL) {
        w.of = &w.text;
        status = near_text_open(&w, context, &err);
        if (status == SG_OK) status = near_patterns(&w.text, &err);
    }
    if (status == SG_OK) status = near_choose(&w, &err);
    if (status == SG_OK) status = near_find(&w, context, &err);
    if (status == SG_OK) status = near_report(&w, &result, &err);
    near_free(&w);
    sg_context_free(context);
    if (status != SG_OK) return cli_fail(args, status, &err);
    return args->json ? cli_print_json(args, result) : CLI_DONE;
}

const cli_command cli_cmd_probe_neighbours = {
    .name = "probe neighbours",
    .summary = "tokens whose gates are nearest to those of a token",
    .usage = "RECORD --layer L (--token ID | --sequence S | --text TEXT --model DIR) [options]",
    .about =
        "Reads a record of probe record. The gates of one channel at a token are a vector of the "
        "router's scores, 0 for neurons that are not selected; distance is 1 - cosine, exact, "
        "among all tokens of the record but the token itself, equal ones in order of the record. "
        "Each is shown with the tokens around it and what the model expected next, with "
        "probabilities.\n"
        "\n"
        "For --text the model reads the text and its gates are recorded in a temporary file under "
        "$TMPDIR or /tmp, which is removed.",
    .options = near_options,
    .example = "sgatlin probe neighbours scope.db --layer 2 --sequence 1 --positions 9-23\n"
               "sgatlin probe neighbours scope.db --layer 2 --text \"A dog named Max\" --model run",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "RECORD",
    .run = near_run,
};
