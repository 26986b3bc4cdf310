// The options of a new run by name: a preset, changed by fields of its configuration, then options
// of training. What `sgatlin train` makes of its command line, a sweep makes of its file.
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "model/config.h"
#include "sgatlin_train.h"

enum { NAMED_MOST = 256 };

// Those that go with a model to begin from, which says what here is chosen.
static bool named_of_model(const char *name)
{
    return strcmp(name, "init") == 0 || strcmp(name, "force_tokenizer") == 0 ||
           strcmp(name, "relufy") == 0 || strncmp(name, "lora_", 5) == 0;
}

// A field that a command line has too.
static const sg_field *named_of_training(const char *name)
{
    const sg_field *field = sg_train_field(name);
    return field != NULL && field->group != NULL ? field : NULL;
}

static bool named_of_config(const char *name)
{
    for (size_t i = 0; i < sg_config_field_count(); i++)
        if (strcmp(sg_config_field_at(i)->name, name) == 0) return true;
    return false;
}

sg_status sg_train_option_known(const char *name, sg_error *err)
{
    const char *names[NAMED_MOST] = {"preset", "seq_len"};
    size_t n = 2;
    const sg_field *field;
    if (strcmp(name, "preset") == 0 || strcmp(name, "seq_len") == 0 || named_of_config(name) ||
        named_of_training(name) != NULL)
        return SG_OK;
    for (size_t i = 0; i < sg_config_field_count() && n + 1 < NAMED_MOST; i++)
        names[n++] = sg_config_field_at(i)->name;
    for (size_t i = 0; (field = sg_train_field_at(i)) != NULL && n + 1 < NAMED_MOST; i++)
        if (field->group != NULL) names[n++] = field->name;
    names[n] = NULL;
    const char *near = sg_nearest_name(name, names);
    if (near == NULL) return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such option", name);
    return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such option, did you mean %s?", name,
                   near);
}

static sg_status named_length(const char *text, int64_t *length, sg_error *err)
{
    char *end;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || value < 1 || value > 1 << 24)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "seq_len: found \"%.40s\", expected an integer from 1 to %d", text, 1 << 24);
    *length = value;
    return SG_OK;
}

// What comes before the options of training; *given: fields that the data do not say then.
static sg_status named_preset(const sg_setting *settings, size_t count, sg_preset *preset,
                              sg_error *err)
{
    const char *name = "demo";
    int64_t length = 0;
    bool vocabulary = false, positions = false;
    for (size_t i = 0; i < count; i++) {
        SG_TRY(sg_train_option_known(settings[i].name, err));
        if (named_of_model(settings[i].name))
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "%s: found \"%.40s\", expected none: runs begin from fresh weights here",
                           settings[i].name, settings[i].value);
        if (strcmp(settings[i].name, "preset") == 0) name = settings[i].value;
        if (strcmp(settings[i].name, "seq_len") == 0)
            SG_TRY(named_length(settings[i].value, &length, err));
        vocabulary |= strcmp(settings[i].name, "vocab_size") == 0;
        positions |= strcmp(settings[i].name, "max_position_embeddings") == 0;
    }
    SG_TRY(sg_preset_find(name, preset, err));
    SG_TRY(sg_preset_change(preset, settings, count, length, err));
    if (!vocabulary) preset->config.vocab_size = 0;
    if (length == 0 && !positions) preset->config.max_position_embeddings = 0;
    return SG_OK;
}

sg_status sg_train_options_named(const sg_setting *settings, size_t count, sg_train_options *o,
                                 sg_error *err)
{
    sg_preset preset;
    SG_TRY(named_preset(settings, count, &preset, err));
    *o = sg_train_options_from_preset(&preset);
    for (size_t i = 0; i < count; i++)
        if (named_of_training(settings[i].name) != NULL)
            SG_TRY(sg_train_options_set(o, settings[i].name, settings[i].value, err));
    return SG_OK;
}
