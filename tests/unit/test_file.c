// The file seam and what is built on it, on the system's files and on files in memory.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "memory_fs.h"
#include "system_folder.h"

static void test_read_limits(void **state)
{
    char *data;
    size_t bytes;
    sg_error err;
    char *path = path_in(*state, "file");
    put(path, "12345");
    assert_int_equal(sg_file_read(path, 4, &data, &bytes, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "5 bytes, expected at most 4"));
    assert_int_equal(sg_file_read(path, 5, &data, &bytes, &err), SG_OK);
    sg_free(data);
    put(path, "");
    expect(path, "");
    assert_int_equal(sg_file_read(path_in(*state, "none"), 4, &data, &bytes, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_file_read(((fixture *)*state)->folder, 4, &data, &bytes, &err), SG_ERR_IO);
    assert_null(data);
    // A file used as a folder.
    assert_int_equal(sg_file_read(path_in(*state, "file/x"), 4, &data, &bytes, &err),
                     SG_ERR_NOT_FOUND);
}

static void test_map(void **state)
{
    sg_map map;
    char *path = path_in(*state, "file");
    put(path, "abc");
    assert_int_equal(sg_map_open(path, &map, NULL), SG_OK);
    assert_int_equal(map.bytes, 3);
    assert_memory_equal(map.data, "abc", 3);
    // A mapping outlives the name.
    assert_int_equal(sg_path_remove(path, NULL), SG_OK);
    assert_memory_equal(map.data, "abc", 3);
    sg_map_close(&map);
    sg_map_close(&map);
    put(path, "");
    assert_int_equal(sg_map_open(path, &map, NULL), SG_OK);
    assert_null(map.data);
    sg_map_close(&map);
    assert_int_equal(sg_map_open(((fixture *)*state)->folder, &map, NULL), SG_ERR_IO);
}

// Opening a pipe would wait for somebody to write, a device might do anything.
static void test_special(void **state)
{
    static const char *const devices[] = {"/dev/null", "/dev/zero"};
    char *path = path_in(*state, "pipe"), *data;
    size_t bytes;
    sg_map map;
    sg_error err;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(sg_file_read(path, 4, &data, &bytes, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "is a pipe or a device, expected a file"));
    assert_int_equal(sg_map_open(path, &map, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "is a pipe or a device, expected a file"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sg_file_read(devices[i], 4, &data, &bytes, &err), SG_ERR_IO);
        assert_int_equal(sg_map_open(devices[i], &map, &err), SG_ERR_IO);
    }
    // A link to a file is that file.
    put(path_in(*state, "file"), "x");
    char from[512];
    snprintf(from, sizeof from, "%s", path_in(*state, "file"));
    assert_int_equal(symlink(from, path_in(*state, "link")), 0);
    assert_int_equal(sg_file_read(path_in(*state, "link"), 4, &data, &bytes, &err), SG_OK);
    sg_free(data);
}

static void test_writer(void **state)
{
    char *path = path_in(*state, "file");
    sg_writer *writer;
    enum { big = 1000000 };
    char *block = malloc(big);
    for (int i = 0; i < big; i++)
        block[i] = (char)(i * 7);
    assert_int_equal(sg_writer_open(path, SG_FS_CREATE, &writer, NULL), SG_OK);
    sg_writer_printf(writer, "%d %s\n", 42, "x");
    sg_writer_put(writer, block, big);         // larger than the buffer
    sg_writer_printf(writer, "%0*d", 3000, 7); // larger than printf's own
    sg_writer_put(writer, NULL, 0);
    assert_int_equal(sg_writer_bytes(writer), 5 + big + 3000);
    uint64_t hash = sg_writer_hash(writer);
    assert_int_equal(sg_writer_flush(writer, NULL), SG_OK);
    int64_t bytes;
    assert_int_equal(sg_path_bytes(path, &bytes, NULL), SG_OK);
    assert_int_equal(bytes, 5 + big + 3000);
    assert_int_equal(sg_writer_close(writer, true, NULL), SG_OK);
    sg_map map;
    assert_int_equal(sg_map_open(path, &map, NULL), SG_OK);
    assert_true(sg_hash(map.data, map.bytes) == hash);
    assert_memory_equal(map.data + 5, block, big);
    sg_map_close(&map);
    uint64_t read_hash;
    assert_int_equal(sg_file_hash(path, &bytes, &read_hash, NULL), SG_OK);
    assert_true(read_hash == hash && bytes == 5 + big + 3000);
    free(block);

    assert_int_equal(sg_writer_open(path, SG_FS_CREATE, &writer, NULL), SG_OK);
    sg_writer_put(writer, "one", 3);
    assert_int_equal(sg_writer_close(writer, false, NULL), SG_OK);
    assert_int_equal(sg_writer_open(path, SG_FS_APPEND, &writer, NULL), SG_OK);
    sg_writer_put(writer, " two", 4);
    assert_int_equal(sg_writer_sync(writer, NULL), SG_OK);
    expect(path, "one two");
    sg_writer_put(writer, " never written", 14);
    sg_writer_abandon(writer);
    sg_writer_abandon(NULL);
    expect(path, "one two");
}

static void test_paths(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(sg_path_join(out, sizeof out, "a", "b", NULL), SG_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(sg_path_join(out, sizeof out, "/", "b", NULL), SG_OK);
    assert_string_equal(out, "/b");
    assert_int_equal(sg_path_join(out, sizeof out, "1234567", "1234567", NULL), SG_OK);
    assert_int_equal(sg_path_join(out, sizeof out, "1234567", "12345678", NULL), SG_ERR_ARGUMENT);
    sg_path_folder(out, sizeof out, "a/b");
    assert_string_equal(out, "a");
    sg_path_folder(out, sizeof out, "b");
    assert_string_equal(out, ".");
    sg_path_folder(out, sizeof out, "/b");
    assert_string_equal(out, "/");

    const char *plain[] = {"a", "model-00001-of-00002.safetensors", "a..b", "~"};
    const char *other[] = {"",   ".",    "..",  ".hidden", "a/b",
                           "/a", "a\\b", "a b", "a\nb",    "\xc3\xa4"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        assert_true(sg_name_is_plain(plain[i]));
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_false(sg_name_is_plain(other[i]));
    char longest[202];
    memset(longest, 'a', 201);
    longest[201] = '\0';
    assert_false(sg_name_is_plain(longest));
    assert_true(sg_name_is_plain(longest + 1));
}

static void test_long_paths(void **state)
{
    (void)state;
    char path[SG_PATH_MAX + 10];
    sg_writer *writer;
    sg_error err;
    for (size_t length = SG_PATH_MAX - 6; length < sizeof path; length++) {
        // Many short names: nothing here may recurse once per name.
        for (size_t i = 0; i < length; i++)
            path[i] = i % 2 ? '/' : 'a';
        path[length] = '\0';
        assert_int_not_equal(sg_writer_open(path, SG_FS_CREATE, &writer, &err), SG_OK);
        assert_int_not_equal(sg_file_write_atomic(path, "", 0, &err), SG_OK);
        if (length >= SG_PATH_MAX) {
            assert_int_equal(sg_folder_make(path, &err), SG_ERR_ARGUMENT);
            assert_int_equal(sg_writer_open(path, SG_FS_CREATE, &writer, &err), SG_ERR_ARGUMENT);
        }
    }
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    path[SG_PATH_MAX - 1] = '\0';
    assert_int_equal(sg_folder_make(path, &err), SG_OK);
    assert_true(sg_path_is_folder(path));
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

static void test_folders(void **state)
{
    sg_error err;
    char *deep = path_in(*state, "a/b//c/d/");
    assert_int_equal(sg_folder_make(deep, &err), SG_OK);
    assert_int_equal(sg_folder_make(deep, &err), SG_OK);
    assert_true(sg_path_is_folder(path_in(*state, "a/b/c/d")));
    put(path_in(*state, "a/file"), "x");
    assert_int_equal(sg_folder_make(path_in(*state, "a/file"), &err), SG_ERR_IO);
    assert_int_not_equal(sg_folder_make(path_in(*state, "a/file/sub"), &err), SG_OK);
    assert_false(sg_path_is_folder(path_in(*state, "a/file")));
    assert_true(sg_path_exists(path_in(*state, "a/file")));
    assert_false(sg_path_exists(path_in(*state, "a/none")));
    assert_int_equal(sg_folder_make("", &err), SG_ERR_NOT_FOUND);

    put(path_in(*state, "a/zebra"), "");
    put(path_in(*state, "a/ape"), "");
    char **names;
    size_t count;
    assert_int_equal(sg_folder_list(path_in(*state, "a"), &names, &count, &err), SG_OK);
    assert_int_equal(count, 4);
    const char *sorted[] = {"ape", "b", "file", "zebra"};
    for (size_t i = 0; i < count; i++)
        assert_string_equal(names[i], sorted[i]);
    sg_names_free(names, count);
    assert_int_equal(sg_folder_list(path_in(*state, "none"), &names, &count, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_path_remove(path_in(*state, "a"), &err), SG_ERR_IO); // not empty
    assert_int_equal(sg_tree_remove(path_in(*state, "a"), &err), SG_OK);
    assert_false(sg_path_exists(path_in(*state, "a")));
    assert_int_equal(sg_tree_remove(path_in(*state, "a"), &err), SG_OK);
}

static void test_tree_remove_stays_inside(void **state)
{
    sg_error err;
    assert_int_equal(sg_folder_make(path_in(*state, "outside"), &err), SG_OK);
    assert_int_equal(sg_folder_make(path_in(*state, "tree/sub"), &err), SG_OK);
    put(path_in(*state, "outside/precious"), "data");
    assert_int_equal(symlink("../outside", path_in(*state, "tree/to_folder")), 0);
    assert_int_equal(symlink("../../outside/precious", path_in(*state, "tree/sub/to_file")), 0);
    assert_int_equal(symlink("nowhere", path_in(*state, "tree/dangling")), 0);
    assert_int_equal(symlink(".", path_in(*state, "tree/loop")), 0);
    assert_int_equal(sg_tree_remove(path_in(*state, "tree"), &err), SG_OK);
    assert_false(sg_path_exists(path_in(*state, "tree")));
    expect(path_in(*state, "outside/precious"), "data");
    // The path itself is a link: the link goes, the folder stays.
    assert_int_equal(symlink("outside", path_in(*state, "link")), 0);
    assert_int_equal(sg_tree_remove(path_in(*state, "link"), &err), SG_OK);
    expect(path_in(*state, "outside/precious"), "data");
}

static void test_tree_remove_depth(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    char path[256] = "r";
    for (int i = 0; i < 30; i++)
        strcat(path, "/d");
    sg_error err;
    assert_int_equal(sg_folder_make(path, &err), SG_OK);
    assert_int_equal(sg_tree_remove("r", &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "too deep"));
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

static void test_unwritable(void **state)
{
    sg_error err;
    if (geteuid() == 0) {
        // Root may write anywhere: the refusal is played by the file system in memory.
        memory_fs *fs = memory_fs_new();
        sg_fs_set(memory_fs_table(fs));
        memory_fs_fail(fs, 0, EACCES, true);
        assert_int_equal(sg_file_write_atomic("file", "x", 1, &err), SG_ERR_IO);
        assert_non_null(strstr(err.message, "Permission denied"));
        sg_fs_set(NULL);
        memory_fs_free(fs);
        return;
    }
    assert_int_equal(sg_folder_make(path_in(*state, "closed"), &err), SG_OK);
    assert_int_equal(chmod(path_in(*state, "closed"), 0500), 0);
    assert_int_equal(sg_file_write_atomic(path_in(*state, "closed/file"), "x", 1, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "Permission denied"));
}

static void test_lock(void **state)
{
    const sg_fs *fs = sg_fs_system();
    char *path = path_in(*state, "lock");
    int a = fs->open(fs->user, path, SG_FS_APPEND), b = fs->open(fs->user, path, SG_FS_APPEND);
    assert_int_equal(fs->lock(fs->user, a), 0);
    assert_int_equal(fs->lock(fs->user, b), -EWOULDBLOCK);
    fs->close(fs->user, a);
    assert_int_equal(fs->lock(fs->user, b), 0);
    fs->close(fs->user, b);
}

// What is no regular file is refused at once, by whatever opens it.
static void test_pipes(void **state)
{
    char *pipe = path_in(*state, "pipe"), *data;
    size_t bytes;
    int64_t size;
    uint64_t hash;
    sg_map map;
    sg_error err;
    const sg_fs *fs = sg_fs_system();
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(sg_file_read(pipe, 100, &data, &bytes, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "is a pipe or a device, expected a file"));
    assert_int_equal(sg_map_open(pipe, &map, &err), SG_ERR_IO);
    assert_int_equal(sg_file_hash(pipe, &size, &hash, &err), SG_ERR_IO);
    for (int mode = SG_FS_READ; mode <= SG_FS_LOCK; mode++)
        assert_int_equal(fs->open(fs->user, pipe, mode),
                         mode == SG_FS_NEW || mode == SG_FS_PRIVATE ? -EEXIST : -EINVAL);
    const void *view;
    assert_int_equal(fs->map(fs->user, pipe, 1, &view), -EINVAL);
}

// A mapping never reaches behind the end of its file.
static void test_map_of_a_short_file(void **state)
{
    char *path = path_in(*state, "file");
    const void *view;
    put(path, "abc");
    assert_int_equal(sg_fs_system()->map(NULL, path, 4, &view), -EIO);
}

static void test_free_space(void **state)
{
    int64_t here, there;
    sg_error err;
    assert_int_equal(sg_file_free_space(((fixture *)*state)->folder, &here, &err), SG_OK);
    assert_true(here > 0);
    assert_int_equal(sg_file_free_space(path_in(*state, "not/yet/there"), &there, &err), SG_OK);
    assert_true(there > 0);
    assert_int_equal(sg_file_need_space(path_in(*state, "x"), INT64_MAX, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, " EB"));
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    memory_fs_limit(fs, 100);
    memory_fs_show_limit(fs, true);
    put("file", "12345");
    assert_int_equal(sg_file_free_space("none/file", &here, &err), SG_OK);
    assert_int_equal(here, 95);
    assert_int_equal(sg_file_need_space("file", 95, &err), SG_OK);
    assert_int_equal(sg_file_need_space("file", 96, &err), SG_ERR_IO);
    assert_string_equal(err.message, "file: found 95 B free on the disk, expected 96 B");
    memory_fs_fail(fs, memory_fs_operations(fs), EACCES, true);
    assert_int_equal(sg_file_need_space("file", 1, &err), SG_ERR_IO);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

// The same steps on both file systems must look the same: this is what makes memory_fs a fair
// stand-in.
static int link_to(const sg_fs *fs, const char *target, const char *path)
{
    if (fs == sg_fs_system()) return symlink(target, path);
    return memory_fs_link(fs->user, target, path) ? 0 : -1;
}

static void trace_steps(const sg_fs *fs, const char *root, char *trace, size_t capacity)
{
    sg_fs_set(fs);
    size_t used = 0;
    void *u = fs->user;
    char p[8][512];
    const char *names[8] = {"a", "b", "d", "d/x", "d/y", "e", "none/x", "a/x"};
    for (int i = 0; i < 8; i++)
        snprintf(p[i], sizeof p[i], "%s/%s", root, names[i]);
#define STEP(expression)                                                                           \
    used += (size_t)snprintf(trace + used, capacity - used, "%s: %lld\n", #expression,             \
                             (long long)(expression))
    char buffer[16] = {0};
    sg_fs_info info;
    STEP(fs->open(u, p[0], SG_FS_READ));
    STEP(fs->open(u, p[6], SG_FS_CREATE));
    int h = fs->open(u, p[0], SG_FS_CREATE);
    STEP(fs->write(u, h, "hello", 5));
    STEP(fs->read(u, h, buffer, 4));
    STEP(fs->close(u, h));
    h = fs->open(u, p[0], SG_FS_APPEND);
    STEP(fs->write(u, h, "!!", 2));
    STEP(fs->close(u, h));
    h = fs->open(u, p[0], SG_FS_UPDATE);
    STEP(fs->seek(u, h, 5));
    STEP(fs->read(u, h, buffer, 10));
    STEP(fs->truncate(u, h, 3));
    STEP(fs->truncate(u, h, 6));
    STEP(fs->seek(u, h, 0));
    STEP(fs->read(u, h, buffer, 10));
    STEP(buffer[2] == 'l' && buffer[3] == 0);
    STEP(fs->sync(u, h));
    STEP(fs->close(u, h));
    STEP(fs->open(u, p[7], SG_FS_CREATE));
    STEP(fs->make_folder(u, p[2]));
    STEP(fs->make_folder(u, p[2]));
    STEP(fs->open(u, p[2], SG_FS_CREATE));
    STEP(fs->rename(u, p[0], p[3]));
    STEP(fs->info(u, p[0], &info));
    STEP(fs->info(u, p[3], &info));
    STEP(info.bytes);
    STEP(fs->remove(u, p[2]));
    STEP(fs->rename(u, p[2], p[5]));
    STEP(fs->rename(u, p[6], p[5]));
    STEP(fs->make_folder(u, p[2]));
    STEP(fs->rename(u, p[2], p[5]));
    STEP(fs->rename(u, p[5], p[2]));
    STEP(fs->make_folder(u, p[5]));
    STEP(fs->rename(u, p[3], p[5]));
    STEP(fs->remove(u, p[5]));
    STEP(fs->rename(u, p[3], p[4]));
    STEP(fs->sync_folder(u, p[2]));
    STEP(fs->sync_folder(u, p[4]));
    STEP(fs->sync_folder(u, p[1]));
    STEP(fs->remove(u, p[1]));
    STEP(fs->remove(u, p[4]));
    STEP(fs->remove(u, p[2]));
    // New files, links, locks.
    STEP((h = fs->open(u, p[0], SG_FS_NEW)) >= 0);
    STEP(fs->write(u, h, "new", 3));
    STEP(fs->is_same(u, h, p[0]));
    STEP(fs->is_same(u, h, p[1]));
    STEP(fs->close(u, h));
    STEP(fs->open(u, p[0], SG_FS_NEW));
    STEP(fs->open(u, p[0], SG_FS_PRIVATE));
    STEP(fs->make_folder(u, p[2]));
    STEP(fs->read_link(u, p[0], buffer, sizeof buffer));
    STEP(fs->read_link(u, p[1], buffer, sizeof buffer));
    STEP(link_to(fs, "../a", p[3]));
    STEP(link_to(fs, "d", p[1]));
    STEP(link_to(fs, "nothing", p[5]));
    STEP(fs->read_link(u, p[3], buffer, sizeof buffer));
    STEP(memcmp(buffer, "../a", 4));
    STEP(fs->info(u, p[3], &info));
    STEP(info.is_link * 4 + info.is_folder * 2 + info.is_special);
    STEP(info.bytes);
    STEP(fs->link_info(u, p[1], &info));
    STEP(info.is_link * 4 + info.is_folder * 2 + info.is_special);
    STEP(fs->info(u, p[1], &info));
    STEP(info.is_link * 4 + info.is_folder * 2 + info.is_special);
    STEP(fs->info(u, p[5], &info));
    STEP(fs->open(u, p[3], SG_FS_CREATE));
    STEP(fs->open(u, p[3], SG_FS_LOCK));
    STEP(fs->open(u, p[3], SG_FS_NEW));
    STEP(fs->open(u, p[5], SG_FS_NEW));
    STEP(fs->open(u, p[5], SG_FS_READ));
    STEP((h = fs->open(u, p[3], SG_FS_READ)) >= 0);
    STEP(fs->read(u, h, buffer, 10));
    STEP(fs->is_same(u, h, p[3]));
    STEP(fs->is_same(u, h, p[0]));
    STEP(fs->close(u, h));
    STEP(fs->rename_new(u, p[0], p[3]));
    STEP(fs->rename_new(u, p[0], p[4]));
    STEP(fs->rename_new(u, p[4], p[0]));
    STEP(fs->rename(u, p[0], p[3]));
    STEP(fs->link_info(u, p[3], &info));
    STEP(info.is_link);
    STEP((h = fs->open(u, p[0], SG_FS_LOCK)) >= 0);
    STEP(fs->write(u, h, "123", 3));
    STEP(fs->seek(u, h, 1));
    STEP(fs->read(u, h, buffer, 10));
    STEP(fs->remove(u, p[0]));
    STEP(fs->is_same(u, h, p[0]));
    STEP(fs->close(u, h));
    STEP(fs->remove(u, p[3]));
    STEP(fs->remove(u, p[1]));
    STEP(fs->remove(u, p[5]));
    STEP(fs->remove(u, p[2]));
#undef STEP
    sg_fs_set(NULL);
}

static void test_memory_fs_is_faithful(void **state)
{
    char system_trace[8192], memory_trace[8192];
    memory_fs *fs = memory_fs_new();
    trace_steps(sg_fs_system(), ((fixture *)*state)->folder, system_trace, sizeof system_trace);
    const sg_fs *table = memory_fs_table(fs);
    assert_int_equal(table->make_folder(table->user, "/root"), 0);
    trace_steps(table, "/root", memory_trace, sizeof memory_trace);
    assert_string_equal(system_trace, memory_trace);
    assert_int_equal(memory_fs_open_handles(fs), 0);
    memory_fs_free(fs);
}

static void test_memory_fs_forgets(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new();
    const sg_fs *t = memory_fs_table(fs);
    int a = t->open(t->user, "synced", SG_FS_CREATE),
        b = t->open(t->user, "unsynced", SG_FS_CREATE);
    t->sync_folder(t->user, "/");
    t->write(t->user, a, "abcd", 4);
    t->write(t->user, b, "abcd", 4);
    t->sync(t->user, a);
    t->write(t->user, a, "efgh", 4);
    t->rename(t->user, "unsynced", "renamed");
    memory_fs_cut_power(fs, memory_fs_operations(fs));
    assert_int_equal(t->write(t->user, a, "x", 1), -EIO);
    size_t n;
    memory_fs *after = memory_fs_reboot(fs, MEMORY_CRASH_DURABLE, 0);
    assert_memory_equal(memory_fs_bytes(after, "synced", &n), "abcd", 4);
    assert_int_equal(n, 4);
    assert_non_null(memory_fs_bytes(after, "unsynced", &n));
    assert_int_equal(n, 0);
    assert_null(memory_fs_bytes(after, "renamed", &n));
    memory_fs_free(after);
    after = memory_fs_reboot(fs, MEMORY_CRASH_ISSUED, 0);
    assert_memory_equal(memory_fs_bytes(after, "synced", &n), "abcdefgh", 8);
    assert_memory_equal(memory_fs_bytes(after, "renamed", &n), "abcd", 4);
    assert_null(memory_fs_bytes(after, "unsynced", &n));
    memory_fs_free(after);
    int renamed = 0, torn = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        after = memory_fs_reboot(fs, MEMORY_CRASH_MIXED, seed);
        unsigned char *bytes = memory_fs_bytes(after, "synced", &n);
        assert_true(n >= 4 && n <= 8);
        assert_memory_equal(bytes, "abcd", 4);
        torn += n > 4 && n < 8;
        renamed += memory_fs_bytes(after, "renamed", &n) != NULL;
        memory_fs_free(after);
    }
    assert_in_range(renamed, 25, 75);
    assert_in_range(torn, 10, 90);
    memory_fs_free(fs);
}

// The names in the folder of the running program, joined by blanks.
static const char *names_here(void)
{
    static char text[512];
    char **names;
    size_t count;
    sg_error err;
    text[0] = '\0';
    if (sg_folder_list("/", &names, &count, &err) != SG_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < count; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", names[i]);
    sg_names_free(names, count);
    return text;
}

// Every operation of the atomic write failing in turn: an error, nothing open, the old bytes or,
// when only the last sync failed, the new ones. What says who has the lock may fail in silence.
static void test_write_atomic_failures(void **state)
{
    (void)state;
    memory_fs *base = memory_fs_new();
    sg_fs_set(memory_fs_table(base));
    put("file", "old");
    int failures = 0, late = 0;
    for (int64_t n = 0;; n++) {
        memory_fs *fs = memory_fs_clone(base);
        sg_fs_set(memory_fs_table(fs));
        memory_fs_fail(fs, n, EIO, false);
        sg_error err = {0};
        sg_status status = sg_file_write_atomic("file", "newer", 5, &err);
        int64_t operations = memory_fs_operations(fs);
        assert_int_equal(memory_fs_open_handles(fs), 0);
        size_t bytes;
        bool is_new = memcmp(memory_fs_bytes(fs, "file", &bytes), "new", 3) == 0;
        memory_fs_fail(fs, -1, 0, false);
        assert_null(strstr(names_here(), ".tmp"));
        if (status == SG_OK) {
            assert_true(is_new);
            if (n >= operations) assert_string_equal(names_here(), "file");
        } else {
            assert_int_equal(status, SG_ERR_IO);
            assert_true(err.message[0] != '\0');
            failures++;
            late += is_new;
        }
        memory_fs_free(fs);
        if (n >= operations) break;
    }
    assert_in_range(failures, 10, 30);
    assert_int_equal(late, 1);
    sg_fs_set(NULL);
    memory_fs_free(base);
}

static void test_full_disk(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    put("file", "old");
    sg_error err;
    for (int64_t room = 0; room < 5; room++) {
        memory_fs_limit(fs, 3 + room);
        assert_int_equal(sg_file_write_atomic("file", "newer", 5, &err), SG_ERR_IO);
        assert_non_null(strstr(err.message, "No space left"));
        expect("file", "old");
        assert_int_equal(memory_fs_used(fs), 3);
    }
    memory_fs_limit(fs, 8 + 160); // and who has the lock
    assert_int_equal(sg_file_write_atomic("file", "newer", 5, &err), SG_OK);
    assert_int_equal(memory_fs_used(fs), 5);
    memory_fs_limit(fs, 8);
    expect("file", "newer");
    // A writer keeps its first failure.
    sg_writer *writer;
    assert_int_equal(sg_writer_open("log", SG_FS_CREATE, &writer, &err), SG_OK);
    sg_writer_put(writer, "123456", 6);
    assert_int_equal(sg_writer_flush(writer, &err), SG_ERR_IO);
    memory_fs_limit(fs, -1);
    sg_writer_put(writer, "789", 3);
    assert_int_equal(sg_writer_sync(writer, &err), SG_ERR_IO);
    assert_int_equal(sg_writer_close(writer, true, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "log"));
    assert_int_equal(memory_fs_open_handles(fs), 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

static sg_status all_steps(void *user, sg_error *err)
{
    (void)user;
    char *data = NULL, **names = NULL;
    size_t bytes, count = 0;
    int64_t size;
    uint64_t hash;
    char text[2000];
    memset(text, 'x', sizeof text);
    sg_writer *writer;
    SG_TRY(sg_folder_make("a/b", err));
    SG_TRY(sg_file_write_atomic("a/b/file", text, sizeof text, err));
    SG_TRY(sg_file_hash("a/b/file", &size, &hash, err));
    SG_TRY(sg_file_read("a/b/file", 10000, &data, &bytes, err));
    sg_free(data);
    SG_TRY(sg_writer_open("a/log", SG_FS_APPEND, &writer, err));
    sg_writer_printf(writer, "%.*s", (int)sizeof text, text);
    SG_TRY(sg_writer_close(writer, false, err));
    SG_TRY(sg_folder_list("a", &names, &count, err));
    sg_names_free(names, count);
    return sg_tree_remove("a", err);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    assert_in_range(alloc_failure_loop(all_steps, NULL), 10, 1000);
    assert_int_equal(memory_fs_open_handles(fs), 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_read_limits),
        FILE_TEST(test_map),
        FILE_TEST(test_special),
        FILE_TEST(test_writer),
        FILE_TEST(test_paths),
        FILE_TEST(test_long_paths),
        FILE_TEST(test_folders),
        FILE_TEST(test_tree_remove_stays_inside),
        FILE_TEST(test_tree_remove_depth),
        FILE_TEST(test_unwritable),
        FILE_TEST(test_lock),
        FILE_TEST(test_pipes),
        FILE_TEST(test_map_of_a_short_file),
        FILE_TEST(test_free_space),
        FILE_TEST(test_memory_fs_is_faithful),
        FILE_TEST(test_memory_fs_forgets),
        FILE_TEST(test_write_atomic_failures),
        FILE_TEST(test_full_disk),
        FILE_TEST(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
