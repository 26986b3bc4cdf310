// Any bytes as a sweep file: what is read has what its users rely on, and each cell can be made
// again.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_cell(const sg_sweep_spec *spec, const sg_sweep_cell *cell)
{
    sg_train_options options;
    sg_sweep_cell again;
    sg_error err = {0};
    if (sg_sweep_cell_options(spec, cell, &options, &err) != SG_OK) abort();
    if (cell->family[0] == '\0' || cell->settings[0] != '{') abort();
    if (!isnan(cell->budget) && !(options.flops >= cell->budget && options.flops <= cell->budget))
        abort();
    const sg_status status = sg_sweep_cell_at_scale(spec, cell, cell->scale, &again, &err);
    if ((status == SG_OK) != !isnan(cell->scale)) abort();
    if (status != SG_OK) return;
    if (!json_equal(again.options, cell->options) || again.index != cell->index) abort();
    if (strcmp(again.settings, cell->settings) != 0) abort();
    sg_sweep_cell_clear(&again);
}

static void check_searches(const sg_sweep_spec *spec)
{
    for (size_t s = 0; s < spec->search_count; s++) {
        const sg_sweep_search *search = &spec->searches[s];
        if (search->count < 2 || search->count > 16 || !(search->values[0] > 0)) abort();
        for (size_t i = 1; i < search->count; i++)
            if (!(search->values[i] > search->values[i - 1])) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_sweep_spec spec;
    sg_error err = {0};
    if (sg_sweep_spec_parse((const char *)data, size, "input", NULL, &spec, &err) != SG_OK) {
        if (spec.root != NULL || spec.cells != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    if (spec.cell_count == 0 || spec.seed_count == 0 || spec.name[0] == '\0') abort();
    check_searches(&spec);
    for (size_t i = 0; i < spec.cell_count; i += 1 + spec.cell_count / 16)
        check_cell(&spec, &spec.cells[i]);
    sg_sweep_spec_clear(&spec);
    return 0;
}
