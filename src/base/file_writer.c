// The buffered writer.
#include "base/file_writer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

sg_status sg_writer_new(const char *path, sg_writer **out, sg_error *err)
{
    *out = NULL;
    if (strlen(path) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is longer than %d bytes", path,
                       SG_PATH_MAX - 1);
    sg_writer *writer = sg_alloc(sizeof *writer);
    sg_hasher *hasher = sg_hasher_new();
    if (writer == NULL || hasher == NULL) {
        sg_free(writer);
        sg_hasher_free(hasher);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a write buffer", path);
    }
    writer->fs = sg_fs_get();
    writer->hasher = hasher;
    writer->bytes = 0;
    writer->used = 0;
    writer->failure = 0;
    writer->handle = -1;
    writer->output = NULL;
    memcpy(writer->path, path, strlen(path) + 1);
    *out = writer;
    return SG_OK;
}

void sg_writer_free(sg_writer *writer)
{
    if (writer == NULL) return;
    sg_hasher_free(writer->hasher);
    sg_free(writer);
}

sg_status sg_writer_open(const char *path, int mode, sg_writer **out, sg_error *err)
{
    SG_TRY(sg_writer_new(path, out, err));
    sg_writer *writer = *out;
    writer->handle = writer->fs->open(writer->fs->user, path, mode);
    if (writer->handle >= 0) return SG_OK;
    *out = NULL;
    sg_status status = sg_file_fail(err, "open for writing", path, writer->handle);
    sg_writer_free(writer);
    return status;
}

static void writer_push(sg_writer *writer, const char *data, size_t bytes)
{
    while (bytes > 0 && writer->failure == 0) {
        int64_t put = writer->fs->write(writer->fs->user, writer->handle, data, bytes);
        if (put <= 0) {
            writer->failure = put < 0 ? put : -EIO;
            return;
        }
        data += put;
        bytes -= (size_t)put;
    }
}

static void writer_drain(sg_writer *writer)
{
    writer_push(writer, writer->buffer, writer->used);
    writer->used = 0;
}

void sg_writer_put(sg_writer *writer, const void *data, size_t bytes)
{
    if (bytes == 0 || writer->failure != 0) return;
    sg_hasher_add(writer->hasher, data, bytes);
    writer->bytes += (int64_t)bytes;
    if (bytes > writer_capacity - writer->used) writer_drain(writer);
    if (bytes > writer_capacity) {
        writer_push(writer, data, bytes);
        return;
    }
    memcpy(writer->buffer + writer->used, data, bytes);
    writer->used += bytes;
}

void sg_writer_printf(sg_writer *writer, const char *format, ...)
{
    char stack[1024];
    va_list args;
    va_start(args, format);
    int need = vsnprintf(stack, sizeof stack, format, args);
    va_end(args);
    if (need < 0) {
        writer->failure = -EINVAL;
        return;
    }
    if ((size_t)need < sizeof stack) {
        sg_writer_put(writer, stack, (size_t)need);
        return;
    }
    char *heap = sg_alloc((size_t)need + 1);
    if (heap == NULL) {
        writer->failure = -ENOMEM;
        return;
    }
    va_start(args, format);
    vsnprintf(heap, (size_t)need + 1, format, args);
    va_end(args);
    sg_writer_put(writer, heap, (size_t)need);
    sg_free(heap);
}

int64_t sg_writer_bytes(const sg_writer *writer)
{
    return writer->bytes;
}

uint64_t sg_writer_hash(const sg_writer *writer)
{
    return sg_hasher_value(writer->hasher);
}

sg_status sg_writer_flush(sg_writer *writer, sg_error *err)
{
    writer_drain(writer);
    if (writer->failure != 0) return sg_file_fail(err, "write", writer->path, writer->failure);
    return SG_OK;
}

sg_status sg_writer_sync(sg_writer *writer, sg_error *err)
{
    writer_drain(writer);
    if (writer->failure == 0) {
        int result = writer->fs->sync(writer->fs->user, writer->handle);
        if (result < 0) writer->failure = result;
    }
    if (writer->failure != 0) return sg_file_fail(err, "write", writer->path, writer->failure);
    return SG_OK;
}

sg_status sg_writer_close(sg_writer *writer, bool sync, sg_error *err)
{
    writer_drain(writer);
    if (sync) sg_writer_sync(writer, NULL);
    int closed = writer->fs->close(writer->fs->user, writer->handle);
    if (writer->failure == 0) writer->failure = closed;
    sg_status status = SG_OK;
    if (writer->failure < 0) status = sg_file_fail(err, "write", writer->path, writer->failure);
    sg_writer_free(writer);
    return status;
}

void sg_writer_abandon(sg_writer *writer)
{
    if (writer == NULL) return;
    writer->fs->close(writer->fs->user, writer->handle);
    sg_writer_free(writer);
}
