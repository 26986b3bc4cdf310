// Two protocols (Schug 2026, arXiv 2606.07414, and its released code), docs/MODEL.md section 10.
// Sizes and rates are the presets'; what is here is what else has to be as it was.
#include "train/recipe.h"

#include <string.h>

typedef struct recipe {
    const char *name;  // as presets begin
    sg_pack_mode mode; // of the training data
    const char *packed;
} recipe;

static const recipe recipes[] = {{"tinystories", SG_PACK_PAD, "pad"},
                                 {"slimpajama", SG_PACK_CONCAT, "concat"}};

// Budgets of the runs on SlimPajama, with their batches.
static const struct {
    double flops;
    int64_t batch_size, seq_len;
} recipe_budgets[] = {{1e17, 64, 1024}, {6e17, 64, 1024}, {1e18, 128, 2048}, {6e18, 128, 2048}};

static sg_status recipe_budget(double flops, sg_train_options *o, sg_error *err)
{
    for (size_t i = 0; i < sizeof recipe_budgets / sizeof *recipe_budgets; i++) {
        const double share = flops / recipe_budgets[i].flops;
        if (!(share > 1 - 1e-9 && share < 1 + 1e-9)) continue;
        o->flops = recipe_budgets[i].flops;
        o->batch_size = recipe_budgets[i].batch_size;
        o->config.max_position_embeddings = recipe_budgets[i].seq_len;
        return SG_OK;
    }
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "recipe: found a budget of %g FLOPs, expected one of those that were published: "
                   "1e17, 6e17, 1e18, 6e18",
                   flops);
}

sg_status sg_train_options_published(const char *name, double flops, sg_train_options *o,
                                     sg_error *err)
{
    sg_preset preset;
    SG_TRY(sg_preset_find(name, &preset, err));
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (strncmp(name, recipes[i].name, strlen(recipes[i].name)) != 0) continue;
        *o = sg_train_options_from_preset(&preset);
        memcpy(o->recipe, recipes[i].name, strlen(recipes[i].name) + 1);
        o->warmup_share = 1; // all of it, however short the run
        o->spike_limit = 0;
        if (i > 0) return recipe_budget(flops, o, err);
        o->epochs = 1;
        if (flops <= 0) return SG_OK;
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "recipe: found a budget of %g FLOPs, expected none: the published run is one "
            "epoch",
            flops);
    }
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "recipe: found preset %s, expected one that runs were published of: "
                   "tinystories-FAMILY, slimpajama-FAMILY-sN",
                   name);
}

sg_status sg_recipe_check_data(const sg_train_options *o, const sg_data_info *info,
                               const char *data_name, sg_error *err)
{
    if (o->recipe[0] == '\0') return SG_OK;
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (strcmp(o->recipe, recipes[i].name) != 0) continue;
        if (info->mode == recipes[i].mode) return SG_OK;
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: packed in mode %s, expected %s (data pack --mode %s), as the published "
                       "runs on %s",
                       data_name, info->mode == SG_PACK_PAD ? "pad" : "concat", recipes[i].packed,
                       recipes[i].packed, recipes[i].name);
    }
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "recipe: found \"%.15s\", expected tinystories or slimpajama", o->recipe);
}
