// The list of verbs as pointers.
#include "cli/commands.h"

#define CLI_COMMAND_POINTER(name) &cli_cmd_##name,
const cli_command *const cli_commands[CLI_COMMAND_COUNT] = {CLI_COMMAND_LIST(CLI_COMMAND_POINTER)};
