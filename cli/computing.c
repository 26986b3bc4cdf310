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
    const bool rounded = compute == SG_COMPUTE_BF16 || logits == SG_COMPUTE_BF16;
    const bool split = compute == SG_COMPUTE_BF16X3 || logits == SG_COMPUTE_BF16X3;
    if (sg_context_units(context) != NULL || (!rounded && !split)) return;
    cli_warn(args, "this processor has no bf16 units: %s%s%s",
             rounded ? "bf16 products are computed in f32 of rounded operands: as exact, not faster"
                     : "",
             rounded && split ? "; " : "",
             split ? "bf16x3 products are computed in f32: not faster" : "");
}

static bool computing_is_f32(sg_compute_kind compute, sg_compute_kind logits)
{
    return compute == SG_COMPUTE_F32 && logits == SG_COMPUTE_F32;
}

void cli_computing_json(json_t *object, const char *units, sg_compute_kind compute,
                        sg_compute_kind logits)
{
    if (object == NULL) return;
    if (computing_is_f32(compute, logits)) units = NULL;
    json_object_set_new(object, "compute", json_string(sg_compute_kind_name(compute)));
    json_object_set_new(object, "logits_compute", json_string(sg_compute_kind_name(logits)));
    json_object_set_new(object, "units", units != NULL ? json_string(units) : json_null());
}

const char *cli_computing_text(const char *units, sg_compute_kind compute, sg_compute_kind logits,
                               char *text, size_t capacity)
{
    const char *by = computing_is_f32(compute, logits) ? ""
                     : units != NULL                   ? ", by "
                                                       : ", computed in f32";
    snprintf(text, capacity, "%s%s%s%s%s", sg_compute_kind_name(compute),
             compute != logits ? ", logits " : "",
             compute != logits ? sg_compute_kind_name(logits) : "", by,
             by[0] != '\0' && units != NULL ? units : "");
    return text;
}

void cli_computing_print(const char *label, const char *units, sg_compute_kind compute,
                         sg_compute_kind logits)
{
    char text[96];
    if (computing_is_f32(compute, logits)) return;
    printf("%s%s\n", label, cli_computing_text(units, compute, logits, text, sizeof text));
}
