// One step of propagation over some rows: what the driver and the row kernels share. Plain data only, since the kernels
// are compiled once for each instruction set, and nothing inline may be shared between these.

#pragma once

#include <cstdint>

namespace graphnoise {

using Index = std::int64_t;

enum class Kind { rows, piece, join, floor };

// to = scale * clamp(alpha * left * sum of the neighbours + beta * x), x the source or the node's own value.
struct Step {
    const Index *rowptr;
    const void *col;           // int32 or int64, readable `prefetch` entries beyond the end
    const void *value;         // one an arc, or one a source (`per_source`), or null: ones
    const void *from;          // values that are gathered, [num_nodes, width]
    const void *source;        // x, [num_nodes, width], or null: the node's own value
    const unsigned char *mask; // rows of the source that count, or null: all
    void *to;                  // [num_nodes, width]
    const void *left;          // scale of each row, or null: ones
    const void *held;          // scale that `from` already holds, or null: ones
    const void *scale;         // scale to give to `to`, or null: ones
    void *partial;             // sums of the pieces of long rows
    Index width;               // row stride of all matrices
    double alpha, beta, low, high;
    Index prefetch;            // arcs ahead
    bool per_source, clamp, residual, check;
};

// Rows [begin, end), or the arcs [begin, end) of one row, or the pieces [begin, end) of one row; some of the columns.
struct Task {
    Kind kind;
    Index begin, end, row, piece, column, width;
};

struct Outcome {
    double residual;  // largest change
    bool bad;         // something was not finite
};

enum class Type { float32, float64, bfloat16 };

using Run = void (*)(const Step &, const Task &, Outcome &);
// Dot products of a row of g and the source's row of y, at the arcs of a task.
using Sddmm = void (*)(const Task &, const Index *rowptr, const void *col, const void *g, const void *y, Index width,
                        double alpha, Index prefetch, void *out);

struct Kernels {
    Run (*rows)(Type type, bool wide_index, bool weighted, Index width);
    Sddmm (*sddmm)(Type type, bool wide_index);
    Index (*widest)(Type type, bool wide_index);  // columns that a task may have
    const char *name;
};

const Kernels &kernels_baseline();
const Kernels &kernels_v3();
const Kernels &kernels_v4();

}  // namespace graphnoise
