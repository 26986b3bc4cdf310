// A preset changed by fields of a configuration, as a command line or a file gives them. A size
// that the family does not have is refused here, since completing a configuration drops it without
// a word.
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/config.h"

typedef struct change_list {
    const sg_setting *settings;
    size_t count;
} change_list;

// The value that was given last; NULL: not given.
static const char *change_given(const change_list *list, const char *field)
{
    for (size_t i = list->count; i-- > 0;)
        if (strcmp(list->settings[i].name, field) == 0) return list->settings[i].value;
    return NULL;
}

static sg_status change_unused(const char *field, const char *value, const char *family,
                               sg_error *err)
{
    char takes[256];
    const bool has = sg_config_takes(family, field, takes, sizeof takes);
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected none: %s%s%s", field, value,
                   has ? "beside the other values it has no effect" : "family ", has ? "" : family,
                   has ? "" : " has no such field");
}

static sg_status change_check_used(const change_list *list, const sg_config *config, sg_error *err)
{
    sg_config complete = *config;
    SG_TRY(sg_config_complete(&complete, err));
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const char *field = sg_config_field_at(i)->name, *value = change_given(list, field);
        if (value == NULL || strncmp(field, "ffn_", 4) != 0) continue;
        sg_config again = complete;
        SG_TRY(sg_config_set(&again, field, value, err));
        if (memcmp(&again, &complete, sizeof again) != 0)
            return change_unused(field, value, complete.ffn, err);
    }
    return SG_OK;
}

// The preset's ids are its tokenizer's; a smaller vocabulary is of another.
static void change_ids(const change_list *list, sg_config *c)
{
    int64_t *ids[] = {&c->pad_token_id, &c->eos_token_id, &c->bos_token_id};
    const char *const names[] = {"pad_token_id", "eos_token_id", "bos_token_id"};
    if (change_given(list, "vocab_size") == NULL) return;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (*ids[i] >= c->vocab_size && change_given(list, names[i]) == NULL) *ids[i] = -1;
}

static sg_status change_length(const change_list *list, int64_t seq_len, sg_preset *preset,
                               sg_error *err)
{
    sg_config *c = &preset->config;
    const bool positions = change_given(list, "max_position_embeddings") != NULL;
    if (seq_len > 0 && positions && c->max_position_embeddings != seq_len)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "max_position_embeddings: found %lld, expected the same as --seq-len %lld",
                       (long long)c->max_position_embeddings, (long long)seq_len);
    if (seq_len > 0) c->max_position_embeddings = seq_len;
    if (seq_len > 0 || positions) preset->seq_len = c->max_position_embeddings;
    return SG_OK;
}

sg_status sg_preset_change(sg_preset *preset, const sg_setting *settings, size_t count,
                           int64_t seq_len, sg_error *err)
{
    const change_list list = {settings, count};
    sg_config *c = &preset->config;
    // The family first: it decides what the other sizes are changed from.
    const char *family = change_given(&list, "ffn");
    if (family != NULL) SG_TRY(sg_preset_set_family(preset, family, err));
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const char *field = sg_config_field_at(i)->name, *value = change_given(&list, field);
        if (value != NULL && strcmp(field, "ffn") != 0) SG_TRY(sg_config_set(c, field, value, err));
    }
    change_ids(&list, c);
    // Heads follow the width, and their width the heads, unless both are given.
    if ((change_given(&list, "hidden_size") != NULL || change_given(&list, "head_dim") != NULL) &&
        change_given(&list, "num_attention_heads") == NULL)
        c->num_attention_heads = 0;
    SG_TRY(change_length(&list, seq_len, preset, err));
    return change_check_used(&list, c, err);
}
