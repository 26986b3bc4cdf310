// Named configurations with their training recipes, after Schug 2026 (arXiv 2606.07414) and its
// released code (spec 5.9 to 5.11). All but the sizes of a family is one rule a scale.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "ffn/ffn.h"
#include "model/config.h"

// The demo, then the small one of each family, then each family's ladder.
const char *sg_preset_name(size_t index)
{
    const sg_family *family;
    if (index-- == 0) return "demo";
    for (int ladder = 0; ladder < 2; ladder++)
        for (size_t f = 0; (family = sg_family_at(f)) != NULL; f++)
            for (int i = 0; family->presets != NULL && family->presets[i] != NULL; i++)
                if ((i > 0) == (ladder > 0) && index-- == 0) return family->presets[i];
    return NULL;
}

// Sizes of the feed-forward layer of one family at one scale; the rest of the configuration stays.
static void preset_sizes(sg_preset *p, int64_t s, const sg_family *family)
{
    sg_config *c = &p->config;
    // All of the feed-forward layer, the bytes behind strings too: equal configurations are equal.
    memset((char *)c + offsetof(sg_config, ffn), 0, sizeof *c - offsetof(sg_config, ffn));
    snprintf(c->ffn, sizeof c->ffn, "%s", family->name);
    family->sizes(c, s);
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

// "slimpajama-moe-s3" -> "slimpajama", "moe", 3.
static void preset_split(const char *name, char base[24], char family[24], int64_t *s)
{
    base[0] = family[0] = '\0';
    *s = 0;
    if (strcmp(name, "demo") == 0) {
        snprintf(base, 24, "demo");
        snprintf(family, 24, "sgatlin");
        return;
    }
    long long scale = 0;
    (void)sscanf(name, "%15[a-z]-%15[a-z]-s%lld", base, family, &scale);
    *s = scale;
}

static void preset_make(const char *name, sg_preset *p)
{
    char base[24], own[24];
    int64_t s;
    preset_split(name, base, own, &s);
    *p = (sg_preset){.name = name};
    preset_base(p, base, s);
    preset_sizes(p, s, sg_family_find(own));
}

sg_status sg_preset_find(const char *name, sg_preset *preset, sg_error *err)
{
    const char *known;
    char list[SG_FAMILY_LIST];
    for (size_t i = 0; (known = sg_preset_name(i)) != NULL; i++)
        if (strcmp(known, name) == 0) {
            preset_make(known, preset);
            return sg_config_complete(&preset->config, err);
        }
    return sg_fail(err, SG_ERR_NOT_FOUND,
                   "preset: found \"%.60s\", expected demo, tinystories-FAMILY or "
                   "slimpajama-FAMILY-sN with FAMILY one of %s and N 1 to 9",
                   name, sg_family_list(list, sizeof list, sg_family_has_presets));
}

sg_status sg_preset_set_family(sg_preset *preset, const char *family, sg_error *err)
{
    char base[24], own[24];
    int64_t s;
    char list[SG_FAMILY_LIST];
    const sg_family *to = sg_family_find(family);
    if (to == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn: found \"%.60s\", expected one of %s", family,
                       sg_family_list(list, sizeof list, NULL));
    sg_preset known;
    SG_TRY(sg_preset_find(preset->name ? preset->name : "", &known, err));
    preset_split(known.name, base, own, &s);
    preset_sizes(preset, s, to);
    return sg_ffn_complete(&preset->config, err);
}
