// Any bytes as runs of a sweep in CSV: what is read holds what results promise and is written as
// text that is read to the same again, or is refused with words.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/runs_csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const sg_sweep_results *r, const sg_sweep_row *row)
{
    if (strlen(row->id) != SG_SWEEP_ID - 1 || row->family[0] == '\0') abort();
    if (row->state != SG_SWEEP_FINISHED || !isfinite(row->loss)) abort();
    if (row->machine < -1 || row->machine >= (int64_t)r->machine_count) abort();
    for (size_t i = 0; i < row->block_count; i++)
        if (!isfinite(row->block_loss[i]) || row->block_tokens[i] < 0) abort();
    for (size_t i = 1; i < row->curve_count; i++)
        if (!(row->curve_step[i] > row->curve_step[i - 1])) abort();
}

static sg_bytes text_of(const sg_sweep_bundle *b)
{
    sg_bytes text = {0};
    size_t runs;
    if (sg_sweep_csv_text(b, &text, &runs, NULL) != SG_OK || runs != b->results.count) abort();
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_sweep_bundle bundle, again;
    if (sg_sweep_csv_parse((const char *)data, size, "input", &bundle, &err) != SG_OK) {
        if (err.message[0] == '\0' || bundle.results.rows != NULL) abort();
        return 0;
    }
    for (size_t i = 0; i < bundle.results.count; i++)
        check_row(&bundle.results, &bundle.results.rows[i]);
    for (size_t i = 0; i < bundle.round_count; i++)
        if (bundle.rounds[i].row >= bundle.results.count ||
            bundle.rounds[i].machine >= (int64_t)bundle.results.machine_count)
            abort();
    sg_bytes first = text_of(&bundle);
    if (sg_sweep_csv_parse(first.data, first.count, "again", &again, &err) != SG_OK) abort();
    sg_bytes second = text_of(&again);
    if (first.count != second.count || memcmp(first.data, second.data, first.count) != 0) abort();
    sg_free(first.data);
    sg_free(second.data);
    sg_sweep_bundle_clear(&bundle);
    sg_sweep_bundle_clear(&again);
    return 0;
}
