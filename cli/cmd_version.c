// sgatlin version: what this build is.
#include "cli/cli.h"

static int version_run(const cli_args *args)
{
    if (!args->json) {
        printf("sgatlin %s\n", sg_version());
        return CLI_DONE;
    }
    return cli_print_json(args, json_pack("{s:s}", "version", sg_version()));
}

const cli_command cli_cmd_version = {
    .name = "version",
    .summary = "print the version",
    .usage = "[--json]",
    .example = "sgatlin version --json",
    .run = version_run,
};
