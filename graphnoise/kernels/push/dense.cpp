// See dense.h.

#include "push/dense.h"

namespace graphnoise::local {

// A node without neighbours has a limit of 0; its record must differ from that of a node that was not touched.
template <class PushRule>
void Dense::touch(const Graph &graph, const PushRule &rule, Node node, Record &record) {
    record.mass.limit = std::max(rule.limit(graph.degree[node]), std::numeric_limits<double>::min());
    touched_[count_++] = node;
}

template <bool Weighted, class PushRule>
void Dense::give(const Graph &graph, const PushRule &rule, Index begin, Index end, double flow) {
    constexpr Index ahead = 8;
    for (Index k = begin; k < end; ++k) {
        if (k + ahead < end) {
            __builtin_prefetch(&records_[graph.col[k + ahead]]);
            __builtin_prefetch(&graph.degree[graph.col[k + ahead]]);
        }
        const Node v = graph.col[k];
        Record &r = records_[v];
        if (r.mass.limit == 0) touch(graph, rule, v, r);
        const double before = r.mass.here, after = before + (Weighted ? flow * graph.weight[k] : flow);
        r.mass.here = after;
        if (!PushRule::over(before, r.mass.limit) && PushRule::over(after, r.mass.limit)) queue_.push(v);
    }
}

template <class PushRule>
RunStats Dense::run(const Graph &graph, const Settings &s, const PushRule &rule, const Seeds &seeds,
                    const StopCheck &stop) {
    for (Index i = 0; i < seeds.size; ++i) {
        const auto v = static_cast<Node>(seeds.node[i]);
        touch(graph, rule, v, records_[v]);
        records_[v].mass.here = seeds.mass[i];
    }
    for (Index i = 0; i < count_; ++i)
        if (const Mass &m = records_[touched_[i]].mass; PushRule::over(m.here, m.limit)) queue_.push(touched_[i]);
    RunStats stats{Status::converged, 0, 0, 0};
    Index next_check = arcs_per_check;
    while (!queue_.empty()) {
        if (arcs_ >= next_check) {
            if (stop()) {
                stats.status = Status::stopped;
                return stats;
            }
            next_check = arcs_ + arcs_per_check;
        }
        const Index length = queue_.length();
        if (length > 4) __builtin_prefetch(graph.rowptr + queue_.ahead(4));
        if (length > 2) {
            const Node soon = queue_.ahead(2);
            __builtin_prefetch(&records_[soon]);
            __builtin_prefetch(graph.col + graph.rowptr[soon]);
        }
        const Node v = queue_.pop();
        const Index begin = graph.rowptr[v], end = graph.rowptr[v + 1];
        const double degree = graph.degree[v];
        Record &r = records_[v];
        arcs_ += end - begin;
        if (stats.pushes == s.max_pushes) {
            stats.status = Status::max_pushes;
            break;
        }
        ++stats.pushes;
        // A node without neighbours.
        if (!(degree > 0)) {
            r.value += r.mass.here;
            r.mass = {0, infinite};
            continue;
        }
        const double flow = rule.push(r.mass, r.value, degree, 0);
        if (PushRule::over(r.mass.here, r.mass.limit)) queue_.push(v);
        if (graph.weight != nullptr)
            give<true>(graph, rule, begin, end, flow);
        else
            give<false>(graph, rule, begin, end, flow);
    }
    for (Index i = 0; i < count_; ++i) {
        const Mass &m = records_[touched_[i]].mass;
        stats.worst = std::max(stats.worst, m.here > 0 ? m.here / m.limit : 0);
    }
    stats.worst *= rule.limit(1);
    return stats;
}

RunStats Dense::diffuse(const Graph &graph, Index nodes, const Settings &s, const Seeds &seeds, const StopCheck &stop) {
    if (nodes > known_) {
        records_.reserve(nodes);
        touched_.reserve(nodes);
        list_.reserve(nodes);
        queue_.reserve(nodes);
        bits_.reserve(nodes / 64 + 1);
        for (Index word = known_ == 0 ? 0 : known_ / 64 + 1; word <= nodes / 64; ++word) bits_[word] = 0;
        for (; known_ < nodes; ++known_) records_[known_] = {};
    }
    arcs_ = 0;
    if (s.method == Method::pagerank) return run(graph, s, Pagerank(s, 1), seeds, stop);
    return run(graph, s, L1Pagerank(s, 1), seeds, stop);
}

Index Dense::in_order(bool values_only) {
    Index size = 0;
    for (Index i = 0; i < count_; ++i) {
        const Record &r = records_[touched_[i]];
        if (r.value != 0 || (!values_only && r.mass.here != 0)) list_[size++] = touched_[i];
    }
    if (64 * size < known_) {
        std::sort(list_.data(), list_.data() + size);
        return size;
    }
    for (Index i = 0; i < size; ++i) bits_[list_[i] >> 6] |= std::uint64_t{1} << (list_[i] & 63);
    Index at = 0;
    for (Index word = 0; at < size; ++word) {
        for (std::uint64_t bits = bits_[word]; bits != 0; bits &= bits - 1)
            list_[at++] = static_cast<Node>(64 * word + __builtin_ctzll(bits));
        bits_[word] = 0;
    }
    return size;
}

}  // namespace graphnoise::local
