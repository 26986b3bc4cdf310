#include "format/file_kind.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"

static const char kind_lfs[] =
    "a Git LFS pointer, which stands for a file that was not downloaded (git lfs pull)";

// Forms of one beginning each. What starts with a small number may be a file of llama2.c: none here
// does.
const char *sg_file_kind(const void *data, size_t bytes)
{
    static const struct {
        const char *start;
        size_t bytes;
        const char *kind;
    } starts[] = {
        {"version https://git-lfs", 23, kind_lfs},
        {"lmgg", 4, "a file of the old GGML form \"ggml\", from before GGUF"},
        {"fmgg", 4, "a file of the old GGML form \"ggmf\", from before GGUF"},
        {"tjgg", 4, "a file of the old GGML form \"ggjt\", from before GGUF"},
        {"algg", 4, "adapters of the old GGML form \"ggla\""},
        {"GGUF", 4, "a GGUF file"},
        {"PK\3\4", 4, "a zip archive, such as PyTorch's .bin and .pt are"},
        {"\x89HDF", 4, "an HDF5 file, such as Keras writes"},
        {"\x1f\x8b", 2, "a file compressed by gzip"},
        {"\x28\xb5\x2f\xfd", 4, "a file compressed by zstd"},
        {"\xfd"
         "7zXZ",
         5, "a file compressed by xz"},
        {"<!DOCTYPE", 9, "a web page: the download failed"},
        {"<!doctype", 9, "a web page: the download failed"},
        {"<html", 5, "a web page: the download failed"},
    };
    const unsigned char *at = data;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (bytes >= starts[i].bytes && memcmp(at, starts[i].start, starts[i].bytes) == 0)
            return starts[i].kind;
    if (bytes >= 4 && at[0] == 0x80 && at[1] >= 2 && at[1] <= 5 && at[2] != 0)
        return "a pickle, such as PyTorch's old .bin and .pt are";
    // Of protobuf: a version, then the length of a producer's name.
    if (bytes >= 8 && at[0] == 8 && at[1] > 0 && at[1] < 0x20 && at[2] == 0x12 && at[3] < 0x40)
        return "an ONNX model";
    return NULL;
}

sg_status sg_file_kind_check(const void *data, size_t bytes, const char *name, const char *expected,
                             sg_error *err)
{
    const char *kind = sg_file_kind(data, bytes);
    if (kind == NULL) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: found %s, expected %s", name, kind, expected);
}

bool sg_folder_weights(const char *folder, char name[256], const char **kind)
{
    static const struct {
        const char *start, *end, *kind;
    } known[] = {
        {"pytorch_model", ".bin", "weights as PyTorch pickles them"},
        {"adapter_model", ".bin", "weights as PyTorch pickles them"},
        {"consolidated", ".pth", "weights of Meta's own code"},
        {"", ".pth", "weights as PyTorch pickles them"},
        {"", ".pt", "weights as PyTorch pickles them"},
        {"", ".ckpt", "weights as PyTorch pickles them"},
        {"tf_model", ".h5", "weights of TensorFlow"},
        {"flax_model", ".msgpack", "weights of Flax"},
        {"", ".onnx", "an ONNX model"},
        {"", ".gguf", "a GGUF file, which is to be given itself"},
        {"", ".bin", "weights of another form"},
        {"", ".safetensors", "tensors under another name"},
    };
    char **names;
    size_t count;
    bool found = false;
    if (sg_folder_list(folder, &names, &count, NULL) != SG_OK) return false;
    for (size_t k = 0; k < sizeof known / sizeof *known && !found; k++)
        for (size_t i = 0; i < count && !found; i++) {
            const size_t n = strlen(names[i]), s = strlen(known[k].start), e = strlen(known[k].end);
            found = n >= s + e && n < 256 && strncmp(names[i], known[k].start, s) == 0 &&
                    strcmp(names[i] + n - e, known[k].end) == 0;
            if (!found) continue;
            snprintf(name, 256, "%s", names[i]);
            *kind = known[k].kind;
        }
    sg_names_free(names, count);
    return found;
}
