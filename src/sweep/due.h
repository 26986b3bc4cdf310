// What a sweep is to run next: a pure function of its file and of the runs that are finished.
//
// A decision (which rate is best, at which scales further seeds are run, which scale comes next) is
// made when every run that it rests on is finished, and then never changes. So the set of runs does
// not depend on the order in which they finish, on kills or on the number of jobs.
//
//   search       of a cell of the search budget, or of each cell without one: search.h
//   point        a cell of another budget runs once, with the values that were found at the search
//                budget for the same family, scale and settings; where the file has no such cell,
//                it is searched itself
//   seed         the first seed everywhere. Further ones at the values found: everywhere, or
//                (seeds_at_best) at the best and the second best scale of a family, budget and
//                settings, once all its scales are known
//   extension    where a family's lowest loss at a budget (first seed) is at one of the outer two
//                scales of a side, the next scale on that side, by the step of the outermost two
//                (their ratio where all scales have a constant ratio and no constant difference),
//                inside scale_ladder: a proposal, or with `automatic` a cell that is added. One of
//                another budget than that of the search is run at the values found in a cell of the
//                search budget at the same scale, which is added and searched with it; that one
//                takes part in no decision at its own budget
//
// A run that diverged counts as a loss of infinity. Any other failure leaves what rests on it
// undecided and is marked: mend it and run it again (--retry failed).
#ifndef SG_SWEEP_DUE_H
#define SG_SWEEP_DUE_H

#include "sweep/sweep.h"

enum { SG_SWEEP_NO_ROW = -1, SG_SWEEP_MARK = 320 };

// What is known of a cell by now.
typedef struct sg_sweep_cell_state {
    bool settled;                   // its values are known, and how it does with the first seed
    double lr, beta2, warmup_steps; // found; NAN: not searched, or not known yet
    double loss;                    // of the first seed at these; NAN: not known yet
    int64_t row;                    // of results; SG_SWEEP_NO_ROW
    int64_t effort;   // runs that the search of its values has taken or will, as known by now
    int64_t extra;    // of these, runs beyond the equal effort: values beyond the edge
    unsigned edges;   // bit s: the best value of searches[s] is the last on its side
    double expected;  // further runs that are likely to come, besides those that are listed
    size_t values_of; // the cell whose values it takes; itself where it is searched
} sg_sweep_cell_state;

typedef enum sg_sweep_mark_kind {
    SG_SWEEP_MARK_EDGE = 0,   // a best value is the last on its side of those that were tried
    SG_SWEEP_MARK_DIVERGED,   // every run of a cell diverged
    SG_SWEEP_MARK_FAILED,     // what rests on a failed run is undecided
    SG_SWEEP_MARK_OUTER,      // a minimum is among the outer two scales, and none can be added
    SG_SWEEP_MARK_FEW_SCALES, // fewer than 5 scales: no exponent can be told
    SG_SWEEP_MARK_NO_CELL     // a scale was to be added and cannot be; the text says why
} sg_sweep_mark_kind;

typedef struct sg_sweep_mark {
    sg_sweep_mark_kind kind;
    size_t cell; // the one it is about, or the first of its family, budget and settings
    char text[SG_SWEEP_MARK];
} sg_sweep_mark;

// A scale to add (without `automatic`): that of `cell`, at `scale`.
typedef struct sg_sweep_proposal {
    size_t cell;
    double scale;
    char text[SG_SWEEP_MARK];
} sg_sweep_proposal;

typedef struct sg_sweep_plan {
    // Runs that are known to be needed, finished ones too, in the order in which to make them:
    // families take turns; inside a family by budget, scale and place in the file. No two are the
    // same run.
    sg_sweep_todo *todos;
    int64_t *rows; // (count) of results->rows; SG_SWEEP_NO_ROW: there is none
    size_t count;
    double expected;      // further runs that are likely to come; extensions are not among them
    sg_sweep_cell *added; // cells beyond those of the file; `index` is that of the cell of the file
    size_t added_count;   // that each was made from
    sg_sweep_cell_state *cells; // (cells of the file + added_count)
    sg_sweep_mark *marks;
    size_t mark_count;
    sg_sweep_proposal *proposals;
    size_t proposal_count;
} sg_sweep_plan;

// Rows are found by id. results->data_hash is what ids are made with; no rows is a sweep that has
// not begun. sg_sweep_plan_clear releases the plan, also after an error.
sg_status sg_sweep_due(const sg_sweep_spec *spec, const sg_sweep_results *results, bool automatic,
                       sg_sweep_plan *out, sg_error *err);
void sg_sweep_plan_clear(sg_sweep_plan *plan);
// By todo.cell. A row of an added cell is of no cell of the file (sg_sweep_row.cell -1).
const sg_sweep_cell *sg_sweep_plan_cell(const sg_sweep_spec *spec, const sg_sweep_plan *plan,
                                        size_t cell);

// What messages call a cell: "sgatlin, scale 4, 1e+13 FLOPs". Returns text.
const char *sg_sweep_cell_label(const sg_sweep_cell *cell, char *text, size_t capacity);

// The name of a run: 128 bits (XXH3) of the JSON, without spaces, of an object of
//   program   sg_version
//   data      data_hash: sg_sweep_data_hash (sweep_folder.h)
//   options   those of run.json in its order, `config` last, as they are before the data complete
//             them, without those of the group "Watching and saving" and force_tokenizer, which
//             change no result
// A model to go on from counts by its path. Kernels and the library of products are not in it:
// results of another machine are the same run.
sg_status sg_sweep_id(const sg_train_options *options, const char *data_hash, char id[SG_SWEEP_ID],
                      sg_error *err);

#endif
