// Named configurations with their training recipes, after Schug 2026 (arXiv 2606.07414) and its
// released code (spec 5.9 to 5.11), and a ladder of small ones for studies on two cores. All but
// the sizes of a family is one rule a scale.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "ffn/ffn.h"
#include "model/config.h"

// The name of one of `count` presets of a family; *index counts down to it, or by all there are.
static const char *preset_of(const char *const *names, size_t first, size_t count, size_t *index)
{
    for (size_t i = 0; names != NULL && i < count && names[first + i] != NULL; i++)
        if ((*index)-- == 0) return names[first + i];
    return NULL;
}

// The demo, then the small one of each family, then each family's published ladder, then each
// family's for laptops.
const char *sg_preset_name(size_t index)
{
    const sg_family *family;
    const char *name = NULL;
    if (index-- == 0) return "demo";
    for (int part = 0; part < 3; part++)
        for (size_t f = 0; name == NULL && (family = sg_family_at(f)) != NULL; f++)
            name = part == 2
                       ? preset_of(family->laptop, 0, SIZE_MAX, &index)
                       : preset_of(family->presets, (size_t)part, part ? SIZE_MAX : 1, &index);
    return name;
}

// Sizes of the feed-forward layer of one family on one rung; the rest of the configuration stays.
static void preset_sizes(sg_preset *p, sg_rung rung, const sg_family *family)
{
    sg_config *c = &p->config;
    // All of the feed-forward layer, the bytes behind strings too: equal configurations are equal.
    memset((char *)c + offsetof(sg_config, ffn), 0, sizeof *c - offsetof(sg_config, ffn));
    snprintf(c->ffn, sizeof c->ffn, "%s", family->name);
    family->sizes(c, rung);
}

static void preset_base(sg_preset *p, const char *base, int64_t s)
{
    sg_config *c = &p->config;
    c->head_dim = 64;
    c->rms_norm_eps = 1e-6;
    c->rope_theta = 10000;
    c->pad_token_id = 0;
    c->eos_token_id = c->bos_token_id = 1;
    p->lr = 1e-3;
    p->weight_decay = 0.1;
    p->decay_fraction = 0.2;
    if (strcmp(base, "slimpajama") == 0) {
        c->vocab_size = 50258;
        c->hidden_size = 128 * s;
        c->num_hidden_layers = 2 * s;
        c->eos_token_id = c->bos_token_id = 50256;
        p->seq_len = 2048;
        p->batch_size = 128;
        p->warmup_steps = 1000;
        p->clip = 1;
    } else if (strcmp(base, "tinystories") == 0) {
        c->vocab_size = 8192;
        c->hidden_size = 256;
        c->num_hidden_layers = 4;
        p->seq_len = 1024;
        p->batch_size = 256;
        p->warmup_steps = 100;
        p->clip = 2;
    } else if (strcmp(base, "laptop") == 0) {
        // Width alone grows, so that a rung costs little more than the one below, and batches are
        // small: at these budgets a run is short of steps before it is short of tokens.
        c->vocab_size = 1024;
        c->hidden_size = 16 * s;
        c->num_hidden_layers = 2;
        c->head_dim = 16;
        p->seq_len = 128;
        p->batch_size = 8;
        p->warmup_steps = 50;
        p->clip = 1;
        p->lr = 3e-3;
    } else { // demo: TinyStories' shape at half its width, for minutes on two cores
        c->vocab_size = 2048;
        c->hidden_size = 128;
        c->num_hidden_layers = 4;
        p->seq_len = 256;
        p->batch_size = 16;
        p->warmup_steps = 50;
        p->clip = 2;
        p->lr = 3e-3;
    }
    c->num_attention_heads = c->hidden_size / c->head_dim;
    c->max_position_embeddings = p->seq_len;
}

// "slimpajama-moe-s3" -> "slimpajama", "moe", scale 3 of the published ladder.
static void preset_split(const char *name, char base[24], char family[24], sg_rung *rung)
{
    long long scale = 0;
    snprintf(base, 24, "demo");
    snprintf(family, 24, "sgatlin");
    if (strcmp(name, "demo") != 0)
        (void)sscanf(name, "%15[a-z]-%15[a-z_]-s%lld", base, family, &scale);
    *rung = (sg_rung){strcmp(base, "slimpajama") == 0 ? SG_LADDER_PUBLISHED
                      : strcmp(base, "laptop") == 0   ? SG_LADDER_LAPTOP
                                                      : SG_LADDER_SMALL,
                      scale};
}

static void preset_make(const char *name, sg_preset *p)
{
    char base[24], own[24];
    sg_rung rung;
    preset_split(name, base, own, &rung);
    *p = (sg_preset){.name = name};
    preset_base(p, base, rung.scale);
    preset_sizes(p, rung, sg_family_find(own));
}

// The name among `names` (NULL behind the last); NULL: it is none of them.
static const char *preset_among(const char *const *names, const char *name)
{
    for (size_t i = 0; names != NULL && names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0) return names[i];
    return NULL;
}

// The name as it is kept.
static const char *preset_known(const char *name)
{
    const sg_family *family;
    const char *known = strcmp(name, "demo") == 0 ? "demo" : NULL;
    for (size_t f = 0; known == NULL && (family = sg_family_at(f)) != NULL; f++) {
        known = preset_among(family->presets, name);
        if (known == NULL) known = preset_among(family->laptop, name);
    }
    return known;
}

sg_status sg_preset_find(const char *name, sg_preset *preset, sg_error *err)
{
    char list[SG_FAMILY_LIST];
    const char *known = preset_known(name);
    if (known != NULL) {
        preset_make(known, preset);
        return sg_config_complete(&preset->config, err);
    }
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "preset: found \"%.60s\", expected demo, tinystories-FAMILY or "
                   "slimpajama-FAMILY-sN with FAMILY one of %s and N 1 to 9, or laptop-FAMILY-sN "
                   "with FAMILY any and N 1 to 12",
                   name, sg_family_list(list, sizeof list, sg_family_has_presets));
}

sg_status sg_preset_set_family(sg_preset *preset, const char *family, sg_error *err)
{
    char base[24], own[24];
    sg_rung rung;
    char list[SG_FAMILY_LIST];
    const sg_family *to = sg_family_find(family);
    if (to == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn: found \"%.60s\", expected one of %s", family,
                       sg_family_list(list, sizeof list, NULL));
    sg_preset known;
    SG_TRY(sg_preset_find(preset->name ? preset->name : "", &known, err));
    preset_split(known.name, base, own, &rung);
    preset_sizes(preset, rung, to);
    return sg_ffn_complete(&preset->config, err);
}
