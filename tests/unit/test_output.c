// Outputs on the system's files: what they replace, and what stays as it was.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "system_folder.h"

static void expect_mode(const char *path, mode_t mode)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
}

static void expect_link(const char *path, const char *target)
{
    char text[SG_PATH_MAX] = "";
    assert_int_equal(readlink(path, text, sizeof text - 1), (ssize_t)strlen(target));
    assert_string_equal(text, target);
}

// Links stay, and what they lead to gets the bytes, whether it is there or not.
static void test_output_through_links(void **state)
{
    sg_error err;
    assert_int_equal(sg_folder_make(path_in(*state, "far/away"), &err), SG_OK);
    put(path_in(*state, "far/file"), "old");
    assert_int_equal(symlink("../file", path_in(*state, "far/away/second")), 0);
    assert_int_equal(symlink("far/away/second", path_in(*state, "first")), 0);
    assert_int_equal(symlink("far/new", path_in(*state, "dangling")), 0);
    assert_int_equal(symlink("loop", path_in(*state, "loop")), 0);
    put(path_in(*state, "first"), "new");
    expect_link(path_in(*state, "first"), "far/away/second");
    expect_link(path_in(*state, "far/away/second"), "../file");
    expect(path_in(*state, "far/file"), "new");
    put(path_in(*state, "dangling"), "made");
    expect_link(path_in(*state, "dangling"), "far/new");
    expect(path_in(*state, "far/new"), "made");
    assert_int_equal(sg_file_write_atomic(path_in(*state, "loop"), "x", 1, &err), SG_ERR_IO);
    expect_link(path_in(*state, "loop"), "loop");
}

static void test_output_keeps_modes(void **state)
{
    char *path = path_in(*state, "file");
    const mode_t old = umask(022);
    put(path, "old");
    expect_mode(path, 0644);
    for (mode_t mode = 0600; mode <= 0666; mode += 022) {
        assert_int_equal(chmod(path, mode), 0);
        put(path, "new");
        expect_mode(path, mode);
    }
    if (geteuid() == 0) { // who may give files away keeps their owner
        struct stat st;
        assert_int_equal(chown(path, 1234, 4321), 0);
        put(path, "new");
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_uid, 1234);
        assert_int_equal(st.st_gid, 4321);
    }
    umask(old);
}

// Names beside the output that somebody took before: nothing of theirs is touched.
static void test_output_beside_others(void **state)
{
    sg_error err;
    put(path_in(*state, "precious"), "data");
    assert_int_equal(symlink("precious", path_in(*state, "file.tmp")), 0);
    put(path_in(*state, ".file.tmp"), "mine");
    put(path_in(*state, ".file.0123456789abcdeg.tmp"), "mine too");
    put(path_in(*state, "file"), "bytes");
    expect_link(path_in(*state, "file.tmp"), "precious");
    expect(path_in(*state, "precious"), "data");
    expect(path_in(*state, ".file.tmp"), "mine");
    expect(path_in(*state, ".file.0123456789abcdeg.tmp"), "mine too");
    // A lock that is no file of ours: it is used, and stays as it is; never through a link.
    put(path_in(*state, ".file.lock"), "of another program");
    put(path_in(*state, "file"), "more");
    expect(path_in(*state, ".file.lock"), "of another program");
    assert_int_equal(sg_path_remove(path_in(*state, ".file.lock"), &err), SG_OK);
    assert_int_equal(symlink("precious", path_in(*state, ".file.lock")), 0);
    assert_int_equal(sg_file_write_atomic(path_in(*state, "file"), "x", 1, &err), SG_ERR_IO);
    expect(path_in(*state, "precious"), "data");
    expect(path_in(*state, "file"), "more");
}

// What a writer that was killed leaves is gone with the next; a link of such a name alone.
static void test_output_cleans_up(void **state)
{
    put(path_in(*state, ".file.0123456789abcdef.tmp"), "half");
    put(path_in(*state, ".other.0123456789abcdef.tmp"), "half");
    put(path_in(*state, "precious"), "data");
    assert_int_equal(symlink("precious", path_in(*state, ".file.fedcba9876543210.tmp")), 0);
    put(path_in(*state, "file"), "whole");
    assert_false(sg_path_exists(path_in(*state, ".file.0123456789abcdef.tmp")));
    assert_false(sg_path_exists(path_in(*state, ".file.fedcba9876543210.tmp")));
    expect(path_in(*state, ".other.0123456789abcdef.tmp"), "half");
    expect(path_in(*state, "precious"), "data");
    assert_false(sg_path_exists(path_in(*state, ".file.lock")));
}

static void test_output_into_pipes(void **state)
{
    char *path = path_in(*state, "pipe"), got[32] = "";
    sg_error err;
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    put(path, "through the pipe");
    assert_int_equal(read(reader, got, sizeof got), 16);
    assert_string_equal(got, "through the pipe");
    close(reader);
    assert_int_equal(sg_file_write_atomic(path, "x", 1, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "nobody reads"));
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    // A device, and one through a link.
    assert_int_equal(symlink("/dev/full", path_in(*state, "full")), 0);
    assert_int_equal(sg_file_write_atomic(path_in(*state, "full"), "x", 1, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "No space left"));
    expect_link(path_in(*state, "full"), "/dev/full");
    assert_int_equal(sg_file_write_atomic("/dev/null", "x", 1, &err), SG_OK);
    assert_int_equal(sg_file_write_atomic(((fixture *)*state)->folder, "x", 1, &err),
                     SG_ERR_ARGUMENT);
}

// /dev/fd/N goes on where the descriptor stands, and replaces nothing.
static void test_output_into_descriptors(void **state)
{
    char *path = path_in(*state, "file"), name[64];
    put(path, "");
    int handle = open(path, O_WRONLY);
    assert_int_equal(write(handle, "before ", 7), 7);
    snprintf(name, sizeof name, "/dev/fd/%d", handle);
    put(name, "within ");
    assert_int_equal(symlink(name, path_in(*state, "link")), 0);
    put(path_in(*state, "link"), "again ");
    expect_link(path_in(*state, "link"), name);
    assert_int_equal(write(handle, "behind", 6), 6);
    close(handle);
    expect(path, "before within again behind");
}

static void test_output_new(void **state)
{
    char *path = path_in(*state, "file");
    sg_writer *writer;
    sg_error err;
    assert_int_equal(sg_output_check(path, SG_OUTPUT_NEW, &err), SG_OK);
    assert_int_equal(sg_writer_open_output(path, SG_OUTPUT_NEW, &writer, &err), SG_OK);
    sg_writer_put(writer, "ours", 4);
    // Somebody who knows nothing of locks.
    FILE *file = fopen(path, "w");
    fputs("theirs", file);
    fclose(file);
    assert_int_equal(sg_writer_replace(writer, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "is there already"));
    expect(path, "theirs");
    assert_int_equal(sg_output_check(path, SG_OUTPUT_NEW, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_writer_open_output(path, SG_OUTPUT_NEW, &writer, &err), SG_ERR_ARGUMENT);
    assert_null(writer);
    sg_writer_withdraw(NULL);
    assert_int_equal(sg_path_remove(path, &err), SG_OK);
    assert_int_equal(sg_writer_open_output(path, SG_OUTPUT_NEW, &writer, &err), SG_OK);
    sg_writer_withdraw(writer);
    assert_int_equal(rmdir(((fixture *)*state)->folder), 0); // nothing is left
    assert_int_equal(sg_folder_make(((fixture *)*state)->folder, &err), SG_OK);
}

// Two writers to one file, by whatever names: the second is told who has it.
static void test_output_lock(void **state)
{
    char *path = path_in(*state, "file"), *link = path_in(*state, "link"), process[64];
    sg_writer *first, *second;
    sg_error err;
    snprintf(process, sizeof process, "process %ld on ", (long)getpid());
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &first, &err), SG_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sg_writer_open_output(i ? link : path, SG_OUTPUT_REPLACE, &second, &err),
                         SG_ERR_IO);
        assert_non_null(strstr(err.message, process));
    }
    sg_writer_put(first, "first", 5);
    assert_int_equal(sg_writer_replace(first, &err), SG_OK);
    put(link, "second");
    expect(path, "second");
    expect_link(link, "file");
}

// A lock ends with the process that has it, and what it left under its name is used again.
static void test_lock_of_the_dead(void **state)
{
    char *path = path_in(*state, "lock"), byte;
    int ends[2], status;
    sg_file_lock *lock;
    sg_error err;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (sg_file_lock_take(path, "output", &lock, &err) != SG_OK) _exit(1);
        if (write(ends[1], "x", 1) != 1) _exit(2);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &byte, 1), 1);
    assert_int_equal(sg_file_lock_take(path, "output", &lock, &err), SG_ERR_IO);
    char who[100];
    snprintf(who, sizeof who, "output: another process is working on this: sgatlin, process %ld ",
             (long)child);
    assert_non_null(strstr(err.message, who));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(sg_path_exists(path));
    assert_int_equal(sg_file_lock_take(path, "output", &lock, &err), SG_OK);
    sg_file_lock_release(lock, true);
    assert_false(sg_path_exists(path));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_output_through_links), FILE_TEST(test_output_keeps_modes),
        FILE_TEST(test_output_beside_others), FILE_TEST(test_output_cleans_up),
        FILE_TEST(test_output_into_pipes),    FILE_TEST(test_output_into_descriptors),
        FILE_TEST(test_output_new),           FILE_TEST(test_output_lock),
        FILE_TEST(test_lock_of_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
