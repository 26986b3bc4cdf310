// For tests of training runs: packed stories on a disk in memory, models so small that a run takes
// milliseconds, and what is compared of two runs that must end the same.
#ifndef SG_TESTS_TINY_RUN_H
#define SG_TESTS_TINY_RUN_H

#include "memory_fs.h"
#include "sgatlin.h"
#include "sgatlin_train.h"

enum { TINY_LENGTH = 16, TINY_STEPS = 12 };

// A new disk with TINY_CONCAT and TINY_PAD, now the library's; fails the test when it cannot be
// made. tiny_use makes one of several disks the library's; NULL: the system's files.
#define TINY_CONCAT "/concat"
#define TINY_PAD    "/pad"
memory_fs *tiny_disk(void);
void tiny_use(memory_fs *fs);
// Asserts that nothing is left open, then frees it.
void tiny_disk_free(memory_fs *fs);
// The same data as on tiny_disk(), at FOLDER/concat and FOLDER/pad of whatever files are in use.
void tiny_pack(const char *folder);

// A run of TINY_STEPS steps with checkpoints, evaluations and samples.
// kind: a family, or a variant of one (tiny_models.h).
sg_train_options tiny_options(const char *kind);

// One life of a run, and how it went.
typedef struct tiny_life {
    int threads;             // 0: 1
    int64_t stop_at;         // the hook stops after this step; 0: never
    const char *data;        // NULL: TINY_CONCAT, or when resumed what the run has
    const sg_points *points; // that are looked at, or NULL
    sg_status status;
    sg_error err;
    sg_train_result result;
    int64_t resumed_from, last_step, steps;
    int events[5]; // by sg_train_event_kind
    int warnings;
    char log[4096]; // all messages, one a line
} tiny_life;

// options NULL: resumes. Asserts that nothing leaks.
sg_status tiny_train(tiny_life *life, const char *run, const sg_train_options *options);
// As tiny_train, and asserts that it went well.
void tiny_must(tiny_life *life, const char *run, const sg_train_options *options);

// What a run left at its end.
typedef struct tiny_end {
    char *weights;
    size_t bytes;
    char *metrics; // without the rates of the machine
    char *summary; // without the seconds
} tiny_end;

tiny_end tiny_end_of(const char *run);
void tiny_end_free(tiny_end *end);
// Fails, naming `where`, unless every bit is the same.
void tiny_same(const tiny_end *found, const tiny_end *expected, const char *where);
// The names in a folder joined by blanks.
void tiny_names(const char *folder, char *out, size_t capacity);

#endif
