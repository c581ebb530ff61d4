// The diffusions on the touched part of a graph. See push.py for what each of them computes.

#pragma once

#include <algorithm>
#include <functional>

#include "local/graph.h"

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

// Sorts positions by the node that stands there.
class Order {
  public:
    // Positions below `count` that are kept, in the order of their nodes; returns their number.
    template <class Keep, class Of>
    Index sort(Index count, Keep &&keep, Of &&node, Slot *out) {
        keys_.reserve(count), sorted_.reserve(count);
        std::uint64_t *keys = keys_.data(), *other = sorted_.data(), most = 0;
        Index size = 0;
        for (Index i = 0; i < count; ++i) {
            if (!keep(i)) continue;
            const auto v = static_cast<std::uint64_t>(node(i));
            keys[size++] = v << 32 | static_cast<std::uint64_t>(i);
            most = std::max(most, v);
        }
        if (size < 128) {
            std::sort(keys, keys + size);
        } else {  // by 11 bits of the node at a time
            for (int shift = 0; most >> shift != 0; shift += 11) {
                Index begin[2049] = {};
                for (Index i = 0; i < size; ++i) ++begin[(keys[i] >> (32 + shift) & 2047) + 1];
                for (int b = 0; b < 2048; ++b) begin[b + 1] += begin[b];
                for (Index i = 0; i < size; ++i) other[begin[keys[i] >> (32 + shift) & 2047]++] = keys[i];
                std::swap(keys, other);
            }
        }
        for (Index i = 0; i < size; ++i) out[i] = static_cast<Slot>(keys[i] & 0xffffffffu);
        return size;
    }
    Index bytes() const { return keys_.bytes() + sorted_.bytes(); }

  private:
    Buffer<std::uint64_t> keys_, sorted_;
};

struct Workspace : Local, Order {
    Buffer<Mass> mass;  // by slot, as all here
    Buffer<double> value, sink;
    Buffer<double> scratch;  // of one row or one level
    Buffer<Slot> list, other;
    Queue queue;

    void clear() {
        Local::clear();
        queue.clear();
    }
    Index bytes() const {
        return Local::bytes() + Order::bytes() + mass.bytes() + value.bytes() + sink.bytes() + scratch.bytes() +
               list.bytes() + other.bytes() + queue.bytes();
    }
    // What was found, by its place in `list`, where in_order() put it.
    Index found_node(Index i) const { return node(list[i]); }
    double found_value(Index i) const { return value[list[i]]; }
    double found_mass(Index i) const { return mass[list[i]].here; }
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
