// Exit codes, errors and JSON results in one place, so that every verb fails and answers alike; a
// signal only raises a flag, which long work asks at places where it can stop and save.
#include "cli/cli.h"
#include "cli/visible.h"
#include "sgatlin_train.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_exit_code(sg_status status)
{
    switch (status) {
    case SG_OK:
        return CLI_DONE;
    case SG_ERR_ARGUMENT:
    case SG_ERR_NOT_FOUND:
    case SG_ERR_FORMAT:
    case SG_ERR_MISMATCH:
    case SG_ERR_UNSUPPORTED:
        return CLI_WRONG;
    default:
        return CLI_FAILED;
    }
}

// "sgatlin: VERB: " and whatever stands between it and the message.
static void cli_head(const cli_args *args, const char *kind)
{
    cli_progress_hide();
    fprintf(stderr, "sgatlin: ");
    if (args != NULL && args->command != NULL) fprintf(stderr, "%s: ", args->command->name);
    fprintf(stderr, "%s", kind);
}

// What is said may hold names and texts of files: nothing of them reaches the terminal raw.
static void cli_say(const char *format, va_list list)
{
    char *text = NULL;
    int bytes = vasprintf(&text, format, list);
    if (bytes >= 0) cli_put_visible(stderr, text, (size_t)bytes, false);
    if (bytes >= 0) free(text);
}

int cli_fail(const cli_args *args, sg_status status, const sg_error *err)
{
    cli_head(args, "");
    const char *message =
        err != NULL && err->message[0] != '\0' ? err->message : sg_status_name(status);
    cli_put_visible(stderr, message, strlen(message), false);
    fputc('\n', stderr);
    return cli_exit_code(status);
}

int cli_wrong(const cli_args *args, const char *format, ...)
{
    cli_head(args, "");
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
    bool command = args != NULL && args->command != NULL;
    fprintf(stderr, "\ntry 'sgatlin %s%s--help'\n", command ? args->command->name : "",
            command ? " " : "");
    return CLI_WRONG;
}

void cli_note(const cli_args *args, const char *format, ...)
{
    if (args->quiet) return;
    cli_progress_hide();
    fprintf(stderr, "%s: ", args->command->name);
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
    fputc('\n', stderr);
}

void cli_warn(const cli_args *args, const char *format, ...)
{
    cli_head(args, "warning: ");
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
    fputc('\n', stderr);
}

// ---- context ----------------------------------------------------------------------------------

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

// ---- results ----------------------------------------------------------------------------------

static int cli_put_json(const cli_args *args, json_t *value, size_t layout)
{
    // Ten digits: more than any figure here means, and 0.1 prints as 0.1.
    char *text = json_dumps(value, layout | JSON_REAL_PRECISION(10) | JSON_ENCODE_ANY);
    json_decref(value);
    if (text == NULL) {
        sg_error err = {SG_ERR_MEMORY, "out of memory for the JSON result"};
        return cli_fail(args, err.code, &err);
    }
    puts(text);
    free(text);
    return CLI_DONE; // a failed write is seen by cli_finish
}

char *cli_command_line(const cli_args *args)
{
    size_t bytes = 1;
    for (int i = 0; i < args->argc; i++)
        bytes += 4 * strlen(args->argv[i]) + 3;
    char *text = malloc(bytes), *at = text;
    for (int i = 0; text != NULL && i < args->argc; i++) {
        const char *word = args->argv[i];
        bool plain = word[0] != '\0' && strspn(word, "abcdefghijklmnopqrstuvwxyz"
                                                     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                     "0123456789-_./=,:+@%") == strlen(word);
        if (i > 0) *at++ = ' ';
        if (!plain) *at++ = '\'';
        for (; *word != '\0'; word++) {
            if (*word == '\'') {
                memcpy(at, "'\\''", 4);
                at += 4;
            } else {
                *at++ = *word;
            }
        }
        if (!plain) *at++ = '\'';
        *at = '\0';
    }
    return text;
}

sg_status cli_model_open(sg_context *context, const char *path, const char *weights,
                         sg_model **model, char folder[CLI_PATH], sg_error *err)
{
    const bool stored = strcmp(weights, "stored") == 0;
    sg_weights type = SG_WEIGHTS_F32;
    *model = NULL;
    sg_status status = stored ? SG_OK : sg_weights_parse(weights, "weights", &type, err);
    if (status == SG_OK) status = sg_train_model_folder(context, path, folder, CLI_PATH, err);
    if (status != SG_OK) return status;
    return stored ? sg_model_open_stored(context, folder, model, err)
                  : sg_model_open_narrow(context, folder, type, model, err);
}

sg_status cli_model_adapt(sg_context *context, const char *path, sg_model *model, sg_error *err)
{
    char folder[CLI_PATH];
    if (path == NULL) return SG_OK;
    sg_status status = sg_train_adapter_folder(context, path, folder, sizeof folder, err);
    return status == SG_OK ? sg_model_adapt(model, folder, err) : status;
}

sg_status cli_tokenizer_open(const char *given, const char *model, sg_tokenizer **tokenizer,
                             sg_error *err)
{
    sg_status status = sg_tokenizer_open(given != NULL ? given : model, tokenizer, err);
    const size_t used = strlen(err->message);
    if (status == SG_ERR_NOT_FOUND || status == SG_ERR_FORMAT)
        if (given == NULL)
            snprintf(err->message + used, sizeof err->message - used,
                     "; another tokenizer can be given with --tokenizer");
    return status;
}

int cli_print_json(const cli_args *args, json_t *value)
{
    return cli_put_json(args, value, JSON_INDENT(2));
}

int cli_print_json_line(const cli_args *args, json_t *value)
{
    int code = cli_put_json(args, value, 0);
    fflush(stdout);
    return code;
}

json_t *cli_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

// ---- signals ----------------------------------------------------------------------------------

static volatile sig_atomic_t cli_stop; // signals so far
static volatile sig_atomic_t
    cli_saves; // what was done is saved first: one signal more is waited for

static void cli_on_signal(int number)
{
    static const char quick[] = "\nsgatlin: stopping; once more to quit at once\n";
    static const char save[] = "\nsgatlin: saving, then stopping\n";
    static const char again[] =
        "\nsgatlin: still saving; once more to quit at once and lose what was "
        "done since the last checkpoint\n";
    if (cli_stop > cli_saves) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    const char *text = cli_stop++ > 0 ? again : cli_saves ? save : quick;
    int saved = errno;
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
    errno = saved;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = cli_on_signal, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_save_on_signals(void)
{
    cli_saves = 1;
}

bool cli_stop_requested(void)
{
    return cli_stop != 0;
}

// ---- the ends of the program --------------------------------------------------------------------

// A file under our eyes became shorter: nothing that was read of it is to be trusted.
static void cli_on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    const char *file = sg_mapped_file(info->si_addr);
    const char *const parts[] = {"sgatlin: ", file, ": became shorter while it was read\n"};
    if (file == NULL) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        ssize_t ignored = write(STDERR_FILENO, parts[i], strlen(parts[i]));
        (void)ignored;
    }
    _exit(CLI_FAILED);
}

// Handlers have a stack of their own: the code that oneDNN writes for long products points the
// stack register into its workspace, where what the kernel puts below it would overwrite the heap.
static void cli_signal_stack(void)
{
    static char stack[1 << 16]; // registers with AMX take 11 KiB
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&own, NULL);
}

void cli_start(void)
{
    struct sigaction bus = {.sa_sigaction = cli_on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    cli_signal_stack();
    sigemptyset(&bus.sa_mask);
    sigaction(SIGBUS, &bus, NULL);
    // A closed descriptor would be given to the next file opened, and results printed into it. Fill
    // the holes with descriptors on which the wrong direction fails.
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF)
            if (open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) _exit(CLI_FAILED);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    cli_guard_stdout();
}

// Whether stdout is a pipe that nobody reads any more.
static bool cli_is_unread(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int cli_finish(const char *command, int code)
{
    bool lost = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) != 0) lost = true;
    int reason = errno;
    const bool unread = lost && (reason == EPIPE || cli_is_unread());
    // Some file systems report a full disk only on close.
    if (close(STDOUT_FILENO) != 0 && errno != EBADF) {
        lost = true;
        reason = errno;
    }
    if (!lost) return code;
    // A reader that takes the first lines and leaves is not told that the rest was lost.
    if (unread) return code == CLI_DONE ? CLI_UNREAD : code;
    cli_progress_hide();
    fprintf(stderr, "sgatlin: %s%sstandard output: %s\n", command != NULL ? command : "",
            command != NULL ? ": " : "", reason != 0 ? strerror(reason) : "write error");
    return code == CLI_DONE ? CLI_FAILED : code;
}
