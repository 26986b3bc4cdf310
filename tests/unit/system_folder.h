// For tests on the system's own files: a fresh folder for each, which goes with all in it.
#ifndef SG_TESTS_SYSTEM_FOLDER_H
#define SG_TESTS_SYSTEM_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"

typedef struct fixture {
    char folder[256]; // a fresh folder of the system
    int64_t live;
} fixture;

static inline int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    snprintf(f->folder, sizeof f->folder, "%s/sg_test_XXXXXX", base ? base : "/tmp");
    if (mkdtemp(f->folder) == NULL) return -1;
    f->live = sg_alloc_live();
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture *f = *state;
    sg_fs_set(NULL);
    bool leak = sg_alloc_live() != f->live;
    sg_status status = sg_tree_remove(f->folder, NULL);
    free(f);
    return leak || status != SG_OK;
}

static inline char *path_in(const fixture *f, const char *name)
{
    static char paths[4][SG_PATH_MAX];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, SG_PATH_MAX, "%s/%s", f->folder, name);
    return path;
}

static inline void put(const char *path, const char *text)
{
    sg_error err = {0};
    if (sg_file_write_atomic(path, text, strlen(text), &err) != SG_OK) fail_msg("%s", err.message);
}

static inline void expect(const char *path, const char *text)
{
    char *data;
    size_t bytes;
    sg_error err = {0};
    if (sg_file_read(path, 1 << 20, &data, &bytes, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(data, text);
    sg_free(data);
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
