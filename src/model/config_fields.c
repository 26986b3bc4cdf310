// The fields of a configuration that belong to the transformer, each stated once; those of the
// feed-forward layer follow (ffn/family_fields.c). A new field is a member of sg_config and a row:
// reading, writing, options and help go by the table, and so do range and default unless the field
// depends on others (SG_FIELD_RULED), for which config.c has a rule.
#include <math.h>
#include <string.h>

#include "ffn/ffn.h"
#include "model/config.h"

#define FIELD(member) SG_FIELD_OF(sg_config, member)
#define SIZES         .group = "Model"
#define STREAM        .group = "Model: norms and residual stream"
#define ATTENTION     .group = "Model: attention"
#define POSITIONS     .group = "Model: positions"
#define YES_OR_NO     .low = 0, .high = 1
#define TRIMMED       "Model: inputs that are left out"
#define TRIM          .group = TRIMMED, .flags = SG_FIELD_TUNED | SG_FIELD_RULED
#define POSITIVE      .low = 0, .high = 1e12, .flags = SG_FIELD_ABOVE | SG_FIELD_BELOW

static const sg_field fields[] = {
    {FIELD(vocab_size), SIZES, .low = 2, .high = 1 << 24, .help = "tokens in the vocabulary"},
    {FIELD(hidden_size), SIZES, .low = 1, .high = 1 << 20, .help = "model width d"},
    {FIELD(num_hidden_layers), SIZES, .low = 1, .high = 1 << 9, .help = "layers"},
    {FIELD(num_attention_heads), SIZES, .low = 1, .high = 1 << 12, .shown = "d / head_dim",
     .flags = SG_FIELD_FILLED | SG_FIELD_RULED, .help = "attention heads"},
    {FIELD(head_dim), SIZES, .low = 2, .high = 1 << 12, .shown = "d / heads, or 64",
     .flags = SG_FIELD_FILLED | SG_FIELD_RULED, .help = "width of a head"},
    {FIELD(max_position_embeddings), SIZES, .low = 1, .high = 1 << 24,
     .help = "longest sequence; the same as --seq-len"},
    {FIELD(rms_norm_eps), SIZES, .low = 0, .high = 1, .initial = "1e-06",
     .flags = SG_FIELD_FILLED | SG_FIELD_BELOW, .help = "epsilon of the norms"},
    {FIELD(rope_theta), SIZES, .low = 1, .high = 1e12, .initial = "10000",
     .flags = SG_FIELD_FILLED | SG_FIELD_BELOW, .help = "base of the rotary positions"},
    {FIELD(pad_token_id), SIZES, .low = -1, .high = 1 << 24, .initial = "-1",
     .flags = SG_FIELD_TUNED, .help = "id of padding; train takes the data's"},
    {FIELD(eos_token_id), SIZES, .low = -1, .high = 1 << 24, .initial = "-1",
     .flags = SG_FIELD_TUNED, .help = "id that ends a document; train takes the data's"},
    {FIELD(bos_token_id), SIZES, .low = -1, .high = 1 << 24, .initial = "-1",
     .flags = SG_FIELD_TUNED, .help = "id before a sequence; train takes the data's"},
    {FIELD(untied_classifier), SIZES, YES_OR_NO, .help = "1: the classifier is not the embedding"},

    {FIELD(norm), STREAM, .choices = "rmsnorm|layernorm", .initial = "rmsnorm",
     .flags = SG_FIELD_FILLED, .help = "norms: rmsnorm, layernorm"},
    {FIELD(parallel_residual), STREAM, YES_OR_NO, .help = "1: attention and FFN read the same"},

    {FIELD(num_key_value_heads), ATTENTION, .low = 0, .high = 1 << 12,
     .help = "heads of keys and values; 0: all"},
    {FIELD(qk_norm), ATTENTION, .choices = "head|full|none", .initial = "head",
     .flags = SG_FIELD_FILLED, .help = "norm of queries and keys: head, full, none"},
    {FIELD(clip_qkv), ATTENTION, .low = 0, .high = 1e12, .flags = SG_FIELD_BELOW,
     .help = "limit of queries, keys and values; 0: none"},
    {FIELD(attention_bias), ATTENTION, YES_OR_NO,
     .help = "1: queries, keys and values have biases"},
    {FIELD(attention_out_bias), ATTENTION, YES_OR_NO,
     .help = "1: the projection behind attention has one"},
    {FIELD(attention_sinks), ATTENTION, YES_OR_NO, .help = "1: each head has a sink"},
    {FIELD(sliding_window), ATTENTION, .low = 0, .high = 1 << 24,
     .help = "tokens that a token sees; 0: all"},
    {FIELD(sliding_layers), ATTENTION, .initial = "all", .flags = SG_FIELD_RULED,
     .help = "layers with that window, as --ffn-layers"},
    {FIELD(attention_mlp_q), ATTENTION, .flags = SG_FIELD_RULED,
     .help = "hidden width of MLPs in place of the projections to queries, one for all layers or a "
             "list with a value for each, as 64,0,64; 0: linear"},
    {FIELD(attention_mlp_k), ATTENTION, .flags = SG_FIELD_RULED, .help = "of those to keys"},
    {FIELD(attention_mlp_v), ATTENTION, .flags = SG_FIELD_RULED, .help = "of those to values"},
    {FIELD(attention_mlp_o), ATTENTION, .flags = SG_FIELD_RULED,
     .help = "of those behind attention"},

    {FIELD(positions), POSITIONS, .choices = "rotary|learned", .initial = "rotary",
     .flags = SG_FIELD_FILLED, .help = "positions: rotary, learned"},
    {FIELD(position_offset), POSITIONS, .low = 0, .high = 1 << 10, .flags = SG_FIELD_RULED,
     .help = "row of the first learned position"},
    {FIELD(rotary_dim), POSITIONS, .low = 0, .high = 1 << 12, .flags = SG_FIELD_RULED,
     .help = "numbers of a head that are rotated; 0: all"},
    {FIELD(rope_interleaved), POSITIONS, YES_OR_NO, .flags = SG_FIELD_RULED,
     .help = "1: neighbours are rotated together, not halves"},
    {FIELD(rope_scaling), POSITIONS, .choices = "none|linear|llama3|yarn", .initial = "none",
     .flags = SG_FIELD_FILLED | SG_FIELD_RULED, .help = "none, linear, llama3, yarn"},
    {FIELD(rope_factor), POSITIONS, POSITIVE | SG_FIELD_FILLED | SG_FIELD_RULED,
     .help = "factor of that scaling"},
    {FIELD(rope_low_freq_factor), POSITIONS, .initial = "1",
     POSITIVE | SG_FIELD_FILLED | SG_FIELD_RULED, .help = "of llama3"},
    {FIELD(rope_high_freq_factor), POSITIONS, .initial = "4",
     POSITIVE | SG_FIELD_FILLED | SG_FIELD_RULED, .help = "of llama3"},
    {FIELD(rope_beta_fast), POSITIONS, .initial = "32", POSITIVE | SG_FIELD_FILLED | SG_FIELD_RULED,
     .help = "of yarn"},
    {FIELD(rope_beta_slow), POSITIONS, .initial = "1", POSITIVE | SG_FIELD_FILLED | SG_FIELD_RULED,
     .help = "of yarn"},
    {FIELD(rope_attention_factor), POSITIONS, POSITIVE | SG_FIELD_RULED,
     .help = "of yarn; 0: by the factor"},
    {FIELD(rope_original_positions), POSITIONS, .low = 1, .high = 1 << 24,
     .shown = "max_position_embeddings", .flags = SG_FIELD_FILLED | SG_FIELD_RULED,
     .help = "of llama3 and yarn"},
    {FIELD(rope_exact_borders), POSITIONS, YES_OR_NO, .flags = SG_FIELD_RULED,
     .help = "of yarn: 1: borders are not rounded"},

    {FIELD(trim_attention), TRIM,
     .help = "thresholds of layers, 0.1,0.2: inputs of queries, keys and values no larger are left "
             "out"},
    {FIELD(trim_attention_out), TRIM, .help = "of the projection behind attention"},
    {FIELD(trim_ffn), TRIM, .help = "of dense feed-forward layers"},
    {FIELD(trim_ffn_down), TRIM, .help = "of their w_out"},
    {FIELD(trim_scaled), .group = TRIMMED, YES_OR_NO, .flags = SG_FIELD_RULED,
     .help = "1: an input is as large as its size times the norm of its column"},
};

enum { field_count = sizeof fields / sizeof *fields };

const sg_field *sg_config_field_at(size_t index)
{
    return index < field_count ? &fields[index] : sg_ffn_field_at(index - field_count);
}

size_t sg_config_field_count(void)
{
    return field_count + sg_ffn_field_count();
}

const sg_field *sg_config_field(size_t offset)
{
    size_t i = 0;
    while (fields[i].offset != offset)
        i++;
    return &fields[i];
}

sg_status sg_config_check_fields(sg_config *config, sg_error *err)
{
    for (size_t i = 0; i < field_count; i++) {
        if (fields[i].flags & SG_FIELD_RULED) continue;
        SG_TRY(sg_config_check_field(config, &fields[i], err));
    }
    return SG_OK;
}

sg_status sg_config_check_field(sg_config *config, const sg_field *field, sg_error *err)
{
    // Of the others 0 is a value, as that of an id.
    const bool may_be_left_out = field->flags & (SG_FIELD_FILLED | SG_FIELD_RULED);
    if (may_be_left_out && sg_field_is_empty(field, config)) sg_field_fill(field, config);
    return sg_field_check(field, field->name, "", config, err);
}

const char *sg_config_family(size_t index)
{
    return sg_family_name(index);
}

bool sg_config_takes(const char *family, const char *field, char *text, size_t capacity)
{
    const sg_family *found = sg_family_find(family);
    text[0] = '\0';
    return found != NULL && sg_family_takes(found, field, text, capacity);
}

// ---- values -------------------------------------------------------------------------------------

sg_config_value sg_config_get(const sg_config *config, size_t index)
{
    sg_config_value value = {.text = ""};
    const sg_field *field = sg_config_field_at(index);
    if (field == NULL) return value;
    const void *at = sg_field_of(field, config);
    if (field->kind == SG_FIELD_INT) value.integer = *(const int64_t *)at;
    if (field->kind == SG_FIELD_NUMBER) value.number = *(const double *)at;
    if (field->kind == SG_FIELD_STRING) value.text = at;
    return value;
}

sg_status sg_config_said(const sg_field *field, sg_config *config, const char *where, sg_error *err)
{
    double *number = sg_field_in(field, config);
    const bool filled = field->flags & SG_FIELD_FILLED, text = field->kind == SG_FIELD_STRING;
    // Numbers have two zeros: what is said is the negative one, what is left out the other.
    if (field->kind == SG_FIELD_NUMBER) {
        if (*number == 0) *number = filled ? -0.0 : 0.0;
        return SG_OK;
    }
    if (!filled || !sg_field_is_empty(field, config)) return SG_OK;
    return sg_fail(err, where[0] == '\0' ? SG_ERR_ARGUMENT : SG_ERR_FORMAT,
                   "%s%s: found %s, expected %s, or that it is left out", where, field->name,
                   text ? "\"\"" : "0", text ? "a name" : "at least 1");
}

sg_status sg_config_set(sg_config *config, const char *name, const char *value, sg_error *err)
{
    const sg_field *field;
    size_t i = 0;
    while ((field = sg_config_field_at(i)) != NULL && strcmp(field->name, name) != 0)
        i++;
    if (field == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such field of a configuration",
                       name);
    sg_config changed = *config;
    SG_TRY(sg_field_set(field, name, value, -1, SG_CONFIG_MOST, &changed, err));
    SG_TRY(sg_config_said(field, &changed, "", err));
    *config = changed;
    return SG_OK;
}
