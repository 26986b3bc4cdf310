// The context of a command: threads and kernel from its options, the log on stderr.
#include "cli/cli.h"

static void cli_log(void *user, sg_log_level level, const char *message)
{
    const cli_args *args = user;
    if (level == SG_LOG_WARNING)
        cli_warn(args, "%s", message);
    else
        cli_note(args, "%s", message);
}

sg_status cli_context_new(const cli_args *args, sg_context **context, sg_error *err)
{
    sg_context_options options = sg_context_options_default();
    options.threads = (int)args->threads;
    options.kernel = args->kernel;
    options.log = cli_log;
    options.log_user = (void *)args; // only read back as const above
    return sg_context_new(&options, context, err);
}
