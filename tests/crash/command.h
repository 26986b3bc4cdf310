// The command itself as a child: started in a folder of the test's, what it said, how it ended.
#ifndef SG_TESTS_CRASH_COMMAND_H
#define SG_TESTS_CRASH_COMMAND_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64], output[96]; // where it runs; what it said last

// arguments: ended by NULL, the first is its name. files: the most bytes of a file; 0: no limit.
static pid_t start(const char *const *arguments, rlim_t files)
{
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    // Appended: of two that run at once neither writes over what the other said.
    const int out = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    const struct rlimit limit = {files, files};
    if (chdir(folder) != 0 || out < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0 || (files > 0 && setrlimit(RLIMIT_FSIZE, &limit) != 0))
        _exit(99);
    execv(SG_COMMAND, (char *const *)(uintptr_t)arguments);
    _exit(98);
}

static const char *said(void)
{
    static char text[16384];
    FILE *file = fopen(output, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

// Waits for the end. The exit code, or minus the signal that ended it.
static int wait_for(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void ends_with(pid_t child, int code)
{
    const int found = wait_for(child);
    if (found != code) fail_msg("ended with %d, expected %d: %s", found, code, said());
}

#endif
