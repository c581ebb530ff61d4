// Volume and cut of each prefix of an order of nodes. See sweep.py for the meaning. Arrays come as addresses that it has
// checked.

#include "local/python.h"

namespace {

using namespace graphnoise::local;

struct Sums {
    double *degree, *volume, *cut;  // [nodes of the order]
};

// The nodes in their order, with their rank.
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

// Calls add(weight, rank of the neighbour or -1) for each arc of each node in turn, and finish(rank, degree) after it.
class Sweep {
  public:
    explicit Sweep(const Sums &out) : out_(out) {}
    void arc(double weight, Slot rank, Slot own) {
        sum_ += weight;
        earlier_ += rank >= 0 && rank < own ? weight : 0.0;
        loop_ += rank == own ? weight : 0.0;
    }
    // The sum of the weights is the degree where none is given.
    void finish(Slot own, double degree) {
        inside_ += degree;
        outside_ += degree - loop_ - 2 * earlier_;
        out_.degree[own] = degree, out_.volume[own] = inside_, out_.cut[own] = outside_;
        sum_ = earlier_ = loop_ = 0;
    }
    double sum() const { return sum_; }

  private:
    const Sums out_;
    double inside_ = 0, outside_ = 0, sum_ = 0, earlier_ = 0, loop_ = 0;
};

// Labels are asked for: nodes have slots in their order, so that a slot is a rank.
void asking(const Graph &graph, const Labels &labels, const Index *order, Index count, Sweep sweep, Watch &watch) {
    Lease<Local> local;
    local->begin(graph, labels, true);
    local->touch(order, count);
    for (Slot s = 0; s < count; ++s) {
        if (s % 1024 == 0 && watch.over(0)) break;
        const Row row = local->row(s);
        for (Index k = 0; k < row.size; ++k) sweep.arc(row.weight[k], row.slot[k], s);
        sweep.finish(s, row.degree);
    }
    local.keep();
}

void reading(const Graph &graph, const Labels &labels, const Index *order, Index count, Sweep sweep, Watch &watch) {
    constexpr Index ahead = 12;
    Lease<Ranks> ranks;
    ranks->table.begin(count);
    ranks->node.reserve(count);
    for (; ranks->count < count; ++ranks->count) {
        ranks->node[ranks->count] = order[ranks->count];
        ranks->table.place(static_cast<Node>(order[ranks->count]), static_cast<Slot>(ranks->count));
    }
    const std::uint8_t *label = labels.of;
    for (Slot s = 0; s < count; ++s) {
        if (s % 1024 == 0 && watch.over(0)) break;
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
    ranks.keep();
}

void sweep(Address rowptr, Address col, Address weight, Address node_degree, Address labels,
           const std::optional<nb::object> &ask, double eps, Address order, Index count, Address degree, Address volume,
           Address cut) {
    const Graph graph = graph_at(rowptr, col, weight, node_degree);
    const Labels given = labels_at(labels, ask.value_or(nb::none()), eps);
    const Sweep sums({reinterpret_cast<double *>(degree), reinterpret_cast<double *>(volume),
                      reinterpret_cast<double *>(cut)});
    const auto *nodes = reinterpret_cast<const Index *>(order);
    Watch watch;
    {
        nb::gil_scoped_release release;
        watch.team(1, 1, [&](int, Index) { (given.ask ? asking : reading)(graph, given, nodes, count, sums, watch); });
    }
    watch.finish();
}

}  // namespace

void add_sweep(nb::module_ &m) { m.def("sweep", &sweep); }
