// Capacity releasing diffusion. See __init__.py for what it computes; arrays are passed as addresses that it has checked.

#include <limits>

#include "local/edges.h"
#include "local/python.h"

namespace {

using namespace graphnoise::local;

// Parts of a degree or a weight below this are rounding.
constexpr double tiny = 1e-9;

struct NodeState {
    double mass, degree;
    // Where the search for an edge continues.
    Index position;
    Slot height;
};

struct Workspace : LocalGraph {
    Buffer<NodeState> site;
    // Values are the mass that was sent.
    Edges edges;
    Buffer<double> mass, volume;
    Buffer<Slot> height;
    // By height, from `first` on.
    std::vector<std::vector<Slot>> waiting;
    std::vector<std::size_t> first;
    Index bytes() const {
        Index all = LocalGraph::bytes() + site.bytes() + edges.bytes() + mass.bytes() + volume.bytes() + height.bytes();
        for (const auto &w : waiting) all += static_cast<Index>(w.capacity() * sizeof(Slot));
        return all;
    }
};

struct Settings {
    double capacity, growth, max_left, half;
    Slot height;
    Index iterations, patience, max_pushes;
};

enum class Status { converged, max_pushes, max_iterations, half_volume };

class Release {
  public:
    Release(Workspace &w, const Settings &settings, InterruptCheck &interrupt) : w_(w), edges_(w.edges), set_(settings), interrupt_(interrupt) {}

    Status status = Status::max_iterations;
    Index pushes = 0, relabels = 0, rounds = 0, best_round = 0;
    // Nodes of the best round, whose heights and masses are saved.
    Slot known = 0;
    double best = std::numeric_limits<double>::infinity(), stuck = 0;

    void run(const Index *nodes, const double *masses, Index count) {
        edges_.begin();
        for (Index k = 0; k < count; ++k) w_.seed(static_cast<Node>(nodes[k]));
        make();
        double spread = 0, total = 0;
        for (Index k = 0; k < count; ++k) {
            w_.site[k].mass = masses[k];
            total += masses[k];
        }
        spread = total;
        save();
        while (rounds < set_.iterations) {
            const double factor = std::min(set_.growth, set_.half / total);
            if (!(factor > 1 + tiny)) {
                status = Status::half_volume;
                break;
            }
            ++rounds;
            for (Slot s = 0; s < known_; ++s) w_.site[s].mass *= factor;
            spread *= factor;
            const bool settled = settle();
            if (stopped_) return;
            const double phi = levels();
            if (phi < best) {
                best = phi;
                best_round = rounds;
                save();
            }
            total = 0;
            for (Slot s = 0; s < known_; ++s) {
                NodeState &v = w_.site[s];
                v.mass = std::min(v.mass, v.degree);
                total += v.mass;
            }
            stuck = 1 - total / spread;
            const bool past = stuck > tiny && rounds - best_round >= set_.patience;
            if (!settled || past || total <= set_.max_left * spread) {
                status = settled ? Status::converged : Status::max_pushes;
                break;
            }
        }
    }

  private:
    void make() {
        w_.site.reserve(w_.count());
        w_.volume.reserve(w_.count());
        for (; known_ < w_.count(); ++known_) {
            w_.site[known_] = {0, w_.degree(known_), 0, 0};
            edges_.add(known_);
        }
    }

    bool active(const NodeState &v) const { return v.mass - v.degree > tiny * v.degree; }

    // Moves excess mass until none is below the greatest height; false if max_pushes is reached first.
    bool settle() {
        auto &waiting = w_.waiting;
        auto &first = w_.first;
        waiting.resize(std::max<std::size_t>(waiting.size(), static_cast<std::size_t>(set_.height)));
        first.assign(waiting.size(), 0);
        for (auto &w : waiting) w.clear();
        for (Index e = 0; e < edges_.size(); ++e) edges_[e].value = 0;
        for (Slot s = 0; s < known_; ++s) {
            NodeState &v = w_.site[s];
            v.height = 0;
            v.position = edges_.first(s);
            if (active(v)) waiting[0].push_back(s);
        }
        Slot lowest = 0;
        for (Index step = 1;; ++step) {
            if (step % 1024 == 0 && interrupt_.stops(0)) {
                stopped_ = true;
                return false;
            }
            while (lowest < set_.height && first[lowest] == waiting[lowest].size()) {
                waiting[lowest].clear();
                first[lowest] = 0;
                ++lowest;
            }
            if (lowest == set_.height) return true;
            if (pushes + relabels >= set_.max_pushes) return false;
            const Slot s = waiting[lowest][first[lowest]];
            const Index e = edge(s);
            if (e < 0) {
                ++relabels;
                ++first[lowest];
                NodeState &v = w_.site[s];
                v.position = edges_.first(s);
                if (++v.height < set_.height) waiting[v.height].push_back(s);
                continue;
            }
            ++pushes;
            Half &half = edges_[e];
            NodeState &v = w_.site[s], &u = w_.site[half.to];
            const double released = std::min<double>(v.height, set_.capacity) * half.weight - half.value;
            const double amount = std::min({v.mass - v.degree, released, 2 * u.degree - u.mass});
            v.mass -= amount;
            u.mass += amount;
            half.value += amount;
            edges_[e ^ 1].value -= amount;
            if (!active(v)) ++first[lowest];
            if (active(u)) {
                waiting[u.height].push_back(half.to);
                lowest = u.height;
            }
        }
    }

    // An edge to a lower node with capacity left, or -1. Lower nodes have no excess, since the lowest is first.
    Index edge(Slot s) {
        if (w_.site[s].height == 0) return -1;
        if (!edges_.is_open(s)) {
            const Row row = w_.row(s);
            make();
            w_.volume[s] = row.degree;
            edges_.open(s, row, 0.0);
            w_.site[s].position = edges_.first(s);
        }
        NodeState &v = w_.site[s];
        for (const Index end = edges_.last(s); v.position < end; ++v.position) {
            const Index e = edges_.at(v.position);
            const Half &h = edges_[e];
            const double full = std::min<double>(v.height, set_.capacity) * h.weight;
            if (w_.site[h.to].height < v.height && full - h.value > tiny * h.weight) return e;
        }
        return -1;
    }

    // Least conductance of the sets of nodes of at least a height, of those with at most half the volume.
    double levels() {
        std::vector<double> volume(set_.height + 2), cut(set_.height + 2);
        for (Slot s = 0; s < known_; ++s) {
            const Slot high = w_.site[s].height;
            if (high == 0) continue;
            if (!edges_.is_open(s)) edge(s);
            volume[high] += w_.volume[s];
            for (Index k = edges_.first(s); k < edges_.last(s); ++k) {
                const Half &h = edges_[edges_.at(k)];
                const Slot low = w_.site[h.to].height;
                if (low < high) {
                    cut[high] += h.weight;
                    cut[low] -= h.weight;
                }
            }
        }
        double least = std::numeric_limits<double>::infinity(), inside = 0, outside = 0;
        for (Slot i = set_.height; i > 0; --i) {
            inside += volume[i];
            outside += cut[i];
            if (inside > 0 && inside <= set_.half) least = std::min(least, std::max(outside, 0.0) / inside);
        }
        return least;
    }

    void save() {
        known = known_;
        w_.mass.reserve(known);
        w_.height.reserve(known);
        for (Slot s = 0; s < known; ++s) {
            w_.mass[s] = w_.site[s].mass;
            w_.height[s] = w_.site[s].height;
        }
    }

    Workspace &w_;
    Edges &edges_;
    const Settings set_;
    InterruptCheck &interrupt_;
    bool stopped_ = false;
    Slot known_ = 0;
};

nb::tuple release(Address rowptr, Address col, Address weight, Address degree, Address labels,
                  const std::optional<nb::object> &lookup, double label_eps, Address nodes, Address masses, Index count,
                  double capacity, Slot height, double growth, double max_left, double half, Index iterations,
                  Index patience, Index max_pushes) {
    const Graph graph = graph_at(rowptr, col, weight, degree);
    const Labels node_labels = labels_at(labels, lookup, label_eps);
    const Settings settings{capacity, growth, max_left, half, height, iterations, patience, max_pushes};
    InterruptCheck interrupt;
    std::vector<Index> touched;
    std::vector<double> value, mass;
    Index pushes = 0, relabels = 0, rounds = 0, best_round = 0, arcs = 0;
    double best = 0, stuck = 0;
    Status status{};
    {
        nb::gil_scoped_release unlocked;
        interrupt.run(1, 1, [&](int, Index) {
            WorkspaceHandle<Workspace> local;
            local->begin(graph, node_labels, true);
            Release run(*local, settings, interrupt);
            run.run(reinterpret_cast<const Index *>(nodes), reinterpret_cast<const double *>(masses), count);
            pushes = run.pushes;
            relabels = run.relabels;
            rounds = run.rounds;
            best_round = run.best_round;
            best = run.best;
            stuck = run.stuck;
            status = run.status;
            for (Slot s = 0; s < run.known; ++s) {
                touched.push_back(local->node(s));
                mass.push_back(local->mass[s]);
                value.push_back(static_cast<double>(local->height[s]));
            }
            arcs = local->arcs();
            local.give_back();
        });
    }
    interrupt.rethrow();
    Index *to_nodes;
    double *to_value, *to_mass;
    const auto size = static_cast<Index>(touched.size());
    auto out_nodes = array<Index>(size, &to_nodes);
    auto out_value = array<double>(size, &to_value), out_mass = array<double>(size, &to_mass);
    std::copy(touched.begin(), touched.end(), to_nodes);
    std::copy(value.begin(), value.end(), to_value);
    std::copy(mass.begin(), mass.end(), to_mass);
    return nb::make_tuple(std::move(out_nodes), std::move(out_value), std::move(out_mass), static_cast<int>(status), pushes,
                          relabels, rounds, best_round, best, stuck, arcs);
}

}  // namespace

void add_release(nb::module_ &m) { m.def("release", &release); }
