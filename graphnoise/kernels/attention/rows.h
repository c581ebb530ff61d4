// Interface between the driver of graph attention and its row kernels. Plain data only: the kernels are compiled once for
// each instruction set, and nothing inline may be shared between these.

#pragma once

#include <cstdint>

namespace graphnoise::attention {

using Index = std::int64_t;
using Position = std::int32_t;

// Arguments of `attend` and `attend_backward`, filled by cpu.py; a null pointer is an array that is absent.
struct Arguments {
    Index heads, width;
    // The arcs row by row (one row per target), and column by column (one column per source) with their positions in the
    // rows. Arrays of positions are readable `prefetch` entries beyond their end.
    const Index *rowptr, *colptr;
    const Position *col, *row, *arc;
    // Arcs whose rows are prefetched, or 0.
    Index prefetch;
    // [sources, heads, width]
    const float *h;
    // [sources, heads] and [targets, heads]
    const float *source, *target;
    // [arcs, heads], or null for ones.
    const float *factor;
    float slope;
    // Softmax over the arcs of a row, [arcs, heads].
    float *weight;
    // Forward: [heads, width], or null for zeros.
    const float *bias;
    // [targets, heads, width]
    float *out;
    // Backward: [targets, heads, width].
    const float *grad;
    // Gradient of the weights, then of the scores before the softmax, [arcs, heads].
    float *score;
    float *to_h, *to_source, *to_target;
    // Results of the pieces of rows: sums of features, [pieces, heads, width], and numbers, [pieces, 2, heads].
    float *sums, *numbers;
};

// Rows [begin, end); or the arcs [begin, end) of `row`, which are a piece of it; or, to join its pieces, all of its arcs.
struct Task {
    Index begin, end, row;
    // This piece, or -1; the pieces of the row are [first, last).
    Index piece, first, last;
};

// `scratch` has 10 numbers per head.
using Run = void (*)(const Arguments &, const Task &, float *scratch);

// Passes over rows and pieces of rows, and over all pieces of a row.
struct Kernels {
    // By target: weight and out.
    Run forward, join_forward;
    // By source: gradient of h and of each weight.
    Run features, join_features;
    // By target, pieces only: their share in the mean gradient of the weights.
    Run means;
    // By target: gradient of each score and of target.
    Run scores, join_scores;
    // By source: gradient of source.
    Run sources, join_sources;
};

Kernels kernels_baseline(Index heads, Index width);
Kernels kernels_v3(Index heads, Index width);
Kernels kernels_v4(Index heads, Index width);

}  // namespace graphnoise::attention
