// Words for how dense products are computed. A figure is stated with what was asked for and with
// the units that computed it, for both decide what it means.
#include "cli/computing.h"

#include <stdio.h>

#include "sgatlin_sparsify.h"

cli_computing cli_computing_given = {.compute = "f32", .logits = "f32"};

sg_status cli_computing_kinds(sg_compute_kind *compute, sg_compute_kind *logits, sg_error *err)
{
    sg_status status = sg_compute_kind_parse(cli_computing_given.compute, "compute", compute, err);
    if (status != SG_OK) return status;
    return sg_compute_kind_parse(cli_computing_given.logits, "logits-compute", logits, err);
}

sg_status cli_computing_set(const cli_args *args, sg_context *context, sg_model *model,
                            sg_error *err)
{
    sg_compute_kind compute, logits;
    sg_status status = cli_computing_kinds(&compute, &logits, err);
    if (status == SG_OK) status = sg_model_set_compute(model, compute, logits, err);
    if (status == SG_OK && cli_given(args, "sparsify-threshold"))
        status = sg_sparsify_set_threshold(model, cli_computing_given.threshold, err);
    if (status == SG_OK && cli_given(args, "sparsify-active"))
        status = sg_sparsify_set_active(model, cli_computing_given.active, err);
    if (status == SG_OK) cli_computing_tell(args, context, compute, logits);
    return status;
}

sg_status cli_columns_tell(const cli_args *args, const sg_model *model, sg_error *err)
{
    char text[32];
    int64_t bytes, copied, dense;
    const sg_status status = sg_sparsify_columns(model, &bytes, &copied, &dense, err);
    if (status != SG_OK) return status;
    cli_short_number(text, sizeof text, (double)bytes);
    if (copied > 0)
        cli_note(args,
                 "inputs are left out: for that %lld matrices are in memory twice, the second time "
                 "by columns, %sB",
                 (long long)copied, text);
    if (dense > 0)
        cli_note(args,
                 "inputs are left out, but %lld matrices are read whole all the same: they are "
                 "stored in blocks, or the model has an adapter",
                 (long long)dense);
    return SG_OK;
}

void cli_computing_tell(const cli_args *args, const sg_context *context, sg_compute_kind compute,
                        sg_compute_kind logits)
{
    const bool rounded = (compute == SG_COMPUTE_BF16 || logits == SG_COMPUTE_BF16) &&
                         sg_context_units(context, SG_COMPUTE_BF16) == NULL;
    const bool split = (compute == SG_COMPUTE_BF16X3 || logits == SG_COMPUTE_BF16X3) &&
                       sg_context_units(context, SG_COMPUTE_BF16X3) == NULL;
    if (!rounded && !split) return;
    const char *units = sg_context_units(context, SG_COMPUTE_BF16);
    cli_warn(args, "this processor has no %s: %s%s%s",
             units == NULL ? "bf16 units" : "units fast enough for bf16x3 (AMX)",
             rounded ? "bf16 products are computed in f32 of rounded operands: as exact, not faster"
                     : "",
             rounded && split ? "; " : "",
             split ? "bf16x3 products are computed in f32: more exact, not faster" : "");
}

static json_t *computing_units(const sg_context *context, sg_compute_kind kind)
{
    const char *units = sg_context_units(context, kind);
    return units != NULL ? json_string(units) : json_null();
}

void cli_computing_json(json_t *object, const sg_context *context, sg_compute_kind compute,
                        sg_compute_kind logits)
{
    if (object == NULL) return;
    json_object_set_new(object, "compute", json_string(sg_compute_kind_name(compute)));
    json_object_set_new(object, "logits_compute", json_string(sg_compute_kind_name(logits)));
    json_object_set_new(object, "units", computing_units(context, compute));
    json_object_set_new(object, "logits_units", computing_units(context, logits));
}

// What computes those that are not f32: " by amx"; " in f32".
static const char *computing_by(const sg_context *context, sg_compute_kind compute,
                                sg_compute_kind logits, char *text, size_t capacity)
{
    const char *of_compute = sg_context_units(context, compute);
    const char *of_logits = sg_context_units(context, logits);
    const char *units = of_compute != NULL ? of_compute : of_logits;
    const bool both = (of_compute != NULL || compute == SG_COMPUTE_F32) &&
                      (of_logits != NULL || logits == SG_COMPUTE_F32);
    if (units == NULL) return "computed in f32";
    snprintf(text, capacity, "by %s%s", units, both ? "" : ", bf16x3 in f32");
    return text;
}

const char *cli_computing_text(const sg_context *context, sg_compute_kind compute,
                               sg_compute_kind logits, char *text, size_t capacity)
{
    char by[64];
    const bool f32 = compute == SG_COMPUTE_F32 && logits == SG_COMPUTE_F32;
    snprintf(text, capacity, "%s%s%s%s%s", sg_compute_kind_name(compute),
             compute != logits ? ", logits " : "",
             compute != logits ? sg_compute_kind_name(logits) : "", f32 ? "" : ", ",
             f32 ? "" : computing_by(context, compute, logits, by, sizeof by));
    return text;
}

void cli_computing_print(const char *label, const sg_context *context, sg_compute_kind compute,
                         sg_compute_kind logits)
{
    char text[128];
    if (compute == SG_COMPUTE_F32 && logits == SG_COMPUTE_F32) return;
    printf("%s%s\n", label, cli_computing_text(context, compute, logits, text, sizeof text));
}
