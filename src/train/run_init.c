// A run that goes on from a model must begin with the same weights whenever it begins anew:
// run.json has their checksum.
#include "train/run_init.h"

#include <stdio.h>
#include <string.h>

#include "base/fields.h"
#include "base/log.h"
#include "train/sparse_losses.h"

static bool init_same(const sg_config_value *a, const sg_config_value *b)
{
    return a->integer == b->integer && !(a->number < b->number) && !(a->number > b->number) &&
           strcmp(a->text ? a->text : "", b->text ? b->text : "") == 0;
}

static sg_status init_compare(const char *path, const sg_config *asked, const sg_config *model,
                              sg_error *err)
{
    for (size_t i = 0; i < sg_config_field_count(); i++) {
        const sg_field *field = sg_config_field_at(i);
        const sg_config_value a = sg_config_get(asked, i), b = sg_config_get(model, i);
        char found[256], expected[256];
        // What is the data's or of training changes no weight.
        if (field->flags & SG_FIELD_TUNED || init_same(&a, &b)) continue;
        return sg_fail(err, SG_ERR_MISMATCH, "%s: found %s, expected %s as %s has it", field->name,
                       sg_field_text(field, asked, found, sizeof found),
                       sg_field_text(field, model, expected, sizeof expected), path);
    }
    return SG_OK;
}

// The model's configuration is that of the run, but for what the run changes of it.
static sg_status init_check(const sg_model_file *file, sg_run_settings *s, sg_error *err)
{
    sg_config config = file->config;
    char hash[sizeof s->init_hash];
    uint64_t value;
    SG_TRY(sg_sparse_change(&s->options, &config, err));
    SG_TRY(init_compare(s->options.init, &s->options.config, &config, err));
    SG_TRY(sg_tensors_hash(&file->tensors, &value, err));
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)value);
    if (s->init_hash[0] == '\0') memcpy(s->init_hash, hash, sizeof hash);
    if (strcmp(s->init_hash, hash) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH,
                   "%s: the checksum of its weights is %s, but the run began with those of %s",
                   s->options.init, hash, s->init_hash);
}

sg_status sg_run_init_tokenizer(sg_context *context, const sg_run_settings *s, sg_error *err)
{
    sg_tokenizer *tokenizer;
    sg_error problem = {0};
    if (s->options.init[0] == '\0') return SG_OK;
    sg_status status = sg_tokenizer_open(s->options.init, &tokenizer, &problem);
    if (status == SG_ERR_MEMORY) return sg_fail(err, status, "%s", problem.message);
    if (status != SG_OK) {
        sg_log(context, SG_LOG_WARNING,
               "whether the data are of the model's tokenizer cannot be told: %s", problem.message);
        return SG_OK;
    }
    status = sg_data_check_tokenizer(context, s->data_folder, tokenizer, &problem);
    sg_tokenizer_free(tokenizer);
    if (status == SG_OK) return SG_OK;
    if (status != SG_ERR_MISMATCH) return sg_fail(err, status, "%s", problem.message);
    if (!s->options.force_tokenizer)
        return sg_fail(err, status, "%s; --force-tokenizer trains on them all the same",
                       problem.message);
    sg_log(context, SG_LOG_WARNING, "%s; what is trained will have the data's tokenizer",
           problem.message);
    return SG_OK;
}

sg_status sg_run_init_open(sg_context *context, sg_run_settings *s, bool copy, sg_model **model,
                           sg_error *err)
{
    sg_model_file *file;
    *model = NULL;
    SG_TRY(sg_model_file_open(s->options.init, &file, err));
    sg_status status = init_check(file, s, err);
    if (status != SG_OK) {
        sg_model_file_close(file);
        return status;
    }
    SG_TRY(sg_model_take_file(context, file, copy, model, err));
    (*model)->config = s->options.config;
    (*model)->ends = sg_end_tokens_one((*model)->config.eos_token_id);
    return SG_OK;
}
