// Diffusions whose pushes have a closed form: approximate PageRank, l1-regularised PageRank, flow of norm 2.

#include "push/methods.h"
#include "push/walks.h"

namespace graphnoise::local {

namespace {

struct Flow {
    [[maybe_unused]] static constexpr bool loops = false, sinks = true;
    double tol;
    static bool over(double here, double limit) { return here > limit; }
    double limit(double sink) const { return sink + tol; }
    double lower_limit(double sink) const { return sink + tol; }
    double push(Mass &m, double &value, double degree, double sink) const {
        const double flow = (m.here - sink) / degree;
        value += flow;
        m.here = sink;
        return flow;
    }
};

template <bool Weighted, class PushRule>
inline void give(Workspace &w, const Row &row, double flow) {
    Mass *mass = w.mass.data();
    for (Index k = 0; k < row.size; ++k) {
        Mass &m = mass[row.slot[k]];
        const double before = m.here, after = before + (Weighted ? flow * row.weight[k] : flow);
        m.here = after;
        if (!PushRule::over(before, m.limit) && PushRule::over(after, m.limit)) w.queue.push(row.slot[k]);
    }
}

template <class PushRule>
class Run {
  public:
    Run(Workspace &w, const Settings &s, const PushRule &rule)
        : w_(w), s_(s), rule_(rule), degree_unknown_(!PushRule::sinks && w.labelled()) {}

    RunStats operator()(const Seeds &seeds, const StopCheck &stop) {
        start(seeds);
        RunStats stats{Status::converged, 0, 0, 0};
        Index next_check = arcs_per_check;
        while (!w_.queue.empty()) {
            if (w_.arcs() >= next_check) {
                if (stop()) {
                    stats.status = Status::stopped;
                    return stats;
                }
                next_check = w_.arcs() + arcs_per_check;
            }
            ahead();
            const Slot s = w_.queue.pop();
            const bool fresh = !w_.read(s);
            const Row row = w_.row(s);
            if (fresh) {
                admit();
                if (degree_unknown_) {
                    w_.mass[s].limit = rule_.limit(row.degree);
                    if (!PushRule::over(w_.mass[s].here, w_.mass[s].limit)) continue;
                }
            }
            if (stats.pushes == s_.max_pushes) return finish(stats, Status::max_pushes);
            ++stats.pushes;
            // A node without neighbours.
            if (!(row.degree > 0)) {
                if (PushRule::sinks) return finish(stats, Status::exhausted);
                w_.value[s] += w_.mass[s].here;
                w_.mass[s] = {0, infinite};
                continue;
            }
            const double flow = rule_.push(w_.mass[s], w_.value[s], row.degree, PushRule::sinks ? w_.sink[s] : 0);
            if (PushRule::over(w_.mass[s].here, w_.mass[s].limit)) w_.queue.push(s);
            if (row.weight != nullptr)
                give<true, PushRule>(w_, row, flow);
            else
                give<false, PushRule>(w_, row, flow);
            if (PushRule::sinks && check_.unsolvable(w_, stats.pushes, fresh)) return finish(stats, Status::exhausted);
        }
        return finish(stats, Status::converged);
    }

  private:
    void start(const Seeds &seeds) {
        for (Index i = 0; i < seeds.size; ++i) {
            const Slot s = w_.seed(static_cast<Node>(seeds.node[i]));
            admit();
            w_.mass[s].here += seeds.mass[i];
            check_.mass += seeds.mass[i];
        }
        for (Slot s = 0; s < w_.count(); ++s)
            if (PushRule::over(w_.mass[s].here, w_.mass[s].limit)) w_.queue.push(s);
    }
    // Initialises new slots.
    void admit() {
        const Slot count = w_.count();
        if (count == admitted_) return;
        w_.mass.reserve(count);
        w_.value.reserve(count);
        w_.queue.reserve(count);
        if (PushRule::sinks) w_.sink.reserve(count);
        for (Slot s = admitted_; s < count; ++s) {
            const double degree = w_.degree(s), size = PushRule::sinks && s_.unit ? 1.0 : degree;
            w_.mass[s] = {0, degree_unknown_ ? rule_.lower_limit(size) : rule_.limit(size)};
            w_.value[s] = 0;
            if (PushRule::sinks) {
                w_.sink[s] = size;
                check_.sinks += size;
            }
        }
        admitted_ = count;
    }
    void ahead() {
        const Index length = w_.queue.length();
        if (length > 2) w_.fetch_far(w_.queue.ahead(2));
        if (length > 1) w_.fetch(w_.queue.ahead(1));
    }
    RunStats finish(RunStats stats, Status status) const {
        stats.status = status;
        for (Slot s = 0; s < w_.count(); ++s) {
            const Mass &m = w_.mass[s];
            // The limit is eps times the degree, or times its lower bound under labels.
            const double worst = PushRule::sinks ? m.here - w_.sink[s] : m.here > 0 ? m.here / m.limit : 0;
            stats.worst = std::max(stats.worst, worst);
        }
        if (!PushRule::sinks) stats.worst *= rule_.limit(1);
        return stats;
    }

    Workspace &w_;
    const Settings &s_;
    const PushRule rule_;
    // Whether degrees are known only once a row is read.
    const bool degree_unknown_;
    Slot admitted_ = 0;
    SaturationCheck check_;
};

}  // namespace

RunStats diffuse(Workspace &w, const Graph &graph, const Labels &labels, const Settings &s, const Seeds &seeds,
                 const StopCheck &stop) {
    w.begin(graph, labels, s.method != Method::flow && s.method != Method::norm_flow);
    const double share = w.label_eps();
    switch (s.method) {
        case Method::pagerank: return Run<Pagerank>(w, s, Pagerank(s, share))(seeds, stop);
        case Method::l1_pagerank: return Run<L1Pagerank>(w, s, L1Pagerank(s, share))(seeds, stop);
        case Method::flow: return Run<Flow>(w, s, {s.tol})(seeds, stop);
        case Method::norm_flow: return norm_flow(w, s, seeds, stop);
        default: return heat_kernel(w, s, seeds, stop);
    }
}

bool overfull(Workspace &w) {
    const Slot count = w.count();
    w.list.reserve(count);
    w.other.reserve(count);
    Slot *const part = w.list.data(), *const seen = w.other.data();
    std::fill_n(seen, count, 0);
    for (Slot first = 0; first < count; ++first) {
        if (seen[first] != 0 || !w.read(first)) continue;
        Index size = 1;
        double mass = 0, sinks = 0;
        bool closed = true;
        part[0] = first;
        seen[first] = 1;
        for (Index i = 0; i < size; ++i) {
            const Slot s = part[i];
            mass += w.mass[s].here;
            sinks += w.sink[s];
            const Row row = w.known(s);
            for (Index k = 0; k < row.size; ++k) {
                const Slot other = row.slot[k];
                if (!w.read(other)) {
                    closed = false;
                } else if (seen[other] == 0) {
                    seen[other] = 1;
                    part[size++] = other;
                }
            }
        }
        if (closed && mass > sinks * (1 + 1e-12)) return true;
    }
    return false;
}

Index in_order(Workspace &w, bool values_only) {
    w.list.reserve(w.count());
    return w.sort(
        w.count(), [&](Index s) { return w.value[s] != 0 || (!values_only && w.mass[s].here != 0); },
        [&](Index s) { return w.node(static_cast<Slot>(s)); }, w.list.data());
}

}  // namespace graphnoise::local
