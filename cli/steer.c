// --steer: the file, and what became of its edits.
#include "cli/steer.h"

#include <stdio.h>

sg_status cli_steer_open(const sg_model *model, const char *path, sg_edits **edits,
                         const sg_points **points, sg_error *err)
{
    *edits = NULL;
    *points = NULL;
    if (path == NULL) return SG_OK;
    const sg_status status = sg_edits_open(model, path, edits, err);
    if (status == SG_OK && sg_edits_points(*edits)->count > 0) *points = sg_edits_points(*edits);
    return status;
}

void cli_steer_note(const cli_args *args, const sg_edits *edits)
{
    enum { shown = 8 };
    char never[shown * 48] = "";
    size_t count, missed = 0, used = 0;
    if (edits == NULL) return;
    const size_t neurons = sg_edits_neurons(edits);
    sg_edits_list(edits, &count);
    for (size_t i = 0; i < neurons; i++) {
        const sg_edit_use use = sg_edits_use(edits, i);
        if (use.selected > 0 || missed++ >= shown) continue;
        used += (size_t)snprintf(never + used, sizeof never - used, "%s%lld:%lld:%lld",
                                 used > 0 ? ", " : "", (long long)use.layer, (long long)use.channel,
                                 (long long)use.neuron);
    }
    if (neurons == 0)
        cli_note(args, "steered by %zu edit%s, which change nothing", count, count == 1 ? "" : "s");
    else if (missed == 0)
        cli_note(args, "steered by %zu edit%s of %zu neuron%s, each selected at least once", count,
                 count == 1 ? "" : "s", neurons, neurons == 1 ? "" : "s");
    else
        cli_note(args, "steered by %zu edit%s of %zu neuron%s, of which never selected: %s%s",
                 count, count == 1 ? "" : "s", neurons, neurons == 1 ? "" : "s", never,
                 missed > shown ? ", …" : "");
}

json_t *cli_steer_json(const sg_edits *edits)
{
    size_t count;
    if (edits == NULL) return json_null();
    json_t *neurons = json_array();
    for (size_t i = 0; i < sg_edits_neurons(edits); i++) {
        const sg_edit_use use = sg_edits_use(edits, i);
        if (json_array_append_new(
                neurons,
                json_pack("{s:I, s:I, s:I, s:I, s:I}", "layer", (json_int_t)use.layer, "channel",
                          (json_int_t)use.channel, "neuron", (json_int_t)use.neuron, "tokens",
                          (json_int_t)use.tokens, "selected", (json_int_t)use.selected)) != 0) {
            json_decref(neurons);
            return NULL;
        }
    }
    sg_edits_list(edits, &count);
    return json_pack("{s:I, s:o}", "edits", (json_int_t)count, "neurons", neurons);
}
