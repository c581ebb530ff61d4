// Diffusions from one set of seeds, or from many on several threads. See __init__.py for what they compute; arrays are
// passed as addresses that it has checked.

#include "push/dense.h"
#include "push/methods.h"
#include "local/python.h"

namespace {

using namespace graphnoise::local;

// Values by node.
struct SetResult {
    std::vector<Index> node;
    std::vector<double> value;
};

// The seeds from `begin` to `end` of two arrays.
Seeds seeds_at(Address node, Address mass, Index begin, Index end) {
    return {reinterpret_cast<const Index *>(node) + begin, reinterpret_cast<const double *>(mass) + begin, end - begin};
}

// Graph, labels and settings of a call.
struct Task {
    Graph graph;
    Index nodes;
    Labels labels;
    Settings settings;
};

RunStats diffuse_on(Workspace &w, const Task &task, const Seeds &seeds, const StopCheck &stop) {
    return diffuse(w, task.graph, task.labels, task.settings, seeds, stop);
}
RunStats diffuse_on(Dense &w, const Task &task, const Seeds &seeds, const StopCheck &stop) {
    return w.diffuse(task.graph, task.nodes, task.settings, seeds, stop);
}
Index ordered(Workspace &w, bool values_only) { return in_order(w, values_only); }
Index ordered(Dense &w, bool values_only) { return w.in_order(values_only); }

template <class Storage>
nb::tuple push_one(const Task &task, const Seeds &seeds) {
    WorkspaceHandle<Storage> w;
    InterruptCheck interrupt;
    RunStats stats{};
    Index size = 0;
    {
        nb::gil_scoped_release release;
        interrupt.run(1, 1, [&](int thread, Index) {
            stats = diffuse_on(*w, task, seeds, [&] { return interrupt.stops(thread); });
            size = ordered(*w, false);
        });
    }
    interrupt.rethrow();
    Index *nodes;
    double *value, *residual, *degrees;
    auto a = array<Index>(size, &nodes);
    auto b = array<double>(size, &value), c = array<double>(size, &residual), d = array<double>(size, &degrees);
    for (Index i = 0; i < size; ++i) {
        nodes[i] = w->result_node(i);
        value[i] = w->result_value(i);
        residual[i] = w->result_mass(i);
        degrees[i] = task.graph.degree[nodes[i]];
    }
    const Index arcs = w->arcs();
    w.give_back();
    return nb::make_tuple(std::move(a), std::move(b), std::move(c), std::move(d), static_cast<int>(stats.status),
                          stats.pushes, arcs, stats.worst, stats.extra);
}

// Seed set i is begin[i] … begin[i + 1] - 1 of seeds and mass.
template <class Storage>
nb::tuple push_sets(const Task &task, const Index *begin, Index sets, Address seeds, Address mass, int threads) {
    std::vector<SetResult> results(static_cast<std::size_t>(sets));
    Index *status, *pushes, *arcs, *touched, *row, *nodes;
    double *worst, *value;
    auto a = array<Index>(sets, &status), b = array<Index>(sets, &pushes), c = array<Index>(sets, &arcs);
    auto d = array<Index>(sets, &touched), r = array<Index>(sets + 1, &row);
    auto e = array<double>(sets, &worst);
    InterruptCheck interrupt;
    std::vector<std::unique_ptr<WorkspaceHandle<Storage>>> handles(static_cast<std::size_t>(std::max(threads, 1)));
    {
        nb::gil_scoped_release release;
        interrupt.run(threads, sets, [&](int thread, Index i) {
            auto &handle = handles[static_cast<std::size_t>(thread)];
            if (handle == nullptr) handle = std::make_unique<WorkspaceHandle<Storage>>();
            Storage &w = **handle;
            const Seeds from = seeds_at(seeds, mass, begin[i], begin[i + 1]);
            const RunStats stats = diffuse_on(w, task, from, [&] { return interrupt.stops(thread); });
            status[i] = static_cast<Index>(stats.status);
            pushes[i] = stats.pushes;
            worst[i] = stats.worst;
            arcs[i] = w.arcs();
            touched[i] = w.count();
            const Index size = ordered(w, true);
            SetResult &result = results[static_cast<std::size_t>(i)];
            result.node.resize(static_cast<std::size_t>(size));
            result.value.resize(static_cast<std::size_t>(size));
            for (Index k = 0; k < size; ++k) {
                const auto at = static_cast<std::size_t>(k);
                result.node[at] = w.result_node(k);
                result.value[at] = w.result_value(k);
            }
            w.clear();
        });
    }
    interrupt.rethrow();
    for (auto &handle : handles)
        if (handle != nullptr) handle->give_back();
    row[0] = 0;
    for (Index i = 0; i < sets; ++i)
        row[i + 1] = row[i] + static_cast<Index>(results[static_cast<std::size_t>(i)].node.size());
    auto n = array<Index>(row[sets], &nodes);
    auto v = array<double>(row[sets], &value);
    for (Index i = 0; i < sets; ++i) {
        const SetResult &result = results[static_cast<std::size_t>(i)];
        std::copy(result.node.begin(), result.node.end(), nodes + row[i]);
        std::copy(result.value.begin(), result.value.end(), value + row[i]);
    }
    return nb::make_tuple(std::move(r), std::move(n), std::move(v), std::move(a), std::move(b), std::move(c),
                          std::move(d), std::move(e));
}

nb::tuple push(Address rowptr, Address col, Address weight, Address degree, Address labels,
               const std::optional<nb::object> &lookup, double label_eps, Index nodes, Address seeds, Address mass,
               Index count, int method, double alpha, double eps, double tol, double p, double t, bool unit,
               Index max_pushes) {
    const Task task{graph_at(rowptr, col, weight, degree), nodes, labels_at(labels, lookup, label_eps),
                    {static_cast<Method>(method), alpha, eps, tol, p, t, unit, max_pushes}};
    const Seeds from = seeds_at(seeds, mass, 0, count);
    const bool dense = Dense::serves(task.settings, task.labels, nodes);
    return dense ? push_one<Dense>(task, from) : push_one<Workspace>(task, from);
}

nb::tuple push_batch(Address rowptr, Address col, Address weight, Address degree, Address labels,
                     const std::optional<nb::object> &lookup, double label_eps, Index nodes, Address begin, Index sets,
                     Address seeds, Address mass, int method, double alpha, double eps, double tol, double p, double t,
                     bool unit, Index max_pushes, int threads) {
    const Task task{graph_at(rowptr, col, weight, degree), nodes, labels_at(labels, lookup, label_eps),
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
