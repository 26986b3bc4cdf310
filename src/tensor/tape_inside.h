// The inside of a tape, shared by tape.c (recording, replay) and plan.c (lifetimes, memory).
#ifndef SG_TENSOR_TAPE_INSIDE_H
#define SG_TENSOR_TAPE_INSIDE_H

#include "tensor/tape.h"

typedef struct sg_step {
    int node;
    bool backward;
    bool again; // a forward pass of what is cheap, for the backward passes that follow
} sg_step;

struct sg_tape {
    sg_arena arena;
    sg_tensor **tensors;
    size_t tensor_capacity;
    int n_tensors;
    sg_node **nodes;
    size_t node_capacity;
    int n_nodes;
    sg_tensor **keep;
    size_t keep_capacity;
    int n_keep;
    int segment, n_segments;
    sg_compute_kind kind, logits_kind;
    sg_memory_path memory_path;
    sg_error error; // the first failure of the recording

    sg_tape_options options;
    sg_step *steps; // forward, then backward with recomputation in between
    int forward_steps, n_steps;
    size_t *data_offset; // by tensor; arena
    size_t *grad_offset;
    size_t *half_offset;
    unsigned char *memory; // its own, or lent
    void *own;             // NULL: it has none
    size_t memory_bytes;
    size_t scratch_offset, worker_offset, worker_stride;
};

#endif
