// Improvement of a set of nodes by maximum flows on the part of a graph around it. See __init__.py for what it computes;
// arrays are passed as addresses that it has checked.

#include <cmath>
#include <limits>

#include "local/edges.h"
#include "local/python.h"

namespace {

using namespace graphnoise::local;

struct NodeState {
    // Degree under labels once the row was read; before, a lower bound.
    double degree;
    // Residual capacity from the source and to the sink.
    double source, sink;
    // Where the search for a path continues.
    Index position;
    // Distance from the source in this phase, or -1 if not reached.
    Slot level;
    // Whether the node is in the set to improve.
    bool inside;
};

struct Workspace : LocalGraph {
    Buffer<NodeState> site;
    // Values are residual capacities.
    Edges edges;
    Buffer<Slot> queue;
    Buffer<Index> path;
    Index bytes() const {
        return LocalGraph::bytes() + site.bytes() + edges.bytes() + queue.bytes() + path.bytes();
    }
};

struct Quotient {
    // The objective is cut / gain.
    double cut, volume, gain;
};

class Improvement {
  public:
    Improvement(Workspace &w, double delta, double total, bool integral, double label_eps, InterruptCheck &interrupt)
        : w_(w), edges_(w.edges), penalty_(delta), total_(total), least_(label_eps), integral_(integral), interrupt_(interrupt) {}

    Quotient before{}, best{};
    std::vector<Node> members;
    Index rounds = 0, paths = 0;
    bool converged = false;

    void run(const Index *nodes, Index count, Index max_rounds) {
        w_.touch(nodes, count);
        edges_.begin();
        for (Slot s = 0; s < count; ++s) make(s, true);
        known_ = sources_ = static_cast<Slot>(count);
        for (Slot s = 0; s < count; ++s) open(s);
        members.assign(nodes, nodes + count);
        before = measure();
        best = before;
        if (!(best.cut > 0) || !(best.gain > 0)) {
            converged = true;
            return;
        }
        const double all = best.volume;
        penalty_ += all / (total_ - all);
        while (rounds < max_rounds && !stopped_) {
            ++rounds;
            // Without a penalty, capacities in an unweighted graph are integers, which float64 holds below 2^53.
            const bool exact = integral_ && std::isinf(penalty_) && best.cut * all < 9e15;
            flow(exact ? best.gain : 1.0, exact ? best.cut : best.cut / best.gain, exact);
            if (stopped_) return;
            std::vector<Node> old(members);
            collect();
            const Quotient quotient = members.empty() ? Quotient{} : measure();
            // Products of integers have no rounding and do not overflow here.
            const bool better = exact ? quotient.cut * best.gain < best.cut * quotient.gain
                                      : quotient.cut / quotient.gain < best.cut / best.gain * (1 - 1e-13);
            if (!(quotient.gain > 0) || !better) {
                members = std::move(old);
                converged = true;
                return;
            }
            best = quotient;
            if (best.cut == 0) {
                converged = true;
                return;
            }
        }
    }

  private:
    NodeState &site(Slot s) { return w_.site[s]; }

    void make(Slot s, bool inside) {
        w_.site.reserve(s + 1);
        const double degree = inside ? 0 : least_ * w_.degree(s);
        site(s) = {degree, 0, inside ? 0 : sink_ * degree, 0, -1, inside};
        edges_.add(s);
        if (!inside && std::isinf(penalty_)) site(s).sink = penalty_;
    }

    // Reads the row of a node; its edges to nodes that are not open are added to the network.
    void open(Slot s) {
        const Row row = w_.row(s);
        for (; known_ < w_.count(); ++known_) make(known_, false);
        NodeState &v = site(s);
        if (!v.inside && !std::isinf(penalty_)) v.sink += sink_ * (row.degree - v.degree);
        v.degree = row.degree;
        edges_.open(s, row, scale_);
    }

    bool is_left(const Half &h) const { return h.value > tiny_ * h.weight * scale_; }
    bool has_source(const NodeState &v) const { return v.inside && v.source > tiny_ * alpha_ * v.degree; }
    bool has_sink(const NodeState &v) const { return !v.inside && v.sink > tiny_ * sink_ * v.degree; }

    // The maximum flow with edges of capacity `scale` times their weight, alpha times the degree from the source to nodes
    // inside, and alpha times penalty times the degree from nodes outside to the sink.
    void flow(double scale, double alpha, bool exact) {
        scale_ = scale;
        alpha_ = alpha;
        tiny_ = exact ? 0.0 : 1e-12;
        sink_ = std::isinf(penalty_) ? 0.0 : alpha * penalty_;
        for (Slot s = 0; s < known_; ++s) {
            NodeState &v = site(s);
            v.source = v.inside ? alpha * v.degree : 0;
            v.sink = v.inside ? 0 : std::isinf(penalty_) ? penalty_ : sink_ * v.degree;
        }
        for (Index e = 0; e < edges_.size(); ++e) edges_[e].value = edges_[e].weight * scale;
        while (!stopped_ && levels()) {
            for (Slot s = 0; s < sources_ && !stopped_; ++s)
                if (has_source(site(s))) drain(s);
        }
    }

    // Distances from the source; returns whether the sink is reached. Reached nodes with a full sink are opened.
    bool levels() {
        bool sink_reached = false;
        for (Slot s = 0; s < known_; ++s) site(s).level = -1;
        w_.queue.reserve(sources_);
        Slot tail = 0;
        for (Slot s = 0; s < sources_; ++s)
            if (has_source(site(s))) {
                site(s).level = 0;
                w_.queue[tail++] = s;
            }
        for (Slot head = 0; head < tail; ++head) {
            if (head % 1024 == 0 && interrupt_.stops(0)) {
                stopped_ = true;
                return false;
            }
            const Slot s = w_.queue[head];
            if (!has_sink(site(s)) && !edges_.is_open(s)) open(s);
            NodeState &v = site(s);
            v.position = edges_.first(s);
            if (has_sink(v)) {
                sink_reached = true;
                continue;
            }
            w_.queue.reserve(tail + edges_.last(s) - edges_.first(s));
            for (Index k = edges_.first(s); k < edges_.last(s); ++k) {
                const Half &h = edges_[edges_.at(k)];
                if (site(h.to).level < 0 && is_left(h)) {
                    site(h.to).level = v.level + 1;
                    w_.queue[tail++] = h.to;
                }
            }
        }
        return sink_reached;
    }

    // Sends the residual capacity of a source along paths of growing distance.
    void drain(Slot source) {
        Index length = 0;
        Slot s = source;
        while (true) {
            NodeState &v = site(s);
            if (has_sink(v)) {
                double amount = std::min(site(source).source, v.sink);
                for (Index k = 0; k < length; ++k) amount = std::min(amount, edges_[w_.path[k]].value);
                site(source).source -= amount;
                v.sink -= amount;
                Index back = length;
                for (Index k = length - 1; k >= 0; --k) {
                    const Index e = w_.path[k];
                    edges_[e].value -= amount;
                    edges_[e ^ 1].value += amount;
                    if (!is_left(edges_[e])) back = k;
                }
                if (++paths % 1024 == 0 && interrupt_.stops(0)) stopped_ = true;
                if (stopped_ || !has_source(site(source))) return;
                if (back < length) {
                    s = edges_.from(w_.path[back]);
                    length = back;
                }
                continue;
            }
            bool ahead = false;
            for (; v.position < edges_.last(s); ++v.position) {
                const Half &h = edges_[edges_.at(v.position)];
                if ((ahead = site(h.to).level == v.level + 1 && is_left(h))) break;
            }
            if (ahead) {
                w_.path.reserve(length + 1);
                w_.path[length++] = edges_.at(v.position);
                s = edges_[edges_.at(v.position)].to;
            } else {
                if (length == 0) return;
                s = edges_.from(w_.path[--length]);
                ++site(s).position;
            }
        }
    }

    void collect() {
        members.clear();
        for (Slot s = 0; s < known_; ++s)
            if (site(s).level >= 0) members.push_back(w_.node(s));
        std::sort(members.begin(), members.end());
    }

    // Cut and volume of the members, whose rows were all read, in the order of nodes, so that sums depend on the set alone.
    Quotient measure() {
        for (Slot s = 0; s < known_; ++s) site(s).level = -1;
        for (const Node node : members) site(w_.find(node)).level = 0;
        double cut = 0, inside = 0, outside = 0;
        for (const Node node : members) {
            const Slot s = w_.find(node);
            const Row row = w_.row(s);
            (site(s).inside ? inside : outside) += row.degree;
            for (Index k = 0; k < row.size; ++k)
                if (site(row.slot[k]).level < 0) cut += row.weight == nullptr ? 1.0 : row.weight[k];
        }
        return {cut, inside + outside, outside > 0 ? inside - penalty_ * outside : inside};
    }

    Workspace &w_;
    Edges &edges_;
    double penalty_;
    const double total_, least_;
    double scale_ = 1, alpha_ = 0, sink_ = 0, tiny_ = 0;
    const bool integral_;
    InterruptCheck &interrupt_;
    bool stopped_ = false;
    Slot known_ = 0, sources_ = 0;
};

nb::tuple improve(Address rowptr, Address col, Address weight, Address degree, Address labels,
                  const std::optional<nb::object> &lookup, double label_eps, Address nodes, Index count, double delta,
                  double total, Index max_rounds) {
    const Graph graph = graph_at(rowptr, col, weight, degree);
    const Labels node_labels = labels_at(labels, lookup, label_eps);
    InterruptCheck interrupt;
    Quotient before{}, best{};
    std::vector<Node> members;
    Index rounds = 0, paths = 0, arcs = 0;
    bool converged = false;
    {
        nb::gil_scoped_release release;
        interrupt.run(1, 1, [&](int, Index) {
            WorkspaceHandle<Workspace> local;
            local->begin(graph, node_labels, true);
            Improvement run(*local, delta, total, weight == 0 && !node_labels.any(), node_labels.any() ? label_eps : 1.0, interrupt);
            run.run(reinterpret_cast<const Index *>(nodes), count, max_rounds);
            before = run.before;
            best = run.best;
            members = std::move(run.members);
            converged = run.converged;
            rounds = run.rounds;
            paths = run.paths;
            for (Slot s = 0; s < local->count(); ++s)
                if (local->read(s)) arcs += graph.rowptr[local->node(s) + 1] - graph.rowptr[local->node(s)];
            local.give_back();
        });
    }
    interrupt.rethrow();
    Index *data;
    auto out = array<Index>(static_cast<Index>(members.size()), &data);
    std::copy(members.begin(), members.end(), data);
    return nb::make_tuple(std::move(out), before.cut, before.volume, best.cut, best.volume, best.gain, converged, rounds, paths, arcs);
}

}  // namespace

void add_cut(nb::module_ &m) { m.def("improve", &improve); }
