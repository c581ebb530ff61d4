// Interface between the driver of belief propagation and its row kernel. Plain data only: the kernel is compiled once for each
// instruction set, and nothing inline may be shared between these.

#pragma once

#include <cstdint>

namespace graphnoise::beliefs {

using Index = std::int64_t;

// Filled by __init__.py, which tells what the arrays are; a null pointer is an array that is absent.
struct Arguments {
    Index nodes, classes, chunks;
    const Index *rowptr, *reverse, *heaviest;
    const std::int32_t *col;
    const float *weight;
    const double *total, *square;
    float *messages, *sums, *heavy;
    // [nodes, classes] and [classes]
    const float *field, *prior, *baseline, *slope;
    // [classes, classes]
    const float *affinity, *coupling;
    float vote, vote_count, keep;
    // [chunks, classes, classes]
    double *joint;
};

// Messages of the edges whose smaller end is in [begin, end); `joint` has [classes, classes] numbers, which are set.
using Run = void (*)(const Arguments &, Index begin, Index end, double *joint);

Run kernel_baseline();
Run kernel_v3();
Run kernel_v4();

}  // namespace graphnoise::beliefs
