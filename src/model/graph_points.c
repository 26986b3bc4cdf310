// The points of a model: those that are offered while a graph of one token is recorded.
#include "base/alloc.h"
#include "model/config.h"
#include "model/graph.h"
#include "model/model.h"

sg_status sg_graph_points(const sg_config *config, const sg_param_list *params, sg_point_list *list,
                          sg_error *err)
{
    *list = (sg_point_list){0};
    // Planned only: the angles are not read.
    const sg_rope_table rope = {.positions = 1, .half = sg_config_rotary_dim(config) / 2};
    const sg_graph_options options = {
        .batch = 1, .length = 1, .output = SG_OUTPUT_LOSS, .list = list};
    sg_graph *graph = NULL;
    sg_status status = sg_graph_new(config, params, NULL, NULL, &rope, &options, &graph, err);
    sg_graph_free(graph);
    if (status != SG_OK) {
        sg_free(list->items);
        *list = (sg_point_list){0};
    }
    return status;
}

sg_status sg_points_of(const sg_model *model, sg_point_info **list, size_t *count, sg_error *err)
{
    sg_point_list all;
    *list = NULL;
    *count = 0;
    SG_TRY(sg_graph_points(&model->config, &model->params, &all, err));
    *list = all.items;
    *count = all.count;
    return SG_OK;
}
