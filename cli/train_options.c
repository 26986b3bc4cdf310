// What a new run begins with: a preset, a model or a run as it was, changed by a JSON file, changed
// by the command line.
#include "cli/train_options.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/field_options.h"
#include "cli/model_options.h"

cli_train_own cli_train = {.preset = "demo"};

// The values of the fields of training, in their order; which are given is told elsewhere.
typedef union field_value {
    int64_t whole;
    double number;
    bool yes;
    const char *text;
} field_value;
static field_value values[CLI_MAX_OPTIONS];

// Which options --config gave, by their row, and what it is.
static bool from_file[CLI_MAX_OPTIONS];
static sg_train_file file;

static const cli_option own[] = {
    {.name = "", .kind = CLI_HEADING, .help = "Run"},
    {.name = "data",
     .kind = CLI_STRING,
     .value = &cli_train.data,
     .argument = "DIR",
     .shown = "",
     .help = "packed data (sgatlin data pack)"},
    {.name = "out",
     .kind = CLI_STRING,
     .value = &cli_train.out,
     .argument = "RUN",
     .shown = "",
     .help = "folder of the new run"},
    {.name = "resume",
     .kind = CLI_STRING,
     .value = &cli_train.resume,
     .argument = "RUN",
     .shown = "",
     .help =
         "go on with a run, as it began or with another budget (--steps N, of which it has some "
         "already), --lr, --schedule, --checkpoint-minutes …: run.json records what and from "
         "where"},
    {.name = "preset",
     .kind = CLI_STRING,
     .value = &cli_train.preset,
     .argument = "NAME",
     .help = "demo, tinystories-FAMILY, slimpajama-FAMILY-sN, laptop-FAMILY-sN"},
    {.name = "config",
     .kind = CLI_STRING,
     .value = &cli_train.config,
     .argument = "FILE",
     .shown = "",
     .help = "JSON object of options by name, a model's config.json, or the run.json of a run, for "
             "one like it; the command line goes before it"},
    {.name = "dry-run",
     .kind = CLI_FLAG,
     .value = &cli_train.dry,
     .help =
         "print the plan of a new run (parameters, rows, steps, rate, FLOPs, memory, disk), and "
         "write nothing"},
    {.name = "", .kind = CLI_HEADING, .help = "Recipe"},
    {.name = "recipe",
     .kind = CLI_STRING,
     .value = &cli_train.recipe,
     .argument = "NAME",
     .shown = "",
     .help =
         "published: that of the preset's paper to the letter, on data packed as there; takes no "
         "option that would change it but --seed and, with slimpajama, --flops",
     .choices = "published"},
    {.name = "seq-len",
     .kind = CLI_COUNT,
     .value = &cli_train.seq_len,
     .argument = "T",
     .shown = "the data's",
     .help = "tokens of a sequence; the data must be packed for it",
     .low = 1,
     .high = 1 << 24},
};

// ---- the table ----------------------------------------------------------------------------------

// A title, and the command's own options under it.
static size_t train_add_group(cli_option *table, size_t count, const char *group)
{
    const cli_option heading = cli_heading(group);
    bool here = false;
    count = cli_table_add(table, count, &heading, 1);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        const bool title = own[i].kind == CLI_HEADING;
        if (title) here = strcmp(own[i].help, group) == 0;
        if (here && !title) count = cli_table_add(table, count, &own[i], 1);
    }
    return count;
}

const cli_option *cli_train_table(void)
{
    static cli_option table[CLI_MAX_OPTIONS];
    const char *group = "";
    const sg_field *field;
    size_t count = 0;
    if (table[0].name != NULL) return table;
    for (size_t i = 0; (field = sg_train_field_at(i)) != NULL; i++) {
        if (field->group == NULL) continue;
        if (strcmp(group, field->group) != 0) count = train_add_group(table, count, field->group);
        group = field->group;
        const cli_option row = cli_field_option(field, &values[i]);
        count = cli_table_add(table, count, &row, 1);
    }
    cli_config_options(table, count);
    return table;
}

// The field of training that an option is of; NULL for any other option.
static const sg_field *train_field_of(const cli_option *option)
{
    const field_value *value = option->value;
    return value >= values && value < values + CLI_MAX_OPTIONS
               ? sg_train_field_at((size_t)(value - values))
               : NULL;
}

static bool train_row_given(const cli_args *args, size_t row)
{
    return args->given[row] || from_file[row];
}

// The row of an option that was given, on the command line or in the file; NULL: it was not.
static const cli_option *train_given(const cli_args *args, const char *name)
{
    const cli_option *table = cli_train_table();
    for (size_t i = 0; table[i].name != NULL; i++)
        if (strcmp(table[i].name, name) == 0) return train_row_given(args, i) ? &table[i] : NULL;
    return NULL;
}

// The value of an option as text, which the library reads back as the same value.
static const char *train_text(const cli_option *option, char *text, size_t capacity)
{
    switch (option->kind) {
    case CLI_STRING:
        return *(const char **)option->value;
    case CLI_FLAG:
        return *(const bool *)option->value ? "true" : "false";
    case CLI_DOUBLE:
        snprintf(text, capacity, "%.17g", *(const double *)option->value);
        return text;
    default:
        snprintf(text, capacity, "%lld", (long long)*(const int64_t *)option->value);
        return text;
    }
}

// ---- --config -----------------------------------------------------------------------------------

// A field of the model is a text on the command line, of which the library makes what it is.
static void train_expected(const cli_option *option, char *text, size_t capacity)
{
    const sg_field *field = cli_config_field_of(option);
    if (field == NULL || field->kind == SG_FIELD_STRING)
        cli_option_expected(option, text, capacity);
    else
        snprintf(text, capacity, "%s", field->kind == SG_FIELD_INT ? "an integer" : "a number");
}

static int train_take(const cli_args *args, const char *key, const char *value)
{
    const cli_option *table = cli_train_table();
    char name[64], expected[160];
    snprintf(name, sizeof name, "%s", key);
    for (char *c = name; *c != '\0'; c++)
        if (*c == '_') *c = '-';
    for (size_t i = 0; table[i].name != NULL; i++) {
        const cli_option *o = &table[i];
        if (o->kind == CLI_HEADING || strcmp(o->name, name) != 0) continue;
        if (o->value == &cli_train.config || o->value == &cli_train.resume)
            return cli_wrong(args, "%s: \"%s\": goes on the command line only", cli_train.config,
                             key);
        if (args->given[i]) return CLI_DONE; // the command line goes before the file
        train_expected(o, expected, sizeof expected);
        if (value == NULL || !cli_option_store(o, value))
            return cli_wrong(args, "%s: \"%s\": found %s, expected %s", cli_train.config, key,
                             value ? value : "no plain value", expected);
        from_file[i] = true;
        return CLI_DONE;
    }
    return cli_wrong(args, "%s: \"%s\": there is no such option", cli_train.config, key);
}

// The parsed file is kept: strings point into it.
static int train_read_file(const cli_args *args)
{
    sg_error err = {0};
    if (cli_train.config == NULL || cli_train.resume != NULL) return CLI_DONE;
    sg_status status = sg_train_file_read(cli_train.config, &file, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    if (file.unread[0] != '\0') cli_warn(args, "%s", file.unread);
    if (file.kind == SG_TRAIN_FILE_RUN)
        cli_note(args, "%s: model and training options are those of that run", cli_train.config);
    for (size_t i = 0; i < file.count; i++) {
        int code = train_take(args, file.names[i], file.values[i]);
        if (code != CLI_DONE) return code;
    }
    return CLI_DONE;
}

static bool train_from_file(void)
{
    return cli_train.config != NULL && file.kind != SG_TRAIN_FILE_OPTIONS;
}

// ---- what excludes each other -------------------------------------------------------------------

static bool train_has_init(const cli_args *args)
{
    return train_given(args, "init") != NULL || file.options.init[0] != '\0';
}

// What a model has settled cannot be chosen.
static int train_check_init(const cli_args *args)
{
    const cli_option *table = cli_train_table();
    for (size_t i = 0; table[i].name != NULL; i++) {
        const sg_field *field = cli_config_field_of(&table[i]);
        const bool settled = field != NULL ? !(field->flags & SG_FIELD_TUNED)
                                           : table[i].value == &cli_train.preset ||
                                                 table[i].value == &cli_train.seq_len;
        if (settled && train_row_given(args, i))
            return cli_wrong(args, "--%s cannot be given with --init: the model and the data say",
                             table[i].name);
    }
    return CLI_DONE;
}

// The published protocol is what it is; what is watched and saved, and how it fits into memory, is
// not of it. A budget chooses one of those published, which a run has done.
static bool train_beside_recipe(const cli_option *option)
{
    const sg_field *field = train_field_of(option);
    if (field == NULL)
        return cli_config_field_of(option) == NULL && option->value != &cli_train.seq_len;
    if (field->flags & SG_FIELD_BUDGET && cli_train.recipe == NULL) return false;
    return field->flags & SG_FIELD_BESIDE;
}

static int train_check_recipe(const cli_args *args)
{
    const cli_option *table = cli_train_table();
    for (size_t i = 0; table[i].name != NULL; i++)
        if (table[i].kind != CLI_HEADING && train_row_given(args, i) &&
            !train_beside_recipe(&table[i]))
            return cli_wrong(args, "--%s cannot be given with --recipe published, which says it",
                             table[i].name);
    return CLI_DONE;
}

// A file that says what the model is takes the place of what else says it.
static int train_check_file(const cli_args *args)
{
    const bool run = file.kind == SG_TRAIN_FILE_RUN;
    const char *const said[] = {"ffn", "init", "recipe", run ? "preset" : NULL};
    for (size_t i = 0; i < sizeof said / sizeof *said && said[i] != NULL; i++)
        if (train_given(args, said[i]) != NULL)
            return cli_wrong(args, "--%s cannot be given with %s, which says the model", said[i],
                             cli_train.config);
    return CLI_DONE;
}

static int train_check(const cli_args *args)
{
    static const char *const ids[] = {"pad-token-id", "eos-token-id", "bos-token-id"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (train_given(args, ids[i]) != NULL)
            return cli_wrong(args, "--%s is the data's, which know their tokenizer", ids[i]);
    if (cli_train.resume != NULL) {
        if (!cli_train.dry && cli_train.config == NULL) return CLI_DONE;
        return cli_wrong(args, "--%s goes with a new run only",
                         cli_train.dry ? "dry-run" : "config");
    }
    if (cli_train.data == NULL || (cli_train.out == NULL && !cli_train.dry))
        return cli_wrong(args, "--%s is missing (or use --resume RUN)",
                         cli_train.data ? "out" : "data");
    int code = train_from_file() ? train_check_file(args) : CLI_DONE;
    if (code == CLI_DONE && (cli_train.recipe != NULL || file.options.recipe[0] != '\0'))
        return train_check_recipe(args);
    return code == CLI_DONE && train_has_init(args) ? train_check_init(args) : code;
}

int cli_train_read(const cli_args *args)
{
    const int code = train_read_file(args);
    return code == CLI_DONE ? train_check(args) : code;
}

// ---- options of the library -------------------------------------------------------------------

// What a preset is changed to. The vocabulary is the data's unless it was asked for, and so are the
// sequences, unless a file says them.
static sg_status train_config(sg_preset *preset, bool keep_length, sg_error *err)
{
    sg_status status = cli_config_apply(preset, cli_train.seq_len, err);
    if (status != SG_OK) return status;
    if (cli_config_given("vocab_size") == NULL) preset->config.vocab_size = 0;
    if (cli_train.seq_len == 0 && cli_config_given("max_position_embeddings") == NULL &&
        !keep_length)
        preset->config.max_position_embeddings = 0;
    return SG_OK;
}

static sg_status train_from_preset(sg_train_options *o, sg_error *err)
{
    sg_preset preset;
    const bool of_file = train_from_file();
    sg_status status = sg_preset_find(cli_train.preset, &preset, err);
    if (status == SG_OK && of_file) preset.config = file.options.config;
    if (status == SG_OK) status = train_config(&preset, of_file, err);
    if (status == SG_OK) *o = sg_train_options_from_preset(&preset);
    return status;
}

static sg_status train_from_run(sg_train_options *o, sg_error *err)
{
    sg_preset preset = {.config = file.options.config};
    *o = file.options;
    sg_status status =
        o->init[0] != '\0' ? cli_config_apply(&preset, 0, err) : train_config(&preset, true, err);
    o->config = preset.config;
    return status;
}

// The run remembers its model by a path that holds from anywhere.
static sg_status train_from_model(sg_context *context, const char *init, sg_train_options *o,
                                  sg_error *err)
{
    char folder[CLI_PATH], path[PATH_MAX];
    sg_preset preset = {0};
    sg_status status = sg_train_model_folder(context, init, folder, sizeof folder, err);
    if (status == SG_OK)
        status = sg_train_options_from_model(realpath(folder, path) ? path : folder, o, err);
    if (status != SG_OK) return status;
    preset.config = o->config;
    status = cli_config_apply(&preset, 0, err);
    o->config = preset.config;
    return status;
}

// One budget in the place of another; two that were given are for the library to refuse.
static void train_clear_budget(const cli_args *args, sg_train_options *o)
{
    const cli_option *table = cli_train_table();
    for (size_t i = 0; table[i].name != NULL; i++) {
        const sg_field *field = train_field_of(&table[i]);
        if (field == NULL || !(field->flags & SG_FIELD_BUDGET) || !train_row_given(args, i))
            continue;
        o->steps = o->tokens = 0;
        o->flops = o->epochs = 0;
        return;
    }
}

// What was given, over what there is.
static sg_status train_apply(const cli_args *args, sg_train_options *o, sg_error *err)
{
    const cli_option *table = cli_train_table();
    sg_status status = SG_OK;
    if (cli_train.recipe == NULL) train_clear_budget(args, o);
    for (size_t i = 0; table[i].name != NULL && status == SG_OK; i++) {
        const sg_field *field = train_field_of(&table[i]);
        char text[40];
        if (field == NULL || !train_row_given(args, i)) continue;
        // These two are in the options already, as a path that holds and as what was published.
        if (strcmp(field->name, "init") == 0) continue;
        if (cli_train.recipe != NULL && field->flags & SG_FIELD_BUDGET) continue;
        status =
            sg_train_options_set(o, field->name, train_text(&table[i], text, sizeof text), err);
    }
    return status;
}

sg_status cli_train_options(const cli_args *args, sg_context *context, sg_train_options *o,
                            sg_error *err)
{
    const cli_option *init = train_given(args, "init"), *flops = train_given(args, "flops");
    sg_status status = cli_train.recipe != NULL
                           ? sg_train_options_published(cli_train.preset,
                                                        flops ? *(double *)flops->value : 0, o, err)
                       : init != NULL
                           ? train_from_model(context, *(const char **)init->value, o, err)
                       : file.kind == SG_TRAIN_FILE_RUN ? train_from_run(o, err)
                                                        : train_from_preset(o, err);
    if (status != SG_OK) return status;
    // Adapters begin at nothing. A run says its rate.
    if (train_given(args, "lora-rank") != NULL && file.kind != SG_TRAIN_FILE_RUN) o->lr = 2e-4;
    return train_apply(args, o, err);
}

size_t cli_train_changes(const cli_args *args, sg_train_change *changes)
{
    static char names[CLI_MAX_OPTIONS][64], texts[CLI_MAX_OPTIONS][40];
    const cli_option *table = cli_train_table();
    size_t count = 0;
    for (size_t i = 0; table[i].name != NULL; i++) {
        const cli_option *o = &table[i];
        if (!args->given[i] || o->value == &cli_train.resume || o->value == &cli_train.data)
            continue;
        snprintf(names[count], sizeof names[0], "%s", o->name);
        for (char *c = names[count]; *c != '\0'; c++)
            if (*c == '-') *c = '_';
        changes[count] =
            (sg_train_change){names[count], train_text(o, texts[count], sizeof texts[0])};
        count++;
    }
    return count;
}
