// Any bytes as the database of a sweep: what opens holds what results promise, or is refused with
// words.
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep/results.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(const sg_sweep_results *r, const sg_sweep_row *row)
{
    if (strlen(row->id) != SG_SWEEP_ID - 1 || sg_sweep_find(r, row->id) == NULL) abort();
    if (row->state == SG_SWEEP_FINISHED && !isfinite(row->loss)) abort();
    if (row->machine >= (int64_t)r->machine_count) abort();
    if (row->step_machine >= (int64_t)r->machine_count) abort();
    for (size_t i = 0; i < row->block_count; i++)
        if (!isfinite(row->block_loss[i]) || row->block_tokens[i] < 0) abort();
    for (size_t i = 0; i < row->curve_count; i++)
        if (!isfinite(row->curve_step[i]) || !isfinite(row->curve_loss[i])) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    sg_error err = {0};
    sg_sweep_results results;
    if (path[0] == '\0') snprintf(path, sizeof path, "/tmp/sg_fuzz_sweep_%ld.db", (long)getpid());
    const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, data, size) != (ssize_t)size || close(file) != 0) abort();
    if (sg_sweep_results_open(path, &results, &err) != SG_OK && err.message[0] == '\0') abort();
    for (size_t i = 0; i < results.count; i++)
        check_row(&results, &results.rows[i]);
    for (size_t i = 0; i < results.count && i < 4; i++)
        if (sg_sweep_best(&results, i) == SIZE_MAX && results.rows[i].state == SG_SWEEP_FINISHED)
            abort();
    sg_sweep_results_clear(&results);
    unlink(path);
    return 0;
}
