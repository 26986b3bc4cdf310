// How the next token is drawn, as options of every verb that draws some.
#ifndef SGATLIN_CLI_SAMPLING_OPTIONS_H
#define SGATLIN_CLI_SAMPLING_OPTIONS_H

#include "cli/options.h"

// of: a structure with temperature, top_k, top_p, min_p and repetition_penalty; what is there before
// is the default.
#define CLI_SAMPLING_OPTIONS(of)                                                                   \
    {.name = "temperature",                                                                        \
     .kind = CLI_DOUBLE,                                                                           \
     .value = &(of).temperature,                                                                   \
     .argument = "X",                                                                              \
     .help = "0 takes the likeliest token; above 1 is wilder",                                     \
     .low = 0,                                                                                     \
     .high = 1e6},                                                                                 \
        {.name = "top-k",                                                                          \
         .kind = CLI_COUNT,                                                                        \
         .value = &(of).top_k,                                                                     \
         .argument = "N",                                                                          \
         .help = "draw from the N likeliest tokens (and those as likely) only; 0: from all",       \
         .low = 0,                                                                                 \
         .high = 1e9},                                                                             \
        {.name = "top-p",                                                                          \
         .kind = CLI_DOUBLE,                                                                       \
         .value = &(of).top_p,                                                                     \
         .argument = "P",                                                                          \
         .help = "draw from the likeliest tokens that together have probability P",                \
         .low = 1e-9,                                                                              \
         .high = 1},                                                                               \
        {.name = "min-p",                                                                          \
         .kind = CLI_DOUBLE,                                                                       \
         .value = &(of).min_p,                                                                     \
         .argument = "P",                                                                          \
         .help = "draw from tokens at least P times as likely as the likeliest; 0: from all",      \
         .low = 0,                                                                                 \
         .high = 1},                                                                               \
    {                                                                                              \
        .name = "repetition-penalty", .kind = CLI_DOUBLE, .value = &(of).repetition_penalty,       \
        .argument = "X", .help = "above 1 makes tokens that were there rarer; 1: off",             \
        .low = 1e-3, .high = 1e3                                                                   \
    }

#endif
