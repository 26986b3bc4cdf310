// The manifest is sealed JSON (json_seal.h): a checksum of itself beside those of the files.
#include "format/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "format/json_seal.h"

enum { manifest_limit = 64 << 20 };
static const char manifest_name[] = "manifest.json";

static sg_status manifest_memory(const char *name, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
}

sg_status sg_manifest_new(int64_t step, json_t *state, sg_manifest **out, sg_error *err)
{
    *out = NULL;
    sg_json_setup();
    if (step < 0 || (state != NULL && !json_is_object(state)))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "manifest: expected a step >= 0 and a state that is a JSON object");
    sg_manifest *manifest = sg_alloc_zero(1, sizeof *manifest);
    if (manifest == NULL) return manifest_memory("manifest", err);
    manifest->step = step;
    manifest->state = state ? json_incref(state) : json_object();
    if (manifest->state == NULL) {
        sg_free(manifest);
        return manifest_memory("manifest", err);
    }
    *out = manifest;
    return SG_OK;
}

void sg_manifest_free(sg_manifest *manifest)
{
    if (manifest == NULL) return;
    for (size_t i = 0; i < manifest->count; i++)
        sg_free(manifest->files[i].name);
    sg_free(manifest->files);
    json_decref(manifest->state);
    sg_free(manifest);
}

sg_status sg_manifest_add(sg_manifest *manifest, const char *name, int64_t bytes, uint64_t hash,
                          sg_error *err)
{
    if (!sg_name_is_plain(name) || strcmp(name, manifest_name) == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.200s: not a name for a file in a manifest", name);
    for (size_t i = 0; i < manifest->count; i++)
        if (strcmp(manifest->files[i].name, name) == 0)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: is in the manifest already", name);
    if (manifest->count >= SG_MANIFEST_FILES)
        return sg_fail(err, SG_ERR_ARGUMENT, "more than %d files in one manifest",
                       SG_MANIFEST_FILES);
    char *copy = sg_strdup(name);
    if (copy == NULL || !sg_grow((void **)&manifest->files, &manifest->capacity,
                                 manifest->count + 1, sizeof *manifest->files)) {
        sg_free(copy);
        return manifest_memory("manifest", err);
    }
    manifest->files[manifest->count++] = (sg_manifest_file){copy, bytes, hash};
    return SG_OK;
}

// ---- reading ----------------------------------------------------------------------------------

static sg_status manifest_parse_files(sg_manifest *manifest, const json_t *files, const char *name,
                                      sg_error *err)
{
    size_t i;
    json_t *entry;
    json_array_foreach((json_t *)(uintptr_t)files, i, entry)
    {
        const char *file, *text;
        int64_t bytes;
        uint64_t hash;
        SG_TRY(sg_json_get_string(entry, name, "name", true, &file, err));
        SG_TRY(sg_json_get_int(entry, name, "bytes", true, 0, INT64_MAX, &bytes, err));
        SG_TRY(sg_json_get_string(entry, name, "xxh3", true, &text, err));
        if (!sg_json_hash_parse(text, &hash))
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: \"xxh3\": found \"%.40s\", expected 16 hexadecimal digits", name,
                           text);
        sg_status status = sg_manifest_add(manifest, file, bytes, hash, err);
        if (status != SG_OK)
            return sg_fail_context(err, status == SG_ERR_ARGUMENT ? SG_ERR_FORMAT : status, "%s",
                                   name);
    }
    return SG_OK;
}

static sg_status manifest_parse_root(json_t *root, const char *name, sg_manifest **out,
                                     sg_error *err)
{
    int64_t version, step;
    json_t *files, *state;
    SG_TRY(sg_json_get_int(root, name, "version", true, INT64_MIN, INT64_MAX, &version, err));
    if (version != SG_MANIFEST_VERSION)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: \"version\": found %lld, expected %d", name,
                       (long long)version, SG_MANIFEST_VERSION);
    SG_TRY(sg_json_check_seal(root, name, err));
    SG_TRY(sg_json_get_int(root, name, "step", true, 0, INT64_MAX, &step, err));
    SG_TRY(sg_json_get_array(root, name, "files", true, &files, err));
    SG_TRY(sg_json_get_object(root, name, "state", true, &state, err));
    sg_manifest *manifest;
    SG_TRY(sg_manifest_new(step, state, &manifest, err));
    sg_status status = manifest_parse_files(manifest, files, name, err);
    if (status == SG_OK)
        *out = manifest;
    else
        sg_manifest_free(manifest);
    return status;
}

sg_status sg_manifest_parse(const char *text, size_t bytes, const char *name, sg_manifest **out,
                            sg_error *err)
{
    *out = NULL;
    json_t *root;
    SG_TRY(sg_json_parse(text, bytes, name, &root, err));
    sg_status status = manifest_parse_root(root, name, out, err);
    json_decref(root);
    return status;
}

sg_status sg_manifest_read(const char *folder, sg_manifest **out, sg_error *err)
{
    *out = NULL;
    char path[SG_PATH_MAX], *text;
    size_t bytes;
    SG_TRY(sg_path_join(path, sizeof path, folder, manifest_name, err));
    SG_TRY(sg_file_read(path, manifest_limit, &text, &bytes, err));
    sg_status status = sg_manifest_parse(text, bytes, path, out, err);
    sg_free(text);
    return status;
}

// ---- writing ----------------------------------------------------------------------------------

// New values are checked by the caller through `ok`: any failure here is a lack of memory.
static void manifest_put(bool *ok, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) *ok = false;
}

static void manifest_put_hash(bool *ok, json_t *object, const char *key, uint64_t hash)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, hash);
    manifest_put(ok, object, key, json_string(text));
}

static json_t *manifest_build(const sg_manifest *manifest)
{
    json_t *root = json_object(), *files = json_array();
    bool ok = root != NULL && files != NULL;
    for (size_t i = 0; i < manifest->count && ok; i++) {
        const sg_manifest_file *file = &manifest->files[i];
        json_t *entry = json_object();
        manifest_put(&ok, entry, "name", json_string(file->name));
        manifest_put(&ok, entry, "bytes", json_integer(file->bytes));
        manifest_put_hash(&ok, entry, "xxh3", file->hash);
        if (json_array_append_new(files, entry) != 0) ok = false;
    }
    manifest_put(&ok, root, "version", json_integer(SG_MANIFEST_VERSION));
    manifest_put(&ok, root, "step", json_integer(manifest->step));
    manifest_put(&ok, root, "files", files);
    manifest_put(&ok, root, "state", json_incref(manifest->state));
    if (ok) return root;
    json_decref(root);
    return NULL;
}

sg_status sg_manifest_write(const sg_manifest *manifest, const char *folder, sg_error *err)
{
    char path[SG_PATH_MAX], *text = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, manifest_name, err));
    sg_json_setup();
    json_t *root = manifest_build(manifest);
    if (root == NULL) return manifest_memory(path, err);
    sg_status status = sg_json_seal(root, path, err);
    if (status == SG_OK) status = sg_json_text(root, true, &text, err);
    json_decref(root);
    SG_TRY(status);
    sg_writer *writer;
    status = sg_writer_open(path, SG_FS_CREATE, &writer, err);
    if (status == SG_OK) {
        sg_writer_put(writer, text, strlen(text));
        sg_writer_put(writer, "\n", 1);
        status = sg_writer_close(writer, true, err);
    }
    sg_free(text);
    return status;
}

// ---- verifying --------------------------------------------------------------------------------

sg_status sg_manifest_verify(const sg_manifest *manifest, const char *folder, sg_error *err)
{
    for (size_t i = 0; i < manifest->count; i++) {
        const sg_manifest_file *file = &manifest->files[i];
        char path[SG_PATH_MAX];
        int64_t bytes;
        uint64_t hash;
        SG_TRY(sg_path_join(path, sizeof path, folder, file->name, err));
        // The size first: a truncated file need not be read to be refused.
        SG_TRY(sg_path_bytes(path, &bytes, err));
        if (bytes == file->bytes) SG_TRY(sg_file_hash(path, &bytes, &hash, err));
        if (bytes != file->bytes)
            return sg_fail(err, SG_ERR_FORMAT, "%s: found %lld bytes, expected %lld", path,
                           (long long)bytes, (long long)file->bytes);
        if (hash != file->hash)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: damaged: its checksum is %016" PRIx64 ", expected %016" PRIx64,
                           path, hash, file->hash);
    }
    return SG_OK;
}
