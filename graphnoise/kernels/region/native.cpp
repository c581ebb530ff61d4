// Rows of the nodes of a region, and messages along its arcs. See __init__.py for what they are; arrays are passed as addresses
// that it has checked.

#include <cmath>
#include <numeric>

#include "local/python.h"

namespace {

using namespace graphnoise::local;

// Arcs by the place of an end, in their order where it is the same.
std::vector<Index> sorted_by(const std::vector<Slot> &end, const std::vector<Index> &arcs, Index nodes) {
    std::vector<Index> next(static_cast<std::size_t>(nodes) + 1), out(arcs.size());
    for (const Index e : arcs) ++next[static_cast<std::size_t>(end[static_cast<std::size_t>(e)]) + 1];
    std::partial_sum(next.begin(), next.end(), next.begin());
    for (const Index e : arcs) out[static_cast<std::size_t>(next[static_cast<std::size_t>(end[static_cast<std::size_t>(e)])]++)] = e;
    return out;
}

nb::tuple read_region(Address rowptr, Address col, Address weight, Address degree, Address inside, Index count) {
    const Graph graph = graph_at(rowptr, col, weight, degree);
    std::vector<Slot> source, target;
    // Arcs between nodes inside.
    std::vector<Index> within, boundary, reply;
    {
        nb::gil_scoped_release release;
        const Labels none;
        WorkspaceHandle<LocalGraph> local;
        local->begin(graph, none, true);
        local->touch(reinterpret_cast<const Index *>(inside), count);
        for (Slot s = 0; s < count; ++s) {
            if (s + 1 < count) local->fetch(s + 1);
            const Row row = local->row(s);
            source.insert(source.end(), static_cast<std::size_t>(row.size), s);
            target.insert(target.end(), row.slot, row.slot + row.size);
        }
        for (Slot s = static_cast<Slot>(count); s < local->count(); ++s) boundary.push_back(local->node(s));
        local.give_back();
        const auto arcs = static_cast<Index>(target.size());
        reply.resize(target.size());
        Index crossing = arcs;
        for (Index e = 0; e < arcs; ++e) {
            const auto k = static_cast<std::size_t>(e);
            if (target[k] < count)
                within.push_back(e);
            else
                reply[k] = crossing++;
        }
        // Sorted by source and target, and by target and source.
        const std::vector<Index> by_target = sorted_by(target, within, count), by_both = sorted_by(source, by_target, count);
        for (std::size_t k = 0; k < within.size(); ++k) reply[static_cast<std::size_t>(by_both[k])] = by_target[k];
    }
    Index *nodes, *replies;
    Slot *places;
    auto result = nb::make_tuple(array<Index>(static_cast<Index>(boundary.size()), &nodes), array<Slot>(static_cast<Index>(target.size()), &places),
                                 array<Index>(static_cast<Index>(reply.size()), &replies));
    std::copy(boundary.begin(), boundary.end(), nodes);
    std::copy(target.begin(), target.end(), places);
    std::copy(reply.begin(), reply.end(), replies);
    return result;
}

// Log odds of a node as a function of the sum of messages to it.
class Odds {
  public:
    Odds(double total, double square, double mean, const double *w) {
        const double d = total > 0 ? total * total / square : 0.0, g = std::log1p(d);
        scale_ = total > 0 ? d / total / (d + 1) : 0.0;
        prior_ = mean / (d + 1);
        offset_ = w[0] + w[3] * g;
        slope_ = w[1] + w[2] * g;
    }
    double operator()(double sum) const {
        const double u = std::clamp(scale_ * std::max(sum, 0.0) + prior_, 1e-12, 1 - 1e-12);
        return offset_ + slope_ * std::log(u / (1 - u));
    }

  private:
    double scale_, prior_, offset_, slope_;
};

void log_odds(Index nodes, double mean, Address w, Address sums, Address totals, Address squares, Address out) {
    const auto *sum = reinterpret_cast<const double *>(sums), *total = reinterpret_cast<const double *>(totals);
    const auto *square = reinterpret_cast<const double *>(squares), *weights = reinterpret_cast<const double *>(w);
    for (Index i = 0; i < nodes; ++i) reinterpret_cast<double *>(out)[i] = Odds(total[i], square[i], mean, weights)(sum[i]);
}

double update_region(int threads, Index nodes, double mean, double keep, Address rowptr, Address reply, Address weight,
                     Address total, Address square, Address messages, Address sums, Address evidence, Address calibration) {
    constexpr Index chunk = 64;
    nb::gil_scoped_release release;
    const auto *first = reinterpret_cast<const Index *>(rowptr), *to = reinterpret_cast<const Index *>(reply);
    const auto *a = reinterpret_cast<const double *>(weight), *field = reinterpret_cast<const double *>(evidence);
    const auto *totals = reinterpret_cast<const double *>(total), *squares = reinterpret_cast<const double *>(square);
    const auto *w = reinterpret_cast<const double *>(calibration);
    auto *message = reinterpret_cast<double *>(messages), *sum = reinterpret_cast<double *>(sums);
    const auto of = [&](Index e) { return a == nullptr ? 1.0 : a[e]; };
    std::vector<double> fresh(static_cast<std::size_t>(first[nodes])), changes(static_cast<std::size_t>(nodes));
    const auto each_node = [&](auto &&body) {
        graphnoise::parallel(threads, (nodes + chunk - 1) / chunk, [&](int, Index k) {
            for (Index i = k * chunk; i < std::min(nodes, (k + 1) * chunk); ++i) body(i);
        });
    };
    each_node([&](Index i) {
        // Without weights, all arcs of a node leave out as much.
        Odds odds(totals[i] - 1, squares[i] - 1, mean, w);
        for (Index e = first[i]; e < first[i + 1]; ++e) {
            if (a != nullptr) odds = Odds(totals[i] - a[e], squares[i] - a[e] * a[e], mean, w);
            fresh[static_cast<std::size_t>(e)] = 1 / (1 + std::exp(-field[i] - odds(sum[i] - of(e) * message[e])));
        }
    });
    each_node([&](Index i) {
        double &change = changes[static_cast<std::size_t>(i)];
        for (Index e = first[i]; e < first[i + 1]; ++e) {
            double &old = message[to[e]];
            const double mixed = keep * old + (1 - keep) * fresh[static_cast<std::size_t>(e)];
            change = std::max(change, std::abs(mixed - old));
            old = mixed;
        }
    });
    each_node([&](Index i) {
        sum[i] = 0;
        for (Index e = first[i]; e < first[i + 1]; ++e) sum[i] += of(e) * message[e];
    });
    return nodes == 0 ? 0.0 : *std::max_element(changes.begin(), changes.end());
}

}  // namespace

void add_region(nb::module_ &m) {
    m.def("read_region", &read_region);
    m.def("log_odds", &log_odds);
    m.def("update_region", &update_region);
}
