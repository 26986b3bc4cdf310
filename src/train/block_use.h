// Which blocks (neurons, experts) of sparse layers passes read: how many a token does, and how many
// different ones the tokens of a pass do together, which are what a pass must fetch from memory.
#ifndef SG_TRAIN_BLOCK_USE_H
#define SG_TRAIN_BLOCK_USE_H

#include "model/model.h"
#include "train/usage.h"

// A memory is that of a layer, or the one that all layers share, which counts as the first's.
typedef struct sg_block_use {
    const sg_config *config;
    sg_points points; // for sessions and tapes; none where no layer selects
    bool on;          // passes are looked at
    bool by_neuron;   // what a threshold leaves out of whole layers: blocks are their neurons
    int64_t passes, tokens;
    sg_use_counts counts; // of the pass under way
    sg_point_request counter, request;
    double *selections, *different; // (layers) by memory, summed over passes
    bool *seen;                     // (layers) by layer: it is part of the passes
} sg_block_use;

// On; it stays where it is, as does config. timed: passes are timed meanwhile, so that nothing is
// looked at that makes them compute otherwise: of layers with router gate, which neurons are read.
sg_status sg_block_use_new(const sg_config *config, sg_compute compute, bool timed,
                           sg_block_use *use, sg_error *err);
void sg_block_use_free(sg_block_use *use);
// The pass under way, of so many tokens, is over; nothing happens where it was not looked at.
void sg_block_use_pass(sg_block_use *use, int64_t tokens);

// What passes come to; all 0 without any, or without a sparse layer.
typedef struct sg_block_total {
    int64_t memories;
    double blocks;   // that a token selects in a layer
    double read;     // share of the neurons of sparse layers that a token reads
    double together; // the same of all tokens of a pass, each neuron once
    double reuse;    // selections for each different block selected, mean of the memories
    int64_t idle;    // parameters of blocks that a pass leaves out
} sg_block_total;
sg_block_total sg_block_use_total(const sg_block_use *use);
// Share of the memory of a layer that a pass reads; 1 of a dense layer.
double sg_block_use_share(const sg_block_use *use, int64_t layer);
// FLOPs of the feed-forward layers of a token, as tokens read them: *router is what routers take of
// them, *all what the layers would take without a router, were all blocks read.
double sg_block_use_flops(const sg_block_use *use, double *router, double *all);
// Bytes of the weights of a model that a pass of so many rows reads, as they are stored, each once:
// all but tables of which it reads a row a token, and of sparse layers that share. Of neurons that
// a threshold leaves out the gates, of a plain layer w_in, are read all the same, and all of them
// where the threshold is 0 or rows are not few (ffn/moefied.h).
double sg_block_use_bytes(const sg_block_use *use, const sg_model *model, int64_t rows);

#endif
