// sgatlin probe patch: what becomes of an answer when parts of a run are exchanged.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_patch.h"

static struct {
    const char *model, *adapter, *tokenizer;
    const char *layers, *position, *points, *channels, *neurons;
    const char *direction, *metrics, *controls, *out, *csv;
    int64_t pairs, bootstrap, permutations, seed, batch;
    bool known, force;
} patch = {.layers = "all+each",
           .position = "subject,last",
           .points = "gates",
           .channels = "all",
           .direction = "noise",
           .controls = "random,mismatched,position,untrained",
           .pairs = 1000,
           .bootstrap = 10000,
           .permutations = 10000,
           .seed = 1,
           .batch = 16};

static const cli_option patch_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &patch.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &patch.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &patch.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "", .kind = CLI_HEADING, .help = "What is exchanged"},
    {.name = "layers",
     .kind = CLI_STRING,
     .value = &patch.layers,
     .argument = "SETS",
     .help = "sets of layers, joined by +: all, each (every layer for itself), or a list such as "
             "0,2-4; layers are from 0"},
    {.name = "position",
     .kind = CLI_STRING,
     .value = &patch.position,
     .argument = "LIST",
     .help = "tokens: subject (its last one), last, all (from the subject's first on), or a "
             "number from 0 with what begins the text counted; each for itself"},
    {.name = "points",
     .kind = CLI_STRING,
     .value = &patch.points,
     .argument = "LIST",
     .help =
         "gates: ids and scores of the selection, of a dense layer what multiplies w_out; or "
         "names of points (probe points lists them), without \"blocks.L.\" in the layers above"},
    {.name = "channels",
     .kind = CLI_STRING,
     .value = &patch.channels,
     .argument = "LIST",
     .help = "of gates: all together, each for itself, or numbers from 0"},
    {.name = "neurons",
     .kind = CLI_STRING,
     .value = &patch.neurons,
     .argument = "L:C:N,L:C:N",
     .shown = "",
     .help = "single neurons together (layer, channel, neuron), in place of all that"},
    {.name = "direction",
     .kind = CLI_STRING,
     .value = &patch.direction,
     .argument = "NAME",
     .choices = "noise|denoise|both",
     .help = "noise: parts of the counterfactual run go into the clean one; denoise: of the clean "
             "run into the counterfactual one"},
    {.name = "", .kind = CLI_HEADING, .help = "Which pairs"},
    {.name = "pairs",
     .kind = CLI_COUNT,
     .value = &patch.pairs,
     .argument = "N",
     .help = "draw so many where there are more, both orders of each; 0: all",
     .low = 0,
     .high = 1e7},
    {.name = "known",
     .kind = CLI_FLAG,
     .value = &patch.known,
     .help = "only pairs whose both answers the model prefers to each other's"},
    {.name = "", .kind = CLI_HEADING, .help = "Controls and statistics"},
    {.name = "controls",
     .kind = CLI_STRING,
     .value = &patch.controls,
     .argument = "LIST",
     .help = "random: as many other neurons, matched in usage and contribution norm; "
             "mismatched: parts of the run of a third fact; position: at another token; "
             "untrained: the same in fresh weights of the same shape; or none"},
    {.name = "bootstrap",
     .kind = CLI_COUNT,
     .value = &patch.bootstrap,
     .argument = "N",
     .help = "resamples of facts for the 95 % intervals",
     .low = 1,
     .high = 1e7},
    {.name = "permutations",
     .kind = CLI_COUNT,
     .value = &patch.permutations,
     .argument = "N",
     .help = "flips of signs by fact for p; all there are where these are fewer",
     .low = 1,
     .high = 1e8},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &patch.seed,
     .argument = "N",
     .help = "of all that is drawn, and of the untrained model",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "", .kind = CLI_HEADING, .help = "Results"},
    {.name = "metrics",
     .kind = CLI_STRING,
     .value = &patch.metrics,
     .argument = "LIST",
     .shown = "effect,logit_difference,flip; all with --json",
     .help = "that are shown: effect, logit_difference, logprob, logprob_counterfactual, kl, rank, "
             "flip; files have them all"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &patch.out,
     .argument = "FILE.db",
     .shown = "",
     .help = "an SQLite database with a row for each patch, pair, control and metric"},
    {.name = "csv",
     .kind = CLI_STRING,
     .value = &patch.csv,
     .argument = "FILE",
     .shown = "",
     .help = "the same rows as CSV"},
    {.name = "force", .kind = CLI_FLAG, .value = &patch.force, .help = "replace files there"},
    {.name = "batch",
     .kind = CLI_INT,
     .value = &patch.batch,
     .argument = "N",
     .help = "runs of a pass (1 of models with experts); changes last bits alone",
     .low = 1,
     .high = 4096},
    {0},
};

// ---- words --------------------------------------------------------------------------------------

// Bits of the names in a list joined by commas; false: *word is none.
static bool patch_bits(const char *list, const char *(*name)(int), int count, unsigned *bits,
                       char word[64])
{
    *bits = 0;
    for (const char *at = list; at != NULL;) {
        const char *end = strchr(at, ',');
        const size_t bytes = end != NULL ? (size_t)(end - at) : strlen(at);
        int i = 0;
        snprintf(word, 64, "%.*s", (int)(bytes < 63 ? bytes : 63), at);
        while (i < count && strcmp(word, name(i)) != 0)
            i++;
        if (i == count) return false;
        *bits |= 1U << i;
        at = end != NULL ? end + 1 : NULL;
    }
    return true;
}

static const char *patch_metric(int i)
{
    return sg_patch_metric_name((sg_patch_metric)i);
}

static const char *patch_control(int i)
{
    return sg_patch_control_name((sg_patch_control)i);
}

// What is wrong with the words, said; CLI_DONE: nothing.
static int patch_words(const cli_args *args, sg_patch_options *o, unsigned *metrics)
{
    char word[64];
    *metrics = args->json
                   ? (1U << SG_PATCH_METRICS) - 1
                   : 1U << SG_PATCH_EFFECT | 1U << SG_PATCH_LOGIT_DIFFERENCE | 1U << SG_PATCH_FLIP;
    if (patch.metrics != NULL &&
        !patch_bits(patch.metrics, patch_metric, SG_PATCH_METRICS, metrics, word))
        return cli_wrong(args,
                         "--metrics: found \"%s\", expected effect, logit_difference, "
                         "logprob, logprob_counterfactual, kl, rank or flip",
                         word);
    o->controls = 0;
    if (strcmp(patch.controls, "none") != 0 &&
        !patch_bits(patch.controls, patch_control, SG_PATCH_CONTROLS, &o->controls, word))
        return cli_wrong(args,
                         "--controls: found \"%s\", expected random, mismatched, position, "
                         "untrained or none",
                         word);
    if (patch.neurons != NULL &&
        (cli_given(args, "layers") || cli_given(args, "channels") || cli_given(args, "points")))
        return cli_wrong(args, "--neurons: found --layers, --channels or --points beside it, "
                               "expected neither: it says which");
    o->direction = strcmp(patch.direction, "noise") == 0     ? SG_PATCH_NOISE
                   : strcmp(patch.direction, "denoise") == 0 ? SG_PATCH_DENOISE
                                                             : SG_PATCH_BOTH;
    return CLI_DONE;
}

// ---- results ------------------------------------------------------------------------------------

// What was left out, guessed or drawn, a line each.
static void patch_counts(const cli_args *args, const sg_patch_counts *c)
{
    const struct {
        int64_t count;
        const char *what;
    } left[] = {{c->lost, "have bytes that no token stands for"},
                {c->subject_not_found, "have a subject that does not begin or end where a token "
                                       "does"},
                {c->answer_not_found, "have an answer that does not begin where a token does"},
                {c->too_long, "are longer than the model's positions"}};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (left[i].count > 0)
            cli_note(args, "%lld of %lld prompts left out: they %s", (long long)left[i].count,
                     (long long)c->prompts, left[i].what);
    if (c->several_tokens > 0)
        cli_note(args, "%lld answers have several tokens: the first is scored",
                 (long long)c->several_tokens);
    if (c->unequal > 0)
        cli_note(args,
                 "%lld of %lld pairs left out: their lengths, or the places of their "
                 "subjects, differ",
                 (long long)c->unequal, (long long)c->candidates);
    if (c->alike > 0)
        cli_note(args, "%lld of %lld pairs left out: their answers begin with the same token",
                 (long long)c->alike, (long long)c->looked_at);
    if (c->drawn)
        cli_note(args, "%lld pairs drawn of %lld: --pairs 0 takes all", (long long)c->pairs,
                 2 * (long long)(c->candidates - c->unequal));
    if (c->unsure > 0)
        cli_note(args, "%lld pairs left out: the model prefers a wrong answer",
                 (long long)c->unsure);
}

static json_t *patch_json_item(const sg_patch_summary *s)
{
    return json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, s:I, s:I}",
        "patch", (json_int_t)s->patch, "layers", s->layers, "channels", s->channels, "position",
        s->position, "point", s->point, "direction", sg_patch_direction_name(s->direction),
        "metric", sg_patch_metric_name(s->metric), "control", sg_patch_control_name(s->control),
        "mean", cli_json_number(s->mean), "low", cli_json_number(s->low), "high",
        cli_json_number(s->high), "of_sums", cli_json_number(s->of_sums), "of_sums_low",
        cli_json_number(s->of_sums_low), "of_sums_high", cli_json_number(s->of_sums_high), "p",
        cli_json_number(s->p), "p_holm", cli_json_number(s->p_holm), "pairs", (json_int_t)s->pairs,
        "facts", (json_int_t)s->facts);
}

static json_t *patch_json_counts(const sg_patch_counts *c)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I}",
        "relations", (json_int_t)c->relations, "facts", (json_int_t)c->facts, "prompts",
        (json_int_t)c->prompts, "lost", (json_int_t)c->lost, "subject_not_found",
        (json_int_t)c->subject_not_found, "answer_not_found", (json_int_t)c->answer_not_found,
        "too_long", (json_int_t)c->too_long, "several_tokens", (json_int_t)c->several_tokens,
        "groups", (json_int_t)c->groups, "candidates", (json_int_t)c->candidates, "unequal",
        (json_int_t)c->unequal, "looked_at", (json_int_t)c->looked_at, "alike",
        (json_int_t)c->alike, "drawn", c->drawn, "unsure", (json_int_t)c->unsure, "pairs",
        (json_int_t)c->pairs, "used_facts", (json_int_t)c->used);
}

static int patch_json(const cli_args *args, const sg_patch_result *r, unsigned metrics)
{
    json_t *results = json_array();
    for (size_t i = 0; i < r->count; i++)
        if (metrics >> r->items[i].metric & 1)
            json_array_append_new(results, patch_json_item(&r->items[i]));
    return cli_print_json(
        args, json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o}", "counts",
                        patch_json_counts(&r->counts), "recalled", cli_json_number(r->recalled),
                        "correct_clean", cli_json_number(r->correct_clean),
                        "correct_counterfactual", cli_json_number(r->correct_counterfactual),
                        "patches", (json_int_t)r->patches, "runs", (json_int_t)r->runs, "seconds",
                        cli_json_number(r->seconds), "results", results));
}

// What a patch is of, in one word or two.
static void patch_of(const sg_patch_summary *s, char text[224])
{
    const bool channel = strcmp(s->channels, "all") != 0;
    snprintf(text, 224, "%s%s%s%s%s", s->point,
             s->layers[0] && strcmp(s->point, s->layers) ? " " : "",
             strcmp(s->point, s->layers) ? s->layers : "", channel ? " channel " : "",
             channel ? s->channels : "");
}

static void patch_number(double value, char text[16])
{
    snprintf(text, 16, isnan(value) ? "-" : "%.3g", value);
}

static void patch_row(const sg_patch_summary *s, bool both)
{
    char of[224], interval[48], p[16], holm[16], sums[16];
    patch_of(s, of);
    snprintf(interval, sizeof interval, "%.3f [%.3f, %.3f]", cli_unsigned_zero(s->mean, 3),
             cli_unsigned_zero(s->low, 3), cli_unsigned_zero(s->high, 3));
    patch_number(s->p, p);
    patch_number(s->p_holm, holm);
    if (isnan(s->of_sums))
        snprintf(sums, sizeof sums, "-");
    else
        snprintf(sums, sizeof sums, "%.3f", cli_unsigned_zero(s->of_sums, 3));
    printf("%-16s %-8s %-10s ", of, s->position, sg_patch_control_name(s->control));
    if (both) printf("%-8s ", sg_patch_direction_name(s->direction));
    printf("%-26s %8s %8s %8s %6lld %6lld\n", interval, sums, p, holm, (long long)s->pairs,
           (long long)s->facts);
}

static int patch_text(const sg_patch_result *r, unsigned metrics)
{
    const bool both = strcmp(patch.direction, "both") == 0;
    printf("%lld pairs of %lld facts: the model recalls %.1f %% of the prompts, and prefers the "
           "clean answer in %.1f %% of the pairs\n",
           (long long)r->counts.pairs, (long long)r->counts.used, 100 * r->recalled,
           100 * r->correct_clean);
    for (int m = 0; m < SG_PATCH_METRICS; m++) {
        if ((metrics >> m & 1) == 0) continue;
        printf("\n%s\n%-16s %-8s %-10s ", patch_metric(m), "of layers", "at", "");
        if (both) printf("%-8s ", "");
        printf("%-26s %8s %8s %8s %6s %6s\n", "mean, 95 % interval", "of sums", "p", "Holm",
               "pairs", "facts");
        for (size_t i = 0; i < r->count; i++)
            if ((int)r->items[i].metric == m) patch_row(&r->items[i], both);
    }
    return CLI_DONE;
}

// ---- the command --------------------------------------------------------------------------------

typedef struct patch_talk {
    cli_progress bar;
} patch_talk;

static bool patch_progress(void *user, int64_t done, int64_t total)
{
    patch_talk *talk = user;
    cli_progress_update(&talk->bar, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

static sg_status patch_call(const cli_args *args, sg_model *model, const char *folder,
                            sg_patch_options *o, sg_patch_result *result, sg_error *err)
{
    sg_tokenizer *tokenizer = NULL;
    patch_talk talk = {0};
    char *command = cli_command_line(args);
    sg_status status = cli_tokenizer_open(patch.tokenizer, folder, &tokenizer, err);
    o->facts = args->operands[0];
    o->tokenizer = tokenizer;
    o->model = patch.model;
    o->command = command;
    o->progress = patch_progress;
    o->user = &talk;
    cli_progress_begin(&talk.bar, args, "patch", "runs");
    if (status == SG_OK) status = sg_probe_patch(model, o, result, err);
    cli_progress_end(&talk.bar);
    sg_tokenizer_free(tokenizer);
    free(command);
    return status;
}

static int patch_report(const cli_args *args, const sg_patch_result *result, unsigned metrics)
{
    patch_counts(args, &result->counts);
    if (patch.out != NULL || patch.csv != NULL)
        cli_note(args, "%s%s%s", patch.out ? patch.out : "", patch.out && patch.csv ? ", " : "",
                 patch.csv ? patch.csv : "");
    return args->json ? patch_json(args, result, metrics) : patch_text(result, metrics);
}

static int patch_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_patch_result result = {0};
    char folder[CLI_PATH];
    unsigned metrics;
    sg_patch_options o = sg_patch_options_default();
    o.layers = patch.layers;
    o.positions = patch.position;
    o.points = patch.points;
    o.channels = patch.channels;
    o.neurons = patch.neurons;
    o.pairs = patch.pairs;
    o.known_only = patch.known;
    o.bootstrap = patch.bootstrap;
    o.permutations = patch.permutations;
    o.seed = (uint64_t)patch.seed;
    o.batch = patch.batch;
    o.out = patch.out;
    o.csv = patch.csv;
    o.force = patch.force;
    const int wrong = patch_words(args, &o, &metrics);
    if (wrong != CLI_DONE) return wrong;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = cli_model_open(context, patch.model, "stored", &model, folder, &err);
    if (status == SG_OK) status = cli_model_adapt(context, patch.adapter, model, &err);
    if (status == SG_OK) status = patch_call(args, model, folder, &o, &result, &err);
    sg_model_free(model);
    sg_context_free(context);
    const int code =
        status == SG_OK ? patch_report(args, &result, metrics) : cli_fail(args, status, &err);
    sg_buffer_free(result.items);
    return code;
}

const cli_command cli_cmd_probe_patch = {
    .name = "probe patch",
    .summary = "exchange gates between runs of facts, and see the answers",
    .usage = "FACTS.json --model DIR [options]",
    .about =
        "Pairs prompts of a file of facts (of data synth, of a relation with samples, or our own "
        "form: docs/FORMATS.md) that differ in the subject, have as many tokens and different "
        "answers; runs each with parts of the other one put in; and measures by the logits of the "
        "first tokens of both answers. Effect: the share of the difference that is gone, 0: "
        "nothing changed, 1: it answers as the other run; \"of sums\" is the sum of what is gone "
        "over that of the differences, which pairs with a small difference do not rule.\n"
        "\n"
        "A row's control says what was put in instead of the parts of the other run. Intervals "
        "are by bootstrap over facts, for pairs that share facts are not independent; p of a "
        "patch: that nothing changes; p of a control: that the patch does no more; by flips of "
        "sign of all pairs of a fact; Holm adjusts over the layers. Each pair is taken in both "
        "orders: denoising one is noising the other, in the words of the other answer.\n"
        "\n"
        "Files appear when all is done: what is stopped leaves nothing.",
    .options = patch_options,
    .example = "sgatlin probe patch facts.json --model run\n"
               "sgatlin probe patch facts.json --model run --channels each --out patch.db\n"
               "sgatlin probe patch facts.json --model run --points hook_mlp_out,attn.hook_z",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "FACTS.json",
    .run = patch_run,
};
