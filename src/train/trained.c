#include "train/trained.h"

#include <string.h>

#include "base/name_pattern.h"
#include "sgatlin_train.h"

int64_t sg_trained_count(const sg_param_list *params)
{
    int64_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (!params->specs[i].frozen && params->specs[i].buffer == SG_BUFFER_NONE)
            count += params->specs[i].count;
    return count;
}

// ---- adapters -----------------------------------------------------------------------------------

sg_adapter_form sg_trained_form(const sg_train_options *o)
{
    return (sg_adapter_form){.rank = o->lora_rank,
                             .alpha = o->lora_alpha > 0 ? o->lora_alpha : (double)o->lora_rank,
                             .targets = o->lora_targets,
                             .base = o->init};
}

// A pattern without * is the name or its end behind a dot, as PEFT reads its target_modules. One
// with * passes over what can have no adapter.
static bool target_fits(const char *pattern, size_t bytes, const char *module, bool plain)
{
    const size_t n = strlen(module);
    if (memchr(pattern, '*', bytes) != NULL) return plain && sg_name_fits(pattern, bytes, module);
    return n >= bytes && memcmp(module + n - bytes, pattern, bytes) == 0 &&
           (n == bytes || module[n - bytes - 1] == '.');
}

typedef struct targets {
    const sg_train_options *options;
    char example[SG_PARAM_NAME]; // a name there is
} targets;

static int64_t targets_rank(void *user, const char *module, sg_adapter_place place, double *scale)
{
    targets *t = user;
    // The classifier is chosen by its name alone, as PEFT's "all-linear" leaves it out.
    const bool plain = place == SG_ADAPTER_PLAIN;
    const char *list = t->options->lora_targets, *item;
    size_t bytes;
    bool fits = false;
    if (plain && t->example[0] == '\0') memcpy(t->example, module, strlen(module) + 1);
    while (!fits && (item = sg_name_list_next(&list, &bytes)) != NULL)
        fits = bytes > 0 && target_fits(item, bytes, module, plain);
    *scale = sg_trained_form(t->options).alpha / (double)t->options->lora_rank;
    return fits ? t->options->lora_rank : 0;
}

// Each pattern must have chosen something: one that does not is a mistake.
static sg_status targets_check(const sg_train_options *o, const sg_model *m, const char *example,
                               sg_error *err)
{
    const char *list = o->lora_targets, *item;
    size_t bytes;
    while ((item = sg_name_list_next(&list, &bytes)) != NULL) {
        bool found = false;
        for (size_t i = 0; m->adapters != NULL && i < m->adapters->count && !found; i++)
            found = bytes > 0 && target_fits(item, bytes, m->adapters->items[i].module, true);
        if (found) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "lora-targets: found \"%.*s\", which fits no matrix of %s, expected names "
                       "such as %s, or their ends",
                       (int)(bytes < 128 ? bytes : 128), item, o->init, example);
    }
    return SG_OK;
}

static sg_status trained_adapters(const sg_train_options *o, sg_model *m, sg_error *err)
{
    targets t = {.options = o};
    const sg_adapter_choice choice = {.rank = targets_rank, .user = &t, .what = "lora-targets"};
    sg_status status = sg_model_add_adapters(m, &choice, err);
    if (status == SG_OK || status == SG_ERR_MISMATCH) {
        sg_status each = targets_check(o, m, t.example, err);
        if (each != SG_OK) status = each;
    }
    SG_TRY(status);
    for (size_t i = 0; i < m->adapters->first; i++)
        m->params.specs[i].frozen = true;
    sg_model_init_adapters(m, o->seed);
    return SG_OK;
}

// ---- by name ------------------------------------------------------------------------------------

static sg_status trained_names(const sg_train_options *o, sg_model *m, sg_error *err)
{
    const char *list = o->train_only, *item;
    size_t bytes;
    for (size_t i = 0; i < m->params.count; i++)
        m->params.specs[i].frozen = true;
    while ((item = sg_name_list_next(&list, &bytes)) != NULL) {
        bool found = false;
        for (size_t i = 0; i < m->params.count; i++) {
            if (!sg_name_fits(item, bytes, m->params.specs[i].name)) continue;
            m->params.specs[i].frozen = false;
            found = true;
        }
        if (found) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "train-only: found \"%.*s\", which fits no parameter, expected names such "
                       "as %s, with * for any text",
                       (int)(bytes < 128 ? bytes : 128), item, m->params.specs[1].name);
    }
    if (sg_trained_count(&m->params) > 0) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "train-only: found \"%s\", which leaves nothing to train: what it fits is moved "
                   "by rules and not by gradients",
                   o->train_only);
}

// LTE's second stage.
static sg_status trained_without_routers(sg_model *m, sg_error *err)
{
    for (size_t i = 0; i < m->params.count; i++)
        if (strstr(m->params.specs[i].name, ".mlp.router.") != NULL)
            m->params.specs[i].frozen = true;
    if (sg_trained_count(&m->params) > 0) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "lte-stage: found 2, which leaves nothing to train of train-only");
}

sg_status sg_trained_choose(const sg_train_options *o, sg_model *m, sg_error *err)
{
    if (o->lora_rank > 0) SG_TRY(trained_adapters(o, m, err));
    if (o->train_only[0] != '\0') SG_TRY(trained_names(o, m, err));
    return o->lte_stage == 2 ? trained_without_routers(m, err) : SG_OK;
}
