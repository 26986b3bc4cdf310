// sgatlin sparsify --method attention-mlp: what is said before and after.
#ifndef SG_CLI_SPARSIFY_PROJECTIONS_H
#define SG_CLI_SPARSIFY_PROJECTIONS_H

#include "cli/cli.h"
#include "sgatlin_sparsify.h"

// An option that says nothing beside this method, or that is of this method alone where it is not
// chosen; NULL: there is none.
const char *cli_projections_stray(const cli_args *args, bool chosen);
void cli_projections_tell(const cli_args *args, const sg_sparsify_options *o,
                          const sg_sparsify_outlook *l);
int cli_projections_report(const cli_args *args, const char *path, const sg_sparsify_options *o,
                           const sg_sparsify_outlook *l, const sg_sparsify_result *r,
                           int64_t layers, bool tokenizer);

#endif
