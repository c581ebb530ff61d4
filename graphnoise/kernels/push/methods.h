// Diffusions on the touched part of a graph. See __init__.py for what each of them computes.

#pragma once

#include <algorithm>
#include <functional>

#include "local/graph.h"

namespace graphnoise::local {

enum class Method { pagerank, l1_pagerank, flow, norm_flow, heat_kernel };
enum class Status { converged, max_pushes, exhausted, overflow, stopped };

struct Settings {
    Method method;
    // pagerank, l1_pagerank: probability to return.
    double alpha;
    // pagerank, heat_kernel: residual allowed per unit of degree; l1_pagerank: rho.
    double eps;
    // flow, norm_flow: excess of mass allowed; l1_pagerank: excess of the gradient allowed, as a part of rho.
    double tol;
    // norm_flow: order of the norm, above 2.
    double p;
    // heat_kernel: time.
    double t;
    // flow, norm_flow: sinks are 1 and not the degree.
    bool unit;
    Index max_pushes;
};

struct Seeds {
    const Index *node;
    const double *mass;
    Index size;
};

struct RunStats {
    Status status;
    Index pushes;
    // Largest excess (flow), or residual per unit of degree (walks).
    double worst;
    // heat_kernel: mass beyond the last level.
    double extra;
};

// The data of a node that is read at each arc into it.
struct Mass {
    // Nodes with mass above their limit are pushed.
    double here, limit;
};

// Sorts positions by the nodes at them.
class Order {
  public:
    // Writes the positions below `count` for which `keep` holds, in the order of their nodes; returns their number.
    template <class Keep, class Of>
    Index sort(Index count, Keep &&keep, Of &&node, Slot *out) {
        keys_.reserve(count);
        sorted_.reserve(count);
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
        } else {
            // Radix sort by 11 bits of the node at a time.
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

struct Workspace : LocalGraph, Order {
    // By slot, as the next two.
    Buffer<Mass> mass;
    Buffer<double> value, sink;
    // Values of one row or one level.
    Buffer<double> scratch;
    Buffer<Slot> list, other;
    Queue queue;

    void clear() {
        LocalGraph::clear();
        queue.clear();
    }
    Index bytes() const {
        return LocalGraph::bytes() + Order::bytes() + mass.bytes() + value.bytes() + sink.bytes() + scratch.bytes() +
               list.bytes() + other.bytes() + queue.bytes();
    }
    // The result, by position in `list`, which in_order() fills.
    Index result_node(Index i) const { return node(list[i]); }
    double result_value(Index i) const { return value[list[i]]; }
    double result_mass(Index i) const { return mass[list[i]].here; }
};

// Whether to stop; called every `arcs_per_check` arcs.
using StopCheck = std::function<bool()>;
constexpr Index arcs_per_check = 1 << 16;

// Runs a method; afterwards `value` and `mass.here` of each slot are the result.
RunStats diffuse(Workspace &w, const Graph &graph, const Labels &labels, const Settings &settings, const Seeds &seeds,
                 const StopCheck &stop);
// The same after begin() of the workspace.
RunStats heat_kernel(Workspace &w, const Settings &settings, const Seeds &seeds, const StopCheck &stop);
RunStats norm_flow(Workspace &w, const Settings &settings, const Seeds &seeds, const StopCheck &stop);

// Flow: whether a closed set of nodes whose rows were all read holds more mass than its sinks.
bool overfull(Workspace &w);

// Flow: searches for parts of the graph that hold too much, less and less often while no new node is touched.
class SaturationCheck {
  public:
    // Of all seeds, and of the nodes that were touched.
    double mass = 0, sinks = 0;
    // Whether there is no solution; `fresh` is whether the last push read a new row.
    bool unsolvable(Workspace &w, Index pushes, bool fresh) {
        if (fresh) {
            wait_ = 2 * Index{w.rows()} + 64;
            next_ = pushes + wait_;
            return w.rows() == w.count() && mass > sinks * (1 + 1e-12);
        }
        if (pushes < next_) return false;
        wait_ *= 2;
        next_ = pushes + wait_;
        return overfull(w);
    }

  private:
    Index wait_ = 0, next_ = 0;
};

// Slots in the order of their nodes, without those that have neither mass nor value (or none of value); in w.list.
Index in_order(Workspace &w, bool values_only);

}  // namespace graphnoise::local
