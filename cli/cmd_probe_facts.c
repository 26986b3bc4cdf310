// sgatlin probe facts: which facts a model knows, and how many bits of them.
#include <math.h>
#include <string.h>

#include "cli/cli.h"
#include "sgatlin_recall.h"

static struct {
    const char *model, *adapter, *tokenizer, *csv;
    int64_t bootstrap, seed, batch;
    bool force;
} recall = {.bootstrap = 1000, .seed = 1};

static const cli_option recall_options[] = {
    {.name = "model",
     .kind = CLI_STRING,
     .value = &recall.model,
     .argument = "DIR",
     .help = "model (a folder, a GGUF file, llama2.c's), or a run, finished or not",
     .required = true},
    {.name = "adapter",
     .kind = CLI_STRING,
     .value = &recall.adapter,
     .argument = "DIR",
     .shown = "",
     .help = "low-rank adapters on top of the model: a folder in PEFT's layout, or a run"},
    {.name = "tokenizer",
     .kind = CLI_STRING,
     .value = &recall.tokenizer,
     .argument = "DIR",
     .shown = "the model's",
     .help = "tokenizer.json, or the folder it lies in, or llama2.c's tokenizer.bin"},
    {.name = "bootstrap",
     .kind = CLI_COUNT,
     .value = &recall.bootstrap,
     .argument = "N",
     .help = "resamples of the subjects for intervals; 0: no intervals",
     .low = 0,
     .high = 1000000},
    {.name = "batch",
     .kind = CLI_COUNT,
     .value = &recall.batch,
     .argument = "N",
     .shown = "128, fewer of large models",
     .help = "prompts of a pass: memory and time, and results up to rounding",
     .low = 1,
     .high = 4096},
    {.name = "csv",
     .kind = CLI_STRING,
     .value = &recall.csv,
     .argument = "FILE",
     .shown = "",
     .help = "write what the model knows of each fact, one a row"},
    {.name = "force",
     .kind = CLI_FLAG,
     .value = &recall.force,
     .help = "replace a file that is there"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &recall.seed,
     .argument = "N",
     .help = "of the resamples",
     .low = 0,
     .high = CLI_SEED_MOST},
    {0}};

static bool recall_progress(void *user, int64_t done, int64_t total)
{
    cli_progress_update(user, (double)done, (double)total, NULL);
    return !cli_stop_requested();
}

// ---- what comes out -----------------------------------------------------------------------------

static json_t *recall_json_number(sg_recall_number n)
{
    return json_pack("{s:o, s:o, s:o}", "value", cli_json_number(n.value), "low",
                     cli_json_number(n.low), "high", cli_json_number(n.high));
}

static json_t *recall_json_row(const sg_recall_row *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "facts", (json_int_t)r->facts,
                     "prompts", (json_int_t)r->prompts, "recalled", (json_int_t)r->recalled,
                     "prompts_recalled", (json_int_t)r->prompts_recalled, "prompts_greedy",
                     (json_int_t)r->prompts_greedy, "possible_bits", r->possible, "share",
                     recall_json_number(r->share), "greedy", recall_json_number(r->greedy), "bits",
                     recall_json_number(r->bits));
}

static int recall_json(const cli_args *args, const sg_recall_result *r, const sg_cost *cost)
{
    json_t *root = recall_json_row(&r->all), *relations = json_array();
    const double bits = r->all.bits.value;
    for (size_t i = 0; i < r->count; i++) {
        json_t *row = recall_json_row(&r->rows[i]);
        json_object_set_new(row, "relation", json_string(r->rows[i].relation));
        json_object_set_new(row, "answers", json_integer(r->rows[i].answers));
        json_array_append_new(relations, row);
    }
    json_t *rest = json_pack(
        "{s:I, s:I, s:I, s:f, s:f, s:{s:I, s:I, s:I, s:I}, s:o}", "subjects",
        (json_int_t)r->subjects, "parameters", (json_int_t)cost->parameters, "active_parameters",
        (json_int_t)cost->active_parameters_per_token, "bits_per_parameter",
        bits / (double)cost->parameters, "bits_per_active_parameter",
        bits / (double)cost->active_parameters_per_token, "not_asked", "lost", (json_int_t)r->lost,
        "too_long", (json_int_t)r->too_long, "answer_not_found", (json_int_t)r->answer_not_found,
        "no_choice", (json_int_t)r->no_choice, "relations", relations);
    json_object_update(root, rest);
    json_decref(rest);
    return cli_print_json(args, root);
}

static void recall_share(sg_recall_number n)
{
    char text[48];
    if (isnan(n.low))
        snprintf(text, sizeof text, "%.1f %%", 100 * n.value);
    else
        snprintf(text, sizeof text, "%.1f %% (%.1f, %.1f)", 100 * n.value, 100 * n.low,
                 100 * n.high);
    printf("  %-22s", text);
}

// answers: "" of all.
static void recall_row(const char *name, const char *answers, const sg_recall_row *r)
{
    printf("%-16s %7s %7lld %8lld", name, answers, (long long)r->facts, (long long)r->prompts);
    recall_share(r->share);
    recall_share(r->greedy);
    printf("  %.0f of %.0f", r->bits.value, r->possible);
    if (!isnan(r->bits.low)) printf(" (%.0f, %.0f)", r->bits.low, r->bits.high);
    printf("\n");
}

static void recall_table(const sg_recall_result *r)
{
    printf("%-16s %7s %7s %8s  %-22s  %-22s  %s\n", "relation", "answers", "facts", "prompts",
           "recalled", "greedy", "bits");
    for (size_t i = 0; i < r->count; i++) {
        char answers[24];
        snprintf(answers, sizeof answers, "%lld", (long long)r->rows[i].answers);
        recall_row(r->rows[i].relation, answers, &r->rows[i]);
    }
    recall_row("all", "", &r->all);
}

static void recall_warn(const cli_args *args, const sg_recall_result *r)
{
    const struct {
        int64_t count;
        const char *why;
    } left[] = {{r->lost, "bytes have no token"},
                {r->too_long, "with its answer it is longer than the model's positions"},
                {r->answer_not_found, "an answer does not begin where a token does"},
                {r->no_choice, "all answers of the relation are right"}};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (left[i].count > 0)
            cli_warn(args, "not asked: %lld prompt%s: %s", (long long)left[i].count,
                     left[i].count == 1 ? "" : "s", left[i].why);
}

static int recall_print(const cli_args *args, const sg_recall_result *r, const sg_cost *cost)
{
    const double bits = r->all.bits.value;
    recall_warn(args, r);
    if (args->json) return recall_json(args, r, cost);
    recall_table(r);
    printf("%lld of %lld facts about %lld subjects are recalled\n"
           "%.4g bits a parameter (%lld), %.4g an active one (%lld)\n",
           (long long)r->all.recalled, (long long)r->all.facts, (long long)r->subjects,
           bits / (double)cost->parameters, (long long)cost->parameters,
           bits / (double)cost->active_parameters_per_token,
           (long long)cost->active_parameters_per_token);
    return CLI_DONE;
}

// ---- the work -----------------------------------------------------------------------------------

static sg_status recall_work(const cli_args *args, sg_context *context, sg_model **model,
                             sg_tokenizer **tokenizer, sg_recall_result *result, sg_cost *cost,
                             sg_error *err)
{
    char folder[CLI_PATH];
    cli_progress bar;
    sg_recall_options o = sg_recall_options_default();
    sg_status status = cli_model_open(context, recall.model, "stored", model, folder, err);
    if (status == SG_OK) status = cli_model_adapt(context, recall.adapter, *model, err);
    if (status == SG_OK) status = cli_tokenizer_open(recall.tokenizer, folder, tokenizer, err);
    if (status == SG_OK) {
        const sg_config *config = sg_model_config(*model);
        status = sg_config_cost(config, config->max_position_embeddings, 1, false, 1, cost, err);
    }
    if (status != SG_OK) return status;
    o.facts = args->operands[0];
    o.tokenizer = *tokenizer;
    o.bootstrap = recall.bootstrap;
    o.seed = (uint64_t)recall.seed;
    o.batch = recall.batch;
    o.csv = recall.csv;
    o.force = recall.force;
    o.progress = recall_progress;
    o.user = &bar;
    cli_progress_begin(&bar, args, "facts", "prompts");
    status = sg_probe_recall(*model, &o, result, err);
    cli_progress_end(&bar);
    return status;
}

static int recall_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *model = NULL;
    sg_tokenizer *tokenizer = NULL;
    sg_recall_result result = {0};
    sg_cost cost;
    cli_catch_signals();
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    status = recall_work(args, context, &model, &tokenizer, &result, &cost, &err);
    const int code =
        status == SG_OK ? recall_print(args, &result, &cost) : cli_fail(args, status, &err);
    sg_buffer_free(result.rows);
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return code;
}

const cli_command cli_cmd_probe_facts = {
    .name = "probe facts",
    .summary = "which facts a model knows, and how many bits of them",
    .usage = "FILE --model DIR [options]",
    .about =
        "The file has facts, as data synth --people and --facts write them. Each is asked by each "
        "prompt of its relation (\"Mara Tolen was born in\"), and the model says how likely each "
        "answer is that the relation has in the file, whole answers, not first tokens.\n"
        "\n"
        "recalled: facts whose right answer is likelier than each other one, in more than half of "
        "their prompts. greedy: prompts whose likeliest next tokens spell it. bits: of the log2 n "
        "bits that one of n answers is, what the model tells beyond a guess: log2 n + log2 "
        "p(right | one of the n), the mean of a relation, at least 0, times its facts. In "
        "brackets 95 % intervals over subjects. docs/PROBE.md has the formulas.",
    .options = recall_options,
    .example = "sgatlin probe facts demo/facts.json --model demo/sgatlin --csv facts.csv",
    .min_operands = 1,
    .max_operands = 1,
    .operands = "FILE",
    .run = recall_run,
};
