// Diffusions whose pushes have a closed form: approximate PageRank, l1-regularised PageRank, flow of norm 2.

#include "push/methods.h"
#include "push/walks.h"

namespace graphnoise::local {

namespace {

struct Flow {
    static constexpr bool loops = false, sinks = true;
    double tol;
    static bool over(double here, double limit) { return here > limit; }
    double limit(double sink) const { return sink + tol; }
    double guess(double sink) const { return sink + tol; }
    double push(Mass &m, double &value, double degree, double sink) const {
        const double given = (m.here - sink) / degree;
        value += given;
        m.here = sink;
        return given;
    }
};

template <bool Weighted, class Rule>
inline void give(Workspace &w, const Row &row, double given) {
    Mass *mass = w.mass.data();
    for (Index k = 0; k < row.size; ++k) {
        Mass &m = mass[row.slot[k]];
        const double before = m.here, after = before + (Weighted ? given * row.weight[k] : given);
        m.here = after;
        if (!Rule::over(before, m.limit) && Rule::over(after, m.limit)) w.queue.push(row.slot[k]);
    }
}

template <class Rule>
class Run {
  public:
    Run(Workspace &w, const Settings &s, const Rule &rule) : w_(w), s_(s), rule_(rule), unsure_(!Rule::sinks && w.labelled()) {}

    Outcome operator()(const Seeds &seeds, const Halt &halt) {
        start(seeds);
        Outcome out{Status::converged, 0, 0, 0};
        Index next_look = look;
        while (!w_.queue.empty()) {
            if (w_.arcs() >= next_look) {
                if (halt()) return out.status = Status::stopped, out;
                next_look = w_.arcs() + look;
            }
            ahead();
            const Slot s = w_.queue.pop();
            const bool fresh = !w_.read(s);
            const Row row = w_.row(s);
            if (fresh) {
                admit();
                ++rows_;
                if (unsure_) {
                    w_.mass[s].limit = rule_.limit(row.degree);
                    if (!Rule::over(w_.mass[s].here, w_.mass[s].limit)) continue;
                }
            }
            if (out.pushes == s_.max_pushes) return out.status = Status::max_pushes, finish(out);
            ++out.pushes;
            if (!(row.degree > 0)) {  // nothing leads on
                if (Rule::sinks) return out.status = Status::exhausted, finish(out);
                w_.value[s] += w_.mass[s].here;
                w_.mass[s] = {0, infinite};
                continue;
            }
            const double given = rule_.push(w_.mass[s], w_.value[s], row.degree, Rule::sinks ? w_.sink[s] : 0);
            if (Rule::over(w_.mass[s].here, w_.mass[s].limit)) w_.queue.push(s);
            if (row.weight != nullptr)
                give<true, Rule>(w_, row, given);
            else
                give<false, Rule>(w_, row, given);
            if (Rule::sinks && stuck(out.pushes, fresh)) return out.status = Status::exhausted, finish(out);
        }
        return finish(out);
    }

  private:
    void start(const Seeds &seeds) {
        for (Index i = 0; i < seeds.size; ++i) {
            const Slot s = w_.seed(static_cast<Node>(seeds.node[i]));
            admit();
            w_.mass[s].here += seeds.mass[i];
            total_ += seeds.mass[i];
        }
        for (Slot s = 0; s < w_.count(); ++s)
            if (Rule::over(w_.mass[s].here, w_.mass[s].limit)) w_.queue.push(s);
    }
    // Make what slots that are new need.
    void admit() {
        const Slot count = w_.count();
        if (count == admitted_) return;
        w_.mass.reserve(count), w_.value.reserve(count), w_.queue.reserve(count);
        if (Rule::sinks) w_.sink.reserve(count);
        for (Slot s = admitted_; s < count; ++s) {
            const double degree = w_.degree(s), size = Rule::sinks && s_.unit ? 1.0 : degree;
            w_.mass[s] = {0, unsure_ ? rule_.guess(size) : rule_.limit(size)};
            w_.value[s] = 0;
            if (Rule::sinks) w_.sink[s] = size, sinks_ += size;
        }
        admitted_ = count;
    }
    void ahead() {
        const Index length = w_.queue.length();
        if (length > 2) w_.fetch_far(w_.queue.ahead(2));
        if (length > 1) w_.fetch(w_.queue.ahead(1));
    }
    // Flow: looks for parts of the graph that hold too much, more and more rarely while nothing new is touched.
    bool stuck(Index pushes, bool fresh) {
        if (fresh) {
            wait_ = 2 * Index{rows_} + 64, next_ = pushes + wait_;
            return w_.rows() == w_.count() && total_ > sinks_ * (1 + 1e-12);
        }
        if (pushes < next_) return false;
        wait_ *= 2, next_ = pushes + wait_;
        return overfull(w_);
    }
    Outcome finish(Outcome out) const {
        for (Slot s = 0; s < w_.count(); ++s) {
            const Mass &m = w_.mass[s];
            // A limit is eps times the degree, or that of which labels may leave.
            const double worst = Rule::sinks ? m.here - w_.sink[s] : m.here > 0 ? m.here / m.limit : 0;
            out.worst = std::max(out.worst, worst);
        }
        if (!Rule::sinks) out.worst *= rule_.limit(1);
        return out;
    }

    Workspace &w_;
    const Settings &s_;
    const Rule rule_;
    const bool unsure_;  // whether degrees are known only once a row is read
    Slot admitted_ = 0, rows_ = 0;
    double total_ = 0, sinks_ = 0;
    Index wait_ = 0, next_ = 0;
};

}  // namespace

Outcome diffuse(Workspace &w, const Graph &graph, const Labels &labels, const Settings &s, const Seeds &seeds,
                const Halt &halt) {
    w.begin(graph, labels, s.method != Method::flow && s.method != Method::norm_flow);
    const double share = w.label_eps();
    switch (s.method) {
        case Method::pagerank: return Run<Pagerank>(w, s, Pagerank(s, share))(seeds, halt);
        case Method::l1_pagerank: return Run<L1Pagerank>(w, s, L1Pagerank(s, share))(seeds, halt);
        case Method::flow: return Run<Flow>(w, s, {s.tol})(seeds, halt);
        case Method::norm_flow: return norm_flow(w, s, seeds, halt);
        default: return heat_kernel(w, s, seeds, halt);
    }
}

bool overfull(Workspace &w) {
    const Slot count = w.count();
    w.list.reserve(count), w.other.reserve(count);
    Slot *const part = w.list.data(), *const seen = w.other.data();
    std::fill_n(seen, count, 0);
    for (Slot first = 0; first < count; ++first) {
        if (seen[first] != 0 || !w.read(first)) continue;
        Index size = 1;
        double mass = 0, sinks = 0;
        bool closed = true;
        part[0] = first, seen[first] = 1;
        for (Index i = 0; i < size; ++i) {
            const Slot s = part[i];
            mass += w.mass[s].here, sinks += w.sink[s];
            const Row row = w.known(s);
            for (Index k = 0; k < row.size; ++k) {
                const Slot other = row.slot[k];
                if (!w.read(other)) closed = false;
                else if (seen[other] == 0) seen[other] = 1, part[size++] = other;
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
