// Heat-kernel push: level j holds the j-th term of the exponential series, and passes mass to level j + 1 only.

#include <cmath>

#include "push/methods.h"

namespace graphnoise::local {

namespace {

struct Series {
    // psi[j]: the amount that a unit of mass at level j adds to the values, j = 0 … N.
    std::vector<double> psi;
    // Share of the mass beyond level N.
    double beyond;
};

// The shortest series with `scale` times the share beyond it at most `eps` / 2.
Series series(double t, double eps, double scale) {
    std::vector<double> term{std::exp(-t)};
    for (Index j = 1; static_cast<double>(j) <= t || term.back() > 1e-18 * std::min(1.0, eps / scale); ++j)
        term.push_back(term.back() * t / static_cast<double>(j));
    std::size_t levels = term.size() - 1;
    double beyond = 0;
    while (levels > 1 && scale * (beyond + term[levels]) <= eps / 2) beyond += term[levels--];
    std::vector<double> psi(levels + 1, 1.0);
    for (std::size_t j = levels; j-- > 0;) psi[j] = 1 + psi[j + 1] * t / static_cast<double>(j + 1);
    return {std::move(psi), beyond};
}

class Levels {
  public:
    Levels(Workspace &w, const Settings &s) : w_(w), s_(s) {}

    RunStats operator()(const Seeds &seeds, const StopCheck &stop) {
        RunStats stats{Status::converged, 0, 0, 0};
        const double scale = start(seeds);
        const Series of = series(s_.t, s_.eps, scale);
        stats.extra = of.beyond * moving_;
        const std::size_t levels = of.psi.size() - 1;
        const double share = w_.label_eps();
        Index next_check = arcs_per_check;
        for (std::size_t j = 0; j < levels && size_ > 0; ++j) {
            w_.list.swap(w_.other);
            const Index size = size_;
            w_.scratch.reserve(size);
            for (Index i = 0; i < size; ++i) {
                Mass &m = w_.mass[w_.other[i]];
                w_.scratch[i] = m.here;
                m.here = 0;
            }
            size_ = 0;
            const bool last = j + 1 == levels;
            const double least = s_.eps / (2 * static_cast<double>(levels) * of.psi[j]);
            const double step = s_.t / static_cast<double>(j + 1);
            for (Index i = 0; i < size; ++i) {
                const Slot s = w_.other[i];
                const double mass = w_.scratch[i];
                if (i + 2 < size) w_.fetch_far(w_.other[i + 2]);
                if (i + 1 < size) w_.fetch(w_.other[i + 1]);
                bool enough = mass >= least * share * w_.degree(s);
                Row row{};
                if (enough) {
                    row = w_.row(s);
                    admit();
                    enough = mass >= least * row.degree;
                }
                if (enough && stats.pushes == s_.max_pushes) {
                    stats.status = Status::max_pushes;
                    enough = false;
                }
                if (!enough) {
                    left(s) += mass * of.psi[j];
                    continue;
                }
                if (w_.arcs() >= next_check) {
                    if (stop()) {
                        stats.status = Status::stopped;
                        return stats;
                    }
                    next_check = w_.arcs() + arcs_per_check;
                }
                ++stats.pushes;
                w_.value[s] += mass;
                give(row, step * mass / row.degree, last);
            }
        }
        for (Slot s = 0; s < w_.count(); ++s) {
            w_.mass[s].here = w_.mass[s].limit;
            const double degree = w_.read(s) ? w_.known(s).degree : share * w_.degree(s);
            if (w_.mass[s].here > 0) stats.worst = std::max(stats.worst, w_.mass[s].here / degree);
        }
        return stats;
    }

  private:
    // Returns the largest mass per unit of degree.
    double start(const Seeds &seeds) {
        double scale = 0;
        for (Index i = 0; i < seeds.size; ++i) w_.seed(static_cast<Node>(seeds.node[i]));
        admit();
        for (Index i = 0; i < seeds.size; ++i) {
            const Slot s = w_.find(static_cast<Node>(seeds.node[i]));
            double degree = w_.degree(s);
            if (w_.labelled()) {
                degree = w_.row(s).degree;
                admit();
            }
            if (!(degree > 0)) {
                w_.value[s] += seeds.mass[i];
                continue;
            }
            scale = std::max(scale, seeds.mass[i] / degree);
            moving_ += seeds.mass[i];
            reach(s, seeds.mass[i] * std::exp(-s_.t));
        }
        return scale;
    }
    // Mass that no level pushed.
    double &left(Slot s) { return w_.mass[s].limit; }
    void admit() {
        const Slot count = w_.count();
        w_.mass.reserve(count);
        w_.value.reserve(count);
        w_.list.reserve(count);
        w_.other.reserve(count);
        for (; admitted_ < count; ++admitted_) {
            w_.mass[admitted_] = {0, 0};
            w_.value[admitted_] = 0;
        }
    }
    // Adds mass for the next level.
    void reach(Slot s, double mass) {
        double &here = w_.mass[s].here;
        if (here == 0 && mass > 0) w_.list[size_++] = s;
        here += mass;
    }
    void give(const Row &row, double flow, bool last) {
        for (Index k = 0; k < row.size; ++k) {
            const double mass = row.weight != nullptr ? flow * row.weight[k] : flow;
            if (last)
                w_.value[row.slot[k]] += mass;
            else
                reach(row.slot[k], mass);
        }
    }

    Workspace &w_;
    const Settings &s_;
    Slot admitted_ = 0;
    // Nodes with mass for the next level, in w_.list.
    Index size_ = 0;
    double moving_ = 0;
};

}  // namespace

RunStats heat_kernel(Workspace &w, const Settings &settings, const Seeds &seeds, const StopCheck &stop) {
    return Levels(w, settings)(seeds, stop);
}

}  // namespace graphnoise::local
