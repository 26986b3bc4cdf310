// A sweep: many runs that answer one question, as its parts share it.
//
//   sweep file --(spec.c)--> cells --(due.c)--> runs to make --(engine.c)--> rows of sweep.db
//   rows --(results.c)--> fits, verdicts (analysis.c) --> page, tables (report.c)
//
// A cell is a point of the grid: a contender (family) at a scale and a budget, with the values of
// whatever other axes the file has. What is searched (learning rate, beta2, warm-up) and the seed
// are no part of it: a cell has several runs. What is due is a pure function of the file and of the
// runs that are finished, so that a sweep that was killed goes on to the same rows.
#ifndef SG_SWEEP_SWEEP_H
#define SG_SWEEP_SWEEP_H

#include <jansson.h>

#include "base/status.h"
#include "sgatlin_train.h"

enum {
    SG_SWEEP_NAME = 64,      // a contender, an axis, a value: bytes with the NUL
    SG_SWEEP_SETTINGS = 512, // the other axes of a cell, as JSON
    SG_SWEEP_ID = 33         // of a run: 32 hex digits and a NUL
};

// ---- the file (spec.c) --------------------------------------------------------------------------

typedef struct sg_sweep_cell {
    size_t index;                     // place in the file's order, the order of the report too
    char family[SG_SWEEP_NAME];       // the contender: what curves are drawn for
    double scale;                     // NAN: the file has no such axis
    double budget;                    // published FLOPs; NAN: no such axis
    char settings[SG_SWEEP_SETTINGS]; // {"axis": "value", …} of all other axes, keys sorted; "{}"
    json_t *options;                  // options of training by name, seed and searched ones apart
} sg_sweep_cell;

// How one field is searched in every cell (or in those of one budget): all of `values` first, in
// ascending order with a constant ratio between neighbours (of beta2: of 1 - beta2); a best value
// on the edge adds the next value beyond it, at most `extend` times; then, `halvings` times, the
// two geometric midpoints beside the best. Equal losses: the lower value. A best value that is on
// the edge in the end is marked. search.h has all of it.
typedef struct sg_sweep_search {
    const char *field; // "lr", "beta2" or "warmup_steps"
    double values[16];
    size_t count;
    int64_t halvings, extend;
} sg_sweep_search;

typedef struct sg_sweep_spec {
    json_t *root; // the whole file, owned: strings below point into it
    const char *name, *note;
    const char *data;  // as the file says, or as given beside it; may be ""
    const char *facts; // a file of facts whose recall is measured of every model; "": none
    sg_sweep_cell *cells;
    size_t cell_count;
    sg_sweep_search searches[3]; // in this order, each at the best of those before
    size_t search_count;
    double search_budget; // the searches are of cells of this budget, and what they find is used at
                          // the others of the same family, scale and settings; NAN: of each cell
    uint64_t seeds[64];
    size_t seed_count;
    bool seeds_at_best; // all seeds at each family's best and second best scale of a budget, the
                        // first alone elsewhere; false: everywhere
    double max_epochs;  // runs that would read the data more often are refused; 1
    int64_t blocks;     // documents' losses are kept in so many sums a run; 64
    double scale_ladder[2]; // lowest and highest scale that may be added; [0] NAN: none
} sg_sweep_spec;

// ---- what is to be made (due.c) -----------------------------------------------------------------

typedef enum sg_sweep_purpose {
    SG_SWEEP_SEARCH = 0, // one of the values of a search
    SG_SWEEP_POINT,      // a cell whose values are known, first seed
    SG_SWEEP_SEED,       // a further seed
    SG_SWEEP_EXTENSION   // a scale beyond those of the file
} sg_sweep_purpose;

typedef struct sg_sweep_todo {
    char id[SG_SWEEP_ID]; // sg_sweep_id of its options (due.h)
    size_t cell;          // of sg_sweep_plan_cell: of the file, or behind those one that was added
    sg_sweep_purpose purpose;
    double lr, beta2, warmup_steps; // NAN: as the options of the cell say
    uint64_t seed;
    sg_train_options options; // all of it, completed but for what the data say
} sg_sweep_todo;

// ---- what came of it (results.c reads it from sweep.db) -----------------------------------------

typedef enum sg_sweep_state {
    SG_SWEEP_WAITING = 0,
    SG_SWEEP_RUNNING, // or interrupted
    SG_SWEEP_FINISHED,
    SG_SWEEP_FAILED
} sg_sweep_state;

typedef struct sg_sweep_row {
    char id[SG_SWEEP_ID];
    int64_t cell; // of the file; -1: none of it
    char family[SG_SWEEP_NAME];
    double scale, budget; // NAN: none
    char settings[SG_SWEEP_SETTINGS];
    sg_sweep_purpose purpose;
    uint64_t seed;
    double lr, beta2, warmup_steps; // what the run has, searched or not
    sg_sweep_state state;
    int64_t failure; // of a failed run: its sg_status. SG_ERR_NUMERIC, a run that diverged, counts
                     // in searches as a loss of infinity; any other leaves what needs it undecided
    char error[256];
    char origin[128]; // name of the sweep that it was imported from; "": made here
    // Of a finished run; NAN or 0 before.
    int64_t steps, tokens, warmup, skipped_updates;
    double epochs;
    double flops, flops_all_in; // of all steps: published; with logits and routers
    int64_t parameters, active_parameters, neurons, active_neurons; // feed-forward neurons
    double loss;                 // mean of the validation split, nats a token
    double perplexity;           // exp(loss)
    double perplexity_published; // mean over batches of exp(loss of the batch)
    double train_loss;
    int64_t facts, facts_recalled; // 0: not measured
    double fact_bits;              // learned, of all facts together
    // Sums of the validation split's losses by block of consecutive sequences, the same blocks in
    // every run on the same data.
    double *block_loss;    // (block_count) nats
    int64_t *block_tokens; // (block_count)
    size_t block_count;
    // Of its training loss and evaluations, as the report draws them; at most 200 of each.
    double *curve_step, *curve_loss; // (curve_count)
    size_t curve_count;
    double *val_step, *val_loss; // (val_count)
    size_t val_count;
    // Apart from the results, since they are of the machine: of a run, its own training time while
    // the sweep worked, with whatever ran beside it.
    double seconds;
    int64_t machine; // row of `machines`; -1: not known
    // Median and spread of a step on an idle machine (sgatlin sweep time); NAN: not measured.
    double step_seconds, step_low, step_high; // median, 10th and 90th percentile
    int64_t step_rounds, step_machine;
    char options[8192]; // JSON of all options, as run.json has them
} sg_sweep_row;

typedef struct sg_sweep_machine {
    char processor[128], kernels[64], library[64], program[64];
    int64_t cores, threads, jobs; // threads of a job, jobs at a time
} sg_sweep_machine;

typedef struct sg_sweep_results {
    sg_sweep_row *rows; // in the order in which they were planned
    size_t count;
    sg_sweep_machine *machines;
    size_t machine_count;
    char name[SG_SWEEP_NAME], note[512], data_hash[24], data_path[4096];
    char *file; // the sweep file, whole
    char command[4096];
    int64_t vocab_size, seq_len, val_tokens;
} sg_sweep_results;

// The best finished run of a family at a budget, scale and settings by mean loss over its seeds is
// what curves are of: helpers for this are in results.h.

#endif
