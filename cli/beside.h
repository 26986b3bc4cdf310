// `sgatlin bench --model A --beside B`: two models in turns.
#ifndef SGATLIN_CLI_BESIDE_H
#define SGATLIN_CLI_BESIDE_H

#include "cli/cli.h"
#include "sgatlin_bench.h"

typedef struct cli_beside {
    const char *models[2];
    const char *text;                  // a file; NULL: ids at random
    const char *tokenizer;             // of both; NULL: each model's own
    int64_t context, sessions, rounds; // 0: the default
    double seconds;
    uint64_t seed;
    unsigned what;
} cli_beside;

// With 1 and 2 threads, or as many as the command line says. Returns an exit code.
int cli_beside_run(const cli_args *args, const cli_beside *beside);

#endif
