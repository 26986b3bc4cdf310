// Usage of neurons from a record (include/sgatlin_record.h) in place of a pass over data.
#include "base/alloc.h"
#include "probe/neuron_usage.h"
#include "probe/record_checksum.h"

static sg_status usage_channel(sg_neuron_usage *u, sg_record *record, int64_t layer,
                               int64_t channel, sg_error *err)
{
    const sg_record_layer *of = sg_record_find_layer(record, layer);
    const sg_layer_usage *l = sg_neuron_usage_layer(u, layer);
    if (of->unit != 1 || of->neurons != l->table.neurons || of->channels != l->table.channels)
        return sg_fail(
            err, SG_ERR_MISMATCH,
            "layer %lld: found a record of %lld neurons (of %lld each) in %lld channels, "
            "expected %lld single ones in %lld",
            (long long)layer, (long long)of->neurons, (long long)of->unit, (long long)of->channels,
            (long long)l->table.neurons, (long long)l->table.channels);
    sg_record_neuron *neurons = sg_alloc_array((size_t)of->neurons, sizeof *neurons);
    if (neurons == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
    const sg_status status = sg_record_neurons(record, layer, channel, neurons, err);
    for (int64_t n = 0; status == SG_OK && n < of->neurons; n++) {
        l->hits[channel * of->neurons + n] = (double)neurons[n].hits;
        l->sizes[channel * of->neurons + n] = neurons[n].activation;
    }
    sg_free(neurons);
    return status;
}

sg_status sg_neuron_usage_record(sg_neuron_usage *u, const sg_model *model, sg_record *record,
                                 sg_error *err)
{
    const sg_record_info *info = sg_record_get_info(record);
    uint64_t checksum;
    SG_TRY(sg_model_checksum(model, &checksum, err));
    if (checksum != info->model_checksum)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "found a record of other weights than the model's, expected one of these");
    for (size_t i = 0; i < info->channel_count; i++)
        SG_TRY(usage_channel(u, record, info->channels[i].layer, info->channels[i].channel, err));
    sg_neuron_usage_set_tokens(u, info->tokens);
    return SG_OK;
}
