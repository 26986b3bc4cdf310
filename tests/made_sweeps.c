// Rows by hand (made_sweeps.h).
#include "made_sweeps.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/rng.h"

made_sweep *made_sweep_new(void)
{
    made_sweep *made = calloc(1, sizeof *made);
    assert_non_null(made);
    snprintf(made->machine.processor, sizeof made->machine.processor, "made by hand");
    made->results.machines = &made->machine;
    made->results.machine_count = 1;
    return made;
}

void made_sweep_free(made_sweep *made)
{
    for (size_t i = 0; i < made->results.count; i++) {
        free(made->results.rows[i].block_loss);
        free(made->results.rows[i].block_tokens);
    }
    free(made->results.rows);
    free(made);
}

sg_sweep_row *made_sweep_add(made_sweep *made, const char *family, double scale, double budget,
                             uint64_t seed, double size, double tokens, double loss)
{
    sg_sweep_results *r = &made->results;
    if (r->count == made->capacity) {
        made->capacity = made->capacity * 2 + 16;
        r->rows = realloc(r->rows, made->capacity * sizeof *r->rows);
        assert_non_null(r->rows);
    }
    sg_sweep_row *row = &r->rows[r->count++];
    *row = (sg_sweep_row){.scale = scale,
                          .budget = budget,
                          .settings = "{}",
                          .purpose = seed == 1 ? SG_SWEEP_POINT : SG_SWEEP_SEED,
                          .seed = seed,
                          .lr = 0.003,
                          .beta2 = 0.95,
                          .warmup_steps = 50,
                          .state = SG_SWEEP_FINISHED,
                          .steps = 100,
                          .tokens = llround(tokens),
                          .flops = budget,
                          .flops_all_in = 1.1 * budget,
                          .parameters = llround(size),
                          .active_parameters = llround(size / 2),
                          .loss = loss,
                          .perplexity = exp(loss),
                          .step_seconds = NAN,
                          .step_low = NAN,
                          .step_high = NAN,
                          .step_machine = -1,
                          .machine = -1};
    snprintf(row->family, sizeof row->family, "%s", family);
    snprintf(row->id, sizeof row->id, "%032zx", r->count);
    return row;
}

void made_sweep_documents(sg_sweep_row *row, const made_documents *d, uint64_t run)
{
    const uint32_t all = sg_rng_stream("made.documents"), own = sg_rng_stream("made.own");
    double sum = 0;
    row->block_count = d->blocks;
    row->block_loss = calloc(d->blocks, sizeof *row->block_loss);
    row->block_tokens = calloc(d->blocks, sizeof *row->block_tokens);
    assert_true(row->block_loss != NULL && row->block_tokens != NULL);
    for (size_t b = 0; b < d->blocks; b++) {
        const double mean = row->loss + d->spread * sg_rng_normal(d->seed, all, b) +
                            d->own * sg_rng_normal(d->seed, own, run << 16 | b);
        row->block_tokens[b] = 100;
        row->block_loss[b] = 100 * mean;
        sum += mean;
    }
    row->loss = sum / (double)d->blocks;
}

sg_sweep_analysis made_sweep_analyse(const made_sweep *made, int64_t resamples, uint64_t seed)
{
    const sg_sweep_analysis_options options = {.resamples = resamples, .seed = seed};
    sg_sweep_analysis out;
    sg_error err = {0};
    const sg_status status = sg_sweep_analyse(&made->results, &options, &out, &err);
    if (status != SG_OK) fail_msg("%s", err.message);
    return out;
}
