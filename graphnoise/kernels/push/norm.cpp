// Flow of norm p > 2: a push raises the value of a node until its mass is that of its sink, by a bracketed search.

#include <algorithm>
#include <cmath>

#include "push/methods.h"

namespace graphnoise::local {

namespace {

class NormFlow {
  public:
    NormFlow(Workspace &w, const Settings &s) : w_(w), s_(s), power_(1 / (s.p - 1)) {}

    Outcome operator()(const Seeds &seeds, const Halt &halt) {
        Outcome out{Status::converged, 0, 0, 0};
        for (Index i = 0; i < seeds.size; ++i) {
            const Slot s = w_.seed(static_cast<Node>(seeds.node[i]));
            admit();
            w_.mass[s].here += seeds.mass[i], total_ += seeds.mass[i];
        }
        for (Slot s = 0; s < w_.count(); ++s)
            if (over(s)) w_.queue.push(s);
        Index next_look = look / 64;
        while (!w_.queue.empty()) {
            if (w_.arcs() >= next_look) {
                if (halt()) return out.status = Status::stopped, out;
                next_look = w_.arcs() + look / 64;
            }
            if (out.pushes == s_.max_pushes) return out.status = Status::max_pushes, finish(out);
            const Slot s = w_.queue.pop();
            const bool fresh = !w_.read(s);
            const Row row = w_.row(s);
            admit();
            ++out.pushes;
            if (!(row.degree > 0)) return out.status = Status::exhausted, finish(out);
            push(s, row);
            if (!(w_.value[s] < 1e300)) return out.status = Status::overflow, finish(out);
            if (stuck(out.pushes, fresh)) return out.status = Status::exhausted, finish(out);
        }
        return finish(out);
    }

  private:
    double flow(double difference) const {
        return difference < 0 ? -std::pow(-difference, power_) : std::pow(difference, power_);
    }
    bool over(Slot s) const { return w_.mass[s].here > w_.mass[s].limit; }

    // What leaves s beyond what leaves it now, if its value is `x`.
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
            const double given = weight(row, k) * (flow(raised - w_.value[t]) - w_.scratch[k]);
            const bool before = over(t);
            sum += given;
            w_.mass[t].here += given;
            if (!before && over(t)) w_.queue.push(t);
        }
        w_.mass[s].here -= sum;
        if (over(s)) w_.queue.push(s);
    }

    // The value at which `excess` leaves, from below to a sixteenth of the tolerance; where no number is that close,
    // the next one above x.
    double raise(const Row &row, double x, double excess) const {
        double step = std::max({std::pow(excess / row.degree, s_.p - 1), x * 0x1p-52, 1e-300});
        double low = x, high = x + step, at_low = -excess, at_high = more(row, high) - excess;
        while (!(at_high >= 0)) {
            low = high, at_low = at_high;
            step *= 4, high = x + step;
            at_high = more(row, high) - excess;
        }
        const double near = s_.tol / 16;
        for (int round = 0; at_low < -near; ++round) {
            double middle = low + (high - low) / 2;
            if (middle <= low || middle >= high) break;
            if (round % 3 != 2) {  // a chord, and every third time the middle
                const double chord = high - (high - low) * (at_high / (at_high - at_low));
                if (chord > low && chord < high) middle = chord;
            }
            const double at = more(row, middle) - excess;
            if (at <= 0)
                low = middle, at_low = at;
            else
                high = middle, at_high = at;
        }
        return low > x ? low : high;
    }

    void admit() {
        const Slot count = w_.count();
        w_.mass.reserve(count), w_.value.reserve(count), w_.sink.reserve(count), w_.queue.reserve(count);
        for (; admitted_ < count; ++admitted_) {
            const double sink = s_.unit ? 1.0 : w_.degree(admitted_);
            w_.mass[admitted_] = {0, sink + s_.tol}, w_.value[admitted_] = 0, w_.sink[admitted_] = sink;
            sinks_ += sink;
        }
    }
    bool stuck(Index pushes, bool fresh) {
        if (fresh) {
            wait_ = 2 * Index{w_.rows()} + 64, next_ = pushes + wait_;
            return w_.rows() == w_.count() && total_ > sinks_ * (1 + 1e-12);
        }
        if (pushes < next_) return false;
        wait_ *= 2, next_ = pushes + wait_;
        return overfull(w_);
    }
    Outcome finish(Outcome out) const {
        double mass = 0, least = 0;
        for (Slot s = 0; s < w_.count(); ++s) {
            const double here = w_.mass[s].here;
            mass += here, least = std::min(least, here);
            out.worst = std::max(out.worst, here - w_.sink[s]);
        }
        // Heights too small or too far apart for float64 let through what no sum accounts for.
        if (!(std::abs(mass - total_) <= 1e-6 * total_ && least >= -1e-6 * total_)) out.status = Status::overflow;
        return out;
    }

    Workspace &w_;
    const Settings &s_;
    const double power_;
    Slot admitted_ = 0;
    double total_ = 0, sinks_ = 0;
    Index wait_ = 0, next_ = 0;
};

}  // namespace

Outcome norm_flow(Workspace &w, const Settings &settings, const Seeds &seeds, const Halt &halt) {
    return NormFlow(w, settings)(seeds, halt);
}

}  // namespace graphnoise::local
