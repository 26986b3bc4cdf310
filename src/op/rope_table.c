// The angles of rotary positions: one frequency for each pair i of numbers of a head, and the
// cosine and sine of each position p,
//
//     w_i = theta^(-2i / dim)      angle = p w_i
//
// and the published ways to stretch the frequencies for texts longer than those a model was trained
// on. A model makes the table (positions, half) once; op_rope.c rotates by it.
#include <math.h>

#include "base/alloc.h"
#include "op/op.h"

// ---- rules --------------------------------------------------------------------------------------

static sg_status rope_rule(bool fits, const char *field, double found, const char *expected,
                           sg_error *err)
{
    if (fits) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "rope %s: found %s, expected %s", field, SG_NUMBER(found),
                   expected);
}

static sg_status rope_check(const sg_rope_options *o, sg_error *err)
{
    const bool scaled = o->kind != SG_ROPE_NONE, llama3 = o->kind == SG_ROPE_LLAMA3;
    const bool yarn = o->kind == SG_ROPE_YARN;
    SG_TRY(rope_rule(o->dim >= 2 && o->dim % 2 == 0, "dim", (double)o->dim, "an even number", err));
    SG_TRY(rope_rule(o->theta > 0 && isfinite(o->theta), "theta", o->theta, "more than 0", err));
    SG_TRY(rope_rule(o->kind >= SG_ROPE_NONE && o->kind <= SG_ROPE_YARN, "scaling", (double)o->kind,
                     "one of 0 to 3", err));
    SG_TRY(rope_rule(o->attention_factor >= 0 && isfinite(o->attention_factor), "attention_factor",
                     o->attention_factor, "0 or more", err));
    SG_TRY(rope_rule(!scaled || (o->factor > 0 && isfinite(o->factor)), "factor", o->factor,
                     "more than 0", err));
    SG_TRY(rope_rule(!(llama3 || yarn) || o->original_positions > 0, "original_positions",
                     (double)o->original_positions, "more than 0", err));
    SG_TRY(rope_rule(!llama3 || o->low_freq_factor > 0, "low_freq_factor", o->low_freq_factor,
                     "more than 0", err));
    SG_TRY(rope_rule(
        !llama3 || (o->high_freq_factor > o->low_freq_factor && isfinite(o->high_freq_factor)),
        "high_freq_factor", o->high_freq_factor, "more than low_freq_factor", err));
    SG_TRY(rope_rule(!yarn || o->beta_slow > 0, "beta_slow", o->beta_slow, "more than 0", err));
    SG_TRY(rope_rule(!yarn || (o->beta_fast >= o->beta_slow && isfinite(o->beta_fast)), "beta_fast",
                     o->beta_fast, "at least beta_slow", err));
    return rope_rule(!yarn || o->theta > 1, "theta", o->theta, "more than 1 with yarn", err);
}

// ---- frequencies --------------------------------------------------------------------------------

// Llama 3: waves shorter than original / high_freq_factor stay, those longer than original /
// low_freq_factor are stretched by the factor, between the two the frequencies are mixed.
static double rope_llama3(const sg_rope_options *o, double w)
{
    const double turns = (double)o->original_positions * w / (2 * M_PI);
    if (turns > o->high_freq_factor) return w;
    if (turns < o->low_freq_factor) return w / o->factor;
    double s = (turns - o->low_freq_factor) / (o->high_freq_factor - o->low_freq_factor);
    return (1 - s) * w / o->factor + s * w;
}

// The pair, as a real number, that makes `turns` turns within the original positions.
static double rope_pair_of(const sg_rope_options *o, double turns)
{
    return (double)o->dim * log((double)o->original_positions / (turns * 2 * M_PI)) /
           (2 * log(o->theta));
}

// YaRN (Peng et al. 2023, "NTK-by-parts"): pairs that make beta_fast turns and more stay, those
// that make beta_slow and less are stretched, a ramp over the pairs between. `truncate` rounds its
// ends outwards to whole pairs.
static double rope_yarn(const sg_rope_options *o, int64_t pair, double w)
{
    double low = rope_pair_of(o, o->beta_fast), high = rope_pair_of(o, o->beta_slow);
    if (o->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, (double)o->dim - 1);
    if (high == low) high += 0.001; // a step
    double ramp = ((double)pair - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return w / o->factor * ramp + w * (1 - ramp);
}

double sg_rope_frequency(const sg_rope_options *o, int64_t pair)
{
    double w = pow(o->theta, -2.0 * (double)pair / (double)o->dim);
    switch (o->kind) {
    case SG_ROPE_LINEAR:
        return w / o->factor;
    case SG_ROPE_LLAMA3:
        return rope_llama3(o, w);
    case SG_ROPE_YARN:
        return rope_yarn(o, pair, w);
    case SG_ROPE_NONE:
        break;
    }
    return w;
}

static double rope_length(const sg_rope_options *o)
{
    if (o->attention_factor > 0) return o->attention_factor;
    return o->kind == SG_ROPE_YARN && o->factor > 1 ? 0.1 * log(o->factor) + 1 : 1;
}

// ---- the table ----------------------------------------------------------------------------------

static void rope_fill(const sg_rope_table *table, const double *frequency, double length)
{
    for (int64_t p = 0; p < table->positions; p++)
        for (int64_t i = 0; i < table->half; i++) {
            double angle = (double)p * frequency[i];
            table->cos[p * table->half + i] = (sg_real)(length * cos(angle));
            table->sin[p * table->half + i] = (sg_real)(length * sin(angle));
        }
}

sg_status sg_rope_table_new(sg_rope_table *table, int64_t positions, const sg_rope_options *options,
                            sg_error *err)
{
    *table = (sg_rope_table){.positions = positions,
                             .half = options->dim / 2,
                             .interleaved = options->interleaved,
                             .allocator = options->allocator};
    SG_TRY(rope_check(options, err));
    size_t count = (size_t)(positions * table->half);
    double *frequency = sg_alloc_array((size_t)table->half, sizeof *frequency);
    if (frequency != NULL) {
        table->bytes = 2 * count * sizeof(sg_real);
        table->cos = sg_alloc_from(table->allocator, table->bytes);
    }
    if (table->cos == NULL) {
        sg_free(frequency);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld positions",
                       (long long)positions);
    }
    table->sin = table->cos + count;
    for (int64_t i = 0; i < table->half; i++)
        frequency[i] = sg_rope_frequency(options, i);
    rope_fill(table, frequency, rope_length(options));
    sg_free(frequency);
    return SG_OK;
}

void sg_rope_table_free(sg_rope_table *table)
{
    sg_free_to(table->allocator, table->cos, table->bytes);
    *table = (sg_rope_table){0};
}
