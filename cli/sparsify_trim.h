// What sgatlin sparsify says of methods that leave neurons out by their size.
#ifndef SG_CLI_SPARSIFY_TRIM_H
#define SG_CLI_SPARSIFY_TRIM_H

#include "cli/cli.h"
#include "sgatlin_sparsify.h"

// The first option given that says nothing beside such a method; NULL: none was.
const char *cli_trim_stray(const cli_args *args);
// Before the work.
void cli_trim_tell(const cli_args *args, const sg_sparsify_options *options,
                   const sg_sparsify_outlook *look);
// After it. thresholds: the list of the configuration.
int cli_trim_report(const cli_args *args, const char *path, const sg_sparsify_options *options,
                    const sg_sparsify_outlook *look, const sg_sparsify_result *result,
                    const char *thresholds, bool tokenizer);

#endif
