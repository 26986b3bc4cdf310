// Event files, field numbers from tensorboard/compat/proto/{event,summary,tensor}.proto:
//   Event        1 wall_time (double)  2 step (int64)  3 file_version  5 summary  7 session_log
//   SessionLog   1 status (START = 1)
//   Summary      1 value (repeated)
//   Value        1 tag  2 simple_value (float)  8 tensor  9 metadata
//   Metadata     1 plugin_data { 1 plugin_name }
//   TensorProto  1 dtype (DT_STRING = 7)  2 tensor_shape { 2 dim { 1 size } }  8 string_val
// A record is u64 length, masked CRC of the length, the message, masked CRC of the message
// (tensorflow/core/lib/io/record_writer.h).
#include "format/tfevents.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

// ---- CRC-32C ----------------------------------------------------------------------------------

// Reflected polynomial 0x82f63b78, four bits at a time: events are small.
uint32_t sg_crc32c(const void *data, size_t bytes)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    const unsigned char *p = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < bytes; i++) {
        crc = table[(crc ^ p[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ (uint32_t)(p[i] >> 4)) & 15] ^ crc >> 4;
    }
    return ~crc;
}

uint32_t sg_crc32c_masked(const void *data, size_t bytes)
{
    uint32_t crc = sg_crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// ---- protocol buffers -------------------------------------------------------------------------

typedef struct pb {
    unsigned char *data;
    size_t used, capacity;
    bool failed; // out of memory
} pb;

enum { pb_varint = 0, pb_fixed64 = 1, pb_length = 2, pb_fixed32 = 5 };

static void pb_bytes(pb *out, const void *data, size_t bytes)
{
    if (out->failed || bytes == 0) return;
    if (bytes > SIZE_MAX / 2 - out->used ||
        !sg_grow((void **)&out->data, &out->capacity, out->used + bytes, 1)) {
        out->failed = true;
        return;
    }
    memcpy(out->data + out->used, data, bytes);
    out->used += bytes;
}

static void pb_number(pb *out, uint64_t value)
{
    unsigned char text[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        text[n++] = (unsigned char)(value | 0x80);
    text[n++] = (unsigned char)value;
    pb_bytes(out, text, n);
}

static void pb_key(pb *out, unsigned field, unsigned kind)
{
    pb_number(out, field << 3 | kind);
}

static void pb_little(pb *out, uint64_t bits, unsigned bytes)
{
    unsigned char text[8];
    for (unsigned i = 0; i < bytes; i++)
        text[i] = (unsigned char)(bits >> 8 * i);
    pb_bytes(out, text, bytes);
}

static void pb_double(pb *out, unsigned field, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    pb_key(out, field, pb_fixed64);
    pb_little(out, bits, 8);
}

static void pb_float(pb *out, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    pb_key(out, field, pb_fixed32);
    pb_little(out, bits, 4);
}

static void pb_int(pb *out, unsigned field, uint64_t value)
{
    pb_key(out, field, pb_varint);
    pb_number(out, value);
}

static void pb_data(pb *out, unsigned field, const void *data, size_t bytes)
{
    pb_key(out, field, pb_length);
    pb_number(out, bytes);
    pb_bytes(out, data, bytes);
}

// Adds `inner` as a field and releases it.
static void pb_message(pb *out, unsigned field, pb *inner)
{
    if (inner->failed) out->failed = true;
    pb_data(out, field, inner->data, inner->used);
    sg_free(inner->data);
    *inner = (pb){0};
}

// ---- the file ---------------------------------------------------------------------------------

struct sg_tfevents {
    sg_writer *writer;
    char path[SG_PATH_MAX];
};

// Starts an Event. A step of 0 is the default value and left out, as protobuf does.
static pb tf_event(double wall_time, int64_t step)
{
    pb event = {0};
    pb_double(&event, 1, wall_time);
    if (step != 0) pb_int(&event, 2, (uint64_t)step);
    return event;
}

// Writes an event as a record and releases it.
static sg_status tf_put(sg_tfevents *file, pb *event, sg_error *err)
{
    if (event->failed) {
        sg_free(event->data);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for an event", file->path);
    }
    unsigned char head[12], tail[4];
    for (int i = 0; i < 8; i++)
        head[i] = (unsigned char)((uint64_t)event->used >> 8 * i);
    uint32_t head_crc = sg_crc32c_masked(head, 8);
    uint32_t data_crc = sg_crc32c_masked(event->data, event->used);
    for (int i = 0; i < 4; i++) {
        head[8 + i] = (unsigned char)(head_crc >> 8 * i);
        tail[i] = (unsigned char)(data_crc >> 8 * i);
    }
    sg_writer_put(file->writer, head, sizeof head);
    sg_writer_put(file->writer, event->data, event->used);
    sg_writer_put(file->writer, tail, sizeof tail);
    sg_free(event->data);
    return SG_OK;
}

// Puts a value into a summary into an event; releases it.
static sg_status tf_put_value(sg_tfevents *file, double wall_time, int64_t step, pb *value,
                              sg_error *err)
{
    pb summary = {0}, event = tf_event(wall_time, step);
    pb_message(&summary, 1, value);
    pb_message(&event, 5, &summary);
    return tf_put(file, &event, err);
}

// Finds a name that is not taken. Two lives of a run may start within one second.
static sg_status tf_path(const char *folder, double wall_time, const char *tag, char *path,
                         size_t capacity, sg_error *err)
{
    char name[320];
    int used = snprintf(name, sizeof name, "events.out.tfevents.%010.0f.%s", floor(wall_time), tag);
    for (int i = 0; i < 1000; i++) {
        sg_fs_info info;
        if (i > 0) snprintf(name + used, sizeof name - (size_t)used, ".%d", i);
        SG_TRY(sg_path_join(path, capacity, folder, name, err));
        sg_status status = sg_path_info(path, &info, err);
        if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
        SG_TRY(status);
    }
    return sg_fail(err, SG_ERR_IO, "%s: is taken, and so are 999 names after it", path);
}

static sg_status tf_begin(sg_tfevents *file, double wall_time, int64_t first_step, sg_error *err)
{
    static const char version[] = "brain.Event:2";
    pb event = tf_event(wall_time, 0);
    pb_data(&event, 3, version, sizeof version - 1);
    SG_TRY(tf_put(file, &event, err));
    pb session = {0};
    pb_int(&session, 1, 1);
    event = tf_event(wall_time, first_step);
    pb_message(&event, 7, &session);
    SG_TRY(tf_put(file, &event, err));
    return sg_tfevents_flush(file, err);
}

sg_status sg_tfevents_open(const char *folder, double wall_time, const char *tag,
                           int64_t first_step, sg_tfevents **out, sg_error *err)
{
    *out = NULL;
    if (!(wall_time >= 0 && wall_time < 1e11) || first_step < 0 || !sg_name_is_plain(tag))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: event file: expected a time and a first step >= 0 and a plain name",
                       folder);
    SG_TRY(sg_folder_make(folder, err));
    sg_tfevents *file = sg_alloc_zero(1, sizeof *file);
    if (file == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    sg_status status = tf_path(folder, wall_time, tag, file->path, sizeof file->path, err);
    if (status == SG_OK) status = sg_writer_open(file->path, SG_FS_NEW, &file->writer, err);
    if (status == SG_OK) status = tf_begin(file, wall_time, first_step, err);
    if (status == SG_OK) {
        *out = file;
        return SG_OK;
    }
    sg_writer_abandon(file->writer);
    sg_free(file);
    return status;
}

sg_status sg_tfevents_scalar(sg_tfevents *file, double wall_time, int64_t step, const char *name,
                             float value, sg_error *err)
{
    pb scalar = {0};
    pb_data(&scalar, 1, name, strlen(name));
    pb_float(&scalar, 2, value);
    return tf_put_value(file, wall_time, step, &scalar, err);
}

sg_status sg_tfevents_text(sg_tfevents *file, double wall_time, int64_t step, const char *name,
                           const char *text, sg_error *err)
{
    pb plugin = {0}, metadata = {0}, dim = {0}, shape = {0}, tensor = {0}, value = {0};
    pb_data(&plugin, 1, "text", 4);
    pb_message(&metadata, 1, &plugin);
    pb_int(&dim, 1, 1);
    pb_message(&shape, 2, &dim);
    pb_int(&tensor, 1, 7);
    pb_message(&tensor, 2, &shape);
    pb_data(&tensor, 8, text, strlen(text));
    pb_data(&value, 1, name, strlen(name));
    pb_message(&value, 8, &tensor);
    pb_message(&value, 9, &metadata);
    return tf_put_value(file, wall_time, step, &value, err);
}

sg_status sg_tfevents_flush(sg_tfevents *file, sg_error *err)
{
    return sg_writer_flush(file->writer, err);
}

sg_status sg_tfevents_close(sg_tfevents *file, sg_error *err)
{
    if (file == NULL) return SG_OK;
    sg_status status = sg_writer_close(file->writer, true, err);
    sg_free(file);
    return status;
}
