// Packed data: two bytes of length, a manifest of that many bytes, then the first training shard.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/shards.h"
#include "sgatlin_data.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_rows(const uint8_t *shard, size_t bytes, const sg_data_manifest *manifest)
{
    const sg_data_info *info = &manifest->info;
    const sg_shard_entry *entry = &manifest->shards[0].entries[0];
    sg_error err;
    if (sg_shard_check(shard, bytes, "shard", info, entry, true, &err) == SG_OK &&
        sg_shard_check(shard, bytes, "shard", info, entry, false, &err) != SG_OK)
        abort();
    if (sg_shard_check(shard, bytes, "shard", info, entry, false, &err) != SG_OK) return;
    int32_t *ids = sg_alloc_array((size_t)info->seq_len, sizeof *ids);
    if (ids == NULL) return;
    for (int64_t row = 0; row < entry->rows; row++)
        if (sg_shard_row(shard, "shard", info, row, ids, &err) == SG_OK)
            for (int64_t t = 0; t < info->seq_len; t++)
                if (ids[t] < 0 || ids[t] >= info->vocab_size) abort();
    sg_free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t length = (size_t)(data[0] | data[1] << 8);
    if (length > size - 2) length = size - 2;
    sg_data_manifest manifest;
    sg_error err;
    if (sg_data_manifest_parse((const char *)data + 2, length, "data.json", &manifest, &err) !=
        SG_OK)
        return 0;
    // What was read can be written, and read again.
    char *text;
    sg_data_manifest again;
    if (sg_data_manifest_text(&manifest, &text, &err) == SG_OK) {
        if (sg_data_manifest_parse(text, strlen(text), "again", &again, &err) != SG_OK) abort();
        if (memcmp(again.info.split, manifest.info.split, sizeof again.info.split) != 0) abort();
        sg_data_manifest_clear(&again);
        sg_free(text);
    }
    // The size of the shard is what a file's would be: the hostile case of a wrong one included.
    if (manifest.shards[0].count > 0) read_rows(data + 2 + length, size - 2 - length, &manifest);
    sg_data_manifest_clear(&manifest);
    return 0;
}
