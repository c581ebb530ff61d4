// Volume and cut of each prefix of an order of nodes. See __init__.py for what it computes; arrays are passed as
// addresses that it has checked.

#include "local/python.h"

namespace {

using namespace graphnoise::local;

struct Sums {
    // Shape [nodes of the order].
    double *degree, *volume, *cut;
};

// The rank of each node in the order.
struct Ranks {
    Table table;
    Buffer<Index> node;
    Index count = 0;
    void clear() {
        table.clear(count, [&](Slot s) { return static_cast<Node>(node[s]); });
        count = 0;
    }
    Index bytes() const { return table.bytes() + node.bytes(); }
};

// Running sums: arc() for each arc of a node, with the rank of the neighbour or -1, then finish() for the node.
class Sweep {
  public:
    explicit Sweep(const Sums &out) : out_(out) {}
    void arc(double weight, Slot rank, Slot node_rank) {
        sum_ += weight;
        earlier_ += rank >= 0 && rank < node_rank ? weight : 0.0;
        loop_ += rank == node_rank ? weight : 0.0;
    }
    // Adds the node; under labels its degree is sum().
    void finish(Slot node_rank, double degree) {
        inside_ += degree;
        outside_ += degree - loop_ - 2 * earlier_;
        out_.degree[node_rank] = degree;
        out_.volume[node_rank] = inside_;
        out_.cut[node_rank] = outside_;
        sum_ = 0;
        earlier_ = 0;
        loop_ = 0;
    }
    double sum() const { return sum_; }

  private:
    const Sums out_;
    double inside_ = 0, outside_ = 0, sum_ = 0, earlier_ = 0, loop_ = 0;
};

// With a lookup of labels: slots are assigned in the order, so that a slot is a rank.
void with_lookup(const Graph &graph, const Labels &labels, const Index *order, Index count, Sweep sweep, InterruptCheck &interrupt) {
    WorkspaceHandle<LocalGraph> local;
    local->begin(graph, labels, true);
    local->touch(order, count);
    for (Slot s = 0; s < count; ++s) {
        if (s % 1024 == 0 && interrupt.stops(0)) break;
        const Row row = local->row(s);
        for (Index k = 0; k < row.size; ++k) sweep.arc(row.weight[k], row.slot[k], s);
        sweep.finish(s, row.degree);
    }
    local.give_back();
}

void with_array(const Graph &graph, const Labels &labels, const Index *order, Index count, Sweep sweep, InterruptCheck &interrupt) {
    constexpr Index ahead = 12;
    WorkspaceHandle<Ranks> ranks;
    ranks->table.begin(count);
    ranks->node.reserve(count);
    for (; ranks->count < count; ++ranks->count) {
        ranks->node[ranks->count] = order[ranks->count];
        ranks->table.place(static_cast<Node>(order[ranks->count]), static_cast<Slot>(ranks->count));
    }
    const std::uint8_t *label = labels.of;
    for (Slot s = 0; s < count; ++s) {
        if (s % 1024 == 0 && interrupt.stops(0)) break;
        if (s + 2 < count) __builtin_prefetch(graph.col + graph.rowptr[order[s + 2]]);
        const Index v = order[s], begin = graph.rowptr[v], end = graph.rowptr[v + 1];
        for (Index k = begin; k < std::min(begin + ahead, end); ++k) ranks->table.fetch(graph.col[k]);
        for (Index k = begin; k < end; ++k) {
            if (k + ahead < end) ranks->table.fetch(graph.col[k + ahead]);
            const Node u = graph.col[k];
            double weight = graph.weight == nullptr ? 1.0 : graph.weight[k];
            if (label != nullptr && label[u] != label[v]) weight *= labels.eps;
            sweep.arc(weight, ranks->table.find(u), s);
        }
        sweep.finish(s, label == nullptr ? graph.degree[v] : sweep.sum());
    }
    ranks.give_back();
}

void sweep(Address rowptr, Address col, Address weight, Address node_degree, Address labels,
           const std::optional<nb::object> &lookup, double label_eps, Address order, Index count, Address degree, Address volume,
           Address cut) {
    const Graph graph = graph_at(rowptr, col, weight, node_degree);
    const Labels node_labels = labels_at(labels, lookup, label_eps);
    const Sweep sums({reinterpret_cast<double *>(degree), reinterpret_cast<double *>(volume),
                      reinterpret_cast<double *>(cut)});
    const auto *nodes = reinterpret_cast<const Index *>(order);
    InterruptCheck interrupt;
    {
        nb::gil_scoped_release release;
        interrupt.run(1, 1, [&](int, Index) { (node_labels.lookup ? with_lookup : with_array)(graph, node_labels, nodes, count, sums, interrupt); });
    }
    interrupt.rethrow();
}

}  // namespace

void add_sweep(nb::module_ &m) { m.def("sweep", &sweep); }
