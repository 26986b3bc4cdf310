// What this library was made with and stands on: half of a bug report.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <metis.h>
#include <pcre2.h>
#include <sqlite3.h>
#include <stdio.h>
#include <utf8proc.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

#include "sgatlin.h"

enum { libraries_count = 8 };

const char *sg_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

size_t sg_libraries(sg_library *list, size_t room)
{
    sg_library all[libraries_count] = {
        {.name = "jansson"},  {.name = "metis"},  {.name = "pcre2"}, {.name = "sqlite"},
        {.name = "utf8proc"}, {.name = "xxhash"}, {.name = "zlib"},  {.name = "zstd"}};
    const unsigned hash = XXH_versionNumber();
    char pcre[64] = ""; // "10.42 2022-12-11", by its manual at most 24 bytes
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    snprintf(all[0].version, sizeof all[0].version, "%s", jansson_version_str());
    snprintf(all[1].version, sizeof all[1].version, "%d.%d.%d", METIS_VER_MAJOR, METIS_VER_MINOR,
             METIS_VER_SUBMINOR);
    snprintf(all[2].version, sizeof all[2].version, "%.31s", pcre);
    snprintf(all[3].version, sizeof all[3].version, "%s", sqlite3_libversion());
    snprintf(all[4].version, sizeof all[4].version, "%s", utf8proc_version());
    snprintf(all[5].version, sizeof all[5].version, "%u.%u.%u", hash / 10000, hash / 100 % 100,
             hash % 100);
    snprintf(all[6].version, sizeof all[6].version, "%s", zlibVersion());
    snprintf(all[7].version, sizeof all[7].version, "%s", ZSTD_versionString());
    for (size_t i = 0; i < libraries_count && i < room; i++)
        list[i] = all[i];
    return libraries_count;
}
