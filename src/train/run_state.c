// State and results to JSON and back. Numbers that may be absent (NaN here) are null there.
#include "train/run_state.h"

#include <math.h>

#include "format/json.h"
#include "sgatlin_train.h"

// STATE_LATER: a whole number that older files do not have; 0 then. STATE_STEP: one of a step, -1
// for none.
typedef enum state_kind { STATE_INT, STATE_LATER, STATE_STEP, STATE_NUMBER } state_kind;

// Whole numbers of a run stay below: what is added to one in a step (batch_size T, at most 2^44)
// takes it nowhere near the end of 64 bits.
static const int64_t state_most = (int64_t)1 << 62;

typedef struct state_slot {
    const char *name;
    state_kind kind;
    size_t offset;
} state_slot;

#define STATE_SLOT(type, kind, name)                                                               \
    {                                                                                              \
#name, kind, offsetof(type, name)                                                          \
    }
#define STATE(kind, name)  STATE_SLOT(sg_train_state, kind, name)
#define RESULT(kind, name) STATE_SLOT(sg_train_result, kind, name)
#define EVAL(kind, name)                                                                           \
    {                                                                                              \
        "val_" #name, kind, offsetof(sg_train_result, val) + offsetof(sg_eval_result, name)        \
    }

static const state_slot state_slots[] = {
    STATE(STATE_INT, step),
    STATE(STATE_INT, position),
    STATE(STATE_INT, updates),
    STATE(STATE_INT, tokens),
    STATE(STATE_INT, skipped),
    STATE(STATE_INT, skipped_in_a_row),
    STATE(STATE_NUMBER, running_loss),
    STATE(STATE_NUMBER, tail_sum),
    STATE(STATE_NUMBER, tail_balance),
    STATE(STATE_NUMBER, tail_z),
    STATE(STATE_INT, tail_count),
    STATE(STATE_NUMBER, best_loss),
    STATE(STATE_STEP, best_step),
    STATE(STATE_NUMBER, seconds),
};

static const state_slot result_slots[] = {
    RESULT(STATE_INT, steps),
    RESULT(STATE_INT, tokens),
    RESULT(STATE_NUMBER, train_loss),
    RESULT(STATE_NUMBER, balance_loss),
    RESULT(STATE_NUMBER, z_loss),
    RESULT(STATE_NUMBER, seconds),
    RESULT(STATE_NUMBER, flops),
    RESULT(STATE_NUMBER, flops_all_in),
    RESULT(STATE_INT, skipped_updates),
    RESULT(STATE_LATER, lazy_tables),
    RESULT(STATE_LATER, trained),
    RESULT(STATE_LATER, parameters),
    EVAL(STATE_NUMBER, loss),
    EVAL(STATE_NUMBER, perplexity),
    EVAL(STATE_NUMBER, perplexity_batch_mean),
    EVAL(STATE_NUMBER, accuracy),
    EVAL(STATE_INT, tokens),
    EVAL(STATE_INT, batches),
};

enum {
    state_slot_count = sizeof state_slots / sizeof *state_slots,
    result_slot_count = sizeof result_slots / sizeof *result_slots
};

static json_t *slots_json(const void *from, const state_slot *slots, int count)
{
    sg_json_setup();
    json_t *object = json_object();
    int failed = object == NULL;
    for (int i = 0; i < count && !failed; i++) {
        const void *at = (const char *)from + slots[i].offset;
        json_t *value;
        if (slots[i].kind != STATE_NUMBER)
            value = json_integer(*(const int64_t *)at);
        else // JSON has no NaN and no infinity; 17 digits bring every other double back exactly
            value = isfinite(*(const double *)at) ? json_real(*(const double *)at) : json_null();
        failed = json_object_set_new(object, slots[i].name, value);
    }
    if (!failed) return object;
    json_decref(object);
    return NULL;
}

static sg_status slots_parse(const json_t *object, const char *name, void *to,
                             const state_slot *slots, int count, sg_error *err)
{
    for (int i = 0; i < count; i++) {
        void *at = (char *)to + slots[i].offset;
        if (slots[i].kind != STATE_NUMBER) {
            const bool required = slots[i].kind != STATE_LATER;
            const int64_t low = slots[i].kind == STATE_STEP ? -1 : 0;
            SG_TRY(
                sg_json_get_int(object, name, slots[i].name, required, low, state_most, at, err));
        } else {
            *(double *)at = NAN;
            SG_TRY(sg_json_get_number(object, name, slots[i].name, false, at, err));
        }
    }
    return SG_OK;
}

json_t *sg_train_state_json(const sg_train_state *state)
{
    return slots_json(state, state_slots, state_slot_count);
}

sg_status sg_train_state_parse(const json_t *object, const char *name, sg_train_state *state,
                               sg_error *err)
{
    *state = (sg_train_state){0};
    SG_TRY(slots_parse(object, name, state, state_slots, state_slot_count, err));
    const sg_train_state *s = state;
    if (s->step > SG_TRAIN_STEPS_MAX || s->updates != s->step - s->skipped ||
        s->skipped_in_a_row > s->skipped || s->best_step > s->step || s->tail_count > s->step ||
        s->position < s->step)
        return sg_fail(
            err, SG_ERR_FORMAT,
            "%s: step %lld, position %lld, updates %lld, skipped %lld, best step %lld and "
            "%lld steps of the tail do not belong together",
            name, (long long)s->step, (long long)s->position, (long long)s->updates,
            (long long)s->skipped, (long long)s->best_step, (long long)s->tail_count);
    if (!(s->seconds >= 0 && s->seconds <= 1e12))
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"seconds\": found %g, expected 0 to 1e12", name,
                       s->seconds);
    return SG_OK;
}

json_t *sg_train_result_json(const sg_train_result *result)
{
    json_t *object = slots_json(result, result_slots, result_slot_count);
    const char *compute = sg_compute_kind_name(result->compute);
    const char *logits = sg_compute_kind_name(result->logits_compute);
    if (object == NULL || compute == NULL || logits == NULL ||
        json_object_set_new(object, "compute", json_string(compute)) != 0 ||
        json_object_set_new(object, "logits_compute", json_string(logits)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

// One of a kind of products; f32 where it is not said, as by older runs.
static sg_status result_kind(const json_t *object, const char *name, const char *key,
                             sg_compute_kind *kind, sg_error *err)
{
    const char *text = NULL;
    *kind = SG_COMPUTE_F32;
    SG_TRY(sg_json_get_string(object, name, key, false, &text, err));
    if (text == NULL) return SG_OK;
    sg_status status = sg_compute_kind_parse(text, key, kind, err);
    return status == SG_OK ? SG_OK : sg_fail_context(err, SG_ERR_FORMAT, "%s", name);
}

sg_status sg_train_result_parse(const json_t *object, const char *name, sg_train_result *result,
                                sg_error *err)
{
    *result = (sg_train_result){0};
    SG_TRY(slots_parse(object, name, result, result_slots, result_slot_count, err));
    SG_TRY(result_kind(object, name, "compute", &result->compute, err));
    SG_TRY(result_kind(object, name, "logits_compute", &result->logits_compute, err));
    // A loss too large for its perplexity: that was infinite, and is not in the file.
    if (result->val.tokens > 0 && isnan(result->val.perplexity)) result->val.perplexity = INFINITY;
    if (result->val.tokens > 0 && isnan(result->val.perplexity_batch_mean))
        result->val.perplexity_batch_mean = INFINITY;
    return SG_OK;
}
