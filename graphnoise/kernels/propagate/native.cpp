// Propagation on the CPU: what each step is, who does which rows, and when to stop. See propagate_reference.py for the
// meaning, rows.cpp for the loops. Arrays come as addresses that propagate/cpu.py has checked.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "simd/interrupt.h"
#include "simd/memory.h"
#include "native.h"
#include "simd/parallel.h"
#include "propagate/rows.h"

namespace {

using namespace graphnoise;
using Address = std::uintptr_t;

constexpr Index chunks = 64;           // tasks a pass, whatever the number of threads
constexpr Index least_chunk = 4096;    // arcs and rows
constexpr Index ahead = 64;            // arcs; columns are readable as far beyond the end
constexpr Index cached = 1 << 20;      // bytes of values that stay close to a core
constexpr Index serial_below = 1 << 18;  // arcs times columns that do not pay for a second thread

std::vector<const Kernels *> supported() {  // the best one last
    std::vector<const Kernels *> found{&kernels_baseline()};
#if defined(GRAPHNOISE_X86)
    if (__builtin_cpu_supports("x86-64-v3")) found.push_back(&kernels_v3());
    if (__builtin_cpu_supports("x86-64-v4")) found.push_back(&kernels_v4());
#endif
    return found;
}

std::atomic<const Kernels *> chosen{nullptr};

const Kernels &kernels() {
    if (!chosen.load(std::memory_order_acquire)) chosen.store(supported().back(), std::memory_order_release);
    return *chosen.load(std::memory_order_acquire);
}

// How the rows are dealt: chunks of about equal arcs and rows; a row longer than a chunk is cut into pieces, which are
// joined in their order. Nothing here depends on the number of threads, so that no sum does.
struct Plan {
    std::vector<Task> tasks, joins;
    Index pieces = 0, panels = 1, step = 1;  // pieces of rows; panels of columns, and how wide they are
};

Plan plan(const Index *rowptr, Index rows, Index width, Index widest) {
    Plan made;
    const Index work = rowptr[rows] + rows;
    const Index chunk = std::max(least_chunk, (work + chunks - 1) / chunks);
    std::vector<Task> once, join;
    const auto range = [&](Index begin, Index end) {
        if (end > begin) once.push_back({Kind::rows, begin, end, 0, 0, 0, 0});
    };
    Index begin = 0;
    while (begin < rows) {
        // The first row that does not fit into the chunk any more.
        const Index limit = rowptr[begin] + begin + chunk;
        Index low = begin, high = rows;
        while (low < high) {
            const Index middle = low + (high - low) / 2;
            if (rowptr[middle + 1] + middle + 1 > limit) high = middle; else low = middle + 1;
        }
        low = std::max(low, begin + 1);
        const Index first = rowptr[begin], last = rowptr[begin + 1];
        if (low == begin + 1 && last - first > chunk) {
            const Index pieces = (last - first + chunk - 1) / chunk;
            for (Index p = 0; p < pieces; ++p)
                once.push_back({Kind::piece, first + (last - first) * p / pieces,
                                first + (last - first) * (p + 1) / pieces, begin, made.pieces + p, 0, 0});
            join.push_back({Kind::join, made.pieces, made.pieces + pieces, begin, 0, 0, 0});
            made.pieces += pieces;
        } else {
            range(begin, low);
        }
        begin = low;
    }
    // Wide matrices are done in panels, whose sums fit into registers.
    made.panels = std::max<Index>(1, (width + widest - 1) / widest);
    const Index unit = std::min<Index>(widest, 16), even = (width + made.panels - 1) / made.panels;
    const Index step = made.step = made.panels == 1 ? width : (even + unit - 1) / unit * unit;
    for (Index column = 0; column < width; column += step)
        for (auto *list : {&once, &join})
            for (Task task : *list) {
                task.column = column;
                task.width = std::min(step, width - column);
                (list == &once ? made.tasks : made.joins).push_back(task);
            }
    return made;
}

struct Problem {
    Type type;
    bool wide_index;
    Index nodes, width;
    const Index *rowptr;
    const void *col, *value, *left, *right, *start, *source;
    const unsigned char *mask;
    double alpha, beta, low, high, tol;
    Index steps;
    void *out, *other;
    int threads;
};

// Arcs to fetch ahead: none where the values stay close to a core.
Index reach(Index bytes) { return bytes < cached ? 0 : ahead; }

Index size_of(Type type) { return type == Type::float64 ? 8 : type == Type::float32 ? 4 : 2; }

class Propagation {
  public:
    explicit Propagation(const Problem &p)
        : p_(p),
          plan_(plan(p.rowptr, p.nodes, p.width, kernels().widest(p.type, p.wide_index))),
          threads_((p.rowptr[p.nodes] + p.nodes) * p.width < serial_below ? 1 : p.threads),
          prefetch_(reach(p.nodes * p.width * size_of(p.type))),
          partial_(static_cast<std::size_t>(plan_.pieces * p.width)) {}

    struct Result {
        Index steps;
        double residual;  // NaN: something was not finite
        bool in_other;    // which of the two buffers holds the values
    };

    Result operator()() {
        const bool early = p_.tol >= 0;
        Step s{};
        s.rowptr = p_.rowptr, s.col = p_.col, s.left = p_.left, s.source = p_.source, s.mask = p_.mask;
        s.from = p_.start, s.partial = partial_.data(), s.width = p_.width, s.prefetch = prefetch_;
        s.alpha = p_.alpha, s.beta = p_.beta, s.low = p_.low, s.high = p_.high;
        s.clamp = std::isfinite(p_.low) || std::isfinite(p_.high);
        for (Index k = 0; k < p_.steps; ++k) {
            const bool first = k == 0, last = k + 1 == p_.steps, in_other = (p_.steps - k) % 2 == 0;
            s.to = in_other ? p_.other : p_.out;
            s.residual = last || early;
            s.check = first && (!s.residual || s.clamp);  // the change tells as well, unless a clamp hides it
            s.held = first ? nullptr : p_.right;
            s.scale = last ? nullptr : p_.right;
            s.per_source = first && p_.right;
            s.value = s.per_source ? p_.right : p_.value;
            const Outcome outcome = pass(plan_, s);
            if (interrupt_.raised()) return {k, 0, false};
            if (outcome.bad) return {k + 1, std::numeric_limits<double>::quiet_NaN(), in_other};
            if (last || (early && outcome.residual <= p_.tol)) {
                if (s.scale) free_scale(s);
                return {k + 1, outcome.residual, in_other != (s.scale != nullptr)};
            }
            s.from = s.to;
        }
        return {0, std::numeric_limits<double>::infinity(), false};
    }

    bool interrupted() const { return interrupt_.raised(); }

  private:
    Outcome pass(const Plan &plan, const Step &s) {
        Outcome all{0, false};
        for (auto *tasks : {&plan.tasks, &plan.joins}) {
            std::vector<Outcome> outcomes(tasks->size(), Outcome{0, false});
            parallel(threads_, static_cast<Index>(tasks->size()), [&](int thread, Index t) {
                if (interrupt_.raised()) return;
                interrupt_.ask(thread);
                const Task &task = (*tasks)[static_cast<std::size_t>(t)];
                kernels().rows(p_.type, p_.wide_index, s.value != nullptr, task.width)(s, task, outcomes[static_cast<std::size_t>(t)]);
            });
            for (const auto &outcome : outcomes) {
                all.residual = std::max(all.residual, outcome.residual);
                all.bad |= outcome.bad;
            }
        }
        return all;
    }

    // The iterate of an early stop, freed of its scale, goes into the other buffer: a step on a graph without arcs.
    void free_scale(const Step &stopped) {
        const std::vector<Index> none(static_cast<std::size_t>(p_.nodes) + 1, 0);
        Step s{};
        s.rowptr = none.data(), s.col = p_.col, s.width = p_.width;
        s.from = stopped.to, s.held = p_.right, s.beta = 1;
        s.clamp = stopped.clamp, s.low = stopped.low, s.high = stopped.high;  // the division may leave it by a rounding
        s.to = stopped.to == p_.out ? p_.other : p_.out;
        pass(plan(none.data(), p_.nodes, p_.width, kernels().widest(p_.type, p_.wide_index)), s);
    }

    const Problem p_;
    const Plan plan_;
    const int threads_;
    const Index prefetch_;
    std::vector<double> partial_;
    Interrupt interrupt_;
};

nb::tuple propagate(int type, bool wide_index, Index nodes, Index width, Address rowptr, Address col, Address value,
                    Address left, Address right, Address start, Address source, Address mask, double alpha, double beta,
                    double low, double high, double tol, Index steps, Address out, Address other, int threads) {
    const auto at = [](Address address) { return reinterpret_cast<const void *>(address); };
    const Problem problem{static_cast<Type>(type), wide_index, nodes, width, static_cast<const Index *>(at(rowptr)),
                          at(col), at(value), at(left), at(right), at(start), at(source),
                          static_cast<const unsigned char *>(at(mask)), alpha, beta, low, high, tol, steps,
                          reinterpret_cast<void *>(out), reinterpret_cast<void *>(other), threads};
    Propagation::Result result{};
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        const Index bytes = nodes * width * size_of(problem.type);
        for (void *buffer : {problem.out, problem.other}) in_large_pages(buffer, bytes);
        Propagation run(problem);
        result = run();
        interrupted = run.interrupted();
    }
    if (interrupted) throw nb::python_error();
    return nb::make_tuple(result.steps, result.residual, result.in_other);
}

// The values' gradient: alpha times the dot product of g's row and y's source row, at each arc.
void sddmm(int type, bool wide_index, Index nodes, Index width, Address rowptr, Address col, Address g, Address y,
            double alpha, Address out, int threads) {
    nb::gil_scoped_release release;
    const auto kind = static_cast<Type>(type);
    const auto *begin = reinterpret_cast<const Index *>(rowptr);
    const Plan dealt = plan(begin, nodes, 1, 1);
    const auto run = kernels().sddmm(kind, wide_index);
    const Index prefetch = reach(nodes * width * size_of(kind));
    if (begin[nodes] * width < serial_below) threads = 1;
    parallel(threads, static_cast<Index>(dealt.tasks.size()), [&](int, Index t) {
        const Task &task = dealt.tasks[static_cast<std::size_t>(t)];
        run(task, begin, reinterpret_cast<const void *>(col), reinterpret_cast<const void *>(g),
            reinterpret_cast<const void *>(y), width, alpha, prefetch, reinterpret_cast<void *>(out));
    });
}

// What no step can undercut: the same rows of `y` are gathered and summed, and one number a row (and panel) is kept.
void gather_floor(Address rowptr, Address col, Address y, Address out, Index nodes, Index width, int threads) {
    nb::gil_scoped_release release;
    Step s{};
    s.rowptr = reinterpret_cast<const Index *>(rowptr), s.col = reinterpret_cast<const void *>(col);
    s.from = reinterpret_cast<const void *>(y), s.width = width, s.prefetch = reach(nodes * width * 4);
    Plan dealt = plan(s.rowptr, nodes, width, kernels().widest(Type::float32, false));
    std::vector<double> partial(static_cast<std::size_t>(dealt.pieces * width));
    std::vector<float> kept(static_cast<std::size_t>(nodes * (dealt.tasks.empty() ? 0 : dealt.panels)));
    s.partial = partial.data(), s.to = kept.data();
    parallel(threads, static_cast<Index>(dealt.tasks.size()), [&](int, Index t) {
        Task &task = dealt.tasks[static_cast<std::size_t>(t)];
        Outcome outcome{};
        if (task.kind == Kind::rows) task.kind = Kind::floor, task.piece = task.column / dealt.step * nodes;
        kernels().rows(Type::float32, false, false, task.width)(s, task, outcome);
    });
    std::copy_n(kept.data(), nodes, reinterpret_cast<float *>(out));
}

}  // namespace

void add_propagation(nb::module_ &m) {
    m.def("propagate", &propagate);
    m.def("sddmm", &sddmm);
    m.def("gather_floor", &gather_floor);
    m.def("instruction_set", [] { return kernels().name; });
    m.def("instruction_sets", [] {
        nb::list names;
        for (const auto *set : supported()) names.append(set->name);
        return names;
    });
    m.def("use_instruction_set", [](const std::string &name) {
        for (const auto *set : supported())
            if (name == set->name) return chosen.store(set, std::memory_order_release);
        throw nb::value_error("an instruction set that this processor does not have");
    });
}
