// Models larger than memory (--mapped, --resident BYTES), for the verbs that write: what of the
// file stays in memory, and how often what was read was there.
#ifndef SGATLIN_CLI_MAPPED_OPTIONS_H
#define SGATLIN_CLI_MAPPED_OPTIONS_H

#include "cli/cli.h"
#include "sgatlin_resident.h"

typedef struct cli_mapped {
    bool on;        // --mapped
    int64_t budget; // --resident; 0: not given
    sg_resident *resident;
    sg_point_request *requests;
    sg_points points;
} cli_mapped;

// Rows of an option table.
#define CLI_MAPPED_OPTIONS(given)                                                                  \
    {.name = "mapped",                                                                             \
     .kind = CLI_FLAG,                                                                             \
     .value = &(given).on,                                                                         \
     .help = "of a model larger than memory: choose which of its weights stay there, those that "  \
             "are read most often, and tell how often what was read was in memory"},               \
    {                                                                                              \
        .name = "resident", .kind = CLI_COUNT, .value = &(given).budget, .argument = "BYTES",      \
        .shown = "3/4 of what is free",                                                            \
        .help =                                                                                    \
            "with --mapped: the most of the file that stays in memory; the rest is put out of "    \
            "it when it was read",                                                                 \
        .low = 1, .high = 1e18                                                                     \
    }

// Nothing where it is not on. others: points that are asked for too, NULL: none; *points: both.
sg_status cli_mapped_open(cli_mapped *mapped, sg_model *model, const sg_points *others,
                          const sg_points **points, sg_error *err);
void cli_mapped_close(cli_mapped *mapped); // before the model
// What stays and what was there, a line each, and what the system refused.
void cli_mapped_note(const cli_args *args, const cli_mapped *mapped);
// The same for a JSON result, with how often each block was read.
json_t *cli_mapped_json(const cli_mapped *mapped);

#endif
