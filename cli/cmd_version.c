// sgatlin version: what this build is and what it would compute with.
#include "cli/cli.h"

static int version_run(const cli_args *args)
{
    if (!args->json) {
        printf("sgatlin %s\n", sg_version());
        return CLI_DONE;
    }
    sg_context *context = NULL;
    sg_error err = {0};
    sg_status status = cli_context_new(args, &context, &err);
    if (status != SG_OK) return cli_fail(args, status, &err);
    json_t *value = json_pack("{s:s, s:s, s:i}", "version", sg_version(), "kernel",
                              sg_context_kernel(context), "threads", sg_context_threads(context));
    sg_context_free(context);
    return cli_print_json(args, value);
}

const cli_command cli_cmd_version = {
    .name = "version",
    .summary = "print the version; with --json also kernels and threads",
    .usage = "[--json]",
    .example = "sgatlin version --json",
    .run = version_run,
};
