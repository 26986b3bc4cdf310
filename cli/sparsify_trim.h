// What sgatlin sparsify says of methods that leave neurons or inputs out by their size.
#ifndef SG_CLI_SPARSIFY_TRIM_H
#define SG_CLI_SPARSIFY_TRIM_H

#include "cli/cli.h"
#include "sgatlin_sparsify.h"

typedef struct cli_trim_made {
    const sg_sparsify_options *options;
    const sg_sparsify_outlook *look;
    const sg_sparsify_result *result;
    const sg_sparsify_layer *layers; // of the model
    const sg_config *config;         // of what was made
    bool tokenizer;
} cli_trim_made;

// Whether a method is one of them; whether it leaves inputs out.
bool cli_trim_is(const char *method);
bool cli_trim_is_inputs(const char *method);
// The first option given that says nothing beside such a method; NULL: none was.
const char *cli_trim_stray(const cli_args *args);
// Before the work.
void cli_trim_tell(const cli_args *args, const sg_sparsify_options *options,
                   const sg_sparsify_outlook *look);
// After it.
int cli_trim_report(const cli_args *args, const char *path, const cli_trim_made *made);

#endif
