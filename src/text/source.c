// Reading and undoing compression. What a file is, its first bytes say, not its name; a stream that
// ends within a frame is an error, not an end.
#include "text/source.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <zlib.h>
// For decompression contexts that allocate through base/alloc.
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include "base/alloc.h"
#include "base/file.h"

enum { source_buffer = 1 << 17, source_zstd_window_log = 27 };

typedef enum source_coding { SOURCE_PLAIN, SOURCE_GZIP, SOURCE_ZSTD } source_coding;

struct sg_source {
    const sg_fs *fs;
    int handle;       // -1 when there is none to read from
    bool owns_handle; // false for the standard input
    char *name;
    unsigned char *buffer; // NULL when reading memory
    const unsigned char *in;
    size_t in_bytes; // bytes at `in` not yet used
    int64_t fetched; // bytes taken from the file, with those at `in`
    bool raw_end;
    source_coding coding;
    z_stream gzip;
    bool gzip_open;
    ZSTD_DCtx *zstd;
    bool unit_done;    // between two gzip members or zstd frames
    bool zstd_pending; // the last output was full: more may wait inside
};

bool sg_name_ends(const char *name, size_t bytes, const char *ending)
{
    size_t n = strlen(ending);
    if (bytes < n) return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[bytes - n + i];
        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != ending[i]) return false;
    }
    return true;
}

// Makes sure of at least one byte at `in`, or raw_end.
static sg_status source_fetch(sg_source *source, sg_error *err)
{
    if (source->in_bytes > 0 || source->raw_end) return SG_OK;
    if (source->buffer == NULL) {
        source->raw_end = true;
        return SG_OK;
    }
    int64_t got = source->fs->read(source->fs->user, source->handle, source->buffer, source_buffer);
    if (got < 0) {
        char text[128];
        return sg_fail(err, SG_ERR_IO, "%s: cannot read: %s", source->name,
                       strerror_r((int)-got, text, sizeof text));
    }
    source->in = source->buffer;
    source->in_bytes = (size_t)got;
    source->fetched += got;
    source->raw_end = got == 0;
    return SG_OK;
}

// The first bytes decide how the file is stored; a pipe may hand them out one by one.
static sg_status source_fetch_start(sg_source *source, sg_error *err)
{
    if (source->buffer == NULL) return SG_OK;
    size_t have = 0;
    while (have < 4) {
        int64_t got = source->fs->read(source->fs->user, source->handle, source->buffer + have,
                                       source_buffer - have);
        if (got < 0) {
            char text[128];
            return sg_fail(err, SG_ERR_IO, "%s: cannot read: %s", source->name,
                           strerror_r((int)-got, text, sizeof text));
        }
        if (got == 0) break;
        have += (size_t)got;
    }
    source->in = source->buffer;
    source->in_bytes = have;
    source->fetched = (int64_t)have;
    source->raw_end = have == 0;
    return SG_OK;
}

static voidpf source_zalloc(voidpf user, uInt items, uInt size)
{
    (void)user;
    return sg_alloc_array(items, size);
}

static void source_zfree(voidpf user, voidpf pointer)
{
    (void)user;
    sg_free(pointer);
}

static void *source_zstd_alloc(void *user, size_t bytes)
{
    (void)user;
    return sg_alloc(bytes);
}

static void source_zstd_free(void *user, void *pointer)
{
    (void)user;
    sg_free(pointer);
}

static sg_status source_start(sg_source *source, sg_error *err)
{
    SG_TRY(source_fetch_start(source, err));
    const unsigned char *in = source->in;
    size_t n = source->in_bytes;
    bool gzip = n >= 2 && in[0] == 0x1f && in[1] == 0x8b;
    bool named_zstd = sg_name_ends(source->name, strlen(source->name), ".zst");
    // A zstd stream may also open with a skippable frame (0x184D2A50 to 5F), which text could
    // imitate; it counts only under a .zst name.
    bool zstd =
        n >= 4 &&
        ((in[0] == 0x28 && in[1] == 0xb5 && in[2] == 0x2f && in[3] == 0xfd) ||
         (named_zstd && (in[0] & 0xf0) == 0x50 && in[1] == 0x2a && in[2] == 0x4d && in[3] == 0x18));
    if (sg_name_ends(source->name, strlen(source->name), ".gz") && !gzip)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found no gzip header, expected one after its name",
                       source->name);
    if (named_zstd && !zstd)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found no zstd header, expected one after its name",
                       source->name);
    if (gzip) {
        source->coding = SOURCE_GZIP;
        source->gzip.zalloc = source_zalloc;
        source->gzip.zfree = source_zfree;
        int result = inflateInit2(&source->gzip, 15 + 16); // 16: a gzip wrapper is required
        if (result != Z_OK)
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to decompress", source->name);
        source->gzip_open = true;
    } else if (zstd) {
        source->coding = SOURCE_ZSTD;
        ZSTD_customMem memory = {source_zstd_alloc, source_zstd_free, NULL};
        source->zstd = ZSTD_createDCtx_advanced(memory);
        if (source->zstd == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to decompress", source->name);
        ZSTD_DCtx_setParameter(source->zstd, ZSTD_d_windowLogMax, source_zstd_window_log);
    }
    return SG_OK;
}

static sg_status source_new(const char *name, size_t buffer, sg_source **out, sg_error *err)
{
    *out = NULL;
    sg_source *source = sg_alloc_zero(1, sizeof *source);
    if (source == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to read it", name);
    source->handle = -1;
    source->name = sg_strdup(name);
    if (buffer > 0) source->buffer = sg_alloc(buffer);
    if (source->name == NULL || (buffer > 0 && source->buffer == NULL)) {
        sg_source_close(source);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to read it", name);
    }
    *out = source;
    return SG_OK;
}

static sg_status source_finish_open(sg_source *source, sg_source **out, sg_error *err)
{
    sg_status status = source_start(source, err);
    if (status != SG_OK) {
        sg_source_close(source);
        return status;
    }
    *out = source;
    return SG_OK;
}

sg_status sg_source_open(const char *path, sg_source **out, sg_error *err)
{
    *out = NULL;
    bool standard_input = strcmp(path, "-") == 0;
    sg_source *source;
    SG_TRY(source_new(standard_input ? "standard input" : path, source_buffer, &source, err));
    source->fs = sg_fs_get();
    source->owns_handle = !standard_input;
    source->handle = standard_input ? 0 : source->fs->open(source->fs->user, path, SG_FS_STREAM);
    if (source->handle < 0) {
        int code = -source->handle;
        char text[128];
        sg_source_close(source);
        return sg_fail(err, code == ENOENT ? SG_ERR_NOT_FOUND : SG_ERR_IO, "%s: cannot open: %s",
                       path, strerror_r(code, text, sizeof text));
    }
    return source_finish_open(source, out, err);
}

sg_status sg_source_open_memory(const void *data, size_t bytes, const char *name, sg_source **out,
                                sg_error *err)
{
    *out = NULL;
    sg_source *source;
    SG_TRY(source_new(name, 0, &source, err));
    source->in = data;
    source->in_bytes = bytes;
    source->fetched = (int64_t)bytes;
    return source_finish_open(source, out, err);
}

void sg_source_close(sg_source *source)
{
    if (source == NULL) return;
    if (source->gzip_open) inflateEnd(&source->gzip);
    ZSTD_freeDCtx(source->zstd);
    if (source->handle >= 0 && source->owns_handle)
        source->fs->close(source->fs->user, source->handle);
    sg_free(source->buffer);
    sg_free(source->name);
    sg_free(source);
}

static void source_use(sg_source *source, size_t bytes)
{
    source->in += bytes;
    source->in_bytes -= bytes;
}

static sg_status source_truncated(const sg_source *source, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: compressed data ends after %lld bytes, expected more (is it whole?)",
                   source->name, (long long)source->fetched);
}

static sg_status source_damaged(const sg_source *source, const char *why, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: damaged compressed data before byte %lld: %s",
                   source->name, (long long)sg_source_position(source), why);
}

// gzip (RFC 1952): any number of members, and zero bytes of padding between them.
static sg_status source_read_gzip(sg_source *source, void *out, size_t capacity, size_t *got,
                                  sg_error *err)
{
    z_stream *z = &source->gzip;
    for (;;) {
        SG_TRY(source_fetch(source, err));
        if (source->raw_end) return source->unit_done ? SG_OK : source_truncated(source, err);
        if (source->unit_done) {
            if (source->in[0] == 0) {
                source_use(source, 1);
                continue;
            }
            inflateReset(z);
            source->unit_done = false;
        }
        uInt room = capacity > UINT_MAX / 2 ? UINT_MAX / 2 : (uInt)capacity;
        uInt feed = source->in_bytes > UINT_MAX / 2 ? UINT_MAX / 2 : (uInt)source->in_bytes;
        z->next_in = (Bytef *)(uintptr_t)source->in;
        z->avail_in = feed;
        z->next_out = out;
        z->avail_out = room;
        int result = inflate(z, Z_NO_FLUSH);
        source_use(source, feed - z->avail_in);
        if (result == Z_STREAM_END)
            source->unit_done = true;
        else if (result == Z_MEM_ERROR)
            return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to decompress", source->name);
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return source_damaged(source, z->msg ? z->msg : "unexpected data", err);
        *got = room - z->avail_out;
        if (*got > 0) return SG_OK;
    }
}

// Zstandard (RFC 8878): any number of frames.
static sg_status source_read_zstd(sg_source *source, void *out, size_t capacity, size_t *got,
                                  sg_error *err)
{
    for (;;) {
        if (!source->zstd_pending) {
            SG_TRY(source_fetch(source, err));
            if (source->raw_end) return source->unit_done ? SG_OK : source_truncated(source, err);
        }
        ZSTD_inBuffer in = {source->in, source->in_bytes, 0};
        ZSTD_outBuffer to = {out, capacity, 0};
        size_t result = ZSTD_decompressStream(source->zstd, &to, &in);
        source_use(source, in.pos);
        if (ZSTD_isError(result)) {
            ZSTD_ErrorCode code = ZSTD_getErrorCode(result);
            if (code == ZSTD_error_memory_allocation)
                return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to decompress", source->name);
            if (code == ZSTD_error_frameParameter_windowTooLarge)
                return sg_fail(err, SG_ERR_UNSUPPORTED,
                               "%s: its zstd window is larger than %d MiB; compress it without "
                               "--long or --ultra",
                               source->name, 1 << (source_zstd_window_log - 20));
            return source_damaged(source, ZSTD_getErrorName(result), err);
        }
        source->unit_done = result == 0;
        source->zstd_pending = result != 0 && to.pos == to.size;
        *got = to.pos;
        if (*got > 0) return SG_OK;
    }
}

sg_status sg_source_read(sg_source *source, void *out, size_t capacity, size_t *got, sg_error *err)
{
    *got = 0;
    if (source->coding == SOURCE_GZIP) return source_read_gzip(source, out, capacity, got, err);
    if (source->coding == SOURCE_ZSTD) return source_read_zstd(source, out, capacity, got, err);
    SG_TRY(source_fetch(source, err));
    *got = source->in_bytes < capacity ? source->in_bytes : capacity;
    if (*got > 0) memcpy(out, source->in, *got);
    source_use(source, *got);
    return SG_OK;
}

int64_t sg_source_position(const sg_source *source)
{
    return source->fetched - (int64_t)source->in_bytes;
}
