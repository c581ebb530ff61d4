// Improvement of a set of nodes by maximum flows on the part of a graph around it. See cut.py for the meaning and
// cut_reference.py for the same in a few lines. Arrays come as addresses that cut.py has checked.

#include <cmath>
#include <limits>

#include "local/edges.h"
#include "local/python.h"

namespace {

using namespace graphnoise::local;

struct Site {
    double degree;        // with regard to labels once the row was read; before, the least that it can be
    double source, sink;  // capacity that is left from the source and to the sink
    Index now;            // where the search for a path goes on
    Slot level;           // distance from the source in this phase, -1: not reached
    bool inside;          // in the given set
};

struct Workspace : Local {
    Buffer<Site> site;
    Edges edges;  // with the capacity that is left
    Buffer<Slot> queue;
    Buffer<Index> path;
    Index bytes() const {
        return Local::bytes() + site.bytes() + edges.bytes() + queue.bytes() + path.bytes();
    }
};

struct Quotient {
    double cut, volume, gain;  // the set is as good as cut / gain is small
};

class Improvement {
  public:
    Improvement(Workspace &w, double delta, double total, bool whole, double label_eps, Watch &watch)
        : w_(w), edges_(w.edges), penalty_(delta), total_(total), least_(label_eps), whole_(whole), watch_(watch) {}

    Quotient before{}, best{};
    std::vector<Node> members;
    Index rounds = 0, paths = 0;
    bool converged = false;

    void run(const Index *nodes, Index count, Index max_rounds) {
        w_.touch(nodes, count), edges_.begin();
        for (Slot s = 0; s < count; ++s) make(s, true);
        known_ = sources_ = static_cast<Slot>(count);
        for (Slot s = 0; s < count; ++s) open(s);
        members.assign(nodes, nodes + count);
        before = best = measure();
        if (!(best.cut > 0) || !(best.gain > 0)) {
            converged = true;
            return;
        }
        const double all = best.volume;
        penalty_ += all / (total_ - all);
        while (rounds < max_rounds && !stopped_) {
            ++rounds;
            // Capacities without a penalty to pay are integers in a graph without weights, as long as float64 holds them.
            const bool exact = whole_ && std::isinf(penalty_) && best.cut * all < 9e15;
            flow(exact ? best.gain : 1.0, exact ? best.cut : best.cut / best.gain, exact);
            if (stopped_) return;
            std::vector<Node> old(members);
            collect();
            const Quotient found = members.empty() ? Quotient{} : measure();
            const bool better = exact ? found.cut * best.gain < best.cut * found.gain  // no rounding, and no overflow
                                      : found.cut / found.gain < best.cut / best.gain * (1 - 1e-13);
            if (!(found.gain > 0) || !better) {
                members = std::move(old), converged = true;
                return;
            }
            best = found;
            if (best.cut == 0) {
                converged = true;
                return;
            }
        }
    }

  private:
    Site &site(Slot s) { return w_.site[s]; }

    void make(Slot s, bool inside) {
        w_.site.reserve(s + 1);
        const double degree = inside ? 0 : least_ * w_.degree(s);
        site(s) = {degree, 0, inside ? 0 : sink_ * degree, 0, -1, inside};
        edges_.add(s);
        if (!inside && std::isinf(penalty_)) site(s).sink = penalty_;
    }

    // Reads the row of a site; its edges to sites that are not open join the network.
    void open(Slot s) {
        const Row row = w_.row(s);
        for (; known_ < w_.count(); ++known_) make(known_, false);
        Site &v = site(s);
        if (!v.inside && !std::isinf(penalty_)) v.sink += sink_ * (row.degree - v.degree);
        v.degree = row.degree;
        edges_.open(s, row, scale_);
    }

    bool is_left(const Half &h) const { return h.value > tiny_ * h.weight * scale_; }
    bool has_source(const Site &v) const { return v.inside && v.source > tiny_ * alpha_ * v.degree; }
    bool has_sink(const Site &v) const { return !v.inside && v.sink > tiny_ * sink_ * v.degree; }

    // The largest flow where edges hold `scale` of their weight, the source gives alpha of each degree inside, and the
    // sink takes alpha times the penalty of each degree outside.
    void flow(double scale, double alpha, bool exact) {
        scale_ = scale, alpha_ = alpha, tiny_ = exact ? 0.0 : 1e-12;
        sink_ = std::isinf(penalty_) ? 0.0 : alpha * penalty_;
        for (Slot s = 0; s < known_; ++s) {
            Site &v = site(s);
            v.source = v.inside ? alpha * v.degree : 0;
            v.sink = v.inside ? 0 : std::isinf(penalty_) ? penalty_ : sink_ * v.degree;
        }
        for (Index e = 0; e < edges_.size(); ++e) edges_[e].value = edges_[e].weight * scale;
        while (!stopped_ && levels()) {
            for (Slot s = 0; s < sources_ && !stopped_; ++s)
                if (has_source(site(s))) drain(s);
        }
    }

    // Distances from the source; whether the sink is reached. What is reached and full is opened.
    bool levels() {
        bool found = false;
        for (Slot s = 0; s < known_; ++s) site(s).level = -1;
        w_.queue.reserve(sources_);
        Slot tail = 0;
        for (Slot s = 0; s < sources_; ++s)
            if (has_source(site(s))) site(s).level = 0, w_.queue[tail++] = s;
        for (Slot head = 0; head < tail; ++head) {
            if (head % 1024 == 0 && watch_.over(0)) {
                stopped_ = true;
                return false;
            }
            const Slot s = w_.queue[head];
            if (!has_sink(site(s)) && !edges_.is_open(s)) open(s);
            Site &v = site(s);
            v.now = edges_.first(s);
            if (has_sink(v)) {
                found = true;
                continue;
            }
            w_.queue.reserve(tail + edges_.last(s) - edges_.first(s));
            for (Index k = edges_.first(s); k < edges_.last(s); ++k) {
                const Half &h = edges_[edges_.at(k)];
                if (site(h.to).level < 0 && is_left(h)) site(h.to).level = v.level + 1, w_.queue[tail++] = h.to;
            }
        }
        return found;
    }

    // Sends along paths of growing distance what a source still gives.
    void drain(Slot source) {
        Index length = 0;
        Slot s = source;
        while (true) {
            Site &v = site(s);
            if (has_sink(v)) {
                double amount = std::min(site(source).source, v.sink);
                for (Index k = 0; k < length; ++k) amount = std::min(amount, edges_[w_.path[k]].value);
                site(source).source -= amount, v.sink -= amount;
                Index back = length;
                for (Index k = length - 1; k >= 0; --k) {
                    const Index e = w_.path[k];
                    edges_[e].value -= amount, edges_[e ^ 1].value += amount;
                    if (!is_left(edges_[e])) back = k;
                }
                if (++paths % 1024 == 0 && watch_.over(0)) stopped_ = true;
                if (stopped_ || !has_source(site(source))) return;
                if (back < length) s = edges_.from(w_.path[back]), length = back;
                continue;
            }
            bool ahead = false;
            for (; v.now < edges_.last(s); ++v.now) {
                const Half &h = edges_[edges_.at(v.now)];
                if ((ahead = site(h.to).level == v.level + 1 && is_left(h))) break;
            }
            if (ahead) {
                w_.path.reserve(length + 1);
                w_.path[length++] = edges_.at(v.now);
                s = edges_[edges_.at(v.now)].to;
            } else {
                if (length == 0) return;
                s = edges_.from(w_.path[--length]);
                ++site(s).now;
            }
        }
    }

    void collect() {
        members.clear();
        for (Slot s = 0; s < known_; ++s)
            if (site(s).level >= 0) members.push_back(w_.node(s));
        std::sort(members.begin(), members.end());
    }

    // Cut and volume of the members, whose rows were all read; node by node, so that sums depend on the set alone.
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
    const bool whole_;
    Watch &watch_;
    bool stopped_ = false;
    Slot known_ = 0, sources_ = 0;
};

nb::tuple improve(Address rowptr, Address col, Address weight, Address degree, Address labels,
                  const std::optional<nb::object> &ask, double label_eps, Address nodes, Index count, double delta,
                  double total, Index max_rounds) {
    const Graph graph = graph_at(rowptr, col, weight, degree);
    const Labels given = labels_at(labels, ask.value_or(nb::none()), label_eps);
    Watch watch;
    Quotient before{}, best{};
    std::vector<Node> members;
    Index rounds = 0, paths = 0, arcs = 0;
    bool converged = false;
    {
        nb::gil_scoped_release release;
        watch.team(1, 1, [&](int, Index) {
            Lease<Workspace> local;
            local->begin(graph, given, true);
            Improvement run(*local, delta, total, weight == 0 && !given.any(), given.any() ? label_eps : 1.0, watch);
            run.run(reinterpret_cast<const Index *>(nodes), count, max_rounds);
            before = run.before, best = run.best, members = std::move(run.members), converged = run.converged;
            rounds = run.rounds, paths = run.paths;
            for (Slot s = 0; s < local->count(); ++s)
                if (local->read(s)) arcs += graph.rowptr[local->node(s) + 1] - graph.rowptr[local->node(s)];
            local.keep();
        });
    }
    watch.finish();
    Index *data;
    auto out = array<Index>(static_cast<Index>(members.size()), &data);
    std::copy(members.begin(), members.end(), data);
    return nb::make_tuple(std::move(out), before.cut, before.volume, best.cut, best.volume, best.gain, converged, rounds, paths, arcs);
}

}  // namespace

void add_cut(nb::module_ &m) { m.def("improve", &improve); }
