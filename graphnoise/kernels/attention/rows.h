// Graph attention over some rows: what the driver and the row kernels share. Plain data only, since the kernels are
// compiled once for each instruction set, and nothing inline may be shared between these.

#pragma once

#include <cstdint>

namespace graphnoise::attention {

using Index = std::int64_t;
using Position = std::int32_t;

struct Problem {
    Index heads, width;
    // The arcs row by row (one a target), and column by column (one a source), there with their places in the rows;
    // the arrays of positions are readable `prefetch` entries beyond their end.
    const Index *rowptr, *colptr;
    const Position *col, *row, *arc;
    Index prefetch;                // arcs ahead, or 0
    const float *h;                // [sources, heads, width]
    const float *source, *target;  // [sources or targets, heads]
    const float *kept;             // [arcs, heads], or null: ones
    float slope;
    float *weight;                 // softmax over the arcs of a row, [arcs, heads]
    // Forward
    const float *bias;             // [heads, width], or null: zeros
    float *out;                    // [targets, heads, width]
    // Backward
    const float *grad;             // [targets, heads, width]
    float *score;                  // gradient of the weights, then of the scores before the softmax, [arcs, heads]
    float *to_h, *to_source, *to_target;
    // What each piece of a row leaves behind: sums of features, [pieces, heads, width], and [pieces, 2, heads] numbers.
    float *sums, *numbers;
};

// Rows [begin, end); or the arcs [begin, end) of `row`, which are a piece of it; or, to join them, all of its arcs.
struct Task {
    Index begin, end, row;
    Index piece, first, last;  // this piece, or -1; the pieces of the row are [first, last)
};

// `scratch` has 10 numbers a head.
using Run = void (*)(const Problem &, const Task &, float *scratch);

// What is done with rows and pieces of rows, then with all pieces of a row.
struct Kernels {
    Run forward, join_forward;    // by target: weight and out
    Run features, join_features;  // by source: gradient of h and of each weight
    Run means;                    // by target, pieces only: their share in the mean gradient of the weights
    Run scores, join_scores;      // by target: gradient of each score and of target
    Run sources, join_sources;    // by source: gradient of source
};

Kernels kernels_baseline(Index heads, Index width);
Kernels kernels_v3(Index heads, Index width);
Kernels kernels_v4(Index heads, Index width);

}  // namespace graphnoise::attention
