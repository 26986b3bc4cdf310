// What a work is, so that it is only gone on with by the command that began it: options, and
// checksums of the model and of the text.
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "format/json.h"
#include "sparsify/moefy_keep.h"

enum { plan_numbers = 1 << 20 }; // of a tensor that are read at a time

static sg_status plan_tensor(const sg_model *m, size_t index, sg_real *room, sg_hasher *hasher,
                             sg_error *err)
{
    sg_tensor_info info;
    SG_TRY(sg_model_tensor_info(m, index, &info, err));
    const int64_t columns = m->params.specs[index].count / info.rows;
    const int64_t step = columns < plan_numbers ? plan_numbers / columns : 1;
    for (int64_t row = 0; row < info.rows; row += step) {
        const int64_t rows = info.rows - row < step ? info.rows - row : step;
        SG_TRY(sg_model_tensor_read(m, index, row, rows, room, err));
        sg_hasher_add(hasher, room, (size_t)(rows * columns) * sizeof *room);
    }
    return SG_OK;
}

// Of the configuration and of all weights as they are read.
static sg_status plan_model(const sg_model *m, sg_hasher *hasher, sg_error *err)
{
    char *text;
    int64_t most = plan_numbers;
    for (size_t i = 0; i < m->params.count; i++) {
        sg_tensor_info info;
        SG_TRY(sg_model_tensor_info(m, i, &info, err));
        const int64_t columns = m->params.specs[i].count / info.rows;
        if (columns > most) most = columns;
    }
    SG_TRY(sg_model_config_text(m, &text, err));
    sg_hasher_add(hasher, text, strlen(text));
    sg_free(text);
    sg_real *room = sg_alloc_array((size_t)most, sizeof *room);
    sg_status status =
        room != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a checksum");
    for (size_t i = 0; i < m->params.count && status == SG_OK; i++)
        status = plan_tensor(m, i, room, hasher, err);
    sg_free(room);
    return status;
}

static void plan_text(const sg_calibration *c, sg_hasher *hasher)
{
    sg_hasher_add(hasher, &c->length, sizeof c->length);
    for (int use = 0; use < SG_USES; use++)
        sg_hasher_add(hasher, &c->parts[use].tokens, sizeof c->parts[use].tokens);
    if (c->tokens == 0) return;
    sg_hasher_add(hasher, c->ids, (size_t)c->tokens * sizeof *c->ids);
    sg_hasher_add(hasher, c->targets, (size_t)c->tokens * sizeof *c->targets);
}

static void plan_hash(const sg_hasher *hasher, char text[17])
{
    snprintf(text, 17, "%016" PRIx64, sg_hasher_value(hasher));
}

sg_status sg_plan_hashes(const sg_model *m, const sg_calibration *c, char model[17], char text[17],
                         sg_error *err)
{
    sg_hasher *of_model = sg_hasher_new(), *of_text = sg_hasher_new();
    sg_status status = of_model != NULL && of_text != NULL
                           ? plan_model(m, of_model, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a checksum");
    if (status == SG_OK) {
        plan_text(c, of_text);
        plan_hash(of_model, model);
        plan_hash(of_text, text);
    }
    sg_hasher_free(of_model);
    sg_hasher_free(of_text);
    return status;
}

sg_status sg_moefy_plan(const sg_model *model, const sg_sparsify_options *o,
                        const sg_config *sparse, const sg_calibration *text, json_t **plan,
                        sg_error *err)
{
    char of_model[17], of_text[17], seed[24];
    *plan = NULL;
    SG_TRY(sg_plan_hashes(model, text, of_model, of_text, err));
    const char *target = sg_sparsify_target(o);
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    sg_json_setup();
    *plan = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:s, s:f, s:I, s:I, s:f, s:s}",
        "format", "sgatlin sparsify 1", "model", of_model, "text", of_text, "split", o->split,
        "router", o->router, "target", target != NULL ? target : "none", "unread", o->unread,
        "block_size", (json_int_t)sparse->ffn_block_size, "shared_blocks",
        (json_int_t)o->shared_blocks, "active", o->active, "select", o->select, "threshold",
        o->threshold, "router_size", (json_int_t)sparse->ffn_router_size, "router_epochs",
        (json_int_t)o->router_epochs, "router_rate", o->router_rate, "seed", seed);
    return *plan != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a plan");
}
