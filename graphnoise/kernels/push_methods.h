// The diffusions on the touched part of a graph. See push.py for what each of them computes.

#pragma once

#include "push_local.h"

namespace graphnoise::local {

enum class Method { pagerank, l1_pagerank, flow, norm_flow, heat_kernel };
enum class Status { converged, max_pushes, exhausted, overflow, stopped };

struct Settings {
    Method method;
    double alpha;      // pagerank, l1_pagerank: probability to return
    double eps;        // pagerank, heat_kernel: residual allowed for each unit of degree; l1_pagerank: rho
    double tol;        // l1_pagerank: part of rho, flow: mass above its sink that a node may keep
    double p;          // norm_flow: order of the norm, above 2
    double t;          // heat_kernel: time
    bool unit;         // flow: sinks of 1 in place of degrees
    Index max_pushes;
};

struct Seeds {
    const Index *node;
    const double *mass;
    Index size;
};

struct Outcome {
    Status status;
    Index pushes;
    double worst;   // largest excess (flow), or residual for each unit of degree (walks)
    double extra;   // heat_kernel: mass beyond the last level
};

// What is read of a node at each arc into it.
struct Mass {
    double here, limit;  // a node with more than its limit is pushed
};

struct Workspace : Local {
    Buffer<Mass> mass;       // by slot, as all here
    Buffer<double> value, sink;
    Buffer<double> scratch;  // of one row or one level
    Buffer<Slot> list, other;
    Buffer<std::uint64_t> keys, sorted;
    Queue queue;

    void clear() {
        Local::clear();
        queue.clear();
    }
    Index bytes() const {
        return Local::bytes() + mass.bytes() + value.bytes() + sink.bytes() + scratch.bytes() + list.bytes() +
               other.bytes() + keys.bytes() + sorted.bytes() + queue.bytes();
    }
};

// Whether to stop at once; asked every `look` arcs.
using Halt = std::function<bool()>;
constexpr Index look = 1 << 16;

// Run a method; afterwards `value` and `mass.here` of each slot are the result.
Outcome diffuse(Workspace &w, const Graph &graph, const Labels &labels, const Settings &settings, const Seeds &seeds,
                const Halt &halt);
// The same on a workspace that has begun.
Outcome heat_kernel(Workspace &w, const Settings &settings, const Seeds &seeds, const Halt &halt);
Outcome norm_flow(Workspace &w, const Settings &settings, const Seeds &seeds, const Halt &halt);

// Flow: whether some nodes that lead only to each other, all read, hold more than their sinks can take.
bool overfull(Workspace &w);

// Slots in the order of their nodes, without those that have neither mass nor value (or none of value); in w.list.
Index in_order(Workspace &w, bool values_only);

}  // namespace graphnoise::local
