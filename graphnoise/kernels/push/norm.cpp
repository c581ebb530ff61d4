// Flow of norm p > 2: a push raises the value of a node until its mass is that of its sink, by a bracketed search.

#include <algorithm>
#include <cmath>

#include "push/methods.h"

namespace graphnoise::local {

namespace {

class NormFlow {
  public:
    NormFlow(Workspace &w, const Settings &s) : w_(w), s_(s), power_(1 / (s.p - 1)) {}

    RunStats operator()(const Seeds &seeds, const StopCheck &stop) {
        RunStats stats{Status::converged, 0, 0, 0};
        for (Index i = 0; i < seeds.size; ++i) {
            const Slot s = w_.seed(static_cast<Node>(seeds.node[i]));
            admit();
            w_.mass[s].here += seeds.mass[i];
            check_.mass += seeds.mass[i];
        }
        for (Slot s = 0; s < w_.count(); ++s)
            if (over(s)) w_.queue.push(s);
        Index next_check = arcs_per_check / 64;
        while (!w_.queue.empty()) {
            if (w_.arcs() >= next_check) {
                if (stop()) {
                    stats.status = Status::stopped;
                    return stats;
                }
                next_check = w_.arcs() + arcs_per_check / 64;
            }
            if (stats.pushes == s_.max_pushes) return finish(stats, Status::max_pushes);
            const Slot s = w_.queue.pop();
            const bool fresh = !w_.read(s);
            const Row row = w_.row(s);
            admit();
            ++stats.pushes;
            if (!(row.degree > 0)) return finish(stats, Status::exhausted);
            push(s, row);
            if (!(w_.value[s] < 1e300)) return finish(stats, Status::overflow);
            if (check_.unsolvable(w_, stats.pushes, fresh)) return finish(stats, Status::exhausted);
        }
        return finish(stats, Status::converged);
    }

  private:
    double flow(double difference) const {
        return difference < 0 ? -std::pow(-difference, power_) : std::pow(difference, power_);
    }
    bool over(Slot s) const { return w_.mass[s].here > w_.mass[s].limit; }

    // The flow out of s at value x, less the flow at its present value.
    double more(const Row &row, double x) const {
        double sum = 0;
        for (Index k = 0; k < row.size; ++k)
            sum += weight(row, k) * (flow(x - w_.value[row.slot[k]]) - w_.scratch[k]);
        return sum;
    }
    static double weight(const Row &row, Index k) { return row.weight != nullptr ? row.weight[k] : 1.0; }

    void push(Slot s, const Row &row) {
        const double x = w_.value[s];
        w_.scratch.reserve(row.size);
        for (Index k = 0; k < row.size; ++k) w_.scratch[k] = flow(x - w_.value[row.slot[k]]);
        const double raised = raise(row, x, w_.mass[s].here - w_.sink[s]);
        double sum = 0;
        w_.value[s] = raised;
        for (Index k = 0; k < row.size; ++k) {
            const Slot t = row.slot[k];
            const double amount = weight(row, k) * (flow(raised - w_.value[t]) - w_.scratch[k]);
            const bool before = over(t);
            sum += amount;
            w_.mass[t].here += amount;
            if (!before && over(t)) w_.queue.push(t);
        }
        w_.mass[s].here -= sum;
        if (over(s)) w_.queue.push(s);
    }

    // The value at which `excess` leaves, from below to a sixteenth of the tolerance; where no number is that close,
    // the next number above x.
    double raise(const Row &row, double x, double excess) const {
        double step = std::max({std::pow(excess / row.degree, s_.p - 1), x * 0x1p-52, 1e-300});
        double low = x, high = x + step, at_low = -excess, at_high = more(row, high) - excess;
        while (!(at_high >= 0)) {
            low = high;
            at_low = at_high;
            step *= 4;
            high = x + step;
            at_high = more(row, high) - excess;
        }
        const double near = s_.tol / 16;
        for (int round = 0; at_low < -near; ++round) {
            double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high) break;
            // The chord, and every third time the middle.
            if (round % 3 != 2) {
                const double chord = high - (high - low) * (at_high / (at_high - at_low));
                if (chord > low && chord < high) middle = chord;
            }
            const double at = more(row, middle) - excess;
            if (at <= 0) {
                low = middle;
                at_low = at;
            } else {
                high = middle;
                at_high = at;
            }
        }
        return low > x ? low : high;
    }

    void admit() {
        const Slot count = w_.count();
        w_.mass.reserve(count);
        w_.value.reserve(count);
        w_.sink.reserve(count);
        w_.queue.reserve(count);
        for (; admitted_ < count; ++admitted_) {
            const double sink = s_.unit ? 1.0 : w_.degree(admitted_);
            w_.mass[admitted_] = {0, sink + s_.tol};
            w_.value[admitted_] = 0;
            w_.sink[admitted_] = sink;
            check_.sinks += sink;
        }
    }
    RunStats finish(RunStats stats, Status status) const {
        stats.status = status;
        double mass = 0, least = 0;
        for (Slot s = 0; s < w_.count(); ++s) {
            const double here = w_.mass[s].here;
            mass += here;
            least = std::min(least, here);
            stats.worst = std::max(stats.worst, here - w_.sink[s]);
        }
        // The sum differs where values are too small or too far apart for float64.
        const double total = check_.mass;
        if (!(std::abs(mass - total) <= 1e-6 * total && least >= -1e-6 * total)) stats.status = Status::overflow;
        return stats;
    }

    Workspace &w_;
    const Settings &s_;
    const double power_;
    Slot admitted_ = 0;
    SaturationCheck check_;
};

}  // namespace

RunStats norm_flow(Workspace &w, const Settings &settings, const Seeds &seeds, const StopCheck &stop) {
    return NormFlow(w, settings)(seeds, stop);
}

}  // namespace graphnoise::local
