// Diffusions: one of a seed set, or one each of many over threads. See push.py for the meaning; arrays come as
// addresses that it has checked.

#include "push/dense.h"
#include "push/methods.h"
#include "local/python.h"

namespace {

using namespace graphnoise::local;

// Values and what else a run left, by node.
struct Found {
    std::vector<Index> node;
    std::vector<double> value;
};

// Seeds from `begin` to `end` of arrays that begin there.
Seeds seeds_at(Address node, Address mass, Index begin, Index end) {
    return {reinterpret_cast<const Index *>(node) + begin, reinterpret_cast<const double *>(mass) + begin, end - begin};
}

// What a call is about: a graph with labels, a method, seeds.
struct Task {
    Graph graph;
    Index nodes;
    Labels labels;
    Settings settings;
};

Outcome diffuse_on(Workspace &w, const Task &task, const Seeds &seeds, const Halt &halt) {
    return diffuse(w, task.graph, task.labels, task.settings, seeds, halt);
}
Outcome diffuse_on(Dense &w, const Task &task, const Seeds &seeds, const Halt &halt) {
    return w.diffuse(task.graph, task.nodes, task.settings, seeds, halt);
}
Index ordered(Workspace &w, bool values_only) { return in_order(w, values_only); }
Index ordered(Dense &w, bool values_only) { return w.in_order(values_only); }

template <class Place>
nb::tuple push_one(const Task &task, const Seeds &seeds) {
    Lease<Place> w;
    Watch watch;
    Outcome outcome{};
    Index size = 0;
    {
        nb::gil_scoped_release release;
        watch.team(1, 1, [&](int thread, Index) {
            outcome = diffuse_on(*w, task, seeds, [&] { return watch.over(thread); });
            size = ordered(*w, false);
        });
    }
    watch.finish();
    Index *nodes;
    double *value, *residual, *degrees;
    auto a = array<Index>(size, &nodes);
    auto b = array<double>(size, &value), c = array<double>(size, &residual), d = array<double>(size, &degrees);
    for (Index i = 0; i < size; ++i) {
        nodes[i] = w->found_node(i), value[i] = w->found_value(i), residual[i] = w->found_mass(i);
        degrees[i] = task.graph.degree[nodes[i]];
    }
    const Index arcs = w->arcs();
    w.keep();
    return nb::make_tuple(std::move(a), std::move(b), std::move(c), std::move(d), static_cast<int>(outcome.status),
                          outcome.pushes, arcs, outcome.worst, outcome.extra);
}

// Seed set i is begin[i] … begin[i + 1] - 1 of seeds and mass.
template <class Place>
nb::tuple push_sets(const Task &task, const Index *begin, Index sets, Address seeds, Address mass, int threads) {
    std::vector<Found> found(static_cast<std::size_t>(sets));
    Index *status, *pushes, *arcs, *touched, *row, *nodes;
    double *worst, *value;
    auto a = array<Index>(sets, &status), b = array<Index>(sets, &pushes), c = array<Index>(sets, &arcs);
    auto d = array<Index>(sets, &touched), r = array<Index>(sets + 1, &row);
    auto e = array<double>(sets, &worst);
    Watch watch;
    std::vector<std::unique_ptr<Lease<Place>>> leases(static_cast<std::size_t>(std::max(threads, 1)));
    {
        nb::gil_scoped_release release;
        watch.team(threads, sets, [&](int thread, Index i) {
            auto &lease = leases[static_cast<std::size_t>(thread)];
            if (lease == nullptr) lease = std::make_unique<Lease<Place>>();
            Place &w = **lease;
            const Seeds from = seeds_at(seeds, mass, begin[i], begin[i + 1]);
            const Outcome outcome = diffuse_on(w, task, from, [&] { return watch.over(thread); });
            status[i] = static_cast<Index>(outcome.status), pushes[i] = outcome.pushes, worst[i] = outcome.worst;
            arcs[i] = w.arcs(), touched[i] = w.count();
            const Index size = ordered(w, true);
            Found &mine = found[static_cast<std::size_t>(i)];
            mine.node.resize(static_cast<std::size_t>(size)), mine.value.resize(static_cast<std::size_t>(size));
            for (Index k = 0; k < size; ++k) {
                const auto at = static_cast<std::size_t>(k);
                mine.node[at] = w.found_node(k), mine.value[at] = w.found_value(k);
            }
            w.clear();
        });
    }
    watch.finish();
    for (auto &lease : leases)
        if (lease != nullptr) lease->keep();
    row[0] = 0;
    for (Index i = 0; i < sets; ++i)
        row[i + 1] = row[i] + static_cast<Index>(found[static_cast<std::size_t>(i)].node.size());
    auto n = array<Index>(row[sets], &nodes);
    auto v = array<double>(row[sets], &value);
    for (Index i = 0; i < sets; ++i) {
        const Found &mine = found[static_cast<std::size_t>(i)];
        std::copy(mine.node.begin(), mine.node.end(), nodes + row[i]);
        std::copy(mine.value.begin(), mine.value.end(), value + row[i]);
    }
    return nb::make_tuple(std::move(r), std::move(n), std::move(v), std::move(a), std::move(b), std::move(c),
                          std::move(d), std::move(e));
}

nb::tuple push(Address rowptr, Address col, Address weight, Address degree, Address labels,
               const std::optional<nb::object> &ask, double label_eps, Index nodes, Address seeds, Address mass,
               Index count, int method, double alpha, double eps, double tol, double p, double t, bool unit,
               Index max_pushes) {
    const Task task{graph_at(rowptr, col, weight, degree), nodes, labels_at(labels, ask.value_or(nb::none()), label_eps),
                    {static_cast<Method>(method), alpha, eps, tol, p, t, unit, max_pushes}};
    const Seeds from = seeds_at(seeds, mass, 0, count);
    const bool dense = Dense::serves(task.settings, task.labels, nodes);
    return dense ? push_one<Dense>(task, from) : push_one<Workspace>(task, from);
}

nb::tuple push_batch(Address rowptr, Address col, Address weight, Address degree, Address labels,
                     const std::optional<nb::object> &ask, double label_eps, Index nodes, Address begin, Index sets,
                     Address seeds, Address mass, int method, double alpha, double eps, double tol, double p, double t,
                     bool unit, Index max_pushes, int threads) {
    const Task task{graph_at(rowptr, col, weight, degree), nodes, labels_at(labels, ask.value_or(nb::none()), label_eps),
                    {static_cast<Method>(method), alpha, eps, tol, p, t, unit, max_pushes}};
    const auto *const at = reinterpret_cast<const Index *>(begin);
    const bool dense = Dense::serves(task.settings, task.labels, nodes);
    return dense ? push_sets<Dense>(task, at, sets, seeds, mass, threads)
                 : push_sets<Workspace>(task, at, sets, seeds, mass, threads);
}

}  // namespace

void add_push(nb::module_ &m) {
    m.def("push", &push);
    m.def("push_batch", &push_batch);
}
