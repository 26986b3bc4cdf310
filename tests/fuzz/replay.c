// Runs a fuzz target without libFuzzer: every file of a corpus folder as it is, then cut short,
// with bits flipped and with whole words set to extremes. The mutations are the same in every run,
// so a failure can be repeated; with the sanitizers on, each input sits in a block of its exact
// size and one byte read too far is seen.
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CUTS = 48, FLIPS = 160, WORDS = 64, MAX_BYTES = 1 << 20 };

static uint64_t replay_random(uint64_t *state)
{
    // splitmix64 (Steele, Lea, Flood 2014): the mutations need spread, not quality.
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void *replay_memory(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        fprintf(stderr, "replay: out of memory\n");
        exit(2);
    }
    return memory;
}

static void replay_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = replay_memory(size);
    if (size > 0) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static int replay_file(const uint8_t *data, size_t size, uint64_t seed)
{
    int runs = 1;
    replay_one(data, size);
    // Every cut of a small file; of a larger one the beginning, where headers are, and a spread.
    size_t cuts = size < 4 * CUTS ? size : CUTS;
    for (size_t i = 0; i < cuts; i++, runs++) {
        size_t at = cuts == size || i < CUTS / 2 ? i : (size_t)(replay_random(&seed) % size);
        replay_one(data, at);
    }
    if (size == 0) return runs;
    uint8_t *copy = replay_memory(size + 8);
    for (int i = 0; i < FLIPS; i++, runs++) {
        memcpy(copy, data, size);
        // Half of the flips in the first 64 bytes, for the same reason.
        size_t range = i % 2 == 0 && size > 64 ? 64 : size;
        for (int flips = 1 + i % 3; flips > 0; flips--)
            copy[replay_random(&seed) % range] ^= (uint8_t)(1u << (replay_random(&seed) % 8));
        replay_one(copy, size);
    }
    static const uint64_t extremes[] = {0, UINT64_MAX, INT64_MAX, 0xffffffffu, 0x80000000u, 0x7fu};
    for (int i = 0; i < WORDS; i++, runs++) {
        memcpy(copy, data, size);
        size_t range = i % 2 == 0 && size > 64 ? 64 : size, at = replay_random(&seed) % range;
        size_t width = (size_t)1 << (i % 4);
        if (width > size - at) width = size - at;
        memcpy(copy + at, &extremes[i % 6], width);
        replay_one(copy, size);
    }
    memcpy(copy, data, size);
    memset(copy + size, 'x', 8);
    replay_one(copy, size + 8);
    free(copy);
    return runs + 1;
}

static int replay_path(const char *path, uint64_t seed)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    uint8_t *data = replay_memory(MAX_BYTES);
    size_t size = fread(data, 1, MAX_BYTES, file);
    if (ferror(file) || (size == MAX_BYTES && fgetc(file) != EOF)) {
        fprintf(stderr, "%s: cannot be read, or a seed of more than 1 MiB\n", path);
        exit(2);
    }
    fclose(file);
    int runs = replay_file(data, size, seed);
    free(data);
    return runs;
}

static int replay_folder(const char *folder)
{
    struct dirent **names = NULL;
    int count = scandir(folder, &names, NULL, alphasort);
    if (count < 0) {
        perror(folder);
        exit(2);
    }
    int files = 0, runs = 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        struct stat info;
        if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
            runs += replay_path(path, (uint64_t)++files);
        }
        free(names[i]);
    }
    free(names);
    if (files == 0) {
        fprintf(stderr, "%s: found no seeds, expected at least one file\n", folder);
        exit(2);
    }
    printf("%s: %d seeds, %d inputs\n", folder, files, runs);
    return runs;
}

// A file as argument is run with its mutations: to look at what libFuzzer found.
int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER | FILE...\n", argv[0]);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode))
            replay_folder(argv[i]);
        else
            replay_path(argv[i], (uint64_t)i);
    }
    return 0;
}
