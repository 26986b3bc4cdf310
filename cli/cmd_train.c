// sgatlin train: a new run from a preset, a JSON file and options, in this order, or --resume.
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/model_options.h"
#include "cli/train_talk.h"
#include "sgatlin_bench.h"
#include "sgatlin_train.h"

static struct {
    const char *preset, *init, *config, *data, *out, *resume, *rows, *schedule, *prompt,
        *table_dtype;
    int64_t seq_len, batch, accum, warmup, steps, tokens, seed;
    int64_t log_every, checkpoint_every, keep_last, eval_every, eval_sequences, sample_every;
    double flops, epochs, lr, decay, clip, beta1, beta2, eps, decay_fraction, spike;
    const char *only, *targets;
    int64_t rank;
    double alpha;
    const char *recipe;
    double minutes;
    bool recompute, merge, force, dry;
} train = {.preset = "demo",
           .rows = "auto",
           .prompt = "",
           .only = "",
           .targets = "",
           .table_dtype = "f32",
           .keep_last = 2,
           .minutes = 5,
           .spike = 3,
           .seed = 1,
           .eval_sequences = 256,
           .beta1 = 0.9,
           .beta2 = 0.999,
           .eps = 1e-8,
           .accum = 1};

#define FROM_PRESET .shown = "preset's"

static const cli_option options[] = {
    {.name = "", .kind = CLI_HEADING, .help = "Run"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &train.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data (sgatlin data pack)"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &train.out,
     .argument = "RUN",
     .shown = "",
     .help = "folder of the new run"},
    {.name = "resume",
     .kind = CLI_STRING,
     .value = &train.resume,
     .argument = "RUN",
     .shown = "",
     .help =
         "go on with a run, as it began or with another budget (--steps N, of which it has some "
         "already), --lr, --schedule, --checkpoint-minutes …: run.json records what and from "
         "where"},
    {.name = "preset",
     .kind = CLI_STRING,
     .value = &train.preset,
     .argument = "NAME",
     .help = "demo, tinystories-FAMILY, slimpajama-FAMILY-sN"},
    {.name = "init",
     .kind = CLI_STRING,
     .value = &train.init,
     .argument = "MODEL",
     .shown = "",
     .help = "go on from a model in place of fresh weights: any that opens, or a run"},
    {.name = "force-tokenizer",
     .kind = CLI_FLAG,
     .value = &train.force,
     .help = "train --init on data that were packed with another tokenizer than the model's too"},
    {.name = "config",
     .kind = CLI_STRING,
     .value = &train.config,
     .argument = "FILE",
     .shown = "",
     .help = "JSON object of options by name; those on the command line go before it"},
    {.name = "dry-run",
     .kind = CLI_FLAG,
     .value = &train.dry,
     .help =
         "print the plan of a new run (parameters, rows, steps, rate, FLOPs, memory, disk), and "
         "write nothing"},
    {.name = "seed",
     .kind = CLI_INT,
     .value = &train.seed,
     .argument = "N",
     .help = "of weights, data order and samples",
     .low = 0,
     .high = CLI_SEED_MOST},
    {.name = "", .kind = CLI_HEADING, .help = "Budget (exactly one)"},
    {.name = "steps",
     .kind = CLI_COUNT,
     .value = &train.steps,
     .argument = "N",
     .shown = "",
     .help = "updates",
     .low = 1,
     .high = 1e12},
    {.name = "tokens",
     .kind = CLI_COUNT,
     .value = &train.tokens,
     .argument = "N",
     .shown = "",
     .help = "tokens in rows of training data",
     .low = 1,
     .high = 1e18},
    {.name = "flops",
     .kind = CLI_DOUBLE,
     .value = &train.flops,
     .argument = "X",
     .shown = "",
     .help = "published count, forward and backward: 1e15",
     .low = 1,
     .high = 1e30},
    {.name = "epochs",
     .kind = CLI_DOUBLE,
     .value = &train.epochs,
     .argument = "X",
     .shown = "",
     .help = "passes over the training data",
     .low = 1e-9,
     .high = 1e9},
    {.name = "", .kind = CLI_HEADING, .help = "Recipe"},
    {.name = "recipe",
     .kind = CLI_STRING,
     .value = &train.recipe,
     .argument = "NAME",
     .shown = "",
     .help =
         "published: that of the preset's paper to the letter, on data packed as there; takes no "
         "option that would change it but --seed and, with slimpajama, --flops",
     .choices = "published"},
    {.name = "seq-len",
     .kind = CLI_COUNT,
     .value = &train.seq_len,
     .argument = "T",
     .shown = "the data's",
     .help = "tokens of a sequence; the data must be packed for it",
     .low = 1,
     .high = 1 << 24},
    {.name = "batch-size",
     .kind = CLI_COUNT,
     .value = &train.batch,
     .argument = "B",
     FROM_PRESET,
     .help = "sequences of one update",
     .low = 1,
     .high = 1 << 20},
    {.name = "grad-accum",
     .kind = CLI_COUNT,
     .value = &train.accum,
     .argument = "N",
     .help = "micro-batches an update is computed in: less memory, same result",
     .low = 1,
     .high = 1 << 20},
    {.name = "lr",
     .kind = CLI_DOUBLE,
     .value = &train.lr,
     .argument = "X",
     FROM_PRESET,
     .help = "peak learning rate",
     .low = 0,
     .high = 1e3},
    {.name = "schedule",
     .kind = CLI_STRING,
     .value = &train.schedule,
     .argument = "NAME",
     .shown = "sqrt",
     .help =
         "constant, sqrt, linear, cosine or cosine_reference, after the warm-up (docs/MODEL.md)",
     .choices = "constant|sqrt|linear|cosine|cosine_reference"},
    {.name = "warmup-steps",
     .kind = CLI_COUNT,
     .value = &train.warmup,
     .argument = "N",
     .shown = "preset's, at most half of the steps",
     .help = "steps of linear warm-up",
     .low = 0,
     .high = 1e12},
    {.name = "decay-fraction",
     .kind = CLI_DOUBLE,
     .value = &train.decay_fraction,
     .argument = "X",
     FROM_PRESET,
     .help = "share of the steps that decay (sqrt, linear)",
     .low = 0,
     .high = 1},
    {.name = "weight-decay",
     .kind = CLI_DOUBLE,
     .value = &train.decay,
     .argument = "X",
     FROM_PRESET,
     .help = "decoupled; not on norms and biases",
     .low = 0,
     .high = 1e3},
    {.name = "clip",
     .kind = CLI_DOUBLE,
     .value = &train.clip,
     .argument = "X",
     FROM_PRESET,
     .help = "largest global gradient norm; 0: none",
     .low = 0,
     .high = 1e9},
    {.name = "beta1",
     .kind = CLI_DOUBLE,
     .value = &train.beta1,
     .argument = "X",
     .help = "AdamW's first moment",
     .low = 0,
     .high = 0.999999},
    {.name = "beta2",
     .kind = CLI_DOUBLE,
     .value = &train.beta2,
     .argument = "X",
     .help = "AdamW's second moment",
     .low = 0,
     .high = 0.99999999},
    {.name = "eps",
     .kind = CLI_DOUBLE,
     .value = &train.eps,
     .argument = "X",
     .help = "AdamW's epsilon",
     .low = 1e-30,
     .high = 1},
    {.name = "optimizer-rows",
     .kind = CLI_STRING,
     .value = &train.rows,
     .argument = "MODE",
     .help = "neurons that a step does not read: exact updates them at once, lazy when they are "
             "read again, auto is lazy for tables with as many rows as a step makes hits",
     .choices = "exact|lazy|auto"},
    {.name = "spike-limit",
     .kind = CLI_DOUBLE,
     .value = &train.spike,
     .argument = "X",
     .help = "guard, on by default: skip updates whose loss is X nats above the running mean, and "
             "stop after ten in a row; 0: never",
     .low = 0,
     .high = 1e9},
    {.name = "table-dtype",
     .kind = CLI_STRING,
     .value = &train.table_dtype,
     .argument = "TYPE",
     .help = "f32 or bf16: what tables of neurons are read in; with bf16 the f32 ones stay and are "
             "what is updated and saved",
     .choices = "f32|bf16"},
    {.name = "recompute",
     .kind = CLI_FLAG,
     .value = &train.recompute,
     .help = "compute activations twice instead of keeping them"},
    {.name = "", .kind = CLI_HEADING, .help = "Parts of a model"},
    {.name = "train-only",
     .kind = CLI_STRING,
     .value = &train.only,
     .argument = "NAMES",
     .shown = "all",
     .help =
         "patterns of parameters, joined by commas, * for any text: all others stay bit for bit "
         "and take no memory for gradients and moments"},
    {.name = "lora-rank",
     .kind = CLI_COUNT,
     .value = &train.rank,
     .argument = "R",
     .shown = "none",
     .help = "train low-rank adapters beside the weights of --init, which stay as they are",
     .low = 1,
     .high = 1 << 16},
    {.name = "lora-alpha",
     .kind = CLI_DOUBLE,
     .value = &train.alpha,
     .argument = "A",
     .shown = "R",
     .help = "the adapters' products count A / R",
     .low = 1e-9,
     .high = 1e6},
    {.name = "lora-targets",
     .kind = CLI_STRING,
     .value = &train.targets,
     .argument = "NAMES",
     .shown = "none",
     .help = "matrices that get one, by the checkpoint's names: ends such as q_proj,v_proj, or "
             "patterns with *"},
    {.name = "lora-merge",
     .kind = CLI_FLAG,
     .value = &train.merge,
     .help = "save the model with the adapters added to its weights too"},
    {.name = "", .kind = CLI_HEADING, .help = "Watching and saving"},
    {.name = "log-every",
     .kind = CLI_COUNT,
     .value = &train.log_every,
     .argument = "N",
     .shown = "1",
     .help = "steps between records",
     .low = 1,
     .high = 1e12},
    {.name = "eval-every",
     .kind = CLI_COUNT,
     .value = &train.eval_every,
     .argument = "N",
     .shown = "at the end",
     .help = "steps between evaluations",
     .low = 0,
     .high = 1e12},
    {.name = "eval-sequences",
     .kind = CLI_COUNT,
     .value = &train.eval_sequences,
     .argument = "N",
     .help = "sequences of those; 0: the whole split. The last evaluation takes all",
     .low = 0,
     .high = 1e12},
    {.name = "checkpoint-every",
     .kind = CLI_COUNT,
     .value = &train.checkpoint_every,
     .argument = "N",
     .shown = "by time",
     .help = "steps between checkpoints, besides",
     .low = 0,
     .high = 1e12},
    {.name = "checkpoint-minutes",
     .kind = CLI_DOUBLE,
     .value = &train.minutes,
     .argument = "X",
     .help =
         "minutes between checkpoints; 0: only by steps and at the end. No bit of the run depends "
         "on them",
     .low = 0,
     .high = 1e9},
    {.name = "keep-last",
     .kind = CLI_COUNT,
     .value = &train.keep_last,
     .argument = "N",
     .help = "checkpoints kept besides the best",
     .low = 1,
     .high = 1e6},
    {.name = "sample-every",
     .kind = CLI_COUNT,
     .value = &train.sample_every,
     .argument = "N",
     .shown = "never",
     .help = "steps between samples of text",
     .low = 0,
     .high = 1e12},
    {.name = "sample-prompt",
     .kind = CLI_STRING,
     .value = &train.prompt,
     .argument = "TEXT",
     .shown = "none",
     .help = "what samples begin with"},
    CLI_CONFIG_OPTIONS,
    {0}};

// ---- the JSON file ----------------------------------------------------------------------------

// A value of the file as the text that the command line would have; NULL when it is none.
static const char *train_value_text(const json_t *value, char *out, size_t capacity)
{
    if (json_is_string(value)) return json_string_value(value);
    if (json_is_integer(value))
        snprintf(out, capacity, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, capacity, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(out, capacity, "%s", json_is_true(value) ? "true" : "false");
    else
        return NULL;
    return out;
}

static bool train_put(const cli_option *o, const char *text)
{
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->value = strcmp(text, "true") == 0;
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
    case CLI_STRING:
        *(const char **)o->value = text;
        return true;
    case CLI_INT:
        return cli_read_int(text, o->value);
    case CLI_COUNT:
        return cli_read_count(text, o->value);
    case CLI_DOUBLE:
        return cli_read_double(text, o->value);
    default:
        return false;
    }
}

static bool train_in_range(const cli_option *o)
{
    if (o->low == 0 && o->high == 0) return true;
    double value = o->kind == CLI_DOUBLE ? *(double *)o->value : (double)*(int64_t *)o->value;
    return o->kind == CLI_STRING || o->kind == CLI_FLAG || (value >= o->low && value <= o->high);
}

static bool from_file[CLI_MAX_OPTIONS];

static int train_field(const cli_args *args, const char *key, const json_t *value)
{
    char name[64], number[64];
    snprintf(name, sizeof name, "%s", key);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '_') *c = '-';
    for (int i = 0; options[i].name != NULL; i++) {
        const cli_option *o = &options[i];
        if (o->kind == CLI_HEADING || strcmp(o->name, name) != 0) continue;
        if (o->value == &train.config || o->value == &train.resume)
            return cli_wrong(args, "%s: \"%s\": goes on the command line only", train.config, key);
        if (args->given[i]) return CLI_DONE; // the command line goes before the file
        const char *text = train_value_text(value, number, sizeof number);
        // Strings live in the parsed file, which is kept; numbers of text options are copied.
        if (text == number && o->kind == CLI_STRING) text = strdup(number);
        if (text == NULL || !train_put(o, text) || !train_in_range(o))
            return cli_wrong(args, "%s: \"%s\": found %s, expected what --%s takes", train.config,
                             key, text ? text : "no plain value", name);
        from_file[i] = true;
        return CLI_DONE;
    }
    return cli_wrong(args, "%s: \"%s\": there is no such option", train.config, key);
}

// Options that the command line did not give come from the file. The parsed file is kept: strings
// point into it.
static int train_read_file(const cli_args *args)
{
    static json_t *file;
    json_error_t problem;
    if (train.config == NULL || train.resume != NULL) return CLI_DONE; // refused with --resume
    file = json_load_file(train.config, JSON_REJECT_DUPLICATES, &problem);
    if (file == NULL && problem.line < 0) return cli_wrong(args, "%s", problem.text);
    if (file == NULL)
        return cli_wrong(args, "%s: line %d: %s", train.config, problem.line, problem.text);
    if (!json_is_object(file))
        return cli_wrong(args, "%s: found no JSON object, expected one", train.config);
    const char *key;
    json_t *value;
    json_object_foreach(file, key, value)
    {
        int code = train_field(args, key, value);
        if (code != CLI_DONE) return code;
    }
    return CLI_DONE;
}

static bool train_given(const cli_args *args, const char *name)
{
    for (int i = 0; options[i].name != NULL; i++)
        if (strcmp(options[i].name, name) == 0) return args->given[i] || from_file[i];
    return false;
}

// ---- options of the library -------------------------------------------------------------------

static sg_status train_from_preset(sg_train_options *o, sg_error *err)
{
    sg_preset preset;
    sg_status status = sg_preset_find(train.preset, &preset, err);
    if (status == SG_OK) status = cli_config_apply(&preset, train.seq_len, err);
    if (status != SG_OK) return status;
    // The vocabulary and the sequences are the data's unless they were asked for.
    if (cli_config_values[CLI_CONFIG_vocab_size] == NULL) preset.config.vocab_size = 0;
    if (train.seq_len == 0 && cli_config_values[CLI_CONFIG_max_position_embeddings] == NULL)
        preset.config.max_position_embeddings = 0;
    *o = sg_train_options_from_preset(&preset);
    return SG_OK;
}

// The run remembers its model by a path that holds from anywhere.
static sg_status train_from_model(sg_context *context, sg_train_options *o, sg_error *err)
{
    char folder[CLI_PATH], path[PATH_MAX];
    sg_preset preset = {0};
    sg_status status = sg_train_model_folder(context, train.init, folder, sizeof folder, err);
    if (status == SG_OK)
        status = sg_train_options_from_model(realpath(folder, path) ? path : folder, o, err);
    if (status != SG_OK) return status;
    preset.config = o->config;
    status = cli_config_apply(&preset, 0, err);
    o->config = preset.config;
    return status;
}

static sg_status train_text(const char *text, const char *name, char *out, size_t capacity,
                            sg_error *err)
{
    if (strlen(text) >= capacity) {
        snprintf(err->message, sizeof err->message, "%s: found %zu bytes, expected less than %zu",
                 name, strlen(text), capacity);
        return err->code = SG_ERR_ARGUMENT;
    }
    snprintf(out, capacity, "%s", text);
    return SG_OK;
}

static sg_status train_options(const cli_args *args, sg_context *context, sg_train_options *o,
                               sg_error *err)
{
    sg_status status = train.recipe ? sg_train_options_published(train.preset, train.flops, o, err)
                       : train.init ? train_from_model(context, o, err)
                                    : train_from_preset(o, err);
    if (status != SG_OK) return status;
    o->seed = (uint64_t)train.seed;
    if (train_given(args, "batch-size")) o->batch_size = train.batch;
    o->grad_accum = train.accum;
    if (train.rank > 0) o->lr = 2e-4; // adapters begin at nothing
    if (train_given(args, "lr")) o->lr = train.lr;
    if (train_given(args, "weight-decay")) o->weight_decay = train.decay;
    if (train_given(args, "clip")) o->clip = train.clip;
    if (train_given(args, "decay-fraction")) o->decay_fraction = train.decay_fraction;
    if (train.schedule) snprintf(o->schedule, sizeof o->schedule, "%s", train.schedule);
    if (train_given(args, "warmup-steps")) {
        o->warmup_steps = train.warmup;
        o->warmup_share = 1;
    }
    if (train_given(args, "checkpoint-every")) o->checkpoint_every = train.checkpoint_every;
    o->checkpoint_minutes = train.minutes;
    o->beta1 = train.beta1;
    o->beta2 = train.beta2;
    o->eps = train.eps;
    snprintf(o->optimizer_rows, sizeof o->optimizer_rows, "%s", train.rows);
    if (train.recipe == NULL) o->spike_limit = train.spike;
    o->recompute = train.recompute;
    o->force_tokenizer = train.force;
    o->lora_rank = train.rank;
    o->lora_alpha = train.alpha;
    o->lora_merge = train.merge;
    status = train_text(train.only, "train-only", o->train_only, sizeof o->train_only, err);
    if (status != SG_OK) return status;
    status =
        train_text(train.targets, "lora-targets", o->lora_targets, sizeof o->lora_targets, err);
    if (status != SG_OK) return status;
    status = sg_weights_parse(train.table_dtype, "table-dtype", &o->table_dtype, err);
    if (status != SG_OK) return status;
    if (train.recipe == NULL) {
        o->steps = train.steps;
        o->tokens = train.tokens;
        o->flops = train.flops;
        o->epochs = train.epochs;
    }
    o->log_every = train.log_every;
    o->keep_last = train.keep_last;
    o->eval_every = train.eval_every;
    o->eval_sequences = train.eval_sequences;
    o->sample_every = train.sample_every;
    return train_text(train.prompt, "sample-prompt", o->sample_prompt, sizeof o->sample_prompt,
                      err);
}

// ---- the record of the command ------------------------------------------------------------------

static char *train_command(const cli_args *args)
{
    size_t bytes = 1;
    for (int i = 0; i < args->argc; i++)
        bytes += 4 * strlen(args->argv[i]) + 3;
    char *text = malloc(bytes), *at = text;
    for (int i = 0; text != NULL && i < args->argc; i++) {
        const char *word = args->argv[i];
        bool plain = word[0] != '\0' && strspn(word, "abcdefghijklmnopqrstuvwxyz"
                                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                     "0123456789-_./=,:+@%") == strlen(word);
        if (i > 0) *at++ = ' ';
        if (!plain) *at++ = '\'';
        for (; *word != '\0'; word++) {
            if (*word == '\'') {
                memcpy(at, "'\\''", 4);
                at += 4;
            } else {
                *at++ = *word;
            }
        }
        if (!plain) *at++ = '\'';
        *at = '\0';
    }
    return text;
}

// ---- the verb ---------------------------------------------------------------------------------

// What a model has settled cannot be chosen.
static int train_check_init(const cli_args *args)
{
    const char **const allowed[] = {&cli_config_values[CLI_CONFIG_ffn_balance_loss],
                                    &cli_config_values[CLI_CONFIG_ffn_z_loss],
                                    &cli_config_values[CLI_CONFIG_ffn_capacity_factor]};
    for (int i = 0; options[i].name != NULL; i++) {
        const char **value = options[i].value;
        bool settled = value == &train.preset || options[i].value == &train.seq_len;
        for (size_t f = 0; f < CLI_CONFIG_FIELDS; f++)
            settled = settled || value == &cli_config_values[f];
        for (size_t f = 0; f < sizeof allowed / sizeof *allowed; f++)
            settled = settled && value != allowed[f];
        if (settled && train_given(args, options[i].name))
            return cli_wrong(args, "--%s cannot be given with --init: the model and the data say",
                             options[i].name);
    }
    return CLI_DONE;
}

// The published protocol is what it is; what is watched and saved, and how it fits into memory, is
// not of it.
static int train_check_recipe(const cli_args *args)
{
    static const char *const free[] = {
        "data",      "out",          "preset",         "config",           "dry-run",
        "recipe",    "seed",         "flops",          "grad-accum",       "recompute",
        "log-every", "eval-every",   "eval-sequences", "checkpoint-every", "checkpoint-minutes",
        "keep-last", "sample-every", "sample-prompt"};
    for (int i = 0; options[i].name != NULL; i++) {
        bool may = options[i].kind == CLI_HEADING || !train_given(args, options[i].name);
        for (size_t f = 0; f < sizeof free / sizeof *free && !may; f++)
            may = strcmp(options[i].name, free[f]) == 0;
        if (!may)
            return cli_wrong(args, "--%s cannot be given with --recipe published, which says it",
                             options[i].name);
    }
    return CLI_DONE;
}

static int train_check(const cli_args *args)
{
    static const char *const ids[] = {"pad-token-id", "eos-token-id", "bos-token-id"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (train_given(args, ids[i]))
            return cli_wrong(args, "--%s is the data's, which know their tokenizer", ids[i]);
    if (train.resume == NULL) {
        if (train.data == NULL || (train.out == NULL && !train.dry))
            return cli_wrong(args, "--%s is missing (or use --resume RUN)",
                             train.data ? "out" : "data");
        if (train.recipe != NULL) return train_check_recipe(args);
        return train.init ? train_check_init(args) : CLI_DONE;
    }
    if (train.dry || train.config != NULL)
        return cli_wrong(args, "--%s goes with a new run only", train.dry ? "dry-run" : "config");
    return CLI_DONE;
}

// What was given with --resume, as changes of the run; texts live in `texts`. Returns how many.
static size_t train_changes(const cli_args *args, sg_train_change *changes, char (*names)[64],
                            char (*texts)[40])
{
    size_t count = 0;
    for (int i = 0; options[i].name != NULL; i++) {
        const cli_option *o = &options[i];
        if (!args->given[i] || o->value == &train.resume || o->value == &train.data) continue;
        snprintf(names[count], sizeof names[0], "%s", o->name);
        for (char *c = names[count]; *c != '\0'; c++)
            if (*c == '-') *c = '_';
        changes[count] = (sg_train_change){names[count], texts[count]};
        if (o->kind == CLI_STRING)
            changes[count].value = *(const char **)o->value;
        else if (o->kind == CLI_FLAG)
            changes[count].value = *(bool *)o->value ? "true" : "false";
        else if (o->kind == CLI_DOUBLE)
            snprintf(texts[count], sizeof texts[0], "%.17g", *(double *)o->value);
        else
            snprintf(texts[count], sizeof texts[0], "%lld", (long long)*(int64_t *)o->value);
        count++;
    }
    return count;
}

// What the machine can do, for the progress bar to hold the speed against: not without a bar.
static sg_status train_measure(sg_context *context, cli_train_talk *talk, sg_error *err)
{
    double stream;
    if (talk->args->quiet) return SG_OK;
    sg_status status = sg_measure_machine(context, &talk->gemm_flops, &stream, err);
    talk->gemm_flops *= 1e9;
    return status;
}

static sg_status train_go(const cli_args *args, sg_context *context, cli_train_talk *talk,
                          sg_train_result *result, sg_error *err)
{
    char data[PATH_MAX];
    sg_status status = SG_OK;
    sg_train_options o;
    if (train.resume == NULL) status = train_options(args, context, &o, err);
    if (status == SG_OK) status = train_measure(context, talk, err);
    if (status != SG_OK) return status;
    // The run remembers its data by a path that holds from anywhere.
    const char *path = train.data ? (realpath(train.data, data) ? data : train.data) : NULL;
    char *command = train_command(args);
    sg_train_hooks hooks = {.event = cli_train_event, .user = talk, .command = command};
    if (train.resume != NULL) {
        static sg_train_change changes[CLI_MAX_OPTIONS];
        static char names[CLI_MAX_OPTIONS][64], texts[CLI_MAX_OPTIONS][40];
        const size_t count = train_changes(args, changes, names, texts);
        status = sg_train_resume_changed(context, train.resume, path, changes, count, &hooks,
                                         result, err);
    } else {
        status = sg_train(context, train.out, path, &o, &hooks, result, err);
    }
    if (talk->begun) cli_progress_end(&talk->bar);
    free(command);
    return status;
}

// --dry-run
static int train_plan(const cli_args *args, sg_context *context)
{
    sg_error err = {0};
    sg_train_options o;
    sg_train_plan plan;
    sg_status status = train_options(args, context, &o, &err);
    if (status == SG_OK) status = sg_train_plan_new(context, train.data, &o, &plan, &err);
    return status == SG_OK ? cli_train_print_plan(args, &plan, &o) : cli_fail(args, status, &err);
}

static int train_run(const cli_args *args)
{
    sg_error err = {0};
    sg_context *context;
    cli_train_talk talk = {.args = args};
    sg_train_result result;
    cli_catch_signals();
    cli_save_on_signals();
    int code = train_read_file(args);
    if (code == CLI_DONE) code = train_check(args);
    if (code != CLI_DONE) return code;
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (train.dry) {
        code = train_plan(args, context);
        sg_context_free(context);
        return code;
    }
    status = train_go(args, context, &talk, &result, &err);
    sg_context_free(context);
    const char *run = train.resume ? train.resume : train.out;
    code = status == SG_OK ? cli_train_report(args, run, &result) : cli_fail(args, status, &err);
    if (status == SG_ERR_STOPPED) cli_note(args, "go on with: sgatlin train --resume %s", run);
    return code;
}

const cli_command cli_cmd_train = {
    .name = "train",
    .summary = "train a model, or go on with a run",
    .usage = "--data DIR --out RUN [--preset NAME | --init MODEL] BUDGET [options] | --resume RUN",
    .about =
        "A run is a folder: options, checkpoints, metrics.jsonl, TensorBoard events, and at "
        "its end a model folder. Ctrl-C saves and stops; --resume goes on, and the end is "
        "the same bits as if the run had never stopped, for any number of threads.\n"
        "\n"
        "--init goes on from a model, whose sizes cannot be changed then. The data must be "
        "packed with its tokenizer, for sequences no longer than it has positions. Its recipe "
        "is 8 sequences a step, --lr 2e-5, --schedule cosine, no weight decay, and a warm-up "
        "of 100 steps, at most a tenth of all. --lora-rank trains adapters on it (Hu et al. "
        "2021; --lr 2e-4), which end up in RUN/adapter in PEFT's layout: generate and eval take "
        "them by --adapter. FLOPs are counted as if all weights were trained.",
    .options = options,
    .example = "sgatlin train --data data --out runs/first --batch-size 8 --steps 300",
    .run = train_run,
};
