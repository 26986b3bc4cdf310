// The verbs of the program, one line each, in the order of the help: what one does first comes
// first. A new one is a file cli/cmd_NAME.c and a line here.
#ifndef SGATLIN_CLI_COMMANDS_H
#define SGATLIN_CLI_COMMANDS_H

#include "cli/options.h"

#define CLI_COMMAND_LIST(X)                                                                        \
    X(data_synth)                                                                                  \
    X(data_tokenizer)                                                                              \
    X(data_pack)                                                                                   \
    X(train)                                                                                       \
    X(sweep_isoflop)                                                                               \
    X(sweep_status)                                                                                \
    X(sweep_time)                                                                                  \
    X(sweep_export)                                                                                \
    X(sweep_import)                                                                                \
    X(sweep)                                                                                       \
    X(compare)                                                                                     \
    X(report)                                                                                      \
    X(eval)                                                                                        \
    X(generate)                                                                                    \
    X(chat)                                                                                        \
    X(tokenize)                                                                                    \
    X(info)                                                                                        \
    X(probe_points)                                                                                \
    X(probe_dump)                                                                                  \
    X(probe_record)                                                                                \
    X(probe_export)                                                                                \
    X(probe_usage)                                                                                 \
    X(probe_neuron)                                                                                \
    X(probe_neighbours)                                                                            \
    X(probe_map)                                                                                   \
    X(probe_cka)                                                                                   \
    X(probe_facts)                                                                                 \
    X(probe_patch)                                                                                 \
    X(probe_circuit)                                                                               \
    X(probe_ablate)                                                                                \
    X(probe_trace)                                                                                 \
    X(scope)                                                                                       \
    X(sparsify)                                                                                    \
    X(curve)                                                                                       \
    X(convert)                                                                                     \
    X(bench)                                                                                       \
    X(completion)                                                                                  \
    X(version)

#define CLI_COMMAND_INDEX(name) CLI_COMMAND_##name,
enum { CLI_COMMAND_LIST(CLI_COMMAND_INDEX) CLI_COMMAND_COUNT };

#define CLI_COMMAND_DECLARE(name) extern const cli_command cli_cmd_##name;
CLI_COMMAND_LIST(CLI_COMMAND_DECLARE)

extern const cli_command *const cli_commands[CLI_COMMAND_COUNT];

#endif
