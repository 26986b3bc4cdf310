// One table of columns, from which sweep.db is made, written and read.
#include "sweep/columns.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

#define COLUMN(member, its_kind)                                                                   \
    {                                                                                              \
        .name = #member, .kind = SG_SWEEP_COLUMN_##its_kind,                                       \
        .offset = offsetof(sg_sweep_row, member), .bytes = sizeof((sg_sweep_row *)0)->member       \
    }

static const sg_sweep_column columns[] = {
    COLUMN(id, TEXT),
    {.name = "cell",
     .kind = SG_SWEEP_COLUMN_INT,
     .offset = offsetof(sg_sweep_row, cell),
     .bytes = sizeof(int64_t),
     .least = -1},
    COLUMN(family, TEXT),
    COLUMN(scale, REAL),
    COLUMN(budget, REAL),
    COLUMN(settings, TEXT),
    COLUMN(purpose, PURPOSE),
    COLUMN(seed, SEED),
    COLUMN(lr, REAL),
    COLUMN(beta2, REAL),
    COLUMN(warmup_steps, REAL),
    COLUMN(state, STATE),
    COLUMN(failure, INT),
    COLUMN(error, TEXT),
    COLUMN(origin, TEXT),
    COLUMN(steps, INT),
    COLUMN(tokens, INT),
    COLUMN(warmup, INT),
    COLUMN(skipped_updates, INT),
    COLUMN(epochs, REAL),
    COLUMN(flops, REAL),
    COLUMN(flops_all_in, REAL),
    COLUMN(parameters, INT),
    COLUMN(active_parameters, INT),
    COLUMN(neurons, INT),
    COLUMN(active_neurons, INT),
    COLUMN(loss, REAL),
    COLUMN(perplexity, REAL),
    COLUMN(perplexity_published, REAL),
    COLUMN(train_loss, REAL),
    COLUMN(facts, INT),
    COLUMN(facts_recalled, INT),
    COLUMN(fact_bits, REAL),
    COLUMN(options, TEXT),
};

const sg_sweep_column *sg_sweep_column_at(size_t index)
{
    return index < sizeof columns / sizeof columns[0] ? &columns[index] : NULL;
}

// ---- words --------------------------------------------------------------------------------------

static const char *const purposes[] = {"search", "point", "seed", "extension"};
static const char *const states[] = {"waiting", "running", "finished", "failed"};

static bool word_find(const char *const *words, size_t count, const char *word, size_t *index)
{
    for (*index = 0; *index < count; (*index)++)
        if (strcmp(words[*index], word) == 0) return true;
    return false;
}

const char *sg_sweep_purpose_word(sg_sweep_purpose purpose)
{
    return purposes[purpose];
}

const char *sg_sweep_state_word(sg_sweep_state state)
{
    return states[state];
}

bool sg_sweep_purpose_find(const char *word, sg_sweep_purpose *purpose)
{
    size_t index;
    const bool found = word_find(purposes, sizeof purposes / sizeof purposes[0], word, &index);
    if (found) *purpose = (sg_sweep_purpose)index;
    return found;
}

bool sg_sweep_state_find(const char *word, sg_sweep_state *state)
{
    size_t index;
    const bool found = word_find(states, sizeof states / sizeof states[0], word, &index);
    if (found) *state = (sg_sweep_state)index;
    return found;
}

// ---- rows ---------------------------------------------------------------------------------------

sg_sweep_row sg_sweep_row_empty(void)
{
    sg_sweep_row row = {.settings = "{}", .options = "{}"};
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
        if (columns[i].kind == SG_SWEEP_COLUMN_REAL)
            *(double *)sg_sweep_column_in(&columns[i], &row) = NAN;
    row.cell = row.machine = row.step_machine = -1;
    row.seconds = row.step_seconds = row.step_low = row.step_high = NAN;
    return row;
}

void sg_sweep_row_clear(sg_sweep_row *row)
{
    sg_free(row->block_loss);
    sg_free(row->block_tokens);
    sg_free(row->curve_step);
    sg_free(row->curve_loss);
    sg_free(row->val_step);
    sg_free(row->val_loss);
    row->block_loss = row->curve_step = row->curve_loss = row->val_step = row->val_loss = NULL;
    row->block_tokens = NULL;
    row->block_count = row->curve_count = row->val_count = 0;
}
