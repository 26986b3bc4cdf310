// Neurons that are edited while text is written (--steer FILE), for the verbs that write.
#ifndef SGATLIN_CLI_STEER_H
#define SGATLIN_CLI_STEER_H

#include "cli/cli.h"
#include "sgatlin_edit.h"

#define CLI_STEER_OPTION(given)                                                                    \
    {                                                                                              \
        .name = "steer", .kind = CLI_STRING, .value = &(given), .argument = "FILE", .shown = "",   \
        .help = "scale, fix or remove neurons while the model writes, as a file of edits says "    \
                "(JSON; docs/FORMATS.md)"                                                          \
    }

// Opens the file; path NULL: no edits. *points: what to look at, NULL where nothing is changed.
sg_status cli_steer_open(const sg_model *model, const char *path, sg_edits **edits,
                         const sg_points **points, sg_error *err);
// One line of talk: how many edits, and which neurons were never selected. NULL: nothing.
void cli_steer_note(const cli_args *args, const sg_edits *edits);
// The same for a JSON result: {"edits", "neurons": [{"layer", …}]}; null where there are none.
json_t *cli_steer_json(const sg_edits *edits);

#endif
