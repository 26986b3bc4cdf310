// The fields of a configuration as options. A size that the chosen family does not have is refused
// here, since the library would drop it without a word.
#include "cli/model_options.h"

#include <stdio.h>
#include <string.h>

const char *cli_config_values[CLI_CONFIG_FIELDS];

static sg_status apply_fail(sg_error *err, const char *field, const char *value, const char *family)
{
    char takes[256];
    const bool has = sg_config_takes(family, field, takes, sizeof takes);
    err->code = SG_ERR_ARGUMENT;
    snprintf(err->message, sizeof err->message, "%s: found \"%.40s\", expected none: %s%s%s", field,
             value, has ? "beside the other values it has no effect" : "family ", has ? "" : family,
             has ? "" : " has no such field");
    return err->code;
}

// The library drops sizes that a family does not have. On a command line that would be an option
// without effect: refuse it.
static sg_status apply_used(const sg_config *config, sg_error *err)
{
    sg_config complete = *config;
    sg_status status = sg_config_complete(&complete, err);
    for (size_t i = 0; i < CLI_CONFIG_FIELDS && status == SG_OK; i++) {
        const sg_config_field *field = sg_config_field_at(i);
        const char *value = cli_config_values[i];
        if (value == NULL || strncmp(field->name, "ffn_", 4) != 0) continue;
        sg_config again = complete;
        status = sg_config_set(&again, field->name, value, err);
        if (status == SG_OK && memcmp(&again, &complete, sizeof again) != 0)
            status = apply_fail(err, field->name, value, complete.ffn);
    }
    return status;
}

static bool apply_given(const char *name)
{
    for (size_t i = 0; i < CLI_CONFIG_FIELDS; i++)
        if (strcmp(sg_config_field_at(i)->name, name) == 0) return cli_config_values[i] != NULL;
    return false;
}

sg_status cli_config_apply(sg_preset *preset, int64_t seq_len, sg_error *err)
{
    sg_status status = SG_OK;
    sg_config *config = &preset->config;
    // The family first: it decides what the other sizes are changed from.
    for (size_t i = 0; i < CLI_CONFIG_FIELDS && status == SG_OK; i++)
        if (cli_config_values[i] != NULL && strcmp(sg_config_field_at(i)->name, "ffn") == 0)
            status = sg_preset_set_family(preset, cli_config_values[i], err);
    for (size_t i = 0; i < CLI_CONFIG_FIELDS && status == SG_OK; i++)
        if (cli_config_values[i] != NULL && strcmp(sg_config_field_at(i)->name, "ffn") != 0)
            status = sg_config_set(config, sg_config_field_at(i)->name, cli_config_values[i], err);
    if (status != SG_OK) return status;
    // The preset's ids are its tokenizer's; a smaller vocabulary is of another.
    if (apply_given("vocab_size")) {
        int64_t *ids[] = {&config->pad_token_id, &config->eos_token_id, &config->bos_token_id};
        const char *const names[] = {"pad_token_id", "eos_token_id", "bos_token_id"};
        for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
            if (*ids[i] >= config->vocab_size && !apply_given(names[i])) *ids[i] = -1;
    }
    // Heads follow the width, and their width the heads, unless both are given.
    bool width = apply_given("hidden_size"), head = apply_given("head_dim");
    if ((width || head) && !apply_given("num_attention_heads")) config->num_attention_heads = 0;
    bool positions = apply_given("max_position_embeddings");
    if (seq_len > 0 && positions && config->max_position_embeddings != seq_len) {
        err->code = SG_ERR_ARGUMENT;
        snprintf(err->message, sizeof err->message,
                 "max_position_embeddings: found %lld, expected the same as --seq-len %lld",
                 (long long)config->max_position_embeddings, (long long)seq_len);
        return err->code;
    }
    if (seq_len > 0) config->max_position_embeddings = seq_len;
    if (seq_len > 0 || positions) preset->seq_len = config->max_position_embeddings;
    return apply_used(config, err);
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
    for (const cli_option *o = command->options; o->name != NULL; o++)
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
    }
}

bool cli_config_describe(const cli_command *command, const cli_option *option, char *text,
                         size_t capacity)
{
    const char *family = cli_config_values[CLI_CONFIG_ffn];
    const size_t index = (size_t)((const char **)option->value - cli_config_values);
    const char *field = sg_config_field_at(index)->name;
    char takes[256] = "", initial[128] = "";
    text[0] = '\0';
    if (index == CLI_CONFIG_ffn) {
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

json_t *cli_config_json(const sg_config *c)
{
    json_t *object = json_object();
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const sg_config_field *field = sg_config_field_at(i);
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
