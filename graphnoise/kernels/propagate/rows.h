// Interface between the driver of propagation and its row kernels. Plain data only: the kernels are compiled once for each
// instruction set, and nothing inline may be shared between these.

#pragma once

#include <cstdint>

namespace graphnoise {

using Index = std::int64_t;

enum class Kind { rows, piece, join, floor };

// to = scale * clamp(alpha * left * sum of the neighbours + beta * x), x the source or the node's own value.
struct Step {
    const Index *rowptr;
    // int32 or int64.
    const void *col;
    // Order in which rows are processed, or null for 0, 1, 2, …
    const std::int32_t *order;
    // One per arc, or one per source (`per_source`), or null for ones.
    const void *value;
    // Values that are gathered, [num_nodes, width].
    const void *from;
    // x, [num_nodes, width], or null for the node's own value.
    const void *source;
    // Rows of the source that count, or null for all.
    const unsigned char *mask;
    // [num_nodes, width]
    void *to;
    // Scale of each row, or null for ones.
    const void *left;
    // Scale that `from` is already multiplied by, or null for ones.
    const void *held;
    // Scale that `to` is multiplied by, or null for ones.
    const void *scale;
    // Sums of the pieces of long rows.
    void *partial;
    // Row stride of all matrices.
    Index width;
    double alpha, beta, low, high;
    // Distance of prefetching, in arcs, and entries of `col` that can be read.
    Index prefetch, readable;
    bool per_source, clamp, residual, check;
};

// Rows [begin, end), or the arcs [begin, end) of one row, or the pieces [begin, end) of one row; some of the columns.
struct Task {
    Kind kind;
    Index begin, end, row, piece, column, width;
};

struct Outcome {
    // Largest change.
    double residual;
    // Whether any value was not finite.
    bool bad;
};

enum class Type { float32, float64, bfloat16 };

using Run = void (*)(const Step &, const Task &, Outcome &);
// Dot products of a row of g and the source's row of y, at the arcs of a task.
using Sddmm = void (*)(const Task &, const Index *rowptr, const void *col, const void *g, const void *y, Index width,
                       double alpha, Index prefetch, void *out);

struct Kernels {
    Run (*rows)(Type type, bool wide_index, bool weighted, Index width);
    Sddmm (*sddmm)(Type type, bool wide_index);
    // Largest number of columns of a task.
    Index (*widest)(Type type, bool wide_index);
    const char *name;
};

const Kernels &kernels_baseline();
const Kernels &kernels_v3();
const Kernels &kernels_v4();

}  // namespace graphnoise
