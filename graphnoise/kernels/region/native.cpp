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

double update_region(Index nodes, Address rowptr, Address reply, Address weight, Address total, Address square, Address messages,
                     Address sums, Address evidence, double w0, double w1, double w2, double w3, double mean, double keep) {
    nb::gil_scoped_release release;
    const auto *first = reinterpret_cast<const Index *>(rowptr), *to = reinterpret_cast<const Index *>(reply);
    const auto *a = reinterpret_cast<const double *>(weight), *field = reinterpret_cast<const double *>(evidence);
    const auto *totals = reinterpret_cast<const double *>(total), *squares = reinterpret_cast<const double *>(square);
    auto *message = reinterpret_cast<double *>(messages), *sum = reinterpret_cast<double *>(sums);
    const Index arcs = first[nodes];
    std::vector<double> fresh(static_cast<std::size_t>(arcs));
    for (Index i = 0; i < nodes; ++i) {
        double d = 0, scale = 0, offset = 0, slope = 0;
        for (Index e = first[i]; e < first[i + 1]; ++e) {
            // Without weights, all arcs of a node leave out as much.
            if (a != nullptr || e == first[i]) {
                const double own = a == nullptr ? 1.0 : a[e], rest = totals[i] - own;
                d = rest > 0 ? rest * rest / (squares[i] - own * own) : 0.0;
                scale = rest > 0 ? d / rest : 0.0;
                const double g = std::log1p(d);
                offset = w0 + w3 * g + field[i];
                slope = w1 + w2 * g;
            }
            const double left = sum[i] - (a == nullptr ? 1.0 : a[e]) * message[e];
            const double u = std::clamp((scale * std::max(left, 0.0) + mean) / (d + 1), 1e-12, 1 - 1e-12);
            fresh[static_cast<std::size_t>(e)] = 1 / (1 + std::exp(-offset - slope * std::log(u / (1 - u))));
        }
    }
    double change = 0;
    for (Index e = 0; e < arcs; ++e) {
        double &old = message[to[e]];
        const double mixed = keep * old + (1 - keep) * fresh[static_cast<std::size_t>(e)];
        change = std::max(change, std::abs(mixed - old));
        old = mixed;
    }
    for (Index i = 0; i < nodes; ++i) {
        sum[i] = 0;
        for (Index e = first[i]; e < first[i + 1]; ++e) sum[i] += (a == nullptr ? 1.0 : a[e]) * message[e];
    }
    return change;
}

}  // namespace

void add_region(nb::module_ &m) {
    m.def("read_region", &read_region);
    m.def("update_region", &update_region);
}
