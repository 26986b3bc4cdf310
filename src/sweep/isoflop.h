// Makes the text of a sweep file that compares families at equal FLOPs, for `sgatlin sweep
// isoflop`: the grid families x scales x budgets of a ladder of presets, learning rates searched.
#ifndef SG_SWEEP_ISOFLOP_H
#define SG_SWEEP_ISOFLOP_H

#include "base/status.h"

typedef struct sg_isoflop_options {
    const char *name;      // of the sweep; NULL: "isoflop"
    const char *data;      // folder; NULL: none, it is given beside the file
    const char *facts;     // file; NULL: none
    const char *base;      // presets: "laptop", "slimpajama" or "tinystories"; NULL: "laptop"
    const double *budgets; // (budget_count) published FLOPs, above 0; at least 1
    size_t budget_count;
    const char *const *families; // (family_count); at least 1
    size_t family_count;
    const double *scales; // (scale_count) of the ladder. tinystories has none: 0
    size_t scale_count;
    const uint64_t *seeds; // (seed_count); 0: seed 1
    size_t seed_count;
    bool seeds_at_best; // further seeds at each family's best two scales alone
    // Learning rates to try, ascending with a constant ratio: 2 to 16; 1: that one, no search; 0:
    // half of the preset's, the preset's, twice the preset's.
    const double *rates;
    size_t rate_count;
    int64_t halvings, extend;     // of the search, as in files
    double search_budget;         // NAN: each budget is searched
    double scale_low, scale_high; // scales that may be added; NAN: those of the ladder
} sg_isoflop_options;

// halvings 1, extend 2, seeds_at_best, search_budget and the scales to add NAN; all else empty.
sg_isoflop_options sg_isoflop_options_default(void);

// The file, checked as sg_sweep_spec_parse does it; *text: sg_free. SG_ERR_ARGUMENT names what is
// wrong as the options of the command do.
sg_status sg_isoflop_write(const sg_isoflop_options *options, char **text, sg_error *err);

#endif
