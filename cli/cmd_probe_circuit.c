// sgatlin probe circuit: the smallest sets of neurons that flip answers.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_edit.h"

static struct {
    const char *model, *adapter, *tokenizer, *position, *out, *csv;
    int64_t most, pairs, random, bootstrap, seed;
    double share;
    bool force;
} circuit = {.position = "all",
             .most = 32,
             .pairs = 32,
             .random = 1000,
             .bootstrap = 10000,
             .seed = 1,
             .share = 0.5};

static const cli_option circuit_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &circuit.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &circuit.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &circuit.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "position",
     .kind = CLI_STRING,
     .value = &circuit.position,
     .argument = "WHERE",
     .choices = "all|subject|last",
     .help = "tokens at which gates are exchanged: from the subject's first to the last of the "
             "prompt, the subject's last alone, the prompt's last alone"},
    {.name = "max",
     .kind = CLI_COUNT,
     .value = &circuit.most,
     .argument = "N",
     .help = "neurons of a set at most",
     .low = 1,
     .high = 4096},
    {.name = "share",
     .kind = CLI_DOUBLE,
     .value = &circuit.share,
     .argument = "X",
     .help = "of the pairs that a relation's one set is to flip",
     .low = 1e-6,
     .high = 1},
    {.name = "pairs",
     .kind = CLI_COUNT,
     .value = &circuit.pairs,
     .argument = "N",
     .help = "ordered pairs of each half of the facts at most, drawn by --seed",
     .low = 1,
     .high = 100000},
    {.name = "random",
     .kind = CLI_COUNT,
     .value = &circuit.random,
     .argument = "N",
     .help = "random sets that each is compared with; 0: none",
     .low = 0,
     .high = 1000000},
    {.name = "bootstrap",
     .kind = CLI_COUNT,
     .value = &circuit.bootstrap,
     .argument = "N",
     .help = "resamples of the facts for intervals",
     .low = 1,
     .high = 1000000},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &circuit.out,
     .argument = "FILE",
     .shown = "",
     .help = "write all of it into an SQLite file (docs/PROBE.md has the tables)"},
    {.name = "csv",
     .kind = CLI_STRING,
     .value = &circuit.csv,
     .argument = "FILE",
     .shown = "",
     .help = "write the neurons of all sets, one a row"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &circuit.force,
     .help = "replace files that are there"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &circuit.seed,
     .argument = "N",
     .help = "of the halves, the pairs, the random sets and the resamples",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0}};

static bool circuit_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// ---- JSON ---------------------------------------------------------------------------------------

static json_t *circuit_json_interval(sg_circuit_interval i)
{
    return json_pack("{s:o, s:o, s:o}", "mean", cli_json_number(i.mean), "low",
                     cli_json_number(i.low), "high", cli_json_number(i.high));
}

static json_t *circuit_json_measure(const sg_circuit_measure *m)
{
    if (m->pairs == 0) return json_null();
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "pairs",
                     (json_int_t)m->pairs, "facts", (json_int_t)m->facts, "flips",
                     circuit_json_interval(m->flips), "effect", circuit_json_interval(m->effect),
                     "all_flips", circuit_json_interval(m->all_flips), "all_effect",
                     circuit_json_interval(m->all_effect), "lost", circuit_json_interval(m->lost),
                     "still_flips", circuit_json_interval(m->still_flips), "minimal",
                     cli_json_number(m->minimal), "random_flips", cli_json_number(m->random_flips),
                     "random_effect", cli_json_number(m->random_effect), "p_flips",
                     cli_json_number(m->p_flips), "p_effect", cli_json_number(m->p_effect));
}

static json_t *circuit_json_set(const sg_circuit_set *s)
{
    json_t *neurons = json_array();
    for (size_t i = 0; i < s->count; i++) {
        const sg_circuit_neuron *n = &s->neurons[i];
        json_array_append_new(neurons,
                              json_pack("{s:I, s:I, s:I, s:o, s:o}", "layer", (json_int_t)n->layer,
                                        "channel", (json_int_t)n->channel, "neuron",
                                        (json_int_t)n->neuron, "alone", cli_json_number(n->alone),
                                        "without", cli_json_number(n->without)));
    }
    return json_pack("{s:s, s:s?, s:s?, s:b, s:I, s:o, s:o, s:o}", "relation", s->relation, "clean",
                     s->clean, "counterfactual", s->counterfactual, "flips", s->flips, "candidates",
                     (json_int_t)s->candidates, "neurons", neurons, "found",
                     circuit_json_measure(&s->found), "tested", circuit_json_measure(&s->tested));
}

static int circuit_json(const cli_args *args, const sg_circuit_result *r)
{
    size_t count;
    const sg_circuit_set *sets = sg_circuit_result_sets(r, &count);
    const sg_circuit_counts *c = sg_circuit_result_counts(r);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, circuit_json_set(&sets[i]));
    return cli_print_json(
        args,
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "model",
                  circuit.model, "position", circuit.position, "facts", (json_int_t)c->facts,
                  "prompts", (json_int_t)c->prompts, "looked_at", (json_int_t)c->looked_at, "known",
                  (json_int_t)c->known, "found_facts", (json_int_t)c->found_facts, "tested_facts",
                  (json_int_t)c->tested_facts, "found_pairs", (json_int_t)c->found_pairs,
                  "tested_pairs", (json_int_t)c->tested_pairs, "runs", (json_int_t)c->runs, "pairs",
                  circuit_json_measure(sg_circuit_result_pairs(r)), "other_wordings",
                  circuit_json_measure(sg_circuit_result_wordings(r)), "sets", list));
}

// ---- text ---------------------------------------------------------------------------------------

static void circuit_cell(sg_circuit_interval i)
{
    printf("  %6.3f (%6.3f, %6.3f)", cli_unsigned_zero(i.mean, 3), cli_unsigned_zero(i.low, 3),
           cli_unsigned_zero(i.high, 3));
}

static void circuit_row(const char *name, sg_circuit_interval a, const sg_circuit_interval *b)
{
    printf("  %-30s", name);
    circuit_cell(a);
    if (b != NULL) circuit_cell(*b);
    printf("\n");
}

static void circuit_random(const char *name, double mean, double p)
{
    if (isnan(mean)) return;
    printf("  %-30s  %6.3f (p %.4g)\n", name, cli_unsigned_zero(mean, 3), p);
}

// a: what it was found on; b: what it was tested on, or NULL.
static void circuit_table(const sg_circuit_measure *a, const sg_circuit_measure *b)
{
    if (b != NULL && b->pairs == 0) b = NULL;
    if (b != NULL) printf("  %-30s  %-24s  %s\n", "", "found on", "tested on");
    circuit_row("alone: flips", a->flips, b ? &b->flips : NULL);
    circuit_row("alone: effect", a->effect, b ? &b->effect : NULL);
    circuit_row("all gates: flips", a->all_flips, b ? &b->all_flips : NULL);
    circuit_row("all gates: effect", a->all_effect, b ? &b->all_effect : NULL);
    circuit_row("all but these: flips", a->still_flips, b ? &b->still_flips : NULL);
    circuit_row("all but these: effect lost", a->lost, b ? &b->lost : NULL);
    circuit_random(b ? "random, found on: flips" : "random: flips", a->random_flips, a->p_flips);
    circuit_random(b ? "random, found on: effect" : "random: effect", a->random_effect,
                   a->p_effect);
    if (b == NULL) return;
    circuit_random("random, tested on: flips", b->random_flips, b->p_flips);
    circuit_random("random, tested on: effect", b->random_effect, b->p_effect);
}

// The first of them; all are in the files and in JSON.
static void circuit_neurons(const sg_circuit_set *s)
{
    enum { shown = 12 };
    for (size_t i = 0; i < s->count && i < shown; i++)
        printf("%s%lld:%lld:%lld", i > 0 ? " " : "", (long long)s->neurons[i].layer,
               (long long)s->neurons[i].channel, (long long)s->neurons[i].neuron);
    if (s->count > shown) printf(" and %zu more", s->count - shown);
    printf("\n");
}

static void circuit_print_relation(const sg_circuit_set *s)
{
    printf("\nrelation %s: one set of %zu neuron%s of %lld whose gates differ, %s; found on %lld "
           "pairs of %lld facts, tested on %lld of %lld\n",
           s->relation, s->count, s->count == 1 ? "" : "s", (long long)s->candidates,
           s->flips ? "none of which can be left out" : "which does not flip as many as asked for",
           (long long)s->found.pairs, (long long)s->found.facts, (long long)s->tested.pairs,
           (long long)s->tested.facts);
    circuit_table(&s->found, &s->tested);
    printf("  layer:channel:neuron  ");
    circuit_neurons(s);
}

static int circuit_order(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void circuit_print_pairs(const sg_circuit_result *r, const sg_circuit_set *sets,
                                size_t count)
{
    double *sizes = calloc(count + 1, sizeof *sizes);
    size_t flips = 0, all = 0;
    for (size_t i = 0; i < count; i++) {
        if (sets[i].counterfactual == NULL) continue;
        all++;
        if (sets[i].flips && sizes != NULL) sizes[flips++] = (double)sets[i].count;
    }
    if (sizes != NULL) qsort(sizes, flips, sizeof *sizes, circuit_order);
    printf("\npairs, each with a set of its own: %zu of %zu flip", flips, all);
    if (sizes != NULL && flips > 0)
        printf(", with %.0f to %.0f neurons, median %.0f", sizes[0], sizes[flips - 1],
               sizes[(flips - 1) / 2]);
    printf("\n");
    free(sizes);
    const sg_circuit_measure *wordings = sg_circuit_result_wordings(r);
    if (wordings->pairs > 0)
        printf("found on these, tested on %lld pairs of the same facts in other prompts\n",
               (long long)wordings->pairs);
    circuit_table(sg_circuit_result_pairs(r), wordings);
    for (size_t i = 0; i < count; i++) {
        if (sets[i].counterfactual == NULL) continue;
        printf("  %s -> %s%s: ", sets[i].clean, sets[i].counterfactual,
               sets[i].flips ? "" : " (does not flip)");
        circuit_neurons(&sets[i]);
    }
}

static int circuit_print(const cli_args *args, const sg_circuit_result *r)
{
    size_t count;
    const sg_circuit_set *sets = sg_circuit_result_sets(r, &count);
    const sg_circuit_counts *c = sg_circuit_result_counts(r);
    if (args->json) return circuit_json(args, r);
    printf("%lld facts, %lld prompts; halves of %lld and %lld facts; of %lld pairs looked at the "
           "model knows both answers of %lld\n",
           (long long)c->facts, (long long)c->prompts, (long long)c->found_facts,
           (long long)c->tested_facts, (long long)c->looked_at, (long long)c->known);
    for (size_t i = 0; i < count; i++)
        if (sets[i].counterfactual == NULL) circuit_print_relation(&sets[i]);
    circuit_print_pairs(r, sets, count);
    return CLI_DONE;
}

static sg_status circuit_work(const cli_args *args, sg_context *context, sg_model **model,
                              sg_tokenizer **tokenizer, sg_circuit_result **result, sg_error *err)
{
    char folder[CLI_PATH];
    cli_progress bar;
    sg_circuit_options o = sg_circuit_options_default();
    sg_status status = cli_model_open(context, circuit.model, "stored", model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(context, circuit.adapter, *model, err);
    if (status == SG_OK) status = cli_tokenizer_open(circuit.tokenizer, folder, tokenizer, err);
    if (status != SG_OK) return status;
    o.facts = args->operands[0];
    o.tokenizer = *tokenizer;
    o.position = strcmp(circuit.position, "subject") == 0 ? SG_CIRCUIT_SUBJECT
                 : strcmp(circuit.position, "last") == 0  ? SG_CIRCUIT_LAST
                                                          : SG_CIRCUIT_ALL;
    o.most = circuit.most;
    o.pairs = circuit.pairs;
    o.share = circuit.share;
    o.random = circuit.random;
    o.bootstrap = circuit.bootstrap;
    o.seed = (uint64_t)circuit.seed;
    o.progress = circuit_progress;
    o.user = &bar;
    char *command = cli_command_line(args);
    o.out = circuit.out;
    o.csv = circuit.csv;
    o.force = circuit.force;
    o.model = circuit.model;
    o.command = command;
    cli_progress_begin(&bar, args, "circuit", "runs");
    status = sg_probe_circuit(*model, &o, result, err);
    cli_progress_end(&bar);
    free(command);
    return status;
}

static int circuit_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_circuit_result *result = NULL;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = circuit_work(args, context, &model, &tokenizer, &result, &err);
    const int code = status == SG_OK ? circuit_print(args, result) : cli_fail(args, status, &err);
    sg_circuit_result_free(result);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_probe_circuit = {
    .name = "probe circuit",
    .summary = "find the smallest set of neurons that flips an answer",
    .usage = "FILE --model DIR [options]",
    .about =
        "In the run of a prompt (\"The lake was\") gates of neurons become what they are in the "
        "run of another (\"The mum was\"), until the model prefers the other's answer. The file "
        "has facts, as for probe patch. Pairs are used whose two answers the model knows.\n"
        "\n"
        "The facts of each relation are cut in two halves. One set for the relation is found on "
        "pairs of the first half, so that it flips --share of them, and tested on pairs of the "
        "second; and each pair of the second half gets the smallest set of its own, which is "
        "tested "
        "on the same facts in the relation's other prompts. A set grows by the neuron that helps "
        "most, and then loses each that can be left out.\n"
        "\n"
        "Told of a set: what it does alone (sufficiency), what all gates but these do (necessity), "
        "and what as many random neurons do that are like them in layer, usage and contribution. "
        "Flips are shares of pairs; an effect is the share of the logit difference that is gone, "
        "1 where the run answers as the other does; in brackets 95 % intervals over facts; p is "
        "the share of random sets that do as much. docs/PROBE.md has the formulas.",
    .options = circuit_options,
    .example = "sgatlin probe circuit demo/facts.json --model demo/sgatlin",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "FILE",
    .run = circuit_run,
};
