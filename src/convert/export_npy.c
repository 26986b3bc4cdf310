// One tensor as NumPy reads it.
#include <string.h>

#include "base/alloc.h"
#include "format/npy.h"
#include "model/config.h"
#include "model/model_file.h"
#include "model/tensor_read.h"
#include "sgatlin_convert.h"

// Values of some pieces, in the shape that `as` has.
static sg_status npy_values(const sg_pieces *pieces, const sg_param_spec *spec,
                            const sg_tensor_view *as, const char *path, sg_error *err)
{
    sg_real *values = sg_alloc_array((size_t)spec->count, sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", as->name);
    sg_status status = sg_pieces_read(pieces, spec, values, err);
    if (status == SG_OK) {
        const sg_dtype dtype = sizeof(sg_real) == 8 ? SG_DTYPE_F64 : SG_DTYPE_F32;
        const sg_tensor_view view =
            sg_tensor_view_make(as->name, dtype, as->ndim, as->shape, values);
        status = sg_npy_write(path, SG_OUTPUT_NEW, &view, err);
    }
    sg_free(values);
    return status;
}

// A parameter of ours, put together.
static sg_status npy_parameter(const sg_model_file *f, const sg_param_spec *spec, const char *path,
                               sg_error *err)
{
    sg_pieces pieces = {0};
    sg_status status = sg_tensor_map_pieces(f->map, &f->config, spec, &f->tensors, &pieces, err);
    const sg_tensor_view as =
        sg_tensor_view_make(spec->name, SG_DTYPE_F32, spec->rank, spec->shape, NULL);
    if (status == SG_OK) status = npy_values(&pieces, spec, &as, path, err);
    sg_pieces_free(&pieces);
    return status;
}

// A tensor of the file, whatever it is there for: as it is, or widened.
static sg_status npy_tensor(const sg_tensor_view *view, const char *path, sg_error *err)
{
    sg_weights weights;
    if (!sg_weights_of_dtype(view->dtype, &weights) || view->dtype == SG_DTYPE_F32 ||
        view->dtype == SG_DTYPE_F16)
        return sg_npy_write(path, SG_OUTPUT_NEW, view, err);
    const int64_t count = sg_tensor_view_elements(view);
    const int64_t width = view->ndim > 0 ? view->shape[view->ndim - 1] : 1;
    const int64_t shape[] = {width > 0 ? count / width : 0, width};
    const sg_tensor_view matrix =
        sg_tensor_view_make(view->name, view->dtype, 2, shape, view->data);
    sg_piece piece = {.view = &matrix, .count = shape[0]};
    const sg_param_spec spec = {.rank = 2, .shape = {shape[0], shape[1]}, .count = count};
    return npy_values(&(sg_pieces){.items = &piece, .count = 1}, &spec, view, path, err);
}

static sg_status npy_export(const sg_model_file *f, const char *tensor, const char *path,
                            sg_error *err)
{
    sg_param_list params;
    SG_TRY(sg_config_params(&f->config, &params, err));
    const sg_param_spec *spec = NULL;
    for (size_t i = 0; i < params.count && spec == NULL; i++)
        if (strcmp(params.specs[i].name, tensor) == 0) spec = &params.specs[i];
    const sg_tensor_view *view = f->tensors.find(f->tensors.file, tensor);
    sg_status status;
    if (view != NULL)
        status = npy_tensor(view, path, err);
    else if (spec != NULL)
        status = npy_parameter(f, spec, path, err);
    else
        status = sg_fail(err, SG_ERR_NOT_FOUND, "%s: tensor %.200s: there is none of that name",
                         f->tensors.name, tensor);
    sg_param_list_free(&params);
    return status;
}

sg_status sg_export_npy(const char *model, const char *tensor, const char *path, sg_error *err)
{
    sg_model_file *file;
    // Nothing is overwritten, as in sg_convert.
    SG_TRY(sg_output_check(path, SG_OUTPUT_NEW, err));
    SG_TRY(sg_model_file_open(model, &file, err));
    sg_status status = npy_export(file, tensor, path, err);
    sg_model_file_close(file);
    return status;
}
