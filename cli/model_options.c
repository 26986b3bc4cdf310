// The fields of a configuration as options.
#include "cli/model_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/field_options.h"

const char *cli_config_values[CLI_MAX_OPTIONS];

static size_t config_index(const char *field)
{
    size_t i = 0;
    while (i < sg_config_field_count() && strcmp(sg_config_field_at(i)->name, field) != 0)
        i++;
    return i;
}

const char *cli_config_given(const char *field)
{
    const size_t i = config_index(field);
    return i < sg_config_field_count() ? cli_config_values[i] : NULL;
}

const sg_field *cli_config_field_of(const cli_option *option)
{
    for (size_t i = 0; i < sg_config_field_count(); i++)
        if (option->value == &cli_config_values[i]) return sg_config_field_at(i);
    return NULL;
}

sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err)
{
    sg_setting settings[CLI_MAX_OPTIONS];
    size_t count = 0;
    for (size_t i = 0; i < sg_config_field_count(); i++)
        if (cli_config_values[i] != NULL)
            settings[count++] = (sg_setting){sg_config_field_at(i)->name, cli_config_values[i]};
    return sg_preset_change(preset, settings, count, seq_len, err);
}

// ---- help ---------------------------------------------------------------------------------------

// "; of peer, sgatlin" or "; not of mlp, glu": the families that have a field, where not all do.
static void describe_families(const char *field, char *text, size_t capacity)
{
    char takes[256];
    size_t has = 0, all = 0, used = 0;
    for (; sg_config_family(all) != NULL; all++)
        has += sg_config_takes(sg_config_family(all), field, takes, sizeof takes);
    const bool listed = has <= all / 2; // the shorter list
    text[0] = '\0';
    if (has == all) return;
    for (size_t i = 0; i < all && used < capacity; i++) {
        if (sg_config_takes(sg_config_family(i), field, takes, sizeof takes) != listed) continue;
        used += (size_t)snprintf(text + used, capacity - used, "%s%s",
                                 used     ? ", "
                                 : listed ? "; of "
                                          : "; not of ",
                                 sg_config_family(i));
    }
}

static void describe_all_families(char *text, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; sg_config_family(i) != NULL && used < capacity; i++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : ": ",
                                 sg_config_family(i));
}

// " (default: 8)": the value in the preset of the command line, or of the demo, with this family.
static void describe_default(const cli_command *command, size_t index, const char *family,
                             char *text, size_t capacity)
{
    sg_preset preset;
    const char *name = NULL;
    for (const cli_option *o = cli_table(command); o->name != NULL; o++)
        if (o->kind == CLI_STRING && strcmp(o->name, "preset") == 0)
            name = *(const char *const *)o->value;
    text[0] = '\0';
    if (sg_preset_find(name ? name : "demo", &preset, NULL) != SG_OK ||
        sg_preset_set_family(&preset, family, NULL) != SG_OK ||
        sg_config_complete(&preset.config, NULL) != SG_OK)
        return;
    const sg_config_value value = sg_config_get(&preset.config, index);
    switch (sg_config_field_at(index)->kind) {
    case SG_FIELD_INT:
        snprintf(text, capacity, " (default: %lld)", (long long)value.integer);
        return;
    case SG_FIELD_NUMBER:
        snprintf(text, capacity, " (default: %g)", value.number);
        return;
    case SG_FIELD_STRING:
        if (value.text[0] != '\0') snprintf(text, capacity, " (default: %s)", value.text);
        return;
    case SG_FIELD_BOOL:
    case SG_FIELD_SEED:
    case SG_FIELD_ENUM:
        break; // a configuration has none
    }
}

// What a field takes and begins with. Where a family was named by --ffn, fields that it does not
// have are left out; else the families that have a field are told.
static bool config_describe(const cli_command *command, const cli_option *option, char *text,
                            size_t capacity)
{
    const char *family = cli_config_given("ffn"), *field = cli_config_field_of(option)->name;
    const size_t index = config_index(field);
    char takes[256] = "", initial[128] = "";
    text[0] = '\0';
    if (strcmp(field, "ffn") == 0) {
        describe_all_families(text, capacity);
        return true;
    }
    if (family == NULL) {
        describe_families(field, text, capacity);
        return true;
    }
    if (!sg_config_takes(family, field, takes, sizeof takes)) return false;
    describe_default(command, index, family, initial, sizeof initial);
    snprintf(text, capacity, "%s%s%s", takes[0] ? "; " : "", takes, initial);
    return true;
}

static size_t config_heading(cli_option *table, size_t count, const char *group)
{
    // The first group has room for what holds for all of them.
    const cli_option heading =
        cli_heading(strcmp(group, "Model") != 0
                        ? group
                        : "Model (defaults from the preset; with --ffn FAMILY --help shows that "
                          "family's)");
    return cli_table_add(table, count, &heading, 1);
}

size_t cli_config_options(cli_option *table, size_t count)
{
    const char *group = "";
    const sg_field *field;
    for (size_t i = 0; (field = sg_config_field_at(i)) != NULL; i++) {
        // The library checks the text when all is known that a field depends on.
        const cli_option full = cli_field_option(field, &cli_config_values[i]);
        const cli_option row = {.name = full.name,
                                .kind = CLI_STRING,
                                .value = full.value,
                                .argument = "X",
                                .shown = "",
                                .help = full.help,
                                .also = full.also,
                                .describe = config_describe};
        if (strcmp(group, field->group) != 0) count = config_heading(table, count, field->group);
        group = field->group;
        count = cli_table_add(table, count, &row, 1);
    }
    return count;
}

json_t *cli_config_json(const sg_config *c)
{
    json_t *object = json_object();
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const sg_field *field = sg_config_field_at(i);
        const sg_config_value value = sg_config_get(c, i);
        const bool ffn = strncmp(field->name, "ffn", 3) == 0;
        if (strstr(field->name, "token_id") != NULL) continue;
        if (field->kind == SG_FIELD_INT && value.integer > 0)
            json_object_set_new(object, field->name, json_integer(value.integer));
        if (field->kind == SG_FIELD_NUMBER && ffn && value.number > 0)
            json_object_set_new(object, field->name, json_real(value.number));
        if (field->kind == SG_FIELD_STRING && value.text[0] != '\0')
            json_object_set_new(object, field->name, json_string(value.text));
    }
    return object;
}
